"""The demo set: the lab's layout and quirks, the same files whatever happened while building."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
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
from helpers.machinery.files import LabError
from helpers.machinery.workers import shared_out
from tests.small_lab import family, wait_until
from tools.checks.check_data import check
from tools.common.notebooks import ROOT, Lab, shared_files
from tools.run.processes import works

FEW = [
    build.Clip(1001, "Rock", "genre", "train", with_audio=True),
    build.Clip(1002, "Classical", "genre", "train"),
    build.Clip(1003, "Hip-Hop", "genre", "test"),
    build.Clip(5001, "Jazz", "multitask", "train"),
    build.Clip(5002, "Soundtrack", "multitask", "test"),
]
plan_clips = build.plan_clips


@pytest.fixture(scope="module", autouse=True)
def few_clips() -> Iterator[None]:
    """Builds make five clips instead of hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "plan_clips", lambda size: list(FEW))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished set of five clips, made by two processes."""
    folder = tmp_path_factory.mktemp("demo")
    build.build_demo(folder, processes=2)
    return folder


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of each file below a folder, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


# ---- the plan ----------------------------------------------------------------------------------


def test_the_plan_is_a_part_of_the_real_set_and_its_ids_tell_nothing():
    clips = plan_clips()
    counts = Counter((clip.kind, clip.genre) for clip in clips)
    assert [counts["genre train", genre] for genre in ("Rock", "Post-Rock")] == [20, 12]
    assert [counts["genre test", genre] for genre in ("Rock", "Post-Rock")] == [10, 6]
    kinds = Counter(clip.kind for clip in clips)
    assert kinds["multitask train"] == 280 and kinds["multitask test"] == 94
    assert len({clip.id for clip in clips}) == len(clips)
    genres = [clip.genre for clip in sorted(clips, key=lambda clip: clip.id) if clip.id < 5000]
    assert sum(a != b for a, b in pairwise(genres)) > 0.8 * len(genres)
    heard = [clip.genre for clip in clips if clip.with_audio and clip.kind == "genre train"]
    assert sorted(heard) == sorted(GENRES)
    few = Counter((clip.kind, clip.genre) for clip in plan_clips(0.001))
    assert all(few["genre train", genre] == 2 * few["genre test", genre] == 2 for genre in GENRES)


def test_affect_spreads_like_the_real_ratings_and_follows_the_music():
    clips = [clip for clip in plan_clips() if clip.dataset == "multitask"]
    ratings = np.array([build.affect_of(clip) for clip in clips])
    assert ratings.min() > 0 and ratings.max() < 1
    np.testing.assert_allclose(ratings.std(axis=0), [0.26, 0.26, 0.17], atol=0.05)
    factors = [draw_factors(clip.genre, clip.rng()) for clip in clips]
    minor = np.array([f.minor for f in factors])
    drums = np.array([bool(RHYTHMS[f.rhythm]) for f in factors])
    assert ratings[minor, 0].mean() < ratings[~minor, 0].mean() - 0.1
    assert np.corrcoef([f.tempo for f in factors], ratings[:, 1])[0, 1] > 0.2
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
    files = {name: content for name, (_, content) in tree(built).items()}
    texts = {n: c.decode() for n, c in files.items() if n.endswith((".txt", ".csv", ".json"))}
    genre, genre_beat, *affect = (f"data/{folder}" for folder in FOLDERS)
    train = "Id\tGenre\n1002.{0}\tClassical\n1001.{0}\tRock\n"
    assert texts.pop(f"{genre}/train_labels.txt") == train.format("fused.full.npy.gz")
    assert texts.pop(f"{genre_beat}/train_labels.txt") == train.format("beatsync.fused.npy.gz")
    test = "Id\tGenre\n1003.{}\tHip-Hop\n"
    assert texts.pop(f"{genre}/test_labels.txt") == test.format("full.fused.npy.gz")
    assert texts.pop(f"{genre_beat}/test_labels.txt") == test.format("beatsync.fused.npy.gz")
    plain = r"Id,valence,energy,danceability\n{}(,[01]\.\d{{3}}){{3}}\n"
    for folder in affect:
        assert re.fullmatch(plain.format(5001), texts.pop(f"{folder}/train_labels.txt"))
    assert re.fullmatch(plain.format(5002), texts.pop("multitask_test_answers.csv"))
    assert sorted(texts) == ["complete.json", "started.json"]


def test_arrays_beats_and_audio_are_those_of_a_clip_and_of_a_small_type(built):
    data = built / "data"
    assert not any(split.problems for split in check(data).values())
    for clip in FEW:
        arrays = {what: np.load(clip.places(built)[what]) for what in ("full", "beat")}
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
        assert 1291 <= arrays["full"].shape[1] <= 1293 and 10 < arrays["beat"].shape[1] < 150
        beats = folders.beat_times(data, clip.id)
        assert arrays["beat"].shape[1] - len(beats) in (0, 1)
        assert np.all(np.diff(beats) > 0) and 0 <= beats[0] and beats[-1] < 30
    assert folders.audio_clips(data) == ["1001"]
    audio, rate = soundfile.read(folders.audio_path(data, "1001"))
    assert rate == SAMPLE_RATE and len(audio) == pytest.approx(30 * SAMPLE_RATE, abs=600)
    assert folders.audio_path(data, 1002) is None
    assert folders.beat_times(data, "no-such-clip") is None


# ---- building ----------------------------------------------------------------------------------


def test_a_build_goes_on_where_it_was_interrupted(built, tmp_path, monkeypatch):
    """One process makes what is missing, as two would."""
    folder, before = shutil.copytree(built, tmp_path / "set"), tree(built)
    missing = str(FEW[3].places(Path())["beat"])
    (folder / missing).unlink()  # `complete.json` is there: deleted since
    (folder / str(FEW[2].places(Path())["full"])).write_bytes(b"")  # by a power cut
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(machinery, "report_progress", lambda **now: seen.append(now))
    build.build_demo(folder, processes=1)
    assert (seen[0]["done"], seen[0]["total"]) == (4, 5), "only what is missing"
    after = tree(folder)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    untouched = FEW[1].places(Path())["full"]
    assert after[str(untouched)] == before[str(untouched)]


def test_a_clip_that_cannot_be_made_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "plan_clips", lambda size: FEW)
    monkeypatch.setattr(build, "perform", lambda clip: 1 / 0)
    with pytest.raises(LabError, match="^demo clip 1001: ZeroDivisionError.*; run the same again"):
        build.build_demo(tmp_path / "set", processes=1)


def test_a_killed_build_leaves_whole_files_only_and_takes_its_workers_with_it(tmp_path):
    command = [sys.executable, "-m", "demo_music.build", "--folder", str(tmp_path / "set")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(tmp_path.rglob("*.fused.full.npy")), 250)
    started = family(process)
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(works, started)))
    assert all(np.load(path).size for path in tmp_path.rglob("[!.]*.npy"))
    assert not list(tmp_path.rglob("complete.json"))


def test_another_size_replaces_the_set_but_no_foreign_files(built, tmp_path, monkeypatch):
    folder, made = shutil.copytree(built, tmp_path / "set"), []
    monkeypatch.setattr(build, "make_clip", lambda clip, folder: made.append(clip))
    build.build_demo(folder, size=0.5, processes=1)
    assert made == FEW and not list(folder.rglob("*.npy"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(LabError, match="holds files that are no demo set"):
        build.build_demo(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_work_is_done_whoever_is_killed_and_its_errors_are_told(tmp_path):
    def work(number: int) -> int:
        if number == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number > 9:
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise LabError("the disk is full")
        return number * number

    assert sorted(shared_out(work, range(6), 2)) == [0, 1, 4, 9, 16, 25]
    with pytest.raises(LabError, match="killed again and again, .*; free some or take fewer"):
        [*shared_out(work, [10], 2)]
    with pytest.raises(LabError, match="the disk is full"):
        [*shared_out(work, [-1], 2)]


def test_what_cannot_be_built_is_told_before_anything_is_made(tmp_path, monkeypatch):
    with pytest.raises(LabError, match="size is 0"):
        build.build_demo(tmp_path, size=0)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(LabError, match="needs 2 MiB here and 1 MiB are free; make room"):
        build.build_demo(tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_a_finished_set_is_left_alone_and_the_command_line_says_where_it_is(built, capsys):
    before = tree(built)
    assert build.main(["--folder", str(built), "--size", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(built / "data")
    assert tree(built) == before
