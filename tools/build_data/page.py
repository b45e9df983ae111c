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

MOST_BARS = 25  # of genres, or of reasons, in the picture
ALT = (
    "Four panels: clips per genre in train and test, the clips' lengths, their tracked tempo, and "
    "why files were left out. The tables below hold the same numbers."
)


def page_of(
    clips: Sequence[Clip], rejected: Sequence[Rejected], rows: Mapping[str, Row],
    about: dict[str, Any], notes: Sequence[str],
) -> str:  # fmt: skip
    """The page as HTML."""
    import nbformat

    from tools.run.pages import rendered

    def cell(number: int, text: str) -> Any:
        return nbformat.v4.new_markdown_cell(text, id=f"about-{number}")

    picture = nbformat.v4.new_code_cell("", id="about-picture")
    picture.outputs = [
        nbformat.v4.new_output(
            "display_data",
            {"image/png": base64.b64encode(_picture(clips, rejected, rows)).decode()},
            metadata={"image/png": {"alt": ALT}},
        )
    ]
    genres = sorted({clip.genre for clip in clips if clip.genre})
    times = Counter((clip.genre, clip.split) for clip in clips)
    groups = {g: {c.group for c in clips if c.genre == g and c.group} for g in genres}
    lines = [f"| {_cell(g)} | {times[g, 'train']} | {times[g, 'test']} | {len(groups[g])} |"
             for g in genres]  # fmt: skip
    summary = (
        f"# Your own music\n\n{len(clips)} clips, {about['hours']} hours; {len(rejected)} files "
        f"were left out. {about['with affect']} clips have values of valence, energy and "
        "danceability."
    )
    said = "".join(f"\n- {_cell(note)}" for note in notes)
    head = "## Clips per genre\n\n| genre | train | test | artists or albums |\n|---|--:|--:|--:|\n"
    out = "\n".join(f"| {_cell(one.path)} | {_cell(one.reason)} |" for one in rejected[:500])
    more = f"\n\n{len(rejected) - 500} more in rejected.csv" if len(rejected) > 500 else ""
    parameters = json.dumps(about["parameters"], indent=1, ensure_ascii=False, sort_keys=True)
    texts = [
        summary + (f"\n\n**Mind**\n{said}" if said else ""),
        head + "\n".join(lines),
        f"## Left out\n\n| file | reason |\n|---|---|\n{out}{more}" if rejected else "",
        f"## How it was made\n\n```json\n{parameters}\n```",
    ]
    cells = [cell(number, text) for number, text in enumerate(texts) if text]
    return rendered(nbformat.v4.new_notebook(cells=[cells[0], picture, *cells[1:]]), "Your data")


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
    left = np.zeros(len(names))
    for split, colour, hatch in zip(SPLITS, COLOURS, ("", "//"), strict=False):
        n = [sum(c.genre == name and c.split == split for c in clips) for name in names]
        genres.barh(names, n, left=left, color=colour, hatch=hatch, label=split)
        left += n
    genres.invert_yaxis()
    genres.legend()
    genres.set(title="Clips per genre", xlabel="clips")
    lengths.hist([rows[clip.id]["seconds"] for clip in clips], bins=30, color=COLOURS[0])
    lengths.set(title="Length", xlabel="seconds", ylabel="clips")
    found = [rows[clip.id]["tempo"] for clip in clips if rows[clip.id]["tempo"]]
    tempi.hist(found, bins=30, color=COLOURS[0])
    tempi.set(title="Tempo of the tracked beats", xlabel="beats per minute", ylabel="clips")
    why = Counter(one.reason.split(":")[0][:45] for one in rejected).most_common(8)
    reasons.barh([name for name, _ in why], [n for _, n in why], color=COLOURS[1])
    reasons.invert_yaxis()
    reasons.set(title=f"{len(rejected)} files were left out", xlabel="files")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
