"""`about.html`: what was built, in a picture and a few tables, as a page that stands alone."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.folders import SPLITS
from tools.build_data.clip import Row
from tools.build_data.inputs import Clip, Rejected

MOST_BARS, MOST_ROWS = 25, 500  # in the picture, and in a table
ALT = (
    "Four panels: clips per genre in train and test, the clips' lengths, their tracked tempo, and "
    "why files were left out. The tables below hold the same numbers."
)


def page_of(
    clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row],
    about: dict[str, Any], notes: Sequence[str],
) -> str:  # fmt: skip
    """The page as HTML."""
    from nbformat import v4

    from tools.run.pages import STEPS, rendered

    times = Counter((clip.genre, split) for clip in clips for split in (clip.split, "both"))
    genres = [
        [g, times[g, "train"], times[g, "test"]] for g, kind in sorted(times) if kind == "both"
    ]
    left_out = [[one.path, one.reason] for one in rejected[:MOST_ROWS]]
    parameters = json.dumps(about["parameters"], indent=1, ensure_ascii=False, sort_keys=True)
    png = base64.b64encode(_picture(clips, rejected, rows)).decode()
    alt = {"image/png": {"alt": ALT}}
    picture = v4.new_code_cell("", id="picture")
    picture.outputs = [v4.new_output("display_data", {"image/png": png}, metadata=alt)]
    text = [
        f"# Your own music\n\n{len(clips)} clips, {about['hours']} hours; {len(rejected)} files "
        f"were left out. {about['with affect']} clips have values of valence, energy and "
        f"danceability.\n\n" + "".join(f"- **Mind:** {_cell(note)}\n" for note in notes),
        "## Clips per genre\n\n" + _table(["genre", "train", "test"], genres),
        "## Left out\n\nAll: rejected.csv\n\n" + _table(["file", "reason"], left_out),
        f"## How it was made\n\n```json\n{parameters}\n```",
    ]
    cells = [v4.new_markdown_cell(part, id=f"part-{n}") for n, part in enumerate(text)]
    page = rendered(v4.new_notebook(cells=[cells[0], picture, *cells[1:]]), "Your own music")
    return STEPS.sub("", page)  # it has no neighbours


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *([_cell(str(x)) for x in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text for a cell of a Markdown table, where no sign of it means anything."""
    return "".join(f"&#{ord(c)};" if c in "\\`*_[]<>&|$~!\n\r#" else c for c in text)


def _picture(clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row]) -> bytes:
    from matplotlib.figure import Figure

    from helpers.plots import COLOURS, use_style

    use_style()
    figure = Figure((11, 8), layout="constrained")
    genres, lengths, tempi, reasons = figure.subplots(2, 2).ravel()
    names = [name for name, _ in Counter(c.genre for c in clips if c.genre).most_common(MOST_BARS)]
    split_of = Counter((clip.genre, clip.split) for clip in clips)
    left = np.zeros(len(names))
    for split, colour, hatch in zip(SPLITS, COLOURS, ("", "//"), strict=False):
        n = [split_of[name, split] for name in names]
        genres.barh(names, n, left=left, color=colour, hatch=hatch, label=split)
        left += n
    genres.legend()
    lengths.hist([rows[clip.id]["seconds"] for clip in clips], bins=30)
    tempi.hist([rows[clip.id]["tempo"] for clip in clips if rows[clip.id]["tempo"]], bins=30)
    why = Counter(one.reason.split(":")[0][:45] for one in rejected).most_common(8)
    reasons.barh([name for name, _ in why], [n for _, n in why])
    for panel, title, x, y in (
        (genres, "Clips per genre", "clips", ""),
        (lengths, "Length", "seconds", "clips"),
        (tempi, "Tempo of the tracked beats", "beats per minute", "clips"),
        (reasons, f"{len(rejected)} files were left out", "files", ""),
    ):
        panel.set(title=title, xlabel=x, ylabel=y)
    genres.invert_yaxis()
    reasons.invert_yaxis()
    if not rejected:
        reasons.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
