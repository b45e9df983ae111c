"""The explorers: with controls a choice changes the picture; without, one fixed choice is shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from helpers.datasets import genre_splits
from helpers.folders import GENRE
from helpers.machinery.files import LabError, demo_data
from helpers.machinery.process import seed_everything
from helpers.models import Classifier, CNNBackbone
from helpers.notebook import explorers, records, showing
from helpers.notebook.records import Record

CLASSES = ["Blues", "Pop", "Rock"]
TRUE = np.array([0, 0, 1, 1, 1, 1])  # no clip of Rock
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0],
     [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.6, 0.4, 0.0]]
)  # fmt: skip


def small_cnn() -> Classifier:
    seed_everything(0)
    return Classifier(CNNBackbone(128, (2, 2, 2, 4)), n_classes=3)


EXPLORERS: dict[str, Callable[[Record], None]] = {
    "explore_clips": explorers.two_clips,
    "explore_threshold": lambda record: explorers.threshold(record, TRUE, PROBABILITIES, CLASSES),
    "explore_neighbours": lambda record: explorers.neighbours(
        record, small_cnn(), genre_splits(record.data / GENRE, "mel", 0).train
    ),
}
CONTROLS = ("Dropdown", "FloatSlider", "Button")
each = pytest.mark.parametrize("name", EXPLORERS)


class Screen:
    """What a notebook shows: widgets and other things, and a picture that may be replaced."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.place: str | None = None

    def display(self, thing: Any, display_id: str | None = None, metadata: Any = None) -> None:
        self.shown.append(thing)
        self.place = display_id or self.place

    def update_display(self, thing: Any, display_id: str) -> None:
        assert display_id == self.place, "another picture would be replaced"
        self.shown.append(thing)

    def all(self, *kinds: str) -> list[Any]:
        """Everything of these kinds that was shown until now, the latest last."""
        found, waiting = [], list(self.shown)
        while waiting:
            thing = waiting.pop(0)
            waiting += getattr(thing, "children", ())
            found.append(thing)
        return [thing for thing in found if type(thing).__name__ in kinds]

    @property
    def texts(self) -> str:
        return " ".join(one.value for one in self.all("HTML"))

    @property
    def pictures(self) -> list[Any]:
        return self.all("Image")

    def find(self, description: str) -> Any:
        """The control with this description."""
        (found,) = (one for one in self.all(*CONTROLS) if one.description == description)
        return found


@pytest.fixture
def record(mini_data: Path, home: Path) -> Record:
    return records.open_record("01_visualization", mini_data, 0)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """As in JupyterLab: there can be controls."""
    screen = Screen()
    monkeypatch.setattr(explorers, "_advice", str)
    monkeypatch.setattr(showing, "_in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", screen.display)
    monkeypatch.setattr("IPython.display.update_display", screen.update_display)
    return screen


def stored(record: Record, name: str) -> bytes:
    return (record.folder / "figures" / f"{name}.png").read_bytes()


# ---- without controls --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headless", "kernel", "advice"),
    [
        ("1", True, "JupyterLab"),  # run by the runner
        ("0", False, "JupyterLab"),  # a terminal's IPython
        ("0", True, ""),
    ],
)
def test_controls_are_left_out_where_they_cannot_be_shown(monkeypatch, headless, kernel, advice):
    monkeypatch.setenv("MUSICLAB_HEADLESS", headless)
    shell = SimpleNamespace(kernel=object() if kernel else None)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert advice in explorers._advice()
    assert bool(explorers._advice()) == bool(advice)


# ---- with controls -----------------------------------------------------------------------------


@each
def test_it_opens_with_the_fixed_choice_and_says_what_each_control_is_for(record, screen, name):
    EXPLORERS[name](record)
    (picture,) = screen.pictures
    assert picture.data == stored(record, name) and picture.alt
    told = [control.description for control in screen.all(*CONTROLS)]
    assert len(told) >= 2 and all(told) and len(set(told)) == len(told)
    for slider in screen.all("FloatSlider"):
        assert slider.continuous_update is False, "it draws when it is let go"


CHANGES = [
    ("explore_clips", "first genre", "Hip-Hop", "Hip-Hop (clip "),
    ("explore_clips", "picture", "beat chroma", "chromagram, frequency up, beat number"),
    ("explore_threshold", "threshold", 0.65, "Pop from 0.65 on: precision 1.00, recall 0.50"),
    ("explore_threshold", "class (clips)", 0, "Blues from 0.50 on: precision 0.50, recall 0.50"),
    ("explore_neighbours", "class", "Hip-Hop", "Hip-Hop (clip "),
]


@pytest.mark.parametrize(("name", "control", "value", "told"), CHANGES)
def test_a_choice_draws_another_picture_once(record, screen, name, control, value, told):
    EXPLORERS[name](record)
    fixed = stored(record, name)
    screen.find(control).value = value
    before, after = screen.pictures
    assert told in after.alt and told not in before.alt
    assert after.data != before.data
    assert stored(record, name) == fixed, "the run keeps the fixed choice"


def test_an_error_is_shown_until_the_next_choice(record, screen, tmp_path):
    data = shutil.copytree(record.data, tmp_path / "data")
    explorers.two_clips(records.open_record("01_visualization", data, 0))
    clip = screen.find("first clip")
    bad, good = (value for _, value in clip.options[1:3])
    for path in data.glob(f"{GENRE}/train/{bad}.*"):
        path.write_bytes(b"no array")
    clip.value = bad
    assert "LabError" in screen.texts and f"{bad}.fused" in screen.texts
    assert len(screen.pictures) == 1
    clip.value = good
    assert "LabError" not in screen.texts and len(screen.pictures) == 2


# ---- hearing -----------------------------------------------------------------------------------


def test_a_clip_without_audio_is_rebuilt_only_when_asked_and_says_so(record, screen, monkeypatch):
    made: list[np.ndarray] = []

    def sound(mel: np.ndarray) -> np.ndarray:
        made.append(mel)
        return np.sin(np.arange(22050)).astype(np.float32)

    monkeypatch.setattr(explorers, "approximate_audio", sound)
    explorers.two_clips(record)
    assert screen.texts.count(explorers.APPROXIMATE) == 2
    screen.find("first genre").value = "Hip-Hop"
    assert made == [] and "<audio" not in screen.texts
    screen.find(f"hear clip {screen.find('first clip').value}").click()
    assert len(made) == 1 and made[0].shape[0] == 128
    assert screen.texts.count("<audio") == 1


def test_a_clip_with_audio_is_offered_first_and_played_as_it_is(mini_data, home, screen):
    folder = home / ".cache" / "demo"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(mini_data)
    record = records.open_record("01_visualization", demo_data(), 0)
    tracks = explorers._TrainingClips(mini_data).full
    clip = tracks.index[tracks["genre"] == "Classical"][-1]
    (folder / "complete.json").write_text('{"size": 1.0}')
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / f"{clip}.flac", np.zeros(2205), 22050)
    explorers.two_clips(record)
    assert screen.find("first clip").options[0] == (f"{clip} (with audio)", clip)
    assert f"Classical (clip {clip})\n" in screen.texts and "<audio" in screen.texts
    assert screen.find(f"hear clip {clip}").layout.display == "none"
    assert explorers._TrainingClips(mini_data).audible == [], "its ids mean nothing in other data"


# ---- neighbours, and wrong choices -------------------------------------------------------------


def test_neighbours_are_others_and_the_first_clip_is_the_most_confident_error(mini_data, home):
    train = genre_splits(mini_data / GENRE, "mel", 0).train
    seen = explorers._SeenByModel(small_cnn(), train, 4, "cpu")
    for clip in range(len(train)):
        near = seen.nearest(clip)
        assert clip not in near and len(set(near)) == explorers.N_NEIGHBOURS
        likeness = seen.likeness[clip, near]
        assert (np.diff(likeness) <= 1e-6).all() and likeness.max() <= 1 + 1e-5
    clip = seen.most_confident_error()
    assert seen.answers[clip] != seen.labels[clip]
    menu = dict((value, text) for text, value in seen.clips_of(seen.labels[clip]))
    assert menu[clip].endswith(f"(taken for {seen.answers[clip]})")
    seen.answers = list(seen.labels)
    assert seen.most_confident_error() == 0, "no error: the first clip"


def test_wrong_choices_are_one_line(record):
    with pytest.raises(LabError, match="no training clip of genre 'Clasical' .did you mean"):
        explorers.two_clips(record, ["Clasical", "Hip-Hop"])
    with pytest.raises(LabError, match="do not belong to 6 clips and 2 classes"):
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES[:2])
