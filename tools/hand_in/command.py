"""`./run_all.sh hand-in`: checks the handout's rules, and packs report and code into one zip."""

from __future__ import annotations

import argparse
import io
import json
import sys
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from helpers.machinery.files import LabError, write_atomically
from tools.checks import pairs
from tools.common.command_line import EXIT_DONE, EXIT_FAILED, Parser, run_command
from tools.common.notebooks import Lab, shared_files
from tools.common.run_folder import SUMMARY, Paths, command_of, find_run
from tools.hand_in.commented import uncommented
from tools.report.members import Member, parse_members
from tools.report.members import add_option as add_members
from tools.report.prompts import my_report, unanswered
from tools.run.results import stale_results

MOST_MIB = 25
REPORT, NOTE = "report.pdf", "README.txt"


def main(arguments: Sequence[str], lab: Lab | None = None) -> int:
    """Run the command line; return the exit code: 1 when a rule is broken, and nothing is packed.

    Raises LabError for wrong use.
    """
    lab = lab or Lab()
    options = _parser().parse_args(list(arguments))
    run = find_run(options.run)
    report = options.report or run / "report" / REPORT
    members: list[Member] = []
    problems = []
    try:
        members = parse_members(options.members)
    except LabError as error:
        problems.append(str(error))  # told with all else that is wrong
    problems += report_problems(report, members)
    if options.report is None and report.is_file():
        problems += age_problems(report, run, lab)
    problems += prompt_problems(my_report())
    problems += code_problems(lab.root)
    if stale := stale_results(run, lab):
        problems += [*stale[:-1], f"{stale[-1]}; bring all up to date with {command_of(run)}"]
    if not problems:
        problems = _write_zip(lab, run, report, members)
    if not problems:
        return EXIT_DONE
    print(f"not packed; {len(problems)} to mend:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="./run_all.sh hand-in",
        description="Check the handout's rules, and pack the report and the commented code into "
        "patrec1_<id1>[_<id2>].zip in the run's folder.",
        allow_abbrev=False,
    )
    add_members(parser)
    parser.add_argument("--run", metavar="NAME", help="a run below runs/ (default: the newest)")
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="your PDF (default: report/report.pdf of the run)",
    )
    return parser


# ---- the rules ---------------------------------------------------------------------------------


def report_problems(report: Path, members: Sequence[Member]) -> list[str]:
    """Why a file is no report of these members in PDF, a line each."""
    if not report.is_file():
        return [
            f"{report}: there is no report; make it with ./run_all.sh report, or name your own "
            "with --report FILE.pdf"
        ]
    content = report.read_bytes()
    if not content.startswith(b"%PDF-"):
        return [f"{report}: no PDF; give the report as PDF, not as notebook or HTML"]
    if b"%%EOF" not in content[-1024:]:
        return [f"{report}: the PDF is cut short; make it again"]
    authors = _authors(report)
    wanted = [f"{member.name} ({member.number})" for member in members]
    if authors and wanted and sorted(authors) != sorted(wanted):
        return [
            f"{report}: names {', '.join(authors)} on its first page, not {', '.join(wanted)}; "
            "make it again with these --members"
        ]
    return []


def _authors(report: Path) -> list[str]:
    """Who stands on the first page of a report of ./run_all.sh report; of others, nobody."""
    beside = report.with_suffix(".md")  # made with the PDF, and easier to read
    if not beside.is_file():
        return []
    front = beside.read_text(encoding="utf-8").partition("\n---")[0]
    return [author.replace("\\", "") for author in yaml.safe_load(front)["author"]]


def age_problems(report: Path, run: Path, lab: Lab) -> list[str]:
    """What is newer than the run's report, and so not in it, a line each."""
    made = report.stat().st_mtime
    results = [Paths(run, name).executed for name in lab.names]
    answers = sorted(my_report().rglob("*"))
    newer = [
        path.name for path in (*results, *answers) if path.is_file() and path.stat().st_mtime > made
    ]
    if not newer:
        return []
    return [
        f"{report}: is older than {', '.join(newer[:3])}{' and others' if len(newer) > 3 else ''}; "
        "make it again with ./run_all.sh report"
    ]


def prompt_problems(folder: Path) -> list[str]:
    """The prompts that the members have not answered yet, a line each."""
    if not folder.is_dir():
        return [f"{folder}: your own text is missing; ./run_all.sh report makes the files for it"]
    return [f"{prompt}: not answered" for prompt in unanswered(folder)]


def code_problems(root: Path) -> list[str]:
    """What in the code that is handed in, or in the notebooks, breaks a rule, a line each."""
    scripts = [path for path in code_files(root) if path.suffix == ".py"]
    found = [line for p in scripts for line in uncommented(p, p.relative_to(root).as_posix())]
    return found + [
        f"py/{name}.py and notebooks/{name}.ipynb differ ({difference}); python -m "
        f"tools.checks.pairs --sync takes the .py, `jupytext --sync py/{name}.py` the newer one"
        for name, difference in pairs.check(root).items()
    ]


def code_files(root: Path) -> list[Path]:
    """The code that is handed in: the scripts, and what they need of the kit."""
    return [*sorted(root.glob("py/*.py")), *shared_files(root)]


# ---- the zip -----------------------------------------------------------------------------------


def _write_zip(lab: Lab, run: Path, report: Path, members: Sequence[Member]) -> list[str]:
    """Write the zip under the exact name that the handout asks for; or why it must not be."""
    contents = contents_of(lab, run, report, members)
    packed = pack(contents)
    size = len(packed) / 2**20
    if size > MOST_MIB:
        return [f"the zip would have {size:.1f} MiB, more than {MOST_MIB}; make {report} smaller"]
    path = run / f"{'_'.join(['patrec1', *(member.number for member in members)])}.zip"
    write_atomically(path, packed)
    n_code = len(contents.keys() - {REPORT, NOTE})
    print(f"{path}: {size:.2f} MiB, {REPORT}, {n_code} files of code, {NOTE}")
    return []


def contents_of(lab: Lab, run: Path, report: Path, members: Sequence[Member]) -> dict[str, bytes]:
    """Name in the zip -> content: the report, the code that the scripts need, and a note."""
    contents = {REPORT: report.read_bytes(), NOTE: note(lab, run, members).encode()}
    for path in code_files(lab.root):
        contents[path.relative_to(lab.root).as_posix()] = path.read_bytes()
    return contents


def pack(contents: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            archive.writestr(name, contents[name])
    return packed.getvalue()


def note(lab: Lab, run: Path, members: Sequence[Member]) -> str:
    """How to run the code, what the report's results were made with, and the kit's licence."""
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    made_with = textwrap.fill(
        f'The results of the report: run "{run.name}", profile {summary["profile"]}, data with the '
        f"fingerprint {summary['data']['fingerprint']}, device {summary['device']}, Python "
        f"{summary['python']}, {versions}.",
        width=88,
    )
    scripts = "\n".join(f"    python py/{name}.py" for name in lab.names)
    return f"""Music classification from spectrograms: report and code

Members: {"; ".join(f"{member.name} ({member.number})" for member in members)}

report.pdf  the report
py/         a commented script per step, in the order below
helpers/    what the scripts share
demo_music/ the music of the demo set

To run the code, with Python 3.11 to 3.13, from this folder:

    export PYTHONPATH="$PWD"           # else an installed `helpers` would be taken
    export MUSICLAB_DATA=/path/to/data # the folder that holds fma_genre_spectrograms
    export MUSICLAB_PROFILE={summary["profile"]}       # sizes and epochs
{scripts}

The first one says which packages are missing. Without MUSICLAB_DATA it builds a small set of
synthesised music. Results go to runs/interactive/ below this folder; a later script reads what
earlier ones left there.

{made_with}

The code is based on the course kit "musiclab", which the report cites; its licence:

{(lab.root / "LICENSE").read_text(encoding="utf-8")}"""


if __name__ == "__main__":
    sys.exit(run_command(main))
