"""Inner cross-validation on a kernel: what a setting is worth, without a look at other clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from helpers.machinery.own_music import group_folds

INNER_FOLDS = 5
Answers = Callable[[np.ndarray], np.ndarray]  # rows of a kernel -> a row of answers for each


def out_of_fold(
    kernel: np.ndarray,
    labels: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray], Answers],
    seed: int,
    artists: Sequence[str] | None = None,
) -> np.ndarray:
    """What machines say of clips that they were not fitted to, [n, ...]; whole clips only.

    Where artists are named, no machine was fitted to a clip of the same artist, either.
    """
    kernel, found = kernel[(whole := slice(None, None, len(kernel) // len(labels))), whole], {}
    for own, rest in _inner_folds(labels, seed, artists):
        answers = fit(kernel[np.ix_(own, own)], labels[own])(kernel[np.ix_(rest, own)])
        found |= zip(rest.tolist(), answers, strict=True)
    return np.array([found[clip] for clip in range(len(labels))])


def _inner_folds(
    labels: np.ndarray, seed: int, artists: Sequence[str] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips to fit and the rest, five times; the clips of each class, or by value, are dealt out.

    A class with fewer clips than folds is tested in some of them; two clips make two folds. An
    artist's clips stay together, unless all are by one.
    """
    if artists is not None and len(set(artists)) < len(artists):
        strata = labels if labels.ndim == 1 else labels.mean(axis=1)
        folds = group_folds(strata, INNER_FOLDS, seed, np.asarray(artists))
        yield from ((np.setdiff1d(np.arange(len(labels)), fold), fold) for fold in folds)
        if folds:
            return
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels.reshape(len(labels), -1).mean(1)[order], kind="stable")]
    fold_of = np.empty(len(labels), dtype=int)
    fold_of[order] = np.arange(len(labels)) % INNER_FOLDS
    for fold in range(min(INNER_FOLDS, len(labels))):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def spearman(true: np.ndarray, given: np.ndarray) -> float:
    """The metric that is reported; 0 where it is undefined."""
    from scipy.stats import spearmanr

    constant = np.ptp(true) == 0 or np.ptp(given) == 0
    return 0.0 if constant else float(spearmanr(true, given).statistic)


def class_scores(kernel: np.ndarray, labels: np.ndarray, C: float, n_classes: int) -> Answers:
    """An SVM on a kernel [n, n]: rows of it [n_asked, n] -> a score per class [n_asked, C].

    Two classes at a time compete (one against one); a score is how many of these a class wins, and
    a part of less than 1 that says how clearly. A class without a clip has -1.
    """
    from sklearn.svm import SVC

    present = np.unique(labels)
    machine = SVC(C=C, kernel="precomputed").fit(kernel, labels) if len(present) > 1 else None

    def scores(rows: np.ndarray) -> np.ndarray:
        own = machine.decision_function(rows) if machine else np.ones((len(rows), 1))
        given = np.full((len(rows), n_classes), -1.0)
        given[:, present] = np.stack([-own, own], axis=1) if own.ndim == 1 else own
        return given

    return scores
