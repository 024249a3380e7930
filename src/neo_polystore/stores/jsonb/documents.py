"""One collection in PostgreSQL: idempotent batches, typed queries, the stored document as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import asyncpg

from neo_polystore.errors import FieldProblem
from neo_polystore.pgkit.complaints import complaint, is_ours
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.pgkit.select import Statement
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.conditions import place_in, sort_values
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.rules import ID, Kind, item_rule
from neo_polystore.records.scope import Scope
from neo_polystore.records.validators import check, taken
from neo_polystore.records.values import is_text
from neo_polystore.stores.jsonb.encoding import decode, encode
from neo_polystore.stores.jsonb.selection import json_path, selection
from neo_polystore.stores.jsonb.sql import column, table
from neo_polystore.stores.jsonb.tables import index_names

CHUNK = 1000
"""Documents per statement: their text is in memory once more while it runs."""


class _Row(NamedTuple):
    place: int
    key: str
    body: str


class JsonbDocuments(SqlRecords[Document]):
    """The port of one collection; see `ports.documents`."""

    def __init__(self, database: Database, record: type[Document]):
        super().__init__(database)
        self.document = record
        self.selection = selection(record)

    def within(self, scope: Scope) -> Self:
        """This port: no tenant owns a collection."""
        return self

    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """The condition on `_id`."""
        if not is_text(key):
            raise self.missing(key)
        return (Filter("document_id", "eq", key),)

    def from_row(self, row: asyncpg.Record) -> Document:
        """The document in one row."""
        body = decode(row["body"], self.document.collection.validator)
        return self.document.stored({ID: row["_id"], **body})

    async def native(self, key: str) -> dict[str, Any]:
        """`_id`, `body` and `updated_at` of the row; raises NotFoundError."""
        sql = f"SELECT _id, body, updated_at FROM {table(self.document.collection.name)}"
        self.key_filters(key)
        rows = await self._fetch("native", f"{sql} WHERE _id = $1", [key])
        if not rows:
            raise self.missing(key)
        return dict(rows[0])

    async def write(self, records: Sequence[Document]) -> Written:
        """Store a batch in one transaction; see `ports.records`."""
        collection = self.document.collection
        good: list[Document] = []
        rejected: list[Rejection] = []
        places: dict[str, int] = {}
        for index, record in enumerate(records):
            if problems := check(collection, record.body()):
                rejected += [Rejection(index, p.field, p.reason) for p in problems[:1]]
            else:
                good.append(record)
                places[record.key] = index
        last, written = last_by_key(good)
        written.rejected = rejected
        rows = [
            _Row(places[key], key, encode(_without_id(record.body()), collection.validator))
            for key, record in sorted(last.items())  # in one order: batches never deadlock
        ]

        stored = Written()

        async def work() -> None:
            nonlocal stored
            async with self.database.transaction(f"{collection.name}.write") as connection:
                outcome = Written()
                for start in range(0, len(rows), CHUNK):
                    outcome += await self._store(connection, rows[start : start + CHUNK])
            stored = outcome

        if rows:
            await self.database.retrying(work)
        written += stored
        written.rejected.sort(key=lambda rejection: rejection.index)
        return written

    async def _store(self, connection: Connection, rows: list[_Row]) -> Written:
        """Store rows; where the database refuses them, halve until the bad ones stand alone."""
        try:
            async with connection.transaction():
                return await self._upsert(connection, rows)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
            if len(rows) == 1:
                problem = self._problem(error)
                return Written(rejected=[Rejection(rows[0].place, problem.field, problem.reason)])
        half = len(rows) // 2
        written = await self._store(connection, rows[:half])
        written += await self._store(connection, rows[half:])
        return written

    async def _upsert(self, connection: Connection, rows: list[_Row]) -> Written:
        changed = await connection.fetch(
            f"INSERT INTO {table(self.document.collection.name)} AS stored (_id, body)"
            " SELECT _id, body::jsonb FROM unnest($1::text[], $2::text[]) AS given (_id, body)"
            " ON CONFLICT (_id) DO UPDATE SET body = EXCLUDED.body"
            " WHERE stored.body <> EXCLUDED.body RETURNING xmax = 0",
            [row.key for row in rows],
            [row.body for row in rows],
        )
        new = sum(inserted for (inserted,) in changed)
        return Written(new=new, existing=len(rows) - len(changed), replaced=len(changed) - new)

    def _problem(self, error: asyncpg.PostgresError) -> FieldProblem:
        index = index_names(self.document.collection).get(error.constraint_name or "")
        if isinstance(error, asyncpg.UniqueViolationError) and index is not None:
            return taken(self.document.collection, index)
        problem = complaint(error)
        if not is_ours(error):
            return problem
        field, separator, reason = problem.reason.partition(": ")
        return FieldProblem(field, reason) if separator else FieldProblem("document", field)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values at a field or path, items of arrays one by one."""
        place = place_in(self.document, field)
        found = column(place)
        statement = Statement(self.selection, [])
        where = statement.conditions(query)
        if found is not None:
            sql = f"SELECT DISTINCT {found.sql} FROM {self.selection.source} {where}"
        else:
            path = statement.bind(f"{json_path(place.path)}[*]")
            values = f"jsonb_path_query(body, {path}::text::jsonpath) AS value"
            sql = f"SELECT DISTINCT value FROM {self.selection.source}, {values} {where}"
        rows = await self._fetch("distinct", sql, statement.arguments)
        rule = item_rule(place.rule) if place.bson_type == "array" else place.rule
        values_ = [_plain(decode(row[0], rule), place.kind) for row in rows if row[0] is not None]
        return sort_values(values_)


def _plain(value: Any, kind: Kind | None) -> Any:
    return int(value) if kind == "int" else value


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != ID}


if TYPE_CHECKING:
    from neo_polystore.ports.documents import Documents

    def _is_port(port: JsonbDocuments) -> Documents:
        return port
