"""Majority, SVM and SVR, beside every deep model. Used by 04, 05, 06, 07, 07b, 08, 11.

A network that does not beat an SVM is not worth its GPU. The humble one knows per-band statistics,
the other one twelve groups of numbers (`handmade`); both are tuned on the training clips alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product

import numpy as np
from torch.utils.data import Dataset

from helpers import handmade
from helpers.handmade import Groups
from helpers.machinery.batches import unwrap
from helpers.machinery.own_music import group_folds

SVM_C = (1, 3, 10, 30)
SVR_C, SVR_EPSILON = (0.1, 0.3, 1), (0.02, 0.05)
INNER_FOLDS = 5
SHARPNESS = (0.5, 1, 2, 4)  # of the softmax that makes probabilities of an SVM's scores
Numbers = Groups | np.ndarray  # groups of [n, d], or [n, p, d] for p parts of each clip; or one
Machine = Callable[[Numbers], np.ndarray]  # numbers of clips -> a row of answers for each
Answers = Callable[[np.ndarray], np.ndarray]  # rows of a kernel -> a row of answers for each


def band_statistics(dataset: Dataset) -> np.ndarray:
    """Per band: mean, deviation and mean absolute step between frames; float32 [n, 3 * F]."""
    base, clips = unwrap(dataset)
    every = (base.store.clip(int(clip), base.rows) for clip in clips)
    return np.stack([handmade.band_statistics(frames) for frames in every])


def majority_predictions(train_labels: np.ndarray, n_clips: int) -> np.ndarray:
    """The most frequent training class for every clip, [n_clips]."""
    return np.full(n_clips, np.bincount(train_labels).argmax())


def fitted_svm(
    known: Numbers, labels: np.ndarray, seed: int = 0, artists: Sequence[str] | None = None
) -> Machine:
    """An SVM on class numbers [n] of the known clips; it gives probabilities [n_asked, C].

    C is what names most clips in inner cross-validation, the sharpness what gives the true classes
    the highest likelihood there. A class that a fold has no clip of is not named there; where all
    clips are of one class, that one is the answer. The clips of an artist stay in one fold.
    """
    from scipy.special import log_softmax, softmax

    kernel, n_classes = averaged_kernel(known, known), int(labels.max()) + 1
    found = {}
    for C in SVM_C:
        fit = partial(class_scores, C=C, n_classes=n_classes)
        found[C] = out_of_fold(kernel, labels, fit, seed, artists)
    best = max(SVM_C, key=lambda C: float((found[C].argmax(1) == labels).mean()))

    def likelihood(sharpness: float) -> float:
        logs = log_softmax(sharpness * found[best], axis=1)
        return float(logs[np.arange(len(labels)), labels].mean())

    sharpness = max(SHARPNESS, key=likelihood)
    repeated = np.repeat(labels, _groups(known)[0].shape[1])
    scores = class_scores(kernel, repeated, best, n_classes)
    return lambda asked: softmax(sharpness * _mean_over_parts(scores, known, asked), axis=1)


def svm_predictions(
    known: Numbers, labels: np.ndarray, asked: Numbers, artists: Sequence[str] | None = None
) -> np.ndarray:
    """The class of each clip, [n_asked], by such an SVM; labels are numbers or names."""
    classes, numbers = np.unique(labels, return_inverse=True)
    return classes[fitted_svm(known, numbers, artists=artists)(asked).argmax(1)]


def fitted_svr(
    known: Numbers, values: np.ndarray, seed: int = 0, artists: Sequence[str] | None = None
) -> Machine:
    """An SVR for each axis of values [n, A] of the known clips; it gives values [n_asked, A].

    C and the width of the tube have the highest mean Spearman in inner cross-validation: one
    setting for all axes, because the choice is noisy. The clips of an artist stay in one fold.
    """
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.svm import SVR

    kernel = averaged_kernel(known, known)

    def answers(kernel: np.ndarray, values: np.ndarray, C: float, epsilon: float) -> Answers:
        svr = SVR(C=C, epsilon=epsilon, kernel="precomputed")
        return MultiOutputRegressor(svr).fit(kernel, values).predict

    def order(setting: tuple[float, float]) -> float:
        found = out_of_fold(kernel, values, lambda *fit: answers(*fit, *setting), seed, artists)
        return float(
            np.mean([_rank_correlation(*axis) for axis in zip(values.T, found.T, strict=True)])
        )

    best = max(product(SVR_C, SVR_EPSILON), key=order)
    machine = answers(kernel, np.repeat(values, _groups(known)[0].shape[1], axis=0), *best)
    return lambda asked: _mean_over_parts(machine, known, asked)


def averaged_kernel(known: Numbers, asked: Numbers) -> np.ndarray:
    """How alike clips are, 0 to 1: the mean of one RBF kernel for each group, [n_asked, n_known].

    A number becomes its rank among the known ones, as a normal deviate: so it has no outliers. A
    group's kernel is exp(-d2 / (2 m)), with the squared distances d2 and their median m among the
    known clips: so each group has the same say, however many numbers it has (that an equal mean of
    kernels is hard to beat: Gönen, Alpaydın 2011). Parts of clips come one after the other.
    """
    pairs = zip(_groups(known), _groups(asked), strict=True)
    return np.mean([_kernel(*pair) for pair in pairs], axis=0)


# ---- inner cross-validation: what a setting is worth, without a look at other clips -------------


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


# ---- below them --------------------------------------------------------------------------------


def _groups(numbers: Numbers) -> list[np.ndarray]:
    """Each group as [n, p, d]."""
    groups = [numbers] if isinstance(numbers, np.ndarray) else numbers.values()
    return [own.reshape(len(own), -1, own.shape[-1]) for own in groups]


def _mean_over_parts(answer: Answers, known: Numbers, asked: Numbers) -> np.ndarray:
    own = answer(averaged_kernel(known, asked))
    return own.reshape(len(_groups(asked)[0]), -1, own.shape[1]).mean(1)


def _rank_correlation(true: np.ndarray, given: np.ndarray) -> float:
    """The metric that is reported; 0 where it is undefined."""
    from scipy.stats import spearmanr

    constant = np.ptp(true) == 0 or np.ptp(given) == 0
    return 0.0 if constant else float(spearmanr(true, given).statistic)


def _kernel(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri
    from sklearn.metrics.pairwise import euclidean_distances

    known, asked = (own.reshape(-1, own.shape[-1]) for own in (known, asked))
    ordered = np.sort(known, axis=0)

    def deviates(rows: np.ndarray) -> np.ndarray:
        columns = zip(ordered.T, rows.T, strict=True)
        # Equal ones share the mean of their ranks.
        below = [one.searchsorted(x, "left") + one.searchsorted(x, "right") for one, x in columns]
        return ndtri((np.stack(below, axis=1) + 1) / (2 * len(known) + 2))

    known, asked = deviates(known), deviates(asked)
    among = euclidean_distances(known, squared=True)[np.triu_indices(len(known), 1)]
    usual = np.median(among) if len(among) else 0.0
    return np.exp(-euclidean_distances(asked, known, squared=True) / (2 * usual or 1.0))
