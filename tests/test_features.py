"""Audio to features: equal to the plain librosa pipeline, clear errors for audio that is none."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from helpers import features
from helpers.machinery import arrays
from helpers.machinery.files import LabError

SECONDS = 8


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
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


@pytest.fixture(scope="module")
def extracted(audio: np.ndarray) -> features.ClipFeatures:
    return features.extract(audio)


@pytest.fixture(scope="module")
def reference(audio: np.ndarray) -> features.ClipFeatures:
    """The same by librosa's own functions, one after the other, as its manual shows them."""
    mel = librosa.feature.melspectrogram(y=audio, sr=22050, n_fft=2048, hop_length=512, n_mels=128)
    chroma = librosa.feature.chroma_cqt(y=audio, sr=22050, hop_length=512)
    drums = librosa.effects.percussive(audio)
    onsets = librosa.onset.onset_strength(y=drums, sr=22050, aggregate=np.median)
    _, beats = librosa.beat.beat_track(onset_envelope=onsets, sr=22050)
    synced_mel = librosa.util.sync(mel, beats, aggregate=np.median)
    synced_chroma = librosa.util.sync(chroma, beats, aggregate=np.median)
    return features.ClipFeatures(
        full=np.vstack([librosa.power_to_db(mel, ref=np.max), chroma]),
        beat=np.vstack([librosa.power_to_db(synced_mel, ref=np.max), synced_chroma]),
        beat_times=librosa.frames_to_time(beats, sr=22050),
    )


def test_mel_and_chroma_equal_librosa(extracted, reference):
    assert extracted.full.dtype == extracted.beat.dtype == np.float32
    np.testing.assert_allclose(extracted.full, reference.full, atol=1e-3)


def test_beats_and_what_lies_between_them_equal_librosa(extracted, reference):
    np.testing.assert_array_equal(extracted.beat_times, reference.beat_times)
    assert len(extracted.beat_times) >= 10
    np.testing.assert_allclose(extracted.beat, reference.beat, atol=1e-3)


def test_a_steady_tone_without_beats_is_one_column():
    steady = features.extract(_sine(440))
    assert len(steady.beat_times) == 0
    assert steady.beat.shape == (arrays.N_ROWS, 1)


def test_other_sampling_rates_are_resampled(audio, extracted):
    fast = librosa.resample(audio, orig_sr=22050, target_sr=44100)
    other = features.extract(fast, sr=44100).full
    assert other.shape == extracted.full.shape
    assert np.median(np.abs(other[:100] - extracted.full[:100])) < 0.5


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
