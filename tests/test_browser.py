"""In a real browser: the explorers in JupyterLab. Its pages are looked at in test_smoke."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.small_lab import ROOT, SmallLab, kill_all, wait_until

pytestmark = pytest.mark.timeout(600)

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
return ['img', 'select', '.noUi-handle', 'audio'].map(
    name => document.querySelectorAll('.jp-OutputArea ' + name).length
)
"""

@pytest.fixture(scope="module")
def opened(
    browser: Any, mini_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The browser with JupyterLab, as `./run_all.sh lab` starts it, and the explorers' notebook.

    All its cells were run, and all figures and controls are there.
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
            lambda: browser.execute_script(SHOWN) == [3, 8, 1, 0],
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


def changes_only(browser: Any, number: int, act: Callable[[], None]) -> bool:
    """Whether doing something changes one of the figures, and no other."""
    script = "return [...document.querySelectorAll('.jp-OutputArea img')].map(x => x.src)"
    pictures = partial(browser.execute_script, script)
    before = pictures()
    act()
    wait_until(lambda: pictures() != before, 60)
    after = pictures()
    return [i for i in range(3) if before[i] != after[i]] == [number]


def menu(browser: Any, name: str) -> Any:
    """The menu with this name."""
    from selenium.webdriver.support.ui import Select

    path = f"//label[text()='{name}']/following-sibling::select"
    return Select(browser.find_element("xpath", path))


def choose_another(browser: Any, name: str) -> None:
    """Choose the first entry that is not chosen, from the menu with this name."""
    next(one for one in menu(browser, name).options if not one.is_selected()).click()


def test_a_choice_in_jupyterlab_changes_its_own_figure(opened):
    from selenium.webdriver.common.keys import Keys

    handle = opened.find_element("css selector", ".noUi-handle")
    assert changes_only(opened, 0, lambda: choose_another(opened, "first genre"))
    assert changes_only(opened, 0, lambda: choose_another(opened, "picture"))
    assert changes_only(opened, 1, lambda: handle.send_keys(Keys.ARROW_RIGHT))
    assert changes_only(opened, 2, lambda: choose_another(opened, "clip"))


def test_a_clip_can_be_heard_until_another_is_chosen(opened):
    opened.find_element("xpath", "//button[contains(., 'hear clip')]").click()
    duration = "return document.querySelector('audio')?.duration || 0"
    wait_until(lambda: opened.execute_script(duration) > 1, 120)
    choose_another(opened, "first genre")
    wait_until(lambda: opened.execute_script(SHOWN)[3] == 0)


def test_an_error_is_shown_below_the_controls_until_the_next_choice(opened, mini_data):
    """Last, because it breaks a clip for a moment."""

    def told(what: str = "LabError") -> bool:
        return what in opened.find_element("css selector", "body").text

    second = menu(opened, "second clip")
    clip, good = (second.options[number].text for number in (1, 2))
    content = {p: p.read_bytes() for p in mini_data.glob(f"fma_genre*/train/{clip}.*")}
    for path in content:
        path.write_bytes(b"no array")
    try:
        choose_another(opened, "first genre")  # still drawn when the next choice is acted on
        second.select_by_index(1)
        wait_until(told)
    finally:
        for path, whole in content.items():
            path.write_bytes(whole)
    second.select_by_index(2)
    wait_until(lambda: told(f"(clip {good})") and not told())
