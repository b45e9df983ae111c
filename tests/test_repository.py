"""What holds for the repository as a whole: its files, links, scripts, and the order of modules."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools.common.notebooks import NOTEBOOKS as LAB_NOTEBOOKS
from tools.run.command import COMMANDS
from tools.run.command import main as run_main

ROOT = Path(__file__).resolve().parents[1]
HELPERS = sorted((ROOT / "helpers").rglob("*.py")) + sorted((ROOT / "demo_music").glob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))
SCRIPTS = ("run_all.sh", "run_tests.sh", ".ci/run")
MEBIBYTE = 2**20

NOTEBOOKS = (
    "00_setup",
    "01_visualization",
    "04_histograms",
    "05_lstm",
    "06_metrics",
    "07_cnn",
    "08_regression",
    "09_transfer",
    "10_multitask",
    "11_kaggle_submission",
)

# Every link of the two handouts, split where a line would be too long.
TOWARDS = "https://towardsdatascience.com/"
KAGGLE = "https://www.kaggle.com/c/"
LINKS = (
    f"{KAGGLE}multitask-affective-music-lab-2022/overview",
    f"{KAGGLE}multitask-affective-music-lab-2022/data",
    f"{KAGGLE}multitask-affective-music-lab-2022/kernels",
    f"{KAGGLE}multitask-music-classification-2020/overview",
    f"{KAGGLE}multitask-music-classification-2020/data",
    f"{KAGGLE}multitask-music-classification-2020/kernels",
    "geoparslp/patreco3-multitask-affective-music",
    "https://github.com/slp-ntua/patrec-labs/tree/main/lab3",
    "https://gist.github.com/efthymisgeo/42f1936d417c5a85209069339333bca8",
    "https://www.coursera.org/lecture/machine-learning-projects/transfer-learning-WNPap",
    f"{TOWARDS}a-comprehensive-hands-on-guide-to-transfer-learning-with-real-world-applications-"
    "in-deep-learning-212bf3b2f27a",
    "http://papers.nips.cc/paper/5347-how-transferable-are-features-in-deep-neural-networks.pdf",
    "http://ruder.io/multi-task/",
    "https://arxiv.org/pdf/1706.05137.pdf",
    f"{TOWARDS}multi-class-metrics-made-simple-part-ii-the-f1-score-ebe8b2c2ca1",
    "https://becominghuman.ai/how-to-evaluate-the-machine-learning-models-part-3-ff0dd3b76f9",
    "https://medium.com/@george.drakos62/how-to-select-the-right-evaluation-metric-for-machine-"
    "learning-models-part-3-classification-3eac420ec991",
    f"{TOWARDS}metrics-for-imbalanced-classification-41c71549bbb5",
    "https://twitter.com/karpathy/status/1013244313327681536",
    "http://karpathy.github.io/2019/04/25/recipe/",
    "https://www.reddit.com/r/MachineLearning/comments/5pidk2/"
    "d_is_overfitting_on_a_very_small_data_set_a/",
    "https://colah.github.io/posts/2015-08-Understanding-LSTMs/",
    "https://colah.github.io/posts/2014-07-Understanding-Convolutions/",
    "https://ujjwalkarn.me/2016/08/11/intuitive-explanation-convnets/",
    "https://blog.xrds.acm.org/2016/06/convolutional-neural-networks-cnns-illustrated-explanation/",
    "https://cs.stanford.edu/people/karpathy/convnetjs/",
)


@cache
def project_files() -> tuple[Path, ...]:
    """The files that are committed or would be: what git knows and does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing is committed from here")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [name for name in listed.stdout.split("\0") if name]
    return tuple(path for name in names if (path := ROOT / name).is_file())


def lines_with(pattern: str, files: Iterator[Path]) -> list[str]:
    """`file:line: text` of every line that matches, in those of the files that are text."""
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, start=1)
            if re.search(pattern, line)
        ]
    return found


# ---- files -------------------------------------------------------------------------------------


def test_no_file_is_large() -> None:
    large = [str(path) for path in project_files() if path.stat().st_size > MEBIBYTE]
    assert large == []


def test_no_path_of_one_machine_is_committed() -> None:
    folders = "|".join(("home", "Users", "root", "work", "opt"))
    assert lines_with(rf"(?<![\w.)}}\]>-])/({folders})/\w", iter(project_files())) == []


def test_no_package_index_is_named() -> None:
    hosts = "|".join(("pypi" + r"\.org", "python" + "hosted", "anaconda" + r"\.(org|com)"))
    assert lines_with(hosts, iter(project_files())) == []


def test_nothing_is_left_unfinished() -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"))
    parts = {"helpers", "tools", "py", "notebooks", "run_all.sh", "run_tests.sh"}
    files = (path for path in project_files() if path.relative_to(ROOT).parts[0] in parts)
    assert lines_with(rf"\b({words})\b", files) == []


def test_what_is_written_at_run_time_is_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    names = [".venv/x", ".cache/x", "runs/x", "data/x", "my_report/x", "helpers/__pycache__/x.pyc"]
    done = subprocess.run(
        ["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == names


def test_the_licence_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n\nCopyright (c) 20")
    assert 'THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND' in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_of_the_lab_is_there_twice(name: str) -> None:
    assert (ROOT / "py" / f"{name}.py").is_file()
    assert (ROOT / "notebooks" / f"{name}.ipynb").is_file()


@pytest.mark.parametrize("link", LINKS)
def test_every_link_of_the_handouts_is_in_data_links(link: str) -> None:
    text = (ROOT / "data_links.md").read_text(encoding="utf-8")
    assert re.search(re.escape(link) + r"(?![\w/-])", text), f"{link} is not in data_links.md"


def test_links_inside_the_repository_lead_somewhere() -> None:
    broken = []
    for page in (path for path in project_files() if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


# ---- scripts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK), f"chmod +x {name}"
    assert (ROOT / name).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("name", [*SCRIPTS, "tools/setup/setup.sh", "tools/setup/lock.sh"])
def test_scripts_are_valid_bash(name: str) -> None:
    done = subprocess.run(
        ["bash", "-n", str(ROOT / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_scripts_of_the_set_up_avoid_what_bash_3_does_not_know() -> None:
    newer = r"declare -A|local -n|\bmapfile\b|\breadarray\b|\$\{\w+(,,|\^\^)|&>>|\bwait -n\b"
    assert lines_with(newer, (ROOT / name for name in (*SCRIPTS, "tools/setup/setup.sh"))) == []


def test_ruff_has_nothing_to_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_code_in_notebooks_is_at_most_100_wide() -> None:
    """ruff leaves the width of py/ to us, because lines of prose may be wider there."""
    wide = lines_with("^(?!#).{101,}", iter((ROOT / "py").glob("*.py")))
    assert wide == []


# ---- helpers -----------------------------------------------------------------------------------


def test_imports_run_down() -> None:
    """The floors and rooms are drawn in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import *; exit(lint_imports(no_cache=True))"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_the_kit_is_imported_by_name_at_run_time() -> None:
    files = (path for path in project_files() if path.suffix == ".py" and path not in TESTS)
    found = lines_with(r"import_module\(|__import__\(", files)
    assert [line for line in found if not line.startswith("py/00_setup.py")] == []


def test_the_students_floor_is_small_and_says_who_uses_it() -> None:
    lab = sorted((ROOT / "helpers").glob("*.py"))
    n_lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in lab)
    n_figures = len((ROOT / "helpers" / "plots.py").read_text(encoding="utf-8").splitlines())
    assert len(lab) <= 10 and n_lines - n_figures <= 2300
    for path in lab[1:]:
        first = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
        named = re.search(r"Used by ([^;.]*)", first)
        assert named, f"{path.name}: its first line does not say which notebooks use it"
        users = [name[:2] for name in NOTEBOOKS if path.stem in imported_by(name)]
        said = re.findall(r"\d\d", named[1]) or [name[:2] for name in NOTEBOOKS]
        assert users == said, f"{path.name}: used by {', '.join(users)}"


def imported_by(notebook: str) -> set[str]:
    """The modules of `helpers` itself that a notebook imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / "py" / f"{notebook}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
            found.add(node.module.split(".")[1])
    return found


def test_every_public_name_of_the_students_floor_is_used_by_a_notebook() -> None:
    """By name, or as the type of what such a name gives; figures also by an explorer."""
    notebooks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "py").glob("*.py"))
    explorers = (ROOT / "helpers" / "notebook" / "explorers.py").read_text(encoding="utf-8")
    unused = []
    for path in (ROOT / "helpers").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        users = notebooks + (explorers if path.stem == "plots" else "")
        for node in public(ast.parse(text).body, (*FUNCTION, ast.ClassDef)):
            as_type = rf"-> [^:]*\b{node.name}\b"
            if not re.search(rf"\b{node.name}\b", users) and not re.search(as_type, text):
                unused.append(f"{path.stem}.{node.name}")
    assert unused == []


def public(nodes: list[ast.stmt], kinds: tuple[type, ...]) -> Iterator[ast.stmt]:
    """Definitions of these kinds whose name does not begin with an underscore."""
    return (n for n in nodes if isinstance(n, kinds) and not n.name.startswith("_"))


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def missing_annotations(function: ast.FunctionDef) -> list[str]:
    """The arguments of a function without a type, and `return`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [a for a in (arguments.vararg, arguments.kwarg) if a]
    missing = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
    return missing + ([] if function.returns else ["return"])


@pytest.mark.parametrize("path", HELPERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_public_is_documented_and_typed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    faults = []
    for node in public(tree.body, (*FUNCTION, ast.ClassDef)):
        if not ast.get_docstring(node):
            faults.append(f"{node.name} has no docstring")
        methods = public(node.body, FUNCTION) if isinstance(node, ast.ClassDef) else [node]
        for function in methods:
            for name in missing_annotations(function):
                faults.append(f"{function.name}: no type for {name}")
    assert faults == []


def test_every_command_of_run_all_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    script = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^  ([a-z-]+)\) command=", script, re.MULTILINE)) == COMMANDS
    for module in re.findall(r"command=(\S+)", script):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    with pytest.raises(SystemExit):
        run_main(["--help"])
    text = capsys.readouterr().out
    assert all(f"./run_all.sh {command}" in text for command in COMMANDS)


def test_the_runner_runs_the_ten_notebooks_of_the_lab() -> None:
    assert tuple(notebook.name for notebook in LAB_NOTEBOOKS) == NOTEBOOKS
