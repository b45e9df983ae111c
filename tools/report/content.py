"""Everything that a finished run has to show, as chapters; the same for every language."""

from __future__ import annotations

from tools.report import ends, steps_first, steps_last
from tools.report.blocks import Chapter, Section
from tools.report.source import Run, step_of


def chapters(run: Run) -> list[Chapter]:
    """A chapter per step with a section per label, the comparison across steps, the environment."""
    sections = [
        *steps_first.setup(run),
        *steps_first.look(run),
        *steps_first.classes(run),
        *steps_first.lstm(run),
        *steps_first.metrics(run),
        *steps_last.cnn(run),
        *steps_last.regression(run),
        *steps_last.transfer(run),
        *steps_last.multitask(run),
        *steps_last.submission(run),
    ]
    steps: dict[str, list[Section]] = {}
    step = ""
    for section in sections:
        # A heading of the report's own belongs to the step that it follows.
        step = step_of(section.name) if section.notebook else step
        steps.setdefault(step, []).append(section)
    found = [Chapter(name, own) for name, own in steps.items()]
    return [
        *found,
        Chapter("across", ends.across(run)),
        Chapter("environment", ends.environment(run)),
    ]
