"""The quick part of the campaign against the data door; `python -m tests.campaign` is the whole."""

from __future__ import annotations

from tests.campaign import GOOD, REFUSED, SAME, folders


def test_spoiled_data_give_the_same_or_one_line_and_never_other_numbers(tmp_path, home):
    verdicts = dict(folders(20, seed=20_000, place=tmp_path))
    assert {case: verdict for case, verdict in verdicts.items() if verdict not in GOOD} == {}
    assert {REFUSED, SAME} <= set(verdicts.values())
