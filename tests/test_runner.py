"""The runner, on a small lab of three notebooks that train nothing."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jupytext
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.settings import LabError, Profile, load_profile
from tools import lab as command_line
from tools.notebooks import Lab, Notebook
from tools.plan import make_plan
from tools.results import RESULT_COLUMNS
from tools.run_folder import opened
from tools.tasks import task_states

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("00_begin", "05_train", "06_judge")
HEADER = "notebook,model,feature,test_set,metric,value,low,high,seed,n"
HELPER = f'''
import csv, os
from pathlib import Path

def leave(notebook, value):
    run = Path(os.environ["MUSICLAB_HOME"]) / "runs" / os.environ["MUSICLAB_RUN"]
    folder = run / "records" / notebook
    folder.mkdir(parents=True, exist_ok=True)
    row = f"{{notebook}},m,mel,full,accuracy,{{value}},0,1,0,10"
    (folder / "results.csv").write_text("{HEADER}\\n" + row + "\\n")
    (folder / "values.json").write_text('{{"key_metric": "value %s"}}' % value)
    with open(Path(os.environ["MUSICLAB_HOME"]) / "executed.txt", "a") as file:
        file.write(notebook + "\\n")
'''


class SmallLab:
    """A lab in a temporary folder; `run(...)` is the command line, in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parameters: dict[str, object] = {"steps": 1}
        self.timeout_minutes = 1.0
        (root / "notebooks").mkdir()
        (root / "helpers").mkdir()
        (root / "helpers" / "__init__.py").write_text("")
        (root / "helpers" / "small.py").write_text(HELPER)
        (root / "data" / "fma_genre_spectrograms").mkdir(parents=True)
        self.write("00_begin", "import helpers")
        self.write("05_train", "leave('05_train', 0.25 * steps)")
        self.write("06_judge", "leave('06_judge', 0.5)")

    def write(self, name: str, code: str, prose: str = "# A title") -> None:
        parameters = new_code_cell(
            'data = "auto"\ndevice = "auto"\nseed = 0\nsteps = 1',
            metadata={"tags": ["parameters"]},
        )
        cells = [new_markdown_cell(prose), parameters]
        cells += [new_code_cell("from helpers.small import leave"), new_code_cell(code)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, self.root / "notebooks" / f"{name}.ipynb")

    @property
    def lab(self) -> Lab:
        notebooks = (Notebook(NAMES[0]), Notebook(NAMES[1]), Notebook(NAMES[2], (NAMES[1],)))
        return Lab(self.root, notebooks, self.load_profile)

    def load_profile(self, name: str) -> Profile:
        if name not in ("demo", "full"):
            return load_profile(name)  # raises for the unknown, in the kit's own words
        limits = {"timeout_minutes": self.timeout_minutes}
        return Profile(name, {"all": {"seed": 0}, "05_train": self.parameters, "runner": limits})

    @property
    def options(self) -> dict[str, str]:
        return {"data": str(self.root / "data"), "profile": "demo", "name": "t"}

    def run(self, *options: str) -> int:
        always = [word for key, value in self.options.items() for word in (f"--{key}", value)]
        return command_line.main([*always, *options], self.lab)

    @property
    def folder(self) -> Path:
        return self.root / "runs" / "t"

    def statuses(self) -> dict[str, str]:
        summary = json.loads((self.folder / "summary.json").read_text())
        return {row["notebook"]: row["status"] for row in summary["notebooks"]}

    def executed(self) -> list[str]:
        """The notebooks that left something since the last call, in that order."""
        log = self.root / "executed.txt"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallLab]:
    monkeypatch.setenv("MUSICLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MUSICLAB_DATA", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield SmallLab(tmp_path)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def offspring() -> list[psutil.Process]:
    """Living processes that this one started, however deep."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def running_in(folder: Path) -> list[int]:
    """The processes, kernels too, that work for a run below this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("MUSICLAB_HOME")
            if home == str(folder) and process.pid != os.getpid():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


# ---- what runs, and what does not --------------------------------------------------------------


def test_a_run_then_edits(small: SmallLab, capfd: pytest.CaptureFixture[str]) -> None:
    """One lab through a first run, a rerun, an edit of prose, of code, of a helper, and a loss."""
    assert small.run() == 0
    assert small.executed() == ["05_train", "06_judge"]
    assert small.statuses() == dict.fromkeys(NAMES, "done")
    out = capfd.readouterr().out
    assert "value 0.25" in out and "demo" in out.splitlines()[1]
    for name in NAMES:
        assert (small.folder / "notebooks" / f"{name}.ipynb").is_file()
        assert (small.folder / "pages" / f"{name}.html").is_file()
    assert (small.folder / "pages" / "index.html").is_file()
    assert (small.root / "runs" / "latest").resolve() == small.folder
    with open(small.folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["notebook"], row["value"]) for row in rows] == [
        ("05_train", "0.25"),
        ("06_judge", "0.5"),
    ]

    assert small.run() == 0
    assert small.executed() == []
    assert small.statuses() == dict.fromkeys(NAMES, "up to date")
    assert "value 0.25" in capfd.readouterr().out

    small.write("05_train", "leave('05_train', 0.25 * steps)", prose="# Another title")
    assert small.run() == 0
    assert small.executed() == []

    small.write("05_train", "leave('05_train', 0.75 * steps)")
    assert small.run() == 0
    assert small.executed() == ["05_train", "06_judge"]
    assert small.statuses()["00_begin"] == "up to date"
    assert "0.75" in (small.folder / "results.csv").read_text()

    (small.folder / "records" / "05_train" / "values.json").unlink()
    assert small.run("--only", "06") == 0
    assert small.executed() == ["05_train", "06_judge"]


def test_helpers_parameters_and_force_decide_what_runs_again(small: SmallLab) -> None:
    lab = small.lab
    before = {name: lab.code_digest(name) for name in NAMES}
    small.write("00_begin", "import json")
    (small.root / "helpers" / "unused.py").write_text("x = 1\n")
    assert lab.code_digest("05_train") == before["05_train"]
    helper = small.root / "helpers" / "small.py"
    helper.write_text("from helpers import deep\n" + HELPER)
    (small.root / "helpers" / "deep.py").write_text("x = 1\n")
    after = lab.code_digest("05_train")
    (small.root / "helpers" / "deep.py").write_text("x = 2\n")
    assert len({before["05_train"], after, lab.code_digest("05_train")}) == 3

    small.parameters["steps"] = 2
    assert small.run("--only", "train") == 0
    assert "0.5" in (small.folder / "results.csv").read_text()
    small.executed()
    assert small.run("--only", "train", "--force") == 0
    assert small.executed() == ["05_train"]
    small.parameters["steps"] = 3
    assert task_states(make_plan(small.lab, **small.options))["05_train"] == "to run"


def test_a_failure_skips_what_depends_on_it(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    small.write("05_train", "numbers = []\nleave('05_train', 1)\nnumbers[3]")
    assert small.run() == 1
    assert small.statuses() == {"00_begin": "done", "05_train": "failed", "06_judge": "skipped"}
    out = capfd.readouterr().out
    assert "05_train failed in cell [4]:" in out
    assert "| numbers = []" in out and "IndexError: list index out of range" in out
    assert not (small.folder / "notebooks" / "05_train.ipynb").exists()
    assert (small.folder / "notebooks" / "05_train.failed.ipynb").is_file()
    assert "IndexError" in (small.folder / "pages" / "05_train.html").read_text()
    assert "05_train" not in (small.folder / "results.csv").read_text()

    small.write("05_train", "leave('05_train', 0.25)")
    assert small.run("--only", "0", "5") == 0
    assert small.statuses() == {"00_begin": "up to date", "05_train": "done"}
    assert not (small.folder / "notebooks" / "05_train.failed.ipynb").exists()


def test_a_lab_error_is_shown_as_its_one_line(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    small.write("00_begin", "class LabError(Exception): ...\nraise LabError('a.txt:3: mend it')")
    assert small.run("--only", "0") == 1
    lines = capfd.readouterr().out.splitlines()
    assert "LabError: a.txt:3: mend it" in [line.strip() for line in lines]
    assert not any("Traceback" in line for line in lines)


def test_a_time_limit_ends_the_kernel(small: SmallLab) -> None:
    small.timeout_minutes = 5 / 60
    code = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\ntime.sleep(600)"
    small.write("05_train", code)
    assert small.run("--only", "06") == 1
    assert small.statuses() == {"05_train": "timeout", "06_judge": "skipped"}
    wait_until(lambda: not offspring() and not running_in(small.root), 5)


# ---- interruptions -----------------------------------------------------------------------------

_STARTER = """
import sys
from pathlib import Path
from helpers.settings import Profile
from tools.lab import main
from tools.notebooks import Lab, Notebook
root, only = Path(sys.argv[1]), sys.argv[2]
notebooks = (Notebook("00_begin"), Notebook("05_train"))
profile = Profile("demo", {"all": {"seed": 0}, "05_train": {"steps": 1}})
lab = Lab(root, notebooks, lambda name: profile)
sys.exit(main(["--data", str(root / "data"), "--name", "t", "--only", only], lab))
"""


@pytest.mark.parametrize(
    ("number", "code", "only"),
    [(signal.SIGINT, 130, "5"), (signal.SIGTERM, 130, "5"), (signal.SIGKILL, -9, "0,5")],
)
def test_an_interrupted_run_leaves_no_kernel_and_goes_on(
    small: SmallLab, number: signal.Signals, code: int, only: str
) -> None:
    """Stopped in a notebook: nothing is left running, and what was done before is not redone."""
    begun = small.root / "begun"
    small.write(
        "05_train",
        f"import time, pathlib\nbegun = pathlib.Path({str(begun)!r})\n"
        "if not begun.exists():\n    begun.touch()\n    time.sleep(600)\n"
        "leave('05_train', 0.25)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(small.root), only],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(begun.exists, 40)
    process.send_signal(number)
    assert process.wait(20) == code
    wait_until(lambda: not running_in(small.root), 10)
    assert small.run("--only", only) == 0
    assert small.executed() == ["05_train"]
    assert small.statuses().get("00_begin") == ("up to date" if "0" in only else None)
    assert not list(small.folder.rglob("*partial*")) and not list(small.folder.rglob("*.part"))


# ---- wrong use ---------------------------------------------------------------------------------

WRONG_USE = {
    "unknown notebook": (["--only", "6,trian"], "unknown notebook 'trian' (did you mean 'train'?)"),
    "unknown profile": (["--profile", "dmeo"], "unknown profile 'dmeo'"),
    "unknown device": (["--device", "gpu"], "unknown device 'gpu'; known: auto, cpu, cuda"),
    "unknown option": (["--forse"], "--forse (did you mean '--force'?)"),
    "option without its value": (["--name"], "--name: expected one argument"),
    "no folder": (["--data", "nowhere"], "nowhere: the data folder does not exist"),
    "no marker": (["--data", "helpers"], "no folder fma_genre_spectrograms in it"),
    "bad run name": (["--name", "../x"], "run name '../x'"),
    "no notebook named": (["--only", ","], "--only names no notebook"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_line_and_runs_nothing(
    case: str,
    small: SmallLab,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(small.root)
    options, message = WRONG_USE[case]
    assert small.run(*options) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == "" and not (small.root / "runs").exists()


def test_an_unknown_parameter_is_one_line_and_runs_nothing(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    small.parameters["stepz"] = 3
    assert small.run() == 2
    message = capfd.readouterr().err
    assert "unknown parameter 'stepz' of 05_train" in message and "'steps'?" in message
    assert message.count("\n") == 1 and not (small.root / "runs").exists()


def test_two_runs_of_one_name_at_a_time_are_refused(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(make_plan(small.lab, **small.options).folder):
        assert small.run() == 2
    assert f"under way (process {os.getpid()})" in capfd.readouterr().err


def test_a_script_ahead_of_its_notebook_is_told(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    (small.root / "py").mkdir()
    (small.root / "py" / "00_begin.py").write_text("# %%\nchanged = True\n")
    assert small.run("--only", "0") == 0
    assert "py/00_begin.py is ahead of notebooks/00_begin.ipynb" in capfd.readouterr().out


def test_jupyterlab_can_open_pairs_whose_times_mean_nothing(small: SmallLab) -> None:
    """The script that says the same is marked as new; the one that differs is left alone."""
    (small.root / "py").mkdir()
    for name in NAMES[:2]:
        notebook = nbformat.read(small.root / "notebooks" / f"{name}.ipynb", as_version=4)
        jupytext.write(notebook, small.root / "py" / f"{name}.py", fmt="py:percent")
        os.utime(small.root / "py" / f"{name}.py", (1, 1))
    small.write("05_train", "edited = True")
    assert command_line.refresh_scripts(small.lab) == ["00_begin"]
    assert (small.root / "py" / "00_begin.py").stat().st_mtime > 1
    assert (small.root / "py" / "05_train.py").stat().st_mtime == 1


# ---- the rest ----------------------------------------------------------------------------------


def test_list_tells_the_state_and_runs_nothing(
    small: SmallLab, capfd: pytest.CaptureFixture[str]
) -> None:
    assert small.run("--only", "0") == 0
    capfd.readouterr()
    assert small.run("--list") == 0
    out = capfd.readouterr().out
    line = {name: next(x for x in out.splitlines() if name in x) for name in NAMES}
    assert "up to date" in line["00_begin"] and "A title" in line["00_begin"]
    assert "to run" in line["05_train"]
    assert "to run (after 05_train)" in line["06_judge"] and "05 " in line["06_judge"]
    assert small.executed() == []


def test_the_kernel_is_this_interpreter(small: SmallLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `python3` kernel of another environment, in the user's own folder, does not win."""
    other = small.root / "home" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "other", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(small.root / "home"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    small.write("00_begin", f"import sys\nassert sys.executable == {sys.executable!r}")
    assert small.run("--only", "0") == 0


def test_results_have_the_columns_that_notebooks_write() -> None:
    from helpers.runs import RESULT_COLUMNS as WRITTEN

    assert list(RESULT_COLUMNS) == list(WRITTEN)


def test_find_knows_numbers_and_names() -> None:
    lab = Lab()
    assert [lab.find(word) for word in ("6", "06", "metrics", "06_metrics")] == ["06_metrics"] * 4
    assert lab.with_needs(["08_regression"]) == ["05_lstm", "07_cnn", "08_regression"]
    with pytest.raises(LabError, match="unknown notebook '12'"):
        lab.find("12")
