"""The runner, on a small lab of three notebooks that train nothing."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import shutil
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import jupytext
import nbformat
import pytest
from rich.console import Console

from tests.small_lab import HELPER, NAMES, SmallLab, running_in, wait_until
from tools.checks import check_data
from tools.checks.check_data import Split
from tools.common.run_folder import remove_old_runs
from tools.run import execute, jupyter_lab, processes
from tools.run import plan as plans
from tools.run.display import Display
from tools.run.plan import make_plan
from tools.run.results import Row, Status, note_left_out, stale_results
from tools.run.tasks import why_to_run


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """The small lab of a user whose own `python3` kernel is another one, which must not win."""
    other = tmp_path / "user" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "other", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MUSICLAB_HOME", str(tmp_path / "lab"))
    return SmallLab.made(tmp_path / "lab")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SmallLab:
    """The small lab after its first run. Do not write to it."""
    small = SmallLab.made(tmp_path_factory.mktemp("done") / "lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLAB_HOME", str(small.root))
        assert small.run() == 0
    return small


@pytest.fixture
def ran(small: SmallLab, done: SmallLab) -> SmallLab:
    """The small lab of this user, moved here after its first run."""
    shutil.copytree(done.root, small.root, symlinks=True, dirs_exist_ok=True)
    return small


def reasons(small: SmallLab, **options: Any) -> dict[str, str]:
    """Why each notebook would run, in the order of the lab; nothing for what is up to date."""
    return why_to_run(make_plan(small.lab, **small.options, **options))


# ---- what runs, and what does not --------------------------------------------------------------


def test_a_run_then_edits(ran, capfd):
    """One lab from its first run through a rerun, an edit of prose, and another parameter."""
    assert ran.executed() == ["05_train", "06_judge"]
    assert ran.statuses() == dict.fromkeys(NAMES, "done")
    with open(ran.folder / "results.csv", newline="") as file:
        rows = [(row["notebook"], row["value"]) for row in csv.DictReader(file)]
    assert rows == [("05_train", "0.25"), ("06_judge", "0.5")]

    ran.write("05_train", "leave('05_train', 0.25 * steps)", prose="# Another title")
    assert ran.run() == 0
    assert ran.executed() == []
    assert ran.statuses() == dict.fromkeys(NAMES, "up to date")
    out = capfd.readouterr().out
    assert "value 0.25" in out and "demo" in out.splitlines()[1]

    ran.parameters["steps"] = 3
    assert ran.run() == 0
    assert ran.executed() == ["05_train", "06_judge"]
    assert ran.statuses()["00_begin"] == "up to date"
    assert "0.75" in (ran.folder / "results.csv").read_text()


def test_why_a_notebook_is_not_up_to_date(ran, monkeypatch):
    """The same words in --list, which knows the data, and at hand-in, which knows the code."""

    def why() -> str:
        return reasons(ran)["06_judge"]

    def with_note(**changed: object) -> str:
        note.write_text(json.dumps(json.loads(text) | changed))
        return why()

    assert stale_results(ran.folder, ran.lab) == [] == list(filter(None, reasons(ran).values()))
    assert reasons(ran, only=["5"], force=True) == {"05_train": "--force"}
    ran.write("06_judge", "leave('06_judge', 0.75)")
    assert why() == "its results are older than its code"
    assert stale_results(ran.folder, ran.lab) == [f"06_judge: {why()}"]
    ran.write("06_judge", "leave('06_judge', 0.5)")
    with monkeypatch.context() as patch:
        patch.setattr("helpers.notebook.soundness.data_fingerprint", lambda _: "other")
        assert why() == "it ran on other data"
    ran.parameters["steps"] = 2
    assert list(reasons(ran).values())[1:] == ["other steps", "after 05_train"]
    ran.parameters["steps"] = 1

    note = ran.folder / "notebooks" / "06_judge.done.json"
    text = note.read_text()
    assert with_note(needs={"05_train": 1}) == "its results are older than those of 05_train"
    assert with_note(record="x") == "its stored results were changed after it had run"
    note.write_text("")
    assert why() == "nothing is noted of how it ran"
    assert with_note() == ""
    (ran.folder / "notebooks" / "06_judge.ipynb").unlink()
    assert why() == "it has not run"


def test_the_code_of_a_notebook_is_its_cells_and_the_helpers_that_it_imports(small):
    lab = small.lab
    before = {name: lab.code_digest(name) for name in NAMES}
    small.write("00_begin", "import json")
    (small.root / "helpers" / "unused.py").write_text("x = 1\n")
    assert lab.code_digest("05_train") == before["05_train"]
    (small.root / "helpers" / "small.py").write_text("from helpers import deep\n" + HELPER)
    (small.root / "helpers" / "deep.py").write_text("x = 1\n")
    after = lab.code_digest("05_train")
    (small.root / "helpers" / "deep.py").write_text("x = 2\n")
    assert len({before["05_train"], after, lab.code_digest("05_train")}) == 3


def test_list_tells_the_state_and_what_to_mind_and_runs_nothing(ran, capfd, monkeypatch):
    ran.executed()
    (ran.root / "py").mkdir()
    (ran.root / "py" / "05_train.py").write_text("# %%\nchanged = True\n")
    (ran.folder / "notebooks" / "06_judge.ipynb").unlink()
    monkeypatch.setattr(plans, "memory_available", lambda: 2.5 * 2**30)
    assert ran.run("--list", "--jobs", "2") == 0
    out = capfd.readouterr().out
    line = {name: next(x for x in out.splitlines() if x.split()[:1] == [name]) for name in NAMES}
    assert "up to date" in line["00_begin"] and "A title" in line["00_begin"]
    assert "to run: it has not run" in line["06_judge"] and "05 " in line["06_judge"]
    assert "only 2.5 GiB of memory are free, and up to 6 GiB may be needed; take --jobs 1" in out
    assert "py/05_train.py is ahead of notebooks/05_train.ipynb" in out
    assert ran.executed() == []
    monkeypatch.setattr(plans, "memory_available", lambda: 7 * 2**30)
    assert ran.run("--list", "--jobs", "2") == 0 and "GiB" not in capfd.readouterr().out


# ---- what goes wrong ---------------------------------------------------------------------------


def test_a_failure_skips_what_depends_on_it_and_deletes_no_old_run(ran, capfd):
    runs = ran.root / "runs"
    for age, name in enumerate(("new", "middle", "old"), start=1):
        old_run(runs, name, 100 * age)
    ran.write("05_train", "numbers = []\nleave('05_train', 1)\nnumbers[3]")
    assert ran.run("--keep", "2") == 1
    assert names_in(runs) == {"t", "latest", "new", "middle", "old"}
    assert ran.statuses() == {"00_begin": "up to date", "05_train": "failed", "06_judge": "skipped"}
    assert reasons(ran)["05_train"] == "it failed"
    out = capfd.readouterr().out
    assert "05_train failed in cell [4]:" in out
    assert "| numbers = []" in out and "IndexError: list index out of range" in out
    assert not (ran.folder / "notebooks" / "05_train.ipynb").exists()
    assert (ran.folder / "notebooks" / "05_train.failed.ipynb").is_file()
    assert "IndexError" in (ran.folder / "pages" / "05_train.html").read_text()
    assert "05_train" not in (ran.folder / "results.csv").read_text()
    index = (ran.folder / "pages" / "index.html").read_text()
    pages = ["glossary.html", *(f"{name}.html" for name in NAMES)]  # 06 as it was before
    assert re.findall('href="(.*?)"', index) == [*pages, "../results.csv", "../summary.json"]
    assert "IndexError" in index and "needs 05_train" in index

    ran.write("05_train", "leave('05_train', 0.25)")
    assert ran.run("--only", "0", "5", "--keep", "2") == 0
    assert ran.statuses() == {"00_begin": "up to date", "05_train": "done"}
    assert not (ran.folder / "notebooks" / "05_train.failed.ipynb").exists()
    assert names_in(runs) == {"t", "latest", "new"}
    assert f"deleted the old run {runs / 'old'}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("code", "free_mib", "said"),
    [
        ("raise LabError('a.txt:3: mend it')", 9999, "  LabError: a.txt:3: mend it\n"),
        ("os.kill(os.getppid(), 9)", 9999, " was ended from outside (Killed); if nobody did that"),
        ("shutil.rmtree('../runs/t'); time.sleep(60)", 9999, "/t was deleted or moved"),
        ("raise OSError(28, 'No space left on device')", 1, "/t is full (1 MiB left); free some"),
    ],
)
def test_what_ended_a_notebook_is_said(small, monkeypatch, capfd, code, free_mib, said):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mib * 2**20))
    monkeypatch.setenv("MUSICLAB_PROFILE", "full")
    imports = "import os, shutil, time\nfrom helpers.machinery.files import LabError"
    small.write("05_train", f"{imports}\n{code}")
    assert small.run("--only", "5") == 1
    shown = capfd.readouterr().out
    assert said in shown and "Traceback" not in shown
    assert "ignored  MUSICLAB_PROFILE (see --help)" in shown


def test_a_time_limit_ends_the_kernel(small, capfd):
    small.timeout_minutes = 3 / 60
    code = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\ntime.sleep(600)"
    small.write("05_train", code)
    assert small.run("--only", "06") == 1
    assert small.statuses() == {"05_train": "failed", "06_judge": "skipped"}
    assert "stopped at its time limit of 0:03 (profile: timeout_m" in capfd.readouterr().out
    wait_until(lambda: not running_in(small.root))


def test_a_kernel_that_does_not_start_is_started_again(monkeypatch):
    """Two kernels that start at a time may be told the same ports by Jupyter; one of them dies."""
    started = Mock(side_effect=RuntimeError("Kernel died before replying to kernel_info"))
    monkeypatch.setattr("papermill.execute_notebook", started)
    assert execute.execute("")["lines"][0].startswith("RuntimeError: the kernel died")
    assert started.call_count == execute.STARTS
    started.side_effect = [started.side_effect, None]
    assert execute.execute("") == {}


# ---- side by side ------------------------------------------------------------------------------

MEET = """
import pathlib, time
here, there = (pathlib.Path({root!r}) / name for name in ({mine!r}, {other!r}))
here.touch()
while not there.exists():
    time.sleep(0.02)
leave({mine!r}, 1)
"""


def test_independent_notebooks_run_side_by_side(small):
    """00 and 05 each wait for the other to run."""
    small.timeout_minutes = 1
    for mine, other in (("00_begin", "05_train"), ("05_train", "00_begin")):
        small.write(mine, MEET.format(root=str(small.root), mine=mine, other=other))
    assert small.run("--jobs", "2", "--only", "0", "5") == 0
    assert small.statuses() == dict.fromkeys(NAMES[:2], "done")
    assert json.loads((small.folder / "summary.json").read_text())["jobs"] == 2
    # The number of jobs is no reason to run again, nor to compute otherwise.
    assert reasons(small, only=["0", "5"], jobs="1") == dict.fromkeys(NAMES[:2], "")
    one, two = (make_plan(small.lab, **small.options, jobs=jobs) for jobs in ("1", "2"))
    assert one.environment() == two.environment()


@pytest.mark.parametrize(
    ("cores", "gib", "device", "jobs"),
    [(2, 8, "cpu", 2), (8, 64, "cpu", 2), (1, 8, "cpu", 1), (2, 5, "cpu", 1), (8, 64, "cuda", 1)],
)
def test_jobs_auto_looks_at_cores_memory_and_device(small, monkeypatch, cores, gib, device, jobs):
    monkeypatch.setattr(plans, "usable_cores", lambda: cores)
    monkeypatch.setattr(plans, "memory_available", lambda: gib * 2**30)
    monkeypatch.setattr(plans, "resolved_device", lambda _: device)
    for said, meant in (("auto", jobs), ("3", 3), ("9", len(NAMES))):
        assert make_plan(small.lab, **small.options, jobs=said).jobs == meant


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_CGROUP", tmp_path)
    whole = processes.memory_available()
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\nfile 400\ninactive_file 300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert processes.memory_available() == 1000 - 900 + 300
    (tmp_path / "memory.max").write_text("max\n")
    assert processes.memory_available() > 0.5 * whole


def test_the_live_display_shows_all_that_run():
    console = Console(file=StringIO(), force_terminal=True, width=100)
    display = Display(console, {name: Row(name) for name in NAMES})
    with display.live:
        for name in NAMES[:2]:
            display.show(Row(name, Status.RUNNING, 61, key_metric="epoch 2/9"))
        shown = console.file.getvalue().split("00_begin")[-1]
        display.show(Row("05_train", Status.DONE, 62))
        later = console.file.getvalue().split("00_begin")[-1]
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown.splitlines()]
    assert all("running" in line and "epoch 2/9" in line for line in lines[:2])
    assert Status.WAITING in lines[2] and later.count("epoch 2/9") == 1


# ---- bad data left out -------------------------------------------------------------------------


def test_skip_bad_is_said_passed_on_and_part_of_what_results_depend_on(ran, capfd, monkeypatch):
    problems = {str(number): f"clip {number}: cut short" for number in range(12)}
    check = Mock(return_value={"fma_genre_spectrograms/train": Split(problems)})
    monkeypatch.setattr(check_data, "check", check)
    ran.write("00_begin", "import os\nleave('00_begin', bool(os.environ['MUSICLAB_LEFT_OUT']))")
    ran.executed()
    for executed in (["00_begin"], []):
        assert ran.run("--only", "0", "--skip-bad") == 0
        assert ran.executed() == executed
    check.assert_called_once_with(ran.root / "data")
    out = capfd.readouterr().out
    assert "value True" in out and re.search("skip-bad +bad clips and label rows are left", out)
    assert "left out (12):" in out and "clip 9: cut short" in out
    assert "clip 10" not in out and "... and 2 more, see summary.json" in out
    summary = json.loads((ran.folder / "summary.json").read_text())
    assert summary["skip_bad"] is True and summary["left_out"] == list(problems.values())
    assert reasons(ran)["00_begin"] == "other clips were left out"
    problems["12"] = "clip 12: broke since"
    (ran.root / "data" / "fma_genre_spectrograms" / "train_labels.txt").write_text("other")
    note_left_out(make_plan(ran.lab, **ran.options, skip_bad=True))
    assert check.call_count == 2


# ---- old runs ----------------------------------------------------------------------------------


def old_run(runs: Path, name: str, age: float) -> Path:
    """A folder as a run of `age` seconds ago left it."""
    (runs / name / "records").mkdir(parents=True)
    (runs / name / "summary.json").write_text("{}")
    os.utime(runs / name / "summary.json", (time.time() - age,) * 2)
    return runs / name


def names_in(runs: Path) -> set[str]:
    return {path.name for path in runs.iterdir()}


def test_keep_spares_what_is_no_old_run(tmp_path, monkeypatch):
    """The present one, `interactive`, `latest`, a run under way, folders of the user's own."""
    runs = tmp_path / "runs"
    current = old_run(runs, "current", 5000)
    for name in ("interactive", "busy", "pointed", "new", "old"):
        old_run(runs, name, {"new": 10}.get(name, 3000))
    (runs / "mine" / "records").mkdir(parents=True)
    (runs / "notes.txt").write_text("mine")
    old_run(tmp_path, "elsewhere", 9000)
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    (runs / "latest").symlink_to("pointed")
    everything = names_in(runs)
    with open(runs / "busy" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", Mock(side_effect=PermissionError(13, "not allowed")))
            said = remove_old_runs(current, 1)
        assert said == [f"could not delete the old run {runs / 'old'} (not allowed)"]
        assert remove_old_runs(current, 1) == [f"deleted the old run {runs / 'old'}"]
    assert everything - names_in(runs) == {"old"} and names_in(runs) < everything
    assert (tmp_path / "elsewhere" / "summary.json").is_file()


# ---- pairs ---------------------------------------------------------------------------------------


def test_jupyterlab_can_open_pairs_whose_times_mean_nothing(small):
    """The script that says the same is marked as new; the one that differs is left alone."""
    (small.root / "py").mkdir()
    for name in NAMES[:2]:
        notebook = nbformat.read(small.root / "notebooks" / f"{name}.ipynb", as_version=4)
        jupytext.write(notebook, small.root / "py" / f"{name}.py", fmt="py:percent")
        os.utime(small.root / "py" / f"{name}.py", (1, 1))
    small.write("05_train", "edited = True")
    assert jupyter_lab.refresh_scripts(small.lab) == ["00_begin"]
    assert (small.root / "py" / "00_begin.py").stat().st_mtime > 1
    assert (small.root / "py" / "05_train.py").stat().st_mtime == 1
