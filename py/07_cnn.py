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
# **The one insight:** a small filter that is slid over time and frequency is a strong prior for music: the same drum hit
# means the same thing wherever it occurs.
#
# The handout runs this in a kernel of its own, for memory: so does the kit.

# %% [markdown]
# ## Set-up

# %%
# Find `helpers`: installed, or beside this file, above the working folder, or on Kaggle.
import sys
from pathlib import Path

try:
    import helpers.settings  # noqa: F401
except ImportError:
    here = Path(globals().get("__file__", "notebook")).resolve()
    places = [*here.parents, *Path.cwd().parents]
    places += [found.parents[1] for found in Path("/kaggle/input").glob("**/helpers/settings.py")]
    hits = [place for place in places if (place / "helpers" / "settings.py").is_file()]
    assert hits, "no folder helpers/ found: take the whole repository (on Kaggle as a data set)"
    sys.path.insert(0, str(hits[0]))

# %%
# %load_ext autoreload
# %autoreload 2
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn

from helpers import baselines, datasets, evaluation, models, plots, runs, settings, training
from helpers import data as lab_data

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

# %%
settings.apply_profile(globals())

# %%
settings.seed_everything(seed)
compute = settings.pick_device(device)
root = lab_data.find_data(data)
record = runs.open_record(notebook, root, seed)
print(f"data: {lab_data.data_name(root)}   device: {compute}   seed: {seed}")

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
digit_layers = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(16 * 2 * 2, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(digit_layers.parameters(), lr=0.01)
order = torch.Generator().manual_seed(seed)
for _ in range(digits_epochs):
    for chosen in torch.from_numpy(train_part)[
        torch.randperm(len(train_part), generator=order)
    ].split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(digit_layers(pixels[chosen]), digit_labels[chosen]).backward()
        optimizer.step()
digit_layers.eval()
with torch.no_grad():
    recognised = digit_layers(pixels[test_part]).argmax(1) == digit_labels[test_part]
runs.tell(
    f"After {digits_epochs} epochs the small CNN recognises {recognised.float().mean():.1%} of the"
    " unseen digits."
)

# %%
three = int(test_part[(digits.target[test_part] == 3).argmax()])
stages, image = {"input": pixels[three]}, pixels[three : three + 1]
with torch.no_grad():
    for number, layer in enumerate(digit_layers[:8]):
        image = layer(image)
        stages[f"{number + 1} {type(layer).__name__.removesuffix('2d')}"] = image[0]
record.show(
    plots.activations(stages, title="A handwritten 3 on its way through the layers"),
    "digit_activations",
)

# %%
record.show(
    plots.filters(digit_layers[0].weight.detach(), "The first layer's filters"), "digit_filters"
)
after_relu = [maps for name, maps in stages.items() if "ReLU" in name]
alive = [f"{float((maps > 0).float().mean()):.0%}" for maps in after_relu]
runs.tell(
    "**What each layer does.** The first convolution answers where an edge of its own direction"
    " lies (many of its filters are light on one side and dark on the other). Batch norm brings its"
    " answers to a common scale. ReLU keeps the positive ones:"
    f" {alive[0]} of the values survive the first one, {alive[1]} the second."
    " Max pooling halves the picture and keeps the strongest answer of each 2 x 2 square. The"
    " second block combines edges into strokes and corners; the linear layer weighs which strokes"
    " belong to which digit."
)

# %% [markdown]
# ## 7β · A CNN of four blocks for spectrograms
#
# A spectrogram becomes an image of one channel, frequency up and time across. Four blocks follow, each in the order
# **2D convolution, batch normalisation, ReLU, max pooling**. Then the time axis is averaged over the clip's real frames, so
# clips of any length fit, and a linear layer gives one score per class.

# %%
runs.show_source(models.conv_block)
runs.show_source(models.CNNBackbone)


# %% tags=["solution"]
def new_cnn(n_classes):
    """A fresh CNN classifier on mel spectrograms, and its description for the checkpoint."""
    spec = {
        "backbone": "cnn",
        "backbone_options": {"n_features": 128, "channels": channels, "kernel": kernel},
        "head": "classifier",
        "head_options": {"n_classes": n_classes},
    }
    settings.seed_everything(seed)
    return models.build_model(spec), spec


splits = datasets.genre_splits(root / lab_data.GENRE, "mel", seed)
classes = splits.base.classes
model, _ = new_cnn(len(classes))
clip, _, n_frames = splits.train[0]
with torch.no_grad():
    stages = model.eval().backbone.activations(clip[None], torch.tensor([n_frames]))
shapes = {"input": [1, clip.shape[1], clip.shape[0]]}
shapes |= {
    f"after block {number + 1}": list(image.shape[1:]) for number, (image, _) in enumerate(stages)
}
runs.show_table(pd.DataFrame(shapes, index=["channels", "frequency", "time"]).T)
print(f"{models.n_parameters(model):,} trained values")

# %% [markdown]
# ## 7γ · What the four operations are
#
# **Convolution.** A small filter (here 3 x 3) is slid over the picture and at each place gives the weighted sum of what lies
# under it: a high value where the picture looks like the filter. The same few weights serve everywhere, so a pattern is
# recognised wherever it occurs, with far fewer weights than a fully connected layer.
#
# **Batch normalisation.** Each channel is shifted and scaled to mean 0 and deviation 1 over the batch, then to a learned mean
# and deviation. Layers then see inputs of a steady scale, which allows larger learning rates. In evaluation it uses running
# averages from training, which is why `model.eval()` must be called before validation, and `model.train()` after it, in every epoch.
#
# **ReLU.** max(0, x). Without a non-linearity, stacked convolutions would collapse into a single one. Its gradient is 1 where
# it is active, so it does not fade through many layers.
#
# **Max pooling.** Only the largest value of each 2 x 2 square stays: half the size in each direction, small shifts no longer
# matter, and the next filters see twice as far.

# %% tags=["solution"]
demo_block = nn.Sequential(
    nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.ReLU(), nn.MaxPool2d(2)
)
onset_filter = torch.tensor(
    [[-1.0, 0.0, 1.0]] * 3
)  # answers where it gets louder from left to right
demo_block[0].weight.data = onset_filter[None, None] / 6
image = clip.T[None, None, :, :200]
stages = {"spectrogram": image[0]}
with torch.no_grad():
    for layer, name in zip(
        demo_block, ("convolution", "batch norm", "ReLU", "max pooling"), strict=True
    ):
        image = layer(image)
        stages[name] = image[0]
pictures = {name: picture[0].flip(0).numpy() for name, picture in stages.items()}
alt = (
    "The first seconds of a clip: spectrogram, then an onset filter's answer, normalised, cut at 0,"
    " and pooled."
)
record.show(plots.images(pictures, "One filter that answers to onsets", alt), "four_operations")

# %% [markdown]
# ## 7δ · `overfit_batch` on the CNN
#
# As in 5β: four batches, no dropout, no augmentation. The loss must go to 0.

# %% tags=["solution"]
order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
few = torch.utils.data.Subset(splits.train, order[: 4 * batch_size].tolist())
few_loader = datasets.make_loader(
    few, batch_size, shuffle=True, seed=seed, crop_frames=crop_frames, device=compute
)
model, _ = new_cnn(len(classes))
overfit = training.train(model, few_loader, epochs=overfit_epochs, learning_rate=learning_rate,
                         overfit_batch=True, device=compute, name="CNN, four batches")  # fmt: skip
record.show(
    plots.learning_curves({"four batches": overfit}, "Does the loss go to 0?"), "overfit_batch"
)
runs.tell(
    f"The training loss fell from {overfit.train_loss[0]:.2f} to {overfit.train_loss[-1]:.4f} in "
    f"{len(overfit.train_loss)} passes."
)

# %% [markdown]
# ## 7ε · CNN on genre with mel spectrograms
#
# **The protocol.** The handout asks to train on train + validation and to report on test. But then nothing is left to choose
# the number of epochs with, and choosing it on the test set would be cheating. So, in two steps:
#
# 1. Fit on the training part, keep the epoch of the lowest validation loss. (This checkpoint is the one for notebook 09.)
# 2. Fit a new network on train + validation for just that many epochs, without stopping early. This one is reported.
#
# In training each clip is a random window, another one every epoch, and some bands are hidden: cheap variety for a small
# set. Validation and test see whole clips.

# %% tags=["solution"]
train_loader, val_loader, test_loader = datasets.make_loaders(
    splits, batch_size, seed,
    crop_frames=crop_frames, max_masked_bands=max_masked_bands, device=compute,
)  # fmt: skip
model, spec = new_cnn(len(classes))
history = training.train(
    model, train_loader, val_loader, epochs=epochs, learning_rate=learning_rate,
    patience=patience, device=compute, name="CNN, train part",
)  # fmt: skip
record.save_checkpoint(
    "cnn_mel_best", model, spec, feature="mel", scaler=splits.scaler, classes=classes,
    epoch=history.best_epoch, note="lowest validation loss",
)  # fmt: skip
predictions = {"cnn_mel_best": evaluation.predict(model, test_loader, compute).argmax(1)}
print(
    f"kept epoch {history.best_epoch} of {len(history.train_loss)}, validation loss"
    f" {min(history.val_loss):.3f}"
)

# %% tags=["solution"]
everything = datasets.SpectrogramDataset(root / lab_data.GENRE, "train", "mel")
everything.scaler = datasets.BandScaler.fit(everything)
test = datasets.SpectrogramDataset(root / lab_data.GENRE, "test", "mel", scaler=everything.scaler)
all_loader = datasets.make_loader(
    everything, batch_size, shuffle=True, seed=seed,
    crop_frames=crop_frames, max_masked_bands=max_masked_bands, device=compute,
)  # fmt: skip
refit, spec = new_cnn(len(classes))
refit_history = training.train(
    refit, all_loader, epochs=epochs, stop_after=history.best_epoch,
    learning_rate=learning_rate, device=compute, name="CNN, train + validation",
)  # fmt: skip
record.save_checkpoint(
    "cnn_mel_refit", refit, spec, feature="mel", scaler=everything.scaler, classes=classes,
    epoch=history.best_epoch, note="train + validation, epochs from validation",
)  # fmt: skip
predictions["cnn_mel_refit"] = evaluation.predict(
    refit, datasets.make_loader(test, batch_size, device=compute), compute
).argmax(1)
print(f"{len(everything)} clips instead of {len(splits.train)}, {history.best_epoch} epochs")

# %%
record.show(
    plots.learning_curves(
        {"train part, with validation": history, "train + validation": refit_history},
        "CNN learning curves",
    ),
    "learning_curves",
)

# %% [markdown]
# ### On the test set, beside the LSTM and the baselines
#
# The LSTM on mel is compared with both CNNs: with the first on equal terms (same training clips), with the second knowing
# that it had the validation clips in addition. The SVM (`svm_mel_refit`) has train + validation too; nothing of it is chosen.

# %% tags=["solution"]
true = test.labels.numpy()
lstm = record.load_checkpoint(
    "05_lstm", "lstm_mel_full", head="classifier", feature="mel", classes=classes
)
lstm_test = datasets.SpectrogramDataset(root / lab_data.GENRE, "test", "mel", scaler=lstm.scaler)
predictions["lstm_mel_full"] = evaluation.predict(
    lstm.model, datasets.make_loader(lstm_test, batch_size, device=compute), compute
).argmax(1)
statistics = [baselines.band_statistics(part) for part in (everything, test)]
predictions["svm_mel_refit"] = baselines.svm_predictions(
    statistics[0], everything.labels.numpy(), statistics[1]
)
predictions["majority_full"] = baselines.majority_predictions(everything.labels.numpy(), len(test))
scores = {
    name: evaluation.classification_scores(true, predicted, len(classes), seed)
    for name, predicted in predictions.items()
}
for name in predictions:
    record.add_scores(
        name, "none" if "majority" in name else "mel", "genre test (full)", scores[name], len(true)
    )
runs.show_table(
    pd.DataFrame({name: {m: str(v) for m, v in scores[name].items()} for name in scores}).T
)

# %%
majority = scores["majority_full"]["accuracy"].value
record.show(
    plots.score_plot({name: scores[name]["accuracy"] for name in scores if name != "majority_full"},
                     "CNN, LSTM and SVM on test, 95 % intervals", "accuracy", reference=majority),
    "accuracy",
)  # fmt: skip
pairs = [("cnn_mel_best", "lstm_mel_full")]
pairs += [("cnn_mel_refit", other) for other in ("lstm_mel_full", "svm_mel_refit", "cnn_mel_best")]
for first, second in pairs:
    result = evaluation.compare_accuracy(true, predictions[first], predictions[second], seed)
    extra = (
        " (with the validation clips in addition)"
        if "refit" in first and second != "svm_mel_refit"
        else ""
    )
    runs.tell(f"- {result.sentence(first + extra, second, 'accuracy')}")

# %%
report = evaluation.report_table(true, predictions["cnn_mel_refit"], classes)
record.save_table("report_cnn_mel_refit", report.reset_index(names="class"))
runs.show_table(report)
counts = evaluation.confusion_counts(true, predictions["cnn_mel_refit"], len(classes))
record.show(plots.confusion_matrix(counts, classes, "Confusion matrix of the CNN"), "confusion_cnn")

# %% [markdown]
# ### What the four blocks see
#
# The same view as for the digits: a clip of the test set on its way through the trained network, and the filters of its first
# layer.

# %%
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
)
record.show(
    plots.filters(refit.backbone.blocks[0][0].weight.detach(), "The CNN's first filters"),
    "cnn_filters",
)


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


trial_epochs = max(1, epochs // 3)
settings.seed_everything(seed)
mine = models.Classifier(MyCNN(128, channels, kernel), len(classes))
trial = training.train(
    mine, train_loader, val_loader, epochs=trial_epochs, learning_rate=learning_rate,
    device=compute, name="my CNN",
)  # fmt: skip
print(f"my CNN after {len(trial.train_loss)} epochs: validation loss {min(trial.val_loss):.3f}; "
      f"the CNN above after as many: {min(history.val_loss[:trial_epochs]):.3f}")  # fmt: skip

# %% [markdown]
# ## What we learned
#
# - Four simple blocks are enough to hear genre: edges in time are onsets, edges in frequency are tones.
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
for name, predicted in predictions.items():
    record.save_predictions(f"test_{name}", test.ids, predicted, ["class"])
record.finish(
    key_metric=(
        f"CNN: accuracy {scores['cnn_mel_refit']['accuracy'].value:.2f} (majority {majority:.2f})"
    )
)
