"""What a query of metrics answers: lines of points as columns, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from neo_polystore.records.metric_query import Resolution

Value = float | int | None


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One series that there is, or was: it stays known when its points go."""

    service: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one series, or of all of one name (`tags` is None then), as columns.

    `times` are the beginnings of the buckets, in order; `values` has for each aggregate a column
    of the same length. Infinities are kept; None stands only where the query asked for a fill.
    """

    name: str
    tags: Mapping[str, str] | None
    times: Sequence[datetime]
    values: Mapping[str, Sequence[Value]]


@dataclass(frozen=True, slots=True)
class MetricAnswer:
    """Lines in the order of name and tags, and what they were read from.

    `source` answered, for the `reason`. `since`, `until` and `step` are those of the answer: the
    range is widened to whole buckets, and a step may be longer than asked where raw points are
    gone. `open`: points of the range may still arrive, so the same query may answer more later.
    `more`: there are more lines than the limit. `note` says why there are no lines, where there
    are none.
    """

    lines: Sequence[Line]
    source: Resolution
    reason: str
    since: datetime
    until: datetime
    step: timedelta | None
    open: bool
    more: bool = False
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form: `step` in seconds, numbers as by `number_json`; times stay datetimes."""
        return {
            "source": self.source,
            "reason": self.reason,
            "since": self.since,
            "until": self.until,
            "step": None if self.step is None else self.step.total_seconds(),
            "open": self.open,
            "more": self.more,
            "note": self.note,
            "series": [
                {
                    "name": line.name,
                    "tags": line.tags,
                    "times": line.times,
                    "values": {name: _jsonable(column) for name, column in line.values.items()},
                }
                for line in self.lines
            ],
        }

    def as_json(self) -> bytes:
        """JSON form as text; times in ISO 8601."""
        return orjson.dumps(self.as_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MetricAnswer:
        """The answer whose JSON form was read; KeyError, TypeError or ValueError for no such."""
        seconds = data["step"]
        return cls(
            lines=[
                Line(
                    line["name"],
                    line["tags"],
                    [datetime.fromisoformat(time) for time in line["times"]],
                    {name: _numbers(column) for name, column in line["values"].items()},
                )
                for line in data["series"]
            ],
            source=data["source"],
            reason=data["reason"],
            since=datetime.fromisoformat(data["since"]),
            until=datetime.fromisoformat(data["until"]),
            step=None if seconds is None else timedelta(seconds=seconds),
            open=data["open"],
            more=data["more"],
            note=data["note"],
        )


def number_json(value: Value) -> Value | str:
    """The number, or as text what is no JSON number: `Infinity`, `-Infinity`, `NaN`."""
    if value is None or math.isfinite(value):
        return value
    return _TEXTS.get(value, "NaN")


_TEXTS = {math.inf: "Infinity", -math.inf: "-Infinity"}


def _jsonable(column: Sequence[Value]) -> Sequence[Value | str]:
    try:
        if math.isfinite(math.fsum(column)):  # type: ignore[arg-type]
            return column
    except (TypeError, ValueError, OverflowError):
        pass  # there is None, or infinities of both signs, or a sum that is too large
    return [number_json(value) for value in column]


def _numbers(column: list[Any]) -> list[Value]:
    return [float(value) if type(value) is str else value for value in column]
