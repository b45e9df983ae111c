"""Execute one notebook with papermill, or build the demo set: what the runner starts for each task.

    python tools/run/execute.py '{"input_path": ..., "output_path": ..., "parameters": {...}, ...}'
    python tools/run/execute.py '{"demo_size": ...}'

What went wrong is the last that it reports of its progress. It ends itself and all that it started
when its standard input ends, which it does when the runner dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import tools  # noqa: F401  (spares jsonschema a second, see there)
from helpers.machinery.files import LabError
from helpers.machinery.process import report_progress

START_TIMEOUT_SECONDS = 180
LAST_LINES = 12
SOURCE_LINES = 6
# Jupyter looks for free ports, closes them, and tells the kernel to open them. Of two kernels that
# start at a time, both may be told the same ones; the second then ends before it has run anything.
STARTS = 4
_NOT_STARTED = "died before replying to kernel_info"


def main() -> int:
    """Do what the one argument describes; 0 when it came to its end, else 1."""
    job = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    failure = build(**job) if "demo_size" in job else execute(**job)
    if failure:
        report_progress(**failure)
    return 1 if failure else 0


def build(demo_size: float) -> dict[str, Any]:
    """Build the demo set; return for a mistake of the user what it is, else nothing.

    A finished set of this size or more is kept: a profile that wants a small one takes a large one.
    """
    from demo_music.build import build_demo
    from helpers import folders

    try:
        build_demo(size=max(demo_size, folders.demo_size()))
    except LabError as error:
        return {"lines": [str(error)]}
    return {}


def execute(connection: str, **notebook: Any) -> dict[str, Any]:
    """Run the notebook; return for a failure its cell and the last lines, else nothing."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # Else Jupyter writes it into the folder for temporary files, where a killed run leaves it.
    config = Config({"KernelManager": {"connection_file": connection}})
    for left in reversed(range(STARTS)):
        try:
            papermill.execute_notebook(
                **notebook,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=START_TIMEOUT_SECONDS,
                config=config,
            )
        except PapermillExecutionError as error:
            from nbconvert.filters import strip_ansi

            shown = strip_ansi("\n".join(error.traceback)).rstrip().splitlines()
            return {
                "cell": error.exec_count,
                "source": error.source.strip().splitlines()[:SOURCE_LINES],
                "lines": [line.rstrip() for line in shown][-LAST_LINES:] or [error.ename],
            }
        except Exception as error:  # the kernel died, the disk is full: whatever papermill meets
            name, text = type(error).__name__, str(error)
            if _NOT_STARTED in text and left:
                continue
            if "died" in text.lower() or "dead" in name.lower():
                text = "the kernel died; most often the machine ran out of memory"
            return {"lines": [f"{name}: {text}" if text else name]}
        return {}


def _end_with_the_runner() -> None:
    """Wait until standard input ends, which means that the runner is gone; then end everything."""
    import psutil

    os.read(0, 1)  # not sys.stdin: its lock would be held while Python shuts down
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    os.killpg(0, signal.SIGKILL)  # this process leads a group


if __name__ == "__main__":
    sys.exit(main())
