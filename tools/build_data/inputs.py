"""What is asked for: clips of a manifest, of a folder per genre, or of an FMA download.

All three become records (column to text), which are checked in one place and become the table of
clips. Whatever is left out, now or later, stays in it with its reason.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from helpers.folders import AXES, SAFE_ID
from helpers.machinery.files import LabError, did_you_mean, one_line, quoted, read_text
from tools.build_data.clip import SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "path", "genre", "artist", "album", "split", *AXES, "offset", "duration")
COLUMNS += ("licence",)
REJECTED = ["path", "id", "line", "reason"]  # the columns of rejected.csv
READ = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
OTHER_AUDIO = {".m4a", ".aac", ".wma", ".ape", ".mp4", ".mpc", ".wv"}
SPLIT_NAMES = {"train": "train", "training": "train", "validation": "train", "test": "test"}
SPLIT_NAMES[""] = ""
SUBSETS = ("small", "medium", "large", "full")  # of FMA, each holds the ones before it
LONGEST_GENRE = 60

Record = dict[str, str]


# ---- the three kinds of input ------------------------------------------------------------------


def from_folder(audio: Path) -> list[Record]:
    """A record for each audio file below a folder per genre; what is no audio is not looked at.

    Links to folders are not followed (they may lead round in a circle), and fail as files.
    """
    paths = []
    for place, folders, names in os.walk(audio, onerror=_cannot_look):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]  # .Trash, .git
        heard = [name for name in names if _suffix(name) in READ | OTHER_AUDIO]
        paths += [os.path.relpath(os.path.join(place, name), audio) for name in links + heard]
    times = Counter(map(_id_of, paths))
    return [
        {
            "path": path,
            "genre": path.split(os.sep)[0].strip() if os.sep in path else "",
            "id": _id_of(path, told_apart=times[_id_of(path)] > 1),
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
    reader.fieldnames = ["licence" if name == "license" else name for name in names]
    for name in needed:
        if reader.fieldnames.count(name) != 1:
            header = quoted(text.split("\n", 1)[0].strip())
            raise LabError(f"{path}:1: expected a column {name} in {header}, separated by commas")
    for name in sorted(set(reader.fieldnames) - {*COLUMNS, ""}):
        print(f"note: {path}: column {quoted(name)} is not used{did_you_mean(name, [*COLUMNS])}")
    records = []
    try:
        for row in reader:
            record = {name: (row.get(name) or "").strip() for name in COLUMNS}
            # a name may begin or end with a space
            record |= {"path": row.get("path") or "", "line": str(reader.line_num)}
            if None in row.values() or "too many" in row:
                record["reason"] = "has more or fewer columns than the header"
            elif any("\n" in record[name] for name in COLUMNS if name != "path"):
                record["reason"] = 'holds a line break: correct the " before it'
            records.append(record)
    except csv.Error as error:
        raise LabError(f"{path}:{reader.line_num}: no CSV ({error}); correct the line") from None
    return records


def from_fma(metadata: Path, audio: Path, subset: str | None) -> list[Record]:
    """A record for each track of FMA's `tracks.csv`, with affect values where `echonest.csv` is.

    Without `subset`, the tracks whose files are there.
    """
    columns = {
        "set/split": "split", "set/subset": "subset", "track/genre_top": "genre",
        "artist/id": "artist", "album/id": "album", "track/license": "licence",
    }  # fmt: skip
    axes = {f"echonest/audio_features/{axis}": axis for axis in AXES}
    tracks = _fma_table(metadata / "tracks.csv", 2, columns)
    if (metadata / "echonest.csv").is_file():
        tracks = tracks.join(_fma_table(metadata / "echonest.csv", 3, axes)).fillna("")
    number = tracks.index.str.zfill(6)
    tracks = tracks.assign(id=tracks.index, path=number.str[:3] + "/" + number + ".mp3")
    if subset:
        asked = tracks["subset"].isin(SUBSETS[: SUBSETS.index(subset) + 1])
        what = f"tracks of the subset {subset}"
    else:
        asked = tracks["path"].map(lambda path: os.path.exists(audio / path))
        what = f"of its tracks is in {audio}"
    if not asked.any():
        raise LabError(f"{metadata / 'tracks.csv'}: no {what}; --audio is the unpacked fma_small/")
    return tracks[asked].to_dict("records")


def _fma_table(path: Path, n_headers: int, columns: dict[str, str]) -> pd.DataFrame:
    """Some columns, renamed, of a table by track number whose header has several rows."""
    import pandas as pd

    read = partial(pd.read_csv, path, header=None, dtype=str, keep_default_na=False)
    try:
        heads = read(nrows=n_headers).fillna("")
        places = {"/".join(heads[number]): number for number in heads}
        if missing := [name for name in columns if name not in places]:
            raise LabError(f"{path}:1: no column {missing[0]}; take the file of fma_metadata")
        wanted = {places[name]: own for name, own in columns.items()}
        table = read(skiprows=n_headers, usecols=[0, *wanted], index_col=0)  # of 53: gigabytes
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({one_line(error)})"
        raise LabError(f"{path}: {problem}; unpack fma_metadata again") from None
    # Below the header stands a row `track_id,,,`.
    table = table[table.index.str.fullmatch(r"[0-9]+") & ~table.index.duplicated(keep="last")]
    table = table.rename(columns=wanted).apply(lambda column: column.str.strip())
    if (table[table.columns.intersection(["split", *AXES])] == "").any(axis=None):  # never empty
        raise LabError(f"{path}: cannot be read (a row is cut short); unpack fma_metadata again")
    return table


def with_affect(records: Iterable[Record], path: Path) -> list[Record]:
    """The records with the values of a file `id,valence,energy,danceability`, by id."""
    values: dict[str, Record] = {}
    for row in from_manifest(path, ("id", *AXES)):
        if row["id"] in values:
            raise LabError(f"{path}:{row['line']}: id {quoted(row['id'])} stands there twice")
        values[row["id"]] = {name: row[name] for name in (*AXES, "reason") if name in row}
    found = [record | values.pop(record["id"], {}) for record in records]
    if values:
        print(f"note: {path}: {len(values)} ids are of no clip, the first is {min(values)}")
    return found


# ---- the table of clips ------------------------------------------------------------------------


def kept(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips that are not left out."""
    return clips[clips["reason"] == ""]


def leave_out(clips: pd.DataFrame, which: pd.Series, reason: pd.Series | str) -> None:
    """Write a reason to some of the clips (True in `which`): the first that is found counts."""
    which = which.reindex(clips.index, fill_value=False) & (clips["reason"] == "")
    clips["reason"] = clips["reason"].mask(which, reason)


def checked(records: Sequence[Record], audio: Path) -> pd.DataFrame:
    """The table of clips, in the order of their ids: a row for each record.

    It has the columns of a manifest (numbers as such, NaN where none are given), `line`, `group`
    (what must not stand in train and in test: `_groups`),
    `state` (the file's size and time, by which a later build knows it again), and `reason`: why
    a clip is left out, empty while it is not.
    """
    import pandas as pd

    clips = pd.DataFrame(records, columns=[*COLUMNS, "line", "reason"], dtype=object).fillna("")
    ids, paths, genres, splits = (clips[name] for name in ("id", "path", "genre", "split"))
    unsafe = ~ids.str.fullmatch(SAFE_ID.pattern)
    leave_out(
        clips, unsafe, "id " + ids.map(quoted) + " is none: up to 80 letters, digits, _ and -"
    )
    clips["path"] = paths.map(_text)
    leave_out(clips, clips["path"] != paths, "its name is no UTF-8; rename it")
    root = os.path.realpath(audio)
    clips["state"] = [_state_of(root, path) for path in paths]
    leave_out(clips, clips["state"].map(lambda state: isinstance(state, str)), clips["state"])
    for axis in AXES:
        _make_numbers(clips, axis, 0, 1)
    n_values = clips[[*AXES]].notna().sum(axis=1)
    leave_out(clips, n_values.isin([1, 2]), f"has some of {', '.join(AXES)}, not all")
    leave_out(clips, (genres == "") & (n_values == 0), "has no genre")
    unfit = genres.map(lambda genre: len(genre) > LONGEST_GENRE or not genre.isprintable())
    unfit |= genres.str.contains('[";,$]')
    cannot = " cannot stand in a label file or a figure; rename it"
    leave_out(clips, unfit, "genre " + genres.map(quoted) + cannot)
    clips["split"] = splits.str.lower().map(SPLIT_NAMES)
    unknown = " is unknown; known: " + ", ".join(name for name in SPLIT_NAMES if name)
    leave_out(clips, clips["split"].isna(), "split " + splits.map(quoted) + unknown)
    _make_numbers(clips, "offset", 0, 1e6)
    _make_numbers(clips, "duration", 0.1, 600)
    clips["group"] = _groups(clips)
    of_one_id = kept(clips).groupby("id")
    other = "its id is that of another: " + of_one_id["path"].transform("first")
    leave_out(clips, of_one_id.cumcount() > 0, other)
    shorter_first = {"key": lambda ids: ids.str.rjust(80), "kind": "stable"}
    return clips.sort_values("id", ignore_index=True, **shorter_first)


def _groups(clips: pd.DataFrame) -> pd.Series:
    """What must not stand in two splits: artist, album, or a file of which there are several parts.

    Names that differ in case, spaces or the form of their letters are one; who has an album but no
    artist has that of the album.
    """

    def plain(names: pd.Series) -> pd.Series:
        return names.map(lambda name: " ".join(normalize("NFKC", name).casefold().split()))

    artist, album = plain(clips["artist"]), plain(clips["album"])
    of_album = artist[artist != ""].groupby(album).agg(set)
    one = {name: min(names) for name, names in of_album.items() if name and len(names) == 1}
    artist = artist.mask(artist == "", album.map(lambda name: one.get(name, "")))
    part_of = clips["path"].duplicated(keep=False)
    group = ("file " + clips["path"]).where(part_of, "")
    group = ("album " + album).where(album != "", group)
    return ("artist " + artist).where(artist != "", group)


def _make_numbers(clips: pd.DataFrame, name: str, low: float, high: float) -> None:
    """Turn a column of texts into numbers; leave out what is none, or outside its range."""
    import pandas as pd

    texts = clips[name]
    given, numbers = texts != "", pd.to_numeric(texts, errors="coerce")
    hint = texts.str.contains(",").map({True: " (decimals as 0.5)", False: ""})
    no_number = f"{name} is " + texts.map(quoted) + ", not a number" + hint
    leave_out(clips, given & numbers.isna(), no_number)
    outside = f"{name} is " + texts + f", outside {low:g}..{high:g}"
    leave_out(clips, given & ~numbers.between(low, high), outside)
    clips[name] = numbers


def _state_of(root: str, path: str) -> tuple[int, int] | str:
    """Size and time of a file of the folder, or why it cannot be read."""
    if not path or "\0" in path:
        return "has no path"
    real = os.path.realpath(os.path.join(root, path))  # a link to itself stays one
    if os.path.commonpath([root, real]) != root:
        return "its path leads out of the folder of the audio"
    try:
        found = os.stat(real)
    except OSError as error:
        return f"no such file ({error.strerror})"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if _suffix(path) not in READ:
        return f"a file {_suffix(path) or 'without suffix'} is not read; make it .flac"
    if not os.access(real, os.R_OK):
        return "cannot be read (Permission denied)"
    return found.st_size, found.st_mtime_ns


def _text(name: str) -> str:
    """A file's name as text; what is no UTF-8 in it is spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
