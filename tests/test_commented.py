"""The rule that code is commented: what it lets pass, and how it names what it does not."""

import pytest

from tools.common.notebooks import ROOT
from tools.hand_in.command import code_problems
from tools.hand_in.commented import uncommented

LONG = "\n".join(f"a{number} = {number}" for number in range(6))
FINE = (
    "# %%\n" + LONG.replace("\na5 = 5", ""),
    f"# %%\n# What these are for.\n{LONG}",
    f'# %%\ndef f():\n    """Does it."""\n    return 1\n\n{LONG}',
    "def _private():\n    return 1\n",
    "# Adds up.\ndef f(a, b):\n    return a + b\n",
    "class A:\n    '''A thing.'''\n    def _own(self):\n        return 1\n",
)
SILENT = "# %%\n# Said here.\nx = 1\n\n# %%\n{}\n" + LONG + "\n\n# %% [markdown]\n# Prose\n"
NO_WORDS = (SILENT.format(comment) for comment in ("# %load_ext autoreload", "# noqa", "# ----"))
PUBLIC = "def f():\n    return 1\n\nclass A:\n    'A thing.'\n    def g(self): pass\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        *((text, []) for text in FINE),
        *((text, ["6: a code cell of 7 lines without a comment; say what"]) for text in NO_WORDS),
        (
            PUBLIC,
            ["1: f has no docstring or comment; add", "6: g has no docstring or comment; add"],
        ),
        ("# %%\nx = (\n", ["2: no valid Python"]),
    ],
)
def test_what_says_nothing_is_named_with_its_line(tmp_path, text, lines):
    path = tmp_path / "some.py"
    path.write_text(text, encoding="utf-8")
    for said, expected in zip(uncommented(path, "py/some.py"), lines, strict=True):
        assert said.startswith(f"py/some.py:{expected}")


def test_the_kit_itself_may_be_handed_in():
    assert code_problems(ROOT) == []
