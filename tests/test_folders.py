"""Finding the data, label files with their quirks, and arrays: right ones, and bad ones named."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import folders
from helpers.machinery import arrays
from helpers.machinery.files import LabError
from helpers.notebook.soundness import data_fingerprint

# ---- finding the data --------------------------------------------------------------------------


@pytest.fixture
def nowhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine without Kaggle, data or demo set."""
    folder = tmp_path / "a" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(folders, "KAGGLE_INPUT", tmp_path / "kaggle")
    return folder


def make_data(folder: Path) -> Path:
    """A folder that looks like the lab's data from outside."""
    (folder / folders.MARKER).mkdir(parents=True)
    return folder


def make_demo(home: Path) -> Path:
    """A finished demo set, as far as finding it goes."""
    folder = make_data(home / ".cache" / "demo" / "data")
    (folder.parent / "complete.json").write_text('{"size": 1.0}')
    return folder


def test_each_place_wins_over_the_next_one(nowhere, home, tmp_path, monkeypatch):
    demo = make_demo(home)
    assert folders.find_data() == demo
    own = make_data(nowhere / "data")
    assert folders.find_data() == own
    kaggle = make_data(tmp_path / "kaggle" / "datasets" / "owner" / "slug" / "data")
    assert folders.find_data() == kaggle
    chosen = make_data(tmp_path / "chosen")
    monkeypatch.setenv("MUSICLAB_DATA", str(chosen))
    assert folders.find_data() == chosen
    assert folders.find_data("demo") == demo  # asked for by name
    assert folders.find_data(str(own)) == own


@pytest.mark.parametrize(
    "place",
    [
        "kaggle/patreco3-multitask-affective-music/data",
        "a/input/data/data",  # ../input of the working folder, as in 2020
        "home/data",  # the checkout's own, from another working folder
    ],
)
def test_data_are_found_where_uploads_lie(nowhere, tmp_path, place):
    folder = make_data(tmp_path / place)
    assert folders.find_data().resolve() == folder.resolve()


@pytest.mark.parametrize("given", ["x/data", "x", "x/data/fma_genre_spectrograms"])
def test_a_folder_above_or_the_marker_itself_will_do(tmp_path, given):
    folder = make_data(tmp_path / "x" / "data")
    assert folders.find_data(tmp_path / given) == folder


def test_no_data_lists_where_it_looked(nowhere, home, tmp_path):
    make_data(home / ".cache" / "demo" / "data")  # not finished: complete.json is missing
    with pytest.raises(LabError, match="no data found.*run notebook 00") as caught:
        folders.find_data()
    for place in ("$MUSICLAB_DATA", nowhere / "data", tmp_path / "kaggle", home / ".cache/demo"):
        assert str(place) in str(caught.value)


def test_a_data_folder_has_a_name_that_says_something(home, tmp_path):
    assert folders.data_name(make_demo(home)) == "demo"
    assert folders.data_name(tmp_path / "my_upload" / "data") == "my_upload"
    assert folders.data_name(tmp_path / "real") == "real"


# ---- label files -------------------------------------------------------------------------------


def test_a_label_file_may_have_been_through_a_spreadsheet(tmp_path):
    """A mark at its beginning, line ends of Windows, blank lines, spaces, names of any ending."""
    files = tmp_path / folders.GENRE / "train"
    files.mkdir(parents=True)
    for name in ("1042.x.npy", "7.x.npy", "7.x.npy.gz", "a_B-9.x.npy", "0007.x.npy"):
        (files / name).touch()
    text = "\ufeffid \t GENRE|1042.npy\tRock||7.full.fused.npy.gz\tBlues | \t|a_B-9 \t Jazz|"
    text = (text + "0007\tFolk|7 7\tRock|\u0667\tRock").replace("|", "\r\n")
    (files.parent / "train_labels.txt").write_bytes(text.encode())
    clips, problems = folders.inspect_clips(files.parent, "train")
    assert clips["id"].tolist() == ["1042", "7", "a_B-9", "0007"]
    assert clips["genre"].tolist() == ["Rock", "Blues", "Jazz", "Folk"]
    assert list(problems) == ["line 8", "line 9"]
    assert clips["path"][1].endswith("7.x.npy")  # which wins over .npy.gz of the same name


# ---- arrays ------------------------------------------------------------------------------------

CLIP = np.arange(700.0).reshape(140, 5) % 64 - 64  # every float type holds its values exactly
CLIP[128:] /= -64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
@pytest.mark.parametrize(
    ("name", "pack"), [("7.npy", bytes), ("7.npy.gz", gzip.compress), ("7.npy", gzip.compress)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_float_type_is_read_plain_or_gzipped_whatever_its_name(
    tmp_path, dtype, name, pack, order
):
    path = tmp_path / "7.npy"
    np.save(path, np.asarray(CLIP, dtype=dtype, order=order))
    content = pack(path.read_bytes())
    (tmp_path / name).write_bytes(content)
    array = arrays.read_array(tmp_path / name)
    assert array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_array_equal(array, CLIP)
    assert arrays.read_n_frames(tmp_path / name) == 5


# ---- the fingerprint ---------------------------------------------------------------------------


def test_the_fingerprint_knows_contents_wherever_they_lie_and_nothing_else(mini_data, tmp_path):
    copied = shutil.copytree(mini_data, tmp_path / "elsewhere")
    clip = next((copied / folders.GENRE / "train").glob("*.npy"))
    for stray in (".DS_Store", "README", "Thumbs.db"):
        (clip.parent / stray).touch()
    (clip.parent / "gone").symlink_to("nowhere")
    found = [data_fingerprint(mini_data)]
    assert data_fingerprint(copied) == found[0]
    labels = copied / folders.MULTITASK / "train_labels.txt"
    labels.write_text(labels.read_text().replace("5000,0.", "5000,0.1", 1))
    found.append(data_fingerprint(copied))
    next((copied / folders.GENRE / "test").iterdir()).unlink()
    found.append(data_fingerprint(copied))
    times, content = clip.stat(), bytearray(clip.read_bytes())
    content[-3] ^= 1
    clip.write_bytes(content)  # as large and as old as before
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len({*found, data_fingerprint(copied)}) == 4
