# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Looking at music: spectrograms, beats, chroma
#
# **What you will learn**
# - to read a mel spectrogram: first of sounds that you know exactly, then of two clips; what its scale is, and why
# - what one column per beat keeps and loses, and why shorter sequences suit an LSTM
# - what a chromagram leaves out on purpose
#
# **Needs** the data only (notebook 00). **Leaves** the figures of steps 1 to 3, for the report.
#
# **Takes** about half a minute on the demo set with two CPU cores. With the lab's data: as long, for it looks at
# few clips.
#
# **The one insight:** two clips are an anecdote. What you see in them is a guess about two genres, to be checked on
# more clips.
#
# **How to read:** the core path takes about 40 minutes. Answer each **Predict** in your head before you open it;
# extras are folded.

# %% [markdown] tags=["setup"]
# ## Set-up

# %% tags=["setup"]
# Find `helpers`: installed, or beside this file, above the working folder, or on Kaggle.
import sys
from pathlib import Path

try:
    import helpers.machinery  # noqa: F401
except ImportError:
    here = Path(globals().get("__file__", "notebook")).resolve()
    places = [*here.parents, *Path.cwd().parents]
    places += [found.parents[1] for found in Path("/kaggle/input").glob("**/helpers/machinery")]
    hits = [place for place in places if (place / "helpers" / "machinery").is_dir()]
    assert hits, "no folder helpers/ found: take the whole repository (on Kaggle as a data set)"
    sys.path.insert(0, str(hits[0]))

# %% tags=["setup"]
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import textwrap
import time
from itertools import pairwise

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from demo_music.build import Clip
from demo_music.styles import draw_factors
from helpers import features, folders, models, plots
from helpers.machinery.arrays import read_array
from helpers.machinery.process import pick_device, seed_everything, threads_for
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.checking import agree
from helpers.notebook.records import open_record
from helpers.notebook.showing import play, show_lines, show_table, tell

notebook = "01_visualization"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0  # other clips are drawn with another seed
lstm_hidden_size = 64  # units of the LSTMs that are timed and looked into in 2α

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## Sounds that you know
#
# Before music, six sounds of which we know everything, because we make them: three seconds each, as a row of numbers
# (a *wave*), 22,050 of them a second.

# %%
# Six sounds of three seconds, as waves [66150].
rate = features.SAMPLE_RATE  # 22,050 samples per second
t = np.arange(3 * rate) / rate  # when each sample is heard, in seconds


def tone(hertz):
    """A sine of this frequency."""
    return np.sin(2 * np.pi * hertz * t)


toys = {
    "sine": tone(440),
    "sweep": librosa.chirp(fmin=100, fmax=8000, sr=rate, duration=3.0),
    "chord": tone(261.6) + tone(329.6) + tone(392.0),  # C, E and G
    "one note": sum(tone(261.6 * k) for k in range(1, 9)),  # C with seven overtones
    "clicks": (np.arange(len(t)) % (rate // 4) == 0).astype(float),  # four a second
    "noise": np.random.default_rng(seed).standard_normal(len(t)),
}

# %% [markdown]
# ### From a wave to a picture
#
# ```text
# wave [66150] --STFT--> [1025, T] --| |²--> power [1025, T] --filters--> mel [128, T] --dB--> picture
# ```
#
# 1. The **short-time Fourier transform** cuts the wave into overlapping windows of $N = 2048$ samples (93 ms), one
#    every $H = 512$ samples (23 ms), and asks how much of each frequency is in each window:
#    $$X(k, m) = \sum_{n=0}^{N-1} w(n)\, x(n + mH)\, e^{-2\pi i k n / N}$$
# 2. A **filter bank** of 128 triangles sums the power of neighbouring frequencies into mel bands. The mel scale
#    spaces them as our hearing does: evenly up to 1 kHz, then by equal *ratios*. So bands are narrow in the bass and
#    wide in the treble:
#    $$M(b, m) = \sum_k B(b, k)\, P(k, m), \qquad P = {|X|}^2$$
# 3. **Decibels** are a logarithm of power. 10 dB less is a tenth; here 0 dB is the loudest value, and -80 dB the
#    floor:
#    $$L = \max\!\left(-80,\; 10 \log_{10} \frac{M}{\max M}\right)$$
#
# In code, each step is a line:


# %% tags=["solution"]
def plain_mel(wave):
    """The mel spectrogram of a wave [samples], in dB below its loudest value: [128, T]."""
    spectrum = librosa.stft(wave, n_fft=2048, hop_length=512)  # complex, [1025, T]
    power = np.abs(spectrum) ** 2
    filters = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=128)  # [128, 1025]
    mel = filters @ power  # [128, T]
    return 10 * np.log10(np.maximum(mel / mel.max(), 1e-8))  # 1e-8 is -80 dB


def plain_chroma(wave):
    """How strong each of the 12 pitch classes is, 1 for the strongest of a frame: [12, T]."""
    return librosa.feature.chroma_cqt(y=wave, sr=rate, hop_length=512)


# The kit keeps both in one array [140, T]: rows 0-127 are the mel bands, rows 128-139 the chroma.
note = toys["one note"].astype(np.float32)
extracted = features.extract(note).full
agree("mel of one note", lambda: plain_mel(note), extracted[: features.N_MELS], tolerance=0.01)
agree("chroma", lambda: plain_chroma(note), extracted[features.N_MELS :], tolerance=0.01)

# %% [markdown]
# | what the kit's `extract` adds | why | what it gains | where |
# |---|---|---|---|
# | one STFT for mel, chroma's tuning and the beats | it is the costly part | time | `helpers/features.py`, `extract` |
# | beats tracked in the drums alone | a melody misleads the tracker | beats for step 2β | `_beat_frames` |
# | a sliding median to take the drums out | a median over a square is slow | the same mask, sooner | `_percussive_mask` |
# | refuses stereo, silence, NaN, clips under 1 s | they would become arrays of nonsense | one line that says what is wrong | `_checked` |
#
# The demo set was made with it; the lab's own files were made by somebody else in the same way.
#
# **Predict.** Which of the six is a single horizontal line? Which are vertical lines? Which fills the picture evenly?
# And how will the *chord* C-E-G differ from *one note* C with overtones?
#
# <details><summary>What to expect, and why</summary>
#
# - **Sine:** one line, a little blurred: a window of 93 ms cannot tell frequencies apart that differ by less than
#   about 20 Hz.
# - **Sweep:** a line that rises by equal ratios: it bends where the mel axis is even (below 1 kHz), and is straight
#   above. In the chroma it runs through all classes, octave after octave, up to 4 kHz: there the chroma's seven
#   octaves end, and what it shows means nothing.
# - **Clicks:** vertical lines. A click is shorter than a window and holds all frequencies.
# - **Noise:** everything, evenly. It has the same power in each Hz, and each band is divided by its width in Hz (more
#   of that in 1γ).
# - **Chord and note:** three lines against eight. The overtones of a note lie at 2, 3, 4 ... times its frequency: at
#   equal distances in Hz, so evenly spaced below 1 kHz and crowded above, where the axis is logarithmic.
# - **In the chroma, one note is not one line.** Its partials 1, 2, 4 and 8 are C's, but 3 and 6 are G's, 5 is an E, 7
#   nearly an A sharp: overtones leak into other pitch classes. A chromagram does not hear notes, it counts
#   frequencies.
#
# </details>


# %%
def hear_and_see(*names, chroma=True):
    """Players for some of the sounds, and a figure with their mel spectrograms and chromagrams."""
    pictures = {}
    for name in names:
        path = record.folder / "sounds" / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.5 * toys[name] / np.abs(toys[name]).max(), rate)
        print(name)
        play(path)
        pictures[name] = {"mel": plain_mel(toys[name])}
        if chroma:
            pictures[name]["chroma"] = plain_chroma(toys[name])
    record.show(plots.spectrograms(pictures), "toy_" + names[0])


hear_and_see("sine", "sweep")

# %%
hear_and_see("chord", "one note")

# %%
hear_and_see("clicks", "noise")

# %% [markdown]
# Two things to remember. A tone is *horizontal* and a hit is *vertical*; music is made of both. And where there is no
# pitch (clicks, noise), the chroma shows something all the same: each frame is divided by its own strongest class,
# however weak that is.

# %% [markdown]
# ### Exercise 1.1 · pitch classes
#
# To which of the 12 classes does a frequency belong? C is 0, C sharp 1, ... B is 11. Middle C has 261.63 Hz; an
# octave up doubles the frequency, a semitone multiplies it by $2^{1/12}$.


# %% tags=["exercise"]
def check_pitch_class(function):
    """Asks for notes whose class is known."""
    if function(440.0) is None:
        print("not written yet")
        return
    for hertz, expected in ((261.63, 0), (440, 9), (220, 9), (784.9, 7), (1308.2, 4), (30.87, 11)):
        got = function(hertz)
        assert got == expected, f"{hertz} Hz belongs to class {expected}, your answer is {got}"
    print("right: octaves fall together, and partials 3 and 5 of a C are a G and an E")


def my_pitch_class(hertz):
    """The pitch class, 0 to 11, of a frequency in Hz."""
    ...


check_pitch_class(my_pitch_class)


# %% tags=["solution", "folded"]
def pitch_class(hertz):
    """The pitch class, 0 to 11, of a frequency in Hz."""
    return round(12 * np.log2(hertz / 261.63)) % 12


check_pitch_class(pitch_class)

# %% [markdown]
# ## 1α · Two random lines of the training labels
#
# > **Handout.** *Επιλέξτε από το `train_labels.txt` δύο τυχαίες γραμμές με διαφορετικά είδη μουσικής.* Pick two
# > random lines of the training labels with different genres.
#
# Each line names a file and its genre. We draw one line at random, and a second one among the lines of all other
# genres. The seed makes it the same draw each time. On the demo set only some clips kept their sound; the draw is
# among these, so that you hear what you see.

# %% tags=["solution", "report"]
# All lines below the header, as (name, genre).
labels_file = root / folders.GENRE / "train_labels.txt"
rows = labels_file.read_text(encoding="utf-8").splitlines()[1:]
lines = [line.strip().split("\t") for line in rows if line.strip()]
audible = folders.audio_clips(root)  # none in the lab's own data
with_sound = [line for line in lines if folders.clip_id(line[0]) in audible]
offered = with_sound if len({genre for _, genre in with_sound}) > 1 else lines

random = np.random.default_rng(seed)
first = random.choice(offered)
second = random.choice([line for line in offered if line[1] != first[1]])
drawn = "\n".join(f"{name}   {genre}" for name, genre in (first, second))
show_lines(drawn, f"{folders.GENRE}/train_labels.txt")

# %% [markdown]
# ## 1β · Reading the two files
#
# > **Handout.** *Διαβάστε τα δύο αρχεία και πάρτε από το καθένα το φασματόγραμμα σε κλίμακα mel.* Read the two files
# > and take the mel-scale spectrogram out of each.
#
# The name in the label file is not always the name on disk, so we look the clip up by its id: what stands before the
# first dot (`read_clips` does this for all clips). The fused array has 140 rows. **Rows 0-127 are the mel
# spectrogram**: a row per [mel band](../docs/glossary.md#mel-band) from low to high, a column per frame of 23 ms,
# values in [decibels](../docs/glossary.md#decibel) below the clip's loudest value.

# %% tags=["solution", "report"]
tracks = folders.read_clips(root / folders.GENRE, "train").set_index("id")
ids = {str(genre): folders.clip_id(name) for name, genre in (first, second)}  # genre -> clip

fused = {genre: read_array(tracks.loc[clip, "path"]) for genre, clip in ids.items()}
mel = {genre: array[: features.N_MELS] for genre, array in fused.items()}
for genre, clip in ids.items():
    tell(
        "{genre}, clip {clip}: fused {fused}, mel {mel}, {low:.1f} to {high:.1f} dB",
        genre=genre, clip=clip, fused=str(fused[genre].shape), mel=str(mel[genre].shape),
        low=mel[genre].min(), high=abs(mel[genre].max()),
    )  # fmt: skip

# %% [markdown]
# ### Listen
#
# A picture of a sound says more once you have heard it.

# %%
# A player for each clip that has kept its sound.
titles = {genre: f"{genre} (clip {clip})" for genre, clip in ids.items()}
for genre, clip in ids.items():
    if path := folders.audio_path(root, clip):
        print(titles[genre])
        play(path)
if not audible:
    print("these data come without audio; further below, an explorer makes some from the pictures")

# %% [markdown]
# ## 1γ · What the spectrograms show
#
# > **Handout.** *Απεικονίστε τα με τη `librosa.display.specshow`. Τι δείχνουν, και πώς διαφέρουν τα δύο είδη;* Draw
# > them with `librosa.display.specshow`; say what they show and how the genres differ.
#
# **Predict.** You have heard both. In which picture are the vertical lines closer together? Where will you see a bass
# drum, a cymbal, a voice that slides from note to note?
#
# <details><summary>What to expect, and why</summary>
#
# - **horizontal lines:** tones that are held, with their overtones above them
# - **curved lines**, several one above the other: a voice or a bent string; overtones bend together
# - **vertical lines:** drum hits and plucked onsets. The faster the music, the closer they stand. A bass drum shows
#   at the bottom only, a cymbal at the top, a snare nearly everywhere
# - **a bright floor:** the bass; **a bright ceiling:** cymbals, hiss, distortion
# - **dark columns:** pauses; where none appear, the music is dense or compressed
#
# </details>
#
# First by hand, with the function that the handout names:

# %% tags=["solution"]
one, other = ids  # the two genres
figure, ax = plt.subplots(figsize=(9, 3.4))
picture = librosa.display.specshow(
    mel[one], x_axis="time", y_axis="mel", sr=rate, hop_length=512, fmax=rate / 2,
    cmap="cividis", ax=ax,
)  # fmt: skip
figure.colorbar(picture, ax=ax, label="level (dB)")
ax.set(title=titles[one], xlabel="time (s)", ylabel="frequency (Hz)")
figure.set_label(f"Mel spectrogram of {titles[one]}, frequency up, time across.")  # alt text
record.show(figure, "specshow")

# %% [markdown]
# The kit's `plots.spectrograms` calls the same function for several clips, on one colour scale and one frequency
# axis, so that equal colours mean equal levels:

# %% tags=["solution", "report"]
drawn = plots.spectrograms({titles[genre]: {"mel": array} for genre, array in mel.items()})
caption = "Mel spectrograms of the two clips: frequency up, time across."
record.show(drawn, "mel_full", caption=caption)

# %% [markdown]
# ### The same in four numbers
#
# The eye is easily persuaded, so we put numbers beside it. Averaged over time, each clip becomes a curve: its level
# in every band. Single tones make it ragged; we smooth it over a third of an octave before we ask where the clips
# differ most.

# %% tags=["solution", "appendix"]
# The mean of the bands within a sixth of an octave to each side.
frequencies = features.mel_frequencies()  # centre of each band in Hz, [128]
near = np.abs(np.log2(frequencies[:, None] / frequencies)) <= 1 / 6  # [128, 128]
smooth = near / near.sum(1, keepdims=True)
averages = {titles[genre]: smooth @ array.mean(1) for genre, array in mel.items()}
gap = averages[titles[one]] - averages[titles[other]]
widest = int(np.abs(gap).argmax())
louder = one if gap[widest] > 0 else other
title = f"{louder} is {abs(gap[widest]):.0f} dB louder near {frequencies[widest]:.0f} Hz"
drawn = plots.curves(
    {name: pd.Series(levels, frequencies) for name, levels in averages.items()},
    title, "frequency (Hz)", "mean level (dB)", xscale="log",
)  # fmt: skip
drawn.axes[0].xaxis.set_major_formatter("{x:g}")
caption = "Mean level of the two clips over frequency, smoothed over a third of an octave."
record.show(drawn, "average_spectra", caption=caption)

# %% [markdown]
# Shares of *power* do not depend on how loud a clip was recorded. But here is a trap: librosa divides each band by
# its width in Hz, so that a band's value is power *per Hz*. A sum over bands would count the narrow bass bands too
# much, and the wide treble bands too little. Times its width, a band's value is power again:

# %% tags=["solution"]
edges = librosa.mel_frequencies(130, fmin=0, fmax=rate / 2)  # where the triangles begin and end
widths = (edges[2:] - edges[:-2]) / 2  # Hz that each band stands for, [128]

divided = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=128)  # what the lab's arrays come from
whole = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=128, norm=None)  # triangles of height 1
agree("divided filters times widths", lambda: divided * widths[:, None], whole)
print(f"a band at 200 Hz is {widths[frequencies > 200][0]:.0f} Hz wide, "
      f"one at 5 kHz {widths[frequencies > 5000][0]:.0f} Hz")  # fmt: skip


# %% tags=["solution", "report"]
def describe(clip):
    """What a full mel spectrogram [128, T] in dB shows, as four numbers."""
    power = 10 ** (clip / 10) * widths[:, None]  # [128, T]
    share = 100 * power.sum(1) / power.sum()  # of each band, in %
    level = 10 * np.log10(power.sum(0))  # of each frame, in dB
    strength = librosa.onset.onset_strength(S=clip, sr=rate)  # many bands grow at once
    onsets = librosa.onset.onset_detect(onset_envelope=strength, sr=rate)
    seconds = clip.shape[1] * features.HOP_LENGTH / rate
    quiet, loud = np.percentile(level, [10, 90])
    return {
        "bass: power below 250 Hz (%)": share[frequencies < 250].sum(),
        "treble: power above 2 kHz (%)": share[frequencies > 2000].sum(),
        "rhythm: onsets per second": len(onsets) / seconds,
        "dynamics: loud minus quiet frames (dB)": loud - quiet,
    }


numbers = pd.DataFrame({genre: describe(array) for genre, array in mel.items()})
show_table(numbers, digits=1, caption="Four numbers of the two clips.")

# %% [markdown]
# ### What was really played
#
# The demo set is composed by a program, so we can look into its score: a luxury that real music does not offer. Bass and
# chords are written "instrument:pattern", and "-" means none.


# %% tags=["told"]
def score_of(clip, genre):
    """What the demo set's composer wrote for a clip of the genre set."""
    return draw_factors(genre, Clip(int(clip), genre, "genre", "train").rng())


def in_words(score):
    """Some of the score, for a table."""
    return {
        "tempo (beats per minute)": f"{score.tempo:.1f}",
        "key": f"{plots.PITCHES[score.key]} {'minor' if score.minor else 'major'}",
        "harmony": score.harmony,
        "drums": score.rhythm,
        "bass": score.bass,
        "chords": score.chords,
        "voice or lead": score.lead,
    }


if folders.is_demo_set(root):
    scores = {genre: in_words(score_of(clip, genre)) for genre, clip in ids.items()}
    show_table(pd.DataFrame(scores))
else:
    print("these data come without a score")

# %% [markdown] tags=["solution"]
# **On the demo set** (seed 0): *Rock*, clip 1441, against *Post-Punk*, clip 1016.
#
# - **Voice.** Rock has curved lines, five or six above each other, that slide up to each note: the shouting voice,
#   from 0 to 13 s and from 17 to 22 s. Between, only the band plays. Post-Punk has no curved line at all, hence no
#   voice.
# - **Harmony.** In Post-Punk the bright horizontal lines lie at the same heights from beginning to end: one chord,
#   held through the whole clip (*drone*). In Rock the lines step up and down every few seconds: the chords change.
# - **Rhythm.** Post-Punk's vertical lines stand closer together and never pause; Rock's hits are fewer, and single
#   ones stand out. The numbers agree: more onsets a second, and less distance between loud and quiet frames.
# - **Bass and treble.** Rock's bass drum and bass make a bright floor with falling "commas" (the drum's pitch drops).
#   Bass is the largest difference in the table. The average curves say the same: Rock lies above in the bass,
#   Post-Punk above nearly everywhere else.
# - **Pauses of the treble.** Rock's ceiling is dark between the cymbals when the voice is silent; Post-Punk's hi-hat
#   never leaves it dark.

# %% [markdown]
# ### Are these two clips typical?
#
# Two clips differ whatever their genres are. So we describe up to 20 clips of each of the two genres and ask: in how
# many of all pairs (one clip of each genre) does the comparison come out as above? 50 % is a coin toss.
#
# **Predict.** Which of the four numbers will still tell the two genres apart?
#
# <details><summary>What to expect, and why</summary>
#
# Whatever belongs to the *song* (how much bass this recording has, whether there is a voice) may turn round with the
# next pair of clips. What the genre fixes (its typical tempo and drum pattern) stays. With neighbouring genres,
# expect few of the four, or none.
#
# </details>


# %%
def describe_genre(genre, n_clips=20):
    """The numbers of `describe` for some clips of a genre, a row per clip."""
    paths = tracks.loc[tracks["genre"] == genre, "path"]
    chosen = paths.sample(min(n_clips, len(paths)), random_state=seed)
    return pd.DataFrame([describe(read_array(path)[: features.N_MELS]) for path in chosen])


def pairs_above(a, b):
    """In how many of all pairs the first is larger, in %: a [n] against b [m]."""
    return 100 * np.mean(a.to_numpy()[:, None] > b.to_numpy())


several = {genre: describe_genre(genre) for genre in ids}
agreement = pd.DataFrame({f"{genre}, mean": table.mean() for genre, table in several.items()})
larger = pd.Series({w: pairs_above(several[one][w], several[other][w]) for w in numbers.index})
as_above = numbers[one] > numbers[other]
agreement["pairs that agree (%)"] = larger.where(as_above, 100 - larger)

# %% tags=["appendix"]
caption = (
    "The four numbers, means over clips of each genre; and how many pairs agree with the two clips."
)
show_table(agreement, digits=1, caption=caption)

# %% tags=["told", "report"]
# The numbers in which the two clips are no exception.
reliable = agreement.index[agreement["pairs that agree (%)"] >= 75]
tell(
    "**Verdict.** Each of {n} clips of {one} was set beside each of {m} clips of {other}. In none "
    "of the four numbers do at least three quarters of these pairs agree with the two clips above: "
    "what the two show may turn round with another pair." if not len(reliable) else
    "**Verdict.** Each of {n} clips of {one} was set beside each of {m} clips of {other}. At least "
    "three quarters of these pairs agree with the two clips above in: {numbers:; }. Whatever is "
    "not named may turn round with another pair.",
    n=len(several[one]), m=len(several[other]), one=one, other=other,
    numbers=[what.partition(":")[0] for what in reliable],
)  # fmt: skip

# %% [markdown]
# **On the demo set** the largest difference of the two clips, the bass, even turns round: over 20 clips each, it is
# *Post-Punk* that has more of it. "Rock has more bass" would have been the natural conclusion from the pictures, and
# a wrong one. Keep this in mind whenever a figure shows two examples.

# %% [markdown]
# ## 1δ · The mel scale
#
# > **Handout (from 2024-25 on).** *Τι είναι η κλίμακα mel, πώς προέκυψε, και γιατί χρησιμοποιείται στη μουσική;* What is the mel scale, how was it
# > made, and why is it used for music?
#
# **What it is.** A [scale of pitch](../docs/glossary.md#mel-scale) as it is *heard*: equal steps in mel sound equally
# far apart, equal steps in Hz do not.
#
# **How it was made.** Stevens, Volkmann and Newman (1937) let five listeners set a tone until it sounded *half as
# high* as another one, for ten frequencies and at one loudness. From these halves they built a scale that is
# proportional to the pitch that is heard, and gave the tone of 1000 Hz 1000 units: mel, from *melody*. It is the
# result of an experiment, so what we use is a formula drawn through it; there are two.
#
# **Predict.** Two pairs of tones, each 100 Hz apart: 200 and 300 Hz, 5000 and 5100 Hz. Which pair sounds farther apart?
#
# <details><summary>What to expect, and why</summary>
#
# The low one: it is a fifth, the first leap of *Twinkle, Twinkle, Little Star*. The high pair is a third of a
# semitone; you may hear it as one tone slightly out of tune. Our inner ear gives each frequency a place along a
# membrane, and the places of 5000 and 5100 Hz are next to each other.
#
# </details>


# %% tags=["solution"]
def one_then_other(low, high):
    """A tone for the first half of the time, another for the second half."""
    return np.where(t < t[-1] / 2, tone(low), tone(high))


toys["low"] = one_then_other(200, 300)
toys["high"] = one_then_other(5000, 5100)
hear_and_see("low", "high", chroma=False)  # 5 kHz are above its octaves

# %% [markdown]
# The low pair is a clear jump, the high pair hardly a step. Two formulas are in use. *HTK*'s (O'Shaughnessy
# 1987) is one logarithm, *Slaney*'s (1998; librosa's own, and that of the lab's data) is a straight line up to 1 kHz
# and a logarithm above:
#
# $$ m_{\text{HTK}}(f) = 2595 \log_{10}\!\left(1 + \frac{f}{700}\right) \qquad
# m_{\text{Slaney}}(f) = \begin{cases} 3f/200 & f < 1000 \\ 15 + 27 \ln(f / 1000) / \ln 6.4 & \text{else} \end{cases} $$
#
# HTK counts 1000 mel at 1 kHz as in 1937, Slaney 15: only ratios matter for a filter bank.


# %% tags=["solution"]
def mel_htk(hertz):
    """Mel by HTK's formula."""
    return 2595 * np.log10(1 + hertz / 700)


def mel_slaney(hertz):
    """Mel by Slaney's formula: straight up to 1 kHz, then a logarithm."""
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, above)


grid = np.linspace(0, rate / 2, 500)  # Hz
agree("HTK", lambda: mel_htk(grid), librosa.hz_to_mel(grid, htk=True), tolerance=1e-3)
agree("Slaney", lambda: mel_slaney(grid), librosa.hz_to_mel(grid), tolerance=1e-6)

# %% tags=["solution", "report"]
# All three in units of their value at 1 kHz; octaves are what a piano counts.
octaves = 1 + np.log2(np.maximum(grid, 62.5) / 1000) / 4  # 0 at four octaves below 1 kHz
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.plot(grid, mel_slaney(grid) / 15, label="mel (Slaney)")
ax.plot(grid, mel_htk(grid) / mel_htk(1000), "--", label="mel (HTK)")
ax.plot(grid, octaves, ":", label="octaves (four of them below 1 kHz)")
for pair in ((200, 300), (5000, 5100)):
    ax.axvspan(*pair, color="0.8")
ax.set(title="100 Hz (grey) are a large step in the bass and a tiny one in the treble",
       xlabel="frequency (Hz)", ylabel="pitch (1 at 1 kHz)")  # fmt: skip
ax.legend()
figure.set_label("Mel scale by Slaney and by HTK, and octaves, over frequency in Hz: all bend.")
record.show(figure, "mel_scale", caption="The mel scale by two formulas, and octaves.")

# %% [markdown]
# ### The filter bank
#
# Equal steps in mel become the corners of triangles in Hz: $n$ bands need $n + 2$ corners. Each triangle rises from its left corner to its middle and falls to
# its right one; neighbours overlap by half. The lab has 128; with 12 one can see them.


# %% tags=["solution"]
def corners(n_bands):
    """Where the triangles begin, peak and end, in Hz [n_bands + 2]: evenly spaced in mel."""
    fine = np.linspace(0, rate / 2, 200_000)
    steps = np.linspace(0, mel_slaney(rate / 2), n_bands + 2)
    return np.interp(steps, mel_slaney(fine), fine)  # the formula, read backwards


def triangles(n_bands, n_fft=2048):
    """The filters of height 1 over the bins of the spectrum, [n_bands, 1 + n_fft / 2]."""
    left, middle, right = (corners(n_bands)[i : n_bands + i, None] for i in range(3))
    bins = np.arange(1 + n_fft // 2) * rate / n_fft  # Hz of each bin
    up, down = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return np.maximum(0, np.minimum(up, down))


for n_bands in (12, 128):
    kit = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=n_bands, norm=None)
    agree(f"filter bank of {n_bands}", lambda n=n_bands: triangles(n), kit, tolerance=1e-4)

# %% tags=["solution", "report"]
# The filters' triangles over the bins of the Fourier transform.
bins = np.arange(1025) * rate / 2048
peaks = corners(12)[1:-1]
figure, ax = plt.subplots(figsize=(9, 2.8), layout="constrained")
for number, triangle in enumerate(triangles(12)):
    ax.plot(bins, triangle, color=plots.COLOURS[number % 2])
first_gap, *_, last_gap = np.diff(peaks)
title = f"12 bands: the first peaks are {first_gap:.0f} Hz apart, the last {last_gap:.0f} Hz"
ax.set(title=title, xlabel="frequency (Hz)", ylabel="weight")
figure.set_label(f"{title}. Triangles of height 1, narrow in the bass and wide in the treble.")
record.show(figure, "filter_bank", caption="A mel filter bank of 12 bands, as the lab's has 128.")



# %% tags=["solution", "report"]
# The two pairs in every unit; a band of the 128 is a step of the lab's pictures.
def steps_between(low, high):
    """How far two tones are apart."""
    centres = features.mel_frequencies()
    return {
        "Hz": high - low,
        "semitones": 12 * np.log2(high / low),
        "mel (HTK)": mel_htk(high) - mel_htk(low),
        "bands of 128": np.interp(high, centres, range(128)) - np.interp(low, centres, range(128)),
    }


pairs = ((200, 300), (5000, 5100))
far = pd.DataFrame({f"{a} and {b} Hz": steps_between(a, b) for a, b in pairs}).T
show_table(far, 2, caption="Two pairs of tones 100 Hz apart, in four units.")

# %% tags=["told", "report"]
# How many of the 128 bands 100 Hz are worth, low and high.
low, high = far["bands of 128"]
tell(
    "**Verdict.** Between 200 and 300 Hz lie {low:.1f} of the lab's 128 bands, between 5000 and "
    "5100 Hz {high:.1f}: a step of 100 Hz is drawn about as large as it sounds. Spaced evenly in "
    "Hz, it would be {even:.1f} bands everywhere.",
    low=low, high=high, even=100 / (rate / 2 / 128),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Why for music?** Most of what tells melodies, chords and instruments apart lies below 4 kHz, and there the scale has most of its bands: the picture is small (128 rows in place of 1025) and its rows
# are spent where ears, and composers, spend theirs. A melody that is moved up keeps nearly the same shape above 1 kHz. Equal steps also suit a CNN, whose filters look for the same pattern at every height.
#
# **What it loses.** *Fine pitch in the treble:* tones that fall into one band are one row. *Exact pitch in the bass:* the scale is even in Hz there, not in semitones, so an octave is no constant step, unlike in a
# chromagram. *The phase*, with the power; and the sound itself cannot be had back, only guessed (the explorer at the end does). And the experiment was made with single tones and five listeners; how one asks, even in
# which order the tones come, changes the curve (Greenwood 1997), which is why there is more than one formula. For transcription one takes semitones (constant Q) instead; for genre the mel scale does.

# %% [markdown]
# ## 2α · How many time steps, and is an LSTM efficient on them?
#
# > **Handout.** *Τυπώστε τις διαστάσεις των φασματογραμμάτων. Πόσα χρονικά βήματα έχουν; Είναι αποδοτικό να
# > εκπαιδευτεί ένα LSTM σε αυτά; Γιατί;* Print the shapes. How many time steps are there? Is an LSTM efficient on
# > them? Why?
#
# To a recurrent network the spectrogram is a sequence of T steps with 128 numbers each.

# %% tags=["solution"]
n_full = max(array.shape[1] for array in mel.values())
for genre, array in mel.items():
    duration = array.shape[1] * features.HOP_LENGTH / rate
    print(f"{genre}: {array.shape[0]} bands x {array.shape[1]} time steps ({duration:.1f} s)")

# The same clips with one column per beat (step 2β).
beat_tracks = folders.read_clips(root / folders.GENRE_BEAT, "train").set_index("id")
beat_fused = {genre: read_array(beat_tracks.loc[clip, "path"]) for genre, clip in ids.items()}
n_beat = max(array.shape[1] for array in beat_fused.values())
print(f"one column per beat: {n_beat} time steps at most")

# %% [markdown]
# ### First reason: one step after the other
#
# ```text
# frame 1        frame 2        frame 3                 frame T
#    |              |              |                       |
# [ LSTM ] -c,h> [ LSTM ] -c,h> [ LSTM ] -c,h>  ...  [ LSTM ] --> output at the last step
# ```
#
# Step t needs the state (c, h) of step t - 1: a thousand steps are a thousand small operations one after the other,
# however many cores or GPU units wait. (A convolution does all frames at once.) We time one training step, forward
# and backward, for three ways to run a bidirectional LSTM on the same four clips:
#
# - `equal`: `nn.LSTM`, as if all clips were equally long;
# - `packed`: `nn.LSTM` on a *packed* batch, PyTorch's form for clips of different lengths, which skips their padding;
# - `kit`: the kit's `LSTMBackbone` for different lengths (notebook 05 shows how, and that it gives what `packed`
#   gives).
#
# **Predict.** A full clip has some 15 to 25 times as many steps as one per beat. How many times as long will a
# training step take, for each of the three?
#
# <details><summary>What to expect, and why</summary>
#
# Somewhat less than the ratio of the steps for `equal` and `kit`: each call has a fixed cost that does not depend on
# T (starting, summing up, gathering gradients), which weighs more on a short clip. And much *more* than it for
# `packed` on a CPU: PyTorch's backward pass through a packed batch makes room for the whole sequence again at every
# step, so its work grows with T times T.
#
# </details>


# %% tags=["solution"]
def make_forward(kind, n_features):
    """A function of x [B, T, F] and lengths [B] that gives the mean output [B, 2H]."""
    seed_everything(seed)
    if kind == "kit":
        return models.LSTMBackbone(n_features, lstm_hidden_size, dropout=0.0).to(compute)
    lstm = nn.LSTM(n_features, lstm_hidden_size, batch_first=True, bidirectional=True).to(compute)
    if kind == "equal":
        return lambda x, lengths: lstm(x)[0].mean(1)

    def packed(x, lengths):
        steps, _ = lstm(pack_padded_sequence(x, lengths.cpu(), batch_first=True))
        return pad_packed_sequence(steps, batch_first=True)[0].mean(1)

    return packed


# %% tags=["solution"]
def seconds_per_step(kind, n_frames, n_features=128, repeats=9):
    """Median time of forward and backward on four clips of slightly different lengths."""
    forward = make_forward(kind, n_features)
    x = torch.randn(4, n_frames, n_features, device=compute)
    lengths = n_frames - torch.arange(4, device=compute)
    model = forward if kind == "kit" else nn.Identity()
    times = []
    with threads_for(model, compute):  # the kit's LSTM runs as in `train`
        for _ in range(repeats):
            begin = time.perf_counter()
            forward(x, lengths).sum().backward()
            if compute.type == "cuda":
                torch.cuda.synchronize()  # else only the launch would be timed
            times.append(time.perf_counter() - begin)
    return float(np.median(times))


# %% tags=["solution", "report"]
# In milliseconds; packed full clips once only, for they take seconds.
timed = {}
for kind, repeats in (("equal", 9), ("packed", 1), ("kit", 9)):
    per_beat = seconds_per_step(kind, n_beat)
    full = seconds_per_step(kind, n_full, repeats=repeats)
    timed[kind] = {f"T = {n_beat} (ms)": 1000 * per_beat, f"T = {n_full} (ms)": 1000 * full,
                   "times as long": full / per_beat}  # fmt: skip
beat_time, full_time, ratio = timed["kit"].values()
caption = (
    "A training step of an LSTM on four clips: `nn.LSTM` on equal lengths, packed `nn.LSTM`, and "
    "the kit's."
)
show_table(pd.DataFrame(timed).T, digits=1, caption=caption)
tell(
    "For {more:.1f} times as many frames a training step takes **{longer:.1f} times** as long with "
    "the kit's LSTM, and {packed:.0f} times with a packed `nn.LSTM` (on {device}).",
    more=n_full / n_beat, longer=ratio, packed=timed["packed"]["times as long"],
    device=str(compute),
)  # fmt: skip

# %% [markdown]
# ### Second reason: memory
#
# Training goes back through all steps (*back-propagation through time*), so everything that a step computed must be
# kept until then: four gates, the cell and the output, at least $6H$ numbers per step, clip and direction. PyTorch
# tells what it keeps:


# %%
def kept_mib(n_frames, n_clips=4):
    """MiB that an LSTM keeps for its backward pass."""
    sizes = {}

    def note_size(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()  # each piece of memory once
        return tensor

    forward = make_forward("equal", 128)
    x = torch.randn(n_clips, n_frames, 128, device=compute)
    with torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor):
        forward(x, None)
    return sum(sizes.values()) / 2**20


for n_frames in (n_beat, n_full):
    n_values = 4 * n_frames * 2 * 6 * lstm_hidden_size  # clips, steps, directions, 6H
    least = 4 * n_values / 2**20  # a float32 has 4 bytes
    print(f"T = {n_frames}: {kept_mib(n_frames):.1f} MiB kept for four clips "
          f"(gates, cells and outputs alone: {least:.1f} MiB)")  # fmt: skip

# %% [markdown]
# ### Third reason: vanishing gradients
#
# What can the network learn about the beginning of a clip from its output at the end? The cell state $c_t$ carries
# what is remembered. The **[forget gate](../docs/glossary.md#forget-gate)** $f_t$, between 0 and 1, says how much of it is kept:
#
# $$c_t = f_t \cdot c_{t-1} + i_t \cdot g_t, \qquad\text{so along the cell}\qquad
#   \frac{\partial c_T}{\partial c_t} \approx f_{t+1} \cdot f_{t+2} \cdot \dots \cdot f_T$$
#
# A product of many numbers below 1: the gradient of early frames [vanishes](../docs/glossary.md#vanishing-gradient).
# How fast depends on the gates.

# %% [markdown]
# ### Exercise 2.1 · how long does a gate remember?
#
# A forget gate is open by `gate` at every step. After how many steps is less than 1 % left?


# %% tags=["exercise"]
def check_steps_until_forgotten(function):
    """Multiplies the gates out, one by one, and compares."""
    if function(0.5) is None:
        print("not written yet")
        return
    for gate in (0.1, 0.5, 0.73, 0.95):
        left, steps = 1.0, 0
        while left >= 0.01:
            left, steps = left * gate, steps + 1
        got = function(gate)
        assert got == steps, f"a gate of {gate}: {steps} steps, your answer is {got}"
    print("right: for example 7 steps for a gate of 0.5, and 90 for 0.95")


def my_steps_until_forgotten(gate):
    """The smallest number of steps after which less than 1 % is left."""
    ...


check_steps_until_forgotten(my_steps_until_forgotten)


# %% tags=["solution", "folded"]
def steps_until_forgotten(gate):
    """The smallest n with gate ** n < 0.01."""
    return int(np.floor(np.log(0.01) / np.log(gate))) + 1


check_steps_until_forgotten(steps_until_forgotten)

# %% [markdown]
# ### 2α · The influence of a frame
#
# Now the real thing: an untrained LSTM reads the first of our clips, and we ask how strongly a summary of its outputs
# depends on each frame (the length of the gradient with respect to that frame). Four times the summary is the last
# output, with different forget biases: the bias is added before the sigmoid, so 0 opens the gate to 0.50, 1 to 0.73,
# 2 to 0.88, 3 to 0.95. Once it is the mean over all outputs, as in notebook 05.
#
# **Predict.** PyTorch begins with biases near 0. How many frames will the last output hear? Does the mean over all
# outputs cure it?
#
# <details><summary>What to expect, and why</summary>
#
# By exercise 2.1: 7 for a gate of 0.50, then 15, 37 and 90. In truth some more, for the gates vary around these
# values, the slowest unit lasts longest, and outputs are fed back. With the mean, *every* frame counts: but look
# closely why. Each frame reaches the mean through its *own* output. The influence of a frame on an output ten frames
# later is as small as before. So the model collects short impressions and averages them; it does not connect distant
# frames.
#
# </details>


# %% tags=["solution"]
def influence(frames, summary, forget_bias=None):
    """How strongly a summary of an LSTM's outputs [T, H] depends on each frame of [T, 128]: [T]."""
    seed_everything(seed)
    lstm = nn.LSTM(frames.shape[1], lstm_hidden_size)
    if forget_bias is not None:
        forget = slice(lstm_hidden_size, 2 * lstm_hidden_size)  # PyTorch's order: i, f, g, o
        lstm.bias_ih_l0.data[forget] = forget_bias
        lstm.bias_hh_l0.data[forget] = 0  # there are two biases, which are added
    x = frames.clone().requires_grad_()
    outputs, _ = lstm(x)  # [T, H]
    summary(outputs).sum().backward()
    return x.grad.norm(dim=1).numpy()


def last(outputs):
    """The output at the last step: [T, H] -> [H]."""
    return outputs[-1]


def mean(outputs):
    """The mean over all steps: [T, H] -> [H]."""
    return outputs.mean(0)


# %% tags=["solution", "appendix"]
# The clip with mean 0 and deviation 1 in each band, as networks get it (step 4): [T, 128].
bands = mel[one]
scaled = (bands - bands.mean(1, keepdims=True)) / (bands.std(1, keepdims=True) + 1e-6)
frames = torch.from_numpy(scaled.T.copy())
found = {"last output, as PyTorch begins": influence(frames, last)}
for bias in (1, 2, 3):
    found[f"last output, forget bias {bias}"] = influence(frames, last, bias)
found["mean of all outputs"] = influence(frames, mean)
reach = {name: lengths[::-1] / lengths.max() for name, lengths in found.items()}
drawn = plots.curves(
    {name: values[:100] for name, values in reach.items()},
    "How far back an untrained LSTM listens: the gates decide", "frames before the output",
    "gradient, relative", {"1 %": 0.01}, yscale="log", ylim=(1e-4, 2),
)  # fmt: skip
caption = "How strongly the output of an untrained LSTM depends on each frame."
record.show(drawn, "gradient_reach", caption=caption)

# %% tags=["told", "appendix"]
# The curves in numbers; and what a frame still means to an output that comes later.
enough = {name: int((values >= 0.01).sum()) for name, values in reach.items()}
at_the_end = reach["last output, as PyTorch begins"]
tell(
    "Frames with at least 1 % of the largest gradient: {last} as PyTorch begins, {one}, {two} and "
    "{three} with a forget bias of 1, 2 and 3. With the mean over all outputs, {mean} of {n_full}: "
    "but only because each frame has an output of its own. On the output 10 frames later, a frame "
    "has {ten:.1f} % of the influence that it has on its own.",
    last=enough["last output, as PyTorch begins"], one=enough["last output, forget bias 1"],
    two=enough["last output, forget bias 2"], three=enough["last output, forget bias 3"],
    mean=enough["mean of all outputs"], n_full=n_full,
    ten=float(100 * at_the_end[min(10, len(at_the_end) - 1)] / at_the_end[0]),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **No, an LSTM is not efficient on full spectrograms**, for three reasons:
#
# 1. *Time.* The steps are sequential. Only the clips of a batch, and the two directions, run side by side.
# 2. *Memory.* Back-propagation through time keeps every gate of every step.
# 3. *Gradients.* As PyTorch begins, a frame is forgotten within half a second. This is a matter of where training
#    *starts*, no law: Hochreiter and Schmidhuber (1997) write in their abstract that an LSTM "can learn to bridge
#    minimal time lags in excess of 1000 discrete-time steps"; their cell had no forget gate, as if it were always
#    open. A forget bias of 1 to 3 goes some of the way back, and training can move the gates. Mean pooling does not
#    cure it: it lets every frame vote, and connects none with a distant one.
#
# In addition, neighbouring frames hardly differ: at 23 ms, most steps repeat what the one before has said.
#
# **Efficient is not the same as accurate.** None of this says that the full clip is the *worse* input. It holds all
# that one frame per beat holds, and more. Which of the two recognises genres better is measured in notebook 06 (the
# first comparison), not concluded here.

# %% tags=["told", "report"]
# From this run's own times.
tell(
    "**Verdict.** {n_full} time steps: possible, not efficient. Beside one column per beat "
    "({n_beat} steps), a training step takes {longer:.1f} times as long with the kit's LSTM, and "
    "{packed:.1f} times with a packed `nn.LSTM`.",
    n_full=n_full, n_beat=n_beat, longer=ratio, packed=timed["packed"]["times as long"],
)  # fmt: skip

# %% [markdown]
# ## 2β · The same with one frame per beat
#
# > **Handout.** *Επαναλάβετε το βήμα 1 για τα φασματογράμματα που είναι συγχρονισμένα στους παλμούς
# > (beat-synchronous). Τι διαφορές βλέπετε;* Repeat step 1 on the beat-synchronous spectrograms and comment on the
# > differences.
#
# Musical events tend to change on the beat, so a beat is a natural unit. All frames between two neighbouring beats
# become one column: in each band the *median* of their power, then decibels.
#
# ```text
#            beat 0        beat 1        beat 2       beat B-1
# [ frames ... | ... frames ... | ... frames ... |  ...  | frames ... ]     [128, T]
#  column 0    |   column 1     |    column 2    |       |  column B        [128, B + 1]
# ```
#
# Mind the ends: the first column is what lies *before* beat 0, the last one what comes after the last beat.


# %% tags=["solution"]
def beats_of(genre):
    """Beat times of the clip in seconds: those that are stored, else estimated from the mel."""
    stored = folders.beat_times(root, ids[genre])
    return features.estimate_beats(mel[genre]) if stored is None else stored


def plain_between_beats(power, beats):
    """The median of each band between the beats: [128, T] and beat frames [B] -> [128, B + 1]."""
    bounds = sorted({0, *beats, power.shape[1]})
    columns = [np.median(power[:, a:b], axis=1) for a, b in pairwise(bounds)]
    return np.stack(columns, axis=1)


beats = {genre: beats_of(genre) for genre in ids}
beat_frames = librosa.time_to_frames(beats[one], sr=rate, hop_length=512)
power = 10 ** (mel[one] / 10)
own = plain_between_beats(power, beat_frames)
agree("median between beats", lambda: own, lambda: features.between_beats(power, beat_frames))

# %% [markdown]
# The beat folders hold the result, so from here on we read it. Step 1 again, on the same two clips: read, take rows
# 0-127, draw. The ticks on the axis are beats, on the demo set every tenth of them: column 5 stands between beat 4
# and beat 5.

# %% tags=["solution", "report"]
beat_mel = {genre: array[: features.N_MELS] for genre, array in beat_fused.items()}
pictures = {titles[genre]: {"beat mel": array} for genre, array in beat_mel.items()}
drawn = plots.spectrograms(pictures)
caption = "Beat-synchronous mel spectrograms of the two clips."
record.show(drawn, "mel_beat", caption=caption)

# %% [markdown]
# Where are these beats in time? The lab's folders do not say. The demo set, and what you build from your own music,
# keep the beat times that the features were made with; for other data they are estimated anew from the mel spectrogram,
# which need not find the same ones.

# %%
# One clip with its beats, ten seconds of it.
stored = folders.beat_times(root, ids[one]) is not None
source = "stored with the clip" if stored else "estimated from the mel"
inside = beats[one][beats[one] <= 10]
title = f"{titles[one]}: {len(inside)} beats in 10 s ({source})"
drawn = plots.spectrograms({title: {"mel": mel[one][:, : 10 * rate // 512]}})
drawn.set_figwidth(9)
for number, at in enumerate(inside):
    drawn.axes[0].axvline(at, color="white", linewidth=1.2, linestyle="--")
    drawn.axes[0].annotate(
        f"{number} ", (at, 0.94), xycoords=("data", "axes fraction"), color="w", ha="right"
    )
record.show(drawn, "beats_in_time")

# %% [markdown]
# ### Exercise 2.2 · tempo
#
# How many beats per minute are these? Counting columns and dividing by 30 seconds is wrong as soon as a beat is
# missed. Take the *median* distance between neighbouring beats.


# %% tags=["exercise"]
def check_tempo(function):
    """Asks for the tempo of beats half a second apart, with and without gaps."""
    even = 1.0 + 0.5 * np.arange(40)
    if function(even) is None:
        print("not written yet")
        return
    assert function(even) == 120, f"beats every 0.5 s are 120 a minute, you say {function(even)}"
    gaps = np.delete(even, [7, 20, 31])
    assert function(gaps) == 120, f"with three beats missing still 120, you say {function(gaps)}"
    assert np.isnan(function(even[:1])), "a single beat has no tempo: answer np.nan"
    print("right: a few missed beats do not change the tempo")


def my_tempo(times):
    """Beats per minute from beat times [B] in seconds; NaN for fewer than two."""
    ...


check_tempo(my_tempo)


# %% tags=["solution", "folded"]
def tempo(times):
    """Beats per minute from beat times [B] in seconds; NaN for fewer than two."""
    return 60 / np.median(np.diff(times)) if len(times) > 1 else np.nan


check_tempo(tempo)

# %% [markdown]
# ### 2β · What has changed


# %% tags=["solution", "report"]
# A row per clip: what one column per beat changes.
def compare_forms(genre):
    """Sizes, tempo, and how much the level changes from one column to the next."""
    full, beat = mel[genre], beat_mel[genre]
    return {
        "frames": full.shape[1],
        "beat columns": beat.shape[1],
        "beats per minute": tempo(beats[genre]),
        "change per frame (dB)": np.abs(np.diff(full)).mean(),
        "change per beat column (dB)": np.abs(np.diff(beat)).mean(),
    }


forms = {titles[genre]: compare_forms(genre) for genre in ids}
caption = (
    "The two clips, full and beat-synchronous; beats per minute: from the median gap between beats."
)
show_table(pd.DataFrame.from_dict(forms, orient="index"), digits=1, caption=caption)

# %% [markdown] tags=["solution"]
# **Differences to step 1.** The sequence is short enough for an LSTM, in time per step and for its gradients. What
# lasts (held tones, chords, the balance of bass and treble) stays. What is shorter than half a beat goes: a median
# keeps what sounds most of the time and drops single drum hits, fast runs, the attack of each note. Neighbouring
# columns usually differ more than neighbouring frames: each step tells more that is new. The *time axis* changes its
# meaning, from seconds to beats: the same song played faster gives almost the same picture, and the tempo is left
# only in the number of columns. Levels move, because 0 dB is now the loudest *median*, no longer the loudest moment.
# And everything depends on the beat tracker: where it errs, or where the music has no steady beat, columns mix what
# does not belong together.
#
# **On the demo set** (Rock 1441, Post-Punk 1016): Rock's vertical lines, its drums, are gone, and so are the slides
# of the voice; the blocks of its chords now stand side by side and are easier to see than before. Post-Punk has more
# columns, for it is faster; its one chord remains a set of straight lines. From beat 62 on every fourth column is
# dark: one beat of each bar has a rest that lasts longer than half a beat. Shorter rests (look for them in step 1)
# the median does not show.

# %% [markdown] tags=["extra"]
# ### 2β · Extra: where a beat tracker errs
#
# For these two clips the tempo agrees with the score to within a frame. (A beat lasts a whole number of frames of 23
# ms, so a tempo near 170 is known in steps of about 11 only.) Is it always so? The demo set knows the true tempo of
# each clip.
#
# **Predict.** When a tracker is wrong, by which factor will it usually be?
#
# <details><summary>What to expect, and why</summary>
#
# By two. A drum pattern repeats at several speeds at once: every beat, every second beat, every half beat. Which of
# these one taps is nearly a matter of taste. This is called an *octave error*, by analogy with pitch. In the
# beat-synchronous picture it doubles or halves the number of columns.
#
# </details>


# %% tags=["extra"]
def tempo_ratio(clip, genre):
    """Tracked tempo over the true one."""
    return tempo(folders.beat_times(root, clip)) / score_of(clip, genre).tempo


if folders.is_demo_set(root):
    ratios = np.array([tempo_ratio(clip, genre) for clip, genre in tracks["genre"].items()])
    for name, factor in (("right", 1), ("twice as fast", 2), ("half as fast", 0.5)):
        share = np.mean(np.abs(ratios / factor - 1) < 0.06)
        print(f"{name}: {100 * share:.0f} % of {len(ratios)} clips")
else:
    print("these data come without a score")

# %% [markdown]
# ## 3 · Chromagrams
#
# > **Handout.** *Επαναλάβετε τα βήματα 1 και 2 για τα χρωμογράμματα (πλήρη και συγχρονισμένα στους παλμούς). Τι
# > παρατηρείτε;* Repeat steps 1 and 2 on the chromagrams, full and beat-synchronous, and comment.
#
# Rows 128-139 of the fused array: [chroma](../docs/glossary.md#chroma). Every frequency is folded into one octave:
# all C's, low and high, count for the pitch class C, and so on for the 12 semitones (exercise 1.1). Melody and
# harmony remain; octave and loudness are gone, and most of the instrument's sound. Not all of it: overtones leak into
# other classes, as the toy note has shown.
#
# **Predict.** You have heard the clips. Whose chromagram changes in blocks, whose stays the same? Where will the
# drums be?
#
# <details><summary>What to expect, and why</summary>
#
# Chords that change make blocks; one held chord makes straight lines. Drums have no pitch: they light up all classes
# for a moment, as a grey vertical haze.
#
# </details>

# %% tags=["solution", "appendix"]
chroma = {genre: array[features.N_MELS :] for genre, array in fused.items()}
beat_chroma = {genre: array[features.N_MELS :] for genre, array in beat_fused.items()}
pictures = {titles[genre]: {"chroma": array} for genre, array in chroma.items()}
drawn = plots.spectrograms(pictures)
record.show(drawn, "chroma_full", caption="Chromagrams of the two clips.")

# %% tags=["solution", "appendix"]
pitches = pd.Index(plots.PITCHES)
pitch_use = {titles[genre]: pd.Series(c.mean(1), pitches) for genre, c in chroma.items()}
title = "Which pitch classes the clips use"
drawn = plots.bars(pitch_use, title, "pitch class", "mean strength (0-1)")
record.show(drawn, "pitch_profiles", caption="Mean strength of each of the 12 pitch classes.")

# %% [markdown]
# ### 3 · Time steps, and one frame per beat
#
# Step 2 on chromagrams: the number of steps is the same as before, only each step has 12 numbers instead of 128.
#
# **Predict.** 128 numbers per frame become 12. How much faster is an LSTM: 10 times, 3 times, 1.5 times?
#
# <details><summary>What to expect, and why</summary>
#
# Little. In each step an LSTM multiplies the frame *and its own last output* with weights: $4H (F + H)$ products.
# With $H = 64$, going from $F = 128$ to 12 leaves $76/192$ of them, 40 %. And the frames' part can be done for all
# steps at once before the loop begins, so it was cheap already; what is slow is the loop, and that is as long as
# before.
#
# </details>

# %% tags=["solution", "report"]
# The same LSTM on the same number of steps, with 12 inputs instead of 128.
chroma_time = 1000 * seconds_per_step("kit", n_full, features.N_CHROMA)
tell(
    "A training step on chromagrams (12 × {n_full}) takes {chroma_ms:.0f} ms, on mel spectrograms "
    "(128 × {n_full}) {mel_ms:.0f} ms: {numbers:.0%} of the numbers, {share:.0%} of the time. "
    "On mel with fewer *steps*, one per beat, it takes {by_beats:.0%} of the time.",
    n_full=n_full, chroma_ms=chroma_time, mel_ms=full_time, share=chroma_time / full_time,
    numbers=features.N_CHROMA / features.N_MELS, by_beats=1 / ratio,
)  # fmt: skip

# %% [markdown]
# All four forms side by side; the last row is new. Each kind of picture has one colour scale, so that equal colours
# mean equal values.

# %% tags=["solution", "report"]
# One column per genre, one row per form.
grid = {
    titles[genre]: {
        "mel": mel[genre], "beat mel": beat_mel[genre],
        "chroma": chroma[genre], "beat chroma": beat_chroma[genre],
    }
    for genre in ids
}  # fmt: skip
caption = "The four forms of the two clips side by side."
record.show(plots.spectrograms(grid), "four_forms", caption=caption)


# %% tags=["solution"]
def describe_chroma(clip):
    """How full and how steady a chromagram [12, T] is."""
    leads = np.bincount(clip.argmax(0), minlength=12) / clip.shape[1]  # share of the columns
    unit = clip / (np.linalg.norm(clip, axis=0) + 1e-9)  # every column has length 1
    return {
        "strongest class of a column": clip.max(0).mean(),
        "mean of all classes": clip.mean(),
        "likeness of neighbouring columns (cosine)": (unit[:, 1:] * unit[:, :-1]).sum(0).mean(),
        "classes that lead in 5 % of the columns": int((leads >= 0.05).sum()),
    }


by_form = {
    f"{genre}, {form}": describe_chroma(clips[genre])
    for genre in ids for form, clips in (("full", chroma), ("beat", beat_chroma))
}  # fmt: skip
table = pd.DataFrame.from_dict(by_form, orient="index")
show_table(table, digits=2)

# %% tags=["told", "report"]
# How many pitch classes take turns in being the strongest, from beat to beat.
leading = table["classes that lead in 5 % of the columns"]
x, y = int(leading[f"{one}, beat"]), int(leading[f"{other}, beat"])
tell(
    "**Verdict.** In {more}, {many} pitch classes take turns as the strongest of a beat (in at "
    "least 5 % of them each), in {less} {few}. This counts the strongest class alone: a hint that "
    "{more} moves more in harmony, no proof." if x != y else
    "**Verdict.** In {more} and in {less} {few} pitch classes each take turns as the strongest of "
    "a beat (in at least 5 % of them): by this the two cannot be told apart.",
    more=one if x > y else other, less=other if x > y else one, many=max(x, y), few=min(x, y),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What chromagrams show.** Bright horizontal stretches are notes or chords that are held; where they move in blocks,
# the harmony changes. Drums and noise have no pitch: they light up many classes at once, weakly and without order.
# The strongest class is 1 in every full frame (first row of the table): each frame was scaled by itself, so a quiet
# frame looks as strong as a loud one. Per beat, the short notes between chords vanish, and what remains is closer to
# the chords that a musician would write down. For genre, much of what tells is
# *[timbre](../docs/glossary.md#timbre)*, of which chroma keeps little: expect less of it alone, and perhaps something
# of it beside mel (steps 5ε and 5ζ).
#
# **On the demo set** the two pieces happen to stand in the same key, D sharp major (E flat, a musician would write),
# and the pictures can be read. *Post-Punk* is three straight lines, D#, G and A#: the three notes of one chord, held
# for 30 seconds. The score calls it *drone*. *Rock* moves in blocks: for two bars D# and G are bright, then a bar
# with D and A, then one with G#, and after nine seconds it begins again. This is the score's *rock* loop, four bars
# of four beats at 108 beats per minute. The short streaks that climb through many rows are the voice as it slides.
# Same key, another song. But for telling the *genre* this is little: neighbouring genres use the same keys and
# chords.

# %% [markdown]
# ### Try it: two genres by eye and by ear
#
# Choose two clips, and one of the four pictures. Look first, and say what you expect to hear; then listen. Where the
# first two clips have no audio, the *Griffin-Lim* method looks for a sound whose mel spectrogram is the one you see.
# It is approximate, because a mel spectrogram holds neither phases nor the single tones inside a band. In JupyterLab,
# more clips of other genres come with `explorers.two_clips(record, ["Jazz", "Metal"])`.
#
# *Try* two clips of one genre, then two genres that you would confuse. *Look for* what the first pair shares and the
# second does not, and for the picture that shows it best. If only the ear can tell two clips apart, what has the
# picture lost?

# %%
explorers.two_clips(record)

# %% [markdown]
# ## Change this and run again
#
# Choose two genres of your own (the list is printed). Which of the four numbers tells them apart best? A value near
# 50 says: not at all; near 0 or 100: almost always.

# %%
print(textwrap.fill(", ".join(tracks["genre"].unique()), 80))
my_genre, your_genre = tracks["genre"].iloc[0], tracks["genre"].iloc[-1]  # or "Jazz", "Metal"
mine, yours = describe_genre(my_genre), describe_genre(your_genre)
pairs = pd.Series({what: f"{pairs_above(mine[what], yours[what]):.0f}" for what in mine})
print(f"pairs in which {my_genre} has more than {your_genre} (%):")
show_table(pairs.to_frame("pairs (%)"))

# %% [markdown]
# ## What we learned
#
# - Tones are horizontal, hits vertical, voices bend. Numbers and more clips say whether the eye was right.
# - A full clip is a long sequence. An LSTM pays for its steps in time, memory and vanishing gradients; beat columns
#   are far fewer.
# - Chroma keeps harmony and most of the melody, and drops most of the timbre.
#
# **Check yourself**
#
# <details><summary>Why is the highest value of a full mel spectrogram 0 dB, in every clip?</summary>
# The decibels are relative to the clip's own loudest value. How loud the recording was is lost, on purpose: it
# depends on the mastering, not on the genre (though some genres do tend to be mastered loud).
# </details>
#
# <details><summary>Why the median between beats, and not the mean?</summary>
# A single loud drum hit lifts the mean of its beat; the median does not notice it. The column then describes what
# sounds during the beat, not what happened once.
# </details>
#
# <details><summary>Transposing a song by one semitone: what happens to its mel spectrogram, and to its chromagram?</summary>
# The mel spectrogram moves up a little: by less than one band in the bass, by about two above 1 kHz. In the
# chromagram all rows rotate by one, and to a network that does not know about it this is another input.
# </details>
#
# <details><summary>A beat tracker taps twice as fast as you do. What changes in the beat-synchronous spectrogram?</summary>
# It has twice as many columns, each for half a beat. The picture is much the same, stretched; the number of columns,
# which carried the tempo, is wrong by two.
# </details>
#
# <details><summary>Mean pooling gives every frame a gradient. Why can the LSTM still not connect the beginning of a clip with its end?</summary>
# Each frame reaches the mean through its own output and a few after it. For the model to connect two frames, one
# output must depend on both; with forget gates near 0.5 that ends after some ten frames.
# </details>
#
# <details><summary>Why must a band be multiplied by its width before bands are summed?</summary>
# The filters are divided by their width, so a band holds power per Hz. A wide band stands for more Hz; without the
# factor the treble would be counted too little.
# </details>

# %% tags=["stored"]
record.save_values(clips=ids, time_steps={"full": n_full, "beat": n_beat}, lstm_time_ratio=ratio)
record.save_values(frames_reached=enough, chroma_time_ratio=full_time / chroma_time)
record.save_table("two_clips", numbers.reset_index(names="number"))
record.finish(key_metric=f"LSTM step at T = {n_full}: {ratio:.1f} times that at T = {n_beat}")
