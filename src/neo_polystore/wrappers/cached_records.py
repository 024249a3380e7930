"""Read-through caching over any record port; the primary alone decides what is true.

`get` asks the cache, and on a miss takes a lease, reads the primary and fills. Writes go to the
primary and then invalidate what they touched, whatever came of them: a call that failed or was
cancelled may have committed. A write that the primary only queued is invalidated now; whoever
delivers it later invalidates again. Everything else goes straight to the primary.

Bounds of what may be stale, see `CacheGuard`: nothing within this process; in another process
an entry whose invalidation the cache missed (it was down, or the writer was killed right after
its commit) until the entry's TTL ends. A write that goes around this port counts as missed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from decimal import Decimal
from typing import Any, ClassVar, Generic, Self, TypeVar

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.cache import Cache, Place
from neo_polystore.ports.records import Records
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.wrappers.cached_guard import BUDGET, CacheCounts, CacheGuard
from neo_polystore.wrappers.cached_read import ReadThrough, Wanted

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Records[Any])


class CachedRecords(Generic[R, P]):
    """`Records[R]` over a primary port `P`, which is itself a `Records[R]`.

    A subclass binds both, says what is particular to its data type, and adds the port's own
    verbs: one that changes records wraps its call in `changing`.

    `tenant_owned`: entries are bound to the scope that loaded them and seen by no other; without
    a tenant the cache is not asked. `canonical`: the form of keys as records write them; only for
    such keys is absence remembered, because a write invalidates no other spelling. `budget` is
    the seconds that one call to the cache may take.
    """

    tenant_owned: ClassVar[bool] = True
    canonical: ClassVar[re.Pattern[str] | None] = None

    def __init__(self, data_type: str, primary: P, cache: Cache, *, budget: float = BUDGET):
        self.primary: P = primary
        self._model: type[R] = primary.record
        self._data_type = data_type
        self._cache = cache
        self._reading = ReadThrough(CacheGuard(cache, budget=budget))
        self._scope = NOBODY

    @property
    def record(self) -> type[R]:
        """The record model."""
        return self._model

    @property
    def counts(self) -> CacheCounts:
        """What the cache was good for, over all scopes."""
        return self._reading.guard.counts

    def within(self, scope: Scope) -> Self:
        """The same port, cache and counts, acting for a tenant and service."""
        bound = copy(self)
        bound.primary = self.primary.within(scope)
        bound._scope = scope
        return bound

    async def get(self, key: str) -> R:
        """The record as the primary has it; raises NotFoundError."""
        if self.tenant_owned and self._scope.tenant is None:
            return self._answer(key, await self._from_primary(key))
        wanted = Wanted(
            place=self._place(key),
            owner=self._owner,
            model=self._model,
            load=lambda: self._from_primary(key),
            cacheable=lambda record: self._is_findable(key, record),
        )
        return self._answer(key, (await self._reading.get(wanted)).record)

    async def write(self, records: Sequence[R]) -> Written:
        """Write to the primary, then invalidate."""
        async with self.changing(record.key for record in records):
            return await self.primary.write(records)

    async def find(self, query: Query) -> Page[R]:
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

    @asynccontextmanager
    async def changing(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Around a call to the primary that may change these records: invalidates at the end."""
        places = [self._place(key) for key in keys]
        try:
            yield
        finally:
            if places:
                longest = max(place.ttl for place in places)
                await self._reading.guard.invalidate((place.key for place in places), ttl=longest)

    def _is_findable(self, key: str, record: R | None) -> bool:
        """Whether a write of this record would invalidate it under this spelling of its key."""
        if record is not None:
            return record.key == key
        return self.canonical is not None and self.canonical.fullmatch(key) is not None

    @property
    def _owner(self) -> str:
        """For whom an entry was loaded: row-level security may look at tenant and service."""
        if not self.tenant_owned:
            return "-"
        return f"{self._scope.tenant} {(self._scope.service or '').encode().hex()}"

    def _place(self, key: str) -> Place:
        tenant = self._scope.tenant if self.tenant_owned else None
        return self._cache.place(self._data_type, key, tenant=tenant)

    async def _from_primary(self, key: str) -> R | None:
        try:
            record: R = await self.primary.get(key)
        except NotFoundError:
            return None
        return record

    def _answer(self, key: str, record: R | None) -> R:
        if record is None:
            raise NotFoundError(f"no {self._data_type} record with key {key!r}")
        return record
