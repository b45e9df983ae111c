"""Every figure of the lab, each with its alt text as label. Used by all notebooks.

Colours are colour-blind safe (Okabe-Ito; cividis for maps) and survive grey print.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn

from helpers.features import HOP_LENGTH, SAMPLE_RATE

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from helpers.evaluation import Comparison, Score
    from helpers.training import History

# Okabe & Ito 2008, black last because lines of text are black too.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
COLOUR_MAP = "cividis"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DB_RANGE = (-80.0, 0.0)


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


def _listed(columns: Mapping[Any, Mapping[Any, float] | pd.Series], form: str) -> str:
    """Each column's name and numbers, for an alt text; `form` is how a number is written."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{row} {value:{form}}" for row, value in column.items())
        for name, column in columns.items()
    )


# ---- spectrograms ------------------------------------------------------------------------------


def spectrograms(
    clips: Mapping[str, np.ndarray], kind: str = "mel", beat_synchronous: bool = False
) -> Figure:
    """Draw clips side by side with `librosa.display.specshow` on one colour scale (step 1γ).

    `clips` maps a title to an array [128, T] in dB (`kind="mel"`) or [12, T] (`kind="chroma"`).
    Time runs across in seconds, or in beats for beat-synchronous clips.
    """
    unit = "beat number" if beat_synchronous else "time (s)"
    what = "mel spectrogram in dB" if kind == "mel" else "chromagram"
    alt = f"{what}, frequency up, {unit} across, for: {'; '.join(clips)}."
    figure, axes = _figure(1, len(clips), 5.5 * len(clips), 3.4, alt, sharey=True)
    for ax, (title, array) in zip(axes[0], clips.items(), strict=True):
        picture = _draw_clip(ax, array, kind, beat_synchronous)
        ax.set(title=title, xlabel=unit)
        ax.label_outer()
    figure.colorbar(picture, ax=axes, label="level (dB)" if kind == "mel" else "strength (0-1)")
    return figure


def beats_on_spectrogram(
    mel_db: np.ndarray, beats: np.ndarray, title: str, source: str, seconds: float = 10.0
) -> Figure:
    """The first seconds of a full mel spectrogram [128, T], with its beats [B'] as lines (2β).

    `source` says where the beat times come from; it stands in the figure.
    """
    shown = mel_db[:, : int(seconds * SAMPLE_RATE / HOP_LENGTH)]
    inside = beats[beats <= seconds]
    alt = (
        f"{title}: mel spectrogram of the first {seconds:g} s with {len(inside)} beats as vertical "
        f"lines ({source})."
    )
    figure, ax = _one_panel(9, 3.2, alt)
    picture = _draw_clip(ax, shown, "mel", beat_synchronous=False)
    for number, time in enumerate(inside):
        ax.axvline(time, color="white", linewidth=1.2, linestyle=(0, (4, 2)))
        ax.annotate(str(number), (time, 1.0), xycoords=("data", "axes fraction"),
                    xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    ax.set_title(f"{title} (numbers: beats; {source})", pad=14)
    ax.set_xlabel("time (s)")
    figure.colorbar(picture, ax=ax, label="dB")
    return figure


def average_spectra(spectra: Mapping[str, np.ndarray], frequencies: np.ndarray) -> Figure:
    """Mean level per mel band, one line per genre: arrays [128] in dB over frequency in Hz."""
    figure, ax = _one_panel(7, 3.4, f"Mean level in dB per mel band for {', '.join(spectra)}.")
    for number, (name, levels) in enumerate(spectra.items()):
        ax.plot(frequencies, levels, label=name, color=COLOURS[number % len(COLOURS)],
                linestyle=("-", "--", ":", "-.")[number % 4])  # fmt: skip
    ax.set(xscale="symlog", xlabel="frequency (Hz)", ylabel="mean level (dB)",
           title="Where in frequency the clips differ")  # fmt: skip
    ax.legend()
    return figure


def histogram(values: Mapping[str, np.ndarray], title: str, xlabel: str, alt: str) -> Figure:
    """Histograms of one quantity, one panel per name, on a shared axis."""
    width = 4 * len(values)
    figure, axes = _figure(1, len(values), width, 2.8, alt, title, sharex=True, sharey=True)
    for number, (name, numbers) in enumerate(values.items()):
        ax = axes[0, number]
        ax.hist(numbers, bins=20, color=COLOURS[number % len(COLOURS)], edgecolor="white")
        ax.set(title=name, xlabel=xlabel, ylabel="clips")
        ax.label_outer()
    return figure


def class_counts(panels: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Samples per class as horizontal bars with their counts, one panel per mapping (step 4γ)."""
    alt = f"{title}. {_listed(panels, 'd')}."
    height = 0.8 + 0.24 * max(map(len, panels.values()))
    figure, axes = _figure(1, len(panels), 5 * len(panels), height, alt, title, sharex=True)
    for number, (name, counts) in enumerate(panels.items()):
        ax = axes[0, number]
        bars = ax.barh(list(counts), list(counts.values()), color=COLOURS[number])
        ax.bar_label(bars, padding=2, fontsize=8)
        ax.invert_yaxis()
        ax.set(title=f"{name}: {sum(counts.values())} clips, {len(counts)} classes",
               xlabel="clips")  # fmt: skip
    return figure


FEATURE_KINDS = {"mel": "mel", "beat mel": "mel", "chroma": "chroma", "beat chroma": "chroma"}


def feature_grid(clips: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Mel and chroma, full and beat-synchronous, of some clips on shared colour scales (step 3).

    `clips` maps a title to its arrays by name: mel and beat mel [128, T], chroma and beat chroma
    [12, T]. A column per clip, a row per name.
    """
    alt = f"Mel spectrogram, chromagram and their beat-synchronous forms of: {'; '.join(clips)}."
    figure, axes = _figure(4, len(clips), 5.5 * len(clips), 9, alt, sharey="row")
    for row, (name, kind) in zip(axes, FEATURE_KINDS.items(), strict=True):
        for ax, (title, arrays) in zip(row, clips.items(), strict=True):
            picture = _draw_clip(ax, arrays[name], kind, name.startswith("beat"))
            ax.set_title(f"{name}: {title}")
            if ax is not row[0]:
                ax.set_ylabel("")
            ax.set_xlabel("beat number" if name.startswith("beat") else "time (s)")
        figure.colorbar(picture, ax=row, label="dB" if kind == "mel" else "strength (0-1)")
    return figure


def _draw_clip(ax: Axes, array: np.ndarray, kind: str, beat_synchronous: bool) -> Any:
    """One spectrogram or chromagram on the scale that all of its kind share."""
    import librosa.display

    limits = DB_RANGE if kind == "mel" else (0.0, 1.0)
    picture = librosa.display.specshow(
        np.asarray(array, dtype=np.float32),
        x_axis="frames" if beat_synchronous else "time",
        y_axis="mel" if kind == "mel" else "chroma",
        sr=SAMPLE_RATE, hop_length=HOP_LENGTH, fmax=SAMPLE_RATE / 2,
        cmap=COLOUR_MAP, vmin=limits[0], vmax=limits[1], ax=ax, rasterized=True,
    )  # fmt: skip
    ax.set_ylabel("frequency (Hz)" if kind == "mel" else "pitch class")
    return picture


def pitch_profiles(profiles: Mapping[str, np.ndarray], title: str) -> Figure:
    """Mean strength of each of the 12 pitch classes, one panel per clip: arrays [12]."""
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    told = "; ".join(f"{name}: strongest {names[int(p.argmax())]}" for name, p in profiles.items())
    alt, width = f"{title}. {told}.", 4 * len(profiles)
    figure, axes = _figure(1, len(profiles), width, 2.8, alt, title, sharey=True)
    for number, (name, profile) in enumerate(profiles.items()):
        ax = axes[0, number]
        ax.bar(names, profile, color=COLOURS[number % len(COLOURS)])
        ax.set(title=name, xlabel="pitch class", ylabel="mean strength (0-1)", ylim=(0, 1))
        ax.label_outer()
    return figure


def gradient_reach(gradients: Mapping[str, np.ndarray], title: str) -> Figure:
    """How much of the gradient arrives at each frame: arrays [T], last frame first, 1 is largest.

    Frames at which nothing arrives at all (0 in float32) are left out.
    """
    told = "; ".join(
        f"{name}: below 1 % of its largest value at {np.mean(g < 0.01):.0%} of the frames"
        for name, g in gradients.items()
    )
    figure, ax = _one_panel(7, 3.2, f"{title}. {told}.")
    for number, (name, values) in enumerate(gradients.items()):
        ax.plot(np.where(values > 0, values, np.nan), label=name, color=COLOURS[number],
                linestyle=("-", "--", ":")[number % 3])  # fmt: skip
    ax.axhline(0.01, color="0.6", linewidth=1, linestyle=":")
    ax.set(yscale="log", ylim=(1e-9, 2), title=title, xlabel="frames before the end of the clip",
           ylabel="gradient, relative")  # fmt: skip
    ax.legend()
    return figure


# ---- training ----------------------------------------------------------------------------------


def learning_curves(histories: Mapping[str, History], title: str = "Learning curves") -> Figure:
    """Training and validation loss over the epochs, the kept epoch marked; one panel per model."""
    told = "; ".join(
        f"{name}: kept epoch {h.best_epoch} of {len(h.train_loss)}, final training loss "
        f"{h.train_loss[-1]:.3f}"
        for name, h in histories.items()
    )
    n_columns = min(3, len(histories))
    n_rows = -(-len(histories) // n_columns)
    figure, axes = _figure(
        n_rows, n_columns, 3.8 * n_columns, 2.8 * n_rows, f"{title}. {told}.", title
    )
    for ax, (name, history) in zip(axes.flat, histories.items(), strict=False):
        _draw_history(ax, name, history)
    for ax in axes.flat[len(histories) :]:
        ax.axis("off")
    return figure


def regression_curves(histories: Mapping[str, History], constant: float, title: str) -> Figure:
    """Learning curves of regressors on one scale; `constant` is the loss of the training mean."""
    told = "; ".join(
        f"{name}: kept epoch {h.best_epoch} of {len(h.val_loss)}, there {min(h.val_loss):.3f}"
        for name, h in histories.items()
    )
    alt, width = f"{title}. {told}; training mean: {constant:.3f}.", 4.2 * len(histories)
    figure, axes = _figure(1, len(histories), width, 3.1, alt, title)
    highest = max(constant, *(max(h.train_loss + h.val_loss) for h in histories.values()))
    for ax, (name, history) in zip(axes[0], histories.items(), strict=True):
        _draw_history(ax, name, history)
        ax.axhline(constant, color="0.3", linewidth=1, linestyle="-.", label="training mean")
        ax.set(ylabel="mean squared error", ylim=(0, 1.1 * highest))
        ax.legend(fontsize=8)
        ax.label_outer()
    return figure


def _draw_history(ax: Axes, name: str, history: History) -> None:
    epochs = np.arange(1, len(history.train_loss) + 1)
    ax.plot(epochs, history.train_loss, color=COLOURS[0], marker="o", markersize=3, label="train")
    if history.val_loss:
        ax.plot(epochs, history.val_loss, color=COLOURS[3], marker="s", markersize=3,
                linestyle="--", label="validation")  # fmt: skip
        ax.axvline(history.best_epoch, color="0.5", linewidth=1, linestyle=":")
        ax.annotate(" kept", (history.best_epoch, 1), xycoords=("data", "axes fraction"),
                    va="top", fontsize=8, color="0.3")  # fmt: skip
    _mark_stages(ax, history)
    ax.set(title=name, xlabel="epoch", ylabel="loss")
    ax.set_ylim(0, 1.1 * max(history.train_loss + history.val_loss))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)


def _mark_stages(ax: Axes, history: History) -> None:
    """A line between two stages of a training, as where frozen weights begin to learn (step 9δ)."""
    for last in history.stage_ends:
        ax.axvline(last + 0.5, color="0.6", linewidth=1, linestyle="-.")
        ax.annotate("next stage ", (last + 0.5, 0), xycoords=("data", "axes fraction"), ha="right",
                    xytext=(0, 3), textcoords="offset points", fontsize=8, color="0.3")  # fmt: skip


def validation_race(
    histories: Mapping[str, History], target: float, title: str, constant: float | None = None
) -> Figure:
    """Validation losses of several models over the epochs on one pair of axes (step 9ε).

    `target` draws a horizontal line: the loss that the others are to reach. `constant` draws
    another: the loss of always predicting the mean.
    """
    told = "; ".join(
        f"{name}: lowest {min(h.val_loss):.4f} in epoch {h.best_epoch} of {len(h.val_loss)}"
        for name, h in histories.items()
    )
    figure, ax = _one_panel(7, 3.4, f"{title}. Validation loss, {told}; line at {target:.4f}.")
    for number, (name, history) in enumerate(histories.items()):
        ax.plot(range(1, len(history.val_loss) + 1), history.val_loss, label=name, markersize=4,
                color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
                linestyle=("-", "--", "-.", ":")[number % 4])  # fmt: skip
        _mark_stages(ax, history)
    ax.axhline(target, color="0.5", linewidth=1, linestyle=":")
    if constant is not None:
        ax.axhline(constant, color="0.3", linewidth=1, linestyle="--", label="predicting the mean")
    highest = max(target, constant or 0, *(max(h.val_loss) for h in histories.values()))
    ax.set(title=title, xlabel="epoch", ylabel="validation loss", ylim=(0, 1.1 * highest))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    return figure


def correlations(panels: Mapping[str, np.ndarray], title: str) -> Figure:
    """Correlation matrices [F, F] side by side; a panel's name says what its rows are."""
    told = "; ".join(
        f"{name}: {np.abs(matrix[~np.eye(len(matrix), dtype=bool)]).mean():.2f}"
        for name, matrix in panels.items()
    )
    figure, axes = _figure(
        1, len(panels), 3.4 * len(panels) + 0.6, 3.4,
        f"{title}. Mean size of the correlation of two different ones: {told}.", title,
    )  # fmt: skip
    for ax, (name, matrix) in zip(axes[0], panels.items(), strict=True):
        picture = ax.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1, origin="lower")
        ax.set(title=name, xlabel="number, lowest first", ylabel="number, lowest first")
        ax.label_outer()
    figure.colorbar(picture, ax=axes, label="correlation")
    return figure


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
        ax.axvline(reference, color="0.4", linestyle=":", label=f"{reference_name}")
    if baselines:
        ax.plot([], [], marker=MARKERS[0], color="0.45", label="baseline")
    if reference is not None or baselines:
        ax.legend(fontsize=8, loc="best")
    _name_rows(ax, list(scores))
    ax.set(title=title, xlabel=xlabel)
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
    """A score in its row: a dot with its number above it, and its interval as a line.

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
        ha="center", fontsize=8,
    )  # fmt: skip


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.8)


def differences(comparisons: Mapping[tuple[str, str], Comparison], what: str) -> Figure:
    """Forest plot of paired differences in `what`: a row per pair (first, second).

    A dot and its 95 % interval, filled where the difference is clear; 0 is a dotted line. The title
    counts the clear ones.
    """
    names = [f"{first} minus {second}" for first, second in comparisons]
    results = list(comparisons.values())
    above, below = (
        sum(result.clear and sign * result.difference.value > 0 for result in results)
        for sign in (1, -1)
    )
    title = f"{above} clearly above, {below} clearly below, {len(results) - above - below} open"
    told = "; ".join(
        f"{name} {result.difference}{', clear' if result.clear else ''}"
        for name, result in zip(names, results, strict=True)
    )
    figure, ax = _one_panel(8, 1.1 + 0.36 * len(names), f"{title}. {told}.")
    ax.axvline(0, color="0.4", linestyle=":", label="no difference")
    for row, result in enumerate(results):
        style = {"color": COLOURS[0]} if result.clear else {"color": "0.5", "mfc": "white"}
        _draw_score(ax, row, result.difference, "+.3f", marker="o", **style)
    for label in ax.texts:  # the dotted line does not run through a number
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    _name_rows(ax, names)
    ax.set(title=f"{title} (filled: clear)", xlabel=f"difference in {what} (95 % interval)")
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


def threshold_choice(belongs: np.ndarray, scores: np.ndarray, name: str, at: float) -> Figure:
    """Precision and recall of a class over the threshold, and against each other, `at` marked.

    A clip whose score [n] reaches the threshold is called `name`; `belongs` bool [n] says which
    are. Undefined: precision where no clip is called so, recall where none belongs to it.
    """
    thresholds, chosen = np.linspace(0, 1, 101), round(100 * at)
    called = scores >= thresholds[:, None]
    found, n = (called & belongs).sum(1), int(belongs.sum())
    with np.errstate(invalid="ignore"):  # 0 / 0
        precision, recall = found / called.sum(1), found / n
    share = n / len(belongs)  # the precision of guessing
    title = (
        f"{name} from {thresholds[chosen]:.2f} on: "
        f"precision {_or_undefined(precision[chosen], 'no clip is called so')}, "
        f"recall {_or_undefined(recall[chosen], 'no clip belongs to it')}\n"
        f"{found[chosen]} of {n} found, {called[chosen].sum() - found[chosen]} others called so"
    )
    alt = title.replace("\n", "; ") + f". Guessing has precision {share:.2f}."
    figure, axes = _figure(1, 2, 9, 3.4, alt, title)
    over, against = axes[0]
    for number, (name, values) in enumerate({"precision": precision, "recall": recall}.items()):
        style = {"color": COLOURS[number], "marker": MARKERS[number]}
        over.plot(thresholds, values, label=name, linestyle=("-", "--")[number], markevery=10,
                  markersize=4, **style)  # fmt: skip
        over.plot(thresholds[chosen], values[chosen], markersize=9, **style)
    over.axvline(thresholds[chosen], color="0.4", linewidth=1, linestyle=":")
    against.plot(recall, precision, color=COLOURS[2])
    against.plot(recall[chosen], precision[chosen], color=COLOURS[3], marker="D", markersize=9)
    against.axhline(share, color="0.4", linewidth=1, linestyle=":", label=f"guessing ({share:.2f})")
    over.set(xlabel="threshold", ylabel="share", xlim=(-0.02, 1.02))
    against.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02))
    for ax in axes[0]:
        ax.set_ylim(-0.02, 1.05)
        ax.legend(fontsize=8)
    return figure


def _or_undefined(value: float, reason: str) -> str:
    return f"{value:.2f}" if np.isfinite(value) else f"undefined ({reason})"


def clip_and_neighbours(
    clip: np.ndarray, scores: Mapping[str, float], neighbours: Mapping[str, np.ndarray], title: str
) -> Figure:
    """A clip, a model's probabilities for it, and the clips that are most like it to the model.

    `clip` and the neighbours' values are mel spectrograms [128, T] in dB, under their titles.
    """
    told = ", ".join(f"{name} {score:.0%}" for name, score in scores.items())
    near = "; ".join(neighbours).replace("\n", ", ") or "none"
    figure = plt.figure(figsize=(11, 5.8 if neighbours else 3.0), layout="constrained")
    figure.set_label(f"{title}. Probabilities: {told}. Nearest clips: {near}.")
    parts = figure.subfigures(2 if neighbours else 1, 1, squeeze=False)[:, 0]
    ax, bars = parts[0].subplots(1, 2)
    picture = _draw_clip(ax, clip, "mel", beat_synchronous=False)
    ax.set(title="the clip", xlabel="time (s)")
    parts[0].colorbar(picture, ax=ax, label="level (dB)")
    drawn = bars.barh(list(scores), list(scores.values()), color=COLOURS[0])
    bars.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
    bars.invert_yaxis()
    bars.set(title="what the model says", xlabel="probability", xlim=(0, 1.1))
    if neighbours:
        row = parts[1].subplots(1, len(neighbours), sharey=True, squeeze=False)[0]
        for ax, (name, array) in zip(row, neighbours.items(), strict=True):
            _draw_clip(ax, array, "mel", beat_synchronous=False)
            ax.set_title(name, fontsize=9)
            ax.set(xlabel="time (s)")
            ax.label_outer()
    figure.suptitle(title, x=0.01, ha="left")
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


# ---- inside a CNN ------------------------------------------------------------------------------


def activations(
    stages: Mapping[str, torch.Tensor], n_channels: int = 6, title: str = "Activations"
) -> Figure:
    """The first channels after each stage for one input: tensors [C, H, W], a row a stage.

    Always the same channels, so that one can be followed down through its layers. Bright is high;
    each picture has its own scale.
    """
    shapes = ", ".join(f"{name}: {' x '.join(map(str, s.shape))}" for name, s in stages.items())
    figure, axes = _figure(
        len(stages), n_channels, 1.7 * n_channels, 1.5 * len(stages),
        f"{title}. Channels x height x width after each stage: {shapes}.", title,
    )  # fmt: skip
    for row, (name, maps) in zip(axes, stages.items(), strict=True):
        for ax in row:
            ax.axis("off")
        for channel, (ax, picture) in enumerate(zip(row, maps, strict=False)):
            height, width = picture.shape
            aspect = "equal" if width <= 2 * height else "auto"
            ax.imshow(picture.numpy(), aspect=aspect, cmap=COLOUR_MAP)
            ax.set_title(f"channel {channel}", fontsize=7)
        row[0].set_title(f"{name}\n{' x '.join(map(str, maps.shape))}", fontsize=8, loc="left")
    return figure


def filters(weights: torch.Tensor, title: str) -> Figure:
    """The kernels of a first convolution: weights [n, 1, height, width]."""
    n_columns = min(8, len(weights))
    n_rows = -(-len(weights) // n_columns)
    limit = float(weights.abs().max())
    figure, axes = _figure(
        n_rows, n_columns, 1.1 * n_columns, 1.15 * n_rows + 0.4,
        f"{title}. {len(weights)} kernels of {weights.shape[2]} x {weights.shape[3]} weights, "
        f"between -{limit:.2f} and {limit:.2f}.", title,
    )  # fmt: skip
    for ax, kernel in zip(axes.flat, weights, strict=False):
        picture = ax.imshow(kernel[0].numpy(), cmap="PuOr", vmin=-limit, vmax=limit)
    for ax in axes.flat:
        ax.axis("off")
    figure.colorbar(picture, ax=axes, label="weight")
    return figure


def images(panels: Mapping[str, np.ndarray], title: str, alt: str) -> Figure:
    """A row of grey images [H, W], each with its title; dark is high. Long ones are squeezed."""
    n_rows, n_columns = next(iter(panels.values())).shape
    wide = n_columns > n_rows
    width = (2.3 if wide else 1.2) * len(panels)
    figure, axes = _figure(1, len(panels), width, 2.1, alt, title)
    for ax, (name, picture) in zip(axes[0], panels.items(), strict=True):
        ax.imshow(picture, cmap="gray_r", aspect="auto" if wide else "equal")
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    return figure


def shares(columns: Mapping[str, pd.Series], title: str, xlabel: str) -> Figure:
    """Shares of a whole, 0..1, side by side: one group of bars per row, one colour per column."""
    rows = [str(row) for row in next(iter(columns.values())).index]
    alt, height = f"{title}. {_listed(columns, '.0%')}.", 0.8 / len(columns)
    figure, ax = _one_panel(7, 1.2 + 0.5 * len(rows), alt)
    for number, (name, column) in enumerate(columns.items()):
        places = np.arange(len(rows)) + (number - (len(columns) - 1) / 2) * height
        drawn = ax.barh(
            places, 100 * column.to_numpy(), height, label=name, color=COLOURS[number],
            hatch=("", "//", "..")[number % 3], edgecolor="white",
        )  # fmt: skip
        ax.bar_label(drawn, fmt="%.0f", padding=3, fontsize=9)
    ax.set_yticks(range(len(rows)), rows)
    ax.invert_yaxis()
    ax.set(title=title, xlabel=xlabel)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def axis_curves(losses: pd.DataFrame, kept: int, title: str) -> Figure:
    """Validation loss of each axis (columns) over the epochs (rows, from 1); 1 is the mean's.

    A larger mark stands at each axis's own lowest epoch; a line at the one that was kept (10γ).
    """
    own = "; ".join(f"{axis}: lowest in epoch {epoch}" for axis, epoch in losses.idxmin().items())
    figure, ax = _one_panel(7, 3.4, f"{title}. {own}. Kept: epoch {kept}.")
    for number, (axis, values) in enumerate(losses.items()):
        style = {"color": COLOURS[number], "marker": MARKERS[number]}
        ax.plot(values, label=str(axis), markersize=3, linestyle=("-", "--", "-.")[number % 3],
                **style)  # fmt: skip
        ax.plot(values.idxmin(), values.min(), markersize=10, markeredgecolor="black", **style)
    ax.axhline(1, color="0.3", linewidth=1, linestyle="--", label="training mean")
    ax.axvline(kept, color="0.5", linewidth=1, linestyle=":")
    ax.annotate(" kept", (kept, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    ax.set(title=title, xlabel="epoch", ylabel="weighted validation loss")
    ax.set_ylim(0, 1.1 * max(1.0, float(losses.to_numpy().max())))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
