"""Rows of feature extraction: the kit's against librosa's functions one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed_measure import Context, Group, Turn, in_turns, ratio_of
from benchmarks.speed_table import AT_LEAST, Limit, Row, Stat, not_measured
from benchmarks.speed_worker import Side
from helpers.machinery.files import LabError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
N_DEMO_CLIPS = 2
SAMPLE_RATE, N_MELS = 22050, 128
LIMIT = Limit(AT_LEAST, 4)
WITHIN = {"mel": 1e-3, "chroma": 1e-3}  # dB, and of 0..1


# ---- the plain way -----------------------------------------------------------------------------


def librosa_features(audio: np.ndarray) -> dict[str, np.ndarray]:
    """Mel, chroma, beats, and both between beats, by librosa's own functions, as its manual has it.

    Mono audio at 22,050 Hz -> `mel` [128, T] in dB, `chroma` [12, T], `beats` (frames), `beat_mel`
    and `beat_chroma` with a column per stretch between beats.
    """
    import librosa

    mel = librosa.feature.melspectrogram(
        y=audio, sr=SAMPLE_RATE, n_fft=2048, hop_length=512, n_mels=N_MELS
    )
    chroma = librosa.feature.chroma_cqt(y=audio, sr=SAMPLE_RATE, hop_length=512)
    drums = librosa.effects.percussive(audio)
    _, beats = librosa.beat.beat_track(y=drums, sr=SAMPLE_RATE, hop_length=512)
    bounds = beats if len(beats) else np.zeros(1, dtype=int)
    beat_mel = librosa.util.sync(mel, bounds, aggregate=np.median)
    beat_chroma = librosa.util.sync(chroma, bounds, aggregate=np.median)
    return {
        "mel": librosa.power_to_db(mel, ref=np.max),
        "chroma": chroma,
        "beats": beats,
        "beat_mel": librosa.power_to_db(beat_mel, ref=np.max),
        "beat_chroma": beat_chroma,
    }


class PlainExtract(Side):
    """librosa, function after function, on the clips of a folder."""

    def __init__(self, folder: str) -> None:
        import librosa  # noqa: F401 (imported before the clock runs)

        self.clips = [np.load(path, allow_pickle=False) for path in clip_files(Path(folder))]

    def run(self, clip: int = 0, **how: Any) -> dict[str, np.ndarray]:
        """The features of one clip."""
        return librosa_features(self.clips[clip])

    def results(self, clip: int = 0, **how: Any) -> dict[str, np.ndarray]:
        """The same, to compare."""
        return self.run(clip)


# ---- the kit -----------------------------------------------------------------------------------


class KitExtract(Side):
    """`helpers.features.extract` on the clips of a folder."""

    def __init__(self, folder: str) -> None:
        import librosa  # noqa: F401 (imported before the clock runs)

        from helpers import features

        self.features = features
        self.clips = [np.load(path, allow_pickle=False) for path in clip_files(Path(folder))]

    def run(self, clip: int = 0, **how: Any) -> object:
        """The features of one clip."""
        return self.features.extract(self.clips[clip])

    def results(self, clip: int = 0, **how: Any) -> dict[str, np.ndarray]:
        """The same under the plain side's names."""
        found = self.features.extract(self.clips[clip])
        hop_seconds = self.features.HOP_LENGTH / SAMPLE_RATE
        return {
            "mel": found.full[:N_MELS],
            "chroma": found.full[N_MELS:],
            "beats": np.round(found.beat_times / hop_seconds).astype(int),
            "beat_mel": found.beat[:N_MELS],
            "beat_chroma": found.beat[N_MELS:],
        }


def clip_files(folder: Path) -> list[Path]:
    """The clips that the benchmark has put into a folder, in order."""
    return sorted(folder.glob("*.npy"))


# ---- clips -------------------------------------------------------------------------------------


def compose_clips(folder: Path, n_clips: int = N_DEMO_CLIPS) -> None:
    """Write the first clips of the demo set as arrays of samples, of different genres."""
    from demo_music.build import plan_clips
    from demo_music.styles import draw_factors, rate_affect
    from demo_music.synthesis import compose_clip

    folder.mkdir(parents=True)
    of_genres = {clip.genre: clip for clip in plan_clips()}
    for number, clip in enumerate(list(of_genres.values())[:: len(of_genres) // n_clips][:n_clips]):
        rng = clip.rng(0)
        factors = draw_factors(clip.genre, rng)
        rate_affect(factors, rng)  # as in the demo set: the raters come before the band
        np.save(folder / f"{number:03}.npy", compose_clip(factors, rng).astype(np.float32))


def decode_clips(audio: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Write the first 30 s of every audio file as samples; the names of those files, and of others.

    Raises LabError when there is nothing to decode.
    """
    from helpers.features import load_audio

    if not audio.is_dir():
        raise LabError(f"{audio}: no such folder; give --audio a folder of wav, flac, ogg or mp3")
    folder.mkdir(parents=True)
    names: list[str] = []
    broken: list[str] = []
    for path in sorted(path for path in audio.iterdir() if path.suffix.lower() in SUFFIXES):
        try:
            samples = load_audio(path)
        except LabError:
            broken.append(path.name)
            continue
        np.save(folder / f"{len(names):03}.npy", samples)
        names.append(path.name)
    if not names:
        raise LabError(f"{audio}: no wav, flac, ogg or mp3 file in it that can be read")
    return names, broken


# ---- rows --------------------------------------------------------------------------------------


def measure_demo_clips(context: Context) -> list[Row]:
    """Clips of the demo set, composed here."""
    folder = context.scratch / "composed"
    context.say(f"  composing {N_DEMO_CLIPS} clips")
    compose_clips(folder)
    names = [f"demo clip {number + 1}" for number in range(N_DEMO_CLIPS)]
    return [_row(context, "extract-demo", "demo clips", folder, names, least=3)]


def measure_audio_files(context: Context) -> list[Row]:
    """Every file of the folder given with --audio."""
    name, title = "extract-audio", "Features of a clip of 30 s, one core, audio files"
    if context.audio is None:
        return [not_measured(name, title, "no folder given with --audio DIR", LIMIT)]
    folder = context.scratch / "decoded"
    names, broken = decode_clips(context.audio, folder)
    note = f"left out, because they cannot be read: {', '.join(broken)}" if broken else ""
    least = 1 if context.quick else 3
    return [_row(context, name, "audio files", folder, names, least, note)]


def _row(
    context: Context,
    name: str,
    what: str,
    folder: Path,
    names: list[str],
    least: int,
    note: str = "",
) -> Row:
    factories = [f"benchmarks.speed_audio:{side}Extract" for side in ("Kit", "Plain")]
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"kit": [], "plain": []}
    by_clip: dict[str, float] = {}
    differences: list[dict[str, float]] = []
    with (
        context.worker(factories[0], one_thread=True, folder=str(folder)) as kit,
        context.worker(factories[1], one_thread=True, plain=True, folder=str(folder)) as plain,
    ):
        kit.warm_up()  # one after the other: two that compile librosa's loops spoil the cache
        plain.warm_up()
        for number, clip in enumerate(names):
            how = {"clip": number}
            turns = [Turn("kit", kit, 1, how), Turn("plain", plain, 1, how)]
            budget = context.seconds / len(names)
            times = in_turns(turns, budget, least=least, most=max(least, 9))
            for side in seconds:
                seconds[side] += [value for runs in times[side] for value in runs]
            ratio = ratio_of(times["plain"], times["kit"])
            by_clip[clip] = ratio.median
            ratios += [p[0] / k[0] for p, k in zip(times["plain"], times["kit"], strict=True)]
            differences.append(compare(kit.results(**how), plain.results(**how)))
    text, agrees = agreement(differences)
    slowest = min(by_clip, key=lambda clip: by_clip[clip])
    wrong = [clip for clip, d in zip(names, differences, strict=True) if not agreement([d])[1]]
    notes = [note] if note else []
    notes.append(f"smallest gain: {by_clip[slowest]:.2f} x on {slowest}")
    notes += [f"differs: {', '.join(wrong)}"] if wrong else []
    return Row(
        name,
        f"Features of a clip of 30 s, one core, {len(names)} {what}",
        kit=Stat.of(seconds["kit"]),
        plain=Stat.of(seconds["plain"]),
        ratio=Stat.of(ratios),
        limit=LIMIT,
        agreement=text,
        agrees=agrees,
        note="; ".join(notes),
    )


def compare(kit: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest differences of `mel` (dB) and `chroma`, and whether the `beats` are the same (1).

    Both forms count, full and between beats; with other beats the latter cannot be compared.
    """
    n_frames = min(plain["mel"].shape[1], plain["chroma"].shape[1])
    expected = {name: plain[name][:, :n_frames] for name in ("mel", "chroma")}
    same_beats = np.array_equal(kit["beats"], plain["beats"][plain["beats"] < n_frames])
    found = {"beats": float(same_beats)}
    for name in ("mel", "chroma"):
        pairs = [(kit[name], expected[name])]
        if same_beats:
            pairs.append((kit[f"beat_{name}"], plain[f"beat_{name}"]))
        found[name] = max(
            float(np.abs(a - b).max()) if a.shape == b.shape else float("inf") for a, b in pairs
        )
    return found


def agreement(differences: list[dict[str, float]]) -> tuple[str, bool]:
    """The worst of several clips as text; whether all of them agree."""
    worst = {name: max(d[name] for d in differences) for name in WITHIN}
    same = sum(int(d["beats"]) for d in differences)
    text = (
        f"mel {worst['mel']:.1e} dB, chroma {worst['chroma']:.1e}, beats equal in {same} of "
        f"{len(differences)}"
    )
    close = all(worst[name] <= limit for name, limit in WITHIN.items())
    return text, close and same == len(differences)


GROUPS = [
    Group("extract-demo", measure_demo_clips),
    Group("extract-audio", measure_audio_files),
]
