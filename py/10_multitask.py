# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · One model for all three axes: multitask learning
#
# **What you will learn**
# - how three losses become one, and when their weights matter
# - how to write a loss of your own as an `nn.Module`
# - what one shared network costs and brings, against three
#
# **Needs** the results of notebook 08. **Leaves** one checkpoint and its predictions, for notebook 11.
#
# **Takes** about two minutes on the demo set with two CPU cores. With the lab's data: four times as many clips; the `full` profile trains longer.
#
# **The one insight:** weights matter when the losses differ tenfold, and most where the axes compete for few shared numbers. Here the
# losses differ about twofold, and the weights change little. But one network and *one last epoch* must do for all axes.
#
# **How to read:** the core path takes about 35 minutes. Answer each **Predict** before you unfold what to expect. Set-up,
# solutions and optional sections are folded.

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
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import r2_score
from torch import nn

from helpers import datasets, evaluation, folders, models, plots, training
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, show_table, tell

notebook = "10_multitask"
plots.use_style()

# %% tags=["setup", "parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 16  # clips per step of the optimiser
epochs = 6  # passes over the training clips, at most; this and the rest as in step 8
patience = 8  # epochs without a better validation loss before training stops
learning_rate = 0.0005  # of Adam, after `warmup_epochs` epochs of warm-up
warmup_epochs = 2  # the head weighs a thousand features: small steps first
crop_frames = 128  # training windows, in frames; predictions use whole clips
max_masked_bands = 4  # SpecAugment hides up to so many mel bands in training
n_seeds = 3  # trainings with each kind of weights; the first one is shown and used later

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
# The same draws each time; the data; the folder for what this notebook stores.
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
run_of_step8 = record.find("08_regression", "values.json").parents[2].name
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")
print(f"step 8's split, networks and predictions: those of the run {run_of_step8}")

# %% [markdown] tags=["solution"]
# ## 10α · Kaiser et al. 2017, in two sentences
#
# > **Handout.** *Διαβάστε το «One Model To Learn Them All» και γράψτε τα συμπεράσματά του σε δύο προτάσεις.* Read Kaiser et al. 2017
# > and give its conclusions in two sentences.
#
# One network with one set of weights can learn eight tasks on images, speech and text at once, though not as well as the
# best specialised networks. Tasks with little data gain most from the joint training, tasks with much data lose little or
# nothing, and a building block made for one kind of task rarely harms the others.
#
# (L. Kaiser, A. N. Gomez, N. Shazeer, A. Vaswani, N. Parmar, L. Jones, J. Uszkoreit: *One Model To Learn Them All*,
# [arXiv 1706.05137](https://arxiv.org/abs/1706.05137).)
#
# Our case is a smaller one: the *same* clips carry all three labels. A second label adds no clip; it tells the shared
# filters more about each one. More on when this helps: S. Ruder, [*An Overview of Multi-Task
# Learning*](http://ruder.io/multi-task/), the handout's link.

# %% [markdown]
# ## 10β · A loss for three axes
#
# > **Handout.** *Γράψτε ως `nn.Module` μια συνάρτηση κόστους που αθροίζει τα κόστη των τριών αξόνων, με προαιρετικά βάρη.* Write, as an
# > `nn.Module`, a loss that adds up the losses of the three axes; optional weights bring them to one order of magnitude.
#
# The outputs and the targets are `[B, 3]`: valence, energy (which the handout once calls arousal) and danceability.

# %% [markdown] tags=["report"]
# For a batch of B clips, with the weight $w_a$ of axis $a$ and its variance $\sigma_a^2$ over the training clips:
#
# $$
# L = \sum_{a} w_a \, \frac{1}{B} \sum_{b=1}^{B} (\hat y_{ba} - y_{ba})^2, \qquad w_a = \frac{1}{\sigma_a^2}
# $$

# %% [markdown]
# The weights are a *buffer*: they move to the GPU with the module, and the optimiser leaves them alone. As parameters they
# would be trained, and gradient descent would lower them without end, since that lowers the loss. (Kendall, Gal and Cipolla
# 2018 do learn them, with a term that stops the fall: exercise 10.1.)


# %% tags=["solution", "report"]
class MultitaskLoss(nn.Module):
    """The weighted sum of the axes' mean squared errors."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(weights))  # [3], not trained

    def forward(self, outputs, targets):
        """Outputs and targets [B, 3] -> one number."""
        per_axis = ((outputs - targets) ** 2).mean(0)  # [3]: one loss per axis
        return (self.weights * per_axis).sum()


# %% [markdown]
# **The model** is step 8's CNN; only the head grows. Everything before it is shared:
#
# ```text
# step 8:   [B, T, 128] --CNN--> [B, 1024] --Linear--> [B]   valence
#           [B, T, 128] --CNN--> [B, 1024] --Linear--> [B]   energy
#           [B, T, 128] --CNN--> [B, 1024] --Linear--> [B]   danceability
#
# step 10:  [B, T, 128] --CNN--> [B, 1024] --Linear--> [B, 3]
# ```


# %% tags=["solution"]
class MultitaskCNN(nn.Module):
    """One backbone, shared by the three axes, and one linear head for all of them."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone  # [B, T, 128] -> [B, 1024]
        self.head = nn.Linear(backbone.out_features, 3)  # [B, 1024] -> [B, 3]

    def forward(self, x, lengths):
        """[B, T, 128] -> [B, 3]."""
        return self.head(self.backbone(x, lengths))


# %%
# The clips of step 8's split, each with its three labels now, and step 8's architecture.
axes = list(folders.AXES)
parts = record.load_table("08_regression", "affect_split")
splits = datasets.affect_splits(root / folders.MULTITASK, "mel", axes, parts)
train_values = datasets.labels_of(splits.train)  # [n, 3]
single = record.load_checkpoint("08_regression", "cnn_valence", head="regressor", feature="mel")
spec = {**single.spec, "head": "multitask", "head_options": {"n_axes": len(axes)}}

# %%
# Both plain versions against the kit's, on real clips: the same weights must give the same numbers.
kit = models.build_model(spec).eval()
own = MultitaskCNN(models.CNNBackbone(**spec["backbone_options"])).eval()
own.load_state_dict(kit.state_dict())
x, y, lengths = next(iter(datasets.make_loader(splits.val, batch_size=4)))
with torch.no_grad():
    agree("multitask CNN", lambda: own(x, lengths), lambda: kit(x, lengths))
    outputs, weights = own(x, lengths), 1 / train_values.var(0, unbiased=False)
agree(
    "multitask loss",
    lambda: MultitaskLoss(weights)(outputs, y),
    lambda: models.MultitaskLoss(weights)(outputs, y),
)

# %% [markdown]
# | the kit adds | why | what it gains | where it stands |
# |---|---|---|---|
# | `per_axis(outputs, targets)` | the sum alone hides who causes it | the curves per axis in 10γ | `MultitaskLoss` in `helpers/models.py` |
# | weights 1 unless others are given | a plain sum is the first thing to try | the comparison in 10γ | the same |
# | a head that starts at the training mean (`start_at`) | random first weights over a thousand features answer far outside of 0 to 1 | no epoch is spent on coming back | the same |
# | `train` refuses outputs and targets of different shapes | `[B]` against `[B, 3]` is broadcast silently | an error in place of a wrong training | `helpers/training.py` |
#
# | choice | made by |
# |---|---|
# | one CNN for three axes, the sum of their losses, optional weights | the handout |
# | 1 / variance as weights | this kit; its benchmark on real music ([its tables](../docs/how_good_history.md)) found no gain by them |
# | windows and SpecAugment, as in step 8 | this kit |
#
# **Which weights?** Always answering an axis's mean costs exactly its *variance*. So an axis whose values spread widely brings a
# larger loss, and larger gradients. With the weight 1 / variance each axis's loss is 1 for the constant mean. It also has a
# second reading: 1 - R2, the share of the variance that is *not* explained.
#
# **Predict.** The standard deviations of valence, energy and danceability are about 0.25, 0.25 and 0.18. How far do the three
# plain losses differ? And if somebody had stored valence on a scale from 0 to 10?
#
# <details><summary>What to expect, and why</summary>
# The losses go with the square: 0.25² / 0.18² is about 2, so no axis dominates the plain sum. Ten times the scale is a hundred
# times the loss: valence would then be about 98 % of the sum.
# </details>


# %% tags=["report"]
# What the constant mean costs on each axis, and the weight that makes it 1.
constant = pd.DataFrame({"loss": train_values.var(0, unbiased=False)}, index=axes)
constant["share"] = constant["loss"] / constant["loss"].sum()
constant["weight"] = 1 / constant["loss"]
constant["weighted loss"] = constant["weight"] * constant["loss"]
caption = "Losses of the constant mean, and the weights that make them 1."
show_table(constant, caption=caption)
record.save_table("constant_losses", constant.reset_index(names="axis"))

# %%
# The same as a picture, with a third case: valence stored as 0 to 10.
in_tenths = constant["loss"] * [100, 1, 1]
shares = {
    "plain sum": constant["share"],
    "weighted": constant["weighted loss"] / len(axes),
    "plain, valence 0 to 10": in_tenths / in_tenths.sum(),
}
ratio = constant["loss"].max() / constant["loss"].min()
title = f"As stored, the losses differ {ratio:.1f}-fold; on another scale one axis is nearly all"
in_percent = {name: 100 * share for name, share in shares.items()}
record.show(plots.bars(in_percent, title, "axis", "share of the loss (%)"), "loss_shares")

# %% tags=["told", "report"]
# In one sentence.
tell(
    "For the constant mean the largest of the three plain losses is {ratio:.1f} times the "
    "smallest. {verdict}",
    ratio=ratio,
    verdict=Sentence(
        "That is one order of magnitude already: expect little from weights." if ratio < 5 else
        "That is enough for one axis to lead the others: expect something from weights."
    ),
)  # fmt: skip

# %% [markdown] tags=["extra"]
# ### Exercise 10.1 · Weights that are learned
#
# A. Kendall, Y. Gal and R. Cipolla (*Multi-Task Learning Using Uncertainty to Weigh Losses*, CVPR 2018, [arXiv
# 1705.07115](https://arxiv.org/abs/1705.07115)) train one number $s_a$ per task along with the network. Up to a factor their loss is
#
# $$
# L = \sum_a \left( e^{-s_a} L_a + s_a \right)
# $$
#
# The first term wants a large $s_a$, so a small weight $e^{-s_a}$; the second one stops it. Write the loss. Where does it
# come to rest?


# %% tags=["extra", "exercise"]
def check_learned(loss):
    """Checks a loss with learned weights at the s that should be its lowest point."""
    per_axis = torch.tensor([0.06, 0.06, 0.03])
    s = per_axis.log().requires_grad_()
    value = loss(per_axis, s)
    if value is None:
        return print("not written yet")
    assert value.shape == (), f"the loss is one number; yours has the shape {tuple(value.shape)}"
    expected = 3 + per_axis.log().sum()
    assert torch.isclose(value, expected), f"{value:.3f} in place of {expected:.3f}"
    value.backward()
    assert s.grad.abs().max() < 1e-5, f"the gradient by s should vanish at s = log L: {s.grad}"
    print("right: it rests at s = log L; each axis then has the weight 1 / L, as by its variance")


def my_learned_loss(per_axis, s):
    """Losses of the axes and their s, both [3] -> one number."""
    ...


check_learned(my_learned_loss)


# %% tags=["extra", "solution", "folded"]
def learned_loss(per_axis, s):
    """Kendall, Gal and Cipolla's loss: losses of the axes and their s, both [3] -> one number."""
    return ((-s).exp() * per_axis + s).sum()


check_learned(learned_loss)

# %% [markdown]
# ## 10γ · One CNN learns all three axes
#
# > **Handout.** *Εκπαιδεύστε με αυτή ένα μοντέλο και στους τρεις άξονες.* Train one model on all three axes with it.
#
# [Multitask learning](../docs/glossary.md#multitask-learning): each clip's three labels teach the same filters. Architecture,
# clips and augmentation are step 8's. The epoch with the lowest *weighted* validation loss is kept, one epoch for all axes.
#
# Which axis chose it? The kit's `train` stores the sum only. So we hand it a loss that notes each axis's errors as they pass.


# %% tags=["solution"]
class WatchedLoss(models.MultitaskLoss):
    """The kit's loss; it also notes each axis's squared errors on the validation clips."""

    def __init__(self, weights):
        super().__init__(weights)
        self.seen = []

    def forward(self, outputs, targets):
        """Outputs and targets [B, 3] -> one number."""
        if not torch.is_grad_enabled():  # validation
            self.seen.append(((outputs - targets) ** 2).cpu())
        return super().forward(outputs, targets)

    def per_epoch(self, n_clips):
        """The unweighted loss of each axis after each epoch, [epochs, 3]."""
        return torch.cat(self.seen).reshape(-1, n_clips, 3).mean(1).numpy()


# %% tags=["solution"]
def fit(weights, number, name):
    """Train the multitask CNN with these weights, from seed + number."""
    loaders = datasets.make_loaders(
        splits, batch_size, seed + number,
        crop_frames=crop_frames, max_masked_bands=max_masked_bands, device=compute,
    )  # fmt: skip
    seed_everything(seed + number)
    model = models.start_at(models.build_model(spec), train_values.mean(0))
    loss = WatchedLoss(weights)
    history = training.train(
        model, *loaders[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
        warmup_epochs=warmup_epochs, loss=loss, device=compute, name=name,
    )  # fmt: skip
    predicted = [training.predict(model, loader, compute) for loader in loaders[1:]]
    return SimpleNamespace(
        model=model, history=history, val_losses=loss.per_epoch(len(splits.val)),
        validation=predicted[0], heldout=predicted[1],
    )  # fmt: skip


# %% tags=["solution"]
# The same network from the same seeds, with 1 / variance and with equal weights.
# One after the other; with several GPUs, one on each (docs/many_gpus.md).
numbers = range(n_seeds)
trainings = {
    "weighted": one_per_gpu(lambda k: fit(weights, k, "multitask CNN"), numbers, compute),
    "plain": one_per_gpu(lambda k: fit(torch.ones(3), k, "plain sum"), numbers, compute),
}
first = trainings["weighted"][0]
kept = first.history.best_epoch
print(f"weighted and plain, seeds {seed} to {seed + n_seeds - 1}; first: kept epoch {kept} of "
      f"{len(first.history.train_loss)}")  # fmt: skip

# %%
# Stored for notebook 11: the first weighted training, and every weighted one's predictions.
ids = {"validation": datasets.ids_of(splits.val), "heldout": datasets.ids_of(splits.test)}
record.save_checkpoint(
    "multitask", first.model, spec, feature="mel", scaler=splits.scaler, axes=axes, epoch=kept,
    note="lowest weighted validation loss",
)  # fmt: skip
for number, done in enumerate(trainings["weighted"]):
    for part, values in (("validation", done.validation), ("heldout", done.heldout)):
        record.save_predictions(of_seed(f"multitask_{part}", number), ids[part], values, axes)

# %% tags=["appendix"]
title = f"One CNN, three axes: epoch {kept} is kept"
record.show(
    plots.learning_curves({"multitask CNN": first.history}, title), "learning_curves",
    caption="Weighted loss of the multitask CNN.",
)  # fmt: skip

# %% [markdown]
# **Predict.** One epoch is kept for three axes. Must it be the best one for each?
#
# <details><summary>What to expect, and why</summary>
# No. The sum is lowest where its <em>changing</em> parts are lowest together. An axis that is learned quickly and then over-fitted
# pulls the choice forward; one that is still being learned pulls it back. An axis whose loss stays near 1 pulls in neither
# direction, and it may just jump: its best epoch is then an accident of 40 clips.
# </details>

# %% tags=["report"]
# Each axis's weighted validation loss, after each epoch.
val_losses = pd.DataFrame(first.val_losses * weights.numpy(), columns=axes)  # [epochs, 3]
val_losses.index = range(1, len(val_losses) + 1)
title = f"The sum chose epoch {kept}; each axis alone would have chosen where its mark is"
drawn = plots.curves(
    val_losses, title, "epoch", "weighted validation loss", {"training mean": 1}, lowest=True,
)  # fmt: skip
drawn.axes[0].axvline(kept, color="0.5", linestyle=":")
record.show(
    drawn, "axis_curves",
    caption="Weighted validation loss of each axis; marks: each axis's own lowest epoch.",
)  # fmt: skip
record.save_table("validation_losses", val_losses.reset_index(names="epoch"))

# %% tags=["appendix"]
# What the common epoch costs each axis.
best = pd.DataFrame({
    "own best epoch": val_losses.idxmin(),
    "weighted loss there": val_losses.min(),
    "in the kept epoch": val_losses.loc[kept],
})  # fmt: skip
best["explained there (%)"] = (100 - 100 * best["in the kept epoch"]).round().astype(int)
show_table(best.round(3), caption="Each axis's own best epoch, and the one that was kept.")
record.save_values(weighted_loss=best["in the kept epoch"].to_dict(), kept_epoch=kept)

# %% tags=["told", "report"]
# Who pays for the common epoch, and who has learned nothing.
lost = best["in the kept epoch"] - best["weighted loss there"]
unlearned = best.index[best["in the kept epoch"] > 0.9].tolist()
tell(
    "{cost} In this first training, on the validation clips, less than a tenth of the variance is "
    "explained there for: {unlearned}.",
    cost=Sentence(
        "The common epoch {kept} costs {axis} most: alone it would have kept epoch {own}."
        if lost.max() > 0 else "The common epoch {kept} is the best one of every axis.",
        kept=kept, axis=lost.idxmax(), own=best.loc[lost.idxmax(), "own best epoch"],
    ),
    unlearned=unlearned,
)  # fmt: skip

# %% [markdown]
# On the demo set energy falls far below the training mean's 1 within three epochs. Danceability and valence rise above the mean
# for a while (notebook 08 asks where such rises come from) and end near 1, so nearly all of the loss that is left is theirs.
# The sum falls all the same and shows none of this.
#
# ### Exercise 10.2 · The epoch that the sum keeps
#
# From the curves `[epochs, 3]` and the weights `[3]`: which epoch, counted from 1, has the lowest sum? Then try weights of
# your own: how large must one axis's weight be before its own best epoch is kept?


# %% tags=["exercise"]
def check_kept(kept_epoch):
    """Checks a function that chooses the epoch, on this run's curves with and without weights."""
    found = kept_epoch(first.val_losses, weights.numpy())
    if found is None:
        return print("not written yet")
    assert found != kept - 1, f"epoch {found}: epochs are counted from 1"
    assert found == kept, f"epoch {found} in place of {kept}; is each loss times its weight?"
    for i, axis in enumerate(axes):
        alone = kept_epoch(first.val_losses, np.eye(3)[i])
        assert alone == best.loc[axis, "own best epoch"], f"{axis} alone: epoch {alone}"
    print(f"right: the sum keeps epoch {kept}, and each axis alone its own")


def my_kept_epoch(val_losses, weights):
    """Losses [epochs, 3] and weights [3] -> the number of the epoch with the lowest sum, from 1."""
    ...


check_kept(my_kept_epoch)


# %% tags=["solution", "folded"]
def kept_epoch(val_losses, weights):
    """Losses [epochs, 3] and weights [3] -> the number of the epoch with the lowest sum, from 1."""
    return int((val_losses * weights).sum(axis=1).argmin()) + 1


check_kept(kept_epoch)

# %% [markdown]
# ### Plain or weighted?
#
# **Predict.** Both were trained from the same seeds. Which axis gains by the weights, and by how much?
#
# <details><summary>What to expect, and why</summary>
# Danceability has the smallest variance, so the weights favour it: about twofold against the others. Adam divides each step
# by the size of the gradients, so a factor common to all axes changes nothing; only that twofold shift is left. Against the
# spread from seed to seed it will hardly be seen.
# </details>


# %%
def scores_of(true, models_of):
    """Two rows per model, Spearman and R2 of each axis: means over its trainings' [n, 3]."""
    metrics = {"Spearman": lambda *pair: evaluation.spearman(*pair).value, "R2": r2_score}
    rows = {}
    for name, predictions in models_of.items():
        for metric, score in metrics.items():
            values = [[score(true[:, i], p[:, i]) for i in range(3)] for p in predictions]
            rows[f"{name}: {metric}"] = np.mean(values, axis=0)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=axes)
    return table.assign(mean=table.mean(axis=1))


# %% tags=["appendix"]
# On validation: weights are a choice, and the held-out clips make none.
true = {"validation": datasets.labels_of(splits.val), "heldout": datasets.labels_of(splits.test)}
true = {part: values.numpy() for part, values in true.items()}
on_validation = {name: [t.validation for t in done] for name, done in trainings.items()}
table = scores_of(true["validation"], on_validation)
caption = "Plain and weighted sum: scores on the validation clips, the mean over the trainings."
show_table(table, digits=2, caption=caption)
record.save_table("weightings", table.reset_index(names="weights"))

# %% tags=["told", "report"]
# Paired, over all trainings.
by_weights = evaluation.compare_spearman(
    true["validation"], on_validation["weighted"], on_validation["plain"], seed
)
gain = by_weights.difference
by_axis = table.loc["weighted: Spearman"] - table.loc["plain: Spearman"]
tell(
    "**Verdict.** {verdict} By axis: {by_axis}." if gain.defined else "**Verdict.** {verdict}",
    by_axis=[Sentence("{axis} {gain:+.3f}", axis=axis, gain=by_axis[axis]) for axis in axes],
    verdict=Sentence(
        "The two cannot be compared: {reason}." if not gain.defined else
        "It stays open: the weights change the mean Spearman on validation by {gain:+.3f} (95 % "
        "interval {low:+.3f} to {high:+.3f}); these clips show no clear gain."
        if not by_weights.clear else
        "The weights change the mean Spearman by {gain:+.3f} (95 % interval {low:+.3f} to "
        "{high:+.3f}), more than chance does.",
        reason=gain.reason, gain=gain.value, low=gain.low, high=gain.high,
    ),
)  # fmt: skip

# %% [markdown]
# ### When do weights matter?
#
# Each axis has its own row of the head, and Adam gives each row steps of full size, whatever the weights. So the weights act on the
# *shared* part, and most where the axes compete for it. We make it small: 64 training clips' backbone vectors pass through
# `n_units` shared numbers, and three linear outputs read these.
#
# **Predict.** With *one* shared number, whose axis is it? With valence stored as 0 to 10? And with three shared numbers?
#
# <details><summary>What to expect, and why</summary>
# One number cannot order the clips in three ways, so it becomes a compromise. In a plain sum with valence at a hundred times the
# loss it becomes valence's; 1 / variance restores the compromise. Three numbers are enough for three axes: nobody has to give
# way, and the weights lose their power. Our CNN shares a thousand numbers.
# </details>


# %%
def share(n_units, scale, weighted):
    """R2 of each axis on 64 clips, read from `n_units` shared numbers; valence times `scale`."""
    seed_everything(seed)
    targets = (y - y.mean(0)) * torch.tensor([scale, 1.0, 1.0])
    loss = MultitaskLoss(1 / targets.var(0) if weighted else torch.ones(3))
    net = nn.Sequential(nn.Linear(vectors.shape[1], n_units), nn.Linear(n_units, 3))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        loss(net(vectors), targets).backward()
        optimiser.step()
    return r2_score(targets, net(vectors).detach(), multioutput="raw_values")


# %% tags=["appendix"]
x, y, lengths = next(iter(datasets.make_loader(splits.train, batch_size=64)))
with torch.no_grad():
    vectors = first.model.backbone.cpu().eval()(x, lengths)  # [64, 1024]
directions = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False).U
vectors = 8 * directions[:, :8]  # the eight strongest: too few to learn 64 clips by heart
cases = {
    "1 shared number, as stored, plain": share(1, 1, False),
    "1 shared number, valence 0 to 10, plain": share(1, 10, False),
    "1 shared number, valence 0 to 10, weighted": share(1, 10, True),
    "3 shared numbers, valence 0 to 10, plain": share(3, 10, False),
}
table = pd.DataFrame.from_dict(cases, orient="index", columns=axes)
caption = "Variance explained (R2) of 64 training clips, through few shared numbers."
show_table(table, digits=2, caption=caption)
record.save_table("shared_numbers", table.reset_index(names="case"))

# %% [markdown]
# On the demo set the one number serves all axes somewhat; once valence's scale is ten times larger it is valence's, and the two others
# lose. The weights bring the compromise back. With three shared numbers nobody loses, even on this scale.

# %% [markdown] tags=["extra"]
# ### Change this and run again
#
# Ten times the scale is a hundred times the squared error. So a weight of 100 trains the whole CNN as if valence had been stored as
# 0 to 10. One training is a demonstration, no proof; beside it stands the plain one of the same seed. Do the other axes lose their
# order (Spearman), or their fit (R2)? Try a weight of 10,000, too.

# %% tags=["extra"]
scaled = fit(torch.tensor([100.0, 1.0, 1.0]), 0, "valence 0 to 10")
beside = {"as stored": [trainings["plain"][0].validation], "valence 0 to 10": [scaled.validation]}
show_table(scores_of(true["validation"], beside), digits=2)

# %% [markdown] tags=["extra"]
# On the demo set the two other axes lose little or nothing, and another seed moves such numbers as far. The thousand features that
# this CNN shares leave room for three axes, as three shared numbers did above; one shared number did not.

# %% [markdown]
# ## 10δ · Compared with step 8: one network instead of three
#
# > **Handout.** *Συγκρίνετε με το βήμα 8.* Compare with step 8.
#
# **The question, named beforehand:** does the multitask CNN reach another mean Spearman correlation than the CNNs (one per
# axis) of step 8, on the held-out clips, over all trainings of both? Same architecture, clips and augmentation. Single axes
# and the SVR come second, and their p-values are corrected together (Holm).
#
# **Predict.** One or three: which is better here, and on which axis?
#
# <details><summary>What to expect, and why</summary>
# Sharing helps where an axis alone has too few labels to learn its filters; it hurts where the axes want different filters or
# different last epochs. Each of the three CNNs keeps its own best epoch. The one network has a third of the capacity and one
# epoch. With about 40 clips only a difference above 0.1 can be seen: expect a tie, or a loss on the axis that paid for the
# common epoch.
# </details>

# %% tags=["solution"]
# Held-out predictions: every training of the two CNNs, and step 8's LSTMs and SVR beside them.
target = true["heldout"]
n_step8 = record.load_value("08_regression", "n_seeds")


def of_step8(name):
    """What step 8 predicted for the held-out clips under this name, [n, 3]."""
    return record.load_predictions("08_regression", name, ids["heldout"], axes)


shared = [done.heldout for done in trainings["weighted"]]
separate = [of_step8(of_seed("cnn_heldout", number)) for number in range(n_step8)]
heldout = {"multitask CNN": shared, "CNNs (one per axis)": separate}
heldout["LSTMs (one per axis)"] = [of_step8(of_seed("lstm_heldout", n)) for n in range(n_step8)]
heldout["SVR"] = [of_step8("svr_heldout")]

# %% tags=["report"]
# The order (Spearman) and, below it, how much of the variance is explained (R2).
on_heldout = scores_of(target, heldout)
caption = "Scores on the held-out clips, the mean over the trainings."
show_table(on_heldout, digits=2, caption=caption)
record.save_table("heldout_scores", on_heldout.reset_index(names="model"))

# %% tags=["appendix"]
# The first training of each, per axis and for the mean, with intervals.
scores = {name: evaluation.affect_scores(target, done[0], seed) for name, done in heldout.items()}
record.add_affect_scores("multitask CNN", "mel", target, shared[0])
title = f"{len(target)} held-out clips, first training of each"
record.show(
    plots.scores_by_axis(scores, title, "Spearman"), "spearman",
    caption="Spearman correlation on the held-out clips, with 95 % intervals.",
)  # fmt: skip

# %% tags=["appendix"]
# Clip by clip: the nearer to a rising line, the better the order.
panels = {
    axis: (target[:, i], shared[0][:, i], scores["multitask CNN"][axis])
    for i, axis in enumerate(axes)
}
record.show(
    plots.predicted_against_true(panels, "Multitask CNN on held-out clips"), "heldout",
    caption="Multitask CNN: predicted against true value, held-out clips.",
)  # fmt: skip

# %% tags=["solution", "report"]
# First the question that was named beforehand; then the others, corrected together.
primary = evaluation.compare_spearman(target, shared, separate, seed)
others = {("mean: multitask CNN", "SVR"): evaluation.compare_spearman(
    target, shared, heldout["SVR"], seed
)}  # fmt: skip
for i, axis in enumerate(axes):
    one, three = ([p[:, i] for p in side] for side in (shared, separate))
    others[f"{axis}: multitask CNN", "CNN"] = evaluation.compare_spearman(
        target[:, i], one, three, seed
    )
compared = {("mean: multitask CNN", "CNNs (one per axis)"): primary} | evaluation.holm(others)
record.show(
    plots.differences(compared, "Spearman"), "differences",
    caption="Paired differences in Spearman with 95 % intervals, not corrected; filled: clear, "
    "below the first row after Holm's correction.",
)  # fmt: skip

# %% [markdown]
# Intervals are those of each row alone. A row is *clear* (filled) when its interval leaves 0 out and, below the first row, its
# p-value stays under 0.05 after Holm's correction. So a row beside 0 may still be open.
#
# On the demo set nearly all of the mean's difference comes from danceability, whose interval is also the widest: the one network
# is worse there, or these clips were unlucky for it.

# %% tags=["told", "report"]
# Every training counts: how far do they lie apart?
spread = {
    name: [round(evaluation.mean_spearman(target, p, seed).value, 3) for p in heldout[name]]
    for name in ("multitask CNN", "CNNs (one per axis)")
}
tell(
    "Mean Spearman of each training: multitask CNN {one}; CNNs (one per axis) {three}.",
    one=spread["multitask CNN"], three=spread["CNNs (one per axis)"],
)  # fmt: skip

# %% tags=["appendix"]
# The price: parameters to store, and steps of the optimiser (each costs both about the same).
step8 = record.load_table("08_regression", "histories")
step8 = step8[step8["model"] == "CNN"].drop_duplicates(["axis", "epoch"])  # the first trainings
n_epochs = [len(step8), len(first.history.train_loss)]
n_parameters = [3 * models.n_parameters(single.model), models.n_parameters(first.model)]
steps_per_epoch = -(-len(splits.train) // batch_size)
costs = pd.DataFrame(
    {"parameters": n_parameters, "epochs": n_epochs}, index=["CNNs (one per axis)", "multitask CNN"]
)
costs["optimiser steps"] = steps_per_epoch * costs["epochs"]
record.save_table("costs", costs.reset_index(names="model"))
show_table(costs, caption="What the networks cost.")

# %% tags=["told", "report"]
# The answer to the question that was named beforehand.
saved, fewer = costs.iloc[0] / costs.iloc[1], primary.difference
r2 = on_heldout.loc["multitask CNN: R2", axes]
tell(
    "**Verdict.** {verdict} The three networks have {saved:.1f} times the parameters and took "
    "{steps:.1f} times the optimiser steps. The multitask CNN's lowest R2 on the held-out clips, "
    "mean over its trainings, is that for {axis}: {r2:.2f}.",
    verdict=Sentence(
        "One or three? It cannot be told: {reason}." if not fewer.defined else
        "One or three? It stays open: the multitask CNN's mean Spearman differs by {gain:+.3f} "
        "(95 % interval {low:+.3f} to {high:+.3f}); these {n} clips cannot tell."
        if not primary.clear else
        "One: its mean Spearman is higher by {gain:.3f} (95 % interval {low:+.3f} to {high:+.3f})."
        if fewer.value > 0 else
        "Three: the multitask CNN's mean Spearman differs by {gain:+.3f} (95 % interval {low:+.3f} "
        "to {high:+.3f}).",
        reason=fewer.reason, gain=fewer.value, low=fewer.low, high=fewer.high, n=len(target),
    ),
    saved=saved["parameters"], steps=saved["optimiser steps"], axis=r2.idxmin(), r2=r2.min(),
)  # fmt: skip

# %% [markdown]
# **A better order than fit?** Predictions on the right scale have an R2 of about the square of their correlation: 0.25 for 0.5. Where
# R2 lies well below that, the clips come in a reasonable order, but the predictions are stretched or moved. For the lab's score
# the model is useful; whoever wants the *values* must rescale them on the training part first.
#
# ### Exercise 10.3 · Count before you look
#
# One CNN's backbone has `n_backbone` parameters and gives `n_features` numbers per clip. How many parameters has the multitask
# CNN, and how many have three CNNs?


# %% tags=["exercise"]
def check_counts(count):
    """Checks a function that counts the parameters of one shared and of three separate networks."""
    n_backbone = models.n_parameters(first.model.backbone)
    found = count(n_backbone, first.model.backbone.out_features)
    if found is None:
        return print("not written yet")
    one, three = costs.loc["multitask CNN", "parameters"], costs["parameters"].max()
    assert found[0] == one, f"one network: {found[0]} in place of {one}; has each axis its bias?"
    assert found[1] == three, f"three networks: {found[1]} in place of {three}"
    print(f"right: {one:,} and {three:,}; sharing saves two backbones and nothing of the heads")


def my_count(n_backbone, n_features):
    """Parameters of (the multitask CNN, three CNNs)."""
    ...


check_counts(my_count)


# %% tags=["solution", "folded"]
def count(n_backbone, n_features):
    """Parameters of (the multitask CNN, three CNNs)."""
    heads = 3 * (n_features + 1)
    return n_backbone + heads, 3 * n_backbone + heads


check_counts(count)

# %% [markdown]
# ## What we learned
#
# - A multitask loss is a weighted sum. The weights matter when the losses differ tenfold, most of all where the axes compete for
#   few shared parameters. So look at the sizes of the losses before you tune.
# - One shared backbone has about a third of the parameters and gives all axes in one pass.
# - The sum chooses *one* epoch. Look at each axis's own curve: a sum can fall while one axis is not learned at all.
# - Whether sharing gives better rankings is settled by the paired comparison over several trainings, not by one curve.

# %% tags=["told"]
# With this run's numbers.
tell(
    "In this run: the losses differ {ratio:.1f}-fold, the weights changed the mean Spearman by "
    "{weights:+.3f} on validation, and one network in place of three by {one:+.3f} on the held-out "
    "clips.",
    ratio=ratio, weights=gain.value, one=fewer.value,
)  # fmt: skip

# %% [markdown]
# **Check yourself**
#
# <details><summary>Adam rescales every parameter's step. Why do the weights of the loss still matter?</summary>
# Adam makes up for a factor common to the whole loss. The weights change what the axes contribute <em>relative</em> to each other
# to the gradient of the shared filters.
# </details>
#
# <details><summary>Why are the weights a buffer and not a parameter?</summary>
# A parameter is trained. The loss falls when a weight falls, so gradient descent would lower all three without end. A buffer is
# stored and moved with the module, and not trained.
# </details>
#
# <details><summary>Can the training loss of this notebook be compared with that of step 8?</summary>
# No: it is a sum of three losses, each divided by a variance. Compare what both are judged by: Spearman on the same clips.
# </details>
#
# <details><summary>Why is the weighting chosen on validation, although the table of 10δ uses the held-out clips?</summary>
# To weigh or not is a choice. If the held-out clips made it, their score would flatter the chosen network, and no clips would be
# left to say what to expect.
# </details>
#
# <details><summary>When would you expect one shared model to do worse than three?</summary>
# When the axes need different features and the backbone is too small for all of them, when one axis's gradients push
# against another's, or when their best epochs lie far apart.
# </details>
#
# <details><summary>Danceability is stored as a percentage, 0 to 100, by mistake. What happens with the weights 1 / variance?</summary>
# Nothing to the loss: its variance grows 10,000-fold and its weight falls by the same factor. That is what such weights are good
# for. The head would still have to start at another mean, and to grow large weights.
# </details>

# %% tags=["stored"]
record.finish(key_metric=f"mean Spearman on held-out: multitask {scores['multitask CNN']['mean']}, "
                         f"CNNs {scores['CNNs (one per axis)']['mean']}")  # fmt: skip
