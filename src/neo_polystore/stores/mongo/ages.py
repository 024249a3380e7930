"""The retention of one collection: old documents go in batches.

No TTL index: its monitor deletes without asking for holds, archives nothing and tells nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pymongo
from pymongo import DeleteOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from neo_polystore.activity import Recorder
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Query
from neo_polystore.records.rules import ID
from neo_polystore.stores.mongo.conditions import Conditions, conditions
from neo_polystore.stores.mongo.documents import MongoDocuments
from neo_polystore.stores.mongo.pages import continued, cursor_of, sort_of

AT_ONCE: Final = 1_000
"""Documents per command: what a caller has the server do within its seconds."""


_MARGIN: Final = timedelta(seconds=5)
"""How far the clocks of this machine and of the store of holds may be apart."""


class MongoAges:
    """See `ports.retention`; age counts from the collection's `time_field`.

    What was chosen goes only as it was chosen: the delete names all fields of the document.
    """

    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(
        self, target: AsyncCollection[dict[str, Any]], record: type[Document], recorder: Recorder
    ):
        self._target = target.with_options(read_concern=ReadConcern("local"))
        self._record = record
        self._port = MongoDocuments(target, record, recorder)

    @property
    def mechanism(self) -> str:
        """Deletes in batches."""
        return f"deletes documents in batches, by {self._record.time_field}"

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """Two counts and the oldest."""
        old = self._old(before)
        field = self._record.time_field or ID
        async with self._asking("past"):
            rows = await self._target.count_documents(self._free(old, held))
            total = await self._target.count_documents(old) if held.queries else rows
            first = await self._target.find(old).sort(field, 1).limit(1).to_list()
        oldest = first[0][field].astimezone(UTC) if first else None
        return Past(rows, total - rows, oldest)

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The oldest documents after a place in the order of time and `_id`."""
        if held.everything:
            return None
        field = self._record.time_field or ID
        query = Query(until=before, order=field, after=after or None)
        wanted = self._free(conditions(self._record, query), held)
        if beyond := continued(self._record, query):
            wanted = {"$and": [wanted, beyond]}
        async with self._asking("portion"):
            cursor = self._target.find(wanted).sort(sort_of(self._record, query))
            found = await cursor.limit(min(limit, AT_ONCE)).to_list()
        if not found:
            return None
        first, last = found[0][field], found[-1][field]
        return Portion(
            f"{first.isoformat()} to {last.isoformat()}",
            len(found),
            cursor_of(self._record, query, found[-1]),
            first,
            last,
            found,
        )

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The documents as they were chosen."""
        yield [self._port._record(body) for body in portion.token]

    async def drop(self, portion: Portion, held: Held) -> int:
        """One command of deletes by all fields; what is held is no part of it."""
        if held.everything:
            return 0
        seconds = None if held.deadline is None else _until(held.deadline)
        deletes = [DeleteOne(self._free(_same(body), held)) for body in portion.token]
        async with self._asking("drop"):
            with pymongo.timeout(seconds):
                return (await self._target.bulk_write(deletes, ordered=False)).deleted_count

    def _old(self, before: datetime) -> Conditions:
        return conditions(self._record, Query(until=before))

    def _free(self, wanted: Conditions, held: Held) -> Conditions:
        """What of it is not held. An empty condition holds all: nothing satisfies its opposite."""
        parts = [
            conditions(self._record, query) or {ID: {"$exists": True}} for query in held.queries
        ]
        return {"$and": [wanted, {"$nor": parts}]} if parts else wanted

    def _asking(self, operation: str) -> Any:
        return self._port._asking(f"{self._record.data_type}.retention.{operation}")


def _until(deadline: datetime) -> float:
    """Seconds that the server may take, by the time that is left; the driver tells it so."""
    return max(0.1, (deadline - datetime.now(UTC) - _MARGIN).total_seconds())


def _same(body: dict[str, Any]) -> Conditions:
    return {"$and": [{name: {"$eq": value}} for name, value in body.items()]}


_: type[Ages] = MongoAges
