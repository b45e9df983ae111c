"""The tables of the benchmark and its plot: what each model reaches, differences, ablations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.music_clips import Clips, Collection
from benchmarks.music_runs import Model, Training, gather, mean_seconds
from benchmarks.music_scores import (
    MAIN_METRIC,
    METRICS,
    Resamples,
    best_single,
    ensemble_of,
    over_repeats,
    score_of,
)
from helpers.evaluation import Score

if TYPE_CHECKING:
    import pandas as pd

CHOSEN_ON = 1  # the repeat on which recipes were chosen; the others report


@dataclass(frozen=True)
class Ensemble:
    """The mean of the outputs of other models."""

    name: str
    title: str
    task: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A paired difference in a task's main metric, and what it must be.

    `sense`: "above" (its interval leaves out 0), "at least" (the difference itself reaches
    `value`), "not below" (its interval reaches 0), or "" for
    none. `second` may be BEST_SINGLE.
    """

    task: str
    first: str
    second: str
    sense: str = ""
    value: float = 0.0

    @property
    def required(self) -> str:
        """The requirement in words."""
        return {
            "": "",
            "above": "interval above 0",
            "at least": f"at least {self.value:+.2f}",
            "not below": "not below beyond its interval",
        }[self.sense]

    def reached(self, difference: Score) -> str:
        """yes, no, or nothing where nothing is required."""
        if not self.sense:
            return ""
        holds = {
            "above": difference.low > 0,
            "at least": difference.value >= self.value,
            "not below": difference.high >= 0,
        }[self.sense]
        return "yes" if holds else "no"


@dataclass(frozen=True)
class Ablation:
    """A change of a model's recipe: its trainings, each from a seed, and those without it."""

    default: str
    title: str
    names: tuple[str, ...]
    default_names: tuple[str, ...]


BEST_SINGLE = "the best single model"


# ---- from stored predictions to values ---------------------------------------------------------


class Results:
    """The metrics of every model that has whole repeats, on the same resampled songs."""

    def __init__(
        self,
        plan: Sequence[Training],
        collection: Collection,
        models: Sequence[Model],
        ensembles: Sequence[Ensemble] = (),
    ) -> None:
        self.plan, self.collection = plan, collection
        planned = {training.model.name for training in plan}
        self.models = {model.name: model for model in models if model.name in planned}
        self.ensembles = {ensemble.name: ensemble for ensemble in ensembles}
        self.repeats = sorted({training.fold.repeat for training in plan})
        self.resamples: dict[str, Resamples] = {}
        self._outputs: dict[tuple[str, str, int], np.ndarray | None] = {}
        self._metrics: dict[tuple[str, str, tuple[int, ...]], dict[str, np.ndarray]] = {}

    def planned(self, task: str) -> list[str]:
        """The models of a task, and the ensembles of which all members are among them."""
        names = [name for name, model in self.models.items() if task in model.tasks]
        for name, one in self.ensembles.items():
            if one.task == task and set(one.members) <= set(names):
                names.append(name)
        return names

    def names(self, task: str) -> list[str]:
        """Those of them that have at least one whole repeat."""
        return [name for name in self.planned(task) if self.whole(task, name)]

    def title(self, name: str) -> str:
        """What a model is called in the table."""
        return (self.models | self.ensembles)[name].title

    def whole(self, task: str, name: str) -> tuple[int, ...]:
        """The repeats in which every fold of a model is there."""
        return tuple(r for r in self.repeats if self._output(task, name, r) is not None)

    def reported(self, task: str, name: str) -> tuple[int, ...]:
        """The repeats that report: those that chose nothing, where there are any."""
        whole = self.whole(task, name)
        return tuple(r for r in whole if r != CHOSEN_ON) or whole

    def metrics(self, task: str, name: str, repeats: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Each metric averaged over these repeats: of all clips, then of each resample."""
        key = (task, name, repeats)
        if key not in self._metrics:
            outputs = [self._output(task, name, repeat) for repeat in repeats]
            known = [one for one in outputs if one is not None]
            self._metrics[key] = over_repeats(self._resamples(task), known)
        return self._metrics[key]

    def clips_of(self, task: str) -> Clips:
        """The clips of a task in the first form there is; all forms have the same."""
        return next(c for (name, _), c in self.collection.clips.items() if name == task)

    def _resamples(self, task: str) -> Resamples:
        if task not in self.resamples:
            self.resamples[task] = Resamples(task, self.clips_of(task).targets)
        return self.resamples[task]

    def _output(self, task: str, name: str, repeat: int) -> np.ndarray | None:
        """Outputs for all clips of a task in the order of its full clips."""
        key = (task, name, repeat)
        if key not in self._outputs:
            self._outputs[key] = self._found(task, name, repeat)
        return self._outputs[key]

    def _found(self, task: str, name: str, repeat: int) -> np.ndarray | None:
        if name in self.ensembles:
            members = [self._output(task, one, repeat) for one in self.ensembles[name].members]
            there = [member for member in members if member is not None]
            return ensemble_of(there, task) if len(there) == len(members) else None
        if name not in self.models or task not in self.models[name].tasks:
            return None
        return gather(self.plan, name, task, repeat, self.clips_of(task))

    def difference(
        self, task: str, first: str, second: str, repeats: tuple[int, ...]
    ) -> dict[str, Score]:
        """First minus second, each metric, paired over songs and repeats."""
        a, b = (self.metrics(task, name, repeats) for name in (first, second))
        return {name: score_of(a[name] - b[name]) for name in a}


# ---- tables ------------------------------------------------------------------------------------


def score_table(results: Results) -> pd.DataFrame:
    """A row per model and metric.

    Columns: task, model, title, metric, each (repeat from the first on, which chose), value, low,
    high, repeats (that value is over), clips, seconds and processor_seconds of one training.
    """
    import pandas as pd

    rows = []
    for task, metrics in METRICS.items():
        for name in results.names(task):
            reported = results.reported(task, name)
            singles = [results.metrics(task, name, (r,)) for r in results.whole(task, name)]
            values = results.metrics(task, name, reported)
            seconds, of_processor = mean_seconds(results.plan, name)
            for metric in metrics:
                score = score_of(values[metric])
                rows.append(
                    {
                        "task": task,
                        "model": name,
                        "title": results.title(name),
                        "metric": metric,
                        "each": ", ".join(f"{one[metric][0]:.3f}" for one in singles),
                        "value": score.value,
                        "low": score.low,
                        "high": score.high,
                        "repeats": "-".join(str(r) for r in reported),
                        "clips": len(results.clips_of(task).targets),
                        "seconds": round(seconds, 1),
                        "processor_seconds": round(of_processor, 1),
                    }
                )
    return pd.DataFrame(rows)


def comparison_table(results: Results, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A row per comparison whose models are planned: difference, interval, required, reached.

    Over the repeats that both models report. Where they share none, because one broke down or was
    interrupted, the difference is undefined, and what is required not reached.
    """
    import pandas as pd

    rows = []
    for one in comparisons:
        planned, second = results.planned(one.task), _second(results, one)
        if one.first not in planned or second not in planned:
            continue
        repeats = tuple(
            r for r in results.reported(one.task, one.first)
            if r in results.reported(one.task, second)
        )  # fmt: skip
        metric = MAIN_METRIC[one.task]
        difference = Score(float("nan"), reason="no repeat of both is whole")
        if repeats:
            difference = results.difference(one.task, one.first, second, repeats)[metric]
        rows.append(
            {
                "task": one.task,
                "first": results.title(one.first),
                "second": results.title(second),
                "metric": metric,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "repeats": "-".join(str(r) for r in repeats),
                "required": one.required,
                "reached": one.reached(difference),
            }
        )
    return pd.DataFrame(rows)


def _second(results: Results, comparison: Comparison) -> str:
    """The second model; the best single one is chosen on the repeat that chooses."""
    if comparison.second != BEST_SINGLE:
        return comparison.second
    task = comparison.task
    singles = {
        name: results.metrics(task, name, (CHOSEN_ON,))[MAIN_METRIC[task]]
        for name in results.names(task)
        if name in results.models and CHOSEN_ON in results.whole(task, name)
    }
    return best_single(singles) if singles else ""


def ablation_table(results: Results, ablations: Sequence[Ablation]) -> pd.DataFrame:
    """A row per ablation, on the repeat that chooses: its value and its gain over the default.

    Values are means over the trainings of each, one for each of `seeds`.
    """
    import pandas as pd

    rows = []
    for one in ablations:
        for task in results.models[one.default].tasks:
            metric = MAIN_METRIC[task]
            own = _mean_over(results, task, metric, one.names)
            default = _mean_over(results, task, metric, one.default_names)
            if own is None or default is None:
                continue
            gain = score_of(own - default)
            rows.append(
                {
                    "task": task,
                    "default": results.title(one.default),
                    "change": one.title,
                    "metric": metric,
                    "value": float(own[0]),
                    "of_default": float(default[0]),
                    "difference": gain.value,
                    "low": gain.low,
                    "high": gain.high,
                    "seeds": len(one.names),
                    "processor_seconds": round(mean_seconds(results.plan, one.names[0])[1], 1),
                }
            )
    return pd.DataFrame(rows)


def _mean_over(results: Results, task: str, metric: str, names: Sequence[str]) -> np.ndarray | None:
    """A metric of the repeat that chooses, averaged over trainings; None while one is missing."""
    if any(CHOSEN_ON not in results.whole(task, name) for name in names):
        return None
    values = [results.metrics(task, name, (CHOSEN_ON,))[metric] for name in names]
    return np.mean(values, axis=0)
