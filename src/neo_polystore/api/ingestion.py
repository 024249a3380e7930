"""What the routes that take metrics share: bounds, bodies, decoding beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from fastapi import Request

from neo_polystore.protocols.errors import BusyError, TooLargeError
from neo_polystore.protocols.limits import Limits, Naming
from neo_polystore.protocols.remote_write import RemoteWrite
from neo_polystore.settings import Settings

T = TypeVar("T")

_IN_A_THREAD: Final = 64 * 1024
"""Bytes from which on decoding would hold up the event loop."""


class Ingestion:
    """One per application; belongs to its event loop."""

    def __init__(self, settings: Settings):
        self.limits = Limits(
            body_bytes=settings.neo_ingest_body_bytes,
            content_bytes=settings.neo_ingest_content_bytes,
            ahead=timedelta(seconds=settings.neo_ingest_ahead_seconds),
            days=settings.neo_ingest_days,
        )
        labels = (label.strip() for label in settings.neo_ingest_service_labels.split(","))
        self.naming = Naming(tuple(filter(None, labels)), settings.neo_ingest_service)
        self.remote_write = RemoteWrite(self.naming)
        self._most = settings.neo_ingest_requests
        self._working = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Work on one request; BusyError where too many are worked on already.

        Each may hold the largest body that is allowed, so this bounds the memory they take.
        """
        if self._working >= self._most:
            raise BusyError(f"{self._working} requests are being written: try later")
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    async def body(self, request: Request) -> bytes:
        """The body as it was sent; TooLargeError, before reading where its length is stated."""
        most = self.limits.body_bytes
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > most:
            raise _too_large(most)
        pieces, length = [], 0
        async for piece in request.stream():
            length += len(piece)
            if length > most:
                raise _too_large(most)
            pieces.append(piece)
        return b"".join(pieces)

    async def decode(self, decode: Callable[[bytes], T], body: bytes) -> T:
        """What `decode` makes of the body, in a thread where that takes long."""
        if len(body) < _IN_A_THREAD:
            return decode(body)
        return await asyncio.to_thread(decode, body)


def now() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {most:,} bytes (NEO_INGEST_BODY_BYTES)")
