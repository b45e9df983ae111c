"""Explorers: choose something by hand, and see (or hear) what changes.

Each shows controls with all that they need: data for `explorers.js`, which the browser runs in
JupyterLab, on Kaggle and on a run's page, without network and without a kernel.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from torch.utils.data import Dataset

from helpers import plots
from helpers.datasets import FEATURE_ROWS, make_loader
from helpers.features import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_frequencies
from helpers.folders import GENRE, GENRE_BEAT, audio_clips, audio_path, read_clips
from helpers.machinery.arrays import read_array
from helpers.machinery.batches import unwrap
from helpers.machinery.files import LabError, did_you_mean
from helpers.models import Classifier
from helpers.notebook import showing
from helpers.notebook.records import Record
from helpers.training import predict

N_NEIGHBOURS = 4
MOST_CLIPS = 60  # among which the page of a large data set lets one choose
SECONDS = 10  # that are heard of a clip
SMALL = 160, 64  # columns and rows of small pictures, from which the browser also makes sound
APPROXIMATE = "approximate, reconstructed from the mel spectrogram"
SCRIPT = Path(__file__).with_suffix(".js")


def _offer(notebook: str, kind: str, **data: Any) -> None:
    """Show controls of this kind for these data; a plain script says where there are some."""
    said = html.escape(json.dumps({"kind": kind, **data}))
    note = "Controls stand here where the browser may run the kit's script: run this cell."
    place = f'<div class="explorer" data-explorer="{said}"><p>{note}</p></div>'
    script = f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    plain = f"controls to try ({kind}): in JupyterLab, and on the page of {notebook}"
    showing.show_html(place + script, plain)


# ---- two clips ---------------------------------------------------------------------------------


def two_clips(record: Record, genres: Sequence[str] = ()) -> None:
    """See and hear a training clip of each of two genres (steps 1 to 3).

    `genres` are the two to begin with, by default the first and the last one of the alphabet; two
    more clips of them can be chosen, and one of each other genre, those with audio first. Raises
    LabError for a genre that has no clip.
    """
    full, beat = (
        read_clips(record.data / folder, "train").set_index("id") for folder in (GENRE, GENRE_BEAT)
    )
    clips = full.assign(path_of_beats=beat["path"]).dropna(subset="path_of_beats")
    clips["title"] = clips["genre"] + " (clip " + clips.index + ")"
    audible = clips.index.isin(audio_clips(record.data))
    clips = pd.concat([clips[audible], clips[~audible]])
    of_genre = {genre: own.index for genre, own in clips.groupby("genre")}
    begin = genres or (min(of_genre), max(of_genre))
    for genre in begin:
        if genre not in of_genre:
            raise LabError(
                f"no training clip of genre {genre!r}{did_you_mean(genre, of_genre)}; known: "
                f"{', '.join(of_genre)}"
            )
    chosen = [clip for genre, ids in of_genre.items() for clip in ids[: 3 if genre in begin else 1]]
    offered = clips.loc[chosen].sort_values("title")
    first = [of_genre[genre][0] for genre in begin]
    # A plain script shows none of it, and to make a sound takes seconds.
    heard = first if showing.in_notebook() else []
    _offer(
        record.notebook,
        "clips",
        kinds=list(plots.FEATURE_KINDS),
        begin=[offered.index.get_loc(clip) for clip in first],
        clips=[
            _in_four_forms(record.data, one, one.Index in heard) for one in offered.itertuples()
        ],
    )


def _in_four_forms(data: Path, clip: Any, approximate: bool) -> dict[str, Any]:
    """What the controls show of a clip: its four pictures, and its sound where it has one."""
    forms = [read_array(path) for path in (clip.path, clip.path_of_beats)]
    arrays = {
        name: forms[name.startswith("beat")][FEATURE_ROWS[kind]]
        for name, kind in plots.FEATURE_KINDS.items()
    }
    pictures = [_picture(array, name) for name, array in arrays.items()]
    sound = _sound(data, clip.Index, arrays["mel"] if approximate else None)
    return {"title": clip.title, "pictures": pictures, **sound}


def _sound(data: Path, clip: str, mel: np.ndarray | None = None) -> dict[str, str]:
    """The beginning of a clip as MP3 in base64 and a note, from its file or from its picture."""
    import soundfile

    path = audio_path(data, clip)
    if path:
        samples, _ = soundfile.read(path, stop=SECONDS * SAMPLE_RATE)
    elif mel is not None:
        samples = approximate_audio(mel)
    else:
        return {"sound": "", "note": "none"}
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="MP3")
    sound = base64.b64encode(file.getvalue()).decode()
    return {"sound": sound, "note": f"the first {SECONDS} seconds" if path else APPROXIMATE}


def approximate_audio(mel: np.ndarray) -> np.ndarray:
    """Sound whose mel spectrogram is about this one, float32 [samples], of its first SECONDS.

    `mel` is [128, T] in dB. It holds neither phases nor the single frequencies inside a band, so
    both are guessed (Griffin and Lim 1984); the same spectrogram always gives the same sound.
    """
    import librosa

    n_frames = 1 + int(SECONDS * SAMPLE_RATE / HOP_LENGTH)
    power = librosa.db_to_power(np.asarray(mel, dtype=np.float32)[:, :n_frames])
    bands = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT)
    # Where librosa's mel_to_stft begins; its seconds of iteration change nothing at these levels.
    magnitude = np.sqrt(np.maximum(np.linalg.pinv(bands) @ power, 0))
    audio = librosa.griffinlim(magnitude, hop_length=HOP_LENGTH, random_state=0)
    return (0.9 * audio / np.abs(audio).max()).astype(np.float32)  # dB are relative: any loudness


def _picture(array: np.ndarray, name: str, columns: int = 400, rows: int = 128) -> str:
    """A mel spectrogram or chromagram [F, T] as a small PNG in base64, frequency up."""
    from PIL import Image

    low, high = plots.DB_RANGE if plots.FEATURE_KINDS[name] == "mel" else (0, 1)
    shades = np.clip(255 * (array[::-1].astype(np.float32) - low) / (high - low), 0, 255)
    image = Image.fromarray(shades.astype(np.uint8))
    size = min(image.width, columns), min(image.height, rows)
    image = image.resize(size, Image.Resampling.BOX)
    colours = matplotlib.colormaps[plots.COLOUR_MAP](np.arange(256), bytes=True)[:, :3]
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# ---- the threshold and the confusion matrix ----------------------------------------------------


def threshold(
    record: Record, true: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> None:
    """Move the threshold from which a clip is called a class; watch precision and recall (step 6).

    Class numbers [n] and a classifier's probabilities [n, C] for the same clips. Begins with the
    most frequent class, at 0.5. Raises LabError when the shapes do not agree.
    """
    true, probabilities = np.asarray(true), np.asarray(probabilities)
    if probabilities.shape != (len(true), len(classes)):
        raise LabError(
            f"probabilities {probabilities.shape} do not belong to {len(true)} clips and "
            f"{len(classes)} classes; give one row per clip and one column per class"
        )
    number = int(np.bincount(true, minlength=len(classes)).argmax())
    # In ten-thousandths, rounded down: whether a score reaches a threshold of two digits stays.
    scores = np.floor(1e4 * probabilities + 1e-6).astype(int)
    data = {"begin": number, "true": true.tolist(), "scores": scores.tolist()}
    _offer(record.notebook, "threshold", classes=[str(name) for name in classes], **data)


def confusion(examples: Mapping[str, Sequence[Sequence[int]]], classes: Sequence[str]) -> None:
    """Change the counts of a confusion matrix; watch accuracy, micro and macro F1 (step 6).

    `examples` maps a name to counts to begin with: a row per true class, a column per answer.
    """
    known = {name: np.asarray(counts).tolist() for name, counts in examples.items()}
    _offer("notebook 06", "confusion", classes=[str(name) for name in classes], examples=known)


# ---- neighbours, and maps ----------------------------------------------------------------------


def neighbours(
    record: Record,
    model: Classifier,
    dataset: Dataset,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> None:
    """Pick a clip: what a classifier says of it, and which clips are most like it (step 7).

    Likeness is the cosine between the backbone's output vectors; `dataset` is a genre dataset or a
    `Subset` of one. Begins with the clip on which the classifier errs with most confidence.
    """
    base, numbers = unwrap(dataset)
    loader = make_loader(dataset, batch_size, device=device)
    vectors = torch.from_numpy(predict(model.backbone, loader, device))
    with torch.no_grad():
        probabilities = model.head(vectors.to(device)).softmax(1).cpu().numpy()
    answers = np.asarray(base.classes)[probabilities.argmax(1)]
    wrong = answers != base.tracks["label"].to_numpy()[numbers]
    begin = int(np.where(wrong, probabilities.max(1), -1).argmax())  # without errors the first clip
    unit = torch.nn.functional.normalize(vectors)
    likeness = (unit @ unit.T).numpy()
    near = _nearest(likeness)
    offered = {begin, *range(0, len(numbers), math.ceil(len(numbers) / MOST_CLIPS))}
    shown = sorted(offered.union(*(near[clip] for clip in offered)))
    clips = [
        _clip(base, numbers[clip])
        | {
            "answer": answers[clip],
            "scores": np.round(probabilities[clip], 3).tolist(),
            "near": [
                (shown.index(other), round(float(likeness[clip, other]), 3))
                for other in (near[clip] if clip in offered else [])
            ],
        }
        for clip in shown
    ]
    others = likeness[~np.eye(len(numbers), dtype=bool)]  # all pairs of two different clips
    _offer(
        record.notebook,
        "neighbours",
        classes=list(base.classes),
        begin=shown.index(begin),
        mean=float(others.mean()) if len(others) else None,
        clips=clips,
    )


def maps(
    record: Record,
    dataset: Dataset,
    spaces: Mapping[str, np.ndarray],
    drawn: Mapping[tuple[str, str], np.ndarray],
) -> None:
    """Point at a dot of a map: its clip, to see and to hear, and its neighbours (step 11b).

    `dataset` holds the n clips, `spaces` their vectors [n, D] by name, and `drawn` a map [n, 2] for
    each pair of a space and a method. Neighbours are those of the space. Raises LabError when the
    sizes do not agree.
    """
    base, numbers = unwrap(dataset)
    for name, values in {**spaces, **drawn}.items():
        if len(values) != len(numbers):
            raise LabError(f"{name}: {len(values)} rows for {len(numbers)} clips; give one each")
    n_frames = np.minimum(base.lengths[numbers], int(SECONDS * SAMPLE_RATE / HOP_LENGTH))
    clips = [
        _clip(base, number, frames)
        | {
            "seconds": int(frames) * HOP_LENGTH / SAMPLE_RATE,
            "sound": _sound(record.data, base.tracks["id"][number])["sound"],
        }
        for number, frames in zip(numbers, n_frames, strict=True)
    ]
    _offer(
        record.notebook,
        "maps",
        classes=sorted({clip["label"] for clip in clips}),
        colours=list(plots.COLOURS),
        hertz=np.round(mel_frequencies().reshape(SMALL[1], -1).mean(1), 1).tolist(),
        near={name: _nearest(-cdist(vectors, vectors)) for name, vectors in spaces.items()},
        maps=[
            {"space": space, "method": method, "places": _in_unit_square(places)}
            for (space, method), places in drawn.items()
        ],
        clips=clips,
    )


def _nearest(likeness: np.ndarray) -> list[list[int]]:
    """The clips that are most like each one but itself, the nearest first; likeness [n, n]."""
    others = likeness.copy()
    np.fill_diagonal(others, -np.inf)
    order = np.argsort(-others, kind="stable")
    return order[:, : min(N_NEIGHBOURS, len(order) - 1)].tolist()


def _clip(base: Any, number: int, n_frames: int | None = None) -> dict[str, Any]:
    """What the controls show of a dataset's clip: title, label, a small picture of its frames."""
    name, label = base.tracks.loc[number, ["id", "label"]]
    mel = base.store.clip(int(number), FEATURE_ROWS["mel"])[:n_frames]
    picture = _picture(mel.T, "mel", *SMALL)
    return {"title": f"{label} (clip {name})", "label": label, "picture": picture}


def _in_unit_square(places: np.ndarray) -> list[list[float]]:
    """Places [n, 2] moved and scaled into 0..1, both axes alike, and rounded for the browser."""
    low, high = places.min(0), places.max(0)
    scaled = (places - (low + high) / 2) / max(*(high - low), 1e-9)
    return np.round(0.5 + scaled, 3).tolist()
