"""Batches of clips, cut out of the packed frames, padded, masked and augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from helpers.machinery.files import LabError

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x [B, T, F], y, lengths [B]


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


class BatchCutter(Subset):
    """What a loader of `make_loader` reads: gives whole batches, cut out of the packed frames.

    Fetching clip by clip, padding and stacking costs more than a step of a small network. With a
    GPU as `device` the packed frames are copied there once, if they fit, and the batches are cut
    there.

    `dataset` is a SpectrogramDataset or a `Subset` of one. Where its items are not what was packed,
    `pad_batch` joins them, and the batches are cut out of that.
    """

    def __init__(
        self,
        dataset: Dataset,
        pad_batch: Callable[[list[Any]], Batch],
        generator: torch.Generator,
        device: torch.device,
        crop_frames: int,
        max_masked_bands: int,
    ) -> None:
        base, clips = unwrap(dataset)
        super().__init__(dataset, range(len(clips)))
        self.base, self.pad_batch, self.generator = base, pad_batch, generator
        self.crop_frames, self.max_masked_bands = crop_frames, max_masked_bands
        self.frames = base.store.frames_on(device)
        self.device = self.frames.device
        self.is_elsewhere = self.device.type != device.type
        self.starts = torch.from_numpy(base.store.starts[clips])
        self.lengths = torch.from_numpy(base.store.lengths[clips])
        self.labels = base.labels[torch.from_numpy(clips)]

    def __getitems__(self, numbers: list[int]) -> Batch:
        """The batch of these clips: x [B, T, F] float32, scaled and padded with 0, y, lengths."""
        chosen, packed = torch.as_tensor(numbers), self.base.is_as_packed
        if packed:
            frames, y = self.frames, self.labels[chosen]
            starts, lengths = self.starts[chosen], self.lengths[chosen]
        else:
            items, y, lengths = self.pad_batch([self.dataset[number] for number in numbers])
            frames, starts = items.flatten(0, 1), items.shape[1] * torch.arange(len(items))
        if self.crop_frames:
            starts, lengths = random_windows(starts, lengths, self.crop_frames, self.generator)
        n_frames = int(lengths.max())
        frames, starts, y, lengths = (x.to(self.device) for x in (frames, starts, y, lengths))
        x = cut_clips(frames, starts, n_frames)
        if packed:
            x = x[:, :, self.base.rows].float()
            if self.base.scaler is not None:
                mean, deviation = self.base.scaler.tensors(self.device)
                x.sub_(mean).div_(deviation)
        hide_padding(x, lengths)
        if self.max_masked_bands:
            spec_augment(x, lengths, self.max_masked_bands, 0.1, self.generator)
        return x, y, lengths


class BatchLoader(DataLoader):
    """The loader of a BatchCutter.

    For a GPU that cannot hold the frames, another thread cuts the next batch meanwhile, into
    memory that stays in place (pinned), so that the copy to the GPU does not wait, either.
    """

    def __init__(self, cutter: BatchCutter, **options: Any) -> None:
        pinned = cutter.is_elsewhere and torch.cuda.is_available()
        # The batches are joined already.
        super().__init__(cutter, collate_fn=tuple, pin_memory=pinned, **options)

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        if not self.dataset.is_elsewhere:
            yield from batches
            return
        with ThreadPoolExecutor(1) as thread:
            following = thread.submit(next, batches, None)
            while (batch := following.result()) is not None:
                following = thread.submit(next, batches, None)
                yield batch


def unwrap(dataset: Dataset) -> tuple[Any, np.ndarray]:
    """The SpectrogramDataset below a loader's or nested `Subset`s, and the clips they select."""
    if isinstance(dataset, Subset):
        base, inner = unwrap(dataset.dataset)
        return base, inner[np.asarray(dataset.indices, dtype=np.int64)]
    if not hasattr(dataset, "store"):
        raise LabError(f"expected a SpectrogramDataset or a Subset of one, got {type(dataset)}")
    return dataset, np.arange(len(dataset))
