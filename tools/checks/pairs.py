"""Keeps notebooks/NN.ipynb and py/NN.py the same: the .py is the source, the .ipynb its pair.

    python -m tools.checks.pairs          prints what differs, and what is not to be committed
    python -m tools.checks.pairs --sync   writes each .ipynb anew whose .py says something else;
                                          outputs of unchanged cells stay
    python -m tools.checks.pairs --clean  makes every .ipynb from its .py as it is committed:
                                          outputs, and what only the notebook says, are thrown away

The comparison is by content (type, source, tags and alt of every cell), because `jupytext --test`
and `--diff` also pass on a pair that drifted apart. Hand-in and runner ask for that alone; outputs,
counts and metadata, which a save in JupyterLab leaves, are a matter of the commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat

from helpers.machinery.files import LabError, cache_dir, write_atomically
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import ROOT

KEPT = ("tags", "alt")  # cell metadata written by hand; pyproject.toml tells jupytext the same
HELD = ("outputs", "execution_count", "attachments")  # of a cell, besides its text
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
NOT_VALID = "no valid notebook"
FORM = {"extension": ".py", "format_name": "percent"}


class Cell(NamedTuple):
    """What the two halves of a pair have to share."""

    kind: str
    source: str
    tags: tuple[str, ...]
    alt: str


# ---- comparing ---------------------------------------------------------------------------------


def drift(script: str, notebook: str) -> list[str]:
    """How the contents of a .py and an .ipynb, given as texts, differ, a line for each cell."""
    try:
        ours, theirs = _contents(_read_script(script)["cells"]), _contents(_cells(notebook))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{NOT_VALID} ({error}); --clean makes it from its .py"]
    return _drift(ours, theirs)


def unclean(script: str, notebook: str) -> list[str]:
    """Why a pair of equal contents is not as it is committed; empty when it is."""
    made = notebook_from(script)
    found = []
    if notebook != made:
        cells = enumerate(_cells(notebook), start=1)
        stored = [n for n, c in cells if c.get("outputs") or c.get("execution_count") is not None]
        what = f"cell {stored[0]} has outputs" if stored else "metadata or a form of its own"
        found.append(f"the .ipynb is not as it is committed ({what})")
    if script_from(made, script) != script:
        found.append("the .py is not as jupytext writes it (blank lines between cells, metadata)")
    return found


def _cells(notebook: str) -> list[dict[str, Any]]:
    return list(json.loads(notebook)["cells"])


def _read_script(script: str) -> dict[str, Any]:
    return jupytext.reads(script, fmt=FORM)


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
    return jupytext.writes(made, fmt={**FORM, "notebook_metadata_filter": "kernelspec,-all"})


def with_outputs(notebook: str, before: str) -> str:
    """A notebook, as text, with what its cells held before besides their text, where that is equal.

    Outputs and counts, pictures pasted into text, and the states of widgets.
    """
    new, old = json.loads(notebook), json.loads(before)
    texts = [[(cell.kind, cell.source) for cell in _contents(n["cells"])] for n in (old, new)]
    for block in SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks():
        for shift in range(block.size):
            target, source = new["cells"][block.b + shift], old["cells"][block.a + shift]
            target |= {key: source[key] for key in HELD if key in source}
    if "widgets" in old["metadata"]:
        new["metadata"]["widgets"] = old["metadata"]["widgets"]
    return nbformat.writes(nbformat.from_dict(new)) + "\n"


# ---- the folders -------------------------------------------------------------------------------


def check(root: Path = ROOT, *, committed: bool = False) -> dict[str, list[str]]:
    """How each pair below `root` has drifted, by name; pairs of equal contents are left out.

    `committed` further asks whether they are as they are committed.
    """
    scripts = {path.stem: path for path in (root / "py").glob("*.py")}
    notebooks = {path.stem: path for path in (root / "notebooks").glob("*.ipynb")}
    found = {}
    for name in sorted(scripts | notebooks):
        if name not in notebooks:
            found[name] = [f"notebooks/{name}.ipynb is missing"]
        elif name not in scripts:
            found[name] = [f"py/{name}.py is missing"]
        else:
            texts = [_text(path[name]) for path in (scripts, notebooks)]
            found[name] = drift(*texts) or (unclean(*texts) if committed else [])
    return {name: problems for name, problems in found.items() if problems}


def _text(path: Path) -> str:
    """A file's text; a save that stopped inside a letter shows as one that cannot be read."""
    return path.read_bytes().decode("utf-8", errors="replace")


def sync(root: Path = ROOT, *, clean: bool = False) -> list[Path]:
    """Make every .ipynb whose .py says something else from it; returns the files written.

    Outputs of unchanged cells stay, and the notebook as it was is kept in `.cache/replaced/`. With
    `clean`, every notebook is as it is committed, and nothing is kept. Raises LabError, and writes
    nothing, for a notebook that was changed after its script, or that cannot be read.
    """
    wanted: dict[Path, str] = {}
    for script in sorted((root / "py").glob("*.py")):
        path = root / "notebooks" / f"{script.stem}.ipynb"
        source = script.read_text(encoding="utf-8")
        before = _text(path) if path.exists() else ""
        made = notebook_from(source)
        wanted[script] = script_from(made, source)
        if clean or not before:
            wanted[path] = made
        elif problems := drift(source, before):
            _require_older(path, script, problems[0])
            wanted[path] = with_outputs(made, before)
    changed = {
        path: text
        for path, text in wanted.items()
        if not path.exists() or _text(path) != text
    }
    for path, text in changed.items():
        if path.suffix == ".ipynb" and path.exists() and not clean:
            write_atomically(cache_dir() / "replaced" / path.name, path.read_bytes())
            print(f"as it was: {cache_dir() / 'replaced' / path.name}")
        write_atomically(path, text)
    return list(changed)


def _require_older(path: Path, script: Path, difference: str) -> None:
    """Raise LabError unless a notebook can be read and is older than its script."""
    readable = NOT_VALID not in difference
    if readable and path.stat().st_mtime <= script.stat().st_mtime:
        return
    if not readable:
        raise LabError(f"{path}: {difference}")
    raise LabError(
        f"{path}: was changed after its .py ({difference}); `jupytext --sync {path}` takes that "
        "over into the .py, --clean throws it away"
    )


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Run the command line; 0 when all pairs are clean."""
    parser = Parser(prog="python -m tools.checks.pairs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sync", action="store_true", help="write the .ipynb that have drifted")
    parser.add_argument("--clean", action="store_true", help="write every .ipynb as committed")
    options = parser.parse_args(list(arguments))
    if options.sync or options.clean:
        for path in sync(root, clean=options.clean):
            print(f"written: {path.relative_to(root)}")
    problems = check(root, committed=not options.sync)
    for name, lines in problems.items():
        for line in lines:
            print(f"{name}: {line}")
    if problems:
        print(
            "The .py is the source: --sync writes the .ipynb that differ; --clean all of them, and "
            "throws their outputs away, as for a commit."
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
