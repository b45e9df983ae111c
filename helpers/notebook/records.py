"""What one notebook leaves for a later one: results, figures, tables, checkpoints, values.

Each notebook has one folder, `runs/<run>/records/<notebook>/`. It writes only there, and reads
what others stored from the same run, from the newest one, or from Kaggle's inputs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.evaluation import Score, affect_scores
from helpers.folders import AXES
from helpers.machinery import many_gpus
from helpers.machinery.files import (
    KAGGLE_INPUT,
    LabError,
    one_line,
    read_json,
    remove_leftovers,
    runs_dir,
)
from helpers.machinery.many_gpus import write_once
from helpers.notebook import showing
from helpers.notebook.soundness import Contents, data_fingerprint
from helpers.notebook.words import LANGUAGES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from helpers.notebook.checkpoints import Checkpoint
    from helpers.notebook.showing import Sentence

INTERACTIVE_RUN = "interactive"  # where notebooks outside of a run store
RESULTS = "results.csv"
RESULT_COLUMNS = (
    "notebook", "model", "feature", "test_set", "metric", "value", "low", "high", "seed", "n",
)  # fmt: skip
HELD_OUT = "affect held-out"  # how results.csv names the held-out part of the affect clips


class Record:
    """What one notebook stores. Use `open_record` to make one."""

    def __init__(self, notebook: str, data: Path, seed: int, folder: Path) -> None:
        self.notebook, self.data, self.seed, self.folder = notebook, data, seed, folder
        self.fingerprint = data_fingerprint(data)
        self._results: dict[tuple[str, ...], tuple[Any, ...]] = {}
        self._figures: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._about: dict[str, Any] = {}
        self._describe(
            notebook=notebook, data_fingerprint=self.fingerprint, seed=seed, started=_now()
        )

    def _describe(self, **more: Any) -> None:
        """Write what the record says of itself; without `finished` it is not whole."""
        self._about.update(more)
        write_once(self.folder / "record.json", json.dumps(self._about, indent=1))

    # -- writing --

    def add_scores(
        self, model: str, feature: str, test_set: str, scores: dict[str, Score], n: int
    ) -> None:
        """Add a row per metric to results.csv; the same model, feature, set and metric once."""
        import pandas as pd

        for metric, score in scores.items():
            row = (self.notebook, model, feature, test_set, metric)
            self._results[row] = (*row, score.value, score.low, score.high, self.seed, n)
        self.save_table("results", pd.DataFrame(self._results.values(), columns=RESULT_COLUMNS))

    def add_affect_scores(
        self, model: str, feature: str, true: np.ndarray, predicted: np.ndarray
    ) -> dict[str, Score]:
        """Score the held-out affect clips ([n, 3], step 8ε) and add the rows; also returns them.

        Keys: the axes, and `mean`.
        """
        scores = affect_scores(true, predicted, self.seed)
        for axis in AXES:
            test_set = f"{HELD_OUT}: {axis}"
            self.add_scores(model, feature, test_set, {"Spearman": scores[axis]}, len(true))
        self.add_scores(model, feature, HELD_OUT, {"mean Spearman": scores["mean"]}, len(true))
        return scores

    def save_values(self, **values: Any) -> None:
        """Store small results by name (numbers, texts, lists); JSON."""
        self._values.update(values)
        write_once(self.folder / "values.json", json.dumps(self._values, indent=1))

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Store a table as `<name>.csv`."""
        write_once(self.folder / f"{name}.csv", table.to_csv(index=False))

    def save_predictions(
        self, name: str, ids: list[str], outputs: np.ndarray, columns: list[str]
    ) -> None:
        """Store a model's outputs [n, len(columns)] with their clip ids, as `<name>.csv`."""
        import pandas as pd

        outputs = np.asarray(outputs).reshape(len(ids), len(columns))
        table = pd.DataFrame(outputs, pd.Index(ids, name="id"), columns)
        self.save_table(name, table.reset_index())

    def save_checkpoint(
        self, name: str, model: nn.Module, spec: dict[str, Any], **about: Any
    ) -> Path:
        """Store a trained model with all that is needed to use it; returns the file's path.

        `about` holds the other fields of a `Checkpoint`; feature and scaler must be among them.
        """
        from helpers.notebook.checkpoints import Checkpoint, write_checkpoint  # PyTorch is slow

        path = self.folder / "checkpoints" / f"{name}.safetensors"
        return write_checkpoint(path, Checkpoint(model, spec, **about))

    def show(self, figure: Figure, name: str, caption: str | Sentence = "") -> None:
        """Store a figure as PNG, and show it with its alt text (its label).

        The caption is the report's, which is made of notebooks: there, a figure that has one is
        stored for print, too, as PDF in each language. Raises LabError for one without alt text.
        """
        spoken = LANGUAGES if str(caption) and showing.in_notebook() else ()
        png, pdfs, alt = showing.render_figure(figure, name, spoken)
        for language, pdf in pdfs.items():
            below = "" if language == "en" else f"{language}/"
            write_once(self.folder / "figures" / f"{below}{name}.pdf", pdf)
        write_once(self.folder / "figures" / f"{name}.png", png)
        self._figures[name] = alt
        write_once(self.folder / "figures.json", json.dumps(self._figures, indent=1))
        showing.show_picture(png, alt, name, caption)

    def finish(self, key_metric: str) -> None:
        """Close the record: one line for the runner's table, and a list of what was stored."""
        self.save_values(key_metric=key_metric)
        self._describe(finished=_now())
        run = self.folder.parents[1]
        write_once(run / RESULTS, join_results(run))
        print(f"stored in {self.folder.relative_to(runs_dir().parent)}:")
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                print(f"  {path.relative_to(self.folder)}")

    # -- reading what other notebooks stored --

    def load_checkpoint(
        self,
        notebook: str,
        name: str,
        *,
        head: str | None = None,
        feature: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> Checkpoint:
        """A model stored by another notebook, on the CPU, in evaluation mode.

        Raises LabError when it is missing, cut short, made with other data, or has another head,
        feature or list of classes than asked for.
        """
        from helpers.notebook.checkpoints import read_checkpoint

        path = self.find(notebook, f"checkpoints/{name}.safetensors")
        checkpoint = read_checkpoint(path)
        for what, wanted, got in (
            ("head", head, checkpoint.spec["head"]),
            ("feature", feature, checkpoint.feature),
            ("classes", None if classes is None else list(classes), checkpoint.classes),
        ):
            if wanted is not None and got != wanted:
                raise LabError(
                    f"{path}: holds a model with {what} {got!r}, expected {wanted!r}; "
                    f"run notebook {notebook} again"
                )
        return checkpoint

    def load_table(self, notebook: str, name: str) -> pd.DataFrame:
        """A table stored by another notebook; clip ids are text.

        Raises LabError when it is missing, or is no table.
        """
        return _read_table(self.find(notebook, f"{name}.csv"), notebook)

    def load_predictions(
        self, notebook: str, name: str, ids: list[str], columns: list[str]
    ) -> np.ndarray:
        """Predictions stored by another notebook, for these clips in this order: [n, columns].

        Raises LabError when a clip or a column is not among them.
        """
        path = self.find(notebook, f"{name}.csv")
        try:
            return _read_table(path, notebook).set_index("id").loc[ids, columns].to_numpy()
        except KeyError as error:
            raise LabError(f"{path}: {error.args[0]}; run notebook {notebook} again") from error

    def load_value(self, notebook: str, name: str) -> Any:
        """One of the small results of another notebook.

        Raises LabError when it stored none of that name, or the file is damaged.
        """
        path = self.find(notebook, "values.json")
        try:
            values = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise LabError(
                f"{path}: no whole JSON ({error}); run notebook {notebook} again"
            ) from error
        if name not in values:
            raise LabError(f"{path}: has no {name!r}; run notebook {notebook} again")
        return values[name]

    def find(self, notebook: str, name: str) -> Path:
        """Where another notebook's stored file lies: this run, the newest, or Kaggle's inputs.

        Raises LabError that says which notebook to run when there is none for these data.
        """
        notes = []
        for folder in self._places(notebook):
            if not (folder / name).is_file():
                continue
            if _made_with(folder) == self.fingerprint:
                return folder / name
            notes.append(f"; the one in {folder} was made with other data")
        raise LabError(
            f"{self.folder.parent / notebook / name}: not there{''.join(notes)}; "
            f"run notebook {notebook} first (python py/{notebook}.py, or "
            f"./run_all.sh --only {notebook.partition('_')[0]})"
        )

    def _places(self, notebook: str) -> list[Path]:
        places = [self.folder.parent / notebook]
        if not os.environ.get("MUSICLAB_RUN") and (newest := newest_run()):
            places.append(newest / "records" / notebook)
        if KAGGLE_INPUT.is_dir():
            mounted = KAGGLE_INPUT.glob(f"**/records/{notebook}")  # whose own times say nothing
            places += sorted(mounted, key=lambda p: str(_about(p).get("started", "")), reverse=True)
        return places


def of_seed(name: str, number: int) -> str:
    """The name under which training `number` of a model is stored; number 0 has the plain one."""
    return f"{name}_seed{number}" if number else name


def open_record(notebook: str, data: Path, seed: int) -> Record:
    """Begin a notebook's record in the run named by `$MUSICLAB_RUN`, else in `interactive`.

    What the notebook stored there before is replaced as it stores again; what it made with other
    data is moved to `runs/<run>/other-data/` first, so that it is never read as a result of these.
    What a killed process left half written there is removed. What makes results of these data
    weaker is printed. Raises LabError where the folders of the data contradict each other.
    """
    contents = Contents(data)
    for problem in contents.disagreements():
        raise LabError(problem)
    for weakness in contents.weaknesses():
        print(f"note: {weakness}")
    run = os.environ.get("MUSICLAB_RUN") or INTERACTIVE_RUN
    if run != Path(run).name or run.startswith("."):
        raise LabError(f"$MUSICLAB_RUN is {run!r}, no name of a folder below runs/; correct it")
    folder = runs_dir() / run / "records" / notebook
    if many_gpus.number() == 0:
        if (folder / "record.json").is_file() and _made_with(folder) != data_fingerprint(data):
            _move_aside(folder)
        remove_leftovers(folder)
    many_gpus.wait_for_all()
    return Record(notebook, data, seed, folder)


def _move_aside(folder: Path) -> None:
    """Keep a record that was made with other data out of the way of the one to come."""
    aside = folder.parents[1] / "other-data" / str(_made_with(folder)) / folder.name
    try:
        if aside.exists():
            shutil.rmtree(aside)  # an older one of the same data
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
    except OSError as error:
        raise LabError(
            f"{folder}: holds results of other data and cannot be moved to {aside} "
            f"({error.strerror}); move it yourself, or choose another folder with MUSICLAB_HOME"
        ) from error
    print(f"what {folder.name} made with other data now lies in {aside}")


def _made_with(folder: Path) -> str | None:
    """The fingerprint of the data that a record was made with; None when it does not say."""
    return _about(folder).get("data_fingerprint")


def _about(folder: Path) -> dict[str, Any]:
    """What a record says of itself; nothing where it is damaged or missing."""
    return read_json(folder / "record.json")


def newest_run(runs: Path | None = None) -> Path | None:
    """The folder that `runs/latest` points at (a link, or a text file with the run's name)."""
    latest = (runs or runs_dir()) / "latest"
    if latest.is_symlink() or latest.is_dir():  # a folder: of a copy that followed the link
        return latest.resolve()
    if latest.is_file():
        return latest.parent / latest.read_text("utf-8", "replace").strip()
    return None


def join_results(run: Path) -> str:
    """The `results.csv` of a run: the rows of its finished notebooks, in the order of the lab.

    What a notebook left that has not run to its end would be half a result. Raises LabError when a
    table lacks a column.
    """
    import pandas as pd

    columns = list(RESULT_COLUMNS)
    tables = [pd.DataFrame(columns=columns)]
    for path in sorted(run.glob(f"records/*/{RESULTS}")):
        if _about(path.parent).get("finished"):
            tables.append(_read_table(path, path.parent.name, dtype=str, usecols=columns))
    return pd.concat(tables).to_csv(index=False)


def _read_table(path: Path, notebook: str, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        # an id may be NA, which is text
        as_they_are = {"dtype": {"id": str}, "keep_default_na": False, "na_values": [""]}
        return pd.read_csv(path, **as_they_are | options)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise LabError(
            f"{path}: no whole table ({one_line(error)}); run notebook {notebook} again"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
