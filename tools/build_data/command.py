"""`./run_all.sh build-data`: from any folder of audio to the lab's data.

Every file is decoded, looked at, and turned into the features of the lab; what is left out stands
in rejected.csv with its reason. Stop it when you like: the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from helpers.features import MIN_SECONDS, N_FFT, SAMPLE_RATE
from helpers.machinery.files import LabError, printable, require_space, write_atomically
from helpers.machinery.process import headless, usable_cores
from tools.build_data import splits
from tools.build_data.clip import VERSION, Job, Row, Task, stamp
from tools.build_data.engines import make_clips
from tools.build_data.inputs import (
    SUBSETS,
    Clip,
    Rejected,
    checked,
    from_fma,
    from_folder,
    from_manifest,
    with_affect,
)
from tools.build_data.page import page_of
from tools.build_data.writing import Build, described
from tools.common.command_line import EXIT_DONE, Parser, run_command

BYTES_PER_CLIP, BYTES_OF_AUDIO = 0.42 * 2**20, 2**20  # of 30 s: both forms; a clip to listen to
AUDIBLE_PER_GENRE = 8  # clips that keep their sound for the players in the notebooks
# Published as broken, for a look at whether this build saw it: of FMA-small, and of GTZAN.
KNOWN_FAULTS = {f"{n:06d}.mp3" for n in (98565, 98567, 98569, 99134, 108925, 133297)}
KNOWN_FAULTS |= {"jazz.00054.wav"}
EPILOG = """\
examples:
  ./run_all.sh build-data --audio music/ --out mine/                a folder per genre
  ./run_all.sh build-data --audio music/ --manifest music.csv --out mine/
  ./run_all.sh build-data --audio fma_small/ --fma fma_metadata/ --out fma/ --workers 8
  ./run_all.sh --data mine/                                         then the lab

docs/own_music.md says what a manifest holds, what is checked, and how a cluster is used.
"""


def _parser() -> Parser:
    parser = Parser(prog="./run_all.sh build-data", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("--audio", metavar="DIR", type=Path, required=True, help="the folder that holds the audio")
    add("--out", metavar="DATA", type=Path, required=True, help="the data folder to make")
    add("--manifest", metavar="FILE.csv", type=Path, help="id,path,genre and more: a row per clip")
    add("--fma", metavar="DIR", type=Path, help="the unpacked fma_metadata; --audio is fma_small/")
    add("--subset", choices=SUBSETS, help="of FMA, each holds the ones before it")
    add("--affect", metavar="FILE.csv", type=Path, help="id,valence,energy,danceability")
    add(
        "--workers", metavar="N", type=int, default=usable_cores(), help="processes on this machine"
    )
    add("--cluster", metavar="ADDRESS|FILE", help="of a Dask scheduler, or its scheduler file")
    add("--split", choices=splits.HOW, help="default: official where all clips have one, or artist")
    add("--seed", metavar="N", type=int, default=0, help="of the split")
    add("--shortest", metavar="SECONDS", type=float, default=3.0, help="of a clip (default: 3)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(list(arguments))
    audio, out = Path(os.path.realpath(options.audio)), Path(os.path.realpath(options.out))
    nested = audio == out or audio in out.parents or out in audio.parents
    for wrong, text in (
        (options.workers < 1, f"--workers {options.workers}: give 1 or more"),
        (not 0 <= options.seed < 2**32, f"--seed {options.seed}: give 0 or more"),
        (not options.shortest >= MIN_SECONDS, f"--shortest: give {MIN_SECONDS:g} s or more"),
        (options.fma and options.manifest, "--fma and --manifest both name the clips; give one"),
        (options.subset and not options.fma, "--subset is one of FMA's; give --fma, too"),
        (
            not audio.is_dir(),
            f"{options.audio}: no folder; --audio is the one that holds the audio",
        ),
        (nested, f"{out}: --out and --audio lie in one another; give --out another folder"),
    ):
        if wrong:
            raise LabError(text)
    build = Build(out)
    with build.opened():
        clips, rejected = _asked_for(options, audio)
        print(f"{len(clips)} clips to make, {len(rejected)} files or lines left out at once")
        job = Job(str(audio), str(build.clips), options.shortest, stamp())
        rows = _made(build, clips, job, options.workers, options.cluster)
        rejected += [c.rejected(rows[c.id]["reason"]) for c in clips if "reason" in rows[c.id]]
        kept = [clip for clip in clips if "reason" not in rows[clip.id]]
        parameters = {
            "split": options.split, "seed": options.seed, "shortest": options.shortest,
            "stamp": stamp(), "sample rate": SAMPLE_RATE, "n_fft": N_FFT, "version": VERSION,
        }  # fmt: skip
        _finish(build, kept, rejected, rows, parameters)
    return EXIT_DONE


def _asked_for(options: object, audio: Path) -> tuple[list[Clip], list[Rejected]]:
    """The clips that are asked for, and what cannot be one."""
    if options.manifest:
        records = from_manifest(options.manifest)
    elif options.fma:
        records = from_fma(options.fma, audio, options.subset)
    else:
        records = from_folder(audio)
    if options.affect:
        records = with_affect(records, options.affect)
    clips, rejected = checked(records, audio)
    if not clips:
        first = f"; first: {rejected[0].path}: {rejected[0].reason}" if rejected else ""
        raise LabError(f"{audio}: no clip to make: a folder per genre, or --manifest{first}")
    return clips, rejected


def _made(
    build: Build, clips: Sequence[Clip], job: Job, workers: int, cluster: str | None
) -> dict[str, Row]:
    """A row for each clip: of an earlier build, or made now; a bar says how fast it goes."""
    from tqdm import tqdm

    tasks = _tasks(clips, job.shortest)
    rows = build.known_rows({task.id: task.key for task in tasks})
    missing = [task for task in tasks if task.id not in rows]
    needed = len(missing) * BYTES_PER_CLIP + sum(t.keep_audio for t in missing) * BYTES_OF_AUDIO
    require_space(build.out, needed, f"what {len(missing)} clips become")
    print(f"{len(rows)} of them were made before")
    made = make_clips(missing, job, workers, cluster) if missing else ()
    with tqdm(
        total=len(tasks), initial=len(rows), desc="clips", unit="clip", mininterval=1,
        disable=headless(),
    ) as bar:  # fmt: skip
        for some in made:
            build.note(some)
            rows |= {row["id"]: row for row in some}
            bar.update(len(some))
    build.keep(rows)
    return rows


def _tasks(clips: Sequence[Clip], shortest: float) -> list[Task]:
    """What workers are told; a few clips of each genre, drawn by their ids, keep their audio."""
    drawn = sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())
    times: Counter[str] = Counter()
    audible = set()
    for clip in drawn:
        times[clip.genre] += 1
        if times[clip.genre] <= AUDIBLE_PER_GENRE:
            audible.add(clip.id)
    tasks = []
    for clip in clips:
        keep = clip.id in audible
        decides = (VERSION, stamp(), clip.path, clip.state, clip.offset, clip.duration, keep)
        key = hashlib.sha256(repr((*decides, shortest)).encode()).hexdigest()[:16]
        tasks.append(Task(clip.id, clip.path, clip.offset, clip.duration, keep, key))
    return tasks


def _finish(
    build: Build, clips: list[Clip], rejected: list[Rejected], rows: dict[str, Row],
    parameters: dict[str, object],
) -> None:  # fmt: skip
    """Leave copies out, split, and write the data folder with its page; say what came out."""
    clips, copies = splits.without_copies(clips, rows)
    try:
        clips, unfit, notes = splits.with_splits(clips, parameters["split"], parameters["seed"])
    except LabError:
        build.write_rejected(rejected + copies)
        raise
    rejected = sorted(rejected + copies + unfit)
    about = described(clips, rejected, rows, parameters)
    missed = sorted(c.path for c in clips if Path(c.path).name in KNOWN_FAULTS)
    if missed:
        notes.append(f"published as broken, and not found so here: {', '.join(missed)}")
    page = page_of(clips, rejected, rows, about, notes)
    write_atomically(build.out / "about.html", page)
    build.write(clips, rejected, rows, about)
    for reason, times in Counter(one.reason.split(":")[0] for one in rejected).most_common(8):
        print(printable(f"left out: {times} x {reason}"))
    for note in notes:
        print(printable(f"note: {note}"))
    share = f"{about['clips']['train']} to train on, {about['clips']['test']} to test on"
    print(f"{build.out}: {share}; about.html shows it, rejected.csv what was left out")
    print(f"now: ./run_all.sh --data {build.out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
