"""The rows of the benchmark: what was measured, what is required, and how both are shown."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.machinery.files import LabError, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

YES, NO, NOT_MEASURED, NOTHING_REQUIRED = "yes", "no", "not measured", ""
DOTS_PER_INCH, N_COLOURS = 110, 48
AT_LEAST, AT_MOST = "≥", "≤"


@dataclass(frozen=True)
class Stat:
    """Median and quartiles of `n` measurements; the quartiles are the spread."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        """The statistics of at least one value."""
        low, median, high = np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high), len(values))

    def text(self, unit: str) -> str:
        """For example `12.3 ms (12.1-12.9, 8 runs)`; one run has no spread."""
        factor, name = _scaled(self.median, unit)
        middle = f"{_digits(self.median * factor)} {name}".strip()
        if self.n == 1:
            return f"{middle} (1 run)"
        spread = f"{_digits(self.low * factor)}-{_digits(self.high * factor)}"
        return f"{middle} ({spread}, {self.n} runs)"


def _scaled(value: float, unit: str) -> tuple[float, str]:
    """Factor and name of the unit in which a value reads well."""
    if unit == "s":
        if value >= 120:
            return 1 / 60, "min"
        for factor, name in ((1, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return factor, name
        return 1e6, "µs"
    if unit == "MiB" and value >= 1024:
        return 1 / 1024, "GiB"
    return 1, unit


def _digits(value: float) -> str:
    """Three figures, never in powers of ten: 0.123, 12.3, 1230."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


@dataclass(frozen=True)
class Limit:
    """What a row must reach: its ratio, or the kit's own value (`of` is "ratio" or "kit")."""

    sense: str  # AT_LEAST or AT_MOST
    value: float
    of: str = "ratio"

    def holds(self, measured: float) -> bool:
        """Whether a measured value is on the right side."""
        return measured >= self.value if self.sense == AT_LEAST else measured <= self.value

    def text(self, unit: str) -> str:
        """For example `≥ 100 x`, `≤ 5 µs per clip`."""
        if self.of == "ratio":
            return f"{self.sense} {self.value:g} x"
        factor, name = _scaled(self.value, unit)
        return f"{self.sense} {self.value * factor:g} {name}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `kit` and `plain` are in `unit` (s, MiB, ...), `ratio` is plain over kit: above 1 the kit is
    better. `agrees` is None where agreement is shown but not required. A row that could not be
    measured says `why`.
    """

    name: str
    title: str
    unit: str = "s"
    kit: Stat | None = None
    plain: Stat | None = None
    ratio: Stat | None = None
    limit: Limit | None = None
    agreement: str = ""
    agrees: bool | None = None
    why: str = ""
    note: str = ""

    @property
    def required(self) -> str:
        """The requirement as text, or nothing."""
        return self.limit.text(self.unit) if self.limit else ""

    @property
    def met(self) -> str:
        """`yes`, `no`, `not measured`, or nothing where nothing is required."""
        if self.why:
            return NOT_MEASURED
        checks = [] if self.agrees is None else [self.agrees]
        if self.limit:
            measured = self.ratio if self.limit.of == "ratio" else self.kit
            if measured is None:
                return NOT_MEASURED
            checks.append(self.limit.holds(measured.median))
        if not checks:
            return NOTHING_REQUIRED
        return YES if all(checks) else NO

    @property
    def verdict(self) -> str:
        """`met`, with the reason where something was not measured."""
        return f"{self.met}: {self.why}" if self.why else self.met

    def texts(self) -> dict[str, str]:
        """What the printed table shows, by heading."""
        return {
            "row": self.name,
            "what": self.title,
            "kit": self.kit.text(self.unit) if self.kit else "",
            "plain": self.plain.text(self.unit) if self.plain else "",
            "ratio": self.ratio.text("x") if self.ratio else "",
            "required": self.required,
            "met": self.met,
            "agreement": self.agreement,
        }


def not_measured(name: str, title: str, why: str, limit: Limit | None = None) -> Row:
    """A row that says why it has no numbers."""
    return Row(name, title, limit=limit, why=" ".join(why.split()))


# ---- the machine -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What the numbers were measured on."""

    processor: str
    cores: int
    device: str  # cpu, or the name of the CUDA device
    torch: str
    librosa: str
    python: str
    mode: str  # quick or full

    def text(self) -> str:
        """One line."""
        device = "" if self.device == "cpu" else f", {self.device}"
        return (
            f"{self.processor}, {self.cores} cores{device}; PyTorch {self.torch}, "
            f"librosa {self.librosa}, Python {self.python}; {self.mode}"
        )


def this_machine(device_name: str, mode: str) -> Machine:
    """Describe this machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    torch, librosa = (importlib.metadata.version(name) for name in ("torch", "librosa"))
    return Machine(
        processor_name(), cores, device_name, torch, librosa, platform.python_version(), mode
    )


def processor_name() -> str:
    """The processor as it calls itself, or what kind it is."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return " ".join(found[1].split())
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def file_stem(device_name: str) -> str:
    """`speed` for the CPU, else `speed-<device>`, as a file may be called."""
    if device_name == "cpu":
        return "speed"
    return "speed-" + re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")


# ---- CSV ---------------------------------------------------------------------------------------

_STATS = ("kit", "plain", "ratio")
COLUMNS = (
    "row", "what", "unit",
    *(f"{name}{part}" for name in _STATS for part in ("", "_low", "_high", "_runs")),
    "required", "met", "agreement", "agrees", "note",
    "processor", "cores", "device", "torch", "librosa", "python", "mode",
)  # fmt: skip


def csv_text(rows: Iterable[Row], machine: Machine) -> str:
    """The table for a file: numbers in the unit of their row, quartiles as low and high."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line: dict[str, object] = {"row": row.name, "what": row.title, "unit": row.unit}
        for name in _STATS:
            stat: Stat | None = getattr(row, name)
            if stat:
                values = (stat.median, stat.low, stat.high)
                names = (name, f"{name}_low", f"{name}_high")
                line |= {key: f"{v:.6g}" for key, v in zip(names, values, strict=True)}
                line[f"{name}_runs"] = stat.n
        agrees = {True: YES, False: NO, None: ""}[row.agrees]
        line |= {"required": row.required, "met": row.verdict, "agreement": row.agreement}
        line |= {"agrees": agrees, "note": row.note, **vars(machine)}
        writer.writerow(line)
    return stream.getvalue()


def markdown_table(csv_path: Path) -> str:
    """A stored table as Markdown, for a README: what, kit, plain, ratio, required, met."""
    try:
        with open(csv_path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise LabError(f"{csv_path}: no table there ({error.strerror}); run it first") from error
    table = ["| what | kit | plain | ratio | required | met |", "|---|--:|--:|--:|--:|---|"]
    for line in lines:
        stats = [_stored_stat(line, name) for name in _STATS]
        units = (line["unit"], line["unit"], "x")
        texts = [s.text(u) if s else "" for s, u in zip(stats, units, strict=True)]
        cells = [line["what"], *texts, line["required"], line["met"]]
        table.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(table) + "\n"


def _stored_stat(line: dict[str, str], name: str) -> Stat | None:
    if not line[name]:
        return None
    low, high = float(line[f"{name}_low"]), float(line[f"{name}_high"])
    return Stat(float(line[name]), low, high, int(line[f"{name}_runs"]))


# ---- on the screen -----------------------------------------------------------------------------

_STYLES = {YES: "green", NO: "bold red", NOT_MEASURED: "yellow"}


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """The table, then the notes and what the numbers mean."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    headings = [name for name in Row("", "").texts() if name != "row"]
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        texts = row.texts()
        cells = [Text(texts[heading]) for heading in headings]
        cells[headings.index("met")].stylize(_STYLES.get(row.met, ""))
        table.add_row(*cells)
    console.print(table)
    for row in rows:
        if row.why or row.note:
            text = f"{row.title}: {row.verdict if row.why else row.note}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(
        "ratio: plain over kit, median over pairs of runs of the same round; in brackets the "
        "quartiles, between which half of the runs lie",
        style="dim",
    )


# ---- the plot ----------------------------------------------------------------------------------

# Okabe and Ito's colours, which colour-blind readers can tell apart; the markers say the same.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#6E6E6E"
_LOOKS = {
    YES: (_BLUE, "o", "met"),
    NO: (_ORANGE, "X", "not met"),
    NOTHING_REQUIRED: (_GREY, "D", "nothing required"),
}


def plot(rows: Sequence[Row], machine: Machine) -> Figure:
    """Ratios on a logarithmic axis with their spread, and a mark for what each must reach."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.ratio and row.met != NOT_MEASURED]
    figure = Figure(figsize=(8.6, 1.5 + 0.3 * len(shown)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(1, color=_GREY, linewidth=0.8)
    for place, row in enumerate(shown):
        _draw_ratio(ax, place, row)
    ax.set_yticks(range(len(shown)), [row.title for row in shown], fontsize=9)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xscale("log")
    if shown:
        values = [row.ratio.median for row in shown if row.ratio] + [1]
        values += [row.limit.value for row in shown if row.limit]
        ax.set_xlim(min(values) / 1.8, max(values) * 4)  # room for the numbers
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("plain way / kit (logarithmic; right of 1 the kit is better)")
    figure.suptitle(f"The kit against the straightforward way\n{machine.text()}", fontsize=9)
    figure.legend(handles=_legend(shown), loc="outside lower center", ncols=4, frameon=False,
                  fontsize=9)  # fmt: skip
    summary = "; ".join(f"{row.title}: {row.ratio.median:.3g}" for row in shown if row.ratio)
    figure.set_label(f"Ratios of the plain way to the kit, with the required ones. {summary}.")
    return figure


def _draw_ratio(ax, place: int, row: Row) -> None:  # noqa: ANN001 (an Axes)
    assert row.ratio
    colour, marker, _ = _LOOKS[row.met]
    ax.plot([row.ratio.low, row.ratio.high], [place, place], color=colour, linewidth=2.5)
    ax.plot(row.ratio.median, place, marker, color=colour, markersize=7)
    ax.annotate(f"{_digits(row.ratio.median)}x", (max(row.ratio.high, row.ratio.median), place),
                xytext=(8, 0), textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    if row.limit and row.limit.of == "ratio":
        ax.plot(row.limit.value, place, "|", color="black", markersize=15, markeredgewidth=1.8)


def _legend(shown: Sequence[Row]) -> list:
    from matplotlib.lines import Line2D

    used = [look for look in _LOOKS if any(row.met == look for row in shown)]
    handles = [
        Line2D([], [], color=_LOOKS[met][0], marker=_LOOKS[met][1], label=_LOOKS[met][2])
        for met in used
    ]
    mark = Line2D([], [], color="black", marker="|", markersize=12, markeredgewidth=1.8,
                  linestyle="", label="required at least")  # fmt: skip
    return [*handles, mark]


def write_results(rows: Sequence[Row], machine: Machine, folder: Path) -> list[Path]:
    """Write the table as CSV and the plot as PNG; returns the two files."""
    stem = file_stem(machine.device)
    table, picture = folder / f"{stem}.csv", folder / f"{stem}.png"
    write_atomically(table, csv_text(rows, machine))
    write_atomically(picture, _small_png(plot(rows, machine)))
    return [table, picture]


def _small_png(figure: Figure) -> bytes:
    """The figure as PNG with few colours, without the program's version or a date in it."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(N_COLOURS).save(small, format="png", optimize=True)
    return small.getvalue()
