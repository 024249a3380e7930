"""The metrics port: points in; points, series and statistics out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.pgkit.select import Column
from neo_polystore.ports.metrics import Metrics
from neo_polystore.records.metric_answer import MetricAnswer, MetricSeries
from neo_polystore.records.metric_columns import MetricColumns
from neo_polystore.records.metric_query import MetricQuery, PointsQuery, SeriesQuery
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Filter
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.stores.timescale.ingest import Ingest
from neo_polystore.stores.timescale.listing import MetricLists
from neo_polystore.stores.timescale.query import MetricQueries
from neo_polystore.stores.timescale.segments import PointSelection


class MetricPoints(SqlRecords[MetricPoint]):
    """The metrics port; see `ports.metrics`.

    NaN equals NaN here, whatever its payload, so a NaN does not replace another.
    """

    selection = PointSelection(
        record=MetricPoint,
        source="metrics_all m JOIN services s USING (service_id)",
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
        self._queries = MetricQueries(database)
        self._lists = MetricLists(database)

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
        sql = (
            f"SELECT {selected} FROM {source} WHERE m.series_id = $1 AND m.time = $2"
            " AND last >= $2 AND first <= $2 AND first >= date_trunc('day', $2, 'UTC')"
        )
        rows = await self._fetch("get", sql, list(self._place(key)))
        if not rows:
            raise self.missing(key)
        return self.from_row(rows[0])

    async def write(self, records: Sequence[MetricPoint]) -> Written:
        """Store the last value of every series and time; one transaction."""
        return await self._ingest.write(records)

    async def write_columns(self, columns: MetricColumns) -> Written:
        """The same for points in columns."""
        return await self._ingest.write_columns(columns)

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """Statistics per step, from the coarsest relation that is exact."""
        return await self._queries.answer(query)

    async def query_json(self, query: MetricQuery) -> bytes:
        """The same in JSON."""
        return (await self.query(query)).as_json()

    async def series(self, query: SeriesQuery) -> Page[MetricSeries]:
        """The series there are or were."""
        return await self._lists.series(query)

    async def points(self, query: PointsQuery) -> Page[MetricPoint]:
        """Raw points of one metric in order of time."""
        return await self._lists.points(query)


def place_of(key: str) -> tuple[UUID, datetime]:
    """The series and time that a point's key names; ValueError where it cannot be one."""
    series, _, text = key.partition(":")
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return UUID(series), time


def _is_a_port(points: MetricPoints) -> Metrics:
    return points
