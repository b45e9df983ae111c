"""The models' parts.

That LSTMs equal packed ones, and that neither padding nor company changes a prediction of any
model, stands among the properties; heads, losses and numbers of parameters are held against plain
code in the notebooks (05, 07, 08, 10), and what broadcasts among the pitfalls.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import librosa
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers import models
from helpers.machinery.files import LabError
from tests.conftest import SPEC

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTHS = torch.tensor([9, 4, 13, 1])


def batch(lengths: torch.Tensor = LENGTHS, n_features: int = 5) -> torch.Tensor:
    """Random clips of these lengths, padded with 0: [B, longest, F]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(lengths), int(lengths.max()), n_features, generator=generator)
    return x * models.time_mask(lengths, x.shape[1])[:, :, None]


# ---- LSTM --------------------------------------------------------------------------------------


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


# ---- CNN ---------------------------------------------------------------------------------------


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


# ---- AST ---------------------------------------------------------------------------------------


def ast(**options: Any) -> models.ASTBackbone:
    """A small AST: 2 rows and 3 columns of patches, no two weights alike."""
    sizes = {"fstride": 16, "input_fdim": 32, "input_tdim": 36, "feature_size": 5}
    torch.manual_seed(1)
    backbone = models.ASTBackbone(**sizes | {"model_size": "mini"} | options).eval()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.2)
    return backbone


def test_an_encoder_block_is_pytorch_s():
    torch.manual_seed(0)
    own = models.EncoderBlock(8, 2)
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
        norm_first=True,
    )  # fmt: skip
    weights = {name: torch.randn_like(value) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict(weights)
    names = {"norm1": "norm1", "norm2": "norm2", "linear1": "mlp.fc1", "linear2": "mlp.fc2",
             "self_attn.out_proj": "attn.proj"}  # fmt: skip
    renamed = {f"{names[name]}.{kind}": weights[f"{name}.{kind}"]
               for name in names for kind in ("weight", "bias")}  # fmt: skip
    renamed |= {f"attn.qkv.{k}": weights[f"self_attn.in_proj_{k}"] for k in ("weight", "bias")}
    own.load_state_dict(renamed)
    x, real = torch.randn(3, 6, 8), models.time_mask(torch.tensor([6, 4, 2]), 6)
    expected = theirs(x, src_key_padding_mask=~real)
    torch.testing.assert_close(own(x, real[:, None, None]), expected, rtol=1e-4, atol=1e-4)
    two = own(x, real[:, None, None], 2)
    torch.testing.assert_close(two, expected[:, :2], rtol=1e-4, atol=1e-4)


def test_an_ast_has_the_course_s_names_and_shapes():
    of_block = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    layers = ["v.patch_embed.proj", "v.norm", "mlp_head.0", "mlp_head.1"]
    layers += [f"v.blocks.{block}.{layer}" for block in range(3) for layer in of_block]
    named = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    state = ast().state_dict()
    assert state.keys() == named | {"v.cls_token", "v.dist_token", "v.pos_embed"}
    assert state["v.pos_embed"].shape == (1, 2 + 2 * 3, 64)
    assert state["v.patch_embed.proj.weight"].shape == (64, 1, 16, 16)
    defaults = models.ASTBackbone(model_size="mini")  # the course's own
    assert defaults.grid == (12, 101) and defaults.out_features == 1000


def test_a_long_clip_is_the_mean_of_its_windows_by_their_frames():
    backbone, x = ast(), batch(torch.tensor([36 + 9]), 32)
    parts = [backbone(part, torch.tensor([part.shape[1]])) for part in x.split(36, dim=1)]
    mean = (36 * parts[0] + 9 * parts[1]) / 45
    torch.testing.assert_close(backbone(x, torch.tensor([45])), mean)


def test_an_ast_begins_with_the_weights_of_a_file(tmp_path):
    backbone = ast()
    state = {f"module.{name}": value for name, value in backbone.state_dict().items()}
    state["module.v.head.weight"] = torch.zeros(3)  # of timm's class, which nothing uses
    torch.save(state, tmp_path / "ast.pth")
    save_file(state, tmp_path / "ast.safetensors")
    for name in ("ast.pth", "ast.safetensors"):
        other = models.ASTBackbone(16, 10, 32, 36, False, "mini", 5)
        other.load_weights(tmp_path / name)
        for key, value in backbone.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)


def test_deit_s_colours_are_added_and_its_positions_cut_or_stretched(tmp_path):
    """4 x 4 positions, whose two numbers say row and column, for 2 x 6 patches."""
    state = {k[2:]: v for k, v in ast().state_dict().items() if k.startswith("v.")}
    state["patch_embed.proj.weight"] = torch.randn(64, 3, 16, 16)
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    state["pos_embed"] = torch.zeros(1, 18, 64)
    state["pos_embed"][0, 2:, 0], state["pos_embed"][0, 2:, 1] = rows.flatten(), columns.flatten()
    torch.save({"model": state}, tmp_path / "deit.pth")
    backbone = ast(input_tdim=66)
    head = backbone.mlp_head[1].weight.clone()
    backbone.load_weights(tmp_path / "deit.pth")
    filters = backbone.v.patch_embed["proj"].weight
    torch.testing.assert_close(filters, state["patch_embed.proj.weight"].sum(1, keepdim=True))
    down, across = backbone.v.pos_embed[0, 2:, :2].unflatten(0, (2, 6)).unbind(-1)
    assert down.tolist() == [[1.0] * 6, [2.0] * 6]  # the middle rows
    assert across[0].diff().min() > 0 and (across[0, 0], across[0, -1]) == (0, 3)
    assert torch.equal(backbone.mlp_head[1].weight, head)  # DeiT has none of ours


ANOTHER = ast().state_dict()
FEWER = {name: value for name, value in ANOTHER.items() if "fc2" not in name}


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda f: ast(input_tdim=15), "^input_tdim 15 is less than a patch; give at least 16$"),
        (lambda f: ast(input_fdim=12), "^input_fdim 12 is less than a patch"),
        (lambda f: ast(tstride=0), "^tstride 0 is less than 1; give at least 1$"),
        (lambda f: ast(model_size="tiny"), "unknown model_size 'tiny'; known: mini, tiny224"),
        (lambda f: ast()(batch(LENGTHS, 30), LENGTHS), "takes 32 bands .input_fdim., not 30"),
        (lambda f: ast(imagenet_pretrain=True), "no ImageNet weights of model_size 'mini'; train"),
        (lambda f: ast().load_weights(f / "none.pth"), "none.pth: no such file of weights$"),
        (lambda f: ast().load_weights(stored(f, ANOTHER | {"v.norm.weight": torch.ones(9)})),
         r"w.pth: weights of another size: v.norm.weight is \(9,\), in mini it is \(64,\); give"),
        (lambda f: ast().load_weights(stored(f, ANOTHER | {"v.blocks.3.x": torch.ones(9)})),
         r"weights of another size: v.blocks.3.x is \(9,\), in mini it is none; give"),
        (lambda f: ast(feature_size=7).load_weights(stored(f, ANOTHER)),
         r"another size: mlp_head.1.weight is \(5, 64\), in mini it is \(7, 64\); give the model"),
        (lambda f: ast().load_weights(stored(f, FEWER)),
         "weights are missing: v.blocks.0.mlp.fc2.weight, .*, v.blocks.2.mlp.fc2.bias; is it"),
        (lambda f: ast().load_weights(stored(f, {"w": torch.ones(1)})), "w.pth: no AST or DeiT: "),
        (lambda f: ast().load_weights(stored(f, ast())), "w.pth: no file of weights alone, and"),
        (lambda f: ast().load_weights(stored(f, {"v": 1})), "w.pth: holds no state dict of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_an_ast_is_one_clear_line(use, message, tmp_path):
    with pytest.raises(LabError, match=message):
        use(tmp_path)


def stored(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


@pytest.mark.parametrize(
    ("timm", "message"),
    [
        (None, "timm, which is not here: pip install timm; train from scratch, or name a file"),
        (SimpleNamespace(create_model=Mock(side_effect=OSError("no\nnetwork"))),
         "timm could not get the ImageNet weights .no network.; connect to the network once, or"),
    ],
)  # fmt: skip
def test_imagenet_weights_that_cannot_be_had_are_one_clear_line(timm, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(LabError, match=message):
        models.ASTBackbone(16, 16, 16, 16, True, "tiny224", 5)


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


# ---- building ----------------------------------------------------------------------------------


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
