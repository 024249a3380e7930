"""The data plane's common ground: idempotent writes and typed queries over one data type."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope

R = TypeVar("R", bound=Record)


class Records(Protocol[R]):
    """Typed records of one data type in one store.

    A method that has returned has read committed data or made its write durable. Any of them
    raises UnavailableError where the store cannot be reached; nothing was stored then that a
    repeated call would store twice.
    """

    @property
    def record(self) -> type[R]:
        """The record model that this port takes and gives."""

    def within(self, scope: Scope) -> Self:
        """The same port acting for a tenant and service; cheap, no I/O.

        Without a scope, tenant-owned data types show nothing and refuse writes with
        TenantRequiredError. Data types that no tenant owns ignore the scope.
        """

    async def write(self, records: Sequence[R]) -> Written:
        """Store records, each exactly once by its key, and count what happened to each.

        The good records of a batch are committed together; the bad ones come back in
        `rejected` and leave no trace. Within a batch the last record of a key stands; earlier
        ones of that key count as `existing` where they equal it and `replaced` where they do not.
        A key that is already stored counts as `existing` where the record equals it. Where it
        differs, mutable data types replace it (`replaced`) and immutable ones keep the stored
        record and count `existing`; each port's docstring says which it is.
        """

    async def get(self, key: str) -> R:
        """The record with this key (`Record.key`); raises NotFoundError."""

    async def find(self, query: Query) -> Page[R]:
        """The records that satisfy the query, in its order, cut to its limit.

        Following `Page.next` visits every record that was there from the start exactly once,
        whatever is written meanwhile.
        """

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions (limit and cursor are ignored)."""

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """The sum of a numeric field over those records, exact for exact types; 0 over none."""

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field over those records, sorted, absent ones left out."""


@runtime_checkable
class Deleting(Protocol):
    """A record port whose records can be deleted one by one."""

    async def delete(self, key: str) -> None:
        """Delete the record with this key; raises NotFoundError."""
