# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · LSTMs on spectrograms
#
# **What you will learn**
# - how a recurrent network reads a spectrogram frame by frame, and how clips of unequal length share a batch
# - how to write the training loop, and how to find its bugs in seconds: over-train it on four batches
# - which representation of the same music (mel, beat-synchronous mel, chroma, both) is easiest for an LSTM
#
# **Needs** the data only (notebook 00). **Leaves** three checkpoints (one per seed) of each of the six LSTMs, the
# validation table, and the name of the best LSTM, for notebooks 06, 07 and 08.
#
# **Takes** about three minutes on the demo set with two CPU cores. With the lab's data: eight times as many
# clips, and the `full` profile trains longer: take a GPU.
#
# **The one insight:** a network that cannot learn four batches by heart has a bug; look for it before you wait for an
# hour.
#
# **How to read:** the core path takes about an hour in two sittings; a good break is after Exercise 5.2. **Predict**
# first, then open the box, then look at the result. Do the exercises before you open their solutions. Extras are
# folded.

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
import copy
import math
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from helpers import baselines, datasets, folders, models, plots, training
from helpers.evaluation import Score
from helpers.features import N_MELS
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, show_table, tell, tell_list

notebook = "05_lstm"
plots.use_style()

# %% tags=["setup", "parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 16  # clips per step
hidden_size = 64  # units per direction
n_layers = 1
pooling = "mean"  # how frames become one vector per clip: mean, last, mean_max or attention
stack = 16  # frames of a full clip that are read as one step; beats are read one by one
cepstrum = True  # read the mel bands as cepstral coefficients
epochs = 7  # passes over the full training clips, at most
beat_epochs = 20  # the same for beat-synchronous clips, which cost a tenth
patience = 6  # epochs without a better validation loss before training stops
learning_rate = 0.003  # of Adam, after one epoch of warm-up
mixup = 0.3  # train on mixtures of two clips: 0 none, 0.3 mostly slight ones, 1 all shares alike
plain_epochs = 20  # passes of the plain LSTM over the training clips, at most
overfit_epochs = 30  # passes over the four batches of step 5β
n_seeds = 3  # trainings of each model, each from another seed; the first one is used later

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown] tags=["report"]
# ## 5α · An LSTM that takes the spectrograms of step 4
#
# > **Handout.** *Προσαρμόστε το LSTM της 2ης άσκησης ώστε να δέχεται τα φασματογράμματα του Dataset του βήματος 4.*
# > Adapt the LSTM of lab 2 so that it takes the spectrograms of step 4's Dataset.
#
# What has to be adapted?
#
# | | lab 2: spoken digits | here: clips of music |
# |---|---|---|
# | a frame is | 13 MFCCs | F = 128 mel bands, 12 chroma values, or all 140 |
# | frames per sample | some tens | some tens of beats, or about 1,290 frames |
# | padding | zeros | zeros too, but *after* scaling: raw 0 dB is the loudest sound |
# | answer from | the last time step | the mean over all time steps: no moment of a song is "the last word" |
# | classes, loss | 10 digits, cross-entropy | the music classes of step 4β, cross-entropy |
#
# ### One LSTM cell
#
# An [LSTM](../docs/glossary.md#lstm) reads one frame $x_t$ after the other. It carries two vectors along: the memory $c$, and the output $h$.
# Three *gates* between 0 and 1 decide what happens to the memory: *forget* $f$, *input* $i$, *output* $o$.
#
# $$ f_t = \sigma(W_f x_t + U_f h_{t-1} + b_f), \quad i_t = \sigma(W_i x_t + U_i h_{t-1} + b_i), \quad o_t = \sigma(W_o x_t + U_o h_{t-1} + b_o) $$
#
# $$ g_t = \tanh(W_g x_t + U_g h_{t-1} + b_g) $$
#
# $$ c_t = f_t \cdot c_{t-1} + i_t \cdot g_t, \qquad h_t = o_t \cdot \tanh(c_t) $$
#
# ```text
#                  forget            add
#                    f                i * g
#                    |                 |
#   c(t-1) --------->*---------------->+-----------------+--------> c(t)    memory
#                                                        |
#                                                      tanh
#                                                        |
#                                           o ---------->*--------> h(t)    output
#
#   h(t-1) ---+
#             +---> four small layers:  f, i, o (sigmoid: 0 to 1)  and  g (tanh: -1 to 1)
#   x(t)   ---+
# ```
#
# Along the upper line the memory is only multiplied by $f$ and added to. Where $f$ stays near 1, what was stored many
# frames ago is still there, and its gradient finds the way back. `nn.LSTM` does these steps for all frames of a batch.
# It keeps two biases per gate, which are added.
#
# *Bidirectional* means: a second LSTM reads the clip from its end. Both outputs of a frame stand side by side, 2H
# numbers.
#
# ### From frames to one answer
#
# ```text
#   x [B, T, F] --LSTM, both ways--> [B, T, 2H] --mean over real frames--> [B, 2H] --Linear--> [B, C]
#
#   one batch (B = 3 clips, T = 6):          the mask:
#   clip 1   # # # # # #                     1 1 1 1 1 1
#   clip 2   # # # # 0 0   padded with 0     1 1 1 1 0 0
#   clip 3   # # # # # 0                     1 1 1 1 1 0
# ```
#
# B clips, T time steps, F numbers per frame, H hidden units, C classes. The padding must not count, in two places: the
# backward LSTM must begin at the clip's own last frame, and the mean must leave the padding out ([pooling](../docs/glossary.md#pooling)).

# %%
# The beat-synchronous clips of step 4: scaled with the training clips' statistics, then padded.
beat = datasets.genre_splits(root / folders.GENRE_BEAT, "mel", seed)
loaders = datasets.make_loaders(beat, batch_size, seed, device=compute)
train_loader, val_loader = loaders[0], loaders[1]
n_features, n_classes = beat.base.n_features, len(beat.base.classes)
x, y, lengths = next(iter(train_loader))
print(f"x {tuple(x.shape)}   y {tuple(y.shape)}   lengths from {lengths.min()} to {lengths.max()}")
print(f"{len(beat.train)} clips to train on, {len(beat.val)} to validate, {n_classes} classes")

# %% [markdown]
# The loader puts clips of similar length into one batch, so that little is padded; this one holds long clips. On the
# demo set the mean over all training clips is about 56 beats.
#
# ### Exercise 5.1 · The mean that leaves the padding out
#
# Write the arrow in the middle of the drawing, without a loop over clips. Compare `torch.arange(T)`, [T], with
# `lengths[:, None]`, [B, 1]: the result is the mask, [B, T].


# %% tags=["exercise"]
def my_masked_mean(steps, lengths):
    """The mean over each clip's own frames: steps [B, T, D], lengths [B] -> [B, D]."""
    ...


def check_masked_mean(function):
    """Clips of 3 and of 1 frames, padded to 4 frames with numbers that must not count."""
    steps, lengths = torch.arange(16.0).reshape(2, 4, 2), torch.tensor([3, 1])
    found = function(steps, lengths)
    if found is None:
        print("not written yet")
        return
    wanted = torch.stack([steps[0, :3].mean(0), steps[1, :1].mean(0)])
    assert found.shape == (2, 2), f"the shape is [B, D] = (2, 2), yours is {tuple(found.shape)}"
    assert torch.allclose(found, wanted), f"expected {wanted.tolist()}, got {found.tolist()}"
    print("right: the padding does not count")


check_masked_mean(my_masked_mean)


# %% tags=["solution", "folded"]
def masked_mean(steps, lengths):
    """The mean over each clip's own frames: steps [B, T, D], lengths [B] -> [B, D]."""
    frame = torch.arange(steps.shape[1], device=steps.device)  # [T]
    real = frame < lengths[:, None]  # [B, T]: True on real frames
    return (steps * real[:, :, None]).sum(1) / lengths[:, None]


check_masked_mean(masked_mean)

# %% [markdown]
# ### The whole network
#
# `pack_padded_sequence` tells `nn.LSTM` where each clip ends, so that the backward LSTM begins there.


# %% tags=["solution", "report"]
class PlainLSTM(nn.Module):
    """A bidirectional LSTM, the mean over a clip's frames, and one score (logit) per class."""

    def __init__(self, n_features, hidden_size, n_classes):
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden_size, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, n_classes)

    def forward(self, x, lengths):  # x [B, T, F], lengths [B]
        ends = lengths.cpu()
        packed = pack_padded_sequence(x, ends, batch_first=True, enforce_sorted=False)
        steps, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # [B, T, 2H]
        return self.head(masked_mean(steps, lengths))  # [B, 2H] -> [B, C]


# %%
def fresh_plain():
    """A PlainLSTM with fresh weights, always the same ones."""
    seed_everything(seed)
    return PlainLSTM(n_features, hidden_size, n_classes).to(compute)


plain = fresh_plain()
print(f"logits {tuple(plain(x, lengths).shape)}; {models.n_parameters(plain):,} weights")

# %% [markdown]
# Later steps use the kit's `LSTMBackbone`. Does it compute the same? We copy our weights into it and compare. It keeps
# the two directions as two LSTMs, and packs nothing: it turns each clip around inside its own length, lets a forward
# LSTM read that, and turns the result back.


# %%
def kit_twin(plain):
    """The kit's classifier with the weights of a PlainLSTM."""
    twin = models.Classifier(models.LSTMBackbone(n_features, hidden_size), n_classes)
    ahead, back = {}, {}
    for name, weight in plain.lstm.state_dict().items():
        side = back if name.endswith("_reverse") else ahead
        side[name.removesuffix("_reverse")] = weight
    twin.backbone.forward_layers[0].load_state_dict(ahead)
    twin.backbone.backward_layers[0].load_state_dict(back)
    twin.head.load_state_dict(plain.head.state_dict())
    return twin.to(compute).eval()  # eval: without dropout


twin = kit_twin(plain)
with torch.no_grad():
    agree("logits of PlainLSTM", lambda: plain(x, lengths), lambda: twin(x, lengths))

# %% tags=["report", "told"]
# In one sentence, for the report.
tell(
    "The plain LSTM reads {n_features} numbers per frame with {hidden} units per direction; the "
    "mean of its outputs over a clip's frames goes through a linear layer to {n_classes} scores. "
    "It has {weights:,} weights (PyTorch keeps two biases per gate, whose sum is the one of the "
    "formula). With the same weights the kit's `LSTMBackbone` gives the same answers.",
    n_features=n_features, hidden=hidden_size, weights=models.n_parameters(plain),
    n_classes=n_classes,
)  # fmt: skip

# %% [markdown] tags=["report"]
# ## 5β · `overfit_batch`: learn four batches by heart
#
# > **Handout.** *Η `train(...)` παίρνει μια λογική παράμετρο `overfit_batch`· όταν είναι True, υπερεκπαιδεύει το δίκτυο σε
# > 3-4 δέσμες, και η απώλεια εκπαίδευσης πρέπει να πλησιάσει το 0.*
# > `train(...)` has a boolean parameter `overfit_batch`; when True it over-trains on 3-4 batches, and the loss must go to 0.
#
# ### The loss, and what it is before the first step
#
# The network gives each clip $b$ one score $z_{b,c}$ per class. Softmax turns the scores into probabilities, and the
# [loss](../docs/glossary.md#loss), [cross-entropy](../docs/glossary.md#cross-entropy), is minus the logarithm of the probability of the true class $y_b$:
#
# $$ L = -\frac{1}{B}\sum_{b=1}^{B} \log \frac{e^{z_{b,y_b}}}{\sum_{c} e^{z_{b,c}}} $$
#
# `cross_entropy` takes the scores themselves and applies the softmax inside.
#
# **Predict.** Ten classes, random first weights. What is the loss before the first step?
#
# <details><summary>What to expect, and why</summary>
#
# The scores are all near 0, so each of the C classes gets a probability near 1/C, and the loss is near ln C: 2.303 for
# ten classes. A first loss far above that comes from scores that are far from 0: unscaled input, most often.
#
# </details>


# %% tags=["solution"]
@torch.no_grad()
def evaluate(model, batches):
    """The mean loss per clip, and the accuracy, with dropout switched off."""
    model.eval()
    loss, right, n_clips = 0.0, 0, 0
    for x, y, lengths in batches:
        logits = model(x, lengths)  # [B, C]
        loss += nn.functional.cross_entropy(logits, y, reduction="sum").item()
        right += (logits.argmax(1) == y).sum().item()
        n_clips += len(y)
    return loss / n_clips, right / n_clips


first_loss, first_accuracy = evaluate(plain, val_loader)
tell(
    "Before the first step: loss {loss:.3f}; ln({n}) = {chance:.3f}.",
    loss=first_loss, n=n_classes, chance=math.log(n_classes),
)  # fmt: skip

# %% [markdown]
# ### One epoch of training
#
# Six steps per batch. Each has its reason, and each can be forgotten:
#
# 1. `zero_grad`: PyTorch *adds* new gradients to the old ones, so the old ones must go.
# 2. forward: the scores.
# 3. the loss.
# 4. `backward`: its gradient with respect to every weight.
# 5. [gradient clipping](../docs/glossary.md#gradient-clipping): where the gradient $g$ of all weights together is longer than 1, it is shortened to length 1.
# 6. `step`: Adam moves each weight against its gradient, by about the [learning rate](../docs/glossary.md#learning-rate). It divides each weight's
#    gradient by that weight's own typical gradient, so all weights move about equally fast.
#
# $$ g \leftarrow g \cdot \min\left(1, \frac{1}{\lVert g \rVert}\right) $$
#
# Why clip? The gradient at an early frame is a product with one factor per later frame. Factors below 1 make it
# *vanish* (notebook 01 draws that); factors above 1 make it *explode*: $1.1^{100}$ is 13,781. With plain
# gradient descent one such batch would throw the weights far away. Adam bounds the step itself, but the huge gradient
# stays in the running averages that it divides by, and for many steps the weights would hardly move. Clipping keeps the
# direction and bounds the length, so no batch counts for much more than the others. It does nothing against vanishing.


# %% tags=["solution", "report"]
def train_one_epoch(model, batches, optimizer):
    """One pass over the batches; returns the length of each batch's gradient before clipping."""
    model.train()  # dropout on, where there is any
    norms = []
    for x, y, lengths in batches:
        optimizer.zero_grad()
        logits = model(x, lengths)  # [B, C]
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
    return norms


# %%
# Try it.
trial = fresh_plain()
norms = train_one_epoch(trial, train_loader, torch.optim.Adam(trial.parameters(), learning_rate))
n_clipped = sum(norm > 1 for norm in norms)
print(f"first epoch: {n_clipped} of {len(norms)} gradients clipped, the longest {max(norms):.2f}")

# %% [markdown]
# Clipping is common here, but mild. The limit is there for the rare batch whose gradient is a hundred times as long.
#
# ### The whole training, with `overfit_batch`
#
# After each [epoch](../docs/glossary.md#epoch) the validation loss is measured. When it is the lowest so far, the weights (the [state dict](../docs/glossary.md#state-dict)) are copied; after
# `patience` epochs without a new lowest value, training stops, and the copy is put back: [early stopping](../docs/glossary.md#early-stopping). With `overfit_batch=True`
# only four batches are used, for training and for measuring.


# %% tags=["solution", "report"]
def train(model, train_batches, val_batches, epochs, learning_rate, overfit_batch=False):
    """Train with Adam, keep the best epoch's weights; with `overfit_batch` on four batches only."""
    if overfit_batch:
        train_batches = val_batches = list(islice(train_batches, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    history = training.History("plain LSTM")  # two lists of losses, and the epoch that is kept
    for epoch in range(1, epochs + 1):
        train_one_epoch(model, train_batches, optimizer)
        history.train_loss.append(evaluate(model, train_batches)[0])
        history.val_loss.append(evaluate(model, val_batches)[0])
        if history.val_loss[-1] < min(history.val_loss[:-1], default=math.inf):
            history.best_epoch, best_weights = epoch, copy.deepcopy(model.state_dict())
        if not overfit_batch and epoch - history.best_epoch >= patience:
            break
    model.load_state_dict(best_weights)
    return history


# %% tags=["solution"]
overfit = train(
    fresh_plain(), train_loader, val_loader, overfit_epochs, 2 * learning_rate, overfit_batch=True
)

# %% tags=["report", "told"]
# The curve of the over-training, and whether it went to 0.
n_passes = len(overfit.train_loss)
four_batches = training.History("four batches", overfit.train_loss, best_epoch=n_passes)
record.show(
    plots.learning_curves({"four batches": four_batches}, "Does the loss go to 0?"),
    "overfit_batch", caption="Training loss of the LSTM on four batches.",
)  # fmt: skip
tell(
    "Yes: the training loss fell from {first:.2f} after the first pass to {last:.4f} after "
    "{passes} passes over {n} batches, below 0.1." if overfit.train_loss[-1] < 0.1 else
    "Not yet: the training loss went from {first:.2f} after the first pass to {last:.4f} after "
    "{passes} passes over {n} batches, not below 0.1.",
    first=overfit.train_loss[0], last=overfit.train_loss[-1], passes=n_passes,
    n=min(4, len(train_loader)),
)  # fmt: skip
record.save_values(overfit_loss=overfit.train_loss)

# %% [markdown]
# If your loss stays up, suspect a bug before you tune anything. The older handout (2019-20) adds: a few epochs on 4-5
# batches *with* validation, so that small mistakes in the second half of the loop show early, too.

# %% tags=["solution"]
five = list(islice(train_loader, 5))
short = train(fresh_plain(), five, val_loader, 3, learning_rate)
print("validation loss after each epoch:", [round(loss, 3) for loss in short.val_loss])

# %% [markdown]
# It falls, so the second half of the loop works as well.
#
# ### Bug hunt
#
# Five trainings, each with one classic bug. Which of them does `overfit_batch` catch?


# %%
class NeverZero(torch.optim.Adam):
    """Bug 1: `zero_grad` is forgotten; gradients add up from step to step."""

    def zero_grad(self, set_to_none=True):
        """Does nothing: the bug."""
        pass


class SoftmaxFirst(PlainLSTM):
    """Bug 2: softmax before `cross_entropy`, which applies one itself."""

    def forward(self, x, lengths):
        """[B, T, F] -> probabilities where scores belong."""
        return super().forward(x, lengths).softmax(1)


class NoBatchFirst(PlainLSTM):
    """Bug 3: without `batch_first` the LSTM takes the clips of a batch for time steps."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.lstm = nn.LSTM(n_features, hidden_size, bidirectional=True)

    def forward(self, x, lengths):
        """[B, T, F] -> [B, C], along the wrong axis."""
        return self.head(masked_mean(self.lstm(x)[0], lengths))


# %%
class FrozenHead(PlainLSTM):
    """Bug 4: the head does not learn."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.head.requires_grad_(False)


# %% [markdown]
# Bug 5: the labels are shuffled, as by reading the label file in another order than the clips.
#
# **Predict**, in the cell: `True` where you think that `overfit_batch` catches the bug, because the loss stays up.
# Write your five guesses down before you scroll on.

# %% tags=["exercise"]
# True: caught, False: not caught; None is no guess.
my_guess = {
    "forgotten zero_grad": None,
    "softmax before cross-entropy": None,
    "missing batch_first": None,
    "frozen head": None,
    "shuffled labels": None,
}

# %%
# Four batches of random clips, cut to 24 beats, so that the hunt takes seconds.
order = torch.randperm(len(beat.train), generator=torch.Generator().manual_seed(seed)).tolist()
few = torch.utils.data.Subset(beat.train, order[: 4 * batch_size])  # PyTorch's `Subset`
few_loader = datasets.make_loader(few, batch_size, device=compute)
few_batches = [(x[:, :24], y, lengths.clamp(max=24)) for x, y, lengths in few_loader]
shuffled = [(x, y[torch.randperm(len(y))], lengths) for x, y, lengths in few_batches]
suspects = {
    "no bug": (PlainLSTM, torch.optim.Adam, few_batches),
    "forgotten zero_grad": (PlainLSTM, NeverZero, few_batches),
    "softmax before cross-entropy": (SoftmaxFirst, torch.optim.Adam, few_batches),
    "missing batch_first": (NoBatchFirst, torch.optim.Adam, few_batches),
    "frozen head": (FrozenHead, torch.optim.Adam, few_batches),
    "shuffled labels": (PlainLSTM, torch.optim.Adam, shuffled),
}


# %% [markdown]
# Three more checks stand beside `overfit_batch`, each one line: does a clip get the same answer alone as in its batch?
# Did all weights move? How many *validation* clips does the over-trained network name correctly? The alarm rings when
# the loss is still above 0.1 in the end.


# %%
def examine(network, optimizer_class, batches):
    """Over-train a fresh network on a few batches, then run the four checks."""
    seed_everything(seed)
    model = network(n_features, hidden_size, n_classes).to(compute)
    before = copy.deepcopy(model.state_dict())
    optimizer = optimizer_class(model.parameters(), lr=3 * learning_rate)
    for _ in range(overfit_epochs):
        train_one_epoch(model, batches, optimizer)
    x, _, lengths = batches[0]
    with torch.no_grad():
        gap = (model(x, lengths)[:1] - model(x[:1], lengths[:1])).abs().max().item()
    still = [name for name, old in before.items() if torch.equal(old, model.state_dict()[name])]
    return {
        "loss at the end": evaluate(model, batches)[0],
        "alone - in its batch": gap,
        "weights that stood still": len(still),
        "validation accuracy": evaluate(model, val_loader)[1],
    }


# %% tags=["appendix", "told"]
# The five bugs beside each other: does the alarm ring?
hunt = pd.DataFrame({name: examine(*parts) for name, parts in suspects.items()}).T
caught = hunt["loss at the end"] > 0.1
hunt.insert(1, "overfit_batch", np.where(caught, "alarm", "passed"))
hunt["weights that stood still"] = hunt["weights that stood still"].astype(int)
record.save_table("bug_hunt", hunt.reset_index(names="bug"))
show_table(hunt, 2, caption="Five bugs, each after over-training on four small batches.")
tell(
    "Without a bug the loss stays above 0.1, too: with so few passes `overfit_batch` tells nothing "
    "about the bugs." if caught["no bug"] else "`overfit_batch` catches: {found}.",
    found=caught.index[caught].tolist(),
)  # fmt: skip

# %% tags=["told"]
guessed = {name: guess for name, guess in my_guess.items() if guess is not None}
n_right = sum(guess == caught[name] for name, guess in guessed.items())
print(f"{n_right} of your {len(guessed)} guesses were right" if guessed else "nothing guessed yet")

# %% [markdown]
# - **Softmax first** is the bug that `overfit_batch` was made for. The largest score that a softmax can give is 1, so
#   the loss cannot fall below $\ln(1 + (C - 1)/e)$: 1.46 for ten classes.
# - **Forgotten `zero_grad`**: the step follows the sum of all gradients so far. Clipping and Adam's own scaling keep it
#   bounded, so it may wander or even arrive, late. Look at the *curve*, not only at its end.
# - **Missing `batch_first`**: the LSTM runs across the clips. Each answer depends on the other clips of the batch, and
#   the four batches are always the same, so they *can* be learned. The clip alone gets another answer: that is the
#   check. (With a packed sequence `nn.LSTM` ignores the flag; the bug needs padded input, as most code has it.) On the
#   demo set its validation accuracy is not below the one without a bug: a score does not show this bug either. Only the
#   clip tested alone does.
# - **Frozen head**: the LSTM learns to fit a random head, more slowly and not all the way, because that head's scores
#   are bounded. Whether the alarm rings depends on where you set the bar; the weights that stood still are the sure
#   sign. (An optimizer that was given *another model's* parameters is the commoner form: then all weights stand still.)
# - **Shuffled labels** are memorised like true ones (Zhang et al. 2017, arXiv 1611.03530). Only clips that were not
#   trained on show it: the validation accuracy is that of always naming the largest class.
#
# So the test is one-sided. A loss that stays up means a bug, or steps that are too few or too small (so over-train with
# two or three times the usual learning rate); a loss of 0 does not mean that there is none.

# %% [markdown]
# ### Exercise 5.2 · Early stopping on paper
#
# Given a list of validation losses and a patience: after which epoch does training stop, and which epoch's weights are
# kept? Count epochs from 1. First by hand: 2.0, 1.5, 1.6, 1.4, 1.7, 1.5, 1.3 with patience 2. Then write the function.
# Of two equal losses the first one is kept.


# %% tags=["exercise"]
def my_early_stopping(val_losses, patience):
    """The epoch after which training stops, and the one that is kept: a pair of ints."""
    ...


def check_early_stopping(function):
    """Two short trainings; in the second one the patience is never used up."""
    first = function([2.0, 1.5, 1.6, 1.4, 1.7, 1.5, 1.3], 2)
    if first is None:
        print("not written yet")
        return
    assert first == (6, 4), f"expected (6, 4): 1.3 comes too late; got {first}"
    second = function([2.0, 1.5, 1.6, 1.4], 5)
    assert second == (4, 4), f"expected (4, 4): the list ends first; got {second}"
    assert function([1.0, 1.0], 5) == (2, 1), "of two equal losses the first one is kept"
    print("right: a better epoch may come too late, that is the price of stopping")


check_early_stopping(my_early_stopping)


# %% tags=["solution", "folded"]
def early_stopping(val_losses, patience):
    """The epoch after which training stops, and the one that is kept: a pair of ints."""
    kept = 1
    for epoch, loss in enumerate(val_losses, start=1):
        if loss < val_losses[kept - 1]:
            kept = epoch
        if epoch - kept >= patience:
            break
    return epoch, kept


check_early_stopping(early_stopping)

# %% [markdown]
# ## A first training, with nothing but the code above
#
# **Predict.** The plain LSTM now learns from all training clips, one frame per beat. Its training loss will go on
# falling towards 0. What will the validation loss do?
#
# <details><summary>What to expect, and why</summary>
#
# It falls at first, because what helps on the training clips helps on others, too. Then it turns and rises, while the
# training loss goes on falling: from there the network learns single clips by heart (it *memorises* them) and is sure,
# also where it errs. That is [over-fitting](../docs/glossary.md#over-fitting); early stopping keeps the epoch before the turn.
#
# </details>

# %% tags=["solution"]
plain = fresh_plain()
plain_history = train(plain, train_loader, val_loader, plain_epochs, learning_rate)
plain_loss, plain_accuracy = evaluate(plain, val_loader)

# %% tags=["appendix", "told"]
# The curve of the plain training, and what it says.
record.show(
    plots.learning_curves(
        {"plain LSTM, beats": plain_history}, "Loss after each epoch"
    ),
    "plain_lstm", caption="Learning curves of the plain LSTM; the dotted line is the kept epoch.",
)  # fmt: skip
tell(
    "The plain LSTM: kept epoch {epoch}, validation loss {loss:.3f}, accuracy {accuracy:.3f}. In "
    "its last epoch ({last}) the training loss was {train:.3f} and the validation loss {val:.3f}.",
    epoch=plain_history.best_epoch, loss=plain_loss, accuracy=plain_accuracy,
    last=len(plain_history.val_loss), train=plain_history.train_loss[-1],
    val=plain_history.val_loss[-1],
)  # fmt: skip

# %% [markdown]
# **Read the curves.** On the demo set the training loss falls to the end. The validation loss falls for about four
# epochs, is then nearly flat, and ends a little above its lowest value, the dotted line: over-fitting, with 100,000
# weights and 231 clips. The weights of the dotted line are kept.

# %% [markdown]
# ## From here on: the kit's LSTM and its training
#
# The kit's `training.train` is the loop above with additions. First: is its loss our loss? (It computes in *bfloat16*
# where the processor can, with about three digits; hence the tolerance.)

# %%
# The kit's loss on the same clips with the same weights (in bfloat16 where there is any).
twin = kit_twin(plain)
agree(
    "validation loss",
    lambda: evaluate(plain, val_loader)[0],
    lambda: training.evaluate_loss(twin, val_loader, nn.CrossEntropyLoss(), compute),
    tolerance=0.02,
)

# %% [markdown]
# | the kit adds | why | what it gains | where (`helpers/`) |
# |---|---|---|---|
# | turning each clip around in place of packing | packed sequences of unequal length are slow on a CPU | time, measured below | `models.py`, `LSTMBackbone.steps` |
# | 16 frames of a full clip joined into one step | neighbouring frames repeat each other | time, measured below; accuracy: no difference found | `models.py`, `stack_frames` |
# | mel bands read as [cepstral](../docs/glossary.md#cepstrum) coefficients (a cosine transform of the bands) | Adam treats each input on its own, so the choice of inputs matters | accuracy +0.040 [0.007, 0.075] | `models.py`, `cosine_matrix`; *Extra* below |
# | [mixup](../docs/glossary.md#mixup): training on mixtures of two clips | few clips are soon memorised | accuracy +0.032 [0.009, 0.055] | `training.py`, `_mixed_loss` |
# | the learning rate rises for an epoch, then falls along a cosine | Adam's first steps rest on few gradients; small last steps settle | not measured by itself | `training.py`, `_warm_up_then_cosine` |
# | gradients clipped at length 1 | as above | safety | `training.py`, `_train_epoch` |
# | [dropout](../docs/glossary.md#dropout) 0.2 before the head, [weight decay](../docs/glossary.md#weight-decay) 0.0001 | against memorising | decay: no difference found | `models.py`, `training.py` |
# | 16 bits in training: bfloat16, or float16 with a scaler | half the bytes, fast where there are instructions for it | time | `machinery/process.py`, `autocast` |
# | the best epoch's weights put back, and stored as a [checkpoint](../docs/glossary.md#checkpoint) | as above; later notebooks need them | | `training.py`, `train` |
#
# The accuracies are those of an earlier benchmark on 300 real songs, three seeds each, with 95 % intervals
# ([its tables](../docs/how_good_history.md)). The kit's choices were made on those songs, so the gains may be a little flattering.

# %% [markdown]
# ### Is a full clip slower? 2α come true
#
# **Predict.** One epoch on the same 64 clips: how many times as long does it take for full clips (about 1,290 frames,
# joined to 81 steps) as for beats (about 50 steps)?
#
# <details><summary>What to expect, and why</summary>
#
# A full clip has some 23 times as many *numbers* as its beats. Joined frames cost few *steps* but no fewer numbers: all
# of them are cut out, scaled and multiplied with a matrix that has 16 times as many columns. So expect about ten times
# as long; less than 23, because every step also has fixed costs. Frame by frame there are 23 times as many steps, which
# wait for each other: slower again. Notebook 01 measured a factor of that size in 2α.
#
# </details>


# %%
def epoch_seconds(model, splits):
    """The time of an epoch on 64 training clips with the kit's loop: the shorter of two."""
    part = torch.utils.data.Subset(splits.train, range(min(64, len(splits.train))))
    loader = datasets.make_loader(part, batch_size, shuffle=True, seed=seed, device=compute)
    loss = nn.CrossEntropyLoss()
    history = training.train(model, loader, epochs=2, loss=loss, device=compute, name="timing")
    return min(history.seconds)


def kit_lstm(stack):
    """The kit's LSTM classifier on mel bands, fresh."""
    backbone = models.LSTMBackbone(n_features, hidden_size, stack=stack)
    return models.Classifier(backbone, n_classes)


full = datasets.genre_splits(root / folders.GENRE, "mel", seed)
seconds = {
    "beats": epoch_seconds(kit_lstm(1), beat),
    "packed": epoch_seconds(fresh_plain(), beat),
    "joined": epoch_seconds(kit_lstm(16), full),
    "single": epoch_seconds(kit_lstm(1), full),
}

# %% tags=["appendix", "told"]
# The epochs, taken one after the other.
tell(
    "Against an epoch on beats with the kit's LSTM, taken one after the other: the packed form "
    "takes {packed:.1f} times as long, full clips with 16 frames joined {joined:.0f} times, full "
    "clips frame by frame {single:.0f} times.",
    **{name: seconds[name] / seconds["beats"] for name in ("packed", "joined", "single")},
)  # fmt: skip

# %% [markdown]
# ### One function for all features
#
# Same clips for training and validation (stratified by class, fixed by the seed) and same seeds, whatever the feature.
# Two things differ besides the feature. Beats may have more epochs, because they cost so little; early stopping decides
# in both cases. And the number of weights ([parameters](../docs/glossary.md#parameter)) grows with the numbers per step. The table in the end shows
# both.
#
# A training has luck in it: other first weights and another order of the batches, that is another [seed](../docs/glossary.md#seed), give another
# score. So each model is trained `n_seeds` times; scores are means over the trainings, and the first training is what
# later notebooks use.


# %% tags=["solution"]
def new_lstm(splits, own_seed=seed):
    """A fresh LSTM classifier for a set of splits, and its description for the checkpoint."""
    spec = {
        "backbone": "lstm",
        "backbone_options": {
            "n_features": splits.base.n_features,
            "hidden_size": hidden_size,
            "n_layers": n_layers,
            "pooling": pooling,
            "stack": stack if splits.base.folder.name == folders.GENRE else 1,
            "cepstral_bands": N_MELS if cepstrum and splits.base.feature != "chroma" else 0,
        },
        "head": "classifier",
        "head_options": {"n_classes": len(splits.base.classes)},
    }
    seed_everything(own_seed)  # the same seed for every feature
    return models.build_model(spec), spec


# %% tags=["solution"]
def train_model(model, splits, name, own_seed=seed):
    """Train a model with the kit's loop; returns its history."""
    loaders = datasets.make_loaders(splits, batch_size, own_seed, device=compute)
    on_beats = splits.base.folder.name == folders.GENRE_BEAT
    return training.train(
        model, loaders[0], loaders[1], epochs=beat_epochs if on_beats else epochs,
        patience=patience, learning_rate=learning_rate, mixup=mixup, device=compute, name=name,
    )  # fmt: skip


def train_lstm(splits, name, own_seed):
    """Train one LSTM, store its best epoch; returns the model and its history."""
    model, spec = new_lstm(splits, own_seed)
    history = train_model(model, splits, name, own_seed)
    record.save_checkpoint(
        name, model, spec, feature=splits.base.feature, scaler=splits.scaler,
        classes=splits.base.classes, epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    return model, history


def score_clips(model, part):
    """The loss and the predicted class of each clip of a part, both [n], without mixtures."""
    loader = datasets.make_loader(part, batch_size, device=compute)
    logits = torch.from_numpy(training.predict(model, loader, compute))
    losses = nn.functional.cross_entropy(logits, datasets.labels_of(part), reduction="none")
    return losses.numpy(), logits.argmax(1).numpy()


# %% [markdown]
# Scores get a 95 % interval: the clips are drawn again with replacement a thousand times, and the middle 95 % of the
# means are kept (notebook 06 says more).


# %% tags=["solution"]
def mean_score(per_clip):
    """The mean of one number per clip, [n], with its 95 % interval."""
    random = np.random.default_rng(seed)
    draws = random.integers(len(per_clip), size=(1000, len(per_clip)))
    low, high = np.percentile(per_clip[draws].mean(1), [2.5, 97.5])
    return Score(float(per_clip.mean()), float(low), float(high))


true = datasets.labels_of(beat.val).numpy()  # the same clips in the same order for every model
validation = []  # one row per model
val_loss, hits = {}, {}  # per clip, means over the trainings: loss, share of right answers; [n]
histories, at_kept = {}, {}  # of the first training: curves, loss on its own clips without mixup


# %% tags=["solution"]
def fit_lstm(folder, feature, name):
    """Train one feature of one folder, once per seed, and note how it does on validation."""
    splits = datasets.genre_splits(root / folder, feature, seed)
    # One after the other; with several GPUs, one on each (docs/many_gpus.md).
    trained = one_per_gpu(
        lambda k: train_lstm(splits, of_seed(name, k), seed + k), range(n_seeds), compute
    )
    scored = [score_clips(model, splits.val) for model, _ in trained]
    val_loss[name] = np.mean([losses for losses, _ in scored], axis=0)
    hits[name] = np.mean([predicted == true for _, predicted in scored], axis=0)
    f1 = [f1_score(true, predicted, average="macro") for _, predicted in scored]
    model, histories[name] = trained[0]
    at_kept[name] = float(score_clips(model, splits.train)[0].mean())
    kept = histories[name].best_epoch
    n_numbers = model.backbone.stack * splits.base.n_features
    validation.append({
        "model": name, "folder": folder, "feature": feature, "loss": val_loss[name].mean(),
        "training loss": at_kept[name], "accuracy": hits[name].mean(), "macro F1": np.mean(f1),
        "kept epoch": kept, "optimiser steps": kept * math.ceil(len(splits.train) / batch_size),
        "numbers per step": n_numbers, "weights": models.n_parameters(model),
    })  # fmt: skip


# %% tags=["solution"]
def tell_and_draw(names, figure_name):
    """The scores of some models, and their learning curves on one scale."""
    for name in names:
        row = validation[[row["model"] for row in validation].index(name)]
        tell(
            "{name}: validation loss {loss}, accuracy {accuracy}, macro F1 {macro:.2f} (means; "
            "trainings: {n}); kept epoch of the first training: {epoch}.",
            name=name_of(name), loss=mean_score(val_loss[name]), accuracy=mean_score(hits[name]),
            macro=row["macro F1"], n=n_seeds, epoch=row["kept epoch"],
        )  # fmt: skip
    curves = {name_of(name): histories[name] for name in names}
    marks = {name_of(name): at_kept[name] for name in names}
    figure = plots.learning_curves(curves, "Loss on training mixtures and on validation", marks)
    for ax in figure.axes:
        ax.set_ylim(0, 1.1 * math.log(n_classes))
    caption = "{models:; }: loss; dotted: the kept epoch; diamond: its training clips, unmixed."
    record.show(figure, figure_name, Sentence(caption, models=list(curves)))


# %% [markdown]
# ## 5γ · LSTM on mel spectrograms
#
# > **Handout.** *Εκπαιδεύστε το LSTM σε φασματογράμματα mel.* Train the LSTM on mel spectrograms.
#
# The full clips: about 1,290 frames of 23 ms each, read in steps of 16. The whole 30 seconds go in, not the first few.
# The curves are those of the first training; the printed scores are means over all trainings (three on the demo set).

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "mel", "lstm_mel_full")
tell_and_draw(["lstm_mel_full"], "curves_mel_full")

# %% [markdown]
# **Read the curves.** On the demo set the validation loss falls for about five epochs and is then flat. Seven epochs
# leave it little time to rise; the plain LSTM, whose loss ended a little above its lowest, had fourteen. The network
# over-fits all the same: on its training clips *unmixed* (the diamond) the loss is less than half of that on
# validation, with a million weights for 231 clips. The blue line jumps, because each epoch draws other mixtures, and
# may even lie above the validation loss, because mixtures are harder to name than clips: so with mixup the two lines
# alone do not show over-fitting.

# %% [markdown]
# ## 5δ · LSTM on beat-synchronous mel spectrograms
#
# > **Handout.** *Εκπαιδεύστε το σε φασματογράμματα mel συγχρονισμένα στους παλμούς.* Train it on beat-synchronous mel
# > spectrograms.
#
# One frame per beat: some fifty frames in place of 1,290, each of them the median of all frames between two beats.
#
# **Predict.** A median keeps what sounds for most of a beat. What does the LSTM lose?
#
# <details><summary>What to expect, and why</summary>
#
# Attacks: a drum stroke lasts a few frames and is voted out by the others. And rhythm: how the strokes lie inside a
# beat is gone, and so is the tempo (only the number of beats in the 30 seconds still tells it). Melody, harmony and the
# average sound stay. In return there are fewer numbers to memorise, and fewer weights.
#
# </details>

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE_BEAT, "mel", "lstm_mel_beat")
tell_and_draw(["lstm_mel_beat"], "curves_mel_beat")

# %% [markdown]
# **Read the curves.** On the demo set it is much the same picture, at about an eighth of the time per epoch and with a
# tenth of the weights; with more epochs one sees the validation loss rise a little after the kept one. It ends close to
# the full clips: what the median took away is hardly missed. Whether 57 clips could tell is asked below.

# %% [markdown]
# ## 5ε · LSTM on chromagrams
#
# > **Handout.** *Εκπαιδεύστε το σε χρωμογράμματα.* Train it on chromagrams.
#
# Twelve numbers per frame: which notes sound, whatever the octave. Harmony is kept; most of the timbre is gone.
#
# **Predict.** On the demo set mel reached a loss of about 1.1; guessing costs 2.3. Where will chroma end?
#
# <details><summary>What to expect, and why</summary>
#
# Nearer to guessing: harmony alone says little of a genre, and noise fills all twelve pitch classes; genres that differ
# by their instruments (Metal and Rock, say) become alike. Yet not at guessing: dense or thin chords and fast or slow
# changes can still be told apart.
#
# </details>

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "chroma", "lstm_chroma_full")
fit_lstm(folders.GENRE_BEAT, "chroma", "lstm_chroma_beat")
tell_and_draw(["lstm_chroma_full", "lstm_chroma_beat"], "curves_chroma")

# %% [markdown]
# **Read the curves.** On the demo set both stay far above mel: without timbre, genres that share their chords look
# alike. Full clips end a little lower than beats. One of their steps shows 16 frames of 12 numbers side by side, so how
# the notes move within a third of a second is visible; one beat is 12 numbers. And in both, on beats even with 12
# numbers per step, the diamond lies well below the validation loss: 231 clips are few.

# %% [markdown]
# ## 5ζ · LSTM on chroma and mel together
#
# > **Handout.** *(Προαιρετικό· υποχρεωτικό από το 2024.) Εκπαιδεύστε το σε ενωμένα χρωμογράμματα και φασματογράμματα mel.*
# > (Extra credit; obligatory since 2024.) Train it on chroma and mel put together.
#
# The 12 chroma rows are appended to the 128 mel rows. Raw, mel values reach -80 and chroma lies between 0 and 1: chroma
# would be drowned. Scaling gives every row a standard deviation of 1. But then the mel rows become cepstral
# coefficients. How large are these?

# %% tags=["solution", "report"]
fused = datasets.genre_splits(root / folders.GENRE_BEAT, "fused", seed)
frames = torch.cat([clip for clip, _, _ in fused.train])  # [all frames, 140]
coefficients = frames[:, :N_MELS] @ models.cosine_matrix(N_MELS)
tell(
    "Standard deviations in the fused model's input: first coefficients {first:.1f}, {second:.1f} "
    "and {third:.1f}; chroma rows {chroma:.1f}.",
    first=float(coefficients[:, 0].std()), second=float(coefficients[:, 1].std()),
    third=float(coefficients[:, 2].std()), chroma=float(frames[:, N_MELS:].std(0).mean()),
)  # fmt: skip

# %% [markdown]
# The transform is a rotation: it keeps the sum of the 128 variances, 128. But most of it now sits in three numbers, the
# loudness of the frame first (their standard deviations are printed above). The twelve chroma rows together hold 12. So
# chroma is a quiet part of the input: about 9 % of the variance that the first random weights receive. "Change this and
# run again", below, tries chroma made louder.
#
# **Predict.** Will both together be better than mel alone?
#
# <details><summary>What to expect, and why</summary>
#
# Perhaps a little: the notes are in the mel rows already, only less plainly, and the added rows are small. More inputs
# also mean more weights for the same clips.
#
# </details>

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "fused", "lstm_fused_full")
fit_lstm(folders.GENRE_BEAT, "fused", "lstm_fused_beat")
tell_and_draw(["lstm_fused_full", "lstm_fused_beat"], "curves_fused")

# %% [markdown]
# **Read the curves.** On the demo set both losses end a little lower than those of mel alone, on beats more so,
# although chroma is quiet. A small gain, as predicted; the next section says whether it is one.

# %% [markdown]
# ## 5 · What the validation set says
#
# The [validation set](../docs/glossary.md#validation-set) chooses, twice, and by one rule: the **lowest loss**. It has chosen the epoch of each training;
# now it chooses the model, by the mean over its trainings. The loss is smooth and counts how sure each answer is;
# accuracy jumps by whole clips. The test set is still unseen: notebook 06 opens it, and compares the representations
# there.
#
# Beside the LSTMs, on the same clips: the plain LSTM, the majority class, and an SVM (a classic classifier that draws a
# curved border between classes) on the mean, standard deviation and mean step (the mean absolute change from one frame
# to the next) of each mel band.

# %% tags=["solution"]
# The baselines learn from the LSTMs' own training clips.
for name, splits in (("SVM, full", full), ("SVM, beats", beat)):
    known, asked = (baselines.band_statistics(part) for part in (splits.train, splits.val))
    labels = datasets.labels_of(splits.train).numpy()
    artists = datasets.artists_in(splits.train)  # an artist's clips stay in one inner fold
    hits[name] = baselines.svm_predictions(known, labels, asked, artists) == true
hits["majority class"] = baselines.majority_predictions(labels, len(true)) == true
val_loss["plain LSTM"], plain_classes = score_clips(plain, beat.val)
hits["plain LSTM"] = plain_classes == true

# %% tags=["appendix", "told"]
# Scores on validation with intervals, the lowest loss first.
table = pd.DataFrame(validation)
record.save_table("validation", table)
names = table.sort_values("loss")["model"].tolist()
scores = {
    name_of(name): {
        "validation loss": mean_score(val_loss[name]) if name in val_loss else "-",
        "accuracy": mean_score(hits[name].astype(float)),
    }
    for name in [*names, "plain LSTM", "SVM, full", "SVM, beats", "majority class"]
}
accuracy = {name: float(hits[name].mean()) for name in hits}
record.save_values(validation_accuracy=accuracy, n_validation=len(true), plain_loss=plain_loss)
show_table(
    pd.DataFrame(scores).T,
    caption="The six LSTMs, lowest loss first; below them the baselines, one training each "
    "(95 % intervals).",
)  # fmt: skip

# %% [markdown]
# What each of them costs. The loss on the training clips (without mixup, dropout off) is that of the kept epoch: the
# further it lies below the validation loss, the more has been memorised. Training loss, kept epoch and steps are those
# of the first training; the validation loss is the mean of all trainings (three on the demo set).

# %% tags=["appendix", "told"]
# What each model took.
shown = table.sort_values("loss").assign(model=table["model"].map(name_of)).set_index("model")
shown.index.name = None
columns = ["training loss", "loss", "kept epoch", "optimiser steps", "numbers per step", "weights"]
shown = shown[columns].rename(columns={"loss": "validation loss"})
show_table(
    shown,
    2,
    caption="What each LSTM took; the training loss is that of the first training, without mixup.",
)

# %% [markdown]
# ### Which is best, and which cannot be told from it?
#
# For each model, the *paired* difference to the best one: per clip, its loss minus the best one's loss. Where the 95 %
# interval of the mean contains 0, these clips leave the order open: a tie. (The intervals are not corrected for there
# being five of them. Even if all six models were equally good, up to one time in four at least one of them would look
# clearly worse.)

# %% tags=["solution", "report"]
# Which models are tied with the best one?
best_name = table.loc[table["loss"].idxmin(), "model"]
behind = {n: mean_score(val_loss[n] - val_loss[best_name]) for n in names if n != best_name}
tied = [n for n in behind if behind[n].low <= 0]
worse = [n for n in behind if n not in tied]
tell(
    "**Verdict**, by loss: {best} has the lowest mean validation loss. On these {n} clips the "
    "order stays open for: {tied:; }. A higher loss, by an interval without 0 (not corrected): "
    "{worse:; }.",
    best=name_of(best_name), n=len(true), tied=[name_of(n) for n in tied],
    worse=[name_of(n) for n in worse],
)  # fmt: skip

# %% [markdown]
# The lowest of six losses belongs to a good model *and* to a lucky one: six models had a chance to be lucky on the same
# clips. So the winner's score flatters (the *winner's curse*), the more so the closer the others are. (While this
# notebook was written, three settings of the numbers of epochs were tried, and each had another winner.) A common rule:
# of tied models take the simplest. The kit keeps to the lowest loss, and notebook 06 tells what became of the choice.
#
# What did each choice of the handout bring, in accuracy, on the same clips? (The loss can settle what accuracy cannot: it
# counts how sure each answer was, not only whether it was right.)

# %% tags=["solution", "appendix"]
# The comparisons that the representations suggest, paired clip by clip.
choices = {
    "mel against chroma, full clips": ("lstm_mel_full", "lstm_chroma_full"),
    "mel against chroma, per beat": ("lstm_mel_beat", "lstm_chroma_beat"),
    "full clips against beats, mel": ("lstm_mel_full", "lstm_mel_beat"),
    "both against mel alone, full clips": ("lstm_fused_full", "lstm_mel_full"),
    "both against mel alone, per beat": ("lstm_fused_beat", "lstm_mel_beat"),
    "the kit's training against the plain one, per beat": ("lstm_mel_beat", "plain LSTM"),
}
gains = {choice: mean_score(hits[a] - hits[b]) for choice, (a, b) in choices.items()}
n_more = {choice: round(gain.value * len(true), 1) + 0.0 for choice, gain in gains.items()}
tell_list(
    Sentence("{choice}: {gain}, {n:+.1f} clips", choice=k, gain=v, n=n_more[k])
    for k, v in gains.items()
)
settled = [choice for choice, gain in gains.items() if gain.low > 0 or gain.high < 0]
tell(
    "**Verdict**, by accuracy: settled by these clips, by an interval without 0 (not corrected): "
    "{settled:; }. The other compared pairs stay open; step 6 asks the test clips."
    if settled else
    "**Verdict**, by accuracy: these clips settle none of the compared pairs: every "
    "interval holds 0; step 6 asks the test clips.",
    settled=settled,
)  # fmt: skip

# %% [markdown]
# By loss and by accuracy the verdicts may differ: the loss uses how sure each answer is, so it sees smaller
# differences; and one of several comparisons may look clear by luck. Where they differ, take it as a hint, not as a
# result.

# %% tags=["solution", "told"]
# What later notebooks build on.
best = table.set_index("model", drop=False).loc[best_name]
full_rows = table[table["folder"] == folders.GENRE]
best_full = full_rows.loc[full_rows["loss"].idxmin()]
about = {
    name: {"name": row["model"], "folder": row["folder"], "feature": row["feature"]}
    for name, row in (("best_lstm", best), ("best_full_lstm", best_full))
}
options = {"epochs": beat_epochs, "patience": patience, "learning_rate": learning_rate}
recipe = {"batch_size": batch_size, "options": options | {"mixup": mixup}}
record.save_values(**about, n_seeds=n_seeds, beat_recipe=recipe)
print(f"for later notebooks: {best['model']}; on full clips: {best_full['model']}")

# %% [markdown]
# **How to read this, on the demo set:**
# - *Efficient and accurate are two questions.* By 2α an LSTM is not efficient on full clips: an epoch takes eight to ten
#   times as long as on beats. Whether that pays in accuracy these clips cannot show; notebook 06 has more of them.
# - *More than the representation differs.* On full clips the LSTM reads 2,048 numbers per step, has ten times as many
#   weights and was given fewer epochs. So "full against beats" compares two recipes, not two pictures alone.
# - *All of them over-fit*: the loss on the training clips is well below that on validation in every row; in
#   proportion least for chroma (about seven tenths of the validation loss, against a fifth to two fifths).
# - *The SVM is close.* (Which is better, notebook 06 asks on the test clips.) It sees three numbers per band; of time it
#   knows only how large the steps from frame to frame are. So on few clips the average sound tells most; what the order
#   in time adds, an LSTM could not learn from 231 clips, or these 57 cannot show it.
# - *The kit's additions* cannot be told from the plain loop on these clips. They were chosen on real music, where they
#   gained.

# %% [markdown] tags=["extra"]
# ## Extra: why cepstral coefficients?
#
# Neighbouring mel bands rise and fall together. The cosine transform turns the 128 bands of a frame into 128
# coefficients: the first tell the broad shape of the spectrum, the last ones its finest structure (the first dozen or
# two are the MFCCs of lab 2):
#
# $$ c_k = \sqrt{\frac{2}{F}} \sum_{n=0}^{F-1} x_n \cos\left(\frac{\pi k (n + 1/2)}{F}\right), \quad k \geq 1 $$
#
# ($c_0$, the loudness, has $\sqrt{1/F}$ in place of $\sqrt{2/F}$ and no cosine.)

# %% tags=["extra"]
# All frames of the training clips, one per beat and scaled: [frames, 128].
bands = torch.cat([clip for clip, _, _ in beat.train])
cosines = models.cosine_matrix(N_MELS)
coefficients = bands @ cosines
shared = {"mel bands": np.corrcoef(bands.T), "cepstral coefficients": np.corrcoef(coefficients.T)}
drawn, panels = plt.subplots(1, 2, figsize=(7.4, 3.4))
for ax, (name, matrix) in zip(panels, shared.items(), strict=True):
    picture = ax.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1, origin="lower")
    ax.set(title=name, xlabel="number, lowest first", ylabel="number, lowest first")
drawn.colorbar(picture, ax=panels, label="correlation")
other = ~np.eye(N_MELS, dtype=bool)  # all pairs of two different ones
told = "; ".join(f"{name}: {np.abs(matrix[other]).mean():.2f}" for name, matrix in shared.items())
drawn.set_label(f"Neighbouring bands repeat each other. Mean size of the correlations, {told}.")
drawn.suptitle("Neighbouring bands repeat each other")
record.show(drawn, "cepstrum")

# %% [markdown] tags=["extra"]
# Violet: two bands rise and fall together. Orange: one rises when the other falls. Most pairs of coefficients are
# nearly uncorrelated. Nothing is lost: the transform is a rotation of the 128 axes, and the LSTM's first matrix could
# undo it. So why should it help?
#
# ### Exercise 5.3 · Does it *start* differently?
#
# The broad shape arrives as a few large coefficients. Do random first weights then listen to it more? Predict; then
# measure: of the variance of $Wx$, which share comes from the broad shape (the first 8 coefficients)?


# %% tags=["extra", "exercise"]
def my_share(broad, whole, weights):
    """The variance of broad @ weights.T as a share of that of whole @ weights.T."""
    ...


def check_share(function):
    """With the broad shape in bands, then in coefficients, and the same kind of random weights."""
    weights = torch.randn(4000, N_MELS, generator=torch.Generator().manual_seed(seed))
    some = coefficients[::10]  # of the frames
    broad = some * (torch.arange(N_MELS) < 8)  # all other coefficients are 0
    found = function(broad, some, weights)
    if found is None:
        print("not written yet")
        return
    small, few = torch.tensor([[1.0, 3.0], [-1.0, -3.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    got = float(function(small * torch.tensor([1.0, 0.0]), small, few))
    assert abs(got - 4 / 34) < 1e-4, f"a small case gives 4/34 = 0.118, yours {got:.3f}"
    assert abs(function(some, some, weights) - 1) < 1e-4, "of the whole, the share is 1"
    in_bands = function(broad @ cosines.T, some @ cosines.T, weights)
    print(f"right: {in_bands:.2f} with bands, {found:.2f} with coefficients")


check_share(my_share)


# %% tags=["extra", "solution", "folded"]
def share(broad, whole, weights):
    """The variance of broad @ weights.T as a share of that of whole @ weights.T."""
    return float((broad @ weights.T).var() / (whole @ weights.T).var())


check_share(share)

# %% [markdown] tags=["extra"]
# Nothing differs at the start: for random weights one set of axes is as good as another. What differs is the *path*.
# Plain gradient descent would not notice a rotation, either: rotate inputs and weights, and every step is the same
# step, rotated. Adam divides each weight's gradient by that weight's own typical size, so it treats each *axis* on its
# own.
#
# **Predict.** Two networks that compute the same function: one reads bands, the other coefficients with its first
# matrix rotated to match. Both are trained on the same batches, once with plain gradient descent (SGD), once with Adam.
# Which pair stays together?


# %% tags=["extra"]
def rotated(model):
    """The same function for rotated input: W x = (W C)(C^T x)."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weights in (twin.lstm.weight_ih_l0, twin.lstm.weight_ih_l0_reverse):
            weights.copy_(weights @ cosines.to(compute))
    return twin


def losses_of(model, batches, optimizer):
    """The loss on the batches after each of ten passes over them."""
    found = []
    for _ in range(10):
        train_one_epoch(model, batches, optimizer)
        found.append(evaluate(model, batches)[0])
    return np.array(found)


# %% tags=["extra"]
# The same function in two bases, trained by SGD and by Adam.
turned = [(x @ cosines.to(compute), y, lengths) for x, y, lengths in few_batches]
apart = {}
for name, optimizer, rate in (("SGD", torch.optim.SGD, 0.1), ("Adam", torch.optim.Adam, 0.003)):
    on_bands, on_coefficients = fresh_plain(), rotated(fresh_plain())
    first = losses_of(on_bands, few_batches, optimizer(on_bands.parameters(), lr=rate))
    second = losses_of(on_coefficients, turned, optimizer(on_coefficients.parameters(), lr=rate))
    apart[name] = float(np.abs(first - second).max())
    print(f"{name}: after 10 passes {first[-1]:.4f} with bands, {second[-1]:.4f} with coefficients")
print(f"largest difference on the way: SGD {apart['SGD']:.1e}, Adam {apart['Adam']:.1e}")

# %% [markdown] tags=["extra"]
# With SGD the two stay together, up to rounding; with Adam they part. So the choice of axes matters *because of Adam*.
# That it helps on clips that were not trained on is a measurement, not a theorem: on 300 real songs the benchmark found
# a gain of 0.040 in accuracy (see the table of what the kit adds). A plausible reading, not measured: with
# coefficients, equal steps along all axes change the answer most through the few large ones, the broad shape, and
# little through the many small ones, the fine structure.

# %% [markdown]
# ## Change this and run again
#
# Subclass the backbone and change one thing. Here: is chroma too quiet in the fused model? Make it three times as
# large: then its twelve rows hold about the variance of all mel rows. Replace it by an idea of yours (another pooling:
# override `pool`); the beat-synchronous clips train in seconds.


# %%
class LouderChroma(models.LSTMBackbone):
    """Reads the chroma rows three times as large: about the variance of all mel rows."""

    def forward(self, x, lengths):
        """Chroma three times as large, then as before."""
        mel, chroma = x[..., :N_MELS], x[..., N_MELS:]
        return super().forward(torch.cat([mel, 3 * chroma], dim=-1), lengths)


_, spec = new_lstm(fused)
seed_everything(seed)
mine = models.Classifier(LouderChroma(**spec["backbone_options"]), n_classes)
trial = train_model(mine, fused, "mine")
print(
    f"validation loss {min(trial.val_loss):.3f}; {name_of('lstm_fused_beat')} from the same seed: "
    f"{min(histories['lstm_fused_beat'].val_loss):.3f}"
)

# %% [markdown]
# One training of each. The seed alone makes differences of this size, so a tenth says little until several seeds agree.
#
# ## What we learned
#
# - An LSTM takes any number of frames; scaling, padding and masking decide whether it learns music or padding.
# - The loop has six steps. `overfit_batch` finds the bugs that keep the loss up, within seconds; a clip tested alone,
#   weights that stand still and a validation score find others.
# - The validation set chose, by the lowest loss. Several models are tied with the winner; the test set is still unseen.

# %% tags=["told"]
# In one sentence.
tell(
    "In this run: the plain LSTM {plain}, the kit's on the same features {kit}, the best LSTM, "
    "{best}, {top} (accuracy on {n} validation clips).",
    plain=mean_score(hits["plain LSTM"].astype(float)), kit=mean_score(hits["lstm_mel_beat"]),
    best=name_of(best_name), top=mean_score(hits[best_name]), n=len(true),
)  # fmt: skip

# %% [markdown]
# **Check yourself**
#
# <details><summary>1. Why may the output at the last time step of the backward LSTM mislead?</summary>
#
# The backward direction begins at the end of the clip: at the last frame it has read only that frame (or, worse,
# padding). Its summary of the whole clip is its output at the first frame.
#
# </details>
#
# <details><summary>2. Why is the padding 0 harmless after scaling and harmful before?</summary>
#
# Before scaling 0 dB is the loudest value: padded frames look like the loudest sound. After scaling 0 is the band's
# mean, and the masked mean leaves these frames out anyway.
#
# </details>
#
# <details><summary>3. Why must the statistics of the scaling come from the training part only?</summary>
#
# Statistics over validation or test clips would let information about them into training, and the scores would be too
# good.
#
# </details>
#
# <details><summary>4. Your first loss is 14 with ten classes. What do you look at first?</summary>
#
# Far above ln 10 = 2.3, so the network is sure and wrong before it has learned anything: the scores are large. Most
# often the input is not scaled (raw dB reach -80).
#
# </details>
#
# <details><summary>5. The loss on four batches goes to 0, the validation accuracy is that of guessing. Name two suspects.</summary>
#
# Labels that do not belong to their clips (shuffled, shifted by one); an evaluation that differs from training (other
# scaling, `model.eval()` forgotten, clips in another order than their labels).
#
# </details>
#
# <details><summary>6. Does gradient clipping help against vanishing gradients?</summary>
#
# No. It shortens gradients that are too long. Against vanishing help the cell's memory line with forget gates near 1,
# fewer steps (beats, joined frames), and a mean over all steps, which gives every frame a short way to the answer.
#
# </details>

# %% tags=["stored"]
chosen = name_of(best["model"])
record.finish(key_metric=f"best on validation: {chosen}, macro F1 {best['macro F1']:.2f}")
