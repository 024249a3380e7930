"""uvicorn's protocol, patient for a bounded time, and with one write for each answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: 54\r\n\r\nthe headers take too long to come (NEO_HEADER_SECONDS)"
)

MOST: Final = 16 << 10
"""Bytes that wait for the rest of an answer."""


class Gathering:
    """A transport that writes what it got within one turn of the event loop at once.

    uvicorn writes head and body of an answer one after the other, and each write is a call of the
    system, which costs more than all that the framework does in between. No more than `MOST` bytes
    wait, so that a transport whose reader is slow says so in time.
    """

    __slots__ = ("_loop", "_size", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """As the transport says."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write it before the loop's next turn is over, or now where it is much."""
        self._size += len(data)
        if self._size > MOST:
            self._flush()
            self._transport.write(data)
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Close when all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting and not self._transport.is_closing():
            self._transport.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))


def patient(seconds: float) -> type[HttpToolsProtocol]:
    """The protocol with so many seconds for the headers of each request, from their first byte or
    the connection's beginning on. Beyond them 408, and the connection is closed."""

    class Patient(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **named: Any):
            super().__init__(*arguments, **named)
            self._begun = False
            self._giving_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))
            self._begun = True
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # headers that came whole, as nearly all do, have set no timer
            if self._begun and self._giving_up is None:
                self._wait()

        def on_message_begin(self) -> None:
            self._begun = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._arrived()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._giving_up = self.loop.call_later(seconds, self._give_up)

        def _arrived(self) -> None:
            self._begun = False
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None

        def _give_up(self) -> None:
            self._giving_up = None
            if self._begun and not self.transport.is_closing():
                self.transport.write(_TOO_SLOW)
                self.transport.close()

    return Patient
