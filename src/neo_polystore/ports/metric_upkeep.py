"""What metrics need done regularly: refresh rollups, compress old points, drop older ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

Level = Literal["raw", "hourly", "daily"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did. `hours` is None where the engine does not say how many it did."""

    by: str
    since: datetime | None
    until: datetime | None
    hours: int | None


@dataclass(frozen=True, slots=True)
class Compressed:
    """What was compressed; None where the engine does not say. `busy`: others held the table."""

    by: str
    days: int | None
    points: int | None
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A part that is past its retention: its times and how many points or buckets it holds."""

    level: Level
    since: datetime | None
    until: datetime
    rows: int


@dataclass(frozen=True, slots=True)
class Retained:
    """What retention dropped, or would drop; `busy` where others held the table for too long."""

    dropped: Sequence[Dropped]
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """One resolution: how long it is kept (`indefinite` or an age), up to when it was dropped,
    how many rows are past their time, and which setting keeps them longer."""

    level: Level
    keep: str
    gone_before: datetime | None
    past: int
    setting: str


@dataclass(frozen=True, slots=True)
class Task:
    """A policy or job that the engine runs by itself."""

    name: str
    relation: str
    last_success: datetime | None
    next_start: datetime | None
    failures: int


@dataclass(frozen=True, slots=True)
class RollupStatus:
    """How rollups stand. `pending_hours` are over and wait for a refresh, `oldest` since when."""

    mode: Literal["timescaledb", "plain"]
    version: str | None
    pending_hours: int
    oldest: datetime | None
    levels: Sequence[Kept]
    tasks: Sequence[Task]


class MetricUpkeep(Protocol):
    """Safe at any time, from any process. Raises ConfigError where its role is not configured."""

    async def status(self) -> RollupStatus:
        """How rollups and retention stand."""

    async def refresh(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Refreshed:
        """Bring the rollups of [since, until) up to date with late and changed points.

        By default of all hours that are over. An hour of which points have been dropped is never
        aggregated again, nor a day of which hours have been.
        """

    async def compress(self) -> Compressed:
        """Compress the points of days that are old enough; they are read and written as before."""

    async def retain(self, *, dry_run: bool = False) -> Retained:
        """Drop what is past its retention; what it was aggregated to stays as it is.

        What of it is not in the rollups yet is aggregated first, where the engine can tell.
        """

    async def scheduled(self) -> bool:
        """Whether somebody has to call these, or the engine does it all by itself."""


class Rollups(Protocol):
    """A store with the feature `rollups`."""

    @property
    def metric_upkeep(self) -> MetricUpkeep:
        """What has to be done regularly; connects for each call."""
