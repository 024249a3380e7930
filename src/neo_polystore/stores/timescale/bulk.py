"""Writes prepared batches: straight into the table where nothing is there yet, else by staging."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg
import numpy as np

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.metric_columns import EPOCH
from neo_polystore.stores.timescale.copying import COLUMNS, STAGED_COLUMNS, rows, staged_rows
from neo_polystore.stores.timescale.identity import copied
from neo_polystore.stores.timescale.prepared import Points, Prepared
from neo_polystore.stores.timescale.rows import MOST, Row, write_rows

CHUNK: Final = 50_000
"""Rows of one COPY: what is staged again where one of them is stored already."""

_STAGE: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS metrics_stage (time timestamptz, value float8, series integer)
ON COMMIT DROP
"""
_JOINED: Final = """
    FROM pg_temp.metrics_stage i
    JOIN unnest($1::integer[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[])
        AS s (series, series_id, service_id, name, tags, unit) USING (series)
"""
_SELECTED: Final = (
    "SELECT i.time, s.service_id, s.name, i.value, s.tags::jsonb, s.unit, s.series_id"
)
_IN_ORDER: Final = "ORDER BY date_trunc('day', i.time, 'UTC'), s.series_id, i.time"
_INSERT: Final = f"""
INSERT INTO metrics (time, service_id, metric_name, value, tags, unit, series_id)
{_SELECTED} {_JOINED} {_IN_ORDER}
ON CONFLICT (series_id, time) DO NOTHING
"""
_REPLACE: Final = f"""
INSERT INTO metrics AS m (time, service_id, metric_name, value, tags, unit, series_id)
{_SELECTED} {_JOINED}
    JOIN metrics stored ON stored.series_id = s.series_id AND stored.time = i.time
WHERE (stored.value, stored.unit) IS DISTINCT FROM (i.value, s.unit)
    AND stored.time BETWEEN $7 AND $8
{_IN_ORDER}
ON CONFLICT (series_id, time) DO UPDATE SET value = excluded.value, unit = excluded.unit
WHERE (m.value, m.unit) IS DISTINCT FROM (excluded.value, excluded.unit)
"""


async def write_small(connection: Connection, prepared: Prepared) -> tuple[int, int]:
    """New and replaced; one statement."""
    some = [*_rows(prepared, prepared.single), *_rows(prepared, prepared.last)]
    earlier = [0] * len(prepared.single.times) + prepared.earlier.tolist()
    return await _write_rows(connection, some, earlier)


async def write_bulk(connection: Connection, prepared: Prepared) -> tuple[int, int]:
    """New and replaced; inside a transaction of the caller's."""
    endings = [
        b"" if identity is None else copied(identity, series.unit)
        for identity, series in zip(prepared.identities, prepared.series, strict=True)
    ]
    new = replaced = 0
    fresh = True
    for start in range(0, len(prepared.single.times), CHUNK):
        chunk = prepared.single.part(slice(start, start + CHUNK))
        if fresh and await _copy(connection, chunk, endings):
            new += len(chunk.times)
            continue
        added, changed = await _stage(connection, prepared, chunk)
        fresh = added == len(chunk.times)  # where one was there, the next one may be as well
        new, replaced = new + added, replaced + changed
    for start in range(0, len(prepared.last.times), MOST):
        part = slice(start, start + MOST)
        some = _rows(prepared, prepared.last.part(part))
        added, changed = await _write_rows(connection, some, prepared.earlier[part].tolist())
        new, replaced = new + added, replaced + changed
    return new, replaced


async def _copy(connection: Connection, points: Points, endings: list[bytes]) -> bool:
    """Copy points into the table; False, with nothing stored, where one is there already."""
    try:
        async with connection.transaction():  # a savepoint
            await connection.copy_to_table(
                "metrics", source=rows(points, endings), columns=COLUMNS, format="binary"
            )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def _stage(connection: Connection, prepared: Prepared, points: Points) -> tuple[int, int]:
    """New and replaced."""
    await connection.execute(_STAGE)
    await connection.execute("TRUNCATE pg_temp.metrics_stage")
    await connection.copy_to_table(
        "metrics_stage", source=staged_rows(points), columns=STAGED_COLUMNS, format="binary"
    )
    numbers = np.unique(points.numbers).tolist()
    identities = [one for n in numbers if (one := prepared.identities[n]) is not None]
    _, ids, services, _, names, tags = zip(*identities, strict=True)
    units = [prepared.series[number].unit for number in numbers]
    series = (numbers, ids, services, names, tags, units)
    new = _count(await connection.execute(_INSERT, *series))
    if new == len(points.times):
        return new, 0
    since, until = _time(points.times.min()), _time(points.times.max())
    return new, _count(await connection.execute(_REPLACE, *series, since, until))


async def _write_rows(
    connection: Connection, some: list[Row], earlier: list[int]
) -> tuple[int, int]:
    """New and replaced; points that came before one that is either were replaced by it."""
    new = replaced = 0
    for outcome, before in zip(await write_rows(connection, some), earlier, strict=True):
        if outcome != "existing":
            new += outcome == "new"
            replaced += (outcome == "replaced") + before
    return new, replaced


def _rows(prepared: Prepared, points: Points) -> list[Row]:
    found: list[Row] = []
    columns = (points.numbers.tolist(), points.times.tolist(), points.values.tolist())
    for number, time, value in zip(*columns, strict=True):
        identity = prepared.identities[number]
        if identity is not None:
            found.append((identity, _time(time), value, prepared.series[number].unit))
    return found


def _time(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def _count(status: str) -> int:
    """The number of rows in a command's status, such as `INSERT 0 17`."""
    return int(status.rpartition(" ")[2])
