"""The Dataset, scaling, splits, batches and augmentation; and the baselines on its clips."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from helpers import baselines, datasets, folders
from helpers.datasets import BandScaler, SpectrogramDataset
from helpers.folders import AXES, CLASS_MAPPING, GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT
from helpers.machinery import batches
from helpers.machinery.arrays import read_array
from helpers.machinery.files import LabError

ROWS = {"mel": (0, 128), "chroma": (128, 140), "fused": (0, 140)}


# ---- items and labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "feature", "axes"),
    [
        *((name, feature, ()) for name in (GENRE, GENRE_BEAT) for feature in ROWS),
        (MULTITASK_BEAT, "fused", "energy"),
        (MULTITASK, "mel", ("energy",)),
        (MULTITASK_BEAT, "chroma", AXES),
        (MULTITASK, "fused", ("danceability", "valence")),
    ],
)
def test_items_are_the_stored_clips_with_their_labels(mini_data, name, feature, axes):
    dataset = SpectrogramDataset(mini_data / name, "train", feature, axes=axes)
    tracks = folders.read_clips(mini_data / name, "train").set_index("id")
    first, last = ROWS[feature]
    assert dataset.n_features == last - first
    for index in (0, len(dataset) - 1):
        frames, label, length = dataset[index]
        clip = tracks.loc[dataset.ids[index]]
        stored = read_array(clip["path"])[first:last].T
        assert frames.dtype == torch.float32 and frames.shape == stored.shape
        assert length == len(stored) == dataset.lengths[index]
        np.testing.assert_allclose(frames.numpy(), stored, rtol=1e-3, atol=1e-3)  # float16
        if axes:
            values = [clip[axis] for axis in ([axes] if isinstance(axes, str) else axes)]
            assert label.dtype == torch.float32
            assert label.tolist() == pytest.approx(values if len(values) > 1 else values[0])
        else:
            assert label.dtype == torch.int64 and label.shape == ()


def test_class_numbers_are_the_same_in_both_splits_and_folders(mini_data):
    for folder in (GENRE, GENRE_BEAT):
        for split, clips in (("train", 6), ("test", 3)):
            dataset = SpectrogramDataset(mini_data / folder, split)
            assert dataset.classes == ["Classical", "Hip-Hop", "Rock"]  # sorted, as the course's
            assert torch.bincount(dataset.labels).tolist() == [clips] * 3  # International is gone
            genres = (
                folders.read_clips(mini_data / folder, split)["genre"].map(CLASS_MAPPING).dropna()
            )
            assert [dataset.classes[number] for number in dataset.labels] == genres.tolist()
    unmapped = SpectrogramDataset(mini_data / GENRE, "test", class_mapping=None)
    assert unmapped.classes == ["Classical", "Hip-Hop", "International", "Psych-Rock"]
    assert len(unmapped) == 12


def test_unlabelled_clips_say_so(mini_data):
    assert SpectrogramDataset(mini_data / MULTITASK, "test").labels.tolist() == [-1] * 6
    values = SpectrogramDataset(mini_data / MULTITASK, "test", axes=AXES).labels
    assert values.shape == (6, 3) and values.isnan().all()


# ---- with PyTorch's own tools ------------------------------------------------------------------


def test_batches_follow_the_seed_and_change_with_the_epoch(mini_data):
    splits = datasets.genre_splits(mini_data / GENRE, "mel", 0)

    def two_epochs(seed: int) -> list[list[tuple[float, list[int]]]]:
        loader, *_ = datasets.make_loaders(splits, 4, seed, crop_frames=32, max_masked_bands=6)
        assert {x.shape[1] for x, *_ in loader} == {32}
        return [[(x.sum().item(), y.tolist()) for x, y, _ in loader] for _ in range(2)]

    assert two_epochs(1) == two_epochs(1) != two_epochs(2)
    first, second = two_epochs(1)
    assert first != second


def test_subsets_of_subsets_lead_to_the_right_clips(mini_data):
    dataset = SpectrogramDataset(mini_data / GENRE)
    inner = Subset(Subset(dataset, [3, 5, 7, 9]), [2, 0])
    assert datasets.ids_of(inner) == [dataset.ids[7], dataset.ids[3]]
    assert datasets.labels_of(inner).tolist() == [int(inner[0][1]), int(inner[1][1])]
    with pytest.raises(LabError, match="expected a SpectrogramDataset or a Subset"):
        batches.unwrap([1, 2])


# ---- scaling -----------------------------------------------------------------------------------


def test_scaled_training_clips_have_mean_0_and_deviation_1_in_each_band(mini_data):
    splits = datasets.genre_splits(mini_data / GENRE, "fused", seed=0)
    scaled = np.concatenate([splits.train[i][0] for i in range(len(splits.train))])
    np.testing.assert_allclose(scaled.mean(0), np.zeros(140), atol=1e-3)
    np.testing.assert_allclose(scaled.std(0), np.ones(140), rtol=1e-3)


def test_a_band_that_never_changes_is_scaled_to_zero(mini_data):
    dataset = SpectrogramDataset(mini_data / MULTITASK, "test")
    packed = np.array(dataset.store.frames)
    packed[:, 5] = -80
    dataset.store = replace(dataset.store, frames=packed)
    dataset.scaler = BandScaler.fit(dataset)
    frames = np.concatenate([dataset.frames(i) for i in range(len(dataset))])
    assert np.isfinite(frames).all() and (frames[:, 5] == 0).all()


# ---- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_splits_are_disjoint_complete_and_stratified(seed):
    labels = np.repeat(np.arange(4), [100, 50, 20, 3])
    parts = datasets.stratified_split(labels, (0.7, 0.15, 0.15), seed)
    joined = np.concatenate(parts)
    assert np.array_equal(np.sort(joined), np.arange(len(labels)))
    counts = [np.bincount(labels[part], minlength=4).tolist() for part in parts]
    assert counts == [[70, 34, 14, 1], [15, 8, 3, 1], [15, 8, 3, 1]]


def test_real_values_are_spread_evenly_over_the_parts():
    values = np.random.default_rng(0).uniform(size=600)
    for part in datasets.stratified_split(values, (0.7, 0.15, 0.15), 3):
        quarters = np.histogram(values[part], bins=4, range=(0, 1))[0] / len(part)
        assert np.abs(quarters - np.histogram(values, bins=4, range=(0, 1))[0] / 600).max() < 0.04


def test_impossible_splits_are_refused():
    for fractions in ((0.8, 0.3), (1.0,), (1.2, -0.2), (1.0, 0.0)):
        with pytest.raises(LabError, match="must be positive and add up to 1"):
            datasets.stratified_split([0, 1, 0, 1], fractions, 0)
    with pytest.raises(LabError, match="2 clips cannot be split into 3 parts"):
        datasets.stratified_split([0, 1], (0.5, 0.25, 0.25), 0)


def test_genre_splits_take_the_same_clips_for_every_feature_folder_and_order_of_the_label_file(
    mini_data, tmp_path
):
    def clips(folder: Path, feature: str, seed: int) -> tuple[list[str], list[str]]:
        splits = datasets.genre_splits(folder, feature, seed)
        return sorted(datasets.ids_of(splits.train)), sorted(datasets.ids_of(splits.val))

    full, beat = mini_data / GENRE, mini_data / GENRE_BEAT
    train, val = clips(full, "mel", 0)
    for folder in (full, beat, with_rows_reversed(beat, tmp_path)):
        for feature in ("chroma", "fused"):
            assert clips(folder, feature, 0) == (train, val)
    assert clips(full, "mel", 1) != (train, val)


def with_rows_reversed(folder: Path, place: Path) -> Path:
    """A copy of a folder whose training label file has its rows in reverse order."""
    copy = shutil.copytree(folder, place / folder.name)
    labels = copy / "train_labels.txt"
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *reversed(rows)]) + "\n")
    return copy


def test_the_affect_split_is_the_same_whatever_the_order_of_the_file(mini_data, tmp_path):
    parts = datasets.affect_parts(mini_data / MULTITASK, 0)
    assert parts["part"].value_counts().to_dict() == {"train": 12, "val": 2, "held-out": 2}
    assert parts.equals(datasets.affect_parts(mini_data / MULTITASK_BEAT, 0))
    folder = with_rows_reversed(mini_data / MULTITASK, tmp_path)
    assert parts.equals(datasets.affect_parts(folder, 0))
    assert not parts.equals(datasets.affect_parts(folder, 1))


def test_affect_splits_hold_the_stored_parts_scaled_by_their_own_or_a_checkpoint_s(mini_data):
    parts = datasets.affect_parts(mini_data / MULTITASK, 0)
    splits = datasets.affect_splits(mini_data / MULTITASK, "mel", "energy", parts)
    for part, name in ((splits.train, "train"), (splits.val, "val"), (splits.test, "held-out")):
        assert datasets.ids_of(part) == parts.loc[parts["part"] == name, "id"].tolist()
    np.testing.assert_array_equal(splits.scaler.mean, BandScaler.fit(splits.train).mean)
    stored = BandScaler(np.zeros(128, np.float32), np.full(128, 2, np.float32))
    splits = datasets.affect_splits(mini_data / MULTITASK, "mel", AXES, parts, scaler=stored)
    assert splits.scaler is stored
    parts.loc[0, "id"] = "999"
    with pytest.raises(LabError, match="clip 999 of the stored split is not there; run 08"):
        datasets.affect_splits(mini_data / MULTITASK, "mel", AXES, parts)


# ---- augmentation ------------------------------------------------------------------------------


def test_windows_are_pieces_of_the_clip_from_everywhere():
    generator = torch.Generator().manual_seed(0)
    starts, lengths = torch.tensor([100, 200]), torch.tensor([50, 7])
    seen = set()
    for _ in range(500):
        first, n_frames = batches.random_windows(starts, lengths, 20, generator)
        seen.add(int(first[0]))
        assert n_frames.tolist() == [20, 7] and first[1] == 200  # a short clip stays whole
    assert seen == set(range(100, 131))  # the last possible start included


def test_spec_augment_hides_at_most_what_it_may_in_each_clip():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([100, 50, 1])
    hidden = torch.stack([
        batches.spec_augment(torch.ones(3, 100, 16), lengths, 8, 0.1, generator) == 0
        for _ in range(100)
    ])  # fmt: skip
    bands, frames = hidden.all(2).sum(2), hidden.all(3).sum(2)  # [draws, clips]
    assert bands.amax(0).tolist() == [8, 8, 8] and frames.amax(0).tolist() == [10, 5, 0]
    assert not torch.equal(bands[:, 0], bands[:, 1])  # each clip has masks of its own
    assert batches.spec_augment(torch.ones(1, 1, 2), torch.tensor([1]), 8, 0.1, generator).any()


class Changes(SpectrogramDataset):
    """What notebook 04 invites to write: other frames of the same clips."""

    def frames(self, index: int) -> np.ndarray:
        """Each frame minus the one before it; one frame less."""
        return np.diff(super().frames(index), axis=0)


def test_a_loader_cuts_windows_of_what_a_reader_s_own_dataset_gives(mini_data):
    changes = Changes(mini_data / GENRE_BEAT, "train")
    x, _, lengths = next(iter(datasets.make_loader(changes, 4, crop_frames=20)))
    assert lengths.tolist() == [20] * 4 and x.shape[1] == 20
    first = torch.from_numpy(changes.frames(0))
    assert any(torch.equal(x[0], first[start : start + 20]) for start in range(len(first) - 19))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "feature", "axes"),
    [
        (SpectrogramDataset, GENRE_BEAT, "fused", ()),
        (SpectrogramDataset, MULTITASK_BEAT, "mel", AXES),
        (SpectrogramDataset, MULTITASK, "chroma", "energy"),
        (Changes, GENRE_BEAT, "mel", ()),
    ],
)
def test_an_epoch_visits_every_clip_once_whole_padded_with_0_and_with_its_own_label(
    mini_data, kind, name, feature, axes, shuffle
):
    dataset = kind(mini_data / name, "train", feature, axes=axes)
    dataset.scaler = BandScaler.fit(dataset)
    part = Subset(dataset, list(range(len(dataset)))[::-1][:13])
    visited = []
    for x, y, lengths in datasets.make_loader(part, 5, shuffle=shuffle):
        assert len(x) <= 5 and x.dtype == torch.float32
        for row, label, length in zip(x, y, lengths.tolist(), strict=True):
            (clip,) = (i for i in part.indices if torch.equal(row[:length], dataset[i][0]))
            assert torch.equal(label, dataset[clip][1]) and not row[length:].any()
            visited.append(clip)
    assert sorted(visited) == sorted(part.indices)
    assert shuffle or visited == part.indices


# ---- the baselines, on statistics of its clips -------------------------------------------------


def test_statistics_are_those_of_the_raw_clips_in_the_subset_s_order(mini_data):
    dataset = SpectrogramDataset(mini_data / GENRE, "test", "fused")
    raw = [dataset.frames(clip) for clip in (4, 2)]
    dataset.scaler = BandScaler.fit(dataset)  # is for networks; changes nothing here
    statistics = baselines.band_statistics(Subset(dataset, [4, 2]))
    assert statistics.shape == (2, 3 * 140) and statistics.dtype == np.float32
    for own, frames in zip(statistics, raw, strict=True):
        steps = np.abs(np.diff(frames, axis=0)).mean(0)
        expected = np.concatenate([frames.mean(0), frames.std(0), steps])
        np.testing.assert_allclose(own, expected, rtol=1e-5)
