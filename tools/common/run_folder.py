"""A run's folder, `runs/<name>/`: what lies where in it, who may write to it, how old ones go."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from helpers.machinery import files
from helpers.machinery.files import LabError, did_you_mean, read_json
from helpers.machinery.profiles import profile_names
from helpers.notebook.records import INTERACTIVE_RUN, newest_run

LOCK, SUMMARY = ".lock", "summary.json"
# In a run nobody edits helpers/, and `%autoreload` looks at 3000 files before each cell.
_NO_RELOADING = (
    "--IPKernelApp.exec_lines=from IPython.extensions import autoreload; "
    "autoreload.ModuleReloader.check = lambda *_, **__: None; del autoreload"
)


class Paths:
    """Where one notebook's things lie in a run's folder."""

    def __init__(self, run: Path, name: str) -> None:
        notebooks, progress = run / "notebooks", run / "progress"
        self.executed = notebooks / f"{name}.ipynb"  # there only when it ran to its end
        self.partial = notebooks / f"{name}.partial.ipynb"  # while it runs
        self.failed = notebooks / f"{name}.failed.ipynb"  # as far as it came
        self.note = notebooks / f"{name}.done.json"  # what it ran to its end with and on
        self.page = run / "pages" / f"{name}.html"
        self.log = run / "logs" / f"{name}.log"  # what was printed outside of its cells
        self.record = run / "records" / name  # what it leaves for later ones
        self.progress = progress / f"{name}.json"  # how far it is; in the end, how it went
        self.connection = progress / f"{name}.kernel.json"  # how to reach its kernel


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Make the run's folder ready, and keep others out while it is in use, however this ends.

    Raises LabError when another run of the same name is under way, and when the folder cannot be
    written.
    """
    with _writing(folder):
        for part in ("notebooks", "pages", "logs", "progress"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "ab+", buffering=0)
    with lock:
        if not _locked(lock):
            lock.seek(0)
            owner = lock.read().decode(errors="replace") or "?"
            raise LabError(
                f"a run named {folder.name!r} is under way (process {owner}); wait for it, or "
                "choose another name with --name"
            )
        with _writing(folder):
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
            _remove_leftovers(folder)
            # Without its history file, which would grow with every run.
            write_kernel_spec(folder / "jupyter", "--HistoryManager.enabled=False", _NO_RELOADING)
            _point_latest_at(folder)
        try:
            yield
        finally:
            with suppress(OSError):
                _remove_leftovers(folder)
                files.remove_leftovers(files.cache_dir())  # of any process that was killed


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the machine into one line."""
    try:
        yield
    except OSError as error:
        raise LabError(
            f"{folder}: cannot be written ({error.strerror}); free some space, or set "
            "MUSICLAB_HOME to a folder that you may write to"
        ) from error


def _locked(lock: IO[bytes]) -> bool:
    """Take the lock of a run; False when a run under way holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed processes of this run left half done; the lock must be held."""
    for pattern in ("**/.*.part", "notebooks/*.partial.ipynb", "progress/*.json"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def find_run(name: str | None = None) -> Path:
    """The folder of a finished run: the one named, else the one that `runs/latest` points at.

    Raises LabError where there is none, and for a name that no finished run has.
    """
    runs = files.project_root() / "runs"
    finished = sorted(path.parent.name for path in runs.glob(f"*/{SUMMARY}"))
    newest = newest_run(runs)
    wanted = newest.name if newest and name in (None, "latest") else name
    if not finished or not wanted:
        raise LabError(f"{runs}: no finished run; make one with ./run_all.sh")
    if wanted not in finished:
        known = [other for other in finished if other != "latest"]
        raise LabError(
            f"{runs / wanted}: no finished run{did_you_mean(wanted, known)}; finished are: "
            f"{', '.join(known)}"
        )
    path = runs / wanted / SUMMARY
    said = read_json(path)
    data = said.get("data") if "profile" in said else None
    if not (isinstance(data, dict) and data.keys() >= {"folder", "demo", "fingerprint"}):
        raise LabError(f"{path}: no whole summary; ./run_all.sh --name {wanted} writes it again")
    return runs / wanted


def command_of(run: Path) -> str:
    """The command that brings a finished run up to date, as its summary says it was made."""
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    data = "demo" if summary["data"]["demo"] else shlex.quote(summary["data"]["folder"])
    profile = summary["profile"]
    if profile not in profile_names():  # a file of the user's own
        profile = shlex.quote(str(summary.get("profile_file", profile)))
    return f"./run_all.sh --name {run.name} --data {data} --profile {profile}"


def remove_old_runs(current: Path, keep: int) -> list[str]:
    """Delete all but the `keep` newest finished runs beside `current`; says what was deleted.

    What `current`, `latest`, `interactive` or a run under way is stays.
    """
    runs = current.parent
    ended = {path.parent: path.stat().st_mtime for path in runs.glob(f"[!.]*/{SUMMARY}")}
    found = [run for run in ended if not run.is_symlink() and run.name != INTERACTIVE_RUN]
    newest = newest_run(runs)
    said = []
    for folder in sorted(found, key=lambda run: ended[run], reverse=True)[keep:]:
        if folder.name in (current.name, newest and newest.name):
            continue
        try:
            with open(folder / LOCK, "ab") as lock:
                if _locked(lock):
                    shutil.rmtree(folder)
                    said.append(f"deleted the old run {folder}")
        except OSError as error:
            said.append(f"could not delete the old run {folder} ({error.strerror})")
    return said


def write_kernel_spec(folder: Path, *options: str) -> None:
    """Write a kernel `python3` that is this very interpreter, below a Jupyter data folder.

    Put first in JUPYTER_PATH it wins over any `python3` of another environment.
    """
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *options],
        "display_name": "Python 3",
        "language": "python",
    }
    path = folder / "kernels" / "python3" / "kernel.json"
    files.write_atomically(path, json.dumps(spec, indent=1) + "\n")


def first_in(variable: str, folder: Path) -> str:
    """An environment variable that lists folders, with this one before all others."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get(variable))))


def _point_latest_at(folder: Path) -> None:
    """Let `runs/latest` name the newest run: a link, or a text file where links cannot be made."""
    latest = folder.parent / "latest"
    if latest.is_dir() and not latest.is_symlink():
        what = "a folder where a link belongs, which copying can make of it"
        raise LabError(f"{latest}: {what}; rename it, and give the same command again")
    new = folder / ".latest.part"  # where it is cleared away, should this be killed here
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(folder.name, target_is_directory=True)
        os.replace(new, latest)
    except OSError:
        new.unlink(missing_ok=True)
        files.write_atomically(latest, folder.name + "\n")
