"""Every figure of the lab. Each function returns a figure whose label is its alt text.

Colours are colour-blind safe (Okabe-Ito; cividis for maps) and survive grey print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from helpers.features import HOP_LENGTH, SAMPLE_RATE

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from helpers.evaluation import Score
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
    n_rows: int, n_columns: int, width: float, height: float, alt: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with its alt text, and its axes as an array [n_rows, n_columns]."""
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    figure.set_label(alt)
    return figure, axes


# ---- spectrograms ------------------------------------------------------------------------------


def spectrograms(
    clips: Mapping[str, np.ndarray], kind: str = "mel", beat_synchronous: bool = False
) -> Figure:
    """Draw clips side by side with `librosa.display.specshow` on one colour scale (step 1γ).

    `clips` maps a title to an array [128, T] in dB (`kind="mel"`) or [12, T] (`kind="chroma"`).
    Time runs across in seconds, or in beats for beat-synchronous clips.
    """
    import librosa.display

    unit = "beat number" if beat_synchronous else "time (s)"
    what = "mel spectrogram in dB" if kind == "mel" else "chromagram"
    alt = f"{what}, frequency up, {unit} across, for: {'; '.join(clips)}."
    figure, axes = _figure(1, len(clips), 5.5 * len(clips), 3.4, alt, sharey=True)
    limits = DB_RANGE if kind == "mel" else (0.0, 1.0)
    for ax, (title, array) in zip(axes[0], clips.items(), strict=True):
        picture = librosa.display.specshow(
            np.asarray(array, dtype=np.float32),
            x_axis="frames" if beat_synchronous else "time",
            y_axis="mel" if kind == "mel" else "chroma",
            sr=SAMPLE_RATE, hop_length=HOP_LENGTH, fmax=SAMPLE_RATE / 2,
            cmap=COLOUR_MAP, vmin=limits[0], vmax=limits[1], ax=ax, rasterized=True,
        )  # fmt: skip
        ax.set(
            title=title, xlabel=unit, ylabel="frequency (Hz)" if kind == "mel" else "pitch class"
        )
        ax.label_outer()
    figure.colorbar(picture, ax=axes, label="level (dB)" if kind == "mel" else "strength (0-1)")
    return figure


def average_spectra(spectra: Mapping[str, np.ndarray], frequencies: np.ndarray) -> Figure:
    """Mean level per mel band, one line per genre: arrays [128] in dB over frequency in Hz."""
    figure, axes = _figure(1, 1, 7, 3.4, f"Mean level in dB per mel band for {', '.join(spectra)}.")
    for number, (name, levels) in enumerate(spectra.items()):
        axes[0, 0].plot(frequencies, levels, label=name, color=COLOURS[number % len(COLOURS)],
                        linestyle=("-", "--", ":", "-.")[number % 4])  # fmt: skip
    axes[0, 0].set(xscale="symlog", xlabel="frequency (Hz)", ylabel="mean level (dB)",
                   title="Where in frequency the clips differ")  # fmt: skip
    axes[0, 0].legend()
    return figure


def histogram(values: Mapping[str, np.ndarray], title: str, xlabel: str, alt: str) -> Figure:
    """Histograms of one quantity, one panel per name, on a shared axis."""
    figure, axes = _figure(1, len(values), 4 * len(values), 2.8, alt, sharex=True, sharey=True)
    for number, (name, numbers) in enumerate(values.items()):
        ax = axes[0, number]
        ax.hist(numbers, bins=20, color=COLOURS[number % len(COLOURS)], edgecolor="white")
        ax.set(title=name, xlabel=xlabel, ylabel="clips")
        ax.label_outer()
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def class_counts(panels: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Samples per class as horizontal bars with their counts, one panel per mapping (step 4γ)."""
    counts_text = "; ".join(
        f"{name}: " + ", ".join(f"{genre} {count}" for genre, count in counts.items())
        for name, counts in panels.items()
    )
    most = max(len(counts) for counts in panels.values())
    figure, axes = _figure(
        1, len(panels), 5 * len(panels), 0.8 + 0.24 * most, f"{title}. {counts_text}.", sharex=True
    )
    for number, (name, counts) in enumerate(panels.items()):
        ax = axes[0, number]
        bars = ax.barh(list(counts), list(counts.values()), color=COLOURS[number])
        ax.bar_label(bars, padding=2, fontsize=8)
        ax.invert_yaxis()
        ax.set(title=f"{name}: {sum(counts.values())} clips, {len(counts)} classes",
               xlabel="clips")  # fmt: skip
    figure.suptitle(title, x=0.01, ha="left")
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
    figure, axes = _figure(n_rows, n_columns, 3.8 * n_columns, 2.8 * n_rows, f"{title}. {told}.")
    for ax, (name, history) in zip(axes.flat, histories.items(), strict=False):
        _draw_history(ax, name, history)
    for ax in axes.flat[len(histories) :]:
        ax.axis("off")
    figure.suptitle(title, x=0.01, ha="left")
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
    ax.set(title=name, xlabel="epoch", ylabel="loss")
    ax.set_ylim(bottom=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)


# ---- evaluation --------------------------------------------------------------------------------


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Row-normalised confusion matrix with numbers: counts [C, C], true classes down."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    told = ", ".join(f"{name} {share:.0%}" for name, share in zip(classes, np.diag(shares)))
    size = 2.2 + 0.52 * len(classes)
    figure, axes = _figure(
        1, 1, size + 1, size, f"{title}. Share of each true class that is recognised: {told}."
    )
    ax = axes[0, 0]
    ax.imshow(shares, vmin=0, vmax=1, cmap=COLOUR_MAP)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row, column]:
            ax.text(column, row, f"{share:.2f}".removeprefix("0"), ha="center", va="center",
                    fontsize=8, color="black" if share > 0.5 else "white")  # fmt: skip
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    ax.set_yticks(range(len(classes)), [f"{n} ({c})" for n, c in zip(classes, counts.sum(1))])
    ax.set(title=title, xlabel="predicted", ylabel="true (test clips)")
    ax.spines[:].set_visible(False)
    return figure


def score_plot(
    scores: Mapping[str, Score], title: str, xlabel: str, reference: float | None = None,
    reference_name: str = "majority class",
) -> Figure:  # fmt: skip
    """One row per name: the value as a dot and its 95 % interval as a line.

    `reference` draws a vertical line (a baseline, or 0 for differences).
    """
    told = "; ".join(f"{name} {score}" for name, score in scores.items())
    figure, axes = _figure(1, 1, 7.5, 1.0 + 0.34 * len(scores), f"{title}. {told}.")
    ax = axes[0, 0]
    for row, (name, score) in enumerate(scores.items()):
        if not score.defined:
            ax.text(0.5, row, f"undefined: {score.reason}", fontsize=8, va="center")
            continue
        colour = COLOURS[row % 6]
        if np.isfinite(score.low):
            ax.plot([score.low, score.high], [row, row], color=colour, linewidth=2)
        ax.plot(score.value, row, marker=MARKERS[row % len(MARKERS)], color=colour, markersize=7)
        ax.annotate(f"{score.value:.2f}", (score.value, row), xytext=(0, 6),
                    textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    if reference is not None:
        ax.axvline(reference, color="0.4", linestyle=":", label=f"{reference_name}")
        ax.legend(fontsize=8, loc="best")
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set_ylim(len(scores) - 0.4, -0.8)
    ax.set(title=title, xlabel=xlabel)
    return figure


def class_f1(table: pd.DataFrame, title: str) -> Figure:
    """F1 per class as grouped dots: rows are classes, columns are models, values 0..1."""
    told = "; ".join(
        f"{model}: " + ", ".join(f"{name} {value:.2f}" for name, value in column.items())
        for model, column in table.items()
    )
    figure, axes = _figure(1, 1, 8, 1.2 + 0.36 * len(table), f"{title}. {told}.")
    ax = axes[0, 0]
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
    figure, axes = _figure(
        1, len(panels), 3.6 * len(panels), 3.5, f"{title}. {told}.", sharex=True, sharey=True
    )
    for number, (name, (true, predicted, score)) in enumerate(panels.items()):
        ax = axes[0, number]
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        ax.scatter(true, predicted, s=12, alpha=0.7, color=COLOURS[number], edgecolor="none")
        ax.set(title=f"{name}: Spearman {score.value:.2f}" if score.defined else f"{name}: {score}",
               xlabel="true value", ylabel="predicted", xlim=(0, 1), ylim=(0, 1))  # fmt: skip
        ax.label_outer()
    figure.suptitle(title, x=0.01, ha="left")
    return figure


# ---- inside a CNN ------------------------------------------------------------------------------


def activations(
    stages: Mapping[str, torch.Tensor], n_channels: int = 6, title: str = "Activations"
) -> Figure:
    """The strongest channels after each stage for one input: tensors [C, H, W], a row a stage."""
    shapes = ", ".join(f"{name}: {' x '.join(map(str, s.shape))}" for name, s in stages.items())
    figure, axes = _figure(
        len(stages), n_channels, 1.7 * n_channels, 1.5 * len(stages),
        f"{title}. Channels x height x width after each stage: {shapes}.",
    )  # fmt: skip
    for row, (name, maps) in zip(axes, stages.items(), strict=True):
        strongest = maps.flatten(1).mean(1).argsort(descending=True)[:n_channels]
        for ax in row:
            ax.axis("off")
        for ax, channel in zip(row, strongest, strict=False):
            ax.imshow(maps[channel].numpy(), origin="upper", aspect="auto", cmap=COLOUR_MAP)
            ax.set_title(f"channel {int(channel)}", fontsize=7)
        shape = " x ".join(map(str, maps.shape))
        row[0].set_title(f"{name}\n{shape}", fontsize=8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def filters(weights: torch.Tensor, title: str) -> Figure:
    """The kernels of a first convolution: weights [n, 1, height, width]."""
    n_columns = min(8, len(weights))
    n_rows = -(-len(weights) // n_columns)
    limit = float(weights.abs().max())
    figure, axes = _figure(
        n_rows, n_columns, 1.1 * n_columns, 1.15 * n_rows + 0.4,
        f"{title}. {len(weights)} kernels of {weights.shape[2]} x {weights.shape[3]} weights, "
        f"between -{limit:.2f} and {limit:.2f}.",
    )  # fmt: skip
    for ax, kernel in zip(axes.flat, weights, strict=False):
        picture = ax.imshow(kernel[0].numpy(), cmap="PuOr", vmin=-limit, vmax=limit)
    for ax in axes.flat:
        ax.axis("off")
    figure.colorbar(picture, ax=axes, label="weight")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def images(panels: Mapping[str, np.ndarray], title: str, alt: str) -> Figure:
    """A row of small grey images [H, W], each with its title."""
    figure, axes = _figure(1, len(panels), 1.4 * len(panels), 1.9, alt)
    for ax, (name, picture) in zip(axes[0], panels.items(), strict=True):
        ax.imshow(picture, cmap="gray_r")
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def bars(values: Mapping[str, float], title: str, ylabel: str) -> Figure:
    """A bar per name with its value on top."""
    told = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    figure, axes = _figure(1, 1, 1.5 + 1.3 * len(values), 3, f"{title}. {told}.")
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(values))]
    drawn = axes[0, 0].bar(list(values), list(values.values()), color=colours)
    axes[0, 0].bar_label(drawn, fmt="%.3g")
    axes[0, 0].set(title=title, ylabel=ylabel)
    return figure
