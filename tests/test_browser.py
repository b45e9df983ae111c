"""In a real browser: the explorers on a page and in JupyterLab. All pages: see test_smoke."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nbformat import write as write_notebook
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sklearn.metrics import f1_score

from helpers.notebook import explorers, records
from tests.browser import faults_of_page
from tests.small_lab import ROOT, SmallLab, kill_all, wait_until
from tests.test_explore import CLASSES, COUNTS, EXPLORERS, PROBABILITIES, TRUE
from tools.run import pages

pytestmark = pytest.mark.timeout(600)

# What must not run on a page: any other script, however it is written.
HOSTILE = """
<script>document.title = 'run'</script>
<img alt="x" src="data:," onerror="document.title = 'run'">
<a id="evil" href="javascript:void(document.title = 'run')">x</a>
<svg onload="document.title = 'run'"></svg>
<iframe srcdoc="<script>parent.document.title = 'run'</script>"></iframe>
"""


def written(folder: Path, *texts: str) -> Path:
    """A page of a notebook with these outputs."""
    outputs = [new_output("display_data", {"text/html": text}) for text in texts]
    write_notebook(new_notebook(cells=[new_code_cell(outputs=outputs)]), folder / "x.ipynb")
    pages.write_page(folder / "x.ipynb", folder / "x.html")
    return folder / "x.html"


@pytest.fixture
def page(browser: Any, mini_data: Path, home: Path, tmp_path: Path, outputs: list[Any]) -> Any:
    """The browser with a page that holds all explorers; nothing is asked of the network."""
    record = records.open_record("01_visualization", mini_data, 0)
    for explorer in EXPLORERS.values():
        explorer(record)
    explorers.confusion(COUNTS, CLASSES)
    texts = [output["text/html"] for output in outputs]
    assert faults_of_page(browser, written(tmp_path, *texts)) == []
    return browser


def place(page: Any, number: int) -> Any:
    """One of the explorers on the page."""
    return page.find_elements("css selector", ".explorer")[number]


def choose(explorer: Any, menu: str, text: str) -> None:
    """Choose the first entry that begins so, from the menu with this name."""
    path = f".//label[b[starts-with(., '{menu}')]]/select/option[starts-with(., '{text}')]"
    explorer.find_element("xpath", path).click()


def set_value(page: Any, control: Any, value: int) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, control, value)


def test_two_clips_are_seen_and_heard_on_the_page(page):
    clips = place(page, 0)
    sources = [image.get_attribute("src") for image in clips.find_elements("tag name", "img")]
    assert len(sources) == 2 and len(clips.find_elements("tag name", "audio")) == 2
    duration = "return [...document.querySelectorAll('audio')].map(one => one.duration || 0)"
    wait_until(lambda: min(page.execute_script(duration)) > 1)
    choose(clips, "picture", "beat chroma")
    choose(clips, "first clip", "Hip-Hop")
    first, second = clips.find_elements("tag name", "img")
    assert first.get_attribute("alt").startswith("beat chroma of Hip-Hop")
    assert [first.get_attribute("src"), second.get_attribute("src")] != sources
    assert "beats across" in clips.text


def test_the_threshold_counts_as_it_is_moved(page):
    threshold = place(page, 1)
    slider = threshold.find_element("css selector", "input[type=range]")
    for name, at in (("Pop", 0.5), ("Pop", 0.65), ("Blues", 0.6), ("Rock", 0.95)):
        choose(threshold, "class", name)
        set_value(page, slider, round(100 * at))
        belongs = CLASSES.index(name) == TRUE
        called = PROBABILITIES[:, CLASSES.index(name)] >= at
        n = [(belongs & called).sum(), (belongs & ~called).sum(), (~belongs & called).sum()]
        for word, count in zip(("TP", "FN", "FP"), n, strict=True):
            assert f"{word} {count}" in threshold.text, (name, at)
        told = f"{n[0] / (n[0] + n[2]):.2f}" if n[0] + n[2] else "0/0, undefined"
        assert f"Precision TP/(TP+FP) = {n[0]}/{n[0] + n[2]}"[:40] in threshold.text
        assert told in threshold.text
        strip, curve = threshold.find_elements("css selector", "svg")
        dots = strip.find_elements("css selector", "circle")
        assert sum(dot.get_attribute("fill") != "none" for dot in dots) == called.sum()
        marked = curve.find_elements("css selector", "circle")
        assert len(marked) == bool(called.sum() and belongs.sum()), "undefined is not drawn"


def test_the_confusion_matrix_says_what_scikit_learn_says(page):
    confusion = place(page, 3)
    counts = np.array(COUNTS["one large class"])
    inputs = confusion.find_elements("css selector", "input[type=number]")
    for change in (None, (8, 40), (0, 0)):
        if change:
            counts.flat[change[0]] = change[1]
            set_value(page, inputs[change[0]], change[1])
        true, called = (np.repeat(one.ravel(), counts.ravel()) for one in np.indices((3, 3)))
        accuracy, macro = (true == called).mean(), f1_score(true, called, average="macro")
        assert [b.text for b in confusion.find_elements("css selector", "p b")] == [
            f"{accuracy:.3f}", f"{macro:.3f}"
        ]  # fmt: skip
    choose(confusion, "begin with", "even")
    assert [one.get_attribute("value") for one in inputs] == list("910" * 3)


def test_a_clip_leads_to_its_neighbours(page):
    near = place(page, 2)
    before = near.text
    choose(near, "class", "Hip-Hop")
    assert near.text != before and near.text.count(", cosine") == 4
    assert len(near.find_elements("tag name", "img")) == 5
    assert "Hip-Hop (true)" in near.text


def test_no_other_script_runs_on_a_page(browser, tmp_path, outputs):
    explorers.confusion(COUNTS, CLASSES)
    changed = outputs[0]["text/html"].replace("</script>", "document.title = 'run'</script>")
    browser.get(written(tmp_path, HOSTILE, changed).as_uri())
    browser.find_element("id", "evil").click()
    assert browser.title == "x"
    assert "Controls stand here where" in place(browser, 0).text


# ---- JupyterLab --------------------------------------------------------------------------------

NOTEBOOK = "05_train"
CODE = """
import numpy as np
from pathlib import Path
from helpers import datasets, models
from helpers.notebook import explorers, records
root = Path({data!r})
record = records.open_record("05_train", root, 0)
explorers.two_clips(record)
chances = np.linspace(0.1, 0.9, 9)
classes = ["Blues", "Rock"]
explorers.threshold(record, np.arange(9) // 5, np.stack([1 - chances, chances], 1), classes)
splits = datasets.genre_splits(root / "fma_genre_spectrograms", "mel", 0)
model = models.Classifier(models.CNNBackbone(128, (2, 2, 2, 4)), len(splits.base.classes))
explorers.neighbours(record, model, splits.train)
explorers.confusion({{"even": [[9, 1], [1, 9]]}}, classes)
"""
LAB = """
import sys
from pathlib import Path
from tests.small_lab import SmallLab
from tools.run.jupyter_lab import main
main(sys.argv[2:], SmallLab(Path(sys.argv[1])).lab)
"""
TOKEN = "token-of-the-test"
RUN_ALL_CELLS = """
const app = window.jupyterapp;
const kernel = app?.shell.currentWidget?.sessionContext?.session?.kernel;
if (kernel?.status !== 'idle') return false;  // JupyterLab would ask for a kernel
app.commands.execute('notebook:run-all-cells');
return true;
"""
SHOWN = """
return ['.explorer', '.explorer[data-explorer]'].map(
    name => document.querySelectorAll('.jp-OutputArea ' + name).length
)
"""


@pytest.fixture(scope="module")
def opened(
    browser: Any, mini_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The browser with JupyterLab, as `./run_all.sh lab` starts it, and the explorers' notebook.

    All its cells were run, and all controls are there.
    """
    small = SmallLab.made(tmp_path_factory.mktemp("lab") / "small")
    small.write(NOTEBOOK, CODE.format(data=str(mini_data)))
    runtime = small.root / "jupyter"
    folders = {f"JUPYTER_{name}_DIR": str(runtime / name) for name in ("RUNTIME", "CONFIG", "DATA")}
    env = {name: value for name, value in os.environ.items() if name != "MUSICLAB_HEADLESS"}
    env |= folders | {
        "PYTHONPATH": os.pathsep.join([str(small.root), str(ROOT)]),
        "MUSICLAB_HOME": str(small.root),
        "MUSICLAB_RUN": "by-hand",
        "IPYTHONDIR": str(runtime / "ipython"),
    }
    options = ("--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.port_retries=0")
    options += (f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True")
    command = [sys.executable, "-c", LAB, str(small.root), *options]
    with open(small.root / "jupyter.log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: server.poll() is not None or bool(told_by(runtime / "RUNTIME")), 90)
        assert server.poll() is None, (small.root / "jupyter.log").read_text()[-2000:]
        url = told_by(runtime / "RUNTIME")["url"]
        browser.get(f"{url}doc/tree/notebooks/{NOTEBOOK}.ipynb?token={TOKEN}")
        wait_until(lambda: browser.execute_script(RUN_ALL_CELLS), 240)
        drawn = "return document.body.innerHTML.length"
        wait_until(
            lambda: browser.execute_script(SHOWN) == [4, 0],
            180,
            moving=lambda: browser.execute_script(drawn),
        )
        yield browser
    finally:
        kill_all(server)
        server.wait()


def told_by(runtime: Path) -> dict[str, Any]:
    """What the server says of itself, once it has said it."""
    for path in runtime.glob("jpserver-*.json"):
        try:
            return json.loads(path.read_text())
        except ValueError:  # half written
            continue
    return {}


def test_the_same_controls_work_in_jupyterlab(opened):
    threshold = place(opened, 1)
    choose(threshold, "class", "Rock")
    told = []
    for at in (30, 60):
        set_value(opened, threshold.find_element("css selector", "input[type=range]"), at)
        told.append(threshold.text)
    assert "TP 4" in told[0] and "TP 4" in told[1] and "FP 3" in told[0] and "FP 0" in told[1]
    duration = "return [...document.querySelectorAll('audio')].map(one => one.duration || 0)"
    wait_until(lambda: min(opened.execute_script(duration)) > 1, 120)
