"""What notebooks leave for each other: checkpoints, results, figures; found, or refused by name."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers import folders, models
from helpers.datasets import BandScaler
from helpers.evaluation import Comparison, Score
from helpers.machinery.files import LabError
from helpers.notebook import checkpoints, records, showing
from helpers.notebook.shown import KEY, from_stored

SPEC = {
    "backbone": "lstm",
    "backbone_options": {"n_features": 12, "hidden_size": 4},
    "head": "classifier",
    "head_options": {"n_classes": 3},
}
SCALER = BandScaler(np.arange(12, dtype=np.float32), np.full(12, 2, np.float32))
X, LENGTHS = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([9, 5])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a fingerprint, and nothing else."""
    return make_data(tmp_path / "data")


def make_data(folder: Path, labels: str = "Id\tGenre\n") -> Path:
    (folder / folders.GENRE).mkdir(parents=True)
    (folder / folders.GENRE / "train_labels.txt").write_text(labels)
    return folder


def store_model(
    record: records.Record, name: str = "lstm", seed: int = 0
) -> tuple[Path, np.ndarray]:
    """Store a model in the record; returns its path and what it predicts."""
    torch.manual_seed(seed)
    model = models.build_model(SPEC).eval()
    path = record.save_checkpoint(
        name, model, SPEC, feature="chroma", scaler=SCALER, classes=["a", "b", "c"], epoch=7,
        note="lowest validation loss",
    )  # fmt: skip
    with torch.no_grad():
        return path, model(X, LENGTHS).numpy()


def predictions(checkpoint: checkpoints.Checkpoint) -> np.ndarray:
    with torch.no_grad():
        return checkpoint.model(X, LENGTHS).numpy()


# ---- checkpoints -------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was_stored(home: Path, data: Path) -> None:
    _, before = store_model(records.open_record("05_lstm", data, 0))
    reader = records.open_record("06_metrics", data, 0)
    loaded = reader.load_checkpoint("05_lstm", "lstm", head="classifier", feature="chroma")
    np.testing.assert_array_equal(predictions(loaded), before)
    assert not loaded.model.training
    np.testing.assert_array_equal(loaded.scaler.mean, SCALER.mean)
    np.testing.assert_array_equal(loaded.scaler.deviation, SCALER.deviation)
    assert (loaded.spec, loaded.feature, loaded.classes) == (SPEC, "chroma", ["a", "b", "c"])
    assert (loaded.axes, loaded.epoch, loaded.note) == ([], 7, "lowest validation loss")


def test_a_cnn_with_its_batch_norm_statistics_comes_back(home: Path, data: Path) -> None:
    spec = {
        "backbone": "cnn", "backbone_options": {"channels": [2, 2, 2, 2]}, "head": "multitask",
        "head_options": {"n_axes": 2},
    }  # fmt: skip
    model = models.build_model(spec)
    model(torch.randn(3, 20, 128), torch.tensor([20, 20, 18]))  # moves the statistics
    scaler = BandScaler(np.zeros(128, np.float32), np.ones(128, np.float32))
    record = records.open_record("10_multitask", data, 0)
    record.save_checkpoint("cnn", model, spec, feature="mel", scaler=scaler, axes=["a", "b"])
    loaded = record.load_checkpoint("10_multitask", "cnn").model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_missing_checkpoint_names_the_notebook_to_run(home: Path, data: Path) -> None:
    record = records.open_record("06_metrics", data, 0)
    with pytest.raises(LabError) as caught:
        record.load_checkpoint("05_lstm", "lstm_mel_full")
    message = str(caught.value)
    assert "05_lstm/checkpoints/lstm_mel_full.safetensors: not there" in message
    assert "python py/05_lstm.py" in message and "./run_all.sh --only 05" in message
    assert "\n" not in message


def test_a_checkpoint_that_was_cut_short_is_refused(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    path, _ = store_model(record)
    whole = path.read_bytes()
    for content in (whole[:-50], whole[:30], b"", b"no safetensors at all"):
        path.write_bytes(content)
        with pytest.raises(LabError, match="lstm.safetensors: no whole checkpoint.*run its note"):
            record.load_checkpoint("05_lstm", "lstm")


def rewrite_header(path: Path, change: dict[str, object] | None) -> None:
    """Change what a checkpoint says about itself; None takes it away."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    about = header.pop("__metadata__")
    if change is not None:
        changed = json.loads(about["about"]) | change
        kept = {key: value for key, value in changed.items() if value is not None}
        header["__metadata__"] = {"about": json.dumps(kept)}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no whole checkpoint"),
        ({"spec": {**SPEC, "head_options": {"n_classes": 4}}}, "weights are of another model"),
        ({"spec": {**SPEC, "head": "regressor", "head_options": {}}}, "are of another model"),
        ({"spec": {**SPEC, "backbone": "cnn"}}, "no model can be built"),
        ({"spec": {**SPEC, "backbone": "transformer"}}, "no model can be built"),
        ({"spec": "lstm"}, "are of another model"),
        ({"feature": None}, "are of another model"),
        ({"spec": None}, "are of another model"),
        ({"spec": {**SPEC, "backbone_options": {"dropout": 7}}}, "are of another model"),
        ({"feature": "mel"}, r"its scaling has shape \(12,\), but feature 'mel' has 128 bands"),
        ({"feature": "loudness"}, "unknown feature 'loudness'"),
        ({"feature": ["mel"]}, r"unknown feature \['mel'\]"),
        ({"classes": ["a", "b"]}, "it names 2 classes, but its model has 3 outputs"),
        ({"classes": "abc"}, "its classes are no list of names"),
        ({"classes": [1, 2, 3]}, "its classes are no list of names"),
        ({"axes": ["valence"]}, "it names 1 axes, but its model has 3 outputs"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    home: Path, data: Path, change: dict[str, object] | None, message: str
) -> None:
    record = records.open_record("05_lstm", data, 0)
    path, _ = store_model(record)
    rewrite_header(path, change)
    with pytest.raises(LabError, match=message) as caught:
        record.load_checkpoint("05_lstm", "lstm")
    assert "lstm.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_another_head_or_feature_than_asked_for_is_refused(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    store_model(record)
    with pytest.raises(LabError, match="head 'classifier', expected 'regressor'; run notebook 05"):
        record.load_checkpoint("05_lstm", "lstm", head="regressor")
    with pytest.raises(LabError, match="feature 'chroma', expected 'mel'; run notebook 05_lstm"):
        record.load_checkpoint("05_lstm", "lstm", feature="mel")


def test_a_checkpoint_of_another_list_of_classes_is_refused(home: Path, data: Path) -> None:
    """As after an edit of the class mapping: the data are the same, the names are not."""
    record = records.open_record("05_lstm", data, 0)
    store_model(record)
    assert record.load_checkpoint("05_lstm", "lstm", classes=("a", "b", "c")).classes == [*"abc"]
    expected = r"classes \['a', 'b', 'c'\], expected \['a', 'c', 'b'\]; run notebook 05_lstm again"
    with pytest.raises(LabError, match=expected):
        record.load_checkpoint("05_lstm", "lstm", classes=["a", "c", "b"])


def test_a_model_s_bands_are_those_of_its_feature(home: Path, data: Path) -> None:
    spec = {"backbone": "lstm", "backbone_options": {"n_features": 7}, "head": "regressor"}
    record = records.open_record("05_lstm", data, 0)
    path = record.save_checkpoint(
        "lstm", models.build_model(spec), spec, feature="chroma", scaler=SCALER
    )
    with pytest.raises(LabError, match="model takes 7 bands, but feature 'chroma' has 12; run"):
        checkpoints.read_checkpoint(path)


def test_what_was_made_with_other_data_is_not_taken(home: Path, data: Path, tmp_path: Path) -> None:
    store_model(records.open_record("05_lstm", data, 0))
    other = make_data(tmp_path / "other", "Id\tGenre\n7\tRock\n")
    reader = records.open_record("06_metrics", other, 0)
    with pytest.raises(LabError, match="was made with other data; run notebook 05_lstm first"):
        reader.load_checkpoint("05_lstm", "lstm")


def test_an_old_checkpoint_does_not_become_one_of_the_new_data(
    home: Path, data: Path, tmp_path: Path
) -> None:
    """The notebook was begun again with other data and stopped before it stored anything."""
    store_model(records.open_record("05_lstm", data, 0))
    other = make_data(tmp_path / "other", "Id\tGenre\n7\tRock\n")
    records.open_record("05_lstm", other, 0)
    with pytest.raises(LabError, match="run notebook 05_lstm first"):
        records.open_record("06_metrics", other, 0).load_checkpoint("05_lstm", "lstm")


def test_a_record_without_its_description_is_not_taken(home: Path, data: Path) -> None:
    path, _ = store_model(records.open_record("05_lstm", data, 0))
    about = path.parents[1] / "record.json"
    reader = records.open_record("06_metrics", data, 0)
    for damage in (lambda: about.write_text('{"notebook": "05'), about.unlink):
        damage()
        with pytest.raises(LabError, match="run notebook 05_lstm first"):
            reader.load_checkpoint("05_lstm", "lstm")


# ---- where stored things are found -------------------------------------------------------------


def test_a_named_run_reads_only_its_own_results(
    home: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICLAB_RUN", "first")
    store_model(records.open_record("05_lstm", data, 0))
    (home / "runs" / "latest").symlink_to("first")
    monkeypatch.setenv("MUSICLAB_RUN", "second")
    with pytest.raises(LabError, match="second/records/05_lstm.*not there"):
        records.open_record("06_metrics", data, 0).load_checkpoint("05_lstm", "lstm")


@pytest.mark.parametrize("link", [True, False])
def test_by_hand_the_newest_run_serves_as_a_link_or_a_text_file(
    home: Path, data: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
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


def test_on_kaggle_another_kernel_s_output_is_found(
    home: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = store_model(records.open_record("05_lstm", data, 0))
    mounted = tmp_path / "kaggle" / "my-kernel" / "runs" / "interactive" / "records"
    mounted.mkdir(parents=True)
    path.parents[1].rename(mounted / "05_lstm")
    monkeypatch.setattr(records, "KAGGLE_INPUT", tmp_path / "kaggle")
    reader = records.open_record("06_metrics", data, 0)
    np.testing.assert_array_equal(predictions(reader.load_checkpoint("05_lstm", "lstm")), before)


def test_of_two_kernels_outputs_the_one_that_was_made_last_wins(
    home: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the records say: when a folder was mounted tells nothing."""
    monkeypatch.setattr(records, "KAGGLE_INPUT", tmp_path / "kaggle")
    stored = {}
    for number, (kernel, year) in enumerate((("b-new", 2026), ("c-old", 2024), ("a-old", 2025))):
        path, stored[kernel] = store_model(records.open_record("05_lstm", data, 0), seed=number)
        about = path.parents[1] / "record.json"
        text = re.sub(r'"started": "\d{4}', f'"started": "{year}', about.read_text())
        about.write_text(text)
        mounted = tmp_path / "kaggle" / kernel / "runs" / "interactive" / "records"
        mounted.mkdir(parents=True)
        path.parents[1].rename(mounted / "05_lstm")
    reader = records.open_record("06_metrics", data, 0)
    found = predictions(reader.load_checkpoint("05_lstm", "lstm"))
    np.testing.assert_array_equal(found, stored["b-new"])


# ---- results -----------------------------------------------------------------------------------

SCORES = {"accuracy": Score(0.5, 0.4, 0.6), "macro F1": Score(0.3, 0.2, 0.4)}


def test_results_have_one_row_per_model_feature_test_set_and_metric(home: Path, data: Path) -> None:
    record = records.open_record("06_metrics", data, seed=3)
    record.add_scores("lstm", "mel", "genre test (full)", {"accuracy": Score(0.1, 0, 0.2)}, 9)
    record.add_scores("lstm", "mel", "genre test (full)", SCORES, 9)  # the cell was run again
    record.add_scores("lstm", "mel", "genre test (beat)", SCORES, 9)
    stored = pd.read_csv(record.folder / "results.csv")
    assert tuple(stored.columns) == records.RESULT_COLUMNS
    assert len(stored) == 4
    row = stored.iloc[0].to_dict()
    assert row == {
        "notebook": "06_metrics", "model": "lstm", "feature": "mel",
        "test_set": "genre test (full)", "metric": "accuracy", "value": 0.5, "low": 0.4,
        "high": 0.6, "seed": 3, "n": 9,
    }  # fmt: skip


def test_affect_scores_are_stored_per_axis_and_as_their_mean(home: Path, data: Path) -> None:
    record = records.open_record("08_regression", data, 0)
    true = np.random.default_rng(0).uniform(size=(9, 3))
    scores = record.add_affect_scores("svr", "mel", true, true)
    assert scores["mean"].value == pytest.approx(1)
    stored = record.results().set_index("test_set")
    assert stored["metric"].to_dict() == {
        "affect held-out: valence": "Spearman", "affect held-out: energy": "Spearman",
        "affect held-out: danceability": "Spearman", "affect held-out": "mean Spearman",
    }  # fmt: skip
    assert set(stored["n"]) == {9}


def test_an_undefined_score_is_stored_as_an_empty_value(home: Path, data: Path) -> None:
    record = records.open_record("08_regression", data, 0)
    record.add_scores("x", "mel", "held-out", {"Spearman": Score(math.nan, reason="equal")}, 9)
    assert ",Spearman,,,,0,9" in (record.folder / "results.csv").read_text()


def test_comparisons_are_told_and_stored_as_rows(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.open_record("07_cnn", data, 0)
    undefined = Comparison(Score(math.nan, reason="all predictions are equal"), math.nan)
    clear = Comparison(Score(0.1, 0.05, 0.15), 0.004, n_compared=2, adjusted=0.008)
    compared = {("CNN", "SVM"): clear, ("CNN", "constant"): undefined}
    for _ in range(2):  # a cell that is run again adds nothing
        record.add_comparisons(compared, "accuracy")
    table = record.load_table("07_cnn", "comparisons")
    assert tuple(table.columns) == records.COMPARISON_COLUMNS and len(table) == 2
    assert table.loc[0, ["difference", "low", "high", "p", "p_holm"]].tolist() == [
        0.1, 0.05, 0.15, 0.004, 0.008,
    ]  # fmt: skip
    assert table.loc[1, "undefined"] == "all predictions are equal"
    showing.tell_comparisons(compared, "accuracy")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("- CNN is 0.100 above SVM in accuracy (95 % interval")
    assert second == "- CNN and constant cannot be compared in accuracy: all predictions are equal."


def test_the_results_of_a_run_are_joined(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for notebook in ("06_metrics", "07_cnn"):
        record = records.open_record(notebook, data, 0)
        record.add_scores("m", "mel", "genre test (full)", SCORES, 9)
        record.finish(key_metric="accuracy 0.50")
    joined = pd.read_csv(home / "runs" / "interactive" / "results.csv")
    assert joined["notebook"].tolist() == ["06_metrics"] * 2 + ["07_cnn"] * 2
    assert len(record.load_table("06_metrics", "results")) == 2
    assert record.load_value("07_cnn", "key_metric") == "accuracy 0.50"
    assert "results.csv" in capsys.readouterr().out


def test_a_run_without_results_has_an_empty_table(home: Path) -> None:
    (line,) = records.join_results(home / "runs" / "empty").splitlines()
    assert line == ",".join(records.RESULT_COLUMNS)


def test_what_a_notebook_left_that_did_not_finish_is_no_result(home: Path, data: Path) -> None:
    for notebook in ("07_cnn", "06_metrics"):
        record = records.open_record(notebook, data, 0)
        record.add_scores("m", "mel", "genre test (full)", SCORES, 9)
        record.finish(key_metric="accuracy 0.50")
    again = records.open_record("07_cnn", data, 0)
    again.add_scores("m", "mel", "genre test (full)", SCORES, 9)  # and then it fails
    rows = records.join_results(home / "runs" / "interactive").splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"06_metrics"}


def test_values_add_up(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    record.save_values(best_lstm={"name": "a"})
    record.save_values(count=3)
    assert record.load_value("05_lstm", "best_lstm") == {"name": "a"}
    assert record.load_value("05_lstm", "count") == 3
    with pytest.raises(LabError, match="values.json: has no 'n_seeds'; run notebook 05_lstm again"):
        record.load_value("05_lstm", "n_seeds")


def test_tables_keep_clip_ids_as_text(home: Path, data: Path) -> None:
    record = records.open_record("08_regression", data, 0)
    record.save_table("affect_split", pd.DataFrame({"id": ["007", "12"], "part": ["train", "val"]}))
    assert record.load_table("08_regression", "affect_split")["id"].tolist() == ["007", "12"]


def test_predictions_come_back_for_the_clips_that_are_asked_for(home: Path, data: Path) -> None:
    record = records.open_record("08_regression", data, 0)
    record.save_predictions("svr", ["7", "8"], np.array([[0.1, 0.2], [0.3, 0.4]]), ["a", "b"])
    loaded = record.load_predictions("08_regression", "svr", ["8", "7"], ["b"])
    assert loaded.tolist() == [[0.4], [0.2]]
    for ids, columns in ((["9"], ["a"]), (["7"], ["c"])):
        with pytest.raises(LabError, match="08_regression/svr.csv.*run notebook 08_regression"):
            record.load_predictions("08_regression", "svr", ids, columns)


@pytest.mark.parametrize("content", [b"", b'a,b\n1,"', b"id,a\n1,2,3\n4\n1,2,3,4,5\n", b"\xff\xfe"])
def test_a_damaged_table_is_named(home: Path, data: Path, content: bytes) -> None:
    record = records.open_record("08_regression", data, 0)
    record.finish("")
    (record.folder / "results.csv").write_bytes(content)
    for read in (
        lambda: record.load_table("08_regression", "results"),
        lambda: record.load_predictions("08_regression", "results", ["1"], ["a"]),
        lambda: records.join_results(record.folder.parents[1]),
    ):
        with pytest.raises(
            LabError, match="results.csv: no whole table .*run notebook 08_reg"
        ) as e:
            read()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"[1]", b"\xff"])
def test_damaged_values_are_named(home: Path, data: Path, content: bytes) -> None:
    record = records.open_record("05_lstm", data, 0)
    (record.folder / "values.json").write_bytes(content)
    with pytest.raises(LabError, match="values.json: no whole JSON .*run notebook 05_lstm again"):
        record.load_value("05_lstm", "best_lstm")


# ---- figures and words -------------------------------------------------------------------------


def test_a_figure_without_alt_text_is_refused(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    figure = plt.figure()
    with pytest.raises(LabError, match="figure 'curves' has no alt text"):
        record.show(figure, "curves")
    plt.close(figure)
    assert not (record.folder / "figures").exists()


def test_a_figure_may_take_the_place_of_one_that_is_shown_and_not_of_the_stored_one(
    home: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, str] = {}
    monkeypatch.setattr(showing, "_in_notebook", lambda: True)
    for name in ("display", "update_display"):
        show = lambda image, display_id, **_: shown.update({display_id: image.alt})  # noqa: E731
        monkeypatch.setattr(f"IPython.display.{name}", show)
    record = records.open_record("05_lstm", data, 0)
    record.show(plt.figure(label="One."), "curves", display_id="here")
    before = (record.folder / "figures" / "curves.png").read_bytes()
    showing.replace_shown(plt.figure(label="Another."), "here")
    assert shown == {"here": "Another."}
    assert (record.folder / "figures" / "curves.png").read_bytes() == before
    with pytest.raises(LabError, match="has no alt text"):
        showing.replace_shown(plt.figure(), "here")
    plt.close("all")


def test_a_figure_is_stored_with_its_alt_text(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.open_record("05_lstm", data, 0)
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    figure.set_label("A line that rises.")
    record.show(figure, "curves")
    with Image.open(record.folder / "figures" / "curves.png") as picture:
        assert picture.text["Description"] == "A line that rises."
        assert picture.width > 300
    printed = (record.folder / "figures" / "curves.pdf").read_bytes()
    assert printed.startswith(b"%PDF-") and b"/CreationDate" not in printed
    assert b"/FontFile2" in printed, "text stays text"
    stored = json.loads((record.folder / "figures.json").read_text())
    assert stored == {"curves": "A line that rises."}
    assert not plt.fignum_exists(figure.number)  # closed: many figures would fill the memory
    assert capsys.readouterr().out == "figure curves: A line that rises.\n"


def test_scripts_print_what_notebooks_display(capsys: pytest.CaptureFixture[str]) -> None:
    showing.tell("The **CNN** wins.")
    showing.show_table(pd.DataFrame({"value": [0.123456]}, index=["a"]))
    showing.show_source(models.time_mask)
    printed = capsys.readouterr().out
    assert "The **CNN** wins." in printed and "0.123\n" in printed
    assert "def time_mask(lengths" in printed


def test_in_a_notebook_an_output_says_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[dict] = []
    monkeypatch.setattr(showing, "_in_notebook", lambda: True)
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


def test_what_a_killed_process_left_is_removed(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    path, _ = store_model(record)
    left = path.with_name(f".{path.name}.{2**22 + 1}.abcdefgh.part")  # above any process's number
    left.write_text("half")
    records.open_record("05_lstm", data, 0)
    assert path.is_file() and not left.exists()


def test_nothing_half_written_stays_in_a_record(home: Path, data: Path) -> None:
    record = records.open_record("05_lstm", data, 0)
    store_model(record)
    record.add_scores("m", "mel", "test", SCORES, 9)
    assert not [path for path in home.rglob("*") if path.name.endswith(".part")]
