"""Showing sentences, tables, figures and sound, in notebooks and in plain scripts alike.

In a notebook each output carries what it shows as data, too; see `helpers.notebook.shown`.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.machinery.files import LabError
from helpers.notebook.shown import KEY, Figure, Lines, Piece, Sentence, Table, Text, stored
from helpers.notebook.words import Words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from helpers.evaluation import Comparison

FIGURE_DPI = 110
LONG = 25  # letters of a figure's text
PRINT_DPI = 150  # of what is rasterised in a figure's PDF: spectrograms


def tell(sentence: str | Sentence, /, **values: Any) -> None:
    """Show a sentence that was computed from this run: Markdown in a notebook, print elsewhere.

    `sentence` is a template for the values, as of `Sentence`, or a whole sentence.
    """
    whole = sentence if isinstance(sentence, Sentence) else Sentence(sentence, **values)
    _show(str(whole), {"text/markdown": str(whole)}, Text([whole]))


def tell_list(sentences: Iterable[Sentence]) -> None:
    """Show sentences as a list."""
    whole = list(sentences)
    text = "\n".join(f"- {sentence}" for sentence in whole)
    _show(text, {"text/markdown": text}, Text(whole, is_list=True))


def comparison_sentence(comparison: Comparison, first: str, second: str, what: str) -> Sentence:
    """What a comparison of two models in `what` says, in words that hold for its numbers."""
    names, score = {"first": first, "second": second, "what": what}, comparison.difference
    if not score.defined:
        template = "{first} and {second} cannot be compared in {what}: {reason}."
        return Sentence(template, **names, reason=score.reason)
    corrected = trainings = Sentence("")
    if comparison.adjusted is not None and comparison.n_compared > 1:
        template = ", p {p} after Holm's correction for {n}"
        corrected = Sentence(template, p=_p(comparison.adjusted), n=comparison.n_compared)
    several = max(comparison.n_trainings) > 1
    if several:
        one, other = comparison.n_trainings
        trainings = Sentence("; the mean over {one} and {other} trainings", one=one, other=other)
    return Sentence(
        "{difference} (95 % interval of the difference {low:+.3f} to {high:+.3f}; p {p}"
        "{corrected}{trainings}): {verdict}.",
        difference=Sentence(
            "{first}: {size:.3f} above {second} in {what}" if score.value > 0 else
            "{first}: {size:.3f} below {second} in {what}" if score.value < 0 else
            "{first} against {second} in {what}",
            **names, size=abs(score.value),
        ),
        low=score.low, high=score.high, p=_p(comparison.p_value),
        corrected=corrected, trainings=trainings,
        verdict=Sentence(
            "no difference on these clips" if score.value == 0 else
            "it may be chance" if not comparison.clear else
            "unlikely to be chance" if several else
            "unlikely to be chance, for these two trained models"
        ),
    )  # fmt: skip


def _p(p_value: float) -> Sentence:
    return Sentence("< {p:.3f}" if p_value < 0.0005 else "= {p:.3f}", p=max(p_value, 0.001))


def tell_comparisons(comparisons: Mapping[tuple[str, str], Comparison], what: str) -> None:
    """Show a sentence for each pair (first, second) that was compared in `what`, as a list."""
    tell_list(comparison_sentence(c, *pair, what) for pair, c in comparisons.items())


def show_table(table: pd.DataFrame, digits: int = 3, caption: str | Sentence = "") -> None:
    """Show a table with rounded numbers: HTML in a notebook, text elsewhere.

    Cells may be scores. The caption is the report's.
    """
    whole = table.reset_index(names=[str(name or "") for name in table.index.names])
    rows = list(whole.itertuples(index=False, name=None))
    piece = Table([str(name) for name in whole.columns], rows, _sentence(caption), digits)
    markup = _as_html(piece, table.index.nlevels)
    _show(table.round(digits).to_string(), {"text/html": markup}, piece)


def _as_html(table: Table, n_heads: int) -> str:
    """A table whose first columns head its rows; text stands at the left, numbers at the right."""
    columns = [_as_text(column, table.digits) for column in zip(*table.rows, strict=True)]
    columns = columns or [[] for _ in table.columns]
    sides = ["right" if texts and all(map(_NUMBER.match, texts)) else "left" for texts in columns]
    sides[:n_heads] = ["left"] * n_heads

    def row(cells: Sequence[str], tags: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag[:2]}>'
            for tag, side, cell in zip(tags, sides, cells, strict=True)
        )

    head = row(table.columns, ['th scope="col"'] * len(sides))
    tags = ['th scope="row"'] * n_heads + ["td"] * (len(sides) - n_heads)
    body = "".join(f"<tr>{row(cells, tags)}</tr>" for cells in zip(*columns, strict=True))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_NUMBER = re.compile(r"[-+]?[\d.,]+( ?%| \[.*\])?$|–$")


def _as_text(column: Sequence[Any], digits: int) -> list[str]:
    """The cells of a column; its floats with as many decimals, up to `digits`, as they need."""
    column = [value.item() if hasattr(value, "item") else value for value in column]
    column = [round(value, digits) + 0.0 if isinstance(value, float) else value for value in column]
    floats = [value for value in column if isinstance(value, float) and value == value]
    needed = (n for n in range(digits) if all(round(value, n) == value for value in floats))
    decimals = min(needed, default=digits)

    def text(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.{decimals}f}" if value == value else "–"

    return [text(value) for value in column]


def _sentence(text: str | Sentence) -> Sentence:
    return text if isinstance(text, Sentence) else Sentence(text)


def show_lines(text: str, file: str) -> None:
    """Show lines of a text file, named for the report."""
    _show(text, {}, Lines(text, file))


def show_html(markup: str, plain: str) -> None:
    """Show HTML in a notebook; print `plain` elsewhere."""
    _show(plain, {"text/html": markup})


def play(path: Path) -> None:
    """Offer an audio file to listen to: a player in a notebook, the file's name elsewhere."""
    if not in_notebook():
        print(f"audio: {path}")
        return
    from IPython.display import Audio, display

    display(Audio(filename=str(path)))


def in_notebook() -> bool:
    """Whether outputs are displayed by IPython: in JupyterLab, on Kaggle, by the runner."""
    from IPython import get_ipython

    return get_ipython() is not None


def render_figure(
    figure: Drawing, name: str, spoken: Sequence[str] = ()
) -> tuple[bytes, dict[str, bytes], str]:
    """A figure as PNG and, for print, as PDF by language, and its alt text; the figure is closed.

    `spoken` has English first. In a PDF text stays text (type 42) and lines lines; undated, so that
    reruns agree. Its images stay apart, as joining them takes seconds. Its keywords are the texts
    that have no translation. Raises LabError for a figure without alt text.
    """
    import matplotlib.pyplot as plt

    alt = figure.get_label()
    if not alt:
        raise LabError(f"figure {name!r} has no alt text; set it with figure.set_label(...)")
    png, pdfs, layout = io.BytesIO(), {}, figure.get_layout_engine()
    figure.savefig(png, format="png", dpi=FIGURE_DPI, metadata={"Description": alt})
    figure.set_layout_engine("none")  # as it is laid out now, it fits in English
    for language in spoken:
        words = Words(language)
        _translate(figure, words)  # English, too: its minus signs
        pdf = io.BytesIO()
        with plt.rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
            left = words.left if language != "en" else ()
            about = {"CreationDate": None, "Keywords": "; ".join(sorted(left))}
            figure.savefig(pdf, format="pdf", dpi=PRINT_DPI, metadata=about)
        pdfs[language] = pdf.getvalue()
        figure.set_layout_engine(layout)
    plt.close(figure)
    return png.getvalue(), pdfs, alt


def _translate(figure: Drawing, words: Words) -> None:
    """Put an English figure that was drawn once into other words, its ticks' numbers, too."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text as Label
    from matplotlib.ticker import Formatter

    class Ticks(Formatter):
        """The labels of an axis in other words."""

        def __init__(self, english: Formatter) -> None:
            self.format_ticks = lambda places: list(map(words.drawn, english.format_ticks(places)))
            self.get_offset = lambda: words.drawn(english.get_offset())

    # Not `figure.axes`, which lacks insets such as the colour bars of `plots.maps`.
    for axis in (axis for ax in figure.findobj(Axes) for axis in (ax.xaxis, ax.yaxis)):
        english = axis.get_major_formatter()
        if not isinstance(english, Ticks):  # shared with another one
            axis.set_major_formatter(Ticks(english))
    for label in figure.findobj(Label):
        label.set_text(words.drawn(label.get_text()))
        is_row = label.get_horizontalalignment() == "right" or label.get_rotation()
        if words.language != "en" and not is_row and len(label.get_text()) > LONG:
            label.set_wrap(True)  # a title or an axis's name, rather than leave the figure


def show_picture(png: bytes, alt: str, name: str, caption: str | Sentence = "") -> None:
    """In a notebook, show the picture with its alt text; in a script, name it."""
    data = {"image/png": base64.b64encode(png).decode()}
    piece = Figure(name, _sentence(caption))
    _show(f"figure {name}: {alt}", data, piece, {"image/png": {"alt": alt}})


def _show(
    plain: str, data: Mapping[str, str], piece: Piece | None = None,
    metadata: Mapping[str, Any] = {},
) -> None:  # fmt: skip
    """Show data, by MIME type, in a notebook, and with them the piece; print `plain` elsewhere."""
    if not in_notebook():
        print(plain)
        return
    from IPython.display import display

    about = {KEY: stored(piece)} if piece else {}
    display({"text/plain": plain, **data}, raw=True, metadata={**metadata, **about})
