"""`./run_all.sh report`: writes the members' report of a finished run as PDF, Word and Markdown."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from helpers.machinery.files import write_atomically
from tools.common.command_line import Parser, run_command
from tools.report import prompts, typeset
from tools.report.content import chapters
from tools.report.markdown import PICTURES, Title, Writer
from tools.report.members import add_option as add_members
from tools.report.members import parse_members
from tools.report.source import open_run
from tools.report.words import Words, languages
from tools.setup.check_environment import read_project

SHOWN = 10  # unanswered prompts that are listed one by one


def main(arguments: Sequence[str]) -> int:
    """Write the report; returns 0. Raises LabError, and leaves the previous report as it was."""
    options = _parser().parse_args(list(arguments))
    words = Words(options.lang)
    members = parse_members(options.members)
    begin = time.monotonic()
    run = open_run(options.run)
    own = prompts.my_report()
    made = prompts.make_missing(own, words)
    writer = Writer(words, prompts.written(own), options.with_kit_text)
    version = read_project()["version"]
    title = Title(members, run.name, version, date.today().isoformat())
    markdown = writer.report(title, chapters(run))
    folder = options.output or run.folder / "report"
    _write(folder, markdown, writer, title)
    if made:
        print(f"made {len(made)} files in {own}: write your interpretation into them")
    _list_unanswered(prompts.unanswered(own))
    print(f"{folder / 'report.pdf'}, .docx, .md ({time.monotonic() - begin:.0f} s)")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh report",
        description="Write the report of a finished run: its figures, tables and measured "
        "sentences under the handout's labels, and what you wrote into my_report/.",
        allow_abbrev=False,
    )
    add_members(parser)
    add = parser.add_argument
    add("--run", metavar="NAME", help="a run below runs/ (default: the newest)")
    add("--lang", metavar="|".join(languages()), default="en", help="language (default: en)")
    add(
        "--with-kit-text",
        action="store_true",
        help="the kit's own answers too, marked as the kit's, to compare with yours",
    )
    add(
        "--output",
        metavar="DIR",
        type=Path,
        help="the folder to write to (default: report/ of the run)",
    )
    return parser


def _write(folder: Path, markdown: str, writer: Writer, title: Title) -> None:
    """Write PDF, Word and Markdown with its pictures. First everything is made, then written."""
    pictures = {f"{PICTURES}/{name}": path for name, path in writer.pictures.items()}
    pdf = typeset.to_pdf(*_for_print(markdown, writer), _meta(writer.words, title))
    docx = typeset.to_docx(markdown, pictures)
    for name, path in pictures.items():
        write_atomically(folder / name, path.read_bytes())
    for stale in set((folder / PICTURES).iterdir()) - {folder / name for name in pictures}:
        stale.unlink()
    write_atomically(folder / "report.md", markdown)
    write_atomically(folder / "report.docx", docx)
    write_atomically(folder / "report.pdf", pdf)


def _for_print(markdown: str, writer: Writer) -> tuple[str, dict[str, Path]]:
    """The text with the figures as they are printed, and these by their names in it."""
    vectors = {}
    for name, path in writer.vectors.items():
        shown = f"{PICTURES}/{name}"
        vector = str(Path(shown).with_suffix(path.suffix))
        markdown = markdown.replace(f"]({shown})", f"]({vector})")
        vectors[vector] = path
    return markdown, vectors


def _meta(words: Words, title: Title) -> dict[str, object]:
    """What the title page and the PDF's properties say, as plain text."""
    return {
        "title": words.phrase("title"),
        "description": words.phrase("course"),
        "authors": [member.name for member in title.members],
        "members": [{"name": m.name, "number": m.number} for m in title.members],
        "lang": words.language,
        "date": title.date,
        "words": {name: words.phrase(name) for name in ("authors", "number")},
    }


def _list_unanswered(lines: Sequence[str]) -> None:
    """Say which prompts have no answer yet; the first ones by name."""
    if not lines:
        return
    print(f"{len(lines)} prompts without an answer (their sections stand without it):")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  ... and {len(lines) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(run_command(main))
