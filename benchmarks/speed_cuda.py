"""Rows for a CUDA device: epochs over the lab's training part, beside what the device can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.speed_data import (
    BATCH_SIZE,
    CLASSES,
    FRAMES,
    N_MELS,
    InMemory,
    import_pandas,
    make_folder,
)
from benchmarks.speed_measure import Context, Group, Turn, in_turns, need_memory, ratio_of, stat_of
from benchmarks.speed_models import CHANNELS, HIDDEN_SIZE, KERNEL, PackedLSTM, PlainCNN, synchronise
from benchmarks.speed_table import Row, not_measured
from benchmarks.speed_worker import Side
from helpers import datasets, models, training

N_CLIPS = 2305  # the lab's training part after the class mapping
TITLES = {"lstm": "LSTM, two directions", "cnn": "CNN"}
COPY_BYTES, MATRIX_SIZE = 2**30, 8192


# ---- the plain way -----------------------------------------------------------------------------


class PlainEpoch(Side):
    """An epoch as a tutorial has it: clips in a list, a DataLoader, each batch sent to the GPU."""

    def __init__(self, folder: str, model: str, device: str) -> None:
        self.device = torch.device(device)
        self.loader = DataLoader(InMemory(Path(folder), "train"), BATCH_SIZE, shuffle=True)
        torch.manual_seed(0)
        self.is_cnn = model == "cnn"
        net: nn.Module = PackedLSTM(N_MELS, HIDDEN_SIZE, len(CLASSES), True)
        if self.is_cnn:
            net = PlainCNN(n_classes=len(CLASSES))
        self.model, self.loss = net.to(self.device), nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def run(self, **how: Any) -> None:
        """One epoch."""
        for batch in self.loader:
            x, y, lengths = (part.to(self.device) for part in batch)
            self.optimizer.zero_grad()
            x = x.transpose(1, 2)[:, None] if self.is_cnn else x
            loss = self.loss(self.model(x, lengths), y)
            loss.backward()
            self.optimizer.step()
            loss.item()
        synchronise(self.device)


# ---- the kit -----------------------------------------------------------------------------------


class KitEpoch(Side):
    """An epoch of `helpers.training.train` on whole clips."""

    def __init__(self, folder: str, model: str, device: str) -> None:
        import_pandas()
        self.device = torch.device(device)
        dataset = datasets.SpectrogramDataset(Path(folder), "train", "mel")
        dataset.scaler = datasets.BandScaler.fit(dataset)
        self.loader = datasets.make_loader(dataset, BATCH_SIZE, shuffle=True, device=self.device)
        torch.manual_seed(0)
        backbone: nn.Module = models.LSTMBackbone(N_MELS, HIDDEN_SIZE)
        if model == "cnn":
            backbone = models.CNNBackbone(N_MELS, CHANNELS, KERNEL)
        self.model = models.Classifier(backbone, len(CLASSES))

    def run(self, **how: Any) -> None:
        """One epoch."""
        training.train(self.model, self.loader, epochs=1, device=self.device)
        synchronise(self.device)


# ---- what the device can do --------------------------------------------------------------------


class Rates(Side):
    """Copies and matrix products on the device: seconds of `what`, copy, float32 or bfloat16."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.bytes = torch.empty(COPY_BYTES, dtype=torch.uint8, device=self.device)
        square = torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=self.device)
        self.squares = {"float32": square, "bfloat16": square.bfloat16()}

    def warm_up(self) -> None:
        """Each once."""
        for what in ("copy", *self.squares):
            self.run(what)

    def run(self, what: str = "copy", **how: Any) -> None:
        """One copy of a GiB, or one product of two matrices of 8192 x 8192."""
        if what == "copy":
            self.bytes.clone()
        else:
            torch.mm(self.squares[what], self.squares[what])
        synchronise(self.device)


def lstm_operations(n_clips: int, n_frames: float) -> float:
    """Floating-point operations of an epoch in both directions, forward and backward (3 x)."""
    per_frame = 2 * 4 * HIDDEN_SIZE * (N_MELS + HIDDEN_SIZE)
    return 3 * 2 * per_frame * n_frames * n_clips


def cnn_operations(n_clips: int, n_frames: float) -> float:
    """The same for the convolutions of the four blocks."""
    total, before, bands, frames = 0.0, 1, float(N_MELS), n_frames
    for after in CHANNELS:
        total += 2 * KERNEL**2 * before * after * bands * frames
        before, bands, frames = after, bands / 2, frames / 2
    return 3 * total * n_clips


OPERATIONS = {"lstm": lstm_operations, "cnn": cnn_operations}


# ---- rows --------------------------------------------------------------------------------------


def measure_cuda(context: Context) -> list[Row]:
    """An epoch of each network over the lab's training part; without a device, one row says so."""
    if not context.on_cuda:
        return [not_measured("cuda", f"CUDA: epochs of {N_CLIPS:,} full clips", "no CUDA device")]
    return [_epoch_row(context, model) for model in TITLES]


def _epoch_row(context: Context, model: str) -> Row:
    """Against the plain way, and against the device's own rates."""
    need_memory(2 * N_CLIPS * FRAMES["full"][1] * 140 * 2)
    if "cuda" not in context.kept:
        place = context.scratch / "cuda"
        context.kept["cuda"] = make_folder(place, N_CLIPS, "full", "float16")
    options: dict[str, Any] = {"model": model, "device": context.device}
    options["folder"] = str(context.kept["cuda"])
    with (
        context.worker("benchmarks.speed_cuda:KitEpoch", **options) as kit,
        context.worker("benchmarks.speed_cuda:PlainEpoch", plain=True, **options) as plain,
    ):
        kit.warm_up()
        plain.warm_up()
        turns = [Turn("kit", kit), Turn("plain", plain)]
        times = in_turns(turns, 2 * context.seconds, least=3)
    seconds = stat_of(times["kit"])
    return Row(
        f"cuda-{model}",
        f"CUDA: epoch of {N_CLIPS:,} full clips, {TITLES[model]}",
        kit=seconds,
        plain=stat_of(times["plain"]),
        ratio=ratio_of(times["plain"], times["kit"]),
        note=rates_note(measured_rates(context), model, seconds.median),
    )


def measured_rates(context: Context) -> dict[str, float]:
    """Bytes per second of a copy (read and written), operations per second of matrix products."""
    if "rates" not in context.kept:
        with context.worker("benchmarks.speed_cuda:Rates", device=context.device) as worker:
            worker.warm_up()
            kinds = ("copy", "float32", "bfloat16")
            turns = [Turn(what, worker, 5, {"what": what}) for what in kinds]
            times = in_turns(turns, 3.0)
        work = {"copy": 2 * COPY_BYTES}
        work |= dict.fromkeys(kinds[1:], 2 * MATRIX_SIZE**3)
        context.kept["rates"] = {w: work[w] / stat_of(times[w]).median for w in kinds}
    return context.kept["rates"]


def rates_note(rates: dict[str, float], model: str, seconds: float) -> str:
    """How long the epoch's data and arithmetic would take at the device's own rates."""
    n_frames = sum(FRAMES["full"]) / 2
    moving = 2 * N_CLIPS * n_frames * N_MELS * 2 / rates["copy"]  # float16, read and written
    computing = OPERATIONS[model](N_CLIPS, n_frames) / rates["bfloat16"]
    return (
        f"measured on the device: copy {rates['copy'] / 1e9:.0f} GB/s, matrix product "
        f"{rates['float32'] / 1e12:.1f} TFLOP/s in float32, {rates['bfloat16'] / 1e12:.0f} in "
        f"bfloat16; at these rates the features take {moving * 1e3:.1f} ms, the arithmetic "
        f"{computing * 1e3:.1f} ms: the epoch takes {seconds / max(moving, computing):.0f} times "
        "the longer of the two"
    )


GROUPS = [Group("cuda", measure_cuda)]
