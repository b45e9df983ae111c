"""Reads what a finished run has stored: records, results, comparisons, figures."""

from __future__ import annotations

import csv
import math
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from helpers.evaluation import Comparison, Score
from helpers.machinery.files import LabError, read_json
from helpers.notebook import showing
from helpers.notebook.records import RESULTS
from tools.checks.labels import read_labels
from tools.common.notebooks import NOTEBOOKS
from tools.common.run_folder import SUMMARY, Paths, command_of, find_run
from tools.report.blocks import Difference, Figure
from tools.run.results import BAD

CM_PER_INCH = 2.54


class Run:
    """A finished run, read only. Use `open_run` to get one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.summary = read_json(folder / SUMMARY)

    @cached_property
    def results(self) -> list[dict[str, str]]:
        """The rows of the run's results.csv."""
        return _rows(self.folder / RESULTS)

    @cached_property
    def differences(self) -> list[Difference]:
        """Every stored comparison, in the order of the lab."""
        found = []
        for notebook in NOTEBOOKS:
            for row in self.table(notebook.name, "comparisons"):
                names = (row["notebook"], row["first"], row["second"], row["what"])
                value, low, high = (number(row[c]) for c in ("difference", "low", "high"))
                score = Score(value, low, high, row["undefined"])
                adjusted = number(row["p_holm"]) if row["p_holm"] else None
                result = Comparison(score, number(row["p"]), int(row["n_compared"]), adjusted)
                found.append(Difference(*names, result))
        return found

    def differences_of(self, notebook: str) -> list[Difference]:
        """The stored comparisons of one notebook."""
        return [d for d in self.differences if d.notebook == notebook]

    def score(self, notebook: str, model: str, test_set: str, metric: str) -> Score:
        """A metric of results.csv; undefined where there is no such row."""
        wanted = (notebook, model, test_set, metric)
        for row in self.results:
            if tuple(row[c] for c in ("notebook", "model", "test_set", "metric")) == wanted:
                return Score(number(row["value"]), number(row["low"]), number(row["high"]))
        return Score(math.nan)

    def rows_of(self, notebook: str, metric: str) -> list[dict[str, str]]:
        """The rows of results.csv with a notebook's values of one metric."""
        rows = self.results
        return [row for row in rows if (row["notebook"], row["metric"]) == (notebook, metric)]

    def values(self, notebook: str) -> dict[str, Any]:
        """The small results of a notebook, by name; empty where it stored none."""
        return read_json(Paths(self.folder, notebook).record / "values.json")

    def table(self, notebook: str, name: str) -> list[dict[str, str]]:
        """The rows of a stored table; none where the notebook stored no such table."""
        return _rows(Paths(self.folder, notebook).record / f"{name}.csv")

    def parameters(self, notebook: str) -> dict[str, Any]:
        """The parameters that the notebook ran with."""
        return dict(self.summary.get("parameters", {}).get(notebook, {}))

    def has_figure(self, notebook: str, name: str) -> bool:
        """Whether the notebook stored such a figure."""
        return name in read_json(Paths(self.folder, notebook).record / "figures.json")

    def figure(self, notebook: str, name: str) -> Figure:
        """A stored figure. Raises LabError when it is missing or no whole picture."""
        record = Paths(self.folder, notebook).record
        alt = read_json(record / "figures.json").get(name)
        picture = record / "figures" / f"{name}.png"
        vector = picture.with_suffix(".pdf")
        size = picture_size(picture)
        if not alt or size is None:
            raise LabError(
                f"{picture}: the figure is missing or damaged; make it again with "
                f"{command_of(self.folder)} --only {notebook[:2]} --force"
            )
        width, height = (CM_PER_INCH * pixels / showing.FIGURE_DPI for pixels in size)
        vector = vector if vector.is_file() else picture  # runs of an older kit have no PDF
        return Figure(notebook, name, picture, vector, str(alt), width, height)


def open_run(name: str | None) -> Run:
    """The finished run of this name, or the newest one.

    Raises LabError when there is none, a notebook failed or was not run, or a figure that
    docs/labels.csv names is missing.
    """
    folder = find_run(name)
    run = Run(folder)
    again = f"then run {command_of(folder)}"
    failed = [row["notebook"] for row in run.summary.get("notebooks", []) if row["status"] in BAD]
    if failed:
        raise LabError(f"{folder}: a run with failures ({', '.join(failed)}); mend them, {again}")
    names = [notebook.name for notebook in NOTEBOOKS]
    absent = [n for n in names if not Paths(folder, n).executed.is_file()]
    if absent:
        raise LabError(
            f"{folder}: no finished run ({', '.join(absent)} not executed); "
            f"run {command_of(folder)}"
        )
    for label in read_labels():
        for figure in label.figures:
            run.figure(label.notebook, figure)
    return run


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None when it is missing or damaged."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def number(text: str) -> float:
    """A number of a CSV table; NaN where the cell is empty."""
    return float(text) if text else math.nan


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where it does not exist. LabError when it is no table."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise LabError(f"{path}: no whole table ({error}); run its notebook again") from error


def excerpt(path: Path, name: str, method: str = "") -> str:
    """The source of a function or class of a file, or of one method of the class, dedented."""
    import ast
    import textwrap

    text = path.read_text(encoding="utf-8")
    nodes: list[Any] = ast.parse(text).body
    for wanted in (name, method) if method else (name,):
        node = next(node for node in nodes if getattr(node, "name", None) == wanted)
        nodes = node.body
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines))


def solution_lines(run: Run, count: int) -> list[str]:
    """The first lines of the run's solution.txt."""
    path = run.folder / "solution.txt"
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8").splitlines()[:count]


def step_of(label: str) -> str:
    """The step that a label belongs to: `5` for `5γ`, `6` for `6 questions`, `0` for `rules`."""
    found = re.match(r"\d+", label)
    return found[0] if found else "0"
