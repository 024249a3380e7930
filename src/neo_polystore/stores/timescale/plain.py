"""Upkeep without the extension: the functions of `timescale/008_refresh.sql` and `009_drop.sql`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

from neo_polystore.pgkit.database import Connection
from neo_polystore.ports.metric_upkeep import Dropped, Level, Refreshed, Retained

_ROLLUPS: Final[tuple[tuple[Level, str], ...]] = (
    ("hourly", "metrics_hours"),
    ("daily", "metrics_days"),
)


async def refresh(
    connection: Connection, now: datetime, since: datetime | None, until: datetime | None
) -> Refreshed:
    """Aggregate touched hours again, some at a time, each time in a transaction of its own."""
    hours, remaining = 0, 1
    while remaining:
        [row] = await connection.fetch(
            "SELECT * FROM refresh_metrics($1, $2, $3)", now, since, until
        )
        hours += row["refreshed"]
        remaining = row["remaining"] if row["refreshed"] else 0
    return Refreshed("plain", since, until, hours)


async def past(connection: Connection, now: datetime) -> list[Dropped]:
    """The days of points, and the rollups of them, that the next retention run drops."""
    found = []
    for row in await connection.fetch("SELECT * FROM old_metric_days($1)", now):
        rows = await connection.fetchval(
            "SELECT count(*) FROM metrics WHERE time >= $1 AND time < $2",
            row["since"],
            row["until"],
        )
        found.append(Dropped("raw", row["since"], row["until"], rows))
    for level, table in _ROLLUPS:
        [row] = await connection.fetch(
            f"SELECT min(bucket), max(horizon) AS until, count(*) FROM {table}, ("
            " SELECT date_trunc('day', $1::timestamptz, 'UTC') - keep AS horizon"
            " FROM metrics_retention WHERE level = $2) AS kept WHERE bucket < horizon",
            now,
            level,
        )
        if row["count"]:
            found.append(Dropped(level, row["min"], row["until"], row["count"]))
    return found


async def retain(connection: Connection, now: datetime) -> Retained:
    """Refresh, drop old days one by one, then old rollups."""
    await refresh(connection, now, None, None)
    dropped = await past(connection, now)
    try:
        while await connection.fetchval("SELECT drop_metric_day($1)", now):
            pass
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        # a long transaction reads or writes the table: the next run will do
        left = {item.since for item in await past(connection, now) if item.level == "raw"}
        gone = [item for item in dropped if item.level == "raw" and item.since not in left]
        return Retained(gone, busy=True)
    await connection.execute("SELECT drop_metric_rollups($1)", now)
    return Retained(dropped)
