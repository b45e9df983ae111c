"""What data that were built from a user's own audio say beside the lab's four folders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from helpers.machinery.files import LabError, read_text

CLASSES, CLIPS = "classes.csv", "clips.csv"  # genre to class, and what each clip is


def read_classes(path: Path) -> dict[str, str | None]:
    """Genre to class, of a file with the header `genre,class`; empty where there is none.

    An empty class drops the genre. Raises LabError, with its line, for what is no such row.
    """
    if not path.is_file():
        return {}
    mapping: dict[str, str | None] = {}
    header, *rows = read_text(path).splitlines() or [""]
    for number, row in enumerate(rows, start=2):
        genre, comma, name = map(str.strip, row.partition(","))
        if not (genre and comma) or genre in mapping or '"' in row or "," in name:
            raise LabError(f"{path}:{number}: expected genre,class, once a genre; correct the line")
        mapping[genre] = name or None
    if header.strip() != "genre,class" or not mapping:
        raise LabError(f"{path}:1: expected the header genre,class, and rows; build the data again")
    return mapping


def artists_of(data: Path, ids: Sequence[str]) -> list[str] | None:
    """Which of these clips share an artist or album: a name for each clip, from `clips.csv`.

    None where nobody says, as in the lab's own data. Raises LabError for a damaged file.
    """
    import pandas as pd

    path = data / CLIPS
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, usecols=["id", "group"], dtype=str, keep_default_na=False)
    except ValueError as error:
        raise LabError(f"{path}: cannot be read ({error}); build the data again") from None
    group_of = dict(zip(table["id"], table["group"], strict=True))
    return [group_of.get(clip) or f"clip {clip}" for clip in ids]


def grouped_split(
    labels: np.ndarray, shares: np.ndarray, seed: int, groups: np.ndarray
) -> list[np.ndarray]:
    """Clip numbers by part, so that no group is divided: folds of scikit-learn's, the last first.

    `labels` are class numbers or real values, `shares` the parts' sizes, adding up to 1.

    A class that a part lacks gets its smallest group there, as far as the first part keeps one.
    """
    labels = _as_classes(labels)
    part = np.zeros(len(labels), dtype=int)
    for number in range(len(shares) - 1, 0, -1):
        left = np.flatnonzero(part == 0)
        wanted = shares[number] / shares[: number + 1].sum()
        folds = group_folds(labels[left], round(1 / wanted), seed, groups[left])
        if not folds:
            raise LabError(f"{len(set(groups))} artist(s) cannot be split into {len(shares)} parts")
        part[left[min(folds, key=lambda fold: abs(len(fold) - wanted * len(left)))]] = number
    for number, label in product(range(len(shares)), np.unique(labels)):
        if (part[labels == label] == number).any():
            continue
        names, sizes = np.unique(groups[labels == label], return_counts=True)
        for name in names[np.argsort(sizes, kind="stable")]:
            moved = np.where(groups == name, number, part)
            learned = np.unique(labels[moved == 0])  # what is tested must be learned
            if number == 0 or (part[groups == name] == 0).all() and np.isin(labels, learned).all():
                part = moved
                break
    return [np.flatnonzero(part == number) for number in range(len(shares))]


def group_folds(
    labels: np.ndarray, n_folds: int, seed: int, groups: np.ndarray
) -> list[np.ndarray]:
    """The clip numbers of each fold, stratified, no group divided; none where that cannot be.

    `labels` as above. There are fewer folds where there are too few groups, or clips of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = _as_classes(labels)
    most = min(len(set(groups)), np.unique(labels, return_counts=True)[1].max())
    if most < 2:
        return []
    folds = StratifiedGroupKFold(int(np.clip(n_folds, 2, most)), shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a small class
        return [fold for _, fold in folds.split(labels, labels, groups) if len(fold)]


def _as_classes(labels: np.ndarray) -> np.ndarray:
    """Class numbers as they are; of real values, in which fifth each lies."""
    if labels.dtype.kind != "f":
        return labels
    return np.searchsorted(np.quantile(labels, (0.2, 0.4, 0.6, 0.8)), labels)
