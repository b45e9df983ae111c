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
from typing import TYPE_CHECKING

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


def errors(browser: WebDriver) -> list[str]:
    """What the browser complained of since the last call: errors of scripts, blocked loads."""
    entries = browser.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


def requests(browser: WebDriver) -> list[str]:
    """What pages have asked other hosts for since the last call, loaded or not."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    addresses = [params["request"]["url"] for params in sent]
    return [address for address in addresses if not address.startswith(HERE)]


def seen(browser: WebDriver) -> dict[str, int]:
    """How many figures, formulas and tables of the open page take up room and are loaded."""
    return {name: sizes.count(True) for name, sizes in _shown(browser).items()}


def faults_of_page(browser: WebDriver, page: Path) -> list[str]:
    """Open a page and say what is wrong with it: nothing, as a rule.

    Figures, formulas and tables that are not shown, or figures without alt text; complaints of the
    browser; requests to anybody.
    """
    errors(browser), requests(browser)  # of the page before
    browser.get(page.as_uri())
    faults = [
        f"{name} {number} is not shown"
        for name, shown in _shown(browser).items()
        for number, one in enumerate(shown, start=1)
        if not one
    ]
    alts = [image.get_attribute("alt") for image in browser.find_elements("css selector", "img")]
    faults += [f"img {number} has no alt text" for number, alt in enumerate(alts, 1) if not alt]
    faults += errors(browser)
    return faults + [f"asks {address}" for address in requests(browser)]


def _shown(browser: WebDriver) -> dict[str, list[bool]]:
    """Of each figure, formula and table, whether it is shown; what is folded counts when opened."""
    return browser.execute_script(
        """
        document.querySelectorAll('details').forEach(one => one.open = true);
        const shown = one => {
            const box = one.getBoundingClientRect();
            return box.width > 1 && box.height > 1 && (one.naturalWidth ?? 1) > 0;
        };
        const all = name => [...document.querySelectorAll(name)].map(shown);
        return {img: all('img'), math: all('math'), table: all('table')};
        """
    )
