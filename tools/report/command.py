"""`./run_all.sh report`: writes the members' report of a finished run as PDF, Word and Markdown."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from helpers.machinery.files import write_atomically
from tools.common.command_line import Parser, run_command
from tools.report import prompts, typeset
from tools.report.content import chapters
from tools.report.markdown import PICTURES, Writer
from tools.report.members import Member, parse_members
from tools.report.members import add_option as add_members
from tools.report.source import open_run
from tools.report.words import Words, languages
from tools.setup.check_environment import read_project

TITLE = "Genre recognition and affect regression from music spectrograms"
COURSE = "Pattern Recognition, laboratory exercise 3, National Technical University of Athens"
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
    writer = Writer(words, run, prompts.written(own), options.with_kit_text)
    about = _about(words, members)
    markdown = writer.report(about, chapters(run))
    folder = options.output or run.folder / "report"
    _write(folder, markdown, writer, about)
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


def _write(folder: Path, markdown: str, writer: Writer, about: dict[str, Any]) -> None:
    """Write PDF, Word and Markdown with its pictures. First everything is made, then written."""
    pictures = {f"{PICTURES}/{name}": path for name, path in writer.pictures.items()}
    printed, vectors = markdown, dict(pictures)
    for name, path in writer.vectors.items():
        shown, vector = f"{PICTURES}/{name}", f"{PICTURES}/{name}{path.suffix}"
        printed, vectors[vector] = printed.replace(f"]({shown})", f"]({vector})"), path
    pdf = typeset.to_pdf(printed, vectors, about)
    docx = typeset.to_docx(markdown, pictures)
    for name, path in pictures.items():
        write_atomically(folder / name, path.read_bytes())
    for stale in set((folder / PICTURES).iterdir()) - {folder / name for name in pictures}:
        stale.unlink()
    write_atomically(folder / "report.md", markdown)
    write_atomically(folder / "report.docx", docx)
    write_atomically(folder / "report.pdf", pdf)


def _about(words: Words, members: Sequence[Member]) -> dict[str, Any]:
    """What the title page and the PDF's properties say, as plain text."""
    return {
        "title": words.text(TITLE),
        "description": words.text(COURSE),
        "authors": [member.name for member in members],
        "members": [{"name": member.name, "number": member.number} for member in members],
        "lang": words.language,
        "date": date.today().isoformat(),
        "version": read_project()["version"],  # of the kit
        "words": {
            "authors": words.text("Members of the team"),
            "number": words.text("student number"),
        },
    }


def _list_unanswered(lines: Sequence[str]) -> None:
    """Say which prompts have no answer yet; the first ones by name."""
    if lines:
        print(f"{len(lines)} prompts without an answer (their sections stand without it):")
        print(*(f"  {line}" for line in lines[:SHOWN]), sep="\n")
    if len(lines) > SHOWN:
        print(f"  ... and {len(lines) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(run_command(main))
