"""Every sub-question of the handout is answered under a heading with its label; the notebooks'
shape: the same first cell, parameters as in the demo profile, cells of a readable size.
"""

import csv
import re
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sklearn.preprocessing import StandardScaler

from helpers import folders
from helpers.machinery.files import LabError
from helpers.machinery.profiles import load_profile
from helpers.notebook.showing import tell
from helpers.notebook.shown import Lines
from tests.browser import page_of
from tests.fake_run import write_run
from tools.checks.labels import LABELS, editions, label_headings, main, read_labels, shown_in
from tools.common.notebooks import ROOT, Lab
from tools.run import pages

NOTEBOOKS = tuple(Lab().names)
# What each edition of the handout asks: the steps with their letters.
BEGIN, METRICS = "rules 0 1αβγ 2αβ 3 4αβγ 5", "6αβγδ 6_questions"
ASKED = {
    "2019": f"{BEGIN} 5αβγδ {METRICS} 7αβγδε 8αβγδε 9αβ 10",
    "2021": f"{BEGIN}αβγδεζ {METRICS} 7αβγδε 8αβγδε 9αβγδε 10αβγδ 11αβγδ",
    "2024": f"{BEGIN}αβγδεζ {METRICS} 7.1αβγδε 7.2αβ 8αβγδε 9αβγδε 10αβγδ 11αβγδ",
}
ASKED["2024"] = ASKED["2024"].replace("1αβγ", "1αβγδ", 1)
MOST_LINES, MEDIAN_LINES = 30, 12
WIDEST, WIDEST_COMMENT = 100, 120

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS)


@cache
def cells(notebook: str, kind: str = "code") -> list[NotebookNode]:
    """The cells of a kind, in order."""
    found = jupytext.read(ROOT / "py" / f"{notebook}.py").cells
    return [cell for cell in found if cell.cell_type == kind]


# ---- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("edition", editions())
def test_the_list_has_every_label_of_each_edition_in_its_order(edition):
    numbers = [label.numbers[edition] for label in read_labels(edition)]
    steps = [re.fullmatch(r"([^α-ω]+)([α-ω]*)", step).groups() for step in ASKED[edition].split()]
    wanted = [
        step.replace("_", " ") + letter for step, letters in steps for letter in letters or [""]
    ]
    assert list(dict.fromkeys(numbers)) == wanted


def test_the_list_names_every_label_once_and_each_has_a_heading():
    """Whether a run shows what the list says of it, tests/test_smoke.py asks."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*label_headings(), "hand-in"]
    assert {row["notebook"] for row in rows} == {*NOTEBOOKS, "README.md"}
    for row in rows:
        for part in re.split(r"; (?=\w+:)", row["what"]):
            assert re.match(r"(figure|table|text): *\S", part), row["label"]


def test_the_check_asks_for_one_editions_labels_under_its_own_numbers(home, capsys):
    run = write_run(home)  # which has no tables
    (run / "records" / "11b_latent_maps" / "figures" / "tsne.png").unlink()
    told = {}
    for edition in editions():
        assert main(["--edition", edition]) == 1
        told[edition] = capsys.readouterr().out.splitlines()
    missing = "11bδ (11b_latent_maps): no figure tsne"
    assert [missing in lines for lines in told.values()] == [False, False, True]
    assert "11α          11b_latent_maps: 11bα · Latent vectors" in told["2024"]
    assert "11_kaggle" not in "".join(told["2024"])


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


def test_maps_leave_out_what_their_clips_cannot_have(capsys):
    """A class with one test clip, and perplexities as high as the number of clips."""
    genres = ["Blues", "Rock", "Pop", *["Blues", "Rock"] * 3]
    for asked, used in (([3, 5, 7], [3, 5, 7]), ([5, 8, 45], [5]), ([8, 45], [2])):
        scope = prepare_maps(genres, asked)
        assert scope["classes"] == ["Blues", "Rock"] and scope["rows"] == [0, 1, *range(3, 9)]
        assert len(scope["spaces"]["CNN"]) == 8 and scope["fitting"] == used
        told = capsys.readouterr().out
        assert "they have one test clip only: Pop." in told
        assert ("Perplexities of 8 and more are left out" in told) == (used != asked)
    with pytest.raises(LabError, match=r"genre.*: 1 class.es. with two test clips or more"):
        prepare_maps(["Blues", "Blues", "Pop"], [5])


def prepare_maps(genres: list[str], perplexities: list[int]) -> dict[str, Any]:
    """What notebook 11b makes ready for its maps of test clips of these classes."""
    taken = [
        c.source for c in cells("11b_latent_maps") if re.match("# (A clip|From here)", c.source)
    ]
    scope: dict[str, Any] = {
        "labels": pd.DataFrame({"id": range(len(genres)), "class": genres}),
        "places": list(range(len(genres))), "perplexities": perplexities, "root": Path("data"),
        "spaces": {"CNN": np.arange(2.0 * len(genres)).reshape(-1, 2)},
        **{"np": np, "folders": folders, "tell": tell, "LabError": LabError},
        "StandardScaler": StandardScaler,
    }  # fmt: skip
    exec("\n".join(taken), scope)
    return scope


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
