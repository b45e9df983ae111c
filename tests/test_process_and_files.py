"""The device, what the runner is told, how files are written, and what a process keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from helpers.machinery import files, process
from helpers.machinery.files import LabError

ROOT = Path(__file__).resolve().parents[1]


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


# ---- folders and files -------------------------------------------------------------------------


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


def test_an_interrupted_write_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    files.write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
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


# ---- what `import helpers` does to a process ---------------------------------------------------


def test_a_bug_still_shows_where_it_is():
    done = subprocess.run(
        [sys.executable, "-c", "import helpers\n1 / 0"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


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
