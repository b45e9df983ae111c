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
# - to read a mel spectrogram: which sounds lie where, and in what two genres differ
# - what beat-synchronous averaging keeps and loses, and why an LSTM is glad of it
# - what a chromagram leaves out on purpose
#
# **Needs** the data only (notebook 00). **Leaves** the figures of steps 1 to 3, for the report.
#
# **Takes** about half a minute on the demo set with two CPU cores. With the lab's data: as long, for it looks at few clips.
#
# **The one insight:** two clips are an anecdote. What you see in them is a guess about two genres, to be checked on more clips.

# %% [markdown]
# ## Set-up

# %%
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

# %%
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import time

import librosa
import numpy as np
import pandas as pd
import torch

from helpers import features, folders, models, plots
from helpers.machinery.arrays import read_array
from helpers.machinery.process import pick_device, seed_everything, threads_for
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.records import open_record
from helpers.notebook.showing import (
    Sentence,
    play,
    show_lines,
    show_source,
    show_table,
    tell,
    tell_list,
)

notebook = "01_visualization"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0  # other clips are drawn with another seed
lstm_hidden_size = 64  # units of the LSTM whose training step is timed in 2α

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 1α · Two random lines of the training labels
#
# Each line of `train_labels.txt` names a file and its genre. We draw one line at random, and a second one among the lines
# of all other genres. The seed makes it the same draw each time.

# %% tags=["solution", "report"]
# All lines below the header, as (name, genre).
labels_file = root / folders.GENRE / "train_labels.txt"
rows = labels_file.read_text(encoding="utf-8").splitlines()[1:]
lines = [line.strip().split("\t") for line in rows if line.strip()]

random = np.random.default_rng(seed)
first = random.choice(lines)
second = random.choice([line for line in lines if line[1] != first[1]])
drawn = "\n".join(f"{name}   {genre}" for name, genre in (first, second))
show_lines(drawn, f"{folders.GENRE}/train_labels.txt")

# %% [markdown]
# ## 1β · Reading the two files
#
# The name in the label file is not always the name on disk, so we look the clip up by its id: what stands before the first
# dot (`read_clips` does this for all clips). The fused array has 140 rows. **Rows 0-127 are the mel spectrogram**: a
# row per [mel band](../docs/glossary.md#mel-band) from low to high, a column per frame of 23 ms, values in [decibels](../docs/glossary.md#decibel) below the clip's loudest value.

# %% tags=["solution", "report"]
tracks = folders.read_clips(root / folders.GENRE, "train").set_index("id")
ids = {str(genre): folders.clip_id(name) for name, genre in (first, second)}  # genre -> clip

fused = {genre: read_array(tracks.loc[clip, "path"]) for genre, clip in ids.items()}
mel = {genre: array[: features.N_MELS] for genre, array in fused.items()}
for genre, clip in ids.items():
    array = mel[genre]
    tell(
        "{genre}, clip {clip}: fused {fused}, mel {mel}, {low:.1f} to {high:.1f} dB",
        genre=genre, clip=clip, fused=str(fused[genre].shape), mel=str(array.shape),
        low=array.min(), high=array.max() + 0.0,
    )  # fmt: skip

# %% [markdown]
# ### Where the array comes from
#
# Somebody has computed it from sound: one short-time Fourier transform, whose power is summed into mel bands, the chroma
# beside it, and the beats that step 2β needs. The kit does it like this; the course's own files were made alike.

# %%
show_source(features.extract)

# %% [markdown]
# ### Listen
#
# A picture of a sound says more once you have heard it. The lab's data hold no audio; the demo set keeps it for some
# clips. Where those of 1α are not among them, others of the training folder are offered, with their pictures. Find in a
# picture what you hear, and the other way round (1γ says how to read it).

# %%
# Only the demo set has sound.
audible = [clip for clip in folders.audio_clips(root) if clip in tracks.index]
offered = [clip for clip in ids.values() if clip in audible] or audible[:2]
for clip in offered:
    print(f"clip {clip}: {tracks.loc[clip, 'genre']}")
    play(folders.audio_path(root, clip))
heard = {
    f"{tracks.loc[clip, 'genre']} (clip {clip})": read_array(tracks.loc[clip, "path"])
    for clip in offered
}
if heard:
    pictures = {title: array[: features.N_MELS] for title, array in heard.items()}
    record.show(plots.spectrograms(pictures), "listen")
else:
    print("these data come without audio")

# %% [markdown]
# ## 1γ · What the spectrograms show
#
# Frequency goes up (on the mel scale, which is finer for low tones, as our hearing is), time goes across, bright is loud.
# What to look for:
# - **horizontal lines**: tones that are held, with their overtones above them at equal distances in Hz
# - **vertical lines**: drum hits and plucked onsets, which are short and hold all frequencies at once
# - **a bright floor**: the bass; **a bright ceiling**: cymbals, hiss, distortion
# - **dark columns**: pauses; where none appear, the music is dense or compressed

# %% tags=["solution", "report"]
titles = {genre: f"{genre} (clip {clip})" for genre, clip in ids.items()}
drawn = plots.spectrograms({titles[genre]: array for genre, array in mel.items()})
caption = "Mel spectrograms of the two clips: frequency up, time across."
record.show(drawn, "mel_full", caption=caption)

# %% [markdown]
# Averaged over time, each clip becomes a curve: its level in every band.

# %% tags=["solution", "report"]
# One curve per clip.
frequencies = features.mel_frequencies()
averages = {titles[genre]: array.mean(1) for genre, array in mel.items()}
record.show(
    plots.average_spectra(averages, frequencies), "average_spectra",
    caption="Mean level per mel band of the two clips.",
)  # fmt: skip


# %% [markdown]
# The eye is easily persuaded, so we put numbers beside it. Shares of *power* do not depend on how loud a clip was recorded.
# Onsets are found where many bands grow at once.

# %% tags=["solution", "report"]
def describe(clip):
    """What a full mel spectrogram [128, T] in dB shows, as four numbers."""
    power = 10 ** (clip / 10)
    per_band, per_frame = power.mean(1) / power.mean(1).sum(), 10 * np.log10(power.sum(0))
    rate = {"sr": features.SAMPLE_RATE, "hop_length": features.HOP_LENGTH}
    seconds = clip.shape[1] * features.HOP_LENGTH / features.SAMPLE_RATE
    strength = librosa.onset.onset_strength(S=clip, **rate)
    onsets = librosa.onset.onset_detect(onset_envelope=strength, **rate)
    quiet, loud = np.percentile(per_frame, [10, 90])
    return {
        "bass: power below 250 Hz (%)": 100 * per_band[frequencies < 250].sum(),
        "treble: power above 2 kHz (%)": 100 * per_band[frequencies > 2000].sum(),
        "rhythm: onsets per second": len(onsets) / seconds,
        "dynamics: loud minus quiet frames (dB)": loud - quiet,
    }


numbers = pd.DataFrame({genre: describe(array) for genre, array in mel.items()})
show_table(numbers, digits=1, caption="Four numbers of the two clips.")

# %% tags=["solution", "report"]
# Each number in words, and where the average curves differ most.
one, other = numbers.columns
told = []
for what, row in numbers.iterrows():
    name, unit = what.split(": ")
    more, less = (one, other) if row[one] >= row[other] else (other, one)
    told.append(Sentence(
        "**{name}**: hardly differs ({unit}: {more} {x:.3g}, {less} {y:.3g})"
        if row[less] > 0.9 * row[more] else
        "**{name}**: {more} has more of it ({unit}: {more} {x:.3g}, {less} {y:.3g})",
        name=name, unit=unit, more=more, x=row[more], less=less, y=row[less],
    ))  # fmt: skip
gap = np.subtract(*averages.values())
widest = int(np.abs(gap).argmax())
tell("Of these two clips:")
tell_list(told)
tell(
    "The average curves are farthest apart near {frequency:.0f} Hz, where {louder} is {gap:.0f} dB "
    "louder in relation to its own loudest value.",
    frequency=frequencies[widest],
    louder=one if gap[widest] > 0 else other,
    gap=abs(gap[widest]),
)


# %% [markdown]
# ### Are these two clips typical?
#
# Two clips differ whatever their genres are. So we describe up to 20 clips of each of the two genres and ask: in how many of
# all pairs (one clip of each genre) does the comparison come out as above? 50 % is a coin toss.

# %%
def describe_genre(genre, n_clips=20):
    """The table of `describe` for some clips of a genre, a row per clip."""
    paths = tracks.loc[tracks["genre"] == genre, "path"]
    chosen = paths.sample(min(n_clips, len(paths)), random_state=seed)
    return pd.DataFrame([describe(read_array(path)[: features.N_MELS]) for path in chosen])


several = {genre: describe_genre(genre) for genre in ids}
rows = {}
for what in numbers.index:
    a, b = (several[genre][what].to_numpy() for genre in (one, other))
    sign = np.sign(numbers.loc[what, one] - numbers.loc[what, other])
    same = np.mean(np.sign(a[:, None] - b[None, :]) == sign)
    means = {f"{one}, mean": a.mean(), f"{other}, mean": b.mean()}
    rows[what] = means | {"pairs that agree (%)": 100 * same}
agreement = pd.DataFrame(rows).T
show_table(agreement, digits=1)

# %%
# The numbers in which the two clips are no exception.
reliable = agreement.index[agreement["pairs that agree (%)"] >= 75]
counted = [
    Sentence("{n} clips of {genre}", n=len(table), genre=genre) for genre, table in several.items()
]
tell(
    "Over {clips: and }, the two clips speak for their genres (at least three pairs in four agree) "
    "in: {numbers:; }." if len(reliable) == len(agreement) else
    "Over {clips: and }, the two clips speak for their genres (at least three pairs in four agree) "
    "in: {numbers:; }. The rest may well turn round with another pair of clips.",
    clips=counted, numbers=list(reliable) or ["none of the four numbers"],
)  # fmt: skip

# %% [markdown]
# ## 2α · How many time steps, and is an LSTM efficient on them?
#
# To a recurrent network the spectrogram is a sequence of T steps with 128 numbers each.

# %% tags=["solution"]
n_full = max(array.shape[1] for array in mel.values())
for genre, array in mel.items():
    duration = array.shape[1] * features.HOP_LENGTH / features.SAMPLE_RATE
    print(f"{genre}: {array.shape[0]} bands x {array.shape[1]} time steps ({duration:.1f} s)")

# %% [markdown]
# We measure instead of guessing: the time of one training step (forward, backward, update) of an LSTM on a batch of 8 clips, at the
# length of a full clip, and at the length of the same clip with one frame per beat (step 2β).

# %% tags=["solution", "report"]
beat_tracks = folders.read_clips(root / folders.GENRE_BEAT, "train").set_index("id")
beat_paths = {genre: beat_tracks.loc[clip, "path"] for genre, clip in ids.items()}
beat_fused = {genre: read_array(path) for genre, path in beat_paths.items()}
n_beat = max(array.shape[1] for array in beat_fused.values())


def seconds_per_step(n_frames, n_features=features.N_MELS, batch=8, repeats=5):
    """Median time of one training step of an LSTM classifier, after one step to warm up."""
    seed_everything(seed)
    model = models.Classifier(models.LSTMBackbone(n_features, lstm_hidden_size), 10).to(compute)
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(batch, n_frames, n_features), torch.zeros(batch, dtype=int)
    x, y, lengths = (t.to(compute) for t in (x, y, torch.full((batch,), n_frames)))
    times = []
    with threads_for(model, compute):  # as `train` does
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x, lengths), y).backward()
            optimizer.step()
            if compute.type == "cuda":
                torch.cuda.synchronize()  # else only the launch would be timed
            times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))


full_time, beat_time = seconds_per_step(n_full), seconds_per_step(n_beat)
tell(
    "One training step takes {full_ms:.1f} ms at T = {n_full} and {beat_ms:.1f} ms at T = {n_beat}:"
    " **{longer:.1f} times** as long for {more:.1f} times as many frames (on {device}).",
    full_ms=1000 * full_time, n_full=n_full, beat_ms=1000 * beat_time, n_beat=n_beat,
    longer=full_time / beat_time, more=n_full / n_beat, device=str(compute),
)  # fmt: skip


# %% [markdown] tags=["solution"]
# **No, an LSTM is not efficient on full spectrograms**, for two reasons:
#
# 1. *The steps are sequential.* Step t needs the state of step t-1, so a thousand steps are a thousand small operations one after
#    the other, however many cores or GPU units wait. Only the clips of a batch run side by side. (A convolution does all
#    frames at once.)
# 2. *[Vanishing gradients](../docs/glossary.md#vanishing-gradient).* What the first frames contribute to the state at the end has passed through every gate in between. Each one
#    multiplies the gradient by a factor that is usually below 1; over a thousand steps little is left to learn from. The gates were
#    invented against this, and an LSTM bridges tens of steps well, sometimes hundreds, hardly a thousand.
#
# In addition, neighbouring frames hardly differ: at 23 ms, most steps repeat what the one before has said.

# %% [markdown]
# The second reason can be seen. An untrained LSTM reads the first of our clips; we ask how strongly its output depends
# on each frame: the length of the gradient with respect to that frame. Once the output is taken at the last step, once it is
# the mean over all steps, as the model of notebook 05 has it.

# %% tags=["report"]
def gradient_per_frame(clip, pooling):
    """Length of the output's gradient at each frame, last frame first, relative to the largest."""
    seed_everything(seed)
    model = models.LSTMBackbone(
        len(clip), lstm_hidden_size, bidirectional=False, dropout=0.0, pooling=pooling
    )
    frames = (clip - clip.mean(1, keepdims=True)) / (clip.std(1, keepdims=True) + 1e-6)
    x = torch.from_numpy(frames.T.copy()).requires_grad_()
    model(x[None], torch.tensor([len(x)])).sum().backward()
    lengths = x.grad.norm(dim=1).flip(0).numpy()
    return lengths / lengths.max()


reach = {"output at the last step": gradient_per_frame(mel[one], "last"),
         "mean of all outputs": gradient_per_frame(mel[one], "mean")}  # fmt: skip
drawn = plots.gradient_reach(reach, "The last step hears the end of the clip only")
caption = "How strongly the output of an untrained LSTM depends on each frame."
record.show(drawn, "gradient_reach", caption=caption)
enough = {name: int((values >= 0.01).sum()) for name, values in reach.items()}
tell(
    "With the output at the last step, {last} of {n_full} frames get at least 1 % of the largest "
    "gradient; with the mean over all steps, {mean}. Training can stretch the first number, but "
    "starts from there.",
    last=enough["output at the last step"], n_full=n_full, mean=enough["mean of all outputs"],
)  # fmt: skip

# %% [markdown]
# ## 2β · The same with one frame per beat
#
# Beat-synchronous: the frames between two neighbouring beats are replaced by their median (of the power, then in dB). Musical events tend to
# change on the beat, so a beat is a natural unit. Step 1 again, on the same two clips: read, take rows 0-127, draw.

# %% tags=["solution", "report"]
beat_mel = {genre: array[: features.N_MELS] for genre, array in beat_fused.items()}
pictures = {titles[genre]: array for genre, array in beat_mel.items()}
drawn = plots.spectrograms(pictures, beat_synchronous=True)
caption = "Beat-synchronous mel spectrograms of the two clips."
record.show(drawn, "mel_beat", caption=caption)

# %% [markdown]
# Where are these beats in time? The folders do not say: the axis above can only count them. The demo set keeps the beat times
# that its features were made with; for other data they are estimated anew from the mel spectrogram, which need not find the same ones.

# %%
stored = folders.beat_times(root, ids[one])
beats = features.estimate_beats(mel[one]) if stored is None else stored
source = "estimated from the mel" if stored is None else "stored with the demo set"
drawn = plots.beats_on_spectrogram(mel[one], beats, titles[one], source)
record.show(drawn, "beats_in_time")


# %% tags=["solution"]
def compare_forms(full, beat):
    """What becomes of a clip's mel spectrogram [128, T] when it has one frame per beat."""
    seconds = full.shape[1] * features.HOP_LENGTH / features.SAMPLE_RATE
    return {
        "time steps, full": full.shape[1],
        "time steps, beat": beat.shape[1],
        "seconds per beat": seconds / beat.shape[1],
        "tempo, about (beats per minute)": 60 * beat.shape[1] / seconds,
        "change between frames, full (dB)": np.abs(np.diff(full)).mean(),
        "change between frames, beat (dB)": np.abs(np.diff(beat)).mean(),
        "mean level, beat minus full (dB)": beat.mean() - full.mean(),
        "average spectra: correlation": np.corrcoef(full.mean(1), beat.mean(1))[0, 1],
    }


forms = pd.DataFrame({genre: compare_forms(mel[genre], beat_mel[genre]) for genre in ids})
show_table(forms, digits=2)

# %% tags=["solution", "report"]
# The table in words, genre by genre.
shares = forms.loc["time steps, full"] / forms.loc["time steps, beat"]
louder = forms.loc["mean level, beat minus full (dB)"]
tell_list(
    Sentence(
        "**{genre}**: a frame now stands for {share:.0f} of the old ones. The average spectrum "
        "correlates with that of step 1 by {alike:.2f}; its level moved by {louder:+.1f} dB. From "
        "one frame to the next the level changes by {now:.1f} dB, before by {before:.1f} dB.",
        genre=genre, share=shares[genre], louder=louder[genre],
        alike=forms.loc["average spectra: correlation", genre],
        now=forms.loc["change between frames, beat (dB)", genre],
        before=forms.loc["change between frames, full (dB)", genre],
    )
    for genre in ids
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Differences to step 1.** The sequence is short enough for an LSTM, in time per step and for its gradients. What lasts (held
# tones, chords, the balance of bass and treble) stays. What is shorter than half a beat goes: a median keeps what sounds most of the
# time and drops single drum hits, fast runs, the attack of each note. The *time axis* changes its meaning, from seconds to beats: the same
# song played faster gives almost the same picture, and the tempo is left only in the number of frames. Levels move, because 0 dB is now the
# loudest *median*, no longer the loudest moment. And everything depends on the
# beat tracker: where it errs, or where the music has no steady beat, frames mix what does not belong together.

# %% [markdown]
# ## 3 · Chromagrams
#
# Rows 128-139 of the fused array: [chroma](../docs/glossary.md#chroma). Every frequency is folded into one octave: all C's, low and high, count for the pitch class C, and so on
# for the 12 semitones. Melody and harmony remain; instrument, octave and loudness are gone. First step 1: read and draw.

# %% tags=["solution", "report"]
chroma = {genre: array[features.N_MELS :] for genre, array in fused.items()}
beat_chroma = {genre: array[features.N_MELS :] for genre, array in beat_fused.items()}
pictures = {titles[genre]: array for genre, array in chroma.items()}
drawn = plots.spectrograms(pictures, "chroma")
record.show(drawn, "chroma_full", caption="Chromagrams of the two clips.")

# %% tags=["solution", "report"]
pitch_use = {titles[genre]: array.mean(1) for genre, array in chroma.items()}
drawn = plots.pitch_profiles(pitch_use, "Which pitch classes the clips use")
record.show(drawn, "pitch_profiles", caption="Mean strength of each of the 12 pitch classes.")

# %% [markdown]
# ### 3 · Time steps, and one frame per beat
#
# Then step 2: the number of steps is the same as before, only each step is smaller. Does that make an LSTM faster?

# %% tags=["solution", "report"]
# The same LSTM on the same number of steps, with 12 inputs instead of 128.
chroma_time = seconds_per_step(n_full, features.N_CHROMA)
tell(
    "A training step on chromagrams (12 x {n_full}) takes {chroma_ms:.1f} ms, on mel spectrograms "
    "(128 x {n_full}) {mel_ms:.1f} ms: {fewer:.1f} times fewer numbers make it {faster:.1f} times "
    "as fast. Fewer *steps*, one per beat, made it {by_beats:.1f} times as fast.",
    n_full=n_full, chroma_ms=1000 * chroma_time, mel_ms=1000 * full_time,
    fewer=features.N_MELS / features.N_CHROMA, faster=full_time / chroma_time,
    by_beats=full_time / beat_time,
)  # fmt: skip

# %% tags=["solution", "report"]
pictures = {titles[genre]: array for genre, array in beat_chroma.items()}
drawn = plots.spectrograms(pictures, "chroma", beat_synchronous=True)
caption = "Beat-synchronous chromagrams of the two clips."
record.show(drawn, "chroma_beat", caption=caption)


# %% tags=["solution"]
def describe_chroma(clip):
    """How concentrated and how steady a chromagram [12, T] is."""
    clip = clip.astype(float)
    unit, mean = clip / (np.linalg.norm(clip, axis=0) + 1e-9), clip.mean(1)
    return {
        "strength of the strongest class per frame": clip.max(0).mean(),
        "mean strength of all classes": mean.mean(),
        "share of the three strongest classes (%)": 100 * np.sort(mean)[-3:].sum() / mean.sum(),
        "likeness of neighbouring frames (cosine)": (unit[:, 1:] * unit[:, :-1]).sum(0).mean(),
    }


table = pd.DataFrame({
    f"{genre}, {form}": describe_chroma(clips[genre])
    for genre in ids for form, clips in (("full", chroma), ("beat", beat_chroma))
})  # fmt: skip
show_table(table, digits=2)

# %% tags=["solution", "report"]
# What the table says, in words.
share = table.loc["share of the three strongest classes (%)"]
like = table.loc["likeness of neighbouring frames (cosine)"]
tonal, diffuse = sorted(ids, key=lambda genre: share[f"{genre}, full"], reverse=True)
likeness = [
    Sentence("{genre} {x:.2f} to {y:.2f}", genre=g, x=like[f"{g}, full"], y=like[f"{g}, beat"])
    for g in ids
]
tell_list([
    Sentence(
        "The three strongest of the 12 classes hold {x:.0f} % of the strength in {tonal} and "
        "{y:.0f} % in {diffuse}; {chance:.0f} % would be no preference at all.",
        x=share[f"{tonal}, full"], tonal=tonal, y=share[f"{diffuse}, full"], diffuse=diffuse,
        chance=100 * 3 / 12,
    ),
    Sentence(
        "Likeness of neighbouring frames, from full to one per beat: {likeness}. The lower it is, "
        "the more each step tells that is new.", likeness=likeness,
    ),
])  # fmt: skip

# %% [markdown] tags=["solution"]
# **What chromagrams show.** Bright horizontal stretches are notes or chords that are held; where they move in blocks, the
# harmony changes. Drums and noise have no pitch: they light up many classes at once, weakly and without order. Where the strongest
# class is 1 in every full frame (first row of the table), each frame was scaled by itself, so a quiet frame looks as strong as a loud
# one. Per beat, the short notes between chords vanish, and what remains is closer to the chords that a musician would write down. For genre,
# much of what tells is *[timbre](../docs/glossary.md#timbre)*, which chroma does not have: expect less of it alone, and perhaps something of it beside mel
# (steps 5ε and 5ζ).

# %% [markdown]
# ## 3 · All four forms side by side
#
# Each kind of picture has one colour scale for both genres, so that equal colours mean equal values.

# %% tags=["report"]
# One column per genre, one row per form.
grid = {
    titles[genre]: {
        "mel": mel[genre], "beat mel": beat_mel[genre],
        "chroma": chroma[genre], "beat chroma": beat_chroma[genre],
    }
    for genre in ids
}  # fmt: skip
caption = "The four forms of the two clips side by side."
record.show(plots.feature_grid(grid), "four_forms", caption=caption)

# %% [markdown]
# ### Try it: two genres by eye and by ear
#
# In JupyterLab, choose two genres, a clip of each, and one of the four pictures (elsewhere one choice is shown). Look
# first, and say what you expect to hear; then listen. Where a clip has no audio, a button makes some: the *Griffin-Lim*
# method looks for a sound whose mel spectrogram is the one you see. It is approximate, because a mel spectrogram holds
# neither phases nor the single tones inside a band.
#
# *Try* two clips of one genre, then two genres that you would confuse. *Look for* what the first pair shares and the
# second does not, and for the picture that shows it best. If only the ear can tell two clips apart, what has the picture
# lost?

# %%
explorers.two_clips(record)

# %% [markdown]
# ## Change this and run again
#
# Choose two genres of your own (the list is printed). Which of the four numbers tells them apart best? A value near 50 says: not at
# all; near 0 or 100: almost always.

# %%
print(", ".join(tracks["genre"].unique()))
my_genres = tracks["genre"].iloc[0], tracks["genre"].iloc[-1]  # or for example "Jazz", "Metal"
mine, yours = (describe_genre(genre) for genre in my_genres)
larger = {w: 100 * np.mean(mine[w].to_numpy()[:, None] > yours[w].to_numpy()) for w in mine}
print(f"pairs in which {my_genres[0]} has more than {my_genres[1]} (%):")
show_table(pd.Series(larger).to_frame("pairs (%)"), digits=0)

# %% [markdown]
# ## What we learned
#
# - A mel spectrogram shows bass, treble, rhythm and dynamics at a glance; numbers and more clips say whether the glance was right.
# - A full clip is a long sequence. An LSTM pays for its steps in time and in vanishing gradients; frames per beat are far fewer.
# - Chroma keeps harmony and drops timbre.
#
# **Check yourself**
#
# <details><summary>Why is the highest value of a full mel spectrogram 0 dB, in every clip?</summary>
# The decibels are relative to the clip's own loudest value. How loud the recording was is lost, on purpose: it depends
# on the mastering, not on the genre (though some genres do tend to be mastered loud).
# </details>
#
# <details><summary>Why the median between beats, and not the mean?</summary>
# A single loud drum hit lifts the mean of its beat; the median does not notice it. The frame then describes what sounds
# during the beat, not what happened once.
# </details>
#
# <details><summary>Transposing a song by one semitone: what happens to its mel spectrogram, and to its chromagram?</summary>
# The mel spectrogram moves up a little: by less than one band in the bass, by about two above 1 kHz. In the chromagram all rows
# rotate by one, and to a network that does not know about it this is another input.
# </details>

# %%
ratio = full_time / beat_time
record.save_values(clips=ids, time_steps={"full": n_full, "beat": n_beat}, lstm_time_ratio=ratio)
record.save_values(frames_reached=enough, chroma_time_ratio=full_time / chroma_time)
record.save_table("two_clips", numbers.reset_index(names="number"))
record.finish(key_metric=f"LSTM step at T = {n_full}: {ratio:.1f} times that at T = {n_beat}")
