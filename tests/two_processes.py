"""What each of two processes of a data-parallel training does, for `test_many_gpus`.

    python -m tests.two_processes FOLDER

compares the gradients of a step with those of one process on the joined batch, trains two epochs
on FOLDER/data, writes FOLDER/weights<number>, and waits in a third training for the other one.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from helpers import datasets, models, training
from helpers.folders import GENRE
from helpers.machinery import many_gpus
from helpers.machinery.process import pick_device, seed_everything


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

    history = training.train(model, train_loader, val_loader, epochs=2, after_epoch=after_epoch)
    losses = torch.tensor([history.train_loss, history.val_loss])
    assert torch.isfinite(losses).all()
    return model


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    pick_device("cpu")
    compare_a_step(folder / "data")
    trained = train_two_epochs(folder / "data").state_dict()
    weights = {name: tensor.contiguous() for name, tensor in trained.items()}
    (folder / f"weights{many_gpus.number()}").write_bytes(save(weights))
    train_two_epochs(folder / "data", kill=True)
