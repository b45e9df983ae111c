"""Build the demo set: the program that the runner starts before the first notebook.

    python tools/run/build_demo_set.py SIZE

A finished set of this size or more is kept: a profile that wants a small one takes a large one.
It ends itself when its standard input ends, which it does when the runner dies.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from demo_music.build import build_demo
from helpers.folders import demo_size


def main() -> None:
    """Build the demo set, or return at once when it is there. Raises LabError as one line."""
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    build_demo(size=max(float(sys.argv[1]), demo_size()))


def _end_with_the_runner() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)  # this process leads a group; its workers are in it


if __name__ == "__main__":
    main()
