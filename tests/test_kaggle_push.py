"""`./run_all.sh kaggle-push`: what is prepared, what Kaggle's own client sends, in which order."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from helpers.machinery.files import LabError
from helpers.machinery.profiles import load_profile
from tests.kaggle_server import Answer, KaggleServer
from tools.common.notebooks import Lab
from tools.kaggle import push as kaggle_push


@pytest.fixture
def kaggle(kaggle: KaggleServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> KaggleServer:
    """Kaggle as somebody with a token finds it who has never pushed anything."""
    monkeypatch.setenv("KAGGLE_USERNAME", "student")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    monkeypatch.setattr(kaggle_push, "POLL_SECONDS", 0.0)
    made: list[str] = []

    def data_set_status(request: dict) -> Answer:
        if not made:
            return 403, {"code": 403, "message": "Permission 'datasets.get' was denied"}
        return 200, {"status": "READY"}

    def create(request: dict) -> Answer:
        made.append(request["slug"])
        return 200, {"ref": request["slug"], "status": "ok"}

    kaggle.answers["GetDatasetStatus"] = data_set_status
    kaggle.answers["CreateDataset"] = create
    kaggle.answer("CreateDatasetVersion", {"status": "ok"})
    upload = {"token": "blob", "createUrl": f"{kaggle.url}/put"}
    kaggle.answers["StartBlobUpload"] = lambda request: (
        200, upload | {"createUrl": f"{kaggle.url}/put/{request['name']}"},
    )  # fmt: skip
    kaggle.answers["SaveKernel"] = lambda request: (
        200, {"ref": request["slug"], "url": f"https://www.kaggle.com/code/{request['slug']}"},
    )  # fmt: skip
    kaggle.answer("GetKernelSessionStatus", {"status": "COMPLETE"})
    return kaggle


def failure(*options: str) -> str:
    with pytest.raises(LabError) as caught:
        kaggle_push.main(list(options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pushed(kaggle: KaggleServer) -> list[str]:
    return [request["slug"] for request in kaggle.requests("SaveKernel")]


# ---- prepared ----------------------------------------------------------------------------------


def test_a_dry_run_prepares_everything_and_needs_neither_token_nor_network(
    kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    assert kaggle_push.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "note: no valid token for Kaggle found" in said and "nothing was sent" in said
    for name in Lab().names:
        assert f"kernel USERNAME/{kaggle_push.slug(name)}, private, NvidiaTeslaT4" in said
    assert kaggle.asked == []


def test_a_kernel_is_private_has_a_gpu_no_internet_and_what_it_needs(home: Path) -> None:
    folder = kaggle_push.prepare(Lab(), ["11_kaggle_submission"], "student")
    kernel = folder / "musiclab-11-kaggle-submission"
    about = json.loads((kernel / "kernel-metadata.json").read_text())
    assert about == {
        "id": "student/musiclab-11-kaggle-submission",
        "title": "musiclab 11 kaggle submission",
        "code_file": "11_kaggle_submission.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "machine_shape": "NvidiaTeslaT4",
        "enable_internet": False,
        "dataset_sources": [
            "geoparslp/patreco3-multitask-affective-music", "student/musiclab-helpers",
        ],
        "competition_sources": [],
        "kernel_sources": [
            "student/musiclab-08-regression", "student/musiclab-09-transfer",
            "student/musiclab-10-multitask",
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", Lab().names)
def test_a_pushed_notebook_has_the_full_profile_s_parameters(home: Path, name: str) -> None:
    """Without environment variables, in a cell after the notebook's own, before they are used."""
    folder = kaggle_push.prepare(Lab(), [name], "student")
    text = (folder / kaggle_push.slug(name) / f"{name}.ipynb").read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    tags = [cell["metadata"].get("tags", []) for cell in code]
    number = tags.index(["injected-parameters"])
    assert tags[number - 1] == ["parameters"]
    assert "apply_profile" in "".join(code[number + 1]["source"])
    set_to: dict[str, object] = {}
    exec("".join(code[number]["source"]), set_to)
    del set_to["__builtins__"]
    assert set_to == load_profile("full").overrides(name)


def test_the_data_set_holds_the_helpers_with_their_profiles_and_nothing_of_the_user(
    home: Path,
) -> None:
    folder = kaggle_push.prepare(Lab(), [], "student") / "musiclab-helpers"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    needed = {"folders.py", "machinery/store.py", "notebook/records.py", "profiles/full.yaml"}
    assert {f"kit/helpers/{name}" for name in needed} | {"kit/demo_music/build.py"} < files
    kit = ("kit/helpers/", "kit/demo_music/")
    others = {name for name in files if not name.startswith(kit)}
    assert others == {"dataset-metadata.json", "kit/pyproject.toml", "kit/LICENSE"}
    about = json.loads((folder / "dataset-metadata.json").read_text())
    assert about["id"] == "student/musiclab-helpers" and 6 <= len(about["title"]) <= 50


# ---- pushed ------------------------------------------------------------------------------------


def test_the_data_set_is_made_private_then_kernels_are_pushed_in_order(
    kaggle: KaggleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kaggle_push.main(["06", "00", "lstm"]) == 0
    (made,) = kaggle.requests("CreateDataset")
    assert made["isPrivate"] is True and made["slug"] == "musiclab-helpers"
    with zipfile.ZipFile(io.BytesIO(kaggle.uploads["/put/kit.zip"])) as archive:
        assert "helpers/machinery/store.py" in archive.namelist()
    assert pushed(kaggle) == [
        "student/musiclab-00-setup", "student/musiclab-05-lstm", "student/musiclab-06-metrics",
    ]  # fmt: skip
    for request in kaggle.requests("SaveKernel"):
        assert request["isPrivate"] is True and request["enableGpu"] is True
        assert request["enableInternet"] is False and request["machineShape"] == "NvidiaTeslaT4"
        assert "injected-parameters" in request["text"]
    assert request["kernelDataSources"] == ["student/musiclab-05-lstm"]
    said = capsys.readouterr().out
    assert "06_metrics: pushed, https://www.kaggle.com/code/student/musiclab-06-metrics" in said
    assert "does not resolve" not in said, "the client's warning about title and address"


def test_the_second_time_the_data_set_gets_a_version(kaggle: KaggleServer) -> None:
    assert kaggle_push.main(["00"]) == 0
    assert kaggle_push.main(["00"]) == 0
    assert len(kaggle.requests("CreateDataset")) == 1
    assert len(kaggle.requests("CreateDatasetVersion")) == 1


def test_a_kernel_waits_for_those_it_needs(
    kaggle: KaggleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter(["QUEUED", "RUNNING"])
    asked: list[str] = []

    def status(request: dict) -> Answer:
        asked.append(request["kernelSlug"])
        assert pushed(kaggle) == []
        return 200, {"status": next(states, "COMPLETE")}

    kaggle.answers["GetKernelSessionStatus"] = status
    assert kaggle_push.main(["07"]) == 0
    assert asked == ["musiclab-05-lstm"] * 3
    assert "waiting for https://www.kaggle.com/code/student/musiclab-05-lstm" in (
        capsys.readouterr().out
    )


def test_a_kernel_that_failed_stops_those_that_need_it(kaggle: KaggleServer) -> None:
    kaggle.answer("GetKernelSessionStatus", {"status": "ERROR", "failureMessage": "no memory"})
    said = failure("05", "07", "08")
    assert said == (
        "https://www.kaggle.com/code/student/musiclab-05-lstm: did not run to its end (no memory); "
        "mend it, then go on with ./run_all.sh kaggle-push 07 08"
    )
    assert pushed(kaggle) == ["student/musiclab-05-lstm"]


def test_what_a_kernel_needs_must_be_there(kaggle: KaggleServer) -> None:
    kaggle.refuse("GetKernelSessionStatus", 403, "Permission 'kernels.get' was denied")
    assert "musiclab-05-lstm: is not on Kaggle yet; push it first" in failure("06")
    assert pushed(kaggle) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error": "Maximum batch GPU session count of 2 reached."}, "Maximum batch GPU session"),
        ({"invalidDatasetSources": ["student/musiclab-helpers"]}, "does not know student/musiclab"),
        ({"invalidKernelSources": ["student/x"]}, "does not know student/x"),
    ],
)
def test_what_kaggle_does_not_take_is_one_line(
    kaggle: KaggleServer, answer: dict, problem: str
) -> None:
    kaggle.answer("SaveKernel", answer)
    said = failure("00")
    assert said.startswith("musiclab-00-setup: not taken by Kaggle (") and problem in said
    assert said.endswith("then go on with ./run_all.sh kaggle-push 00")


def test_without_a_token_nothing_is_prepared_or_sent(
    kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    assert failure("00").startswith("no valid token for Kaggle found")
    assert "unknown notebook 'lsmt' (did you mean 'lstm'?)" in failure("lsmt")
    assert kaggle.asked == []
