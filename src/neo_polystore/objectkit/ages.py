"""The retention of objects: those that were stored long ago go one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from neo_polystore.errors import UnsupportedError
from neo_polystore.objectkit.query import Bounds, Condition, check, condition_of
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.records.objects import StoredObject


class Discarding(Protocol):
    """What an object port has beside `ports.objects` to let objects age."""

    def listing(self, bounds: Bounds) -> AsyncIterator[StoredObject]:
        """Objects without content, in the order of their keys."""

    async def complete(self, found: list[StoredObject]) -> list[StoredObject]:
        """The same with the fields that a listing leaves out."""

    async def discard(self, record: StoredObject) -> bool:
        """Delete an object unless it is another by now; whether it was deleted."""


class ObjectAges:
    """See `ports.retention`; age counts from `modified`, when the content was stored."""

    mechanism = "deletes objects one by one, by the time of storing"
    holds_by: frozenset[HoldBy] = EVERYTHING - {"tenant"}
    archivable = False
    own_periods = False

    def __init__(self, port: Discarding):
        self._port = port

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """Reads the whole listing."""
        rows, size, kept, oldest = 0, 0, 0, None
        async for record, stays in self._old(before, held):
            kept, rows = kept + stays, rows + (not stays)
            size += 0 if stays else record.size or 0
            oldest = min(filter(None, (oldest, record.modified)))
        return Past(rows, kept, oldest, size)

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The next objects by key."""
        found: list[StoredObject] = []
        async for record, stays in self._old(before, held, after):
            if not stays:
                found.append(record)
            if len(found) == limit:
                break
        if not found:
            return None
        times = [record.modified for record in found if record.modified is not None]
        return Portion(
            f"{found[0].key} to {found[-1].key}",
            len(found),
            found[-1].key,
            min(times),
            max(times),
            found,
        )

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """Not offered."""
        raise UnsupportedError("objects are not archived")
        yield []  # an asynchronous generator

    async def drop(self, portion: Portion, held: Held) -> int:
        """Delete what is as it was and is not held."""
        is_held, gone = _held(held), 0
        for record in portion.token:
            if not is_held(record):
                gone += await self._port.discard(record)
        return gone

    async def _old(
        self, before: datetime, held: Held, after: str = ""
    ) -> AsyncIterator[tuple[StoredObject, bool]]:
        is_held = _held(held)
        async for listed in self._port.listing(Bounds(after=after)):
            if listed.modified is not None and listed.modified < before:
                for record in await self._port.complete([listed]):
                    yield record, is_held(record)


def _held(held: Held) -> Condition:
    for query in held.queries:
        check(query)
    tests = [condition_of(query) for query in held.queries]
    return lambda record: any(test(record) for test in tests)


_: type[Ages] = ObjectAges
