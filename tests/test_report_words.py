"""The report's languages say the same things, and what the members write is read as it is."""

from __future__ import annotations

import ast
import io
import re
from calendar import month_name
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml
from pypdf import PdfReader

from helpers.machinery.files import LabError
from helpers.notebook.showing import render_figure
from helpers.notebook.shown import from_stored
from helpers.notebook.words import LANGUAGES, Words
from tools.checks.labels import label_headings, read_labels
from tools.common.notebooks import ROOT, Lab
from tools.report import prompts
from tools.report.command import COURSE, TITLE
from tools.report.content import CONCLUSIONS, ENVIRONMENT, LAYOUT, METHOD, STEPS, SUMMARY
from tools.report.editions import EDITIONS, edition_of
from tools.report.markdown import speaks

ROWS = yaml.safe_load(Path(__file__).with_name("report.yaml").read_text(encoding="utf-8"))
FIELD = re.compile(r"\{(\w+)")
LABELS = {label.name for label in read_labels()}
SOURCES = [
    path
    for folder in ("py", "helpers/notebook", "tools/report")
    for path in sorted((ROOT / folder).glob("*.py"))
]
EDITION = edition_of()
OTHERS = LANGUAGES[1:]


# ---- the catalogue ----


def constants(node: ast.expr | None) -> set[str]:
    """The texts that an expression may be, where they stand in it as they are."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) | constants(node.orelse)
    if isinstance(node, ast.BoolOp | ast.List):
        parts = node.values if isinstance(node, ast.BoolOp) else node.elts
        return set().union(*map(constants, parts))
    return {node.value} if isinstance(node, ast.Constant) else set()


def name_of(node: ast.expr) -> str:
    """What is called or assigned, without what it is an attribute of."""
    return getattr(node, "id", "") or getattr(node, "attr", "")


def said_in(path: Path) -> tuple[set[str], set[str]]:
    """The texts of a file that have to be in a catalogue, and the names that it puts in them."""
    code = re.sub(r"^\s*%.*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts, names = set(), set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign) and name_of(node.targets[0]) in ("caption", "template"):
            texts |= constants(node.value)
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: constants(keyword.value) for keyword in node.keywords}
        texts |= given.pop("caption", set()) | given.pop("headings", set())
        if name_of(node.func) in ("tell", "Sentence", "text"):
            texts |= constants(node.args[0])
            names |= set().union(*given.values())
    texts, names = ({t for t in f if isinstance(t, str) and speaks(t)} for f in (texts, names))
    return texts, names


def headings() -> set[str]:
    """Those of labels and chapters, and of other sections of which a cell is for the report."""
    found = {*label_headings().values(), SUMMARY, METHOD, CONCLUSIONS, ENVIRONMENT}
    titles = [*STEPS, *(t for about in EDITIONS.values() for t in about.get("titles", {}).values())]
    found |= {title.partition(" · ")[2] for title in titles}
    for name in Lab().names:
        heading = ""
        for cell in Lab().read(name).cells:
            heading = cell.source.partition("\n")[0] if cell.source[:3] == "## " else heading
            if {"report", "appendix"} & {*cell.tags}:
                found.add(heading.rpartition(" · ")[2].lstrip("# "))
    return found - {"What is allowed", "The data folder", "The sub-folders"}  # never the first


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_every_text_with_its_fields_and_nothing_else(language):
    words, texts = Words(language), headings() | {TITLE, COURSE, "Figure", "Table", *month_name[1:]}
    texts |= {*LAYOUT["method"].values()}
    for about in LAYOUT["labels"].values():
        texts |= {*about.get("rows", {}).values(), about.get("caption", COURSE)}
    for path in SOURCES:
        said, names = said_in(path)
        texts |= said
        assert names - words.names.keys() == set(), path.name
    assert texts - words.texts.keys() == set(), "said, but not in the catalogue"
    assert words.texts.keys() - texts == set(), "in the catalogue, but nobody says it"
    files = [*SOURCES, *sorted((ROOT / "helpers").glob("*.py"))]
    code = "".join(path.read_text(encoding="utf-8") for path in files) + str(LAYOUT)
    parts = {name: name.partition(": ") for name in words.names}
    gone = [n for n, (a, _, b) in parts.items() if n not in code and not (a in code and b in code)]
    assert gone == [], "a name that nobody says"
    for english, text in (words.texts | words.figures).items():
        assert set(FIELD.findall(text)) == set(FIELD.findall(english)), english
        assert [text[0] == " ", text[-1] == " "] == [english[0] == " ", english[-1] == " "], english


def test_a_figure_speaks_another_language_with_its_decimal_sign():
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    left.plot([0, 0.5], label="train")
    left.legend()
    title = "Rock (clip 3): 18 beats in 9.5 s (estimated from the mel)"
    left.set(title=title, ylim=(0, 0.5), xticks=[0, 0.4])  # where ticks fall depends on the style
    right.set_yticks([0.25], ["energy: multitask CNN minus CNN of step 8"])
    figure.set_label("what is to be seen")
    _, pdfs, _ = render_figure(figure, "x", LANGUAGES)
    texts = (PdfReader(io.BytesIO(pdf)).pages[0].extract_text() for pdf in pdfs.values())
    english, greek = (" ".join(text.split()) for text in texts)
    assert "18 beats" in english and "train" in english and "0.4" in english
    for said in (
        "Rock (απόσπασμα 3): 18 παλμοί σε 9,5 s (εκτίμηση από το mel)", "εκπαίδευση", "0,4",
        "ενέργεια: CNN για τρεις άξονες μείον CNN του βήματος 8",
    ):  # fmt: skip
        assert said in greek
    assert "0.4" not in greek and PdfReader(io.BytesIO(pdfs["el"])).metadata["/Keywords"] == "Rock"


@pytest.mark.parametrize("edition", [edition_of(name) for name in EDITIONS])
def test_every_question_has_a_prompt_in_each_language(edition):
    english = prompts.asked(Words("en"), edition)
    assert set(english) <= LABELS.union(prompts.OF_THE_WHOLE)
    for language in OTHERS:
        own = prompts.asked(Words(language), edition)
        assert [(k, len(v)) for k, v in own.items()] == [(k, len(v)) for k, v in english.items()]


@pytest.mark.parametrize("row", ROWS["values"])
def test_a_value_is_written_as_the_language_writes_it(row):
    value = from_stored(row["given"])
    assert (Words("en").value(value), Words("el").value(value)) == (row["en"], row["el"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The members' folder, fresh."""
    prompts.make_missing(tmp_path / "my_report", Words("en"), EDITION)
    return tmp_path / "my_report"


def test_a_file_is_made_once_and_named_when_it_is_gone_or_no_text(folder):
    gone, mine = folder / "step_10.md", folder / "step_09.md"
    mine.write_text("mine")
    gone.unlink()
    assert f"{gone}:1: the file is not there" in "".join(prompts.read(folder, EDITION)[1])
    assert prompts.make_missing(folder, Words("el"), EDITION) == [gone]
    assert mine.read_text() == "mine" and "> Ερώτημα: " in gone.read_text(encoding="utf-8")
    gone.write_bytes("κείμενο".encode("iso-8859-7"))
    with pytest.raises(LabError, match="step_10.md:1: no UTF-8 text; save the file as UTF-8"):
        prompts.read(folder, EDITION)
    mine.unlink()
    mine.symlink_to(folder / "away.md")
    with pytest.raises(LabError, match="step_09.md: is a link to what is away; bring it back"):
        prompts.make_missing(folder, Words("en"), EDITION)


def test_every_prompt_of_fresh_files_is_unanswered_with_its_place(folder):
    found = prompts.read(folder, EDITION)[1]
    assert len(found) == sum(map(len, prompts.asked(Words("en"), EDITION).values()))
    for line in found:
        name, number, prompt = re.fullmatch(r"(.+?):(\d+): (.+)", line).groups()
        assert Path(name).read_text().splitlines()[int(number) - 1] == f"> Prompt: {prompt}"


@pytest.mark.parametrize("row", ROWS["answers"])
def test_an_answer_is_what_stands_below_a_prompt_or_a_heading_of_the_kit(folder, row):
    rest = "".join(f"\n## 9{letter} · x\n\nAn answer.\n" for letter in "βγδε")
    (folder / "step_09.md").write_text(row["text"] + rest)
    lines = [line for line in prompts.read(folder, EDITION)[1] if "step_09.md:" in line]
    for line, said in zip(lines, row["said"], strict=True):
        assert line.startswith(f"{folder / 'step_09.md'}:{said}")
