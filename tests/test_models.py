"""The models' parts.

That LSTMs equal packed ones, and that neither padding nor company changes a prediction of any
model, stands among the properties; heads, losses and numbers of parameters are held against plain
code in the notebooks (05, 07, 08, 10), and what broadcasts among the pitfalls.
"""

import librosa
import pytest
import torch

from helpers import models
from helpers.machinery.files import LabError

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


# ---- building ----------------------------------------------------------------------------------

SPEC = {
    "backbone": "lstm",
    "backbone_options": {"n_features": 5, "hidden_size": 4},
    "head": "classifier",
    "head_options": {"n_classes": 3},
}


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
