"""Kaggle's official client, signed in; and what is said when Kaggle cannot be used."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from helpers.machinery.files import LabError

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

A_TOKEN = (
    "make a token at https://www.kaggle.com/settings/api, save it as ~/.kaggle/access_token, and "
    "give the same command again"
)


def sign_in() -> KaggleApi:
    """The official client; `config_values["username"]` says as whom it is signed in.

    Raises LabError without the package `kaggle`, without a valid token, and without network.
    """
    from requests.exceptions import RequestException

    # The client prints a page of help when it finds no token, and it tries when it is imported.
    unwanted = io.StringIO()
    try:
        with redirect_stdout(unwanted), redirect_stderr(unwanted):
            from kaggle.api.kaggle_api_extended import KaggleApi

            client = KaggleApi()
            client.authenticate()
    except ImportError as error:
        raise LabError(
            f"Kaggle's client cannot be imported ({error}); pip install kaggle"
        ) from error
    except SystemExit:
        raise LabError(f"no valid token for Kaggle found; {A_TOKEN}") from None
    except RequestException as error:
        raise explained(error, "signing in at Kaggle") from error
    return client


def explained(error: Exception, what: str, hints: Mapping[int, str] | None = None) -> LabError:
    """The one line for a failed request; `hints` says what to do for some HTTP statuses."""
    response = getattr(error, "response", None)
    if response is None:
        return LabError(
            f"{what}: no connection to Kaggle, or it broke off; look after the network, then give "
            "the same command again"
        )
    status, reason = response.status_code, _words_of(response.content)
    waiting = response.headers.get("Retry-After", "")
    minutes = f"{waiting} seconds" if waiting.isdecimal() else "some minutes"
    known = {
        401: A_TOKEN,
        403: A_TOKEN,
        404: "check the name",
        429: f"too many requests: wait {minutes}, then give the same command again",
    } | dict(hints or {})
    advice = known.get(status, "try again later")
    return LabError(f"{what}: Kaggle answers {status}{f' ({reason})' if reason else ''}; {advice}")


def _words_of(content: bytes) -> str:
    """What Kaggle itself says about an error, in one line; empty where it says nothing."""
    try:
        said = json.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(said).split())[:200].rstrip(".")
