"""The statements that answer metric queries; every value in them is a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from neo_polystore.pgkit.select import Bind
from neo_polystore.records.metric_aggregates import fraction_of
from neo_polystore.records.metric_query import EPOCH, MAX_BUCKETS, MetricQuery, Resolution
from neo_polystore.records.metrics import service_id
from neo_polystore.stores.timescale.segments import within
from neo_polystore.stores.timescale.sources import UNITS, Plan


@dataclass(frozen=True, slots=True)
class Relation:
    """Where a source stands: its relation, its time, and how each aggregate comes of its rows.

    `stored` are the columns that have the aggregates of one row, where it has any. NaN is in no
    statistic: `present` leaves out the rows that hold nothing else. Sums take values
    from 1e290 on for infinite, as the rollups do: PostgreSQL refuses sums that overflow.
    """

    table: str
    time: str
    present: str
    aggregates: Mapping[str, str]
    stored: Mapping[str, str]

    def within(self, since: str, until: str) -> str:
        """The condition on its time, for SQL of type timestamptz."""
        if self.time == "time":
            return within(since, until)
        return f"{self.time} >= {since} AND {self.time} < {until}"


_SUM: Final = "sum(CASE WHEN abs(value) < 1e290 THEN value ELSE value * 'Infinity'::float8 END)"
_ROLLED: Final = {
    "avg": "sum(sum_value) / sum(count)::float8",
    "min": "min(min_value)",
    "max": "max(max_value)",
    "sum": "sum(sum_value)",
    "count": "sum(count)::bigint",
}
_STORED: Final = {
    "avg": "sum_value / count",
    "min": "min_value",
    "max": "max_value",
    "sum": "sum_value",
    "count": "count",
}
_RELATIONS: Final[Mapping[Resolution, Relation]] = {
    "raw": Relation(
        "metrics_all",
        "time",
        "value <> 'NaN'",
        {
            "avg": f"{_SUM} / count(*)",
            "min": "min(value)",
            "max": "max(value)",
            "sum": _SUM,
            "count": "count(*)",
            "last": "(array_agg(value ORDER BY time DESC, series_id))[1]",
        },
        {},
    ),
    "hourly": Relation("metrics_hourly", "bucket", "count > 0", _ROLLED, _STORED),
    "daily": Relation("metrics_daily", "bucket", "count > 0", _ROLLED, _STORED),
}


@dataclass
class Statement:
    """SQL and the parameters that it names."""

    sql: str = ""
    arguments: list[Any] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        """Add a parameter and answer its placeholder."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"


def lines_statement(plan: Plan) -> Statement:
    """One row per line: its name and tags, `times`, and `a0`, `a1`, ... as arrays.

    At most one line more than the limit, and one bucket more than `MAX_BUCKETS` over all lines.
    """
    query, relation, statement = plan.query, _RELATIONS[plan.source], Statement()
    bind = statement.bind
    conditions = conditions_of(query, relation, bind)
    # a series is told by its id: names would take their time to sort
    line = "series_id" if query.group == "series" else "metric_name"
    is_stored = line == "series_id" and _is_unit(plan)
    aggregates = ", ".join(
        f"{relation.stored[name] if is_stored else _aggregate(relation, name, bind)} AS a{number}"
        for number, name in enumerate(query.aggregates)
    )
    columns = ", ".join(
        f"array_agg(a{number} ORDER BY start) AS a{number}"
        for number in range(len(query.aggregates))
    )
    statement.sql = f"""
        WITH buckets AS (
            SELECT {line}, {_start(plan, relation, bind)} AS start, {aggregates}
            FROM {relation.table} WHERE {conditions} AND {relation.present}
            {"" if is_stored else f"GROUP BY {line}, start"}
            ORDER BY {line}, start LIMIT {bind(MAX_BUCKETS + 1)}
        ), lines AS (
            SELECT {line}, array_agg(start ORDER BY start) AS times, {columns}
            FROM buckets GROUP BY {line} ORDER BY {line} LIMIT {bind(query.limit + 1)}
        )
        SELECT * FROM lines {"JOIN series USING (series_id)" if line == "series_id" else ""}
        ORDER BY {line}"""
    return statement


def _is_unit(plan: Plan) -> bool:
    """Whether the buckets are those of the source."""
    return plan.query.step is not None and plan.query.step == UNITS.get(plan.source)


def _start(plan: Plan, relation: Relation, bind: Bind) -> str:
    """The beginning of the bucket that a row belongs to."""
    step = plan.query.step
    if step is None:
        return f"{bind(plan.query.since)}::timestamptz"
    if _is_unit(plan):
        return relation.time
    return f"date_bin({bind(step)}::interval, {relation.time}, {bind(EPOCH)}::timestamptz)"


def loss_statement(plan: Plan, coarser: Resolution) -> Statement:
    """Whether the first coarser bucket in the range has lost the rows that it was made of.

    Answers true, false, or no row where there is no such bucket.
    """
    statement = Statement()
    finer, rolled = _RELATIONS[plan.source], _RELATIONS[coarser]
    named = named_series(plan.query, statement.bind)
    inside = conditions_of(plan.query, rolled, statement.bind)
    unit = statement.bind(UNITS[coarser])
    bucket = finer.within("earliest.bucket", f"earliest.bucket + {unit}::interval")
    statement.sql = f"""
        SELECT NOT EXISTS (
            SELECT FROM {finer.table} WHERE {named} AND {finer.present} AND {bucket}
        ) FROM (
            SELECT bucket FROM {rolled.table} WHERE {inside} AND {rolled.present}
            ORDER BY bucket LIMIT 1
        ) earliest"""
    return statement


def conditions_of(query: MetricQuery, relation: Relation, bind: Bind) -> str:
    """The condition on the rows of a relation that the query asks for."""
    since, until = f"{bind(query.since)}::timestamptz", f"{bind(query.until)}::timestamptz"
    return f"{named_series(query, bind)} AND {relation.within(since, until)}"


def named_series(query: MetricQuery, bind: Bind) -> str:
    """The condition on service, names and tags, the latter through the index of `series`."""
    named = f"service_id = {bind(service_id(query.service))}"
    if len(query.names) == 1:
        named += f" AND metric_name = {bind(query.names[0])}"
    elif query.names:
        named += f" AND metric_name = ANY({bind(list(query.names))})"
    if not query.tags:
        return named
    tags = bind(dict(query.tags))
    return (
        f"{named} AND series_id IN (SELECT series_id FROM series WHERE {named}"
        f" AND tags @> {tags}::jsonb)"
    )


def _aggregate(relation: Relation, name: str, bind: Bind) -> str:
    fraction = fraction_of(name)
    if fraction is None:
        return relation.aggregates[name]
    return f"percentile_cont({bind(fraction)}::float8) WITHIN GROUP (ORDER BY value)"
