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
# - what a PyTorch Dataset returns (you write one in 25 lines), and how clips of unequal length become one padded and masked batch
# - what padding decibels with 0 does to beat-synchronous clips, measured, and which models notice it
# - how merging and dropping genres changes the task, and whether the reasons given for it hold
#
# **Needs** the data only (notebook 00). **Leaves** the counts per class, the score that needs no learning at all, and the
# statistics of the affect labels.
#
# **Takes** about three quarters of a minute on the demo set with two CPU cores. With the lab's data: some ten times as long the first time, when the features are packed.
#
# **The one insight:** count before you train. The counts say what accuracy is worth, and they check what you were told.
#
# **How to read:** the core path takes about 40 minutes. Answer each **Predict** before you open it; extras and solutions are folded.

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
import gzip
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.stats import fisher_exact
from torch.utils.data import DataLoader, Dataset, Subset

from helpers import baselines, datasets, evaluation, folders, handmade, models, plots
from helpers.machinery.files import LabError
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, show_table, tell, tell_list

notebook = "04_histograms"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"; nothing is trained on it here
seed = 0
batch_size = 32  # clips per batch

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 4α · What the Dataset returns
#
# > **Handout.** *Μελετήστε τον κώδικα και τα δείγματα του PyTorch Dataset που δίνεται, και εξηγήστε τι κάνει.*
# > Study the code and the samples of the PyTorch Dataset that is supplied, and explain what it does.
#
# A PyTorch `Dataset` answers two questions: how many samples there are (`__len__`), and what sample number i is (`__getitem__`).
# Everything else (shuffling, batches) is done by a `DataLoader` that asks these two questions.
#
# ```text
# train_labels.txt --read, map--> files, labels --np.load--> [140, T] --rows 0-127, turn--> [T, 128]
#
# Dataset[i]       -->  (frames [T, 128], label, length T)              one clip
# DataLoader       -->  (x [B, longest T, 128], y [B], lengths [B])     one batch, padded
# ```
#
# Here is the plainest Dataset that works: it reads the label file, maps each genre to its class (step 4β), loads a clip when it is asked
# for it, and returns three things. The third one, the **length**, is there because a batch is padded, and somebody has to know
# where the padding begins.


# %% tags=["solution"]
class PlainDataset(Dataset):
    """Clips of one split as (frames [T, 128], label, length T)."""

    def __init__(self, folder, split):
        # Names on disk and in the label file differ; what stands before the first dot is the id.
        files = {path.name.split(".")[0]: path for path in (folder / split).iterdir()}
        lines = (folder / f"{split}_labels.txt").read_text(encoding="utf-8-sig").splitlines()
        class_of = folders.class_mapping(folder.parent)  # the course's, or that of your own data
        self.ids, self.files, names = [], [], []
        for line in lines[1:]:  # below the header
            clip, genre = line.split("\t")[0].split(".")[0], line.split("\t")[-1].strip()
            if clip in files and class_of.get(genre):  # None: this genre is dropped
                self.ids.append(clip)
                self.files.append(files[clip])
                names.append(class_of[genre])
        self.classes = sorted(set(names))  # a name's place in this list is its number
        self.labels = [self.classes.index(name) for name in names]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path = self.files[index]
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            fused = np.load(file)  # [140, T]: 128 mel bands in dB, 12 chroma classes
        frames = torch.from_numpy(fused[:128].T.astype(np.float32))  # [T, 128], a row per step
        return frames, self.labels[index], len(frames)


# %% tags=["solution", "report"]
clips = datasets.SpectrogramDataset(root / folders.GENRE_BEAT, "train", "mel")  # the kit's
plain = PlainDataset(root / folders.GENRE_BEAT, "train")
frames, label, length = plain[0]
tell(
    "{n} beat-synchronous training clips of {n_classes} classes. Clip 0 has the frames {shape}, "
    "the label {label} ({name}) and the length {length}.",
    n=len(plain), n_classes=len(plain.classes), shape=str(tuple(frames.shape)),
    label=label, name=plain.classes[label], length=length,
)  # fmt: skip

# %% [markdown]
# The kit's `SpectrogramDataset` returns the same three things. It keeps its frames as float16, so they may differ by up to 0.03 dB,
# which no ear and no network notices.

# %% tags=["solution"]
places = [plain.ids.index(clip) for clip in clips.ids]  # the same clips, in the kit's order
agree("labels", lambda: [plain.labels[i] for i in places], clips.labels)
agree("frames of clip 0", lambda: plain[places[0]][0], clips[0][0], tolerance=0.04)
agree("frames of the last clip", lambda: plain[places[-1]][0], clips[len(clips) - 1][0], 0.04)

# %% [markdown]
# | what the kit's Dataset adds | why | what it gains | where it stands |
# |---|---|---|---|
# | all clips of a folder packed into one array on disk (float16), opened by memory map | thousands of small files are slow to open; float64 fills the memory | start in a second after the first time; a quarter of the bytes | `helpers/machinery/store.py` |
# | every row and file is checked | a bad row would shift all labels below it | an error names file and line | `helpers/folders.py` |
# | class numbers from the *training* labels, for both splits | a class without a test clip would shift the numbers after it | the same number is the same class everywhere | `_with_classes` in `helpers/datasets.py` |
# | `feature=` mel, chroma or both; `axes=` by name | the same clips serve all steps | one class for genre and affect | `SpectrogramDataset` |
# | a `scaler` per band, fitted on training clips | see *Padding with 0* below | 0 means "as usual" | `BandScaler` |
#
# From here on the kit's is used.

# %% tags=["solution"]
# The three features, and what a mistyped axis says.
for feature, stored in datasets.FEATURE_ROWS.items():
    other = datasets.SpectrogramDataset(root / folders.GENRE_BEAT, "train", feature)
    shape = tuple(other[0][0].shape)
    print(f"feature {feature:6}: rows {stored.start} to {stored.stop - 1}, frames {shape}")
try:
    datasets.SpectrogramDataset(root / folders.GENRE, "train", axes="valense")
except LabError as error:
    print(f"a mistyped axis: {error}")

# %% [markdown]
# ### A batch: padding and mask
#
# A `DataLoader` asks for several items and joins them into a [batch](../docs/glossary.md#batch). Clips differ in length, so the shorter ones are [padded](../docs/glossary.md#padding) at the end up to the longest
# *of the batch*. A [mask](../docs/glossary.md#mask) made from the lengths says which frames are real:
#
# ```text
#            frame 0                        longest T
# clip A     ████████████████████░░░░░░░░░░░     length 20
# clip B     ███████████████████████████████     length 31
# clip C     ███████████████████████████░░░░     length 27      █ real   ░ padding, all 0
# ```


# %% tags=["solution"]
def pad_batch(items):
    """[(frames [T, F], label, length), ...] -> x [B, longest T, F], y [B], lengths [B]."""
    frames, labels, lengths = zip(*items, strict=True)
    x = torch.zeros(len(items), max(lengths), frames[0].shape[1])
    for row, clip in enumerate(frames):
        x[row, : len(clip)] = clip
    return x, torch.tensor(labels), torch.tensor(lengths)


items = [plain[i] for i in range(min(4, len(plain)))]
own, kit = pad_batch(items), datasets.pad_batch(items)
agree("x", lambda: own[0], kit[0])
agree("y and lengths", lambda: torch.cat(own[1:]), torch.cat(kit[1:]))
x, y, lengths = next(iter(DataLoader(plain, batch_size, shuffle=True, collate_fn=pad_batch)))
print(f"a batch: x {tuple(x.shape)}, y {tuple(y.shape)}, {lengths.min()} to {lengths.max()} frames")

# %% [markdown]
# The loaders of this kit (`datasets.make_loader`) give the same batches, cut out of the packed features all at once. Where they
# shuffle, they put clips of similar length together.
#
# **Predict.** Clips of some 20 to 90 beats, 32 in a batch: what share of the numbers in a batch is padding? And when clips of similar length
# share a batch?
#
# <details><summary>What to expect, and why</summary>
# Each clip is padded to the longest of 32. The longest of 32 random clips lies far above the usual one, so a quarter to a third
# is padding. Sorted by length nearly nothing would be. The kit sorts inside stretches of four batches only: batches
# of clips that are alike in tempo would teach the network one tempo at a time.
# </details>

# %% tags=["solution"]
splits = datasets.genre_splits(root / folders.GENRE_BEAT, "mel", seed)  # scaled per band


def padding_share(order):
    """The share of padding when each batch is padded to its own longest clip; clips in `order`."""
    lengths = clips.lengths[splits.train.indices][order]
    batches = [lengths[start : start + batch_size] for start in range(0, len(order), batch_size)]
    padded = sum(len(batch) * batch.max() for batch in batches)
    return 1 - lengths.sum() / padded


n_train = len(splits.train)
loader = datasets.make_loader(splits.train, batch_size, shuffle=True, seed=seed)
similar = [number for batch in loader.batch_sampler for number in batch]
tell(
    "Over an epoch, {random:.0f} % is padding when the clips are shuffled, {similar:.0f} % when "
    "clips of similar length share a batch.",
    random=100 * padding_share(np.random.default_rng(seed).permutation(n_train)),
    similar=100 * padding_share(np.array(similar)),
)

# %% [markdown]
# ### Exercise 4.1 · The mask
#
# Write the mask of a batch: True where a frame is real. One line, no loop: compare the numbers of the frames, `[T]`, with the lengths, `[B, 1]`.


# %% tags=["exercise"]
def my_mask(lengths, n_frames):
    """True where a frame is real: lengths [B] -> bool [B, n_frames]."""
    ...


def check_mask(own):
    """Hold a mask against the kit's."""
    lengths = torch.tensor([3, 1, 5])
    got, kit = own(lengths, 5), models.time_mask(lengths, 5)
    if got is None:
        print("my_mask is not written yet")
        return
    assert got.shape == kit.shape, f"shape {tuple(got.shape)}, not (3, 5): add an axis to lengths"
    assert got.dtype == torch.bool, f"the values are {got.dtype}, not bool: compare"
    assert not got[0, 3:].any(), "clip 0 has frames 0 to 2, and you call frame 3 real: use <"
    assert (got == kit).all(), "some real frames are called padding"
    print("right: 3 + 1 + 5 frames are real")


check_mask(my_mask)


# %% tags=["solution", "folded"]
def my_mask(lengths, n_frames):
    """True where a frame is real: lengths [B] -> bool [B, n_frames]."""
    return torch.arange(n_frames) < lengths[:, None]


check_mask(my_mask)

# %% [markdown]
# ### A part of it: `Subset`
#
# `Subset` is a Dataset that passes on some samples of another one. It costs nothing, and serves twice: to split off a validation
# set, and to debug on a few clips, so that a mistake shows after seconds.

# %%
few = Subset(clips, range(min(8, len(clips))))
print(f"{len(few)} of {len(clips)} clips, labels {datasets.labels_of(few).tolist()}")

# %% [markdown]
# The labels show a trap: the label file is sorted by genre, so the first clips are all of one class. Always shuffle, or pick at random,
# before you take a part.

# %% [markdown] tags=["solution"]
# ### The course's Dataset, step by step
#
# The handout asks about the class `SpectrogramDataset` in the course's `lab3/dataset.py` ([data_links](../data_links.md)). It does,
# in this order:
#
# 1. **Label file.** It opens `train_labels.txt` or `test_labels.txt`, skips the header and splits each line at the tab.
# 2. **Affect.** With a `regression_label_index` it splits at commas instead, appends `.fused.full.npy` to the id, and takes the column with that
#    number as label: 1 valence, 2 energy, 3 danceability.
# 3. **Classes.** With a `class_mapping` each genre becomes its class. A genre that is mapped to `None` is skipped.
# 4. **Names.** The label files name files that are not there, so the names are repaired: `.gz` is cut off; in the beat folder
#    `beatsync.fused` becomes `fused.full`; in a test folder `full.fused` becomes `fused.full`.
# 5. **Frames.** `np.load` reads every file at once. Rows 0-127 are taken for mel, 128-139 for chroma, all for both; then `[rows, T]` is turned
#    into `[T, rows]`, because sequence models take a row per time step.
# 6. **Numbers.** scikit-learn's `LabelEncoder.fit_transform` sorts the class names and numbers them; affect labels become floats.
# 7. **Longest clip.** `max_length` is what you give, or else the longest clip of this split.
# 8. **`__getitem__`** appends zeros up to `max_length` (or cuts there) and returns (frames, label, **true length**): the same three as ours.
#    It pads here, and not in the batch, because PyTorch's usual `collate` stacks the items, and only equal shapes can be stacked.
# 9. **Validation.** `torch_train_val_split` shuffles the clip numbers with a fixed seed, gives the first 20 % to validation, and makes two
#    loaders with a `SubsetRandomSampler` each.
#
# | | the course's Dataset | ours |
# |---|---|---|
# | padding | 0, on raw dB, where 0 is the **loudest** value | [scaled](../docs/glossary.md#scaling) per band first; then 0 is "as usual", and it is masked |
# | length | one for all items: the longest clip **of the split**, unless `max_length` is given | the longest clip of the batch |
# | affect axis | a column number that is tested for truth: **number 0 means "genre"** | a name: `axes="valence"` |
# | class numbers | found anew from the labels of each split | from the training labels, for both splits |
# | validation part | drawn at random, whatever the class | stratified: the same mixture in each part |
# | memory | every array of the folder, once per feature, as it is in the file (float64) | one file on disk for all features, as float16 |
#
# Two of these go wrong silently. The axis is chosen by `if self.regression_label_index:`, and in Python the number 0 is false. Columns count from 1 there, so
# it works, until somebody counts from 0: then *valence* silently becomes *genre*, and index 1 is valence although energy was meant. And
# without `max_length`, train and test have different shapes: a CNN with a flattening layer, built for the training shape, breaks on test.

# %% [markdown]
# ### Padding with 0 dB, measured
#
# **Predict.** The course's class pads raw decibels with 0, the loudest value of all. How many of the frames are padding: for full
# clips, and for beats? Which model sees them: an LSTM on packed sequences, or a CNN?
#
# <details><summary>What to expect, and why</summary>
# Full clips are all 30 s long, so there is next to nothing to pad. Beat-synchronous clips have as many frames as beats: a slow song
# half as many as a fast one. The course's LSTM packs the sequences and takes the last <em>real</em> step, so it never sees the padding. A
# CNN takes the whole rectangle: it sees a bright block whose width tells how slow the song is.
# </details>
#
# A clip's mean level is a plain property: how loud it is. Padded with 0 dB, it becomes (sum over its own frames + 0) / longest.
# The table also says how far 0 dB lies above the mean of a band, in that band's standard deviations.


# %% tags=["solution", "report"]
def padded_with_zero(folder):
    """What padding all clips of a folder to the longest one, with 0 dB, does to them."""
    dataset = datasets.SpectrogramDataset(root / folder, "train", "mel")
    scaler, lengths = datasets.BandScaler.fit(dataset), dataset.lengths
    level = np.array([dataset.frames(i).mean() for i in range(len(dataset))])  # dB, own frames
    padded_level = level * lengths / lengths.max()  # the zeros add nothing to the sum
    return {
        "clips of (frames)": f"{lengths.min()} to {lengths.max()}",
        "padding": Sentence("{x:.2f} %", x=100 * (1 - lengths.mean() / lengths.max())),
        "0 dB, in standard deviations": Sentence(
            "{x:+.1f}", x=(-scaler.mean / scaler.deviation).mean()
        ),
        "level and length: own frames": evaluation.spearman(lengths, level, seed),
        "level and length: padded": evaluation.spearman(lengths, padded_level, seed),
    }


forms = {"full clips": folders.GENRE, "beats": folders.GENRE_BEAT}
effect = {name: padded_with_zero(folder) for name, folder in forms.items()}
caption = "Padding raw decibels with 0, and the rank correlation of a clip's level with its length."
equal = Sentence("undefined (all clips are equally long)")
shown = pd.DataFrame(effect).map(lambda x: x if getattr(x, "defined", True) else equal)
show_table(shown, caption=caption)

# %% tags=["solution", "report"]
short = int(np.argsort(clips.lengths)[len(clips) // 4])  # a clip with a good deal of padding
zero_db = np.zeros((clips.lengths.max(), 128))
as_usual = np.tile(splits.scaler.mean, (clips.lengths.max(), 1))  # what 0 is after scaling
for picture in (zero_db, as_usual):
    picture[: clips.lengths[short]] = clips.frames(short)
pictures = {"padded with 0 dB": zero_db.T, "scaled, then padded with 0 (shown in dB)": as_usual.T}
drawn = plots.spectrograms({how: {"beat mel": array} for how, array in pictures.items()})
caption = "A clip padded with 0 dB, and scaled first and then padded with 0."
record.show(drawn, "padding", caption=caption)

# %% tags=["solution", "report", "told"]
# How much of each form is padding, and what it gives away.
before, after = (effect["beats"][f"level and length: {what}"] for what in ("own frames", "padded"))
tell(
    "**Verdict.** Of full clips {full} is padding, of beats {beats}. The rank correlation of a "
    "beat-synchronous clip's level with its length is {before:+.2f} over its own frames, and "
    "{after:+.2f} padded with 0 dB: then loudness tells how long a clip is."
    if after.low > 0 or after.high < 0 else
    "**Verdict.** Of full clips {full} is padding, of beats {beats}. The rank correlation of a "
    "beat-synchronous clip's level with its length is {before:+.2f} over its own frames, and "
    "{after:+.2f} padded with 0 dB: these clips do not show that loudness would tell how long a "
    "clip is.",
    full=effect["full clips"]["padding"], beats=effect["beats"]["padding"],
    before=before.value, after=after.value,
)  # fmt: skip
record.save_values(level_and_length={"own frames": before.value, "padded": after.value})

# %% [markdown]
# What sees it? A CNN on padded pictures, an LSTM that takes the last step *of the array*, and every mean over all frames, those of batch
# normalisation included. What does not: packed sequences read up to their last real step (the course's LSTM), and masked means (ours). A
# length is useful, it tells the tempo. But a model should get it because you give it, not by way of the padding.

# %% [markdown]
# ## 4β · Merging and dropping genres
#
# > **Handout.** *Παρόμοια είδη συγχωνεύονται και είδη με πολύ λίγα δείγματα αφαιρούνται. Εξηγήστε γιατί χρειάζεται αυτό.*
# > Similar genres are merged, and genres with very few samples are dropped. Explain why this is needed.
#
# The course maps the 20 genres of the label file to 10 classes. Here is the [mapping](../docs/glossary.md#class-mapping) beside the counts in the label files of this
# run.

# %% tags=["solution", "appendix"]
# Each genre with its class and its clips in both splits.
tracks = {split: folders.read_clips(root / folders.GENRE, split) for split in folders.SPLITS}
class_mapping = folders.class_mapping(root)
counts = tracks["train"]["genre"].value_counts().sort_index()
mapping = pd.DataFrame({
    "class": [class_mapping[genre] or "(dropped)" for genre in counts.index],
    "train clips": counts,
    "test clips": tracks["test"]["genre"].value_counts().reindex(counts.index, fill_value=0),
}).rename_axis(None)  # fmt: skip
show_table(mapping, caption="Each genre with its class, and its clips.")

# %% [markdown] tags=["solution"]
# **Why merge?** Psych-Rock, Post-Rock and Rock share instruments, production and often the same bands; much of the border between them is
# drawn by labels and listeners. As far as two genres sound alike, no classifier can tell them apart: the errors between them are noise in every
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

# %% tags=["solution", "report", "told"]
# The sentence depends on the counts of these data.
if not len(dropped):
    tell("No genre of these data is dropped, so there is nothing to check.")
elif len(as_many) > len(dropped) / 2:
    tell(
        "**Verdict.** The reason that was given, very few samples, does not hold for most of the "
        "dropped genres in these data."
    )
else:
    tell(
        "**Verdict.** The reason that was given, very few samples, holds for {n} of the "
        "{n_dropped} dropped genres.",
        n=len(dropped) - len(as_many),
        n_dropped=len(dropped),
    )

# %% [markdown] tags=["solution"]
# In the lab's own data, four of the five dropped genres have 160 clips, as many as any genre has; Soundtrack has 124, while Post-Rock with
# 95 is kept and merged. There, the few samples cannot be the reason. What else may speak for dropping these five? *International*, *Soundtrack* and
# *Old-Time* say where, what for and when music was made, not how it sounds; *Indie-Rock* and *Post-Punk* lie between Rock, Pop and Punk.

# %% [markdown]
# ### What do merging and dropping bring?
#
# "Do not work very well" can be measured, too. An [SVM](../docs/glossary.md#svm-and-svr) is a classifier without a network: between two classes it looks for the border that leaves the
# widest margin to both. Ours gets three numbers per band of a clip (its mean, standard deviation, and mean step from frame to frame), and learns
# in a second. It is trained on all 20 genres and asked about the validation part. No test clip is touched: this is a decision about the task.
#
# **Predict.** Of the mistakes that it makes on 20 genres, how many stay inside a merged class (Psych-Rock called Rock) and vanish by
# merging: most, half, or a few?
#
# <details><summary>What to expect, and why</summary>
# If genres were merged because they are confused, most. But a genre has 19 others to be mistaken for, and only one or two of
# them share its class. By chance alone one mistake in twenty would stay inside. Anything well above that says that the merged genres do
# sound alike; "most" would need genres that are confused with each other only.
# </details>

# %% tags=["solution"]
# One split of all training clips by genre; "" is the class of the dropped ones.
by_genre = datasets.SpectrogramDataset(
    root / folders.GENRE_BEAT, "train", "mel", class_mapping=None
)
features = baselines.band_statistics(by_genre)
genre_of = np.array(by_genre.classes)[by_genre.labels.numpy()]
class_of = np.array([class_mapping[genre] or "" for genre in genre_of])
fit, val = datasets.stratified_split(
    by_genre.labels.numpy(), (0.8, 0.2), seed, datasets.artists_in(by_genre)
)
fit_kept, val_kept = fit[class_of[fit] != ""], val[class_of[val] != ""]

# Once on 20 genres, once on the classes of the kept ones.
artists, kept_artists = (datasets.artists_in(Subset(by_genre, part)) for part in (fit, fit_kept))
as_genres = baselines.svm_predictions(features[fit], genre_of[fit], features[val], artists)
in_classes = baselines.svm_predictions(
    features[fit_kept], class_of[fit_kept], features[val_kept], kept_artists
)


# %% tags=["solution", "appendix"]
def scores_of(true, predicted):
    """Accuracy and macro F1 with intervals, from names."""
    names = sorted({*true, *predicted})
    numbers = [np.searchsorted(names, some) for some in (true, predicted)]
    return evaluation.classification_scores(*numbers, len(names), seed)


is_kept = class_of[val] != ""
class_called = np.array([class_mapping[genre] or "" for genre in as_genres])
stages = {
    f"{len(by_genre.classes)} genres": (genre_of[val], as_genres),
    "the clips of kept genres alone": (genre_of[val_kept], as_genres[is_kept]),
    "mistakes inside a class forgiven": (class_of[val_kept], class_called[is_kept]),
    "trained on the classes instead": (class_of[val_kept], in_classes),
}
accuracy = {name: scores_of(*pair)["accuracy"] for name, pair in stages.items()}
n_right = {name: f"{(true == said).sum()} of {len(true)}" for name, (true, said) in stages.items()}
caption = "An SVM on per-band statistics: from all genres to the classes of 4β, on validation."
show_table(pd.DataFrame({"right": n_right, "accuracy": accuracy}), caption=caption)
first, *_, last = stages.values()
ends = {"svm, all genres": first, "svm, classes of 4β": last}
for name, pair in ends.items():
    record.add_scores(name, "mel", "genre validation (beat)", scores_of(*pair), len(pair[0]))

# %% tags=["solution", "report", "told"]
# How many mistakes stay inside a class, and how many would by chance.
wrong = (as_genres != genre_of[val]) & is_kept
inside = wrong & (class_called == class_of[val])
partners = mapping.groupby("class")["train clips"].transform("size") - 1  # genres of its class
by_chance = partners[genre_of[val][wrong]].sum() / (len(mapping) - 1)
tell(
    "**Verdict.** Of the {wrong} mistakes on kept genres {inside} stay inside a merged class and "
    "vanish by merging (by chance alone it would be {chance:.1f}). The other {rest} cross the "
    "borders of the classes." if (partners[mapping["class"] != "(dropped)"] > 0).any() else
    "No genres of these data are merged, so no mistake can vanish by merging.",
    wrong=wrong.sum(), inside=inside.sum(), chance=by_chance, rest=wrong.sum() - inside.sum(),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **On the demo set** leaving the clips of dropped genres out gains nothing (0.49 before, 0.46 after). The gain on the kept clips has two parts of about equal size: mistakes
# inside a class are forgiven, and the classes themselves are learned; on 57 clips each part is only a few clips. More mistakes stay inside a class than by chance, so merged
# genres do sound alike; but most mistakes cross the borders of the classes. An accuracy on 10 classes is no better result than one on 20; it is the answer to an easier
# question: there are fewer classes to choose from, and a guess is right more often. Never compare accuracies of different sets of classes.
#
# ### Are the dropped genres the hard ones?

# %% tags=["solution", "appendix"]
# Recall of each genre when all twenty are told apart; the colour says which are dropped.
found = pd.DataFrame({"genre": genre_of[val], "kept": is_kept, "found": as_genres == genre_of[val]})
recall = found.groupby(["kept", "genre"])["found"].agg(["mean", "size"])
rows = {
    f"{genre} ({n:.0f} clips): {'kept' if was_kept else 'dropped'}": evaluation.Score(share)
    for (was_kept, genre), (share, n) in recall.sort_values("mean").iterrows()
}
groups = [found["found"][found["kept"] == group] for group in (True, False)]
kept_right, dropped_right = (f"{part.sum()} of {len(part)}" for part in groups)
title = f"Found: {kept_right} clips of kept genres"
title += f", {dropped_right} of dropped ones" if len(groups[1]) else ""
drawn = plots.score_plot(rows, title, "recall on validation clips", 1 / len(recall), "guessing")
caption = "Share of validation clips whose genre an SVM finds, for each genre."
record.show(drawn, "dropped_recall", caption=caption)

# %% tags=["solution", "report", "told"]
# Two groups of different clips: Fisher's exact test on the 2 x 2 table.
p_value = fisher_exact([[part.sum(), len(part) - part.sum()] for part in groups]).pvalue
if len(groups[1]):
    tell(
        "**Verdict.** Of the clips of kept genres the SVM finds {kept}, of those of dropped genres "
        "{dropped} (Fisher's exact test, p = {p:.2f}): {verdict}.",
        kept=kept_right, dropped=dropped_right, p=p_value,
        verdict="these clips cannot tell whether the dropped genres are harder"
        if p_value >= 0.05 else "the two groups differ by more than chance",
    )  # fmt: skip

# %% [markdown]
# ## 4γ · Clips per class, before and after
#
# > **Handout.** *Σχεδιάστε δύο ιστογράμματα: πόσα δείγματα έχει κάθε κλάση πριν και μετά το βήμα 4β.*
# > Draw two histograms: how many samples each class has before and after step 4β.
#
# The same training clips twice. On the left by genre, as the label file has them; hatched genres are dropped. On the right by class: each bar is made of its
# genres' pieces, in the same colours.

# %% tags=["solution", "report"]
# The two histograms of step 4γ, with the same colours.
per_class = mapping[mapping["class"] != "(dropped)"].groupby("class").sum()
sizes = per_class["train clips"]
largest, smallest, times = sizes.idxmax(), sizes.idxmin(), sizes.max() / sizes.min()
title = f"Merging makes {largest} {times:.1f} times as large as {smallest}"
title = title if times > 1 else "All classes have as many clips"
drawn = plots.class_counts(counts.to_dict(), class_mapping, title)
caption = (
    "Training clips per class, before and after step 4β; colours are genres, the same on both "
    "sides; hatched: dropped."
)
record.show(drawn, "class_counts", caption=caption)
record.save_table("class_counts", per_class.reset_index())

# %% tags=["solution", "report", "told"]
# How unequal the classes are, before and after.
tell(
    "**Verdict.** The largest genre has {before:.1f} times as many clips as the smallest; the "
    "largest class ({largest}) has {after:.1f} times as many as the smallest ({smallest}). "
    "{n_dropped} of {n_all} training clips were dropped." if times > 1 else
    "**Verdict.** The largest genre has {before:.1f} times as many clips as the smallest; all "
    "classes have as many clips. {n_dropped} of {n_all} training clips were dropped.",
    before=counts.max() / counts.min(), after=times, largest=largest, smallest=smallest,
    n_dropped=counts.sum() - sizes.sum(), n_all=counts.sum(),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# Unequal class sizes are called [class imbalance](../docs/glossary.md#class-imbalance). It changes three things. A network that is trained on it sees Rock several times as often as Trip-Hop, and
# learns to say it more readily. Accuracy, which counts clips, listens to the large classes. And the scores of small classes hang on few test clips, so
# they are uncertain. Step 6 returns to all three.

# %% [markdown]
# ### The score that needs no learning
#
# A [baseline](../docs/glossary.md#baseline): who always answers the largest class gets its share right. A published accuracy means nothing before this number is known.
#
# **Predict.** The largest class has about 18 % of the test clips. What is the accuracy of this answer, and what is the mean over the ten classes of
# the F1 (from 0, worst, to 1)? Step 6 defines F1; for now: a class that is never named has an F1 of 0.
#
# <details><summary>What to expect, and why</summary>
# The accuracy is the share itself, 0.18. Nine of ten classes have an F1 of 0, and the tenth has a middling one, so the mean is
# a few hundredths. A metric that counts every class alike shows at once what such an answer is worth.
# </details>

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
# ### Exercise 4.2 · The majority's macro F1, on paper
#
# The answer "always Rock" has a recall of 1 for Rock, and a precision of $p$, Rock's share of the clips. Its F1 for Rock is
#
# $$ F_1 = \frac{2 \cdot p \cdot 1}{p + 1} $$
#
# and 0 for the other classes. Write the mean over all C classes as a function of $p$ and C.


# %% tags=["exercise"]
def my_majority_macro_f1(share, n_classes):
    """Macro F1 of always answering the class that has this share of the clips."""
    ...


def check_majority(own):
    """Hold a formula against what was measured above."""
    share, n_classes = (true == answers[0]).mean(), len(np.unique(true))  # classes that are tested
    got, measured = own(share, n_classes), majority["macro F1"].value
    if got is None:
        print("my_majority_macro_f1 is not written yet")
        return
    is_class_f1 = measured > 0 and abs(got - measured * n_classes) < 1e-9
    assert not is_class_f1, "this is the class's F1: divide by n_classes"
    assert abs(got - measured) < 1e-9, f"yours is {got:.4f}, measured was {measured:.4f}"
    print(f"right: {got:.4f}, as measured")


check_majority(my_majority_macro_f1)


# %% tags=["solution", "folded"]
def my_majority_macro_f1(share, n_classes):
    """Macro F1 of always answering the class that has this share of the clips."""
    return 2 * share / (1 + share) / n_classes


check_majority(my_majority_macro_f1)

# %% [markdown]
# ### Three parts, and who may look at them
#
# ```text
# label files      train_labels.txt                      test_labels.txt
# parts            train (80 %)       validation (20 %)  test
# who looks        the optimiser      you: which epoch,  nobody, until step 6
#                  (and the scaler)   which model
# ```
#
# A validation part drawn at random may have too few clips of a small class, or none. Ours is [stratified](../docs/glossary.md#stratified): it draws from each class separately. The split follows from
# labels and seed only, so full and beat-synchronous folders, and all features, share it. The test folder was fixed by the course.

# %% tags=["solution"]
# Percentages, so that parts of unequal size can be compared.
parts = {"train": splits.train, "validation": splits.val, "test": splits.test}
n_classes = len(splits.base.classes)
shares_of = pd.DataFrame({
    name: 100 * np.bincount(datasets.labels_of(part), minlength=n_classes) / len(part)
    for name, part in parts.items()
}, index=splits.base.classes)  # fmt: skip
show_table(shares_of, digits=1)

# %% tags=["solution"]
# No clip in two parts, and the same validation clips in both folders.
ids = {name: set(datasets.ids_of(part)) for name, part in parts.items()}
full = datasets.genre_splits(root / folders.GENRE, "chroma", seed)
assert not ids["train"] & ids["validation"], "a clip is in train and validation"
assert not (ids["train"] | ids["validation"]) & ids["test"], "a test clip is in train or validation"
assert ids["validation"] == set(datasets.ids_of(full.val)), "full and beat folders differ"
print(", ".join(f"{len(part)} {name}" for name, part in parts.items()), "clips, none in two parts")

# %% [markdown]
# ### Exercise 4.3 · A stratified validation part
#
# Write it: from each class, draw a share of its clips at random (rounded, but at least one), and return all their numbers.


# %% tags=["exercise"]
def my_validation_part(labels, share, rng):
    """Numbers of the clips drawn for validation: from each class of labels [n], a share of it."""
    ...


def check_validation_part(own):
    """Try a drawing on three classes of 10, 20 and 40 clips."""
    labels = np.repeat([0, 1, 2], [10, 20, 40])
    drawn = own(labels, 0.2, np.random.default_rng(0))
    if drawn is None:
        print("my_validation_part is not written yet")
        return
    drawn = np.asarray(drawn)
    assert len(set(drawn.tolist())) == len(drawn), "a clip is drawn twice: use replace=False"
    got = np.bincount(labels[drawn], minlength=3).tolist()
    assert got == [2, 4, 8], f"{got} clips of the three classes, expected [2, 4, 8]"
    again = own(labels, 0.2, np.random.default_rng(1))
    assert sorted(again) != sorted(drawn), "two generators draw the same clips: use rng"
    print("right: 2, 4 and 8 clips, drawn at random")


check_validation_part(my_validation_part)


# %% tags=["solution", "folded"]
def my_validation_part(labels, share, rng):
    """Numbers of the clips drawn for validation: from each class of labels [n], a share of it."""
    drawn = []
    for name in np.unique(labels):
        members = np.flatnonzero(labels == name)
        drawn += rng.choice(members, max(1, round(share * len(members))), replace=False).tolist()
    return drawn


check_validation_part(my_validation_part)

# %% [markdown] tags=["setup"]
# ### Numbers for later, made once
#
# Beside each network stands an SVM on *hand-made* numbers: what engineers know of music, in twelve groups of numbers a clip (notebook 06 shows them). All clips have to be
# read for them, about 20 ms each. So this is done here, where nobody waits for it; they are kept beside the packed clips.

# %% tags=["setup"]
for folder in (folders.GENRE, folders.GENRE_BEAT, folders.MULTITASK):
    for split in folders.SPLITS if (root / folder).is_dir() else ():  # music may lack affect values
        numbers = handmade.features(datasets.SpectrogramDataset(root / folder, split))
n_numbers = sum(own.shape[-1] for own in numbers.values())
print(f"{n_numbers} numbers in {len(numbers)} groups, of each clip and of its two halves")

# %% [markdown] tags=["extra"]
# ## Extra: the labels of the multitask set
#
# In steps 8 to 11 a clip has three numbers instead of a class. How are they spread, and do the axes go together? (Rank correlation, as in the
# metric of step 8ε.)

# %% tags=["extra"]
# The three axes as they are, on one scale of 0 to 1.
has_affect = (root / folders.MULTITASK).is_dir()  # data of your own may come without
if has_affect:
    affect = folders.read_clips(root / folders.MULTITASK, "train")[list(folders.AXES)]
    told = [f"{axis}: mean {affect[axis].mean():.2f}" for axis in affect]
    drawn = plots.histogram(
        {axis: affect[axis].to_numpy() for axis in affect},
        "Labels of the multitask training clips", "value",
        f"Histograms of the affect labels: {'; '.join(told)}.",
    )  # fmt: skip
    record.show(drawn, "affect_labels")
    show_table(affect.describe().T[["mean", "std", "min", "50%", "max"]], digits=2)
else:
    print("these data have no values of valence, energy and danceability")

# %% tags=["extra"]
# Rank correlations of all pairs of axes, with intervals.
if has_affect:
    together = {
        f"{a} and {b}": evaluation.spearman(affect[a].to_numpy(), affect[b].to_numpy(), seed)
        for a, b in combinations(affect, 2)
    }
    drawn = plots.score_plot(
        together, "Which axes go together", "Spearman between labels", 0.0, "no correlation"
    )
    record.show(drawn, "affect_axes")

# %% [markdown] tags=["extra"]
# Where two axes go together, one model for both *may* learn from twice the labels. Whether it does is asked in step 10, where it is measured.

# %% [markdown]
# ## Change this and run again
#
# Make your own Dataset: change what an item is, and keep the rest. Here the frames are replaced by their *changes* from one frame to the
# next, and the SVM says on validation whether that helps. Then change the class mapping (a `dict`, `class_mapping=`) and run 4β again.


# %%
class ChangesDataset(datasets.SpectrogramDataset):
    """Each frame minus the one before it; the first stays 0."""

    def frames(self, index):
        """Differences [T, F] of a clip's frames."""
        own = super().frames(index)
        return np.diff(own, axis=0, prepend=own[:1])


mine = ChangesDataset(root / folders.GENRE_BEAT, "train", "mel")
fit_part, val_part, numbers = splits.train.indices, splits.val.indices, clips.labels.numpy()
artists = datasets.artists_in(splits.train)  # None where nobody names them
for name, dataset in (("frames", clips), ("changes", mine)):
    spread = np.stack([dataset.frames(i).std(0) for i in range(len(dataset))])  # per band
    said = baselines.svm_predictions(spread[fit_part], numbers[fit_part], spread[val_part], artists)
    n_found = (said == numbers[val_part]).sum()
    print(f"SVM on the standard deviation of {name}: {n_found} of {len(val_part)} clips right")

# %% [markdown]
# A difference of two or three clips says nothing on so few: with another seed it may turn round. Try three seeds before you believe it.

# %% [markdown]
# ## What we learned
#
# - An item is frames, label and length; a batch is padded, and the lengths tell the model where to stop.
# - Raw decibels must not be padded with 0: scale first, then pad, then mask. It matters where lengths differ: for beats.
# - Merging and dropping change the task. The reason given for dropping is one to check against the counts, not to repeat.
# - The majority baseline is the score to beat, with an interval.
#
# **Check yourself**
#
# <details><summary>Why does the Dataset return the length, when the frames have one already?</summary>
# In a batch they do not any more: all clips are padded to one length. Without the true ones nobody can build a mask or pack the sequences.
# </details>
#
# <details><summary>Why must the class numbers come from the training labels and not from each split's own?</summary>
# If a class has no clip in one split, all numbers after it shift by one there: the same number then means different classes in train
# and test, and the scores are nonsense without any error.
# </details>
#
# <details><summary>After scaling, padding is 0 and 0 means "as usual". Why is a mask needed all the same?</summary>
# A mean over all frames would still shrink towards 0 for short clips, and an LSTM would still run through the padding and change its state.
# Scaling makes the padding harmless to look at; only the mask takes it out of the sum.
# </details>
#
# <details><summary>Why is the macro F1 of the majority answer so much lower than its accuracy?</summary>
# Macro F1 is the mean over classes. All classes but one are never predicted and have an F1 of 0; accuracy counts clips, and the
# largest class has the most.
# </details>
#
# <details><summary>A paper reports 0.58 on these 10 classes, another 0.47 on all 20 genres. Which method is better?</summary>
# That cannot be said. With the same method the easier question gives the higher number, as the table in 4β shows.
# </details>
#
# <details><summary>Why may you drop classes by looking at validation clips, but not at test clips?</summary>
# Dropping classes is a choice about the model and the task, like any other. Whoever makes it by the test set has used up what was meant to show
# how well the result holds on unseen clips.
# </details>

# %% tags=["stored"]
# What later notebooks and the report may want to quote.
record.save_values(
    majority_accuracy=majority["accuracy"].value,
    dropped={genre: int(counts[genre]) for genre in dropped},
    dropped_and_as_large_as_kept=as_many,
    class_counts={name: int(n) for name, n in sizes.items()},
)
accuracy_value, macro = (majority[metric].value for metric in ("accuracy", "macro F1"))
record.finish(key_metric=f"majority baseline: accuracy {accuracy_value:.3f}, macro F1 {macro:.3f}")
