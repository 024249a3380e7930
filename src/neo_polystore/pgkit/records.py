"""The reading half of a record port over SQL: get, find, count, sum, distinct from a Selection."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

import asyncpg

from neo_polystore.errors import NotFoundError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.select import Selection, count_sql, distinct_sql, page_sql, sum_sql
from neo_polystore.records.base import Record
from neo_polystore.records.query import Filter, Query, encode_cursor
from neo_polystore.records.results import Page
from neo_polystore.records.scope import NOBODY, Scope

R = TypeVar("R", bound=Record)


class SqlRecords(Generic[R]):
    """Base of the SQL ports: subclasses give a Selection, the key's filters and `write`."""

    selection: Selection
    unseen: frozenset[str] = frozenset()

    def __init__(self, database: Database, scope: Scope = NOBODY):
        self.database = database
        self.scope = scope

    @property
    def record(self) -> type[R]:
        """The record model."""
        return self.selection.record  # type: ignore[return-value]

    def within(self, scope: Scope) -> Self:
        """The same port acting for a tenant and service."""
        bound = copy(self)
        bound.scope = scope
        return bound

    @abstractmethod
    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """The conditions that select the record with this key; NotFoundError for a non-key."""

    def selection_for(self, query: Query) -> Selection:
        """The selection that answers this query; a subclass may have a better one for some."""
        return self.selection

    def from_row(self, row: asyncpg.Record) -> R:
        """The record in one row of `selection`; its values come from our own checked columns."""
        values = {name: row[name] for name in self.selection.columns if name not in self.unseen}
        return self.record.model_validate(values)

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""
        page = await self.find(Query(filters=self.key_filters(key), limit=1))
        if not page.records:
            raise self.missing(key)
        return page.records[0]

    def missing(self, key: str) -> NotFoundError:
        """The error for a key that is not stored (or not seen)."""
        data_type = self.selection.record.data_type
        return NotFoundError(f"no {data_type} record with key {key!r}", store=self.database.store)

    async def find(self, query: Query) -> Page[R]:
        """One page; see `ports.records`."""
        sql, arguments, cursor = page_sql(self.selection_for(query), query)
        rows = await self._fetch("find", sql, arguments)
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        after = encode_cursor([rows[-1][name] for name in cursor]) if more else None
        return Page([self.from_row(row) for row in rows], after)

    async def count(self, query: Query) -> int:
        """How many records satisfy the conditions."""
        rows = await self._fetch("count", *count_sql(self.selection_for(query), query))
        return int(rows[0][0])

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """The sum of a field, exact for integers and decimals."""
        rows = await self._fetch("sum", *sum_sql(self.selection_for(query), query, field))
        total = rows[0][0]
        if isinstance(total, Decimal) and total == total.to_integral_value():
            return int(total)
        return total if total is not None else 0

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        rows = await self._fetch("distinct", *distinct_sql(self.selection_for(query), query, field))
        return [row["value"] for row in rows]

    async def _fetch(self, operation: str, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        name = f"{self.selection.record.data_type}.{operation}"
        async with self.database.reading(name, self.scope) as connection:
            return await connection.fetch(sql, *arguments)
