"""`./run_all.sh submit`: what is checked, shown, sent, and stored, with Kaggle's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.folders import MULTITASK, read_clips
from helpers.machinery.files import LabError
from helpers.notebook.records import data_fingerprint
from helpers.submission import write_solution
from tests.kaggle_server import KaggleServer
from tools.common.command_line import EXIT_USAGE, run_command
from tools.hand_in import command as hand_in
from tools.kaggle import push, submit

RESULTS = """\
notebook,model,feature,test_set,metric,value,low,high,seed,n
11_kaggle_submission,multitask CNN (step 10),mel,affect held-out: valence,Spearman,0.4,0.1,0.6,0,42
11_kaggle_submission,multitask CNN (step 10),mel,affect held-out,mean Spearman,0.7,0.61,0.78,0,42
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_data: Path) -> Path:
    """A finished run on data that are not the demo set's."""
    monkeypatch.setenv("MUSICLAB_HOME", str(tmp_path))
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.01)
    folder = tmp_path / "runs" / "mine"
    record = folder / "records" / "11_kaggle_submission"
    record.mkdir(parents=True)
    (record / "results.csv").write_text(RESULTS)
    about = {"folder": str(mini_data), "demo": False, "fingerprint": data_fingerprint(mini_data)}
    (folder / "summary.json").write_text(json.dumps({"data": about, "profile": "demo"}))
    (folder.parent / "latest").symlink_to("mine")
    ids = read_clips(mini_data / MULTITASK, "test")["id"].tolist()
    write_solution(folder / "solution.txt", ids, np.full((len(ids), 3), 0.5))
    return folder


def listed(*, status: str = "COMPLETE", public: str = "0.71990", error: str = "") -> dict:
    """How Kaggle lists submissions: an older one of the team, and ours."""
    from kagglesdk.competitions.types.competition_api_service import (
        ApiListSubmissionsResponse,
        ApiSubmission,
        SubmissionStatus,
    )

    older, ours = ApiSubmission(), ApiSubmission()
    older.ref, older.status, older.public_score = 76, SubmissionStatus.COMPLETE, "0.99"
    ours.ref, ours.status, ours.public_score = 77, SubmissionStatus[status], public
    ours.private_score, ours.error_description = "0.70000", error
    response = ApiListSubmissionsResponse()
    response.submissions = [older, ours]
    return ApiListSubmissionsResponse.to_dict(response)


@pytest.fixture
def kaggle(kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> KaggleServer:
    """A competition that takes the file, asked by somebody with a token."""
    monkeypatch.setenv("KAGGLE_USERNAME", "student")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    kaggle.answer("StartSubmissionUpload", {"token": "blob", "createUrl": f"{kaggle.url}/put"})
    kaggle.answer("CreateSubmission", {"message": "Successfully submitted", "ref": 77})
    states = iter(["PENDING", "PENDING"])
    kaggle.answers["ListSubmissions"] = lambda _: (200, listed(status=next(states, "COMPLETE")))
    return kaggle


def failure(*options: str) -> str:
    """The one line that is said; the run has no score then."""
    with pytest.raises(LabError) as caught:
        submit.main(list(options))
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("command", ["hand-in", "kaggle-push", "submit"])
def test_a_mistyped_option_of_a_command_is_one_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = {"hand-in": hand_in.main, "kaggle-push": push.main, "submit": submit.main}[command]
    assert run_command(main, ["--halp"]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean '--help'?" in line and f"./run_all.sh {command} --help shows" in line


def test_a_dry_run_shows_everything_and_asks_nobody(
    run: Path, kaggle: KaggleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"{run / 'solution.txt'}: whole, 6 rows, one per test clip" in said
    assert "expected mean Spearman: 0.700 [0.610, 0.780], from 42 held-out clips" in said
    assert "multitask CNN (step 10), run mine" in said
    assert kaggle.asked == [] and not (run / "kaggle_score.txt").exists()


def test_the_file_is_sent_and_the_score_stored_where_notebook_11_reads_it(
    run: Path, kaggle: KaggleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(["--run", "mine", "--message", "first try"]) == 0
    assert kaggle.uploads["/put"] == (run / "solution.txt").read_bytes()
    (sent,) = kaggle.requests("CreateSubmission")
    assert sent["competitionName"] == submit.COMPETITION
    assert sent["submissionDescription"] == "first try"
    assert kaggle.methods().count("ListSubmissions") == 3
    assert float((run / "kaggle_score.txt").read_text()) == 0.7199
    said = capsys.readouterr().out
    assert "Kaggle's score: 0.7199, expected 0.700 [0.610, 0.780]" in said
    assert "--only 11 --force" in said


def test_another_competition_may_be_named_and_a_hidden_score_is_not_zero(
    run: Path, kaggle: KaggleServer
) -> None:
    kaggle.answer("ListSubmissions", listed(public=""))
    assert submit.main(["--competition", "multitask-music-classification-2020"]) == 0
    (sent,) = kaggle.requests("CreateSubmission")
    assert sent["competitionName"] == "multitask-music-classification-2020"
    assert float((run / "kaggle_score.txt").read_text()) == 0.7


def edited(text: str) -> Callable[[Path], object]:
    return lambda run: (run / "solution.txt").write_text(text)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (edited("Id,valence\n"), "solution.txt:1: the header must be"),
        (lambda run: (run / "solution.txt").unlink(), "solution.txt: cannot be read"),
        (
            lambda run: edited((run / "solution.txt").read_text().replace("0.500", "nan", 1))(run),
            "solution.txt:2: expected 3 values in 0..1",
        ),
        (
            lambda run: edited((run / "solution.txt").read_text().rpartition("1232")[0])(run),
            "1 test clips are missing",
        ),
        (
            lambda run: (run / "records" / "11_kaggle_submission" / "results.csv").unlink(),
            "nothing to submit yet; give ./run_all.sh --name mine",
        ),
        (
            lambda run: (run / "summary.json").write_text(
                (run / "summary.json").read_text().replace('"fingerprint": "', '"fingerprint": "x')
            ),
            "the data have changed since 'mine' was run",
        ),
        (
            lambda run: (run / "summary.json").write_text(
                (run / "summary.json").read_text().replace('"demo": false', '"demo": true')
            ),
            "is a run on the demo set, for which there is no competition",
        ),
    ],
)
def test_what_must_not_be_sent_is_not_sent(
    run: Path, kaggle: KaggleServer, harm: Callable[[Path], object], problem: str
) -> None:
    harm(run)
    assert problem in failure()
    assert kaggle.asked == [] and not (run / "kaggle_score.txt").exists()


@pytest.mark.parametrize(
    ("status", "words", "advice"),
    [
        (403, "The competition deadline has passed", "; the competition is closed: the expected"),
        (403, "You must accept this competition's rules", "; join it and accept its rules at http"),
        (404, "Not found", "; check --competition"),
        (401, "Unauthenticated", "; make a token at https://www.kaggle.com/settings/api"),
        (429, "Slow down", "; too many requests: wait some minutes"),
    ],
)
def test_what_kaggle_refuses_is_one_line(
    run: Path, kaggle: KaggleServer, status: int, words: str, advice: str
) -> None:
    kaggle.refuse("CreateSubmission", status, words)
    said = failure()
    assert f"Kaggle answers {status} ({words})" in said and advice in said
    assert not (run / "kaggle_score.txt").exists()


def test_a_submission_that_cannot_be_scored_and_one_that_waits_too_long(
    run: Path, kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.answer("ListSubmissions", listed(status="ERROR", error="Missing ids"))
    assert "Kaggle could not score it (Missing ids); look at" in failure()
    monkeypatch.setattr(submit, "WAIT_SECONDS", 0.1)
    kaggle.answer("ListSubmissions", listed(status="PENDING"))
    assert "sent, but not scored within" in failure()
    kaggle.refuse("ListSubmissions", 500, "Oops")
    said = failure()
    assert "sent, but the answer could not be read" in said and "kaggle_score.txt" in said
    assert not (run / "kaggle_score.txt").exists()


def test_without_a_token_or_network_it_says_so(
    run: Path, kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglesdk import kaggle_env

    monkeypatch.delenv("KAGGLE_KEY")
    assert failure().startswith("no valid token for Kaggle found; make a token at")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9"
    )
    assert "no connection to Kaggle, or it broke off" in failure()
    monkeypatch.setenv("KAGGLE_API_TOKEN", "token")
    assert failure().startswith("signing in at Kaggle: no connection")


def test_without_the_client_it_says_what_to_install(
    run: Path, kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    assert failure().endswith("pip install kaggle")
