"""Queries over a listing of objects: pages, counts, sums and distinct values."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

from neo_polystore.objectkit.query import Bounds, bounds_of, check, check_listed, condition_of
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import (
    Query,
    check_limit,
    check_numeric,
    check_orderable,
    decode_cursor,
    encode_cursor,
)
from neo_polystore.records.results import Page


class ListedObjects(ABC):
    """Subclasses list in the order of keys.

    `unlisted` names the fields that an engine's listing leaves out and `complete` fetches.
    """

    unlisted: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def listing(self, bounds: Bounds) -> AsyncIterator[StoredObject]:
        """Objects without content within the bounds, in the order of their keys."""

    async def complete(self, found: list[StoredObject]) -> list[StoredObject]:
        """The same objects with the `unlisted` fields; without those that are gone meanwhile."""
        return found

    async def find(self, query: Query) -> Page[StoredObject]:
        """One page without content. Ordered by key, a page reads no more than its part of the
        listing; any other order reads all that matches, keeping one page of it."""
        check_limit(query)
        if query.order is None and not query.descending:
            after = str(decode_cursor(query.after, length=1)[0]) if query.after else ""
            found: list[StoredObject] = []
            async with aclosing(self._matching(query, after=after)) as matching:
                async for record in matching:
                    found.append(record)
                    if len(found) > query.limit:
                        break
        else:
            found = await self._sorted(query)
        more = len(found) > query.limit
        found = found[: query.limit]
        cursor = encode_cursor([*self._rank(query, found[-1])]) if more else None
        return Page(await self.complete(found), cursor)

    async def count(self, query: Query) -> int:
        """How many objects satisfy the conditions."""
        total = 0
        async for _ in self._matching(query):
            total += 1
        return total

    async def sum(self, query: Query, field: str) -> int:
        """The sum of a number (there is one: size)."""
        check_numeric(StoredObject, field)
        total = 0
        async for record in self._matching(query):
            total += getattr(record, field) or 0
        return total

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        check_listed(field)
        values = {getattr(r, field) async for r in self._matching(query, needed={field})}
        return sorted(values - {None})

    async def _sorted(self, query: Query) -> list[StoredObject]:
        """One object more than a page, in the query's order, after its cursor."""
        if query.order is not None:
            check_orderable(StoredObject, query.order)
        needed = {query.order} if query.order else set()
        place: tuple[Any, ...] | None = None
        if query.after is not None:
            place = tuple(map(str, decode_cursor(query.after, length=2 if query.order else 1)))
        found = []
        choose = heapq.nlargest if query.descending else heapq.nsmallest
        async for record in self._matching(query, needed=needed):
            rank = self._rank(query, record)
            if place is None or (rank < place if query.descending else rank > place):
                found.append((rank, record))
            if len(found) > 4 * (query.limit + 1):
                found = choose(query.limit + 1, found, key=lambda item: item[0])
        best = choose(query.limit + 1, found, key=lambda item: item[0])
        return [record for _, record in best]

    @staticmethod
    def _rank(query: Query, record: StoredObject) -> tuple[Any, ...]:
        return (record.key,) if query.order is None else (getattr(record, query.order), record.key)

    async def _matching(
        self, query: Query, *, after: str = "", needed: set[str] | frozenset[str] = frozenset()
    ) -> AsyncGenerator[StoredObject, None]:
        """What satisfies the query; completed only where a condition or `needed` asks for it."""
        check(query)
        asked = {item.field for item in query.filters} | needed
        at_once = condition_of(query, fields=lambda name: name not in self.unlisted)
        listing = (r async for r in self.listing(bounds_of(query, after=after)) if at_once(r))
        if not asked & self.unlisted:
            async for record in listing:
                yield record
            return
        later = condition_of(query, fields=lambda name: name in self.unlisted)
        async for batch in _batches(listing, 64):
            for record in await self.complete(batch):
                if later(record):
                    yield record


async def _batches(
    source: AsyncIterable[StoredObject], size: int
) -> AsyncIterator[list[StoredObject]]:
    batch: list[StoredObject] = []
    async for item in source:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
