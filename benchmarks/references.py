"""What the lab is measured against: humble baselines, tuned, and two networks of public attempts.

All read the data folder of a fold, as the lab does, and tune on its training clips alone. The
public networks are written here from their description, plainly and apart from the kit: no
normalisation (raw dB, padded with 0), no augmentation, Adam at a constant rate, batches of 32, at
most 40 epochs, of which the one with the lowest loss on a fifth of the training clips is kept
(none better for 10 epochs ends it). Only their arithmetic is the kit's (`autocast`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

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
from torch.utils.data import TensorDataset

from helpers.baselines import band_statistics, majority_predictions
from helpers.datasets import SpectrogramDataset, stratified_split
from helpers.folders import AXES, GENRE, GENRE_BEAT, MULTITASK, SPLITS
from helpers.machinery.arrays import N_MELS
from helpers.machinery.files import LabError
from helpers.machinery.process import autocast, seed_everything, threads_for

CPU = torch.device("cpu")
INNER_FOLDS = 5
SVM_GRID = {"svc__C": [0.3, 1, 3, 10, 30]}
SVR_GRID = {"svr__C": [0.1, 0.3, 1, 3], "svr__epsilon": [0.02, 0.05, 0.1, 0.2]}
EPOCHS, PATIENCE, BATCH_SIZE = 40, 10, 32
VALIDATION_SHARE = 0.2
LAB_CLIPS = 2305  # genre clips for training in the lab's own data (data_links.md)
MIN_FRAMES = 3**4  # four poolings by 3

# Clips to train on and clips to predict, and a seed -> class numbers [n] or values [n, 3].
Reference = Callable[[SpectrogramDataset, SpectrogramDataset, int], np.ndarray]


# ---- humble baselines --------------------------------------------------------------------------


def majority(train: SpectrogramDataset, test: SpectrogramDataset, seed: int) -> np.ndarray:
    """The most frequent class of the training clips, [n]."""
    return majority_predictions(train.labels.numpy(), len(test))


def svm(train: SpectrogramDataset, test: SpectrogramDataset, seed: int) -> np.ndarray:
    """Classes [n] of an SVM on per-band statistics of the mel; C by inner cross-validation."""
    labels = train.labels.numpy()
    n_inner = max(2, min(INNER_FOLDS, np.bincount(labels).min()))
    inner = StratifiedKFold(n_inner, shuffle=True, random_state=seed)
    tuned = GridSearchCV(make_pipeline(StandardScaler(), SVC()), SVM_GRID, cv=inner)
    return tuned.fit(band_statistics(train), labels).predict(band_statistics(test))


def svr(train: SpectrogramDataset, test: SpectrogramDataset, seed: int) -> np.ndarray:
    """Values [n, 3] of an SVR for each axis; C and epsilon by inner cross-validation."""
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
            problem = f"clips of {n_frames} frames are too short for the public CNN"
            raise LabError(f"{problem}, which needs {MIN_FRAMES}; take full clips")
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
            # ReLU after the pooling gives the same numbers, to the bit, and has a ninth to do.
            layers += [nn.MaxPool2d(3), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        n_flat = self.blocks(torch.zeros(1, 1, N_MELS, n_frames)).numel()
        units = [nn.Dropout(0.2), nn.Linear(n_flat, 128), nn.ReLU(), nn.Linear(128, n_outputs)]
        self.head = nn.Sequential(nn.Flatten(), *units)
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


def train_public(
    train: SpectrogramDataset,
    test: SpectrogramDataset,
    seed: int,
    kind: Callable[[int, int], nn.Module],
    learning_rate: float = 1e-4,
    steps_of_lab: bool = False,
) -> np.ndarray:
    """What such a network says of the test clips: classes [n], or values [n, 3].

    `steps_of_lab` makes batches so small that an epoch has as many steps as with the lab's data.
    """
    n_frames, labels = int(train.lengths.max()), train.labels.numpy()
    mixture = labels.mean(1) if train.axes else labels
    parts = stratified_split(mixture, (1 - VALIDATION_SHARE, VALIDATION_SHARE), seed)
    fitted, validation = (torch.from_numpy(part) for part in parts)
    size = BATCH_SIZE
    if steps_of_lab:
        size = max(2, round(len(fitted) / (LAB_CLIPS * (1 - VALIDATION_SHARE) / BATCH_SIZE)))
    clips, unknown = (_padded(dataset, n_frames) for dataset in (train, test))
    seed_everything(seed)
    model = kind(n_frames, len(train.classes or AXES))
    with threads_for(model, CPU):
        _fit(model, learning_rate, clips, fitted, validation, size)
        outputs = _outputs(model, unknown, torch.arange(len(test)))  # in float32, as the kit's
    return outputs.numpy() if train.axes else outputs.argmax(1).numpy()


def _padded(dataset: SpectrogramDataset, n_frames: int) -> TensorDataset:
    """Raw mel frames [n, n_frames, 128] float16, cut or padded with 0; lengths [n]; labels."""
    frames = torch.zeros(len(dataset), n_frames, N_MELS, dtype=torch.float16)
    for number in range(len(dataset)):
        own = dataset.frames(number)[:n_frames]
        frames[number, : len(own)] = torch.from_numpy(own)
    lengths = torch.from_numpy(dataset.lengths).clamp(max=n_frames)
    return TensorDataset(frames, lengths, dataset.labels)


def _fit(
    model: nn.Module,
    learning_rate: float,
    clips: TensorDataset,
    fitted: torch.Tensor,
    validation: torch.Tensor,
    size: int,
) -> None:
    """Train, and leave the model with the weights of the epoch of lowest validation loss."""
    # Numbers below 1e-38 are 0: read at its last frame, the LSTM has many such gradients, and a
    # processor needs eight times as long for them.
    torch.set_flush_denormal(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    known = clips.tensors[-1][validation]
    loss: nn.Module = nn.MSELoss() if known.is_floating_point() else nn.CrossEntropyLoss()
    lowest, best, weights = math.inf, 0, copy.deepcopy(model.state_dict())
    for epoch in range(EPOCHS):
        model.train()
        for numbers in fitted[torch.randperm(len(fitted))].split(size):
            if len(numbers) > 1:  # batch norm cannot learn from one clip
                x, lengths, labels = clips[numbers]
                optimizer.zero_grad()
                with autocast(CPU):
                    outputs = model(x.float(), lengths)
                loss(outputs.float(), labels).backward()
                optimizer.step()
        with autocast(CPU):
            outputs = _outputs(model, clips, validation)
        value = loss(outputs.float(), known).item()
        if value < lowest:
            lowest, best, weights = value, epoch, copy.deepcopy(model.state_dict())
        elif epoch - best >= PATIENCE:
            break
    model.load_state_dict(weights)


@torch.no_grad()
def _outputs(model: nn.Module, clips: TensorDataset, numbers: torch.Tensor) -> torch.Tensor:
    """What the network says of these clips, [n, n_outputs]."""
    model.eval()
    batches = (clips[some] for some in numbers.split(BATCH_SIZE))
    return torch.cat([model(x.float(), lengths) for x, lengths, _ in batches])


LAB_STEPS = "public CNN, steps of the lab's data"
# Name -> the folder whose clips it reads, and how it predicts.
REFERENCES: dict[str, tuple[str, Reference]] = {
    "majority class": (GENRE, majority),
    "SVM": (GENRE, svm),
    "public LSTM, beats": (GENRE_BEAT, partial(train_public, kind=PublicLSTM, learning_rate=1e-3)),
    "public CNN": (GENRE, partial(train_public, kind=PublicCNN)),
    LAB_STEPS: (GENRE, partial(train_public, kind=PublicCNN, steps_of_lab=True)),
    "SVR": (MULTITASK, svr),
    "public CNN, affect": (MULTITASK, partial(train_public, kind=PublicCNN)),
}
# Measured on repeat 1 alone, because they take minutes a fold and no choice hangs on them.
ONCE = ("public CNN", LAB_STEPS, "public CNN, affect")


def predict(name: str, data: Path, seed: int) -> pd.DataFrame:
    """A reference's predictions for a fold's test clips by id: the column class, or the axes."""
    folder, reference = REFERENCES[name]
    axes = AXES if folder == MULTITASK else ()
    train, test = (SpectrogramDataset(data / folder, split, axes=axes) for split in SPLITS)
    values = reference(train, test, seed).reshape(len(test), -1)
    return pd.DataFrame(values, index=test.ids, columns=list(axes or ("class",)))
