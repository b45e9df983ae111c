"""How the tables of the benchmark are shown: Markdown, CSV files and a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.music_scores import MAIN_METRIC, METRICS
from helpers.machinery.files import LabError, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH, N_COLOURS = 110, 48
TABLES = ("", "_comparisons", "_ablations")  # the ends of the files' names
_AS_TEXT = {"each": str, "repeats": str}
_HEADINGS = {
    "genre": "genre: accuracy",
    "affect": "valence, energy, danceability: mean Spearman",
}


# ---- Markdown ----------------------------------------------------------------------------------


def as_markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """All tables that have rows, and how they were made."""
    scores, comparisons, ablations = (tables[name] for name in TABLES)
    parts = [_scores(scores, task) for task in METRICS if len(scores)]
    if len(comparisons):
        parts.append(_comparisons(comparisons))
    if len(ablations):
        parts.append(_ablations(ablations))
    if len(scores):
        parts.append(scores["protocol"].iloc[0])
    return "\n\n".join(filter(None, parts)) + "\n"


def _scores(scores: pd.DataFrame, task: str) -> str:
    own = scores[scores["task"] == task]
    if own.empty:
        return ""
    metrics = list(METRICS[task])
    repeats = ", ".join(dict.fromkeys(own["repeats"].astype(str)))
    chosen = MAIN_METRIC[task]
    lines = [
        f"| {task} | {' | '.join(metrics)} | each repeat, {chosen} | s per training |",
        f"|---|{'--:|' * (len(metrics) + 2)}",
    ]
    for name in dict.fromkeys(own["model"]):
        rows = own[own["model"] == name].set_index("metric")
        cells = [_interval(rows.loc[metric], metric == chosen) for metric in metrics]
        seconds = rows["processor_seconds"].iloc[0]
        each = rows.loc[chosen, "each"]
        shown = "" if np.isnan(seconds) else f"{seconds:.0f}" if seconds >= 1 else f"{seconds:.1f}"
        lines.append(f"| {rows['title'].iloc[0]} | {' | '.join(cells)} | {each} | {shown} |")
    lines += ["", f"Repeats {repeats}; {own['clips'].iloc[0]} clips; brackets: 95 % intervals."]
    return "\n".join(lines)


def _interval(row: pd.Series, with_interval: bool) -> str:
    if not with_interval or np.isnan(row["low"]):
        return _number(row["value"])
    return f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _comparisons(table: pd.DataFrame) -> str:
    lines = [
        "| paired difference | metric | value (95 % interval) | repeats | required | reached |",
        "|---|---|--:|---|---|---|",
    ]
    for row in table.fillna({"required": "", "reached": ""}).itertuples():
        lines.append(
            f"| {row.first} - {row.second} | {row.metric} | {_difference(row)} | {row.repeats} | "
            f"{row.required} | {row.reached} |"
        )
    return "\n".join(lines)


def _ablations(table: pd.DataFrame) -> str:
    lines = [
        "Repeat 1. A row of one seed holds the luck of that seed, which its interval does not "
        "show, and of so many rows some stand out by chance.",
        "",
        "| ablation | metric | value | difference (95 % interval) | seeds |",
        "|---|---|--:|--:|--:|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.default}: {row.change} | {row.metric} | {row.value:.3f} | "
            f"{_difference(row)} | {row.seeds} |"
        )
    return "\n".join(lines)


def _difference(row: object) -> str:
    value, low, high = (getattr(row, name) for name in ("difference", "low", "high"))
    if np.isnan(value):
        return "undefined"
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


# ---- the plot ----------------------------------------------------------------------------------


def plot(scores: pd.DataFrame) -> Figure:
    """The main metric of every model with its interval, a panel per task; with alt text."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from helpers.plots import use_style

    main = scores[scores["metric"] == scores["task"].map(MAIN_METRIC)]
    tasks = [task for task in METRICS if (main["task"] == task).any()]
    heights = [int((main["task"] == task).sum()) for task in tasks]
    with rc_context():
        use_style()
        figure = Figure(figsize=(8.6, 1.2 + 0.32 * sum(heights)), layout="constrained")
        axes = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, task in zip(axes, tasks, strict=True):
            _draw_task(ax, main[main["task"] == task], _HEADINGS[task])
    told = "; ".join(f"{row.title} {row.value:.2f}" for row in main.itertuples())
    figure.set_label(f"Score of every model with its 95 % interval. {told}.")
    return figure


def _draw_task(ax: Axes, rows: pd.DataFrame, heading: str) -> None:
    """One line per model; references are hollow squares, the kit's models full circles."""
    from helpers.plots import COLOURS

    for place, row in enumerate(rows.itertuples()):
        reference = row.title.startswith("reference")
        colour, marker = (COLOURS[3], "s") if reference else (COLOURS[0], "o")
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
        ax.plot(row.value, place, marker, color=colour, markersize=7,
                markerfacecolor="white" if reference else colour)  # fmt: skip
        ax.annotate(f"{row.value:.2f}", (row.high, place), xytext=(6, 0), va="center",
                    textcoords="offset points", fontsize=9)  # fmt: skip
    ax.set_yticks(range(len(rows)), rows["title"], fontsize=9)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.set_title(heading)


def _png(figure: Figure) -> bytes:
    """The figure as a PNG of few colours, without a date in it."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(N_COLOURS).save(small, format="png", optimize=True)
    return small.getvalue()


# ---- files -------------------------------------------------------------------------------------


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path, stem: str) -> list[Path]:
    """Write each table that has rows as CSV, and the plot; returns the files.

    A table without rows that an earlier run left goes away: the files are those of one run.
    """
    written = []
    for end in TABLES:
        path = folder / f"{stem}{end}.csv"
        if tables[end].empty:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, tables[end].to_csv(index=False, float_format="%.6g"))
            written.append(path)
    if len(tables[""]):
        path = folder / f"{stem}.png"
        write_atomically(path, _png(plot(tables[""])))
        written.append(path)
    return written


def read_tables(folder: Path, stem: str) -> dict[str, pd.DataFrame]:
    """The stored tables. Raises LabError where there are none."""
    import pandas as pd

    tables = {}
    for end in TABLES:
        path = folder / f"{stem}{end}.csv"
        known = path.is_file()
        tables[end] = pd.read_csv(path, dtype=_AS_TEXT) if known else pd.DataFrame()
    if tables[""].empty:
        raise LabError(f"{folder / stem}.csv: no table there; run the benchmark first")
    return tables
