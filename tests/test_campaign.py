"""The quick part of the campaigns; `python -m tests.campaign` is the whole."""

from __future__ import annotations

from pathlib import Path

from tests.campaign import COMPLETED, GOOD, NOTICED, REFUSED, SAME, Start, folders, kills
from tests.small_lab import SmallLab


def test_spoiled_data_give_the_same_or_one_line_and_never_other_numbers(tmp_path, home):
    verdicts = dict(folders(80, seed=20_000, place=tmp_path))
    assert {case: verdict for case, verdict in verdicts.items() if verdict not in GOOD} == {}
    assert {REFUSED, SAME, NOTICED} <= set(verdicts.values())


def small_lab(root: Path) -> tuple[SmallLab, Start]:
    """Notebooks that train nothing."""
    small = SmallLab.made(root)
    return small, small.start


def test_a_run_that_is_killed_is_completed_by_the_next_one(tmp_path):
    ((_, verdict),) = kills(1, seed=0, place=tmp_path, made=small_lab)
    assert verdict == COMPLETED
