"""Showing sentences, tables, figures and sound, in notebooks and in plain scripts alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.machinery.files import LabError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from helpers.evaluation import Comparison

FIGURE_DPI = 110
PRINT_DPI = 200  # of what is rasterised in a figure's PDF: spectrograms


def tell(text: str) -> None:
    """Show a sentence that was computed from this run: Markdown in a notebook, print elsewhere."""
    if not _in_notebook():
        print(text)
        return
    from IPython.display import Markdown, display

    display(Markdown(text))


def tell_comparisons(comparisons: Mapping[tuple[str, str], Comparison], what: str) -> None:
    """Show a sentence for each pair (first, second) that was compared in `what`, as a list."""
    tell("\n".join(f"- {c.sentence(*pair, what)}" for pair, c in comparisons.items()))


def show_table(table: pd.DataFrame, digits: int = 3) -> None:
    """Show a table with rounded numbers: HTML in a notebook, text elsewhere."""
    rounded = table.round(digits)
    if not _in_notebook():
        print(rounded.to_string())
        return
    from IPython.display import display

    display(rounded)


def show_source(thing: Callable[..., Any]) -> None:
    """Show the source of a class or function of `helpers`, so that there is one copy of it."""
    import inspect

    source = inspect.getsource(thing)
    if not _in_notebook():
        print(source)
        return
    from IPython.display import Code, display

    display(Code(source, language="python"))


def play(path: Path) -> None:
    """Offer an audio file to listen to: a player in a notebook, the file's name elsewhere."""
    if not _in_notebook():
        print(f"audio: {path}")
        return
    from IPython.display import Audio, display

    display(Audio(filename=str(path)))


def replace_shown(figure: Figure, display_id: str) -> None:
    """Put a figure in the place of the one that `Record.show` showed under this id.

    What was stored stays. Raises LabError for a figure without alt text.
    """
    from IPython.display import Image, update_display

    png, _, alt = render_figure(figure, display_id)
    update_display(Image(data=png, format="png", alt=alt), display_id=display_id)


def _in_notebook() -> bool:
    from IPython import get_ipython

    return get_ipython() is not None


def render_figure(figure: Figure, name: str) -> tuple[bytes, bytes, str]:
    """A figure as PNG and, for print, as PDF, and its alt text; the figure is closed.

    In the PDF text stays text (type 42) and lines lines; undated, so that reruns agree. Raises
    LabError for a figure without alt text.
    """
    import matplotlib.pyplot as plt

    alt = figure.get_label()
    if not alt:
        raise LabError(f"figure {name!r} has no alt text; set it with figure.set_label(...)")
    png, pdf = io.BytesIO(), io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):
        figure.savefig(pdf, format="pdf", dpi=PRINT_DPI, metadata={"CreationDate": None})
    figure.savefig(png, format="png", dpi=FIGURE_DPI, metadata={"Description": alt})
    plt.close(figure)
    return png.getvalue(), pdf.getvalue(), alt


def show_picture(png: bytes, alt: str, name: str, display_id: str | None = None) -> None:
    """In a notebook, show the picture with its alt text; in a script, name it.

    `replace_shown` can put another figure in the place of one with a `display_id`.
    """
    if not _in_notebook():
        print(f"figure {name}: {alt}")
        return
    from IPython.display import Image, display

    display(Image(data=png, format="png", alt=alt), display_id=display_id)
