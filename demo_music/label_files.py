"""The label files of the lab's four folders, with their quirks, for data that are made here.

`clips` is a table, sorted as the files shall be, with the columns id, genre ("" outside the genre
folders), split, and valence, energy and danceability (NaN outside the multitask folders).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from helpers.folders import AXES, GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT, SPLITS

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = "multitask_test_answers.csv"  # what the multitask test folder withholds
NAMES = {  # what the lab's own label files call a clip: not what it is called on disk
    (GENRE, "train"): "fused.full.npy.gz", (GENRE, "test"): "full.fused.npy.gz",
    (GENRE_BEAT, "train"): "beatsync.fused.npy.gz", (GENRE_BEAT, "test"): "beatsync.fused.npy.gz",
}  # fmt: skip


def part_of(clips: pd.DataFrame, folder: str, split: str) -> pd.DataFrame:
    """The clips of one split of one of the folders."""
    has = clips["genre"] != "" if folder in (GENRE, GENRE_BEAT) else clips[AXES[0]].notna()
    return clips[has & (clips["split"] == split)]


def label_files(clips: pd.DataFrame, numbers: str) -> dict[str, str]:
    """The contents of the label files and of the answers, by path; values are written as `%.3f`."""
    files = {}
    for (folder, split), name in NAMES.items():
        part = part_of(clips, folder, split).sort_values("genre", kind="stable")
        lines = part["id"] + f".{name}\t" + part["genre"]
        files[f"{folder}/{split}_labels.txt"] = "\n".join(["Id\tGenre", *lines]) + "\n"
    for folder, split in product((MULTITASK, MULTITASK_BEAT), SPLITS):
        part = part_of(clips, folder, split)[["id", *AXES]].rename(columns={"id": "Id"})
        if len(part):
            place = ANSWERS if split == "test" else f"{folder}/train_labels.txt"
            part = part.astype(dict.fromkeys(AXES, float))
            files[place] = part.to_csv(index=False, float_format=numbers, lineterminator="\n")
    return files
