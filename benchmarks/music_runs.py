"""What is to be trained, what is there already, and how long the rest takes.

Every training leaves one small file with its predictions for the tested clips, so an interrupted
run loses one training at most. The file's name says which model, repeat and fold it belongs to and
carries a digest of the recipe and of the data: whatever changes there is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.music_clips import Clips, Collection, Fold
from helpers.machinery.files import LabError, write_atomically

SHORT_SECONDS = 5
Outputs = Mapping[str, np.ndarray]  # task -> outputs for the tested clips of that task [n, ...]


@dataclass(frozen=True)
class Model:
    """One row of the table: how it is trained, and on which clips it is judged.

    `fit(collection, fold, folder)` gives the outputs per task; `folder` is a place for what other
    models may use again. `seconds` is a first guess of one training on two cores, until one has
    been measured.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    form: str
    recipe: Any
    fit: Callable[[Collection, Fold, Path], Outputs]
    seconds: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """What one training left: ids and outputs per task, and its seconds.

    `seconds` went by on the clock, `processor_seconds` were spent on all cores together, which
    other programs on the machine do not change.
    """

    ids: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    seconds: float
    processor_seconds: float


def digest_of(*parts: object) -> str:
    """Ten letters that change when anything in the parts does."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=5).hexdigest()


def outcome_path(folder: Path, model: Model, fold: Fold, collection: Collection) -> Path:
    """Where the outcome of this training lies, now or later."""
    digest = digest_of(model.recipe, sorted(fold.songs), collection.fingerprint)
    return folder / f"{model.name}-r{fold.repeat}-f{fold.number}-{digest}.json"


def read_outcome(path: Path) -> Outcome | None:
    """The outcome stored in a file, or None where there is none.

    Raises LabError for a file that is damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(
            {task: np.array(part["ids"], dtype=str) for task, part in stored["tasks"].items()},
            {
                task: np.array(part["outputs"], dtype=np.float32)
                for task, part in stored["tasks"].items()
            },
            float(stored["seconds"]),
            float(stored["processor_seconds"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(
            f"{path}: no whole outcome of a training ({error}); remove the file and run this again"
        ) from error


def _write_outcome(path: Path, outcome: Outcome) -> None:
    tasks = {
        task: {
            "ids": outcome.ids[task].tolist(),
            "outputs": [[float(f"{v:.6g}") for v in row] for row in outcome.outputs[task].tolist()],
        }
        for task in outcome.ids
    }
    content = {
        "seconds": round(outcome.seconds, 2),
        "processor_seconds": round(outcome.processor_seconds, 2),
        "tasks": tasks,
    }
    write_atomically(path, json.dumps(content) + "\n")


# ---- the plan ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """One training to be done or already there."""

    model: Model
    fold: Fold
    path: Path


def make_plan(
    models: Sequence[Model], folds: Sequence[Fold], collection: Collection, folder: Path
) -> list[Training]:
    """All trainings: repeat after repeat, in it model after model, in it fold after fold.

    So the first repeat is whole before the second begins, and its early models before its late.
    """
    return [
        Training(model, fold, outcome_path(folder, model, fold, collection))
        for repeat in dict.fromkeys(fold.repeat for fold in folds)
        for model in models
        for fold in folds
        if fold.repeat == repeat
    ]


def run_plan(
    plan: Sequence[Training], collection: Collection, folder: Path, say: Callable[[str], None]
) -> list[str]:
    """Do what is not there yet, storing each outcome; returns a line for each that broke down.

    A model that breaks down is left alone from there on; the others go on.
    """
    left = [training for training in plan if not training.path.exists()]
    clock = _Clock(plan)
    say(f"{len(plan)} trainings, {len(plan) - len(left)} of them there already; {clock.told(left)}")
    problems: dict[str, str] = {}
    for number, training in enumerate(left, start=1):
        name = training.model.name
        if name in problems:
            continue
        try:
            outcome = _train(training, collection, folder)
        except Exception as error:  # whatever it is, the others have hours of work before them
            what = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
            problems[name] = f"{name}: {what}{error}"
            say(f"  {problems[name]}; the rest goes on")
            continue
        _write_outcome(training.path, outcome)
        clock.note(name, outcome.seconds)
        rest = [one for one in left[number:] if one.model.name not in problems]
        say(
            f"  {name}, repeat {training.fold.repeat}, fold {training.fold.number}: "
            f"{outcome.seconds:.0f} s; {clock.told(rest)}"
        )
    return list(problems.values())


def _train(training: Training, collection: Collection, folder: Path) -> Outcome:
    for task in training.model.tasks:
        if not len(training.fold.parts(collection.get(task, training.model.form))[1]):
            raise LabError(
                f"fold {training.fold.number} tests no clip of {task}; give fewer with --folds"
            )
    begin, begin_processor = time.perf_counter(), time.process_time()
    outputs = training.model.fit(collection, training.fold, folder)
    seconds = time.perf_counter() - begin, time.process_time() - begin_processor
    ids = {}
    for task in outputs:
        clips = collection.get(task, training.model.form)
        ids[task] = clips.ids[training.fold.parts(clips)[1]]
        if len(ids[task]) != len(outputs[task]):
            raise LabError(f"{len(outputs[task])} outputs for {len(ids[task])} clips of {task}")
    return Outcome(ids, dict(outputs), *seconds)


class _Clock:
    """How long the rest takes: measured times, and guesses in their measure for other models."""

    def __init__(self, plan: Sequence[Training]) -> None:
        self.guesses = {training.model.name: training.model.seconds for training in plan}
        self.measured: dict[str, list[float]] = {}
        for training in plan:
            outcome = read_outcome(training.path)
            if outcome is not None:
                self.note(training.model.name, outcome.seconds)

    def note(self, name: str, seconds: float) -> None:
        """Remember how long a training of this model took."""
        self.measured.setdefault(name, []).append(seconds)

    def told(self, left: Sequence[Training]) -> str:
        """How many trainings remain, and how many hours they take, in words."""
        if not left:
            return "none remains"
        hours = sum(self._expected(training.model.name) for training in left) / 3600
        unknown = {one.model.name for one in left} - self.measured.keys()
        how = f" ({len(unknown)} of their models not timed here yet)" if unknown else ""
        return f"{len(left)} remain, about {hours:.1f} h{how}"

    def _expected(self, name: str) -> float:
        if name in self.measured:
            return float(np.median(self.measured[name]))
        # The guesses are of one machine: how fast is this one? Short trainings tell little.
        known = [one for one in self.measured if self.guesses[one] >= SHORT_SECONDS]
        if not known:
            return self.guesses[name]
        measured = sum(float(np.median(self.measured[one])) for one in known)
        return self.guesses[name] * measured / sum(self.guesses[one] for one in known)


# ---- predictions of whole repeats --------------------------------------------------------------


def gather(
    plan: Sequence[Training], name: str, task: str, repeat: int, clips: Clips
) -> np.ndarray | None:
    """A model's outputs for every clip of a task in one repeat; None while a fold is missing.

    [n, classes] or [n, 3], in the order of the clips.
    """
    parts = [
        read_outcome(training.path)
        for training in plan
        if training.model.name == name and training.fold.repeat == repeat
    ]
    found = [outcome for outcome in parts if outcome is not None]
    if not parts or len(found) < len(parts):
        return None
    ids = np.concatenate([outcome.ids[task] for outcome in found])
    outputs = np.concatenate([outcome.outputs[task] for outcome in found])
    place = {clip: number for number, clip in enumerate(ids.tolist())}
    return outputs[[place[clip] for clip in clips.ids.tolist()]]


def mean_seconds(plan: Sequence[Training], name: str) -> tuple[float, float]:
    """Mean seconds and processor seconds of the trainings of a model that are there."""
    found = [read_outcome(one.path) for one in plan if one.model.name == name]
    times = [(o.seconds, o.processor_seconds) for o in found if o is not None]
    return tuple(np.mean(times, axis=0).tolist()) if times else (float("nan"), float("nan"))
