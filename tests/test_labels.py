"""Every sub-question of the handout is answered under a heading with its label; the notebooks'
shape: the same first cell, parameters as in the demo profile, cells of a readable size.
"""

import csv
import re
import statistics
from functools import cache

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.machinery.profiles import load_profile
from helpers.notebook.shown import Lines
from tests.browser import page_of
from tools.checks.labels import LABELS, label_headings, shown_in
from tools.common.notebooks import ROOT, Lab
from tools.run import pages

NOTEBOOKS = tuple(Lab().names)
HANDOUT = (
    "rules, 0, 1α, 1β, 1γ, 2α, 2β, 3, 4α, 4β, 4γ, 5α, 5β, 5γ, 5δ, 5ε, 5ζ, 6α, 6β, 6γ, 6δ, "
    "6 questions, 7α, 7β, 7γ, 7δ, 7ε, 8α, 8β, 8γ, 8δ, 8ε, 9α, 9β, 9γ, 9δ, 9ε, 10α, 10β, 10γ, 10δ, "
    "11α, 11β, 11γ, 11δ, hand-in"
).split(", ")
MOST_LINES, MEDIAN_LINES = 30, 12
WIDEST, WIDEST_COMMENT = 100, 120

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS)


@cache
def cells(notebook: str, kind: str = "code") -> list[NotebookNode]:
    """The cells of a kind, in order."""
    found = jupytext.read(ROOT / "py" / f"{notebook}.py").cells
    return [cell for cell in found if cell.cell_type == kind]


# ---- labels ------------------------------------------------------------------------------------


def test_the_list_names_every_label_of_the_handout_once_and_each_has_a_heading():
    """Whether a run shows what the list says of it, tests/test_smoke.py asks."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == HANDOUT == [*label_headings(), "hand-in"]
    assert {row["notebook"] for row in rows} == {*NOTEBOOKS, "README.md"}
    for row in rows:
        for part in re.split(r"; (?=\w+:)", row["what"]):
            assert re.match(r"(figure|table|text): *\S", part), row["label"]


def test_the_readme_says_what_is_handed_in():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (section,) = (part for part in re.split(r"^## ", text, flags=re.M) if "patrec1_<" in part)
    for word in ("hand", "PDF", "`.py`", "`.zip`", "first page", "cited", "not published"):
        assert word in section


# ---- the shape of the notebooks ----------------------------------------------------------------


@each_notebook
def test_parameters_are_plain_values_and_the_profile_is_applied_after_them(notebook):
    code = [cell.source for cell in cells(notebook)]
    assert "import helpers.machinery" in code[0] and code[0] == cells("05_lstm")[0].source
    before = cells(notebook)[code.index("apply_profile(globals())") - 1]
    assert "parameters" in before.metadata.tags
    values = Lab().read(notebook).parameters
    assert {"data", "device", "seed"} <= set(values) and None not in values.values()
    quick = re.search(r"MUSICLAB_PROFILE|\bQUICK\b|profile ==", "\n".join(code))
    assert not quick, "no notebook has a branch for quick runs"


@each_notebook
def test_code_cells_can_be_read_at_a_glance(notebook):
    sizes = []
    for cell in cells(notebook):
        lines = cell.source.splitlines()
        sizes.append(len(lines))
        assert len(lines) <= MOST_LINES, f"{len(lines)} lines: {lines[0]}"
        for line in lines:  # ruff leaves the width of py/ to us: lines of prose are wider there
            assert len(line) <= (WIDEST_COMMENT if line.startswith("#") else WIDEST), line
    assert statistics.median(sizes) <= MEDIAN_LINES, sizes


@each_notebook
def test_every_notebook_opens_and_closes_as_the_others(notebook):
    prose = [cell.source for cell in cells(notebook, "markdown")]
    assert re.match(rf"# {notebook.partition('_')[0]} · ", prose[0])
    for part in ("What you will learn**", "Needs**", "Leaves**", "Takes**", "The one insight"):
        assert f"**{part}" in "\n".join(prose[:3]), f"{part} is missing in the opening"
    text = "\n".join(prose)
    assert "What we learned" in text and "<details>" in text
    assert "Change this and run again" in text
    assert "record.finish(" in cells(notebook)[-1].source


@pytest.mark.parametrize("profile", ["demo", "full"])
def test_the_multitask_cnn_is_trained_as_the_cnns_it_is_compared_with(profile):
    ours, theirs = (
        load_profile(profile).parameters(name, Lab().read(name).parameters)
        for name in ("10_multitask", "08_regression")
    )
    for name in ("batch_size", "patience", "crop_frames", "max_masked_bands", "n_seeds"):
        assert ours[name] == theirs[name], name
    for name in ("epochs", "learning_rate", "warmup_epochs"):
        assert ours[name] == theirs[f"cnn_{name}"], name


def test_taught_code_is_reported_and_an_exercise_stays_under_its_label(tmp_path):
    class_cell = new_code_cell("class Loss:\n    pass", metadata={"tags": ["report"]})
    printing = new_code_cell("print(1)", metadata={"tags": ["report"]})
    cells = [new_markdown_cell("## 10β · A loss"), new_markdown_cell("### Exercise 10.1 · Yours")]
    nbformat.write(new_notebook(cells=[*cells, class_cell, printing]), tmp_path / "10_x.ipynb")
    shown = shown_in(tmp_path / "10_x.ipynb")
    assert list(shown) == ["10β"]
    assert shown["10β"].reported == [Lines(class_cell.source, "py/10_x.py")]


# ---- the glossary ------------------------------------------------------------------------------

GLOSSARY_LINK = re.compile(r"\]\(\.\./docs/glossary\.md#([^)]+)\)")


def glossary() -> list[str]:
    """The anchors of its entries, as GitHub makes them."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return [name.lower().replace(" ", "-") for name in re.findall(r"^### (.+)$", text, re.M)]


def test_every_word_of_the_glossary_is_linked_where_it_comes_up_first():
    entries = glossary()
    assert len(set(entries)) == len(entries)
    prose = [cell.source for notebook in NOTEBOOKS for cell in cells(notebook, "markdown")]
    linked = GLOSSARY_LINK.findall("\n".join(prose))
    assert sorted(linked) == sorted(entries), "each once, and nothing else"


def test_the_links_of_a_page_lead_into_the_glossary_s_page(tmp_path):
    page = pages.write_glossary(tmp_path).read_text(encoding="utf-8")
    for anchor in glossary():
        assert f'id="{anchor}"' in page
    link = "[mel band](../docs/glossary.md#mel-band)"
    linking = page_of(tmp_path, new_markdown_cell(f"# A title\n{link}"))
    assert 'href="glossary.html#mel-band"' in linking.read_text(encoding="utf-8")
