"""What a data folder is, by its content, and what its four folders must say of each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.folders import (
    AXES,
    FOLDERS,
    GENRE,
    MULTITASK,
    SPLITS,
    clip_files,
    inspect_clips,
    left_out,
)
from helpers.machinery.files import LabError
from helpers.machinery.identity import UNREADABLE, file_digests


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


def require_agreement(data: Path) -> None:
    """Raise LabError for the first thing that two folders or splits say differently."""
    for problem in disagreements(data):
        raise LabError(problem)


def disagreements(data: Path) -> Iterator[str]:
    """What is wrong between folders and splits, each a line; what is wrong inside one is not asked.

    The full and the beat-synchronous folder must have the same clips with the same labels, and no
    clip, by id or by content, may be in train and in test. `--skip-bad` leaves its clips out here.
    """
    rows = {(name, s): _rows(data / name, s) for name in FOLDERS for s in SPLITS}
    for name in FOLDERS:
        train, test = (rows[name, split] for split in SPLITS)
        for clip in sorted(set(train) & set(test))[:1]:
            yield f"{data / name}: clip {clip} is in train and in test; remove one of them"
        contents = ({d: c for c, d in _digests(data / name / s).items()} for s in SPLITS)
        learned, tested = contents
        same = sorted((set(learned) & set(tested)) - {UNREADABLE})
        for content in same[:1]:
            yield (
                f"{data / name}: train clip {learned[content]} and test clip {tested[content]} are "
                f"the same file ({len(same)} such pairs); what is tested must not be learned, "
                "remove one of them"
            )
    for name in (GENRE, MULTITASK):
        for split in SPLITS:
            full, beat = rows[name, split], rows[f"{name}_beat", split]
            if full and beat:
                yield from _between_forms(
                    f"{data / name}_beat/{split}_labels.txt", data / name, full, beat
                )


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


def _rows(folder: Path, split: str) -> dict[str, tuple[Any, ...]]:
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
