"""Original synthesised music: drawn factors in, 30 seconds of audio out.

All sound comes from four families: wavetables, plucked strings, frequency modulation, and noise
and drums. `compose_clip` lays out bars and sections, lets each layer play its pattern, and mixes
the layers as a recording. Times are in seconds, pitches are MIDI numbers, audio is float32 [n].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle

import numpy as np

from demo_music import styles
from demo_music.styles import Factors, Fm, Instrument, Pattern, Pluck, Tone
from helpers.features import CLIP_SECONDS, SAMPLE_RATE

N_SAMPLES = int(CLIP_SECONDS * SAMPLE_RATE)
TABLE_SIZE = 16384
MAX_PARTIALS = 160
STEPS_PER_BEAT = 4
ACCENTS = {"X": 1.0, "x": 0.7, "o": 0.35}
ABSENCES = {"lead": 0.2, "bass": 0.06, "drums": 0.05, "chords": 0.06}  # chance per section
LEVELS = {"bass": 0.6, "chords": 0.7, "lead": 0.75}


# ---- instruments: one note ---------------------------------------------------------------------


def play_note(
    instrument: Instrument, midi: int, seconds: float, vowel: int, rng: np.random.Generator
) -> np.ndarray:
    """One note at full strength; it may ring on after `seconds`. `vowel` -1: no voice."""
    frequency = 440.0 * 2 ** ((midi - 69) / 12)
    if isinstance(instrument, Pluck):
        return _pluck(instrument, frequency, seconds, rng)
    if isinstance(instrument, Fm):
        return _fm(instrument, frequency, seconds)
    return _tone(instrument, frequency, seconds, vowel, rng)


def _time(seconds: float) -> np.ndarray:
    return np.arange(max(int(seconds * SAMPLE_RATE), 1), dtype=np.float32) / SAMPLE_RATE


def _tone(
    tone: Tone, frequency: float, seconds: float, vowel: int, rng: np.random.Generator
) -> np.ndarray:
    """Read a table of one period: a bright one at first, fading into a dull one."""
    t = _time(seconds + tone.release)
    cycles = frequency * np.arange(len(t)) / SAMPLE_RATE  # float64: phase noise would be heard
    if tone.scoop:
        cycles = cycles - frequency * tone.scoop * 0.0035 * (1 - np.exp(-t * 16.5))
    if tone.vibrato:
        depth = tone.vibrato * 0.0577 * frequency / (2 * np.pi * 5.5)
        cycles = cycles - depth * np.minimum(t * 3, 1) * np.cos(2 * np.pi * 5.5 * t)
    bright, dull = _tables(tone, round(frequency, 3), vowel)
    wave = np.zeros_like(t)
    for detune in (-1, 0, 1) if tone.detuned else (0,):
        voice = cycles * 2 ** (detune * tone.detuned / 12) + rng.random()
        index = (voice * TABLE_SIZE).astype(np.int32) & (TABLE_SIZE - 1)
        if tone.fade < 10:
            wave += dull[index] + np.exp(-t / tone.fade) * (bright - dull)[index]
        else:
            wave += bright[index]
    if tone.breath or tone.consonant:
        hiss = rng.standard_normal(len(t) + 3, dtype=np.float32)
        air = hiss[:-3] + hiss[1:-2] + hiss[2:-1] + hiss[3:]  # breath is dull, consonants hiss
        wave += 0.12 * tone.breath * air
        wave += 0.7 * tone.consonant * np.exp(-((t - 0.03) ** 2) / 0.0004) * np.diff(hiss)[:-2]
    return wave * _envelope(t, seconds, tone.attack, tone.decay, tone.release)


def _envelope(
    t: np.ndarray, seconds: float, attack: float, decay: float, release: float
) -> np.ndarray:
    rise, end = np.minimum(t / attack, 1), np.clip((seconds + release - t) / release, 0, 1)
    return rise * np.exp(-t / decay) * end


@lru_cache(maxsize=256)
def _tables(tone: Tone, frequency: float, vowel: int) -> tuple[np.ndarray, np.ndarray]:
    """One period of the note's bright and dull waves, band limited, float32 [TABLE_SIZE] each."""
    partials = np.arange(1, min(int(0.48 * SAMPLE_RATE / frequency), MAX_PARTIALS) + 1)
    if tone.partials:
        strength = np.zeros(len(partials))
        shown = min(len(tone.partials), len(partials))
        strength[:shown] = tone.partials[:shown]
    else:
        strength = partials ** (-tone.slope / 6.02)
    if tone.odd:
        strength = np.where(partials % 2 == 1, strength, 0.03 * strength)
    hertz = partials * frequency
    strength = strength / (1 + (hertz / tone.ceiling) ** 2)
    resonances = tone.resonances or (styles.VOWELS[vowel] if vowel >= 0 else ())
    if resonances:
        shape = sum(s / (1 + ((hertz - f) / (0.18 * f)) ** 2) for f, s in resonances)
        strength = strength * (0.12 + shape)
    dull = strength * partials**-1.2
    return _period(strength), _period(dull)


def _period(strength: np.ndarray) -> np.ndarray:
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=complex)
    # phases that grow with the square of the partial spread the energy over the period
    spectrum[1 : len(strength) + 1] = strength * np.exp(1j * np.arange(len(strength)) ** 2 * 0.7)
    wave = np.fft.irfft(spectrum)
    return (wave * (0.25 / np.sqrt(np.mean(wave**2)))).astype(np.float32)


def _pluck(pluck: Pluck, frequency: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Karplus-Strong: a burst of noise runs round a loop that averages neighbouring samples.

    Every pass multiplies the spectrum of the period by the loop's response, so all passes are
    one power and one inverse FFT.
    """
    period = max(round(SAMPLE_RATE / frequency), 8)
    ring = pluck.ring * (262.0 / frequency) ** 0.4
    n_passes = int((min(seconds, 2.5 * ring) + 0.1) * frequency) + 2
    partial = np.arange(period // 2 + 1)
    loop = np.cos(np.pi * partial / period) ** (2.0 - 1.7 * pluck.bright)
    loop = np.maximum(loop, 1e-6) * np.exp(-1.0 / (ring * frequency))
    burst = np.fft.rfft(rng.standard_normal(period))
    burst = burst / np.maximum(np.abs(burst), 1e-9) * (1 + partial) ** (-1.4 + pluck.bright)
    burst *= np.abs(np.sin(np.pi * partial * pluck.position)) + 0.05
    burst[0] = 0
    passes = np.exp(np.arange(n_passes)[:, None] * np.log(loop))
    wave = np.fft.irfft(burst * passes, n=period, axis=1).ravel()
    # the loop holds a whole number of samples; reading it faster or slower puts it in tune
    place = np.arange(int((n_passes - 1) * SAMPLE_RATE / frequency), dtype=float)
    place *= frequency * period / SAMPLE_RATE
    wave = np.interp(place, np.arange(len(wave)), wave)
    wave *= np.minimum((len(wave) - np.arange(len(wave))) / (0.03 * SAMPLE_RATE), 1)
    return (wave * (0.9 / np.max(np.abs(wave)))).astype(np.float32)


def _fm(fm: Fm, frequency: float, seconds: float) -> np.ndarray:
    t = _time(min(seconds + 0.25, 4 * fm.decay))
    modulator = fm.index * np.exp(-t / fm.fade) * np.sin(2 * np.pi * fm.ratio * frequency * t)
    wave = np.sin(2 * np.pi * frequency * t + modulator)
    return 0.5 * wave * _envelope(t, t[-1] - 0.05, 0.003, fm.decay, 0.05)


# ---- drums: one hit ----------------------------------------------------------------------------


def _boom(high: float, low: float, drop: float, decay: float, click: float) -> np.ndarray:
    """A skin: a sine that falls from `high` to `low` Hz within `drop` seconds."""
    t = _time(6 * decay)
    cycles = low * t + (high - low) * drop * (1 - np.exp(-t / drop))
    return (np.sin(2 * np.pi * cycles) * np.exp(-t / decay)) + click * np.exp(-t / 0.002)


def _noise(
    rng: np.random.Generator, low: float, high: float, decay: float, power: float = 1.0
) -> np.ndarray:
    """A burst of noise between `low` and `high` Hz."""
    t = _time(6 * decay)
    spectrum = np.fft.rfft(rng.standard_normal(len(t)))
    hertz = np.fft.rfftfreq(len(t), 1 / SAMPLE_RATE)
    spectrum /= 1 + (low / np.maximum(hertz, 1)) ** 6
    spectrum /= 1 + (hertz / high) ** 6
    wave = np.fft.irfft(spectrum, n=len(t))
    wave *= np.exp(-((t / decay) ** power))
    return (wave * (0.7 / np.max(np.abs(wave)))).astype(np.float32)


def _sum(*waves: np.ndarray) -> np.ndarray:
    total = np.zeros(max(map(len, waves)), dtype=np.float32)
    for wave in waves:
        total[: len(wave)] += wave
    return total


def _acoustic(rng: np.random.Generator, loud: float) -> dict[str, np.ndarray]:
    return {
        "kick": _boom(150, rng.uniform(48, 62), 0.02, 0.09 + 0.04 * loud, 0.3 + loud),
        "snare": _sum(
            0.5 * _boom(260, rng.uniform(170, 220), 0.01, 0.07, 0.3),
            (0.6 + 0.5 * loud) * _noise(rng, 700, 8000, 0.09 + 0.06 * loud),
        ),
        "hat": 0.35 * _noise(rng, 6500, 12000, 0.03),
        "open": 0.4 * _noise(rng, 5500, 12000, 0.18),
        "foot": 0.2 * _noise(rng, 5000, 9000, 0.02),
        "ride": _sum(0.3 * _noise(rng, 4500, 11000, 0.25), 0.12 * _noise(rng, 2800, 3400, 0.15)),
        "crash": (0.35 + 0.25 * loud) * _noise(rng, 2500, 11000, 0.6 + 0.4 * loud),
        "tom": 0.8 * _boom(160, rng.uniform(80, 110), 0.05, 0.16, 0.3),
        "clap": _clap(rng),
        "rim": 0.5 * _noise(rng, 1500, 4000, 0.012),
        "shaker": 0.25 * _noise(rng, 5000, 10000, 0.04),
        "low": _boom(120, 70, 0.03, 0.12, 0.3),
        "high": 0.6 * _boom(240, 190, 0.02, 0.07, 0.3),
    }


def _clap(rng: np.random.Generator) -> np.ndarray:
    clap = np.zeros(int(0.35 * SAMPLE_RATE), dtype=np.float32)
    for start, decay in ((0.0, 0.008), (0.011, 0.008), (0.022, 0.07)):
        _add(clap, _noise(rng, 900, 5000, decay), start, 0.8)
    return clap


def _brushes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return _acoustic(rng, 0.0) | {
        "kick": 0.5 * _boom(90, 55, 0.03, 0.08, 0.05),
        "snare": 0.45 * _noise(rng, 1200, 9000, 0.16, 2.0),
        "hat": 0.2 * _noise(rng, 5000, 11000, 0.05),
    }


def _machine(rng: np.random.Generator, long: bool) -> dict[str, np.ndarray]:
    return _acoustic(rng, 0.4) | {
        "kick": _boom(180, rng.uniform(42, 52), 0.03, 0.35 if long else 0.14, 0.5),
        "snare": _sum(0.4 * _boom(330, 180, 0.01, 0.06, 0.2), 0.8 * _noise(rng, 1800, 10000, 0.1)),
        "hat": 0.35 * _noise(rng, 8000, 11500, 0.018 if long else 0.03),
        "open": 0.4 * _noise(rng, 7500, 11500, 0.15),
        "low": _boom(140, 60, 0.05, 0.25, 0.2),
    }


def _lofi(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return _acoustic(rng, 0.3) | {
        "snare": _sum(0.7 * _boom(230, 160, 0.01, 0.09, 0.2), 0.7 * _noise(rng, 500, 4200, 0.13)),
        "hat": 0.3 * _noise(rng, 3500, 6500, 0.04),
        "kick": 1.1 * _boom(120, 55, 0.03, 0.15, 0.2),
    }


def _chip(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Drums of a game console: noise held for several samples, a falling square wave."""
    held = np.repeat(rng.choice([-0.5, 0.5], 900), 4).astype(np.float32)
    hat = rng.choice([-0.3, 0.3], 700).astype(np.float32)
    return _acoustic(rng, 0.0) | {
        "kick": 0.6 * np.sign(_boom(300, 60, 0.03, 0.05, 0.0)[:2600]).astype(np.float32),
        "snare": held * np.linspace(1, 0, len(held), dtype=np.float32),
        "clap": held * np.linspace(1, 0, len(held), dtype=np.float32) ** 2,
        "hat": hat * np.linspace(1, 0, len(hat), dtype=np.float32),
        "open": np.tile(hat, 4) * np.linspace(1, 0, 4 * len(hat), dtype=np.float32),
    }


def _hand(rng: np.random.Generator) -> dict[str, np.ndarray]:
    low, high = rng.uniform(75, 120), rng.uniform(200, 340)
    return _acoustic(rng, 0.0) | {
        "low": _boom(1.5 * low, low, 0.02, 0.16, 0.4),
        "high": _sum(0.8 * _boom(1.3 * high, high, 0.01, 0.09, 0.6),
                     0.25 * _noise(rng, 1200, 6000, 0.02)),
        "clap": _clap(rng),
    }  # fmt: skip


def _orchestra(rng: np.random.Generator) -> dict[str, np.ndarray]:
    low = rng.uniform(50, 80)
    fundamental = _boom(1.1 * low, low, 0.05, 0.7, 0.2)
    fifth = _boom(1.6 * low, 1.5 * low, 0.05, 0.4, 0.0)
    timpani = _sum(fundamental, 0.5 * fifth)
    return _acoustic(rng, 0.3) | {
        "low": timpani,
        "kick": timpani,
        "crash": 0.5 * _noise(rng, 2000, 10000, 1.2),
    }


KITS: dict[str, Callable[[np.random.Generator], dict[str, np.ndarray]]] = {
    "acoustic": lambda rng: _acoustic(rng, 0.2),
    "loud": lambda rng: _acoustic(rng, 1.0),
    "brushes": _brushes,
    "machine808": lambda rng: _machine(rng, long=True),
    "machine909": lambda rng: _machine(rng, long=False),
    "lofi": _lofi,
    "chip": _chip,
    "hand": _hand,
    "orchestra": _orchestra,
}


# ---- time: grid and sections -------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """Some bars in a row: their level (1 is full), and the layers that play in them."""

    bars: range
    start: float
    level: float
    layers: frozenset[str]


@dataclass(frozen=True)
class Grid:
    """Where each sixteenth of the clip lies, in seconds (swung), and the bars' bounds."""

    step_times: np.ndarray
    steps_per_bar: int
    step_seconds: float

    @property
    def n_bars(self) -> int:
        """The number of whole bars in the clip."""
        return len(self.step_times) // self.steps_per_bar

    def bar_start(self, bar: int) -> float:
        """Where a bar begins, in seconds; the last step's time for bars beyond the end."""
        return float(self.step_times[min(bar * self.steps_per_bar, len(self.step_times) - 1)])


def _make_grid(factors: Factors, rng: np.random.Generator) -> Grid:
    """A grid that begins somewhere inside a bar, as excerpts do, and drifts if played loosely."""
    step = 60 / factors.tempo / STEPS_PER_BEAT
    steps_per_bar = len(next(iter(styles.RHYTHMS[factors.rhythm].values()), "." * 16))
    n_steps = int(CLIP_SECONDS / (0.9 * step)) + 2 * steps_per_bar
    n_steps -= n_steps % steps_per_bar
    index = np.arange(n_steps)
    phase = rng.random() * 2 * np.pi
    drift = 1 + 0.02 * factors.loose * np.sin(2 * np.pi * index / n_steps * 2 + phase)
    times = np.concatenate([[0.0], np.cumsum(step * drift)[:-1]])
    times += np.where(index % 4 == 2, factors.swing * 0.66 * step, 0.0)
    times -= rng.random() * steps_per_bar * step
    return Grid(times, steps_per_bar, step)


def _make_sections(grid: Grid, factors: Factors, rng: np.random.Generator) -> list[Section]:
    """Sections of four bars (eight when bars are short); dynamics make them differ in level."""
    n_bars = 4 if grid.bar_start(4) - grid.bar_start(0) > 7 else 8
    first = -int(rng.integers(n_bars))
    starts = range(first, grid.n_bars, n_bars)
    silent = {layer for layer in ("chords", "lead") if getattr(factors, layer) == "-"}
    shape = rng.integers(3)  # grows, falls, or goes up and down
    sections = []
    for number, bar in enumerate(starts):
        place = number / max(len(starts) - 1, 1)
        quiet = (1 - place, place, float(rng.random()))[shape] * factors.dynamics
        absent = {part for part, chance in ABSENCES.items() if rng.random() < chance + 0.3 * quiet}
        if {"chords", "lead"} <= absent | silent:
            absent -= {"chords", "lead"}
        bars = range(max(bar, 0), min(bar + n_bars, grid.n_bars))
        level = 10 ** (-22 * quiet / 20)
        layers = frozenset(ABSENCES) - absent
        sections.append(Section(bars, grid.bar_start(bars.start), level, layers))
    return sections


# ---- harmony and parts -------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """One note of a layer: start and length in seconds, pitch, strength 0..1."""

    start: float
    seconds: float
    midi: int
    strength: float


@dataclass(frozen=True)
class Harmony:
    """Scale and chord of each bar."""

    tonic: int
    scale: tuple[int, ...]
    roots: tuple[int, ...]
    chord_steps: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        """Semitones above MIDI 0 of a scale degree that may lie outside one octave."""
        octave, step = divmod(degree, len(self.scale))
        return self.tonic + 12 * octave + self.scale[step]

    def chord(self, bar: int, register: int) -> list[int]:
        """The chord's tones over two octaves, its root within six semitones of `register`."""
        root = self.roots[bar % len(self.roots)]
        tones = [self.pitch(root + step) for step in self.chord_steps]
        base = register + (tones[0] - register + 6) % 12 - 6
        lifted = [base + tone - tones[0] for tone in tones]
        return lifted + [tone + 12 for tone in lifted]


def _make_harmony(factors: Factors, rng: np.random.Generator) -> Harmony:
    roots = styles.HARMONIES[factors.harmony]
    shift = int(rng.integers(len(roots)))
    scale = list(styles.MINOR if factors.minor else styles.MAJOR)
    if factors.harmony in ("phrygian", "andalusian", "chromatic"):
        scale[1] = 1
    if factors.harmony in ("dorian", "modal"):
        scale[5] = 9
    steps = (0, 2, 4, 6) if factors.harmony in styles.WITH_SEVENTHS else (0, 2, 4)
    return Harmony(factors.key, tuple(scale), tuple(roots[shift:] + roots[:shift]), steps)


@dataclass(frozen=True)
class Piece:
    """What all layers of a clip share, and the generator that their chances are drawn with."""

    factors: Factors
    grid: Grid
    sections: list[Section]
    harmony: Harmony
    rng: np.random.Generator


def _hits(pattern: str, density: float, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Steps and strengths of a pattern; each "?" is played with probability `density`."""
    drawn = ["x" if rng.random() < density else "." for _ in pattern]
    played = [d if mark == "?" else mark for mark, d in zip(pattern, drawn, strict=True)]
    return [(step, ACCENTS[mark]) for step, mark in enumerate(played) if mark != "."]


def _play_pattern(piece: Piece, pattern: Pattern, bars: range, register: int) -> Iterator[Note]:
    """The notes of a bass or chord layer over some bars."""
    factors, grid, rng = piece.factors, piece.grid, piece.rng
    hits = _hits(pattern.steps, factors.density, rng)
    hits = [hit for hit in hits if hit[0] < grid.steps_per_bar]
    seconds = pattern.length * grid.step_seconds * 0.97
    tones = cycle(pattern.tones)
    for bar in bars:
        chord = piece.harmony.chord(bar, register)
        for step, strength in hits:
            start = grid.step_times[bar * grid.steps_per_bar + step]
            start += 0.012 * factors.loose * rng.standard_normal()
            for number, midi in enumerate(_chosen_tones(chord, next(tones))):
                yield Note(start + number * pattern.strum, seconds, midi, strength)


def _chosen_tones(chord: list[int], choice: int) -> list[int]:
    if choice == styles.WHOLE_CHORD:
        return chord[: len(chord) // 2 + 1]
    if choice == styles.POWER_CHORD:
        return [chord[0], chord[0] + 7, chord[0] + 12]
    if choice == styles.SIXTH_CHORD:
        return [chord[0], chord[0] + 9]
    return [chord[choice % len(chord)]]


def _play_melody(piece: Piece, bars: range, register: int) -> Iterator[Note]:
    """A lead: a motif of two bars, repeated with small changes; chord tones on the beats."""
    factors, grid, harmony, rng = piece.factors, piece.grid, piece.harmony, piece.rng
    degree = int(np.argmin([abs(harmony.pitch(d) - register) for d in range(80)]))
    onsets, contour = _motif(grid, factors.density, rng)
    low, high = degree - 6, degree + 7
    for bar in bars[::2]:
        if rng.random() < 0.18:  # a breath between phrases
            continue
        if rng.random() < 0.3:
            onsets, contour = _motif(grid, factors.density, rng)
        ends = [*onsets[1:], 2 * grid.steps_per_bar]
        for step, next_step, move in zip(onsets, ends, contour, strict=True):
            place = bar * grid.steps_per_bar + step
            if place >= len(grid.step_times) or bar + step // grid.steps_per_bar not in bars:
                break
            degree = int(np.clip(degree + move, low, high))
            if step % 4 == 0:
                degree = _nearest_chord_degree(harmony, bar + step // grid.steps_per_bar, degree)
            length = min(next_step - step, 8) * grid.step_seconds * rng.uniform(0.75, 1.0)
            start = grid.step_times[place] + 0.015 * factors.loose * rng.standard_normal()
            yield Note(start, length, harmony.pitch(degree), rng.uniform(0.65, 1.0))


def _motif(grid: Grid, density: float, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Steps of the notes in two bars, and the scale steps from each note to the next."""
    steps = np.arange(2 * grid.steps_per_bar)
    weight = np.where(steps % 4 == 0, 1.0, np.where(steps % 2 == 0, 0.75, 0.3))
    onsets = steps[rng.random(len(steps)) < weight * (0.15 + 0.65 * density)]
    onsets = onsets if len(onsets) else steps[:1]
    moves = rng.choice([-2, -1, -1, 0, 1, 1, 2, 3, -3], len(onsets))
    return onsets.tolist(), moves.tolist()


def _nearest_chord_degree(harmony: Harmony, bar: int, degree: int) -> int:
    root = harmony.roots[bar % len(harmony.roots)]
    tones = [(root + step) % len(harmony.scale) for step in harmony.chord_steps]
    near = [degree, degree - 1, degree + 1]
    return next((d for d in near if d % len(harmony.scale) in tones), degree)


def _speak(piece: Piece, bars: range, register: int) -> Iterator[Note]:
    """A rapper: a syllable on most sixteenths, the pitch nearly that of speech."""
    grid, density, rng = piece.grid, piece.factors.density, piece.rng
    for bar in bars:
        for step in range(grid.steps_per_bar):
            if rng.random() < 0.35 + 0.5 * density - 0.25 * (step % 2):
                start = grid.step_times[bar * grid.steps_per_bar + step]
                start += 0.01 * rng.standard_normal()
                midi = register + int(rng.integers(-3, 4)) + (2 if step % 8 == 0 else 0)
                yield Note(start, grid.step_seconds * 0.9, midi, rng.uniform(0.6, 1.0))


# ---- layers ------------------------------------------------------------------------------------


def _add(track: np.ndarray, wave: np.ndarray, start: float, gain: float) -> None:
    first = int(start * SAMPLE_RATE)
    if first < 0:
        wave, first = wave[-first:], 0
    wave = wave[: max(len(track) - first, 0)]
    track[first : first + len(wave)] += gain * wave


def _render(name: str, notes: Iterator[Note], rng: np.random.Generator) -> np.ndarray:
    """Play notes on an instrument; a note heard before is not synthesised again."""
    instrument = styles.INSTRUMENTS[name]
    track = np.zeros(N_SAMPLES, dtype=np.float32)
    known: dict[tuple[int, int, int], np.ndarray] = {}
    for note in notes:
        vowel = int(rng.integers(len(styles.VOWELS))) if name in styles.VOICES else -1
        tenths = max(round(note.seconds * 20), 1)
        key = (note.midi, tenths, vowel)
        if key not in known:
            known[key] = play_note(instrument, note.midi, tenths / 20, vowel, rng)
        _add(track, known[key], note.start, note.strength)
    return track


def _render_drums(piece: Piece) -> np.ndarray:
    factors, grid, rng = piece.factors, piece.grid, piece.rng
    track = np.zeros(N_SAMPLES, dtype=np.float32)
    kit = KITS[factors.kit](rng)
    for section in piece.sections:
        if "drums" not in section.layers:
            continue
        for bar in section.bars:
            fill = bar == section.bars[-1] and rng.random() < 0.5
            for drum, pattern in styles.RHYTHMS[factors.rhythm].items():
                for step, strength in _hits(pattern, 1.0, rng):
                    if fill and step >= len(pattern) * 3 // 4:
                        continue
                    strength *= rng.uniform(0.8, 1.0)
                    place = bar * grid.steps_per_bar + step
                    start = grid.step_times[place] + 0.009 * factors.loose * rng.standard_normal()
                    _add(track, kit[drum], start, strength)
            if fill:
                _play_fill(track, kit, piece, bar)
    return track


def _play_fill(track: np.ndarray, kit: dict[str, np.ndarray], piece: Piece, bar: int) -> None:
    """The last beat before a new section: a roll on what the rhythm has."""
    factors, grid, rng = piece.factors, piece.grid, piece.rng
    rolled = ("snare", "tom", "high", "low", "clap")
    drums = [drum for drum in styles.RHYTHMS[factors.rhythm] if drum in rolled]
    last = (bar + 1) * grid.steps_per_bar
    for place in range(last - grid.steps_per_bar // 4, last):
        if drums and rng.random() < 0.4 + 0.6 * factors.density:
            _add(track, kit[drums[rng.integers(len(drums))]], grid.step_times[place], 0.8)


def _amplify(track: np.ndarray, drive: float) -> np.ndarray:
    """A guitar amplifier: saturation, then a loudspeaker that passes nothing above 4.5 kHz."""
    from scipy.signal import butter, sosfilt

    driven = np.tanh(track * (1 + 40 * drive**2)) / (1 + 0.6 * drive)
    cabinet = butter(2, [90, 4500], btype="band", fs=SAMPLE_RATE, output="sos")
    return sosfilt(cabinet.astype(np.float32), driven)


def _play_layer(piece: Piece, layer: str, words: str) -> np.ndarray:
    """One layer of the arrangement, at its level in the mix."""
    name, _, pattern = words.partition(":")
    register = styles.INSTRUMENTS[name].register + int(piece.rng.integers(-2, 3))

    def notes() -> Iterator[Note]:
        for section in piece.sections:
            if layer not in section.layers:
                continue
            if name == "rap":
                yield from _speak(piece, section.bars, register)
            elif layer == "lead":
                yield from _play_melody(piece, section.bars, register)
            else:
                yield from _play_pattern(piece, styles.PATTERNS[pattern], section.bars, register)

    track = _levelled(_render(name, notes(), piece.rng))
    if name in styles.AMPLIFIED and piece.factors.drive > 0.08:
        track = _levelled(_amplify(track, piece.factors.drive))
    return track * (LEVELS[layer] * 10 ** (piece.rng.uniform(-4, 4) / 20))


def _levelled(track: np.ndarray) -> np.ndarray:
    """Bring a layer to a level of 0.25 where it plays, however often it rests."""
    rms = np.sqrt(np.mean(track.reshape(-1, SAMPLE_RATE // 10) ** 2, axis=1))
    loud = np.sort(rms)[-len(rms) // 4 :]
    return track * np.float32(0.25 / (loud.mean() + 1e-6))


# ---- recording ---------------------------------------------------------------------------------


def _swell(sections: list[Section]) -> np.ndarray:
    """The level of each sample: that of its section, with half a second between sections."""
    times, levels = [], []
    for section in sections:
        times += [section.start, section.start + 0.5]
        levels += [levels[-1] if levels else section.level, section.level]
    return np.interp(np.arange(N_SAMPLES) / SAMPLE_RATE, times, levels).astype(np.float32)


def _tone_curve(factors: Factors, hertz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The recording's frequency response: brightness, an engineer's taste, and the medium."""
    octaves = np.log2(np.maximum(hertz, 20) / 800)
    decibels = (10 * (factors.bright - 0.55) + rng.uniform(-1, 1)) * np.clip(octaves, -3, 4)
    decibels += np.interp(octaves, [-5, -3, -1, 1, 3, 5], rng.uniform(-3, 3, 6))
    low, high = {"shellac": (180, 3800), "vinyl": (40, 6000), "tape": (40, 8500)}.get(
        factors.medium, (30, 16000)
    )
    curve = 10 ** (decibels / 20)
    return curve / np.sqrt(1 + (low / np.maximum(hertz, 1)) ** 4) / np.sqrt(1 + (hertz / high) ** 8)


def _room(factors: Factors, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of the room after the direct sound."""
    seconds = 0.25 + 2.2 * factors.reverb
    t = _time(seconds)
    tail = rng.standard_normal(len(t), dtype=np.float32) * np.exp(-6.9 * t / seconds)
    return tail * (0.9 * factors.reverb / np.sqrt(np.sum(tail**2)))


def _surface(factors: Factors, rng: np.random.Generator) -> np.ndarray:
    """The noise of the medium: hiss, and the crackle of records."""
    hiss = {"clean": 0.0003, "tape": 0.0015, "vinyl": 0.002, "shellac": 0.008}[factors.medium]
    noise = rng.standard_normal(N_SAMPLES, dtype=np.float32) * hiss
    if factors.medium in ("vinyl", "shellac"):
        n_clicks = rng.poisson(CLIP_SECONDS * 12)
        noise[rng.integers(0, N_SAMPLES, n_clicks)] += 0.25 * rng.standard_normal(n_clicks)
    return noise


def _record(
    mix: np.ndarray, dry_mix: np.ndarray, factors: Factors, rng: np.random.Generator
) -> np.ndarray:
    """Room, tone and medium as one product of spectra; then a limiter. Peak below 1."""
    from scipy.fft import irfft, next_fast_len, rfft

    room = _room(factors, rng)
    n_fft = next_fast_len(N_SAMPLES + len(room), real=True)
    hertz = np.linspace(0, SAMPLE_RATE / 2, 2049)  # fine enough, and cheap
    curve = _tone_curve(factors, hertz, rng).astype(np.float32)
    curve = np.interp(np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1), hertz, curve)
    spectrum = rfft(mix, n_fft) * (1 + rfft(room, n_fft)) + rfft(dry_mix, n_fft)
    audio = irfft(spectrum * curve.astype(np.float32), n_fft)[:N_SAMPLES]
    audio *= 0.22 / (np.sqrt(np.mean(audio**2)) + 1e-9)
    return np.tanh(audio + _surface(factors, rng)).astype(np.float32) * 0.98


def compose_clip(factors: Factors, rng: np.random.Generator) -> np.ndarray:
    """Play a clip of 30 s at 22,050 Hz: float32 [661500], within -1..1.

    The same factors and generator state give the same samples.
    """
    grid = _make_grid(factors, rng)
    sections = _make_sections(grid, factors, rng)
    piece = Piece(factors, grid, sections, _make_harmony(factors, rng), rng)
    swell = _swell(sections)
    wet, dry = np.zeros((2, N_SAMPLES), dtype=np.float32)  # with the room, and without
    for layer, mix in (("chords", wet), ("lead", wet), ("bass", dry)):
        if (words := getattr(factors, layer)) != "-":
            mix += _play_layer(piece, layer, words)
    if styles.RHYTHMS[factors.rhythm]:
        drums = factors.drum_level * _levelled(_render_drums(piece))
        wet += 0.3 * drums
        dry += 0.7 * drums
    return _record(wet * swell, dry * swell, factors, rng)
