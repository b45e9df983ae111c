"""The packed feature store: all clips of one folder in one file, opened by memory map.

Reading thousands of small files takes minutes on a cold disk and their float64 arrays fill the
memory. Here they are read once and written as float16, frame after frame, into a single file; a
clip then is a stretch of rows, and only what is used is read. float16 is exact to 0.03 dB at
-80 dB, far below what the models can tell apart.

A store is a safetensors file, `<cache>/packed/<data>-<folder>-<split>-<place>.safetensors`, with
the tensors `frames` [sum of T, 140] and `offsets` [n + 1]; its header says which source files, with
which sizes and times, it was made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from helpers.data import FOLDERS, N_ROWS, SPLITS, read_array, read_n_frames, read_tracks
from helpers.settings import (
    LabError,
    cache_dir,
    headless,
    report_progress,
    require_space,
    skip_bad,
)

if TYPE_CHECKING:
    import pandas as pd

STORE_VERSION = "2"
SHORTEST_CLIP = 16  # frames: what the four poolings of the CNN need; only `skip_bad` looks at it
_LARGEST = float(np.finfo(np.float16).max)
_HEADER_BYTES = 16 * 1024
_SPARE_BYTES = 64 * 2**20  # what else may be written to the disk meanwhile


@dataclass(frozen=True)
class FeatureStore:
    """Clips in one memory-mapped array, so that nothing is read before use.

    `frames` is float16 [sum of T, 140], 128 mel bands in dB and 12 chroma classes; clip number i
    holds the rows from `starts[i]` on, `lengths[i]` of them.
    """

    frames: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    broken: dict[int, str] = field(default_factory=dict)  # clip number: what is wrong with it

    def clip(self, index: int, rows: slice) -> np.ndarray:
        """The frames of one clip, float32 [T, F]; `rows` picks mel, chroma or both."""
        start = self.starts[index]
        return self.frames[start : start + self.lengths[index], rows].astype(np.float32)

    def select(self, clips: np.ndarray) -> FeatureStore:
        """The same array with these clips only, in this order."""
        return replace(self, starts=self.starts[clips], lengths=self.lengths[clips], broken={})


def usable_tracks(folder: Path, split: str) -> pd.DataFrame:
    """The tracks of one split of one folder; under `skip_bad` those of good clips only."""
    return open_clips(folder, split)[0] if skip_bad() else read_tracks(folder, split)


def open_clips(
    folder: Path, split: str, left_out: list[str] | None = None
) -> tuple[pd.DataFrame, FeatureStore]:
    """The tracks of one split of one folder, and their frames, row for row.

    Packs the folder first where that is not done yet. Raises LabError for bad labels and broken
    clips; under `skip_bad` they are left out instead, and described in `left_out`. A clip that is
    bad in its full or in its beat-synchronous form is left out of both, which stay the same clips.
    """
    problems: list[str] = []
    tracks, store = _open_good(folder, split, problems)
    twin = folder.with_name(_twin(folder.name))
    if skip_bad() and (twin / split).is_dir():
        n_own = len(problems)
        good = set(_open_good(twin, split, problems)[0]["id"])
        if len(problems) > n_own:
            kept = np.flatnonzero(tracks["id"].isin(good))
            tracks, store = tracks.iloc[kept].reset_index(drop=True), store.select(kept)
        _require_some(tracks["id"], folder / split, problems)
    if left_out is not None:
        left_out += problems
    return tracks, store


def _twin(name: str) -> str:
    """The folder that holds the same clips in their other form, full or beat-synchronous."""
    return name.removesuffix("_beat") if name.endswith("_beat") else f"{name}_beat"


def _open_good(folder: Path, split: str, problems: list[str]) -> tuple[pd.DataFrame, FeatureStore]:
    """The clips of one folder that are good in themselves."""
    tracks = read_tracks(folder, split, problems)
    _require_some(tracks["id"], folder / split, problems)
    store = open_store(tracks["path"].tolist())
    if not skip_bad():
        return tracks, store
    bad = store.broken | {
        int(clip): f"{tracks['path'][clip]}: {store.lengths[clip]} frames are too short for "
        f"the CNN, which needs {SHORTEST_CLIP}"
        for clip in np.flatnonzero(store.lengths < SHORTEST_CLIP)
        if clip not in store.broken
    }
    problems += [bad[clip] for clip in sorted(bad)]
    good = np.array([clip for clip in range(len(tracks)) if clip not in bad], dtype=np.int64)
    _require_some(good, folder / split, problems)
    return tracks.iloc[good].reset_index(drop=True), store.select(good)


def _require_some(clips: Sized, place: Path, problems: list[str]) -> None:
    """Raise LabError when nothing is left of a folder."""
    if not len(clips):
        raise LabError(f"{place}: none of its clips can be used; first: {problems[0]}")


def left_out(data: Path) -> list[str]:
    """A line for everything that `skip_bad` leaves out of the four folders of a data folder."""
    problems: list[str] = []
    for folder in (data / name for name in FOLDERS):
        for split in SPLITS:
            if (folder / split).is_dir():
                _open_good(folder, split, problems)
    return problems


def open_store(paths: Sequence[str]) -> FeatureStore:
    """Open the packed form of these clip files of one folder; pack them first if need be.

    A store that is cut short, of another version, or made of other files than these (changed,
    added or removed since) is made anew, never trusted. Several processes may ask at a time: one
    packs, the others wait and share its file. Raises LabError for the first broken clip; under
    `skip_bad` such clips have no frames and are described in `broken`.
    """
    order = sorted(range(len(paths)), key=paths.__getitem__)  # whatever the label file's order
    sources = _Sources([paths[clip] for clip in order])
    path = cache_dir() / "packed" / sources.store_name
    store = _open(path, sources)
    if store is None:
        with _only_one_at_a_time(path.parent):
            store = _open(path, sources)
            if store is None:
                _remove_orphans(path.parent)
                _pack(sources, path)
                store = _open(path, sources)
    if store is None:
        raise LabError(f"{path}: its source files changed while they were packed; run this again")
    if store.broken and not skip_bad():
        raise LabError(next(iter(store.broken.values())))
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    broken = {order[clip]: problem for clip, problem in store.broken.items()}
    return replace(store.select(back), broken=broken)


# ---- what a store is made of -------------------------------------------------------------------


class _Sources:
    """The clip files of one folder, sorted, and a digest that changes when one of them does."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.folder = os.path.dirname(paths[0])
        self.place = os.path.realpath(self.folder)
        n_before = len(self.folder) + 1
        self.digest = _digest(self.folder, [path[n_before:] for path in paths])

    @property
    def store_name(self) -> str:
        """The file name of the store: one for each folder, whatever is in it."""
        readable = "-".join(Path(self.place).parts[-2:])
        return f"{readable}-{hashlib.sha256(self.place.encode()).hexdigest()[:8]}.safetensors"

    @property
    def numbered(self) -> tuple[list[str], range]:
        """The paths and the clips' numbers, as `map` takes them."""
        return self.paths, range(len(self.paths))


def _digest(folder: str, names: list[str]) -> str:
    """A key made of every file's name, size and times of last change.

    The time of its contents alone would miss a file that was replaced by an equally old one. Asked
    relative to the open folder, which spares the kernel the walk along the whole path.
    """
    stat = os.stat
    opened = os.open(folder, os.O_RDONLY)
    try:
        states = [
            (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            for status in (stat(name, dir_fd=opened) for name in names)
        ]
    except OSError as error:
        raise LabError(f"{folder}/{error.filename}: cannot be read ({error.strerror})") from error
    finally:
        os.close(opened)
    whole = f"{STORE_VERSION}\n{names}\n{states}"
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


# ---- the file ----------------------------------------------------------------------------------


def _open(path: Path, sources: _Sources) -> FeatureStore | None:
    """The store in this file, or None unless it is whole and made of these very sources."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _read_header(file, size)
            about = header["__metadata__"]
            if (about["version"], about["sources"]) != (STORE_VERSION, sources.digest):
                return None
            ends = {name: header[name]["data_offsets"] for name in ("offsets", "frames", "broken")}
            begin = file.tell()
            offsets = np.fromfile(file, "<i8", len(sources.paths) + 1)
            shape = (int(offsets[-1]), N_ROWS)
            lengths = np.diff(offsets)
            whole = (
                begin + ends["broken"][1] == size
                and ends["frames"][1] - ends["frames"][0] == 2 * math.prod(shape)
                and lengths.min() >= 0
            )
            if not whole:
                return None
            file.seek(begin + ends["broken"][0])
            broken = {int(clip): problem for clip, problem in json.loads(file.read()).items()}
            # "c": writable for PyTorch's sake, though a write would never reach the file
            place = begin + ends["frames"][0]
            frames = np.memmap(file, "<f2", "c", offset=place, shape=shape)
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error):
        return None
    return FeatureStore(frames, offsets[:-1], lengths, broken)


def _read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    """The header of an open safetensors file, which then stands at its data."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size:
        raise ValueError("the file ends inside its header")
    return json.loads(file.read(length))


def _pack(sources: _Sources, path: Path) -> None:
    """Write the store's file, whole or not at all; clips are read and written side by side."""
    problems = _Problems()
    # unzipping, conversions and the disk release the interpreter lock, so threads are enough
    with _pool() as pool:
        counted = pool.map(problems.noting(lambda path, _: read_n_frames(path)), *sources.numbered)
        lengths = [length or 0 for length in counted]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
        n_bytes = 2 * N_ROWS * int(offsets[-1])
        with _new_file(path, _HEADER_BYTES + offsets.nbytes + n_bytes) as file:
            begin = _HEADER_BYTES + offsets.nbytes

            def copy(source: str, clip: int) -> None:
                frames = _as_stored(source, lengths[clip])
                _write_at(file, frames, begin + 2 * N_ROWS * int(offsets[clip]))

            done = pool.map(problems.noting(copy), *sources.numbered)
            _count(done, len(sources.paths), os.path.relpath(sources.folder))
            broken = json.dumps(problems.found).encode()
            _write_at(file, offsets, _HEADER_BYTES)
            _write_at(file, broken, begin + n_bytes)
            _write_at(file, _header(sources, offsets, n_bytes, len(broken)), 0)


def _header(sources: _Sources, offsets: np.ndarray, n_bytes: int, n_broken: int) -> bytes:
    """The safetensors header, filled up with blanks to its fixed size."""
    first = offsets.nbytes
    second = first + n_bytes
    tensors = {
        "offsets": ("I64", [len(offsets)], [0, first]),
        "frames": ("F16", [int(offsets[-1]), N_ROWS], [first, second]),
        "broken": ("U8", [n_broken], [second, second + n_broken]),  # JSON: clip number, problem
    }
    about = {"version": STORE_VERSION, "sources": sources.digest, "folder": sources.place}
    header: dict[str, Any] = {"__metadata__": about} | {
        name: {"dtype": dtype, "shape": shape, "data_offsets": ends}
        for name, (dtype, shape, ends) in tensors.items()
    }
    length = _HEADER_BYTES - 8
    return struct.pack("<Q", length) + json.dumps(header).encode().ljust(length)


def _as_stored(path: str, n_frames: int) -> np.ndarray:
    """A clip as float16 [T, 140]; LabError when it is not what its header said, or too large."""
    array = read_array(path)
    if array.shape[1] != n_frames:
        raise LabError(f"{path}: changed while it was packed; run this again")
    if np.abs(array).max() > _LARGEST:
        raise LabError(f"{path}: holds values beyond {_LARGEST:.0f}, which are no dB; get it again")
    return np.ascontiguousarray(array.T, dtype="<f2")


def _write_at(file: int, content: np.ndarray | bytes, place: int) -> None:
    """Write all of it at this place of an open file; several threads may do so at a time."""
    rest = memoryview(content).cast("B") if len(content) else memoryview(b"")
    while rest:
        written = os.pwrite(file, rest, place)
        rest, place = rest[written:], place + written


class _Problems:
    """What is wrong with which clip: raised at once, or collected under `skip_bad`."""

    def __init__(self) -> None:
        self.found: dict[int, str] = {}

    def noting(self, work: Callable[[str, int], Any]) -> Callable[[str, int], Any]:
        """`work(path, clip)`, which gives None for a clip that is broken, now or before."""

        def guarded(path: str, clip: int) -> Any:
            if clip in self.found:
                return None
            try:
                return work(path, clip)
            except LabError as error:
                if not skip_bad():
                    raise
                self.found[clip] = str(error)
                return None

        return guarded


def _count(done: Iterator[None], total: int, what: str) -> None:
    """Wait for all of them, with a progress bar, and told to the runner twice a second."""
    from tqdm import tqdm

    told = time.monotonic()
    for number, _ in enumerate(
        tqdm(done, f"packing {what}", total, unit="clip", disable=headless(), leave=False), start=1
    ):
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            report_progress(stage=f"packing {what}", done=number, total=total)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that stop at the first error, instead of finishing what is queued."""
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _new_file(path: Path, n_bytes: int) -> Iterator[int]:
    """A file of this size to write into, which gets its name when everything went well.

    Raises LabError before anything is written when the disk has too little room.
    """
    require_space(path.parent, n_bytes + _SPARE_BYTES, "packing the features")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part")
    file = None
    try:
        file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        yield file
        os.replace(partial, path)
    except OSError as error:
        raise LabError(
            f"{path.parent}: cannot pack the features ({error.strerror}); "
            f"{n_bytes / 2**20:.0f} MiB are needed here; make room, or choose another folder with "
            "MUSICLAB_HOME"
        ) from error
    finally:
        if file is not None:
            os.close(file)
        partial.unlink(missing_ok=True)


@contextmanager
def _only_one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait while another process packs; the lock goes away with its process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise LabError(
            f"{folder}: cannot be used for packed features ({error.strerror}); "
            "choose another folder with MUSICLAB_HOME"
        ) from error
    try:
        with suppress(OSError):  # a file system without locks: both may pack, the last one stays
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes left here, and stores whose source folder is gone."""
    for path in folder.iterdir():  # we hold the lock: nobody else is writing
        if path.suffix == ".safetensors":
            with suppress(OSError, ValueError, KeyError, TypeError, struct.error):
                with open(path, "rb") as file:
                    about = _read_header(file, path.stat().st_size)["__metadata__"]
                if os.path.isdir(about["folder"]):
                    continue
        elif path.suffix not in (".part", ".npy", ".json"):  # the last two: of older versions
            continue
        with suppress(OSError):
            path.unlink()
