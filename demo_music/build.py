"""The embedded demo set: synthesised music in 20 genres, written as the lab's data.

    python -m demo_music.build [--size S] [--folder DIR]

A demo set's folder holds `data/` (the lab's four folders, with their naming quirks), `beats/` (the
beat times of every clip), `audio/` (a few clips to listen to), `multitask_test_answers.csv` (the
withheld answers), and, once everything else is there, `complete.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from demo_music.label_files import ANSWERS, label_files
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
from helpers.machinery.process import counted, usable_cores
from helpers.machinery.workers import shared_out

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


@dataclass(frozen=True)
class Clip:
    """One clip of the plan: `dataset` is "genre" or "multitask", `split` "train" or "test"."""

    id: int
    genre: str
    dataset: str
    split: str
    with_audio: bool = False

    @property
    def kind(self) -> str:
        """Its data set and split, as one word each."""
        return f"{self.dataset} {self.split}"

    def places(self, folder: Path) -> dict[str, Path]:
        """Where its files lie in the folder of a demo set, by what they hold."""
        genre = self.dataset == "genre"
        name = f"{self.split}/{self.id}.fused.full.npy"
        audio = {"audio": folder / "audio" / f"{self.id}.flac"} if self.with_audio else {}
        return audio | {
            "beats": folder / "beats" / f"{self.id}.npy",
            "beat": folder / "data" / (GENRE_BEAT if genre else MULTITASK_BEAT) / name,
            "full": folder / "data" / (GENRE if genre else MULTITASK) / name,
        }

    def rng(self) -> np.random.Generator:
        """The clip's own generator: what it sounds like depends on no other clip."""
        return np.random.default_rng(np.random.SeedSequence([SEED, self.id]))


# ---- the plan: which clips, with which labels --------------------------------------------------


def plan_clips(size: float = 1.0) -> list[Clip]:
    """All clips of a demo set; `size` scales the counts, down to a few clips of each kind.

    Ids are dealt at random, so that they tell nothing about the genre.
    """
    genre, multitask = [], []
    for number, (split, share) in enumerate(SHARES.items()):
        for name, style in STYLES.items():
            wanted = max(round(style.clips[number] * share * size), SMALLEST[f"genre {split}"])
            genre += [(name, "genre", split)] * wanted
    rng = np.random.default_rng(np.random.SeedSequence([SEED, 0]))
    for split, count in MULTITASK_COUNTS.items():
        wanted = max(round(count * size), SMALLEST[f"multitask {split}"])
        multitask += [(str(name), "multitask", split) for name in rng.choice(GENRES, wanted)]
    clips = []
    for first, kinds in ((FIRST_GENRE_ID, genre), (FIRST_MULTITASK_ID, multitask)):
        ids = first + rng.permutation(len(kinds))
        clips += [Clip(int(id_), *kind) for id_, kind in zip(ids, kinds, strict=True)]
    return _with_audio(clips)


def _with_audio(clips: Sequence[Clip]) -> list[Clip]:
    """Let one training clip of each genre keep its audio, and a few clips of the other splits."""
    kept = set({clip.genre: clip.id for clip in clips if clip.kind == "genre train"}.values())
    for kind in ("genre test", "multitask train", "multitask test"):
        group = [clip.id for clip in clips if clip.kind == kind]
        kept |= set(group[:: max(len(group) // WITH_AUDIO, 1)][:WITH_AUDIO])
    return [replace(clip, with_audio=clip.id in kept) for clip in clips]


def affect_of(clip: Clip) -> tuple[float, float, float]:
    """Valence, energy and danceability of a clip, each in 0..1, without playing it."""
    rng = clip.rng()
    return rate_affect(draw_factors(clip.genre, rng), rng)


def _label_files(clips: Sequence[Clip]) -> dict[str, str]:
    """The contents of all label files, by path inside the data folder."""
    import pandas as pd

    rows = []
    for clip in sorted(clips, key=lambda clip: clip.id):
        row = {"id": str(clip.id), "split": clip.split, "genre": ""}
        if clip.dataset == "genre":
            row["genre"] = clip.genre
        else:
            row |= zip(AXES, affect_of(clip), strict=True)
        rows.append(row)
    return label_files(pd.DataFrame(rows, columns=["id", "split", "genre", *AXES]), "%.3f")


# ---- one clip ----------------------------------------------------------------------------------


def make_clip(clip: Clip, folder: Path) -> None:
    """Compose one clip, compute its features, and write its files, each whole or not at all."""
    _, audio = perform(clip)
    features = extract(audio)
    contents = {
        "beats": npy_bytes(features.beat_times),
        "beat": npy_bytes(features.beat.astype(np.float16)),
        "full": npy_bytes(features.full.astype(np.float16)),
    }
    if clip.with_audio:
        contents["audio"] = flac_bytes(audio, SAMPLE_RATE)
    for what, path in clip.places(folder).items():
        write_atomically(path, contents[what])


def _make_or_say(clip: Clip, folder: Path) -> None:
    """`make_clip`; whatever goes wrong is a LabError."""
    try:
        make_clip(clip, folder)
    except LabError:
        raise
    except Exception as error:
        again = "run the same again, it goes on from here"
        raise LabError(f"demo clip {clip.id}: {error!r}; {again}") from error


def _is_made(clip: Clip, folder: Path) -> bool:
    """Whether all files of a clip are there, its arrays whole: a power cut may leave them empty."""
    places = clip.places(folder)
    try:
        return all(map(Path.is_file, places.values())) and all(
            read_n_frames(places[form]) for form in ("full", "beat")
        )
    except LabError:
        return False


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
    finished = read_json(folder / DEMO_RECORD).items() >= identity.items()
    files = (path for clip in clips for path in clip.places(folder).values())
    if finished and all(map(Path.is_file, files)):
        return folder / "data"
    _prepare(folder, identity)
    missing = [clip for clip in clips if not _is_made(clip, folder)]
    require_space(folder, len(missing) * BYTES_PER_CLIP, "what is missing of the demo set")
    processes = max(1, min(processes or min(usable_cores(), MAX_PROCESSES), len(missing)))
    with closing(
        shared_out(partial(_make_or_say, folder=folder.resolve()), missing, processes)
    ) as made:
        for _ in counted(made, len(clips), "demo set", before=len(clips) - len(missing)):
            pass
    for name, content in _label_files(clips).items():
        write_atomically((folder if name == ANSWERS else folder / "data") / name, content)
    remove_leftovers(folder)
    write_atomically(folder / DEMO_RECORD, json.dumps(identity))
    return folder / "data"


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
