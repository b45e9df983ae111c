"""Hand-made groups of any clip, kept beside the packed clips; and the machines on them."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import Subset

from helpers import baselines, handmade
from helpers.datasets import SpectrogramDataset
from helpers.folders import GENRE

random = np.random.default_rng(0)
CLIP = np.hstack([random.uniform(-80, 0, (60, 128)), random.uniform(size=(60, 12))])
SILENT, NO_CHROMA, HALF_CONSTANT = np.full((60, 140), -80.0), CLIP.copy(), CLIP.copy()
SILENT[:, 128:] = NO_CHROMA[:, 128:] = HALF_CONSTANT[:, :64] = 0
SIZES = {name: own.shape for name, own in handmade.groups_of(CLIP).items()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "frames",
    [CLIP[:1], CLIP[:3], CLIP[:24], np.tile(CLIP, (9, 1)), SILENT, NO_CHROMA, HALF_CONSTANT],
    ids=["a frame", "3 frames", "shorter than a block", "540 frames", "silent", "no chroma",
         "half of the bands constant"],
)  # fmt: skip
def test_every_clip_has_the_same_finite_numbers(frames):
    groups = handmade.groups_of(frames)
    assert len(groups) == 12 and {name: own.shape for name, own in groups.items()} == SIZES
    assert all(np.isfinite(own).all() for own in groups.values())


def test_chroma_groups_do_not_know_the_key_and_constant_bands_go_with_none():
    in_e = np.hstack([CLIP[:, :128], np.roll(CLIP[:, 128:], 4, axis=1)])
    for name, own in handmade.groups_of(in_e).items():
        np.testing.assert_allclose(own, handmade.groups_of(CLIP)[name], rtol=1e-4, atol=1e-5)
    together = handmade.groups_of(HALF_CONSTANT)["togetherness"]
    assert together[: 23 * 15].any() and not together[:23].any()


@pytest.mark.parametrize("damage", [None, b"", b"PK no archive"])
def test_features_are_kept_beside_the_packed_clips(mini_data, home, damage, monkeypatch):
    dataset = SpectrogramDataset(mini_data / GENRE, "test")
    made = handmade.features(dataset)
    (kept,) = (home / ".cache").rglob("handmade-*.npz")
    if damage is None:  # so they are read, and not made
        monkeypatch.setattr(handmade, "_in_parts", None)
    else:
        kept.write_bytes(damage)
    some = handmade.features(Subset(dataset, [4, 2]))
    own = handmade.groups_of(dataset.store.clip(2, slice(None)))
    for name, numbers in some.items():
        np.testing.assert_array_equal(numbers, made[name][[4, 2]])
        np.testing.assert_array_equal(numbers[1, 0], own[name])


def numbers_of(labels: np.ndarray) -> handmade.Groups:
    """Two groups, in three parts a clip; one of them follows the labels."""
    own = random.normal(size=(len(labels), 3, 4))
    return {"noise": own, "signal": own + 3 * labels[:, None, None]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "labels",
    [[0, 1] * 6, [0, 1, 2] * 4 + [3], [0, 0, 0, 2, 2, 2], [1, 1, 1], [0, 1], [2]],
    ids=["two classes", "one of 1 clip", "a class without clips", "one class", "2 clips", "1 clip"],
)
def test_an_svm_has_probabilities_whatever_the_classes(labels):
    labels = np.array(labels)
    found = baselines.fitted_svm(known := numbers_of(labels), labels)(known)
    assert found.shape == (len(labels), labels.max() + 1)
    np.testing.assert_allclose(found.sum(1), 1)
    assert len(labels) < 6 or (found.argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("values", [np.zeros((8, 3)), np.tile(np.arange(8.0)[:, None], 3)])
def test_an_svr_follows_what_there_is(values):
    found = baselines.fitted_svr(known := numbers_of(values[:, 0]), values)(known)
    assert found.shape == values.shape and np.isfinite(found).all()
    assert not values.any() or np.corrcoef(found[:, 0], values[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("n_artists", [7, 2, 1, 20])
def test_an_artists_clips_stay_in_one_inner_fold(n_artists):
    clips = np.arange(20)
    artists = [f"artist {clip % n_artists}" for clip in clips]
    plain, grouped = (
        [(known.tolist(), asked.tolist()) for known, asked in folds]
        for folds in (baselines._inner_folds(1.0 * clips, 0, own) for own in (None, artists))
    )
    assert sorted(sum((asked for _, asked in grouped), [])) == clips.tolist()  # each of them once
    if n_artists in (1, 20):  # there is nothing to keep together, or nothing else
        assert grouped == plain and len(plain) == 5
    else:
        for known, asked in grouped:
            assert not {clip % n_artists for clip in known} & {clip % n_artists for clip in asked}


def test_a_kernel_looks_at_ranks_and_gives_each_group_the_same_say():
    numbers = random.normal(size=(9, 4))
    kernel = baselines.averaged_kernel(numbers, numbers)
    np.testing.assert_allclose(kernel, baselines.averaged_kernel(*[np.exp(numbers)] * 2))
    np.testing.assert_allclose(np.diag(kernel), 1)
    constant = {"constant": np.ones((9, 99)), "numbers": numbers}
    both = baselines.averaged_kernel(constant, constant)
    np.testing.assert_allclose(both, (1 + kernel) / 2)


def test_the_majority_is_the_most_frequent_training_class():
    assert baselines.majority_predictions(np.array([2, 0, 2, 1]), 3).tolist() == [2, 2, 2]
