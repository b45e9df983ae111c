"""What all tests share: an isolated environment and a tiny data folder in the lab's layout."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import browser as browsers

# Before anything imports matplotlib, torch or helpers: no windows, two threads, and none of the
# user's own settings. What a test writes without asking for a `home` lands in this folder.
SHARED_HOME = Path(tempfile.mkdtemp(prefix="musiclab-tests-"))
SETTINGS = {"MUSICLAB_HEADLESS": "1", "MUSICLAB_HOME": str(SHARED_HOME)}
for _name in [name for name in os.environ if name.startswith("MUSICLAB_")]:
    del os.environ[_name]
os.environ.update(SETTINGS, MPLBACKEND="Agg", OMP_NUM_THREADS="2")


# Started in the background of a script, a program ignores Ctrl-C and so do its children; the tests
# of Ctrl-C need children as if started by hand.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Files are dealt out in this order, each to one process: the longest ones may not come last.
LONGEST = (
    "test_smoke", "test_on_kaggle", "test_interruptions", "test_wrong_input", "test_demo",
    "test_runner", "test_build_data", "test_explorers",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the order inside a file stays."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def pytest_unconfigure() -> None:
    """Removes the shared home when the session is over."""
    shutil.rmtree(SHARED_HOME, ignore_errors=True)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks are faster without threads that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _isolated_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with the same MUSICLAB_* variables, whatever the one before did."""
    for name in [name for name in os.environ if name.startswith("MUSICLAB_")]:
        if name not in SETTINGS:
            monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MUSICLAB_HOME of the test's own: caches and runs lie below it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MUSICLAB_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the lab's layout with all its quirks, 58 small clips. Do not write to it.

    Genre: Classical, Hip-Hop, International (which the class mapping drops) and Psych-Rock (which
    becomes Rock), 6 train and 3 test clips each. Multitask: 16 train, 6 unlabelled test clips.
    Full clips have 62 to 66 frames, beat-synchronous ones 26 to 40. Classes and axes can be
    learned from the arrays.
    """
    folder = tmp_path_factory.mktemp("mini") / "data"
    write_mini_data(folder)
    return folder


@pytest.fixture(scope="session")
def mini_answers(mini_data: Path) -> Path:
    """Made-up answers for the six multitask test clips of the mini data, that tell them apart."""
    path = mini_data.parent / "answers.csv"
    names = sorted(file.name[:9] for file in (mini_data / "multitask_dataset" / "test").iterdir())
    rows = [f"{name},0.{n}0,0.{n}5,0.{9 - n}0" for n, name in enumerate(names)]
    path.write_text("\n".join(["Id,valence,energy,danceability", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser (a selenium WebDriver); skips where there is none."""
    missing = browsers.missing()
    if missing:
        pytest.skip(f"no browser to look with: {missing} is missing (see tests/browser.py)")
    driver = browsers.start(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As in a notebook: what is displayed, in order."""
    shown: list[Any] = []
    monkeypatch.setattr("helpers.notebook.showing.in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda thing, **_: shown.append(thing))
    return shown


SPEC = {  # of a tiny LSTM
    "backbone": "lstm",
    "backbone_options": {"n_features": 12, "hidden_size": 4},
    "head": "classifier",
    "head_options": {"n_classes": 3},
}

# ---- the mini data -----------------------------------------------------------------------------

N_MELS, N_CHROMA = 128, 12
MINI_GENRES = ("Classical", "Hip-Hop", "International", "Psych-Rock")  # sorted, as in the lab
LABEL_SUFFIX = {  # what stands behind the id in the label files: not the names on disk
    ("fma_genre_spectrograms", "train"): ".fused.full.npy.gz",
    ("fma_genre_spectrograms", "test"): ".full.fused.npy.gz",
    ("fma_genre_spectrograms_beat", "train"): ".beatsync.fused.npy.gz",
    ("fma_genre_spectrograms_beat", "test"): ".beatsync.fused.npy.gz",
}


def write_mini_data(folder: Path, seed: int = 0) -> None:
    """Writes the four folders of the lab below `folder`."""
    rng = np.random.default_rng(seed)
    for split, per_genre, first_id in (("train", 6, 1000), ("test", 3, 2000)):
        _write_genre_split(folder, split, per_genre, first_id, rng)
    _write_multitask_split(folder, "train", 16, 5000, rng)
    _write_multitask_split(folder, "test", 6, 123212738, rng)


def _write_genre_split(
    data: Path, split: str, per_genre: int, first_id: int, rng: np.random.Generator
) -> None:
    ids = first_id + rng.permutation(per_genre * len(MINI_GENRES))
    genres = np.repeat(np.arange(len(MINI_GENRES)), per_genre)
    for clip, genre in zip(ids, genres, strict=True):
        place, tempo = (genre + 0.5) / len(MINI_GENRES), 4 + 3 * genre
        _write_clip(data, "fma_genre_spectrograms", split, int(clip), rng, place, tempo, 0.5)
    for name in ("fma_genre_spectrograms", "fma_genre_spectrograms_beat"):
        suffix = LABEL_SUFFIX[name, split]
        rows = [f"{i}{suffix}\t{MINI_GENRES[g]}\n" for i, g in zip(ids, genres, strict=True)]
        (data / name / f"{split}_labels.txt").write_text("Id\tGenre\n" + "".join(rows))


def _write_multitask_split(
    data: Path, split: str, clips: int, first_id: int, rng: np.random.Generator
) -> None:
    rows = []
    for clip in range(first_id, first_id + clips):
        valence, energy, danceability = rng.uniform(0.03, 0.98, size=3)
        tempo = 3 + 9 * danceability
        _write_clip(data, "multitask_dataset", split, clip, rng, valence, tempo, energy)
        rows.append(f"{clip},{valence:.3f},{energy:.3f},{danceability:.3f}\n")
    if split == "train":  # the test clips have no labels
        for name in ("multitask_dataset", "multitask_dataset_beat"):
            header = "Id,valence,energy,danceability\n"
            (data / name / "train_labels.txt").write_text(header + "".join(rows))


def _write_clip(
    data: Path, name: str, split: str, clip: int, rng: np.random.Generator,
    place: float, tempo: float, loudness: float,
) -> None:  # fmt: skip
    """A clip that says its parameters in its arrays: whole, and averaged between beats.

    place (0..1): which mel bands and pitch class stand out; tempo: beats per clip;
    loudness (0..1): how far the quiet parts lie above the floor.
    """
    n_frames = int(rng.integers(62, 67))
    bands = np.arange(N_MELS)[:, None] / N_MELS
    beats = 0.5 + 0.5 * np.cos(2 * np.pi * tempo * np.arange(n_frames) / 64)
    peak = np.exp(-(((bands - place) / 0.1) ** 2)) * (0.3 + 0.7 * beats)
    noise = rng.gamma(2.0, 0.5, size=(N_MELS, n_frames))
    power = peak + 10 ** (-6 + 3 * loudness) * noise
    chroma = 0.3 * rng.uniform(size=(N_CHROMA, n_frames))
    chroma[int(place * N_CHROMA)] = 1.0
    starts = np.linspace(0, n_frames, rng.integers(26, 41), endpoint=False).astype(int)
    widths = np.diff(starts, append=n_frames)
    _store(data / name / split, clip, power, chroma)
    between_beats = (np.add.reduceat(part, starts, axis=1) / widths for part in (power, chroma))
    _store(data / f"{name}_beat" / split, clip, *between_beats)


def _store(folder: Path, clip: int, power: np.ndarray, chroma: np.ndarray) -> None:
    """One array [140, T] as the lab has it: every other clip gzipped; float64, 32 or 16."""
    folder.mkdir(parents=True, exist_ok=True)
    decibels = np.maximum(10 * np.log10(power / power.max()), -80)
    dtype = (np.float64, np.float32, np.float16)[clip % 3]
    content = io.BytesIO()
    np.save(content, np.concatenate([decibels, chroma]).astype(dtype), allow_pickle=False)
    if clip % 2:
        (folder / f"{clip}.fused.full.npy").write_bytes(content.getvalue())
    else:
        compressed = gzip.compress(content.getvalue(), mtime=0)
        (folder / f"{clip}.fused.full.npy.gz").write_bytes(compressed)
