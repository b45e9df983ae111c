"""Profiles, seeds, the compute device, and where caches and runs live.

Everything else in the kit imports this module; it imports nothing of the kit.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch

# While PyTorch's threads wait for each other they spin by default, and then any other busy program
# makes a training step several times slower. OpenMP reads this when PyTorch is first imported, so
# it stands here, above all other imports of the kit.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Options of glibc's mallopt(3): when freed memory is given back to the system, how many blocks may
# come from mmap (which are given back at once), and how many heaps the threads have.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def _keep_freed_memory() -> None:
    """Let the C library keep what a training step frees for the next one.

    By default glibc gives large arrays back to the system at once, and each step gets its memory
    anew, page by page and filled with zeros: a step then takes up to twice as long. Left alone
    with `MUSICLAB_KEEP_MEMORY=0`, where the user has set malloc up by its own environment
    variables, and on other systems.
    """
    set_up = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or set_up or os.environ.get("MUSICLAB_KEEP_MEMORY") == "0":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_ARENA_MAX, 1)


_keep_freed_memory()

PROFILE_FOLDER = Path(__file__).parent / "profiles"
ROOT_MARKERS = ("run_all.sh", "notebooks")
KAGGLE_INPUT, KAGGLE_WORKING = Path("/kaggle/input"), Path("/kaggle/working")

PARAMETERS_FOR_ALL = "all"
RUNNER_SECTION = "runner"
DEFAULT_TIMEOUT_MINUTES = 60.0
PARTIAL_SUFFIX = ".part"
_A_PLACE_TO_WRITE = "free some space or choose another folder with MUSICLAB_HOME"


class LabError(Exception):
    """A mistake that the user can mend: what was wrong, where, and what to do next, in one line.

    Shown as that one line, without a traceback, in notebooks and in scripts.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def _show_lab_errors_as_one_line() -> None:
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


_show_lab_errors_as_one_line()


# ---- folders -----------------------------------------------------------------------------------


def project_root() -> Path:
    """The folder in which `.cache/` and `runs/` are made.

    `$MUSICLAB_HOME` when set; else the checkout that holds this package; else (the package was
    copied somewhere alone, or lies below Kaggle's inputs, which are read-only) Kaggle's working
    folder or the current one.
    """
    home = os.environ.get("MUSICLAB_HOME")
    if home:
        return Path(home).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[1]
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
            f"{path}: cannot be written ({error.strerror}); {_A_PLACE_TO_WRITE}"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def require_space(folder: Path, n_bytes: float, what: str) -> None:
    """Raise LabError, with the number, when the disk of a folder has less room than that.

    Asked before something large is begun, so that nothing is half made.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise LabError(
            f"{folder}: {what} needs {n_bytes / 2**20:.0f} MiB here and {free / 2**20:.0f} MiB are "
            "free; make room, or choose another folder with MUSICLAB_HOME"
        )


def remove_leftovers(folder: Path) -> None:
    """Delete what `write_atomically` left half written below `folder` when it was killed.

    The files of processes that are still alive stay.
    """
    for path in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        owner = path.name.split(".")[-3]
        if owner.isdigit() and not _is_alive(int(owner)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


# ---- profiles ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """The parameters of every notebook under one name; sizes and epochs, never behaviour."""

    name: str
    sections: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def parameters(self, notebook: str) -> dict[str, Any]:
        """The flat parameters of one notebook: the section `all`, then its own on top."""
        return {
            **self.sections.get(PARAMETERS_FOR_ALL, {}),
            **self.sections.get(notebook, {}),
        }

    def timeout_minutes(self, notebook: str) -> float:
        """How long the notebook may run before the runner stops it, in minutes."""
        limit = self.sections.get(RUNNER_SECTION, {}).get(
            "timeout_minutes", DEFAULT_TIMEOUT_MINUTES
        )
        if isinstance(limit, Mapping):
            limit = limit.get(notebook, limit.get("default", DEFAULT_TIMEOUT_MINUTES))
        return float(limit)


def profile_names() -> list[str]:
    """The names of the profiles that come with the kit."""
    return sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read a profile by name, or from a `.yaml` file of the user's own.

    What a profile leaves out is as in the demo profile. Raises LabError for an unknown name, a file
    that is no YAML mapping, and for a parameter that the demo profile does not have or has with
    another type.
    """
    path = PROFILE_FOLDER / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise LabError(
                f"{path}: no such profile file; give one that exists, or one of "
                f"{', '.join(profile_names())}"
            )
    elif not path.is_file():
        raise LabError(
            f"unknown profile {name!r}{did_you_mean(name, profile_names())}; known: "
            f"{', '.join(profile_names())}, or give the path of a .yaml file of your own"
        )
    sections, where = _read_yaml_sections(path)
    if path.resolve() == (PROFILE_FOLDER / "demo.yaml").resolve():
        return Profile("demo", sections)
    demo = load_profile("demo")
    _check_against_demo(sections, demo, where)
    names = [*demo.sections, *(name for name in sections if name not in demo.sections)]
    merged = {name: {**demo.sections.get(name, {}), **sections.get(name, {})} for name in names}
    return Profile(path.stem, merged)


# Where a section, or a parameter in it, stands: `file:line`, or the file where that is unknown.
_Where = Callable[..., str]


def _read_yaml_sections(path: Path) -> tuple[dict[str, dict[str, Any]], _Where]:
    import yaml

    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
        content = yaml.safe_load(text)
        lines = _lines_of(yaml.compose(text, yaml.SafeLoader))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LabError(f"{path}:{line}: no UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise LabError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    except Exception as error:  # PyYAML's own, and what it lets through, as for a date like 13-45
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise LabError(f"{place}: no valid YAML ({problem}); correct the line") from error

    def where(*keys: object) -> str:
        line = lines.get(tuple(map(str, keys)))
        return f"{path}:{line}" if line else str(path)

    if not isinstance(content, dict):
        raise LabError(
            f"{path}: a profile is a mapping of sections (all, 05_lstm, ...); write for example "
            "05_lstm: {epochs: 3}"
        )
    for section, values in content.items():
        if not isinstance(values, dict):
            raise LabError(
                f"{where(section)}: section {section!r} must be a mapping of parameter: value; "
                "write for example 05_lstm: {epochs: 3}"
            )
    return content, where


def _lines_of(node: Any, keys: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """The line, counted from 1, of each section and each of its parameters in a YAML tree."""
    lines: dict[tuple[str, ...], int] = {}
    if getattr(node, "id", "") == "mapping" and len(keys) < 2:
        for key, value in node.value:
            inner = (*keys, str(key.value))
            lines[inner] = key.start_mark.line + 1
            lines |= _lines_of(value, inner)
    return lines


def _check_against_demo(
    sections: Mapping[str, Mapping[str, Any]], demo: Profile, where: _Where
) -> None:
    for section, values in sections.items():
        if section != PARAMETERS_FOR_ALL and section not in demo.sections:
            known = sorted(demo.sections)
            raise LabError(
                f"{where(section)}: unknown section {section!r}{did_you_mean(section, known)}; "
                f"known: {', '.join(known)}"
            )
        runner = section == RUNNER_SECTION
        expected = demo.sections[section] if runner else demo.parameters(section)
        for name, value in values.items():
            place = where(section, name)
            if name not in expected:
                raise LabError(
                    f"{place}: unknown parameter {name!r} in section {section!r}"
                    f"{did_you_mean(name, expected)}; known: {', '.join(sorted(expected))}"
                )
            if runner:
                _check_minutes(place, value, list(demo.sections))
            else:
                _check_type(place, f"{section}.{name}", value, expected[name])


def _check_type(where: str, name: str, value: object, example: object) -> None:
    if isinstance(example, float) and _is_number(value):
        return
    if type(value) is not type(example):
        raise LabError(
            f"{where}: {name} is {value!r} ({type(value).__name__}) but must be "
            f"{type(example).__name__}; write for example {example!r}"
        )
    if isinstance(example, list) and isinstance(value, list) and example:
        for item in value:
            _check_type(where, f"an entry of {name}", item, example[0])


def _check_minutes(where: str, value: object, notebooks: list[str]) -> None:
    """`runner.timeout_minutes`: a number of minutes, or a mapping of notebook to minutes."""
    limits = value if isinstance(value, Mapping) else {"default": value}
    for name, minutes in limits.items():
        if name != "default" and name not in notebooks:
            raise LabError(
                f"{where}: timeout_minutes names {name!r}{did_you_mean(name, notebooks)}; use "
                "names of notebooks, or default"
            )
        if not (_is_number(minutes) and minutes > 0):
            raise LabError(
                f"{where}: timeout_minutes is {minutes!r} but must be a number above 0; write "
                "for example 60"
            )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def apply_profile(namespace: dict[str, Any]) -> None:
    """Overwrite a notebook's parameters with those of `$MUSICLAB_PROFILE`, when it is set.

    `namespace` is the notebook's `globals()`; its variable `notebook` names the section.
    """
    name = os.environ.get("MUSICLAB_PROFILE")
    if not name:
        return
    notebook = namespace["notebook"]
    parameters = load_profile(name).parameters(notebook)
    unknown = sorted(set(parameters) - set(namespace))
    if unknown:
        raise LabError(
            f"profile {name}: {notebook} has no parameter {', '.join(unknown)}; take it out of the "
            "profile, or add it to the notebook's parameter cell"
        )
    namespace.update(parameters)
    print(f"parameters of profile {name!r} applied")


def did_you_mean(word: str, known: Mapping[str, object] | list[str]) -> str:
    """A hint for an error message: ` (did you mean 'x'?)`, or nothing when nothing is close."""
    close = get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ---- seeds and device --------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices), so that a rerun gives the same numbers."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on: `auto` takes CUDA when a GPU answers, else the CPU.

    Raises LabError for an unknown name and for a device that this machine does not have.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    kind = name.split(":", 1)[0]
    if kind not in available:
        raise LabError(f"unknown device {name!r}; known: auto, {', '.join(available)}")
    if not available[kind]():
        raise LabError(f"device {name!r} is not available here; use --device auto or cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LabError(f"unknown device {name!r}; write for example cuda or cuda:0") from error
    if kind == "cuda" and (device.index or 0) >= (n_gpus := torch.cuda.device_count()):
        raise LabError(
            f"device {name!r} is not available here: GPUs are counted from 0, and there are "
            f"{n_gpus}; use --device cuda"
        )
    return device


# ---- bad data ----------------------------------------------------------------------------------


def skip_bad() -> bool:
    """True when `$MUSICLAB_SKIP_BAD` is `1`: bad clips and label rows are left out, not refused."""
    return os.environ.get("MUSICLAB_SKIP_BAD") == "1"


# ---- talking to the runner ---------------------------------------------------------------------


def headless() -> bool:
    """True when the runner executes the notebook: progress bars stay out of the outputs."""
    return os.environ.get("MUSICLAB_HEADLESS") == "1"


def report_progress(**values: object) -> None:
    """Tell the runner how far we are: one JSON object in the file `$MUSICLAB_PROGRESS`."""
    path = os.environ.get("MUSICLAB_PROGRESS")
    if path:
        write_atomically(Path(path), json.dumps(values))
