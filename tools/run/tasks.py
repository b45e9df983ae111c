"""What a run does: build the demo set, execute notebooks, write their pages."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from helpers.folders import demo_size
from helpers.machinery.files import LabError, read_json
from helpers.notebook.records import RESULTS, take_back
from tools.common.run_folder import LOCK, Paths
from tools.run import pages
from tools.run.display import Display, clock
from tools.run.plan import Plan
from tools.run.processes import Outcome, limits_set, run_supervised
from tools.run.results import (
    BAD,
    DONE,
    FAILED,
    SKIPPED,
    TIMEOUT,
    UP_TO_DATE,
    Row,
    key_metric,
)
from tools.run.staleness import noted_inputs, why_stale, write_note

DEMO_TASK = "demo_set"
PAGE = "page of "  # before the name of a notebook: the task that writes its page
DEMO_TIMEOUT_MINUTES = 60.0
FULL_DISK_MB = 20.0  # with less than this left, a failure is blamed on it
HERE = Path(__file__).resolve().parent


def why_to_do(plan: Plan, task: str) -> str:
    """Why a notebook, or the demo set, is not up to date with what it needs; nothing if it is."""
    if task == DEMO_TASK:
        if demo_size() < plan.demo_size:
            return "the demo set is to be built"
        # The builder itself decides what a change means, and is soon done when it means nothing.
        known = noted_inputs(plan.folder, task) == _demo_inputs(plan)
        return "" if known else "the demo set may be older than its code"
    if plan.force and task in plan.selected:
        return "--force"
    return why_stale(plan.folder, task, plan.lab.needs(task), plan.digest_inputs(task))


def _demo_inputs(plan: Plan) -> dict[str, Any]:
    return {"code": plan.lab.digest(["import demo_music.build"])}


@dataclass(frozen=True)
class Tasks:
    """The tasks of a run: what each does, and in `rows` and on the display how it fared.

    `begin` and `end` are for the main thread; what `begin` returns is for a thread of its own, and
    is ended soon once `stop` is set.
    """

    plan: Plan
    rows: dict[str, Row]
    display: Display
    stop: threading.Event = field(default_factory=threading.Event)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, task: str, needs: Sequence[str]) -> Callable[[], Row | None] | None:
        """What there is to do for a task whose needs have all ended; None for nothing."""
        failed = [need for need in needs if self.rows[need].status in BAD]
        if task.startswith(PAGE):
            paths = self.plan.paths(task.removeprefix(PAGE))
            needed = not failed and not paths.page.is_file()
            return partial(self._do, task, partial(self._write_page, paths)) if needed else None
        if failed:
            self.end(Row(task, SKIPPED, message=[f"needs {', '.join(failed)}"]))
            return None
        if not why_to_do(self.plan, task):
            paths = self.plan.paths(task)
            note = read_json(paths.note)
            known = note.get("seconds"), note.get("peak_mb"), key_metric(paths)
            self.end(Row(task, UP_TO_DATE, *known))
            return None
        self.display.started(task)
        return partial(self._do, task, partial(self._make, task))

    def end(self, row: Row | None) -> None:
        """Show how a task fared; None is a page that was written."""
        if row is not None:
            self.rows[row.notebook] = row
            self.display.ended(row.notebook)
            if row.status in (FAILED, TIMEOUT):
                self.display.failed(row.message)

    def _do(self, task: str, action: Callable[[], Row | None]) -> Row | None:
        """What an action says of itself; an error of ours or of the machine is a failure."""
        try:
            return action()
        except Exception as error:
            text = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
            row = self.rows[task.removeprefix(PAGE)]  # a page counts for its notebook
            return replace(row, status=FAILED, message=[f"{task} failed: {text}"])

    def _make(self, task: str) -> Row:
        """Build the demo set or execute a notebook, in a process of its own, and note it."""
        inputs = _demo_inputs(self.plan) if task == DEMO_TASK else self.plan.digest_inputs(task)
        row = self._build_demo_set() if task == DEMO_TASK else self._execute(task)
        if row.status == DONE:
            needs = [] if task == DEMO_TASK else self.plan.lab.needs(task)
            write_note(self.plan.folder, row, needs, inputs)
        return row

    def _execute(self, name: str) -> Row:
        paths = self.plan.paths(name)
        # Without them the notebook is not up to date: a run killed from here on starts it again.
        for stale in (paths.note, paths.executed, paths.failed, paths.page):
            stale.unlink(missing_ok=True)
        for stale in (paths.record / RESULTS, paths.record / "values.json"):
            stale.unlink(missing_ok=True)
        job = {
            "notebook": str(self.plan.lab.read(name).path),
            "output": str(paths.partial),
            "result": str(paths.result),
            "connection": str(paths.connection),
            "parameters": self.plan.overrides(name),
            "cwd": str(self.plan.lab.root / "notebooks"),
        }
        try:
            program = [str(HERE / "execute.py"), json.dumps(job)]
            outcome = self._supervise(name, program, self.plan.timeout_minutes(name))
            ended = read_json(paths.result)
            if outcome.exit_code == 0 and ended.get("status") == DONE:
                paths.partial.replace(paths.executed)
            elif read_json(paths.partial):  # no JSON: papermill was stopped while it wrote
                paths.partial.replace(paths.failed)
        finally:
            for passing in (paths.partial, paths.result, paths.progress, paths.connection):
                passing.unlink(missing_ok=True)
        peak = max(outcome.peak_mb, ended.get("peak_mb", 0.0))
        row = Row(name, DONE, round(outcome.seconds, 1), round(peak, 1))
        if paths.executed.exists():
            return replace(row, key_metric=key_metric(paths))
        with suppress(LabError):  # on a full disk
            take_back(paths.record)
        status = TIMEOUT if outcome.timed_out else FAILED
        return replace(row, status=status, message=self._what_went_wrong(name, outcome, ended))

    def _what_went_wrong(self, name: str, outcome: Outcome, ended: dict[str, Any]) -> list[str]:
        """The lines to show; and the page of the notebook, as far as it came."""
        paths = self.plan.paths(name)
        if outcome.timed_out:
            limit = clock(60 * self.plan.timeout_minutes(name))
            lines = [f"{name} was stopped at its time limit of {limit} (profile: timeout_minutes)"]
        elif full := self._full_disk():
            lines = [f"{name} failed: {full}"]
        elif ended.get("lines"):
            where = f" in cell [{ended['cell']}]" if ended.get("cell") else ""
            lines = [f"{name} failed{where}:"]
            lines += [f"  | {line}" for line in ended.get("source", [])]
            lines += [f"  {line}" for line in ended["lines"]]
        elif (outcome.exit_code or 0) < 0:
            how = f"{name} was ended from outside ({signal.strsignal(-outcome.exit_code)}); "
            lines = [how + "if nobody did that, look whether the machine ran out of memory"]
        else:
            lines = [f"{name} ended with code {outcome.exit_code}; the last lines of its log:"]
            lines += [f"  {line}" for line in _tail(paths.log)]
        if limits := limits_set():
            lines.append(f"limits set here (ulimit -a), if one is the cause: {limits}")
        if paths.failed.exists():
            lines.append(f"as far as it came: {paths.failed}")
            with suppress(LabError):  # it is told already
                self._write_page(paths, paths.failed)
        return [*lines, f"log: {paths.log}"]

    def _build_demo_set(self) -> Row:
        paths = self.plan.paths(DEMO_TASK)
        program = [str(HERE / "build_demo_set.py"), str(self.plan.demo_size)]
        outcome = self._supervise(DEMO_TASK, program, DEMO_TIMEOUT_MINUTES)
        paths.progress.unlink(missing_ok=True)
        row = Row(DEMO_TASK, DONE, round(outcome.seconds, 1), round(outcome.peak_mb, 1))
        if outcome.exit_code == 0:
            return row
        status, reason = FAILED, "the demo set could not be built:"
        if outcome.timed_out:
            status = TIMEOUT
            reason = f"building the demo set took over {DEMO_TIMEOUT_MINUTES:.0f} min"
        elif full := self._full_disk():
            reason = f"the demo set could not be built: {full}"
        lines = [reason, *(f"  {line}" for line in _tail(paths.log)), f"log: {paths.log}"]
        return replace(row, status=status, message=lines)

    def _write_page(self, paths: Paths, notebook: Path | None = None) -> None:
        """One page at a time: nbconvert and Pygments are not made for threads."""
        with self.writing:
            self._go_on()
            pages.write_page(notebook or paths.executed, paths.page)

    def _supervise(self, task: str, program: list[str], minutes: float) -> Outcome:
        paths = self.plan.paths(task)

        def ticked(seconds: float) -> None:
            self._go_on()
            self.display.ticked(task, seconds, read_json(paths.progress))

        self._go_on()
        paths.progress.unlink(missing_ok=True)
        return run_supervised(
            # -P: the folder of the program is no place to import from.
            [sys.executable, "-P", *program],
            env={**self.plan.environment(), "MUSICLAB_PROGRESS": str(paths.progress)},
            log=paths.log,
            timeout_seconds=60 * minutes,
            on_tick=ticked,
        )

    def _go_on(self) -> None:
        """Raise KeyboardInterrupt when the run is being stopped, LabError when it is deleted."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        if not (self.plan.folder / LOCK).exists():
            raise LabError(f"{self.plan.folder} was deleted or moved in the midst of the run")

    def _full_disk(self) -> str:
        """What to say when the disk of the run is full; nothing when it is not.

        What failed on a full disk could not write down why either.
        """
        folder = self.plan.folder
        free = shutil.disk_usage(folder).free / 2**20
        if free >= FULL_DISK_MB:
            return ""
        return (
            f"the disk that holds {folder} is full ({free:.0f} MiB left); free some space, then "
            "give the same command again"
        )


def _tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log; a LabError among them says everything alone."""
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    own = [line for line in text if line.startswith("error: ")]
    return own[-1:] or text[-lines:]
