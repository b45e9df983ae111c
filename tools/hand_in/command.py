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

from helpers.machinery.files import LabError, printable, project_root, read_json, write_atomically
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
README = Path(__file__).with_name("readme.txt")
STUB = README.with_name("left_out.txt")
LEFT_OUT = re.compile(r"demo_music/|helpers/notebook/explorers\.")  # music synthesis, widgets
_CELLS = re.compile(r"^(?=# %%)", re.MULTILINE)
_ANSWER = re.compile(r'# %% \[markdown\].*"solution"')


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
    problems: list[str] = []
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
    problems += answer_problems(my_report(), edition, told)
    problems += code_problems(lab.root)
    if stale := stale_results(run, lab):
        problems += [*stale[:-1], f"{stale[-1]}; bring all up to date with {command_of(run)}"]
    if not problems:
        about = note(lab, run.name, summary, members)
        contents = contents_of(lab.root, report, about, told, edition, options.demo_anyway)
        packed = pack(contents)
        if (size := len(packed) / 2**20) <= MOST_MIB:
            path = run / f"{'_'.join([edition.zip, *(member.number for member in members)])}.zip"
            write_atomically(path, packed)
            if not told:
                print(f"{CHANGES} is empty: the code is the kit's, unchanged; yours is the report")
            n_code = sum(name.endswith((".py", ".ipynb")) for name in contents)
            notes = f"{NOTE}, {CHANGES}, {LABELS}"
            print(f"{path}: {size:.2f} MiB, {REPORT}, {n_code} files of code, {notes}")
            return EXIT_DONE
        problems = [
            f"the zip would have {size:.1f} MiB, more than {MOST_MIB}; make the report smaller"
        ]
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
    add("--report", metavar="FILE", type=Path, help="a PDF of your own (default: the run's)")
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
        where = f"{line}: " if line else ""
        grouped.setdefault(file.removeprefix(f"{root}/"), []).append(f"    {where}{what}")
    for file, lines in grouped.items():
        yield from (f"  {file}", *lines)


def demo_problems(summary: Mapping[str, Any]) -> Iterator[str]:
    """Why a run's numbers say nothing about the lab's data, a line each."""
    anyway = "or pack it all the same with --demo-anyway"
    if summary["data"]["demo"]:
        yield f"the demo set is no data of the lab; ./run_all.sh --data DIR takes those, {anyway}"
    if summary["profile"] in ("demo", "smoke"):
        yield f"profile {summary['profile']!r} is for trying; take --profile full, {anyway}"


def report_problems(
    report: Path, members: Sequence[Member], summary: Mapping[str, Any], edition: Edition
) -> Iterator[str]:
    """Why a file is no report of these members on this run in PDF, a line each."""
    if not report.is_file():
        yield (
            f"{report}: there is no report; make it with ./run_all.sh report, or name your own "
            "with --report FILE.pdf"
        )
        return
    content = report.read_bytes()
    if not content.startswith(b"%PDF-"):
        yield f"{report}: no PDF; give the report as PDF, not as notebook or HTML"
        return
    if b"%%EOF" not in content[-1024:]:
        yield f"{report}: the PDF is cut short; make it again"
    beside = report.with_suffix(".md")  # made with the PDF, and easier to read
    if not beside.is_file():  # a report of their own
        return
    try:
        front = yaml.safe_load(beside.read_text(encoding="utf-8").partition("\n---")[0])
        authors = sorted(str(name).replace("\\", "") for name in front["author"])
        data, year = front["made"]["data"], front["made"]["edition"]
    except (UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        # It may hold the kit's own answers.
        yield f"{report}: was made with another version of the kit; make it again"
        return
    wanted = [f"{member.name} ({member.number})" for member in members]
    if wanted and authors != sorted(wanted):
        yield (
            f"{report}: names {', '.join(authors)} on its first page, not {', '.join(wanted)}; "
            "make it again with these --members"
        )
    if data != summary["data"]["fingerprint"]:
        yield f"{report}: is of other data than the run; make it again"
    if year != edition.name:
        yield f"{report}: is of another edition; make it with --edition {edition.name}"


def age_problems(report: Path, run: Path, lab: Lab) -> Iterator[str]:
    """What is newer than the run's report, and so not in it, as a line."""
    made = report.stat().st_mtime
    results = [Paths(run, name).executed for name in lab.names]
    answers = sorted(my_report().rglob("*"))
    files = filter(Path.is_file, (*results, *answers))
    if newer := [path.name for path in files if path.stat().st_mtime > made]:
        first = ", ".join(newer[:3]) + (" and others" if len(newer) > 3 else "")
        yield f"{report}: is older than {first}; make it again with ./run_all.sh report"


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
    made_with = (
        f'The results of the report: run "{run}", profile {summary["profile"]}, data with '
        f"the fingerprint {summary['data']['fingerprint']}, device {summary['device']}, Python "
        f"{summary['python']}, {versions}."
    )
    said = README.read_text(encoding="utf-8").format(
        members="; ".join(f"{member.name} ({member.number})" for member in members),
        profile=summary["profile"],
        scripts="\n".join(f"    python py/{name}.py" for name in lab.names),
        made_with=textwrap.fill(made_with, width=88),
    )
    return said + (lab.root / "LICENSE").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
