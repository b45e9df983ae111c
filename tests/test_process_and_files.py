"""The device, what the runner is told, how files are written, and what a process keeps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from helpers.machinery import files, process
from helpers.machinery.files import LabError
from tests.two_processes import settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What computing on each GPU gives: an error's text, or nothing where it works. None at all."""
    found: list[str] = []

    def ones(*shape: int, device: str) -> torch.Tensor:
        if error := found[int(device.removeprefix("cuda:"))]:
            raise RuntimeError(error)
        return torch.full(shape, 1.0)

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Tesla P100")
    return found


TOO_OLD = "CUDA error: no kernel image is available for execution on the device\nSee documentation"


def test_the_device_is_chosen_or_refused_with_a_remedy(gpus, monkeypatch, capsys):
    assert process.find_device("auto") == (torch.device("cpu"), "no GPU answers")
    assert process.pick_device("cpu") == torch.device("cpu")
    assert re.fullmatch(r"computing on cpu; trainings in b?float(16|32)\n", capsys.readouterr().out)
    gpus += ["", ""]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert process.find_device("auto") == (torch.device("cuda"), "Tesla P100")
    assert not torch.backends.cudnn.allow_tf32
    assert process.find_device("cuda:1")[0] == torch.device("cuda:1")
    for name, said in {
        "cuda:first": "unknown device 'cuda:first'",
        "cuda:2": "'cuda:2' is not available here.*from 0, and there are 2; use --device cuda",
    }.items():
        with pytest.raises(LabError, match=said):
            process.find_device(name)
    gpus[0] = TOO_OLD
    assert process.find_device("auto")[0] == torch.device("cuda:1")
    gpus[1] = "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has 14.74 GiB, 1 MiB is free."
    device, why = process.find_device("auto")
    assert device == torch.device("cpu")
    assert why.startswith("Tesla P100 is there, but cannot compute (CUDA out of memory. Tried")
    on_p100 = (
        r"Tesla P100 is there, but cannot compute \(CUDA error: no kernel image.*device\); on "
    )
    with pytest.raises(LabError, match=on_p100 + "Kaggle, choose GPU T4 x2"):
        process.find_device("cuda")
    with monkeypatch.context() as torchrun, pytest.raises(LabError, match="out of memory"):
        for setting in settings(1).items():  # the others would wait for one that is on the CPU
            torchrun.setenv(*setting)
        process.find_device("auto")
    monkeypatch.setattr(process, "KAGGLE_INPUT", ROOT)
    with pytest.raises(LabError, match="cannot compute"):
        process.find_device("auto")


def test_a_driver_that_is_too_old_is_named(gpus, monkeypatch):
    old = "The NVIDIA driver on your system is too old (found version 11040)."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(warnings.warn(old, stacklevel=1)))
    assert process.find_device("auto") == (torch.device("cpu"), old)
    with pytest.raises(LabError, match=r"not available here \(The NVIDIA driver.*; use --device"):
        process.find_device("cuda")


def test_a_full_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**29, 2**34))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    full = r"cuda \(Tesla T4\): its memory is full: 0.5 of 16.0 GiB are free; lower batch_size"
    with pytest.raises(LabError, match=full), process.computing(nn.ReLU(), torch.device("cuda")):
        raise torch.OutOfMemoryError("CUDA out of memory.")


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


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with these variables and none about memory."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "MUSICLAB_"))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=clean | variables, cwd=ROOT, capture_output=True, text=True)


def test_a_bug_still_shows_where_it_is():
    done = python("import helpers\n1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


# Of 400 MB in arrays, written to and freed, next to nothing or nearly all is still held.
HELD = """
import helpers, numpy as np, psutil
held = lambda: psutil.Process().memory_info().rss
before = held()
arrays = [np.ones(5_000_000) for _ in range(10)]
del arrays
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's malloc")
@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("MUSICLAB_KEEP_MEMORY", "0", False),
        ("MALLOC_ARENA_MAX", "2", False),
        ("MALLOC_TRIM_THRESHOLD_", "65536", True),  # a worker of Dask
    ],
)
def test_freed_memory_stays_with_the_process_unless_the_user_says_otherwise(name, value, kept):
    assert (int(python(HELD, **{name: value}).stdout) > 200e6) == kept
