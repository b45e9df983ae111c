"""Trainings that know nothing of each other, one per GPU, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.machinery.process import find_device

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    n_gpus = torch.cuda.device_count()
    return named[:n_gpus] if any(named) else [str(number) for number in range(n_gpus)]


def one_per_gpu(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    device: torch.device | str,
    gpus: Sequence[str] | None = None,
) -> list[Result]:
    """`[function(item) for item in items]`; where there are several GPUs, so many at a time.

    It is just that list, made here, with fewer than two items or `gpus` (default: all that are
    visible), or when `device`, on which the function computes, is the CPU, or one GPU that was
    chosen. Else each GPU has a process that sees no other one: there `cuda` is its own. A GPU that
    does not compute is named, and left out. The function must seed what it draws, and what it
    changes outside of itself nobody sees; it, the items and the results travel between processes (a
    function of a notebook may). Results come in the order of the items. An error of one is raised
    here, and ends the others.
    """
    items = list(items)
    gpus = [] if str(device) != "cuda" else visible_gpus() if gpus is None else gpus
    gpus = gpus[: len(items)]
    if len(gpus) < 2:
        return [function(item) for item in items]
    # joblib's executor: it takes the functions of a notebook, and starts no script anew.
    from joblib.externals.loky import ProcessPoolExecutor

    free: SimpleQueue[Any] = SimpleQueue()
    executors = [
        ProcessPoolExecutor(
            1,
            initializer=_start_processes_as_usual,
            env={"CUDA_VISIBLE_DEVICES": gpu, "MUSICLAB_HEADLESS": "1"},
        )
        for gpu in gpus
    ]

    def on_a_free_one(item: Item) -> Result:
        executor = free.get()
        try:
            return executor.submit(function, item).result()
        finally:
            free.put(executor)

    failed = True
    with ThreadPoolExecutor(len(gpus)) as threads:
        try:
            found = [executor.submit(find_device, "cuda") for executor in executors]
            for gpu, executor, own in zip(gpus, executors, found, strict=True):
                if trouble := own.exception():
                    print(f"nothing is trained on GPU {gpu}: {trouble}")
                else:
                    free.put(executor)
            if free.empty():
                raise trouble
            results = list(threads.map(on_a_free_one, items))
            failed = False
        finally:
            for executor in executors:
                executor.shutdown(kill_workers=failed)
    return results


def _start_processes_as_usual() -> None:
    """In joblib's process others would be started as joblib does, which these do not know."""
    multiprocessing.set_start_method(None, force=True)
