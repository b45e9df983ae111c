"""Lets librosa's inner loops be compiled by one process, before several need them at once.

    python tools/setup/warm_up.py

librosa compiles them (with numba) where they are first used, and keeps them beside its files. Two
processes that do so at the same time mix their files up, and from then on every use of them ends
in a segmentation fault. So the set-up does it once, alone; a mixed-up cache is cleared first.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# Three seconds of noise through everything that the demo set goes through.
EXTRACT = """
import numpy as np
from helpers.features import SAMPLE_RATE, extract
extract(0.1 * np.random.default_rng(0).normal(size=3 * SAMPLE_RATE).astype(np.float32))
"""


def warm_up(code: str = EXTRACT) -> int:
    """Runs the code in a process of its own, a second time if it crashed; its exit status."""
    command = [sys.executable, "-c", code]
    status = subprocess.run(command, check=False).returncode
    if status < 0:  # ended by a signal
        for path in librosa_folder().rglob("*.nb[ic]"):  # numba's compiled files
            path.unlink()
        status = subprocess.run(command, check=False).returncode
    return abs(status)


def librosa_folder() -> Path:
    """Where librosa lies; found without importing it."""
    return Path(find_spec("librosa").origin).parent


if __name__ == "__main__":
    sys.exit(warm_up())
