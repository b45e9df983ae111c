"""The handout's rule for code: it is commented, or it is not marked.

A code cell of more than a few lines says what it is for, in a comment or in the docstrings of what
it defines; whatever is public has a docstring or a comment of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from io import StringIO
from itertools import pairwise
from pathlib import Path
from tokenize import COMMENT, generate_tokens

LINES_WITHOUT_COMMENT = 5
_PROSE = re.compile(r"# %%.*\[(markdown|raw)\]")
_NO_WORDS = re.compile(r"# ?[%!]|# (fmt|noqa)\b|#[\s#=*-]*$")  # magics, notes to checkers, rules
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def uncommented(path: Path, shown_as: str) -> list[str]:
    """What in a `.py` breaks the rule, one line each: `file:line: what`; empty when nothing does.

    A file in the percent format is judged cell by cell, any other by its public definitions.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        comments = _comments(text)
    except (OSError, ValueError, SyntaxError) as error:
        line, problem = getattr(error, "lineno", None), getattr(error, "msg", error)
        return [f"{shown_as}{f':{line}' if line else ''}: no valid Python ({problem}); correct it"]
    found = [
        f"{shown_as}:{cell.start}: a code cell of {len(cell)} lines without a comment; say what it "
        "is for"
        for cell in _code_cells(text.splitlines())
        if len(cell) > LINES_WITHOUT_COMMENT
        and comments.isdisjoint(cell)
        and not _defines_what_is_documented(cell, tree)
    ]
    return found + [
        f"{shown_as}:{lines.start + 1}: {node.name} has no docstring or comment; add a line"
        for node, lines in _public(tree)
        if not ast.get_docstring(node) and comments.isdisjoint(lines)
    ]


def _comments(text: str) -> set[int]:
    """The lines, from 1, that hold a comment with words."""
    tokens = generate_tokens(StringIO(text).readline)
    comments = (token for token in tokens if token.type == COMMENT)
    return {token.start[0] for token in comments if not _NO_WORDS.match(token.string)}


def _code_cells(lines: list[str]) -> Iterator[range]:
    """The lines of each code cell in the percent format, without blank ones around it."""
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    for start, end in pairwise([*starts, len(lines)]):
        filled = [number for number in range(start + 1, end) if lines[number].strip()]
        if filled and not _PROSE.match(lines[start]):
            yield range(filled[0] + 1, filled[-1] + 2)


def _defines_what_is_documented(cell: range, tree: ast.Module) -> bool:
    defined = [node for node in tree.body if isinstance(node, Definition) and node.lineno in cell]
    return bool(defined) and all(ast.get_docstring(node) for node in defined)


def _public(tree: ast.Module) -> Iterator[tuple[Definition, range]]:
    """Public functions, classes and their methods, and their lines with the one above."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for owner in [tree, *(node for node in classes if not node.name.startswith("_"))]:
        for node in owner.body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                yield node, range(first - 1, (node.end_lineno or node.lineno) + 1)
