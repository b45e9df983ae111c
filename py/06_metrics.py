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
# - what accuracy, precision, recall and F1 say, per class and averaged in two ways
# - why two models with the same accuracy can be of very different use
# - how large the uncertainty of a score on some hundred clips is, and what that does to "better"
#
# **Needs** the checkpoints of notebook 05. **Leaves** the test scores of every LSTM and baseline, and their predictions.
#
# **Takes** about ten seconds on the demo set with two CPU cores. With the lab's data: eight times as many clips.
#
# **The one insight:** a score without an interval and without a baseline is not a result.

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
from scipy.special import softmax

from helpers import baselines, datasets, evaluation, folders, plots, training
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.records import of_seed, open_record
from helpers.notebook.showing import (
    Sentence,
    comparison_sentence,
    show_table,
    tell,
    tell_comparisons,
    tell_list,
)

notebook = "06_metrics"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step of prediction

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## The models and their test sets
#
# There are two [test sets](../docs/glossary.md#test-set), full and beat-synchronous: the same clips in two representations. Each model of step 5 is
# measured on the test set of its own features. (Crossing them, a model trained on full clips and fed with beats, is
# possible because an LSTM takes any length; it is an extra, below.) The model's answer is the class of the largest
# [logit](../docs/glossary.md#logit).
#
# Beside the networks stand two baselines: always answering the most frequent training class, and an SVM on three
# numbers per mel band (mean over time, standard deviation, mean absolute change from frame to frame). A network that does not
# clearly beat the SVM has not shown yet that it is worth its cost.

# %%
trained = record.load_table("05_lstm", "validation")
show_table(trained[["model", "folder", "feature", "macro F1"]].set_index("model"))


# %% tags=["solution"]
def test_predictions(name, folder, feature):
    """Class numbers that a stored LSTM gives to the test clips of one folder, [n]."""
    test = datasets.SpectrogramDataset(root / folder, "test", feature)
    checkpoint = record.load_checkpoint(
        "05_lstm", name, head="classifier", feature=feature, classes=test.classes
    )
    test.scaler = checkpoint.scaler
    loader = datasets.make_loader(test, batch_size, device=compute)
    outputs = training.predict(checkpoint.model, loader, compute)
    return outputs.argmax(1)


# Every training of every model; the scores below are those of the first one.
n_seeds = record.load_value("05_lstm", "n_seeds")
of_all_seeds = {
    row.model: [test_predictions(of_seed(row.model, number), row.folder, row.feature)
                for number in range(n_seeds)]
    for row in trained.itertuples()
}  # fmt: skip
predictions = {name: outputs[0] for name, outputs in of_all_seeds.items()}
folder_of = dict(zip(trained["model"], trained["folder"], strict=True))
feature_of = dict(zip(trained["model"], trained["feature"], strict=True))
sizes = sorted({len(values) for values in predictions.values()})
print(f"{len(predictions)} models x {n_seeds} training(s), each with a class for every one of "
      f"{sizes} test clips")  # fmt: skip

# %%
test_sets = {folders.GENRE: "genre test (full)", folders.GENRE_BEAT: "genre test (beat)"}
truth = {}
for folder in test_sets:
    splits = datasets.genre_splits(root / folder, "mel", seed)  # the LSTMs' own training clips
    train_labels, test_set = datasets.labels_of(splits.train).numpy(), splits.test
    truth[folder], classes = test_set.labels.numpy(), test_set.classes
    kind = "beat" if folder == folders.GENRE_BEAT else "full"
    statistics = [baselines.band_statistics(part) for part in (splits.train, test_set)]
    baseline = {
        f"svm_mel_{kind}": baselines.svm_predictions(statistics[0], train_labels, statistics[1]),
        f"majority_{kind}": baselines.majority_predictions(train_labels, len(test_set)),
    }
    predictions |= baseline
    folder_of |= dict.fromkeys(baseline, folder)
    feature_of |= {f"svm_mel_{kind}": "mel", f"majority_{kind}": "none"}
print(
    f"{len(classes)} classes, test clips:"
    f" { {test_sets[folder]: len(values) for folder, values in truth.items()} }"
)

# %% [markdown]
# ## 6α · Accuracy
#
# [Accuracy](../docs/glossary.md#accuracy) is the share of test clips whose class was recognised. Each value comes with a 95 % [interval](../docs/glossary.md#interval): the clips are drawn again
# with replacement a thousand times (bootstrap), and the middle 95 % of the resulting scores are shown. It covers the choice of
# the test clips only; training again from another seed changes a score, too.

# %% tags=["solution", "report"]
# Value and interval of each metric, for every model and baseline.
scores = {}
for name, predicted in predictions.items():
    true = truth[folder_of[name]]
    scores[name] = evaluation.classification_scores(true, predicted, len(classes), seed)
    record.add_scores(name, feature_of[name], test_sets[folder_of[name]], scores[name], len(true))
ordered = sorted(scores, key=lambda name: scores[name]["accuracy"].value, reverse=True)
caption = "Each model on the test set of its own features, with 95 % intervals."
show_table(pd.DataFrame({name: scores[name] for name in ordered}).T, caption=caption)

# %% tags=["report"]
# Which models lie above "always the most frequent class", with their whole interval?
majority = scores["majority_full"]["accuracy"]
lstms = [name for name in ordered if name.startswith("lstm")]
accuracies = {name: scores[name]["accuracy"] for name in ordered}
drawn = plots.score_plot(accuracies, "Accuracy on test", "accuracy", majority.value,
                         baselines=[name for name in ordered if name not in lstms])  # fmt: skip
record.show(drawn, "accuracy", caption="Accuracy on test with 95 % intervals.")
above = [name for name in lstms if scores[name]["accuracy"].low > majority.value]
tell(
    "Always answering the most frequent class reaches {majority:.3f}. Of {n} LSTMs, {n_above} lie "
    "above it with their whole interval: {above}.",
    majority=majority.value,
    n=len(lstms),
    n_above=len(above),
    above=above,
)

# %% [markdown]
# ## 6β · Precision, recall and F1 per class
#
# [Precision and recall](../docs/glossary.md#precision-and-recall), and the [F1](../docs/glossary.md#f1) of both, from `sklearn.metrics.classification_report` on the test set, true labels first (swapping the two arguments swaps precision
# and recall without any error message). Classes in the order of the class list, so that names and rows belong together:
#
# `classification_report(true, predicted, labels=range(len(classes)), target_names=classes, zero_division=0)`
#
# With one class per clip it prints a row `accuracy` where our tables say "micro avg" (6δ says why they are the same). A class
# that is never named has a precision of 0/0, shown as 0. And where no clip of a class is found, the interval of its F1 is
# [0, 0]: that is no certainty, resampling cannot draw a hit from none.

# %% tags=["solution", "report"]
reports = {
    name: evaluation.report_table(truth[folder_of[name]], predicted, classes)
    for name, predicted in predictions.items()
}
for name, report in reports.items():
    record.save_table(f"report_{name}", report.reset_index(names="class"))
best = record.load_value("05_lstm", "best_lstm")["name"]


def show_with_intervals(name):
    """A model's report as a table, with the 95 % interval of each F1."""
    own = evaluation.f1_scores(truth[folder_of[name]], predictions[name], classes, seed)
    own |= {"macro avg": scores[name]["macro F1"], "micro avg": scores[name]["micro F1"]}
    table = reports[name].assign(f1=[own[row] for row in reports[name].index])
    show_table(table, caption=Sentence("{model} on the test set, class by class.", model=name))


tell(
    "**{model}**, the best LSTM on *validation* (notebook 05 chose it, not the test set):",
    model=best,
)
show_with_intervals(best)

# %% tags=["report"]
others = [name for name in lstms if name != best]
for name in others:
    tell("**{model}**", model=name)
    show_with_intervals(name)

# %% tags=["report"]
# The best LSTM beside two others and the SVM; and classes that a model has given up on.
shown = [best, *others[:2], "svm_mel_full"]
f1_table = pd.DataFrame({name: reports[name].loc[classes, "f1"] for name in shown})
title = "F1 per class: the LSTM that validation chose, the next two on test, and the SVM"
record.show(plots.class_f1(f1_table, title), "f1_per_class", caption="F1 per class on test.")
told = []
for name in lstms:
    named = [c for i, c in enumerate(classes) if (predictions[name] == i).any()]
    never = [c for c in classes if c not in named]
    wrong = [c for c in named if reports[name].loc[c, "precision"] == 0]
    told.append(Sentence(
        "{model}: never named: {never}; named, but always wrongly: {wrong}.",
        model=name, never=never or "no class", wrong=wrong or "no class",
    ))  # fmt: skip
tell_list(told)

# %%
# Two models of nearly the same accuracy: where do they differ most?
real = [name for name in ordered if not name.startswith("majority")]
pairs = list(zip(real[:-1], real[1:], strict=True))
close = min(pairs, key=lambda p: abs(np.subtract(*(scores[n]["accuracy"].value for n in p))))
one, other = (reports[name].loc[classes, "f1"] for name in close)
where = (one - other).abs().idxmax()
tell(
    "{one} and {other} have accuracies of {x:.3f} and {y:.3f}, but an F1 of {f1:.2f} and "
    "{other_f1:.2f} for {where}. Accuracy does not tell which classes it comes from.",
    one=close[0], other=close[1], where=where, f1=one[where], other_f1=other[where],
    x=scores[close[0]]["accuracy"].value, y=scores[close[1]]["accuracy"].value,
)  # fmt: skip

# %% [markdown]
# The [confusion matrix](../docs/glossary.md#confusion-matrix) shows which classes are taken for which. Each row holds the shares of
# one true class and adds up to 1 (up to rounding); the number of its clips stands in brackets.

# %% tags=["report"]
# Each row is a true class: where did its clips go?
counts = evaluation.confusion_counts(truth[folder_of[best]], predictions[best], len(classes))
record.show(
    plots.confusion_matrix(counts, classes, f"Confusion matrix of {best}"), "confusion_best_lstm",
    caption="Confusion matrix of the best LSTM on validation, on the test set.",
)  # fmt: skip
off = counts - np.diag(np.diag(counts))
most = [
    Sentence(
        "{true} taken for {other} ({n} of {all} clips)",
        true=classes[row], other=classes[column], n=off[row, column], all=counts[row].sum(),
    )
    for row, column in np.argwhere(off == off.max()) if off.any()
]  # fmt: skip
tell("Most frequent confusion of {model}: {most:; }.", model=best, most=most)


# %% [markdown]
# ## 6γ · Macro average
#
# The plain mean over the classes: every class counts the same, however few clips it has. Macro F1 is the mean of the classes'
# F1, not the F1 of the two averages beside it.

# %% tags=["solution", "report"]
def averages(kind):
    """One row per model: precision, recall and F1 averaged, F1 with its 95 % interval."""
    rows = {name: reports[name].loc[f"{kind} avg", ["precision", "recall"]] for name in ordered}
    table = pd.DataFrame(rows).T
    return table.assign(f1=[scores[name][f"{kind} F1"] for name in ordered])


show_table(averages("macro"), caption="Macro averages on test.")

# %% [markdown]
# ## 6δ · Micro average
#
# All decisions are pooled first, so every *clip* counts the same. When each clip has exactly one class, each wrong answer
# is one false positive (for the class that was named) and one false negative (for the class that was missed): micro
# precision, micro recall, micro F1 and accuracy are then the same number.

# %% tags=["solution", "report"]
accuracies = [scores[name]["accuracy"] for name in ordered]
caption = "Micro averages on test; a clip has exactly one class, so they equal the accuracy."
show_table(averages("micro").assign(accuracy=accuracies), caption=caption)

# %% [markdown]
# ## Is the network better than the baseline?
#
# Intervals of two models on the same clips may overlap although one is clearly better, because the same clips are hard
# for both. So the interval is that of the *difference*, resampled clip by clip (a [paired comparison](../docs/glossary.md#paired-comparison)). The SVM has the same training clips as the
# LSTMs; it always reads mel, so beside an LSTM on both features it has less to go by.
#
# Several comparisons at once need care: of twenty between equally good models, one is expected to have a [p-value](../docs/glossary.md#p-value) below 0.05. **Holm's
# correction** multiplies the smallest p-value by their number, the next one by one less, and so on, never below the one before
# nor above 1. The p-value itself comes from a permutation test: the two models' answers are swapped on random clips, a thousand
# times; how often is the difference as large as the real one? *Clear* means here: corrected p below 0.05, and 0 outside the interval.
#
# What is compared is accuracy, because it is a mean over clips and can be paired clip by clip.

# %% tags=["solution", "report"]
# Every LSTM against the SVM on clips of its own form; the best one against the majority as well.
compared = {}
for name in lstms:
    kind = "beat" if folder_of[name] == folders.GENRE_BEAT else "full"
    rivals = [f"svm_mel_{kind}"] + ([f"majority_{kind}"] if name == best else [])
    for rival in rivals:
        compared[name, rival] = evaluation.compare_accuracy(
            truth[folder_of[name]], of_all_seeds[name], predictions[rival], seed
        )
compared = evaluation.holm(compared)
caption = "Paired differences in accuracy with 95 % intervals."
record.show(plots.differences(compared, "accuracy"), "differences", caption=caption)
record.add_comparisons(compared, "accuracy")
tell_comparisons(compared, "accuracy")

# %% tags=["report"]
# The LSTMs and the SVM in one sentence.
against = [result for (_, rival), result in compared.items() if rival.startswith("svm")]
better = sum(result.clear and result.difference.value > 0 for result in against)
worse = sum(result.clear and result.difference.value < 0 for result in against)
tell(
    "Of {n} LSTMs {better} are clearly above the SVM, {worse} clearly below it; for {rest} these "
    "clips cannot tell.",
    n=len(against),
    better=better,
    worse=worse,
    rest=len(against) - better - worse,
)

# %% [markdown]
# ## Extra · Crossing the test sets
#
# A model trained on full clips reads the beat-synchronous test set, and the reverse. The numbers of a frame mean the same
# kind of thing, but time runs much faster in the beat-synchronous set: a frame there stands for a whole beat.

# %%
# Not done in the handout: each model on the other form of the same clips.
full_on_beat = test_predictions("lstm_mel_full", folders.GENRE_BEAT, "mel")
beat_on_full = test_predictions("lstm_mel_beat", folders.GENRE, "mel")
for name, predicted, folder in (
    ("lstm_mel_full", full_on_beat, folders.GENRE_BEAT),
    ("lstm_mel_beat", beat_on_full, folders.GENRE),
):
    crossed = evaluation.classification_scores(truth[folder], predicted, len(classes), seed)
    record.add_scores(f"{name} (crossed)", "mel", test_sets[folder], crossed, len(predicted))
    at_home = next(n for n in ("lstm_mel_full", "lstm_mel_beat") if folder_of[n] == folder)
    tell_list([Sentence(
        "{model} on the {test_set} clips: accuracy {accuracy}; {other}, which was trained on such "
        "clips: {others}; always the largest class: {majority:.3f}",
        model=name, test_set=test_sets[folder], accuracy=crossed["accuracy"], other=at_home,
        others=scores[at_home]["accuracy"], majority=majority.value,
    )])  # fmt: skip

# %% [markdown]
# ## 6 · The questions
#
# **What do accuracy, precision, recall and F1 show?** Accuracy: the share of right answers over all clips. Precision of
# a class: of the clips that were *called* this class, the share that are. Recall: of the clips that *are* this class, the
# share that was found. F1: the harmonic mean of both, high only when both are; a model cannot buy it by naming a rare class
# always (recall 1, but precision only the class's share of the clips), nor by naming it only when very sure (recall low).
#
# **What do micro and macro averages show?** Micro: how the model does on a clip drawn at random; large classes dominate.
# Macro: how it does on a class drawn at random; a class of few clips counts like one of many.
#
# **When do accuracy and F1 differ widely, and what does it mean?** When some classes are recognised much worse than others,
# above all when those are small: they hardly move accuracy, while each class counts the same in macro F1. The majority answer is the
# extreme case; its numbers for this test set follow below.
#
# **When do micro and macro F1 differ widely, and what does it mean?** As micro F1 is accuracy here, this is the same question
# again: macro F1 pays for every class that is not learned, micro F1 only by that class's clips. A macro F1 *above* the micro one
# says that small classes are recognised better than large ones.
#
# **Where does precision matter more than recall, and the reverse? Is a good accuracy or F1 then enough?** Precision: a
# spam filter, or a system that removes uploads for copyright; a false alarm is costly. Recall: screening for a disease, or
# finding every use of a song; a miss is costly. F1 weighs both alike, and accuracy ignores which error was made, so neither
# is enough: state the cost of each error, look at the precision-recall trade-off (move the threshold), or use F-beta, in which
# recall counts beta times as much as precision.
#
# **Which metric here?** Macro F1, with accuracy beside it: the classes are unequal (merging made Rock several times as large
# as Trip-Hop in the lab's data), no genre matters more than another, and no kind of error costs more than another.

# %% tags=["report"]
# The widest gap between the two averages, in this run.
gap = {name: scores[name]["micro F1"].value - scores[name]["macro F1"].value for name in ordered}
widest = max(gap, key=lambda name: abs(gap[name]))
tell(
    "Here the majority answer has accuracy {accuracy:.3f} but macro F1 {macro:.3f}. The widest gap "
    "between micro and macro F1 is {gap:+.3f}, for {widest}; for {best} it is {own:+.3f}.",
    accuracy=majority.value, macro=scores["majority_full"]["macro F1"].value,
    gap=gap[widest], widest=widest, best=best, own=gap[best],
)  # fmt: skip
sizes, f1 = reports[best].loc[classes, "clips"], reports[best]["f1"]
told = [
    Sentence("{name} ({n} clips) {f1:.2f}", name=name, n=sizes[name], f1=f1[name])
    for name in (sizes.idxmax(), sizes.idxmin())
]
tell("F1 of {model} for the largest and the smallest class: {told}.", model=best, told=told)

# %% [markdown]
# ### Try it: move the threshold
#
# So far a clip was given the class of its largest logit. Softmax turns a clip's logits into probabilities that add up to 1; now
# take one class alone, and call a clip by its name whenever its probability reaches a threshold. In JupyterLab, choose the class and move the threshold (elsewhere one choice is shown).
# The clips are those of *validation*: a threshold is a choice too, and nothing is chosen on test.
#
# *Try* to find every clip of a class, and count the others that come along; then to be nearly always right when you say
# its name, and count what you miss. *Look for* a class whose right-hand curve stays high, and one that falls near the
# dotted line, which is guessing, already at low recall. Why can recall only fall as the threshold rises, while precision goes up and down?

# %%
# The best LSTM's probabilities for the validation clips, scaled as in its training.
checkpoint = record.load_checkpoint("05_lstm", best, head="classifier", classes=classes)
splits = datasets.genre_splits(root / folder_of[best], checkpoint.feature, seed)
splits.base.scaler = checkpoint.scaler
loader = datasets.make_loader(splits.val, batch_size, device=compute)
probabilities = softmax(training.predict(checkpoint.model, loader, compute), axis=1)
explorers.threshold(record, datasets.labels_of(splits.val).numpy(), probabilities, classes)

# %% [markdown]
# ## Change this and run again
#
# Compare any two models that read the same folder, on the same clips: to look, not to choose.

# %%
first, second = "lstm_fused_full", "lstm_mel_full"
assert folder_of[first] == folder_of[second], "choose two models of the same folder"
true = truth[folder_of[first]]
result = evaluation.compare_accuracy(true, predictions[first], predictions[second], seed)
tell(comparison_sentence(result, first, second, "accuracy"))

# %% [markdown]
# ## What we learned
#
# - Accuracy alone hides which classes are learned; the per-class report and the confusion matrix show it.
# - Micro averages speak of clips, macro averages of classes.
# - On so few clips an interval is wide. Two models are compared by their paired difference, which may still leave the matter open.
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
# <details><summary>May we now pick the LSTM with the best test score for step 8?</summary>
# No. The test set would have taken part in the choice, and its score would no longer be an honest estimate. Notebook 05
# chose on validation.
# </details>

# %%
# For whoever wants to look at single clips.
for name, predicted in predictions.items():
    test_ids = datasets.SpectrogramDataset(root / folder_of[name], "test", "mel").ids
    record.save_predictions(f"test_{name}", test_ids, predicted, ["class"])
record.finish(
    key_metric=(
        f"{best}: accuracy {scores[best]['accuracy'].value:.2f} (majority {majority.value:.2f})"
    )
)
