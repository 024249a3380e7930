"""A repository within a unit of work that notes what it changes of cached records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, TypeVar

from neo_polystore.ports.relational import Repository
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.wrappers.cached.query import QueryCache
from neo_polystore.wrappers.cached.records import CachedRecords

R = TypeVar("R", bound=Record)
M = TypeVar("M")


class CachedRepository:
    """A repository that notes what it changes; it reads within its transaction."""

    def __init__(self, inner: Repository[R], port: CachedRecords[Any, Any], queries: QueryCache):
        self.query_cache = queries
        self._inner: Repository[Any] = inner
        self._port = port

    async def get(self, key: str) -> Any:
        """The record with this key; raises NotFoundError."""
        return await self._inner.get(key)

    async def get_all(self, keys: Sequence[str]) -> dict[str, Any]:
        """The records with these keys, by key."""
        return await self._inner.get_all(keys)

    async def find(self, query: Query) -> Page[Any]:
        """One page of the records that satisfy the query."""
        return await self._inner.find(query)

    async def first(self, query: Query) -> Any:
        """The first record that satisfies the query, None where none does."""
        return await self._inner.first(query)

    def each(self, query: Query) -> AsyncIterator[Any]:
        """All records that satisfy the query."""
        return self._inner.each(query)

    async def project(self, query: Query, model: type[M]) -> Page[M]:
        """One page of the query in `model`."""
        return await self._inner.project(query, model)

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions."""
        return await self._inner.count(query)

    async def exists(self, which: str | Query) -> bool:
        """Whether there is a record with this key, or one that satisfies this query."""
        return await self._inner.exists(which)

    async def add(self, record: Any) -> None:
        """Store a new record."""
        async with self._port.changing([record.key]):
            await self._inner.add(record)

    async def update(self, record: Any, *, expected: Any = None) -> None:
        """Replace a stored record."""
        async with self._port.changing([record.key]):
            await self._inner.update(record, expected=expected)

    async def upsert(self, record: Any) -> Literal["new", "existing", "replaced"]:
        """Store a record whether its key is taken or not."""
        async with self._port.changing([record.key]):
            return await self._inner.upsert(record)

    async def delete(self, key: str, *, expected: Any = None) -> None:
        """Delete one record."""
        async with self._port.changing([key]):
            await self._inner.delete(key, expected=expected)

    async def add_all(self, records: Sequence[Any]) -> Written:
        """Store those whose key is not stored yet."""
        async with self._port.changing(record.key for record in records):
            return await self._inner.add_all(records)

    async def update_all(self, records: Sequence[Any]) -> Written:
        """Replace those whose key is stored."""
        async with self._port.changing(record.key for record in records):
            return await self._inner.update_all(records)

    async def upsert_all(self, records: Sequence[Any]) -> Written:
        """Store all of them."""
        async with self._port.changing(record.key for record in records):
            return await self._inner.upsert_all(records)
