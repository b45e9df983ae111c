"""The data folder: what lies where, what is known of an earlier build, and the last step.

    OUT/.build/   clips/ (every clip that was made, once), rows.jsonl (one small row each)
    OUT/          the lab's four folders, whose files are links to these; audio/ and beats/ of a few
                  clips; clips.csv, classes.csv, rejected.csv, about.json, about.html

Each file is whole or not there. A row is written after its clip, so what a killed build leaves is
clips without a row, which are made again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from helpers.folders import (
    AXES,
    CLASS_MAPPING,
    FOLDERS,
    GENRE,
    GENRE_BEAT,
    MULTITASK,
    MULTITASK_BEAT,
    SPLITS,
    class_mapping,
)
from helpers.machinery.files import LabError, remove_leftovers, write_atomically
from helpers.machinery.own_music import CLASSES, CLIPS
from tools.build_data.clip import Row
from tools.build_data.inputs import Clip, Rejected

ANSWERS = "multitask_test_answers.csv"
REJECTED, ABOUT = "rejected.csv", "about.json"
LABEL_NAMES = {  # what the lab's own label files call a clip: not what it is called on disk
    (GENRE, "train"): "fused.full.npy.gz", (GENRE, "test"): "full.fused.npy.gz",
    (GENRE_BEAT, "train"): "beatsync.fused.npy.gz", (GENRE_BEAT, "test"): "beatsync.fused.npy.gz",
}  # fmt: skip


class Build:
    """The folder of a build: `work` holds what was made, `out` is the data folder."""

    def __init__(self, out: Path) -> None:
        self.out, self.work = out, out / ".build"
        self.clips, self.journal = self.work / "clips", self.work / "rows.jsonl"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder ready and keep other builds out of it.

        Raises LabError for one that holds something else, and while another build is under way.
        """
        from filelock import FileLock, Timeout

        if self.out.is_dir() and not self.work.is_dir() and any(self.out.iterdir()):
            raise LabError(f"{self.out}: holds other files; give --out a new or an empty folder")
        try:
            self.clips.mkdir(parents=True, exist_ok=True)
            with FileLock(self.work / "lock", blocking=False):
                remove_leftovers(self.out)
                yield
        except Timeout:
            raise LabError(f"{self.out}: another build is at work on it; wait for it") from None
        except OSError as error:
            raise LabError(f"{self.out}: cannot be written ({error.strerror})") from error

    def known_rows(self, keys: Mapping[str, str]) -> dict[str, Row]:
        """The rows of an earlier build whose clips are still asked for, and still there whole."""
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.clips)}
        rows = {}
        with suppress(FileNotFoundError), open(self.journal, encoding="utf-8") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:  # the last one, cut short by a kill
                    continue
                if keys.get(row["id"]) == row["key"] and all(
                    sizes.get(f"{row['id']}.{name}") == size
                    for name, size in row.get("sizes", {}).items()
                ):
                    rows[row["id"]] = row
        self.keep(rows)  # or the next row would begin in the line that was cut
        return rows

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Keep these rows and their clips alone, in order: of equal builds the journal is equal."""
        write_atomically(self.journal, "".join(_line(rows[name]) for name in sorted(rows)))
        wanted = {f"{row['id']}.{name}" for row in rows.values() for name in row.get("sizes", ())}
        for entry in os.scandir(self.clips):
            if entry.name not in wanted:
                os.unlink(entry)

    def note(self, rows: Iterable[Row]) -> None:
        """Add rows to the journal; a kill may cut the last line short."""
        try:
            with open(self.journal, "a", encoding="utf-8") as file:
                file.write("".join(map(_line, rows)))
        except OSError as error:
            raise LabError(f"{self.journal}: cannot be written ({error.strerror})") from error

    def write(
        self, clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row],
        about: dict[str, Any],
    ) -> None:  # fmt: skip
        """The data folder of these clips; what an earlier build put there and is none is removed.

        `about.json` comes last: while it is there the folder is whole.
        """
        (self.out / ABOUT).unlink(missing_ok=True)
        self._link_arrays(clips)
        for name, content in _tables(clips, rejected, rows).items():
            write_atomically(self.out / name, content)
        self._write_classes(clips)
        text = json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True)
        write_atomically(self.out / ABOUT, f"{text}\n")

    def write_rejected(self, rejected: Sequence[Rejected]) -> None:
        """`rejected.csv` alone, where no data folder can be made of what is left."""
        write_atomically(self.out / REJECTED, _csv(Rejected._fields, sorted(rejected)))

    def _link_arrays(self, clips: Sequence[Clip]) -> None:
        """Give the made files their places, as links to them (copies where there are none)."""
        in_genre = [clip for clip in clips if clip.genre]
        in_affect = [clip for clip in clips if clip.affect]
        places: list[tuple[Path, Sequence[Clip], str, str]] = []
        for name, split in product(FOLDERS, SPLITS):
            some = in_genre if name.startswith("fma_genre") else in_affect
            part = [clip for clip in some if clip.split == split]
            form = "beat.npy" if name.endswith("_beat") else "full.npy"
            places.append((self.out / name / split, part, form, "fused.full.npy"))
        places += [(self.out / "audio", clips, "flac", "flac")]
        places += [(self.out / "beats", clips, "beats.npy", "npy")]
        made = {entry.name: entry.inode() for entry in os.scandir(self.clips)}
        for folder, some, form, suffix in places:
            wanted = {
                f"{c.id}.{suffix}": f"{c.id}.{form}" for c in some if f"{c.id}.{form}" in made
            }
            there = {e.name: e for e in os.scandir(folder)} if folder.is_dir() else {}
            for name in set(there) - set(wanted):
                os.unlink(folder / name)
            if not wanted:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for name, source in wanted.items():
                if name not in there or not _is_same(
                    there[name], made[source], self.clips / source
                ):
                    _link(self.clips / source, folder / name)
        for name in FOLDERS:  # of an earlier build with affect values
            if not any((self.out / name / split).is_dir() for split in SPLITS):
                shutil.rmtree(self.out / name, ignore_errors=True)

    def _write_classes(self, clips: Sequence[Clip]) -> None:
        """`classes.csv`, unless the user has one that knows all the genres."""
        genres = sorted({clip.genre for clip in clips if clip.genre})
        path = self.out / CLASSES
        with suppress(LabError):
            if path.is_file() and set(genres) <= set(class_mapping(self.out)):
                return
        course = set(genres) <= set(CLASS_MAPPING)
        lines = [f"{g},{(CLASS_MAPPING[g] or '') if course else g}" for g in genres]
        write_atomically(path, "\n".join(["genre,class", *lines]) + "\n")


def _line(row: Row) -> str:
    return json.dumps(row, sort_keys=True) + "\n"


def _is_same(entry: os.DirEntry[str], inode: int, source: Path) -> bool:
    """Whether a file is a link to the one that was made, or its copy."""
    if entry.inode() == inode:
        return True
    one, other = entry.stat(), source.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _link(source: Path, place: Path) -> None:
    """Put a link, or a copy, in its place at once."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.0.part")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:  # a file system without hard links
            shutil.copy2(source, partial)
        os.replace(partial, place)
    except OSError as error:
        raise LabError(f"{place}: cannot be written ({error.strerror}); free some space") from error
    finally:
        partial.unlink(missing_ok=True)


def _tables(
    clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row]
) -> dict[str, str]:
    """The contents of label files and tables, by path inside the data folder."""
    files = {}
    for name, split in product((GENRE, GENRE_BEAT), SPLITS):
        part = [clip for clip in clips if clip.genre and clip.split == split]
        part.sort(key=lambda clip: (clip.genre, len(clip.id), clip.id))
        lines = [f"{clip.id}.{LABEL_NAMES[name, split]}\t{clip.genre}\n" for clip in part]
        files[f"{name}/{split}_labels.txt"] = "".join(["Id\tGenre\n", *lines])
    for split, names in (
        ("train", [f"{name}/train_labels.txt" for name in (MULTITASK, MULTITASK_BEAT)]),
        ("test", [ANSWERS]),
    ):
        part = [clip for clip in clips if clip.affect and clip.split == split]
        lines = [",".join([c.id, *(f"{v:.6g}" for v in c.affect or ())]) + "\n" for c in part]
        if lines:
            files |= dict.fromkeys(names, "".join([",".join(("Id", *AXES)) + "\n", *lines]))
    measured = ("seconds", "tempo", "audio", "features")
    said = ("id", "path", "genre", "artist", "album", "group", "split", "licence")
    table = [[getattr(c, n) for n in said] + [rows[c.id][n] for n in measured] for c in clips]
    files[CLIPS] = _csv([*said, *measured], table)
    files[REJECTED] = _csv(Rejected._fields, sorted(rejected))
    return files


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def described(
    clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row],
    parameters: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What `about.json` says: parameters and versions, counts, licences, digests."""
    digest = hashlib.sha256(repr([(c.id, c.split, rows[c.id]["features"]) for c in clips]).encode())
    return {
        "parameters": parameters,
        "clips": {split: sum(c.split == split for c in clips) for split in SPLITS},
        "genres": Counter(clip.genre for clip in clips if clip.genre),
        "with affect": sum(clip.affect is not None for clip in clips),
        "artists": len({clip.group for clip in clips if clip.group}),
        "licences": Counter(clip.licence for clip in clips if clip.licence),
        "rejected": Counter(one.reason.split(":")[0] for one in rejected),
        "hours": round(sum(rows[clip.id]["seconds"] for clip in clips) / 3600, 3),
        "digest": digest.hexdigest()[:16],
    }
