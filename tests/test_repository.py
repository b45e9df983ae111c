"""What holds for the repository as a whole: its files, links, scripts, and the order of modules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.common.notebooks import ROOT, Lab
from tools.run.command import COMMANDS
from tools.run.command import main as run_main


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the repository's folder."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """The files that are committed or would be: what git knows and does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]


# ---- files -------------------------------------------------------------------------------------


def test_no_file_is_large(project_files):
    assert [str(path) for path in project_files if path.stat().st_size > 2**20] == []


PACKAGES = "helpers demo_music tools benchmarks py :!py/00_setup.py"
# Writing in a folder or to a log that is no result, or with a name of its own that comes last.
WRITING = "helpers demo_music tools py :!helpers/machinery/files.py :!helpers/machinery/store.py "
WRITING += ":!helpers/machinery/many_gpus.py :!tools/report/typeset.py :!tools/run/processes.py"
SHELL = "*.sh .ci :!tools/setup/lock.sh"


@pytest.mark.parametrize(
    ("what", "below", "pattern"),
    [
        ("a path of one machine", ".",
         "(^|[^])}>A-Za-z0-9_.-])/(home|Users|root|work|opt)/[A-Za-z0-9_]"),
        ("a package index", ".", "pypi[.]org|python[h]osted|anaconda[.](org|com)"),
        ("an import by name, which import-linter does not see", PACKAGES,
         r"import_module\(|__import__\("),
        ("a file that a kill would leave half written: use write_atomically", WRITING,
         "[.]write_(text|bytes)[(]|open[(][^)]*[\"'][wx]b?[\"']"),
        ("something that bash 3 does not know", SHELL,
         r"declare -A|local -n|mapfile|readarray|wait -n|[$][{][A-Za-z_]+(,,|\^\^)|&>>"),
    ],
)  # fmt: skip
def test_nowhere_stands(what, below, pattern, project_files):
    found = run("git", "grep", "--untracked", "-InE", pattern, "--", *below.split())
    assert found.returncode == 1, f"{what}:\n{found.stdout}{found.stderr}"


def test_links_inside_the_repository_lead_somewhere(project_files):
    broken = []
    for page in (path for path in project_files if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


# ---- scripts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run_all.sh", "run_tests.sh", ".ci/run"])
def test_scripts_can_be_run(name):
    assert os.access(ROOT / name, os.X_OK), f"chmod +x {name}"


def test_ruff_has_nothing_to_say():
    """Style, docstrings, types: pyproject.toml says what it asks for."""
    done = run(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_run_down():
    """The floors and rooms are drawn in pyproject.toml."""
    asked = "from importlinter.cli import *; exit(lint_imports(no_cache=True))"
    done = run(sys.executable, "-c", asked)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- the students' floor -----------------------------------------------------------------------


def test_the_students_floor_is_small_and_says_who_uses_it():
    modules = {path: path.read_text(encoding="utf-8") for path in (ROOT / "helpers").glob("*.py")}
    read = [text for path, text in modules.items() if path.stem != "plots"]  # those are looked up
    # 2,300 lines, 220 for the hand-made features and the machines on them, 180 for the AST,
    # 30 for classes, artists and sound of data of one's own.
    assert len(modules) <= 11 and sum(len(text.splitlines()) for text in read) <= 2730
    scripts = {
        name.partition("_")[0]: (ROOT / "py" / f"{name}.py").read_text("utf-8")
        for name in Lab().names
    }
    line = re.compile(r"^from helpers\b[^(\n]*(?:\([^)]*\))?", re.M)
    imported = {n: line.findall(text) for n, text in scripts.items()}
    for path, text in modules.items():
        if path.stem != "__init__":
            named = re.search(r"Used by ([^;.]*)", text.splitlines()[0])
            assert named, f"{path.name}: its first line does not say which notebooks use it"
            users = [
                n for n, lines in imported.items() if re.search(rf"\b{path.stem}\b", str(lines))
            ]
            said = re.findall(r"\d\d[a-z]?", named[1]) or list(imported)
            assert users == said, f"{path.name}: used by {', '.join(users)}"


def test_every_command_of_run_all_is_in_its_help(capsys):
    script = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^  ([a-z-]+)\) command=", script, re.MULTILINE)) == COMMANDS
    for module in re.findall(r"command=(\S+)", script):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    with pytest.raises(SystemExit):
        run_main(["--help"])
    text = capsys.readouterr().out
    assert all(f"./run_all.sh {command}" in text for command in COMMANDS)
