"""Kaggle's official client, signed in; and what is said when Kaggle cannot be used."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from requests.exceptions import RequestException

from helpers.machinery.files import LabError

A_TOKEN = (
    "make a token at https://www.kaggle.com/settings/api, save it as ~/.kaggle/access_token, and "
    "give the same command again"
)
ADVICE = {
    401: A_TOKEN,
    403: A_TOKEN,
    404: "check the name",
    429: "too many requests: wait some minutes, then give the same command again",
}
LATER = "try again later"  # what helps where nothing else is known to


def sign_in() -> Any:
    """The official client; `config_values["username"]` says as whom it is signed in.

    Raises LabError without a valid token, and without network.
    """
    # The client prints a page of help when it finds no token, and it tries when it is imported.
    unwanted = io.StringIO()
    try:
        with redirect_stdout(unwanted), redirect_stderr(unwanted), asking("signing in at Kaggle"):
            from kaggle.api.kaggle_api_extended import KaggleApi

            client = KaggleApi()
            client.authenticate()
    except SystemExit:
        raise LabError(f"no valid token for Kaggle found; {A_TOKEN}") from None
    return client


@contextmanager
def asking(what: str, advice: str = "") -> Iterator[None]:
    """Turn a request that fails into a LabError that says what `explained` says of it."""
    try:
        yield
    except RequestException as error:
        raise LabError(explained(error, what, advice=advice)) from error


def explained(
    error: RequestException, what: str, hints: Mapping[int, str] | None = None, advice: str = ""
) -> str:
    """The one line for a failed request; `hints` says what to do for some HTTP statuses.

    `advice` stands for whatever would be said to do.
    """
    if error.response is None:
        network = "look after the network, then give the same command again"
        return f"{what}: no connection to Kaggle, or it broke off; {advice or network}"
    status, said = error.response.status_code, words_of(error)
    answer = f"Kaggle answers {status}{f' ({said})' if said else ''}"
    return f"{what}: {answer}; {advice or (ADVICE | dict(hints or {})).get(status, LATER)}"


def words_of(error: RequestException) -> str:
    """What Kaggle itself says about an error, in one line; empty where it says nothing."""
    try:
        said = json.loads(error.response.content)["message"]
    except (AttributeError, ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(said).split())[:200].rstrip(".")
