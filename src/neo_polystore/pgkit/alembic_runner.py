"""The part that needs Alembic and SQLAlchemy: applies one revision in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from neo_polystore.assets import asset
from neo_polystore.pgkit.database import PgConfig

if TYPE_CHECKING:
    from neo_polystore.pgkit.migrations import Revision


async def upgrade(config: PgConfig, *, environment: str, revision: Revision) -> None:
    """Apply one revision and record it, both in the same transaction."""
    arguments = config.connect_arguments(as_owner=True)
    url = URL.create(
        "postgresql+asyncpg",
        username=arguments["user"],
        password=arguments["password"],
        host=arguments["host"],
        port=arguments["port"],
        database=arguments["database"],
    )
    engine = create_async_engine(
        url, poolclass=NullPool, connect_args={"ssl": arguments["ssl"]} if arguments["ssl"] else {}
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_apply, environment, revision)
    finally:
        await engine.dispose()


def _apply(connection: Connection, environment: str, revision: Revision) -> None:
    from neo_polystore.pgkit.migrations import LEDGER

    scripts = ScriptDirectory(str(asset("migrations") / environment))
    script: Script = scripts.get_revision(revision.id)  # type: ignore[assignment]
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        script.module.upgrade()
    connection.execute(text(LEDGER))
    connection.execute(
        text("INSERT INTO public.schema_revisions (revision, checksum) VALUES (:r, :c)"),
        {"r": revision.id, "c": revision.checksum},
    )
