"""A finished run that nobody ran: what notebooks show and store, with invented numbers."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.evaluation import Comparison, Score
from helpers.notebook.records import RESULT_COLUMNS
from helpers.notebook.showing import comparison_sentence
from helpers.notebook.shown import KEY, Figure, Lines, Piece, Sentence, Table, Text, stored
from tools.checks.labels import QUESTIONS, read_labels
from tools.common.notebooks import NOTEBOOKS, ROOT, Lab

CAPTION = Sentence("Paired differences in Spearman with 95 % intervals.")
VALIDATED = Sentence(
    "{name}: validation loss {loss}, accuracy {accuracy}, macro F1 {macro:.2f} (means; trainings: "
    "{n}); kept epoch of the first training: {epoch}.",
    name="LSTM mel, full", loss=1.1, accuracy=0.6, macro=0.5, epoch=14, n=1,
)  # fmt: skip
UNDEFINED = Comparison(Score(math.nan, reason="all predictions are equal"), math.nan)
ABOVE = Comparison(Score(0.02, -0.04, 0.08), 0.5, 2, 1.0)
SCORES = [["multitask CNN", Score(0.6, 0.5, 0.7), 118410], ["SVR", Score(math.nan), 3]]
FOUND = Sentence("{found} of {all} folders are there. Nothing is missing.", found=4, all=4)
PARAMETERS = Sentence(
    "{n:,} parameters = {conv:,} (convolutions) + {norm:,} (batch norm) + {head:,} (head). One "
    "value after block 4 sees {frames} frames, which is {seconds:.2f} s, and {frames} of "
    "128 bands.",
    n=107642, conv=96912, norm=480, head=10250, frames=46, seconds=1.07,
)  # fmt: skip
SAID: dict[str, list[Piece]] = {
    "0": [Text([FOUND])],
    "5β": [Lines("def steps():\n    pass", "helpers/models.py")],
    "5γ": [Text([VALIDATED])],
    "6δ": [Text([comparison_sentence(ABOVE, "energy: multitask", "one CNN", "accuracy")], True)],
    "7β": [Text([PARAMETERS])],
    "8ε": [Text([comparison_sentence(UNDEFINED, "LSTM", "CNN", "accuracy")])],
    "10δ": [Table(["model", "mean Spearman", "parameters"], SCORES, CAPTION)],
}


def write_run(home: Path) -> Path:
    """Write the run into `home/runs` and point `latest` at it; returns its folder."""
    run = home / "runs" / "demo"
    picture, vector = _picture("png"), _picture("pdf")
    (run / "notebooks").mkdir(parents=True)
    for notebook in (notebook.name for notebook in NOTEBOOKS):
        record = run / "records" / notebook
        (record / "figures").mkdir(parents=True)
        (record / "values.json").write_text('{"device": "cpu", "n_seeds": 1}')
        names = [f for label in read_labels() if label.notebook == notebook for f in label.figures]
        for figure in names:
            (record / "figures" / f"{figure}.png").write_bytes(picture)
            (record / "figures" / f"{figure}.pdf").write_bytes(vector)
        told = {figure: f"{figure}: what is to be seen" for figure in names}
        (record / "figures.json").write_text(json.dumps(told))
        nbformat.write(_executed(notebook), run / "notebooks" / f"{notebook}.ipynb")
        noted = {"inputs": {"parameters": Lab().read(notebook).parameters}}
        (run / "notebooks" / f"{notebook}.done.json").write_text(json.dumps(noted))
    _write_csv(run / "results.csv", RESULT_COLUMNS, _results())
    write_summary(run)
    (home / "runs" / "latest").symlink_to("demo")
    return run


def _executed(notebook: str) -> nbformat.NotebookNode:
    """The text of a notebook, and below the first heading of a label what it has shown."""
    waiting = {label.name: label for label in read_labels() if label.notebook == notebook}
    cells = []
    for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells:
        if cell.cell_type != "markdown":
            continue
        cells.append(cell)
        name = cell.source.partition(" · ")[0].lstrip("# ")
        label = waiting.pop(QUESTIONS if "6 · The questions" in cell.source else name, None)
        if label:
            drawn = [Figure(figure, CAPTION) for figure in label.figures]
            cells.append(_shows([*SAID.get(label.name, []), *drawn]))
    cells.append(_shows([]))
    return new_notebook(cells=cells)


def _shows(pieces: list[Piece]) -> nbformat.NotebookNode:
    outputs = [
        new_output("display_data", {"text/plain": ""}, metadata={KEY: stored(piece)})
        for piece in pieces
    ]
    return new_code_cell("", outputs=outputs, metadata={"tags": ["report"]})


def write_summary(run: Path, status: str = "done") -> None:
    """Write summary.json; `status` is that of notebook 07."""
    row = {"status": "done", "seconds": 5.0, "peak_mb": 400.0}
    rows = [row | {"notebook": notebook.name} for notebook in NOTEBOOKS]
    rows[5]["status"] = status
    summary = {
        "run": run.name,
        "finished": "2026-01-02T03:04:05+00:00",
        "data": {"folder": "data", "demo": True, "fingerprint": "abc123"},
        "profile": "demo",
        "seeds": {notebook.name: 0 for notebook in NOTEBOOKS},
        "commit": "0123456789ab",
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"torch": "2.13.0"},
        "notebooks": rows,
    }
    (run / "summary.json").write_text(json.dumps(summary))


def _results() -> list[tuple]:
    rows = [
        (*model, "mel", "genre test (full)", metric)
        for model in (("06_metrics", "lstm_mel_full"), ("07_cnn", "cnn_mel_best"))
        for metric in ("accuracy", "macro F1")
    ]
    rows.append(("10_multitask", "multitask CNN", "mel", "affect held-out", "mean Spearman"))
    return [(*row, 0.6, 0.5, 0.7, 0, 42) for row in rows]


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
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
