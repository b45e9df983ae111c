"""The mistakes of public attempts at this lab, one test each: every test here fails on its mistake.

The tests of the modules look at most of these more closely; here stands the essence.
"""

import inspect
import re
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from helpers import datasets, evaluation, folders, models, training
from helpers.datasets import SpectrogramDataset
from helpers.folders import AXES, GENRE, GENRE_BEAT, MULTITASK
from helpers.machinery import arrays, batches
from helpers.machinery.files import LabError
from helpers.machinery.process import seed_everything
from helpers.machinery.profiles import load_profile
from helpers.notebook.showing import comparison_sentence

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "py").glob("[01]*.py"))
pytestmark = pytest.mark.usefixtures("one_thread")


def code_of(path: Path) -> str:
    """A notebook's code, without its prose and comments."""
    return re.sub(r"(^|\s)#.*", "", path.read_text(encoding="utf-8"))


# ---- data --------------------------------------------------------------------------------------


def test_padding_is_the_mean_and_not_the_loudest_sound(mini_data):
    """Padding with 0 on dB values paints the loudest sound over the end of each clip."""
    splits = datasets.genre_splits(mini_data / GENRE_BEAT, "mel", 0)
    x, _, lengths = next(iter(datasets.make_loader(splits.train, 16)))
    row = int(lengths.argmin())
    padding = x[row, lengths[row] :]
    assert len(padding) and (padding == 0).all()
    in_decibels = splits.scaler.mean + splits.scaler.deviation * padding.numpy()
    np.testing.assert_allclose(in_decibels[0], splits.scaler.mean, rtol=1e-5)
    assert in_decibels.max() < -10


def test_the_statistics_of_the_scaling_are_those_of_the_training_clips(mini_data):
    splits = datasets.genre_splits(mini_data / GENRE, "mel", 0)
    assert np.array_equal(splits.scaler.mean, datasets.BandScaler.fit(splits.train).mean)
    assert not np.array_equal(splits.scaler.mean, datasets.BandScaler.fit(splits.base).mean)
    assert splits.test.scaler is splits.scaler


@pytest.mark.parametrize(
    "backbone",
    [
        models.LSTMBackbone(32, 5),
        models.LSTMBackbone(32, 5, bidirectional=False, pooling="last"),  # not inside the padding
        models.CNNBackbone(32),
    ],
    ids=["mean", "last step", "cnn"],
)
def test_padding_is_always_masked(backbone):
    for module in backbone.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 1.0)  # an empty place gives 1, not 0
    x, lengths = torch.randn(1, 21, 32), torch.tensor([21])
    padded = nn.functional.pad(x, (0, 0, 0, 43))
    torch.testing.assert_close(backbone(padded, lengths), backbone(x, lengths))


def test_file_names_in_label_files_are_not_taken_literally(mini_data):
    for folder, split in ((GENRE, "test"), (GENRE_BEAT, "train"), (GENRE_BEAT, "test")):
        labels = (mini_data / folder / f"{split}_labels.txt").read_text().splitlines()[1:]
        named = [line.split("\t")[0] for line in labels]
        assert not any((mini_data / folder / split / name).exists() for name in named)
        assert len(folders.read_clips(mini_data / folder, split)) == len(named)


def test_the_first_affect_axis_is_an_axis(mini_data):
    """Selected by the truth of its index 0, valence would fall into the genre branch."""
    tracks = folders.read_clips(mini_data / MULTITASK, "train")
    for axis in AXES:
        dataset = SpectrogramDataset(mini_data / MULTITASK, axes=axis)
        np.testing.assert_allclose(dataset.labels, tracks[axis], rtol=1e-6)


def test_no_length_is_computed_per_split(mini_data):
    """Both splits have lengths of their own, and the CNN has weights that depend on neither."""
    splits = datasets.genre_splits(mini_data / GENRE, "mel", 0)
    longest = [int(splits.base.lengths.max()), int(splits.test.lengths.max())]
    model = models.Classifier(models.CNNBackbone(128, (2, 2, 4, 4)), 3)
    for part in (splits.train, splits.test):
        x, _, lengths = next(iter(datasets.make_loader(part, 4)))
        assert model(x, lengths).shape == (4, 3)
    assert model(torch.zeros(1, max(longest) + 40, 128), torch.tensor([max(longest)])) is not None


def test_full_clips_are_full(mini_data):
    """Not their first 150 frames, 3.5 of 30 seconds."""
    dataset = SpectrogramDataset(mini_data / GENRE)
    for index in range(len(dataset)):
        stored = arrays.read_array(dataset.tracks["path"][index])
        assert dataset[index][2] == stored.shape[1] == len(dataset[index][0])


def test_validation_and_test_see_whole_clips(mini_data):
    splits = datasets.genre_splits(mini_data / GENRE, "mel", 0)
    _, val, test = datasets.make_loaders(splits, 32, crop_frames=20, max_masked_bands=8)
    assert torch.cat([lengths for *_, lengths in val]).min() > 60
    assert torch.cat([lengths for *_, lengths in test]).min() > 60


def test_all_features_and_axes_share_one_copy_on_disk_as_float16(mini_data):
    """The whole set in memory as float64, once per feature and axis, would be many gigabytes."""
    stores = [SpectrogramDataset(mini_data / MULTITASK, "train", f).store for f in ("mel", "fused")]
    stores += [SpectrogramDataset(mini_data / MULTITASK, "train", axes=a).store for a in AXES]
    assert {store.frames.filename for store in stores} == {stores[0].frames.filename}
    for store in stores:
        assert isinstance(store.frames, np.memmap) and store.frames.dtype == np.float16


def test_chroma_is_not_drowned_by_mel(mini_data):
    splits = datasets.genre_splits(mini_data / GENRE, "fused", 0)
    frames = torch.cat([splits.train[i][0] for i in range(len(splits.train))])
    mel, chroma = frames[:, :128].std(), frames[:, 128:].std()
    assert 0.8 < mel / chroma < 1.25
    seed_everything(0)
    model = models.Classifier(models.LSTMBackbone(140, 8), 3)
    loader = datasets.make_loader(splits.train, 8)
    first = training.evaluate_loss(model, loader, nn.CrossEntropyLoss(), "cpu")
    assert first < 1.5  # near log(3), not in the hundreds


def test_the_three_parts_of_the_data_have_no_clip_in_common(mini_data):
    genre = datasets.genre_splits(mini_data / GENRE, "mel", 0)
    parts = datasets.affect_parts(mini_data / MULTITASK, 0)
    affect = datasets.affect_splits(mini_data / MULTITASK, "mel", AXES, parts)
    for splits in (genre, affect):
        ids = [datasets.ids_of(part) for part in (splits.train, splits.val, splits.test)]
        assert len(set().union(*ids)) == sum(map(len, ids))


# ---- models ------------------------------------------------------------------------------------


def test_the_backward_lstm_is_read_where_it_has_seen_the_whole_clip():
    """At its last step in time it has seen a single frame."""
    torch.manual_seed(0)
    backbone = models.LSTMBackbone(4, 5, pooling="last").eval()
    x, lengths = torch.randn(1, 12, 4), torch.tensor([12])
    changed = x.clone()
    changed[0, 0] += 1  # the first frame: the backward direction reads it last
    with torch.no_grad():
        forward, backward = (backbone(changed, lengths) - backbone(x, lengths))[0].split(5)
    assert backward.abs().max() > 0.01 and forward.abs().max() > 0
    assert len(backbone.backward_layers) == 1  # the flag `bidirectional` is passed on
    assert backbone.out_features == 10


def test_lstms_are_batch_first():
    """Else the clips of a batch would be read as steps in time."""
    model = models.Classifier(models.LSTMBackbone(4, 5), 3).eval()
    for lstm in (module for module in model.modules() if isinstance(module, nn.LSTM)):
        assert lstm.batch_first
    x, lengths = torch.randn(6, 9, 4), torch.full((6,), 9)
    other = x.clone()
    other[3] += 5
    changed = (model(x, lengths) != model(other, lengths)).any(1)
    assert changed.tolist() == [False, False, False, True, False, False]


def test_dropout_of_a_one_layer_lstm_does_something():
    """`nn.LSTM(dropout=...)` with one layer only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = models.LSTMBackbone(4, 50, dropout=0.5)
    for network in (backbone, models.CNNBackbone(4, (50, 50), dropout=0.5)):
        share = (network.train()(torch.randn(1, 9, 4), torch.tensor([9])) == 0).float().mean()
        assert 0.2 < share < 0.8


def test_no_sequence_is_packed():
    """On a CPU, packed sequences of unequal length take half a minute per batch."""
    for path in (ROOT / "helpers").glob("*.py"):
        assert "pack_padded_sequence(" not in path.read_text(encoding="utf-8")


def test_a_column_against_a_row_is_refused():
    """(B, 1) - (B,) is B x B: the model would learn the mean, and Spearman would be 0."""
    assert models.Regressor(models.LSTMBackbone(4, 5))(
        torch.randn(6, 9, 4), torch.full((6,), 9)
    ).shape == (6,)
    column = nn.Linear(4, 1)
    column.forward = lambda x, lengths: nn.functional.linear(x.mean(1), column.weight)
    with pytest.raises(LabError, match="would broadcast"):
        training.train(column, [(torch.randn(6, 9, 4), torch.rand(6), torch.full((6,), 9))],
                       epochs=1)  # fmt: skip


def test_the_cnn_has_four_blocks_with_the_activation_after_batch_norm():
    blocks = models.CNNBackbone().blocks
    order = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [[type(layer).__name__ for layer in block] for block in blocks] == [order] * 4
    for convolution, *_, pooling in blocks:
        assert convolution.kernel_size == (3, 3) and pooling.kernel_size == 2


# ---- training and evaluation -------------------------------------------------------------------


class Watched(nn.Module):
    """A network that notes in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return self.norm(self.layer(x.mean(1)))


def batch(seed: int = 0) -> batches.Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 5, 4, generator=generator)
    return x, torch.randint(0, 3, (8,), generator=generator), torch.full((8,), 5)


def test_training_mode_is_switched_on_in_every_epoch_and_off_for_validation():
    model = Watched()
    training.train(model, [batch()], [batch(1)], epochs=3, patience=9, loss=nn.CrossEntropyLoss())
    assert model.modes == [True, False] * 3
    statistics = model.norm.running_mean.clone()
    training.evaluate_loss(model, [batch(1)], nn.CrossEntropyLoss(), "cpu")
    assert torch.equal(statistics, model.norm.running_mean)


def test_the_optimizer_moves_the_parameters_of_the_model_it_was_given():
    model, other = Watched(), Watched()
    before, other_before = model.layer.weight.clone(), other.layer.weight.clone()
    training.train(model, [batch()], epochs=1, loss=nn.CrossEntropyLoss())
    assert not torch.equal(model.layer.weight, before)
    assert torch.equal(other.layer.weight, other_before)


def test_a_transfer_whose_keys_do_not_match_is_an_error():
    """With `strict=False` nothing would be copied, silently; notebook 09 shows it on purpose."""
    trained = models.Classifier(models.LSTMBackbone(4, 5), 3)
    fresh = models.Regressor(models.LSTMBackbone(4, 5))
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.backbone.load_state_dict(trained.state_dict())
    fresh.backbone.load_state_dict(trained.backbone.state_dict())
    for path in [*(ROOT / "helpers").glob("*.py"), *NOTEBOOKS]:
        for call in re.findall(r".*load_state_dict\([^\n]*", code_of(path)):
            assert "strict=False" not in call or "pitfall." in call, f"{path.name}: {call}"


def test_early_stopping_follows_the_validation_loss(monkeypatch):
    """And the weights of the best epoch are kept."""
    assert "spearman" not in inspect.getsource(training).lower()
    losses = [1.0, 0.8, 0.9, 0.7, 0.75, 0.72, 0.71, 0.1]
    monkeypatch.setattr(training, "evaluate_loss", Mock(side_effect=losses))
    model, weights = Watched(), []
    history = training.train(
        model, [batch()], [batch(1)], epochs=8, patience=3, loss=nn.CrossEntropyLoss(),
        after_epoch=lambda model: weights.append(model.layer.weight.clone()),
    )  # fmt: skip
    assert history.val_loss == losses[:7] and history.best_epoch == 4
    assert torch.equal(model.layer.weight, weights[3])


def test_the_learning_rate_warms_up():
    assert inspect.signature(training.train).parameters["warmup_epochs"].default > 0
    factor = training._warm_up_then_cosine(100, 10)
    rates = [factor(step) for step in range(100)]
    assert rates[0] < 0.1 and max(rates) <= 1 and rates[10] == pytest.approx(1)
    for name in ("demo", "full"):
        for notebook, values in load_profile(name).sections.items():
            for key, value in values.items():
                assert not key.endswith("learning_rate") or value < 0.01, (name, notebook, key)


def test_spearman_is_computed_once_over_all_clips():
    """Not as a mean over batches, which is another number."""
    rng = np.random.default_rng(0)
    true = rng.uniform(size=64)
    predicted = true + np.repeat([0.0, 5.0], 32) + rng.normal(0, 0.3, 64)
    whole = evaluation.spearman(true, predicted).value
    per_batch = np.mean(
        [evaluation.spearman(true[p], predicted[p]).value for p in np.split(np.arange(64), 4)]
    )
    assert abs(whole - per_batch) > 0.1
    ranks = [np.argsort(np.argsort(values)) for values in (true, predicted)]
    assert whole == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_loss_over_unequal_batches_counts_every_clip_once():
    x, y, lengths = batch()
    model = Watched().eval()
    cut = [(x[:7], y[:7], lengths[:7]), (x[7:], y[7:], lengths[7:])]
    loss = nn.CrossEntropyLoss()
    whole = training.evaluate_loss(model, [(x, y, lengths)], loss, "cpu")
    assert training.evaluate_loss(model, cut, loss, "cpu") == pytest.approx(whole, rel=1e-5)


def test_the_report_takes_true_labels_first_and_names_in_class_order(mini_data):
    dataset = SpectrogramDataset(mini_data / GENRE, "test")
    true = dataset.labels.numpy()
    predicted = np.full_like(true, dataset.classes.index("Rock"))
    report = evaluation.report_table(true, predicted, dataset.classes)
    assert report.loc["Rock", "recall"] == 1
    assert report.loc["Rock", "precision"] == pytest.approx((true == 2).mean())
    assert dataset.classes == sorted(dataset.classes)


def test_the_same_seed_gives_the_same_result_twice():
    results = []
    for _ in range(2):
        seed_everything(3)
        model = models.Classifier(models.LSTMBackbone(4, 5, dropout=0.5), 3)
        history = training.train(model, [batch()], [batch(1)], epochs=2)
        results.append(history.train_loss + history.val_loss)
    assert results[0] == results[1]
    for notebook in NOTEBOOKS:
        assert "seed_everything(seed)" in code_of(notebook), notebook.name


def test_every_score_has_an_interval_and_small_differences_are_called_chance():
    """With 575 clips, differences under about 4 points of accuracy are noise."""
    rng = np.random.default_rng(0)
    true = rng.integers(10, size=575)
    first, second = (np.where(rng.random(575) < p, true, (true + 1) % 10) for p in (0.42, 0.45))
    score = evaluation.classification_scores(true, first, 10)["accuracy"]
    assert 0.03 < (score.high - score.low) / 2 < 0.05
    comparison = evaluation.compare_accuracy(true, first, second)
    assert not comparison.clear
    assert "may be chance" in str(comparison_sentence(comparison, "LSTM", "CNN", "accuracy"))
