"""Explorers: choose something by hand, and see (or hear) what changes.

In JupyterLab each of them has controls. Anywhere else, run by the runner or as a plain script, the
same call shows one fixed choice as an ordinary figure. The record always holds that fixed choice.
"""

from __future__ import annotations

import importlib.util
import io
import math
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from helpers import plots
from helpers.datasets import FEATURE_ROWS, make_loader
from helpers.features import HOP_LENGTH, N_FFT, SAMPLE_RATE
from helpers.folders import GENRE, GENRE_BEAT, audio_clips, audio_path, read_clips
from helpers.machinery.arrays import read_array
from helpers.machinery.batches import unwrap
from helpers.machinery.files import LabError, did_you_mean
from helpers.machinery.process import headless
from helpers.models import Classifier
from helpers.notebook.records import Record
from helpers.notebook.showing import replace_shown
from helpers.training import predict

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from matplotlib.figure import Figure

    # The widgets whose values are drawn, in the order of the drawing function's arguments; and the
    # box that holds all that is shown.
    Controls = tuple[Sequence[ipywidgets.Widget], ipywidgets.Widget]

N_NEIGHBOURS = 4
APPROXIMATE = "approximate, reconstructed from the mel spectrogram"

_WIDE: dict[str, Any] = {"style": {"description_width": "8em"}, "layout": {"width": "26em"}}

Choices = list[tuple[str, Any]]  # what a menu shows, and what it stands for


# ---- the explorers -----------------------------------------------------------------------------


def two_clips(record: Record, genres: Sequence[str] = ()) -> None:
    """See and hear a training clip of each of two genres (steps 1 to 3).

    `genres` are the two to begin with, by default the first and the last one of the alphabet.
    Raises LabError for a genre that has no clip.
    """
    clips = _TrainingClips(record.data)
    chosen = genres or (clips.genres[0], clips.genres[-1])
    first, second = (clips.of(genre)[0][1] for genre in chosen)

    def controls(messages: AbstractContextManager) -> Controls:
        import ipywidgets as widgets

        sides = [_clip_chooser(which, clip, clips, messages)
                 for which, clip in (("first", first), ("second", second))]  # fmt: skip
        kind = widgets.Dropdown(options=list(plots.FEATURE_KINDS), description="picture", **_WIDE)
        inputs = [*(clip for clip, _ in sides), kind]
        return inputs, widgets.VBox([widgets.HBox([box for _, box in sides]), kind])

    _open(record, "explore_clips", clips.draw, (first, second, "mel"), controls)


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
    counts = np.bincount(true, minlength=len(classes))
    begin = int(counts.argmax())

    def draw(number: int, at: float) -> Figure:
        return _threshold_figure(true == number, probabilities[:, number], classes[number], at)

    def controls(messages: AbstractContextManager) -> Controls:
        import ipywidgets as widgets

        names = [
            (f"{name} ({count})", number)
            for number, (name, count) in enumerate(zip(classes, counts, strict=True))
        ]
        chosen = widgets.Dropdown(options=names, value=begin, description="class (clips)", **_WIDE)
        at = widgets.FloatSlider(
            0.5, min=0, max=1, step=0.01, description="threshold", continuous_update=False, **_WIDE
        )
        return [chosen, at], widgets.VBox([chosen, at])

    _open(record, "explore_threshold", draw, (begin, 0.5), controls)


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

    def controls(messages: AbstractContextManager) -> Controls:
        import ipywidgets as widgets

        label = widgets.Dropdown(
            options=sorted(set(seen.labels)), value=seen.labels[begin], description="class", **_WIDE
        )
        options = seen.clips_of(label.value)
        clip = widgets.Dropdown(options=options, value=begin, description="clip", **_WIDE)
        _follow(label, clip, seen.clips_of)
        return [clip], widgets.VBox([label, clip])

    _open(record, "explore_neighbours", seen.draw, (begin,), controls)


# ---- two clips ---------------------------------------------------------------------------------


class _TrainingClips:
    """The genre training clips of a data folder, full and beat-synchronous."""

    def __init__(self, root: Path) -> None:
        self.full, self.beat = (
            read_clips(root / folder, "train").set_index("id") for folder in (GENRE, GENRE_BEAT)
        )
        self.full = self.full[self.full.index.isin(self.beat.index)]
        self.genres = sorted(self.full["genre"].unique().tolist())
        self.root, self.audible = root, audio_clips(root)

    def of(self, genre: str) -> Choices:
        """The clips of a genre, those with audio first."""
        if genre not in self.genres:
            raise LabError(
                f"no training clip of genre {genre!r}{did_you_mean(genre, self.genres)}; known: "
                f"{', '.join(self.genres)}"
            )
        ids = self.full.index[self.full["genre"] == genre]
        choices = [(f"{i} (with audio)" if i in self.audible else i, i) for i in ids]
        return sorted(choices, key=lambda choice: choice[1] not in self.audible)

    def title(self, clip: str) -> str:
        return f"{self.full.loc[clip, 'genre']} (clip {clip})"

    def read(self, clip: str, name: str) -> np.ndarray:
        """One of the four forms of a clip: mel or chroma, full or beat-synchronous; [rows, T]."""
        folder = self.beat if name.startswith("beat") else self.full
        return read_array(folder.loc[clip, "path"])[FEATURE_ROWS[plots.FEATURE_KINDS[name]]]

    def draw(self, first: str, second: str, name: str) -> Figure:
        pictures = {self.title(clip): self.read(clip, name) for clip in (first, second)}
        return plots.spectrograms(pictures, plots.FEATURE_KINDS[name], name.startswith("beat"))


def _clip_chooser(
    which: str, clip: str, clips: _TrainingClips, messages: AbstractContextManager
) -> tuple[ipywidgets.Dropdown, ipywidgets.Widget]:
    """Menus for a genre and a clip of it, above a way to hear it: the clip's menu, and the box."""
    import ipywidgets as widgets

    begin = clips.full.loc[clip, "genre"]
    genre = widgets.Dropdown(
        options=clips.genres, value=begin, description=f"{which} genre", **_WIDE
    )
    chosen = widgets.Dropdown(
        options=clips.of(begin), value=clip, description=f"{which} clip", **_WIDE
    )
    _follow(genre, chosen, clips.of)
    sound = widgets.VBox(_sound(clips, clip, messages))

    def change_sound(change: dict[str, Any]) -> None:
        with messages:
            sound.children = _sound(clips, change["new"], messages)

    chosen.observe(change_sound, "value")
    return chosen, widgets.VBox([genre, chosen, sound], layout={"margin": "0 3em 0 0"})


def _sound(
    clips: _TrainingClips, clip: str, messages: AbstractContextManager
) -> list[ipywidgets.Widget]:
    """A player of a clip's audio or, where there is none, a button that makes an approximation."""
    import ipywidgets as widgets

    path = audio_path(clips.root, clip)
    if path:
        player = widgets.Audio.from_file(path, autoplay=False, loop=False)
        return [widgets.Label(clips.title(clip)), player]
    button = widgets.Button(description=f"hear clip {clip}", tooltip=APPROXIMATE, icon="play")
    box = widgets.VBox([button])

    def make(_: ipywidgets.Button) -> None:
        button.disabled = True  # it takes some seconds
        with messages:
            wav = _as_wav(approximate_audio(clips.read(clip, "mel")))
            box.children = [widgets.Audio(value=wav, format="wav", autoplay=True, loop=False)]
        button.disabled = False

    button.on_click(make)
    return [widgets.Label(f"{clips.title(clip)}: {APPROXIMATE}"), box]


def approximate_audio(mel: np.ndarray, seconds: float = 10.0) -> np.ndarray:
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


def _as_wav(audio: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


# ---- the threshold -----------------------------------------------------------------------------


def _threshold_figure(belongs: np.ndarray, scores: np.ndarray, name: str, at: float) -> Figure:
    """Precision and recall of a class over the threshold, [n] clips, with one threshold marked."""
    thresholds = np.linspace(0, 1, 101)
    chosen = int(round(100 * at))
    precision, recall = precision_recall(belongs, scores, thresholds)
    called = scores >= thresholds[chosen]
    hits, n = int((called & belongs).sum()), int(belongs.sum())
    title = (
        f"{name} from {thresholds[chosen]:.2f} on: "
        f"precision {_or_undefined(precision[chosen], 'no clip is called so')}, "
        f"recall {_or_undefined(recall[chosen], 'no clip belongs to it')}\n"
        f"{hits} of {n} found, {int(called.sum()) - hits} others called so"
    )
    share = n / len(belongs)
    return plots.threshold_choice(thresholds, precision, recall, chosen, share, title)


def precision_recall(
    belongs: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one class when every clip from a score on is called it (step 6).

    belongs bool [n], scores [n], thresholds [R] -> two arrays [R]. NaN where undefined: precision
    where no clip is called the class, recall where none belongs to it.
    """
    called = scores >= thresholds[:, None]
    hits = (called & belongs).sum(1)
    with np.errstate(invalid="ignore"):  # 0 / 0
        return hits / called.sum(1), hits / belongs.sum()


def _or_undefined(value: float, reason: str) -> str:
    return f"{value:.2f}" if np.isfinite(value) else f"undefined ({reason})"


# ---- neighbours --------------------------------------------------------------------------------


class _SeenByModel:
    """The clips of a genre dataset as a classifier sees them: vectors, probabilities, likeness."""

    def __init__(
        self, model: Classifier, dataset: Dataset, batch_size: int, device: torch.device | str
    ) -> None:
        self.base, self.numbers = unwrap(dataset)
        self.tracks: pd.DataFrame = self.base.tracks.iloc[self.numbers]
        self.labels: list[str] = self.tracks["label"].tolist()
        loader = make_loader(dataset, batch_size, device=device)
        vectors = predict(model.backbone, loader, device)
        with torch.no_grad():
            logits = model.head(torch.from_numpy(vectors).to(device))
        self.probabilities = logits.softmax(1).cpu().numpy()
        self.answers = [self.base.classes[i] for i in self.probabilities.argmax(1)]
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self.likeness = unit @ unit.T

    def most_confident_error(self) -> int:
        """The clip with the highest probability of a wrong class; the first one without errors."""
        wrong = np.array(self.answers) != np.array(self.labels)
        return int(np.where(wrong, self.probabilities.max(1), -1).argmax())

    def clips_of(self, label: str) -> Choices:
        """The clips of a class; those that the model takes for another one say so."""
        ids = self.tracks["id"].tolist()
        return [
            (ids[i] if answer == label else f"{ids[i]} (taken for {answer})", i)
            for i, answer in enumerate(self.answers)
            if self.labels[i] == label
        ]

    def nearest(self, clip: int) -> list[int]:
        """The clips that are most like this one, itself left out, the nearest first."""
        order = np.argsort(-self.likeness[clip], kind="stable")
        return [int(i) for i in order if i != clip][:N_NEIGHBOURS]

    def mean_likeness(self) -> float:
        """The mean cosine over all pairs of two clips: what nearness is to be compared with."""
        different = ~np.eye(len(self.likeness), dtype=bool)
        return float(self.likeness[different].mean()) if different.any() else math.nan

    def draw(self, clip: int) -> Figure:
        label, near = self.labels[clip], self.nearest(clip)
        same = sum(self.labels[i] == label for i in near)
        title = (
            f"{self._name(clip)} is taken for {self.answers[clip]}; "
            f"{same} of its {len(near)} nearest clips are {label} "
            f"(mean cosine of all pairs: {self.mean_likeness():.2f})"
        )
        scores = {
            f"{name} (true)" if name == label else name: float(probability)
            for name, probability in zip(self.base.classes, self.probabilities[clip], strict=True)
        }
        pictures = {
            f"{self._name(i)}\ncosine {self.likeness[clip, i]:.3f}": self._mel(i) for i in near
        }
        return plots.clip_and_neighbours(self._mel(clip), scores, pictures, title)

    def _name(self, clip: int) -> str:
        return f"{self.labels[clip]} (clip {self.tracks['id'].iloc[clip]})"

    def _mel(self, clip: int) -> np.ndarray:
        """The clip's mel spectrogram as it was stored, [128, T] in dB."""
        return self.base.store.clip(int(self.numbers[clip]), FEATURE_ROWS["mel"]).T


# ---- controls, where there can be some ---------------------------------------------------------


def _open(
    record: Record,
    name: str,
    draw: Callable[..., Figure],
    fixed: tuple[Any, ...],
    controls: Callable[[AbstractContextManager], Controls],
) -> None:
    """Show and store the figure of the fixed choice, below controls where these can be shown."""
    advice = _advice()
    if advice:
        record.show(draw(*fixed), name)
        print(advice)
        return
    import ipywidgets as widgets
    from IPython.display import display

    messages = widgets.Output()  # shows errors, which Jupyter would put into a log nobody reads
    inputs, box = controls(messages)
    place = f"{name}-{uuid.uuid4().hex}"

    def redraw(_: dict[str, Any]) -> None:
        messages.outputs = ()
        with messages:
            replace_shown(draw(*(one.value for one in inputs)), place)

    for one in inputs:
        one.observe(redraw, "value")
    display(widgets.VBox([box, messages]))
    record.show(draw(*fixed), name, display_id=place)


def _advice() -> str:
    """What to do to get controls; empty where they can be shown."""
    from IPython import get_ipython

    if headless() or getattr(get_ipython(), "kernel", None) is None:
        return (
            "One fixed choice. To choose yourself, open this notebook in JupyterLab "
            "(./run_all.sh lab) and run it there."
        )
    if importlib.util.find_spec("ipywidgets") is None:
        return (
            "One fixed choice, because ipywidgets is missing. To choose yourself: "
            "python -m pip install ipywidgets, then restart the kernel and run the notebook again."
        )
    return ""


def _follow(
    parent: ipywidgets.Dropdown, child: ipywidgets.Dropdown, choices: Callable[[str], Choices]
) -> None:
    """Whenever the parent changes, offer in the child what belongs to it, the first one chosen."""

    def changed(change: dict[str, Any]) -> None:
        child.options = choices(change["new"])

    parent.observe(changed, "value")
