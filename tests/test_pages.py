"""The HTML pages: they stand alone, describe their figures, and show formulas."""

from __future__ import annotations

import base64
import re
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.common.run_folder import Paths
from tools.run import pages
from tools.run.results import Row

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n not really").decode()
PROSE = r"""# The LSTM on *mel*

The loss is $\frac{1}{n}\sum_i (y_i - \hat{y}_i)^2$, a ticket costs 5$.

$$\rho = 1 - \frac{6 \sum d_i^2}{n (n^2 - 1)}$$

A formula that nobody knows: $\nosuchcommand{x} < 1$.

| metric | value |
|---|---|
| accuracy | 0.41 |

![a picture](https://example.org/picture.png) and [a link](https://example.org/paper)
<script src="https://example.org/script.js"></script>
"""
TABLE = (
    "<table border='1' class='dataframe'><tr><td>0.41</td></tr></table>"
    "<script>alert(1)</script><img src='//example.org/x.png' onerror='alert(2)' alt='remote'>"
    "<audio controls><source src='data:audio/wav;base64,UklGRg==' type='audio/wav'></audio>"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    outputs = [
        new_output("stream", name="stdout", text="frames [B, T, F] <float32>\n"),
        new_output(
            "display_data",
            data={"image/png": PNG, "text/plain": "<Figure>"},
            metadata={"image/png": {"alt": 'Mel of a "Blues" clip, bands < 64'}},
        ),
        new_output("display_data", data={"image/png": PNG}),
        new_output("execute_result", execution_count=3, data={"text/html": TABLE}),
        new_output("display_data", data={"text/markdown": "Computed: $x^2$"}),
        new_output(
            "display_data",
            data={
                "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
                "text/plain": "interactive(children=(IntSlider(value=0)",
            },
        ),
        new_output("display_data", data={"application/javascript": "alert(3)"}),
    ]
    code = new_code_cell("def f(x):\n    return x < 1", execution_count=3, outputs=outputs)
    notebook = new_notebook(cells=[new_markdown_cell(PROSE), code])
    nbformat.write(notebook, folder / "05_lstm.ipynb")
    pages.write_page(folder / "05_lstm.ipynb", folder / "05_lstm.html")
    return (folder / "05_lstm.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tags(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html.parser")


def test_every_figure_is_described(tags):
    alts = [image.get("alt") for image in tags("img")]
    assert alts == ['Mel of a "Blues" clip, bands < 64', pages.NO_ALT]


def test_nothing_is_loaded_from_elsewhere(page, tags):
    assert tags(["script", "iframe", "link", "object", "embed"]) == []
    for tag in tags(True):
        assert not [name for name in tag.attrs if name.startswith("on")]
        for name in ("src", "srcset", "poster", "data"):
            assert tag.get(name, "data:").startswith("data:")
    assert not re.search(r"@import|url\((?!['\"]?data:)", page)
    (policy,) = (tag["content"] for tag in tags("meta") if tag.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_links_and_sounds_stay(tags):
    addresses = [link["href"] for link in tags("a")]
    assert "https://example.org/paper" in addresses
    assert "https://example.org/picture.png" in addresses, "a remote picture becomes a link"
    assert len(tags("source")) == 1


def test_formulas_are_drawn_by_the_browser(page, tags):
    assert [formula["display"] for formula in tags("math")[:2]] == ["inline", "block"]
    assert page.count("<mfrac>") >= 2 and "costs 5$" in page


def test_a_formula_that_cannot_be_drawn_stays_readable(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert pages.formula("a < b") == "<code>$a &lt; b$</code>"
    assert pages.formula("a", block=True) == "<code>$$a$$</code>"


def test_code_and_output_are_text(page):
    assert "<title>The LSTM on *mel*</title>" in page
    assert 'class="highlight' in page and ".highlight .k" in page
    assert "frames [B, T, F] &lt;float32&gt;" in page
    assert ">[3]</div>" in page, "the number by which a failure is reported"
    assert "IntSlider" not in page and "open the notebook in JupyterLab" in page


def test_the_index_links_what_there_is(tmp_path):
    done, failed = Paths(tmp_path, "05_lstm"), Paths(tmp_path, "06_metrics")
    done.page.parent.mkdir()
    done.page.write_text("x")
    (tmp_path / "results.csv").write_text("notebook,value\n05_lstm,0.41\n")
    rows = [
        Row(done.name, "done", 12.3, 700.0, "accuracy of the LSTM: 0.41 & more"),
        Row(failed.name, "failed", 2.0, 300.0, "", ["06_metrics failed in cell [4]:", "  <Error>"]),
        Row("07_cnn", "skipped", message=["needs 06_metrics"]),
    ]
    summary = {
        "run": "demo",
        "finished": "now",
        "total_seconds": 15.0,
        "profile": "demo",
        "data": {"demo": True, "folder": "x", "fingerprint": "abc"},
        "device": "auto",
        "threads": 2,
        "python": "3.12",
        "versions": {"torch": "2.13.0"},
        "notebooks": [vars(row) for row in rows],
    }
    content = pages.write_index(tmp_path, summary).read_text(encoding="utf-8")
    tags = BeautifulSoup(content, "html.parser")
    links = [link["href"] for link in tags("a")]
    assert links == ["05_lstm.html", "../results.csv", "../summary.json", "glossary.html"]
    assert "accuracy of the LSTM: 0.41 &amp; more" in content
    assert "&lt;Error&gt;" in content and "needs 06_metrics" in content
    assert tags("script") == []
