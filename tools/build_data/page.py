"""`about.json` and `about.html`: what was built, as numbers, and as a page that stands alone."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.folders import AXES, SPLITS
from helpers.machinery.files import printable

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = Path(__file__).with_name("page.md.j2")
MOST_BARS, MOST_ROWS = 25, 500  # in the picture, and in a table


def described(
    clips: pd.DataFrame, rejected: pd.DataFrame, parameters: dict[str, object]
) -> dict[str, Any]:
    """What `about.json` says: parameters and versions, counts, licences, digests."""

    def counted(texts: pd.Series) -> dict[str, int]:
        return texts[texts != ""].value_counts().to_dict()

    made = [*zip(clips["id"], clips["split"], clips["features"], strict=True)]
    return {
        "parameters": parameters,
        "clips": {split: int((clips["split"] == split).sum()) for split in SPLITS},
        "genres": counted(clips["genre"]),
        "with affect": int(clips[AXES[0]].notna().sum()),
        "artists": len(counted(clips["group"])),
        "licences": counted(clips["licence"]),
        "rejected": counted(kinds_of(rejected["reason"])),
        "hours": round(float(clips["seconds"].sum()) / 3600, 3),
        "digest": hashlib.sha256(repr(made).encode()).hexdigest()[:16],
    }


def kinds_of(reasons: pd.Series) -> pd.Series:
    """Reasons without what differs from clip to clip: quotations, and what follows a colon."""
    return reasons.str.split(": | as ", regex=True).str[0].str.replace("'.*?' ", "", regex=True)


def page_of(
    clips: pd.DataFrame, rejected: pd.DataFrame, about: dict[str, Any], notes: list[str]
) -> str:
    """The page as HTML; its text stands in the template beside this file."""
    import pandas as pd
    from jinja2 import Environment
    from matplotlib import rc_context
    from nbformat import v4

    from tools.run.pages import STEPS, rendered

    genres = pd.crosstab(clips["genre"].replace("", "affect values alone"), clips["split"])
    genres = genres.reindex(columns=SPLITS, fill_value=0)
    with rc_context({"text.parse_math": False}):  # a $ in a name is a $
        picture = base64.b64encode(_picture(genres, clips, rejected)).decode()
    environment = Environment(autoescape=True)
    environment.filters["printable"] = printable
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about, notes=notes, genres=genres, rejected=rejected.head(MOST_ROWS),
        picture=picture,
    )  # fmt: skip
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(text, id="all")])
    return STEPS.sub("", rendered(notebook, "Your own music"))  # it has no neighbours


def _picture(genres: pd.DataFrame, clips: pd.DataFrame, rejected: pd.DataFrame) -> bytes:
    """Four panels as PNG; `genres` has a row for each, and a column for each split."""
    from matplotlib.figure import Figure

    from helpers.plots import COLOURS, use_style

    use_style()
    figure = Figure((11, 8), layout="constrained")
    bars, lengths, tempi, reasons = figure.subplots(2, 2).ravel()
    most = genres.loc[genres.sum(axis=1).nlargest(MOST_BARS).index]
    why = kinds_of(rejected["reason"]).str[:45].value_counts().head(8)
    bars.barh(most.index, most["train"], color=COLOURS[0], label="train")
    bars.barh(
        most.index, most["test"], left=most["train"], color=COLOURS[1], hatch="//", label="test"
    )
    bars.set(title="Clips per genre", xlabel="clips")
    bars.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    lengths.hist(clips["seconds"].astype(float), bins=30)
    lengths.set(title="Length", xlabel="seconds", ylabel="clips")
    tempi.hist(clips["tempo"].dropna().astype(float), bins=30)
    tempi.set(title="Tempo of the tracked beats", xlabel="beats per minute", ylabel="clips")
    reasons.barh(why.index, why)
    reasons.set(title=f"{len(rejected)} files were left out", xlabel="files")
    for panel in (bars, reasons):
        panel.invert_yaxis()
    if rejected.empty:
        reasons.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
