"""What notebooks leave for each other: checkpoints, results, figures; found, or refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers import folders, models
from helpers.datasets import BandScaler
from helpers.evaluation import Score
from helpers.machinery.files import LabError
from helpers.notebook import checkpoints, records, showing
from helpers.notebook.shown import KEY, from_stored
from tests.conftest import SPEC

SCALER = BandScaler(np.arange(12, dtype=np.float32), np.full(12, 2, np.float32))
X, LENGTHS = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([9, 5])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a fingerprint, and nothing else."""
    folder = tmp_path / "data"
    (folder / folders.GENRE).mkdir(parents=True)
    (folder / folders.GENRE / "train_labels.txt").write_text("Id\tGenre\n")
    return folder


@pytest.fixture
def record(home: Path, data: Path) -> records.Record:
    """The record of notebook 05, which is under way."""
    return records.open_record("05_lstm", data, 0)


def store_model(record: records.Record, seed: int = 0) -> tuple[Path, np.ndarray]:
    """Store a model in the record; returns its path and what it predicts."""
    torch.manual_seed(seed)
    model = models.build_model(SPEC).eval()
    path = record.save_checkpoint(
        "lstm", model, SPEC, feature="chroma", scaler=SCALER, classes=["a", "b", "c"], epoch=7,
        note="lowest validation loss",
    )  # fmt: skip
    with torch.no_grad():
        return path, model(X, LENGTHS).numpy()


def predictions(checkpoint: checkpoints.Checkpoint) -> np.ndarray:
    with torch.no_grad():
        return checkpoint.model(X, LENGTHS).numpy()


# ---- checkpoints -------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was_stored(record, data):
    _, before = store_model(record)
    reader = records.open_record("06_metrics", data, 0)
    loaded = reader.load_checkpoint("05_lstm", "lstm", head="classifier", feature="chroma")
    np.testing.assert_array_equal(predictions(loaded), before)
    assert not loaded.model.training
    np.testing.assert_array_equal(loaded.scaler.mean, SCALER.mean)
    np.testing.assert_array_equal(loaded.scaler.deviation, SCALER.deviation)
    assert (loaded.spec, loaded.feature, loaded.classes) == (SPEC, "chroma", ["a", "b", "c"])
    assert (loaded.axes, loaded.epoch, loaded.note) == ([], 7, "lowest validation loss")


def test_an_old_checkpoint_does_not_become_one_of_the_new_data(record, data):
    """The notebook was begun again with other data and stopped before it stored anything."""
    store_model(record)
    (data / folders.GENRE / "train_labels.txt").write_text("Id\tGenre\n7\tRock\n")
    records.open_record("05_lstm", data, 0)
    with pytest.raises(LabError, match="run notebook 05_lstm first"):
        records.open_record("06_metrics", data, 0).load_checkpoint("05_lstm", "lstm")


# ---- where stored things are found -------------------------------------------------------------


def test_a_named_run_reads_only_its_own_results(home, data, monkeypatch):
    monkeypatch.setenv("MUSICLAB_RUN", "first")
    store_model(records.open_record("05_lstm", data, 0))
    (home / "runs" / "latest").symlink_to("first")
    monkeypatch.setenv("MUSICLAB_RUN", "second")
    with pytest.raises(LabError, match="second/records/05_lstm.*not there"):
        records.open_record("06_metrics", data, 0).load_checkpoint("05_lstm", "lstm")


@pytest.mark.parametrize("link", [True, False])
def test_by_hand_the_newest_run_serves_as_a_link_or_a_text_file(home, data, monkeypatch, link):
    monkeypatch.setenv("MUSICLAB_RUN", "tuesday")
    _, before = store_model(records.open_record("05_lstm", data, 0))
    monkeypatch.delenv("MUSICLAB_RUN")
    assert records.newest_run() is None
    latest = home / "runs" / "latest"
    latest.symlink_to("tuesday") if link else latest.write_text("tuesday\n")
    assert records.newest_run() == home / "runs" / "tuesday"
    reader = records.open_record("06_metrics", data, 0)
    np.testing.assert_array_equal(predictions(reader.load_checkpoint("05_lstm", "lstm")), before)
    _, own = store_model(records.open_record("05_lstm", data, 0), seed=1)  # my own comes first
    np.testing.assert_array_equal(predictions(reader.load_checkpoint("05_lstm", "lstm")), own)


def test_on_kaggle_the_newest_output_of_other_kernels_is_found(home, data, tmp_path, monkeypatch):
    """By what the records say: when a folder was mounted tells nothing."""
    monkeypatch.setattr(records, "KAGGLE_INPUT", tmp_path / "kaggle")
    (tmp_path / "kaggle" / "data").mkdir(parents=True)
    reader, stored = records.open_record("06_metrics", data, 0), {}
    with pytest.raises(LabError, match="run notebook 05_lstm first"):
        reader.load_checkpoint("05_lstm", "lstm")
    for number, (kernel, year) in enumerate((("b-new", 2026), ("c-old", 2024), ("a-old", 2025))):
        monkeypatch.setattr(records, "_now", lambda year=year: f"{year}-01-02T03:04:05+00:00")
        path, stored[kernel] = store_model(records.open_record("05_lstm", data, 0), seed=number)
        mounted = tmp_path / "kaggle" / kernel / "runs" / "interactive" / "records"
        mounted.mkdir(parents=True)
        path.parents[1].rename(mounted / "05_lstm")
    found = predictions(reader.load_checkpoint("05_lstm", "lstm"))
    np.testing.assert_array_equal(found, stored["b-new"])


# ---- results -----------------------------------------------------------------------------------

SCORES = {"accuracy": Score(0.5, 0.4, 0.6), "macro F1": Score(0.3, 0.2, 0.4)}


def test_results_have_one_row_per_model_feature_test_set_and_metric(record):
    record.add_scores("lstm", "mel", "genre test (full)", {"accuracy": Score(0.1, 0, 0.2)}, 9)
    record.add_scores("lstm", "mel", "genre test (full)", SCORES, 9)  # the cell was run again
    record.add_scores("lstm", "mel", "genre test (beat)", SCORES, 9)
    undefined = {"Spearman": Score(math.nan, reason="equal")}
    record.add_scores("svr", "mel", "held-out", undefined, 9)
    assert (record.folder / "results.csv").read_text().splitlines() == [
        ",".join(records.RESULT_COLUMNS),
        "05_lstm,lstm,mel,genre test (full),accuracy,0.5,0.4,0.6,0,9",
        "05_lstm,lstm,mel,genre test (full),macro F1,0.3,0.2,0.4,0,9",
        "05_lstm,lstm,mel,genre test (beat),accuracy,0.5,0.4,0.6,0,9",
        "05_lstm,lstm,mel,genre test (beat),macro F1,0.3,0.2,0.4,0,9",
        "05_lstm,svr,mel,held-out,Spearman,,,,0,9",
    ]


def test_the_results_of_the_finished_notebooks_of_a_run_are_joined(home, data, capsys):
    run = home / "runs" / "interactive"
    assert records.join_results(run).split() == [",".join(records.RESULT_COLUMNS)]
    for notebook in ("07_cnn", "06_metrics"):
        record = records.open_record(notebook, data, 0)
        record.add_scores("m", "mel", "genre test (full)", SCORES, 9)
        record.finish(key_metric="accuracy 0.50")
    joined = pd.read_csv(run / "results.csv")
    assert joined["notebook"].tolist() == ["06_metrics"] * 2 + ["07_cnn"] * 2
    assert len(record.load_table("07_cnn", "results")) == 2
    assert record.load_value("06_metrics", "key_metric") == "accuracy 0.50"
    assert "results.csv" in capsys.readouterr().out
    again = records.open_record("07_cnn", data, 0)
    again.add_scores("m", "mel", "genre test (full)", SCORES, 9)  # and then it fails
    rows = records.join_results(run).splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"06_metrics"}


def test_values_add_up(record):
    record.save_values(best_lstm={"name": "a"})
    record.save_values(count=3)
    assert record.load_value("05_lstm", "best_lstm") == {"name": "a"}
    assert record.load_value("05_lstm", "count") == 3
    with pytest.raises(LabError, match="values.json: has no 'n_seeds'; run notebook 05_lstm again"):
        record.load_value("05_lstm", "n_seeds")


def test_predictions_come_back_for_the_clips_that_are_asked_for(record):
    record.save_predictions("svr", ["7", "8"], np.array([[0.1, 0.2], [0.3, 0.4]]), ["a", "b"])
    loaded = record.load_predictions("05_lstm", "svr", ["8", "7"], ["b"])
    assert loaded.tolist() == [[0.4], [0.2]]
    for ids, columns in ((["9"], ["a"]), (["7"], ["c"])):
        with pytest.raises(LabError, match="05_lstm/svr.csv.*run notebook 05_lstm"):
            record.load_predictions("05_lstm", "svr", ids, columns)


# ---- figures and words -------------------------------------------------------------------------


def test_a_figure_is_stored_with_its_alt_text_and_refused_without(record, capsys):
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    with pytest.raises(LabError, match="figure 'curves' has no alt text"):
        record.show(figure, "curves")
    assert not (record.folder / "figures").exists()
    figure.set_label("A line that rises.")
    _, pdfs, _ = showing.render_figure(figure, "curves", ("en",))
    assert b"/CreationDate" not in pdfs["en"], "the same each time"
    record.show(figure, "curves")
    with Image.open(record.folder / "figures" / "curves.png") as picture:
        assert picture.text["Description"] == "A line that rises."
        assert picture.width > 300
    assert not plt.fignum_exists(figure.number)  # closed: many figures would fill the memory
    assert capsys.readouterr().out == "figure curves: A line that rises.\n"


def test_in_a_notebook_an_output_says_what_it_shows(monkeypatch):
    outputs: list[dict] = []
    monkeypatch.setattr(showing, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *_, **kept: outputs.append(kept))
    score = Score(0.5, 0.4, 0.6)
    gap = showing.Sentence("{gap:+.1f} dB", gap=np.float32(0.25))
    template = "{names: and } by {gap}: {score}, {rest}, {n:d}"
    values = {"names": ["A", "B"], "gap": gap, "score": score, "rest": [], "n": torch.tensor(3)}
    assert str(showing.Sentence(template, **values)) == (
        "A and B by +0.2 dB: 0.500 [0.400, 0.600], none, 3"
    )
    showing.tell(template, **values)
    table = pd.DataFrame({"accuracy": [score], "loss": [math.nan]}, index=["CNN"])
    showing.show_table(table, digits=1, caption="A table.")
    text, shown = (
        from_stored(json.loads(json.dumps(output["metadata"][KEY]))) for output in outputs
    )
    assert str(text.sentences[0]) == str(showing.Sentence(template, **values))
    assert (shown.columns, shown.rows[0][:2]) == (["", "accuracy", "loss"], ["CNN", score])
    assert math.isnan(shown.rows[0][2]) and str(shown.caption) == "A table."
