"""Empties the tables of a database, in one transaction, whatever protects their rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg

from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.quoting import identifier
from neo_polystore.ports.store import Cleared

LOCK_TIMEOUT = "10s"

# Partitions are emptied through their parent; what an extension made is its own affair.
_TABLES = """
SELECT c.oid::regclass::text AS name, c.relforcerowsecurity AS forced,
    ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        AND t.tgtype & 32 <> 0 AND t.tgenabled = 'O') AS refusing
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND (n.nspname = ANY($1) AND NOT c.relname = ANY($3)
        OR n.nspname = current_schema() AND c.relname = ANY($2))
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""


async def clear(
    config: PgConfig,
    *,
    store: str,
    schemas: Collection[str] = (),
    tables: Collection[str] = (),
    keep: Collection[str] = (),
    seeds: Sequence[str] = (),
    dry_run: bool,
) -> Cleared:
    """Empty all tables of `schemas` (but those of the names in `keep`), and `tables`.

    `tables` are looked for in the connection's own schema. `seeds` are the statements that put
    back what migrations have put in. Rows are counted exactly, which needs the same locks as
    removing them, for as long as counting takes: UnavailableError where somebody holds one for
    ten seconds. Sequences go on. Either all of it happens or nothing.
    """
    async with translated(store, "clear"):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            found = await connection.fetch(_TABLES, list(schemas), list(tables), list(keep))
            rows = await _emptied(connection, found, seeds)
            await (transaction.rollback() if dry_run else transaction.commit())
            return Cleared(store, rows)
        finally:
            await connection.close()


async def _emptied(
    connection: asyncpg.Connection[asyncpg.Record],
    tables: Sequence[asyncpg.Record],
    seeds: Sequence[str],
) -> dict[str, int]:
    """Count and remove; the owner too is bound by policies, so they are lifted meanwhile."""
    for table in tables:
        if table["forced"]:
            await connection.execute(f"ALTER TABLE {table['name']} NO FORCE ROW LEVEL SECURITY")
        for trigger in table["refusing"]:
            await connection.execute(
                f"ALTER TABLE {table['name']} DISABLE TRIGGER {identifier(trigger)}"
            )
    rows = {
        table["name"]: await connection.fetchval(f"SELECT count(*) FROM {table['name']}")
        for table in tables
    }
    if tables:
        await connection.execute("TRUNCATE " + ", ".join(table["name"] for table in tables))
    for statement in seeds:
        await connection.execute(statement)
    for table in tables:
        for trigger in table["refusing"]:
            await connection.execute(
                f"ALTER TABLE {table['name']} ENABLE TRIGGER {identifier(trigger)}"
            )
        if table["forced"]:
            await connection.execute(f"ALTER TABLE {table['name']} FORCE ROW LEVEL SECURITY")
    return rows
