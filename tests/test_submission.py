"""`solution.txt`: what is refused before it is written, and in a file that is read.

Its exact form notebook 11 asks, which writes the same in two lines.
"""

import numpy as np
import pytest

from helpers.machinery.files import LabError
from helpers.submission import HEADER, check_solution, write_solution

IDS = ["123212738", "123212739"]
ROW = "123212738.fused.full.npy.gz,0.153,0.961,0.013"
OTHER = "123212739.fused.full.npy.gz,0.500,0.500,0.500"


def test_predictions_outside_the_scale_are_clipped(tmp_path):
    predictions = np.array([[-0.2, 1.7, 0.9996], [0.0004, 1.0, 0.0]], dtype=np.float32)
    lines = write_solution(tmp_path / "solution.txt", IDS, predictions).read_text().splitlines()
    assert lines[1].endswith(",0.000,1.000,1.000") and lines[2].endswith(",0.000,1.000,0.000")


@pytest.mark.parametrize(
    ("ids", "predictions", "message"),
    [
        (IDS, np.full((1, 3), 0.5), r"\(1, 3\) predictions for 2 clips and 3 axes"),
        (IDS, np.full((2, 2), 0.5), r"\(2, 2\) predictions for 2 clips and 3 axes"),
        (IDS, np.array([[0.5, 0.5, np.nan], [0.5, 0.5, 0.5]]), "some predictions are not finite"),
        (IDS, np.array([[0.5, 0.5, np.inf], [0.5, 0.5, 0.5]]), "some predictions are not finite"),
        (["7", "7"], np.full((2, 3), 0.5), "3: clip 7 stands there twice"),
    ],
)
def test_wrong_predictions_write_nothing(tmp_path, ids, predictions, message):
    with pytest.raises(LabError, match=message) as caught:
        write_solution(tmp_path / "solution.txt", ids, predictions)
    assert "solution.txt" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "solution.txt:1: the header must be"),
        (["Id,valence,energy,danceability", ROW, OTHER], ":1: the header must be"),
        ([ROW, OTHER], ":1: the header must be"),
        ([HEADER, ROW], r"missing test clips: 1 \(the first is 123212739\); .*: none; predict"),
        ([HEADER, ROW, OTHER, OTHER.replace("739", "740")], "clips: none; .*: 1 .* 123212740"),
        ([HEADER, ROW, OTHER, ROW], ":4: clip 123212738 stands there twice"),
        (
            [HEADER, ROW, "123212739,0.5,0.5,0.5"],
            ":3: '123212739' must be the clip's id and .fused",
        ),
        ([HEADER, ROW, OTHER.replace(".fused", ".x.fused")], ":3: '123212739.x.fused.*' must be"),
        ([HEADER, ROW, OTHER.replace("0.500", "high", 1)], ":3: a value is not a number"),
        ([HEADER, ROW, OTHER.replace("0.500", "nan", 1)], ":3: expected 3 values in 0..1"),
        ([HEADER, ROW, OTHER.replace("0.500", "1.5", 1)], ":3: expected 3 values in 0..1"),
        ([HEADER, ROW, OTHER + ",0.5"], ":3: expected 3 values in 0..1"),
        ([HEADER, ROW, "", OTHER], ":3: '' must be the clip's id"),
    ],
)
def test_a_bad_submission_is_named_with_its_line(lines, message):
    with pytest.raises(LabError, match=message):
        check_solution("\n".join(lines), IDS)
