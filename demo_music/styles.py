"""Genres as data: what the clips of the demo set are drawn from, and how listeners would rate them.

A genre is a row of STYLES: ranges and choices, no audio. `draw_factors` draws one clip's factors
from a row, some of them borrowed from a related genre, as in real music. `rate_affect` rates drawn
factors. `synthesis` turns factors into sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

BORROWED = 0.22  # how often a factor comes from a related genre; more makes the genres harder
RATER_NOISE = 0.45  # standard deviation of the raters' disagreement, in logits
AFFECT_SCALE = (1.0, 1.0, 0.9)  # brings the spread near that of the real ratings

Range = tuple[float, float]


# ---- genres as data ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """What a genre's clips are drawn from: each tuple of words is a choice, each pair a range.

    `tempo` in beats per minute; `minor` the probability of a minor mode; layers are written
    "instrument:pattern" or "-" for none; the ranges from `density` on run from 0 (none) to 1.
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


STYLES: dict[str, Style] = {
    "Blues": Style(
        tempo=(66, 124), minor=0.3, rhythm=("shuffle", "shuffle", "slow_blues"),
        kit=("acoustic", "brushes"), bass=("finger:walking", "finger:root4", "upright:walking"),
        chords=("electric:stab", "piano:boogie", "steel:boogie", "organ:pad"),
        lead=("overdriven", "harmonica", "voice", "electric"),
        harmony=("twelve_bar",), cousins=("Jazz", "Rock", "Old-Time", "Folk"),
        density=(0.3, 0.6), drive=(0.05, 0.4), bright=(0.35, 0.65), swing=(0.45, 0.7),
        loose=(0.3, 0.7),
    ),
    "Chiptune": Style(
        tempo=(118, 178), minor=0.4, rhythm=("chip", "four", "rock"), kit=("chip",),
        bass=("square:octave", "triangle:octave", "triangle:root8"),
        chords=("pulse:arp16", "pulse:arp16", "square:arp8"), lead=("square", "pulse"),
        harmony=("game", "pop", "aeolian"), cousins=("Electronic", "Pop", "Electronic"),
        density=(0.6, 0.95), bright=(0.7, 1.0), dynamics=(0.0, 0.15), loose=(0.0, 0.05),
        reverb=(0.0, 0.1), medium=("clean",),
    ),
    "Classical": Style(
        tempo=(56, 132), minor=0.45, rhythm=("none", "none", "none", "timpani"),
        kit=("orchestra",), bass=("cello:root1", "cello:root4", "-"),
        chords=("strings:pad", "piano:alberti", "strings:block", "piano:arp8", "harp:arp8"),
        lead=("violin", "flute", "piano", "clarinet", "violin"),
        harmony=("classical", "circle", "baroque"), cousins=("Soundtrack", "Old-Time", "Jazz"),
        density=(0.2, 0.8), bright=(0.2, 0.5), dynamics=(0.5, 1.0), loose=(0.5, 1.0),
        reverb=(0.35, 0.8), drum_level=(0.1, 0.4),
    ),
    "Electronic": Style(
        tempo=(112, 144), minor=0.65, rhythm=("four", "four", "four", "breakbeat", "electro"),
        kit=("machine909", "machine909", "machine808"),
        bass=("sawbass:offbeat", "sawbass:root16", "sub:offbeat", "fmbass:riff"),
        chords=("supersaw:stab", "supersaw:pad", "pulse:arp16", "epiano:stab"),
        lead=("saw", "bell", "square", "-"), harmony=("aeolian", "drone", "pop"),
        cousins=("Chiptune", "Hip-Hop", "Trip-Hop", "Pop"), density=(0.5, 0.9),
        bright=(0.55, 0.95), dynamics=(0.1, 0.4), loose=(0.0, 0.08), reverb=(0.1, 0.4),
        drum_level=(0.7, 1.1), medium=("clean",),
    ),
    "Folk": Style(
        tempo=(76, 132), minor=0.3, rhythm=("none", "none", "shaker", "waltz_soft"),
        kit=("hand", "brushes"), bass=("-", "-", "upright:root2"),
        chords=("steel:strum", "steel:travis", "nylon:travis", "banjo:roll"),
        lead=("voice", "voice", "fiddle", "flute"), harmony=("folk", "dorian", "pop"),
        cousins=("Psych-Folk", "Old-Time", "International", "Indie-Rock"),
        density=(0.3, 0.6), bright=(0.4, 0.7), dynamics=(0.2, 0.5), loose=(0.3, 0.8),
        drum_level=(0.2, 0.5),
    ),
    "Hip-Hop": Style(
        tempo=(78, 104), minor=0.7, rhythm=("boombap", "boombap", "trap"),
        kit=("machine808", "lofi", "acoustic"), bass=("sub:kick", "sub:root2", "finger:riff"),
        chords=("epiano:block", "strings:stab", "piano:block", "bell:arp8", "-"),
        lead=("rap", "rap", "rap", "voice"), harmony=("drone", "aeolian", "soul"),
        cousins=("Trip-Hop", "Electronic", "Pop"), density=(0.4, 0.8), bright=(0.45, 0.8),
        dynamics=(0.0, 0.25), swing=(0.05, 0.25), loose=(0.05, 0.3), reverb=(0.0, 0.15),
        drum_level=(0.9, 1.4),
    ),
    "Indie-Rock": Style(
        tempo=(96, 152), minor=0.35, rhythm=("rock", "rock", "motorik", "disco"),
        kit=("acoustic", "loud"), bass=("pick:root8", "pick:root4", "finger:riff"),
        chords=("electric:strum", "electric:arp8", "overdriven:power8", "steel:strum"),
        lead=("voice", "voice", "electric"), harmony=("pop", "rock", "folk"),
        cousins=("Rock", "Post-Punk", "Pop", "Folk"), density=(0.4, 0.7), drive=(0.1, 0.45),
        bright=(0.45, 0.8), dynamics=(0.1, 0.5),
    ),
    "International": Style(
        tempo=(84, 148), minor=0.45, rhythm=("hand", "clave", "tabla", "hand"), kit=("hand",),
        bass=("-", "finger:tumbao", "upright:tumbao"),
        chords=("nylon:strum", "sitar:drone", "accordion:boomchuck", "marimba:arp8", "harp:arp8"),
        lead=("flute", "sitar", "voice", "accordion", "clarinet"),
        harmony=("phrygian", "andalusian", "drone", "folk"),
        cousins=("Folk", "Jazz", "Old-Time", "Psych-Folk"), density=(0.5, 0.9),
        bright=(0.4, 0.75), loose=(0.2, 0.6), drum_level=(0.6, 1.1),
    ),
    "Jazz": Style(
        tempo=(92, 196), minor=0.4, rhythm=("swing", "swing", "bossa"),
        kit=("brushes", "acoustic"), bass=("upright:walking", "upright:walking", "upright:tumbao"),
        chords=("piano:comp", "electric:comp", "epiano:comp", "-"),
        lead=("trumpet", "sax", "piano", "clarinet", "electric"),
        harmony=("two_five", "circle", "modal"), cousins=("Blues", "Classical", "Hip-Hop"),
        density=(0.5, 0.9), bright=(0.3, 0.6), dynamics=(0.2, 0.6), swing=(0.4, 0.7),
        loose=(0.3, 0.7), reverb=(0.15, 0.4), drum_level=(0.3, 0.7),
    ),
    "Metal": Style(
        tempo=(92, 200), minor=0.95, rhythm=("double_kick", "blast", "thrash", "rock"),
        kit=("loud",), bass=("pick:root16", "pick:root8"),
        chords=("distorted:gallop", "distorted:power16", "distorted:power8"),
        lead=("growl", "growl", "distorted", "-"), harmony=("phrygian", "chromatic", "aeolian"),
        cousins=("Punk", "Rock", "Post-Rock"), density=(0.7, 1.0), drive=(0.7, 1.0),
        bright=(0.55, 0.9), dynamics=(0.0, 0.2), loose=(0.05, 0.2), reverb=(0.05, 0.2),
        drum_level=(0.9, 1.3),
    ),
    "Old-Time": Style(
        tempo=(96, 144), minor=0.12, rhythm=("none", "none", "stomp", "none"), kit=("hand",),
        bass=("-", "upright:root2"),
        chords=("banjo:roll", "steel:boomchuck", "piano:boomchuck", "banjo:boomchuck"),
        lead=("fiddle", "fiddle", "harmonica", "voice"), harmony=("folk", "two_chord"),
        cousins=("Folk", "Blues", "Classical"), density=(0.6, 0.95), bright=(0.3, 0.6),
        dynamics=(0.0, 0.2), loose=(0.4, 0.9), reverb=(0.0, 0.15), drum_level=(0.2, 0.5),
        medium=("shellac", "shellac", "tape"),
    ),
    "Pop": Style(
        tempo=(92, 132), minor=0.25, rhythm=("four", "rock", "disco", "electro"),
        kit=("machine909", "acoustic", "machine808"),
        bass=("sawbass:octave", "finger:root8", "sub:kick", "finger:riff"),
        chords=("piano:block", "supersaw:pad", "epiano:block", "steel:strum", "electric:stab"),
        lead=("voice", "voice", "voice", "bell"), harmony=("pop", "pop", "soul"),
        cousins=("Electronic", "Indie-Rock", "Hip-Hop", "Rock"), density=(0.4, 0.75),
        bright=(0.6, 0.95), dynamics=(0.1, 0.4), loose=(0.0, 0.15), drum_level=(0.7, 1.1),
        medium=("clean",),
    ),
    "Post-Punk": Style(
        tempo=(116, 166), minor=0.75, rhythm=("motorik", "disco", "rock"),
        kit=("acoustic", "machine808", "loud"), bass=("pick:root8", "pick:riff", "pick:octave"),
        chords=("chorus:arp8", "electric:stab", "overdriven:strum", "strings:pad"),
        lead=("baritone", "baritone", "chorus", "-"), harmony=("aeolian", "drone", "two_chord"),
        cousins=("Indie-Rock", "Punk", "Electronic", "Psych-Rock"), density=(0.4, 0.7),
        drive=(0.1, 0.5), bright=(0.35, 0.7), dynamics=(0.0, 0.25), reverb=(0.3, 0.6),
    ),
    "Post-Rock": Style(
        tempo=(66, 116), minor=0.6, rhythm=("build", "build", "half_time", "none"),
        kit=("loud", "acoustic"), bass=("pick:root8", "pick:root1", "-"),
        chords=("chorus:arp8", "electric:tremolo", "overdriven:tremolo", "chorus:pad"),
        lead=("ebow", "-", "chorus", "bell"), harmony=("cinematic", "aeolian", "folk"),
        cousins=("Rock", "Soundtrack", "Psych-Rock", "Metal"), density=(0.3, 0.7),
        drive=(0.1, 0.7), bright=(0.4, 0.75), dynamics=(0.6, 1.0), reverb=(0.5, 0.9),
    ),
    "Psych-Folk": Style(
        tempo=(62, 116), minor=0.55, rhythm=("none", "hand", "shaker", "tabla"), kit=("hand",),
        bass=("-", "upright:root1"),
        chords=("nylon:travis", "steel:travis", "sitar:drone", "organ:pad", "steel:arp8"),
        lead=("flute", "voice", "ebow", "sitar"), harmony=("dorian", "drone", "modal"),
        cousins=("Folk", "Psych-Rock", "International", "Soundtrack"), density=(0.2, 0.6),
        bright=(0.3, 0.6), dynamics=(0.2, 0.6), loose=(0.4, 0.9), reverb=(0.4, 0.9),
        drum_level=(0.2, 0.6), medium=("tape", "tape", "clean"),
    ),
    "Psych-Rock": Style(
        tempo=(84, 138), minor=0.6, rhythm=("motorik", "rock", "half_time", "build"),
        kit=("acoustic", "loud"), bass=("pick:riff", "finger:riff", "pick:root8"),
        chords=("organ:pad", "fuzz:strum", "chorus:strum", "organ:stab"),
        lead=("fuzz", "fuzz", "organ", "voice"), harmony=("dorian", "drone", "rock"),
        cousins=("Rock", "Psych-Folk", "Post-Rock", "Blues"), density=(0.4, 0.8),
        drive=(0.3, 0.7), bright=(0.35, 0.65), dynamics=(0.1, 0.5), reverb=(0.35, 0.8),
        medium=("tape", "tape", "clean"),
    ),
    "Punk": Style(
        tempo=(154, 212), minor=0.3, rhythm=("punk", "punk", "thrash"), kit=("loud", "acoustic"),
        bass=("pick:root8", "pick:root8", "pick:root16"),
        chords=("distorted:power8", "overdriven:power8", "distorted:strum"),
        lead=("shout", "shout", "voice"), harmony=("rock", "two_chord", "pop"),
        cousins=("Metal", "Rock", "Indie-Rock", "Post-Punk"), density=(0.6, 0.9),
        drive=(0.5, 0.85), bright=(0.6, 0.9), dynamics=(0.0, 0.15), loose=(0.2, 0.5),
        reverb=(0.0, 0.15), drum_level=(0.8, 1.2),
    ),
    "Rock": Style(
        tempo=(98, 148), minor=0.4, rhythm=("rock", "rock", "rock", "half_time"),
        kit=("loud", "acoustic"), bass=("pick:root8", "finger:riff", "pick:root4"),
        chords=("overdriven:power8", "overdriven:strum", "distorted:power8", "electric:strum"),
        lead=("voice", "overdriven", "shout"), harmony=("rock", "rock", "pop"),
        cousins=("Indie-Rock", "Punk", "Blues", "Psych-Rock", "Metal"), density=(0.4, 0.7),
        drive=(0.3, 0.7), bright=(0.5, 0.8), dynamics=(0.1, 0.4), drum_level=(0.7, 1.1),
    ),
    "Soundtrack": Style(
        tempo=(48, 96), minor=0.7, rhythm=("none", "none", "timpani", "none"),
        kit=("orchestra",), bass=("cello:root1", "sub:root1", "-"),
        chords=("strings:pad", "choir:pad", "warmpad:pad", "piano:arp8"),
        lead=("bell", "ebow", "piano", "violin", "-", "-"),
        harmony=("cinematic", "drone", "modal"), cousins=("Classical", "Post-Rock", "Trip-Hop"),
        density=(0.05, 0.35), bright=(0.1, 0.4), dynamics=(0.4, 1.0), loose=(0.3, 0.8),
        reverb=(0.6, 1.0), drum_level=(0.2, 0.7),
    ),
    "Trip-Hop": Style(
        tempo=(68, 98), minor=0.85, rhythm=("boombap", "half_time", "breakbeat"),
        kit=("lofi", "lofi", "acoustic"), bass=("sub:riff", "sub:root2", "upright:riff"),
        chords=("epiano:block", "strings:pad", "warmpad:pad", "electric:stab"),
        lead=("breath", "breath", "trumpet", "-"), harmony=("aeolian", "modal", "drone"),
        cousins=("Hip-Hop", "Electronic", "Soundtrack", "Jazz"), density=(0.2, 0.55),
        bright=(0.2, 0.5), dynamics=(0.1, 0.4), swing=(0.1, 0.35), loose=(0.1, 0.4),
        reverb=(0.3, 0.6), drum_level=(0.7, 1.1), medium=("vinyl", "vinyl", "tape"),
    ),
}  # fmt: skip


# One bar of sixteenths per drum (twelve in a waltz): X accented, x normal, o soft, . nothing.
RHYTHMS: dict[str, dict[str, str]] = {
    "none": {},
    "rock": {"kick": "X.....x.x.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
    "half_time": {"kick": "X.....x...x.....", "snare": "........X.......",
                  "ride": "X...x...x...x..."},
    "motorik": {"kick": "X...x.x.X...x.x.", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
    "disco": {"kick": "X...X...X...X...", "snare": "....X.......X...", "open": "..x...x...x...x.",
              "hat": "x.x.x.x.x.x.x.x."},
    "punk": {"kick": "X...x.x.X...x.x.", "snare": "..X...X...X...X.", "crash": "x...x...x...x..."},
    "thrash": {"kick": "X.x.X.x.X.x.X.x.", "snare": "..X...X...X...X.", "hat": "X...X...X...X..."},
    "blast": {"kick": "XxXxXxXxXxXxXxXx", "snare": "x.X.x.X.x.X.x.X.", "crash": "X...x...X...x..."},
    "double_kick": {"kick": "XxxxXxxxXxxxXxxx", "snare": "....X.......X...",
                    "crash": "X.......x......."},
    "four": {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..x...x...x...x.",
             "shaker": "oxoxoxoxoxoxoxox"},
    "electro": {"kick": "X..x..x.X.....x.", "clap": "....X.......X...", "hat": "x.x.x.x.x.x.x.xx"},
    "breakbeat": {"kick": "X.x.......xx....", "snare": "....X..o.o..X..o",
                  "hat": "x.x.x.x.x.x.x.x."},
    "boombap": {"kick": "X......x.xx.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
    "trap": {"kick": "X......x..x.....", "clap": "........X.......", "hat": "x.x.x.xxx.x.xxxx"},
    "chip": {"kick": "X...x...X...x...", "snare": "....X.......X...", "hat": "x.xxx.xxx.xxx.xx"},
    "shuffle": {"kick": "X.......x.......", "snare": "....X.......X...",
                "ride": "X.x.X.x.X.x.X.x."},
    "slow_blues": {"kick": "X.......x.x.....", "snare": "....X.......X..o",
                   "hat": "x.o.x.o.x.o.x.o."},
    "swing": {"kick": "o...o...o...o...", "ride": "X...x.x.X...x.x.", "foot": "....x.......x...",
              "snare": "......o......o.."},
    "bossa": {"kick": "x.....xxx.....xx", "rim": "x..x..x...x..x..", "hat": "o.o.o.o.o.o.o.o."},
    "hand": {"low": "X.....x.x.......", "high": "..x.x..x..x.x.xx", "shaker": "xoxoxoxoxoxoxoxo"},
    "clave": {"rim": "x..x..x...x.x...", "low": "......x.......xx", "high": "x.x.oo..x.x.oo..",
              "shaker": "x.x.x.x.x.x.x.x."},
    "tabla": {"low": "X..x....x..x....", "high": "..x.xoxo..x.xoxo"},
    "shaker": {"shaker": "x.o.x.o.x.o.x.o.", "low": "x.......x......."},
    "stomp": {"low": "X...x...X...x...", "clap": "....o.......o..."},
    "waltz_soft": {"low": "x...........", "shaker": "....x...x..."},
    "build": {"kick": "X.......X.x.....", "snare": "....x.......x...", "tom": "x.xxx.xxx.xxx.xx",
              "crash": "x..............."},
    "timpani": {"low": "X...........x.x.", "crash": "o..............."},
}  # fmt: skip

# Chord roots in scale degrees (0 = tonic), one per bar.
HARMONIES: dict[str, Sequence[int]] = {
    "twelve_bar": (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4),
    "pop": (0, 4, 5, 3), "rock": (0, 6, 3, 0), "folk": (0, 3, 0, 4, 0, 3, 4, 0),
    "aeolian": (0, 5, 2, 6), "dorian": (0, 3, 0, 3), "phrygian": (0, 1, 0, 1),
    "andalusian": (0, 6, 5, 4), "chromatic": (0, 0, 1, 5, 0, 0, 4, 1), "drone": (0, 0, 0, 0),
    "two_chord": (0, 0, 4, 4), "two_five": (1, 4, 0, 0, 1, 4, 0, 5),
    "circle": (0, 3, 6, 2, 5, 1, 4, 0),
    "modal": (0, 0, 0, 0, 1, 1, 0, 0), "classical": (0, 4, 0, 3, 1, 4, 0, 0),
    "baroque": (0, 4, 5, 2, 3, 0, 3, 4), "game": (0, 5, 3, 4), "soul": (0, 2, 3, 4),
    "cinematic": (0, 5, 2, 4),
}  # fmt: skip
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
DANCE_RHYTHMS = frozenset(
    {"four", "disco", "electro", "boombap", "trap", "breakbeat", "clave", "chip", "motorik"}
)
WITH_SEVENTHS = frozenset({"two_five", "circle", "modal", "soul", "twelve_bar"})


# ---- instruments and playing patterns as data --------------------------------------------------


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

_VIOLIN_BODY = ((280.0, 1.0), (460.0, 1.2), (1100.0, 1.0), (2600.0, 1.0))
INSTRUMENTS: dict[str, Instrument] = {
    # keys, mallets
    "piano": Tone(9, decay=0.9, fade=0.35, attack=0.003, register=62),
    "epiano": Fm(1.0, 1.4, 1.2, 0.35, register=60),
    "organ": Tone(partials=(1, 0.9, 0.7, 0.6, 0, 0.35, 0, 0.45), vibrato=0.12, register=60),
    "accordion": Tone(5, detuned=0.12, attack=0.04, resonances=((1500.0, 1.0),), register=64),
    "bell": Fm(3.51, 2.5, 1.6, 0.8, register=79),
    "marimba": Fm(4.0, 0.7, 0.25, 0.06, register=67),
    "harp": Pluck(1.8, 0.35, 0.4, register=67),
    # strings, winds
    "strings": Tone(6, detuned=0.1, attack=0.18, release=0.3, vibrato=0.1,
                    resonances=_VIOLIN_BODY, register=62),
    "violin": Tone(4, attack=0.07, vibrato=0.3, resonances=_VIOLIN_BODY, release=0.12,
                   register=76),
    "fiddle": Tone(3, attack=0.02, vibrato=0.1, scoop=0.6, resonances=_VIOLIN_BODY, breath=0.02,
                   register=74),
    "cello": Tone(6, attack=0.1, vibrato=0.15, resonances=((200.0, 1.0), (600.0, 1.0)),
                  release=0.2, register=43),
    "flute": Tone(partials=(1, 0.45, 0.2, 0.06, 0.03), attack=0.06, vibrato=0.25, breath=0.06,
                  register=78),
    "clarinet": Tone(5, odd=True, attack=0.03, vibrato=0.08, register=70),
    "harmonica": Tone(2, attack=0.03, scoop=0.7, vibrato=0.2, breath=0.03,
                      resonances=((1900.0, 1.5),), register=70),
    "trumpet": Tone(3, attack=0.03, vibrato=0.12, fade=0.6, resonances=((1200.0, 1.2),),
                    register=69),
    "sax": Tone(4, attack=0.03, scoop=0.5, vibrato=0.2, breath=0.05,
                resonances=((700.0, 1.0), (1600.0, 1.0)), register=64),
    # plucked strings
    "steel": Pluck(1.3, 0.8, 0.15, register=57),
    "nylon": Pluck(0.9, 0.4, 0.3, register=57),
    "banjo": Pluck(0.3, 0.95, 0.08, register=64),
    "sitar": Pluck(2.2, 1.0, 0.06, register=57),
    "electric": Pluck(1.8, 0.55, 0.2, register=58),
    "chorus": Pluck(2.5, 0.6, 0.12, register=64),
    "overdriven": Pluck(2.2, 0.7, 0.15, register=55),
    "fuzz": Pluck(3.0, 0.8, 0.2, register=60),
    "distorted": Pluck(3.0, 0.9, 0.12, register=46),
    "ebow": Tone(9, attack=0.5, release=0.6, vibrato=0.15, register=69),
    # bass
    "upright": Pluck(0.5, 0.3, 0.35, register=38),
    "finger": Pluck(1.0, 0.4, 0.25, register=38),
    "pick": Pluck(1.4, 0.75, 0.12, register=38),
    "sub": Tone(18, attack=0.005, decay=0.7, scoop=-2.0, register=33),
    "sawbass": Tone(10, fade=0.12, attack=0.003, decay=0.8, register=38),
    "fmbass": Fm(1.0, 3.5, 0.5, 0.15, register=38),
    # synthesisers
    "square": Tone(6, odd=True, attack=0.001, release=0.01, ceiling=2e4, register=69),
    "pulse": Tone(2.5, attack=0.001, release=0.01, decay=0.4, ceiling=2e4, register=69),
    "triangle": Tone(12, odd=True, attack=0.001, release=0.01, ceiling=2e4, register=40),
    "saw": Tone(5, detuned=0.08, attack=0.005, fade=0.5, ceiling=9e3, register=69),
    "supersaw": Tone(5, detuned=0.2, attack=0.02, release=0.15, ceiling=9e3, register=62),
    "warmpad": Tone(10, detuned=0.12, attack=0.6, release=0.8, register=58),
    # voices (their vowels change from note to note)
    "voice": Tone(7, attack=0.04, vibrato=0.3, scoop=0.8, breath=0.03, consonant=0.25,
                  register=65),
    "breath": Tone(9, attack=0.07, vibrato=0.25, scoop=0.5, breath=0.14, consonant=0.3,
                   register=67),
    "baritone": Tone(7, attack=0.04, vibrato=0.15, scoop=0.8, consonant=0.25, register=51),
    "shout": Tone(4, attack=0.02, scoop=2.0, breath=0.12, consonant=0.5, register=60),
    "growl": Tone(3, attack=0.03, scoop=3.0, breath=0.5, consonant=0.5, register=40),
    "rap": Tone(6, attack=0.015, scoop=-2.0, breath=0.06, consonant=0.6, release=0.04,
                register=48),
    "choir": Tone(7, detuned=0.12, attack=0.3, release=0.4, vibrato=0.2, breath=0.05,
                  register=62),
}  # fmt: skip
VOICES = frozenset({"voice", "breath", "baritone", "shout", "growl", "rap", "choir"})
AMPLIFIED = frozenset({"electric", "overdriven", "fuzz", "distorted", "pick", "organ", "growl"})
VOWELS = (  # resonances of the throat in Hz: ah, eh, ee, oh, oo
    ((730.0, 1.5), (1090.0, 1.2), (2440.0, 0.5)), ((530.0, 1.5), (1840.0, 0.9), (2480.0, 0.6)),
    ((270.0, 1.5), (2290.0, 0.8), (3010.0, 0.6)), ((570.0, 1.5), (840.0, 1.2), (2410.0, 0.3)),
    ((300.0, 1.6), (870.0, 0.9), (2240.0, 0.2)),
)  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """How a layer plays a bar of sixteenths; "?" is drawn once per section.

    `length` of a note in steps; `tones` indexes the chord's tones from the root upwards, one for
    each hit in turn; none plays the whole chord; `strum` seconds between the strings.
    """

    steps: str
    length: int
    tones: tuple[int, ...] | None = None
    strum: float = 0.0


PATTERNS: dict[str, Pattern] = {
    # chords
    "pad": Pattern("X...............", 16),
    "block": Pattern("X...x...x...x...", 4),
    "stab": Pattern("..x..?x...x..?x.", 1),
    "strum": Pattern("X...x.x?.xx.x.x?", 2, None, 0.012),
    "comp": Pattern("?..x..?...?x..?.", 2),
    "boomchuck": Pattern("X...x...X...x...", 2, (0, -1, 2, -1)),
    "drone": Pattern("X.....x?..x...??", 8, (0, 3, 2, 3, 1)),
    "power8": Pattern("X.x.x.x.x.x.x.x.", 2, (-2,)),
    "power16": Pattern("XxxxXxxxXxxxXxxx", 1, (-2,)),
    "gallop": Pattern("X.xxX.xxX.xxX.xx", 1, (-2,)),
    "arp8": Pattern("X.x.x.x.x.x.x.x.", 3, (0, 1, 2, 3, 4, 3, 2, 1)),
    "arp16": Pattern("XxxxXxxxXxxxXxxx", 1, (0, 1, 2, 3)),
    "alberti": Pattern("X.x.x.x.x.x.x.x.", 2, (0, 2, 1, 2)),
    "travis": Pattern("X.x.x?x.x.x.x?x.", 4, (0, 4, 2, 3, 0, 5, 2, 4)),
    "roll": Pattern("X.xxx.xxX.xxx.xx", 2, (0, 2, 4, 1, 3, 5)),
    "boogie": Pattern("X.x.x.x.x.x.x.x.", 2, (-2, -2, -3, -3)),
    "tremolo": Pattern("XxxxXxxxXxxxXxxx", 1, (2,)),
    # bass lines
    "root1": Pattern("X...............", 16, (0,)),
    "root2": Pattern("X.......x.......", 7, (0, 2)),
    "root4": Pattern("X...x...x...x...", 4, (0, 0, 2, 0)),
    "root8": Pattern("X.x.x.x.x.x.x.x.", 2, (0,)),
    "root16": Pattern("XxxxXxxxXxxxXxxx", 1, (0,)),
    "offbeat": Pattern("..X...X...X...X.", 2, (0,)),
    "octave": Pattern("X.x.x.x.x.x.x.x.", 1, (0, 3)),
    "walking": Pattern("X...x...x...x...", 4, (0, 1, 2, 4)),
    "tumbao": Pattern("x.....x.....x...", 4, (0, 2, 3)),
    "kick": Pattern("X......x..x.....", 5, (0,)),
    "riff": Pattern("X..?..x?..?.x.?.", 2, (0, 0, 3, 2, 0, 1)),
}
WHOLE_CHORD, POWER_CHORD, SIXTH_CHORD = -1, -2, -3  # special entries of `Pattern.tones`


# ---- one clip's factors ------------------------------------------------------------------------


@dataclass(frozen=True)
class Factors:
    """What one clip is made of; the fields are those of Style, drawn, plus a key."""

    tempo: float
    minor: bool
    key: int
    rhythm: str
    kit: str
    bass: str
    chords: str
    lead: str
    harmony: str
    density: float
    drive: float
    bright: float
    dynamics: float
    swing: float
    loose: float
    reverb: float
    drum_level: float
    medium: str


def draw_factors(genre: str, rng: np.random.Generator) -> Factors:
    """Draw the factors of one clip of a genre; each may come from a related genre instead."""
    drawn: dict[str, object] = {"key": int(rng.integers(12))}
    own = STYLES[genre]
    cousin = STYLES[own.cousins[rng.integers(len(own.cousins))]]
    for field in fields(Style):
        if field.name == "cousins":
            continue
        style = cousin if rng.random() < BORROWED else own
        drawn[field.name] = _draw(field.name, getattr(style, field.name), rng)
    return Factors(**drawn)  # type: ignore[arg-type]


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
