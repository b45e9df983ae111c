"""Audio to features: beats or none, any sampling rate, clear errors for audio that is none.

That mel, chroma, beats and what lies between them are librosa's, test_benchmark_speed asks, on the
chords below.
"""

import librosa
import numpy as np
import pytest

from helpers import features
from helpers.machinery import arrays
from helpers.machinery.files import LabError

SECONDS = 8


def chords() -> np.ndarray:
    """Plucked chords a little out of tune over a drum on each beat, 115 beats per minute."""
    rng = np.random.default_rng(0)
    rate = features.SAMPLE_RATE
    t = np.arange(SECONDS * rate) / rate
    wave = 0.002 * rng.standard_normal(len(t))
    for number, start in enumerate(np.arange(0.1, SECONDS - 0.5, 60 / 115)):
        since = np.maximum(t - start, 0)
        playing = t >= start
        wave += 0.5 * playing * np.exp(-since * 40) * rng.standard_normal(len(t))
        for semitone in (0, 4, 7) if number % 8 < 4 else (5, 9, 12):
            frequency = 223.0 * 2 ** (semitone / 12)
            wave += 0.2 * playing * np.exp(-since * 5) * np.sin(2 * np.pi * frequency * since)
    return (wave / np.abs(wave).max()).astype(np.float32)


def test_a_clip_has_the_same_features_at_another_sampling_rate():
    audio = chords()[: 3 * features.SAMPLE_RATE]
    extracted = features.extract(audio)
    assert extracted.full.dtype == extracted.beat.dtype == np.float32
    assert len(extracted.beat_times) >= 3
    fast = librosa.resample(audio, orig_sr=22050, target_sr=44100)
    other = features.extract(fast, sr=44100).full
    assert other.shape == extracted.full.shape
    assert np.median(np.abs(other[:100] - extracted.full[:100])) < 0.5


def test_a_steady_tone_without_beats_is_one_column():
    steady = features.extract(_sine(440))
    assert len(steady.beat_times) == 0 and steady.beat.shape == (arrays.N_ROWS, 1)


def test_a_tone_is_loudest_in_the_band_of_its_frequency():
    hertz = features.mel_frequencies()
    assert hertz.shape == (128,)
    loudest = features.extract(_sine(float(hertz[60]))).full[:128].mean(axis=1).argmax()
    assert loudest == 60


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(66150, np.float32), "silent"),
        (np.ones(100, np.float32), "at least 1 s"),
        (np.ones((2, 66150), np.float32), "mono"),
        (np.full(66150, np.nan, np.float32), "NaN"),
    ],
)
def test_audio_that_is_no_clip_is_refused(audio, message):
    with pytest.raises(LabError, match=message):
        features.extract(audio)


def _sine(hertz: float, rate: int = 22050) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * rate) / rate)).astype(np.float32)
