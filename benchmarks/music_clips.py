"""The clips of a data folder as one collection, and its folds by song.

Both folders, genre and multitask, and both their parts, train and test, are joined: with a few
hundred clips, only cross-validation over all of them tells models apart. A song may stand in both
folders (its genre clip and its multitask clip are different half minutes of it), so the folds are
made of songs, and everything that is fitted is fitted on clips of other songs than those tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from helpers.datasets import SpectrogramDataset, stratified_split
from helpers.folders import (
    AXES,
    CLASS_MAPPING,
    GENRE,
    GENRE_BEAT,
    MULTITASK,
    MULTITASK_BEAT,
    SPLITS,
    map_classes,
    open_clips,
    read_affect_labels,
)
from helpers.machinery.files import LabError
from helpers.machinery.store import FeatureStore
from helpers.notebook.records import data_fingerprint

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("full", "beat")
TASKS = ("genre", "affect")
FOLDER_OF = {
    ("genre", "full"): GENRE,
    ("genre", "beat"): GENRE_BEAT,
    ("affect", "full"): MULTITASK,
    ("affect", "beat"): MULTITASK_BEAT,
}
FIRST_ID = {"genre": 1000, "affect": 5000}  # a song's number is its clip's id minus this
NO_GENRE = "without a genre"


def song_of(task: str, clip: str) -> str:
    """The song that a clip of one of the two tasks was cut from.

    Where the ids follow no such rule, as in the lab's own folders, this joins clips at random,
    which costs nothing: they only come into the same fold.
    """
    return str(int(clip) - FIRST_ID[task]) if clip.isdigit() else f"{task} {clip}"


# ---- the collection ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Clips:
    """The labelled clips of one task in one form: a table and their frames, row for row.

    The table has the columns id, song, path, then genre, label (the class after the course's
    mapping) or the three axes.
    """

    task: str
    form: str
    tracks: pd.DataFrame
    store: FeatureStore

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, sorted."""
        return sorted(set(self.tracks["label"])) if self.task == "genre" else []

    @cached_property
    def targets(self) -> np.ndarray:
        """Class numbers [n], or the values of the axes [n, 3] float32."""
        if self.task == "affect":
            return np.ascontiguousarray(self.tracks[list(AXES)], dtype=np.float32)
        return np.searchsorted(self.classes, self.tracks["label"].to_numpy(dtype=str))

    @property
    def ids(self) -> np.ndarray:
        """The clips' ids [n]."""
        return self.tracks["id"].to_numpy(dtype=str)

    def dataset(self, feature: str = "mel") -> SpectrogramDataset:
        """All clips as the kit's Dataset, with the targets as labels and no scaler yet."""
        return JoinedDataset(self.tracks, self.store, self.targets, feature, self.classes)


class JoinedDataset(SpectrogramDataset):
    """The kit's Dataset over clips that come from several folders; nothing is read anew."""

    def __init__(
        self,
        tracks: pd.DataFrame,
        store: FeatureStore,
        targets: np.ndarray,
        feature: str = "mel",
        classes: Sequence[str] = (),
    ) -> None:
        self.folder, self.split, self.feature = Path("several folders"), "all", feature
        self.axes, self.classes = (), list(classes)
        self.scaler, self.max_frames = None, None
        self.tracks, self.store, self.labels = tracks, store, torch.from_numpy(targets)
        self._frames_on = {}


def joined_store(stores: Sequence[FeatureStore]) -> FeatureStore:
    """The clips of several stores one after the other, their frames copied into one array."""
    before = np.cumsum([0, *(len(store.frames) for store in stores)])
    return FeatureStore(
        np.concatenate([store.frames for store in stores]),
        np.concatenate([s.starts + first for s, first in zip(stores, before, strict=False)]),
        np.concatenate([store.lengths for store in stores]),
    )


@dataclass(frozen=True)
class Collection:
    """The clips of every task and form that a data folder has, and what it lacks, in words."""

    clips: dict[tuple[str, str], Clips]
    lacks: list[str]
    fingerprint: str
    _joined: dict[str, FeatureStore] = field(default_factory=dict)  # form: frames of both tasks

    def get(self, task: str, form: str) -> Clips:
        """The clips of a task in a form. Raises LabError for what the folder lacks."""
        if (task, form) not in self.clips:
            folder = FOLDER_OF[task, form]
            raise LabError(f"needs {folder}, which this data folder does not have")
        return self.clips[task, form]

    def both(self, form: str, feature: str) -> JoinedDataset:
        """The genre clips and then the multitask clips, with targets [n, classes + 3].

        What a clip does not have, its class or its axes, is NaN; a class is 1 among zeros.
        """
        import pandas as pd

        genre, affect = (self.get(task, form) for task in TASKS)
        if form not in self._joined:
            self._joined[form] = joined_store([genre.store, affect.store])
        n_genre, n_classes = len(genre.ids), len(genre.classes)
        targets = np.full((n_genre + len(affect.ids), n_classes + len(AXES)), np.nan, np.float32)
        targets[:n_genre, :n_classes] = np.eye(n_classes)[genre.targets]
        targets[n_genre:, n_classes:] = affect.targets
        tracks = pd.concat([genre.tracks, affect.tracks], ignore_index=True)
        return JoinedDataset(tracks, self._joined[form], targets, feature)


def open_collection(data: Path, answers: Path | None = None) -> Collection:
    """Read all folders of a data folder; `answers` labels the multitask test clips.

    A folder that is not there is noted, not refused, as are multitask test clips without answers.
    Raises LabError for bad labels and broken clips, and when no folder is usable at all.
    """
    withheld = None if answers is None else read_affect_labels(answers).set_index("id")
    clips, lacks = {}, []
    for (task, form), name in FOLDER_OF.items():
        if (data / name / "train").is_dir():
            clips[task, form] = _open_clips(data / name, task, form, withheld, lacks)
        else:
            lacks.append(f"{data / name}: not there; models that need it are left out")
    _keep_common(clips, lacks)
    if not clips:
        raise LabError(f"{data}: none of {', '.join(FOLDER_OF.values())} in it; see data_links.md")
    return Collection(clips, lacks, f"{data_fingerprint(data)}-{_labels_digest(clips)}")


def _labels_digest(clips: dict[tuple[str, str], Clips]) -> str:
    """Letters that change with the clips that are used, and with any label or answer."""
    content = hashlib.blake2b(digest_size=3)
    for key in sorted(clips):
        content.update(" ".join([*key, *clips[key].ids.tolist()]).encode())
        content.update(clips[key].targets.tobytes())
    return content.hexdigest()


def _open_clips(
    folder: Path, task: str, form: str, withheld: pd.DataFrame | None, lacks: list[str]
) -> Clips:
    """The labelled clips of both parts of one folder."""
    import pandas as pd

    parts = [open_clips(folder, split) for split in SPLITS if (folder / split).is_dir()]
    tracks = pd.concat([tracks for tracks, _ in parts], ignore_index=True)
    store = joined_store([store for _, store in parts])
    tracks["song"] = [song_of(task, clip) for clip in tracks["id"]]
    if task == "genre":
        tracks["label"] = map_classes(tracks["genre"].tolist(), CLASS_MAPPING)
        kept = tracks["label"].notna()
    else:
        tracks = _with_answers(tracks, withheld)
        kept = tracks[AXES[0]].notna()
        if not kept.all() and form == "full":
            lacks.append(
                f"{folder}: {int((~kept).sum())} clips without labels are left out; "
                + (
                    "give their answers with --answers"
                    if withheld is None
                    else "the file given with --answers does not have them"
                )
            )
    numbers = np.flatnonzero(kept)
    return Clips(task, form, tracks.iloc[numbers].reset_index(drop=True), store.select(numbers))


def _keep_common(clips: dict[tuple[str, str], Clips], lacks: list[str]) -> None:
    """Leave the clips that a task has in both forms, in the order of their ids, in place."""
    for task in TASKS:
        forms = [key for key in clips if key[0] == task]
        common = set.intersection(*(set(clips[key].ids) for key in forms)) if forms else set()
        for key in forms:
            ids = clips[key].ids
            kept = np.array([n for n in np.argsort(ids) if ids[n] in common], dtype=np.int64)
            if len(kept) < len(ids):
                alone = len(ids) - len(kept)
                lacks.append(f"{FOLDER_OF[key]}: {alone} clips are left out, which have no twin")
            tracks = clips[key].tracks.iloc[kept].reset_index(drop=True)
            clips[key] = Clips(*key, tracks, clips[key].store.select(kept))


def _with_answers(tracks: pd.DataFrame, withheld: pd.DataFrame | None) -> pd.DataFrame:
    """Fill the values of unlabelled clips in, where there are answers for them."""
    if withheld is None:
        return tracks
    known = withheld.reindex(tracks["id"]).reset_index(drop=True)
    return tracks.assign(**{axis: tracks[axis].fillna(known[axis]) for axis in AXES})


# ---- folds -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """One fold: the songs that are tested, and that nothing else may see."""

    repeat: int  # counted from 1
    number: int  # counted from 1
    songs: frozenset[str]

    @property
    def seed(self) -> int:
        """The seed of the repeat, for folds and models: 0 for the first one."""
        return self.repeat - 1

    def parts(self, clips: Clips) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the clips to fit on and of those to test, of any task and form."""
        tested = clips.tracks["song"].isin(self.songs).to_numpy()
        return np.flatnonzero(~tested), np.flatnonzero(tested)


def strata_of(collection: Collection) -> dict[str, str]:
    """Song -> its class; songs without a genre clip make a stratum of their own."""
    strata: dict[str, str] = {}
    for clips in collection.clips.values():
        if clips.task == "genre":
            strata |= dict(zip(clips.tracks["song"], clips.tracks["label"], strict=True))
    for clips in collection.clips.values():
        strata |= {song: NO_GENRE for song in clips.tracks["song"] if song not in strata}
    return strata


def make_folds(strata: dict[str, str], n_folds: int, repeat: int) -> list[Fold]:
    """Deal the songs into folds of the same mixture; the same ones for all tasks and forms.

    Depends on the songs, their strata and the repeat only. Raises LabError when there are fewer
    songs than folds.
    """
    if len(strata) < n_folds:
        raise LabError(f"{len(strata)} songs for {n_folds} folds; give fewer with --folds")
    songs = np.array(sorted(strata))
    names = sorted(set(strata.values()))
    labels = np.array([names.index(strata[song]) for song in songs])
    parts = stratified_split(labels, [1 / n_folds] * n_folds, repeat - 1)
    return [
        Fold(repeat, number, frozenset(songs[part].tolist()))
        for number, part in enumerate(parts, start=1)
    ]


def rare_classes(strata: dict[str, str], n_folds: int) -> list[str]:
    """A line for each class with fewer songs than folds, which some folds cannot test."""
    names = sorted(strata.values())
    counts = {name: names.count(name) for name in dict.fromkeys(names) if name != NO_GENRE}
    return [
        f"class {name}: {count} songs for {n_folds} folds, so some folds test none of it; its "
        "clips are measured where they are"
        for name, count in counts.items()
        if count < n_folds
    ]
