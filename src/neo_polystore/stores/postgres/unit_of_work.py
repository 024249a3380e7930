"""One transaction on behalf of a tenant and service, with repositories that all take part in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.outbox import Draft
from neo_polystore.records.base import Record
from neo_polystore.records.payload import to_payload
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.stores.postgres.catalog import MODELS, PORTS
from neo_polystore.stores.postgres.pending import Pending
from neo_polystore.stores.postgres.repository import Repository

R = TypeVar("R", bound=Record)

_SAVEPOINT = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class UnitOfWork:
    """Work that is committed together at the end of `async with`, or not at all.

    Belongs to one task: its one connection answers one call at a time. A refused write leaves
    the work as it was before that write, and the work may go on.
    """

    def __init__(self, database: _Bound):
        self._database = database
        self._pending = Pending(database)

    @property
    def scope(self) -> Scope:
        """On whose behalf this is."""
        return self._database.scope

    def repository(self, model: type[R]) -> Repository[R]:
        """The records of one model within this transaction; UsageError for a foreign model."""
        if model not in MODELS:
            known = ", ".join(sorted(known.__name__ for known in MODELS))
            raise UsageError(f"no repository holds {model.__name__}; there are {known}")
        return Repository(MODELS[model](self._database, self.scope))

    def port(self, data_type: str) -> Any:
        """The port of a data type within this transaction; KeyError for an unknown one."""
        return PORTS[data_type](self._database, self.scope)

    async def publish(self, topic: str, key: str, payload: Any) -> None:
        """Have a message delivered to `topic` if and only if this work is committed.

        Messages of a topic and key arrive in the order of commits, at least once each. Raises
        ValidationError for a payload that is no JSON.
        """
        await self._pending.add(Draft(topic, key, payload))

    async def publish_record(self, record: Record) -> None:
        """Have a record written to its own data type's store if this work is committed.

        Raises ValidationError or CorruptDataError as `records.payload.to_payload` does.
        """
        await self.publish(record.data_type, record.key, to_payload(record))

    async def write_messages(self) -> None:
        """Write what was published so far; the end of the unit of work does so by itself."""
        await self._pending.write()

    @asynccontextmanager
    async def savepoint(self, name: str) -> AsyncIterator[None]:
        """A part that an exception undoes alone (and then goes on its way)."""
        await self.write_messages()
        await self._savepoint("SAVEPOINT", name)
        try:
            yield
        except BaseException:
            await self.rollback_to(name)
            await self._savepoint("RELEASE SAVEPOINT", name)
            raise
        await self._savepoint("RELEASE SAVEPOINT", name)

    async def rollback_to(self, name: str) -> None:
        """Undo what came after the savepoint of this name, which stays set."""
        await self._savepoint("ROLLBACK TO SAVEPOINT", name)
        self._pending.forget()

    async def _savepoint(self, command: str, name: str) -> None:
        # a name is no parameter in SQL, so it has to be a plain one
        if not _SAVEPOINT.fullmatch(name):
            raise UsageError(f"a savepoint's name is lower-case letters, digits, _, not {name!r}")
        async with self._database.acquire("savepoint") as connection:
            await connection.execute(f'{command} "{name}"')


@asynccontextmanager
async def unit_of_work(database: Database, scope: Scope) -> AsyncIterator[UnitOfWork]:
    """Begin, set the scope for this transaction only, and commit or roll back at the end."""
    async with database.transaction("unit of work", scope) as connection:
        bound = _Bound(database, connection, scope)
        try:
            work = UnitOfWork(bound)
            yield work
            await work.write_messages()
        finally:
            bound.end()


class _Bound(Database):
    """A database that has only the unit of work's connection: transactions become savepoints."""

    def __init__(self, database: Database, connection: Connection, scope: Scope):
        super().__init__(database.config, store=database.store)
        self.scope = scope
        self._connection: Connection | None = connection

    def end(self) -> None:
        """The connection goes back to the pool: nothing may use it from here any more."""
        self._connection = None

    @asynccontextmanager
    async def acquire(self, operation: str) -> AsyncIterator[Connection]:
        """The one connection."""
        if self._connection is None:
            raise UsageError("the unit of work has ended", store=self.store, operation=operation)
        async with self.translated(operation):
            yield self._connection

    @asynccontextmanager
    async def transaction(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A savepoint."""
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

    def _check(self, scope: Scope) -> None:
        if scope != self.scope:
            raise UsageError("a unit of work acts for one tenant and service", store=self.store)
