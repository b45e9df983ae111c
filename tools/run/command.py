"""The command line of the lab, behind ./run_all.sh."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from helpers.machinery.files import LabError
from helpers.machinery.profiles import profile_names
from tools.common.command_line import EXIT_DONE, EXIT_FAILED, Parser, run_command
from tools.common.notebooks import Lab
from tools.common.run_folder import opened, remove_old_runs
from tools.run.plan import DEMO_TASK, GIB_PER_JOB, Plan, make_plan

# What ./run_all.sh starts in place of a run.
COMMANDS = tuple("lab check-data build-data report hand-in kaggle-push submit bench".split())


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh",
        usage="./run_all.sh [options]\n       ./run_all.sh lab [options of JupyterLab]\n"
        f"       ./run_all.sh {' | '.join(COMMANDS[1:])} [--help]",
        description="Run the notebooks of the lab and show what came out.",
        epilog=Path(__file__).with_name("help.txt").read_text(encoding="utf-8"),
    )
    parser.also_known = COMMANDS
    add, known = parser.add_argument, ", ".join(profile_names()) or "a .yaml file"
    # fmt: off
    add("--data", metavar="DIR|demo|kaggle",
        help="the data folder, the demo set that the kit makes, or the lab's data from Kaggle")
    add("--profile", metavar="NAME|FILE",
        help=f"sizes and epochs: {known}, or a .yaml file (default: demo on the demo set or "
        "without a GPU, else full)")
    add("--only", metavar="NN", action="extend", nargs="+",
        help="only these notebooks, by number or name, and what they need")
    add("--device", metavar="auto|cpu|cuda|cuda:1", help="where to compute (default: auto)")
    add("--name", metavar="RUN", help="name of the run, a folder below runs/")
    add("--force", action="store_true", help="run the chosen notebooks even if up to date")
    add("--jobs", metavar="N|auto", default="auto",
        help="how many independent notebooks run side by side (default: auto: as many as GPUs, "
        f"each with its own; without one 2; with {GIB_PER_JOB} GiB of free memory and a core each)")
    add("--skip-bad", action="store_true",
        help="leave broken clips and bad label rows out, and list them, instead of stopping there")
    add("--keep", metavar="N", help="after success, delete all but the N newest runs below runs/")
    add("--list", action="store_true", help="show the notebooks, what they need and their state")
    # fmt: on
    return parser


def main(arguments: Sequence[str], lab: Lab | None = None) -> int:
    """Run the command line; return the exit code. `lab` is another set of notebooks, for tests.

    Raises LabError for wrong use.
    """
    options = vars(_parser().parse_args(list(arguments)))
    listed, keep = options.pop("list"), options.pop("keep")
    if keep is not None and not (keep.isdecimal() and int(keep)):
        raise LabError(f"--keep {keep} is no number of runs; give 1 or more")
    plan = make_plan(lab or Lab(), **options)
    return _list(plan) if listed else run(plan, int(keep or 0))


def run(plan: Plan, keep: int = 0) -> int:
    """Run a plan, report it, keep only the `keep` newest runs (0: all); return the exit code."""
    # Here, so that --help and wrong use answer before these are loaded.
    from tools.run import display, pages
    from tools.run.results import BAD, Row, Status, note_left_out, write_results
    from tools.run.tasks import run_tasks

    console = display.make_console()
    display.print_header(console, plan.described())
    names = ([DEMO_TASK] if plan.is_demo else []) + plan.notebooks
    rows = {name: Row(name) for name in names}
    begin = time.monotonic()
    with opened(plan.folder):
        note_left_out(plan)
        view = display.Display(console, rows)
        with view.live:
            run_tasks(plan, view)
        if DEMO_TASK in rows and rows[DEMO_TASK].status == Status.UP_TO_DATE:
            del rows[DEMO_TASK]
        summary = write_results(plan, rows.values(), time.monotonic() - begin)
        pages.write_glossary(plan.folder / "pages")
        index = pages.write_index(plan.folder, summary)
    console.print(display.table_of(rows.values()))
    console.print(
        f"{display.clock(summary['total_seconds'])} in all. Pages: {index}", soft_wrap=True
    )
    display.print_left_out(console, summary["left_out"])
    if any(row.status in BAD for row in rows.values()):
        return EXIT_FAILED
    for line in remove_old_runs(plan.folder, keep) if keep else ():
        console.print(line, soft_wrap=True)
    return EXIT_DONE


def _list(plan: Plan) -> int:
    from tools.run import display
    from tools.run.results import Status
    from tools.run.tasks import why_to_run

    console = display.make_console()
    display.print_header(console, plan.described())
    table = display.make_table("notebook", "title", "needs", "state")
    for name, reason in why_to_run(plan).items():
        needs = ", ".join(need.partition("_")[0] for need in plan.lab.needs(name))
        state = f"to run: {reason}" if reason else Status.UP_TO_DATE
        table.add_row(name, plan.lab.read(name).title, needs, state)
    console.print(table)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_command(main))
