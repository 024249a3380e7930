"""The port `logs`: write, get, find, count, distinct over the day indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tantivy import Order

from neo_polystore.activity import Recorder
from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import NotFoundError, UnavailableError, UnsupportedError
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Filter, Query, check_field, check_numeric
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope
from neo_polystore.records.times import moment
from neo_polystore.stores.tantivy.days import Day, Days, count_matching
from neo_polystore.stores.tantivy.errors import STORE, translated
from neo_polystore.stores.tantivy.pages import PageCutter
from neo_polystore.stores.tantivy.query import DayQuery
from neo_polystore.stores.tantivy.schema import TEXT_FIELDS, field_prefix, from_document
from neo_polystore.stores.tantivy.writer import Writer

if TYPE_CHECKING:
    from neo_polystore.ports.logs import Logs

T = TypeVar("T")
Batch = Mapping[str, LogEntry]
_GATHERED = 10_000  # lines of waiting calls that share a commit


class TantivyLogs:
    """Entries in the index of the day they arrived; see `ports.logs`.

    Whatever time an entry states, it is found: a query looks into every day. Calls that write
    while a commit is under way are gathered and share the next commit.

    Selectable are id, timestamp, system, level, host, trace_id and `fields.<name>`; the message
    by its words only. Pages are ordered by id, timestamp or system.
    """

    def __init__(self, days: Days, writer: Writer):
        self.recorder = Recorder("tantivy")
        self._days = days
        self._writer = writer
        self._appends: Coalescer[Batch, int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether `start` has succeeded and `stop` was not called since."""
        return self._appends is not None

    @property
    def counts(self) -> dict[str, Counts]:
        """What was gathered since `start`."""
        return {"writes": self._appends.counts} if self._appends is not None else {}

    @property
    def record(self) -> type[LogEntry]:
        """The record model."""
        return LogEntry

    def within(self, scope: Scope) -> Self:
        """No tenant owns log lines: the same port."""
        return self

    async def start(self) -> None:
        """Open the indexes there are."""
        await self._run("connect", lambda days: None, opening=True)
        # one lane: writers take turns anyway, and what waits shares the next commit
        self._appends = Coalescer(self._append, lanes=1, max_weight=_GATHERED, weigh=len)

    async def stop(self) -> None:
        """Finish the writes that were accepted and let go of the indexes."""
        appends, self._appends = self._appends, None
        if appends is not None:
            await appends.close()
        self._days.close()

    async def write(self, records: Sequence[LogEntry]) -> Written:
        """Store entries, durably, each once by its id; see `ports.records`."""
        if self._appends is None:
            raise _not_connected("logs.write")
        batch, written = last_by_key(records)
        if batch:
            written.new = await self._appends.call(batch)
            written.existing += len(batch) - written.new
        return written

    async def _append(self, batches: list[Batch]) -> list[int]:
        with self.recorder.statement("logs.write"), translated("logs.write"):
            return await asyncio.to_thread(self._writer.append, batches)

    async def get(self, key: str) -> LogEntry:
        """The entry with this id; raises NotFoundError."""

        def look(days: list[Day]) -> LogEntry | None:
            for day in map(DayQuery.of, days):
                wanted = day.condition(Filter("id", "eq", key))
                if hits := day.searcher.search(wanted, limit=1, count=False).hits:
                    return from_document(day.searcher.doc(hits[0][1]))
            return None

        if (entry := await self._run("logs.get", look)) is None:
            raise NotFoundError(f"no logs record with key {key!r}", store=STORE)
        return entry

    async def find(self, query: Query) -> Page[LogEntry]:
        """One page; see `ports.records`."""
        return await self._run("logs.find", lambda days: PageCutter(query, days).cut())

    async def count(self, query: Query) -> int:
        """How many entries satisfy the conditions."""

        def tally(days: list[Day]) -> int:
            found = map(DayQuery.of, days)
            return sum(count_matching(day.searcher, day.matching(query)) for day in found)

        return await self._run("logs.count", tally)

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """Entries have no number: always a UsageError, naming the field."""
        check_numeric(LogEntry, field)
        raise UnsupportedError(f"logs cannot be summed by {field!r}", store=STORE)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        check_field(LogEntry, field)

        def gather(days: list[Day]) -> list[Any]:
            return sorted(set().union(*(_values(DayQuery.of(day), query, field) for day in days)))

        return await self._run("logs.distinct", gather)

    async def _run(
        self, operation: str, work: Callable[[list[Day]], T], *, opening: bool = False
    ) -> T:
        """Run blocking work on snapshots of all days in a thread."""
        if self._appends is None and not opening:
            raise _not_connected(operation)

        def call() -> T:
            with translated(operation):
                return work(self._days.load())

        with self.recorder.statement(operation):
            return await asyncio.to_thread(call)


def _not_connected(operation: str) -> UnavailableError:
    return UnavailableError("not connected", store=STORE, operation=operation)


def _values(day: DayQuery, query: Query, field: str) -> set[datetime] | set[str]:
    head, _, path = field.partition(".")
    matching = day.matching(query)
    if head == "timestamp":
        limit = max(1, count_matching(day.searcher, matching))
        hits = day.searcher.search(
            matching, limit=limit, count=False, order_by_field=head, order=Order.Asc
        ).hits
        return {moment(value) for value, _ in hits}
    if head == "fields" and path:
        prefix = field_prefix(path)
        terms = day.searcher.terms_with_prefix("fields", prefix, matching)
        return {term.removeprefix(prefix) for term, documents in terms if documents}
    if head in ("id", *TEXT_FIELDS):
        terms = day.searcher.terms_with_prefix(head, "", matching)
        return {term for term, documents in terms if documents}
    raise UnsupportedError(f"logs cannot list the values of {field!r}", store=STORE)


if TYPE_CHECKING:
    _: type[Logs] = TantivyLogs
