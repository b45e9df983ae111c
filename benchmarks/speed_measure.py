"""How things are compared: two processes in turns, medians and quartiles, a folder to fill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.speed_table import Row, Stat
from helpers.machinery.files import LabError, cache_dir

ROOT = Path(__file__).resolve().parents[1]
GIBIBYTE = 2**30
REST_SECONDS = 0.02  # between turns: OpenMP threads of the side before spin for a few milliseconds
SPARE_BYTES = GIBIBYTE  # disk and memory that must stay free


# ---- what a group of rows is given -------------------------------------------------------------


@dataclass
class Context:
    """The settings of one run of the benchmark, and the folder that it may fill."""

    quick: bool
    device: str  # cpu, or a CUDA device
    scratch: Path  # emptied in the end
    audio: Path | None = None
    whole_lab: bool = False
    say: Callable[[str], None] = print
    kept: dict[str, Any] = field(default_factory=dict)  # what several groups of rows share

    @property
    def on_cuda(self) -> bool:
        """Whether models are computed on a CUDA device."""
        return self.device.startswith("cuda")

    @property
    def seconds(self) -> float:
        """How long one comparison may go on."""
        return 6.0 if self.quick else 40.0

    def worker(
        self, factory: str, *, plain: bool = False, one_thread: bool = False, **options: Any
    ) -> Worker:
        """A process for one side. `plain` ones have PyTorch's own settings, not the kit's."""
        environment = worker_environment(self.scratch, one_thread)
        if plain:
            environment["MUSICLAB_KEEP_MEMORY"] = "0"  # memory as PyTorch alone has it
        first = "torch" if plain and not one_thread else None
        return Worker(factory, options, environment, first)


@dataclass(frozen=True)
class Group:
    """Rows that are measured together; `--only` takes its name, or the part before a hyphen."""

    name: str
    measure: Callable[[Context], list[Row]]


@contextmanager
def scratch_folder(place: Path | None = None) -> Iterator[Path]:
    """A new folder in `place` (default: the kit's cache, which lies on a real disk)."""
    place = place or cache_dir()
    place.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=f"benchmark-{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(place: Path) -> None:
    """Gigabytes that a killed benchmark has left: its folder tells its process."""
    import psutil

    for folder in place.glob("benchmark-*-*"):
        process = folder.name.split("-")[1]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def worker_environment(scratch: Path, one_thread: bool) -> dict[str, str]:
    """The environment of a side: its caches in the scratch folder, nothing of this process's own.

    The kit sets OpenMP's waiting by itself when it is imported; the plain side must not inherit it.
    """
    from demo_music.build import ONE_THREAD

    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICLAB_")}
    kept.pop("OMP_WAIT_POLICY", None)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        "MUSICLAB_HOME": str(scratch / "home"),
        "MUSICLAB_HEADLESS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONWARNINGS": "ignore",
    }
    return kept | own | (ONE_THREAD if one_thread else {})


def need_disk(folder: Path, n_bytes: float) -> None:
    """Raises LabError, with the number, when the disk has no room for so much."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes + SPARE_BYTES:
        raise LabError(
            f"{folder}: needs {(n_bytes + SPARE_BYTES) / GIBIBYTE:.1f} GiB of free disk and there "
            f"are {free / GIBIBYTE:.1f}; take --quick, or another disk with --scratch DIR"
        )


def need_memory(n_bytes: float) -> None:
    """Raises LabError, with the number, when the plain way would not fit into memory."""
    import psutil

    free = psutil.virtual_memory().available
    if free < n_bytes + SPARE_BYTES:
        raise LabError(
            f"the plain way needs {(n_bytes + SPARE_BYTES) / GIBIBYTE:.1f} GiB of free memory and "
            f"there are {free / GIBIBYTE:.1f}; take --quick"
        )


# ---- processes ---------------------------------------------------------------------------------


class Worker:
    """A side in a process of its own (see speed_worker); ends with its `with` block."""

    def __init__(
        self,
        factory: str,
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        first: str | None = None,
    ) -> None:
        self.name = factory.rpartition(":")[2]
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        command = [sys.executable, "-m", "benchmarks.speed_worker"]
        command += ["--first", first] if first else []
        self._process = subprocess.Popen(
            [*command, factory, json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            env=dict(environment),
        )

    def __enter__(self) -> Worker:
        try:
            self._answer()  # it is ready
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def warm_up(self) -> None:
        """Let it do what happens only once."""
        self._ask(do="warm_up")

    def time(self, runs: int = 1, watch: bool = False, **how: Any) -> dict[str, Any]:
        """Run it; `seconds` of each run, and memory and disk use of all of them together."""
        return self._ask(do="time", runs=runs, watch=watch, how=how)

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """The arrays that it is compared by."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.npz"
            self._ask(do="save", path=str(path), how=how)
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)

    def facts(self) -> dict[str, Any]:
        """What it says of itself."""
        return self._ask(do="facts")

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(OSError):  # a pipe that still holds a command
            self._process.communicate()
        self._errors.close()

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _died(self) -> LabError:
        code = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        return LabError(f"{self.name} ended with code {code}: {last}")


@dataclass(frozen=True)
class Turn:
    """One entry of a round: so many runs of a worker, done in this way."""

    name: str
    worker: Worker
    runs: int = 1
    how: Mapping[str, Any] = field(default_factory=dict)


Rounds = dict[str, list[list[float]]]  # turn -> round -> seconds of its runs


def in_turns(turns: Sequence[Turn], seconds: float, *, least: int = 3, most: int = 50) -> Rounds:
    """A B, B A, A B, ... for about so many seconds: the turns' times, round by round.

    Every other round goes backwards, so that a machine that grows slower favours nobody.
    """
    rounds: Rounds = {turn.name: [] for turn in turns}
    begin = time.perf_counter()
    for number in range(most):
        if number >= least and time.perf_counter() - begin > seconds:
            break
        for turn in turns if number % 2 == 0 else reversed(turns):
            time.sleep(REST_SECONDS)
            rounds[turn.name].append(turn.worker.time(turn.runs, **turn.how)["seconds"])
    return rounds


def stat_of(rounds: Sequence[Sequence[float]]) -> Stat:
    """Median and quartiles over all runs of a turn."""
    return Stat.of([value for values in rounds for value in values])


def ratio_of(plain: Sequence[Sequence[float]], kit: Sequence[Sequence[float]]) -> Stat:
    """Plain over kit, over all pairs of runs of the same round: above 1 the kit is better."""
    pairs = [p / k for ps, ks in zip(plain, kit, strict=True) for p in ps for k in ks]
    return Stat.of(pairs)


# ---- agreement ---------------------------------------------------------------------------------


def relative_difference(kit: np.ndarray, plain: np.ndarray) -> float:
    """The norm of the difference over the norm of `plain`; infinite for other shapes."""
    if kit.shape != plain.shape:
        return float("inf")
    norm = float(np.linalg.norm(plain.astype(np.float64)))
    difference = float(np.linalg.norm(kit.astype(np.float64) - plain.astype(np.float64)))
    return difference / norm if norm else (0.0 if difference == 0 else float("inf"))


def largest_difference(
    kit: Mapping[str, np.ndarray], plain: Mapping[str, np.ndarray], prefix: str
) -> float:
    """The largest `relative_difference` of the arrays whose name begins with `prefix`."""
    names = {name for name in (*kit, *plain) if name.startswith(prefix)}
    if not names or any(name not in kit or name not in plain for name in names):
        return float("inf")
    return max(relative_difference(kit[name], plain[name]) for name in names)
