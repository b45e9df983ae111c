# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Transfer learning: from genre to affect
#
# **What you will learn**
# - what transfers between two tasks, and how to check that the weights really were taken over
# - how to fine-tune: first a new head on a frozen backbone, then everything with small steps
# - how a control experiment separates what the weights did from what the recipe did
#
# **Needs** the results of notebooks 05, 07 and 08 (and of 07b, where it has run). **Leaves** a checkpoint and predictions for one axis, for notebook 11.
#
# **Takes** about two minutes on the demo set with two CPU cores. With the lab's data: four times as many clips, and
# the `full` profile trains longer: nine trainings, take a GPU.
#
# **The one insight:** "it has pre-trained weights" explains nothing until the same training from fresh weights has been run
# beside it. And weights that were not loaded fail silently: check what arrived before you praise the transfer.
#
# **How to read:** the core path takes 35 minutes. Answer each **Predict** before you look; extras are folded.

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

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score, r2_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from helpers import datasets, evaluation, folders, models, plots, training
from helpers.machinery.files import LabError
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import HELD_OUT, of_seed, open_record
from helpers.notebook.showing import Sentence, show_table, tell

notebook = "09_transfer"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
axis = "valence"  # the axis to fine-tune on: valence, energy or danceability
batch_size = 16  # clips per step
head_epochs = 20  # passes in which the new head learns alone; each takes milliseconds
epochs = 4  # passes in which all weights learn, at most
patience = 5  # epochs without a better validation loss before training stops
head_learning_rate = 0.0003  # of Adam at its highest, for the head alone
learning_rate = 0.0003  # of Adam at its highest, for all weights: small, to keep what was learned
crop_frames = 128  # training windows, in frames, as in step 8; predictions use whole clips
max_masked_bands = 4  # SpecAugment hides up to so many mel bands in training, as in step 8
n_seeds = 3  # fine-tunings from each start; the first one is shown and used later

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}   axis: {axis}")

# %% [markdown] tags=["solution"]
# ## 9α · Yosinski et al. 2014, in two sentences
#
# > **Handout.** *Συνοψίστε σε δύο προτάσεις τα συμπεράσματα των Yosinski κ.ά. 2014.* What do Yosinski et al. conclude, in two sentences?
#
# Early layers of a deep network learn general features and late layers specific ones; so frozen copies help less the later
# the layer and the more distant the task, and cutting between layers that had adapted to each other hurts, too. Even
# weights from a distant task can be better than random ones, and copied weights that are fine-tuned afterwards can
# generalise better than training on the target task alone.
#
# (J. Yosinski, J. Clune, Y. Bengio, H. Lipson: *How transferable are features in deep neural networks?*, NIPS 2014.)

# %% [markdown]
# ## 9β · Which model, and why
#
# > **Handout.** *Επιλέξτε ένα από τα μοντέλα των βημάτων 5 ή 7 και εξηγήστε γιατί.* Choose a model of steps 5 or 7 (from 2024-25 on
# > the AST of step 7.2 is among them), and say why.
#
# A network that learned little about genre has little to pass on. So the first question is which one learned most: the
# networks of steps 5 and 7 were trained with the same loss (cross-entropy), and its value on the same validation clips
# can be compared.

# %%
# The CNN's answers for the genre validation clips: logits [n, classes].
genre = record.load_checkpoint("07_cnn", "cnn_mel_best", head="classifier", feature="mel")
genre_splits = datasets.genre_splits(root / folders.GENRE, "mel", seed)
genre_loader = datasets.make_loader(genre_splits.val, batch_size, device=compute)
logits = torch.from_numpy(training.predict(genre.model, genre_loader, compute))
true_genre = datasets.labels_of(genre_splits.val)


def loss_and_f1(logits, true):
    """Cross-entropy and macro F1 of logits [n, classes] for class numbers [n]."""
    loss = nn.functional.cross_entropy(logits, true).item()
    return {"validation loss": loss, "macro F1": f1_score(true, logits.argmax(1), average="macro")}


# %% tags=["told", "report"]
# The CNN beside the LSTM of step 5 with the lowest validation loss, and the AST where there is one.
lstms = record.load_table("05_lstm", "validation").set_index("model")
best = lstms["loss"].idxmin()
of_lstm = {"validation loss": lstms["loss"][best], "macro F1": lstms["macro F1"][best]}
rows = {name_of("cnn_mel_best"): loss_and_f1(logits, true_genre), name_of(best): of_lstm}
try:
    record.find("07b_ast", "checkpoints/ast_mel_best.safetensors")
except LabError:
    tell("No AST is stored for these data, so it is no candidate here: run notebook 07b first.")
else:
    ast = record.load_checkpoint("07b_ast", "ast_mel_best", head="classifier", feature="mel")
    answers = torch.from_numpy(training.predict(ast.model, genre_loader, compute))
    rows[name_of("ast_mel_best")] = loss_and_f1(answers, true_genre)
record.save_values(genre_models=rows)
caption = "The candidates for the transfer on the genre validation clips."
show_table(pd.DataFrame.from_dict(rows, orient="index"), caption=caption)
tell(
    "For the transfer: {model}, because step 8 trained the same architecture on the affect clips. "
    "Its validation loss on genre is {loss:.3f}, that of {other} {of_other:.3f}.",
    model=name_of("cnn_mel_best"), loss=rows[name_of("cnn_mel_best")]["validation loss"],
    other=name_of(best), of_other=of_lstm["validation loss"],
)  # fmt: skip

# %% [markdown] tags=["solution"]
# We take the **CNN on mel spectrograms** of step 7:
# - How much each network knows about genre, the table says. Where loss and F1 disagree, we go by the loss: 9γ says why.
# - The paper is about stacks of convolutions, from general to specific. That the first blocks of ours answer to onsets and
#   partials, as those answer to edges, is an analogy. Our LSTM has one layer and no such stack.
# - Genre and affect are recognised from spectrograms of one kind, with the same 128 bands. Drums, brightness and density may
#   serve both.
#
# **The premise of transfer** is a large source task and a small target task: what the few labels cannot teach may come from
# the many. Does it hold here?

# %% tags=["told", "report"]
# How many clips taught the genre network, and how many have affect labels.
parts = record.load_table("08_regression", "affect_split")
n_affect, n_genre = int((parts["part"] == "train").sum()), len(genre_splits.train)
tell(
    "Training clips: {n_genre} for genre, {n_affect} with affect labels, {ratio:.1f} times as many."
    " {answer}",
    n_genre=n_genre, n_affect=n_affect, ratio=n_genre / n_affect,
    answer=Sentence(
        "The premise holds: the source task is the larger one." if n_genre > 1.5 * n_affect else
        "The premise does not hold: the source task is hardly larger. Expect little."
    ),
)  # fmt: skip

# %% [markdown]
# ## 9γ · Trained on `fma_genre_spectrograms`: which epoch's weights?
#
# > **Handout.** *Εκπαιδεύστε το στο `fma_genre_spectrograms` και κρατήστε τα βάρη της καλύτερης εποχής. Με ποια μετρική, σε ποιο σύνολο, και γιατί;*
# > Train it and keep the weights of its best epoch. By which metric, on which set, and why?
#
# The training was done in notebook 07 (section 7ε), on the full clips. For a clip of class $y$ the network's probability
# is $p_y$, and the loss is the mean over the $n$ clips
#
# $$ L = -\frac{1}{n} \sum_{i=1}^{n} \log p_{y_i} $$

# %% tags=["told", "report"]
# The loss that chose the epoch, computed once more from the logits above.
genre_loss = loss_and_f1(logits, true_genre)["validation loss"]
record.save_values(genre_epoch=genre.epoch, genre_val_loss=genre_loss)
n_epochs = record.load_value("07_cnn", "n_epochs")
tell(
    "{model}: kept is epoch {epoch} of {n} ({note}); its loss on the validation clips, computed "
    "anew: {loss:.3f}.{last}",
    model=name_of("cnn_mel_best"), epoch=genre.epoch, n=n_epochs, note=genre.note, loss=genre_loss,
    last=Sentence(
        " It is the last one: a longer training might have gone lower." if genre.epoch == n_epochs
        else ""
    ),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# - **The metric is this cross-entropy.** It changes smoothly and uses how sure each answer is. Accuracy and F1 on so few
#   clips jump by whole clips, and the highest of several such values is often luck.
# - **The set is the validation part.** The training loss goes on falling while the network learns its clips by heart. The test
#   set must not choose anything, or it says nothing afterwards.
# - **The checkpoint is the one fitted on train alone.** The other one of notebook 07 was fitted on train + validation: no part
#   is left that could say which of its epochs was best.
#
# **The best counter-argument:** the loss also punishes *over-confidence*. Late in a training the network gets surer of all its
# answers. Each mistake then costs more, and the loss may rise although more clips are right and F1 still grows. Multiplying
# the logits by a factor shows this alone: no answer changes, only how sure it is.

# %%
# The same answers, said with less and with more confidence.
rows = {}
for factor in (0.5, 1, 2, 4):
    rows[f"logits x {factor:g}"] = loss_and_f1(factor * logits, true_genre)
show_table(pd.DataFrame.from_dict(rows, orient="index"))

# %% [markdown] tags=["solution"]
# F1 does not move at all; the loss does. So with many validation clips, and where only the answers count, F1 is a good choice.
# For a transfer neither is what we want to know: it needs good *features*, and both judge the old head, too.

# %% [markdown]
# ## 9δ · Fine-tuning: start the step-8 regressor from these weights
#
# > **Handout.** *Αρχικοποιήστε με αυτά τα βάρη το μοντέλο του βήματος 8 και εκπαιδεύστε το για λίγες εποχές σε έναν άξονα.* Start the step-8 regressor from these weights and fine-tune it for a few epochs on one axis.
#
# [Transfer](../docs/glossary.md#transfer) takes the backbone and leaves the head behind: scores of ten genres have nothing to say about an axis.
#
# ```text
#                block 1    block 2    block 3    block 4    head
# genre CNN      trained    trained    trained    trained    10 classes  (left behind)
#                   |          |          |          |
#                 copy       copy       copy       copy      1 value     (fresh, bias = training mean)
#                   v          v          v          v
# stage 1        frozen     frozen     frozen     frozen     learns
# stage 2        learns     learns     learns     learns     learns      (all in small steps)
#
# [B, T, 128] --blocks--> [B, channels, bands, frames] --mean over time--> [B, D] --head--> [B]
#                         D = 128 channels x 8 bands = 1024 (smoke profile: fewer)
# ```
#
# Which axis? The one with most to gain.

# %% tags=["told", "report"]
# How well step 8's CNNs order the validation clips: what is left to gain.
axes = list(folders.AXES)
clips = folders.read_clips(root / folders.MULTITASK, "train").set_index("id")
ids = {name: parts.loc[parts["part"] == name, "id"].tolist() for name in ("val", "held-out")}
ordered = record.load_predictions("08_regression", "cnn_validation", ids["val"], axes)
of_axis = {
    name: evaluation.spearman(clips.loc[ids["val"], name].to_numpy(), column, seed)
    for name, column in zip(axes, ordered.T, strict=True)
}
defined = {name: score.value for name, score in of_axis.items() if score.defined}
lowest = min(defined, key=defined.get, default=None)
tell(
    "Spearman of the CNNs of step 8 on validation: {told}. Fine-tuned: {axis}{why}.",
    told=[Sentence("{axis} {score}", axis=name, score=score) for name, score in of_axis.items()],
    axis=axis, why=Sentence(", the lowest: there most is left to gain" if axis == lowest else ""),
)  # fmt: skip

# %% [markdown]
# ### Copy, and check
#
# The clips, the architecture and the axis are those of step 8; weights and **scaling** come from the genre CNN. Its filters
# learned on bands scaled by *its* training clips: other statistics would feed them shifted values. The head's bias begins at
# the training mean, the best answer that needs no clip. `strict=True` makes PyTorch refuse unless *every* name and shape matches.

# %% tags=["solution"]
# The affect clips with the genre CNN's scaling, and the regressor of step 8 with its backbone.
splits = datasets.affect_splits(
    root / folders.MULTITASK, genre.feature, axis, parts, scaler=genre.scaler
)
train_mean = datasets.labels_of(splits.train).mean()
step8 = record.load_checkpoint("08_regression", f"cnn_{axis}", head="regressor")
seed_everything(seed)
model = models.start_at(models.build_model(step8.spec), train_mean)
_ = model.backbone.load_state_dict(genre.model.backbone.state_dict(), strict=True)


# %% tags=["solution"]
@torch.no_grad()
def vectors_of(backbone, part):
    """What a backbone in evaluation mode says of each clip of a part: [n, D]."""
    backbone.to(compute).eval()
    loader = datasets.make_loader(part, batch_size, device=compute)
    return torch.cat([backbone(x, lengths) for x, _, lengths in loader])


# %%
# The regressor's backbone must say of every clip what the genre CNN's says.
of_genre = {
    "train": vectors_of(genre.model.backbone, splits.train),
    "val": vectors_of(genre.model.backbone, splits.val),
}
agree("vectors after the copy", lambda: vectors_of(model.backbone, splits.val), of_genre["val"])

# %% [markdown]
# **The silent failure.** The whole classifier's tensors are called `backbone.blocks...`, those of the backbone
# `blocks...`: not one name matches. With `strict=True` that is an error. With `strict=False` nothing is copied and nothing is
# said: only the returned list of missing names tells, and in the middle of a cell nobody sees it. The "transfer" is then a fresh
# network.

# %%
# What `strict=False` does with names that do not match: nothing.
pitfall = models.build_model(step8.spec)
before = {name: tensor.clone() for name, tensor in pitfall.backbone.state_dict().items()}
answer = pitfall.backbone.load_state_dict(genre.model.state_dict(), strict=False)
after = pitfall.backbone.state_dict()
n_copied = sum(not torch.equal(after[name], before[name]) for name in after)
print(f"strict=False: {n_copied} of {len(after)} tensors copied, and no error.")
print(f"The answer that nobody reads: {len(answer.missing_keys)} missing names "
      "(the batch counters of batch norm are never reported).")  # fmt: skip

# %% [markdown]
# ### Stage 1: the head alone
#
# As long as the head is random, what it passes back to the backbone is noise and may spoil it. So the backbone is *frozen*
# first. A frozen backbone says the same of a clip in every epoch: we compute its vectors **once** (whole clips, no
# windows), and train a linear layer on them. An epoch then takes milliseconds, and the head can have as many as it
# needs.
#
# $$ \hat{y} = \mathbf{w}^\top \mathbf{v} + b, \qquad \mathbf{v} \in \mathbb{R}^D \text{ from the frozen backbone}, \quad b \text{ starts at the training mean} $$
#
# **Predict.** No block learns anything about the axis. How much of the variance can the head alone explain?
#
# <details><summary>What to expect, and why</summary>
# More than nothing: genre and affect go together (Metal is rarely calm), and a linear layer can use that. Perhaps less
# than a whole network from scratch, which can learn what these vectors do not hold. But a whole network with few clips
# may overfit and do worse. With more numbers per vector than clips the head soon learns its clips by heart, so the
# validation loss turns early.
# </details>


# %% tags=["solution"]
class HeadOnly(nn.Module):
    """The dropout and the head of a regressor, fed with vectors [B, D] in place of clips."""

    def __init__(self, model):
        super().__init__()
        self.dropout, self.head = model.backbone.dropout, model.head

    def forward(self, vectors, lengths):
        """[B, D] -> [B]; a vector has no length, which `train` hands over all the same."""
        return self.head(self.dropout(vectors)).squeeze(-1)


# %% tags=["solution"]
def train_head(model, vectors, own_seed):
    """Stage 1 of a fine-tuning: the head's curve; the head ends at its best epoch."""
    seed_everything(own_seed)  # the same dropout and order from either start
    order = torch.Generator().manual_seed(own_seed)
    loaders = []
    for name, part in (("train", splits.train), ("val", splits.val)):
        labels = datasets.labels_of(part)
        stored = TensorDataset(vectors[name].cpu(), labels, torch.ones_like(labels))
        loader = DataLoader(stored, batch_size, shuffle=name == "train", generator=order)
        loaders.append(loader)
    return training.train(
        HeadOnly(model), *loaders, epochs=head_epochs, patience=head_epochs, device=compute,
        learning_rate=head_learning_rate, name="head alone",
    )  # fmt: skip


# %% tags=["solution"]
# The head learns; the whole model then answers as the head does on the stored vectors.
head_history = train_head(model, of_genre, seed)
val_loader = datasets.make_loader(splits.val, batch_size, device=compute)
head_only = HeadOnly(model).eval()
agree(
    "predictions from the stored vectors",
    lambda: head_only(of_genre["val"], None),
    lambda: training.predict(model, val_loader, compute),
)

# %% tags=["told", "report"]
# How much of the constant's error the head removes, and how much step 8's whole CNN.
constant = ((datasets.labels_of(splits.val) - train_mean) ** 2).mean().item()
table = record.load_table("08_regression", "histories")
table = table[(table["model"] == "CNN") & (table["axis"] == axis)]
of_step8_cnn = table["val_loss"].tolist()
after_head = min(head_history.val_loss)
explained, of_whole = 1 - after_head / constant, 1 - min(of_step8_cnn) / constant
tell(
    "Always predicting the training mean has a validation loss of {constant:.4f}; with the head "
    "alone it is {after_head:.4f} (epoch {epoch} of {n}): {explains}. All weights of the CNN of "
    "step 8, trained from scratch, explain {step8:.0f} %.",
    constant=constant, after_head=after_head, epoch=head_history.best_epoch, n=head_epochs,
    step8=100 * of_whole,
    explains=Sentence(
        "the head alone explains {share:.0f} % of the variance" if explained > 0 else
        "the head alone explains nothing", share=100 * explained,
    ),
)  # fmt: skip
if explained > of_whole:
    tell(
        "In these two trainings the head alone has the lower loss. Fewer weights may overfit less, "
        "or it may be chance; whether genre deserves any praise, the control says (9ε)."
    )

# %% [markdown]
# ### Stage 2: everything, in small steps
#
# Then all weights learn, with a small learning rate (here the same as the head's). **The optimizer** must be a new
# one: it holds references to the parameters it was built on, and one that was built for the head trains the head for
# ever (exercise 9.2). `train` makes a new one in each call, over the parameters that are not frozen, and begins a new
# schedule: one epoch of warm-up to the learning rate, then down to a hundredth of it.
#
# Here is the whole fine-tuning. `start` says where the backbone's weights come from: "genre", or "fresh" for the control of
# 9ε. This one function makes every training of this notebook.


# %% tags=["solution"]
def loaders_of(own_seed):
    """Random masked windows of the training clips, and whole validation clips."""
    augmentation = {"crop_frames": crop_frames, "max_masked_bands": max_masked_bands}
    loaders = datasets.make_loaders(splits, batch_size, own_seed, **augmentation, device=compute)
    return loaders[:2]


# %% tags=["solution"]
def measure_averages(backbone, windows):
    """Let batch norm take its averages from these windows; no weight moves."""
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()  # or the batches of the genre training would count, too
        layer.momentum = None  # the plain mean over all batches
    backbone.to(compute).train()
    with torch.no_grad():
        for x, _, lengths in windows:
            backbone(x, lengths)
    for layer in norms:
        layer.momentum = 0.1  # as PyTorch has it


def measured_vectors(backbone, own_seed):
    """The vectors of a fresh backbone, whose batch norm has averages that no clip gave it yet."""
    measure_averages(backbone, loaders_of(own_seed)[0])
    return {"train": vectors_of(backbone, splits.train), "val": vectors_of(backbone, splits.val)}


# %% tags=["solution", "report"]
def fine_tune(own_seed, start, frozen_blocks=0):
    """Both stages from "genre" or "fresh" weights: the model of the best epoch, and its curve."""
    seed_everything(own_seed)
    model = models.start_at(models.build_model(step8.spec), train_mean)
    if start == "genre":
        model.backbone.load_state_dict(genre.model.backbone.state_dict(), strict=True)
        vectors = of_genre  # the same for every seed
    else:
        vectors = measured_vectors(model.backbone, own_seed)
    first = train_head(model, vectors, own_seed)  # stage 1
    after_head = copy.deepcopy(model.state_dict())
    model.backbone.blocks[:frozen_blocks].requires_grad_(False)
    second = training.train(  # stage 2
        model, *loaders_of(own_seed), epochs=epochs, learning_rate=learning_rate,
        patience=patience, device=compute, name=f"{axis} from {start} weights",
    )  # fmt: skip
    if min(second.val_loss) >= min(first.val_loss):  # stage 2 made nothing better
        model.load_state_dict(after_head)
    return model, first.then(second)


# %% [markdown] tags=["solution"]
# | choice | made by |
# |---|---|
# | from a genre network, a few epochs, one axis, compared with step 8 | the handout |
# | first the head, then everything; a small learning rate; the head's bias at the training mean | convention |
# | the head on stored vectors; windows and SpecAugment as in step 8 | this kit (its benchmark on real music: [its tables](../docs/how_good_history.md)) |
#
# On the benchmark's songs "everything at once" was as good as two stages, and the head alone far worse (measured with fewer
# and larger steps of the head than here). Our head begins with tiny weights and passes little noise back, so stage 1 protects
# less than the textbooks say. It is kept because it tells how much the copied vectors already know.

# %% tags=["solution"]
# The same two stages from three seeds; the first one is shown, and used by notebook 11.
# One after the other; with several GPUs, one on each (docs/many_gpus.md).
seeds = range(seed, seed + n_seeds)
from_genre = one_per_gpu(lambda own_seed: fine_tune(own_seed, "genre"), seeds, compute)
model, history = from_genre[0]
path = record.save_checkpoint(
    f"transfer_{axis}", model, step8.spec, feature=genre.feature, scaler=splits.scaler,
    axes=[axis], epoch=history.best_epoch, note="from genre; lowest validation loss",
)  # fmt: skip
print(f"{n_seeds} fine-tunings; the first one is stored as {path.name}")

# %% tags=["report"]
# Both stages of the first training, and the loss of the constant mean.
n_head, lowest_loss = history.stage_ends[0], min(history.val_loss)
after_head = min(history.val_loss[:n_head])
title = "The head alone, then all weights"
figure = plots.learning_curves({f"transfer CNN, {axis}": history}, title, constant=constant)
caption = "Learning curves of the transfer CNN, both stages."
record.show(figure, "learning_curves", caption=caption)

# %% tags=["told", "report"]
# What happens when the blocks are released, and which epoch was kept.
released = history.val_loss[n_head]
record.save_values(
    axis=axis, n_seeds=n_seeds, kept_epoch=history.best_epoch - n_head, constant_loss=constant,
    loss_after_head=after_head, loss_when_released=released, lowest_val_loss=lowest_loss,
)  # fmt: skip
tell(
    "When all weights begin to learn, the validation loss goes from {after_head:.4f} to "
    "{released:.4f}{jump}. Kept: {kept}; its loss is {lowest:.4f}, {share:.0f} % of the variance.",
    after_head=after_head, released=released, lowest=lowest_loss,
    share=100 * (1 - lowest_loss / constant),
    jump=Sentence(": it jumps" if released > 1.1 * after_head else ": no jump"),
    kept=Sentence(
        "epoch {epoch} of {n} with all weights" if history.best_epoch > n_head else
        "the head of stage 1", epoch=history.best_epoch - n_head, n=len(history.val_loss) - n_head,
    ),
)  # fmt: skip

# %% [markdown]
# *Read the curve.* In stage 1 the training loss goes on falling while the validation loss stays: the head learns its clips by
# heart. Where the loss jumps at the release, the blocks have moved and the head has to follow; an epoch or two later it is
# back. Were it to stay up, or rise above the level line for long, the steps would be too large: take a smaller `learning_rate`.
#
# On the demo set the second stage gains next to nothing over the head alone: compare the two percentages. With so few clips
# the copied vectors already hold most of what these labels can teach.

# %% [markdown] tags=["extra"]
# ### Extra: is it batch norm that makes the loss jump?
#
# In training mode a batch-norm layer scales by the statistics of its batch, and moves its running averages towards them. Evaluation uses
# the averages (notebook 08 shows what happens when they lag). So a released network changes in two ways: its weights move,
# *and* its averages drift from genre clips to masked windows of affect clips. The second can be seen alone: measure the
# averages anew on those windows, without any gradient.

# %% tags=["extra"]
# No weight moves here. Only batch norm's averages do.
seed_everything(seed)
drifted = models.start_at(models.build_model(step8.spec), train_mean)
drifted.backbone.load_state_dict(genre.model.backbone.state_dict(), strict=True)
train_head(drifted, of_genre, seed)
mse = nn.MSELoss()
drift = {"the genre CNN's averages": training.evaluate_loss(drifted, val_loader, mse, compute)}
measure_averages(drifted.backbone, loaders_of(seed)[0])
drift["measured on affect windows"] = training.evaluate_loss(drifted, val_loader, mse, compute)
show_table(pd.DataFrame({"validation loss": drift}), digits=4)
tell(
    "**Verdict.** At the release the loss changes by {jump:+.4f}; the new averages alone change it "
    "by {part:+.4f}.", jump=released - after_head,
    part=drift["measured on affect windows"] - drift["the genre CNN's averages"],
)  # fmt: skip

# %% [markdown] tags=["extra"]
# What the averages do not explain comes from the steps themselves. Is it features that had adapted to each other, as in
# Yosinski et al.? Look at the control in 9ε: its random blocks had not adapted to anything. If it jumps in the same
# epoch, this is not the reason.

# %% [markdown]
# ### Exercise 9.1 · Count what arrived
#
# Write a function that counts how many tensors of `loaded` have the same name *and* the same values in `donor`. It must not
# break down when a name is missing: that is the case that matters.


# %% tags=["exercise"]
# The stub and its check.
def my_count(loaded, donor):
    """How many tensors of the state dict `loaded` stand under the same name in `donor`, equal."""
    ...


def check_count(count):
    """Tries it on a copy, on fresh weights, and on tensors under other names."""
    whole = genre.model.cpu().state_dict()  # its names begin with "backbone."
    donor = genre.model.backbone.state_dict()
    if count(donor, donor) is None:
        print("not written yet (or it returns nothing)")
        return
    fresh = models.build_model(step8.spec).backbone.state_dict()
    assert count(donor, donor) == len(donor), f"a copy: all {len(donor)} tensors are equal"
    assert count(fresh, donor) < len(donor), "fresh weights: compare the values, too"
    try:
        others = count(whole, donor)
    except KeyError:
        raise AssertionError("a name is missing: ask `name in donor` first") from None
    assert others == 0, "names that do not match: nothing has arrived"
    print(f"right: a copy {len(donor)}, fresh weights {count(fresh, donor)}, other names 0")


check_count(my_count)


# %% tags=["solution", "folded"]
# One line: the name first, because the second half needs it.
def count_equal(loaded, donor):
    """How many tensors of the state dict `loaded` stand under the same name in `donor`, equal."""
    return sum(name in donor and torch.equal(loaded[name], donor[name]) for name in loaded)


check_count(count_equal)

# %% [markdown]
# ### Exercise 9.2 · The optimizer that trains nothing
#
# This one was built while the backbone was frozen. Run it, find out why so little moves, and write it so that
# everything does.


# %%
# A step with it on four random clips: how many of the parameters move?
def too_early(model):
    """Builds the optimizer, and only then releases the backbone."""
    model.backbone.requires_grad_(False)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.01)
    model.backbone.requires_grad_(True)
    return optimizer


def moved_by(make_optimizer):
    """How many parameter tensors one step moves, and how many there are; None without optimizer."""
    model = models.build_model(step8.spec)
    optimizer = make_optimizer(model)
    if optimizer is None:
        return None
    before = [parameter.detach().clone() for parameter in model.parameters()]
    outputs = model(torch.randn(4, 64, 128), torch.full((4,), 64))
    nn.functional.mse_loss(outputs, torch.rand(4)).backward()
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    return sum(moved), len(moved)


n_moved, n_all = moved_by(too_early)
print(f"too early: {n_moved} of {n_all} parameter tensors moved")


# %% tags=["exercise"]
# Everything must learn.
def my_optimizer(model):
    """Freezes the backbone for stage 1, releases it, and returns an optimizer for stage 2."""
    ...


def check_optimizer(make_optimizer):
    """One step must move every parameter."""
    moved = moved_by(make_optimizer)
    if moved is None:
        print("not written yet (or it returns nothing)")
        return
    assert moved[0] == moved[1], f"only {moved[0]} of {moved[1]} moved: which did Adam get?"
    print(f"right: all {moved[1]} moved")


check_optimizer(my_optimizer)


# %% tags=["solution", "folded"]
# The list was made while the backbone was frozen, so it held the head alone. Adam keeps the list
# it was given: make the list afterwards (or give it all parameters).
def in_time(model):
    """Freezes the backbone for stage 1, releases it, and returns an optimizer for stage 2."""
    model.backbone.requires_grad_(False)
    model.backbone.requires_grad_(True)
    return torch.optim.Adam(model.parameters(), lr=0.01)


check_optimizer(in_time)

# %% [markdown]
# ### Exercise 9.3 · A frozen block that still changes
#
# `requires_grad_(False)` stops the gradient. It does not stop batch norm, whose running averages move in training mode
# without any gradient. Freeze the first `n` blocks of a model *that is in training mode*, so that nothing in them changes
# and the others still learn.


# %% tags=["exercise"]
# Each block is convolution, batch norm, ReLU, pooling: block[1] is the batch norm.
def my_freeze(model, n):
    """Freezes the first n blocks, weights and statistics; returns the model."""
    ...


def check_freeze(freeze):
    """Freezes two of the four blocks, then one; clips pass in training mode."""
    for n in (2, 1):
        model = models.build_model(step8.spec).train()
        if freeze(model, n) is None:
            print("not written yet (or it returns nothing)")
            return
        blocks = model.backbone.blocks
        before = [block[1].running_mean.clone() for block in blocks]
        model(torch.randn(4, 64, 128), torch.full((4,), 64))
        pairs = zip(before, blocks, strict=True)
        still = [torch.equal(old, block[1].running_mean) for old, block in pairs]
        learns = [any(p.requires_grad for p in block.parameters()) for block in blocks]
        expected = [number >= n for number in range(len(blocks))]
        assert learns == expected, f"n = {n}; blocks with weights that learn: {learns}"
        assert all(still[:n]), "the averages of a frozen block moved: is it in eval mode?"
        assert not any(still[n:]), "a block that learns must be in training mode"
    print("right: the first n blocks stay as they are, the others learn")


check_freeze(my_freeze)


# %% tags=["solution", "folded"]
# Evaluation mode for the frozen blocks alone. (`train` of the kit does this in every epoch.)
def freeze_blocks(model, n):
    """Freezes the first n blocks, weights and statistics; returns the model."""
    model.backbone.blocks[:n].requires_grad_(False)
    model.backbone.blocks[:n].eval()
    return model


check_freeze(freeze_blocks)

# %% [markdown]
# ## 9ε · Compared with step 8
#
# > **Handout.** *Συγκρίνετε τα αποτελέσματα με εκείνα του βήματος 8.* Compare the results with those of step 8.
#
# Two questions, both named before any result:
# 1. **The handout's:** is the transfer CNN better than step 8's CNN for this axis?
# 2. **The [control](../docs/glossary.md#control):** is it better than *the same two stages, with the same scaling, from fresh weights*? Only this one asks about
#    the weights. Step 8's recipe differs in more: one stage, its own scaling, another learning rate and warm-up, more epochs.
#
# Both are paired differences in Spearman, a mean over each side's trainings. The held-out clips are asked, which chose nothing.
#
# **Predict.** Which answers do you expect: better, worse, or "these clips cannot tell"?
#
# <details><summary>What to expect, and why</summary>
# Where the source task is much larger than the target task, the transfer should be better than both. Where it is not (9β), it has
# little to bring. And with a few dozen held-out clips a difference in Spearman must be larger than about 0.1 to be seen at all, so
# "cannot tell" is likely, even if the mean differences have the expected sign.
# </details>

# %% tags=["solution"]
# The held-out predictions of every training: a list per model.
heldout_loader = datasets.make_loader(splits.test, batch_size, device=compute)
true = datasets.labels_of(splits.test).numpy()


def predictions_of(trainings):
    """What each fine-tuned model predicts for the held-out clips."""
    return [training.predict(model, heldout_loader, compute) for model, _ in trainings]


def of_step8(name):
    """What one training of step 8 predicts for them."""
    return record.load_predictions("08_regression", name, ids["held-out"], [axis])[:, 0]


names = [of_seed("cnn_heldout", n) for n in range(record.load_value("08_regression", "n_seeds"))]
heldout = {
    "transfer CNN": predictions_of(from_genre),
    "CNN of step 8": [of_step8(name) for name in names],
    "SVR": [of_step8("svr_heldout")],
}


# %% tags=["told"]
# A row of the table.
def scores_of(trainings):
    """Spearman of the first training with its interval, and the means over all trainings."""
    first = evaluation.spearman(true, trainings[0], seed)
    others = [evaluation.spearman(true, values).value for values in trainings]
    r2 = [r2_score(true, values) for values in trainings]
    return {
        "Spearman, first training": first, "Spearman, mean of trainings": np.mean(others),
        "R2, mean of trainings": np.mean(r2), "trainings": len(trainings),
    }  # fmt: skip


# %% tags=["told"]
# The verdict that both questions get.
def tell_verdict(result, first, second):
    """One sentence: how far the first is above the second, and whether these clips can tell."""
    score = result.difference
    if not score.defined:
        tell(
            "**Verdict.** {first} and {second} cannot be compared: {reason}.",
            first=first, second=second, reason=score.reason,
        )  # fmt: skip
        return
    answer = Sentence(
        "these clips cannot tell them apart" if not result.clear else
        "better, and hardly by chance" if score.value > 0 else
        "worse, and hardly by chance"
    )  # fmt: skip
    tell(
        "**Verdict.** In Spearman for {axis} on {n} held-out clips, {first} minus {second} is "
        "{gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f}): {answer}.",
        first=first, second=second, axis=axis, n=len(true), gain=score.value,
        low=score.low, high=score.high, p=result.p_value, answer=answer,
    )  # fmt: skip


# %% tags=["told", "report"]
# Question 1. R2 stands beside Spearman: the order may be right where the values are not.
rows = {name: scores_of(trainings) for name, trainings in heldout.items()}
caption = Sentence("Spearman and R2 for {axis} on the held-out clips.", axis=axis)
show_table(pd.DataFrame.from_dict(rows, orient="index"), caption=caption)
against_step8 = evaluation.compare_spearman(
    true, heldout["transfer CNN"], heldout["CNN of step 8"], seed
)
tell_verdict(against_step8, "transfer CNN", "CNN of step 8")

# %% [markdown]
# (R2 is 0 for the mean and 1 for perfect values. The SVR of step 8 stands beside as a measure; it was fitted once.)

# %% [markdown]
# ### The control: the same training from fresh weights
#
# The same function, one word changed: the same seeds, clips in the same order, head stage, scaling and steps.
#
# One thing must be made fair first. A new batch norm has the averages 0 and 1, which no clip gave it. In evaluation mode the vectors of a
# fresh backbone are then far too small; a head that learned on them answers wildly as soon as training mode scales
# the blocks by their batches. So `fine_tune` lets fresh batch norms measure their averages before stage 1, as the genre
# CNN's were measured in its own training. A control is worth as much as the care that went into it.

# %% tags=["solution"]
# As many trainings, with fresh backbones.
from_fresh = one_per_gpu(lambda own_seed: fine_tune(own_seed, "fresh"), seeds, compute)
heldout["control CNN"] = predictions_of(from_fresh)
print(f"{n_seeds} fine-tunings from each start, seeds {seed} to {seed + n_seeds - 1}")


# %% tags=["told"]
# A row per seed: explained on the clips that chose the epochs, Spearman on those that did not.
def row_of(number):
    """What came of one seed, from either start."""
    row = {"seed": seed + number}
    starts = (("genre", from_genre, "transfer CNN"), ("fresh", from_fresh, "control CNN"))
    for start, trainings, name in starts:
        curve = trainings[number][1]
        score = evaluation.spearman(true, heldout[name][number])
        row[f"{start}: explained (%), validation"] = 100 * (1 - min(curve.val_loss) / constant)
        behind_head = curve.best_epoch > curve.stage_ends[0]
        row[f"{start}: kept"] = "stage 2" if behind_head else "head alone"
        row[f"{start}: Spearman, held-out"] = score.value
    return row


by_seed = pd.DataFrame([row_of(number) for number in range(n_seeds)])
record.save_table("starts", by_seed)

# %% tags=["told", "report"]
# All trainings, and their mean.
caption = Sentence("From genre and from fresh weights, seed by seed, for {axis}.", axis=axis)
shown = by_seed.drop(columns="seed").set_index("seed " + by_seed["seed"].astype(str))
shown.loc["mean"] = by_seed.mean(numeric_only=True)
shown.index.name = None
for column in shown.filter(like="explained"):
    shown[column] = [Sentence("{x:.0f}", x=value) for value in shown[column]]
shown = shown.fillna({"genre: kept": "", "fresh: kept": ""})
show_table(shown, caption=caption)
kept = [*by_seed["genre: kept"], *by_seed["fresh: kept"]]
if "head alone" in kept:
    tell(
        "In {k} of {n} trainings stage 2 made nothing better, and the model of stage 1 was kept: a "
        "linear layer on frozen blocks. There the control asks what genre blocks know that random "
        "ones do not.",
        k=kept.count("head alone"), n=len(kept),
    )  # fmt: skip
higher = by_seed["genre: Spearman, held-out"] > by_seed["fresh: Spearman, held-out"]
tell(
    "Spearman is higher from genre weights in {higher} of {n} seeds. Even with equally good starts "
    "all {n} would agree once in {once} such experiments.",
    higher=int(higher.sum()), n=n_seeds, once=2 ** (n_seeds - 1),
)  # fmt: skip

# %% tags=["told", "report"]
# Question 2.
against_control = evaluation.compare_spearman(
    true, heldout["transfer CNN"], heldout["control CNN"], seed
)
tell_verdict(against_control, "transfer CNN", "control CNN")

# %% [markdown] tags=["extra"]
# ### Extra: what do random blocks know?
#
# A linear model ([ridge regression](../docs/glossary.md#ridge-regression)) on the vectors of a backbone, for all three axes: once from genre weights, once from fresh ones. This is
# called [probing](../docs/glossary.md#probing). Without the second column one would praise genre for what four random convolutions do as well.

# %% tags=["extra"]
# Explained variance on the validation clips; ridge regression chooses its penalty inside the training clips.
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

seed_everything(seed)
of_random = measured_vectors(models.build_model(step8.spec).backbone, seed)
probed = {}
for start, vectors in (("genre weights", of_genre), ("fresh weights", of_random)):
    known, unknown = vectors["train"].cpu(), vectors["val"].cpu()
    probed[start] = {}
    for name in axes:
        probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 6, 13)))
        probe.fit(known, clips.loc[datasets.ids_of(splits.train), name])
        score = r2_score(clips.loc[ids["val"], name], probe.predict(unknown))
        probed[start][name] = f"{100 * score:.0f} %"
show_table(pd.DataFrame(probed))

# %% [markdown] tags=["extra"]
# Where the columns are alike, the genre training has added nothing that a linear layer can use. Random convolutions are no
# bad listeners: they answer to loudness and change in each part of the spectrum, and the vector keeps eight parts. For energy that
# is most of it.

# %% tags=["report"]
# Both questions side by side.
compared = {
    ("transfer CNN", "CNN of step 8"): against_step8,
    ("transfer CNN", "control CNN"): against_control,
}
record.show(
    plots.differences(compared, f"Spearman for {axis}"), "differences",
    caption="Paired differences in Spearman with 95 % intervals.",
)  # fmt: skip

# %% [markdown]
# A filled dot: the interval does not hold 0.
#
# Each interval belongs to one question and is not corrected for the other. It says how the difference varies with other clips.
# How it varies with other trainings, the table of seeds says. Read the two verdicts together:
#
# | transfer against step 8 | against the control | what has been shown |
# |---|---|---|
# | better | better | the genre weights helped |
# | cannot tell | better | the weights help in this recipe; another recipe does without them |
# | better | cannot tell | the recipe helped; the weights, not shown |
# | cannot tell | cannot tell | no gain from genre that these clips can show |
# | worse than either of them | | the genre weights, or the recipe, did harm here |

# %% [markdown]
# ### How fast?
#
# Every curve begins at 0 with the loss before all weights learn: after stage 1 for the two fine-tunings, the constant mean for
# step 8. The dotted line is step 8's lowest loss. Where transfer and control jump in the same epoch, the **genre**
# weights are not the cause: both saw the same clips in the same order, with the same steps.

# %% tags=["appendix"]
# Step 8's curve, and the first training from each start.
lowest_of_step8, control_history = min(of_step8_cnn), from_fresh[0][1]
curves = {
    "transfer CNN": [after_head, *history.val_loss[n_head:]],
    "control CNN": [min(control_history.val_loss[:n_head]), *control_history.val_loss[n_head:]],
    "CNN of step 8": [constant, *of_step8_cnn],
}
title = f"{axis}: lowest loss {lowest_loss:.4f} from genre, {min(control_history.val_loss):.4f} "
title += f"from fresh weights, {lowest_of_step8:.4f} in step 8"
drawn = plots.curves(
    curves, title, "epochs in which all weights have learned", "validation loss",
    {"step 8's lowest": lowest_of_step8, "training mean": constant}, lowest=True,
)  # fmt: skip
record.show(
    drawn, "validation_race",
    caption="Validation loss from genre weights, from fresh weights, and in step 8.",
)  # fmt: skip


# %% tags=["told"]
# In which of its own epochs a fine-tuning reached step 8's lowest loss.
def told_of(name):
    """Those epochs, and the words for the first of them."""
    reached = [n for n, loss in enumerate(curves[name]) if loss <= lowest_of_step8]
    words = Sentence(
        "did not reach it in its {n} epochs with all weights" if not reached else
        "was there with the head alone" if reached[0] == 0 else
        "was there in epoch {epoch} of its {n} with all weights",
        epoch=min(reached, default=0), n=len(curves[name]) - 1,
    )  # fmt: skip
    return reached, words


# %% tags=["told", "report"]
# The first trainings.
reached, words = told_of("transfer CNN")
record.save_values(step8_val_loss=lowest_of_step8, epoch_of_step8_loss=min(reached, default=None))
tell(
    "The CNN of step 8 reached its lowest validation loss, {target:.4f}, in epoch {epoch} of {n}. "
    "The transfer CNN {reached}; its own lowest loss is {lowest:.4f}. The control CNN "
    "{reached_control}. The {genre_epochs} epochs of genre training up to the kept one come on "
    "top of the transfer's.",
    target=lowest_of_step8, epoch=int(np.argmin(of_step8_cnn)) + 1, n=len(of_step8_cnn),
    reached=words, reached_control=told_of("control CNN")[1],
    lowest=lowest_loss, genre_epochs=genre.epoch,
)  # fmt: skip

# %% tags=["appendix"]
# Clip by clip, first trainings: the nearer to the line, the better.
panels = {}
for name in ("transfer CNN", "control CNN", "CNN of step 8"):
    first = heldout[name][0]
    panels[name] = (true, first, evaluation.spearman(true, first, seed))
record.show(
    plots.predicted_against_true(panels, f"{axis}, held-out clips"), "heldout",
    caption="Predicted against true value, held-out clips.",
)  # fmt: skip

# %% [markdown]
# ### How many blocks may stay frozen?
#
# The figure of Yosinski et al., in small: the first $n$ blocks stay as the genre CNN left them, the others learn; $n = 4$ is the head
# alone. A dot is the lowest loss of stage 2 (at $n = 4$: of stage 1) in one training; the line goes through the first
# seed's. The other seeds were trained at both ends alone.
#
# **Predict.** Draw the curve before you look.
#
# <details><summary>What to expect, and why</summary>
# Flat at first: the early blocks are general, and leaving them alone loses little. (It may even help: with few clips, fewer
# parameters overfit less.) Rising towards four frozen blocks, where the late blocks stay specific to genre. How far it
# rises says how distant the axis is from genre. From fresh weights the head alone should be worse, if genre taught the
# blocks anything about the axis.
# </details>

# %% tags=["solution"]
# Lowest validation losses: start -> number of frozen blocks -> one per training.
frozen = {}
for start, trainings in (("genre", from_genre), ("fresh", from_fresh)):
    losses = [its_history.val_loss for _, its_history in trainings]
    frozen[start] = {
        0: [min(loss[n_head:]) for loss in losses],  # stage 2 alone
        4: [min(loss[:n_head]) for loss in losses],  # the head alone
    }
for n_blocks in (1, 2, 3):
    partly, its_history = fine_tune(seed, "genre", n_blocks)
    frozen["genre"][n_blocks] = [min(its_history.val_loss[n_head:])]

# %% tags=["solution"]
# `train` kept the averages of frozen blocks: after n = 3 they are still the genre CNN's.
for number in range(3):
    own, copied_from = (net.backbone.blocks[number][1] for net in (partly, genre.model))
    assert torch.equal(own.running_mean.cpu(), copied_from.running_mean.cpu())

# %% tags=["appendix"]
# The dots are trainings, the line goes through those of the first seed.
first_losses = pd.Series({n: frozen["genre"][n][0] for n in range(5)})
drawn = plots.curves(
    {"genre weights": first_losses}, f"{axis}: how much may stay as genre left it",
    "frozen blocks", "lowest validation loss", {"training mean": constant},
)  # fmt: skip
for start, style in (("genre", "o"), ("fresh", "s")):
    dots = [(n, loss) for n, losses in frozen[start].items() for loss in losses]
    drawn.axes[0].plot(*zip(*dots, strict=True), style, label=f"{start} weights, each training")
drawn.axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
told = ", ".join(f"{n}: {min(losses):.4f}" for n, losses in frozen["fresh"].items())
drawn.set_label(f"{drawn.get_label()} Fresh weights, the lowest by frozen blocks, {told}.")
record.show(
    drawn, "frozen_blocks", caption="Lowest validation loss over the number of frozen blocks.",
)  # fmt: skip

# %% tags=["told", "report"]
# A difference counts here if it is larger than that between seeds.
all_learn, first = frozen["genre"][0], {n: v[0] for n, v in frozen["genre"].items()}
best_n = min((1, 2, 3), key=first.get)
spread, gap = max(all_learn) - min(all_learn), first[0] - first[best_n]
tell(
    "**Verdict.** Seed {seed}: with {best_n} of 4 blocks frozen, the best of three tries, the "
    "validation loss of stage 2 is {loss:.4f}, with none {none:.4f}; with none, the seeds differ "
    "by {spread:.4f}: {answer}.",
    seed=seed, best_n=best_n, loss=first[best_n], none=first[0], spread=spread,
    answer=Sentence(
        "no difference that one training could show" if abs(gap) <= spread else
        "lower, but in one training and as the best of three: a hint, no proof" if gap > 0 else
        "higher, but in one training: a hint, no proof"
    ),
)  # fmt: skip

# %% tags=["told", "report"]
# The marks at four frozen blocks: does the head alone get further on genre's blocks?
genre_heads, fresh_heads = frozen["genre"][4], frozen["fresh"][4]
tell(
    "**Verdict.** With the head alone the lowest loss is, by seed, {g_low:.4f} to {g_high:.4f} "
    "from genre, {f_low:.4f} to {f_high:.4f} from fresh weights: {heads}.",
    g_low=min(genre_heads), g_high=max(genre_heads),
    f_low=min(fresh_heads), f_high=max(fresh_heads),
    heads=Sentence(
        "lower from genre in every seed" if max(genre_heads) < min(fresh_heads) else
        "lower from fresh weights in every seed" if max(fresh_heads) < min(genre_heads) else
        "the ranges overlap, so genre is not shown to help here"
    ),
)  # fmt: skip

# %% [markdown]
# ## Change this and run again
#
# - `axis = "energy"`: the axis that a genre network should know most about. Is the head alone better there? Is there more to
#   gain?
# - `learning_rate = 0.003`: ten times the steps. What becomes of the copied weights in the first epoch of stage 2?
# - Leave out the call of `measure_averages` in `measured_vectors`. What is the control's first training loss in
#   stage 2, and why?
# - Take a fraction of the affect training clips (`splits.train` is a `Subset`; shorten its `indices`). Does the distance between
#   transfer and control grow? The premise of 9β says that it should.

# %% [markdown]
# ## What we learned
#
# - Transfer is: same architecture, same scaling, every tensor accounted for, a fresh head that starts at the mean, a new optimizer.
# - A frozen backbone is a function: compute its vectors once. What a linear layer makes of them says what the copied weights know
#   about the new task.
# - Frozen means batch normalisation, too.
# - Whether *the weights* helped is a question for a control; whether *the method* helped is a question for the best rival. Both
#   are paired, and both may end with "these clips cannot tell".
# - A control must be made as carefully as the thing it controls: measured batch norms, the same order of clips, the same steps.
#
# **Check yourself**
#
# <details><summary>Why does the transferred network use the genre scaler and not one of its own training clips?</summary>
# Its filters were learned on values scaled that way. With other statistics every band would be shifted and stretched, and
# the copied filters would answer to something else.
# </details>
#
# <details><summary>The frozen network's validation loss changes although only the head is trained. Is that a bug?</summary>
# No: the head is part of the network. It would be one if the backbone's output for a fixed clip changed in evaluation mode:
# then batch normalisation went on collecting statistics.
# </details>
#
# <details><summary>Why may stage 1 compute each clip's vector only once, and stage 2 not?</summary>
# In stage 1 the backbone is frozen and in evaluation mode, so the vector of a clip is the same in every epoch. In stage 2 the
# backbone changes in every step, and each epoch shows another masked window of the clip.
# </details>
#
# <details><summary>The transfer CNN beats the control but not step 8's CNN. What has been shown?</summary>
# That the genre weights are worth something in this recipe, and that another recipe gets as far without them. If only the
# result counts, the genre training was not needed; if few epochs or few labels are available, it may be.
# </details>
#
# <details><summary>On the demo set step 8's CNN has for valence an R2 near 0.1 and a Spearman above 0.4. How?</summary>
# Spearman asks for the order alone. Predictions that are squeezed towards the mean, or moved as a whole, keep their order
# and lose in R2.
# </details>
#
# <details><summary>Why is the epoch chosen on validation and the verdict taken from the held-out clips?</summary>
# The lowest of several noisy losses is too low on average, most of all for the training with more epochs to choose from. The
# held-out clips were not used to choose anything.
# </details>

# %% tags=["stored"]
# The lab's score with this axis replaced in the predictions of step 8; stored for notebook 11.
trio = record.load_predictions("08_regression", "cnn_heldout", ids["held-out"], axes)
replaced = trio.copy()
replaced[:, axes.index(axis)] = heldout["transfer CNN"][0]
all_true = clips.loc[ids["held-out"], axes].to_numpy()
score = evaluation.mean_spearman(all_true, replaced, seed)
record.add_scores(f"CNN, {axis} from genre", "mel", HELD_OUT, {"mean Spearman": score}, len(true))
own_score = evaluation.spearman(true, heldout["transfer CNN"][0], seed)
record.add_scores(
    "transfer CNN", "mel", f"{HELD_OUT}: {axis}", {"Spearman": own_score}, len(true)
)  # fmt: skip
record.save_predictions("transfer_heldout", ids["held-out"], heldout["transfer CNN"][0], [axis])
validation = training.predict(model, val_loader, compute)
record.save_predictions("transfer_validation", ids["val"], validation, [axis])
print(f"mean Spearman on held-out: step 8's CNNs {evaluation.mean_spearman(all_true, trio, seed)}, "
      f"with {axis} from genre {score}")  # fmt: skip

# %% tags=["stored"]
of_rival = evaluation.spearman(true, heldout["CNN of step 8"][0], seed)
record.finish(key_metric=f"{axis} on held-out: from genre {own_score}, step 8 {of_rival}")
