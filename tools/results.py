"""What is reported of a run: a row per notebook, `results.csv`, `summary.json`."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.settings import LabError, write_atomically
from tools.plan import Plan
from tools.processes import threads_available
from tools.run_folder import SUMMARY, Paths

WAITING, RUNNING = "waiting", "running"
DONE, UP_TO_DATE, FAILED, SKIPPED, TIMEOUT = "done", "up to date", "failed", "skipped", "timeout"
BAD = (FAILED, SKIPPED, TIMEOUT)
RESULT_COLUMNS = "notebook model feature test_set metric value low high seed n".split()

_PACKAGES = (
    "torch numpy scipy scikit-learn librosa pandas matplotlib papermill doit nbconvert".split()
)


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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none, or none yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def record_digest(folder: Path) -> str:
    """A digest of all files of a notebook's record, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def join_results(run: Path, names: Iterable[str]) -> str:
    """The `results.csv` of these notebooks as one table, in the order given.

    Only notebooks that ran to their end count; what a failed one left would be half a result.
    Raises LabError when a table lacks a column.
    """
    joined = io.StringIO()
    writer = csv.writer(joined, lineterminator="\n")
    writer.writerow(RESULT_COLUMNS)
    for name in names:
        paths = Paths(run, name)
        table = paths.record / "results.csv"
        if not (paths.executed.is_file() and table.is_file()):
            continue
        with open(table, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in RESULT_COLUMNS if c not in (reader.fieldnames or [])]
            if missing:
                raise LabError(f"{table}: no column {', '.join(missing)}; run {name} again")
            writer.writerows([row[column] for column in RESULT_COLUMNS] for row in reader)
    return joined.getvalue()


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
        "device": plan.device,
        "threads": threads_available(),
        "jobs": plan.jobs,
        "skip_bad": plan.skip_bad,
        "left_out": left_out(plan),
        "seeds": {name: values.get("seed") for name, values in parameters.items()},
        "parameters": parameters,
        "commit": code_commit(plan.lab.root),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": package_versions(),
        "notebooks": [asdict(row) for row in rows],
    }


def left_out(plan: Plan) -> list[str]:
    """With `--skip-bad`: a line for each clip and label row that was left out."""
    if not (plan.skip_bad and plan.data.exists()):
        return []
    from helpers import store  # numpy takes a moment

    try:
        return store.left_out(plan.data)
    except LabError as error:  # nothing is left to learn from: the notebooks said so, too
        return [str(error)]


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


def package_versions() -> dict[str, str]:
    """The versions of the packages that shape the results, without importing them."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_results(plan: Plan, rows: Mapping[str, Row], seconds: float) -> dict[str, Any]:
    """Write `results.csv` and `summary.json` into the run's folder; return the summary."""
    write_atomically(plan.folder / "results.csv", join_results(plan.folder, plan.lab.names))
    whole = summary(plan, rows.values(), seconds)
    text = json.dumps(whole, indent=2, ensure_ascii=False, default=str)
    write_atomically(plan.folder / SUMMARY, text + "\n")
    return whole
