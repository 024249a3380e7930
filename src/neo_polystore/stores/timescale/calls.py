"""The points of callers who share a statement: whose row is whose, and what each is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from neo_polystore.records.metric_columns import EPOCH
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Rejection, Written
from neo_polystore.stores.timescale.identity import identity_of
from neo_polystore.stores.timescale.rows import Outcome, Row

Key = tuple[bytes, datetime]

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class PointCall:
    """One caller's points; the last of a series and time stands."""

    __slots__ = ("_earlier", "_rejected", "count", "rows")

    def __init__(self, points: Sequence[MetricPoint]):
        self.count = len(points)
        self.rows: dict[Key, Row] = {}
        self._earlier: dict[Key, list[Row]] = {}
        self._rejected: list[Rejection] = []
        for index, point in enumerate(points):
            time = point.time
            if not _FIRST < time < _LAST:
                reason = "stands for infinity in PostgreSQL"
                self._rejected.append(Rejection(index, "time", reason))
                continue
            try:
                identity = identity_of(point.service, point.name, point.tags)
            except ValueError as error:
                self._rejected.append(Rejection(index, "tags", str(error)))
                continue
            key = (identity.key, time)
            if key in self.rows:
                self._earlier.setdefault(key, []).append(self.rows[key])
            self.rows[key] = (identity, time, point.value, point.unit)

    def agrees(self, rows: Mapping[Key, Row]) -> bool:
        """Whether the other callers' rows of the same series and time are equal to these."""
        return rows.keys().isdisjoint(self.rows) or all(
            key not in rows or same(rows[key], row) for key, row in self.rows.items()
        )

    def answer(self, outcomes: dict[Key, Outcome]) -> Written:
        """What to tell the caller; what is new or replaced is so for the first who asks."""
        new = replaced = 0
        for key in self.rows:
            outcome = outcomes[key]
            if outcome == "existing":
                continue
            outcomes[key] = "existing"
            new += outcome == "new"
            replaced += outcome == "replaced"
            if self._earlier and key in self._earlier:
                last = self.rows[key]
                replaced += sum(not same(row, last) for row in self._earlier[key])
        existing = self.count - len(self._rejected) - new - replaced
        return Written(new, existing, replaced, self._rejected)


def day_of(row: Row) -> int:
    """The row's day in UTC, counted from the epoch."""
    return (row[1] - EPOCH).days


def same(one: Row, other: Row) -> bool:
    """Equal value and unit as PostgreSQL compares: NaN equals NaN."""
    value, other_value = one[2], other[2]
    both_nan = value != value and other_value != other_value
    return (both_nan or value == other_value) and one[3] == other[3]
