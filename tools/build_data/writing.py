"""The data folder: what lies where, what is known of an earlier build, and the last step.

    OUT/.build/   clips/ (of every clip that was made its files, once, and a small row as .json),
                  audio (which folder they are of)
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
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_music.label_files import ANSWERS, label_files, part_of
from helpers.folders import CLASS_MAPPING, FOLDERS, SPLITS
from helpers.machinery.files import LabError, read_json, remove_leftovers, write_atomically
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
        self.clips = self.work / "clips"

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
        if before != str(audio):
            raise LabError(
                f"{self.out}: holds the clips of {before}; give --out another folder, or delete "
                f"{note} where that folder has only moved"
            )
        write_atomically(note, os.fsencode(audio))

    def known_rows(self, keys: Mapping[str, str]) -> dict[str, Row]:
        """The rows of an earlier build whose clips are asked for by these keys, and there whole."""
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.clips)}
        rows = {}
        for name, key in keys.items():
            row = read_json(self.clips / f"{name}.json")
            files = {f"{name}.{form}": size for form, size in row.get("sizes", {}).items()}
            if row.get("key") == key and files.items() <= sizes.items():
                rows[name] = row
        return rows

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Keep these rows and their clips alone."""
        wanted = {
            f"{n}.{form}" for n, row in rows.items() for form in ("json", *row.get("sizes", ()))
        }
        for name in set(os.listdir(self.clips)) - wanted:
            (self.clips / name).unlink()

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
        """Give the made files their places, as links to them (copies where there are none).

        What is in its place stays: a new link changes a time by which the lab knows a file.
        """
        places = [("audio", clips, "flac", "flac"), ("beats", clips, "beats.npy", "npy")]
        for name, split in product(FOLDERS, SPLITS):
            form = "beat.npy" if name.endswith("_beat") else "full.npy"
            places.append((f"{name}/{split}", part_of(clips, name, split), form, "fused.full.npy"))
        made, used = _states(self.clips), set()
        for place, part, form, suffix in places:
            folder, sources = self.out / place, {f"{n}.{suffix}": f"{n}.{form}" for n in part["id"]}
            wanted = {name: source for name, source in sources.items() if source in made}
            there = _states(folder)
            for name, state in there.items():
                if name not in wanted or made[wanted[name]] != state:
                    (folder / name).unlink()
            for name, source in wanted.items():
                used.add(place.partition("/")[0])
                if there.get(name) != made[source]:
                    folder.mkdir(parents=True, exist_ok=True)
                    _link(self.clips / source, folder / name)
        for name in {"audio", "beats", *FOLDERS} - used:  # an earlier build had affect values
            shutil.rmtree(self.out / name, ignore_errors=True)


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file of a folder, which links and copies share."""
    if not folder.is_dir():
        return {}
    stats = ((entry.name, entry.stat()) for entry in os.scandir(folder))
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}


def _csv(table: pd.DataFrame) -> str:
    # Quoted, because on Python 3.11 a carriage return in a name is not by itself.
    return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # a file system without hard links
        shutil.copy2(source, place)
