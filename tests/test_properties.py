"""What holds for any clip, any batch, any label file and any folder, tried out with hypothesis.

The examples are drawn anew from a fixed seed, so every run tries the same ones.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import Subset

from helpers import models
from helpers.datasets import BandScaler, SpectrogramDataset, make_loader
from helpers.folders import (
    AXES,
    GENRE,
    GENRES,
    MULTITASK,
    MULTITASK_BEAT,
    WHOLE,
    inspect_clips,
    read_clips,
)  # fmt: skip
from helpers.machinery.files import LabError
from helpers.training import predict
from tools.checks import check_data

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def examples(count: int) -> settings:
    """So many examples, the same ones in every run, however slow the machine is."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models as tiny as these only lose time by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- models: neither padding nor company changes a prediction ----------------------------------

KINDS = (*models.POOLINGS, "cnn")
SEEDS = st.integers(0, 2**16)
HEADS = st.sampled_from(
    [("classifier", {"n_classes": 3}), ("regressor", {}), ("multitask", {"n_axes": 2})]
)


@dataclass(frozen=True)
class Tried:
    """A model, how many values a frame of its clips has, and how few frames it can take."""

    model: nn.Module
    n_features: int
    shortest: int = 1


@st.composite
def models_of(draw: st.DrawFn, kind: str) -> Tried:
    """A CNN of two to four blocks, or an LSTM of this pooling, any layers and directions."""
    if kind != "cnn":
        options = {
            "n_features": 4,
            "hidden_size": draw(st.integers(1, 4)),
            "n_layers": draw(st.integers(1, 2)),
            "bidirectional": draw(st.booleans()),
            "pooling": kind,
        }
        return Tried(_built(draw, "lstm", options), 4)
    channels, pool = draw(st.sampled_from([((2, 3, 2, 3), 2), ((3, 2, 3), 2), ((2, 3), 3)]))
    options = {
        "n_features": draw(st.integers(16, 18)),
        "channels": channels,
        "kernel": draw(st.sampled_from([1, 3, 5])),
        "pool": pool,
    }
    return Tried(_built(draw, "cnn", options), options["n_features"], pool ** len(channels))


def _built(draw: st.DrawFn, backbone: str, options: dict[str, Any]) -> nn.Module:
    """The model with any head and random weights and statistics, as after training."""
    head, head_options = draw(HEADS)
    spec = {"backbone": backbone, "backbone_options": options}
    model = models.build_model(spec | {"head": head, "head_options": head_options})
    torch.manual_seed(draw(SEEDS))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


@st.composite
def clips_for(draw: st.DrawFn, tried: Tried) -> list[torch.Tensor]:
    """Two to five clips [T, F] of any lengths that the model takes."""
    lengths = st.integers(tried.shortest, tried.shortest + 20)
    chosen = draw(st.lists(lengths, min_size=2, max_size=5))
    random = torch.Generator().manual_seed(draw(SEEDS))
    return [torch.randn(length, tried.n_features, generator=random) for length in chosen]


def joined(clips: Sequence[torch.Tensor], n_more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of clips, with `n_more` frames of padding than they need: x [B, T, F], lengths."""
    x = pad_sequence(list(clips), batch_first=True)
    return nn.functional.pad(x, (0, 0, 0, n_more)), torch.tensor([len(clip) for clip in clips])


@torch.no_grad()
def one_at_a_time(model: nn.Module, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Each clip's prediction, alone and without any padding."""
    return torch.cat([model(*joined([clip])) for clip in clips])


@pytest.mark.parametrize("kind", KINDS)
@examples(12)
@given(drawn=st.data(), n_more=st.integers(0, 40))
def test_no_amount_of_padding_changes_a_prediction(
    kind: str, drawn: st.DataObject, n_more: int
) -> None:
    tried = drawn.draw(models_of(kind))
    clips = drawn.draw(clips_for(tried))
    with torch.no_grad():
        padded = tried.model(*joined(clips, n_more))
    torch.testing.assert_close(padded, one_at_a_time(tried.model, clips), **CLOSE)


@pytest.mark.parametrize("kind", models.POOLINGS)
@examples(12)
@given(
    drawn=st.data(),
    n_more=st.integers(0, 5),
    rubbish=st.sampled_from([0.1, -7.0, 1e4, -1e15, 1e30]),
)
def test_an_lstm_never_looks_at_what_stands_behind_a_clip(
    kind: str, drawn: st.DataObject, n_more: int, rubbish: float
) -> None:
    tried = drawn.draw(models_of(kind))
    clips = drawn.draw(clips_for(tried))
    x, lengths = joined(clips, n_more)
    behind = ~models.time_mask(lengths, x.shape[1])
    x[behind] = rubbish * torch.randn(int(behind.sum()), x.shape[2])
    with torch.no_grad():
        predicted = tried.model(x, lengths)
    torch.testing.assert_close(predicted, one_at_a_time(tried.model, clips), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@examples(12)
@given(drawn=st.data())
def test_no_company_in_its_batch_changes_a_prediction(kind: str, drawn: st.DataObject) -> None:
    tried = drawn.draw(models_of(kind))
    clips = drawn.draw(clips_for(tried))
    picked = drawn.draw(st.lists(st.sampled_from(range(len(clips))), min_size=2, max_size=8))
    with torch.no_grad():
        together = tried.model(*joined([clips[clip] for clip in picked]))
    torch.testing.assert_close(together, one_at_a_time(tried.model, clips)[picked], **CLOSE)


@examples(40)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    n_more=st.integers(0, 4),
    hidden=st.integers(1, 5),
    n_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    seed=SEEDS,
)
def test_an_lstm_is_the_packed_one_in_outputs_and_gradients(
    lengths: list[int], n_more: int, hidden: int, n_layers: int, bidirectional: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    own = models.LSTMBackbone(3, hidden, n_layers, bidirectional, dropout=0.0)
    packed = nn.LSTM(3, hidden, n_layers, batch_first=True, bidirectional=bidirectional)
    own.load_state_dict({_own_name(name): value for name, value in packed.state_dict().items()})
    clips, sizes = joined([torch.randn(length, 3) for length in lengths], n_more)
    own_x, packed_x = clips.clone().requires_grad_(), clips.clone().requires_grad_()
    real = models.time_mask(sizes, clips.shape[1])[:, :, None]

    outputs = own.steps(own_x, sizes) * real
    sequence = pack_padded_sequence(packed_x, sizes, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(
        packed(sequence)[0], batch_first=True, total_length=clips.shape[1]
    )
    torch.testing.assert_close(outputs, expected, **CLOSE)

    weights = torch.randn(expected.shape)
    (outputs * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(own_x.grad, packed_x.grad, rtol=1e-4, atol=1e-5)
    gradients = dict(own.named_parameters())
    for name, parameter in packed.named_parameters():
        own_gradient = gradients[_own_name(name)].grad
        torch.testing.assert_close(own_gradient, parameter.grad, rtol=1e-4, atol=1e-5)


def _own_name(name: str) -> str:
    """What `LSTMBackbone` calls a parameter of `nn.LSTM`, such as weight_ih_l1_reverse."""
    kind, layer, reverse = re.fullmatch(r"(\w+)_l(\d)(_reverse)?", name).groups()
    return f"{'backward' if reverse else 'forward'}_layers.{layer}.{kind}_l0"


# ---- loaders: the same through a folder, a store and batches of any size -----------------------


@dataclass(frozen=True)
class Folder:
    """A folder of the mini data, a model for it, and the model's answer to each clip alone."""

    dataset: SpectrogramDataset
    model: nn.Module
    alone: np.ndarray


@pytest.fixture(scope="module")
def folders(mini_data: Path) -> list[Folder]:
    torch.manual_seed(0)
    wanted = (
        (GENRE, "test", "fused", models.LSTMBackbone(140, 3, pooling="attention"), ()),
        (MULTITASK_BEAT, "train", "mel", models.CNNBackbone(128, (2, 3, 2, 3)), AXES),
        (MULTITASK, "test", "chroma", models.LSTMBackbone(12, 3, 2, pooling="last"), AXES),
    )
    made = []
    for name, split, feature, backbone, axes in wanted:
        dataset = SpectrogramDataset(mini_data / name, split, feature, axes=axes)
        dataset.scaler = BandScaler.fit(dataset)
        model = models.Classifier(backbone, 3).eval()
        clips = [dataset[clip][0] for clip in range(len(dataset))]
        made.append(Folder(dataset, model, one_at_a_time(model, clips).numpy()))
    return made


@examples(40)
@given(st.data(), st.integers(0, 2), st.integers(1, 20))
def test_predictions_of_a_folder_do_not_depend_on_its_batches(
    folders: list[Folder], drawn: st.DataObject, number: int, batch_size: int
) -> None:
    folder = folders[number]
    clips = st.sampled_from(range(len(folder.dataset)))
    picked = drawn.draw(st.lists(clips, min_size=1, max_size=20))
    predicted = predict(folder.model, make_loader(Subset(folder.dataset, picked), batch_size))
    np.testing.assert_allclose(predicted, folder.alone[picked], **CLOSE)
    assert predicted.dtype == np.float32


@examples(40)
@given(st.data(), st.integers(1, 20), st.booleans(), SEEDS)
def test_an_epoch_visits_every_clip_once_whole_and_with_its_own_label(
    folders: list[Folder], drawn: st.DataObject, batch_size: int, shuffle: bool, seed: int
) -> None:
    dataset = folders[1].dataset  # its labels, three values each, tell its clips apart
    picked = drawn.draw(st.permutations(range(len(dataset))))
    picked = picked[: drawn.draw(st.integers(1, len(picked)))]
    loader = make_loader(Subset(dataset, picked), batch_size, shuffle=shuffle, seed=seed)
    visited = []
    for x, y, lengths in loader:
        assert 1 <= len(x) <= batch_size and x.dtype == torch.float32
        for row, label, length in zip(x, y, lengths.tolist(), strict=True):
            (clip,) = torch.nonzero((dataset.labels == label).all(1)).flatten().tolist()
            visited.append(clip)
            assert length == len(dataset[clip][0])
            torch.testing.assert_close(row[:length], dataset[clip][0], rtol=1e-6, atol=1e-6)
            assert not row[length:].any(), "the padding is not 0"
    assert sorted(visited) == sorted(picked)
    if not shuffle:
        assert visited == list(picked)


# ---- label files: a valid table or a LabError, nothing else ------------------------------------

IDS = ("1042", "7", "a_B-9", "0007", "123212738")
ODD_FIELDS = (  # some are right in one column and wrong in another
    "", " ", "7", "7.full.npy", "../7", "/etc/passwd", "٧", "7\u2028", "7\x00", "x" * 300,
    "1e-3", ".5", "0.1_2", "٠.٥", "1e-400", "-0.0", "1.0000000000000001", "nan", "inf", "-0.1",
    "0,5", "half", "rock", "Rock", "\u2003Rock", "Hip‐Hop", '"Rock"',
)  # fmt: skip
LINE_ENDS = ("\n", "\r\n", "\r", "\n\n", " \n", "\x0b", "\x85", "\u2028", "\n\x00")


@dataclass(frozen=True)
class Form:
    """One of the two forms of label file, and what it accepts, written as plainly as can be."""

    folder: str
    separator: str
    columns: tuple[str, ...]
    valid: st.SearchStrategy[list[str]]

    @property
    def header(self) -> str:
        return self.separator.join(["Id", *self.columns])

    def values_of(self, texts: list[str]) -> tuple[Any, ...] | None:
        """The values of a row behind its id; None when one is not allowed."""
        if self.columns == ("genre",):
            return tuple(texts) if texts[0] in GENRES else None
        try:
            values = tuple(float(text) for text in texts)
        except ValueError:
            return None
        return values if all(0 <= value <= 1 for value in values) else None

    def rows_of(self, content: bytes) -> tuple[list[tuple[Any, ...]], int]:
        """The usable rows, and how many lines are bad; no rows for a file that is bad as such."""
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            return [], 1
        if lines and lines[0].split(self.separator)[0].split(".")[0].isdigit():
            return [], 1
        rows: dict[str, tuple[Any, ...]] = {}
        n_bad = 0
        for line in (line for line in lines[1:] if line.strip()):
            name, *texts = (text.strip() for text in line.split(self.separator))
            name = name.split(".")[0]
            usable = len(texts) == len(self.columns) and all(texts)
            usable = usable and bool(re.fullmatch("[A-Za-z0-9_-]+", name)) and name not in rows
            values = self.values_of(texts) if usable else None
            if values is None:
                n_bad += 1
            else:
                rows[name] = (name, *values)
        return list(rows.values()), n_bad


NUMBERS = st.floats(0, 1).map(lambda value: f"{value:.3g}")
GENRE_FILE = Form(GENRE, "\t", ("genre",), st.sampled_from(GENRES).map(lambda genre: [genre]))
AFFECT_FILE = Form(MULTITASK, ",", AXES, st.lists(NUMBERS, min_size=3, max_size=3))


@st.composite
def label_files(draw: st.DrawFn, form: Form) -> bytes:
    """A valid label file with any number of faults, from none to many; at times any bytes."""
    if draw(st.integers(0, 9)) == 9:
        anything = draw(st.one_of(st.binary(), st.text().map(str.encode)))
        return form.header.encode() + b"\n" + anything
    names = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True))
    endings = st.sampled_from(["", ".npy", ".fused.full.npy.gz"])
    rows = [[name + draw(endings), *draw(form.valid)] for name in names]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(ODD_FIELDS))
    lines = [form.header, *(form.separator.join(row) for row in rows)]
    line = draw(st.integers(1, len(lines) - 1))
    fault = draw(st.sampled_from([*[""] * 6, "twice", "no header", "more", "fewer", "spaces"]))
    if fault == "twice":
        lines.append(lines[line])
    elif fault == "no header":
        del lines[0]
    elif fault == "more":
        lines[line] += form.separator + draw(st.sampled_from(ODD_FIELDS))
    elif fault == "fewer":
        lines[line] = lines[line].rpartition(form.separator)[0]
    elif fault == "spaces":
        lines[line] = lines[line].replace(form.separator, f" {form.separator}  ") + " "
    end = draw(st.sampled_from(["\n"] * 9 + list(LINE_ENDS)))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


@pytest.fixture(scope="module")
def named_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with files for all IDS but the last one, and without label files."""
    folder = tmp_path_factory.mktemp("clips")
    for split in (folder / GENRE / "train", folder / MULTITASK / "train"):
        split.mkdir(parents=True)
        for number, name in enumerate(IDS[:-1]):
            (split / f"{name}.fused.full.npy{'.gz' if number % 2 else ''}").touch()
    return folder


@examples(300)
@given(drawn=st.data(), form=st.sampled_from([GENRE_FILE, AFFECT_FILE]))
def test_any_label_file_is_a_valid_table_or_one_error_of_our_own(
    named_clips: Path, drawn: st.DataObject, form: Form
) -> None:
    folder = named_clips / form.folder
    labels = folder / "train_labels.txt"
    content = drawn.draw(label_files(form))
    labels.write_bytes(content)
    rows, n_bad = form.rows_of(content)
    there = [row for row in rows if row[0] in IDS[:-1]]
    clips, problems = inspect_clips(folder, "train")
    if WHOLE in problems:  # nothing in it can be used, and the clips are those of the folder
        (text,) = problems.values()
        assert not rows and text.startswith(str(labels)) and len(text.splitlines()) == 1, text
        assert sorted(clips["id"]) == sorted(IDS[:-1])
        with pytest.raises(LabError):
            read_clips(folder, "train")
        return
    assert clips["id"].is_unique and list(clips.columns) == ["id", "path", "split", *form.columns]
    assert list(clips[["id", *form.columns]].itertuples(index=False, name=None)) == there
    assert len(problems) == n_bad + len(rows) - len(there)
    assert all(text.startswith(f"{labels}:") for text in problems.values())
    for name, path in zip(clips["id"], map(Path, clips["path"]), strict=True):
        assert path.parent == folder / "train" and path.name.split(".")[0] == name


# ---- the store: always what is in the files now ------------------------------------------------

ROWS = {"mel": slice(0, 128), "chroma": slice(128, 140), "fused": slice(0, 140)}
CLIP_NAMES = ("9.fused.full", "10.fused.full", "5001", "a-b_c.beat")
BROKEN = {
    "NaN": lambda clip: np.where(np.arange(clip.shape[1]) == 0, np.nan, clip),
    "infinity": lambda clip: np.where(np.arange(clip.shape[1]) == 0, -np.inf, clip),
    "too large for float16": lambda clip: np.full_like(clip, 1e6, dtype=np.float64),
    "transposed": lambda clip: clip.T,
    "no frames": lambda clip: clip[:, :0],
    "whole numbers": lambda clip: clip.astype(np.int64),
    "pickled": lambda clip: np.array([[clip]], dtype=object),
}


@dataclass(frozen=True)
class Source:
    """A clip's file: the array in it, and whether it is one that every reader must refuse."""

    array: np.ndarray
    compressed: bool
    broken: bool = False
    n_cut: int = 0  # bytes that are missing at its end

    def content(self) -> bytes:
        """The bytes of the file."""
        buffer = io.BytesIO()
        np.save(buffer, self.array, allow_pickle=True)
        whole = gzip.compress(buffer.getvalue(), 1) if self.compressed else buffer.getvalue()
        return whole[: max(0, len(whole) - self.n_cut)]

    def file_name(self, name: str) -> str:
        """How the file of the clip `name` is called."""
        return f"{name}.npy.gz" if self.compressed else f"{name}.npy"

    def must_fail(self) -> bool:
        """Whether the array is broken or not all there.

        What gzip has at its very end is a check that a reader of the array need not come to.
        """
        if self.broken or not self.n_cut:
            return self.broken
        if not self.compressed:
            return True
        there = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(self.content())
        return there != replace(self, compressed=False, n_cut=0).content()


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """A small whole clip of any length, float type, order in memory, scale and compression."""
    random = np.random.default_rng(draw(SEEDS))
    largest = draw(st.sampled_from([80.0, 80.0, 1e-6, 6e4]))
    array = random.uniform(-largest, largest, size=(140, draw(st.integers(1, 24))))
    dtype = draw(st.sampled_from(["f2", "f4", "f8", ">f4"]))
    array = np.array(array, dtype, order=draw(st.sampled_from("CF")))
    return Source(array, draw(st.booleans()))


class ClipFolder:
    """A split without label file; its files have times that differ, as real changes have."""

    def __init__(self, place: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=place)) / MULTITASK
        self.files = self.folder / "test"
        self.files.mkdir(parents=True)
        self.sources: dict[str, Source] = {}
        self._n_written = 0

    def write(self, name: str, source: Source, later: bool = True) -> None:
        """Put a file in place of the clip's former one, with a later or an earlier time."""
        self.remove(name)
        path = self.files / source.file_name(name)
        path.write_bytes(source.content())
        self._n_written += 1
        time = 1_600_000_000_000_000_000 + (1 if later else -1) * self._n_written * 10_000_000
        os.utime(path, ns=(time, time))
        self.sources[name] = source

    def remove(self, name: str) -> None:
        """Take the clip's file away, if there is one."""
        if name in self.sources:
            (self.files / self.sources.pop(name).file_name(name)).unlink()

    def swap(self, first: str, second: str) -> None:
        """Rename two files to each other's names; their sizes and times go with them."""
        if first == second:
            return
        one, two = self.sources[first], self.sources[second]
        spare = self.files / "spare"
        (self.files / one.file_name(first)).rename(spare)
        (self.files / two.file_name(second)).rename(self.files / two.file_name(first))
        spare.rename(self.files / one.file_name(second))
        self.sources[first], self.sources[second] = two, one

    def open(self, feature: str) -> SpectrogramDataset | None:
        """The folder as a dataset, or None after a LabError where one is right."""
        must_fail = not self.sources or any(s.must_fail() for s in self.sources.values())
        try:
            dataset = SpectrogramDataset(self.folder, "test", feature)
        except LabError as error:
            assert must_fail or any(source.n_cut for source in self.sources.values()), error
            assert str(self.files) in str(error) and len(str(error).splitlines()) == 1
            return None
        assert not must_fail, "a broken file was taken for a whole one"
        return dataset


def check_clip(frames: np.ndarray, source: Source, feature: str) -> None:
    """A clip's frames [T, F] are those of its file, as near as float16 can say them."""
    expected = source.array.T[:, ROWS[feature]].astype(np.float64)
    assert frames.dtype == np.float32 and frames.shape == expected.shape
    if source.array.dtype == np.float16:
        np.testing.assert_array_equal(frames, expected)
    np.testing.assert_allclose(frames, expected, rtol=2**-10.9, atol=2**-24.9)


def check_all(dataset: SpectrogramDataset, files: dict[str, Source]) -> None:
    """All clips of a dataset are those of these files, each under its own id."""
    by_id = {name.split(".")[0]: source for name, source in files.items()}
    assert sorted(dataset.ids) == sorted(by_id)
    for number, name in enumerate(dataset.ids):
        check_clip(dataset.frames(number), by_id[name], dataset.feature)


FEATURES = st.sampled_from(list(ROWS))


@examples(40)
@given(st.data(), st.dictionaries(st.sampled_from(CLIP_NAMES), sources(), min_size=1), FEATURES)
def test_a_store_equals_its_files_in_any_order(
    home: Path, drawn: st.DataObject, files: dict[str, Source], feature: str
) -> None:
    folder = ClipFolder(home)
    for name, source in files.items():
        folder.write(name, source)
    packed = folder.open(feature)
    again = folder.open(feature)
    check_all(packed, files)
    by_id = {name.split(".")[0]: source for name, source in files.items()}
    numbers = st.sampled_from(range(len(files)))
    for number in drawn.draw(st.lists(numbers, max_size=8)):
        frames, _, length = again[number]
        assert length == len(frames)
        check_clip(frames.numpy(), by_id[again.ids[number]], feature)


@examples(30)
@given(st.data(), st.dictionaries(st.sampled_from(CLIP_NAMES), sources(), min_size=2))
def test_the_check_finds_every_broken_clip_and_no_whole_one(
    home: Path, drawn: st.DataObject, files: dict[str, Source]
) -> None:
    folder = ClipFolder(home)
    for name, source in files.items():
        folder.write(name, source)
    for _ in range(drawn.draw(st.integers(0, 2))):
        _change(drawn, folder, drawn.draw(st.sampled_from(["break", "cut"])))
    found = check_data.check(folder.folder.parent)[f"{MULTITASK}/test"]
    by_id = {name.split(".")[0]: source for name, source in folder.sources.items()}
    broken = {name for name, source in by_id.items() if source.must_fail()}
    long = {name for name, s in by_id.items() if s.array.shape[-1] >= check_data.SHORTEST_CLIP}
    unsure = {name for name, source in by_id.items() if source.n_cut}
    assert broken <= set(found.problems) and found.good <= set(by_id) - broken
    assert (long - broken - unsure) <= found.good


CHANGES = ("replace", "replace", "alike", "alike", "add", "remove", "cut", "break", "swap")


@examples(50)
@given(st.data(), st.lists(st.sampled_from(CHANGES), min_size=2, max_size=6), FEATURES)
def test_a_changed_folder_is_never_answered_from_an_old_store(
    home: Path, drawn: st.DataObject, changes: list[str], feature: str
) -> None:
    folder = ClipFolder(home)
    for name in drawn.draw(st.sets(st.sampled_from(CLIP_NAMES), min_size=2)):
        folder.write(name, drawn.draw(sources()))
    earlier, earlier_files = folder.open(feature), dict(folder.sources)
    for change in changes:
        _change(drawn, folder, change)
        later = folder.open(feature)
        if earlier is not None:  # whoever has it open goes on with what it was opened with
            check_all(earlier, earlier_files)
        if later is not None:
            check_all(later, folder.sources)
        earlier, earlier_files = later, dict(folder.sources)


def _change(drawn: st.DataObject, folder: ClipFolder, change: str) -> None:
    """One change of one file of the folder (or of two, for a swap)."""
    later = drawn.draw(st.booleans())
    present = sorted(folder.sources)
    if change == "add" or not present:
        folder.write(drawn.draw(st.sampled_from(CLIP_NAMES)), drawn.draw(sources()), later)
        return
    failing = [name for name in present if folder.sources[name].must_fail()]  # to be mended first
    name = drawn.draw(st.sampled_from(failing or present))
    source = folder.sources[name]
    if change == "replace":
        folder.write(name, drawn.draw(sources()), later)
    elif change == "alike":  # of the same size, to the byte where it is not compressed
        array = np.array(source.array[..., ::-1] / 2, source.array.dtype, order="C")
        folder.write(name, Source(array, source.compressed, source.broken), later)
    elif change == "remove":
        folder.remove(name)
    elif change == "cut":
        folder.write(name, replace(source, n_cut=drawn.draw(st.integers(1, 4000))), later)
    elif change == "break":
        broken = BROKEN[drawn.draw(st.sampled_from(sorted(BROKEN)))](drawn.draw(sources()).array)
        folder.write(name, Source(broken, source.compressed, broken=True), later)
    elif change == "swap":
        others = [other for other in present if other != name] or present
        folder.swap(name, drawn.draw(st.sampled_from(others)))
