"""The retention of log lines: a day's index goes as a whole, but for lines that are held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import orjson

from neo_polystore.errors import UnavailableError
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.stores.elasticsearch.client import Client
from neo_polystore.stores.elasticsearch.days import Day, Days
from neo_polystore.stores.elasticsearch.documents import from_document
from neo_polystore.stores.elasticsearch.errors import STORE, refused
from neo_polystore.stores.elasticsearch.query import NOTHING, Condition, any_of, matching, none_of

_MARGIN: Final = timedelta(seconds=2)
_MISSING: Final = 404


class ElasticsearchAges:
    """See `ports.retention`; age counts from the end of the day on which a line was taken in.

    Lines are added to today's index only, so an old day is what it was when it was chosen. There
    is no policy on the server: that would ask nobody for holds.
    """

    mechanism = "drops the indexes of whole days, by arrival; of a day with held lines, the others"
    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, client: Client, days: Days, now: Callable[[], datetime]):
        self._client = client
        self._days = days
        self._now = now

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """Count the lines of whole days that are old."""
        old = await self._old(before, "past")
        kept = 0
        for day in old:
            kept += await self._stays(day, held, "past")
        rows = sum(day.entries for day in old)
        oldest = old[0].start if old else None
        return Past(rows - kept, kept, oldest, sum(day.bytes for day in old))

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The oldest day after that named `after` of which something may go."""
        for day in await self._old(before, "portion"):
            if day.name <= after:
                continue
            rows = day.entries - await self._stays(day, held, "portion")
            if rows:
                until = day.start + timedelta(days=1)
                return Portion(day.name, rows, day.name, day.start, until, (day, held))
        return None

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The lines of the day that are not held, some at a time."""
        day, held = portion.token
        async for hits in self._days.hits(_named("read"), day, none_of(_kept(held))):
            yield [from_document(hit["_source"]) for hit in hits]

    async def drop(self, portion: Portion, held: Held) -> int:
        """One request for a whole day; of one with held lines, a request per thousand."""
        day, _ = portion.token
        self._in_time(held)
        if not await self._stays(day, held, "drop"):
            rows = await self._days.count(_named("drop"), day, none_of(NOTHING))
            await self._days.discard(_named("drop"), day)
            return rows
        gone = 0
        async for hits in self._days.hits(_named("drop"), day, none_of(_kept(held))):
            self._in_time(held)
            lines = [orjson.dumps({"delete": {"_id": hit["_id"]}}) for hit in hits]
            for item in await self._client.bulk(_named("drop"), day.index, lines, refresh="true"):
                if item["status"] >= 300 and item["status"] != _MISSING:
                    raise refused(item["status"], item, _named("drop"))
                gone += item["status"] < 300
        return gone

    def _in_time(self, held: Held) -> None:
        """Ask for nothing that might still be under way when new holds may come."""
        if held.deadline is not None and self._now() >= held.deadline - _MARGIN:
            raise UnavailableError(
                "there is no time left to delete under the holds as they were read",
                store=STORE,
                operation=_named("drop"),
            )

    async def _old(self, before: datetime, operation: str) -> list[Day]:
        last = before - timedelta(days=1)
        return [day for day in await self._days.all(_named(operation)) if day.start <= last]

    async def _stays(self, day: Day, held: Held, operation: str) -> int:
        if not held.queries:
            return 0
        return await self._days.count(_named(operation), day, _kept(held))


def _kept(held: Held) -> Condition:
    return any_of([matching(query) for query in held.queries])


def _named(operation: str) -> str:
    return f"logs.retention.{operation}"


_: type[Ages] = ElasticsearchAges
