"""What a run does, and in which order: build the demo set, execute notebooks, write their pages."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from helpers.folders import demo_size
from helpers.machinery.files import LabError, read_json
from helpers.notebook.records import RESULTS
from tools.common.run_folder import LOCK
from tools.run import pages
from tools.run.display import Display, clock, describe_progress
from tools.run.plan import DEMO_TASK, Plan
from tools.run.processes import Outcome, run_supervised
from tools.run.results import BAD, Row, Status, key_metric, why_stale, write_note

FULL_DISK_MB = 20.0  # with less than this left, a failure is blamed on it
LOG_LINES = 12  # of the log of what died without a word
PROGRAM = Path(__file__).resolve().with_name("execute.py")


# ---- what is to be done, and in which order ----------------------------------------------------


def run_tasks(plan: Plan, display: Display) -> None:
    """Do what is not up to date; the display's rows then say how each notebook fared.

    Raises KeyboardInterrupt after everything was stopped.
    """
    tasks, order = Tasks(plan, display), _in_order(plan)
    demo: dict[str, list[str]] = {DEMO_TASK: []} if plan.is_demo else {}
    needs = demo | {name: [*plan.lab.needs(name), *demo] for name in plan.notebooks}
    graph = TopologicalSorter(needs)
    graph.prepare()
    waiting: list[str] = []
    running: dict[Future[Row], str] = {}
    written: dict[Future[None], str] = {}
    # One page at a time: nbconvert and Pygments are not made for threads.
    with ThreadPoolExecutor(plan.jobs) as threads, ThreadPoolExecutor(1) as writer:
        try:
            while graph.is_active():
                waiting += graph.get_ready()
                if waiting and len(running) < plan.jobs:
                    task = min(waiting, key=order.index)
                    waiting.remove(task)
                    running[threads.submit(tasks.do, task, needs[task])] = task
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    display.show(future.result())
                    task = running.pop(future)
                    written[writer.submit(tasks.write_page, task)] = task
                    graph.done(task)
            for page, task in written.items():
                row, error = display.rows[task], page.exception()
                if error and row.status not in BAD:  # what went wrong before is told already
                    display.show(_failed(row, f"page of {task}", error))
        finally:
            tasks.stop.set()  # all is done, or something was raised


def _in_order(plan: Plan) -> list[str]:
    """All tasks; of those that could begin at a time, the earlier one does.

    One at a time, in the order of the lab. Side by side, what most others wait for comes first:
    05 is then under way while 00, 01 and 04 run beside it.
    """
    names = plan.notebooks
    if plan.jobs > 1:
        waiting = {name: sum(name in plan.lab.with_needs([one]) for one in names) for name in names}
        names.sort(key=lambda name: -waiting[name])
    return [DEMO_TASK, *names]


def why_to_run(plan: Plan) -> dict[str, str]:
    """For `--list`: why each notebook of the plan would run; nothing for what is up to date."""
    if plan.is_demo and demo_size() < plan.demo_size:
        return dict.fromkeys(plan.notebooks, "the demo set is to be built")
    reasons: dict[str, str] = {}
    for name in plan.notebooks:
        after = [need for need in plan.lab.needs(name) if reasons[need]]
        reasons[name] = why_to_do(plan, name) or (f"after {', '.join(after)}" if after else "")
    return reasons


def why_to_do(plan: Plan, task: str) -> str:
    """Why a notebook, or the demo set, is not up to date with what it needs; nothing if it is."""
    if task == DEMO_TASK:
        if demo_size() < plan.demo_size:
            return "the demo set is to be built"
        # The builder itself decides what a change means, and is soon done when it means nothing.
        noted = read_json(plan.paths(task).note).get("inputs")
        return "" if noted == plan.digest_inputs(task) else "its code may have changed since"
    if plan.force and task in plan.selected:
        return "--force"
    return why_stale(plan.folder, task, plan.lab.needs(task), plan.digest_inputs(task))


# ---- doing it ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tasks:
    """The tasks of a run, each in a thread of its own; they end soon once `stop` is set."""

    plan: Plan
    display: Display
    stop: threading.Event = field(default_factory=threading.Event)
    gpus: SimpleQueue[dict[str, str]] = field(default_factory=SimpleQueue)  # the free ones

    def __post_init__(self) -> None:
        own = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in self.plan.gpus]
        several = self.plan.jobs > 1 and len(own) > 1
        for _, gpu in zip(range(self.plan.jobs), cycle(own if several else [{}]), strict=False):
            self.gpus.put(gpu)

    def do(self, task: str, needs: Iterable[str]) -> Row:
        """Build the demo set or execute a notebook, unless it is up to date; how it fared.

        What it needs has ended. Raises LabError when it cannot be said what is to be done.
        """
        failed = [need for need in needs if self.display.rows[need].status in BAD]
        if failed:
            return Row(task, Status.SKIPPED, message=[f"needs {', '.join(failed)}"])
        if not why_to_do(self.plan, task):
            paths = self.plan.paths(task)
            note = read_json(paths.note)
            known = note.get("seconds"), note.get("peak_mb"), key_metric(paths)
            return Row(task, Status.UP_TO_DATE, *known)
        self.display.show(Row(task, Status.RUNNING, 0.0))
        try:
            return self._make(task)
        except Exception as error:
            return _failed(Row(task), task, error)

    def write_page(self, task: str) -> None:
        """Write the page of a notebook, as far as it came, where there is none."""
        paths = self.plan.paths(task)
        notebook = paths.executed if paths.executed.is_file() else paths.failed
        if notebook.is_file() and not paths.page.is_file():
            self._go_on()
            pages.write_page(notebook, paths.page)

    def _make(self, task: str) -> Row:
        """Build the demo set or execute a notebook, in a process of its own, and note it."""
        paths, inputs = self.plan.paths(task), self.plan.digest_inputs(task)
        results = paths.record / RESULTS, paths.record / "values.json"
        # Without them the task is not up to date: a run killed from here on starts it again.
        for stale in (paths.note, paths.executed, paths.failed, paths.page, *results):
            stale.unlink(missing_ok=True)
        try:
            outcome = self._supervise(task)
            done, ended = outcome.exit_code == 0, read_json(paths.progress)
            if read_json(paths.partial):  # no JSON: papermill was stopped while it wrote
                paths.partial.replace(paths.executed if done else paths.failed)
        finally:
            for passing in (paths.partial, paths.progress, paths.connection):
                passing.unlink(missing_ok=True)
        row = Row(task, Status.DONE, round(outcome.seconds, 1), round(outcome.peak_mb, 1))
        if done:
            row = replace(row, key_metric=key_metric(paths))
            needs = () if task == DEMO_TASK else self.plan.lab.needs(task)
            write_note(self.plan.folder, row, needs, inputs)
            return row
        results[0].unlink(missing_ok=True)  # of a notebook that failed behind its last result
        message = self._what_went_wrong(task, outcome, ended)
        return replace(row, status=Status.FAILED, message=message)

    def _what_went_wrong(self, task: str, outcome: Outcome, ended: dict[str, Any]) -> list[str]:
        """The lines to show. What failed on a full disk could not write down why."""
        paths, folder = self.plan.paths(task), self.plan.folder
        free = shutil.disk_usage(folder).free / 2**20
        if outcome.exit_code is None:
            limit = f"{clock(60 * self.plan.timeout_minutes)} (profile: timeout_minutes)"
            lines = [f"{task} was stopped at its time limit of {limit}"]
        elif free < FULL_DISK_MB:
            full = f"the disk that holds {folder} is full ({free:.0f} MiB left); free some space"
            lines = [f"{task} failed: {full}, then give the same command again"]
        elif ended.get("lines"):
            where = f" in cell [{ended['cell']}]" if ended.get("cell") else ""
            lines = [f"{task} failed{where}:"]
            lines += [f"  | {line}" for line in ended.get("source", [])]
            lines += [f"  {line}" for line in ended["lines"]]
        elif outcome.exit_code < 0:
            how = f"{task} was ended from outside ({signal.strsignal(-outcome.exit_code)}); "
            lines = [how + "if nobody did that, look whether the machine ran out of memory"]
        else:
            lines = [f"{task} ended with code {outcome.exit_code}; the last lines of its log:"]
            log = paths.log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
            lines += [f"  {line}" for line in log[-LOG_LINES:]]
        if paths.failed.exists():
            lines.append(f"as far as it came: {paths.failed}")
        return [*lines, f"log: {paths.log}"]

    def _supervise(self, task: str) -> Outcome:
        paths, job = self.plan.paths(task), self._job(task)

        def ticked(seconds: float) -> None:
            self._go_on()
            said = describe_progress(read_json(paths.progress))
            self.display.show(Row(task, Status.RUNNING, seconds, key_metric=said))

        with self._a_gpu() as gpu:
            return run_supervised(
                # -P: the folder of the program is no place to import from.
                [sys.executable, "-P", str(PROGRAM), json.dumps(job)],
                env={**self.plan.environment(), "MUSICLAB_PROGRESS": str(paths.progress), **gpu},
                log=paths.log,
                timeout_seconds=60 * self.plan.timeout_minutes,
                on_tick=ticked,
            )

    @contextmanager
    def _a_gpu(self) -> Iterator[dict[str, str]]:
        """The setting by which a notebook has a GPU for itself; none where it has all there are."""
        gpu = self.gpus.get()
        try:
            yield gpu
        finally:
            self.gpus.put(gpu)

    def _job(self, task: str) -> dict[str, Any]:
        """What `execute.py` is told."""
        if task == DEMO_TASK:
            return {"demo_size": self.plan.demo_size}
        paths = self.plan.paths(task)
        notebook = self.plan.lab.read(task).path
        return {
            "input_path": str(notebook),
            "output_path": str(paths.partial),
            "parameters": self.plan.overrides(task),
            "cwd": str(notebook.parent),
            "connection": str(paths.connection),
        }

    def _go_on(self) -> None:
        """Raise KeyboardInterrupt when the run is being stopped, LabError when it is deleted."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        if not (self.plan.folder / LOCK).exists():
            raise LabError(f"{self.plan.folder} was deleted or moved in the midst of the run")


def _failed(row: Row, what: str, error: BaseException) -> Row:
    """The row of a task that an error of ours or of the machine has ended."""
    text = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    return replace(row, status=Status.FAILED, message=[f"{what} failed: {text}"])
