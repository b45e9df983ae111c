"""The packed store: equal to its files, shared, never out of date, never half written."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from helpers.datasets import SpectrogramDataset
from helpers.folders import MULTITASK
from helpers.machinery import store as stores
from helpers.machinery.arrays import N_ROWS, read_array

ALL_ROWS = slice(0, N_ROWS)


@pytest.fixture
def clips(tmp_path: Path, home: Path) -> list[str]:
    """Paths of three clips that a test may change."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / MULTITASK / "test"
    folder.mkdir(parents=True)
    paths = [folder / f"{name}.fused.full.npy" for name in (11, 12, 13)]
    for path, n_frames in zip(paths, (24, 24, 29), strict=True):
        mel, chroma = rng.uniform(-80, 0, (128, n_frames)), rng.uniform(size=(12, n_frames))
        np.save(path, np.concatenate([mel, chroma]))
    return [str(path) for path in paths]


@pytest.fixture
def packed(home: Path) -> Path:
    """The folder that stores are written to."""
    return home / ".cache" / "packed"


def assert_equals_files(store: stores.FeatureStore, paths: list[str]) -> None:
    assert len(store.lengths) == len(paths)
    for index, path in enumerate(paths):
        expected = read_array(path).T.astype(np.float16)
        np.testing.assert_array_equal(store.clip(index, ALL_ROWS), expected)


def states(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ---- what is in it -----------------------------------------------------------------------------


def test_a_store_holds_the_files_and_is_made_once(clips, packed):
    assert_equals_files(stores.open_store(clips), clips)
    before = states(packed)
    again = stores.open_store(clips)
    assert isinstance(again.frames, np.memmap)  # nothing is read before use
    assert again.frames.dtype == np.float16 and len(before) == 4
    assert states(packed) == before
    (folder,) = packed.glob("*/*/")  # plain NumPy files
    assert np.array_equal(np.load(folder / "frames.npy"), again.frames)
    assert np.load(folder / "lengths.npy").tolist() == again.lengths.tolist()


def test_the_order_of_the_label_file_does_not_matter(clips, packed):
    stores.open_store(clips)
    before = states(packed)
    assert_equals_files(stores.open_store(clips[::-1]), clips[::-1])
    assert states(packed) == before


def test_a_reader_that_trips_over_another_thread_reads_again(clips, monkeypatch):
    whole, read, tries = read_array(clips[0]), np.lib.format.read_array, []

    def trips_once(*given: Any, **options: Any) -> np.ndarray:
        tries.append(given)
        if len(tries) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=33, after=30)")
        return read(*given, **options)

    monkeypatch.setattr(np.lib.format, "read_array", trips_once)
    assert np.array_equal(read_array(clips[0]), whole) and len(tries) == 2


def test_a_store_cannot_be_changed_by_mistake(clips):
    with pytest.raises(ValueError, match="read-only"):
        stores.open_store(clips).frames[:] = 0
    assert_equals_files(stores.open_store(clips), clips)


# ---- never out of date -------------------------------------------------------------------------


def test_two_files_under_each_other_s_names_are_noticed(clips, packed):
    """Each keeps its time."""
    stores.open_store(clips)
    first, second, spare = *map(Path, clips[:2]), Path(clips[0]).with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert_equals_files(stores.open_store(clips), clips)
    assert len(list(packed.iterdir())) == 1  # the old one does not pile up


def test_added_and_removed_files_are_noticed(clips, packed):
    stores.open_store(clips[:2])
    for paths in (clips, clips[1:], clips):
        assert_equals_files(stores.open_store(paths), paths)
    assert len(list(packed.iterdir())) == 1


@pytest.mark.parametrize("name", ["frames.npy", "lengths.npy"])
@pytest.mark.parametrize(
    "damage",
    [
        *(lambda whole, n=n_bytes: whole[:n] for n_bytes in (0, 5, 100, 140, -1)),
        lambda _: b"PK\x03\x04",
        lambda _: b"\x93NUMPY\x01\0\6\0{(((((",
        lambda _: b"\xff" * 9,
        lambda whole: whole[:-8] + bytes([whole[-8] ^ 64]) + whole[-7:],  # a flipped bit
        lambda whole: whole[:-16] + whole[-8:] + whole[-16:-8],
    ],
)
def test_a_damaged_store_is_made_anew(clips, packed, name, damage):
    stores.open_store(clips)
    (path,) = packed.glob(f"*/*/{name}")
    path.write_bytes(damage(path.read_bytes()))
    assert_equals_files(stores.open_store(clips), clips)


def test_a_store_is_read_to_its_end_once(clips, monkeypatch):
    stores.open_store(clips)
    monkeypatch.setattr("helpers.machinery.identity.content_digest", None)
    assert_equals_files(stores.open_store(clips), clips)


def test_a_file_system_without_locks_is_no_reason_to_stop(clips, monkeypatch):
    def no_locks(lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    assert_equals_files(stores.open_store(clips), clips)


def test_stores_of_folders_that_are_gone_are_removed(clips, packed):
    stores.open_store(clips)
    moved = Path(clips[0]).parents[2].rename(Path(clips[0]).parents[3] / "moved")
    (packed / ".left-by-a-killed-process.1.part").mkdir()
    (packed / "0123456789abcdef.safetensors").touch()  # of an earlier version of the kit
    paths = [str(path) for path in sorted((moved / MULTITASK / "test").iterdir())]
    assert_equals_files(stores.open_store(paths), paths)
    assert len(list(packed.iterdir())) == 1


def test_a_data_set_that_is_open_survives_the_change_of_its_files(clips):
    folder = Path(clips[0]).parents[1]
    before = SpectrogramDataset(folder, "test")
    frames = [before.frames(i) for i in range(3)]
    for path in clips:
        np.save(path, np.zeros((N_ROWS, 40)))
    assert SpectrogramDataset(folder, "test").lengths.tolist() == [40] * 3
    for index, expected in enumerate(frames):
        np.testing.assert_array_equal(before.frames(index), expected)


# ---- shared, and whole or not there -------------------------------------------------------------


def _open_and_sum(paths: list[str], home: str, results: multiprocessing.Queue) -> None:
    os.environ["MUSICLAB_HOME"] = home
    n_packed = []
    pack = stores._pack
    stores._pack = lambda *given: (n_packed.append(1), pack(*given))
    total = float(stores.open_store(paths).frames.astype(np.float64).sum())
    results.put((total, len(n_packed)))


def test_several_processes_share_a_store_and_one_packs_it(clips, home, packed):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=_open_and_sum, args=(clips, str(home), results)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert len({total for total, _ in found}) == 1
    assert sum(n_packed for _, n_packed in found) == 1
    assert len(list(packed.iterdir())) == 1
