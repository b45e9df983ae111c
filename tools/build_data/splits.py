"""Which of the clips that were made are kept, and in which split: no leaks.

A clip that is there twice is kept once. Clips of one artist (of one album, where no artist is
known) stand in one split: a network that knows a band's sound has not learned its genre.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from helpers.folders import AXES, SPLITS
from helpers.machinery.files import LabError
from tools.build_data.inputs import kept, leave_out

if TYPE_CHECKING:
    import pandas as pd

# Decibels, root mean square between fingerprints. Measured: other encodings of 15 recordings
# differ by 0.06 to 1.8 (median 0.5), the nearest different ones of 597 clips by more than 2.0.
NEAR = 1.5
COMPONENTS = 8  # of fingerprints, by which near ones are found
TEST_SHARE = 0.2  # as in the lab's data
FEWEST_AFFECT = 4  # clips to train on: fewer are no data for the lab
HOW = ("official", "artist", "random")


def leave_copies_out(clips: pd.DataFrame) -> None:
    """Keep the first of clips with the same samples, and of those with nearly the same features."""
    numbers, audio = kept(clips).index.to_series(), kept(clips)["audio"]
    _leave_out(clips, "exactly", numbers.groupby(audio).transform("first"))
    _leave_out(clips, "nearly", _first_alike(kept(clips)["print"]))


def _leave_out(clips: pd.DataFrame, how: str, first: pd.Series) -> None:
    """Leave out the clips whose first of their kind, by number, is another one."""
    own, other = clips.loc[first.index], clips.loc[first].set_axis(first.index)
    called = (", there called " + other["genre"]).mask(own["genre"] == other["genre"], "")
    reason = f"{how} the same sound as " + other["id"] + " (" + other["path"] + ")" + called
    leave_out(clips, first != first.index, reason)


def _first_alike(prints: pd.Series) -> pd.Series:
    """The first clip that is kept and nearly the same as a clip, or that clip itself: numbers.

    Only clips that are near in their first principal components can be near at all, so few pairs
    are compared whole: 100,000 clips take 6 s.
    """
    from scipy.spatial import KDTree
    from sklearn.decomposition import PCA

    numbers = prints.index.to_series()
    if len(prints) < 2:
        return numbers
    vectors = np.stack([np.frombuffer(base64.b64decode(text), np.float16) for text in prints])
    vectors = vectors.astype(np.float32)
    radius = NEAR * vectors.shape[1] ** 0.5  # of the whole distance
    few = PCA(min(COMPONENTS, len(vectors)), svd_solver="covariance_eigh").fit_transform(vectors)
    tree, first = KDTree(few), np.arange(len(few))
    for number, place in enumerate(few):
        others = np.array(tree.query_ball_point(place, 1.001 * radius))  # 0.001: for rounding
        others = others[(others < number) & (first[others] == others)]
        distances = np.linalg.norm(vectors[others] - vectors[number], axis=1)
        first[number] = min(others[distances <= radius], default=number)
    return numbers.iloc[first].set_axis(prints.index)


def set_splits(clips: pd.DataFrame, how: str | None, seed: int) -> tuple[str, list[str]]:
    """Give each clip its split, or a reason why it has none; how, and what is to be said of it.

    `how`: `official` (the manifest's), `artist`, `random`; None takes the first that is possible.
    Raises LabError where no split is possible.
    """
    genre, split, group = clips["genre"], clips["split"], clips["group"]
    times = kept(clips)["genre"].value_counts()
    leave_out(
        clips, (genre != "") & (genre.map(times) == 1), "the only clip of its genre: " + genre
    )
    some = kept(clips)
    if (n_genres := len(set(some["genre"]) - {""})) < 2:
        raise LabError(
            f"{len(some)} clips of {n_genres} genre(s) are left, and two genres of two clips are "
            "needed; rejected.csv says what was left out"
        )
    notes, without = [], int((some["split"] == "").sum())
    if how is None and 0 < without < len(some):
        notes.append(
            f"{without} clips have no split, so the given one was not taken (--split official "
            "takes it, and leaves them out)"
        )
    how = how or ("artist" if without else "official")
    if how == "official":
        tested = set(some.loc[some["split"] == "test", "group"]) - {""}
        leave_out(clips, split == "", "has no split; give one, or --split artist")
        leaks = (split == "train") & group.isin(tested)
        leave_out(clips, leaks, "is in the test split, too: " + group)
        trained = genre[(split == "train") & (clips["reason"] == "")]
        leave_out(clips, ~genre.isin(trained), "no training clip of its genre is left: " + genre)
    else:
        clips.loc[some.index, "split"] = _drawn(some, how == "artist", seed)
    some = kept(clips)
    if set(some["split"]) != {"train", "test"}:
        other = "artist" if how == "official" else "random"
        raise LabError(f"--split {how} leaves no clip in train or in test; try --split {other}")
    if how == "random" and (some["group"] != "").any():
        notes.append("--split random: an artist may be in train and in test; scores will flatter")
    if n := int((~some["group"].str.match("artist |album ")).sum()):
        notes.append(
            f"{n} of {len(some)} clips name neither artist nor album: songs of one artist may be "
            "in train and in test, and scores will flatter (71 % fell to 27 % in one study)"
        )
    for name in sorted(set(some["genre"]) - set(some.loc[some["split"] == "test", "genre"])):
        notes.append(f"no clip of {name or 'affect'} is in the test split: too few artists")
    return how, notes


def with_enough_affect(clips: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The clips, without affect values where a split has too few; and what is to be said of it."""
    has = clips[AXES[0]].notna()
    n_train, n_test = (int((clips.loc[has, "split"] == split).sum()) for split in SPLITS)
    if not has.any() or n_train >= FEWEST_AFFECT and n_test:
        return clips, []
    said = f"{n_train} clips with affect values to train on and {n_test} to test on are too few"
    return clips.assign(**dict.fromkeys(AXES, np.nan)), [f"{said}: steps 8 to 11 are left out"]


def _drawn(clips: pd.DataFrame, by_artist: bool, seed: int) -> np.ndarray:
    """A stratified split, `train` or `test` for each clip; `by_artist` divides no group."""
    from helpers.datasets import stratified_split

    alone = clips["group"] == ""
    groups = clips["group"].mask(alone, "clip " + clips["id"]).tolist() if by_artist else None
    genres = np.unique(clips["genre"], return_inverse=True)[1]
    try:
        parts = stratified_split(genres, (1 - TEST_SHARE, TEST_SHARE), seed, groups)
    except LabError as error:
        raise LabError(f"{error}; --split random divides an artist's clips") from None
    splits = np.full(len(clips), "train", dtype=object)
    splits[parts[1]] = "test"
    return splits
