"""The lab's Dataset, scaling, splits, and batches that are padded and masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from helpers.data import (
    AXES,
    CLASS_MAPPING,
    N_ROWS,
    map_classes,
    read_genre_labels,
)
from helpers.settings import LabError
from helpers.store import open_clips, usable_tracks
from helpers.two_threads import at_the_same_time

if TYPE_CHECKING:
    import pandas as pd

FEATURE_ROWS = {"mel": slice(0, 128), "chroma": slice(128, N_ROWS), "fused": slice(0, N_ROWS)}
UNLABELLED = -1
CACHED_FRAMES = 2048  # float32 [2048, 128] is 1 MiB

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x [B, T, F], y, lengths [B]


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
        left_out: list[str] = []
        tracks, store = open_clips(self.folder, split, left_out)
        _tell_once(left_out)
        self.classes: list[str] = []
        if "genre" in tracks:
            tracks, self.classes = _with_classes(tracks, self.folder, class_mapping)
            store = store.select(tracks.index.to_numpy())
        self.store = store
        self.tracks = tracks.reset_index(drop=True)
        self.labels = _labels(self.tracks, self.axes, self.classes, self.folder)
        self._frames_on: dict[torch.device, torch.Tensor] = {}

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

    def frames_on(self, device: torch.device) -> torch.Tensor:
        """All packed frames of the folder, float16 [N, 140], on a device; copied there once.

        On the CPU this is the memory map itself. Raises LabError when a GPU's memory is too small.
        """
        if device not in self._frames_on:
            frames = torch.from_numpy(self.store.frames)
            try:
                self._frames_on[device] = frames.to(device)
            except torch.OutOfMemoryError:
                raise LabError(
                    f"{self.folder}: its features take {frames.nbytes / 2**20:.0f} MiB, more than "
                    f"{device} has left; make the loader without device="
                ) from None
        return self._frames_on[device]

    @property
    def is_as_packed(self) -> bool:
        """Whether items are the packed frames, scaled; a subclass may make something else of them.

        If so, a loader may cut whole batches at once instead of asking for every item.
        """
        own = type(self)
        unchanged = (own.__getitem__, own.frames) == (
            SpectrogramDataset.__getitem__,
            SpectrogramDataset.frames,
        )
        return unchanged and self.max_frames is None

    @property
    def lengths(self) -> np.ndarray:
        """The number of frames of every clip, int64 [n]."""
        return self.store.lengths

    @property
    def n_features(self) -> int:
        """F, the number of values per frame."""
        rows = FEATURE_ROWS[self.feature]
        return rows.stop - rows.start

    @property
    def ids(self) -> list[str]:
        """The clips' ids, in order."""
        return self.tracks["id"].tolist()


_told: set[str] = set()


def _tell_once(left_out: Sequence[str]) -> None:
    """Print what was left out under `skip_bad`, each line once per process."""
    new = [problem for problem in left_out if problem not in _told]
    _told.update(new)
    for problem in new:
        print(f"left out (--skip-bad): {problem}")


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
    mapping = {genre: genre for genre in CLASS_MAPPING} if mapping is None else mapping
    genres = tracks["genre"].tolist()
    tracks = tracks.assign(label=map_classes(genres, mapping))
    tracks = tracks[tracks["label"].notna()]
    if tracks.empty:
        raise LabError(f"{folder}: no clip is left, the class mapping drops all genres; change it")
    split = tracks["split"].iloc[0]
    if split != "train":
        genres = read_genre_labels(folder / "train_labels.txt")["genre"].tolist()
    classes = sorted({name for name in map_classes(genres, mapping) if name is not None})
    unseen = sorted(set(tracks["label"]) - set(classes))
    if unseen:
        raise LabError(
            f"{folder}/{split}_labels.txt: {unseen[0]} has no training clip; drop it in the class "
            "mapping"
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
    numbers = {name: number for number, name in enumerate(classes)}
    return torch.tensor([numbers[name] for name in tracks["label"].tolist()])


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

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation, each [F], on a device."""
        mean, deviation = torch.from_numpy(self.mean), torch.from_numpy(self.deviation)
        return mean.to(device), deviation.to(device)


def unwrap(dataset: Dataset) -> tuple[SpectrogramDataset, np.ndarray]:
    """The SpectrogramDataset below a loader's or nested `Subset`s, and the clips they select."""
    if isinstance(dataset, BatchCutter):
        return dataset.base, dataset.clips
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
    if np.ptp(shares) == 0 and size >= len(shares):  # folds: their sizes differ by one at most
        return np.cumsum([len(part) for part in np.array_split(range(size), len(shares))][::-1])[
            :-1
        ]
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
    tracks = usable_tracks(folder, "train").sort_values("id", ignore_index=True)
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


def cut_clips(frames: torch.Tensor, starts: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Cut clips out of the packed frames [N, rows], all at once: x [B, n_frames, rows].

    `starts` [B] says where in `frames` each clip begins. Behind a shorter clip stands whatever
    follows it: `hide_padding` is the last step, after scaling.
    """
    steps = torch.arange(n_frames, device=frames.device)
    places = (starts[:, None] + steps).clamp_(max=len(frames) - 1)
    return frames.index_select(0, places.flatten()).view(*places.shape, -1)


def hide_padding(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Set what stands behind each clip's frames to 0, in place: x [B, T, F] finite, lengths [B]."""
    steps = torch.arange(x.shape[1], device=x.device)
    # On a CPU several times as fast as `masked_fill_`, which goes over the numbers one by one.
    return x.mul_((steps < lengths[:, None])[:, :, None])


def random_windows(
    starts: torch.Tensor, lengths: torch.Tensor, n_frames: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmentation: a window of `n_frames` of each clip, at a random place every time.

    Starts and lengths [B] of the clips -> those of the windows; shorter clips stay whole.
    """
    free = (lengths - n_frames).clamp_(min=0)
    moved = (torch.rand(len(free), generator=generator) * (free + 1)).long()
    return starts + moved, lengths.clamp(max=n_frames)


def spec_augment(
    x: torch.Tensor,
    lengths: torch.Tensor,
    max_bands: int,
    max_share_of_time: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Augmentation: set a random band of frequencies and a random stretch of time to the mean.

    Park et al. 2019 (arXiv 1904.08779), one mask each per clip; in place on x [B, T, F], where
    scaling has made the mean 0. A clip never disappears: one band and one frame are left.
    """
    most = lengths.cpu()
    in_time = _random_stretch((max_share_of_time * most).long().minimum(most - 1), most, generator)
    bands = torch.full_like(most, x.shape[2])
    in_bands = _random_stretch(bands.sub(1).clamp_(max=max_bands), bands, generator)
    for axis, (first, last) in ((1, in_time), (2, in_bands)):
        places = torch.arange(x.shape[axis], device=x.device)
        first, last = first.to(x.device)[:, None], last.to(x.device)[:, None]
        masked = (places >= first) & (places < last)
        x.masked_fill_(masked[:, :, None] if axis == 1 else masked[:, None, :], 0)
    return x


def _random_stretch(
    most: torch.Tensor, available: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last place (exclusive) of a stretch of 0 to `most` of `available` places, [B]."""
    draws = torch.rand((2, len(most)), generator=generator)
    width = (draws[0] * (most + 1)).long()
    first = (draws[1] * (available - width + 1)).long()
    return first, first + width


class LengthBatches(Sampler[list[int]]):
    """Random batches of clips of similar length, so that little is padded.

    Every epoch visits every clip once: the clips are shuffled, each stretch of `STRETCH` batches
    is sorted by length and cut into batches, and these come in random order.
    """

    STRETCH = 4  # longer would pad less, but make batches of clips that are alike in tempo

    def __init__(self, lengths: np.ndarray, batch_size: int, generator: torch.Generator) -> None:
        self.lengths = torch.from_numpy(np.ascontiguousarray(lengths))
        self.batch_size, self.generator = batch_size, generator

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self.lengths), generator=self.generator)
        batches: list[torch.Tensor] = []
        for stretch in order.split(self.STRETCH * self.batch_size):
            by_length = stretch[self.lengths[stretch].argsort(stable=True)]
            batches += by_length.split(self.batch_size)
        for number in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[number].tolist()


class BatchCutter(Dataset):
    """What a loader of `make_loader` reads: gives whole batches, cut out of the packed frames.

    Fetching clip by clip, padding and stacking costs more than a step of a small network. With a
    GPU as `device` the packed frames are copied there once, and the batches are cut there.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        crop_frames: int = 0,
        max_masked_bands: int = 0,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dataset = dataset
        self.base, self.clips = unwrap(dataset)
        self.crop_frames, self.max_masked_bands = crop_frames, max_masked_bands
        self.generator = generator or torch.Generator()
        self.device = torch.device(device)
        self.rows = FEATURE_ROWS[self.base.feature]
        self.frames = self.base.frames_on(self.device)
        self.starts = torch.from_numpy(self.base.store.starts[self.clips])
        self.lengths = torch.from_numpy(self.base.store.lengths[self.clips])
        self.labels = self.base.labels[torch.from_numpy(self.clips)]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, numbers: list[int]) -> Batch:
        """The batch of these clips: x [B, T, F] float32, scaled and padded with 0, y, lengths."""
        x, y, lengths = self._cut(numbers) if self.base.is_as_packed else self._joined(numbers)
        if self.max_masked_bands:
            spec_augment(x, lengths, self.max_masked_bands, 0.1, self.generator)
        return x, y, lengths

    def _joined(self, numbers: list[int]) -> Batch:
        """The batch item by item, for a dataset whose items are not what was packed."""
        items = [self.dataset[number] for number in numbers]
        if self.crop_frames:
            lengths = torch.tensor([length for *_, length in items])
            windows = random_windows(0 * lengths, lengths, self.crop_frames, self.generator)
            items = [
                (frames[start : start + length], label, length)
                for (frames, label, _), start, length in zip(
                    items, *(part.tolist() for part in windows), strict=True
                )
            ]
        x, y, lengths = pad_batch(items)
        return x.to(self.device), y.to(self.device), lengths.to(self.device)

    def _cut(self, numbers: list[int]) -> Batch:
        """The batch cut out of the packed frames."""
        chosen = torch.as_tensor(numbers)
        starts, lengths = self.starts[chosen], self.lengths[chosen]
        if self.crop_frames:
            starts, lengths = random_windows(starts, lengths, self.crop_frames, self.generator)
        n_frames = int(lengths.max())
        starts, lengths = starts.to(self.device), lengths.to(self.device)
        x = torch.empty((len(chosen), n_frames, self.base.n_features), device=self.device)
        if self.device.type == "cpu" and n_frames > CACHED_FRAMES // 2:
            halves = [slice(first, None, 2) for first in range(min(2, len(chosen)))]
            at_the_same_time(
                lambda half: self._unpack(x[half], starts[half], lengths[half]), halves
            )
        else:
            # As many clips at a time as stay in the processor's cache from one step to the next.
            at_a_time = CACHED_FRAMES // n_frames if self.device.type == "cpu" else len(chosen)
            for part in range(0, len(chosen), at_a_time):
                some = slice(part, part + at_a_time)
                self._gather(x[some], starts[some], lengths[some])
        return x, self.labels[chosen].to(self.device), lengths

    def _unpack(self, x: torch.Tensor, starts: torch.Tensor, lengths: torch.Tensor) -> None:
        """Fill x [B, T, F] with long clips, one after the other: scaled, 0 behind the frames."""
        # All rows at once, into the same memory for every clip: both are faster.
        scratch = torch.empty(x.shape[1], self.frames.shape[1])
        for clip, start, length in zip(x, starts.tolist(), lengths.tolist(), strict=True):
            whole = scratch[:length].copy_(self.frames[start : start + length])
            self._scale(whole[:, self.rows], clip[:length])
            clip[length:] = 0

    def _gather(self, x: torch.Tensor, starts: torch.Tensor, lengths: torch.Tensor) -> None:
        """Fill x [B, T, F] with clips, all at once: scaled, and 0 behind each one's frames."""
        clips = cut_clips(self.frames, starts, x.shape[1])
        self._scale(clips[:, :, self.rows].float(), x)
        hide_padding(x, lengths)

    def _scale(self, frames: torch.Tensor, out: torch.Tensor) -> None:
        """Scale frames [..., F] into `out`, of the same shape."""
        if self.base.scaler is None:
            out.copy_(frames)
            return
        mean, deviation = self.base.scaler.tensors(self.device)
        torch.sub(frames, mean, out=out).div_(deviation)


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
    the time. Both are for training only. The order and the windows follow from the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    cutter = BatchCutter(
        dataset,
        crop_frames=crop_frames,
        max_masked_bands=max_masked_bands,
        generator=generator,
        device=device,
    )
    if not shuffle:
        order: dict[str, Any] = {"batch_size": batch_size}
    else:
        order = {"batch_sampler": LengthBatches(cutter.lengths.numpy(), batch_size, generator)}
    return DataLoader(cutter, **order, collate_fn=_as_it_is, generator=generator)


def _as_it_is(batch: Batch) -> Batch:
    """What `collate_fn` does to a batch that is one already (a function, for worker processes)."""
    return batch


def make_loaders(
    splits: Splits,
    batch_size: int,
    seed: int = 0,
    *,
    crop_frames: int = 0,
    max_masked_bands: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loaders for train (shuffled, augmented), validation and test (both whole and in order)."""
    train = make_loader(
        splits.train,
        batch_size,
        shuffle=True,
        seed=seed,
        crop_frames=crop_frames,
        max_masked_bands=max_masked_bands,
        device=device,
    )
    val, test = (make_loader(part, batch_size, device=device) for part in (splits.val, splits.test))
    return train, val, test


def require_frames(loader: DataLoader, n_frames: int) -> None:
    """Raise LabError naming the first clip of a loader that has fewer than `n_frames` frames.

    Says nothing about loaders of other datasets than ours.
    """
    try:
        base, clips = unwrap(loader.dataset)
    except (AttributeError, LabError):
        return
    short = clips[base.lengths[clips] < n_frames]
    if len(short):
        raise LabError(
            f"{base.tracks['path'][short[0]]}: {base.lengths[short[0]]} frames are too short for "
            f"this CNN, which needs {n_frames}; remove the clip, or leave such clips out with "
            "./run_all.sh --skip-bad"
        )


def take_batches(loader: DataLoader, n_batches: int) -> Iterator[Batch]:
    """The first `n_batches` batches of a loader."""
    for number, batch in enumerate(loader):
        if number == n_batches:
            return
        yield batch
