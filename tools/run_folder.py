"""The folder of one run, `runs/<name>/`: what lies where in it, and who may write to it."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers import settings
from helpers.settings import LabError


@dataclass(frozen=True)
class Paths:
    """Where one notebook's things lie in a run's folder."""

    run: Path
    name: str

    @property
    def executed(self) -> Path:
        """The executed notebook; it exists only when the notebook ran to its end."""
        return self.run / "notebooks" / f"{self.name}.ipynb"

    @property
    def partial(self) -> Path:
        """The executed notebook while it runs."""
        return self.run / "notebooks" / f"{self.name}.partial.ipynb"

    @property
    def failed(self) -> Path:
        """The notebook as far as it came, when it failed."""
        return self.run / "notebooks" / f"{self.name}.failed.ipynb"

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.run / "pages" / f"{self.name}.html"

    @property
    def log(self) -> Path:
        """What the notebook's processes printed outside of its cells."""
        return self.run / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """The folder of what the notebook leaves for later ones."""
        return self.run / "records" / self.name

    @property
    def progress(self) -> Path:
        """How far the notebook is; written by `helpers.settings.report_progress`."""
        return self.run / "progress" / f"{self.name}.json"

    @property
    def result(self) -> Path:
        """How the notebook's process ended; written by `tools/execute.py`."""
        return self.run / "progress" / f"{self.name}.result.json"


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Make the run's folder ready, and keep others out of it while it is in use.

    Raises LabError when another run of the same name is under way. The lock goes with the
    process, however it ends.
    """
    try:
        for part in ("notebooks", "pages", "logs", "progress"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+", encoding="utf-8")
    except OSError as error:
        raise LabError(
            f"{folder}: cannot be written ({error.strerror}); set MUSICLAB_HOME to a folder "
            "that you may write to"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise LabError(
                f"a run named {folder.name!r} is under way (process {lock.read().strip() or '?'}); "
                "wait for it, or choose another name with --name"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # Without its history file, which would grow with every run.
        write_kernel_spec(folder / "jupyter", "--HistoryManager.enabled=False")
        _point_latest_at(folder)
        yield


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
    settings.write_atomically(path, json.dumps(spec, indent=1) + "\n")


def _point_latest_at(folder: Path) -> None:
    """Let `runs/latest` name the newest run: a link, or a text file where links cannot be made."""
    latest = folder.parent / "latest"
    new = folder.parent / f".latest.{os.getpid()}"
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(folder.name, target_is_directory=True)
        os.replace(new, latest)
    except OSError:
        new.unlink(missing_ok=True)
        settings.write_atomically(latest, folder.name + "\n")
