"""What holds for any clip and any batch, tried out with hypothesis.

The examples are drawn anew from a fixed seed, so every run tries the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from helpers import models
from helpers.datasets import BandScaler, SpectrogramDataset, make_loader
from helpers.folders import AXES, MULTITASK_BEAT
from helpers.training import predict

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def examples(count: int) -> settings:
    """So many examples, the same ones in every run, however slow the machine is."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# ---- models: neither padding nor company changes a prediction ----------------------------------

KINDS = (*models.POOLINGS, "cnn", "ast")
SEEDS = st.integers(0, 2**16)
HEADS = st.sampled_from(
    [("classifier", {"n_classes": 3}), ("regressor", {}), ("multitask", {"n_axes": 2})]
)


LSTM = {
    "n_features": st.just(4),
    "hidden_size": st.integers(1, 4),
    "n_layers": st.integers(1, 2),
    "bidirectional": st.booleans(),
    "stack": st.integers(1, 3),
    "cepstral_bands": st.sampled_from([0, 3, 4]),
}
CNN = {"n_features": st.integers(16, 18), "kernel": st.sampled_from([1, 3, 5])}
AST = {
    "fstride": st.integers(1, 16),
    "tstride": st.integers(4, 16),
    "input_fdim": st.integers(16, 18),
    "input_tdim": st.integers(16, 40),
    "model_size": st.just("mini"),
    "feature_size": st.just(3),
}
BLOCKS = st.sampled_from([((2, 3, 2, 3), 2), ((3, 2, 3), 2), ((2, 3), 3)])  # channels, and pool


@st.composite
def models_and_clips(draw: st.DrawFn, kind: str) -> tuple[nn.Module, list[torch.Tensor]]:
    """A CNN of two to four blocks, an AST, or an LSTM of this pooling; two to five clips for it.

    With any head, and random weights and statistics, as after training. Clips [T, F] have any
    lengths that the model takes.
    """
    options = draw(st.fixed_dictionaries({"cnn": CNN, "ast": AST}.get(kind, LSTM)))
    backbone, shortest = kind, 1
    if kind == "cnn":
        options["channels"], options["pool"] = draw(BLOCKS)
        shortest = options["pool"] ** len(options["channels"])
    elif kind != "ast":
        backbone, options["pooling"] = "lstm", kind
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
    lengths = draw(st.lists(st.integers(shortest, shortest + 20), min_size=2, max_size=5))
    n_features = options.get("n_features") or options["input_fdim"]
    return model.eval(), [torch.randn(length, n_features) for length in lengths]


def joined(clips: Sequence[torch.Tensor], n_more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of clips, padded by `n_more` frames more than need be: x [B, T, F], lengths."""
    x = pad_sequence(list(clips), batch_first=True)
    return nn.functional.pad(x, (0, 0, 0, n_more)), torch.tensor([len(clip) for clip in clips])


@torch.no_grad()
def one_at_a_time(model: nn.Module, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Each clip's prediction, alone and without any padding."""
    return torch.cat([model(*joined([clip])) for clip in clips])


@pytest.mark.parametrize("kind", KINDS)
@examples(24)
@given(
    drawn=st.data(),
    n_more=st.integers(0, 40),
    rubbish=st.sampled_from([0.0, 0.1, -7.0, 1e4, -1e15, 1e30]),
)
def test_nothing_beside_or_behind_a_clip_changes_its_prediction(kind, drawn, n_more, rubbish):
    """Neither its company in a batch, nor the padding; an LSTM may even find rubbish there."""
    model, clips = drawn.draw(models_and_clips(kind))
    picked = drawn.draw(st.lists(st.sampled_from(range(len(clips))), min_size=2, max_size=8))
    x, lengths = joined([clips[clip] for clip in picked], n_more)
    if kind != "cnn":
        behind = ~models.time_mask(lengths, x.shape[1])
        x[behind] = rubbish * torch.randn(int(behind.sum()), x.shape[2])
    with torch.no_grad():
        predicted = model(x, lengths)
    torch.testing.assert_close(predicted, one_at_a_time(model, clips)[picked], **CLOSE)


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
    lengths, n_more, hidden, n_layers, bidirectional, seed
):
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


@pytest.mark.parametrize("batch_size", [1, 5, 20])
def test_predictions_of_a_folder_do_not_depend_on_its_batches(mini_data, batch_size):
    torch.manual_seed(0)
    for feature, backbone in (
        ("fused", models.LSTMBackbone(140, 3, pooling="attention")),
        ("mel", models.CNNBackbone(128, (2, 3, 2, 3))),
    ):
        dataset = SpectrogramDataset(mini_data / MULTITASK_BEAT, "train", feature, axes=AXES)
        dataset.scaler = BandScaler.fit(dataset)
        model = models.Classifier(backbone, 3)  # its dropout is on, until `predict` asks it
        predicted = predict(model, make_loader(dataset, batch_size))
        alone = one_at_a_time(model, [dataset[clip][0] for clip in range(len(dataset))])
        np.testing.assert_allclose(predicted, alone.numpy(), **CLOSE)
        assert predicted.dtype == np.float32
