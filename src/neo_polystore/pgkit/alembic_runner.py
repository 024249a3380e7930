"""The part that needs Alembic and SQLAlchemy: runs one revision, in one transaction if it can."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from neo_polystore.assets import asset
from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translate

if TYPE_CHECKING:
    from neo_polystore.pgkit.migrations import Revision

RECORD = """
INSERT INTO public.schema_revisions (environment, revision, checksum)
VALUES (:environment, :revision, :checksum)
"""
FORGET = """
DELETE FROM public.schema_revisions
WHERE environment = :environment AND revision = :revision
"""

Direction = Literal["upgrade", "downgrade"]

_DONE: dict[Direction, str] = {"upgrade": "applied", "downgrade": "taken back"}
_log = logging.getLogger(__name__)

# `alembic.op` is one per process: two databases that migrate at once would swap statements
_OPERATING = threading.Lock()


async def run(
    config: PgConfig, *, store: str, environment: str, revision: Revision, direction: Direction
) -> None:
    """Run one revision and record it, both in the same transaction.

    A revision marked `transactional = False` runs statement by statement and is recorded when all
    of it has run; it must be written so that it can be run again after a failure. Raises a
    PolystoreError that names the revision.
    """
    url = URL.create("postgresql+asyncpg", database=config.database)
    arguments = config.connect_arguments(as_owner=True)
    engine = create_async_engine(url, poolclass=NullPool, connect_args=arguments)
    if not revision.transactional:
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    try:
        started = perf_counter()
        async with _operating(), engine.connect() as connection:
            await _run(connection, environment, revision, direction)
        _log.info(
            f"revision {_DONE[direction]}",
            extra={
                "store": store,
                "revision": revision.id,
                "milliseconds": round((perf_counter() - started) * 1000, 3),
            },
        )
    except DBAPIError as error:
        raise _explained(error, store=store, revision=revision, direction=direction) from error
    finally:
        await engine.dispose()


async def _run(
    connection: AsyncConnection, environment: str, revision: Revision, direction: Direction
) -> None:
    def work(plain: Connection) -> None:
        _operate(plain, environment, revision, direction)

    async with connection.begin():
        await connection.run_sync(work)


def _operate(
    connection: Connection, environment: str, revision: Revision, direction: Direction
) -> None:
    from neo_polystore.pgkit.migrations import LEDGER

    connection.execute(text(LEDGER))
    script = ScriptDirectory(str(asset("migrations") / environment)).get_revision(revision.id)
    if script is None:
        raise PolystoreError(f"migrations/{environment} has no revision {revision.id}")
    with Operations.context(MigrationContext.configure(connection)):
        getattr(script.module, direction)()
    values = {"environment": environment, "revision": revision.id}
    if direction == "upgrade":
        connection.execute(text(RECORD), {**values, "checksum": revision.checksum})
    else:
        connection.execute(text(FORGET), values)


@asynccontextmanager
async def _operating() -> AsyncIterator[None]:
    # an asyncio.Lock would belong to one event loop; this is short, and only ever at a migration
    while not _OPERATING.acquire(blocking=False):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _OPERATING.release()


def _explained(
    error: DBAPIError, *, store: str, revision: Revision, direction: Direction
) -> PolystoreError:
    """The driver's own complaint in our words, with the name of the revision before it."""
    cause = getattr(error.orig, "__cause__", None)
    found = translate(cause or error, store=store, operation=f"{direction} {revision.id}")
    rest = "nothing of it was kept" if revision.transactional else "run it again when it can work"
    return PolystoreError(
        f"{found.message} ({revision.path.name}; {rest})", store=store, operation=found.operation
    )
