"""The models' parts, and what is refused.

That LSTMs equal packed ones, and that neither padding nor company changes a prediction of any
model, stands among the properties; networks, heads, losses and numbers of parameters are held
against plain code in the notebooks (05, 07, 07b, 08, 10), and what broadcasts among the pitfalls.
"""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dct
from torch import nn

from helpers import models
from helpers.machinery import two_threads
from helpers.machinery.files import LabError
from helpers.machinery.two_threads import run_lstms
from tests.conftest import SPEC

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTHS = torch.tensor([9, 4, 13, 1])


def batch(lengths: torch.Tensor = LENGTHS, n_features: int = 5) -> torch.Tensor:
    """Random clips of these lengths, padded with 0: [B, longest, F]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(lengths), int(lengths.max()), n_features, generator=generator)
    return x * models.time_mask(lengths, x.shape[1])[:, :, None]


# ---- LSTM --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [2.0, -3.0]),
        ("last", [3.0, -4.0]),
        ("mean_max", [2.0, -3.0, 3.0, -2.0]),
        ("attention", [3.0, -2.0]),
    ],
)
def test_poolings_by_hand(pooling, expected):
    steps = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]]])
    backbone = models.LSTMBackbone(1, 1, pooling=pooling)
    if pooling == "attention":
        nn.init.constant_(backbone.attention.weight, 50.0)
    pooled = backbone.pool(steps, torch.tensor([2]))
    torch.testing.assert_close(pooled, torch.tensor([expected]))
    assert backbone.out_features == len(expected)


def test_stacked_frames_keep_every_real_frame_in_order():
    x = batch(torch.tensor([4, 7]))
    stacked, lengths = models.stack_frames(x, torch.tensor([4, 7]), 3)
    assert stacked.shape == (2, 3, 15) and lengths.tolist() == [2, 3]
    torch.testing.assert_close(stacked[1].reshape(9, 5)[:7], x[1])
    assert (stacked[1].reshape(9, 5)[7:] == 0).all() and (stacked[0, 2] == 0).all()


def test_an_lstm_reads_the_first_bands_as_coefficients_and_the_others_as_they_are():
    torch.manual_seed(0)
    backbone = models.LSTMBackbone(7, 3, dropout=0.0, cepstral_bands=5)
    plain = models.LSTMBackbone(7, 3, dropout=0.0)
    plain.load_state_dict(backbone.state_dict())  # the transform is no part of a checkpoint
    x = batch(n_features=7)
    coefficients = torch.from_numpy(dct(x[..., :5].numpy(), norm="ortho"))  # as librosa's MFCCs
    turned = torch.cat([coefficients, x[..., 5:]], dim=-1)
    torch.testing.assert_close(backbone(x, LENGTHS), plain(turned, LENGTHS))


# ---- two LSTMs side by side on a CPU -----------------------------------------------------------


@pytest.fixture
def lstms() -> list[nn.LSTM]:
    torch.manual_seed(0)
    return [nn.LSTM(5, 4, batch_first=True) for _ in range(2)]


def test_frozen_weights_get_no_gradient_and_the_others_do(lstms):
    lstms[1].requires_grad_(False)
    sum(output.sum() for output in run_lstms(lstms, [batch()] * 2)).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in lstms[0].parameters())
    assert all(weight.grad is None for weight in lstms[1].parameters())


def test_both_threads_compute_in_the_precision_of_the_caller(lstms):
    with torch.autocast("cpu", torch.bfloat16):
        mixed = run_lstms(lstms, [batch()] * 2)
    assert [output.dtype for output in mixed] == [torch.bfloat16] * 2
    assert [output.dtype for output in run_lstms(lstms, [batch()] * 2)] == [torch.float32] * 2


def test_the_second_thread_takes_one_core_and_all_others_stay_as_they_were():
    """Whatever it does first: networks are tried before `train` asks for one thread."""
    two_threads._second_thread.cache_clear()
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        two_threads.at_the_same_time(lambda _: torch.ones(200_000).add_(1).sum(), [0, 1])
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert torch.get_num_threads() == 2 and seen == [2]
        torch.set_num_threads(1)
        assert two_threads.at_the_same_time(lambda _: torch.get_num_threads(), [0, 1]) == [1, 1]
    finally:
        torch.set_num_threads(before)


def test_a_mistake_in_the_second_lstm_is_raised_here(lstms):
    with pytest.raises(RuntimeError, match="input_size|expected"):
        run_lstms(lstms, [batch(), batch()[:, :, 1:]])
    torch.testing.assert_close(run_lstms(lstms, [batch()] * 2)[1], lstms[1](batch())[0])


# ---- CNN ---------------------------------------------------------------------------------------


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


# ---- what is refused ---------------------------------------------------------------------------

ANOTHER = ast().state_dict()
FEWER = {name: value for name, value in ANOTHER.items() if "fc2" not in name}


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda f: models.CNNBackbone(12), "12 bands are too few for 4 poolings by 2; use mel"),
        (lambda f: models.CNNBackbone(32)(batch(LENGTHS, 32), LENGTHS),
         "clip of 1 frames is too short for this CNN, which needs 16; remove"),
        (lambda f: models.LSTMBackbone(7, cepstral_bands=8), "cepstral_bands 8 of frames with 7"),
        (lambda f: models.LSTMBackbone(7, pooling="sum"), "unknown pooling 'sum'; known: mean"),
        (lambda f: models.build_model({**SPEC, "backbone": "gru"}), "no model .* 'gru'$"),
        (lambda f: models.build_model({**SPEC, "head": "clasifier"}), "no model .* 'clasifier'$"),
        (lambda f: models.build_model({**SPEC, "backbone_options": {"n_feature": 5}}), "n_feature"),
        (lambda f: models.build_model({**SPEC, "head_options": {}}), "n_classes"),
        (lambda f: ast(input_tdim=15), "^input_tdim 15 is less than a patch; give at least 16$"),
        (lambda f: ast(input_fdim=12), "^input_fdim 12 is less than a patch"),
        (lambda f: ast(tstride=0), "^tstride 0 is less than 1; give at least 1$"),
        (lambda f: ast(model_size="tiny"), "unknown model_size 'tiny'; known: mini, tiny224"),
        (lambda f: ast()(batch(LENGTHS, 30), LENGTHS), "takes 32 bands .input_fdim., not 30"),
        (lambda f: ast(imagenet_pretrain=True), "no ImageNet weights of model_size 'mini'; train"),
        (lambda f: ast().load_weights(f / "none.pth"), "none.pth: no such file of weights$"),
        (lambda f: ast().load_weights(stored(f, ANOTHER | {"v.norm.weight": torch.ones(9)})),
         r"w.pth: does not fit an AST of mini .size mismatch for v.norm.weight.*\[9\].*\[64\]"),
        (lambda f: ast().load_weights(stored(f, ANOTHER | {"v.blocks.3.x": torch.ones(9)})),
         "Unexpected key.*: .v.blocks.3.x.*; give the model_size, feature_size and strides"),
        (lambda f: ast(feature_size=7).load_weights(stored(f, ANOTHER)),
         r"size mismatch for mlp_head.1.weight: .*\[5, 64\].*, the shape.* is .*\[7, 64\]"),
        (lambda f: ast().load_weights(stored(f, FEWER)),
         "Missing key.*: .v.blocks.0.mlp.fc2.weight., .*v.blocks.2.mlp.fc2.bias"),
        (lambda f: ast().load_weights(stored(f, {"w": torch.ones(1)})), "w.pth: no AST or DeiT: "),
        (lambda f: ast().load_weights(stored(f, ast())), "w.pth: no file of weights alone, and"),
        (lambda f: ast().load_weights(stored(f, {"v": 1})), "w.pth: holds no state dict of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_line(use, message, tmp_path):
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
