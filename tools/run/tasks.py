"""The run as tasks of doit, which decides what is up to date and what depends on what.

One task per notebook, one per page, and one for the demo set. doit is used as a library: its
runners, with our tasks, our reporter, and a data base that is written after every success.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit.control import ExecNode, TaskControl, TaskDispatcher
from doit.dependency import DatabaseException, Dependency, JsonDB
from doit.exceptions import BaseFail, TaskFailed, UnmetDependency
from doit.runner import MThreadRunner, Runner
from doit.task import Stream, Task, result_dep

from helpers.folders import demo_size
from helpers.machinery.files import (
    LabError,
    cache_dir,
    read_json,
    remove_leftovers,
    write_atomically,
)
from helpers.notebook.records import RESULTS, take_back
from tools.common.run_folder import TASKS
from tools.run import pages
from tools.run.display import Display, clock
from tools.run.plan import Plan
from tools.run.processes import Outcome, run_supervised
from tools.run.results import (
    DONE,
    FAILED,
    SKIPPED,
    TIMEOUT,
    UP_TO_DATE,
    Row,
    key_metric,
    record_digest,
)

DEMO_TASK = "demo_set"
DEMO_TIMEOUT_MINUTES = 60.0
FULL_DISK_MB = 20.0  # with less than this left, a failure is blamed on it
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class _Watch:
    """What all tasks of a run share: where they show themselves, and whether they must stop."""

    display: Display
    stop: threading.Event = field(default_factory=threading.Event)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def go_on(self) -> None:
        """Raise KeyboardInterrupt when the run is being stopped."""
        if self.stop.is_set():
            raise KeyboardInterrupt

    def ticked(self, name: str, seconds: float, progress: Mapping[str, Any]) -> None:
        """Show where a task is. Raises KeyboardInterrupt when the run is being stopped."""
        self.go_on()
        self.display.ticked(name, seconds, progress)

    def write_page(self, notebook: Path, page: Path) -> None:
        """`pages.write_page`, one at a time: nbconvert and Pygments are not made for threads."""
        with self.writing:
            self.go_on()
            pages.write_page(notebook, page)


def run_tasks(plan: Plan, rows: dict[str, Row], display: Display) -> None:
    """Run what is not up to date; `rows` then says how each notebook fared.

    Raises KeyboardInterrupt after everything was stopped, and LabError for a broken data base.
    """
    data_base = _data_base(plan)
    watch = _Watch(display)
    control = TaskControl(_tasks(plan, watch))
    control.process(_in_order(plan))
    settings: dict[str, Any] = {
        "dep_manager": data_base,
        "reporter": _Reporter(rows, display, data_base),
        "continue_": True,  # after a failure, with what does not need it
        "stream": Stream(0),  # our actions print nothing, so doit leaves sys.stdout alone
    }
    if plan.jobs == 1:
        runner = Runner(**settings)
    else:
        runner = _SideBySide(watch, plan.jobs, **settings)
    try:
        runner.run_all(_Dispatcher(control.tasks, control.targets, control.selected_tasks))
    finally:
        remove_leftovers(cache_dir())  # of what was killed just now, or in an earlier run


def task_states(plan: Plan) -> dict[str, str]:
    """For `--list`: what would happen to each notebook of the plan, without running anything."""
    if plan.is_demo and demo_size() < plan.demo_size:
        return dict.fromkeys(plan.notebooks, "to run (after the demo set is built)")
    tasks = {task.name: task for task in _tasks(plan)}
    data_base = _data_base(plan)
    states: dict[str, str] = {}
    needs = {notebook.name: notebook.needs for notebook in plan.lab.notebooks}
    for name in plan.notebooks:
        waits = [need for need in needs[name] if states[need] != UP_TO_DATE]
        if waits:
            states[name] = f"to run (after {', '.join(waits)})"
        elif data_base.get_status(tasks[name], tasks).status == "up-to-date":
            states[name] = UP_TO_DATE
        else:
            states[name] = "failed, to run" if plan.paths(name).failed.exists() else "to run"
    return states


# ---- tasks -------------------------------------------------------------------------------------


def _tasks(plan: Plan, watch: _Watch | None = None) -> list[Task]:
    """All tasks of a plan; without `watch` they can only be asked for their state."""
    tasks = [_demo_task(plan, watch)] if plan.is_demo else []
    for name in plan.notebooks:
        tasks += [_notebook_task(plan, name, watch), _page_of(plan, name, watch)]
    return tasks


def _in_order(plan: Plan) -> list[str]:
    """The tasks of a plan; of those that could run at a time, the earlier one is to begin.

    One at a time, in the order of the lab. Side by side, what most others wait for comes first:
    05 is then under way while 00, 01 and 04 run beside it, and pages are written where there is
    time.
    """
    names, pages_of = plan.notebooks, [_page_task(name) for name in plan.notebooks]
    if plan.jobs == 1:
        return [task for both in zip(names, pages_of, strict=True) for task in both]
    waiting = {name: sum(name in plan.lab.with_needs([other]) for other in names) for name in names}
    return sorted(names, key=lambda name: -waiting[name]) + pages_of


def _notebook_task(plan: Plan, name: str, watch: _Watch | None) -> Task:
    needs = next(notebook.needs for notebook in plan.lab.notebooks if notebook.name == name)
    uptodate: list[Any] = [_inputs_unchanged(plan, name), _record_untouched(plan, name)]
    uptodate += [result_dep(need) for need in needs]
    if plan.force and name in plan.selected:
        uptodate.append(False)
    return Task(
        name,
        [(_execute_notebook, [plan, name, watch])],
        targets=[plan.paths(name).executed],
        task_dep=[DEMO_TASK] if plan.is_demo else [],
        uptodate=uptodate,
        io={"capture": False},
    )


def _inputs_unchanged(plan: Plan, name: str) -> Callable[..., bool]:
    """doit's `config_changed`, but worked out when asked: the demo set may not be there before."""

    def inputs_unchanged(task: Task, values: dict[str, Any]) -> bool:
        inputs = plan.digest_inputs(name)
        task.value_savers.append(lambda: {"inputs": inputs})
        return values.get("inputs") == inputs

    return inputs_unchanged


def _record_untouched(plan: Plan, name: str) -> Callable[..., bool]:
    """False when a file of the notebook's record was changed or deleted since it was written."""

    def record_untouched(task: Task, values: dict[str, Any]) -> bool:
        return values.get("record") == record_digest(plan.paths(name).record)

    return record_untouched


def _page_of(plan: Plan, name: str, watch: _Watch | None) -> Task:
    paths = plan.paths(name)
    return Task(
        _page_task(name),
        [(_Watch.write_page, [watch, paths.executed, paths.page])],
        file_dep=[paths.executed, *pages.SOURCES],
        targets=[paths.page],
        io={"capture": False},
    )


def _page_task(name: str) -> str:
    return f"page_of_{name}"


def _demo_task(plan: Plan, watch: _Watch | None) -> Task:
    """Build the demo set, unless it was built by the code as it is now.

    `demo_music.build` itself decides what a change means, and returns at once when it means
    nothing.
    """

    def built(task: Task, values: dict[str, Any]) -> bool:
        digest = plan.lab.digest(["import demo_music.build"])
        task.value_savers.append(lambda: {"code": digest})
        return values.get("code") == digest and demo_size() >= plan.demo_size

    return Task(
        DEMO_TASK,
        [(_build_demo_set, [plan, watch])],
        uptodate=[built],
        io={"capture": False},
    )


# ---- actions -----------------------------------------------------------------------------------


class NotebookFailed(TaskFailed):
    """A failed notebook, with the row and the lines to show."""

    def __init__(self, status: str, outcome: Outcome, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.status = status
        self.outcome = outcome
        self.lines = lines


def _execute_notebook(plan: Plan, name: str, watch: _Watch) -> dict[str, Any] | NotebookFailed:
    """Execute a notebook in a process of its own; what is returned is stored by doit."""
    paths = plan.paths(name)
    # Without its target the task is not up to date, so that a run killed from here on starts the
    # notebook again, whatever the data base says.
    for stale in (paths.executed, paths.failed, paths.page, paths.result, paths.progress):
        stale.unlink(missing_ok=True)
    for stale in (paths.record / RESULTS, paths.record / "values.json"):
        stale.unlink(missing_ok=True)
    minutes = plan.timeout_minutes(name)
    job = {
        "notebook": str(plan.lab.read(name).path),
        "output": str(paths.partial),
        "result": str(paths.result),
        "connection": str(paths.connection),
        "parameters": plan.overrides(name),
        "cwd": str(plan.lab.root / "notebooks"),
    }
    try:
        program = [str(HERE / "execute.py"), json.dumps(job)]
        outcome = _supervise(plan, name, program, minutes, watch)
        ended = read_json(paths.result)
        if outcome.exit_code == 0 and ended.get("status") == DONE:
            paths.partial.replace(paths.executed)
        elif read_json(paths.partial):  # no JSON: papermill was stopped while it wrote
            paths.partial.replace(paths.failed)
    finally:
        for passing in (paths.partial, paths.result, paths.progress, paths.connection):
            passing.unlink(missing_ok=True)
    peak = max(outcome.peak_mb, ended.get("peak_mb", 0.0))
    outcome = Outcome(outcome.exit_code, outcome.seconds, peak)
    if paths.executed.exists():
        return _what_it_left(plan, name, outcome)
    return _what_went_wrong(plan, name, outcome, ended, minutes, watch)


def _what_it_left(plan: Plan, name: str, outcome: Outcome) -> dict[str, Any]:
    paths = plan.paths(name)
    return {
        "execution": time.time_ns(),  # new each time: what depends on this notebook runs again
        "record": record_digest(paths.record),
        "seconds": round(outcome.seconds, 1),
        "peak_mb": round(outcome.peak_mb, 1),
        "key_metric": key_metric(paths),
    }


def _what_went_wrong(
    plan: Plan, name: str, outcome: Outcome, ended: dict[str, Any], minutes: float, watch: _Watch
) -> NotebookFailed:
    paths = plan.paths(name)
    with suppress(LabError):  # on a full disk
        take_back(paths.record)
    if outcome.timed_out:
        limit = clock(60 * minutes)
        lines = [f"{name} was stopped at its time limit of {limit} (profile: timeout_minutes)"]
    elif full := _full_disk(plan):
        lines = [f"{name} failed: {full}"]
    elif ended.get("lines"):
        where = f" in cell [{ended['cell']}]" if ended.get("cell") else ""
        lines = [f"{name} failed{where}:"]
        lines += [f"  | {line}" for line in ended.get("source", [])]
        lines += [f"  {line}" for line in ended["lines"]]
    else:
        lines = [f"{name} ended with code {outcome.exit_code}; the last lines of its log:"]
        lines += [f"  {line}" for line in _tail(paths.log)]
    if paths.failed.exists():
        lines.append(f"as far as it came: {paths.failed}")
        with suppress(LabError):  # this failure is told already, and the page would say the same
            watch.write_page(paths.failed, paths.page)
    lines.append(f"log: {paths.log}")
    return NotebookFailed(TIMEOUT if outcome.timed_out else FAILED, outcome, lines)


def _build_demo_set(plan: Plan, watch: _Watch) -> dict[str, Any] | NotebookFailed:
    """Build the demo set in a process of its own, which spares this one its memory."""
    paths = plan.paths(DEMO_TASK)
    program = [str(HERE / "build_demo_set.py"), str(plan.demo_size)]
    outcome = _supervise(plan, DEMO_TASK, program, DEMO_TIMEOUT_MINUTES, watch)
    paths.progress.unlink(missing_ok=True)
    if outcome.exit_code == 0:
        return {"seconds": round(outcome.seconds, 1), "peak_mb": round(outcome.peak_mb, 1)}
    status, reason = FAILED, "the demo set could not be built:"
    if outcome.timed_out:
        status, reason = TIMEOUT, f"building the demo set took over {DEMO_TIMEOUT_MINUTES:.0f} min"
    elif full := _full_disk(plan):
        reason = f"the demo set could not be built: {full}"
    lines = [reason, *(f"  {line}" for line in _tail(paths.log)), f"log: {paths.log}"]
    return NotebookFailed(status, outcome, lines)


def _full_disk(plan: Plan) -> str:
    """What to say when the disk of the run is full; nothing when it is not.

    What failed on a full disk could not write down why either.
    """
    free = shutil.disk_usage(plan.folder).free / 2**20
    if free >= FULL_DISK_MB:
        return ""
    return (
        f"the disk that holds {plan.folder} is full ({free:.0f} MiB left); free some space, then "
        "give the same command again"
    )


def _supervise(plan: Plan, name: str, program: list[str], minutes: float, watch: _Watch) -> Outcome:
    paths = plan.paths(name)
    return run_supervised(
        # -P: the folder of the program is no place to import from.
        [sys.executable, "-P", *program],
        env={**plan.environment(), "MUSICLAB_PROGRESS": str(paths.progress)},
        log=paths.log,
        timeout_seconds=60 * minutes,
        on_tick=lambda seconds: watch.ticked(name, seconds, read_json(paths.progress)),
    )


def _tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log; a LabError among them says everything alone."""
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    own = [line for line in text if line.startswith("error: ")]
    return own[-1:] or text[-lines:]


# ---- doit as a library -------------------------------------------------------------------------


class _SideBySide(MThreadRunner):
    """doit's runner with threads, which leaves nothing running when it is stopped.

    doit waits for its threads only after a run that went well: at Ctrl-C it would leave them to
    themselves, and with them the notebooks they watch over. Here whatever stops the run is told to
    them, and waited until each has ended what it was at.
    """

    def __init__(self, watch: _Watch, jobs: int, **settings: Any) -> None:
        super().__init__(num_process=jobs, **settings)
        self._watch = watch
        self._places = threading.Semaphore(jobs)  # a thread with a task holds one

    def execute_task(self, task: Task) -> BaseFail | None:
        """In one of the threads; all else that doit does, it does in the main one."""
        with self._places:
            self._watch.go_on()
            return super().execute_task(task)

    def run_tasks(self, task_dispatcher: TaskDispatcher) -> None:
        """In the main thread: Ctrl-C arrives here."""
        try:
            super().run_tasks(task_dispatcher)
        except BaseException:
            self._watch.stop.set()
            for _ in range(self.num_process):
                self._places.acquire()
            raise


class _Dispatcher(TaskDispatcher):
    """doit's, but of the tasks that have become ready it takes the one selected first.

    doit keeps those that waited for the same task in a set, whose order is left to chance. (Were
    this method no longer called by a later doit, it would be so again, and nothing worse.)
    """

    def _get_next_node(self, ready: deque[ExecNode], tasks_to_run: list[str]) -> ExecNode | None:
        if len(ready) < 2:
            return super()._get_next_node(ready, tasks_to_run)
        first = min(ready, key=lambda node: self._rank(node.task.name))
        ready.remove(first)
        return first

    def _rank(self, name: str) -> int:
        return self.selected_tasks.index(name) if name in self.selected_tasks else -1


class _AtomicJsonDB(JsonDB):
    """doit's JSON data base, written whole or not at all."""

    def dump(self) -> None:
        write_atomically(Path(self.name), self.codec.encode(self._db))


class _Dependency(Dependency):
    """doit writes its data base when it ends; this one after every success, so a kill loses none.

    A failure need not be written at once: a notebook that failed has lost its target, too.
    """

    def save_success(self, task: Task, result_hash: str | None = None) -> None:
        super().save_success(task, result_hash)
        self.backend.dump()

    def close(self) -> None:
        """All is written. What Ctrl-C left noted by half, in memory, must not be."""


def _data_base(plan: Plan) -> _Dependency:
    path = plan.folder / TASKS
    try:
        return _Dependency(_AtomicJsonDB, str(path))
    except DatabaseException:
        raise LabError(f"{path}: no valid JSON; delete it, and all notebooks run again") from None


class _Reporter:
    """Turns what doit reports into rows and what is seen of them."""

    def __init__(self, rows: dict[str, Row], display: Display, data_base: Dependency) -> None:
        self._rows = rows
        self._display = display
        self._data_base = data_base

    def execute_task(self, task: Task) -> None:
        if task.name in self._rows:
            self._display.started(task.name)

    def add_success(self, task: Task) -> None:
        self._set(task.name, DONE, task.values)

    def skip_uptodate(self, task: Task) -> None:
        self._set(task.name, UP_TO_DATE, self._data_base.get_values(task.name))

    def skip_ignore(self, task: Task) -> None:
        self._set(task.name, SKIPPED, {})

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        row = self._rows.get(task.name)
        if isinstance(fail, UnmetDependency):
            if row is not None:
                row.status = SKIPPED
                row.message = [f"needs {', '.join(fail.message.split())}"]
                self._display.ended(task.name)
            return
        if isinstance(fail, NotebookFailed):
            lines, status = fail.lines, fail.status
        else:  # an error of ours or of the machine, such as a full disk
            text = (fail.get_msg().strip() or fail.get_name()).splitlines()[-1]
            text = text.removeprefix("helpers.machinery.files.LabError: ")
            lines, status = [f"{task.name} failed: {text}"], FAILED
        # A page that could not be written counts against its notebook.
        name = task.name.removeprefix("page_of_")
        row = self._rows[name]
        row.status, row.message = status, lines
        if isinstance(fail, NotebookFailed):
            row.seconds, row.peak_mb = fail.outcome.seconds, fail.outcome.peak_mb
        self._display.ended(name)
        self._display.failed(lines)

    def _set(self, name: str, status: str, values: dict[str, Any]) -> None:
        row = self._rows.get(name)
        if row is None:
            return
        row.status = status
        row.seconds, row.peak_mb = values.get("seconds"), values.get("peak_mb")
        row.key_metric = values.get("key_metric", "")
        self._display.ended(name)

    # What else doit reports needs no line of its own.

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Nothing to say before the first task."""

    def get_status(self, task: Task) -> None:
        """Nothing to say while a task is checked."""

    def teardown_task(self, task: Task) -> None:
        """Our tasks have no teardown."""

    def cleanup_error(self, exception: BaseFail) -> None:
        """Our tasks have no teardown that could fail."""

    def complete_run(self) -> None:
        """The final table is printed by the caller."""

    def runtime_error(self, msg: str) -> None:
        """An error in the tasks themselves, which is a mistake of ours."""
        raise RuntimeError(msg)
