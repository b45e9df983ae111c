"""The benchmark on real music, on the small data folder of the tests and with tiny recipes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score

from benchmarks import music_models, real_music
from benchmarks.music_clips import (
    TASKS,
    Clips,
    Collection,
    make_folds,
    open_collection,
    rare_classes,
    strata_of,
)
from benchmarks.music_models import KitModel, as_model
from benchmarks.music_networks import SEED_STEP, genre_ensemble, genre_network
from benchmarks.music_references import PublicCNN, PublicRecipe, public_network
from benchmarks.music_report import as_markdown, read_tables
from benchmarks.music_runs import make_plan, outcome_path, read_outcome
from benchmarks.music_scores import Resamples, ensemble_of, over_repeats, score_of
from benchmarks.music_table import Comparison
from benchmarks.real_music import RESULTS
from helpers.evaluation import Score
from helpers.folders import AXES, GENRE_BEAT, MULTITASK, MULTITASK_BEAT, data_name
from helpers.machinery.files import LabError

ROOT = Path(__file__).parents[1]
TINY = {"epochs": 1, "hidden_size": 4, "crop_frames": 32, "head_epochs": 1, "tuning_epochs": 1}


@pytest.fixture(scope="module")
def answers(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "answers.csv"
    names = sorted(file.name.split(".")[0] for file in (mini_data / MULTITASK / "test").iterdir())
    rows = [f"{name},0.{n}0,0.{n}5,0.{9 - n}0" for n, name in enumerate(names)]
    path.write_text("\n".join(["Id,valence,energy,danceability", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def collection(mini_data: Path, answers: Path) -> Collection:
    return open_collection(mini_data, answers)


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> tuple[KitModel, ...]:
    """The kit's models as they are in the benchmark, only small."""
    models = tuple(
        replace(one, recipe=replace(one.recipe, **TINY)) for one in music_models.KIT_MODELS
    )
    monkeypatch.setattr(music_models, "KIT_MODELS", models)
    return models


# ---- clips and folds ---------------------------------------------------------------------------


def test_both_folders_and_parts_are_joined(collection: Collection) -> None:
    genre, affect = (collection.get(task, "full") for task in TASKS)
    assert genre.classes == ["Classical", "Hip-Hop", "Rock"]  # International is dropped
    assert np.bincount(genre.targets).tolist() == [9, 9, 9]
    assert affect.targets.shape == (22, 3)  # 16 train, 6 test with answers
    for task in TASKS:
        assert (collection.get(task, "beat").ids == collection.get(task, "full").ids).all()
    both = collection.both("full", "mel")
    assert len(both) == 27 + 22
    np.testing.assert_array_equal(both.frames(30), affect.dataset().frames(3))
    np.testing.assert_array_equal(both.labels[30, 3:], affect.targets[3])
    assert both.labels[30, :3].isnan().all() and both.labels[3, 3:].isnan().all()


def test_every_song_is_tested_once_and_its_clips_stay_together(collection: Collection) -> None:
    strata = strata_of(collection)
    folds = make_folds(strata, 5, repeat=1)
    tested = [song for fold in folds for song in fold.songs]
    assert sorted(tested) == sorted(strata)
    for clips in collection.clips.values():
        parts = [fold.parts(clips) for fold in folds]
        assert sorted(np.concatenate([part for _, part in parts])) == list(range(len(clips.ids)))
        for (fitted, own), fold in zip(parts, folds, strict=True):
            assert not set(clips.tracks["song"].iloc[fitted]) & fold.songs
            assert set(clips.tracks["song"].iloc[own]) <= fold.songs
    genre = collection.get("genre", "full")
    for fold in folds:  # 9 clips of each of the 3 classes
        counts = np.bincount(genre.targets[fold.parts(genre)[1]], minlength=3)
        assert counts.min() >= 1 and counts.max() <= 2


def test_folds_follow_from_the_repeat(collection: Collection) -> None:
    strata = strata_of(collection)
    assert make_folds(strata, 5, 2) == make_folds(dict(reversed(strata.items())), 5, 2)
    assert make_folds(strata, 5, 1) != make_folds(strata, 5, 2)
    assert [fold.seed for fold in make_folds(strata, 5, 3)] == [2] * 5


def test_folds_differ_by_one_song_at_most() -> None:
    for n_songs in (5, 8, 23, 74):
        folds = make_folds({str(n): "Rock" for n in range(n_songs)}, 5, 1)
        sizes = [len(fold.songs) for fold in folds]
        assert sum(sizes) == n_songs and max(sizes) - min(sizes) <= 1


def test_too_few_songs_are_said(collection: Collection) -> None:
    strata = {"1": "Rock", "2": "Rock", "3": "Rock", "4": "Pop"}
    with pytest.raises(LabError, match="4 songs for 5 folds; give fewer with --folds"):
        make_folds(strata, 5, 1)
    assert [line.split(",")[0] for line in rare_classes(strata, 3)] == [
        "class Pop: 1 songs for 3 folds"
    ]


# ---- nothing sees the tested songs -------------------------------------------------------------


def _poisoned(collection: Collection, songs: set[str], tested: frozenset[str]) -> Collection:
    """Other frames for these songs, and other labels for all tested songs."""
    clips = {}
    for key, own in collection.clips.items():
        frames = own.store.frames.copy()
        for number in np.flatnonzero(own.tracks["song"].isin(songs)):
            start = own.store.starts[number]
            frames[start : start + own.store.lengths[number]] *= 0.1
        tracks = own.tracks.copy()
        hit = tracks["song"].isin(tested)
        if own.task == "genre":
            turned = dict(zip(own.classes, np.roll(own.classes, 1), strict=True))
            tracks.loc[hit, "label"] = tracks.loc[hit, "label"].map(turned)
        else:
            tracks.loc[hit, list(AXES)] = 1 - tracks.loc[hit, list(AXES)]
        clips[key] = Clips(*key, tracks, replace(own.store, frames=frames))
    return Collection(clips, [], "poisoned")


@pytest.mark.parametrize(
    "name",
    [
        "majority",
        "svm",
        "svr",
        "public_lstm",
        "lstm_beat_seeds",
        "cnn",
        "multitask",
        "transfer",
        "together",
    ],
)
def test_nothing_that_is_fitted_sees_a_tested_song(
    name: str, collection: Collection, tiny_models: tuple[KitModel, ...], tmp_path: Path
) -> None:
    references = music_models.reference_models(lstm=PublicRecipe("lstm", 1e-3, epochs=2))
    models = {one.name: one for one in [*references, *map(as_model, tiny_models)]}
    model = models[name]
    fold = make_folds(strata_of(collection), 3, 1)[0]
    hidden = set(sorted(fold.songs)[::2])
    clean = model.fit(collection, fold, tmp_path / "clean")
    poisoned = model.fit(_poisoned(collection, hidden, fold.songs), fold, tmp_path / "poisoned")
    for task in model.tasks:
        clips = collection.get(task, model.form)
        songs = clips.tracks["song"].to_numpy()[fold.parts(clips)[1]]
        seen = ~np.isin(songs, list(hidden))
        assert seen.any()
        np.testing.assert_array_equal(clean[task][seen], poisoned[task][seen])


# ---- runs --------------------------------------------------------------------------------------


def _options(data: Path, answers: Path, output: Path, *more: str) -> list[str]:
    return [
        "--data", str(data), "--answers", str(answers), "--output", str(output),
        "--folds", "3", "--repeats", "2", *more,
    ]  # fmt: skip


def test_seeds_are_averaged_and_the_first_is_the_single_network(
    collection: Collection, tmp_path: Path
) -> None:
    recipe = replace(music_models.LSTM_BEAT, **TINY)
    fold = make_folds(strata_of(collection), 5, 1)[0]
    singles = [
        genre_network(collection, fold, replace(recipe, seed=seed), tmp_path)["genre"]
        for seed in (0, SEED_STEP)
    ]
    both = genre_ensemble(collection, fold, replace(recipe, members=2), tmp_path)["genre"]
    assert not np.allclose(*singles)
    np.testing.assert_allclose(both, ensemble_of(singles, "genre"), atol=1e-6)


def test_a_run_leaves_tables_and_a_plot(
    mini_data: Path,
    answers: Path,
    tmp_path: Path,
    tiny_models: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ("--only", "majority", "svm", "svr", "lstm_beat", "multitask", "transfer")
    options = _options(mini_data, answers, tmp_path, *only)
    assert real_music.main(options) in (0, 1)  # whether such small models reach it does not matter
    stem = real_music.stem_of(data_name(mini_data), 3, 2)
    table = pd.read_csv(tmp_path / f"{stem}.csv")
    assert set(table["repeats"]) == {2}  # repeat 1 chooses
    scores = table.set_index(["model", "metric"])
    assert scores.loc[("svm", "accuracy"), "value"] > 0.8  # the classes can be learned
    assert (table["low"] <= table["value"] + 1e-9).all()
    mean = scores.loc["svr"]["value"]
    assert mean["mean"] == pytest.approx(mean[list(AXES)].mean(), abs=1e-3)
    compared = pd.read_csv(tmp_path / f"{stem}_comparisons.csv")
    assert "reference: SVM" in set(compared["second"])
    assert (tmp_path / f"{stem}.png").stat().st_size > 1000
    told = capsys.readouterr().out
    assert "36 trainings, 0 of them there already; 36 remain, about " in told
    assert real_music.main([*options, "--markdown"]) == 0
    assert "| reference: SVM |" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(
    mini_data: Path,
    answers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = _options(mini_data, answers, tmp_path, "--only", "svm", "majority")
    real = music_models.references.svm
    calls: list[int] = []

    def interrupted(clips: Clips, fold) -> np.ndarray:  # noqa: ANN001
        calls.append(fold.number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(clips, fold)

    monkeypatch.setattr(music_models.references, "svm", interrupted)
    assert real_music.main(options) == real_music.INTERRUPTED
    assert "run the same command again" in capsys.readouterr().err
    assert real_music.main(options) == 0
    assert len(calls) == 3 + 4  # 6 in all, 2 of them before the interruption
    assert "12 trainings, 5 of them there already" in capsys.readouterr().out


def test_a_changed_recipe_or_other_data_are_measured_anew(collection: Collection) -> None:
    (model,) = [as_model(one) for one in music_models.KIT_MODELS if one.name == "cnn"]
    fold = make_folds(strata_of(collection), 3, 1)[0]
    others = [
        (replace(model, recipe=("genre", replace(model.recipe[1], epochs=7))), fold, collection),
        (model, make_folds(strata_of(collection), 4, 1)[0], collection),
        (model, fold, replace(collection, fingerprint="other")),
    ]
    place = Path("p")
    paths = {outcome_path(place, one, f, c) for one, f, c in others}
    assert len(paths | {outcome_path(place, model, fold, collection)}) == 4


def test_a_model_that_breaks_down_does_not_stop_the_others(
    mini_data: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ("--only", "public_cnn", "svm")  # the clips are shorter than four poolings by 3 need
    assert real_music.main(_options(mini_data, answers, tmp_path, *only)) == real_music.NOT_MET
    told = capsys.readouterr().out
    assert "broke down: public_cnn: clips of 66 frames are too short, it needs 81" in told
    assert "| reference: SVM |" in told and told.count("too short") == 2


@pytest.mark.parametrize(
    ("gone", "said", "left"),
    [
        ((GENRE_BEAT, MULTITASK_BEAT), f"{GENRE_BEAT}: not there", {"svm", "svr", "multitask"}),
        ((MULTITASK, MULTITASK_BEAT), f"{MULTITASK}: not there", {"svm", "lstm_beat"}),
    ],
)
def test_a_folder_without_a_part_is_measured_without_it(
    gone: tuple[str, ...],
    said: str,
    left: set[str],
    mini_data: Path,
    tmp_path: Path,
    tiny_models: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    shutil.copytree(mini_data, data, ignore=shutil.ignore_patterns(*gone))
    only = ("--only", "svm", "svr", "lstm_beat", "multitask")
    output = ("--output", str(tmp_path / "out"), "--folds", "3", "--repeats", "1")
    assert real_music.main(["--data", str(data), *output, *only]) in (0, 1)
    assert said in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / f"{real_music.stem_of(data_name(data), 3, 1)}.csv")
    assert set(table["model"]) == left


def test_wrong_words_are_answered_in_one_line(
    mini_data: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (("--only", "cn"), "--only cn: no such model (did you mean 'cnn'?); known: majority"),
        (("--repeats", "0"), "'0' is no number above 0"),
        (("--folds", "1"), "--folds 1: what is tested must not be trained on; give 2 or more"),
        (("--folds", "50"), "songs for 50 folds; give fewer with --folds"),
        (("--markdown",), "no table there; run the benchmark first"),
    ):
        assert real_music.main(_options(mini_data, answers, tmp_path, *words)) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_damaged_outcome_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cnn-r1-f1-0.json"
    assert read_outcome(path) is None
    path.write_text('{"seconds": 1')
    with pytest.raises(LabError, match=r"cnn-r1-f1-0\.json: no whole outcome .* remove the file"):
        read_outcome(path)


def test_the_first_repeat_is_whole_before_the_second_begins(collection: Collection) -> None:
    models = music_models.all_models()[:2]
    strata = strata_of(collection)
    folds = [fold for repeat in (1, 2) for fold in make_folds(strata, 3, repeat)]
    plan = make_plan(models, folds, collection, Path("p"))
    assert [(one.fold.repeat, one.model.name) for one in plan[::3]] == [
        (1, "majority"), (1, "svm"), (2, "majority"), (2, "svm"),
    ]  # fmt: skip


def test_models_are_what_the_table_promises() -> None:
    names = [model.name for model in music_models.all_models()]
    assert len(set(names)) == len(names)
    extras = music_models.ablations()
    assert all(one.changes in names for one in extras)
    defaults = {one.name: one.recipe for one in music_models.KIT_MODELS}
    assert len({one.name for one in extras}) == len(extras)
    changed = [one for one in extras if one.title != music_models.UNCHANGED]
    assert all(replace(one.recipe, seed=0) != defaults[one.changes] for one in changed)
    same = [one for one in extras if one.title == music_models.UNCHANGED]
    assert all(replace(one.recipe, seed=0) == defaults[one.changes] for one in same)
    rows = music_models.ablation_rows(extras)
    assert sum(len(row.names) for row in rows) == len(changed)
    assert all(len(row.names) == len(row.default_names) for row in rows)
    assert all(row.default_names[0] in names for row in rows)
    known = {*names, *(one.name for one in music_models.ENSEMBLES), music_models.BEST_SINGLE}
    assert all({one.first, one.second} <= known for one in music_models.COMPARISONS)
    assert set(music_models.QUICK) <= set(names)
    assert {member for one in music_models.ENSEMBLES for member in one.members} <= known


# ---- references --------------------------------------------------------------------------------


def test_the_public_cnn_is_as_described() -> None:
    model = PublicCNN(1292, 4)
    kinds = [type(layer).__name__ for layer in model.blocks]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 4
    assert [layer.out_channels for layer in list(model.blocks)[::4]] == [16, 32, 64, 128]
    assert model.head[2].in_features == 128 * 15  # 128 bands -> 1, 1292 frames -> 15
    assert (model.head[2].out_features, model.head[1].p) == (128, 0.2)


def test_the_public_lstm_learns_the_small_set(collection: Collection) -> None:
    fold = make_folds(strata_of(collection), 3, 1)[0]
    clips = collection.get("genre", "beat")
    outputs = public_network(clips, fold, PublicRecipe("lstm", 1e-3, epochs=20))
    fitted, tested = fold.parts(clips)
    assert outputs.shape == (len(tested), 3) and np.isfinite(outputs).all()


# ---- scores ------------------------------------------------------------------------------------


def test_scores_are_those_of_sklearn_and_scipy_on_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    true, logits = rng.integers(4, size=60), rng.normal(size=(60, 4))
    values, targets = rng.normal(size=(60, 3)), rng.uniform(size=(60, 3)).round(1)  # with ties
    genre, affect = Resamples("genre", true, 5), Resamples("affect", targets, 5)
    of_genre, of_affect = genre.metrics(logits), affect.metrics(values)
    for row in range(6):
        picked = genre.picks[row]
        a, b = true[picked], logits.argmax(1)[picked]
        assert of_genre["accuracy"][row] == pytest.approx((a == b).mean())
        assert of_genre["macro F1"][row] == pytest.approx(f1_score(a, b, average="macro"))
        picked = affect.picks[row]
        rhos = [spearmanr(targets[picked, i], values[picked, i]).statistic for i in range(3)]
        assert [of_affect[axis][row] for axis in AXES] == pytest.approx(rhos)
        assert of_affect["mean"][row] == pytest.approx(np.mean(rhos))
    assert (genre.picks[0] == np.arange(60)).all()  # the value itself is of all clips


def test_repeats_are_averaged_song_by_song() -> None:
    true = np.array([0, 1, 0, 1])
    right, wrong = np.eye(2)[true], np.eye(2)[1 - true]
    values = over_repeats(Resamples("genre", true, 50), [right, wrong])["accuracy"]
    np.testing.assert_allclose(values, 0.5)  # every song is half right, so no resample differs
    score = score_of(values)
    assert (score.value, score.low, score.high) == (0.5, 0.5, 0.5)


def test_constant_predictions_have_no_rank_correlation() -> None:
    targets = np.random.default_rng(0).uniform(size=(20, 3))
    score = score_of(Resamples("affect", targets, 20).metrics(np.full((20, 3), 0.5))["mean"])
    assert (
        not score.defined
        and str(score) == "undefined (the predictions of an axis, or its labels, are all equal)"
    )


def test_an_ensemble_averages_probabilities_or_values() -> None:
    sure, unsure = np.array([[9.0, 0.0]]), np.array([[0.0, 1.0]])
    assert ensemble_of([sure, unsure], "genre").argmax() == 0
    np.testing.assert_allclose(ensemble_of([sure, unsure], "genre").sum(), 1)
    np.testing.assert_allclose(ensemble_of([sure, unsure], "affect"), [[4.5, 0.5]])


@pytest.mark.parametrize(
    ("sense", "value", "interval", "reached"),
    [
        ("above", 0.0, (0.05, 0.01, 0.09), "yes"),
        ("above", 0.0, (0.05, -0.01, 0.09), "no"),
        ("at least", 0.12, (0.13, -0.01, 0.3), "yes"),
        ("at least", 0.12, (0.11, 0.1, 0.2), "no"),
        ("not below", 0.0, (-0.02, -0.05, 0.01), "yes"),
        ("not below", 0.0, (-0.06, -0.09, -0.01), "no"),
        ("", 0.0, (0.0, 0.0, 0.0), ""),
    ],
)
def test_what_is_required_of_a_difference(
    sense: str, value: float, interval: tuple[float, float, float], reached: str
) -> None:
    assert Comparison("genre", "a", "b", sense, value).reached(Score(*interval)) == reached


def test_what_is_missed_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"first": "a", "second": "b", "required": "at least +0.10", "reached": "no"}
    assert real_music._verdict({"_comparisons": pd.DataFrame([row])}, []) == real_music.NOT_MET
    assert "not reached: a - b, at least +0.10" in capsys.readouterr().out
    row["reached"] = "yes"
    assert real_music._verdict({"_comparisons": pd.DataFrame([row])}, []) == real_music.MET


def test_a_difference_that_cannot_be_told_is_shown_and_not_reached(
    mini_data: Path, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(clips: Clips, fold) -> np.ndarray:  # noqa: ANN001
        raise ValueError("one class only")

    monkeypatch.setattr(music_models.references, "svm", broken)
    required = Comparison("genre", "majority", "svm", "above")
    monkeypatch.setattr(music_models, "COMPARISONS", (required,))
    stem = real_music.stem_of(data_name(mini_data), 3, 2)
    old = tmp_path / f"{stem}_ablations.csv"
    old.touch()
    options = _options(mini_data, answers, tmp_path, "--only", "majority", "svm")
    assert real_music.main(options) == real_music.NOT_MET
    told = capsys.readouterr().out
    assert "broke down: svm: ValueError: one class only" in told
    assert "SVM | accuracy | undefined |" in told and "not reached: reference: majority" in told
    stored = read_tables(tmp_path, stem)
    assert stored["_comparisons"]["difference"].isna().all()
    assert not old.exists()  # the files are those of one run


# ---- the stored tables -------------------------------------------------------------------------


def test_the_readme_shows_the_stored_tables() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = as_markdown(read_tables(RESULTS, "real_music")).strip().split("\n\n")
    absent = [table for table in shown if f"\n{table}\n" not in readme]  # whole: no row too many
    assert not absent, "python -m benchmarks.real_music --markdown prints what belongs there"


def test_the_stored_tables_are_those_of_the_present_models() -> None:
    tables = read_tables(RESULTS, "real_music")
    names = {model.name for model in music_models.all_models()}
    names |= {one.name for one in music_models.ENSEMBLES}
    assert set(tables[""]["model"]) == names
    rows = music_models.ablation_rows(music_models.ablations())
    titles = {one.name: one.title for one in music_models.KIT_MODELS}
    changes = {(titles[row.default], row.title) for row in rows}
    stored = tables["_ablations"]
    assert set(zip(stored["default"], stored["change"], strict=True)) == changes
