"""A campaign against the data door: valid data folders, spoiled in one or two places by chance.

    python -m tests.campaign [--folders N] [--seed S]

Each folder must give the same clips and labels as before, or be refused in one line, by the loaders
or by check-data. A traceback, more than 60 s, or other numbers without a word are failures; they
are printed with their seeds, and the exit code is 1. (A digit of a label, or the last bits of a
number in an array, that become another valid one are no part of it: nobody could tell.)
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
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from helpers import datasets
from helpers.folders import FOLDERS, GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT
from helpers.machinery.files import LabError
from helpers.notebook.records import open_record
from tests.conftest import write_mini_data
from tools.checks import check_data

LONGEST = 60  # seconds
SAME, REFUSED, LISTED = "the same", "refused in one line", "listed or noted by check-data"
GOOD = (SAME, REFUSED, LISTED)
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
            except LabError as error:
                return REFUSED if len(str(error).splitlines()) == 1 else f"many lines: {error}"
            if found == expected:
                return SAME
            listed = check_data.main(["--data", str(data)])
        return LISTED if listed or "note: " in said.getvalue() else "OTHER NUMBERS WITHOUT A WORD"
    except Exception:
        return f"TRACEBACK {traceback.format_exc().splitlines()[-1]}"
    finally:
        signal.alarm(0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def loaded(data: Path) -> str:
    """A digest of every clip with its label and part, as the notebooks get them."""
    open_record("campaign", data, 0)
    parts = datasets.affect_parts(data / MULTITASK, 0)
    loads = [datasets.genre_splits(data / name, "fused", 0) for name in (GENRE, GENRE_BEAT)]
    axes = ["valence", "energy", "danceability"]
    for name in (MULTITASK, MULTITASK_BEAT):
        loads.append(datasets.affect_splits(data / name, "fused", axes, parts))
    digest = hashlib.sha256()
    tests = [datasets.SpectrogramDataset(data / MULTITASK, "test", "fused")]
    for part in [p for s in loads for p in (s.train, s.val, s.test)] + tests:
        clips = sorted(zip(datasets.ids_of(part), range(len(part)), strict=True))
        for clip, place in clips:  # in whatever order a label file names them
            frames, label, length = part[place]
            values = np.round(frames.numpy(), 2).tobytes()  # float64, 32 and 16 store other digits
            digest.update(f"{clip} {np.round(label.numpy(), 3)} {length}".encode() + values)
    return digest.hexdigest()


# ---- what can go wrong -------------------------------------------------------------------------

MUTATIONS: list[Callable[[Path, Dice], object]] = []


def _labels(data: Path, dice: Dice) -> Path:
    return dice.choice(sorted(data.glob("*/*_labels.txt")))


def _clip(data: Path, dice: Dice) -> Path:
    return dice.choice(sorted(data.glob("*/t*/*.npy*")))


def _rewritten(path: Path, content: bytes) -> None:
    path.unlink()  # the files are links: the pattern must stay
    path.write_bytes(content)


def on_label_lines(change: Callable[[list[bytes], Dice], list[bytes]]) -> None:
    """Add a mutation of the lines of a label file, the header first."""

    def mutate(data: Path, dice: Dice) -> None:
        path = _labels(data, dice)
        _rewritten(path, b"\n".join(change(path.read_bytes().splitlines(), dice)) + b"\n")

    MUTATIONS.append(mutate)


def on_clip_bytes(change: Callable[[bytes, Dice], bytes]) -> None:
    """Add a mutation of the bytes of a clip's file."""

    def mutate(data: Path, dice: Dice) -> None:
        path = _clip(data, dice)
        _rewritten(path, change(path.read_bytes(), dice))

    MUTATIONS.append(mutate)


def on_array(change: Callable[[np.ndarray, Dice], np.ndarray]) -> None:
    """Add a mutation of the numbers of a clip."""

    def mutate(data: Path, dice: Dice) -> None:
        path = _clip(data, dice)
        raw = path.read_bytes()
        array = np.load(io.BytesIO(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw))
        file = io.BytesIO()
        np.save(file, change(array, dice))
        _rewritten(
            path, gzip.compress(file.getvalue()) if path.suffix == ".gz" else file.getvalue()
        )

    MUTATIONS.append(mutate)


def _swapped(lines: list[bytes], dice: Dice) -> list[bytes]:
    a, b = dice.sample(range(len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def _line(change: Callable[[bytes, Dice], bytes]) -> Callable[[list[bytes], Dice], list[bytes]]:
    def changed(lines: list[bytes], dice: Dice) -> list[bytes]:
        place = dice.randrange(len(lines))
        return [*lines[:place], change(lines[place], dice), *lines[place + 1 :]]

    return changed


def _cut(content: bytes, dice: Dice) -> bytes:
    return content[: dice.randrange(len(content))]


def _renamed(data: Path, dice: Dice) -> None:
    path = _clip(data, dice)
    path.rename(
        path.with_name(dice.choice(["x.npy", f"0{path.name}", ".hidden.npy", "1001.b.npy"]))
    )


def _replaced(data: Path, dice: Dice) -> None:
    path = dice.choice([_clip, _labels])(data, dice)
    path.unlink()
    kinds = [os.mkfifo, os.mkdir, Path.touch, lambda p: None]
    links = [lambda p: os.symlink("nowhere", p), lambda p: os.symlink(p, p)]
    dice.choice(kinds + links)(path)


def _copied(data: Path, dice: Dice) -> None:
    one = _clip(data, dice)  # over a clip of its own kind: others may be songs of their own
    kind = data.glob(f"{one.parent.parent.name.removesuffix('_beat')}*/t*/*.npy*")
    other = dice.choice(sorted(kind))
    place = dice.choice([one.with_name("7.copy.npy"), other, other.parent / one.name])
    if place != one:
        content = one.read_bytes()
        place.unlink(missing_ok=True)
        place.write_bytes(content)


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


for _change in (
    _swapped, _columns,
    lambda lines, dice: lines[1:],
    lambda lines, dice: lines[: dice.randrange(len(lines))],
    lambda lines, dice: [*lines, dice.choice(lines)],
    lambda lines, dice: [lines[0].swapcase(), *lines[1:]],
    lambda lines, dice: [b"\xef\xbb\xbf" + lines[0], *(line + b"\r" for line in lines[1:])],
    lambda lines, dice: [line.replace(b",", b";").replace(b".", b",") for line in lines],
    lambda lines, dice: [re.sub(b"energy|Genre", b"Style", lines[0]), *lines[1:]],
    _line(lambda line, dice: b""), _line(lambda line, dice: line[: dice.randrange(len(line) + 1)]),
    _line(lambda line, dice: line + dice.choice([b"\t", b",", b" ", b"\0\0", b"\xff"])),
    _line(lambda line, dice: line + b"x" * 10**6),
    _line(lambda line, dice: dice.choice([b"../", b"/etc/", b"\xce\xb1", b"'", b"0"]) + line),
):  # fmt: skip
    on_label_lines(_change)
for _bytes in (
    _cut, lambda content, dice: b"", lambda content, dice: gzip.compress(content),
    lambda content, dice: b"<html>not found</html>", lambda content, dice: content[:128],
    lambda content, dice: content[:8] + dice.randbytes(120) + content[128:],
):  # fmt: skip
    on_clip_bytes(_bytes)
for _numbers in (
    lambda a, dice: a.T, lambda a, dice: a[:, :0], lambda a, dice: a[:128], lambda a, dice: a[0],
    lambda a, dice: a.astype(dice.choice([">f8", "<f4", "f8"])) if a.dtype.itemsize > 2 else a,
    lambda a, dice: np.asfortranarray(a), lambda a, dice: a.astype(np.int16),
    lambda a, dice: a.astype(complex), lambda a, dice: np.roll(a, 12, axis=0),
    lambda a, dice: np.concatenate([10 ** (a[:128] / 10) * 40, a[128:]]),
    lambda a, dice: np.where(a < 0, np.nan, a), lambda a, dice: -a, lambda a, dice: a * 100 + 3,
):  # fmt: skip
    on_array(_numbers)
MUTATIONS += [_renamed, _replaced, _copied, _strays, _folder_gone] * 2


# ---- the campaign ------------------------------------------------------------------------------


def campaign(n_folders: int, seed: int, place: Path) -> Iterator[tuple[int, str]]:
    """The seed of each spoiled folder, and what came of it."""
    pattern = place / "pattern" / "data"
    write_mini_data(pattern)
    expected = loaded_there(pattern, place / "home-pattern")
    for number in range(seed, seed + n_folders):
        dice, data, home = Dice(number), place / str(number) / "data", place / str(number) / "home"
        shutil.copytree(pattern, data, copy_function=os.link)
        for _ in range(dice.randint(1, 2)):
            with contextlib.suppress(OSError, ValueError, IndexError):  # nothing left to spoil
                dice.choice(MUTATIONS)(data, dice)
        home.mkdir()
        yield number, outcome(data, home, expected)
        shutil.rmtree(place / str(number), ignore_errors=True)


def loaded_there(data: Path, home: Path) -> str:
    """What the folder that nobody has spoiled gives."""
    home.mkdir()
    os.environ["MUSICLAB_HOME"] = str(home)
    return loaded(data)


def main(arguments: list[str]) -> int:
    """Run a campaign; return 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ["MUSICLAB_HEADLESS"] = "1"
    seen: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, verdict in campaign(options.folders, options.seed, Path(folder)):
            seen[verdict] += 1
            if verdict not in GOOD:
                print(f"seed {number}: {verdict}", flush=True)
    print(
        f"{options.folders} folders, seeds {options.seed} to {options.seed + options.folders - 1}"
    )
    for verdict, count in seen.most_common():
        print(f"{count:6d}  {verdict}")
    return int(any(verdict not in GOOD for verdict in seen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
