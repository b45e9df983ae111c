"""Markdown to PDF, by pandoc and Typst, and to Word, by pandoc: no TeX, no network."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.machinery.files import LabError, one_line
from helpers.notebook.showing import FIGURE_DPI

FOLDER = Path(__file__).parent / "pandoc"
# The members' text may hold anything: nothing in it is taken for another format's commands.
READER = (
    "markdown-raw_html-raw_tex-raw_attribute-citations-example_lists"
    "-simple_tables-multiline_tables"  # between lines of dashes they cut letters off
    "+lists_without_preceding_blankline"  # as on GitHub and in notebooks
)
OPTIONS = [f"--lua-filter={FOLDER / 'filter.lua'}", "--columns=10000", "--wrap=preserve"]
MOST_SECONDS = 60  # pandoc needs one; over thousands of open brackets it would sit for hours
# The template's fonts; where they lack a letter, Typst takes any other font of the machine.
FONTS = '#set text(font: ("Libertinus Serif", "DejaVu Sans Mono"))\n'


def to_pdf(markdown: str, pictures: Mapping[str, bytes], meta: Mapping[str, Any]) -> bytes:
    """The PDF of a report; `pictures` are what it shows, by their path in the text.

    `meta` is what the title page and the PDF's properties say. Raises LabError when the text cannot
    be set.
    """
    import typst

    template = f"--template={FOLDER / 'template.typ'}"
    source = _pandoc(markdown, "typst", [template])
    with _workshop(pictures) as root:
        (root / "report.typ").write_text(source, encoding="utf-8")
        inputs = {"meta": json.dumps(meta, ensure_ascii=False)}
        try:
            return typst.compile(root / "report.typ", root=root, sys_inputs=inputs)
        except typst.TypstError as error:
            said = " ".join(str(error).replace(f"{root}/", "").split())
            raise LabError(
                f"the report cannot be set as PDF: {said}; look for this in my_report/, or leave "
                "that out"
            ) from error


def without_glyph(text: str) -> str:
    """A letter of a text that no font of this machine can draw; empty when there is none.

    Typst puts a box in its place and says nothing, but for archives (PDF/A), where it refuses.
    """
    import typst

    letters = "".join(sorted({letter for letter in text if letter.isprintable()}))
    source = f"{FONTS}#sys.inputs.letters".encode()
    try:
        typst.compile(source, sys_inputs={"letters": letters}, pdf_standards="a-2b")
    except typst.TypstError as error:
        found = re.search(r'the text `"(.+?)"` could not be displayed', str(error))
        return found[1] if found else ""
    return ""


def to_docx(markdown: str, pictures: Mapping[str, bytes]) -> bytes:
    """The report as a Word document, with contents, pictures and their alternative texts."""
    with _workshop(pictures) as root:
        out = root / "report.docx"
        options = ["--toc", "--toc-depth=2", f"--resource-path={root}", f"--output={out}"]
        _pandoc(markdown, "docx+native_numbering", options)
        return out.read_bytes()


def to_png(vectors: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pictures in PDF as PNG, of the size that figures have on the screen."""
    import typst

    page = "#set page(width: auto, height: auto, margin: 0pt)\n"
    source = page + "\n".join(f'#page(image("{name}"))' for name in vectors)
    with _workshop({**vectors, "pages.typ": source.encode()}) as root:
        drawn = typst.compile(root / "pages.typ", root=root, format="png", ppi=FIGURE_DPI)
    return dict(zip(vectors, drawn if isinstance(drawn, list) else [drawn], strict=False))


@contextmanager
def _workshop(pictures: Mapping[str, bytes]) -> Iterator[Path]:
    """A temporary folder with these files in it. Raises LabError where there is no room for it."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in pictures.items():
                place = Path(folder, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            yield Path(folder)
    except OSError as error:
        raise LabError(
            f"the folder for temporary files cannot hold the report while it is made "
            f"({error.strerror}); free some space, or set TMPDIR to another folder"
        ) from error


def _pandoc(markdown: str, to: str, options: list[str]) -> str:
    """Convert; the text, or nothing when an option says where it goes."""
    import pypandoc

    command = [pypandoc.get_pandoc_path(), f"--from={READER}", f"--to={to}", "--standalone"]
    try:
        done = subprocess.run(
            [*command, *OPTIONS, *options],
            input=markdown.encode(), capture_output=True, check=False, timeout=MOST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(
            f"pandoc had not read the report after {MOST_SECONDS} s; look in my_report/ for many "
            "brackets in a row, or other text that nobody would write"
        ) from None
    if done.returncode:
        said = one_line(done.stderr.decode(errors="replace"))
        raise LabError(f"pandoc cannot read the report ({said}); look for this in my_report/")
    return done.stdout.decode()
