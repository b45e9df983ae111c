"""`--data kaggle`, with kagglehub itself talking to a local server."""

from __future__ import annotations

import builtins
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.folders import MARKER, data_name
from helpers.machinery.files import LabError
from tests.kaggle_server import KaggleServer
from tools.common.notebooks import Lab
from tools.kaggle import data as kaggle_data
from tools.run.plan import make_plan

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def archive(mini_data: Path) -> bytes:
    """The data as Kaggle sends them: one zip, large enough to break off in its midst."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for path in sorted(mini_data.rglob("*")):
            if path.is_file():
                zipped.write(path, Path("data") / path.relative_to(mini_data))
        zipped.writestr("data/padding.bin", os.urandom(3 * MEBIBYTE))
    return content.getvalue()


@pytest.fixture
def kaggle(kaggle: KaggleServer, archive: bytes) -> Iterator[KaggleServer]:
    kaggle.answer("GetDataset", {"currentVersionNumber": 3})
    kaggle.answer("DownloadDataset", {"location": "/archive.zip"})
    kaggle.files["/archive.zip"] = archive
    yield kaggle


def failure() -> str:
    """The one line that is said when the data cannot be had."""
    with pytest.raises(LabError) as caught:
        kaggle_data.fetch_data()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_runner_fetches_the_data_once_and_without_a_token(
    kaggle: KaggleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(Lab(), data="kaggle", profile="smoke", device="cpu")
    assert (plan.data / MARKER).is_dir() and plan.data.name == "data"
    assert not plan.is_demo
    assert plan.name == "patreco3-multitask-affective-music-smoke"
    assert data_name(plan.data) == "patreco3-multitask-affective-music"
    assert kaggle.requests("GetDataset")[0] == {
        "ownerSlug": "geoparslp", "datasetSlug": "patreco3-multitask-affective-music",
    }  # fmt: skip
    assert kaggle.signed_in == [False, False]
    assert "100%" in capsys.readouterr().err, "a progress bar"
    assert kaggle_data.fetch_data() == plan.data
    assert kaggle.methods().count("DownloadDataset") == 1


def test_a_token_is_used_when_there_is_one(
    kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "student")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    kaggle_data.fetch_data()
    assert kaggle.signed_in == [True, True]


def test_a_download_that_broke_off_goes_on_where_it_stopped(
    kaggle: KaggleServer, archive: bytes
) -> None:
    kaggle.break_off_after = 2 * MEBIBYTE + 1000
    said = failure()
    assert "broke off" in said and "give the same command again" in said
    kaggle.break_off_after = None
    folder = kaggle_data.fetch_data()
    first, _, resumed = kaggle.ranges  # the second tells that the file can be had in parts
    assert first is None and resumed == f"bytes={2 * MEBIBYTE}-"
    assert (folder / "padding.bin").read_bytes() in archive


def test_a_damaged_archive_is_deleted_and_fetched_anew(
    kaggle: KaggleServer, archive: bytes
) -> None:
    kaggle.files["/archive.zip"] = b"no zip at all"
    said = failure()
    assert "is damaged" in said and "was deleted; give the same command again" in said
    kaggle.files["/archive.zip"] = archive
    assert (kaggle_data.fetch_data() / MARKER).is_dir()


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "make a token at https://www.kaggle.com/settings/api"),
        (403, "make a token at https://www.kaggle.com/settings/api"),
        (404, "see data_links.md for other ways to the data"),
        (429, "too many requests: wait 40 seconds, then give the same command again"),
        (500, "try again later"),
    ],
)
def test_each_refusal_is_one_line_that_says_what_to_do(
    kaggle: KaggleServer, status: int, advice: str
) -> None:
    kaggle.headers["Retry-After"] = "40"
    kaggle.refuse("DownloadDataset", status, "Kaggle's words.")
    said = failure()
    assert said.startswith(f"{kaggle_data.PAGE}: Kaggle answers {status} (Kaggle's words); ")
    assert advice in said


def test_without_network_what_was_fetched_before_is_taken(
    kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kagglesdk import kaggle_env

    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9"
    )
    assert "no connection to Kaggle, or it broke off" in failure()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, kaggle.url)
    fetched = kaggle_data.fetch_data()
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9"
    )
    assert kaggle_data.fetch_data() == fetched
    assert "no connection to Kaggle; taking what was fetched before" in capsys.readouterr().out


def test_data_of_another_kind_are_one_line(kaggle: KaggleServer) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        zipped.writestr("data/readme.txt", "nothing here")
    kaggle.files["/archive.zip"] = content.getvalue()
    assert f"no folder {MARKER} in it" in failure()


def test_a_full_disk_is_one_line(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "user" / "kagglehub").write_text("a file where a folder must be")
    assert "name another folder with KAGGLEHUB_CACHE" in failure()


def test_without_kagglehub_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "kagglehub":
            raise ModuleNotFoundError("No module named 'kagglehub'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert failure().endswith("pip install kagglehub")
