"""Runs scripts one after the other as `python SCRIPT` does, with what is slow to import at hand.

    python tests/warm_python.py OUTPUT SCRIPT [SCRIPT ...]

Each is a process of its own, forked from this one; what it prints lands in OUTPUT/<name>.txt. What
spreads trainings over GPUs finds two (`fake_gpus`), and 07 is the one process of a torchrun. Ends
with the exit code of the first that fails.
"""

import atexit
import importlib
import os
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

SLOW = ("torch", "torch._dynamo", "pandas", "scipy.stats", "seaborn", "sklearn.svm", "librosa.core")


def fork(output: Path, work: Callable[[], object]) -> int:
    """Do `work` in a process forked from this one, whose output lands in a file; its number."""
    child = os.fork()
    if child == 0:
        told = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 1)
        os.dup2(told, 2)
        work()
        # What is to be done at the end is done; to take all modules apart would take a second.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return child


def run(script: Path) -> None:
    """Run a script in this process."""
    if script.stem == "07_cnn":
        os.environ.update(TORCHELASTIC_RUN_ID="t", WORLD_SIZE="1", RANK="0")
    if "one_per_gpu" in script.read_text(encoding="utf-8"):
        sys.path[0] = str(Path(__file__).resolve().parents[1])
        importlib.import_module("tests.fake_gpus").spread()
    sys.argv[:], sys.path[0] = [str(script)], str(script.parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    for module in SLOW:
        importlib.import_module(module)
    output, *scripts = map(Path, sys.argv[1:])
    for script in scripts:
        child = fork(output / f"{script.stem}.txt", partial(run, script))
        if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(code)
