"""Keeps notebooks/NN.ipynb and py/NN.py the same: the .py is the source, the .ipynb its pair.

    python -m tools.checks.pairs           prints what differs; exits with 1 when anything does
    python -m tools.checks.pairs --sync    makes every .ipynb anew from its .py, and puts the blank lines
                                    between the .py's cells where jupytext wants them

The comparison is by content (type, source, tags and alt of every cell), because `jupytext --test`
and `--diff` also pass on a pair that drifted apart. It further wants notebooks as they are
committed: no outputs, no execution counts, no metadata but the kernel's name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat

from helpers.machinery.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("tags", "alt")  # cell metadata written by hand; pyproject.toml tells jupytext the same
# jupytext's note that a .py has other blank lines between its cells than jupytext would write:
# JupyterLab would then show the file as changed as soon as it is opened.
BLANK_LINES = ("lines_to_next_cell", "lines_to_end_of_cell_marker")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class Cell(NamedTuple):
    """What the two halves of a pair have to share."""

    kind: str
    source: str
    tags: tuple[str, ...]
    alt: str


# ---- comparing ---------------------------------------------------------------------------------


def differences(script: str, notebook: str) -> list[str]:
    """What keeps a .py and an .ipynb, given as texts, from being a clean pair; empty if nothing."""
    try:
        ours, theirs = _read_script(script), json.loads(notebook)
        found = _drift(_contents(ours["cells"]), _contents(theirs["cells"]))
    except (ValueError, KeyError, TypeError) as error:
        return [f"no valid notebook: {error!r}"]
    found += _unusual_blank_lines(ours) + _unwanted_metadata(ours, "the .py")
    return found + _unclean(theirs, _kernel(ours))


def _read_script(script: str) -> dict[str, Any]:
    return jupytext.reads(script, fmt={"extension": ".py", "format_name": "percent"})


def _kernel(script: dict[str, Any]) -> dict[str, Any]:
    return dict(script["metadata"].get("kernelspec", KERNEL))


def _contents(cells: Iterable[dict[str, Any]]) -> list[Cell]:
    return [
        Cell(
            cell["cell_type"],
            "".join(cell["source"]).rstrip(),  # a string, or a list of lines
            tuple(cell["metadata"].get("tags", ())),
            cell["metadata"].get("alt", ""),
        )
        for cell in cells
    ]


def _drift(ours: list[Cell], theirs: list[Cell]) -> list[str]:
    """The cells that differ, numbered from 1; aligned, so that one new cell is one difference."""
    found = []
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for operation, i, i_end, j, j_end in matcher.get_opcodes():
        if operation == "equal":
            continue
        shared = min(i_end - i, j_end - j)
        for k in range(shared):
            found.append(f"cell {j + k + 1}: {_first_difference(ours[i + k], theirs[j + k])}")
        for k in range(i + shared, i_end):
            found.append(f"cell {k + 1} of the .py is not in the .ipynb: {_headline(ours[k])}")
        for k in range(j + shared, j_end):
            found.append(f"cell {k + 1} of the .ipynb is not in the .py: {_headline(theirs[k])}")
    return found


def _first_difference(ours: Cell, theirs: Cell) -> str:
    for name in ("kind", "tags", "alt"):
        if getattr(ours, name) != getattr(theirs, name):
            return f"{name}: {getattr(ours, name)!r} in the .py, {getattr(theirs, name)!r} here"
    left, right = ours.source.split("\n"), theirs.source.split("\n")
    for number, (a, b) in enumerate(zip(left, right, strict=False), start=1):
        if a != b:
            return f"line {number}: {a!r} in the .py, {b!r} in the .ipynb"
    return f"{len(left)} lines in the .py, {len(right)} in the .ipynb"


def _headline(cell: Cell) -> str:
    return f"{cell.kind} {cell.source.split(chr(10))[0]!r}"


def _unclean(notebook: dict[str, Any], kernel: dict[str, Any]) -> list[str]:
    """Outputs, execution counts and metadata that are not to be committed."""
    found = []
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell.get("outputs"):
            found.append(f"cell {number} has outputs")
        if cell.get("execution_count") is not None:
            found.append(f"cell {number} has an execution count")
    extra = sorted(set(notebook["metadata"]) - {"kernelspec"})
    if extra:
        found.append(f"the .ipynb has metadata beyond the kernel's name: {', '.join(extra)}")
    if notebook["metadata"].get("kernelspec") != kernel:
        found.append(f"the .ipynb names another kernel than {kernel['name']}, or none")
    return found + _unwanted_metadata(notebook, "the .ipynb")


def _unwanted_metadata(notebook: dict[str, Any], where: str) -> list[str]:
    return [
        f"cell {number} of {where} has metadata beyond tags and alt: {', '.join(extra)}"
        for number, cell in enumerate(notebook["cells"], start=1)
        if (extra := sorted(set(cell["metadata"]) - {*KEPT, *BLANK_LINES}))
    ]


def _unusual_blank_lines(script: dict[str, Any]) -> list[str]:
    return [
        f"cell {number} of the .py is not followed by the blank lines that jupytext writes"
        for number, cell in enumerate(script["cells"], start=1)
        if set(cell["metadata"]) & set(BLANK_LINES)
    ]


# ---- making the notebook -----------------------------------------------------------------------


def notebook_from(script: str) -> str:
    """The .ipynb of a .py, as text. The same .py gives the same bytes.

    A cell's id follows from its content, so an edited cell changes its own lines and no others.
    """
    source = _read_script(script)
    seen: Counter[str] = Counter()
    cells = []
    for cell, content in zip(source["cells"], _contents(source["cells"]), strict=True):
        metadata = {name: cell["metadata"][name] for name in KEPT if name in cell["metadata"]}
        make = getattr(nbformat.v4, f"new_{content.kind}_cell")
        digest = hashlib.sha256(f"{content.kind}\n{content.source}".encode()).hexdigest()[:12]
        seen[digest] += 1  # a cell that stands there twice gets two ids
        identity = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cells.append(make(content.source, metadata=metadata, id=identity))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": _kernel(source)})
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def script_from(notebook: str, script: str) -> str:
    """The .py as jupytext writes it from its .ipynb, with the kernel that the old .py names."""
    made = nbformat.reads(notebook, as_version=4)
    made["metadata"] = nbformat.from_dict({"kernelspec": _kernel(_read_script(script))})
    form = {"extension": ".py", "format_name": "percent"}
    return jupytext.writes(made, fmt={**form, "notebook_metadata_filter": "kernelspec,-all"})


# ---- the folders -------------------------------------------------------------------------------


def check(root: Path = ROOT) -> dict[str, list[str]]:
    """What is wrong with each pair below `root`, by name; clean pairs are left out."""
    scripts = {path.stem: path for path in (root / "py").glob("*.py")}
    notebooks = {path.stem: path for path in (root / "notebooks").glob("*.ipynb")}
    found = {}
    for name in sorted(scripts | notebooks):
        if name not in notebooks:
            found[name] = [f"notebooks/{name}.ipynb is missing"]
        elif name not in scripts:
            found[name] = [f"py/{name}.py is missing"]
        else:
            texts = (path[name].read_text(encoding="utf-8") for path in (scripts, notebooks))
            found[name] = differences(*texts)
    return {name: problems for name, problems in found.items() if problems}


def sync(root: Path = ROOT) -> list[Path]:
    """Makes every .ipynb from its .py; returns the files that were written because they changed."""
    written = []
    for script in sorted((root / "py").glob("*.py")):
        path = root / "notebooks" / f"{script.stem}.ipynb"
        source = script.read_text(encoding="utf-8")
        text = notebook_from(source)
        for target, content in ((script, script_from(text, source)), (path, text)):
            if not target.exists() or target.read_text(encoding="utf-8") != content:
                write_atomically(target, content)
                written.append(target)
    return written


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line; 0 when all pairs are clean."""
    parser = argparse.ArgumentParser(prog="python -m tools.checks.pairs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sync", action="store_true", help="make each .ipynb from its .py")
    if parser.parse_args(arguments).sync:
        for path in sync(root):
            print(f"written: {path.relative_to(root)}")
    problems = check(root)
    for name, lines in problems.items():
        for line in lines:
            print(f"{name}: {line}")
    if problems:
        print("The .py is the source: python -m tools.checks.pairs --sync makes each .ipynb from it.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
