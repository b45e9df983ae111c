"""A server on this machine in Kaggle's place, for Kaggle's own packages to talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


class KaggleServer:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[dict[str, Any]], Answer]] = {}
        self.headers: dict[str, str] = {}  # of every JSON answer
        self.files: dict[str, bytes] = {}  # path -> content, to be downloaded
        self.break_off_after: int | None = None  # bytes of a file
        self.asked: list[tuple[str, dict[str, Any]]] = []  # method, request
        self.ranges: list[str | None] = []  # asked for, one per download
        self.uploads: dict[str, bytes] = {}  # path -> content
        self.signed_in: list[bool] = []  # whether a request came with credentials
        self.url = ""

    def answer(self, method: str, content: dict[str, Any], status: int = 200) -> None:
        """From now on a call of this method gets this JSON."""
        self.answers[method] = (status, content)

    def refuse(self, method: str, status: int, message: str) -> None:
        """From now on a call of this method fails, in Kaggle's way."""
        self.answer(method, {"code": status, "message": message}, status)

    def methods(self) -> list[str]:
        """The methods that were called, in order."""
        return [method for method, _ in self.asked]

    def requests(self, method: str) -> list[dict[str, Any]]:
        """What a method was called with, each time."""
        return [request for name, request in self.asked if name == method]


@contextmanager
def serve() -> Iterator[KaggleServer]:
    """Run a server in a thread, on a port that is free."""
    kaggle = KaggleServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Nothing is printed."""

        def do_POST(self) -> None:
            method = self.path.rpartition("/")[2]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            kaggle.asked.append((method, request))
            kaggle.signed_in.append("Authorization" in self.headers)
            found = kaggle.answers.get(method, (404, {"code": 404, "message": "Not found"}))
            status, content = found(request) if callable(found) else found
            location = content.get("location")
            body = b"" if location else json.dumps(content).encode()
            self.send_response(302 if location else status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            headers |= {"Location": kaggle.url + location} if location else {}
            self._send(headers | kaggle.headers, body)

        def do_GET(self) -> None:
            content, asked = kaggle.files[self.path], self.headers.get("Range")
            kaggle.ranges.append(asked)
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            length = {"Content-Length": str(len(content) - first), "Accept-Ranges": "bytes"}
            end = len(content) if kaggle.break_off_after is None else kaggle.break_off_after
            self._send(length, content[first:end])
            self.close_connection = True

        def do_PUT(self) -> None:
            kaggle.uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self._send({"Content-Length": "0"}, b"")

        def _send(self, headers: dict[str, str], body: bytes) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kaggle.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield kaggle
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
