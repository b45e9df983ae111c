"""How good the lab is on real music: cross-validation over songs, through the lab's own door.

    python -m benchmarks.real_music --data DIR|demo [--answers FILE] [--quick]

Every labelled clip of a data folder is pooled by song. For each fold of songs a data folder in the
lab's layout is made below `.cache/`, the notebooks run on it (`tools.run.command`), and what they
stored is scored, beside tuned baselines and two networks of public attempts. Writes
`docs/how_good.md` (`how_good_demo.md`) with a plot, and tables to `benchmarks/results/`. What is up
to date is not run again, so an interrupted run goes on with the same command. What a choice is
worth, a profile without it shows: `--profile no-mixup.yaml --quick --out DIR`.
exit codes: 0 all requirements are met, 1 one is missed or a fold failed, 2 wrong use, 130 stopped
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks import page, references
from benchmarks.page import Pooled
from benchmarks.songs import Fold, Songs, make_folds, open_songs, write_fold
from demo_music.build import ANSWERS
from helpers import evaluation
from helpers.folders import AXES, GENRE, MULTITASK, clip_id, data_name, find_data, is_demo
from helpers.machinery.files import LabError, cache_dir, read_json, write_atomically
from helpers.machinery.one_per_gpu import one_per_gpu
from helpers.machinery.profiles import ALL, load_profile
from helpers.notebook.records import Record
from tools.common.command_line import EXIT_INTERRUPTED, EXIT_USAGE, Parser, run_command
from tools.common.notebooks import ROOT, Lab
from tools.common.run_folder import SUMMARY
from tools.run.plan import gpus_for
from tools.run.processes import threads_available
from tools.run.results import Status, code_commit

NOTEBOOKS = ("06", "07", "11")  # the runner adds what they need
N_REPEATS, N_FOLDS = 3, 4
# With the notebooks' 1,000 the smallest p-value is 0.002: corrected for some thirty comparisons,
# not even the clearest one could stay below 0.05.
RESAMPLES = 5000
Predict = Callable[[Any], pd.DataFrame]  # of a FoldRun: a table by clip id


# ---- the models --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldRun:
    """A fold after the lab has run on it: its data, what the notebooks stored, who finished."""

    fold: Fold
    data: Path
    record: Record
    finished: frozenset[str]


@dataclass(frozen=True)
class Model:
    """A model of the lab: its task (a folder), and what a notebook `stored` of its predictions.

    That is a table of classes, or `best` for the LSTM that validation chose in this fold; a pattern
    for the names of candidates of notebook 11, or `solution.txt` for what it submits.
    """

    task: str
    model: str
    notebook: str
    stored: str

    def predictions(self, run: FoldRun) -> pd.DataFrame:
        """Those for the tested clips, by clip id: the column class, or the three axes."""
        if self.stored == "solution.txt":
            table = pd.read_csv(run.record.find(self.notebook, self.stored), index_col=0)
            table.index = table.index.astype(str).map(clip_id)
            return table.set_axis(list(AXES), axis=1)
        if self.task == MULTITASK:
            table = run.record.load_table(self.notebook, "test_predictions")
            own = table["model"].map(partial(fnmatchcase, pat=self.stored))
            return table[own].set_index("id")[list(AXES)]
        best = self.stored == "best"
        name = run.record.load_value("05_lstm", "best_lstm")["name"] if best else self.stored
        return run.record.load_table(self.notebook, f"test_{name}").set_index("id")[["class"]]


TABLE = pd.read_csv(Path(__file__).with_name("models.csv"))
MODELS = tuple(Model(*row) for row in TABLE.itertuples(index=False))
REFERENCES_CODE = Lab().digest([Path(references.__file__).read_text(encoding="utf-8")])[:8]
LEAN = yaml.safe_load(Path(__file__).with_name("lean.yaml").read_text(encoding="utf-8"))


# ---- one fold ----------------------------------------------------------------------------------


@dataclass
class Bench:
    """One benchmark: its songs, profile and folder, and what has been predicted and has failed."""

    songs: Songs
    profile: str
    home: Path
    pooled: Pooled = field(default_factory=dict)
    seconds: float = 0.0  # of computing
    failures: list[str] = field(default_factory=list)

    def run(self, fold: Fold) -> FoldRun:
        """Run the notebooks on a fold, and note what failed."""
        name = f"real-music-{fold.name}"
        data, run = self.home / "folds" / fold.name, self.home / "runs" / name
        write_fold(self.songs, fold, data)
        profile = self.home / "folds" / f"{name}.yaml"  # the chosen one, and what changes here
        sections = dict(load_profile(self.profile).sections)
        for section, own in [(ALL, {"seed": fold.repeat}), *LEAN.items()]:
            sections[section] = {**sections.get(section, {}), **own}
        write_atomically(profile, yaml.safe_dump(sections))
        (run / SUMMARY).unlink(missing_ok=True)  # what it said of an earlier run
        words = ["--data", str(data), "--name", name, "--profile", str(profile)]
        states = _states(run, run_lab([*words, "--only", *NOTEBOOKS]))
        finished = {n for n, state in states.items() if state in (Status.DONE, Status.UP_TO_DATE)}
        failed = [notebook for notebook in states if notebook not in finished]
        self.failures += [f"{name}: notebook {notebook} {states[notebook]}" for notebook in failed]
        record = Record("benchmark", data, fold.repeat, run / "records" / "benchmark")
        return FoldRun(fold, data, record, frozenset(finished))

    def measure(self, fold: Fold) -> None:
        """The lab and the references on one fold."""
        began = time.monotonic()
        run = self.run(fold)
        try:  # a process of their own gives the references' memory back when it ends
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                for name, (folder, _) in references.REFERENCES.items():
                    if fold.repeat == 1 or name not in references.ONCE:
                        task = MULTITASK if folder == MULTITASK else GENRE
                        self._add(task, name, partial(self._reference, fresh, name), run)
        except BrokenProcessPool:
            raise LabError(
                "the references' process was killed (too little memory?); the same command goes on"
            ) from None
        for model in MODELS:
            if model.notebook in run.finished:
                self._add(model.task, model.model, model.predictions, run)
        self.seconds += self._longest(fold, time.monotonic() - began)

    def _longest(self, fold: Fold, seconds: float) -> float:
        """What a fold took in all: its longest run, as later ones find it done."""
        path = self.home / "folds" / f"{fold.name}.seconds"
        longest = max(seconds, float(path.read_text()) if path.is_file() else 0.0)
        write_atomically(path, f"{longest:.1f}\n")
        return longest

    def _add(self, task: str, name: str, predict: Predict, run: FoldRun) -> None:
        """Put a model's predictions for a fold to the others; a mistake costs only this one."""
        repeats, number = self.pooled.get((task, name), {}), run.fold.repeat
        try:
            table = predict(run).reindex(self.songs.tested(task, run.fold.songs))
        except LabError as error:  # the page names no folder of this machine
            reason = str(error).replace(f"{self.home}/", "").replace(str(self.songs.data), "DIR")
            self.failures.append(f"{run.fold.name}: {name}: {reason}")
        else:
            self.pooled[task, name] = repeats | {number: pd.concat([repeats.get(number), table])}

    def _reference(self, fresh: ProcessPoolExecutor, name: str, run: FoldRun) -> pd.DataFrame:
        """A reference's predictions, from the disk where this code has made them before."""
        path = self.home / "references" / REFERENCES_CODE / run.fold.name / f"{name}.csv"
        if not path.is_file():
            print(f"{run.fold.name}: {name}", flush=True)
            made = fresh.submit(references.predict, name, run.data, run.fold.repeat)
            try:
                table = made.result()
            except KeyboardInterrupt:  # else the pool would wait for it, up to a minute
                for worker in active_children():
                    worker.kill()
                raise
            write_atomically(path, table.to_csv(index_label="id"))
        return pd.read_csv(path, dtype={"id": str}).set_index("id")


def run_lab(arguments: Sequence[str]) -> int:
    """Run notebooks in a process of its own, with this one's settings; return the exit code."""
    command = [sys.executable, "-m", "tools.run.command", *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:  # Ctrl-C has reached the runner, too, which stops its notebooks; a kill has not
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.terminate()
            raise


def _states(run: Path, code: int) -> dict[str, str]:
    """How each notebook of a run fared. Raises LabError where the runner refused to begin."""
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code == EXIT_USAGE:
        raise LabError(f"run {run.name}: the runner refused it, see its line above")
    rows = read_json(run / SUMMARY).get("notebooks", [])
    if not rows:  # it was killed, or broke down
        return {"01 to 11": f"not run, exit code {code}; the same command tries again"}
    return {row["notebook"]: row["status"] for row in rows}


# ---- command line ------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(list(arguments))
    began = datetime.now(UTC)
    evaluation.N_RESAMPLES = RESAMPLES
    data = find_data(options.data).resolve()
    demo = is_demo(data)
    songs = open_songs(data, data.parent / ANSWERS if demo else options.answers)
    n_repeats = 1 if options.quick else N_REPEATS
    folds = [f for repeat in range(n_repeats) for f in make_folds(songs, options.folds, repeat + 1)]
    profile = load_profile(options.profile).name
    key = f"{data_name(data)}-{profile}-{options.folds}-{songs.digest}"
    bench = Bench(songs, options.profile, cache_dir() / "real_music" / key)
    # The lab's runs and packed clips lie there, too: `runs/latest` stays the user's own.
    os.environ["MUSICLAB_HOME"] = str(bench.home)
    gpus = gpus_for("auto")
    for number, fold in enumerate(folds):
        ahead = folds[number : number + len(gpus)]
        if len(ahead) > 1 and number % len(gpus) == 0:  # one on each; what follows finds it done
            one_per_gpu(bench.measure, ahead, "cuda", gpus)
        print(f"fold {fold.name}, {number + 1} of {len(folds)}", flush=True)
        bench.measure(fold)
        # Packed clips of a fold are made in seconds, and those of all folds take gigabytes.
        shutil.rmtree(cache_dir() / "packed", ignore_errors=True)
    how = (
        f"Profile {profile}; commit {code_commit(ROOT) or 'unknown'}; data {data_name(data)}; "
        f"begun {began:%Y-%m-%d %H:%M}, ended {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on "
        f"{threads_available()} cores; {bench.seconds / 60:.0f} minutes of computing "
        "(what an earlier run had left was not done again). "
        f"{len(songs.strata)} songs, {options.folds} folds, {n_repeats} repeat(s)"
    )
    names = ("how_good_demo", "the demo set") if demo else ("how_good", "real music")
    about = page.About(*names, _command(options, demo), how, bench.failures)
    return page.write(page.Results(songs, bench.pooled), about, options.out)


def _command(options: argparse.Namespace, demo: bool) -> str:
    """The command for the page, without this machine's folders."""
    words = [f"python -m benchmarks.real_music --data {'demo' if demo else 'DIR'}"]
    words += ["--answers FILE"] if options.answers else []
    words += ["--quick"] if options.quick else []
    words += [f"--folds {options.folds}"] if options.folds != N_FOLDS else []
    return " ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("benchmarks.real_music", description=__doc__)
    add = parser.add_argument
    add("--data", default="auto", metavar="DIR", help="the folder with fma_genre_spectrograms/")
    add("--answers", type=Path, metavar="FILE", help="values of the affect test clips (csv)")
    add("--quick", action="store_true", help="repeat 1 only")
    add("--profile", default="demo", metavar="NAME|FILE", help="sizes and epochs (default: demo)")
    add("--folds", type=int, default=N_FOLDS, metavar="N", help=f"default: {N_FOLDS}")
    add("--out", type=Path, metavar="DIR", help="for page, plot, tables (default: their places)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `&` has switched off
    sys.exit(run_command(main))
