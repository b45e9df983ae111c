"""Metrics against scikit-learn and scipy, intervals against a plain loop, and what is undefined."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from helpers import evaluation
from helpers.evaluation import Score
from helpers.machinery.files import LabError
from helpers.notebook.showing import comparison_sentence

Metric = Callable[[np.ndarray], float]  # of the numbers of the clips that it is asked of
# Undefined values are told with their reason, not as warnings of a library.
pytestmark = pytest.mark.filterwarnings("error")
CLASSES = ["Blues", "Folk", "Jazz", "Rock"]


def labels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class numbers, about half of them equal."""
    rng = np.random.default_rng(seed)
    true = rng.choice(4, size=60, p=[0.1, 0.2, 0.3, 0.4])
    return true, np.where(rng.random(60) < 0.5, true, rng.integers(4, size=60))


def values(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted values [50, 3] that go together; with ties, as real labels."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(size=(50, 3)).round(1)
    return true, (true + rng.normal(0, 0.4, size=(50, 3))).round(2)


def check(score: Score, metric: Metric, n: int) -> None:
    """A score's value and interval are those of a metric of clip numbers, in a plain loop."""
    picks = np.random.default_rng(0).integers(n, size=(evaluation.N_RESAMPLES, n))
    looped = np.nanpercentile([metric(numbers) for numbers in picks], [2.5, 97.5])
    assert score.value == pytest.approx(metric(np.arange(n)))
    np.testing.assert_allclose([score.low, score.high], looped)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that a loop over them is no matter."""
    monkeypatch.setattr(evaluation, "N_RESAMPLES", 60)


def macro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    return metrics.f1_score(true, predicted, average="macro", zero_division=0)


def mean_spearman(true: np.ndarray, predicted: np.ndarray) -> float:
    axes = zip(true.T, predicted.T, strict=True)
    return float(np.mean([spearmanr(*axis).statistic for axis in axes]))


def class_scores(true: np.ndarray, predicted: np.ndarray) -> dict[str, Score]:
    per_class = evaluation.f1_scores(true, predicted, CLASSES)
    return evaluation.classification_scores(true, predicted, 4) | per_class


# ---- scores against scikit-learn and SciPy -----------------------------------------------------


@pytest.mark.parametrize("kind", ["some right", "others right", "always the same"])
def test_scores_and_report_equal_those_of_scikit_learn(kind):
    true, predicted = labels(seed=kind == "others right")
    if kind == "always the same":
        predicted = np.full_like(true, 3)
    scores = class_scores(true, predicted)
    table = evaluation.report_table(true, predicted, CLASSES)
    expected = metrics.classification_report(
        true, predicted, target_names=CLASSES, output_dict=True, zero_division=0
    )
    assert list(table.index) == [*CLASSES, "macro avg", "micro avg"]
    for name in [*CLASSES, "macro avg"]:
        assert table.loc[name].tolist() == pytest.approx(list(expected[name].values()))
    accuracy = pytest.approx(metrics.accuracy_score(true, predicted))
    assert table.loc["micro avg"].tolist() == [accuracy] * 3 + [60]
    assert scores["accuracy"].value == scores["micro F1"].value == accuracy
    assert scores["macro F1"].value == pytest.approx(macro_f1(true, predicted))
    assert [scores[name].value for name in CLASSES] == pytest.approx(table["f1"].tolist()[:4])
    np.testing.assert_array_equal(
        evaluation.confusion_counts(true, predicted, 4), metrics.confusion_matrix(true, predicted)
    )


SCORES = {
    "accuracy": (class_scores, metrics.accuracy_score, labels),
    "macro F1": (class_scores, macro_f1, labels),
    "Rock": (class_scores, lambda t, p: metrics.f1_score(t == 3, p == 3, zero_division=0), labels),
    "energy": (evaluation.affect_scores, lambda t, p: mean_spearman(t[:, 1:2], p[:, 1:2]), values),
    "mean": (evaluation.affect_scores, mean_spearman, values),  # over the axes, in each resample
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_and_its_interval_equal_a_loop_over_the_same_resamples(name, few_resamples):
    scored, metric, drawn = SCORES[name]
    true, predicted = drawn()
    scores = scored(true, predicted)
    check(scores[name], lambda picks: metric(true[picks], predicted[picks]), len(true))


def test_a_class_missing_from_a_resample_does_not_bias_the_interval_of_macro_f1():
    true = np.repeat(np.arange(20), 3)
    score = evaluation.classification_scores(true, true, 20)["macro F1"]
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)


ONE, THREE, EQUAL = np.array([1]), np.array([0.1, 0.2, 0.4]), np.full(3, 0.5)


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (evaluation.spearman, (THREE, EQUAL), "all predictions are equal"),
        (evaluation.spearman, (EQUAL, THREE), "all true values are equal"),
        (evaluation.spearman, (THREE[:2], THREE[:2]), "2 clips are too few for a rank correlation"),
        (evaluation.mean_spearman, (THREE[:, None], EQUAL[:, None]), "all predictions are equal"),
        (evaluation.compare_spearman, (THREE, THREE, EQUAL), "all predictions are equal"),
        (evaluation.compare_accuracy, (ONE, ONE, 0 * ONE), "1 clip is too few for a comparison"),
        (evaluation.compare_macro_f1, (ONE, ONE, 0 * ONE), "1 clip is too few for a comparison"),
    ],
)
def test_what_cannot_be_computed_is_undefined_with_its_reason(function, arguments, reason):
    result = function(*arguments)
    score = getattr(result, "difference", result)
    assert math.isnan(score.value) and not score.defined
    assert str(score) == f"undefined ({reason})"
    if result is not score:
        assert not result.clear and math.isnan(result.p_value)
        sentence = str(comparison_sentence(result, "CNN", "constant", "Spearman"))
        assert sentence == f"CNN and constant cannot be compared in Spearman: {reason}."


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


def energies(seed: int) -> list[np.ndarray]:
    """True and predicted values [n] of one axis."""
    return [part[:, 1] for part in values(seed)]


COMPARED = {
    "accuracy": (evaluation.compare_accuracy, metrics.accuracy_score, labels),
    "macro F1": (evaluation.compare_macro_f1, macro_f1, labels),
    "mean Spearman": (evaluation.compare_spearman, mean_spearman, values),
    "Spearman": (evaluation.compare_spearman, lambda *v: spearmanr(*v).statistic, energies),
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_difference_is_paired_and_several_trainings_count_with_their_mean(name, few_resamples):
    compare, metric, drawn = COMPARED[name]
    (true, first), (_, second), (_, third) = (drawn(seed) for seed in (0, 5, 6))

    def gain(picks: np.ndarray) -> float:
        a, b, c = (metric(true[picks], p[picks]) for p in (first, second, third))
        return (a + b) / 2 - c

    result = compare(true, [first, second], third)
    check(result.difference, gain, len(true))
    assert result.n_trainings == (2, 1)
    turned = compare(true, third, [first, second])
    assert turned.difference.value == pytest.approx(-result.difference.value)
    assert turned.p_value == pytest.approx(result.p_value, abs=0.05)
    assert compare(true, [first], third) == compare(true, first, third)
    assert compare(true, first, first).p_value == 1
    assert compare(true, true, third).clear


CHANCE, CLEAR = "it may be chance", "unlikely to be chance"


@pytest.mark.parametrize(
    ("interval", "p_value", "adjusted", "words"),
    [
        ((0.031, 0.01, 0.05), 0.04, None, ("CNN: 0.031 above SVM in accuracy", CLEAR)),
        ((-0.031, -0.05, -0.01), 0.01, None, ("CNN: 0.031 below SVM", "p = 0.010", CLEAR)),
        ((0.031, -0.01, 0.07), 0.01, None, ("-0.010 to +0.070", CHANCE)),
        ((0.0, 0.0, 0.0), 0.01, None, ("no difference on these clips",)),
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
    assert corrected["a"].n_compared == 4
    (only,) = evaluation.holm({"a": compared["a"]}).values()
    assert only.clear and "Holm" not in str(comparison_sentence(only, "CNN", "SVM", "accuracy"))


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
