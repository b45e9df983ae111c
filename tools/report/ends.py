"""The last chapters of the report: the comparison across steps, and the environment."""

from __future__ import annotations

import math
from typing import Any

from helpers.evaluation import Score
from helpers.notebook.records import HELD_OUT
from tools.report.blocks import Block, Literal, Section, Sentence, Table
from tools.report.source import Run
from tools.report.steps_first import METRICS, rank
from tools.report.steps_last import CNN, MEAN, MULTITASK, REGRESSION, TRANSFER


def across(run: Run) -> list[Section]:
    """The comparison across steps: every model's scores, and every stored comparison."""
    genre: list[list[Any]] = [
        [r["notebook"][:2], r["model"], r["test_set"], *_both(run, r)]
        for notebook in (METRICS, CNN)
        for r in run.rows_of(notebook, "accuracy")
        if "(crossed)" not in r["model"] and not (notebook == CNN and _known(r["model"]))
    ]
    genre.sort(key=lambda row: rank(row[3]))
    affect: list[list[Any]] = [
        [r["notebook"][:2], r["model"], run.score(r["notebook"], r["model"], HELD_OUT, MEAN)]
        for notebook in (REGRESSION, TRANSFER, MULTITASK)
        for r in run.rows_of(notebook, MEAN)
    ]
    affect.sort(key=lambda row: rank(row[2]))
    columns = ("notebook", "model", "test set", "accuracy", "macro F1")
    blocks: list[Block] = [
        Table("all_genre", columns, genre, digits=2),
        Table("all_affect", ("notebook", "model", MEAN), affect),
    ]
    return [Section("scores", blocks), Section("differences", _all_differences(run))]


def _known(model: str) -> bool:
    """Whether notebook 06 has scored this model already."""
    return model in ("lstm_mel_full", "majority_full")


def _both(run: Run, row: dict[str, str]) -> list[Score]:
    names = (row["notebook"], row["model"], row["test_set"])
    return [run.score(*names, metric) for metric in ("accuracy", "macro F1")]


def _all_differences(run: Run) -> list[Block]:
    """How many comparisons are clear, and all of them in one table."""
    found = run.differences
    if not found:
        return [Sentence("no_comparisons")]
    clear = [d for d in found if d.result.clear]
    rows = [
        [d.first, d.second, d.what, d.result.difference, d.result.decisive_p_value]
        for d in found
    ]
    columns = ("first", "second", "in", "difference", "p (Holm)")
    return [
        Sentence("clear_count", {"clear": len(clear), "n": len(found)}),
        Table("differences", columns, rows),
    ]


def environment(run: Run) -> list[Section]:
    """Versions, device, seeds, data, commit: what is needed to do it again."""
    summary = run.summary
    seeds = sorted({str(seed) for seed in summary.get("seeds", {}).values()})
    device = run.values("00_setup").get("device", summary.get("device", ""))
    n_seeds = {str(run.values(name).get("n_seeds", 1)) for name in ("05_lstm", CNN, REGRESSION)}
    facts = {
        "run": run.name,
        "finished": summary.get("finished", ""),
        "profile": summary.get("profile", ""),
        "device": device,
        "seed": ", ".join(seeds),
        "trainings per model": ", ".join(sorted(n_seeds)),
        "data fingerprint": summary.get("data", {}).get("fingerprint"),
        "commit of the code": summary.get("commit") or "unknown",
        "Python": summary.get("python", ""),
        "platform": summary.get("platform", ""),
    }
    rows = [[name, Literal(str(value))] for name, value in facts.items()]
    versions = [[name, Literal(v)] for name, v in summary.get("versions", {}).items()]
    times = [
        [row["notebook"], row["seconds"] or math.nan, row["peak_mb"] or math.nan]
        for row in summary.get("notebooks", [])
    ]
    blocks: list[Block] = [
        Table("facts", ("what", "value"), rows),
        Table("versions", ("package", "version"), versions),
        Table("times", ("notebook", "seconds", "peak memory (MiB)"), times, digits=0),
    ]
    return [Section("environment", blocks)]
