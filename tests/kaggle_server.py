"""A server on this machine in Kaggle's place, for Kaggle's own packages to talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


def refusal(status: int, message: str) -> Answer:
    """A call that fails, in Kaggle's way."""
    return status, {"code": status, "message": message}


@dataclass
class KaggleServer:
    """What the server answers, and what it was asked."""

    url: str
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


class Handler(BaseHTTPRequestHandler):
    """Answers calls, sends files and takes files; `kaggle` says how."""

    kaggle: KaggleServer

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        method, request = self.path.rpartition("/")[2], json.loads(self._body() or b"{}")
        self.kaggle.asked.append((method, request))
        found = self.kaggle.answers.get(method, refusal(404, "Not found"))
        status, content = found(request) if callable(found) else found
        if "location" in content:
            self._send(302, b"", {"Location": self.kaggle.url + content["location"]})
        else:
            self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def do_GET(self) -> None:
        content = self.kaggle.files.get(self.path)
        self._send(404 if content is None else 200, content or b"", {})

    def do_PUT(self) -> None:
        self.kaggle.uploads[self.path] = self._body()
        self._send(200, b"", {})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve() -> Iterator[KaggleServer]:
    """Run a server in a thread, on a port that is free."""
    handler = type("OwnHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.kaggle = KaggleServer(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield handler.kaggle
        server.shutdown()
