"""What the user sees while notebooks run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from helpers.machinery.files import printable
from tools.run.results import HEADINGS, Row, Status

PLAIN_SECONDS = 30.0
PLAIN_WIDTH = 160
LEFT_OUT_SHOWN = 10
_STYLES = {Status.WAITING: "dim", Status.FAILED: "bold red", Status.SKIPPED: "yellow"}


class Display:
    """A table of all notebooks in a terminal, redrawn in place; failures scroll by above it.

    Elsewhere plain lines: one when a notebook starts, one about every 30 s, one when it ends.
    Several threads may use it, one for each notebook that runs; `live` is open while they do.
    """

    def __init__(self, console: Console, rows: dict[str, Row]) -> None:
        self.console = console
        self.rows = rows  # as each was shown last
        self._begin = time.monotonic()
        # Drawn when asked, not by a thread of its own: the processor belongs to the notebooks.
        self.live = Live(
            console=console, get_renderable=self._picture, auto_refresh=False, transient=True
        )
        self._lock = threading.RLock()
        self._next_lines: dict[str, float] = {}

    def show(self, row: Row) -> None:
        """How a notebook (or the building of the demo set) fares: it starts, goes on, has ended."""
        with self._lock:
            self.rows[row.notebook] = row
            self.live.refresh()
            if not self.console.is_interactive:
                self._tell(row)
            for line in row.message if row.status == Status.FAILED else ():
                self._say(f"    {line}")

    def _picture(self) -> Group:
        table = table_of(self.rows.values())
        table.columns[-1].no_wrap = True
        total = Text(f"{clock(time.monotonic() - self._begin)} in all; Ctrl-C stops", "dim")
        return Group(table, total)

    def _tell(self, row: Row) -> None:
        name, seconds, due = row.notebook, row.seconds or 0, self._next_lines.get(row.notebook, 0)
        if row.status != Status.RUNNING:
            took = f" after {clock(seconds)}" if row.status in (Status.DONE, Status.FAILED) else ""
            self._say(f"{name}: {row.status}{took}  {row.cells[-1]}")
        elif seconds >= due:
            self._next_lines[name] = due + PLAIN_SECONDS
            said = f"{clock(seconds)} {row.key_metric}" if due else "started"
            self._say(f"{name}: {said}")

    def _say(self, line: str) -> None:
        self.console.print(printable(line.rstrip()), soft_wrap=True)


def make_console() -> Console:
    """A console that prints words as they are, and where it is no terminal folds no table."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def describe_progress(progress: Mapping[str, Any]) -> str:
    """One line out of what a notebook reports of itself with `report_progress`.

    >>> describe_progress({"model": "LSTM", "epoch": 3, "epochs": 12, "train_loss": 1.5})
    'LSTM, epoch 3/12, train loss 1.500'
    """
    parts = [str(progress[key]) for key in ("stage", "model") if progress.get(key)]
    if "epoch" in progress:
        parts.append(f"epoch {progress['epoch']}/{progress.get('epochs', '?')}")
    if "done" in progress:
        parts.append(f"{progress['done']}/{progress.get('total', '?')}")
    losses = [key for key in ("train_loss", "val_loss") if progress.get(key) is not None]
    parts += [f"{key.replace('_', ' ')} {progress[key]:.3f}" for key in losses]
    if "seconds_left" in progress:
        parts.append(f"{clock(progress['seconds_left'])} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds (1:15), or hours, minutes and seconds (1:01:15)."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def print_header(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Print what the run is about, one line each."""
    for what, value in pairs:
        console.print(Text.assemble((f"{what:<9}", "bold"), printable(value)), soft_wrap=True)


def make_table(*headings: str) -> Table:
    """A table with a line below its headings."""
    return Table(*headings, box=SIMPLE, pad_edge=False)


def table_of(rows: Iterable[Row]) -> Table:
    """The table of a run, while it is under way and in the end."""
    table = make_table(*HEADINGS)
    for number in (1, 3):  # seconds, memory
        table.columns[number].justify = "right"
    for row in rows:
        name, seconds, status, *rest = row.cells
        table.add_row(
            name, seconds, Text(status, _STYLES.get(status, "green")), *map(printable, rest)
        )
    return table


def print_left_out(console: Console, lines: Sequence[str]) -> None:
    """Print what `--skip-bad` left out: the first lines, and how many there are."""
    if lines:
        console.print(f"left out ({len(lines)}):")
    for line in lines[:LEFT_OUT_SHOWN]:
        console.print(f"  {printable(line)}", soft_wrap=True)
    if len(lines) > LEFT_OUT_SHOWN:
        console.print(f"  ... and {len(lines) - LEFT_OUT_SHOWN} more, see summary.json")
