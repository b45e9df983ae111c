"""What a data folder is, by its content, and what its four folders must say of each other."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from helpers.folders import (
    AXES,
    CLASS_MAPPING,
    FOLDERS,
    GENRE,
    MULTITASK,
    SPLITS,
    clip_files,
    inspect_clips,
)
from helpers.machinery.files import LabError
from helpers.machinery.identity import UNREADABLE, file_digests
from helpers.machinery.left_out import left_out


def data_fingerprint(data: Path) -> str:
    """A short name for the content of a data folder: its label files, and its clips by id.

    Equal for equal data wherever it lies and whatever else lies there; used to tell which data a
    stored result belongs to.
    """
    found = []
    for folder in (data / name for name in FOLDERS):
        for split in SPLITS:
            labels = file_digests(str(folder), [f"{split}_labels.txt"])
            found.append((labels, sorted(_digests(folder / split).items())))
    return hashlib.sha256(repr(found).encode()).hexdigest()[:12]


def _digests(folder: Path) -> dict[str, str]:
    """The digest of each clip's file, by id; none where there are no clips."""
    try:
        files = clip_files(folder)
    except LabError:
        return {}
    names = [os.path.basename(path) for path in files.values()]
    return dict(zip(files, file_digests(str(folder), names), strict=True))


def require_soundness(data: Path) -> None:
    """Raise LabError for the first thing that two folders or splits say differently.

    What only weakens the results is printed.
    """
    contents = Contents.of(data)
    for problem in contents.disagreements():
        raise LabError(problem)
    for weakness in contents.weaknesses():
        print(f"note: {weakness}")


@dataclass(frozen=True)
class Contents:
    """The clips of a data folder by folder and split: each one's label, and its file's digest.

    Where loaders will name what is wrong inside a split, it is empty here. What `--skip-bad` leaves
    out is left out.
    """

    data: Path
    labels: dict[tuple[str, str], dict[str, tuple[str, ...]]]
    digests: dict[tuple[str, str], dict[str, str]]

    @classmethod
    def of(cls, data: Path) -> Contents:
        """Read the label files, and the clips as far as they have changed."""
        places = list(product(FOLDERS, SPLITS))
        labels = {(name, split): _labels(data / name, split) for name, split in places}
        found = {
            (name, split): {
                clip: digest
                for clip, digest in _digests(data / name / split).items()
                if clip not in left_out(data / name, split)
            }
            for name, split in places
        }
        return cls(data, labels, found)

    def disagreements(self) -> Iterator[str]:
        """What is wrong between folders and splits, each a line.

        The full and the beat-synchronous folder must have the same clips with the same labels, and
        no clip, by id or by content, may be in train and in test.
        """
        for name in FOLDERS:
            train, test = (self.labels[name, split] for split in SPLITS)
            for clip in sorted(set(train) & set(test))[:1]:
                yield f"{self.data / name}: clip {clip} is in train and in test; remove one of them"
            learned, tested = ({d: c for c, d in self.digests[name, s].items()} for s in SPLITS)
            same = sorted((set(learned) & set(tested)) - {UNREADABLE})
            for content in same[:1]:
                yield (
                    f"{self.data / name}: train clip {learned[content]} and test clip "
                    f"{tested[content]} are the same file ({len(same)} such pairs); what is tested "
                    "must not be learned, remove one of them"
                )
        for name in (GENRE, MULTITASK):
            forms = (
                {d: c for split in SPLITS for c, d in self.digests[form, split].items()}
                for form in (name, f"{name}_beat")
            )
            full_files, beat_files = forms
            for content in sorted((set(full_files) & set(beat_files)) - {UNREADABLE})[:1]:
                yield (
                    f"{self.data / name}_beat: clip {beat_files[content]} is the same file as clip "
                    f"{full_files[content]} of {self.data / name}; unpack the data again"
                )
        for name, split in product((GENRE, MULTITASK), SPLITS):
            full, beat = self.labels[name, split], self.labels[f"{name}_beat", split]
            if full and beat:
                labels = f"{self.data / name}_beat/{split}_labels.txt"
                yield from _between_forms(labels, self.data / name, full, beat)
        yield from self._too_little()

    def _too_little(self) -> Iterator[str]:
        """What leaves nothing to tell apart, or nothing to test on, each a line."""
        counts = {}
        for split in SPLITS:
            genres = [label[0] for label in self.labels[GENRE, split].values()]
            counts[split] = Counter(filter(None, map(CLASS_MAPPING.get, genres)))
            if genres and not counts[split]:
                place = f"{self.data / GENRE}/{split}_labels.txt"
                yield f"{place}: the class mapping drops all its genres; add clips of others"
        train, place = counts["train"], f"{self.data / GENRE}/train_labels.txt"
        if len(train) == 1:
            yield f"{place}: all clips are {[*train][0]}; add clips of another class to tell apart"
        elif train and max(train.values()) == 1:
            yield f"{place}: no class has two clips, to learn from and to validate on; add clips"
        for unseen in sorted(set(counts["test"]) - set(train)) if train else ():
            test = place.replace("train_labels", "test_labels")
            yield f"{test}: {unseen} has no training clip; drop it in the class mapping"
        n_labelled = len(self.labels[MULTITASK, "train"])
        if 0 < n_labelled < 3:
            yield (
                f"{self.data / MULTITASK}/train_labels.txt: {n_labelled} clips cannot be training, "
                "validation and held-out part; add clips"
            )

    def weaknesses(self) -> Iterator[str]:
        """What makes results weaker than they look, each a line."""
        for (name, split), digests in self.digests.items():
            by_content: dict[str, list[str]] = {}
            for clip, digest in digests.items():
                by_content.setdefault(digest, []).append(clip)
            twins = [clips for d, clips in by_content.items() if len(clips) > 1 and d != UNREADABLE]
            if twins:
                yield (
                    f"{self.data / name / split}: clips {' and '.join(sorted(twins[0])[:2])} are "
                    f"the same file ({len(twins)} such groups); each counts several times"
                )
        genres = [label[0] for label in self.labels[GENRE, "train"].values()]
        counts = Counter(CLASS_MAPPING.get(genre) for genre in genres)
        for single in sorted(c for c, n in counts.items() if c and n == 1):
            yield f"{self.data / GENRE}: class {single} has one training clip, so none to validate"
        values = list(zip(*self.labels[MULTITASK, "train"].values(), strict=True))
        for axis, column in zip(AXES, values, strict=False):
            if len(set(column)) == 1:
                yield f"{self.data / MULTITASK}: {axis} is {column[0]} everywhere; nothing to learn"


def _between_forms(
    place: str, full_folder: Path, full: Mapping[str, Any], beat: Mapping[str, Any]
) -> Iterator[str]:
    alone = sorted(set(full) ^ set(beat))
    if alone:
        yield (
            f"{place}: {len(alone)} clip(s) stand in one of this folder and {full_folder} only, "
            f"the first is {alone[0]}; unpack the data again"
        )
    for clip in full:
        if clip in beat and full[clip] != beat[clip]:
            here, there = (", ".join(rows[clip]) for rows in (beat, full))
            yield (
                f"{place}: clip {clip} is ({here}) here and ({there}) in {full_folder}; correct "
                "one of the label files"
            )
            return


def _labels(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """Each clip's label, by id; none where loaders will name what is wrong inside this split."""
    listed = left_out(folder, split)
    try:
        clips, problems = inspect_clips(folder, split)
    except LabError:
        return {}
    if set(problems) - set(listed):
        return {}
    columns = ["genre"] if "genre" in clips else list(AXES)
    labels = clips[columns].astype(str).itertuples(index=False, name=None)
    ids = clips["id"].tolist()
    return {c: row for c, row in zip(ids, labels, strict=True) if c not in listed}
