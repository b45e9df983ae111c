"""The handout's rule for code: it is commented, or it is not marked.

A code cell of more than a few lines says what it is for, in a comment or in the docstring of what
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
from typing import NamedTuple

LINES_WITHOUT_COMMENT = 5
_CELL = re.compile(r"# %%")
_PROSE = re.compile(r"# %%.*\[(markdown|raw)\]")
_MAGIC = re.compile(r"\s*# ?[%!]")  # as jupytext writes it in a .py
_NO_WORDS = re.compile(r"#\s*(fmt|noqa|type|ruff|mypy|pragma|solution (begin|end))\b|#[\s#=*-]*$")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


class _CodeCell(NamedTuple):
    """One code cell: the line of its first line in the file, from 1, and its text."""

    line: int
    source: str


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
        f"{shown_as}:{cell.line}: a code cell of {len(cell.source.splitlines())} lines without a "
        "comment; say what it is for"
        for cell in _code_cells(text)
        if not _says_what_it_is_for(cell, tree, comments)
    ]
    return found + [
        f"{shown_as}:{node.lineno}: {node.name} has no docstring or comment; add a line"
        for node in _public(tree)
        if not _is_documented(node, comments)
    ]


def _code_cells(text: str) -> Iterator[_CodeCell]:
    """The code cells of a file in the percent format, without blank lines around them."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _CELL.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        if _PROSE.match(lines[start]):
            continue
        first = start + 1
        while first < end and not lines[first].strip():
            first += 1
        yield _CodeCell(first + 1, "\n".join(lines[first:end]).rstrip())


def _says_what_it_is_for(cell: _CodeCell, tree: ast.Module, comments: set[int]) -> bool:
    n_lines = len(cell.source.splitlines())
    if n_lines <= LINES_WITHOUT_COMMENT:
        return True
    lines = range(cell.line, cell.line + n_lines)
    defined = [
        node for node in tree.body if isinstance(node, _DEFINITIONS) and node.lineno in lines
    ]
    documented = bool(defined) and all(ast.get_docstring(node) for node in defined)
    return documented or not comments.isdisjoint(lines)


def _comments(text: str) -> set[int]:
    """The lines that hold a comment with words: no magic, no cell mark, no note to a checker."""
    return {
        token.start[0]
        for token in generate_tokens(StringIO(text).readline)
        if token.type == COMMENT
        and not (_CELL.match(token.string) or _MAGIC.match(token.string))
        and not _NO_WORDS.match(token.string)
    }


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and not node.name.startswith("_"):
            yield node
            methods = node.body if isinstance(node, ast.ClassDef) else ()
            for method in methods:
                if isinstance(method, _FUNCTIONS) and not method.name.startswith("_"):
                    yield method


def _is_documented(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, comments: set[int]
) -> bool:
    if ast.get_docstring(node):
        return True
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return not comments.isdisjoint(range(first - 1, (node.end_lineno or node.lineno) + 1))
