"""Rows about the data: opening a folder, growth with the set, epochs through the loader, memory."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed_measure import (
    Context,
    Group,
    Rounds,
    Turn,
    Worker,
    in_turns,
    need_disk,
    need_memory,
    ratio_of,
    stat_of,
)
from benchmarks.speed_models import PlainCNN, synchronise
from benchmarks.speed_table import AT_LEAST, AT_MOST, Limit, Row, Stat, not_measured
from benchmarks.speed_worker import Side
from helpers import datasets, models, training
from helpers.folders import GENRE
from helpers.machinery import batches, process
from helpers.machinery.profiles import load_profile

BATCH_SIZE, N_MELS, N_ROWS = 32, 128, 140
CLASSES = (
    "Blues", "Classical", "Electronic", "Folk", "Hip-Hop", "Jazz", "Metal", "Pop", "Rock",
    "Trip-Hop",
)  # fmt: skip
FRAMES = {"full": (1291, 1293), "beat": (26, 107), "short": (64, 64)}  # fewest and most of a clip
LAB_CLIPS = 2000  # the lab itself has 2,305 for training
SIZES = (500, 2000, 8000)  # of growing folders
STORED_WITHIN_DB = 0.05  # the kit keeps float16, which is exact to 0.03 dB at -80 dB
FIRST_ID = 1001


# ---- a folder in the lab's layout --------------------------------------------------------------


def clip_bytes(kind: str, dtype: str) -> int:
    """The size of one stored clip, at most."""
    return FRAMES[kind][1] * N_ROWS * np.dtype(dtype).itemsize + 128


def make_folder(data: Path, n_clips: int, kind: str, dtype: str) -> Path:
    """The folder `data/fma_genre_spectrograms` with `n_clips` random training clips.

    A few dozen different arrays in dB (-80..0) and chroma (0..1) are written again and again: each
    clip is a file of its own, as in the lab, and takes its own room in the page cache.
    """
    folder = data / GENRE
    (folder / "train").mkdir(parents=True)
    need_disk(folder, n_clips * (clip_bytes(kind, dtype) + clip_bytes(kind, "float16")))
    contents = [_npy(array.astype(dtype)) for array in _some_clips(kind)]
    for number in range(n_clips):
        path = folder / "train" / f"{FIRST_ID + number}.fused.full.npy"
        path.write_bytes(contents[number % len(contents)])
    _write_labels(folder, n_clips)
    return folder


def part_of_folder(whole: Path, data: Path, n_clips: int) -> Path:
    """A folder with the first `n_clips` of another one, as hard links: no more room is taken."""
    folder = data / GENRE
    (folder / "train").mkdir(parents=True)
    for number in range(n_clips):
        name = f"{FIRST_ID + number}.fused.full.npy"
        os.link(whole / "train" / name, folder / "train" / name)
    _write_labels(folder, n_clips)
    return folder


def _some_clips(kind: str, n_arrays: int = 48) -> Iterator[np.ndarray]:
    """Random clips [140, T], float32."""
    rng = np.random.default_rng(0)
    shortest, longest = FRAMES[kind]
    for number in range(n_arrays):
        n_frames = (
            (shortest, longest)[number] if number < 2 else rng.integers(shortest, longest + 1)
        )
        mel = 10 * np.log10(rng.gamma(0.5, size=(N_MELS, n_frames)))
        mel = np.maximum(mel - mel.max(), -80)
        chroma = rng.random((N_ROWS - N_MELS, n_frames))
        yield np.concatenate([mel, chroma]).astype(np.float32)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _write_labels(folder: Path, n_clips: int) -> None:
    lines = [
        f"{FIRST_ID + number}.fused.full.npy.gz\t{CLASSES[number % len(CLASSES)]}\n"
        for number in range(n_clips)
    ]
    (folder / "train_labels.txt").write_text("Id\tGenre\n" + "".join(lines), encoding="utf-8")


def drop_pages(folder: Path) -> None:
    """Take the files below a folder out of the page cache, so that the next read asks the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


# ---- the plain way: all files into a list ------------------------------------------------------


class InMemory(Dataset):
    """The lab's Dataset as it is usually written: every file is read into a list, then padded."""

    def __init__(self, folder: Path, split: str, crop_frames: int = 0) -> None:
        lines = (folder / f"{split}_labels.txt").read_text().splitlines()[1:]
        names, genres = zip(*(line.split("\t") for line in lines), strict=True)
        ids = [name.split(".")[0] for name in names]
        self.clips = [np.load(folder / split / f"{clip}.fused.full.npy")[:N_MELS].T for clip in ids]
        classes = sorted(set(genres))
        self.labels = [classes.index(genre) for genre in genres]
        self.longest = crop_frames or max(len(clip) for clip in self.clips)
        self.crop_frames = crop_frames

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int]:
        clip = self.clips[index]
        if self.crop_frames:
            start = np.random.randint(len(clip) - self.crop_frames + 1)
            clip = clip[start : start + self.crop_frames]
        padded = np.zeros((self.longest, N_MELS), dtype=np.float32)
        padded[: len(clip)] = clip
        return padded, self.labels[index], len(clip)


class PlainOpen(Side):
    """Read all files into a list; the first batch comes from PyTorch's DataLoader."""

    def __init__(self, folder: str, tiny: str = "") -> None:
        self.folder, self.tiny = Path(folder), Path(tiny or folder)

    def warm_up(self) -> None:
        """Open a folder of a few clips, so that all libraries have been used."""
        self._open(self.tiny)

    def run(self, **how: Any) -> object:
        """Open the folder and stack the first batch."""
        return self._open(self.folder)

    def _open(self, folder: Path) -> object:
        dataset = InMemory(folder, "train")
        return dataset, next(iter(DataLoader(dataset, BATCH_SIZE, shuffle=True)))

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """The first batch in order, in dB."""
        dataset = InMemory(self.folder, "train")
        x, y, lengths = next(iter(DataLoader(dataset, BATCH_SIZE)))
        return {"x": x.numpy(), "y": y.numpy(), "lengths": lengths.numpy()}


class PlainTraining(Side):
    """The CNN for one epoch, in float32, on clips in a list."""

    def __init__(self, folder: str, crop_frames: int) -> None:
        self.folder, self.crop_frames = Path(folder), crop_frames

    def run(self, **how: Any) -> object:
        """Open the folder and train for one epoch."""
        dataset = InMemory(self.folder, "train", self.crop_frames)
        model, loss = PlainCNN(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for x, y, lengths in DataLoader(dataset, BATCH_SIZE, shuffle=True):
            optimizer.zero_grad()
            loss(model(x.transpose(1, 2)[:, None], lengths), y).backward()
            optimizer.step()
        return dataset


# ---- the kit -----------------------------------------------------------------------------------


def import_pandas() -> None:
    """The kit imports pandas with its first label file: the import is not what is measured."""
    import pandas  # noqa: F401


class KitOpen(Side):
    """Open a folder with the kit; `part` picks the opening, the first batch, or (None) both."""

    def __init__(self, folder: str, tiny: str = "") -> None:
        import_pandas()
        self.folder, self.tiny = Path(folder), Path(tiny or folder)
        self.dataset: datasets.SpectrogramDataset | None = None

    def warm_up(self) -> None:
        """Open a folder of a few clips, so that all libraries have been used."""
        self._first_batch(self._open(self.tiny))

    def prepare(self, part: str | None = None, **how: Any) -> None:
        """Open the folder beforehand where only the first batch is wanted."""
        self.dataset = self._open(self.folder) if part == "batch" else None

    def run(self, part: str | None = None, **how: Any) -> object:
        """Open, check for changed files, cut the first batch of a shuffled loader."""
        dataset = self.dataset or self._open(self.folder)
        return dataset, (None if part == "open" else self._first_batch(dataset))

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """The first batch in order, in dB."""
        x, y, lengths = next(iter(datasets.make_loader(self._open(self.folder), BATCH_SIZE)))
        return {"x": x.numpy(), "y": y.numpy(), "lengths": lengths.numpy()}

    def _open(self, folder: Path) -> datasets.SpectrogramDataset:
        return datasets.SpectrogramDataset(folder, "train", "mel")

    def _first_batch(self, dataset: datasets.SpectrogramDataset) -> batches.Batch:
        return next(iter(datasets.make_loader(dataset, BATCH_SIZE, shuffle=True)))


MODELS = {"lstm-full": "05_lstm", "lstm-beat": "05_lstm", "cnn": "07_cnn"}  # whose settings


class KitEpoch(Side):
    """An epoch of the kit through its loader or, `in_place`, over the same batches as tensors.

    `model` is lstm-full, lstm-beat or cnn, with the settings of the demo profile.
    """

    def __init__(
        self, folder: str, model: str, in_place: bool = False, device: str = "cpu"
    ) -> None:
        import_pandas()
        values = load_profile("demo").parameters(MODELS[model])
        self.device = torch.device(device)
        self.dataset = datasets.SpectrogramDataset(Path(folder), "train", "mel")
        self.dataset.scaler = datasets.BandScaler.fit(self.dataset)
        self.options = {"batch_size": values["batch_size"]}
        if model == "cnn":
            backbone: nn.Module = models.CNNBackbone(N_MELS, values["channels"], values["kernel"])
            self.options |= {key: values[key] for key in ("crop_frames", "max_masked_bands")}
        else:
            backbone = models.LSTMBackbone(
                N_MELS, values["hidden_size"], values["n_layers"], pooling=values["pooling"]
            )
        torch.manual_seed(0)
        self.model = models.Classifier(backbone, len(CLASSES)).to(self.device)
        self.loss = training.default_loss(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.held = self._moved(self._loader()) if in_place else None
        self.batches: Any = ()

    def prepare(self, **how: Any) -> None:
        """The same batches for every run: a loader with the same seed."""
        self.batches = self.held or self._loader()
        synchronise(self.device)

    def run(self, **how: Any) -> None:
        """One epoch, as `helpers.training.train` goes through it."""
        self.model.train()
        with process.threads_for(self.model, self.device):
            for batch in self.batches:
                self._step([part.to(self.device, non_blocking=True) for part in batch])
        synchronise(self.device)

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """Everything an epoch goes through, in order."""
        arrays = {}
        for number, batch in enumerate(self.held or self._loader()):
            for name, part in zip(("x", "y", "lengths"), batch, strict=True):
                arrays[f"{number} {name}"] = part.cpu().numpy()
        return arrays

    def _loader(self) -> DataLoader:
        options = dict(self.options)
        if self.device.type == "cuda":  # the set is moved there once, and cut there
            options["device"] = self.device
        return datasets.make_loader(self.dataset, shuffle=True, seed=0, **options)

    def _moved(self, loader: DataLoader) -> list[list[torch.Tensor]]:
        return [[part.to(self.device) for part in batch] for batch in loader]

    def _step(self, batch: Sequence[torch.Tensor]) -> None:
        x, y, lengths = batch
        self.optimizer.zero_grad()
        with process.autocast(self.device):
            outputs = self.model(x, lengths)
        value = self.loss(outputs.float(), y)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), training.GRADIENT_NORM)
        self.optimizer.step()
        value.item()  # the training loop adds the losses up


class KitTraining(Side):
    """The CNN for one epoch with the kit, on windows of the same length."""

    def __init__(self, folder: str, crop_frames: int) -> None:
        import_pandas()
        self.folder, self.crop_frames = Path(folder), crop_frames

    def run(self, **how: Any) -> object:
        """Open the folder and train for one epoch."""
        dataset = datasets.SpectrogramDataset(self.folder, "train", "mel")
        dataset.scaler = datasets.BandScaler.fit(dataset)
        loader = datasets.make_loader(
            dataset, BATCH_SIZE, shuffle=True, crop_frames=self.crop_frames
        )
        model = models.Classifier(models.CNNBackbone(N_MELS), len(CLASSES))
        training.train(model, loader, epochs=1)
        return dataset


# ---- rows: opening -----------------------------------------------------------------------------

KIT_OPEN, PLAIN_OPEN = "benchmarks.speed_data:KitOpen", "benchmarks.speed_data:PlainOpen"


def lab_folder(context: Context) -> Path:
    """2,000 full clips as the lab has them (float64), made once."""
    if "lab" not in context.kept:
        size = clip_bytes("full", "float64")
        need_memory(1.2 * LAB_CLIPS * size)
        context.say(f"  writing {LAB_CLIPS:,} clips, {LAB_CLIPS * size / 1e9:.1f} GB")
        context.kept["lab"] = make_folder(context.scratch / "lab", LAB_CLIPS, "full", "float64")
    return context.kept["lab"]


def small_lab_folder(context: Context) -> Path:
    """The first 500 clips of it."""
    if "small lab" not in context.kept:
        place = context.scratch / "small-lab"
        context.kept["small lab"] = part_of_folder(lab_folder(context), place, SIZES[0])
    return context.kept["small lab"]


def measure_open(context: Context) -> list[Row]:
    """The first time, warm, its memory, and cold.

    Each run has a process of its own, in which the libraries are loaded and have been used: what is
    left is the opening, into fresh memory, as in a notebook that begins.
    """
    folder, clips = lab_folder(context), f"{LAB_CLIPS:,} clips"
    os.sync()  # no disk is busy while the clock runs, and pages that are on the disk can be dropped
    with _fresh_pair(context, folder) as workers:
        first = {side: [worker.time()["seconds"]] for side, worker in workers.items()}
        text, agrees = _batches_agree(*(worker.results() for worker in workers.values()))
    repeats = (5, 3) if context.quick else (15, 7)
    warm = _open_fresh(context, folder, repeats[0])
    seconds = _by_side(warm, "seconds")
    rows = [
        Row(
            "open-first",
            f"Open {clips} for the first time, first batch",
            kit=stat_of(first["kit"]),
            plain=stat_of(first["plain"]),
            ratio=ratio_of(first["plain"], first["kit"]),
            note="the kit packs the files, once",
        ),
        Row(
            "open-warm",
            f"Open {clips} and first batch, warm",
            kit=stat_of(seconds["kit"]),
            plain=stat_of(seconds["plain"]),
            ratio=ratio_of(seconds["plain"], seconds["kit"]),
            limit=Limit(AT_LEAST, 20),
            agreement=text,
            agrees=agrees,
        ),
    ]
    memory = _by_side(warm, "grown_mib")
    rows.append(
        Row(
            "open-memory",
            f"Memory for {clips} and first batch",
            unit="MiB",
            kit=stat_of(memory["kit"]),
            plain=stat_of(memory["plain"]),
            ratio=ratio_of(memory["plain"], memory["kit"]),
            limit=Limit(AT_LEAST, 10),
            note="growth of the process's peak, pages of mapped files included",
        )
    )
    name, title = "open-cold", f"Open {clips} and first batch, cold"
    if not hasattr(os, "posix_fadvise"):
        why = "this system cannot drop single files from its cache"
        return [*rows, not_measured(name, title, why)]
    cold = _open_fresh(context, folder, repeats[1], cold=True)
    seconds, read = _by_side(cold, "seconds"), _by_side(cold, "read_mib")
    rows.append(
        Row(
            name,
            title,
            kit=stat_of(seconds["kit"]),
            plain=stat_of(seconds["plain"]),
            ratio=ratio_of(seconds["plain"], seconds["kit"]),
            note=f"read from the disk: kit {stat_of(read['kit']).median:.0f} MiB, plain "
            f"{stat_of(read['plain']).median:.0f} MiB",
        )
    )
    return rows


@contextmanager
def _fresh_pair(context: Context, folder: Path) -> Iterator[dict[str, Worker]]:
    """A new process for each side, warmed up on a few clips."""
    if "tiny" not in context.kept:
        context.kept["tiny"] = make_folder(context.scratch / "tiny", BATCH_SIZE, "beat", "float16")
    options: dict[str, Any] = {"folder": str(folder), "tiny": str(context.kept["tiny"])}
    with (
        context.worker(KIT_OPEN, **options) as kit,
        context.worker(PLAIN_OPEN, plain=True, **options) as plain,
    ):
        for worker in (kit, plain):
            worker.warm_up()
        yield {"kit": kit, "plain": plain}


Answers = dict[str, list[dict[str, Any]]]  # side -> what it answered, round by round


def _open_fresh(context: Context, folder: Path, rounds: int, cold: bool = False) -> Answers:
    """Open the folder in new processes; `cold` takes all files out of the page cache before."""
    answers: Answers = {"kit": [], "plain": []}
    for number in range(rounds):
        with _fresh_pair(context, folder) as workers:
            for side in ("kit", "plain") if number % 2 == 0 else ("plain", "kit"):
                if cold:
                    drop_pages(context.scratch)
                answers[side].append(workers[side].time())
    return answers


def _by_side(answers: Answers, what: str) -> dict[str, list[list[float]]]:
    """One of the answers' numbers, as rounds of runs."""
    found: dict[str, list[list[float]]] = {}
    for side, rounds in answers.items():
        values = [answer[what] for answer in rounds]
        found[side] = [v if isinstance(v, list) else [max(float(v), 0.1)] for v in values]
    return found


def _batches_agree(kit: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> tuple[str, bool]:
    """The largest difference in dB of the first batches; whether labels and lengths are equal."""
    if kit["x"].shape != plain["x"].shape:
        return f"shapes {kit['x'].shape} and {plain['x'].shape}", False
    largest = float(np.abs(kit["x"] - plain["x"]).max())
    equal = all(np.array_equal(kit[name], plain[name]) for name in ("y", "lengths"))
    words = "labels and lengths equal" if equal else "labels or lengths differ"
    return f"within {largest:.3f} dB, {words}", equal and largest <= STORED_WITHIN_DB


# ---- rows: growth ------------------------------------------------------------------------------

SLOPE_LIMIT = Limit(AT_MOST, 5, "kit")
TOTAL_LIMIT = Limit(AT_MOST, 0.1, "kit")
BATCH_LIMIT = Limit(AT_MOST, 1.5, "kit")


def measure_growth(context: Context) -> list[Row]:
    """Opening with 500, 2,000 and 8,000 clips, changed files looked for, and the first batch.

    The length of the clips matters to the batch alone. `--quick` opens short clips, and takes the
    batch from full clips, of which it has no more than 2,000.
    """
    if context.quick:
        opened = growing_folders(context, "short")
        cut = {SIZES[0]: small_lab_folder(context), LAB_CLIPS: lab_folder(context)}
    else:
        opened = cut = growing_folders(context, "full")
    with ExitStack() as stack:
        workers: dict[Path, Worker] = {}
        for folder in {*opened.values(), *cut.values()}:
            worker = context.worker(KIT_OPEN, folder=str(folder))
            workers[folder] = stack.enter_context(worker)
            worker.time()  # packs
        turns = [Turn(f"open {n}", workers[f], 3, {"part": "open"}) for n, f in opened.items()]
        turns += [Turn(f"batch {n}", workers[f], 3, {"part": "batch"}) for n, f in cut.items()]
        times = in_turns(turns, context.seconds, least=5)
    return growth_rows(times, list(opened), list(cut))


def growing_folders(context: Context, kind: str) -> dict[int, Path]:
    """Folders of 500, 2,000 and 8,000 clips, by size; the smaller ones are parts of the largest."""
    size = clip_bytes(kind, "float16")
    context.say(f"  writing {SIZES[-1]:,} clips, {SIZES[-1] * size / 1e9:.1f} GB")
    data = context.scratch / "growth"
    data.mkdir()
    need_disk(data, (2 * SIZES[-1] + sum(SIZES[:-1])) * size)
    whole = make_folder(data / str(SIZES[-1]), SIZES[-1], kind, "float16")
    parts = {n: part_of_folder(whole, data / str(n), n) for n in SIZES[:-1]}
    return {**parts, SIZES[-1]: whole}


def growth_rows(times: Rounds, opened: Sequence[int], cut: Sequence[int]) -> list[Row]:
    """The rows out of the turns `open <clips>` and `batch <clips>`, sizes in rising order."""

    def pairs(part: str, sizes: Sequence[int]) -> Iterator[tuple[float, float]]:
        """Median times with the fewest and with the most clips, round by round."""
        for small, large in zip(
            times[f"{part} {sizes[0]}"], times[f"{part} {sizes[-1]}"], strict=True
        ):
            yield float(np.median(small)), float(np.median(large))

    def listed(part: str, sizes: Sequence[int]) -> str:
        return ", ".join(f"{n:,} clips {stat_of(times[f'{part} {n}']).text('s')}" for n in sizes)

    further = opened[-1] - opened[0]
    slopes = [(large - small) / further * 1e6 for small, large in pairs("open", opened)]
    return [
        Row(
            "growth-clip",
            f"Opening, for each clip more ({opened[0]:,} to {opened[-1]:,})",
            unit="µs",
            kit=Stat.of(slopes),
            limit=SLOPE_LIMIT,
            note=listed("open", opened),
        ),
        Row(
            "growth-open",
            f"Opening {opened[-1]:,} clips, changed files looked for",
            kit=stat_of(times[f"open {opened[-1]}"]),
            limit=TOTAL_LIMIT,
        ),
        Row(
            "growth-batch",
            f"First batch of {cut[-1]:,} full clips over that of {cut[0]:,}",
            unit="x",
            kit=Stat.of([large / small for small, large in pairs("batch", cut)]),
            limit=BATCH_LIMIT,
            note=listed("batch", cut),
        ),
    ]


# ---- rows: epochs and memory -------------------------------------------------------------------

EPOCH_TITLES = {"lstm-full": "LSTM, full clips", "lstm-beat": "LSTM, beats", "cnn": "CNN"}
EPOCH_CLIPS = 288
KIT_EPOCH = "benchmarks.speed_data:KitEpoch"


def epoch_folder(context: Context, kind: str) -> Path:
    """A folder of the size of the demo set's training part, made once."""
    name = f"epoch {kind}"
    if name not in context.kept:
        place = context.scratch / f"epoch-{kind}"
        context.kept[name] = make_folder(place, EPOCH_CLIPS, kind, "float16")
    return context.kept[name]


def measure_epoch(context: Context, model: str) -> list[Row]:
    """The loader against the same batches in place, for the same model."""
    folder = epoch_folder(context, "beat" if model == "lstm-beat" else "full")
    options: dict[str, Any] = {"folder": str(folder), "model": model, "device": context.device}
    with (
        context.worker(KIT_EPOCH, **options) as loader,
        context.worker(KIT_EPOCH, **options, in_place=True) as bare,
    ):
        expected, found = bare.results(), loader.results()
        equal = expected.keys() == found.keys() and all(
            np.array_equal(expected[name], found[name]) for name in expected
        )
        for worker in (loader, bare):
            worker.warm_up()
        turns = [Turn("loader", loader), Turn("bare", bare)]
        times = in_turns(turns, 2.5 * context.seconds, least=6)
    return [
        Row(
            f"epoch-{model}",
            f"Epoch through the loader, {EPOCH_TITLES[model]} (plain: in place)",
            kit=stat_of(times["loader"]),
            plain=stat_of(times["bare"]),
            ratio=ratio_of(times["bare"], times["loader"]),
            limit=Limit(AT_LEAST, 0.95),
            agreement="same batches" if equal else "batches differ",
            agrees=equal,
            note=f"{EPOCH_CLIPS} clips; plain is the same model and batches, as tensors in place",
        )
    ]


def measure_memory(context: Context) -> list[Row]:
    """Peak memory of one epoch of the CNN on windows, both from the folder as the lab has it."""
    n_clips = SIZES[0] if context.quick else LAB_CLIPS
    folder = small_lab_folder(context) if context.quick else lab_folder(context)
    crop_frames = load_profile("demo").parameters("07_cnn")["crop_frames"]
    options: dict[str, Any] = {"folder": str(folder), "crop_frames": crop_frames}
    with context.worker(KIT_OPEN, folder=str(folder)) as packer:
        packer.time()
    answers = {}
    for side, factory in (("kit", "KitTraining"), ("plain", "PlainTraining")):
        name = f"benchmarks.speed_data:{factory}"
        with context.worker(name, plain=side == "plain", **options) as worker:
            answers[side] = worker.time(watch=True)
    grown = {side: answer["grown_mib"] for side, answer in answers.items()}
    own = {side: answer["own_grown_mib"] for side, answer in answers.items()}
    peak = {side: answer["peak_mib"] for side, answer in answers.items()}
    seconds = {side: answer["seconds"][0] for side, answer in answers.items()}
    return [
        Row(
            "memory",
            f"Memory of a training, {n_clips:,} clips, CNN",
            unit="MiB",
            kit=Stat.of([grown["kit"]]),
            plain=Stat.of([grown["plain"]]),
            ratio=Stat.of([grown["plain"] / max(grown["kit"], 0.1)]),
            note=(
                f"growth of the process's peak; without pages of mapped files, which the system "
                f"takes back when it needs them: kit {own['kit']:.0f} MiB, plain "
                f"{own['plain']:.0f} MiB; whole processes at their peak: {peak['kit']:.0f} and "
                f"{peak['plain']:.0f} MiB; opening and one epoch took {seconds['kit']:.1f} and "
                f"{seconds['plain']:.1f} s"
            ),
        )
    ]


GROUPS = [
    Group("open", measure_open),
    Group("memory", measure_memory),
    Group("growth", measure_growth),
    *(Group(f"epoch-{model}", partial(measure_epoch, model=model)) for model in EPOCH_TITLES),
]
