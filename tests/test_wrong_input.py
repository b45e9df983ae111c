"""Every wrong input and what the user is told: one table, one row per mistake.

Each row is tried on a copy of the mini data beside results of an earlier run. It must give exactly
one line, which says what is wrong, where, and what to do; a program ends with a non-zero exit code;
the earlier results and the data are the same afterwards, byte for byte, and nothing half written is
left. `python -m tests.test_wrong_input` prints the table, `(*)` for words of another program.

Rows that are plain data stand in wrong_input.yaml, those that need code here.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import pickle
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from helpers import datasets, training
from helpers.datasets import BandScaler, SpectrogramDataset
from helpers.evaluation import Score
from helpers.folders import (
    FOLDERS,
    GENRE,
    GENRE_BEAT,
    MULTITASK,
    MULTITASK_BEAT,
    find_data,
    read_clips,
)
from helpers.folders import GENRES as KNOWN_GENRES
from helpers.machinery import left_out as machinery_left_out
from helpers.machinery.files import LabError
from helpers.machinery.profiles import apply_profile
from helpers.models import Classifier, CNNBackbone, build_model
from helpers.notebook import records
from helpers.notebook.checking import agree
from helpers.notebook.checkpoints import Checkpoint, write_checkpoint
from helpers.submission import check_solution
from tests import spoilers
from tests.conftest import SPEC
from tests.spoilers import ARRAYS, FILES, MILLION, Numbers, as_npy, of_numbers
from tools.checks import check_data
from tools.common.command_line import EXIT_INTERRUPTED, run_command
from tools.common.notebooks import ROOT, Lab
from tools.common.run_folder import opened
from tools.run.command import main as main_of_run

# ---- where a row is tried ----------------------------------------------------------------------

# A place is a folder that holds, by these names, a copy of the mini data, a home with the results
# of earlier runs, and what else a row puts there. Label files are sorted: line 3 is clip 1001 (5001
# in the affect set), line 2 the clip 1000, whose file is gzipped.
LABELS, BEAT_LABELS, AFFECT_LABELS, AFFECT_BEAT_LABELS = (
    f"data/{folder}/train_labels.txt" for folder in FOLDERS
)
CLIP = f"data/{GENRE}/train/1001.fused.full.npy"
ZIPPED = f"data/{GENRE}/train/1000.fused.full.npy.gz"
RUN = "home/runs/interactive"
RECORD = f"{RUN}/records/05_lstm"  # what notebook 05 stored
MODEL = "lstm_chroma_beat"
CHECKPOINT = f"{RECORD}/checkpoints/{MODEL}.safetensors"
PROFILE = "mine.yaml"  # a profile of the user's own

CLASSES = ["Classical", "Hip-Hop", "Rock"]  # of the mini data, mapped
ABOUT = {"spec": SPEC, "feature": "chroma", "classes": CLASSES, "axes": [], "epoch": 0, "note": ""}
SCALER = BandScaler(np.zeros(12, np.float32), np.ones(12, np.float32))


@pytest.fixture(scope="module")
def pattern(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every place is a copy of."""
    place = tmp_path_factory.mktemp("pattern")
    shutil.copytree(mini_data, place / "data")
    for labels in place.glob("data/*/*_labels.txt"):
        header, *rows = labels.read_text().splitlines()
        labels.write_text("\n".join([header, *sorted(rows)]) + "\n")
    with environment(place), contextlib.redirect_stdout(io.StringIO()):
        record = records.open_record("05_lstm", place / "data", 0)
        written()(place)
        (record.folder / "validation.csv").write_text(
            f"model,folder,feature,loss,accuracy,macro F1\n{MODEL},{GENRE_BEAT},chroma,1,0.5,0.5\n"
        )
        record.add_scores("m", "chroma", "test", {"accuracy": Score(0.5, 0.4, 0.6)}, 9)
        record.save_values(best_lstm={"name": MODEL}, n_seeds=1)
        record.finish("accuracy 0.5")
    shutil.copytree(place / RUN, place / "home/runs/t")
    return place


@pytest.fixture
def place(pattern: Path, tmp_path: Path) -> Path:
    """A place that a test may spoil; the clips are links, since nobody writes into them."""
    shutil.copytree(pattern / "home", tmp_path / "home")
    shutil.copytree(pattern / "data", tmp_path / "data", copy_function=os.link)
    return tmp_path


@contextlib.contextmanager
def environment(place: Path, **more: str) -> Iterator[None]:
    """Work in a place, with these MUSICLAB_* variables and none that a user may have set."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSICLAB_")}
    own = {"MUSICLAB_HOME": str(place / "home"), "MUSICLAB_HEADLESS": "1"}
    with mock.patch.dict(os.environ, kept | own | more, clear=True), contextlib.chdir(place):
        yield


def contents(place: Path) -> dict[str, bytes]:
    """Every file of a place, except for what only says who is at work and since when."""
    files = (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    passing = (".lock", "record.json")
    return {str(path): path.read_bytes() for path in files if path.name not in passing}


# ---- how things are spoiled --------------------------------------------------------------------

Spoil = Callable[[Path], object]


def later(function: Callable[..., Any]) -> Callable[..., Callable[[Path], Any]]:
    """Let a function wait for its place: `missing("data")` is what a row does to any place."""
    return lambda *given, **named: lambda place: function(place, *given, **named)


def nothing(place: Path) -> None:
    """Leave everything as it is: the mistake is in how it is used."""


@later
def changed(place: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """The content of a file is changed like this; of one that is not there, it is empty."""
    path = place / name
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)  # written into, the one that it is a link of would change too
    path.write_bytes(change(content))


def replaced(name: str, content: str | bytes) -> Spoil:
    """A file has this content."""
    return changed(name, lambda _: content.encode() if isinstance(content, str) else content)


@later
def missing(place: Path, name: str) -> None:
    """A file or folder is not there."""
    path = place / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@later
def instead(place: Path, name: str, make: Callable[[Path], object]) -> None:
    """An empty folder (Path.mkdir) or file (Path.touch) lies there, whatever was there before."""
    missing(name)(place)
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    make(place / name)


@later
def rights(place: Path, name: str, mode: int) -> None:
    """A folder that one may not write into (0o555) or not look into (0o000)."""
    (place / name).chmod(mode)


@later
def line(place: Path, number: int, text: str, name: str = LABELS) -> None:
    """This line of a label file says this instead."""
    lines = (place / name).read_bytes().splitlines()
    lines[number - 1] = text.encode("latin-1")
    replaced(name, b"\n".join(lines) + b"\n")(place)


@later
def substituted(place: Path, names: str | list[str], pattern: str, by: str) -> None:
    """What matches is replaced in a file, or in each of some."""
    for name in [names] if isinstance(names, str) else names:
        changed(name, lambda content: re.sub(pattern.encode(), by.encode(), content))(place)


@later
def copied(place: Path, name: str, to: str) -> None:
    """A file stands under another name, too."""
    replaced(to, (place / name).read_bytes())(place)


def array(change: Numbers) -> Spoil:
    """The first 60 frames of clip 1001 are changed like this, and are all."""
    return changed(CLIP, of_numbers(lambda values: change(values[:, :60])))


class Trap:
    """Unpickled, it leaves a folder `sprung` behind."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("sprung",)


@later
def written(place: Path, spec: dict[str, Any] = SPEC) -> None:
    """Notebook 05 stores a model."""
    checkpoint = Checkpoint(build_model(spec), scaler=SCALER, **ABOUT | {"spec": spec})
    write_checkpoint(place / CHECKPOINT, checkpoint)


def about(**change: Any) -> Spoil:
    """The checkpoint says something else about itself; None takes an entry away."""
    said = {key: value for key, value in (ABOUT | change).items() if value is not None}
    metadata = {"about": json.dumps(said)}
    return changed(CHECKPOINT, lambda content: save(load(content), metadata))


# ---- how things are used -----------------------------------------------------------------------


Outcome = tuple[list[str], int]  # the lines that the user saw on standard error, the exit code
Use = Callable[[Path], Outcome]


@later
def library(place: Path, call: Callable[[Path], object], **variables: str) -> Outcome:
    """A call in a script or notebook, where a LabError is one line and ends it with 1."""
    with environment(place, **variables), contextlib.redirect_stdout(io.StringIO()):
        try:
            call(place)
        except LabError as error:
            return f"error: {error}".splitlines(), 1
    return [], 0


def open_dataset(
    place: Path, folder: str = GENRE, split: str = "train", feature: str = "mel", axes: Any = ()
) -> SpectrogramDataset:
    """The clips of one split of a folder, of all genres."""
    clips = place / "data" / folder
    return SpectrogramDataset(clips, split, feature, axes=axes, class_mapping=None)


def dataset(*arguments: str, **variables: str) -> Use:
    """The Dataset of the training clips, or what else `open_dataset` is asked for."""
    return library(lambda place: open_dataset(place, *arguments), **variables)


def train_cnn(place: Path) -> None:
    """Train a CNN that needs 16 frames on whatever training clips there are."""
    model = Classifier(CNNBackbone(channels=[2, 2, 2, 2]), len(KNOWN_GENRES))
    training.train(model, datasets.make_loader(open_dataset(place), 8), epochs=1)


def stored(read: Callable[[records.Record], object], **variables: str) -> Use:
    """Notebook 06 reads what notebook 05 stored."""
    opened_by_06 = partial(records.open_record, "06_metrics", seed=0)
    return library(lambda place: read(opened_by_06(data=place / "data")), **variables)


def checkpoint(**wanted: str) -> Use:
    """Notebook 06 asks for the model that notebook 05 stored."""
    return stored(lambda record: record.load_checkpoint("05_lstm", MODEL, **wanted))


@later
def command(
    place: Path, *options: str, main: Callable[[Sequence[str]], int] = main_of_run
) -> Outcome:
    """The command line behind ./run_all.sh, or another `main` of its commands."""
    said = io.StringIO()
    with environment(place), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(said):
            code = run_command(main, options)
    return said.getvalue().splitlines(), code


@later
def while_another_runs(place: Path, use: Use) -> Outcome:
    """The same while a run named `t` is under way."""
    with opened(place / "home/runs/t"):
        return use(place)


@later
def python(place: Path, *arguments: str) -> Outcome:
    """Python with these arguments, in a process of its own and without the rights of root."""
    with environment(place, PYTHONPATH=str(ROOT)):
        started = [sys.executable, *arguments]
        done = subprocess.run(started, capture_output=True, text=True, preexec_fn=give_up_rights)
    return done.stderr.splitlines(), done.returncode


LIBC = ctypes.CDLL(None)


def give_up_rights() -> None:
    """Let root read and write no more than others: no CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH."""
    if os.geteuid() == 0:
        for right in (1, 2):
            LIBC.prctl(24, right, 0, 0, 0)


@later
def on_a_full_disk(place: Path, use: Use, free_bytes: int) -> Outcome:
    """The same where no file can grow beyond so many bytes: what a full disk is to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        return use(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@later
def where(place: Path, function: str, does: Any, use: Use) -> Outcome:
    """The same where a function does something else, or raises this: on another machine."""
    with mock.patch(function, side_effect=does, create=True):
        return use(place)


# ---- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A wrong input: what it is, how it is made and used, what the user is told.

    `message` is the one line, without `error: ` and with paths from the place on; `(*)` in it
    stands for a bracket with words of another program. An empty one: it is accepted.
    """

    what: str
    spoil: Spoil
    use: Use
    message: str
    code: int = 1
    left_out: str = ""  # how --skip-bad lists it; empty when it is refused even then


USUAL = ("--data", "data", "--profile", "smoke", "--name", "t")


def bad_run(what: str, message: str, *options: str, spoil: Spoil = nothing) -> Row:
    """A run, the usual one with more options, that does not even begin."""
    return Row(what, spoil, command(*USUAL, *options), message, code=2)


def bad_line(what: str, given: str, said: str, name: str = LABELS) -> Row:
    """Line 3 of a label file is bad; it is left out when bad data are."""
    use, message = dataset(Path(name).parent.name), f"{name}:3: {said}"
    return Row(what, line(3, given, name), use, message, left_out=message)


def bad_clip(what: str, spoil: Spoil, problem: str) -> Row:
    """The file of a clip is bad; it is left out when bad data are."""
    return Row(what, spoil, dataset(), f"{CLIP}: {problem}", left_out=f"{CLIP}: {problem}")


def bad_checkpoint(what: str, spoil: Spoil, problem: str) -> Row:
    """A checkpoint is not what a later notebook needs."""
    return Row(f"a checkpoint {what}", spoil, checkpoint(), f"{CHECKPOINT}: {problem}")


SPOILS: dict[str, Callable[..., Spoil]] = {  # by the names that they have in wrong_input.yaml
    "nothing": lambda: nothing,
    "missing": missing,
    "folder": partial(instead, make=Path.mkdir),
    "file": partial(instead, make=Path.touch),
    "pipe": partial(instead, make=os.mkfifo),
    "replaced": replaced,
    "line": line,
    "substituted": substituted,
    "copied": copied,
    "about": about,
}
USES: dict[str, Callable[..., Use]] = {
    "dataset": dataset,
    "record": lambda **variables: stored(lambda record: None, **variables),
    "checkpoint": checkpoint,
    "values": lambda: stored(lambda record: record.load_value("05_lstm", "best_lstm")),
    "table": lambda: stored(lambda record: record.load_table("05_lstm", "validation")),
    "results": lambda: library(lambda place: records.join_results(place / RUN)),
    "profile": lambda: library(
        lambda place: apply_profile({"notebook": "05_lstm", "epochs": 30}), MUSICLAB_PROFILE=PROFILE
    ),
    "find": lambda name="auto", **variables: library(lambda place: find_data(name), **variables),
    "run": lambda *options: command(*USUAL, *options),
}


def called(functions: dict[str, Callable[..., Any]], words: Any) -> Any:
    """NAME, or {NAME: argument, or a list of them, or some by their names}, is called."""
    name, given = (words, []) if isinstance(words, str) else next(iter(words.items()))
    if isinstance(given, dict):
        return functions[name](**given)
    return functions[name](*(given if isinstance(given, list) else [given]))


def plain_row(
    what: str, said: str, spoil: Any = "nothing", use: Any = "dataset", code: int = 1,
    left_out: bool = False,
) -> Row:  # fmt: skip
    """A row of wrong_input.yaml; it may spoil in several ways."""
    spoils = [called(SPOILS, one) for one in (spoil if isinstance(spoil, list) else [spoil])]
    return Row(
        what, lambda place: [one(place) for one in spoils], called(USES, use), said, code,
        left_out=said if left_out else "",
    )  # fmt: skip


GENRES, NOTEBOOKS = ", ".join(KNOWN_GENRES), ", ".join(Lab().names)
OF_05, OF_07 = Lab().read("05_lstm").parameters, Lab().read("07_cnn").parameters
BOMB = ", ".join(["&a0 [0, 0]", *(f"&a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 20))])
SECTIONS = f"{NOTEBOOKS}, all, runner"
EPOCHS = f"but must be int; write for example {OF_05['epochs']}"
RATE = f"but must be float; write for example {OF_05['learning_rate']}"
CHANNELS, CHANNEL = OF_07["channels"], OF_07["channels"][0]
BEGIN, DIGITS = MILLION[:80], "9" * 5000
rows_of = partial(spoilers.rows_of, words=globals())
MARKER_HINT = f"give the folder that holds {GENRE}/"
GET_AGAIN = "download or unpack the data again"

FOLDER_ROWS = [
    Row("check-data on a folder that one may not read", rights("data", 0o000),
        python("-m", "tools.checks.check_data", "--data", "data"),
        "data: cannot be read (Permission denied); check its rights", code=2),
    Row("a clip of the demo set is gone", lambda place: shutil.copytree(
            place / "data", place / "home/.cache/demo/data", ignore=lambda *_: [Path(CLIP).name]),
        library(lambda place: read_clips(place / f"home/.cache/demo/data/{GENRE}", "train")),
        f"home/.cache/demo/{LABELS}:3: clip 1001 is not in home/.cache/demo/data/{GENRE}/train; "
        "delete home/.cache/demo, and ./run_all.sh or notebook 00 builds it again"),
]  # fmt: skip

LABEL_ROWS = [
    *(bad_line(**row) for row in rows_of("lines")),
    *(bad_line(**row, name=AFFECT_LABELS) for row in rows_of("affect lines")),
]

NOT_WHOLE = "no whole .npy array (*); get this file again"
CLIP_ROWS = [
    *(bad_clip(what, changed(CLIP, change), NOT_WHOLE) for what, change in FILES.items()),
    *(bad_clip(row["what"], array(ARRAYS[row["what"]]), row["said"]) for row in rows_of("arrays")),
    bad_clip("a pickled array",
             replaced(CLIP, as_npy(np.array([[Trap()]] * 140, dtype=object))),
             "holds pickled objects, which are never loaded; get it again"),
    Row("too many open files while the data are checked", nothing,
        where("helpers.machinery.arrays.open", OSError(24, "Too many open files"),
              command("--data", "data", main=check_data.main)),
        f"{ZIPPED}: could not be read (Too many open files); mend that and run this again", code=2),
    Row("a clip that the memory cannot hold", nothing,
        where("numpy.ascontiguousarray", MemoryError, dataset()),
        f"{ZIPPED}: could not be read (not enough memory for it); mend that and run this again"),
    Row("a clip too short for the CNN", array(lambda values: values[:, :8]), library(train_cnn),
        f"{CLIP}: 8 frames are too short for this CNN, which needs 16; remove the clip, or leave "
        "such clips out with ./run_all.sh --skip-bad",
        left_out=f"{CLIP}: 8 frames are too short for the CNN, which needs 16; get it again or "
        "remove the clip"),
]  # fmt: skip

AGAIN_05 = "run notebook 05_lstm again"
FIRST_05 = "run notebook 05_lstm first (python py/05_lstm.py, or ./run_all.sh --only 05)"
OTHER_DATA = f"{CHECKPOINT}: not there; the one in {RECORD} was made with other data; {FIRST_05}"
NO_CHECKPOINT = "no whole checkpoint (*); delete it and run its notebook again"
OTHER_MODEL = "its weights are of another model (*); run its notebook again"

CHECKPOINT_ROWS = [
    bad_checkpoint("is a pickle", replaced(CHECKPOINT, pickle.dumps(Trap())), NO_CHECKPOINT),
    bad_checkpoint("says nothing about itself", changed(CHECKPOINT, lambda it: save(load(it))),
                   NO_CHECKPOINT),
    bad_checkpoint("takes other bands than its feature has",
                   written(SPEC | {"backbone_options": {"n_features": 7}}),
                   "its model takes 7 bands, but feature 'chroma' has 12; run its notebook again"),
    *(bad_checkpoint(row["what"], about(**row["given"]), f"{row['said']}; run its notebook again")
      for row in rows_of("checkpoints")),
]  # fmt: skip

PROFILE_ROWS = [
    bad_run(row["what"], f"{PROFILE}:{row['said']}", "--profile", PROFILE,
            spoil=replaced(PROFILE, row["given"].encode("latin-1")))
    for row in rows_of("profiles")
]  # fmt: skip

USE_ROWS = [
    *(bad_run(row["what"], row["said"], *shlex.split(row["given"])) for row in rows_of("options")),
    Row("a device that this machine does not have", nothing,
        where("torch.cuda.is_available", lambda: False, command(*USUAL, "--device", "cuda")),
        "device 'cuda' is not available here; use --device auto or cpu", code=2),
    *(Row(f"a solution.txt that {row['what']}", nothing, library(lambda _, text=row["given"]:
          check_solution(text, ["123212738", "123212739"])), f"solution.txt:{row['said']}")
      for row in rows_of("solutions")),
    Row("a second run of the same name at the same time", nothing,
        while_another_runs(command(*USUAL)), "a run named 't' is under way (*); wait for it, or "
        "choose another name with --name", code=2),
]  # fmt: skip

X = torch.linspace(-2, 2, 12).reshape(2, 6)


class WithoutInit(torch.nn.Module):
    """A student's class that forgets `super().__init__()`."""

    def __init__(self) -> None:
        self.head = torch.nn.Linear(6, 3)


OWN_CODE_ROWS = [
    Row(f"own code {what}", nothing, library(lambda _, own=own: agree("logits", own, X)), message)
    for what, own, message in (
        ("of another shape", lambda: X[:, :3],
         "logits: yours has the shape (2, 3), the kit's (2, 6); look at the last operation"),
        ("without super().__init__()", WithoutInit, "logits: your version breaks down with "
         "AttributeError: cannot assign module before Module.__init__() call; call "
         "super().__init__() first"),
        ("on unscaled input", lambda: 30 * X - 40, "logits: same shape (2, 6), but 12 of 12 values "
         "differ, by 98 at most; at [0, 0] yours is -100, the kit's -2 (is your input scaled, and "
         "the padding masked?)"),
        ("that gives NaN", lambda: X / 0 * 0, "logits: same shape (2, 6), but 12 of 12 values "
         "differ, by nan at most; at [0, 0] yours is nan, the kit's -2 (is your input scaled, and "
         "the padding masked?)"),
    )
]  # fmt: skip

PLACE_TO_WRITE = "free some space or choose another folder with MUSICLAB_HOME"
OTHER_HOME = "set MUSICLAB_HOME to a folder that you may write to"

DISK_ROWS = [
    Row("the home is read-only",
        lambda place: [missing("home/.cache")(place), rights("home", 0o555)(place)],
        python("-c", "from helpers.machinery.files import cache_dir; cache_dir()"),
        f"home/.cache: cannot make this folder (Permission denied); {OTHER_HOME}"),
    Row("the folder of results is read-only", rights(RUN, 0o555),
        python("-c", "from pathlib import Path; from helpers.machinery.files import "
                       f"write_atomically; write_atomically(Path('{RUN}/results.csv'), 'new')"),
        f"{RUN}/results.csv: cannot be written (Permission denied); {PLACE_TO_WRITE}"),
    Row("the data folder is read-only", rights(f"data/{GENRE}", 0o555), dataset(), "", code=0),
    Row("the disk is full when a result is stored", nothing,
        on_a_full_disk(library(written()), 1000),
        f"{CHECKPOINT}: cannot be written (File too large); {PLACE_TO_WRITE}"),
    Row("the disk is full when features are packed", nothing, on_a_full_disk(dataset(), 100_000),
        "home/.cache/packed: cannot pack the features (File too large); they need 0.4 MiB in "
        "a folder that one may write to; mend that, or choose another one with MUSICLAB_HOME"),
    Row("the disk is too small for the features", nothing,
        where("shutil.disk_usage", lambda folder: mock.Mock(free=2**18), dataset()),
        "home/.cache/packed: packing the features needs 64 MiB here and 0 MiB are free; make room, "
        "or choose another folder with MUSICLAB_HOME"),
    Row("the disk is full when a run begins", nothing, on_a_full_disk(command(*USUAL), 0),
        f"home/runs/t: cannot be written (File too large); free some space, or {OTHER_HOME}",
        code=2),
    Row("standard output cannot be written to", nothing, python("-c", "import os, sys; from "
        "tools.common.command_line import run_command; os.dup2(os.open('/dev/null', os.O_RDONLY), "
        "1); sys.exit(run_command(lambda _: print(1) or 0))"), "[Errno 9] Bad file descriptor; "
        "mend that and run this again"),
]  # fmt: skip

STOP_ROWS = [
    Row("Ctrl-C in a command", nothing, command(main=mock.Mock(side_effect=KeyboardInterrupt)),
        "interrupted; the same command goes on from here", code=EXIT_INTERRUPTED),
    Row("Ctrl-C in a script", nothing,
        python("-c", "import helpers, signal; signal.raise_signal(signal.SIGINT)"),
        "interrupted; what was stored is whole, run the same command again for the rest",
        code=-signal.SIGINT),
]  # fmt: skip

ROWS = [
    *(plain_row(**row) for row in (*rows_of("anything"), *rows_of("label files"))),
    *(plain_row(**row, use="checkpoint") for row in rows_of("stored checkpoints")),
    *(plain_row(**row, use="record") for row in rows_of("contradictions")),
    *(plain_row(**row, use="run", code=2) for row in rows_of("data folders")),
    *FOLDER_ROWS, *LABEL_ROWS, *CLIP_ROWS, *CHECKPOINT_ROWS, *PROFILE_ROWS, *USE_ROWS,
    *OWN_CODE_ROWS, *DISK_ROWS, *STOP_ROWS,
]  # fmt: skip


# ---- the tests ---------------------------------------------------------------------------------


def is_message(said: str, expected: str) -> bool:
    """Whether a line is the expected one, where `(*)` stands for any bracket."""
    pattern = re.escape(expected).replace(re.escape("(*)"), r"\(.+\)")
    return re.fullmatch(pattern, said) is not None


def shown(place: Path, text: str) -> str:
    """A message without the folder that the place happens to lie in."""
    return text.replace(f"{place}/", "").removeprefix("error: ")


@pytest.fixture(scope="module")
def whole(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpectrogramDataset]:
    """The training clips of good data, by folder."""
    with environment(pattern, MUSICLAB_HOME=str(tmp_path_factory.mktemp("whole"))):
        return {folder: open_dataset(pattern, folder) for folder in (GENRE, MULTITASK)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_wrong_input_is_one_clear_line_and_loses_nothing(row, place, whole):
    row.spoil(place)
    before = contents(place)
    lines, code = row.use(place)
    said = [shown(place, text) for text in lines]
    if row.message:
        assert len(said) == 1, said
        assert is_message(said[0], row.message), f"{said[0]}\n{row.message}"
        assert "; " in row.message, "what to do?"
    else:
        assert said == []
    assert code == row.code and (code == 0) == (not row.message)
    after = contents(place)
    assert {path: after.get(path) for path in before} == before
    assert not [path for path in after if path.endswith(".part") or ".partial" in path]
    assert not (place / "sprung").exists(), "something was unpickled"
    if row.left_out:
        only_the_bad_is_left_out(row, place, whole)


def only_the_bad_is_left_out(row: Row, place: Path, whole: dict[str, SpectrogramDataset]) -> None:
    """The one bad row or clip is listed and told once; all the others are as in good data."""
    folder = MULTITASK if row.message.startswith(AFFECT_LABELS) else GENRE
    name = "1000" if row.message.startswith(ZIPPED) else "1001" if folder == GENRE else "5001"
    said = io.StringIO()
    with bad_left_out(place) as listed, contextlib.redirect_stdout(said):
        rest, _ = open_dataset(place, folder), open_dataset(place, folder)
    (told,) = said.getvalue().splitlines()
    assert len(listed) == 1 and told.startswith("left out (--skip-bad): ")
    for problem in (*listed, shown(place, told).removeprefix("left out (--skip-bad): ")):
        assert is_message(problem, row.left_out), problem
    good = whole[folder]
    assert rest.ids == [clip for clip in good.ids if clip != name]
    for index, clip in enumerate(rest.ids):
        assert np.array_equal(rest.frames(index), good.frames(good.ids.index(clip)))


@contextlib.contextmanager
def bad_left_out(place: Path) -> Iterator[list[str]]:
    """What `--skip-bad` does before the notebooks run; gives the lines of what it found."""
    path = place / "left_out.json"
    with environment(place, MUSICLAB_LEFT_OUT=str(path)):
        listed = check_data.to_leave_out(check_data.check(place / "data"))
        check_data.write_list(path, place / "data", listed)
        machinery_left_out.read_left_out.cache_clear()
        machinery_left_out.tell_once.cache_clear()
        texts = (text for split in listed.values() for text in split.values())
        yield [shown(place, text) for text in texts if text]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (LABELS, f"{LABELS}: the label file is empty"),
        (f"data/{GENRE}/train/*", f"data/{GENRE}/train: none of its clips can be used; first: "),
    ],
)
def test_what_says_nothing_at_all_cannot_be_left_out(names, message, place):
    for path in place.glob(names):
        replaced(str(path), "")(place)
    with bad_left_out(place), pytest.raises(LabError) as caught:
        open_dataset(place)
    assert shown(place, str(caught.value)).startswith(message)


def test_a_clip_that_is_bad_in_one_form_is_left_out_of_both(place, capsys):
    """Else what is validation in one form would be training in the other, and tests not paired."""
    for name in ("train/1001", f"../{GENRE_BEAT}/test/2003", f"../{MULTITASK_BEAT}/train/5003"):
        replaced(f"data/{GENRE}/{name}.fused.full.npy", "")(place)
    with bad_left_out(place) as listed:
        for forms in ((GENRE, GENRE_BEAT), (MULTITASK, MULTITASK_BEAT)):
            for split in ("train", "test"):
                clips = (read_clips(place / "data" / form, split) for form in forms)
                ids, others = (table["id"].tolist() for table in clips)
                assert ids == others and ids and not {"1001", "2003", "5003"} & set(ids)
        parts = datasets.affect_parts(place / "data" / MULTITASK, 0)
        datasets.affect_splits(place / "data" / MULTITASK_BEAT, "chroma", "energy", parts)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(listed) == 3, "each is told once, and not again for its other form"


# ---- the table, printed ------------------------------------------------------------------------


if __name__ == "__main__":
    print("| what is wrong | message |\n|---|---|")
    for row in ROWS:
        said = f"`{row.message}`" if row.message else "(accepted)"
        print(f"| {row.what} | {said.replace('|', chr(92) + '|')} |")
