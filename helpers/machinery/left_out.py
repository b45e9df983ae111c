"""What `--skip-bad` has found, and loaders leave out: `$MUSICLAB_LEFT_OUT` names its list."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from helpers.machinery.files import LabError

# What is wrong with a split, by where it is: `line 7` of the label file, a clip's id, or all of it.
Problems = dict[str, str]


def left_out(folder: Path, split: str) -> Problems:
    """What is to be left out of a split, and why. Raises LabError for a list that is none."""
    path = os.environ.get("MUSICLAB_LEFT_OUT")
    return read_left_out(path).get(f"{folder.name}/{split}", {}) if path else {}


@cache
def read_left_out(path: str) -> dict[str, Problems]:
    """The whole list, by `folder/split`."""
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8"))["left_out"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LabError(
            f"{path}: no list of clips to leave out ({error}); give ./run_all.sh --skip-bad again"
        ) from None


@cache
def tell_once(text: str) -> None:
    """Say why something is left out, unless this process has said so."""
    if text:
        print(f"left out (--skip-bad): {text}")
