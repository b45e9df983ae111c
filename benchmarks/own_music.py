"""How fast `build-data` is: decoding beside features, all cores beside one, Dask beside loky.

    python -m benchmarks.own_music --audio DIR [--clips 300]

Takes so many stretches of 30 s from the files of a folder, and prints a table of ratios that were
measured in one run. Dask: a scheduler and as many workers as cores, on this machine (it needs the
extra `cluster`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import pandas as pd
import soundfile
from distributed import LocalCluster
from threadpoolctl import threadpool_limits

from benchmarks.page import markdown
from helpers import features
from helpers.machinery.files import LabError
from helpers.machinery.process import usable_cores
from tools.build_data.clip import Job, Task, decode, make_batch, stamp
from tools.build_data.engines import make_clips
from tools.build_data.inputs import READ
from tools.common.command_line import EXIT_DONE, Parser, run_command


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code says only whether it could be measured."""
    parser = Parser("python -m benchmarks.own_music", description=__doc__)
    parser.add_argument("--audio", metavar="DIR", type=Path, required=True)
    parser.add_argument("--clips", metavar="N", type=int, default=300)
    options = parser.parse_args(list(arguments))
    files = [
        path for path in sorted(options.audio.resolve().rglob("*")) if path.suffix.lower() in READ
    ]
    long = [path for path in files if soundfile.info(path).duration >= 31]
    if not long:
        raise LabError(f"{options.audio}: no file of 31 s or more")
    tasks = [
        Task(f"{number}", str(path), number / options.clips, 30.0, False, "")
        for number, path in enumerate(islice(cycle(long), options.clips))
    ]
    cores = usable_cores()
    whole, alone = _processor_seconds(tasks[: max(8, options.clips // 10)])
    one, many = (_seconds(tasks, workers, None) for workers in (1, cores))
    own = {"host": "127.0.0.1", "dashboard_address": None, "threads_per_worker": 1}
    with LocalCluster(n_workers=cores, **own) as cluster:
        dask = _seconds(tasks, cores, cluster.scheduler_address)
    rows = [
        ("decoding and features / features", whole / alone, "<= 1.15"),
        (f"one core / {cores}", one / many, ">= 1.7 (of two)"),
        ("loky / Dask", many / dask, ">= 0.9"),
    ]
    title = f"{len(tasks)} clips of 30 s, {cores} cores"
    print(markdown(pd.DataFrame(rows, columns=[title, "measured", "required"])))
    print(f"\nseconds: one core {one:.1f}, {cores} cores {many:.1f}, Dask {dask:.1f}")
    return EXIT_DONE


def _processor_seconds(tasks: Sequence[Task]) -> tuple[float, float]:
    """Those of decoding and features, and of features alone, clip by clip on one core."""
    features.extract(decode(tasks[0].path, 0.0, 30.0))  # compiled once
    whole = alone = 0.0
    with threadpool_limits(1):
        for task in tasks:
            start = time.process_time()
            audio = decode(task.path, task.offset, task.duration)
            middle = time.process_time()
            features.extract(audio)
            end = time.process_time()
            whole, alone = whole + end - start, alone + end - middle
    return whole, alone


def _seconds(tasks: Sequence[Task], workers: int, cluster: str | None) -> float:
    """Seconds of a build, the start of its processes included; Dask's workers are warm."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job("/", folder, stamp())
        make_batch(tasks[:1], job)
        list(make_clips(tasks[: 4 * workers], job, workers, cluster))
        start = time.perf_counter()
        list(make_clips(tasks, job, workers, cluster))
        return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(run_command(main))
