# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Valence, energy and danceability: regression
#
# **What you will learn**
# - how a classifier becomes a regressor: another head, another loss, one shape to watch, and where to start
# - how to read a regressor: explained variance, squeezed predictions, over-fitting, and a loss that jumps
# - why the lab scores ranks (Spearman), and how small a difference a few clips can show
#
# **Needs** the results of notebooks 05 and 07. **Leaves** the affect split, a checkpoint per model and axis, and every
# model's predictions, for notebooks 09, 10 and 11.
#
# **Takes** about two minutes on the demo set with two CPU cores. With the lab's data: four times as many
# clips, and the `full` profile trains longer: take a GPU.
#
# **The one insight:** only the head and the loss change. What decides is on which clips you judge, and by which number.
#
# **How to read:** the core path takes 40 minutes. Answer **Predict** before you look; extras are folded.

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
import warnings

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import mean_squared_error, r2_score
from torch import nn

from helpers import baselines, datasets, evaluation, folders, handmade, models, plots, training
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, play, show_table, tell, tell_comparisons, tell_list

notebook = "08_regression"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 16  # clips per step
lstm_epochs = 6  # passes over the training clips, at most
cnn_epochs = 6
patience = 8  # epochs without a better validation loss before training stops
ast_epochs = 0  # of the AST of step 7.2; 0: left out, for time
lstm_learning_rate = 0.003  # of Adam, after one epoch of warm-up
cnn_learning_rate = 0.0005  # of Adam, after `cnn_warmup_epochs` epochs of warm-up
ast_learning_rate = 0.001  # of Adam, after one epoch of warm-up
cnn_warmup_epochs = 2  # its head weighs a thousand features: small steps first
crop_frames = 128  # the CNN trains on random windows of this many frames, and predicts whole clips
lstm_crop_frames = 128  # the same for the LSTM; 0: it trains on whole clips
max_masked_bands = 4  # SpecAugment hides up to so many mel bands while the CNN trains
n_seeds = 3  # trainings of each model, each from another seed; the first one is used later

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## One split of the labelled clips
#
# The test folder of the affect set has no labels: the competition keeps them. So a part of the *labelled* clips is held
# out to stand in for it. The split is made once, stored, and read by notebooks 09 to 11:
#
# - **train** (70 %): weights and scaling come from these clips alone;
# - **validation** (15 %): chooses the epoch, and which network is best;
# - **held-out** (15 %): is reported. It chooses nothing, or it would turn into a second validation part.
#
# It is *stratified*: the clips are sorted by the mean of their three axes, and every run of about 20 neighbours is dealt
# out in these shares. So no part gets all the happy, loud, danceable clips.

# %%
# Made once here, and stored for the notebooks that follow.
axes = list(folders.AXES)
parts = datasets.affect_parts(root / folders.MULTITASK, seed)
record.save_table("affect_split", parts)
tracks = parts.merge(folders.read_clips(root / folders.MULTITASK, "train"), on="id")
clips = {
    "train": tracks[tracks["part"] == "train"],
    "validation": tracks[tracks["part"] == "val"],
    "heldout": tracks[tracks["part"] == "held-out"],
}
ids = {part: table["id"].tolist() for part, table in clips.items()}
true = {part: table[axes].to_numpy() for part, table in clips.items()}  # [n, 3]

# %%
# Mean and, in brackets, standard deviation of each axis.
columns = {}
for part, values in true.items():
    columns[f"{part.replace('heldout', 'held-out')} ({len(values)} clips)"] = [
        f"{column.mean():.2f} ({column.std():.2f})" for column in values.T
    ]
show_table(pd.DataFrame(columns, index=axes))

# %%
medians = ", ".join(f"{axis} {tracks[axis].median():.2f}" for axis in axes)
title = f"What has to be predicted; medians: {medians}"
alt = f"Histograms of the three axes over the {len(tracks)} labelled clips."
figure = plots.histogram({axis: tracks[axis].to_numpy() for axis in axes}, title, "value", alt)
record.show(figure, "axes")

# %% [markdown]
# ## 8α · The LSTM and the CNN become regressors
#
# > **Handout.** *Μετατρέψτε το καλύτερο μοντέλο του βήματος 5 και το CNN του βήματος 7 σε μοντέλα παλινδρόμησης,
# > αλλάζοντας τη συνάρτηση κόστους.* Turn the best model of step 5 and the CNN of step 7 into regressors by changing the
# > loss.
#
# The [backbone](../docs/glossary.md#backbone-and-head) turns a clip into one vector, whatever the task. Two things are
# exchanged: the **head**, from one score per class to one number, and the **loss**, from cross-entropy to the mean
# squared error
#
# $$
# L = \frac{1}{B} \sum_{i=1}^{B} (\hat y_i - y_i)^2
# $$
#
# The weights start afresh: starting from the genre weights is a question of its own, for notebook 09.
#
# ```text
# classifier  [B, T, F] --backbone--> [B, D] --Linear(D, 10)--> [B, 10]                  cross-entropy
# regressor   [B, T, F] --backbone--> [B, D] --Linear(D, 1)---> [B, 1] --squeeze--> [B]  squared error
# ```

# %% tags=["solution", "report"]
class PlainRegressor(nn.Module):
    """A backbone, and a head that makes one number of its vector."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_features, 1)

    def forward(self, x, lengths):
        vector = self.backbone(x, lengths)  # [B, T, F] -> [B, D]
        value = self.head(vector)  # [B, 1]
        return value.squeeze(-1)  # [B], the shape of the targets


# %% [markdown]
# **Which networks?** The CNN of step 7, and the best LSTM of step 5. Notebook 05 chose it by the kit's one rule: the lowest
# validation loss, in the mean over its trainings. Where it reads beat-synchronous clips and this upload has no
# `multitask_dataset_beat`, the best LSTM on full clips is taken.

# %% tags=["solution"]
# Which LSTM, and which folder it reads; the AST of step 7.2 where its epochs are paid for.
best_lstm = record.load_value("05_lstm", "best_lstm")
has_beats = (root / folders.MULTITASK_BEAT).is_dir()
if best_lstm["folder"] == folders.GENRE_BEAT and not has_beats:
    best_lstm = record.load_value("05_lstm", "best_full_lstm")
on_beats = best_lstm["folder"] == folders.GENRE_BEAT
sources = {
    "LSTM": record.load_checkpoint("05_lstm", best_lstm["name"], head="classifier"),
    "CNN": record.load_checkpoint("07_cnn", "cnn_mel_best", head="classifier"),
}
if ast_epochs:
    sources["AST"] = record.load_checkpoint("07b_ast", "ast_mel_best", head="classifier")
kinds = tuple(sources)
folder_of = {
    "LSTM": folders.MULTITASK_BEAT if on_beats else folders.MULTITASK,
    "CNN": folders.MULTITASK,
    "AST": folders.MULTITASK,
}
feature_of = {kind: sources[kind].feature for kind in kinds}

# %% [markdown]
# From 2024-25 on the handout asks for the AST of step 7.2 as a third regressor. It is trained where `ast_epochs` is not 0: the
# profile `full` does so; the demo, which is to be done on two cores in minutes, does not (nine more trainings, of a network that
# needs several times as many epochs). Nothing else changes: one more network in every table and figure below.

# %% tags=["told", "report"]
# The profile says whether the AST takes part.
tell(
    "The AST of step 7.2 takes part as a third regressor, at most {epochs} epochs."
    if ast_epochs else
    "The AST of step 7.2 is left out of this run: ast_epochs is {epochs}.",
    epochs=ast_epochs,
)  # fmt: skip

# %%
# Both heads on one backbone, with the same weights, for eight real clips.
splits = datasets.affect_splits(root / folders.MULTITASK, "mel", "valence", parts)
x, y, lengths = next(iter(datasets.make_loader(splits.train, 8)))
backbone = sources["CNN"].model.backbone
own, kit = PlainRegressor(backbone).eval(), models.Regressor(backbone).eval()
own.head.load_state_dict(kit.head.state_dict())
print(f"clips {tuple(x.shape)}, targets {tuple(y.shape)}")
agree("regressor", lambda: own(x, lengths), lambda: kit(x, lengths))
agree(
    "squared error",
    lambda: ((own(x, lengths) - y) ** 2).mean(),
    lambda: training.default_loss(kit)(kit(x, lengths), y),
)

# %% [markdown]
# | the kit adds | why | what it gains | where |
# |---|---|---|---|
# | a head whose weights begin near 0 | random weights over a thousand features answer far outside of 0 to 1 | the first epochs are not spent on coming back | `models.Regressor` |
# | a head that begins at the training mean | no better answer needs no clip | measured below | `models.start_at` |
# | a refusal of unequal shapes | PyTorch only warns | the mistake of the next cell ends at the first batch | `training.train` |
# | a loss chosen by the head | steps 5, 7, 8 and 10 share one training loop | nothing to forget | `training.default_loss` |

# %% [markdown]
# ### The shape to watch
#
# `nn.Linear(..., 1)` gives `[B, 1]`, the targets are `[B]`. The squared error of the two is *broadcast*: every prediction
# against every target, B x B differences. Even perfect predictions then have a loss, and what makes it smallest is to
# predict the mean for every clip.

# %%
# Three perfect predictions, once in the right shape and once as a column.
target = torch.tensor([0.1, 0.4, 0.9])
perfect = target.clone()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    right = nn.MSELoss()(perfect, target)
    wrong = nn.MSELoss()(perfect[:, None], target)
    mean = nn.MSELoss()(target.mean().expand(3)[:, None], target)
print(f"perfect predictions, (B,) against (B,):   loss {right:.3f}")
print(f"perfect predictions, (B, 1) against (B,): loss {wrong:.3f}")
print(f"the mean everywhere, (B, 1) against (B,): loss {mean:.3f}, lower than for perfect ones")
print(f"PyTorch only warns: {str(caught[0].message).split('. ')[0]}")

# %% [markdown]
# ### Exercise 8.1 · A squared error that refuses
#
# Write a mean squared error that raises `ValueError` when outputs and targets differ in shape. Let its text name both
# shapes, as in `outputs (2, 1), targets (2,)`.

# %% tags=["exercise"]
def my_mse(outputs, targets):
    """The mean squared error [..] -> one number; ValueError where the shapes differ."""
    ...


def check_mse(mse):
    """Tries it on equal and on unequal shapes."""
    row, column = torch.tensor([0.0, 1.0]), torch.tensor([[0.0], [1.0]])
    if mse(row, row) is None:
        print("not written yet")
        return
    assert mse(row, 3 * row) == 2, "for [0, 1] and [0, 3] the mean squared error is 2"
    try:
        mse(column, row)
    except ValueError as error:
        assert "(2, 1)" in str(error) and "(2,)" in str(error), "name both shapes in the text"
        print(f"right: {error}")
    else:
        raise AssertionError("(2, 1) against (2,) went through: compare the shapes first")


check_mse(my_mse)

# %% tags=["solution", "folded"]
def my_mse(outputs, targets):
    """Mean squared error that refuses unequal shapes."""
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}")
    return ((outputs - targets) ** 2).mean()


check_mse(my_mse)

# %% [markdown]
# ### Where the head starts
#
# Before the network has learned anything, it answers about the same constant $c$ for every clip. Its loss is then
#
# $$
# \frac{1}{n} \sum_{i=1}^{n} (c - y_i)^2 = \operatorname{var}(y) + (c - \bar y)^2
# $$
#
# The second part has nothing to do with music: it only moves the bias of the head to $\bar y$. So we set the bias there
# (Karpathy's [recipe](http://karpathy.github.io/2019/04/25/recipe/) calls it "init well").
#
# **Predict.** For which axis does this save most, compared with a start in the middle, at 0.5?
#
# <details><summary>What to expect, and why</summary>
# For the axis whose mean is farthest from 0.5: look at the first table of this notebook. For an axis with a mean near 0.5
# the two starts are the same.
# </details>

# %%
# The loss of three constant answers, for every axis, on the training clips.
rows = {}
for axis, values in zip(axes, true["train"].T, strict=True):
    rows[axis] = {
        "training mean": values.mean(),
        "loss at 0": (values**2).mean(),
        "loss at 0.5": ((values - 0.5) ** 2).mean(),
        "loss at the mean": values.var(),
    }
starts = pd.DataFrame.from_dict(rows, orient="index")
show_table(starts)

# %% tags=["told"]
# What the start at the mean saves.
saved = 100 * (1 - starts["loss at the mean"] / starts["loss at 0.5"])
tell(
    "Starting at the mean and not at 0.5 saves {most:.0f} % of the first loss for {axis}, and "
    "{least:.0f} % for {other}.",
    most=saved.max(), axis=saved.idxmax(), least=saved.min(), other=saved.idxmin(),
)  # fmt: skip

# %% [markdown]
# ### The recipe of both networks

# %%
# The backbones of steps 5 and 7, each with one output.
shown_as = {"LSTM": "LSTMs (one per axis)", "CNN": "CNNs (one per axis)", "SVR": "SVR"}
shown_as |= {"AST": "ASTs (one per axis)", "hand-made SVR": "hand-made SVR"}
spec_of = {
    kind: {**sources[kind].spec, "head": "regressor", "head_options": {}} for kind in kinds
}
options = {
    "LSTM": {"epochs": lstm_epochs, "learning_rate": lstm_learning_rate, "warmup_epochs": 1},
    "CNN": {
        "epochs": cnn_epochs,
        "learning_rate": cnn_learning_rate,
        "warmup_epochs": cnn_warmup_epochs,
    },
    "AST": {"epochs": ast_epochs, "learning_rate": ast_learning_rate, "warmup_epochs": 1},
}
augment = {
    "LSTM": {"crop_frames": lstm_crop_frames},
    "CNN": {"crop_frames": crop_frames, "max_masked_bands": max_masked_bands},
}
if "AST" in kinds:  # windows of as many frames as it takes at once
    ast_frames = sources["AST"].spec["backbone_options"]["input_tdim"]
    augment["AST"] = {"crop_frames": ast_frames, "max_masked_bands": max_masked_bands}

# %% tags=["appendix"]
# What is as before, what is new, and in what the two differ.
recipe = {}
for kind in kinds:
    before, new = sources[kind].model, models.build_model(spec_of[kind])
    recipe[shown_as[kind]] = {
        "network": name_of(best_lstm["name"] if kind == "LSTM" else f"{kind.lower()}_mel_best"),
        "clips read": "per beat" if folder_of[kind] == folders.MULTITASK_BEAT else "full",
        "values per frame": len(sources[kind].scaler.mean),
        "outputs, before → now": f"{before.head.out_features} → {new.head.out_features}",
        "loss, before → now": f"{training.default_loss(before)} → {training.default_loss(new)}",
        "parameters": models.n_parameters(new),
        "optimiser": "Adam",
        "learning rate": Sentence("{rate:g}", rate=options[kind]["learning_rate"]),
        "epochs at most": options[kind]["epochs"],
        "warm-up epochs": options[kind]["warmup_epochs"],
        "batch": batch_size,
        "training window (frames)": augment[kind]["crop_frames"] or "whole clip",
        "masked bands at most": augment[kind].get("max_masked_bands", 0),
    }
show_table(pd.DataFrame(recipe), caption="The recipe of the networks of step 8.")

# %% [markdown]
# | choice | made by |
# |---|---|
# | the LSTM and the CNN of steps 5 and 7 with one output, one axis at a time; Spearman on clips held out | the handout |
# | squared errors, Adam, warm-up, a validation part that stops the training, a start at the mean | convention |
# | scaling per band, training on random windows, SpecAugment for the CNN, no mixtures | this kit; its benchmark on real music ([its tables](../docs/how_good_history.md)) measures mixtures and other losses |
#
# One function trains either network for any axis, which is selected by its *name*. (Notebook 04 shows what happens when
# it is selected by `if axis_index:`.) Of each training the epoch with the lowest **validation** loss is kept, and with it
# the predictions for validation and held-out clips, so that later notebooks compare on the same clips.

# %% tags=["solution"]
# The scaling is that of the training clips, whatever the axis: computed once for each network.
scaler_of = {
    kind: datasets.affect_splits(root / folder_of[kind], feature_of[kind], axes, parts).scaler
    for kind in kinds
}


def splits_for(kind, axis):
    """The three parts as this network reads them, with the labels of one axis."""
    folder = root / folder_of[kind]
    return datasets.affect_splits(folder, feature_of[kind], axis, parts, scaler=scaler_of[kind])


def fresh(kind, splits):
    """An untrained network that answers the training mean for every clip."""
    model = models.build_model(spec_of[kind])
    return models.start_at(model, datasets.labels_of(splits.train).mean())


# %% tags=["solution"]
def train_regressor(kind, axis, number):
    """Training `number` of a network for one axis: its curve, and its predictions by part."""
    splits, own_seed = splits_for(kind, axis), seed + number
    loaders = datasets.make_loaders(splits, batch_size, own_seed, **augment[kind], device=compute)
    train_loader, val_loader, heldout_loader = loaders
    seed_everything(own_seed)  # the same start for every axis
    model = fresh(kind, splits)
    history = training.train(
        model, train_loader, val_loader, **options[kind], patience=patience, device=compute,
        name=f"{kind}, {axis}",
    )  # fmt: skip
    record.save_checkpoint(
        of_seed(f"{kind.lower()}_{axis}", number), model, spec_of[kind], feature=feature_of[kind],
        scaler=splits.scaler, axes=[axis], epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    values = {
        "validation": training.predict(model, val_loader, compute),
        "heldout": training.predict(model, heldout_loader, compute),
    }
    return history, values


# %% tags=["solution"]
# What all trainings predict: an array [training, clip, axis] for each network and part.
histories, predicted = {}, {}
for kind in kinds:
    for part in ("validation", "heldout"):
        predicted[kind, part] = np.zeros((n_seeds, len(ids[part]), len(axes)), dtype=np.float32)


def fit(axis):
    """Train each network for one axis, once per seed; the first trainings' curves are kept."""
    each = [(kind, number) for kind in kinds for number in range(n_seeds)]
    # One after the other; with several GPUs, one on each (docs/many_gpus.md).
    trained = one_per_gpu(lambda one: train_regressor(one[0], axis, one[1]), each, compute)
    for (kind, number), (history, values) in zip(each, trained, strict=True):
        for part in values:
            predicted[kind, part][number, :, axes.index(axis)] = values[part]
        if number == 0:
            histories[kind, axis] = history


# %% [markdown]
# ### How a regressor is read
#
# **Explained variance.** A mean squared error of 0.045 says little by itself. Held against the error of always answering
# the training mean it becomes a share: 0 is no better than the mean, 1 is perfect, and below 0 is worse than no network.
#
# $$
# \text{explained} = 1 - \frac{\sum_i (\hat y_i - y_i)^2}{\sum_i (\bar y_{\text{train}} - y_i)^2}
# $$
#
# **Spread.** The standard deviation of the predictions, divided by that of the labels. The squared error is smallest when a
# network answers the *mean of the labels of all clips that look alike to it*. Such means differ less than single labels do,
# so predictions are squeezed. An honest network that explains the share $e$ of the variance has a spread of about
# $\sqrt{e}$: 50 % for $e$ = 25 %. Much less than that is timid, much more is over-confident.
#
# **Predict.** Which axis is explained best, and which of the two networks over-fits first?
#
# <details><summary>What to expect, and why</summary>
# Energy is on the surface of a spectrogram: dense, bright, noisy frames in any few seconds. Valence and danceability are
# not: they need the harmony, or the regularity of the beat. Both networks have hundreds of parameters per training clip, so
# both can learn clips by heart. The CNN sees another window with other masks in each epoch, and no clip twice the same. A
# clip per beat is shorter than a window: an LSTM that reads beats sees it whole and unchanged every time. It over-fits first.
# </details>

# %%
# The loss of the constant, and the losses of all trainings.
constant_loss = {}
for axis, known, values in zip(axes, true["train"].T, true["validation"].T, strict=True):
    constant_loss[axis] = float(((values - known.mean()) ** 2).mean())
record.save_values(**{f"constant_loss_{axis}": loss for axis, loss in constant_loss.items()})


def losses_of(kind, axis):
    """The mean squared error of each training on the validation clips, [n_seeds]."""
    column = axes.index(axis)
    errors = predicted[kind, "validation"][:, :, column] - true["validation"][:, column]
    return (errors**2).mean(axis=1)


def readings(kind, axis):
    """Explained variance, spread and epochs of a network for one axis, in whole per cent."""
    column, history = axes.index(axis), histories[kind, axis]
    explained = 100 * (1 - losses_of(kind, axis) / constant_loss[axis])
    spread = predicted[kind, "validation"][:, :, column].std(axis=1)
    return {
        "explained variance (%)": round(explained.mean()),
        "lowest training (%)": round(explained.min()),
        "highest training (%)": round(explained.max()),
        "spread (%)": round(100 * spread.mean() / max(true["validation"][:, column].std(), 1e-3)),
        "kept epoch": f"{history.best_epoch}/{len(history.val_loss)}",
    }


# %% tags=["told"]
def over_fitting(kind, axis):
    """What the first training's learning curve says, as a sentence."""
    history = histories[kind, axis]
    kept, train, val = history.best_epoch, history.train_loss, history.val_loss
    template = (
        "{model}: over-fits. After the kept epoch {kept} the training loss falls from {a:.3f} to "
        "{b:.3f} while the validation loss goes from {c:.3f} to {d:.3f}."
        if train[-1] < train[kept - 1] and val[-1] > 1.2 * val[kept - 1] else
        "{model}: it knows its training clips far better, without harm so far. At the end the "
        "training loss is {b:.3f} and the validation loss {d:.3f}; kept: epoch {kept}."
        if train[-1] < val[-1] / 2 else
        "{model}: no over-fitting to be seen. It was kept in epoch {kept}; at the end the training "
        "loss is {b:.3f} and the validation loss {d:.3f}."
    )  # fmt: skip
    return Sentence(
        template, model=shown_as[kind], kept=kept, a=train[kept - 1], b=train[-1],
        c=val[kept - 1], d=val[-1],
    )  # fmt: skip


# %% tags=["told"]
def show_axis(axis):
    """Learning curves, predictions against labels, the readings, and what the curves say."""
    table = {shown_as[kind]: readings(kind, axis) for kind in kinds}
    told = [f"{kind} {table[shown_as[kind]]['explained variance (%)']} %" for kind in kinds]
    title = f"{axis}, validation: explained variance {', '.join(told)}"
    curves = {kind: histories[kind, axis] for kind in kinds}
    record.show(
        plots.learning_curves(curves, title, constant=constant_loss[axis]), f"curves_{axis}",
        caption=Sentence("Learning curves for {axis}.", axis=axis),
    )  # fmt: skip
    column = axes.index(axis)
    labels, panels = true["validation"][:, column], {}
    for kind in kinds:
        values = predicted[kind, "validation"][0, :, column]
        panels[kind] = (labels, values, evaluation.spearman(labels, values, seed))
    record.show(
        plots.predicted_against_true(panels, f"{axis}: predicted against true, validation"),
        f"scatter_{axis}",
        caption=Sentence("Predicted against true {axis}, validation clips.", axis=axis),
    )
    caption = Sentence(
        "Networks for {axis} on validation: explained variance as the mean, the lowest and the "
        "highest of the trainings; spread of the predictions in % of that of the labels.",
        axis=axis,
    )  # fmt: skip
    show_table(pd.DataFrame.from_dict(table, orient="index"), caption=caption)
    tell_list(over_fitting(kind, axis) for kind in kinds)


# %% [markdown]
# ## 8β · Valence
#
# > **Handout.** *Εκπαιδεύστε τα μοντέλα ώστε να προβλέπουν το σθένος (valence).* Train both for valence.
#
# How happy or sad the music is.

# %% tags=["solution"]
fit("valence")

# %% tags=["report"]
show_axis("valence")

# %% [markdown] tags=["solution"]
# **How the curves are read.** Blue is the loss on the clips that are trained on, orange that on the validation clips, the
# dash-dotted line the constant. Where orange turns upwards *and stays* while blue falls on, the network learns its training
# clips by heart. On the demo set the LSTM does so for valence: it is kept early, and all later epochs only make it worse.
# The CNN does not: windows and masks show it no clip twice alike, so its training loss falls slowly. Its validation loss
# leaps from epoch to epoch, to either side of the constant; why, is tested after 8δ. Two curves that lie close together,
# both near the constant, say that little was learned.
#
# **Why is valence hard?** In the demo set it grows with major mode, tempo and brightness, and falls with distortion.
# Brightness and distortion stand in any frame. The mode does not: a major and a minor chord differ in one of three notes,
# by one semitone, in the bass by less than a mel band. Nor does the tempo: it lies *between* frames. Two hundred clips are
# few to find that out from.

# %% [markdown]
# ## 8γ · Energy
#
# > **Handout.** *Εκπαιδεύστε τα μοντέλα ώστε να προβλέπουν την ενέργεια (energy).* Train both for energy.
#
# Calm or intense: dense, noisy, bright spectra against a few soft partials. Each clip's loudest value is 0 dB, so the
# absolute loudness is gone; how far the rest lies below it remains.

# %% tags=["solution"]
fit("energy")

# %% tags=["report"]
show_axis("energy")

# %% [markdown] tags=["solution"]
# Energy is explained best. Density, distortion, drums and brightness make it in the demo set, and all of these stand in any
# few seconds. The points lie near the line, and the spread is about the root of the explained variance, as it should be. The
# LSTM's training loss falls to half of its validation loss or less, but orange does not rise: knowing the training clips by
# heart does no harm as long as the same features also work for others.

# %% [markdown]
# ## 8δ · Danceability
#
# > **Handout.** *Εκπαιδεύστε τα μοντέλα ώστε να προβλέπουν τη χορευτικότητα (danceability).* Train both for danceability.
#
# A steady, clear pulse. (Where the LSTM reads beat-synchronous clips, a frame lasts one beat: what happens between two
# beats is averaged away, and the tempo can be read from the number of frames only.)

# %% tags=["solution"]
fit("danceability")

# %% tags=["report"]
show_axis("danceability")

# %% [markdown] tags=["solution"]
# The losses lie near those of energy, and yet much less is explained: danceability varies least of the three axes, so its
# constant has a small loss, too. Losses of different axes cannot be compared, explained variances can. Look also at the
# lowest and the highest training: the seed alone moves the explained variance of one network by as much as the two networks
# differ. A single training would have told a story that the next seed may take back.
#
# **Which over-fits first?** On the demo set the LSTM knows its training clips best on every axis, and loses by it for
# valence. Of the CNN the line above says "over-fits": its validation loss leaps in epoch 5 and is still high in epoch 6.
# Two epochs cannot tell a leap from over-fitting; the next section shows how to test it.

# %% tags=["solution"]
# Kept for notebooks 09 to 11: every prediction and every learning curve.
for (kind, part), values in predicted.items():
    for number in range(n_seeds):
        name = of_seed(f"{kind.lower()}_{part}", number)
        record.save_predictions(name, ids[part], values[number], axes)
curves = [h.table().assign(model=kind, axis=axis) for (kind, axis), h in histories.items()]
record.save_table("histories", pd.concat(curves))
record.save_values(lstm_folder=folder_of["LSTM"], lstm=best_lstm["name"], n_seeds=n_seeds)

# %% [markdown]
# ### Why does a CNN's validation loss jump?
#
# With too large steps the validation loss of one epoch may leap far above the constant's, and be down again in the next.
# We provoke it: the CNN for one axis once more, with four times the learning rate and no warm-up. Is a leap over-fitting?
# Two other suspects, and a test for each:
#
# 1. **Batch norm's averages lag.** While it trains, batch norm scales each channel with mean and variance of the batch at
#    hand. When it is tested, it uses running averages of the batches so far, $r \leftarrow 0.9\, r + 0.1\, b$, which still
#    hold the values of earlier weights. *Test:* compute the averages anew on the training clips, with fixed weights.
# 2. **All answers shift together.** The head adds up about a thousand features, none of them negative (they come out of a
#    ReLU). A step of Adam moves each weight by up to the learning rate; if all move the same way, the answer moves for
#    every clip at once. *Test:* measure the mean residual on the training clips, and take it off.
#
# **Predict.** We take the network of the worst epoch. If it had over-fitted, what would its loss be on the *training* clips?
#
# <details><summary>What to expect, and why</summary>
# Low: that is what over-fitting means. If the loss has leapt on the training clips as well, the network is off for every clip,
# known or not, and one of the two suspects can be the cause.
# </details>

# %%
# A hasty training, and its worst epoch.
jumpy = "valence"
splits, column = splits_for("CNN", jumpy), axes.index(jumpy)
hasty = {"epochs": cnn_epochs, "learning_rate": 4 * cnn_learning_rate, "warmup_epochs": 0}


def train_hastily(n_epochs, validate):
    """The same hasty training of a fresh network from the same seed, up to an epoch."""
    loaders = datasets.make_loaders(splits, batch_size, seed, **augment["CNN"], device=compute)
    seed_everything(seed)
    model = fresh("CNN", splits)
    history = training.train(
        model, loaders[0], loaders[1] if validate else None, **hasty, stop_after=n_epochs,
        device=compute, name="hasty CNN",
    )  # fmt: skip
    return model, history


_, history = train_hastily(4, validate=True)
epoch = int(np.argmax(history.val_loss)) + 1
print("validation loss of each epoch:", ", ".join(f"{loss:.3f}" for loss in history.val_loss))
print(f"worst: epoch {epoch}; always answering the mean: {constant_loss[jumpy]:.3f}")

# %%
# Once more, up to the worst epoch: without validation, `train` leaves the last epoch's weights.
jumped, _ = train_hastily(epoch, validate=False)
whole = datasets.make_loader(splits.train, batch_size, device=compute)  # no windows, no masks
validation = datasets.make_loader(splits.val, batch_size, device=compute)


# %%
def with_new_averages(model, loader):
    """A copy whose batch norms hold the plain mean over one pass, with the weights as they are."""
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean of all batches, in place of 0.9 and 0.1
    copied.train()  # this is what moves the averages
    with torch.no_grad():
        for x, _, lengths in loader:
            copied(x.to(compute), lengths.to(compute))
    return copied


# %%
# Residuals [n] on whole clips, as the network was and with new averages; then without the offset.
residuals = {}
for name, model in (("as it was", jumped), ("averages anew", with_new_averages(jumped, whole))):
    on_train = training.predict(model, whole, compute) - datasets.labels_of(splits.train).numpy()
    on_val = training.predict(model, validation, compute) - datasets.labels_of(splits.val).numpy()
    residuals[name] = (on_train, on_val)
offset = on_train.mean()
residuals["averages anew, offset removed"] = (on_train - offset, on_val - offset)
rows = {}
for name, (on_train, on_val) in residuals.items():
    rows[name] = {
        "loss, training clips": (on_train**2).mean(),
        "loss, validation clips": (on_val**2).mean(),
        "offset, validation clips": on_val.mean(),
    }
jump = pd.DataFrame.from_dict(rows, orient="index")
show_table(jump)

# %% tags=["told"]
# What explains the jump?
losses = jump["loss, validation clips"]
lag, shift = losses.iloc[0] - losses.iloc[1], losses.iloc[1] - losses.iloc[2]
weights = training.predict(jumped.backbone, validation, compute)
tell(
    "**Verdict.** Epoch {epoch} for {axis}: of a validation loss of {loss:.3f} new averages take "
    "away {lag:.3f}, and removing the common offset {shift:.3f}; always answering the mean has "
    "{constant:.3f}. On the training clips the loss is {train:.3f}. {answer} (The features of a "
    "clip add up to {total:.0f}: when every weight moves by the learning rate, {rate}, its answer "
    "moves by {reach:.2f}.)",
    epoch=epoch, axis=jumpy, loss=losses.iloc[0], lag=lag, shift=shift,
    constant=constant_loss[jumpy], train=jump["loss, training clips"].iloc[0],
    answer=Sentence(
        "There is no jump to explain." if losses.iloc[0] < 1.1 * constant_loss[jumpy] else
        "Neither suspect explains it." if lag + shift < 0.3 * losses.iloc[0] else
        "Mainly the averages lagged." if lag > shift else
        "Mainly all answers had shifted together."
    ),
    total=weights.sum(axis=1).mean(), rate=hasty["learning_rate"],
    reach=hasty["learning_rate"] * weights.sum(axis=1).mean(),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# So a single high validation loss is no reason to stop: over-fitting *stays* and grows, such a jump is gone one or two
# epochs later. `patience` waits for that. It is also why this recipe takes a small learning rate, which first rises slowly
# (warm-up) and falls to a hundredth at the end: with small steps both are far smaller. (On the demo set the leaps in the curves
# of 8β and 8δ are one or two hundredths, this one is more than 0.6.)

# %% [markdown]
# ### Listen: where the CNNs are most wrong
#
# For each axis, the two validation clips with the largest residual, in the mean over all trainings. (Not held-out clips:
# who looks at those closely and then changes something has chosen on them.)

# %%
# Residual: mean prediction minus label.
missed = predicted["CNN", "validation"].mean(axis=0) - true["validation"]  # [n, 3]
worst = []
for column, axis in enumerate(axes):
    order = np.abs(missed[:, column]).argsort()
    for row in order[::-1][:2]:
        clip, label = ids["validation"][row], true["validation"][row, column]
        said = label + missed[row, column]
        worst.append({"axis": axis, "clip": clip, "label": label, "CNNs": said})
show_table(pd.DataFrame(worst, index=range(1, len(worst) + 1)), digits=2)

# %% tags=["told"]
# Only the demo set has sound: its clips can be performed again, note by note.
is_demo = folders.is_demo_set(root)
if is_demo:
    import soundfile

    from demo_music.build import SAMPLE_RATE, perform, planned_clip

    (record.folder / "audio").mkdir(exist_ok=True)
    for number, one in enumerate(worst, 1):
        factors, audio = perform(planned_clip(root, one["clip"]))
        mode = "minor" if factors.minor else "major"
        print(
            f"{number}. {one['axis']}: label {one['label']:.2f}, CNNs {one['CNNs']:.2f}; "
            f"{mode}, {factors.tempo:.0f} beats per minute, {factors.rhythm}"
        )
        path = record.folder / "audio" / f"{one['axis']}_{one['clip']}.flac"
        soundfile.write(path, audio[: 8 * SAMPLE_RATE], SAMPLE_RATE)  # its first 8 seconds
        play(path)
else:
    print("these data come without audio: look the clips up in your own collection")

# %% [markdown] tags=["solution"]
# On the demo set four of the six have one cause: **tempo**. The bossa (1 and 3) is soft, but at 155 beats per minute it is
# rated happy and energetic; the CNNs hear soft sounds and answer the middle. Punk and double kick at about 200 (5 and 6) are
# too fast to dance to (the raters like 115 best); the CNNs hear strong drums and answer the middle again. The network
# averages over time what each few frames look like. How quickly they follow one another is hardly in that average. The
# other two have other causes: the shuffle (2) is sad above all because it is minor; the clave (4) is dense and full of
# drums, but its harp and sitar are neither bright nor distorted.

# %% [markdown] tags=["extra"]
# ### What the synthesiser knows (demo set only)
#
# The labels of the demo set come from a formula and the noise of one "rater". Two questions that nobody can answer on real
# music can be answered here: how well would a *perfect* network do, and is a residual the network's fault or the rater's?
# We ask 200 more raters; their mean is what a perfect network would answer.

# %% tags=["extra"]
def mean_rating(clip_id, n_raters=200):
    """What so many raters give a clip of the demo set, in the mean, [3]."""
    clip = planned_clip(root, clip_id)
    factors = draw_factors(clip.genre, clip.rng())
    generator = np.random.default_rng(seed)
    return np.mean([rate_affect(factors, generator) for _ in range(n_raters)], axis=0)


# %% tags=["extra"]
# Spearman on the validation clips: the perfect network, and the CNNs against one rater and 200.
if is_demo:
    from demo_music.styles import draw_factors, rate_affect

    ideal = np.array([mean_rating(clip) for clip in ids["validation"]])
    cnns = predicted["CNN", "validation"].mean(axis=0)
    rows = {}
    for column, axis in enumerate(axes):
        label = true["validation"][:, column]
        rows[axis] = {
            "perfect network, one rater": spearmanr(ideal[:, column], label).statistic,
            "CNNs, one rater": spearmanr(cnns[:, column], label).statistic,
            "CNNs, 200 raters": spearmanr(cnns[:, column], ideal[:, column]).statistic,
        }
    show_table(pd.DataFrame.from_dict(rows, orient="index"), digits=2)

# %% [markdown] tags=["extra"]
# The first column is a ceiling: the rater's noise alone keeps a perfect network below 1. Where the CNNs stay far below it, as
# for valence, the music was not understood, and more clips or a better network can help. Near it only better labels can.
# Against 200 raters the same predictions score higher than against one: part of every residual is the rater's.

# %% [markdown]
# ## 8ε · The metric: the mean Spearman correlation of the three axes
#
# > **Handout.** *Μετρική: ο μέσος όρος της συσχέτισης Spearman στους τρεις άξονες. Το σύνολο δοκιμής δεν έχει ετικέτες,
# > άρα κρατήστε εκτός ένα μέρος των δεδομένων εκπαίδευσης.* The metric is the mean Spearman correlation over the axes. The
# > test set has no labels, so hold out a part of the training data.
#
# [Spearman](../docs/glossary.md#spearman-correlation)'s correlation compares two **rankings**: does the model put the clips
# into the right order, from least to most danceable? It is 1 for the right order, 0 for a random one, -1 for the reverse.
# The lab's score is its mean over the three axes.

# %% [markdown] tags=["report"]
# With the ranks $r_i$ of the true and $s_i$ of the predicted values, it is Pearson's correlation of the ranks:
#
# $$
# \rho = \frac{\sum_i (r_i - \bar r)(s_i - \bar s)}{\sqrt{\sum_i (r_i - \bar r)^2 \, \sum_i (s_i - \bar s)^2}}
# $$

# %% tags=["solution", "report"]
def own_spearman(true, predicted):
    """Spearman's correlation of two arrays [n]."""
    ranks_true = rankdata(true)  # 1 for the lowest; equal values share the mean of their ranks
    ranks_predicted = rankdata(predicted)
    return np.corrcoef(ranks_true, ranks_predicted)[0, 1]


# %%
# Five clips, of which two have the same label.
example = pd.DataFrame({"true": [0.1, 0.4, 0.4, 0.7, 0.9], "predicted": [0.3, 0.2, 0.4, 0.5, 0.6]})
example["rank of true"] = rankdata(example["true"])
example["rank of predicted"] = rankdata(example["predicted"])
show_table(example)
print(f"Spearman: {own_spearman(example['true'], example['predicted']):.3f}")

# %%
# On real labels: are the energetic clips the danceable ones, too?
energy, danceability = tracks["energy"], tracks["danceability"]
ours = own_spearman(energy, danceability)
agree("Spearman, against SciPy", lambda: ours, spearmanr(energy, danceability).statistic)
agree("Spearman", lambda: ours, evaluation.spearman(energy, danceability, seed).value)
print(f"energy and danceability of {len(tracks)} labelled clips: {ours:.3f}")

# %% [markdown]
# | the kit adds | why | what it gains | where |
# |---|---|---|---|
# | a 95 % interval, from 1,000 resamples of the clips | one number hides how few clips it rests on | the difference that can be seen at all (below) | `evaluation.spearman` |
# | "undefined", with the reason | for constant predictions the formula is 0 / 0 | no NaN in a table | `evaluation.spearman` |
# | the mean over axes, resampled together | the axes are judged on the same clips | an interval of the lab's score | `evaluation.mean_spearman` |

# %% [markdown]
# ### Exercise 8.2 · Ranks with ties
#
# Write `rankdata` yourself: the lowest value has rank 1, and equal values share the mean of their ranks. *Hint:* how many
# values are smaller than this one, and how many equal it? (`argsort` twice gives ranks, too, but breaks ties by position.)

# %% tags=["exercise"]
def my_ranks(values):
    """Ranks from 1 of values [n]; equal values share the mean of their ranks."""
    ...


def check_ranks(ranks):
    """Tries it on values without and with ties."""
    if ranks(np.array([0.2, 0.9])) is None:
        print("not written yet")
        return
    for values in ([0.2, 0.9, 0.5], [0.2, 0.9, 0.2, 0.5], [0.5, 0.5, 0.5]):
        given, right = list(ranks(np.array(values))), rankdata(values).tolist()
        assert given == right, f"the ranks of {values} are {right}, not {given}"
    print("right: equal values share the mean of their ranks")


check_ranks(my_ranks)

# %% tags=["solution", "folded"]
def my_ranks(values):
    smaller = (values[None, :] < values[:, None]).sum(axis=1)  # [n, n] -> [n]
    equal = (values[None, :] == values[:, None]).sum(axis=1)  # itself included
    return smaller + (equal + 1) / 2


check_ranks(my_ranks)

# %% [markdown]
# ### Why not the error, or R2?
#
# Values such as 0.7 danceability have no unit; the order of clips is what they can be trusted for. The table takes one set
# of predictions and only squeezes, moves or bends it.
#
# **Predict.** Which of the three columns stay the same?
#
# <details><summary>What to expect, and why</summary>
# Only Spearman, because the order stays. R2 and the error change completely. Conversely, the constant mean has a moderate
# error but no order at all: its Spearman is undefined.
# </details>

# %%
# The CNN's validation predictions of energy: squeezed, moved, bent, and one constant.
energy = axes.index("energy")
target, values = true["validation"][:, energy], predicted["CNN", "validation"][0, :, energy]
variants = {
    "as predicted": values,
    "squeezed towards 0.5": 0.5 + 0.2 * (values - 0.5),
    "moved up by 0.3": values + 0.3,
    "bent, same order": np.sign(values) * np.abs(values) ** 3,
    "training mean": np.full(len(values), clips["train"]["energy"].mean()),
}
rows = {}
for name, variant in variants.items():
    rows[name] = {
        "Spearman": str(evaluation.spearman(target, variant, seed)),
        "R2": f"{r2_score(target, variant):.2f}".replace("-0.00", "0.00"),
        "mean squared error": mean_squared_error(target, variant),
    }
show_table(pd.DataFrame.from_dict(rows, orient="index"))

# %% [markdown]
# So report both: Spearman, which the lab asks for, and [R2](../docs/glossary.md#r2), which says whether the *values* are right.
#
# ### Exercise 8.3 · Right order, wrong values
#
# Write a function that turns true values into predictions between 0 and 1 with a Spearman of 1 and an R2 below 0.

# %% tags=["exercise"]
def my_bend(true):
    """Predictions [n] in 0..1 with the order of `true` [n], but with an R2 below 0."""
    ...


def check_bend(bend):
    """Looks at the order, the range and R2 of what comes out."""
    labels = np.array([0.15, 0.3, 0.45, 0.7, 0.95])
    made = bend(labels)
    if made is None:
        print("not written yet")
        return
    assert made.min() >= 0 and made.max() <= 1, "stay between 0 and 1"
    assert own_spearman(labels, made) > 0.999, "the order has changed: Spearman is below 1"
    assert r2_score(labels, made) < 0, f"R2 is {r2_score(labels, made):.2f}: move or squeeze more"
    print(f"right: Spearman 1, R2 {r2_score(labels, made):.2f}")


check_bend(my_bend)

# %% tags=["solution", "folded"]
def my_bend(true):
    """A tenth of the value keeps the order."""
    return true / 10


check_bend(my_bend)

# %% [markdown]
# ### Validation chooses, held-out reports
#
# Two rules for computing the score. **Once over all clips:** averaging the Spearman of small batches, or taking the last
# batch only, gives another and noisier number. **On clips that were not used to choose:** validation chose the epochs, so
# its score is too high on average. It may choose the better network, though: by the lowest validation loss, in the mean
# over axes and trainings.

# %% tags=["solution", "appendix"]
# Chosen by validation, before any held-out score is computed.
rows = {}
for kind in kinds:
    rows[shown_as[kind]] = {
        "validation loss": np.mean([losses_of(kind, axis).mean() for axis in axes]),
        "mean Spearman": evaluation.mean_spearman(
            true["validation"], predicted[kind, "validation"][0], seed
        ),
    }
on_validation = pd.DataFrame.from_dict(rows, orient="index")
best = min(kinds, key=lambda kind: on_validation.loc[shown_as[kind], "validation loss"])
show_table(on_validation, caption="The networks on the validation clips.")
tell("Lowest validation loss: **{best}**.", best=shown_as[best])
spearman_of = {kind: on_validation.loc[shown_as[kind], "mean Spearman"].value for kind in kinds}
record.save_values(best=best, on_validation=spearman_of)

# %% [markdown]
# Beside the networks stand two support vector regressors. The humble **SVR** knows the mean, the standard deviation and the mean
# step between frames of each mel band, over a whole clip; the **hand-made SVR** the twelve groups of notebook 06, of a clip and of
# its two halves. Both are fitted on the train part, like the networks. What an error costs (C) and which errors cost nothing (the
# width of the tube) is chosen by the mean Spearman in cross-validation inside it.

# %%
# One machine for all axes; predictions for the validation and the held-out part.
splits = datasets.affect_splits(root / folders.MULTITASK, "mel", axes, parts)
artists = datasets.artists_in(splits.train)  # None where nobody names them
svrs = {"SVR": baselines.band_statistics, "hand-made SVR": handmade.features}
for kind, numbers_of in svrs.items():
    machine = baselines.fitted_svr(numbers_of(splits.train), true["train"], seed, artists)
    for part, subset in (("validation", splits.val), ("heldout", splits.test)):
        values = machine(numbers_of(subset))
        predicted[kind, part] = values[None]  # one training
        file = {"SVR": "svr", "hand-made SVR": "svr_hand"}[kind]
        record.save_predictions(f"{file}_{part}", ids[part], values, axes)

# %% [markdown]
# **Predict.** Which is the easiest axis for all four, and will the intervals of the four models overlap?
#
# <details><summary>What to expect, and why</summary>
# The axis that was explained best on validation. With a few dozen clips an interval is several tenths wide, so the
# intervals overlap, whatever the models are worth.
# </details>

# %% tags=["report"]
# Held-out clips, for the first time: the first training of each model.
features = {**feature_of, "SVR": "mel", "hand-made SVR": "hand-made"}
scores, r2 = {}, {}
for kind, feature in features.items():
    name, values = shown_as[kind], predicted[kind, "heldout"][0]
    scores[name] = record.add_affect_scores(name, feature, true["heldout"], values)
    shares = r2_score(true["heldout"], values, multioutput="raw_values")
    r2[name] = dict(zip(axes, shares, strict=True)) | {"mean": shares.mean()}
caption = "Spearman correlation on the held-out clips, with 95 % intervals."
show_table(pd.DataFrame.from_dict(scores, orient="index"), caption=caption)
title = f"Spearman on {len(ids['heldout'])} held-out clips, with 95 % intervals"
record.show(plots.scores_by_axis(scores, title, "Spearman"), "spearman", caption=caption)
show_table(
    pd.DataFrame.from_dict(r2, orient="index"), digits=2, caption="R2 on the held-out clips."
)

# %% tags=["appendix"]
# Clip by clip: the nearer to a rising line, the better the order.
panels = {}
for column, axis in enumerate(axes):
    values = predicted[best, "heldout"][0, :, column]
    panels[axis] = (true["heldout"][:, column], values, scores[shown_as[best]][axis])
record.show(
    plots.predicted_against_true(panels, f"{shown_as[best]} on held-out clips"), "heldout",
    caption="The network chosen on validation: predicted against true value, held-out clips.",
)  # fmt: skip

# %% [markdown]
# **The luck of the seed.** The same network, trained again from another seed, has another score. Two models whose scores
# differ by less than this have not been told apart.

# %%
# Mean Spearman of every training on the held-out clips.
rows = {}
for kind in kinds:
    rows[shown_as[kind]] = {
        f"training {number + 1}": own_mean
        for number, own_mean in enumerate(
            evaluation.mean_spearman(true["heldout"], values, seed).value
            for values in predicted[kind, "heldout"]
        )
    }
show_table(pd.DataFrame.from_dict(rows, orient="index"))

# %% [markdown]
# ### LSTM, CNN, or SVR?
#
# The question, named beforehand: **are the CNNs better than the LSTMs?** Two overlapping intervals do not settle it: both
# models heard the *same* clips, so hard clips are hard for both. The paired comparison resamples the clips and looks at the
# difference of the two models each time. Of the networks it takes the mean over their trainings. Each network is also
# compared with both SVRs, and these with each other; these p-values are corrected for being several.
#
# The answer is about two *recipes*: as the table of 8α shows, the networks differ in architecture, but also in what they
# read, in learning rate, epochs, windows and masks.

# %% tags=["solution", "appendix"]
# First minus second on the same held-out clips, in mean Spearman.
trainings = {shown_as[kind]: list(predicted[kind, "heldout"]) for kind in features}
lstms, cnns, *_, svr, hand = trainings
first_question = {(cnns, lstms): evaluation.compare_spearman(
    true["heldout"], trainings[cnns], trainings[lstms], seed
)}  # fmt: skip
networks = [shown_as[kind] for kind in kinds]
pairs = [(network, rival) for rival in (svr, hand) for network in networks]
against_svr = {
    (first, second): evaluation.compare_spearman(
        true["heldout"], trainings[first], trainings[second], seed
    )
    for first, second in [*pairs, (hand, svr)]
}  # fmt: skip
compared = first_question | evaluation.holm(against_svr)
caption = "Paired differences in mean Spearman with 95 % intervals, not corrected."
record.show(plots.differences(compared, "mean Spearman"), "differences", caption=caption)
tell_comparisons(compared, "mean Spearman on held-out clips")

# %% [markdown]
# **How small a difference can be seen?** One whose interval leaves out 0. Half an interval is about 1.96 standard deviations of
# the resampled difference. And with more clips? We draw larger samples from our held-out clips, as if they were more.

# %% tags=["solution"]
def mean_score(kind, drawn):
    """Mean Spearman over axes and trainings, on these held-out clips."""
    labels = true["heldout"][drawn]
    found = [
        own_spearman(labels[:, column], values[drawn, column])
        for values in predicted[kind, "heldout"]
        for column in range(len(axes))
    ]
    return np.mean(found)


def visible_difference(n_clips, n_draws=200):
    """Half the 95 % interval of CNNs minus LSTMs, had there been so many held-out clips."""
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(n_draws):
        drawn = generator.integers(len(true["heldout"]), size=n_clips)
        differences.append(mean_score("CNN", drawn) - mean_score("LSTM", drawn))
    return 1.96 * np.nanstd(differences)


# %%
# Our held-out clips, those that the lab's 1,122 labelled clips leave (15 %), and a thousand.
n_heldout = len(true["heldout"])
with np.errstate(invalid="ignore"):  # a draw of equal labels has no ranks
    visible = {n: visible_difference(n) for n in (n_heldout, 168, 1000)}
rows = {f"{n} clips": {"smallest visible difference": size} for n, size in visible.items()}
show_table(pd.DataFrame.from_dict(rows, orient="index"), digits=2)
record.save_values(visible_difference=visible[n_heldout])

# %% tags=["told", "report"]
# The question's verdict, and which of the other pairs are told apart.
result, told_apart = compared[cnns, lstms], []
for pair in against_svr:
    if compared[pair].clear:
        first, second = pair if compared[pair].difference.value > 0 else pair[::-1]
        told_apart.append(Sentence("{first} above {second}", first=first, second=second))
gain = result.difference
tell(
    "**Verdict.** CNNs and LSTMs cannot be compared on {n} held-out clips: {reason}."
    if not gain.defined else
    "**Verdict.** CNNs against LSTMs: {gain:+.3f} in mean Spearman on {n} held-out clips (95 % "
    "interval {low:+.3f} to {high:+.3f}): {answer}. Of the other pairs these are told apart: "
    "{clear}. Between LSTMs and CNNs a difference below about {seen:.2f} cannot be seen here; with "
    "the lab's 168 held-out clips about {labs:.2f}.",
    n=n_heldout, reason=gain.reason, gain=gain.value, low=gain.low, high=gain.high,
    answer=Sentence(
        "these clips cannot tell them apart" if not result.clear else
        "the CNNs are better" if gain.value > 0 else
        "the LSTMs are better"
    ),
    clear=told_apart, seen=visible[n_heldout], labs=visible[168],
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What the held-out clips tell.** Read three things off the table. *The axes*: on the demo set energy is the easiest for all four,
# and their intervals overlap on every axis, as predicted. Which of the other two axes is harder depends on the model. What is the
# same for all four is a property of the music and its labels. *The models*: an SVR that knows mean, standard deviation
# and step of each band is the least that a network must beat; where it does not, it has found little beyond such statistics in so
# few clips. The hand-made SVR had the same clips; what it has more is what people knew of music before: rhythm, harmony, which
# bands move together. A network would have to find that in the clips. *R2* beside Spearman: the order of clips may be half known
# while the values hardly are. To tell such models apart one needs more clips, not more seeds: seeds make each score surer, but it
# remains the score on *these* clips.

# %% [markdown]
# ## Change this and run again
#
# The score is a correlation, so why not train on one? Spearman itself has no gradient (ranks jump), Pearson's correlation
# inside a batch does. Replace this loss by an idea of yours: absolute error, Huber, a mixture.

# %%
class MyLoss(nn.MSELoss):
    """1 minus Pearson's correlation inside the batch, plus the squared error for the scale."""

    def forward(self, outputs, targets):
        """Outputs and targets [B] -> one number."""
        a, b = outputs - outputs.mean(), targets - targets.mean()
        correlation = (a * b).sum() / (a.norm() * b.norm() + 1e-6)
        return 1 - correlation + super().forward(outputs, targets)


# %%
# The LSTM for one axis, trained with it; compare with the squared error of the same seed.
my_axis = "valence"
splits = splits_for("LSTM", my_axis)
train_loader, val_loader, _ = datasets.make_loaders(
    splits, batch_size, seed, **augment["LSTM"], device=compute
)
seed_everything(seed)
mine = fresh("LSTM", splits)
training.train(mine, train_loader, val_loader, **options["LSTM"], patience=patience, loss=MyLoss(),
               device=compute, name="my loss")  # fmt: skip
column = axes.index(my_axis)
labels = true["validation"][:, column]
score = evaluation.spearman(labels, training.predict(mine, val_loader, compute), seed)
squared = evaluation.spearman(labels, predicted["LSTM", "validation"][0, :, column], seed)
print(f"Spearman for {my_axis} on validation: my loss {score}, squared error {squared}")

# %% [markdown]
# ## What we learned
#
# - From classes to a value: one output, the squared error, outputs in exactly the shape of the targets, a start at the mean.
# - A loss is read as explained variance, a curve for over-fitting, and a single peak by its causes, tested one by one.
# - Without test labels a held-out part takes their place; it is only ever reported.
# - Spearman asks for the order of the clips, R2 for their values; the paired comparison says what a difference is worth.

# %% tags=["told"]
# In one sentence.
means = [Sentence("{model} {score}", model=name, score=own["mean"]) for name, own in scores.items()]
tell(
    "In this run: mean Spearman on {n} held-out clips, first trainings: {means}. The hardest axis "
    "of the {best} is {hardest}, the easiest {easiest}.",
    n=n_heldout, means=means, best=shown_as[best],
    hardest=min(axes, key=lambda axis: scores[shown_as[best]][axis].value),
    easiest=evaluation.highest({axis: scores[shown_as[best]][axis] for axis in axes}),
)  # fmt: skip

# %% [markdown]
# **Check yourself**
#
# <details><summary>A model's loss falls to the variance of the labels and stays there. What has happened?</summary>
# It predicts the mean for every clip. Look at the shapes first ((B, 1) against (B,)), then at the learning rate.
# </details>
#
# <details><summary>Why may the validation part not be reported as the result?</summary>
# It chose the epoch, and here also the network. The highest of several noisy scores is too high on average; clips that were
# not used to choose do not have this bias.
# </details>
#
# <details><summary>Your Spearman is 0.6 but R2 is negative. Is the model useless?</summary>
# No: the order is largely right, the scale or the offset is wrong. A monotone correction fitted on validation mends R2
# and leaves Spearman as it is.
# </details>
#
# <details><summary>A network explains 25 % of the variance. How far should its predictions spread?</summary>
# To about half of the labels' standard deviation, the root of 0.25. If they spread as far as the labels do, it claims to know
# more than it does, and its squared error could be lowered by squeezing them.
# </details>
#
# <details><summary>The validation loss is twice the constant's in one epoch, and normal in the next. Did it over-fit?</summary>
# No: over-fitting stays. Look at the loss of the training clips, at batch norm's averages, and at the mean residual.
# </details>
#
# <details><summary>Two models have intervals 0.40 to 0.75 and 0.45 to 0.80. Are they equally good?</summary>
# That does not follow, nor the opposite. Both heard the same clips: take the paired difference and its interval.
# </details>
#
# <details><summary>With four times as many held-out clips, how small a difference can be seen?</summary>
# About half as small: standard deviations of means fall with the root of the number of clips.
# </details>

# %% tags=["stored"]
key_score = scores[shown_as[best]]["mean"]
record.finish(key_metric=f"mean Spearman on held-out, {shown_as[best]}: {key_score}")
