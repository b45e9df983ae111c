"""Folders, atomic writes, and the one kind of error that users see as one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT_MARKERS = ("run_all.sh", "notebooks")
KAGGLE_INPUT, KAGGLE_WORKING = Path("/kaggle/input"), Path("/kaggle/working")
PARTIAL_SUFFIX = ".part"
# What says something of a file; after any other answer of the machine's it may be whole.
_ITS_OWN_FAULT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class LabError(Exception):
    """A mistake that the user can mend: what was wrong, where, and what to do next, in one line.

    Shown as that one line, without a traceback, in notebooks and in scripts.
    """

    def __str__(self) -> str:
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class MachineError(LabError):
    """The machine could not read a file that may be whole, and is not to be left out."""


def blame_machine(path: str | Path, problem: object) -> None:
    """Raise MachineError unless the problem is one of the file itself."""
    if isinstance(problem, MemoryError):
        problem = OSError(errno.ENOMEM, "not enough memory for it")
    if isinstance(problem, OSError) and problem.errno not in _ITS_OWN_FAULT:
        reason = f"could not be read ({problem.strerror})"
        raise MachineError(f"{path}: {reason}; mend that and run this again")


def show_lab_errors_as_one_line() -> None:
    """In plain scripts, print a LabError, or Ctrl-C, as one line on stderr.

    Python then exits with 1, or ends by SIGINT (which shells show as 130).
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, LabError):
            print(f"error: {error}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            print(
                "interrupted; what was stored is whole, run the same command again for the rest",
                file=sys.stderr,
            )
        else:
            previous(kind, error, trace)

    sys.excepthook = hook


def project_root() -> Path:
    """The folder in which `.cache/` and `runs/` are made.

    `$MUSICLAB_HOME` when set; else the checkout that holds this package; else (the package was
    copied somewhere alone, or lies below Kaggle's inputs, which are read-only) Kaggle's working
    folder or the current one.
    """
    home = os.environ.get("MUSICLAB_HOME")
    if home:
        # not Path.resolve(), which gives up on a link to itself
        return Path(os.path.realpath(os.path.expanduser(home)))
    checkout = Path(__file__).resolve().parents[2]
    whole = all((checkout / marker).exists() for marker in ROOT_MARKERS)
    if whole and not checkout.is_relative_to(KAGGLE_INPUT):
        return checkout
    return KAGGLE_WORKING if KAGGLE_WORKING.is_dir() else Path.cwd()


def cache_dir() -> Path:
    """The folder for what can be made again: the demo set and packed features. Created."""
    return _made(project_root() / ".cache")


def runs_dir() -> Path:
    """The folder that holds one sub-folder per run. Created."""
    return _made(project_root() / "runs")


def demo_data() -> Path:
    """Where the data folder of the demo set is, or will be once it is built."""
    return cache_dir() / "demo" / "data"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"{folder}: cannot make this folder ({error.strerror}); "
            "set MUSICLAB_HOME to a folder that you may write to"
        ) from error
    return folder


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: a temporary name in the same folder, then a rename.

    Raises LabError when the folder is read-only or the disk is full. Nothing half written stays
    after that or after Ctrl-C; after `kill -9`, `remove_leftovers` takes it away.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}.{os.getpid()}."  # whose it is, for remove_leftovers
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=PARTIAL_SUFFIX)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as error:
        raise LabError(
            f"{path}: cannot be written ({error.strerror}); free some space or {_elsewhere(path)}"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """The text of a file of the data. Raises LabError, with the line of what is no UTF-8."""
    raw = b""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would never end
            raise OSError(errno.ENOENT, "no regular file")
        raw = path.read_bytes()
        if b"\0" in raw:  # UTF-16 that does not say so is valid UTF-8, with a NUL per letter
            raise UnicodeDecodeError("utf-8", raw, raw.index(b"\0"), raw.index(b"\0") + 1, "NUL")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        again = get_again(path, "save the file as UTF-8")
        raise LabError(f"{path}:{line}: no UTF-8 text; {again}") from None
    except OSError as error:
        blame_machine(path, error)
        raise LabError(f"{path}: cannot be read ({error.strerror}); {get_again(path)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none, or none yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def require_space(folder: Path, n_bytes: float, what: str) -> None:
    """Raise LabError, with the number, when the disk of a folder has less room than that.

    Asked before something large is begun, so that nothing is half made.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise LabError(
            f"{folder}: {what} needs {n_bytes / 2**20:.0f} MiB here and {free / 2**20:.0f} MiB are "
            f"free; make room, or {_elsewhere(folder)}"
        )


def _elsewhere(path: Path) -> str:
    """What to do where a disk is full; MUSICLAB_HOME moves only what lies below it."""
    inside = Path(os.path.realpath(path)).is_relative_to(project_root())
    return "choose another folder" + " with MUSICLAB_HOME" * inside


def remove_leftovers(folder: Path) -> None:
    """Delete what `write_atomically` left half written below `folder` when it was killed.

    The files of processes that are still alive stay.
    """
    import psutil

    for path in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        owner = path.name.split(".")[-3]
        if owner.isdecimal() and not (len(owner) < 10 and psutil.pid_exists(int(owner))):
            path.unlink(missing_ok=True)


def one_line(error: object) -> str:
    """What an error of another program says, at most 240 letters; of a list, its first entry."""
    head, *entries = str(error).splitlines() or [type(error).__name__]
    text = entries[0] if entries and head.endswith(":") else str(error)
    return textwrap.shorten(text, 240, placeholder=" ...") or type(error).__name__


def printable(text: str) -> str:
    """A text as one line; what a terminal would obey, or turn the line around at, is spelt out.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """What a file says, for a message: quoted, and not longer than a line."""
    said = repr(text[:100])  # what cannot be printed takes several letters
    return said if len(said) <= 82 else f"{said[:81]}...{said[0]}"


def get_again(path: str | Path, remedy: str = "download or unpack the data again") -> str:
    """What to do about a file or folder of the data that is damaged or gone."""
    demo = project_root() / ".cache" / "demo"
    if not Path(os.path.realpath(path)).is_relative_to(demo):  # also for a link to itself
        return remedy
    return f"delete {demo}, and ./run_all.sh or notebook 00 builds it again"


def did_you_mean(word: str, known: Mapping[str, object] | list[str]) -> str:
    """A hint for an error message: ` (did you mean 'x'?)`, or nothing when nothing is close."""
    close = get_close_matches(str(word)[:80], list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
