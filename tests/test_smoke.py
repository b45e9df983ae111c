"""All notebooks from beginning to end on the mini data: as plain scripts, and by the runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from pypdf import PdfReader

from helpers.folders import CLASS_MAPPING, MULTITASK, read_clips
from helpers.notebook import records
from helpers.notebook.shown import Figure
from helpers.notebook.words import Words
from helpers.submission import check_solution
from tests.browser import faults_of_page
from tools.checks import labels
from tools.common.notebooks import ROOT, Lab
from tools.report.content import chapters
from tools.report.editions import edition_of
from tools.report.markdown import Writer
from tools.report.source import open_run

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(3600)]

NOTEBOOKS = tuple(Lab().names)
LSTMS = {
    f"lstm_{feature}_{kind}" for feature in ("mel", "chroma", "fused") for kind in ("full", "beat")
}


def python(
    arguments: list[str], folder: Path, home: Path, **more: str
) -> subprocess.CompletedProcess:
    """Python as from a user's shell: none of this session's settings but one thread and a home."""
    mine = ("MUSICLAB_", "MPLBACKEND", "DISPLAY", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    threads = {"OMP_NUM_THREADS": "1"}  # tiny networks wait for a second one
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=kept | {"MUSICLAB_HOME": str(home)} | threads | more,
        capture_output=True,
        text=True,
        timeout=3000,
    )


class Done(NamedTuple):
    """What is left when all notebooks were run."""

    run: Path  # its folder
    process: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def scripts(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Runs every py/*.py in order with the smoke profile, from another folder.

    As if there were two GPUs, and 07 as `torchrun` starts a single process (`warm_python`).
    """
    home, elsewhere = (tmp_path_factory.mktemp(name) for name in ("home", "elsewhere"))
    settings = {"MUSICLAB_DATA": str(mini_data), "MUSICLAB_PROFILE": "smoke"}
    files = [str(ROOT / "py" / f"{name}.py") for name in NOTEBOOKS]
    run = home / "runs" / records.INTERACTIVE_RUN
    process = python(
        [str(ROOT / "tests/warm_python.py"), str(home), *files], elsewhere, home, **settings
    )
    assert list(elsewhere.iterdir()) == []  # nothing is written to the working folder
    return Done(run, process)


# ---- as plain scripts --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_runs_as_a_plain_script(scripts, name):
    path = scripts.run.parents[1] / f"{name}.txt"
    assert path.exists(), f"not run, because one before it failed: {scripts.process.stderr}"
    printed = path.read_text(encoding="utf-8")
    assert "Traceback" not in printed, printed[-4000:]
    assert "parameters of profile 'smoke' applied" in printed
    record = json.loads((scripts.run / "records" / name / "record.json").read_text())
    assert record["finished"], printed[-4000:]


def test_plain_scripts_end_well(scripts):
    assert scripts.process.returncode == 0


def test_scripts_leave_figures_with_alt_texts(scripts):
    for name in NOTEBOOKS[1:]:
        folder = scripts.run / "records" / name
        told = json.loads((folder / "figures.json").read_text())
        assert told and all(told.values())
        assert {path.stem for path in (folder / "figures").iterdir()} == set(told)


def test_nothing_half_written_is_left(scripts):
    assert list(scripts.run.parents[1].rglob("*.part")) == []


# ---- by the runner -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """What `./run_all.sh --data <mini> --profile smoke --name smoke` leaves."""
    home = tmp_path_factory.mktemp("lab")
    options = ["--data", str(mini_data), "--profile", "smoke", "--name", "smoke"]
    process = python(["-m", "tools.run.command", *options], ROOT, home)
    return Done(home / "runs" / "smoke", process)


def test_the_runner_executes_all_notebooks(lab):
    process = lab.process
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    for kind, ending in (("notebooks", "ipynb"), ("pages", "html")):
        there = {path.stem for path in (lab.run / kind).glob(f"*.{ending}")}
        assert set(NOTEBOOKS) <= there, kind
    assert (lab.run / "pages" / "index.html").is_file()
    for name in NOTEBOOKS:
        executed = json.loads((lab.run / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
        assert outputs and not any(output["output_type"] == "error" for output in outputs)
        assert name in process.stdout


def test_every_label_is_answered_in_the_executed_notebooks(lab, tmp_path):
    assert list(labels.missing(lab.run)) == []

    broken = shutil.copytree(lab.run, tmp_path / "broken")
    (broken / "records" / "07_cnn" / "figures" / "four_operations.png").unlink()
    path = broken / "notebooks" / "05_lstm.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("## 5γ · ", "## "), encoding="utf-8")
    (broken / "notebooks" / "10_multitask.ipynb").unlink()
    assert list(labels.missing(broken)) == [
        "5γ (05_lstm): no heading",
        "7γ (07_cnn): no figure four_operations",
        "10_multitask: not executed in broken",
    ]


def test_several_seeds_are_trained_stored_and_compared(lab):
    """The smoke profile trains everything twice."""
    for notebook, name in (
        ("05_lstm", "lstm_mel_full"),
        ("07_cnn", "cnn_mel_refit"),
        ("08_regression", "cnn_energy"),
    ):
        checkpoints = lab.run / "records" / notebook / "checkpoints"
        names = (name, records.of_seed(name, 1))
        first, second = ((checkpoints / f"{n}.safetensors").read_bytes() for n in names)
        assert first != second, f"{name}: two seeds, the same weights"
    # On the mini data the affect comparisons are undefined: two held-out clips.
    for notebook, told in (
        ("06_metrics", "the mean over 2 trainings"),
        ("07_cnn", "mean over 2 and 2"),
        ("09_transfer", "2 fine-tunings from each start, seeds 0 to 1"),
        ("10_multitask", "weighted and plain, seeds 0 to 1"),
    ):
        assert told in (lab.run / "notebooks" / f"{notebook}.ipynb").read_text("utf-8"), notebook


def test_the_runner_leaves_results(lab):
    """A row per model, feature, test set and metric, each with its seed."""
    rows = pd.read_csv(lab.run / "results.csv")
    assert tuple(rows.columns) == records.RESULT_COLUMNS
    assert not rows.duplicated(list(records.RESULT_COLUMNS[:5])).any()
    assert (rows["seed"] == 0).all() and (rows["n"] > 0).all()
    of_06 = rows[rows["notebook"] == "06_metrics"]
    for metric in ("accuracy", "macro F1", "micro F1"):
        assert LSTMS <= set(of_06.loc[of_06["metric"] == metric, "model"])
    assert {"07_cnn", "08_regression", "09_transfer", "10_multitask"} <= set(rows["notebook"])
    test_sets = {"genre test (full)", "genre test (beat)", "affect held-out"}
    assert test_sets <= set(rows["test_set"])
    defined = rows.dropna(subset="value")
    assert (defined["low"] >= -1).all() and (defined["high"] <= 1).all()
    assert (defined["low"] <= defined["high"]).all()


def test_the_runner_leaves_a_summary(lab):
    summary = json.loads((lab.run / "summary.json").read_text(encoding="utf-8"))
    assert (summary["run"], summary["profile"]) == ("smoke", "smoke")
    rows = {row["notebook"]: row for row in summary["notebooks"]}
    assert set(NOTEBOOKS) <= set(rows)
    for name in NOTEBOOKS:
        assert rows[name]["status"] == "done" and rows[name]["key_metric"]
        assert rows[name]["peak_mb"] < 3 * 1024
    latest = lab.run.parent / "latest"
    assert latest.resolve().name == "smoke" or latest.read_text().strip() == "smoke"


def test_a_browser_shows_every_page_whole_and_is_sent_nowhere(lab, browser):
    pages = sorted((lab.run / "pages").glob("*.html"))
    assert len(pages) > len(NOTEBOOKS)
    faults = {page.name: faults_of_page(browser, page) for page in pages}
    assert {name: found for name, found in faults.items() if found} == {}


def test_the_explorers_are_on_the_pages(lab):
    for name, kind in {"01_visualization": "clips", "06_metrics": "threshold"}.items():
        page = (lab.run / "pages" / f"{name}.html").read_text(encoding="utf-8")
        assert f'{{"kind": "{kind}"' in page


def test_the_report_says_under_each_label_what_its_notebook_has_shown(lab, monkeypatch):
    monkeypatch.setenv("MUSICLAB_HOME", str(lab.run.parents[1]))
    run = open_run("smoke")
    for edition in map(edition_of, labels.editions()):
        sections = [section for own in chapters(run, edition).values() for section in own]
        reported = {section.name: section.reported + section.appended for section in sections}
        read_or_done = {"rules", "11γ"}  # by the members: there is nothing to measure
        asked = labels.read_labels(edition.name)
        assert [x.name for x in asked if not (x.name in read_or_done or reported[x.name])] == []
        shown = [(s.notebook, piece) for s in sections for piece in s.reported + s.appended]
        figures = [(notebook, piece) for notebook, piece in shown if isinstance(piece, Figure)]
        assert all(str(figure.caption) for _, figure in figures)
        drawn = {(label.notebook, name) for label in asked for name in label.figures}
        assert drawn <= {(notebook, figure.name) for notebook, figure in figures}


def test_the_greek_report_has_no_english_sentence(lab, monkeypatch):
    monkeypatch.setenv("MUSICLAB_HOME", str(lab.run.parents[1]))
    run, about = open_run("smoke"), dict.fromkeys(("title", "description", "lang", "date"), "")
    text = ""
    for edition in (edition_of("2021"), edition_of("2024")):  # each asks what the other does not
        writer = Writer(Words("el"), run, {}, edition)
        text += writer.report({**about, "members": [], "version": "1"}, chapters(run, edition))
    # Without code, formulas, the descriptions of figures, and what the machine says of itself.
    said = re.sub("# Περιβάλλον εκτέλεσης.*# Παράρτημα", "", text, flags=re.DOTALL)
    said = re.sub(r"```.*?```|\$\$.*?\$\$|alt=\".*?\"", "", said, flags=re.DOTALL)
    said = re.sub(r"`.*?`", "", said)
    assert re.findall(r".*\b(?:the|of|and|with|from|is|by|on|in)\b.*", said) == []


def test_in_greek_figures_only_names_stay_as_they_are(lab):
    names = "CNN LSTM ReLU SVM SVR Spearman mel chroma macro batch norm max pooling"
    known = {*names.split(), *re.findall(r"\w{3,}", " ".join(CLASS_MAPPING))}
    drawn = sorted(lab.run.glob("records/*/figures/el/*.pdf"))
    assert len(drawn) > 40
    for path in drawn:
        left = PdfReader(path).metadata["/Keywords"]
        assert set(re.findall(r"[^\W\d_]{3,}", left)) <= known, f"{path.name}: {left}"


def test_scripts_and_the_runner_leave_a_solution_for_the_test_clips(scripts, lab, mini_data):
    ids = read_clips(mini_data / MULTITASK, "test")["id"].tolist()
    for run in (scripts.run, lab.run):
        check_solution((run / "solution.txt").read_text(encoding="utf-8"), ids)


def test_scripts_and_the_runner_agree(scripts, lab):
    """The same numbers: one training after the other or one per GPU, without torchrun or with."""
    by_hand, by_runner = (pd.read_csv(done.run / "results.csv") for done in (scripts, lab))
    pd.testing.assert_frame_equal(by_hand, by_runner, rtol=0, atol=1e-6)
