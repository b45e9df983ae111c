"""Every figure of the lab, each with its alt text as label. Used by all notebooks.

Colours are colour-blind safe (Okabe-Ito; cividis for maps) and survive grey print.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from scipy.spatial.distance import squareform

from helpers.features import HOP_LENGTH, SAMPLE_RATE

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from helpers.evaluation import Comparison, Score
    from helpers.training import History

# Okabe & Ito 2008, black last because lines of text are black too; then two for the lab's ninth and
# tenth class, the first of Tol 2021: to colour-blind eyes farther from the others than these are
# from each other.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
    "#882255", "#6B4226",
)  # fmt: skip
COLOUR_MAP = "cividis"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "p")
DASHES = ("-", "--", "-.", ":")
DB_RANGE = (-80.0, 0.0)
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def use_style() -> None:
    """Set Matplotlib's defaults for all figures of a notebook."""
    plt.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "image.cmap": COLOUR_MAP,
            "legend.frameon": False,
            "text.usetex": False,  # a user's own matplotlibrc may ask for LaTeX
        }
    )


def _figure(
    n_rows: int, n_columns: int, width: float, height: float, alt: str, title: str = "",
    **options: Any,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A figure with its alt text and title, and its axes as an array [n_rows, n_columns]."""
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    figure.set_label(alt)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


def _one_panel(width: float, height: float, alt: str) -> tuple[Figure, Axes]:
    """A figure with its alt text, and its only axes."""
    figure, axes = _figure(1, 1, width, height, alt)
    return figure, axes[0, 0]


def curves(
    lines: Mapping[Any, Any] | pd.DataFrame, title: str, xlabel: str, ylabel: str,
    levels: Mapping[str, float] | None = None, lowest: bool = False, first: int = 0, **scales: Any,
) -> Figure:  # fmt: skip
    """A line per name, told apart in grey, too, and a grey one at each of the named `levels`.

    Each line is a Series, or an array or list whose numbers are counted from `first` on; of few
    numbers each has a mark, the lowest a larger one if wanted. `scales` go to `Axes.set`.
    """
    series = {str(n): pd.Series(v).rename(lambda at: at + first) for n, v in lines.items()}
    told = "; ".join(
        f"{name}: {values.iloc[0]:.3g} to {values.iloc[-1]:.3g}"
        + (f", lowest {values.min():.3g} at {values.idxmin()}" if lowest else "")
        for name, values in series.items()
    )
    figure, ax = _one_panel(8, 3.4, f"{title}. {told}.")
    for number, (name, values) in enumerate(series.items()):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        ax.plot(values, label=name, linestyle=DASHES[number % len(DASHES)], markersize=4,
                **style | ({} if len(values) <= 50 else {"marker": ""}))  # fmt: skip
        if lowest:
            place = values.idxmin()
            ax.plot(place, values[place], markersize=10, markeredgecolor="black", **style)
    for (name, level), dashes in zip((levels or {}).items(), (":", "--"), strict=False):
        ax.axhline(level, color="0.4", linewidth=1, linestyle=dashes, label=name)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, **scales)
    if "xticks" in scales:  # these alone, as plain numbers, on a logarithmic axis, too
        ax.set_xticks([], minor=True)
        ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _listed(columns: Mapping[Any, Mapping[Any, float] | pd.Series], form: str) -> str:
    """Each column's name and numbers, for an alt text; `form` is how a number is written."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{row} {value:{form}}" for row, value in column.items())
        for name, column in columns.items()
    )


# ---- spectrograms ------------------------------------------------------------------------------


FEATURE_KINDS = {"mel": "mel", "beat mel": "mel", "chroma": "chroma", "beat chroma": "chroma"}


def spectrograms(clips: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Clips side by side, drawn by `librosa.display.specshow` on shared colour scales (1γ, 3).

    `clips` maps a title to its arrays by name: any of mel and beat mel [128, T] in dB, chroma and
    beat chroma [12, T], the same for each. A column per clip, a row per name; time runs across in
    seconds, or in beats.
    """
    names = list(next(iter(clips.values())))
    size = (5.5 * len(clips), 1.15 + 2.25 * len(names))
    figure, axes = _figure(len(names), len(clips), *size, "", sharey="row")
    told = []
    for row, name in zip(axes, names, strict=True):
        scale = "level (dB)" if FEATURE_KINDS[name] == "mel" else "strength (0-1)"
        unit = "beat number" if name.startswith("beat") else "time (s)"
        told.append(f"{name}, {scale}, {unit} across")
        for ax, (title, arrays) in zip(row, clips.items(), strict=True):
            picture = _draw_clip(ax, arrays[name], name)
            ax.set(title=f"{name}: {title}" if len(names) > 1 else title, xlabel=unit)
            if ax is not row[0]:
                ax.set_ylabel("")
        figure.colorbar(picture, ax=row, label=scale)
    figure.set_label(f"Frequency up; {'; '.join(told)}; for: {'; '.join(clips)}.")
    return figure


def histogram(values: Mapping[str, np.ndarray], title: str, xlabel: str, alt: str) -> Figure:
    """Histograms of one quantity, one panel per name, on a shared axis."""
    width = 4 * len(values)
    figure, axes = _figure(1, len(values), width, 2.8, alt, title, sharex=True, sharey=True)
    for number, (name, numbers) in enumerate(values.items()):
        ax = axes[0, number]
        ax.hist(numbers, bins=20, color=COLOURS[number % len(COLOURS)], edgecolor="white")
        ax.set(title=name, xlabel=xlabel, ylabel="clips")
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.label_outer()
    return figure


def class_counts(
    counts: Mapping[str, int], class_of: Mapping[str, str | None], title: str
) -> Figure:
    """Clips per genre, and per class as a bar of its genres' pieces (step 4γ).

    A genre has one colour in both panels; those without a class are hatched, on the left alone.
    """
    order = sorted(counts, key=lambda genre: (class_of[genre] or "~", genre))  # dropped ones last
    figure, axes = _figure(1, 2, 11, 0.8 + 0.24 * len(order), "", title, sharex=True)
    before, after = axes[0]
    totals: dict[str, int] = {}
    for name, group in groupby(order, class_of.get):
        genres = list(group)
        for number, genre in enumerate(genres):
            colour = (COLOURS[5], COLOURS[1], "0.75")[number % 3] if name else "white"
            style = {"color": colour, "edgecolor": "0.3", "hatch": "" if name else "////"}
            before.bar_label(before.barh(genre, counts[genre], **style), padding=2, fontsize=8)
            if name:
                piece = after.barh(name, counts[genre], left=totals.get(name, 0), **style)
                text = genre if len(genres) > 1 else ""
                after.bar_label(piece, [text], label_type="center", fontsize=7)
                totals[name] = totals.get(name, 0) + counts[genre]
    for name, n in totals.items():
        after.annotate(str(n), (n, name), (3, -3), textcoords="offset points", fontsize=8)
    for ax, panel, what in ((before, counts, "genres"), (after, totals, "classes")):
        ax.invert_yaxis()
        ax.set(title=f"{sum(panel.values())} clips, {len(panel)} {what}", xlabel="clips")
    figure.set_label(f"{title}. {_listed({'before': counts, 'after': totals}, 'd')}.")
    return figure


def _draw_clip(ax: Axes, array: np.ndarray, name: str = "mel") -> Any:
    """One spectrogram or chromagram on the scale that all of its kind share.

    Beat k stands between columns k and k + 1: the first column lies before beat 0.
    """
    import librosa.display

    kind, in_beats = FEATURE_KINDS[name], name.startswith("beat")
    limits = DB_RANGE if kind == "mel" else (0.0, 1.0)
    picture = librosa.display.specshow(
        np.asarray(array, dtype=np.float32),
        x_axis="frames" if in_beats else "time", y_axis=kind,
        x_coords=np.arange(array.shape[1]) - 0.5 if in_beats else None,
        sr=SAMPLE_RATE, hop_length=HOP_LENGTH, fmax=SAMPLE_RATE / 2,
        cmap=COLOUR_MAP, vmin=limits[0], vmax=limits[1], ax=ax, rasterized=True,
    )  # fmt: skip
    ax.set_ylabel("frequency (Hz)" if kind == "mel" else "pitch class")
    if kind == "chroma":
        ax.set_yticks(range(len(PITCHES)), PITCHES, fontsize=7)
    return picture


# ---- training ----------------------------------------------------------------------------------


def learning_curves(
    histories: Mapping[str, History], title: str = "Learning curves",
    at_kept: Mapping[str, float] | None = None, constant: float | None = None,
) -> Figure:  # fmt: skip
    """Training and validation loss over the epochs, the kept epoch marked; one panel per model.

    `at_kept` marks in the kept epoch the loss on the training clips as they are, without mixtures;
    `constant`, of regressors, which are drawn on one scale, is the loss of the training mean.
    """
    at_kept = at_kept or {}
    told = "; ".join(
        f"{name}: kept epoch {h.best_epoch} of {len(h.train_loss)}, final training loss "
        f"{h.train_loss[-1]:.3f}"
        + (f", lowest validation loss {min(h.val_loss):.3f}" if h.val_loss else "")
        + (f", of the kept epoch without mixtures {at_kept[name]:.3f}" if name in at_kept else "")
        for name, h in histories.items()
    )
    alt = f"{title}. {told}."
    alt += "" if constant is None else f" Training mean: {constant:.3f}."
    n_columns = min(3, len(histories))
    n_rows = -(-len(histories) // n_columns)
    size = (3.8 * n_columns, 2.8 * n_rows + 0.3)
    figure, axes = _figure(n_rows, n_columns, *size, alt, title)
    for ax in axes.flat[len(histories) :]:
        ax.remove()
    highest = max(max(h.train_loss + h.val_loss + [constant or 0]) for h in histories.values())
    for ax, (name, history) in zip(figure.axes, histories.items(), strict=True):
        _draw_history(ax, name, history, at_kept.get(name))
        if constant is not None:
            ax.axhline(constant, color="0.3", linewidth=1, linestyle="-.", label="training mean")
            ax.set(ylabel="mean squared error", ylim=(0, 1.1 * highest))
    entries = (zip(*ax.get_legend_handles_labels(), strict=True) for ax in figure.axes)
    once = {name: handle for panel in entries for handle, name in panel}
    figure.legend(once.values(), once, loc="outside lower center", ncols=2 * n_columns, fontsize=8)
    return figure


def _draw_history(ax: Axes, name: str, history: History, at_kept: float | None = None) -> None:
    epochs = np.arange(1, len(history.train_loss) + 1)
    if at_kept is not None:
        ax.plot(history.best_epoch, at_kept, color=COLOURS[0], marker="D", markersize=7,
                fillstyle="none", linestyle="none", label="train, unmixed")  # fmt: skip
    ax.plot(epochs, history.train_loss, color=COLOURS[0], marker="o", markersize=3, label="train")
    if history.val_loss:
        ax.plot(epochs, history.val_loss, color=COLOURS[3], marker="s", markersize=3,
                linestyle="--", label="validation")  # fmt: skip
        ax.axvline(history.best_epoch, color="0.5", linewidth=1, linestyle=":", label="kept epoch")
    for last in history.stage_ends:  # as where frozen weights begin to learn (step 9δ)
        ax.axvline(last + 0.5, color="0.6", linewidth=1, linestyle="-.")
        ax.annotate("next stage ", (last + 0.5, 0), xycoords=("data", "axes fraction"), ha="right",
                    xytext=(0, 3), textcoords="offset points", fontsize=8, color="0.3")  # fmt: skip
    ax.set(title=name, xlabel="epoch", ylabel="loss")
    ax.set_ylim(0, 1.1 * max(history.train_loss + history.val_loss))
    ax.xaxis.get_major_locator().set_params(integer=True)


# ---- evaluation --------------------------------------------------------------------------------


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Row-normalised confusion matrix with numbers: counts [C, C], true classes down."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    own = dict(zip(classes, np.diag(shares), strict=True))
    told = ", ".join(f"{name} {share:.0%}" for name, share in own.items())
    size = 2.2 + 0.52 * len(classes)
    alt = f"{title}. Share of each true class that is recognised: {told}."
    figure, ax = _one_panel(size + 1, size, alt)
    seaborn.heatmap(
        shares, annot=shares, mask=counts == 0, fmt=".2f", annot_kws={"fontsize": 8},
        vmin=0, vmax=1, cmap=COLOUR_MAP, square=True, cbar_kws={"label": "share of the true class"},
        xticklabels=list(classes), ax=ax,
        yticklabels=[f"{name} ({n})" for name, n in zip(classes, counts.sum(1), strict=True)],
    )  # fmt: skip
    ax.set_facecolor(plt.get_cmap(COLOUR_MAP)(0.0))  # masked cells are zeros
    ax.set_title(title)
    ax.set(xlabel="predicted", ylabel="true (test clips)")
    ax.tick_params(axis="x", rotation=45)
    ax.tick_params(axis="y", rotation=0)  # of few classes seaborn turns the names
    return figure


def score_plot(
    scores: Mapping[str, Score], title: str, xlabel: str, reference: float | None = None,
    reference_name: str = "majority class", baselines: Collection[str] = (),
) -> Figure:  # fmt: skip
    """One row per name: the value as a dot and its 95 % interval as a line.

    Rows such as "energy: CNN" take colour and marker from what stands behind the colon; others are
    all alike, but for `baselines`, which are grey. `reference` draws a vertical line (a baseline,
    or 0 for differences).
    """
    told = "; ".join(f"{name} {score}" for name, score in scores.items())
    figure, ax = _one_panel(7.5, 1.0 + 0.34 * len(scores), f"{title}. {told}.")
    kinds = list(dict.fromkeys(name.partition(": ")[2] for name in scores))
    for row, (name, score) in enumerate(scores.items()):
        style = kinds.index(name.partition(": ")[2])
        colour = "0.45" if name in baselines else COLOURS[style % 6]
        _draw_score(ax, row, score, ".2f", color=colour, marker=MARKERS[style % len(MARKERS)])
    if reference is not None:
        ax.axvline(reference, color="0.4", linestyle=":", label=reference_name)
    if baselines:
        ax.plot([], [], marker=MARKERS[0], color="0.45", label="baseline")
    if reference is not None or baselines:
        ax.legend(fontsize=8, loc="best")
    _name_rows(ax, list(scores))
    ax.set_title(title, wrap=True)  # long names leave little room above
    ax.set_xlabel(xlabel)
    return figure


def scores_by_axis(scores: Mapping[str, Mapping[str, Score]], title: str, xlabel: str) -> Figure:
    """A panel per affect axis, a row per model in each: value and 95 % interval; 0 is dotted."""
    columns = list(next(iter(scores.values())))
    told = "; ".join(f"{c}: {', '.join(f'{m} {s[c]}' for m, s in scores.items())}" for c in columns)
    figure, axes = _figure(
        1, len(columns), 2.2 + 2.1 * len(columns), 1.1 + 0.5 * len(scores), f"{title}. {told}.",
        title, sharex=True, sharey=True,
    )  # fmt: skip
    for ax, column in zip(axes[0], columns, strict=True):
        for row, own in enumerate(scores.values()):
            style = {"color": COLOURS[row % 6], "marker": MARKERS[row % len(MARKERS)]}
            _draw_score(ax, row, own[column], ".2f", **style)
        ax.axvline(0, color="0.4", linestyle=":")
        ax.set(title=column, xlabel=xlabel)
    _name_rows(axes[0, 0], list(scores))
    return figure


def _draw_score(ax: Axes, row: int, score: Score, form: str, **style: Any) -> None:
    """A score in its row: a dot with its number on white above it, and its interval as a line.

    Where it is undefined, the reason, in the middle of whatever the other rows span.
    """
    if not score.defined:
        text = ax.text(
            0.5, row, f"undefined: {score.reason}", transform=ax.get_yaxis_transform(),
            fontsize=8, ha="center", va="center",
        )  # fmt: skip
        text.set_in_layout(False)
        return
    if np.isfinite(score.low):
        ax.plot([score.low, score.high], [row, row], color=style["color"], linewidth=2)
    ax.plot(score.value, row, markersize=7, **style)
    ax.annotate(
        f"{score.value:{form}}", (score.value, row), xytext=(0, 6), textcoords="offset points",
        ha="center", fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.8)


def scatter_maps(
    drawn: Mapping[str, np.ndarray], labels: Sequence[str], title: str, n_columns: int = 2
) -> Figure:
    """Maps of the same clips side by side (step 11b): a dot per clip, in its class's style.

    `drawn` maps a panel's title to places [n, 2]; `labels` are the n clips' classes. Both axes of a
    panel have one scale, as distances are what is looked at.
    """
    classes, labels = sorted(set(labels)), np.asarray(labels)
    n_rows = -(-len(drawn) // n_columns)
    alt = f"{title}. Maps of {len(labels)} clips of {len(classes)} classes: {'; '.join(drawn)}."
    size = (1.9 + 3.3 * n_columns, 0.5 + 2.9 * n_rows)
    figure, axes = _figure(n_rows, n_columns, *size, alt, title)
    for ax in axes.flat[len(drawn) :]:
        ax.axis("off")
    for ax, (name, places) in zip(axes.flat, drawn.items(), strict=False):
        for number, one in enumerate(classes):
            turn = number // len(COLOURS)  # an eleventh class: the first colour, another marker
            marker = MARKERS[(number + 3 * turn) % len(MARKERS)]
            x, y = places[labels == one].T
            colour = COLOURS[number % len(COLOURS)]
            ax.scatter(x, y, s=26, color=colour, marker=marker, label=one,
                       edgecolors="0.3", linewidths=0.3)  # or yellow is lost on white  # fmt: skip
        ax.set(xticks=[], yticks=[], xlabel="axis 1 of the map", ylabel="axis 2 of the map")
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(name, fontsize=9)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=8)
    return figure


def differences(comparisons: Mapping[tuple[str, str], Comparison], what: str) -> Figure:
    """Forest plot of paired differences in `what`: a row per pair (first, second).

    A dot and its 95 % interval, filled where the difference is clear; 0 is a dotted line. The title
    counts the clear ones.
    """
    names = [f"{first} minus {second}" for first, second in comparisons]
    results = list(comparisons.values())
    signs = [np.sign(result.difference.value) if result.clear else 0 for result in results]
    above, below = signs.count(1), signs.count(-1)
    title = f"{above} clearly above, {below} clearly below, {len(results) - above - below} open"
    told = "; ".join(
        f"{name} {result.difference}{', clear' if result.clear else ''}"
        for name, result in zip(names, results, strict=True)
    )
    is_long = max(map(len, names), default=0) > 45
    figure, ax = _one_panel(8, 1.1 + (0.5 if is_long else 0.36) * len(names), f"{title}. {told}.")
    ax.axvline(0, color="0.4", linestyle=":", label="no difference")
    for row, result in enumerate(results):
        style = {"color": COLOURS[0]} if result.clear else {"color": "0.5", "mfc": "white"}
        _draw_score(ax, row, result.difference, "+.3f", marker="o", **style)
    _name_rows(ax, [name.replace(" minus ", "\nminus ") if is_long else name for name in names])
    figure.suptitle(f"{title} (filled: clear)", x=0.01, ha="left")  # long names leave no room above
    ax.set_xlabel(f"difference in {what} (95 % interval)")
    return figure


def class_f1(table: pd.DataFrame, title: str) -> Figure:
    """F1 per class as grouped dots: rows are classes, columns are models, values 0..1."""
    alt = f"{title}. {_listed(table, '.2f')}."
    figure, ax = _one_panel(8, 1.2 + 0.36 * len(table), alt)
    offsets = np.linspace(-0.25, 0.25, len(table.columns))
    for number, (model, column) in enumerate(table.items()):
        ax.plot(column, np.arange(len(table)) + offsets[number], linestyle="", markersize=5,
                marker=MARKERS[number % len(MARKERS)], color=COLOURS[number % len(COLOURS)],
                label=str(model))  # fmt: skip
    ax.set_yticks(range(len(table)), [str(name) for name in table.index])
    ax.grid(axis="y", color="0.92")
    ax.invert_yaxis()
    ax.set(title=title, xlabel="F1 on test", xlim=(-0.02, 1.02))
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def predicted_against_true(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, Score]], title: str
) -> Figure:
    """Scatter of predictions over true values, one panel per axis: (true [n], predicted [n])."""
    told = "; ".join(f"{name}: Spearman {score}" for name, (_, _, score) in panels.items())
    alt, width = f"{title}. {told}.", 3.6 * len(panels)
    figure, axes = _figure(1, len(panels), width, 3.5, alt, title, sharex=True, sharey=True)
    # A linear head may leave 0..1; no clip is cut off.
    everything = np.concatenate([[0.0, 1.0], *(values for _, values, _ in panels.values())])
    limits = (float(everything.min()) - 0.02, float(everything.max()) + 0.02)
    for number, (name, (true, predicted, score)) in enumerate(panels.items()):
        ax = axes[0, number]
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        ax.scatter(true, predicted, s=12, alpha=0.7, color=COLOURS[number], edgecolor="none")
        ax.set_title(f"{name}: Spearman {score.value:.2f}" if score.defined else f"{name}: {score}")
        ax.set(xlabel="true value", ylabel="predicted", xlim=(-0.02, 1.02), ylim=limits)
        ax.label_outer()
    return figure


# ---- inside a network --------------------------------------------------------------------------


def maps(
    rows: Mapping[str, torch.Tensor], title: str, n_columns: int = 8, column: str = "channel"
) -> Figure:
    """Filters and what they answer: tensors [K, H, W], channel k below channel k (7α, 7ε).

    The first `n_columns` channels are drawn, under headings such as `column` 3. Each row has one
    scale, with its bar; a row with negative values is white at 0. Long pictures are squeezed.
    """
    shapes = ", ".join(f"{name}: {' x '.join(map(str, m.shape))}" for name, m in rows.items())
    shown, cell = min(n_columns, max(map(len, rows.values()))), 0.88  # of a place that is 1 x 1
    figure, axes = _figure(
        1, 1, 1.0 * shown + 2, 0.95 * len(rows) + 0.5,
        f"{title}. Channels x height x width in each row: {shapes}.", title,
    )  # fmt: skip
    ax = axes[0, 0]  # one for all pictures: Matplotlib needs seconds to lay 90 axes out
    for top, channels in enumerate(rows.values()):
        style = _scale(float(channels[:shown].min()), float(channels[:shown].max()))
        for left, channel in enumerate(channels[:shown]):
            right = left + cell * min(1, channel.shape[1] / channel.shape[0])
            place = (left, right, top + cell, top)
            picture = ax.imshow(channel.numpy(), extent=place, **style)
        beside = (shown, top + 0.1, 0.12, cell - 0.2)
        bar = ax.inset_axes(beside, transform=ax.transData, label="<colorbar>")
        ticks = sorted({style["vmin"], 0, style["vmax"]})
        figure.colorbar(picture, bar, ticks=ticks, format="%.2g")
    ax.set(xlim=(0, shown), ylim=(len(rows), 0))
    ax.set_xticks(np.arange(shown) + cell / 2, [f"{column} {n}" for n in range(shown)], fontsize=8)
    ax.set_yticks(np.arange(len(rows)) + cell / 2, list(rows))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return figure


def signals(rows: Mapping[str, np.ndarray], title: str, seconds: float) -> Figure:
    """One row of numbers after each operation, below one another on one time axis (7γ).

    Each array [T] spans `seconds`; its panel says its mean and standard deviation.
    """
    told = {
        name: f"{len(values)} values, mean {round(float(values.mean()), 2) + 0.0:.2f}, standard "
        f"deviation {values.std():.2f}"
        for name, values in rows.items()
    }
    alt = f"{title}. " + "; ".join(f"{name}: {text}" for name, text in told.items()) + "."
    figure, axes = _figure(len(rows), 1, 8, 1.35 * len(rows) + 0.4, alt, title, sharex=True)
    for ax, (name, values) in zip(axes[:, 0], rows.items(), strict=True):
        times = (np.arange(len(values)) + 0.5) * seconds / len(values)
        ax.axhline(0, color="0.7", linewidth=0.8)
        ax.plot(times, values, color=COLOURS[0], marker="o", markersize=2.5, linewidth=1)
        ax.set_title(f"{name}: {told[name]}", fontsize=9)
    axes[-1, 0].set_xlabel("time (s)")
    return figure


def patch_values(
    clip: np.ndarray, values: np.ndarray, title: str, label: str, signed: bool = False
) -> Figure:
    """A mel spectrogram [128, T] in dB, and below it a number for each patch of it (7ε, 7.2β).

    `values` [rows, columns] begin with the lowest bands; `label` is their unit. If they are
    `signed`, white is 0, violet above and orange below.
    """
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    alt = (
        f"{title} - {label}: of {values.shape[0]} rows and {values.shape[1]} columns of patches "
        f"the one in row {row} from below and column {column} (both counted from 0) has most, "
        f"{values.max():.2f}; the least has {values.min():.2f}."
    )
    figure, axes = _figure(2, 1, 9, 5, alt, title, sharex=True)
    (above,), (below,) = axes
    figure.colorbar(_draw_clip(above, clip), ax=above, label="level (dB)")
    extent = (0, clip.shape[1] * HOP_LENGTH / SAMPLE_RATE, 0, len(clip))
    low, high = (-np.abs(values).max(), 0) if signed else (values.min(), values.max())
    picture = below.imshow(
        values, origin="lower", aspect="auto", extent=extent, **_scale(low, high)
    )
    figure.colorbar(picture, ax=below, label=label)
    above.set_xlabel("")
    below.set(xlabel="time (s)", ylabel="mel band")
    return figure


def _scale(low: float, high: float) -> dict[str, Any]:
    """Colours of numbers from 0 on; or, if some are negative, on both sides of a white 0."""
    most = max(abs(low), abs(high))
    if low < 0:
        return {"cmap": "PuOr", "vmin": -most, "vmax": most}
    return {"cmap": COLOUR_MAP, "vmin": 0, "vmax": most}


def patches(
    clip: np.ndarray, grid: tuple[int, int], strides: tuple[int, int], title: str
) -> Figure:
    """A mel spectrogram [128, T] in dB, cut into `grid` rows and columns of 16 x 16 (7.2α).

    Where there is room, each has the number of its token. Three are outlined strongly, so that one
    sees how far they overlap. Bass first.
    """
    n_rows, n_columns = grid
    figure, ax = _one_panel(
        9, 5.5, f"{title}. {n_rows} rows of {n_columns} patches of 16 x 16; a new one "
        f"every {strides[0]} bands and {strides[1]} frames; token 2 is at the lower left.",
    )  # fmt: skip
    picture = ax.imshow(clip, origin="lower", aspect="auto", vmin=DB_RANGE[0], vmax=DB_RANGE[1])
    for number in reversed(range(n_rows * n_columns)):  # the strong outlines last
        x, y = number % n_columns * strides[1], number // n_columns * strides[0]
        style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.4}
        if number < 3:
            style = {"edgecolor": COLOURS[(1, 5, 4)[number]], "linewidth": 3, "clip_on": False}
        ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 16, 16, fill=False, **style))
        if n_columns <= 16:
            ax.text(x + 0.6, y + 1.0, str(number + 2), fontsize=7, color="white")
    ax.set(title=title, xlabel="frame", ylabel="mel band")
    figure.colorbar(picture, ax=ax, label="level (dB)")
    return figure


def heard(groups: Mapping[str, Mapping[str, np.ndarray]], title: str) -> Figure:
    """Three hand-made groups (rows) of some classes (columns); `groups` holds numbers [d] (6)."""
    rows: dict[str, tuple[dict[str, np.ndarray], str, str]] = {
        "rhythm: swing": (
            {name: own.reshape(24, 16) for name, own in groups["rhythm"].items()},
            "rate (Hz)", "band (of 24)",
        ),
        "togetherness: correlation": (
            {name: squareform(own) + np.eye(24) for name, own in groups["togetherness"].items()},
            "band (of 24)", "band (of 24)",
        ),
        "attacks: rise in dB": (
            {name: own[:288].reshape(32, 9) for name, own in groups["attacks"].items()},
            "smallest to largest in a block", "band (of 32)",
        ),
    }  # fmt: skip
    means = {row: {name: float(own.mean()) for name, own in images.items()}
             for row, (images, *_) in rows.items()}  # fmt: skip
    alt = f"{title}. Means of the pictures: {_listed(means, '.2f')}."
    n_columns = len(groups["rhythm"])
    figure, axes = _figure(len(rows), n_columns, 3.2 * n_columns + 1, 7.5, alt, title)
    for line, (row, (images, xlabel, ylabel)) in zip(axes, rows.items(), strict=True):
        low, high = np.min(list(images.values())), np.max(list(images.values()))
        for ax, (name, image) in zip(line, images.items(), strict=True):
            picture = ax.imshow(image, origin="lower", aspect="auto", vmin=low, vmax=high)
            ax.set(title=name, xlabel=xlabel, ylabel=ylabel)
        figure.colorbar(picture, ax=line, label=row)
    rates = [f"{rate:.2g}" for rate in np.geomspace(0.25, 12, 16)[::3]]
    plt.setp(axes[0], xticks=range(0, 16, 3), xticklabels=rates)
    return figure


def group_scores(table: pd.DataFrame, title: str) -> Figure:
    """What each hand-made group (rows) reaches alone in each task (columns), with numbers (6)."""
    alt = f"{title}. {_listed(table, '.2f')}."
    figure, ax = _one_panel(1.3 * len(table.columns) + 3, 0.32 * len(table) + 1.3, alt)
    share = (table - table.min()) / (table.max() - table.min()).replace(0, 1)  # of each column
    seaborn.heatmap(share, annot=table, fmt=".2f", annot_kws={"fontsize": 8}, vmin=0, vmax=1,
                    cmap=COLOUR_MAP, cbar=False, ax=ax)  # fmt: skip
    for number, at in zip(ax.texts, share.to_numpy().flat, strict=True):
        number.set_color("white" if at < 0.5 else "black")
    ax.tick_params(rotation=0)
    ax.set(title=title, xlabel="task, and score", ylabel="group")
    return figure


def bars(columns: Mapping[str, pd.Series], title: str, xlabel: str, ylabel: str) -> Figure:
    """Numbers side by side: a group of bars per row, a colour and a pattern per column."""
    figure, ax = _one_panel(8, 3.4, f"{title}. {_listed(columns, '.2g')}.")
    pd.DataFrame(columns).plot.bar(ax=ax, rot=0, color=COLOURS, width=0.8, edgecolor="white")
    for group, hatch in zip(ax.containers, ("", "//", ".."), strict=False):
        plt.setp(group, hatch=hatch)
        if len(group) <= 5:  # more numbers would cover each other
            ax.bar_label(group, fmt="%.2g", padding=2, fontsize=8)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
