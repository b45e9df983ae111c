"""The packed store: equal to its files, shared, never out of date, never half written."""

from __future__ import annotations

import errno
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from filelock import FileLock

from helpers.datasets import SpectrogramDataset
from helpers.folders import MULTITASK
from helpers.machinery import store as stores
from helpers.machinery.arrays import N_ROWS, read_array

ALL_ROWS = slice(0, N_ROWS)


@pytest.fixture
def clips(mini_data: Path, tmp_path: Path, home: Path) -> list[str]:
    """Paths of three clips that a test may change."""
    place, plain = Path(MULTITASK) / "test", shutil.ignore_patterns("*.gz")
    folder = shutil.copytree(mini_data / place, tmp_path / "data" / place, ignore=plain)
    return sorted(map(str, folder.iterdir()))


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
    assert_equals_files(stores.open_store(clips[::-1]), clips[::-1])  # another label file's order
    assert states(packed) == before
    with pytest.raises(ValueError, match="read-only"):
        again.frames[:] = 0
    (folder,) = packed.glob("*/*/")  # plain NumPy files
    assert np.array_equal(np.load(folder / "frames.npy"), again.frames)
    assert np.load(folder / "lengths.npy").tolist() == again.lengths.tolist()


def test_a_reader_that_trips_over_another_thread_reads_again(clips, monkeypatch):
    whole = read_array(clips[0])
    trips = SystemError("AST constructor recursion depth mismatch (before=33, after=30)")
    reads = Mock(side_effect=[trips, np.load(clips[0])])
    monkeypatch.setattr(np.lib.format, "read_array", reads)
    assert np.array_equal(read_array(clips[0]), whole) and reads.call_count == 2


# ---- never out of date -------------------------------------------------------------------------


def test_other_files_than_before_are_noticed(clips, packed):
    stores.open_store(clips[:2])
    for paths in (clips, clips[1:], clips):
        assert_equals_files(stores.open_store(paths), paths)
    first, second, spare = *map(Path, clips[:2]), Path(clips[0]).with_name("spare")
    first.rename(spare)  # two under each other's names, and each keeps its time
    second.rename(first)
    spare.rename(second)
    assert_equals_files(stores.open_store(clips), clips)
    assert len(list(packed.iterdir())) == 1  # the old ones do not pile up


@pytest.mark.parametrize("name", ["frames.npy", "lengths.npy"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[:-8] + bytes([whole[-8] ^ 64]) + whole[-7:],  # a flipped bit
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
    no_locks = OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(FileLock, "acquire", Mock(side_effect=no_locks))
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


def test_several_processes_share_a_store_and_one_packs_it(clips, tmp_path, monkeypatch):
    def packing(paths: list[str], whole: Path) -> None:
        with (tmp_path / "packed").open("a") as log:
            log.write("once\n")
        pack(paths, whole)

    pack = stores._pack
    monkeypatch.setattr(stores, "_pack", packing)
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        assert len(set(pool.map(_sum, 4 * [clips]))) == 1
    assert (tmp_path / "packed").read_text() == "once\n"


def _sum(paths: list[str]) -> float:
    return float(stores.open_store(paths).frames.astype(np.float64).sum())
