"""`./run_all.sh report`: writes the members' report of a finished run as PDF, Word and Markdown."""

from __future__ import annotations

import sys
import time
from calendar import month_name
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from helpers.machinery.files import LabError, write_atomically
from helpers.notebook.words import LANGUAGES, Words
from tools.common.command_line import Parser, run_command
from tools.common.members import Member, parse_members
from tools.common.members import add_option as add_members
from tools.common.run_folder import command_of
from tools.report import prompts, typeset
from tools.report.content import chapters
from tools.report.editions import DEFAULT, EDITIONS, Edition, edition_of
from tools.report.markdown import PICTURES, Writer
from tools.report.source import open_run
from tools.setup.check_environment import read_project

TITLE = "Genre recognition and affect regression from music spectrograms"
COURSE = (
    "Pattern Recognition, laboratory exercise {exercise}, National Technical University of Athens"
)
SHOWN = 10  # unanswered prompts that are listed one by one


def main(arguments: Sequence[str]) -> int:
    """Write the report; returns 0. Raises LabError, and leaves the previous report as it was."""
    options = _parser().parse_args(list(arguments))
    words = Words(options.lang)
    members = parse_members(options.members)
    begin = time.monotonic()
    edition, own = edition_of(options.edition), prompts.my_report()
    run = open_run(options.run)
    if translated := prompts.translate(own, words, edition):
        print(f"{len(translated)} files in {own} now ask in {words.language!r}; your text stays")
    made = prompts.make_missing(own, words, edition)
    answers, missing = prompts.read(own, edition)
    writer = Writer(words, run, answers, edition, not options.no_appendix)
    about = _about(words, members, edition)
    try:
        markdown = writer.report(about, chapters(run, edition))
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # whoever wrote that
        raise LabError(
            f"{run.folder}: holds what this kit does not write ({type(error).__name__}: {error}); "
            f"make it again with {command_of(run.folder)} --force"
        ) from error
    folder = options.output or run.folder / "report"
    _write(folder, markdown, writer, about)
    if letter := typeset.without_glyph(markdown):
        print(
            f"note: the PDF has boxes for {letter!r}, and perhaps others, which no font of this "
            "machine has; install one (for Chinese, Japanese and Korean fonts-noto-cjk), and make "
            "the report again",
            file=sys.stderr,
        )
    if made:
        print(f"made {len(made)} files in {own}: write your interpretation into them")
    if missing:
        print(f"{len(missing)} prompts without an answer (hand-in lists all of them):")
        print(*(f"  {line}" for line in missing[:SHOWN]), sep="\n")
    print(f"{folder / 'report.pdf'}, .docx, .md ({time.monotonic() - begin:.0f} s)")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh report",
        description="Write the report of a finished run: its figures, tables and measured "
        "sentences under the handout's labels, and what you wrote into my_report/.",
    )
    add_members(parser)
    add = parser.add_argument
    add("--run", metavar="NAME", help="a run below runs/ (default: the newest)")
    add("--lang", metavar="|".join(LANGUAGES), default="en", help="language (default: en)")
    add("--no-appendix", action="store_true", help="only what the body shows")
    add("--edition", choices=[*EDITIONS], default=DEFAULT, help="of the handout, by its year")
    add("--output", metavar="DIR", type=Path, help="where to write (default: report/ of the run)")
    return parser


def _write(folder: Path, markdown: str, writer: Writer, about: dict[str, Any]) -> None:
    """Write PDF, Word and Markdown with its pictures. First everything is made, then written."""
    pictures = {f"{PICTURES}/{name}": p.read_bytes() for name, p in writer.pictures.items()}
    vectors = {f"{PICTURES}/{name}.pdf": p.read_bytes() for name, p in writer.vectors.items()}
    printed = markdown
    for vector in vectors:
        printed = printed.replace(f"]({vector[:-4]})", f"]({vector})")
    pdf = typeset.to_pdf(printed, pictures | vectors, about)
    if about["lang"] != "en":  # the run's own pictures are in English
        drawn = typeset.to_png(vectors)
        pictures |= {vector[:-4]: picture for vector, picture in drawn.items()}
    docx = typeset.to_docx(markdown, pictures)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)
    for stale in set((folder / PICTURES).iterdir()) - {folder / name for name in pictures}:
        stale.unlink()
    write_atomically(folder / "report.md", markdown)
    write_atomically(folder / "report.docx", docx)
    write_atomically(folder / "report.pdf", pdf)


def _about(words: Words, members: Sequence[Member], edition: Edition) -> dict[str, Any]:
    """What the title page and the PDF's properties say, as plain text."""
    today = date.today()
    return {
        "title": words.text(TITLE),
        "subtitle": words.text(COURSE).format(exercise=edition.exercise),
        "members": [[member.name, member.number] for member in members],
        "lang": words.language,
        "date": f"{today.day} {words.text(month_name[today.month])} {today.year}",
        "version": read_project()["version"],  # of the kit
        "toc-title": words.text("Contents"),
        "authors": words.text("Members of the team"),
        "number": words.text("student number"),
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
