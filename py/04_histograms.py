# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · The Dataset, the classes, and how many clips they have
#
# **What you will learn**
# - what a PyTorch Dataset returns, and how clips of unequal length become one padded and masked batch
# - why padding decibels with 0 paints noise over the end of every clip, measured
# - how merging and dropping genres changes the task, and whether the reasons given for it hold
#
# **Needs** the data only (notebook 00). **Leaves** the counts per class, the score that needs no learning at all, and the
# statistics of the affect labels.
#
# **Takes** about ten seconds on the demo set with two CPU cores. With the lab's data: some ten times as long the first time, when the features are packed.
#
# **The one insight:** count before you train. The counts say what accuracy is worth, and they check what you were told.

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
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Subset

from helpers import baselines, datasets, evaluation, folders, models, plots
from helpers.machinery.files import LabError
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, show_source, show_table, tell, tell_list

notebook = "04_histograms"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"; nothing is trained on it here
seed = 0
batch_size = 32  # clips per batch

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 4α · What the Dataset returns
#
# A PyTorch `Dataset` answers two questions: how many samples there are (`__len__`), and what sample number i is (`__getitem__`).
# Ours returns three things for a clip:
#
# - its **frames**, an array `[T, F]`: a row per time step, as sequence models want it (on disk it is `[140, T]`)
# - its **label**: a class number, or the values of one or several affect axes
# - its **length** T, because a batch is padded and somebody has to know where the padding begins

# %%
show_source(datasets.SpectrogramDataset.__getitem__)
show_source(datasets.SpectrogramDataset.frames)

# %% tags=["solution"]
# The beat-synchronous training clips, as they are on disk (in dB).
clips = datasets.SpectrogramDataset(root / folders.GENRE_BEAT, "train", "mel")
frames, label, length = clips[0]
print(f"{len(clips)} clips of {len(clips.classes)} classes: {', '.join(clips.classes)}")
print(f"clip 0 ({clips.ids[0]}): frames {tuple(frames.shape)}, length {length}", end=", ")
print(f"label {int(label)} = {clips.classes[label]}")
for feature in datasets.FEATURE_ROWS:
    other = datasets.SpectrogramDataset(root / folders.GENRE_BEAT, "train", feature)
    print(f"feature {feature}: frames {tuple(other[0][0].shape)}")

# %% [markdown]
# Nothing was read into memory for this: all clips of a folder lie in one packed array on disk (float16), and an item is a
# slice of it.

# %% [markdown]
# ### A batch: padding and mask
#
# A `DataLoader` asks for several items and joins them into a [batch](../docs/glossary.md#batch). Clips differ in length, so the shorter ones are [padded](../docs/glossary.md#padding) at the end up to the longest
# *of the batch*. A [mask](../docs/glossary.md#mask) made from the lengths says which frames are real. `pad_batch` below is the plain way to do it. The loaders of
# this kit (`datasets.make_loader`) give the same batches, cut out of the packed features all at once, which is faster; and where they
# shuffle, they put clips of similar length together, so that less is padding.

# %%
show_source(datasets.pad_batch)

# %% tags=["solution"]
splits = datasets.genre_splits(root / folders.GENRE_BEAT, "mel", seed)  # scaled per band
x, y, lengths = next(iter(datasets.make_loader(splits.train, batch_size)))
mask = models.time_mask(lengths, x.shape[1])
print(f"x {tuple(x.shape)}, y {tuple(y.shape)}, lengths {lengths.min()} to {lengths.max()}")
tell(
    "In this batch {share:.0%} of the frames are padding; the largest absolute value in them is "
    "{largest:.0f}, and {n_real} frames are real.",
    share=(~mask).float().mean(), largest=x[~mask].abs().max() if (~mask).any() else 0,
    n_real=int(mask.sum()),
)  # fmt: skip


# %% tags=["solution"]
def padding_share(loader):
    """The share of padding among all frames of an epoch."""
    sizes = [(x.shape[0] * x.shape[1], int(lengths.sum())) for x, _, lengths in loader]
    padded, real = (sum(column) for column in zip(*sizes, strict=True))
    return 1 - real / padded


in_order, shuffled = (
    padding_share(datasets.make_loader(splits.train, batch_size, shuffle=shuffle, seed=seed))
    for shuffle in (False, True)
)
tell(
    "Over an epoch, {in_order:.0%} is padding when the clips come in the order of the label file, "
    "{shuffled:.0%} when they are shuffled into batches of similar length.",
    in_order=in_order,
    shuffled=shuffled,
)

# %% [markdown]
# ### A part of it: `Subset`
#
# `Subset` is a Dataset that passes on some samples of another one. It costs nothing, and serves twice: to split off a validation
# set, and to debug on a few clips, so that a mistake shows after seconds.

# %%
few = Subset(clips, range(min(8, len(clips))))
few_labels = datasets.labels_of(few)
print(f"{len(few)} of {len(clips)} clips, labels {few_labels.tolist()}")

# %% [markdown]
# The labels show a trap: the label file is sorted by genre, so the first clips are all of one class. Always shuffle, or pick at random,
# before you take a part.

# %% [markdown]
# ### How the course's Dataset differs
#
# | | the course's Dataset | ours |
# |---|---|---|
# | padding | 0, on raw dB, where 0 is the **loudest** value | [scaled](../docs/glossary.md#scaling) per band first; then 0 is "as usual", and it is masked |
# | length | the longest clip **of its split**, so train and test differ in shape | the longest clip of the batch; any model takes any length |
# | affect axis | chosen by a column number that is tested for truth: **number 0 means "genre"** | chosen by name: `axes="valence"` |
# | class numbers | found anew from the labels of each split | from the training labels, for both splits |
# | validation part | drawn at random, whatever the class | stratified: the same mixture in each part |
# | memory | every array of the folder, once per feature, as float64 | one file on disk for all features, as float16 |

# %% [markdown]
# **Padding with 0 dB, measured.** We pad raw clips as the course does, to the longest clip of the split, and look at the padded frames.

# %% tags=["solution"]
raw = [torch.from_numpy(clips.frames(i)) for i in range(len(clips))]  # dB, no scaler set
padded = torch.nn.utils.rnn.pad_sequence(raw, batch_first=True)  # with 0, to the longest clip
real = models.time_mask(torch.from_numpy(clips.lengths), padded.shape[1])
level = padded.mean(2)  # one number per frame, [clips, T]
scaled = (padded - torch.from_numpy(splits.scaler.mean)) / torch.from_numpy(splits.scaler.deviation)

loudest = level > level[real].quantile(0.99)  # louder than 99 % of the real frames
parts = {"real frames": real, "padded with 0 dB": ~real}
effect = pd.DataFrame({
    name: [level[part].mean(), scaled[part].mean(), 100 * loudest[part].sum() / loudest.sum()]
    for name, part in parts.items()
}).astype(float)  # fmt: skip
effect["scaled, then padded with 0"] = [splits.scaler.mean.mean(), 0.0, 0.0]
effect.index = ["mean level (dB)", "scaled (standard deviations)", "share of the loudest (%)"]
show_table(effect, digits=1)

# %% tags=["solution", "report"]
short = int(np.argsort(clips.lengths)[len(clips) // 4])  # a clip with a good deal of padding
usual = np.tile(splits.scaler.mean, (padded.shape[1], 1))
usual[: clips.lengths[short]] = raw[short]
pictures = {
    "padded with 0 dB": padded[short].numpy().T,
    "scaled, then padded with 0 (shown in dB)": usual.T,
}
drawn = plots.spectrograms(pictures, beat_synchronous=True)
caption = "A clip padded with 0 dB, and scaled first and then padded with 0."
record.show(drawn, "padding", caption=caption)

# %% tags=["solution", "report"]
# A clip's mean level over its own frames, and over its frames and the padding.
own_level = np.array([float(frames.mean()) for frames in raw])
padded_level = level.mean(1).numpy()
before, after = (
    evaluation.spearman(clips.lengths, values, seed) for values in (own_level, padded_level)
)
_, deviations, share = effect["padded with 0 dB"]
tell_list([
    Sentence(
        "{padding:.0%} of all frames are padding. They lie {deviations:.1f} standard deviations "
        "above the mean, and make up {share:.0f} % of the frames that are louder than 99 % of the "
        "real ones.",
        padding=(~real).float().mean(), deviations=deviations, share=share,
    ),
    Sentence(
        "Rank correlation of a clip's mean level with its number of frames: {before} over its own "
        "frames, **{after} with the padding**.", before=before, after=after,
    ),
])  # fmt: skip
record.save_values(level_and_length={"own frames": before.value, "padded": after.value})

# %% [markdown]
# The nearer the second number is to -1 or 1, the more the level of a padded clip says how long the clip is, instead of how loud. A network
# sees this, too: it can read the length (that is, the tempo) off the bright block, and has to learn that the loudest sound of all means
# nothing. Ours never shows it: after scaling 0 is the mean of each band, and masks leave the padding out.
#
# **Choosing an axis by truth, in two lines.** In the course's Dataset the axis is a column number, and `if index:` decides between affect and
# genre. Columns count from 1 there, so it works, until somebody passes a 0.

# %% tags=["solution"]
# What `if index:` does with each column number, and what a name does.
for index in range(4):
    print(f"label index {index}: {'reads an affect axis' if index else 'takes the genre branch'}")
try:
    datasets.SpectrogramDataset(root / folders.GENRE, "train", axes="valense")
except LabError as error:
    print(f"ours, with a mistyped name: {error}")

# %% [markdown]
# ## 4β · Merging and dropping genres
#
# The course maps the 20 genres of the label file to 10 classes: similar genres are merged, some are dropped. Here is the [mapping](../docs/glossary.md#class-mapping) beside
# the counts in the label files of this run.

# %% tags=["solution", "report"]
# Each genre with its class and its clips in both splits.
folder = root / folders.GENRE
genres = {split: folders.read_clips(folder, split)["genre"] for split in folders.SPLITS}
counts = genres["train"].value_counts()
mapping = pd.DataFrame({
    "class": [folders.CLASS_MAPPING[genre] or "(dropped)" for genre in sorted(counts.index)],
    "train clips": [counts[genre] for genre in sorted(counts.index)],
    "test clips": [int((genres["test"] == genre).sum()) for genre in sorted(counts.index)],
}, index=pd.Index(sorted(counts.index), name="genre"))  # fmt: skip
show_table(mapping, caption="Each genre with its class, and its clips.")

# %% [markdown] tags=["solution"]
# **Why merge?** Psych-Rock, Post-Rock and Rock share instruments, production and often the same bands; much of the border between them is
# drawn by labels and listeners. As far as two classes sound alike, no classifier can tell them apart: the errors between them are noise in every
# score, and each has fewer examples than they would have together. That is the idea; how many mistakes really lie inside a merged class is
# counted below. (The price: classes become unequal in size, see 4γ.)
#
# **Why drop?** The handout says: because these genres have very few samples. With few samples there is little to learn from, and the score of such a
# class on the test set hangs on a handful of clips. A comment in the course's code gives another reason: "classes that do not work very well".
# The first reason can be checked by counting.

# %% tags=["solution", "report"]
dropped = mapping.index[mapping["class"] == "(dropped)"]
kept = mapping.index.difference(dropped)
middle = counts[kept].median()
as_many = [genre for genre in dropped if counts[genre] >= middle]
smaller_kept = [genre for genre in kept if (counts[dropped] > counts[genre]).any()]


def with_counts(names):
    """Genres with their numbers of training clips."""
    return [f"{name} ({counts[name]})" for name in names]


tell_list([
    Sentence(
        "Dropped here: {genres}. The largest genre has {largest} clips, the median of the kept "
        "ones is {middle:.0f}.",
        genres=with_counts(dropped), largest=counts.max(), middle=middle,
    ),
    Sentence(
        "**Dropped although they have as many as that: {genres}**.", genres=with_counts(as_many)
    ),
    Sentence(
        "Kept although a dropped genre has more clips: {genres}.", genres=with_counts(smaller_kept)
    ),
])  # fmt: skip

# %% tags=["solution", "report"]
# The sentence depends on the counts of these data.
tell(
    "No genre of these data is dropped, so there is nothing to check." if not len(dropped) else
    "The reason that was given, very few samples, **does not hold for most of the dropped genres** "
    "in these data." if len(as_many) > len(dropped) / 2 else
    "The reason that was given, very few samples, holds for some of the dropped genres and not for "
    "others." if as_many else
    "The reason that was given, very few samples, holds in these data: every dropped genre is "
    "smaller than most of the kept ones."
)  # fmt: skip


# %% [markdown]
# In the lab's own data, four of the five dropped genres have 160 clips, as many as any genre has; Soundtrack has 124, while Post-Rock with
# 95 is kept and merged. There, the few samples cannot be the reason. What else may speak for dropping these five? *International*, *Soundtrack* and
# *Old-Time* say where, what for and when music was made, not how it sounds; *Indie-Rock* and *Post-Punk* lie between Rock, Pop and Punk.
#
# ### Are the dropped genres the hard ones?
#
# This is the other reason, "do not work very well", and it can be measured. An [SVM](../docs/glossary.md#svm-and-svr) on three numbers per band (its mean, deviation, and mean step from
# frame to frame) is trained on all 20 genres and asked about the validation part. No test clip is touched: this is a decision about the task.

# %% tags=["solution", "report"]
def svm_on(class_mapping):
    """Classes, then true and predicted class numbers of the validation clips, of an SVM."""
    labelled = datasets.SpectrogramDataset(
        root / folders.GENRE_BEAT, "train", "mel", class_mapping=class_mapping
    )
    numbers, statistics = labelled.labels.numpy(), baselines.band_statistics(labelled)
    fit, val = datasets.stratified_split(numbers, (0.8, 0.2), seed)
    predicted = baselines.svm_predictions(statistics[fit], numbers[fit], statistics[val])
    return labelled.classes, numbers[val], predicted


tasks = {"all genres": svm_on(None), "classes of 4β": svm_on(folders.CLASS_MAPPING)}
rows = {}
for name, (names, true, predicted) in tasks.items():
    scores = evaluation.classification_scores(true, predicted, len(names), seed)
    record.add_scores(f"svm, {name}", "mel", "genre validation (beat)", scores, len(true))
    largest = np.bincount(true).max() / len(true)
    rows[name] = {"classes": len(names), "share of the largest": evaluation.Score(largest)}
    rows[name] |= {metric: scores[metric] for metric in ("accuracy", "macro F1")}
caption = "An SVM on per-band statistics before and after merging, on the validation part."
show_table(pd.DataFrame(rows), caption=caption)

# %% tags=["solution", "report"]
# Recall of each genre when all twenty are told apart, the dropped ones marked.
names, true, predicted = tasks["all genres"]
is_dropped = np.array([folders.CLASS_MAPPING[names[number]] is None for number in true])
found = {
    f"genres that are {name}": evaluation.classification_scores(
        true[part], predicted[part], len(names), seed)["accuracy"]
    for name, part in (("kept", ~is_dropped), ("dropped", is_dropped)) if part.any()
}  # fmt: skip
title = "Share of clips whose genre the SVM finds"
drawn = plots.score_plot(found, title, "recall on validation clips", 1 / len(names), "guessing")
caption = "Share of validation clips whose genre an SVM finds, for kept and dropped genres."
record.show(drawn, "dropped_recall", caption=caption)

# %% tags=["solution", "report"]
# Mistakes that merging removes, and the two recalls with their intervals.
classes = np.array([folders.CLASS_MAPPING[name] or "" for name in names])
wrong = true != predicted
inside = wrong & (classes[true] == classes[predicted]) & ~is_dropped
harder = ""
if len(found) == 2:
    on_kept, on_dropped = found.values()
    apart = on_dropped.high < on_kept.low or on_kept.high < on_dropped.low
    harder = Sentence(
        " Dropped genres are found in {dropped} of their clips, kept ones in {kept}: the dropped "
        "ones are {verdict} here, and the intervals do not overlap." if apart else
        " Dropped genres are found in {dropped} of their clips, kept ones in {kept}: the dropped "
        "ones are {verdict} here, but with overlapping intervals.",
        dropped=on_dropped, kept=on_kept,
        verdict="harder" if on_dropped.value < on_kept.value else "not harder",
    )  # fmt: skip
tell(
    "Of the {wrong} mistakes on all genres, {inside} stay inside a merged class, and vanish when "
    "its genres are merged.{harder}",
    wrong=wrong.sum(),
    inside=inside.sum(),
    harder=harder,
)

# %% [markdown]
# ## 4γ · Clips per class, before and after
#
# The same training clips, counted by genre as the label file has it, and by class after 4β.

# %% tags=["solution", "report"]
# The dropped genres are left out, the others are added up per class.
merged = mapping[mapping["class"] != "(dropped)"].groupby("class")
classes = merged[["train clips", "test clips"]].sum()
panels = {"before": counts.sort_index().to_dict(), "after": classes["train clips"].to_dict()}
drawn = plots.class_counts(panels, "Training clips per class, before and after 4β")
caption = "Training clips per class, before and after step 4β."
record.show(drawn, "class_counts", caption=caption)
record.save_table("class_counts", classes.reset_index())

# %% tags=["solution", "report"]
# How unequal the classes are, before and after.
spread = {name: max(panel.values()) / min(panel.values()) for name, panel in panels.items()}
largest = classes["train clips"].idxmax()
n_before, n_after = (sum(panel.values()) for panel in panels.values())
tell(
    "Before, the largest genre has {before:.1f} times as many clips as the smallest; after, the "
    "largest class ({largest}) has {after:.1f} times as many. So the classes are {verdict} in size "
    "than the genres were. {n_dropped} of {n_before} training clips were dropped.",
    before=spread["before"], largest=largest, after=spread["after"],
    verdict="less equal" if spread["after"] > spread["before"] else "not less equal",
    n_dropped=n_before - n_after, n_before=n_before,
)  # fmt: skip

# %% [markdown]
# ### The score that needs no learning
#
# A [baseline](../docs/glossary.md#baseline): who always answers the largest class gets its share right. A published accuracy means nothing before this number is known, and macro F1,
# which counts every class alike, shows at once what such an answer is worth.

# %% tags=["solution", "report"]
# Chosen on the training clips, scored on the test clips.
test_set = datasets.SpectrogramDataset(root / folders.GENRE, "test", "mel")
true = test_set.labels.numpy()
answers = baselines.majority_predictions(datasets.labels_of(splits.base).numpy(), len(true))
majority = evaluation.classification_scores(true, answers, len(test_set.classes), seed)
record.add_scores("majority_full", "none", "genre test (full)", majority, len(true))
tell(
    "Always answering **{answer}** gives on the {n} test clips an accuracy of **{accuracy}** and a "
    "macro F1 of **{macro}** (95 % intervals).",
    answer=test_set.classes[answers[0]], n=len(true),
    accuracy=majority["accuracy"], macro=majority["macro F1"],
)  # fmt: skip

# %% [markdown]
# ### Is the split stratified?
#
# A validation part drawn at random may have too few clips of a small class, or none. Ours is [stratified](../docs/glossary.md#stratified): it draws from each class separately. The split follows from
# labels and seed only, so full and beat-synchronous folders, and all features, share it. The test folder was fixed by the course.

# %% tags=["solution"]
# Percentages, so that parts of unequal size can be compared.
parts = {"train": splits.train, "validation": splits.val, "test": splits.test}
n_classes = len(splits.base.classes)
shares = pd.DataFrame({
    name: 100 * np.bincount(datasets.labels_of(part), minlength=n_classes) / len(part)
    for name, part in parts.items()
}, index=splits.base.classes)  # fmt: skip
show_table(shares, digits=1)

# %% tags=["solution"]
# No clip in two parts, and the same validation clips in both folders.
ids = {name: set(datasets.ids_of(part)) for name, part in parts.items()}
full = datasets.genre_splits(root / folders.GENRE, "chroma", seed)
assert not ids["train"] & ids["validation"], "a clip is in train and validation"
assert not (ids["train"] | ids["validation"]) & ids["test"], "a test clip is in train or validation"
assert ids["validation"] == set(datasets.ids_of(full.val)), "full and beat folders differ"
gap = (shares["validation"] - shares["train"]).abs().max()
sizes = [Sentence("{n} {part}", n=len(part), part=name) for name, part in parts.items()]
tell(
    "{sizes} clips; none is in two parts. A class's share differs by at most {validation:.1f} "
    "percentage points between train and validation, and by at most {test:.1f} between train and "
    "test.",
    sizes=sizes,
    validation=gap,
    test=(shares["test"] - shares["train"]).abs().max(),
)

# %% [markdown]
# ## Extra: the labels of the multitask set
#
# In steps 8 to 11 a clip has three numbers instead of a class. Before predicting them, look at them: how are they spread, and do the axes go
# together? (Rank correlation, as in the metric of step 8ε.)

# %%
# The three axes as they are, on one scale of 0 to 1.
affect = folders.read_clips(root / folders.MULTITASK, "train")[list(folders.AXES)]
drawn = plots.histogram(
    {axis: affect[axis].to_numpy() for axis in affect}, "Labels of the multitask training clips",
    "value", "Histograms of the affect labels: " + "; ".join(
        f"{axis} mean {values.mean():.2f}, deviation {values.std():.2f}"
        for axis, values in affect.items()),
)  # fmt: skip
record.show(drawn, "affect_labels")
show_table(affect.describe().T[["count", "mean", "std", "min", "50%", "max"]], digits=2)

# %%
# Rank correlations of all pairs of axes, with intervals.
together = {
    f"{a} and {b}": evaluation.spearman(affect[a].to_numpy(), affect[b].to_numpy(), seed)
    for a, b in combinations(affect, 2)
}
drawn = plots.score_plot(
    together, "Which axes go together", "Spearman between labels", 0.0, "no correlation"
)
record.show(drawn, "affect_axes")
clear = [
    Sentence("{pair} ({value:+.2f})", pair=name, value=s.value)
    for name, s in together.items() if s.low > 0 or s.high < 0
]  # fmt: skip
narrow = affect.std().idxmin()
tell(
    "The narrowest axis is {axis} (standard deviation {deviation:.2f}). Pairs whose interval "
    "leaves out 0: {pairs}. Axes that go together are what a multitask model (step 10) can gain "
    "from.",
    axis=narrow,
    deviation=affect[narrow].std(),
    pairs=clear,
)


# %% [markdown]
# ## Change this and run again
#
# Make your own Dataset: change what an item is, and keep the rest. Here the frames are replaced by their *changes* from one frame to the
# next, and the SVM says on validation whether that helps. Then try a class mapping of yours in `svm_on`.

# %%
class ChangesDataset(datasets.SpectrogramDataset):
    """Each frame minus the one before it; the first stays 0."""

    def frames(self, index):
        """Differences [T, F] of a clip's frames."""
        return np.diff(super().frames(index), axis=0, prepend=super().frames(index)[:1])


mine = ChangesDataset(root / folders.GENRE_BEAT, "train", "mel")
usual = np.stack([clips.frames(i).std(0) for i in range(len(clips))])  # deviation per band
changes = np.stack([mine.frames(i).std(0) for i in range(len(mine))])
fit, val, labels = splits.train.indices, splits.val.indices, clips.labels.numpy()
for name, table in (("frames", usual), ("changes", changes)):
    answers = baselines.svm_predictions(table[fit], labels[fit], table[val])
    scores = evaluation.classification_scores(labels[val], answers, len(clips.classes), seed)
    print(f"SVM on the deviation of {name}: validation accuracy {scores['accuracy']}")

# %% [markdown]
# ## What we learned
#
# - An item is frames, label and length; a batch is padded, and the lengths tell the model where to stop.
# - Raw decibels must not be padded with 0: scale first, then pad, then mask.
# - Merging and dropping change the task. The reason given for dropping is one to check against the counts, not to repeat.
# - The majority baseline is the score to beat, with an interval.
#
# **Check yourself**
#
# <details><summary>Why must the class numbers come from the training labels and not from each split's own?</summary>
# If a class has no clip in one split, all numbers after it shift by one there: the same number then means different classes in train
# and test, and the scores are nonsense without any error.
# </details>
#
# <details><summary>Why is the macro F1 of the majority answer so much lower than its accuracy?</summary>
# Macro F1 is the mean over classes. All classes but one are never predicted and have an F1 of 0; accuracy counts clips, and the
# largest class has the most.
# </details>
#
# <details><summary>Why may you drop classes by looking at validation clips, but not at test clips?</summary>
# Dropping classes is a choice about the model and the task, like any other. Whoever makes it by the test set has used up what was meant to show
# how well the result holds on unseen clips.
# </details>

# %%
# What later notebooks and the report may want to quote.
record.save_values(
    majority_accuracy=majority["accuracy"].value,
    dropped={genre: int(counts[genre]) for genre in dropped},
    dropped_and_as_large_as_kept=as_many,
    class_counts={name: int(n) for name, n in panels["after"].items()},
)
accuracy, macro = (majority[metric].value for metric in ("accuracy", "macro F1"))
record.finish(key_metric=f"majority baseline: accuracy {accuracy:.3f}, macro F1 {macro:.3f}")
