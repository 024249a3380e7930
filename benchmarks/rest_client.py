"""A client of HTTP that costs little: requests made ahead, answers hardly read."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass
class _Connection(asyncio.Protocol):
    """Sends one request after the other and takes the answers in."""

    requests: list[bytes]
    expected: bytes
    done: asyncio.Future[None]
    _buffer: bytearray = field(default_factory=bytearray)
    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        if length is None or len(self._buffer) < end + 4 + int(length[1]):
            return
        if not self._buffer.startswith(self.expected):
            answer = bytes(self._buffer[:500]).decode(errors="replace")
            self.done.set_exception(RuntimeError(f"unexpected answer: {answer}"))
            return
        self._buffer.clear()
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed the connection"))

    def _next(self) -> None:
        if self._transport is None:
            return
        if self.requests:
            self._transport.write(self.requests.pop())
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


async def rate(
    port: int, requests: Sequence[bytes], *, connections: int = 32, status: int = 200
) -> float:
    """Requests per second over so many connections at once; RuntimeError for another status."""
    loop = asyncio.get_running_loop()
    expected = f"HTTP/1.1 {status}".encode()
    futures = [loop.create_future() for _ in range(connections)]
    started = time.perf_counter()
    for number, done in enumerate(futures):
        mine = list(requests[number::connections])
        await loop.create_connection(partial(_Connection, mine, expected, done), "127.0.0.1", port)
    await asyncio.gather(*futures)
    return len(requests) / (time.perf_counter() - started)


def get(path: str, token: str | None = None) -> bytes:
    """The bytes of a GET."""
    return _head("GET", path, token) + b"\r\n"


def post(path: str, body: bytes, token: str | None = None, *, kind: str = "json") -> bytes:
    """The bytes of a POST."""
    more = f"Content-Type: application/{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return _head("POST", path, token) + more.encode() + body


def _head(method: str, path: str, token: str | None) -> bytes:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}".encode()
