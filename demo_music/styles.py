"""Genres as data: what the clips of the demo set are drawn from, and how listeners would rate them.

The data stand in `styles.yaml`, and what their fields mean in the classes here. A genre is a row of
STYLES: ranges and choices, no audio. `draw_factors` draws one clip's factors from a row, some of
them borrowed from a related genre, as in real music. `rate_affect` rates drawn factors. `synthesis`
turns factors into sound.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

BORROWED = 0.22  # how often a factor comes from a related genre; more makes the genres harder
RATER_NOISE = 0.45  # standard deviation of the raters' disagreement, in logits
AFFECT_SCALE = (1.0, 1.0, 0.9)  # brings the spread near that of the real ratings

Range = tuple[float, float]
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
WHOLE_CHORD, POWER_CHORD, SIXTH_CHORD = -1, -2, -3  # special entries of `Pattern.tones`


# ---- what the rows of the tables hold ----------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """What a genre's clips are drawn from: each tuple of words is a choice, each pair a range.

    `tempo` in beats per minute; `minor` the probability of a minor mode; layers are written
    "instrument:pattern" or "-" for none; the ranges from `density` on run from 0 (none) to 1.
    `clips`: how many the real set has in train (as printed) and in test (inferred).
    """

    tempo: Range
    minor: float
    rhythm: tuple[str, ...]
    kit: tuple[str, ...]
    bass: tuple[str, ...]
    chords: tuple[str, ...]
    lead: tuple[str, ...]
    harmony: tuple[str, ...]
    cousins: tuple[str, ...]
    density: Range = (0.3, 0.6)
    drive: Range = (0.0, 0.1)
    bright: Range = (0.4, 0.7)
    dynamics: Range = (0.1, 0.4)
    swing: Range = (0.0, 0.08)
    loose: Range = (0.1, 0.4)
    reverb: Range = (0.1, 0.3)
    drum_level: Range = (0.5, 0.9)
    medium: tuple[str, ...] = ("clean", "clean", "tape")
    clips: tuple[int, int] = (160, 40)


@dataclass(frozen=True)
class Tone:
    """A wavetable instrument: a steady spectrum that may lose brightness while the note lasts.

    `slope` in dB per octave, 12 dB more above `ceiling` Hz; `partials` replaces it by explicit
    strengths; `odd` keeps the odd partials only; `resonances` are (Hz, strength) of a body or of
    the throat. Times in seconds.
    """

    slope: float = 6.0
    partials: tuple[float, ...] = ()
    odd: bool = False
    resonances: tuple[tuple[float, float], ...] = ()
    attack: float = 0.01
    decay: float = 100.0
    release: float = 0.08
    fade: float = 100.0
    vibrato: float = 0.0  # semitones
    scoop: float = 0.0  # semitones below the note at its start (negative: above)
    detuned: float = 0.0  # semitones between the voices of an ensemble; 0 is one voice
    breath: float = 0.0  # noise while the note lasts
    consonant: float = 0.0  # noise burst at its start
    ceiling: float = 4000.0
    register: int = 64  # MIDI number around which it plays


@dataclass(frozen=True)
class Pluck:
    """A plucked string (Karplus-Strong): `ring` seconds at middle C, `bright` 0..1."""

    ring: float = 1.0
    bright: float = 0.6
    position: float = 0.2  # where it is plucked: 0 at the bridge (thin), 0.5 in the middle (hollow)
    register: int = 60


@dataclass(frozen=True)
class Fm:
    """Two-operator frequency modulation: bells, electric pianos, hard basses."""

    ratio: float = 1.0
    index: float = 2.0
    decay: float = 1.0
    fade: float = 0.4
    register: int = 64


Instrument = Tone | Pluck | Fm


@dataclass(frozen=True)
class Pattern:
    """How a layer plays a bar of sixteenths; "?" is drawn once per section.

    `length` of a note in steps; `tones` indexes the chord's tones from the root upwards, one for
    each hit in turn; by default the whole chord is played; `strum` seconds between the strings.
    """

    steps: str
    length: int
    tones: tuple[int, ...] = (WHOLE_CHORD,)
    strum: float = 0.0


# ---- the tables --------------------------------------------------------------------------------

FILE = Path(__file__).with_suffix(".yaml")
TABLES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
Row = TypeVar("Row")


def _rows_of(table: str, kind: type[Row]) -> dict[str, Row]:
    """The rows of a table, by name, as objects of a class, which knows their fields."""
    return {
        name: kind(**{field: _frozen(value) for field, value in values.items()})
        for name, values in TABLES[table].items()
    }


def _frozen(value: Any) -> Any:
    """A list as a tuple, and so the lists in it."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


STYLES = _rows_of("styles", Style)
RHYTHMS: dict[str, dict[str, str]] = TABLES["rhythms"]
DANCE_RHYTHMS = frozenset(TABLES["dance_rhythms"])
HARMONIES: dict[str, list[int]] = TABLES["harmonies"]
WITH_SEVENTHS = frozenset(TABLES["with_sevenths"])
INSTRUMENTS: dict[str, Instrument] = {
    **_rows_of("tones", Tone), **_rows_of("voices", Tone),
    **_rows_of("plucks", Pluck), **_rows_of("fms", Fm),
}  # fmt: skip
VOICES = frozenset(TABLES["voices"])
AMPLIFIED = frozenset(TABLES["amplified"])
VOWELS: tuple[tuple[Range, ...], ...] = _frozen(list(TABLES["vowels"].values()))
PATTERNS = _rows_of("patterns", Pattern)


# ---- one clip's factors ------------------------------------------------------------------------


_DRAWN = [field.name for field in fields(Style) if field.name not in ("cousins", "clips")]
# What one clip is made of: a value drawn for each field of a style, and a key (0 is C).
Factors = make_dataclass("Factors", ["key", *_DRAWN], frozen=True)


def draw_factors(genre: str, rng: np.random.Generator) -> Factors:
    """Draw the factors of one clip of a genre; each may come from a related genre instead."""
    drawn: dict[str, object] = {"key": int(rng.integers(12))}
    own = STYLES[genre]
    cousin = STYLES[own.cousins[rng.integers(len(own.cousins))]]
    for name in _DRAWN:
        style = cousin if rng.random() < BORROWED else own
        drawn[name] = _draw(name, getattr(style, name), rng)
    return Factors(**drawn)


def _draw(name: str, choice: object, rng: np.random.Generator) -> object:
    if name == "minor":
        return bool(rng.random() < choice)
    if isinstance(choice[0], str):
        return choice[rng.integers(len(choice))]
    return float(rng.uniform(*choice))


def rate_affect(factors: Factors, rng: np.random.Generator) -> tuple[float, float, float]:
    """Valence, energy and danceability of a clip, each in 0..1, as noisy raters would judge it.

    Major mode, speed and brightness please; speed, density, distortion and drums excite; a steady
    beat near 115 beats per minute makes people dance.
    """
    drums = factors.drum_level if RHYTHMS[factors.rhythm] else 0.0
    speed = (factors.tempo - 112) / 40
    beat = (1 - factors.loose) * (1.2 if factors.rhythm in DANCE_RHYTHMS else 0.7) * min(drums, 1)
    valence = (
        0.9 * (0.5 - factors.minor) * 2 + 0.7 * speed + 2.2 * (factors.bright - 0.5)
        + 1.0 * (factors.density - 0.5) - 1.2 * factors.drive + 0.6 * (beat - 0.3)
    )  # fmt: skip
    energy = (
        0.9 * speed + 1.8 * (factors.density - 0.45) + 2.4 * factors.drive
        + 1.4 * (drums - 0.4) + 1.6 * (factors.bright - 0.45) - 0.8 * factors.reverb + 0.35
    )  # fmt: skip
    dance = (
        1.9 * (beat - 0.35) - 0.35 * (factors.tempo / 115 - 1) ** 2 * 12
        - 0.5 * factors.dynamics + 0.4 * (factors.density - 0.5) + 0.45
    )  # fmt: skip
    logits = np.array([valence, energy, dance]) + RATER_NOISE * rng.standard_normal(3)
    ratings = 0.02 + 0.96 / (1 + np.exp(-logits * np.array(AFFECT_SCALE)))
    return tuple(float(value) for value in ratings)  # type: ignore[return-value]
