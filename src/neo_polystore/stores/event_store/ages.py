"""The retention of events: only what a snapshot covers, as the one role that may delete events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.holding import guarded, in_deletion
from neo_polystore.pgkit.select import Statement
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.stores.event_store.events import EventStreams

PATIENCE: Final = 600.0
"""Seconds that counting may take."""

_COVERED: Final = (
    "EXISTS (SELECT FROM snapshots s WHERE s.aggregate_id = events.aggregate_id"
    " AND s.snapshot_version >= events.event_version)"
)


class EventAges:
    """See `ports.retention`; age counts from `created_at`.

    The version of a stream and its snapshots stay, so that an aggregate is loaded as before: from
    its last snapshot on.
    """

    mechanism = "deletes events in batches, by created_at, that a snapshot of their stream covers"
    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, database: Database, retention: Database):
        self._database = database
        self._retention = retention
        self._events = EventStreams(database)

    async def guarded(self) -> bool:
        """True where the event store shares the database of the holds."""
        return await guarded(self._database)

    async def past(self, before: datetime, held: Held) -> Past:
        """One pass over what is old, covered or not."""
        statement, where, kept = self._conditions(before, held)
        async with self._database.acquire("retention.past") as connection:
            [row] = await connection.fetch(
                f"SELECT count(*) FILTER (WHERE {_COVERED} AND NOT ({kept})) AS rows,"
                f" count(*) FILTER (WHERE {kept}) AS held, min(created_at) AS oldest,"
                f" count(*) FILTER (WHERE NOT {_COVERED}) AS bare FROM events {where}",
                *statement.arguments,
                timeout=PATIENCE,
            )
        bare = f"{row['bare']:,} are in no snapshot and stay" if row["bare"] else ""
        return Past(row["rows"], row["held"], row["oldest"], detail=bare)

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The next events by position."""
        statement, where, kept = self._conditions(before, held)
        where += f" AND position > {statement.bind(int(after or 0))}"
        async with self._database.acquire("retention.portion") as connection:
            rows = await connection.fetch(
                f"SELECT {self._events.selection.selected()} FROM events {where}"
                f" AND {_COVERED} AND NOT ({kept}) ORDER BY position LIMIT {limit}",
                *statement.arguments,
                timeout=PATIENCE,
            )
        if not rows:
            return None
        first, last = rows[0]["position"], rows[-1]["position"]
        times = [row["created_at"] for row in rows]
        name = f"positions {first} to {last}"
        return Portion(name, len(rows), str(last), min(times), max(times), rows)

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The events as they were chosen; they do not change."""
        yield [self._events.from_row(row) for row in portion.token]

    async def drop(self, portion: Portion, held: Held) -> int:
        """One transaction as the role of retention."""
        await self._retention.connect()
        statement = Statement(self._events.selection, [])
        chosen = statement.bind([row["position"] for row in portion.token])
        kept = statement.any_of(held.queries)
        async with in_deletion(self._retention, "events", held) as connection:
            status: str = await connection.execute(
                f"DELETE FROM events WHERE position = ANY({chosen}) AND {_COVERED}"
                f" AND NOT ({kept})",
                *statement.arguments,
            )
        return int(status.rpartition(" ")[2])

    def _conditions(self, before: datetime, held: Held) -> tuple[Statement, str, str]:
        statement = Statement(self._events.selection, [])
        where = statement.conditions(Query(until=before))
        return statement, where, statement.any_of(held.queries)


_: type[Ages] = EventAges
