"""Majority, SVM and SVR, beside every deep model. Used by 04, 05, 06, 07, 08, 11.

A network that does not beat an SVM on per-band statistics is not worth its GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from helpers.machinery.batches import unwrap


def band_statistics(dataset: Dataset) -> np.ndarray:
    """Per band: mean, deviation and mean absolute step between frames; float32 [n, 3 * F]."""
    base, indices = unwrap(dataset)
    return np.stack([_clip_statistics(base.store.clip(int(i), base.rows)) for i in indices])


def _clip_statistics(frames: np.ndarray) -> np.ndarray:
    steps = np.abs(np.diff(frames, axis=0)).mean(0) if len(frames) > 1 else 0 * frames[0]
    return np.concatenate([frames.mean(0), frames.std(0), steps])


def majority_predictions(train_labels: np.ndarray, n_clips: int) -> np.ndarray:
    """The most frequent training class for every clip, [n_clips]."""
    return np.full(n_clips, np.bincount(train_labels).argmax())


def svm_predictions(
    train_statistics: np.ndarray, train_labels: np.ndarray, statistics: np.ndarray
) -> np.ndarray:
    """Class numbers [n] of an RBF-kernel SVM with scikit-learn's defaults on scaled statistics."""
    from sklearn.svm import SVC

    return _fitted(SVC(), train_statistics, train_labels).predict(statistics)


def svr_predictions(
    train_statistics: np.ndarray, train_values: np.ndarray, statistics: np.ndarray
) -> np.ndarray:
    """Values of an RBF-kernel SVR, one per axis of `train_values` ([n] or [n, A]).

    The tube of scikit-learn's default (0.1) is wide for values in 0..1; 0.05 is used.
    """
    from sklearn.svm import SVR

    def predictions_of(axis: np.ndarray) -> np.ndarray:
        return _fitted(SVR(epsilon=0.05), train_statistics, axis).predict(statistics)

    return np.apply_along_axis(predictions_of, 0, train_values)


def _fitted(estimator: Any, features: np.ndarray, targets: np.ndarray) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), estimator).fit(features, targets)
