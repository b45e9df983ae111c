"""How difficult the demo set is, and what it looks like.

    python -m benchmarks.demo_set [--data DIR] [--answers FILE]

Measures what the humble baselines reach on per-band statistics of the mel spectrograms (an SVM for
the genres, an SVR for valence, energy and danceability), writes `benchmarks/results/demo_set.csv`,
and draws one mel spectrogram per genre into `docs/demo_genres.png`. Without `--data` it takes the
demo set in the cache; the answers of the multitask test clips lie beside its data folder.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks.songs import read_answers
from demo_music.build import ANSWERS
from helpers import baselines
from helpers.datasets import SpectrogramDataset
from helpers.evaluation import affect_scores, classification_scores
from helpers.features import HOP_LENGTH, SAMPLE_RATE, mel_frequencies
from helpers.folders import AXES, GENRE, MULTITASK, SPLITS, find_data
from helpers.machinery.arrays import N_MELS
from helpers.machinery.files import write_atomically
from helpers.plots import COLOUR_MAP, DB_RANGE, use_style
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "demo_set.csv"
PICTURE = ROOT / "docs" / "demo_genres.png"
FOLDS: dict[str, Any] = {"n_splits": 5, "shuffle": True, "random_state": 0}
PROTOCOL = {
    "genre": "5-fold stratified over train + test; mapped classes; seed 0",
    "affect": "5-fold over train + test with the withheld answers; seed 0",
}

TITLE = "The demo set: ten seconds of a typical clip of each genre"
EXCERPT_SECONDS = 10.0  # a whole clip in a small panel would show no single beat
N_COLUMNS = 4
TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000)
DOTS_PER_INCH = 110
# Few colours for the map and for the letters: the picture stays small.
LEVELS, GREYS = colormaps[COLOUR_MAP].resampled(40), np.linspace(0, 1, 16)


# ---- the figures -------------------------------------------------------------------------------


def difficulty_table(data: Path, answers: Path) -> pd.DataFrame:
    """One row per baseline and metric: task, model, metric, value, low, high, clips, protocol.

    Cross-validation over the clips of train and test together. Raises LabError when the withheld
    affect answers are missing or leave a test clip out.
    """
    genre = [SpectrogramDataset(data / GENRE, split) for split in SPLITS]
    affect = [SpectrogramDataset(data / MULTITASK, split, axes=AXES) for split in SPLITS]
    labels = np.concatenate([clips.labels.numpy() for clips in genre])
    withheld = read_answers(answers, affect[1].ids).to_numpy(dtype=np.float32)
    values = np.concatenate([affect[0].labels.numpy(), withheld])
    found = []
    for name, baseline in (("SVM", baselines.svm_predictions), ("majority", _majority)):
        predicted = _cross_validated(baseline, StratifiedKFold(**FOLDS), genre, labels)
        scores = classification_scores(labels, predicted, len(genre[0].classes))
        found.append(("genre", name, "accuracy", scores["accuracy"], len(labels)))
    predicted = _cross_validated(baselines.svr_predictions, KFold(**FOLDS), affect, values)
    for axis, score in affect_scores(values, predicted).items():
        found.append(("affect", "SVR", f"Spearman {axis}", score, len(values)))
    rows = [
        (task, model, metric, score.value, score.low, score.high, n_clips, PROTOCOL[task])
        for task, model, metric, score, n_clips in found
    ]
    columns = "task model metric value low high clips protocol".split()
    return pd.DataFrame(rows, columns=columns).round(3)


def _cross_validated(
    baseline: Any, folds: Any, clips: Sequence[SpectrogramDataset], targets: np.ndarray
) -> np.ndarray:
    """What a baseline says of each clip, fitted on the other folds; of the shape of the targets."""
    statistics = np.concatenate([baselines.band_statistics(part) for part in clips])
    predicted = np.empty_like(targets)
    for fitted, held_out in folds.split(statistics, targets):
        predicted[held_out] = baseline(statistics[fitted], targets[fitted], statistics[held_out])
    return predicted


def _majority(known: np.ndarray, labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return baselines.majority_predictions(labels, len(unknown))


# ---- the picture -------------------------------------------------------------------------------


def typical_clips(data: Path) -> dict[str, np.ndarray]:
    """The most typical training clip of each genre: its mel spectrogram [128, T] in dB by title.

    Typical means: of all clips of the genre, the one with the smallest mean distance to the others
    in the standardised per-band statistics that the baselines see.
    """
    dataset = SpectrogramDataset(data / GENRE, "train", "mel", class_mapping=None)
    statistics = baselines.band_statistics(dataset)
    statistics = (statistics - statistics.mean(0)) / np.maximum(statistics.std(0), 1e-6)
    chosen = {}
    for number, genre in enumerate(dataset.classes):
        members = np.flatnonzero(dataset.labels.numpy() == number)
        distances = cdist(statistics[members], statistics[members]).mean(1)
        chosen[genre] = dataset.frames(int(members[distances.argmin()])).T
    return chosen


def genre_pictures(clips: Mapping[str, np.ndarray]) -> Figure:
    """Ten seconds from the middle of each clip [128, T] in dB, on one colour scale."""
    use_style()
    n_rows = -(-len(clips) // N_COLUMNS)
    figure = Figure(figsize=(10, 0.8 + 1.7 * n_rows))  # without a window on any machine
    axes = figure.subplots(n_rows, N_COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, (title, clip) in zip(axes.flat, clips.items(), strict=False):
        n_frames = min(clip.shape[1], round(EXCERPT_SECONDS * SAMPLE_RATE / HOP_LENGTH))
        start = (clip.shape[1] - n_frames) // 2
        excerpt, seconds = clip[:, start : start + n_frames], n_frames * HOP_LENGTH / SAMPLE_RATE
        picture = ax.imshow(
            excerpt, cmap=LEVELS, aspect="auto", origin="lower", interpolation_stage="data"
        )
        picture.set(clim=DB_RANGE, extent=(0, seconds, -0.5, N_MELS - 0.5))
        ax.set_title(title)
        ax.spines[:].set_visible(False)
    for ax in axes.flat:
        ax.label_outer(remove_inner_ticks=True)
    for ax in axes.flat[len(clips) :]:
        ax.axis("off")
    bands = np.interp(TICKS_HZ, mel_frequencies(), np.arange(N_MELS))
    axes[0, 0].set_yticks(bands, [str(frequency) for frequency in TICKS_HZ])
    figure.suptitle(TITLE, x=0.01, ha="left", fontsize=13)
    figure.supxlabel("time (s)", fontsize=10)
    figure.supylabel("frequency (Hz)", fontsize=10)
    bar = figure.colorbar(picture, ax=axes, label="level (dB)", aspect=50, pad=0.015)
    bar.outline.set_visible(False)
    return figure


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG that keeps the map's colours and some greys, a third of the full size."""
    colours = np.concatenate([LEVELS(range(LEVELS.N))[:, :3], GREYS[:, None].repeat(3, axis=1)])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * colours).round().astype(int).ravel().tolist())
    drawn, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    image = Image.open(drawn).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    image.save(smaller, format="png", optimize=True)
    return smaller.getvalue()


# ---- command line ------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write the table and the picture."""
    parser = Parser(
        prog="python -m benchmarks.demo_set",
        description="How difficult the demo set is, and what it looks like.",
    )
    parser.add_argument("--data", default="demo", help="the data folder (default: the demo set)")
    parser.add_argument("--answers", type=Path, help=f"default: {ANSWERS} beside the data folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table, a .csv")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the picture, a .png")
    options = parser.parse_args(list(arguments))
    data = find_data(options.data)
    table = difficulty_table(data, options.answers or data.parent / ANSWERS)
    print(table.to_string(index=False))
    write_atomically(options.results, table.to_csv(index=False))
    write_atomically(options.picture, png_of(genre_pictures(typical_clips(data))))
    print(f"written: {options.results}, {options.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
