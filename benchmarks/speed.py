"""How fast the kit is: each thing it does against the straightforward way, in one run.

    python -m benchmarks.speed [--quick] [--device auto|cpu|cuda] [--only ROW ...] [--audio DIR]

The straightforward way is PyTorch and librosa as their manuals show them; it stands beside what the
kit does in the files `speed_*.py`. Both get the same inputs and run in turns, each in a process of
its own with its own settings, and what they compute is compared. The table goes to the screen and,
with a plot, to `benchmarks/results/` (with `--only`, to the screen alone). The exit code is 1 if
something required was not met.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.speed_measure import ROOT, Context, Group, scratch_folder
from benchmarks.speed_table import (
    NO,
    Machine,
    Row,
    file_stem,
    markdown_table,
    not_measured,
    print_rows,
    this_machine,
    write_results,
)
from helpers.machinery.files import LabError, did_you_mean
from helpers.machinery.process import pick_device
from tools.lab.command_line import Parser

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = ROOT / "benchmarks" / "results"
MET, NOT_MET, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
PLAIN_WIDTH = 200
DISK_GIB = {"quick": 6, "full": 14}
MEMORY_GIB = 6


def all_groups() -> list[Group]:
    """Everything that can be measured, in the order of the table."""
    # Here, so that --help and wrong use answer before PyTorch is loaded.
    from benchmarks import speed_audio, speed_cuda, speed_data, speed_lab, speed_models

    modules = (speed_models, speed_data, speed_audio, speed_lab, speed_cuda)
    return [group for module in modules for group in module.GROUPS]


def pick_groups(groups: Sequence[Group], words: Sequence[str]) -> list[Group]:
    """The groups named by `words`, in the order of the table; all of them without any.

    A word is a group's name or its beginning up to a hyphen (`lstm`, `open`). Raises LabError for
    a word that fits none.
    """
    names = [group.name for group in groups]
    for word in words:
        if not any(_fits(name, word) for name in names):
            known = sorted({*names, *(name.partition("-")[0] for name in names)})
            raise LabError(
                f"--only {word}: no such row{did_you_mean(word, known)}; known: {', '.join(names)}"
            )
    return [g for g in groups if not words or any(_fits(g.name, word) for word in words)]


def _fits(name: str, word: str) -> bool:
    return name == word or name.startswith(f"{word}-")


def measure(groups: Sequence[Group], context: Context) -> tuple[list[Row], list[str]]:
    """The rows of all groups, and the names of the groups that broke down."""
    rows: list[Row] = []
    failed: list[str] = []
    for group in groups:
        begin = time.perf_counter()
        context.say(f"{group.name} ...")
        try:
            new = group.measure(context)
        except LabError as error:
            new = [not_measured(group.name, group.name, str(error))]
            failed.append(group.name)
        rows += new
        for row in new:
            parts = (row.ratio.text("x") if row.ratio else "", row.verdict)
            context.say(f"  {row.title}: {'  '.join(filter(None, parts))}")
        context.say(f"  {time.perf_counter() - begin:.0f} s")
    return rows, failed


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="./run_all.sh bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer repeats: under 10 minutes on two cores")
    add("--device", default="auto", metavar="auto|cpu|cuda", help="where models are computed")
    add("--only", metavar="ROW", nargs="+", action="extend", default=[],
        help="only these rows, for example lstm-beat or open; nothing is written")  # fmt: skip
    add("--audio", type=Path, metavar="DIR", help="compare the features of every file there, too")
    add("--whole-lab", action="store_true", help="run the whole lab anew and time it")
    add("--scratch", type=Path, metavar="DIR", help="a disk with room (default: the cache folder)")
    add("--output", type=Path, metavar="DIR", help="where to write (default: benchmarks/results)")
    add("--list", action="store_true", help="show the rows that --only knows")
    add("--markdown", action="store_true", help="print the stored table as Markdown, and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        options = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
        return _run(options)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    groups = pick_groups(all_groups(), options.only)
    if options.list:
        print("\n".join(group.name for group in groups))
        return MET
    device = str(pick_device(options.device))
    if not device.startswith(("cpu", "cuda")):
        raise LabError(f"--device {device}: the benchmark knows auto, cpu and cuda")
    mode = "quick" if options.quick else "full"
    machine = this_machine(device_name(device), mode)
    output = options.output or RESULTS
    if options.markdown:
        print(markdown_table(output / f"{file_stem(machine.device)}.csv"), end="")
        return MET
    if options.audio and not options.audio.is_dir():
        raise LabError(f"--audio {options.audio}: no such folder; give one with audio files")
    console = make_console()
    console.print(machine.text(), highlight=False)
    with scratch_folder(options.scratch) as scratch:
        console.print(
            f"works in {scratch}; all rows need about {DISK_GIB[mode]} GiB of disk there and "
            f"{MEMORY_GIB} GiB of memory",
            highlight=False,
            soft_wrap=True,
        )
        context = Context(
            options.quick,
            device,
            scratch,
            options.audio,
            options.whole_lab,
            say=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
        rows, failed = measure(groups, context)
    return _report(console, rows, failed, machine, None if options.only else output, options.output)


def _report(
    console: Console,
    rows: Sequence[Row],
    failed: Sequence[str],
    machine: Machine,
    default: Path | None,
    wanted: Path | None,
) -> int:
    print_rows(console, rows)
    folder = wanted or default
    if folder is not None:
        for path in write_results(rows, machine, folder):
            console.print(f"written: {path}", highlight=False, soft_wrap=True)
    missed = [row.name for row in rows if row.met == NO]
    if missed:
        console.print(f"not met: {', '.join(missed)}", highlight=False, soft_wrap=True)
    if failed:
        console.print(f"broke down: {', '.join(failed)}", highlight=False, soft_wrap=True)
    return NOT_MET if missed or failed else MET


def make_console() -> Console:
    """A console for standard output; wide where it is no terminal, so that no table is folded."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def device_name(device: str) -> str:
    """`cpu`, or what the CUDA device calls itself."""
    if not device.startswith("cuda"):
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def _interrupt(number: int, frame: object) -> NoReturn:
    """Let a polite kill end as cleanly as Ctrl-C does: gigabytes are to be removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
