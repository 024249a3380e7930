"""How long a connection may take to say what it wants: uvicorn itself would wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: 54\r\n\r\nthe headers take too long to come (NEO_HEADER_SECONDS)"
)


def patient(seconds: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, with so many seconds for the headers of each request, from their first
    byte or the connection's beginning on. Beyond them 408, and the connection is closed."""

    class Patient(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **named: Any):
            super().__init__(*arguments, **named)
            self._begun = False
            self._giving_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
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
