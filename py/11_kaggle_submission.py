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
# - how far a leaderboard score may lie from what you expected
#
# **Needs** the results of notebooks 08, 09 and 10. **Leaves** `solution.txt` in the run's folder, and what every
# candidate predicts for the test clips. Step 11 is optional.
#
# **Takes** about a quarter of a minute on the demo set with two CPU cores. With the lab's data: four times as many clips to predict.
#
# **The one insight:** write down what you expect, with its margin, *before* you look at the leaderboard.
#
# **How to read:** the core path takes about 25 minutes. Answer each **Predict** before you unfold what to expect. Set-up,
# solutions and optional sections are folded.

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
import math

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from helpers import baselines, datasets, evaluation, folders, handmade, plots, training
from helpers.machinery.files import LabError
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, comparison_sentence, show_lines, show_table, tell
from helpers.submission import check_solution, write_solution

notebook = "11_kaggle_submission"
plots.use_style()

# %% tags=["setup", "parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per batch; for predictions only

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
# The same draws each time; the data; the folder for what this notebook stores.
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
run_of_models = record.find("10_multitask", "values.json").parents[2].name
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")
print(f"networks and predictions of steps 8 to 10: those of the run {run_of_models}")

# %% [markdown]
# ## 11α · The best model predicts the test clips
#
# > **Handout.** *Το καλύτερο μοντέλο σας από τα βήματα 8, 9 ή 10 προβλέπει τα κλιπ του test set.* Your best model of steps 8, 9 or 10
# > predicts the clips of the test set.
#
# | candidate | what it is |
# |---|---|
# | [ensemble](../docs/glossary.md#ensemble) of CNNs and both SVRs | the mean of three: the mean of the three CNN candidates below, the hand-made SVR, the SVR |
# | ensemble of CNNs and hand-made SVR; and of CNNs and SVR | half the mean of the CNNs, half one of the SVRs, whose errors are not quite theirs |
# | hand-made SVR, SVR | step 8 |
# | multitask CNN | step 10 |
# | transfer CNN for one axis, CNNs for the others | steps 9 and 8 |
# | CNNs (one per axis), LSTMs (one per axis) | step 8 |
#
# Of each network its first training is taken. They share no loss, so the rule goes by the lab's own metric, the mean Spearman
# correlation on the **validation** part. The held-out part must not choose: the best of several noisy scores is too high on
# average, and then no honest number would be left to expect.
#
# The rule has two lines. The candidates that the paired difference leaves tied with the highest score stay; of these, **the best
# mixture is taken**, and a single model only where no mixture is tied with it. For among tied candidates the highest score is mostly
# luck, and a mean over members whose errors differ is rarely far below the best of them, whichever that is: the errors cancel in part.

# %% tags=["solution"]
# The labelled clips of the two parts, and their true values.
axes = list(folders.AXES)
tracks = folders.read_clips(root / folders.MULTITASK, "train").set_index("id")
parts = record.load_table("08_regression", "affect_split").set_index("id")["part"]
ids = {
    "validation": parts.index[parts == "val"].tolist(),
    "heldout": parts.index[parts == "held-out"].tolist(),
}
true = {part: tracks.loc[names, axes].to_numpy() for part, names in ids.items()}
moved = record.load_value("09_transfer", "axis")  # the axis that step 9 has fine-tuned


# %% tags=["solution"]
def stored(part):
    """What notebooks 08 to 10 predicted for a part: a table per model, a row per clip."""
    found = {}
    for name, source in (
        ("lstm", "08_regression"), ("cnn", "08_regression"), ("svr", "08_regression"),
        ("svr_hand", "08_regression"), ("multitask", "10_multitask"),
    ):  # fmt: skip
        values = record.load_predictions(source, f"{name}_{part}", ids[part], axes)
        found[name] = pd.DataFrame(values, index=ids[part], columns=axes)
    values = record.load_predictions("09_transfer", f"transfer_{part}", ids[part], [moved])
    found["transfer"] = pd.DataFrame(values, index=ids[part], columns=[moved])
    return found


# %% tags=["solution"]
def with_transfer(models):
    """Step 8's CNNs, but for the axis that step 9 has fine-tuned."""
    return models["cnn"].assign(**{moved: models["transfer"][moved]})


def mean_of_cnns(models):
    """The mean of the three kinds of CNN."""
    return (models["multitask"] + with_transfer(models) + models["cnn"]) / 3


def candidates(models):
    """The candidates' predictions, from those of the single models."""
    cnns, svr, hand, multitask = (models[n] for n in ("cnn", "svr", "svr_hand", "multitask"))
    replaced, all_cnns = with_transfer(models), mean_of_cnns(models)
    return {
        "ensemble of CNNs and both SVRs": (all_cnns + hand + svr) / 3,
        "ensemble of CNNs and hand-made SVR": (all_cnns + hand) / 2,
        "ensemble of CNNs and SVR": (all_cnns + svr) / 2,
        "hand-made SVR": hand,
        "multitask CNN (step 10)": multitask,
        f"CNNs, {moved} from genre (step 9)": replaced,
        "CNNs (step 8)": cnns,
        "LSTMs (step 8)": models["lstm"],
        "SVR": svr,
    }


# %% [markdown]
# **Predict.** How far will the best candidate be ahead of the second one, and how far is that against the width of an interval?
#
# <details><summary>What to expect, and why</summary>
# Hardly at all. Most candidates are made of the same CNNs and SVRs, so they make the same errors; and on a few dozen clips an
# interval of the mean Spearman is several tenths wide. A mixture often comes first: errors that are not alike cancel in a mean.
# </details>

# %% tags=["solution"]
# The lab's metric on the validation clips chooses.
by_candidate = candidates(stored("validation"))
validation = {
    name: evaluation.mean_spearman(true["validation"], values.to_numpy(), seed)
    for name, values in by_candidate.items()
}
highest = evaluation.highest(validation)
record.save_values(on_validation={name: score.value for name, score in validation.items()})

# %% tags=["solution", "report"]
# Who cannot be told from the highest one, on the same clips, is tied with it.
behind = evaluation.holm({
    name: evaluation.compare_spearman(
        true["validation"], by_candidate[highest].to_numpy(), values.to_numpy(), seed
    )
    for name, values in by_candidate.items() if name != highest
})  # fmt: skip
left = [name for name in by_candidate if name == highest or not behind[name].clear]
mixtures = {name: validation[name] for name in left if name.startswith("ensemble")}
chosen = evaluation.highest(mixtures) if mixtures else highest
tied = [name_of(name) for name in left if name != chosen]
numbers = pd.Series({name: score.value for name, score in validation.items()})
ranked = numbers.sort_values(ascending=False).index
shown = {name_of(name): validation[name] for name in ranked}
title = f"Chosen: {name_of(chosen)}"
record.show(
    plots.score_plot(shown, title, f"mean Spearman on {len(ids['validation'])} validation clips"),
    "choice", caption="Mean Spearman of the candidates on the validation clips: what chooses.",
)  # fmt: skip

# %% tags=["told", "report"]
# The choice, and what it could not be told from.
tell(
    "Chosen on validation: **{chosen}**, {score}. The highest score is that of {highest}: {top}. "
    "Tied (the paired difference to the highest leaves the order open): {tied:; }.",
    chosen=name_of(chosen), score=validation[chosen], highest=name_of(highest),
    top=validation[highest], tied=tied,
)  # fmt: skip

# %% [markdown]
# So the choice among tied candidates follows a rule, and is no finding: one file has to be sent, and the rule was written down
# beforehand. (A single network would be simpler to keep than a mixture.)
#
# **Would weights be better than equal ones?** *Stacking* fits the weights of a mixture to labelled clips that its members were not
# fitted to, here the validation clips: not negative, by least squares. (They did choose each network's epoch, which flatters the
# networks a little.) Weights that were fitted to some clips look good on just these. So they are tried by cross-validation: fitted
# to four fifths, judged on the last. They are used only if they are clearly better there than equal weights of the same members,
# and not below what was chosen.


# %% tags=["solution"]
def mixed_by(weights, members):
    """The weighted mean of tables of predictions."""
    return sum(weight * table for weight, table in zip(weights, members, strict=True))


def stacked_weights(members, labels):
    """Weights [k], not negative and of sum 1, of the mixture nearest to labels [n, A]."""
    centred = [(table - table.mean()).to_numpy().ravel() for table in members]
    found, _ = nnls(np.stack(centred, axis=1), (labels - labels.mean(axis=0)).ravel())
    return found / found.sum() if found.sum() > 0 else np.full(len(members), 1 / len(members))


def members_of(models):
    """The members of the largest mixture: the mean of the CNNs, both SVRs."""
    return [mean_of_cnns(models), models["svr_hand"], models["svr"]]


# %% tags=["solution", "report"]
# Each validation clip is judged by weights that were fitted to other ones.
members, labels = members_of(stored("validation")), true["validation"]
fold_of = np.random.default_rng(seed).permutation(len(labels)) % 5
judged = []
for rest in (fold_of == fold for fold in range(5)):
    fitted = stacked_weights([table[~rest] for table in members], labels[~rest])
    judged.append(mixed_by(fitted, [table[rest] for table in members]))
stacked = pd.concat(judged).loc[ids["validation"]]
equal = by_candidate["ensemble of CNNs and both SVRs"].to_numpy()
gain = evaluation.compare_spearman(labels, stacked.to_numpy(), equal, seed)
weights = stacked_weights(members, labels)
told = dict(zip(("CNNs", "hand-made SVR", "SVR"), weights, strict=True))
of_stacked = evaluation.mean_spearman(labels, stacked.to_numpy(), seed)
better = gain.clear and gain.difference.value > 0 and of_stacked.value >= validation[chosen].value
tell(
    "Fitted weights: {weights}. {compared} {verdict}",
    weights=[Sentence("{name} {weight:.2f}", name=n, weight=w) for n, w in told.items()],
    compared=comparison_sentence(gain, "Stacking", "the mixture with equal weights",
                                 "mean Spearman on validation"),
    verdict=Sentence("So the fitted weights are submitted." if better else
                     "So the weights stay equal."),
)  # fmt: skip
if better:
    chosen = "stacked mixture"
    validation[chosen] = of_stacked

# %% [markdown]
# **The clips without labels.** Each checkpoint brings its feature and its scaling; the beat-synchronous folder holds the same test
# clips under the same ids. An SVR takes seconds to fit, so for these clips it is fitted once more, to *all* labelled clips, those of
# validation and held-out included (as the CNN of step 7 was to train + validation). So a mixture with an SVR should do a little
# better on test than its held-out score says. What each candidate predicts is stored in `test_predictions.csv`; the chosen one is
# submitted.


# %% tags=["solution"]
def predict_test(source, name, folder=folders.MULTITASK):
    """One checkpoint's predictions for the test clips: a row per clip, a column per axis."""
    checkpoint = record.load_checkpoint(source, name)
    clips = datasets.SpectrogramDataset(
        root / folder, "test", checkpoint.feature, scaler=checkpoint.scaler
    )
    loader = datasets.make_loader(clips, batch_size, device=compute)
    values = training.predict(checkpoint.model, loader, compute)
    values = values.reshape(len(clips), len(checkpoint.axes))
    return pd.DataFrame(values, index=clips.ids, columns=checkpoint.axes)


def one_per_axis(kind, folder):
    """Those of step 8's three networks of a kind."""
    names = [f"{kind}_{axis}" for axis in axes]
    return pd.concat([predict_test("08_regression", name, folder) for name in names], axis=1)


# %% tags=["solution"]
def svr_on_test(numbers_of):
    """An SVR's predictions, fitted once more to all labelled clips."""
    train, clips = (
        datasets.SpectrogramDataset(root / folders.MULTITASK, split, axes=axes)
        for split in folders.SPLITS
    )
    labels, artists = train.labels.numpy(), datasets.artists_in(train)
    values = baselines.fitted_svr(numbers_of(train), labels, seed, artists)(numbers_of(clips))
    return pd.DataFrame(values, index=clips.ids, columns=axes)


# %% tags=["solution"]
# The same models as above, on the clips without labels.
models = {
    "lstm": one_per_axis("lstm", record.load_value("08_regression", "lstm_folder")),
    "cnn": one_per_axis("cnn", folders.MULTITASK),
    "svr": svr_on_test(baselines.band_statistics),
    "svr_hand": svr_on_test(handmade.features),
    "transfer": predict_test("09_transfer", f"transfer_{moved}"),
    "multitask": predict_test("10_multitask", "multitask"),
}
on_test = candidates(models) | {"stacked mixture": mixed_by(weights, members_of(models))}
record.save_table("test_predictions", pd.concat(on_test, names=["model", "id"]).reset_index())
predicted = on_test[chosen]
print(f"{len(predicted)} test clips")
show_table(predicted.describe().loc[["mean", "std", "min", "max"]], digits=2)

# %% tags=["appendix"]
# Are they centred where those for labelled clips are? Far away hints at a wrong scaling or column.
of_heldout = stored("heldout")
heldout = candidates(of_heldout) | {"stacked mixture": mixed_by(weights, members_of(of_heldout))}
heldout = heldout[chosen].to_numpy()
panels = {f"{axis}, test": predicted[axis].to_numpy() for axis in axes}
title = f"Predictions of {name_of(chosen)} for {len(predicted)} test clips"
centres = list(zip(axes, predicted.mean(), heldout.mean(0), strict=True))
alt = "; ".join(f"{axis}: mean {test:.2f}, on held-out {own:.2f}" for axis, test, own in centres)
record.show(
    plots.histogram(panels, title, "predicted value", f"{title}. {alt}."), "test_predictions",
    caption="Predictions of the chosen model for the test clips.",
)  # fmt: skip

# %% tags=["told", "appendix"]
means = [
    Sentence("{axis} {mean:.2f} ({heldout:.2f})", axis=axis, mean=test, heldout=own)
    for axis, test, own in centres
]
tell("Mean prediction on test clips, and on held-out clips in brackets: {means}.", means=means)

# %% [markdown]
# ## 11β · `solution.txt`
#
# > **Handout.** *Γράψτε το `solution.txt`: μια επικεφαλίδα και μία γραμμή ανά κλιπ, με τρεις τιμές.* Write `solution.txt`: a header and a
# > line per clip, with three values.
#
# In the fewest lines a file is a table with clipped values, written with three decimals:


# %% tags=["solution"]
def solution_text(predicted):
    """Predictions by clip id -> the text of `solution.txt`."""
    table = predicted.clip(0, 1)
    table.index = [f"{clip}.fused.full.npy.gz" for clip in table.index]
    return table.to_csv(index_label="Id.fused.full.npy.gz", float_format="%.3f")


# %%
# Kaggle wants every clip: one that --skip-bad has left out gets the usual values.
test_ids = folders.inspect_clips(root / folders.MULTITASK, "test")[0]["id"].tolist()
predicted = predicted.reindex(test_ids).fillna(tracks[axes].mean())
run_folder = record.folder.parents[1]
for place in (record.folder, run_folder):
    path = write_solution(place / "solution.txt", predicted.index, predicted.to_numpy())
agree(
    "solution.txt, byte by byte",
    lambda: list(solution_text(predicted).encode()),
    list(path.read_bytes()),
)

# %% tags=["solution", "report"]
# Its beginning, and how many values lay outside of the scale.
text = path.read_text()
show_lines("\n".join(text.splitlines()[:5]), path.name)
n_rows = len(text.splitlines()) - 1
outside = ((predicted < 0) | (predicted > 1)).sum()
tell(
    "`runs/{run}/solution.txt`: a header and {n} rows, one per test clip. Of the {all} values "
    "{outside} lay outside 0..1 and were clipped.",
    run=run_folder.name, n=n_rows, outside=int(outside.sum()), all=predicted.size,
)  # fmt: skip

# %% [markdown]
# | the kit adds | why | what it gains | where it stands |
# |---|---|---|---|
# | it refuses missing or infinite predictions | pandas writes an empty cell for NaN | no file with holes | `write_solution` in `helpers/submission.py` |
# | it checks the finished text against the clips of the test folder | ids get lost on the way, or come twice | each mistake with its line, before the upload | `check_solution`, the same file |
# | it writes whole or not at all | a run may be stopped in the middle of a line | no half file | `write_atomically` in `helpers/machinery/files.py` |
#
# **Predict.** Another header, the last clip missing, a clip twice, a value above 1, a name as on disk: which would you see in the
# first five lines?
#
# <details><summary>What to expect, and why</summary>
# The header; a value or a name only if it happens to stand there, as in the two files made here. A clip that is missing or comes
# twice is seen in no single line. So a program has to compare the whole file with the test folder.
# </details>

# %%
# Five files that are wrong, and what the check says of each.
lines = text.splitlines()
first_id, *first_values = lines[1].split(",")
wrong_files = {
    "another header": ["Id,valence,energy,danceability", *lines[1:]],
    "the last clip is missing": lines[:-1],
    "a clip twice": [*lines, lines[1]],
    "a value above 1": [lines[0], f"{first_id},1.200,0.500,0.500", *lines[2:]],
    "a name as on disk": [lines[0], ",".join([first_id[:-3], *first_values]), *lines[2:]],
}
said = {}
for mistake, wrong in wrong_files.items():
    try:
        check_solution("\n".join(wrong), test_ids)
    except LabError as error:
        said[mistake] = str(error)
show_table(pd.DataFrame({"what the check says": said}))

# %% [markdown]
# ## 11γ · Submit it
#
# > **Handout.** *Υποβάλετέ το στον διαγωνισμό του Kaggle και δείτε τον πίνακα κατάταξης.* Submit it to the Kaggle competition, and read the
# > leaderboard.
#
# In the browser: open the competition of your year ([2021-22](https://www.kaggle.com/c/multitask-affective-music-lab-2022/overview),
# [2019-20](https://www.kaggle.com/c/multitask-music-classification-2020/overview)), join it, *Submit Prediction*, upload
# `solution.txt`, and describe it in a line that names the run. On the command line, with an API token of your own:
#
# ```
# ./run_all.sh submit --dry-run    # checks the file and shows what is expected
# ./run_all.sh submit              # sends it, waits for the score, and stores it for 11δ
# ```
#
# **Two leaderboards.** While a competition runs, the *public* one shows your score on a part of the test clips. The *private* one, on
# the other clips, is opened at the end and decides. A late submission, where the hosts allow it, is scored and not ranked.
#
# The leaderboard shows your best score. Submit what your validation part chose, once: trying many files and keeping the
# best one fits the leaderboard, not the music. And keep your Kaggle notebooks private: the lab's rule is that solutions are
# not published.

# %% tags=["told", "report"]
# What became of the file; a score stands in 11δ.
tell(
    "A score of Kaggle is stored in this run: see 11δ."
    if (run_folder / "kaggle_score.txt").is_file() else
    "No score of Kaggle is stored in this run. The lab's competitions have ended: a late "
    "submission, where the hosts allow it, is scored and not ranked."
)  # fmt: skip

# %% [markdown]
# ## 11δ · What score is expected, and how close is it?
#
# > **Handout.** *Πόσο κοντά είναι η βαθμολογία σε αυτό που περιμένατε;* How close is the score to what you expected?
#
# Expected is the **held-out** score of the chosen model: like the hidden test clips, these clips were not used to choose anything.
# Two scores of the same model on different clips differ by chance. With the standard deviation $s$ of one clip's share, $n_h$
# held-out and $n_t$ test clips, their variances add up:
#
# $$
# \operatorname{Var}(\rho_{test} - \rho_{held}) \approx \frac{s^2}{n_h} + \frac{s^2}{n_t}
# = \frac{s^2}{n_h} \left( 1 + \frac{n_h}{n_t} \right)
# $$
#
# The first factor is what the interval of the held-out score already shows. So the **margin** for the other score is that interval,
# made wider by the root of the bracket. (It takes both sets to be drawn alike, and all test clips to be scored; the public
# leaderboard scores fewer, so its margin is wider.)
#
# **Predict.** With 42 held-out and 94 test clips: how much wider is the margin? With far more held-out clips than test clips?
#
# <details><summary>What to expect, and why</summary>
# The root of 1 + 42 / 94 is 1.2: a fifth wider, because the larger test set adds little chance of its own. With many held-out
# clips the interval itself is narrow, and the factor large: nearly all chance then comes from the test clips.
# </details>

# %% tags=["solution", "report"]
# The interval of the held-out score, and the wider margin for a score on other clips.
lstm = record.load_checkpoint("08_regression", f"lstm_{axes[0]}")
feature = "hand-made" if any(part in chosen for part in ("hand", "both", "stacked")) else "mel"
feature = lstm.feature if chosen == "LSTMs (step 8)" else feature
expected = record.add_affect_scores(chosen, feature, true["heldout"], heldout)["mean"]
n_heldout, n_test = len(ids["heldout"]), len(test_ids)
wider = math.sqrt(1 + n_heldout / n_test)
low = expected.value - wider * (expected.value - expected.low)
high = expected.value + wider * (expected.high - expected.value)
record.save_values(margin=[low, high], n_heldout=n_heldout)

# %% tags=["told", "report"]
# Written down before any score on the test clips is known.
tell(
    "Expected mean Spearman: **{expected}**, from {n} held-out clips. On validation, which chose "
    "this model, it has {score:.3f}; a score that was used to choose flatters on average, not in "
    "every run.",
    expected=expected, n=n_heldout, score=validation[chosen].value,
)  # fmt: skip
if expected.defined:
    tell(
        "In 19 cases of 20 a score on the {n} test clips is expected between {low:.3f} and "
        "{high:.3f}.", n=n_test, low=low, high=high,
    )  # fmt: skip


# %% tags=["told"]
# For your score, and for the stand-in below.
def judge(score, where):
    """A sentence that compares a score with the expectation above."""
    if not (expected.defined and math.isfinite(score)):
        template = "{where}: {score:.3f}; it cannot be compared, one of the two is undefined."
        return Sentence(template, where=where, score=score)
    return Sentence(
        "**Verdict.** {where}: {score:.3f}, {gap:.3f} {side} the expected value and {verdict} the "
        "margin of {low:.3f} to {high:.3f}.",
        where=where, score=score, gap=abs(score - expected.value), low=low, high=high,
        side="above" if score >= expected.value else "below",
        verdict="inside" if low <= score <= high else "outside",
    )  # fmt: skip


# %% [markdown]
# **Your score.** `./run_all.sh submit` stores it in the text file `kaggle_score.txt` in the run's folder; if you submitted in
# the browser, write the number there yourself. Then run this notebook again.

# %% tags=["told", "report"]
# A number in a file, so that it stays when the notebook runs again.
score_file = run_folder / "kaggle_score.txt"
if score_file.is_file():
    written = score_file.read_text().strip()
    try:
        kaggle_score = float(written)
    except ValueError:
        raise LabError(f"{score_file}:1: {written!r} is no number; write 0.7199") from None
    record.save_values(kaggle_score=kaggle_score)
    tell(judge(kaggle_score, "Kaggle's score"))

# %% tags=["told"]
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
places = [place / name for place in (root.parent, root) for name in names]
answer_file = next((place for place in places if place.is_file()), None)
stand_in = None
if answer_file:
    answers = folders.read_labels(answer_file, folders.AXES).set_index("id").reindex(test_ids)
    if answers[axes].isna().any(axis=None):
        raise LabError(f"{answer_file}: some test clips have no answer; complete the file")
    sent = pd.read_csv(path, index_col=0)
    sent.index = [folders.clip_id(name) for name in sent.index]
    submitted = sent.loc[test_ids, axes].to_numpy()
    stand_in = evaluation.mean_spearman(answers[axes].to_numpy(), submitted, seed)
    where = "affect test (stand-in for Kaggle's hidden answers)"
    record.add_scores(chosen, feature, where, {"mean Spearman": stand_in}, n_test)
    tell(judge(stand_in.value, "Stand-in for Kaggle's hidden score (own answers, not Kaggle)"))
else:
    print("No withheld answers beside these data: only Kaggle can score solution.txt.")

# %% tags=["report"]
# What was expected, the margin for another score, and the scores that are known by now.
margin = evaluation.Score(expected.value, low, high, expected.reason)
scores = {
    f"expected ({n_heldout} held-out clips)": expected,
    f"margin for a score on {n_test} clips": margin,
}
if score_file.is_file():
    scores["Kaggle"] = evaluation.Score(kaggle_score)
if stand_in is not None:
    scores[f"stand-in ({n_test} test clips)"] = evaluation.Score(stand_in.value)
title = f"On other clips a score from {low:.2f} to {high:.2f} would be as expected"
figure = plots.score_plot(scores, title, "mean Spearman")
if expected.defined:
    figure.axes[0].axvspan(low, high, color="0.9", zorder=0)
caption = "Expected score, its margin, and the scores that are known."
record.show(figure, "expected", caption=caption)


# %% [markdown]
# ### Exercise 11.1 · The margin
#
# Write the margin as a function of the score with its interval and the two numbers of clips.


# %% tags=["exercise"]
def check_margin(margin):
    """Checks a function of (value, low, high, n_heldout, n_test) on three cases."""
    found = margin(0.6, 0.5, 0.7, 42, 94)
    if found is None:
        return print("not written yet")
    assert math.isclose(found[0], 0.6 - 0.1 * math.sqrt(1 + 42 / 94)), f"lower end: {found[0]}"
    assert math.isclose(margin(0.6, 0.4, 0.7, 1, 3)[1], 0.6 + 0.1 * math.sqrt(4 / 3)), (
        "the two sides of an interval may differ: stretch each one"
    )
    assert margin(0.6, 0.5, 0.7, 42, 10**9)[1] < 0.7001, "a huge test set adds nothing"
    print(f"right: 0.6 [0.5, 0.7] from 42 clips becomes {found[0]:.2f} to {found[1]:.2f} on 94")


def my_margin(value, low, high, n_heldout, n_test):
    """The held-out score and its interval -> (low, high) for a score on n_test other clips."""
    ...


check_margin(my_margin)


# %% tags=["solution", "folded"]
def margin_of(value, low, high, n_heldout, n_test):
    """The held-out score and its interval -> (low, high) for a score on n_test other clips."""
    wider = math.sqrt(1 + n_heldout / n_test)
    return value - wider * (value - low), value + wider * (high - value)


check_margin(margin_of)

# %% [markdown] tags=["extra"]
# ### Exercise 11.2 · Change this and run again: a mixture of ranks
#
# Spearman looks at ranks only, so models can be averaged by rank, whatever their scales. Write the mixture, then try others. Each one
# is one more candidate, no proof: each mixture you try biases the best validation score further upwards.


# %% tags=["extra", "exercise"]
def check_mixture(mixture):
    """Checks a mixture of ranks on made-up tables, then scores it on the validation clips."""
    small, large = pd.DataFrame({"x": [0.1, 0.2, 0.9]}), pd.DataFrame({"x": [100, 300, 200]})
    found = mixture([small, large])
    if found is None:
        return print("not written yet")
    ranks = found["x"].tolist()
    assert ranks == [1.0, 2.5, 2.5], f"the mean ranks are 1, 2.5, 2.5; yours {ranks}"
    single = [values for name, values in stored("validation").items() if name != "transfer"]
    score = evaluation.mean_spearman(true["validation"], mixture(single).to_numpy(), seed)
    print(f"right. On validation: mixture of ranks {score}, {name_of(chosen)} {validation[chosen]}")


def my_mixture(tables):
    """Tables of predictions, a row per clip -> the table of their mean ranks, from 1."""
    ...


check_mixture(my_mixture)


# %% tags=["extra", "solution", "folded"]
def mixture(tables):
    """Tables of predictions, a row per clip -> the table of their mean ranks, from 1."""
    return sum(table.rank() for table in tables) / len(tables)


check_mixture(mixture)

# %% [markdown]
# ## What we learned
#
# - Validation chooses, held-out says what to expect, the hidden test set confirms or surprises. A choice among tied models is no
#   finding.
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
# Clipping keeps the order except among the clips beyond the ends, which become ties; 11β says how many there are. Rounding to
# three decimals makes a few ties as well.
# </details>
#
# <details><summary>A friend submitted thirty files and reports the best. What is wrong with that number?</summary>
# It is the highest of thirty noisy scores on the same clips, so it is too high for new ones: the leaderboard has become a
# validation set.
# </details>
#
# <details><summary>Why is the rule here the mean Spearman and not, as for networks, the validation loss?</summary>
# The candidates share no loss: three networks with one loss each, one with a weighted sum, SVRs, mixtures. The score of the lab is
# what they have in common.
# </details>
#
# <details><summary>The chosen model is tied with others. Was the choice useless?</summary>
# As a finding, yes: it says nothing about which kind is better. As a decision, no: a rule that was fixed beforehand keeps you from
# choosing by the leaderboard.
# </details>
#
# <details><summary>Why does the margin shrink only a little when the test set grows from 94 to 940 clips?</summary>
# The root of 1 + 42 / 94 is 1.20, that of 1 + 42 / 940 is 1.02. What remains is the chance in the 42 held-out clips, and the test
# set does not reduce that.
# </details>

# %% tags=["stored"]
record.save_values(chosen=chosen, rows=n_rows)
record.finish(key_metric=f"expected mean Spearman {expected}; {n_rows} rows")
