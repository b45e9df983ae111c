"""`./run_all.sh check-data`: every problem of a data folder, and what `--skip-bad` leaves out."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import folders
from helpers.datasets import SpectrogramDataset
from helpers.folders import GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT
from helpers.machinery.arrays import N_ROWS
from helpers.machinery.files import LabError
from helpers.models import CNNBackbone
from tools.checks import check_data
from tools.common.command_line import run_command

FAULTS = ("Rokc", "is not in", "header promises", "NaN", "9 frames are too short", "no gzip")


@pytest.fixture
def data(mini_data: Path, tmp_path: Path, home: Path) -> Path:
    """A data folder that a test may change."""
    return shutil.copytree(mini_data, tmp_path / "data")


@pytest.fixture
def broken(data: Path) -> Path:
    """Four broken clips, an absent one and a bad line among the 24 genre training clips."""
    folder = data / GENRE
    plain = sorted((folder / "train").glob("*.npy"))
    zipped = sorted((folder / "train").glob("*.gz"))
    plain[0].write_bytes(plain[0].read_bytes()[:500])
    np.save(plain[1], np.full((N_ROWS, 60), np.nan))
    np.save(plain[2], np.zeros((N_ROWS, 9)))
    zipped[0].write_bytes(gzip.decompress(zipped[0].read_bytes()))
    zipped[1].unlink()
    with (folder / "train_labels.txt").open("a") as labels:
        labels.write("9999.fused.full.npy.gz\tRokc\n")
    return data


def leave_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--skip-bad` does before the notebooks run."""
    path = data.parent / "left_out.json"
    run_command(check_data.main, ["--data", str(data), "--write", str(path)])
    monkeypatch.setenv("MUSICLAB_LEFT_OUT", str(path))
    folders._read_left_out.cache_clear()
    folders._tell_once.cache_clear()


def checked(data: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    code = run_command(check_data.main, ["--data", str(data)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_good_data_have_no_problem(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = checked(data, capsys)
    n_clips = sum(1 for _ in data.rglob("*.npy*"))
    assert (code, lines) == (0, [f"{data}: no problems, {n_clips} good files"])


def test_every_problem_is_listed_with_its_place(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, _ = checked(broken, capsys)
    assert code == 1 and len(lines) == len(FAULTS) + 2
    for what in FAULTS:
        (line,) = [line for line in lines if what in line]
        assert line.startswith(str(broken / GENRE)), line
    assert "6 problems" in lines[-2] and "--skip-bad" in lines[-1]


def test_loaders_stop_at_the_first_and_say_how_many_more(broken: Path) -> None:
    message = r"labels.txt:26: unknown genre 'Rokc' \(did you.*1 more: ./run_all.sh check-data"
    with pytest.raises(LabError, match=message):
        SpectrogramDataset(broken / GENRE, "train")


def test_what_is_found_can_be_left_out_and_is_said_once(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_out(broken, monkeypatch)
    capsys.readouterr()
    dataset = SpectrogramDataset(broken / GENRE, "train", class_mapping=None)
    assert len(dataset) == 24 - 5
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 6 and all(line.startswith("left out (--skip-bad): ") for line in told)
    beat = SpectrogramDataset(broken / GENRE_BEAT, "train", class_mapping=None)
    assert beat.ids == dataset.ids  # a clip that is bad in one form is left out of both
    assert capsys.readouterr().out == ""
    test = SpectrogramDataset(broken / GENRE, "test", class_mapping=None)  # its classes: of train
    assert test.classes == dataset.classes and capsys.readouterr().out == ""


def test_a_label_file_without_one_good_line_is_listed_line_by_line_and_its_clips_are_read(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = data / GENRE / "train_labels.txt"
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *(f"{row}?" for row in rows)]) + "\n")
    code, lines, _ = checked(data, capsys)
    assert code == 1 and len([line for line in lines if "unknown genre" in line]) == len(rows)
    labels.write_text("\n".join(rows) + "\n")
    next((data / GENRE / "train").iterdir()).write_bytes(b"")
    _, lines, _ = checked(data, capsys)
    assert "expected the header" in lines[0] and "no whole .npy array" in lines[1]
    assert "can be left out" not in lines[-1] or "no whole" not in lines[0]


def test_the_check_asks_for_what_the_cnn_needs() -> None:
    assert check_data.SHORTEST_CLIP == CNNBackbone().min_frames


def test_what_breaks_after_the_check_is_an_error(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(broken, monkeypatch)
    clips = folders.read_clips(broken / GENRE, "train")
    Path(clips["path"].iloc[3]).unlink()
    with pytest.raises(LabError, match="is not in"):
        folders.read_clips(broken / GENRE, "train")


def test_a_folder_of_broken_clips_only_is_one_clear_line(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (data / MULTITASK / "test").iterdir():
        path.write_bytes(b"")
    leave_out(data, monkeypatch)
    with pytest.raises(LabError, match="test: none of its clips can be used; first: .*no whole"):
        SpectrogramDataset(data / MULTITASK, "test")


def test_older_uploads_may_lack_one_folder_and_no_other(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / MULTITASK_BEAT)
    assert checked(data, capsys)[0] == 0
    shutil.rmtree(data / MULTITASK)
    code, lines, _ = checked(data, capsys)
    assert code == 1 and lines[0].startswith(f"{data / MULTITASK}: this folder is missing")


def test_a_huge_folder_without_the_data_is_searched_in_bounds(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "huge"
    for name in range(300):
        (deep / str(name) / "a" / "b" / "c" / "d" / GENRE).mkdir(parents=True)
    listed: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    code, _, error = checked(deep, capsys)
    assert code == 2 and "no folder fma_genre_spectrograms in it" in error
    assert len(listed) < 1000  # three levels, however deep it is


def test_the_list_itself_may_be_damaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.json").write_text("{")
    monkeypatch.setenv("MUSICLAB_LEFT_OUT", str(tmp_path / "list.json"))
    with pytest.raises(LabError, match="no list of clips to leave out.*--skip-bad again"):
        folders.read_clips(data / GENRE, "train")
