"""VACUUM (ANALYZE) of chosen tables, or of those that need it, as their owner."""

from __future__ import annotations

import time
from collections.abc import Sequence

import asyncpg

from neo_polystore.errors import NotFoundError
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.stores.postgres.diagnostics import Answer

STORE = "postgres"
LOCK_TIMEOUT = "10s"

_NAMED = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.oid
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'm')
"""

_NEEDING = """
SELECT format('%I.%I', s.schemaname, s.relname) AS name, s.relid AS oid
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE pg_has_role(c.relowner, 'USAGE') AND c.relkind <> 'p'
    AND (s.n_dead_tup > 0
        OR s.n_live_tup > 0 AND greatest(s.last_analyze, s.last_autoanalyze) IS NULL)
ORDER BY s.n_dead_tup DESC, 1
"""

_DEAD = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relid = $1"


async def vacuum(config: PgConfig, tables: Sequence[str] = (), *, dry_run: bool = False) -> Answer:
    """Vacuum these tables, or all with dead rows or without statistics; one after the other.

    Answers each table's dead rows before and the milliseconds it took. Raises NotFoundError for a
    table that there is not, before any is touched, and UnavailableError where a table stays locked
    for ten seconds.
    """
    async with translated(STORE, "vacuum"):
        connection: Connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            chosen = [await _named(connection, table) for table in tables]
            if not tables:
                chosen = await connection.fetch(_NEEDING)
            rows = []
            for table in chosen:
                dead = await connection.fetchval(_DEAD, table["oid"])
                started = time.perf_counter()
                if not dry_run:
                    await connection.execute(f"VACUUM (ANALYZE) {table['name']}")
                taken = None if dry_run else round((time.perf_counter() - started) * 1000, 1)
                rows.append({"table": table["name"], "dead": dead, "ms": taken})
            return Answer(rows, "" if rows else "no table needs it")
        finally:
            await connection.close()


async def _named(connection: Connection, table: str) -> asyncpg.Record:
    try:
        row = await connection.fetchrow(_NAMED, table)
    except (asyncpg.InvalidNameError, asyncpg.PostgresSyntaxError):
        row = None
    if row is None:
        raise NotFoundError(f"no table {table!r}: say schema.table", store=STORE)
    return row
