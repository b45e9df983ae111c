"""How fast the trainings of 05 and 07 are on a GPU, at the lab's size; rows of `docs/how_fast.md`.

    python -m benchmarks.on_gpu

The plain way: a packed LSTM, and a plain CNN, in float32, over the same batches in the memory of
the machine. Writes `benchmarks/results/how_fast_gpu.csv` and its section of the page; without a GPU
only that section, with the rows of the GPUs that were measured before, or empty ones.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks import speed
from benchmarks.page import markdown
from helpers import datasets, models, training
from helpers.folders import GENRE
from helpers.machinery import files, process
from helpers.machinery.arrays import N_MELS
from tools.common.command_line import EXIT_DONE, Parser, run_command
from tools.common.notebooks import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "how_fast_gpu.csv"
LAB_CLIPS, BATCH_SIZE, STACK, WINDOW = 2305, 32, 16, 512  # of the lab; of the profile `full`
NAMES = {"05": "epoch of the LSTM of 05, full clips", "07": "epoch of the CNN of 07, 12-s windows"}
COLUMNS = ("GPU", "what", "numbers", "kit", "plain", "ratio", "the GPU computes", "memory, MiB")
HEADING = "## On a GPU"


def kit_model(name: str) -> nn.Module:
    """The network of a notebook, in the size of the profile `full`."""
    backbone = (
        models.LSTMBackbone(N_MELS, 128, stack=STACK, cepstral_bands=N_MELS)
        if name == "05"
        else models.CNNBackbone(N_MELS, speed.CHANNELS)
    )
    return models.Classifier(backbone, speed.N_CLASSES)


def kit_epochs(
    name: str, clips: datasets.SpectrogramDataset, device: torch.device, n_epochs: int
) -> list[float]:
    """Seconds of each epoch, but for the first one, as the notebook trains."""
    windows = {"crop_frames": WINDOW, "max_masked_bands": 8} if name == "07" else {}
    loader = datasets.make_loader(clips, BATCH_SIZE, shuffle=True, device=device, **windows)
    history = training.train(kit_model(name), loader, epochs=1 + n_epochs, device=device)
    return history.seconds[1:]


def plain_epochs(
    name: str, clips: datasets.SpectrogramDataset, device: torch.device, n_epochs: int
) -> list[float]:
    """Seconds of each epoch, but for the first one, as PyTorch's manual trains."""
    loader = datasets.make_loader(
        clips, BATCH_SIZE, shuffle=True, crop_frames=WINDOW if name == "07" else 0
    )
    if name == "05":
        model: nn.Module = speed.PackedLSTM()
        model.lstm = nn.LSTM(STACK * N_MELS, 128, batch_first=True, bidirectional=True)
        held: list[Any] = [(*models.stack_frames(x, lengths, STACK), y) for x, y, lengths in loader]
    else:
        model = speed.plain_cnn()
        held = [(x.transpose(1, 2)[:, None].contiguous(), y) for x, y, _ in loader]
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = []
    for _ in range(1 + n_epochs):
        begin = time.perf_counter()
        for x, *lengths, y in held:  # packing takes the lengths from the CPU
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x.to(device), *lengths), y.to(device)).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def computing_share(name: str, clips: datasets.SpectrogramDataset, device: torch.device) -> float:
    """The share of the kit's epochs in which the GPU computes: the time of all its kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        begin = time.perf_counter()
        kit_epochs(name, clips, device, 1)
        passed = time.perf_counter() - begin
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / passed


def measure(
    name: str, clips: datasets.SpectrogramDataset, device: torch.device, n_epochs: int = 5
) -> dict[str, Any]:
    """A row of the table; on a CPU, where tests try it, without share and memory."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    kit = float(np.median(kit_epochs(name, clips, device, n_epochs)))
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else np.nan
    plain = float(np.median(plain_epochs(name, clips, device, n_epochs)))
    share = computing_share(name, clips, device) if on_gpu else np.nan
    numbers = str(process.training_dtype(device)).removeprefix("torch.")
    what = torch.cuda.get_device_name(device) if on_gpu else str(device)
    values = (what, NAMES[name], numbers, kit, plain, plain / kit, share, memory)
    return dict(zip(COLUMNS, values, strict=True))


def section() -> str:
    """The part of the page about GPUs; its rows are empty as long as none has filled them."""
    empty = pd.DataFrame({"GPU": "not measured yet", "what": list(NAMES.values())})
    rows = pd.read_csv(RESULTS) if RESULTS.is_file() else empty.reindex(columns=list(COLUMNS))
    return f"""{HEADING}

`python -m benchmarks.on_gpu`, on a machine with one: {LAB_CLIPS:,} clips, {BATCH_SIZE} a step;
seconds of an epoch (median of five). The plain way: a packed LSTM and a plain CNN in float32, the
same batches in the machine's memory.

{markdown(rows)}
"""


def with_section(page: str) -> str:
    """The page, with the present section about GPUs in place of the one it may have."""
    return re.sub(rf"\n*{HEADING}\n.*", "", page, flags=re.DOTALL).rstrip() + f"\n\n{section()}"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    Parser("python -m benchmarks.on_gpu", description=__doc__).parse_args(arguments)
    device, why = process.find_device("auto")
    if device.type == "cuda":
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=files.cache_dir()) as scratch:
            speed.make_folder(Path(scratch), "full", LAB_CLIPS)
            clips = datasets.SpectrogramDataset(Path(scratch) / "full" / GENRE, "train", "mel")
            clips.scaler = datasets.BandScaler.fit(clips)
            rows = pd.DataFrame([measure(name, clips, device) for name in NAMES])
        if RESULTS.is_file():  # of other GPUs
            before = pd.read_csv(RESULTS)
            rows = pd.concat([before[~before["GPU"].isin(rows["GPU"])], rows])
        files.write_atomically(RESULTS, rows.to_csv(index=False))
    else:
        print(f"nothing is measured here: {why}")
    files.write_atomically(speed.PAGE, with_section(speed.PAGE.read_text(encoding="utf-8")))
    print(section())
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_command(main))
