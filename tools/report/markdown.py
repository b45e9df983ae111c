"""The report as Markdown: chapters in the words of one language, with what the members wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.notebook.shown import Figure, Lines, Piece, Sentence, Table
from tools.checks.labels import Shown, label_headings
from tools.report import prompts
from tools.report.prompts import Answer
from tools.report.references import PAPERS, handout_links
from tools.report.source import Run
from tools.report.words import Words, escaped

TEXT_WIDTH = 17.0  # of a page, in cm
MOST_HEIGHT, MOST_HEIGHT_UPRIGHT = 13.0, 18.0  # of a figure, and of one much higher than wide
SMALLER = 0.75  # figures are drawn for the screen
PICTURES = "figures"  # the folder beside the Markdown that its pictures lie in
_NUMERIC = (int, float)


@dataclass
class Writer:
    """Writes chapters in one language; `pictures` collects the files that the text shows."""

    words: Words
    run: Run
    answers: Mapping[str, Sequence[Answer]]
    kit_text: bool = False
    pictures: dict[str, Path] = field(default_factory=dict)  # name below PICTURES -> file
    vectors: dict[str, Path] = field(default_factory=dict)  # of these, what is to be printed

    def report(self, about: dict[str, Any], chapters: Mapping[str, Sequence[Shown]]) -> str:
        """The whole report, with what its first page says of it."""
        parts = [self._front(about)]
        for name, sections in chapters.items():
            parts.append(f"# {self.words.heading(name)}")
            for section in sections:
                parts += self._section(section)
        parts += self._references(about["version"])
        return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def _front(self, about: dict[str, Any]) -> str:
        """The title and authors for every format, and a remark on what the kit has made."""
        import yaml

        words = self.words
        said = Sentence(
            'Figures, tables and measured sentences come from the run "{run}" of the course kit '
            "*musiclab* (version {version}), which was used as supplied; the interpretation is the "
            "members' own.",
            run=self.run.folder.name, version=about["version"],
        )  # fmt: skip
        front = {
            "title": about["title"],
            "subtitle": about["description"],
            "author": [f"{escaped(m['name'])} ({m['number']})" for m in about["members"]],
            "date": about["date"],
            "lang": about["lang"],
            "toc-title": words.text("Contents"),
            "abstract": words.say(said),
        }
        text = yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=1000)
        return f"---\n{text}---"

    def _section(self, section: Shown) -> Iterator[str]:
        yield f"## {self.words.heading(section.headings[0].lstrip('# '))}"
        shown = [self._piece(section.notebook, piece) for piece in section.reported]
        written = [*self._written(section.name)]
        labelled = section.name in label_headings()
        kit = [*self._kit(section.answers)] if self.kit_text and labelled else []
        yield from [*shown, *written, *kit] or [f"*{self.words.text('(Nothing written yet.)')}*"]

    def _piece(self, notebook: str, piece: Piece) -> str:
        """A piece in Markdown."""
        if isinstance(piece, Figure):
            return self._figure(notebook, piece)
        if isinstance(piece, Table):
            return self._table(piece)
        if isinstance(piece, Lines):
            source = self.words.say(Sentence("From `{file}`:", file=piece.file))
            language = "python" if piece.file.endswith(".py") else ""
            return f"::: excerpt\n{source}\n\n```{language}\n{piece.text.rstrip()}\n```\n:::"
        said = [self.words.say(s) for s in piece.sentences if speaks(s.template)]
        return "\n".join(f"- {s}" for s in said) if piece.is_list else "\n\n".join(said)

    def _figure(self, notebook: str, figure: Figure) -> str:
        """A figure with its caption, alt text, and the width that its own size asks for."""
        stored, name = self.run.figure(notebook, figure.name), f"{notebook}_{figure.name}.png"
        self.pictures[name] = stored.file
        if stored.file.with_suffix(".pdf").is_file():
            self.vectors[name] = stored.file.with_suffix(".pdf")
        upright = stored.height > 1.2 * stored.width
        most = (MOST_HEIGHT_UPRIGHT if upright else MOST_HEIGHT) / stored.height
        width = min(SMALLER * stored.width, TEXT_WIDTH, most * stored.width)
        caption, alt = self.words.say(figure.caption), stored.alt
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
        heads = [words.name(name) for name in table.columns]
        lines = [heads, ["--:" if right else ":--" for right in numeric]]
        form = f".{table.digits}f"
        lines += [[words.value(cell, form) for cell in row] for row in table.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{text}\n\n: {words.say(table.caption)}"

    def _written(self, label: str) -> Iterator[str]:
        """What the members wrote under a label; below several questions, each with its answer."""
        answers = self.answers.get(label, ())
        if not answers:
            return
        yield f"#### {self.words.text('Our interpretation')}"
        for answer in answers:
            text = prompts.as_markdown(answer)
            for name, path in prompts.pictures_of(answer):
                own = "my_" + re.sub(r"[^\w.-]", "_", name)
                self.pictures[own] = path
                text = text.replace(f"({name})", f"({PICTURES}/{own})")
            if len(answers) > 1 and answer.prompt.endswith(("?", ";")):
                yield f"*{answer.prompt}*"
            yield text

    def _kit(self, texts: Sequence[str]) -> Iterator[str]:
        """The kit's own answers to a label, marked as such."""
        if texts:
            said = f"#### {self.words.text('Text of the kit, not of the members')}"
            yield "\n\n".join(["::: {.kit lang=en}", said, *texts, ":::"])

    def _references(self, version: str) -> Iterator[str]:
        words = self.words
        kit = Sentence(
            "*musiclab* {version}, a course kit for music classification from spectrograms (MIT "
            "licence): the notebooks, the library `helpers` and this report's figures, tables and "
            "measured sentences.",
            version=version,
        )
        yield f"# {words.text('References')}"
        yield f"- {words.say(kit)}\n{PAPERS.read_text(encoding='utf-8')}"
        yield f"## {words.text('Links of the handouts')}"
        yield "\n".join(f"- {name}: <{address}>" for name, address in handout_links())


def speaks(template: str) -> bool:
    """Whether a template says more than its values; `**{model}**` is a heading on the screen."""
    return bool(re.search(r"[^\W\d_]", re.sub(r"\{.*?\}", "", template)))
