"""The command line of the lab, behind ./run_all.sh."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from helpers import settings
from helpers.settings import LabError, profile_names
from tools.notebooks import Lab, script_contents
from tools.options import Parser
from tools.plan import GIB_PER_JOB, Plan, make_plan
from tools.run_folder import opened, remove_old_runs, write_kernel_spec

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
examples:
  ./run_all.sh                         all notebooks, on your data if found, else on the demo set
  ./run_all.sh --only 06               notebook 06, and what it needs if that is not up to date
  ./run_all.sh --data ~/data --name real
  ./run_all.sh lab                     JupyterLab, to read and to try things
  ./run_all.sh bench --quick           how fast the kit is here, against the straightforward way
  ./run_all.sh report --members "Name One, 03112345"     the report, as PDF, Word and Markdown
  ./run_all.sh hand-in --members "Name One, 03112345"    the zip that is handed in
  ./run_all.sh kaggle-push             runs the notebooks on Kaggle's GPU
  ./run_all.sh submit                  sends solution.txt to the Kaggle competition

Notebooks that are up to date are not run again. Results lie in runs/<name>/: pages/index.html,
results.csv, summary.json, the executed notebooks, figures and checkpoints.
exit codes: 0 all done, 1 a notebook failed, 2 wrong use, 130 interrupted
"""


# Each in a module of its own: a function `main` that takes the rest of the command line.
COMMANDS = {
    "bench": "benchmarks.speed",
    "report": "tools.report.command",
    "hand-in": "tools.hand_in",
    "kaggle-push": "tools.kaggle_push",
    "submit": "tools.submit",
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="./run_all.sh",
        usage="./run_all.sh [options]\n       ./run_all.sh lab [options of JupyterLab]\n"
        "       ./run_all.sh bench | report | hand-in | kaggle-push | submit [--help]",
        description="Run the notebooks of the lab and show what came out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--data",
        metavar="DIR|demo|kaggle",
        help="the data folder, the demo set that the kit makes, or the lab's data from Kaggle",
    )
    add(
        "--profile",
        metavar="NAME|FILE",
        help=f"sizes and epochs: {', '.join(profile_names()) or 'a .yaml file'}, or a .yaml file "
        "(default: demo on the demo set or without a GPU, else full)",
    )
    add(
        "--only",
        metavar="NN",
        action="append",
        nargs="+",
        help="only these notebooks, by number or name, and what they need",
    )
    add("--device", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    add("--name", metavar="RUN", help="name of the run, a folder below runs/")
    add("--force", action="store_true", help="run the chosen notebooks even if up to date")
    add(
        "--jobs",
        metavar="N|auto",
        default="auto",
        help="how many independent notebooks run side by side (default: auto, which is 2 without a "
        f"GPU, where there are 2 cores and {2 * GIB_PER_JOB} GiB of free memory, else 1)",
    )
    add(
        "--skip-bad",
        action="store_true",
        help="leave broken clips and bad label rows out, and list them, instead of stopping there",
    )
    add("--keep", metavar="N", help="after success, delete all but the N newest runs below runs/")
    add("--list", action="store_true", help="show the notebooks, what they need and their state")
    return parser


def main(argv: Sequence[str] | None = None, lab: Lab | None = None) -> int:
    """Run the command line; return the exit code. `lab` is another set of notebooks, for tests."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    lab = lab or Lab()
    _stop_on_signals()
    try:
        if arguments[:1] == ["lab"]:
            return _open_jupyter_lab(lab, arguments[1:])
        if arguments and arguments[0] in COMMANDS:
            return importlib.import_module(COMMANDS[arguments[0]]).main(arguments[1:])
        options = _parser().parse_args(arguments)
        keep = _number_to_keep(options.keep)
        if options.skip_bad:
            os.environ["MUSICLAB_SKIP_BAD"] = "1"  # for the notebooks, and for what runs here
        plan = make_plan(
            lab,
            data=options.data,
            profile=options.profile,
            device=options.device,
            name=options.name,
            only=_words(options.only),
            force=options.force,
            jobs=options.jobs,
        )
        if options.list:
            return _list(plan)
        return run(plan, keep)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


def run(plan: Plan, keep: int | None = None) -> int:
    """Run a plan and report it; return the exit code.

    After a success all but the `keep` newest runs are deleted, none without that number.
    """
    # Here, so that --help and wrong use answer before these are loaded.
    from tools import display, pages
    from tools.results import UP_TO_DATE, Row, write_results
    from tools.tasks import DEMO_TASK, run_tasks

    console = display.make_console()
    display.print_header(console, plan.described())
    names = ([DEMO_TASK] if plan.is_demo else []) + plan.notebooks
    rows = {name: Row(name) for name in names}
    begin = time.monotonic()
    with opened(plan.folder):
        with display.make_display(console, rows) as view:
            run_tasks(plan, rows, view)
        if DEMO_TASK in rows and rows[DEMO_TASK].status == UP_TO_DATE:
            del rows[DEMO_TASK]
        summary = write_results(plan, rows, time.monotonic() - begin)
        pages.write_glossary(plan.folder / "pages")
        index = pages.write_index(plan.folder, summary)
    display.print_table(console, rows.values())
    console.print(
        f"{display.clock(summary['total_seconds'])} in all. Pages: {index}", soft_wrap=True
    )
    display.print_left_out(console, summary["left_out"])
    if display.any_bad(rows.values()):
        return EXIT_FAILED
    for line in remove_old_runs(plan.folder, keep) if keep else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return EXIT_DONE


def _list(plan: Plan) -> int:
    from tools import display
    from tools.tasks import task_states

    console = display.make_console()
    display.print_header(console, plan.described())
    states = task_states(plan)
    needs = {notebook.name: notebook.needs for notebook in plan.lab.notebooks}
    display.print_list(
        console,
        (
            (name, plan.lab.read(name).title, ", ".join(n[:2] for n in needs[name]), states[name])
            for name in plan.notebooks
        ),
    )
    return EXIT_DONE


def _number_to_keep(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise LabError(f"--keep {text}: give the number of runs to keep, at least 1")
    return int(text)


def _words(only: list[list[str]] | None) -> list[str] | None:
    """The notebooks named by one or more `--only`, split at spaces and commas."""
    if only is None:
        return None
    parts = [part for group in only for part in group]
    words = [word.strip() for part in parts for word in part.split(",") if word.strip()]
    if not words:
        raise LabError("--only names no notebook; for example --only 05,06")
    return words


def _open_jupyter_lab(lab: Lab, arguments: list[str]) -> int:
    """Replace this process by JupyterLab on the lab's folder, with this environment's kernel."""
    jupyter = settings.cache_dir() / "jupyter"
    write_kernel_spec(jupyter)
    paths = [str(jupyter), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path for path in paths if path)
    refresh_scripts(lab)
    os.chdir(lab.root)
    sys.stdout.flush()
    os.execv(
        sys.executable,
        [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={lab.root}", *arguments],
    )


def refresh_scripts(lab: Lab) -> list[str]:
    """Mark as new each `.py` that is older than its notebook and says the same; return those.

    jupytext refuses to open a pair whose notebook is the newer one, which is as it should be when
    the two differ; but after a clone or a copy the times say nothing.
    """
    refreshed = []
    for name in lab.names:
        script, source = lab.script(name), lab.read(name)
        if not script.is_file() or script.stat().st_mtime >= source.path.stat().st_mtime:
            continue
        if script_contents(script) == source.contents and os.access(script, os.W_OK):
            os.utime(script)
            refreshed.append(name)
    return refreshed


def _stop_on_signals() -> None:
    """Let a polite kill and a closed terminal end a run as cleanly as Ctrl-C does."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores the closed terminal
            signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
