"""Metrics: batches in, ranges and buckets out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.metrics import MetricPoint

Resolution = Literal["raw", "hourly", "daily"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One step of a range. `start` is its beginning; the statistics cover [start, start + step)."""

    start: datetime
    count: int
    mean: float
    minimum: float
    maximum: float
    sum: float


@dataclass(frozen=True, slots=True)
class Range:
    """Buckets in time order, empty ones left out, and the resolution that they were read from."""

    buckets: Sequence[Bucket]
    resolution: Resolution


class Metrics(Records[MetricPoint], Protocol):
    """Points by series and time; the last value of a series and time stands."""

    async def range(
        self,
        service: str,
        name: str,
        *,
        since: datetime,
        until: datetime,
        step: timedelta,
        tags: dict[str, str] | None = None,
    ) -> Range:
        """Statistics per step over [since, until), steps aligned to the Unix epoch.

        `tags` restricts to series that carry all of them. Raises UsageError where the step is
        not positive or would give more than 100,000 buckets.
        """
