"""Everything that a finished run has to show, as chapters, in the kit's English."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from helpers.notebook.shown import Figure, Lines, Piece, Sentence, Table, Text
from tools.checks.labels import Shown
from tools.common.notebooks import NOTEBOOKS
from tools.report.editions import Edition
from tools.report.source import Run, step_of

SUMMARY, METHOD, CONCLUSIONS, ENVIRONMENT = "Summary", "Method", "Conclusions", "Environment"
LAYOUT = yaml.safe_load(Path(__file__).with_name("layout.yaml").read_text(encoding="utf-8"))
STEPS = LAYOUT["steps"]
MOST_FIGURES = 2  # of a label in the body, and one table; what exceeds stands in the appendix
SETTING = "setting"  # heads the first column of a recipe


def chapters(run: Run, edition: Edition) -> dict[str, list[Shown]]:
    """Summary and method, a chapter per step with a section per label, conclusions, environment.

    Of each section `reported` is what the body shows, `appended` what the appendix does.
    """
    titles = [edition.titles.get(title, title) for title in STEPS]
    found = {SUMMARY: [Shown("summary")], METHOD: [Shown("method", reported=_method(run))]}
    found |= {title: [] for title in titles}
    title = ""
    for section in (s for notebook in NOTEBOOKS for s in run.sections(notebook)):
        if section.name != "rules" and section.name not in edition.left_out:
            # A heading without a label belongs to the step that it follows.
            step = step_of(section.name)
            title = titles[int(step)] if step else title
            found[title].append(_arranged(section, run, edition))
    found[CONCLUSIONS] = [Shown("conclusions")]
    return found | {ENVIRONMENT: [Shown("environment", reported=_environment(run))]}


def _arranged(section: Shown, run: Run, edition: Edition) -> Shown:
    """The recipe of what was trained, verdicts, sentences, a table and two figures; and the rest.

    Verdicts stand in the body wherever they were told, and code in the appendix.
    """
    recipe = LAYOUT["labels"].get(section.name, {})
    first: list[Piece] = [_recipe(recipe, run, edition)] if "rows" in recipe else []
    body: list[Piece] = []
    rest: list[Piece] = []
    most = {Figure: recipe.get("figures", MOST_FIGURES), Table: 1}
    for piece in section.reported:
        many = sum(isinstance(p, type(piece)) for p in body) == most.get(type(piece), -1)
        is_code = isinstance(piece, Lines) and piece.file.endswith(".py")
        place = first if _is_verdict(piece) else rest if many or is_code else body
        place.append(piece)
    for piece in section.appended:
        (first if _is_verdict(piece) else rest).append(piece)
    sources = sources_of(section.name)  # beside a verdict, or they may be left alone on a page
    body = sources + body if first and _is_verdict(first[-1]) else body + sources
    return replace(section, reported=first + body, appended=rest)


def sources_of(name: str) -> list[Piece]:
    """What a section cites."""
    keys = [Sentence(f"@ref:{key}") for key in LAYOUT["labels"].get(name, {}).get("sources", [])]
    return [Text([Sentence("Sources: {keys}.", keys=keys)])] if keys else []


def _is_verdict(piece: Piece) -> bool:
    said = piece.sentences[0].template if isinstance(piece, Text) else ""
    return said.startswith(("**Verdict.**", "**Verdict**"))


def _recipe(recipe: Mapping[str, Any], run: Run, edition: Edition) -> Table:
    """How the models under a label were trained, from the run's own parameters."""
    facts = edition.labels | run.facts(recipe["notebook"])

    def filled(template: str) -> Sentence:
        fields = re.findall(r"{(\w+)", template)
        return Sentence(template, **{field: facts.get(field, math.nan) for field in fields})

    rows = [(name, filled(template)) for name, template in recipe["rows"].items()]
    return Table((SETTING, "value"), rows, filled(recipe["caption"]))


def _method(run: Run) -> list[Piece]:
    """Whose sentences are whose, what `clear` means, which data, and how they were split."""
    facts = {"fingerprint": str(run.fingerprint), "profile": run.shortened}
    names = ["measured", "demo" if run.is_demo else "folder"]
    if run.shortened:
        names.append("shortened")
    return [Text([Sentence(LAYOUT["method"][name], **facts) for name in names])]


def _environment(run: Run) -> list[Piece]:
    """Versions, device, seeds, data, commit: what is needed to do it again."""
    summary = run.summary
    facts = {
        "run": run.folder.name,
        "finished": str(summary.get("finished", ""))[:10],
        "profile": summary.get("profile", ""),
        "device": run.values("00_setup").get("device", summary.get("device", "")),
        "seed": ", ".join(sorted({str(seed) for seed in summary.get("seeds", {}).values()})),
        "data fingerprint": run.fingerprint,
        "commit of the code": summary.get("commit") or "unknown",
        "platform": f"Python {summary.get('python', '')}, {summary.get('platform', '')}",
        "packages": ", ".join(f"{n} {v}" for n, v in summary.get("versions", {}).items()),
    }
    table = Table(("what", "value"), list(facts.items()), Sentence("The run."))
    return [table, *sources_of("environment")]
