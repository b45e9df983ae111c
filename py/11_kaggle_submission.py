# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · The Kaggle submission
#
# **What you will learn**
# - how to choose among several models without spoiling the number you will expect
# - how to write `solution.txt`, and how to be sure that it is whole before you upload it
# - how far a leaderboard score may lie from what you expected, and still be no surprise
#
# **Needs** the results of notebooks 08, 09 and 10. **Leaves** `solution.txt` in the run's folder, and what every
# candidate predicts for the test clips. Step 11 is optional.
#
# **Takes** about ten seconds on the demo set with two CPU cores. With the lab's data: four times as many clips to predict.
#
# **The one insight:** write down what you expect, with its margin, *before* you look at the leaderboard.

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
import math

import numpy as np
import pandas as pd

from helpers import baselines, datasets, evaluation, folders, plots, submission, training
from helpers.machinery.files import LabError
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, show_lines, show_source, show_table, tell

notebook = "11_kaggle_submission"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step; for predictions only

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 11α · The best model predicts the test clips
#
# Candidates are the three LSTMs and the three CNNs of step 8, the CNNs with one axis taken from step 9, the multitask
# CNN of step 10, and an [ensemble](../docs/glossary.md#ensemble): half of it the mean of these CNNs, half the SVR, a model of another kind whose
# errors are not quite theirs (a mixture of this kind did best in the kit's benchmark on real music: [its
# tables](../docs/how_good_history.md)). The **validation** part chooses, by the lab's metric. The held-out part must not: the best of several noisy
# scores is too high on average, and then nothing honest would be left to expect. The SVR alone is shown for reference: the
# handout asks for the networks of steps 8 to 10.

# %% tags=["solution"]
# The labelled clips of the two parts, and their true values.
axes = list(folders.AXES)
tracks = folders.read_clips(root / folders.MULTITASK, "train").set_index("id")
parts = record.load_table("08_regression", "affect_split")
ids = {
    "validation": parts.loc[parts["part"] == "val", "id"].tolist(),
    "heldout": parts.loc[parts["part"] == "held-out", "id"].tolist(),
}
true = {part: tracks.loc[names, axes].to_numpy() for part, names in ids.items()}
moved = record.load_value("09_transfer", "axis")
svr_name = "SVR, for reference"


# %% tags=["solution"]
# Several candidates are made of the same networks' predictions.
def by_candidate(lstms, cnns, svr, transfer, multitask):
    """Each candidate's predictions, from those of steps 8 to 10: tables, a row per clip."""
    replaced = cnns.assign(**{moved: transfer[moved]})
    return {
        "ensemble of CNNs and SVR": ((multitask + replaced + cnns) / 3 + svr) / 2,
        "multitask CNN (step 10)": multitask, f"CNNs, {moved} from genre (step 9)": replaced,
        "CNNs (step 8)": cnns, "LSTMs (step 8)": lstms, svr_name: svr,
    }  # fmt: skip


def stored(part, notebook, name, columns=axes):
    """What a notebook has predicted for a part of the labelled clips."""
    values = record.load_predictions(notebook, f"{name}_{part}", ids[part], columns)
    return pd.DataFrame(values, index=ids[part], columns=columns)


def stored_by_candidate(part):
    """The same for each candidate."""
    step8 = [stored(part, "08_regression", name) for name in ("lstm", "cnn", "svr")]
    transfer = stored(part, "09_transfer", "transfer", [moved])
    return by_candidate(*step8, transfer, stored(part, "10_multitask", "multitask"))


# %% tags=["solution", "report"]
# The lab's metric on the validation clips chooses; the SVR is no candidate.
validation = {
    name: evaluation.mean_spearman(true["validation"], values.to_numpy(), seed)
    for name, values in stored_by_candidate("validation").items()
}
candidates = {name: score for name, score in validation.items() if name != svr_name}
chosen = evaluation.highest(candidates)
title = f"Mean Spearman on {len(ids['validation'])} validation clips: what chooses"
record.show(
    plots.score_plot(validation, title, "mean Spearman", baselines=[svr_name]), "choice",
    caption="Mean Spearman of the candidates on the validation clips: what chooses.",
)  # fmt: skip
record.save_values(on_validation={name: score.value for name, score in validation.items()})
tell(
    "Chosen on validation: **{chosen}**, {score}. Where intervals overlap widely, this is a choice "
    "and no proof. The SVR has {svr:.3f} on these clips.",
    chosen=chosen,
    score=validation[chosen],
    svr=validation[svr_name].value,
)


# %% [markdown]
# Now the clips without labels. Every checkpoint brings its feature and its scaling; the beat-synchronous folder holds the
# same test clips under the same ids. What each candidate predicts is stored in `test_predictions.csv`, for whoever wants to
# look at single clips; only the chosen one's predictions are submitted.

# %% tags=["solution"]
def predict_test(notebook, name, folder=folders.MULTITASK):
    """One checkpoint's predictions for the test clips: a row per clip, a column per axis."""
    checkpoint = record.load_checkpoint(notebook, name)
    clips = datasets.SpectrogramDataset(
        root / folder, "test", checkpoint.feature, scaler=checkpoint.scaler
    )
    outputs = training.predict(
        checkpoint.model, datasets.make_loader(clips, batch_size, device=compute), compute
    )
    values = outputs.reshape(len(clips), len(checkpoint.axes))
    return pd.DataFrame(values, index=clips.ids, columns=checkpoint.axes)


def of_step8(kind, folder):
    """Those of three networks, one per axis."""
    names = [f"{kind}_{axis}" for axis in axes]
    return pd.concat([predict_test("08_regression", name, folder) for name in names], axis=1)


def of_svr():
    """The SVR's, fitted once more on the train part."""
    mel = root / folders.MULTITASK
    train = datasets.affect_splits(mel, "mel", axes, parts).train
    clips = datasets.SpectrogramDataset(mel, "test", "mel")
    statistics = [baselines.band_statistics(part) for part in (train, clips)]
    labels = datasets.labels_of(train).numpy()
    values = baselines.svr_predictions(statistics[0], labels, statistics[1])
    return pd.DataFrame(values, index=clips.ids, columns=axes)


# %% tags=["solution"]
# As for the labelled clips above, now from the checkpoints.
on_test = by_candidate(
    of_step8("lstm", record.load_value("08_regression", "lstm_folder")),
    of_step8("cnn", folders.MULTITASK),
    of_svr(),
    predict_test("09_transfer", f"transfer_{moved}"),
    predict_test("10_multitask", "multitask"),
)
record.save_table("test_predictions", pd.concat(on_test, names=["model", "id"]).reset_index())
predicted = on_test[chosen]
show_table(predicted.describe().loc[["count", "mean", "std", "min", "max"]])

# %% tags=["report"]
# Are they centred where those for labelled clips are? Far away hints at a wrong scaling or column.
heldout = stored_by_candidate("heldout")[chosen].to_numpy()
panels = {f"{axis}, test": predicted[axis].to_numpy() for axis in axes}
title = f"Predictions of {chosen} for {len(predicted)} test clips"
means = ", ".join(
    f"{axis} {predicted[axis].mean():.2f} ({mean:.2f})"
    for axis, mean in zip(axes, heldout.mean(0), strict=True)
)
alt = f"{title}. Mean on test, and on held-out in brackets: {means}."
record.show(
    plots.histogram(panels, title, "predicted value", alt), "test_predictions",
    caption="Predictions of the chosen model for the test clips.",
)  # fmt: skip
means = [
    Sentence(
        "{axis} {mean:.2f} ({heldout:.2f})", axis=axis, mean=predicted[axis].mean(), heldout=mean
    )
    for axis, mean in zip(axes, heldout.mean(0), strict=True)
]
tell("Mean prediction on test clips, and on held-out clips in brackets: {means}.", means=means)

# %% [markdown]
# ## 11β · `solution.txt`
#
# A header, then a line per clip: its file name and three values. `write_solution` clips the values to 0..1, rounds to
# three decimals, and checks the text before it writes; here it is checked once more against the clips of the test folder,
# whatever model and folder the predictions came from.

# %%
show_source(submission.check_solution)

# %% tags=["solution", "report"]
# Kaggle wants every clip: one that --skip-bad has left out gets the usual values.
test_ids = folders.inspect_clips(root / folders.MULTITASK, "test")[0]["id"].tolist()
predicted = predicted.reindex(test_ids).fillna(tracks[axes].mean())
run_folder = record.folder.parents[1]
for place in (record.folder, run_folder):
    path = submission.write_solution(place / "solution.txt", predicted.index, predicted.to_numpy())
lines = path.read_text().splitlines()
submission.check_solution("\n".join(lines), test_ids, str(path))
assert len(lines) == 1 + len(test_ids)
show_lines("\n".join(lines[:5]), path.name)
n_rows = len(lines) - 1
tell(
    "`runs/{run}/solution.txt`: a header and {n} rows, one per test clip.",
    run=run_folder.name, n=n_rows,
)  # fmt: skip

# %% [markdown]
# ## 11γ · Submit it
#
# In the browser: open the competition of your year (`data_links.md` has the links), join it, *Submit Prediction*, upload
# `solution.txt`, describe it in a line that names the run. On the command line, with an API token of your own:
#
# ```
# ./run_all.sh submit --dry-run    # checks the file and shows what is expected
# ./run_all.sh submit              # sends it, waits for the score, and stores it for 11δ
# ```
#
# The leaderboard shows your best score. Submit what your validation part chose, once; trying many files and keeping the
# best one fits the leaderboard, not the music. And keep your Kaggle notebooks private: the lab's rule is that solutions are
# not published.

# %% [markdown]
# ## 11δ · What score is expected, and how close is it?
#
# Expected is the **held-out** score of the chosen model: these clips chose nothing, just as the hidden test clips. Its
# interval says how the score varies with the held-out clips. The leaderboard's score varies as well, with *its* clips.
# A variance goes with 1 / n, and those of two scores add up in their difference: s² / n held-out + s² / n test is
# s² / n held-out times (1 + n held-out / n test). So the interval grows by the root of that bracket. (This takes both sets to
# be drawn alike, and all test clips to be scored.)

# %% tags=["solution", "report"]
kind = "lstm" if chosen == "LSTMs (step 8)" else "cnn"  # all CNNs read the same feature
feature = record.load_checkpoint("08_regression", f"{kind}_{axes[0]}").feature
expected = record.add_affect_scores(chosen, feature, true["heldout"], heldout)["mean"]
n_heldout, n_test = len(ids["heldout"]), len(test_ids)
wider = math.sqrt(1 + n_heldout / n_test)
low = expected.value - wider * (expected.value - expected.low)
high = expected.value + wider * (expected.high - expected.value)
record.save_values(margin=[low, high], n_heldout=n_heldout)
tell(
    "Expected mean Spearman: **{expected}**, from {n} held-out clips. On validation, which chose "
    "this model, it has {score:.3f}: a choice flatters.",
    expected=expected,
    n=n_heldout,
    score=validation[chosen].value,
)
if expected.defined:
    tell(
        "A score on the {n} test clips is no surprise between {low:.3f} and {high:.3f}.",
        n=n_test, low=low, high=high,
    )  # fmt: skip


# %% tags=["solution"]
# For your score, and for the stand-in below.
def judge(score, where):
    """A sentence that compares a score with the expectation above."""
    if not (expected.defined and math.isfinite(score)):
        template = "{where}: {score:.4f}; it cannot be compared, one of the two is undefined."
        return Sentence(template, where=where, score=score)
    return Sentence(
        "{where}: {score:.4f}, {gap:.3f} {side} the expected value and {verdict} the margin of "
        "{low:.3f} to {high:.3f}.",
        where=where, score=score, gap=abs(score - expected.value), low=low, high=high,
        side="above" if score >= expected.value else "below",
        verdict="inside" if low <= score <= high else "outside",
    )  # fmt: skip


# %% [markdown]
# **Your score.** `./run_all.sh submit` stores it in the text file `kaggle_score.txt` in the run's folder; if you submitted in
# the browser, write the number there yourself. Then run this notebook again.

# %% tags=["solution", "report"]
# A number in a file, so that it stays when the notebook runs again.
score_file = run_folder / "kaggle_score.txt"
if score_file.is_file():
    text = score_file.read_text().strip()
    try:
        kaggle_score = float(text)
    except ValueError:
        raise LabError(f"{score_file}:1: {text!r} is no number; write 0.7199") from None
    record.save_values(kaggle_score=kaggle_score)
    tell(judge(kaggle_score, "Kaggle's score"))

# %% tags=["solution"]
# What is left to do, and no result.
if not score_file.is_file():
    tell(
        "No score yet: submit `solution.txt`, then write the score into "
        "`runs/{run}/kaggle_score.txt` and run this notebook again.", run=run_folder.name,
    )  # fmt: skip

# %% [markdown]
# **A stand-in for the demo set.** There is no competition for synthesised music, but its withheld answers are kept beside the
# data, and no notebook before this cell reads them. Where such a file is found (`multitask_test_answers`, `.csv` or
# `.txt`, in the data folder or beside it) the finished `solution.txt` is scored as Kaggle would: this is *not* a Kaggle
# score, and it must not change any choice above.

# %% tags=["solution", "report"]
# Scored as Kaggle would: the file that was written is read back, and set beside the answers.
names = ("multitask_test_answers.csv", "multitask_test_answers.txt")
found = [place / name for place in (root.parent, root) for name in names]
found = [file for file in found if file.is_file()]
stand_in = None
if found:
    answers = folders.read_labels(found[0], folders.AXES).set_index("id").reindex(test_ids)[axes]
    if answers.isna().any(axis=None):
        raise LabError(f"{found[0]}: some test clips have no answer; complete the file")
    sent = pd.read_csv(path)
    sent.index = [folders.clip_id(name) for name in sent.iloc[:, 0]]
    submitted = sent.loc[test_ids, axes].to_numpy()
    stand_in = evaluation.mean_spearman(answers.to_numpy(), submitted, seed)
    where = "affect test (stand-in for Kaggle's hidden answers)"
    record.add_scores(chosen, feature, where, {"mean Spearman": stand_in}, n_test)
    tell(judge(stand_in.value, "Stand-in for Kaggle's hidden score (own answers, not Kaggle)"))
else:
    print("No withheld answers beside these data: only Kaggle can score solution.txt.")

# %% tags=["report"]
# What was expected, and what is known by now.
scores = {f"expected ({n_heldout} held-out clips)": expected}
if score_file.is_file():
    scores["Kaggle"] = evaluation.Score(kaggle_score)
if stand_in is not None:
    scores[f"stand-in ({n_test} test clips)"] = stand_in
caption = "Expected score, and the scores that are known."
drawn = plots.score_plot(scores, "Expected and reached", "mean Spearman")
record.show(drawn, "expected", caption=caption)


# %% [markdown]
# ## Change this and run again
#
# Spearman looks at ranks only, so models can be averaged by rank, whatever their scales. Does a mixture of all networks do
# better on validation than the chosen model? Then it is one more candidate, no proof: each mixture you try makes the best
# validation score a little more too high.

# %%
def mixture(predictions):
    """The mean rank of several models' predictions [n, 3], scaled to 0..1. Replace it by yours."""
    ranks = [values.argsort(0).argsort(0) for values in predictions]
    return np.mean(ranks, axis=0) / max(1, len(ranks[0]) - 1)


values_of = stored_by_candidate("validation")
own = [values_of[name].to_numpy() for name in candidates if "ensemble" not in name]
score = evaluation.mean_spearman(true["validation"], mixture(own), seed)
print(f"mean Spearman on validation: mixture of ranks {score}, {chosen} {validation[chosen]}")

# %% [markdown]
# ## What we learned
#
# - Validation chooses, held-out says what to expect, the hidden test set confirms or surprises.
# - A submission is checked by code: header, every clip once, three finite values in 0..1.
# - A leaderboard score within the margin is no news. Outside of it (one honest score in twenty is), check the file first, then
#   whether held-out took part in a choice, then whether the two sets of clips differ.
#
# **Check yourself**
#
# <details><summary>Your score lies far below the margin. What do you look at first?</summary>
# The path from model to file: clip ids and their order, the scaler, the columns' order. Then whether the held-out part took
# part in a choice after all.
# </details>
#
# <details><summary>Why may values be clipped to 0..1 without fear for the score?</summary>
# Clipping keeps the order except among the clips beyond the ends, which become ties; few predictions lie there. Rounding to
# three decimals makes a few ties as well.
# </details>
#
# <details><summary>A friend submitted thirty files and reports the best. What is wrong with that number?</summary>
# It is the highest of thirty noisy scores on the same clips, so it is too high for new ones: the leaderboard has become a
# validation set.
# </details>

# %%
record.save_values(chosen=chosen, rows=n_rows)
record.finish(key_metric=f"expected mean Spearman {expected}; {n_rows} rows")
