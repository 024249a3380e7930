"""Gives buckets without a value the one that a query asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from neo_polystore.errors import UsageError
from neo_polystore.records.metric_answer import Line, Value
from neo_polystore.records.metric_query import MAX_BUCKETS, MetricQuery


def filled(lines: Sequence[Line], query: MetricQuery, *, now: datetime) -> list[Line]:
    """The lines with every bucket of the range that began before now (all the same `times`)."""
    if query.fill == "skip" or query.step is None or not lines:
        return list(lines)
    end = min(query.until, max(now, *(line.times[-1] for line in lines)))
    count = -((query.since - end) // query.step)
    if (total := count * len(lines)) > MAX_BUCKETS:
        raise UsageError(
            f"filled up these are {total:,} buckets, at most {MAX_BUCKETS:,} are answered:"
            " take a longer step, a shorter range or fewer series"
        )
    times = [query.since + query.step * number for number in range(max(count, 1))]
    complete = _FILLS[query.fill]
    return [
        replace(
            line,
            times=times,
            values={
                name: complete(times, dict(zip(line.times, column, strict=True)))
                for name, column in line.values.items()
            },
        )
        for line in lines
    ]


Known = Mapping[datetime, Value]


def _null(times: list[datetime], known: Known) -> list[Value]:
    return [known.get(time) for time in times]


def _previous(times: list[datetime], known: Known) -> list[Value]:
    def carry(before: Any, value: Any) -> Any:
        return before if value is None else value

    return list(accumulate(_null(times, known), carry))


def _zero(times: list[datetime], known: Known) -> list[Value]:
    return [known.get(time, 0) for time in times]


_FILLS: Final[Mapping[str, Callable[[list[datetime], Known], list[Value]]]] = {
    "null": _null,
    "previous": _previous,
    "zero": _zero,
}
