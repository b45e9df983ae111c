"""The members on the command line: who may stand there, and what is said of a slip."""

from __future__ import annotations

import pytest

from helpers.machinery.files import LabError
from tools.common.members import Member, parse_members


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Μαρία Παπαδοπούλου,03112345", "Μαρία Παπαδοπούλου"),
        ("  Jane  O'Neil-Δήμου , 03112345 ", "Jane O'Neil-Δήμου"),
        ("Μαρι\u0301α, 03112345", "Μαρ\u03afα"),  # an accent typed apart from its letter
        ("Smith, Jane, 03112345", "Smith, Jane"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}דנה\N{RIGHT-TO-LEFT MARK} Levi, 03112345", "דנה Levi"),
    ],
)
def test_a_name_may_be_of_any_alphabet(word, name):
    assert parse_members([word]) == [Member(name, "03112345")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no members named"),
        (["A, 03112345", "B, 03112346", "C, 03112347"], "3 members named; a team has one or two"),
        (["Name One"], "'Name One': no number after a comma"),
        (["Name One 03112345"], "no number after a comma"),
        ([", 03112345"], "no name before the comma"),
        (["Name One, el12345"], "Name One: the number 'el12345' must be 4 to 12 digits"),
        (["Name One, 031 12345"], "the number '031 12345' must be 4 to 12 digits"),
        (["Name One, ٠٣١١٢٣٤٥"], "must be 4 to 12 digits"),
        (["A\nB, 03112345", "Name\x1bTwo, 03154321"], "cannot be printed"),
        (["Name One, 03112345", "Name Two, 03112345"], "both members have the number 03112345"),
    ],
)
def test_a_slip_is_one_line_that_says_what_to_do(words, message):
    with pytest.raises(LabError, match=message):
        parse_members(words)
