"""What engineers listened for: twelve groups of numbers. Used by 04, 06, 07, 08, 11.

Four are block-level features (Seyerlehner, Widmer, Pohle 2010): numbers of many short blocks of
frames, of which a quantile over the blocks is kept. Blocks are counted in frames: where a frame is
a beat, rates are per beat, not per second. A clip shorter than a block is repeated until it fills
one; what never changes has spread and correlation 0. So every clip has as many finite values.
"""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from helpers.machinery.arrays import N_MELS
from helpers.machinery.batches import unwrap
from helpers.machinery.identity import content_digest
from helpers.machinery.store import derived

STILL = 0.01  # dB: a spread below it is the rounding of a constant band
Groups = dict[str, np.ndarray]  # name of a group -> numbers [d]; of n clips [n, 3, d]


def groups_of(frames: np.ndarray) -> Groups:
    """The twelve groups of the frames [T, 140] of one clip, each float32 [d]."""
    from scipy.fft import dct

    mel, chroma = np.split(np.asarray(frames, dtype=np.float32), [N_MELS], axis=1)
    cepstra, bands = dct(mel, norm="ortho")[:, :25], mel.reshape(len(mel), 32, -1).mean(-1)
    rises = np.maximum(bands[3:] - bands[:-3], 0) if len(bands) > 3 else 0 * bands
    groups = {
        "levels": np.concatenate([band_statistics(mel), loudness(mel)]),
        "cepstrum": cepstrum(cepstra),
        "timbre": timbre(cepstra),
        "steadiness": steadiness(bands),
        "attacks": attacks(rises),
        "rhythm": rhythm(mel),
        "togetherness": togetherness(bands),
        "contrast": contrast(mel),
        "tempo": tempo(rises.mean(1)),
        "chroma, turned": turned(chroma),
        "chroma, frames": keyless(chroma),
        "chroma, smooth": np.concatenate([keyless(_smoothed(chroma)), intervals(chroma)]),
    }
    return {name: own.astype(np.float32) for name, own in groups.items()}


def features(dataset: Dataset) -> Groups:
    """The groups of all clips of a SpectrogramDataset or a `Subset` of one, float32 [n, 3, d].

    Of each clip, and of its two halves, which are more examples to learn from; of all 140 rows,
    whatever the dataset takes. Made once for a folder, until its clips or this file change.
    """
    base, clips = unwrap(dataset)
    return derived(base.store.select(clips), f"handmade-{content_digest(__file__)}", _in_parts)


def _in_parts(frames: np.ndarray) -> Groups:
    n = len(frames)
    parts = [groups_of(part) for part in (frames, frames[: (n + 1) // 2], frames[n // 2 :])]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


# ---- the groups --------------------------------------------------------------------------------


def band_statistics(mel: np.ndarray) -> np.ndarray:
    """Per band of [T, F]: mean, deviation and mean absolute step between frames, [3 * F]."""
    return np.concatenate([mel.mean(0), mel.std(0), np.abs(_steps(mel)).mean(0)])


def loudness(mel: np.ndarray) -> np.ndarray:
    """Level, and centre of gravity of the spectrum: quantiles, spread, spread of steps, [14]."""
    weights = mel - mel.min() + 1
    both = np.stack([mel.mean(1), weights @ np.arange(N_MELS) / weights.sum(1)], axis=1)
    return np.concatenate([_quantiles(both, 5, 25, 50, 75, 95), both.std(0), _steps(both).std(0)])


def cepstrum(cepstra: np.ndarray) -> np.ndarray:
    """The shape of the spectrum over time: mean, spread, spread of the steps, quantiles, [150].

    `cepstra` [T, 25] are cosine transforms of the decibels (Davis, Mermelstein 1980; Logan 2000).
    """
    spreads = [cepstra.std(0), _steps(cepstra).std(0)]
    return np.concatenate([cepstra.mean(0), *spreads, _quantiles(cepstra, 10, 50, 90)])


def timbre(cepstra: np.ndarray) -> np.ndarray:
    """One Gaussian of the same [T, 25]: mean and covariance (Mandel, Ellis 2005), [350]."""
    covariance = np.cov(cepstra, rowvar=False, bias=True)[np.triu_indices(25)]
    rooted = np.sign(covariance) * np.sqrt(np.abs(covariance))  # in dB, as the mean
    return np.concatenate([cepstra.mean(0), rooted])


def steadiness(bands: np.ndarray) -> np.ndarray:
    """What 32 bands [T, 32] have within 10 frames, from soft to loud: 5 values each, [160].

    A steady tone has five equal values, a sound that dies away rising ones: Seyerlehner's spectral
    pattern, of every second of the ten.
    """
    return _quantiles(np.sort(_blocks(bands, 10, 5))[:, :, ::2], 90)


def attacks(rises: np.ndarray) -> np.ndarray:
    """The same of the rises over 3 frames, within 25; and how much that varies, [576].

    Seyerlehner's delta spectral pattern and variance delta spectral pattern.
    """
    blocks = np.sort(_blocks(rises, 25, 10))[:, :, ::3]
    return np.concatenate([_quantiles(blocks, 90), blocks.std(0).ravel()])


def rhythm(mel: np.ndarray) -> np.ndarray:
    """How far 24 bands of [T, 128] swing at 16 rates of 0.25 to 12 Hz, in blocks of 12 s, [384].

    Fluctuation patterns (Pampalk, Rauber, Merkl 2002) with logarithmic rates (Pohle et al. 2009).
    """
    from scipy.fft import rfft  # stays in float32

    edges = np.linspace(0, N_MELS, 25).astype(int)
    blocks = _blocks(np.add.reduceat(mel, edges[:-1], axis=1) / np.diff(edges), 512, 128)
    waves = ((blocks - blocks.mean(-1, keepdims=True)) * np.hanning(512)).astype(np.float32)
    centres = np.geomspace(0.25, 12, 16) * 512 * 512 / 22050  # in cycles per block
    away = (np.arange(257)[:, None] - centres) / np.maximum(0.5, 0.15 * centres)
    weights = np.exp(-(away**2) / 2).astype(np.float32)  # which frequencies make up each rate
    return _quantiles(np.log1p(np.abs(rfft(waves)) @ (weights / weights.sum(0))), 60)


def togetherness(bands: np.ndarray) -> np.ndarray:
    """Which of 24 bands of [T, 32] move together within 6 s: Seyerlehner's correlations, [276]."""
    blocks = _blocks(bands[:, :24], 256, 128)
    centred = blocks - blocks.mean(-1, keepdims=True)
    units = centred / np.maximum(centred.std(-1, keepdims=True), STILL)
    return _quantiles((units @ units.swapaxes(1, 2) / 256)[:, *np.triu_indices(24, 1)], 50)


def contrast(mel: np.ndarray) -> np.ndarray:
    """Peaks above valleys in 16 groups of bands: tones or noise? (Jiang et al. 2002), [96]."""
    ordered = np.sort(mel.reshape(len(mel), 16, -1))
    valleys, peaks = ordered[..., :2].mean(-1), ordered[..., -2:].mean(-1)
    both = np.concatenate([peaks - valleys, valleys], axis=1)
    return np.concatenate([both.mean(0), both.std(0), _steps(both).std(0)])


def tempo(onsets: np.ndarray) -> np.ndarray:
    """Autocorrelation of onset strengths [T] at 48 lags of 0.1 to 4 s (Tzanetakis, Cook 2002)."""
    spectrum = np.fft.rfft(onsets - onsets.mean(), 2 * len(onsets))
    curve = np.fft.irfft(np.abs(spectrum) ** 2, 2 * len(onsets))[: len(onsets)]
    own = np.interp(np.geomspace(5, 172, 48), np.arange(len(curve)), curve, right=0.0)
    return np.concatenate([own / max(curve[0], STILL), [onsets.mean(), onsets.std()]])


def turned(chroma: np.ndarray) -> np.ndarray:
    """Mean, spread and step of 12 classes [T, 12], the strongest first: no key (Müller 2015)."""
    own = np.stack([chroma.mean(0), chroma.std(0), np.abs(_steps(chroma)).mean(0)])
    return np.roll(own, -int(own[0].argmax()), axis=1).ravel()


def keyless(chroma: np.ndarray) -> np.ndarray:
    """What a change of key leaves as it is in each frame of [T, 12]: mean and spread, [38].

    The classes sorted by strength, and Fourier magnitudes around their circle: how near a frame
    is to an augmented triad, a diminished seventh chord, a scale (Quinn 2006).
    """
    own = np.concatenate([np.sort(chroma), np.abs(np.fft.rfft(chroma))], axis=1)
    return np.concatenate([own.mean(0), own.std(0)])


def intervals(chroma: np.ndarray) -> np.ndarray:
    """How often two classes of [T, 12] sound at once, by interval; and Fourier of the mean."""
    together = chroma.T @ chroma / len(chroma)
    found = [np.trace(np.roll(together, -step, axis=1)) for step in range(7)]
    return np.concatenate([found, np.abs(np.fft.rfft(chroma.mean(0)))])


def _steps(rows: np.ndarray) -> np.ndarray:
    """From each frame of [T, F] to the next; where there is one frame only, a step of 0."""
    return np.diff(rows, axis=0) if len(rows) > 1 else 0 * rows


def _quantiles(rows: np.ndarray, *percent: int) -> np.ndarray:
    """Quantiles over the first axis (the nearest value below), one after the other, flat."""
    places = [(len(rows) - 1) * one // 100 for one in percent]
    return np.partition(rows.reshape(len(rows), -1), places, axis=0)[places].ravel()


def _blocks(rows: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Blocks [n, F, length] of [T, F], one every `hop` frames; a short clip begins again."""
    rows = rows if len(rows) >= length else np.resize(rows, (length, rows.shape[1]))
    return np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)[::hop]


def _smoothed(chroma: np.ndarray) -> np.ndarray:
    """Means over half a second, 22 frames each, of [T, 12]; a shorter clip has one."""
    n_means = max(1, len(chroma) // 22)
    return chroma[: len(chroma) // n_means * n_means].reshape(n_means, -1, 12).mean(1)
