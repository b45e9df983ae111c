# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · A convolutional network on spectrograms
#
# **What you will learn**
# - what convolution, batch normalisation, ReLU and max pooling each do, seen from the inside
# - to treat a spectrogram as an image and classify its genre with four blocks of these
# - how to use all labelled clips in the end without ever choosing anything on the test set
#
# **Needs** the data; the LSTM of notebook 05 for the comparison. **Leaves** two CNN checkpoints (the best epoch on
# validation, which notebook 09 starts from, and one trained on all training clips) and their test predictions.
#
# **Takes** about one and a half minutes on the demo set with two CPU cores. With the lab's data: eight times as many clips, and the `full` profile trains longer and three times: take a GPU.
#
# **The one insight:** a small filter that is slid over the picture is a strong prior for music: a drum hit means the same
# *whenever* it occurs. (Along frequency this holds for small shifts only, so the network keeps coarse frequency positions.)
#
# The handout runs this in a kernel of its own, for memory: so does the kit.

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
import torch
from sklearn.datasets import load_digits
from torch import nn

from helpers import baselines, datasets, evaluation, folders, models, plots, training
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, show_source, show_table, tell, tell_comparisons

notebook = "07_cnn"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step
channels = [16, 32, 64, 128]  # of the four blocks
kernel = 3  # height and width of every filter
crop_frames = 256  # training sees a random window of this many frames of each clip (about 6 s)
max_masked_bands = 8  # training hides up to this many mel bands at a time (SpecAugment)
epochs = 18  # passes over the training clips, at most
patience = 6  # epochs without a better validation loss before training stops
learning_rate = 0.002  # of Adam, after one epoch of warm-up
overfit_epochs = 30  # passes over the four batches of step 7δ
digits_epochs = 8  # passes over the digits of step 7α
n_seeds = 1  # trainings of each CNN, each from another seed; the first one is used later

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 7α · A small CNN on digits, seen from the inside
#
# The handout sends you to [ConvNetJS](https://cs.stanford.edu/people/karpathy/convnetjs/), where a CNN learns handwritten
# digits (MNIST) in the browser while you watch its activations. Do that too, it is fun. Here is the same experiment in
# PyTorch, on the real digits that come with scikit-learn (8 x 8 pixels), so that every layer can be looked at.

# %%
digits = load_digits()
pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [n, 1, 8, 8], 0..1
digit_labels = torch.tensor(digits.target)
train_part, test_part = datasets.stratified_split(digits.target, (0.8, 0.2), seed)
print(
    f"digits: {tuple(pixels.shape)}, {len(train_part)} for training, {len(test_part)} for testing"
)
examples = {f"{digit}": digits.images[digits.target == digit][0] for digit in range(10)}
record.show(
    plots.images(examples, "One digit of each class", "One handwritten digit of each class."),
    "digits",
)

# %% tags=["solution"]
# Two blocks of convolution, batch norm, ReLU and max pooling, then a linear layer.
digit_layers = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(16 * 2 * 2, 10),
)  # fmt: skip
print(f"{models.n_parameters(digit_layers):,} trained values")

# %% tags=["solution", "report"]
# The whole of a training loop: shuffle, cut into batches of 64, step down the gradient.
optimizer = torch.optim.Adam(digit_layers.parameters(), lr=0.01)
order = torch.Generator().manual_seed(seed)
for _ in range(digits_epochs):
    shuffled = torch.from_numpy(train_part)[torch.randperm(len(train_part), generator=order)]
    for chosen in shuffled.split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(digit_layers(pixels[chosen]), digit_labels[chosen]).backward()
        optimizer.step()
digit_layers.eval()
with torch.no_grad():
    recognised = digit_layers(pixels[test_part]).argmax(1) == digit_labels[test_part]
record.save_values(digits_accuracy=recognised.float().mean().item(), digits_epochs=digits_epochs)
tell(
    "After {epochs} epochs the small CNN recognises {share:.1%} of the unseen digits.",
    epochs=digits_epochs,
    share=recognised.float().mean(),
)

# %% tags=["report"]
# One unseen digit goes through layer by layer; every intermediate picture is kept.
three = int(test_part[(digits.target[test_part] == 3).argmax()])
stages, image = {"input": pixels[three]}, pixels[three : three + 1]
with torch.no_grad():
    for number, layer in enumerate(digit_layers[:8]):
        image = layer(image)
        stages[f"{number + 1} {type(layer).__name__.removesuffix('2d')}"] = image[0]
record.show(
    plots.activations(stages, title="A handwritten 3 on its way through the layers"),
    "digit_activations", caption="A handwritten digit on its way through the layers.",
)  # fmt: skip

# %% tags=["report"]
# The filters are what the network has learned to look for.
record.show(
    plots.filters(digit_layers[0].weight.detach(), "The first layer's filters"), "digit_filters",
    caption="Filters of the first layer of the CNN for digits.",
)  # fmt: skip

# %% [markdown]
# **What each layer does.** The first convolution answers where the picture looks like one of its filters; a filter that is
# violet on one side and orange on the other answers to an edge. Batch norm shifts and stretches each channel (every picture
# above has a scale of its own, so there you see no difference; the numbers below show it). ReLU keeps the positive
# answers. Max pooling halves the picture and keeps the strongest answer of each 2 x 2 square. The second block combines such
# answers, the linear layer weighs them for each digit; what a later channel stands for is hard to read off. 7γ says more.

# %%
# How far the values of each channel spread, and how many of them are above 0.
spread = {name: stages[name].std((1, 2)) for name in ("1 Conv", "2 BatchNorm")}
after_relu = [maps for name, maps in stages.items() if "ReLU" in name]
alive = [(maps > 0).float().mean() for maps in after_relu]
deviations = [
    Sentence("{low:.2f} to {high:.2f} after {layer}", low=own.min(), high=own.max(), layer=name)
    for name, own in spread.items()
]
tell(
    "Deviations of the first channels: {deviations}. Of the values, {first:.0%} survive the first "
    "ReLU and {second:.0%} the second.",
    deviations=deviations, first=alive[0], second=alive[1],
)  # fmt: skip

# %% [markdown]
# ## 7β · A CNN of four blocks for spectrograms
#
# A spectrogram becomes an image of one channel, frequency up and time across. Four blocks follow, each in the order
# **2D convolution, batch normalisation, ReLU, max pooling**. Then the time axis is averaged over the clip's real frames, so
# clips of any length fit. Frequency is not averaged: what is left of it in each channel goes into a linear layer, which
# gives one score per class.

# %% tags=["report"]
show_source(models.conv_block)

# %%
show_source(models.CNNBackbone)


# %% tags=["solution"]
def new_cnn(n_classes, own_seed=seed):
    """A fresh CNN classifier on mel spectrograms, and its description for the checkpoint."""
    spec = {
        "backbone": "cnn",
        "backbone_options": {"n_features": 128, "channels": channels, "kernel": kernel},
        "head": "classifier",
        "head_options": {"n_classes": n_classes},
    }
    seed_everything(own_seed)
    return models.build_model(spec), spec


# %% tags=["solution", "report"]
# How the picture shrinks from block to block, for the first training clip.
splits = datasets.genre_splits(root / folders.GENRE, "mel", seed)
classes = splits.base.classes
model, _ = new_cnn(len(classes))
clip, _, n_frames = splits.train[0]
with torch.no_grad():
    stages = model.eval().backbone.activations(clip[None], torch.tensor([n_frames]))
shapes = {"input": [1, clip.shape[1], clip.shape[0]]}
shapes |= {
    f"after block {number + 1}": list(image.shape[1:]) for number, (image, _) in enumerate(stages)
}
sizes = pd.DataFrame(shapes, index=["channels", "frequency", "time"]).T
record.save_table("sizes", sizes.reset_index(names="stage"))
record.save_values(n_parameters=models.n_parameters(model))
show_table(sizes, caption="Size of the picture after each block, for one clip.")
tell("{n:,} trained values", n=models.n_parameters(model))

# %% [markdown]
# ## 7γ · What the four operations are
#
# **[Convolution](../docs/glossary.md#convolution).** A small filter (here 3 x 3) is slid over the picture and at each place gives the weighted sum of what lies
# under it: a high value where the picture looks like the filter. The same few weights serve everywhere, so a pattern is
# recognised wherever it occurs, with far fewer weights than a fully connected layer.
#
# **[Batch normalisation](../docs/glossary.md#batch-normalisation).** Each channel is shifted and scaled to mean 0 and deviation 1, over all clips of the batch and all
# places in them, then to a learned mean and deviation. Layers then see inputs of a steady scale, which allows larger learning rates. In evaluation it uses running
# averages from training, which is why `model.eval()` must be called before validation, and `model.train()` after it, in every epoch.
#
# **[ReLU](../docs/glossary.md#relu).** max(0, x). Without a non-linearity, stacked convolutions would collapse into a single one (but for max pooling).
# Where it is active its gradient is 1, so ReLU does not shrink gradients as a sigmoid does.
#
# **Max pooling.** Only the largest value of each 2 x 2 square stays: half the size in each direction, small shifts
# matter less, and the next filters see twice as far.

# %% tags=["solution"]
# One block with one filter of our own, which answers where it gets louder from left to right.
demo_block = nn.Sequential(
    nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.ReLU(), nn.MaxPool2d(2)
)
onset_filter = torch.tensor([[-1.0, 0.0, 1.0]] * 3)
demo_block[0].weight.data = onset_filter[None, None] / 6
image = clip.T[None, None, :, :200]
stages = {"spectrogram": image[0]}
operations = ("convolution", "batch norm", "ReLU", "max pooling")
with torch.no_grad():
    for layer, name in zip(demo_block, operations, strict=True):
        image = layer(image)
        stages[name] = image[0]

# %% tags=["report"]
# Low frequencies at the bottom, dark where the values are high.
pictures = {name: picture[0].flip(0).numpy() for name, picture in stages.items()}
alt = (
    "The first seconds of a clip: spectrogram, then an onset filter's answer, normalised, cut at 0,"
    " and pooled."
)
record.show(
    plots.images(pictures, "One filter that answers to onsets", alt), "four_operations",
    caption="One block step by step: spectrogram, convolution, batch normalisation, ReLU, max "
    "pooling.",
)  # fmt: skip

# %% [markdown]
# ## 7δ · `overfit_batch` on the CNN
#
# As in 5β: four batches, one fixed window of each clip, no dropout, nothing hidden. The loss must go to 0.

# %% tags=["solution"]
# Clips picked at random: the list is sorted by genre.
order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
few = torch.utils.data.Subset(splits.train, order[: 4 * batch_size].tolist())
few_loader = datasets.make_loader(
    few, batch_size, shuffle=True, seed=seed, crop_frames=crop_frames, device=compute
)
model, _ = new_cnn(len(classes))
overfit = training.train(model, few_loader, epochs=overfit_epochs, learning_rate=learning_rate,
                         overfit_batch=True, device=compute, name="CNN, four batches")  # fmt: skip

# %% tags=["report"]
# Near 0: gradients arrive, and this network can learn these windows by heart.
record.show(
    plots.learning_curves({"four batches": overfit}, "Does the loss go to 0?"), "overfit_batch",
    caption="Training loss of the CNN on four batches.",
)  # fmt: skip
tell(
    "The training loss fell from {first:.2f} to {last:.4f} in {passes} passes.",
    first=overfit.train_loss[0],
    last=overfit.train_loss[-1],
    passes=len(overfit.train_loss),
)
record.save_values(overfit_loss=overfit.train_loss, n_overfit_clips=len(few))

# %% [markdown]
# ## 7ε · CNN on genre with mel spectrograms
#
# **The protocol.** The handout asks to train on train + validation and to report on test. But then nothing is left to choose
# the number of epochs with, and choosing it on the test set would be cheating. So, in two steps:
#
# 1. Fit on the training part, keep the epoch of the lowest validation loss. (This checkpoint is the one for notebook 09.)
# 2. Fit a new network on train + validation for just that many epochs, without stopping early. This one is reported.
#
# In training each clip is a random window, another one every epoch, in which some bands and up to a tenth of the time are
# hidden ([SpecAugment](../docs/glossary.md#specaugment)): variety for a small set. Validation and test see whole clips.
#
# | choice | made by |
# |---|---|
# | four blocks of convolution, batch norm, ReLU and max pooling; train + validation for the final network | the handout |
# | filters of 3 x 3, 16 to 128 channels, Adam, warm-up, a validation set that chooses the number of epochs | convention |
# | scaling per band, windows of 6 s, SpecAugment | this kit, out of habit: its benchmark on real music ([its tables](../docs/how_good_history.md)) shows neither gain nor harm of scaling and SpecAugment |

# %% tags=["solution"]
augmentation = {"crop_frames": crop_frames, "max_masked_bands": max_masked_bands}


def fit_on_train_part(number):
    """Training `number` on the train part; keeps the epoch of the lowest validation loss."""
    loaders = datasets.make_loaders(
        splits, batch_size, seed + number, **augmentation, device=compute
    )
    model, spec = new_cnn(len(classes), seed + number)
    history = training.train(
        model, *loaders[:2], epochs=epochs, learning_rate=learning_rate,
        patience=patience, device=compute, name=f"CNN {number + 1}, train part",
    )  # fmt: skip
    record.save_checkpoint(
        of_seed("cnn_mel_best", number), model, spec, feature="mel", scaler=splits.scaler,
        classes=classes, epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    return history, training.predict(model, loaders[2], compute).argmax(1)


# %% tags=["solution", "report"]
# One training per seed. The first one's curve is shown, and its checkpoint is what 08 and 09 take.
best_histories, best_outputs = zip(*map(fit_on_train_part, range(n_seeds)), strict=True)
history, of_all_seeds = best_histories[0], {"cnn_mel_best": list(best_outputs)}
for number, own in enumerate(best_histories):
    tell(
        "seed {seed}: kept epoch {epoch} of {n}, validation loss {loss:.3f}",
        seed=seed + number,
        epoch=own.best_epoch,
        n=len(own.train_loss),
        loss=min(own.val_loss),
    )

# %% tags=["solution", "report"]
# For the second network: all labelled clips, scaled by their own statistics.
everything = datasets.SpectrogramDataset(root / folders.GENRE, "train", "mel")
everything.scaler = datasets.BandScaler.fit(everything)
test = datasets.SpectrogramDataset(root / folders.GENRE, "test", "mel", scaler=everything.scaler)
test_loader = datasets.make_loader(test, batch_size, device=compute)
tell(
    "`cnn_mel_refit` is trained anew for as many epochs: on {n_all} clips instead of {n_train}.",
    n_all=len(everything),
    n_train=len(splits.train),
)


def fit_on_everything(number):
    """Training `number` on train + validation, for as many epochs as its twin above has kept."""
    own_seed, n_epochs = seed + number, best_histories[number].best_epoch
    loader = datasets.make_loader(
        everything, batch_size, shuffle=True, seed=own_seed, **augmentation, device=compute
    )
    model, spec = new_cnn(len(classes), own_seed)
    history = training.train(
        model, loader, epochs=epochs, stop_after=n_epochs, learning_rate=learning_rate,
        device=compute, name=f"CNN {number + 1}, train + validation",
    )  # fmt: skip
    record.save_checkpoint(
        of_seed("cnn_mel_refit", number), model, spec, feature="mel",
        scaler=everything.scaler, classes=classes, epoch=n_epochs,
        note="train + validation, epochs from validation",
    )  # fmt: skip
    return model, history, training.predict(model, test_loader, compute).argmax(1)


# %% tags=["solution"]
# The network of the first seed is looked into below.
refits = [fit_on_everything(number) for number in range(n_seeds)]
refit, refit_history, _ = refits[0]
of_all_seeds["cnn_mel_refit"] = [predicted for *_, predicted in refits]

# %% tags=["report"]
# The second curve has no validation loss: those clips are in its training.
record.show(
    plots.learning_curves(
        {"train part, with validation": history, "train + validation": refit_history},
        "CNN learning curves",
    ),
    "learning_curves",
    caption="Learning curves of the CNN: on the train part, and on train + validation.",
)

# %% [markdown]
# ### On the test set, beside the LSTM and the baselines
#
# The LSTM on mel is compared with both CNNs: with the first on equal terms (same training clips), with the second knowing
# that it had the validation clips in addition. The SVM (`svm_mel_refit`) has train + validation too; nothing of it is chosen.

# %% tags=["solution"]
# The LSTM of step 5γ, as often as it was trained there.
true = test.labels.numpy()
of_all_seeds["lstm_mel_full"] = []
for number in range(record.load_value("05_lstm", "n_seeds")):
    lstm = record.load_checkpoint(
        "05_lstm", of_seed("lstm_mel_full", number), head="classifier", feature="mel",
        classes=classes,
    )  # fmt: skip
    clips = datasets.SpectrogramDataset(root / folders.GENRE, "test", "mel", scaler=lstm.scaler)
    loader = datasets.make_loader(clips, batch_size, device=compute)
    of_all_seeds["lstm_mel_full"].append(training.predict(lstm.model, loader, compute).argmax(1))
predictions = {name: outputs[0] for name, outputs in of_all_seeds.items()}

# %% tags=["solution", "report"]
# The baselines, trained on train + validation like the second CNN.
statistics = [baselines.band_statistics(part) for part in (everything, test)]
labels = everything.labels.numpy()
predictions["svm_mel_refit"] = baselines.svm_predictions(statistics[0], labels, statistics[1])
predictions["majority_full"] = baselines.majority_predictions(labels, len(test))
scores = {
    name: evaluation.classification_scores(true, predicted, len(classes), seed)
    for name, predicted in predictions.items()
}
for name, own in scores.items():
    feature = "none" if "majority" in name else "mel"
    record.add_scores(name, feature, "genre test (full)", own, len(true))
caption = "CNN, LSTM, SVM and majority on the full test set, with 95 % intervals."
show_table(pd.DataFrame(scores).T, caption=caption)

# %% tags=["report"]
# The vertical line is what always naming the most frequent class would reach.
majority = scores["majority_full"]["accuracy"].value
networks = {name: scores[name]["accuracy"] for name in scores if name != "majority_full"}
title = "CNN, LSTM and SVM on test, 95 % intervals"
baseline = [name for name in networks if name.startswith("svm")]
record.show(
    plots.score_plot(networks, title, "accuracy", majority, baselines=baseline), "accuracy",
    caption="CNN, LSTM and SVM on test with 95 % intervals; the dotted line is the most frequent "
    "class.",
)  # fmt: skip

# %% [markdown]
# Which of these differences are more than chance? Clip by clip on the same test clips, with Holm's correction (notebook 06)
# because several are looked at. Where a model was trained from several seeds, its mean counts.

# %% tags=["solution", "report"]
# Each pair on the same clips, then corrected for how many pairs there are.
pairs = [("cnn_mel_best", "lstm_mel_full")]
rivals = ("lstm_mel_full", "svm_mel_refit", "majority_full", "cnn_mel_best")
pairs += [("cnn_mel_refit", rival) for rival in rivals]
outputs = predictions | of_all_seeds
compared = evaluation.holm({
    (first, second): evaluation.compare_accuracy(true, outputs[first], outputs[second], seed)
    for first, second in pairs
})  # fmt: skip
caption = "Paired differences in accuracy with 95 % intervals."
record.show(plots.differences(compared, "accuracy"), "differences", caption=caption)
record.add_comparisons(compared, "accuracy")
tell_comparisons(compared, "accuracy")
tell(
    "`cnn_mel_refit` had {n} clips more to learn from than the LSTM and `cnn_mel_best`; the SVM "
    "and the majority had the same ones as it.",
    n=len(everything) - len(splits.train),
)

# %% tags=["report"]
# Class by class: which ones does the reported CNN know, and what does it take the others for?
report = evaluation.report_table(true, predictions["cnn_mel_refit"], classes)
record.save_table("report_cnn_mel_refit", report.reset_index(names="class"))
show_table(report, caption="The reported CNN (cnn_mel_refit), class by class.")
counts = evaluation.confusion_counts(true, predictions["cnn_mel_refit"], len(classes))
record.show(
    plots.confusion_matrix(counts, classes, "Confusion matrix of the CNN"), "confusion_cnn",
    caption="Confusion matrix of the CNN on the test set.",
)  # fmt: skip

# %% [markdown]
# ### What the four blocks see
#
# The same view as for the digits: a clip of the test set on its way through the trained network, and the filters of its first
# layer.

# %% tags=["report"]
# Low frequencies at the bottom, as in a spectrogram.
clip, label, n_frames = test[0]
with torch.no_grad():
    blocks = refit.cpu().eval().backbone.activations(clip[None], torch.tensor([n_frames]))
stages = {"input": clip.T[None]} | {
    f"block {number + 1}": image[0] for number, (image, _) in enumerate(blocks)
}
stages = {name: maps.flip(1) for name, maps in stages.items()}  # low frequencies at the bottom
record.show(
    plots.activations(stages, title=f"A {classes[int(label)]} clip inside the CNN"),
    "cnn_activations",
    caption="A test clip inside the CNN, block by block.",
)
record.show(
    plots.filters(refit.backbone.blocks[0][0].weight.detach(), "The CNN's first filters"),
    "cnn_filters",
    caption="Filters of the first block of the CNN.",
)

# %% [markdown]
# ### Try it: what is near to what
#
# Before its last layer, the CNN turns each clip into one vector. Two clips whose vectors point in the same direction
# (cosine near 1) are alike *to the network*. No entry of these vectors is negative, so clips that are not alike have a
# cosine well above 0, too: the mean over all pairs is the yardstick. In JupyterLab, choose a clip and see which ones are
# nearest to it, and what the network says of it (elsewhere one choice is shown). The clips are those of validation, which
# the network was not fitted to; the first one shown is its most confident error.
#
# *Try* a clip that was recognised and one that was not: the menu says what each was taken for. *Look for* what the
# nearest clips have in common with it in the picture: the bass, the density of onsets, a loud or a quiet recording. Do
# they share its genre, or only its sound? Would you have made the same mistake?

# %%
best_cnn = record.load_checkpoint(notebook, "cnn_mel_best").model
explorers.neighbours(record, best_cnn, splits.val, batch_size, compute)


# %% [markdown]
# ## Change this and run again
#
# Here the largest value over time replaces the mean: does it matter more *that* a pattern occurs than how often? Try a kernel
# of 5, or another idea. Compare on **validation**, never on test.

# %%
class MyCNN(models.CNNBackbone):
    """A CNN whose last step you can change."""

    def forward(self, x, lengths):
        """[B, T, F] -> [B, out_features]: the maximum over time instead of the mean."""
        image, _ = self.activations(x, lengths)[-1]
        return self.dropout(image.amax(-1).flatten(1))


train_loader, val_loader, _ = datasets.make_loaders(
    splits, batch_size, seed, **augmentation, device=compute
)
trial_epochs = max(1, epochs // 3)
seed_everything(seed)
mine = models.Classifier(MyCNN(128, channels, kernel), len(classes))
trial = training.train(  # on the learning rates of the CNN above, ended early
    mine, train_loader, val_loader, epochs=epochs, stop_after=trial_epochs,
    learning_rate=learning_rate, patience=epochs, device=compute, name="my CNN",
)  # fmt: skip
print(f"my CNN after {len(trial.train_loss)} epochs: validation loss {min(trial.val_loss):.3f}; "
      f"the CNN above after as many: {min(history.val_loss[:trial_epochs]):.3f}")  # fmt: skip

# %% [markdown]
# ## What we learned
#
# - Four simple blocks learn genre from pictures of sound; the comparison above says how far they are above naming the
#   largest class, and whether they are above an LSTM and an SVM.
# - The number of epochs is chosen on validation; the final network then uses all training clips.
# - A comparison names what differs: the clips, the features, the amount of data.
#
# **Check yourself**
#
# <details><summary>Why is the order conv, BN, ReLU and not conv, ReLU, BN?</summary>
# Batch norm centres the values around 0, so that ReLU cuts about half of them. The other way round it would normalise values
# that are already cut, and the handout asks for this order.
# </details>
#
# <details><summary>What would happen on the validation set without `model.eval()`?</summary>
# Dropout would go on switching units off, and batch norm would use (and update) statistics of the validation batches: worse
# and noisy scores, and a network that has seen validation data.
# </details>
#
# <details><summary>Why may the refitted network not be compared with the LSTM without a remark?</summary>
# It was trained on the validation clips as well. Part of the difference may come from more data, not from the architecture.
# </details>

# %%
# For whoever wants to look at single clips.
record.save_values(n_seeds=n_seeds, kept_epoch=history.best_epoch, n_epochs=len(history.val_loss))
record.save_values(n_train=len(splits.train), n_everything=len(everything))
for name, predicted in predictions.items():
    record.save_predictions(f"test_{name}", test.ids, predicted, ["class"])
record.finish(
    key_metric=(
        f"CNN: accuracy {scores['cnn_mel_refit']['accuracy'].value:.2f} (majority {majority:.2f})"
    )
)
