"""Steps 0 to 6 of the report: what their notebooks have stored, as sections of blocks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from helpers.evaluation import Score
from tools.common.notebooks import ROOT
from tools.report.blocks import Block, Code, Section, Sentence, Table
from tools.report.source import Run, excerpt, number

SETUP, LOOK, CLASSES = "00_setup", "01_visualization", "04_histograms"
LSTM, METRICS = "05_lstm", "06_metrics"
MODELS = "helpers/models.py"
GENRE_TESTS = ("genre test (full)", "genre test (beat)")
LSTM_LABELS = {
    "5γ": ("lstm_mel_full",),
    "5δ": ("lstm_mel_beat",),
    "5ε": ("lstm_chroma_full", "lstm_chroma_beat"),
    "5ζ": ("lstm_fused_full", "lstm_fused_beat"),
}
LSTMS = [name for names in LSTM_LABELS.values() for name in names]


def rank(score: Score) -> float:
    """What sorts the best first, and what is undefined last."""
    return -score.value if score.defined else math.inf


def code(path: str, name: str, method: str = "") -> Code:
    """An excerpt of the kit's own code."""
    return Code(excerpt(ROOT / path, name, method), path, "python")


def overfit_sentence(values: dict) -> list[Block]:
    """What `overfit_batch` did, from the losses that a notebook stored (5β, 7δ)."""
    losses = values.get("overfit_loss")
    if not losses:
        return []
    told = {"first": losses[0], "last": losses[-1], "epochs": len(losses)}
    told["clips"] = values["n_overfit_clips"]
    return [Sentence("overfit_yes" if losses[-1] < 0.1 else "overfit_not_yet", told)]


def setup(run: Run) -> list[Section]:
    """Step 0: the rules, and the data that the run had."""
    folders = run.table(SETUP, "folders")
    rows: list[list[Any]] = [
        [
            row["folder"],
            row["split"],
            int(row["clips"]),
            row["labels"],
            *(int(float(row[f"{which} T"])) for which in ("shortest", "median", "longest")),
        ]
        for row in folders
    ]
    columns = ("folder", "part", "clips", "labels", "shortest T", "median T", "longest T")
    data = run.summary.get("data", {})
    kind = "data_demo" if data.get("demo") else "data_given"
    # The beat-synchronous folders hold the same clips once more.
    n_clips = sum(row[2] for row in rows if not row[0].endswith("_beat"))
    values = {"clips": n_clips, "fingerprint": str(data.get("fingerprint"))}
    return [
        Section("rules", [Sentence("rules")], SETUP),
        Section("0", [Sentence(kind, values), Table("folders", columns, rows)], SETUP),
    ]


def look(run: Run) -> list[Section]:
    """Steps 1 to 3: two clips, their spectrograms, beats and chroma."""
    values = run.values(LOOK)
    clips, steps = values["clips"], values["time_steps"]
    (one, one_id), (other, other_id) = clips.items()
    names = {"one": one, "other": other, "one_id": one_id, "other_id": other_id}
    full_beat = {"full": steps["full"], "beat": steps["beat"]}
    numbers = run.table(LOOK, "two_clips")
    rows = [[row["number"], number(row[one]), number(row[other])] for row in numbers]

    def show(label: str, figures: str, *blocks: Block) -> Section:
        return Section(label, [*blocks, *(run.figure(LOOK, f) for f in figures.split())], LOOK)

    reached = values.get("frames_reached", {})
    shares = {
        "last": reached.get("output at the last step"),
        "mean": reached.get("mean of all outputs"),
    }
    reach = [Sentence("gradient_reach", full_beat | shares)] if reached else []
    chroma = values.get("chroma_time_ratio")
    beat = {"ratio": values["lstm_time_ratio"]}
    faster = [Sentence("chroma_time", {"chroma": chroma} | beat)] if chroma else []
    return [
        show("1α", "", Sentence("two_clips", names)),
        show("1β", "", Sentence("two_arrays", names | full_beat)),
        show(
            "1γ",
            "mel_full average_spectra",
            *_largest_contrast(rows, one, other),
            Table("two_clips", ("", one, other), rows, digits=1),
        ),
        show("2α", "gradient_reach", Sentence("time_steps", full_beat | beat), *reach),
        show("2β", "mel_beat", Sentence("beat_steps", full_beat)),
        show("3", "chroma_full pitch_profiles chroma_beat four_forms", *faster),
    ]


def _largest_contrast(rows: list[list], one: str, other: str) -> list[Block]:
    """In which of the numbers the two clips differ most, as a ratio of positive values."""
    ratios = {
        row[0]: max(row[1], row[2]) / min(row[1], row[2]) for row in rows if min(row[1], row[2]) > 0
    }
    if not ratios:
        return []
    what = max(ratios, key=lambda name: ratios[name])
    row = next(row for row in rows if row[0] == what)
    more, less = (one, other) if row[1] >= row[2] else (other, one)
    told = {"what": what, "more": more, "less": less, "ratio": ratios[what]}
    return [Sentence("largest_contrast", told)]


def classes(run: Run) -> list[Section]:
    """Step 4: the Dataset, merging and dropping, samples per class."""
    values = run.values(CLASSES)
    dropped, as_large = values["dropped"], values["dropped_and_as_large_as_kept"]
    counted = [f"{name} ({n})" for name, n in dropped.items()]
    reason = "reason_none_dropped"
    if dropped:
        most = len(as_large) > len(dropped) / 2
        reason = "reason_fails" if most else "reason_partly" if as_large else "reason_holds"
    tasks = [
        [
            name.removeprefix("svm, "),
            *(
                run.score(CLASSES, name, "genre validation (beat)", metric)
                for metric in ("accuracy", "macro F1")
            ),
        ]
        for name in ("svm, all genres", "svm, classes of 4β")
    ]
    levels = values.get("level_and_length", {})
    padded = {"own": levels.get("own frames"), "padded": levels.get("padded")}
    counts: list[list[Any]] = [
        [row["class"], int(row["train clips"]), int(row["test clips"])]
        for row in run.table(CLASSES, "class_counts")
    ]
    trained = {row[0]: row[1] for row in counts}
    largest, smallest = max(trained, key=trained.__getitem__), min(trained, key=trained.__getitem__)
    unequal = {
        "largest": largest,
        "n_largest": trained[largest],
        "smallest": smallest,
        "n_smallest": trained[smallest],
        "dropped": sum(dropped.values()),
        "all": sum(dropped.values()) + sum(trained.values()),
    }
    majority = {
        name: run.score(CLASSES, "majority_full", GENRE_TESTS[0], metric)
        for name, metric in (("accuracy", "accuracy"), ("macro", "macro F1"))
    }
    figure = run.figure
    return [
        Section(
            "4α",
            [
                *([Sentence("padding", padded)] if levels else []),
                figure(CLASSES, "padding"),
            ],
            CLASSES,
        ),
        Section(
            "4β",
            [
                *([Sentence("dropped", {"dropped": counted})] if dropped else []),
                Sentence(reason, {"as_large": [f"{n} ({dropped[n]})" for n in as_large]}),
                Table("merged", ("task of the SVM", "accuracy", "macro F1"), tasks),
                figure(CLASSES, "dropped_recall"),
            ],
            CLASSES,
        ),
        Section(
            "4γ",
            [
                Sentence("unequal", unequal),
                Sentence("majority", majority),
                figure(CLASSES, "class_counts"),
                Table("class_counts", ("class", "train clips", "test clips"), counts),
            ],
            CLASSES,
        ),
    ]


def _reading(options: Mapping[str, Any]) -> list[Sentence]:
    """What the LSTM reads in one step, and on what it is trained, where a run says so."""
    told = []
    if options.get("stack", 1) > 1:
        told.append(Sentence("lstm_stack", {"stack": options["stack"]}))
    if options.get("cepstrum"):
        told.append(Sentence("lstm_cepstrum", {}))
    if options.get("mixup"):
        told.append(Sentence("lstm_mixup", {"mixup": options["mixup"]}))
    return told


def lstm(run: Run) -> list[Section]:
    """Step 5: the LSTM, learning four batches by heart, one network per feature."""
    values, rows = run.values(LSTM), {row["model"]: row for row in run.table(LSTM, "validation")}
    options = run.parameters(LSTM)
    about = {name: options.get(name) for name in ("hidden_size", "n_layers", "pooling")}

    def trained(name: str) -> Sentence:
        row = rows[name]
        told = {"model": name, "epoch": int(row["kept epoch"]), "loss": number(row["loss"])}
        told |= {"accuracy": number(row["accuracy"]), "macro": number(row["macro F1"])}
        return Sentence("validated", told)

    sections = [
        Section(
            "5α",
            [
                Sentence("lstm_form", about),
                *_reading(options),
                code(MODELS, "LSTMBackbone", "steps"),
            ],
            LSTM,
        ),
        Section("5β", [*overfit_sentence(values), run.figure(LSTM, "overfit_batch")], LSTM),
    ]
    for label, names in LSTM_LABELS.items():
        sections.append(Section(label, [trained(name) for name in names], LSTM))
    table = [
        [
            name,
            *(number(row[c]) for c in ("loss", "accuracy", "macro F1")),
            int(row["kept epoch"]),
        ]
        for name, row in rows.items()
    ]
    columns = ("model", "loss", "accuracy", "macro F1", "kept epoch")
    best = {"best": values["best_lstm"]["name"], "full": values["best_full_lstm"]["name"]}
    blocks: list[Block] = [
        run.figure(LSTM, "learning_curves"),
        Table("validation", columns, table),
        *_baselines(values),
        Sentence("best_lstm", best),
    ]
    return [*sections, Section("validation_of_5", blocks)]


def _baselines(values: dict) -> list[Block]:
    found = values.get("baseline_accuracy")
    if not found:
        return []
    told = {"full": found["SVM, full"], "beat": found["SVM, beat"]}
    told |= {"majority": found["majority"], "clips": values["n_validation"]}
    return [Sentence("baselines", told)]


def metrics(run: Run) -> list[Section]:
    """Step 6: accuracy, precision, recall and F1, macro and micro, on the test sets."""
    best = run.values(LSTM)["best_lstm"]["name"]
    own = [r for r in run.rows_of(METRICS, "accuracy") if "(crossed)" not in r["model"]]
    tests = {row["model"]: row["test_set"] for row in own}
    accuracy, macro_f1 = (
        {name: run.score(METRICS, name, tests[name], metric) for name in tests}
        for metric in ("accuracy", "macro F1")
    )
    ordered = sorted(tests, key=lambda name: rank(accuracy[name]))
    reports = {name: _report(run, f"report_{name}") for name in tests}
    majority = accuracy["majority_full"]
    above = [n for n in LSTMS if accuracy[n].low > accuracy[f"majority_{n.split('_')[-1]}"].value]
    against = {"above": above, "n_above": len(above), "n": len(LSTMS), "majority": majority}
    scores = [[name, tests[name], accuracy[name], macro_f1[name]] for name in ordered]
    macro = [[name, *reports[name]["macro avg"]] for name in ordered]
    micro = [[name, *reports[name]["micro avg"], accuracy[name].value] for name in ordered]
    averages = ("precision", "recall", "F1")
    gap = {n: accuracy[n].value - macro_f1[n].value for n in LSTMS}
    widest = max(gap, key=lambda name: abs(gap[name]))
    told = {"widest": widest, "gap": gap[widest], "best": best, "of_best": gap[best]}
    spoken = Sentence("widest_gap", told)
    of_micro = Table("micro", ("model", *averages, "accuracy"), micro)
    sections: dict[str, list[Block]] = {
        "6α": [
            Table("accuracy", ("model", "test set", "accuracy", "macro F1"), scores),
            Sentence("above_majority", against),
            run.figure(METRICS, "accuracy"),
        ],
        "6β": [
            *_per_class(reports),
            *(run.figure(METRICS, name) for name in ("f1_per_class", "confusion_best_lstm")),
            *_never_predicted(run, list(reports[best])[:-2]),
        ],
        "6γ": [Table("macro", ("model", *averages), macro)],
        "6δ": [of_micro, Sentence("micro_is_accuracy"), spoken],
    }
    labelled = [Section(label, blocks, METRICS) for label, blocks in sections.items()]
    return [
        *labelled,
        Section("compared_6", compared(run, METRICS)),
        Section("6 questions", [], METRICS),
    ]


def compared(run: Run, notebook: str) -> list[Block]:
    """The stored comparisons of a notebook as sentences, with their forest plot."""
    found = run.differences_of(notebook)
    blocks: list[Block] = [difference.sentence() for difference in found]
    if found and run.has_figure(notebook, "differences"):
        blocks.append(run.figure(notebook, "differences"))
    return blocks


def _report(run: Run, name: str) -> dict[str, list[float]]:
    """Precision, recall and F1 by class, and under `macro avg` and `micro avg`."""
    rows = run.table(METRICS, name)
    return {row["class"]: [number(row[c]) for c in ("precision", "recall", "f1")] for row in rows}


def _per_class(reports: dict[str, dict[str, list[float]]]) -> list[Block]:
    """One table per metric: a row per class, a column per LSTM."""
    names = list(reports[LSTMS[0]])[:-2]
    columns = ("class", *(f"short {model}" for model in LSTMS))
    return [
        Table(
            key,
            columns,
            [[name, *(reports[model][name][number] for model in LSTMS)] for name in names],
            digits=2,
        )
        for number, key in enumerate(("precision", "recall", "f1"))
    ]


def _never_predicted(run: Run, names: list[str]) -> list[Block]:
    """Which classes an LSTM never names on its test set."""
    sentences: list[Block] = []
    for model in LSTMS:
        counts = Counter(int(float(row["class"])) for row in run.table(METRICS, f"test_{model}"))
        never = [name for position, name in enumerate(names) if not counts[position]]
        if counts and never:
            sentences.append(Sentence("never_predicted", {"model": model, "classes": never}))
    return sentences or [Sentence("all_predicted")]


def genre_scores(run: Run, notebook: str, models: list[str]) -> list[list[object]]:
    """Rows of accuracy and macro F1 on the full genre test set."""
    return [
        [name, *(run.score(notebook, name, GENRE_TESTS[0], m) for m in ("accuracy", "macro F1"))]
        for name in models
    ]
