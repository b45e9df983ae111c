"""The explorers: what their controls hold, and what they do in a real browser.

On a page and in JupyterLab; all pages of a run stand in test_smoke.
"""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_output
from PIL import Image
from sklearn.metrics import f1_score

from helpers.datasets import genre_splits
from helpers.folders import GENRE
from helpers.machinery.files import LabError, demo_data, read_json
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
def shown(record: Record) -> list[str]:
    """The HTML of all explorers: two clips, threshold, neighbours, confusion matrix, maps."""
    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showing, "in_notebook", lambda: True)
        patch.setattr(showing, "show_html", lambda text, _: texts.append(text))
        explorers.two_clips(record, ["International", "Hip-Hop"])
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES)
        train = genre_splits(record.data / GENRE, "mel", 0).train
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


# ---- what the controls hold --------------------------------------------------------------------


def test_controls_bring_their_script_and_a_plain_script_says_where_they_are(
    record, outputs, monkeypatch, capsys
):
    explorers.threshold(record, TRUE, PROBABILITIES, CLASSES)
    (controls,) = outputs
    script = explorers.SCRIPT.read_text(encoding="utf-8")
    assert controls["text/html"].endswith(f"<script>{script}</script>")
    assert "</script" not in script and "<!--" not in script
    monkeypatch.setattr(showing, "in_notebook", lambda: False)
    explorers.threshold(record, TRUE, PROBABILITIES, CLASSES)
    assert len(outputs) == 1 and "on the page of 01_visualization" in capsys.readouterr().out


def test_data_cannot_leave_the_place_they_stand_in(outputs):
    evil = "</div><script>alert(1)</script>\"'"
    explorers.confusion({evil: [[1]]}, [evil])
    (text,) = (output["text/html"] for output in outputs)
    assert len(BeautifulSoup(text, "html.parser")("script")) == 1
    assert list(data_of(text)["examples"]) == [evil]


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


def picture_of(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_has_the_lowest_band_below_and_is_narrowed():
    array = np.full((128, 1292), -80.0)
    array[0] = 0
    picture = picture_of(explorers._picture(array, "mel", 160, 64)).convert("L")
    assert picture.size == (160, 64)
    shades = np.asarray(picture)
    assert (shades[-1] > shades[0]).all() and len(np.unique(shades[:-1])) == 1


def test_a_clip_with_audio_is_offered_first_and_heard_as_it_is(
    mini_data, home, outputs, monkeypatch
):
    monkeypatch.setattr(explorers, "approximate_audio", lambda _: np.zeros(22050))
    folder = home / ".cache" / "demo"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(mini_data)
    record = records.open_record("01_visualization", demo_data(), 0)
    tracks = explorers._TrainingClips(mini_data).full
    clip = tracks.index[tracks["genre"] == "Classical"][-1]
    (folder / "complete.json").write_text('{"size": 1.0}')
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / f"{clip}.flac", np.zeros(22050 * 12), 22050)
    explorers.two_clips(record)
    data = data_of(outputs[0]["text/html"])
    first = data["clips"][data["begin"][0]]
    assert (first["title"], first["note"]) == (f"Classical (clip {clip})", "the first 10 seconds")
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(first["sound"])))
    assert rate == 22050 and len(sound) / rate == pytest.approx(10, abs=0.2)
    assert explorers._TrainingClips(mini_data).audible == [], "its ids mean nothing in other data"


def test_neighbours_are_others_and_the_first_clip_is_the_most_confident_error(
    record, outputs, monkeypatch
):
    train = genre_splits(record.data / GENRE, "mel", 0).train
    seen = explorers._SeenByModel(small_cnn(), train, 4, "cpu")
    for clip in range(len(train)):
        near = seen.nearest(clip)
        assert clip not in near and len(set(near)) == explorers.N_NEIGHBOURS
        likeness = seen.likeness[clip, near]
        assert (np.diff(likeness) <= 1e-6).all() and likeness.max() <= 1 + 1e-5
    begin = seen.most_confident_error()
    assert seen.answers[begin] != seen.labels[begin]
    monkeypatch.setattr(explorers, "MOST_CLIPS", 3)
    explorers.neighbours(record, small_cnn(), train)
    data = data_of(outputs[0]["text/html"])
    clips = data["clips"]
    assert clips[data["begin"]]["title"] == seen.names[begin]
    assert 3 <= sum(bool(clip["near"]) for clip in clips) <= 4 < len(clips)
    near = [clips[i]["title"] for i, _ in clips[data["begin"]]["near"]]
    assert near == [seen.names[i] for i in seen.nearest(begin)]
    seen.answers = list(seen.labels)
    assert seen.most_confident_error() == 0, "no error: the first clip"


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


def test_wrong_choices_are_one_line(record):
    with pytest.raises(LabError, match="no training clip of genre 'Clasical' .did you mean"):
        explorers.two_clips(record, ["Clasical", "Hip-Hop"])
    with pytest.raises(LabError, match="do not belong to 6 clips and 2 classes"):
        explorers.threshold(record, TRUE, PROBABILITIES, CLASSES[:2])
    train = genre_splits(record.data / GENRE, "mel", 0).train
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


def test_the_threshold_counts_as_it_is_moved(page):
    threshold = place(page, 1)
    slider = threshold.find_element("css selector", "input[type=range]")
    for name, at in (("Pop", 0.5), ("Pop", 0.65), ("Blues", 0.6), ("Rock", 0.95)):
        choose(threshold, "class", name)
        ask(page, "setValue(...arguments)", slider, round(100 * at))
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
CODE = """
import numpy as np
from pathlib import Path
from helpers.notebook import explorers, records, showing
record = records.open_record("05_train", Path({data!r}), 0)
explorers.approximate_audio = lambda mel: np.random.default_rng(0).normal(0, 0.1, 44100)
explorers.two_clips(record)
chances = np.linspace(0.1, 0.9, 9)
classes = ["Blues", "Rock"]
explorers.threshold(record, np.arange(9) // 5, np.stack([1 - chances, chances], 1), classes)
"""
LAB = """
import sys
from pathlib import Path
from tests.small_lab import SmallLab
from tools.run.jupyter_lab import main
main(sys.argv[2:], SmallLab(Path(sys.argv[1])).lab)
"""
TOKEN = "token-of-the-test"


@pytest.fixture
def notebook(mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a notebook in JupyterLab, as `./run_all.sh lab` starts it."""
    small, runtime = SmallLab.made(tmp_path / "small"), tmp_path / "jupyter"
    small.write(NOTEBOOK, CODE.format(data=str(mini_data)))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(runtime / name))
    monkeypatch.delenv("MUSICLAB_HEADLESS")
    options = ("--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.port_retries=0")
    options += (f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True")
    with open(tmp_path / "jupyter.log", "w") as log:
        server = small.start(*options, program=("-c", LAB), stdout=log, stderr=log)

    def told() -> list[dict[str, Any]]:
        """What the server says of itself, once it does."""
        files = (runtime / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json")
        return list(filter(None, map(read_json, files)))

    try:
        wait_until(lambda: server.poll() is not None or bool(told()), 90)
        assert server.poll() is None, (tmp_path / "jupyter.log").read_text()[-2000:]
        yield f"{told()[0]['url']}doc/tree/notebooks/{NOTEBOOK}.ipynb?token={TOKEN}"
    finally:
        kill_all(server)
        server.wait()


def test_the_same_controls_work_in_jupyterlab(browser, notebook):
    browser.get(notebook)
    wait_until(lambda: ask(browser, "runAllCells()"), 240)
    wait_until(
        lambda: ask(browser, "explorers()") == [2, 0],
        180,
        moving=lambda: ask(browser, "document.body.innerHTML.length"),
    )
    threshold = place(browser, 1)
    choose(threshold, "class", "Rock")
    slider, told = threshold.find_element("css selector", "input[type=range]"), []
    for at in (30, 60):
        ask(browser, "setValue(...arguments)", slider, at)
        told.append(threshold.text)
    assert "TP 4" in told[0] and "TP 4" in told[1] and "FP 3" in told[0] and "FP 0" in told[1]
    wait_until(lambda: min(ask(browser, "durations()")) > 1, 120)
