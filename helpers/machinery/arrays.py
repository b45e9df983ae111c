"""One stored clip: a `.npy` file, gzip-compressed or not, checked before it is believed."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from helpers.machinery.files import LabError, blame_machine, get_again, one_line

Read = TypeVar("Read")
N_MELS, N_CHROMA = 128, 12
N_ROWS = N_MELS + N_CHROMA  # of a stored array: mel bands in dB, then chroma classes
_GZIP_AT_MOST = 1100  # gzip makes nothing smaller than 1/1032 of its size
_GZIP_MAGIC = b"\x1f\x8b"
_LOWEST_DB, _HIGHEST_DB = -200.0, 1.0  # the lab's are -80 to 0; others may have another floor
_LEEWAY = 0.01  # of a chroma value beyond 0..1


def read_array(path: str | Path) -> np.ndarray:
    """Read one stored clip, `.npy` or gzip-compressed, of any float type.

    Returns float32 [140, T]: 128 mel bands in dB (0 is the loudest), then 12 chroma classes.
    Raises LabError for a file that is cut short, pickled, of a wrong shape, or not finite.
    """
    path = Path(path)

    def whole(file: Any) -> np.ndarray:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # only at its end does gzip compare the checksum
        return array

    array = _read(path, whole)
    check_shape(path, array.shape, array.dtype)
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise LabError(f"{path}: holds NaN or infinite values; get this file again or remove it")
    _check_ranges(path, array)
    return array


def _check_ranges(path: Path, array: np.ndarray) -> None:
    """Raise LabError unless [140, T] holds decibels and chroma: a network would learn anything."""
    low, high = float(array[:N_MELS].min()), float(array[:N_MELS].max())
    low_chroma, high_chroma = float(array[N_MELS:].min()), float(array[N_MELS:].max())
    if low_chroma < -_LEEWAY or high_chroma > 1 + _LEEWAY:
        first = array[:N_CHROMA]
        turned = " (chroma seems to stand first)" if first.min() >= 0 and first.max() <= 1 else ""
        raise LabError(
            f"{path}: rows 128 to 139 hold {low_chroma:.4g} to {high_chroma:.4g}{turned}, expected "
            "chroma of 0 to 1; mel bands come first; get this file again or make it anew"
        )
    if low < _LOWEST_DB or high > _HIGHEST_DB or 0 <= low < high:
        power = " (it looks like power)" if 0 <= low else ""
        raise LabError(
            f"{path}: rows 0 to 127 hold {low:.4g} to {high:.4g}{power}, expected mel bands in dB, "
            "about -80 to 0; use librosa.power_to_db(mel, ref=np.max), or get this file again"
        )


def read_n_frames(path: str | Path) -> int:
    """The number of frames T of a stored clip, from the header of its file alone."""
    path = Path(path)

    def header(file: Any) -> tuple[tuple[int, ...], np.dtype, bool]:
        formats = np.lib.format
        first = formats.read_magic(file) == (1, 0)
        read = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype, isinstance(file, gzip.GzipFile)

    shape, dtype, packed = _read(path, header)
    check_shape(path, shape, dtype)
    room = path.stat().st_size * (_GZIP_AT_MOST if packed else 1)
    if N_ROWS * shape[1] * dtype.itemsize > room:  # before anybody makes room for it
        raise _not_whole(path, f"its header promises {shape}, more than the file can hold")
    return int(shape[1])


def _read(path: Path, read: Callable[[Any], Read], again: int = 2) -> Read:
    """What `read` makes of an opened file. Raises LabError when it cannot."""
    try:
        with open_array(path) as file:
            return read(file)
    except Exception as error:  # NumPy lets many kinds through, as its tokenizer's
        # Python 3.11 may raise SystemError where two threads read a header at once (gh-106905).
        if isinstance(error, SystemError) and again:
            return _read(path, read, again - 1)
        raise _not_whole(path, error) from error


def _not_whole(path: Path, problem: Exception | str) -> LabError:
    blame_machine(path, problem)
    again = get_again(path, "get this file again")
    return LabError(f"{path}: no whole .npy array ({one_line(problem)}); {again}")


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def flac_bytes(audio: np.ndarray, sample_rate: int) -> bytes:
    """Mono audio [samples], -1..1, as the bytes of a `.flac` file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio, sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def open_array(path: Path) -> gzip.GzipFile:
    """Open a clip's file for reading bytes, through gzip where its first bytes say so."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
        raise OSError("no regular file")
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    if path.suffix == ".gz" and not compressed:
        raise OSError("the name ends in .gz but the content is no gzip")
    return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]


def check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise LabError unless a stored array is floating-point [140, T] with T of at least 1."""
    if dtype.hasobject:
        raise LabError(f"{path}: holds pickled objects, which are never loaded; get it again")
    if dtype.kind != "f":
        raise LabError(f"{path}: holds {dtype}, expected a floating-point array; get it again")
    if len(shape) != 2 or shape[0] != N_ROWS or shape[1] < 1:
        turned = " (it looks transposed)" if len(shape) == 2 and shape[1] == N_ROWS else ""
        raise LabError(
            f"{path}: has shape {shape}{turned}, expected ({N_ROWS}, T) with T of at least 1; "
            "get this file again or remove it"
        )
