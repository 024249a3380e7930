"""Units of work whose commit invalidates what they have changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from neo_polystore.ports.relational import Isolation, Relational, Repository, UnitOfWork
from neo_polystore.records.base import Record
from neo_polystore.records.scope import Scope
from neo_polystore.wrappers.cached.changes import Touched
from neo_polystore.wrappers.cached.query import QueryCache
from neo_polystore.wrappers.cached.records import CachedRecords
from neo_polystore.wrappers.cached.repository import CachedRepository

R = TypeVar("R", bound=Record)
M = TypeVar("M")
T = TypeVar("T")

Ports = Mapping[str, CachedRecords[Any, Any]]


class CachedRelational:
    """`Relational` over another one; `ports` are the cached ports by data type."""

    def __init__(self, relational: Relational, ports: Ports, queries: QueryCache):
        self._relational = relational
        self._ports = ports
        self._queries = queries

    @asynccontextmanager
    async def unit_of_work(
        self,
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> AsyncIterator[UnitOfWork]:
        """One transaction; what it has changed is announced before its commit."""
        touched = Touched()
        async with (
            touched.invalidated(),
            self._relational.unit_of_work(
                tenant=tenant, service=service, user=user, isolation=isolation
            ) as inner,
        ):
            scope = Scope(tenant=tenant, service=service, user=user)
            yield self._wrapped(inner, scope, touched, isolation)
            await touched.announce()

    async def execute_in_transaction(
        self,
        name: str,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> T:
        """The same for a named unit of work; attempts that lost are invalidated as well."""
        touched, scope = Touched(), Scope(tenant=tenant, service=service, user=user)

        async def announced(inner: UnitOfWork) -> T:
            result = await work(self._wrapped(inner, scope, touched, isolation))
            await touched.announce()
            return result

        async with touched.invalidated():
            return await self._relational.execute_in_transaction(
                name, announced, tenant=tenant, service=service, user=user, isolation=isolation
            )

    def _wrapped(
        self, inner: UnitOfWork, scope: Scope, touched: Touched, isolation: Isolation | None
    ) -> UnitOfWork:
        # an older snapshot would fill the cache with what has been invalidated since
        fresh = isolation in (None, "read_committed")
        queries = self._queries.within(scope, usable=lambda: fresh and not touched)
        return CachedUnitOfWork(inner, scope, touched, self._ports, queries)


class CachedUnitOfWork:
    """A unit of work that notes what it changes."""

    def __init__(
        self, inner: UnitOfWork, scope: Scope, touched: Touched, ports: Ports, queries: QueryCache
    ):
        self.query_cache = queries
        self._inner = inner
        self._scope = scope
        self._touched = touched
        self._ports = ports

    @property
    def scope(self) -> Scope:
        """On whose behalf this is."""
        return self._scope

    @property
    def is_open(self) -> bool:
        """Whether the transaction still goes on."""
        return self._inner.is_open

    def repository(self, model: type[R]) -> Repository[R]:
        """The records of one model within this transaction; UsageError for a foreign model."""
        inner = self._inner.repository(model)
        port = self._ports.get(getattr(model, "data_type", ""))
        if port is None:
            return inner
        joined = port.joined(None, self._scope, self._touched)
        return CachedRepository(inner, joined, self.query_cache)

    def port(self, data_type: str) -> Any:
        """The port of a data type within this transaction; KeyError for an unknown one."""
        inner = self._inner.port(data_type)
        port = self._ports.get(data_type)
        return inner if port is None else port.joined(inner, self._scope, self._touched)

    async def publish(self, topic: str, key: str, payload: Any) -> None:
        """Have a message delivered if and only if this work is committed."""
        await self._inner.publish(topic, key, payload)

    async def publish_record(self, record: Record) -> None:
        """Have a record written to its own data type's store if this work is committed."""
        await self._inner.publish_record(record)

    def savepoint(self, name: str) -> AbstractAsyncContextManager[None]:
        """A part that an exception undoes alone (what it has touched is invalidated even so)."""
        return self._inner.savepoint(name)

    async def rollback_to(self, name: str) -> None:
        """Undo what came after the savepoint of this name, which stays set."""
        await self._inner.rollback_to(name)


if TYPE_CHECKING:
    _relational: type[Relational] = CachedRelational
    _work: type[UnitOfWork] = CachedUnitOfWork
