"""Which of the clips that were made are kept, and in which split: no leaks.

A clip that is there twice is kept once. Clips of one artist (of one album, where no artist is
known) stand in one split: a network that knows a band's sound has not learned its genre.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from helpers.machinery.files import LabError
from tools.build_data.clip import Row
from tools.build_data.inputs import Clip, Rejected

# Decibels, root mean square between fingerprints. Measured: other encodings of 15 recordings
# differ by 0.06 to 1.8 (median 0.5), the nearest different ones of 597 clips by more than 2.0.
NEAR = 1.5
TEST_SHARE = 0.2  # as in the lab's data
HOW = ("official", "artist", "random")


def without_copies(
    clips: Sequence[Clip], rows: Mapping[str, Row]
) -> tuple[list[Clip], list[Rejected]]:
    """Keep the first of clips with the same samples, or with nearly the same features."""
    kept: list[Clip] = []
    rejected: list[Rejected] = []
    first: dict[str, Clip] = {}
    for clip in clips:
        other = first.setdefault(rows[clip.id]["audio"], clip)
        if other is clip:
            kept.append(clip)
        else:
            rejected.append(clip.rejected(_copy("exactly", clip, other)))
    near = _nearest_before([rows[clip.id]["print"] for clip in kept])
    left = []
    for number, clip in enumerate(kept):
        if number in near:
            rejected.append(clip.rejected(_copy("nearly", clip, kept[near[number]])))
        else:
            left.append(clip)
    return left, rejected


def _copy(how: str, clip: Clip, other: Clip) -> str:
    genre = f", there called {other.genre}" if clip.genre != other.genre else ""
    return f"{how} the same sound as {other.id} ({other.path}){genre}"


def _nearest_before(prints: Sequence[str], at_a_time: int = 2048) -> dict[int, int]:
    """For a clip that is nearly the same as one before it: that one, by number.

    Distances of all pairs, in blocks: 106,574 clips are some 3 TFLOP, a minute of two cores.
    """
    if not prints:
        return {}
    vectors = np.stack([np.frombuffer(base64.b64decode(text), np.float16) for text in prints])
    vectors = vectors.astype(np.float32) - np.float32(vectors.astype(np.float32).mean())
    squares = np.einsum("ij,ij->i", vectors, vectors)
    limit, found = vectors.shape[1] * NEAR**2, {}
    for start in range(0, len(vectors), at_a_time):
        some = slice(start, start + at_a_time)
        for begin in range(0, start + 1, at_a_time):
            others = slice(begin, begin + at_a_time)
            distance = squares[some, None] + squares[None, others]
            distance -= 2 * vectors[some] @ vectors[others].T
            for one, other in zip(*np.nonzero(distance < limit), strict=True):
                one, other = int(one) + start, int(other) + begin
                if other < one and other not in found:
                    found.setdefault(one, other)
    return found


def with_splits(
    clips: Sequence[Clip], how: str | None, seed: int
) -> tuple[list[Clip], list[Rejected], list[str]]:
    """The clips with their splits, what is left out for it, and what is to be said of it.

    `how`: `official` (the manifest's), `artist`, `random`; None takes the first that is possible.
    Raises LabError where no split is possible.
    """
    rejected = []
    many = {genre for genre, times in Counter(clip.genre for clip in clips).items() if times > 1}
    for clip in clips:
        if clip.genre and clip.genre not in many:
            rejected.append(clip.rejected(f"the only clip of the genre {clip.genre}"))
    clips = [clip for clip in clips if clip.genre in many or not clip.genre]
    many.discard("")
    if len(many) < 2:
        raise LabError(
            f"{len(clips)} clips of {len(many)} genre(s) are left, and two genres of two clips are "
            "needed; rejected.csv says what was left out"
        )
    how = how or ("official" if all(clip.split for clip in clips) else "artist")
    notes = []
    if how == "official":
        tested = {clip.group for clip in clips if clip.split == "test" and clip.group}
        for clip in clips:
            if not clip.split:
                rejected.append(clip.rejected("has no split; give one, or --split artist"))
            elif clip.split == "train" and clip.group in tested:
                rejected.append(clip.rejected(f"its {clip.group} is in the test split, too"))
        out = {one.id for one in rejected}
        clips = [clip for clip in clips if clip.id not in out]
        untrained = {c.genre for c in clips} - {c.genre for c in clips if c.split == "train"}
        for clip in clips:
            if clip.genre in untrained:
                rejected.append(clip.rejected(f"no training clip of {clip.genre} is left"))
        clips = [clip for clip in clips if clip.genre not in untrained]
        if {clip.split for clip in clips} != {"train", "test"}:
            raise LabError("the official split leaves no clip in train or test; --split artist")
    else:
        clips = _drawn(clips, how == "artist", seed)
    if how == "random" and any(clip.group for clip in clips):
        notes.append("--split random: an artist may be in train and in test; scores will flatter")
    if not all(clip.group for clip in clips):
        n = sum(not clip.group for clip in clips)
        notes.append(
            f"{n} of {len(clips)} clips name neither artist nor album: songs of one artist may be "
            "in train and in test, and scores will flatter (71 % fell to 27 % in one study)"
        )
    for genre in sorted({c.genre for c in clips} - {c.genre for c in clips if c.split == "test"}):
        notes.append(f"no clip of {genre or 'affect'} is in the test split: too few artists")
    return clips, rejected, notes


def _drawn(clips: Sequence[Clip], by_artist: bool, seed: int) -> list[Clip]:
    """The clips with a stratified split; with `by_artist` no group is divided by it."""
    from helpers.datasets import stratified_split

    groups = [clip.group or f"clip {clip.id}" for clip in clips] if by_artist else None
    genres = np.unique([clip.genre for clip in clips], return_inverse=True)[1]
    try:
        parts = stratified_split(genres, (1 - TEST_SHARE, TEST_SHARE), seed, groups)
    except LabError as error:
        raise LabError(f"{error}; --split random divides an artist's clips") from None
    tested = set(parts[1].tolist())
    return [replace(c, split="test" if n in tested else "train") for n, c in enumerate(clips)]
