"""What a data folder is, by its content, and what its four folders must say of each other."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from helpers.folders import (
    AXES,
    FOLDERS,
    GENRE,
    MULTITASK,
    SPLITS,
    class_mapping,
    clip_files,
    inspect_clips,
)
from helpers.machinery.files import LabError
from helpers.machinery.identity import UNREADABLE, file_digests
from helpers.machinery.left_out import Problems, left_out
from helpers.machinery.own_music import CLASSES, CLIPS


def data_fingerprint(data: Path) -> str:
    """A short name for the content of a data folder: its label files, and its clips by id.

    Equal for equal data wherever it lies and whatever else lies there; used to tell which data a
    stored result belongs to.
    """
    found = []
    for name, split in product(FOLDERS, SPLITS):
        labels = file_digests(str(data / name), [f"{split}_labels.txt"])
        found.append((labels, sorted(_digests(data / name / split).items())))
    own = file_digests(str(data), [CLASSES, CLIPS])  # which the lab's own data lack
    found += [(digest, []) for digest in own if digest != UNREADABLE]
    return hashlib.sha256(repr(found).encode()).hexdigest()[:12]


def _digests(folder: Path) -> dict[str, str]:
    """The digest of each clip's file, by id; none where there is none, or no regular file."""
    try:
        files = clip_files(folder)
    except LabError:
        return {}
    names = [os.path.basename(path) for path in files.values()]
    found = zip(files, file_digests(str(folder), names), strict=True)
    return {clip: digest for clip, digest in found if digest != UNREADABLE}


class Contents:
    """The clips of a data folder by folder and split: each one's label, and its file's digest.

    Where loaders will name what is wrong inside a split, it is empty here. What `--skip-bad` leaves
    out is left out.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.labels: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
        self.digests: dict[tuple[str, str], dict[str, str]] = {}
        for name, split in product(FOLDERS, SPLITS):
            listed = left_out(data / name, split)
            digests = _digests(data / name / split)
            self.labels[name, split] = _labels(data / name, split, listed)
            self.digests[name, split] = {c: d for c, d in digests.items() if c not in listed}

    def disagreements(self) -> Iterator[str]:
        """What is wrong between folders and splits, each a line.

        The full and the beat-synchronous folder must have the same clips with the same labels, and
        no clip, by id or by content, may be in train and in test.
        """
        for name in FOLDERS:
            train, test = (self.labels[name, split] for split in SPLITS)
            for clip in sorted(set(train) & set(test))[:1]:
                yield f"{self.data / name}: clip {clip} is in train and in test; remove one of them"
            pairs = _same_files(*(self.digests[name, split] for split in SPLITS))
            for learned, tested in pairs[:1]:
                yield (
                    f"{self.data / name}: train clip {learned} and test clip {tested} are the same "
                    f"file ({len(pairs)} such pairs); what is tested must not be learned, remove "
                    "one of them"
                )
        for name in (GENRE, MULTITASK):
            full, beat = (
                self.digests[form, "train"] | self.digests[form, "test"]
                for form in (name, f"{name}_beat")
            )
            for one, other in _same_files(full, beat)[:1]:
                yield (
                    f"{self.data / name}_beat: clip {other} is the same file as clip {one} of "
                    f"{self.data / name}; unpack the data again"
                )
        for name, split in product((GENRE, MULTITASK), SPLITS):
            full, beat = self.labels[name, split], self.labels[f"{name}_beat", split]
            unlike = sorted({clip for clip, _ in full.items() ^ beat.items()})
            if full and beat and unlike:
                said = (map(str, rows.get(unlike[0], ["no line"])) for rows in (beat, full))
                here, there = map(", ".join, said)  # without a label, it is not text but NaN
                yield (
                    f"{self.data / name}_beat/{split}_labels.txt: clip {unlike[0]} is ({here}) "
                    f"here and ({there}) in {self.data / name}, {len(unlike)} such clips; correct "
                    "one of the label files, or unpack the data again"
                )
        yield from self._too_little()

    def _classes(self, split: str) -> Counter[str]:
        """How many clips each class has in a split."""
        genres = (label[0] for label in self.labels[GENRE, split].values())
        return Counter(filter(None, map(class_mapping(self.data).get, genres)))

    def _too_little(self) -> Iterator[str]:
        """What leaves nothing to tell apart, or nothing to test on, each a line."""
        files = {split: f"{self.data / GENRE}/{split}_labels.txt" for split in SPLITS}
        for split, file in files.items():
            classes = self._classes(split)
            if self.labels[GENRE, split] and len(classes) < 2:
                found = f"all clips are {[*classes][0]}" if classes else "all genres are dropped"
                yield f"{file}: {found}; add clips of another class"
        train = self._classes("train")
        if len(train) > 1 and max(train.values()) == 1:
            yield f"{files['train']}: no class has two clips, to learn and to validate; add clips"
        for unseen in sorted(set(self._classes("test")) - set(train)) if train else ():
            yield f"{files['test']}: {unseen} has no training clip; drop it in the class mapping"
        file = f"{self.data / MULTITASK}/train_labels.txt"
        labelled = self.labels[MULTITASK, "train"]
        if 0 < len(labelled) < 4:  # two of them to train on: one has no variance
            yield f"{file}: {len(labelled)} clip(s), too few to train, validate and test; add clips"
        for axis, column in zip(AXES, zip(*labelled.values(), strict=True), strict=False):
            if len(set(column)) == 1:
                yield f"{file}: {axis} is {column[0]} everywhere; correct it, it cannot be learned"

    def weaknesses(self) -> Iterator[str]:
        """What makes results weaker than they look, each a line."""
        for (name, split), digests in self.digests.items():
            times = Counter(digests.values())
            twins = sorted(clip for clip, digest in digests.items() if times[digest] > 1)
            if twins:
                yield (
                    f"{self.data / name / split}: {len(twins)} clips are the same file as another, "
                    f"the first is {twins[0]}; each counts on its own"
                )
        for single in sorted(name for name, n in self._classes("train").items() if n == 1):
            yield f"{self.data / GENRE}: class {single} has one training clip, so none to validate"


def _same_files(one: dict[str, str], other: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of clips, one of each, whose files have the same content; sorted."""
    clips = {digest: clip for clip, digest in one.items()}
    return sorted((clips[digest], clip) for clip, digest in other.items() if digest in clips)


def _labels(folder: Path, split: str, listed: Problems) -> dict[str, tuple[str, ...]]:
    """Each clip's label, by id; none where loaders will name what is wrong inside this split."""
    try:
        clips, problems = inspect_clips(folder, split)
    except LabError:
        return {}
    if problems.keys() - listed:
        return {}
    clips = clips[~clips["id"].isin(list(listed))]
    labels = clips[["genre"] if "genre" in clips else list(AXES)].astype(str)
    return dict(zip(clips["id"], labels.itertuples(index=False, name=None), strict=True))
