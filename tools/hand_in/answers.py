"""What the members wrote, as a grader would look at it: which prompts have no answer of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.common.notebooks import ROOT
from tools.report.editions import Edition
from tools.report.prompts import read

FEWEST_CHARACTERS = 60
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_NOT_DONE = re.compile(r"not done|δεν έγινε", re.IGNORECASE)


def answer_problems(folder: Path, edition: Edition, told: str) -> Iterator[str]:
    """A line for each prompt without an answer of the members' own.

    `told` is the diff of the members' changes: what they added to the notebooks is their own text.
    """
    if not folder.is_dir():
        yield f"{folder}: your own text is missing; ./run_all.sh report makes the files for it"
        return
    answers, missing = read(folder, edition)
    yield from (f"{prompt}: not answered" for prompt in missing)
    kit = _prose_of_kit(told)
    seen: dict[str, str] = {}  # text -> where it stood first
    for answer in (answer for own in answers.values() for answer in own):
        text = " ".join(answer.text.split())
        place = f"{answer.file}:{answer.line}"
        if _NOT_DONE.search(text) or "![" in text:  # a picture is an answer
            continue
        if len(text) < FEWEST_CHARACTERS:
            yield (
                f"{place}: {len(text)} characters are no answer under {answer.label} (fewest: "
                f'{FEWEST_CHARACTERS}); write what you found, or "not done"'
            )
        elif seen.setdefault(text.casefold(), place) != place:
            yield f"{place}: the same text as in {seen[text.casefold()]}; answer each prompt"
        elif any(s in kit for s in [text, *_SENTENCE.split(text)] if len(s) >= FEWEST_CHARACTERS):
            yield f"{place}: holds the kit's own text; write what you think, in your words"


def _prose_of_kit(told: str) -> str:
    """What the kit's notebooks say in Markdown, as one line."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("py/[!.]*.py")))
    lines = (line for text in texts for line in text.splitlines() if line.startswith("# "))
    return " ".join(" ".join(line[1:].split()) for line in lines if f"+{line}\n" not in told)
