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
    more clips of them can be chosen, and one of each other genre. Raises LabError for a genre that
    has no clip.
    """
    clips = _TrainingClips(record.data)
    chosen = [clips.of(genre) for genre in genres or (clips.genres[0], clips.genres[-1])]
    fixed = [ids[0] for ids in chosen]
    # A plain script shows none of it, and to make a sound takes seconds.
    heard = fixed if showing.in_notebook() else []
    others = [clips.of(genre)[0] for genre in clips.genres]
    offered = sorted({*chosen[0][:3], *chosen[1][:3], *others}, key=clips.title)
    _offer(
        record.notebook,
        "clips",
        kinds=list(plots.FEATURE_KINDS),
        begin=[offered.index(clip) for clip in fixed],
        clips=[clips.offered(clip, approximate=clip in heard) for clip in offered],
    )


class _TrainingClips:
    """The genre training clips of a data folder, full and beat-synchronous."""

    def __init__(self, root: Path) -> None:
        self.full, self.beat = (
            read_clips(root / folder, "train").set_index("id") for folder in (GENRE, GENRE_BEAT)
        )
        self.full = self.full[self.full.index.isin(self.beat.index)]
        self.genres = sorted(self.full["genre"].unique().tolist())
        self.root, self.audible = root, audio_clips(root)

    def of(self, genre: str) -> list[str]:
        """The clips of a genre, those with audio first."""
        if genre not in self.genres:
            raise LabError(
                f"no training clip of genre {genre!r}{did_you_mean(genre, self.genres)}; known: "
                f"{', '.join(self.genres)}"
            )
        ids = self.full.index[self.full["genre"] == genre]
        return sorted(ids, key=lambda clip: clip not in self.audible)

    def title(self, clip: str) -> str:
        return f"{self.full.loc[clip, 'genre']} (clip {clip})"

    def offered(self, clip: str, approximate: bool) -> dict[str, Any]:
        """What the controls show of a clip: its four pictures, and its sound where it has one."""
        forms = [read_array(folder.loc[clip, "path"]) for folder in (self.full, self.beat)]
        arrays = {
            name: forms[name.startswith("beat")][FEATURE_ROWS[kind]]
            for name, kind in plots.FEATURE_KINDS.items()
        }
        sound = _sound(audio_path(self.root, clip), arrays["mel"] if approximate else None)
        pictures = [_picture(array, name) for name, array in arrays.items()]
        return {"title": self.title(clip), "pictures": pictures, **sound}


def _sound(path: Path | None, mel: np.ndarray | None) -> dict[str, str]:
    """The beginning of a clip as MP3 in base64 and a note, from its file or from its picture."""
    import soundfile

    if path is None and mel is None:
        return {"sound": "", "note": "none"}
    samples = (
        soundfile.read(path, stop=SECONDS * SAMPLE_RATE)[0] if path else approximate_audio(mel)
    )
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="MP3")
    sound = base64.b64encode(file.getvalue()).decode()
    return {"sound": sound, "note": f"the first {SECONDS} seconds" if path else APPROXIMATE}


def approximate_audio(mel: np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """Sound whose mel spectrogram is about this one, float32 [samples], of its first seconds.

    `mel` is [128, T] in dB. It holds neither phases nor the single frequencies inside a band, so
    both are guessed (Griffin and Lim 1984); the same spectrogram always gives the same sound.
    """
    import librosa

    n_frames = 1 + int(seconds * SAMPLE_RATE / HOP_LENGTH)
    power = librosa.db_to_power(np.asarray(mel, dtype=np.float32)[:, :n_frames])
    magnitude = librosa.feature.inverse.mel_to_stft(power, sr=SAMPLE_RATE, n_fft=N_FFT)
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


# ---- neighbours --------------------------------------------------------------------------------


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
    seen = _SeenByModel(model, dataset, batch_size, device)
    begin = seen.most_confident_error()
    offered = {begin, *range(0, len(seen.ids), math.ceil(len(seen.ids) / MOST_CLIPS))}
    shown = sorted(offered.union(*map(seen.nearest, offered)))
    others = ~np.eye(len(seen.ids), dtype=bool)  # all pairs of two different clips
    _offer(
        record.notebook,
        "neighbours",
        classes=list(seen.base.classes),
        begin=shown.index(begin),
        mean=float(seen.likeness[others].mean()) if others.any() else None,
        clips=[seen.offered(clip, shown if clip in offered else []) for clip in shown],
    )


class _SeenByModel:
    """The clips of a genre dataset as a classifier sees them: probabilities [n, C], likeness."""

    def __init__(
        self, model: Classifier, dataset: Dataset, batch_size: int, device: torch.device | str
    ) -> None:
        self.base, self.numbers = unwrap(dataset)
        tracks = self.base.tracks.iloc[self.numbers]
        self.ids, self.labels = tracks["id"].tolist(), tracks["label"].tolist()
        self.names = [f"{self.labels[i]} (clip {name})" for i, name in enumerate(self.ids)]
        loader = make_loader(dataset, batch_size, device=device)
        vectors = torch.from_numpy(predict(model.backbone, loader, device))
        with torch.no_grad():
            logits = model.head(vectors.to(device))
        self.probabilities = logits.softmax(1).cpu().numpy()
        self.answers = [self.base.classes[i] for i in self.probabilities.argmax(1)]
        unit = torch.nn.functional.normalize(vectors)
        self.likeness = (unit @ unit.T).numpy()

    def most_confident_error(self) -> int:
        """The clip with the highest probability of a wrong class; the first one without errors."""
        wrong = np.array(self.answers) != np.array(self.labels)
        return int(np.where(wrong, self.probabilities.max(1), -1).argmax())

    def nearest(self, clip: int) -> list[int]:
        """The clips that are most like this one, itself left out, the nearest first."""
        order = np.argsort(-self.likeness[clip], kind="stable")
        return [int(i) for i in order if i != clip][:N_NEIGHBOURS]

    def offered(self, clip: int, shown: list[int]) -> dict[str, Any]:
        """What the controls show of a clip; its neighbours by their places in `shown`, if given."""
        near = self.nearest(clip) if shown else []
        mel = self.base.store.clip(int(self.numbers[clip]), FEATURE_ROWS["mel"])
        return {
            "title": self.names[clip],
            "label": self.labels[clip],
            "answer": self.answers[clip],
            "scores": np.round(self.probabilities[clip], 3).tolist(),
            "near": [[shown.index(i), round(float(self.likeness[clip, i]), 3)] for i in near],
            "picture": _picture(mel.T, "mel", 160, 64),
        }


# ---- maps --------------------------------------------------------------------------------------

MAP_ROWS, MAP_COLUMNS = 64, 160  # of the pictures, from which the browser also makes sound


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
    near = {}
    for name, vectors in spaces.items():
        order = cdist(vectors, vectors).argsort(axis=1)
        near[name] = [[int(j) for j in row if j != i][:N_NEIGHBOURS] for i, row in enumerate(order)]
    tracks = base.tracks.iloc[numbers]
    clips = zip(numbers, tracks["id"], tracks["label"], strict=True)
    _offer(
        record.notebook,
        "maps",
        classes=sorted(set(tracks["label"])),
        colours=list(plots.COLOURS),
        hertz=np.round(mel_frequencies().reshape(MAP_ROWS, -1).mean(1), 1).tolist(),
        near=near,
        maps=[
            {"space": space, "method": method, "places": _in_unit_square(places)}
            for (space, method), places in drawn.items()
        ],
        clips=[_on_map(record, base, *clip) for clip in clips],
    )


def _in_unit_square(places: np.ndarray) -> list[list[float]]:
    """Places [n, 2] moved and scaled into 0..1, both axes alike, and rounded for the browser."""
    low, high = places.min(0), places.max(0)
    scaled = (places - (low + high) / 2) / max(*(high - low), 1e-9)
    return np.round(0.5 + scaled, 3).tolist()


def _on_map(record: Record, base: Any, number: int, clip: str, label: str) -> dict[str, Any]:
    """A clip's beginning as a picture, and as sound where its audio was kept."""
    frames = int(SECONDS * SAMPLE_RATE / HOP_LENGTH)
    mel = base.store.clip(int(number), FEATURE_ROWS["mel"])[:frames].T
    return {
        "title": f"{label} (clip {clip})",
        "label": label,
        "picture": _picture(mel, "mel", MAP_COLUMNS, MAP_ROWS),
        "seconds": mel.shape[1] * HOP_LENGTH / SAMPLE_RATE,
        "sound": _sound(audio_path(record.data, clip), None)["sound"],
    }
