"""Steps 7 to 11 of the report: what their notebooks have stored, as sections of blocks."""

from __future__ import annotations

import math

from helpers.evaluation import Score
from helpers.folders import AXES
from helpers.notebook.records import HELD_OUT
from tools.report.blocks import Block, Code, Formula, Section, Sentence, Table
from tools.report.source import Run, number, solution_lines
from tools.report.steps_first import (
    MODELS,
    code,
    compared,
    genre_scores,
    overfit_sentence,
)

CNN, REGRESSION, TRANSFER = "07_cnn", "08_regression", "09_transfer"
MULTITASK, SUBMISSION = "10_multitask", "11_kaggle_submission"
MEAN = "mean Spearman"
STAND_IN = "affect test (stand-in for Kaggle's hidden answers)"
SPEARMAN = (
    r"\rho = \frac{\sum_i (r_i - \bar r)(s_i - \bar s)}"
    r"{\sqrt{\sum_i (r_i - \bar r)^2 \, \sum_i (s_i - \bar s)^2}}"
)
WEIGHTED_LOSS = (
    r"L = \sum_{a} w_a \, \frac{1}{B} \sum_{b=1}^{B} (\hat y_{ba} - y_{ba})^2,"
    r"\qquad w_a = \frac{1}{\sigma_a^2}"
)
LINES_OF_SOLUTION = 4


def cnn(run: Run) -> list[Section]:
    """Step 7: a CNN on digits, and one of four blocks on spectrograms."""
    values = run.values(CNN)
    digits = {"accuracy": values.get("digits_accuracy"), "epochs": values.get("digits_epochs")}
    sizes = [
        [row["stage"], *(int(row[c]) for c in ("channels", "frequency", "time"))]
        for row in run.table(CNN, "sizes")
    ]
    shape = ("stage", "channels", "frequency", "time")
    n_parameters = values.get("n_parameters")
    kept = {key: values.get(key) for key in ("kept_epoch", "n_epochs", "n_train", "n_everything")}
    models = ["cnn_mel_refit", "cnn_mel_best", "lstm_mel_full", "svm_mel_refit", "majority_full"]
    scores = genre_scores(run, CNN, models)
    report = [
        [row["class"], *(number(row[c]) for c in ("precision", "recall", "f1")), int(row["clips"])]
        for row in run.table(CNN, "report_cnn_mel_refit")
    ]
    return [
        Section(
            "7α",
            [
                *([Sentence("digits", digits)] if digits["accuracy"] else []),
                *(run.figure(CNN, name) for name in ("digit_activations", "digit_filters")),
            ],
            CNN,
        ),
        Section(
            "7β",
            [
                *([Sentence("cnn_size", {"n": n_parameters})] if n_parameters else []),
                *([Table("sizes", shape, sizes)] if sizes else []),
                code(MODELS, "conv_block"),
            ],
            CNN,
        ),
        Section("7γ", [run.figure(CNN, "four_operations")], CNN),
        Section("7δ", [*overfit_sentence(values), run.figure(CNN, "overfit_batch")], CNN),
        Section(
            "7ε",
            [
                *([Sentence("cnn_trained", kept)] if kept["kept_epoch"] else []),
                run.figure(CNN, "learning_curves"),
                Table("cnn_scores", ("model", "accuracy", "macro F1"), scores),
                run.figure(CNN, "accuracy"),
                *compared(run, CNN),
                Table("cnn_report", ("class", "precision", "recall", "F1", "clips"), report),
                *(run.figure(CNN, f) for f in ("confusion_cnn", "cnn_activations", "cnn_filters")),
            ],
            CNN,
        ),
    ]  # fmt: skip


def regression(run: Run) -> list[Section]:
    """Step 8: valence, energy and danceability."""
    values, curves = run.values(REGRESSION), run.table(REGRESSION, "histories")
    taken = {"lstm": values.get("lstm", "LSTM"), "folder": values["lstm_folder"]}

    def lowest(model: str, axis: str) -> float:
        losses = (row for row in curves if (row["model"], row["axis"]) == (model, axis))
        return min(number(row["val_loss"]) for row in losses)

    def of_axis(label: str, axis: str) -> Section:
        losses = {"lstm": lowest("LSTM", axis), "cnn": lowest("CNN", axis)}
        constant = values.get(f"constant_loss_{axis}", math.nan)
        better = min(losses.values()) < constant
        verdict = "axis_better" if better else "axis_not_better"
        told = {"axis": axis, "constant": constant, **losses}
        key = "axis_loss" if math.isnan(constant) else verdict
        figures = [run.figure(REGRESSION, f"{kind}_{axis}") for kind in ("curves", "scatter")]
        return Section(label, [Sentence(key, told), *figures], REGRESSION)

    chosen = {"best": values["best"]}
    validation = values.get("on_validation")
    if validation:
        chosen |= {"lstm": validation["LSTM"], "cnn": validation["CNN"]}
    return [
        Section("8α", [Sentence("regressors", taken)], REGRESSION),
        *(of_axis(*pair) for pair in zip(("8β", "8γ", "8δ"), AXES, strict=True)),
        Section(
            "8ε",
            [
                Formula(SPEARMAN),
                Sentence("chosen_with_scores" if validation else "chosen", chosen),
                _affect_table(run, REGRESSION, ("LSTM", "CNN", "SVR")),
                *(run.figure(REGRESSION, name) for name in ("spearman", "heldout")),
                *compared(run, REGRESSION),
            ],
            REGRESSION,
        ),
    ]


def _affect_table(run: Run, notebook: str, models: tuple[str, ...]) -> Table:
    """Spearman on held-out clips: a row per model, a column per axis and one for the mean."""
    rows = [
        [
            model,
            *(run.score(notebook, model, f"{HELD_OUT}: {axis}", "Spearman") for axis in AXES),
            run.score(notebook, model, HELD_OUT, MEAN),
        ]
        for model in models
    ]
    return Table("affect_scores", ("model", *AXES, "mean"), rows, digits=2)


def transfer(run: Run) -> list[Section]:
    """Step 9: from genre to one axis."""
    values = run.values(TRANSFER)
    axis = values["axis"]
    f1 = values.get("genre_f1")
    kept = {"epoch": values.get("genre_epoch"), "loss": values.get("genre_val_loss")}
    tuned = {"axis": axis, "epoch": values.get("kept_epoch"), "n": values.get("n_epochs")}
    head = (tuned["epoch"] or 0) <= values.get("n_head_epochs", 0)
    scores = [
        [model, run.score(notebook, model, f"{HELD_OUT}: {axis}", "Spearman")]
        for notebook, model in (
            (TRANSFER, "CNN from genre"),
            (REGRESSION, "CNN"),
            (REGRESSION, "SVR"),
        )
    ]
    return [
        Section("9α", [], TRANSFER),
        Section("9β", [Sentence("genre_f1", f1)] if f1 else [], TRANSFER),
        Section("9γ", [Sentence("genre_kept", kept)] if kept["epoch"] else [], TRANSFER),
        Section(
            "9δ",
            [Sentence("tuned_head" if head else "tuned_all", tuned)]
            if tuned["epoch"]
            else [Sentence("tuned", tuned)],
            TRANSFER,
        ),
        Section(
            "9ε",
            [
                *_race(values),
                *(run.figure(TRANSFER, name) for name in ("validation_race", "learning_curves")),
                Table("transfer_scores", ("model", "Spearman"), scores, values={"axis": axis}),
                *(run.figure(TRANSFER, name) for name in ("spearman", "heldout")),
                *compared(run, TRANSFER),
            ],
            TRANSFER,
        ),
    ]


def _race(values: dict) -> list[Block]:
    """Which training reached the lower validation loss, and when."""
    if "lowest_val_loss" not in values:
        return []
    mine, theirs = values["lowest_val_loss"], values["step8_val_loss"]
    reached = values.get("epoch_of_step8_loss")
    told = {"mine": mine, "theirs": theirs, "epoch": reached}
    return [Sentence("race_reached" if reached else "race_not_reached", told)]


def multitask(run: Run) -> list[Section]:
    """Step 10: one network for all three axes."""
    values = run.values(MULTITASK)
    columns = ("loss", "share", "weight", "weighted loss")
    constant = [
        [row["axis"], *(number(row[c]) for c in columns)]
        for row in run.table(MULTITASK, "constant_losses")
    ]
    left = values.get("weighted_loss")
    hardest: list[Block] = []
    if left:
        by_loss = sorted(left, key=lambda axis: left[axis])
        told = {"easiest": by_loss[0], "hardest": by_loss[-1], "epoch": values["kept_epoch"]}
        told |= {"low": left[by_loss[0]], "high": left[by_loss[-1]]}
        hardest = [Sentence("hardest", told)]
    costs = [
        [
            row["model"],
            *(int(float(row[c])) for c in ("parameters", "epochs")),
            float(row["seconds"]),
        ]
        for row in run.table(MULTITASK, "costs")
    ]
    cost_columns = ("model", "parameters", "epochs", "seconds")
    losses = [Table("constant_losses", ("axis", *columns), constant)] if constant else []
    price = [Table("costs", cost_columns, costs, digits=1)] if costs else []
    return [
        Section("10α", [], MULTITASK),
        Section("10β", [Formula(WEIGHTED_LOSS), code(MODELS, "MultitaskLoss"), *losses], MULTITASK),
        Section("10γ", [*hardest, run.figure(MULTITASK, "learning_curves")], MULTITASK),
        Section(
            "10δ",
            [
                _affect_table(run, MULTITASK, ("multitask CNN",)),
                *(run.figure(MULTITASK, name) for name in ("spearman", "heldout")),
                *compared(run, MULTITASK),
                *price,
            ],
            MULTITASK,
        ),
    ]


def submission(run: Run) -> list[Section]:
    """Step 11: the chosen model, solution.txt, the expected score."""
    values = run.values(SUBMISSION)
    chosen = values["chosen"]
    told = {"chosen": chosen, "score": values.get("on_validation", {}).get(chosen, math.nan)}
    key = "submitted" if math.isnan(told["score"]) else "submitted_with_score"
    lines = solution_lines(run, LINES_OF_SOLUTION)
    text = [Code("\n".join([*lines, "..."]), "solution.txt")] if lines else []
    return [
        Section(
            "11α",
            [
                Sentence(key, told),
                *(run.figure(SUBMISSION, name) for name in ("choice", "test_predictions")),
            ],
            SUBMISSION,
        ),
        Section("11β", [Sentence("solution", {"rows": values["rows"]}), *text], SUBMISSION),
        Section("11γ", [], SUBMISSION),
        Section(
            "11δ", [*_expected(run, values, chosen), run.figure(SUBMISSION, "expected")], SUBMISSION
        ),
    ]


def _expected(run: Run, values: dict, chosen: str) -> list[Block]:
    """The expected score, and how each known score compares with it."""
    expected = run.score(SUBMISSION, chosen, HELD_OUT, MEAN)
    blocks: list[Block] = [Sentence("expected", {"score": expected})]
    low, high = values.get("margin", (math.nan, math.nan))
    scores = {
        "score_of_kaggle": Score(values.get("kaggle_score", math.nan)),
        "score_of_stand_in": run.score(SUBMISSION, chosen, STAND_IN, MEAN),
    }
    for key, score in scores.items():
        if math.isnan(score.value):
            continue
        told = {"score": score.value, "low": low, "high": high}
        if math.isnan(low):
            blocks.append(Sentence(key, told | {"verdict": ""}))
            continue
        verdict = Sentence("inside" if low <= score.value <= high else "outside", told)
        blocks.append(Sentence(key, told | {"verdict": verdict}))
    return blocks
