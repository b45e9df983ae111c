"""The explorers: controls with all that they need. test_browser tries in a browser what they do."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from PIL import Image

from helpers.datasets import genre_splits
from helpers.folders import GENRE
from helpers.machinery.files import LabError, demo_data
from helpers.machinery.process import seed_everything
from helpers.models import Classifier, CNNBackbone
from helpers.notebook import explorers, records
from helpers.notebook.records import Record

CLASSES = ["Blues", "Pop", "Rock"]
TRUE = np.array([0, 0, 1, 1, 1, 1])  # no clip of Rock
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0],
     [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.6, 0.4, 0.0]]
)  # fmt: skip
COUNTS = {"one large class": [[90, 5, 5], [4, 1, 0], [3, 0, 2]], "even": [[9, 1, 0]] * 3}


def small_cnn() -> Classifier:
    seed_everything(0)
    return Classifier(CNNBackbone(128, (2, 2, 2, 4)), n_classes=3)


EXPLORERS: dict[str, Callable[[Record], None]] = {
    "clips": explorers.two_clips,
    "threshold": lambda record: explorers.threshold(record, TRUE, PROBABILITIES, CLASSES),
    "neighbours": lambda record: explorers.neighbours(
        record, small_cnn(), genre_splits(record.data / GENRE, "mel", 0).train
    ),
}


@pytest.fixture
def record(mini_data: Path, home: Path) -> Record:
    return records.open_record("01_visualization", mini_data, 0)


def offered(outputs: list[Any]) -> dict[str, Any]:
    """The data of the controls that were shown last."""
    place = BeautifulSoup(outputs[-1]["text/html"], "html.parser").find(class_="explorer")
    return json.loads(place["data-explorer"])


@pytest.mark.parametrize("name", EXPLORERS)
def test_controls_are_shown_with_the_script_and_a_plain_script_says_where(
    record, outputs, name, monkeypatch, capsys
):
    EXPLORERS[name](record)
    (controls,) = outputs
    script = explorers.SCRIPT.read_text(encoding="utf-8")
    assert controls["text/html"].endswith(f"<script>{script}</script>")
    assert "</script" not in script and "<!--" not in script
    monkeypatch.setattr("helpers.notebook.showing._in_notebook", lambda: False)
    EXPLORERS[name](record)
    assert len(outputs) == 1 and "on the page of 01_visualization" in capsys.readouterr().out


def test_data_cannot_leave_the_place_they_stand_in(outputs):
    evil = "</div><script>alert(1)</script>\"'"
    explorers.confusion({evil: [[1]]}, [evil])
    page = BeautifulSoup(outputs[0]["text/html"], "html.parser")
    assert len(page("script")) == 1 and list(offered(outputs)["examples"]) == [evil]


def test_whether_a_score_reaches_a_threshold_survives_the_rounding(record, outputs):
    scores = np.array([[0.29, 0.71], [0.57, 0.43], [0.49999, 0.50001]])
    explorers.threshold(record, np.array([0, 1, 1]), scores, ["A", "B"])
    assert offered(outputs)["scores"] == [[2900, 7100], [5700, 4300], [4999, 5000]]


# ---- clips -------------------------------------------------------------------------------------


def test_two_clips_begin_as_asked_and_have_four_pictures_and_an_approximate_sound(record, outputs):
    explorers.two_clips(record, ["International", "Hip-Hop"])
    data = offered(outputs)
    titles = [clip["title"] for clip in data["clips"]]
    assert [titles[i].split(" (")[0] for i in data["begin"]] == ["International", "Hip-Hop"]
    assert len(titles) == 3 + 3 + 2, "three of each of the two, and one of each other genre"
    for number, clip in enumerate(data["clips"]):
        sizes = [picture_of(one).size for one in clip["pictures"]]
        assert [high for _, high in sizes] == [128, 128, 12, 12] and sizes[0][0] > sizes[1][0]
        begins = number in data["begin"]
        assert clip["note"] == (explorers.APPROXIMATE if begins else "none")
        assert bool(clip["sound"]) == begins


def picture_of(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_has_the_lowest_band_below_and_is_narrowed(outputs):
    array = np.full((128, 1292), -80.0)
    array[0] = 0
    picture = picture_of(explorers._picture(array, "mel", 160, 64)).convert("L")
    assert picture.size == (160, 64)
    shades = np.asarray(picture)
    assert (shades[-1] > shades[0]).all() and len(np.unique(shades[:-1])) == 1


def test_a_clip_with_audio_is_offered_first_and_heard_as_it_is(mini_data, home, outputs):
    folder = home / ".cache" / "demo"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(mini_data)
    record = records.open_record("01_visualization", demo_data(), 0)
    tracks = explorers._TrainingClips(mini_data).full
    clip = tracks.index[tracks["genre"] == "Classical"][-1]
    (folder / "complete.json").write_text('{"size": 1.0}')
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / f"{clip}.flac", np.zeros(22050 * 12), 22050)
    explorers.two_clips(record)
    data = offered(outputs)
    first = data["clips"][data["begin"][0]]
    assert (first["title"], first["note"]) == (f"Classical (clip {clip})", "the first 10 seconds")
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(first["sound"])))
    assert rate == 22050 and len(sound) / rate == pytest.approx(10, abs=0.2)
    assert explorers._TrainingClips(mini_data).audible == [], "its ids mean nothing in other data"


# ---- neighbours, and wrong choices -------------------------------------------------------------


def test_neighbours_are_others_and_the_first_clip_is_the_most_confident_error(
    record, outputs, monkeypatch
):
    train = genre_splits(record.data / GENRE, "mel", 0).train
    seen = explorers._SeenByModel(small_cnn(), train, 4, "cpu")
    for clip in range(len(train)):
        near = seen.nearest(clip)
        assert clip not in near and len(set(near)) == explorers.N_NEIGHBOURS
        likeness = seen.likeness[clip, near]
        assert (np.diff(likeness) <= 1e-6).all() and likeness.max() <= 1 + 1e-5
    begin = seen.most_confident_error()
    assert seen.answers[begin] != seen.labels[begin]
    monkeypatch.setattr(explorers, "MOST_CLIPS", 3)
    explorers.neighbours(record, small_cnn(), train)
    data = offered(outputs)
    clips = data["clips"]
    assert clips[data["begin"]]["title"] == seen.names[begin]
    assert 3 <= sum(bool(clip["near"]) for clip in clips) <= 4 < len(clips)
    near = [clips[i]["title"] for i, _ in clips[data["begin"]]["near"]]
    assert near == [seen.names[i] for i in seen.nearest(begin)]
    seen.answers = list(seen.labels)
    assert seen.most_confident_error() == 0, "no error: the first clip"


def test_wrong_choices_are_one_line(record):
    with pytest.raises(LabError, match="no training clip of genre 'Clasical' .did you mean"):
        explorers.two_clips(record, ["Clasical", "Hip-Hop"])
    with pytest.raises(LabError, match="do not belong to 6 clips and 2 classes"):
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES[:2])
