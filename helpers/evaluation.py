"""Metrics with intervals, and paired comparisons. Used by 04, 05, 06, 07, 07b, 08, 09, 10, 11, 11b.

Intervals are percentile bootstraps over clips. A metric that cannot be computed (one class only,
constant predictions) is "undefined" with its reason, never NaN passed off as a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from helpers.folders import AXES
from helpers.machinery.files import LabError

if TYPE_CHECKING:
    import pandas as pd

N_RESAMPLES = 1000  # clips drawn anew, or signs; the smallest p-value is 2 / 1001
INTERVAL = (2.5, 97.5)  # percentiles: a 95 % interval
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % interval; `reason` says why when it is undefined (NaN)."""

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @property
    def defined(self) -> bool:
        """False when the metric could not be computed."""
        return math.isfinite(self.value)

    def __str__(self) -> str:
        if not self.defined:
            return f"undefined ({self.reason})"
        if not math.isfinite(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


# ---- classification ----------------------------------------------------------------------------


def report_table(true: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """scikit-learn's classification report as a table (step 6).

    One row per class, then macro and micro average (which is the accuracy); columns precision,
    recall, f1, clips. A class that is never predicted has precision 0.
    """
    import pandas as pd
    from sklearn.metrics import classification_report

    numbers = list(range(len(classes)))
    report = classification_report(
        true, predicted, labels=numbers, target_names=list(classes), output_dict=True,
        zero_division=0,
    )  # fmt: skip
    rows = {name: list(report[name].values()) for name in [*classes, "macro avg"]}
    rows["micro avg"] = [*[report["accuracy"]] * 3, len(true)]
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["precision", "recall", "f1", "clips"]
    )
    return table.astype({"clips": int})


def confusion_counts(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """How often class i was taken for class j: [n_classes, n_classes] counts."""
    return _confusions(true, predicted, n_classes, np.arange(len(true))[None])[0]


def classification_scores(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, seed: int = 0
) -> dict[str, Score]:
    """Accuracy, macro F1, and micro F1 of class numbers [n], each with its interval."""
    counts = _own_and_resampled(*_same_length(true, predicted), n_classes, seed)
    accuracy, macro_f1 = _with_interval(_accuracy_of(counts)), _with_interval(_macro_f1_of(counts))
    # Micro F1 is the accuracy when every clip has exactly one class.
    return {"accuracy": accuracy, "macro F1": macro_f1, "micro F1": accuracy}


def _accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """The share of the diagonal: [R, C, C] counts -> [R]."""
    return np.trace(confusions, axis1=1, axis2=2) / confusions.sum((1, 2))


def _f1_per_class_of(confusions: np.ndarray) -> np.ndarray:
    """F1 of each class: [R, C, C] counts -> [R, C]; NaN where a class never occurs at all."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    involved = confusions.sum(1) + confusions.sum(2)
    return np.where(involved > 0, 2 * hits / np.maximum(involved, 1), np.nan)


def _macro_f1_of(confusions: np.ndarray) -> np.ndarray:
    """The mean F1 over the classes that occur: [R, C, C] counts -> [R].

    A small class may be missing from a resample; counted as 0 there, it would bias the interval.
    """
    return np.nanmean(_f1_per_class_of(confusions), axis=1)


def f1_scores(
    true: np.ndarray, predicted: np.ndarray, classes: Sequence[str], seed: int = 0
) -> dict[str, Score]:
    """F1 of each class with its interval; undefined for a class without clips."""
    f1 = _f1_per_class_of(_own_and_resampled(true, predicted, len(classes), seed))
    present = np.bincount(true, minlength=len(classes)) > 0
    return {
        name: _with_interval(f1[:, i])
        if present[i]
        else Score(math.nan, reason=f"no test clip of {name}")
        for i, name in enumerate(classes)
    }


def _own_and_resampled(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, seed: int
) -> np.ndarray:
    """Confusion counts of the clips, and then of bootstrap samples of them: [1 + R, C, C]."""
    picks = np.vstack([np.arange(len(true)), _resamples(len(true), seed)])
    return _confusions(true, predicted, n_classes, picks)


def _confusions(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, picks: np.ndarray
) -> np.ndarray:
    """Confusion counts of the clips that each row of picks [R, n] names: [R, C, C]."""
    cells = n_classes**2  # of each row, so that one bincount serves all
    pairs = (true * n_classes + predicted)[picks] + np.arange(len(picks))[:, None] * cells
    counts = np.bincount(pairs.ravel(), minlength=len(picks) * cells)
    return counts.reshape(len(picks), n_classes, n_classes)


# ---- Spearman ----------------------------------------------------------------------------------


def spearman(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Score:
    """Spearman's rank correlation of two [n] arrays, once over all clips, with its interval."""
    return mean_spearman(true, predicted, seed)  # over a single axis


def mean_spearman(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Score:
    """The handout's metric (step 8ε): the mean over the axes of [n, A] arrays, with interval."""
    value, resampled = _mean_spearman(true, predicted, seed)
    return replace(value, **dict(zip(("low", "high"), _interval(resampled), strict=True)))


def _mean_spearman(true: np.ndarray, predicted: np.ndarray, seed: int) -> tuple[Score, np.ndarray]:
    """The mean over the axes of [n] or [n, A], and that of each resample [R]; none if undefined."""
    from scipy.stats import spearmanr

    both = _same_length(true, predicted)
    axes = list(zip(*(values.reshape(len(values), -1).T for values in both), strict=True))
    for axis in axes:
        reason = _why_undefined(*axis)
        if reason:
            return Score(math.nan, reason=reason), np.empty(0)
    resampled = np.mean([_resampled_spearman(*axis, seed) for axis in axes], axis=0)
    return Score(float(np.mean([spearmanr(*axis).statistic for axis in axes]))), resampled


def affect_scores(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> dict[str, Score]:
    """Spearman of each axis, and under `mean` that of step 8ε; [n, 3] arrays in the order AXES."""
    scores = {axis: spearman(true[:, i], predicted[:, i], seed) for i, axis in enumerate(AXES)}
    return scores | {"mean": mean_spearman(true, predicted, seed)}


def highest(scores: Mapping[str, Score]) -> str:
    """The name with the highest score; the first one where no score is defined."""
    return max(scores, key=lambda name: scores[name].value if scores[name].defined else -math.inf)


def _resampled_spearman(true: np.ndarray, predicted: np.ndarray, seed: int) -> np.ndarray:
    """Spearman of bootstrap samples, [R]: Pearson's correlation of the ranks, all at once."""
    from scipy.stats import rankdata

    picks = _resamples(len(true), seed)
    a, b = (rankdata(values[picks], axis=1) for values in (true, predicted))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def _why_undefined(true: np.ndarray, predicted: np.ndarray) -> str:
    if len(true) < 3:
        return f"{len(true)} clips are too few for a rank correlation"
    if np.ptp(true) == 0:
        return "all true values are equal"
    if np.ptp(predicted) == 0:
        return "all predictions are equal"
    return ""


# ---- paired comparisons ------------------------------------------------------------------------


# One training's predictions, or a list: those of several trainings with different seeds.
Predictions = np.ndarray | Sequence[np.ndarray]
SIGNIFICANCE = 0.05
TOO_FEW = Score(math.nan, reason="1 clip is too few for a comparison")


@dataclass(frozen=True)
class Comparison:
    """A paired difference, first minus second, on the same clips."""

    difference: Score
    p_value: float  # of this comparison alone
    n_compared: int = 1  # how many comparisons it is one of
    adjusted: float | None = None  # the p-value after Holm's correction for all of these
    n_trainings: tuple[int, int] = (1, 1)  # with different seeds, of either side

    @property
    def clear(self) -> bool:
        """True when the interval leaves out 0 and the (adjusted) p-value is below 0.05."""
        low, high = self.difference.low, self.difference.high
        away = self.difference.defined and (low > 0 or high < 0)
        p_value = self.p_value if self.adjusted is None else self.adjusted
        return away and p_value < SIGNIFICANCE


def holm(comparisons: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """The same comparisons with p-values corrected for being several (Holm 1979).

    Of twenty comparisons of equally good models one is expected to look clear by chance. The
    smallest p-value is multiplied by their number, the next one by one less, and so on, never
    falling below the one before. Undefined comparisons do not count.
    """
    tested = [key for key, result in comparisons.items() if math.isfinite(result.p_value)]
    corrected = dict(comparisons)
    before = 0.0
    for rank, key in enumerate(sorted(tested, key=lambda key: comparisons[key].p_value)):
        before = min(1.0, max(before, (len(tested) - rank) * comparisons[key].p_value))
        corrected[key] = replace(comparisons[key], n_compared=len(tested), adjusted=before)
    return corrected


def compare_accuracy(
    true: np.ndarray, first: Predictions, second: Predictions, seed: int = 0
) -> Comparison:
    """Compare two classifiers' predictions [n] on the same clips; paired permutation test.

    With lists of predictions, the mean accuracy over each side's trainings.
    """
    from scipy.stats import permutation_test

    firsts, seconds = _trainings(first), _trainings(second)
    a, b = (  # the share of the trainings that name each clip's class, [n]
        np.mean([np.equal(*_same_length(true, answers)) for answers in trainings], axis=0)
        for trainings in (firsts, seconds)
    )
    trainings = len(firsts), len(seconds)
    if len(a) < 2:
        return Comparison(TOO_FEW, math.nan, n_trainings=trainings)
    gains = (a - b)[_resamples(len(a), seed)].mean(1)
    test = permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=N_RESAMPLES, rng=np.random.default_rng(seed),
    )  # fmt: skip
    difference = Score(float((a - b).mean()), *_interval(gains))
    return Comparison(difference, float(test.pvalue), n_trainings=trainings)


def _trainings(predictions: Predictions) -> list[np.ndarray]:
    """The predictions of each training, one or several."""
    return [predictions] if isinstance(predictions, np.ndarray) else list(predictions)


def compare_macro_f1(
    true: np.ndarray, first: Predictions, second: Predictions, seed: int = 0
) -> Comparison:
    """Compare two classifiers' predictions [n] by macro F1; paired bootstrap.

    With lists of predictions, the mean macro F1 over each side's trainings.
    """
    return _compare_by(_macro_f1, true, first, second, seed)


def compare_spearman(
    true: np.ndarray, first: Predictions, second: Predictions, seed: int = 0
) -> Comparison:
    """Compare two models' predictions ([n] or [n, A], then the mean over axes) by Spearman.

    With lists of predictions, the mean over each side's trainings; paired bootstrap.
    """
    return _compare_by(_mean_spearman, true, first, second, seed)


def _macro_f1(true: np.ndarray, predicted: np.ndarray, seed: int) -> tuple[Score, np.ndarray]:
    """Macro F1 of class numbers [n], and that of each resample, [R]."""
    pair = _same_length(true, predicted)
    if len(true) < 2:
        return TOO_FEW, np.empty(0)
    own, *resampled = _macro_f1_of(_own_and_resampled(*pair, 1 + int(np.max(pair)), seed))
    return Score(float(own)), np.array(resampled)


def _compare_by(
    scored: Callable[[np.ndarray, np.ndarray, int], tuple[Score, np.ndarray]],
    true: np.ndarray, first: Predictions, second: Predictions, seed: int,
) -> Comparison:  # fmt: skip
    """Compare by a score that also comes for each resample, the mean over each side's trainings.

    The p-value is the bootstrap's: twice the smaller share of resamples on one side of 0.
    """
    sides = _trainings(first), _trainings(second)
    trainings = len(sides[0]), len(sides[1])
    values, resampled = [], []
    for predictions in sides:
        scores, of_resamples = zip(*(scored(true, own, seed) for own in predictions), strict=True)
        for score in scores:
            if not score.defined:
                return Comparison(score, math.nan, n_trainings=trainings)
        values.append(float(np.mean([score.value for score in scores])))
        resampled.append(np.mean(of_resamples, axis=0))
    gains = resampled[0] - resampled[1]
    # One resample more on either side: so few of them cannot tell that it never happens.
    fewer = min((gains <= 0).sum(), (gains >= 0).sum())
    p_value = min(1.0, 2 * (fewer + 1) / (len(gains) + 1))
    difference = Score(values[0] - values[1], *_interval(gains))
    return Comparison(difference, float(p_value), n_trainings=trainings)


def _same_length(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise LabError(
            f"{predicted.shape} predictions for {true.shape} true values; predict every clip once"
        )
    if len(true) == 0:
        raise LabError("no clips to score; check the split")
    return true, predicted


def _resamples(n_clips: int, seed: int) -> np.ndarray:
    """Clip numbers drawn with replacement, [R, n]; the same ones for every model (paired)."""
    return np.random.default_rng(seed).integers(n_clips, size=(N_RESAMPLES, n_clips))


def _with_interval(values: np.ndarray) -> Score:
    """A metric of the clips and then of each resample, [1 + R], as value and interval."""
    return Score(float(values[0]), *_interval(values[1:]))


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval, over the resamples in which the metric exists."""
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.percentile(finite, INTERVAL)
    return float(low), float(high)
