"""Upkeep without the extension: the functions of `timescale/` that refresh, pack and drop."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

from neo_polystore.pgkit.database import Connection
from neo_polystore.ports.metric_upkeep import Compressed, Dropped, Level, Refreshed, Retained

_ROLLUPS: Final[tuple[tuple[Level, str], ...]] = (
    ("hourly", "metrics_hours"),
    ("daily", "metrics_days"),
)

BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""A long transaction reads or writes the table: the next run will do."""


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


async def compress(connection: Connection, now: datetime, age: str) -> Compressed:
    """Pack days that have been over for this age one by one, each in a transaction of its own."""
    days = points = 0
    after = None  # so that a day that is written to meanwhile is not packed again and again
    try:
        while True:
            [row] = await connection.fetch(
                "SELECT * FROM pack_metric_day($1, $2::text::interval, $3)", now, age, after
            )
            after = row["day"]
            if after is None:
                return Compressed("plain", days, points)
            days, points = days + 1, points + row["points"]
    except BUSY:
        return Compressed("plain", days, points, busy=True)


async def past(connection: Connection, now: datetime) -> list[Dropped]:
    """The days of points, and the rollups of them, that the next retention run drops."""
    found = []
    for row in await connection.fetch("SELECT * FROM old_metric_days($1)", now):
        rows = await connection.fetchval(
            "SELECT (SELECT count(*) FROM metrics WHERE time >= $1 AND time < $2)"
            " + (SELECT coalesce(sum(points), 0) FROM metrics_segments"
            " WHERE first >= $1 AND first < $2)",
            row["since"],
            row["until"],
        )
        found.append(Dropped("raw", row["since"], row["until"], int(rows)))
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
    except BUSY:
        left = {item.since for item in await past(connection, now) if item.level == "raw"}
        gone = [item for item in dropped if item.level == "raw" and item.since not in left]
        return Retained(gone, busy=True)
    await connection.execute("SELECT drop_metric_rollups($1)", now)
    return Retained(dropped)
