"""Executed notebooks as HTML pages that stand alone: no script runs, no other host is asked.

Formulas become MathML, which browsers draw by themselves; figures keep their alt text.
"""

from __future__ import annotations

import csv
import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.machinery.files import write_atomically
from helpers.notebook.records import RESULTS
from tools.common.notebooks import ROOT

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "page_template"
GLOSSARY = ROOT / "docs" / "glossary.md"
GLOSSARY_PAGE = "glossary.html"
# The browser itself enforces that a page loads nothing and runs nothing, whatever a notebook holds.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
NO_ALT = "figure without a description"
CODE_STYLE = "friendly"


def write_page(notebook: Path, page: Path) -> None:
    """Write the HTML page of an executed notebook."""
    import nbformat

    node = nbformat.read(notebook, as_version=4)
    prose = "\n".join(cell.source for cell in node.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)", prose, re.MULTILINE)
    write_atomically(page, _rendered(node, title[1].strip() if title else page.stem))


def write_glossary(folder: Path) -> Path:
    """Write the glossary's page, to which the pages of the notebooks in `folder` link."""
    import nbformat

    text = GLOSSARY.read_text(encoding="utf-8")
    cell = nbformat.v4.new_markdown_cell(text)
    page = folder / GLOSSARY_PAGE
    write_atomically(page, _rendered(nbformat.v4.new_notebook(cells=[cell]), "Glossary"))
    return page


def _rendered(node: Any, title: str) -> str:
    """A notebook as the HTML of its page."""
    resources = {"page": {"title": title, "policy": POLICY, "style": _style()}}
    content, _ = _exporter().from_notebook_node(node, resources)
    return content


def write_index(run: Path, summary: dict[str, Any]) -> Path:
    """Write `pages/index.html`: the table of notebooks with links, failures, all results.

    `summary` is what `tools.run.results.summary` returns. Returns the page's path.
    """
    from jinja2 import Environment, FileSystemLoader

    from tools.run.results import HEADINGS, SKIPPED, Row

    rows = [Row(**values) for values in summary["notebooks"]]
    links = [(row.cells, row.status, _link(run, row.notebook)) for row in rows]
    messages = [
        (row.cells, "\n".join(row.message)) for row in rows if row.message and row.status != SKIPPED
    ]
    table = (run / RESULTS).read_text("utf-8") if (run / RESULTS).is_file() else ""
    columns, *results = csv.reader(table.splitlines() or [""])
    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True)
    content = environment.get_template("run.html.j2").render(
        run=summary,
        policy=POLICY,
        style=_style(),
        headings=HEADINGS,
        rows=links,
        messages=messages,
        columns=columns,
        results=results,
    )
    page = run / "pages" / "index.html"
    write_atomically(page, content)
    return page


def _link(run: Path, notebook: str) -> str:
    return f"{notebook}.html" if (run / "pages" / f"{notebook}.html").is_file() else ""


@cache
def _style() -> str:
    """Our style sheet, then that of highlighted code."""
    from pygments.formatters import HtmlFormatter

    own = (TEMPLATE / "style.css").read_text(encoding="utf-8")
    code = HtmlFormatter(style=CODE_STYLE, nobackground=True).get_style_defs(".highlight")
    return f"{own}\n{code}"


@cache
def _exporter() -> HTMLExporter:
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
        return page.replace('href="../docs/glossary.md', f'href="{GLOSSARY_PAGE}')

    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(HERE)],
        exclude_output_prompt=True,
    )
    exporter.register_filter("markdown2html", markdown)
    exporter.environment.globals.update(alt_text=_alt_text)
    return exporter


def formula(latex: str, block: bool = False) -> str:
    """A formula as MathML; its readable LaTeX between dollar signs where that cannot be made."""
    try:
        from latex2mathml.converter import convert

        return convert(latex.strip(), display="block" if block else "inline")
    except Exception:  # an unknown command, or the package is missing: still readable
        mark = "$$" if block else "$"
        return f"<code>{mark}{html.escape(latex.strip(), quote=False)}{mark}</code>"


def _alt_text(output: Any, kind: str) -> str:
    """The description of a figure, from the metadata of the output."""
    metadata = output.get("metadata", {})
    return html.escape(metadata.get(kind, {}).get("alt") or metadata.get("alt") or NO_ALT)
