"""The report as Markdown: chapters in the words of one language, with what the members wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from helpers.machinery.files import LabError
from helpers.notebook.shown import Figure, Lines, Piece, Sentence, Table, Text
from helpers.notebook.words import Words, escaped
from tools.checks.labels import Shown
from tools.report import prompts
from tools.report.content import SETTING, sources_of
from tools.report.editions import Edition
from tools.report.prompts import REFERENCES, Answer
from tools.report.source import Run

TEXT_WIDTH = 17.0  # of a page, in cm
PARTED = 10_000  # a table with such a number parts the thousands of all
MOST_HEIGHT = 6.5  # of a figure, while its text stays legible
SMALLER, SMALLEST = 0.54, 0.43  # figures are drawn for the screen
PICTURES = "figures"  # the folder beside the Markdown that its pictures lie in


@dataclass
class Writer:
    """Writes chapters in one language; `pictures` collects the files that the text shows."""

    words: Words
    run: Run
    answers: Mapping[str, Sequence[Answer]]
    edition: Edition
    appendix: bool = True
    pictures: dict[str, Path] = field(default_factory=dict)  # name below PICTURES -> file
    vectors: dict[str, Path] = field(default_factory=dict)  # of these, what is to be printed

    def report(self, about: dict[str, Any], chapters: Mapping[str, Sequence[Shown]]) -> str:
        """The whole report, with what its first page says of it."""
        words, body, more = self.words, [], []
        asked = prompts.asked(words, self.edition)
        for title, sections in chapters.items():
            body.append(f"# {words.heading(title)}")
            for section in sections:
                if section.reported or section.name in asked:
                    body += self._section(section)
                if self.appendix and section.appended:
                    more += [f"##{self._heading(section)}"]  # small, and not in the contents
                    more += self._pieces(section, section.appended)
        if wrong := prompts.wrong_citations(self.answers, self._joined(body + more)):
            raise LabError(wrong[0])
        numbers: dict[str, int] = {}  # of the references, in the order of the text
        texts = [self._cited(self._joined(parts), numbers) for parts in (body, more)]
        kit = {"version": about["version"], "commit": self.run.summary.get("commit") or "unknown"}
        cited = [f"{n}. {REFERENCES[key].format_map(kit)}" for key, n in numbers.items()]
        parts = [self._front(about), texts[0], f"# {words.text('References')}", "\n".join(cited)]
        parts += [f"# {words.text('Appendix')} {{.appendix}}", texts[1]] if more else []
        return self._joined(parts) + "\n"

    @staticmethod
    def _joined(parts: Sequence[str]) -> str:
        return "\n\n".join(part.strip("\n") for part in parts if part)

    def _cited(self, text: str, numbers: dict[str, int]) -> str:
        """The text with links to figures and tables, and numbers of references, outside of code."""

        def link(match: re.Match[str]) -> str:
            kind, name = match.groups()
            if kind == "ref":
                return f"\\[{numbers.setdefault(name, len(numbers) + 1)}\\]"
            shown = self.words.text("Figure" if kind == "fig" else "Table")
            return f"[{shown}](#{prompts.anchor(kind, name)})"

        parts = prompts.BLOCK.split(text)  # every second one is code
        parts[::2] = [prompts.CITATION.sub(link, part) for part in parts[::2]]
        return "".join(parts)

    def _front(self, about: Mapping[str, Any]) -> str:
        """What the first page says, and a remark on what the kit has made."""
        said = Sentence(
            'Figures, tables and the sentences beside a grey line come from the run "{run}" of the '
            "course kit *musiclab* (version {version}); all other text is the members' own.",
            run=self.run.folder.name, version=about["version"],
        )  # fmt: skip
        authors = [f"{escaped(name)} ({number})" for name, number in about["members"]]
        made = {"edition": self.edition.name, "data": self.run.fingerprint}
        abstract = self.words.say(said)
        if self.run.is_demo or self.run.shortened:
            template = "**Not a result of the lab:** demo set or shortened profile; see Method."
            abstract += " " + self.words.say(Sentence(template))
        front = about | {"author": authors, "abstract": abstract, "made": made, "members": None}
        text = yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=1000)
        return f"---\n{text}---"

    def _heading(self, section: Shown) -> str:
        if not section.headings:
            return ""
        label, mark, text = section.headings[0].lstrip("# ").partition(" · ")
        if section.name in self.edition.labels:
            label = self.edition.labels.get(label, label)
        return f"## {self.words.heading(label + mark + text)}"

    def _section(self, section: Shown) -> Iterator[str]:
        """What the members wrote under a label, and what the run has to show for it."""
        yield self._heading(section)
        yield from (written := list(self._written(section.name)))
        if written or len(section.reported) > len(sources_of(section.name)):  # else of nothing
            yield from self._pieces(section, section.reported)

    def _pieces(self, section: Shown, pieces: Sequence[Piece]) -> Iterator[str]:
        """Pieces in Markdown; sentences are set apart, as the program's."""
        for is_text, group in groupby(pieces, key=lambda piece: isinstance(piece, Text)):
            texts = [self._piece(section, piece) for piece in group]
            said = self._joined(texts)
            if is_text and said:
                yield f'::: {{.measured custom-style="Block Text"}}\n{said}\n:::'
            elif not is_text:
                yield from texts

    def _piece(self, section: Shown, piece: Piece) -> str:
        """A piece in Markdown."""
        if isinstance(piece, Figure):
            return self._figure(section.notebook, piece)
        if isinstance(piece, Table):
            return self._table(piece, "" if piece is not first_table(section) else section.name)
        if isinstance(piece, Lines):
            source = self.words.say(Sentence("From `{file}`:", file=piece.file))
            language = "python" if piece.file.endswith(".py") else ""
            return f"::: excerpt\n{source}\n\n```{language}\n{piece.text.rstrip()}\n```\n:::"
        said = [self.words.say(s) for s in piece.sentences if speaks(s.template)]
        return "\n".join(f"- {s}" for s in said) if piece.is_list else "\n\n".join(said)

    def _figure(self, notebook: str, figure: Figure) -> str:
        """A figure with its caption, alt text, and the width that its own size asks for."""
        file, alt, width, height = self.run.figure(notebook, figure.name)
        name = f"{notebook}_{figure.name}.png"
        self.pictures[name] = file
        for folder in (file.parent, file.parent / self.words.language):  # the latter, if any
            if (vector := folder / f"{figure.name}.pdf").is_file():
                self.vectors[name] = vector
        low = max(SMALLEST, MOST_HEIGHT / height)
        width = min(SMALLER * width, low * width, TEXT_WIDTH)
        caption = self.words.say(figure.caption)
        if self.words.language != "en":  # the notebooks describe their figures in English
            alt = f"{caption} ({alt})"
        alt = alt.replace("\\", "/").replace('"', "'")
        anchor = prompts.anchor("fig", f"{notebook}/{figure.name}")
        attributes = f'#{anchor} width={width / TEXT_WIDTH:.0%} alt="{alt}"'
        return f"![{caption}]({PICTURES}/{name}){{{attributes}}}"

    def _table(self, table: Table, name: str) -> str:
        """A pipe table with its caption; columns of numbers stand at the right."""
        words = self.words
        numeric = [
            all(isinstance(row[n], float) or not speaks(str(row[n])) for row in table.rows)
            for n in range(len(table.columns))
        ]
        heads = [words.name(name) for name in table.columns]
        lines = [heads, ["--:" if right else ":--" for right in numeric]]
        counts = [cell for row in table.rows for cell in row if isinstance(cell, int)]
        whole = ",d" if max(counts, default=0) >= PARTED else "d"
        lines += [[words.value(c, f".{table.digits}f", whole) for c in row] for row in table.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        own = f" {{#{prompts.anchor('tab', name)}}}" if name else ""
        return f"{text}\n\n: {words.say(table.caption)}{own}"

    def _written(self, label: str) -> Iterator[str]:
        """What the members wrote under a label; below several questions, each with its answer."""
        answers = self.answers.get(label, ())
        for answer in answers:
            text = prompts.as_markdown(answer)
            for name, path in prompts.pictures_of(answer):
                own = "my_" + re.sub(r"[^\w.-]", "_", name)
                while self.pictures.setdefault(own, path) != path:  # a/b.png beside a_b.png
                    own = f"_{own}"
                text = text.replace(f"({name})", f"({PICTURES}/{own})")
            if len(answers) > 1 and answer.prompt.endswith(("?", ";")):
                yield f"*{answer.prompt}*"
            yield text


def first_table(section: Shown) -> Table | None:
    """What `@tab:LABEL` cites: the first table of the body that is no recipe."""
    tables = (piece for piece in section.reported if isinstance(piece, Table))
    return next((table for table in tables if table.columns[0] != SETTING), None)


def speaks(template: str) -> bool:
    """Whether a template says more than its values; `**{model}**` is a heading on the screen."""
    return bool(re.search(r"[^\W\d_]", re.sub(r"\{.*?\}", "", template)))
