"""`./run_all.sh build-data`: what becomes of good and of bad files, splits, engines, resuming."""

import errno
import os
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile

from helpers import datasets, features, folders
from helpers.folders import AXES, CLASS_MAPPING, FOLDERS, GENRE, MULTITASK
from helpers.machinery.files import LabError, MachineError
from helpers.machinery.own_music import artists_of
from helpers.notebook.soundness import Contents, data_fingerprint
from tools.build_data import command, engines, inputs, splits
from tools.build_data.clip import Job, decode, make_batch
from tools.build_data.writing import Build
from tools.checks.check_data import check
from tools.common.notebooks import Lab
from tools.run.plan import make_plan

RATE = features.SAMPLE_RATE
QUICK = ("--workers", "1", "--shortest", "1")


def tone(number: int, seconds: float = 1.1, rate: int = RATE) -> np.ndarray:
    """A melody of its own for each number: [samples]."""
    rng = np.random.default_rng(number)
    times = np.arange(round(seconds * rate)) / rate
    pitch = 110 * 2 ** (rng.integers(0, 36, 8) / 12)
    steps = pitch[(times * 8 / seconds).astype(int).clip(0, 7)]
    noise = rng.standard_normal(len(times)) * 0.02 * (number % 5)
    return (0.4 * np.sin(2 * np.pi * steps * times) + noise).astype(np.float32)


def write(path, content, rate=RATE, **options):
    """A file of these bytes, or of this sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, rate, **options)
    return path


def make_good(folder):
    """Twelve clips of two genres: rates, channels, formats and names that must all be read."""
    for number, suffix in enumerate(("wav", "flac", "ogg", "mp3", "wav", "flac")):
        for genre in ("Rock", "Jazz"):
            rate = (8000, 22050, 44100, 48000, 192000, 22050)[number]
            audio = tone(number + 10 * (genre == "Jazz"), rate=rate)
            if number == 4:
                audio = np.stack([audio] * 8, axis=1)
            path = write(folder / genre / f"{genre} {number}.{suffix}", audio, rate)
            if number == 4:  # as what is written to a pipe
                at = path.read_bytes().index(b"data") + 4
                with open(path, "r+b") as file:
                    file.seek(at)
                    file.write(b"\xff" * 4)
    (folder / "Jazz" / "Jazz 5.flac").rename(folder / "Jazz" / 'μέλι "5"\n\'.flac')


def make_bad(folder):
    """Bad files by path; each is left out for the reason here."""
    wav, flac, ogg, jazz = (
        (folder / name).read_bytes()
        for name in ("Rock/Rock 0.wav", "Rock/Rock 1.flac", "Rock/Rock 2.ogg", "Jazz/Jazz 1.flac")
    )
    files = {
        "Rock/empty.mp3": (b"", "does not open: it is empty"),
        "Rock/text.mp3": (b"these are words\n" * 99, "does not open: "),
        "Rock/half.wav": (wav[: len(wav) // 2], "cut short: its header promises more than"),
        "Rock/half.ogg": (ogg[:-99], "cut short: it has no"),
        "Rock/half.flac": (flac[:9000], "does not open: "),
        "Rock/other.mp3": (wav, "its content is WAV, its name says .mp3; rename it"),
        "Rock/song.m4a": (b"?", "a file .m4a is not read; make it .flac"),
        "top.wav": (wav, "has no genre"),
        "Jazz/the copy 1.flac": (jazz, "exactly the same sound as Jazz-Jazz-1 (Jazz/Jazz 1.flac)"),
        "Jazz/the soft 1.wav": (tone(11) * 0.5, "nearly the same sound as Jazz-Jazz-1 (Jazz/J"),
        "Jazz/short.wav": (tone(1, 0.5), "too short: 0.50 s"),
        "Jazz/nothing.wav": (tone(1, 0), "too short: 0.00 s"),
        "Jazz/silent.wav": (0 * tone(1), "silent"),
        "Jazz/same.wav": (0 * tone(1) + 0.25, "constant: every sample is 0.25"),
        "Jazz/loud.wav": (np.clip(50 * tone(1), -0.9, 0.9), "clipped away: "),
        "Jazz/nan.wav": (tone(1) * [np.nan], "holds NaN or infinite samples"),
        "Jazz/locked.wav": (0 * tone(1), "cannot be read (Perm" if os.geteuid() else "silent"),
        "Only/alone.wav": (tone(77), "the only clip of its genre: Only"),
    }
    for name, (content, _) in files.items():
        write(folder / name, content, subtype="FLOAT" if "nan" in name else None)
    (folder / "Jazz" / "locked.wav").chmod(0)
    for name, target in (("round", ".."), ("self.wav", "self.wav"), ("out.wav", "/etc/hostname")):
        (folder / "Jazz" / name).symlink_to(target)
    os.mkfifo(folder / "Jazz" / "pipe.wav")
    for name in ("Jazz/notes.txt", ".Trash/old.wav"):
        write(folder / name, b"not looked at")
    return {name: reason for name, (_, reason) in files.items()} | {
        "Jazz/round": "is no regular file",
        "Jazz/self.wav": "no such file (",
        "Jazz/out.wav": "its path leads out of the folder of the audio",
        "Jazz/pipe.wav": "is no regular file",
    }


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    make_good(folder)
    return folder


def build(audio, out, *more, page=None):
    """The data folder that the command line makes, by default with a page of one word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "page_of", page or (lambda *given: "page"))
        words = ["--audio", str(audio), "--out", str(out), *QUICK, *map(str, more)]
        assert command.main(words) == 0
    return out


def tree(folder):
    """The content of every file below a folder, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def wanted(music, tmp_path_factory):
    """The tree that a build of the good files by this process alone makes."""
    return tree(build(music, tmp_path_factory.mktemp("serial") / "data"))


def test_bad_files_are_left_out_with_their_reasons_and_good_ones_are_the_labs_data(
    music, tmp_path, capsys
):
    audio = shutil.copytree(music, tmp_path / "music")
    reasons, data = make_bad(audio), tmp_path / "data"
    build(audio, data, page=command.page_of)
    found = pd.read_csv(data / "rejected.csv").set_index("path")["reason"].to_dict()
    assert found.keys() == reasons.keys()
    assert {n: text for n, text in found.items() if not text.startswith(reasons[n])} == {}
    assert "12 clips name neither artist nor album" in capsys.readouterr().out.replace("of 12 ", "")
    labels = {s: folders.read_clips(data / GENRE, s)["genre"].tolist() for s in folders.SPLITS}
    assert [len(labels["train"]), len(labels["test"])] == [10, 2]
    assert not list(Contents(data).disagreements())
    assert not (data / MULTITASK).exists() and not check(data)[f"{GENRE}/test"].problems
    plan = make_plan(Lab(), data=str(data), profile="smoke", device="cpu")
    assert plan.notebooks[-1] == "11b_latent_maps" and "08_regression" not in plan.notebooks
    assert "no values of valence" in dict(plan.described())["note"]
    with pytest.raises(LabError, match="10_multitask: .* has no values of valence, energy and dan"):
        make_plan(Lab(), data=str(data), profile="smoke", device="cpu", only=["10"])
    row = folders.read_clips(data / GENRE, "train").set_index("id").loc["Rock-Rock-1"]
    samples, _ = soundfile.read(music / "Rock" / "Rock 1.flac", dtype="float32")
    full = features.extract(samples).full.astype(np.float16)
    assert np.array_equal(np.load(row["path"]), full)
    assert "Rock-Rock-1" in folders.audio_clips(data)
    heard, rate = soundfile.read(folders.audio_path(data, "Rock-Rock-1"))
    assert rate == RATE and abs(heard - samples).max() < 1e-3
    page = (data / "about.html").read_text(encoding="utf-8")
    assert "12 clips" in page and "text.mp3" in page and "index.html" not in page


def test_a_build_that_was_stopped_anywhere_goes_on_and_ends_with_the_same_tree(
    music, wanted, tmp_path, monkeypatch
):
    out, full = tmp_path / "stopped", OSError(errno.ENOSPC, "No space left on device")

    def fails(where, name, function, match="cannot be written .No space left on device.; free"):
        with monkeypatch.context() as patch, pytest.raises(LabError, match=match):
            patch.setattr(where, name, function)
            build(music, out, "--workers", 2 if where is Build else 1)
        assert not list(out.rglob(".*.part")) and not (out / "about.json").exists()

    batches, files, replace = iter([engines.make_batch] * 2), iter([True] * 7), os.replace
    ends = raising(LabError("killed"))
    fails(engines, "make_batch", lambda *b, **job: next(batches, ends)(*b, **job), "killed")
    # The disk is full when a clip's second file is written.
    fails(os, "replace", lambda *to: (replace if next(files, None) else raising(full))(*to))
    rows = [*out.glob(".build/clips/*.json")]
    assert 0 < len(rows) < 12
    rows[0].write_text(rows[0].read_text()[:9])  # as a power cut may leave it
    for name in ("_link_arrays", "write_rejected"):  # and in the last step, by two processes
        fails(Build, name, raising(full))
    monkeypatch.setattr(engines, "make_batch", ends)  # nothing is made twice
    assert tree(build(music, out)) == wanted
    about = {"about.json": None}  # which names the shortest
    assert tree(build(music, out, "--shortest", 1.05)) | about == wanted | about


def raising(error):
    """A function that raises it."""

    def raises(*given, **named):
        raise error

    return raises


HEADER = "id,path,genre,artist,split,valence,energy,danceability\n"
ROWS = {
    "a,Rock/Rock 0.wav,Rock,x,train,,,": "",
    "a,Rock/Rock 1.flac,Rock,x,train,,,": "its id is that of another: Rock/Rock 0.wav",
    "a/b,Rock/Rock 1.flac,Rock,x,,,,": "id 'a/b' is none: up to 80 letters, digits, _ and -",
    "c,../x.wav,Rock,x,,,,": "its path leads out of the folder of the audio",
    "d,Rock/gone.wav,Rock,x,,,,": "no such file (No such file or directory)",
    "e,Rock/Rock 1.flac,Rock,x,valid,,,": "split 'valid' is unknown; known: train, training, ",
    'f,Rock/Rock 1.flac,Rock,x,,"0,5",.5,.5': "valence is '0,5', not a number (decimals as 0.5)",
    "g,Rock/Rock 1.flac,Rock,x,,1.5,.5,.5": "valence is 1.5, outside 0..1",
    "h,Rock/Rock 1.flac,Rock,x,,.5,,.5": "has some of valence, energy, danceability, not all",
    "i,Rock/Rock 1.flac,,x,,,,": "has no genre",
    "j,Rock/Rock 1.flac,Rock": "has more or fewer columns than the header",
    "k,,Rock,x,,,,": "has no path",
    'l,Rock/Rock 1.flac,"a\tb",x,,,,': "genre 'a\\tb' cannot stand in a label file or ",
}


def test_each_line_of_a_manifest_is_a_clip_or_rejected_with_its_line(music, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(("\ufeff" + HEADER + "\n".join(ROWS)).replace("\n", "\r\n").encode())
    clips = inputs.checked(inputs.from_manifest(path), music)
    assert inputs.kept(clips)[["id", "group"]].to_numpy().tolist() == [["a", "artist x"]]
    found = dict(zip(clips["line"].astype(int), clips["reason"], strict=True))
    assert sorted(found) == list(range(2, 2 + len(ROWS)))
    for line, reason in enumerate(ROWS.values(), start=2):
        assert found[line].startswith(reason) and bool(found[line]) == bool(reason), found[line]
    path.write_text(HEADER + 'a,b.wav,Rock,"x,,,,\nc,d.wav,Rock,y",,,,\n')  # a quote too many
    (swallowed,) = inputs.from_manifest(path)
    assert swallowed["reason"] == 'holds a line break: correct the " before it'


TRACKS = [  # the headers of FMA's own files, with the columns that count
    ",album,album,artist,artist,set,set,track,track",
    ",id,title,id,name,split,subset,genre_top,license",
    "track_id,,,,,,,,",
    "2,1,AWOL,1,AWOL,training,small,Hip-Hop,CC BY",
    '3,1,"A, WOL",1,AWOL,test,medium,,CC BY',
    "5,2,Other,6,Other,validation,large,Rock,CC BY",
]
ECHONEST = [
    ",echonest,echonest,echonest",
    ",audio_features,audio_features,audio_features",
    ",danceability,energy,valence",
    "track_id,,,",
    "3,0.6,0.7,0.8",
]


def test_fma_has_headers_of_several_rows_ordered_subsets_and_an_official_split(tmp_path):
    for name, lines in (("tracks", TRACKS), ("echonest", ECHONEST)):
        write(tmp_path / f"{name}.csv", "\n".join(lines).encode())
    write(tmp_path / "000" / "000003.mp3", tone(1))
    clips = inputs.checked(inputs.from_fma(tmp_path, tmp_path, "medium"), tmp_path)
    wrong, clip = clips.itertuples()
    assert (wrong.id, wrong.path) == ("2", "000/000002.mp3")
    assert wrong.reason.startswith("no such file") and not clip.reason
    affect = (clip.valence, clip.energy, clip.danceability)
    assert (clip.id, clip.split, affect) == ("3", "test", (0.8, 0.7, 0.6))
    assert (clip.genre, clip.group, clip.licence) == ("", "artist 1", "CC BY")
    assert [record["id"] for record in inputs.from_fma(tmp_path, tmp_path, None)] == ["3"]
    assert inputs.from_fma(tmp_path, tmp_path, "large")[-1]["split"] == "validation"
    for lines, said in (
        ([*TRACKS, "6,2,Ot"], "tracks.csv: cannot be read .a row is cut short.; unpack fma_met"),
        (TRACKS[1:], "tracks.csv:1: no column set/split; take the file of fma_"),
    ):
        write(tmp_path / "tracks.csv", "\n".join(lines).encode())
        with pytest.raises(LabError, match=said):
            inputs.from_fma(tmp_path, tmp_path, None)


def clips_of(artists, genres, split=""):
    """The table of so many clips that were made."""
    clips = pd.DataFrame({"artist": list(artists), "genre": [f"g{genre}" for genre in genres]})
    ids = [f"{split}{number}" for number in clips.index]
    return clips.assign(id=ids, split=split, group="artist " + clips["artist"], reason="")


@pytest.mark.parametrize("seed", range(5))
def test_an_artist_is_in_one_split_and_what_is_tested_was_learned(seed):
    rng = np.random.default_rng(seed)
    artists = rng.integers(0, rng.integers(4, 40), 120).astype(str)
    clips = clips_of(artists, rng.integers(0, 1 + rng.integers(1, 6), 120))
    splits.set_splits(clips, None, seed)
    train, test = (clips[clips["split"] == split] for split in ("train", "test"))
    assert len(train) + len(test) == len(inputs.kept(clips)) == 120 and len(test)
    assert not set(train["artist"]) & set(test["artist"])
    assert set(train["genre"]) == set(clips["genre"])
    parts = datasets.stratified_split(rng.random(120), (0.7, 0.15, 0.15), seed, list(artists))
    sets = [set(artists[part]) for part in parts]
    assert sum(map(len, sets)) == len(set(artists)) and all(sets)


def test_splits_say_what_they_leave_out_and_what_flatters():
    parts = (clips_of("abcd", [0, 1, 0, 1], "train"), clips_of("cdef", [0, 1, 0, 1], "test"))
    clips = pd.concat(parts, ignore_index=True)
    official = clips.copy()
    assert splits.set_splits(official, None, 0) == ("official", [])
    assert Counter(inputs.kept(official)["split"]) == {"train": 2, "test": 4}
    assert official["reason"][2] == "is in the test split, too: artist c"
    _, notes = splits.set_splits(clips, "random", 0)
    assert notes[0].startswith("--split random: an artist may be in train and in test")
    with pytest.raises(LabError, match=r"1 artist\(s\) cannot be split into 2 parts; --split ran"):
        splits.set_splits(clips_of("aaaa", [0, 0, 1, 1]), "artist", 0)
    with pytest.raises(LabError, match="--split artist leaves no clip in .* try --split random"):
        splits.set_splits(clips_of("aaabbb", [0, 0, 0, 1, 1, 1]), None, 0)
    some = clips_of("abcdefgh", [0, 1] * 4, "test").assign(split=["train", *["test"] * 6, ""])
    how, notes = splits.set_splits(some, None, 0)
    assert how == "artist" and notes[0].startswith("1 clips have no split, so the given one was")
    with pytest.raises(LabError, match=r"2 clips of 1 genre\(s\) are left, and two genres"):
        splits.set_splits(clips_of("abc", [0, 0, 1]), None, 0)


def test_the_lab_takes_classes_artists_and_affect_of_the_data(music, tmp_path):
    paths = sorted(str(path.relative_to(music)) for path in music.rglob("*.*") if path.is_file())
    lines = [f'{n},"{p.replace(chr(34), 2 * chr(34))}",g{n % 2},a{n // 2},.{n:02},.5,.{n:02}'
             for n, p in enumerate(paths)]  # fmt: skip
    path = tmp_path / "manifest.csv"
    path.write_text(HEADER.replace("split,", "") + "\n".join(lines), encoding="utf-8")
    data = build(music, tmp_path / "data", "--manifest", path)
    assert sorted(p.name for p in data.iterdir() if p.name in FOLDERS) == sorted(FOLDERS)
    assert folders.class_mapping(data) == {"g0": "g0", "g1": "g1"} != CLASS_MAPPING
    made = datasets.genre_splits(data / GENRE, "mel", 0)
    assert made.base.classes == ["g0", "g1"]
    groups = [set(artists_of(data, datasets.ids_of(p))) for p in (made.train, made.val)]
    assert not groups[0] & groups[1] and sum(map(len, groups)) == 5
    parts = datasets.affect_parts(data / MULTITASK, 0)
    assert parts.assign(g=artists_of(data, parts["id"])).groupby("g")["part"].nunique().max() == 1
    before = data_fingerprint(data)
    (data / "classes.csv").write_text("genre,class\ng0,one\ng1,\n")
    clip = next((data / GENRE / "train").glob("*.npy"))
    known = clip.stat()
    build(music, data, "--manifest", path)  # which keeps the user's own classes
    assert clip.stat() == known, "and the times by which the lab knows its clips"
    assert datasets.SpectrogramDataset(data / GENRE, "train").classes == ["one"]
    assert data_fingerprint(data) != before
    (data / "classes.csv").write_text("genre,class\ng0,one\n")  # g1 is new now
    build(music, data, "--manifest", path)
    assert folders.class_mapping(data) == {"g0": "one", "g1": "g1"}
    (data / "classes.csv").write_text("genre,class\ng0;one\n")
    with pytest.raises(LabError, match="classes.csv:2: expected genre,class"):
        build(music, data, "--manifest", path)
    with pytest.raises(LabError, match="classes.csv:2: expected genre,class, once a genre"):
        folders.read_clips(data / GENRE, "train")


def test_what_cannot_be_built_is_one_line(music, tmp_path, monkeypatch):
    def error(*arguments, audio=music, out=tmp_path / "x"):
        with pytest.raises(LabError) as caught:
            command.main(["--audio", str(audio), "--out", str(out), *QUICK, *map(str, arguments)])
        return str(caught.value)

    assert "--out and --audio lie in one another" in error(out=music / "data")
    assert "no folder; --audio is the one with" in error(audio=tmp_path / "gone")
    write(tmp_path / "full" / "mine.txt", b"!")
    assert "full: holds other files; give --out a new" in error(out=tmp_path / "full")
    (tmp_path / "none").mkdir()
    nothing = error(audio=tmp_path / "none")
    assert nothing.endswith("none: no clip to make: a folder per genre, or --manifest")
    write(tmp_path / "none" / "a.m4a", b"?")
    assert "--manifest; first: a.m4a: a file .m4a is not read" in error(audio=tmp_path / "none")
    wrong = write(tmp_path / "wrong.csv", b"id;path;genre\n1;a;b\n")
    header = "wrong.csv:1: expected a column id in 'id;path;genre', separated by commas"
    assert header in error("--manifest", wrong)
    assert "--workers 0: give 1 or more" in error("--workers", "0")
    other = Build(tmp_path / "other")
    with other.opened(tmp_path):
        pass
    assert f"other: holds the clips of {tmp_path}; give" in error(out=tmp_path / "other")
    with pytest.raises(
        LabError, match="a worker on .* has Python .*, this build another; give all"
    ):
        make_batch([], Job(str(music), str(music), "another"))
    pytest.importorskip("distributed")
    assert "no scheduler file, and no address like tcp://" in error("--cluster", tmp_path / "none")
    monkeypatch.setattr(engines, "WAIT_SECONDS", 1)
    assert "no scheduler answers" in error("--cluster", "tcp://127.0.0.1:9")
    space = type(shutil.disk_usage("/"))(2**40, 2**40, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: space)
    assert "what 12 clips become needs" in error()


def test_what_belongs_together_is_one_group():
    rows = ["a,,", "A  ,q,", ",Q,", ",r,", ",r,", ",,one", ",,one", ",,two"]
    clips = pd.DataFrame([row.split(",") for row in rows], columns=["artist", "album", "path"])
    assert inputs._groups(clips).tolist() == [
        *["artist a"] * 3, "album r", "album r", "file one", "file one", "",
    ]  # fmt: skip


def test_affect_values_that_one_split_lacks_are_left_out():
    clips = pd.DataFrame({"split": ["train"] * 5 + ["test"]}).assign(**dict.fromkeys(AXES, 0.5))
    assert splits.with_enough_affect(clips) == (clips, [])
    left, notes = splits.with_enough_affect(clips[:5])
    assert left["energy"].isna().all() and "5 clips" in notes[0] and "steps 8 to 11" in notes[0]


def test_the_middle_or_what_is_asked_for_is_decoded(tmp_path):
    audio = tone(3, 4.0)
    path = str(write(tmp_path / "a.flac", audio, subtype="PCM_24"))
    for offset, duration, first in ((None, 2.0, 1.0), (0.5, 2.0, 0.5), (3.0, None, 3.0)):
        got = decode(path, offset, duration)
        wanted = audio[round(first * RATE) :][: len(got)]
        assert len(got) == (duration or 1.0) * RATE and abs(got - wanted).max() < 1e-4
    with pytest.raises(LabError, match="cut short: 1.00 s of the 2 s are there"):
        decode(path, 3.0, 2.0)
    # What is gone when its turn comes is no fault of the file.
    with pytest.raises(MachineError, match="b.flac: could not be read .No such file or directory"):
        decode(str(tmp_path / "b.flac"))


def test_dask_makes_the_same_tree(music, wanted, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp",
        host="127.0.0.1", dashboard_address=None,
    ) as cluster:  # fmt: skip
        one = build(music, tmp_path / "one", "--cluster", cluster.scheduler_address)
        (worker,) = cluster.workers.values()
        assert worker.state.executed_count  # and not this process
    assert tree(one) == wanted
