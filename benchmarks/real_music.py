"""How good the lab is on real music: cross-validation over songs, through the lab's own door.

    python -m benchmarks.real_music --data DIR|demo [--answers FILE] [--quick] [--ablations]

Every labelled clip of a data folder is pooled by song. For each fold of songs a data folder in the
lab's layout is made below `.cache/`, the notebooks run on it (`tools.run.command`), and what they
stored is scored, beside tuned baselines and two networks of public attempts. Writes
`docs/how_good.md` (`how_good_demo.md`) with a plot, and tables to `benchmarks/results/`. What is up
to date is not run again, so an interrupted run goes on with the same command.
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


# ---- the models --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldRun:
    """A fold after the lab has run on it: its data, what the notebooks stored, who finished."""

    fold: Fold
    data: Path
    record: Record
    finished: frozenset[str]


# A model's task (its folder), the notebook that leaves its predictions (none for a reference), and
# those for the tested clips: a table by clip id, with the column class or the three axes.
Model = tuple[str, str | None, Callable[[FoldRun], pd.DataFrame]]


def _classifier(notebook: str, name: str) -> Model:
    """A classifier whose test predictions a notebook stored."""
    return GENRE, notebook, partial(_stored_classes, notebook, name)


def _stored_classes(notebook: str, name: str, run: FoldRun) -> pd.DataFrame:
    return run.record.load_table(notebook, f"test_{name}").set_index("id")[["class"]]


def _chosen_lstm(run: FoldRun) -> pd.DataFrame:
    """The LSTM that notebook 05 chose on validation; another one in each fold."""
    name = run.record.load_value("05_lstm", "best_lstm")["name"]
    return _stored_classes("06_metrics", name, run)


def _candidate(*names: str) -> Model:
    """The candidate of notebook 11 that has one of these names."""
    return MULTITASK, "11_kaggle_submission", partial(_stored_values, names)


def _stored_values(names: Sequence[str], run: FoldRun) -> pd.DataFrame:
    table = run.record.load_table("11_kaggle_submission", "test_predictions")
    return table[table["model"].isin(names)].set_index("id")[list(AXES)]


def _submission(run: FoldRun) -> pd.DataFrame:
    """What notebook 11 wrote for Kaggle."""
    table = pd.read_csv(run.record.find("11_kaggle_submission", "solution.txt"))
    table.index = pd.Index([clip_id(str(name)) for name in table.iloc[:, 0]])
    return table.iloc[:, 1:].set_axis(list(AXES), axis=1)


MODELS: dict[str, Model] = {
    "LSTM, full clips": _classifier("06_metrics", "lstm_mel_full"),
    "LSTM, beats": _classifier("06_metrics", "lstm_mel_beat"),
    "LSTM, full clips, chroma": _classifier("06_metrics", "lstm_chroma_full"),
    "LSTM, beats, chroma": _classifier("06_metrics", "lstm_chroma_beat"),
    "LSTM, full clips, both": _classifier("06_metrics", "lstm_fused_full"),
    "LSTM, beats, both": _classifier("06_metrics", "lstm_fused_beat"),
    "LSTM that validation chose": (GENRE, "06_metrics", _chosen_lstm),
    "CNN, train part": _classifier("07_cnn", "cnn_mel_best"),
    "CNN": _classifier("07_cnn", "cnn_mel_refit"),
    "AST": _classifier("07b_ast", "ast_mel_best"),
    "SVM of the lab": _classifier("07_cnn", "svm_mel_refit"),
    "hand-made SVM": _classifier("07_cnn", "svm_hand_refit"),
    "hand-made SVM, train part": _classifier("06_metrics", "svm_hand_full"),
    "hand-made SVM, beats, train part": _classifier("06_metrics", "svm_hand_beat"),
    "CNN and hand-made SVM": _classifier("07_cnn", "cnn_and_hand"),
    "LSTMs, one per axis": _candidate("LSTMs (step 8)"),
    "CNNs, one per axis": _candidate("CNNs (step 8)"),
    "transfer CNN": _candidate(*(f"CNNs, {axis} from genre (step 9)" for axis in AXES)),
    "multitask CNN": _candidate("multitask CNN (step 10)"),
    "SVR of the lab": _candidate("SVR"),
    "hand-made SVR": _candidate("hand-made SVR"),
    "ensemble with SVR": _candidate("ensemble of CNNs and SVR"),
    "ensemble with hand-made SVR": _candidate("ensemble of CNNs and hand-made SVR"),
    "ensemble with both SVRs": _candidate("ensemble of CNNs and both SVRs"),
    "what 11 submits": (MULTITASK, "11_kaggle_submission", _submission),
}

# Ablation -> the notebook it changes, and how; measured on repeat 1.
ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no mixup": ("05_lstm", {"mixup": 0.0}),
    "no cepstrum": ("05_lstm", {"cepstrum": False}),
    "last step": ("05_lstm", {"pooling": "last"}),
    "no masks": ("07_cnn", {"max_masked_bands": 0}),
    "windows of 6 s": ("07_cnn", {"crop_frames": 256}),
}
# Notebook that an ablation changes -> the one whose predictions show it, and which models to read.
ABLATED = {
    "05_lstm": ("06_metrics", ("LSTM, beats", "LSTM, full clips")),
    "07_cnn": ("07_cnn", ("CNN",)),
}
REFERENCES_CODE = Lab().digest([Path(references.__file__).read_text(encoding="utf-8")])[:8]
# Each repeat is another seed, so a notebook trains once; what no prediction hangs on is cut short.
LEAN: dict[str, dict[str, Any]] = {
    "05_lstm": {"n_seeds": 1, "plain_epochs": 1, "overfit_epochs": 1},
    "06_metrics": {"curve_draws": 1},
    "07_cnn": {"n_seeds": 1, "n_refits": 1, "overfit_epochs": 1, "digits_epochs": 1},
    "07b_ast": {"n_seeds": 1, "overfit_epochs": 1, "cost_frames": [128, 256]},
    **dict.fromkeys(("08_regression", "09_transfer", "10_multitask"), {"n_seeds": 1}),
}
SHORT_05 = {"hidden_size": 8, "epochs": 1, "beat_epochs": 1}  # for 07's ablations, which need 05


# ---- one fold ----------------------------------------------------------------------------------


@dataclass
class Bench:
    """One benchmark: its songs, profile and folder, and what has been predicted and has failed."""

    songs: Songs
    profile: str
    home: Path
    ablations: bool = False  # whether each fold of repeat 1 has them
    pooled: Pooled = field(default_factory=dict)
    ablated: Pooled = field(default_factory=dict)
    seconds: float = 0.0  # of computing, without the ablations
    failures: list[str] = field(default_factory=list)

    def run(self, fold: Fold, only: Sequence[str], name: str, changes: dict[str, Any]) -> FoldRun:
        """Run notebooks on a fold, and note what failed."""
        data, run = self.home / "folds" / fold.name, self.home / "runs" / name
        write_fold(self.songs, fold, data)
        profile = self.home / "folds" / f"{name}.yaml"  # the chosen one, and what changes here
        sections = dict(load_profile(self.profile).sections)
        for overrides in ({ALL: {"seed": fold.repeat}}, LEAN, changes):
            for section, own in overrides.items():
                sections[section] = {**sections.get(section, {}), **own}
        write_atomically(profile, yaml.safe_dump(sections))
        (run / SUMMARY).unlink(missing_ok=True)  # what it said of an earlier run
        words = ["--data", str(data), "--name", name, "--profile", str(profile)]
        states = _states(run, run_lab([*words, "--only", *only]))
        finished = {n for n, state in states.items() if state in (Status.DONE, Status.UP_TO_DATE)}
        failed = [notebook for notebook in states if notebook not in finished]
        self.failures += [f"{name}: notebook {notebook} {states[notebook]}" for notebook in failed]
        record = Record("benchmark", data, fold.repeat, run / "records" / "benchmark")
        return FoldRun(fold, data, record, frozenset(finished))

    def measure(self, fold: Fold) -> None:
        """The lab, the references and the ablations on one fold."""
        began = time.monotonic()
        run = self.run(fold, NOTEBOOKS, f"real-music-{fold.name}", {})
        try:  # a process of their own gives the references' memory back when it ends
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                for name, (folder, _) in references.REFERENCES.items():
                    if fold.repeat == 1 or name not in references.ONCE:
                        task = MULTITASK if folder == MULTITASK else GENRE
                        model = (task, None, partial(self._reference, fresh, name))
                        self._add(self.pooled, name, model, run)
        except BrokenProcessPool:
            raise LabError(
                "the references' process was killed (too little memory?); the same command goes on"
            ) from None
        for name, model in MODELS.items():
            self._add(self.pooled, name, model, run)
        self.seconds += self._longest(fold, time.monotonic() - began)
        if self.ablations and fold.repeat == 1:
            self.ablate(fold)

    def _longest(self, fold: Fold, seconds: float) -> float:
        """What a fold took in all: its longest run, as later ones find it done."""
        path = self.home / "folds" / f"{fold.name}.seconds"
        longest = max(seconds, float(path.read_text()) if path.is_file() else 0.0)
        write_atomically(path, f"{longest:.1f}\n")
        return longest

    def ablate(self, fold: Fold) -> None:
        """All ablations on one fold."""
        for title, (notebook, change) in ABLATIONS.items():
            last, names = ABLATED[notebook]
            changes = {"05_lstm": SHORT_05} if notebook != "05_lstm" else {}
            run_name = f"real-music-{fold.name}-{title.replace(' ', '-')}"
            run = self.run(fold, [last], run_name, changes | {notebook: change})
            for name in names:
                self._add(self.ablated, f"{name}: {title}", MODELS[name], run)

    def _add(self, pooled: Pooled, name: str, model: Model, run: FoldRun) -> None:
        """Put a model's predictions for a fold to the others; a mistake costs only this one."""
        task, notebook, predict = model
        if notebook and notebook not in run.finished:
            return
        repeats, number = pooled.get((task, name), {}), run.fold.repeat
        try:
            table = predict(run).reindex(self.songs.tested(task, run.fold.songs))
        except LabError as error:  # the page names no folder of this machine
            reason = str(error).replace(f"{self.home}/", "").replace(str(self.songs.data), "DIR")
            self.failures.append(f"{run.fold.name}: {name}: {reason}")
        else:
            pooled[task, name] = repeats | {number: pd.concat([repeats.get(number), table])}

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
    bench = Bench(songs, options.profile, cache_dir() / "real_music" / key, options.ablations)
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
        f"{threads_available()} cores; {bench.seconds / 60:.0f} minutes of computing, the "
        "ablations not counted (what an earlier run had left was not done again). "
        f"{len(songs.strata)} songs, {options.folds} folds, {n_repeats} repeat(s)"
    )
    names = ("how_good_demo", "the demo set") if demo else ("how_good", "real music")
    about = page.About(*names, _command(options, demo), how, bench.failures)
    return page.write(page.Results(songs, bench.pooled), bench.ablated, about, options.out)


def _command(options: argparse.Namespace, demo: bool) -> str:
    """The command for the page, without this machine's folders."""
    words = [f"python -m benchmarks.real_music --data {'demo' if demo else 'DIR'}"]
    words += ["--answers FILE"] if options.answers else []
    words += [f"--{name}" for name in ("quick", "ablations") if getattr(options, name)]
    words += [f"--folds {options.folds}"] if options.folds != N_FOLDS else []
    return " ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("benchmarks.real_music", description=__doc__)
    add = parser.add_argument
    add("--data", default="auto", metavar="DIR", help="the folder with fma_genre_spectrograms/")
    add("--answers", type=Path, metavar="FILE", help="values of the affect test clips (csv)")
    add("--quick", action="store_true", help="repeat 1 only")
    add("--ablations", action="store_true", help="notebooks 05 and 07 with one thing changed")
    add("--profile", default="demo", metavar="NAME", help="sizes and epochs (default: demo)")
    add("--folds", type=int, default=N_FOLDS, metavar="N", help=f"default: {N_FOLDS}")
    add("--out", type=Path, metavar="DIR", help="for page, plot, tables (default: their places)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `&` has switched off
    sys.exit(run_command(main))
