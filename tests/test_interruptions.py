"""Runs that are killed, interrupted, or repeated: the next one completes, and nothing piles up."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from tests.conftest import write_mini_data
from tests.small_lab import NAMES, SmallLab, kill_all, leftovers, running_in, wait_until

pytestmark = pytest.mark.timeout(900)  # for a busy machine: idle, none takes a minute

DEMO = ("--data", "demo", "--only", "5")
TWO = ("--data", "demo", "--only", "0", "5", "--jobs", "2")

# What is written, and not yet in its place, when a run is stopped: all the way from the demo set
# to the last page.
MOMENTS = {
    "demo set: a clip": "*/demo/data/fma_genre_spectrograms_beat/train/*",
    "demo set: its end": "*/demo/complete.json",
    "packing": "*/packed/*-train-*",
    "training: a checkpoint": "*/records/05_train/checkpoints/*",
    "training: results": "*/records/05_train/results.csv",
    "runner: the executed notebook": "*/notebooks/05_train.ipynb",
    "runner: a page": "*/pages/05_train.html",
    "runner: all results": "*/runs/t/results.csv",
    "runner: the summary": "*/runs/t/summary.json",
    "runner: the index": "*/pages/index.html",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallLab:
    """The small lab, with a demo set to be copied; it has not run. Do not write to it."""
    root = tmp_path_factory.mktemp("made")
    write_mini_data(root / "source")
    small = SmallLab.made(root / "lab")
    small.add_demo_set(root / "source")
    return small


def copy_of(small: SmallLab, root: Path) -> SmallLab:
    return SmallLab(Path(shutil.copytree(small.root, root, symlinks=True)))


def results(small: SmallLab) -> bytes:
    return (small.folder / "results.csv").read_bytes()


def size(small: SmallLab) -> tuple[int, int]:
    """How many files there are, and how many KiB they hold."""
    sizes = [path.stat().st_size for path in small.root.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) // 1024


def stop_at(
    small: SmallLab, moment: str, stop: Callable[[subprocess.Popen], None], *options: str
) -> int:
    """Stop a run at a moment, and wait until nothing of it works any more; its exit code."""
    process = small.start(*options, stop_at=MOMENTS[moment])
    wait_until(lambda: small.stopped.exists() or process.poll() is not None)
    assert process.poll() is None, f"the run ended before the moment {moment!r}"
    stop(process)
    code = process.wait(180)
    wait_until(lambda: not running_in(small.root))
    return code


def test_killed_ten_times_on_its_way_a_run_completes(made, tmp_path):
    """By kill -9 of everything at once, or of the runner alone: what it started must notice.

    Each next run comes at least one moment further. After all these runs the folder holds no more
    than after one.
    """
    small, undisturbed = copy_of(made, tmp_path / "lab"), copy_of(made, tmp_path / "undisturbed")
    assert undisturbed.start(*DEMO).wait(300) == 0
    for moment, kill in zip(MOMENTS, cycle((kill_all, subprocess.Popen.kill)), strict=False):
        assert stop_at(small, moment, kill, *DEMO) == -signal.SIGKILL, moment
        present = small.folder / "results.csv"
        assert not present.exists() or results(small) == results(undisturbed), moment
    assert small.start(*DEMO).wait(300) == 0
    assert results(small) == results(undisturbed)
    assert leftovers(small.root) == [] and running_in(small.root) == []
    (n_files, kib), (n_expected, kib_expected) = size(small), size(undisturbed)
    assert n_files == n_expected and abs(kib - kib_expected) < 20


def test_a_run_that_is_told_to_stop_ends_what_it_started_and_goes_on(made, tmp_path):
    """By a closed terminal or a polite kill; Ctrl-C stands in the table of wrong input."""
    small = copy_of(made, tmp_path / "lab")
    for number, moment in (
        (signal.SIGHUP, "training: a checkpoint"),
        (signal.SIGTERM, "runner: all results"),
    ):
        send = partial(subprocess.Popen.send_signal, sig=number)
        assert stop_at(small, moment, send, *TWO) == 130, moment
        assert leftovers(small.root) == [], moment
    assert small.executed() == ["05_train"]
    assert small.start(*TWO).wait(300) == 0
    assert small.statuses() == dict.fromkeys(NAMES[:2], "up to date"), "no work is done twice"


def test_what_cannot_be_written_whole_is_told_in_one_line(tmp_path):
    """No file may grow beyond a limit, which stands for the place where a disk is full."""
    small = SmallLab.made(tmp_path / "lab")
    for limit, said in (
        (1000, "OSError: [Errno 27] File too large"),  # the executed notebook
        (8000, "05_train.html: cannot be written (File too large)"),
    ):
        process = small.start(
            "--only", "5", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            limit=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
        )  # fmt: skip
        out, _ = process.communicate(timeout=300)
        assert process.returncode in (1, 2) and "Traceback" not in out, out
        assert any(said in line for line in out.splitlines()), out
        assert leftovers(small.root) == []
        assert not list(small.folder.glob("notebooks/*.failed.ipynb"))
    assert small.start("--only", "5").wait(300) == 0
    assert small.statuses()["05_train"] == "up to date"
