"""Majority, SVM and SVR, beside every deep model. Used by 04, 05, 06, 07, 08, 11.

A network that does not beat an SVM is not worth its GPU. There are two of each: the humble one
knows per-band statistics, the other one twelve groups of numbers (`handmade`). Both are the same
machine, an RBF kernel for each group, averaged; and both are tuned on the training clips alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
from torch.utils.data import Dataset

from helpers import handmade
from helpers.handmade import Groups
from helpers.machinery.batches import unwrap

INNER_FOLDS = 5
SVM_C, SVM_SHARPNESS = (1, 3, 10, 30), (0.5, 1, 2, 4)
SVR_C, SVR_EPSILON = (0.1, 0.3, 1), (0.02, 0.05)
Numbers = Groups | np.ndarray  # groups of [n, d], or [n, p, d] for p parts of each clip; or one
Machine = Callable[[Numbers], np.ndarray]  # numbers of clips -> one row of answers for each


def band_statistics(dataset: Dataset) -> np.ndarray:
    """Per band: mean, deviation and mean absolute step between frames; float32 [n, 3 * F]."""
    base, clips = unwrap(dataset)
    every = (base.store.clip(int(clip), base.rows) for clip in clips)
    return np.stack([handmade.band_statistics(frames) for frames in every])


def majority_predictions(train_labels: np.ndarray, n_clips: int) -> np.ndarray:
    """The most frequent training class for every clip, [n_clips]."""
    return np.full(n_clips, np.bincount(train_labels).argmax())


# ---- the kernel --------------------------------------------------------------------------------


def averaged_kernel(known: Numbers, asked: Numbers) -> np.ndarray:
    """How alike clips are, 0 to 1: the mean of one RBF kernel for each group, [n_asked, n_known].

    A number becomes its rank among the known ones, as a normal deviate: so it has no outliers. A
    group's kernel is exp(-d2 / (2 m)), with the squared distances d2 and their median m among the
    known clips: so each group has the same say, however many numbers it has (that an equal mean of
    kernels is hard to beat: Gönen, Alpaydın 2011). Parts of clips come one after the other.
    """
    known, asked = _groups(known), _groups(asked)
    return np.mean([_kernel(known[name], asked[name]) for name in known], axis=0)


def _kernel(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    from sklearn.metrics.pairwise import euclidean_distances

    known, asked = (own.reshape(-1, own.shape[-1]) for own in (known, asked))
    known, asked = _deviates(known, known), _deviates(known, asked)
    among = euclidean_distances(known, squared=True)[np.triu_indices(len(known), 1)]
    usual = np.median(among) if len(among) else 0.0
    return np.exp(-euclidean_distances(asked, known, squared=True) / (2 * usual or 1.0))


def _deviates(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Ranks of numbers [n_asked, d] among [n_known, d] as normal deviates; 0 in the middle."""
    from scipy.special import ndtri

    ordered, below = np.sort(known, axis=0), np.empty(asked.shape)
    for column, (own, numbers) in enumerate(zip(ordered.T, asked.T, strict=True)):
        sides = np.searchsorted(own, numbers, "left"), np.searchsorted(own, numbers, "right")
        below[:, column] = np.mean(sides, axis=0)  # equal ones share the mean of their ranks
    return ndtri((below + 0.5) / (len(known) + 1))


def _groups(numbers: Numbers) -> Groups:
    return {"all": numbers} if isinstance(numbers, np.ndarray) else numbers


def _n_parts(numbers: Numbers) -> int:
    own = next(iter(_groups(numbers).values()))
    return own.shape[1] if own.ndim == 3 else 1


# ---- machines on it ----------------------------------------------------------------------------


def fitted_svm(known: Numbers, labels: np.ndarray, seed: int = 0) -> Machine:
    """An SVM on class numbers [n] of the known clips; it gives probabilities [n_asked, C].

    C is what names most clips in inner cross-validation; the sharpness of the softmax that makes
    probabilities of its scores has the lowest log loss there. A class that a fold has no clip of
    is not named there; where all clips are of one class, that one is the answer.
    """
    from scipy.special import log_softmax, softmax

    n_classes = int(labels.max()) + 1
    kernel, found = averaged_kernel(known, known), {}
    for C in SVM_C:
        found[C] = _out_of_fold(kernel, labels, partial(_svm, C=C, n_classes=n_classes), seed)
    best = max(SVM_C, key=lambda C: (found[C].argmax(1) == labels).mean())
    own = np.arange(len(labels))
    sharpness = max(
        SVM_SHARPNESS, key=lambda beta: log_softmax(beta * found[best], 1)[own, labels].mean()
    )
    answer = _svm(kernel, np.repeat(labels, _n_parts(known)), C=best, n_classes=n_classes)
    return lambda asked: softmax(sharpness * _mean_over_parts(answer, known, asked), axis=1)


def fitted_svr(known: Numbers, values: np.ndarray, seed: int = 0) -> Machine:
    """An SVR for each axis of values [n] or [n, A]; it gives values, [n_asked] or [n_asked, A].

    C and the width of the tube have the highest mean Spearman in inner cross-validation: one
    setting for all axes, because the choice is noisy.
    """
    kernel, columns = averaged_kernel(known, known), values.reshape(len(values), -1)

    def order(setting: tuple[float, float]) -> float:
        found = _out_of_fold(kernel, columns, partial(_svr, setting=setting), seed)
        return float(np.mean([_spearman(*axis) for axis in zip(columns.T, found.T, strict=True)]))

    best = max(product(SVR_C, SVR_EPSILON), key=order)
    answer = _svr(kernel, np.repeat(columns, _n_parts(known), axis=0), setting=best)
    return lambda asked: _mean_over_parts(answer, known, asked).reshape(-1, *values.shape[1:])


def svm_predictions(
    known: Numbers, labels: np.ndarray, asked: Numbers, seed: int = 0
) -> np.ndarray:
    """Class numbers [n_asked] of such an SVM."""
    return fitted_svm(known, labels, seed)(asked).argmax(1)


def svr_predictions(
    known: Numbers, values: np.ndarray, asked: Numbers, seed: int = 0
) -> np.ndarray:
    """Values of such an SVR, one per axis of `values` ([n] or [n, A])."""
    return fitted_svr(known, values, seed)(asked)


def _svm(kernel: np.ndarray, labels: np.ndarray, *, C: float, n_classes: int) -> Machine:
    """An SVM on a kernel [n, n]: rows of it [n_asked, n] -> a score per class [n_asked, C]."""
    from sklearn.svm import SVC

    present = np.unique(labels)
    machine = SVC(C=C, kernel="precomputed").fit(kernel, labels) if len(present) > 1 else None

    def scores(rows: np.ndarray) -> np.ndarray:
        own = machine.decision_function(rows) if machine else np.ones((len(rows), 1))
        given = np.full((len(rows), n_classes), -1.0)
        given[:, present] = np.stack([-own, own], axis=1) if own.ndim == 1 else own
        return given

    return scores


def _svr(kernel: np.ndarray, columns: np.ndarray, *, setting: tuple[float, float]) -> Machine:
    """An SVR for each column of values [n, A] on a kernel [n, n]: rows of it -> [n_asked, A]."""
    from sklearn.svm import SVR

    C, epsilon = setting
    machines = [SVR(C=C, epsilon=epsilon, kernel="precomputed").fit(kernel, own)
                for own in columns.T]  # fmt: skip
    return lambda rows: np.stack([machine.predict(rows) for machine in machines], axis=1)


def _mean_over_parts(answer: Machine, known: Numbers, asked: Numbers) -> np.ndarray:
    own = answer(averaged_kernel(known, asked))
    return own.reshape(-1, _n_parts(asked), own.shape[1]).mean(1)


# ---- inner cross-validation --------------------------------------------------------------------


def _out_of_fold(
    kernel: np.ndarray, labels: np.ndarray, fit: Callable[..., Machine], seed: int
) -> np.ndarray:
    """What machines say of clips that they were not fitted to, [n, ...]; whole clips only."""
    parts = len(kernel) // len(labels)
    kernel, found = kernel[::parts, ::parts], {}
    for own, rest in _inner_folds(labels, seed):
        answers = fit(kernel[np.ix_(own, own)], labels[own])(kernel[np.ix_(rest, own)])
        found |= zip(rest.tolist(), answers, strict=True)
    return np.array([found[clip] for clip in range(len(labels))])


def _inner_folds(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips to fit and the rest, five times; the clips of each class, or by value, are dealt out.

    A class with fewer clips than folds is tested in some of them; two clips make two folds.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    values = labels.mean(1) if labels.ndim > 1 else labels
    order = order[np.argsort(values[order], kind="stable")]
    fold_of = np.empty(len(labels), dtype=int)
    fold_of[order] = np.arange(len(labels)) % INNER_FOLDS
    for fold in range(min(INNER_FOLDS, len(labels))):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _spearman(true: np.ndarray, given: np.ndarray) -> float:
    """The metric that is reported; 0 where it is undefined."""
    from scipy.stats import spearmanr

    constant = np.ptp(true) == 0 or np.ptp(given) == 0
    return 0.0 if constant else float(spearmanr(true, given).statistic)
