"""A data-parallel training in two processes, as torchrun starts and ends them.

    python -m tests.two_processes FOLDER

Twice two processes compare the gradients of a step with those of one process on the joined batch,
and train two epochs on FOLDER/data. The first two begin another training, in which process 1 is
killed; the second two are the same command, given again. Each leaves FOLDER/<run>_weights<number>,
and what it said in FOLDER/<run>_said<number>. Prints the exit codes of process 0 and 1 of each run.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from helpers import datasets, models, training
from helpers.folders import GENRE
from helpers.machinery import many_gpus
from helpers.machinery.process import belong_to, pick_device, seed_everything
from tests.warm_python import fork


def settings(number: int, n: int = 2) -> dict[str, str]:
    """What torchrun tells process `number` of `n` on one machine."""
    numbers = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
    return {name: str(value) for name, value in numbers.items()} | {"TORCHELASTIC_RUN_ID": "t"}


# ---- torchrun ----------------------------------------------------------------------------------


def run_two(folder: Path, run: str, kill: bool) -> list[int]:
    """Run two processes to their ends: the exit codes. When one fails, the other gets a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    running, codes = {}, [0, 0]
    for number in (0, 1):
        # This process has imported PyTorch already, which takes the longest.
        child = fork(folder / f"{run}_said{number}", partial(work, folder, run, number, kill))
        running[child] = number
    while running:
        child, status = os.wait()
        codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
        for other in running if status else ():
            os.kill(other, signal.SIGTERM)
    return codes


# ---- one of the two ----------------------------------------------------------------------------


def work(folder: Path, run: str, number: int, kill: bool) -> None:
    """What each process does."""
    belong_to(os.getppid())
    os.environ.update(settings(number))
    pick_device("cpu")
    compare_a_step(folder / "data")
    trained = train_two_epochs(folder / "data").state_dict()
    weights = {name: tensor.contiguous() for name, tensor in trained.items()}
    (folder / f"{run}_weights{number}").write_bytes(save(weights))
    if kill:
        train_two_epochs(folder / "data", kill=True)


def new_cnn(n_classes: int) -> nn.Module:
    seed_everything(0)
    return models.Classifier(models.CNNBackbone(128, (4, 4, 8, 8), dropout=0.1), n_classes)


def compare_a_step(data: Path) -> None:
    """The mean gradient of two halves is that of the whole, where batch norm does not look."""
    clips = datasets.SpectrogramDataset(data / GENRE, "train", "mel")
    clips.scaler = datasets.BandScaler.fit(clips)
    x, y, lengths = next(iter(datasets.make_loader(clips, 4)))
    model = new_cnn(len(clips.classes)).eval()
    together, loss = many_gpus.data_parallel(model, torch.device("cpu")), nn.CrossEntropyLoss()
    mine = slice(2 * many_gpus.number(), 2 * many_gpus.number() + 2)
    loss(together(x[mine], lengths[mine]), y[mine]).backward()
    shared = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss(model(x, lengths), y).backward()
    alone = [parameter.grad for parameter in model.parameters()]
    apart = max(float((a - b).abs().max()) for a, b in zip(shared, alone, strict=True))
    assert apart < 1e-6 < max(float(gradient.abs().max()) for gradient in alone), apart


def train_two_epochs(data: Path, kill: bool = False) -> nn.Module:
    """On shares of the batches; `kill` ends process 1 after its first epoch."""
    splits = datasets.genre_splits(data / GENRE, "mel", 0)
    train_loader, val_loader, _ = datasets.make_loaders(splits, 2, crop_frames=64)
    model = new_cnn(len(splits.base.classes))

    def after_epoch(_: nn.Module) -> None:
        if kill and many_gpus.number() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    training.train(model, train_loader, val_loader, epochs=2, after_epoch=after_epoch)
    return model


if __name__ == "__main__":
    for module in ("pandas", "torch._dynamo", "torch.nn.parallel"):  # else each imports them
        importlib.import_module(module)
    torch.set_num_threads(1)
    for name, is_killed in (("killed", True), ("again", False)):
        print(*run_two(Path(sys.argv[1]), name, is_killed), flush=True)
