"""What one notebook leaves for a later one: results, figures, tables, checkpoints, values.

Each notebook has one folder, `runs/<run>/records/<notebook>/`. It writes only there, and reads
what others stored from the same run, from the newest one, or from Kaggle's inputs.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.data import AXES, data_fingerprint
from helpers.datasets import FEATURE_ROWS, BandScaler
from helpers.evaluation import Comparison, Score, affect_scores
from helpers.models import build_model
from helpers.settings import (
    KAGGLE_INPUT,
    LabError,
    remove_leftovers,
    runs_dir,
    write_atomically,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

INTERACTIVE_RUN = "interactive"
RESULT_COLUMNS = (
    "notebook", "model", "feature", "test_set", "metric", "value", "low", "high", "seed", "n",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "notebook", "first", "second", "what", "difference", "low", "high", "p", "p_holm",
    "n_compared", "undefined",
)  # fmt: skip
HELD_OUT = "affect held-out"  # how results.csv names the held-out part of the affect clips
FIGURE_DPI = 110
PRINT_DPI = 200  # of what is rasterised in a figure's PDF: spectrograms


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with everything that is needed to use it."""

    model: nn.Module
    spec: dict[str, Any]  # what build_model takes
    feature: str
    scaler: BandScaler
    classes: list[str]  # of a classifier, else empty
    axes: list[str]  # of a regressor, else empty
    epoch: int
    note: str


class Record:
    """What one notebook stores. Use `open_record` to make one."""

    def __init__(self, notebook: str, data: Path, seed: int, folder: Path) -> None:
        self.notebook, self.data, self.seed, self.folder = notebook, data, seed, folder
        self.fingerprint = data_fingerprint(data)
        self._results: dict[tuple[str, ...], dict[str, Any]] = {}
        self._comparisons: dict[tuple[str, ...], dict[str, Any]] = {}
        self._figures: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        about = {
            "notebook": notebook,
            "data_fingerprint": self.fingerprint,
            "seed": seed,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomically(folder / "record.json", json.dumps(about, indent=1))

    # -- writing --

    def add_scores(
        self, model: str, feature: str, test_set: str, scores: dict[str, Score], n: int
    ) -> None:
        """Add a row per metric to results.csv; the same model, feature, set and metric once."""
        for metric, score in scores.items():
            row = (self.notebook, model, feature, test_set, metric)
            values = (*row, score.value, score.low, score.high, self.seed, n)
            self._results[row] = dict(zip(RESULT_COLUMNS, values, strict=True))
        write_atomically(self.folder / "results.csv", self.results().to_csv(index=False))

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

    def add_comparisons(self, comparisons: Mapping[tuple[str, str], Comparison], what: str) -> None:
        """Add a row per pair (first, second) that was compared in `what` to comparisons.csv."""
        import pandas as pd

        for (first, second), result in comparisons.items():
            score = result.difference
            values = (score.value, score.low, score.high, result.p_value, result.adjusted)
            row = (self.notebook, first, second, what, *values, result.n_compared, score.reason)
            self._comparisons[first, second, what] = dict(zip(COMPARISON_COLUMNS, row, strict=True))
        table = pd.DataFrame(list(self._comparisons.values()), columns=list(COMPARISON_COLUMNS))
        self.save_table("comparisons", table)

    def results(self) -> pd.DataFrame:
        """The rows added so far, with the columns of `results.csv`."""
        import pandas as pd

        return pd.DataFrame(list(self._results.values()), columns=list(RESULT_COLUMNS))

    def save_values(self, **values: Any) -> None:
        """Store small results by name (numbers, texts, lists); JSON."""
        self._values.update(values)
        write_atomically(self.folder / "values.json", json.dumps(self._values, indent=1))

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Store a table as `<name>.csv`."""
        write_atomically(self.folder / f"{name}.csv", table.to_csv(index=False))

    def save_predictions(
        self, name: str, ids: list[str], outputs: np.ndarray, columns: list[str]
    ) -> None:
        """Store a model's outputs [n, len(columns)] with their clip ids, as `<name>.csv`."""
        import pandas as pd

        outputs = np.asarray(outputs).reshape(len(ids), len(columns))
        table = pd.DataFrame(outputs, columns=columns)
        table.insert(0, "id", ids)
        self.save_table(name, table)

    def save_checkpoint(
        self,
        name: str,
        model: nn.Module,
        spec: dict[str, Any],
        *,
        feature: str,
        scaler: BandScaler,
        classes: list[str] | None = None,
        axes: list[str] | None = None,
        epoch: int = 0,
        note: str = "",
    ) -> Path:
        """Store weights, scaling and description in one safetensors file; returns its path."""
        import torch
        from safetensors.torch import save

        tensors = {f"model.{key}": value.cpu() for key, value in model.state_dict().items()}
        tensors["scaler.mean"] = torch.from_numpy(scaler.mean)
        tensors["scaler.deviation"] = torch.from_numpy(scaler.deviation)
        about = {
            "spec": spec,
            "feature": feature,
            "classes": classes or [],
            "axes": axes or [],
            "epoch": epoch,
            "note": note,
        }
        path = self.folder / "checkpoints" / f"{name}.safetensors"
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        write_atomically(path, save(tensors, metadata={"about": json.dumps(about)}))
        return path

    def show(self, figure: Figure, name: str, display_id: str | None = None) -> None:
        """Store a figure as PNG and, for print, as PDF; show it with its alt text (its label).

        `replace_shown` can put another figure in the place of one with a `display_id`. Raises
        LabError for a figure without alt text.
        """
        print_form = _for_print(figure)
        png, alt = _rendered(figure, name)
        write_atomically(self.folder / "figures" / f"{name}.pdf", print_form)
        write_atomically(self.folder / "figures" / f"{name}.png", png)
        self._figures[name] = alt
        write_atomically(self.folder / "figures.json", json.dumps(self._figures, indent=1))
        _display_png(png, alt, name, display_id)

    def finish(self, key_metric: str) -> None:
        """Close the record: one line for the runner's table, and a list of what was stored."""
        self.save_values(key_metric=key_metric)
        collect_results(self.folder.parents[1])
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
            f"./run_all.sh --only {notebook[:2]})"
        )

    def _places(self, notebook: str) -> list[Path]:
        places = [self.folder.parent / notebook]
        if not os.environ.get("MUSICLAB_RUN"):
            newest = newest_run()
            places += [newest / "records" / notebook] if newest else []
        if KAGGLE_INPUT.is_dir():
            places += sorted(KAGGLE_INPUT.glob(f"**/records/{notebook}"), key=_begun, reverse=True)
        return places


def of_seed(name: str, number: int) -> str:
    """The name under which training `number` of a model is stored; number 0 has the plain one."""
    return f"{name}_seed{number}" if number else name


def open_record(notebook: str, data: Path, seed: int) -> Record:
    """Begin a notebook's record in the run named by `$MUSICLAB_RUN`, else in `interactive`.

    What the notebook stored there before is replaced as it stores again; what it made with other
    data is moved to `runs/<run>/other-data/` first, so that it is never read as a result of these.
    What a killed process left half written there is removed.
    """
    run = os.environ.get("MUSICLAB_RUN") or INTERACTIVE_RUN
    folder = runs_dir() / run / "records" / notebook
    if (folder / "record.json").is_file() and _made_with(folder) != data_fingerprint(data):
        _move_aside(folder)
    remove_leftovers(folder)
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


def _begun(folder: Path) -> str:
    """When a record was begun, as text that sorts; the times of Kaggle's mounts say nothing."""
    return str(_about(folder).get("started", ""))


def _about(folder: Path) -> dict[str, Any]:
    """What a record says of itself; nothing where it is damaged or missing."""
    try:
        return dict(json.loads((folder / "record.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def newest_run() -> Path | None:
    """The folder that `runs/latest` points at (a link, or a text file with the run's name)."""
    latest = runs_dir() / "latest"
    if latest.is_dir():
        return latest.resolve()
    if latest.is_file():
        return runs_dir() / latest.read_text().strip()
    return None


def collect_results(run: Path) -> pd.DataFrame:
    """Join the notebooks' results of a run into its `results.csv`; returns the table."""
    import pandas as pd

    paths = sorted(run.glob("records/*/results.csv"))
    parts = [_read_table(path, path.parent.name) for path in paths]
    columns = list(RESULT_COLUMNS)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    write_atomically(run / "results.csv", table.to_csv(index=False))
    return table


def _read_table(path: Path, notebook: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype={"id": str})
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise LabError(
            f"{path}: no whole table ({_one_line(error)}); run notebook {notebook} again"
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file; LabError when it is no whole checkpoint of a model we can build."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise LabError(f"{path}: no such checkpoint; run its notebook first") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise LabError(
            f"{path}: no whole checkpoint ({_one_line(error)}); delete it and run its notebook "
            "again"
        ) from error
    try:
        scaler = BandScaler(
            tensors.pop("scaler.mean").numpy(), tensors.pop("scaler.deviation").numpy()
        )
        model = build_model(about["spec"])
        model.load_state_dict({key.removeprefix("model."): t for key, t in tensors.items()})
        rest = {key: about[key] for key in ("spec", "feature", "classes", "axes", "epoch", "note")}
    except Exception as error:  # a description may say anything, and fail in any way
        raise LabError(
            f"{path}: its weights are of another model ({_one_line(error)}); run its notebook again"
        ) from error
    checkpoint = Checkpoint(model=model.eval(), scaler=scaler, **rest)
    contradiction = _contradiction(checkpoint)
    if contradiction:
        raise LabError(f"{path}: {contradiction}; run its notebook again")
    return checkpoint


def _contradiction(checkpoint: Checkpoint) -> str:
    """How a checkpoint's description disagrees with its weights; empty when it does not."""
    rows = FEATURE_ROWS.get(str(checkpoint.feature))
    if rows is None:
        return f"unknown feature {checkpoint.feature!r}"
    n_bands = rows.stop - rows.start
    for statistic in (checkpoint.scaler.mean, checkpoint.scaler.deviation):
        if statistic.shape != (n_bands,):
            return (
                f"its scaling has shape {statistic.shape}, but feature {checkpoint.feature!r} has "
                f"{n_bands} bands"
            )
    n_taken = checkpoint.spec["backbone_options"].get("n_features", n_bands)
    if n_taken != n_bands:
        return f"its model takes {n_taken} bands, but feature {checkpoint.feature!r} has {n_bands}"
    n_outputs = checkpoint.model.head.out_features
    for what, names in (("classes", checkpoint.classes), ("axes", checkpoint.axes)):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return f"its {what} are no list of names"
        if names and len(names) != n_outputs:
            return f"it names {len(names)} {what}, but its model has {n_outputs} outputs"
    return ""


def _one_line(error: Exception) -> str:
    """What an error says, on one line of bearable length; of a list, its first entry."""
    head, *entries = str(error).splitlines() or [type(error).__name__]
    text = entries[0] if entries and head.endswith(":") else str(error)
    return textwrap.shorten(text, 240, placeholder=" ...") or type(error).__name__


# ---- showing things, in notebooks and in scripts alike -----------------------------------------


def tell(text: str) -> None:
    """Show a sentence that was computed from this run: Markdown in a notebook, print elsewhere."""
    if not _in_notebook():
        print(text)
        return
    from IPython.display import Markdown, display

    display(Markdown(text))


def tell_comparisons(comparisons: Mapping[tuple[str, str], Comparison], what: str) -> None:
    """Show a sentence for each pair (first, second) that was compared in `what`, as a list."""
    tell("\n".join(f"- {c.sentence(*pair, what)}" for pair, c in comparisons.items()))


def show_table(table: pd.DataFrame, digits: int = 3) -> None:
    """Show a table with rounded numbers: HTML in a notebook, text elsewhere."""
    rounded = table.round(digits)
    if not _in_notebook():
        print(rounded.to_string())
        return
    from IPython.display import display

    display(rounded)


def show_source(thing: Callable[..., Any]) -> None:
    """Show the source of a class or function of `helpers`, so that there is one copy of it."""
    import inspect

    source = inspect.getsource(thing)
    if not _in_notebook():
        print(source)
        return
    from IPython.display import Code, display

    display(Code(source, language="python"))


def play(path: Path) -> None:
    """Offer an audio file to listen to: a player in a notebook, the file's name elsewhere."""
    if not _in_notebook():
        print(f"audio: {path}")
        return
    from IPython.display import Audio, display

    display(Audio(filename=str(path)))


def replace_shown(figure: Figure, display_id: str) -> None:
    """Put a figure in the place of the one that `Record.show` showed under this id.

    What was stored stays. Raises LabError for a figure without alt text.
    """
    from IPython.display import Image, update_display

    png, alt = _rendered(figure, display_id)
    update_display(Image(data=png, format="png", alt=alt), display_id=display_id)


def _in_notebook() -> bool:
    from IPython import get_ipython

    return get_ipython() is not None


def _rendered(figure: Figure, name: str) -> tuple[bytes, str]:
    """A figure as PNG, and its alt text; the figure is closed."""
    import matplotlib.pyplot as plt

    alt = figure.get_label()
    if not alt:
        raise LabError(f"figure {name!r} has no alt text; set it with figure.set_label(...)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, metadata={"Description": alt})
    plt.close(figure)
    return buffer.getvalue(), alt


def _for_print(figure: Figure) -> bytes:
    """A figure as PDF: text stays text (type 42) and lines lines; undated, so that reruns agree."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", dpi=PRINT_DPI, metadata={"CreationDate": None})
    return buffer.getvalue()


def _display_png(png: bytes, alt: str, name: str, display_id: str | None) -> None:
    """In a notebook, show the picture with its alt text; in a script, name it."""
    if not _in_notebook():
        print(f"figure {name}: {alt}")
        return
    from IPython.display import Image, display

    display(Image(data=png, format="png", alt=alt), display_id=display_id)
