"""The zip that is handed in: what is in it, that its code runs, and every rule that stops it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import nbformat
import pytest
import yaml
from nbformat.v4 import new_output

from helpers.machinery.files import LabError
from helpers.notebook.words import Words
from tests.bare_python import bare_python
from tools.checks import pairs
from tools.common.members import Member, parse_members
from tools.common.notebooks import ROOT, Lab
from tools.hand_in import answers
from tools.hand_in import command as hand_in
from tools.hand_in.commented import uncommented
from tools.report import prompts
from tools.report.editions import EDITIONS, edition_of

MEMBERS = ["Μαρία Παπαδοπούλου, 03112345", "Name Two, 03154321"]
ZIP = "patrec1_03112345_03154321.zip"
PDF = b"%PDF-1.7\n%%EOF\n"  # as much of it as the checks look at
ROWS = yaml.safe_load(Path(__file__).with_name("hand_in.yaml").read_text(encoding="utf-8"))
SUMMARY, FRONT, KIT, OWN = (ROWS[name] for name in ("summary", "front", "kit", "own"))
SHORT = "\n".join(f"a{number} = {number}" for number in range(5))
TEXTS = {"KIT": KIT, "OWN": OWN, "SHORT": SHORT, "LONG": f"{SHORT}\na5 = 5"}
SCRIPT = "# %% [markdown]\n# # Title\n\n# %%\n# Says hello.\nprint({!r})\n"


class Small:
    """A lab of two notebooks with a finished run and everything that a hand-in needs."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "runs" / "demo"
        self.report = self.run / "report" / "report.pdf"
        self.lab = Lab(root, {"05_a": (), "06_b": ()})
        for name in self.lab.names:
            self.write(f"py/{name}.py", SCRIPT.format(name))
        self.write("helpers/__init__.py", '"""The helpers."""\n')
        self.write("helpers/profiles/full.yaml", "all: {seed: 0}\n")
        self.write("LICENSE", "MIT License\n")
        self.answer("2021")
        pairs.sync(root)
        self.write("runs/demo/summary.json", json.dumps(SUMMARY))
        (self.run.parent / "latest").symlink_to("demo")
        self.front()
        self.report.write_bytes(PDF)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def front(self, **more: object) -> None:
        self.write("runs/demo/report/report.md", f"---\n{json.dumps(FRONT | more)}\n---\n# y")

    def answer(self, edition: str) -> None:
        """Every prompt of an edition with an answer that is one."""
        prompts.make_missing(self.root / "my_report", Words("en"), edition_of(edition))
        for path in (self.root / "my_report").iterdir():
            path.write_text(re.sub("(?m)^(> .*)$", "\\1\n\nNot done.", path.read_text()))

    def packs(self, *options: str, members: Sequence[str] = MEMBERS) -> bool:
        return hand_in.main(["--members", *members, *options], self.lab) == hand_in.EXIT_DONE

    @property
    def zips(self) -> list[str]:
        return [path.name for path in self.run.glob("*.zip")]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    monkeypatch.setenv("MUSICLAB_HOME", str(tmp_path))
    monkeypatch.setattr(hand_in, "stale_results", lambda run, lab: [])
    return Small(tmp_path)


def refused(small: Small, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The broken rules that are told when nothing is packed."""
    assert not small.packs() and small.zips == []
    first, *lines = capsys.readouterr().err.splitlines()
    problems = [line.strip() for line in lines if line.startswith("    ")]  # below their files
    assert first == f"not packed; {len(problems)} to mend:"
    return problems


# ---- what is packed ----------------------------------------------------------------------------


def test_the_zip_holds_the_report_the_code_a_note_and_nothing_else(small):
    small.write("py/__pycache__/05_a.cpython-311.pyc", "")
    small.write("helpers/notes.md", "mine")
    small.write("py/try.ipynb", "{}")
    small.write("helpers/.ipynb_checkpoints/models-checkpoint.py", "x = 1")
    small.write("runs/demo/pages/05_a.html", "<html>")
    run_and_saved = small.root / "notebooks" / "05_a.ipynb"
    notebook = nbformat.read(run_and_saved, as_version=4)
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text="05_a")]
    nbformat.write(notebook, run_and_saved)
    as_saved = run_and_saved.read_bytes()
    assert small.packs() and small.zips == [ZIP]
    assert run_and_saved.read_bytes() == as_saved, "with its outputs"
    with zipfile.ZipFile(small.run / ZIP) as archive:
        assert archive.namelist() == [
            "CHANGES.diff", "LABELS.csv", "README.txt", "helpers/__init__.py",
            "helpers/profiles/full.yaml", "py/05_a.py", "py/06_b.py", "report.pdf",
        ]  # fmt: skip
        assert archive.read("report.pdf") == small.report.read_bytes()
        note = archive.read("README.txt").decode()
    assert "Μαρία Παπαδοπούλου (03112345); Name Two (03154321)" in note
    assert "7582cc0c8f65" in note and "torch 2.13" in note
    assert note.index("python py/05_a.py") < note.index("python py/06_b.py")
    assert note.endswith("MIT License\n")


def test_one_member_alone_and_a_report_of_one_s_own(small, tmp_path):
    own = tmp_path / "Αναφορά.pdf"
    own.write_bytes(PDF)
    small.report.unlink()
    members = ["Name One, 03112345"]
    assert small.packs("--run", "demo", "--report", str(own), members=members)
    assert small.zips == ["patrec1_03112345.zip"]


def test_the_code_in_the_zip_runs_by_itself(small, mini_data, tmp_path):
    """In an empty folder and an environment where no `helpers` can be imported."""
    contents = hand_in.contents_of(Lab().root, small.report, "", "", edition_of(), demo=False)
    assert b"left out" in contents["demo_music/synthesis.py"]
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(io.BytesIO(hand_in.pack(contents))) as archive:
        archive.extractall(unpacked)
    assert len(hand_in.pack(contents)) < 2**20

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = {"MUSICLAB_DATA": str(mini_data), "MUSICLAB_PROFILE": "smoke"}
    script = unpacked / "py" / "04_histograms.py"
    code = (
        f"import runpy, sys; runpy.run_path({str(script)!r}, run_name='__main__'); "
        "print('taken:', sys.modules['helpers'].__file__)"
    )
    done = bare_python("-c", code, cwd=elsewhere, **settings)
    assert done.returncode == 0, done.stderr
    assert f"taken: {unpacked / 'helpers' / '__init__.py'}" in done.stdout
    record = elsewhere / "runs" / "interactive" / "records" / "04_histograms"
    assert "key_metric" in json.loads((record / "values.json").read_text())


# ---- what stops it -----------------------------------------------------------------------------


def test_all_broken_rules_are_told_at_once(small, capsys, monkeypatch):
    monkeypatch.setattr(hand_in, "stale_results", lambda run, lab: ["05_a failed", "06_b: old"])
    small.report.unlink()
    small.write("py/05_a.py", f"# %%\n{TEXTS['LONG']}\n")
    small.write("helpers/own.py", "def f():\n    return 1\n")
    assert not small.packs(members=["Name One, el12345"])
    lines = capsys.readouterr().err.splitlines()
    for said in ROWS["all at once"]:
        assert sum(said in line for line in lines) == 1, said
    assert small.zips == []


@pytest.mark.parametrize("row", ROWS["reports"])
def test_what_is_no_report_of_these_members_in_pdf_is_refused(small, capsys, row):
    small.front(**row.get("front", {}))
    if "file" in row:
        small.report.with_name(row["file"]).write_text(row["text"], encoding="utf-8")
    (said,) = refused(small, capsys)
    assert row["said"] in said


def test_answers_that_came_after_the_report_or_not_at_all_are_noticed(small, capsys):
    later = small.report.stat().st_mtime + 5
    os.utime(small.root / "my_report" / "step_05.md", (later, later))
    (said,) = refused(small, capsys)
    assert said.endswith("is older than step_05.md; make it again with ./run_all.sh report")
    shutil.rmtree(small.root / "my_report")
    (said,) = refused(small, capsys)
    assert "my_report: your own text is missing; ./run_all.sh report makes the files" in said


@pytest.mark.parametrize("row", ROWS["answers"])
def test_an_answer_that_a_grader_would_not_take_is_named(small, capsys, monkeypatch, row):
    monkeypatch.setattr(answers, "_prose_of_kit", lambda told: f"before {KIT} after")
    path = small.root / "my_report" / "step_05.md"
    for label, text in (("5β", OWN), ("5γ", Template(row["text"]).substitute(TEXTS))):
        head, mark, rest = path.read_text().partition(f"## {label} · ")
        path.write_text(head + mark + rest.replace("Not done.", text, 1))
    os.utime(path, (0, 0))
    if "said" not in row:
        assert small.packs()
        return
    (said,) = refused(small, capsys)
    assert row["said"] in said and said.partition(":")[0].isdigit()


def test_a_run_on_the_demo_set_is_packed_only_when_asked_for(small, capsys):
    summary = SUMMARY | {"data": SUMMARY["data"] | {"demo": True}, "profile": "demo"}
    small.write("runs/demo/summary.json", json.dumps(summary))
    assert [line.partition(";")[0] for line in refused(small, capsys)] == [
        "the demo set is no data of the lab", "profile 'demo' is for trying"
    ]  # fmt: skip
    assert small.packs("--demo-anyway")


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_zip_tells_the_members_work_from_the_kit_s(small, capsys, edition):
    """The kit's answers are taken out, the members' stay, and a diff says which is which."""
    answer = '# %% [markdown] tags=["solution"]\n# ## 5γ · {}\n#\n# {}\n\n'
    script = SCRIPT.format("a") + answer.format("LSTM on mel spectrograms", f"The kit: {KIT}")
    small.write("py/05_lstm.py", script + answer.format("more", f"Theirs: {KIT}"))
    git = ["git", "-C", str(small.root), "-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["add", "py", "helpers"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    small.front(made=FRONT["made"] | {"edition": edition})
    shutil.rmtree(small.root / "my_report")
    small.answer(edition)
    os.utime(small.report)
    options = ("--kit", "HEAD", "--edition", edition)
    pairs.sync(small.root)
    assert small.packs(*options)
    assert "CHANGES.diff is empty: the code is the kit's, unchanged" in capsys.readouterr().out
    small.write("py/05_lstm.py", script + answer.format("more", f"Ours, really: {OWN}"))
    pairs.sync(small.root)
    assert small.packs(*options)
    with zipfile.ZipFile(next(small.run.glob("*.zip"))) as archive:
        packed, told, places = (
            archive.read(name).decode() for name in ("py/05_lstm.py", "CHANGES.diff", "LABELS.csv")
        )
        notebooks = [name for name in archive.namelist() if name.endswith(".ipynb")]
    assert KIT not in packed and OWN in packed and "print('a')" in packed
    assert f"+# Ours, really: {OWN}" in told and "new file" not in told
    line = packed.splitlines().index("# ## 5γ · LSTM on mel spectrograms") + 1
    assert f"{edition_of(edition).labels.get('5γ', '5γ')},py/05_lstm.py,{line}" in places
    assert bool(notebooks) == edition_of(edition).notebooks


def test_too_large_a_zip_is_refused_and_the_one_before_stays(small, capsys, monkeypatch):
    assert small.packs()
    before = (small.run / ZIP).read_bytes()
    monkeypatch.setattr(hand_in, "MOST_MIB", 1)
    small.report.write_bytes(b"%PDF-" + os.urandom(2 * 2**20) + b"%%EOF")
    assert not small.packs()
    assert "the zip would have 2.0 MiB, more than 1" in capsys.readouterr().err
    assert (small.run / ZIP).read_bytes() == before


# ---- one by one --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS["scripts"])
def test_code_that_says_nothing_is_named_with_its_line(tmp_path, row):
    path = tmp_path / "some.py"
    path.write_text(Template(row["text"]).substitute(TEXTS), encoding="utf-8")
    assert uncommented(path, "x.py") == [f"x.py:{line}" for line in row.get("said", [])]


def test_the_kit_itself_is_commented():
    scripts = [path for path in hand_in.code_files(ROOT) if path.suffix == ".py"]
    assert [line for path in scripts for line in uncommented(path, path.name)] == []


@pytest.mark.parametrize("row", ROWS["members"])
def test_a_name_may_be_of_any_alphabet(row):
    assert parse_members([row["given"]]) == [Member(row["name"], "03112345")]


@pytest.mark.parametrize("row", ROWS["slips"])
def test_a_slip_in_the_members_is_one_line_that_says_what_to_do(row):
    with pytest.raises(LabError, match=row["said"]):
        parse_members(row["given"])
