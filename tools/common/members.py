"""The members of a team as they are given on the command line: `"Name One, 03112345"`."""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.machinery.files import LabError

MOST_MEMBERS = 2
_EXAMPLE = '--members "Maria Papadopoulou, 03112345"'
_NUMBER = re.compile(r"[0-9]{4,12}")


@dataclass(frozen=True)
class Member:
    """One author of the report: the name as written, and the student number, digits only."""

    name: str
    number: str


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--members` to a command; what it takes is for `parse_members`."""
    parser.add_argument(
        "--members",
        metavar='"NAME, NUMBER"',
        nargs="+",
        default=[],
        help='one or two, each in quotes: "Name One, 03112345" "Name Two, 03154321"',
    )


def parse_members(words: Sequence[str]) -> list[Member]:
    """One or two members from words such as `Name One, 03112345`; names of any alphabet.

    Raises LabError for no or too many members, for one without a name or number, for a number with
    anything but digits, and for the same number twice.
    """
    if not words:
        raise LabError(f"no members named; write for example {_EXAMPLE}")
    if len(words) > MOST_MEMBERS:
        raise LabError(f"{len(words)} members named; a team has one or two, name those")
    members = [_member(word) for word in words]
    if len({member.number for member in members}) < len(members):
        raise LabError(f"both members have the number {members[0].number}; correct one of them")
    return members


def _member(word: str) -> Member:
    name, comma, number = (part.strip() for part in word.rpartition(","))
    if not comma or not number:
        raise LabError(f"member {word!r}: no number after a comma; write for example {_EXAMPLE}")
    # Composed, so that an accent typed apart from its letter is the same name, and without marks
    # that nobody sees but that turn what stands beside them around (right-to-left overrides).
    name = "".join(c for c in name if unicodedata.category(c) != "Cf")
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not any(letter.isalpha() for letter in name):
        raise LabError(f"member {word!r}: no name before the comma; write for example {_EXAMPLE}")
    if not name.isprintable():
        raise LabError(f"member {word!r}: the name holds characters that cannot be printed")
    if not _NUMBER.fullmatch(number):
        raise LabError(
            f"member {name}: the number {number!r} must be 4 to 12 digits, without letters or "
            f"spaces; write for example {_EXAMPLE}"
        )
    return Member(name, number)
