"""What a running cluster says of itself, and waiting until it has archived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from neo_polystore.errors import BackupError, ConfigError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.names import Segment, position

PATIENCE = 300.0
"""Seconds until a segment that was asked for has to be in the archive."""

Connection = Any  # asyncpg's is generic only in its stubs

_FACTS = """
SELECT (pg_control_system()).system_identifier AS system,
    (pg_control_checkpoint()).timeline_id AS timeline,
    current_setting('server_version_num')::int / 10000 AS version,
    pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes,
    current_setting('archive_mode') <> 'off' AS archives,
    coalesce(current_setting('summarize_wal', true), 'off') = 'on' AS summarizes,
    pg_is_in_recovery() AS recovering,
    (SELECT count(*) > 2 FROM pg_tablespace) AS spread,
    (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint AS bytes
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The running cluster. `summarizes`: whether incremental base backups are possible."""

    system: str
    timeline: int
    version: int
    segment_bytes: int
    archives: bool
    summarizes: bool
    recovering: bool
    spread: bool
    bytes: int


@asynccontextmanager
async def connected(admin: PgConfig) -> AsyncIterator[Connection]:
    """A connection as administrator, its errors translated."""
    async with translated("postgres", "base backup"):
        connection = await asyncpg.connect(**admin.connect_arguments())
        try:
            yield connection
        finally:
            await connection.close()


async def cluster_of(connection: Connection) -> Cluster:
    """Its facts; ConfigError where point-in-time recovery of it is not possible."""
    row = dict(await connection.fetchrow(_FACTS))
    found = Cluster(**{**row, "system": str(row["system"])})
    if found.recovering:
        raise ConfigError("the server is a standby: name the primary")
    if not found.archives:
        raise ConfigError(
            "the server does not archive WAL, without which a base backup leads nowhere: set"
            " NEO_WAL_ARCHIVE=true and restart the platform, or set archive_mode and"
            " archive_command of your server (docs/backup.md)"
        )
    if found.spread:
        raise ConfigError("the cluster has tablespaces outside of its data directory")
    return found


async def switched(connection: Connection) -> int:
    """Begin a new segment; the position at which the old one ends."""
    return position(str(await connection.fetchval("SELECT pg_switch_wal()::text")))


async def now_of(connection: Connection) -> datetime:
    """The server's clock."""
    found: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return found


async def archived(
    connection: Connection,
    archive: WalArchive,
    segment: Segment,
    size: int,
    *,
    patience: float = PATIENCE,
) -> None:
    """Wait until a segment is in the archive; BackupError with the archiver's trouble if not."""
    name = segment.name(size)
    deadline = time.monotonic() + patience
    while not await asyncio.to_thread(archive.has, name):
        if time.monotonic() > deadline:
            row = await connection.fetchrow(
                "SELECT last_archived_wal, last_failed_wal, last_failed_time FROM pg_stat_archiver"
            )
            trouble = (
                f"; it failed to archive {row['last_failed_wal']} at {row['last_failed_time']:%X}:"
                " the server's log says why"
                if row["last_failed_wal"]
                else ""
            )
            raise BackupError(
                f"{name} has not come into the archive within {patience:.0f} s. Does the server"
                f" archive to this target? The last that it archived is"
                f" {row['last_archived_wal']}{trouble}"
            )
        await asyncio.sleep(0.1)
