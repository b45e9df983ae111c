"""`solution.txt` for Kaggle: write and validate (step 11β). Used by 11."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.folders import AXES, clip_id
from helpers.machinery.files import LabError, write_atomically

ID_SUFFIX = ".fused.full.npy.gz"
HEADER = "Id" + ID_SUFFIX + "," + ",".join(AXES)
_ANEW = "write the file anew with notebook 11"


def write_solution(path: Path, ids: Sequence[str], predictions: np.ndarray) -> Path:
    """Write one line per clip, predictions [n, 3] clipped to 0..1, three decimals; then validate.

    Raises LabError when a prediction is missing or not finite, or a clip stands there twice.
    """
    predictions = np.asarray(predictions, dtype=float)
    if predictions.shape != (len(ids), len(AXES)):
        raise LabError(
            f"{path}: {predictions.shape} predictions for {len(ids)} clips and {len(AXES)} axes; "
            "predict every clip on every axis once"
        )
    if not np.isfinite(predictions).all():
        raise LabError(f"{path}: some predictions are not finite; check the model's training")
    rows = [
        name + ID_SUFFIX + "," + ",".join(f"{value:.3f}" for value in values)
        for name, values in zip(ids, np.clip(predictions, 0, 1), strict=True)
    ]
    text = "\n".join([HEADER, *rows]) + "\n"
    check_solution(text, ids, str(path))
    write_atomically(path, text)
    return path


def check_solution(text: str, expected_ids: Sequence[str], where: str = "solution.txt") -> None:
    """Raise LabError unless the text is a whole submission for exactly the expected clips."""
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        raise LabError(f"{where}:1: the header must be {HEADER!r}; {_ANEW}")
    seen: set[str] = set()
    for number, line in enumerate(lines[1:], start=2):
        name, _, values = line.partition(",")
        clip = clip_id(name)
        if wrong := _wrong_in(name, clip, values):
            raise LabError(f"{where}:{number}: {wrong}")
        if clip in seen:
            raise LabError(f"{where}:{number}: clip {clip} stands there twice; take one line out")
        seen.add(clip)
    missing, extra = set(expected_ids) - seen, seen - set(expected_ids)
    if missing or extra:
        raise LabError(
            f"{where}: missing test clips: {_listed(missing)}; rows that belong to no test clip: "
            f"{_listed(extra)}; predict each clip of multitask_dataset/test once"
        )


def _wrong_in(name: str, clip: str, values: str) -> str:
    """What is wrong in a row; empty when nothing is."""
    if name != clip + ID_SUFFIX:
        return f"{name!r} must be the clip's id and {ID_SUFFIX}; {_ANEW}"
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        return f"a value is not a number: {values}; correct the line"
    if len(numbers) != len(AXES) or not all(0 <= value <= 1 for value in numbers):
        return f"expected {len(AXES)} values in 0..1, got {values}; correct the line"
    return ""


def _listed(ids: set[str]) -> str:
    """How many, and the first one."""
    return f"{len(ids)} (the first is {min(ids)})" if ids else "none"
