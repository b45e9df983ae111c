"""The notebooks of the lab: what each needs, what its cells say, what its results depend on.

Notebooks are read as JSON, without nbformat, so that `./run_all.sh --list` answers at once.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any, NamedTuple

from helpers.machinery.files import LabError, did_you_mean

NOT_VALID = "no valid notebook"
ROOT = Path(__file__).resolve().parents[2]
# Notebook magics (%autoreload, !ls) are no Python; they import nothing of ours.
_MAGIC_LINE = re.compile(r"^\s*[%!].*$", re.MULTILINE)


# Each notebook, and the notebooks whose stored results it reads.
NOTEBOOKS: Mapping[str, Sequence[str]] = {
    "00_setup": (),
    "01_visualization": (),
    "04_histograms": (),
    "05_lstm": (),
    "06_metrics": ("05_lstm",),
    "07_cnn": ("05_lstm",),
    "07b_ast": ("05_lstm", "07_cnn"),
    "08_regression": ("05_lstm", "07_cnn", "07b_ast"),
    "09_transfer": ("05_lstm", "07_cnn", "07b_ast", "08_regression"),
    "10_multitask": ("08_regression",),
    "11_kaggle_submission": ("08_regression", "09_transfer", "10_multitask"),
    "11b_latent_maps": ("05_lstm", "07_cnn", "07b_ast"),
}


class Cell(NamedTuple):
    """What a cell says, in an `.ipynb` as in a `.py`; the two halves of a pair share it."""

    kind: str
    source: str
    tags: tuple[str, ...]
    alt: str  # what a figure shows, for those who cannot see it


@dataclass(frozen=True)
class Source:
    """What one `.ipynb` file holds, as far as the kit is concerned."""

    path: Path
    cells: list[Cell] = field(repr=False)

    @cached_property
    def code(self) -> list[str]:
        """The sources of the code cells, in order."""
        return [cell.source for cell in self.cells if cell.kind == "code"]

    @cached_property
    def title(self) -> str:
        """The first heading, or the file's name where there is none."""
        prose = "\n".join(cell.source for cell in self.cells if cell.kind == "markdown")
        heading = re.search(r"^#\s+(.+)$", prose, re.MULTILINE)
        return heading[1].strip() if heading else self.path.stem

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What the cell tagged `parameters` assigns: the demo profile. None for what is computed.

        Raises LabError without such a cell.
        """
        for cell in self.cells:
            if "parameters" in cell.tags:
                try:
                    tree = _parsed(cell.source)
                except SyntaxError:
                    told = "the cell tagged 'parameters' is no valid Python"
                    raise LabError(f"{self.path}: {told}") from None
                return {
                    target.id: _literal(node.value)
                    for node in tree.body
                    if isinstance(node, ast.Assign)
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
        raise LabError(f"{self.path}: no cell has the tag 'parameters'; add it to the first one")


def contents_of(cells: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """What cells say, as nbformat, jupytext or a file's JSON gives them."""
    return [
        Cell(
            cell["cell_type"],
            "".join(cell["source"]).rstrip(),  # a string, or a list of lines
            tuple(cell["metadata"].get("tags", ())),
            cell["metadata"].get("alt", ""),
        )
        for cell in cells
    ]


def read_notebook(path: Path) -> Source:
    """Read one `.ipynb`. Raises LabError when the file is missing or no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return Source(path, contents_of(cells))
    except FileNotFoundError:
        raise LabError(f"{path}: the notebook is missing; get it back from git") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(
            f"{path}: {NOT_VALID} ({error}); python -m tools.checks.pairs --clean makes it from "
            "its .py"
        ) from error


def drift(script: Path, notebook: Path) -> str:
    """Where the two halves of a pair first differ in what their cells say; empty when nowhere.

    Outputs, counts and other metadata, which a save in JupyterLab leaves, do not count. By content,
    because `jupytext --test` and `--diff` also pass on a pair that drifted apart.
    """
    import jupytext  # takes a second, and is seldom needed

    text = script.read_text(encoding="utf-8", errors="replace")
    ours = contents_of(jupytext.reads(text, fmt="py:percent").cells)
    try:
        theirs = read_notebook(notebook).cells
    except LabError as error:
        return str(error).removeprefix(f"{notebook}: ")
    nothing = Cell("no cell", "", (), "")
    for number, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue=nothing), start=1):
        if a != b:
            return f"cell {number}: {_difference(a, b)}"
    return ""


def _difference(ours: Cell, theirs: Cell) -> str:
    lines = zip_longest(ours.source.split("\n"), theirs.source.split("\n"), fillvalue="")
    compared = [
        *((name, getattr(ours, name), getattr(theirs, name)) for name in ("kind", "tags", "alt")),
        *((f"line {number}", a, b) for number, (a, b) in enumerate(lines, start=1)),
    ]
    name, a, b = next(row for row in compared if row[1] != row[2])
    return f"{name}: {a!r} in the .py, {b!r} in the .ipynb"


@dataclass(frozen=True)
class Lab:
    """A folder with notebooks and helpers, and what each notebook needs."""

    root: Path = ROOT
    notebooks: Mapping[str, Sequence[str]] = field(default_factory=lambda: NOTEBOOKS)

    @property
    def names(self) -> list[str]:
        """All notebook names, in the order of the lab."""
        return list(self.notebooks)

    def read(self, name: str) -> Source:
        """Read one notebook. Raises LabError when the file is missing or no notebook."""
        return read_notebook(self.root / "notebooks" / f"{name}.ipynb")

    def script(self, name: str) -> Path:
        """The `.py` of a notebook, its source in the pair."""
        return self.root / "py" / f"{name}.py"

    def find(self, word: str) -> str:
        """The notebook that a user means by `6`, `06`, `metrics` or `06_metrics`."""
        for name in self.names:
            number, _, rest = name.partition("_")
            if word in (name, rest) or word.lstrip("0") == number.lstrip("0"):
                return name
        shorts = [*self.names, *(name.partition("_")[2] for name in self.names)]
        raise LabError(
            f"unknown notebook {word!r}{did_you_mean(word, shorts)}; known: {', '.join(self.names)}"
        )

    def needs(self, name: str) -> Sequence[str]:
        """The notebooks whose stored results a notebook reads."""
        return self.notebooks[name]

    def with_needs(self, names: Iterable[str]) -> list[str]:
        """These notebooks and all that they need, directly or not, in the order of the lab."""
        wanted = set(names)
        for name in reversed(self.names):  # what one needs stands before it
            if name in wanted:
                wanted.update(self.needs(name))
        return [name for name in self.names if name in wanted]

    def code_digest(self, name: str) -> str:
        """The digest of a notebook's code. Prose is left out: an edit of it retrains nothing."""
        return self.digest(self.read(name).code)

    def digest(self, code: Sequence[str]) -> str:
        """A digest of these pieces of code and of the helper modules they import."""
        digest = hashlib.sha256()
        for text in code:
            digest.update(text.encode() + b"\0")
        for path in self.helper_files(code):
            name = path.relative_to(self.root).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def helper_files(self, code: Iterable[str]) -> list[Path]:
        """The files of the kit's modules that these pieces of code import, transitively.

        A module's script for browsers and its tables of data count with it. What cannot be parsed
        imports nothing: it has to change before it runs, and then its own text counts.
        """
        finder = ModuleFinder([str(self.root)])
        for text in code:
            with suppress(SyntaxError):
                finder.scan_code(compile(_parsed(text), "cell", "exec"), finder.add_module("cell"))
        files = {Path(found.__file__) for found in finder.modules.values() if found.__file__}
        beside = {path.with_suffix(suffix) for path in files for suffix in (".js", ".yaml")}
        return sorted(files | set(filter(Path.is_file, beside)))


def shared_files(root: Path) -> list[Path]:
    """The files of the kit that scripts need on another machine, without what programs leave there.

    JupyterLab, for example, keeps copies of what it has open in `.ipynb_checkpoints/`.
    """
    kit = ("helpers/**/*.py", "helpers/**/*.js", "helpers/**/*.yaml")
    patterns = (*kit, "demo_music/**/*.py", "demo_music/*.yaml")
    found = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    return [p for p in found if not any(part[0] == "." for part in p.relative_to(root).parts)]


def _parsed(code: str) -> ast.Module:
    """The syntax tree of a cell or module. Raises SyntaxError where it is no Python."""
    with suppress(SyntaxError):
        return ast.parse(code)
    return ast.parse(_MAGIC_LINE.sub("pass", code))


def _literal(node: ast.expr) -> Any:
    """The value of an expression that says it; None for what is computed."""
    with suppress(ValueError, TypeError):
        return ast.literal_eval(node)
    return None
