"""How fast `build-data` is: decoding beside features, two cores beside one, Dask beside loky.

    python -m benchmarks.own_music --audio DIR [--clips 300]

Takes so many stretches of 30 s from the files of a folder, and prints a table of ratios that were
measured in one run. Dask: a scheduler and as many workers as cores, on this machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from helpers import features
from helpers.machinery.files import LabError
from helpers.machinery.process import usable_cores
from tools.build_data.clip import Job, Task, decode, make_batch, stamp
from tools.build_data.engines import make_clips
from tools.build_data.inputs import READ
from tools.common.command_line import EXIT_DONE, Parser, run_command

REQUIRED = {"decoding": 1.15, "cores": 1.7, "dask": 0.9}


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code says only whether it could be measured."""
    import soundfile

    parser = Parser(prog="python -m benchmarks.own_music", description=__doc__)
    parser.add_argument("--audio", metavar="DIR", type=Path, required=True)
    parser.add_argument("--clips", metavar="N", type=int, default=300)
    options = parser.parse_args(list(arguments))
    files = [path for path in sorted(options.audio.rglob("*")) if path.suffix.lower() in READ]
    long = [path for path in files if soundfile.info(path).duration >= 31]
    if not long:
        raise LabError(f"{options.audio}: no file of 31 s or more")
    tasks = [
        Task(f"{number}", str(path), number / options.clips, 30.0, False, "")
        for number, (_, path) in zip(range(options.clips), product(range(options.clips), long))  # noqa: B905
    ]
    cores = usable_cores()
    decoded, alone = _one_clip_each(tasks[: max(8, options.clips // 10)])
    one, many = (_seconds(tasks, workers, None) for workers in (1, cores))
    dask = _on_dask(tasks, cores)
    print(f"| {len(tasks)} clips of 30 s, {cores} cores | measured | required |\n|---|--:|--:|")
    print(
        f"| decoding and features / features | {decoded / alone:.2f} | <= {REQUIRED['decoding']} |"
    )
    print(f"| one core / {cores} | {one / many:.2f} | >= {REQUIRED['cores']} (of two) |")
    print(f"| loky / Dask | {many / dask:.2f} | >= {REQUIRED['dask']} |")
    print(f"\nseconds: one core {one:.1f}, {cores} cores {many:.1f}, Dask {dask:.1f}")
    return EXIT_DONE


def _one_clip_each(tasks: Sequence[Task]) -> tuple[float, float]:
    """Processor seconds of decoding and features, and of features alone, in turns."""
    from threadpoolctl import threadpool_limits

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
        for _ in make_clips(tasks[: 4 * workers], job, workers, cluster):
            pass
        start = time.perf_counter()
        for _ in make_clips(tasks, job, workers, cluster):
            pass
        return time.perf_counter() - start


def _on_dask(tasks: Sequence[Task], workers: int) -> float:
    """The same on a Dask cluster of this machine; NaN where Dask is not installed."""
    try:
        from distributed import LocalCluster
    except ImportError:
        return float("nan")
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        return _seconds(tasks, workers, cluster.scheduler_address)


if __name__ == "__main__":
    sys.exit(run_command(main))
