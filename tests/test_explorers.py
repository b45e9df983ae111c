"""The explorers: what their controls hold, and what they do in a real browser.

On a page and in JupyterLab; all pages of a run stand in test_smoke.
"""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_output
from PIL import Image
from sklearn.metrics import f1_score
from torch.utils.data import Subset

from helpers.datasets import genre_splits
from helpers.features import SAMPLE_RATE, mel_frequencies
from helpers.folders import GENRE, read_clips
from helpers.machinery.files import LabError
from helpers.machinery.process import seed_everything
from helpers.models import Classifier, CNNBackbone
from helpers.notebook import explorers, records, showing
from helpers.notebook.records import Record
from tests.browser import ask, faults_of_page, page_of
from tests.small_lab import SmallLab, kill_all, wait_until

pytestmark = pytest.mark.timeout(600)

CLASSES = ["Blues", "Pop", "Rock"]
TRUE = np.array([0, 0, 1, 1, 1, 1])  # no clip of Rock
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0],
     [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.6, 0.4, 0.0]]
)  # fmt: skip
COUNTS = {"one large class": [[90, 5, 5], [4, 1, 0], [3, 0, 2]], "even": [[9, 1, 0]] * 3}


def small_cnn() -> Classifier:
    seed_everything(0)
    return Classifier(CNNBackbone(128, (2, 2, 2, 4)), n_classes=3)


@pytest.fixture(scope="module")
def record(mini_data: Path) -> Record:
    return records.open_record("01_visualization", mini_data, 0)


@pytest.fixture(scope="module")
def train(mini_data: Path) -> Subset:
    return genre_splits(mini_data / GENRE, "mel", 0).train


@pytest.fixture(scope="module")
def shown(record: Record, train: Subset) -> list[str]:
    """The HTML of all explorers: two clips, threshold, neighbours, confusion matrix, maps."""
    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showing, "in_notebook", lambda: True)
        patch.setattr(showing, "show_html", lambda text, _: texts.append(text))
        noise = 0.1 * np.random.default_rng(0).standard_normal(44100)
        patch.setattr(explorers, "approximate_audio", lambda _: noise)
        explorers.two_clips(record, ["International", "Hip-Hop"])
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES)
        explorers.neighbours(record, small_cnn(), train)
        explorers.confusion(COUNTS, CLASSES)
        vectors = np.random.default_rng(0).standard_normal((len(train), 5))
        drawn = {("CNN", "PCA"): vectors[:, :2], ("CNN", "t-SNE"): -7 * vectors[:, :2]}
        explorers.maps(record, train, {"CNN": vectors}, drawn)
    return texts


def data_of(text: str) -> dict[str, Any]:
    """The data of controls, from their HTML."""
    place = BeautifulSoup(text, "html.parser").find(class_="explorer")
    return json.loads(place["data-explorer"])


def picture_of(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


# ---- what the controls hold --------------------------------------------------------------------


def test_controls_bring_their_script_alone_and_a_plain_script_says_where_they_are(
    outputs, monkeypatch, capsys
):
    evil = "</div><script>alert(1)</script>\"'"
    explorers.confusion({evil: [[1]]}, [evil])
    text = outputs[0]["text/html"]
    script = explorers.SCRIPT.read_text(encoding="utf-8")
    assert text.endswith(f"<script>{script}</script>")
    assert len(BeautifulSoup(text, "html.parser")("script")) == 1, "data cannot leave their place"
    assert list(data_of(text)["examples"]) == [evil]
    monkeypatch.setattr(showing, "in_notebook", lambda: False)
    explorers.confusion(COUNTS, CLASSES)
    assert len(outputs) == 1 and "on the page of notebook 06" in capsys.readouterr().out


def test_whether_a_score_reaches_a_threshold_survives_the_rounding(record, outputs):
    scores = np.array([[0.29, 0.71], [0.57, 0.43], [0.49999, 0.50001]])
    explorers.threshold(record, np.array([0, 1, 1]), scores, ["A", "B"])
    assert data_of(outputs[0]["text/html"])["scores"] == [[2900, 7100], [5700, 4300], [4999, 5000]]


def test_two_clips_begin_as_asked_and_have_four_pictures_and_an_approximate_sound(shown):
    data = data_of(shown[0])
    titles = [clip["title"] for clip in data["clips"]]
    assert [titles[i].split(" (")[0] for i in data["begin"]] == ["International", "Hip-Hop"]
    assert len(titles) == 3 + 3 + 2, "three of each of the two, and one of each other genre"
    for number, clip in enumerate(data["clips"]):
        sizes = [picture_of(one).size for one in clip["pictures"]]
        assert [high for _, high in sizes] == [128, 128, 12, 12] and sizes[0][0] > sizes[1][0]
        begins = number in data["begin"]
        assert clip["note"] == (explorers.APPROXIMATE if begins else "none")
        assert bool(clip["sound"]) == begins


def test_one_band_is_drawn_from_below_in_a_narrower_picture_and_sounds_like_its_pitch():
    band, mel = 40, np.full((128, 200), -80.0)
    mel[band] = 0
    picture = picture_of(explorers._picture(mel, "mel", *explorers.SMALL)).convert("L")
    assert picture.size == (160, 64)
    shades = np.asarray(picture)
    assert (shades[63 - band // 2] > shades[0]).all() and len(np.unique(shades)) == 2
    spectrum = np.abs(np.fft.rfft(explorers.approximate_audio(mel[:, :20])))
    hertz = spectrum.argmax() / (2 * len(spectrum)) * SAMPLE_RATE
    assert hertz == pytest.approx(mel_frequencies()[band], rel=0.05)


def test_a_clip_with_audio_is_offered_first_and_heard_as_it_is(
    mini_data, record, tmp_path, outputs, monkeypatch
):
    tracks = read_clips(mini_data / GENRE, "train")
    clip = tracks["id"][tracks["genre"] == "Classical"].iloc[-1]
    soundfile.write(tmp_path / "long.flac", np.zeros(22050 * 12), 22050)
    monkeypatch.setattr(explorers, "audio_clips", lambda _: [clip])
    monkeypatch.setattr(explorers, "audio_path", lambda *_: tmp_path / "long.flac")
    explorers.two_clips(record)
    data = data_of(outputs[0]["text/html"])
    first = data["clips"][data["begin"][0]]
    assert (first["title"], first["note"]) == (f"Classical (clip {clip})", "the first 10 seconds")
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(first["sound"])))
    assert rate == 22050 and len(sound) / rate == pytest.approx(10, abs=0.2)


def test_neighbours_begin_with_the_most_confident_error_and_some_of_many_clips_are_offered(
    record, train, shown, outputs, monkeypatch
):
    data, model = data_of(shown[2]), small_cnn().eval()
    with torch.no_grad():
        vectors = [model.backbone(x[None], torch.tensor([n]))[0] for x, _, n in train]
    unit = torch.nn.functional.normalize(torch.stack(vectors))
    for clip, cosines in zip(data["clips"], unit @ unit.T, strict=True):
        near, likeness = zip(*clip["near"], strict=True)
        assert likeness == pytest.approx(cosines.topk(5)[0][1:].tolist(), abs=1e-3)
        assert cosines[list(near)].tolist() == pytest.approx(likeness, abs=1e-3)
    errors = [clip for clip in data["clips"] if clip["answer"] != clip["label"]]
    begin = data["clips"][data["begin"]]
    assert begin in errors and max(begin["scores"]) == max(max(one["scores"]) for one in errors)
    monkeypatch.setattr(explorers, "MOST_CLIPS", 3)
    explorers.neighbours(record, small_cnn(), train)
    few = data_of(outputs[0]["text/html"])["clips"]
    assert 3 <= sum(bool(clip["near"]) for clip in few) <= 4 < len(few)


def test_a_map_s_dots_have_their_clip_and_its_neighbours_in_the_whole_space(shown):
    data = data_of(shown[4])
    vectors = np.random.default_rng(0).standard_normal((len(data["clips"]), 5))
    for clip, near in enumerate(data["near"]["CNN"]):
        away = np.linalg.norm(vectors - vectors[clip], axis=1)
        assert near == np.argsort(away)[1 : 1 + explorers.N_NEIGHBOURS].tolist()
    for drawn in data["maps"]:
        places = np.array(drawn["places"])
        assert places.min() == 0 and places.max() == 1  # both axes on one scale
    clip = data["clips"][0]
    rows = picture_of(clip["picture"]).size[1]
    assert rows == len(data["hertz"]) and clip["seconds"] == pytest.approx(1.5, abs=0.1)
    assert clip["title"].startswith(clip["label"])


def test_wrong_choices_are_one_line(record, train):
    with pytest.raises(LabError, match="no training clip of genre 'Clasical' .did you mean"):
        explorers.two_clips(record, ["Clasical", "Hip-Hop"])
    with pytest.raises(LabError, match="do not belong to 6 clips and 2 classes"):
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES[:2])
    with pytest.raises(LabError, match=f"CNN: 2 rows for {len(train)} clips; give one each"):
        explorers.maps(record, train, {"CNN": np.zeros((2, 5))}, {})


# ---- in a browser ------------------------------------------------------------------------------

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
    return page_of(folder, new_code_cell(outputs=outputs))


@pytest.fixture(scope="module")
def page(browser: Any, shown: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The browser with a page that holds all explorers; nothing is asked of the network.

    Each of the tests that follow works with another explorer.
    """
    assert faults_of_page(browser, written(tmp_path_factory.mktemp("page"), *shown)) == []
    return browser


def place(page: Any, number: int) -> Any:
    """One of the explorers on the page."""
    return page.find_elements("css selector", ".explorer")[number]


def choose(explorer: Any, menu: str, text: str) -> None:
    """Choose the first entry that begins so, from the menu with this name."""
    path = f".//label[b[starts-with(., '{menu}')]]/select/option[starts-with(., '{text}')]"
    explorer.find_element("xpath", path).click()


def test_two_clips_are_seen_and_heard_on_the_page(page):
    clips = place(page, 0)
    sources = [image.get_attribute("src") for image in clips.find_elements("tag name", "img")]
    assert len(sources) == 2 and len(clips.find_elements("tag name", "audio")) == 2
    wait_until(lambda: min(ask(page, "durations()")) > 1)
    choose(clips, "picture", "beat chroma")
    choose(clips, "first clip", "Hip-Hop")
    first, second = clips.find_elements("tag name", "img")
    assert first.get_attribute("alt").startswith("beat chroma of Hip-Hop")
    assert [first.get_attribute("src"), second.get_attribute("src")] != sources
    assert "beats across" in clips.text


def move(page: Any, threshold: Any, name: str, at: float) -> None:
    """Move the threshold of a class, and see that all that is shown follows."""
    choose(threshold, "class", name)
    slider = threshold.find_element("css selector", "input[type=range]")
    ask(page, "setValue(...arguments)", slider, round(100 * at))
    belongs = CLASSES.index(name) == TRUE
    called = PROBABILITIES[:, CLASSES.index(name)] >= at
    tp, fn, fp = (belongs & called).sum(), (belongs & ~called).sum(), (~belongs & called).sum()
    told = f"{tp / (tp + fp):.2f}" if tp + fp else "0/0, undefined"
    precision = f"Precision TP/(TP+FP) = {tp}/{tp + fp}"
    for said in (f"TP {tp}", f"FN {fn}", f"FP {fp}", precision, told):
        assert said in threshold.text, (name, at)
    strip, curve = threshold.find_elements("css selector", "svg")
    dots = strip.find_elements("css selector", "circle")
    assert sum(dot.get_attribute("fill") != "none" for dot in dots) == called.sum()
    marked = curve.find_elements("css selector", "circle")
    assert len(marked) == bool(called.sum() and belongs.sum()), "undefined is not drawn"


def test_the_threshold_counts_as_it_is_moved(page):
    for name, at in (("Pop", 0.65), ("Blues", 0.6), ("Rock", 0.95)):
        move(page, place(page, 1), name, at)


def test_the_confusion_matrix_says_what_scikit_learn_says(page):
    confusion = place(page, 3)
    counts = np.array(COUNTS["one large class"])
    inputs = confusion.find_elements("css selector", "input[type=number]")
    for change in (None, (8, 40), (0, 0)):
        if change:
            counts.flat[change[0]] = change[1]
            ask(page, "setValue(...arguments)", inputs[change[0]], change[1])
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


def test_a_dot_is_pointed_at_and_heard(page):
    explorer, told = place(page, 4), set()
    for number in (3, 8):
        dot = explorer.find_elements("css selector", "svg[role=img] circle")[number]
        page.execute_script("arguments[0].dispatchEvent(new Event('pointerenter'))", dot)
        told.add(explorer.find_element("css selector", "div[aria-live] b").text)
    assert len(told) == 2 and len(explorer.find_elements("css selector", "svg[role=img] line")) == 4
    choose(explorer, "map", "CNN, t-SNE")
    explorer.find_element("xpath", ".//button[.='play']").click()
    wait_until(lambda: "approximately: its picture" in explorer.text, 30)


def test_no_other_script_runs_on_a_page(browser, tmp_path, shown):
    changed = shown[0].replace("</script>", "document.title = 'run'</script>")
    browser.get(written(tmp_path, HOSTILE, changed).as_uri())
    browser.find_element("id", "evil").click()
    assert browser.title == "x"
    assert "Controls stand here where" in place(browser, 0).text


# ---- JupyterLab --------------------------------------------------------------------------------

NOTEBOOK = "05_train"
LAB = """
import sys
from pathlib import Path
from tests.small_lab import SmallLab
from tools.run.jupyter_lab import main
main(sys.argv[2:], SmallLab(Path(sys.argv[1])).lab)
"""
OPTIONS = (
    "--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.port_retries=0",
    "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True",
)  # fmt: skip


@pytest.fixture
def jupyter_lab(shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of `./run_all.sh lab` on a lab with two explorers in a notebook."""
    small, log = SmallLab.made(tmp_path / "small"), tmp_path / "jupyter.log"
    code = "from IPython.display import HTML, display\ndisplay(*map(HTML, {!r}))"
    small.write(NOTEBOOK, code.format(shown[:2]))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("MUSICLAB_HEADLESS")
    with open(log, "w") as file:
        server = small.start(*OPTIONS, program=("-c", LAB), stdout=file, stderr=file)
    try:
        wait_until(lambda: server.poll() is not None or "http://localhost" in log.read_text(), 90)
        assert server.poll() is None, log.read_text()[-2000:]
        yield re.search(r"http://localhost:\d+/", log.read_text())[0]
    finally:
        kill_all(server)
        server.wait()


def test_the_same_controls_work_in_jupyterlab(browser, jupyter_lab):
    browser.get(f"{jupyter_lab}doc/tree/notebooks/{NOTEBOOK}.ipynb")
    wait_until(lambda: ask(browser, "runAllCells()"), 240)
    wait_until(lambda: ask(browser, "explorers()") == [2, 0], 240)
    move(browser, place(browser, 1), "Pop", 0.3)
    wait_until(lambda: min(ask(browser, "durations()")) > 1, 120)
