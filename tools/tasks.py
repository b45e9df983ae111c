"""The run as tasks of doit, which decides what is up to date and what depends on what.

One task per notebook, one per page, and one for the demo set. doit is used as a library: its
`Run` command, with our tasks, our reporter, and a data base that is written after every task.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doit.cmd_base import TaskLoader2
from doit.cmd_run import Run
from doit.dependency import DatabaseException, Dependency, JsonDB
from doit.exceptions import BaseFail, TaskFailed, UnmetDependency
from doit.task import Task, result_dep

from helpers.settings import LabError, write_atomically
from tools import pages
from tools.display import Display, clock
from tools.plan import Plan, demo_size_built
from tools.processes import Outcome, run_supervised
from tools.results import (
    DONE,
    FAILED,
    SKIPPED,
    TIMEOUT,
    UP_TO_DATE,
    Row,
    key_metric,
    read_json,
    record_digest,
)

DEMO_TASK = "demo_set"
DEMO_TIMEOUT_MINUTES = 60.0
TOOLS = Path(__file__).resolve().parent


def run_tasks(plan: Plan, rows: dict[str, Row], display: Display) -> None:
    """Run what is not up to date; `rows` then says how each notebook fared.

    Raises KeyboardInterrupt after everything was stopped, and LabError for a broken data base.
    """
    data_base = _data_base(plan)
    reporter = _Reporter(rows, display, data_base)
    command = Run(task_loader=_Loader(_tasks(plan, display), reporter), config={})
    command.dep_manager = data_base
    names = [task for name in plan.notebooks for task in (name, _page_task(name))]
    command.parse_execute(names)


def task_states(plan: Plan) -> dict[str, str]:
    """For `--list`: what would happen to each notebook of the plan, without running anything."""
    if plan.is_demo and demo_size_built() < plan.demo_size:
        return dict.fromkeys(plan.notebooks, "to run (after the demo set is built)")
    tasks = {task.name: task for task in _tasks(plan, None)}
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


def _tasks(plan: Plan, display: Display | None) -> list[Task]:
    """All tasks of a plan; `display` is None when they are only asked for their state."""
    tasks = [_demo_task(plan, display)] if plan.is_demo else []
    for name in plan.notebooks:
        tasks += [_notebook_task(plan, name, display), _page_of(plan, name)]
    return tasks


def _notebook_task(plan: Plan, name: str, display: Display | None) -> Task:
    needs = next(notebook.needs for notebook in plan.lab.notebooks if notebook.name == name)
    uptodate: list[Any] = [_inputs_unchanged(plan, name), _record_untouched(plan, name)]
    uptodate += [result_dep(need) for need in needs]
    if plan.force and name in plan.selected:
        uptodate.append(False)
    return Task(
        name,
        [(_execute_notebook, [plan, name, display])],
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


def _page_of(plan: Plan, name: str) -> Task:
    paths = plan.paths(name)
    return Task(
        _page_task(name),
        [(pages.write_page, [paths.executed, paths.page])],
        file_dep=[paths.executed, *pages.SOURCES],
        targets=[paths.page],
        io={"capture": False},
    )


def _page_task(name: str) -> str:
    return f"page_of_{name}"


def _demo_task(plan: Plan, display: Display | None) -> Task:
    """Build the demo set, unless it was built by the code as it is now.

    `helpers.demo` itself decides what a change means, and returns at once when it means nothing.
    """

    def built(task: Task, values: dict[str, Any]) -> bool:
        digest = plan.lab.digest(["import helpers.demo"])
        task.value_savers.append(lambda: {"code": digest})
        return values.get("code") == digest and demo_size_built() >= plan.demo_size

    return Task(
        DEMO_TASK,
        [(_build_demo_set, [plan, display])],
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


def _execute_notebook(plan: Plan, name: str, display: Display) -> dict[str, Any] | NotebookFailed:
    """Execute a notebook in a process of its own; what is returned is stored by doit."""
    paths = plan.paths(name)
    # Without its target the task is not up to date, so that a run killed from here on starts the
    # notebook again, whatever the data base says.
    for stale in (paths.executed, paths.failed, paths.page, paths.result, paths.progress):
        stale.unlink(missing_ok=True)
    for stale in (paths.record / "results.csv", paths.record / "values.json"):
        stale.unlink(missing_ok=True)
    minutes = plan.profile.timeout_minutes(name)
    job = {
        "notebook": str(plan.lab.read(name).path),
        "output": str(paths.partial),
        "result": str(paths.result),
        "parameters": plan.parameters(name),
        "cwd": str(plan.lab.root / "notebooks"),
    }
    try:
        outcome = _supervise(
            plan, name, [str(TOOLS / "execute.py"), json.dumps(job)], minutes, display
        )
        ended = read_json(paths.result)
        if outcome.exit_code == 0 and ended.get("status") == DONE:
            paths.partial.replace(paths.executed)
        elif paths.partial.exists():
            paths.partial.replace(paths.failed)
    finally:
        for passing in (paths.partial, paths.result, paths.progress):
            passing.unlink(missing_ok=True)
    peak = max(outcome.peak_mb, ended.get("peak_mb", 0.0))
    outcome = Outcome(outcome.exit_code, outcome.seconds, peak)
    if paths.executed.exists():
        return _what_it_left(plan, name, outcome)
    return _what_went_wrong(plan, name, outcome, ended, minutes)


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
    plan: Plan, name: str, outcome: Outcome, ended: dict[str, Any], minutes: float
) -> NotebookFailed:
    paths = plan.paths(name)
    if outcome.timed_out:
        limit = clock(60 * minutes)
        lines = [f"{name} was stopped at its time limit of {limit} (profile: timeout_minutes)"]
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
        pages.write_page(paths.failed, paths.page)
    lines.append(f"log: {paths.log}")
    return NotebookFailed(TIMEOUT if outcome.timed_out else FAILED, outcome, lines)


def _build_demo_set(plan: Plan, display: Display) -> dict[str, Any] | NotebookFailed:
    """Build the demo set in a process of its own, which spares this one its memory."""
    paths = plan.paths(DEMO_TASK)
    program = [str(TOOLS / "build_demo_set.py"), str(plan.demo_size)]
    outcome = _supervise(plan, DEMO_TASK, program, DEMO_TIMEOUT_MINUTES, display)
    paths.progress.unlink(missing_ok=True)
    if outcome.exit_code == 0:
        return {"seconds": round(outcome.seconds, 1), "peak_mb": round(outcome.peak_mb, 1)}
    status, reason = FAILED, "the demo set could not be built:"
    if outcome.timed_out:
        status, reason = TIMEOUT, f"building the demo set took over {DEMO_TIMEOUT_MINUTES:.0f} min"
    lines = [reason, *(f"  {line}" for line in _tail(paths.log)), f"log: {paths.log}"]
    return NotebookFailed(status, outcome, lines)


def _supervise(
    plan: Plan, name: str, program: list[str], minutes: float, display: Display
) -> Outcome:
    paths = plan.paths(name)
    return run_supervised(
        # -P: the folder of the program is no place to import from.
        [sys.executable, "-P", *program],
        env={**plan.environment(), "MUSICLAB_PROGRESS": str(paths.progress)},
        log=paths.log,
        timeout_seconds=60 * minutes,
        on_tick=lambda seconds: display.ticked(name, seconds, read_json(paths.progress)),
    )


def _tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log; a LabError among them says everything alone."""
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    own = [line for line in text if line.startswith("error: ")]
    return own[-1:] or text[-lines:]


# ---- doit as a library -------------------------------------------------------------------------


class _Loader(TaskLoader2):
    """Hands our tasks and settings to doit."""

    def __init__(self, tasks: list[Task], reporter: _Reporter) -> None:
        super().__init__()
        self._all = tasks
        self._reporter = reporter

    def load_doit_config(self) -> dict[str, Any]:
        return {"reporter": self._reporter, "continue": True, "verbosity": 2}

    def load_tasks(self, cmd: Run, pos_args: list[str]) -> list[Task]:
        return self._all


class _AtomicJsonDB(JsonDB):
    """doit's JSON data base, written whole or not at all."""

    def dump(self) -> None:
        write_atomically(Path(self.name), self.codec.encode(self._db))


class _Dependency(Dependency):
    """doit writes its data base when it ends; this one after every task, so a kill loses none."""

    def save_success(self, task: Task, result_hash: str | None = None) -> None:
        super().save_success(task, result_hash)
        self.backend.dump()

    def remove_success(self, task: Task) -> None:
        super().remove_success(task)
        self.backend.dump()


def _data_base(plan: Plan) -> _Dependency:
    path = plan.folder / "tasks.json"
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
            text = (fail.get_msg().strip() or fail.get_name()).splitlines()
            lines, status = [f"{task.name} failed: {text[-1]}"], FAILED
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
