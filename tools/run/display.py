"""What the user sees while notebooks run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tools.run.results import (
    DONE,
    FAILED,
    HEADINGS,
    RUNNING,
    SKIPPED,
    TIMEOUT,
    UP_TO_DATE,
    WAITING,
    Row,
)

PLAIN_SECONDS = 30.0
PLAIN_WIDTH = 160
LEFT_OUT_SHOWN = 10
_STYLES = {
    WAITING: "dim",
    RUNNING: "bold",
    DONE: "green",
    UP_TO_DATE: "green",
    FAILED: "bold red",
    TIMEOUT: "bold red",
    SKIPPED: "yellow",
}


class Display:
    """Plain lines: one when a notebook starts, one about every 30 s, one when it ends.

    The base of the live view, and the one to use where output is not a terminal. Several threads
    may use it, one for each notebook that runs.
    """

    def __init__(self, console: Console, rows: Mapping[str, Row]) -> None:
        self.console = console
        self.rows = rows
        self._lock = threading.RLock()
        self._next_lines: dict[str, float] = {}

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, name: str) -> None:
        """A notebook (or the building of the demo set) begins."""
        self._next_lines[name] = PLAIN_SECONDS
        self.say(f"{name}: started")

    def ticked(self, name: str, seconds: float, progress: Mapping[str, Any]) -> None:
        """About twice a second: where it is."""
        if seconds >= self._next_lines[name]:
            self._next_lines[name] += PLAIN_SECONDS
            self.say(f"{name}: {clock(seconds)} {describe_progress(progress)}".rstrip())

    def ended(self, name: str) -> None:
        """A notebook is done, failed or was not needed; its row says which."""
        row = self.rows[name]
        if row.status == SKIPPED:
            self.say(f"{name}: skipped, {row.message[0]}")
        elif row.status == UP_TO_DATE:
            self.say(f"{name}: up to date")
        else:
            self.say(f"{name}: {row.status} after {clock(row.seconds or 0)}  {row.key_metric}")

    def failed(self, lines: Iterable[str]) -> None:
        """Show the last lines of a failure."""
        with self._lock:
            for line in lines:
                self.say(f"    {line}")

    def say(self, line: str) -> None:
        """Print one line as it is."""
        with self._lock:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay(Display):
    """A table of all notebooks that is redrawn in place; failures scroll by above it."""

    def __init__(self, console: Console, rows: Mapping[str, Row]) -> None:
        super().__init__(console, rows)
        # Drawn when asked, not by a thread of its own: the processor belongs to the notebooks.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._begin = time.monotonic()
        self._running: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def __enter__(self) -> Display:
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, name: str) -> None:
        self.ticked(name, 0.0, {})

    def ticked(self, name: str, seconds: float, progress: Mapping[str, Any]) -> None:
        with self._lock:
            self._running[name] = (seconds, progress)
            self._draw()

    def ended(self, name: str) -> None:
        with self._lock:
            self._running.pop(name, None)
            self._draw()

    def _draw(self) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for name, row in self.rows.items():
            text, seconds, note = row.status, row.seconds, row.key_metric
            if name in self._running:
                seconds, progress = self._running[name]
                text, note = RUNNING, describe_progress(progress)
            table.add_row(
                Text(name, "bold" if text == RUNNING else ""),
                Text(text, _STYLES.get(text, "")),
                "" if seconds is None else clock(seconds),
                Text(note, overflow="ellipsis", no_wrap=True),
            )
        total = Text(f"{clock(time.monotonic() - self._begin)} in all; Ctrl-C stops", "dim")
        self._live.update(Group(table, total), refresh=True)


def make_display(console: Console, rows: Mapping[str, Row]) -> Display:
    """The live view in a terminal, plain lines elsewhere."""
    return (LiveDisplay if console.is_terminal else Display)(console, rows)


def make_console() -> Console:
    """A console for standard output; wide where it is no terminal, so that no table is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


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
    for key in ("train_loss", "val_loss"):
        if isinstance(progress.get(key), (int, float)):
            parts.append(f"{key.replace('_', ' ')} {progress[key]:.3f}")
    if isinstance(progress.get("seconds_left"), (int, float)):
        parts.append(f"{clock(progress['seconds_left'])} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours, minutes and seconds.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def print_header(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Print what the run is about, one line each."""
    for what, value in pairs:
        console.print(f"[bold]{what:<9}[/bold]{escape(value)}", highlight=False, soft_wrap=True)


def print_table(console: Console, rows: Iterable[Row]) -> None:
    """Print the final table."""
    table = _table(HEADINGS, right=(1, 3))
    for row in rows:
        cells = [Text(cell) for cell in row.cells]
        cells[2].stylize(_STYLES.get(row.status, ""))
        table.add_row(*cells)
    console.print(table)


def print_left_out(console: Console, lines: Sequence[str]) -> None:
    """Print what `--skip-bad` left out: the first lines, and how many there are."""
    shown = [*lines[:LEFT_OUT_SHOWN]]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more, see summary.json")
    if shown:
        console.print(f"left out ({len(lines)}):", highlight=False)
    for line in shown:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def print_list(console: Console, lines: Iterable[tuple[str, str, str, str]]) -> None:
    """Print the notebooks: name, title, what each needs, state."""
    table = _table(("notebook", "title", "needs", "state"))
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)


def _table(headings: Iterable[str], right: tuple[int, ...] = ()) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left")
    return table
