"""This process: its memory, threads, seeds and compute device, and what it tells the runner."""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from helpers.machinery.files import LabError, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

Item = TypeVar("Item")
# Options of glibc's mallopt(3): when freed memory is given back to the system, how many blocks may
# come from mmap (which are given back at once), and how many heaps the threads have.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def let_waiting_threads_sleep() -> None:
    """Let PyTorch's threads sleep while they wait for each other, unless the user says otherwise.

    By default they spin, and then any other busy program makes a training step several times
    slower. OpenMP reads this when PyTorch is first imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Let the C library keep what a training step frees for the next one.

    By default glibc gives large arrays back to the system at once, and each step gets its memory
    anew, page by page and filled with zeros: a step then takes up to twice as long. Left alone
    with `MUSICLAB_KEEP_MEMORY=0`, where the user has set malloc up by its own environment
    variables, and on other systems.
    """
    set_up = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or set_up or os.environ.get("MUSICLAB_KEEP_MEMORY") == "0":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_ARENA_MAX, 1)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices), so that a rerun gives the same numbers."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on: `auto` takes CUDA when a GPU answers, else the CPU.

    Raises LabError for an unknown name and for a device that this machine does not have.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    kind = name.split(":", 1)[0]
    if kind not in available:
        raise LabError(f"unknown device {name!r}; known: auto, {', '.join(available)}")
    if not available[kind]():
        raise LabError(f"device {name!r} is not available here; use --device auto or cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LabError(f"unknown device {name!r}; write for example cuda or cuda:0") from error
    if kind == "cuda" and (device.index or 0) >= (n_gpus := torch.cuda.device_count()):
        raise LabError(
            f"device {name!r} is not available here: GPUs are counted from 0, and there are "
            f"{n_gpus}; use --device cuda"
        )
    return device


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def headless() -> bool:
    """True when the runner executes the notebook: progress bars stay out of the outputs."""
    return os.environ.get("MUSICLAB_HEADLESS") == "1"


def report_progress(**values: object) -> None:
    """Tell the runner how far we are: one JSON object in the file `$MUSICLAB_PROGRESS`."""
    path = os.environ.get("MUSICLAB_PROGRESS")
    if path:
        write_atomically(Path(path), json.dumps(values))


def counted(items: Iterable[Item], total: int, what: str, before: int = 0) -> Iterator[Item]:
    """The same items, with a progress bar, and told to the runner twice a second.

    They are clips; `before` of the `total` were done earlier.
    """
    from tqdm import tqdm

    options = {"unit": "clip", "mininterval": 0.5, "leave": False, "disable": headless()}
    told = 0.0
    bar = tqdm(items, what, total=total, initial=before, **options)
    for number, item in enumerate(bar, start=before + 1):
        yield item
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            report_progress(stage=what, done=number, total=total)


@contextmanager
def threads_for(model: nn.Module, device: torch.device) -> Iterator[None]:
    """One thread for each LSTM on a CPU (two run side by side), all of them for everything else.

    More threads in one LSTM wait for each other at every step: see `two_threads` beside this file.
    """
    import torch
    from torch import nn

    before = torch.get_num_threads()
    if device.type == "cpu" and any(isinstance(module, nn.LSTM) for module in model.modules()):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device) -> torch.autocast | nullcontext:
    """bfloat16 where the device computes it natively; elsewhere plain float32, which is said once.

    bfloat16 has float32's range, so no gradient scaler is needed. Weights, losses and the
    optimizer stay in float32.
    """
    import torch

    if device.type in ("cpu", "cuda") and has_native_bfloat16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    _say_float32(device.type)
    return nullcontext()


@cache
def _say_float32(device_type: str) -> None:
    print(f"{device_type}: no bfloat16 instructions here, so everything is computed in float32")


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the processor or GPU has bfloat16 instructions of its own (emulation is slow)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not public yet: may go away
    return bool(ask and ask())
