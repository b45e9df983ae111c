"""The demo set: the lab's layout and quirks, the same files whatever happened while building."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from demo_music import build, styles
from demo_music.styles import INSTRUMENTS, PATTERNS, RHYTHMS, STYLES, draw_factors
from demo_music.synthesis import KITS, compose_clip
from helpers import folders
from helpers.features import SAMPLE_RATE
from helpers.folders import FOLDERS, GENRES
from helpers.machinery import process as machinery
from helpers.machinery.arrays import N_ROWS
from helpers.machinery.files import LabError
from tests.small_lab import family, wait_until
from tools.common.notebooks import ROOT, Lab, shared_files
from tools.run.processes import works

FEW = [
    build.Clip(1001, "Rock", "genre", "train", with_audio=True),
    build.Clip(1002, "Classical", "genre", "train"),
    build.Clip(1003, "Hip-Hop", "genre", "test"),
    build.Clip(5001, "Jazz", "multitask", "train"),
    build.Clip(5002, "Soundtrack", "multitask", "test"),
]


@pytest.fixture
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds in this test make five clips instead of hundreds."""
    monkeypatch.setattr(build, "plan_clips", lambda size: list(FEW))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished set of five clips, made by two processes."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "plan_clips", lambda size: list(FEW))
        build.build_demo(folder, processes=2)
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- the plan ----------------------------------------------------------------------------------


def test_the_plan_is_a_part_of_the_real_set_and_its_ids_tell_nothing():
    clips = build.plan_clips()
    counts = Counter((clip.dataset, clip.split, clip.genre) for clip in clips)
    assert [counts["genre", "train", genre] for genre in ("Rock", "Post-Rock")] == [20, 12]
    assert [counts["genre", "test", genre] for genre in ("Rock", "Post-Rock")] == [10, 6]
    kinds = Counter((clip.dataset, clip.split) for clip in clips)
    assert kinds["multitask", "train"] == 280 and kinds["multitask", "test"] == 94
    assert len({clip.id for clip in clips}) == len(clips)
    by_id = sorted((clip for clip in clips if clip.dataset == "genre"), key=lambda c: c.id)
    changes = sum(a.genre != b.genre for a, b in zip(by_id, by_id[1:], strict=False))
    assert changes > 0.8 * len(by_id)
    heard = [clip for clip in by_id if clip.with_audio and clip.split == "train"]
    assert sorted(clip.genre for clip in heard) == sorted(GENRES)


def test_a_small_set_still_holds_every_genre():
    clips = build.plan_clips(0.001)
    counts = Counter((clip.dataset, clip.split, clip.genre) for clip in clips)
    assert all(counts["genre", "train", genre] >= 2 for genre in GENRES)
    assert all(counts["genre", "test", genre] >= 1 for genre in GENRES)


def test_affect_spreads_like_the_real_ratings_and_follows_the_music():
    clips = [clip for clip in build.plan_clips() if clip.dataset == "multitask"]
    ratings = np.array([build.affect_of(clip) for clip in clips])
    assert ratings.min() > 0 and ratings.max() < 1
    np.testing.assert_allclose(ratings.std(axis=0), [0.26, 0.26, 0.17], atol=0.05)
    factors = [draw_factors(clip.genre, clip.rng()) for clip in clips]
    minor = np.array([f.minor for f in factors])
    tempo = np.array([f.tempo for f in factors])
    drums = np.array([bool(RHYTHMS[f.rhythm]) for f in factors])
    assert ratings[minor, 0].mean() < ratings[~minor, 0].mean() - 0.1
    assert np.corrcoef(tempo, ratings[:, 1])[0, 1] > 0.2
    assert ratings[drums, 2].mean() > ratings[~drums, 2].mean() + 0.1


# ---- the music ---------------------------------------------------------------------------------


def test_the_tables_of_the_music_agree_with_each_other():
    assert tuple(STYLES) == GENRES
    for genre, style in STYLES.items():
        for words in (*style.bass, *style.chords):
            name, _, pattern = words.partition(":")
            assert words == "-" or (name in INSTRUMENTS and pattern in PATTERNS), (genre, words)
        assert set(style.lead) <= {*INSTRUMENTS, "-"}, genre
        assert set(style.rhythm) <= set(RHYTHMS) and set(style.kit) <= set(KITS), genre
        assert set(style.cousins) <= set(GENRES) - {genre}, genre
    for name, rhythm in RHYTHMS.items():
        assert len({len(bar) for bar in rhythm.values()}) <= 1, name
    drums = {drum for rhythm in RHYTHMS.values() for drum in rhythm}
    assert all(drums <= set(make(np.random.default_rng(0))) for make in KITS.values())


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        (styles.Fm, {"ration": 1}, "unexpected keyword argument 'ration'; correct its fields"),
        (styles.Fm, {"ratio": "1"}, "ratio is '1'; give float"),
        (styles.Pattern, {"steps": "x..."}, "missing 1 required positional argument: 'length'"),
        (styles.Pluck, {"ring": [1, 2]}, "ring is (1, 2); give float"),
        (styles.Tone, {"partials": [1, "x"]}, "partials is (1, 'x'); give tuple[float, ...]"),
    ],
)
def test_a_wrong_row_of_the_music_is_told_in_one_line(kind, row, said):
    with pytest.raises(LabError, match=r"styles\.yaml: bell in rows: .*" + re.escape(said)):
        styles.rows_of("rows", kind, {"rows": {"bell": row}})


def test_the_music_goes_wherever_its_code_goes():
    """Into the zip and the data set on Kaggle; and whoever changes it makes notebooks run again."""
    assert styles.FILE in shared_files(ROOT)
    assert styles.FILE in Lab().helper_files(["from demo_music.build import build_demo"])


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_gives_thirty_seconds_of_sound(genre):
    rng = np.random.default_rng([3, GENRES.index(genre)])
    audio = compose_clip(draw_factors(genre, rng), rng)
    assert audio.shape == (30 * SAMPLE_RATE,) and audio.dtype == np.float32
    assert np.isfinite(audio).all() and 0.2 < np.abs(audio).max() < 1
    loudness = np.sqrt(np.mean(audio.reshape(30, -1) ** 2, axis=1))
    assert np.mean(loudness > 0.01) > 0.8, "most seconds are not silent"


# ---- files on disk -----------------------------------------------------------------------------


def test_names_and_labels_have_the_quirks_of_the_real_files(built):
    data = built / "data"
    assert sorted(path.name for path in data.iterdir()) == sorted(FOLDERS)
    for folder in FOLDERS:
        ids = {"1001", "1002", "1003"} if folder.startswith("fma") else {"5001", "5002"}
        names = {path.name for path in data.glob(f"{folder}/t*/*.npy")}
        assert names == {f"{clip_id}.fused.full.npy" for clip_id in ids}
    genre, beat = data / FOLDERS[0], data / FOLDERS[1]
    assert (genre / "train_labels.txt").read_text() == (
        "Id\tGenre\n1002.fused.full.npy.gz\tClassical\n1001.fused.full.npy.gz\tRock\n"
    )
    assert "\n1003.full.fused.npy.gz\t" in (genre / "test_labels.txt").read_text()
    for split in ("train", "test"):
        for line in (beat / f"{split}_labels.txt").read_text().splitlines()[1:]:
            assert line.split("\t")[0].endswith(".beatsync.fused.npy.gz")


def test_affect_labels_are_plain_numbers_and_the_test_has_none(built):
    for folder in FOLDERS[2:]:
        labels = (built / "data" / folder / "train_labels.txt").read_text()
        assert re.fullmatch(r"Id,valence,energy,danceability\n5001(,[01]\.\d{3}){3}\n", labels)
    withheld = list(csv.DictReader((built / "multitask_test_answers.csv").open()))
    assert [row["Id"] for row in withheld] == ["5002"]
    assert "5002" not in "".join(p.read_text() for p in (built / "data").rglob("*.txt"))


def test_arrays_have_the_lab_s_rows_ranges_and_a_small_type(built):
    data = built / "data"
    for clip in FEW:
        full = np.load(clip.full_path(data), allow_pickle=False)
        beat = np.load(clip.beat_path(data), allow_pickle=False)
        assert full.shape[0] == beat.shape[0] == N_ROWS
        assert 1291 <= full.shape[1] <= 1293
        assert 10 < beat.shape[1] < 150
        for rows in (full, beat):
            assert rows.dtype == np.float16
            assert rows[:128].max() == 0 and rows[:128].min() >= -80
            assert rows[128:].min() >= 0 and rows[128:].max() <= 1


def test_beat_times_and_audio_can_be_asked_for(built):
    for clip in FEW:
        beats = folders.beat_times(built / "data", clip.id)
        columns = np.load(clip.beat_path(built / "data")).shape[1]
        assert columns - len(beats) in (0, 1)
        assert np.all(np.diff(beats) > 0) and 0 <= beats[0] and beats[-1] < 30
    assert folders.audio_clips(built / "data") == ["1001"]
    audio, rate = soundfile.read(folders.audio_path(built / "data", "1001"))
    assert rate == SAMPLE_RATE and len(audio) == pytest.approx(30 * SAMPLE_RATE, abs=600)
    assert folders.audio_path(built / "data", 1002) is None
    assert folders.beat_times(built / "data", "no-such-clip") is None


# ---- building ----------------------------------------------------------------------------------


def test_a_build_goes_on_where_it_was_interrupted(built, tmp_path, few_clips, monkeypatch):
    """One process makes what is missing, as two would."""
    shutil.copytree(built, tmp_path / "set")
    data = tmp_path / "set" / "data"
    kept, cut = (FEW[number].full_path(data) for number in (1, 0))
    cut.write_bytes(cut.read_bytes()[:1000])
    FEW[3].beat_path(data).unlink()  # `complete.json` is there: deleted since
    modified = kept.stat().st_mtime_ns
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(machinery, "report_progress", lambda **now: seen.append(now))
    build.build_demo(tmp_path / "set", processes=1)
    assert (seen[0]["done"], seen[0]["total"]) == (4, 5), "only what is missing"
    assert kept.stat().st_mtime_ns == modified
    assert _digests(tmp_path / "set") == _digests(built)


def test_a_killed_build_leaves_whole_files_only(built, tmp_path):
    script = (
        "import json, pathlib, sys\nfrom demo_music import build\n"
        "clips = [build.Clip(**clip) for clip in json.loads(sys.argv[2])]\n"
        "build.plan_clips = lambda size: clips\n"
        "build.build_demo(pathlib.Path(sys.argv[1]), processes=1)\n"
    )
    clips = json.dumps([asdict(clip) for clip in FEW])
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "set"), clips],
        cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: list(tmp_path.rglob("*.fused.full.npy")), 250)
    started = family(process)
    process.kill()
    process.wait()
    wait_until(lambda: not any(works(member) for member in started))
    made = [path for path in tmp_path.rglob("*.npy") if not path.name.startswith(".")]
    assert made and not list(tmp_path.rglob("complete.json"))
    reference = _digests(built)
    for name, digest in _digests(tmp_path / "set").items():
        if name.endswith(".npy"):
            assert reference[name] == digest


def test_another_size_replaces_the_set_but_no_foreign_files(
    built, tmp_path, few_clips, monkeypatch
):
    shutil.copytree(built, tmp_path / "set")
    made: list[build.Clip] = []
    monkeypatch.setattr(
        build, "_make_clips", lambda clips, *_: (made.append(clip) for clip in clips)
    )
    build.build_demo(tmp_path / "set", size=0.5)
    assert made == FEW and not list((tmp_path / "set").rglob("*.npy"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(LabError, match="holds files that are no demo set"):
        build.build_demo(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def _die(*clip: object, **options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("name", "broken", "said"),
    [
        ("plan_clips", lambda size: [build.Clip(1, "Polka", "genre", "train")],
         r"demo clip 1: KeyError\('Polka'\); run the same again"),
        ("_make_or_say", _die, "ended from outside.*; run the same again"),
    ],
)  # fmt: skip
def test_a_clip_that_cannot_be_made_is_told_in_one_line(
    tmp_path, few_clips, monkeypatch, name, broken, said
):
    monkeypatch.setattr(build, name, broken)
    with pytest.raises(LabError, match=said):
        build.build_demo(tmp_path / "set", processes=2)
    assert not (tmp_path / "set" / "complete.json").exists()


def test_too_little_disk_is_told_with_the_number_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=50 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(LabError, match="needs 428 MiB here and 50 MiB are free; make room"):
        build.build_demo(tmp_path / "set")
    assert not list((tmp_path / "set").rglob("*.npy"))


def test_the_size_is_checked(tmp_path):
    with pytest.raises(LabError, match="size is 0"):
        build.build_demo(tmp_path, size=0)


def test_a_finished_set_is_left_alone_and_the_command_line_says_where_it_is(
    built, few_clips, capsys
):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    assert build.main(["--folder", str(built), "--size", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(built / "data")
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before
