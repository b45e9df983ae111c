"""One side of a comparison, in a process of its own that works only while it is asked to.

    python -m benchmarks.speed_worker [--first MODULE] FACTORY '{"option": 1}'

The kit and the plain way run in separate processes, so that neither works with the other's memory,
caches or settings: the kit tells OpenMP to sleep while it waits, which PyTorch by itself does not.
Commands are JSON objects, one a line, on standard input; each is answered by one line. This module
imports nothing of the kit: what a side needs is imported by the side.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MEBIBYTE = 2**20


class Side:
    """What is measured: `run` is timed, `prepare` before each run is not."""

    def prepare(self, **how: Any) -> None:
        """Set up one run."""

    def run(self, **how: Any) -> object:
        """The work; what it returns is let go after the clock has stopped."""
        return None

    def warm_up(self) -> None:
        """Whatever happens only the first time; a whole run unless that takes too long."""
        self.prepare()
        self.run()

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """The arrays in which the two sides must agree."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What else a row may say of this side."""
        return {}


# ---- memory and disk ---------------------------------------------------------------------------


def memory_now() -> dict[str, float]:
    """Resident memory in MiB: `all` now, its `peak`, and `own`, without mapped files.

    Where there is no /proc, all three are the peak since the process began.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE
        return {"all": peak, "peak": peak, "own": peak}
    fields = dict(line.split(":", 1) for line in lines if line.endswith("kB"))
    names = {"all": "VmRSS", "peak": "VmHWM", "own": "RssAnon"}
    return {key: int(fields[name].split()[0]) / 1024 for key, name in names.items()}


def _forget_peak() -> None:
    """Let the peak begin anew at the memory held now, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _mebibytes_read() -> float:
    """MiB that this process has made the system read from a disk; 0 where nobody counts."""
    with suppress(OSError, KeyError, ValueError):
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["read_bytes"]) / MEBIBYTE
    return 0.0


class _Watch(threading.Thread):
    """Looks at the process's own memory a hundred times a second and keeps the highest value."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = memory_now()["own"]
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.01):
            self.highest = max(self.highest, memory_now()["own"])

    def stop(self) -> float:
        self._stopped.set()
        self.join()
        return self.highest


# ---- the loop ----------------------------------------------------------------------------------


def timed(side: Side, runs: int, how: dict[str, Any]) -> list[float]:
    """Seconds of each of `runs` runs."""
    seconds = []
    for _ in range(runs):
        side.prepare(**how)
        gc.collect()
        begin = time.perf_counter()
        kept = side.run(**how)
        seconds.append(time.perf_counter() - begin)
        del kept
    return seconds


def _time(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    gc.collect()
    _forget_peak()
    before, read = memory_now(), _mebibytes_read()
    watch = _Watch() if command.get("watch") else None
    if watch:
        watch.start()
    seconds = timed(side, command["runs"], command["how"])
    own = watch.stop() if watch else memory_now()["own"]
    after = memory_now()
    return {
        "seconds": seconds,
        "grown_mib": after["peak"] - before["all"],
        "own_grown_mib": own - before["own"],
        "peak_mib": after["peak"],
        "read_mib": _mebibytes_read() - read,
    }


def _save(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    np.savez(command["path"], **side.results(**command["how"]))
    return {}


def _warm_up(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    side.warm_up()
    return {}


def _facts(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    return side.facts()


ANSWERS: dict[str, Callable[[Side, dict[str, Any]], dict[str, Any]]] = {
    "time": _time,
    "save": _save,
    "warm_up": _warm_up,
    "facts": _facts,
}


def main(arguments: list[str] | None = None) -> int:
    """Make the side, then answer commands until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_worker", description=__doc__)
    parser.add_argument("factory", help="module:class")
    parser.add_argument("options", help="its arguments, a JSON object")
    parser.add_argument("--first", help="a module to import before everything else")
    options = parser.parse_args(arguments)
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if options.first:
        importlib.import_module(options.first)
    module, _, name = options.factory.partition(":")
    side = getattr(importlib.import_module(module), name)(**json.loads(options.options))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer = ANSWERS[command["do"]](side, command)
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
