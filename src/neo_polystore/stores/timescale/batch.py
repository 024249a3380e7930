"""Turns points into rows: one per series and time, and each series once with its ids and tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from neo_polystore.pgkit import exact_json
from neo_polystore.records.metrics import MetricPoint, series_id, service_id
from neo_polystore.records.results import Rejection


class Series(NamedTuple):
    """A series as `metrics` names it; `tags` is JSON text."""

    id: UUID
    service_id: UUID
    name: str
    tags: str


Row = tuple[int, datetime, float, str | None]
"""Number of the series in its batch (from 1), time, value, unit."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)

ROW_COLUMNS: Final = ("series", "time", "value", "unit")


@dataclass
class Batch:
    """What is to be stored: every series and time once.

    `single` came once in the batch. `last` came several times, with the number of earlier points
    that differ from the last one, which stands.
    """

    series: list[Series] = field(default_factory=list)
    services: dict[UUID, str] = field(default_factory=dict)
    single: list[Row] = field(default_factory=list)
    last: list[tuple[Row, int]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def times(self) -> list[datetime]:
        """The time of every row."""
        return [row[1] for row in self.single] + [row[1] for row, _ in self.last]


def batch_of(points: Sequence[MetricPoint]) -> Batch:
    """Sort out a batch; the last value of a series and time stands."""
    batch = Batch()
    # hashing and encoding the identity of a series costs more than all else
    numbers: dict[tuple[object, ...], int] = {}
    rows: dict[tuple[int, datetime], Row] = {}
    overtaken: dict[tuple[int, datetime], list[Row]] = {}
    for index, point in enumerate(points):
        tags = point.tags
        identity = (
            (point.service, point.name, *tags.items()) if tags else (point.service, point.name)
        )
        number = numbers.get(identity)
        if number is None:
            try:
                number = numbers[identity] = _number(batch, point)
            except ValueError as error:
                batch.rejected.append(Rejection(index, "tags", str(error)))
                continue
        time = point.time
        if not _FIRST < time < _LAST:
            batch.rejected.append(Rejection(index, "time", "stands for infinity in PostgreSQL"))
            continue
        place = (number, time)
        row = (number, time, point.value, point.unit)
        if place in rows:
            overtaken.setdefault(place, []).append(rows[place])
        rows[place] = row
    if overtaken:
        for place, earlier in overtaken.items():
            row = rows.pop(place)
            batch.last.append((row, sum(not _same(one, row) for one in earlier)))
    batch.single = list(rows.values())
    return batch


def _number(batch: Batch, point: MetricPoint) -> int:
    series = _series(point.service, point.name, tuple(point.tags.items()))
    batch.services[series.service_id] = point.service
    batch.series.append(series)
    return len(batch.series)


@lru_cache(maxsize=50_000)
def _series(service: str, name: str, tags: tuple[tuple[str, str], ...]) -> Series:
    """Raises ValueError for tags that jsonb cannot hold."""
    text = exact_json.dumps(dict(tags))
    return Series(series_id(service, name, dict(tags)), service_id(service), name, text)


def _same(one: Row, other: Row) -> bool:
    """Equal as PostgreSQL compares: NaN equals NaN."""
    (*_, value, unit), (*_, other_value, other_unit) = one, other
    both_nan = value != value and other_value != other_value
    return (both_nan or value == other_value) and unit == other_unit
