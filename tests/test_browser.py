"""In a real browser: the explorers in JupyterLab, and every page of a run.

One small notebook serves both: a student opens it in JupyterLab, the runner makes a page of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser as browsers
from tests.small_lab import ROOT, SmallLab, kill_all, wait_until

pytestmark = pytest.mark.timeout(600)

NOTEBOOK = "05_train"
PROSE = r"""# Trying things

The loss is $\frac{1}{n}\sum_i (y_i - \hat{y}_i)^2$, and

$$\rho = 1 - \frac{6 \sum d_i^2}{n (n^2 - 1)}$$

| metric | value |
|---|---|
| accuracy | 0.41 |
"""
CODE = """
import numpy as np
import pandas as pd
from pathlib import Path
from helpers import datasets, models
from helpers.notebook import explorers, records, showing
root = Path({data!r})
record = records.open_record("05_train", root, 0)
explorers.two_clips(record)
chances = np.linspace(0.1, 0.9, 9)
classes = ["Blues", "Rock"]
explorers.threshold(record, np.arange(9) // 5, np.stack([1 - chances, chances], 1), classes)
splits = datasets.genre_splits(root / "fma_genre_spectrograms", "mel", 0)
model = models.Classifier(models.CNNBackbone(128, (2, 2, 2, 4)), len(splits.base.classes))
explorers.neighbours(record, model, splits.train)
showing.show_table(pd.DataFrame({{"value": [1.0]}}))
leave("05_train", 0.5)
"""
LAB = """
import sys
from pathlib import Path
from tests.small_lab import SmallLab
from tools.run.jupyter_lab import main
main(sys.argv[2:], SmallLab(Path(sys.argv[1])).lab)
"""
TOKEN = "token-of-the-test"


@pytest.fixture(scope="module")
def small(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallLab:
    """A lab whose one notebook of interest holds the three explorers, a formula and tables."""
    small = SmallLab.made(tmp_path_factory.mktemp("lab") / "small")
    small.write(NOTEBOOK, CODE.format(data=str(mini_data)), PROSE)
    return small


# ---- pages -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(browser: Any, small: SmallLab) -> list[Path]:
    """The pages of a run of the small lab."""
    options = [word for name, value in small.options.items() for word in (f"--{name}", value)]
    assert small.start(*options).wait(200) == 0
    return sorted((small.folder / "pages").glob("*.html"))


def test_every_page_of_a_run_is_shown_whole_and_asks_nobody(
    browser: Any, pages: list[Path]
) -> None:
    assert {"index", NOTEBOOK} <= {page.stem for page in pages}
    for page in pages:
        assert browsers.faults_of_page(browser, page) == [], page.name


def test_a_page_has_its_figures_formulas_and_tables(browser: Any, pages: list[Path]) -> None:
    (page,) = (page for page in pages if page.stem == NOTEBOOK)
    browser.get(page.as_uri())
    seen = browsers.seen(browser)
    assert (seen["img"], seen["math"], seen["table"]) == (3, 2, 2)
    alts = [image.get_attribute("alt") for image in browser.find_elements("css selector", "img")]
    assert "Blues from 0.50 on" in alts[1] and "nearest clips" in alts[2]


def test_no_control_is_left_in_what_the_runner_executed(small: SmallLab, pages: list[Path]) -> None:
    executed = (small.folder / "notebooks" / f"{NOTEBOOK}.ipynb").read_text(encoding="utf-8")
    assert "widget" not in executed
    assert "widgets" not in json.loads(executed)["metadata"]
    page = (small.folder / "pages" / f"{NOTEBOOK}.html").read_text(encoding="utf-8")
    assert "To choose yourself, open this notebook in JupyterLab" in page


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("<p id='x'></p><script>document.getElementById('y').click()</script>", "TypeError"),
        ("<img alt='x' src='http://127.0.0.1:9/x.png'>", "asks http://127.0.0.1:9/x.png"),
        ("<img alt='x' src='data:image/png;base64,AAAA'>", "img 1 is not shown"),
        ("<table></table>", "table 1 is not shown"),
    ],
)
def test_a_page_with_a_fault_is_told(
    browser: Any, tmp_path: Path, content: str, fault: str
) -> None:
    (tmp_path / "x.html").write_text(f"<!DOCTYPE html><title>x</title>{content}")
    assert fault in "; ".join(browsers.faults_of_page(browser, tmp_path / "x.html"))


# ---- JupyterLab --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(browser: Any, small: SmallLab) -> Iterator[str]:
    """JupyterLab, started as `./run_all.sh lab` does, on a free port."""
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
    command = [sys.executable, "-c", LAB, str(small.root), *options]
    command.append(f"--IdentityProvider.token={TOKEN}")
    with open(small.root / "jupyter.log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: server.poll() is not None or bool(told_by(runtime / "RUNTIME")), 90)
        assert server.poll() is None, (small.root / "jupyter.log").read_text()[-2000:]
        yield told_by(runtime / "RUNTIME")["url"]
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


@pytest.fixture(scope="module")
def opened(browser: Any, address: str) -> Any:
    """The notebook in JupyterLab, all its cells run by the menu."""
    browser.get(f"{address}doc/tree/notebooks/{NOTEBOOK}.ipynb?token={TOKEN}")
    run_all_cells(browser)
    drawn = "return document.body.innerHTML.length"
    wait_until(
        lambda: len(pictures(browser)) == 3 and is_ready(browser),
        180,
        moving=lambda: browser.execute_script(drawn),
    )
    return browser


def run_all_cells(browser: Any) -> None:
    """Choose it from the menu, again and again until it works.

    While JupyterLab is still loading, an open menu may lack the entry, or be closed again.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    def done(_: Any) -> bool:
        browser.find_element("css selector", ".jp-Notebook .jp-CodeCell")
        for kind, label in (("MenuBar", "Run"), ("Menu", "Run All Cells")):
            path = f"//div[contains(@class, 'lm-{kind}-itemLabel')][text()='{label}']"
            browser.find_element("xpath", path).click()
            time.sleep(0.5)
        return True

    WebDriverWait(browser, 120, ignored_exceptions=[Exception]).until(done)


def pictures(browser: Any) -> list[str]:
    """The figures below the cells, as data."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.jp-OutputArea img')].map(x => x.src)"
    )


def is_ready(browser: Any) -> bool:
    """All menus and the slider are drawn, and the last cell's last line is there."""
    menus = browser.find_elements("css selector", ".jp-OutputArea select")
    handles = browser.find_elements("css selector", ".jp-OutputArea .noUi-handle")
    return len(menus) == 8 and len(handles) == 1


def changes_only(browser: Any, number: int, act: Callable[[], None]) -> bool:
    """Whether doing something changes one of the figures, and no other."""
    before = pictures(browser)
    act()
    wait_until(lambda: pictures(browser) != before, 30)
    after = pictures(browser)
    return [i for i in range(3) if before[i] != after[i]] == [number]


def choose(browser: Any, name: str, number: int) -> None:
    """Choose from the menu with this name."""
    from selenium.webdriver.support.ui import Select

    label = f"//label[text()='{name}']/following-sibling::select"
    Select(browser.find_element("xpath", label)).select_by_index(number)


def test_a_genre_chosen_in_jupyterlab_changes_the_figure(opened: Any) -> None:
    assert changes_only(opened, 0, lambda: choose(opened, "first genre", 1))
    assert changes_only(opened, 0, lambda: choose(opened, "picture", 2))


def test_an_arrow_key_moves_the_threshold_and_changes_the_figure(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    handle = opened.find_element("css selector", ".noUi-handle")
    assert changes_only(opened, 1, lambda: handle.send_keys(Keys.ARROW_RIGHT))


def test_another_clip_shows_other_neighbours(opened: Any) -> None:
    assert changes_only(opened, 2, lambda: choose(opened, "clip", 1))


def test_a_clip_can_be_heard(opened: Any) -> None:
    assert opened.find_elements("css selector", "audio") == []
    opened.find_element("xpath", "//button[contains(., 'hear clip')]").click()
    wait_until(lambda: len(opened.find_elements("css selector", "audio")) == 1, 60)
    duration = "const a = document.querySelector('audio'); return a.duration || 0"
    wait_until(lambda: opened.execute_script(duration) > 1, 30)


def test_an_error_is_shown_below_the_controls(
    opened: Any, small: SmallLab, mini_data: Path
) -> None:
    """Last, because it breaks a clip for a moment."""
    select = opened.find_element("xpath", "//label[text()='second clip']/../select")
    clip = select.find_elements("css selector", "option")[1].text
    (path,) = mini_data.glob(f"fma_genre_spectrograms/train/{clip}.*")
    content = path.read_bytes()
    path.write_bytes(b"no array")
    try:
        choose(opened, "picture", 0)
        choose(opened, "second clip", 1)
        wait_until(lambda: "LabError" in opened.find_element("css selector", "body").text, 30)
    finally:
        path.write_bytes(content)
