"""One collection in PostgreSQL: idempotent batches, typed queries, the stored document as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from neo_polystore.errors import FieldProblem
from neo_polystore.pgkit.complaints import complaint, is_ours
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.pgkit.select import Statement, page_sql
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.checked import checked
from neo_polystore.records.conditions import place_in, sort_values
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version, require_versioned
from neo_polystore.records.query import Filter, Query, encode_cursor
from neo_polystore.records.results import Page, Rejection, Written
from neo_polystore.records.rules import ID, Kind, Place, item_rule
from neo_polystore.records.scope import Scope
from neo_polystore.records.validators import taken
from neo_polystore.records.values import is_text
from neo_polystore.stores.jsonb.encoding import decode
from neo_polystore.stores.jsonb.gathered import BAD_DOCUMENT, MAX_WEIGHT, Call, Gathered
from neo_polystore.stores.jsonb.rows import Row, Table
from neo_polystore.stores.jsonb.selection import json_path, selection
from neo_polystore.stores.jsonb.sql import SCHEMA, column, table
from neo_polystore.stores.jsonb.tables import index_names

CHUNK = 10_000
"""Documents per COPY: where one of them turns out to be there already, so many are merged."""

MERGED = 1_000
"""Documents per statement that merges: their text is in memory once more while it runs."""

COPIED = 200
"""From this many new documents on, COPY is worth asking which of them are new."""


class JsonbDocuments(SqlRecords[Document]):
    """The port of one collection; see `ports.documents`."""

    def __init__(
        self, database: Database, record: type[Document], gathered: Gathered | None = None
    ):
        super().__init__(database)
        self.document = record
        self.table = Table(record)
        self.selection = selection(record)
        self._gathered = gathered

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

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """One page of some fields; see `ports.documents`."""
        inner = {field: place_in(self.document, field) for field in fields}
        wanted = [field for field, place in inner.items() if place.path != (ID,)]
        sql, arguments, cursor = page_sql(self.selection, query, wanted or None)
        rows = await self._fetch("project", sql, arguments)
        found = rows[: query.limit]
        after = (
            encode_cursor([found[-1][name] for name in cursor]) if len(rows) > len(found) else None
        )
        return Page([self._projected(row, inner) for row in found], after)

    def _projected(self, row: asyncpg.Record, inner: Mapping[str, Place]) -> dict[str, Any]:
        values = {
            field: decode(row["body"][field], place.rule)
            for field, place in inner.items()
            if field in row["body"]
        }
        return {ID: row["_id"], **values}

    async def native(self, key: str) -> dict[str, Any]:
        """`_id`, `body` and `updated_at` of the row; raises NotFoundError."""
        sql = f"SELECT _id, body, updated_at FROM {table(self.document.collection.name)}"
        self.key_filters(key)
        rows = await self._fetch("native", f"{sql} WHERE _id = $1", [key])
        if not rows:
            raise self.missing(key)
        return dict(rows[0])

    async def versions(self, key: str) -> list[Version]:
        """Every state that the document has had; see `ports.documents`."""
        require_versioned(self.document, store=self.database.store)
        self.key_filters(key)
        name = self.document.collection.name
        rows = await self._fetch(
            "versions",
            f"SELECT _id, body, version, replaced_at FROM {SCHEMA}._versions"
            f" WHERE collection = $2 AND _id = $1 UNION ALL"
            f" SELECT _id, body, NULL, NULL FROM {table(name)} WHERE _id = $1 ORDER BY version",
            [key, name],
        )
        if not rows:
            raise self.missing(key)
        return [
            Version(number, self.from_row(row), row["replaced_at"])
            for number, row in enumerate(rows, 1)
        ]

    async def write(self, records: Sequence[Document]) -> Written:
        """Store a batch in one transaction; see `ports.records`."""
        found = checked(self.document.collection, records)
        if len(found.good) == len(records) == 1 and self._gathered is not None:
            [(key, body)] = found.bodies.items()
            return await self._gathered.write(Call(self, [Row(0, key, body)]))
        _, written = last_by_key(found.good)
        written.rejected = found.rejected
        # in one order: batches never deadlock
        rows = [Row(found.places[key], key, found.bodies[key]) for key in sorted(found.bodies)]
        if rows and self._gathered is not None and len(rows) <= MAX_WEIGHT:
            written += await self._gathered.write(Call(self, rows))
        elif rows:
            written += await self.store(rows)
        written.rejected.sort(key=lambda rejection: rejection.index)
        return written

    async def store(self, rows: Sequence[Row]) -> Written:
        """Store rows of different keys, sorted by key, in a transaction of their own."""
        stored = Written()

        async def work() -> None:
            nonlocal stored
            async with self.database.transaction(f"{self.table.name}.write") as connection:
                outcome = Written()
                for start in range(0, len(rows), CHUNK):
                    outcome += await self._chunk(connection, rows[start : start + CHUNK])
            stored = outcome

        await self.database.retrying(work)
        return stored

    async def _chunk(self, connection: Connection, rows: Sequence[Row]) -> Written:
        """Copy what is new and merge the rest; merge all where somebody else was faster."""
        written = Written()
        if len(rows) >= COPIED:
            known = await self.table.present(connection, [row.key for row in rows])
            fresh = [row for row in rows if row.key not in known] if known else rows
            if len(fresh) >= COPIED and await self._copied(connection, fresh):
                written.new = len(fresh)
                rows = [row for row in rows if row.key in known]
        for start in range(0, len(rows), MERGED):
            written += await self._merge(connection, rows[start : start + MERGED])
        return written

    async def _copied(self, connection: Connection, rows: Sequence[Row]) -> bool:
        """Whether all rows were copied: none of them is bad, and nobody else was faster."""
        try:
            async with connection.transaction():
                await self.table.copy(connection, rows)
        except BAD_DOCUMENT:
            return False
        return True

    async def _merge(self, connection: Connection, rows: Sequence[Row]) -> Written:
        """Merge rows; where the database refuses them, halve until the bad ones stand alone."""
        try:
            async with connection.transaction():
                return (await self.table.upsert(connection, rows)).of(rows)
        except BAD_DOCUMENT as error:
            if len(rows) == 1:
                problem = self._problem(error)
                return Written(rejected=[Rejection(rows[0].place, problem.field, problem.reason)])
        half = len(rows) // 2
        written = await self._merge(connection, rows[:half])
        written += await self._merge(connection, rows[half:])
        return written

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


if TYPE_CHECKING:
    from neo_polystore.ports.documents import Documents

    def _is_port(port: JsonbDocuments) -> Documents:
        return port
