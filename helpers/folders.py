"""The lab's folders, label files and clips. Used by all notebooks.

The layout and its quirks (names in label files are not the names on disk; the multitask test
folder has no labels) are those of the real upload. The rule that always works: a clip's id is
what stands before the first dot of a name.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.machinery.files import (
    KAGGLE_INPUT,
    LabError,
    demo_data,
    did_you_mean,
    get_again,
    project_root,
    quoted,
    read_json,
    read_text,
)
from helpers.machinery.left_out import Problems, left_out, tell_once
from helpers.machinery.own_music import CLASSES, read_classes

if TYPE_CHECKING:
    import pandas as pd

GENRE, GENRE_BEAT = "fma_genre_spectrograms", "fma_genre_spectrograms_beat"
MULTITASK, MULTITASK_BEAT = "multitask_dataset", "multitask_dataset_beat"
FOLDERS = (GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT)
MARKER = GENRE  # the folder that the data are found by
SPLITS = ("train", "test")
AXES = ("valence", "energy", "danceability")

# The course's class mapping (handout, step 4β); None drops the genre.
CLASS_MAPPING: dict[str, str | None] = {
    "Blues": "Blues",
    "Chiptune": "Electronic",
    "Classical": "Classical",
    "Electronic": "Electronic",
    "Folk": "Folk",
    "Hip-Hop": "Hip-Hop",
    "Indie-Rock": None,
    "International": None,
    "Jazz": "Jazz",
    "Metal": "Metal",
    "Old-Time": None,
    "Pop": "Pop",
    "Post-Punk": None,
    "Post-Rock": "Rock",
    "Psych-Folk": "Folk",
    "Psych-Rock": "Rock",
    "Punk": "Metal",
    "Rock": "Rock",
    "Soundtrack": None,
    "Trip-Hop": "Trip-Hop",
}
GENRES = tuple(CLASS_MAPPING)

SEARCH_DEPTH = 5  # folders below /kaggle/input: datasets/<owner>/<slug>/data/<marker>
DEMO_RECORD = "complete.json"  # beside the data of a finished demo set; says which one it is
SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


# ---- finding the data --------------------------------------------------------------------------


def find_data(data: str | Path = "auto") -> Path:
    """The folder that holds `fma_genre_spectrograms` and its siblings.

    `auto` looks at $MUSICLAB_DATA, then Kaggle's mounts, `./data`, and the demo set if it has been
    built; `demo` takes the demo set; anything else is a folder (or one just above it).
    Raises LabError that lists where it looked.
    """
    named, what = str(data), "the data folder"
    if named == "auto":
        named, what = os.environ.get("MUSICLAB_DATA") or "auto", "$MUSICLAB_DATA"
    if named == "demo":
        if not demo_size():
            raise LabError(
                f"{demo_data().parent}: no finished demo set; build it with notebook 00, "
                "./run_all.sh or python -m demo_music.build"
            )
        return demo_data()
    if named != "auto":
        return _named_folder(Path(os.path.expanduser(named)), what)
    # not Path.resolve(), which gives up on a link to itself
    places = [KAGGLE_INPUT, *(Path(os.path.realpath(name)) for name in ("../input", "data"))]
    places += [project_root() / "data"]
    for place in places:
        if found := _search(place, SEARCH_DEPTH):
            return found[0]
    if demo_size() > 0:
        return demo_data()
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    raise LabError(
        f"no data found: looked for a folder {MARKER} in $MUSICLAB_DATA (not set), {looked}, and "
        f"for a demo set in {demo_data().parent}; run notebook 00 or ./run_all.sh to build the "
        "demo set, or see data_links.md for the lab's own data"
    )


def demo_size() -> float:
    """The size of the finished demo set, 1.0 for the whole one; 0 when there is none."""
    size = read_json(demo_data().parent / DEMO_RECORD).get("size")
    return float(size) if isinstance(size, (int, float)) and size > 0 else 0.0


def is_demo(data: Path) -> bool:
    """Whether a data folder is the demo set's: clip ids mean something in their own set only."""
    return data.resolve() == demo_data().resolve()


def audio_path(data: Path, clip: int | str) -> Path | None:
    """The audio file of a clip, or None: only a few clips keep theirs, and the lab's data none."""
    path = _beside(data) / "audio" / f"{clip}.flac"
    return path if path.is_file() else None


def audio_clips(data: Path) -> list[str]:
    """The ids of the clips that can be listened to, sorted; none in the lab's own data."""
    return sorted(path.stem for path in (_beside(data) / "audio").glob("*.flac"))


def beat_times(data: Path, clip: int | str) -> np.ndarray | None:
    """The tracked beats of a clip in seconds, float64 [B'], or None where nobody has kept them."""
    path = _beside(data) / "beats" / f"{clip}.npy"
    return np.load(path, allow_pickle=False) if path.is_file() else None


def is_demo_set(data: Path) -> bool:
    """Whether a data folder is of a demo set, wherever that was built."""
    return (data.parent / DEMO_RECORD).is_file()


def _beside(data: Path) -> Path:
    """Where audio and beats lie: beside a demo set's data, inside data of the user's own."""
    return data.parent if is_demo_set(data) else data


def _named_folder(folder: Path, what: str) -> Path:
    if not os.path.isdir(folder):  # also where we may not look
        state = "is a file" if os.path.exists(folder) else "does not exist"
        raise LabError(f"{folder}: {what} {state}; give the folder that holds {MARKER}/")
    if folder.name == MARKER:
        folder = folder.parent
    found = sorted({place.resolve() for place in _search(folder, depth=3)})
    if len(found) > 1:
        names = ", ".join(str(place) for place in found[:5])
        raise LabError(f"{folder}: several data sets lie in it ({names}); give one of them")
    if not found:
        try:
            inside = ", ".join(sorted(os.listdir(folder))[:5]) or "nothing"
        except OSError as error:
            problem = f"{folder}: cannot be read ({error.strerror}); check its rights"
            raise LabError(problem) from error
        raise LabError(
            f"{folder}: no folder {MARKER} in it (it holds {inside}); unpack the lab's data so "
            f"that {folder / MARKER} exists, see data_links.md"
        )
    return found[0]


def _search(place: Path, depth: int) -> list[Path]:
    """The nearest folders at or below `place` with the marker: of one level, of these `depth`."""
    for level in range(depth):
        markers = sorted(place.glob(f"{level * '*/'}{MARKER}"))
        if found := [marker.parent for marker in markers if os.path.isdir(marker)]:
            return found
    return []


def data_name(folder: Path) -> str:
    """A short name for a data folder, for titles and run names: `demo`, or what the user called it.

    Uploads end in a folder `data` that says nothing, and kagglehub keeps them in one per version;
    the name of the parent is taken then.
    """
    if is_demo(folder):
        return "demo"
    if folder.name == "data" and folder.parent.name:
        folder = folder.parent
    if folder.parent.name == "versions" and folder.name.isdecimal():
        folder = folder.parents[1]
    return folder.name


# ---- label files -------------------------------------------------------------------------------

WHOLE = ""


def clip_id(name: str) -> str:
    """The id of a clip: what stands before the first dot of its file or label name."""
    return name.split(".", 1)[0]


def class_mapping(data: Path) -> dict[str, str | None]:
    """Genre to class (step 4β): of `classes.csv` in the data folder, else the course's mapping."""
    return read_classes(data / CLASSES) or CLASS_MAPPING


def read_labels(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a label file whose columns after the id are `("genre",)`, or AXES.

    Genre files are tab separated with the header `Id<TAB>Genre`; affect files are comma separated
    with three values in 0..1, and their header says which axis stands where. Returns a table with
    column id and these. Raises LabError with file and line.
    """
    import pandas as pd

    labels, problems = _inspect_labels(path, columns)
    _stop_at(problems)
    return pd.DataFrame(labels).drop(columns="line")


def _inspect_labels(path: Path, columns: Sequence[str]) -> tuple[dict[str, list], Problems]:
    """The columns of a label file's good rows, id and line first, and what is wrong with others."""
    genres = tuple(columns) == ("genre",)
    known = class_mapping(path.parent.parent) if genres else {}
    separator, check = ("\t", partial(_genre_of, known)) if genres else (",", _values_of)
    try:
        lines, places_of = _lines_and_columns(path, columns, separator)
    except LabError as error:
        return {name: [] for name in ("id", "line", *columns)}, {WHOLE: str(error)}
    rows: dict[str, list[str] | list[float]] = {}
    places: dict[str, int] = {}
    problems: Problems = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = list(map(str.strip, line.split(separator)))
        name = clip_id(fields[0])
        try:
            foreign = '"' in line or ";" in line  # as some spreadsheets write a table
            if len(fields) != len(columns) + 1 or not all(fields) or foreign:
                if not line.strip():
                    continue
                shown = lines[0].replace("\t", "<TAB>")
                how = " (no quotes, no semicolons, decimals as 0.5)" if foreign else ""
                raise LabError(f"expected {shown}, got {quoted(line)}; correct the line{how}")
            if not SAFE_ID.fullmatch(name):
                raise LabError(f"{quoted(fields[0])} is no clip name inside its folder; correct it")
            if name in rows:
                raise LabError(f"clip {name} was already named in line {places[name]}; remove one")
            rows[name] = check([fields[place] for place in places_of])
            places[name] = number
        except LabError as error:
            problems[f"line {number}"] = f"{path}:{number}: {error}"
    values = map(list, zip(*rows.values(), strict=True)) if rows else [[] for _ in columns]
    found = {"id": list(rows), "line": list(places.values())}
    return found | dict(zip(columns, values, strict=True)), problems


def _lines_and_columns(
    path: Path, columns: Sequence[str], separator: str
) -> tuple[list[str], list[int]]:
    """The lines of a label file, and where each column stands in a row: names decide, not order.

    Raises LabError where the file says nothing, or has another header.
    """
    lines = read_text(path).splitlines()
    if not any(line.strip() for line in lines[1:]):
        state = "is empty" if not lines else "has a header and no rows"
        raise LabError(f"{path}: the label file {state}; {get_again(path)}")
    names = [name.strip().lower() for name in lines[0].split(separator)]
    wanted = "Id<TAB>Genre" if separator == "\t" else separator.join(("Id", *columns))
    if clip_id(names[0]).isdigit():  # a clip, which would be lost silently
        problem = f"expected the header {wanted}, got {quoted(lines[0])}; add the header"
        raise LabError(f"{path}:1: {problem}")
    if sorted(names[1:]) != sorted(columns):
        raise LabError(
            f"{path}:1: expected the columns {wanted} in any order, got {quoted(lines[0])}; "
            "correct the header"
        )
    return lines, [names.index(column, 1) for column in columns]


def _genre_of(known: Mapping[str, object], fields: Sequence[str]) -> list[str]:
    """The genre of a row. Raises LabError for one that the data do not know."""
    genre = fields[0]
    if genre not in known:
        raise LabError(
            f"unknown genre {quoted(genre)}{did_you_mean(genre, known)}; known: {', '.join(known)}"
        )
    return [genre]


def _values_of(fields: Sequence[str]) -> list[float]:
    """The three values of a row. Raises LabError unless they are numbers in 0..1."""
    values = []
    for axis, text in zip(AXES, fields, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            raise LabError(f"{axis} is {quoted(text)}, not a number; correct the line") from None
        if not 0 <= values[-1] <= 1:  # also catches NaN
            raise LabError(f"{axis} is {values[-1]:g}, outside 0..1; correct the line")
    return values


# ---- clips -------------------------------------------------------------------------------------


def read_clips(folder: Path, split: str) -> pd.DataFrame:
    """The clips of one split of one of the four folders, one row each.

    Columns: id, path, split, then genre or valence, energy, danceability (NaN where there are no
    labels: the multitask test folder). Rows stand in the order of the label file. What
    `--skip-bad` has found is left out, and said once. Raises LabError for anything else that is
    wrong: a bad label row, a clip that is named but absent.
    """
    clips, problems = inspect_clips(folder, split)
    listed = left_out(folder, split)
    unlisted = {where: text for where, text in problems.items() if where not in listed}
    _stop_at(unlisted, folder.parent)
    if listed:
        clips = clips[~clips["id"].isin(list(listed))].reset_index(drop=True)
    if clips.empty:
        first = next((text for text in (*problems.values(), *listed.values()) if text), "")
        raise LabError(f"{folder / split}: none of its clips can be used; first: {first}")
    for text in listed.values():
        tell_once(text)
    return clips


def inspect_clips(folder: Path, split: str) -> tuple[pd.DataFrame, Problems]:
    """The clips of one split, and all that is wrong with its label file and its files' names.

    The arrays are not read: `./run_all.sh check-data` does that, too. Where a label file cannot be
    used at all, the clips are those of the folder, without labels. Raises LabError where there is
    nothing to look at: an unknown split, a missing or empty folder.
    """
    if split not in SPLITS:
        raise LabError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    import pandas as pd

    labels_path = folder / f"{split}_labels.txt"
    files = clip_files(folder / split)
    if folder.name.startswith("fma_genre"):
        labels, problems = _inspect_labels(labels_path, ("genre",))
    elif split == "test" and not labels_path.exists():
        labels, problems = _unlabelled(files)
    else:
        labels, problems = _inspect_labels(labels_path, AXES)
        left = sorted(set(files) - set(labels["id"]))
        if split == "test" and left and not problems:  # Kaggle wants a row for each clip
            problems[WHOLE] = (
                f"{labels_path}: {len(left)} of {len(files)} test clips have no line, the first is "
                f"{left[0]}; add them, or remove this file"
            )
    if WHOLE in problems:
        labels = {"id": sorted(files)}
    ids, lines = labels.pop("id"), labels.pop("line", [])
    paths = [files.get(name) for name in ids]
    clips = pd.DataFrame({"id": ids, "path": paths, "split": split, **labels})
    if None in paths:
        clips = clips[clips["path"].notna()].reset_index(drop=True)
        again = get_again(folder, "unpack the data again or take the line out")
        for name, number in zip(ids, lines, strict=True):
            if name not in files:
                problems[name] = (
                    f"{labels_path}:{number}: clip {name} is not in {folder / split}; {again}"
                )
    return clips, problems


def _unlabelled(files: Mapping[str, str]) -> tuple[dict[str, list], Problems]:
    names = sorted(files, key=lambda name: (len(name), name))
    problems = {
        name: f"{files[name]}: {name!r} is no clip name (letters, digits, _ and -); rename or "
        "remove the file"
        for name in names
        if not SAFE_ID.fullmatch(name)
    }
    ids = [name for name in names if name not in problems]
    return {"id": ids, **{axis: [np.nan] * len(ids) for axis in AXES}}, problems


def clip_files(folder: Path) -> dict[str, str]:
    """Map id -> file for the arrays in a folder; `.npy` wins over `.npy.gz` of the same name.

    Raises LabError where there are none, and for two files that both say to be one clip.
    """
    files: dict[str, str] = {}
    try:
        names = sorted(os.listdir(folder))  # .npy before .npy.gz
    except (FileNotFoundError, NotADirectoryError):
        raise LabError(f"{folder}: this folder is missing; {get_again(folder)}") from None
    except OSError as error:
        raise LabError(f"{folder}: cannot be read ({error.strerror}); check its rights") from error
    for name in names:
        if name.endswith((".npy", ".npy.gz")) and not name.startswith("."):
            clip = clip_id(name)
            other = files.setdefault(clip, name)
            if other.removesuffix(".gz") != name.removesuffix(".gz"):
                raise LabError(f"{folder}: {other} and {name} are both clip {clip}; remove one")
    if not files:
        raise LabError(f"{folder}: no .npy or .npy.gz file in it; {get_again(folder)}")
    return {clip: os.path.join(folder, name) for clip, name in files.items()}


def _stop_at(problems: Problems, data: Path | None = None) -> None:
    """Raise LabError for the first problem, if there is one, and say how many more there are."""
    if problems:
        first, *rest = problems.values()
        hint = f": ./run_all.sh check-data --data {shlex.quote(str(data))} lists them"
        raise LabError(first + (f" ({len(rest)} more{hint if data else ''})" if rest else ""))
