"""Keeps notebooks/NN.ipynb and py/NN.py the same: the .py is the source, the .ipynb its pair.

    python -m tools.checks.pairs          prints what differs, and what is not to be committed
    python -m tools.checks.pairs --sync   writes each .ipynb anew whose .py says something else;
                                          outputs of unchanged cells stay
    python -m tools.checks.pairs --clean  makes every .ipynb from its .py as it is committed:
                                          outputs, and what only the notebook says, are thrown away

Hand-in and runner ask only whether the two say the same (`drift`); outputs, counts and metadata,
which a save in JupyterLab leaves, are a matter of the commit.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import jupytext
import nbformat

from helpers.machinery.files import LabError, cache_dir, write_atomically
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import NOT_VALID, ROOT, contents_of, drift

KEPT = ("tags", "alt")  # cell metadata written by hand; pyproject.toml tells jupytext the same
HELD = ("outputs", "execution_count", "attachments")  # of a cell, besides its text
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# ---- one pair ----------------------------------------------------------------------------------


def made_from(script: Path) -> str:
    """The `.ipynb` that a `.py` makes, as text: a clean pair.

    The same text gives the same bytes. A cell's id follows from its content, so an edited cell
    changes its own lines and no others.
    """
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1  # a cell that stands there twice gets two ids
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = {name: cell.metadata[name] for name in KEPT if name in cell.metadata}
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", KERNEL)}
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def with_outputs(notebook: str, before: bytes) -> str:
    """A notebook with what its cells held before besides their text, where that is equal.

    Outputs and counts, and pictures pasted into text.
    """
    new, old = json.loads(notebook), json.loads(before)
    texts = [[cell[:2] for cell in contents_of(n["cells"])] for n in (old, new)]
    for block in SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks():
        for shift in range(block.size):
            target, source = new["cells"][block.b + shift], old["cells"][block.a + shift]
            target |= {key: source[key] for key in HELD if key in source}
    return nbformat.writes(nbformat.from_dict(new)) + "\n"


# ---- the folders -------------------------------------------------------------------------------


def check(root: Path = ROOT, *, committed: bool = False) -> dict[str, str]:
    """How each pair below `root` has drifted, by name; pairs that say the same are left out.

    `committed` further asks whether they are as they are committed.
    """
    found = {}
    names = {path.stem for path in (*root.glob("py/[!.]*.py"), *root.glob("notebooks/[!.]*.ipynb"))}
    for name in sorted(names):
        halves = root / "py" / f"{name}.py", root / "notebooks" / f"{name}.ipynb"
        missing = [path.relative_to(root).as_posix() for path in halves if not path.exists()]
        if missing:
            found[name] = f"{missing[0]} is missing"
        elif difference := drift(*halves):
            found[name] = difference
        elif committed and halves[1].read_text(encoding="utf-8") != made_from(halves[0]):
            found[name] = "the .ipynb is not to be committed (outputs, or metadata of its own)"
    return found


def sync(root: Path = ROOT, *, clean: bool = False) -> list[Path]:
    """Make every .ipynb whose .py says something else from it; returns the files written.

    Outputs of unchanged cells stay, and the notebook as it was is kept in `.cache/replaced/`. With
    `clean`, every notebook is as it is committed, and nothing is kept. Raises LabError, and writes
    nothing, for a notebook that was changed after its script, or that cannot be read.
    """
    wanted: list[tuple[Path, bytes, str]] = []
    for script in sorted(root.glob("py/[!.]*.py")):
        path = root / "notebooks" / f"{script.stem}.ipynb"
        before = path.read_bytes() if path.exists() else b""
        made = made_from(script)
        if clean or not before:
            wanted.append((path, before, made))
        elif problem := drift(script, path):
            if NOT_VALID in problem:
                raise LabError(f"{path}: {problem}")
            if path.stat().st_mtime > script.stat().st_mtime:
                raise LabError(
                    f"{path}: was changed after its .py ({problem}); `jupytext --sync {path}` "
                    "takes that over into the .py, --clean throws it away"
                )
            wanted.append((path, before, with_outputs(made, before)))
    written = []
    for path, before, text in wanted:
        if text.encode() != before:
            if before and not clean:
                kept = cache_dir() / "replaced" / path.name
                write_atomically(kept, before)
                print(f"as it was: {kept}")
            write_atomically(path, text)
            written.append(path)
    return written


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Run the command line; 0 when all pairs are clean."""
    parser = Parser(prog="python -m tools.checks.pairs", description=__doc__)
    parser.add_argument("--sync", action="store_true", help="write the .ipynb that have drifted")
    parser.add_argument("--clean", action="store_true", help="write every .ipynb as committed")
    options = parser.parse_args(list(arguments))
    if options.sync or options.clean:
        for path in sync(root, clean=options.clean):
            print(f"written: {path.relative_to(root)}")
    problems = check(root, committed=not options.sync)
    for name, problem in problems.items():
        print(f"{name}: {problem}")
    if problems:
        print("--sync writes the .ipynb that differ; --clean all, without outputs, for a commit")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
