"""Count, sum and subjects per group and step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from neo_polystore.errors import UsageError
from neo_polystore.ports.analytics import Aggregate
from neo_polystore.records.analytics import Fact
from neo_polystore.records.query import Query, check_field
from neo_polystore.records.times import moment
from neo_polystore.stores.clickhouse.columns import COLUMNS, number
from neo_polystore.stores.clickhouse.query import Statement, exact_sum

_GROUPS = ("fact_type", "subject", "id")
_MICROSECOND = timedelta(microseconds=1)


def aggregate_sql(
    query: Query, by: tuple[str, ...], step: timedelta | None
) -> tuple[str, dict[str, Any]]:
    """One row per bucket and group: the bucket (if there is a step), the groups, three numbers."""
    statement = Statement()
    where = statement.where(query)
    keys = [_group(statement, name) for name in by]
    if step is not None:
        keys.insert(0, _bucket(statement, step))
    selected = [f"{sql} AS g{position}" for position, sql in enumerate(keys)]
    selected += ["count() AS n", exact_sum("value"), "uniqExact(subject)"]
    names = ", ".join(f"g{position}" for position in range(len(keys)))
    # without keys, an empty table would still give one row of zeros
    grouping = f"GROUP BY {names} ORDER BY {names}" if keys else "HAVING n > 0"
    return f"SELECT {', '.join(selected)} FROM facts FINAL {where} {grouping}", statement.parameters


def _group(statement: Statement, name: str) -> str:
    check_field(Fact, name)
    head, _, dimension = name.partition(".")
    if head == "dimensions" and dimension:
        return f"dimensions[{statement.bind(dimension)}]"
    if name not in _GROUPS:
        raise UsageError(
            f"analytics cannot be grouped by {name!r}; choose {', '.join(_GROUPS)}"
            " or dimensions.<name>, and step for time"
        )
    return COLUMNS[name].select


def _bucket(statement: Statement, step: timedelta) -> str:
    if step <= timedelta(0):
        raise UsageError(f"step must be positive, got {step}")
    width = statement.bind(step // _MICROSECOND, "{?:Int64}")
    time = COLUMNS["timestamp"].sql
    return f"{time} - positiveModulo({time}, {width})"


def to_aggregate(row: tuple[Any, ...], *, stepped: bool) -> Aggregate:
    """The group in one row of `aggregate_sql`."""
    *keys, count, total, subjects = row
    bucket = moment(keys.pop(0)) if stepped else None
    return Aggregate(
        group=tuple(str(key) for key in keys),
        bucket=bucket,
        count=count,
        sum=number(total),
        subjects=subjects,
    )
