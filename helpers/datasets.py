"""The lab's Dataset, scaling, splits, loaders. Used by 04, 05, 06, 07, 07b, 08, 09, 10, 11, 11b."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from helpers.folders import AXES, class_mapping, read_clips
from helpers.machinery.arrays import N_MELS, N_ROWS
from helpers.machinery.batches import Batch, BatchCutter, BatchLoader, LengthBatches, unwrap
from helpers.machinery.files import LabError
from helpers.machinery.many_gpus import shared
from helpers.machinery.own_music import artists_of, grouped_split
from helpers.machinery.store import open_store

if TYPE_CHECKING:
    import pandas as pd

FEATURE_ROWS = {"mel": slice(0, N_MELS), "chroma": slice(N_MELS, N_ROWS), "fused": slice(0, N_ROWS)}


# ---- the Dataset -------------------------------------------------------------------------------


class SpectrogramDataset(Dataset):
    """Clips of one split as `(frames [T, F] float32, label, length)` (handout, step 4α).

    `feature` is `mel` (F = 128), `chroma` (12) or `fused` (140). Without `axes` the label of a
    genre clip is its class number (int) in `classes`, by the data's own mapping, or by genre with
    `class_mapping=None`; with the name of one axis it is a float, with several a float32 vector in
    the order of the names. Unlabelled clips have NaN (-1 without axes). Frames are scaled per band
    once `scaler` is set, and are not padded: `pad_batch` does that for a whole batch.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        feature: str = "mel",
        *,
        axes: str | Sequence[str] = (),
        class_mapping: dict[str, str | None] | Literal["auto"] | None = "auto",
        scaler: BandScaler | None = None,
    ) -> None:
        if feature not in FEATURE_ROWS:
            raise LabError(f"unknown feature {feature!r}; known: {', '.join(FEATURE_ROWS)}")
        self.folder, self.split, self.feature = Path(folder), split, feature
        self.axes = (axes,) if isinstance(axes, str) else tuple(axes)
        if unknown := [name for name in self.axes if name not in AXES]:
            raise LabError(f"unknown axis {unknown[0]!r}; known: {', '.join(AXES)}")
        self.scaler = scaler
        tracks = read_clips(self.folder, split)
        self.store = open_store(tracks["path"].tolist())
        self.classes: list[str] = []
        if "genre" in tracks:
            tracks, self.classes = _with_classes(tracks, self.folder, class_mapping)
            self.store = self.store.select(tracks.index.to_numpy())
        self.tracks = tracks.reset_index(drop=True)
        self.labels = _labels(self.tracks, self.axes, self.classes, self.folder)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        frames = self.frames(index)
        return torch.from_numpy(frames), self.labels[index], len(frames)

    def frames(self, index: int) -> np.ndarray:
        """One clip's frames as a float32 array [T, F], scaled if a scaler is set."""
        frames = self.store.clip(index, self.rows)
        return frames if self.scaler is None else self.scaler.transform(frames)

    @property
    def is_as_packed(self) -> bool:
        """Whether items are what was packed, scaled: else a loader asks a subclass for each."""
        own, plain = type(self), SpectrogramDataset
        return (own.__getitem__, own.frames) == (plain.__getitem__, plain.frames)

    @property
    def lengths(self) -> np.ndarray:
        """The number of frames of every clip, int64 [n]."""
        return self.store.lengths

    @property
    def rows(self) -> slice:
        """Which of the 140 stored values of a frame the feature takes."""
        return FEATURE_ROWS[self.feature]

    @property
    def n_features(self) -> int:
        """F, the number of values per frame."""
        return self.rows.stop - self.rows.start

    @property
    def ids(self) -> list[str]:
        """The clips' ids, in order."""
        return self.tracks["id"].tolist()


def _with_classes(
    tracks: pd.DataFrame, folder: Path, mapping: dict[str, str | None] | Literal["auto"] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Add the column `label` (class name) and drop unmapped genres.

    The class list comes from the training labels, so that both splits number them alike.
    """
    known = class_mapping(folder.parent)
    mapping = known if mapping == "auto" else mapping or {genre: genre for genre in known}
    genres = tracks["genre"].tolist()
    tracks = tracks.assign(label=_classes_of(genres, mapping))
    split = tracks["split"].iloc[0]
    tracks = tracks[tracks["label"].notna()]
    if tracks.empty:
        raise LabError(
            f"{folder}/{split}_labels.txt: the class mapping drops all its genres; change it"
        )
    if split != "train":
        genres = read_clips(folder, "train")["genre"].tolist()
    classes = sorted({name for name in _classes_of(genres, mapping) if name is not None})
    unseen = sorted(set(tracks["label"]) - set(classes))
    if unseen:
        raise LabError(
            f"{folder}/{split}_labels.txt: {unseen[0]} has no training clip; drop it in the class "
            "mapping"
        )
    return tracks, classes


def _classes_of(genres: Sequence[str], mapping: dict[str, str | None]) -> list[str | None]:
    """Apply a class mapping (handout, step 4β); None marks the genres that are dropped."""
    missing = sorted(set(genres) - set(mapping))
    if missing:
        raise LabError(f"the class mapping has no entry for {', '.join(missing)}; add it")
    return [mapping[genre] for genre in genres]


def _labels(
    tracks: pd.DataFrame, axes: tuple[str, ...], classes: list[str], folder: Path
) -> torch.Tensor:
    """Class numbers [n], axis values [n] or [n, A]; NaN or -1 for unlabelled clips."""
    if axes:
        if axes[0] not in tracks:
            raise LabError(f"{folder}: has genres, no {axes[0]}; use the multitask folder")
        # pandas may give a view that runs backwards, which PyTorch cannot take
        columns = np.ascontiguousarray(tracks[list(axes)], dtype=np.float32)
        values = torch.from_numpy(columns)
        return values[:, 0] if len(axes) == 1 else values
    if "label" not in tracks:
        return torch.full((len(tracks),), -1)
    return torch.tensor([classes.index(name) for name in tracks["label"]])


# ---- scaling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BandScaler:
    """Shift and scale each band to mean 0 and deviation 1, with statistics of training clips.

    After it 0 means "as loud as usual", so that padding with 0 is silent to the network; on raw
    dB, 0 is the loudest value there is.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, dataset: Dataset) -> BandScaler:
        """Statistics per band over all frames of a SpectrogramDataset or a `Subset` of one."""
        base, indices = unwrap(dataset)
        total, squares, count = 0.0, 0.0, 0
        for index in indices:
            frames = base.store.clip(int(index), base.rows).astype(np.float64)
            total, squares = total + frames.sum(0), squares + (frames**2).sum(0)
            count += len(frames)
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
        # A band that never changes carries nothing: leave it at 0 instead of dividing by 0.
        deviation = np.where(variance > 1e-8, np.sqrt(variance), 1.0)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def transform(self, frames: np.ndarray) -> np.ndarray:
        """Scale frames [T, F] (or any [..., F])."""
        return (frames - self.mean) / self.deviation

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation, each [F], on a device."""
        mean, deviation = torch.from_numpy(self.mean), torch.from_numpy(self.deviation)
        return mean.to(device), deviation.to(device)


def labels_of(dataset: Dataset) -> torch.Tensor:
    """The labels of a SpectrogramDataset or of a `Subset` of one, in order."""
    base, indices = unwrap(dataset)
    return base.labels[torch.from_numpy(indices)]


def ids_of(dataset: Dataset) -> list[str]:
    """The clip ids of a SpectrogramDataset or of a `Subset` of one, in order."""
    base, indices = unwrap(dataset)
    return [base.ids[index] for index in indices]


def artists_in(dataset: Dataset) -> list[str] | None:
    """Which of its clips share an artist: a name for each, in order; None where nobody says."""
    return artists_of(unwrap(dataset)[0].folder.parent, ids_of(dataset))


# ---- splits ------------------------------------------------------------------------------------


def stratified_split(
    labels: Sequence[Any] | np.ndarray,
    fractions: Sequence[float],
    seed: int,
    groups: Sequence[str] | None = None,
) -> list[np.ndarray]:
    """Split clip numbers into disjoint parts of the given fractions, each with the same mixture.

    `labels` are class numbers, or real values (then clips of similar value are spread evenly).
    The parts are sorted and depend only on labels, groups and seed. Every class with at least as
    many clips as there are parts is in each part. Clips of one group, as of one artist, stay
    together; the shares are then as near as that allows.
    """
    labels = np.asarray(labels)
    shares = np.asarray(fractions, dtype=float)
    if len(shares) < 2 or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise LabError(f"fractions {list(fractions)} must be positive and add up to 1")
    if len(labels) < len(shares):
        raise LabError(f"{len(labels)} clips cannot be split into {len(shares)} parts")
    if groups is not None and len(set(groups)) < len(groups):
        return grouped_split(labels, shares, seed, np.asarray(groups))
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in shares]
    for group in _similar_groups(labels):
        members = random.permutation(group)
        for part, chosen in zip(parts, np.split(members, _cuts(len(group), shares)), strict=True):
            part.extend(chosen.tolist())
    return [np.sort(np.asarray(part, dtype=np.int64)) for part in parts]


def _similar_groups(labels: np.ndarray, group_size: int = 20) -> list[np.ndarray]:
    """Clip numbers by class; for real values, runs of about 20 clips of neighbouring value."""
    if labels.dtype.kind == "f":
        order = np.argsort(labels, kind="stable")
        return np.array_split(order, max(1, len(order) // group_size))
    return [np.flatnonzero(labels == value) for value in np.unique(labels)]


def _cuts(size: int, shares: np.ndarray) -> np.ndarray:
    """Where to cut `size` clips; later parts get at least one clip each where there are enough."""
    even = [len(part) for part in np.array_split(range(size), len(shares))]  # differ by one at most
    if np.ptp(shares) == 0 and size >= len(shares):  # folds
        return np.cumsum(even[::-1])[:-1]
    counts = np.floor(size * shares + 0.5).astype(int)
    if size >= len(shares):
        counts = np.maximum(counts, 1)
    counts[0] = size - counts[1:].sum()
    # Fewer clips than parts: the first parts get what there is.
    return np.cumsum(even if counts[0] < 0 else counts)[:-1]


@dataclass(frozen=True)
class Splits:
    """The three parts of one task, scaled with the statistics of `train` alone."""

    train: Subset
    val: Subset
    test: Dataset  # the test folder for genre, the held-out part for affect

    @property
    def base(self) -> SpectrogramDataset:
        """The SpectrogramDataset that `train` and `val` are parts of."""
        return unwrap(self.train)[0]

    @property
    def scaler(self) -> BandScaler | None:
        """The scaling that all three parts use, as `genre_splits` and `affect_splits` set it."""
        return self.base.scaler


def genre_splits(folder: Path, feature: str, seed: int, *, val_fraction: float = 0.2) -> Splits:
    """Train and validation parts of the genre training clips, and the test folder.

    The split depends on labels, artists (where the data name them) and the seed only, so it is the
    same clips for every feature and for the full and the beat-synchronous folder.
    """
    labelled = SpectrogramDataset(folder, "train", feature)
    test = SpectrogramDataset(folder, "test", feature)
    by_id = np.argsort(labelled.ids)  # whatever the order of the label file
    labels, fractions = labelled.labels.numpy()[by_id], (1 - val_fraction, val_fraction)
    groups = artists_of(folder.parent, [labelled.ids[number] for number in by_id])
    parts = stratified_split(labels, fractions, seed, groups)
    train_part, val_part = (np.sort(by_id[part]) for part in parts)
    labelled.scaler = test.scaler = BandScaler.fit(Subset(labelled, train_part))
    return Splits(Subset(labelled, train_part), Subset(labelled, val_part), test)


AFFECT_FRACTIONS = (0.70, 0.15, 0.15)


def affect_parts(folder: Path, seed: int) -> pd.DataFrame:
    """The one split of the labelled affect clips: columns id, part (train, val or held-out).

    70/15/15, spread evenly over the mean of the three axes, an artist's clips in one part. The
    test folder has no labels, so the held-out part stands in for it; nothing is ever chosen on it.
    """
    tracks = read_clips(folder, "train").sort_values("id", ignore_index=True)
    values = tracks[list(AXES)].mean(axis=1).to_numpy()
    groups = artists_of(folder.parent, tracks["id"].tolist())
    parts = stratified_split(values, AFFECT_FRACTIONS, seed, groups)
    table = tracks[["id"]].assign(part="")
    for name, members in zip(("train", "val", "held-out"), parts, strict=True):
        table.loc[members, "part"] = name
    return table


def affect_splits(
    folder: Path,
    feature: str,
    axes: str | Sequence[str],
    parts: pd.DataFrame,
    *,
    scaler: BandScaler | None = None,
) -> Splits:
    """The three parts of the affect clips as datasets; `parts` comes from `affect_parts`.

    A `scaler` of a checkpoint is used as it is (transfer); without one it is fitted on `train`.
    Raises LabError when a clip of `parts` is not in the folder.
    """
    labelled = SpectrogramDataset(folder, "train", feature, axes=axes)
    numbers = {name: number for number, name in enumerate(labelled.ids)}
    absent = sorted(set(parts["id"]) - set(numbers))
    if absent:
        raise LabError(f"{folder}: clip {absent[0]} of the stored split is not there; run 08 again")
    subsets = {
        name: Subset(labelled, [numbers[clip] for clip in group["id"]])
        for name, group in parts.groupby("part")
    }
    labelled.scaler = scaler or BandScaler.fit(subsets["train"])
    return Splits(subsets["train"], subsets["val"], subsets["held-out"])


# ---- batches -----------------------------------------------------------------------------------


def pad_batch(items: Sequence[tuple[torch.Tensor, torch.Tensor, int]]) -> Batch:
    """Join clips into one batch: x [B, longest T, F] padded with 0 at the end, y, lengths [B]."""
    frames, labels, lengths = zip(*items, strict=True)
    x = torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True)
    return x, torch.stack([torch.as_tensor(label) for label in labels]), torch.tensor(lengths)


def make_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    crop_frames: int = 0,
    max_masked_bands: int = 0,
    device: torch.device | str = "cpu",
) -> DataLoader:
    """A DataLoader of padded batches `(x [B, T, F], y, lengths [B])` on `device`.

    `shuffle` makes batches of clips of similar length in random order (`LengthBatches`); without
    it the clips come in their own order. With `crop_frames` each clip is cut to a random window of
    that many frames; with `max_masked_bands` SpecAugment masks up to so many bands and a tenth of
    the time. Both are for training only. The order and the windows follow from the seed. Under
    torchrun, each process has its share of the shuffled batches.
    """
    generator = torch.Generator().manual_seed(seed)
    cutter = BatchCutter(
        dataset, pad_batch, generator, torch.device(device), crop_frames, max_masked_bands
    )
    order: dict[str, Any] = {"batch_size": batch_size}
    if shuffle:
        batches = LengthBatches(cutter.lengths.numpy(), batch_size, generator)
        order = {"batch_sampler": shared(batches, seed)}
    return BatchLoader(cutter, **order, generator=generator)


def make_loaders(
    splits: Splits,
    batch_size: int,
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
    **augmentation: int,
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loaders for train (shuffled), validation and test (both whole and in order).

    `augmentation` is for train alone: `crop_frames` and `max_masked_bands` of `make_loader`.
    """
    train = make_loader(
        splits.train, batch_size, shuffle=True, seed=seed, device=device, **augmentation
    )
    val, test = (make_loader(part, batch_size, device=device) for part in (splits.val, splits.test))
    return train, val, test
