"""Every sub-question of the handout is answered under a heading with its label; the notebooks'
shape: the same first cell, parameters as in the demo profile, cells of a readable size.
"""

from __future__ import annotations

import ast
import csv
import re
import statistics
from functools import cache
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.common.notebooks import NOTEBOOKS as LAB_NOTEBOOKS
from tools.hand_in.commented import uncommented
from tools.run import pages

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = tuple(notebook.name for notebook in LAB_NOTEBOOKS)
HANDOUT = (
    "rules, 0, 1α, 1β, 1γ, 2α, 2β, 3, 4α, 4β, 4γ, 5α, 5β, 5γ, 5δ, 5ε, 5ζ, 6α, 6β, 6γ, 6δ, "
    "6 questions, 7α, 7β, 7γ, 7δ, 7ε, 8α, 8β, 8γ, 8δ, 8ε, 9α, 9β, 9γ, 9δ, 9ε, 10α, 10β, 10γ, 10δ, "
    "11α, 11β, 11γ, 11δ, hand-in"
).split(", ")
MOST_LINES, WIDEST = 40, 120
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)

with (ROOT / "docs" / "labels.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
IN_NOTEBOOKS = [row for row in ROWS if row["notebook"] in NOTEBOOKS]


@cache
def cells(notebook: str) -> list[NotebookNode]:
    return jupytext.read(ROOT / "py" / f"{notebook}.py").cells


def code_cells(notebook: str) -> list[NotebookNode]:
    return [cell for cell in cells(notebook) if cell.cell_type == "code"]


def sections(notebook: str, label: str) -> list[tuple[str, str]]:
    """(heading, what stands below it up to the next heading) of each heading with the label."""
    wanted = "6 · The questions" if label == "6 questions" else f"{label} · "
    heading, found = "", {}
    for cell in cells(notebook):
        lines = cell.source.splitlines()
        if cell.cell_type == "code":
            found.setdefault(heading, []).extend(lines)
            continue
        for line in lines:
            if re.match(r"#{1,6} ", line):
                heading = line
            found.setdefault(heading, []).append("" if line == heading else line)
    return [
        (heading, "\n".join(below).strip())
        for heading, below in found.items()
        if re.match(rf"#{{2,3}} {re.escape(wanted)}", heading)
    ]


@cache
def shown(notebook: str) -> str:
    """A pattern for the names of figures that a notebook stores; `{axis}` may be anything."""
    names = []
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(re.sub(r"^%.*", "", cell.source, flags=re.MULTILINE))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "record.show":
                names.append(_pattern(node.args[1]))
    return "|".join(names)


def _pattern(name: ast.expr) -> str:
    if isinstance(name, ast.Constant):
        return re.escape(name.value)
    assert isinstance(name, ast.JoinedStr), "a figure's name is written where it is shown"
    parts = (part.value if isinstance(part, ast.Constant) else None for part in name.values)
    return "".join(r"\w+" if part is None else re.escape(part) for part in parts)


# ---- labels ------------------------------------------------------------------------------------


def test_the_list_names_every_label_of_the_handout_once() -> None:
    assert [row["label"] for row in ROWS] == HANDOUT
    assert {row["notebook"] for row in ROWS} == {*NOTEBOOKS, "README.md"}


@pytest.mark.parametrize("row", IN_NOTEBOOKS, ids=lambda row: row["label"])
def test_a_label_has_a_heading_with_something_below_it(row: dict[str, str]) -> None:
    found = sections(row["notebook"], row["label"])
    assert found, f"py/{row['notebook']}.py has no heading `## {row['label']} · ...`"
    for heading, below in found:
        assert len(below.split()) >= 5, f"nothing stands below {heading!r}"


@pytest.mark.parametrize("row", IN_NOTEBOOKS, ids=lambda row: row["label"])
def test_what_shows_a_label_is_in_its_notebook(row: dict[str, str]) -> None:
    kinds = [part.partition(":") for part in re.split(r"; (?=\w+:)", row["what"])]
    assert kinds and {kind for kind, _, _ in kinds} <= {"figure", "table", "text"}
    for kind, _, what in kinds:
        assert what.strip()
        for name in what.split(",") if kind == "figure" else ():
            assert re.fullmatch(shown(row["notebook"]), name.strip()), f"no figure {name.strip()}"


def test_the_readme_says_what_is_handed_in() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (section,) = (part for part in re.split(r"^## ", text, flags=re.M) if "patrec1_<" in part)
    for word in ("hand", "PDF", "`.py`", "`.zip`", "first page", "cited", "not published"):
        assert word in section


# ---- the shape of the notebooks ----------------------------------------------------------------


def bootstrap(notebook: str) -> str:
    return code_cells(notebook)[0].source


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_finds_helpers_with_the_same_lines(notebook: str) -> None:
    assert "import helpers.machinery" in bootstrap("05_lstm")
    assert bootstrap(notebook) == bootstrap("05_lstm")


def tagged(notebook: str, tag: str) -> list[NotebookNode]:
    return [cell for cell in code_cells(notebook) if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_parameters_are_plain_assignments(notebook: str) -> None:
    (cell,) = tagged(notebook, "parameters")
    tree = ast.parse(cell.source)
    assert all(isinstance(node, ast.Assign) for node in tree.body)
    literals = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
    assert all(isinstance(value, (bool, int, float, str, list)) for value in literals.values())
    assert {"data", "device", "seed"} <= set(literals)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_profile_is_applied_right_after_the_parameters(notebook: str) -> None:
    code = code_cells(notebook)
    numbers = [n for n, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    assert code[numbers[0] + 1].source == "apply_profile(globals())"
    before = "\n".join(cell.source for cell in code[: numbers[0]])
    assert f'notebook = "{notebook}"' in before


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_code_cells_can_be_read_at_a_glance(notebook: str) -> None:
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= MOST_LINES, f"{len(lines)} lines: {lines[0]}"
        assert max(map(len, lines)) <= WIDEST, max(lines, key=len)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_opens_and_closes_as_the_others(notebook: str) -> None:
    prose = [cell.source for cell in cells(notebook) if cell.cell_type == "markdown"]
    assert re.match(rf"# {notebook[:2]} · ", prose[0])
    for part in (
        "**What you will learn**",
        "**Needs**",
        "**Leaves**",
        "**Takes**",
        "**The one insight",
    ):
        assert part in "\n".join(prose[:3]), f"{part} is missing in the opening"
    text = "\n".join(prose)
    assert "What we learned" in text and "<details>" in text
    assert "Change this and run again" in text
    assert "record.finish(" in code_cells(notebook)[-1].source


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_solutions_are_marked(notebook: str) -> None:
    """The edition without solutions is derived from these tags."""
    answering = {"01_visualization", "04_histograms", *NOTEBOOKS[3:]}
    if notebook in answering:
        assert tagged(notebook, "solution")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_no_notebook_has_a_branch_for_quick_runs(notebook: str) -> None:
    for cell in code_cells(notebook):
        assert not re.search(r"MUSICLAB_PROFILE|\bQUICK\b|profile ==", cell.source)


MEDIAN_LINES = 12


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_half_of_the_code_cells_have_at_most_twelve_lines(notebook: str) -> None:
    sizes = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert statistics.median(sizes) <= MEDIAN_LINES, sizes


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_code_is_commented(notebook: str) -> None:
    assert uncommented(ROOT / "py" / f"{notebook}.py", f"py/{notebook}.py") == []
    for cell in code_cells(notebook):  # in a notebook, for the private ones too
        for node in ast.parse(re.sub(r"^%.*", "", cell.source, flags=re.MULTILINE)).body:
            if isinstance(node, DEFINITIONS):
                assert ast.get_docstring(node), f"no docstring: {node.name}"


# ---- the glossary ------------------------------------------------------------------------------

GLOSSARY_LINK = re.compile(r"\]\(\.\./docs/glossary\.md#([^)]+)\)")


def glossary() -> list[str]:
    """The anchors of its entries, as GitHub makes them."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return [name.lower().replace(" ", "-") for name in re.findall(r"^### (.+)$", text, re.M)]


def glossary_links(notebook: str) -> list[str]:
    prose = (cell.source for cell in cells(notebook) if cell.cell_type == "markdown")
    return [anchor for text in prose for anchor in GLOSSARY_LINK.findall(text)]


def test_every_word_of_the_glossary_is_linked_where_it_comes_up_first() -> None:
    entries = glossary()
    assert len(set(entries)) == len(entries)
    linked = [anchor for notebook in NOTEBOOKS for anchor in glossary_links(notebook)]
    assert sorted(linked) == sorted(entries), "each once, and nothing else"


def test_the_links_of_a_page_lead_into_the_glossary_s_page(tmp_path: Path) -> None:
    page = pages.write_glossary(tmp_path).read_text(encoding="utf-8")
    for anchor in glossary():
        assert f'id="{anchor}"' in page
    link = "[mel band](../docs/glossary.md#mel-band)"
    notebook = new_notebook(cells=[new_markdown_cell(f"# A title\n{link}")])
    nbformat.write(notebook, tmp_path / "x.ipynb")
    pages.write_page(tmp_path / "x.ipynb", tmp_path / "x.html")
    assert 'href="glossary.html#mel-band"' in (tmp_path / "x.html").read_text(encoding="utf-8")
