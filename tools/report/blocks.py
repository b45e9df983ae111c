"""What a report is made of, before any language: chapters, sections, and the blocks in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.evaluation import Comparison


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

    Values are numbers, names, lists of names, scores, p-values, or sentences again.
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
    """A table: the name of its caption, column names, and rows of names, numbers or scores."""

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
    result: Comparison

    def sentence(self) -> Sentence:
        """What the comparison says, true whatever its numbers are."""
        names = {"first": self.first, "second": self.second, "what": self.what}
        result, score = self.result, self.result.difference
        if not score.defined:
            return Sentence("compare_undefined", names | {"reason": score.reason})
        several = result.n_compared > 1 and result.adjusted is not None
        corrected = {"p": PValue(result.adjusted or 0.0), "n": result.n_compared}
        side = "above" if score.value > 0 else "below" if score.value < 0 else "equal"
        values = {
            "size": abs(score.value),
            "low": score.low,
            "high": score.high,
            "p": PValue(result.p_value),
            "holm": Sentence("compare_holm", corrected) if several else "",
            "verdict": Sentence("compare_clear" if result.clear else "compare_chance"),
        }
        return Sentence(f"compare_{side}", names | values)
