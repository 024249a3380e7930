"""Lists what there is: series, and raw points in order of time, page by page."""

from __future__ import annotations

from typing import Any

import asyncpg

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.records.metric_answer import MetricSeries
from neo_polystore.records.metric_query import PointsQuery, SeriesQuery
from neo_polystore.records.metrics import MetricPoint, service_id
from neo_polystore.records.query import decode_cursor, encode_cursor
from neo_polystore.records.results import Page
from neo_polystore.stores.timescale.query_sql import Statement, named_series
from neo_polystore.stores.timescale.segments import within


class MetricLists:
    """The listings of the metrics port."""

    def __init__(self, database: Database):
        self._database = database

    async def series(self, query: SeriesQuery) -> Page[MetricSeries]:
        """See `ports.metrics.Metrics.series`."""
        query.check()
        statement, conditions = Statement(), ["true"]
        if query.service is not None:
            conditions.append(f"service_id = {statement.bind(service_id(query.service))}")
        if query.name is not None:
            conditions.append(f"metric_name = {statement.bind(query.name)}")
        if query.tags:
            conditions.append(f"tags @> {statement.bind(dict(query.tags))}::jsonb")
        if query.after is not None:
            service, name, series = _cursor(query.after, 3, statement)
            conditions.append(
                f"(name, metric_name, series_id) > ({service}, {name}, {series}::uuid)"
            )
        statement.sql = f"""
            SELECT name, metric_name, tags, series_id::text
            FROM series JOIN services USING (service_id) WHERE {" AND ".join(conditions)}
            ORDER BY name, metric_name, series_id LIMIT {statement.bind(query.limit + 1)}"""
        rows = await self._fetch("series", statement)
        return Page(
            [
                MetricSeries(row["name"], row["metric_name"], row["tags"])
                for row in rows[: query.limit]
            ],
            _next(rows, query.limit, ("name", "metric_name", "series_id")),
        )

    async def points(self, query: PointsQuery) -> Page[MetricPoint]:
        """See `ports.metrics.Metrics.points`."""
        asked = query.normal()
        statement = Statement()
        conditions = named_series(asked, statement.bind)
        since, until = (f"{statement.bind(t)}::timestamptz" for t in (asked.since, asked.until))
        if query.after is not None:
            time, series = _cursor(query.after, 2, statement)
            # the first condition follows from the second, but only it can use the index
            conditions += (
                f" AND time >= {time}::timestamptz AND last >= {time}::timestamptz"
                f" AND (time, series_id) > ({time}::timestamptz, {series}::uuid)"
            )
        statement.sql = f"""
            SELECT time, value, tags, unit, series_id::text, time::text AS exact_time
            FROM metrics_all
            WHERE {conditions} AND {within(since, until)}
            ORDER BY time, series_id LIMIT {statement.bind(query.limit + 1)}"""
        rows = await self._fetch("points", statement)
        points = [
            MetricPoint.trusted(
                {
                    "time": row["time"],
                    "service": query.service,
                    "name": query.name,
                    "value": row["value"],
                    "tags": row["tags"] or {},
                    "unit": row["unit"],
                }
            )
            for row in rows[: query.limit]
        ]
        return Page(points, _next(rows, query.limit, ("exact_time", "series_id")))

    async def _fetch(self, operation: str, statement: Statement) -> list[asyncpg.Record]:
        async with self._database.acquire(f"metrics.{operation}") as connection:
            return await connection.fetch(statement.sql, *statement.arguments)


def _cursor(after: str, length: int, statement: Statement) -> list[str]:
    values: list[Any] = decode_cursor(after, length=length)
    if not all(isinstance(value, str) and "\x00" not in value for value in values):
        raise UsageError("the cursor does not belong to this query: start again without it")
    return [f"{statement.bind(value)}::text" for value in values]


def _next(rows: list[asyncpg.Record], limit: int, columns: tuple[str, ...]) -> str | None:
    if len(rows) <= limit:
        return None
    return encode_cursor([rows[limit - 1][column] for column in columns])
