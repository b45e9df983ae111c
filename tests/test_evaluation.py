"""Metrics against scikit-learn and scipy, intervals against a plain loop, and what is undefined."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from helpers import evaluation
from helpers.evaluation import Score
from helpers.folders import AXES
from helpers.machinery.files import LabError
from helpers.notebook.showing import comparison_sentence

CLASSES = ["Blues", "Folk", "Jazz", "Rock"]


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Undefined values are told with their reason, not as warnings of a library."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def labels(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class numbers, about half of them equal."""
    rng = np.random.default_rng(seed)
    true = rng.choice(4, size=n, p=[0.1, 0.2, 0.3, 0.4])
    return true, np.where(rng.random(n) < 0.5, true, rng.integers(4, size=n))


def values(seed: int = 0, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted values [n, 3] that go along with each other; with ties, as real labels."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(size=(n, 3)).round(1)
    return true, (true + rng.normal(0, 0.4, size=(n, 3))).round(2)


def resamples(n: int, seed: int = 0) -> np.ndarray:
    """The clips that the bootstrap draws, written out once more."""
    return np.random.default_rng(seed).integers(n, size=(evaluation.N_RESAMPLES, n))


def check_interval(score: Score, metric: Callable[[np.ndarray], float], n: int) -> None:
    """The 95 % interval equals that of a metric of clip numbers, one resample after the other."""
    looped = np.nanpercentile([metric(picks) for picks in resamples(n)], [2.5, 97.5])
    np.testing.assert_allclose([score.low, score.high], looped)


# ---- classification against scikit-learn -------------------------------------------------------


@pytest.mark.parametrize("kind", ["some right", "others right", "always the same"])
def test_scores_equal_those_of_scikit_learn(kind):
    true, predicted = labels(seed=kind == "others right")
    if kind == "always the same":
        predicted = np.full_like(true, 3)
    scores = evaluation.classification_scores(true, predicted, 4)
    assert scores["accuracy"].value == pytest.approx(metrics.accuracy_score(true, predicted))
    for average in ("macro", "micro"):
        expected = metrics.f1_score(true, predicted, average=average, zero_division=0)
        assert scores[f"{average} F1"].value == pytest.approx(expected)
    per_class = evaluation.f1_scores(true, predicted, CLASSES)
    expected = metrics.f1_score(true, predicted, average=None, zero_division=0)
    assert [score.value for score in per_class.values()] == pytest.approx(expected.tolist())
    np.testing.assert_array_equal(
        evaluation.confusion_counts(true, predicted, 4), metrics.confusion_matrix(true, predicted)
    )


def test_intervals_equal_a_loop_over_the_same_resamples(monkeypatch):
    monkeypatch.setattr(evaluation, "N_RESAMPLES", 200)  # the loop is slow
    true, predicted = labels()
    scores = evaluation.classification_scores(true, predicted, 4)

    def f1_of(classes: list[int]) -> Callable[[np.ndarray], float]:
        return lambda picks: metrics.f1_score(
            true[picks], predicted[picks], labels=classes, average="macro", zero_division=0
        )

    check_interval(scores["macro F1"], f1_of([0, 1, 2, 3]), 60)
    check_interval(scores["accuracy"], lambda p: (true[p] == predicted[p]).mean(), 60)
    check_interval(evaluation.f1_scores(true, predicted, CLASSES)["Rock"], f1_of([3]), 60)


def test_a_class_missing_from_a_resample_does_not_bias_the_interval_of_macro_f1():
    true = np.repeat(np.arange(20), 3)
    score = evaluation.classification_scores(true, true, 20)["macro F1"]
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)


def test_the_report_is_scikit_learn_s_with_names_in_their_rows():
    true, predicted = labels()
    table = evaluation.report_table(true, predicted, CLASSES)
    expected = metrics.classification_report(
        true, predicted, target_names=CLASSES, output_dict=True
    )
    assert list(table.index) == [*CLASSES, "macro avg", "micro avg"]
    for name in [*CLASSES, "macro avg"]:
        assert table.loc[name].tolist() == pytest.approx(list(expected[name].values()))
    micro = metrics.precision_recall_fscore_support(true, predicted, average="micro")[:3]
    assert table.loc["micro avg"].tolist() == pytest.approx([*micro, 60])


# ---- Spearman against scipy --------------------------------------------------------------------


def test_spearman_equals_scipy_s_and_its_interval_a_loop():
    """The mean over the axes is taken in each resample."""
    true, predicted = values()

    def of(axis: int) -> Callable[[np.ndarray], float]:
        return lambda p: spearmanr(true[p, axis], predicted[p, axis]).statistic

    def mean(picks: np.ndarray) -> float:
        return float(np.mean([of(axis)(picks) for axis in range(3)]))

    scores = evaluation.affect_scores(true, predicted)
    assert list(scores) == [*AXES, "mean"]
    for name, metric in {"energy": of(1), "mean": mean}.items():
        assert scores[name].value == pytest.approx(metric(np.arange(50)))
        check_interval(scores[name], metric, 50)
    assert scores["energy"] == evaluation.spearman(true[:, 1], predicted[:, 1])
    assert scores["mean"] == evaluation.mean_spearman(true, predicted)


@pytest.mark.parametrize(
    ("true", "predicted", "reason"),
    [
        ([0.1, 0.2, 0.4], [0.5, 0.5, 0.5], "all predictions are equal"),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], "all true values are equal"),
        ([0.1, 0.2], [0.1, 0.2], "2 clips are too few for a rank correlation"),
    ],
)
def test_what_cannot_be_computed_is_undefined_with_its_reason(true, predicted, reason):
    score = evaluation.spearman(np.array(true), np.array(predicted))
    assert math.isnan(score.value) and not score.defined
    assert str(score) == f"undefined ({reason})"
    both = np.array(true)[:, None], np.array(predicted)[:, None]
    assert evaluation.mean_spearman(*both).reason == reason


def test_resamples_of_equal_values_are_left_out_of_the_interval():
    score = evaluation.spearman(np.array([0.1, 0.1, 0.1, 0.9]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert score.defined and -1 <= score.low <= score.value <= score.high <= 1


# ---- scores and what is refused ----------------------------------------------------------------


def test_the_highest_score_is_never_an_undefined_one():
    scores = {"a": Score(math.nan, reason="x"), "b": Score(-0.2), "c": Score(-0.1)}
    assert evaluation.highest(scores) == "c"
    assert evaluation.highest({"a": scores["a"]}) == "a"


@pytest.mark.parametrize(
    "metric",
    [
        lambda a, b: evaluation.classification_scores(a, b, 3),
        evaluation.spearman,
        lambda a, b: evaluation.compare_accuracy(a, a, b),
        lambda a, b: evaluation.compare_macro_f1(a, a, b),
        lambda a, b: evaluation.compare_spearman(a, a, b),
    ],
)
def test_every_clip_must_be_predicted_once(metric):
    with pytest.raises(LabError, match="predict every clip once"):
        metric(np.array([0, 1, 2]), np.array([0, 1]))
    with pytest.raises(LabError, match="no clips to score"):
        metric(np.array([], dtype=int), np.array([], dtype=int))


# ---- paired comparisons ------------------------------------------------------------------------


def test_a_paired_difference_is_first_minus_second_on_the_same_resamples():
    true, first = labels()
    _, second = labels(5)
    result = evaluation.compare_accuracy(true, first, second)
    gains = (first == true).astype(float) - (second == true)
    assert result.difference.value == pytest.approx(gains.mean())
    check_interval(result.difference, lambda picks: gains[picks].mean(), 60)
    turned = evaluation.compare_accuracy(true, second, first)
    assert turned.difference.value == -result.difference.value
    assert turned.p_value == pytest.approx(result.p_value, abs=0.05)


def test_a_difference_of_macro_f1_is_paired_too(monkeypatch):
    monkeypatch.setattr(evaluation, "N_RESAMPLES", 200)  # the loop is slow
    true, first = labels()
    second, constant = labels(5)[1], np.zeros_like(true)

    def gain(picks: np.ndarray) -> float:
        one, other = (
            metrics.f1_score(true[picks], p[picks], average="macro", zero_division=0)
            for p in (first, second)
        )
        return one - other

    result = evaluation.compare_macro_f1(true, first, second)
    assert result.difference.value == pytest.approx(gain(np.arange(60)))
    check_interval(result.difference, gain, 60)
    assert evaluation.compare_macro_f1(true, first, first).p_value == 1
    assert evaluation.compare_macro_f1(true, true, constant).clear
    several = evaluation.compare_macro_f1(true, [first, second], [second, second])
    assert several.difference.value == pytest.approx(result.difference.value / 2)
    assert several.n_trainings == (2, 2)


def test_a_difference_of_spearman_is_paired_too():
    true, good = values(n=150)
    bad = np.random.default_rng(1).uniform(size=(150, 3))
    result = evaluation.compare_spearman(true, good, bad)
    assert result.clear and result.p_value < 0.01
    assert evaluation.compare_spearman(true, good, good).p_value == 1
    single = evaluation.compare_spearman(true[:, 0], good[:, 0], bad[:, 0])
    one, other = (evaluation.spearman(true[:, 0], p[:, 0]) for p in (good, bad))
    assert single.difference.value == pytest.approx(one.value - other.value)


def test_a_comparison_that_cannot_be_made_says_so():
    true, good = values()
    constant = evaluation.compare_spearman(true, good, np.full_like(true, 0.5))
    one_clip = np.array([1]), np.array([1]), np.array([0])
    for result, reason in (
        (constant, "all predictions are equal"),
        (evaluation.compare_accuracy(*one_clip), "1 clip is too few for a comparison"),
        (evaluation.compare_macro_f1(*one_clip), "1 clip is too few for a comparison"),
    ):
        assert not result.clear and math.isnan(result.p_value)
        sentence = str(comparison_sentence(result, "CNN", "constant", "Spearman"))
        assert sentence == f"CNN and constant cannot be compared in Spearman: {reason}."


CHANCE, CLEAR = "it may be chance", "unlikely to be chance"


@pytest.mark.parametrize(
    ("interval", "p_value", "adjusted", "words"),
    [
        ((0.031, 0.01, 0.05), 0.04, None, ("CNN is 0.031 above SVM in accuracy", CLEAR)),
        ((-0.031, -0.05, -0.01), 0.01, None, ("CNN is 0.031 below SVM", "p = 0.010", CLEAR)),
        ((0.031, -0.01, 0.07), 0.01, None, ("-0.010 to +0.070", CHANCE)),
        ((0.0, 0.0, 0.0), 0.01, None, (CHANCE,)),
        ((0.1, 0.02, 0.2), 0.06, None, (CHANCE,)),
        ((0.1, 0.02, 0.2), 0.04, 0.12, ("p = 0.120 after Holm's correction for 3", CHANCE)),
    ],
)
def test_a_difference_is_called_clear_only_if_interval_and_p_value_agree(
    interval, p_value, adjusted, words
):
    result = evaluation.Comparison(Score(*interval), p_value, 3, adjusted)
    sentence = str(comparison_sentence(result, "CNN", "SVM", "accuracy"))
    assert all(word in sentence for word in words), sentence
    assert result.clear == (CLEAR in words) and ("Holm" in sentence) == (adjusted is not None)


def test_holm_corrects_as_in_a_worked_example():
    """Holm 1979: times 4, 3, 2, 1 in rising order, never below the one before, at most 1."""
    score = Score(0.1, 0.05, 0.15)
    p_values = {"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.005}
    compared = {name: evaluation.Comparison(score, p) for name, p in p_values.items()}
    undefined = evaluation.Comparison(Score(math.nan, reason="equal"), math.nan)
    corrected = evaluation.holm({**compared, "e": undefined})
    assert list(corrected) == ["a", "b", "c", "d", "e"]
    adjusted = [corrected[name].adjusted for name in "abcd"]
    np.testing.assert_allclose(adjusted, [0.06, 0.03, 0.06, 0.02])
    assert corrected["e"] is undefined
    assert corrected["d"].clear and not corrected["a"].clear
    words = "p = 0.040, p = 0.060 after Holm's correction for 4): it may be chance"
    assert words in str(comparison_sentence(corrected["a"], "CNN", "SVM", "accuracy"))
    (only,) = evaluation.holm({"a": compared["a"]}).values()
    assert only.clear and "Holm" not in str(comparison_sentence(only, "CNN", "SVM", "accuracy"))


def test_several_trainings_count_with_their_mean():
    true = np.arange(40) % 4
    right, wrong = true, (true + 1) % 4
    half = np.where(np.arange(40) < 20, true, wrong)
    result = evaluation.compare_accuracy(true, [right, half], [half, wrong])
    assert result.difference.value == pytest.approx(0.75 - 0.25)
    sentence = str(comparison_sentence(result, "a", "b", "accuracy"))
    assert "the mean over 2 and 2 trainings" in sentence
    single = evaluation.compare_accuracy(true, [right], half)
    assert single == evaluation.compare_accuracy(true, right, half)

    targets, good = values(n=80)
    noise = np.random.default_rng(2).uniform(size=targets.shape)
    result = evaluation.compare_spearman(targets, [good, noise], noise)
    one, other = (evaluation.mean_spearman(targets, v).value for v in (good, noise))
    assert result.difference.value == pytest.approx((one + other) / 2 - other)
    assert result.n_trainings == (2, 1)


# ---- hardly any data ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("true", "predicted", "undefined"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], ["Rock"]),  # a class without a test clip
        ([0, 1, 2], [0, 0, 0], []),  # one clip per class
        ([0, 1], [0, 0], ["Rock"]),  # two clips only
        ([1], [0], ["Blues", "Rock"]),
    ],
)
def test_hardly_any_clips_give_a_value_or_a_reason(true, predicted, undefined):
    classes = ["Blues", "Pop", "Rock"]
    arrays = np.array(true), np.array(predicted)
    scores = evaluation.classification_scores(*arrays, len(classes))
    assert all(score.defined for score in scores.values())
    per_class = evaluation.f1_scores(*arrays, classes)
    assert [name for name, score in per_class.items() if not score.defined] == undefined
    for name in undefined:
        assert str(per_class[name]) == f"undefined (no test clip of {name})"
    assert not any("nan" in str(s).lower() for s in (*scores.values(), *per_class.values()))
    assert not evaluation.report_table(*arrays, classes).isna().any(axis=None)
