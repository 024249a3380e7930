"""Points that no sender can mean: of the far future, or of so many days that it is a mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np

from neo_polystore.protocols.errors import MalformedError
from neo_polystore.protocols.limits import Limits
from neo_polystore.records.metric_columns import Integers, MetricColumns

_DAY: Final = 86_400_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = -62_135_596_800_000_000
"""The year 1; what is before is no date, and the store's to refuse."""


def screened(
    columns: MetricColumns, limits: Limits, *, now: int
) -> tuple[MetricColumns, Integers, Integers]:
    """The points that may be stored, their indexes, and the indexes of those too far ahead.

    `now` is in microseconds. Raises MalformedError for points of more days than `limits.days`:
    such a request has its times in another unit, and each day would cost a partition.
    """
    late = columns.times > now + limits.ahead // _MICROSECOND
    kept, refused = np.flatnonzero(~late), np.flatnonzero(late)
    if len(refused):
        columns = MetricColumns(
            columns.series, columns.numbers[kept], columns.times[kept], columns.values[kept]
        )
    days = len(np.unique(columns.times[columns.times > _FIRST] // _DAY))
    if days > limits.days:
        raise MalformedError(
            f"points of {days:,} different days: one request may have {limits.days:,}"
            " (NEO_INGEST_DAYS); are the timestamps in another unit?"
        )
    return columns, kept, refused
