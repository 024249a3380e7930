"""Questions to a PostgreSQL server about itself: what is slow, large, in the way, or of no use.

Sources are the cumulative statistics views and the catalogs of PostgreSQL 15 and later. Statements
of other roles show their text only to a superuser or a member of `pg_read_all_stats`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import asyncpg

from neo_polystore.pgkit.database import Connection
from neo_polystore.stores.postgres import diagnostics_sql as asks

SLOW_MS = 100.0
"""A statement that takes so long on average is reported."""

DEGRADED_MS = 1000.0
"""One that takes so long makes its service degraded."""

NOT_INSTALLED = (
    "pg_stat_statements is not in use here, so only what runs at this moment is shown. To keep"
    " statistics: shared_preload_libraries = 'pg_stat_statements', a restart, and"
    " CREATE EXTENSION pg_stat_statements"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows under their columns' names, and a remark about the whole."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


async def slow(connection: Connection, *, at_least_ms: float = SLOW_MS, limit: int = 20) -> Answer:
    """Statements whose mean time is at least so many milliseconds, the costliest first.

    Without pg_stat_statements: those that are running for so long now.
    """
    arguments = (SLOW_MS, DEGRADED_MS, at_least_ms, limit)
    schema = await connection.fetchval(
        "SELECT quote_ident(n.nspname) FROM pg_extension e"
        " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'"
    )
    if schema is not None:
        try:
            sql = asks.STATEMENTS.format(schema=schema)
            return _visible(_dicts(await connection.fetch(sql, *arguments)))
        except asyncpg.ObjectNotInPrerequisiteStateError:
            pass  # the extension was created, but its library is not preloaded
    return Answer(_dicts(await connection.fetch(asks.RUNNING, *arguments)), NOT_INSTALLED)


def _visible(rows: list[dict[str, Any]]) -> Answer:
    """What this role may see; a statement without its text would help nobody."""
    seen = [row for row in rows if row["query"] != "<insufficient privilege>"]
    hidden = len(rows) - len(seen)
    note = f"{hidden} statements of other roles are hidden: GRANT pg_monitor TO neo_owner"
    return Answer(seen, note if hidden else "")


async def bloat(connection: Connection, *, every: bool = False, limit: int = 20) -> Answer:
    """Tables with dead rows, most of them first; `due` where autovacuum should come."""
    autovacuum = await connection.fetchval("SELECT current_setting('autovacuum')")
    note = "" if autovacuum == "on" else "autovacuum is off: dead rows stay until VACUUM runs"
    return Answer(_dicts(await connection.fetch(asks.BLOAT, limit, every)), note)


async def locks(connection: Connection) -> Answer:
    """Who waits for whom, the longest wait first; one row per pair."""
    return Answer(_dicts(await connection.fetch(asks.LOCKS)))


async def connections(connection: Connection) -> Answer:
    """Connections of the whole server by database, role, application and state."""
    rows = _dicts(await connection.fetch(asks.CONNECTIONS))
    most = int(await connection.fetchval("SELECT current_setting('max_connections')"))
    used = sum(row["connections"] for row in rows) + 1
    return Answer(rows, f"{used} of {most} connections are in use ({100 * used / most:.0f}%)")


async def indexes(connection: Connection, *, every: bool = False, limit: int = 20) -> Answer:
    """Indexes that no query has used and no constraint needs, the largest first."""
    since = await connection.fetchval(
        "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
    )
    note = f"statistics since {since:%Y-%m-%d %H:%M}" if since else "statistics were never reset"
    return Answer(_dicts(await connection.fetch(asks.INDEXES, limit, every)), note)


async def sizes(connection: Connection, *, limit: int = 20) -> Answer:
    """Tables with their indexes by size (rows as the planner estimates them), and databases."""
    found = await connection.fetch(asks.DATABASES)
    shown = [
        f"{row['name']} {human_bytes(row['bytes'])}" for row in found if row["bytes"] is not None
    ]
    return Answer(
        _dicts(await connection.fetch(asks.SIZES, limit)), "databases: " + ", ".join(shown)
    )


def human_bytes(size: int) -> str:
    """A size for people, in powers of 1024."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _dicts(rows: list[asyncpg.Record]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]
