"""One clip: decoded, looked at, turned into features, written. All that a worker does.

Paths and parameters come in; arrays are written here, each whole or not at all; one small row
goes back. The same bytes come out whoever does it: one thread, the same packages (`stamp`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from helpers import features
from helpers.features import CLIP_SECONDS, MIN_SECONDS, SAMPLE_RATE
from helpers.machinery import arrays
from helpers.machinery.arrays import N_MELS, flac_bytes, npy_bytes
from helpers.machinery.files import LabError, MachineError, one_line, write_atomically

SILENT = 1e-4  # of full scale, -80 dB: the loudest sample of what nobody hears
CLIPPED_SHARE = 0.2  # of the samples that lie at the top; loud masters have less than 0.05
PRINT_BANDS = PRINT_PARTS = 16  # of a fingerprint: 8 mel bands, a sixteenth of the clip
LONGEST_PAGE = 65_307  # bytes, of an Ogg file
NO_LENGTH = 2**63 - 1  # what libsndfile has for a FLAC file that was written to a pipe
# In libsndfile's log of a WAV file; written to a pipe it has 0xFFFFFFFF there, and is whole.
_MORE_PROMISED = re.compile(r"^ *data : (?!4294967295)\d+ \(should be", re.MULTILINE)
BLOCK = 1 << 20  # samples that are decoded at a time, whatever the number of channels
SUFFIXES = {
    "MP3": (".mp3",), "OGG": (".ogg", ".oga", ".opus"), "FLAC": (".flac", ".ogg", ".oga"),
    "WAV": (".wav",), "WAVEX": (".wav",), "RF64": (".wav",), "AIFF": (".aif", ".aiff"),
    "AU": (".au",),
}  # fmt: skip
PACKAGES = ("numpy", "scipy", "librosa", "numba", "soundfile", "soxr")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A clip to make: where it is, which part of it, and whether it can be listened to later."""

    id: str
    path: str
    offset: float | None
    duration: float | None
    keep_audio: bool
    key: str


@dataclass(frozen=True)
class Job:
    """What all clips have in common: folders, and `stamp`."""

    audio: str
    clips: str
    stamp: str


def make_batch(tasks: Sequence[Task], job: Job) -> list[Row]:
    """Make a few clips; a row for each. Raises LabError for what is no fault of a clip."""
    from threadpoolctl import threadpool_limits

    if stamp() != job.stamp:
        raise LabError(
            f"a worker on {platform.node()} has {stamp()}, this build {job.stamp}; give all the "
            "same environment and the same version of the kit"
        )
    for folder in (job.audio, job.clips):
        if not os.path.isdir(folder):
            raise LabError(f"{folder}: a worker on {platform.node()} does not see it; share it")
    # More threads would only fight, and round differently; librosa warns of short clips.
    rows = []
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        for task in tasks:
            note = Path(job.clips, f"{task.id}.json")
            note.unlink(missing_ok=True)  # it would speak of other files
            rows.append(_make(task, job))
            write_atomically(note, json.dumps(rows[-1]))
    return rows


def _make(task: Task, job: Job) -> Row:
    """Decode one clip and write its files, or say why it is left out: `reason` in its row."""
    row: Row = {"id": task.id, "key": task.key}
    try:
        audio = decode(os.path.join(job.audio, task.path), task.offset, task.duration)
        found = features.extract(audio)
    except (MachineError, MemoryError):
        raise
    except Exception as error:  # whatever librosa finds in it: one odd file stops no build
        known = isinstance(error, LabError)
        return row | {"reason": str(error) if known else f"no features: {one_line(repr(error))}"}
    files = {
        "full.npy": npy_bytes(found.full.astype(np.float16)),
        "beat.npy": npy_bytes(found.beat.astype(np.float16)),
    }
    if task.keep_audio:
        loudest = max(1.0, float(np.abs(audio).max()))  # decoding may go beyond full scale
        files["flac"] = flac_bytes(audio / loudest, SAMPLE_RATE)
        files["beats.npy"] = npy_bytes(found.beat_times)
    for name, content in files.items():
        write_atomically(Path(job.clips, f"{task.id}.{name}"), content)
    steps = np.diff(found.beat_times)
    return row | {
        "seconds": round(len(audio) / SAMPLE_RATE, 3),
        "tempo": round(60 / float(np.median(steps)), 1) if len(steps) else None,
        "audio": _digest(audio.tobytes()),
        "features": _digest(files["full.npy"] + files["beat.npy"]),
        "sizes": {name: len(content) for name, content in files.items()},
        "print": base64.b64encode(fingerprint(found.full).tobytes()).decode(),
    }


def decode(path: str, offset: float | None = None, duration: float | None = None) -> np.ndarray:
    """The samples of a clip, mono float32 at 22,050 Hz: its middle 30 s, or what is asked for.

    Raises LabError that says what is wrong with the file, and MachineError where it may be whole.
    """
    import librosa
    import soundfile

    try:
        with open(path, "rb") as content:
            if not (beginning := content.read(4)):
                raise LabError("does not open: it is empty")
            if beginning == b"OggS" and not _ends(content):
                raise LabError("cut short: it has no end")
    except OSError as error:  # it could be read when the build began
        problem = f"could not be read ({error.strerror})"
        raise MachineError(f"{path}: {problem}; mend that and run this again") from None
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate, suffix = file.samplerate, os.path.splitext(path)[1].lower()
            if suffix not in SUFFIXES.get(file.format, (suffix,)):
                raise LabError(f"its content is {file.format}, its name says {suffix}; rename it")
            if _MORE_PROMISED.search(file.extra_info):
                raise LabError("cut short: its header promises more than it holds")
            if file.frames == NO_LENGTH:
                raise LabError("says no length; encode it again")
            wanted = round((duration or CLIP_SECONDS) * rate)
            first = max(0, (file.frames - wanted) // 2) if offset is None else round(offset * rate)
            n_samples = min(wanted, file.frames - first)
            if duration and n_samples < wanted - 0.05 * rate:
                there = max(0, n_samples) / rate
                raise LabError(f"cut short: {there:.2f} s of the {duration:g} s are there")
            file.seek(min(first, file.frames))
            audio = _mono(file, max(n_samples, 0))
    except soundfile.SoundFileError as error:
        said = str(error).rpartition(": ")[2] if "opening" in str(error) else str(error)
        raise LabError(f"does not open: {one_line(said)}") from None
    if len(audio) < n_samples:
        raise LabError(f"cut short: it ends after {len(audio) / rate:.2f} of its seconds")
    _look_at(audio, rate)
    if rate == SAMPLE_RATE:
        return audio
    return librosa.resample(audio, orig_sr=rate, target_sr=SAMPLE_RATE)


def _ends(file: BinaryIO) -> bool:
    """Whether the last page of an Ogg file is whole and says that it is the last one (RFC 3533)."""
    file.seek(-min(LONGEST_PAGE, file.seek(0, os.SEEK_END)), os.SEEK_END)
    _, found, page = file.read().rpartition(b"OggS")
    if not found or len(page) < 23:
        return False
    n_segments = page[22]
    size = 23 + n_segments + sum(page[23 : 23 + n_segments])
    return bool(page[1] & 4) and len(page) >= size


def _mono(file: Any, n_samples: int) -> np.ndarray:
    """So many samples from here on, the mean of the channels, float32; fewer where it ends."""
    parts = [np.empty(0, np.float32)]
    while n_samples > 0:
        block = file.read(min(n_samples, BLOCK // file.channels), "float32", always_2d=True)
        if not len(block):
            break
        parts.append(block.mean(axis=1))
        n_samples -= len(block)
    return np.concatenate(parts)


def _look_at(audio: np.ndarray, rate: int) -> None:
    """Raise LabError for samples that hold no music."""
    if len(audio) < MIN_SECONDS * rate:
        raise LabError(f"too short: {len(audio) / rate:.2f} s are there")
    if not np.isfinite(audio).all():
        raise LabError("holds NaN or infinite samples")
    low, high = float(audio.min()), float(audio.max())
    if high - low < SILENT:
        silent = max(-low, high) < SILENT
        raise LabError("silent" if silent else f"constant: every sample is {high:.4g}")
    top = 0.999 * max(-low, high)
    if (share := float(np.mean(np.abs(audio) >= top))) > CLIPPED_SHARE:
        raise LabError(f"clipped away: {share:.0%} of its samples lie at the top")


def fingerprint(full: np.ndarray) -> np.ndarray:
    """What a clip looks like from afar, float16 [16 bands x 16 parts], from features [140, T].

    Mean decibels; another encoding, loudness or sampling rate of a recording hardly changes them.
    """
    bands = full[:N_MELS].reshape(PRINT_BANDS, -1, full.shape[1]).mean(axis=1)
    parts = np.array_split(bands, PRINT_PARTS, axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1).astype(np.float16).ravel()


@cache
def stamp() -> str:
    """What decides the bytes that come out: versions of packages, and of this code."""
    import soundfile

    code = b"".join(Path(f).read_bytes() for f in (__file__, features.__file__, arrays.__file__))
    kit = hashlib.sha256(code).hexdigest()[:8]
    named = [f"{name} {version(name)}" for name in PACKAGES]
    python = f"Python {platform.python_version()}"
    return ", ".join(
        [python, *named, f"libsndfile {soundfile.__libsndfile_version__}", f"kit {kit}"]
    )


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
