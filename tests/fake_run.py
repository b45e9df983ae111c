"""A finished run that nobody ran: records as the notebooks store them, with invented numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt

from tools.checks.labels import read_labels
from tools.common.notebooks import NOTEBOOKS

AXES = ("valence", "energy", "danceability")
GENRES = ("Blues", "Rock")
LSTMS = [f"lstm_{f}_{kind}" for f in ("mel", "chroma", "fused") for kind in ("full", "beat")]
OVERFIT = {"overfit_loss": [2.3, 0.4, 0.01], "n_overfit_clips": 128}
VALUES = {
    "00_setup": {"device": "cpu", "fingerprint": "abc123"},
    "01_visualization": {
        "clips": {"Blues": "1042", "Rock": "1300"},
        "time_steps": {"full": 1292, "beat": 56},
        "lstm_time_ratio": 23.8,
        "frames_reached": {"output at the last step": 61, "mean of all outputs": 1292},
        "chroma_time_ratio": 1.8,
    },
    "04_histograms": {
        "dropped": {"Indie-Rock": 20, "Soundtrack": 16},
        "dropped_and_as_large_as_kept": ["Indie-Rock"],
        "level_and_length": {"own frames": -0.05, "padded": -0.71},
    },
    "05_lstm": OVERFIT
    | {
        "best_lstm": {"name": "lstm_fused_full"},
        "best_full_lstm": {"name": "lstm_fused_full"},
        "baseline_accuracy": {"SVM, full": 0.6, "SVM, beat": 0.55, "majority": 0.18},
        "n_validation": 57,
        "n_seeds": 1,
    },
    "06_metrics": {},
    "07_cnn": OVERFIT
    | {
        "digits_accuracy": 0.965,
        "digits_epochs": 8,
        "n_parameters": 118410,
        "kept_epoch": 15,
        "n_epochs": 18,
        "n_train": 231,
        "n_everything": 288,
        "n_seeds": 1,
    },
    "08_regression": {
        "best": "CNN",
        "lstm": "lstm_fused_full",
        "lstm_folder": "multitask_dataset",
        "on_validation": {"LSTM": 0.57, "CNN": 0.7},
        "n_seeds": 1,
    }
    | {f"constant_loss_{axis}": 0.06 for axis in AXES},
    "09_transfer": {
        "axis": "energy",
        "genre_f1": {"CNN": 0.6, "LSTM": 0.57, "majority": 0.03},
        "genre_epoch": 15,
        "genre_val_loss": 0.91,
        "kept_epoch": 11,
        "n_epochs": 13,
        "n_head_epochs": 3,
        "lowest_val_loss": 0.0101,
        "step8_val_loss": 0.0111,
        "epoch_of_step8_loss": 9,
    },
    "10_multitask": {
        "weighted_loss": {"valence": 0.9, "energy": 0.3, "danceability": 0.7},
        "kept_epoch": 17,
    },
    "11_kaggle_submission": {
        "chosen": "CNNs, energy from genre (step 9)",
        "rows": 94,
        "on_validation": {"CNNs, energy from genre (step 9)": 0.699},
        "margin": [0.45, 0.76],
    },
}
COMPARISONS = [
    ("06_metrics", "lstm_fused_full", "lstm_mel_full", "accuracy",
     0.02, -0.04, 0.08, 0.5, 1.0, 2, ""),
    ("07_cnn", "cnn_mel_refit", "lstm_mel_full", "accuracy", 0.12, 0.05, 0.2, 0.001, 0.002, 2, ""),
    ("08_regression", "LSTM", "CNN", "mean Spearman on held-out clips", "", "", "", "", "", 1,
     "all predictions are equal"),
    ("09_transfer", "CNN from genre", "CNN of step 8", "Spearman for energy on held-out clips",
     -0.03, -0.1, 0.04, 0.4, 0.4, 2, ""),
    ("10_multitask", "energy: multitask", "one CNN", "Spearman on held-out clips",
     0.0, -0.1, 0.1, 0.9, 0.9, 1, ""),
]  # fmt: skip
RESULT_COLUMNS = "notebook model feature test_set metric value low high seed n".split()
COMPARISON_COLUMNS = "notebook first second what difference low high p p_holm n_compared undefined"


def write_run(home: Path, name: str = "demo") -> Path:
    """Write the run into `home/runs` and point `latest` at it; returns its folder."""
    run = home / "runs" / name
    picture, vector = _picture("png"), _picture("pdf")
    for notebook in (notebook.name for notebook in NOTEBOOKS):
        record = run / "records" / notebook
        (record / "figures").mkdir(parents=True)
        (run / "notebooks").mkdir(exist_ok=True)
        (run / "notebooks" / f"{notebook}.ipynb").write_text("{}")
        (record / "values.json").write_text(json.dumps(VALUES[notebook]))
        names = [f for label in read_labels() if label.notebook == notebook for f in label.figures]
        for figure in names:
            (record / "figures" / f"{figure}.png").write_bytes(picture)
            (record / "figures" / f"{figure}.pdf").write_bytes(vector)
        told = {figure: f"{figure}: what is to be seen" for figure in names}
        (record / "figures.json").write_text(json.dumps(told))
        rows = [row for row in COMPARISONS if row[0] == notebook]
        if rows:
            _write_csv(record / "comparisons.csv", COMPARISON_COLUMNS.split(), rows)
    _write_tables(run / "records")
    _write_csv(run / "results.csv", RESULT_COLUMNS, list(_results()))
    header = "Id.fused.full.npy.gz,valence,energy,danceability\n"
    (run / "solution.txt").write_text(header + "5000.fused.full.npy.gz,0.1,0.2,0.3\n" * 5)
    write_summary(run)
    (home / "runs" / "latest").unlink(missing_ok=True)
    (home / "runs" / "latest").symlink_to(name)
    return run


def write_summary(run: Path, status: str = "done") -> None:
    """Write summary.json; `status` is that of notebook 07."""
    rows = [
        {"notebook": notebook.name, "status": "done", "seconds": 5.0, "peak_mb": 400.0}
        for notebook in NOTEBOOKS
    ]
    rows[5]["status"] = status
    summary = {
        "run": run.name,
        "finished": "2026-01-02T03:04:05+00:00",
        "data": {"folder": "data", "demo": True, "fingerprint": "abc123"},
        "profile": "demo",
        "seeds": {notebook.name: 0 for notebook in NOTEBOOKS},
        "parameters": {
            "05_lstm": {
                "hidden_size": 64,
                "n_layers": 1,
                "pooling": "mean",
                "stack": 16,
                "cepstrum": True,
                "mixup": 0.3,
            }
        },
        "commit": "0123456789ab",
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"torch": "2.13.0"},
        "notebooks": rows,
    }
    (run / "summary.json").write_text(json.dumps(summary))


def _write_tables(records: Path) -> None:
    def table(place: str, columns: str, *rows: tuple) -> None:
        _write_csv(records / f"{place}.csv", columns.split(","), rows)

    folders = "folder,split,clips,labels,files,MiB,shortest T,median T,longest T,all frames"
    row = ("fma_genre_spectrograms", "train", 384, "20 genres", "", 1, 1291, 1292.0, 1292, 9)
    table("00_setup/folders", folders, row)
    bass = ("bass: power below 250 Hz (%)", 12.7, 35.4)
    table("01_visualization/two_clips", "number,Blues,Rock", bass)
    counts = [(genre, 20 * (i + 1), 10) for i, genre in enumerate(GENRES)]
    table("04_histograms/class_counts", "class,train clips,test clips", *counts)
    validated = [(name, 1.1, 0.6, 0.5, 14) for name in LSTMS]
    table("05_lstm/validation", "model,loss,accuracy,macro F1,kept epoch", *validated)
    report = [(genre, 0.5, 0.4, 0.44, 10) for genre in (*GENRES, "macro avg", "micro avg")]
    for name in _tested():
        table(f"06_metrics/report_{name}", "class,precision,recall,f1,clips", *report)
        table(f"06_metrics/test_{name}", "id,class", ("1", 1), ("2", 1))
    table("07_cnn/report_cnn_mel_refit", "class,precision,recall,f1,clips", *report)
    table("07_cnn/sizes", "stage,channels,frequency,time", ("after block 1", 16, 64, 645))
    curves = [
        (kind, axis, loss) for kind in ("LSTM", "CNN") for axis in AXES for loss in (0.05, 0.04)
    ]
    table("08_regression/histories", "model,axis,val_loss", *curves)
    losses = [(axis, 0.06, 0.4, 16.0, 1.0) for axis in AXES]
    columns = "axis,loss,share,weight,weighted loss"
    table("10_multitask/constant_losses", columns, *losses)
    costs = [("three CNNs", 300.0, 50.0, 60.5), ("multitask CNN", 100.0, 18.0, 20.1)]
    table("10_multitask/costs", "model,parameters,epochs,seconds", *costs)


def _tested() -> list[str]:
    return [*LSTMS, "svm_mel_full", "svm_mel_beat", "majority_full", "majority_beat"]


def _results() -> list[tuple]:
    genre = [("06_metrics", name, name.rpartition("_")[2]) for name in _tested()]
    cnn = ("cnn_mel_best", "cnn_mel_refit", "lstm_mel_full", "svm_mel_refit", "majority_full")
    genre += [("07_cnn", name, "full") for name in cnn]
    genre.append(("04_histograms", "majority_full", "full"))
    rows = [(n, m, "mel", f"genre test ({kind})") for n, m, kind in genre]
    svms = ("svm, all genres", "svm, classes of 4β")
    rows += [("04_histograms", name, "mel", "genre validation (beat)") for name in svms]
    scores = [(*row, metric) for row in rows for metric in ("accuracy", "macro F1")]
    for notebook, model in (
        ("08_regression", "LSTM"), ("08_regression", "CNN"), ("08_regression", "SVR"),
        ("09_transfer", "CNN, energy from genre"), ("10_multitask", "multitask CNN"),
        ("11_kaggle_submission", "CNNs, energy from genre (step 9)"),
    ):  # fmt: skip
        scores.append((notebook, model, "mel", "affect held-out", "mean Spearman"))
        scores += [(notebook, model, "mel", f"affect held-out: {a}", "Spearman") for a in AXES]
    scores.append(("09_transfer", "CNN from genre", "mel", "affect held-out: energy", "Spearman"))
    majority = {"majority_full", "majority_beat"}
    return [
        (*s, *((0.18, 0.1, 0.25) if s[1] in majority else (0.6, 0.5, 0.7)), 0, 42) for s in scores
    ]


def _write_csv(path: Path, columns: list[str], rows: list[tuple] | tuple[tuple, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def _picture(kind: str) -> bytes:
    figure, ax = plt.subplots(figsize=(5, 3))
    ax.plot([0, 1])
    ax.set_title("words in a figure")
    content = io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):
        figure.savefig(content, format=kind, dpi=40)
    plt.close(figure)
    return content.getvalue()
