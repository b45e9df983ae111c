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
# - how several losses become one, and why their sizes must be looked at first
# - how to write a loss of your own as an `nn.Module`
# - what one shared backbone costs and brings, against three networks
#
# **Needs** the results of notebook 08. **Leaves** one checkpoint and its predictions, for notebook 11.
#
# **Takes** about one and a half minutes on the demo set with two CPU cores. With the lab's data: four times as many clips; the `full` profile trains longer.
#
# **The one insight:** in a plain sum the axis with the largest errors decides; divide each loss by its axis's variance and
# they speak with one voice each.

# %% [markdown]
# ## Set-up

# %%
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

# %%
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import pandas as pd

from helpers import datasets, evaluation, folders, models, plots, training
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import show_source, show_table, tell, tell_comparisons

notebook = "10_multitask"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step
epochs = 18  # passes over the training clips, at most
patience = 8  # epochs without a better validation loss before training stops
learning_rate = 0.001  # of Adam, after `warmup_epochs` epochs of warm-up
warmup_epochs = 3  # the head weighs a thousand features: small steps first
crop_frames = 256  # training windows, in frames; predictions use whole clips
max_masked_bands = 8  # SpecAugment hides up to so many mel bands in training
n_seeds = 1  # trainings, each from another seed; the first one is shown and used later

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown] tags=["solution"]
# ## 10α · Kaiser et al. 2017, in two sentences
#
# A single network with one set of weights, built of convolutions, attention and sparsely gated mixtures of experts between
# small input and output nets per modality, can learn tasks as different as image recognition, captioning, speech recognition,
# translation and parsing at the same time, without reaching the best specialised models. Learning together helps the tasks
# with little data most and costs the tasks with much data little or nothing, and building blocks that were made for one kind
# of task do not harm, and sometimes even improve, the others.
#
# (L. Kaiser, A. N. Gomez, N. Shazeer, A. Vaswani, N. Parmar, L. Jones, J. Uszkoreit: *One Model To Learn Them All*,
# arXiv 1706.05137.)

# %% [markdown]
# ## 10β · A loss for three axes
#
# The outputs and the targets are `[B, 3]`: valence, energy (which the handout once calls arousal) and danceability. The
# loss is an `nn.Module` that takes both and returns the weighted sum of the three mean squared errors. Its weights are a
# *buffer*, not parameters: they move to the GPU with the module and are not trained. (If they were, gradient descent would
# simply lower them without end.) The model has one backbone for all axes, and one linear head.

# %% [markdown] tags=["report"]
# For a batch of B clips, with the weight $w_a$ of axis $a$:
#
# $$
# L = \sum_{a} w_a \, \frac{1}{B} \sum_{b=1}^{B} (\hat y_{ba} - y_{ba})^2, \qquad w_a = \frac{1}{\sigma_a^2}
# $$

# %%
show_source(models.MultitaskRegressor)

# %% tags=["report"]
show_source(models.MultitaskLoss)

# %% [markdown]
# **Which weights?** Always predicting an axis's mean has a squared error equal to the axis's *variance*. So an axis whose
# values are spread widely brings a larger loss, and larger gradients, than a narrow one. With the weight 1 / variance (on
# the training part) each axis's loss is 1 for the constant mean, whatever its spread, and the three are of one order of
# magnitude. There is a second reading: such a loss is 1 - R2, the share of the variance that is *not* explained.
#
# | choice | made by |
# |---|---|
# | one CNN for three axes, the sum of their losses, weights that put them on equal terms | the handout |
# | 1 / variance as weights | this kit; its benchmark on real music ([its tables](../docs/how_good_history.md)) compares them with equal and with learned weights |
# | windows and SpecAugment, as in step 8 | this kit |

# %% tags=["solution"]
# Weights from the training part alone, as for everything that is fitted.
axes = list(folders.AXES)
parts = record.load_table("08_regression", "affect_split")
splits = datasets.affect_splits(root / folders.MULTITASK, "mel", axes, parts)
train_values = datasets.labels_of(splits.train)
weights = 1 / train_values.var(0, unbiased=False)
weighted, plain = models.MultitaskLoss(weights), models.MultitaskLoss()


# %% tags=["report"]
def losses_table(outputs, targets):
    """Each axis's loss, its share of the plain sum, and the same after weighting."""
    losses = plain.per_axis(outputs, targets)
    after = weights * losses
    columns = {"loss": losses, "share": losses / losses.sum(), "weight": weights}
    columns |= {"weighted loss": after, "weighted share": after / after.sum()}
    return pd.DataFrame({name: column.tolist() for name, column in columns.items()}, index=axes)


constant = losses_table(train_values.mean(0).expand_as(train_values), train_values)
caption = "Losses of the constant mean, and the weights that make them equal."
show_table(constant, caption=caption)
record.save_table("constant_losses", constant.reset_index(names="axis"))

# %%
# The same as a picture.
ratio = constant["loss"].max() / constant["loss"].min()
shares = {"plain sum": constant["share"], "weighted": constant["weighted share"]}
title = "How much of the loss each axis has, for the constant mean"
record.show(plots.shares(shares, title, "share of the loss (%)"), "loss_shares")
tell(
    "For the constant mean the largest of the three plain losses is {ratio:.1f} times the "
    "smallest; after weighting all are 1.", ratio=ratio,
)  # fmt: skip

# %% [markdown]
# ## 10γ · One CNN learns all three axes
#
# [Multitask learning](../docs/glossary.md#multitask-learning): the architecture is that of step 8's CNN; only the head has three outputs. Everything up to it is shared, so each clip's
# three labels teach the same filters. The validation loss that stops the training is the weighted one, too.

# %% tags=["solution"]
# Step 8's architecture with a head of three outputs, and fresh weights.
single = record.load_checkpoint("08_regression", "cnn_valence", head="regressor", feature="mel")
spec = {**single.spec, "head": "multitask", "head_options": {"n_axes": len(axes)}}
loaders = datasets.make_loaders(
    splits, batch_size, seed,
    crop_frames=crop_frames, max_masked_bands=max_masked_bands, device=compute,
)  # fmt: skip
seed_everything(seed)
model = models.build_model(spec)
history = training.train(
    model, *loaders[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
    warmup_epochs=warmup_epochs, loss=weighted, device=compute, name="multitask CNN",
)  # fmt: skip
path = record.save_checkpoint(  # notebook 11 may choose it
    "multitask", model, spec, feature="mel", scaler=splits.scaler, axes=axes,
    epoch=history.best_epoch, note="lowest weighted validation loss",
)  # fmt: skip
print(f"kept epoch {history.best_epoch} of {len(history.train_loss)}, in {path.name}")


# %% tags=["solution"]
def train_again(number):
    """The same network from another seed: its held-out predictions, [n, 3]."""
    others = datasets.make_loaders(
        splits, batch_size, seed + number,
        crop_frames=crop_frames, max_masked_bands=max_masked_bands, device=compute,
    )  # fmt: skip
    seed_everything(seed + number)
    other = models.build_model(spec)
    training.train(
        other, *others[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
        warmup_epochs=warmup_epochs, loss=weighted, device=compute, name=f"multitask {number + 1}",
    )  # fmt: skip
    return training.predict(other, others[2], compute)


again = [train_again(number) for number in range(1, n_seeds)]
print(f"{1 + len(again)} training(s), seeds {seed} to {seed + len(again)}")

# %% tags=["report"]
# The curve of the weighted loss, then predictions for the two parts that were not trained on.
title = "One CNN, three axes: weighted loss"
record.show(
    plots.learning_curves({"multitask CNN": history}, title), "learning_curves",
    caption="Weighted loss of the multitask CNN.",
)  # fmt: skip
ids, predicted, true = {}, {}, {}
for part, subset, loader in (
    ("validation", splits.val, loaders[1]), ("heldout", splits.test, loaders[2]),
):  # fmt: skip
    ids[part], true[part] = datasets.ids_of(subset), datasets.labels_of(subset)
    predicted[part] = training.predict(model, loader, compute)
    record.save_predictions(f"multitask_{part}", ids[part], predicted[part], axes)

# %% tags=["report"]
# The losses of the trained model on validation: is one axis left behind?
trained = losses_table(train_values.new_tensor(predicted["validation"]), true["validation"])
show_table(trained, caption="Losses of the multitask CNN on the validation clips.")
left = trained["weighted loss"]
record.save_values(weighted_loss=left.to_dict(), kept_epoch=history.best_epoch)
tell(
    "Hardest on validation: {hardest} (weighted loss {high:.2f}; about 1 is what the constant mean "
    "has), easiest: {easiest} ({low:.2f}).",
    hardest=left.idxmax(), high=left.max(), easiest=left.idxmin(), low=left.min(),
)  # fmt: skip

# %% [markdown]
# ## 10δ · Compared with step 8: one network instead of three
#
# Same architecture, same clips, same augmentation; once three networks with one axis each, once one with three. The
# held-out clips are the same as well, so the comparison is paired, per axis and for the mean.

# %%
# The first training of each model, on the same clips.
target = true["heldout"].numpy()
heldout = {"multitask": predicted["heldout"]}
for name, stored in (("three CNNs", "cnn_heldout"), ("SVR", "svr_heldout")):
    heldout[name] = record.load_predictions("08_regression", stored, ids["heldout"], axes)
scores = {
    "multitask": record.add_affect_scores("multitask CNN", "mel", target, heldout["multitask"])
}
for name in ("three CNNs", "SVR"):
    scores[name] = evaluation.affect_scores(target, heldout[name], seed)

# %% tags=["report"]
# Per axis and for the mean, as a table and as a picture.
caption = "Spearman correlation on the held-out clips, with 95 % intervals."
show_table(pd.DataFrame.from_dict(scores, orient="index"), caption=caption)
rows = {f"{axis}: {name}": scores[name][axis] for axis in (*axes, "mean") for name in heldout}
title = f"Spearman on {len(target)} held-out clips"
drawn = plots.score_plot(rows, title, "Spearman", 0.0, "no order at all")
record.show(drawn, "spearman", caption=caption)
panels = {
    axis: (target[:, i], predicted["heldout"][:, i], scores["multitask"][axis])
    for i, axis in enumerate(axes)
}
record.show(
    plots.predicted_against_true(panels, "Multitask CNN on held-out clips"), "heldout",
    caption="Multitask CNN: predicted against true value, held-out clips.",
)  # fmt: skip

# %% tags=["solution", "report"]
# Of each network the mean over its trainings, where there are several.
shared = [heldout["multitask"], *again]
separate = [
    record.load_predictions("08_regression", of_seed("cnn_heldout", n), ids["heldout"], axes)
    for n in range(record.load_value("08_regression", "n_seeds"))
]
compared = {
    (f"{axis}: multitask", "one CNN"): evaluation.compare_spearman(
        target[:, i], [o[:, i] for o in shared], [o[:, i] for o in separate], seed
    )
    for i, axis in enumerate(axes)
}
for name, rival in (("three CNNs", separate), ("SVR", heldout["SVR"])):
    compared["mean: multitask", name] = evaluation.compare_spearman(target, shared, rival, seed)
compared = evaluation.holm(compared)
caption = "Paired differences in Spearman with 95 % intervals."
record.show(plots.differences(compared, "Spearman"), "differences", caption=caption)
record.add_comparisons(compared, "Spearman on held-out clips")
tell_comparisons(compared, "Spearman on held-out clips")

# %% tags=["report"]
# The price: parameters to store, and seconds of training.
step8 = record.load_table("08_regression", "histories")
step8 = step8[step8["model"] == "CNN"]
n_single, n_shared = models.n_parameters(single.model), models.n_parameters(model)
costs = {
    "three CNNs": [len(axes) * n_single, len(step8), step8["seconds"].sum()],
    "multitask CNN": [n_shared, len(history.seconds), sum(history.seconds)],
}
costs = pd.DataFrame.from_dict(costs, orient="index", columns=["parameters", "epochs", "seconds"])
record.save_table("costs", costs.reset_index(names="model"))
show_table(costs, digits=1, caption="What the networks cost.")
saved = costs["parameters"].iloc[0] / n_shared
faster = costs["seconds"].iloc[0] / costs["seconds"].iloc[1]
tell(
    "The three networks have {saved:.1f} times the parameters and took {faster:.1f} times the "
    "training time of the one; in use, one pass per clip gives all three values.",
    saved=saved,
    faster=faster,
)


# %% [markdown]
# ## Change this and run again
#
# Subclass the loss. Here the absolute error takes the place of the squared one: a few clips with odd labels then pull less.
# Or try plain weights, or a weight of 3 for the hardest axis.

# %%
class MyLoss(models.MultitaskLoss):
    """A multitask loss whose error per axis you can change."""

    def per_axis(self, outputs, targets):
        """Outputs and targets [B, 3] -> the absolute error of each axis, [3]."""
        return (outputs - targets).abs().mean(0)


spread = (train_values - train_values.mean(0)).abs().mean(0)  # what the constant mean would have
seed_everything(seed)
mine = models.build_model(spec)
training.train(
    mine, *loaders[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
    warmup_epochs=warmup_epochs, loss=MyLoss(1 / spread), device=compute, name="my loss",
)  # fmt: skip
trials = {"my loss": training.predict(mine, loaders[1], compute)}
trials["squared error"] = predicted["validation"]
for name, values in trials.items():
    score = evaluation.mean_spearman(true["validation"].numpy(), values, seed)
    print(f"{name}: mean Spearman on validation {score}")

# %% [markdown]
# ## What we learned
#
# - A multitask loss is a weighted sum; weights from the training variances put the axes on equal terms.
# - One shared backbone needs about a third of the parameters of three networks and gives all axes in one pass.
# - Whether sharing also gives better rankings is settled by the paired comparison, not by the learning curve.
#
# **Check yourself**
#
# <details><summary>Adam rescales every parameter's step. Why do the weights of the loss still matter?</summary>
# Adam makes up for a factor common to the whole loss. The weights change what the axes contribute *relative* to each other
# to the gradient of the shared filters.
# </details>
#
# <details><summary>Can the training loss of this notebook be compared with that of step 8?</summary>
# No: it is a sum of three losses, each divided by a variance. Compare what both are judged by: Spearman on the same clips.
# </details>
#
# <details><summary>When would you expect one shared model to do worse than three?</summary>
# When the axes need different features and the backbone is too small for all of them, or when one axis's gradients push
# against another's.
# </details>

# %%
record.finish(key_metric=f"mean Spearman on held-out: multitask {scores['multitask']['mean']}, "
                         f"three CNNs {scores['three CNNs']['mean']}")  # fmt: skip
