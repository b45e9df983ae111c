"""Reads what a finished run has shown and stored: sections, results, figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.machinery.files import LabError, read_json
from helpers.notebook import showing
from helpers.notebook.names import name_of
from tools.checks.labels import Shown, label_headings, shown_in
from tools.common.notebooks import NOTEBOOKS
from tools.common.run_folder import SUMMARY, Paths, command_of, find_run
from tools.run.results import BAD

CM_PER_INCH = 2.54
SHORTENED = ("demo", "smoke")  # profiles, also as the names of files


class Run:
    """A finished run, read only. Use `open_run` to get one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.summary = folder, read_json(folder / SUMMARY)
        about = self.summary.get("data", {})
        self.fingerprint, self.is_demo = about.get("fingerprint"), bool(about.get("demo"))
        profile = str(self.summary.get("profile", ""))  # kept below if it is one for trying
        self.shortened = profile if profile.split(".")[0] in SHORTENED else ""

    def values(self, notebook: str) -> dict[str, Any]:
        """The small results of a notebook, by name; empty where it stored none."""
        return read_json(Paths(self.folder, notebook).record / "values.json")

    def facts(self, notebook: str) -> dict[str, Any]:
        """What a notebook trained with, by name: defaults, sizes of splits, its parameters."""
        parts = Counter(self._column("08_regression", "affect_split", "part"))
        sizes = {
            "n_genre_train": self.values("07_cnn").get("n_train", 0),
            "n_genre_val": self.values("05_lstm").get("n_validation", 0),
            "n_genre_test": len(self._column("07_cnn", "test_cnn_mel_best", "id")),
            "lstm": name_of(self.values("08_regression").get("lstm", "LSTM")),
        }
        sizes |= {f"n_affect_{part.replace('-', '_')}": n for part, n in parts.items()}
        noted = read_json(Paths(self.folder, notebook).note).get("inputs", {})
        return _defaults() | sizes | noted.get("parameters", {})

    def _column(self, notebook: str, table: str, column: str) -> list[Any]:
        path = Paths(self.folder, notebook).record / f"{table}.csv"
        return pd.read_csv(path)[column].tolist() if path.is_file() else []

    def sections(self, notebook: str) -> list[Shown]:
        """The labels of an executed notebook, and its other sections with something to report.

        Raises LabError when there is nothing at all, as in the notebooks of an older kit.
        """
        executed = Paths(self.folder, notebook).executed
        labels, found = label_headings(), list(shown_in(executed).values())
        if not any(section.reported for section in found):
            raise LabError(
                f"{executed}: shows nothing for the report, it was run with an older kit; "
                f"{self._again(notebook)}"
            )
        return [s for s in found if s.reported or s.appended or s.name in labels]

    def _again(self, notebook: str) -> str:
        number = notebook.partition("_")[0]
        return f"make it again with {command_of(self.folder)} --only {number} --force"

    def figure(self, notebook: str, name: str) -> tuple[Path, str, float, float]:
        """A stored figure as PNG, whose PDF lies beside it: file, description, size in cm as drawn.

        Raises LabError when it is missing or no whole picture.
        """
        record = Paths(self.folder, notebook).record
        alt = read_json(record / "figures.json").get(name)
        file = record / "figures" / f"{name}.png"
        size = picture_size(file)
        if not alt or size is None:
            raise LabError(f"{file}: the figure is missing or damaged; {self._again(notebook)}")
        width, height = (CM_PER_INCH * pixels / showing.FIGURE_DPI for pixels in size)
        return file, str(alt), width, height


@cache
def _defaults() -> dict[str, Any]:
    """What the helpers do where no notebook says it; a run is old once they are changed."""
    from helpers import models, training  # PyTorch takes a moment

    def of(function: Callable[..., Any]) -> dict[str, Any]:
        given = signature(function).parameters.values()
        return {one.name: one.default for one in given if one.default is not one.empty}

    lstm, cnn = (of(kind)["dropout"] for kind in (models.LSTMBackbone, models.CNNBackbone))
    others = {"lstm_dropout": lstm, "cnn_dropout": cnn, "gradient_norm": training.GRADIENT_NORM}
    return of(training.train) | others


def open_run(name: str | None) -> Run:
    """The finished run of this name, or the newest one.

    Raises LabError when there is none, or a notebook failed or was not run.
    """
    folder = find_run(name)
    run, again = Run(folder), f"run {command_of(folder)}"
    rows = run.summary.get("notebooks", [])
    if failed := [row["notebook"] for row in rows if row.get("status") in BAD]:
        told = f"a run with failures ({', '.join(failed)}); mend them, then {again}"
        raise LabError(f"{folder}: {told}")
    absent = [n for n in NOTEBOOKS if not Paths(folder, n).executed.is_file()]
    if absent:
        raise LabError(f"{folder}: no finished run ({', '.join(absent)} not executed); {again}")
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


def step_of(label: str) -> str:
    """The step of a label: `5` for `5γ`, `6` for `6 questions`; empty for what is no label."""
    found = re.match(r"\d+", label)
    return found[0] if found else ""
