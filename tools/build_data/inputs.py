"""What is asked for: clips of a manifest, of a folder per genre, or of an FMA download.

All three become records (column to text), which are checked in one place: each is a `Clip`, or
stands among the rejected with its reason.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from helpers.folders import AXES, SAFE_ID
from helpers.machinery.files import LabError, did_you_mean, quoted, read_text

COLUMNS = ("id", "path", "genre", "artist", "album", "split", *AXES, "offset", "duration")
COLUMNS += ("licence",)
READ = (".mp3", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff", ".au")  # by libsndfile
OTHER_AUDIO = (".m4a", ".aac", ".wma", ".ape", ".mp4", ".mpc", ".wv")
SPLIT_NAMES = {"train": "train", "training": "train", "validation": "train", "test": "test"}
SUBSETS = ("small", "medium", "large", "full")  # of FMA, each holds the ones before it
LONGEST_GENRE = 60

Record = dict[str, str]


class Rejected(NamedTuple):
    """A file, or a line of a manifest, that is left out, and why."""

    path: str
    id: str
    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that is asked for. `path` is relative to the audio folder; times are in seconds.

    Without `offset` the middle is taken. `state` is the file's size and time, by which a later
    build knows it again.
    """

    id: str
    path: str
    genre: str
    artist: str
    album: str
    split: str
    affect: tuple[float, float, float] | None
    offset: float | None
    duration: float | None
    licence: str
    line: str
    state: tuple[int, int]

    @property
    def group(self) -> str:
        """What must not stand in train and in test: the artist, without one the album, or ``."""
        kinds = (("artist", self.artist), ("album", self.album))
        return next((f"{kind} {name}" for kind, name in kinds if name), "")

    def rejected(self, reason: str) -> Rejected:
        """This clip as one that is left out."""
        return Rejected(self.path, self.id, self.line, reason)


# ---- the three kinds of input ------------------------------------------------------------------


def from_folder(audio: Path) -> list[Record]:
    """A record for each audio file below a folder per genre; what is no audio is not looked at.

    Links to folders are not followed (they may lead round in a circle), and fail as files.
    """
    paths = []
    for place, folders, names in os.walk(audio, onerror=_cannot_look):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        heard = [name for name in names if _suffix(name) in READ + OTHER_AUDIO]
        paths += [os.path.relpath(os.path.join(place, name), audio) for name in links + heard]
    times = Counter(map(_id_of, paths))
    return [
        {
            "path": path,
            "genre": path.split(os.sep)[0] if os.sep in path else "",
            "id": _id_of(path, told_apart=times[_id_of(path)] > 1),
            "line": "",
        }
        for path in sorted(paths)
    ]


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _cannot_look(error: OSError) -> None:
    raise LabError(f"{error.filename}: cannot be read ({error.strerror}); check its rights")


def _id_of(path: str, told_apart: bool = False) -> str:
    """An id for a path: its letters and digits; with a digest where others might have the same."""
    stem = os.path.splitext(path)[0]
    plain = re.sub(r"[/. ]+", "-", stem)
    if SAFE_ID.fullmatch(plain) and not told_apart:
        return plain
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:60]
    return f"{safe}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}".lstrip("-")


def from_manifest(path: Path, needed: Sequence[str] = ("id", "path", "genre")) -> list[Record]:
    """A record for each row of a CSV file that has the needed columns, and perhaps others.

    Raises LabError, with its line, for a header that lacks one of them.
    """
    text = read_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="too many")
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    names = ["licence" if name == "license" else name for name in names]
    for name in needed:
        if names.count(name) != 1:
            header = quoted(text.split("\n", 1)[0].strip())
            raise LabError(f"{path}:1: expected a column {name} in {header}, separated by commas")
    for name in sorted(set(names) - {*COLUMNS, ""}):
        print(f"note: {path}: column {quoted(name)} is not used{did_you_mean(name, [*COLUMNS])}")
    reader.fieldnames = names
    records = []
    try:
        for row in reader:
            whole = None not in row.values() and "too many" not in row
            record = {name: (row.get(name) or "").strip() for name in COLUMNS}
            record["path"] = row.get("path") or ""  # a name may begin or end with a space
            records.append(record | {"line": str(reader.line_num), "whole": "yes" * whole})
    except csv.Error as error:
        raise LabError(f"{path}:{reader.line_num}: no CSV ({error}); correct the line") from None
    return records


def from_fma(metadata: Path, audio: Path, subset: str | None) -> list[Record]:
    """A record for each track of FMA's `tracks.csv`, with affect values where `echonest.csv` is.

    Their headers have two and three rows. Without `subset`, the tracks whose files are there.
    """
    wanted = {
        "set/split": "split", "set/subset": "subset", "track/genre_top": "genre",
        "artist/id": "artist", "album/id": "album", "track/license": "licence",
    }  # fmt: skip
    affect: dict[str, Record] = {}
    if (metadata / "echonest.csv").is_file():
        axes = {f"echonest/audio_features/{axis}": axis for axis in AXES}
        affect = {row.pop("id"): row for row in _columns(metadata / "echonest.csv", 3, axes)}
    records = []
    for row in _columns(metadata / "tracks.csv", 2, wanted):
        about, own = row.pop("subset", ""), row["id"].zfill(6)
        row["path"] = f"{own[:3]}/{own}.mp3"
        if subset and not (about in SUBSETS and SUBSETS.index(about) <= SUBSETS.index(subset)):
            continue
        if subset or os.path.exists(audio / row["path"]):
            records.append(row | affect.get(row["id"], {}) | {"whole": "yes"})
    if not records:
        what = f"tracks of the subset {subset}" if subset else f"of its tracks is in {audio}"
        raise LabError(f"{metadata / 'tracks.csv'}: no {what}; --audio is the unpacked fma_small/")
    return records


def _columns(path: Path, n_headers: int, wanted: dict[str, str]) -> Iterator[Record]:
    """Some columns of a CSV file whose header has several rows; names joined by `/` name them."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            heads = zip(*(next(reader, []) for _ in range(n_headers)), strict=False)
            places = {"/".join(head): place for place, head in enumerate(heads)}
            if missing := [name for name in wanted if name not in places]:
                raise LabError(f"{path}:1: no column {missing[0]}; take the file of fma_metadata")
            taken = {wanted[name]: places[name] for name in wanted}
            for row in reader:
                if row and row[0].isdecimal():  # below the header stands a row `track_id,,,`
                    record = {name: row[place].strip() for name, place in taken.items()}
                    yield record | {"id": row[0], "line": str(reader.line_num)}
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise LabError(f"{path}: cannot be read ({error}); unpack fma_metadata again") from None


def with_affect(records: Iterable[Record], path: Path) -> list[Record]:
    """The records with the values of a file `id,valence,energy,danceability`, by id."""
    values = {
        row["id"]: {axis: row[axis] for axis in AXES} for row in from_manifest(path, ("id", *AXES))
    }
    found = [record | values.pop(record["id"], {}) for record in records]
    if values:
        print(f"note: {path}: {len(values)} ids are of no clip, the first is {min(values)}")
    return found


# ---- checking records --------------------------------------------------------------------------


def checked(records: Sequence[Record], audio: Path) -> tuple[list[Clip], list[Rejected]]:
    """The records as clips, in the order of their ids, and what is wrong with the others."""
    clips: dict[str, Clip] = {}
    rejected: list[Rejected] = []
    root = os.path.realpath(audio)
    for record in records:
        try:
            clip = _clip_of(record, root)
            if other := clips.get(clip.id):
                if replace(clip, line=other.line) == other:
                    raise LabError(f"the same row as line {other.line}")
                raise LabError(f"its id is that of {other.path}")
            clips[clip.id] = clip
        except LabError as error:
            path, name = _text(record["path"]), _text(record.get("id", ""))
            rejected.append(Rejected(path, name, record["line"], str(error)))
    return sorted(clips.values(), key=lambda clip: (len(clip.id), clip.id)), rejected


def _clip_of(record: Record, root: str) -> Clip:
    """A record as a clip. Raises LabError that says why it cannot be one."""
    if not record.get("whole", "yes"):
        raise LabError("has more or fewer columns than the header")
    name, path, genre = record["id"], record["path"], record["genre"]
    if not SAFE_ID.fullmatch(name):
        raise LabError(f"id {quoted(name)} is none: up to 80 letters, digits, _ and -")
    if path != _text(path):
        raise LabError("its name is no UTF-8; rename it")
    state = _state_of(root, path)
    values = [_number(record, axis, 0, 1) for axis in AXES]
    affect = None if None in values else (values[0], values[1], values[2])
    if affect is None and any(value is not None for value in values):
        raise LabError(f"has some of {', '.join(AXES)}, not all")
    if not genre and affect is None:
        raise LabError("has no genre")
    if len(genre) > LONGEST_GENRE or not genre.isprintable() or set(genre) & set('";,'):
        raise LabError(f"genre {quoted(genre)} cannot stand in a label file; rename it")
    split = record.get("split", "")
    if split and split.lower() not in SPLIT_NAMES:
        raise LabError(f"split {quoted(split)} is unknown; known: {', '.join(SPLIT_NAMES)}")
    return Clip(
        name, path, genre, record.get("artist", ""), record.get("album", ""),
        SPLIT_NAMES.get(split.lower(), ""), affect,  # type: ignore[arg-type]
        _number(record, "offset", 0), _number(record, "duration", 0.1, 600),
        record.get("licence", ""), record["line"], state,
    )  # fmt: skip


def _number(record: Record, name: str, low: float, high: float = 1e6) -> float | None:
    """A value of a record, or None. Raises LabError unless it is a number in its range."""
    text = record.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError:
        hint = " (decimals as 0.5)" if "," in text else ""
        raise LabError(f"{name} is {quoted(text)}, not a number{hint}") from None
    if value is not None and not low <= value <= high:  # also catches NaN
        raise LabError(f"{name} is {text}, outside {low:g}..{high:g}")
    return value


def _state_of(root: str, path: str) -> tuple[int, int]:
    """Size and time of a file of the folder. Raises LabError for what is none that can be read."""
    whole = os.path.join(root, path)
    if not path or "\0" in path:
        raise LabError("has no path")
    folder, name = os.path.split(whole)
    real = os.path.join(_real(folder), name)
    if os.path.islink(real):
        real = os.path.realpath(real)  # a link to itself stays one
    if os.path.commonpath([root, real]) != root:
        raise LabError("its path leads out of the folder of the audio")
    try:
        found = os.stat(real)
    except OSError as error:
        raise LabError(f"no such file ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise LabError("is no regular file")
    if _suffix(path) not in READ:
        raise LabError(f"a file {_suffix(path) or 'without suffix'} is not read; make it .flac")
    if not os.access(real, os.R_OK):
        raise LabError("cannot be read (Permission denied)")
    return found.st_size, found.st_mtime_ns


_real = cache(os.path.realpath)


def _text(name: str) -> str:
    """A file's name as text; what is no UTF-8 in it is spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
