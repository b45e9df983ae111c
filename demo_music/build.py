"""The embedded demo set: synthesised music in 20 genres, written as the lab's data.

    python -m demo_music.build [--size S] [--folder DIR]

A demo set's folder holds `data/` (the lab's four folders, with their naming quirks), `beats/` (the
beat times of every clip), `audio/` (a few clips to listen to), `multitask_test_answers.csv` (the
withheld answers), and, once everything else is there, `complete.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from demo_music.styles import STYLES, Factors, draw_factors, rate_affect
from demo_music.synthesis import compose_clip
from helpers.features import SAMPLE_RATE, extract
from helpers.folders import AXES, DEMO_RECORD, GENRE, GENRE_BEAT, GENRES, MULTITASK, MULTITASK_BEAT
from helpers.machinery.arrays import flac_bytes, npy_bytes, read_n_frames
from helpers.machinery.files import (
    LabError,
    demo_data,
    read_json,
    remove_leftovers,
    require_space,
    write_atomically,
)
from helpers.machinery.process import belong_to, counted, usable_cores

SEED = 0
VERSION = 1  # raise it when the music, the features or the files change: old sets are made anew

SHARES = {"train": 1 / 8, "test": 1 / 4}  # of the real set's genre clips
MULTITASK_COUNTS = {"train": 280, "test": 94}
SMALLEST = {"genre train": 2, "genre test": 1, "multitask train": 24, "multitask test": 8}
FIRST_GENRE_ID, FIRST_MULTITASK_ID = 1001, 5001
WITH_AUDIO = 3  # clips of a split that keep their audio; in genre train, one of each genre

CLIP_SAMPLES = (660_983, 661_500)  # as cut by FMA and at 30 s: 1291 or 1292 frames
MAX_PROCESSES = 8  # each takes 0.4 GB of memory
BYTES_PER_CLIP = 0.45 * 2**20  # on the disk

STARTED = "started.json"
ANSWERS = "multitask_test_answers.csv"
THREADED = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_THREADS": "1" for library in THREADED}


@dataclass(frozen=True)
class Clip:
    """One clip of the plan: `dataset` is "genre" or "multitask", `split` "train" or "test"."""

    id: int
    genre: str
    dataset: str
    split: str
    with_audio: bool = False

    def full_path(self, data: Path) -> Path:
        """Where its full features lie."""
        folder = GENRE if self.dataset == "genre" else MULTITASK
        return data / folder / self.split / f"{self.id}.fused.full.npy"

    def beat_path(self, data: Path) -> Path:
        """Where its beat-synchronous features lie: the same name in another folder."""
        folder = GENRE_BEAT if self.dataset == "genre" else MULTITASK_BEAT
        return data / folder / self.split / f"{self.id}.fused.full.npy"

    def rng(self) -> np.random.Generator:
        """The clip's own generator: what it sounds like depends on no other clip."""
        return np.random.default_rng(np.random.SeedSequence([SEED, self.id]))


# ---- the plan: which clips, with which labels --------------------------------------------------


def plan_clips(size: float = 1.0) -> list[Clip]:
    """All clips of a demo set; `size` scales the counts, down to a few clips of each kind.

    Ids are dealt at random, so that they tell nothing about the genre.
    """
    clips = []
    for number, (split, share) in enumerate(SHARES.items()):
        for genre, style in STYLES.items():
            wanted = max(round(style.clips[number] * share * size), SMALLEST[f"genre {split}"])
            clips += [(genre, "genre", split)] * wanted
    rng = np.random.default_rng(np.random.SeedSequence([SEED, 0]))
    for split, count in MULTITASK_COUNTS.items():
        wanted = max(round(count * size), SMALLEST[f"multitask {split}"])
        clips += [(str(genre), "multitask", split) for genre in rng.choice(GENRES, wanted)]
    return _with_audio(_with_ids(clips, rng))


def _with_ids(kinds: Sequence[tuple[str, str, str]], rng: np.random.Generator) -> list[Clip]:
    clips = []
    for dataset, first in (("genre", FIRST_GENRE_ID), ("multitask", FIRST_MULTITASK_ID)):
        chosen = [kind for kind in kinds if kind[1] == dataset]
        ids = first + rng.permutation(len(chosen))
        clips += [Clip(int(id_), *kind) for id_, kind in zip(ids, chosen, strict=True)]
    return clips


def _with_audio(clips: Sequence[Clip]) -> list[Clip]:
    """Let one training clip of each genre keep its audio, and a few clips of the other splits."""
    chosen = {clip.genre: clip.id for clip in clips if _kind(clip) == "genre train"}
    kept = set(chosen.values())
    for kind in ("genre test", "multitask train", "multitask test"):
        group = [clip.id for clip in clips if _kind(clip) == kind]
        kept |= set(group[:: max(len(group) // WITH_AUDIO, 1)][:WITH_AUDIO])
    return [replace(clip, with_audio=clip.id in kept) for clip in clips]


def _kind(clip: Clip) -> str:
    return f"{clip.dataset} {clip.split}"


def affect_of(clip: Clip) -> tuple[float, float, float]:
    """Valence, energy and danceability of a clip, each in 0..1, without playing it."""
    rng = clip.rng()
    return rate_affect(draw_factors(clip.genre, rng), rng)


def _label_files(clips: Sequence[Clip]) -> dict[str, str]:
    """The contents of all label files, by path inside the set's folder, quirks included."""
    files = {}
    for split, full_name in (("train", "fused.full"), ("test", "full.fused")):
        group = sorted(
            (clip for clip in clips if _kind(clip) == f"genre {split}"),
            key=lambda clip: (clip.genre, clip.id),
        )
        for folder, name in ((GENRE, full_name), (GENRE_BEAT, "beatsync.fused")):
            rows = [f"{clip.id}.{name}.npy.gz\t{clip.genre}" for clip in group]
            files[f"data/{folder}/{split}_labels.txt"] = _lines(["Id\tGenre", *rows])
    for split, paths in (
        ("train", [f"data/{folder}/train_labels.txt" for folder in (MULTITASK, MULTITASK_BEAT)]),
        ("test", [ANSWERS]),
    ):
        group = [clip for clip in clips if _kind(clip) == f"multitask {split}"]
        rows = []
        for clip in sorted(group, key=lambda clip: clip.id):
            rows.append(",".join([str(clip.id), *(f"{v:.3f}" for v in affect_of(clip))]))
        files |= dict.fromkeys(paths, _lines([",".join(("Id", *AXES)), *rows]))
    return files


def _lines(rows: Sequence[str]) -> str:
    return "\n".join(rows) + "\n"


# ---- one clip ----------------------------------------------------------------------------------


def make_clip(clip: Clip, folder: Path) -> None:
    """Compose one clip, compute its features, and write its files, each whole or not at all."""
    _, audio = perform(clip)
    features = extract(audio)
    if clip.with_audio:
        write_atomically(folder / "audio" / f"{clip.id}.flac", flac_bytes(audio, SAMPLE_RATE))
    write_atomically(folder / "beats" / f"{clip.id}.npy", npy_bytes(features.beat_times))
    data = folder / "data"
    write_atomically(clip.beat_path(data), npy_bytes(features.beat.astype(np.float16)))
    write_atomically(clip.full_path(data), npy_bytes(features.full.astype(np.float16)))


def perform(clip: Clip) -> tuple[Factors, np.ndarray]:
    """What a clip is made of, and its audio [samples]."""
    rng = clip.rng()
    factors = draw_factors(clip.genre, rng)
    rate_affect(factors, rng)  # as in `affect_of`: the raters come before the band
    return factors, compose_clip(factors, rng)[: rng.choice(CLIP_SAMPLES)]


def planned_clip(data: Path, clip: str) -> Clip:
    """The clip of this id in a finished demo set; `perform` lets it be heard again (step 8)."""
    size = read_json(data.parent / DEMO_RECORD)["size"]
    return next(planned for planned in plan_clips(size) if str(planned.id) == clip)


def _is_made(clip: Clip, folder: Path) -> bool:
    """Whether all files of a clip are there and whole."""
    data = folder / "data"
    beside = [folder / "beats" / f"{clip.id}.npy"]
    if clip.with_audio:
        beside.append(folder / "audio" / f"{clip.id}.flac")
    arrays = (clip.full_path(data), clip.beat_path(data))
    return all(path.is_file() for path in beside) and all(map(_is_whole, arrays))


def _is_whole(path: Path) -> bool:
    try:
        return read_n_frames(path) > 0
    except LabError:  # also of a file that was cut short
        return False


# ---- the whole set -----------------------------------------------------------------------------


def build_demo(
    folder: Path | None = None, *, size: float = 1.0, processes: int | None = None
) -> Path:
    """Make the demo set in `folder` (default: the cache) and return its data folder.

    Returns at once when a finished set of this size and version is there, and goes on where
    an interrupted build of it stopped. A progress bar and the runner are told how far it is. Raises
    LabError when the folder holds something else or cannot be written.
    """
    if not 0 < size <= 100:
        raise LabError(f"size is {size}, must be above 0 and at most 100; 1.0 is the whole set")
    folder = folder or demo_data().parent
    identity = {"version": VERSION, "seed": SEED, "size": size}
    clips = plan_clips(size)
    if _is_finished(folder, identity, clips):
        return folder / "data"
    _prepare(folder, identity)
    missing = [clip for clip in clips if not _is_made(clip, folder)]
    require_space(folder, len(missing) * BYTES_PER_CLIP, "what is missing of the demo set")
    processes = max(1, min(processes or min(usable_cores(), MAX_PROCESSES), len(missing)))
    with closing(_make_clips(missing, folder, processes)) as made:
        for _ in counted(made, len(clips), "demo set", before=len(clips) - len(missing)):
            pass
    for name, content in _label_files(clips).items():
        write_atomically(folder / name, content)
    remove_leftovers(folder)
    counts = Counter(map(_kind, clips))
    audible = sorted(str(clip.id) for clip in clips if clip.with_audio)
    record = identity | {"counts": counts, "audio": audible}
    write_atomically(folder / DEMO_RECORD, json.dumps(record, indent=2) + "\n")
    return folder / "data"


def _is_finished(folder: Path, identity: dict[str, object], clips: Sequence[Clip]) -> bool:
    """Whether `complete.json` speaks of this very set and no file was deleted since."""
    if not read_json(folder / DEMO_RECORD).items() >= identity.items():
        return False
    data = folder / "data"
    paths = [path for clip in clips for path in (clip.full_path(data), clip.beat_path(data))]
    return all(path.is_file() for path in paths)


def _prepare(folder: Path, identity: dict[str, object]) -> None:
    """Begin the folder; remove what another version or size left, but nothing else."""
    started = read_json(folder / STARTED)
    if started == identity:
        return
    present = folder.iterdir() if folder.is_dir() and not started else ()
    if any(path.suffix != ".part" for path in present):  # a .part is our own, never finished
        raise LabError(f"{folder}: holds files that are no demo set; give an empty or a new folder")
    for name in (DEMO_RECORD, ANSWERS):
        (folder / name).unlink(missing_ok=True)
    for name in ("data", "beats", "audio"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_atomically(folder / STARTED, json.dumps(identity))


# ---- processes ---------------------------------------------------------------------------------


def _make_clips(clips: Sequence[Clip], folder: Path, processes: int) -> Iterator[None]:
    """Make clips in several processes, one for each time this is asked for more.

    An error or Ctrl-C ends the processes; a clip in the making is left out whole.
    """
    # joblib's own executor: `Parallel` makes the clips of a single process in this one, with its
    # many threads; the standard library's would run the caller's script anew.
    from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

    # One thread per process: more would only fight, and would round differently.
    pool = ProcessPoolExecutor(
        processes, env=ONE_THREAD, initializer=belong_to, initargs=(os.getpid(),)
    )
    make = partial(_make_or_say, folder=folder.resolve())
    waiting = iter(clips)
    try:
        # The first one alone: in a new environment it compiles librosa's loops, and two processes
        # that compile at once spoil each other's cache.
        making = {pool.submit(make, clip) for clip in islice(waiting, 1)}
        while making:
            done, making = wait(making, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            # No more than can be made at once: loky cannot be stopped quietly with a long queue.
            making |= {pool.submit(make, clip) for clip in islice(waiting, processes - len(making))}
    except BrokenProcessPool as error:
        raise LabError(
            "a process that made demo clips was ended from outside, perhaps for want of memory; "
            "run the same again, it goes on from here"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _make_or_say(clip: Clip, folder: Path) -> None:
    """`make_clip` in a process of its own; any error is a LabError that names the clip."""
    try:
        make_clip(clip, folder)
    except Exception as error:
        known = isinstance(error, LabError)
        said = error if known else f"{error!r}; run the same again, it goes on from here"
        raise LabError(f"demo clip {clip.id}: {said}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the demo set from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo_music.build", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="1.0 is the whole set (default)")
    parser.add_argument("--folder", type=Path, help="default: the cache folder")
    options = parser.parse_args(arguments)
    print(build_demo(**vars(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
