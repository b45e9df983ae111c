"""This process: its memory, threads, seeds and compute device, and what it tells the runner."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from helpers.machinery.files import KAGGLE_INPUT, LabError, one_line, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

Item = TypeVar("Item")
# Options of glibc's mallopt(3): when freed memory is given back to the system, how many blocks may
# come from mmap (which are given back at once), and how many heaps the threads have.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_DASKS_OWN = ("MALLOC_TRIM_THRESHOLD_", "65536")  # every worker of Dask has it, whoever starts it


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
    variables = os.environ.items() - {_DASKS_OWN}
    set_up = any(name.startswith("MALLOC_") for name, _ in variables)
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
    """The device to compute on (`find_device`); prints which, why, and what trainings compute in.

    In a process of torchrun, it also joins the others: see `many_gpus`.
    """
    from helpers.machinery import many_gpus

    device, why = find_device(name)
    many_gpus.start(device)
    numbers = str(training_dtype(device)).removeprefix("torch.")
    several = f"{many_gpus.n_processes()} processes " * (many_gpus.n_processes() > 1)
    print(f"{several}computing on {device}{why and f' ({why})'}; trainings in {numbers}")
    return device


def find_device(name: str = "auto") -> tuple[torch.device, str]:
    """A device, and the name of the GPU, or why `auto` comes to none.

    `auto` is the first GPU that computes a product, else the CPU. A GPU that PyTorch sees may
    still be too old for it, or its memory full. Of the processes of torchrun each has the GPU of
    its own number. From then on a GPU computes float32 to its last digit, not in TF32. Raises
    LabError for an unknown name, and for a device that this machine does not have or that does not
    compute; with `auto` for a GPU of torchrun's that does not, or on Kaggle when none does.
    """
    import torch

    from helpers.machinery import many_gpus

    kind, _, number = name.partition(":")
    if kind not in (known := ("auto", "cpu", "cuda", "mps")):
        raise LabError(f"unknown device {name!r}; known: {', '.join(known)}")
    if number and not (number.isdecimal() and kind == "cuda"):
        raise LabError(f"unknown device {name!r}; write for example cuda or cuda:0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise LabError("device 'mps' is not available here; use --device auto or cpu")
    if kind in ("cpu", "mps"):
        return torch.device(kind), ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    trouble = one_line(said[0].message) if said and not n_gpus else ""  # of an old driver, say
    if kind == "cuda" and not n_gpus:
        because = f" ({trouble})" if trouble else ""
        raise LabError(f"device {name!r} is not available here{because}; use --device auto or cpu")
    if number and int(number) >= n_gpus:
        raise LabError(
            f"device {name!r} is not available here: GPUs are counted from 0, and there are "
            f"{n_gpus}; use --device cuda"
        )
    own = many_gpus.own_gpu(n_gpus, name)
    first = int(number or 0)
    for gpu in [own] if own is not None else [first] if kind == "cuda" else range(n_gpus):
        trouble, gpu_name = _trouble_with(gpu)
        if not trouble:  # what is not computed in 16 bits has float32's digits, not TF32's
            torch.backends.cudnn.allow_tf32 = False
            alone = own is None and gpu == 0 and not number
            return torch.device("cuda" if alone else f"cuda:{gpu}"), gpu_name
    if kind == "auto" and own is None and not (n_gpus and KAGGLE_INPUT.is_dir()):
        return torch.device("cpu"), trouble or "no GPU answers"
    elsewhere = "on Kaggle, choose GPU T4 x2 (Settings, Accelerator); elsewhere, another GPU"
    raise LabError(f"{trouble}; {elsewhere}, or device cpu")


def _trouble_with(number: int) -> tuple[str, str]:
    """Why a GPU cannot compute, empty if it can, and its name."""
    import torch

    name = f"GPU {number}"
    try:
        name = torch.cuda.get_device_name(number)
        ones = torch.ones(4, 4, device=f"cuda:{number}")
        if float((ones @ ones).sum()) == 64:
            return "", name
        problem = "its products are wrong"
    except RuntimeError as error:  # its memory is full, it is busy, or too old for this PyTorch
        problem = one_line(str(error).partition("\n")[0])
    return f"{name} is there, but cannot compute ({problem})", name


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


@cache  # once is enough
def belong_to(parent: int) -> None:
    """Leave Ctrl-C to the process that started this one, and end with it, even by `kill -9`."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


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


@contextmanager
def computing(model: nn.Module, device: torch.device) -> Iterator[None]:
    """In the threads that fit; a GPU whose memory is full is one line that says what to lower."""
    import torch

    try:
        with threads_for(model, device):
            yield
    except torch.OutOfMemoryError as error:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info(device))
        raise LabError(
            f"{device} ({torch.cuda.get_device_name(device)}): its memory is full: {free:.1f} of "
            f"{total:.1f} GiB are free; lower batch_size or crop_frames, or end what else uses it"
        ) from error


def autocast(device: torch.device) -> torch.autocast | nullcontext:
    """Products in `training_dtype`. Weights, losses and the optimizer stay in float32."""
    import torch

    dtype = training_dtype(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def training_dtype(device: torch.device) -> torch.dtype:
    """In which numbers the products of a training are computed.

    bfloat16 where that pays; float16 on other GPUs with tensor cores (V100, T4), where small
    gradients need a scaler (`loss_scaler`); else float32. The GTX 16 say 7.5, as a T4 does, but
    have no tensor cores.
    """
    import torch

    if has_native_bfloat16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        if "GTX 16" not in torch.cuda.get_device_name(device):
            return torch.float16
    return torch.float32


@cache
def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the processor or GPU computes bfloat16 natively, and faster than float32.

    PyTorch's `is_bf16_supported()` counts emulation in, which is slow. A processor needs AMX, or
    AMD's AVX512_BF16: Intel's alone gains nothing (on such a Xeon a step of the CNN took 0.41 s of
    one core's time in bfloat16, and 0.37 s in float32).
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # not public: may go away
    amx, avx = (bool(getattr(torch.cpu, name, lambda: False)()) for name in names)
    try:
        is_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        is_amd = False
    return device.type == "cpu" and (amx or (avx and is_amd))
