"""The note beside each result, and why a notebook is not up to date by what was noted.

A note says what a notebook ran with (`Plan.digest_inputs`), which executions of the notebooks it
needs it saw, and a digest of what it stored. It is written last, so that a result without a note
is one of a run that was stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from helpers.machinery.files import read_json, write_atomically
from tools.common.notebooks import Lab
from tools.common.run_folder import Paths
from tools.run.results import Row, record_digest


def write_note(run: Path, row: Row, needs: Iterable[str], inputs: Mapping[str, Any]) -> None:
    """Note how a notebook ran to its end. Raises LabError when it cannot be written."""
    paths = Paths(run, row.notebook)
    note = {
        "execution": time.time_ns(),  # new each time: what needs this notebook runs again
        "inputs": inputs,
        "needs": {need: _execution(run, need) for need in needs},
        "record": record_digest(paths.record),
        "seconds": row.seconds,
        "peak_mb": row.peak_mb,
    }
    write_atomically(paths.note, json.dumps(note, indent=1) + "\n")


def why_stale(run: Path, name: str, needs: Iterable[str], inputs: Mapping[str, Any]) -> str:
    """Why a notebook's results are not those of these inputs; nothing when they are.

    Inputs that are not given are not compared: without the data, the code still can be.
    """
    paths = Paths(run, name)
    note = read_json(paths.note)
    whole = all(isinstance(note.get(part), dict) for part in ("inputs", "needs"))
    if not paths.executed.is_file():
        return "it failed" if paths.failed.is_file() else "it has not run"
    if not whole or "record" not in note:
        return "nothing is noted of how it ran"
    if changed := _changed(note["inputs"], inputs):
        return changed
    if note["record"] != record_digest(paths.record):
        return "its stored results were changed after it had run"
    older = [need for need in needs if note["needs"].get(need) != _execution(run, need)]
    return f"its results are older than those of {', '.join(older)}" if older else ""


def stale_results(run: Path, lab: Lab) -> list[str]:
    """Why some results of a run are not those of the code as it is now, a line per notebook."""
    reasons = (
        (name, why_stale(run, name, lab.needs(name), {"code": lab.code_digest(name)}))
        for name in lab.names
    )
    return [f"{name}: {reason}" for name, reason in reasons if reason]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not as it was when a notebook ran; nothing when all is."""
    if "code" in now and then.get("code") != now["code"]:
        return "its results are older than its code"
    before, after = then.get("parameters", {}), now.get("parameters", {})
    if "parameters" in now and before != after:
        others = sorted(key for key in before | after if before.get(key) != after.get(key))
        return "it ran on other data" if others == ["data"] else f"other {', '.join(others)}"
    if "left_out" in now and then.get("left_out") != now["left_out"]:
        return "other clips were left out"
    return ""


def _execution(run: Path, name: str) -> object:
    """A number of the execution that a notebook's results are of; None without one."""
    return read_json(Paths(run, name).note).get("execution")
