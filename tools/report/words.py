"""The report's languages: fixed phrases, templates of sentences, names, and numbers as written.

Everything that differs between languages lies in `languages/<language>.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from helpers.evaluation import Score
from helpers.machinery.files import LabError, did_you_mean
from tools.checks.labels import label_headings
from tools.report.blocks import Literal, PValue, Sentence

FOLDER = Path(__file__).parent / "languages"
DECIMAL_COMMA = ("el",)
# What Markdown would read as its own. Underscores inside a word are safe.
_SPECIAL = re.compile(r"([\\`*\[\]<>|#$^~@{}]|(?<!\w)_|_(?!\w))")


def languages() -> list[str]:
    """The languages that a report can be written in."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if "_" not in path.stem)


def escaped(text: str) -> str:
    """A text so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", text)


class Words:
    """One language. Raises LabError for one that there is not."""

    def __init__(self, language: str) -> None:
        if language not in languages():
            raise LabError(
                f"unknown language {language!r}{did_you_mean(language, languages())}; known: "
                f"{', '.join(languages())}"
            )
        self.language = language
        self._data = _read(language)
        self._patterns = [(re.compile(p), text) for p, text in self._data["patterns"]]

    @cached_property
    def prompts(self) -> dict[str, Any]:
        """What the members are asked: `title`, `mark`, `head`, and `prompts` by label."""
        return _read(f"prompts_{self.language}")

    def phrase(self, name: str) -> str:
        """A fixed phrase."""
        return self._data["phrases"][name]

    def chapter(self, name: str) -> str:
        """The title of a chapter."""
        return self._data["chapters"][name]

    def heading(self, name: str) -> str:
        """The heading of a section, by its label or name; in English, that of the notebook."""
        own = self._data["headings"]
        return (label_headings() | own if self.language == "en" else own)[name]

    def figure(self, notebook: str, name: str) -> str:
        """The caption of a figure."""
        return self._data["figures"][f"{notebook}/{name}"]

    def table(self, key: str, values: dict[str, object] | None = None) -> str:
        """The caption of a table."""
        return self._filled(self._data["tables"][key], values or {})

    def say(self, sentence: Sentence) -> str:
        """A measured sentence, in Markdown."""
        return self._filled(self._data["sentences"][sentence.key], sentence.values).strip()

    def term(self, name: str) -> str:
        """A name in this language; what has no translation stays as it is."""
        known = self._data["terms"].get(name)
        if known is not None:
            return known
        for pattern, text in self._patterns:
            match = pattern.fullmatch(name)
            if match:
                groups = {str(i): self.term(g) for i, g in enumerate(match.groups(), 1)}
                return _with_groups(text, groups)
        return escaped(name)

    def cell(self, value: object, digits: int = 3) -> str:
        """A value as it stands in a table: numbers rounded to these digits."""
        if isinstance(value, bool | int):
            return self.number(value, "d")
        if isinstance(value, float):
            return self.number(value, f".{digits}f")
        if isinstance(value, Score):
            return self.score(value, digits)
        if isinstance(value, Literal):
            return escaped(value.text)
        return self.term(str(value))

    def number(self, value: float, form: str) -> str:
        """A number in Python's format, with this language's decimal sign and a real minus."""
        if math.isnan(value):
            return self.phrase("undefined")
        text = format(value, form)
        if self.language in DECIMAL_COMMA:
            text = text.translate(str.maketrans(".,", ",."))
        return text.replace("-", "\N{MINUS SIGN}")

    def score(self, score: Score, digits: int = 3) -> str:
        """A metric with its interval, or why it is undefined."""
        form = f".{digits}f"
        value = self.number(score.value, form)
        if math.isnan(score.value):
            return f"{value} ({self.term(score.reason)})" if score.reason else value
        if math.isnan(score.low):
            return value
        between = "; " if self.language in DECIMAL_COMMA else ", "
        ends = between.join(self.number(end, form) for end in (score.low, score.high))
        return f"{value} \\[{ends}\\]"

    def p_value(self, p: PValue) -> str:
        """`= 0.012`, or `< 0.001` for a smaller one."""
        if p.value >= 0.0005 or math.isnan(p.value):
            return f"= {self.number(p.value, '.3f')}"
        return f"\\< {self.number(0.001, '.3f')}"

    def _filled(self, template: str, values: Any) -> str:
        text = template.format_map({name: _Value(self, value) for name, value in values.items()})
        return text.replace(" %", "\N{NO-BREAK SPACE}%")


class _Value:
    """A value in a template; `{value:.3f}` writes it in the template's language."""

    def __init__(self, words: Words, value: object) -> None:
        self._words, self._value = words, value

    def __format__(self, form: str) -> str:
        words, value = self._words, self._value
        if isinstance(value, int | float):
            return words.number(value, form or ("d" if isinstance(value, int) else ".3f"))
        if isinstance(value, Sentence):
            return _unfinished(words, value)
        if isinstance(value, PValue):
            return words.p_value(value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return ", ".join(words.cell(item) for item in value) or words.phrase("nothing")
        return words.cell(value)


def _unfinished(words: Words, sentence: Sentence) -> str:
    """A part of a sentence: unlike `say`, a space at its beginning stays."""
    return words._filled(words._data["sentences"][sentence.key], sentence.values)


def _with_groups(text: str, groups: dict[str, str]) -> str:
    return re.sub(r"\{(\d)\}", lambda match: groups[match[1]], text)


def _read(name: str) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
