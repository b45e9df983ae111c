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
from helpers.folders import GENRE


def test_the_run_leaves_a_table_and_a_picture(
    mini_data: Path, mini_answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, picture = tmp_path / "made" / "results.csv", tmp_path / "genres.png"
    options = ["--data", mini_data, "--answers", mini_answers, "--results", results]
    assert demo_set.main([str(option) for option in [*options, "--picture", picture]]) == 0
    table = pd.read_csv(results)
    axes = [f"Spearman {name}" for name in ("valence", "energy", "danceability", "mean")]
    assert table["metric"].tolist() == ["accuracy", "accuracy", *axes]
    assert table["clips"].tolist() == [27, 27, 22, 22, 22, 22]  # International is dropped
    scores = table.set_index(["model", "metric"])["value"]
    assert scores["SVM", "accuracy"] > 0.8  # the classes can be learned from the arrays
    assert scores["majority", "accuracy"] <= 1 / 3  # three equal classes
    *of_axes, mean = scores["SVR"]
    assert mean == pytest.approx(np.mean(of_axes), abs=1e-3)
    told = capsys.readouterr().out.split()
    assert {f"{v:.3f}" for v in table[["value", "low", "high"]].to_numpy().ravel()} <= set(told)
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 200


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
    figure = demo_set.genre_pictures({"Rock": clip, "short": clip[:, :30], "a": clip, "b": clip})
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title("left") for ax in panels] == ["Rock", "short", "a", "b"]
    assert {ax.images[0].get_clim() for ax in panels} == {(-80.0, 0.0)}
    excerpt = panels[0].images[0].get_array()
    assert excerpt.shape == (128, 431) and (excerpt == -20.0).mean() == pytest.approx(300 / 431)
    assert panels[0].images[0].get_extent()[1] == pytest.approx(10, abs=0.02)  # seconds
    image = Image.open(io.BytesIO(demo_set.png_of(figure)))
    assert image.mode == "P" and len(image.getcolors()) <= 40 + 16
