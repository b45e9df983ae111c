"""The editions of the handout: what they call the labels, what more they ask, what they accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.checks.labels import Shown, label_headings

EDITIONS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
DEFAULT = "2021"


@dataclass(frozen=True)
class Edition:
    """One edition of the handout; `editions.yaml` says what its fields are."""

    name: str
    zip: str
    exercise: int
    notebooks: bool
    labels: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)

    def headings(self) -> dict[str, str]:
        """The heading of each label, in the kit's English, without the label."""
        return label_headings() | {name: e["heading"] for name, e in self.extra.items()}

    def applied(self, sections: Iterable[Shown]) -> list[Shown]:
        """The kit's sections without those that this edition does not ask, and what it adds."""
        found = [s for s in sections if s.name not in self.left_out]
        for name, extra in self.extra.items():
            places = [n for n, section in enumerate(found) if section.name == extra["after"]]
            found.insert(places[-1] + 1, Shown(name, headings=[f"{name} · {extra['heading']}"]))
        return found


def edition_of(name: str = DEFAULT) -> Edition:
    """The edition of this year."""
    return Edition(name, **EDITIONS[name])
