"""What the kit's models reach on real music, beside references, by cross-validation over songs.

    python -m benchmarks.real_music --data DIR [--answers FILE] [--quick] [--ablations]

Takes a folder in the lab's layout. Every song is tested once in each repeat, by models that saw
nothing of it: no scaling, no pre-training. The recipes were chosen on repeat 1; the other repeats,
with other folds and seeds, report. Trainings are stored one by one, and the same command goes on
after an interruption; after a change of the code, begin anew without `.cache/real_music`. `--quick`
measures the main models on repeat 1 only. Tables and a plot go to `benchmarks/results/`, those of
other data, folds or repeats to files of their own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from helpers.folders import data_name, find_data
from helpers.machinery.files import LabError, cache_dir, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.music_clips import Collection
    from benchmarks.music_models import KitModel
    from benchmarks.music_runs import Model, Training

RESULTS = Path(__file__).resolve().parent / "results"
MET, NOT_MET, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
N_FOLDS, N_REPEATS = 5, 3
REAL = "realmusic"  # the folder whose tables are called real_music without a suffix


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message: str) -> NoReturn:
        raise LabError(f"{message}; python -m benchmarks.real_music --help shows what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks.real_music",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", default="auto", metavar="DIR", help="the folder with fma_genre_spectrograms/")
    add("--answers", type=Path, metavar="FILE", help="labels of the multitask test clips")
    add("--quick", action="store_true", help="repeat 1 of the main models: under an hour")
    add("--only", metavar="MODEL", nargs="+", action="extend", default=[],
        help="only these models; the table is printed, not written")  # fmt: skip
    add("--ablations", action="store_true", help="the recipes with one thing changed, repeat 1")
    add("--repeats", type=_positive, default=N_REPEATS, metavar="N")
    add("--folds", type=_positive, default=N_FOLDS, metavar="N", help="2 or more")
    add("--output", type=Path, metavar="DIR",
        help="for tables and predictions (default: benchmarks/results and the cache)")  # fmt: skip
    add("--list", action="store_true", help="show the models that --only knows")
    add("--markdown", action="store_true", help="print the stored tables as Markdown, and end")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if not sys.stderr.isatty():
        os.environ.setdefault("MUSICLAB_HEADLESS", "1")  # no progress bars in a file
    try:
        return _run(_parser().parse_args(sys.argv[1:] if argv is None else list(argv)))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("interrupted; every finished training is stored: run the same command again for "
              "the rest", file=sys.stderr)  # fmt: skip
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    # Here, so that --help and wrong use answer before PyTorch is loaded.
    from benchmarks.music_clips import open_collection
    from benchmarks.music_models import all_models
    from benchmarks.music_report import as_markdown, read_tables, write_tables
    from benchmarks.music_runs import run_plan

    models = pick_models(all_models(), options.only, options.quick)
    if options.folds < 2:
        raise LabError("--folds 1: what is tested must not be trained on; give 2 or more")
    if options.list:
        print("\n".join(f"{model.name:20} {model.title}" for model in models))
        return MET
    output, n_repeats = options.output or RESULTS, 1 if options.quick else options.repeats
    if options.markdown:
        name = REAL if options.data == "auto" else data_name(find_data(options.data))
        print(as_markdown(read_tables(output, stem_of(name, options.folds, n_repeats))), end="")
        return MET
    data = find_data(options.data)
    collection = open_collection(data, options.answers)
    folder = options.output / "predictions" if options.output else cache_dir() / "real_music"
    main_plan, extra_plan, extras = make_plans(
        models, collection, folder, options.folds, n_repeats, options.ablations
    )
    problems = run_plan([*main_plan, *extra_plan], collection, folder, _say)
    tables = make_tables(models, extras, main_plan, extra_plan, collection, options.folds)
    written: list[Path] = []
    if options.output or not options.only:
        stem = stem_of(data_name(data), options.folds, n_repeats)
        written = write_tables(tables, output, stem)
    print(as_markdown(tables), end="")
    for path in written:
        _say(f"written: {path}")
    return _verdict(tables, problems)


def pick_models(models: Sequence[Model], words: Sequence[str], quick: bool) -> list[Model]:
    """The models named by `words`, or those of the quick table, or all; in the table's order.

    Raises LabError for a name that no model has.
    """
    from benchmarks.music_models import QUICK

    names = [model.name for model in models]
    for word in words:
        if word not in names:
            raise LabError(
                f"--only {word}: no such model{did_you_mean(word, names)}; known: "
                f"{', '.join(names)}"
            )
    wanted = words or (QUICK if quick else names)
    return [model for model in models if model.name in wanted]


def stem_of(name: str, n_folds: int = N_FOLDS, n_repeats: int = N_REPEATS) -> str:
    """The begin of the tables' file names, which tells other data and other protocols apart."""
    parts = ["real_music"] if name == REAL else ["real_music", name]
    if (n_folds, n_repeats) != (N_FOLDS, N_REPEATS):
        parts.append(f"{n_folds}x{n_repeats}")
    return "-".join(parts)


def make_plans(
    models: Sequence[Model],
    collection: Collection,
    folder: Path,
    n_folds: int,
    n_repeats: int,
    with_ablations: bool,
) -> tuple[list[Training], list[Training], list[KitModel]]:
    """The trainings of the models, those of their ablations (repeat 1), and the ablations.

    Says what the folder lacks, and leaves out the models that need it.
    """
    from benchmarks.music_clips import make_folds, rare_classes, strata_of
    from benchmarks.music_models import ablations, as_model
    from benchmarks.music_runs import make_plan

    strata = strata_of(collection)
    for line in [*collection.lacks, *rare_classes(strata, n_folds)]:
        _say(line)
    possible = [
        model for model in models if all((task, model.form) in collection.clips
                                         for task in model.tasks)
    ]  # fmt: skip
    folds = [make_folds(strata, n_folds, repeat) for repeat in range(1, n_repeats + 1)]
    names = [model.name for model in possible]
    extras = [one for one in ablations() if one.changes in names] if with_ablations else []
    plan = make_plan(possible, [fold for repeat in folds for fold in repeat], collection, folder)
    extra = make_plan([as_model(one) for one in extras], folds[0], collection, folder)
    return plan, extra, extras


def make_tables(
    models: Sequence[Model],
    extras: Sequence[KitModel],
    main_plan: Sequence[Training],
    extra_plan: Sequence[Training],
    collection: Collection,
    n_folds: int,
) -> dict[str, pd.DataFrame]:
    """The tables by the end of their file names: scores, comparisons, ablations."""
    from benchmarks.music_models import COMPARISONS, ENSEMBLES, ablation_rows, as_model
    from benchmarks.music_table import Results, ablation_table, comparison_table, score_table

    results = Results(main_plan, collection, models, ENSEMBLES)
    everything = [*models, *(as_model(one) for one in extras)]
    trials = Results([*main_plan, *extra_plan], collection, everything)
    scores = score_table(results)
    scores["protocol"] = _protocol(collection, n_folds)
    return {
        "": scores,
        "_comparisons": comparison_table(results, COMPARISONS),
        "_ablations": ablation_table(trials, ablation_rows(extras)),
    }


def _protocol(collection: Collection, n_folds: int) -> str:
    """How the figures were made, in a line."""
    import torch

    from benchmarks.speed_table import this_machine
    from helpers.machinery.process import has_native_bfloat16

    arithmetic = "bfloat16" if has_native_bfloat16(torch.device("cpu")) else "float32"
    return (
        f"{n_folds} folds of songs, stratified by genre; repeat r has seed r - 1 for folds and "
        "models; 95 % intervals: bootstrap over songs; all networks train in "
        f"{arithmetic} and predict in float32; s per training: processor seconds; "
        f"data {collection.fingerprint}; {this_machine('cpu', 'CPU').text()}"
    )


def _verdict(tables: dict[str, pd.DataFrame], problems: Sequence[str]) -> int:
    """Say what was not reached and what broke down; the exit code."""
    comparisons = tables["_comparisons"]
    missed = comparisons[comparisons["reached"] == "no"] if len(comparisons) else comparisons
    for row in missed.itertuples():
        _say(f"not reached: {row.first} - {row.second}, {row.required}")
    for problem in problems:
        _say(f"broke down: {problem}")
    return NOT_MET if len(missed) or problems else MET


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: object) -> NoReturn:
    """Let a polite kill end as cleanly as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
