"""tools/setup/setup.sh: the environment is made once, whole or not at all, and only when needed.

Run for real, but with a stand-in for Python that makes environments in no time and installs
nothing; it writes down what it was asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.small_lab import wait_until
from tools.common.notebooks import ROOT
from tools.setup import warm_up

NVIDIA_HERE = bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia").exists()
STAND_IN = (ROOT / "tests" / "stand_in_python.sh").read_text(encoding="utf-8")


class Kit:
    """A small checkout (its path has a space) and the commands to set it up."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a kit"
        self.bin = folder / "bin"
        self.calls = folder / "calls.txt"
        self.python = self.root / ".venv" / "bin" / "python"
        (self.root / "tools" / "setup").mkdir(parents=True)
        for name in ("setup.sh", "check_environment.py"):
            shutil.copy(ROOT / "tools" / "setup" / name, self.root / "tools" / "setup")
        (self.root / "helpers").mkdir()
        (self.root / "helpers" / "__init__.py").touch()
        (self.root / "pyproject.toml").write_text("[project]\ndependencies = []\n")
        (self.root / "requirements.lock").write_text("torch==2.13.0\n")
        set_up = 'source "$(dirname "$0")/tools/setup/setup.sh"'
        (self.root / "use.sh").write_text(f'set -euo pipefail\n{set_up}\necho "$PYTHON"\n')
        for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
            self.executable(self.bin / name, STAND_IN)

    def executable(self, path: Path, text: str) -> Path:
        """Writes a script that can be run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def start(self, **settings: str) -> subprocess.Popen[str]:
        """Begins a set-up, from another folder, in a process group of its own."""
        unset = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON", "PYTHONPATH", "KAGGLE_KERNEL_RUN_TYPE")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        kept |= {"PATH": f"{self.bin}:/usr/bin:/bin", "CALLS": str(self.calls)}
        kept["PYTHON_OF_THE_TESTS"] = sys.executable
        return subprocess.Popen(
            ["bash", str(self.root / "use.sh")], env=kept | settings, cwd=self.bin, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, **settings: str) -> tuple[int, str, str]:
        """Runs a set-up to its end: exit status, what $PYTHON was set to, what it said."""
        process = self.start(**settings)
        out, said = process.communicate(timeout=60)
        return process.returncode, out.strip(), said

    def count(self, call: str) -> int:
        """How often a stand-in was asked for something."""
        return self.calls.read_text().split("\n").count(call) if self.calls.exists() else 0

    def check(self, times_made: int) -> None:
        """A further set-up takes `.venv`, which was made so many times, without any wait."""
        assert self.run()[:2] == (0, str(self.root / ".venv" / "bin" / "python"))
        assert self.count("venv") == times_made


def is_installing(process: subprocess.Popen[str]) -> bool:
    """Whether a process has started the sleep that the stand-in installs with."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return "sleep" in [child.name() for child in children]
    return False


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """A checkout without an environment."""
    return Kit(tmp_path)


def test_the_environment_is_made_once(kit):
    status, python, said = kit.run()
    assert (status, python) == (0, str(kit.python))
    assert "Setting up .venv" in said and "ready (" in said and "Compiling" in said
    asked_for = kit.calls.read_text()
    assert f"-r {kit.root}/requirements.lock" in asked_for
    assert f"--editable {kit.root}" in asked_for
    assert kit.run() == (0, str(kit.python), "")
    kit.check(times_made=1)
    assert kit.count("warm up") == 1


def test_a_changed_lock_or_a_moved_checkout_makes_it_anew_even_while_it_is_active(kit):
    kit.run()
    (kit.root / "requirements.lock").write_text("torch==2.13.0\nnumpy==2.4.6\n")
    path = f"{kit.python.parent}:{kit.bin}:/usr/bin:/bin"
    status, python, _ = kit.run(VIRTUAL_ENV=str(kit.root / ".venv"), PATH=path)
    assert (status, python) == (0, str(kit.python))
    kit.check(times_made=2)
    assert kit.count("warm up") == 2
    kit.root = kit.root.rename(kit.root.with_name("moved"))
    kit.check(times_made=3)


@pytest.mark.parametrize(
    ("hindrance", "words", "times_made"),
    [
        ("NO_NETWORK", ["no network at all", "Set-up failed: installing requirements.lock"], 2),
        ("WARM_UP_STATUS", ["Set-up failed: compiling librosa's inner loops did not work"], 1),
        ("TOO_OLD", ["no Python 3.11, 3.12 or 3.13 found", "PYTHON="], 1),
        ("NO_VENV", ["sudo apt install python3-venv"], 1),
    ],
)
def test_a_failure_shows_its_cause_and_is_not_taken_as_done(kit, hindrance, words, times_made):
    status, python, said = kit.run(**{hindrance: "1"})
    assert status == 1 and python == ""
    assert all(word in said for word in words)
    kit.check(times_made)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_set_up_is_begun_anew(kit, how):
    process = kit.start(SECONDS_TO_INSTALL="30")
    # Not earlier: a Ctrl-C between a shell's fork and exec is lost, and the shell goes on waiting.
    wait_until(lambda: is_installing(process))
    os.killpg(process.pid, how)
    assert process.wait(timeout=20) != 0
    process.communicate()
    kit.check(times_made=2)


def test_two_at_once_make_one_environment(kit):
    both = [kit.start(SECONDS_TO_INSTALL="0.4") for _ in range(2)]
    taken = [process.communicate(timeout=60)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert taken == [str(kit.python)] * 2
    kit.check(times_made=1)
    assert kit.count("warm up") == 1


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_satisfies_is_used(kit, tmp_path, variable):
    active = kit.executable(tmp_path / "mine" / "bin" / "python", STAND_IN)
    setting = {variable: str(tmp_path / "mine")}
    assert kit.run(**setting)[:2] == (0, str(active))
    assert kit.run(**setting) == (0, str(active), "")
    assert kit.count("venv") == 0 and kit.count("warm up") == 1


def test_an_active_environment_that_lacks_something_is_not(kit, tmp_path):
    kit.executable(tmp_path / "mine" / "bin" / "python", STAND_IN)
    (kit.root / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=99", "no-such"]\n')
    status, python, said = kit.run(CONDA_PREFIX=str(tmp_path / "mine"))
    assert (status, python) == (0, str(kit.python))
    assert f"Not taken, the active environment {tmp_path / 'mine'}: numpy is " in said
    assert "needed >=99; no-such is missing" in said


def test_an_environment_made_by_hand_is_kept(kit):
    kit.executable(kit.python, STAND_IN)
    kit.check(times_made=0)


def test_a_crash_while_warming_up_clears_the_cache(tmp_path, monkeypatch):
    cached = tmp_path / "util" / "__pycache__" / "utils.nbi"
    cached.parent.mkdir(parents=True)
    cached.touch()
    monkeypatch.setattr(warm_up, "librosa_folder", lambda: tmp_path)
    crash_on_cache = (
        "import os, pathlib, signal\n"
        f"if pathlib.Path({str(cached)!r}).exists(): os.kill(os.getpid(), signal.SIGSEGV)"
    )
    assert warm_up.warm_up(crash_on_cache) == 0
    assert warm_up.warm_up("raise SystemExit(3)") == 3


@pytest.mark.skipif(NVIDIA_HERE or sys.platform != "linux", reason="needs Linux without a GPU")
def test_the_small_torch_is_tried_without_a_gpu_only_and_is_not_needed(kit):
    status, _, said = kit.run()
    assert status == 0
    assert "--index-url" in kit.calls.read_text() and "out of reach" in said
    kit.calls.unlink()
    kit.executable(kit.bin / "nvidia-smi", "#!/bin/sh\n")
    (kit.root / "requirements.lock").write_text("torch==2.13.1\n")
    kit.check(times_made=1)
    assert "--index-url" not in kit.calls.read_text()
