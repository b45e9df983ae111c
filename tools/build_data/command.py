"""`./run_all.sh build-data`: from any folder of audio to the lab's data.

Every file is decoded, looked at, and turned into the features of the lab; what is left out stands
in rejected.csv with its reason. Stop it when you like: the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.features import CLIP_SECONDS, MIN_SECONDS, N_FFT, SAMPLE_RATE
from helpers.machinery.files import LabError, printable, require_space
from helpers.machinery.process import counted, usable_cores
from tools.build_data import inputs, splits
from tools.build_data.clip import Job, Task, stamp
from tools.build_data.engines import make_clips
from tools.build_data.inputs import kept, leave_out
from tools.build_data.page import described, kinds_of, page_of
from tools.build_data.writing import Build
from tools.common.command_line import EXIT_DONE, Parser, run_command

if TYPE_CHECKING:
    import pandas as pd

BYTES_PER_CLIP, BYTES_OF_AUDIO = 0.42 * 2**20, 2**20  # of 30 s: both forms; a clip to listen to
MEASURED = ["seconds", "tempo", "audio", "features", "print"]  # of a clip, by a worker
AUDIBLE_PER_GENRE = 8  # clips that keep their sound for the players in the notebooks
EPILOG = """\
examples:
  ./run_all.sh build-data --audio music/ --out mine/                a folder per genre
  ./run_all.sh build-data --audio music/ --manifest music.csv --out mine/
  ./run_all.sh build-data --audio fma_small/ --fma fma_metadata/ --out fma/ --workers 8
  ./run_all.sh --data mine/                                         then the lab

docs/own_music.md says what a manifest holds, what is checked, and how a cluster is used.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    parser = Parser(prog="./run_all.sh build-data", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("--audio", metavar="DIR", type=Path, required=True, help="the folder that holds the audio")
    add("--out", metavar="DATA", type=Path, required=True, help="the data folder to make")
    add("--manifest", metavar="FILE.csv", type=Path, help="id,path,genre and more: a row per clip")
    add("--fma", metavar="DIR", type=Path, help="the unpacked fma_metadata; --audio is fma_small/")
    add("--subset", choices=inputs.SUBSETS, help="of FMA, each holds the ones before it")
    add("--affect", metavar="FILE.csv", type=Path, help="id,valence,energy,danceability")
    add("--workers", metavar="N", type=int, default=usable_cores(), help="processes, here")
    add("--cluster", metavar="ADDRESS|FILE", help="of a Dask scheduler, or its scheduler file")
    add("--split", choices=splits.HOW, help="default: official where all clips have one, or artist")
    add("--seed", metavar="N", type=int, default=0, help="of the split")
    add("--shortest", metavar="SECONDS", type=float, default=3.0, help="of a clip (default: 3)")
    options = parser.parse_args(list(arguments))
    audio, out = Path(os.path.realpath(options.audio)), Path(os.path.realpath(options.out))
    nested = audio == out or audio in out.parents or out in audio.parents
    for wrong, text in (
        (options.workers < 1, f"--workers {options.workers}: give 1 or more"),
        (not 0 <= options.seed < 2**32, f"--seed {options.seed}: give 0 or more"),
        (not options.shortest >= MIN_SECONDS, f"--shortest: give {MIN_SECONDS:g} s or more"),
        (options.fma and options.manifest, "--fma and --manifest both name the clips; give one"),
        (options.subset and not options.fma, "--subset is one of FMA's; give --fma, too"),
        (not audio.is_dir(), f"{options.audio}: no folder; --audio is the one with the audio"),
        (nested, f"{out}: --out and --audio lie in one another; give --out another folder"),
    ):
        if wrong:
            raise LabError(text)
    build = Build(out)
    clips = _asked_for(options, audio)
    n_kept = len(kept(clips))
    print(f"{n_kept} clips to make, {len(clips) - n_kept} files or lines left out at once")
    with build.opened(audio):
        job = Job(str(audio), str(build.clips), stamp())
        _finish(build, _made(build, clips, job, options), options)
    return EXIT_DONE


def _asked_for(options: Namespace, audio: Path) -> pd.DataFrame:
    """The table of clips, with what cannot be one."""
    if options.manifest:
        records = inputs.from_manifest(options.manifest)
    elif options.fma:
        records = inputs.from_fma(options.fma, audio, options.subset)
    else:
        records = inputs.from_folder(audio)
    if options.affect:
        records = inputs.with_affect(records, options.affect)
    clips = inputs.checked(records, audio)
    if kept(clips).empty:
        wrong = (clips["path"] + ": " + clips["reason"]).tolist()
        first = f"; first: {wrong[0]}" if wrong else ""
        raise LabError(f"{audio}: no clip to make: a folder per genre, or --manifest{first}")
    return clips


def _made(build: Build, clips: pd.DataFrame, job: Job, options: Namespace) -> pd.DataFrame:
    """The table with what workers say of the clips, now or in an earlier build."""
    import pandas as pd

    tasks = _tasks(kept(clips), job)
    rows = build.known_rows({task.id: task.key for task in tasks})
    missing = [task for task in tasks if task.id not in rows]
    seconds = sum((task.duration or CLIP_SECONDS) for task in missing)
    heard = sum((task.duration or CLIP_SECONDS) for task in missing if task.keep_audio)
    needed = (seconds * BYTES_PER_CLIP + heard * BYTES_OF_AUDIO) / CLIP_SECONDS
    require_space(build.out, needed, f"what {len(missing)} clips become")
    print(f"{len(rows)} of them were made before")
    with closing(make_clips(missing, job, options.workers, options.cluster)) as made:
        for row in counted(made, len(tasks), "clips", before=len(rows)):
            rows[row["id"]] = row
    build.keep(rows)
    said = pd.DataFrame([rows[task.id] for task in tasks], kept(clips).index, dtype=object)
    said = said.reindex(columns=[*MEASURED, "reason"])
    leave_out(clips, said["reason"].notna(), said["reason"])
    too_short = "too short: " + said["seconds"].map("{:.2f} s".format)
    leave_out(clips, said["seconds"] < options.shortest, too_short)
    return clips.join(said[MEASURED])


def _tasks(clips: pd.DataFrame, job: Job) -> list[Task]:
    """What workers are told; a few clips of each genre, drawn by their ids, keep their audio."""
    drawn = clips.sort_values("id", key=lambda ids: ids.map(_digest))
    audible = drawn.groupby("genre").cumcount() < AUDIBLE_PER_GENRE
    tasks = []
    for clip in clips.assign(audible=audible).itertuples():
        offset, duration = (None if x != x else x for x in (clip.offset, clip.duration))
        decides = (job.stamp, clip.path, clip.state, offset, duration, clip.audible)
        key = _digest(repr(decides))
        tasks.append(Task(clip.id, clip.path, offset, duration, clip.audible, key))
    return tasks


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _finish(build: Build, clips: pd.DataFrame, options: Namespace) -> None:
    """Leave copies out, split, and write the data folder with its page; say what came out."""
    splits.leave_copies_out(clips)
    try:
        how, notes = splits.set_splits(clips, options.split, options.seed)
    finally:  # also where no data folder can be made of what is left
        rejected = clips.loc[clips["reason"] != "", inputs.REJECTED].sort_values(inputs.REJECTED)
        build.write_rejected(rejected)
    clips, of_affect = splits.with_enough_affect(kept(clips))
    classes = build.classes(sorted(set(clips["genre"]) - {""}))
    notes += of_affect
    if dropped := [genre for genre in set(clips["genre"]) & set(classes) if not classes[genre]]:
        notes.append(f"classes.csv leaves out {', '.join(sorted(dropped))}, as a class; edit it")
    parameters = {
        "split": how, "seed": options.seed, "shortest": options.shortest,
        "stamp": stamp(), "sample rate": SAMPLE_RATE, "n_fft": N_FFT,
    }  # fmt: skip
    about = described(clips, rejected, parameters)
    build.write(clips, classes, page_of(clips, rejected, about, notes), about)
    for reason, times in kinds_of(rejected["reason"]).value_counts().head(8).items():
        print(printable(f"left out: {times} x {reason}"))
    for note in notes:
        print(printable(f"note: {note}"))
    share = f"{about['clips']['train']} to train on, {about['clips']['test']} to test on"
    print(f"{build.out}: {share}; about.html shows it, rejected.csv what was left out")
    print(f"now: ./run_all.sh --data {shlex.quote(str(build.out))}")


if __name__ == "__main__":
    sys.exit(run_command(main))
