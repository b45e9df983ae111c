"""The packed feature store: all clips of one folder in one array, opened by memory map.

Reading thousands of small files takes minutes on a cold disk and their float64 arrays fill the
memory. Here they are read once and written as float16, frame after frame, into a single file; a
clip then is a stretch of rows, and only what is used is read. float16 is exact to 0.03 dB at
-80 dB, far below what the models can tell apart.

A store is a folder, `<cache>/packed/<data>-<folder>-<split>-<place>/`, that holds one folder named
by a digest of the names and contents of the source files, with `frames.npy` [sum of T, 140] and
`lengths.npy` [n], and their checksums; `source` names the folder that they are from. It gets its
name when it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.machinery.arrays import N_ROWS, read_array, read_n_frames
from helpers.machinery.files import (
    PARTIAL_SUFFIX,
    LabError,
    blame_machine,
    cache_dir,
    read_json,
    require_space,
    write_atomically,
)
from helpers.machinery.identity import content_digest, file_digests
from helpers.machinery.process import counted

if TYPE_CHECKING:
    import torch

STORE_VERSION = "4"
SOURCE, CHECKSUMS = "source", "checksums.json"
ARRAYS = ("frames.npy", "lengths.npy")
AT_A_TIME = 64  # clips that are in memory while they are packed
# What a file system without locks answers: then several may pack, and the last one stays.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_SPARE_BYTES = 64 * 2**20  # what else may be written to the disk meanwhile


@dataclass(frozen=True)
class FeatureStore:
    """Clips in one memory-mapped array, so that nothing is read before use.

    `frames` is float16 [sum of T, 140], 128 mel bands in dB and 12 chroma classes; clip number i
    holds the rows from `starts[i]` on, `lengths[i]` of them.
    """

    frames: np.memmap
    starts: np.ndarray
    lengths: np.ndarray
    copies: dict[torch.device, torch.Tensor] = field(default_factory=dict, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: where the map is, and not what is in it."""
        return _mapped_again, (str(self.frames.filename), self.starts, self.lengths)

    def frames_on(self, device: torch.device) -> torch.Tensor:
        """All frames on a device, copied there once; on the CPU this is the memory map itself.

        So it is for a GPU of which they would fill half of the memory that is free.
        """
        import torch

        if device not in self.copies:
            with warnings.catch_warnings(action="ignore"):  # they are read-only, as they shall be
                frames = torch.from_numpy(self.frames)
            fits = device.type != "cuda" or 2 * frames.nbytes < torch.cuda.mem_get_info(device)[0]
            self.copies[device] = frames.to(device) if fits else frames
        return self.copies[device]

    def clip(self, index: int, rows: slice) -> np.ndarray:
        """The frames of one clip, float32 [T, F]; `rows` picks mel, chroma or both."""
        start = self.starts[index]
        return self.frames[start : start + self.lengths[index], rows].astype(np.float32)

    def select(self, clips: np.ndarray) -> FeatureStore:
        """The same array with these clips only, in this order."""
        return replace(self, starts=self.starts[clips], lengths=self.lengths[clips])


def _mapped_again(frames: str, starts: np.ndarray, lengths: np.ndarray) -> FeatureStore:
    return FeatureStore(_mapped(frames), starts, lengths)


def _mapped(frames: str | Path) -> np.memmap:
    # Read-only: Linux maps no more writable pages than there is memory for them.
    return np.load(frames, mmap_mode="r", allow_pickle=False)


def open_store(paths: Sequence[str]) -> FeatureStore:
    """Open the packed form of these clip files of one folder; pack them first if need be.

    A store of another version, made of other files than these (changed, added or removed since), or
    no longer what was written is made anew, never trusted. Several processes may ask at a time: one
    packs, the others wait and share its files. Raises LabError for the first broken clip.
    """
    order = sorted(range(len(paths)), key=paths.__getitem__)  # whatever the label file's order
    sources = [paths[clip] for clip in order]
    packed, whole = cache_dir() / "packed", _store_folder(sources)
    store = _open(whole)
    if store is None:
        with _only_one_at_a_time(packed):
            _remove_orphans(packed)
            if _open(whole) is None:
                _pack(sources, whole)
        store = _open(whole)
    if store is None:
        raise LabError(f"{whole}: cannot be read after it was packed; delete it, run this again")
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return store.select(back)


def derived(
    store: FeatureStore, name: str, make: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `make` says of the frames [T, 140] of each clip, stacked: name -> [n, ...].

    Made for all packed clips of the folder, and kept beside them in an archive, whose checksums are
    asked when it is read. `name` must change with what `make` does.
    """
    folder = Path(store.frames.filename).parent
    lengths = np.load(folder / "lengths.npy")
    starts, kept = np.cumsum(lengths) - lengths, folder / f"{name}.npz"
    try:
        with np.load(kept, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
    except Exception:  # there is none, or no whole one: NumPy and zipfile let many kinds through
        every = replace(store, starts=starts, lengths=lengths)
        own = [make(every.clip(clip, slice(None))) for clip in range(len(starts))]
        arrays = {key: np.stack([clip[key] for clip in own]) for key in own[0]}
        np.savez(file := io.BytesIO(), **arrays)  # type: ignore[arg-type]
        with suppress(LabError):  # a full disk costs the time, not the answer
            write_atomically(kept, file.getvalue())
    places = np.searchsorted(starts, store.starts)
    return {key: values[places] for key, values in arrays.items()}


def _store_folder(paths: list[str]) -> Path:
    """Where the store of these files is or will be, named by its sources' names and contents."""
    folder = os.path.dirname(paths[0])
    names = [path[len(folder) + 1 :] for path in paths]
    contents = file_digests(folder, names)
    place = os.path.realpath(folder)
    readable = "-".join([*Path(place).parts[-2:], hashlib.sha256(place.encode()).hexdigest()[:8]])
    digest = hashlib.blake2b(f"{STORE_VERSION}\n{names}\n{contents}".encode(), digest_size=16)
    return cache_dir() / "packed" / readable / digest.hexdigest()


def _open(folder: Path) -> FeatureStore | None:
    """The store in this folder; None unless it has its checksums.

    For them its files are read to their ends, but only where they are new or changed.
    """
    found = file_digests(str(folder.parent), [f"{folder.name}/{name}" for name in ARRAYS])
    if found != [read_json(folder / CHECKSUMS).get(name) for name in ARRAYS]:
        return None
    lengths = np.load(folder / "lengths.npy", allow_pickle=False)
    return FeatureStore(_mapped(folder / "frames.npy"), np.cumsum(lengths) - lengths, lengths)


def _pack(paths: list[str], whole: Path) -> None:
    """Write a store, whole or not at all; clips are read side by side and written in order."""
    partial = whole.parent.with_name(f".{whole.parent.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    new = partial / "new"
    folder = os.path.dirname(paths[0])
    n_bytes = 0
    try:
        # unzipping, conversions and the disk release the interpreter lock, so threads are enough
        with ThreadPoolExecutor() as pool:
            lengths = np.array(list(pool.map(read_n_frames, paths)), dtype="<i8")
            n_bytes = 2 * N_ROWS * int(lengths.sum())
            require_space(whole.parents[1], n_bytes + _SPARE_BYTES, "packing the features")
            new.mkdir(parents=True)
            np.save(new / "lengths.npy", lengths)
            # Not through a memory map: on a full disk that would end the process without a word.
            with open(new / "frames.npy", "wb") as file:
                shape = (int(lengths.sum()), N_ROWS)
                about = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, about)
                what = f"packing {os.path.relpath(folder)}"
                for frames in counted(_read_all(pool, paths), len(paths), what):
                    file.write(frames)
        checksums = {name: content_digest(new / name) for name in ARRAYS}
        (new / CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
        write_atomically(whole.parent / SOURCE, os.path.realpath(folder))
        if _store_folder(paths) != whole:
            problem = "source files changed while they were packed; run this again"
            raise LabError(f"{whole.parents[1]}: {problem}")
        if whole.exists():  # a damaged one
            os.rename(whole, partial / "old")
        os.rename(new, whole)
        for other in whole.parent.iterdir():  # made of what the files were before
            if other.is_dir() and other != whole:
                shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        raise LabError(
            f"{whole.parents[1]}: cannot pack the features ({error.strerror}); "
            f"they need {n_bytes / 2**20:.1f} MiB in a folder that one may write to; mend that, or "
            "choose another one with MUSICLAB_HOME"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_all(pool: ThreadPoolExecutor, paths: list[str]) -> Iterator[np.ndarray]:
    """The clips as they are stored, in order; few at a time, for the memory."""
    for first in range(0, len(paths), AT_A_TIME):
        yield from pool.map(as_stored, paths[first : first + AT_A_TIME])


def as_stored(path: str) -> np.ndarray:
    """A clip as float16 [T, 140]. Raises LabError for a broken one."""
    try:
        return np.ascontiguousarray(read_array(path).T, dtype="<f2")
    except MemoryError as error:
        blame_machine(path, error)
        raise


@contextmanager
def _only_one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait while another process packs; the lock goes away with its process, however it ends."""
    from filelock import FileLock

    lock = FileLock(folder.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise LabError(
                f"{folder}: cannot be used for packed features ({error.strerror}); "
                "choose another folder with MUSICLAB_HOME"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes and older versions left, and stores whose source is gone."""
    for path in folder.iterdir():  # we hold the lock: nobody else is writing
        with suppress(OSError):
            source = path / SOURCE
            if source.is_file() and path.suffix != PARTIAL_SUFFIX:
                if os.path.isdir(source.read_text(encoding="utf-8")):
                    continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
