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
# - what convolution, batch normalisation, ReLU and max pooling each do, in formulas, in code and in numbers
# - to treat a spectrogram as an image and to write the network of four blocks that classifies its genre
# - to answer one question that was asked beforehand: does the CNN recognise more clips than the LSTM?
#
# **Needs** the data; the LSTM of notebook 05 for the comparison. **Leaves** two CNN checkpoints (the best epoch on
# validation, which notebook 09 starts from, and one trained on all training clips) and their test predictions.
#
# **Takes** about two minutes on the demo set with two CPU cores. With the lab's data: eight times as many clips, and
# the `full` profile trains longer: take a GPU.
#
# **The one insight:** a small filter that is slid over the picture is a strong prior for music: a drum hit means the
# same *whenever* it occurs. Along frequency this holds for small shifts only, so the network keeps coarse frequency
# positions.
#
# **How to read:** the core path takes 40 minutes. Answer each **Predict** before you read on; extras are folded.
#
# The handout runs this step in a kernel of its own, for memory: so does the kit.

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
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from torch import nn

from helpers import baselines, datasets, evaluation, folders, handmade, models, plots, training
from helpers.features import HOP_LENGTH, SAMPLE_RATE
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import Sentence, play, show_table, tell, tell_comparisons

notebook = "07_cnn"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 16  # clips per step
channels = [16, 32, 64, 128]  # of the four blocks
kernel = 3  # height and width of every filter
crop_frames = 128  # training sees a random window of this many frames of each clip (about 3 s)
max_masked_bands = 8  # training hides up to this many mel bands at a time (SpecAugment)
epochs = 10  # passes over the training clips, at most
patience = 6  # epochs without a better validation loss before training stops
learning_rate = 0.002  # of Adam, after one epoch of warm-up
overfit_epochs = 20  # passes over the four batches of step 7δ
digits_epochs = 8  # passes over the digits of step 7α
digits_learning_rate = 0.01  # of Adam there
n_seeds = 3  # trainings of CNN (train), each from another seed; the first one is used later
n_refits = 1  # trainings of CNN (train + validation), at most n_seeds

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 7α · A small CNN on digits, seen from the inside
#
# > **Handout.** *Εκπαιδεύστε ένα μικρό CNN σε ψηφία (MNIST, ConvNetJS), δείτε τις ενεργοποιήσεις κάθε επιπέδου και
# > σχολιάστε τι κάνει το καθένα.* Train a small CNN on digits and comment on what each layer does.
#
# **Required, and yours to do:** open the
# [MNIST demo of ConvNetJS](https://cs.stanford.edu/people/karpathy/convnetjs/demo/mnist.html), let it train in your
# browser for some minutes, and watch the activations of each layer. Save a screenshot into `my_report/` and show it in
# `my_report/step_07.md`, under 7α, with your comment. The report is not complete without it.
#
# Here is the same experiment in PyTorch, so that every number can be looked at: a small CNN learns the handwritten
# digits that come with scikit-learn (8 x 8 pixels).

# %%
digits = load_digits()
pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [n, 1, 8, 8], 0..1
digit_labels = torch.tensor(digits.target)
train_part, test_part = datasets.stratified_split(digits.target, (0.8, 0.2), seed)
print(f"digits: {tuple(pixels.shape)}, {len(train_part)} to train on, {len(test_part)} to test")
first_ones = [int((digits.target == digit).argmax()) for digit in range(10)]
figure = plots.maps({"pixels": pixels[first_ones, 0]}, "One digit of each class", 10, "digit")
record.show(figure, "digits")

# %% [markdown]
# Two blocks, then one linear layer. Each convolution keeps the size (a border of zeros), each pooling halves it:
#
# ```text
# [B, 1, 8, 8] --conv, BN, ReLU, pool--> [B, 8, 4, 4] --conv, BN, ReLU, pool--> [B, 16, 2, 2]
#   --flatten--> [B, 64] --Linear--> [B, 10]
# ```

# %% tags=["solution"]
digit_layers = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),  # [B, 8, 8, 8]
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),  # [B, 8, 4, 4]
    nn.Conv2d(8, 16, 3, padding=1),  # [B, 16, 4, 4]
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),  # [B, 16, 2, 2]
    nn.Flatten(),  # [B, 64]
    nn.Linear(64, 10),  # a score for each digit
)
print(f"{models.n_parameters(digit_layers):,} parameters")

# %% tags=["solution"]
# The whole of a training loop: shuffle, cut into batches of 64, step down the gradient.
optimizer = torch.optim.Adam(digit_layers.parameters(), lr=digits_learning_rate)
order = torch.Generator().manual_seed(seed)
for _ in range(digits_epochs):
    shuffled = torch.from_numpy(train_part)[torch.randperm(len(train_part), generator=order)]
    for chosen in shuffled.split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(digit_layers(pixels[chosen]), digit_labels[chosen])
        loss.backward()
        optimizer.step()

# %% tags=["report", "told"]
# How many of the digits that were not trained on are recognised?
digit_layers.eval()
with torch.no_grad():
    recognised = digit_layers(pixels[test_part]).argmax(1) == digit_labels[test_part]
record.save_values(digits_accuracy=recognised.float().mean().item(), digits_epochs=digits_epochs)
tell(
    "After {epochs} epochs the small CNN recognises {share:.1%} of the unseen digits.",
    epochs=digits_epochs,
    share=recognised.float().mean(),
)

# %% [markdown]
# **Predict.** Below, a handwritten 3 goes through the layers. In which rows can *you* still see a 3? Which row has the
# most zeros?
#
# <details><summary>What to expect, and why</summary>
# The first block's rows still look like a 3, drawn with other pens: each filter marks one kind of edge. After the
# second block four pixels per channel are left: nothing to recognise for an eye, but the linear layer reads 64 numbers
# at once. ReLU makes the zeros; pooling, which takes the largest of four, removes most of them again.
# </details>

# %% tags=["report"]
# One unseen 3 goes through layer by layer. Row by row, channel k stands below filter k.
names = ["convolution 1", "batch norm 1", "ReLU 1", "pooling 1"]
names += ["convolution 2", "batch norm 2", "ReLU 2", "pooling 2"]
image = pixels[test_part][digit_labels[test_part] == 3][:1]  # [1, 1, 8, 8]
weights = digit_layers[0].weight[:, 0].detach()  # [8, 3, 3]
stages = {"filter": weights}
with torch.no_grad():
    for name, layer in zip(names, digit_layers[:8], strict=True):
        image = layer(image)
        stages[name] = image[0]
record.show(
    plots.maps(stages, "A handwritten 3 on its way through the layers (8 of the 16 last channels)"),
    "digit_activations", caption="A handwritten digit on its way through the layers.",
)  # fmt: skip

# %% tags=["told"]
with torch.no_grad():
    probabilities = digit_layers[8:](image).softmax(1)[0]  # of the pooled 16 x 2 x 2 numbers
first, second = probabilities.topk(2).indices.tolist()
tell(
    "From the last row's 64 numbers the linear layer gives this digit the probability {p:.1%} to "
    "be a {first}; next is {second} with {q:.1%}.",
    p=probabilities[first], q=probabilities[second], first=first, second=second,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What each layer does.** *Convolution 1* answers where the picture looks like the filter above it: violet weights
# want ink, orange ones want none. *Batch norm 1* shows the same pictures with another zero and another scale: a channel
# that was violet everywhere is violet and orange now, and the bars have other numbers; the shapes stay. *ReLU 1* keeps
# the positive answers. *Pooling 1* keeps the strongest of each 2 x 2 square: half the size, and a stroke may move by a
# pixel without a change. *Block 2* combines such answers, all eight at once, so its channel k has nothing to do with
# filter k. The *linear layer* weighs the 64 numbers that are left, for each digit.
#
# **What the network seems to learn**: edges of strokes. A filter whose left column wants no ink and whose right column
# does answers where a stroke *begins*, read from left to right: at left-hand edges. Two such filters, found by their
# column and row sums:

# %% tags=["solution", "report", "told"]
rightwards = weights[:, :, 2].sum(1) - weights[:, :, 0].sum(1)  # right column minus left, [8]
downwards = weights[:, 2].sum(1) - weights[:, 0].sum(1)  # lower row minus upper
sideways, upright = int(rightwards.abs().argmax()), int(downwards.abs().argmax())
tell(
    "Filter {k}: its left column adds up to {left:+.2f}, its right one to {right:+.2f}: of the two "
    "sides of a stroke it answers more to {edge} edges.",
    k=sideways, left=weights[sideways, :, 0].sum(), right=weights[sideways, :, 2].sum(),
    edge="left-hand" if rightwards[sideways] > 0 else "right-hand",
)  # fmt: skip
tell(
    "Filter {k}: its upper row adds up to {upper:+.2f}, its lower one to {lower:+.2f}: of the two "
    "sides of a stroke it answers more to {edge} edges.",
    k=upright, upper=weights[upright, 0].sum(), lower=weights[upright, 2].sum(),
    edge="upper" if downwards[upright] > 0 else "lower",
)  # fmt: skip

# %% [markdown]
# **Threes against eights.** An 8 is a 3 whose two loops are closed on the left. So a filter for left edges should
# answer to 8s on the left side, where the 3 is open. The mean answer over all unseen 3s and over all unseen 8s shows
# it:

# %% tags=["appendix"]
with torch.no_grad():
    answers = digit_layers[:3](pixels[test_part])  # after the first ReLU, [n, 8, 8, 8]
threes = answers[digit_labels[test_part] == 3].mean(0)
eights = answers[digit_labels[test_part] == 8].mean(0)
rows = {"filter": weights, "mean of the 3s": threes, "mean of the 8s": eights}
rows["8s minus 3s"] = eights - threes
record.show(
    plots.maps(rows, "What each filter finds in threes and in eights"), "digit_filters",
    caption="The first layer's filters, and their mean answers to threes and to eights.",
)  # fmt: skip

# %% tags=["told"]
# Where the two mean pictures of the filter for left-hand or right-hand edges differ most.
row, column = divmod(int((eights - threes)[sideways].argmax()), 8)
tell(
    "Filter {k} answers more to 8s than to 3s above all in row {row} and column {column} of the 8 "
    "x 8 pixels (both counted from 0): on the left, where the 3 is open, as expected."
    if column < 4 else
    "Filter {k} answers more to 8s than to 3s above all in row {row} and column {column} of the 8 "
    "x 8 pixels (both counted from 0): not on the left, where it was expected.",
    k=sideways, row=row, column=column,
)  # fmt: skip

# %% [markdown]
# ## 7β · A CNN of four blocks for spectrograms
#
# > **Handout.** *Υλοποιήστε ένα δισδιάστατο CNN με 4 μπλοκ: συνέλιξη, batch normalisation, ReLU, max pooling· το
# > φασματογράφημα είναι εικόνα ενός καναλιού.* Write a 2D CNN of four such blocks; train on train + validation, report
# > on test (the result stands in 7ε).
#
# A spectrogram becomes an image of one channel, frequency up and time across. After the four blocks the time axis is
# averaged, so clips of any length fit. Frequency is *not* averaged: what is left of it goes into the linear layer.
#
# ```text
# [B, T, 128] --one channel--> [B, 1, 128, T]
#   --block 1--> [B,  16, 64, T/2 ]      each block: conv 3x3 --> batch norm --> ReLU --> max pool 2x2
#   --block 2--> [B,  32, 32, T/4 ]
#   --block 3--> [B,  64, 16, T/8 ]
#   --block 4--> [B, 128,  8, T/16] --mean over time--> [B, 128 x 8 = 1024] --Linear--> [B, 10]
# ```


# %% tags=["solution", "report"]
def block(before, after):
    """Convolution, batch norm, ReLU, max pooling: [B, before, F, T] -> [B, after, F/2, T/2]."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class CNN(nn.Module):
    """Four blocks over the spectrogram as an image, a mean over time, a score per class."""

    def __init__(self, n_classes):
        super().__init__()
        a, b, c, d = channels
        self.blocks = nn.Sequential(block(1, a), block(a, b), block(b, c), block(c, d))
        self.head = nn.Linear(d * 8, n_classes)  # 128 bands, halved four times: 8

    def forward(self, x):  # [B, T, 128]
        image = x.transpose(1, 2)[:, None]  # [B, 1, 128, T]
        image = self.blocks(image)  # [B, d, 8, T/16]
        summary = image.mean(-1)  # [B, d, 8]
        return self.head(summary.flatten(1))  # [B, n_classes]


# %% [markdown]
# Is it the kit's network? Give both the same weights and the same windows of four real clips. In training mode batch
# norm uses the statistics of this very batch, in evaluation mode its running averages: both must agree.


# %%
def new_cnn(n_classes, own_seed=seed):
    """The kit's CNN with fresh weights, and its description for the checkpoint."""
    spec = {
        "backbone": "cnn",
        "backbone_options": {"n_features": 128, "channels": channels, "kernel": kernel},
        "head": "classifier",
        "head_options": {"n_classes": n_classes},
    }
    seed_everything(own_seed)
    return models.build_model(spec), spec


splits = datasets.genre_splits(root / folders.GENRE, "mel", seed)
classes = splits.base.classes
kit, _ = new_cnn(len(classes))
own = CNN(len(classes))
own.blocks.load_state_dict(kit.backbone.blocks.state_dict())
_ = own.head.load_state_dict(kit.head.state_dict())

# %% tags=["solution"]
four_loader = datasets.make_loader(splits.train, 4, crop_frames=crop_frames, seed=seed)
x, _, lengths = next(iter(four_loader))  # [4, crop_frames, 128], [4]
own.train()
kit.train()
kit.backbone.dropout.eval()  # only the kit has dropout
agree("CNN, training", lambda: own(x), lambda: kit(x, lengths), tolerance=1e-4)
own.eval()
kit.eval()
agree("CNN, evaluation", lambda: own(x), lambda: kit(x, lengths), tolerance=1e-4)

# %% tags=["told"]
# Padding behind the windows: the plain network averages over it, too.
padded = nn.functional.pad(x, (0, 0, 0, 256))  # 256 frames of zeros behind each window
with torch.no_grad():
    plain_moves = (own(padded) - own(x)).abs().max()
    kit_moves = (kit(padded, lengths) - kit(x, lengths)).abs().max()
    spread = own(x).std()
tell(
    "With 256 frames of padding behind each window the plain network's scores, whose standard "
    "deviation is {spread:.3f}, move by up to {plain:.3f}, the kit's by {masked:.1g}.",
    spread=spread, plain=plain_moves, masked=kit_moves,
)  # fmt: skip

# %% [markdown]
# | what the kit adds | why | what it gains | where it stands |
# |---|---|---|---|
# | zeros behind each clip's end after every block, and a mean over real frames only | clips of a batch differ in length | the same answer for a clip in any batch (the numbers above) | `CNNBackbone.activations` |
# | dropout of 30 % before the head | few clips are soon learned by heart | less over-fitting | `CNNBackbone.forward` |
# | another order of the numbers in memory (`channels_last`), ReLU in place | convolutions read it faster, no copies | time and memory; the same values | `CNNBackbone.__init__` |
# | backbone and head apart | step 8 changes the head, step 9 keeps the backbone | one backbone for three tasks | `Classifier` |
# | an error for clips that are too short | four poolings need 16 frames | one clear line | `CNNBackbone.activations` |
#
# From here on the kit's version is used.

# %% [markdown]
# ### How many parameters, and how far does it see?
#
# A convolution from $C_{in}$ to $C_{out}$ channels with filters of $k \times k$ has $k^2 \, C_{in} \, C_{out}$ weights,
# batch norm two per channel, the head one per input and class and a bias per class. `bias=False`: batch norm subtracts
# each channel's mean, so a bias would be subtracted at once; its own shift does that work.
#
# The **[receptive field](../docs/glossary.md#receptive-field)** is the stretch of the input that one value after a block
# depends on. A convolution adds $(k - 1)$ steps to it, a pooling by $p$ adds $(p - 1)$ steps and makes every later step
# $p$ times as long:
#
# $$ r \leftarrow r + (k - 1)\,s + (p - 1)\,s, \qquad s \leftarrow p\,s, \qquad \text{beginning with } r = s = 1. $$
#
# **Predict.** Which of the four blocks has most of the parameters? How many frames does one value after block 4 see?
#
# <details><summary>What to expect, and why</summary>
# Block 4: the weights grow with the product of both channel numbers, so from block 3 on each block has four times as
# many as the one before. 46 frames for 3 x 3 filters: a value after block 1 sees 4, and every block doubles the step.
# </details>

# %% [markdown]
# ### Exercise 7.1 · The receptive field
#
# Write the rule above as a function: a loop over the blocks, with the size and the step.


# %% tags=["told"]
def check_receptive_field(field):
    """Says whether `field(n_blocks, kernel, pool)` counts right."""
    if field(0, 3, 2) is None:
        print("not written yet")
        return
    assert field(0, 3, 2) == 1, "without any block a value sees itself: 1"
    assert field(1, 3, 2) == 4, "one block: the filter sees 3, the pooling joins two of them: 4"
    assert field(2, 5, 2) == 16, "filters of 5: 1 + 4 + 1 = 6, then 6 + 4 * 2 + 2 = 16"
    assert field(4, 3, 2) == 46, "four blocks: 4, 10, 22, 46; does your step grow?"
    print("right: 46 frames after four blocks")


# %% tags=["exercise"]
def my_receptive_field(n_blocks, kernel=3, pool=2):
    """How many input frames one value after so many blocks depends on."""
    ...


check_receptive_field(my_receptive_field)


# %% tags=["solution", "folded"]
def receptive_field(n_blocks, kernel=3, pool=2):
    """How many input frames one value after so many blocks depends on."""
    size, step = 1, 1
    for _ in range(n_blocks):
        size += (kernel - 1) * step  # the convolution
        size += (pool - 1) * step  # the pooling
        step *= pool  # neighbours are now further apart
    return size


check_receptive_field(receptive_field)

# %% tags=["solution"]
# Block by block: the picture's size for one window, the parameters, and what one value sees.
with torch.no_grad():
    images = [image for image, _ in kit.backbone.activations(x[:1], lengths[:1])]
table = []
for number, image in enumerate(images, start=1):
    before = channels[number - 2] if number > 1 else 1
    n_channels, n_bands, n_frames = image.shape[1:]
    n_weights, sees = kernel**2 * before * n_channels, receptive_field(number, kernel)
    table.append([n_channels, n_bands, n_frames, n_weights, 2 * n_channels, sees])

# %% tags=["report", "told"]
# What one value sees is counted in frames; in bands it is as many.
columns = ["channels", "frequency", "time", "conv weights", "batch norm", "sees"]
sizes = pd.DataFrame(table, columns=columns, index=[f"after block {n}" for n in range(1, 5)])
record.save_table("sizes", sizes.reset_index(names="stage"))
caption = "Each block's output for one window, its parameters, and how many frames one value sees."
show_table(sizes, caption=caption)

# %% tags=["report", "told"]
# The sum by hand must be what PyTorch counts.
head = channels[-1] * 8 * len(classes) + len(classes)
by_hand = int(sizes["conv weights"].sum() + sizes["batch norm"].sum() + head)
assert by_hand == models.n_parameters(kit)
record.save_values(n_parameters=by_hand)
tell(
    "{n:,} parameters = {conv:,} (convolutions) + {norm:,} (batch norm) + {head:,} (head). One "
    "value after block 4 sees {frames} frames, which is {seconds:.2f} s, and {frames} of "
    "128 bands.",
    n=by_hand, conv=int(sizes["conv weights"].sum()), norm=int(sizes["batch norm"].sum()),
    head=head, frames=sees, seconds=sees * HOP_LENGTH / SAMPLE_RATE,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Why training on windows works.** Before the mean over time, no value has seen more than about a second. The network
# collects local evidence (a drum hit, a chord, a texture) and averages it. The mean over a window of a few seconds is a sample of
# the mean over the clip, so a network that learned on windows can be used on whole clips, and every epoch brings new
# windows. The price: it cannot know what happens *between* seconds, such as a chord sequence or a form. An LSTM could,
# in principle.

# %% [markdown]
# ## 7γ · What the four operations are
#
# > **Handout.** *Εξηγήστε τη λειτουργία των convolution, batch normalisation, ReLU και max pooling.* Explain the four
# > operations.

# %% [markdown] tags=["solution"]
# **[Convolution](../docs/glossary.md#convolution).** A small filter is slid over the picture. At each place it gives
# the weighted sum of what lies under it, over all input channels $c$: high where the picture looks like the filter.
#
# $$ y_o(i, j) = \sum_{c} \sum_{u=0}^{k-1} \sum_{v=0}^{k-1} w_{o,c}(u, v) \; x_c(i + u, j + v) $$
#
# The same $k^2 \, C_{in} \, C_{out}$ weights serve at all places. So a pattern is recognised wherever it occurs, and
# far fewer weights are needed than in a fully connected layer. (In mathematics this is a cross-correlation; a
# convolution there turns the filter around first.)
#
# **[Batch normalisation](../docs/glossary.md#batch-normalisation)** (Ioffe and Szegedy 2015). For each channel, the
# mean $\mu$ and the variance $\sigma^2$ over all clips of the batch and all places:
#
# $$ \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y = \gamma \hat x + \beta $$
#
# with a learned scale $\gamma$ and shift $\beta$ per channel. Later layers see inputs of a steady scale, so larger
# learning rates work. *In training* $\mu$ and $\sigma^2$ are the batch's own: a clip's values depend a little on its
# neighbours in the batch, a noise that regularises; with very small batches the noise becomes too large. *In
# evaluation* they are running averages, $m \leftarrow 0.9\, m + 0.1\, \mu$, kept in training: hence `model.eval()`
# before validation and `model.train()` after it.
#
# **[ReLU](../docs/glossary.md#relu).** $y = \max(0, x)$. Without something that is not linear, stacked convolutions
# would be one single convolution. Where $x > 0$ the gradient is 1: it does not shrink as a sigmoid's does. Where
# $x < 0$ both value and gradient are 0: the picture becomes *sparse*. A channel that is negative for every clip is a
# *dead unit*: it gets no gradient, and stays so.
#
# **Max pooling.** $y(i, j)$ is the largest of the square $x(2i, 2j) \ldots x(2i + 1, 2j + 1)$. It has no parameters.
# Half the size in each direction; the next filters see twice as far; *where* in the square the value stood is lost, so
# small shifts do not matter.

# %% [markdown]
# ### Exercise 7.2 · A convolution
#
# Two loops over the places, one sum inside. No border: a filter of 3 x 3 on a picture of 6 x 5 has 4 x 3 places.


# %% tags=["told"]
def check_convolution(function):
    """Holds `function(image, weight)` against PyTorch's."""
    picture, weight = torch.randn(6, 5), torch.randn(3, 3)
    got = function(picture, weight)
    if got is None:
        print("not written yet")
        return
    expected = nn.functional.conv2d(picture[None, None], weight[None, None])[0, 0]
    assert got.shape == expected.shape, f"the shape is {tuple(got.shape)}, not (4, 3)"
    turned = nn.functional.conv2d(picture[None, None], weight.flip(0, 1)[None, None])[0, 0]
    assert not torch.allclose(got, turned, atol=1e-5), "do not turn the filter around"
    assert torch.allclose(got, expected, atol=1e-5), "the shape is right, the sums are not"
    print("right: the same as PyTorch's")


# %% tags=["exercise"]
def my_convolution(image, weight):
    """The answer of one filter [k, k] at each place of a picture [H, W]: [H - k + 1, W - k + 1]."""
    ...


check_convolution(my_convolution)


# %% tags=["solution", "folded"]
def convolution(image, weight):
    """The answer of one filter [k, k] at each place of a picture [H, W]: [H - k + 1, W - k + 1]."""
    k = len(weight)
    answer = torch.zeros(image.shape[0] - k + 1, image.shape[1] - k + 1)
    for i in range(answer.shape[0]):
        for j in range(answer.shape[1]):
            answer[i, j] = (image[i : i + k, j : j + k] * weight).sum()
    return answer


check_convolution(convolution)


# %% [markdown]
# The three others, in a line or two each, and held against PyTorch's on the four real windows:


# %% tags=["solution"]
def batch_norm(x, gamma, beta):
    """Each channel of x [B, C, F, T] to mean beta and standard deviation gamma over the batch."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return gamma * (x - mean) / (variance + 1e-5).sqrt() + beta


def relu(x):
    """Negative values become 0."""
    return x * (x > 0)


def max_pool(x):
    """The largest value of each 2 x 2 square: [..., F, T] -> [..., F/2, T/2]."""
    pairs = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return torch.maximum(pairs[..., ::2], pairs[..., 1::2])


# %% tags=["solution"]
pictures = x.transpose(1, 2)[:, None]  # [4, 1, 128, crop_frames]
agree("batch norm", lambda: batch_norm(pictures, 2.0, 0.5),
      lambda: nn.functional.batch_norm(pictures, None, None, torch.tensor([2.0]),
                                       torch.tensor([0.5]), training=True), 1e-4)  # fmt: skip
agree("ReLU", lambda: relu(pictures), lambda: nn.functional.relu(pictures))
agree("max pooling", lambda: max_pool(pictures), lambda: nn.functional.max_pool2d(pictures, 2))

# %% [markdown]
# **One band through one block.** The filter below answers where it becomes louder from left to right: it finds onsets.
# The figure follows one band of a real clip for three seconds.

# %% tags=["solution", "report"]
onset_filter = torch.tensor([[-1.0, 0.0, 1.0]] * 3) / 6  # louder on the right than on the left
band, n_shown = 40, min(128, crop_frames - 2)
answer = convolution(pictures[0, 0], onset_filter)[:126, :n_shown]  # [126, n_shown]
normed = batch_norm(answer[None, None], 1.0, 0.0)
cut = relu(normed)
stages = {
    "spectrogram": pictures[0, 0, band + 1, 1 : n_shown + 1],
    "convolution": answer[band],
    "batch norm": normed[0, 0, band],
    "ReLU": cut[0, 0, band],
    "max pooling": max_pool(cut)[0, 0, band // 2],
}
record.show(
    plots.signals({name: row.numpy() for name, row in stages.items()},
                  "One mel band through the four operations", n_shown * HOP_LENGTH / SAMPLE_RATE),
    "four_operations",
    caption="One mel band step by step: spectrogram, convolution, batch normalisation, ReLU, max "
    "pooling.",
)  # fmt: skip

# %% [markdown] tags=["solution"]
# *Convolution*: where the sound becomes louder a peak, where it becomes softer a trough. The filter reads three bands, and
# the figure shows the middle one: on the demo set its fall at 1.6 s, which its neighbours do not share, leaves a small
# trough, and the peak at 1.3 s is theirs. *Batch norm*: the same curve; only the numbers on its axis change, because the
# scale of a *whole channel* is changed, not that of one band. *ReLU*: the troughs are gone. *Max pooling*: half as many
# values; each is the largest of two frames *and two bands*, so a peak may grow (1.3 s); its place is known half as well.

# %% [markdown]
# ## 7δ · `overfit_batch` on the CNN
#
# > **Handout.** *Εκπαιδεύστε το CNN με `overfit_batch`: σε 3-4 batches το σφάλμα εκπαίδευσης πρέπει να πάει στο 0.*
# > Over-train the CNN on 3-4 batches; the training loss must go to 0.
#
# As in 5β: four batches, one fixed window of each clip, no dropout, nothing hidden.
# A network that cannot learn these by heart has a bug. The criterion: a loss below 0.01.
#
# **Predict.** The first value of the loss, before anything is learned? (Ten classes.)
#
# <details><summary>What to expect, and why</summary>
# About ln 10 = 2.3: cross-entropy of a guess that gives each of the ten classes the probability 1/10. The first
# <em>epoch's</em> mean is a little below it, because the network learns during the epoch. A first loss of 20 would point to
# unscaled inputs.
# </details>

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
record.save_values(overfit_loss=overfit.train_loss, n_overfit_clips=len(few))

# %% tags=["report"]
# The criterion is marked; each step down the axis is a tenth of the loss.
n_passes = len(overfit.train_loss)
title = f"Four batches: a loss of {overfit.train_loss[-1]:.4f} after {n_passes} passes"
record.show(
    plots.curves({"training loss": overfit.train_loss}, title, "epoch", "loss",
                 {"0.01": 0.01}, first=1, yscale="log"),
    "overfit_batch", caption="Training loss of the CNN on four batches, on a logarithmic axis.",
)  # fmt: skip

# %% tags=["report", "told"]
# The answer of 7δ.
tell(
    "Yes: {passes} passes over four batches brought the training loss from {first:.2f} to "
    "{last:.4f}, below 0.01." if overfit.train_loss[-1] < 0.01 else
    "Not yet: {passes} passes over four batches brought the training loss from {first:.2f} to "
    "{last:.4f}, not below 0.01.",
    first=overfit.train_loss[0], last=overfit.train_loss[-1], passes=n_passes,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# So gradients arrive in all four blocks, and the network is large enough for these clips. It does *not* say that each
# label belongs to its clip (wrong labels can be learned by heart as well), nor that the network will do well on other
# clips: that is what validation is for.

# %% [markdown]
# ## 7ε · CNN on genre with mel spectrograms
#
# > **Handout.** *Εκπαιδεύστε το CNN για το είδος σε φασματογραφήματα mel και συγκρίνετε με το LSTM.* Train the CNN for
# > genre on mel spectrograms; compare with the LSTM on mel (5γ; the handout's text says 5α, a leftover of its older
# > edition).
#
# **The protocol.** The handout asks to train on train + validation and to report on test. But then nothing is left to
# choose the number of epochs with, and choosing it on the test set would be cheating. So, in two steps:
#
# 1. Fit on the training part, keep the epoch of the lowest validation loss: **CNN (train)**. Notebook 09 starts from
#    it.
# 2. Fit a new network on train + validation for just that many epochs: **CNN (train + validation)**. This one is
#    reported.
#
# In training each clip is a random window, another one every epoch, in which some bands and up to a tenth of the time
# are hidden ([SpecAugment](../docs/glossary.md#specaugment)): variety for a small set. Validation and test see whole
# clips.
#
# | choice | made by |
# |---|---|
# | four blocks of convolution, batch norm, ReLU and max pooling; train + validation for the final network | the handout |
# | filters of 3 x 3, 16 to 128 channels, Adam, warm-up, a validation set that chooses the number of epochs | convention |
# | scaling per band, windows of 3 to 12 s, SpecAugment | this kit, by habit: its benchmark on real music ([its tables](../docs/how_good_history.md)) shows neither gain nor harm of scaling and SpecAugment |

# %% [markdown]
# ### The question, asked before any test clip is looked at
#
# > **Does CNN (train) recognise more test clips than the LSTM on mel of 5γ?**
#
# Both had the same training clips, the same features and the same validation clips. One question, so no correction for
# several. It is judged by the mean over all trainings, and the first training of each is compared by hand. All other
# comparisons below are further ones, and are corrected by Holm's method. (Notebook 08 takes the LSTM of step 5 with the
# lowest validation loss, whatever it reads. Here both read the same, so that only the network differs.)
#
# **Predict.** Which of the two, and by how many of the test clips?
#
# <details><summary>What to expect, and why</summary>
# The CNN has the better prior for small data: the same filter at all times and at neighbouring frequencies, and far
# fewer steps between a sound and the loss. Public attempts at the lab's data agree (without intervals): CNNs 0.45 to
# 0.47, LSTMs on full mel 0.16 to 0.34. But on a small test set even a tenth more may not be clear.
# </details>

# %% tags=["solution"]
augmentation = {"crop_frames": crop_frames, "max_masked_bands": max_masked_bands}


def fit_on_train_part(number, after_epoch=None):
    """Training `number` on the train part; keeps the epoch of the lowest validation loss."""
    loaders = datasets.make_loaders(
        splits, batch_size, seed + number, **augmentation, device=compute
    )
    model, spec = new_cnn(len(classes), seed + number)
    history = training.train(
        model, *loaders[:2], epochs=epochs, learning_rate=learning_rate, patience=patience,
        device=compute, name=f"CNN {number + 1}, train part", after_epoch=after_epoch,
    )  # fmt: skip
    record.save_checkpoint(
        of_seed("cnn_mel_best", number), model, spec, feature="mel", scaler=splits.scaler,
        classes=classes, epoch=history.best_epoch, note="lowest validation loss",
    )  # fmt: skip
    return history, training.predict(model, loaders[2], compute).argmax(1)


# %% [markdown]
# ### A suspicion, to be tested in passing
#
# Validation losses of CNNs often jump up for an epoch while the training loss falls smoothly. A suspect is batch norm:
# in evaluation it uses *running averages*, and with few steps per epoch these still remember weights that are gone. The
# test: after every epoch of the first training, copy the network, compute the copy's means and variances anew from the
# training clips, and take the validation loss of both. If the averages lag, the copy's curve is smoother.


# %% tags=["solution"]
def with_new_statistics(model, loader):
    """A copy whose batch norms have the plain mean over these batches, not a running average."""
    renewed = copy.deepcopy(model).eval()
    for layer in renewed.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
            layer.train()  # only these: dropout stays off
    with torch.no_grad():
        for x, _, lengths in loader:
            renewed(x, lengths)
    return renewed


train_again, val_loader, _ = datasets.make_loaders(
    splits, batch_size, seed, **augmentation, device=compute
)
renewed_losses = []


def watch(model):
    """After an epoch: the validation loss with new statistics."""
    renewed = with_new_statistics(model, train_again)
    loss = training.evaluate_loss(renewed, val_loader, nn.CrossEntropyLoss(), compute)
    renewed_losses.append(loss)


# %% tags=["solution"]
# One training per seed. The first one's curve is shown, and its checkpoint is what 08 and 09 take.
trained = [fit_on_train_part(0, watch)]
# One after the other; with several GPUs, one on each (docs/many_gpus.md).
trained += one_per_gpu(fit_on_train_part, range(1, n_seeds), compute)
best_histories = [own_history for own_history, _ in trained]
answers = [predicted for _, predicted in trained]
of_all_seeds = {"cnn_mel_best": answers, "cnn_mel_refit": [], "lstm_mel_full": []}
history = best_histories[0]

# %% tags=["told"]
# Each training's kept epoch, with the validation loss it was kept for.
for number, own_history in enumerate(best_histories):
    tell(
        "seed {seed}: kept epoch {epoch} of {n}, validation loss {loss:.3f}",
        seed=seed + number,
        epoch=own_history.best_epoch,
        n=len(own_history.train_loss),
        loss=min(own_history.val_loss),
    )

# %% [markdown]
# Now the second network: all labelled clips, scaled by their own statistics, for as many epochs as its twin, the first
# of the trainings above, has kept.

# %% tags=["solution"]
everything = datasets.SpectrogramDataset(root / folders.GENRE, "train", "mel")
everything.scaler = datasets.BandScaler.fit(everything)
test = datasets.SpectrogramDataset(root / folders.GENRE, "test", "mel", scaler=everything.scaler)
test_loader = datasets.make_loader(test, batch_size, device=compute)
true = test.labels.numpy()


def fit_on_everything(number):
    """Training `number` on train + validation, for as many epochs as its twin has kept."""
    own_seed, n_epochs = seed + number, best_histories[number].best_epoch
    loader = datasets.make_loader(
        everything, batch_size, shuffle=True, seed=own_seed, **augmentation, device=compute
    )
    model, spec = new_cnn(len(classes), own_seed)
    own_history = training.train(
        model, loader, epochs=epochs, stop_after=n_epochs, learning_rate=learning_rate,
        device=compute, name=f"CNN {number + 1}, train + validation",
    )  # fmt: skip
    record.save_checkpoint(
        of_seed("cnn_mel_refit", number), model, spec, feature="mel",
        scaler=everything.scaler, classes=classes, epoch=n_epochs,
        note="train + validation, epochs from validation",
    )  # fmt: skip
    unseen = datasets.make_loader(test, batch_size, device=compute)
    return model, own_history, training.predict(model, unseen, compute).argmax(1)


# %% tags=["solution"]
# Several trainings of it only where time allows; the first one is looked into below.
refits = one_per_gpu(fit_on_everything, range(min(n_refits, n_seeds)), compute)
refit, refit_history, _ = refits[0]
of_all_seeds["cnn_mel_refit"] = [predicted for _, _, predicted in refits]

# %% [markdown]
# ### The curves, read aloud

# %% tags=["report"]
# The two validation curves have the same weights; only batch norm's means and variances differ.
record.show(
    plots.curves(
        {
            "training, CNN (train)": history.train_loss,
            "validation, batch norm's running averages": history.val_loss,
            "validation, statistics computed anew": renewed_losses,
            "training, CNN (train + validation)": refit_history.train_loss,
        },
        f"Training and validation loss; kept: epoch {history.best_epoch}", "epoch", "loss", first=1,
    ),
    "learning_curves",
    caption="Learning curves of the CNN, with the validation loss in two ways.",
)

# %% [markdown] tags=["solution"]
# **Read aloud, on the demo set:**
#
# - *The training loss falls, and the validation loss falls with it.* Hardly a gap opens between the two: windows,
#   hidden bands and dropout keep the network from learning these clips by heart, at least for so few epochs. (The
#   training loss is even a little too high: it is measured with dropout and hidden bands, the validation loss without.)
# - *The kept epoch is one of the last.* Is the network under-trained? The curve cannot say: the learning rate falls along
#   a half cosine that ends with the last epoch, so the last steps are tiny and the curve flattens in any case. More epochs
#   would mean *another*, longer cosine: a parameter, not a continuation. CNN (train + validation) runs on the same cosine
#   and stops where its twin was kept.
# - *The validation loss does not fall all the time.* The third curve shows how far batch norm's averages are to blame.

# %% tags=["appendix", "told"]
# All rises from one epoch to the next, added up.
curves = history.val_loss, renewed_losses
rose, left = (float(np.clip(np.diff(losses), 0, None).sum()) for losses in curves)
tell(
    "After epoch 1 the validation loss is {averages:.2f} with the running averages and {anew:.2f} "
    "with statistics computed anew; in the last three epochs the two differ by at most "
    "{late:.3f}. All rises of the averages' curve add up to {rose:.2f}, those of the other to "
    "{left:.2f}.",
    averages=history.val_loss[0], anew=renewed_losses[0], rose=rose, left=left,
    late=np.abs(np.subtract(*curves))[-3:].max(),
)  # fmt: skip
tell(
    "**Verdict on the suspicion.** In this training the validation loss never rises."
    if rose == 0 else
    "**Verdict on the suspicion.** The averages lag: with statistics of the present weights the "
    "rises add up to less than half." if left < rose / 2 else
    "**Verdict on the suspicion.** With statistics of the present weights the rises add up to at "
    "least half as much: so much of them is the weights' own."
)  # fmt: skip

# %% [markdown] tags=["solution"]
# *What follows.* An epoch whose validation loss rises is not yet a bad network: its averages may be old. With few steps
# per epoch the effect is larger: a running average keeps $0.9^{15} = 21\,\%$ of what it was 15 steps ago, and one epoch
# here has 15 steps. In notebooks 08 to 10 it has 13, and 08 provokes a jump that is larger. Early stopping with patience
# is the usual answer, and a learning rate that falls.

# %% [markdown]
# ### On the test set: the question
#
# The LSTM of 5γ, as often as it was trained there, on the same test clips.

# %% tags=["solution"]
# Each LSTM sees the test clips on the scale it was trained on.
for number in range(record.load_value("05_lstm", "n_seeds")):
    lstm = record.load_checkpoint(
        "05_lstm", of_seed("lstm_mel_full", number), head="classifier", feature="mel",
        classes=classes,
    )  # fmt: skip
    clips = datasets.SpectrogramDataset(root / folders.GENRE, "test", "mel", scaler=lstm.scaler)
    loader = datasets.make_loader(clips, batch_size, device=compute)
    of_all_seeds["lstm_mel_full"].append(training.predict(lstm.model, loader, compute).argmax(1))
predictions = {name: outputs[0] for name, outputs in of_all_seeds.items()}

# %% [markdown]
# **By hand, for the first training of each.** A clip that both recognise, or neither, says nothing about which is
# better. What counts are the clips that only one of them recognises:

# %% tags=["solution", "appendix"]
# Four counts that add up to the number of test clips.
cnn_right = predictions["cnn_mel_best"] == true
lstm_right = predictions["lstm_mel_full"] == true
counts = [
    [(cnn_right & lstm_right).sum(), (cnn_right & ~lstm_right).sum()],
    [(~cnn_right & lstm_right).sum(), (~cnn_right & ~lstm_right).sum()],
]
two_by_two = pd.DataFrame(counts, ["CNN right", "CNN wrong"], ["LSTM right", "LSTM wrong"])
show_table(two_by_two, caption="How many test clips CNN (train) and the LSTM on mel recognise.")

# %% [markdown]
# **The exact [McNemar test](../docs/glossary.md#mcnemar-test)** (McNemar 1947). If the two were equally good, each clip
# that only one recognises would be a coin toss between them. With $b$ clips for the CNN alone and $c$ for the LSTM
# alone, $b$ then follows a binomial distribution with $n = b + c$ and probability ½. The p-value is the probability of
# a result at least as uneven:
#
# $$ p = P\left(\,|X - \tfrac{n}{2}| \ge |b - \tfrac{n}{2}|\,\right), \qquad X \sim \mathrm{Bin}(n, \tfrac12) $$

# %% [markdown]
# ### Exercise 7.3 · McNemar's test
#
# `binomtest(k, n, 0.5).pvalue` of SciPy gives the p-value of $k$ heads in $n$ tosses. What if $n$ is 0?


# %% tags=["told"]
def check_mcnemar(test):
    """Says whether `test(only_first, only_second)` gives the exact two-sided p-value."""
    if test(5, 5) is None:
        print("not written yet")
        return
    assert abs(test(5, 5) - 1) < 1e-9, "5 against 5 is as even as can be: p is 1"
    assert abs(test(0, 6) - 2 / 64) < 1e-9, "6 tosses, all alike: 2 of 64 outcomes"
    assert abs(test(6, 0) - test(0, 6)) < 1e-9, "the order must not matter: two-sided"
    assert abs(test(10, 23) - 0.0351) < 1e-3, "10 against 23: p is 0.035"
    assert test(0, 0) == 1, "they never differ: p is 1"
    print("right: 10 against 23 clips has p = 0.035")


# %% tags=["exercise"]
def my_mcnemar(only_first, only_second):
    """The p-value for two counts of clips that only one of two classifiers recognises."""
    ...


check_mcnemar(my_mcnemar)


# %% tags=["solution", "folded"]
def mcnemar(only_first, only_second):
    """The p-value for two counts of clips that only one of two classifiers recognises."""
    n = int(only_first + only_second)
    if n == 0:
        return 1.0  # they never differ
    return binomtest(int(only_first), n, 0.5).pvalue


check_mcnemar(mcnemar)

# %% tags=["solution", "appendix"]
# The same for each training: how much does the answer depend on the seed?
rows = []
both = zip(of_all_seeds["cnn_mel_best"], of_all_seeds["lstm_mel_full"], strict=False)
for cnn, lstm_answers in both:
    only_cnn = ((cnn == true) & (lstm_answers != true)).sum()
    only_lstm = ((cnn != true) & (lstm_answers == true)).sum()
    rows.append([only_cnn, only_lstm, mcnemar(only_cnn, only_lstm)])
by_seed = pd.DataFrame(rows, columns=["only CNN", "only LSTM", "p (McNemar)"])
by_seed.index = [f"seed {seed + number}" for number in by_seed.index]
show_table(by_seed, caption="McNemar's test for each training.")

# %% [markdown]
# Each row is as good an answer as the others, and the p-values differ because the networks do. Whoever trains once
# draws one of these rows by chance, and reports it. So the verdict is on the mean over all trainings: clip by clip,
# which share of the CNNs recognises it, and which share of the LSTMs (a paired permutation test, as in notebook 06).

# %% tags=["solution"]
question = ("cnn_mel_best", "lstm_mel_full")
mean_gain = evaluation.compare_accuracy(
    true, of_all_seeds["cnn_mel_best"], of_all_seeds["lstm_mel_full"], seed
)

# %% tags=["report", "told"]
# Clear: the interval leaves out 0 and p is below 0.05.
gain, p_first = mean_gain.difference, float(by_seed["p (McNemar)"].iloc[0])
record.save_values(mcnemar_p=p_first)
template = (
    "**Verdict.** The CNN recognises more test clips than the LSTM: {gain:+.3f} in accuracy, mean "
    "over {n} and {m} trainings (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f}; McNemar's p "
    "of the first ones is {first:.3f})." if mean_gain.clear and gain.value > 0 else
    "**Verdict.** The CNN recognises fewer test clips than the LSTM: {gain:+.3f} in accuracy, mean "
    "over {n} and {m} trainings (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f}; McNemar's p "
    "of the first ones is {first:.3f})." if mean_gain.clear else
    "**Verdict.** These clips cannot tell: the CNN differs from the LSTM by {gain:+.3f} in "
    "accuracy, mean over {n} and {m} trainings (95 % interval {low:+.3f} to {high:+.3f}, p = "
    "{p:.3f}; McNemar's p of the first ones is {first:.3f})."
)  # fmt: skip
n, m = mean_gain.n_trainings
tell(template, gain=gain.value, low=gain.low, high=gain.high, p=mean_gain.p_value, first=p_first,
     n=n, m=m)  # fmt: skip
tell(
    "With {n} test clips the interval reaches about {half:.2f} to either side: a smaller "
    "difference could not be seen here.",
    n=len(true), half=(gain.high - gain.low) / 2,
)  # fmt: skip

# %% [markdown]
# ### Beside both SVMs and the majority, and the further comparisons
#
# The humble SVM knows per-band statistics, the hand-made one the twelve groups of notebook 06. Where a network and an SVM err on
# different clips, a mixture can be better than either. So one is named beforehand, too: the mean of the probabilities of the CNN and of
# the hand-made SVM. (An SVM has scores; how surely they are read as probabilities is chosen by their likelihood in the same inner
# cross-validation as C.)

# %% tags=["solution"]
# The baselines, trained on train + validation like the second CNN.
labels, artists = everything.labels.numpy(), datasets.artists_in(everything)
probabilities = {}
for name, numbers_of in (("mel", baselines.band_statistics), ("hand", handmade.features)):
    machine = baselines.fitted_svm(numbers_of(everything), labels, seed, artists)
    probabilities[name] = machine(numbers_of(test))  # [n, C]
    predictions[f"svm_{name}_refit"] = probabilities[name].argmax(1)
cnn = softmax(training.predict(refit, test_loader, compute), axis=1)
predictions["cnn_and_hand"] = (cnn + probabilities["hand"]).argmax(1)
predictions["majority_full"] = baselines.majority_predictions(labels, len(test))

# %% tags=["solution", "report"]
# Accuracy and macro F1, each with its 95 % interval over the clips.
scores = {
    name: evaluation.classification_scores(true, predicted, len(classes), seed)
    for name, predicted in predictions.items()
}
for name, own_scores in scores.items():
    feature = "none" if "majority" in name else "hand-made" if "hand" in name else "mel"
    record.add_scores(name, feature, "genre test (full)", own_scores, len(true))
shown = pd.DataFrame(scores).T[["accuracy", "macro F1"]].rename(name_of)
show_table(shown, caption="First training of each model on the full test set, 95 % intervals.")

# %% tags=["solution", "appendix"]
# Seven further comparisons: corrected, because they are several.
outputs = predictions | of_all_seeds
rivals = ("lstm_mel_full", "cnn_mel_best", "svm_mel_refit", "svm_hand_refit")
pairs = [("cnn_mel_refit", rival) for rival in rivals] + [("svm_hand_refit", "svm_mel_refit")]
pairs += [("cnn_and_hand", member) for member in ("cnn_mel_refit", "svm_hand_refit")]
further = {
    (first, second): evaluation.compare_accuracy(true, outputs[first], outputs[second], seed)
    for first, second in pairs
}
compared = {question: mean_gain} | evaluation.holm(further)
named = {(name_of(a), name_of(b)): result for (a, b), result in compared.items()}
caption = "Paired differences in accuracy with 95 % intervals."
record.show(plots.differences(named, "accuracy"), "differences", caption=caption)
tell_comparisons(dict([*named.items()][1:]), "accuracy")  # the first one has its verdict above

# %% [markdown]
# The figure's first row is the question; its p-value stands alone. The others are corrected by Holm's method. An *interval*
# is always that of one comparison alone: so an interval may leave out 0 and its dot still be open, because the
# corrected p-value is above 0.05. CNN (train + validation) had the validation clips in addition to what the LSTM and
# CNN (train) learned from; both SVMs had the same clips as it.

# %% [markdown]
# ### What it takes for what

# %% tags=["report"]
# Rows are the true classes, columns what they are taken for.
report = evaluation.report_table(true, predictions["cnn_mel_refit"], classes)
record.save_table("report_cnn_mel_refit", report.reset_index(names="class"))
show_table(report, caption="CNN (train + validation) on test (`classification_report`).")
confusions = evaluation.confusion_counts(true, predictions["cnn_mel_refit"], len(classes))
record.show(
    plots.confusion_matrix(confusions, classes, "CNN (train + validation): what is taken for what"),
    "confusion_cnn", caption="Confusion matrix of CNN (train + validation) on the test set.",
)  # fmt: skip

# %% tags=["report", "told"]
# The three most frequent errors.
errors = confusions - np.diag(np.diag(confusions))
pairs = [divmod(int(place), len(classes)) for place in errors.ravel().argsort()[::-1][:3]]
taken = [
    Sentence("{true} called {other} ({n} of {all} clips)", true=classes[i], other=classes[j],
             n=int(errors[i, j]), all=int(confusions[i].sum()))
    for i, j in pairs if errors[i, j]
]  # fmt: skip
recall = report["recall"][: len(classes)]
tell(
    "{model}: most frequent errors: {taken}. Lowest recall: {hardest}, {recall:.0%}.",
    model=name_of("cnn_mel_refit"), taken=taken, recall=recall.min(),
    hardest=recall.index[recall == recall.min()].tolist(),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Read on the demo set.** Compare the rows with the numbers of clips: one clip of ten is a tenth.
#
# - *The errors stay among neighbours.* Metal and Rock share distorted guitars and loud drums; Pop, Electronic and
#   Hip-Hop share drum machines. The demo set's styles borrow from such neighbours on purpose, as music does.
# - *Blues is the hard class.* Its guitars, pianos and organs occur in Folk, Rock and Jazz, too. What makes it Blues is
#   a shuffle and twelve bars of harmony, and twelve bars last half a minute, while one value of this network sees a
#   second. That is a guess, but one that can be tested: a network with a larger receptive field should find more of it.
# - *Precision beside recall* says in which way a class fails: found too rarely (low recall), or named too often (low
#   precision).

# %% [markdown]
# ### What the four blocks see

# %% tags=["appendix"]
# Low frequencies at the bottom. In the first two rows channel k stands below filter k.
clip, label, n_frames = test[0]
with torch.no_grad():
    blocks = refit.cpu().eval().backbone.activations(clip[None], torch.tensor([n_frames]))
stages = {"filter": refit.backbone.blocks[0][0].weight[:, 0].detach().flip(1)}
for number, (image, _) in enumerate(blocks, start=1):
    n_channels = image.shape[1]
    stages[f"block {number}\n({min(8, n_channels)} of {n_channels})"] = image[0].flip(1)
title = f"From lines to textures: a {classes[int(label)]} clip inside the CNN"
record.show(
    plots.maps(stages, title), "cnn_activations",
    caption="The first filters of the CNN and a test clip inside it, block by block.",
)  # fmt: skip

# %% tags=["told"]
# Every fifth test clip, so all classes: how sparse is each block, and is a channel dead?
some = torch.utils.data.Subset(test, range(0, len(test), 5))
x, _, lengths = next(iter(datasets.make_loader(some, len(some))))
with torch.no_grad():
    images = [image for image, _ in refit.backbone.activations(x, lengths)]
zeros = [float((image == 0).float().mean()) for image in images]
n_dead = sum(int((image.amax((0, 2, 3)) == 0).sum()) for image in images)
tell(
    "After max pooling {first:.0%} of the values of block 1 are 0, and {last:.0%} of block 4. Dead "
    "channels (0 at every place of {n} clips): {dead} of {of}.",
    first=zeros[0], last=zeros[-1], n=len(x), dead=n_dead, of=sum(channels),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Read on the demo set, from top to bottom.** *Block 1* still draws the spectrogram: some channels show the horizontal
# lines of tones, others the thin vertical lines of drum hits, depending on the filter above them. *Blocks 2 and 3* are
# coarser in time and choosier in frequency: channels that are dark but for the low bands, others striped in the high
# ones, where cymbals are. *Block 4* has eight rows of frequency left; a channel there is on for a texture in one
# region, or off for the whole clip. Nothing looks like a clip any more: what counts is how much of each channel there
# is, per row, on average over time. The 3 x 3 filters by themselves tell little; their answers do.

# %% [markdown]
# ### Which second and which band made the decision?
#
# *Occlusion* (Zeiler and Fergus 2014): hide one patch of the picture, look how far the answer's score falls, take the
# next patch. Where hiding costs most, the network had its reasons.


# %% tags=["solution"]
def occlusion(model, clip, answer, bands=16, frames=86):
    """How far the log-probability of class `answer` falls when a patch of clip [T, 128] is 0."""
    n_rows, n_columns = 128 // bands, max(1, len(clip) // frames)
    hidden = clip.repeat(n_rows * n_columns, 1, 1)
    for number in range(len(hidden)):
        row, column = divmod(number, n_columns)
        hidden[number, column * frames : (column + 1) * frames, row * bands : (row + 1) * bands] = 0
    lengths = torch.full((len(hidden),), len(clip))
    with torch.no_grad():
        whole = model(clip[None], lengths[:1]).log_softmax(1)[0, answer]
        parts = zip(hidden.split(16), lengths.split(16), strict=True)
        logits = torch.cat([model(part, n) for part, n in parts])
    drops = whole - logits.log_softmax(1)[:, answer]
    return drops.reshape(n_rows, n_columns).numpy()


# %% tags=["appendix"]
# A test clip that can be heard, where there is one (only the demo set keeps audio).
heard = set(folders.audio_clips(root))
number = next((n for n, name in enumerate(test.ids) if name in heard), 0)
clip, label, _ = test[number]
answer = int(predictions["cnn_mel_refit"][number])
drops = occlusion(refit, clip, answer)  # [8, 15] patches of 16 bands and 2 s
by_band = occlusion(refit, clip, answer, frames=len(clip))[:, 0]  # 16 bands, the whole clip
by_time = occlusion(refit, clip, answer, bands=128)[0]  # 2 s, all bands
decibels = clip.numpy() * everything.scaler.deviation + everything.scaler.mean  # [T, 128]
title = f"A {classes[int(label)]} clip: what made it {classes[answer]}?"
record.show(
    plots.patch_values(decibels.T, drops, title, "fall of the log-probability", signed=True),
    "occlusion",
    caption="Occlusion: how far the CNN's answer loses log-probability when a patch is hidden.",
)  # fmt: skip

# %% tags=["appendix", "told"]
# Rows of bands for the whole clip, and stretches of 2 s in all bands, hidden one at a time.
with torch.no_grad():
    probabilities = refit(clip[None], torch.tensor([len(clip)])).softmax(1)[0]
most, least = int(by_band.argmax()), int(by_band.argmin())
tell(
    "Clip {clip} is {true}; the CNN gives {answer} {p:.0%} and {true} {q:.0%}. Hidden for the "
    "whole clip, bands {low} to {high} change the log-probability of {answer} by {fall:+.2f}, "
    "bands {low2} to {high2} by {rise:+.2f}. No 2 s that are hidden in all bands change it by more "
    "than {time:.2f}.",
    clip=test.ids[number], true=classes[int(label)], answer=classes[answer],
    p=probabilities[answer], q=probabilities[int(label)], low=16 * most, high=16 * most + 15,
    fall=-by_band[most], low2=16 * least, high2=16 * least + 15, rise=-by_band[least],
    time=np.abs(by_time).max(),
)  # fmt: skip
if test.ids[number] in heard:
    play(folders.audio_path(root, test.ids[number]))

# %% [markdown] tags=["solution"]
# **How to read it.** Violet: without this patch the CNN would be less sure of its answer; orange: surer. On the demo
# set the clip is a close call. The two highest rows, where cymbals are, speak for the answer all the time, bands 96 to
# 111 most; the rows below say little, the bass and, in places, a row in the middle a little against it. *No second
# decides*: the network takes the mean over the clip, so each stretch of 2 s has a fifteenth of the say, and what decides
# is what a band does all the time. Play the clip and listen for the cymbals. Two cautions. A hidden patch is set to 0,
# the band's usual level: that is itself a sound the network may judge. And the sum of the patches is not the decision:
# what two patches say together is not seen when one of them is hidden.

# %% [markdown] tags=["extra"]
# ### Try it: what is near to what
#
# Before its last layer, the CNN turns each clip into one vector. Two clips whose vectors point in the same direction
# (cosine near 1) are alike *to the network*. No entry of these vectors is negative, so clips that are not alike have a
# cosine well above 0, too: the mean over all pairs is the yardstick. Choose a clip and see which ones are nearest to
# it, and what the network says of it. The clips are those of validation, which the network was not fitted to; the
# first one shown is its most confident error.
#
# *Try* a clip that was recognised and one that was not: the menu says what each was taken for. *Look for* what the
# nearest clips have in common with it in the picture: the bass, the density of onsets, a loud or a quiet recording. Do
# they share its genre, or only its sound? Would you have made the same mistake?

# %% tags=["extra"]
best_cnn = record.load_checkpoint(notebook, "cnn_mel_best").model
explorers.neighbours(record, best_cnn, splits.val, batch_size, compute)


# %% [markdown] tags=["extra"]
# ## Change this and run again
#
# Here the largest value over time replaces the mean: does it matter more *that* a pattern occurs than how often? Try a
# kernel of 5, or another idea. Compare on **validation**, never on test.


# %% tags=["extra"]
class MyCNN(models.CNNBackbone):
    """A CNN whose last step you can change."""

    def forward(self, x, lengths):
        """[B, T, F] -> [B, out_features]: the maximum over time instead of the mean."""
        image, _ = self.activations(x, lengths)[-1]
        return self.dropout(image.amax(-1).flatten(1))


train_loader, val_loader, _ = datasets.make_loaders(
    splits, batch_size, seed, **augmentation, device=compute
)
trial_epochs = max(1, epochs // 5)
seed_everything(seed)
mine = models.Classifier(MyCNN(128, channels, kernel), len(classes))
trial = training.train(  # on the learning rates of the CNN above, ended early
    mine, train_loader, val_loader, epochs=epochs, stop_after=trial_epochs,
    learning_rate=learning_rate, patience=epochs, device=compute, name="my CNN",
)  # fmt: skip
print(f"my CNN after {len(trial.train_loss)} epochs: validation loss {min(trial.val_loss):.3f}; "
      f"the CNN above after as many: {min(history.val_loss[:trial_epochs]):.3f}")  # fmt: skip

# %% [markdown] tags=["extra"]
# ## Two GPUs
#
# The same file trains each of its networks on several GPUs together, every process on its own share of the batches:
#
# ```bash
# torchrun --standalone --nproc_per_node=2 py/07_cnn.py
# ```
#
# With a `!` before it, this is a cell of a Kaggle notebook with *GPU T4 x2*. What the processes share, and why the batch
# is then twice as large: [one GPU, two GPUs](../docs/many_gpus.md).

# %% [markdown]
# ## What we learned

# %% tags=["told"]
# The mean over the trainings, where there are several.
means = {
    name: np.mean([np.mean(predicted == true) for predicted in of_all_seeds[name]])
    for name in question
}
tell(
    "On the test clips of this run CNN (train) recognises {cnn:.0%} and the LSTM {lstm:.0%} (means "
    "over their trainings), CNN (train + validation) {refit:.0%}, the SVM {svm:.0%}, the hand-made "
    "SVM {hand:.0%}, the CNN and the hand-made SVM averaged {both:.0%}, the largest class "
    "{majority:.0%}.",
    cnn=means["cnn_mel_best"], lstm=means["lstm_mel_full"],
    refit=scores["cnn_mel_refit"]["accuracy"].value, svm=scores["svm_mel_refit"]["accuracy"].value,
    hand=scores["svm_hand_refit"]["accuracy"].value, both=scores["cnn_and_hand"]["accuracy"].value,
    majority=scores["majority_full"]["accuracy"].value,
)  # fmt: skip

# %% [markdown]
# - A CNN is four blocks of four lines and a mean. One value after them sees a second of music: local evidence,
#   averaged.
# - Batch norm behaves differently in training and in evaluation, and its averages can lag: a jump of the validation
#   loss is not always the weights'.
# - A question that is named before the test set is opened needs no correction; further ones do.
# - Where a network and a machine on hand-made numbers err on different clips, a mean of both can be better than either;
#   the comparison above says whether it is.
# - Another seed is another network: McNemar's p differs from training to training. A verdict needs several.
#
# **Check yourself**
#
# <details><summary>Why is the order conv, BN, ReLU and not conv, ReLU, BN?</summary>
# Batch norm centres the values around 0, so that ReLU cuts about half of them. The other way round it would normalise
# values that are already cut, and the handout asks for this order.
# </details>
#
# <details><summary>ReLU and max pooling: would it change the result to swap these two?</summary>
# No. The largest of four values, cut at 0, is the same as the largest of four values that were cut at 0. Pooling first
# would even be cheaper: ReLU would have a quarter of the values to look at.
# </details>
#
# <details><summary>What would happen on the validation set without <code>model.eval()</code>?</summary>
# Dropout would go on switching units off, and batch norm would use (and update) statistics of the validation batches:
# worse and noisy scores, and a network that has seen validation data.
# </details>
#
# <details><summary>Why does the convolution have no bias here?</summary>
# Batch norm subtracts the mean of each channel, and a bias is part of that mean: it would be subtracted at once. The
# shift of batch norm takes its place.
# </details>
#
# <details><summary>Filters of 5 x 5 in place of 3 x 3: how many weights, and how far does a value see?</summary>
# 25/9 times as many: 96,912 becomes 269,200. The receptive field grows from 46 to 76 frames: each block adds 4 steps
# for the filter and 1 for the pooling, at steps of 1, 2, 4 and 8.
# </details>
#
# <details><summary>Of 33 clips that only one network recognises, it is 23 to 10. And 16 to 17?</summary>
# 23 against 10 has p = 0.035: uneven for fair coins. 16 against 17 has p = 1: no result could be more even. That both
# recognise 80 clips more changes neither.
# </details>
#
# <details><summary>Why may CNN (train + validation) not be compared with the LSTM without a remark?</summary>
# It was trained on the validation clips as well. Part of the difference may come from more data, not from the
# architecture.
# </details>

# %% tags=["stored"]
# For whoever wants to look at single clips.
record.save_values(n_seeds=n_seeds, kept_epoch=history.best_epoch, n_epochs=len(history.val_loss))
record.save_values(n_train=len(splits.train), n_everything=len(everything))
for name, predicted in predictions.items():
    record.save_predictions(f"test_{name}", test.ids, predicted, ["class"])
majority = scores["majority_full"]["accuracy"].value
reported = scores["cnn_mel_refit"]["accuracy"].value
record.finish(key_metric=f"CNN: accuracy {reported:.2f} (majority {majority:.2f})")
