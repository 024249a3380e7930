"""The records of one model inside a unit of work: one at a time or many, and all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Generic, Literal, TypeVar

from neo_polystore.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    UnsupportedError,
    ValidationError,
)
from neo_polystore.records.base import Record
from neo_polystore.records.paging import each
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.stores.postgres import bulk
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.projection import project

R = TypeVar("R", bound=Record)
M = TypeVar("M")

Outcome = Literal["new", "existing", "replaced"]


class Repository(Generic[R]):
    """Reads, writes and deletes; nothing is durable before the unit of work commits."""

    def __init__(self, records: PgRecords[R]):
        self._records = records

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""
        return await self._records.get(key)

    async def get_all(self, keys: Sequence[str]) -> dict[str, R]:
        """The records with these keys, by key; those that are not stored are left out."""
        return await bulk.stored(self._records, keys)

    async def find(self, query: Query) -> Page[R]:
        """One page of the records that satisfy the query."""
        return await self._records.find(query)

    async def first(self, query: Query) -> R | None:
        """The first record that satisfies the query, None where none does."""
        page = await self._records.find(replace(query, limit=1))
        return page.records[0] if page.records else None

    async def each(self, query: Query) -> AsyncIterator[R]:
        """All records that satisfy the query, read in pages of its limit."""
        async for record in each(self._records.find, query):
            yield record

    async def project(self, query: Query, model: type[M]) -> Page[M]:
        """One page of the query in a model of the caller's; see `ports.relational`."""
        return await project(self._records, query, model)

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions."""
        return await self._records.count(query)

    async def exists(self, which: str | Query) -> bool:
        """Whether there is a record with this key, or one that satisfies this query."""
        if isinstance(which, Query):
            return await self.first(which) is not None
        try:
            await self._records.get(which)
        except NotFoundError:
            return False
        return True

    async def add(self, record: R) -> None:
        """Store a new record; ConflictError where the key is taken, ValidationError if refused."""
        async with self._together("add"):
            if await self.exists(record.key):
                raise self._conflict(record.key, "is stored already")
            written = await self._records.write([record])
            self._accepted(written)
            if not written.new:  # the savepoint takes back what replaced the other one's
                raise self._conflict(record.key, "was stored by somebody else meanwhile")

    async def update(self, record: R, *, expected: R | None = None) -> None:
        """Replace a stored record; see `ports.relational`."""
        async with self._together("update"):
            stored = await self._locked(record.key)
            self._unchanged(stored, expected)
            if stored != record and not self._records.mutable:
                name = self._records.record.data_type
                raise UnsupportedError(f"{name} are immutable: {record.key!r} stays as it is")
            self._accepted(await self._records.write([record]))

    async def upsert(self, record: R) -> Outcome:
        """Store a record whether its key is taken or not; what it was. ValidationError if refused.

        An immutable record that is stored stays as it is.
        """
        written = await self._records.write([record])
        self._accepted(written)
        if written.new:
            return "new"
        return "replaced" if written.replaced else "existing"

    async def delete(self, key: str, *, expected: R | None = None) -> None:
        """Delete one record; see `ports.relational`."""
        async with self._together("delete"):
            if expected is not None:
                self._unchanged(await self._locked(key), expected)
            await self._records.delete(key)

    async def add_all(self, records: Sequence[R]) -> Written:
        """Store those that are not stored yet; see `ports.relational`."""
        return await bulk.insert_all(self._records, records)

    async def update_all(self, records: Sequence[R]) -> Written:
        """Replace those that are stored; see `ports.relational`."""
        return await bulk.update_all(self._records, records)

    async def upsert_all(self, records: Sequence[R]) -> Written:
        """Store all of them, counting what happened to each; refused ones are answered."""
        return await self._records.write(records)

    def _together(self, verb: str) -> AbstractAsyncContextManager[object]:
        name = f"{self._records.record.data_type}.{verb}"
        return self._records.database.transaction(name, self._records.scope)

    async def _locked(self, key: str) -> R:
        """The stored record, which nobody else changes until this work ends; NotFoundError."""
        found = await bulk.stored(self._records, [key], lock=self._records.mutable)
        if key not in found:
            raise self._records.missing(key)
        return found[key]

    def _unchanged(self, stored: R, expected: R | None) -> None:
        if expected is not None and stored != expected:
            raise self._conflict(stored.key, "has been changed since it was read: read it again")

    def _accepted(self, written: Written) -> None:
        if written.rejected:
            why = written.rejected[0]
            raise ValidationError([FieldProblem(why.field, why.reason)], store="postgres")

    def _conflict(self, key: str, what: str) -> ConflictError:
        return ConflictError(f"{self._records.record.data_type} {key!r} {what}", store="postgres")
