"""A gate before an S3 service that answers some requests itself, or spoils the answers."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What goes back to the client. `cut` sends only so many bytes of what was announced."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request as the rule sees it; `number` counts those of one method and path."""

    method: str
    path: str
    query: str
    number: int


Rule = Callable[[Asked, Callable[[], Answer]], Answer]
"""Answers a request; calling its second argument asks the service."""


def refusal(status: int, code: str) -> Answer:
    """An error as S3 sends it."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def fail_first(times: int, status: int, code: str, *, method: str) -> Rule:
    """Refuse the first so many requests of a method, each path counted by itself."""

    def rule(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        if asked.method == method and asked.number <= times:
            return refusal(status, code)
        return forward()

    return rule


def slow(seconds: float) -> Rule:
    """Every answer takes its time."""

    def rule(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        time.sleep(seconds)
        return forward()

    return rule


def spoiled_get(*, always: bool, cut: bool) -> Rule:
    """Contents that end early, or have a flipped bit; the first time or always."""

    def rule(asked: Asked, forward: Callable[[], Answer]) -> Answer:
        answer = forward()
        part = asked.method == "GET" and ".zst" in asked.path
        if part and (always or asked.number == 1):
            if cut:
                answer.cut = len(answer.body) // 2
            else:
                answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]
        return answer

    return rule


def lost_from_list(asked: Asked, forward: Callable[[], Answer]) -> Answer:
    """A listing that leaves out its last entry and says nothing of it."""
    answer = forward()
    if asked.method == "GET" and "list-type=2" in asked.query:
        entries = re.findall(rb"<Contents>.*?</Contents>", answer.body, re.DOTALL)
        if len(entries) > 1:
            answer.body = answer.body.replace(entries[-2], b"")
    return answer


@contextmanager
def gate(service: str, rule: Rule) -> Iterator[str]:
    """The address of a gate before the service."""
    to = urlsplit(service)
    counts: dict[tuple[str, str], int] = {}
    guard = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._body()
            path, _, query = self.path.partition("?")
            with guard:
                number = counts[self.command, path] = counts.get((self.command, path), 0) + 1
            answer = rule(Asked(self.command, path, query, number), lambda: self._forwarded(body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = int(answer.headers.get("Content-Length", len(answer.body)))
            if "Content-Length" not in answer.headers or self.command != "HEAD":
                length = len(answer.body)
                self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                pieces = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _forwarded(self, body: bytes) -> Answer:
            connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=30)
            headers = {
                k: v
                for k, v in self.headers.items()
                if k.lower() not in ("transfer-encoding", "content-length", "expect")
            }
            try:
                connection.request(self.command, self.path, body=body, headers=headers)
                found = connection.getresponse()
                skipped = {"transfer-encoding", "connection", "date", "server"}
                if self.command != "HEAD":
                    skipped.add("content-length")
                kept = {k: v for k, v in found.getheaders() if k.lower() not in skipped}
                return Answer(found.status, found.read(), kept)
            finally:
                connection.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
