"""`./run_all.sh hand-in`: checks the handout's rules, and packs report and code into one zip."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jupytext
import yaml

from helpers.machinery.files import (
    LabError,
    printable,
    project_root,
    read_json,
    write_atomically,
)
from tools.checks import pairs
from tools.checks.labels import label_headings, read_labels
from tools.common.command_line import EXIT_DONE, EXIT_FAILED, Parser, run_command
from tools.common.members import Member, parse_members
from tools.common.members import add_option as add_members
from tools.common.notebooks import Lab, shared_files
from tools.common.run_folder import SUMMARY, Paths, command_of, find_run
from tools.hand_in.answers import answer_problems
from tools.hand_in.commented import uncommented
from tools.report.editions import DEFAULT, EDITIONS, Edition, edition_of
from tools.report.prompts import my_report
from tools.run.results import stale_results

MOST_MIB = 10
REPORT, NOTE = "report.pdf", "README.txt"
CHANGES, LABELS = "CHANGES.diff", "LABELS.csv"
PACKED = ("py", "helpers", "demo_music")
STUB = Path(__file__).with_name("left_out.txt")
LEFT_OUT = re.compile(r"demo_music/|helpers/notebook/explorers\.")  # music synthesis, widgets


def main(arguments: Sequence[str], lab: Lab | None = None) -> int:
    """Run the command line; return the exit code: 1 when a rule is broken, and nothing is packed.

    Raises LabError for wrong use.
    """
    lab = lab or Lab()
    options = _parser().parse_args(list(arguments))
    edition = edition_of(options.edition)
    run = find_run(options.run)
    report = options.report or run / "report" / REPORT
    members: list[Member] = []
    problems = []
    try:
        members = parse_members(options.members)
    except LabError as error:
        problems.append(f"--members: {error}")  # told with all else that is wrong
    summary = read_json(run / SUMMARY)  # which `find_run` has looked at
    problems += [] if options.demo_anyway else demo_problems(summary)
    problems += report_problems(report, members, summary, edition)
    if options.report is None and report.is_file():
        problems += age_problems(report, run, lab)
    told = changes(lab.root, options.kit)
    problems += answer_problems(my_report(), report, edition, told)
    problems += code_problems(lab.root)
    if stale := stale_results(run, lab):
        problems += [*stale[:-1], f"{stale[-1]}; bring all up to date with {command_of(run)}"]
    if not problems:
        if not told:
            print(f"{CHANGES} is empty: the code is the kit's, unchanged; yours is the report")
        about = note(lab, run.name, summary, members)
        contents = contents_of(lab.root, report, about, told, edition, options.demo_anyway)
        problems = _write_zip(contents, run, members, edition)
    if not problems:
        return EXIT_DONE
    print(f"not packed; {len(problems)} to mend:", file=sys.stderr)
    print(*map(printable, _by_file(problems, project_root())), sep="\n", file=sys.stderr)
    return EXIT_FAILED


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh hand-in",
        description="Check the handout's rules, and pack the report and the commented code into "
        "patrec1_<id1>[_<id2>].zip in the run's folder.",
    )
    add_members(parser)
    add = parser.add_argument
    add("--run", metavar="NAME", help="a run below runs/ (default: the newest)")
    add(
        "--report",
        metavar="FILE",
        type=Path,
        help="your PDF (default: report/report.pdf of the run)",
    )
    add("--edition", choices=[*EDITIONS], default=DEFAULT, help="of the handout, by its year")
    add("--demo-anyway", action="store_true", help="pack a run on the demo set or profile, too")
    add("--kit", metavar="COMMIT", help="the kit's commit that your changes are told against")
    return parser


def _by_file(problems: Sequence[str], root: Path) -> Iterator[str]:
    """The problems below the file that each is in, in the order of the files' first ones."""
    grouped: dict[str, list[str]] = {}
    for problem in problems:
        found = re.match(r"(/?[^:\n]*\.\w+|--\w+)(?::(\d+))?: (.+)", problem, re.DOTALL)
        file, line, what = found.groups() if found else ("the run", None, problem)
        grouped.setdefault(file.removeprefix(f"{root}/"), []).append(f"{line or '-'}: {what}")
    for file, lines in grouped.items():
        yield from (f"  {file}", *(f"    {line.removeprefix('-: ')}" for line in lines))


# ---- the rules ---------------------------------------------------------------------------------


def demo_problems(summary: Mapping[str, Any]) -> list[str]:
    """Why a run's numbers say nothing about the lab's data, a line each."""
    found = []
    if summary["data"]["demo"]:
        found.append("the demo set is no data of the lab; ./run_all.sh --data DIR takes those")
    if summary["profile"] in ("demo", "smoke"):
        found.append(f"profile {summary['profile']!r} is for trying; take --profile full")
    return [f"{line}, or pack it all the same with --demo-anyway" for line in found]


def report_problems(
    report: Path, members: Sequence[Member], summary: Mapping[str, Any], edition: Edition
) -> list[str]:
    """Why a file is no report of these members on this run in PDF, a line each."""
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
    front = _front(report)
    named = front.get("author")
    authors = [str(n).replace("\\", "") for n in (named if isinstance(named, list) else [])]
    made = front.get("made")
    wanted = [f"{member.name} ({member.number})" for member in members]
    found = []
    if authors and wanted and sorted(authors) != sorted(wanted):
        found.append(
            f"{report}: names {', '.join(authors)} on its first page, not {', '.join(wanted)}; "
            "make it again with these --members"
        )
    if not front:  # of their own
        return found
    if not isinstance(made, dict):  # and may hold the kit's own answers
        return [*found, f"{report}: was made with another version of the kit; make it again"]
    if made.get("data") != summary["data"]["fingerprint"]:
        found.append(f"{report}: is of other data than the run; make it again")
    if made.get("edition") != edition.name:
        found.append(f"{report}: is of another edition; make it with --edition {edition.name}")
    return found


def _front(report: Path) -> dict[str, Any]:
    """What a report of ./run_all.sh report says of itself; nothing of any other."""
    beside = report.with_suffix(".md")  # made with the PDF, and easier to read
    if not beside.is_file():
        return {}
    try:
        front = yaml.safe_load(beside.read_text(encoding="utf-8").partition("\n---")[0])
    except (UnicodeDecodeError, yaml.YAMLError):
        front = None
    return front if isinstance(front, dict) else {"author": []}  # it is not as it was made


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


def code_problems(root: Path) -> list[str]:
    """What in the code that is handed in, or in the notebooks, breaks a rule, a line each."""
    scripts = [path for path in code_files(root) if path.suffix == ".py"]
    found = [line for p in scripts for line in uncommented(p, p.relative_to(root).as_posix())]
    return found + [
        f"py/{name}.py: notebooks/{name}.ipynb differs ({difference}); python -m "
        f"tools.checks.pairs --sync takes the .py, `jupytext --sync py/{name}.py` the newer one"
        for name, difference in pairs.check(root).items()
    ]


def code_files(root: Path) -> list[Path]:
    """The code that is handed in: the scripts, and what they need of the kit."""
    return [*sorted(root.glob("py/[!.]*.py")), *shared_files(root)]


# ---- the zip -----------------------------------------------------------------------------------


def _write_zip(
    contents: dict[str, bytes], run: Path, members: Sequence[Member], edition: Edition
) -> list[str]:
    """Write the zip under the exact name that the handout asks for; or why it must not be."""
    packed = pack(contents)
    size = len(packed) / 2**20
    if size > MOST_MIB:
        return [f"the zip would have {size:.1f} MiB, more than {MOST_MIB}; make the report smaller"]
    path = run / f"{'_'.join([edition.zip, *(member.number for member in members)])}.zip"
    write_atomically(path, packed)
    n_code = sum(name.endswith((".py", ".ipynb")) for name in contents)
    print(f"{path}: {size:.2f} MiB, {REPORT}, {n_code} files of code, {NOTE}, {CHANGES}, {LABELS}")
    return []


def changes(root: Path, kit: str | None) -> str:
    """How the code differs from the kit's, as a diff; new files are named.

    `kit` is a commit; without it, what this checkout has in common with where it was cloned from.
    Raises LabError when this checkout has no such commit.
    """
    for name in [kit] if kit else ["upstream/HEAD", "origin/HEAD"]:
        if base := _git(root, "merge-base", "HEAD", name).strip():
            new = _git(root, "ls-files", "--others", "--exclude-standard", "--", *PACKED)
            told = "".join(f"new file: {line}\n" for line in new.splitlines())
            return _git(root, "diff", base, "--", *PACKED) + told
    if kit:
        raise LabError(f"--kit {kit}: no commit of this checkout; give one of `git log`")
    return "unknown: which commit is the kit's? ./run_all.sh hand-in --kit COMMIT says so\n"


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
    except OSError:  # git is not installed
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def contents_of(
    root: Path, report: Path, about: str, told: str, edition: Edition, demo: bool
) -> dict[str, bytes]:
    """Name in the zip -> content: the report, the code, how it differs from the kit, and notes.

    Music synthesis and widgets stay out, but for a hand-in on the demo set.
    """
    code = {}
    for path in code_files(root):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        left_out = LEFT_OUT.match(name) and not demo
        if not (left_out and path.suffix == ".js"):
            code[name] = STUB.read_text(encoding="utf-8") if left_out else text
        if name.startswith("py/"):
            code[name] = without_answers(text, told)
    for name in [name for name in code if edition.notebooks and name.startswith("py/")]:
        whole = jupytext.reads(code[name], fmt="py:percent")
        code[f"notebooks/{Path(name).stem}.ipynb"] = jupytext.writes(whole, fmt="ipynb")
    notes = {NOTE: about, CHANGES: told, LABELS: _places(code, edition)}
    texts = {name: text.encode() for name, text in (code | notes).items()}
    return texts | {REPORT: report.read_bytes()}


def without_answers(script: str, told: str) -> str:
    """A script without the kit's own answers: its Markdown cells tagged `solution`.

    Their headings stay, and so do the lines that the members have added, as the diff tells.
    """
    cells = _CELLS.split(script)
    for number, cell in enumerate(cells):
        if _ANSWER.match(cell):
            mark, *lines = cell.splitlines()
            kept = [own for own in lines if own.startswith("# #") or f"\n+{own}\n" in told]
            said = any(line.strip("# ") for line in kept)
            cells[number] = "\n".join([mark, *kept, "", ""]) if said else ""
    return "".join(cells)


_CELLS = re.compile(r"^(?=# %%)", re.MULTILINE)
_ANSWER = re.compile(r'# %% \[markdown\].*"solution"')


def _places(code: dict[str, str], edition: Edition) -> str:
    """Where each label is answered in the code, as CSV; the report has them as headings."""
    lines = ["label,script,line"]
    for label in read_labels():
        name, script = edition.labels[label.name], f"py/{label.notebook}.py"
        if name and script in code:
            heading = f" · {label_headings().get(label.name, '')}\n"
            above = code[script].partition(heading)[0]
            lines.append(f"{name},{script},{len(above.splitlines())}")
    return "\n".join(lines) + "\n"


def pack(contents: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            archive.writestr(name, contents[name])
    return packed.getvalue()


def note(lab: Lab, run: str, summary: Mapping[str, Any], members: Sequence[Member]) -> str:
    """How to run the code, what the report's results were made with, and the kit's licence."""
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    made_with = textwrap.fill(
        f'The results of the report: run "{run}", profile {summary["profile"]}, data with '
        f"the fingerprint {summary['data']['fingerprint']}, device {summary['device']}, Python "
        f"{summary['python']}, {versions}.",
        width=88,
    )
    scripts = "\n".join(f"    python py/{name}.py" for name in lab.names)
    return f"""Music classification from spectrograms: report and code

Members: {"; ".join(f"{member.name} ({member.number})" for member in members)}

{REPORT}    the report
py/           a commented script per step, in the order below
helpers/      what the scripts share
{LABELS}    where each label of the handout is answered in the code
{CHANGES}  what the members changed in the code of the course kit; all else in the code is the
              kit's, whose own answers (in Markdown) are taken out

To run the code, with Python 3.11 to 3.13, from this folder:

    export PYTHONPATH="$PWD"           # else an installed `helpers` would be taken
    export MUSICLAB_DATA=/path/to/data # the folder that holds fma_genre_spectrograms
    export MUSICLAB_PROFILE={summary["profile"]}       # sizes and epochs
{scripts}

The first one says which packages are missing. Results go to runs/interactive/ below this
folder; a later script reads what earlier ones left there.

{made_with}

The code is based on the course kit "musiclab", which the report cites; its licence:

{(lab.root / "LICENSE").read_text(encoding="utf-8")}"""


if __name__ == "__main__":
    sys.exit(run_command(main))
