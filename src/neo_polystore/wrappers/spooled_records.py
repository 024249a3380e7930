"""Store-and-forward over any record port: what its store cannot take now, the outbox takes.

A write goes to the primary. Where that is unavailable, the records become messages of the outbox
in one transaction, and the write answers `queued`: they are durable, and the relay writes them
to the primary (`direct`) when it is back. They arrive once, because the port stores a record once
by its key, also where the failed call had stored some of them after all.

Only what the primary would store is queued: every record is checked by its model and validator
once more, and must come out of the queue equal to what went in; bad ones are rejected at once.
What only the store itself can know, such as a unique value taken by another document, is found
at delivery; the message then becomes a dead letter with the reason.

Where records are rewritten, an older value must not arrive after a newer one. So a write of a key
that has a message waiting is queued behind it, even when the primary is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

from neo_polystore.errors import CorruptDataError, UnavailableError, ValidationError
from neo_polystore.ports.outbox import Draft, Outbox
from neo_polystore.ports.records import Records
from neo_polystore.records.base import Record
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.payload import to_payload
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Rejection, Written
from neo_polystore.records.scope import NOBODY, Scope

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Records[Any])


@dataclass(slots=True)
class SpoolCounts:
    """What happened since the start, over all scopes: records queued, failures of the primary."""

    queued: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Breaker:
    """Until when the primary is left alone, so that not every write waits for its timeout."""

    until: float = float("-inf")


class SpooledRecords(Generic[R, P]):
    """`Records[R]` over a primary port `P`; a subclass adds the port's own reading verbs.

    `written_once`: no key is written again with another value, so the look at the outbox before
    each write is saved. After a failure the primary is left alone for `pause` seconds. Reading
    asks the primary alone: what is queued is not seen yet.
    """

    def __init__(
        self,
        data_type: str,
        primary: P,
        outbox: Outbox,
        *,
        written_once: bool = False,
        pause: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.counts = SpoolCounts()
        self._primary: P = primary
        self._data_type = data_type
        self._outbox = outbox
        self._written_once = written_once
        self._pause = pause
        self._clock = clock
        self._breaker = _Breaker()
        self._scope = NOBODY

    @property
    def direct(self) -> P:
        """The primary, for the relay: it answers `committed` or fails."""
        return self._primary

    @property
    def record(self) -> type[R]:
        """The record model."""
        model: type[R] = self._primary.record
        return model

    def within(self, scope: Scope) -> Self:
        """The same port, outbox and counts, acting for a tenant and service."""
        bound = copy(self)
        bound._primary = self._primary.within(scope)
        bound._scope = scope
        return bound

    async def write(self, records: Sequence[R]) -> Written:
        """To the primary, or to the outbox: then `queued`, with every key counted as new.

        Raises the primary's UnavailableError where the outbox cannot take the records either;
        nothing is queued then.
        """
        if not records:
            return Written()
        if await self._must_queue(records):
            return await self._queue(records, UnavailableError("older records are still queued"))
        try:
            return await self._primary.write(records)
        except UnavailableError as error:
            self.counts.failures += 1
            self._breaker.until = self._clock() + self._pause
            return await self._queue(records, error)

    async def get(self, key: str) -> R:
        """From the primary."""
        record: R = await self._primary.get(key)
        return record

    async def find(self, query: Query) -> Page[R]:
        """From the primary."""
        return await self._primary.find(query)

    async def count(self, query: Query) -> int:
        """From the primary."""
        return await self._primary.count(query)

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """From the primary."""
        return await self._primary.sum(query, field)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """From the primary."""
        return await self._primary.distinct(query, field)

    async def _must_queue(self, records: Sequence[R]) -> bool:
        if self._clock() < self._breaker.until:
            return True
        if self._written_once:
            return False
        return await self._outbox.waiting(self._data_type, [record.key for record in records])

    async def _queue(self, records: Sequence[R], reason: UnavailableError) -> Written:
        payloads: dict[str, dict[str, Any]] = {}
        good: list[R] = []
        rejected: list[Rejection] = []
        for index, record in enumerate(records):
            try:
                payloads[record.key] = to_payload(record)
                good.append(record)
            except ValidationError as error:
                problem = error.problems[0]
                rejected.append(Rejection(index, problem.field, problem.reason))
            except CorruptDataError:  # the primary may take it, the queue cannot
                raise reason from None
        last, written = last_by_key(good)
        drafts = [Draft(self._data_type, key, payloads[key]) for key in last]
        try:
            await self._outbox.publish(drafts, self._scope)
        except UnavailableError:
            raise reason from None
        self.counts.queued += len(drafts)
        written.new += len(drafts)
        written.rejected = rejected
        if drafts:
            written.consistency = "queued"
        return written
