"""Markdown to PDF, by pandoc and Typst, and to Word, by pandoc: no TeX, no network."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.machinery.files import LabError

FOLDER = Path(__file__).parent / "pandoc"
# The members' text may hold anything: nothing in it is taken for another format's commands.
READER = (
    "markdown-raw_html-raw_tex-raw_attribute-citations-example_lists"
    "+lists_without_preceding_blankline"  # as on GitHub and in notebooks
)
OPTIONS = [f"--lua-filter={FOLDER / 'filter.lua'}", "--columns=10000", "--wrap=preserve"]


def to_pdf(markdown: str, pictures: Mapping[str, Path], meta: Mapping[str, Any]) -> bytes:
    """The PDF of a report; `pictures` are the files that it shows, by their path in the text.

    `meta` is what the title page and the PDF's properties say. Raises LabError when the text cannot
    be set.
    """
    import typst

    template = f"--template={FOLDER / 'template.typ'}"
    source = _pandoc(markdown, "typst", [template])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _copy(pictures, root)
        (root / "report.typ").write_text(source, encoding="utf-8")
        inputs = {"meta": json.dumps(meta, ensure_ascii=False)}
        try:
            return typst.compile(root / "report.typ", root=root, sys_inputs=inputs)
        except typst.TypstError as error:
            raise LabError(
                f"the report cannot be set as PDF: {' '.join(str(error).split())}; look for this "
                "in my_report/, or leave that out"
            ) from error


def to_docx(markdown: str, pictures: Mapping[str, Path]) -> bytes:
    """The report as a Word document, with contents, pictures and their alternative texts."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _copy(pictures, root)
        out = root / "report.docx"
        options = ["--toc", "--toc-depth=2", f"--resource-path={root}"]
        _pandoc(markdown, "docx+native_numbering", options, out)
        return out.read_bytes()


def _copy(pictures: Mapping[str, Path], root: Path) -> None:
    for name, path in pictures.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _pandoc(markdown: str, to: str, options: list[str], out: Path | None = None) -> str:
    """Convert; the text, or nothing when it goes to the file `out`."""
    import pypandoc

    return pypandoc.convert_text(
        markdown,
        to,
        format=READER,
        extra_args=["--standalone", *OPTIONS, *options],
        outputfile=None if out is None else str(out),
    )
