"""The training loop: what it learns, what it keeps, when it stops, and what it refuses."""

import copy
import json
import math
from itertools import count

import pytest
import torch
from torch import nn

from helpers import models, training
from helpers.machinery import loss_scaler, process
from helpers.machinery.batches import Batch
from helpers.machinery.files import LabError
from helpers.machinery.process import seed_everything
from helpers.training import train

pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n_batches: int, size: int = 4, kind: str = "class", seed: int = 0) -> list[Batch]:
    """Batches whose label is written in the frames: a class number, or a value."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(n_batches):
        lengths = torch.randint(16, 25, (size,), generator=generator)
        x = 0.1 * torch.randn(size, 24, 16, generator=generator)
        values = torch.rand(size, 3, generator=generator)
        numbers = torch.randint(0, 3, (size,), generator=generator)
        x[:, :, :3] += (nn.functional.one_hot(numbers, 3) if kind == "class" else values)[:, None]
        x = x * models.time_mask(lengths, 24)[:, :, None]
        batches.append((x, numbers if kind == "class" else values[:, 0], lengths))
    return batches


def small_lstm(**options: object) -> models.Classifier:
    seed_everything(0)
    return models.Classifier(models.LSTMBackbone(16, 8, **options), 3)


def small_cnn(**options: object) -> models.Classifier:
    seed_everything(0)
    return models.Classifier(models.CNNBackbone(16, (4, 4, 8, 8), **options), 3)


class Probe(nn.Module):
    """One trained value, which is its prediction; notes the value, and what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()))
        self.values: list[float] = []
        self.shown: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        self.values.append(self.value.item())
        self.shown.append((x.clone(), lengths.clone()))
        return self.value.expand(len(x))


# ---- overfit_batch -----------------------------------------------------------------------------


def test_the_loss_fits_the_head():
    features = [models.LSTMBackbone(12, 4) for _ in range(3)]
    heads = (models.Classifier(features[0], 3), models.Regressor(features[1]))
    losses = [training.default_loss(head) for head in heads]
    assert [type(loss) for loss in losses] == [nn.CrossEntropyLoss, nn.MSELoss]
    of_two_axes = training.default_loss(models.MultitaskRegressor(features[2], 2))
    assert isinstance(of_two_axes, models.MultitaskLoss) and len(of_two_axes.weights) == 2


@pytest.mark.parametrize("make", [small_lstm, small_cnn])
def test_overfit_batch_drives_the_loss_to_zero_because_it_drops_nothing(make):
    history = train(make(dropout=0.9), clips(6), epochs=100, learning_rate=0.03, overfit_batch=True)
    assert history.train_loss[0] > 0.5
    assert history.train_loss[-1] < 0.01


def test_overfit_batch_sees_four_batches_as_they_are_and_no_validation():
    probe = Probe()
    data, val = clips(7, kind="value"), clips(1, 9, "value")
    history = train(probe, data, val, epochs=2, mixup=0.8, overfit_batch=True)
    assert training.OVERFIT_BATCHES == 4 and history.val_loss == []
    assert len(probe.shown) == 2 * 4
    assert all(torch.equal(probe.shown[i][0], data[i][0]) for i in range(4))


# ---- schedule, mixtures ------------------------------------------------------------------------


def test_stop_after_follows_the_schedule_of_all_epochs():
    """The refit on all clips runs as many epochs as validation chose, at the same rates.

    They rise during the first epoch, and then fall to nearly zero.
    """
    whole, part = Probe(), Probe()
    # Its gradient is 1 for targets far below, so that Adam's steps are the learning rate itself.
    options = {"epochs": 8, "loss": nn.L1Loss(), "weight_decay": 0.0, "learning_rate": 0.1}
    data = [(x, y - 9, lengths) for x, y, lengths in clips(2, kind="value")]
    train(whole, data, **options)
    values = [*whole.values, whole.value.item()]
    rates = [before - after for before, after in zip(values, values[1:], strict=False)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(0.1, rel=1e-3)
    assert rates[2:] == sorted(rates[2:], reverse=True) and 0 < rates[-1] < 0.003
    history = train(part, data, stop_after=3, **options)
    assert len(history.train_loss) == history.best_epoch == 3
    assert part.values == whole.values[:6]
    assert part.value.item() == whole.values[6]  # without validation, the last epoch's is kept


def test_mixup_shows_mixtures_and_asks_for_both_labels():
    seed_everything(0)
    probe, loss, data = Probe(), nn.MSELoss(), clips(1, size=8, kind="value")
    asked = []
    loss.register_forward_pre_hook(lambda _, given: asked.append(given[1].clone()))
    history = train(probe, data, data, epochs=1, loss=loss, mixup=0.8)
    (x, y, lengths), (mixed, longer), (validated, _) = data[0], *probe.shown
    assert torch.equal(validated, x)
    own, others, _ = asked
    partners = torch.tensor([y.tolist().index(value) for value in others.tolist()])
    share = ((mixed - x[partners]) / (x - x[partners]))[partners != torch.arange(8)][:, 0].median()
    assert torch.equal(own, y) and sorted(partners.tolist()) == list(range(8))
    assert 0.5 <= share < 1
    assert torch.allclose(mixed, share * x + (1 - share) * x[partners], atol=1e-5)
    assert torch.equal(longer, torch.maximum(lengths, lengths[partners]))
    expected = share * ((1 - own) ** 2).mean() + (1 - share) * ((1 - others) ** 2).mean()
    assert history.train_loss[0] == pytest.approx(expected.item(), abs=1e-5)


# ---- frozen weights, losses ----------------------------------------------------------------------


def test_frozen_parameters_and_their_batch_norms_stay():
    model = small_cnn()
    model.backbone.requires_grad_(False)
    before, seen = copy.deepcopy(model.state_dict()), []
    train(model, clips(2), clips(1), epochs=2, weight_decay=0.1, after_epoch=seen.append)
    assert seen == [model, model], "after each epoch one may look at the model"
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    model.requires_grad_(False)
    with pytest.raises(LabError, match="all parameters are frozen"):
        train(model, clips(1), epochs=1)


def test_a_loss_that_is_not_finite_stops_with_a_remedy():
    good = clips(1)
    broken = [(x * math.nan, y, lengths) for x, y, lengths in good]
    with pytest.raises(LabError, match="training loss is not finite; lower learning_rate"):
        train(small_lstm(), broken, epochs=1)
    with pytest.raises(LabError, match="validation loss was never finite"):
        train(small_lstm(), good, broken, epochs=2)


# ---- what is told ------------------------------------------------------------------------------


def test_a_history_becomes_a_table():
    table = train(small_lstm(), clips(1), epochs=2).table()
    assert list(table.columns) == ["epoch", "train_loss", "val_loss", "seconds"]
    assert table["epoch"].tolist() == [1, 2] and table["val_loss"].isna().all()


def test_two_trainings_join_into_one_history():
    first = training.History("a", [3, 2], [3, 1.5], [1, 1], best_epoch=2)
    second = training.History("b", [2, 1, 1], [2, 1, 4], [1, 1, 1], best_epoch=2)
    joined = first.then(second)
    assert joined.stage_ends == [len(first.train_loss)] and first.stage_ends == []
    assert (joined.name, joined.best_epoch) == ("a", 4)
    assert joined.val_loss == [3, 1.5, 2, 1, 4]


def test_progress_reaches_the_runner_and_no_bar_reaches_the_outputs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUSICLAB_PROGRESS", str(tmp_path / "progress.json"))
    history = train(small_lstm(), clips(1), clips(1), epochs=2, name="lstm")
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told == {
        "model": "lstm", "epoch": 2, "epochs": 2, "seconds_left": 0,
        "train_loss": history.train_loss[-1], "val_loss": history.val_loss[-1],
    }  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# ---- 16 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "capability", "dtype"),
    [
        ("Tesla P100-PCIE-16GB", (6, 0), "float32"),
        ("Tesla V100-SXM2-16GB", (7, 0), "float16"),
        ("Tesla T4", (7, 5), "float16"),
        ("NVIDIA GeForce GTX 1660", (7, 5), "float32"),  # no tensor cores
        ("NVIDIA A100-SXM4-40GB", (8, 0), "bfloat16"),
        ("NVIDIA H100 80GB HBM3", (9, 0), "bfloat16"),
        ("", None, "float32"),  # no GPU, and a processor that gains nothing
    ],
)
def test_trainings_compute_in_what_the_device_is_fast_in(gpu, capability, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: gpu)
    uncached = process.has_native_bfloat16.__wrapped__
    monkeypatch.setattr(process, "has_native_bfloat16", uncached)
    for instructions in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, instructions, lambda: False)
    device = torch.device("cuda" if gpu else "cpu")
    assert process.training_dtype(device) == getattr(torch, dtype)


@pytest.mark.parametrize("make", [small_lstm, small_cnn])
def test_steps_in_bfloat16_agree_with_float32(make, monkeypatch):
    """Emulated where the processor has none: the numbers are the same, only slower."""
    model, loss, (batch,) = make(dropout=0), nn.CrossEntropyLoss(), clips(1, size=8)
    gradients = []
    for native in (False, True):
        monkeypatch.setattr(process, "has_native_bfloat16", lambda device, value=native: value)
        model.zero_grad()
        value = training._batch_loss(model, loss, batch, torch.device("cpu"))
        assert value.dtype == torch.float32
        value.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    exact, rounded = gradients
    # The direction is what a step follows; single values move where max pooling picks another one.
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.98
    assert not torch.equal(exact, rounded)  # it was bfloat16 indeed


def test_a_step_that_overflows_in_float16_is_left_out_and_the_schedule_waits(monkeypatch):
    """Also the first one, before which no optimizer has stepped."""
    plain, overflowing, n_steps = Probe(), Probe(), count()
    data = [(x, y - 9, lengths) for x, y, lengths in clips(4, kind="value")]
    options = {"epochs": 3, "loss": nn.L1Loss(), "weight_decay": 0.0, "learning_rate": 0.1}
    train(plain, data, **options)
    monkeypatch.setattr(loss_scaler, "training_dtype", lambda device: torch.float16)
    overflowing.value.register_hook(lambda g: g * math.inf if next(n_steps) in (0, 5, 6) else g)
    history = train(overflowing, data, **options)
    as_before = plain.values
    assert overflowing.values == [
        *as_before[:1], *as_before[:5], as_before[4], as_before[4], *as_before[5:9],
    ]  # fmt: skip
    assert all(map(math.isfinite, history.train_loss))


def test_a_loss_that_overflows_in_float16_is_an_error_when_it_goes_on(monkeypatch):
    monkeypatch.setattr(loss_scaler, "training_dtype", lambda device: torch.float16)
    good = clips(1, kind="value")
    bad = [(x, y * math.nan, lengths) for x, y, lengths in good]
    assert math.isnan(train(Probe(), bad * 9, epochs=1).train_loss[0])
    assert math.isfinite(
        train(Probe(), bad * loss_scaler.MOST_SKIPPED + good, epochs=1).train_loss[0]
    )
    with pytest.raises(LabError, match="in 21 steps running the loss or its gradients.*; lower"):
        train(Probe(), bad * 21, epochs=1)
