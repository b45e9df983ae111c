"""What the kit is measured against: humble baselines, and two networks as in public attempts.

The networks are written here from their description, plainly and apart from the kit: no
normalisation (raw dB, padded with 0), no augmentation, Adam at a constant rate, batches of 32, at
most 40 epochs, of which the one with the lowest loss on a fixed fifth of the training clips is
kept. Only their arithmetic is the kit's (`training.autocast`), so that all networks compute alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks.music_clips import Clips, Fold
from helpers.baselines import (
    band_statistics,
    majority_predictions,
    svm_predictions,
    svr_predictions,
)
from helpers.datasets import stratified_split
from helpers.machinery.files import LabError
from helpers.machinery.process import autocast, seed_everything, threads_for

N_MELS = 128
BATCH_SIZE = 32
VALIDATION_SHARE = 0.2
MIN_FRAMES = 3**4  # four poolings by 3


# ---- humble baselines --------------------------------------------------------------------------


def majority(clips: Clips, fold: Fold) -> np.ndarray:
    """The most frequent class of the training clips, as scores [n, classes] of the tested ones."""
    fitted, tested = fold.parts(clips)
    return _one_hot(clips, majority_predictions(clips.targets[fitted], len(tested)))


def svm(clips: Clips, fold: Fold) -> np.ndarray:
    """An SVM on per-band mean, deviation and mean absolute step of the mel: [n, classes]."""
    fitted, tested = fold.parts(clips)
    statistics = band_statistics(clips.dataset())
    chosen = svm_predictions(statistics[fitted], clips.targets[fitted], statistics[tested])
    return _one_hot(clips, chosen)


def svr(clips: Clips, fold: Fold) -> np.ndarray:
    """An SVR for each axis on the same statistics: values [n, 3]."""
    fitted, tested = fold.parts(clips)
    statistics = band_statistics(clips.dataset())
    return svr_predictions(statistics[fitted], clips.targets[fitted], statistics[tested])


def _one_hot(clips: Clips, chosen: np.ndarray) -> np.ndarray:
    return np.eye(len(clips.classes), dtype=np.float32)[chosen]


# ---- the public networks -----------------------------------------------------------------------


class PublicCNN(nn.Module):
    """Four conv3x3-BN-ReLU-maxpool3 blocks, all their outputs flattened, and 128 units.

    Takes clips of one fixed length: [B, 1, 128, n_frames] -> [B, n_outputs].
    """

    def __init__(self, n_frames: int, n_outputs: int) -> None:
        super().__init__()
        if n_frames < MIN_FRAMES:
            raise LabError(f"clips of {n_frames} frames are too short, it needs {MIN_FRAMES}")
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64), (64, 128)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(3),
            ]
        self.blocks = nn.Sequential(*layers)
        n_flat = self.blocks(torch.zeros(1, 1, N_MELS, n_frames)).numel()
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(n_flat, 128), nn.ReLU(),
            nn.Linear(128, n_outputs),
        )  # fmt: skip
        # The same numbers in another order in memory: only the speed changes.
        self.blocks.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, 128] of the fixed length -> [B, n_outputs]; the lengths are not looked at."""
        return self.head(self.blocks(x.transpose(1, 2)[:, None]))


class PublicLSTM(nn.Module):
    """One bidirectional LSTM layer of 128 units over the padded clip, read at its last frame.

    There the backward direction has seen that frame and the padding only, as in the attempts.
    """

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, 128, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, n_outputs)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, 128], lengths [B] -> [B, n_outputs]."""
        outputs, _ = self.lstm(x)
        return self.head(outputs[torch.arange(len(x)), lengths - 1])


@dataclass(frozen=True)
class PublicRecipe:
    """How a public network is trained; `kind` is cnn or lstm."""

    kind: str
    learning_rate: float
    epochs: int = 40
    batch_size: int = BATCH_SIZE


PUBLIC_CNN = PublicRecipe("cnn", 1e-4)
PUBLIC_LSTM = PublicRecipe("lstm", 1e-3)


def public_network(clips: Clips, fold: Fold, recipe: PublicRecipe) -> np.ndarray:
    """Train a public network on a fold; its outputs for the tested clips, [n, classes] or [n, 3].

    Cross-entropy for genres, squared error for the three axes.
    """
    fitted, tested = fold.parts(clips)
    kept, validation = _validation_split(clips, fitted, fold.seed)
    seed_everything(fold.seed)
    n_frames = int(clips.store.lengths.max())
    is_genre = clips.task == "genre"
    n_outputs = len(clips.classes) if is_genre else clips.targets.shape[1]
    model = PublicCNN(n_frames, n_outputs) if recipe.kind == "cnn" else PublicLSTM(n_outputs)
    loss = nn.CrossEntropyLoss() if is_genre else nn.MSELoss()
    with threads_for(model, torch.device("cpu")):
        _train(model, loss, clips, kept, validation, recipe)
        return _predict(model, clips, tested, recipe.batch_size)


def _validation_split(clips: Clips, fitted: np.ndarray, seed: int) -> list[np.ndarray]:
    """The clips to train on and those that choose the epoch: 80 and 20 %, of the same mixture."""
    targets = clips.targets[fitted]
    mixture = targets if clips.task == "genre" else targets.mean(1)
    parts = stratified_split(mixture, (1 - VALIDATION_SHARE, VALIDATION_SHARE), seed)
    return [fitted[part] for part in parts]


def _train(
    model: nn.Module,
    loss: nn.Module,
    clips: Clips,
    fitted: np.ndarray,
    validation: np.ndarray,
    recipe: PublicRecipe,
) -> None:
    """Leave the model with the weights of the epoch of lowest validation loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    lowest, weights = math.inf, copy.deepcopy(model.state_dict())
    for _ in range(recipe.epochs):
        model.train()
        shuffled = fitted[torch.randperm(len(fitted)).numpy()]
        for batch in _batches(clips, shuffled, recipe.batch_size):
            optimizer.zero_grad()
            _loss_of(model, loss, batch).backward()
            optimizer.step()
        value = _mean_loss(model, loss, clips, validation, recipe.batch_size)
        if value < lowest:
            lowest, weights = value, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)


def _loss_of(
    model: nn.Module, loss: nn.Module, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    x, y, lengths = batch
    with autocast(torch.device("cpu")):
        outputs = model(x, lengths)
    return loss(outputs.float(), y)


@torch.no_grad()
def _mean_loss(
    model: nn.Module, loss: nn.Module, clips: Clips, numbers: np.ndarray, batch_size: int
) -> float:
    model.eval()
    total = sum(
        _loss_of(model, loss, batch).item() * len(batch[1])
        for batch in _batches(clips, numbers, batch_size)
    )
    return total / len(numbers)


@torch.no_grad()
def _predict(model: nn.Module, clips: Clips, numbers: np.ndarray, batch_size: int) -> np.ndarray:
    """Outputs in float32, as the kit's predictions are."""
    model.eval()
    outputs = [model(x, lengths) for x, _, lengths in _batches(clips, numbers, batch_size)]
    return torch.cat(outputs).numpy()


def _batches(
    clips: Clips, numbers: np.ndarray, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches x [B, longest T of all, 128] in raw dB, padded with 0; targets; lengths."""
    n_frames = int(clips.store.lengths.max())
    targets = torch.from_numpy(clips.targets)
    for first in range(0, len(numbers), batch_size):
        chosen = numbers[first : first + batch_size]
        x = torch.zeros(len(chosen), n_frames, N_MELS)
        for row, clip in zip(x, chosen, strict=True):
            frames = clips.store.clip(int(clip), slice(0, N_MELS))
            row[: len(frames)] = torch.from_numpy(frames)
        yield x, targets[chosen], torch.from_numpy(clips.store.lengths[chosen])
