"""The editions of the handout: what they call the labels, what they leave out and accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tools.checks.labels import read_labels

EDITIONS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
DEFAULT = "2021"


@dataclass(frozen=True)
class Edition:
    """One edition of the handout: its labels from docs/labels.csv, all else from editions.yaml."""

    name: str
    zip: str
    exercise: int
    notebooks: bool
    labels: dict[str, str] = field(default_factory=dict)  # what it calls the kit's
    titles: dict[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()  # the kit's labels that it does not ask


def edition_of(name: str = DEFAULT) -> Edition:
    """The edition of this year."""
    numbers = {label.name: label.numbers[name] for label in read_labels()}
    left_out = [label for label, number in numbers.items() if not number]
    return Edition(name, labels=numbers, left_out=left_out, **EDITIONS[name])
