"""How the server's archiver of WAL gets on, for health and metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from neo_polystore.pgkit.database import Connection
from neo_polystore.pgkit.health import with_facts
from neo_polystore.ports.store import Health

_ASK = """
SELECT archived_count AS archived, failed_count AS failed, last_archived_wal, last_failed_wal,
    extract(epoch FROM clock_timestamp() - last_archived_time)::float8 AS age_seconds,
    coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL) AS failing,
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END
        AS current_wal,
    pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes
FROM pg_stat_archiver
WHERE current_setting('archive_mode') <> 'off'
"""


async def describe_archiver(connection: Connection, health: Health) -> Health:
    """The fact `archiver` where WAL is archived; degraded where the last attempt has failed."""
    row = await connection.fetchrow(_ASK)
    if row is None:
        return health
    facts: dict[str, Any] = dict(row)
    facts["pending"] = _pending(row["current_wal"], row["last_archived_wal"], row["segment_bytes"])
    if not row["failing"]:
        return with_facts(health, "", archiver=facts)
    detail = f"WAL is not archived: {row['last_failed_wal']} has failed; the server's log says why"
    return replace(with_facts(health, detail, archiver=facts), status="degraded")


def _pending(current: str | None, archived: str | None, size: int) -> int | None:
    """Segments between the last that was archived and the one that is being written."""
    if current is None or archived is None:
        return None
    return max(0, _number(current, size) - _number(archived, size) - 1)


def _number(name: str, size: int) -> int:
    """The how manieth segment of WAL a file is, whatever its timeline; 0 for a history."""
    if len(name) < 24:
        return 0
    return int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:24], 16)
