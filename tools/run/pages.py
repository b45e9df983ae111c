"""Executed notebooks as HTML pages that stand alone: no other host is asked, and no script runs but
that of the kit's own explorers.

Formulas become MathML, which browsers draw by themselves; figures keep their alt text. Cells' tags
say what is folded.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from helpers.machinery.files import write_atomically
from helpers.notebook.names import name_of
from helpers.notebook.records import RESULTS
from tools.checks.labels import QUESTIONS, read_labels
from tools.common.notebooks import ROOT, Source, contents_of
from tools.run.display import clock
from tools.run.results import BAD, HEADINGS, Row, Status

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "page_template"
GLOSSARY = ROOT / "docs" / "glossary.md"
GLOSSARY_PAGE = "glossary.html"
# The browser itself enforces that a page loads nothing, whatever a notebook holds, and that nothing
# runs but this one script, by its digest.
SCRIPT = ROOT / "helpers" / "notebook" / "explorers.js"
DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.read_bytes()).digest()).decode()
POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{DIGEST}'"
)
NO_ALT = "figure without a description"
CODE_STYLE = "friendly"
# Tags of cells that are folded together, and what stands on the fold where no heading begins it.
FOLDS = {"setup": "Set-up", "extra": "Extra", "stored": "Stored files"}
HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)</h\1>')
TITLE, INSIGHT = r"<title>(.*?)</title>", r"<strong>The one insight:?</strong>:?(.*?)</p>"
STEPS = re.compile(r'<nav class="steps">.*?</nav>', re.DOTALL)


def write_page(notebook: Path, page: Path) -> None:
    """Write the HTML page of an executed notebook."""
    import nbformat

    node = nbformat.read(notebook, as_version=4)
    write_atomically(page, rendered(node, Source(page, contents_of(node.cells)).title))


def write_glossary(folder: Path) -> Path:
    """Write the glossary's page, to which the pages of the notebooks in `folder` link."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    cell = new_markdown_cell(GLOSSARY.read_text(encoding="utf-8"))
    page = folder / GLOSSARY_PAGE
    write_atomically(page, rendered(new_notebook(cells=[cell]), "Glossary"))
    return page


def rendered(node: Any, title: str) -> str:
    """A notebook as the HTML of its page, with a table of its contents."""
    resources = {"page": {"title": title, "policy": POLICY, "style": _style()}}
    content, _ = _exporter().from_notebook_node(node, resources)
    lines = [
        f'<li class="level{level}"><a href="#{anchor}">{_with_label(text)}</a></li>'
        for level, anchor, text in HEADING.findall(content)
        if level == "2" or " · " in text
    ]
    # Twice, beside the text and folded above it: the style shows the one that there is room for.
    return content.replace("<!-- contents -->", f"<ul>{''.join(lines)}</ul>", 2)


def _with_label(heading: str) -> str:
    """The text of a heading as HTML; what stands before the dot, as a label does, is bold."""
    label, mark, text = html.escape(_text(heading)).rpartition(" · ")
    return f"<b>{label}</b> {text}" if mark else text


def _readable(row: list[str]) -> list[str]:
    """A row of results.csv for reading: the model's name, and three digits."""
    notebook, model, *about, value, low, high, seed, n = row
    number = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
    numbers = (f"{float(x):.3f}" if number.fullmatch(x) else x for x in (value, low, high))
    return [notebook, name_of(model), *about, *numbers, seed, n]


def write_index(run: Path, summary: dict[str, Any]) -> Path:
    """Write `pages/index.html`, where a reader starts, and link each page to its neighbours.

    `summary` is what `tools.run.results.write_results` returns. Returns the index's path.
    """
    from jinja2 import Environment, FileSystemLoader

    pages = {path.stem: _about(path) for path in sorted((run / "pages").glob("[0-9]*.html"))}
    _link_neighbours(list(pages.values()))
    rows = [Row(**values) for values in summary["notebooks"]]
    table = (run / RESULTS).read_text("utf-8") if (run / RESULTS).is_file() else ""
    columns, *results = csv.reader(table.splitlines() or [""])
    finished = datetime.fromisoformat(summary["finished"])
    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True)
    content = environment.get_template("run.html.j2").render(
        run=summary,
        finished=f"{finished.day} {finished:%B %Y, %H:%M} UTC",
        took=clock(summary["total_seconds"]),
        policy=POLICY,
        style=_style(),
        headings=HEADINGS,
        rows=[(row, pages.get(row.notebook)) for row in rows],
        bad=BAD,
        skipped=Status.SKIPPED,
        columns=columns,
        results=[_readable(row) for row in results],
    )
    index = run / "pages" / "index.html"
    write_atomically(index, content)
    return index


def _about(page: Path) -> dict[str, Any]:
    """What the index says of a page: title, insight, and the headings of the handout's labels."""
    content = page.read_text(encoding="utf-8")
    found = (re.search(pattern, content, re.DOTALL) for pattern in (TITLE, INSIGHT))
    title, insight = (_text(match[1]) if match else "" for match in found)
    headings = {}
    for _, anchor, markup in reversed(HEADING.findall(content)):  # the first of a label counts
        label, mark, text = _text(markup).partition(" · ")
        headings |= {label: (anchor, label, text)} if mark else {}
    names = [label.name for label in read_labels() if label.notebook == page.stem]
    names = ["6" if name == QUESTIONS else name for name in names]
    return {
        "file": page,
        "title": title or page.stem,
        "insight": insight[:1].upper() + insight[1:],
        "labels": [headings[name] for name in names if name in headings],
    }


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()


def _link_neighbours(pages: Sequence[dict[str, Any]]) -> None:
    """Let each page lead to the one before it and the one after it, at its top and its end."""
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        links = ['<a href="index.html">Start here</a>']
        for arrow, other in (("«", before), ("»", after)):
            if other:
                name = html.escape(other["title"].partition(":")[0])
                links.append(f'<a href="{other["file"].name}">{arrow} {name}</a>')
        content = page["file"].read_text(encoding="utf-8")
        linked = f'<nav class="steps">{" ".join(links)}</nav>'.join(STEPS.split(content))
        if linked != content:
            write_atomically(page["file"], linked)


@cache
def _style() -> str:
    """Our style sheet, then that of highlighted code."""
    from pygments.formatters import HtmlFormatter

    own = (TEMPLATE / "style.css").read_text(encoding="utf-8")
    code = HtmlFormatter(style=CODE_STYLE, nobackground=True).get_style_defs(".highlight")
    return f"{own}\n{code}"


@cache
def _exporter() -> Any:
    """nbconvert with our template and filters; importing it takes a second, so only when used."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        """Markdown to HTML with formulas as MathML."""

        def inline_math(self, body: str) -> str:
            return formula(body)

        def block_math(self, body: str) -> str:
            return formula(body, block=True)

        def latex_environment(self, name: str, body: str) -> str:
            return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

        def heading(self, text: str, level: int, **attributes: Any) -> str:
            """With an anchor in small letters, as GitHub makes them."""
            plain = re.sub(r"<[^>]+>|[^\w\s-]", "", html.unescape(text)).strip().lower()
            anchor = re.sub(r"\s", "-", plain)
            return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def markdown(source: str) -> str:
        renderer = Renderer(escape=False)
        page = MarkdownWithMath(renderer=renderer).render(source)
        page = page.replace('href="../docs/glossary.md', f'href="{GLOSSARY_PAGE}')
        # Other files of the kit do not lie beside a page: named, not linked.
        return re.sub(r'<a href="\.\./([\w/]+\.md)[^"]*">(.*?)</a>', r"\2 (<code>\1</code>)", page)

    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(HERE)],
        exclude_output_prompt=True,
    )
    exporter.register_filter("markdown2html", markdown)
    exporter.environment.globals.update(no_alt=NO_ALT, size_of=_size_of, groups=_groups)
    return exporter


def _groups(cells: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Cells by what is folded together; the heading that a fold begins with is taken out of it."""
    group: dict[str, Any] = {}
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        kind = next((kind for kind in FOLDS if kind in tags), "")
        heading = re.match(r"(#{2,4}) .+", cell.source) if cell.cell_type == "markdown" else None
        level = len(heading[1]) if heading else 9
        if "injected-parameters" in tags:  # papermill repeats them
            continue
        if not group or kind != group["kind"] or (kind and 9 > level <= group["level"]):
            if group:
                yield group
            group = {"kind": kind, "level": level, "cells": [], "failed": False}
            group["title"] = heading[0] if heading else FOLDS.get(kind)
            if kind and heading:
                cell.source = cell.source[heading.end() :]
        group["cells"].append(cell)
        group["failed"] |= any(o.output_type == "error" for o in cell.get("outputs", ()))
    if group:
        yield group


def formula(latex: str, block: bool = False) -> str:
    """A formula as MathML; its readable LaTeX between dollar signs where that cannot be made."""
    from latex2mathml.converter import convert

    try:
        return convert(latex.strip(), display="block" if block else "inline")
    except Exception:  # an unknown command
        mark = "$$" if block else "$"
        return f"<code>{mark}{html.escape(latex.strip(), quote=False)}{mark}</code>"


def _size_of(png: str) -> str:
    """The size of a PNG figure, so that a page keeps its place and knows how wide it may be."""
    start = base64.b64decode(png[:32])
    if len(start) < 24:
        return ""
    width, height = struct.unpack(">II", start[16:24])
    return f'width="{width}" height="{height}" style="--width: {width}px"'
