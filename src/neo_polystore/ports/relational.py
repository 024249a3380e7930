"""Relational work: several records of several data types, committed together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar
from uuid import UUID

from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written

R = TypeVar("R", bound=Record)


class Repository(Protocol[R]):
    """The records of one model inside a unit of work; nothing is durable before that commits."""

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""

    async def find(self, query: Query) -> Page[R]:
        """One page of the records that satisfy the query."""

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions."""

    async def exists(self, key: str) -> bool:
        """Whether there is a record with this key."""

    async def add(self, record: R) -> None:
        """Store a new record; ConflictError where the key is taken, ValidationError if refused."""

    async def update(self, record: R) -> None:
        """Replace a stored record; NotFoundError where there is none."""

    async def delete(self, key: str) -> None:
        """Delete one record; NotFoundError, or UnsupportedError where none is deleted."""

    async def add_all(self, records: Sequence[R]) -> Written:
        """Store many, counting what happened to each; refused ones are answered, not raised."""


class UnitOfWork(Protocol):
    """Work that is committed together at the end of `async with`, or not at all.

    Belongs to one task. A refused write leaves the work as it was before that write, and the
    work may go on.
    """

    def repository(self, model: type[R]) -> Repository[R]:
        """The records of one model within this transaction; UsageError for a foreign model."""

    def port(self, data_type: str) -> Any:
        """The port of a data type within this transaction; KeyError for an unknown one."""

    def savepoint(self, name: str) -> AbstractAsyncContextManager[None]:
        """A part that an exception undoes alone (and then goes on its way)."""

    async def rollback_to(self, name: str) -> None:
        """Undo what came after the savepoint of this name, which stays set."""


class Relational(Protocol):
    """A store with the feature `unit-of-work`."""

    def unit_of_work(
        self, *, tenant: UUID | None = None, service: str | None = None
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """One transaction on behalf of a tenant and service; commits at the end of the block."""
