"""The rule that code is commented: what it lets pass, and how it names what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.common.notebooks import ROOT
from tools.hand_in.command import code_problems
from tools.hand_in.commented import uncommented

LONG = "\n".join(f"a{number} = {number}" for number in range(6))


def said(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "some.py"
    path.write_text(text, encoding="utf-8")
    return uncommented(path, "py/some.py")


@pytest.mark.parametrize(
    "text",
    [
        "# %%\n" + LONG.replace("\na5 = 5", ""),
        f"# %%\n# What these are for.\n{LONG}",
        f'# %%\ndef f():\n    """Does it."""\n    return 1\n\n{LONG}',
        "def _private():\n    return 1\n",
        "# Adds up.\ndef f(a, b):\n    return a + b\n",
        "class A:\n    '''A thing.'''\n    def _own(self):\n        return 1\n",
    ],
)
def test_what_is_commented_passes(tmp_path, text):
    assert said(tmp_path, text) == []


@pytest.mark.parametrize("comment", ["# %load_ext autoreload", "# noqa", "# ----"])
def test_a_long_cell_without_words_is_named_with_its_line(tmp_path, comment):
    text = f"# %%\n# Said here.\nx = 1\n\n# %%\n{comment}\n{LONG}\n\n# %% [markdown]\n# Prose\n"
    assert said(tmp_path, text) == [
        "py/some.py:6: a code cell of 7 lines without a comment; say what it is for"
    ]


def test_what_is_public_and_says_nothing_is_named(tmp_path):
    text = "def f():\n    return 1\n\nclass A:\n    'A thing.'\n    def g(self): pass\n"
    assert said(tmp_path, text) == [
        "py/some.py:1: f has no docstring or comment; add a line",
        "py/some.py:6: g has no docstring or comment; add a line",
    ]
    (line,) = said(tmp_path, "# %%\nx = (\n")
    assert line.startswith("py/some.py:2: no valid Python")


def test_the_kit_itself_may_be_handed_in():
    assert code_problems(ROOT) == []
