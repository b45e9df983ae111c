"""The benchmark on real music, on the small data folder of the tests and with a made-up lab."""

import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import page, real_music, references
from benchmarks.songs import Songs, make_folds, open_songs, write_fold
from helpers import evaluation
from helpers.datasets import SpectrogramDataset
from helpers.evaluation import Score
from helpers.folders import AXES, FOLDERS, GENRE, GENRE_BEAT, MULTITASK, SPLITS, read_clips
from helpers.machinery.files import LabError
from helpers.notebook.records import Record
from tests import fake_gpus
from tools.common.notebooks import NOTEBOOKS, Lab

LSTMS = [f"lstm_{part}_{form}" for part in ("mel", "chroma", "fused") for form in ("full", "beat")]
CLASSIFIERS = (
    *LSTMS, "svm_hand_full", "svm_hand_beat", "cnn_mel_best", "cnn_mel_refit", "svm_mel_refit",
    "svm_hand_refit", "cnn_and_hand", "ast_mel_best",
)  # fmt: skip
CANDIDATES = (
    "ensemble of CNNs and SVR", "multitask CNN (step 10)", "CNNs, energy from genre (step 9)",
    "CNNs (step 8)", "LSTMs (step 8)", "SVR", "hand-made SVR", "ensemble of CNNs and both SVRs",
    "ensemble of CNNs and hand-made SVR",
)  # fmt: skip


@pytest.fixture(scope="module")
def songs(mini_data: Path, mini_answers: Path) -> Songs:
    return open_songs(mini_data.resolve(), mini_answers)


# ---- songs and folds ---------------------------------------------------------------------------


def test_all_labelled_clips_are_pooled(songs, mini_data):
    assert songs.classes == ["Classical", "Hip-Hop", "Rock"]  # International is dropped
    assert np.bincount(songs.truth(GENRE)["class"].astype(int)).tolist() == [9, 9, 9]
    assert len(songs.truth(MULTITASK)) == 22 and not songs.notes
    fewer = open_songs(mini_data, None)
    assert len(fewer.truth(MULTITASK)) == 16 and "6 clips without labels" in fewer.notes[0]


def test_a_fold_is_the_lab_s_layout_and_leaks_nothing(songs, tmp_path):
    folds = make_folds(songs, 3, repeat=1)
    tested = [song for fold in folds for song in fold.songs]
    assert sorted(tested) == list(songs.strata)
    assert folds == make_folds(songs, 3, 1) != make_folds(songs, 3, 2)
    for fold in folds:
        write_fold(songs, fold, tmp_path / fold.name)
        for name in FOLDERS:
            folder = tmp_path / fold.name / name
            ids = {split: set(read_clips(folder, split)["id"]) for split in SPLITS}
            own = songs.clips[name].set_index("id")["song"]
            assert set(own[list(ids["test"])]) <= fold.songs
            assert not set(own[list(ids["train"])]) & fold.songs
            assert ids["train"] | ids["test"] == set(own.index)
        data = tmp_path / fold.name
        assert read_clips(data / MULTITASK, "test")[list(AXES)].isna().all(axis=None)
        labels = SpectrogramDataset(data / GENRE, "test").labels.numpy()
        assert np.bincount(labels).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("wrong", "line"),
    {
        "--folds=10": "class Classical: 9 songs for 10 folds, so a fold would miss it",
        "--folds=1": "--folds 1: what is tested must not be trained on",
        "--answers=nowhere": "nowhere: no such file; give the affect test clips' values",
        "--answers=others": "others: no answer for clip 1232127",
        "--data=other": "other: no folder fma_genre_spectrograms in it",
        "--data=twice": "clip 1000 is in train and in test; remove one",
    }.items(),
)
def test_wrong_input_is_one_line(wrong, line, songs, mini_answers, home, monkeypatch):
    monkeypatch.chdir(home)
    Path("others").write_text("Id,valence,energy,danceability\n7,0.1,0.2,0.3\n")
    Path("other").mkdir()
    shutil.copytree(songs.data, "twice")
    shutil.copytree(Path("twice", GENRE, "train"), Path("twice", GENRE, "test"), dirs_exist_ok=True)
    with open(Path("twice", GENRE, "test_labels.txt"), "a") as labels:
        labels.write("1000.x\tClassical\n")
    with pytest.raises(LabError, match=line):
        real_music.main(["--data", str(songs.data), "--answers", str(mini_answers), wrong])


# ---- a whole benchmark, with a made-up lab -----------------------------------------------------


class FakeLab:
    """In place of the runner: it "recognises" every clip, but for one class in repeat 2."""

    def __init__(self, songs: Songs, answers: Path, out: Path) -> None:
        self.songs, self.answers, self.out = songs, answers, out
        self.failing: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []

    def bench(self, *more: str) -> tuple[int, str, pd.DataFrame]:
        """Run the benchmark: exit code, page, scores by model and metric."""
        os.environ["MUSICLAB_HOME"] = str(self.out / "home")  # as in a process of its own
        words = ["--data", str(self.songs.data), "--answers", str(self.answers), "--folds", "2"]
        code = real_music.main([*words, "--out", str(self.out), *more])
        scores = pd.read_csv(self.out / "how_good.csv").set_index(["model", "metric"])
        return code, (self.out / "how_good.md").read_text(), scores

    def __call__(self, arguments: list[str]) -> int:
        options = dict(zip(arguments[:6:2], arguments[1:6:2], strict=True))
        name, data = options["--name"], Path(options["--data"])
        self.calls.append(name)
        run = data.parents[1] / "runs" / name
        record = Record("all", data, 0, run / "records" / "all")
        self.store(record, data, wrong=int("r2" in name))
        for notebook in NOTEBOOKS:  # each holds what all of them leave
            shutil.copytree(record.folder, run / "records" / notebook, dirs_exist_ok=True)
        states = dict.fromkeys(NOTEBOOKS, "done") | self.failing.get(name, {})
        rows = [{"notebook": notebook, "status": state} for notebook, state in states.items()]
        (run / "summary.json").write_text(json.dumps({"notebooks": rows}))
        return int("failed" in states.values())

    def store(self, record: Record, data: Path, wrong: int) -> None:
        """What the notebooks leave, as far as the benchmark looks at it."""
        test = SpectrogramDataset(data / GENRE, "test")
        predicted = np.where(test.labels == 0, wrong, test.labels)
        for name in CLASSIFIERS:
            record.save_predictions(f"test_{name}", test.ids, predicted, ["class"])
        record.save_values(best_lstm={"name": LSTMS[0]})
        ids = read_clips(data / MULTITASK, "test")["id"].tolist()
        right = self.songs.truth(MULTITASK).loc[ids].rename_axis("id")
        right.rename(index="{}.npy".format).to_csv(record.folder / "solution.txt", index_label="Id")
        flawed = {name: right + 0.1 * number for number, name in enumerate(CANDIDATES)}
        flawed["CNNs (step 8)"] = -right
        record.save_table("test_predictions", pd.concat(flawed, names=["model"]).reset_index())


@pytest.fixture
def lab(
    songs: Songs, mini_answers: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeLab:
    fake = FakeLab(songs, mini_answers, tmp_path)
    monkeypatch.setattr(real_music, "run_lab", fake)
    monkeypatch.setattr(real_music, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(references, "EPOCHS", 1)
    monkeypatch.setattr(evaluation, "N_RESAMPLES", 60)
    monkeypatch.setattr(real_music, "RESAMPLES", 60)
    first = {name: values[:1] for name, values in references.SVR_GRID.items()}
    monkeypatch.setattr(references, "SVR_GRID", first)
    return fake


def test_what_the_lab_stored_is_scored_and_told(lab, monkeypatch):
    lab.failing["real-music-r1-f2"] = {"07_cnn": "failed", "08_regression": "skipped"}
    monkeypatch.setattr(real_music, "N_REPEATS", 2)
    code, text, scores = lab.bench()
    assert code == 1 and lab.calls == [f"real-music-r{r}-f{f}" for r in (1, 2) for f in (1, 2)]
    assert text.startswith("Generated by `python -m benchmarks.real_music --data DIR --answers")
    assert str(lab.songs.data) not in text
    assert "- real-music-r1-f2: notebook 07_cnn failed" in text
    assert "public CNN: clips of 66 frames are too short" in text
    for required in page.REQUIRED:  # none is dropped
        assert required.first.startswith(page.BEST_GENRE) or f"| {required.first} " in text
    assert "| LSTM, full clips (repeats 2, 3) " in text  # the first of those best in repeat 1
    assert "genre and affect together, CNN minus SVR, not below beyond its interval: not " in text
    folds = Path(os.environ["MUSICLAB_HOME"]) / "folds"
    profile = yaml.safe_load((folds / "real-music-r2-f1.yaml").read_text())
    assert profile["all"]["seed"] == 2 and profile["07_cnn"]["n_refits"] == 1
    accuracy = scores.xs("accuracy", level="metric")
    assert accuracy.loc["LSTM, beats", "value"] == pytest.approx((1 + 18 / 27) / 2)
    assert accuracy.loc["LSTM, beats", "clips"] == 27 > accuracy.loc["CNN", "clips"] >= 12
    requirements = pd.read_csv(lab.out / "how_good_comparisons.csv").set_index(["first", "second"])
    reported = requirements.loc[("CNN (repeats 2, 3)", "hand-made SVM (repeats 2, 3)"), :]
    assert reported["difference"].item() == 0 and "hand-made SVM (repeats 2, 3), at" in text
    mean = scores.xs("mean", level="metric")["value"]
    assert mean["what 11 submits"] == mean["multitask CNN"] == pytest.approx(1)
    assert mean["CNNs, one per axis"] == pytest.approx(-1)  # each candidate's own
    affect = [model.model for model in real_music.MODELS if model.task == MULTITASK]
    assert mean[affect].notna().all()

    kept = {name: (r[0], None) for name, r in references.REFERENCES.items() if "CNN" not in name}
    monkeypatch.setattr(references, "REFERENCES", kept)  # a second time nothing is fitted
    del lab.failing["real-music-r1-f2"]
    lab.calls.clear()
    monkeypatch.setattr(real_music, "gpus_for", lambda device: fake_gpus.GPUS)
    fake_gpus.fake(monkeypatch)
    _, text, again = lab.bench()
    repeats = [[f"real-music-r{r}-f{f}" for f in (1, 2)] for r in (1, 2)]
    assert [sorted(lab.calls[4 * r : 4 * r + 2]) for r in (0, 1)] == repeats, "one on each GPU"
    assert [lab.calls[4 * r + 2 : 4 * r + 4] for r in (0, 1)] == repeats, "then read in order"
    assert "Failed" not in text and again.loc[("CNN", "accuracy"), "clips"] == 27
    assert again.loc[("SVM", "accuracy"), "value"] == accuracy.loc["SVM", "value"]


def test_requirements_are_judged_by_difference_and_interval():
    def verdict(sense: str, value: float, low: float, high: float) -> str:
        return page.Required(GENRE, "a", "b", sense, 0.1).judged(Score(value, low, high))[1]

    assert verdict("above", 0.1, 0.01, 0.2) == "met" != verdict("above", 0.1, 0.0, 0.2)
    assert verdict("at least", 0.1, -1, 1) == "met" != verdict("at least", 0.099, 0.09, 1)
    assert verdict("not below", -0.1, -0.2, 0.0) == "met" != verdict("not below", -1, -2, -0.1)
    assert verdict("not below", *3 * [math.nan]) == "NOT met"
    assert verdict("", *3 * [math.nan]) == ""


def test_names_and_parameters_are_those_of_the_notebooks():
    lab = Lab()
    for notebook, change in real_music.LEAN.items():
        own = lab.read(notebook).parameters
        assert all(type(own[name]) is type(value) for name, value in change.items())
    code = {notebook: "\n".join(lab.read(notebook).code) for notebook in NOTEBOOKS}
    assert all(f'"{name}"' in code["05_lstm"] for name in LSTMS)
    assert 'f"test_{name}"' in code["06_metrics"] and 'f"test_{name}"' in code["07_cnn"]
    assert all(f'of_seed("{name}"' in code["07_cnn"] for name in ("cnn_mel_best", "cnn_mel_refit"))
    assert 'of_seed("test_ast_mel_best"' in code["07b_ast"]
    last = code["11_kaggle_submission"]
    assert all(f'"{name.replace("energy", "{moved}")}"' in last for name in CANDIDATES)


def test_references_learn_and_do_not_look_at_test_labels(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(references, "EPOCHS", 2)
    fold, folders = make_folds(songs, 3, 1)[0], [tmp_path / "fold", tmp_path / "other"]
    for folder in folders:
        write_fold(songs, fold, folder)
    truth = SpectrogramDataset(folders[0] / GENRE, "test").labels.numpy()
    assert (references.predict("SVM", folders[0], 1)["class"] == truth).mean() > 0.8
    for form in (GENRE, GENRE_BEAT):
        labels = folders[1] / form / "test_labels.txt"
        labels.write_text(labels.read_text().replace("Classical", "Hip-Hop"))
    for name in ("SVM", "public LSTM, beats"):
        first, second = (references.predict(name, folder, 1) for folder in folders)
        assert first.equals(second)
