"""Majority, SVM and SVR, beside every deep model. Used by 04, 05, 06, 07, 08, 11.

A network that does not beat an SVM is not worth its GPU. There are two of each: the humble one
knows per-band statistics only, the other one twelve groups of numbers (`handmade`). Both are the
same machine: an RBF kernel for each group, averaged; tuned on the training clips alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from torch.utils.data import Dataset

from helpers import handmade
from helpers.handmade import Groups
from helpers.machinery.batches import unwrap

CLIP_AT = 6.0  # deviations: beyond them a number says that a clip is odd, not how odd
INNER_FOLDS = 5
SVM_C = (1, 3, 10, 30)
SHARPNESS = (0.5, 1, 2, 4)  # how surely the side of a border is read as a probability
SVR_C, SVR_EPSILON = (0.1, 0.3, 1, 3), (0.05, 0.1)
# Groups of numbers [n, d], or one array of them -> probabilities [n, C], or values [n] or [n, A].
Machine = Callable[[Groups | np.ndarray], np.ndarray]


def band_statistics(dataset: Dataset) -> np.ndarray:
    """Per band: mean, deviation and mean absolute step between frames; float32 [n, 3 * F]."""
    base, clips = unwrap(dataset)
    every = (base.store.clip(int(clip), base.rows) for clip in clips)
    return np.stack([handmade.band_statistics(frames) for frames in every])


def majority_predictions(train_labels: np.ndarray, n_clips: int) -> np.ndarray:
    """The most frequent training class for every clip, [n_clips]."""
    return np.full(n_clips, np.bincount(train_labels).argmax())


def averaged_kernel(known: Groups, asked: Groups) -> np.ndarray:
    """How alike clips are, 0 to 1: the mean of one RBF kernel for each group, [n_asked, n_known].

    A group's numbers are scaled by the known clips and clipped; its kernel is exp(-d2 / m), with
    the squared distances d2 of two clips and their median m among the known ones. So each group has
    the same say, however many numbers it has. (That an equal mean of kernels is hard to beat:
    Gönen, Alpaydın 2011.)
    """
    return np.mean([_kernel(known[name], asked[name]) for name in known], axis=0)


def _kernel(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    mean, deviation = known.mean(0), known.std(0)
    deviation = np.where(deviation > 1e-6, deviation, np.inf)  # what never changes says nothing
    known, asked = (((part - mean) / deviation).clip(-CLIP_AT, CLIP_AT) for part in (known, asked))
    among = cdist(known, known, "sqeuclidean")[np.triu_indices(len(known), 1)]
    usual = np.median(among) if len(among) else 0.0
    return np.exp(-cdist(asked, known, "sqeuclidean") / (usual or 1.0))


# ---- machines on it ----------------------------------------------------------------------------


def fitted_svm(known: Groups | np.ndarray, labels: np.ndarray, seed: int = 0) -> Machine:
    """An SVM on class numbers [n] of the known clips; it gives probabilities [n_asked, C].

    C is what names most clips in inner cross-validation; the sharpness of the softmax that makes
    probabilities of its scores has the lowest log loss there. A class that a fold has no clip of
    is not named there; where all clips are of one class, that one is the answer.
    """
    from scipy.special import log_softmax, softmax

    known = _groups(known)
    kernel, n_classes = averaged_kernel(known, known), int(labels.max()) + 1
    scores = np.zeros((len(SVM_C), len(labels), n_classes))
    for fit, rest in _inner_folds(labels, seed):
        for own, C in zip(scores, SVM_C, strict=True):
            own[rest] = _class_scores(kernel, fit, labels, C, n_classes)(kernel[np.ix_(rest, fit)])
    best = (scores.argmax(-1) == labels).mean(1).argmax()
    sharpness = max(
        SHARPNESS,
        key=lambda beta: log_softmax(beta * scores[best], 1)[np.arange(len(labels)), labels].mean(),
    )
    final = _class_scores(kernel, np.arange(len(labels)), labels, SVM_C[best], n_classes)

    def probabilities(asked: Groups | np.ndarray) -> np.ndarray:
        return softmax(sharpness * final(averaged_kernel(known, _groups(asked))), axis=1)

    return probabilities


def _class_scores(
    kernel: np.ndarray, fit: np.ndarray, labels: np.ndarray, C: float, n_classes: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A machine on the clips `fit`: kernel rows [n, len(fit)] -> a score per class [n, n_classes]."""
    from sklearn.svm import SVC

    present = np.unique(labels[fit])
    if len(present) > 1:
        machine = SVC(C=C, kernel="precomputed").fit(kernel[np.ix_(fit, fit)], labels[fit])

    def scores(rows: np.ndarray) -> np.ndarray:
        given = np.full((len(rows), n_classes), -1.0)
        if len(present) > 1:
            own = machine.decision_function(rows)
            given[:, present] = np.stack([-own, own], axis=1) if own.ndim == 1 else own
        else:
            given[:, present] = 1.0
        return given

    return scores


def fitted_svr(known: Groups | np.ndarray, values: np.ndarray, seed: int = 0) -> Machine:
    """An SVR for each axis of values [n] or [n, A]; it gives values, [n_asked] or [n_asked, A].

    For each axis C and the width of the tube have the highest Spearman in inner cross-validation.
    """
    from sklearn.svm import SVR

    known = _groups(known)
    kernel, columns = averaged_kernel(known, known), values.reshape(len(values), -1).T

    def machine(own: np.ndarray, fit: np.ndarray, C: float, epsilon: float) -> SVR:
        svr = SVR(C=C, epsilon=epsilon, kernel="precomputed")
        return svr.fit(kernel[np.ix_(fit, fit)], own[fit])

    def tuned(own: np.ndarray) -> SVR:
        folds = list(_inner_folds(own, seed))

        def order(setting: tuple[float, float]) -> float:
            given = np.zeros(len(own))
            for fit, rest in folds:
                given[rest] = machine(own, fit, *setting).predict(kernel[np.ix_(rest, fit)])
            return _spearman(own, given)

        best = max(product(SVR_C, SVR_EPSILON), key=order)
        return machine(own, np.arange(len(own)), *best)

    machines = [tuned(own) for own in columns]

    def answers(asked: Groups | np.ndarray) -> np.ndarray:
        rows = averaged_kernel(known, _groups(asked))
        return np.stack([svr.predict(rows) for svr in machines], axis=1).reshape(
            len(rows), *values.shape[1:]
        )

    return answers


def svm_predictions(
    known: Groups | np.ndarray, labels: np.ndarray, asked: Groups | np.ndarray, seed: int = 0
) -> np.ndarray:
    """Class numbers [n_asked] of such an SVM."""
    return fitted_svm(known, labels, seed)(asked).argmax(1)


def svr_predictions(
    known: Groups | np.ndarray, values: np.ndarray, asked: Groups | np.ndarray, seed: int = 0
) -> np.ndarray:
    """Values of such an SVR, one per axis of `values` ([n] or [n, A])."""
    return fitted_svr(known, values, seed)(asked)


def _groups(numbers: Groups | np.ndarray) -> Groups:
    """One array is one group."""
    return {"all": numbers} if isinstance(numbers, np.ndarray) else numbers


def _inner_folds(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips to fit and the rest, `INNER_FOLDS` times; each class or range of values is dealt out.

    With fewer clips there are fewer folds; a class with fewer clips than folds is in some of them.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold_of = np.empty(len(labels), dtype=int)
    fold_of[order] = np.arange(len(labels)) % INNER_FOLDS
    for fold in range(min(INNER_FOLDS, len(labels)) if len(labels) > 1 else 0):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _spearman(true: np.ndarray, given: np.ndarray) -> float:
    """The metric that is reported; 0 where it is undefined."""
    from scipy.stats import spearmanr

    constant = np.ptp(true) == 0 or np.ptp(given) == 0
    return 0.0 if constant else float(spearmanr(true, given).statistic)
