"""The report: what it says, where it says it, and what it does with a run that is not whole."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

from helpers.machinery.files import LabError
from helpers.notebook.words import Words
from tests.fake_run import write_run, write_summary
from tools.checks.labels import read_labels
from tools.report import prompts, typeset
from tools.report.command import TITLE, main
from tools.report.editions import DEFAULT, edition_of

STRANGE = "Two #x *y* _z_ $1 <b>@w"  # shown as it is
TURNED = f"{STRANGE[:5]}\N{RIGHT-TO-LEFT OVERRIDE}{STRANGE[5:]}"
MEMBERS = ["--members", "Μαρία Παπαδοπούλου, 03112345", f"{TURNED}, 03154321"]
OWN = "We think that the beats are what matters: rhythm is left, and #1 of_all is 50 $ @home."
ROWS = yaml.safe_load(Path(__file__).with_name("report.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Do not write to it."""
    return write_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished: Path, home: Path) -> Path:
    """A copy of it, whose home holds the members' files, too."""
    shutil.copytree(finished.parents[1], home, symlinks=True, dirs_exist_ok=True)
    return home / "runs" / finished.name


def answer(home: Path, label: str, text: str, language: str = "en") -> None:
    """Write a text below the last prompt of a label."""
    folder = home / "my_report"
    prompts.make_missing(folder, Words(language), edition_of())
    path = next(p for p in folder.iterdir() if f"\n## {label} · " in p.read_text())
    before, mark, after = path.read_text().partition(f"\n## {label} · ")
    own, heading, rest = after.partition("\n## ")
    path.write_text(before + mark + own + f"\n{text}\n" + heading + rest)


def pdf_of(run: Path) -> tuple[PdfReader, str]:
    """The report, and its text without line breaks."""
    pdf = PdfReader(run / "report" / "report.pdf")
    return pdf, " ".join(" ".join(page.extract_text() for page in pdf.pages).split())


def markdown_of(run: Path) -> str:
    return (run / "report" / "report.md").read_text(encoding="utf-8")


def alternative_texts(pdf: PdfReader) -> list[str]:
    """The descriptions of figures in the PDF's structure."""
    objects = (pdf.get_object(number) for number in range(1, pdf.trailer["/Size"]))
    return [str(thing["/Alt"]) for thing in objects if isinstance(thing, dict) and "/Alt" in thing]


def test_the_report_in_greek_has_members_headings_figures_and_numbers(run, home):
    answer(home, "5γ", OWN, "el")
    answer(home, "7ε", "See @fig:07_cnn/confusion_cnn, @tab:10δ, @ref:adam, `@ref:x`.", "el")
    assert main([*MEMBERS, "--lang", "el"]) == 0
    (pdf, whole), docx, words = pdf_of(run), docx_text(run), Words("el")
    first = pdf.pages[0].extract_text()
    for said in ("Μαρία Παπαδοπούλου", "03112345", STRANGE, "03154321"):
        assert said in first
    for said in ("5γ · LSTM σε φασματογραφήματα mel", "macro F1 0,50", "words in a figure", OWN):
        assert said in whole
    asked = sum(map(len, prompts.asked(words, edition_of()).values()))
    assert len(prompts.read(home / "my_report", edition_of())[1]) == asked - 2
    assert all(page.extract_text().split() for page in pdf.pages), "no page is empty"
    assert pdf.metadata.author == f"Μαρία Παπαδοπούλου, {STRANGE}"
    assert pdf.metadata.title == words.text(TITLE)
    marks = [mark.title for mark in pdf.outline if not isinstance(mark, list)]
    assert words.heading("5 · Genre with LSTMs") in marks
    assert "5γ" in docx and "Μαρία Παπαδοπούλου" in docx
    cited = r"See Σχήμα\s(\d+), Πίνακας\s(\d+), \[\d+\], @ref:x"
    assert re.search(cited, whole).groups() == re.search(cited, docx).groups()


def docx_text(run: Path) -> str:
    with zipfile.ZipFile(run / "report" / "report.docx") as file:
        assert any(name.endswith(".png") for name in file.namelist())
        return re.sub(r"<[^>]+>", "", file.read("word/document.xml").decode("utf-8"))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out pandoc and Typst, for tests of what the Markdown says."""
    monkeypatch.setattr(typeset, "to_pdf", lambda *words: b"%PDF-")
    monkeypatch.setattr(typeset, "to_docx", lambda *words: b"")


@pytest.mark.usefixtures("fast")
def test_what_notebooks_have_shown_stands_in_the_report(run):
    main(MEMBERS)
    text = markdown_of(run)
    for name in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (run / "report" / name).is_file()
    assert "energy: multitask: 0.020 above one CNN in accuracy (95\N{NO-BREAK SPACE}%" in text
    assert "**Not a result of the lab:**" in text and "profile `demo`" in text
    assert "118,410" in text and "Sources" not in text.partition("\n## 9α")[2].partition("\n## ")[0]
    assert "From `helpers/models.py`:\n\n```python\ndef steps():\n    pass\n```" in text
    assert "$$\nL = \\sum_{a}" in text
    body, _, appendix = text.partition("\n# Appendix ")
    section = body.partition("\n## 5γ · ")[2].partition("\n## ")[0]
    assert section.index("| setting | value |") < section.index("macro F1") < section.index("![")
    assert "| augmentation | mixup \\[" in section
    assert re.search(r"at most \d+ on full clips, \d+ on beats", section)
    assert len(re.findall(r"^!\[", body.partition("\n## 7ε · ")[2].partition("\n# ")[0], re.M)) == 1
    assert "occlusion" in appendix and "def steps" in appendix and "def steps" not in body
    assert re.search(r"^1\. .*", body, re.M) and "D. P. Kingma, J. Ba: Adam" in body
    main([*MEMBERS, "--no-appendix", "--edition", "2019"])
    assert "def steps" not in markdown_of(run)
    assert ": How the LSTMs of 5α to 5δ were trained." in (text := markdown_of(run))
    assert "laboratory exercise 3" in text and "the loss of 9β" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [("--lang=gr", "unknown language 'gr'; known: en, el"), ("--run=none", "no finished run")],
)
def test_wrong_use_is_one_line(run, option, message):
    with pytest.raises(LabError, match=message):
        main([*MEMBERS, option])
    assert not (run / "report").exists() and not (run.parents[1] / "my_report").exists()


def test_a_run_with_failures_or_without_a_whole_notebook_has_no_report(run):
    (run / "summary.json").write_text('{"profile": "full", "data": {"folder": "x"}}')
    with pytest.raises(LabError, match=r"no whole summary; ./run_all.sh --name demo writes it"):
        main(MEMBERS)
    write_summary(run, status="failed")
    with pytest.raises(LabError, match=r"a run with failures \(07_cnn\); mend them, then run"):
        main(MEMBERS)
    write_summary(run)
    executed = run / "notebooks" / "06_metrics.ipynb"
    text = executed.read_text(encoding="utf-8")
    executed.write_text(text.replace('"musiclab"', '"older"'), encoding="utf-8")
    with pytest.raises(LabError, match=r"nothing for the report, .* an older kit; .* --only 06 "):
        main(MEMBERS)
    executed.write_text(text[:1000], encoding="utf-8")
    with pytest.raises(LabError, match=r"06_metrics.ipynb: no whole notebook; run it again"):
        main(MEMBERS)
    executed.unlink()
    with pytest.raises(LabError, match=r"06_metrics not executed\); run ./run_all.sh --name demo"):
        main(MEMBERS)


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\n cut short"])
def test_a_missing_or_damaged_figure_is_named_and_the_report_stays(run, content):
    old = run / "report" / "report.pdf"
    old.parent.mkdir()
    old.write_bytes(b"%PDF- the one before")
    picture = run / "records" / "09_transfer" / "figures" / "heldout.png"
    picture.unlink() if content is None else picture.write_bytes(content)
    with pytest.raises(LabError, match=r"heldout.png: the figure is missing or damaged; .*only 09"):
        main(MEMBERS)
    assert old.read_bytes() == b"%PDF- the one before" and len([*old.parent.iterdir()]) == 1


def test_what_cannot_be_set_is_one_line_and_the_report_stays(run, monkeypatch):
    monkeypatch.setattr(typeset, "_pandoc", lambda *words: "#import nothing")
    with pytest.raises(LabError, match="cannot be set as PDF"):
        main(MEMBERS)
    assert not (run / "report").exists()


@pytest.mark.usefixtures("fast")
def test_another_language_changes_the_prompts_and_not_what_the_members_wrote(run, home, capsys):
    answer(home, "5γ", OWN)
    path = home / "my_report" / "step_05.md"
    before = path.read_text()
    path.write_bytes(before.replace("\n", "\r\n").encode())  # as some editors of Windows do
    main([*MEMBERS, "--lang", "el"])
    assert "now ask in 'el'; your text stays" in capsys.readouterr().out
    assert "Prompt" not in path.read_text() and "> Ερώτημα: Τι λένε" in path.read_text()
    assert OWN in path.read_text()
    main(MEMBERS)
    assert path.read_text() == before, "there and back"


def test_a_text_that_pandoc_would_read_for_hours_is_one_line(monkeypatch):
    monkeypatch.setattr(typeset, "MOST_SECONDS", 0.3)
    with pytest.raises(LabError, match="pandoc had not read the report after 0.3 s; look in my_r"):
        typeset.to_docx("[" * 30_000, {})


def test_a_letter_that_no_font_has_is_named(monkeypatch):
    assert typeset.without_glyph("Μαρία Παπαδοπούλου, Łukasz [95\N{NO-BREAK SPACE}%] ≥ ✓") == ""
    alone = typeset.FONTS.replace("(font", "(fallback: false, font")  # what this machine may have
    monkeypatch.setattr(typeset, "FONTS", alone)
    assert typeset.without_glyph("Wang 王") == "王"


def test_what_an_answer_links_to_by_name_is_its_own(home):
    text = (
        "[here][1], [1], [1][], [1](x), x[2] `a[0][2]`\n\n[1]: https://a.example\n## Two\n```\n## 3"
    )
    answer(home, "5α", text)
    (own,) = prompts.read(home / "my_report", edition_of())[0]["5α"]
    name = f"step_05-{own.line}-1"
    assert prompts.as_markdown(own).partition("## 3")[0] == (
        f"[here][{name}], [1][{name}], [1][{name}], [1](x), x[2] `a[0][2]`\n\n"
        f"[{name}]: https://a.example\n#### Two\n```\n"
    )


def test_a_comment_that_is_not_closed_takes_no_other_answer_along(home):
    for label, text in {"5β": "Half <!-- look at this", "5γ": OWN, "5δ": "mel --> LSTM"}.items():
        answer(home, label, text)
    found, _ = prompts.read(home / "my_report", edition_of())
    assert (found["5γ"][0].text, found["5δ"][0].text) == (OWN, "mel --> LSTM")


def test_whatever_the_members_write_the_rest_stays_as_it_is(run, home):
    for label, text in ROWS["strange"].items():
        answer(home, label, text)
    source = run / "records" / "07_cnn" / "figures" / "digit_filters.png"
    (home / "my_report" / "convnetjs.png").write_bytes(source.read_bytes())
    main(MEMBERS)
    pdf, whole = pdf_of(run)
    told = alternative_texts(pdf)
    for said in ("no heading, and the fence", "four batches by heart", "<b>raw</b>", "#panic()"):
        assert said in whole
    assert "localhost" not in whole and "macro F1 0.50 (means" in whole
    figures = [figure for label in read_labels(DEFAULT) for figure in label.figures]
    told.remove("Activations of ConvNetJS")
    assert len(told) == len(figures) and all("what is to be seen" in text for text in told)
    assert pdf.trailer["/Root"]["/Lang"].startswith("en")
    assert (run / "report" / "figures" / "my_convnetjs.png").is_file()


@pytest.mark.parametrize("row", ROWS["pictures"])
def test_a_picture_or_citation_that_cannot_be_shown_is_named(run, home, row):
    answer(home, "7α", row["text"])
    (home / "my_report" / "out.png").symlink_to(run / "summary.json")
    with pytest.raises(LabError, match=rf"step_07.md:\d+: .*{row['said']}"):
        main(MEMBERS)
    assert not (run / "report").exists()


@pytest.mark.usefixtures("fast")
def test_the_report_says_what_is_not_answered_and_is_made_all_the_same(run, home, capsys):
    main([*MEMBERS, "--output", str(home / "elsewhere")])
    said = capsys.readouterr().out
    total = len(prompts.read(home / "my_report", edition_of())[1])
    assert f"{total} prompts without an answer" in said and "step_00.md:" in said
    assert (home / "elsewhere" / "report.pdf").is_file() and not (run / "report").exists()
