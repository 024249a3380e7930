"""Read-through caching over any record port; the primary alone decides what is true.

`get` asks the cache, and on a miss takes a lease, reads the primary and fills. What changes a
record announces that to the cache, goes to the primary, and then invalidates what it touched,
whatever came of it: a call that failed or was cancelled may have committed. Between the two the
record is read from the primary, so a writer who dies leaves nothing stale behind. A write that the
primary only queued is invalidated now; whoever delivers it later invalidates again. Everything
else goes straight to the primary. `docs/decisions/0013` says who may read an old value when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from decimal import Decimal
from typing import Any, ClassVar, Generic, Self, TypeVar

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.cache import Place
from neo_polystore.ports.records import Records
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.wrappers.cached.changes import Changing, Touched
from neo_polystore.wrappers.cached.counts import CacheCounts
from neo_polystore.wrappers.cached.rare_tag import RareTag
from neo_polystore.wrappers.cached.read import Caching
from neo_polystore.wrappers.cached.wanted import Seen, Wanted

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Records[Any])


class CachedRecords(Generic[R, P]):
    """`Records[R]` over a primary port `P`, which is itself a `Records[R]`.

    A subclass binds both, says what is particular to its data type, and adds the port's own
    verbs: one that changes records wraps its call in `changing`.

    `tenant_owned`: entries are bound to the scope that loaded them and seen by no other; without
    a tenant the cache is not asked. `canonical`: the form of keys as records write them; only for
    such keys is absence remembered, because a write invalidates no other spelling. `written_once`:
    `write` changes no stored record, so there is nothing to announce, no absence is remembered,
    and all that it ends is queries (see `rare_tag`).

    `joined` to a unit of work a port reads within that and changes nothing before its commit.
    """

    tenant_owned: ClassVar[bool] = True
    written_once: ClassVar[bool] = False
    canonical: ClassVar[re.Pattern[str] | None] = None

    def __init__(self, data_type: str, primary: P, caching: Caching):
        self.primary: P = primary
        self._model: type[R] = primary.record
        self._data_type = data_type
        self._cache = caching.cache
        self._reading = caching.reading(data_type)
        self._near = self._reading.guard.near
        self._counts = self._reading.guard.counts
        self._queries = RareTag(self._reading.guard, caching.cache.in_family("tag", "", data_type))
        self._scope = NOBODY
        self._touched: Touched | None = None
        self._bind()

    @property
    def record(self) -> type[R]:
        """The record model."""
        return self._model

    @property
    def counts(self) -> CacheCounts:
        """What the cache was good for, over all scopes."""
        return self._counts

    def within(self, scope: Scope) -> Self:
        """The same port, cache and counts, acting for a tenant and service."""
        bound = copy(self)
        bound.primary = self.primary.within(scope)
        bound._scope = scope
        bound._bind()
        return bound

    def joined(self, port: P, scope: Scope, touched: Touched) -> Self:
        """The port within a unit of work, whose changes are announced right before its commit."""
        bound = self.within(scope)
        bound.primary = port
        bound._touched = touched
        bound._bind()
        return bound

    def _bind(self) -> None:
        """What every read needs to know of the scope. Row-level security may look at tenant and
        service, so `_owner` says for whom an entry was loaded."""
        scope = self._scope
        self._tenant = scope.tenant if self.tenant_owned else None
        self._own_tag: Place | None = None
        self._owner = "-"
        if self.tenant_owned:
            self._owner = f"{scope.tenant} {(scope.service or '').encode().hex()}"
        self._past_cache = self._touched is not None or (self.tenant_owned and scope.tenant is None)

    async def settled(self) -> None:
        """Return when what was read so far is in the cache."""
        await self._reading.loads.settled()

    async def get(self, key: str) -> R:
        """The record as the primary has it; raises NotFoundError."""
        if self._past_cache:
            return self._answer(key, await self._from_primary(key))
        place = self._cache.place(self._data_type, key, tenant=self._tenant)
        if self._near is not None:
            copy: R | None = self._near.get(place.key, self._owner)
            if copy is not None:
                self._counts.local += 1
                return copy
        found = await self._reading.glance(place.key, self._owner, self._model)
        if found is not None and not isinstance(found, Seen):
            return found
        wanted = Wanted(
            place=place,
            owner=self._owner,
            model=self._model,
            load=lambda: self._from_primary(key),
            cacheable=lambda record: self._is_findable(key, record),
        )
        return self._answer(key, (await self._reading.get(wanted, found)).record)

    async def write(self, records: Sequence[R]) -> Written:
        """Write to the primary, then invalidate."""
        if self.written_once and self._touched is None:
            try:
                return await self.primary.write(records)
            finally:
                if not self._queries.is_idle():
                    await self._queries.end()
        async with self.changing([record.key for record in records]):
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

    def changing(self, keys: Iterable[str]) -> AbstractAsyncContextManager[None]:
        """Around a call to the primary that may change these records: invalidates at the end."""
        return self.changing_places(self.places(keys))

    def changing_places(self, places: list[Place]) -> AbstractAsyncContextManager[None]:
        """The same for entries and tags."""
        return Changing(self._reading.guard, places, self._touched)

    def places(self, keys: Iterable[str]) -> list[Place]:
        """What a change of these records invalidates: their entries, and every query of them."""
        places = [self._place(key) for key in keys]
        if places:
            if self._own_tag is None:
                self._own_tag = self.tag(self._data_type)
            places.append(self._own_tag)
        return places

    def tag(self, name: str) -> Place:
        """The tag of this name, within the tenant whose records these are."""
        return self._cache.in_family("tag", str(self._tenant or ""), name)

    def _is_findable(self, key: str, record: R | None) -> bool:
        """Whether a write of this record would invalidate it under this spelling of its key."""
        if record is not None:
            return record.key == key
        if self.written_once or self.canonical is None:
            return False
        return self.canonical.fullmatch(key) is not None

    def _place(self, key: str) -> Place:
        return self._cache.place(self._data_type, key, tenant=self._tenant)

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
