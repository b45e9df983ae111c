"""Runs scripts one after the other as `python SCRIPT` does, with what is slow to import at hand.

    python -m tests.warm_python OUTPUT SCRIPT [SCRIPT ...]

Each is a process of its own, forked from this one; what it prints lands in OUTPUT/<name>.txt. What
spreads trainings over GPUs finds two (`fake_gpus`). Ends with the exit code of the first that
fails.
"""

import importlib
import os
import runpy
import sys
from pathlib import Path

SLOW = ("torch", "torch._dynamo", "pandas", "scipy.stats", "seaborn", "sklearn.svm", "librosa.core")

if __name__ == "__main__":
    for module in SLOW:
        importlib.import_module(module)
    output, *scripts = map(Path, sys.argv[1:])
    for script in scripts:
        child = os.fork()
        if child == 0:
            told = os.open(output / f"{script.stem}.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(told, 1)
            os.dup2(told, 2)
            if "one_per_gpu" in script.read_text(encoding="utf-8"):
                sys.path[0] = str(Path(__file__).resolve().parents[1])
                importlib.import_module("tests.fake_gpus").spread()
            sys.argv[:], sys.path[0] = [str(script)], str(script.parent)
            runpy.run_path(str(script), run_name="__main__")
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.exit(code)
