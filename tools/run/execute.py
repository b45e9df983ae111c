"""Execute one notebook with papermill: the program that the runner starts for each of them.

    python tools/run/execute.py '{"notebook": ..., "output": ..., "parameters": {...}, ...}'

It writes the executed notebook and a small JSON file that says how it went. It stands alone, and
ends itself and its kernel when its standard input ends, which it does when the runner dies.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import threading
from pathlib import Path
from typing import Any

KERNEL = "python3"
START_TIMEOUT_SECONDS = 180
LAST_LINES = 12
SOURCE_LINES = 6
# Jupyter looks for free ports, closes them, and tells the kernel to open them. Of two kernels that
# start at a time, both may be told the same ones; the second then ends before it has run anything.
STARTS = 4
_NOT_STARTED = "died before replying to kernel_info"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main() -> int:
    """Execute the notebook described by the one argument; 0 when it ran to its end, else 1."""
    spec = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    report = execute(spec)
    report["peak_mb"] = _peak_mb()
    result = Path(spec["result"])
    partial = result.with_name(f".{result.name}.part")
    try:
        partial.write_text(json.dumps(report), encoding="utf-8")
        os.replace(partial, result)
    except OSError as error:
        partial.unlink(missing_ok=True)
        print(f"error: {result}: cannot be written ({error.strerror}); free some space")
        return 1
    return 0 if report["status"] == "done" else 1


def execute(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook; return its status, and for a failure the cell and the last lines."""
    # jsonschema builds a grammar of international web addresses when it finds this package, which
    # takes a second and is of no use here. It does without where the import fails.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # Else Jupyter writes it into the folder for temporary files, where a killed run leaves it.
    config = Config({"KernelManager": {"connection_file": spec["connection"]}})

    for left in reversed(range(STARTS)):
        try:
            papermill.execute_notebook(
                spec["notebook"],
                spec["output"],
                parameters=spec["parameters"],
                kernel_name=KERNEL,
                language="python",
                cwd=spec["cwd"],
                progress_bar=False,
                start_timeout=START_TIMEOUT_SECONDS,
                config=config,
            )
        except PapermillExecutionError as error:
            return _failure(
                error.exec_count, error.source, error.ename, error.evalue, error.traceback
            )
        except Exception as error:  # the kernel died, the disk is full: whatever papermill meets
            name = type(error).__name__
            text = str(error)
            if _NOT_STARTED in text and left:
                continue
            if "died" in text.lower() or "dead" in name.lower():
                text = "the kernel died; most often the machine ran out of memory"
            return _failure(None, "", name, text, [])
        break
    return {"status": "done"}


def _failure(
    cell: int | None, source: str, name: str, value: str, traceback: list[str]
) -> dict[str, Any]:
    """What is shown of a failure; a LabError says everything in its one line."""
    lines = [f"{name}: {value}" if value else name]
    if name != "LabError" and traceback:
        text = _ANSI.sub("", "\n".join(traceback)).rstrip()
        lines = [line.rstrip() for line in text.splitlines()][-LAST_LINES:]
    return {
        "status": "failed",
        "cell": cell,
        "source": source.strip().splitlines()[:SOURCE_LINES],
        "lines": lines,
    }


def _peak_mb() -> float:
    """The most memory that this process or its kernel, now ended, held, in MiB."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(one).ru_maxrss for one in who)
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _end_with_the_runner() -> None:
    """Wait until standard input ends, which means that the runner is gone; then end everything."""
    import psutil

    os.read(0, 1)  # not sys.stdin: its lock would be held while Python shuts down
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.Error:
            continue
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
