"""The real lab, killed at ten moments, or run twenty times: what the next run makes of it.

    python -m tests.kill_runs [--moments 10] [--data DIR]
    python -m tests.kill_runs --repeat 20 [--data DIR]

All notebooks with the profile smoke on a small demo set, in a temporary folder. The first command
takes some minutes for each moment: after a run that nothing disturbs, each moment begins with a
copy of its home as that was before the notebook concerned, in which a run is started, killed with
all that it started (kill -9), and run again. `results.csv` must then be that of the undisturbed
run, byte for byte. The second command repeats the run with --force and looks for growth. Both print
a table and exit with 1 when something is not as it should be. pytest does not collect this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.small_lab import ROOT, STOP, family, leftovers, running_in
from tools.common.notebooks import NOTEBOOKS
from tools.common.run_folder import Paths

NAMES = [notebook.name for notebook in NOTEBOOKS]
RUN = "killed"
LONGEST_SECONDS = 1800
# What a repeated run may differ by: times are printed with more or fewer digits.
SPARE_BYTES, SPARE_MEMORY = 16_384, 1.1


@dataclass(frozen=True)
class Home:
    """A MUSICLAB_HOME of our own, and the data that runs in it learn from."""

    folder: Path
    data: str

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "runs" / RUN

    def progress(self, name: str) -> dict[str, Any]:
        """What a notebook, or the building of the demo set, reports of itself just now."""
        try:
            return json.loads(Paths(self.run, name).progress.read_text())
        except (OSError, ValueError):
            return {}

    def start(self, *options: str, stop_at: str = "") -> subprocess.Popen:
        """Start the runner; with `stop_at` it waits before such a file is put in its place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hook, temporary = self.folder.parent / "hook", self.folder / "temporary"
        for folder in (hook, temporary):
            folder.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(STOP)
        env = {name: value for name, value in os.environ.items() if "MUSICLAB" not in name}
        env |= {
            "MUSICLAB_HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(hook), str(ROOT)]),
            "TMPDIR": str(temporary),
            "TEST_STOPS_AT": stop_at,
            "TEST_STOPPED": str(self.stopped),
        }
        self.stopped.unlink(missing_ok=True)
        with open(self.folder.parent / "output.txt", "w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tools.run.command", "--data", self.data, "--profile",
                 "smoke",
                 "--name", RUN, *options],
                cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def stopped(self) -> Path:
        """The file that appears when a run has come to where it was to stop."""
        return self.folder.parent / "stopped"

    def run_to_the_end(self, *options: str) -> tuple[float, float]:
        """Run all notebooks: seconds, and the runner's own peak memory in MiB. Exits on failure."""
        begin, peak = time.monotonic(), 0.0
        process = self.start(*options)
        while process.poll() is None:
            with suppress(psutil.Error):
                peak = max(peak, psutil.Process(process.pid).memory_info().rss / 2**20)
            time.sleep(0.1)
        if process.returncode != 0:
            output = (self.folder.parent / "output.txt").read_text()
            sys.exit(f"a run ended with {process.returncode}:\n{output[-4000:]}")
        return time.monotonic() - begin, peak

    def results(self) -> bytes:
        """The results of all notebooks."""
        return (self.run / "results.csv").read_bytes()

    def as_before(self, name: str, folder: Path) -> Home:
        """A copy of this home in which `name` and the notebooks after it have not run yet."""
        home = Home(Path(shutil.copytree(self.folder, folder, symlinks=True)), self.data)
        if name == "demo_set":
            shutil.rmtree(home.folder)
            return home
        for later in NAMES[NAMES.index(name) :]:
            paths = Paths(home.run, later)
            shutil.rmtree(paths.record)
            for path in (paths.note, paths.executed, paths.page):
                path.unlink()
        for path in (home.run / "results.csv", home.run / "summary.json"):
            path.unlink()
        return home


@dataclass(frozen=True)
class Moment:
    """When a run is killed: `before` which notebook it starts, and what is waited for.

    That is either a file which is written and not yet in its place, or something reported.
    """

    what: str
    before: str
    stop_at: str = ""
    reported: Callable[[dict[str, Any]], bool] = lambda progress: False


def _share(share: float) -> Callable[[dict[str, Any]], bool]:
    return lambda progress: progress.get("done", 0) >= share * progress.get("total", 1e9)


def _epoch(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda progress: progress.get("epoch", 0) >= number


MOMENTS = (
    Moment("demo set, a quarter made", "demo_set", reported=_share(0.25)),
    Moment("demo set, nine tenths made", "demo_set", reported=_share(0.9)),
    Moment("packing the full clips", "05_lstm", "*/packed/*genre_spectrograms-train*"),
    Moment("packing the beat clips", "05_lstm", "*/packed/*genre_spectrograms_beat-train*"),
    Moment("training in 05", "05_lstm", reported=_epoch(1)),
    Moment("training in 07", "07_cnn", reported=_epoch(2)),
    Moment("training in 08", "08_regression", reported=_epoch(1)),
    Moment("training in 10", "10_multitask", reported=_epoch(2)),
    Moment("writing all results", "11_kaggle_submission", f"*/runs/{RUN}/results.csv"),
    Moment("writing the summary", "11_kaggle_submission", f"*/runs/{RUN}/summary.json"),
)


def kill_at(home: Home, moment: Moment) -> str:
    """Start a run, kill it with all that it started at the moment; a word on what was seen."""
    process = home.start(stop_at=moment.stop_at)
    end = time.monotonic() + LONGEST_SECONDS
    seen: dict[str, Any] = {}
    while not home.stopped.exists() and not moment.reported(seen):
        if process.poll() is not None:
            return "the moment never came"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
        seen = home.progress(moment.before)
    for one in family(process):
        one.kill()
    process.wait()
    while running_in(home.folder):
        assert time.monotonic() < end, "processes remain"
        time.sleep(0.05)
    return ", ".join(f"{k} {v}" for k, v in seen.items() if k in ("model", "epoch", "done"))


def kill_and_compare(place: Path, data: str, n_moments: int) -> bool:
    """The first command; True when every results.csv was as it should be."""
    whole = Home(place / "undisturbed" / "home", data)
    whole.folder.parent.mkdir()
    seconds, _ = whole.run_to_the_end()
    print(f"undisturbed run: {seconds:.0f} s, {len(whole.results().splitlines()) - 1} results")
    moments = [m for m in MOMENTS if data == "demo" or m.before != "demo_set"]
    n_moments = min(n_moments, len(moments))
    step = (len(moments) - 1) / max(n_moments - 1, 1)
    print(f"{'killed while':28} {'seen':32} {'next run':>9}  results.csv  left behind")
    good = True
    for number in range(n_moments):
        moment = moments[round(number * step)]
        folder = place / str(number)
        folder.mkdir()
        home = whole.as_before(moment.before, folder / "home")
        if "packed" in moment.stop_at:
            shutil.rmtree(home.folder / ".cache" / "packed")
        seen = kill_at(home, moment)
        seconds, _ = home.run_to_the_end()
        same = home.results() == whole.results()
        left = leftovers(home.folder)
        good &= same and not left and seen != "the moment never came"
        state = "equal" if same else "DIFFERS"
        print(
            f"{moment.what:28} {seen[:32]:32} {seconds:7.0f} s  {state:11}  "
            f"{', '.join(left) or 'nothing'}",
            flush=True,
        )
        if good:
            shutil.rmtree(folder)
    return good


def repeat(place: Path, data: str, n_runs: int) -> bool:
    """The second command; True when nothing grew after the second run."""
    home = Home(place / "home", data)
    rows: list[tuple[float, ...]] = []
    print("run  seconds       bytes  files  temporary  notebooks' peak MiB  runner's peak MiB")
    for number in range(1, n_runs + 1):
        seconds, own = home.run_to_the_end("--force")
        files = [path for path in home.folder.rglob("*") if path.is_file()]
        summary = json.loads((home.run / "summary.json").read_text())
        row = (
            sum(path.stat().st_size for path in files),
            len(files),
            len(leftovers(home.folder)),
            max(row["peak_mb"] for row in summary["notebooks"]),
            own,
        )
        rows.append(row)
        print("{:3d} {:8.0f} {:11d} {:6d} {:10d} {:20.0f} {:18.0f}".format(number, seconds, *row))
        sys.stdout.flush()
    print(f"still running: {running_in(home.folder) or 'nothing'}")
    grown = _growth(rows[1:])
    print(f"grown after the second run: {', '.join(grown) or 'nothing'}")
    return not grown and not running_in(home.folder)


def _growth(rows: list[tuple[float, ...]]) -> list[str]:
    """What the second half of the runs has more of than the first half, by their medians."""
    half = len(rows) // 2
    if not half:
        return []
    first, second = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (rows[:half], rows[half:])
    )
    names = ("bytes", "files", "temporary files", "the notebooks' memory", "the runner's memory")
    limits = (first[0] + SPARE_BYTES, *first[1:3], *(SPARE_MEMORY * peak for peak in first[3:]))
    return [n for n, now, limit in zip(names, second, limits, strict=True) if now > limit]


def main() -> int:
    """Run the command line; 0 when all was as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=10, help="how many of the ten (default: 10)")
    parser.add_argument("--repeat", type=int, metavar="N", help="run N times instead")
    parser.add_argument("--data", default="demo", help="a data folder (default: the demo set)")
    options = parser.parse_args()
    data = options.data if options.data == "demo" else str(Path(options.data).resolve())
    with tempfile.TemporaryDirectory(prefix="musiclab-kill-") as folder:
        place = Path(folder).resolve()
        if options.repeat:
            good = repeat(place, data, options.repeat)
        else:
            good = kill_and_compare(place, data, options.moments)
    print("all as it should be" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
