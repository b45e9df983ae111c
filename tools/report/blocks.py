"""What a report is made of, before any language: chapters, sections, and the blocks in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SIGNIFICANCE = 0.05  # as in helpers/evaluation.py, which takes seconds to import


@dataclass(frozen=True)
class Measure:
    """A metric with its 95 % interval; `reason` says why when it is undefined (NaN)."""

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @property
    def rank(self) -> float:
        """What sorts the best first, and what is undefined last."""
        return math.inf if math.isnan(self.value) else -self.value


@dataclass(frozen=True)
class PValue:
    """A p-value, written as `= 0.012` or `< 0.001`."""

    value: float


@dataclass(frozen=True)
class Literal:
    """A text of the machine's (a version, a fingerprint): shown as it is."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """A measured sentence: the name of its template, and what is filled in.

    Values are numbers, names, lists of names, measures, p-values, or sentences again.
    """

    key: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A stored figure: `picture` is its PNG, `vector` its PDF (or the PNG where there is none)."""

    notebook: str
    name: str
    picture: Path
    vector: Path
    alt: str
    width: float  # in cm, as it was drawn
    height: float


@dataclass(frozen=True)
class Table:
    """A table: the name of its caption, column names, and rows of names, numbers or measures."""

    key: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    digits: int = 3
    values: Mapping[str, object] = field(default_factory=dict)  # for the caption


@dataclass(frozen=True)
class Code:
    """An excerpt of code or of a text file, with the file that it is from."""

    text: str
    source: str
    language: str = ""


@dataclass(frozen=True)
class Formula:
    """A displayed formula, in LaTeX."""

    latex: str


Block = Sentence | Figure | Table | Code | Formula


@dataclass(frozen=True)
class Section:
    """What is shown under one label, or under an own heading of the report (no label)."""

    name: str
    blocks: Sequence[Block]
    notebook: str = ""  # whose label it is; empty for headings of the report's own


@dataclass(frozen=True)
class Chapter:
    """One step of the lab, or a chapter at the end."""

    name: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Difference:
    """A row of comparisons.csv: two models on the same clips, first minus second."""

    notebook: str
    first: str
    second: str
    what: str
    difference: Measure
    p: float
    p_holm: float
    n_compared: int

    @property
    def clear(self) -> bool:
        """True when the interval leaves out 0 and the corrected p-value is below 0.05."""
        p = self.p if math.isnan(self.p_holm) else self.p_holm
        away = self.difference.low > 0 or self.difference.high < 0
        return away and p < SIGNIFICANCE

    def sentence(self) -> Sentence:
        """What the comparison says, true whatever its numbers are."""
        names = {"first": self.first, "second": self.second, "what": self.what}
        value = self.difference.value
        if math.isnan(value):
            return Sentence("compare_undefined", names | {"reason": self.difference.reason})
        corrected = {"p": PValue(self.p_holm), "n": self.n_compared}
        several = self.n_compared > 1 and not math.isnan(self.p_holm)
        side = "above" if value > 0 else "below" if value < 0 else "equal"
        values = {
            "size": abs(value),
            "low": self.difference.low,
            "high": self.difference.high,
            "p": PValue(self.p),
            "holm": Sentence("compare_holm", corrected) if several else "",
            "verdict": Sentence("compare_clear" if self.clear else "compare_chance"),
        }
        return Sentence(f"compare_{side}", names | values)
