"""Every label of the handout, and what shows it in an executed run.

    python -m tools.checks.labels                       # the newest run, all editions' labels
    python -m tools.checks.labels --edition 2024        # one edition's, under its own numbers

Exit 1 when a heading, its evidence or its answer is missing.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from helpers.machinery.files import LabError, read_json
from helpers.notebook.shown import KEY, Lines, Piece, Sentence, Text, from_stored
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import ROOT
from tools.common.run_folder import Paths, find_run

LABELS = ROOT / "docs" / "labels.csv"
COLUMNS = ("label", "notebook", "what")  # and one for each edition
HEADING = re.compile(r"#{2,3} (?!Exercise )(.+?) · ")
QUESTIONS = "6 questions"  # its heading is `## 6 · The questions`
REPORT_TAG = "report"  # of cells whose outputs and formulas belong into the report
APPENDIX_TAG = "appendix"  # of those that belong into its appendix
FORMULA = re.compile(r"\$\$.+?\$\$", re.DOTALL)
DEFINITION = re.compile(r"^(class|def) ", re.MULTILINE)
FEWEST_WORDS = 8  # of an answer


@dataclass(frozen=True)
class Label:
    """A row of docs/labels.csv: a label of the kit, and what the handout's editions call it."""

    name: str
    notebook: str
    what: str
    numbers: Mapping[str, str]  # by edition; empty where it does not ask this

    @property
    def figures(self) -> list[str]:
        """The names under which its figures are stored."""
        parts = [part for part in re.split(r"; (?=\w+:)", self.what) if part.startswith("figure:")]
        return [name.strip() for part in parts for name in part[7:].split(",")]


@dataclass
class Shown:
    """What stands under the headings of one section of an executed notebook."""

    name: str = ""  # its label; its heading where it has none
    notebook: str = ""
    headings: list[str] = field(default_factory=list)
    n_words: int = 0  # of prose, and of what the run has said
    has_outputs: bool = False  # tables or texts of the run
    reported: list[Piece] = field(default_factory=list)  # what is marked for the report
    appended: list[Piece] = field(default_factory=list)  # what is marked for its appendix


@cache
def read_labels(edition: str = "") -> tuple[Label, ...]:
    """The labels that a notebook answers, in the handout's order; those of one edition, or all."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = [Label(*(row.pop(name) for name in COLUMNS), row) for row in reader]
    kept = [row for row in rows if not edition or row.numbers[edition]]
    return tuple(label for label in kept if not label.notebook.endswith(".md"))


def editions() -> list[str]:
    """The handout's editions, by the year in which their winter began."""
    return list(read_labels()[0].numbers)


@cache
def label_headings() -> dict[str, str]:
    """The first heading of each label in its notebook, without the label."""
    found: dict[str, str] = {}
    for label in read_labels():
        script = (ROOT / "py" / f"{label.notebook}.py").read_text(encoding="utf-8")
        written = "6" if label.name == QUESTIONS else re.escape(label.name)
        if heading := re.search(rf"^# #{{2,3}} {written} · (.+)$", script, re.MULTILINE):
            found[label.name] = heading[1]
    return found


def shown_in(notebook: Path) -> dict[str, Shown]:
    """What an executed notebook shows, by the sections' names.

    Raises LabError for a file that is no notebook.
    """
    import nbformat

    found: dict[str, Shown] = {}
    here = Shown()
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (ValueError, AttributeError) as error:  # nbformat's own errors are ValueErrors
        raise LabError(f"{notebook}: no whole notebook; run it again") from error
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if re.match(r"#{1,6} ", line):
                    here = _section(found, line, notebook.stem)
                else:
                    here.n_words += len(line.split())
            if REPORT_TAG in tags:
                here.reported += [Text([Sentence(f)]) for f in FORMULA.findall(cell.source)]
            continue
        pieces = [_add_output(here, output) for output in cell.get("outputs", [])]
        marked = {REPORT_TAG, APPENDIX_TAG} & set(tags)
        if marked and not pieces and DEFINITION.search(cell.source):
            pieces = [Lines(cell.source, f"py/{notebook.stem}.py")]  # plain code that is taught
        own = here.appended if APPENDIX_TAG in marked else here.reported
        own += [piece for piece in pieces if piece and marked]
    return found


def _section(found: dict[str, Shown], heading: str, notebook: str) -> Shown:
    """The section that a heading opens, or that it stands in."""
    match = HEADING.match(heading)
    if not match and heading.startswith("###"):
        # A sub-heading without a label belongs to the section that it stands in.
        return next(reversed(found.values()), Shown())
    name = match[1] if match else heading.lstrip("# ")
    name = QUESTIONS if heading.endswith("6 · The questions") else name
    shown = found.pop(name, Shown(name, notebook))
    found[name] = shown  # the newest one stands last
    shown.headings.append(heading)
    return shown


def _add_output(shown: Shown, output: Any) -> Piece | None:
    """Count an output; returns what it carries as data."""
    data, said = output.get("data", {}), output.get("metadata", {}).get(KEY)
    piece: Piece | None = from_stored(said) if said else None
    text = output["text"] if output.get("name") == "stdout" else data.get("text/markdown", "")
    if isinstance(piece, Lines) and "text/html" not in data:
        text = piece.text
    shown.n_words += len(text.split())
    shown.has_outputs |= bool(text) or "text/html" in data
    return piece


def missing(run: Path, edition: str = "") -> Iterator[str]:
    """One line for each label whose heading, evidence or answer the run does not have."""
    for name, labels in groupby(read_labels(edition), key=attrgetter("notebook")):
        paths = Paths(run, name)
        if not paths.executed.is_file():
            yield f"{name}: not executed in {run.name}"
            continue
        shown, described = shown_in(paths.executed), read_json(paths.record / "figures.json")
        stored = (path for path in paths.record.glob("figures/*.png") if path.stat().st_size)
        figures = {path.stem for path in stored if described.get(path.stem)}
        for label in labels:
            yield from (f"{label.name} ({name}): {what}" for what in _lacks(label, shown, figures))


def _lacks(label: Label, shown: dict[str, Shown], figures: set[str]) -> Iterator[str]:
    if label.name not in shown:
        yield "no heading"
        return
    section = shown[label.name]
    if section.n_words < FEWEST_WORDS:
        yield f"nothing but {section.n_words} words stands under {section.headings[0]!r}"
    yield from (f"no figure {name}" for name in label.figures if name not in figures)
    if "table:" in label.what and not section.has_outputs:
        yield "no table"


def main(arguments: Sequence[str]) -> int:
    """Print a row per label; 1 when something is missing."""
    parser = Parser(prog="python -m tools.checks.labels", description=__doc__)
    parser.add_argument("--run", help="the run's name; default: the newest one")
    parser.add_argument("--edition", choices=editions(), default="", help="only its labels")
    options = parser.parse_args(list(arguments))
    run = find_run(options.run)
    problems = list(missing(run, options.edition))
    for problem in problems:
        print(problem)
    for label in read_labels(options.edition) if options.edition else ():
        heading = f"{label.name} · {label_headings()[label.name]}"
        print(f"{label.numbers[options.edition]:12} {label.notebook}: {heading}")
    asked = f"{len(read_labels(options.edition))} labels"
    print(f"{run.name}: {asked}, {len(problems)} thing(s) missing")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
