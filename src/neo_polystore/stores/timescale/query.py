"""Answers metric queries: plans the source, reads one row of columns per line, fills the gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.records.metric_answer import Line, MetricAnswer
from neo_polystore.records.metric_query import MAX_BUCKETS, MetricQuery, Resolution, is_open
from neo_polystore.records.metrics import service_id
from neo_polystore.stores.timescale.filling import filled
from neo_polystore.stores.timescale.query_sql import (
    Statement,
    lines_statement,
    loss_statement,
    named_series,
)
from neo_polystore.stores.timescale.sources import (
    Plan,
    coarser,
    from_points,
    next_source,
    plan_of,
    waiting,
)

_STATE: Final = """
SELECT $2 < greatest(gone_before, now() - keep) AS aged,
    level <> 'raw' AND metric_rollups_stale(level, $2, $3) AS stale
FROM metrics_retention WHERE level = $1
"""

_NAMES_TOLD: Final = 5


class MetricQueries:
    """The query of the metrics port; `clock` answers the time in UTC."""

    def __init__(
        self, database: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ):
        self._database = database
        self._clock = clock

    async def answer(self, query: MetricQuery) -> MetricAnswer:
        """See `ports.metrics.Metrics.query`."""
        now = self._clock()
        plan = await self._plan(query.normal())
        query = plan.query
        lines = _lines(await self._fetch("query", lines_statement(plan)), query)
        shown = sorted(lines[: query.limit], key=_place)
        return MetricAnswer(
            lines=filled(shown, query, now=now),
            source=plan.source,
            reason=plan.reason,
            since=query.since,
            until=query.until,
            step=query.step,
            open=is_open(query.until, now=now),
            more=len(lines) > query.limit,
            note=None if lines else await self._absence(query),
        )

    async def _plan(self, query: MetricQuery) -> Plan:
        """The first plan whose source is up to date and still has what it needs of the range."""
        plan = plan_of(query)
        is_aged, is_stale = await self._state(plan)
        if is_stale:
            points = from_points(plan)
            if points is not None:
                was_dropped, _ = await self._state(points)
                if not (was_dropped and await self._has_lost(points, "hourly")):
                    return points
            plan = waiting(plan)
        while is_aged and (following := next_source(plan)):
            if not await self._has_lost(plan, following):
                break
            plan = coarser(plan, following)
            is_aged, _ = await self._state(plan)
        return plan

    async def _state(self, plan: Plan) -> tuple[bool, bool]:
        """Whether the range begins where retention may have dropped what the plan's source had,
        and whether late points wait to be taken into it."""
        arguments = [plan.source, plan.query.since, plan.query.until]
        [row] = await self._fetch("query.state", Statement(_STATE, arguments))
        return row["aged"], row["stale"]

    async def _has_lost(self, plan: Plan, coarser: Resolution) -> bool:
        rows = await self._fetch("query.retained", loss_statement(plan, coarser))
        return bool(rows and rows[0][0])

    async def _absence(self, query: MetricQuery) -> str:
        """Why there are no lines: the first of service, names, tags and times that has nothing."""
        service = service_id(query.service)
        known = "SELECT metric_name FROM series WHERE service_id = $1"
        names = [
            row[0]
            for row in await self._fetch(
                "query.names", Statement(f"{known} GROUP BY 1 ORDER BY 1", [service])
            )
        ]
        if not names:
            return f"there are no metrics of a service {query.service!r}"
        if query.names and not set(names) & set(query.names):
            some = ", ".join(names[:_NAMES_TOLD]) + (", ..." if len(names) > _NAMES_TOLD else "")
            return f"service {query.service!r} has no such metric; it has {some}"
        tagged = Statement()
        tagged.sql = f"SELECT FROM series WHERE {named_series(query, tagged.bind)} LIMIT 1"
        if not await self._fetch("query.tags", tagged):
            return "no series of these has all of these tags"
        return "these series have no values in this range"

    async def _fetch(self, operation: str, statement: Statement) -> list[asyncpg.Record]:
        async with self._database.acquire(f"metrics.{operation}") as connection:
            return await connection.fetch(statement.sql, *statement.arguments)


def _lines(rows: Sequence[asyncpg.Record], query: MetricQuery) -> list[Line]:
    if len(rows) <= query.limit and sum(len(row["times"]) for row in rows) > MAX_BUCKETS:
        raise UsageError(
            f"more than {MAX_BUCKETS:,} buckets, which is the most that is answered:"
            " take a longer step, a shorter range or fewer series"
        )
    return [
        Line(
            row["metric_name"],
            row["tags"] if query.group == "series" else None,
            row["times"],
            {name: row[f"a{number}"] for number, name in enumerate(query.aggregates)},
        )
        for row in rows
    ]


def _place(line: Line) -> tuple[str, list[tuple[str, str]]]:
    return line.name, sorted((line.tags or {}).items())
