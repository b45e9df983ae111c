# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07b · The Audio Spectrogram Transformer
#
# **What you will learn**
# - how a transformer reads a spectrogram: patches, tokens, positions, attention; each in a formula and in a few lines
# - to write the course's `ASTBackbone` in plain PyTorch, and what a clip's padding must not do to it
# - to answer two questions that were asked beforehand: does it recognise more clips than the CNN, or than the LSTM?
#
# **Needs** the data; the LSTM of notebook 05 and the CNN of notebook 07 for the comparison. **Leaves** an AST
# checkpoint for each training, its test predictions, and what a step of each network costs.
#
# **Takes** about two minutes on the demo set with two CPU cores: a small AST that hears three seconds at a time. With
# the lab's data and the `full` profile (twelve blocks, ten seconds at a time) take a GPU.
#
# **The one insight:** attention lets each piece of the picture ask every other one, wherever it lies. Nothing tells the
# network that neighbours belong together: what a CNN has built in, an AST has to learn, and for that it needs clips.
#
# **How to read:** the core path takes 40 minutes. Answer each **Predict** before you read on; extras are folded.
#
# This step is asked from 2024-25 on. There, steps 7α to 7ε are called 7.1α to 7.1ε.

# %% [markdown] tags=["setup"]
# ## Set-up

# %% tags=["setup"]
# Find `helpers`: installed, or beside this file, above the working folder, or on Kaggle.
import sys
from pathlib import Path

try:
    import helpers.machinery  # noqa: F401
except ImportError:
    here = Path(globals().get("__file__", "notebook")).resolve()
    places = [*here.parents, *Path.cwd().parents]
    places += [found.parents[1] for found in Path("/kaggle/input").glob("**/helpers/machinery")]
    hits = [place for place in places if (place / "helpers" / "machinery").is_dir()]
    assert hits, "no folder helpers/ found: take the whole repository (on Kaggle as a data set)"
    sys.path.insert(0, str(hits[0]))

# %% tags=["setup"]
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import time

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import baselines, datasets, evaluation, folders, models, plots, training
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, play, show_table, tell

notebook = "07b_ast"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 8  # clips per step
model_size = "mini"  # mini (the kit's), or the course's tiny224, small224, base224, base384
fstride = 16  # bands from one patch to the next; the course's default is 10, so that they overlap
tstride = 16  # frames from one patch to the next; the course's default is 10
input_tdim = 128  # frames that the AST takes at once (about 3 s); a longer clip is cut into such
feature_size = 64  # numbers that it makes of a clip
weights = "none"  # to begin with: "none", "imagenet" (through timm), or a file of weights
max_masked_bands = 8  # training hides up to this many mel bands at a time (SpecAugment)
epochs = 24  # passes over the training clips, at most
patience = 8  # epochs without a better validation loss before training stops
learning_rate = 0.001  # of Adam, after one epoch of warm-up
overfit_epochs = 50  # passes over the four batches of overfit_batch
n_seeds = 3  # trainings, each from another seed; the first one is looked into
cost_frames = [128, 256, 512, 1024]  # lengths of clips for which a step is priced

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 7.2α · The Audio Spectrogram Transformer
#
# > **Handout.** *Περιγράψτε συνοπτικά το Audio Spectrogram Transformer.* Describe the Audio Spectrogram Transformer
# > briefly (Gong, Chung and Glass 2021, arXiv 2104.01778).

# %% [markdown] tags=["solution"]
# The AST is a network without recurrence, and its one convolution only cuts. It was made for sentences, then pictures
# (Vaswani et al. 2017; Dosovitskiy et al. 2021), and taken over for sounds as it is:
#
# 1. The spectrogram is cut into **patches** of 16 bands x 16 frames. In the paper a new one begins every 10, so that
#    they overlap.
# 2. Each patch, 256 numbers, is turned by one linear layer into a vector, a **[token](../docs/glossary.md#token)**. The
#    same layer for all patches: a convolution whose stride is the distance of the patches.
# 3. Two more tokens stand in front, the **class** and the **distillation** token. They are learned, and the same for
#    every clip. (The second one is a leftover of how the picture network DeiT was trained.)
# 4. To each token its **[position](../docs/glossary.md#position-embedding)** is added, a learned vector for each place.
# 5. The tokens pass through **encoder blocks**, twelve in the paper. In each one every token asks all tokens (attention),
#    and then a small network works on each token alone. What they find is *added* to the token.
# 6. The mean of the two extra tokens is the clip's vector; a norm and a linear layer make `feature_size` numbers of it.
#
# ```text
# [B, T, 128] --patches of 16 x 16--> [B, 12, 101, 256]          (T = 1024 frames, a patch every 10)
#   --linear--> [B, 1212, D] --two tokens in front, positions added--> [B, 1214, D]
#   --12 blocks: attention, small network--> [B, 1214, D] --mean of the first two--> [B, D]
#   --norm, linear--> [B, feature_size]
# ```

# %% tags=["report"]
# A window of a real clip as the network cuts it.
splits = datasets.genre_splits(root / folders.GENRE, "mel", seed)
classes = splits.base.classes
four_loader = datasets.make_loader(splits.train, 4, crop_frames=input_tdim, seed=seed)
x, labels, lengths = next(iter(four_loader))  # [4, input_tdim, 128], [4], [4]
grid = (128 - 16) // fstride + 1, (input_tdim - 16) // tstride + 1  # rows, columns of patches
window = x[0].numpy() * splits.scaler.deviation + splits.scaler.mean  # back to decibels
n_patches = grid[0] * grid[1]
title = f"A {classes[int(labels[0])]} clip: {grid[0]} x {grid[1]} patches"
title += f", with the two tokens in front {n_patches + 2} tokens"
record.show(
    plots.patches(window.T, grid, (fstride, tstride), title), "patches",
    caption="A window of a clip and the patches that become tokens; the first three are framed, so "
    "that an overlap is seen.",
)  # fmt: skip

# %% [markdown]
# The class token is token 0, the distillation token 1. Token 2 is the patch of the lowest bands at the beginning, the
# next ones follow it in time, then comes the next row. The three frames in colour show how far neighbours in time overlap
# (not at all where a new one begins every 16). **The numbering means nothing to the network**: all it knows of a place is
# the position vector that is added there.

# %% [markdown]
# ### Exercise 7.4 · How many tokens?
#
# Patches of 16 x 16 that begin every `fstride` bands and every `tstride` frames, none of them cut off, and two tokens in
# front.


# %% tags=["told"]
def check_tokens(count):
    """Says whether `count(n_bands, n_frames, fstride, tstride)` counts right."""
    if count(128, 1024, 10, 10) is None:
        print("not written yet")
        return
    assert count(16, 16, 10, 10) == 3, "one patch and two tokens: 3"
    assert count(128, 128, 16, 16) == 66, "8 x 8 patches side by side, and two tokens: 66"
    assert count(128, 1024, 10, 10) == 1214, "12 x 101 patches: does the last one fit in whole?"
    print("right: 1,214 tokens for the 1,024 frames of the course's default")


# %% tags=["exercise"]
def my_n_tokens(n_bands, n_frames, fstride, tstride):
    """How many tokens an AST makes of a spectrogram."""
    ...


check_tokens(my_n_tokens)


# %% tags=["solution", "folded"]
def n_tokens(n_bands, n_frames, fstride, tstride):
    """How many tokens an AST makes of a spectrogram."""
    n_rows = (n_bands - 16) // fstride + 1
    n_columns = (n_frames - 16) // tstride + 1
    return n_rows * n_columns + 2


check_tokens(n_tokens)

# %% [markdown]
# ### Attention
#
# Each token $x_i$ makes three vectors of itself: a **query** (what it looks for), a **key** (what it has to offer) and a
# **value** (what it gives). How well query $i$ fits key $j$ decides how much of value $j$ token $i$ gets:
#
# $$ a_{ij} = \operatorname{softmax}_j \left( \frac{q_i \cdot k_j}{\sqrt{d}} \right), \qquad y_i = \sum_j a_{ij} \, v_j $$
#
# That is **[attention](../docs/glossary.md#attention)** (Vaswani et al. 2017). The root of the width $d$ keeps the
# products of long vectors from growing. *Several heads* do this side by side, each with its own part of the width: one
# may look for the same band, another for the same moment.


# %% tags=["solution", "report"]
def attention(query, key, value):
    """What each query gets, [..., N, d], and from whom, [..., N, N]: rows add up to 1."""
    fit = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # each query with each key
    shares = fit.softmax(-1)
    return shares @ value, shares


# %% tags=["solution"]
q, k, v = torch.randn(3, 4, 2, 10, 24)  # 4 clips, 2 heads, 10 tokens, width 24
agree(
    "attention", lambda: attention(q, k, v)[0],
    lambda: nn.functional.scaled_dot_product_attention(q, k, v),
)  # fmt: skip

# %% [markdown]
# **Predict.** We shuffle the ten tokens of each clip, and so the rows of `q`, `k` and `v`. What happens to the answers?
#
# <details><summary>What to expect, and why</summary>
# They are shuffled in the same way, and otherwise the same. No formula above knows which token stands where: a sum over j
# has no order. So without position vectors an AST hears a bag of patches, in which an octave up and a second later are
# the same as here and now.
# </details>

# %% tags=["solution", "report", "told"]
# The same tokens in another order.
order = torch.randperm(10)
straight, _ = attention(q, k, v)
shuffled, _ = attention(*(part[:, :, order] for part in (q, k, v)))
moved = float((shuffled - straight[:, :, order]).abs().max())
tell(
    "Shuffled tokens get the same answers, shuffled in the same way (largest difference "
    "{moved:.0e}): attention by itself knows nothing of frequency and time.",
    moved=moved,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What the three networks know before they have heard anything:**
#
# | | neighbours in time | neighbours in frequency | far apart |
# |---|---|---|---|
# | LSTM | one comes after the other | no: 128 inputs in any order | has to be remembered all the way |
# | CNN | the same filter everywhere, sees a second | the same filter, sees 46 bands | only the mean over time |
# | AST | nothing | nothing | one step, whatever the distance |
#
# So an AST can learn what the others cannot, a rhythm or a chord sequence of several seconds for example. But it has to
# learn from clips even that patch 3 and patch 4 touch each other. Gong et al. begin with the weights of a network that has
# seen more than a million photographs; without them, they report, what the AST reaches after training on the smaller part
# of AudioSet (about 20,000 clips) falls to less than half. Here there are a few hundred clips, or two thousand.

# %% [markdown]
# ## 7.2β · Genre with the Audio Spectrogram Transformer
#
# > **Handout.** *Χρησιμοποιήστε το `ASTBackbone` για την αναγνώριση είδους και συγκρίνετε με το CNN (7ε) και το LSTM (5γ).*
# > Use the `ASTBackbone` for genre; compare with the CNN (7ε) and the LSTM (5γ). First `overfit_batch`; few epochs, it
# > is costly; set `input_fdim`, `input_tdim` and `feature_size`, leave the others at their defaults.
#
# The course's file needs a version of timm that no longer runs beside today's PyTorch. Here is the same network without
# it, in few lines. The parts have timm's names: then a state dict of the course fits, and ours fits there. For the sake of
# time the demo departs from the defaults: patches side by side (a new one every 16), and a size of the kit's own, `mini`.
# The profile `full` has the default strides of 10, and the course's smallest size, `tiny224`.
#
# First a block. A norm stands before each half, and each half adds to what came in: so the gradient has a straight way
# through all blocks.


# %% tags=["solution", "report"]
class PlainBlock(nn.Module):
    """Every token asks all tokens; then a small network works on each token: [B, N, D]."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width),
                                   "proj": nn.Linear(width, width)})  # fmt: skip
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width),
                                  "fc2": nn.Linear(4 * width, width)})  # fmt: skip

    def forward(self, x):
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, dim=-1)  # each [B, N, D]
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
        found, self.shares = attention(q, k, v)  # [B, heads, N, D / heads], [B, heads, N, N]
        x = x + self.attn["proj"](found.transpose(1, 2).flatten(2))  # the heads side by side
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        return x + self.mlp["fc2"](hidden)


# %% [markdown]
# Then the whole. It takes windows of exactly `input_tdim` frames, as the course's does.


# %% tags=["solution", "report"]
class PlainAST(nn.Module):
    """Patches, two tokens, positions, blocks, mean of the two: [B, T, F] -> [B, features]."""

    def __init__(self, n_frames):
        super().__init__()
        width, n_blocks, n_heads = models.AST_SIZES[model_size]
        self.v = nn.Module()  # timm's vision transformer
        patches = nn.Conv2d(1, width, kernel_size=16, stride=(fstride, tstride))
        self.v.patch_embed = nn.ModuleDict({"proj": patches})
        self.v.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.v.dist_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        n = ((128 - 16) // fstride + 1) * ((n_frames - 16) // tstride + 1)
        self.v.pos_embed = nn.Parameter(0.02 * torch.randn(1, n + 2, width))
        self.v.blocks = nn.ModuleList(PlainBlock(width, n_heads) for _ in range(n_blocks))
        self.v.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, feature_size))

    def forward(self, x):
        image = x.transpose(1, 2)[:, None]  # [B, 1, F, T]
        patches = self.v.patch_embed["proj"](image).flatten(2).transpose(1, 2)  # [B, n, D]
        two = torch.cat([self.v.cls_token, self.v.dist_token], dim=1).expand(len(x), -1, -1)
        tokens = torch.cat([two, patches], dim=1) + self.v.pos_embed  # [B, 2 + n, D]
        for block in self.v.blocks:
            tokens = block(tokens)
        return self.mlp_head(self.v.norm(tokens)[:, :2].mean(1))


# %% [markdown]
# Is it the kit's network? Both get the same weights and the same four windows.


# %%
def new_ast(own_seed=seed):
    """The kit's AST with a head for the classes, and its description for the checkpoint."""
    spec = {
        "backbone": "ast",
        "backbone_options": {
            "fstride": fstride, "tstride": tstride, "input_fdim": 128, "input_tdim": input_tdim,
            "model_size": model_size, "feature_size": feature_size,
        },
        "head": "classifier",
        "head_options": {"n_classes": len(classes)},
    }  # fmt: skip
    seed_everything(own_seed)
    model = models.build_model(spec)
    if weights != "none":
        model.backbone.load_weights(weights)
    return model, spec


# %% tags=["solution"]
kit = new_ast()[0].backbone.eval()
own = PlainAST(input_tdim).eval()
own.load_state_dict(kit.state_dict())  # every name and shape fits
agree("AST", lambda: own(x), lambda: kit(x, lengths))

# %% tags=["told"]
# Half of each window is padding now; the plain network takes it for music.
half = torch.full((4,), input_tdim // 2)
half_x = x * (torch.arange(input_tdim) < half[:, None])[:, :, None]
with torch.no_grad():
    alone = torch.cat([kit(half_x[n : n + 1, : half[n]], half[n : n + 1]) for n in range(4)])
    batched = kit(nn.functional.pad(half_x, (0, 0, 0, 3 * input_tdim)), half)
    kit_moves, plain_moves = (batched - alone).abs().max(), (own(half_x) - alone).abs().max()
tell(
    "Clips of half a window: with {padding} frames of padding behind them the kit's numbers move "
    "by {masked:.1g}; those of the plain network, which takes padding for music, differ by up to "
    "{plain:.2f} (standard deviation over clips and numbers: {spread:.2f}).",
    padding=int(3.5 * input_tdim), masked=kit_moves, plain=plain_moves, spread=alone.std(),
)  # fmt: skip

# %% [markdown]
# | what the kit adds | why | what it gains | where it stands |
# |---|---|---|---|
# | tokens that begin behind a clip's end are masked: nobody asks them | softmax gives a share to *every* token, silence too | the same answer for a clip in any batch (the numbers above) | `ASTBackbone.real_tokens` |
# | a clip longer than `input_tdim` is cut into windows, and their vectors are averaged by their real frames | positions exist for `input_tdim` frames; attention costs the square of the tokens | clips of any length, at a cost that grows with the length | `ASTBackbone.windows` |
# | PyTorch's own attention, which never stores the table of shares | N x N numbers per head, block and clip | memory and time; the same values | `helpers/models.py` |
# | the last block is asked for the two tokens alone | nobody looks at the others any more | most of one block; the same values | `ASTBackbone.tokens` |
# | weights from a file, or DeiT's from timm | few clips | a better start than chance (below) | `ASTBackbone.load_weights` |
#
# The course's class pads every clip with zeros to `input_tdim` and lets all tokens look at them. From here on the kit's
# version is used.

# %% tags=["solution", "report", "told"]
# Where the parameters are: counted by part, and the sum by hand.
width, n_blocks, _ = models.AST_SIZES[model_size]
parts = {
    "patches (one linear layer)": 256 * width + width,
    "two tokens and positions": (2 + 2 + n_patches) * width,
    "blocks": n_blocks * (12 * width**2 + 13 * width),
    "norms and last layer": 4 * width + (width + 1) * feature_size,
}
model, _ = new_ast()
n_parameters = models.n_parameters(model.backbone)
assert sum(parts.values()) == n_parameters
record.save_values(n_parameters=models.n_parameters(model))
counted = pd.DataFrame({"parameters": parts})
show_table(counted, caption="The parameters of the AST by part.")
tell(
    "{n:,} parameters in {blocks} blocks of width {width}; attention itself has none beyond the "
    "four linear layers that make queries, keys, values and the answer.",
    n=n_parameters, blocks=n_blocks, width=width,
)  # fmt: skip

# %% [markdown]
# ### `overfit_batch` on the AST
#
# As in 5β and 7δ: four batches, one fixed window of each clip, nothing hidden. The criterion: a loss below 0.01.
#
# **Predict.** Will it need more or fewer passes than the CNN?
#
# <details><summary>What to expect, and why</summary>
# More. It has the room: more parameters than the CNN. But its steps have to be smaller, because nothing like batch norm keeps
# the scales in order across clips, and what neighbours are it has to find out on the way.
# </details>

# %% tags=["solution"]
# Four batches of training clips, again and again.
order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
few = torch.utils.data.Subset(splits.train, order[: 4 * batch_size].tolist())
few_loader = datasets.make_loader(
    few, batch_size, shuffle=True, seed=seed, crop_frames=input_tdim, device=compute
)
overfit = training.train(model, few_loader, epochs=overfit_epochs, learning_rate=learning_rate,
                         overfit_batch=True, device=compute, name="AST, four batches")  # fmt: skip
record.save_values(overfit_loss=overfit.train_loss, n_overfit_clips=len(few))

# %% tags=["report"]
# On a logarithmic axis, with the line that is to be passed.
n_passes = len(overfit.train_loss)
title = f"Four batches: a loss of {overfit.train_loss[-1]:.4f} after {n_passes} passes"
record.show(
    plots.curves({"training loss": overfit.train_loss}, title, "epoch", "loss",
                 {"0.01": 0.01}, first=1, yscale="log"), "overfit_batch",
    caption="Training loss of the AST on four batches, on a logarithmic axis.",
)  # fmt: skip

# %% tags=["report", "told"]
# 0.01 is the line, as in step 7δ.
tell(
    "Yes: {passes} passes over four batches brought the training loss from {first:.2f} to "
    "{last:.4f}, below 0.01." if overfit.train_loss[-1] < 0.01 else
    "Not yet: {passes} passes over four batches brought the training loss from {first:.2f} to "
    "{last:.4f}, not below 0.01.",
    first=overfit.train_loss[0], last=overfit.train_loss[-1], passes=n_passes,
)  # fmt: skip
of_cnn = record.load_value("07_cnn", "overfit_loss")
needed = [
    next((Sentence("{n}", n=n) for n, loss in enumerate(losses, 1) if loss < 0.01),
         Sentence("more than {n}", n=len(losses)))
    for losses in (overfit.train_loss, of_cnn)
]  # fmt: skip
tell(
    "Passes until the loss is below 0.01: the AST {own} ({n} clips), the CNN of 7δ {cnn} ({n_cnn} "
    "clips).",
    own=needed[0], cnn=needed[1], n=len(few), n_cnn=record.load_value("07_cnn", "n_overfit_clips"),
)  # fmt: skip

# %% [markdown]
# ### Two questions, asked before any test clip is looked at
#
# > 1. **Does the AST recognise more test clips than CNN (train) of 7ε?**
# > 2. **Does it recognise more than the LSTM on mel of 5γ?**
#
# All three had the same training clips and the same mel bands, scaled in the same way, and the same validation clips chose
# their epoch. AST and CNN learned on windows of the same kind, with as many bands hidden. Size, learning rate and number of
# epochs are each network's own. Each is judged by the mean over its trainings; the two p-values are corrected for being
# two (Holm).
#
# **What judges the epoch?** The validation *loss*, on the validation clips, for all three (9γ asks this for the model
# that is handed on, and the answer is the same for an AST). The loss is continuous: it sees a clip become surer before
# the clip changes sides, where accuracy on a few dozen clips moves in jumps of one or two per cent and ties are frequent.
# Not on the training clips, which a network can know by heart; not on the test clips, which would then no longer be a
# test.
#
# **Predict.** Which of the three is last?
#
# <details><summary>What to expect, and why</summary>
# The AST, if it starts from nothing: what the other two have built in, it must learn from a few hundred clips. That is no
# fault of the network; with weights that have seen a million pictures, or with a hundred times the clips, the order in the
# literature is the other way round.
# </details>

# %% tags=["solution"]
def fit(number):
    """Training `number` on the train part; keeps the epoch of the lowest validation loss."""
    loaders = datasets.make_loaders(
        splits, batch_size, seed + number, crop_frames=input_tdim,
        max_masked_bands=max_masked_bands, device=compute,
    )  # fmt: skip
    model, spec = new_ast(seed + number)
    history = training.train(
        model, *loaders[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
        device=compute, name=f"AST {number + 1}",
    )  # fmt: skip
    record.save_checkpoint(
        of_seed("ast_mel_best", number), model, spec, feature="mel", scaler=splits.scaler,
        classes=classes, epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    return model, history, training.predict(model, loaders[2], compute).argmax(1)


# One after the other; with several GPUs, one on each (docs/many_gpus.md).
fits = one_per_gpu(fit, range(n_seeds), compute)
ast, history, _ = fits[0]

# %% tags=["report"]
# Each training has a panel; the title says how far apart another seed alone puts them.
curves = {f"training {number + 1}": own for number, (_, own, _) in enumerate(fits)}
lowest = [min(own.val_loss) for own in curves.values()]
title = f"AST: lowest validation losses from {min(lowest):.2f} to {max(lowest):.2f}"
record.show(
    plots.learning_curves(curves, title), "learning_curves", caption="Learning curves of the AST."
)

# %% tags=["told"]
# Which epoch each training kept.
for number, (_, own_history, _) in enumerate(fits):
    tell(
        "seed {seed}: kept epoch {epoch} of {n}, validation loss {loss:.3f}",
        seed=seed + number, epoch=own_history.best_epoch, n=len(own_history.val_loss),
        loss=min(own_history.val_loss),
    )  # fmt: skip

# %% [markdown] tags=["solution"]
# **How to read the curves.** Look at three things: does the training loss still fall in the last epochs (the cosine of the
# learning rate ends there, so a longer training would be another one, not a continuation); does the validation loss leave
# it (then the AST learns its clips by heart); and how far apart are the three trainings (the luck of the seed). Compare
# the lowest validation loss with the CNN's in notebook 07, which was judged on the same clips. On the demo set the training
# loss is nearly flat in the last epochs, the validation loss stays about 0.1 above it, and the three trainings lie within
# 0.07 of each other. The CNN reached 0.83 to 0.94 on the same clips, the AST 1.38 to 1.44: it is neither over-fitted nor
# near the CNN.

# %% [markdown]
# ### On the test set: the two questions
#
# CNN and LSTM answer the same test clips anew, each training from its checkpoint and on its own scale.


# %% tags=["solution"]
def answers_of(source, name):
    """The test answers of every training of a stored network, [n] each."""
    found = []
    for number in range(record.load_value(source, "n_seeds")):
        stored = record.load_checkpoint(
            source, of_seed(name, number), head="classifier", feature="mel", classes=classes
        )
        clips = datasets.SpectrogramDataset(
            root / folders.GENRE, "test", "mel", scaler=stored.scaler
        )
        loader = datasets.make_loader(clips, 16, device=compute)
        found.append(training.predict(stored.model, loader, compute).argmax(1))
    return found


outputs = {
    "ast_mel_best": [predicted for _, _, predicted in fits],
    "cnn_mel_best": answers_of("07_cnn", "cnn_mel_best"),
    "lstm_mel_full": answers_of("05_lstm", "lstm_mel_full"),
}
true = splits.test.labels.numpy()

# %% tags=["solution", "report"]
# The baselines, on the same training clips; then accuracy and macro F1 of the first trainings.
known, asked = (baselines.band_statistics(part) for part in (splits.train, splits.test))
labels, artists = datasets.labels_of(splits.train).numpy(), datasets.artists_in(splits.train)
predictions = {name: of_all[0] for name, of_all in outputs.items()}
predictions["svm_mel_full"] = baselines.svm_predictions(known, labels, asked, artists)
predictions["majority_full"] = baselines.majority_predictions(labels, len(true))
scores = {
    name: evaluation.classification_scores(true, predicted, len(classes), seed)
    for name, predicted in predictions.items()
}
record.add_scores("ast_mel_best", "mel", "genre test (full)", scores["ast_mel_best"], len(true))
shown = pd.DataFrame(scores).T[["accuracy", "macro F1"]].rename(name_of)
caption = "The AST beside CNN, LSTM and baselines, first trainings, 95 % intervals."
show_table(shown, caption=caption)

# %% tags=["solution", "appendix"]
# Over all trainings; two questions, so corrected for two.
compared = evaluation.holm({
    ("ast_mel_best", rival): evaluation.compare_accuracy(
        true, outputs["ast_mel_best"], outputs[rival], seed
    )
    for rival in ("cnn_mel_best", "lstm_mel_full")
})  # fmt: skip
named = {(name_of(a), name_of(b)): result for (a, b), result in compared.items()}
caption = "AST against CNN and LSTM: paired differences in accuracy with 95 % intervals."
record.show(plots.differences(named, "accuracy"), "differences", caption=caption)

# %% tags=["report", "told"]
# One sentence for each question.
for (first, second), result in named.items():
    gain = result.difference
    template = (
        "**Verdict.** {first} and {second} cannot be compared: {reason}."
        if not gain.defined else
        "**Verdict.** The AST recognises more test clips than {second}: {gain:+.3f} in accuracy, "
        "mean over the trainings (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f} after "
        "Holm's correction)." if result.clear and gain.value > 0 else
        "**Verdict.** The AST recognises fewer test clips than {second}: {gain:+.3f} in accuracy, "
        "mean over the trainings (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f} after "
        "Holm's correction)." if result.clear else
        "**Verdict.** These clips cannot tell AST and {second} apart: {gain:+.3f} in accuracy, "
        "mean over the trainings (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f} after "
        "Holm's correction)."
    )  # fmt: skip
    tell(template, first=first, second=second, reason=gain.reason, gain=gain.value, low=gain.low,
         high=gain.high, p=result.adjusted)  # fmt: skip

# %% tags=["report", "told"]
# By the loss that chose the epochs.
record.save_values(validation_loss=lowest)
tell(
    "For 9β and 9γ: the AST's lowest validation loss, mean over {n} trainings, is {loss:.3f}. "
    "Notebook 09 puts the AST beside CNN and LSTM.",
    n=len(lowest), loss=np.mean(lowest),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What so few clips can teach it.** First see whether its whole interval lies above that of the majority: then it has
# learned. Where it stays behind the CNN, the reason is in the table of 7.2α: every regularity of sound that the CNN was given
# (a pattern is the same pattern a second later, or a few bands higher) costs the AST examples. Schindler, Lidy and Rauber
# (2016) found that on small music sets shallow networks beat deep ones; Plachouras, Benetos and Pauwels (2025) that with few
# recordings hand-made features hold their own against all learned ones: compare the row of the SVM, which has only each
# band's statistics. Whether more epochs, wider tokens or overlapping patches mend it, you can try below, on validation. What
# the paper found to mend it: other weights to begin with, and more clips.

# %% [markdown]
# ### Where does it look?
#
# Each block says who asked whom, but after the first block a token is already a mixture. **Attention rollout** (Abnar and
# Zuidema 2020) follows the mixtures: in each block half of a token stays what it was (what came in is added), the other
# half comes from those it asked, in the mean over the heads. The product of these tables over all blocks says how much of
# each patch arrives in the two tokens that answer:
#
# $$ R = \prod_{b} \tfrac12 \left( A_b + I \right) $$


# %% tags=["solution"]
@torch.no_grad()
def rollout(model, windows):
    """How much of each patch arrives in the two tokens: windows [W, T, F] -> [W, rows, columns]."""
    model(windows)  # each block keeps its shares
    reached = torch.eye(2 + n_patches)
    for block in model.v.blocks:
        step = (block.shares.mean(1) + torch.eye(2 + n_patches)) / 2  # [W, N, N]
        reached = step @ reached  # rows: who has it now; columns: where it came from
    shares = reached[:, :2, 2:].mean(1)  # of the two tokens, without what they are themselves
    return (shares / shares.sum(-1, keepdim=True)).unflatten(-1, grid)


plain = PlainAST(input_tdim).eval()
_ = plain.load_state_dict(ast.backbone.cpu().state_dict())

# %% tags=["solution"]
# A test clip that can be heard, where there is one (only the demo set keeps audio).
test = splits.test
heard = set(folders.audio_clips(root))
number = next((n for n, name in enumerate(test.ids) if name in heard), 0)
clip, label, n_frames = test[number]
n_whole = max(1, n_frames // input_tdim)  # whole windows; what is left over at the end is not drawn
stretch = nn.functional.pad(clip, (0, 0, 0, input_tdim))[: n_whole * input_tdim]
shares = rollout(plain, stretch.unflatten(0, (n_whole, input_tdim)))  # [W, rows, columns]

# %% tags=["report"]
answer = int(predictions["ast_mel_best"][number])
decibels = stretch.numpy() * splits.scaler.deviation + splits.scaler.mean
title = f"A {classes[int(label)]} clip, taken for {classes[answer]}: where the AST looks"
picture = np.concatenate(list(n_patches * shares), axis=1)  # the windows side by side; 1: even
record.show(
    plots.patch_values(decibels.T, picture, title, "times an even share"), "rollout",
    caption="Attention rolled out over a test clip; 1 everywhere: all are looked at alike.",
)  # fmt: skip

# %% tags=["told"]
by_row = picture.mean(1)  # over the whole clip
low = int(by_row.argmax()) * fstride
tell(
    "Clip {clip}: the patch that is looked at most has {most:.1f} times an even share of its "
    "window, the least {least:.1f}; over the whole clip, bands {low} to {high} have most, "
    "{row:.2f} times.",
    clip=test.ids[number], most=picture.max(), least=picture.min(), low=low, high=low + 15,
    row=by_row.max(),
)  # fmt: skip
if test.ids[number] in heard:
    play(folders.audio_path(root, test.ids[number]))

# %% [markdown]
# **Is that the reason for the answer?** A token can look at a patch and take nothing from it that matters. The test: hide the
# fifth of the patches that is looked at most (set to 0, each band's usual level), and, as a control, the fifth that is
# looked at least. If looking means using, the first costs the answer more.


# %% tags=["solution"]
def without(windows, hidden):
    """Windows [W, T, F] with 0 wherever a hidden patch [W, rows, columns] lies."""
    covered = torch.ones_like(windows)
    for row, column in np.ndindex(grid):
        bands = slice(row * fstride, row * fstride + 16)
        frames = slice(column * tstride, column * tstride + 16)
        covered[:, frames, bands] *= ~hidden[:, row, column, None, None]
    return windows * covered


@torch.no_grad()
def log_probabilities(windows):
    """Of each class, [classes], for a clip that is given as windows [W, T, F]."""
    whole = windows.flatten(0, 1)
    return ast.eval()(whole[None], torch.tensor([len(whole)])).log_softmax(1)[0]


# %% tags=["solution"]
ast.cpu()
falls = {"most": [], "least": []}
for number in range(0, len(splits.val), max(1, len(splits.val) // 20)):  # 20 to 39 clips
    frames, _, n = splits.val[number]
    n_whole = max(1, n // input_tdim)
    frames = nn.functional.pad(frames, (0, 0, 0, input_tdim))[: n_whole * input_tdim]
    windows = frames.unflatten(0, (n_whole, input_tdim))
    before, looked_at = log_probabilities(windows), rollout(plain, windows)
    fifth = looked_at.flatten(1).quantile(torch.tensor([0.2, 0.8]), dim=1)[..., None, None]
    for name, hidden in (("most", looked_at > fifth[1]), ("least", looked_at < fifth[0])):
        after = log_probabilities(without(windows, hidden))
        falls[name].append(float((before - after)[before.argmax()]))

# %% tags=["report", "told"]
# The mean difference over the clips, and what it would vary by on others.
most, least = np.array(falls["most"]), np.array(falls["least"])
error = 1.96 * (most - least).std() / len(most) ** 0.5
template = (
    "**Verdict.** Looking means using here: of the answer's log-probability, hiding what is looked "
    "at most takes {most:.2f} away, hiding what is looked at least {least:.2f} (means over {n} "
    "validation clips; difference {gap:+.2f}, give or take {error:.2f})."
    if (most - least).mean() > error else
    "**Verdict.** That looking means using cannot be seen here: of the answer's log-probability, "
    "hiding what is looked at most takes {most:.2f} away, hiding what is looked at least "
    "{least:.2f} (means over {n} validation clips; difference {gap:+.2f}, give or take "
    "{error:.2f})."
)  # fmt: skip
tell(template, most=most.mean(), least=least.mean(), n=len(most), gap=(most - least).mean(),
     error=error)  # fmt: skip

# %% [markdown] tags=["solution"]
# **How to read the picture.** Play the clip and follow it. Each window of three seconds is looked at by itself, and its
# shares add up to 1: a loud second does not take anything from a quiet one three seconds later. Bright patches that form a
# row are a band that the AST looks at all the time; bright columns are moments. An attention map is often shown as if it
# were an explanation; the verdict above says how far it is one in this run.

# %% [markdown]
# ### What one step costs, and how it grows
#
# Count the multiplications and additions (flops) of one pass forward; a step of training costs about three times as much.
# With $n$ tokens of width $D$, a block takes
#
# $$ 2 \cdot 12\, n D^2 + 4\, n^2 D $$
#
# The first part is its linear layers, once for each token. The second is attention: every token with every token. So it
# is linear in the length of the clip as long as $n < 6 D$, and grows with the *square* from there on.
#
# **Predict.** A clip twice as long: how much more does a step of each network cost?
#
# <details><summary>What to expect, and why</summary>
# LSTM and CNN: twice as much, exactly. The AST on one long window: more than twice as much, the more the longer. The AST
# that cuts its clips: twice as much again; that is why it cuts. What it pays: no token of one window can ask one of
# another.
# </details>


# %% tags=["solution"]
def lstm_flops(backbone, n_frames):
    """Four gates of h units read F + h numbers at every step, in each direction and layer."""
    total, n_steps = 0, -(-n_frames // backbone.stack)
    for layer in [*backbone.forward_layers, *backbone.backward_layers]:
        total += 2 * 4 * layer.hidden_size * (layer.input_size + layer.hidden_size) * n_steps
    return total


def counted_flops(model, *inputs):
    """What PyTorch counts while it computes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops()


# %% tags=["solution"]
def block_flops(n_frames):
    """All blocks of an AST that takes so many frames at once, by the formula above."""
    n = n_tokens(128, n_frames, fstride, tstride)
    return n_blocks * (2 * 12 * n * width**2 + 4 * n**2 * width)


one = PlainAST(input_tdim)
patches_and_head = 2 * 256 * width * n_patches + 2 * width * feature_size
assert counted_flops(one, x[:1]) == block_flops(input_tdim) + patches_and_head  # PyTorch agrees

# %% tags=["solution"]
# Every network on a clip of zeros: flops depend on its length alone.
lstm = record.load_checkpoint("05_lstm", "lstm_mel_full", head="classifier").model.backbone
cnn = record.load_checkpoint("07_cnn", "cnn_mel_best", head="classifier").model.backbone
millions = {}
for n_frames in cost_frames:
    clip, length = torch.zeros(1, n_frames, 128), torch.tensor([n_frames])
    n_windows = -(-n_frames // input_tdim)
    millions[n_frames] = {
        "LSTM (step 5)": lstm_flops(lstm, n_frames),
        "CNN (step 7)": counted_flops(cnn, clip, length),
        "AST, cut into windows": n_windows * counted_flops(one, x[:1]),
        "AST, all at once": counted_flops(PlainAST(n_frames), clip),
    }
costs = pd.DataFrame(millions).T / 1e6

# %% tags=["report"]
# On logarithmic axes costs that grow in proportion to the length are parallel lines.
more = costs.iloc[-1, 3] / costs.iloc[-2, 3]
title = f"A clip twice as long costs an AST that takes it all at once {more:.1f} times as much"
axes = "frames of a clip", "million flops, one pass forward"
record.show(
    plots.curves(costs, title, *axes, xscale="log", yscale="log", xticks=cost_frames), "cost",
    caption="What a clip costs each network, by its length.",
)  # fmt: skip
costs.index = [f"{n_frames} frames" for n_frames in costs.index]
show_table(costs, digits=0, caption="Million flops of one pass forward for one clip.")

# %% tags=["solution"]
def seconds_of(backbone, n_frames, n_steps=3):
    """The median time of a step forward and backward on a batch of clips."""
    batch = torch.randn(batch_size, n_frames, 128, device=compute)
    sizes, taken = torch.full((batch_size,), n_frames, device=compute), []
    backbone = backbone.to(compute).train()
    for _ in range(n_steps + 1):  # the first one warms up
        begin = time.perf_counter()
        backbone(batch, sizes).sum().backward()
        if compute.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return np.median(taken[1:])


longest = max(cost_frames)
timed = {
    name: seconds_of(backbone, longest)
    for name, backbone in (("LSTM", lstm), ("CNN", cnn), ("AST", new_ast()[0].backbone))
}

# %% tags=["appendix", "told"]
# Times are this machine's; the flops above hold anywhere.
n_steps = -(-len(splits.train) // batch_size)
record.save_values(seconds_of_a_step=timed, million_flops=costs.to_dict(), n_seeds=n_seeds)
tell(
    "Measured in this run, on this machine: a step forward and backward on {n} clips of {frames} "
    "frames takes the LSTM {lstm:.0f} ms, the CNN {cnn:.0f} ms and the AST {ast:.0f} ms. An epoch "
    "of the AST above is {steps} steps of the optimiser.",
    n=batch_size, frames=longest, lstm=1000 * timed["LSTM"], cnn=1000 * timed["CNN"],
    ast=1000 * timed["AST"], steps=n_steps,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# Flops are not seconds. An LSTM has few, but one step must wait for the one before; a CNN and an AST do all at once, which
# suits a GPU. The sizes differ, too: this AST is a small one. The course's default, `base384` with overlapping patches, has
# 1,214 tokens of width 768: put these numbers into the formula and compare.

# %% [markdown] tags=["extra"]
# ### Other weights to begin with
#
# With `weights = "imagenet"` the AST starts where DeiT, a network for photographs, ended (timm gets the weights:
# `pip install timm`, and the network, once). A file does as well: DeiT's, one of the AST's authors, or a checkpoint that you
# trained with the course's class. Sizes must agree: DeiT's weights fit the course's four sizes, and not the kit's `mini`.
# What has no counterpart is made to fit, as in the course:
#
# - *colours*: DeiT's filters see red, green and blue; a spectrogram has one colour, so the three are added;
# - *positions*: DeiT has 14 x 14 (or 24 x 24) of them; ours are cut out of the middle, or, where we need more, interpolated.
#
# The file must hold every weight of the network; what is missing is listed, in one line. (A `.pth` file is a pickle, which
# could run any code: only its tensors are read, never code.)

# %% tags=["extra"]
# The grid of positions that a photograph has, as our windows would get it: a wave for example.
across = torch.linspace(0, 6, 14)[None].sin().expand(14, -1)
needed = 12, 101  # of the course's default: 128 bands, 1,024 frames
middle = nn.functional.interpolate(across[None, None], size=(14, needed[1]), mode="bilinear")
cut = middle[0, 0, 7 - needed[0] // 2 : 7 - needed[0] // 2 + needed[0]]
print(f"{tuple(across.shape)} in a photograph, {tuple(cut.shape)} in a spectrogram: "
      "frequency cut, time stretched")  # fmt: skip

# %% [markdown] tags=["extra"]
# ## Change this and run again
#
# Here patches overlap in time: one begins every 8 frames, so there are nearly twice as many tokens. Or change the size, the
# number of hidden bands, the learning rate. Compare on **validation**, never on test.


# %% tags=["extra"]
class MyAST(models.ASTBackbone):
    """An AST that you can change."""

    def __init__(self):
        super().__init__(fstride, 8, 128, input_tdim, False, model_size, feature_size)


train_loader, val_loader, _ = datasets.make_loaders(
    splits, batch_size, seed, crop_frames=input_tdim, max_masked_bands=max_masked_bands,
    device=compute,
)  # fmt: skip
trial_epochs = max(1, epochs // 10)
seed_everything(seed)
trial = training.train(  # on the learning rates of the AST above, ended early
    models.Classifier(MyAST(), len(classes)), train_loader, val_loader, epochs=epochs,
    stop_after=trial_epochs, learning_rate=learning_rate, patience=epochs, device=compute,
    name="my AST",
)  # fmt: skip
print(f"my AST after {trial_epochs} epochs: validation loss {min(trial.val_loss):.3f}; "
      f"the AST above after as many: {min(history.val_loss[:trial_epochs]):.3f}")  # fmt: skip

# %% [markdown]
# ## What we learned

# %% tags=["told"]
# Means over the trainings of each.
means = {name: np.mean([np.mean(one == true) for one in every]) for name, every in outputs.items()}
tell(
    "On the test clips of this run the AST recognises {ast:.0%}, CNN (train) {cnn:.0%}, the LSTM "
    "{lstm:.0%} (means over their trainings), the largest class {majority:.0%}.",
    ast=means["ast_mel_best"], cnn=means["cnn_mel_best"], lstm=means["lstm_mel_full"],
    majority=scores["majority_full"]["accuracy"].value,
)  # fmt: skip

# %% [markdown]
# - A transformer is a sum of two steps, repeated: ask the others, think by yourself. Everything about sound it has to learn.
# - Attention has no order and no distance: positions are added, and padding must be masked.
# - Its cost grows with the square of what it takes at once: so long clips are cut, or a GPU is needed.
# - What a network looks at is not yet what it uses: hide it, and see.
#
# **Check yourself**
#
# <details><summary>Why is the mask not simply a multiplication of the tokens by 0?</summary>
# A token of zeros still takes part in the softmax: its product with every query is 0, and exp(0) = 1 is a share like any
# other. The mask sets the product to minus infinity, whose exponential is 0.
# </details>
#
# <details><summary>An AST was trained with <code>input_tdim</code> 1024. Can it be used on clips of 500 frames?</summary>
# With the kit's class, yes: the positions of the first 500 frames are used, and no token asks what lies behind. With the
# course's class the clip must be padded, and the padding is asked as if it were music.
# </details>
#
# <details><summary>Twice the width D, the same tokens: how many more parameters and flops?</summary>
# About four times as many of both: the linear layers have 12 D² weights per block, and are used once for each token. The
# part of attention itself doubles.
# </details>
#
# <details><summary>Why has the last block only two queries to answer?</summary>
# Its outputs are read at two places only. Keys and values of all tokens are needed there, but no other token is asked for
# anything afterwards.
# </details>
#
# <details><summary>Which metric on which set would you take for an AST in 9γ?</summary>
# The validation loss on the validation part, as for the other networks: it is what training lowers, it moves smoothly, and
# neither training nor test clips may choose the epoch. Macro F1 on validation, the table of 9β, is then what one *looks at*
# beside it, because the classes have unequal numbers of clips.
# </details>

# %% tags=["stored"]
# What later notebooks read.
for number, predicted in enumerate(outputs["ast_mel_best"]):
    name = of_seed("test_ast_mel_best", number)
    record.save_predictions(name, test.ids, predicted, ["class"])
reported = scores["ast_mel_best"]["accuracy"].value
majority = scores["majority_full"]["accuracy"].value
record.finish(key_metric=f"AST: accuracy {reported:.2f} (majority {majority:.2f})")
