"""Campaigns by chance: data folders that are spoiled, and runs that are killed.

    python -m tests.test_campaign [--folders N] [--kills K] [--seed S]

A valid data folder is spoiled in one or two places. It must give the same clips and labels as
before, or, unless that was harmless, be refused in one line, by loaders or check-data. A traceback,
more than 60 s, or other numbers without a word are failures. (A digit of a label, or the last bits
of a number in an array, that become another valid one are no part of it: nobody could tell.)

A run of notebooks 04 to 06 is killed with -9 at any moment, the runner alone or all that it
started. Nothing may be left half written, and the next run must end with the same results.

What fails is printed with its seed, and the exit code is 1. The test has few folders.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gzip
import hashlib
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import numpy as np

from helpers import datasets
from helpers.folders import AXES, FOLDERS, GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT
from helpers.machinery.files import LabError, read_json
from helpers.notebook.records import open_record
from tests import spoilers
from tests.conftest import write_mini_data
from tests.small_lab import SmallLab, kill_all, leftovers, running_in, wait_until
from tests.spoilers import ARRAYS, FILES, Change, Numbers, of_numbers
from tests.test_interruptions import results
from tools.checks import check_data

LONGEST = 60  # seconds; a folder takes a fifth of one
SAME, REFUSED, LISTED = "the same", "refused in one line", "listed or noted by check-data"
OTHER = "OTHER NUMBERS WITHOUT A WORD"
COMPLETED = "completed by the next run with the same results"
GOOD = (SAME, REFUSED, LISTED, COMPLETED)
Dice = random.Random


def outcome(data: Path, home: Path, expected: str) -> str:
    """What somebody sees who works with these data."""
    os.environ["MUSICLAB_HOME"] = str(home)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                found = loaded(data)
            except LabError:
                return REFUSED
            if found == expected:
                return SAME
            listed = check_data.main(["--data", str(data)])
        return LISTED if listed or "note: " in said.getvalue() else OTHER
    except Exception:
        return f"TRACEBACK {traceback.format_exc().splitlines()[-1]}"
    finally:
        signal.alarm(0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def loaded(data: Path) -> str:
    """A digest of every clip with its label and part, as the notebooks get them."""
    open_record("campaign", data, 0)
    shares = datasets.affect_parts(data / MULTITASK, 0)
    loads = [datasets.genre_splits(data / name, "fused", 0) for name in (GENRE, GENRE_BEAT)]
    parts = []
    for name in (MULTITASK, MULTITASK_BEAT):
        loads.append(datasets.affect_splits(data / name, "fused", list(AXES), shares))
        parts.append(datasets.SpectrogramDataset(data / name, "test", "fused"))
    parts += [part for splits in loads for part in (splits.train, splits.val, splits.test)]
    digest = hashlib.sha256()
    for part in parts:
        clips = sorted(zip(datasets.ids_of(part), range(len(part)), strict=True))
        for clip, place in clips:  # in whatever order a label file names them
            frames, label, length = part[place]
            values = np.round(frames.numpy(), 2).tobytes()  # float64, 32 and 16 store other digits
            digest.update(f"{clip} {np.round(label.numpy(), 3)} {length}".encode() + values)
    return digest.hexdigest()


# ---- what can go wrong -------------------------------------------------------------------------

LABELS, CLIPS = "*/*_labels.txt", "*/t*/*.npy*"
BOM = b"\xef\xbb\xbf"
Mutation = Callable[[Path, Dice], None]
Bytes = Callable[[bytes, Dice], bytes]


def _one_of(data: Path, files: str, dice: Dice) -> Path:
    return dice.choice(sorted(data.glob(files)))


def _rewrite(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # the files are links: the pattern must stay
    path.write_bytes(content)


def spoiled(files: str, change: Bytes) -> Mutation:
    """A mutation of the content of one of these files."""

    def mutate(data: Path, dice: Dice) -> None:
        path = _one_of(data, files, dice)
        _rewrite(path, change(path.read_bytes(), dice))

    return mutate


def lines_spoiled(change: Callable[[list[bytes], Dice], list[bytes]]) -> Mutation:
    """A mutation of the lines of a label file, the header first."""
    return spoiled(LABELS, lambda text, dice: b"\n".join(change(text.splitlines(), dice)) + b"\n")


def clip_spoiled(*changes: Change) -> Mutation:
    """A mutation of the file of a clip: one of these changes."""
    return spoiled(CLIPS, lambda content, dice: dice.choice(changes)(content))


def _swapped(lines: list[bytes], dice: Dice) -> list[bytes]:
    a, b = dice.sample(range(len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def _line(change: Callable[[bytes, Dice], bytes]) -> Callable[[list[bytes], Dice], list[bytes]]:
    def changed(lines: list[bytes], dice: Dice) -> list[bytes]:
        place = dice.randrange(len(lines))
        return [*lines[:place], change(lines[place], dice), *lines[place + 1 :]]

    return changed


def _renamed(data: Path, dice: Dice) -> None:
    path = _one_of(data, CLIPS, dice)
    names = ["x.npy", f"0{path.name}", ".hidden.npy", "1001.b.npy"]
    path.rename(path.with_name(dice.choice(names)))


def _replaced(data: Path, dice: Dice) -> None:
    path = _one_of(data, dice.choice([CLIPS, LABELS]), dice)
    path.unlink()
    kinds = [os.mkfifo, os.mkdir, Path.touch, lambda p: None]
    links = [lambda p: os.symlink("nowhere", p), lambda p: os.symlink(p, p)]
    dice.choice(kinds + links)(path)


def _copied(data: Path, dice: Dice) -> None:
    one = _one_of(data, CLIPS, dice)
    # Over a clip of its own kind: others may be songs of their own.
    other = _one_of(data, f"{one.parent.parent.name.removesuffix('_beat')}{CLIPS}", dice)
    place = dice.choice([one.with_name("7.copy.npy"), other, other.parent / one.name])
    _rewrite(place, one.read_bytes())


def _strays(data: Path, dice: Dice) -> None:
    folder = dice.choice(sorted(data.glob("*/t*/")))
    for name in (".DS_Store", "._1001.npy", "Thumbs.db", "README", "notes.txt"):
        (folder / name).write_bytes(b"\0")
    (folder / "lock").symlink_to("nowhere")


def _folder_gone(data: Path, dice: Dice) -> None:
    shutil.rmtree(data / dice.choice(FOLDERS) / dice.choice(["train", "test"]))


def _columns(lines: list[bytes], dice: Dice) -> list[bytes]:
    """Another order of the columns, in all lines: the header still says which is which."""
    mark = b"," if b"," in lines[0] else b"\t"
    order = dice.sample(range(1, lines[0].count(mark) + 1), lines[0].count(mark))
    rows = [line.split(mark) for line in lines]
    return [mark.join([row[0], *(row[place] for place in order)]) for row in rows]


WORDS = {"GENRES": "", "MILLION": spoilers.MILLION, "BEGIN": ""}
BAD_LINES = [
    row["given"].encode()
    for section in ("lines", "affect lines")
    for row in spoilers.rows_of(section, WORDS)
]
MORE_ARRAYS: list[Numbers] = [  # some are clips, or may be
    lambda a: a.astype(">f8"),
    lambda a: a.astype(complex),
    lambda a: np.concatenate([10 ** (a[:128] / 10) * 40, a[128:]]),
    lambda a: np.where(a < 0, np.nan, a),
    lambda a: -a,
    lambda a: a * 100 + 3,
]
HARMLESS: list[Mutation] = [  # of these alone a folder must be the same
    lines_spoiled(_columns),
    lines_spoiled(lambda lines, dice: [
        BOM + lines[0].removeprefix(BOM), *(line + b"\r" for line in lines[1:])
    ]),
    clip_spoiled(of_numbers(np.asfortranarray)),
    _strays,
]  # fmt: skip
MUTATIONS: list[Mutation] = [
    *HARMLESS,
    *map(lines_spoiled, (
        _swapped,
        lambda lines, dice: lines[1:],
        lambda lines, dice: lines[: dice.randrange(len(lines))],
        lambda lines, dice: [*lines, dice.choice(lines)],
        lambda lines, dice: [lines[0].swapcase(), *lines[1:]],
        lambda lines, dice: [line.replace(b",", b";").replace(b".", b",") for line in lines],
        lambda lines, dice: [re.sub(b"energy|Genre", b"Style", lines[0]), *lines[1:]],
        _line(lambda line, dice: b""),
        _line(lambda line, dice: line[: dice.randrange(len(line) + 1)]),
        _line(lambda line, dice: line + dice.choice([b"\t", b",", b" ", b"\0\0", b"\xff"])),
        _line(lambda line, dice: dice.choice([b"\xce\xb1", b"'", b"0"]) + line),
        _line(lambda line, dice: dice.choice(BAD_LINES)),
    )),
    spoiled(CLIPS, lambda content, dice: content[: dice.randrange(len(content))]),
    spoiled(CLIPS, lambda content, dice: content[:8] + dice.randbytes(120) + content[128:]),
    *[clip_spoiled(*FILES.values(), gzip.compress)] * 4,
    *[clip_spoiled(*map(of_numbers, [*ARRAYS.values(), *MORE_ARRAYS]))] * 12,
    *[_renamed, _replaced, _copied, _folder_gone] * 2,
]  # fmt: skip


# ---- the folders -------------------------------------------------------------------------------


def folders(n: int, seed: int, place: Path) -> Iterator[tuple[str, str]]:
    """Spoil so many folders, in one or two places each; the seed, and what came of it."""
    pattern, home = place / "pattern" / "data", place / "pattern" / "home"
    write_mini_data(pattern)
    home.mkdir()
    os.environ["MUSICLAB_HOME"] = str(home)
    expected = loaded(pattern)
    for number in range(seed, seed + n):
        dice, data, home = Dice(number), place / str(number) / "data", place / str(number) / "home"
        shutil.copytree(pattern, data, copy_function=os.link)
        home.mkdir()
        mutations = dice.choices(MUTATIONS, k=dice.randint(1, 2))
        for mutate in mutations:
            with contextlib.suppress(OSError, ValueError, IndexError):  # nothing left to spoil
                mutate(data, dice)
        verdict = outcome(data, home, expected)
        if verdict != SAME and all(mutation in HARMLESS for mutation in mutations):
            verdict = f"HARMLESS, BUT {verdict}"
        yield f"folder {number}", verdict
        shutil.rmtree(place / str(number), ignore_errors=True)


def test_spoiled_data_give_the_same_or_one_line_and_never_other_numbers(tmp_path, home):
    verdicts = dict(folders(20, seed=20_000, place=tmp_path))
    assert {case: verdict for case, verdict in verdicts.items() if verdict not in GOOD} == {}
    assert {REFUSED, SAME} <= set(verdicts.values())


# ---- the kills ---------------------------------------------------------------------------------

# Files of a run that are to be whole: not its locks and logs, nor what tells how far it is.
LASTING = re.compile(r"/(runs|\.cache)/(?!.*(/progress/|\.part|\.partial\.ipynb$|\.lock$|\.log$))")
# The runner itself, in the place of the small lab's: behind the folder stand its options.
RUNNER = ("-c", "import runpy, sys; del sys.argv[1]; runpy.run_module('tools.run.command', "
          "run_name='__main__')")  # fmt: skip


def kills(n: int, seed: int, place: Path) -> Iterator[tuple[str, str]]:
    """Kill so many runs; the seed, and what came of it."""
    write_mini_data(place / "data")
    options = ("--data", str(place / "data"), "--profile", "smoke", "--name", "t")

    def start(small: SmallLab) -> Popen:
        small.root.mkdir(exist_ok=True)
        return small.start(*options, "--only", "4", "5", "6", program=RUNNER)

    undisturbed, begin = SmallLab(place / "undisturbed"), time.monotonic()
    assert start(undisturbed).wait() == 0, "the run that nobody disturbed failed"
    seconds = time.monotonic() - begin
    for number in range(seed, seed + n):
        dice, small, verdict = Dice(number), SmallLab(place / str(number)), COMPLETED
        process = start(small)
        time.sleep(dice.uniform(0, seconds))
        dice.choice([kill_all, Popen.kill])(process)
        process.wait()
        wait_until(lambda root=small.root: not running_in(root))
        lasting = [path for path in small.root.rglob("*") if LASTING.search(str(path))]
        if half := [path for path in lasting if path.is_file() and not _is_whole(path)]:
            verdict = f"HALF WRITTEN {half[0].relative_to(small.root)}"
        elif code := start(small).wait():
            verdict = f"THE NEXT RUN FAILED with {code}"
        elif results(small) != results(undisturbed):
            verdict = "OTHER RESULTS of the next run"
        elif left := leftovers(small.root):
            verdict = f"LEFT BEHIND {left}"
        yield f"kill {number}", verdict
        shutil.rmtree(small.root)


def _is_whole(path: Path) -> bool:
    return bool(read_json(path) if path.suffix in (".json", ".ipynb") else path.stat().st_size)


# ---- the command -------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Run both campaigns; return 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, default in (("folders", 2000), ("kills", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    os.environ["MUSICLAB_HEADLESS"] = "1"
    seen: collections.Counter[str] = collections.Counter()
    for campaign, n in ((folders, options.folders), (kills, options.kills)):
        with tempfile.TemporaryDirectory() as place:
            for case, verdict in campaign(n, options.seed, Path(place)) if n else ():
                seen[verdict] += 1
                if verdict not in GOOD:
                    print(f"{case}: {verdict}", flush=True)
    print(*(f"{count:6d}  {verdict}" for verdict, count in seen.most_common()), sep="\n")
    return int(not set(seen) <= set(GOOD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
