"""What the diagnostics ask the server; a row's columns are named in the statement."""

from __future__ import annotations

STATEMENTS = """
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

RUNNING = """
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

BLOAT = """
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

# pg_blocking_pids knows every kind of lock, and who only stands in the queue before us.
LOCKS = """
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

CONNECTIONS = """
SELECT coalesce(datname, '-') AS database, coalesce(usename, '-') AS role,
    coalesce(nullif(application_name, ''), '-') AS application,
    coalesce(state, backend_type) AS state, count(*) AS connections,
    max(extract(epoch FROM clock_timestamp() - state_change))::float8 AS longest_seconds
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4 ORDER BY connections DESC, 1, 2, 3, 4
"""

INDEXES = """
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

# A partitioned table holds nothing itself: its partitions are added up under its name.
SIZES = """
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

DATABASES = """
SELECT datname AS name, CASE WHEN has_database_privilege(oid, 'CONNECT')
    THEN pg_database_size(oid) END AS bytes
FROM pg_database WHERE NOT datistemplate ORDER BY bytes DESC NULLS LAST, 1
"""
