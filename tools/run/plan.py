"""What one run is: its data, profile, device, name and folders, settled before anything starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from helpers import folders
from helpers.machinery.files import (
    LabError,
    demo_data,
    did_you_mean,
    one_line,
    project_root,
    read_json,
)
from helpers.machinery.one_per_gpu import visible_gpus
from helpers.machinery.own_music import CLIPS
from helpers.machinery.process import find_device, usable_cores
from helpers.machinery.profiles import ALL, DEMO, RUNNER, Profile, brief, is_number, load_profile
from helpers.notebook.records import INTERACTIVE_RUN
from tools.common.notebooks import ROOT, Lab, drift
from tools.common.run_folder import Paths, first_in
from tools.run.processes import memory_available, threads_available

KAGGLE = "kaggle"
GPU_PROFILE = "full"
DEMO_TASK = "demo_set"  # the building of the demo set, which comes before all notebooks
TIMEOUT_MINUTES = 60.0  # the time limit, where the profile does not say
LEFT_OUT = "left_out.json"
AFFECT = "08_regression"  # which begins what is done with the affect values
NO_AFFECT = (
    "{} has no values of valence, energy and danceability, so what needs them is left out (steps 8 "
    "to 11); build-data takes them with --affect or from a manifest"
)
GIB_PER_JOB = 3  # no notebook holds more at a time (README: what to expect)
OBSERVED = {f"MUSICLAB_{name}" for name in ("DATA", "HOME", "KEEP_MEMORY", "HEADLESS")}
# Without one of these no GPU can answer, and asking PyTorch would cost a second or two.
_GPU_DRIVERS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_RUN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class Plan:
    """A run, settled: everything that the tasks need to know."""

    lab: Lab
    data: Path
    profile: Profile
    device: str
    name: str
    selected: tuple[str, ...]
    force: bool = False
    jobs: int = 1
    gpus: tuple[str, ...] = ()  # which notebooks side by side are spread over
    skip_bad: bool = False

    @property
    def is_demo(self) -> bool:
        """Whether the data are the demo set, which may still have to be built."""
        return folders.is_demo(self.data)

    @property
    def folder(self) -> Path:
        """The folder that holds all of this run."""
        return project_root() / "runs" / self.name

    @property
    def notebooks(self) -> list[str]:
        """The selected notebooks and all they need, in order."""
        return self.lab.with_needs(self.selected)

    def paths(self, name: str) -> Paths:
        """Where the things of one notebook lie."""
        return Paths(self.folder, name)

    def parameters(self, name: str) -> dict[str, Any]:
        """All parameters that one notebook runs with."""
        own = self.lab.read(name).parameters
        return self.profile.parameters(name, own) | self.overrides(name)

    def overrides(self, name: str) -> dict[str, Any]:
        """What papermill passes to one notebook: what is not as in its own cell."""
        return self.profile.overrides(name) | {"data": str(self.data), "device": self.device}

    @property
    def timeout_minutes(self) -> float:
        """How long a notebook, or the building of the demo set, may take before it is stopped."""
        return float(self.profile.sections.get(RUNNER, {}).get("timeout_minutes", TIMEOUT_MINUTES))

    def digest_inputs(self, task: str) -> dict[str, Any]:
        """All that a notebook's results depend on, except the notebooks it needs.

        The data folder counts by its content, so that moving it reruns nothing. Of the demo set:
        the code that makes it.
        """
        if task == DEMO_TASK:
            return {"code": self.lab.digest(["import demo_music.build"])}
        return {
            "code": self.lab.code_digest(task),
            "parameters": {**self.parameters(task), "data": self.fingerprint},
            "left_out": {place: sorted(what) for place, what in self.left_out.items()},
        }

    @property
    def left_out(self) -> dict[str, dict[str, str]]:
        """With `--skip-bad`: what was found to leave out, and why, by split."""
        return read_json(self.folder / LEFT_OUT).get("left_out", {}) if self.skip_bad else {}

    @property
    def demo_size(self) -> float:
        """The size of demo set that the profile wants; 1.0 is the whole."""
        return float(self.parameters(self.lab.names[0]).get("demo_size", 1.0))

    @cached_property
    def fingerprint(self) -> str:
        """A short name for the content of the data folder, which must exist by now."""
        from helpers.notebook.soundness import data_fingerprint

        return data_fingerprint(self.data)

    def environment(self) -> dict[str, str]:
        """The environment of a process of this run."""
        env = {k: v for k, v in os.environ.items() if k not in ("MUSICLAB_PROFILE", "MPLBACKEND")}
        return env | {
            "MUSICLAB_RUN": self.name,
            "MUSICLAB_DATA": str(self.data),
            "MUSICLAB_HOME": str(project_root()),
            "MUSICLAB_HEADLESS": "1",
            "MUSICLAB_LEFT_OUT": str(self.folder / LEFT_OUT) if self.skip_bad else "",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": first_in("PYTHONPATH", self.lab.root),
            "JUPYTER_PATH": first_in("JUPYTER_PATH", self.folder / "jupyter"),
            "IPYTHONDIR": str(self.folder / "jupyter" / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }

    def described(self) -> list[tuple[str, str]]:
        """What is said before a run starts: (what, value)."""
        state = "" if folders.demo_size() >= self.demo_size else ", to be built first"
        data = f"demo set ({_short(self.data)}{state})" if self.is_demo else _short(self.data)
        ignored = sorted({name for name in os.environ if name.startswith("MUSICLAB_")} - OBSERVED)
        device = self.device if self.device != "auto" else f"auto ({resolved_device('auto')})"
        each = f", over {len(self.gpus)} GPUs" if len(self.gpus) > 1 else ""
        return [
            ("data", data),
            ("profile", self.profile.name),
            ("device", device),
            ("threads", str(threads_available())),
            ("jobs", f"{self.jobs} (notebooks side by side{each})" if self.jobs > 1 else "1"),
            ("run", self.name),
            ("results", f"{_short(self.folder)} (open pages/index.html in a browser)"),
            *([("skip-bad", "bad clips and label rows are left out")] if self.skip_bad else []),
            *([] if has_affect(self.data) else [("note", NO_AFFECT.format(data))]),
            *([("ignored", f"{', '.join(ignored)} (see --help)")] if ignored else []),
            *(("note", note) for note in (*self._little_memory(), *self._scripts_ahead())),
        ]

    def _little_memory(self) -> Iterator[str]:
        """A line when the memory may not be enough."""
        free, wanted = memory_available() / 2**30, GIB_PER_JOB * self.jobs
        if free < wanted:
            remedy = "take --jobs 1" if self.jobs > 1 else "close other programs"
            yield (
                f"only {free:.1f} GiB of memory are free, and up to {wanted} GiB may be needed; "
                f"{remedy} if a notebook runs out of it"
            )

    def _scripts_ahead(self) -> Iterator[str]:
        """A line for each `py/NN.py` that was edited without its notebook, which runs."""
        for name in self.notebooks:
            script, notebook = self.lab.script(name), self.lab.read(name).path
            newer = script.is_file() and script.stat().st_mtime > notebook.stat().st_mtime
            if newer and drift(script, notebook):
                yield (
                    f"py/{name}.py is ahead of notebooks/{name}.ipynb, which is what runs; "
                    "python -m tools.checks.pairs --sync writes the notebooks anew from py/"
                )


def make_plan(
    lab: Lab,
    *,
    data: str | None = None,
    profile: str | None = None,
    device: str | None = None,
    name: str | None = None,
    only: list[str] | None = None,
    force: bool = False,
    jobs: str = "auto",
    skip_bad: bool = False,
) -> Plan:
    """Settle a run from what the user asked for.

    Raises LabError for an unknown notebook, profile, parameter or device, for a data folder that
    is none, for a name that is no file name, and for a number of jobs that is none.
    """
    named = None if only is None else " ".join(only).replace(",", " ").split()
    words = lab.names if named is None else named
    if not words:
        raise LabError("--only names no notebook; for example --only 05,06")
    selected = [lab.find(word) for word in words]
    given = load_profile(profile) if profile else None
    if given:
        _check_profile(lab, given, lab.with_needs(selected))
    defaults = given.overrides("") if given else {}
    device = device or str(defaults.get("device", "auto"))
    if device != "auto":
        resolved_device(device)
    folder = _find_data(data or str(defaults.get("data", "auto")))
    if not has_affect(folder):
        without = [name for name in selected if AFFECT in lab.with_needs([name])]
        if named and without:
            raise LabError(f"{without[0]}: {NO_AFFECT.format(folder)}")
        selected = [name for name in selected if name not in without]
    if given is None:
        small = folders.is_demo(folder) or resolved_device(device) == "cpu"
        given = load_profile(DEMO if small else GPU_PROFILE)
    return Plan(
        lab=lab,
        data=folder,
        profile=given,
        device=device,
        name=_checked_name(name) if name else _default_name(folder, given),
        selected=tuple(selected),
        force=force,
        jobs=min(_number_of_jobs(jobs, device), len(lab.with_needs(selected))),
        gpus=tuple(gpus_for(device)),
        skip_bad=skip_bad,
    )


def _check_profile(lab: Lab, profile: Profile, selected: Iterable[str]) -> None:
    """Raise LabError for what a profile says of no notebook, and for a time limit that is none.

    papermill would only warn, and the run would silently use the notebook's own value.
    """
    profile.check_sections(lab.names)
    for name in lab.names:
        if name in profile.sections or name in selected:
            profile.parameters(name, lab.read(name).parameters)
        for setting in sorted({"data", "device"} & profile.sections.get(name, {}).keys()):
            raise LabError(
                f"{profile.where(name, setting)}: {setting} is one for all notebooks; write it in "
                f"section {ALL!r}, or give --{setting}"
            )
    for setting, minutes in profile.sections.get(RUNNER, {}).items():
        place = profile.where(RUNNER, setting)
        if setting != "timeout_minutes":
            raise LabError(
                f"{place}: unknown parameter {setting!r} in section {RUNNER!r}"
                f"{did_you_mean(setting, ['timeout_minutes'])}; known: timeout_minutes"
            )
        if not (is_number(minutes) and minutes > 0):
            raise LabError(
                f"{place}: timeout_minutes is {brief.repr(minutes)} but must be a number above 0; "
                "write for example 60"
            )


def has_affect(data: Path) -> bool:
    """Whether a data folder has affect values; the user's own music may come without.

    Of the lab's data a folder that is missing is a mistake, and its notebooks say so.
    """
    return not (data / CLIPS).is_file() or (data / folders.MULTITASK).is_dir()


def _find_data(data: str) -> Path:
    """The data folder. A search that finds nothing ends at the demo set, built or not."""
    if data == KAGGLE:
        from tools.kaggle.data import fetch_data

        return fetch_data().resolve()
    try:
        return folders.find_data(data).resolve()
    except LabError:
        # A folder that the user named and that is none must not become the demo set.
        if data != DEMO and (data != "auto" or os.environ.get("MUSICLAB_DATA")):
            raise
        return demo_data().resolve()


@cache
def resolved_device(device: str) -> str:
    """What a device comes to on this machine, `auto` above all: `cpu`, `cuda` or `cuda:1`.

    Raises LabError for one that is none, or does not compute.
    """
    if not any(map(os.path.exists, _GPU_DRIVERS)) and shutil.which("nvidia-smi") is None:
        return "cpu" if device in ("auto", "cpu") else str(find_device(device)[0])
    # In a process of its own: what has computed on a GPU keeps some of its memory.
    ask = (
        "import sys; from helpers.machinery.process import find_device as f; print(*f(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": first_in("PYTHONPATH", ROOT)},
    )  # fmt: skip
    if done.returncode:
        raise LabError(one_line(done.stderr.strip().rpartition("error: ")[2]))
    return done.stdout.split()[0]


def _number_of_jobs(jobs: str, device: str) -> int:
    """How many notebooks may run side by side; `auto` is 2, or one per GPU, where there is room.

    Notebooks compute with as many threads whatever this is, so that their results are the same.
    """
    if jobs.isdecimal() and int(jobs) > 0:
        return int(jobs)
    if jobs != "auto":
        raise LabError(f"--jobs {jobs} is no number of notebooks; give 1 or more, or auto")
    room = min(usable_cores(), int(memory_available() / 2**30 / GIB_PER_JOB))
    wanted = 2 if resolved_device(device) == "cpu" else len(gpus_for(device))
    return max(1, min(room, wanted))


def gpus_for(device: str) -> list[str]:
    """The GPUs that notebooks side by side are spread over; none for one that the user chose."""
    return visible_gpus() if resolved_device(device) == "cuda" else []


def _default_name(data: Path, profile: Profile) -> str:
    source = folders.data_name(data)
    name = source if source == profile.name else f"{source}-{Path(profile.name).stem}"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return safe[:80] or "run"


def _checked_name(name: str) -> str:
    taken = ("latest", INTERACTIVE_RUN)  # of which the second holds what a student has made
    if not _RUN_NAME.fullmatch(name) or name in taken:
        raise LabError(
            f"run name {name[:90]!r}: use at most 81 letters, digits, '.', '_' and '-' (and not "
            f"{' or '.join(map(repr, taken))}); it becomes a folder below runs/"
        )
    return name


def _short(path: Path) -> str:
    """A path as seen from the working folder where it lies below it, else whole."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
