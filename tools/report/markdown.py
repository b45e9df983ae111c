"""The report as Markdown: chapters in the words of one language, with what the members wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.common.notebooks import Lab
from tools.report import prompts
from tools.report.blocks import Block, Chapter, Code, Figure, Formula, Section, Sentence, Table
from tools.report.members import Member
from tools.report.prompts import Answer
from tools.report.references import PAPERS, handout_links
from tools.report.words import Words, escaped

TEXT_WIDTH = 17.0  # of a page, in cm
MOST_HEIGHT, MOST_HEIGHT_UPRIGHT = 13.0, 18.0  # of a figure, and of one much higher than wide
SMALLER = 0.75  # figures are drawn for the screen
PICTURES = "figures"  # the folder beside the Markdown that its pictures lie in
NO_PREFIX = ("rules",)  # labels that are no name of a sub-question
_NUMERIC = (int, float)


@dataclass(frozen=True)
class Title:
    """What stands on the first page."""

    members: Sequence[Member]
    run: str
    version: str  # of the kit
    date: str


@dataclass
class Writer:
    """Writes chapters in one language; `pictures` collects the files that the text shows."""

    words: Words
    answers: Mapping[str, Sequence[Answer]]
    kit_text: bool = False
    lab: Lab = field(default_factory=Lab)
    pictures: dict[str, Path] = field(default_factory=dict)  # name below PICTURES -> file
    vectors: dict[str, Path] = field(default_factory=dict)  # the same for print

    def report(self, title: Title, chapters: Sequence[Chapter]) -> str:
        """The whole report, with its front matter."""
        parts = [self._front(title)]
        for chapter in chapters:
            parts.append(f"# {self.words.chapter(chapter.name)}")
            for section in chapter.sections:
                if section.blocks or section.notebook:
                    parts += self._section(section)
        parts += self._references(title)
        return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def _front(self, title: Title) -> str:
        """The title and authors for every format, and a remark on what the kit has made."""
        import yaml

        words = self.words
        authors = [f"{escaped(member.name)} ({member.number})" for member in title.members]
        said = words.phrase("made_with").format(run=escaped(title.run), version=title.version)
        front = {
            "title": words.phrase("title"),
            "subtitle": f"{words.phrase('course')}, {words.phrase('school')}",
            "author": authors,
            "date": title.date,
            "lang": words.language,
            "toc-title": words.phrase("contents"),
            "abstract": said,
        }
        text = yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=1000)
        return f"---\n{text}---"

    def _section(self, section: Section) -> Iterator[str]:
        label = section.name.split()[0] if section.notebook else ""
        prefix = f"{label} · " if label and label not in NO_PREFIX else ""
        yield f"## {prefix}{self.words.heading(section.name)}"
        blocks = [*self._blocks(section.blocks)]
        written = [*self._written(section.name)] if section.notebook else []
        kit = [*self._kit(section)] if self.kit_text and section.notebook else []
        yield from [*blocks, *written, *kit] or [f"*{self.words.phrase('no_answer')}*"]

    def _blocks(self, blocks: Sequence[Block]) -> Iterator[str]:
        """The blocks in Markdown; more than two sentences in a row become a list."""
        row: list[str] = []
        for block in [*blocks, None]:
            if isinstance(block, Sentence):
                row.append(self.words.say(block))
                continue
            if row:
                yield "\n".join(f"- {text}" for text in row) if len(row) > 2 else "\n\n".join(row)
                row = []
            if isinstance(block, Figure):
                yield self._figure(block)
            elif isinstance(block, Table):
                yield self._table(block)
            elif isinstance(block, Code):
                source = self.words.phrase("from_file").format(source=block.source)
                code = f"```{block.language}\n{block.text}\n```"
                yield f"::: excerpt\n{source}\n\n{code}\n:::"
            elif isinstance(block, Formula):
                yield f"$$\n{block.latex}\n$$"

    def _figure(self, figure: Figure) -> str:
        """A figure with its caption, alt text, and the width that its own size asks for."""
        name = f"{figure.notebook}_{figure.name}.png"
        self.pictures[name], self.vectors[name] = figure.picture, figure.vector
        upright = figure.height > 1.2 * figure.width
        most = (MOST_HEIGHT_UPRIGHT if upright else MOST_HEIGHT) / figure.height
        width = min(SMALLER * figure.width, TEXT_WIDTH, most * figure.width)
        caption = self.words.figure(figure.notebook, figure.name)
        alt = figure.alt
        if self.words.language != "en":  # the notebooks describe their figures in English
            alt = f"{caption} ({alt})"
        alt = alt.replace("\\", "/").replace('"', "'")
        attributes = f'width={width / TEXT_WIDTH:.0%} alt="{alt}"'
        return f"![{caption}]({PICTURES}/{name}){{{attributes}}}"

    def _table(self, table: Table) -> str:
        """A pipe table with its caption; columns of numbers stand at the right."""
        words = self.words
        numeric = [
            all(isinstance(row[column], _NUMERIC) for row in table.rows)
            for column in range(len(table.columns))
        ]
        heads = [words.term(name) if name else "" for name in table.columns]
        lines = [heads, ["--:" if right else ":--" for right in numeric]]
        lines += [[words.cell(value, table.digits) for value in row] for row in table.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{text}\n\n: {words.table(table.key, dict(table.values))}"

    def _written(self, label: str) -> Iterator[str]:
        """What the members wrote under a label; below several questions, each with its answer."""
        answers = self.answers.get(label, ())
        if not answers:
            return
        yield f"#### {self.words.phrase('interpretation')}"
        for answer in answers:
            text = prompts.as_markdown(answer)
            for name, path in prompts.pictures_of(answer):
                own = "my_" + re.sub(r"[^\w.-]", "_", name)
                self.pictures[own] = self.vectors[own] = path
                text = text.replace(f"({name})", f"({PICTURES}/{own})")
            if len(answers) > 1 and answer.prompt.endswith(("?", ";")):
                yield f"*{answer.prompt}*"
            yield text

    def _kit(self, section: Section) -> Iterator[str]:
        """The kit's own answers to a label, marked as such."""
        texts = kit_answers(self.lab, section.notebook, section.name)
        if texts:
            said = f"#### {self.words.phrase('kit_says')}"
            yield "\n\n".join(["::: {.kit lang=en}", said, *texts, ":::"])

    def _references(self, title: Title) -> Iterator[str]:
        words = self.words
        kit = words.phrase("kit_reference").format(version=title.version)
        yield f"# {words.chapter('references')}"
        yield "\n".join(f"- {text}" for text in (kit, *PAPERS))
        yield f"## {words.phrase('handout_links')}"
        yield "\n".join(f"- {name}: <{address}>" for name, address in handout_links())


def kit_answers(lab: Lab, notebook: str, label: str) -> list[str]:
    """The kit's text on a label: the cell that opens its section, and those tagged `solution`.

    Without headings, which the report has its own of.
    """
    number = "6 · The questions" if label == "6 questions" else f"{label} · "
    texts, inside = [], False
    for cell in lab.read(notebook).cells:
        if cell["cell_type"] != "markdown":
            continue
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        opens = source.startswith("## ")
        if opens:
            inside = source.startswith(f"## {number}")
        if inside and (opens or "solution" in cell.get("metadata", {}).get("tags", [])):
            text = re.sub(r"^#+ .*\n?", "", source, flags=re.MULTILINE).strip()
            texts += [text] if text else []
    return texts
