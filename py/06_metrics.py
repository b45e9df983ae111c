# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Metrics: what is a good classifier?
#
# **What you will learn**
# - what accuracy, precision, recall and F1 say, computed by hand, per class and averaged in two ways
# - why two models with the same accuracy can be of very different use
# - which representation is best for an LSTM, how sure that is on some hundred clips, and what a validation set can and cannot choose
# - what engineers knew to listen for before networks, and who wins, their knowledge or learned features, on how many clips
#
# **Needs** the checkpoints of notebook 05. **Leaves** the test scores of every LSTM and baseline, and their predictions.
#
# **Takes** about three quarters of a minute on the demo set with two CPU cores, a third of it for the learning curve. With the lab's data: eight times as many clips.
#
# **The one insight:** a score without an interval and without a baseline is not a result.
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
import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.metrics import classification_report, f1_score, precision_recall_fscore_support
from sklearn.svm import SVR
from torch.utils.data import Subset

from helpers import baselines, datasets, evaluation, folders, handmade, models, plots, training
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import (
    Sentence,
    comparison_sentence,
    play,
    show_table,
    tell,
    tell_list,
)

notebook = "06_metrics"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step of prediction
curve_draws = 2  # how often each part of the training clips is drawn for the learning curve

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## The models and their test sets
#
# There are two [test sets](../docs/glossary.md#test-set), full and beat-synchronous: the same clips in two representations. Each model of step 5 is
# measured on the test set of its own features. The model's answer is the class of the largest [logit](../docs/glossary.md#logit).

# %% tags=["solution"]
trained = record.load_table("05_lstm", "validation")
n_seeds = record.load_value("05_lstm", "n_seeds")  # trainings of each model
best = record.load_value("05_lstm", "best_lstm")["name"]  # chosen on validation


def test_logits(name, folder, feature):
    """What a stored LSTM says of the test clips of one folder: logits [n, C]."""
    test = datasets.SpectrogramDataset(root / folder, "test", feature)
    checkpoint = record.load_checkpoint(
        "05_lstm", name, head="classifier", feature=feature, classes=test.classes
    )
    test.scaler = checkpoint.scaler
    loader = datasets.make_loader(test, batch_size, device=compute)
    return training.predict(checkpoint.model, loader, compute)


# %% tags=["solution"]
# Every training of every model. Tables and figures show the first one, comparisons use all.
logits, of_all_seeds = {}, {}
for row in trained.itertuples():
    names = [of_seed(row.model, number) for number in range(n_seeds)]
    outputs = [test_logits(name, row.folder, row.feature) for name in names]
    logits[row.model] = outputs[0]
    of_all_seeds[row.model] = [some.argmax(1) for some in outputs]
folder_of = dict(zip(trained["model"], trained["folder"], strict=True))
feature_of = dict(zip(trained["model"], trained["feature"], strict=True))

# %% [markdown]
# Beside the networks stand three baselines. The first always answers the most frequent training class. The other two are support vector machines: the humble
# **SVM** knows three numbers per mel band (mean over time, standard deviation, mean step from frame to frame), the **hand-made SVM** twelve groups of numbers that
# engineers have thought out for music (below). A network that does not clearly beat them has not shown yet that it is worth its cost.
#
# An SVM compares clips, two by two, by a *kernel*: 1 for two clips that are alike, the smaller the less alike they are. With the squared distance $d_{ij}^2$ of two clips' numbers:
#
# $$ k_{ij} = \exp\left(-\frac{d_{ij}^2}{2\,\mathrm{median}(d^2)}\right) $$
#
# So two clips at the median distance have $e^{-1/2} = 0.61$. Decibels and correlations cannot be added: before, each number becomes its rank among the training clips, as
# the value that a normal distribution has at that rank. Each group has a kernel of its own, and their mean is taken: so 36 chroma numbers have the same say as four hundred
# band statistics. A clip's class is decided by a weighted sum of its kernels with the training clips.
#
# C, what a training clip on the wrong side costs, is chosen by *cross-validation inside the training clips*: a fifth of them is predicted by a machine that was fitted to the
# rest, five times, and the C with the most right answers is kept. Both SVMs are tuned in this way. One thing is not alike: the hand-made one learns from three examples of
# each clip, the whole and its two halves, and its three answers to a test clip are averaged; the humble one sees whole clips only.

# %% tags=["solution"]
test_sets = {folders.GENRE: "genre test (full)", folders.GENRE_BEAT: "genre test (beat)"}
truth, ids, genre_of, splits_of, numbers_of = {}, {}, {}, {}, {}
for folder, kind in ((folders.GENRE, "full"), (folders.GENRE_BEAT, "beat")):
    splits = datasets.genre_splits(root / folder, "mel", seed)  # the LSTMs' own training clips
    splits_of[folder], test = splits, splits.test
    truth[folder], ids[folder], classes = test.labels.numpy(), test.ids, test.classes
    genre_of[folder] = test.tracks["genre"].to_numpy()
    labels, sides = datasets.labels_of(splits.train).numpy(), (splits.train, test)
    artists = datasets.artists_in(splits.train)  # their clips stay together in the inner folds
    numbers_of[f"svm_mel_{kind}"] = [{"bands": baselines.band_statistics(part)} for part in sides]
    numbers_of[f"svm_hand_{kind}"] = [handmade.features(part) for part in sides]
    for model in ("mel", "hand"):
        name = f"svm_{model}_{kind}"
        known, asked = numbers_of[name]
        of_all_seeds[name] = [baselines.svm_predictions(known, labels, asked, artists)]
        folder_of[name], feature_of[name] = folder, "mel" if model == "mel" else "hand-made"
    majority = f"majority_{kind}"
    of_all_seeds[majority] = [baselines.majority_predictions(labels, len(test))]
    folder_of[majority], feature_of[majority] = folder, "none"
    print(f"{test_sets[folder]}: {len(test)} clips of {len(classes)} classes")
predictions = {name: trainings[0] for name, trainings in of_all_seeds.items()}

# %% [markdown]
# ### What the hand-made groups hear
#
# | group | what it hears | numbers of |
# |---|---|---|
# | levels | how loud each band is, how much it varies, how bright the sound | mean, spread, steps, quantiles |
# | cepstrum, timbre | the shape of the spectrum (the first coefficient is its level) | 25 cosine coefficients: mean, spread, quantiles; mean and covariance |
# | steadiness, attacks | tones that stay or strokes; how suddenly they begin | levels, and rises, of a short block, sorted (Seyerlehner 2010) |
# | rhythm | how strongly each band swings, and how often a second (in beat-synchronous clips: how often a beat) | Fourier transform of each band's level (Pampalk 2002) |
# | togetherness | which bands rise and fall together: one instrument, or several | correlations of bands |
# | contrast | peaks over valleys: tones or noise | sorted neighbours (Jiang 2002) |
# | tempo | how regularly notes begin | autocorrelation of the onsets |
# | chroma: turned; frames; smooth | which notes sound together, whatever the key | turned to the strongest class; sorted, and Fourier around the circle, of frames; of half seconds, with intervals |
#
# None of it is learned. All twelve, with sources, stand in `helpers/handmade.py`, a few lines each. One of them by hand: the chroma of a clip, turned so that its strongest
# class comes first. A song in C and the same song in E then have the same numbers.


# %% tags=["solution"]
def turned(chroma):
    """Mean, spread and step of the 12 classes of chroma [T, 12], the strongest first, [36]."""
    mean, spread = chroma.mean(axis=0), chroma.std(axis=0)
    step = np.abs(np.diff(chroma, axis=0)).mean(axis=0)
    order = (mean.argmax() + np.arange(12)) % 12  # from the strongest class upwards, in a circle
    return np.concatenate([mean[order], spread[order], step[order]])


chroma_rows = datasets.FEATURE_ROWS["chroma"]  # of the 140 rows of a stored clip
chroma = splits_of[folders.GENRE].base.store.clip(0, chroma_rows)
agree("turned chroma", lambda: turned(chroma), handmade.turned(chroma))
transposed = np.roll(chroma, 4, axis=1)  # every note four semitones higher
agree("in another key", lambda: turned(transposed), turned(chroma))

# %% [markdown]
# **Predict.** Below are three groups, the mean over the training clips of the two largest classes (on the demo set Rock and Electronic). In which of the two do bands
# swing more, go together more, begin more suddenly?
#
# <details><summary>What to expect, and why</summary>
# That depends on the classes. A class with drums swings at the beat and its multiples, in the low and the highest bands. In one that is played by few instruments, bands far
# apart rise together (one note has many harmonics); with many instruments they are less alike. What is struck or plucked begins suddenly, what is bowed or sung does not.
# </details>

# %% tags=["solution"]
# Of each group the mean over the clips of a class; bands upwards.
known, _ = numbers_of["svm_hand_full"]
train = splits_of[folders.GENRE].train
labels, artists = datasets.labels_of(train).numpy(), datasets.artists_in(train)
two = np.bincount(labels).argsort()[::-1][:2]
means = {
    name: {classes[number]: own[labels == number, 0].mean(axis=0) for number in two}
    for name, own in known.items()
}
drawn = plots.heard(means, f"What three hand-made groups hear: {' and '.join(means['rhythm'])}")
caption = "Three hand-made groups, means over the training clips of the two largest classes."
record.show(drawn, "heard", caption=caption)

# %% tags=["solution", "told"]
# In numbers: at which rate they differ most, how much their bands go together, how they begin.
(one, of_one), (other, of_other) = means["rhythm"].items()
gaps = (of_one - of_other).reshape(24, 16).mean(axis=0)  # of the logarithms, mean over the bands
place, close = int(np.abs(gaps).argmax()), means["togetherness"]
c, d = (own[:288].reshape(32, 9)[:, -1].mean() for own in means["attacks"].values())
tell(
    "At {rate:.2f} Hz the two differ most: there {more} swings more. Two bands have a mean "
    "correlation of {a:.2f} in {one}, of {b:.2f} in {other}. The largest rise of a block is "
    "{c:.0f} dB in {one}, {d:.0f} dB in {other}.",
    rate=np.geomspace(0.25, 12, 16)[place], more=one if gaps[place] > 0 else other,
    one=one, other=other, a=close[one].mean(), b=close[other].mean(), c=c, d=d,
)  # fmt: skip

# %% [markdown]
# ### Which group knows what?
#
# Each group alone, in cross-validation over the training clips, so no test clip is looked at. Beside the genres stand, looking ahead, the three affect axes of step 8 (rank
# correlation with what an SVR, the SVM's form for values, predicts; on the train part of the affect clips; 0 is guessing).
#
# **Predict.** Which group is best for genre? For energy? And for valence, how happy the music is?
#
# <details><summary>What to expect, and why</summary>
# Genre and energy are heard in the sound: its spectrum, its attacks. Valence hangs on harmony (major or minor, consonant or not) and tempo, and is the hardest
# everywhere. If the groups know different things, all twelve together reach more than any of them.
# </details>


# %% tags=["solution"]
def kernel_of(numbers, names):
    """These groups' kernel: ranks and median distance are those of all these clips, [n, n]."""
    chosen = {name: numbers[name] for name in names}
    return baselines.averaged_kernel(chosen, chosen)


def classifier(kernel, answers):
    """An SVM, with the C from the middle of those that tuning chooses from."""
    scores = baselines.class_scores(kernel, answers, 10, len(classes))
    return lambda rows: scores(rows).argmax(axis=1)


def regressor(kernel, answers):
    """An SVR, with a C and a tube from the middle, too: the groups are compared, not tuned."""
    return SVR(C=0.3, epsilon=0.05, kernel="precomputed").fit(kernel, answers).predict


axes = list(folders.AXES)
parts = datasets.affect_parts(root / folders.MULTITASK, seed)  # the split that step 8 makes
affect = datasets.affect_splits(root / folders.MULTITASK, "mel", axes, parts).train
values = datasets.labels_of(affect).numpy()  # [n, 3]
of_affect = {name: own[:, 0] for name, own in handmade.features(affect).items()}  # whole clips
of_genre = {name: own[:, 0] for name, own in known.items()}

# %% tags=["solution"]
# A row for each group, and one for all.
rows = {}
for name in [*known, "all twelve"]:
    chosen = list(known) if name == "all twelve" else [name]
    found = baselines.out_of_fold(kernel_of(of_genre, chosen), labels, classifier, seed, artists)
    own = evaluation.classification_scores(labels, found, len(classes), seed)
    rows[name] = {"genre (accuracy)": own["accuracy"]}
    kernel = kernel_of(of_affect, chosen)
    for axis, own in zip(axes, values.T, strict=True):
        # fitted to the other four fifths
        found = baselines.out_of_fold(kernel, own, regressor, seed, datasets.artists_in(affect))
        rows[name][axis] = evaluation.spearman(own, found, seed)
reached = pd.DataFrame.from_dict(rows, orient="index")  # scores with intervals
by_group = reached.map(lambda score: score.value)
record.save_table("by_group", by_group.rename_axis("group").reset_index())
single = by_group.drop(index="all twelve")
title = f"Best alone for genre: {single.iloc[:, 0].idxmax()}"
caption = (
    "Each hand-made group alone, and all twelve, in cross-validation over the training clips: "
    "accuracy for genre, rank correlation for the axes. Colours run from the lowest to the highest "
    "of each column."
)
record.show(plots.group_scores(by_group, title), "by_group", caption=caption)

# %% tags=["solution", "told"]
# Scores with intervals, the best group of each task beside all twelve.
tell_list(
    Sentence("{task} ({n} clips): {group} is best alone, {alone}; all twelve together reach {all}.",
             task=task, n=len(labels) if "genre" in task else len(values), group=own.idxmax(),
             alone=reached.loc[own.idxmax(), task], all=reached.loc["all twelve", task])
    for task, own in single.items()
)  # fmt: skip
tell(
    "**Verdict.** All twelve together reach more than the best group alone in {n} of {of} tasks. "
    "The best of twelve noisy scores is a little too high; where the two intervals overlap widely, "
    "neither is shown to be better. Always answering the most frequent class would be right for "
    "{majority:.2f} of the genre clips.",
    n=sum(own.max() < by_group.loc["all twelve", task] for task, own in single.items()),
    of=len(single.columns), majority=np.bincount(labels).max() / len(labels),
)  # fmt: skip

# %% [markdown]
# ### Exercise 6.1 · Which group for which axis?
#
# An SVR is not needed to see what a group knows. Predict each clip's value by its *neighbours*: the mean value of the k other clips that are most alike by the group's kernel.
# Then look which group is best for which axis, and say why.


# %% tags=["exercise"]
def my_neighbours(kernel, values, k=10):
    """The mean value of the k most alike OTHER clips: kernel [n, n], values [n] -> [n]."""
    ...


def check_neighbours(own):
    """Three clips whose kernel is known; then each group's best axis."""
    kernel = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    got = own(kernel, np.array([0.0, 0.5, 1.0]), 1)
    if got is None:
        print("my_neighbours is not written yet")
        return
    wrong = "clip 0 is most like itself: leave each clip out of its own neighbours"
    assert not np.allclose(got, [0.0, 0.5, 1.0]), wrong
    assert np.allclose(got, [0.5, 0.0, 0.5]), f"{got}, expected [0.5, 0, 0.5]: largest kernel first"
    got = own(kernel, np.array([0.0, 0.5, 1.0]), 2)
    assert np.allclose(got, [0.75, 0.5, 0.25]), f"{got}, expected [0.75, 0.5, 0.25]: means of k = 2"
    print("right")
    for axis, true_values in zip(axes, values.T, strict=True):
        found = {
            name: spearmanr(own(baselines.averaged_kernel(x, x), true_values), true_values)[0]
            for name, x in of_affect.items()
        }
        name = max(found, key=found.get)
        print(f"{axis}: best is {name}, {found[name]:.2f}; worst {min(found, key=found.get)}")


check_neighbours(my_neighbours)


# %% tags=["solution", "folded"]
def my_neighbours(kernel, values, k=10):
    """The mean value of the k most alike OTHER clips: kernel [n, n], values [n] -> [n]."""
    others = kernel - 2 * np.eye(len(kernel))  # nobody is his own neighbour
    nearest = others.argsort(axis=1)[:, ::-1][:, :k]
    return values[nearest].mean(axis=1)


check_neighbours(my_neighbours)

# %% [markdown] tags=["solution", "folded"]
# **Why?** *Energy* is heard in how loud, bright and dense the sound is, and that is what levels, contrast and the cepstrum describe. *Danceability* needs drums and a regular
# pulse: drums leave their mark in the spectrum and in the rhythm. *Valence* is in the harmony (where the strongest class is the tonic, major and minor differ in the third above
# it), but also in levels: on the demo set sad music is played by fewer and softer instruments. *Tempo* alone knows one thing, and an autocorrelation cannot tell a tempo from
# its half or double. Does your order differ? Neighbours and SVR need not agree on close ones, and on real music the order may be another one.

# %% [markdown]
# ## 6α · Accuracy
#
# > **Handout.** *Στα δύο σύνολα δοκιμής, για κάθε μοντέλο του βήματος 5: η ορθότητα (accuracy).*
# > On both test sets, for each model of step 5: the accuracy.
#
# [Accuracy](../docs/glossary.md#accuracy) is the share of the N test clips whose class $y$ was recognised ($\hat y$ is the model's answer):
#
# $$ \text{accuracy} = \frac{1}{N} \sum_{i=1}^{N} [\, \hat y_i = y_i \,] $$
#
# On other test clips it would be another number. How far off? The [bootstrap](../docs/glossary.md#bootstrap) asks this of the clips themselves: draw as many clips again, with
# replacement, a thousand times, and look at the middle 95 % of the accuracies. That is the 95 % [interval](../docs/glossary.md#interval). It covers the choice of the test
# clips only; training again from another seed changes a score, too.
#
# **Predict.** A model recognises 94 of 144 clips, 65 %. How wide is its interval?
#
# <details><summary>What to expect, and why</summary>
# The standard deviation of a share p of N clips is the root of p (1 - p) / N, here 0.04. The interval reaches about two of them to each
# side: 0.57 to 0.73. So two models that differ by a few points, each with such an interval, are not told apart by looking at both.
# </details>

# %% tags=["solution"]
right = predictions[best] == truth[folder_of[best]]  # True where the answer is right, [N]
picks = np.random.default_rng(seed).integers(len(right), size=(1000, len(right)))
low, high = np.percentile(right[picks].mean(axis=1), [2.5, 97.5])
print(f"{name_of(best)}: accuracy {right.mean():.3f}, 95 % interval {low:.3f} to {high:.3f}")

scores = {}
for name, predicted in predictions.items():
    true = truth[folder_of[name]]
    scores[name] = evaluation.classification_scores(true, predicted, len(classes), seed)
    record.add_scores(name, feature_of[name], test_sets[folder_of[name]], scores[name], len(true))
kit = scores[best]["accuracy"]
agree("accuracy and interval", lambda: [right.mean(), low, high], [kit.value, kit.low, kit.high])


# %% tags=["solution", "report"]
def mean_over_trainings(name, score):
    """The mean of score(true, predicted) over all trainings of a model."""
    return np.mean([score(truth[folder_of[name]], answers) for answers in of_all_seeds[name]])


ordered = sorted(scores, key=lambda name: scores[name]["accuracy"].value, reverse=True)
table = pd.DataFrame({
    "accuracy": [scores[name]["accuracy"] for name in ordered],
    "mean of all trainings": [mean_over_trainings(name, lambda a, b: (a == b).mean())
                              for name in ordered],
}, index=map(name_of, ordered))  # fmt: skip
caption = (
    "Each model on the test set of its own features: its first training with a 95 % interval, and "
    "the mean of all its trainings."
)
show_table(table, caption=caption)

# %% tags=["solution", "appendix"]
# Which models lie above "always the most frequent class", with their whole interval?
lstms = [name for name in ordered if name.startswith("lstm")]
majority = scores["majority_full"]["accuracy"]
above = [name_of(name) for name in lstms if scores[name]["accuracy"].low > majority.value]
drawn = plots.score_plot(
    {name_of(name): scores[name]["accuracy"] for name in ordered},
    f"{len(above)} of {len(lstms)} LSTMs lie above the majority, interval and all",
    "accuracy on test", majority.value,
    baselines=[name_of(name) for name in ordered if name not in lstms],
)  # fmt: skip
record.show(drawn, "accuracy", caption="Accuracy on test with 95 % intervals.")
tell(
    "**Verdict.** Always answering the most frequent class reaches {majority:.3f}. Of {n} LSTMs "
    "{n_above} lie above it with their whole interval.",
    majority=majority.value, n=len(lstms), n_above=len(above),
)  # fmt: skip

# %% [markdown]
# ## 6β · Precision, recall and F1 per class
#
# > **Handout.** *Για κάθε κλάση: ακρίβεια (precision), ανάκληση (recall) και F1, με τη `classification_report`.*
# > For each class: precision, recall and F1, with `classification_report`.
#
# Take one class, say Blues. Each clip then falls into one of four boxes, [true and false positives and negatives](../docs/glossary.md#true-and-false-positives):
#
# ```text
#                          called Blues           called something else
# is Blues                 true positive  TP      false negative  FN   (missed)
# is something else        false positive FP      true negative
#                          (false alarm)
# ```
#
# Of the clips that were *called* Blues, how many are? That is [precision](../docs/glossary.md#precision-and-recall). Of the clips that *are* Blues, how many were found? That is recall.
# [F1](../docs/glossary.md#f1) is their harmonic mean, high only when both are:
#
# $$ \text{precision} = \frac{TP}{TP + FP} \qquad \text{recall} = \frac{TP}{TP + FN} \qquad
# F_1 = \frac{2 \cdot \text{precision} \cdot \text{recall}}{\text{precision} + \text{recall}} = \frac{2\,TP}{2\,TP + FP + FN} $$
#
# All of it is in the [confusion matrix](../docs/glossary.md#confusion-matrix), whose entry (i, j) counts the clips of class i that were called class j: TP stands on the diagonal, FN is the rest of
# the class's *row*, FP the rest of its *column*.


# %% tags=["solution"]
def confusion(true, predicted, n_classes):
    """counts[i, j]: how many clips of class i were called class j, [C, C]."""
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (true, predicted), 1)
    return counts


def precision_recall_f1(counts):
    """Of each class, [C] each. Where nothing is called or belongs so, 0/0 counts as 0."""
    tp = np.diag(counts)
    fp = counts.sum(axis=0) - tp  # called this class, but are another
    fn = counts.sum(axis=1) - tp  # are this class, but were called another
    precision = tp / np.maximum(tp + fp, 1)
    recall = tp / np.maximum(tp + fn, 1)
    f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    return precision, recall, f1


# %% tags=["solution"]
# By hand, and held against the kit's tables.
true, predicted = truth[folder_of[best]], predictions[best]
numbers = range(len(classes))
counts = confusion(true, predicted, len(classes))
reports = {
    name: evaluation.report_table(truth[folder_of[name]], answers, classes)
    for name, answers in predictions.items()
}
kit = reports[best].loc[classes, ["precision", "recall", "f1"]].T
agree("precision, recall and F1", lambda: precision_recall_f1(counts), kit)

# %% [markdown]
# (The kit's `report_table` takes its numbers from scikit-learn.) And now the function that the handout names. True labels come first: swapping the two arguments swaps precision and recall without any error message.
# Give `labels` and `target_names` in the order of the class list, so that names and rows belong together.

# %% tags=["solution"]
print(f"{name_of(best)}, the LSTM that validation chose, on the test set")
print(classification_report(true, predicted, labels=numbers, target_names=classes, zero_division=0))

# %% [markdown]
# *support* is the number of test clips of the class. The last rows are averages: *macro* (6γ), and *weighted*, the mean over classes
# weighted by support. Where other libraries print a row *micro avg*, this one prints *accuracy*; 6δ says why.
#
# ### Why accuracy is not enough
#
# **Predict.** Two models have nearly the same accuracy. Is their F1 nearly the same in every class, too?
#
# <details><summary>What to expect, and why</summary>
# No. Accuracy only counts right answers. One model may find many Rock clips and no Blues, another fewer Rock clips and most of the Blues.
# Two rows of numbers with the same sum need not be the same.
# </details>

# %% tags=["solution", "report"]
# Of all neighbours in accuracy the closest pair: where do they differ most?
f1 = pd.DataFrame({name: reports[name].loc[classes, "f1"] for name in ordered})
real = [name for name in ordered if not name.startswith("majority")]
accuracies = np.array([scores[name]["accuracy"].value for name in real])
closest = int(np.abs(np.diff(accuracies)).argmin())
one, other = real[closest : closest + 2]
where = (f1[one] - f1[other]).abs().idxmax()
tell(
    "{one} and {other} have accuracies of {x:.3f} and {y:.3f}, but an F1 of {f1:.2f} and "
    "{other_f1:.2f} for {where}. Accuracy does not tell which classes it comes from.",
    one=name_of(one), other=name_of(other), x=accuracies[closest], y=accuracies[closest + 1],
    f1=f1.loc[where, one], other_f1=f1.loc[where, other], where=where,
)  # fmt: skip

# %% [markdown]
# The picture shows the LSTM that validation chose, both SVMs, and the other LSTM with the best test score. This one is chosen *by test*, for a picture only; no
# later step uses the choice.

# %% tags=["solution", "appendix"]
# The classes of the best LSTM and three others, and what has been given up.
shown = [best, *[name for name in lstms if name != best][:1], "svm_hand_full", "svm_mel_full"]
table = f1[shown].rename(columns=name_of)
worst = ", ".join(f1.index[f1[best] == f1[best].min()])
title = f"Easiest for {name_of(best)}: {f1[best].idxmax()}; hardest: {worst}"
record.show(plots.class_f1(table, title), "f1_per_class", caption="F1 per class on test.")
never = {name: f1.index[f1[name] == 0].tolist() for name in lstms}
told = [Sentence("{model} ({which})", model=name_of(name), which=lost)
        for name, lost in never.items() if lost]  # fmt: skip
tell("LSTMs that have given up a class (F1 = 0): {told:; }.", told=told)

# %% [markdown]
# ### The confusion matrix
#
# Each row holds the shares of one true class and adds up to 1 (up to rounding); the number of its clips stands in brackets.

# %% tags=["solution", "report"]
# Which class is taken for which?
off = counts - np.diag(np.diag(counts))
confused = [classes[i] for i in np.unravel_index(off.argmax(), off.shape)]
title = f"{name_of(best)}: most often ({off.max()} clips) {confused[0]} is called {confused[1]}"
drawn = plots.confusion_matrix(counts, classes, title)
caption = "Confusion matrix of the LSTM that validation chose, on the test set."
record.show(drawn, "confusion_best_lstm", caption=caption)

# %% [markdown]
# One training has luck in its mistakes, too. So count the mistakes of all trainings that read mel, alone or with chroma. And as a class is a mixture of genres since
# step 4β, look below it: which *genres* are the clips that are mistaken?


# %% tags=["solution", "appendix"]
def mistakes_of(name, answers):
    """A model's mistakes on test: clip, its genre in the label file, its class, the answer."""
    folder = folder_of[name]
    table = pd.DataFrame({"clip": ids[folder], "genre": genre_of[folder]})
    table["class"], table["called"] = np.array(classes)[truth[folder]], np.array(classes)[answers]
    return table[table["class"] != table["called"]]


readers = [name for name in lstms if feature_of[name] != "chroma"]
trainings = [(name, answers) for name in readers for answers in of_all_seeds[name]]
pairs = pd.concat([mistakes_of(*one) for one in trainings]).groupby(["class", "called"])["genre"]
frequent = pairs.size().nlargest(6)
class_size = reports[best]["clips"]
told = [
    Sentence(
        "{name} taken for {called}: {n} of {all} answers ({genres})",
        name=pair[0], called=pair[1], n=int(n), all=int(class_size[pair[0]]) * len(trainings),
        genres=[f"{genre} {m}" for genre, m in pairs.get_group(pair).value_counts().items()],
    )
    for pair, n in frequent.items()
]  # fmt: skip
tell(
    "The most frequent mistakes in {n} trainings that read mel, alone or with chroma:",
    n=len(trainings),
)
tell_list(told)

# %% [markdown] tags=["solution"]
# **On the demo set** the composer of the clips is known (`demo_music/styles.yaml`), so one can say what such pairs share.
#
# - *Rock for Metal* and *Rock for Folk*: the class Rock falls apart into its genres. Metal holds Punk since 4β, and Punk is played with the same loud drums and distorted
#   power chords as plain Rock, only faster. Post-Rock and Psych-Rock, with quiet guitars, organs and slow build-ups, lie at the other end, beside Psych-Folk. They share
#   Rock's *class* but not its sound: merging has made a class that is hard to learn.
# - *Blues for Folk*: Blues borrows its instruments from Folk, Rock and Jazz. What makes it Blues, twelve bars and a shuffle, is harmony and rhythm: the
#   last things that an average over time shows.
# - *Hip-Hop* or *Pop for Electronic*: the same drum machines and bass synthesisers. What differs is the voice.
# - *Jazz for Blues*: both swing, over a walking bass, with piano or electric guitar and seventh chords.
#
# These are *near misses*, between neighbours that listeners confuse, too. Classical for Metal would be an error to look into. Every metric here counts both alike.

# %% tags=["solution"]
# The most confident mistakes of the chosen LSTM; what can be listened to has a player (demo set).
mistakes = mistakes_of(best, predictions[best])
sure = softmax(logits[best], axis=1).max(axis=1)
mistakes = mistakes.assign(probability=sure[mistakes.index])
mistakes = mistakes.sort_values("probability", ascending=False)
show_table(mistakes.head(5).set_index("clip").rename_axis(None), digits=2)
audible = set(folders.audio_clips(root))
for mistake in mistakes[mistakes["clip"].isin(audible)].head(1).itertuples():
    print(f"clip {mistake.clip}: {mistake.genre} taken for {mistake.called}. Would you?")
    play(folders.audio_path(root, mistake.clip))

# %%
# How the two sides of the most frequent mistake sound: a training clip of each.
tracks = folders.read_clips(root / folders.GENRE, "train")
example = tracks[tracks["id"].isin(audible)].drop_duplicates("genre").set_index("genre")["id"]
for genre in frequent.index[0] if len(frequent) else ():
    if genre in example:
        print(f"clip {example[genre]}: {genre}")
        play(folders.audio_path(root, example[genre]))

# %% [markdown] tags=["extra"]
# ### The reports of all models
#
# One table a model, as the handout asks: precision, recall and F1 of each class, with the 95 % interval of F1. An F1 of 0 has an interval of [0, 0]. That is no certainty:
# resampling cannot draw a hit where there is none.


# %% tags=["solution", "report", "extra"]
def show_report(name):
    """A model's report as a table, with the 95 % interval of each F1."""
    own = evaluation.f1_scores(truth[folder_of[name]], predictions[name], classes, seed)
    own |= {"macro avg": scores[name]["macro F1"], "micro avg": scores[name]["micro F1"]}
    table = reports[name].drop(columns="f1")
    table.insert(2, "F1", [own[row] for row in table.index])
    caption = Sentence("{model} on test (`classification_report`).", model=name_of(name))
    show_table(table, 2, caption=caption)


for name, report in reports.items():
    record.save_table(f"report_{name}", report.reset_index(names="class"))
machines = ["svm_mel_full", "svm_hand_full", "svm_mel_beat", "svm_hand_beat"]
for name in [best, *[name for name in lstms if name != best], *machines]:  # the chosen one first
    tell("#### {model}", model=name_of(name))
    show_report(name)

# %% [markdown]
# ## 6γ · Macro average
#
# > **Handout.** *Για κάθε μοντέλο: ο μακρο-μέσος όρος (macro average) των τριών μετρικών.*
# > For each model: the macro average of the three metrics.
#
# The plain mean over the C classes: every class counts the same, however few clips it has.
#
# $$ \text{macro } F_1 = \frac{1}{C} \sum_{c=1}^{C} F_{1,c} $$
#
# It is the mean of the classes' F1, *not* the F1 of the mean precision and the mean recall. (The *weighted* average of the report has each class's
# share of the clips in place of 1/C, so large classes dominate again.)


# %% tags=["solution", "report"]
def macro_f1(true, predicted):
    """The mean F1 over the classes."""
    return precision_recall_f1(confusion(true, predicted, len(classes)))[2].mean()


table = pd.DataFrame({
    "precision": [reports[name].loc["macro avg", "precision"] for name in ordered],
    "recall": [reports[name].loc["macro avg", "recall"] for name in ordered],
    "F1": [scores[name]["macro F1"] for name in ordered],
    "F1, mean of all trainings": [mean_over_trainings(name, macro_f1) for name in ordered],
}, index=map(name_of, ordered))  # fmt: skip
show_table(table, 2, caption="Macro averages on test.")

# %% [markdown]
# ### Exercise 6.2 · Macro F1 from a confusion matrix
#
# Write it without the functions above.


# %% tags=["exercise"]
def my_macro_f1(counts):
    """The mean F1 over the classes of a confusion matrix [C, C], true classes down."""
    ...


def check_macro_f1(own):
    """Hold it against scikit-learn's, on the answers of the best LSTM."""
    got = own(counts)
    if got is None:
        print("my_macro_f1 is not written yet")
        return
    precision, recall, _ = precision_recall_f1(counts)
    averages = 2 * precision.mean() * recall.mean() / (precision.mean() + recall.mean())
    wanted = f1_score(true, predicted, labels=numbers, average="macro", zero_division=0)
    assert np.ndim(got) == 0, (
        f"one number is asked, you give the shape {np.shape(got)}: take the mean"
    )
    if abs(got - wanted) > 1e-9:
        assert abs(got - averages) > 1e-9, (
            "this is the F1 of the two means; take the mean of the F1"
        )
        raise AssertionError(f"yours is {got:.4f}, scikit-learn's {wanted:.4f}")
    print(f"right: {got:.4f}; the F1 of mean precision and mean recall would be {averages:.4f}")


check_macro_f1(my_macro_f1)


# %% tags=["solution", "folded"]
def my_macro_f1(counts):
    """The mean F1 over the classes of a confusion matrix [C, C], true classes down."""
    called, belong = counts.sum(axis=0), counts.sum(axis=1)
    return (2 * np.diag(counts) / np.maximum(called + belong, 1)).mean()


check_macro_f1(my_macro_f1)

# %% [markdown]
# ## 6δ · Micro average
#
# > **Handout.** *Για κάθε μοντέλο: ο μικρο-μέσος όρος (micro average) των τριών μετρικών.*
# > For each model: the micro average of the three metrics.
#
# All decisions are pooled first: TP, FP and FN are added up over the classes, then come the formulas of 6β. Every *clip* counts the same.
#
# When each clip has exactly one class and gets exactly one answer, each wrong answer is one false positive (of the class that was named) and one false
# negative (of the class that was missed). So the sums of FP and FN are both the number of errors, and
#
# $$ \text{micro precision} = \frac{\sum TP}{\sum TP + \sum FP} = \frac{\text{right}}{\text{right} + \text{wrong}} = \text{accuracy} = \text{micro recall} = \text{micro } F_1 $$

# %% tags=["solution", "report"]
# One number with four names: asserted for every model.
for name, answers in predictions.items():
    true_here = truth[folder_of[name]]
    micro = precision_recall_fscore_support(true_here, answers, average="micro", zero_division=0)
    assert np.allclose(micro[:3], scores[name]["accuracy"].value), name
tell(
    "**Verdict.** For all {n} models micro precision, micro recall and micro F1 equal the accuracy "
    "of 6α.",
    n=len(predictions),
)

# %% [markdown]
# ## 6 · The questions
#
# > **Handout.** *Τι δείχνει η κάθε μετρική; Πότε διαφέρουν πολύ η ορθότητα και το F1, και πότε το micro και το macro F1; Πού μετρά περισσότερο η
# > ακρίβεια από την ανάκληση και πού το αντίστροφο; Ποια μετρική θα διαλέγατε εδώ;*
# > What does each metric show? When do accuracy and F1 differ widely, and micro and macro F1? Where does precision matter more than recall, and the reverse? Which metric
# > would you choose here?
#
# **What do accuracy, precision, recall and F1 show?** Accuracy: the share of right answers over all clips. Precision of
# a class: of the clips that were *called* this class, the share that are, TP / (TP + FP). Recall: of the clips that *are* this class, the
# share that was found, TP / (TP + FN). F1: the harmonic mean of both, high only when both are; a model cannot buy it by naming a rare class
# always (recall 1, but precision only the class's share of the clips), nor by naming it only when very sure (recall low).
#
# **What do micro and macro averages show?** Micro: how the model does on a clip drawn at random; large classes dominate.
# Macro: how it does on a class drawn at random; a class of few clips counts like one of many.
#
# **When do accuracy and F1 differ widely, and what does it mean?** Under *class imbalance*, when some classes are much smaller than others. Accuracy against the F1 of *one*
# class: a class that is hardly ever found hardly moves accuracy if it is small. Accuracy against *macro* F1: the same for every small class that is recognised worse than the
# large ones. The screening below is the extreme case; in ten classes the majority answer is (accuracy 0.18, macro F1 0.03 on the demo set).
#
# **When do micro and macro F1 differ widely, and what does it mean?** As micro F1 is accuracy here, this is the same question
# again: macro F1 pays for every class that is not learned, micro F1 only by that class's clips. A macro F1 *above* the micro one
# says that small classes are recognised better than large ones.
#
# **Where does precision matter more than recall, and the reverse? Is a good accuracy or F1 then enough?** Precision: a
# spam filter, or a system that removes uploads for copyright; a false alarm is costly. Recall: screening for a disease, or
# finding every use of a song; a miss is costly. F1 weighs both alike, and accuracy ignores which error was made, so neither
# is enough: state the cost of each error, look at the precision-recall trade-off (move the threshold), or use F-beta, in which
# recall counts beta times as much as precision (exercise 6.3).
#
# **Which metric here?** Macro F1, with accuracy beside it: the classes are unequal (merging made Rock several times as large
# as Trip-Hop), no genre matters more than another, and no kind of error costs more than another.

# %% [markdown]
# ### A screening: 10 of 1,000 are ill
#
# **Predict.** Of 1,000 people 10 are ill. Test A calls nobody ill. Test B finds 8 of the 10 and gives 40 false alarms. Which has the better accuracy? Which would you take?
#
# <details><summary>What to expect, and why</summary>
# A makes 10 errors, B makes 42, so A has the better accuracy. And A is worth nothing: it never finds anybody. Recall says so at once, and so does the F1 of
# the class <em>ill</em>. With ten equal classes this cannot happen so badly; with 1 % it does.
# </details>

# %% tags=["solution"]
tests = {
    "A: nobody is called ill": np.array([[990, 0], [10, 0]]),  # rows: healthy, ill; columns: called
    "B: 8 found, 40 false alarms": np.array([[950, 40], [2, 8]]),
}
rows = {}
for name, people in tests.items():
    precision, recall, f1_of_both = precision_recall_f1(people)
    of_ill = {"precision": precision[1], "recall": recall[1], "F1": f1_of_both[1]}
    rows[name] = {"accuracy": np.trace(people) / people.sum(), **of_ill}
show_table(pd.DataFrame(rows).T)

# %% [markdown]
# ### Try it: make a confusion matrix
#
# Begin with *imbalanced*. Put the wrong answers of the small classes on the diagonal, one by one: how far does accuracy rise, and how far macro F1? Then try to get a macro F1
# *above* the accuracy. Which class has to make the errors?

# %%
examples = {
    "balanced": [[40, 6, 4], [6, 40, 4], [4, 6, 40]],
    "imbalanced": [[96, 3, 1], [6, 4, 0], [7, 1, 2]],
}
explorers.confusion(examples, ["Rock", "Blues", "Trip-Hop"])

# %% [markdown]
# ### Are small classes recognised worse?
#
# The answers above say: accuracy and macro F1 differ because small classes are recognised worse. Here is F1 against class size, from the largest class to the smallest.
#
# **Predict.** Do you expect a clear slope? And where are the intervals widest?
#
# <details><summary>What to expect, and why</summary>
# Small classes have fewer clips to learn from, so their F1 should be lower on average. But a class can be small and easy (one that sounds
# like nothing else), so single classes may break the rule. The intervals are widest for the small ones: 8 or 10 test clips say little.
# </details>

# %% tags=["solution", "appendix"]
# F1 against class size.
size = reports[best].loc[classes, "clips"]
own_f1 = evaluation.f1_scores(truth[folder_of[best]], predictions[best], classes, seed)
group = {name: "large" if size[name] > size.mean() else "small" for name in classes}
rows = {
    f"{name} ({size[name]}): {group[name]}": own_f1[name] for name in size.sort_values()[::-1].index
}
mean_f1 = f1[best].groupby(group).mean()
title = ", ".join(f"{kind} classes: mean F1 {mean:.2f}" for kind, mean in mean_f1.items())
drawn = plots.score_plot(rows, title, f"F1 of {name_of(best)} on test")
record.show(drawn, "f1_by_size", caption="F1 of each class, from the largest to the smallest.")
if len(mean_f1) == 2:
    small = size.index[[group[name] == "small" for name in size.index]]
    tell(
        "**Verdict.** {answer}: for {model} the mean F1 of the classes above the average size is "
        "{large:.2f}, of those below it {small:.2f}. The best of the small ones, {exception}, has "
        "{its:.2f}.",
        answer="On average yes" if mean_f1["large"] > mean_f1["small"] else "No",
        model=name_of(best),
        large=mean_f1["large"], small=mean_f1["small"], exception=f1.loc[small, best].idxmax(),
        its=f1.loc[small, best].max(),
    )  # fmt: skip

# %% [markdown]
# ### Try it: move the threshold
#
# So far a clip was given the class of its largest logit. [Softmax](../docs/glossary.md#softmax) turns a clip's logits into probabilities that add up to 1; now
# take one class alone, and call a clip by its name whenever its probability reaches a threshold. Choose the class and move the threshold.
# The clips are those of *validation*: a threshold is a choice too, and nothing is chosen on test.
#
# *Try* to find every clip of a class, and count the others that come along; then to be nearly always right when you say
# its name, and count what you miss. *Look for* a class whose right-hand curve stays high, and one that falls near the
# dotted line, which is guessing, already at low recall.
#
# **Predict.** As the threshold rises, can recall rise? Can precision fall?
#
# <details><summary>What to expect, and why</summary>
# Fewer and fewer clips are called. A clip that is lost can be a hit or a false alarm. Recall is hits / (all clips of the class): the
# denominator stays and the hits can only become fewer, so recall never rises. Precision is hits / called: when a false alarm is lost it
# rises, when a hit is lost it falls. So it goes up and down, mostly up.
# </details>

# %%
# The best LSTM's probabilities for the validation clips, scaled as in its training.
checkpoint = record.load_checkpoint("05_lstm", best, head="classifier", classes=classes)
splits = datasets.genre_splits(root / folder_of[best], checkpoint.feature, seed)
splits.base.scaler = checkpoint.scaler
loader = datasets.make_loader(splits.val, batch_size, device=compute)
probabilities = softmax(training.predict(checkpoint.model, loader, compute), axis=1)
explorers.threshold(record, datasets.labels_of(splits.val).numpy(), probabilities, classes)

# %% [markdown]
# ### Exercise 6.3 · F-beta
#
# Where a miss costs more than a false alarm, recall should count more. F-beta is F1 with recall counting $\beta$ times as much as precision:
#
# $$ F_\beta = \frac{(1 + \beta^2) \cdot \text{precision} \cdot \text{recall}}{\beta^2 \cdot \text{precision} + \text{recall}} $$
#
# Write it, 0 where both are 0. Which of the two tests of the screening wins with $\beta = 2$?


# %% tags=["exercise"]
def my_f_beta(precision, recall, beta):
    """F-beta of one class; 0 where precision and recall are 0."""
    ...


def check_f_beta(own):
    """Some values that are known."""
    if own(0.5, 1.0, 1) is None:
        print("my_f_beta is not written yet")
        return
    assert abs(own(0.5, 1.0, 1) - 2 / 3) < 1e-9, "with beta = 1 it must be F1: 0.667 for 0.5 and 1"
    assert own(1.0, 0.5, 2) < own(0.5, 1.0, 2), (
        "with beta = 2, recall must count more than precision"
    )
    assert abs(own(0.5, 1.0, 2) - 5 / 6) < 1e-9, "is beta squared, in both places?"
    assert own(0.0, 0.0, 2) == 0, "where both are 0, it is 0 (not an error, not nan)"
    print(
        f"right: with beta = 2, test A has {own(0, 0, 2):.2f} and test B {own(8 / 48, 0.8, 2):.2f}"
    )


check_f_beta(my_f_beta)


# %% tags=["solution", "folded"]
def my_f_beta(precision, recall, beta):
    """F-beta of one class; 0 where precision and recall are 0."""
    if precision == recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


check_f_beta(my_f_beta)

# %% [markdown]
# ## Which representation?
#
# Step 5 trains the same network on several pictures of the same music. Which one is best? Four questions, fixed before any test score was seen (the scores above had no
# part in them):
#
# 1. **Time**: full clips or one frame per beat (mel)?
# 2. **Content**, full clips: mel or chroma?
# 3. **Content**, per beat: mel or chroma?
# 4. **Both**: does chroma beside mel help (full clips)?
#
# The intervals of two models may overlap although one is clearly better, because the same clips are hard for both. So what gets an interval is the
# *difference*, on the same clips (a [paired comparison](../docs/glossary.md#paired-comparison)): draw clips again, take both scores on them, subtract. Macro F1 is compared, as the metric of choice, and
# accuracy beside it; each is the mean over all trainings of a model.
#
# The [p-value](../docs/glossary.md#p-value) asks how often a difference this large would come about between equally good models (accuracy: the two models' answers are swapped on random clips, a thousand
# times; macro F1: how many of the draws lie on the other side of 0). Of twenty comparisons of equally good models, one is expected to have a p-value below 0.05.
# **Holm's correction** therefore multiplies the smallest of k p-values by k, the next one by k - 1, and so on (never below the one before, at most 1).
# *Clear* means here: the corrected p is below 0.05, and 0 lies outside the interval.
#
# **Predict.** Which of the four will be clear?
#
# <details><summary>What to expect, and why</summary>
# On 144 clips a paired interval reaches about 0.1 to each side. Chroma throws away timbre, the strongest cue of all, so questions 2 and 3 should
# show a large difference. Beats lose attacks and rhythm, but keep the spectrum: a smaller loss, near what these clips can show. Mel
# holds nearly all that chroma holds, so question 4 should be open.
# </details>

# %% tags=["solution"]
# The two test folders hold the same clips, perhaps in another order: compare them by id.
common = sorted(set(ids[folders.GENRE]) & set(ids[folders.GENRE_BEAT]))
compare_by = {"macro F1": evaluation.compare_macro_f1, "accuracy": evaluation.compare_accuracy}


def by_id(answers, folder):
    """Class numbers of one folder's clips, in the order of `common`."""
    return pd.Series(answers, index=ids[folder])[common].to_numpy()


def compared(pairs, metric):
    """Paired differences, first minus second, over all trainings; corrected for being several."""
    true = by_id(truth[folders.GENRE], folders.GENRE)
    found = {}
    for pair in pairs:
        sides = [
            [by_id(answers, folder_of[name]) for answers in of_all_seeds[name]] for name in pair
        ]
        found[pair] = compare_by[metric](true, *sides, seed)
    return evaluation.holm(found)


# %% tags=["solution", "appendix"]
questions = {
    ("lstm_mel_full", "lstm_mel_beat"): "full clips or beats",
    ("lstm_mel_full", "lstm_chroma_full"): "mel or chroma, full clips",
    ("lstm_mel_beat", "lstm_chroma_beat"): "mel or chroma, beats",
    ("lstm_fused_full", "lstm_mel_full"): "both or mel alone, full clips",
}
by_metric = {metric: compared(questions, metric) for metric in compare_by}


def with_names(results):
    """The same comparisons under the names of the models."""
    return {(name_of(first), name_of(second)): c for (first, second), c in results.items()}


drawn = plots.differences(with_names(by_metric["macro F1"]), "macro F1")
record.show(drawn, "representations", caption="Four questions: paired differences in macro F1.")

# %% [markdown]
# Each interval is that of its own comparison, 95 %, not corrected for being one of four; the p-values are corrected. So an interval that just leaves out 0 may still be
# open (an empty dot).


# %% tags=["solution", "appendix"]
def show_compared(by_metric, caption):
    """Both metrics of each pair: difference with interval, and corrected p-value."""
    table = pd.DataFrame(index=[f"{a} minus {b}" for a, b in with_names(by_metric["macro F1"])])
    for metric, results in by_metric.items():
        table[metric] = [result.difference for result in results.values()]
        table[f"p ({metric})"] = [result.adjusted for result in results.values()]
    show_table(table, caption=caption)


show_compared(by_metric, caption="Paired differences with 95 % intervals, and p after Holm.")


# %% tags=["solution", "report", "told"]
def verdict(pair):
    """Which of a pair is better, if these clips can tell."""
    macro, accuracy = by_metric["macro F1"][pair], by_metric["accuracy"][pair]
    sizes = {"macro": macro.difference.value, "accuracy": accuracy.difference.value}
    if not macro.clear and not accuracy.clear:
        return Sentence(
            "these clips cannot tell (macro F1 {macro:+.2f}, accuracy {accuracy:+.2f})", **sizes
        )
    by = "both metrics" if macro.clear and accuracy.clear else "one metric of the two"
    leads = (macro if macro.clear else accuracy).difference.value > 0
    return Sentence(
        "{better} is better by {by} (macro F1 {macro:+.2f}, accuracy {accuracy:+.2f})",
        better=name_of(pair[0] if leads else pair[1]), by=by, **sizes,
    )  # fmt: skip


tell_list(
    Sentence("**Verdict**, {question}: {verdict}.", question=question, verdict=verdict(pair))
    for pair, question in questions.items()
)
tell(
    "Each score is the mean over {n} trainings, on {clips} clips. The smallest p-value that {r} "
    "resamples can give is {p:.3f}, before the correction.",
    n=n_seeds, clips=len(common), r=evaluation.N_RESAMPLES, p=2 / (evaluation.N_RESAMPLES + 1),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Why mel beats chroma.** A chromagram adds up all octaves and keeps 12 numbers: which notes sound, not *what* sounds. Genres differ above all in what sounds: a distorted
# guitar and a piano may play the same chord. **What beats lose.** The median between two beats throws away all that is shorter: attacks, hi-hats, tremolo, the
# rhythm inside the beat. The tempo goes, too, but for the number of frames. What stays is the spectrum, hence the smaller difference. **Why both add little.** The
# mel bands hold the notes already, if less neatly: what chroma knows is in them. Nothing here says that chroma is useless; it says that an
# LSTM with some hundred clips gets little from it that mel has not given.

# %% tags=["solution"]
# The networks are not equally large: count their weights, and the frames that they read per step.
rows, weights = {}, []
for name in dict.fromkeys(name for pair in questions for name in pair):
    checkpoint = record.load_checkpoint("05_lstm", name)
    n_weights = sum(part.numel() for part in checkpoint.model.parameters())
    frames_per_step = checkpoint.spec["backbone_options"]["stack"]
    rows[name_of(name)] = {"weights": f"{n_weights:,}", "frames per step": frames_per_step}
    weights.append(n_weights)
show_table(pd.DataFrame(rows).T)
tell(
    "**What else differs.** The largest of these LSTMs has {times:.0f} times as many weights as "
    "the smallest.", times=max(weights) / min(weights),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# So "the same network on another picture" is only nearly true. The input decides the size of the first matrix: 12 numbers for a chroma frame, 16 x 128 for a step of a full mel clip.
# On some hundred training clips more weights are no sure advantage (they over-fit sooner), but they are a difference that is *not* the representation. A clean
# experiment would give all of them the same number of weights; what is compared here is the representation *with the network that fits it*.
#
# ### Exercise 6.4 · A paired bootstrap
#
# Write the interval of the difference of two models in a score, first minus second. The clips that are drawn are given, 1,000 rows of clip numbers. They must be *the same* for
# both models: that is what "paired" means.


# %% tags=["exercise"]
def my_paired_interval(score, true, first, second, picks):
    """The 2.5 and 97.5 percentile of score(true, first) - score(true, second) over the picks."""
    ...


def check_paired_interval(own):
    """Hold it against the kit's interval of the difference in accuracy."""
    true = truth[folders.GENRE]
    first, second = predictions["lstm_mel_full"], predictions["svm_mel_full"]
    picks = np.random.default_rng(seed).integers(len(true), size=(1000, len(true)))
    got = own(lambda a, b: (a == b).mean(), true, first, second, picks)
    if got is None:
        print("my_paired_interval is not written yet")
        return
    kit = evaluation.compare_accuracy(true, first, second, seed).difference
    wrong = f"yours [{got[0]:.3f}, {got[1]:.3f}], the kit's [{kit.low:.3f}, {kit.high:.3f}]"
    assert np.allclose(got, [kit.low, kit.high]), wrong
    low, high = own(macro_f1, true, first, second, picks)
    print(f"right; LSTM minus SVM in macro F1: 95 % interval {low:+.3f} to {high:+.3f}")


check_paired_interval(my_paired_interval)


# %% tags=["solution", "folded"]
def my_paired_interval(score, true, first, second, picks):
    """The 2.5 and 97.5 percentile of score(true, first) - score(true, second) over the picks."""
    gains = []
    for drawn in picks:
        gains.append(score(true[drawn], first[drawn]) - score(true[drawn], second[drawn]))
    return np.percentile(gains, [2.5, 97.5])


check_paired_interval(my_paired_interval)

# %% [markdown]
# ## What happened to the model that validation chose
#
# Notebook 05 chose one LSTM by its validation loss. Now the test set is open: did the choice hold?
#
# **Predict.** Six models are *exactly* equally good: each recognises 65 % of all clips in the world. They are judged on 57 validation clips, and the best one is
# taken. What is its validation accuracy, on average? And its test accuracy?
#
# <details><summary>What to expect, and why</summary>
# The standard deviation of an accuracy on 57 clips is 0.06. The luckiest of six lies more than one such deviation above the
# mean: 0.73 or so. On test its luck is drawn anew, so it falls back to 0.65. This is the <em>winner's curse</em>: whoever is chosen for a high score has, on
# average, been lucky in it. It is why a validation score flatters, and why a test set exists.
# </details>

# %% tags=["solution"]
n_val = len(splits.val)
lucky = np.random.default_rng(seed).binomial(n_val, 0.65, size=(1000, 6)) / n_val  # six models
print(f"judged on {n_val} clips, a thousand times: on average the best of the six scores "
      f"{lucky.max(axis=1).mean():.2f}, the worst {lucky.min(axis=1).mean():.2f}")  # fmt: skip

# %% tags=["solution", "appendix"]
# Every LSTM on validation and on test.
table = pd.DataFrame({
    "validation loss": trained["loss"],
    "validation macro F1": trained["macro F1"],
    "test macro F1": [mean_over_trainings(name, macro_f1) for name in trained["model"]],
    "test accuracy": [mean_over_trainings(name, lambda a, b: (a == b).mean())
                      for name in trained["model"]],
}).set_index(trained["model"].map(name_of).rename(None)).sort_values("validation loss")  # fmt: skip
caption = "Validation and test, means over all trainings, the lowest validation loss first."
show_table(table, caption=caption)

# %% tags=["solution", "report", "told"]
places = table["test macro F1"].rank(ascending=False).astype(int)  # 1 is the best
top = max(lstms, key=lambda name: mean_over_trainings(name, macro_f1))
tell(
    "**Verdict.** {best}, which validation chose, is number {place} of {n} on test by macro F1.",
    best=name_of(best), place=places[name_of(best)], n=len(table),
)  # fmt: skip
rival = trained.loc[trained["macro F1"].idxmax(), "model"]
if rival != best:
    tell(
        "The highest macro F1 on validation would have chosen {rival}, number {place} on test.",
        rival=name_of(rival), place=places[name_of(rival)],
    )  # fmt: skip
if top != best:
    result = compared([(top, best)], "macro F1")[top, best]
    tell(comparison_sentence(result, name_of(top), name_of(best), "macro F1"))
    tell(
        "Read this p-value with care: {top} was picked as the best of {n} *on test*, so it has "
        "probably had luck there, and the p-value is too small.", top=name_of(top), n=len(lstms),
    )  # fmt: skip

# %% [markdown] tags=["solution"]
# How to read it: a choice among models whose validation scores lie closer together than one clip or two (1 / 57 = 0.018) is a matter of chance. It is no mistake to make it, something must be
# used in step 8. It is a mistake to call it *best*. Two rules help. Say [tied](../docs/glossary.md#tie) where the paired difference on validation leaves the order open. And among tied models take the
# simplest, the one with the fewest weights (the *one-standard-error rule*: any model within one standard error of the lowest loss will do). Taking the winner on *test* instead
# would repeat the mistake on another set, and use that set up.

# %% [markdown]
# ## Is the network better than the baselines?
#
# Both SVMs have the same training clips as the LSTMs. The humble one reads mel only, so beside an LSTM on both features it has less to go by; the hand-made one reads all
# rows. Each LSTM is compared with both SVMs on clips of its own form, corrected for their number. A question of its own, with a correction of its own: what does knowledge
# add, the hand-made SVM against the humble one?
#
# **Predict.** Is an LSTM that reads 1,290 frames in order better than an SVM that sees three numbers per band and no order at all? And better than one that is told what
# engineers know of music?
#
# <details><summary>What to expect, and why</summary>
# With many more clips networks have won such contests elsewhere. With some hundred, the SVM's three numbers are a strong summary and nothing has to be learned about time; a
# tie is a good result for the network. The hand-made groups bring knowledge that the LSTM would have to find in the same few clips. On chroma the network has less to go by
# than either SVM.
# </details>

# %% tags=["solution", "appendix"]
# Every LSTM against both SVMs on clips of its own form; apart from that, these against each other.
form_of = {name: "beat" if folder_of[name] == folders.GENRE_BEAT else "full" for name in lstms}
against = [(name, f"svm_{kind}_{form_of[name]}") for kind in ("mel", "hand") for name in lstms]
knowledge = [(f"svm_hand_{form}", f"svm_mel_{form}") for form in ("full", "beat")]
by_metric = {
    metric: compared(against, metric) | compared(knowledge, metric) for metric in compare_by
}
caption = "LSTMs and SVMs: paired differences in macro F1 with 95 % intervals."
drawn = plots.differences(with_names(by_metric["macro F1"]), "macro F1")
record.show(drawn, "differences", caption=caption)
show_compared(by_metric, caption="LSTMs and SVMs: paired differences, and p after Holm.")

# %% tags=["solution", "report", "told"]
# As above: intervals uncorrected, p-values corrected.
for kind, shown in (("mel", "humble SVM"), ("hand", "hand-made SVM")):
    results = [c for (name, rival), c in by_metric["macro F1"].items()
               if name in lstms and rival.startswith(f"svm_{kind}")]  # fmt: skip
    better = sum(result.clear and result.difference.value > 0 for result in results)
    worse = sum(result.clear and result.difference.value < 0 for result in results)
    tell(
        "**Verdict.** By macro F1, {better} of {n} LSTMs are clearly above the {svm}, {worse} "
        "clearly below it; for {rest} these clips cannot tell.",
        svm=shown, better=better, n=len(results), worse=worse, rest=len(results) - better - worse,
    )  # fmt: skip
tell("What the hand-made groups add, and the halves of the clips:")
tell_list(
    comparison_sentence(by_metric["macro F1"][pair], *map(name_of, pair), "macro F1")
    for pair in knowledge
)

# %% [markdown]
# ### Who wins, on how many clips?
#
# A network starts from nothing; the hand-made groups start from what is known about music. So one would think that the network needs more clips, and overtakes where there
# are enough. Here each learns from a quarter, a half and all of the training clips, beat-synchronous ones (they train fastest): the LSTM on mel of step 5, and both SVMs.
# The smaller parts are drawn at random, the same for all three; the scores are means over the draws (and, with all clips, over step 5's trainings).
#
# The race is not quite even. The LSTM keeps its recipe: a quarter of the clips means a quarter of the steps; but it chooses its epoch on validation clips, which the SVMs do
# not use. And per beat, rhythm and tempo know how often a *beat* something returns, not how often a second.
#
# **Predict.** Whose curve is steepest? Will two of them cross?
#
# <details><summary>What to expect, and why</summary>
# More clips help everybody, and help most where most has to be learned. Whether the curves cross on so few clips nobody can say beforehand: on the lab's full data, with eight
# times as many clips, it may look different from the demo set.
# </details>


# %% tags=["solution"]
recipe = record.load_value("05_lstm", "beat_recipe")  # batch size, epochs, learning rate, mixup


def lstm_on(part, number):
    """The class of each test clip, [n], by an LSTM of step 5 that learns from these clips only."""
    whole, own_seed = splits_of[folders.GENRE_BEAT], seed + number
    whole.base.scaler = whole.test.scaler = datasets.BandScaler.fit(part)
    splits = datasets.Splits(part, whole.val, whole.test)
    loaders = datasets.make_loaders(splits, recipe["batch_size"], own_seed, device=compute)
    seed_everything(own_seed)
    lstm = models.build_model(record.load_checkpoint("05_lstm", "lstm_mel_beat").spec)
    training.train(lstm, *loaders[:2], **recipe["options"], device=compute,
                   name=f"LSTM on {len(part)} clips")  # fmt: skip
    return training.predict(lstm, loaders[2], compute).argmax(1)


# %% tags=["solution"]
# Answers of all draws, by model and number of clips.
beats, answers = splits_of[folders.GENRE_BEAT], {}
labels = datasets.labels_of(beats.train).numpy()
rivals = ("lstm_mel_beat", "svm_mel_beat", "svm_hand_beat")
for share, draw in [(share, draw) for share in (0.25, 0.5) for draw in range(curve_draws)]:
    few = datasets.stratified_split(labels, (1 - share, share), seed + draw)[1]
    answers.setdefault(("lstm_mel_beat", len(few)), []).append(
        lstm_on(Subset(beats.train, few), draw)
    )
    for name in rivals[1:]:
        known, asked = numbers_of[name]
        known = {group: own[few] for group, own in known.items()}
        few_artists = datasets.artists_in(Subset(beats.train, few))
        found = baselines.svm_predictions(known, labels[few], asked, few_artists)
        answers.setdefault((name, len(few)), []).append(found)
answers |= {(name, len(labels)): of_all_seeds[name] for name in rivals}

# %% tags=["solution", "appendix"]
# Accuracy on the test clips against the number of training clips.
true_beats = truth[folders.GENRE_BEAT]
curve = pd.Series({key: np.mean([own == true_beats for own in trainings])
                   for key, trainings in answers.items()}).unstack(0)[list(rivals)]  # fmt: skip
record.save_table("learning_curve", curve.rename_axis("clips").reset_index())
leader = curve.idxmax(axis=1)
title = f"Highest with {curve.index[-1]} training clips: {name_of(leader.iloc[-1])}"
drawn = plots.curves(curve.rename(columns=name_of), title, "training clips", "accuracy on test")
record.show(drawn, "learning_curve", caption="Accuracy on test by the number of training clips.")

# %% tags=["solution", "appendix"]
# Paired differences at each size: who is ahead, if these clips can tell?
pairs = {(number, rival): evaluation.compare_accuracy(
    true_beats, answers["lstm_mel_beat", number], answers[rival, number], seed)
    for number in curve.index for rival in rivals[1:]}  # fmt: skip
tell_list(
    Sentence("{n} clips: {told}", n=int(number), told=comparison_sentence(
        result, name_of("lstm_mel_beat"), name_of(rival), "accuracy"))
    for (number, rival), result in evaluation.holm(pairs).items()
)  # fmt: skip

# %% tags=["solution", "report", "told"]
# What more clips have brought to each.
gains = curve.iloc[-1] - curve.iloc[0]
tell(
    "**Verdict.** From {few} to {all} clips the LSTM gains {lstm:+.2f} in accuracy, the humble SVM "
    "{humble:+.2f}, the hand-made SVM {hand:+.2f}. At none of these sizes has the LSTM the highest "
    "accuracy: it overtakes nobody who leads."
    if (leader != "lstm_mel_beat").all() else
    "**Verdict.** From {few} to {all} clips the LSTM gains {lstm:+.2f} in accuracy, the humble SVM "
    "{humble:+.2f}, the hand-made SVM {hand:+.2f}. The LSTM has the highest accuracy with {where} "
    "clips.",
    few=int(curve.index[0]), all=int(curve.index[-1]), lstm=gains["lstm_mel_beat"],
    humble=gains["svm_mel_beat"], hand=gains["svm_hand_beat"],
    where=[int(n) for n in curve.index[leader == "lstm_mel_beat"]],
)  # fmt: skip

# %% [markdown] tags=["solution"]
# The highest accuracy is not yet a finding: the list above says which differences are clear. Look at the slopes, too. Where a curve is still steep at its right end, more clips
# would help more than another model; where all are flat, they would not.

# %% [markdown] tags=["extra"]
# ## Extra · Crossing the test sets
#
# A model trained on full clips reads the beat-synchronous test set, and the reverse: possible because an LSTM takes any length. The numbers of a frame mean the same
# kind of thing, but time runs much faster in the beat-synchronous set: a frame there stands for a whole beat.

# %% tags=["extra"]
# Not done in the handout: each model on the other form of the same clips.
home = {folders.GENRE: "lstm_mel_full", folders.GENRE_BEAT: "lstm_mel_beat"}
for folder, guest in ((folders.GENRE_BEAT, "lstm_mel_full"), (folders.GENRE, "lstm_mel_beat")):
    answers = test_logits(guest, folder, "mel").argmax(1)
    crossed = evaluation.classification_scores(truth[folder], answers, len(classes), seed)
    record.add_scores(f"{guest} (crossed)", "mel", test_sets[folder], crossed, len(answers))
    tell(
        "{guest} on the {test_set} clips: accuracy {crossed}; {host}, which was trained on such "
        "clips: {own}.",
        guest=name_of(guest), test_set=test_sets[folder], crossed=crossed["accuracy"],
        host=name_of(home[folder]), own=scores[home[folder]]["accuracy"],
    )  # fmt: skip

# %% [markdown] tags=["extra"]
# The model for full clips joins 16 frames to one step. So it reads a clip of 56 beats in *four* steps, each of them 16 beats long instead of a third of a second,
# and still recognises far more than the majority answer. That says what it listens to: the spectrum, hardly the order in time.
# The other way round more is lost: who has learned one step per beat reads twenty steps per beat.

# %% [markdown]
# ## Change this and run again
#
# Compare any two models, full or per beat, on the same clips: to look, not to choose.

# %%
first, second = "lstm_fused_beat", "lstm_fused_full"
result = compared([(first, second)], "macro F1")[first, second]
tell(comparison_sentence(result, name_of(first), name_of(second), "macro F1"))

# %% [markdown]
# ## What we learned
#
# - Accuracy alone hides which classes are learned; precision, recall and F1 per class, all three from one confusion matrix, show it.
# - Micro averages speak of clips, macro averages of classes; with one class per clip, micro F1 is the accuracy.
# - On so few clips an interval is wide. Two models are compared by their paired difference, which may still leave the matter open.
# - The best of several on validation has been lucky, on average. Ties are to be called ties.
# - A network has to be better than a *good* baseline: one that knows what is known, and is tuned as carefully.
#
# **Check yourself**
#
# <details><summary>A model has recall 1 and precision 0.1 for Blues. What does it do?</summary>
# It calls nearly everything Blues: no Blues clip is missed, and nine of ten clips called Blues are something else.
# </details>
#
# <details><summary>Why is micro F1 equal to accuracy here?</summary>
# One class per clip: every error is one false positive and one false negative, so all pooled sums agree.
# </details>
#
# <details><summary>When would micro F1 and accuracy differ?</summary>
# When a clip may have several labels, or none: then an error need not be one false positive <em>and</em> one false negative.
# </details>
#
# <details><summary>Two intervals overlap. Are the models equally good?</summary>
# That cannot be said. On the same clips the difference may have an interval that leaves out 0: both scores go up and down together.
# </details>
#
# <details><summary>Why is the interval of Trip-Hop's F1 so much wider than that of Rock's?</summary>
# It hangs on far fewer test clips: one clip more or less changes a recall on 8 clips by 0.125, on 26 clips by 0.04.
# </details>
#
# <details><summary>May we now pick the LSTM with the best test score for step 8?</summary>
# No. The test set would have taken part in the choice, and its score would no longer be an honest estimate. Notebook 05
# chose on validation.
# </details>

# %% tags=["stored"]
# For whoever wants to look at single clips.
for name, predicted in predictions.items():
    record.save_predictions(f"test_{name}", ids[folder_of[name]], predicted, ["class"])
accuracy = scores[best]["accuracy"].value
told = f"{name_of(best)}: accuracy {accuracy:.2f} (majority {majority.value:.2f})"
record.finish(key_metric=told)
