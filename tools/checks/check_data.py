"""`./run_all.sh check-data`: lists every problem of a data folder, with file, line and remedy.

`--skip-bad` runs the same check and leaves out what it finds; loaders stop at the first problem
that is not on its list.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from helpers.folders import (
    FOLDERS,
    MULTITASK,
    MULTITASK_BEAT,
    SPLITS,
    WHOLE,
    find_data,
    inspect_clips,
)
from helpers.machinery.arrays import read_n_frames
from helpers.machinery.files import LabError, MachineError, get_again, printable, write_atomically
from helpers.machinery.left_out import Problems
from helpers.machinery.own_music import CLIPS
from helpers.machinery.process import headless
from helpers.machinery.store import as_stored
from helpers.notebook.soundness import Contents, data_fingerprint
from tools.common.command_line import EXIT_DONE, EXIT_FAILED, Parser, run_command

SHORTEST_CLIP = 16  # frames: what the four poolings of the CNN need, which reads full clips


@dataclass
class Split:
    """What is good and what is wrong in one split of one folder."""

    problems: Problems = field(default_factory=dict)
    good: set[str] = field(default_factory=set)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code: 1 when there is a problem."""
    parser = Parser(prog="./run_all.sh check-data", description=__doc__)
    what = "write what can be left out; scripts and notebooks do so with MUSICLAB_LEFT_OUT=FILE"
    parser.add_argument(
        "--data", metavar="DIR|demo", default="auto",
        help="the data folder (default: what a run would find; nothing is fetched or built)",
    )  # fmt: skip
    parser.add_argument("--write", metavar="FILE", type=Path, help=what)
    options = parser.parse_args(list(arguments))
    data = find_data(options.data)
    found = check(data)
    lines = [line for split in found.values() for line in split.problems.values()]
    contents = Contents(data)
    lines += contents.disagreements()
    for line in (*lines, *(f"note: {weakness}" for weakness in contents.weaknesses())):
        print(printable(line))
    n_clips = sum(len(split.good) for split in found.values())
    count = f"{len(lines) or 'no'} problem{'s' * (len(lines) != 1)}, {n_clips} good files"
    print(printable(f"{data}: {count}"))
    listed = to_leave_out(found)
    if listed:
        place = printable(shlex.quote(str(data)))
        print(f"clips and lines can be left out: ./run_all.sh --data {place} --skip-bad")
    if options.write:
        write_list(options.write, data, listed)
    return EXIT_FAILED if lines else EXIT_DONE


def write_list(path: Path, data: Path, listed: dict[str, Problems]) -> None:
    """Write what loaders are to leave out, and of which state of the data that was found."""
    about = {"state": data_fingerprint(data), "left_out": listed}
    write_atomically(path, json.dumps(about, indent=1, ensure_ascii=False))


def check(data: Path) -> dict[str, Split]:
    """Every split of the four folders, as `folder/split`, with every clip read to its end."""
    found = {}
    # Older uploads of the lab's data lack the one, the user's own music may lack both.
    optional = {MULTITASK_BEAT} | ({MULTITASK} if (data / CLIPS).is_file() else set())
    needed = set(FOLDERS) - optional
    for name in FOLDERS:
        folder = data / name
        if folder.is_dir():
            found |= {f"{name}/{split}": _check_split(folder, split) for split in SPLITS}
        elif name in needed:
            text = f"{folder}: this folder is missing; {get_again(folder)}"
            found[name] = Split({WHOLE: text})
    return found


def _check_split(folder: Path, split: str) -> Split:
    from tqdm import tqdm

    try:
        clips, problems = inspect_clips(folder, split)
    except LabError as error:
        return Split({WHOLE: str(error)})
    ids = clips["id"].tolist()
    bar = {"unit": "clip", "disable": headless() or None, "leave": False}
    shortest = 1 if folder.name.endswith("_beat") else SHORTEST_CLIP
    with ThreadPoolExecutor() as pool:
        told = pool.map(partial(_problem_of, shortest), clips["path"].tolist())
        what = f"checking {folder.name}/{split}"
        broken = dict(zip(ids, tqdm(told, what, len(ids), **bar), strict=True))
    problems |= {clip: text for clip, text in broken.items() if text}
    return Split(problems, set() if WHOLE in problems else set(ids) - set(problems))


def _problem_of(shortest: int, path: str) -> str:
    """Why a clip's array, of at least so many frames, cannot be used; empty when it can."""
    try:
        n_frames = read_n_frames(path)
        as_stored(path)
    except MachineError:  # it says nothing of the file
        raise
    except LabError as error:
        return str(error)
    if n_frames < shortest:
        return (
            f"{path}: {n_frames} frames are too short for the CNN, which needs {shortest}; get it "
            "again or remove the clip"
        )
    return ""


def to_leave_out(found: dict[str, Split]) -> dict[str, Problems]:
    """What loaders leave out of each split: what is wrong, by line or clip, and why.

    A clip that is bad in its full or in its beat-synchronous form is left out of both, which stay
    the same clips; the second time without a reason, so that it is told once.
    """
    listed: dict[str, Problems] = {}
    for place, split in found.items():
        name, _, part = place.partition("/")
        twin = found.get(f"{name.removesuffix('_beat')}{'' if '_beat' in name else '_beat'}/{part}")
        lost = split.good - twin.good if twin and twin.good and twin.problems else set()
        own = {where: text for where, text in split.problems.items() if where != WHOLE}
        if own or lost:
            listed[place] = own | dict.fromkeys(sorted(lost), "")
    return listed


if __name__ == "__main__":
    sys.exit(run_command(main))
