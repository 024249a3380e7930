"""Chooses what answers a query: raw points, hours or days. The first that is coarse and exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from neo_polystore.errors import UsageError
from neo_polystore.records.metric_aggregates import needs_raw
from neo_polystore.records.metric_query import EPOCH, MetricQuery, Resolution, whole_buckets

UNITS: Final[Mapping[Resolution, timedelta]] = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
}
"""The buckets of the rollups, aligned to the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A query in normal form, from where it is answered, and why from there."""

    query: MetricQuery
    source: Resolution
    reason: str


def plan_of(query: MetricQuery) -> Plan:
    """The plan of a query in normal form; UsageError where the source it names cannot answer it."""
    if query.source != "auto":
        if obstacle := _obstacle(query, query.source):
            raise UsageError(f"source {query.source} cannot answer this: {obstacle}")
        return Plan(query, query.source, "as asked for")
    for source in ("daily", "hourly"):
        if _obstacle(query, source) is None:
            what = "the range" if query.step is None else "every bucket"
            return Plan(query, source, f"{what} consists of whole {_NAMES[source]} in UTC")
    return Plan(query, "raw", _obstacle(query, "hourly") or "")


def next_source(plan: Plan) -> Resolution | None:
    """What may answer instead where the plan's source has been dropped; None for nothing."""
    return _NEXT.get(plan.source) if plan.query.source == "auto" else None


def from_points(plan: Plan) -> Plan | None:
    """The plan over raw points, because late ones are not in the rollups yet; None where the
    query asks for its source by name."""
    if plan.query.source != "auto":
        return None
    return Plan(plan.query, "raw", f"late points are not in the {plan.source} values yet")


def waiting(plan: Plan) -> Plan:
    """The same plan, whose reason says that late points are missing."""
    return replace(plan, reason=f"{plan.reason}; late points come in with the next refresh")


def coarser(plan: Plan, source: Resolution) -> Plan:
    """The plan over this coarser source, because the plan's own has been dropped in the range.

    Its steps are whole hours or days, longer than asked for if need be, and its range is widened
    to them. UsageError for aggregates that only raw points answer.
    """
    query, unit = plan.query, UNITS[source]
    dropped = f"{_WHAT[plan.source]} of a part of this range have been dropped by retention"
    if names := needs_raw(query.aggregates):
        raise UsageError(
            f"{', '.join(names)}: only raw points answer this, and the {dropped}:"
            " take a later since or other aggregates"
        )
    step = None if query.step is None else -(-query.step // unit) * unit
    since, until = whole_buckets(query.since, query.until, step or unit)
    return Plan(replace(query, since=since, until=until, step=step), source, f"the {dropped}")


_NAMES: Final[Mapping[Resolution, str]] = {"hourly": "hours", "daily": "days"}
_WHAT: Final[Mapping[Resolution, str]] = {"raw": "raw points", "hourly": "hourly values"}
_NEXT: Final[Mapping[Resolution, Resolution]] = {"raw": "hourly", "hourly": "daily"}


def _obstacle(query: MetricQuery, source: Resolution) -> str | None:
    """Why this source would not be exact; None where it is."""
    unit = UNITS.get(source)
    if unit is None:
        return None
    if names := needs_raw(query.aggregates):
        return f"only raw points answer {', '.join(names)}"
    if query.step is not None:
        if query.step % unit:
            return f"the step is no multiple of one {_NAMES[source][:-1]}"
    elif any((time - EPOCH) % unit for time in (query.since, query.until)):
        return f"the range does not begin and end with whole {_NAMES[source]}"
    return None
