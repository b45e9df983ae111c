"""What a notebook has shown, as data: sentences, tables, figures and lines of text.

Each output carries it in its metadata, under `KEY`, and the report is made from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from helpers.evaluation import Score

KEY = "musiclab"  # of an output's metadata


class Sentence:
    """A sentence of this run, in two parts: an English template, and the values that fill it.

    Kept apart, so that the report can say the same in another language. A value is a number, a
    name, a score, a sentence again, or a list of these: `{names}` puts commas between them,
    `{names:; }` what stands behind the colon, and an empty list reads `none`. Without values the
    template is the text, as it is.
    """

    def __init__(self, template: str, /, **values: Any) -> None:
        self.template, self.values = template, values

    def __str__(self) -> str:
        if not self.values:
            return self.template
        values = {n: _Several(v) if isinstance(v, list) else v for n, v in self.values.items()}
        return self.template.format_map(values)


class _Several(list):
    """A list in a sentence; its format is what stands between the items."""

    def __format__(self, between: str) -> str:
        return (between or ", ").join(map(str, self)) or "none"


@dataclass(frozen=True)
class Text:
    """Sentences that were shown together: the points of a list, or each a paragraph."""

    sentences: Sequence[Sentence]
    is_list: bool = False


@dataclass(frozen=True)
class Table:
    """A table: column names, and rows of names, numbers or scores."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: Sentence
    digits: int = 3


@dataclass(frozen=True)
class Figure:
    """A figure, by the name that it is stored under."""

    name: str
    caption: Sentence


@dataclass(frozen=True)
class Lines:
    """Lines of a file, code or text."""

    text: str
    file: str


Piece = Text | Table | Figure | Lines
_KINDS = {kind.__name__: kind for kind in (Score, Text, Table, Figure, Lines)}


def stored(value: Any) -> Any:
    """A piece, or a value of one, as JSON; numbers that are not finite become null."""
    value = value.item() if hasattr(value, "item") else value  # of NumPy or PyTorch
    if isinstance(value, Sentence):
        values = {name: stored(part) for name, part in value.values.items()}
        return {"template": value.template, "values": values}
    if is_dataclass(value):
        parts = {field.name: stored(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__, **parts}
    if isinstance(value, list | tuple):
        return [stored(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else str(value)


def from_stored(value: Any) -> Any:
    """What `stored` was given; null is NaN."""
    if value is None:
        return math.nan
    if isinstance(value, list):
        return [from_stored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "template" in value:
        values = {name: from_stored(part) for name, part in value["values"].items()}
        return Sentence(value["template"], **values)
    parts = {name: from_stored(part) for name, part in value.items() if name != "kind"}
    return _KINDS[value["kind"]](**parts)
