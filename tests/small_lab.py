"""A small lab for the tests of the runner: notebooks that train nothing, in a temporary folder.

    python -m tests.small_lab FOLDER [options of ./run_all.sh]

runs it in a process of its own. Every Python process of such a run reads `sitecustomize.py`, which
lets a test stop it at a moment of its choice: when a certain file has been written and not yet been
renamed to its place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tools.common.command_line import run_command
from tools.common.notebooks import ROOT, Lab
from tools.run import command

NEEDS = {"00_begin": (), "05_train": (), "06_judge": ("05_train",)}
NAMES = tuple(NEEDS)
HEADER = "notebook,model,feature,test_set,metric,value,low,high,seed,n"

# The lab's `helpers` in this folder: its own modules, then those of the kit.
PACKAGE = f"__path__.append({str(ROOT / 'helpers')!r})\n"
PACKAGE += (ROOT / "helpers" / "__init__.py").read_text(encoding="utf-8")
HELPER = f'''
import os
from pathlib import Path
from helpers.machinery.files import write_atomically

HOME = Path(os.environ["MUSICLAB_HOME"])

def record(notebook):
    return HOME / "runs" / os.environ["MUSICLAB_RUN"] / "records" / notebook

def leave(notebook, value):
    row = f"{{notebook}},m,mel,full,accuracy,{{value}},0,1,0,10"
    write_atomically(record(notebook) / "results.csv", "{HEADER}\\n" + row + "\\n")
    write_atomically(record(notebook) / "record.json", '{{"finished": "now"}}')
    write_atomically(record(notebook) / "values.json", '{{"key_metric": "value %s"}}' % value)
    with open(HOME / "executed.txt", "a") as file:
        file.write(notebook + "\\n")
'''
# A demo set that is copied clip by clip, as the real one is made.
DEMO = """
import json
from pathlib import Path
from helpers.machinery.files import cache_dir, write_atomically

def build_demo(size):
    folder, source = cache_dir() / "demo", Path(__file__).parents[1] / "source"
    for path in filter(Path.is_file, sorted(source.rglob("*"))):
        copy = folder / "data" / path.relative_to(source)
        if not copy.exists():
            write_atomically(copy, path.read_bytes())
    write_atomically(folder / "complete.json", json.dumps({"size": size}))
"""
# Packs the demo set and "trains" on it: sums that take no time, stored after each epoch.
TRAIN = """
import numpy as np
from pathlib import Path
from helpers.machinery.files import write_atomically
from helpers.small import record
from helpers.machinery.store import open_store
clips = sorted((Path(data) / "fma_genre_spectrograms" / "train").iterdir())
store = open_store([str(clip) for clip in clips])
weights = np.zeros(140)
for epoch in range(3):
    for clip in range(len(clips)):
        weights += store.clip(clip, slice(None)).mean(axis=0) / (clip + epoch + 1)
    write_atomically(record("05_train") / "checkpoints" / "m.npy", weights.tobytes())
leave("05_train", float(weights.sum()))
"""
STOP = """
import fnmatch, os, time
_replace = os.replace

def replace(source, target, **options):
    if fnmatch.fnmatch(str(target), os.environ.get("TEST_STOPS_AT", "")):
        open(os.environ["TEST_STOPPED"], "w").close()
        time.sleep(600)
    return _replace(source, target, **options)

os.replace = replace
"""


class SmallLab:
    """A lab in a folder; `run` is the command line in this process, `start` in one of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "runs" / "t"
        self.stopped = root / "stopped"  # appears when a started run has come to where it stops
        self.temporary = root / "temporary"  # for the machine's folder of temporary files
        self.parameters: dict[str, object] = {"steps": 1}
        self.timeout_minutes = 10.0

    @classmethod
    def made(cls, root: Path) -> SmallLab:
        """Writes the files of the lab into the folder."""
        small = cls(root)
        for name in ("notebooks", "helpers", "data/fma_genre_spectrograms"):
            (root / name).mkdir(parents=True)
        (root / "helpers" / "__init__.py").write_text(PACKAGE)
        (root / "helpers" / "small.py").write_text(HELPER)
        small.write("00_begin", "import helpers")
        small.write("05_train", "leave('05_train', 0.25 * steps)")
        small.write("06_judge", "leave('06_judge', 0.5)")
        return small

    def add_demo_set(self, source: Path) -> None:
        """From now on `--data demo` is a copy of `source`; 05 packs it and trains on it."""
        (self.root / "source").symlink_to(source)
        (self.root / "demo_music").mkdir()
        (self.root / "demo_music" / "__init__.py").touch()
        (self.root / "demo_music" / "build.py").write_text(DEMO)
        (self.root / "sitecustomize.py").write_text(STOP)
        self.write("05_train", TRAIN)

    def write(self, name: str, code: str, prose: str = "# A title") -> None:
        """Write a notebook with this code in its last cell."""
        import nbformat  # which a run in a process of its own does not need at once
        from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

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
        return Lab(self.root, NEEDS)

    @property
    def options(self) -> dict[str, str]:
        limits = {"timeout_minutes": self.timeout_minutes}
        sections = {"all": {"seed": 0}, "05_train": self.parameters, "runner": limits}
        profile = self.root / "demo.yaml"
        profile.write_text(json.dumps(sections))  # which is YAML, too
        return {"data": str(self.root / "data"), "profile": str(profile), "name": "t"}

    def run(self, *options: str) -> int:
        always = [word for key, value in self.options.items() for word in (f"--{key}", value)]
        return run_command(lambda words: command.main(words, self.lab), [*always, *options])

    def start(
        self,
        *options: str,
        stop_at: str = "",
        limit: Callable[[], object] = lambda: None,
        program: Sequence[str] = ("-m", "tests.small_lab"),
        **popen: Any,
    ) -> subprocess.Popen:
        """Start a run as a leader of its own process group; it stops where `stop_at` says.

        `limit` is called in the new process before anything else; another `program` may run it.
        """
        env = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join([str(self.root), str(ROOT)]),
            "MUSICLAB_HOME": str(self.root),
            "TMPDIR": str(self.temporary),
            "TEST_STOPS_AT": stop_at,
            "TEST_STOPPED": str(self.stopped),
        }
        self.stopped.unlink(missing_ok=True)
        self.temporary.mkdir(exist_ok=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(
            [sys.executable, *program, str(self.root), *options],
            cwd=ROOT,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: (signal.signal(signal.SIGHUP, signal.SIG_DFL), limit()),  # nohup
            **(quiet | popen),
        )

    def statuses(self) -> dict[str, str]:
        summary = json.loads((self.folder / "summary.json").read_text())
        return {row["notebook"]: row["status"] for row in summary["notebooks"]}

    def executed(self) -> list[str]:
        """The notebooks that left something since the last call, in that order."""
        log = self.root / "executed.txt"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names


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


def wait_until(
    true: Callable[[], bool], seconds: float = 180, moving: Callable[[], Any] | None = None
) -> None:
    """Wait for something that is sure to come, so long as `moving` tells something new."""
    end, last = time.monotonic() + seconds, None
    while not true():
        if moving is not None and (now := moving()) != last:
            end, last = time.monotonic() + seconds, now
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def leftovers(folder: Path) -> list[str]:
    """Temporary files of any kind below a folder."""
    marks = (".part", "/temporary/", "/progress/")
    files = [str(path) for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(mark in path for mark in marks)]


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """A process and all that it started."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def kill_all(process: subprocess.Popen) -> None:
    """kill -9 of the runner and of all that it started."""
    for one in family(process):
        one.kill()


if __name__ == "__main__":
    small = SmallLab(Path(sys.argv[1]))
    sys.exit(small.run(*sys.argv[2:]))
