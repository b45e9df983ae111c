"""The HTML pages: they stand alone, describe their figures, show formulas, fold what tags say.

The index, with links and failures, is looked at in test_runner; all pages of a run in test_smoke,
and in a browser what runs on a page in test_explorers.
"""

import base64
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.browser import page_of
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


def test_a_page_describes_its_figures_draws_its_formulas_and_loads_nothing(tmp_path):
    code = new_code_cell("def f(x):\n    return x < 1", execution_count=3, outputs=[*OUTPUTS])
    page = page_of(tmp_path, new_markdown_cell(PROSE), code).read_text(encoding="utf-8")
    tags = BeautifulSoup(page, "html.parser")
    assert [image["alt"] for image in tags("img")] == [ALT, pages.NO_ALT]
    assert [formula["display"] for formula in tags("math")] == ["inline", "block", "inline"]
    assert page.count("<mfrac>") == 2 and "costs 5$" in page
    assert r"<code>$\frac{a} &lt; \left$</code>" in page, "what cannot be drawn can be read"
    assert tags(["script", "iframe", "link"]) == [] and "@import" not in page
    (policy,) = (tag["content"] for tag in tags("meta") if tag.get("http-equiv"))
    assert "default-src 'none'" in policy and policy.count("'sha256-") == 1
    assert "<title>The LSTM on *mel*</title>" in page
    assert 'class="highlight' in page and ".highlight .k" in page
    assert "frames [B, T, F] &lt;float32&gt;" in page
    assert ">[3]</div>" in page, "the number by which a failure is reported"
    assert "IntSlider" not in page and "open the notebook in JupyterLab" in page


# ---- folds, contents, neighbours ---------------------------------------------------------------


def tagged(source: str, *tags: str, code: bool = True, **more: Any) -> Any:
    new = new_code_cell if code else new_markdown_cell
    return new(source, metadata={"tags": list(tags)}, **more)


def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def test_tags_fold_cells_and_what_papermill_repeats_is_left_out(tmp_path):
    said = new_output("stream", name="stdout", text="the verdict")
    broken = new_output("error", ename="E", evalue="e", traceback=["E: e"])
    written = page_of(
        tmp_path,
        new_markdown_cell("# 05 · A title"),
        tagged("## Set-up", "setup", code=False),
        tagged("import this", "setup"),
        tagged("seed = 7", "injected-parameters"),
        tagged("go_on()", "setup"),
        new_markdown_cell("## 5α · The *first*\n\nIts text."),
        tagged("tell('x')", "told", outputs=[said]),
        tagged("solve()", "solution", "folded"),
        tagged("### An extra\n\nIts text.", "extra", code=False),
        tagged("more()", "extra", outputs=[broken]),
        tagged("### Another", "extra", code=False),
        tagged("record.finish()", "stored"),
    )
    page = parsed(written)
    folds = {fold.summary.get_text(strip=True): fold for fold in page(class_="fold")}
    assert list(folds) == [
        "Set-up", "Code of what follows", "Solution", "An extra", "Another", "Stored files"
    ]  # fmt: skip
    assert "seed = 7" not in page.text
    texts = {name: fold.text for name, fold in folds.items()}
    assert "import this" in texts["Set-up"] and "go_on()" in texts["Set-up"]
    assert "Its text." in texts["An extra"] and "more()" in texts["An extra"]
    assert "the verdict" not in texts["Code of what follows"] and "the verdict" in page.text
    opened = [name for name, fold in folds.items() if fold.has_attr("open")]
    assert opened == ["An extra"], "what failed is not hidden"
    for contents in page(class_="contents"):
        links = {a.text: a["href"] for a in contents("a")}
        assert links == {"Set-up": "#set-up", "5α The first": "#5α--the-first"}
        assert contents.find("b").text == "5α"


def test_the_index_leads_to_labels_and_each_page_to_its_neighbours(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    insight = "**The one insight:** look *before* you train."
    heading = "## 5α · An <b>LSTM</b>\n\n### 5α · again"
    for name, text in {"04_histograms": "", "05_lstm": heading, "06_metrics": ""}.items():
        title = f"# {name[:2]} · One: two"
        page_of(folder, new_markdown_cell(f"{title}\n\n{insight}\n\n{text}"), name=name)
    rows = [{"notebook": name, "status": "done"} for name in ("05_lstm", "99_none")]
    rows[0]["key_metric"] = "accuracy <0.7>"
    about = dict.fromkeys(("run", "profile", "device", "threads", "python"), "x")
    about |= {"finished": "2026-11-21T15:47:41+00:00", "total_seconds": 616, "versions": {}}
    summary = {**about, "data": {"demo": True, "fingerprint": "f"}, "notebooks": rows}
    index = pages.write_index(tmp_path, summary).read_text(encoding="utf-8")
    assert "21 November 2026, 15:47 UTC" in index and "10:16" in index
    assert "accuracy &lt;0.7&gt;" in index and "Look before you train." in index
    assert '<a href="05_lstm.html#5α--an-lstm"><b>5α</b> An LSTM</a>' in index
    for _ in range(2):  # written again, it stays as it is
        above, below = parsed(folder / "05_lstm.html")(class_="steps")
        links = {a["href"]: a.text for a in above("a")}
        assert links == {
            "index.html": "Start here",
            "04_histograms.html": "« 04 · One",
            "06_metrics.html": "» 06 · One",
        }
        assert str(above) == str(below)
        pages.write_index(tmp_path, summary)
