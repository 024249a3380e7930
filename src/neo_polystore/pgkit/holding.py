"""Deleting where legal holds are in the same database: asked in the deleting transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from neo_polystore.errors import PolystoreError, UnavailableError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.retention import Held, HoldsChangedError

LOCK_TIMEOUT: Final = "2s"
"""How long a deletion waits for a lock that somebody else has; then the next run will do."""

_GUARD: Final = "to_regprocedure('retention.guard(text, bigint)')"


async def guarded(database: Database) -> bool:
    """Whether the holds are in this database."""
    async with database.acquire("retention.guarded") as connection:
        return bool(await connection.fetchval(f"SELECT {_GUARD} IS NOT NULL"))


@asynccontextmanager
async def in_deletion(database: Database, data_type: str, held: Held) -> AsyncIterator[Connection]:
    """A transaction to delete in, which no hold on the data type gets ahead of.

    Raises HoldsChangedError where one was added since `held` was read, and UnavailableError where
    a lock takes longer than two seconds; nothing is deleted then.
    """
    operation = f"{data_type}.retention"
    try:
        async with database.transaction(operation) as connection:
            await connection.execute("SELECT set_config('lock_timeout', $1, true)", LOCK_TIMEOUT)
            if await connection.fetchval(f"SELECT {_GUARD} IS NOT NULL"):
                await connection.execute(
                    "SELECT retention.guard($1, $2)", data_type, held.generation
                )
            yield connection
    except PolystoreError as error:
        if isinstance(error.__cause__, asyncpg.ObjectNotInPrerequisiteStateError):
            if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise UnavailableError(
                    "somebody holds a lock for too long: the next run will do",
                    store=database.store,
                    operation=operation,
                ) from error
            raise HoldsChangedError(
                f"a hold on {data_type} was added meanwhile",
                store=database.store,
                operation=operation,
            ) from error
        raise
