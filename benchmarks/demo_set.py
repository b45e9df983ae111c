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
from typing import TYPE_CHECKING

import numpy as np

from helpers.baselines import (
    band_statistics,
    majority_predictions,
    svm_predictions,
    svr_predictions,
)
from helpers.datasets import SpectrogramDataset
from helpers.evaluation import Score, affect_scores, classification_scores
from helpers.features import HOP_LENGTH, SAMPLE_RATE, mel_frequencies
from helpers.folders import AXES, GENRE, MULTITASK, SPLITS, find_data, read_labels
from helpers.machinery.arrays import N_MELS
from helpers.machinery.files import LabError, write_atomically
from tools.common.command_line import Parser, run_command
from tools.common.notebooks import ROOT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RESULTS = ROOT / "benchmarks" / "results" / "demo_set.csv"
PICTURE = ROOT / "docs" / "demo_genres.png"
ANSWERS = "multitask_test_answers.csv"
N_FOLDS, SEED = 5, 0

TITLE = "The demo set: ten seconds of a typical clip of each genre"
EXCERPT_SECONDS = 10.0  # a whole clip in a small panel would show no single beat
N_COLUMNS = 4
TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000)
DOTS_PER_INCH = 110
N_LEVELS, N_GREYS = 40, 16  # of the colour map, and for the letters: the picture stays small


# ---- the figures -------------------------------------------------------------------------------


def genre_difficulty(data: Path) -> dict[str, tuple[Score, int]]:
    """Accuracy and number of clips of the SVM and of the majority class, by name.

    5-fold cross-validation, stratified, over the genre training and test clips together, with the
    course's class mapping. The majority is that of each fold's training clips.
    """
    from sklearn.model_selection import StratifiedKFold

    datasets = [SpectrogramDataset(data / GENRE, split) for split in SPLITS]
    statistics = np.concatenate([band_statistics(dataset) for dataset in datasets])
    labels = np.concatenate([dataset.labels.numpy() for dataset in datasets])
    predicted = {"SVM": np.empty_like(labels), "majority": np.empty_like(labels)}
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for fitted, held_out in folds.split(statistics, labels):
        predicted["SVM"][held_out] = svm_predictions(
            statistics[fitted], labels[fitted], statistics[held_out]
        )
        predicted["majority"][held_out] = majority_predictions(labels[fitted], len(held_out))
    n_classes = len(datasets[0].classes)
    return {
        name: (classification_scores(labels, classes, n_classes, SEED)["accuracy"], len(labels))
        for name, classes in predicted.items()
    }


def affect_difficulty(data: Path, answers: Path) -> dict[str, tuple[Score, int]]:
    """Spearman and number of clips of the SVR, for each axis and their mean.

    5-fold cross-validation over the labelled multitask clips and the test clips with the withheld
    answers. Raises LabError when the answers are missing or leave a test clip out.
    """
    from sklearn.model_selection import KFold

    train = SpectrogramDataset(data / MULTITASK, "train", axes=AXES)
    test = SpectrogramDataset(data / MULTITASK, "test", axes=AXES)
    statistics = np.concatenate([band_statistics(train), band_statistics(test)])
    values = np.concatenate([train.labels.numpy(), _answers_of(test.ids, answers)])
    predicted = np.empty_like(values)
    folds = KFold(N_FOLDS, shuffle=True, random_state=SEED)
    for fitted, held_out in folds.split(statistics):
        predicted[held_out] = svr_predictions(
            statistics[fitted], values[fitted], statistics[held_out]
        )
    scores = affect_scores(values, predicted, SEED)
    return {name: (score, len(values)) for name, score in scores.items()}


def _answers_of(ids: Sequence[str], path: Path) -> np.ndarray:
    """The withheld answers of these clips in their order, [n, 3]."""
    if not path.is_file():
        raise LabError(f"{path}: no withheld answers here; give their file with --answers")
    table = read_labels(path, AXES).set_index("id")
    absent = [name for name in ids if name not in table.index]
    if absent:
        raise LabError(f"{path}: no answer for clip {absent[0]}; give the answers of this data set")
    return table.loc[list(ids), list(AXES)].to_numpy(dtype=np.float32)


def difficulty_table(data: Path, answers: Path) -> pd.DataFrame:
    """One row per baseline and metric: task, model, metric, value, low, high, clips, protocol."""
    import pandas as pd

    genre_protocol = f"{N_FOLDS}-fold stratified over train + test; mapped classes; seed {SEED}"
    affect_protocol = f"{N_FOLDS}-fold over train + test with the withheld answers; seed {SEED}"
    rows = [
        ("genre", model, "accuracy", score.value, score.low, score.high, clips, genre_protocol)
        for model, (score, clips) in genre_difficulty(data).items()
    ]
    for axis, (score, clips) in affect_difficulty(data, answers).items():
        values = (score.value, score.low, score.high)
        rows.append(("affect", "SVR", f"Spearman {axis}", *values, clips, affect_protocol))
    columns = ["task", "model", "metric", "value", "low", "high", "clips", "protocol"]
    return pd.DataFrame(rows, columns=columns).round(3)


def as_text(table: pd.DataFrame) -> str:
    """The table for the terminal: a value with its 95 % interval in a line."""
    lines = [f"{'task':8}{'model':10}{'metric':24}{'value':8}{'95 % interval':18}clips"]
    for row in table.itertuples():
        interval = f"{row.low:.3f} to {row.high:.3f}"
        lines.append(
            f"{row.task:8}{row.model:10}{row.metric:24}{row.value:<8.3f}{interval:18}{row.clips}"
        )
    protocols = table.drop_duplicates("task")
    lines += [f"{row.task}: {row.protocol}" for row in protocols.itertuples()]
    return "\n".join(lines)


# ---- the picture -------------------------------------------------------------------------------


def typical_clips(data: Path) -> dict[str, np.ndarray]:
    """The most typical training clip of each genre: its mel spectrogram [128, T] in dB by title.

    Typical means: of all clips of the genre, the one with the smallest mean distance to the others
    in the standardised per-band statistics that the baselines see.
    """
    dataset = SpectrogramDataset(data / GENRE, "train", "mel", class_mapping=None)
    statistics = band_statistics(dataset)
    statistics = (statistics - statistics.mean(0)) / np.maximum(statistics.std(0), 1e-6)
    labels = dataset.labels.numpy()
    chosen = {}
    for number, genre in enumerate(dataset.classes):
        members = np.flatnonzero(labels == number)
        differences = statistics[members][:, None] - statistics[members][None]
        distances = np.linalg.norm(differences, axis=-1).mean(1)
        chosen[genre] = dataset.frames(int(members[distances.argmin()])).T
    return chosen


def genre_pictures(clips: Mapping[str, np.ndarray]) -> Figure:
    """Ten seconds from the middle of each clip [128, T] in dB, on one colour scale."""
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    from helpers.plots import COLOUR_MAP, DB_RANGE, use_style

    levels = colormaps[COLOUR_MAP].resampled(N_LEVELS)
    with rc_context():
        use_style()
        n_rows = -(-len(clips) // N_COLUMNS)
        figure = Figure(figsize=(10, 0.8 + 1.7 * n_rows))  # without a window on any machine
        axes = figure.subplots(n_rows, N_COLUMNS, sharex=True, sharey=True, squeeze=False)
        for ax, (title, clip) in zip(axes.flat, clips.items(), strict=False):
            excerpt, seconds = _excerpt(clip)
            picture = ax.imshow(
                excerpt, cmap=levels, vmin=DB_RANGE[0], vmax=DB_RANGE[1], origin="lower",
                aspect="auto", extent=(0, seconds, -0.5, N_MELS - 0.5), interpolation_stage="data",
            )  # fmt: skip
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


def _excerpt(clip: np.ndarray) -> tuple[np.ndarray, float]:
    """Frames from the middle of a clip [128, T], and how many seconds they last."""
    n_frames = min(clip.shape[1], round(EXCERPT_SECONDS * SAMPLE_RATE / HOP_LENGTH))
    start = (clip.shape[1] - n_frames) // 2
    return clip[:, start : start + n_frames], n_frames * HOP_LENGTH / SAMPLE_RATE


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG that keeps the map's colours and some greys, a third of the full size."""
    from matplotlib import colormaps
    from PIL import Image

    from helpers.plots import COLOUR_MAP

    colours = colormaps[COLOUR_MAP].resampled(N_LEVELS)(range(N_LEVELS))[:, :3]
    greys = np.linspace(0, 1, N_GREYS)[:, None].repeat(3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(
        (255 * np.concatenate([colours, greys])).round().astype(int).ravel().tolist()
    )
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
    print(as_text(table))
    write_atomically(options.results, table.to_csv(index=False))
    write_atomically(options.picture, png_of(genre_pictures(typical_clips(data))))
    print(f"written: {options.results}, {options.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
