"""The models' contracts: equal to packing, blind to padding, right shapes, the handout's order."""

from __future__ import annotations

import copy
from functools import cache

import librosa
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from helpers import models
from helpers.machinery.files import LabError

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTHS = torch.tensor([9, 4, 13, 1])


def batch(lengths: torch.Tensor = LENGTHS, n_features: int = 5, seed: int = 0) -> torch.Tensor:
    """Random clips of these lengths, padded with 0: [B, longest, F]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), int(lengths.max()), n_features, generator=generator)
    return x * models.time_mask(lengths, x.shape[1])[:, :, None]


# ---- LSTM: the same as packing -----------------------------------------------------------------


def parameters_as_packed(backbone: models.LSTMBackbone) -> dict[str, nn.Parameter]:
    """The backbone's LSTM weights under the names that PyTorch's own LSTM gives them."""
    return {
        name.replace("_l0", f"_l{number}{direction}"): weight
        for layers, direction in ((backbone.forward_layers, ""),
                                  (backbone.backward_layers, "_reverse"))
        for number, layer in enumerate(layers)
        for name, weight in layer.named_parameters()
    }  # fmt: skip


def packed_twin(backbone: models.LSTMBackbone) -> nn.LSTM:
    """PyTorch's own LSTM with the same weights."""
    first = backbone.forward_layers[0]
    twin = nn.LSTM(
        first.input_size, first.hidden_size, len(backbone.forward_layers),
        batch_first=True, bidirectional=backbone.bidirectional,
    )  # fmt: skip
    twin.load_state_dict(parameters_as_packed(backbone))
    return twin


def packed(x: torch.Tensor) -> PackedSequence:
    return pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_equal_those_of_packed_sequences(n_layers, bidirectional):
    torch.manual_seed(0)
    backbone = models.LSTMBackbone(5, 7, n_layers, bidirectional, dropout=0.0)
    twin = packed_twin(backbone)
    own_x, packed_x = batch().requires_grad_(), batch().requires_grad_()
    own = backbone.steps(own_x, LENGTHS)
    expected = pad_packed_sequence(twin(packed(packed_x))[0], batch_first=True)[0]
    real = models.time_mask(LENGTHS, 13)[:, :, None]
    torch.testing.assert_close(own * real, expected, rtol=1e-5, atol=1e-6)

    weights = torch.randn(expected.shape)
    (own * real * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(own_x.grad, packed_x.grad, rtol=1e-4, atol=1e-6)
    own_weights = parameters_as_packed(backbone)
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(own_weights[name].grad, weight.grad, rtol=1e-4, atol=1e-5)


def test_the_last_states_equal_those_of_packed_sequences():
    torch.manual_seed(0)
    backbone = models.LSTMBackbone(5, 7, pooling="last").eval()
    _, (hidden, _) = packed_twin(backbone)(packed(batch()))
    expected = torch.cat([hidden[0], hidden[1]], dim=1)
    torch.testing.assert_close(backbone(batch(), LENGTHS), expected, rtol=1e-5, atol=1e-6)


def test_reversing_stays_inside_each_length():
    x = torch.arange(1.0, 6.0).repeat(2, 1)[:, :, None]
    turned = models.reverse_inside_lengths(x, torch.tensor([5, 3]))[:, :, 0]
    assert turned.tolist() == [[5, 4, 3, 2, 1], [3, 2, 1, 4, 5]]


def test_poolings_by_hand():
    steps = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]]])
    length = torch.tensor([2])
    expected = {"mean": [2.0, -3.0], "last": [3.0, -4.0], "mean_max": [2.0, -3.0, 3.0, -2.0]}
    for pooling, values in expected.items():
        backbone = models.LSTMBackbone(1, 1, pooling=pooling)
        assert backbone.pool(steps, length).tolist() == [values]
        assert backbone.out_features == len(values)


def test_attention_weighs_real_frames_only():
    backbone = models.LSTMBackbone(1, 1, pooling="attention")
    with torch.no_grad():
        backbone.attention.weight.copy_(torch.tensor([[50.0, 0.0]]))
    steps = torch.tensor([[[1.0, 7.0], [3.0, 9.0], [100.0, 100.0]]])
    pooled = backbone.pool(steps, torch.tensor([2]))
    torch.testing.assert_close(pooled, torch.tensor([[3.0, 9.0]]))


def test_dropout_acts_in_training_and_not_in_evaluation():
    lstm, cnn = models.LSTMBackbone(32, 7, 2, dropout=0.5), models.CNNBackbone(32, dropout=0.5)
    for backbone in (lstm, cnn):
        lengths = torch.tensor([20, 17])
        x = batch(lengths, 32)
        assert not torch.equal(backbone(x, lengths), backbone(x, lengths))
        backbone.eval()
        assert torch.equal(backbone(x, lengths), backbone(x, lengths))


def test_stacked_frames_keep_every_real_frame_in_order():
    x = batch(torch.tensor([4, 7]))
    stacked, lengths = models.stack_frames(x, torch.tensor([4, 7]), 3)
    assert stacked.shape == (2, 3, 15) and lengths.tolist() == [2, 3]
    torch.testing.assert_close(stacked[1].reshape(9, 5)[:7], x[1])
    assert (stacked[1].reshape(9, 5)[7:] == 0).all() and (stacked[0, 2] == 0).all()


def test_cepstral_coefficients_are_librosa_s_mfccs():
    frames = torch.randn(7, 128, generator=torch.Generator().manual_seed(0))
    mfccs = librosa.feature.mfcc(S=frames.numpy().T, n_mfcc=128, norm="ortho").T
    ours = frames @ models.cosine_matrix(128)
    torch.testing.assert_close(ours, torch.from_numpy(mfccs), rtol=1e-4, atol=1e-4)


def test_an_lstm_reads_the_first_bands_as_coefficients_and_the_others_as_they_are():
    torch.manual_seed(0)
    backbone = models.LSTMBackbone(7, 3, dropout=0.0, cepstral_bands=5)
    plain = models.LSTMBackbone(7, 3, dropout=0.0)
    plain.load_state_dict(backbone.state_dict())  # the transform is no part of a checkpoint
    x = batch(n_features=7)
    turned = torch.cat([x[..., :5] @ models.cosine_matrix(5), x[..., 5:]], dim=-1)
    torch.testing.assert_close(backbone(x, LENGTHS), plain(turned, LENGTHS))


@pytest.mark.parametrize("n_bands", [-1, 8])
def test_coefficients_of_bands_that_are_not_there_are_refused(n_bands):
    with pytest.raises(LabError, match=f"cepstral_bands {n_bands} of frames with 7 values"):
        models.LSTMBackbone(7, 3, cepstral_bands=n_bands)


# ---- padding changes nothing -------------------------------------------------------------------


@cache
def every_model(n_features: int) -> dict[str, nn.Module]:
    """One model of each kind, for clips of at least 16 frames."""
    torch.manual_seed(1)
    backbones = {
        f"lstm {pooling} {n_layers} {bidirectional}": models.LSTMBackbone(
            n_features, 6, n_layers, bidirectional, pooling=pooling
        )
        for pooling in models.POOLINGS
        for n_layers in (1, 2)
        for bidirectional in (False, True)
    }
    backbones |= {
        "lstm stack 3": models.LSTMBackbone(n_features, 6, stack=3),
        "lstm cepstrum": models.LSTMBackbone(n_features, 6, cepstral_bands=n_features),
        "cnn": models.CNNBackbone(n_features, (3, 4, 5, 6)),
        "cnn kernel 5": models.CNNBackbone(n_features, (3, 4, 5, 6), kernel=5),
    }
    made = {name: models.Classifier(backbone, 4) for name, backbone in backbones.items()}
    for model in made.values():  # batch norms whose shift is not zero, as after training
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.bias, 0.2, 1.0)
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
    return made


@pytest.mark.parametrize("name", every_model(32))
def test_a_prediction_does_not_depend_on_the_batch_or_its_padding(name):
    model = every_model(32)[name].eval()
    lengths = torch.tensor([21, 37, 16, 30])
    x = batch(lengths, 32)
    with torch.no_grad():
        together = model(x, lengths)
        longer = model(torch.nn.functional.pad(x, (0, 0, 0, 11)), lengths)
        alone = [
            model(x[i : i + 1, :length], lengths[i : i + 1]) for i, length in enumerate(lengths)
        ]
        turned = model(x.flip(0), lengths.flip(0)).flip(0)
    for other in (longer, torch.cat(alone), turned):
        torch.testing.assert_close(together, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in every_model(32) if "lstm" in name])
def test_an_lstm_never_looks_at_what_stands_in_the_padding(name):
    model = every_model(32)[name].eval()
    lengths = torch.tensor([21, 37])
    x = batch(lengths, 32)
    dirty = x.masked_fill(~models.time_mask(lengths, 37)[:, :, None], 1e3)
    with torch.no_grad():
        torch.testing.assert_close(model(x, lengths), model(dirty, lengths))


# ---- CNN ---------------------------------------------------------------------------------------


def test_the_cnn_has_four_blocks_in_the_handout_s_order():
    blocks = models.CNNBackbone().blocks
    order = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert [[type(layer) for layer in block] for block in blocks] == [order] * 4
    assert blocks[0][0].in_channels == 1
    for block in blocks:
        assert block[0].kernel_size == (3, 3) and block[3].kernel_size == 2


def test_a_block_computes_what_its_order_says():
    torch.manual_seed(0)
    block = models.conv_block(1, 2, 3, 2).eval()
    nn.init.uniform_(block[1].bias, -1, 1)
    x = torch.randn(1, 1, 8, 8)
    expected = nn.functional.conv2d(x, block[0].weight, padding=1)
    expected = nn.functional.batch_norm(
        expected, block[1].running_mean, block[1].running_var, block[1].weight, block[1].bias
    )
    expected = nn.functional.max_pool2d(expected.clamp(min=0), 2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("n_frames", [16, 17, 50, 129])
def test_a_cnn_takes_any_length(n_frames):
    model = models.Classifier(models.CNNBackbone(128, (2, 2, 4, 4)), 3)
    lengths = torch.tensor([n_frames, 16])
    assert model(batch(lengths, 128), lengths).shape == (2, 3)


def test_what_is_too_small_for_a_cnn_is_refused():
    lengths = torch.tensor([40, 15])
    with pytest.raises(LabError, match="clip of 15 frames is too short for this CNN.* needs 16"):
        models.CNNBackbone(32)(batch(lengths, 32), lengths)
    with pytest.raises(LabError, match="12 bands are too few for 4 poolings by 2; use mel"):
        models.CNNBackbone(12)


def test_activations_are_those_of_each_block_on_real_frames():
    backbone = models.CNNBackbone(32, (2, 3, 4, 5)).eval()
    lengths = torch.tensor([33, 20])
    stages = backbone.activations(batch(lengths, 32), lengths)
    assert [tuple(image.shape) for image, _ in stages] == [
        (2, 2, 16, 16), (2, 3, 8, 8), (2, 4, 4, 4), (2, 5, 2, 2),
    ]  # fmt: skip
    assert [left.tolist() for _, left in stages] == [[16, 10], [8, 5], [4, 2], [2, 1]]
    for image, left in stages:
        assert (image[1, :, :, left[1] :] == 0).all()


# ---- heads and losses --------------------------------------------------------------------------


def test_shapes_of_the_heads():
    lengths = torch.tensor([20, 18])
    for backbone in (models.LSTMBackbone(32, 4), models.CNNBackbone(32)):
        x = batch(lengths, 32)
        assert models.Classifier(backbone, 10)(x, lengths).shape == (2, 10)
        assert models.Regressor(backbone)(x, lengths).shape == (2,)  # not (2, 1)
        assert models.MultitaskRegressor(backbone)(x, lengths).shape == (2, 3)
        assert models.Regressor(backbone)(x[:1], lengths[:1]).shape == (1,)


def test_multitask_loss_by_hand():
    outputs = torch.tensor([[0.5, 0.2, 1.0], [0.1, 0.4, 0.0]])
    targets = torch.tensor([[0.3, 0.2, 0.0], [0.5, 0.0, 0.0]])
    per_axis = torch.tensor([(0.04 + 0.16) / 2, 0.16 / 2, 1.0 / 2])
    loss = models.MultitaskLoss()
    torch.testing.assert_close(loss.per_axis(outputs, targets), per_axis)
    torch.testing.assert_close(loss(outputs, targets), torch.tensor(0.68))
    weighted = models.MultitaskLoss((2, 0, 10))
    torch.testing.assert_close(weighted(outputs, targets), torch.tensor(5.2))
    assert isinstance(weighted, nn.Module) and not list(weighted.parameters())


def test_the_loss_of_one_axis_trains_the_shared_backbone_only_through_it():
    model = models.MultitaskRegressor(models.LSTMBackbone(5, 4))
    loss = models.MultitaskLoss((0, 1, 0))
    loss(model(batch(), LENGTHS), torch.rand(4, 3)).backward()
    assert (model.head.weight.grad[[0, 2]] == 0).all()
    assert (model.head.weight.grad[1] != 0).any()
    assert any((p.grad != 0).any() for p in model.backbone.parameters())


# ---- building ----------------------------------------------------------------------------------

SPEC = {
    "backbone": "lstm",
    "backbone_options": {"n_features": 5, "hidden_size": 4},
    "head": "classifier",
    "head_options": {"n_classes": 3},
}


def test_a_description_builds_the_same_kind_of_model_every_time():
    model = models.build_model(SPEC)
    twin = models.build_model(copy.deepcopy(SPEC))
    twin.load_state_dict(model.state_dict())
    model.eval(), twin.eval()
    assert torch.equal(model(batch(), LENGTHS), twin(batch(), LENGTHS))
    assert isinstance(model, models.Classifier)
    assert models.n_parameters(model) == 2 * (4 * 4 * (5 + 4 + 2)) + 3 * (8 + 1)
    cnn = {"backbone": "cnn", "backbone_options": {"n_features": 32}, "head": "regressor"}
    assert isinstance(models.build_model(cnn), models.Regressor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "gru"}, "gru"),
        ({"head": "clasifier"}, "clasifier"),
        ({"backbone_options": {"n_feature": 5}}, "n_feature"),
        ({"backbone_options": {"n_features": 5, "pooling": "sum"}}, "unknown pooling 'sum'"),
        ({"head_options": {}}, "n_classes"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    with pytest.raises(LabError, match=message):
        models.build_model({**SPEC, **change})
