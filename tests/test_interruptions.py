"""Runs that are killed, interrupted, or repeated: the next one completes, and nothing piles up."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import write_mini_data
from tests.small_lab import (
    ROOT,
    SmallLab,
    alive,
    family,
    kill_all,
    leftovers,
    running_in,
    wait_until,
)

DEMO = ("--data", "demo", "--only", "5")
DEMO_TWO = ("--data", "demo", "--only", "0", "5", "--jobs", "2")

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


@pytest.fixture(scope="module")
def undisturbed(made: SmallLab, tmp_path_factory: pytest.TempPathFactory) -> SmallLab:
    """A copy of it in which 05 has run to its end, undisturbed. Do not write to it."""
    small = copy_of(made, tmp_path_factory.mktemp("undisturbed") / "lab")
    assert small.start(*DEMO).wait(120) == 0
    return small


def copy_of(small: SmallLab, root: Path) -> SmallLab:
    return SmallLab(Path(shutil.copytree(small.root, root, symlinks=True)))


def results(small: SmallLab) -> bytes:
    return (small.folder / "results.csv").read_bytes()


def kill_runner(process: subprocess.Popen) -> None:
    """kill -9 of the runner's process group, in which it is alone: what it started must notice."""
    os.killpg(process.pid, signal.SIGKILL)


def sending(number: signal.Signals) -> Callable[[subprocess.Popen], None]:
    return lambda process: process.send_signal(number)


def stop_at(
    small: SmallLab, moment: str, stop: Callable[[subprocess.Popen], None], *options: str
) -> int:
    """Stop a run at a moment, and wait until nothing of it is left; its exit code."""
    process = small.start(*options, stop_at=MOMENTS[moment])
    wait_until(lambda: small.stopped.exists() or process.poll() is not None)
    assert process.poll() is None, f"the run ended before the moment {moment!r}"
    members = family(process)
    stop(process)
    code = process.wait(60)
    wait_until(lambda: not any(alive(member) for member in members))
    return code


# ---- kill -9 -----------------------------------------------------------------------------------


def test_killed_ten_times_on_its_way_a_run_completes(made, undisturbed, tmp_path):
    """Each time everything is killed at once; each next run comes at least one moment further."""
    small = copy_of(made, tmp_path / "lab")
    for moment in MOMENTS:
        assert stop_at(small, moment, kill_all, *DEMO) == -signal.SIGKILL, moment
        present = small.folder / "results.csv"
        assert not present.exists() or results(small) == results(undisturbed), moment
    assert small.start(*DEMO).wait(120) == 0
    assert results(small) == results(undisturbed)
    assert leftovers(small.root) == [] and running_in(small.root) == []


@pytest.mark.parametrize("moment", ["packing", "training: results"])
def test_when_only_the_runner_is_killed_all_that_it_started_ends(
    moment, made, undisturbed, tmp_path
):
    """Two at a time; 05 is stopped where the moment says, 00 wherever it is then."""
    small = copy_of(made, tmp_path / "lab")
    assert stop_at(small, moment, kill_runner, *DEMO_TWO) == -signal.SIGKILL
    assert small.start(*DEMO_TWO).wait(120) == 0
    assert results(small) == results(undisturbed)
    assert leftovers(small.root) == [] and running_in(small.root) == []


# ---- Ctrl-C, kill, a closed terminal -----------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_ends_what_it_started_and_goes_on(jobs, made, undisturbed, tmp_path):
    """Exit code 130, nothing half written even before the next run, and no work done twice."""
    small = copy_of(made, tmp_path / "lab")
    options = ("--data", "demo", "--only", "0", "5", "--jobs", jobs)
    for number, moment in (
        (signal.SIGHUP, "demo set: a clip"),
        (signal.SIGINT, "training: a checkpoint"),
        (signal.SIGTERM, "runner: all results"),
    ):
        code = stop_at(small, moment, sending(number), *options)
        assert code == 130, moment
        assert leftovers(small.root) == [] and running_in(small.root) == [], moment
    assert small.executed() == ["05_train"]
    assert small.start(*options).wait(120) == 0
    assert small.statuses() == {"00_begin": "up to date", "05_train": "up to date"}
    assert results(small) == results(undisturbed)


# ---- a disk that is full or read-only ----------------------------------------------------------


def test_what_cannot_be_written_whole_is_told_in_one_line(tmp_path):
    """No file may grow beyond a limit, which stands for the place where a disk is full."""
    small = SmallLab.made(tmp_path / "lab")
    for limit, said in (
        (0, f"{small.folder}: cannot be written (File too large)"),
        (1000, "OSError: [Errno 27] File too large"),  # the executed notebook
        (8000, "05_train.html: cannot be written (File too large)"),
    ):
        process = small.start(
            "--only", "5", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            limit=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
        )  # fmt: skip
        out, _ = process.communicate(timeout=120)
        assert process.returncode in (1, 2) and "Traceback" not in out, out
        assert any(said in line for line in out.splitlines()), out
        assert leftovers(small.root) == []
        assert not list(small.folder.glob("notebooks/*.failed.ipynb"))
    assert small.start("--only", "5").wait(120) == 0
    assert small.statuses()["05_train"] == "up to date"


# A disk of its own for `runs`, seen by these processes only: read-only, then small, then larger.
ON_A_DISK = """
run() { $PYTHON -m tests.small_lab $ROOT --only 5; echo "exit $?"; find $ROOT -name '*.part*'; }
mkdir -p $ROOT/runs && mount -t tmpfs -o ro,size=1m tmpfs $ROOT/runs || exit 77
run
mount -o remount,rw $ROOT/runs
run
mount -o remount,size=64m $ROOT/runs
run
cat $ROOT/runs/t/results.csv
"""


def test_a_read_only_or_full_disk_is_one_line_and_a_later_run_completes(tmp_path):
    small = SmallLab.made(tmp_path / "lab")
    big = "(record('05_train') / 'big').write_bytes(bytes(2**21))"
    small.write("05_train", f"from helpers.small import record\nleave('05_train', 0.25)\n{big}")
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no program unshare, so a small disk cannot be tried here")
    env = {"MUSICLAB_HOME": str(small.root), "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    done = subprocess.run(
        [unshare, "--mount", "--map-root-user", "sh", "-c", ON_A_DISK], cwd=ROOT, text=True,
        env=os.environ | env | {"ROOT": str(small.root)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=240,
    )  # fmt: skip
    if done.returncode == 77 or "unshare failed" in done.stdout:
        pytest.skip("this user may not mount a small disk")
    first, code, second, code_2, third, *rest = re.split(r"^exit (\d+)\n", done.stdout, flags=re.M)
    assert (code, code_2, rest[0]) == ("2", "2", "0"), done.stdout
    assert f"error: {small.folder}: cannot be written (Read-only file system); free some" in first
    assert f"05_train failed: the disk that holds {small.folder} is full (0 MiB left)" in second
    assert re.search(r"error: .*: cannot be written \(No space left on device\); free", second)
    assert "05_train: done" in third and "05_train,m,mel,full,accuracy,0.25,0,1,0,10\n" in rest[1]
    assert "Traceback" not in done.stdout and ".part" not in done.stdout


# ---- many runs ---------------------------------------------------------------------------------

REPEATED = """
import gc, json, os, sys
from pathlib import Path
import psutil
from tests.small_lab import SmallLab

small, runs, states = SmallLab(Path(sys.argv[1])), int(sys.argv[2]), []
for _ in range(runs):
    assert small.run("--only", "0", "5", "--jobs", "2", "--force") == 0
    files = [path for path in small.root.rglob("*") if path.is_file()]
    gc.collect()
    states.append({
        "bytes": sum(path.stat().st_size for path in files if path.suffix not in (".txt", ".log")),
        "logs": sum(path.stat().st_size for path in files if path.suffix == ".log"),
        "files": len(files),
        "temporary": sorted(os.listdir(os.environ["TMPDIR"])),
        "passing": sorted(os.listdir(small.folder / "progress")),
        "processes": len(psutil.Process().children(recursive=True)),
        "threads": psutil.Process().num_threads(),
        "open": psutil.Process().num_fds(),
        "memory_mb": psutil.Process().memory_info().rss / 2**20,
    })
print("STATES" + json.dumps(states))
"""


@pytest.mark.smoke
@pytest.mark.timeout(900)
def test_repeated_runs_grow_neither_disk_nor_memory(tmp_path):
    """Bytes below home, temporary files, processes, threads and open files are as after the third.

    Of the bytes, a few are digits of times. A log is longer when a kernel had to be started again.
    """
    small = SmallLab.made(tmp_path / "lab")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", REPEATED, str(small.root), "8"], cwd=ROOT, text=True, check=False,
        env=os.environ | {
            "MUSICLAB_HOME": str(small.root), "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary),
        },
        capture_output=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    states = json.loads(done.stdout.rpartition("STATES")[2])
    third, last = states[2], states[-1]
    for what in ("files", "temporary", "passing", "processes", "threads", "open"):
        assert last[what] == third[what], (what, states)
    assert last["passing"] == last["temporary"] == [] and last["processes"] == 0
    assert abs(last["bytes"] - third["bytes"]) < 100, [state["bytes"] for state in states]
    assert last["logs"] < 20_000
    assert last["memory_mb"] < third["memory_mb"] + 5, [state["memory_mb"] for state in states]
