"""Predictions, and metrics with intervals: reports, Spearman, paired comparisons.

Intervals are percentile bootstraps over clips. A metric that cannot be computed (one class only,
constant predictions) is "undefined" with its reason, never NaN passed off as a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from helpers.data import AXES
from helpers.datasets import require_frames
from helpers.models import shortest_clip
from helpers.settings import LabError
from helpers.training import threads_for

if TYPE_CHECKING:
    import pandas as pd

N_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles: a 95 % interval


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


@torch.no_grad()
def predict(model: nn.Module, loader: DataLoader, device: torch.device | str = "cpu") -> np.ndarray:
    """The model's outputs for every clip of an unshuffled loader, float32, in the loader's order.

    [n, n_classes] logits of a classifier, [n] of a regressor, [n, n_axes] of a multitask model.
    Raises LabError before anything is computed when a clip is too short for the model.
    """
    device = torch.device(device)
    require_frames(loader, shortest_clip(model))
    model.to(device).eval()
    outputs = []
    with threads_for(model, device):
        for x, _, lengths in loader:
            # In float32 on every device: bfloat16 has three digits, and ranks would get ties.
            outputs.append(model(x.to(device), lengths.to(device)).cpu())
    return torch.cat(outputs).numpy()


# ---- classification ----------------------------------------------------------------------------


def report_table(true: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """scikit-learn's classification report as a table (step 6).

    One row per class, then macro and micro average (which is the accuracy); columns precision,
    recall, f1, clips. A class that is never predicted has precision 0.
    """
    import pandas as pd
    from sklearn.metrics import classification_report, precision_recall_fscore_support

    numbers = list(range(len(classes)))
    report = classification_report(
        true, predicted, labels=numbers, target_names=list(classes), output_dict=True,
        zero_division=0,
    )  # fmt: skip
    rows = {name: list(report[name].values()) for name in [*classes, "macro avg"]}
    micro = precision_recall_fscore_support(
        true, predicted, labels=numbers, average="micro", zero_division=0
    )
    rows["micro avg"] = [*micro[:3], len(true)]
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["precision", "recall", "f1", "clips"]
    )
    return table.astype({"clips": int})


def precision_recall(
    belongs: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one class when every clip from a score on is called it (step 6).

    belongs bool [n], scores [n], thresholds [R] -> two arrays [R]. NaN where undefined: precision
    where no clip is called the class, recall where none belongs to it.
    """
    called = scores >= thresholds[:, None]
    hits = (called & belongs).sum(1)
    with np.errstate(invalid="ignore"):  # 0 / 0
        return hits / called.sum(1), hits / belongs.sum()


def confusion_counts(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """How often class i was taken for class j: [n_classes, n_classes] counts."""
    return np.bincount(true * n_classes + predicted, minlength=n_classes**2).reshape(
        n_classes, n_classes
    )


def classification_scores(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, seed: int = 0
) -> dict[str, Score]:
    """Accuracy, macro F1, and micro F1 of class numbers [n], each with its interval."""
    true, predicted = _same_length(true, predicted)
    counts = _resampled_confusions(true, predicted, n_classes, seed)
    own = confusion_counts(true, predicted, n_classes)[None]
    metrics: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "accuracy": accuracy_of,
        "macro F1": macro_f1_of,
        "micro F1": accuracy_of,  # equal when every clip has exactly one class
    }
    return {
        name: Score(float(metric(own)[0]), *_interval(metric(counts)))
        for name, metric in metrics.items()
    }


def accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """The share of the diagonal: [R, C, C] counts -> [R]."""
    return np.trace(confusions, axis1=1, axis2=2) / confusions.sum((1, 2))


def f1_per_class_of(confusions: np.ndarray) -> np.ndarray:
    """F1 of each class: [R, C, C] counts -> [R, C]; NaN where a class never occurs at all."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    involved = confusions.sum(1) + confusions.sum(2)
    return np.where(involved > 0, 2 * hits / np.maximum(involved, 1), np.nan)


def macro_f1_of(confusions: np.ndarray) -> np.ndarray:
    """The mean F1 over the classes that occur: [R, C, C] counts -> [R].

    A small class may be missing from a resample; counted as 0 there, it would bias the interval.
    """
    return np.nanmean(f1_per_class_of(confusions), axis=1)


def f1_scores(
    true: np.ndarray, predicted: np.ndarray, classes: Sequence[str], seed: int = 0
) -> dict[str, Score]:
    """F1 of each class with its interval; undefined for a class without clips."""
    resampled = f1_per_class_of(_resampled_confusions(true, predicted, len(classes), seed))
    own = f1_per_class_of(confusion_counts(true, predicted, len(classes))[None])[0]
    present = np.bincount(true, minlength=len(classes)) > 0
    return {
        name: Score(float(own[i]), *_interval(resampled[:, i]))
        if present[i]
        else Score(math.nan, reason=f"no test clip of {name}")
        for i, name in enumerate(classes)
    }


def _resampled_confusions(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, seed: int
) -> np.ndarray:
    """Confusion counts of bootstrap samples of the clips: [R, C, C], in one bincount."""
    cells = n_classes**2
    picks = _resamples(len(true), seed)
    pairs = (true * n_classes + predicted)[picks] + np.arange(len(picks))[:, None] * cells
    counts = np.bincount(pairs.ravel(), minlength=len(picks) * cells)
    return counts.reshape(len(picks), n_classes, n_classes)


# ---- Spearman ----------------------------------------------------------------------------------


def spearman(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Score:
    """Spearman's rank correlation of two [n] arrays, once over all clips, with its interval."""
    from scipy.stats import spearmanr

    true, predicted = _same_length(true, predicted)
    reason = _why_undefined(true, predicted)
    if reason:
        return Score(math.nan, reason=reason)
    value = float(spearmanr(true, predicted).statistic)
    return Score(value, *_interval(_resampled_spearman(true, predicted, seed)))


def mean_spearman(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Score:
    """The handout's metric (step 8ε): the mean over the axes of [n, A] arrays, with interval."""
    true, predicted = _same_length(true, predicted)
    axes = [spearman(true[:, i], predicted[:, i], seed) for i in range(true.shape[1])]
    undefined = [score.reason for score in axes if not score.defined]
    if undefined:
        return Score(math.nan, reason=undefined[0])
    resampled = [
        _resampled_spearman(true[:, i], predicted[:, i], seed) for i in range(true.shape[1])
    ]
    return Score(float(np.mean([s.value for s in axes])), *_interval(np.mean(resampled, axis=0)))


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


@dataclass(frozen=True)
class Comparison:
    """A paired difference, first minus second, on the same clips."""

    difference: Score
    p_value: float

    @property
    def clear(self) -> bool:
        """True when the interval of the difference leaves out 0."""
        low, high = self.difference.low, self.difference.high
        return self.difference.defined and (low > 0 or high < 0)

    def sentence(self, first: str, second: str, what: str) -> str:
        """What the comparison says, in words that hold for these numbers."""
        if not self.difference.defined:
            return f"{first} and {second} cannot be compared: {self.difference.reason}."
        verdict = "within" if not self.clear else "outside"
        sign = "above" if self.difference.value >= 0 else "below"
        gap = abs(self.difference.value)
        interval = f"95 % interval of the difference {self.difference.low:+.3f} to "
        interval += f"{self.difference.high:+.3f}"
        chance = "so it may be chance"
        if self.clear:
            chance = "so it is unlikely to be chance for these two trained models"
        return (
            f"{first} is {gap:.3f} {sign} {second} in {what} ({interval}): the difference is "
            f"{verdict} what resampling the clips gives by itself (p = {self.p_value:.3f}), "
            f"{chance}."
        )


def compare_accuracy(
    true: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int = 0
) -> Comparison:
    """Compare two classifiers' predictions [n] on the same clips; paired permutation test."""
    from scipy.stats import permutation_test

    true, first = _same_length(true, first)
    true, second = _same_length(true, second)
    if len(true) < 2:
        return Comparison(Score(math.nan, reason="1 clip is too few for a comparison"), math.nan)
    a, b = (first == true).astype(float), (second == true).astype(float)
    gains = (a - b)[_resamples(len(true), seed)].mean(1)
    test = permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=N_RESAMPLES, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return Comparison(Score(float((a - b).mean()), *_interval(gains)), float(test.pvalue))


def compare_spearman(
    true: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int = 0
) -> Comparison:
    """Compare two models' predictions ([n] or [n, A], then the mean over axes) by Spearman.

    The p-value is the bootstrap's: twice the smaller share of resamples on one side of 0.
    """
    true, first = _same_length(*(_as_columns(values) for values in (true, first)))
    true, second = _same_length(true, _as_columns(second))
    scores = [mean_spearman(true, values, seed) for values in (first, second)]
    for score in scores:
        if not score.defined:
            return Comparison(score, math.nan)
    gains = np.mean(
        [
            _resampled_spearman(true[:, i], first[:, i], seed)
            - _resampled_spearman(true[:, i], second[:, i], seed)
            for i in range(true.shape[1])
        ],
        axis=0,
    )
    p_value = min(1.0, 2 * min((gains <= 0).mean(), (gains >= 0).mean()))
    difference = Score(scores[0].value - scores[1].value, *_interval(gains))
    return Comparison(difference, float(p_value))


def _as_columns(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values[:, None] if values.ndim == 1 else values


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


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval, over the resamples in which the metric exists."""
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.percentile(finite, INTERVAL)
    return float(low), float(high)
