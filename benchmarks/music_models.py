"""The models of the benchmark: references, the kit's models with their recipes, and ablations.

The recipes were chosen on repeat 1; the ablations, each with one thing changed, show how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import music_networks as networks
from benchmarks import music_references as references
from benchmarks.music_clips import Clips, Collection, Fold
from benchmarks.music_networks import SEED_STEP, Recipe
from benchmarks.music_references import PUBLIC_CNN, PUBLIC_LSTM, PublicRecipe
from benchmarks.music_runs import Model, Outputs
from benchmarks.music_table import BEST_SINGLE, Ablation, Comparison, Ensemble

LSTM_BEAT = Recipe(
    "lstm", "beat", cepstrum=True, dropout=0.2, label_smoothing=0.1, averaging=0.98, mixup=0.3,
    weight_decay=1e-3,
)  # fmt: skip
LSTM_FULL = replace(LSTM_BEAT, form="full", stack=16, crop_frames=430, masked_bands=16)
CNN = Recipe(
    "cnn", learning_rate=2e-3, label_smoothing=0.1, crop_frames=256, masked_bands=8, averaging=0.98
)

# What a method is trained for, and how.
METHODS = {
    "genre": (("genre",), networks.genre_network),
    "genre ensemble": (("genre",), networks.genre_ensemble),
    "affect": (("affect",), networks.affect_network),
    "transfer": (("affect",), networks.transferred),
    "together": (("genre", "affect"), networks.together),
}


@dataclass(frozen=True)
class KitModel:
    """A model of the kit, as `as_model` turns it into a row of the table."""

    name: str
    title: str
    method: str
    recipe: Recipe
    seconds: float  # first guess of one training
    changes: str = ""  # an ablation: the name of the model whose recipe it changes


KIT_MODELS = (
    KitModel("lstm_beat", "LSTM, beats", "genre", LSTM_BEAT, 3),
    KitModel("lstm_beat_seeds", "LSTM, beats, 5 seeds averaged", "genre ensemble",
             replace(LSTM_BEAT, members=5), 16),
    KitModel("lstm_beat_fused", "LSTM, beats, mel + chroma", "genre",
             replace(LSTM_BEAT, feature="fused"), 4),
    KitModel("lstm_full", "LSTM, full clips", "genre", LSTM_FULL, 14),
    KitModel("cnn", "CNN", "genre", CNN, 27),
    KitModel("multitask", "multitask CNN", "affect", CNN, 27),
    KitModel("transfer", "transfer from genre, CNN", "transfer", CNN, 23),
    KitModel("together", "genre and affect together, CNN", "together", CNN, 55),
)  # fmt: skip
QUICK = ("majority", "svm", "svr", "public_lstm", "public_cnn", "public_cnn_affect", "lstm_beat",
         "lstm_beat_seeds", "cnn", "multitask", "transfer")  # fmt: skip

ENSEMBLES = (
    Ensemble("ensemble", "ensemble: multitask, transfer, together", "affect",
             ("multitask", "transfer", "together")),
    Ensemble("ensemble_svr", "ensemble: these and the SVR", "affect", ("ensemble", "svr")),
)  # fmt: skip

COMPARISONS = (
    Comparison("genre", "lstm_beat", "public_lstm", "at least", 0.12),
    Comparison("genre", "lstm_beat", "svm", "not below"),
    Comparison("genre", "lstm_beat_seeds", "public_lstm", "at least", 0.12),
    Comparison("genre", "lstm_beat_seeds", "svm", "not below"),
    Comparison("genre", "lstm_beat_seeds", "lstm_beat"),
    Comparison("genre", "lstm_full", "svm"),
    Comparison("genre", "cnn", "public_cnn", "above"),
    Comparison("genre", "cnn", "svm", "above"),
    Comparison("genre", "together", "cnn"),
    *(
        Comparison("affect", name, reference, sense)
        for name in ("multitask", "transfer", "together")
        for reference, sense in (("public_cnn_affect", "above"), ("svr", "not below"))
    ),
    Comparison("affect", "ensemble", "svr"),
    Comparison("affect", "ensemble_svr", "svr", "at least", 0.04),
    Comparison("affect", "ensemble_svr", BEST_SINGLE, "at least", 0.0),
)


# ---- as rows of the table ----------------------------------------------------------------------


def as_model(one: KitModel) -> Model:
    """A model of the kit, ready to be trained."""
    tasks, function = METHODS[one.method]

    def fit(collection: Collection, fold: Fold, folder: Path) -> Outputs:
        return function(collection, fold, one.recipe, folder)

    recipe = (one.method, one.recipe)
    return Model(one.name, one.title, tasks, one.recipe.form, recipe, fit, one.seconds)


def reference_models(
    cnn: PublicRecipe = PUBLIC_CNN, lstm: PublicRecipe = PUBLIC_LSTM
) -> list[Model]:
    """Majority, SVM, SVR, and the public networks."""
    public_cnn = partial(references.public_network, recipe=cnn)
    public_lstm = partial(references.public_network, recipe=lstm)
    return [
        _reference("majority", "majority class", "genre", "full", None, references.majority, 0.1),
        _reference("svm", "SVM", "genre", "full", None, references.svm, 1),
        _reference("public_lstm", "public LSTM, beats", "genre", "beat", lstm, public_lstm, 8),
        _reference("public_cnn", "public CNN", "genre", "full", cnn, public_cnn, 60),
        _reference("svr", "SVR", "affect", "full", None, references.svr, 1),
        _reference("public_cnn_affect", "public CNN", "affect", "full", cnn, public_cnn, 60),
    ]


def _reference(
    name: str,
    title: str,
    task: str,
    form: str,
    recipe: PublicRecipe | None,
    function: Callable[[Clips, Fold], np.ndarray],
    seconds: float,
) -> Model:
    def fit(collection: Collection, fold: Fold, folder: Path) -> Outputs:
        return {task: function(collection.get(task, form), fold)}

    return Model(name, f"reference: {title}", (task,), form, recipe, fit, seconds)


def all_models() -> list[Model]:
    """Every model of the main table, references first."""
    return [*reference_models(), *(as_model(one) for one in KIT_MODELS)]


# ---- ablations ---------------------------------------------------------------------------------


UNCHANGED = "as in the table"
# Trainings on so few songs differ by luck more than by recipe: where it counts, several seeds.
N_SEEDS = {"lstm_beat": 3, "cnn": 3}

CHANGES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "lstm_beat": [
        ("no scaling per band", {"scaled": False}),
        ("mel bands, no cepstrum", {"cepstrum": False}),
        ("last step", {"pooling": "last"}),
        ("mean and maximum", {"pooling": "mean_max"}),
        ("attention", {"pooling": "attention"}),
        ("128 units", {"hidden_size": 128}),
        ("windows of 24 beats", {"crop_frames": 24}),
        ("SpecAugment", {"masked_bands": 16}),
        ("no mixup", {"mixup": 0.0}),
        ("no label smoothing", {"label_smoothing": 0.0}),
        ("weight decay 1e-4", {"weight_decay": 1e-4}),
        ("no averaging of weights", {"averaging": 0.0}),
        ("one-cycle, 30 % warm-up", {"warmup": 0.3}),
    ],
    "lstm_full": [
        ("every frame a step", {"stack": 1}),
        ("whole clips in training", {"crop_frames": 0}),
        ("mel bands, no cepstrum", {"cepstrum": False}),
    ],
    "multitask": [
        ("mixup", {"mixup": 0.3}),
        ("concordance beside squared errors", {"concordance": 1.0}),
        ("weights 1 / variance", {"loss_weights": "variance"}),
        ("learned weights", {"loss_weights": "learned"}),
        ("no SpecAugment", {"masked_bands": 0}),
        ("no averaging of weights", {"averaging": 0.0}),
    ],
    "transfer": [
        ("the head alone", {"tuning_epochs": 0}),
        ("everything at once", {"head_epochs": 0}),
    ],
    "cnn": [
        ("mixup", {"mixup": 0.3}),
        ("no scaling per band", {"scaled": False}),
        ("windows averaged at test", {"test_crops": True}),
        ("no label smoothing", {"label_smoothing": 0.0}),
        ("no SpecAugment", {"masked_bands": 0}),
        ("neither SpecAugment nor label smoothing", {"label_smoothing": 0.0, "masked_bands": 0}),
        ("no averaging of weights", {"averaging": 0.0}),
    ],
}


def ablations() -> list[KitModel]:
    """The recipes of the table with one thing changed in each, and each of its seeds."""
    models = {one.name: one for one in KIT_MODELS}
    return [
        KitModel(
            f"{name}-{number}-{trial}",
            title,
            models[name].method,
            replace(models[name].recipe, **options, seed=trial * SEED_STEP),
            models[name].seconds,
            changes=name,
        )
        for name, changes in CHANGES.items()
        for number, (title, options) in enumerate([(UNCHANGED, {}), *changes])
        for trial in range(N_SEEDS.get(name, 1))
        if title != UNCHANGED or 0 < trial < N_SEEDS.get(name, 1)  # trial 0 is the model itself
    ]


def ablation_rows(extras: Sequence[KitModel]) -> list[Ablation]:
    """A row of the table for each change, with the names of its seeds and of those without it."""
    names: dict[tuple[str, str], tuple[str, ...]] = {}
    for one in extras:
        row = (one.changes, one.title)
        names[row] = (*names.get(row, ()), one.name)
    return [
        Ablation(default, title, own, (default, *names.get((default, UNCHANGED), ())))
        for (default, title), own in names.items()
        if title != UNCHANGED
    ]
