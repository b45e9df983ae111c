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
# - how to find out in seconds whether a network and its training loop work at all: over-train it on four batches
# - which representation of the same music (mel, beat-synchronous mel, chroma, both) is easiest for an LSTM
#
# **Needs** the data only (notebook 00). **Leaves** one checkpoint per feature, the validation table, and the name of
# the best LSTM, for notebooks 06, 07 and 08.
#
# **Takes** about one and a half minutes on the demo set with two CPU cores. With the lab's data: eight times as many clips, and the `full` profile trains longer and three times: take a GPU.
#
# **The one insight:** a network that cannot learn four batches by heart has a bug; look for it before you wait for an hour.

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
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score

from helpers import baselines, datasets, folders, models, plots, training
from helpers.features import N_MELS
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, show_source, show_table, tell, tell_list

notebook = "05_lstm"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step
hidden_size = 64  # units per direction
n_layers = 1
pooling = "mean"  # how frames become one vector per clip: mean, last, mean_max or attention
stack = 16  # frames of a full clip that are read as one step; beats are read one by one
cepstrum = True  # read the mel bands as cepstral coefficients
epochs = 30  # passes over the training clips, at most
patience = 8  # epochs without a better validation loss before training stops
learning_rate = 0.003  # of Adam, after one epoch of warm-up
mixup = 0.3  # train on mixtures of two clips: 0 none, 0.3 mostly slight ones, 1 all shares alike
overfit_epochs = 60  # passes over the four batches of step 5β
n_seeds = 1  # trainings of each model, each from another seed; the first one is used later

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 5α · An LSTM that takes the spectrograms of step 4
#
# A spectrogram is a sequence of frames: at each of the T time steps the network sees F numbers (128 mel bands, 12
# pitch classes, or all 140) and an [LSTM](../docs/glossary.md#lstm) updates its memory. In lab 2 the input was another sequence; only F changes.
# Ours is *bidirectional*: a second LSTM reads the clip from its end, and the outputs of both stand side by side.
#
# Two things need care, and both go wrong silently:
# - **Clips have unequal lengths.** They are padded with 0 at the end so that they fit into one array `[B, T, F]`. The
#   frames are first scaled per band with statistics of the training clips, so that 0 means "as loud as usual"; on raw
#   dB values 0 is the *loudest* sound there is.
# - **The padding must not count.** The backward direction reads each clip reversed *inside its own length*, and the
#   [pooling](../docs/glossary.md#pooling) averages real frames only. (But for the last joined step below, which is filled up
#   with zeros, and the shorter clip of a mixture, which counts as "as loud as usual" after its end.)
#
# Two choices make it easier for the network. Neighbouring mel bands rise and fall together; turned into
# [cepstral coefficients](../docs/glossary.md#cepstrum), as MFCCs are, the first numbers tell the broad shape of the spectrum and the last ones its
# finest structure. And of a full clip, 16 frames are joined into one step (a third of a second): neighbouring frames
# repeat each other, and a sixteenth of the steps trains much faster.

# %%
# All frames of the training clips, one per beat and scaled: [frames, 128].
beat = datasets.genre_splits(root / folders.GENRE_BEAT, "mel", seed)
bands = torch.cat([frames for frames, _, _ in beat.train])
coefficients = bands @ models.cosine_matrix(N_MELS)
shared = {"mel bands": np.corrcoef(bands.T), "cepstral coefficients": np.corrcoef(coefficients.T)}
record.show(plots.correlations(shared, "What two numbers of a frame have in common"), "cepstrum")
different = ~np.eye(N_MELS, dtype=bool)
size = {name: np.abs(matrix[different]).mean() for name, matrix in shared.items()}
sizes = [Sentence("{what} {size:.2f}", what=name, size=value) for name, value in size.items()]
tell("Mean size of the correlation: {sizes}", sizes=sizes)

# %% [markdown]
# The darker the violet, the more two bands rise and fall together, neighbours most of all. Of the coefficients most pairs
# are nearly uncorrelated. Nothing is lost: the transform is a rotation, which the LSTM's first matrix could even have
# learned. What it changes is where training starts. The broad shape of the spectrum now arrives as a few large numbers
# and the fine structure as many small ones, so the first, small random weights listen to the shape.

# %%
for thing in (models.stack_frames, models.reverse_inside_lengths, models.LSTMBackbone):
    show_source(thing)


# %% [markdown]
# The course packs sequences with `pack_padded_sequence`. The class above gives the same numbers without packing, which
# matters on a CPU: there, packed clips of about 1,290 unequal frames need many times longer per step. Does it really give
# the same? We copy its weights into PyTorch's own bidirectional LSTM and compare on a batch of unequal lengths.

# %% tags=["report"]
def packed_outputs(backbone, x, lengths):
    """The same LSTM through PyTorch's packing: [B, T, 2 * hidden]."""
    reference = torch.nn.LSTM(x.shape[2], hidden_size, batch_first=True, bidirectional=True)
    own, back = backbone.forward_layers[0].state_dict(), backbone.backward_layers[0].state_dict()
    reference.load_state_dict({**own, **{f"{name}_reverse": value for name, value in back.items()}})
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, lengths, batch_first=True, enforce_sorted=False
    )
    return torch.nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)[0]


lengths = torch.tensor([40, 33, 57])
x = torch.randn(3, 57, 128)
backbone = models.LSTMBackbone(128, hidden_size).eval()
with torch.no_grad():
    real = models.time_mask(lengths, 57)
    difference = (
        (backbone.steps(x, lengths) - packed_outputs(backbone, x, lengths))[real].abs().max()
    )
print(f"input {tuple(x.shape)} -> output {tuple(backbone(x, lengths).shape)}")
tell("largest difference to the packed form on real frames: {gap:.1e}", gap=difference)

# %% tags=["report"]
# What the parameter cell makes of it.
tell(
    "The network has {n_layers} bidirectional layer(s) of {hidden_size} units per direction; the "
    "outputs of a clip's own frames become one vector by pooling (`{pooling}`).",
    n_layers=n_layers, hidden_size=hidden_size, pooling=pooling,
)  # fmt: skip
if stack > 1:
    tell(
        "Of a full clip, {stack} successive frames are read as one step; of a beat-synchronous "
        "one, each frame is a step.", stack=stack,
    )  # fmt: skip
if cepstrum:
    tell("The mel bands of a frame are read as cepstral coefficients, with nothing left out.")
if mixup:
    tell(
        "The LSTMs are trained on mixtures of two clips (mixup, with the parameter {mixup:g} of "
        "the Beta distribution).", mixup=mixup,
    )  # fmt: skip
show_source(models.LSTMBackbone.steps)

# %% [markdown]
# ## 5β · `overfit_batch`: learn four batches by heart
#
# `train(..., overfit_batch=True)` trains on four batches only, without [dropout](../docs/glossary.md#dropout), [weight decay](../docs/glossary.md#weight-decay) or validation. A correct
# network and loop drive this [loss](../docs/glossary.md#loss) to 0. If it stays up, suspect a bug in one of them (gradients that do not arrive, a
# wrong axis order, a learning rate off by a factor of a hundred) before you tune anything. The reverse does not hold: *wrong*
# labels can be learned by heart, too (Zhang et al. 2017, arXiv 1611.03530); those only a validation score finds. PyTorch's
# `Subset` makes the small set.

# %%
show_source(training.train)

# %%
# Picked at random: the clips are sorted by genre, and the first ones would be of a few classes only.
order = torch.randperm(len(beat.train), generator=torch.Generator().manual_seed(seed))
few = torch.utils.data.Subset(beat.train, order[: 4 * batch_size].tolist())
n_classes_in_few = len(datasets.labels_of(few).unique())
print(f"{len(few)} clips of {n_classes_in_few} of the {len(beat.base.classes)} classes")
few_loader = datasets.make_loader(few, batch_size, shuffle=True, seed=seed, device=compute)


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


model, _ = new_lstm(beat)
overfit = training.train(
    model, few_loader, epochs=overfit_epochs, learning_rate=learning_rate,
    overfit_batch=True, device=compute, name="LSTM, four batches",
)  # fmt: skip

# %% tags=["report"]
# A loss near 0: gradients arrive, and this network can learn these clips by heart.
record.show(
    plots.learning_curves({"four batches": overfit}, "Does the loss go to 0?"), "overfit_batch",
    caption="Training loss of the LSTM on four batches.",
)  # fmt: skip
tell(
    "Yes: the training loss fell from {first:.2f} to {last:.4f} in {passes} passes over {n} "
    "batches." if overfit.train_loss[-1] < 0.1 else
    "Not yet: the training loss fell from {first:.2f} to {last:.4f} in {passes} passes over {n} "
    "batches.",
    first=overfit.train_loss[0], last=overfit.train_loss[-1], passes=len(overfit.train_loss),
    n=len(few_loader),
)  # fmt: skip
record.save_values(overfit_loss=overfit.train_loss, n_overfit_clips=len(few))

# %% [markdown]
# ## Training one LSTM
#
# The same function serves every feature, so that the comparison is fair: same clips for training and validation
# (stratified by class, fixed by the seed), same seed, same schedule. Adam; the [learning rate](../docs/glossary.md#learning-rate) rises during the first [epoch](../docs/glossary.md#epoch)
# (without it a raw LSTM may stay at chance) and then falls slowly; the weights of the epoch with the lowest **validation**
# loss are kept ([early stopping](../docs/glossary.md#early-stopping)), in a [checkpoint](../docs/glossary.md#checkpoint). The test set is not touched here: notebook 06 opens it.
#
# Few clips are soon known by heart. Against that the network is trained on [mixtures](../docs/glossary.md#mixup) of two clips. The shares are drawn
# anew for each batch: often the second clip is hardly there, sometimes it has nearly half.
#
# | choice | made by |
# |---|---|
# | an LSTM; mel, chroma and both; full clips and beats; learning four batches by heart first | the handout |
# | Adam, warm-up, a validation set that stops the training, scaling per band | convention |
# | joined frames | this kit, for speed |
# | cepstral coefficients, the mean as pooling, mixtures | this kit's benchmark on real music, which shows a gain of each ([its tables](../docs/how_good_history.md)) |
#
# A single training from one [seed](../docs/glossary.md#seed) has luck in it: other first weights and another order of the batches give another score. `n_seeds`
# above 1 trains every model several times; its scores are then means, and the first training is the one that is used later.

# %% tags=["solution"]
histories, validation = {}, []  # filled model by model
options = {"epochs": epochs, "learning_rate": learning_rate, "mixup": mixup}


def train_lstm(splits, name, feature, own_seed):
    """Train one LSTM, store its best epoch; returns its learning curve and validation scores."""
    loaders = datasets.make_loaders(splits, batch_size, own_seed, device=compute)
    model, spec = new_lstm(splits, own_seed)
    history = training.train(
        model, *loaders[:2], **options, patience=patience, device=compute, name=name
    )
    record.save_checkpoint(
        name, model, spec, feature=feature, scaler=splits.scaler, classes=splits.base.classes,
        epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    predicted = training.predict(model, loaders[1], compute).argmax(1)
    true = datasets.labels_of(splits.val).numpy()
    scores = {"loss": min(history.val_loss), "accuracy": (predicted == true).mean()}
    scores["macro F1"] = f1_score(true, predicted, average="macro")
    return history, scores


# %% tags=["solution"]
def fit_lstm(folder, feature, name):
    """Train on one feature of one folder, once per seed, and note the mean validation scores."""
    splits = datasets.genre_splits(root / folder, feature, seed)
    trained = [train_lstm(splits, of_seed(name, number), feature, seed + number)
               for number in range(n_seeds)]  # fmt: skip
    histories[name] = trained[0][0]
    row = {"model": name, "folder": folder, "feature": feature}
    row |= pd.DataFrame([scores for _, scores in trained]).mean().to_dict()
    row |= {"kept epoch": histories[name].best_epoch, "trainings": n_seeds}
    row |= {"seconds": sum(sum(history.seconds) for history, _ in trained)}
    validation.append(row)
    tell(
        "{name}: validation loss {loss:.3f}, accuracy {accuracy:.3f}, macro F1 {macro:.3f}, epoch "
        "{epoch}, {n} training(s)",
        name=name, loss=row["loss"], accuracy=row["accuracy"], macro=row["macro F1"],
        epoch=row["kept epoch"], n=n_seeds,
    )  # fmt: skip


# %% [markdown]
# ## 5γ · LSTM on mel spectrograms
#
# The full clips: about 1,290 frames of 23 ms each, read in steps of 16. The whole 30 seconds go in, not the first few.

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "mel", "lstm_mel_full")

# %% [markdown]
# ## 5δ · LSTM on beat-synchronous mel spectrograms
#
# One frame per beat: some sixty frames instead of 1,290, each of them already an average over a musical unit.

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE_BEAT, "mel", "lstm_mel_beat")

# %% [markdown]
# ## 5ε · LSTM on chromagrams
#
# Twelve numbers per frame: which notes sound, whatever the octave and the instrument. Harmony is kept, timbre is gone.

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "chroma", "lstm_chroma_full")
fit_lstm(folders.GENRE_BEAT, "chroma", "lstm_chroma_beat")

# %% [markdown]
# ## 5ζ · LSTM on chroma and mel together
#
# The 12 chroma rows are appended to the 128 mel rows. Raw, mel values reach -80 and chroma lies between 0 and 1, so chroma
# would be drowned; after scaling, each row has a deviation of 1. (Of the mel rows' coefficients the first are larger again.)

# %% tags=["solution", "report"]
fit_lstm(folders.GENRE, "fused", "lstm_fused_full")
fit_lstm(folders.GENRE_BEAT, "fused", "lstm_fused_beat")

# %% [markdown]
# ## 5 · What the validation set says
#
# The [validation set](../docs/glossary.md#validation-set) has chosen: the dotted line marks the epoch that was kept. A training loss that goes on falling while the validation loss falls no more
# (or rises) is [over-fitting](../docs/glossary.md#over-fitting): there are few clips and many weights. (With `mixup` the training loss is that of mixtures: it
# jumps with the mixtures that were drawn, and may even lie above the other.) The epoch is chosen by the loss, which is smooth; the
# *model* that later notebooks build on is chosen by macro F1, because the classes are unequal in size. The two may disagree.

# %% tags=["report"]
record.show(
    plots.learning_curves(histories, "LSTM learning curves per feature"), "learning_curves",
    caption="Learning curves of the LSTMs; the dotted line marks the epoch that was kept.",
)  # fmt: skip

# %% tags=["report"]
table = pd.DataFrame(validation)
record.save_table("validation", table)
caption = "LSTMs on the validation set."
show_table(table.drop(columns="folder").set_index("model"), caption=caption)

# %% [markdown]
# Beside them, on the same validation clips: the majority class, and an SVM on the mean, deviation and mean step of each mel
# band.

# %% tags=["solution", "report"]
# Both baselines learn from the LSTMs' own training clips.
true = datasets.labels_of(beat.val).numpy()
baseline = {}
for name, folder in (("SVM, full", folders.GENRE), ("SVM, beat", folders.GENRE_BEAT)):
    splits = datasets.genre_splits(root / folder, "mel", seed)
    statistics = [baselines.band_statistics(part) for part in (splits.train, splits.val)]
    labels = datasets.labels_of(splits.train).numpy()
    guessed = baselines.svm_predictions(statistics[0], labels, statistics[1])
    baseline[name] = (guessed == datasets.labels_of(splits.val).numpy()).mean()
baseline["majority"] = (baselines.majority_predictions(labels, len(true)) == true).mean()
record.save_values(baseline_accuracy=baseline, n_validation=len(true))
of_each = [Sentence("{name} {value:.3f}", name=k, value=v) for k, v in baseline.items()]
tell("Baselines, accuracy: {of_each}.", of_each=of_each)

# %% [markdown]
# What did each choice bring, and how many clips is that? On few clips a difference of a point or two is one clip more or less.

# %% tags=["solution"]
# Differences of accuracy. Beside the representation, the number of an LSTM's weights changes.
of = table.set_index("model")["accuracy"]
gains = {
    "mel against chroma, full clips": of["lstm_mel_full"] - of["lstm_chroma_full"],
    "mel against chroma, per beat": of["lstm_mel_beat"] - of["lstm_chroma_beat"],
    "full clips against beats, mel": of["lstm_mel_full"] - of["lstm_mel_beat"],
    "both against mel alone, full clips": of["lstm_fused_full"] - of["lstm_mel_full"],
    "both against mel alone, per beat": of["lstm_fused_beat"] - of["lstm_mel_beat"],
}
tell_list(
    Sentence("{choice}: {gain:+.3f}, {n:+d} clips", choice=k, gain=v, n=round(v * len(true)))
    for k, v in gains.items()
)
easiest = max(gains, key=lambda name: abs(gains[name]))
tell("Of these choices the one that matters most here: {choice}.", choice=easiest)


# %% tags=["solution", "report"]
def best_of(rows):
    """The row of the model with the highest macro F1 on validation, as plain values."""
    best = rows.loc[rows["macro F1"].idxmax()]
    return {"name": best["model"], "folder": best["folder"], "feature": best["feature"]}


best = best_of(table)
best_full = best_of(table[table["folder"] == folders.GENRE])
record.save_values(best_lstm=best, best_full_lstm=best_full, n_seeds=n_seeds)
tell(
    "Best LSTM on **validation** (macro F1): **{best}**; among those on full clips: {best_full}. "
    "Whether the gap to the next one means anything is a question for intervals, and for the test "
    "set (notebook 06).",
    best=best["name"], best_full=best_full["name"],
)  # fmt: skip


# %% [markdown]
# ## Change this and run again
#
# Subclass the backbone and change one thing. Here the pooling keeps each unit's largest value instead of its mean.
# Replace it by an idea of yours; the beat-synchronous clips train in seconds.

# %%
class MyLSTM(models.LSTMBackbone):
    """An LSTM whose pooling you can change."""

    def pool(self, steps, lengths):
        """[B, T, D] -> [B, D]: try the maximum over real frames instead of the mean."""
        real = models.time_mask(lengths, steps.shape[1])[:, :, None]
        return steps.masked_fill(~real, float("-inf")).amax(1)


_, spec = new_lstm(beat)
seed_everything(seed)
mine = models.Classifier(MyLSTM(**spec["backbone_options"]), len(beat.base.classes))
train_loader, val_loader, _ = datasets.make_loaders(beat, batch_size, seed, device=compute)
trial = training.train(mine, train_loader, val_loader, **options, patience=patience,
                       device=compute, name="my LSTM")  # fmt: skip
print(
    f"my LSTM: validation loss {min(trial.val_loss):.3f}; lstm_mel_beat:"
    f" {min(histories['lstm_mel_beat'].val_loss):.3f}"
)

# %% [markdown]
# ## What we learned
#
# - An LSTM takes any number of frames; scaling, padding and masking decide whether it learns music or padding.
# - `overfit_batch` separates "does not work" from "does not generalise" within seconds.
# - The validation set chose; the test set is still unseen.
#
# **Check yourself**
#
# <details><summary>Why may the output at the last time step of the backward LSTM mislead?</summary>
# The backward direction begins at the end of the clip: at the last frame it has read only that frame (or, worse, padding).
# Its summary of the whole clip is its output at the first frame.
# </details>
#
# <details><summary>Why is the padding 0 harmless after scaling and harmful before?</summary>
# Before scaling 0 dB is the loudest value: padded frames look like the loudest sound. After scaling 0 is the band's mean,
# and the masked pooling leaves these frames out anyway.
# </details>
#
# <details><summary>Why must the statistics of the scaling come from the training part only?</summary>
# Statistics over validation or test clips would let information about them into training, and the scores would be too good.
# </details>

# %%
record.finish(
    key_metric=f"best on validation: {best['name']}, macro F1 {table['macro F1'].max():.2f}"
)
