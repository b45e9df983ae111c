"""Kaggle on this machine: what its own packages ask of the network is answered here."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


def refusal(status: int, message: str) -> Answer:
    """A call that fails, in Kaggle's way."""
    return status, {"code": status, "message": message}


@dataclass
class KaggleServer:
    """What is answered, and what was asked."""

    url: str = "http://kaggle.test"
    answers: dict[str, Answer | Callable[[dict[str, Any]], Answer]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # path -> content, to be downloaded
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # method, request
    uploads: dict[str, bytes] = field(default_factory=dict)  # path -> content

    def answer(self, method: str, content: dict[str, Any]) -> None:
        """From now on a call of this method gets this JSON."""
        self.answers[method] = (200, content)

    def requests(self, method: str) -> list[dict[str, Any]]:
        """What a method was called with, each time."""
        return [request for name, request in self.asked if name == method]

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
            return 302, b"", {"Location": self.url + content["location"]}
        return status, json.dumps(content).encode(), {"Content-Type": "application/json"}


@contextmanager
def serve() -> Iterator[KaggleServer]:
    """Answer all that is asked of a server; what is asked of others goes its way."""
    kaggle, send = KaggleServer(), HTTPAdapter.send

    def answered(adapter: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        if not request.url.startswith(kaggle.url):
            return send(adapter, request, **options)
        status, content, headers = kaggle.reply(request)
        headers["Content-Length"] = str(len(content))
        raw = HTTPResponse(io.BytesIO(content), headers, status, preload_content=False)
        return adapter.build_response(request, raw)

    with mock.patch.object(HTTPAdapter, "send", answered):
        yield kaggle
