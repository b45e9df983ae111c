"""Packed features, the lab's Dataset, scaling, splits, and batches that are padded and masked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from helpers.data import AXES, CLASS_MAPPING, N_ROWS, map_classes, read_array, read_tracks
from helpers.data import read_n_frames as _read_n_frames
from helpers.settings import LabError, cache_dir, headless, write_atomically

if TYPE_CHECKING:
    import pandas as pd

STORE_VERSION = 1
FEATURE_ROWS = {"mel": slice(0, 128), "chroma": slice(128, N_ROWS), "fused": slice(0, N_ROWS)}
UNLABELLED = -1

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x [B, T, F], y, lengths [B]


# ---- packed features ---------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureStore:
    """All clips of one folder in one memory-mapped array, so that nothing is read before use.

    `frames` is float16 [sum of T, 140]; clip number i of `paths` holds the rows
    `offsets[i]:offsets[i + 1]`.
    """

    frames: np.ndarray
    paths: list[str]
    offsets: np.ndarray

    def clip(self, index: int, rows: slice) -> np.ndarray:
        """The frames of one clip, float32 [T, F]; `rows` picks mel, chroma or both."""
        start, stop = self.offsets[index], self.offsets[index + 1]
        return self.frames[start:stop, rows].astype(np.float32)


def open_store(paths: Sequence[str]) -> FeatureStore:
    """Open the packed form of these clip files; pack them first where that is not done yet.

    A source file that was changed, added or removed gives another store, so an old one is never
    taken for the new files. Raises LabError for a file that is no whole [140, T] array.
    """
    folder = cache_dir() / "packed"
    key = _sources_digest(paths)
    index_path = folder / f"{key}.json"
    if not index_path.is_file():
        _pack(paths, folder, key)
    offsets = np.asarray(json.loads(index_path.read_text())["offsets"], dtype=np.int64)
    frames = np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
    if frames.shape != (offsets[-1], N_ROWS):
        raise LabError(f"{folder / key}.npy: does not match its index; delete {folder} and rerun")
    return FeatureStore(frames, list(paths), offsets)


def _sources_digest(paths: Sequence[str]) -> str:
    """A key made of every source file's name, size and time of last change."""
    digest = hashlib.sha256(f"store version {STORE_VERSION}".encode())
    stats: dict[str, os.stat_result] = {}
    for folder in sorted({os.path.dirname(path) for path in paths}):
        stats.update((entry.path, entry.stat()) for entry in os.scandir(folder))
    for path in paths:
        stat = stats.get(path) or os.stat(path)
        digest.update(f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _pack(paths: Sequence[str], folder: Path, key: str) -> None:
    """Write `<key>.npy` and then `<key>.json`; the index comes last, so it marks a whole store."""
    from tqdm import tqdm

    with ThreadPoolExecutor() as pool:  # unzipping and disk reads release the interpreter lock
        n_frames = list(pool.map(_read_n_frames, paths))
        offsets = np.concatenate([[0], np.cumsum(n_frames)])
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{key}.{os.getpid()}.part"
        try:
            packed = np.lib.format.open_memmap(
                partial, mode="w+", dtype=np.float16, shape=(int(offsets[-1]), N_ROWS)
            )
            arrays = pool.map(read_array, paths)
            bar = tqdm(arrays, "packing clips", total=len(paths), disable=headless(), leave=False)
            for start, array in zip(offsets, bar, strict=False):
                packed[start : start + array.shape[1]] = array.T
            packed.flush()
            os.replace(partial, folder / f"{key}.npy")
        except OSError as error:
            raise LabError(
                f"{folder}: cannot pack the features ({error.strerror}); about "
                f"{offsets[-1] * N_ROWS * 2 / 2**20:.0f} MiB are needed there"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    write_atomically(folder / f"{key}.json", json.dumps({"offsets": offsets.tolist()}))


# ---- the Dataset -------------------------------------------------------------------------------


class SpectrogramDataset(Dataset):
    """Clips of one split as `(frames [T, F] float32, label, length)` (handout, step 4α).

    `feature` is `mel` (F = 128), `chroma` (12) or `fused` (140). Without `axes` the label of a
    genre clip is its class number (int) in `classes`; with the name of one axis it is a float,
    with several a float32 vector in the order of the names. Unlabelled clips have NaN (-1 without
    axes). Frames are scaled per band once `scaler` is set, and are not padded: `pad_batch` does
    that for a whole batch. With `max_frames` each item is cut or zero-padded to that many frames,
    so that PyTorch's default collation works too; `length` then is the number of real frames.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        feature: str = "mel",
        *,
        axes: str | Sequence[str] = (),
        class_mapping: dict[str, str | None] | None = CLASS_MAPPING,
        scaler: BandScaler | None = None,
        max_frames: int | None = None,
    ) -> None:
        if feature not in FEATURE_ROWS:
            raise LabError(f"unknown feature {feature!r}; known: {', '.join(FEATURE_ROWS)}")
        self.folder, self.split, self.feature = Path(folder), split, feature
        self.axes = _axis_names(axes)
        self.scaler, self.max_frames = scaler, max_frames
        tracks = read_tracks(self.folder, split)
        self.classes: list[str] = []
        if "genre" in tracks:
            tracks, self.classes = _with_classes(tracks, self.folder, class_mapping)
        self.tracks = tracks.reset_index(drop=True)
        self.labels = _labels(self.tracks, self.axes, self.classes, self.folder)
        self.store = open_store(self.tracks["path"].tolist())
        self.lengths = np.diff(self.store.offsets)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        frames = self.frames(index)
        length = len(frames)
        if self.max_frames is not None:
            length = min(length, self.max_frames)
            frames = _fit_length(frames, self.max_frames)
        return torch.from_numpy(frames), self.labels[index], length

    def frames(self, index: int) -> np.ndarray:
        """One clip's frames as a float32 array [T, F], scaled if a scaler is set."""
        frames = self.store.clip(index, FEATURE_ROWS[self.feature])
        return frames if self.scaler is None else self.scaler.transform(frames)

    @property
    def n_features(self) -> int:
        """F, the number of values per frame."""
        rows = FEATURE_ROWS[self.feature]
        return rows.stop - rows.start

    @property
    def ids(self) -> list[str]:
        """The clips' ids, in order."""
        return self.tracks["id"].tolist()


def _axis_names(axes: str | Sequence[str]) -> tuple[str, ...]:
    names = (axes,) if isinstance(axes, str) else tuple(axes)
    unknown = [name for name in names if name not in AXES]
    if unknown:
        raise LabError(f"unknown axis {unknown[0]!r}; known: {', '.join(AXES)}")
    return names


def _with_classes(
    tracks: pd.DataFrame, folder: Path, mapping: dict[str, str | None] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Add the column `label` (class name) and drop unmapped genres.

    The class list comes from the training labels, so that both splits number them alike.
    """
    identity = {genre: genre for genre in CLASS_MAPPING}
    mapping = identity if mapping is None else mapping
    tracks = tracks.assign(label=map_classes(tracks["genre"], mapping))
    tracks = tracks[tracks["label"].notna()]
    trained = map_classes(read_tracks(folder, "train")["genre"], mapping)
    classes = sorted({name for name in trained if name is not None})
    unseen = sorted(set(tracks["label"]) - set(classes))
    if unseen:
        raise LabError(
            f"{folder}/{tracks['split'].iloc[0]}_labels.txt: {unseen[0]} has no training clip; "
            "drop it in the class mapping"
        )
    return tracks, classes


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
        return torch.full((len(tracks),), UNLABELLED)
    return torch.tensor([classes.index(name) for name in tracks["label"]])


def _fit_length(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """Cut to `n_frames`, or append frames of zeros."""
    missing = max(0, n_frames - len(frames))
    return np.pad(frames[:n_frames], ((0, missing), (0, 0)))


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
        rows = FEATURE_ROWS[base.feature]
        total, squares, count = 0.0, 0.0, 0
        for index in indices:
            frames = base.store.clip(int(index), rows).astype(np.float64)
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


def unwrap(dataset: Dataset) -> tuple[SpectrogramDataset, np.ndarray]:
    """The SpectrogramDataset below nested `Subset`s, and the clip numbers that they select."""
    if isinstance(dataset, Subset):
        base, inner = unwrap(dataset.dataset)
        return base, inner[np.asarray(dataset.indices, dtype=np.int64)]
    if not isinstance(dataset, SpectrogramDataset):
        raise LabError(f"expected a SpectrogramDataset or a Subset of one, got {type(dataset)}")
    return dataset, np.arange(len(dataset))


def labels_of(dataset: Dataset) -> torch.Tensor:
    """The labels of a SpectrogramDataset or of a `Subset` of one, in order."""
    base, indices = unwrap(dataset)
    return base.labels[torch.from_numpy(indices)]


def ids_of(dataset: Dataset) -> list[str]:
    """The clip ids of a SpectrogramDataset or of a `Subset` of one, in order."""
    base, indices = unwrap(dataset)
    return [base.ids[index] for index in indices]


# ---- splits ------------------------------------------------------------------------------------


def stratified_split(
    labels: Sequence[Any] | np.ndarray, fractions: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Split clip numbers into disjoint parts of the given fractions, each with the same mixture.

    `labels` are class numbers, or real values (then clips of similar value are spread evenly).
    The parts are sorted and depend only on the labels and the seed. Every class with at least as
    many clips as there are parts is in each part.
    """
    labels = np.asarray(labels)
    shares = np.asarray(fractions, dtype=float)
    if len(shares) < 2 or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise LabError(f"fractions {list(fractions)} must be positive and add up to 1")
    if len(labels) < len(shares):
        raise LabError(f"{len(labels)} clips cannot be split into {len(shares)} parts")
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
    counts = np.floor(size * shares + 0.5).astype(int)
    if size >= len(shares):
        counts = np.maximum(counts, 1)
    counts[0] = size - counts[1:].sum()
    if counts[0] < 0:  # fewer clips than parts: the first parts get what there is
        counts = np.array([len(part) for part in np.array_split(np.arange(size), len(shares))])
    return np.cumsum(counts)[:-1]


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
    def scaler(self) -> BandScaler:
        """The scaling that all three parts use."""
        scaler = self.base.scaler
        if scaler is None:
            raise LabError("these splits have no scaler; make them with genre_splits")
        return scaler


def genre_splits(folder: Path, feature: str, seed: int, *, val_fraction: float = 0.2) -> Splits:
    """Train and validation parts of the genre training clips, and the test folder.

    The split depends on the labels and the seed only, so it is the same clips for every feature
    and for the full and the beat-synchronous folder.
    """
    labelled = SpectrogramDataset(folder, "train", feature)
    test = SpectrogramDataset(folder, "test", feature)
    by_id = np.argsort(labelled.ids)  # whatever the order of the label file
    train_part, val_part = (
        np.sort(by_id[part])
        for part in stratified_split(
            labelled.labels.numpy()[by_id], (1 - val_fraction, val_fraction), seed
        )
    )
    labelled.scaler = test.scaler = BandScaler.fit(Subset(labelled, train_part))
    return Splits(Subset(labelled, train_part), Subset(labelled, val_part), test)


AFFECT_FRACTIONS = (0.70, 0.15, 0.15)


def affect_parts(folder: Path, seed: int) -> pd.DataFrame:
    """The one split of the labelled affect clips: columns id, part (train, val or held-out).

    70/15/15, spread evenly over the mean of the three axes. The test folder has no labels, so the
    held-out part stands in for it; nothing is ever chosen on it.
    """
    tracks = read_tracks(folder, "train").sort_values("id", ignore_index=True)
    values = tracks[list(AXES)].mean(axis=1).to_numpy()
    parts = stratified_split(values, AFFECT_FRACTIONS, seed)
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


@dataclass
class RandomCrop:
    """Augmentation: cut a window of `n_frames` out of each clip, at a random place every time."""

    n_frames: int
    generator: torch.Generator

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [T, F] -> [min(T, n_frames), F]."""
        free = len(frames) - self.n_frames
        if free <= 0:
            return frames
        start = int(torch.randint(free + 1, (1,), generator=self.generator))
        return frames[start : start + self.n_frames]


@dataclass
class SpecAugment:
    """Augmentation: set a random band of frequencies and a random stretch of time to the mean.

    Park et al. 2019 (arXiv 1904.08779), one mask each; on scaled features the mean is 0.
    """

    max_bands: int
    max_share_of_time: float
    generator: torch.Generator

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [T, F] -> a copy of the same shape."""
        frames = frames.clone()
        for axis, largest in ((0, int(self.max_share_of_time * len(frames))), (1, self.max_bands)):
            width = self._draw(min(largest, frames.shape[axis] - 1) + 1)
            start = self._draw(frames.shape[axis] - width + 1)
            frames.narrow(axis, start, width).zero_()
        return frames

    def _draw(self, stop: int) -> int:
        return int(torch.randint(max(1, stop), (1,), generator=self.generator))


def make_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    crop_frames: int = 0,
    max_masked_bands: int = 0,
) -> DataLoader:
    """A DataLoader of padded batches `(x [B, T, F], y, lengths [B])`.

    With `crop_frames` each clip is cut to a random window of that many frames; with
    `max_masked_bands` SpecAugment masks up to so many bands and a tenth of the time. Both are for
    training only. The order and the windows follow from the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = []
    if crop_frames:
        changes.append(RandomCrop(crop_frames, generator))
    if max_masked_bands:
        changes.append(SpecAugment(max_masked_bands, 0.1, generator))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        generator=generator,
        collate_fn=_Collate(changes) if changes else pad_batch,
    )


def make_loaders(
    splits: Splits,
    batch_size: int,
    seed: int = 0,
    *,
    crop_frames: int = 0,
    max_masked_bands: int = 0,
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loaders for train (shuffled, augmented), validation and test (both whole and in order)."""
    train = make_loader(
        splits.train,
        batch_size,
        shuffle=True,
        seed=seed,
        crop_frames=crop_frames,
        max_masked_bands=max_masked_bands,
    )
    return train, make_loader(splits.val, batch_size), make_loader(splits.test, batch_size)


@dataclass
class _Collate:
    """Change each clip, then pad (a class, not a closure, so that worker processes can have it)."""

    changes: list[Callable[[torch.Tensor], torch.Tensor]]

    def __call__(self, items: Sequence[tuple[torch.Tensor, torch.Tensor, int]]) -> Batch:
        return pad_batch([self._changed(*item) for item in items])

    def _changed(
        self, frames: torch.Tensor, label: torch.Tensor, length: int
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        frames = frames[:length]
        for change in self.changes:
            frames = change(frames)
        return frames, label, len(frames)


def take_batches(loader: DataLoader, n_batches: int) -> Iterator[Batch]:
    """The first `n_batches` batches of a loader."""
    for number, batch in enumerate(loader):
        if number == n_batches:
            return
        yield batch
