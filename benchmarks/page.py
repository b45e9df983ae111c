"""The page `docs/how_good.md`, its plot and its tables, from pooled predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from benchmarks.references import REFERENCES
from benchmarks.songs import Songs
from helpers import evaluation, plots
from helpers.evaluation import Comparison, Score
from helpers.folders import GENRE, MULTITASK
from helpers.machinery.files import write_atomically
from helpers.notebook.showing import render_figure
from tools.common.command_line import EXIT_DONE, EXIT_FAILED
from tools.common.notebooks import ROOT

# (folder, model) -> repeat -> predictions by clip id
Pooled = dict[tuple[str, str], dict[int, pd.DataFrame]]
Pair = tuple[str, str, str]  # folder, first and second model
MAIN_METRIC = {GENRE: "accuracy", MULTITASK: "mean"}
WHAT = {GENRE: "accuracy", MULTITASK: "mean Spearman"}
ENSEMBLES = (
    "ensemble with SVR",
    "ensemble with hand-made SVR",
    "ensemble with both SVRs",
    "what 11 submits",
)
BEST_SINGLE, BEST_GENRE = "best single model", "best genre model"
# Behind a model's name: without repeat 1, on which whatever had to be chosen was chosen.
REPORTED = " (repeats 2, 3)"


@dataclass(frozen=True)
class Required:
    """A paired difference that is shown, or a score where `second` is "", and what it must be.

    `sense`: "above" (its interval leaves out 0), "at least" (difference or score reach `value`),
    "not below" (its interval reaches 0), or "" for none.
    """

    folder: str
    first: str
    second: str
    sense: str = ""
    value: float = 0.0

    def judged(self, difference: Score) -> tuple[str, str]:
        """The requirement in words, and met or NOT met; nothing where nothing is required."""
        senses = {
            "above": ("interval above 0", difference.low > 0),
            "at least": (
                f"at least {self.value:{'+' if self.second else ''}.2f}",
                difference.value >= self.value,
            ),
            "not below": ("not below beyond its interval", difference.high >= 0),
        }
        if self.sense not in senses:
            return "", ""
        words, holds = senses[self.sense]
        return words, "met" if holds else "NOT met"


# Set for the kit when it was first measured. Models that no notebook trains keep their
# requirements, too: what is not measured is not met.
TABLE = pd.read_csv(Path(__file__).with_name("requirements.csv"), keep_default_na=False)
REQUIRED = tuple(Required(*row) for row in TABLE.itertuples(index=False))


# ---- scores ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """Pooled predictions beside the answers."""

    songs: Songs
    pooled: Pooled

    def common(self, folder: str, *names: str) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """Answers and each model's predictions, one per repeat, for the clips that all have.

        Class numbers [n] or values [n, 3].
        """
        truth, sides = self.songs.truth(folder), []
        for name in names:
            repeats = self.pooled.get((folder, name.removesuffix(REPORTED)), {})
            sides.append([table for r, table in repeats.items() if r > name.endswith(REPORTED)])
        kept = truth.index
        for table in chain(*sides):
            kept = kept.intersection(table.dropna().index)

        def of(table: pd.DataFrame) -> np.ndarray:
            values = table.loc[kept].to_numpy()
            return values[:, 0].astype(int) if folder == GENRE else values

        return of(truth), [[of(table) for table in side] if len(kept) else [] for side in sides]

    def scores(self, folder: str, name: str) -> tuple[dict[str, list[Score]], int]:
        """Each metric in each repeat, and the number of clips."""
        true, (repeats,) = self.common(folder, name)
        if not repeats:
            return {MAIN_METRIC[folder]: [Score(math.nan, reason="no clip in each repeat")]}, 0
        scores: Callable[..., dict[str, Score]] = evaluation.affect_scores
        if folder == GENRE:
            n_classes = len(self.songs.classes)
            scores = partial(evaluation.classification_scores, n_classes=n_classes)
        each = [scores(true, predicted) for predicted in repeats]
        metrics = [metric for metric in each[0] if metric != "micro F1"]  # it is the accuracy
        return {metric: [one[metric] for one in each] for metric in metrics}, len(true)

    def compared(self, pairs: Sequence[Pair]) -> dict[Pair, Comparison]:
        """Paired differences, corrected together (Holm)."""
        return evaluation.holm({pair: self._compare(*pair) for pair in pairs})

    def _compare(self, folder: str, first: str, second: str) -> Comparison:
        """The paired difference, the mean over the repeats; without a second, the score."""
        if not second:
            scores, _ = self.scores(folder, first)
            return Comparison(_mean(scores[MAIN_METRIC[folder]]), math.nan)
        true, sides = self.common(folder, first, second)
        if not all(sides):
            absent = [name for name, side in zip((first, second), sides, strict=True) if not side]
            reason = f"not measured: no common clip of {' and '.join(absent)}"
            return Comparison(Score(math.nan, reason=reason), math.nan)
        compare = evaluation.compare_accuracy if folder == GENRE else evaluation.compare_spearman
        return compare(true, *sides)


def _mean(scores: Sequence[Score]) -> Score:
    """The mean over repeats; of the ends of their intervals, too (a little too wide, if at all)."""
    for score in scores:
        if not score.defined:
            return score
    return Score(*np.mean([(score.value, score.low, score.high) for score in scores], axis=0))


def score_table(results: Results) -> pd.DataFrame:
    """A row per model and metric."""
    rows = []
    for folder, name in results.pooled:
        scores, n_clips = results.scores(folder, name)
        for metric, repeats in scores.items():
            s, each = _mean(repeats), ", ".join(f"{one.value:.3f}" for one in repeats)
            rows.append((folder, name, metric, s.value, s.low, s.high, each, n_clips, s.reason))
    columns = "task model metric value low high each_repeat clips undefined".split()
    return pd.DataFrame(rows, columns=columns)


def best_single(scores: pd.DataFrame) -> str:
    """The affect model of the highest mean Spearman that is no mixture of others."""
    means = scores[(scores["task"] == MULTITASK) & (scores["metric"] == MAIN_METRIC[MULTITASK])]
    single = means[~means["model"].isin(ENSEMBLES)].set_index("model")["value"]
    return single.fillna(-math.inf).idxmax() if len(single) else BEST_SINGLE


def best_genre(results: Results) -> str:
    """The lab's genre model of the highest accuracy in repeat 1."""
    first = {
        name: results.scores(folder, name)[0][MAIN_METRIC[GENRE]][0]
        for folder, name in results.pooled
        if folder == GENRE and name not in REFERENCES
    }
    return evaluation.highest(first) if first else BEST_GENRE


# ---- the page ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """What the page says of how it was made; `name`: of the page and its files."""

    name: str
    music: str
    command: str
    how: str  # with which data, profile and code, when and where
    failures: Sequence[str]


def write(results: Results, about: About, out: Path | None) -> int:
    """Score, write all to `out` or to its place, say what was missed; return the exit code."""
    scores = score_table(results)
    best, genre = best_single(scores), best_genre(results) + REPORTED
    pairs = [
        (r.folder, genre if r.first == BEST_GENRE + REPORTED else r.first,
         best if r.second == BEST_SINGLE else r.second) for r in REQUIRED
    ]  # fmt: skip
    compared = results.compared(pairs)
    required, missed = _judged([compared[pair] for pair in pairs], pairs)
    docs, csv = (out, out) if out else (ROOT / "docs", ROOT / "benchmarks" / "results")
    for ending, table in {"": scores, "_comparisons": required}.items():
        write_atomically(csv / f"{about.name}{ending}.csv", table.round(6).to_csv(index=False))
    measured = {pair[1:]: c for pair, c in compared.items() if pair[2] and c.difference.defined}
    plots.use_style()
    png, _, alt = render_figure(plots.differences(measured, "score"), about.name)
    write_atomically(docs / f"{about.name}.png", png)
    songs = results.songs
    n_clips = {"genre": len(songs.truth(GENRE)), "affect": len(songs.truth(MULTITASK))}
    models = {WHAT[folder]: _models(scores, folder) for folder in (GENRE, MULTITASK)}
    text = rendered(
        "how_good.md.j2", about=about, songs=songs, n_clips=n_clips, missed=missed, alt=alt,
        models=models, comparisons=markdown(required),
    )  # fmt: skip
    write_atomically(docs / f"{about.name}.md", text)
    print(f"written: {docs / about.name}.md")
    print("\n".join([*(f"NOT met: {line}" for line in missed), *about.failures]))
    return EXIT_FAILED if missed or about.failures else EXIT_DONE


def rendered(template: str, **values: Any) -> str:
    """A page in Markdown, out of one of the templates beside this file."""
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template(template).render(values)


def _judged(results: Sequence[Comparison], pairs: Sequence[Pair]) -> tuple[pd.DataFrame, list[str]]:
    """A row for each requirement, and a line for each that is not met."""
    rows, missed = [], []
    for required, pair, result in zip(REQUIRED, pairs, results, strict=True):
        score = result.difference
        words, verdict = required.judged(score)
        row = {"in": WHAT[required.folder], **_row(pair, result)}
        rows.append(row | {"required": words, "verdict": verdict})
        if verdict == "NOT met":
            sign, what = ("+", f"{pair[1]} minus {pair[2]}") if pair[2] else ("", pair[1])
            found = f"{score.value:{sign}.3f} [{score.low:{sign}.3f}, {score.high:{sign}.3f}]"
            missed.append(f"{what}, {words}: {found if score.defined else score.reason}")
    return pd.DataFrame(rows), missed


def _row(pair: Pair, result: Comparison) -> dict[str, Any]:
    """A paired difference as a row of a table."""
    score = result.difference
    verdict = "clear" if result.clear else score.reason or "open"
    values = (*pair[1:], score.value, score.low, score.high, result.adjusted, verdict)
    names = ("first", "second", "difference", "low", "high", "p (Holm)", "it is")
    return dict(zip(names, values, strict=True))


def _models(table: pd.DataFrame, folder: str) -> str:
    """A row per model, a column per metric; and the main metric in each repeat."""
    own = table[table["task"] == folder]
    rows: dict[str, dict[str, Any]] = {}
    for r in own.itertuples():
        row = rows.setdefault(r.model, {"model": r.model, "clips": r.clips})
        row[r.metric] = str(Score(r.value, r.low, r.high, r.undefined))
        if r.metric == MAIN_METRIC[folder]:
            row["each repeat"] = r.each_repeat
    return markdown(pd.DataFrame(rows.values()).fillna(""))


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, as readable in a terminal; numbers with three decimals."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "" if math.isnan(value) else f"{value:.3f}"
        return "" if value is None else str(value)

    lines = [list(map(cell, line)) for line in (table.columns, *table.itertuples(index=False))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
