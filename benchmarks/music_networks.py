"""The kit's networks on one fold: from a recipe to predictions for the tested clips.

Everything is the kit's own: Dataset, scaling, loaders, backbones, `train` and `predict`. A recipe
holds every choice; nothing is chosen on the tested songs, and no epoch either: the schedule is
fixed, so all training songs are trained on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import Subset

from benchmarks.music_clips import Clips, Collection, Fold
from benchmarks.music_runs import Outputs, digest_of
from benchmarks.music_scores import ensemble_of
from helpers.datasets import BandScaler, SpectrogramDataset, make_loader
from helpers.folders import AXES
from helpers.machinery.arrays import N_MELS
from helpers.machinery.files import write_atomically
from helpers.machinery.process import seed_everything
from helpers.machinery.store import FeatureStore
from helpers.models import (
    Classifier,
    CNNBackbone,
    ConcordanceLoss,
    LSTMBackbone,
    MultitaskLoss,
    MultitaskRegressor,
)
from helpers.training import predict, train

N_TEST_CROPS = 6
SEED_STEP = 100  # between the members of an ensemble: no repeat shares a seed with another


@dataclass(frozen=True)
class Recipe:
    """Every choice for one of the kit's networks; an ablation changes one of them."""

    network: str  # lstm or cnn
    form: str = "full"  # or beat
    feature: str = "mel"  # or fused, chroma
    scaled: bool = True  # per band, with statistics of the training clips
    # the network
    hidden_size: int = 64  # LSTM: units per direction
    pooling: str = "mean"  # LSTM: mean, last, mean_max or attention
    stack: int = 1  # LSTM: frames per step
    cepstrum: bool = False  # LSTM: read the mel bands as cepstral coefficients
    dropout: float = 0.3
    # training
    epochs: int = 30
    learning_rate: float = 3e-3
    warmup: float = 0.1  # share of the epochs
    weight_decay: float = 1e-4
    batch_size: int = 32
    averaging: float = 0.0  # of the weights, see helpers.training.train
    mixup: float = 0.0  # the same
    crop_frames: int = 0  # length of the random windows in training; 0: whole clips
    masked_bands: int = 0  # SpecAugment
    test_crops: bool = False  # average over windows of the same length, instead of whole clips
    seed: int = 0  # added to the repeat's
    members: int = 1  # networks of other seeds whose probabilities are averaged
    # genre
    label_smoothing: float = 0.0
    # affect
    concordance: float = 0.0  # weight of the concordance loss, beside squared errors
    loss_weights: str = "equal"  # or variance (1 / variance), learned
    head_epochs: int = 5  # transfer: the head alone
    head_learning_rate: float = 3e-3
    tuning_epochs: int = 15  # transfer: then all weights
    tuning_learning_rate: float = 5e-4


# ---- what all of them do -----------------------------------------------------------------------


def _backbone(recipe: Recipe, n_features: int) -> nn.Module:
    if recipe.network == "cnn":
        return CNNBackbone(n_features, dropout=recipe.dropout)
    return LSTMBackbone(
        n_features,
        recipe.hidden_size,
        dropout=recipe.dropout,
        pooling=recipe.pooling,
        stack=recipe.stack,
        cepstral_bands=N_MELS if recipe.cepstrum else 0,
    )


def _fresh_backbone(fold: Fold, recipe: Recipe, n_features: int) -> tuple[int, nn.Module]:
    """The seed of this training, and a backbone that begins from it."""
    seed = fold.seed + recipe.seed
    seed_everything(seed)
    return seed, _backbone(recipe, n_features)


def _dataset(clips: Clips, fitted: np.ndarray, recipe: Recipe) -> SpectrogramDataset:
    dataset = clips.dataset(recipe.feature)
    if recipe.scaled:
        dataset.scaler = BandScaler.fit(Subset(dataset, fitted.tolist()))
    return dataset


def _fit(
    model: nn.Module,
    dataset: SpectrogramDataset,
    fitted: np.ndarray,
    recipe: Recipe,
    seed: int,
    loss: nn.Module | None = None,
) -> None:
    """Train on these clips for all epochs of the recipe's schedule."""
    train(
        model,
        make_loader(
            Subset(dataset, fitted.tolist()),
            recipe.batch_size,
            shuffle=True,
            seed=seed,
            crop_frames=recipe.crop_frames,
            max_masked_bands=recipe.masked_bands,
        ),
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_epochs=recipe.warmup * recipe.epochs,
        loss=loss,
        averaging=recipe.averaging,
        mixup=recipe.mixup,
    )


def _outputs(
    model: nn.Module, dataset: SpectrogramDataset, tested: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """Outputs for whole clips, or averaged over windows of the training's length."""
    if not recipe.test_crops:
        return predict(model, make_loader(Subset(dataset, tested.tolist()), recipe.batch_size))
    windows = (
        _window(dataset, recipe.crop_frames, place) for place in np.linspace(0, 1, N_TEST_CROPS)
    )
    subsets = (Subset(window, tested.tolist()) for window in windows)
    return np.mean([predict(model, make_loader(s, recipe.batch_size)) for s in subsets], axis=0)


def _window(dataset: SpectrogramDataset, n_frames: int, place: float) -> SpectrogramDataset:
    """Every clip cut to a window: at its begin for place 0, at its end for 1."""
    store = dataset.store
    lengths = np.minimum(store.lengths, n_frames)
    starts = store.starts + np.round(place * (store.lengths - lengths)).astype(np.int64)
    cut = copy.copy(dataset)
    cut.store = FeatureStore(store.frames, starts, lengths)
    return cut


# ---- one task ----------------------------------------------------------------------------------


def genre_network(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Outputs:
    """A classifier: {"genre": [n, classes]}. Leaves its weights for `transferred`."""
    clips = collection.get("genre", recipe.form)
    fitted, tested = fold.parts(clips)
    dataset = _dataset(clips, fitted, recipe)
    seed, backbone = _fresh_backbone(fold, recipe, dataset.n_features)
    model = Classifier(backbone, len(clips.classes))
    smoothed = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    _fit(model, dataset, fitted, recipe, seed, smoothed)
    if recipe.network == "cnn":
        path = _weights_path(collection, fold, recipe, folder)
        weights = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
        write_atomically(path, safetensors.torch.save(weights))
    return {"genre": _outputs(model, dataset, tested, recipe)}


def genre_ensemble(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Outputs:
    """Class probabilities {"genre": [n, classes]}, averaged over networks of different seeds."""
    members = [
        genre_network(collection, fold, replace(recipe, members=1, seed=recipe.seed + seed), folder)
        for seed in range(0, recipe.members * SEED_STEP, SEED_STEP)
    ]
    return {"genre": ensemble_of([outputs["genre"] for outputs in members], "genre")}


def _weights_path(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Path:
    digest = digest_of(recipe, sorted(fold.songs), collection.fingerprint)
    return folder / "weights" / f"genre-{digest}.safetensors"


def affect_network(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Outputs:
    """One network for the three axes: {"affect": [n, 3]}."""
    clips = collection.get("affect", recipe.form)
    fitted, tested = fold.parts(clips)
    dataset = _dataset(clips, fitted, recipe)
    seed, backbone = _fresh_backbone(fold, recipe, dataset.n_features)
    model = MultitaskRegressor(backbone, len(AXES))
    _fit(model, dataset, fitted, recipe, seed, AffectLoss(model, recipe, clips.targets[fitted]))
    return {"affect": _outputs(model, dataset, tested, recipe)}


class AffectLoss(nn.Module):
    """Squared errors of the axes, weighted, and the concordance loss beside them."""

    def __init__(self, model: nn.Module, recipe: Recipe, targets: np.ndarray) -> None:
        super().__init__()
        n_axes = targets.shape[1]
        weights = 1 / targets.var(0) if recipe.loss_weights == "variance" else None
        self.squares = MultitaskLoss(weights, n_axes)
        self.concordance, self.share = ConcordanceLoss(), recipe.concordance
        self.log_variances: nn.Parameter | None = None
        if recipe.loss_weights == "learned":  # Kendall, Gal and Cipolla 2018 (arXiv 1705.07115)
            # The model's, so that `train` trains them with it.
            model.log_variances = self.log_variances = nn.Parameter(torch.zeros(n_axes))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Outputs and targets [B, n_axes] -> one number."""
        total = self.squares(outputs, targets)
        if self.log_variances is not None:
            each = self.squares.per_axis(outputs, targets)
            total = (each * torch.exp(-self.log_variances) + self.log_variances).sum()
        if self.share and len(outputs) > 1:
            total = total + self.share * self.concordance(outputs, targets)
        return total


# ---- from genre to affect ----------------------------------------------------------------------


def transferred(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Outputs:
    """The genre network's backbone, with a new head for the axes: {"affect": [n, 3]}.

    The genre network saw the genre clips of the training songs only. Its weights are read where
    the same recipe left them, else trained. First the head learns, then everything.
    """
    clips = collection.get("affect", recipe.form)
    fitted, tested = fold.parts(clips)
    genre = collection.get("genre", recipe.form)
    of_genre = genre_recipe(recipe)
    path = _weights_path(collection, fold, of_genre, folder)
    if not path.is_file():
        genre_network(collection, fold, of_genre, folder)
    dataset = clips.dataset(recipe.feature)
    dataset.scaler = _dataset(genre, fold.parts(genre)[0], recipe).scaler
    seed, backbone = _fresh_backbone(fold, recipe, dataset.n_features)
    model = MultitaskRegressor(backbone, len(AXES))
    model.backbone.load_state_dict(safetensors.torch.load(path.read_bytes()))
    loss = AffectLoss(model, recipe, clips.targets[fitted])
    for trainable, epochs, rate in (
        (False, recipe.head_epochs, recipe.head_learning_rate),
        (True, recipe.tuning_epochs, recipe.tuning_learning_rate),
    ):
        if epochs:
            model.backbone.requires_grad_(trainable)
            stage = replace(recipe, epochs=epochs, learning_rate=rate)
            _fit(model, dataset, fitted, stage, seed, loss)
    return {"affect": _outputs(model, dataset, tested, recipe)}


def genre_recipe(recipe: Recipe) -> Recipe:
    """The part of a transfer's recipe that its genre network depends on; the rest as by default."""
    default = Recipe(recipe.network)
    names = (
        "concordance", "loss_weights", "head_epochs", "head_learning_rate", "tuning_epochs",
        "tuning_learning_rate",
    )  # fmt: skip
    return replace(recipe, **{name: getattr(default, name) for name in names})


# ---- genre and affect at once ------------------------------------------------------------------


class TwoTasks(nn.Module):
    """One backbone with a head for the genres and one for the axes: [B, classes + 3].

    More than the handout asks for: its networks learn one of the two at a time.
    """

    def __init__(self, backbone: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.genre = Classifier(backbone, n_classes)
        self.affect = MultitaskRegressor(backbone, len(AXES))
        self.backbone = backbone

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> [B, classes + 3]."""
        shared = self.backbone(x, lengths)
        return torch.cat([self.genre.head(shared), self.affect.head(shared)], dim=1)


class TwoTaskLoss(nn.Module):
    """Cross-entropy of the clips with a genre plus the affect loss of those with axes.

    A clip has one of the two; what it lacks is NaN in its targets [B, classes + 3].
    """

    def __init__(self, recipe: Recipe, n_classes: int, affect: nn.Module) -> None:
        super().__init__()
        self.n_classes, self.affect = n_classes, affect
        self.genre = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Outputs and targets [B, classes + 3] -> one number."""
        has_genre = ~targets[:, 0].isnan()
        total = outputs.new_zeros(())
        if has_genre.any():
            total = total + self.genre(
                outputs[has_genre, : self.n_classes], targets[has_genre, : self.n_classes]
            )
        if not has_genre.all():
            total = total + self.affect(
                outputs[~has_genre, self.n_classes :], targets[~has_genre, self.n_classes :]
            )
        return total


def together(collection: Collection, fold: Fold, recipe: Recipe, folder: Path) -> Outputs:
    """Both tasks in one training: {"genre": [n, classes], "affect": [n, 3]}."""
    genre, affect = (collection.get(task, recipe.form) for task in ("genre", "affect"))
    dataset = collection.both(recipe.form, recipe.feature)
    n_genre, n_classes = len(genre.ids), len(genre.classes)
    (fitted, tested), (fitted_affect, tested_affect) = fold.parts(genre), fold.parts(affect)
    all_fitted = np.concatenate([fitted, fitted_affect + n_genre])
    if recipe.scaled:
        dataset.scaler = BandScaler.fit(Subset(dataset, all_fitted.tolist()))
    seed, backbone = _fresh_backbone(fold, recipe, dataset.n_features)
    model = TwoTasks(backbone, n_classes)
    loss = TwoTaskLoss(recipe, n_classes, AffectLoss(model, recipe, affect.targets[fitted_affect]))
    _fit(model, dataset, all_fitted, recipe, seed, loss)
    return {
        "genre": _outputs(model, dataset, tested, recipe)[:, :n_classes],
        "affect": _outputs(model, dataset, tested_affect + n_genre, recipe)[:, n_classes:],
    }
