"""The demo set's difficulty and its picture, on the small data folder of the tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import demo_set
from helpers.datasets import SpectrogramDataset
from helpers.folders import GENRE, MULTITASK
from helpers.machinery.files import LabError


@pytest.fixture(scope="module")
def answers(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up answers for the six test clips, in steps that tell them apart."""
    path = tmp_path_factory.mktemp("answers") / "answers.csv"
    names = sorted(file.name.split(".")[0] for file in (mini_data / MULTITASK / "test").iterdir())
    rows = [f"{name},0.{number}0,0.{number}5,0.{9 - number}0" for number, name in enumerate(names)]
    path.write_text("\n".join(["Id,valence,energy,danceability", *rows]) + "\n")
    return path


def test_the_run_leaves_a_table_and_a_picture(
    mini_data: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, picture = tmp_path / "made" / "results.csv", tmp_path / "genres.png"
    options = ["--data", mini_data, "--answers", answers, "--results", results]
    assert demo_set.main([str(option) for option in [*options, "--picture", picture]]) == 0
    table = pd.read_csv(results)
    assert table["metric"].tolist() == [
        *["accuracy"] * 2,
        *(f"Spearman {name}" for name in ("valence", "energy", "danceability", "mean")),
    ]
    assert table["clips"].tolist() == [27, 27, 22, 22, 22, 22]  # International is dropped
    scores = table.set_index(["model", "metric"])["value"]
    assert scores["SVM", "accuracy"] > 0.8  # the classes can be learned from the arrays
    assert scores["majority", "accuracy"] <= 1 / 3  # three equal classes
    *axes, mean = scores["SVR"]
    assert mean == pytest.approx(np.mean(axes), abs=1e-3)
    told = capsys.readouterr().out
    for row in table.itertuples():
        assert f"{row.value:.3f}" in told and f"{row.low:.3f} to {row.high:.3f}" in told
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 200


def test_missing_answers_are_named(mini_data: Path, answers: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none.csv"
    with pytest.raises(LabError, match=r"none\.csv: no withheld answers here; give .*--answers"):
        demo_set.affect_difficulty(mini_data, nowhere)
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(answers.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(LabError, match=r"fewer\.csv: no answer for clip 123212743; give"):
        demo_set.affect_difficulty(mini_data, fewer)


def test_answers_stand_in_the_order_of_the_clips(answers: Path) -> None:
    values = demo_set._answers_of(["123212740", "123212738"], answers)
    np.testing.assert_allclose(values, [[0.2, 0.25, 0.7], [0.0, 0.05, 0.9]], rtol=1e-6)


def test_the_typical_clip_is_one_of_its_genre(mini_data: Path) -> None:
    dataset = SpectrogramDataset(mini_data / GENRE, "train", class_mapping=None)
    chosen = demo_set.typical_clips(mini_data)
    assert list(chosen) == ["Classical", "Hip-Hop", "International", "Psych-Rock"]
    for number, clip in enumerate(chosen.values()):
        own = np.flatnonzero(dataset.labels.numpy() == number)
        assert any(np.array_equal(clip, dataset.frames(int(i)).T) for i in own)


def test_the_picture_shows_the_middle_on_one_scale() -> None:
    clip = np.full((128, 1292), -80.0, dtype=np.float32)
    clip[:, 500:800] = -20.0
    excerpt, seconds = demo_set._excerpt(clip)
    assert excerpt.shape == (128, 431) and seconds == pytest.approx(10, abs=0.02)
    assert (excerpt == -20.0).mean() == pytest.approx(300 / 431)
    figure = demo_set.genre_pictures({"Rock": clip, "short": clip[:, :30], "a": clip, "b": clip})
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title("left") for ax in panels] == ["Rock", "short", "a", "b"]
    assert {ax.images[0].get_clim() for ax in panels} == {(-80.0, 0.0)}
    image = Image.open(io.BytesIO(demo_set.png_of(figure)))
    assert image.mode == "P" and len(image.getcolors()) <= demo_set.N_LEVELS + demo_set.N_GREYS
