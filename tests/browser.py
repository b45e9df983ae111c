"""A real browser for the tests: headless Chromium, driven by selenium through chromedriver.

Where one of them is missing the tests that need it are skipped, with what is missing. On Debian and
Ubuntu: apt-get install chromium chromium-driver.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # or it does not start as root, as in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1400,6000",  # all of a notebook: JupyterLab draws only what is in sight
)
SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
HERE = ("file:", "data:", "blob:", "about:", "chrome:")


def program() -> str | None:
    """The browser that is installed here."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def missing() -> str:
    """What is missing for a browser; empty when it can be started."""
    needed = {
        "chromium": program(),
        "chromedriver (chromium-driver)": shutil.which("chromedriver"),
        "selenium": find_spec("selenium"),
    }
    return ", ".join(name for name, found in needed.items() if not found)


def start(folder: Path) -> WebDriver:
    """Start a browser that keeps its own files in a folder, and logs messages and requests."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(program())
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = ChromeService(shutil.which("chromedriver"), env=dict(os.environ) | {"TMPDIR": folder})
    browser = Chrome(options, service)
    browser.set_page_load_timeout(60)
    return browser


def ask(browser: WebDriver, question: str, *given: Any) -> Any:
    """What a page answers to a call of browser.js, such as `faults()`."""
    return browser.execute_script(f"{SCRIPT}\nreturn {question};", *given)


def page_of(folder: Path, *cells: Any, name: str = "x") -> Path:
    """The page of a notebook with these cells."""
    import nbformat  # conftest.py imports this file before it has set what helpers look at
    from nbformat.v4 import new_notebook

    from tools.run import pages

    nbformat.write(new_notebook(cells=list(cells)), folder / f"{name}.ipynb")
    pages.write_page(folder / f"{name}.ipynb", folder / f"{name}.html")
    return folder / f"{name}.html"


def faults_of_page(browser: WebDriver, page: Path) -> list[str]:
    """Open a page and say what is wrong with it: nothing, as a rule.

    Figures, formulas and tables that are not shown (what is folded counts when opened), or figures
    without alt text; complaints of the browser; requests to anybody.
    """
    _complaints(browser)  # of the page before
    browser.get(page.as_uri())
    return ask(browser, "faults()") + _complaints(browser)


def _complaints(browser: WebDriver) -> list[str]:
    """Errors of scripts, blocked loads, and what was asked of other hosts since the last call."""
    errors = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    addresses = [params["request"]["url"] for params in sent]
    return errors + [f"asks {one}" for one in addresses if not one.startswith(HERE)]
