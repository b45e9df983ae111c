"""The data folder: what lies where, what is known of an earlier build, and the last step.

    OUT/.build/   clips/ (every clip that was made, once), rows.jsonl (one small row each), audio
                  (which folder they are of)
    OUT/          the lab's four folders, whose files are links to these; audio/ and beats/ of a few
                  clips; clips.csv, classes.csv, rejected.csv, about.json, about.html

Each file is whole or not there. A row is written after its clip, so what a killed build leaves is
clips without a row, which are made again.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_music.label_files import ANSWERS, label_files, part_of
from helpers.folders import CLASS_MAPPING, FOLDERS, SPLITS
from helpers.machinery.files import LabError, remove_leftovers, write_atomically
from helpers.machinery.own_music import CLASSES, CLIPS, read_classes
from tools.build_data.clip import Row

if TYPE_CHECKING:
    import pandas as pd

SAID = ["id", "path", "genre", "artist", "album", "group", "split", "licence"]  # in clips.csv
SAID += ["seconds", "tempo", "audio", "features"]


class Build:
    """The folder of a build: `work` holds what was made, `out` is the data folder."""

    def __init__(self, out: Path) -> None:
        self.out, self.work = out, out / ".build"
        self.clips, self.journal = self.work / "clips", self.work / "rows.jsonl"

    @contextmanager
    def opened(self, audio: Path) -> Iterator[None]:
        """Make the folder ready for what becomes of `audio`, and keep other builds out of it.

        Raises LabError for one that holds something else, while another build is under way, and
        where a disk is full: what was made stays, and nothing is half written.
        """
        from filelock import FileLock, Timeout

        if self.out.is_dir() and not self.work.is_dir() and any(self.out.iterdir()):
            raise LabError(f"{self.out}: holds other files; give --out a new or an empty folder")
        try:
            self.clips.mkdir(parents=True, exist_ok=True)
            with FileLock(self.work / "lock", blocking=False):
                self._belongs_to(audio)
                read_classes(self.out / CLASSES)  # a mistake in it is told now, not after hours
                try:
                    yield
                finally:  # of workers that were ended, and of a build that was killed
                    remove_leftovers(self.out)
        except Timeout:
            raise LabError(f"{self.out}: another build is at work on it; wait for it") from None
        except OSError as error:
            raise LabError(
                f"{self.out}: cannot be written ({error.strerror}); free some space or choose "
                "another folder, and run the same again: it goes on from here"
            ) from error

    def _belongs_to(self, audio: Path) -> None:
        """Raise LabError where another folder's clips are here; a wrong --out would delete them."""
        note = self.work / "audio"
        before = os.fsdecode(note.read_bytes()) if note.is_file() else str(audio)
        if before != str(audio) and self.journal.is_file() and self.journal.stat().st_size:
            raise LabError(
                f"{self.out}: holds the clips of {before}; give --out another folder, or delete "
                f"{note} where that folder has only moved"
            )
        write_atomically(note, os.fsencode(audio))

    def known_rows(self, keys: Mapping[str, str]) -> dict[str, Row]:
        """The rows of an earlier build whose clips are still asked for, and still there whole.

        What is not asked for now stays till the end: `keep`.
        """
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.clips)}
        rows = {}
        with suppress(FileNotFoundError), open(self.journal, encoding="utf-8") as file:
            for line in file:
                with suppress(ValueError):  # of the last one, cut short by a kill
                    row = json.loads(line)
                    files = {f"{row['id']}.{name}": n for name, n in row.get("sizes", {}).items()}
                    same = keys.get(row["id"], row["key"]) == row["key"]
                    if same and files.items() <= sizes.items():
                        rows[row["id"]] = row
        self.keep(rows)  # or the next row would begin in the line that was cut
        return {name: row for name, row in rows.items() if name in keys}

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Keep these rows and their clips alone, in order: of equal builds the journal is equal."""
        write_atomically(self.journal, "".join(_line(rows[name]) for name in sorted(rows)))
        wanted = {f"{row['id']}.{name}" for row in rows.values() for name in row.get("sizes", ())}
        for name in set(os.listdir(self.clips)) - wanted:
            (self.clips / name).unlink()

    def note(self, row: Row) -> None:
        """Add a row to the journal; a kill may cut it short."""
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(_line(row))

    def write_rejected(self, rejected: pd.DataFrame) -> None:
        """`rejected.csv`, alone where no data folder can be made of what is left."""
        write_atomically(self.out / "rejected.csv", _csv(rejected))

    def classes(self, genres: Iterable[str]) -> dict[str, str | None]:
        """Genre to class: the user's own and what is new, or the course's, or one class each.

        The course's where it knows all genres and keeps two classes. Raises LabError, with its
        line, for a file of the user's that cannot be read.
        """
        own = read_classes(self.out / CLASSES)
        course = {genre: CLASS_MAPPING.get(genre, "") for genre in genres}
        known = "" not in course.values() and len(set(course.values()) - {None}) > 1
        return (course if known and not own else {genre: genre for genre in course}) | own

    def write(
        self,
        clips: pd.DataFrame,
        classes: Mapping[str, str | None],
        page: str,
        about: dict[str, Any],
    ) -> None:
        """The data folder of these clips; what an earlier build put there and is none is removed.

        `about.json` comes last: while it is there the folder is whole.
        """
        for name in ("about.json", ANSWERS):
            (self.out / name).unlink(missing_ok=True)
        self._link_arrays(clips)
        for name, content in label_files(clips, "%.6g").items():
            write_atomically(self.out / name, content)
        write_atomically(self.out / CLIPS, _csv(clips[SAID]))
        lines = [f"{genre},{name or ''}\n" for genre, name in classes.items()]
        write_atomically(self.out / CLASSES, "".join(["genre,class\n", *lines]))
        write_atomically(self.out / "about.html", page)
        text = json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True)
        write_atomically(self.out / "about.json", f"{text}\n")

    def _link_arrays(self, clips: pd.DataFrame) -> None:
        """Give the made files their places, as links to them (copies where there are none)."""
        places = {self.out / "audio": (clips["id"], "flac", "flac")}
        places[self.out / "beats"] = (clips["id"], "beats.npy", "npy")
        for name, split in product(FOLDERS, SPLITS):
            form = "beat.npy" if name.endswith("_beat") else "full.npy"
            ids = part_of(clips, name, split)["id"]
            places[self.out / name / split] = (ids, form, "fused.full.npy")
        for name in FOLDERS:  # of an earlier build with affect values
            if not any(len(places[self.out / name / split][0]) for split in SPLITS):
                shutil.rmtree(self.out / name, ignore_errors=True)
        made = set(os.listdir(self.clips))
        for folder, (ids, form, suffix) in places.items():
            shutil.rmtree(folder, ignore_errors=True)
            for name in ids:
                if f"{name}.{form}" in made:
                    folder.mkdir(parents=True, exist_ok=True)
                    _link(self.clips / f"{name}.{form}", folder / f"{name}.{suffix}")


def _csv(table: pd.DataFrame) -> str:
    # Quoted, because on Python 3.11 a carriage return in a name is not by itself.
    return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def _line(row: Row) -> str:
    return json.dumps(row, sort_keys=True) + "\n"


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # a file system without hard links
        shutil.copy2(source, place)
