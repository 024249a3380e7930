"""The records of one model inside a unit of work: one at a time or many, and all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from neo_polystore.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    UnsupportedError,
    ValidationError,
)
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.stores.postgres.base import PgRecords

R = TypeVar("R", bound=Record)


class Repository(Generic[R]):
    """Get, find, add, update and delete; nothing is durable before the unit of work commits."""

    def __init__(self, records: PgRecords[R]):
        self._records = records

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""
        return await self._records.get(key)

    async def find(self, query: Query) -> Page[R]:
        """One page of the records that satisfy the query."""
        return await self._records.find(query)

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions."""
        return await self._records.count(query)

    async def exists(self, key: str) -> bool:
        """Whether there is a record with this key."""
        try:
            await self._records.get(key)
        except NotFoundError:
            return False
        return True

    async def add(self, record: R) -> None:
        """Store a new record; ConflictError where the key is taken, ValidationError if refused."""
        if await self.exists(record.key):
            raise self._conflict(record, "is stored already")
        written = await self._records.write([record])
        self._accepted(written)
        if not written.new:
            raise self._conflict(record, "was stored by somebody else meanwhile")

    async def update(self, record: R) -> None:
        """Replace a stored record; NotFoundError where there is none.

        UnsupportedError where the stored one is another and this data type is immutable.
        """
        if await self.get(record.key) != record and not self._records.mutable:
            name = self._records.record.data_type
            raise UnsupportedError(f"{name} are immutable: {record.key!r} stays as it is")
        self._accepted(await self._records.write([record]))

    async def delete(self, key: str) -> None:
        """Delete one record; NotFoundError, or UnsupportedError where none is deleted."""
        await self._records.delete(key)

    async def add_all(self, records: Sequence[R]) -> Written:
        """Store many, counting what happened to each; refused ones are answered, not raised."""
        return await self._records.write(records)

    def _accepted(self, written: Written) -> None:
        if written.rejected:
            why = written.rejected[0]
            raise ValidationError([FieldProblem(why.field, why.reason)], store="postgres")

    def _conflict(self, record: R, what: str) -> ConflictError:
        return ConflictError(
            f"{self._records.record.data_type} {record.key!r} {what}", store="postgres"
        )
