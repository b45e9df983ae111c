"""The row of the whole lab: all notebooks on the demo set, from nothing but the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed_measure import ROOT, Context, Group, scratch_folder
from benchmarks.speed_table import AT_MOST, Limit, Row, Stat, not_measured
from helpers.machinery.files import LabError, runs_dir

NAME, TITLE = "whole-lab", "The whole lab on the demo set, first time after the set-up"
LIMIT = Limit(AT_MOST, 600, "kit")
DONE = "done"


def measure_whole_lab(context: Context) -> list[Row]:
    """Run it now (`--whole-lab`), or take the newest whole run of this checkout."""
    if context.whole_lab:
        context.say("  running the whole lab; this takes some ten minutes")
        with scratch_folder(context.scratch) as home:
            return [_row(run_lab(home), "run by this benchmark")]
    found = newest_first_run(runs_dir())
    if found is None:
        why = "no run here that built the demo set and ran all notebooks; --whole-lab makes one"
        return [not_measured(NAME, TITLE, why, LIMIT)]
    return [_row(found["total_seconds"], f"of the run {found['run']}")]


def _row(seconds: float, note: str) -> Row:
    return Row(NAME, TITLE, kit=Stat.of([seconds]), limit=LIMIT, note=note)


def run_lab(home: Path) -> float:
    """Seconds of `./run_all.sh --data demo --profile demo` with empty caches below `home`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MUSICLAB_")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"MUSICLAB_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("OMP_WAIT_POLICY", None)  # set by this process's own import of the kit
    # What run_all.sh does once the environment is there; -P: as there, nothing from the folder.
    command = [sys.executable, "-P", "-m", "tools.lab", "--data", "demo", "--profile", "demo"]
    begin = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        last = (f"{done.stdout}\n{done.stderr}".strip().splitlines() or ["no message"])[-1]
        raise LabError(f"the lab ended with code {done.returncode}: {last}")
    return seconds


def newest_first_run(runs: Path) -> dict[str, Any] | None:
    """The summary of the newest run that made everything: the demo set and all notebooks."""
    summaries = []
    for path in runs.glob("*/summary.json"):
        if path.parent.is_symlink():  # latest
            continue
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            if _made_everything(summary):
                summaries.append((path.stat().st_mtime, summary))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of a run under way, or of another version
    return max(summaries, key=lambda pair: pair[0])[1] if summaries else None


def _made_everything(summary: dict[str, Any]) -> bool:
    from tools.lab.notebooks import NOTEBOOKS

    status = {row["notebook"]: row["status"] for row in summary["notebooks"]}
    names = {notebook.name for notebook in NOTEBOOKS} | {"demo_set"}
    demo = summary["data"]["demo"] and summary["profile"] == "demo"
    return demo and status.keys() >= names and all(status[name] == DONE for name in names)


GROUPS = [Group("whole-lab", measure_whole_lab)]
