"""Everything that a finished run has to show, as chapters, in the kit's English."""

from __future__ import annotations

import math
from dataclasses import replace

from helpers.evaluation import Comparison, Score
from helpers.notebook.records import RESULTS
from helpers.notebook.shown import Piece, Sentence, Table, Text
from tools.checks.labels import Shown
from tools.common.notebooks import NOTEBOOKS
from tools.common.run_folder import Paths
from tools.report.source import Run, rows, score_of, step_of

STEPS = (
    "0 · Rules, Kaggle and data",
    "1 · Spectrograms",
    "2 · Time steps and beats",
    "3 · Chromagrams",
    "4 · The Dataset and its classes",
    "5 · Genre with LSTMs",
    "6 · Evaluation",
    "7 · Genre with a CNN",
    "8 · Valence, energy and danceability",
    "9 · Transfer learning",
    "10 · Multitask learning",
    "11 · The Kaggle submission",
)
ACROSS, ENVIRONMENT = "Comparison across the steps", "Environment"
MEAN = "mean Spearman"


def chapters(run: Run) -> dict[str, list[Shown]]:
    """A chapter per step with a section per label, the comparison across steps, the environment."""
    found: dict[str, list[Shown]] = {title: [] for title in STEPS}
    for notebook in NOTEBOOKS:
        title = STEPS[0]
        for section in run.sections(notebook.name):
            # A heading without a label belongs to the step that it follows.
            title = STEPS[int(step_of(section.name))] if step_of(section.name) else title
            made = section.name == "rules"
            found[title].append(_how_it_was_made(run, section) if made else section)
    return found | {ACROSS: _across(run), ENVIRONMENT: _environment(run)}


def _section(heading: str, *pieces: Piece) -> Shown:
    """A section of the report's own."""
    return Shown(headings=[heading], reported=list(pieces))


def _how_it_was_made(run: Run, rules: Shown) -> Shown:
    """In the place of the rules: whose work this is, what `clear` means, and on which data."""
    about = run.summary.get("data", {})
    work = Sentence(
        "This report is the members' own work. Every source other than the course's is cited under "
        '"References"; so is the course kit, whose code produced the figures, the tables and the '
        "measured sentences. A difference is called clear when its 95 % interval leaves out 0 and "
        "its p-value, corrected by Holm's method, is below 0.05; otherwise it may be chance."
    )
    data = Sentence(
        "The run used the kit's demo set: synthesised clips, written in the layout of the lab's "
        "data (fingerprint `{fingerprint}`). Its numbers say nothing about real music."
        if about.get("demo") else
        "The run used the data folder that was given (fingerprint `{fingerprint}`).",
        fingerprint=str(about.get("fingerprint")),
    )  # fmt: skip
    return replace(rules, headings=["How this report was made"], reported=[Text([work, data])])


def _across(run: Run) -> list[Shown]:
    """The comparison across steps: every model's scores, and every stored comparison."""
    found = {
        (r["notebook"][:2], r["model"], r["test_set"], r["metric"]): score_of(r, "value")
        for r in rows(run.folder / RESULTS)
    }
    genre = [
        [*row, accuracy, found.get((*row, "macro F1"), Score(math.nan))]
        for (*row, metric), accuracy in found.items()
        if metric == "accuracy" and row[0] in ("06", "07") and "(crossed)" not in row[1]
        # Notebook 06 has scored two of notebook 07's models already.
        if row[0] == "06" or row[1] not in ("lstm_mel_full", "majority_full")
    ]
    affect = [
        [notebook, model, score]
        for (notebook, model, _, metric), score in found.items()
        if metric == MEAN and notebook in ("08", "09", "10")
    ]
    scores = (
        Table(
            ("notebook", "model", "test set", "accuracy", "macro F1"),
            sorted(genre, key=lambda row: _rank(row[3])),
            Sentence("Genre: every model on test, best first, with 95 % intervals."),
            digits=2,
        ),
        Table(
            ("notebook", "model", MEAN),
            sorted(affect, key=lambda row: _rank(row[2])),
            Sentence(
                "Affect: mean Spearman on the held-out clips, best first, with 95 % intervals."
            ),
        ),
    )
    differences = _section("All paired comparisons", *_differences(run))
    return [_section("All models", *scores), differences]


def _rank(score: object) -> float:
    """What sorts the best first, and what is undefined last."""
    return -score.value if isinstance(score, Score) and score.defined else math.inf


def _differences(run: Run) -> list[Piece]:
    """How many comparisons are clear, and all of them in one table."""
    records = (Paths(run.folder, notebook.name).record for notebook in NOTEBOOKS)
    found = [row for record in records for row in rows(record / "comparisons.csv")]
    if not found:
        return [Text([Sentence("The run stored no comparisons.")])]
    lines, n_clear = [], 0
    for row in found:
        p_value = float(row["p_holm"] or row["p"] or math.nan)
        result = Comparison(score_of(row, "difference"), p_value)
        n_clear += result.clear
        lines.append([row["first"], row["second"], row["what"], result.difference, p_value])
    said = Sentence(
        "{clear} of {n} paired comparisons are clear after Holm's correction inside each notebook; "
        "the others may be chance.",
        clear=n_clear, n=len(found),
    )  # fmt: skip
    caption = Sentence("Every paired comparison: first minus second, with its 95 % interval.")
    return [
        Text([said]),
        Table(("first", "second", "in", "difference", "p (Holm)"), lines, caption),
    ]


def _environment(run: Run) -> list[Shown]:
    """Versions, device, seeds, data, commit: what is needed to do it again."""
    summary = run.summary
    n_trainings = (run.values(n).get("n_seeds", 1) for n in ("05_lstm", "07_cnn", "08_regression"))
    facts = {
        "run": run.folder.name,
        "finished": summary.get("finished", ""),
        "profile": summary.get("profile", ""),
        "device": run.values("00_setup").get("device", summary.get("device", "")),
        "seed": ", ".join(sorted({str(seed) for seed in summary.get("seeds", {}).values()})),
        "trainings per model": ", ".join(sorted({str(n) for n in n_trainings})),
        "data fingerprint": summary.get("data", {}).get("fingerprint"),
        "commit of the code": summary.get("commit") or "unknown",
        "Python": summary.get("python", ""),
        "platform": summary.get("platform", ""),
    }
    versions = summary.get("versions", {})
    times = [
        [row["notebook"], row["seconds"] or math.nan, row["peak_mb"] or math.nan]
        for row in summary.get("notebooks", [])
    ]
    tables = (
        Table(("what", "value"), list(facts.items()), Sentence("The run.")),
        Table(("package", "version"), list(versions.items()), Sentence("Packages.")),
        Table(
            ("notebook", "seconds", "peak memory (MiB)"),
            times,
            Sentence("Time and memory of each notebook in its last execution."),
            digits=0,
        ),
    )
    return [_section("Versions, device, seeds, data", *tables)]
