"""One transaction on behalf of a tenant and service, with repositories that all take part in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.outbox import Draft
from neo_polystore.ports.relational import Isolation, working
from neo_polystore.records.base import Record
from neo_polystore.records.payload import to_payload
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.bound import Bound
from neo_polystore.stores.postgres.catalog import MODELS, PORTS
from neo_polystore.stores.postgres.pending import Pending
from neo_polystore.stores.postgres.repository import Repository

R = TypeVar("R", bound=Record)

_SAVEPOINT = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class UnitOfWork:
    """Work that is committed together at the end of `async with`, or not at all.

    Its one connection answers one call at a time: a task that calls while another one's call, or
    savepoint block, is under way gets UsageError. A refused write leaves the work as it was
    before that write, and the work may go on.
    """

    def __init__(self, database: Bound):
        self._database = database
        self._pending = Pending(database)
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether its block has not ended yet."""
        return self._open

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

    @asynccontextmanager
    async def connection(self, operation: str) -> AsyncIterator[Connection]:
        """The transaction's connection, for statements of this engine's own."""
        async with self._database.acquire(operation) as connection:
            yield connection

    async def publish(self, topic: str, key: str, payload: Any) -> None:
        """Have a message delivered to `topic` if and only if this work is committed.

        Messages of a topic and key arrive in the order of commits, at least once each. Raises
        ValidationError for a payload that is no JSON.
        """
        if not self._open:
            raise UsageError("the unit of work has ended", operation="publish")
        await self._pending.add(Draft(topic, key, payload))

    async def publish_record(self, record: Record) -> None:
        """Have a record written to its own data type's store if this work is committed.

        Raises ValidationError or CorruptDataError as `records.payload.to_payload` does.
        """
        await self.publish(record.data_type, record.key, to_payload(record))

    def close(self) -> None:
        """Take no more messages: what comes now would miss the commit."""
        self._open = False

    async def write_messages(self) -> None:
        """Write what was published so far; the end of the unit of work does so by itself."""
        await self._pending.write()

    @asynccontextmanager
    async def savepoint(self, name: str) -> AsyncIterator[None]:
        """A part that an exception undoes alone (and then goes on its way)."""
        with self._database.turn("savepoint"):
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
async def unit_of_work(
    database: Database,
    scope: Scope,
    *,
    isolation: Isolation | None = None,
    name: str = "unit_of_work",
) -> AsyncIterator[UnitOfWork]:
    """Begin, set the scope for this transaction only, and commit or roll back at the end.

    `name` is the operation in metrics and errors.
    """
    async with database.transaction(name, scope, isolation=isolation) as connection:
        bound = Bound(database, connection, scope)
        try:
            work = UnitOfWork(bound)
            try:
                with working(work):
                    yield work
            finally:
                work.close()
            await work.write_messages()
        finally:
            await bound.end()
