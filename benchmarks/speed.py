"""How fast the kit is: what it claims, each against the straightforward way, in one run.

    ./run_all.sh bench [--quick] [--only NAME ...]

The straightforward way is PyTorch and librosa as their manuals show them. Both sides of a claim do
the same with the same inputs, which is looked at, and take turns, kit, plain, kit, plain, ..., each
time in a new process, so that neither works with the other's memory, caches or settings. Without
--only this writes `docs/how_fast.md` and its plot. Exit code 1: something required was not met.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

if os.environ.get("MUSICLAB_KEEP_MEMORY") != "0":
    # OpenMP reads its settings when PyTorch is imported. The plain side imports PyTorch first
    # and so has PyTorch's own; every other process has the kit's.
    import helpers  # noqa: F401

import numpy as np
import pandas as pd
import psutil
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

from demo_music.build import make_clip, plan_clips
from helpers import datasets, features, models, training
from helpers.folders import GENRE
from helpers.machinery import files, process
from helpers.machinery.arrays import N_MELS, N_ROWS
from helpers.machinery.files import LabError
from helpers.machinery.workers import ONE_THREAD
from tools.common.command_line import EXIT_DONE, EXIT_FAILED, Parser, run_command
from tools.common.notebooks import ROOT
from tools.run.results import PACKAGES, code_commit

PAGE = ROOT / "docs" / "how_fast.md"
CPU, GPU = torch.device("cpu"), torch.device("cuda")
NATIVE_BFLOAT16 = process.has_native_bfloat16(CPU)
BATCH_SIZE, HIDDEN_SIZE, N_CLASSES, CHANNELS = 32, 128, 10, (16, 32, 64, 128)
FRAMES = {"full": (1291, 1293), "beats": (26, 107), "window": (256, 256)}  # fewest, most of a clip
# The lab has 2,305 clips for training, as float64; the demo set has 288.
FOLDERS = {"full": (2305, "float64"), "beats": (288, "float16")}
STACK = 16  # frames, of the profile `full`
WHOLE_LAB, LAB_TITLE = "whole-lab", "the whole lab on the demo set, the first time"
say = partial(print, flush=True)

Arrays = dict[str, np.ndarray]
Answer = dict[str, list[float]]  # by unit: seconds of each run, and MiB
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x [B, T, F], y [B], lengths [B]


class Side(NamedTuple):
    """One way to do something, ready to start. `run` is timed, everything else is not."""

    run: Callable[[int], Any]  # given the number of the run
    results: Callable[[list[Any]], Arrays]  # what is compared, out of what the runs returned
    before: Callable[[], object] = lambda: None  # ahead of each run
    warm_up: Callable[[], object] | None = None  # what happens only once (default: a run)
    n_runs: int = 0  # 0: as many as are asked for


# ---- training steps ----------------------------------------------------------------------------


class PackedLSTM(nn.Module):
    """An LSTM classifier for sequences of unequal length, as PyTorch's documentation has it."""

    def __init__(self, n_features: int = N_MELS) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, HIDDEN_SIZE, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN_SIZE, N_CLASSES)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> scores [B, classes], from the mean over real frames."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(outputs.sum(1) / lengths[:, None].to(x.device))  # packed on the CPU


def plain_cnn() -> nn.Sequential:
    """Convolution, batch norm, ReLU and max pooling, four times: [B, 1, 128, T] -> [B, classes]."""
    layers: list[nn.Module] = []
    for before, after in pairwise((1, *CHANNELS)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    n_bands = N_MELS // 2 ** len(CHANNELS)
    layers += [nn.AdaptiveAvgPool2d((n_bands, 1)), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(CHANNELS[-1] * n_bands, N_CLASSES))


class Step:
    """Forward, loss, backward and Adam on one batch, always from the weights of `like`.

    The kit's model has the weights of the plain one, `like`, in the same order. Its step is that of
    `helpers.training.train`: in its threads and, if wanted, in bfloat16.
    """

    def __init__(self, model: nn.Module, like: nn.Module, batch: Sequence[torch.Tensor]) -> None:
        self.model, self.batch, self.kit, self.bfloat16 = model, batch, model is not like, False
        weights = (weight.clone() for weight in like.state_dict().values())
        self.start = dict(zip(model.state_dict(), weights, strict=True))

    def reset(self) -> None:
        """Begin with the first weights again."""
        self.model.load_state_dict(self.start)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def run(self, number: int = 0) -> torch.Tensor:
        """One step; the outputs [B, classes]."""
        x, y, *lengths = self.batch
        with process.threads_for(self.model, CPU) if self.kit else nullcontext():
            self.optimizer.zero_grad()
            with process.autocast(CPU) if self.bfloat16 else nullcontext():
                outputs = self.model(x, *lengths)
            nn.functional.cross_entropy(outputs.to(x.dtype), y).backward()
            self.optimizer.step()
        return outputs.detach()

    def results(self, outputs: Sequence[torch.Tensor]) -> Arrays:
        """Outputs and gradients of the last run."""
        gradients = [parameter.grad for parameter in self.model.parameters()]
        arrays = {f"gradient {number}": part for number, part in enumerate(gradients)}
        return {n: a.double().numpy() for n, a in (arrays | {"outputs": outputs[-1]}).items()}

    def exact_results(self, outputs: Sequence[torch.Tensor]) -> Arrays:
        """Outputs in float32; gradients of a few clips in float64.

        In float32, roundings decide which of two near values a max pooling takes.
        """
        self.bfloat16 = False
        self.reset()
        in_float32 = self.run().double().numpy()
        self.model.double()
        x, *others = (part[:4] for part in self.batch)
        self.batch = x.double(), *others
        self.reset()
        return self.results([self.run()]) | {"outputs": in_float32}


def make_batch(kind: str, n_clips: int) -> Batch:
    """Random clips x [B, T, 128] padded with 0, their classes [B] and lengths [B]."""
    rng, (shortest, longest) = np.random.default_rng(0), FRAMES[kind]
    lengths = rng.integers(shortest, longest + 1, n_clips)
    lengths[:2] = shortest, longest
    x = rng.standard_normal((n_clips, longest, N_MELS), dtype=np.float32)
    x *= np.arange(longest)[:, None] < lengths[:, None, None]
    y = rng.integers(0, N_CLASSES, n_clips)
    return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(lengths)


def lstm(folder: Path, kit: bool, kind: str, n_clips: int = 32) -> Side:
    """A step of the packed LSTM or of the kit's masked one, both float32."""
    torch.manual_seed(0)
    plain, backbone = PackedLSTM(), models.LSTMBackbone(N_MELS, HIDDEN_SIZE, dropout=0)
    model = models.Classifier(backbone, N_CLASSES) if kit else plain
    step = Step(model, plain, make_batch(kind, n_clips))
    if kit or kind == "beats":
        return Side(step.run, step.results, step.reset)
    # A packed step takes over a minute, of which what happens only once is no part to speak of.
    return Side(step.run, step.results, step.reset, warm_up=lambda: None, n_runs=1)


class TimmAST(nn.Module):
    """An AST of the kit's size `mini` from timm's parts, patches side by side."""

    def __init__(self, n_frames: int, n_features: int) -> None:
        super().__init__()
        from timm.models.deit import VisionTransformerDistilled

        width, depth, n_heads = models.AST_SIZES["mini"]
        self.v = VisionTransformerDistilled(
            (N_MELS, n_frames), models.PATCH, in_chans=1, num_classes=0,
            embed_dim=width, depth=depth, num_heads=n_heads,
        )  # fmt: skip
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_features))
        self.head = nn.Linear(n_features, N_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 1, 128, T] -> scores [B, classes]."""
        return self.head(self.mlp_head(self.v.forward_features(images)[:, :2].mean(1)))


def image_step(folder: Path, kit: bool, network: str, n_clips: int = 32) -> Side:
    """A step of a plain CNN or of timm's AST in float32, or of the kit's own.

    The kit's is in bfloat16 where the processor has it.
    """
    torch.manual_seed(0)
    n_frames, n_features = FRAMES["window"][1], 64
    if network == "cnn":
        plain, backbone = plain_cnn(), models.CNNBackbone(N_MELS, CHANNELS, dropout=0)
    else:
        plain = TimmAST(n_frames, n_features)
        backbone = models.ASTBackbone(16, 16, N_MELS, n_frames, False, "mini", n_features)
    x, y, lengths = make_batch("window", n_clips)
    images, model = x.transpose(1, 2)[:, None].contiguous(), models.Classifier(backbone, N_CLASSES)
    step = Step(model, plain, (x, y, lengths)) if kit else Step(plain, plain, (images, y))
    step.bfloat16 = kit and NATIVE_BFLOAT16
    return Side(step.run, step.exact_results, step.reset)


# ---- data --------------------------------------------------------------------------------------


def make_folder(data: Path, kind: str, n_clips: int | None = None) -> None:
    """The folder `data/kind/fma_genre_spectrograms` with random training clips.

    A few different arrays [140, T] are written again and again: each clip is a file of its own, as
    in the lab, and takes its own room in the page cache.
    """
    train = data / kind / GENRE / "train"
    if train.exists():
        return
    train.mkdir(parents=True)
    (shortest, longest), (number, dtype) = FRAMES[kind], FOLDERS[kind]
    n_clips, rng = n_clips or number, np.random.default_rng(0)
    n_bytes = n_clips * N_ROWS * longest * (np.dtype(dtype).itemsize + 2)  # 2: when packed
    files.require_space(train, n_bytes, "the benchmark")
    lengths = [shortest, longest, *rng.integers(shortest, longest + 1, 46)]
    floor = np.repeat([-80, 1], [N_MELS, N_ROWS - N_MELS])[:, None]  # decibels, then chroma
    arrays = [(floor * rng.random((N_ROWS, length))).astype(dtype) for length in lengths]
    lines = ["Id\tGenre\n"]
    for number in range(n_clips):
        name = f"{1001 + number}.fused.full.npy"
        np.save(train / name, arrays[number % len(arrays)])
        lines.append(f"{name}.gz\t{('Blues', 'Folk', 'Jazz', 'Pop')[number % 4]}\n")
    (train.parent / "train_labels.txt").write_text("".join(lines), encoding="utf-8")
    os.sync()  # no disk is busy while a clock runs


def read_all(folder: Path) -> list[tuple[torch.Tensor, int]]:
    """Every clip of a folder, read into a list as is usually done: frames [T, 128], class."""
    lines = (folder / "train_labels.txt").read_text(encoding="utf-8").splitlines()[1:]
    names, genres = zip(*(line.split("\t") for line in lines), strict=True)
    paths = [folder / "train" / name.removesuffix(".gz") for name in names]
    clips = [torch.from_numpy(np.load(path)[:N_MELS].T) for path in paths]
    _, numbers = np.unique(genres, return_inverse=True)
    return list(zip(clips, numbers.tolist(), strict=True))


def pad(clips: list[tuple[torch.Tensor, int]]) -> Batch:
    """The clips as x [B, T, 128] float32 padded with 0, classes [B], lengths [B]."""
    frames, labels = zip(*clips, strict=True)
    x = pad_sequence([clip.float() for clip in frames], batch_first=True)
    return x, torch.tensor(labels), torch.tensor([len(clip) for clip in frames])


def first_batch(folder: Path, kit: bool) -> Side:
    """Open the folder, with all that is read or looked for then, and take a first batch."""
    loader = datasets.make_loader if kit else partial(DataLoader, collate_fn=pad)
    read = partial(datasets.SpectrogramDataset, split="train", feature="mel") if kit else read_all

    def opened(data: str) -> tuple[Any, Any]:
        clips = read(folder / data / GENRE)
        return clips, next(iter(loader(clips, BATCH_SIZE, shuffle=True)))

    def in_order(outcomes: list[Any]) -> Arrays:
        batch = next(iter(loader(outcomes[-1][0], BATCH_SIZE)))
        return {n: part.numpy() for n, part in zip(("x", "y", "lengths"), batch, strict=True)}

    return Side(lambda number: opened("full"), in_order, warm_up=partial(opened, "beats"))


def epoch(folder: Path, kit: bool) -> Side:
    """An epoch of an LSTM of notebook 05's size through the loader, or over the same batches."""
    dataset = datasets.SpectrogramDataset(folder / "beats" / GENRE, "train", "mel")
    dataset.scaler = datasets.BandScaler.fit(dataset)
    model = models.Classifier(models.LSTMBackbone(N_MELS, hidden_size=64), N_CLASSES)

    def loader() -> DataLoader:  # the same batches every time
        return datasets.make_loader(dataset, BATCH_SIZE, shuffle=True, seed=0)

    held = None if kit else list(loader())

    def everything(outcomes: list[Any]) -> Arrays:
        parts = (part for batch in held or loader() for part in batch)
        return {f"part {number}": part.numpy() for number, part in enumerate(parts)}

    return Side(lambda number: training.train(model, held or loader(), epochs=1), everything)


# ---- on a GPU, at the lab's size ---------------------------------------------------------------


def gpu_epoch(folder: Path, kit: bool, network: str, device: torch.device = GPU) -> Side:
    """An epoch of the LSTM of 05 or of the CNN of 07, in the size of the profile `full`.

    The plain way: a packed LSTM or a plain CNN in float32, batches in the machine's memory.
    """
    clips = datasets.SpectrogramDataset(folder / "full" / GENRE, "train", "mel")
    clips.scaler = datasets.BandScaler.fit(clips)
    lstm, windows = network == "lstm", {"crop_frames": 512 if network == "cnn" else 0}
    if kit:
        windows["max_masked_bands"] = 0 if lstm else 8
        backbone: nn.Module = models.CNNBackbone(N_MELS, CHANNELS)
        if lstm:
            backbone = models.LSTMBackbone(N_MELS, HIDDEN_SIZE, stack=STACK, cepstral_bands=N_MELS)
        model = models.Classifier(backbone, N_CLASSES)
        loader = datasets.make_loader(clips, BATCH_SIZE, shuffle=True, device=device, **windows)
        return Side(lambda _: training.train(model, loader, epochs=1, device=device), lambda _: {})

    plain = (PackedLSTM(STACK * N_MELS) if lstm else plain_cnn()).to(device)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    batches: list[Any] = []
    for x, y, lengths in datasets.make_loader(clips, BATCH_SIZE, shuffle=True, **windows):
        image = x.transpose(1, 2)[:, None].contiguous()
        batches.append((y, *models.stack_frames(x, lengths, STACK)) if lstm else (y, image))

    def run(number: int) -> None:
        for y, x, *lengths in batches:  # packing takes the lengths from the CPU
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(x.to(device), *lengths), y.to(device)).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Side(run, lambda _: {})  # each draws its own windows: there is nothing to compare


def seen_on_gpu(side: Side) -> Answer:
    """The most memory of the GPU so far, and the share of another run in which it computes."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        begin = time.perf_counter()
        side.run(0)
        passed = time.perf_counter() - begin
    computing = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    memory = torch.cuda.max_memory_allocated() / 2**20
    return {"GPU MiB": [memory], "% of the time": [100 * computing / passed]}


# ---- features of audio -------------------------------------------------------------------------


def compose_clips(folder: Path, n_clips: int = 2) -> None:
    """Write the audio of some clips of the demo set, of different genres."""
    of_genres = list({clip.genre: clip for clip in plan_clips()}.values())
    for clip in of_genres[:: len(of_genres) // n_clips][:n_clips]:
        make_clip(replace(clip, with_audio=True), folder)


def librosa_features(audio: np.ndarray) -> Arrays:
    """Mel, chroma, beats, and both between beats, by librosa's own functions, as its manual has it.

    From mono audio [samples] at 22,050 Hz; as the fields of `helpers.features.ClipFeatures`.
    """
    import librosa

    common: dict[str, Any] = {"sr": features.SAMPLE_RATE, "hop_length": features.HOP_LENGTH}
    mel = librosa.feature.melspectrogram(y=audio, n_fft=features.N_FFT, n_mels=N_MELS, **common)
    chroma = librosa.feature.chroma_cqt(y=audio, **common)
    _, beats = librosa.beat.beat_track(y=librosa.effects.percussive(audio), **common)
    bounds = beats if len(beats) else np.zeros(1, dtype=int)
    beat_mel, beat_chroma = (
        librosa.util.sync(rows, bounds, aggregate=np.median) for rows in (mel, chroma)
    )
    n_frames = min(mel.shape[1], chroma.shape[1])  # the kit ends where either does
    mel_db, beat_mel_db = (librosa.power_to_db(power, ref=np.max) for power in (mel, beat_mel))
    return {
        "full": np.vstack([mel_db[:, :n_frames], chroma[:, :n_frames]]),
        "beat": np.vstack([beat_mel_db, beat_chroma]),
        "beat_times": librosa.frames_to_time(beats[beats < n_frames], **common),
    }


def extraction(folder: Path, kit: bool) -> Side:
    """The features of every clip in `folder/audio`, one clip a run."""
    import librosa

    paths = sorted((folder / "audio").iterdir())
    clips = [librosa.load(path, sr=features.SAMPLE_RATE)[0] for path in paths]

    def run(number: int) -> Arrays:
        return vars(features.extract(clips[number])) if kit else librosa_features(clips[number])

    def by_clip(outcomes: list[Arrays]) -> Arrays:
        found = zip(paths, outcomes, strict=True)
        return {f"{path.name} {name}": a for path, arrays in found for name, a in arrays.items()}

    return Side(run, by_clip, n_runs=len(clips))


# ---- claims and how they are measured ----------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """What is claimed, and how it is measured; `quick` and `full` are rounds, and runs in each."""

    title: str
    side: Callable[..., Side]  # given a folder of inputs, and whether it is the kit's
    within: float  # how much the sides' results may differ; see `differing`
    at_least: float | None = None  # plain over kit, the median
    inputs: Callable[[Path], object] = lambda folder: None
    quick: tuple[int, int] = (3, 5)
    full: tuple[int, int] = (9, 9)
    unit: str = "s"
    practice: int = 0  # rounds before those that count
    plain_settings: bool = True  # the plain side has PyTorch's own settings
    one_thread: bool = False
    in_norm: bool = False
    package: str = "torch"  # what the plain side needs; without it the claim is skipped
    needs_gpu: bool = False

    @property
    def lacking(self) -> str:
        """What this machine lacks for it, or nothing."""
        if self.needs_gpu and not torch.cuda.is_available():
            return "no GPU here"
        return "" if find_spec(self.package) else f"{self.package} is not here (pip install it)"

    def differing(self, kit: Arrays, plain: Arrays) -> str:
        """Which array differs between the sides by more than is allowed, or nothing.

        Differences are the largest absolute ones, or, `in_norm`, relative to the plain array's
        norm.
        """
        if kit.keys() != plain.keys():
            return f"only one side has {min(kit.keys() ^ plain.keys())}"
        for name, expected in plain.items():
            if kit[name].shape != expected.shape:
                return f"{name}: shapes {kit[name].shape} and {expected.shape}"
            gap = np.abs(kit[name].astype(np.float64) - expected)
            size = gap.max(initial=0)
            if self.in_norm:
                size = np.linalg.norm(gap) / np.linalg.norm(expected)
            if not size <= self.within:  # nan is not
                return f"{name} differs by {size:.2g}"
        return ""


_STEP = partial(Claim, within=1e-4, in_norm=True)
# The kit keeps float16, which is exact to 0.03 dB at -80 dB; classes and lengths are whole numbers.
_OPEN = Claim(
    "opening 2,305 clips, first batch, warm (plain: all files into a list)", first_batch,
    0.05, 20, lambda data: [make_folder(data, kind) for kind in FOLDERS],
    quick=(3, 1), full=(15, 1), practice=1,
)  # fmt: skip
CLAIMS = {
    "lstm-full": _STEP("LSTM step, 1291-1293 frames (plain: packed)", partial(lstm, kind="full"),
                       at_least=100, quick=(1, 5), full=(1, 15)),
    "lstm-beats": _STEP("LSTM step, 26-107 beats (plain: packed)", partial(lstm, kind="beats"),
                        at_least=1, quick=(4, 10), full=(9, 20)),
    "cnn": _STEP(f"CNN step, 256 frames{NATIVE_BFLOAT16 * ' in bfloat16'} (plain: float32)",
                 # bfloat16 is only chosen where it pays
                 partial(image_step, network="cnn"), at_least=0.95),
    "ast": _STEP(f"AST step, 256 frames{NATIVE_BFLOAT16 * ' in bfloat16'} (plain: timm, float32)",
                 partial(image_step, network="ast"), at_least=1, package="timm"),
    "open": _OPEN,
    "memory": replace(_OPEN, title="memory of the same", at_least=10, unit="MiB"),
    "epoch": Claim("epoch of the LSTM on beats (plain: same batches, already in memory)", epoch,
                   0, 0.95, partial(make_folder, kind="beats"), (6, 20), (20, 30),
                   plain_settings=False),
    # Beats on the same frames of 23 ms; mel within 0.001 dB, chroma within 0.001 of 0..1.
    "features": Claim("features of 30 s, one core (plain: librosa's functions)", extraction,
                      1e-3, 4, compose_clips, one_thread=True),
}  # fmt: skip
for _name, _title in {"lstm": "LSTM of 05", "cnn": "CNN of 07"}.items():
    _epoch = Claim(
        f"epoch of the {_title} on a GPU (plain: float32)", partial(gpu_epoch, network=_name), 0,
        inputs=partial(make_folder, kind="full"), quick=(1, 5), full=(1, 5), needs_gpu=True,
    )  # fmt: skip
    CLAIMS |= {
        f"gpu-{_name}": _epoch,
        f"gpu-{_name}-memory": replace(_epoch, title="memory of the same", unit="GPU MiB"),
        f"gpu-{_name}-share": replace(_epoch, title="the GPU computes", unit="% of the time"),
    }


@dataclass
class Row:
    """A line of the table, with all measurements; `problem` says why it has none or is not met."""

    title: str
    unit: str = "s"
    at_least: float | None = None
    kit: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)  # plain over kit, run by run
    problem: str = ""
    lacking: str = ""  # why it was skipped

    @property
    def quartiles(self) -> np.ndarray:
        """Those of the ratio, with the median between them."""
        return np.quantile(self.ratio, [0.25, 0.5, 0.75])

    @property
    def met(self) -> str:
        """`yes`, `no` with the reason, or nothing where nothing is required."""
        if self.lacking:
            return f"skipped: {self.lacking}"
        if self.problem or self.at_least is None:
            return self.problem and f"no: {self.problem}"
        return "yes" if np.median(self.ratio) >= self.at_least else "no"


def python(arguments: Sequence[str], home: Path, **more: str) -> str:
    """What a new Python process prints, whose caches are in `home`; LabError if it fails.

    It gets no setting of this process: importing the kit has set OpenMP's waiting here, which the
    plain side must not inherit.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("MUSICLAB_")}
    env.pop("OMP_WAIT_POLICY", None)
    env |= {"MUSICLAB_HOME": str(home), "PYTHONWARNINGS": "ignore", **more}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (f"{done.stdout}\n{done.stderr}".strip().splitlines() or ["too little memory?"])[-1]
        raise LabError(f"{' '.join(arguments[:4])} ended with code {done.returncode}: {last}")
    return done.stdout


def take_turns(name: str, quick: bool, folder: Path) -> list[dict[str, Answer]]:
    """What both sides answered, round by round: kit, plain, kit, plain, ..."""
    claim = CLAIMS[name]
    rounds, runs = claim.quick if quick else claim.full
    kit = {"MUSICLAB_HEADLESS": "1", **(ONE_THREAD if claim.one_thread else {})}
    plain = kit | ({"MUSICLAB_KEEP_MEMORY": "0"} if claim.plain_settings else {})

    def answer(side: str, settings: dict[str, str]) -> Answer:
        words = ["benchmarks.speed", "--side", name, side, str(runs), str(folder)]
        return json.loads(python(words, folder / "home", **settings).splitlines()[-1])

    answers = [
        {"kit": answer("kit", kit), "plain": answer("plain", plain)}
        for _ in range(claim.practice + rounds)
    ]
    return answers[claim.practice :]


def work(name: str, side: str, runs: int, folder: Path) -> Answer:
    """A side's own process: seconds of each run, and MiB by which its peak has grown.

    The first process of a side also stores what is compared.
    """
    claim = CLAIMS[name]
    doing = claim.side(folder, kit=side == "kit")
    doing.before()
    (doing.warm_up or partial(doing.run, 0))()
    gc.collect()
    seconds, outcomes, before = [], [], psutil.Process().memory_info().rss / 2**20
    for number in range(doing.n_runs or runs):
        doing.before()
        gc.collect()
        begin = time.perf_counter()
        outcomes.append(doing.run(number))
        seconds.append(time.perf_counter() - begin)
    grown = max(peak_mib() - before, 0.1)
    if not (stored := folder / f"{name}-{side}.npz").exists():
        np.savez(stored, **doing.results(outcomes))
    return {"s": seconds, "MiB": [grown], **(seen_on_gpu(doing) if claim.needs_gpu else {})}


def peak_mib() -> float:
    """The most memory that this process has held.

    On Linux not `getrusage`'s: there a process inherits the peak of the one that started it.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


def measure(name: str, quick: bool, folder: Path, kept: dict[Any, Any]) -> Row:
    """One line of the table; `kept` holds measurements that several claims are about."""
    claim = CLAIMS.get(name)
    row = Row(claim.title, claim.unit, claim.at_least) if claim else Row(LAB_TITLE)
    if claim and claim.lacking:
        say(f"{name}: skipped, {claim.lacking}")
        return replace(row, lacking=claim.lacking)
    say(f"{name}: {row.title} ...")
    begin = time.perf_counter()
    try:
        if not claim:  # in a home with empty caches
            lab = ["tools.run.command", "--data", "demo", "--profile", "demo"]
            python(lab, folder / WHOLE_LAB)
            return replace(row, kit=[time.perf_counter() - begin])
        if claim.side not in kept:
            claim.inputs(folder)
            answers = take_turns(name, quick, folder)
            stored = (np.load(folder / f"{name}-{side}.npz") for side in ("kit", "plain"))
            kept[claim.side] = answers, claim.differing(*map(dict, stored))
    except LabError as error:
        say(f"  {error}")
        return replace(row, problem="not measured, the command says why")
    answers, row.problem = kept[claim.side]
    for answer in answers:
        kit, plain = answer["kit"][claim.unit], answer["plain"][claim.unit]
        row.kit += kit
        row.plain += plain
        row.ratio += np.divide(plain, kit).tolist()
    say(f"  {shown(row.ratio, 'x')}  {row.met}  ({time.perf_counter() - begin:.0f} s)")
    return row


# ---- the page ----------------------------------------------------------------------------------


def shown(values: Sequence[float], unit: str) -> str:
    """The median in three figures; ratios with their quartiles: `159 ms`, `219 x (217-268)`."""
    if not values:
        return ""
    median = np.median(values)
    if unit == "s" and not 1 <= median < 120:
        unit, values = ("ms", [1e3 * median]) if median < 1 else ("min", [median / 60])
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    low, middle, high = (f"{v:.3g}" if v < 1000 else f"{v:.0f}" for v in quartiles)
    return f"{middle} {unit}" + (f" ({low}-{high})" if unit == "x" else "")


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    from benchmarks.page import markdown  # here: the plain side imports PyTorch before the kit

    lines = []
    for row in rows:
        numbers = [shown(row.kit, row.unit), shown(row.plain, row.unit), shown(row.ratio, "x")]
        required = f"≥ {row.at_least:g} x" if row.at_least else ""
        lines.append([row.title, *numbers, required, row.met])
    columns = ["claim", "kit", "plain", "ratio", "required", "met"]
    return markdown(pd.DataFrame(lines, columns=columns))


def verdict(rows: Sequence[Row]) -> str:
    """Whether everything required was met, and what was not."""
    missed = "; ".join(row.title for row in rows if row.met.startswith("no"))
    return f"Not met: {missed}." if missed else "Everything required was met."


def machine() -> str:
    """Processor, cores, GPU, and the versions of what computes."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, IndexError):
        name = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())[0]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}; {versions}"


def page(rows: Sequence[Row], command: str) -> str:
    """The generated page."""
    from benchmarks.page import rendered

    return rendered(
        "how_fast.md.j2", command=command, machine=machine(), threads=torch.get_num_threads(),
        commit=code_commit(ROOT), date=date.today(), table=table(rows), verdict=verdict(rows),
    )  # fmt: skip


def draw(rows: Sequence[Row]) -> bytes:
    """A picture of the ratios with their quartiles, and a mark for what is required; PNG."""
    from helpers import plots
    from helpers.evaluation import Score
    from helpers.notebook.showing import render_figure

    plots.use_style()
    ratios = {}
    for row in rows:
        missed = ", NOT met" * (row.met != "yes")
        ratios[row.title.partition(" (")[0] + missed] = Score(*row.quartiles[[1, 0, 2]])
    label = "plain / kit (black line: required)"
    figure = plots.score_plot(ratios, "The kit against the plain way", label, 1, "equal")
    for place, row in enumerate(rows):
        figure.axes[0].plot(row.at_least, place, "|", color="black", markersize=14)
    figure.axes[0].set_xscale("log")
    return render_figure(figure, PAGE.stem)[0]


# ---- the command line --------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    parser = Parser("./run_all.sh bench", description=__doc__)
    add = parser.add_argument
    quick = "fewer repeats, not the whole lab: under 8 minutes on two cores"
    add("--quick", action="store_true", help=quick)
    add("--only", metavar="NAME", nargs="+", choices=[*CLAIMS, WHOLE_LAB],
        help="only these claims; the table is shown and nothing is written")  # fmt: skip
    add("--side", nargs=4, help=argparse.SUPPRESS)  # claim, side, runs, folder
    options = parser.parse_args(arguments)
    if options.side:
        name, side, runs, folder = options.side
        say(json.dumps(work(name, side, int(runs), Path(folder))))
        return EXIT_DONE
    every = [*CLAIMS, *[WHOLE_LAB] * (not options.quick)]
    picked = [name for name in (*CLAIMS, WHOLE_LAB) if name in (options.only or every)]
    kept: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=files.cache_dir()) as scratch:
        rows = [measure(name, options.quick, Path(scratch), kept) for name in picked]
    say(f"\n{table(rows)}\n\n{verdict(rows)}")
    if not options.only:
        command = "./run_all.sh bench" + " --quick" * options.quick
        text = page(rows, command)  # names the commit as it was before anything was written
        files.write_atomically(
            PAGE.with_suffix(".png"), draw([row for row in rows if row.ratio and row.at_least])
        )
        files.write_atomically(PAGE, text)
    return EXIT_FAILED if verdict(rows).startswith("Not met") else EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_command(main))
