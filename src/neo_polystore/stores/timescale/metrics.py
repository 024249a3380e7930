"""The metrics port: points in, points and ranges of buckets out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.metrics import Bucket, Metrics, Range
from neo_polystore.records.metrics import MetricPoint, service_id
from neo_polystore.records.query import Filter
from neo_polystore.records.results import Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.stores.timescale.ingest import Ingest

MAX_BUCKETS: Final = 100_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_RANGE = """
SELECT date_bin($5, time, $6) AS start, count(*) AS count, avg(value) AS mean,
    min(value) AS minimum, max(value) AS maximum, sum(value) AS sum
FROM metrics
WHERE service_id = $1 AND metric_name = $2 AND time >= $3 AND time < $4
"""
_TAGGED = " AND tags @> $7::jsonb"
_GROUPED = " GROUP BY 1 ORDER BY 1"


class MetricPoints(SqlRecords[MetricPoint]):
    """The metrics port; see `ports.metrics`.

    NaN equals NaN here, whatever its payload, so a NaN does not replace another.
    """

    selection = Selection(
        record=MetricPoint,
        source="metrics m JOIN services s USING (service_id)",
        columns={
            "time": Column("m.time", "timestamptz"),
            "service": Column("s.name", "text"),
            "name": Column("m.metric_name", "text"),
            "value": Column("m.value", "float8"),
            "tags": Column("m.tags", "jsonb"),
            "unit": Column("m.unit", "text"),
        },
        key=(Column("m.series_id", "uuid"), Column("m.time", "timestamptz")),
    )

    def __init__(self, database: Database, ingest: Ingest, scope: Scope = NOBODY):
        super().__init__(database, scope)
        self._ingest = ingest

    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """The time in the key; the series has no field of its own, so `get` adds it."""
        return (Filter("time", "eq", self._place(key)[1]),)

    def _place(self, key: str) -> tuple[UUID, datetime]:
        try:
            return place_of(key)
        except ValueError:
            raise self.missing(key) from None

    async def get(self, key: str) -> MetricPoint:
        """The point with this key."""
        selected, source = self.selection.selected(), self.selection.source
        sql = f"SELECT {selected} FROM {source} WHERE m.series_id = $1 AND m.time = $2"
        rows = await self._fetch("get", sql, list(self._place(key)))
        if not rows:
            raise self.missing(key)
        return self.from_row(rows[0])

    async def write(self, records: Sequence[MetricPoint]) -> Written:
        """Store the last value of every series and time; one transaction."""
        return await self._ingest.write(records)

    async def range(
        self,
        service: str,
        name: str,
        *,
        since: datetime,
        until: datetime,
        step: timedelta,
        tags: dict[str, str] | None = None,
    ) -> Range:
        """Statistics per step, from the raw points."""
        _check_range(since, until, step)
        arguments: list[object] = [service_id(service), name, since, until, step, _EPOCH]
        sql = _RANGE + _GROUPED
        if tags:
            sql = _RANGE + _TAGGED + _GROUPED
            arguments.append(tags)
        rows = await self._fetch("range", sql, arguments)
        return Range([Bucket(**dict(row)) for row in rows], "raw")


def place_of(key: str) -> tuple[UUID, datetime]:
    """The series and time that a point's key names; ValueError where it cannot be one."""
    series, _, text = key.partition(":")
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return UUID(series), time


def _check_range(since: datetime, until: datetime, step: timedelta) -> None:
    if since.tzinfo is None or until.tzinfo is None:
        raise UsageError("since and until need a time zone")
    if step <= timedelta(0):
        raise UsageError(f"step must be positive, got {step}")
    count = -((_EPOCH - until) // step) - (since - _EPOCH) // step
    if count > MAX_BUCKETS:
        raise UsageError(
            f"a step of {step} would give {count} buckets, at most {MAX_BUCKETS} are answered:"
            " take a longer step or a shorter range"
        )


def _is_a_port(points: MetricPoints) -> Metrics:
    return points
