"""The HTML pages: they stand alone, describe their figures, and show formulas.

The index, with links and failures, is looked at in test_runner; all pages of a run in test_smoke.
"""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.run import pages

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n not really").decode()
ALT = 'Mel of a "Blues" clip, bands < 64'
PROSE = r"""# The LSTM on *mel*

The loss is $\frac{1}{n}\sum_i (y_i - \hat{y}_i)^2$, a ticket costs 5$.

$$\rho = 1 - \frac{6 \sum d_i^2}{n (n^2 - 1)}$$

A formula that is none: $\frac{a} < \left$.
"""
OUTPUTS = (
    new_output("stream", name="stdout", text="frames [B, T, F] <float32>\n"),
    new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"alt": ALT}}),
    new_output("display_data", {"image/png": PNG}),
    new_output("display_data", {"text/markdown": "Computed: $x^2$"}),
    new_output("display_data", {"application/javascript": "alert(3)"}),
    new_output(
        "display_data",
        {
            "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
            "text/plain": "interactive(children=(IntSlider(value=0)",
        },
    ),
)


@pytest.fixture
def page(tmp_path: Path) -> str:
    code = new_code_cell("def f(x):\n    return x < 1", execution_count=3, outputs=[*OUTPUTS])
    notebook = new_notebook(cells=[new_markdown_cell(PROSE), code])
    nbformat.write(notebook, tmp_path / "05_lstm.ipynb")
    pages.write_page(tmp_path / "05_lstm.ipynb", tmp_path / "05_lstm.html")
    return (tmp_path / "05_lstm.html").read_text(encoding="utf-8")


def test_a_page_describes_its_figures_draws_its_formulas_and_loads_nothing(page):
    tags = BeautifulSoup(page, "html.parser")
    assert [image["alt"] for image in tags("img")] == [ALT, pages.NO_ALT]
    assert [formula["display"] for formula in tags("math")] == ["inline", "block", "inline"]
    assert page.count("<mfrac>") == 2 and "costs 5$" in page
    assert r"<code>$\frac{a} &lt; \left$</code>" in page, "what cannot be drawn can be read"
    assert tags(["script", "iframe", "link"]) == [] and "@import" not in page
    (policy,) = (tag["content"] for tag in tags("meta") if tag.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_code_and_output_are_text(page):
    assert "<title>The LSTM on *mel*</title>" in page
    assert 'class="highlight' in page and ".highlight .k" in page
    assert "frames [B, T, F] &lt;float32&gt;" in page
    assert ">[3]</div>" in page, "the number by which a failure is reported"
    assert "IntSlider" not in page and "open the notebook in JupyterLab" in page
