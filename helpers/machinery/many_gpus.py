"""One training in several processes, each with a GPU of its own, as `torchrun` starts them.

docs/many_gpus.md is the lesson. Without torchrun, and in a single process, nothing here does
anything. PyTorch is imported late: what only stores need not wait for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.machinery.files import LabError, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn


def n_processes() -> int:
    """How many processes train together, on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def number() -> int:
    """Which of them this is, from 0 on; number 0 is the one that prints and writes."""
    return int(os.environ["RANK"]) if n_processes() > 1 else 0


def own_gpu(n_gpus: int, device: str) -> int | None:
    """Which GPU of this machine is this process'; None for any.

    Raises LabError where there are fewer than processes, or where `device` is one of them.
    """
    if n_processes() == 1 or not n_gpus:
        return None
    n_here = int(os.environ["LOCAL_WORLD_SIZE"])
    if n_here > n_gpus:
        raise LabError(
            f"torchrun started {n_here} processes, each of which needs a GPU of its own, and this "
            f"machine has {n_gpus}; give --nproc_per_node={n_gpus}, or take device cpu"
        )
    if ":" in device:
        raise LabError(f"device {device!r} is one GPU for {n_here} processes; write cuda")
    return int(os.environ["LOCAL_RANK"])


def start(device: torch.device) -> None:
    """Join the other processes; from here on only number 0 is heard."""
    import torch
    from torch import distributed

    if n_processes() == 1 or distributed.is_initialized():
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl" if distributed.is_nccl_available() else "gloo"
        if backend == "gloo" and number() == 0:
            print("this PyTorch has no NCCL: the processes talk through gloo, which is slower")
    _end_with_one_line()
    distributed.init_process_group(backend)
    atexit.register(distributed.destroy_process_group)
    if number() > 0:
        os.environ["MUSICLAB_HEADLESS"] = "1"  # no bars
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (open as long as the process is)


# ---- sharing the work --------------------------------------------------------------------------


class SharedBatches:
    """This process' batches of each epoch: every n-th one of an order that all draw alike.

    The order follows from the seed and the number of the pass, which all processes count alike. All
    get as many: the last few of an epoch wait for another one.
    """

    def __init__(self, batches: Any, seed: int) -> None:
        import torch

        # Not the loader's generator, which draws the windows: those are other ones everywhere.
        self.batches, self.seed, self.epoch = batches, seed, 0
        batches.generator = torch.Generator()
        if not len(self):
            raise LabError(
                f"{len(batches)} batches cannot be shared by {n_processes()} processes; lower "
                "batch_size"
            )

    def __len__(self) -> int:
        return len(self.batches) // n_processes()

    def __iter__(self) -> Iterator[list[int]]:
        # No two epochs of two seeds are drawn alike.
        self.batches.generator.manual_seed(self.seed * 2**31 + self.epoch)
        self.epoch += 1
        n = n_processes()
        return iter(list(self.batches)[number() : len(self) * n : n])


def shared(batches: Any, seed: int) -> Any:
    """A sampler of batches, or this process' share of it."""
    return batches if n_processes() == 1 else SharedBatches(batches, seed)


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, or one whose `backward` leaves the mean gradient of all processes in each.

    All begin with the weights of process 0.
    """
    if n_processes() == 1:
        return model
    import torch
    from torch.nn.parallel import DistributedDataParallel

    together = DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )
    if number():  # else dropout would hide the same places of other clips
        torch.manual_seed(torch.initial_seed() + number())
    return together


def share_buffers(model: nn.Module) -> None:
    """Give all processes the running averages that batch norm has in process 0.

    DistributedDataParallel keeps the weights equal; each process sees batches of its own.
    """
    if n_processes() > 1:
        from torch import distributed

        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def summed(*values: float, device: torch.device) -> list[float]:
    """Each value, summed over all processes."""
    if n_processes() == 1:
        return list(values)
    import torch
    from torch import distributed

    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.tolist()


def agreed(value: float, device: torch.device) -> float:
    """The value of process 0: what all decide by, when to stop for example, must be the same."""
    return summed(value if number() == 0 else 0.0, device=device)[0]


# ---- one of them writes ------------------------------------------------------------------------


def write_once(path: Path, content: str | bytes) -> None:
    """Write a file atomically, in process 0 alone; all wait until it is there."""
    if number() == 0:
        write_atomically(path, content)
    wait_for_all()


def wait_for_all() -> None:
    """Go on when every process has come to this line."""
    if n_processes() > 1:
        from torch import distributed

        if distributed.is_initialized():
            distributed.barrier()


# ---- when one of them ends ---------------------------------------------------------------------


def _end_with_one_line() -> None:
    """End this process with a line, and at once, when another one has ended.

    torchrun then sends a signal. A thread of its own answers it: the main one may be waiting for
    the process that is gone, inside NCCL, where no Python runs.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.signal(signal.SIGTERM, lambda *_: None)  # without one, nothing would come to the pipe
    signal.set_wakeup_fd(told)

    def end() -> None:
        while os.read(heard, 1)[0] != signal.SIGTERM:
            continue
        print(
            f"process {number()} of {n_processes()} (from 0) is ended by torchrun, as another one "
            "has ended; give the same command again",
            file=sys.__stderr__, flush=True,  # PyTorch catches sys.stderr while an error is shown
        )  # fmt: skip
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    from torch import distributed

    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        # What it waited for broke off: torchrun has seen why, and will say so by the signal.
        if issubclass(kind, RuntimeError) and "onnection" in str(error):
            time.sleep(60)
        atexit.unregister(distributed.destroy_process_group)  # it might wait for the others
        shown(kind, error, trace)

    sys.excepthook = show
