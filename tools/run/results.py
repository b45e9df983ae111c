"""What is kept of a run: a row per notebook, a note beside each result, and what is made of all.

A note says what a notebook ran with (`Plan.digest_inputs`), which executions of the notebooks it
needs it saw, and a digest of what it stored. It is written last, so that a result without a note
is one of a run that was stopped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from helpers.machinery.files import read_json, write_atomically
from helpers.notebook.records import RESULTS, join_results
from helpers.notebook.soundness import data_fingerprint
from tools.checks import check_data
from tools.common.notebooks import Lab
from tools.common.run_folder import SUMMARY, Paths
from tools.run.plan import LEFT_OUT, Plan
from tools.run.processes import threads_available

PACKAGES = "torch numpy scipy scikit-learn librosa pandas matplotlib papermill nbconvert".split()


class Status(StrEnum):
    """How a notebook, or the building of the demo set, fares."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    UP_TO_DATE = "up to date"
    FAILED = "failed"
    SKIPPED = "skipped"


BAD = (Status.FAILED, Status.SKIPPED)


@dataclass
class Row:
    """One line of the final table. `seconds` and `peak_mb` are those of the last execution."""

    notebook: str
    status: str = Status.WAITING
    seconds: float | None = None
    peak_mb: float | None = None
    key_metric: str = ""
    message: list[str] = field(default_factory=list)

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The line as text: notebook, seconds, status, peak memory, key metric or reason."""
        return (
            self.notebook,
            "" if self.seconds is None else f"{self.seconds:.0f}",
            self.status,
            "" if self.peak_mb is None else f"{self.peak_mb / 1024:.2f} GiB",
            self.message[0] if self.status == Status.SKIPPED and self.message else self.key_metric,
        )


HEADINGS = ("notebook", "seconds", "status", "peak memory", "key metric")


def key_metric(paths: Paths) -> str:
    """The one result that a notebook wants to see in the table, or nothing."""
    values = read_json(paths.record / "values.json")
    return str(values.get("key_metric", ""))


# ---- the note beside a result, and why it is not up to date --------------------------------------


def write_note(run: Path, row: Row, needs: Iterable[str], inputs: Mapping[str, Any]) -> None:
    """Note how a notebook ran to its end. Raises LabError when it cannot be written."""
    paths = Paths(run, row.notebook)
    note = {
        "execution": time.time_ns(),  # new each time: what needs this notebook runs again
        "inputs": inputs,
        "needs": {need: _execution(run, need) for need in needs},
        "record": _record_digest(paths.record),
        "seconds": row.seconds,
        "peak_mb": row.peak_mb,
    }
    write_atomically(paths.note, json.dumps(note, indent=1) + "\n")


def why_stale(run: Path, name: str, needs: Iterable[str], inputs: Mapping[str, Any]) -> str:
    """Why a notebook's results are not those of these inputs; nothing when they are.

    Inputs that are not given are not compared: without the data, the code still can be.
    """
    paths = Paths(run, name)
    note = read_json(paths.note)
    if not paths.executed.is_file():
        return "it failed" if paths.failed.is_file() else "it has not run"
    if not {"inputs", "needs", "record"} <= note.keys():
        return "nothing is noted of how it ran"
    if changed := _changed(note["inputs"], inputs):
        return changed
    if note["record"] != _record_digest(paths.record):
        return "its stored results were changed after it had run"
    older = [need for need in needs if note["needs"].get(need) != _execution(run, need)]
    return f"its results are older than those of {', '.join(older)}" if older else ""


def stale_results(run: Path, lab: Lab) -> list[str]:
    """Why some results of a run are not those of the code as it is now, a line per notebook."""
    reasons = (
        (name, why_stale(run, name, lab.needs(name), {"code": lab.code_digest(name)}))
        for name in lab.names
    )
    return [f"{name}: {reason}" for name, reason in reasons if reason]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not as it was when a notebook ran; nothing when all is."""
    if "code" in now and then.get("code") != now["code"]:
        return "its results are older than its code"
    before, after = then.get("parameters", {}), now.get("parameters", {})
    if "parameters" in now and before != after:
        others = sorted(key for key in before | after if before.get(key) != after.get(key))
        return "it ran on other data" if others == ["data"] else f"other {', '.join(others)}"
    if "left_out" in now and then.get("left_out") != now["left_out"]:
        return "other clips were left out"
    return ""


def _execution(run: Path, name: str) -> object:
    """A number of the execution that a notebook's results are of; None without one."""
    return read_json(Paths(run, name).note).get("execution")


def _record_digest(folder: Path) -> str:
    """A digest of all files of a notebook's record, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


# ---- `results.csv` and `summary.json` ------------------------------------------------------------


def note_left_out(plan: Plan) -> None:
    """With `--skip-bad`: check the data, and write the list of what loaders are to leave out."""
    if not plan.skip_bad:
        return
    path = plan.folder / LEFT_OUT
    if read_json(path).get("state") == data_fingerprint(plan.data):
        return  # nothing has changed since
    found = check_data.check(plan.data) if plan.data.exists() else {}
    check_data.write_list(path, plan.data, check_data.to_leave_out(found))


def code_commit(root: Path) -> str:
    """The commit of a checkout, with `+` where files differ from it; empty outside of git."""
    describe = ["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *describe], capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write_results(plan: Plan, rows: Iterable[Row], seconds: float) -> dict[str, Any]:
    """Write `results.csv`, and all there is to know about a run to `summary.json`; returns that."""
    write_atomically(plan.folder / RESULTS, join_results(plan.folder))
    parameters = {name: plan.parameters(name) for name in plan.notebooks}
    summary = {
        "run": plan.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "total_seconds": round(seconds, 1),
        "data": {
            "folder": str(plan.data),
            "demo": plan.is_demo,
            "fingerprint": plan.fingerprint if plan.data.exists() else None,
        },
        "profile": plan.profile.name,
        "profile_file": plan.profile.path and str(plan.profile.path.resolve()),
        "device": plan.device,
        "threads": threads_available(),
        "jobs": plan.jobs,
        "skip_bad": plan.skip_bad,
        "left_out": [text for split in plan.left_out.values() for text in split.values() if text],
        "seeds": {name: values.get("seed") for name, values in parameters.items()},
        "parameters": parameters,
        "commit": code_commit(plan.lab.root),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "notebooks": [asdict(row) for row in rows],
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, default=str)
    write_atomically(plan.folder / SUMMARY, text + "\n")
    return summary
