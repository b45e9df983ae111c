"""Rows of training steps: LSTM and CNN, the kit's and the ones that a tutorial shows.

A step is forward, loss, backward and optimiser step on one batch of 32 clips. Each run begins with
the same weights, so both sides compute the same thing every time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.speed_measure import (
    Context,
    Group,
    Turn,
    Worker,
    in_turns,
    largest_difference,
    ratio_of,
    stat_of,
)
from benchmarks.speed_table import AT_LEAST, Limit, Row, not_measured
from benchmarks.speed_worker import Side
from helpers import models
from helpers.machinery import process

N_CLIPS, N_FEATURES, HIDDEN_SIZE, N_CLASSES = 32, 128, 128, 10
CHANNELS, KERNEL = (16, 32, 64, 128), 3
LENGTHS = {  # fewest and most frames of a clip
    "unequal": (1291, 1293),
    "equal": (1292, 1292),
    "beat": (26, 107),
    "crop": (256, 256),
}
EQUAL_WITHIN = 1e-4  # relative, in norm, float32
SHORT_FRAMES = 50
FLOAT64_CLIPS = 4
PATIENCE_SECONDS = 100  # of --quick, for one packed step


def make_batch(
    kind: str, n_clips: int = N_CLIPS
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random clips x [B, T, 128] padded with 0, their classes [B] and lengths [B]."""
    rng = np.random.default_rng(0)
    shortest, longest = LENGTHS[kind]
    lengths = rng.integers(shortest, longest + 1, n_clips)
    lengths[:2] = shortest, longest
    x = rng.standard_normal((n_clips, longest, N_FEATURES), dtype=np.float32)
    x *= np.arange(longest)[:, None] < lengths[:, None, None]
    y = rng.integers(0, N_CLASSES, n_clips)
    return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(lengths)


class Step(Side):
    """One step of a model on one batch, always from the same weights."""

    def __init__(self, model: nn.Module, batch: Sequence[torch.Tensor], device: str) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.whole_batch = self.batch = [part.to(self.device) for part in batch]
        self.loss = nn.CrossEntropyLoss()
        self.start = copy.deepcopy(self.model.state_dict())
        self.names = {name: name for name, _ in self.model.named_parameters()}
        self.outputs = torch.empty(0)

    def prepare(self, exact: bool = False, float64: bool = False, **how: Any) -> None:
        """Begin with the first weights again.

        `exact` keeps float32 whole on a GPU; `float64` computes a few clips in double precision.
        """
        self.model.to(torch.float64 if float64 else torch.float32).load_state_dict(self.start)
        x, y, lengths = self.whole_batch
        self.batch = [x.double(), y, lengths] if float64 else [x, y, lengths]
        if float64:
            self.batch = [part[:FLOAT64_CLIPS] for part in self.batch]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        torch.backends.cudnn.allow_tf32 = not exact
        synchronise(self.device)

    def results(self, **how: Any) -> dict[str, np.ndarray]:
        """Outputs and gradients of the last run, under the plain model's names."""
        gradients = {
            f"gradient {self.names[name]}": parameter.grad
            for name, parameter in self.model.named_parameters()
        }
        arrays = {"outputs": self.outputs, **gradients}
        return {n: a.double().cpu().numpy() for n, a in arrays.items() if a is not None}


# ---- the plain way -----------------------------------------------------------------------------


class PackedLSTM(nn.Module):
    """An LSTM classifier for sequences of unequal length, as PyTorch's documentation has it."""

    def __init__(
        self, n_features: int, hidden_size: int, n_classes: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear((1 + bidirectional) * hidden_size, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """x [B, T, F], lengths [B] -> scores [B, n_classes], from the mean over real frames."""
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(outputs.sum(1) / lengths[:, None])


class PlainCNN(nn.Module):
    """Four blocks of convolution, batch norm, ReLU and max pooling, and a linear layer."""

    def __init__(self, channels: Sequence[int] = CHANNELS, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *channels)):
            layers += [
                nn.Conv2d(before, after, KERNEL, padding=KERNEL // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1] * (N_FEATURES // 2 ** len(channels)), n_classes)

    def forward(self, image: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """image [B, 1, 128, T] of clips of one length -> scores [B, n_classes]."""
        return self.head(self.layers(image).mean(-1).flatten(1))


class PlainStep(Step):
    """A step as every tutorial writes it: float32, and as many threads as PyTorch takes."""

    def run(self, **how: Any) -> None:
        """One step."""
        self.outputs = self.step(*self.batch)

    def step(self, x: torch.Tensor, y: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Forward, loss, backward, optimiser step; returns the outputs."""
        self.optimizer.zero_grad()
        outputs = self.model(x, lengths)
        self.loss(outputs, y).backward()
        self.optimizer.step()
        synchronise(self.device)
        return outputs.detach()

    def facts(self) -> dict[str, Any]:
        """The threads that PyTorch takes."""
        return {"threads": torch.get_num_threads()}


class PlainLSTM(PlainStep):
    """The packed LSTM on one batch."""

    def __init__(
        self, kind: str, bidirectional: bool, device: str = "cpu", n_clips: int = N_CLIPS
    ) -> None:
        super().__init__(first_lstm(bidirectional), make_batch(kind, n_clips), device)
        # One packed step of unequal full clips takes half a minute on a CPU: warm up on the
        # beginnings of the clips.
        self.warm_frames = SHORT_FRAMES if kind == "unequal" and device == "cpu" else None

    def warm_up(self) -> None:
        """One step, on shortened clips where a whole one takes too long."""
        if self.warm_frames is None:
            super().warm_up()
            return
        x, y, lengths = self.batch
        self.prepare()
        self.step(x[:, : self.warm_frames], y, lengths.clamp(max=self.warm_frames))


class PlainCNNStep(PlainStep):
    """The four blocks in float32, channels first, on one batch of images."""

    def __init__(self, kind: str, device: str = "cpu", n_clips: int = N_CLIPS) -> None:
        x, y, lengths = make_batch(kind, n_clips)
        images = x.transpose(1, 2)[:, None].contiguous()
        super().__init__(first_cnn(), (images, y, lengths), device)


def first_lstm(bidirectional: bool) -> PackedLSTM:
    """The packed LSTM with the weights that both sides begin with."""
    torch.manual_seed(0)
    return PackedLSTM(N_FEATURES, HIDDEN_SIZE, N_CLASSES, bidirectional)


def first_cnn() -> PlainCNN:
    """The plain CNN with the weights that both sides begin with."""
    torch.manual_seed(0)
    return PlainCNN()


# ---- the kit -----------------------------------------------------------------------------------


class KitStep(Step):
    """A step as `helpers.training.train` makes it: its threads, and its mixed precision."""

    def __init__(
        self,
        model: nn.Module,
        plain: nn.Module,
        names: dict[str, str],
        batch: Sequence[torch.Tensor],
        device: str,
    ) -> None:
        """`names` maps the plain model's names to the kit's, whose weights are taken over."""
        model.load_state_dict({names[n]: value for n, value in plain.state_dict().items()})
        super().__init__(model, batch, device)
        self.names = {names[name]: name for name, _ in plain.named_parameters()}

    def run(self, float32: bool = False, **how: Any) -> None:
        """One step; `float32` as on a processor without bfloat16."""
        x, y, lengths = self.batch
        bfloat16 = no_bfloat16() if float32 else nullcontext()
        with bfloat16, process.threads_for(self.model, self.device):
            self.optimizer.zero_grad()
            with process.autocast(self.device):
                outputs = self.model(x, lengths)
            self.loss(outputs.to(x.dtype), y).backward()
            self.optimizer.step()
            synchronise(self.device)
        self.outputs = outputs.detach()

    def facts(self) -> dict[str, Any]:
        """Whether it computes in bfloat16."""
        return {"bfloat16": process.has_native_bfloat16(self.device)}


class KitLSTM(KitStep):
    """The kit's masked LSTM on one batch."""

    def __init__(
        self, kind: str, bidirectional: bool, device: str = "cpu", n_clips: int = N_CLIPS
    ) -> None:
        backbone = models.LSTMBackbone(
            N_FEATURES, HIDDEN_SIZE, bidirectional=bidirectional, dropout=0.0
        )
        plain = first_lstm(bidirectional)
        names = {name: _kit_lstm_name(name) for name in plain.state_dict()}
        batch = make_batch(kind, n_clips)
        super().__init__(models.Classifier(backbone, N_CLASSES), plain, names, batch, device)


class KitCNN(KitStep):
    """The kit's CNN on one batch."""

    def __init__(self, kind: str, device: str = "cpu", n_clips: int = N_CLIPS) -> None:
        backbone = models.CNNBackbone(N_FEATURES, CHANNELS, KERNEL, dropout=0.0)
        plain = first_cnn()
        names = {name: _kit_cnn_name(name) for name in plain.state_dict()}
        batch = make_batch(kind, n_clips)
        super().__init__(models.Classifier(backbone, N_CLASSES), plain, names, batch, device)


def _kit_lstm_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "head":
        return name
    if rest.endswith("_reverse"):
        return f"backbone.backward_layers.0.{rest.removesuffix('_reverse')}"
    return f"backbone.forward_layers.0.{rest}"


def _kit_cnn_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "head":
        return name
    number, _, what = rest.partition(".")
    block, layer = divmod(int(number), 4)
    return f"backbone.blocks.{block}.{layer}.{what}"


# ---- settings of a run -------------------------------------------------------------------------


@contextmanager
def no_bfloat16() -> Iterator[None]:
    """What the kit does on a processor without bfloat16."""
    real = process.has_native_bfloat16
    process.has_native_bfloat16 = lambda device: False
    try:
        yield
    finally:
        process.has_native_bfloat16 = real


def synchronise(device: torch.device) -> None:
    """Wait until the GPU has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---- rows --------------------------------------------------------------------------------------

LSTM_TITLES = {
    "unequal": "LSTM step, T 1291-1293",
    "equal": "LSTM step, T 1292 equal",
    "beat": "LSTM step, beats, T 26-107",
}
CNN_TITLES = {"crop": "CNN step, 256 frames", "equal": "CNN step, 1292 frames"}


def lstm_limit(kind: str, on_cuda: bool) -> Limit:
    """On a CPU packing is slow for unequal lengths; on a GPU it may be the faster form."""
    if on_cuda:
        return Limit(AT_LEAST, 0.95)
    return Limit(AT_LEAST, 100 if kind == "unequal" else 1)


def measure_lstm(context: Context, kind: str) -> list[Row]:
    """One and two directions; float32 against float32, and bfloat16 beside it."""
    rows: list[Row] = []
    for directions in (1, 2):
        name, title = _lstm_name(kind, directions)
        if context.quick and rows and rows[0].plain and rows[0].plain.median > PATIENCE_SECONDS:
            why = (
                f"with one direction the packed step took {rows[0].plain.text('s')}, with two it "
                "takes about twice as long; leave out --quick to wait for it"
            )
            rows.append(not_measured(name, title, why, lstm_limit(kind, context.on_cuda)))
            continue
        options: dict[str, Any] = {"kind": kind, "device": context.device}
        options["bidirectional"] = directions == 2
        kit = context.worker("benchmarks.speed_models:KitLSTM", **options)
        plain = context.worker("benchmarks.speed_models:PlainLSTM", plain=True, **options)
        with kit, plain:
            rows += _lstm_rows(context, kind, directions, kit, plain)
    return rows


def _lstm_name(kind: str, directions: int) -> tuple[str, str]:
    ways = "one direction" if directions == 1 else "two directions"
    return f"lstm-{kind}-{directions}", f"{LSTM_TITLES[kind]}, {ways}"


def _lstm_rows(
    context: Context, kind: str, directions: int, kit: Worker, plain: Worker
) -> list[Row]:
    kit.warm_up()
    kit.time(1, float32=True)
    plain.warm_up()
    slow = kind == "unequal" and not context.on_cuda
    has_bfloat16 = kit.facts()["bfloat16"]
    runs = 7 if slow else 1
    turns = [Turn("plain", plain), Turn("kit", kit, runs, {"float32": True})]
    if has_bfloat16:
        turns.append(Turn("bfloat16", kit, runs))
    least = (1 if context.quick else 3) if slow else 5
    times = in_turns(turns, 0 if slow else context.seconds, least=least)

    if context.on_cuda:
        plain.time(1, exact=True)
    expected = plain.results()  # each of its runs computes the same
    kit.time(1, float32=True, exact=True)
    text, agrees = agreement(kit.results(), expected)
    note = f"kit: two LSTMs of one thread each; packed: {plain.facts()['threads']} threads"
    name, title = _lstm_name(kind, directions)
    rows = [
        Row(
            name,
            f"{title}, float32",
            kit=stat_of(times["kit"]),
            plain=stat_of(times["plain"]),
            ratio=ratio_of(times["plain"], times["kit"]),
            limit=lstm_limit(kind, context.on_cuda),
            agreement=text,
            agrees=agrees,
            note="" if context.on_cuda else note,
        )
    ]
    if has_bfloat16:
        kit.time(1)
        rows.append(
            Row(
                f"{name}-bfloat16",
                f"{title}, kit in bfloat16",
                kit=stat_of(times["bfloat16"]),
                plain=stat_of(times["plain"]),
                ratio=ratio_of(times["plain"], times["bfloat16"]),
                agreement=agreement(kit.results(), expected)[0],
            )
        )
    return rows


def measure_cnn(context: Context, kind: str) -> list[Row]:
    """As the kit runs here, and as it runs on a processor without bfloat16."""
    options: dict[str, Any] = {"kind": kind, "device": context.device}
    kit = context.worker("benchmarks.speed_models:KitCNN", **options)
    plain = context.worker("benchmarks.speed_models:PlainCNNStep", plain=True, **options)
    with kit, plain:
        kit.warm_up()
        kit.time(1, float32=True)
        plain.warm_up()
        has_bfloat16 = kit.facts()["bfloat16"]
        turns = [Turn("plain", plain), Turn("float32", kit, 1, {"float32": True})]
        if has_bfloat16:
            turns.append(Turn("bfloat16", kit))
        times = in_turns(turns, 1.5 * context.seconds, least=5)
        plain.time(1, exact=True)
        expected = plain.results()
        rows = []
        if has_bfloat16:
            kit.time(1)
            rows.append(
                Row(
                    f"cnn-{kind}-bfloat16",
                    f"{CNN_TITLES[kind]}, kit in bfloat16",
                    kit=stat_of(times["bfloat16"]),
                    plain=stat_of(times["plain"]),
                    ratio=ratio_of(times["plain"], times["bfloat16"]),
                    limit=Limit(AT_LEAST, 1.7),
                    agreement=agreement(kit.results(), expected)[0],
                )
            )
        text, agrees = _cnn_equality(kit, plain, expected)
        note = "what a processor without bfloat16 gets; " if has_bfloat16 else ""
        rows.append(
            Row(
                f"cnn-{kind}-float32",
                f"{CNN_TITLES[kind]}, kit without bfloat16",
                kit=stat_of(times["float32"]),
                plain=stat_of(times["plain"]),
                ratio=ratio_of(times["plain"], times["float32"]),
                limit=Limit(AT_LEAST, 0.95),
                agreement=text,
                agrees=agrees,
                note=f"{note}the gradients are compared in float64 on {FLOAT64_CLIPS} clips, "
                "because in float32 roundings decide which of two near values a max pooling takes",
            )
        )
    return rows


def _cnn_equality(kit: Worker, plain: Worker, expected: dict[str, np.ndarray]) -> tuple[str, bool]:
    """Outputs in float32, gradients in float64: the differences, and whether both are small."""
    kit.time(1, float32=True, exact=True)
    outputs = largest_difference(kit.results(), expected, "outputs")
    kit.time(1, float32=True, float64=True)
    plain.time(1, float64=True)
    gradients = largest_difference(kit.results(), plain.results(), "gradient")
    text = f"outputs {outputs:.1e}, gradients {gradients:.1e} (float64)"
    return text, max(outputs, gradients) <= EQUAL_WITHIN


def agreement(kit: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> tuple[str, bool]:
    """Relative differences in norm, of the outputs and of the worst gradient; and if both hold."""
    outputs = largest_difference(kit, plain, "outputs")
    gradients = largest_difference(kit, plain, "gradient")
    text = f"outputs {outputs:.1e}, gradients {gradients:.1e}"
    return text, max(outputs, gradients) <= EQUAL_WITHIN


GROUPS = [
    *(Group(f"lstm-{kind}", partial(measure_lstm, kind=kind)) for kind in LSTM_TITLES),
    Group("cnn-crop", partial(measure_cnn, kind="crop")),
    Group("cnn-full", partial(measure_cnn, kind="equal")),
]
