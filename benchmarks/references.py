"""What the lab is measured against: humble baselines, tuned, and two networks of public attempts.

All read the data folder of a fold, as the lab does, and tune on its training clips alone. The
public networks are written here from their description, plainly and apart from the kit: no
normalisation (raw dB, padded with 0), no augmentation, Adam at a constant rate, batches of 32, at
most 40 epochs, of which the one with the lowest loss on a fifth of the training clips is kept
(none better for 10 epochs ends it).
Only their arithmetic is the kit's (`autocast`), so that all networks compute alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from torch import nn

from helpers.baselines import band_statistics, majority_predictions
from helpers.datasets import SpectrogramDataset, stratified_split
from helpers.folders import AXES, GENRE, GENRE_BEAT, MULTITASK
from helpers.machinery.arrays import N_MELS
from helpers.machinery.files import LabError, write_atomically
from helpers.machinery.process import autocast, seed_everything, threads_for

CPU = torch.device("cpu")
INNER_FOLDS = 5
SVM_GRID = {"svc__C": [0.3, 1, 3, 10, 30]}
SVR_GRID = {"svr__C": [0.1, 0.3, 1, 3], "svr__epsilon": [0.02, 0.05, 0.1, 0.2]}
EPOCHS, PATIENCE = 40, 10
VALIDATION_SHARE = 0.2
LAB_CLIPS = 2305  # genre clips for training in the lab's own data (data_links.md)
MIN_FRAMES = 3**4  # four poolings by 3


def _datasets(data: Path, folder: str) -> list[SpectrogramDataset]:
    """The clips to train on and those to test, with class numbers or the three axes."""
    axes = AXES if folder == MULTITASK else ()
    return [SpectrogramDataset(data / folder, split, axes=axes) for split in ("train", "test")]


# ---- humble baselines --------------------------------------------------------------------------


def majority(data: Path, seed: int) -> np.ndarray:
    """The most frequent class of the training clips, [n]."""
    train, test = _datasets(data, GENRE)
    return majority_predictions(train.labels.numpy(), len(test))


def svm(data: Path, seed: int) -> np.ndarray:
    """Classes [n] of an SVM on per-band statistics of the mel; C by inner cross-validation."""
    train, test = _datasets(data, GENRE)
    labels = train.labels.numpy()
    n_inner = max(2, min(INNER_FOLDS, np.bincount(labels).min()))
    inner = StratifiedKFold(n_inner, shuffle=True, random_state=seed)
    tuned = GridSearchCV(make_pipeline(StandardScaler(), SVC()), SVM_GRID, cv=inner)
    return tuned.fit(band_statistics(train), labels).predict(band_statistics(test))


def svr(data: Path, seed: int) -> np.ndarray:
    """Values [n, 3] of an SVR for each axis; C and epsilon by inner cross-validation."""
    train, test = _datasets(data, MULTITASK)
    known, unknown, values = band_statistics(train), band_statistics(test), train.labels.numpy()
    inner = KFold(INNER_FOLDS, shuffle=True, random_state=seed)
    score = make_scorer(_order)
    tuned = GridSearchCV(make_pipeline(StandardScaler(), SVR()), SVR_GRID, cv=inner, scoring=score)
    return np.stack([tuned.fit(known, axis).predict(unknown) for axis in values.T], axis=1)


def _order(true: np.ndarray, predicted: np.ndarray) -> float:
    """Spearman, the metric that is reported; 0 where it is undefined."""
    constant = np.ptp(true) == 0 or np.ptp(predicted) == 0
    return 0.0 if constant else float(spearmanr(true, predicted).statistic)


# ---- the public networks -----------------------------------------------------------------------


class PublicCNN(nn.Module):
    """Four conv3x3-BN-ReLU-maxpool3 blocks, all their outputs flattened, and 128 units.

    Takes clips of one fixed length: [B, n_frames, 128] -> [B, n_outputs].
    """

    def __init__(self, n_frames: int, n_outputs: int) -> None:
        super().__init__()
        if n_frames < MIN_FRAMES:
            raise LabError(f"clips of {n_frames} frames are too short for the public CNN, which "
                           f"needs {MIN_FRAMES}; take full clips")  # fmt: skip
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64), (64, 128)):
            # ReLU after the pooling gives the same numbers, to the bit, and has a ninth to do.
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after),
                       nn.MaxPool2d(3), nn.ReLU()]  # fmt: skip
        self.blocks = nn.Sequential(*layers)
        n_flat = self.blocks(torch.zeros(1, 1, N_MELS, n_frames)).numel()
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(n_flat, 128), nn.ReLU(),
            nn.Linear(128, n_outputs),
        )  # fmt: skip
        # The same numbers in another order in memory: only the speed changes.
        self.blocks.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The lengths are not looked at."""
        return self.head(self.blocks(x.transpose(1, 2)[:, None]))


class PublicLSTM(nn.Module):
    """One bidirectional LSTM layer of 128 units over the padded clip, read at its last frame.

    There the backward direction has seen that frame and the padding only, as in the attempts.
    """

    def __init__(self, n_frames: int, n_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, 128, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, n_outputs)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, 128], lengths [B] -> [B, n_outputs]."""
        outputs, _ = self.lstm(x)
        return self.head(outputs[torch.arange(len(x)), lengths - 1])


@dataclass(frozen=True)
class Clips:
    """Raw mel frames [n, T, 128] float16, padded with 0; targets [n] or [n, 3]; lengths [n]."""

    frames: torch.Tensor
    targets: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, dataset: SpectrogramDataset, n_frames: int) -> Clips:
        """All clips of a dataset, cut and padded to one length."""
        frames = torch.zeros(len(dataset), n_frames, N_MELS, dtype=torch.float16)
        for number in range(len(dataset)):
            own = dataset.frames(number)[:n_frames]
            frames[number, : len(own)] = torch.from_numpy(own)
        lengths = torch.from_numpy(dataset.lengths).clamp(max=n_frames)
        return cls(frames, dataset.labels, lengths)

    def batches(self, numbers: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """x [B, T, 128] float32, lengths [B], targets, for these clips in this order."""
        for some in numbers.split(size):
            yield self.frames[some].float(), self.lengths[some], self.targets[some]


def public_network(
    kind: Callable[[int, int], nn.Module],
    folder: str,
    learning_rate: float,
    steps_of_lab: bool = False,
) -> Callable[[Path, int], np.ndarray]:
    """A function of a fold's folder and a seed that trains such a network: [n] or [n, 3].

    `steps_of_lab` makes batches so small that an epoch has as many steps as with the lab's data.
    """

    def predictions(data: Path, seed: int) -> np.ndarray:
        train, test = _datasets(data, folder)
        n_frames = int(train.lengths.max())
        fitted, validation = _validation_split(train, seed)
        size = 32
        if steps_of_lab:
            size = max(2, round(len(fitted) / (LAB_CLIPS * (1 - VALIDATION_SHARE) / 32)))
        seed_everything(seed)
        model = kind(n_frames, len(train.classes or AXES))
        loss: nn.Module = nn.MSELoss() if folder == MULTITASK else nn.CrossEntropyLoss()
        with threads_for(model, CPU):
            optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
            _train(model, loss, optimizer, Clips.of(train, n_frames), fitted, validation, size)
            outputs = _outputs(model, Clips.of(test, n_frames), torch.arange(len(test))).numpy()
        return outputs if folder == MULTITASK else outputs.argmax(1)

    return predictions


def _validation_split(train: SpectrogramDataset, seed: int) -> list[torch.Tensor]:
    """The clips to train on and those that choose the epoch, of the same mixture."""
    labels = train.labels.numpy()
    mixture = labels.mean(1) if labels.ndim > 1 else labels
    parts = stratified_split(mixture, (1 - VALIDATION_SHARE, VALIDATION_SHARE), seed)
    return [torch.from_numpy(part) for part in parts]


def _train(
    model: nn.Module,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    clips: Clips,
    fitted: torch.Tensor,
    validation: torch.Tensor,
    size: int,
) -> None:
    """Leave the model with the weights of the epoch of lowest validation loss."""
    lowest, best, weights = math.inf, 0, copy.deepcopy(model.state_dict())
    for epoch in range(EPOCHS):
        model.train()
        for x, lengths, targets in clips.batches(fitted[torch.randperm(len(fitted))], size):
            if len(x) > 1:  # batch norm cannot learn from one clip
                optimizer.zero_grad()
                with autocast(CPU):
                    outputs = model(x, lengths)
                loss(outputs.float(), targets).backward()
                optimizer.step()
        with autocast(CPU):
            outputs = _outputs(model, clips, validation)
        value = loss(outputs.float(), clips.targets[validation]).item()
        if value < lowest:
            lowest, best, weights = value, epoch, copy.deepcopy(model.state_dict())
        elif epoch - best >= PATIENCE:
            break
    model.load_state_dict(weights)


@torch.no_grad()
def _outputs(model: nn.Module, clips: Clips, numbers: torch.Tensor) -> torch.Tensor:
    """In float32, as the kit's predictions are."""
    model.eval()
    return torch.cat([model(x, lengths) for x, lengths, _ in clips.batches(numbers, 32)])


LAB_STEPS = "public CNN, steps of the lab's data"
# Name -> the folder whose test clips it reads, and a function of the data folder and a seed.
REFERENCES: dict[str, tuple[str, Callable[[Path, int], Any]]] = {
    "majority class": (GENRE, majority),
    "SVM": (GENRE, svm),
    "public LSTM, beats": (GENRE_BEAT, public_network(PublicLSTM, GENRE_BEAT, 1e-3)),
    "public CNN": (GENRE, public_network(PublicCNN, GENRE, 1e-4)),
    LAB_STEPS: (GENRE, public_network(PublicCNN, GENRE, 1e-4, steps_of_lab=True)),
    "SVR": (MULTITASK, svr),
    "public CNN, affect": (MULTITASK, public_network(PublicCNN, MULTITASK, 1e-4)),
}
# In how many repeats the slow ones are measured: each takes up to a minute a fold.
REPEATS = {"public CNN": 2, "public CNN, affect": 2, LAB_STEPS: 1}


def store(names: Sequence[str], data: Path, seed: int, folder: Path) -> dict[str, str]:
    """Predict the test clips of a fold's data folder and store each as `<folder>/<name>.csv`.

    Returns why some could not be fitted, by name.
    """
    reasons = {}
    for name in names:
        source, function = REFERENCES[name]
        print(f"{data.name}: {name}", flush=True)
        try:
            values = function(data, seed)
        except LabError as error:
            reasons[name] = str(error)
            continue
        ids = SpectrogramDataset(data / source, "test").ids
        columns = list(AXES) if source == MULTITASK else ["class"]
        table = pd.DataFrame(values.reshape(len(ids), -1), index=ids, columns=columns)
        write_atomically(folder / f"{name}.csv", table.to_csv(index_label="id"))
    return reasons
