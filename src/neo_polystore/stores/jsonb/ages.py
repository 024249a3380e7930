"""The retention of one collection: old documents go in batches, holds checked as they go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.holding import guarded, in_deletion
from neo_polystore.pgkit.select import Statement
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter, Query, decode_cursor, encode_cursor
from neo_polystore.records.rules import ID
from neo_polystore.stores.jsonb.encoding import decode
from neo_polystore.stores.jsonb.selection import DocumentSelection, selection

PATIENCE: Final = 600.0
"""Seconds that counting may take."""


class JsonbAges:
    """See `ports.retention`; age counts from the collection's `time_field`.

    What was chosen goes only as it was chosen: a document that has been replaced since has
    another `updated_at` and stays.
    """

    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, database: Database, record: type[Document]):
        self._database = database
        self._record = record
        self._selection: DocumentSelection = selection(record)

    @property
    def mechanism(self) -> str:
        """Deletes in batches."""
        return f"deletes documents in batches, by {self._record.time_field}"

    async def guarded(self) -> bool:
        """True where the holds are in this database."""
        return await guarded(self._database)

    async def past(self, before: datetime, held: Held) -> Past:
        """One pass over what is old."""
        statement, where, kept = self._conditions(before, held)
        time = self._selection.expression(self._time)
        async with self._database.acquire("retention.past") as connection:
            [row] = await connection.fetch(
                f"SELECT count(*) FILTER (WHERE NOT ({kept})) AS rows,"
                f" count(*) FILTER (WHERE {kept}) AS held, min({time}) AS oldest,"
                f" sum(pg_column_size(body)) FILTER (WHERE NOT ({kept})) AS bytes"
                f" FROM {self._selection.source} {where}",
                *statement.arguments,
                timeout=PATIENCE,
            )
        oldest = datetime.fromisoformat(row["oldest"]) if row["oldest"] else None
        return Past(row["rows"], row["held"], oldest, int(row["bytes"] or 0))

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The oldest documents after a place in the order of time and `_id`."""
        statement, where, kept = self._conditions(before, held)
        time = self._selection.expression(self._time)
        if after:
            place = [statement.bind(str(value)) for value in decode_cursor(after, length=2)]
            where += f" AND ({time}, _id) > ({place[0]}, {place[1]})"
        async with self._database.acquire("retention.portion") as connection:
            rows = await connection.fetch(
                f"SELECT _id, body, updated_at, {time} AS time FROM {self._selection.source}"
                f" {where} AND NOT ({kept}) ORDER BY {time}, _id LIMIT {limit}",
                *statement.arguments,
            )
        if not rows:
            return None
        first, last = rows[0]["time"], rows[-1]["time"]
        return Portion(
            f"{first} to {last}",
            len(rows),
            encode_cursor([last, rows[-1]["_id"]]),
            datetime.fromisoformat(first),
            datetime.fromisoformat(last),
            rows,
        )

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The documents as they were chosen."""
        yield [self._document(row) for row in portion.token]

    async def drop(self, portion: Portion, held: Held) -> int:
        """One transaction; a document that somebody has changed or that is held now stays."""
        statement = Statement(self._selection, [])
        keys = statement.bind([row["_id"] for row in portion.token])
        stamps = statement.bind([row["updated_at"] for row in portion.token])
        kept = statement.any_of(held.queries)
        name = self._record.data_type
        async with in_deletion(self._database, name, held) as connection:
            status: str = await connection.execute(
                f"DELETE FROM {self._selection.source} USING"
                f" unnest({keys}::text[], {stamps}::timestamptz[]) AS chosen (k, stamp)"
                f" WHERE _id = k AND updated_at = stamp AND NOT ({kept})",
                *statement.arguments,
            )
        return int(status.rpartition(" ")[2])

    @property
    def _time(self) -> str:
        return self._record.collection.time_field or ID

    def _conditions(self, before: datetime, held: Held) -> tuple[Statement, str, str]:
        """A statement, its WHERE for what is old, and the expression for what is held of it."""
        statement = Statement(self._selection, [])
        old = Query((Filter(self._time, "ne", None),), until=before)
        where = statement.conditions(old)
        return statement, where, statement.any_of(held.queries)

    def _document(self, row: asyncpg.Record) -> Document:
        body: Any = decode(row["body"], self._record.collection.validator)
        return self._record.stored({ID: row["_id"], **body})


_: type[Ages] = JsonbAges
