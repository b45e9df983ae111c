"""What the kit says in English, said again in another language, and numbers as written there.

English is the language of the code and the notebooks. Another language is a catalogue of its
sentences, captions, headings, names and texts of figures, `languages/<language>.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from helpers.evaluation import Score
from helpers.machinery.files import LabError, did_you_mean
from helpers.notebook.shown import Sentence

FOLDER = Path(__file__).parent / "languages"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads it in a tenth of the time
DECIMAL_COMMA = ("el",)
_HOLE = re.compile(r"\\\{\d\\\}")  # {1}, {2} in an escaped template
_WORD = re.compile(r"[^\W\d_]{3}")
_NUMBER = re.compile(r"(?<![\w.,])\d+(,\d{3})*(\.\d+)?(?!\w|\.\d)")
_MINUS = re.compile(r"(?<![\w.,)])-(?=\d)")
# What Markdown would read as its own. Underscores inside a word are safe.
_SPECIAL = re.compile(r"([\\`*\[\]<>|#$^~@{}]|(?<!\w)_|_(?!\w))")


# Of a report and its figures, English first.
LANGUAGES = ["en", *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def escaped(text: str) -> str:
    """A text so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", text)


class Words:
    """One language. Raises LabError for one that there is not."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise LabError(
                f"unknown language {language!r}{did_you_mean(language, LANGUAGES)}; known: "
                f"{', '.join(LANGUAGES)}"
            )
        self.language = language
        catalogue = {} if language == "en" else _read(language)
        self.texts: dict[str, str] = catalogue.get("texts", {})
        self.names: dict[str, str] = catalogue.get("names", {})
        self._patterns = [(re.compile(p), text) for p, text in catalogue.get("patterns", [])]
        # Templates of figures' texts, the longest first: what says more fits fewer texts.
        self.figures = dict(sorted(catalogue.get("drawn", {}).items(), key=lambda i: -len(i[0])))
        holes = ((_HOLE.sub("(.+?)", re.escape(english)), t) for english, t in self.figures.items())
        self._drawn = [(re.compile(pattern), text) for pattern, text in holes]
        self.left: set[str] = set()  # what `drawn` was given and the catalogue lacks

    def text(self, english: str) -> str:
        """A fixed text; in English where the catalogue, newer or older than a run, lacks it."""
        return self.texts.get(english, english)

    def heading(self, english: str) -> str:
        """A heading, which may begin with a label: `5γ · LSTM on mel spectrograms`."""
        if english in self.texts:
            return self.texts[english]
        label, between, text = english.rpartition(" · ")
        return f"{label}{between}{self.text(text)}"

    def say(self, sentence: Sentence) -> str:
        """A measured sentence, in Markdown; a space at its beginning stays."""
        text = self.text(sentence.template)
        if sentence.values:
            values = {name: _Value(self, value) for name, value in sentence.values.items()}
            # In code a name stays as it is.
            parts = enumerate(text.split("`"))
            text = "`".join(p.format_map(sentence.values if n % 2 else values) for n, p in parts)
        return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("R2", "R²")

    def name(self, name: str) -> str:
        """A name in this language; what has no translation stays as it is."""
        return self._found(name, self.names, self._patterns, escaped).replace("R2", "R²")

    def drawn(self, text: str) -> str:
        """A text of a figure, which is no Markdown, with the numbers in it; TeX stays as it is."""
        how = (self.names | self.figures, [*self._drawn, *self._patterns], self._left)
        return "\n".join(n if "$" in n else self._found(n, *how) for n in text.split("\n"))

    def _left(self, text: str) -> str:
        """What no catalogue has: a name, or numbers."""
        if _WORD.search(text):
            self.left.add(text)
        text = _MINUS.sub("\N{MINUS SIGN}", text).replace("R2", "R²")
        return _NUMBER.sub(lambda found: self._with_sign(found[0]), text)

    def _found(
        self, name: str, names: dict[str, str], patterns: list[Any], other: Callable[[str], str]
    ) -> str:
        """A name, or what a pattern makes of it and of the names in it; else what `other` does."""
        if name in names:
            return names[name]
        for pattern, text in patterns:
            if match := pattern.fullmatch(name):
                parts = (self._found(part, names, patterns, other) for part in match.groups())
                return text.format("", *parts)
        return other(name)

    def value(self, value: object, form: str = ".3f", whole: str = "d") -> str:
        """A value of a table or sentence; `form` is for numbers that are not whole."""
        if isinstance(value, bool):
            return self.text("yes" if value else "no")
        if isinstance(value, int):
            return self.number(value, whole)
        if isinstance(value, float):
            return self.number(value, form)
        if isinstance(value, Score):
            return self.score(value, form)
        return self.say(value) if isinstance(value, Sentence) else self.name(str(value))

    def number(self, value: float, form: str) -> str:
        """A number in Python's format, with this language's decimal sign and a real minus."""
        if math.isnan(value):
            return self.text("undefined")
        text = format(value, form)
        text = text.lstrip("-") if not re.search("[1-9a-z]", text) else text  # no "-0.00"
        text = text.replace("%", "\N{NO-BREAK SPACE}%")
        return self._with_sign(text).replace("-", "\N{MINUS SIGN}")

    def _with_sign(self, number: str) -> str:
        """A number as Python writes it, with this language's decimal sign."""
        commas = self.language in DECIMAL_COMMA
        return number.translate(str.maketrans(".,", ",.")) if commas else number

    def score(self, score: Score, form: str = ".3f") -> str:
        """A metric with its interval, or why it is undefined."""
        value = self.number(score.value, form)
        if math.isnan(score.value):
            return f"{value} ({self.name(score.reason)})" if score.reason else value
        if math.isnan(score.low):
            return value
        between = "; " if self.language in DECIMAL_COMMA else ", "
        ends = between.join(self.number(end, form) for end in (score.low, score.high))
        return f"{value} \\[{ends}\\]"


class _Value:
    """A value in a template; `{value:.3f}` writes it in the template's language."""

    def __init__(self, words: Words, value: Any) -> None:
        self._words, self._value = words, value

    def __format__(self, form: str) -> str:
        words, value = self._words, self._value
        if isinstance(value, list):
            return (form or ", ").join(map(words.value, value)) or words.text("none")
        return words.number(value, form) if form else words.value(value)


@cache
def _read(language: str) -> dict[str, Any]:
    return yaml.load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"), _LOADER)
