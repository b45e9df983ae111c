"""The report's languages say the same things, and what the members write is read as it is."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from helpers.evaluation import Score
from helpers.machinery.files import LabError
from tools.checks.labels import read_labels
from tools.report import prompts
from tools.report.blocks import PValue, Sentence
from tools.report.references import LINKS, handout_links
from tools.report.words import Words, languages

FIELD = re.compile(r"\{(\w+)")
LABELS = {label.name for label in read_labels()}


@pytest.mark.parametrize(
    "part", ["phrases", "chapters", "sentences", "tables", "figures"]
)
def test_every_language_has_the_same_texts_with_the_same_fields(part: str) -> None:
    english = Words("en")._data[part]
    for language in languages():
        own = Words(language)._data[part]
        assert own.keys() == english.keys(), language
        for key, text in own.items():
            assert set(FIELD.findall(text)) == set(FIELD.findall(english[key])), (language, key)
            assert text == text.strip() or key == "compare_holm"


def test_every_label_has_a_heading_and_every_question_a_prompt_in_each_language() -> None:
    english = Words("en").prompts["prompts"]
    assert set(english) <= LABELS
    own_headings = Words("en")._data["headings"].keys() - LABELS
    for language in languages():
        assert all(Words(language).heading(label) for label in LABELS)
        assert own_headings <= Words(language)._data["headings"].keys()
        own = Words(language).prompts["prompts"]
        assert [(k, len(v)) for k, v in own.items()] == [(k, len(v)) for k, v in english.items()]


def test_numbers_are_written_as_the_language_writes_them() -> None:
    english, greek = Words("en"), Words("el")
    assert (english.cell(0.12345), greek.cell(0.12345)) == ("0.123", "0,123")
    assert greek.cell(-0.5, 1) == "\N{MINUS SIGN}0,5"
    assert greek.number(118410, ",") == "118.410"
    assert greek.cell(Score(0.5, 0.4, 0.6), 1) == "0,5 \\[0,4; 0,6\\]"
    assert greek.p_value(PValue(0.0001)) == "\\< 0,001"
    assert english.p_value(PValue(0.02)) == "= 0.020"


def test_what_is_undefined_is_said_with_its_reason() -> None:
    undefined = Score(math.nan, reason="2 clips are too few for a rank correlation")
    assert Words("en").cell(undefined) == f"undefined ({undefined.reason})"
    assert Words("el").cell(undefined) == (
        "δεν ορίζεται (2 αποσπάσματα δεν αρκούν για συσχέτιση κατάταξης)"
    )
    assert Words("en").cell(math.nan) == "undefined"
    assert "undefined" in Words("en").say(
        Sentence("chroma_time", {"chroma": math.nan, "ratio": 2.0})
    )


def test_names_with_other_names_in_them_are_translated_in_turn() -> None:
    words = Words("el")
    assert words.term("CNN, energy from genre") == "CNN, ενέργεια (energy) από το είδος"
    assert words.term("lstm_mel_full") == "lstm_mel_full"
    assert words.term("R&B *live* | C#") == r"R&B \*live\* \| C\#"


def test_an_unknown_language_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(LabError, match="unknown language 'de'; known: el, en"):
        Words("de")


def test_the_links_of_the_handouts_are_all_in_the_references() -> None:
    links = [address for _, address in handout_links()]
    text = LINKS.read_text(encoding="utf-8").partition("## Links of the handouts")[2]
    for address in re.findall(r"https?://[^)\s]+", text):
        assert address in links


# ---- my_report/ ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The members' folder, fresh."""
    prompts.make_missing(tmp_path / "my_report", Words("en"))
    return tmp_path / "my_report"


def test_a_file_is_made_once_and_never_written_again(folder: Path) -> None:
    path = folder / "step_09.md"
    path.write_text("mine")
    (folder / "step_10.md").unlink()
    assert prompts.make_missing(folder, Words("el")) == [folder / "step_10.md"]
    assert path.read_text() == "mine"
    assert "> Ερώτημα: " in (folder / "step_10.md").read_text(encoding="utf-8")


def test_every_prompt_of_fresh_files_is_unanswered_with_its_place(folder: Path) -> None:
    found = prompts.unanswered(folder)
    asked = Words("en").prompts["prompts"]
    assert len(found) == sum(map(len, asked.values()))
    for line in found:
        name, number, prompt = re.fullmatch(r"(.+?):(\d+): (.+)", line).groups()
        assert Path(name).read_text().splitlines()[int(number) - 1] == f"> Prompt: {prompt}"


@pytest.mark.parametrize("language", ["en", "el"])
def test_a_text_below_its_prompt_is_the_answer(tmp_path: Path, language: str) -> None:
    prompts.make_missing(tmp_path, Words(language))
    path = tmp_path / "step_09.md"
    n_before = len(prompts.unanswered(tmp_path))
    lines = path.read_text(encoding="utf-8").splitlines()
    mark = next(i for i, line in enumerate(lines) if line.startswith("> "))
    path.write_text("\n".join([*lines[: mark + 1], "", "Two sentences.", *lines[mark + 1 :]]))
    assert len(prompts.unanswered(tmp_path)) == n_before - 1
    (answer,) = prompts.written(tmp_path)["9α"]
    assert answer.text == "Two sentences."


def test_a_comment_is_no_answer_and_code_is_no_heading(folder: Path) -> None:
    path = folder / "step_09.md"
    path.write_text(
        "## 9α · x\n\n> Prompt: one?\n\n<!-- to do -->\n\n## 9β · x\n\n> Prompt: two?\n\n"
        "```\n## 9γ · in code\n> Prompt: in code\n```\nand on\n"
    )
    assert prompts.written(folder)["9β"][0].text.endswith("and on")
    found = [line for line in prompts.unanswered(folder) if "step_09" in line]
    assert found[0] == f"{path}:3: one?"
    assert [line.partition("section ")[2][:2] for line in found[1:]] == ["9γ", "9δ", "9ε"]


def test_headings_of_the_members_belong_to_their_answer(folder: Path) -> None:
    path = folder / "step_09.md"
    path.write_text("# Step 9\n\nLost.\n\n## 9α · x\n\nOne.\n\n## Discussion\n\nTwo.\n")
    (answer,) = prompts.written(folder)["9α"]
    assert prompts.as_markdown(answer) == "One.\n\n#### Discussion\n\nTwo."
    assert f"{path}:1: the text above the first section is left out" in "".join(
        prompts.unanswered(folder)
    )


def test_who_takes_the_prompts_away_and_writes_has_answered(folder: Path) -> None:
    text = "".join(f"## 9{letter} · x\n\nAn answer.\n\n" for letter in "αβγδε")
    (folder / "step_09.md").write_text(text)
    assert not [line for line in prompts.unanswered(folder) if "step_09" in line]


def test_a_file_that_is_gone_or_no_text_is_said_to_be(folder: Path) -> None:
    (folder / "step_11.md").unlink()
    assert f"{folder / 'step_11.md'}:1: the file is not there" in prompts.unanswered(folder)[-1]
    (folder / "step_10.md").write_bytes("κείμενο".encode("iso-8859-7"))
    with pytest.raises(LabError, match="step_10.md: cannot be read as UTF-8 text"):
        prompts.unanswered(folder)
