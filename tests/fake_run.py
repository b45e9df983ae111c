"""A finished run that nobody ran: what notebooks show and store, with invented numbers."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.evaluation import Comparison, Score
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
ABOVE = Comparison(Score(0.02, -0.04, 0.08), 0.5, 2, 1.0)
SCORES = [["multitask CNN", Score(0.6, 0.5, 0.7), 118410], ["SVR", Score(math.nan), 3]]
FOUND = Sentence("{found} of {all} folders are there. Nothing is missing.", found=4, all=4)
SAID: dict[str, list[Piece]] = {
    "0": [Text([FOUND])],
    "5β": [Lines("def steps():\n    pass", "helpers/models.py")],
    "5γ": [Text([VALIDATED])],
    "6δ": [Text([comparison_sentence(ABOVE, "energy: multitask", "one CNN", "accuracy")], True)],
    "10δ": [Table(["model", "mean Spearman", "parameters"], SCORES, CAPTION)],
}


def write_run(home: Path) -> Path:
    """Write the run into `home/runs` and point `latest` at it; returns its folder."""
    run = home / "runs" / "demo"
    pictures = {kind: _picture(kind) for kind in ("png", "pdf")}
    (run / "notebooks").mkdir(parents=True)
    for notebook in NOTEBOOKS:
        record = run / "records" / notebook
        (record / "figures").mkdir(parents=True)
        (record / "values.json").write_text('{"device": "cpu", "n_seeds": 1}')
        names = [f for label in read_labels() if label.notebook == notebook for f in label.figures]
        for figure in names:
            for kind, content in pictures.items():
                (record / "figures" / f"{figure}.{kind}").write_bytes(content)
        told = {figure: f"{figure}: what is to be seen" for figure in names}
        (record / "figures.json").write_text(json.dumps(told))
        nbformat.write(_executed(notebook), run / "notebooks" / f"{notebook}.ipynb")
        noted = {"inputs": {"parameters": Lab().read(notebook).parameters}}
        (run / "notebooks" / f"{notebook}.done.json").write_text(json.dumps(noted))
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
    rows = [{"notebook": notebook, "status": "done"} for notebook in NOTEBOOKS]
    rows[5]["status"] = status
    summary = {
        "finished": "2026-01-02T03:04:05+00:00",
        "data": {"folder": "data", "demo": True, "fingerprint": "abc123"},
        "profile": "demo",
        "seeds": dict.fromkeys(NOTEBOOKS, 0),
        "versions": {"torch": "2.13.0"},
        "notebooks": rows,
    }
    (run / "summary.json").write_text(json.dumps(summary))


def _picture(kind: str) -> bytes:
    figure, ax = plt.subplots(figsize=(5, 3))
    ax.plot([0, 1])
    ax.set_title("words in a figure")
    content = io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):
        figure.savefig(content, format=kind, dpi=40)
    plt.close(figure)
    return content.getvalue()
