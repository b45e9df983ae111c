"""Every wrong input and what the user is told: one table, one row per mistake.

Each row is tried on a copy of the mini data beside results of an earlier run. It must give exactly
one line, which says what is wrong, where, and what to do; a program ends with a non-zero exit code;
the earlier results and the data are the same afterwards, byte for byte, and nothing half written is
left. `python -m tests.test_wrong_input` prints the table, with the messages as they really come.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import datasets, folders, models, training
from helpers.datasets import BandScaler, SpectrogramDataset
from helpers.evaluation import Score
from helpers.folders import GENRE, GENRE_BEAT, MULTITASK, MULTITASK_BEAT, find_data
from helpers.folders import GENRES as KNOWN_GENRES
from helpers.machinery.files import LabError
from helpers.notebook import checkpoints, records
from tools.checks import check_data
from tools.common.command_line import EXIT_INTERRUPTED, run_command
from tools.common.notebooks import Lab
from tools.common.run_folder import opened
from tools.run.command import main as main_of_run

ROOT = Path(__file__).resolve().parents[1]
N_TRAIN = 24  # genre training clips of the mini data


# ---- where a row is tried ----------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A folder with a copy of the mini data and a home that holds results of earlier runs.

    The label files are sorted, so that line 3 is clip 1001 (5001 in the affect set), line 2 the
    clip 1000, whose file is gzipped.
    """

    root: Path

    @property
    def data(self) -> Path:
        """The data folder; a row may change it through `put` only, since files are shared."""
        return self.root / "data"

    @property
    def home(self) -> Path:
        """What MUSICLAB_HOME names."""
        return self.root / "home"

    @property
    def profile(self) -> Path:
        """A profile of the user's own."""
        return self.root / "mine.yaml"

    @property
    def clip(self) -> Path:
        """The file of clip 1001."""
        return self.data / GENRE / "train" / "1001.fused.full.npy"

    @property
    def zipped(self) -> Path:
        """The file of clip 1000."""
        return self.data / GENRE / "train" / "1000.fused.full.npy.gz"

    @property
    def record(self) -> Path:
        """What notebook 05 stored."""
        return self.home / "runs" / records.INTERACTIVE_RUN / "records" / "05_lstm"

    @property
    def checkpoint(self) -> Path:
        """A classifier of chroma, with its three classes."""
        return self.record / "checkpoints" / f"{MODEL}.safetensors"

    def shown(self, text: str) -> str:
        """A message without the folder that this place happens to lie in."""
        return text.replace(f"{self.root}{os.sep}", "")


CLASSES = ["Classical", "Hip-Hop", "Rock"]  # of the mini data, mapped
MODEL = "lstm_chroma_beat"
SPEC = {
    "backbone": "lstm",
    "backbone_options": {"n_features": 12, "hidden_size": 4},
    "head": "classifier",
    "head_options": {"n_classes": 3},
}


def make_pattern(mini_data: Path, root: Path) -> Place:
    """What every place is a copy of."""
    place = Place(root)
    shutil.copytree(mini_data, place.data)
    for labels in place.data.glob("*/*_labels.txt"):
        header, *rows = labels.read_text().splitlines()
        labels.write_text("\n".join([header, *sorted(rows)]) + "\n")
    with environment(place):
        record = records.open_record("05_lstm", place.data, 0)
        scaler = BandScaler(np.zeros(12, np.float32), np.ones(12, np.float32))
        record.save_checkpoint(
            MODEL, models.build_model(SPEC), SPEC, feature="chroma", scaler=scaler, classes=CLASSES
        )
        (record.folder / "validation.csv").write_text(
            f"model,folder,feature,loss,accuracy,macro F1\n{MODEL},{GENRE_BEAT},chroma,1,0.5,0.5\n"
        )
        record.add_scores("m", "chroma", "test", {"accuracy": Score(0.5, 0.4, 0.6)}, 9)
        record.save_values(best_lstm={"name": MODEL}, n_seeds=1)
        with contextlib.redirect_stdout(io.StringIO()):
            record.finish("accuracy 0.5")
    shutil.copytree(place.home / "runs" / records.INTERACTIVE_RUN, place.home / "runs" / "t")
    return place


def make_place(pattern: Place, root: Path) -> Place:
    """A copy for one row; the clips are links, since nobody writes into them."""
    shutil.copytree(pattern.home, root / "home")
    shutil.copytree(pattern.data, root / "data", copy_function=os.link)
    return Place(root)


@pytest.fixture(scope="module")
def pattern(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The pattern of all places of this module."""
    return make_pattern(mini_data, tmp_path_factory.mktemp("pattern"))


@pytest.fixture
def place(pattern: Place, tmp_path: Path) -> Place:
    """A place that a test may spoil."""
    return make_place(pattern, tmp_path)


@contextlib.contextmanager
def environment(place: Place, **more: str) -> Iterator[None]:
    """The MUSICLAB_* variables that a row wants, and none that it leaves behind."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MUSICLAB_")]:
        del os.environ[name]
    os.environ.update(MUSICLAB_HOME=str(place.home), MUSICLAB_HEADLESS="1", **more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def contents(place: Place) -> dict[str, bytes]:
    """Every file of a place, except for what only says who is at work and since when."""
    files = (path for path in place.root.rglob("*") if path.is_file() and not path.is_symlink())
    passing = (".lock", "record.json")
    return {str(path): path.read_bytes() for path in files if path.name not in passing}


# ---- how things are spoiled --------------------------------------------------------------------

Spoil = Callable[[Place], None]


def nothing(place: Place) -> None:
    """Leave everything as it is: the mistake is in how it is used."""


def put(path: Path, content: bytes) -> None:
    """Replace a file; written into, the one that it is a link of would change too."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def missing(name: str) -> Spoil:
    """A file or folder is not there; the name is that in the place."""

    def spoil(place: Place) -> None:
        path = place.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def empty_folder(name: str) -> Spoil:
    """A folder with nothing in it lies there, instead of what was there before."""

    def spoil(place: Place) -> None:
        missing(name)(place)
        (place.root / name).mkdir()

    return spoil


def empty_file(name: str) -> Spoil:
    """A file lies where a folder was, or is to be made."""

    def spoil(place: Place) -> None:
        path = place.root / name
        if path.exists():
            path.rename(place.root / "before")
        path.touch()

    return spoil


def labels(content: bytes, folder: str = GENRE) -> Spoil:
    """The training label file has this content."""
    return lambda place: put(place.data / folder / "train_labels.txt", content)


def line(number: int, text: str, folder: str = GENRE) -> Spoil:
    """This line of the training label file says this instead."""

    def spoil(place: Place) -> None:
        path = place.data / folder / "train_labels.txt"
        lines = path.read_text().splitlines()
        lines[number - 1] = text
        put(path, ("\n".join(lines) + "\n").encode("latin-1"))

    return spoil


def line_ends(place: Place) -> None:
    """All label files have the line ends of Windows."""
    for path in place.data.glob("*/*_labels.txt"):
        put(path, path.read_bytes().replace(b"\n", b"\r\n"))


def array(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """Clip 1001 is changed like this."""

    def spoil(place: Place) -> None:
        file = io.BytesIO()
        np.save(file, change(np.load(place.clip).astype(np.float64)), allow_pickle=True)
        put(place.clip, file.getvalue())

    return spoil


def clip(change: Callable[[bytes], bytes], zipped: bool = False) -> Spoil:
    """The bytes of the file of clip 1001 (of 1000, the gzipped one) are changed like this."""

    def spoil(place: Place) -> None:
        path = place.zipped if zipped else place.clip
        put(path, change(path.read_bytes()))

    return spoil


def with_header(header: str) -> Spoil:
    """Clip 1001 begins with this header instead of its own, and ends there."""
    head = header.encode()
    return clip(lambda _: b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)


def with_value(value: float) -> Spoil:
    """Clip 1001 holds this value somewhere."""

    def change(values: np.ndarray) -> np.ndarray:
        values[7, 3] = value
        return values

    return array(change)


class Trap:
    """Unpickled, it leaves a folder `sprung` behind."""

    def __init__(self, place: Place) -> None:
        self.folder = str(place.root / "sprung")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.folder,)


def trap_in_clip(place: Place) -> None:
    """Clip 1001 is an array of objects, which NumPy would have to unpickle."""
    file = io.BytesIO()
    np.save(file, np.array([[Trap(place)]] * 140, dtype=object), allow_pickle=True)
    put(place.clip, file.getvalue())


def about(**change: Any) -> Spoil:
    """The checkpoint says something else about itself."""

    def spoil(place: Place) -> None:
        content = place.checkpoint.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        said = json.loads(header["__metadata__"]["about"]) | change
        header["__metadata__"] = {"about": json.dumps(said)}
        text = json.dumps(header).encode()
        put(place.checkpoint, struct.pack("<Q", len(text)) + text + content[8 + size :])

    return spoil


def profile(text: str | bytes) -> Spoil:
    """`mine.yaml` says this."""
    content = text.encode() if isinstance(text, str) else text
    return lambda place: put(place.profile, content)


def read_only(name: str) -> Spoil:
    """Nobody may write into a folder."""
    return lambda place: (place.root / name).chmod(0o555)


def unreadable(name: str) -> Spoil:
    """Nobody may look into a folder."""
    return lambda place: (place.root / name).chmod(0o000)


# ---- how things are used -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What the user saw on standard error, and the exit code."""

    lines: list[str]
    code: int


Use = Callable[[Place], Outcome]


def library(call: Callable[[Place], object]) -> Use:
    """A call in a script or notebook, where a LabError is one line and ends it with 1."""

    def use(place: Place) -> Outcome:
        with environment(place), contextlib.redirect_stdout(io.StringIO()):
            try:
                call(place)
            except LabError as error:
                return Outcome(f"error: {error}".splitlines(), 1)
        return Outcome([], 0)

    return use


def dataset(folder: str = GENRE) -> Use:
    """The Dataset of the training clips."""
    return library(lambda place: open_dataset(place, folder))


def open_dataset(place: Place, folder: str = GENRE) -> SpectrogramDataset:
    """The training clips of one folder, of all genres."""
    return SpectrogramDataset(place.data / folder, "train", class_mapping=None)


def small_cnn(data: SpectrogramDataset) -> models.Classifier:
    """A CNN that needs 16 frames, for all genres of a data set."""
    return models.Classifier(models.CNNBackbone(channels=[2, 2, 2, 2]), len(data.classes))


def find_named_data(place: Place) -> None:
    """Look for the data where a variable says that they are."""
    os.environ["MUSICLAB_DATA"] = str(place.data)
    find_data()


def train_cnn(place: Place) -> None:
    """Train on whatever clips there are."""
    data = open_dataset(place)
    loader = datasets.make_loader(data, 8, shuffle=True)
    training.train(small_cnn(data), loader, epochs=1)


def predict_with_cnn(place: Place) -> None:
    """Predict for whatever clips there are."""
    data = open_dataset(place)
    training.predict(small_cnn(data), datasets.make_loader(data, 8))


def checkpoint(**wanted: Any) -> Use:
    """Notebook 06 asks for the model that notebook 05 stored."""

    def load(place: Place) -> None:
        record = records.open_record("06_metrics", place.data, 0)
        record.load_checkpoint("05_lstm", MODEL, **wanted)

    return library(load)


def command(
    *options: str,
    main: Callable[[Sequence[str]], int] = main_of_run,
    while_running: bool = False,
) -> Use:
    """The command line behind ./run_all.sh; `DATA` and `PROFILE` stand for those of the place.

    `main` is another of its commands; `while_running`: another run of this name is under way.
    """

    def use(place: Place) -> Outcome:
        names = {"DATA": str(place.data), "PROFILE": str(place.profile)}
        words = [names.get(option, option) for option in options]
        err, handlers = io.StringIO(), {n: signal.getsignal(n) for n in lab_signals()}
        busy = opened(place.home / "runs" / "t") if while_running else contextlib.nullcontext()
        with environment(place), contextlib.redirect_stdout(io.StringIO()), busy:
            with contextlib.redirect_stderr(err):
                code = run_command(main, words)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return Outcome(err.getvalue().splitlines(), code)

    return use


def lab_signals() -> tuple[signal.Signals, ...]:
    """The signals that the command line handles."""
    return signal.SIGTERM, signal.SIGHUP


def python(place: Place, arguments: Sequence[str], **more: str) -> subprocess.Popen[str]:
    """Start Python in the environment of a user who works in this place, without progress bars."""
    name = str(place.profile) if place.profile.exists() else "smoke"
    with environment(place, MUSICLAB_DATA=str(place.data), MUSICLAB_PROFILE=name, **more):
        env = dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments], env=env, text=True, cwd=place.root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def script(name: str) -> Use:
    """`python py/NN_name.py`."""

    def use(place: Place) -> Outcome:
        process = python(place, [str(ROOT / "py" / f"{name}.py")])
        _, err = process.communicate(timeout=120)
        return Outcome(err.splitlines(), process.returncode)

    return use


def program(code: str, *launcher: str) -> Use:
    """A few lines of Python in a process of their own; `HOME` stands for the place's home.

    `launcher` are arguments of Python that start it, see WITHOUT_RIGHTS.
    """

    def use(place: Place) -> Outcome:
        words = [word.replace("HOME", str(place.home)) for word in launcher]
        rest = [sys.executable, "-c", code] if launcher else ["-c", code]
        process = python(place, [*words, *rest])
        _, err = process.communicate(timeout=60)
        return Outcome(err.splitlines(), process.returncode)

    return use


def stopped(number: signal.Signals, arguments: Sequence[str], begun: str, **more: str) -> Use:
    """A program gets a signal once a file exists that it writes: in the midst of its work."""

    def use(place: Place) -> Outcome:
        process = python(place, arguments, **more)
        end = time.monotonic() + 60
        while not (place.home / begun).exists() and process.poll() is None:
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        return Outcome(err.splitlines(), process.returncode)

    return use


def killed_and_run_again(place: Place) -> Outcome:
    """kill -9 in the midst of writing; then the notebook begins anew."""
    arguments = ["-c", _ENDLESS_WRITER, str(place.record)]
    outcome = stopped(signal.SIGKILL, arguments, str(place.record / "table.csv"))(place)
    assert (place.record / "table.csv").read_bytes() in (b"0\n" * 200_000, b"1\n" * 200_000)
    with environment(place):
        records.open_record("05_lstm", place.data, 0)
    return outcome


_ENDLESS_WRITER = """
import itertools, sys
from pathlib import Path
from helpers.machinery.files import write_atomically
for number in itertools.count():
    write_atomically(Path(sys.argv[1]) / "table.csv", f"{number % 2}\\n" * 200_000)
"""


@contextlib.contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: what a full disk or a quota is to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def on_a_full_disk(use: Use, free_bytes: int) -> Use:
    """The same on a full disk."""

    def limited(place: Place) -> Outcome:
        with full_disk(free_bytes):
            return use(place)

    return limited


def store_again(place: Place) -> None:
    """Notebook 05 stores its model once more."""
    record = records.open_record("05_lstm", place.data, 0)
    loaded = checkpoints.read_checkpoint(place.checkpoint)
    record.save_checkpoint(MODEL, loaded.model, SPEC, feature="chroma", scaler=loaded.scaler)


# root may read and write everywhere; without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH it may not.
WITHOUT_RIGHTS = (
    "-c",
    "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, right, 0, 0, 0) for right in (1, 2)]; "
    "os.execv(sys.argv[1], sys.argv[1:])",
)
# A disk of its own and of 256 KiB for `.cache`, seen by this process only.
ON_A_SMALL_DISK = (
    "-c",
    "import os, sys; os.execvp('unshare', ['unshare', '--mount', '--map-root-user', 'sh', '-c', "
    '\'mkdir -p "$0" && mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"\', *sys.argv[1:]])',
    "HOME/.cache",
)
CHECK = "import os, sys; from tools.checks.check_data import main, run_command; "
CHECK += "sys.exit(run_command(main, ['--data', os.environ['MUSICLAB_DATA']]))"
STORE = "from pathlib import Path; from helpers.machinery.files import write_atomically as store; "
PACK = "import os; from helpers.datasets import SpectrogramDataset as Clips; "
PACK += f"Clips(os.environ['MUSICLAB_DATA'] + '/{GENRE}', 'train')"


@cache
def may_write_everywhere() -> str:
    """Why a read-only folder cannot be tried here; empty when it can."""
    code = "import os, sys; sys.exit(os.access(sys.argv[1], os.W_OK))"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        words = [sys.executable, *WITHOUT_RIGHTS, sys.executable, "-c", code, folder]
        done = subprocess.run(words, capture_output=True, check=False)
    return "" if done.returncode == 0 else "this user may write into read-only folders"


@cache
def cannot_mount() -> str:
    """Why a small disk cannot be tried here; empty when it can."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *ON_A_SMALL_DISK[:2], folder, "true"]
        done = subprocess.run(words, capture_output=True, check=False)
    return "" if done.returncode == 0 else "this user may not mount a small disk"


def has_gpu() -> str:
    """Why a missing GPU cannot be tried here; empty when it can."""
    return "this machine has a GPU" if torch.cuda.is_available() else ""


def always() -> str:
    """Nothing keeps the row from being tried."""
    return ""


# ---- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A wrong input: what it is, how it is made and used, what the user is told.

    `message` is the one line, without `error: ` and with paths from the place's folder on; `(*)`
    in it stands for a bracket with words of another program. An empty one: nothing is said, and
    `instead` tells why.
    """

    what: str
    spoil: Spoil
    use: Use
    message: str
    code: int = 1
    instead: str = ""
    left_out: str | None = None  # how --skip-bad lists it; None when it is refused even then
    cannot: Callable[[], str] = always  # why it cannot be tried on this machine


LABELS, AFFECT = f"data/{GENRE}/train_labels.txt", f"data/{MULTITASK}/train_labels.txt"
CLIP = f"data/{GENRE}/train/1001.fused.full.npy"
ZIPPED = f"data/{GENRE}/train/1000.fused.full.npy.gz"
RECORD = "home/runs/interactive/records/05_lstm"
CHECKPOINT = f"{RECORD}/checkpoints/{MODEL}.safetensors"
MARKER_HINT = "give the folder that holds fma_genre_spectrograms/"
GET_AGAIN = "download or unpack the data again"
RUN_05 = "run notebook 05_lstm first (python py/05_lstm.py, or ./run_all.sh --only 05)"
PLACE_TO_WRITE = "free some space or choose another folder with MUSICLAB_HOME"
GENRES, NOTEBOOKS = ", ".join(KNOWN_GENRES), ", ".join(Lab().names)
USUAL = ("--data", "DATA", "--profile", "smoke", "--name", "t")
MINE = ("--data", "DATA", "--name", "t", "--profile", "PROFILE")


def bad_line(what: str, text: str, problem: str, folder: str = GENRE) -> Row:
    """Line 3 of a label file is bad; it is left out when bad data are."""
    message = f"{AFFECT if folder == MULTITASK else LABELS}:3: {problem}"
    return Row(what, line(3, text, folder), dataset(folder), message, left_out=message)


def bad_clip(what: str, spoil: Spoil, problem: str, path: str = CLIP) -> Row:
    """The file of a clip is bad; it is left out when bad data are."""
    return Row(what, spoil, dataset(), f"{path}: {problem}", left_out=f"{path}: {problem}")


def affect_line(what: str, text: str, problem: str) -> Row:
    """Line 3 of the affect label file is bad."""
    return bad_line(what, text, problem, MULTITASK)


NOT_WHOLE = "no whole .npy array (*); get this file again"
SHAPE = "expected (140, T) with T of at least 1; get this file again or remove it"
NOT_FINITE = "holds NaN or infinite values; get this file again or remove it"

FOLDER_ROWS = [
    Row("the data folder is missing", missing("data"), command(*USUAL),
        f"data: the data folder does not exist; {MARKER_HINT}", code=2),
    Row("$MUSICLAB_DATA names a folder that is missing", missing("data"),
        library(find_named_data), f"data: $MUSICLAB_DATA does not exist; {MARKER_HINT}"),
    Row("the data folder is empty", empty_folder("data"),
        command(*USUAL), "data: no folder fma_genre_spectrograms in it (it holds nothing); unpack "
        "the lab's data so that data/fma_genre_spectrograms exists, see data_links.md", code=2),
    Row("the data folder is a file", empty_file("data"),
        command(*USUAL), f"data: the data folder is a file; {MARKER_HINT}", code=2),
    Row("the marker fma_genre_spectrograms is missing",
        missing(f"data/{GENRE}"), command(*USUAL),
        "data: no folder fma_genre_spectrograms in it (it holds fma_genre_spectrograms_beat, "
        "multitask_dataset, multitask_dataset_beat); unpack the lab's data so that "
        "data/fma_genre_spectrograms exists, see data_links.md", code=2),
    Row("the marker is a file", empty_file(f"data/{GENRE}"), command(*USUAL),
        "data: no folder fma_genre_spectrograms in it (it holds fma_genre_spectrograms, "
        "fma_genre_spectrograms_beat, multitask_dataset, multitask_dataset_beat); unpack the lab's "
        "data so that data/fma_genre_spectrograms exists, see data_links.md", code=2),
    Row("check-data on a folder that is missing", missing("data"), command("--data", "DATA",
        main=check_data.main), f"data: the data folder does not exist; {MARKER_HINT}", code=2),
    Row("check-data on an empty folder", empty_folder("data"), command("--data", "DATA",
        main=check_data.main), "data: no folder fma_genre_spectrograms in it (it holds nothing); "
        "unpack the lab's data so that data/fma_genre_spectrograms exists, see data_links.md",
        code=2),
    Row("check-data on a folder that one may not read", unreadable("data"),
        program(CHECK, *WITHOUT_RIGHTS), "data: cannot be read (Permission denied); check its "
        "rights", code=2, cannot=may_write_everywhere),
    Row("a folder of clips is missing", missing(f"data/{GENRE}/train"),
        dataset(), f"data/{GENRE}/train: this folder is missing; {GET_AGAIN}"),
    Row("a folder of clips is empty", empty_folder(f"data/{GENRE}/train"), dataset(),
        f"data/{GENRE}/train: no .npy or .npy.gz file in it; unpack the data again"),
]  # fmt: skip

LABEL_ROWS = [
    Row("a label file is missing", missing(LABELS),
        dataset(), f"{LABELS}: the label file is missing; {GET_AGAIN}"),
    Row("a label file is empty", labels(b""), dataset(),
        f"{LABELS}: the label file is empty; {GET_AGAIN}"),
    Row("a label file has a header only", labels(b"Id\tGenre\n"), dataset(),
        f"{LABELS}: the label file has a header and no rows; {GET_AGAIN}"),
    Row("a label file is not UTF-8", line(3, "1001\tBl\xfces"), dataset(),
        f"{LABELS}:3: no UTF-8 text; save the file as UTF-8"),
    Row("a label file is a folder", empty_folder(LABELS), dataset(),
        f"{LABELS}: cannot be read (Is a directory); {GET_AGAIN}"),
    Row("label files have the line ends of Windows (CRLF)", line_ends, dataset(), "", code=0,
        instead="(accepted)"),
    Row("a label file has no header", line(1, "1001.fused.full.npy\tRock"), dataset(),
        f"{LABELS}:1: expected the header Id<TAB>Genre, got '1001.fused.full.npy\\tRock'; add the "
        "header"),
    bad_line("a row of a label file has too few fields", "1001.fused.full.npy.gz",
             "expected Id<TAB>Genre, got '1001.fused.full.npy.gz'; correct the line"),
    bad_line("a row of a label file has an empty field", "1001.fused.full.npy.gz\t",
             "expected Id<TAB>Genre, got '1001.fused.full.npy.gz\\t'; correct the line"),
    affect_line("a row of an affect label file has too many fields", "5001,0.1,0.2,0.3,0.4",
                "expected Id,valence,energy,danceability, got '5001,0.1,0.2,0.3,0.4'; correct the "
                "line"),
    bad_line("an id stands twice", "1000.fused.full.npy.gz\tRock",
             "clip 1000 was already named in line 2; remove one"),
    bad_line("an unknown genre", "1001.fused.full.npy.gz\tRok",
             f"unknown genre 'Rok' (did you mean 'Rock'?); known: {GENRES}"),
    affect_line("a value outside of 0..1", "5001,0.1,1.2,0.3",
                "energy is 1.2, outside 0..1; correct the line"),
    affect_line("a value that is NaN", "5001,0.1,0.2,nan",
                "danceability is nan, outside 0..1; correct the line"),
    affect_line("a value that is not a number", "5001,high,0.2,0.3",
                "valence is 'high', not a number; correct the line"),
    bad_line("a label file names a path outside of its folder", "../../secret.npy\tRock",
             "'../../secret.npy' is no clip name inside its folder; correct it"),
    bad_line("a label file names an absolute path", "/etc/passwd\tRock",
             "'/etc/passwd' is no clip name inside its folder; correct it"),
]  # fmt: skip

CLIP_ROWS = [
    Row("a clip is absent", missing(CLIP), dataset(),
        f"{LABELS}:3: clip 1001 is not in data/{GENRE}/train; unpack the data again or take the "
        "line out",
        left_out=f"{LABELS}:3: clip 1001 is not in data/{GENRE}/train; unpack the data again or "
        "take the line out"),
    bad_clip("an array is cut short", clip(lambda content: content[:-1000]), NOT_WHOLE),
    bad_clip("an array is cut short in its header", clip(lambda content: content[:40]), NOT_WHOLE),
    bad_clip("a gzipped array is cut short", clip(lambda content: content[:-1000], zipped=True),
             NOT_WHOLE, ZIPPED),
    bad_clip("an array of 0 bytes", clip(lambda _: b""), NOT_WHOLE),
    bad_clip("an array without frames", array(lambda values: values[:, :0]),
             f"has shape (140, 0), {SHAPE}"),
    bad_clip("an array without its chroma rows", array(lambda values: values[:128, :60]),
             f"has shape (128, 60), {SHAPE}"),
    bad_clip("an array that is transposed", array(lambda values: values[:, :60].T),
             f"has shape (60, 140) (it looks transposed), {SHAPE}"),
    bad_clip("an array of one dimension", array(lambda values: values[0, :60]),
             f"has shape (60,), {SHAPE}"),
    bad_clip("an array of whole numbers", array(lambda values: values.astype(np.int16)),
             "holds int16, expected a floating-point array; get it again"),
    bad_clip("an array with NaN", with_value(np.nan), NOT_FINITE),
    bad_clip("an array with an infinite value", with_value(-np.inf), NOT_FINITE),
    bad_clip("an array with values that are no dB", with_value(1e6),
             "holds values beyond 65504, which are no dB; get it again"),
    bad_clip("a pickled array", trap_in_clip,
             "holds pickled objects, which are never loaded; get it again"),
    bad_clip("a .gz that is no gzip", lambda place: put(place.zipped, place.clip.read_bytes()),
             "no whole .npy array (the name ends in .gz but the content is no gzip); get this file "
             "again", ZIPPED),
    bad_clip("a web page instead of an array", clip(lambda _: b"<html>not found</html>"),
             NOT_WHOLE),
    bad_clip("an array with a damaged header", with_header("{'descr': ((("), NOT_WHOLE),
    bad_clip("an array with a header beyond all measure", with_header(" " * 30_000), NOT_WHOLE),
    bad_clip("an array whose header promises more than there is",
             with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (140, 10**12), }\n"
                         .replace("10**12", str(10**12))), NOT_WHOLE),
    Row("a clip too short for the CNN, in training", array(lambda values: values[:, :8]),
        library(train_cnn), f"{CLIP}: 8 frames are too short for this CNN, which needs 16; remove "
        "the clip, or leave such clips out with ./run_all.sh --skip-bad",
        left_out=f"{CLIP}: 8 frames are too short for the CNN, which needs 16; get it again or "
        "remove the clip"),
    Row("a clip too short for the CNN, in prediction", array(lambda values: values[:, :8]),
        library(predict_with_cnn), f"{CLIP}: 8 frames are too short for this CNN, which needs 16; "
        "remove the clip, or leave such clips out with ./run_all.sh --skip-bad"),
    Row("a gzipped array that is cut short, met by a script",
        clip(lambda content: content[:-1000], zipped=True), script("00_setup"),
        f"{ZIPPED}: {NOT_WHOLE}"),
    Row("a bad row, met by a script", line(3, "1001.fused.full.npy.gz\tRok", GENRE_BEAT),
        script("04_histograms"), f"data/{GENRE_BEAT}/train_labels.txt:3: unknown genre 'Rok' (did "
        f"you mean 'Rock'?); known: {GENRES}"),
]  # fmt: skip

CHECKPOINT_ROWS = [
    Row("a checkpoint is missing", missing(CHECKPOINT), checkpoint(),
        f"{CHECKPOINT}: not there; {RUN_05}"),
    Row("the notebook that stores it was never run", missing(RECORD),
        checkpoint(), f"{CHECKPOINT}: not there; {RUN_05}"),
    Row("a checkpoint was made with other data", line(3, "1001.fused.full.npy.gz\tJazz"),
        checkpoint(), f"{CHECKPOINT}: not there; the one in {RECORD} "
        f"was made with other data; {RUN_05}"),
    Row("a checkpoint is cut short", lambda place: put(place.checkpoint,
        place.checkpoint.read_bytes()[:-100]), checkpoint(),
        f"{CHECKPOINT}: no whole checkpoint (*); delete it and run its notebook again"),
    Row("a checkpoint is empty", lambda place: put(place.checkpoint, b""), checkpoint(),
        f"{CHECKPOINT}: no whole checkpoint (*); delete it and run its notebook again"),
    Row("a pickle instead of a checkpoint",
        lambda place: put(place.checkpoint, pickle.dumps(Trap(place))), checkpoint(),
        f"{CHECKPOINT}: no whole checkpoint (*); delete it and run its notebook again"),
    Row("a checkpoint holds the weights of another model",
        about(spec=SPEC | {"head_options": {"n_classes": 4}}), checkpoint(),
        f"{CHECKPOINT}: its weights are of another model (*); run its notebook again"),
    Row("a checkpoint describes no model that there is", about(spec=SPEC | {"backbone": "rnn"}),
        checkpoint(), f"{CHECKPOINT}: its weights are of another model (*); run its notebook "
        "again"),
    Row("a checkpoint of another model than asked for", nothing, checkpoint(head="regressor"),
        f"{CHECKPOINT}: holds a model with head 'classifier', expected 'regressor'; run notebook "
        "05_lstm again"),
    Row("a checkpoint of another feature than asked for", nothing, checkpoint(feature="mel"),
        f"{CHECKPOINT}: holds a model with feature 'chroma', expected 'mel'; run notebook 05_lstm "
        "again"),
    Row("a checkpoint that names another feature than it was trained on", about(feature="mel"),
        checkpoint(), f"{CHECKPOINT}: its scaling has shape (12,), but feature 'mel' has 128 "
        "bands; run its notebook again"),
    Row("a checkpoint that names more classes than it has", about(classes=[*CLASSES, "Pop"]),
        checkpoint(), f"{CHECKPOINT}: it names 4 classes, but its model has 3 outputs; run its "
        "notebook again"),
    Row("a checkpoint of other classes than those of the data",
        about(classes=["Classical", "Folk", "Rock"]), script("06_metrics"),
        f"{CHECKPOINT}: holds a model with classes ['Classical', 'Folk', 'Rock'], expected "
        "['Classical', 'Hip-Hop', 'Rock']; run notebook 05_lstm again"),
    Row("stored values are cut short",
        lambda place: put(place.record / "values.json", b'{"best_lstm": {'),
        library(lambda place: records.open_record("06", place.data, 0)
                .load_value("05_lstm", "best_lstm")),
        f"{RECORD}/values.json: no whole JSON (*); run notebook "
        "05_lstm again"),
    Row("a stored table is damaged",
        lambda place: put(place.record / "validation.csv", b""),
        library(lambda place: records.open_record("06", place.data, 0)
                .load_table("05_lstm", "validation")),
        f"{RECORD}/validation.csv: no whole table (*); run notebook "
        "05_lstm again"),
]  # fmt: skip


PROFILES = "known: demo, full, smoke, or give the path of a .yaml file of your own"

USE_ROWS = [
    Row("an unknown notebook", nothing, command(*USUAL, "--only", "05_lsmt"),
        f"unknown notebook '05_lsmt' (did you mean '05_lstm'?); known: {NOTEBOOKS}", code=2),
    Row("an unknown profile", nothing, command("--data", "DATA", "--profile", "dmeo"),
        f"unknown profile 'dmeo' (did you mean 'demo'?); {PROFILES}", code=2),
    Row("a profile file that is not there", nothing, command(*MINE),
        "mine.yaml: no such profile file; give one that exists, or one of demo, full, smoke",
        code=2),
    Row("an unknown parameter", profile("all: {seed: 1}\n06_metrics:\n  batch: 3\n"),
        command(*MINE), "mine.yaml:3: unknown parameter 'batch' in section '06_metrics' (did you "
        "mean 'batch_size'?); known: batch_size, data, device, seed", code=2),
    Row("a section for an unknown notebook", profile("06_metric: {batch_size: 3}"),
        command(*MINE), "mine.yaml:1: unknown section '06_metric' (did you mean '06_metrics'?); "
        f"known: {NOTEBOOKS}, all, runner", code=2),
    Row("a profile with a wrong type", profile("05_lstm:\n  hidden_size: 8\n  epochs: many\n"),
        command(*MINE), "mine.yaml:3: 05_lstm.epochs is 'many' (str) but must be int; write for "
        f"example {Lab().read('05_lstm').parameters['epochs']}", code=2),
    Row("a profile with a wrong time limit", profile("runner: {timeout_minutes: soon}"),
        command(*MINE), "mine.yaml:1: timeout_minutes is 'soon' but must be a number above 0; "
        "write for example 60", code=2),
    Row("a profile that is no mapping", profile("- 05_lstm\n"), command(*MINE),
        "mine.yaml: a profile is a mapping of sections (all, 05_lstm, ...); write for example "
        "05_lstm: {epochs: 3}", code=2),
    Row("a profile that is no YAML", profile("all: {seed: 1}\n05_lstm: {epochs: 3\n"),
        command(*MINE), "mine.yaml:3: no valid YAML (*); correct the line", code=2),
    Row("a profile that is not UTF-8", profile(b"# f\xfcnf\n"), command(*MINE),
        "mine.yaml:1: no UTF-8 text; save the file as UTF-8", code=2),
    Row("an unknown device", nothing, command(*USUAL, "--device", "gpu"),
        "unknown device 'gpu'; known: auto, cpu, cuda, mps", code=2),
    Row("a device that this machine does not have", nothing, command(*USUAL, "--device", "cuda"),
        "device 'cuda' is not available here; use --device auto or cpu", code=2, cannot=has_gpu),
    Row("an unknown option", nothing, command("--profil", "demo"),
        "unrecognized arguments: --profil demo (did you mean '--profile'?); ./run_all.sh --help "
        "shows what there is", code=2),
    Row("a run name that is no file name", nothing, command(*USUAL, "--name", "../x"),
        "run name '../x': use letters, digits, '.', '_' and '-' (and not 'latest'); it becomes a "
        "folder below runs/", code=2),
    Row("a second run of the same name at the same time", nothing,
        command(*USUAL, while_running=True), "a run named 't' is under way (*); wait for it, or "
        "choose another name with --name", code=2),
]  # fmt: skip

DISK_ROWS = [
    Row("the home is a file", empty_file("home"), command(*USUAL),
        "home/.cache: cannot make this folder (Not a directory); set MUSICLAB_HOME to a folder "
        "that you may write to", code=2),
    Row("a file lies where the runs go", empty_file("home/runs"), command(*USUAL),
        "home/runs/t: cannot be written (Not a directory); free some space, or set MUSICLAB_HOME "
        "to a folder that you may write to", code=2),
    Row("the home is read-only", read_only("home"),
        program("from helpers.machinery.files import cache_dir; cache_dir()", *WITHOUT_RIGHTS),
        "home/.cache: cannot make this folder (Permission denied); set MUSICLAB_HOME to a folder "
        "that you may write to", cannot=may_write_everywhere),
    Row("the folder of results is read-only", read_only("home/runs/interactive"),
        program(STORE + "import os; store(Path(os.environ['MUSICLAB_HOME'], 'runs', 'interactive', "
                "'results.csv'), 'new')", *WITHOUT_RIGHTS),
        "home/runs/interactive/results.csv: cannot be written (Permission denied); "
        + PLACE_TO_WRITE, cannot=may_write_everywhere),
    Row("the data folder is read-only", read_only(f"data/{GENRE}"), dataset(), "", code=0,
        instead="(accepted: nothing is written there)"),
    Row("the disk is full when a result is stored", nothing,
        on_a_full_disk(library(store_again), 1000),
        f"{CHECKPOINT}: cannot be written (File too large); {PLACE_TO_WRITE}"),
    Row("the disk is full when features are packed", nothing, on_a_full_disk(dataset(), 100_000),
        "home/.cache/packed: cannot pack the features (File too large); 0 MiB are needed here; "
        "make room, or choose another folder with MUSICLAB_HOME"),
    Row("the disk is too small for the features", nothing, program(PACK, *ON_A_SMALL_DISK),
        "home/.cache/packed: packing the features needs 64 MiB here and 0 MiB are free; make room, "
        "or choose another folder with MUSICLAB_HOME", cannot=cannot_mount),
    Row("the disk is full when a run begins", nothing, on_a_full_disk(command(*USUAL), 0),
        "home/runs/t: cannot be written (File too large); free some space, or set MUSICLAB_HOME to "
        "a folder that you may write to", code=2),
]  # fmt: skip

RUNNER = ("-m", "tools.run.command", "--profile", "smoke", "--name", "t", "--only", "00")
IN_NOTEBOOK = "runs/t/logs/00_setup.log"
# A short way into a training that would take minutes; beside the results of an earlier run.
SCRIPT = (str(ROOT / "py" / "05_lstm.py"),)
LONG = "05_lstm: {hidden_size: 8, overfit_epochs: 1, epochs: 9999, patience: 9999}"
IN_SCRIPT = "runs/u/records/05_lstm/figures.json"

STOP_ROWS = [
    Row("Ctrl-C in a run", nothing, stopped(signal.SIGINT, RUNNER, IN_NOTEBOOK),
        "interrupted; the same command goes on from here", code=EXIT_INTERRUPTED),
    Row("kill of a run", nothing, stopped(signal.SIGTERM, RUNNER, IN_NOTEBOOK),
        "interrupted; the same command goes on from here", code=EXIT_INTERRUPTED),
    Row("Ctrl-C in a script", profile(LONG),
        stopped(signal.SIGINT, SCRIPT, IN_SCRIPT, MUSICLAB_RUN="u"),
        "interrupted; what was stored is whole, run the same command again for the rest",
        code=-signal.SIGINT),
    Row("kill -9 while results are written", nothing, killed_and_run_again, "",
        code=-signal.SIGKILL,
        instead="(nothing: the process is gone; results are whole, the next run clears up)"),
]  # fmt: skip

ROWS = [
    *FOLDER_ROWS, *LABEL_ROWS, *CLIP_ROWS, *CHECKPOINT_ROWS, *USE_ROWS, *DISK_ROWS, *STOP_ROWS,
]  # fmt: skip
SKIPPED = [row for row in ROWS if row.left_out is not None]


# ---- the tests ---------------------------------------------------------------------------------


def is_message(said: str, expected: str) -> bool:
    """Whether a line is the expected one, where `(*)` stands for any bracket."""
    pattern = re.escape(expected).replace(re.escape("(*)"), r"\(.+\)")
    return re.fullmatch(pattern, said) is not None


def messages(place: Place, outcome: Outcome) -> list[str]:
    """The lines on standard error as the table has them."""
    return [place.shown(said).removeprefix("error: ") for said in outcome.lines]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_wrong_input_is_one_clear_line_and_loses_nothing(row: Row, place: Place) -> None:
    if row.cannot():
        pytest.skip(row.cannot())
    row.spoil(place)
    before = contents(place)
    outcome = row.use(place)
    said = messages(place, outcome)
    if row.message:
        assert len(said) == 1, said
        assert is_message(said[0], row.message), f"{said[0]}\n{row.message}"
    else:
        assert said == []
    assert outcome.code == row.code
    after = contents(place)
    assert {path: after.get(path) for path in before} == before
    assert not [path for path in after if path.endswith(".part") or ".partial" in path]
    assert not (place.root / "sprung").exists(), "something was unpickled"


def test_every_message_says_what_to_do() -> None:
    assert len({row.what for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.message or row.instead
        assert not row.message or "; " in row.message, row.what
        assert (row.code == 0) == (row.instead.startswith("(accepted")), row.what


@contextlib.contextmanager
def bad_left_out(place: Place) -> Iterator[list[str]]:
    """What `--skip-bad` does before the notebooks run; gives the lines of what it found."""
    with environment(place):
        listed = check_data.to_leave_out(check_data.check(place.data))
        path = place.root / "left_out.json"
        check_data.write_list(path, place.data, listed)
    folders._read_left_out.cache_clear()
    folders._tell_once.cache_clear()
    with environment(place, MUSICLAB_LEFT_OUT=str(path)):
        yield [text for split in listed.values() for text in split.values() if text]


@pytest.mark.parametrize("row", SKIPPED, ids=lambda row: row.what)
def test_what_is_bad_can_be_left_out(row: Row, place: Place) -> None:
    """The one bad row or clip is listed and told once; all the others are as before."""
    folder = MULTITASK if row.message.startswith(AFFECT) else GENRE
    name = "1000" if row.message.startswith(ZIPPED) else "1001" if folder == GENRE else "5001"
    with environment(place):
        whole = open_dataset(place, folder)
    row.spoil(place)
    said = io.StringIO()
    with bad_left_out(place) as listed, contextlib.redirect_stdout(said):
        rest, _ = open_dataset(place, folder), open_dataset(place, folder)
    (told,) = said.getvalue().splitlines()
    for problem in (*listed, told.removeprefix("left out (--skip-bad): ")):
        assert is_message(place.shown(problem), row.left_out or ""), problem
    assert len(listed) == 1
    assert rest.ids == [clip for clip in whole.ids if clip != name]
    for index, clip in enumerate(rest.ids):
        assert np.array_equal(rest.frames(index), whole.frames(whole.ids.index(clip)))


@pytest.mark.parametrize("row", LABEL_ROWS[:5], ids=lambda row: row.what)
def test_a_label_file_that_says_nothing_is_refused_even_then(row: Row, place: Place) -> None:
    row.spoil(place)
    with bad_left_out(place):
        with pytest.raises(LabError) as caught:
            open_dataset(place)
    assert place.shown(str(caught.value)) == row.message


def test_nothing_is_left_when_all_clips_are_bad(place: Place) -> None:
    for path in (place.data / GENRE / "train").iterdir():
        put(path, b"")
    with bad_left_out(place):
        with pytest.raises(LabError, match="train: none of its clips can be used; first: .*1000"):
            open_dataset(place)


def test_several_bad_things_are_all_left_out(place: Place) -> None:
    line(4, "1002\tRok")(place)
    line(5, "1003\t")(place)
    with_value(np.nan)(place)
    clip(lambda _: b"", zipped=True)(place)
    with bad_left_out(place) as listed:
        rest = open_dataset(place)
    assert rest.ids == [str(1000 + number) for number in range(4, N_TRAIN)]
    assert [place.shown(problem).split(": ")[0] for problem in listed] == [
        f"{LABELS}:4", f"{LABELS}:5", ZIPPED, CLIP,
    ]  # fmt: skip


def test_splits_are_of_the_same_clips_when_one_is_bad_in_one_form_only(place: Place) -> None:
    """Else what is validation in one form would be training in the other, and tests not paired."""
    put(place.clip, b"")
    put(place.data / GENRE_BEAT / "test" / "2003.fused.full.npy", b"")
    with bad_left_out(place):
        full, beat = (
            datasets.genre_splits(place.data / folder, "chroma", 0)
            for folder in (GENRE, GENRE_BEAT)
        )
        for part in ("train", "val", "test"):
            ids = datasets.ids_of(getattr(full, part))
            assert ids == datasets.ids_of(getattr(beat, part)) and ids
            assert not {"1001", "2003"} & set(ids)


def test_the_affect_split_goes_on_without_bad_clips(place: Place) -> None:
    put(place.data / MULTITASK / "train" / "5001.fused.full.npy", b"")
    put(place.data / MULTITASK_BEAT / "train" / "5003.fused.full.npy", b"")
    good = [str(clip) for clip in range(5000, 5016) if clip not in (5001, 5003)]
    with bad_left_out(place):
        parts = datasets.affect_parts(place.data / MULTITASK, 0)
        assert sorted(parts["id"]) == good
        for folder in (MULTITASK, MULTITASK_BEAT):
            splits = datasets.affect_splits(place.data / folder, "chroma", "energy", parts)
            assert len(splits.train) + len(splits.val) + len(splits.test) == len(parts)


# ---- the table, printed ------------------------------------------------------------------------


def tried(row: Row, pattern: Place, root: Path) -> str:
    """What a row really says, or why it cannot be tried here."""
    place = make_place(pattern, root)
    if row.cannot():
        return f"(not tried: {row.cannot()})"
    row.spoil(place)
    said = messages(place, row.use(place))
    return " / ".join(f"`{message}`" for message in said) or row.instead


def main() -> None:
    """Print the table as Markdown, each message as it came just now."""
    from tests import conftest

    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            conftest.write_mini_data(folder / "mini")
            pattern = make_pattern(folder / "mini", folder / "pattern")
            print("| what is wrong | message |\n|---|---|")
            for number, row in enumerate(ROWS):
                said = tried(row, pattern, folder / str(number))
                print(f"| {row.what} | {said.replace('|', chr(92) + '|')} |", flush=True)
    finally:
        conftest.pytest_unconfigure()


if __name__ == "__main__":
    main()
