"""Every figure of the lab can be drawn, has an alternative text, and shows what it says."""

import inspect
import math
import re
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from helpers import plots
from helpers.evaluation import Comparison, Score
from helpers.training import History

RNG = np.random.default_rng(0)
MEL, CHROMA = RNG.uniform(-80, 0, size=(128, 30)), RNG.uniform(size=(12, 30))
HISTORY = History("a", [2.0, 1.0, 0.5], [2.0, 1.5, 1.8], [1.0, 1.0, 1.0], best_epoch=2)
OVERFIT = History("four batches", [2.0, 0.1], [], [1.0, 1.0], best_epoch=2)
SCORES = {"LSTM": Score(0.4, 0.3, 0.5), "none": Score(math.nan, reason="equal"), "x": Score(0.2)}
CLASSES = ["Blues", "Hip-Hop", "Rock"]
UNIT = RNG.uniform(size=(20, 2))
SHARES = pd.Series({"valence": 0.6, "energy": 0.4})

# What each figure of `plots` is tried with; `NAME of ...` is the figure NAME once more.
DRAWN: dict[str, tuple[Any, ...]] = {
    "spectrograms": ({"1042: Blues": {"mel": MEL}, "7: Rock": {"mel": MEL}},),
    "spectrograms of four forms": (
        {"7: Rock": {"mel": MEL, "chroma": CHROMA, "beat mel": MEL, "beat chroma": CHROMA}},
    ),
    "histogram": ({"valence": UNIT[:, 0], "energy": UNIT[:, 1]}, "Labels", "value", "Two of them."),
    "class_counts": (
        {"Blues": 160, "Indie-Rock": 150, "Post-Rock": 95, "Rock": 160},
        {"Blues": "Blues", "Indie-Rock": None, "Post-Rock": "Rock", "Rock": "Rock"},
        "Clips per class",
    ),
    "learning_curves": ({"LSTM": HISTORY, "few": OVERFIT}, "Losses", {"LSTM": 0.5}),
    "learning_curves of six": ({f"m{i}": HISTORY for i in range(6)},),
    "learning_curves of regressors": ({"a": HISTORY, "b": HISTORY}, "Curves", None, 1.7),
    "scores_by_axis": (
        {"LSTM": {"energy": SCORES["LSTM"]}, "CNN": {"energy": SCORES["none"]}}, "Scores", "rho"
    ),
    "confusion_matrix": (np.array([[5, 1, 0], [0, 0, 0], [2, 2, 4]]), CLASSES, "Confusions"),
    "score_plot": (SCORES, "Scores", "accuracy", 0.18),
    "differences": (
        {
            ("LSTM", "SVM"): Comparison(Score(0.1, 0.02, 0.18), 0.01),
            ("CNN", "SVM"): Comparison(Score(-0.01, -0.1, 0.08), 0.8),
            ("CNN", "constant"): Comparison(Score(math.nan, reason="equal"), math.nan),
        },
        "accuracy",
    ),
    "curves": ({"a": 0.9 ** np.arange(300), "b": 0.9 ** np.arange(40)}, "How far", "x", "y"),
    "curves of a table": (
        pd.DataFrame({"valence": [1.0, 0.8], "energy": [0.5, 0.6]}, index=[1, 2]), "Curves",
        "epoch", "loss", {"mean": 1.0}, True,
    ),
    "scatter_maps": ({"PCA": UNIT, "t-SNE": UNIT[::-1]}, [*map(str, range(10))] * 2, "Maps"),
    "bars": ({"plain": SHARES, "weighted": SHARES[::-1]}, "Shares", "axis", "share"),
    "class_f1": (
        pd.DataFrame({"LSTM": [0.1, 0.5, 0.9], "CNN": [0.2, 0.4, 0.8]}, index=CLASSES), "F1"
    ),
    "predicted_against_true": (
        {"valence": (*UNIT.T, SCORES["LSTM"]), "energy": (*UNIT.T, SCORES["none"])}, "Held-out"
    ),
    "maps": ({"filter": torch.randn(10, 3, 3), "block 1": torch.rand(10, 8, 30)}, "Inside"),
    "signals": ({"before": UNIT[:, 0], "after": UNIT[:10, 1]}, "A band", 2.0),
    "patch_values": (MEL, RNG.random((8, 5)), "Where it looks", "times an even share"),
    "patches": (MEL[:, :40], (12, 3), (10, 10), "Patches"),
    "heard": (
        {
            "rhythm": {"Rock": UNIT[:, 0].repeat(20)[:384], "Blues": np.zeros(384)},
            "togetherness": {"Rock": RNG.uniform(-1, 1, 276), "Blues": np.zeros(276)},
            "attacks": {"Rock": RNG.uniform(0, 9, 288), "Blues": np.zeros(288)},
        },
        "What is heard",
    ),
    "group_scores": (
        pd.DataFrame({"genre": [0.5, 0.4], "valence": [0.1, 0.1]}, index=["tempo", "rhythm"]),
        "Alone",
    ),
    "patch_values of both signs": (
        MEL, RNG.normal(size=(8, 5)), "What made it Blues?", "fall of the log-probability"
    ),
}  # fmt: skip


def drawn(name: str) -> Figure:
    return getattr(plots, name.partition(" of ")[0])(*DRAWN[name])


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


FIGURES = {
    name
    for name, function in inspect.getmembers(plots, inspect.isfunction)
    if function.__module__ == "helpers.plots" and not name.startswith("_")
}


@pytest.mark.filterwarnings("error")  # a missing letter or a layout that fails is a warning
@pytest.mark.parametrize("name", sorted(FIGURES - {"use_style"} | DRAWN.keys()))
def test_a_figure_is_drawn_without_warnings_with_labels_title_and_alt_text(name):
    figure = drawn(name)
    figure.draw_without_rendering()
    alt = figure.get_label()
    assert len(alt) > 10 and alt.endswith(".") and "nan" not in alt
    for ax in figure.axes:
        ticks = "".join(label.get_text() for label in ax.get_xticklabels())
        named = re.search("[a-z]", ticks)  # its ticks are names, which say what they are
        if not ax.axison or ax.get_label() == "<colorbar>" or named:
            continue
        if ax.get_subplotspec().is_last_row():
            assert ax.get_xlabel(), "the horizontal axis has no label"
    titles = [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]
    assert figure.get_suptitle() or any(titles)


def test_alt_texts_tell_the_numbers():
    assert drawn("class_counts").get_label().endswith("after: Blues 160, Rock 255.")
    told = drawn("learning_curves").get_label()
    assert "kept epoch 2 of 3" in told and "without mixtures 0.500" in told
    assert "LSTM 0.400 [0.300, 0.500]; none undefined (equal)" in drawn("score_plot").get_label()
    assert "Blues 83%, Hip-Hop 0%, Rock 50%" in drawn("confusion_matrix").get_label()


def test_every_class_of_a_map_has_a_style_of_its_own():
    names = [f"class {n:2}" for n in range(30)]
    ax = plots.scatter_maps({"PCA": np.random.rand(30, 2)}, names, "Maps").axes[0]
    colours = [tuple(dots.get_facecolor()[0]) for dots in ax.collections]
    marks = [dots.get_paths()[0].vertices.tobytes() for dots in ax.collections]
    assert len(set(colours[:10])) == len(set(marks[:10])) == 10  # the lab's classes
    assert len(set(zip(colours, marks, strict=True))) == 30
    assert ax.get_aspect() == 1.0  # distances are what is looked at


def test_frequency_runs_up_and_time_across():
    figure = drawn("spectrograms")
    first, second = figure.axes[:2]
    assert first.get_ylim()[0] < 50 and first.get_ylim()[1] == pytest.approx(11025, rel=0.02)
    assert first.get_xlim()[1] == pytest.approx(30 * 512 / 22050, rel=0.05)  # seconds
    assert (first.get_ylabel(), first.get_xlabel()) == ("frequency (Hz)", "time (s)")
    meshes = [ax.collections[0] for ax in (first, second)]
    assert {mesh.get_clim() for mesh in meshes} == {(-80.0, 0.0)}  # one scale, 0 is the loudest


def test_the_confusion_matrix_has_numbers_in_its_cells():
    texts = [text.get_text() for text in drawn("confusion_matrix").axes[0].texts]
    assert sorted(filter(None, texts)) == ["0.17", "0.25", "0.25", "0.50", "0.83"]
