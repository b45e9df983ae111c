"""`my_report/`: a Markdown file per step with prompts, in which the members write.

The kit makes a file once and never writes to it again. Nothing in it is run: raw HTML and commands
of other formats are shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers.machinery.files import LabError, project_root, write_atomically
from tools.checks.labels import label_headings, read_labels
from tools.report.source import picture_size, step_of
from tools.report.words import Words

FOLDER = "my_report"
_HEADING = re.compile(r"## (.+?)(?: · .*)?$")
_PROMPT = re.compile(r"> (?:Prompt|Ερώτημα): (.+)$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_PICTURE = re.compile(r"(!\[[^\]]*\]\()\s*<?([^)\s>]+)>?([^)]*\))")
_BLOCK = re.compile(r"(^ {0,3}(?:```|~~~).*?^ {0,3}(?:```|~~~)[ \t]*$)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_WIDTH = re.compile(r"\{\s*width=\"?\d{1,3}%\"?\s*\}")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg")


@dataclass
class Answer:
    """A prompt and the lines below it; a prompt with an empty text stands for its heading."""

    file: Path
    line: int
    label: str
    prompt: str
    lines: dict[int, str] = field(default_factory=dict)  # by their number in the file

    @property
    def text(self) -> str:
        """What the members wrote, without comments."""
        parts = _BLOCK.split("\n".join(self.lines.values()))  # every second one is code
        parts[::2] = [_COMMENT.sub("", part) for part in parts[::2]]
        return "".join(parts).strip()


def my_report() -> Path:
    """The folder of what the members write, beside `runs/`."""
    return project_root() / FOLDER


def file_of(folder: Path, step: str) -> Path:
    """The file of a step, `step_05.md`."""
    return folder / f"step_{int(step):02d}.md"


def steps(words: Words) -> dict[str, list[str]]:
    """The labels that have prompts, by step."""
    grouped: dict[str, list[str]] = {}
    for label in words.prompts["prompts"]:
        grouped.setdefault(step_of(label), []).append(label)
    return grouped


def make_missing(folder: Path, words: Words) -> list[Path]:
    """Write the files that are not there yet, in this language; returns those."""
    made = []
    for step, labels in steps(words).items():
        path = file_of(folder, step)
        if not path.exists() and not path.is_symlink():  # a link may lead to what is away today
            write_atomically(path, _empty_file(step, labels, words))
            made.append(path)
    return made


def _empty_file(step: str, labels: list[str], words: Words) -> str:
    texts, headings = words.prompts, label_headings()
    lines = [f"# {texts['title'].format(step=step)}", "", "<!--", texts["head"].rstrip(), "-->"]
    for label in labels:
        lines += ["", f"## {label} · {words.text(headings[label])}"]
        for prompt in texts["prompts"][label]:
            lines += ["", f"> {texts['mark']}: {prompt}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _answers_in(path: Path) -> list[Answer]:
    """Every prompt of a file of the members' with what stands below it.

    Text under a heading with a label but above its first prompt is an answer, too; what stands
    above the first such heading has the label "". Raises LabError for a file that is no UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise LabError(f"{path}: cannot be read as UTF-8 text; save the file as UTF-8") from None
    known = {label.name for label in read_labels()}
    here = Answer(path, 1, "", "")  # what stands above the first section
    answers = [here]
    lines = text.splitlines()
    for number, (line, fence) in enumerate(zip(lines, _fences(lines), strict=True), 1):
        heading, prompt = _HEADING.match(line), _PROMPT.match(line)
        if heading and not fence and heading[1] in known:
            here = Answer(path, number, heading[1], "")
            answers.append(here)
        elif prompt and not fence and here.label:
            here = Answer(path, number, here.label, prompt[1].strip())
            answers.append(here)
        elif here.label or not line.startswith("# "):  # the file's title
            here.lines[number] = line
    # A heading alone says nothing once it has prompts below it.
    labels = {answer.label for answer in answers if answer.prompt or not answer.label}
    return [a for a in answers if a.prompt or a.text or a.label not in labels]


def _fences(lines: list[str]) -> Iterator[str]:
    """After each line, the fence of the code block that it stands in; empty outside of code."""
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == mark[1] and mark[1].startswith(fence):
            fence = ""
        yield fence


def unanswered(folder: Path) -> list[str]:
    """One line, `file:line: prompt`, for each prompt without an answer, in the order of the lab.

    A file or a section that is gone is named, too.
    """
    found = []
    for step, labels in steps(Words("en")).items():
        path = file_of(folder, step)
        if not path.is_file():
            found.append(f"{path}:1: the file is not there; ./run_all.sh report makes it again")
            continue
        answers = _answers_in(path)
        if any(not answer.label for answer in answers):
            found.append(
                f"{path}:1: the text above the first section is left out; put it below a prompt"
            )
        for label in labels:
            own = [answer for answer in answers if answer.label == label]
            if not own:
                found.append(
                    f"{path}:1: the section {label} is gone; write it again under `## {label}`"
                )
            # Who took the prompts away and wrote below the heading has answered.
            empty = [answer for answer in own if not answer.text]
            found += [f"{path}:{a.line}: {a.prompt or f'nothing under {label}'}" for a in empty]
    return found


def written(folder: Path) -> dict[str, list[Answer]]:
    """What the members wrote, by label; prompts without an answer are left out."""
    by_label: dict[str, list[Answer]] = {}
    for path in sorted(folder.glob("step_*.md")):
        for answer in _answers_in(path):
            if answer.text and answer.label:
                by_label.setdefault(answer.label, []).append(answer)
    return by_label


def as_markdown(answer: Answer) -> str:
    """An answer as a part of the report: headings made small, an open code fence closed.

    A line of dashes is a rule, not the begin of settings for the whole document, and a footnote is
    the answer's own.
    """
    lines = answer.text.splitlines()
    fences = list(_fences(lines))
    small = [
        line if fence else _own(answer, line) for line, fence in zip(lines, fences, strict=True)
    ]
    return "\n".join([*small, *filter(None, fences[-1:])])


def _own(answer: Answer, line: str) -> str:
    line = re.sub(r"^#{1,3} ", "#### ", line)
    line = re.sub(r"^(-{3,}|\.{3})\s*$", "* * *", line)
    return re.sub(r"\[\^([^\]\s]+)\]", rf"[^{answer.file.stem}-{answer.line}-\1]", line)


def pictures_of(answer: Answer) -> list[tuple[str, Path]]:
    """The pictures that an answer shows: as written, and the file.

    Raises LabError for one that is not there, lies elsewhere on the network, or is of another kind.
    """
    found = []
    for number, line in answer.lines.items():
        for match in _PICTURE.finditer(line):
            name, place = match[2], f"{answer.file}:{number}"
            attributes = line[match.end() :]
            if attributes.startswith("{") and not _WIDTH.match(attributes):
                raise LabError(
                    f"{place}: after a picture only a width can stand, as {{width=50%}}; correct it"
                )
            if "://" in name:
                raise LabError(
                    f"{place}: the picture {name} is on the network; save it into "
                    f"{answer.file.parent} and write its file name"
                )
            path = answer.file.parent / name
            if not path.is_file():
                raise LabError(
                    f"{place}: the picture {name} is not there; put it beside the file, or take "
                    "the line out"
                )
            kind = path.suffix.lower()
            if kind not in PICTURES or (kind != ".svg" and picture_size(path) is None):
                raise LabError(
                    f"{place}: {name} is no picture that can be shown; take a whole file of "
                    f"these kinds: {', '.join(PICTURES)}"
                )
            found.append((name, path))
    return found
