"""What the explorers offer to hear and to see; their controls are tried in test_browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
import soundfile

from helpers.datasets import genre_splits
from helpers.folders import GENRE
from helpers.machinery.files import LabError, demo_data
from helpers.machinery.process import seed_everything
from helpers.models import Classifier, CNNBackbone
from helpers.notebook import explorers, records
from helpers.notebook.records import Record


@pytest.fixture
def record(mini_data: Path, home: Path) -> Record:
    return records.open_record("01_visualization", mini_data, 0)


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


# ---- hearing -----------------------------------------------------------------------------------


def test_a_clip_without_audio_is_rebuilt_only_when_asked_and_says_so(record, monkeypatch):
    clips, made = explorers._TrainingClips(record.data), []

    def sound(mel: np.ndarray) -> np.ndarray:
        made.append(mel)
        return np.sin(np.arange(22050)).astype(np.float32)

    monkeypatch.setattr(explorers, "approximate_audio", sound)
    (_, one), (_, other), *_ = clips.of("Classical")
    menu = widgets.Dropdown(options=[one, other])
    place, button = clips.sound_of(menu)
    assert place.value == f"Classical (clip {one}): {explorers.APPROXIMATE}" and not made
    menu.value = other
    assert button.description == f"hear clip {other}" and not made
    button.click()
    assert "<audio" in place.value and [mel.shape[0] for mel in made] == [128]
    menu.value = one
    assert "<audio" not in place.value


def test_a_clip_with_audio_is_offered_first_and_played_as_it_is(mini_data, home):
    folder = home / ".cache" / "demo"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(mini_data)
    tracks = explorers._TrainingClips(mini_data).full
    clip = tracks.index[tracks["genre"] == "Classical"][-1]
    (folder / "complete.json").write_text('{"size": 1.0}')
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / f"{clip}.flac", np.zeros(2205), 22050)
    clips = explorers._TrainingClips(demo_data())
    assert clips.of("Classical")[0] == (f"{clip} (with audio)", clip)
    place, button = clips.sound_of(widgets.Dropdown(options=[clip]))
    assert place.value.startswith(f"Classical (clip {clip})") and "<audio" in place.value
    assert button.layout.display == "none"
    assert explorers._TrainingClips(mini_data).audible == [], "its ids mean nothing in other data"


# ---- neighbours, and wrong choices -------------------------------------------------------------


def test_neighbours_are_others_and_the_first_clip_is_the_most_confident_error(mini_data, home):
    train = genre_splits(mini_data / GENRE, "mel", 0).train
    seed_everything(0)
    model = Classifier(CNNBackbone(128, (2, 2, 2, 4)), n_classes=3)
    seen = explorers._SeenByModel(model, train, 4, "cpu")
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
        explorers.threshold(record, np.zeros(6, int), np.ones((6, 3)), ["Blues", "Pop"])
