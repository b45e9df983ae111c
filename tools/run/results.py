"""What is reported of a run: a row per notebook, `results.csv`, `summary.json`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.machinery.files import read_json, write_atomically
from helpers.notebook.records import RESULTS, join_results
from helpers.notebook.soundness import data_fingerprint
from tools.checks import check_data
from tools.common.run_folder import SUMMARY, Paths
from tools.run.plan import LEFT_OUT, Plan
from tools.run.processes import threads_available

WAITING, RUNNING = "waiting", "running"
DONE, UP_TO_DATE, FAILED, SKIPPED, TIMEOUT = "done", "up to date", "failed", "skipped", "timeout"
BAD = (FAILED, SKIPPED, TIMEOUT)

PACKAGES = "torch numpy scipy scikit-learn librosa pandas matplotlib papermill nbconvert".split()


@dataclass
class Row:
    """One line of the final table. `seconds` and `peak_mb` are those of the last execution."""

    notebook: str
    status: str = WAITING
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
            self.message[0] if self.status == SKIPPED and self.message else self.key_metric,
        )


HEADINGS = ("notebook", "seconds", "status", "peak memory", "key metric")


def key_metric(paths: Paths) -> str:
    """The one result that a notebook wants to see in the table, or nothing."""
    values = read_json(paths.record / "values.json")
    return str(values.get("key_metric", ""))


def record_digest(folder: Path) -> str:
    """A digest of all files of a notebook's record, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def summary(plan: Plan, rows: Iterable[Row], seconds: float) -> dict[str, Any]:
    """All there is to know about a run, for `summary.json`."""
    parameters = {name: plan.parameters(name) for name in plan.notebooks}
    return {
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

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = bool(commit) and bool(git("status", "--porcelain", "--untracked-files=no"))
    except OSError:  # git is not installed
        return ""
    return commit + "+" * changed


def write_results(plan: Plan, rows: Mapping[str, Row], seconds: float) -> dict[str, Any]:
    """Write `results.csv` and `summary.json` into the run's folder; return the summary."""
    write_atomically(plan.folder / RESULTS, join_results(plan.folder))
    whole = summary(plan, rows.values(), seconds)
    text = json.dumps(whole, indent=2, ensure_ascii=False, default=str)
    write_atomically(plan.folder / SUMMARY, text + "\n")
    return whole
