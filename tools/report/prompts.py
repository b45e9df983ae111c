"""`my_report/`: a Markdown file per step with prompts, in which the members write.

The kit makes a file once, and later touches nothing but its own lines, for another language.
Nothing in it is run: raw HTML and commands of other formats are shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from helpers.machinery.files import (
    LabError,
    did_you_mean,
    project_root,
    read_text,
    write_atomically,
)
from helpers.notebook.words import LANGUAGES, Words
from tools.checks.labels import label_headings, read_labels
from tools.report.editions import Edition
from tools.report.source import picture_size, step_of

FOLDER = "my_report"
_HEADING = re.compile(r"## (.+?)(?: · .*)?$")
_PROMPT = re.compile(r"> (?:Prompt|Ερώτημα): (.+)$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# Only a width may follow; any other picture is of a form that is not taken.
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^()<>\[\]\s]+)\)(?:\{\s*width=\"?\d{1,3}%\"?\s*\}|(?!\{))")
_OTHER_PICTURE = re.compile(r"(?<!\\)!\[")
_CODE = re.compile(r"(`+).*?\1")
BLOCK = re.compile(r"(^ {0,3}(?:```|~~~).*?^ {0,3}(?:```|~~~)[ \t]*$)", re.DOTALL | re.MULTILINE)
# Over a line of the kit none runs: one that is not closed must not take the next answer along.
_COMMENT = re.compile(r"<!--(?:(?!^## |^> (?:Prompt|Ερώτημα): ).)*?-->", re.DOTALL | re.MULTILINE)
CITATION = re.compile(r"(?<![\w`@\\])@(fig|tab|ref):(\w(?:[\w./-]*\w)?)")
REFERENCES = yaml.safe_load(Path(__file__).with_name("references.yaml").read_text("utf-8"))
OF_THE_WHOLE = ("summary", "method", "conclusions")  # prompts of no step
PICTURES = (".png", ".jpg", ".jpeg", ".gif")


class Line(NamedTuple):
    """A line of a file, and the fence of the code block that is open after it, if any."""

    number: int
    text: str
    fence: str


@dataclass
class Answer:
    """A prompt and the lines below it; a prompt with an empty text stands for its heading."""

    file: Path
    line: int
    label: str
    prompt: str
    lines: list[Line] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the members wrote."""
        return "\n".join(line.text for line in self.lines).strip()


def my_report() -> Path:
    """The folder of what the members write, beside `runs/`."""
    return project_root() / FOLDER


@cache
def texts_in(language: str) -> dict[str, Any]:
    """What the members are asked: `title`, `mark`, `head`, and `prompts` by label."""
    path = Path(__file__).parent / "languages" / f"prompts_{language}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def asked(words: Words, edition: Edition) -> dict[str, list[str]]:
    """The prompts of an edition in a language, by label."""
    texts = texts_in(words.language)["prompts"]
    return {label: own for label, own in texts.items() if label not in edition.left_out}


def files_of(folder: Path, edition: Edition) -> dict[Path, list[str]]:
    """The files of a folder, `step_05.md` or `summary.md`, and the labels with prompts in each."""
    found: dict[Path, list[str]] = {}
    for label in asked(Words("en"), edition):
        step = step_of(label)
        name = f"step_{int(step):02d}.md" if step else "summary.md"
        found.setdefault(folder / name, []).append(label)
    return found


def make_missing(folder: Path, words: Words, edition: Edition) -> list[Path]:
    """Write the files that are not there yet, in this language; returns those."""
    made = []
    for path, labels in files_of(folder, edition).items():
        if path.is_symlink() and not path.exists():
            raise LabError(f"{path}: is a link to what is away; bring it back")
        if not path.exists():
            write_atomically(path, "\n\n".join(_own_texts(labels, words)).rstrip() + "\n")
            made.append(path)
    return made


def translate(folder: Path, words: Words, edition: Edition) -> list[Path]:
    """Put what the kit wrote into another language; what the members wrote stays.

    Returns the files that were in another one.
    """
    others = [Words(name) for name in LANGUAGES if name != words.language]
    translated = []
    for path, labels in files_of(folder, edition).items():
        text = before = f"\n{_text_of(path)}" if path.is_file() else ""
        for other in others:
            both = (_own_texts(labels, language) for language in (other, words))
            for old, new in zip(*both, strict=True):
                text = text.replace(f"\n{old.strip()}\n", f"\n{new.strip()}\n")
        if text != before:
            write_atomically(path, text[1:])
            translated.append(path)
    return translated


def _own_texts(labels: Sequence[str], words: Words) -> list[str]:
    """What the kit writes into a file: a title, a comment, and headings with prompts."""
    texts, headings, step = texts_in(words.language), label_headings(), step_of(labels[0])
    title = texts["title"].format(step=step) if step else texts["whole"]
    found = [f"# {title}", f"<!--\n{texts['head']}-->"]
    for label in labels:
        found.append(f"## {label} · {words.text(headings.get(label, label.capitalize()))}")
        found += [f"> {texts['mark']}: {prompt}\n" for prompt in texts["prompts"][label]]
    return found


def _text_of(path: Path) -> str:
    """What a file says, with the ends of lines that the patterns know."""
    return read_text(path).replace("\r\n", "\n")


def _lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file of the members', without comments."""
    parts = BLOCK.split(_text_of(path))  # every second one is code
    parts[::2] = [_COMMENT.sub(lambda c: "\n" * c[0].count("\n"), part) for part in parts[::2]]
    fence = ""
    for number, text in enumerate("".join(parts).splitlines(), 1):
        mark = _FENCE.match(text)
        if mark and not fence:
            fence = mark[1]
        elif mark and text.strip() == mark[1] and mark[1].startswith(fence):
            fence = ""
        yield Line(number, text, fence)


def _answers_in(path: Path) -> list[Answer]:
    """Every prompt of a file of the members' with what stands below it.

    Text under a heading with a label but above its first prompt is an answer, too; what stands
    above the first such heading has the label "". Raises LabError for a file that is no UTF-8 text.
    """
    known = {label.name for label in read_labels()}.union(OF_THE_WHOLE)
    here = Answer(path, 1, "", "")  # what stands above the first section
    answers = [here]
    for line in _lines_of(path):
        heading, prompt = _HEADING.match(line.text), _PROMPT.match(line.text)
        if heading and not line.fence and heading[1] in known:
            here = Answer(path, line.number, heading[1], "")
            answers.append(here)
        elif prompt and not line.fence and here.label:
            here = Answer(path, line.number, here.label, prompt[1].strip())
            answers.append(here)
        elif here.label or not line.text.startswith("# "):  # the file's title
            here.lines.append(line)
    # A heading alone says nothing once it has prompts below it.
    labels = {answer.label for answer in answers if answer.prompt or not answer.label}
    return [a for a in answers if a.prompt or a.text or a.label not in labels]


def read(folder: Path, edition: Edition) -> tuple[dict[str, list[Answer]], list[str]]:
    """What the members wrote, by label, and a line, `file:line: what`, for all that is missing.

    Missing is a prompt's answer, a section, a file; the lines are in the order of the lab.
    """
    files = files_of(folder, edition)
    written: dict[str, list[Answer]] = {}
    missing = [
        f"{path}:1: is not read; its name is none of the kit's, write its text into those"
        for path in sorted({*folder.glob("*.md")} - files.keys())
    ]
    for path, labels in files.items():
        if not path.is_file():
            missing.append(f"{path}:1: the file is not there; ./run_all.sh report makes it again")
            continue
        answers = _answers_in(path)
        if any(not answer.label for answer in answers):
            missing.append(f"{path}:1: text above the first section is left out; move it below")
        for label in labels:
            if all(answer.label != label for answer in answers):
                missing.append(f"{path}:1: the section {label} is gone; write `## {label}` again")
        for answer in answers:
            # Who took the prompts away and wrote below the heading has answered.
            if answer.text and answer.label:
                written.setdefault(answer.label, []).append(answer)
            elif answer.label in labels:
                what = answer.prompt or f"nothing under {answer.label}"
                missing.append(f"{path}:{answer.line}: {what}")
    return written, missing


def as_markdown(answer: Answer) -> str:
    """An answer as a part of the report: headings made small, an open code fence closed.

    A line of dashes is a rule, not the begin of settings for the whole document, and footnotes and
    the targets of links (`[1]: https://...`) are the answer's own.
    """
    small = [line.text if line.fence else _own(answer, line.text) for line in answer.lines]
    return "\n".join([*small, *(line.fence for line in answer.lines[-1:])]).strip()


def _own(answer: Answer, line: str) -> str:
    line = re.sub(r"^#{1,3} ", "#### ", line)
    line = re.sub(r"^ {0,3}(-{3,}|={3,}|\.{3})\s*$", "* * *", line)
    name = f"{answer.file.stem}-{answer.line}-"
    for target in set(re.findall(r"^ {0,3}\[([\w .-]+)\]:", answer.text, re.MULTILINE)):
        here = re.escape(target)
        line = re.sub(rf"^( {{0,3}})\[{here}\]:", rf"\1[{name}{target}]:", line)
        line = re.sub(rf"\]\[{here}\]", f"][{name}{target}]", line)
        line = re.sub(rf"(?<!\])\[({here})\](\[\])?(?![(:[])", rf"[\1][{name}{target}]", line)
    return re.sub(r"\[\^([^\]\s]+)\]", rf"[^{name}\1]", line)


def anchor(kind: str, name: str) -> str:
    """Where a citation such as `@fig:07_cnn/confusion_cnn` leads in the report."""
    return f"{kind}:{name}".replace("/", ".").replace(" ", "-")


def wrong_citations(answers: Mapping[str, Sequence[Answer]], report: str) -> list[str]:
    """One line, `file:line: what`, for each citation of what is not in a report's Markdown."""
    known = {f"ref:{key}" for key in REFERENCES} | set(
        re.findall(r"{#((?:fig|tab):[^ }]+)", report)
    )
    return [
        f"{answer.file}:{line.number}: {match[0]} is not in this report"
        f"{did_you_mean(anchor(*match.groups()), sorted(known))}; correct it, or take it out"
        for own in answers.values()
        for answer in own
        for line in answer.lines
        for match in CITATION.finditer(line.text)
        if anchor(*match.groups()) not in known
    ]


def pictures_of(answer: Answer) -> list[tuple[str, Path]]:
    """The pictures that an answer shows: as written, and the file.

    Raises LabError for one that is not there, lies elsewhere, or is of another kind.
    """
    found = []
    for line in answer.lines:
        text, place = _CODE.sub("", "" if line.fence else line.text), f"{answer.file}:{line.number}"
        if _OTHER_PICTURE.search(_PICTURE.sub("", text)):
            raise LabError(
                f"{place}: a picture is written ![what it shows](file.png), in one line, its name "
                "without spaces and brackets; only a width may follow, as {width=50%}; correct it"
            )
        found += [
            (name, _picture(place, answer.file.parent, name)) for name in _PICTURE.findall(text)
        ]
    return found


def _picture(place: str, folder: Path, name: str) -> Path:
    path = folder / name
    if "://" in name:
        wrong = f"the picture {name} is on the network; save it into {folder}, write its file name"
    elif not path.resolve().is_relative_to(folder.resolve()):
        wrong = f"the picture {name} lies outside of {folder}; copy it there, write its file name"
    elif not path.is_file():
        wrong = f"the picture {name} is not there; put it beside the file, or take the line out"
    elif path.suffix.lower() not in PICTURES or not picture_size(path):
        kinds = ", ".join(PICTURES)
        wrong = f"{name} is no picture that can be shown; take a whole file of these kinds: {kinds}"
    else:
        return path
    raise LabError(f"{place}: {wrong}")
