"""Scores over whole repeats, their intervals, and paired differences.

A repeat predicts every clip once, each by a model that has not seen its song; a metric is computed
over all of them, and averaged over repeats. Intervals are percentile bootstraps over songs (a task
has one clip of a song): the same resampled songs for every model and repeat, so that differences
are paired, and the songs stay together over the repeats. They tell what other songs of the same
kind would do, not what other seeds would; those are seen between the repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from helpers.evaluation import (
    INTERVAL,
    N_RESAMPLES,
    Score,
    accuracy_of,
    macro_f1_of,
)
from helpers.folders import AXES

METRICS = {"genre": ("accuracy", "macro F1"), "affect": (*AXES, "mean")}
MAIN_METRIC = {"genre": "accuracy", "affect": "mean"}


class Resamples:
    """Clips of a task drawn with replacement, and everything that depends on the truth alone."""

    def __init__(self, task: str, targets: np.ndarray, n_resamples: int = N_RESAMPLES) -> None:
        self.task, self.targets = task, targets
        n_clips = len(targets)
        drawn = np.random.default_rng(0).integers(n_clips, size=(n_resamples, n_clips))
        self.picks = np.concatenate([np.arange(n_clips)[None], drawn])  # first the clips themselves
        if task == "affect":
            self.true_ranks = [_centred_ranks(targets[:, axis], self.picks) for axis in range(3)]

    def metrics(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric of one repeat's outputs: of all clips, then of each resample, [1 + R]."""
        if self.task == "genre":
            return self._genre(outputs.argmax(1), outputs.shape[1])
        return self._affect(outputs)

    def _genre(self, predicted: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
        cells = n_classes**2
        pairs = (self.targets * n_classes + predicted)[self.picks]
        pairs = pairs + np.arange(len(pairs))[:, None] * cells
        counts = np.bincount(pairs.ravel(), minlength=len(pairs) * cells)
        confusions = counts.reshape(len(pairs), n_classes, n_classes)
        return {"accuracy": accuracy_of(confusions), "macro F1": macro_f1_of(confusions)}

    def _affect(self, values: np.ndarray) -> dict[str, np.ndarray]:
        axes = {}
        for axis, name in enumerate(AXES):
            ranks = _centred_ranks(values[:, axis], self.picks)
            with np.errstate(invalid="ignore", divide="ignore"):  # constant predictions: undefined
                axes[name] = _product(ranks, self.true_ranks[axis]) / np.sqrt(
                    _product(ranks, ranks) * _product(self.true_ranks[axis], self.true_ranks[axis])
                )
        return {**axes, "mean": np.mean(list(axes.values()), axis=0)}


def _centred_ranks(values: np.ndarray, picks: np.ndarray) -> np.ndarray:
    ranks = rankdata(values[picks], axis=1)
    return ranks - ranks.mean(1, keepdims=True)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("rn,rn->r", a, b)


def over_repeats(resamples: Resamples, repeats: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each metric averaged over the repeats' outputs, [1 + R]."""
    each = [resamples.metrics(outputs) for outputs in repeats]
    return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}


def score_of(values: np.ndarray) -> Score:
    """The value of all clips with the interval of its resamples, from [1 + R] values."""
    if not np.isfinite(values[0]):
        return Score(
            float("nan"), reason="the predictions of an axis, or its labels, are all equal"
        )
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(resampled, INTERVAL)
    return Score(float(values[0]), float(low), float(high))


def ensemble_of(members: Sequence[np.ndarray], task: str) -> np.ndarray:
    """The mean of several models' outputs: of class probabilities, or of the axes' values."""
    if task == "affect":
        return np.mean(members, axis=0)
    return np.mean([_softmax(outputs) for outputs in members], axis=0)


def _softmax(outputs: np.ndarray) -> np.ndarray:
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def best_single(scores: Mapping[str, np.ndarray]) -> str:
    """The name of the highest score of all clips, from [1 + R] values each."""
    return max(scores, key=lambda name: float(np.nan_to_num(scores[name][0], nan=-1.0)))
