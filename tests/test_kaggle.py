"""`--data kaggle`, `kaggle-push` and `submit`: what Kaggle's own packages ask is answered here."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import yaml
from requests import ConnectionError, PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from helpers.folders import MARKER, MULTITASK, data_name, read_clips
from helpers.machinery.files import LabError, write_atomically
from helpers.machinery.profiles import load_profile
from helpers.notebook.soundness import data_fingerprint
from helpers.submission import write_solution
from tools.common.notebooks import Lab
from tools.common.run_folder import Paths
from tools.kaggle import data as kaggle_data
from tools.kaggle import push, submit
from tools.run.plan import make_plan

ROWS = yaml.safe_load(Path(__file__).with_name("kaggle.yaml").read_text(encoding="utf-8"))
URL = "http://kaggle.test"
Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


def refusal(status: int, message: str) -> Answer:
    """A call that fails, in Kaggle's way."""
    return status, {"code": status, "message": message}


@dataclass
class KaggleServer:
    """What is answered, and what was asked."""

    answers: dict[str, Answer | Callable[[dict[str, Any]], Answer]]
    files: dict[str, bytes] = field(default_factory=dict)  # path -> content, to be downloaded
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # method, request
    uploads: dict[str, bytes] = field(default_factory=dict)  # path -> content
    is_reached: bool = True

    def answer(self, method: str, content: dict[str, Any]) -> None:
        """From now on a call of this method gets this JSON."""
        self.answers[method] = (200, content)

    def requests(self, method: str) -> list[dict[str, Any]]:
        """What a method was called with, each time."""
        return [request for name, request in self.asked if name == method]

    def send(self, adapter: HTTPAdapter, request: PreparedRequest) -> Response:
        """In place of the network."""
        if not self.is_reached:
            raise ConnectionError("no network")
        status, content, headers = self.reply(request)
        headers["Content-Length"] = str(len(content))
        raw = HTTPResponse(io.BytesIO(content), headers, status, preload_content=False)
        return adapter.build_response(request, raw)

    def reply(self, request: PreparedRequest) -> tuple[int, bytes, dict[str, str]]:
        """Answers a call, sends a file or takes one: status, content, headers."""
        path, sent = request.path_url, request.body or b"{}"
        if request.method == "GET":
            return (200, self.files[path], {}) if path in self.files else (404, b"", {})
        if request.method == "PUT":
            self.uploads[path] = sent.read()
            return 200, b"", {}
        method, asked = path.rpartition("/")[2], json.loads(sent)
        self.asked.append((method, asked))
        found = self.answers.get(method, refusal(404, "Not found"))
        status, content = found(asked) if callable(found) else found
        if "location" in content:
            return 302, b"", {"Location": URL + content["location"]}
        return status, json.dumps(content).encode(), {"Content-Type": "application/json"}


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KaggleServer:
    """Kaggle that takes what is sent, for a user without a token and with an empty cache."""
    from kagglesdk import kaggle_env

    answers = {method: (200, content) for method, content in ROWS["answers"].items()}
    user, server = tmp_path / "user", KaggleServer(answers)
    (user / "tmp").mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(user))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(user / "kagglehub"))
    monkeypatch.setattr(tempfile, "tempdir", str(user / "tmp"))
    monkeypatch.setattr(push, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.01)
    # Not KAGGLE_API_ENVIRONMENT=TEST and its fixed port: there kagglesdk prints every answer.
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, URL)
    monkeypatch.setattr(
        HTTPAdapter, "send", lambda adapter, request, **_: server.send(adapter, request)
    )
    return server


@pytest.fixture
def signed_in(kaggle: KaggleServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> KaggleServer:
    """Kaggle, for a user with a token."""
    monkeypatch.setenv("KAGGLE_USERNAME", "student")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    return kaggle


def failure(command: Callable[..., object], *arguments: object) -> str:
    """The one line that is said when a command fails."""
    with pytest.raises(LabError) as caught:
        command(*arguments)
    return str(caught.value)


# ---- --data kaggle -----------------------------------------------------------------------------


@pytest.fixture
def data_set(kaggle: KaggleServer, mini_data: Path) -> KaggleServer:
    """The data as Kaggle sends them: one zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(mini_data.rglob("*")):
            archive.write(path, Path("data") / path.relative_to(mini_data))
    kaggle.files["/archive.zip"] = content.getvalue()
    return kaggle


def test_the_runner_fetches_the_data_once_and_without_a_token(data_set, capsys):
    """And takes them again where there is no network."""
    data_set.is_reached = False
    assert "no connection to Kaggle, or it broke off" in failure(kaggle_data.fetch_data)
    data_set.is_reached = True
    plan = make_plan(Lab(), data="kaggle", profile="smoke", device="cpu")
    assert (plan.data / MARKER).is_dir() and plan.data.name == "data"
    assert not plan.is_demo
    assert plan.name == "patreco3-multitask-affective-music-smoke"
    assert data_name(plan.data) == "patreco3-multitask-affective-music"
    assert "100%" in capsys.readouterr().err, "a progress bar"
    assert kaggle_data.fetch_data() == plan.data
    assert len(data_set.requests("DownloadDataset")) == 1
    data_set.is_reached = False
    assert kaggle_data.fetch_data() == plan.data
    assert "no connection to Kaggle; taking what was fetched before" in capsys.readouterr().out


def test_a_damaged_archive_is_deleted_and_fetched_anew(data_set):
    whole = data_set.files["/archive.zip"]
    data_set.files["/archive.zip"] = whole[:-1000]
    said = failure(kaggle_data.fetch_data)
    assert "is damaged" in said and "was deleted; give the same command again" in said
    data_set.files["/archive.zip"] = whole
    assert (kaggle_data.fetch_data() / MARKER).is_dir()


@pytest.mark.parametrize("row", ROWS["fetched"])
def test_each_refusal_is_one_line_that_says_what_to_do(data_set, row):
    data_set.answers["DownloadDataset"] = refusal(row["status"], "Kaggle's words.")
    said = failure(kaggle_data.fetch_data)
    assert said.startswith(f"{kaggle_data.PAGE}: Kaggle answers {row['status']} (Kaggle's words); ")
    assert row["said"] in said


def test_data_that_cannot_be_stored_are_one_line(data_set, tmp_path):
    (tmp_path / "user" / "kagglehub").write_text("a file where a folder must be")
    assert "name another folder with KAGGLEHUB_CACHE" in failure(kaggle_data.fetch_data)


# ---- kaggle-push -------------------------------------------------------------------------------


QUOTA = "GetAcceleratorQuotaStatistics"


@pytest.fixture
def kernels(signed_in: KaggleServer) -> KaggleServer:
    """Kaggle as somebody finds it who has never pushed anything."""

    def status(request: dict) -> Answer:
        if not signed_in.requests("CreateDataset"):
            return refusal(403, "Permission 'datasets.get' was denied")
        return 200, {"status": "READY"}

    signed_in.answers["GetDatasetStatus"] = status
    return signed_in


def logged(kaggle: KaggleServer, slug: str, *lines: str) -> None:
    """What a kernel has printed, as Kaggle stores it."""
    events = [{"stream_name": "stdout", "time": 1, "data": f"{line}\n"} for line in lines]
    path = f"/v1/kernels/logs/stream/student/{slug}"
    kaggle.files[path] = json.dumps(events).encode()


def pushed(kaggle: KaggleServer) -> list[str]:
    return [request["slug"] for request in kaggle.requests("SaveKernel")]


def test_a_dry_run_prepares_everything_and_needs_neither_token_nor_network(kaggle, home, capsys):
    assert push.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "dry run, nothing was sent; it lies in" in said
    for name in Lab().names:
        assert f"kernel USERNAME/{push.slug(name)}, private, NvidiaTeslaT4" in said
    assert failure(push.main, ["00"]).startswith("no valid token for Kaggle found")
    assert kaggle.asked == []


def test_the_data_set_is_made_private_then_kernels_are_pushed_in_order(kernels, capsys):
    """The data set holds the kit and nothing of the user; kernels have the profile's parameters."""
    assert push.main(["11", "00", "lstm"]) == 0
    (made,) = kernels.requests("CreateDataset")
    assert made["isPrivate"] is True and made["slug"] == "musiclab-helpers"
    assert 6 <= len(made["title"]) <= 50
    assert [upload["name"] for upload in kernels.requests("StartBlobUpload")] == ["kit.zip"]
    with zipfile.ZipFile(io.BytesIO(kernels.uploads["/put"])) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {"helpers", "demo_music", "pyproject.toml", "LICENSE"}

    names = ["00_setup", "05_lstm", "11_kaggle_submission"]
    assert pushed(kernels) == [f"student/{push.slug(name)}" for name in names]
    for name, request in zip(names, kernels.requests("SaveKernel"), strict=True):
        assert request["isPrivate"] is True and request["enableGpu"] is True
        assert request["enableInternet"] is False and request["machineShape"] == "NvidiaTeslaT4"
        assert request["datasetDataSources"] == [
            "geoparslp/patreco3-multitask-affective-music", "student/musiclab-helpers",
        ]  # fmt: skip
        cells = nbformat.reads(request["text"], as_version=4).cells
        tags = [cell.metadata.get("tags", []) for cell in cells]
        (number,) = (n for n, own in enumerate(tags) if "injected-parameters" in own)
        assert "parameters" in tags[number - 1] and "apply_profile" in cells[number + 1].source
        set_to: dict[str, object] = {}
        exec(cells[number].source, {}, set_to)
        assert set_to == load_profile("full").overrides(name)
    needs = Lab().needs("11_kaggle_submission")
    assert request["kernelDataSources"] == [f"student/{push.slug(name)}" for name in needs]
    said = capsys.readouterr().out
    assert "05_lstm: pushed, https://www.kaggle.com/code/student/its-name" in said
    assert "does not resolve" not in said, "the client's warning about title and address"

    assert push.main(["00"]) == 0
    assert len(kernels.requests("CreateDataset")) == 1, "the second time it gets a version"
    assert len(kernels.requests("CreateDatasetVersion")) == 1


def test_a_kernel_waits_for_those_it_needs_and_its_log_is_followed(kernels, capsys):
    first, states = "musiclab-05-lstm", iter(["QUEUED", "RUNNING", "RUNNING"])
    logged(kernels, first, "epoch 1", "epoch 2")

    def status(request: dict) -> Answer:
        if request["kernelSlug"] != first:
            return 200, {"status": "COMPLETE"}
        assert pushed(kernels) == []
        if (state := next(states, "COMPLETE")) == "COMPLETE":
            logged(kernels, first, "epoch 1", "epoch 2", "stored")
        return 200, {"status": state}

    kernels.answers["GetKernelSessionStatus"] = status
    assert push.main(["07"]) == 0
    assert len(kernels.requests("GetKernelSessionStatus")) == 5
    said = capsys.readouterr().out
    assert said.count("waiting for https://www.kaggle.com/code/student/musiclab-05-lstm") == 1
    assert "  | epoch 1\n  | epoch 2\n  | stored\n07_cnn: pushed" in said


def test_what_it_will_take_of_the_week_is_said_and_bounded(kernels, capsys):
    assert push.main(["00", "01"]) == 0
    said = capsys.readouterr().out
    assert "2 kernels, one after the other, use at most 6 of the week's GPU hours" in said
    hours = "GPU hours of this week: 3.5 of 30 used; the next begins 05 Dec 00:00 UTC"
    assert said.count(hours) == 3, "before, and after each"
    limits = [request["sessionTimeoutSeconds"] for request in kernels.requests("SaveKernel")]
    assert limits == [180 * 60] * 2
    kernels.answer(QUOTA, {"gpuQuota": {"timeUsed": "108000s", "totalTimeAllowed": "108000s"}})
    assert failure(push.main, ["00"]).startswith("no GPU hours are left on Kaggle; ")
    assert len(pushed(kernels)) == 2
    kernels.answers[QUOTA] = refusal(500, "Oops")
    assert push.main(["00"]) == 0
    assert "note: the GPU quota: Kaggle answers 500" in capsys.readouterr().out


def test_a_kernel_that_failed_or_is_not_there_stops_those_that_need_it(kernels, capsys):
    kernels.answers["GetKernelSessionStatus"] = refusal(403, "Permission 'kernels.get' was denied")
    assert "musiclab-05-lstm: is not on Kaggle yet; push it first" in failure(push.main, ["06"])
    assert pushed(kernels) == []
    kernels.answer("GetKernelSessionStatus", {"status": "ERROR", "failureMessage": "no memory"})
    logged(kernels, "musiclab-05-lstm", *(f"line {number}" for number in range(20)))
    capsys.readouterr()
    assert failure(push.main, ["05", "07", "08"]) == (
        "https://www.kaggle.com/code/student/musiclab-05-lstm: did not run to its end (no memory); "
        "mend it, then go on with ./run_all.sh kaggle-push 05 07 08"
    )
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | line {number}" for number in range(20 - push.LAST_LINES, 20)]
    assert pushed(kernels) == ["student/musiclab-05-lstm"]


@pytest.mark.parametrize("row", ROWS["pushed"])
def test_what_kaggle_does_not_take_is_one_line(kernels, row):
    kernels.answer("SaveKernel", row["answer"])
    said = failure(push.main, ["00"])
    assert said.startswith("musiclab-00-setup: not taken by Kaggle (") and row["said"] in said
    assert said.endswith("then go on with ./run_all.sh kaggle-push 00")


# ---- submit ------------------------------------------------------------------------------------


@pytest.fixture
def run(home: Path, mini_data: Path) -> Path:
    """A finished run on data that are not the demo set's."""
    run = home / "runs" / "mine"
    write_atomically(Paths(run, submit.NOTEBOOK).record / "results.csv", ROWS["results"])
    about = {"folder": str(mini_data), "demo": False, "fingerprint": data_fingerprint(mini_data)}
    (run / "summary.json").write_text(json.dumps({"data": about, "profile": "demo"}))
    (run.parent / "latest").symlink_to("mine")
    ids = read_clips(mini_data / MULTITASK, "test")["id"].tolist()
    write_solution(run / "solution.txt", ids, np.full((len(ids), 3), 0.5))
    return run


def listed(**ours: str) -> dict:
    """How Kaggle lists submissions: an older one of the team, and ours."""
    older = {"ref": 76, "status": "COMPLETE", "publicScore": "0.99"}
    scored = {"status": "COMPLETE", "publicScore": "0.71990", "privateScore": "0.70000"}
    return {"submissions": [older, {"ref": 77} | scored | ours]}


@pytest.fixture
def competition(run: Path, signed_in: KaggleServer) -> KaggleServer:
    """A competition that takes the file of a run and scores it after a while."""
    states = iter(["PENDING", "PENDING"])
    signed_in.answers["ListSubmissions"] = lambda _: (200, listed(status=next(states, "COMPLETE")))
    return signed_in


def refused(run: Path) -> str:
    """The one line that is said; the run has no score then."""
    line = failure(submit.main, [])
    assert not (run / "kaggle_score.txt").exists()
    return line


def test_a_dry_run_shows_everything_and_asks_nobody(run, competition, capsys):
    assert submit.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"{run / 'solution.txt'}: whole, 6 rows, one per test clip" in said
    assert "expected mean Spearman: 0.700 [0.610, 0.780], from 42 held-out clips" in said
    assert "multitask CNN (step 10), run mine" in said
    assert competition.asked == [] and not (run / "kaggle_score.txt").exists()


def test_the_file_is_sent_and_the_score_stored_where_notebook_11_reads_it(run, competition, capsys):
    options = ["--run", "mine", "--message", "first try", "--competition", "of-2020"]
    assert submit.main(options) == 0
    assert competition.uploads["/put"] == (run / "solution.txt").read_bytes()
    (sent,) = competition.requests("CreateSubmission")
    assert (sent["competitionName"], sent["submissionDescription"]) == ("of-2020", "first try")
    assert len(competition.requests("ListSubmissions")) == 3
    assert float((run / "kaggle_score.txt").read_text()) == 0.7199
    said = capsys.readouterr().out
    assert "Kaggle's score: 0.7199, expected 0.700 [0.610, 0.780]" in said
    assert "--only 11 --force" in said


@pytest.mark.parametrize("hidden", ["", "nan"])
def test_a_hidden_score_is_not_zero(run, competition, hidden):
    competition.answer("ListSubmissions", listed(publicScore=hidden))
    assert submit.main([]) == 0
    assert competition.requests("CreateSubmission")[0]["competitionName"] == submit.COMPETITION
    assert float((run / "kaggle_score.txt").read_text()) == 0.7


@pytest.mark.parametrize("row", ROWS["not sent"])
def test_what_must_not_be_sent_is_not_sent(run, competition, row):
    path = run / row["file"]
    text = path.read_text()
    path.unlink()
    if "new" in row:
        path.write_text(text.replace(row["old"], row["new"], 1))
    assert row["said"] in refused(run)
    assert competition.asked == []


@pytest.mark.parametrize("row", ROWS["refused"])
def test_what_kaggle_refuses_or_does_not_score_is_one_line(run, competition, monkeypatch, row):
    monkeypatch.setattr(submit, "WAIT_SECONDS", 0.1)
    if "listed" in row:
        competition.answer("ListSubmissions", listed(**row["listed"]))
    else:
        competition.answers[row["refuses"]] = refusal(row["status"], row["answer"])
    assert row["said"] in refused(run)


def test_without_a_token_or_network_it_says_so(run, competition, monkeypatch):
    competition.is_reached = False
    assert "no connection to Kaggle, or it broke off" in refused(run)
    monkeypatch.delenv("KAGGLE_KEY")
    assert refused(run).startswith("no valid token for Kaggle found; make a token at")


# ---- solution.txt: what is refused in a file that is read stands in the table of wrong input ---

IDS = ["123212738", "123212739"]
HALF = np.full((2, 3), 0.5)


def test_predictions_outside_the_scale_are_clipped(tmp_path):
    predictions = np.array([[-0.2, 1.7, 0.9996], [0.0004, 1.0, 0.0]], dtype=np.float32)
    lines = write_solution(tmp_path / "solution.txt", IDS, predictions).read_text().splitlines()
    assert lines[1].endswith(",0.000,1.000,1.000") and lines[2].endswith(",0.000,1.000,0.000")


@pytest.mark.parametrize(
    ("ids", "predictions", "message"),
    [
        (IDS, HALF[:, :2], r"\(2, 2\) predictions for 2 clips and 3 axes"),
        (IDS, np.where(np.eye(2, 3), np.nan, HALF), "some predictions are not finite"),
        (["7", "7"], HALF, "3: clip 7 stands there twice"),
    ],
)
def test_wrong_predictions_write_nothing(tmp_path, ids, predictions, message):
    with pytest.raises(LabError, match=f"solution.txt.*{message}"):
        write_solution(tmp_path / "solution.txt", ids, predictions)
    assert list(tmp_path.iterdir()) == []
