"""The baselines: statistics per band, majority, SVM and SVR."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import Subset

from helpers import baselines, datasets
from helpers.datasets import SpectrogramDataset
from helpers.folders import AXES, GENRE, MULTITASK


@pytest.mark.parametrize(("feature", "n_features"), [("mel", 128), ("chroma", 12), ("fused", 140)])
def test_statistics_are_those_of_the_raw_clips_in_the_subset_s_order(
    mini_data, feature, n_features
):
    dataset = SpectrogramDataset(mini_data / GENRE, "test", feature)
    raw = [dataset.frames(clip) for clip in (4, 2)]
    dataset.scaler = datasets.BandScaler.fit(dataset)  # is for networks; changes nothing here
    statistics = baselines.band_statistics(Subset(dataset, [4, 2]))
    assert statistics.shape == (2, 3 * n_features) and statistics.dtype == np.float32
    for own, frames in zip(statistics, raw, strict=True):
        steps = np.abs(np.diff(frames, axis=0)).mean(0)
        expected = np.concatenate([frames.mean(0), frames.std(0), steps])
        np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_a_clip_of_one_frame_has_no_steps():
    statistics = baselines._clip_statistics(np.array([[3.0, -2.0]], dtype=np.float32))
    assert statistics.tolist() == [3.0, -2.0, 0.0, 0.0, 0.0, 0.0]


def test_the_majority_is_that_of_the_training_labels():
    assert baselines.majority_predictions(np.array([2, 0, 2, 1]), 3).tolist() == [2, 2, 2]


def test_the_svm_learns_what_is_in_the_statistics(mini_data):
    train, test = (SpectrogramDataset(mini_data / GENRE, split) for split in ("train", "test"))
    predicted = baselines.svm_predictions(
        baselines.band_statistics(train), train.labels.numpy(), baselines.band_statistics(test)
    )
    assert (predicted == test.labels.numpy()).mean() > 0.8


def test_the_svr_predicts_one_axis_or_several(mini_data):
    dataset = SpectrogramDataset(mini_data / MULTITASK, axes=AXES)
    statistics, values = baselines.band_statistics(dataset), dataset.labels.numpy()
    together = baselines.svr_predictions(statistics[:12], values[:12], statistics[12:])
    assert together.shape == (4, 3)
    for number in range(3):
        alone = baselines.svr_predictions(statistics[:12], values[:12, number], statistics[12:])
        assert alone.shape == (4,)
        np.testing.assert_array_equal(alone, together[:, number])
    again = baselines.svr_predictions(statistics, values, statistics)
    assert np.corrcoef(again[:, 0], values[:, 0])[0, 1] > 0.9
