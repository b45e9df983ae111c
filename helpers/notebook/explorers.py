"""Explorers: choose something by hand, and see (or hear) what changes.

In JupyterLab each of them has controls. Anywhere else, run by the runner or as a plain script, the
same call shows one fixed choice as an ordinary figure. The record always holds that fixed choice.
"""

from __future__ import annotations

import html
import math
import threading
import uuid
from collections.abc import Callable, Sequence
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

try:
    import ipywidgets as widgets
except ImportError:  # then there are no controls
    widgets = None

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    # A widget for each argument of the drawing function, and all that is shown, from top to bottom.
    Controls = tuple[dict[str, widgets.Widget], Sequence[widgets.Widget]]

N_NEIGHBOURS = 4
APPROXIMATE = "approximate, reconstructed from the mel spectrogram"

_WIDE: dict[str, Any] = {"style": {"description_width": "8em"}, "layout": {"width": "26em"}}

Choices = list[tuple[str, Any]]  # what a menu shows, and what it stands for

_one_at_a_time = threading.RLock()


# ---- two clips ---------------------------------------------------------------------------------


def two_clips(record: Record, genres: Sequence[str] = ()) -> None:
    """See and hear a training clip of each of two genres (steps 1 to 3).

    `genres` are the two to begin with, by default the first and the last one of the alphabet.
    Raises LabError for a genre that has no clip.
    """
    clips = _TrainingClips(record.data)
    chosen = genres or (clips.genres[0], clips.genres[-1])
    first, second = (clips.of(genre)[0][1] for genre in chosen)
    fixed = {"first": first, "second": second, "picture": "mel"}

    def controls() -> Controls:
        inputs = {"picture": _menu("picture", list(plots.FEATURE_KINDS), "mel")}
        sides = []
        for which, genre in zip(("first", "second"), chosen, strict=True):
            names = (f"{which} genre", f"{which} clip")
            menus = _two_menus(names, clips.genres, clips.of, (genre, fixed[which]))
            inputs[which] = menus[1]
            sides.append(
                widgets.VBox([*menus, *clips.sound_of(menus[1])], layout={"margin": "0 3em 0 0"})
            )
        return inputs, [widgets.HBox(sides), inputs["picture"]]

    _open(record, "explore_clips", clips.draw, fixed, controls)


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

    def draw(self, first: str, second: str, picture: str) -> Figure:
        pictures = {self.title(clip): self.read(clip, picture) for clip in (first, second)}
        return plots.spectrograms(
            pictures, plots.FEATURE_KINDS[picture], picture.startswith("beat")
        )

    def sound_of(self, menu: widgets.Dropdown) -> list[widgets.Widget]:
        """A player of the clip that is chosen or, without audio, a button for an approximation."""
        from IPython.display import Audio

        place, button = widgets.HTML(), widgets.Button(icon="play")

        def offer() -> str:
            path, title = audio_path(self.root, menu.value), html.escape(self.title(menu.value))
            button.description = f"hear clip {menu.value}"
            button.layout.display = "none" if path else None
            if path:
                return title + Audio(filename=str(path))._repr_html_()
            return f"{title}: {APPROXIMATE}"

        def make() -> str:
            sound = approximate_audio(self.read(menu.value, "mel"))
            return offer() + Audio(sound, rate=SAMPLE_RATE, autoplay=True)._repr_html_()

        place.value = offer()
        menu.observe(_answering(offer, place), "value")
        button.on_click(_answering(make, place))
        return [place, button]


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


# ---- the threshold -----------------------------------------------------------------------------


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
    fixed = {"number": int(counts.argmax()), "at": 0.5}

    def draw(number: int, at: float) -> Figure:
        belongs, scores = true == number, probabilities[:, number]
        return plots.threshold_choice(belongs, scores, classes[number], at)

    def controls() -> Controls:
        names = [(f"{name} ({counts[i]})", i) for i, name in enumerate(classes)]
        number = _menu("class (clips)", names, fixed["number"])
        at = widgets.FloatSlider(
            0.5, min=0, max=1, step=0.01, description="threshold", continuous_update=False, **_WIDE
        )
        return {"number": number, "at": at}, [number, at]

    _open(record, "explore_threshold", draw, fixed, controls)


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

    def controls() -> Controls:
        labels, both = sorted(set(seen.labels)), (seen.labels[begin], begin)
        menus = _two_menus(("class", "clip"), labels, seen.clips_of, both)
        return {"clip": menus[1]}, menus

    _open(record, "explore_neighbours", seen.draw, {"clip": begin}, controls)


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

    def clips_of(self, label: str) -> Choices:
        """The clips of a class; those that the model takes for another one say so."""
        return [
            (name if answer == label else f"{name} (taken for {answer})", i)
            for i, (name, answer) in enumerate(zip(self.ids, self.answers, strict=True))
            if self.labels[i] == label
        ]

    def nearest(self, clip: int) -> list[int]:
        """The clips that are most like this one, itself left out, the nearest first."""
        order = np.argsort(-self.likeness[clip], kind="stable")
        return [int(i) for i in order if i != clip][:N_NEIGHBOURS]

    def draw(self, clip: int) -> Figure:
        label, near = self.labels[clip], self.nearest(clip)
        same = sum(self.labels[i] == label for i in near)
        pairs = self.likeness[~np.eye(len(self.likeness), dtype=bool)]
        title = (
            f"{self.names[clip]} is taken for {self.answers[clip]}; "
            f"{same} of its {len(near)} nearest clips are {label} "
            f"(mean cosine of all pairs: {pairs.mean() if near else math.nan:.2f})"
        )
        scores = {
            f"{name} (true)" if name == label else name: float(probability)
            for name, probability in zip(self.base.classes, self.probabilities[clip], strict=True)
        }
        pictures = {
            f"{self.names[i]}\ncosine {self.likeness[clip, i]:.3f}": self._mel(i) for i in near
        }
        return plots.clip_and_neighbours(self._mel(clip), scores, pictures, title)

    def _mel(self, clip: int) -> np.ndarray:
        """The clip's mel spectrogram as it was stored, [128, T] in dB."""
        return self.base.store.clip(int(self.numbers[clip]), FEATURE_ROWS["mel"]).T


# ---- controls, where there can be some ---------------------------------------------------------


def _menu(name: str, choices: Sequence[Any], begin: Any) -> widgets.Dropdown:
    return widgets.Dropdown(options=choices, value=begin, description=name, **_WIDE)


def _two_menus(
    names: Sequence[str], groups: list[str], members: Callable[[str], Choices], begin: Sequence[Any]
) -> list[widgets.Dropdown]:
    """A menu of groups, and one of the members of the group that is chosen in it."""
    group = _menu(names[0], groups, begin[0])
    member = _menu(names[1], members(begin[0]), begin[1])
    group.observe(lambda change: member.set_trait("options", members(change["new"])), "value")
    return [group, member]


def _answering(act: Callable[[], str], place: widgets.HTML) -> Callable[[Any], None]:
    """What a control calls when it changes: show in a place what `act` returns, or its error.

    JupyterLab hands the changes to two threads of the kernel (from ipykernel 7.4 on). An `Output`
    of ipywidgets loses count there, and its control never answers again: so none is used.
    """

    def answer(_: Any) -> None:
        with _one_at_a_time:
            try:
                place.value = act()
            except Exception as error:
                place.value = f"<pre>{type(error).__name__}: {html.escape(str(error))}</pre>"

    return answer


def _open(
    record: Record,
    name: str,
    draw: Callable[..., Figure],
    fixed: dict[str, Any],
    controls: Callable[[], Controls],
) -> None:
    """Show and store the figure of the fixed choice, below controls where these can be shown."""
    if advice := _advice():
        record.show(draw(**fixed), name)
        print(advice)
        return
    from IPython.display import display

    place, shown = f"{name}-{uuid.uuid4().hex}", fixed

    def redraw() -> str:
        nonlocal shown
        choice = {name: control.value for name, control in inputs.items()}
        if choice != shown:
            replace_shown(draw(**choice), place)
            shown = choice
        return ""  # the error of the choice before goes

    inputs, rows = controls()
    errors = widgets.HTML()
    for control in inputs.values():
        control.observe(_answering(redraw, errors), "value")
    display(widgets.VBox([*rows, errors]))
    # No output of a widget, which a notebook would not keep when it is saved.
    record.show(draw(**fixed), name, display_id=place)


def _advice() -> str:
    """What to do to get controls; empty where they can be shown."""
    from IPython import get_ipython

    if headless() or getattr(get_ipython(), "kernel", None) is None:
        return (
            "One fixed choice. To choose yourself, open this notebook in JupyterLab "
            "(./run_all.sh lab) and run it there."
        )
    if widgets is None:
        return (
            "One fixed choice, because ipywidgets is missing. To choose yourself: "
            "python -m pip install ipywidgets, then restart the kernel and run the notebook again."
        )
    return ""
