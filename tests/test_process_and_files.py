"""Seeds, the device, where things are written, and how a mistake of the user is shown."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from helpers.machinery import files, process
from helpers.machinery.files import LabError

ROOT = Path(__file__).resolve().parents[1]


# ---- seeds, device, progress -------------------------------------------------------------------


def test_a_seed_fixes_all_random_numbers():
    def draw() -> tuple[float, float, float]:
        process.seed_everything(5)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draw() == draw()


def test_the_device_is_chosen_or_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert process.pick_device("auto") == process.pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert process.pick_device("auto") == torch.device("cuda")
    assert process.pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(LabError, match="unknown device 'cuda:first'"):
        process.pick_device("cuda:first")
    with pytest.raises(LabError, match="'cuda:2' is not available here.*from 0, and there are 2"):
        process.pick_device("cuda:2")


def test_progress_is_reported_only_when_somebody_listens(tmp_path, monkeypatch):
    process.report_progress(epoch=1)  # no listener: nothing happens
    monkeypatch.setenv("MUSICLAB_PROGRESS", str(tmp_path / "progress.json"))
    process.report_progress(epoch=2, train_loss=0.5)
    assert (tmp_path / "progress.json").read_text() == '{"epoch": 2, "train_loss": 0.5}'


# ---- folders and files -------------------------------------------------------------------------


def test_caches_and_runs_lie_below_the_home(home):
    assert files.cache_dir() == home / ".cache"
    assert files.runs_dir() == home / "runs"
    assert (home / ".cache").is_dir() and (home / "runs").is_dir()


def test_without_a_home_the_checkout_is_used(monkeypatch):
    monkeypatch.delenv("MUSICLAB_HOME")
    assert files.project_root() == ROOT


def test_on_kaggle_a_mounted_checkout_writes_to_the_working_folder(tmp_path, monkeypatch):
    checkout, working = tmp_path / "input" / "kit", tmp_path / "working"
    for folder in (checkout / "helpers", checkout / "notebooks", working):
        folder.mkdir(parents=True)
    (checkout / "run_all.sh").touch()
    monkeypatch.delenv("MUSICLAB_HOME")
    monkeypatch.setattr(files, "__file__", str(checkout / "helpers" / "machinery" / "files.py"))
    assert files.project_root() == checkout, "anywhere else"
    monkeypatch.setattr(files, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(files, "KAGGLE_WORKING", working)
    assert files.project_root() == working


def test_a_file_is_written_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    files.write_atomically(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    files.write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [entry.name for entry in path.parent.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "No space left"), LabError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_ends_a_write_leaves_the_old_file_and_nothing_half_written(
    tmp_path, monkeypatch, error, raised
):
    path = tmp_path / "results.csv"
    files.write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", Mock(side_effect=error))
    with pytest.raises(raised):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


def test_only_leftovers_of_dead_processes_are_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    dead, huge = 2**22 + 1, 10**30  # above any process's number
    removed = [tmp_path / "sub" / f".results.csv.{owner}.abc.part" for owner in (dead, huge)]
    kept = [tmp_path / f".a.b.{os.getpid()}.abc.part", tmp_path / "own.part", tmp_path / ".x.part"]
    for path in removed + kept:
        path.touch()
    files.remove_leftovers(tmp_path)
    assert not any(path.exists() for path in removed) and all(path.exists() for path in kept)
    files.remove_leftovers(tmp_path / "absent")


# ---- how mistakes are shown --------------------------------------------------------------------


def test_a_bug_still_shows_where_it_is():
    done = subprocess.run(
        [sys.executable, "-c", "import helpers\n1 / 0"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_notebook_shows_a_mistake_as_one_line():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("import helpers\nraise helpers.files.LabError('file:3: mend it')")
    assert "LabError: file:3: mend it" in shown.stdout
    assert "Traceback" not in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's malloc")
@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("MUSICLAB_KEEP_MEMORY", "0", False), ("MALLOC_ARENA_MAX", "2", False), ("X", "0", True)],
)
def test_freed_memory_stays_with_the_process_unless_the_user_says_otherwise(name, value, kept):
    """Of 400 MB in arrays, written to and freed, next to nothing or nearly all is still held."""
    code = (
        "import helpers, numpy as np, psutil\n"
        "held = lambda: psutil.Process().memory_info().rss\n"
        "before = held()\n"
        "arrays = [np.ones(5_000_000) for _ in range(10)]\n"
        "del arrays\n"
        "print(held() - before)"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "MUSICLAB_"))}
    answer = subprocess.run(
        [sys.executable, "-c", code], env={**clean, name: value}, cwd=ROOT, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (int(answer.stdout) > 200e6) == kept
