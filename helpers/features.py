"""From audio to mel spectrogram and chroma, full and per beat. Used by 00, 01, 05, 07.

The one place that knows sampling rate and hop. A clip becomes an array of 140 rows: 0-127 are the
mel power spectrogram in dB below its loudest value (-80..0), 128-139 the chroma (0..1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.machinery.arrays import N_CHROMA, N_MELS
from helpers.machinery.files import LabError

SAMPLE_RATE = 22050
HOP_LENGTH = 512
N_FFT = 2048
CQT_BINS_PER_OCTAVE = 36  # chroma_cqt's default: three bins a semitone
CLIP_SECONDS = 30.0
MIN_SECONDS = 1.0  # less holds neither a beat nor one window of the lowest CQT octave
TOP_DB = 80.0
MEDIAN_FRAMES = 31  # HPSS: length of both median filters, librosa's default


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip.

    `full` float32 [140, T]: mel dB (-80..0) above chroma (0..1), a column per hop of 512 samples.
    `beat` float32 [140, B]: the same, one column for each stretch between two beats.
    `beat_times` float64 [B']: the beats in seconds; B is B' + 1, or B' with a beat on frame 0.
    Without any beat the whole clip is one column.
    """

    full: np.ndarray
    beat: np.ndarray
    beat_times: np.ndarray


def mel_frequencies() -> np.ndarray:
    """Centre frequency of each of the 128 mel bands in Hz, float64 [128], low to high."""
    import librosa

    return librosa.mel_frequencies(N_MELS + 2, fmin=0.0, fmax=SAMPLE_RATE / 2)[1:-1]


def extract(audio: np.ndarray, sr: int = SAMPLE_RATE) -> ClipFeatures:
    """Compute the features of one clip from mono audio [samples] at `sr` Hz.

    One STFT serves the mel spectrogram, the tuning estimate of the chroma and the beats.
    Raises LabError for audio that is not mono, too short, silent, or not finite.
    """
    import librosa

    audio = _checked(np.asarray(audio, dtype=np.float32), sr)
    if sr != SAMPLE_RATE:
        audio = librosa.resample(audio, orig_sr=sr, target_sr=SAMPLE_RATE)
    stft = librosa.stft(audio, n_fft=N_FFT, hop_length=HOP_LENGTH)
    magnitude = np.abs(stft)
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLE_RATE, n_mels=N_MELS)
    chroma = librosa.feature.chroma_cqt(
        y=audio, sr=SAMPLE_RATE, hop_length=HOP_LENGTH, n_chroma=N_CHROMA,
        bins_per_octave=CQT_BINS_PER_OCTAVE, tuning=_tuning(magnitude),
    )  # fmt: skip
    beats = _beat_frames(stft, len(audio))
    n_frames = min(mel.shape[1], chroma.shape[1])
    mel, chroma, beats = mel[:, :n_frames], chroma[:, :n_frames], beats[beats < n_frames]
    return ClipFeatures(
        full=_stack(mel, chroma),
        beat=_stack(between_beats(mel, beats), between_beats(chroma, beats)),
        beat_times=librosa.frames_to_time(beats, sr=SAMPLE_RATE, hop_length=HOP_LENGTH),
    )


def estimate_beats(mel_db: np.ndarray) -> np.ndarray:
    """Beat times in seconds, float64 [B'], estimated from a full mel spectrogram [128, T] in dB.

    For clips whose audio is not at hand. The tracker is that of `extract`, but it hears the whole
    mix: the percussive part cannot be taken out of decibels. So the beats may differ from those of
    the beat-synchronous folder.
    """
    import librosa

    onsets = librosa.onset.onset_strength(
        S=np.asarray(mel_db, dtype=np.float32), sr=SAMPLE_RATE, hop_length=HOP_LENGTH,
        aggregate=np.median,
    )  # fmt: skip
    frames = librosa.beat.beat_track(onset_envelope=onsets, sr=SAMPLE_RATE, hop_length=HOP_LENGTH)
    return librosa.frames_to_time(frames[1], sr=SAMPLE_RATE, hop_length=HOP_LENGTH)


def between_beats(rows: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Median of each row of [F, T] between the beats, int [B'] frames: [F, B' + 1].

    The first column lies before the first beat, the last one behind the last; a beat on frame 0
    has no column before it.
    """
    import librosa

    bounds = beats if len(beats) else [0]  # no beat found: the whole clip is one stretch
    return librosa.util.sync(rows, bounds, aggregate=np.median)


def _percussive_mask(magnitude: np.ndarray) -> np.ndarray:
    """Soft mask of the percussive part of a magnitude spectrogram, float32 [bins, frames] in 0..1.

    Medians along time keep partials, medians along frequency keep drum hits (Fitzgerald 2010).
    Equal to the last bit to `librosa.decompose.hpss(magnitude, mask=True)[1]`, ten times faster:
    scipy has a sliding algorithm for one dimension only, so the rows are joined to a single line.
    """
    import librosa

    harmonic = _row_medians(magnitude)
    percussive = _row_medians(magnitude.T).T
    return librosa.util.softmask(percussive, harmonic, power=2.0, split_zeros=True)


def _checked(audio: np.ndarray, sr: int) -> np.ndarray:
    if audio.ndim != 1:
        raise LabError(f"audio has shape {audio.shape}, expected [samples]; mix it down to mono")
    if len(audio) < MIN_SECONDS * sr:
        raise LabError(
            f"the clip lasts {len(audio) / sr:.2f} s, at least {MIN_SECONDS:g} s are needed; "
            "leave it out"
        )
    if not np.isfinite(audio).all():
        raise LabError("the audio holds NaN or infinite samples; decode the file anew")
    if not audio.any():
        raise LabError("the clip is silent from beginning to end; leave it out")
    return audio


def _stack(mel_power: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    import librosa

    mel_db = librosa.power_to_db(mel_power, ref=np.max, top_db=TOP_DB)
    return np.vstack([mel_db, chroma]).astype(np.float32, copy=False)


def _tuning(magnitude: np.ndarray) -> float:
    """How far the clip is out of tune, in CQT bins: `chroma_cqt`'s own estimate, for less work.

    It takes the STFT at hand, and of that only what librosa looks at: the bins below 4 kHz, and
    peaks above a tenth of the loudest bin of their frame.
    """
    import librosa

    n_bins = int(4000 * N_FFT / SAMPLE_RATE) + 3
    n_fft = 2 * (n_bins - 1)  # these bins are those of a shorter STFT at a lower sampling rate
    return librosa.estimate_tuning(
        S=magnitude[:n_bins],
        sr=SAMPLE_RATE * n_fft / N_FFT,
        n_fft=n_fft,
        bins_per_octave=CQT_BINS_PER_OCTAVE,
        ref=0.1 * magnitude.max(axis=0, keepdims=True),
    )


def _beat_frames(stft: np.ndarray, n_samples: int) -> np.ndarray:
    """Frames of the beats, int [B'], tracked in the percussive part of the clip."""
    import librosa

    magnitude, phase = librosa.magphase(stft)
    drums = librosa.istft(
        magnitude * _percussive_mask(magnitude) * phase, hop_length=HOP_LENGTH, length=n_samples
    )
    onsets = librosa.onset.onset_strength(
        y=drums, sr=SAMPLE_RATE, hop_length=HOP_LENGTH, aggregate=np.median
    )
    return librosa.beat.beat_track(onset_envelope=onsets, sr=SAMPLE_RATE, hop_length=HOP_LENGTH)[1]


def _row_medians(rows: np.ndarray) -> np.ndarray:
    """Median of MEDIAN_FRAMES values around each entry of each row, mirrored at the row's ends."""
    from scipy.ndimage import median_filter

    half = MEDIAN_FRAMES // 2
    padded = np.pad(rows, ((0, 0), (half, half)), mode="symmetric")
    filtered = median_filter(padded.ravel(), size=MEDIAN_FRAMES).reshape(padded.shape)
    return np.ascontiguousarray(filtered[:, half:-half])
