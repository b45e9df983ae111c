"""Profiles, the device, where things are written, and how a mistake of the user is shown."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.machinery import files, process, profiles
from helpers.machinery.files import LabError

ROOT = Path(__file__).resolve().parents[1]


def profile_file(folder: Path, text: str) -> str:
    """A profile of the user's own; returns its name as it is given on the command line."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---- profiles ----------------------------------------------------------------------------------


def test_the_kit_has_three_profiles_and_all_can_be_loaded() -> None:
    assert profiles.profile_names() == ["demo", "full", "smoke"]
    for name in profiles.profile_names():
        profile = profiles.load_profile(name)
        assert profile.name == name
        assert {"data", "device", "seed"} <= set(profile.parameters("05_lstm"))
        assert profile.timeout_minutes("05_lstm") > 0


def test_all_profiles_have_the_same_parameters_for_every_notebook() -> None:
    demo = profiles.load_profile("demo")
    notebooks = [name for name in demo.sections if name[0].isdigit()]
    assert len(notebooks) == 10
    for name in profiles.profile_names():
        for notebook in notebooks:
            parameters = profiles.load_profile(name).parameters(notebook)
            assert set(parameters) == set(demo.parameters(notebook)), (name, notebook)


def test_an_unknown_profile_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(LabError, match=r"unknown profile 'dmeo' \(did you mean 'demo'\?\).*full"):
        profiles.load_profile("dmeo")


def test_a_profile_of_ones_own_keeps_the_demo_values_of_what_it_leaves_out(tmp_path: Path) -> None:
    name = profile_file(tmp_path, "all: {seed: 7}\n05_lstm: {epochs: 3}\n")
    own, demo = profiles.load_profile(name), profiles.load_profile("demo")
    assert own.name == "mine"
    expected = {**demo.parameters("05_lstm"), "seed": 7, "epochs": 3}
    assert own.parameters("05_lstm") == expected
    assert own.parameters("07_cnn") == {**demo.parameters("07_cnn"), "seed": 7}
    assert own.timeout_minutes("05_lstm") == demo.timeout_minutes("05_lstm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("05_lstm: {epoch: 3}", r"unknown parameter 'epoch'.*did you mean 'epochs'"),
        ("all: {epochs: 3}", r"unknown parameter 'epochs' in section 'all'"),
        ("05_lsmt: {epochs: 3}", r"unknown section '05_lsmt'.*did you mean '05_lstm'"),
        ("05_lstm: {epochs: many}", r"05_lstm.epochs is 'many' \(str\) but must be int"),
        ("05_lstm: {epochs: 2.5}", r"05_lstm.epochs is 2.5 \(float\) but must be int"),
        ("05_lstm: {epochs: true}", r"05_lstm.epochs is True \(bool\) but must be int"),
        ("05_lstm: {learning_rate: true}", r"learning_rate is True \(bool\) but must be float"),
        ("05_lstm: {learning_rate: }", r"learning_rate is None"),
        ("07_cnn: {channels: 16}", r"07_cnn.channels is 16 \(int\) but must be list"),
        ("05_lstm: 3", r"section '05_lstm' must be a mapping"),
        ("- a\n- b", r"a profile is a mapping of sections"),
        ("all: {seed: [", r"no valid YAML"),
        ("", r"a profile is a mapping of sections"),
        (
            "all: {}\n05_lstm:\n  seed: 1\n  epochs: '3'",
            r"mine.yaml:4: 05_lstm.epochs is '3' \(str",
        ),
        ("all: {}\n05_lsmt: {}", r"mine.yaml:2: unknown section '05_lsmt'"),
        ("all: {}\n\n05_lstm:\n  - 3", r"mine.yaml:3: section '05_lstm' must be a mapping"),
        ("all: {}\nseed: [1\n", r"mine.yaml:3: no valid YAML \(expected .*\); correct the line"),
        ("all: {seed: 2021-13-45}", r"mine.yaml: no valid YAML \(month must be"),
        ("07_cnn: {channels: [16, many]}", r"an entry of 07_cnn.channels is 'many' \(str\) but"),
        ("1: {epochs: 3}", r"mine.yaml:1: unknown section 1; known"),
        ("runner: {timeout_minutes: soon}", r"mine.yaml:1: timeout_minutes is 'soon' but must be"),
        ("runner: {timeout_minutes: {default: 0}}", r"timeout_minutes is 0 but must be a number"),
        ("runner: {timeout_minutes: {05_lsmt: 4}}", r"names '05_lsmt' \(did you mean '05_lstm'"),
        ("runner: {timeout: 4}", r"unknown parameter 'timeout' in section 'runner'"),
    ],
)
def test_a_bad_profile_is_refused_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabError, match=message) as caught:
        profiles.load_profile(profile_file(tmp_path, text))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="absent.yaml: no such profile file; give one that exists"):
        profiles.load_profile(str(tmp_path / "absent.yaml"))
    path = tmp_path / "latin.yaml"
    path.write_bytes("all: {seed: 1}\n# f\u00fcnf".encode("latin-1"))
    with pytest.raises(LabError, match="latin.yaml:2: no UTF-8 text; save the file as UTF-8"):
        profiles.load_profile(str(path))


def test_a_whole_number_may_stand_for_a_real_one(tmp_path: Path) -> None:
    name = profile_file(tmp_path, "05_lstm: {learning_rate: 1}")
    assert profiles.load_profile(name).parameters("05_lstm")["learning_rate"] == 1


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    name = profile_file(tmp_path, f"all: !!python/object/apply:os.mkdir ['{marker}']")
    with pytest.raises(LabError, match="no valid YAML"):
        profiles.load_profile(name)
    assert not marker.exists()


def test_the_time_limit_may_differ_by_notebook(tmp_path: Path) -> None:
    text = "runner: {timeout_minutes: {default: 5, 05_lstm: 40}}"
    profile = profiles.load_profile(profile_file(tmp_path, text))
    assert profile.timeout_minutes("05_lstm") == 40
    assert profile.timeout_minutes("06_metrics") == 5


def test_without_a_profile_a_notebook_keeps_its_own_parameters() -> None:
    namespace = {"notebook": "06_metrics", "seed": 3}
    profiles.apply_profile(namespace)
    assert namespace == {"notebook": "06_metrics", "seed": 3}


def test_a_profile_replaces_parameters_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSICLAB_PROFILE", "smoke")
    namespace = {"notebook": "06_metrics", "data": "x", "device": "", "seed": 3, "batch_size": 1}
    profiles.apply_profile(namespace)
    assert namespace == {
        "notebook": "06_metrics", "data": "auto", "device": "cpu", "seed": 0, "batch_size": 32,
    }  # fmt: skip
    assert "smoke" in capsys.readouterr().out


def test_a_parameter_that_the_notebook_does_not_have_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUSICLAB_PROFILE", "smoke")
    with pytest.raises(LabError, match="06_metrics has no parameter batch_size"):
        profiles.apply_profile({"notebook": "06_metrics", "data": "", "device": "", "seed": 0})


# ---- seeds, device, progress -------------------------------------------------------------------


def test_a_seed_fixes_all_random_numbers() -> None:
    def draw() -> tuple[float, float, float]:
        process.seed_everything(5)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draw() == draw()


def test_the_device_is_chosen_or_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert process.pick_device("auto") == process.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(LabError, match="'cuda' is not available here; use --device auto or cpu"):
        process.pick_device("cuda")
    with pytest.raises(LabError, match="unknown device 'gpu'; known: auto, cpu, cuda"):
        process.pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert process.pick_device("auto") == torch.device("cuda")
    assert process.pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(LabError, match="unknown device 'cuda:first'"):
        process.pick_device("cuda:first")
    with pytest.raises(LabError, match="'cuda:2' is not available here.*from 0, and there are 2"):
        process.pick_device("cuda:2")


def test_progress_is_reported_only_when_somebody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.report_progress(epoch=1)  # no listener: nothing happens
    monkeypatch.setenv("MUSICLAB_PROGRESS", str(tmp_path / "progress.json"))
    process.report_progress(epoch=2, train_loss=0.5)
    assert (tmp_path / "progress.json").read_text() == '{"epoch": 2, "train_loss": 0.5}'


# ---- folders and files -------------------------------------------------------------------------


def test_caches_and_runs_lie_below_the_home(home: Path) -> None:
    assert files.cache_dir() == home / ".cache"
    assert files.runs_dir() == home / "runs"
    assert (home / ".cache").is_dir() and (home / "runs").is_dir()


def test_without_a_home_the_checkout_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICLAB_HOME")
    assert files.project_root() == ROOT


def test_on_kaggle_a_mounted_checkout_writes_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, working = tmp_path / "input" / "kit", tmp_path / "working"
    for folder in (checkout / "helpers", checkout / "notebooks", working):
        folder.mkdir(parents=True)
    (checkout / "run_all.sh").touch()
    monkeypatch.delenv("MUSICLAB_HOME")
    monkeypatch.setattr(files, "__file__", str(checkout / "helpers" / "settings.py"))
    assert files.project_root() == checkout, "anywhere else"
    monkeypatch.setattr(files, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(files, "KAGGLE_WORKING", working)
    assert files.project_root() == working


def test_a_home_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSICLAB_HOME", str(tmp_path / "file"))
    with pytest.raises(LabError, match="set MUSICLAB_HOME to a folder that you may write to"):
        files.cache_dir()


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    files.write_atomically(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    files.write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [entry.name for entry in path.parent.iterdir()] == ["text.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.csv"
    files.write_atomically(path, "old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LabError, match=r"results.csv: cannot be written \(No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.csv"
    files.write_atomically(path, "old")

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    dead, huge = 2**22 + 1, 10**30  # above any process's number
    removed = [tmp_path / "sub" / f".results.csv.{owner}.abc.part" for owner in (dead, huge)]
    kept = [tmp_path / f".a.b.{os.getpid()}.abc.part", tmp_path / "own.part", tmp_path / ".x.part"]
    for path in removed + kept:
        path.touch()
    files.remove_leftovers(tmp_path)
    assert not any(path.exists() for path in removed) and all(path.exists() for path in kept)
    files.remove_leftovers(tmp_path / "absent")


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LabError, match="cannot be written"):
        files.write_atomically(tmp_path / "file" / "results.csv", "new")
    assert (tmp_path / "file").read_text() == "mine"


# ---- bad data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_bad_data_are_left_out_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    assert not files.skip_bad()
    monkeypatch.setenv("MUSICLAB_SKIP_BAD", value)
    assert files.skip_bad() is expected


# ---- how mistakes are shown --------------------------------------------------------------------


def run_script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines as a user's script."""
    path = folder / "script.py"
    path.write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, env=environment
    )


def test_a_plain_script_shows_a_mistake_as_one_line(tmp_path: Path) -> None:
    code = "from helpers.settings import load_profile\nload_profile('nonsense')\nprint('on')"
    done = run_script(tmp_path, code)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown profile 'nonsense'")


def test_an_interrupted_script_shows_one_line(tmp_path: Path) -> None:
    code = "import helpers.settings, os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\n"
    done = run_script(tmp_path, code + "time.sleep(9)\nprint('on')")
    assert done.returncode == -signal.SIGINT and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("interrupted; ") and "run the same command again" in line


def test_a_bug_still_shows_where_it_is(tmp_path: Path) -> None:
    done = run_script(tmp_path, "import helpers.settings\n1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_notebook_shows_a_mistake_as_one_line() -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("from helpers.settings import LabError\nraise LabError('file:3: mend it')")
    assert "LabError: file:3: mend it" in shown.stdout
    assert "Traceback" not in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's malloc")
@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("MUSICLAB_KEEP_MEMORY", "0", False), ("MALLOC_ARENA_MAX", "2", False), ("X", "0", True)],
)
def test_freed_memory_stays_with_the_process_unless_the_user_says_otherwise(
    name: str, value: str, kept: bool
) -> None:
    """Of 400 MB in arrays, written to and freed, next to nothing or nearly all is still held."""
    code = (
        "import helpers.settings, numpy as np, psutil\n"
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
