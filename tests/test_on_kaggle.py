"""The pushed notebooks as they run on Kaggle: its folders, read-only inputs, and no network.

`/kaggle` is a folder of the test here; the paths in what is mounted are rewritten, nothing else.
"""

from __future__ import annotations

import csv
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.bare_python import bare_python
from tools.common.notebooks import Lab
from tools.kaggle import push as kaggle_push

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(900)]

# What Kaggle does.
RUNNER = """
import socket, sys
hidden, notebook = sys.argv[1:]
sys.modules.update(dict.fromkeys(hidden.split()))
connect = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"no network here: {address}")
    return connect(self, address)
socket.socket.connect = refuse
from IPython import start_ipython
sys.exit(start_ipython(argv=[notebook]))
"""


class Kaggle:
    """The folders of one user's kernels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.input, self.working = root / "kaggle" / "input", root / "kaggle" / "working"
        self.working.mkdir(parents=True)

    def mount(self, folder: Path, name: str) -> None:
        """Add a folder as an input, with Kaggle's paths led to the folders here."""
        target = self.input / name
        shutil.copytree(folder, target)
        for path in target.rglob("*"):
            if path.suffix in (".py", ".ipynb"):
                text = path.read_text(encoding="utf-8")
                text = text.replace("/kaggle/", f"{self.root}/kaggle/")
                path.write_text(text, encoding="utf-8")
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))

    def save_version(self, name: str) -> None:
        """What the kernel left in its working folder becomes an input of the next one."""
        self.mount(self.working, name)
        shutil.rmtree(self.working)
        self.working.mkdir()

    def inputs(self) -> dict[str, bytes]:
        """All that is mounted, to see that it stays as it is."""
        return {str(path): path.read_bytes() for path in self.input.rglob("*") if path.is_file()}

    def run(self, name: str, hidden: str = "") -> subprocess.CompletedProcess[str]:
        """Run a notebook; `hidden` are packages that cannot be imported."""
        notebook = self.root / "notebooks" / kaggle_push.slug(name) / f"{name}.ipynb"
        env = {
            "PYTHONDONTWRITEBYTECODE": "1",  # as on a mount that cannot be written to
            "HOME": str(self.root / "user"),
            "IPYTHONDIR": str(self.root / "ipython"),
            "MPLCONFIGDIR": str(self.root / "matplotlib"),
            "OMP_NUM_THREADS": "1",  # tiny networks wait for a second one
        }
        return bare_python("-c", RUNNER, hidden, str(notebook), cwd=self.working, **env)


@pytest.fixture
def kaggle(tmp_path: Path, home: Path, mini_data: Path) -> Kaggle:
    """The lab's data and the helpers are mounted, and beside them the notebooks to run."""
    names = ["00_setup", "05_lstm", "06_metrics"]
    prepared = kaggle_push.prepare(Lab(), names, "student", profile="smoke")
    folder = Kaggle(tmp_path)
    folder.mount(mini_data, "patreco3-multitask-affective-music/data")
    folder.mount(prepared / "musiclab-helpers", "musiclab-helpers")
    folder.mount(prepared, "notebooks-to-run")
    (folder.input / "notebooks-to-run").rename(tmp_path / "notebooks")
    return folder


def test_06_reads_what_05_left_and_writes_to_the_working_folder_alone(kaggle):
    for name in ("05_lstm", "06_metrics"):
        before = kaggle.inputs()
        done = kaggle.run(name)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert kaggle.inputs() == before
        if name == "05_lstm":
            kaggle.save_version("musiclab-05-lstm")
    records = kaggle.working / "runs" / "interactive" / "records"
    assert [path.name for path in records.iterdir()] == ["06_metrics"]
    with (records / "06_metrics" / "results.csv").open(encoding="utf-8", newline="") as file:
        assert "lstm_mel_full" in {row["model"] for row in csv.DictReader(file)}
    assert not (kaggle.root / "user").exists()


def test_00_names_every_package_that_is_missing(kaggle):
    slow = "torch scipy sklearn pandas matplotlib seaborn librosa soundfile"
    done = kaggle.run("00_setup", hidden=slow)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    named = slow.replace("sklearn", "scikit-learn")
    assert f"8 packages cannot be imported; run `%pip install {named}`" in said
    assert "on Kaggle switch Internet on" in said
