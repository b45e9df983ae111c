"""Whether a run's results are those of the code as it is now, by what the runner noted about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from doit.dependency import DatabaseException, Dependency, JsonDB

from helpers.machinery.files import LabError
from tools.common.notebooks import Lab
from tools.common.run_folder import TASKS, Paths
from tools.run.results import record_digest


def stale_results(run: Path, lab: Lab) -> list[str]:
    """Why some results of a run are not those of the code as it is now, a line per notebook.

    The data need not be there. Raises LabError when the runner's notes are damaged.
    """
    noted = _noted(run, lab)
    found = []
    for notebook in lab.notebooks:
        name, values = notebook.name, noted[notebook.name]
        paths = Paths(run, name)
        changed = [
            need
            for need in notebook.needs
            if values.get(f"_result:{need}", {}).get("execution") != noted[need].get("execution")
        ]
        if not paths.executed.is_file():
            found.append(f"{name} failed" if paths.failed.is_file() else f"{name} did not run")
        elif values.get("inputs", {}).get("code") != lab.code_digest(name):
            found.append(f"{name}: its results are older than its code")
        elif values.get("record") != record_digest(paths.record):
            found.append(f"{name}: its stored results were changed after it had run")
        elif changed:
            found.append(f"{name}: its results are older than those of {', '.join(changed)}")
    return found


def _noted(run: Path, lab: Lab) -> dict[str, dict[str, Any]]:
    """What tasks.py noted about the last success of each notebook; empty without one."""
    try:
        data_base = Dependency(JsonDB, str(run / TASKS))
    except DatabaseException:
        raise LabError(
            f"{run / TASKS}: no valid JSON; delete it, and give ./run_all.sh --name {run.name}"
        ) from None
    return {name: data_base.get_values(name) for name in lab.names}
