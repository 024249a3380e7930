"""Caches the answers of metric queries; points themselves are never cached.

An answer stands under `metrics:{query_hash}` of the query in normal form, with the version of
its service that it was loaded under. A service has two versions in the cache, one for ranges
that are still open and one for closed ranges. A write removes the first, and where it brings
points of times that a closed range may have, also the second, before it is acknowledged: one
message to the cache for all writes that wait at that time, whatever their number of points.
An answer is served only while the version that it was loaded under is still there.

So whoever asks after a write was acknowledged gets an answer that was read after it, from any
process. What remains: where the writer could not reach the cache or was killed right after its
commit, or data was changed past this port, an answer from before may be served until its TTL
ends (`CacheGuard` keeps the writer's own process from it).

The TTL of an open range is a tenth of the step, from 1 second to the family's TTL (60 seconds);
of a closed one ten times the latter. Answers without lines are not cached.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self
from zlib import crc32

import orjson

from neo_polystore.ports.cache import Cache, Place
from neo_polystore.ports.metrics import Metrics
from neo_polystore.records.metric_answer import MetricAnswer, MetricSeries
from neo_polystore.records.metric_query import (
    EPOCH,
    MetricQuery,
    PointsQuery,
    SeriesQuery,
    is_open,
)
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope
from neo_polystore.wrappers.cached.counts import CacheCounts
from neo_polystore.wrappers.cached.guard import BUDGET, CacheGuard
from neo_polystore.wrappers.cached.metric_versions import FAMILY, MetricVersions

if TYPE_CHECKING:  # NumPy takes a tenth of a second, which every command would pay
    from neo_polystore.records.metric_columns import MetricColumns

_FORM: Final = "metrics-1"
"""Changes with the form of the entries."""

_LARGEST: Final = 4 << 20
_CLOSED: Final = 10
"""The TTL of closed ranges as a multiple of the family's."""


_Read = tuple[MetricAnswer | None, bytes]
"""An answer, where it was not read from the cache, and its JSON form."""


class CachedMetrics:
    """The metrics port over a primary and a cache; `clock` answers the time in UTC."""

    def __init__(
        self,
        data_type: str,
        primary: Metrics,
        cache: Cache,
        *,
        budget: float = BUDGET,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.primary = primary
        self._cache = cache
        self._clock = clock
        self._guard = CacheGuard(cache, budget=budget)
        self._longest = cache.in_family(FAMILY, data_type).ttl
        self._versions = MetricVersions(
            cache, self._guard, clock=clock, longest=_CLOSED * self._longest
        )
        self._loads: dict[tuple[str, bytes], asyncio.Task[_Read]] = {}

    @property
    def record(self) -> type[MetricPoint]:
        """The record model."""
        return self.primary.record

    @property
    def counts(self) -> CacheCounts:
        """What the cache was good for."""
        return self._guard.counts

    def within(self, scope: Scope) -> Self:
        """The same port, cache and counts; metrics belong to no tenant."""
        bound = copy(self)
        bound.primary = self.primary.within(scope)
        return bound

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """From the cache, from a load of the same version under way, or from the primary."""
        answer, body = await self._read(query)
        return answer or MetricAnswer.from_dict(orjson.loads(body))

    async def query_json(self, query: MetricQuery) -> bytes:
        """The same, as the cache has it."""
        return (await self._read(query))[1]

    async def _read(self, query: MetricQuery) -> _Read:
        query = query.normal()
        place = self._cache.in_family(FAMILY, hashlib.sha256(query.canonical()).hexdigest())
        closed = not is_open(query.until, now=self._clock())
        version, payload = await asyncio.gather(
            self._versions.current(query.service, closed=closed), self._guard.get(place.key)
        )
        if version is None:
            self.counts.bypassed += 1
            answer = await self.primary.query(query)
            return answer, answer.as_json()
        head = f"{_FORM} {self._guard.epoch(place.key)} ".encode() + version
        if payload is not None and (body := _body(payload, head)) is not None:
            self.counts.hits += 1
            return None, body
        return await self._shared(
            (place.key, version), lambda: self._load(query, place, payload, head)
        )

    async def write(self, records: Sequence[MetricPoint]) -> Written:
        """To the primary; answers of before are not served afterwards."""
        try:
            return await self.primary.write(records)
        finally:
            if records:
                oldest = min([record.time for record in records])
                services = {record.service for record in records}
                await self._versions.end(
                    services, oldest=(oldest - EPOCH) // timedelta(microseconds=1)
                )

    async def write_columns(self, columns: MetricColumns) -> Written:
        """To the primary; answers of before are not served afterwards."""
        try:
            return await self.primary.write_columns(columns)
        finally:
            if len(columns):
                services = {series.service for series in columns.series}
                await self._versions.end(services, oldest=int(columns.times.min()))

    async def get(self, key: str) -> MetricPoint:
        """From the primary."""
        return await self.primary.get(key)

    async def find(self, query: Query) -> Page[MetricPoint]:
        """From the primary."""
        return await self.primary.find(query)

    async def count(self, query: Query) -> int:
        """From the primary."""
        return await self.primary.count(query)

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """From the primary."""
        return await self.primary.sum(query, field)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """From the primary."""
        return await self.primary.distinct(query, field)

    async def series(self, query: SeriesQuery) -> Page[MetricSeries]:
        """From the primary."""
        return await self.primary.series(query)

    async def points(self, query: PointsQuery) -> Page[MetricPoint]:
        """From the primary."""
        return await self.primary.points(query)

    async def _load(
        self, query: MetricQuery, place: Place, useless: bytes | None, head: bytes
    ) -> _Read:
        """From the primary, and into the cache for those who find the version of `head` there."""
        beginning = (useless or b"").partition(b"\n")[0]
        found = await self._guard.look(place.key, instead_of=beginning)
        if found.value is not None and (filled := _body(found.value, head)) is not None:
            return None, filled  # meanwhile
        answer = await self.primary.query(query)
        body = answer.as_json()
        if answer.lines and len(body) <= _LARGEST:
            step = answer.step or answer.until - answer.since
            ttl = max(1.0, min(step.total_seconds() / 10, self._longest))
            if not answer.open:
                ttl = _CLOSED * self._longest
            payload = head + f" {crc32(body)}\n".encode() + body
            await self._guard.fill(place.key, payload, lease=found.lease, ttl=ttl)
        return answer, body

    async def _shared(
        self, place: tuple[str, bytes], load: Callable[[], Coroutine[Any, Any, _Read]]
    ) -> _Read:
        """What the load of this query and version under way answers, or a new one."""
        loading = self._loads.get(place)
        if loading is not None:
            self.counts.shared += 1
        else:
            self.counts.misses += 1
            loading = self._loads[place] = asyncio.create_task(load())
            loading.add_done_callback(lambda done: self._ended(place, done))
        return await asyncio.shield(loading)

    def _ended(self, place: tuple[str, bytes], done: asyncio.Task[_Read]) -> None:
        del self._loads[place]
        if not done.cancelled():
            done.exception()  # looked at, even where all who waited were cancelled


def _body(payload: bytes, head: bytes) -> bytes | None:
    """The JSON of an entry that was loaded under this version and is whole."""
    first, _, body = payload.partition(b"\n")
    return body if first == head + f" {crc32(body)}".encode() else None


def _is_a_port(metrics: CachedMetrics) -> Metrics:
    return metrics
