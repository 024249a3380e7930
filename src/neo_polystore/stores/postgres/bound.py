"""A database that is one unit of work's connection: transactions are savepoints in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any, TypeVar

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.relational import Isolation
from neo_polystore.records.scope import NOBODY, Scope

T = TypeVar("T")


class Bound(Database):
    """What the ports of a unit of work take for their database."""

    def __init__(self, database: Database, connection: Connection, scope: Scope):
        super().__init__(database.config, store=database.store, recorder=database.recorder)
        self.scope = scope
        self._connection: Connection | None = connection
        self._holder: asyncio.Task[Any] | None = None
        self._depth = 0
        self._calls = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def end(self) -> None:
        """Let nobody use the connection any more, once the call that is under way has ended."""
        self._connection = None
        await self._quiet.wait()

    @contextmanager
    def turn(self, operation: str) -> Iterator[None]:
        """Keep other tasks out; UsageError where one of them is in."""
        task = asyncio.current_task()
        if self._depth and self._holder is not task:
            raise UsageError(
                "another task is using this unit of work: one task at a time, or one each",
                store=self.store,
                operation=operation,
            )
        self._holder = task
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    @asynccontextmanager
    async def acquire(self, operation: str) -> AsyncIterator[Connection]:
        """The one connection."""
        if self._connection is None:
            raise UsageError("the unit of work has ended", store=self.store, operation=operation)
        with self.turn(operation):
            self._calls += 1
            self._quiet.clear()
            started = perf_counter()
            try:
                async with self.translated(operation):
                    yield self._connection
            finally:
                self.recorder.took(operation, perf_counter() - started)
                self._calls -= 1
                if not self._calls:
                    self._quiet.set()

    @asynccontextmanager
    async def transaction(
        self,
        operation: str,
        scope: Scope = NOBODY,
        *,
        isolation: Isolation | None = None,
    ) -> AsyncIterator[Connection]:
        """A savepoint; its isolation is the unit of work's."""
        self._check(scope)
        async with self.acquire(operation) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def reading(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """The one connection; its scope is set already."""
        self._check(scope)
        async with self.acquire(operation) as connection:
            yield connection

    @asynccontextmanager
    async def statement(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A savepoint: a refused statement must not end the whole work."""
        async with self.transaction(operation, scope) as connection:
            yield connection

    async def retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run it once: what has lost is the whole unit of work, and only that can be run again."""
        return await work()

    def _check(self, scope: Scope) -> None:
        if scope != self.scope:
            raise UsageError("a unit of work acts for one tenant and service", store=self.store)
