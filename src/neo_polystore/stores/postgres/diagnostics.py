"""Questions to a PostgreSQL server about itself: what is slow, large, in the way, or of no use.

Sources are the cumulative statistics views and the catalogs of PostgreSQL 15 and later. Statements
of other roles show their text only to a superuser or a member of `pg_read_all_stats`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import asyncpg

from neo_polystore.pgkit.database import Connection

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


_STATEMENTS = """
SELECT CASE WHEN s.mean_exec_time >= $2 THEN 'degraded'
        WHEN s.mean_exec_time >= $1 THEN 'slow' ELSE 'ok' END AS state,
    s.calls, s.mean_exec_time AS mean_ms, s.max_exec_time AS max_ms,
    s.stddev_exec_time AS stddev_ms, s.total_exec_time AS total_ms, s.rows,
    pg_get_userbyid(s.userid) AS role, s.query
FROM {schema}.pg_stat_statements s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND s.mean_exec_time >= $3
ORDER BY s.total_exec_time DESC LIMIT $4
"""

_RUNNING = """
SELECT CASE WHEN a.ms >= $2 THEN 'degraded' WHEN a.ms >= $1 THEN 'slow' ELSE 'ok' END AS state,
    1 AS calls, a.ms AS mean_ms, a.ms AS max_ms, NULL::float8 AS stddev_ms, a.ms AS total_ms,
    NULL::bigint AS rows, a.usename AS role, a.query
FROM (
    SELECT extract(epoch FROM clock_timestamp() - query_start)::float8 * 1000 AS ms, *
    FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
) a
WHERE a.ms >= $3 ORDER BY a.ms DESC LIMIT $4
"""


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
            sql = _STATEMENTS.format(schema=schema)
            return _visible(_dicts(await connection.fetch(sql, *arguments)))
        except asyncpg.ObjectNotInPrerequisiteStateError:
            pass  # the extension was created, but its library is not preloaded
    return Answer(_dicts(await connection.fetch(_RUNNING, *arguments)), NOT_INSTALLED)


def _visible(rows: list[dict[str, Any]]) -> Answer:
    """What this role may see; a statement without its text would help nobody."""
    seen = [row for row in rows if row["query"] != "<insufficient privilege>"]
    hidden = len(rows) - len(seen)
    note = f"{hidden} statements of other roles are hidden: GRANT pg_monitor TO neo_owner"
    return Answer(seen, note if hidden else "")


_BLOAT = """
SELECT format('%I.%I', s.schemaname, s.relname) AS "table", s.n_live_tup AS live,
    s.n_dead_tup AS dead,
    round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 1)::float8 AS dead_percent,
    s.n_dead_tup > current_setting('autovacuum_vacuum_threshold')::float8
        + current_setting('autovacuum_vacuum_scale_factor')::float8 * greatest(c.reltuples, 0)
        AS due,
    greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed,
    greatest(s.last_analyze, s.last_autoanalyze) AS analyzed,
    pg_total_relation_size(s.relid) AS bytes
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.n_dead_tup > 0 OR $2 ORDER BY s.n_dead_tup DESC, 1 LIMIT $1
"""


async def bloat(connection: Connection, *, every: bool = False, limit: int = 20) -> Answer:
    """Tables with dead rows, most of them first; `due` where autovacuum should come."""
    autovacuum = await connection.fetchval("SELECT current_setting('autovacuum')")
    note = "" if autovacuum == "on" else "autovacuum is off: dead rows stay until VACUUM runs"
    return Answer(_dicts(await connection.fetch(_BLOAT, limit, every)), note)


# pg_blocking_pids knows every kind of lock, and who only stands in the queue before us.
_LOCKS = """
SELECT a.pid AS blocked, a.usename AS role,
    extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS waits_seconds,
    a.wait_event_type || ':' || a.wait_event AS waits_for, a.query,
    b.pid AS blocker, b.usename AS blocker_role, b.state AS blocker_state,
    extract(epoch FROM clock_timestamp() - b.xact_start)::float8 AS blocker_seconds,
    b.query AS blocker_query
FROM pg_stat_activity a
CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocking (pid)
LEFT JOIN pg_stat_activity b ON b.pid = blocking.pid
WHERE a.datname = current_database() ORDER BY waits_seconds DESC NULLS LAST
"""


async def locks(connection: Connection) -> Answer:
    """Who waits for whom, the longest wait first; one row per pair."""
    return Answer(_dicts(await connection.fetch(_LOCKS)))


_CONNECTIONS = """
SELECT coalesce(datname, '-') AS database, coalesce(usename, '-') AS role,
    coalesce(nullif(application_name, ''), '-') AS application,
    coalesce(state, backend_type) AS state, count(*) AS connections,
    max(extract(epoch FROM clock_timestamp() - state_change))::float8 AS longest_seconds
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4 ORDER BY connections DESC, 1, 2, 3, 4
"""


async def connections(connection: Connection) -> Answer:
    """Connections of the whole server by database, role, application and state."""
    rows = _dicts(await connection.fetch(_CONNECTIONS))
    most = int(await connection.fetchval("SELECT current_setting('max_connections')"))
    used = sum(row["connections"] for row in rows) + 1
    return Answer(rows, f"{used} of {most} connections are in use ({100 * used / most:.0f}%)")


_INDEXES = """
SELECT format('%I.%I', s.schemaname, s.indexrelname) AS index,
    format('%I.%I', s.schemaname, s.relname) AS "table", s.idx_scan AS scans,
    pg_relation_size(s.indexrelid) AS bytes,
    i.indisunique OR EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
        AS needed
FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
WHERE $2 OR s.idx_scan = 0
    AND NOT (i.indisunique OR EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid))
ORDER BY bytes DESC, 1 LIMIT $1
"""


async def indexes(connection: Connection, *, every: bool = False, limit: int = 20) -> Answer:
    """Indexes that no query has used and no constraint needs, the largest first."""
    since = await connection.fetchval(
        "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
    )
    note = f"statistics since {since:%Y-%m-%d %H:%M}" if since else "statistics were never reset"
    return Answer(_dicts(await connection.fetch(_INDEXES, limit, every)), note)


# A partitioned table holds nothing itself: its partitions are added up under its name.
_SIZES = """
WITH parts AS (
    SELECT c.oid, coalesce(pg_partition_root(c.oid)::oid, c.oid) AS root,
        CASE c.relkind WHEN 'p' THEN 0 ELSE greatest(c.reltuples, 0) END AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND NOT pg_is_other_temp_schema(n.oid)
)
SELECT format('%I.%I', n.nspname, r.relname) AS "table", sum(p.rows)::bigint AS rows,
    sum(pg_total_relation_size(p.oid))::bigint AS bytes,
    sum(pg_table_size(p.oid))::bigint AS table_bytes,
    sum(pg_indexes_size(p.oid))::bigint AS index_bytes, count(*) FILTER (WHERE p.oid <> p.root)
        AS partitions
FROM parts p JOIN pg_class r ON r.oid = p.root JOIN pg_namespace n ON n.oid = r.relnamespace
GROUP BY 1 ORDER BY bytes DESC, 1 LIMIT $1
"""

_DATABASES = """
SELECT datname AS name, CASE WHEN has_database_privilege(oid, 'CONNECT')
    THEN pg_database_size(oid) END AS bytes
FROM pg_database WHERE NOT datistemplate ORDER BY bytes DESC NULLS LAST, 1
"""


async def sizes(connection: Connection, *, limit: int = 20) -> Answer:
    """Tables with their indexes by size (rows as the planner estimates them), and databases."""
    found = await connection.fetch(_DATABASES)
    shown = [
        f"{row['name']} {human_bytes(row['bytes'])}" for row in found if row["bytes"] is not None
    ]
    return Answer(_dicts(await connection.fetch(_SIZES, limit)), "databases: " + ", ".join(shown))


def human_bytes(size: int) -> str:
    """A size for people, in powers of 1024."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _dicts(rows: list[asyncpg.Record]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]
