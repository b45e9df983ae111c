"""`./run_all.sh check-data`: every problem of a data folder, with its place.

What is bad in one clip or row, and that it can be left out, stands in the table of wrong input.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.folders import GENRE, MULTITASK, MULTITASK_BEAT
from helpers.machinery.arrays import N_ROWS
from tools.checks import check_data
from tools.common.command_line import run_command


@pytest.fixture
def data(mini_data: Path, tmp_path: Path, home: Path) -> Path:
    """A data folder that a test may change."""
    return shutil.copytree(mini_data, tmp_path / "data")


def checked(data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    code = run_command(check_data.main, ["--data", str(data)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_every_problem_is_listed_with_its_place(data, capsys):
    labels, clip = data / GENRE / "train_labels.txt", next((data / GENRE / "test").glob("*.npy"))
    labels.write_text(labels.read_text() + "9999\tRokc\n")
    np.save(clip, np.zeros((N_ROWS, 9)))
    unnamed = data / MULTITASK / "test" / "5,1.npy"
    unnamed.touch()
    code, (row, short, name, *rest), _ = checked(data, capsys)
    assert code == 1 and row.startswith(f"{labels}:26: unknown genre 'Rokc'")
    assert short.startswith(f"{clip}: 9 frames are too short")
    assert name.startswith(f"{unnamed}: '5,1' is no clip name")
    assert "3 problems" in rest[0] and "--skip-bad" in rest[1] and len(rest) == 2


def test_a_label_file_without_one_good_line_is_listed_line_by_line_and_its_clips_are_read(
    data, capsys
):
    labels = data / GENRE / "train_labels.txt"
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *(f"{row}?" for row in rows)]) + "\n")
    code, lines, _ = checked(data, capsys)
    assert code == 1 and len([line for line in lines if "unknown genre" in line]) == len(rows)
    labels.write_text("\n".join(rows) + "\n")
    next((data / GENRE / "train").iterdir()).write_bytes(b"")
    _, lines, _ = checked(data, capsys)
    assert "expected the header" in lines[0] and "no whole .npy array" in lines[1]


def test_good_data_have_no_problem_and_older_uploads_may_lack_one_folder(data, capsys):
    n_clips = sum(1 for _ in data.rglob("*.npy*"))
    assert checked(data, capsys)[:2] == (0, [f"{data}: no problems, {n_clips} good files"])
    shutil.rmtree(data / MULTITASK_BEAT)
    assert checked(data, capsys)[0] == 0
    shutil.rmtree(data / MULTITASK)
    code, lines, _ = checked(data, capsys)
    assert code == 1 and lines[0].startswith(f"{data / MULTITASK}: this folder is missing")


def test_a_huge_folder_without_the_data_is_searched_in_bounds(tmp_path, home, capsys, monkeypatch):
    deep = tmp_path / "huge"
    for name in range(100):
        (deep / str(name) / "a" / "b" / "c" / "d" / GENRE).mkdir(parents=True)
    listed: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    code, _, error = checked(deep, capsys)
    assert code == 2 and f"no folder {GENRE} in it" in error
    assert len(listed) < 350  # three levels, however deep it is
