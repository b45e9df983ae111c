"""The songs of a data folder, folds of them, and a data folder in the lab's layout for each fold.

With a few hundred clips only cross-validation over all of them tells models apart, so the labelled
clips of train and test are pooled. A song may stand in both tasks (its genre clip and its affect
clip are different half minutes of it): folds are made of songs, and what is tested in one fold is
in the `test/` of all its folders.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.datasets import stratified_split
from helpers.folders import (
    AXES,
    CLASS_MAPPING,
    FOLDERS,
    GENRE,
    MULTITASK,
    SPLITS,
    read_clips,
    read_labels,
)
from helpers.machinery.files import PARTIAL_SUFFIX, LabError, write_atomically

FIRST_ID = {GENRE: 1000, MULTITASK: 5000}  # a song's number is its clip's id minus this
TWIN = {name: f"{name}_beat" for name in FIRST_ID}  # the same clips, beat-synchronous


def song_of(folder: str, clip: str) -> str:
    """The song that a clip of GENRE or MULTITASK was cut from.

    Where the ids follow no such rule, as in the lab's own folders, this joins clips at random,
    which costs nothing: they only come into the same fold.
    """
    return str(int(clip) - FIRST_ID[folder]) if clip.isdigit() else f"{folder} {clip}"


# ---- the pool ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Songs:
    """All labelled clips of a data folder.

    `clips`: for each of its folders a table with the columns id, path, song, and genre and label
    (the class after the course's mapping), or the three axes; sorted by id.
    """

    data: Path
    clips: dict[str, pd.DataFrame]
    notes: tuple[str, ...]  # what is left out

    @property
    def strata(self) -> dict[str, str]:
        """Song -> its class, or "-" where it has none, in the order of the songs' names."""
        labels = pd.concat(self.clips.values()).groupby("song")["label"].first()
        return labels.fillna("-").to_dict()

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted as the lab numbers them."""
        return sorted(set(self.clips[GENRE]["label"].dropna()))

    @property
    def digest(self) -> str:
        """Letters that change with the place, the clips, and any label or answer."""
        content = hashlib.sha256(str(self.data).encode())
        for name, clips in self.clips.items():
            content.update(name.encode() + clips.to_csv().encode())
        return content.hexdigest()[:8]

    def truth(self, folder: str) -> pd.DataFrame:
        """The answers by clip id: column `class` (its number) for GENRE, AXES for MULTITASK."""
        clips = self.clips[folder].set_index("id")
        if folder == MULTITASK:
            return clips[list(AXES)]
        labels = clips["label"].dropna().astype("category")
        return labels.cat.codes.astype(float).to_frame("class")

    def tested(self, folder: str, songs: frozenset[str]) -> list[str]:
        """The ids of the clips of GENRE or MULTITASK that a fold of these songs tests."""
        clips = self.clips[folder].dropna()
        return clips.loc[clips["song"].isin(songs), "id"].tolist()


def open_songs(data: Path, answers: Path | None) -> Songs:
    """Pool the labelled clips of both splits; `answers` holds the affect test clips' values.

    Raises LabError for another layout, and for answers that are missing or of other clips.
    """
    clips, notes = {}, []
    for name in FOLDERS:
        if name != TWIN[MULTITASK] or (data / name).is_dir():  # older uploads have none
            clips[name] = _both_splits(data / name)
    for full, beat in TWIN.items():
        forms = [name for name in (full, beat) if name in clips]
        if full == MULTITASK:
            clips |= {name: _with_answers(clips[name], answers) for name in forms}
        common = set.intersection(*(set(clips[name].dropna()["id"]) for name in forms))
        for name in forms:
            kept = clips[name][clips[name]["id"].isin(common)].sort_values("id", ignore_index=True)
            if n_lost := len(clips[name]) - len(kept):
                notes.append(f"{name}: {n_lost} clips without labels or without a twin")
            clips[name] = kept.assign(song=[song_of(full, clip) for clip in kept["id"]])
    for name in (GENRE, TWIN[GENRE]):
        clips[name]["label"] = clips[name]["genre"].map(CLASS_MAPPING)
    return Songs(data, clips, tuple(notes))


def _both_splits(folder: Path) -> pd.DataFrame:
    clips = pd.concat([read_clips(folder, split) for split in SPLITS], ignore_index=True)
    twice = clips["id"][clips["id"].duplicated()]
    if len(twice):
        raise LabError(f"{folder}: clip {twice.iloc[0]} is in train and in test; remove one")
    return clips


def _with_answers(clips: pd.DataFrame, answers: Path | None) -> pd.DataFrame:
    """Fill in the withheld values of clips without labels.

    Raises LabError where the file is missing, or says nothing of one of them.
    """
    if answers is None:
        return clips
    if not answers.is_file():
        problem = f"{answers}: no such file; give the affect test clips' values with --answers"
        raise LabError(problem)
    known = read_labels(answers, AXES).set_index("id")
    absent = clips.loc[clips[AXES[0]].isna() & ~clips["id"].isin(known.index), "id"]
    if len(absent):
        raise LabError(f"{answers}: no answer for clip {absent.iloc[0]}; give those of these data")
    return clips.set_index("id").fillna(known).reset_index()


# ---- folds -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """The songs that are tested, and that nothing else may see; repeats and folds count from 1."""

    repeat: int
    number: int
    songs: frozenset[str]

    @property
    def name(self) -> str:
        """For folders and runs: r1-f1."""
        return f"r{self.repeat}-f{self.number}"


def make_folds(songs: Songs, n_folds: int, repeat: int) -> list[Fold]:
    """Deal the songs into folds of the same mixture; depends on songs, classes and repeat only.

    Raises LabError where a class has fewer songs than folds, or a fold would test no affect clip.
    """
    strata = songs.strata
    if n_folds < 2:
        raise LabError(f"--folds {n_folds}: what is tested must not be trained on; give 2 or more")
    for name in songs.classes:
        count = list(strata.values()).count(name)
        if count < n_folds:
            problem = f"class {name}: {count} songs for {n_folds} folds, so a fold would miss it"
            raise LabError(f"{problem}; give fewer with --folds")
    groups = sorted(set(strata.values()))
    labels = np.array([groups.index(group) for group in strata.values()])
    names = np.array(list(strata))
    parts = [names[p].tolist() for p in stratified_split(labels, [1 / n_folds] * n_folds, repeat)]
    folds = [Fold(repeat, number, frozenset(part)) for number, part in enumerate(parts, start=1)]
    for fold in folds:
        if not songs.clips[MULTITASK]["song"].isin(fold.songs).any():
            raise LabError(f"fold {fold.name} has no affect clip; give fewer with --folds")
    return folds


def write_fold(songs: Songs, fold: Fold, folder: Path) -> None:
    """Make a data folder in the lab's layout with links to the clips; one that is there is kept.

    The tested songs are `test/` in all folders; there the affect clips have no labels.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    for name, clips in songs.clips.items():
        tested = clips["song"].isin(fold.songs)
        _write_split(partial / name, "train", clips[~tested])
        _write_split(partial / name, "test", clips[tested])
    os.replace(partial, folder)


def _write_split(folder: Path, split: str, clips: pd.DataFrame) -> None:
    (folder / split).mkdir(parents=True)
    for path in clips["path"]:
        # Not a hard link: it would change the time that tells a clip's packed form from another's.
        (folder / split / Path(path).name).symlink_to(Path(path).resolve())
    if "genre" in clips:
        table = clips.rename(columns={"id": "Id", "genre": "Genre"})[["Id", "Genre"]]
        text = table.sort_values("Genre", kind="stable").to_csv(sep="\t", index=False)
    elif split == "train":
        table = clips.rename(columns={"id": "Id"})[["Id", *AXES]]
        text = table.to_csv(index=False, float_format="%.3f")
    else:
        return
    write_atomically(folder / f"{split}_labels.txt", text)
