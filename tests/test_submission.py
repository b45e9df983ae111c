"""`solution.txt`: what is refused before it is written.

Its exact form notebook 11 asks, which writes the same in two lines; what is refused in a file that
is read stands in the table of wrong input.
"""

import numpy as np
import pytest

from helpers.machinery.files import LabError
from helpers.submission import write_solution

IDS = ["123212738", "123212739"]


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
        (["7", "7"], np.full((2, 3), 0.5), "3: clip 7 stands there twice"),
    ],
)
def test_wrong_predictions_write_nothing(tmp_path, ids, predictions, message):
    with pytest.raises(LabError, match=message) as caught:
        write_solution(tmp_path / "solution.txt", ids, predictions)
    assert "solution.txt" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
