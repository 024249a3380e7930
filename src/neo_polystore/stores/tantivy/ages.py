"""The retention of log lines: a day's index goes as a whole, but for lines that are held."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from tantivy import Query, Searcher

from neo_polystore.activity import Recorder
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.days import Day, Days, count_matching
from neo_polystore.stores.tantivy.errors import translated
from neo_polystore.stores.tantivy.query import DayQuery, any_of, none_of
from neo_polystore.stores.tantivy.schema import from_document
from neo_polystore.stores.tantivy.writer import Writer, sync

T = TypeVar("T")

_READ: Final = 1_000
_GONE: Final = "removed-"


class TantivyAges:
    """See `ports.retention`; age counts from the end of the day on which a line was taken in.

    Lines are added to today's index only, so an old day is what it was when it was chosen.
    """

    mechanism = "drops the indexes of whole days, by arrival; of a day with held lines, the others"
    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, config: TantivyConfig, days: Days, writer: Writer, recorder: Recorder):
        self._config = config
        self._days = days
        self._writer = writer
        self._recorder = recorder

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """Count the lines of whole days that are old."""

        def count() -> Past:
            old = self._old(before)
            rows = sum(day.searcher.num_docs for day in old)
            kept = sum(_kept(day, held)[1] for day in old)
            oldest = _start(old[0].path.name) if old else None
            return Past(rows - kept, kept, oldest, sum(_bytes(day) for day in old))

        return await self._run("past", count)

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The oldest day after that named `after` of which something may go."""

        def choose() -> Portion | None:
            for day in self._old(before):
                name = day.path.name
                if name > after and (rows := day.searcher.num_docs - _kept(day, held)[1]):
                    since = _start(name)
                    return Portion(name, rows, name, since, since + timedelta(days=1), held)
            return None

        return await self._run("portion", choose)

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The lines of the day that are not held, some at a time."""

        def look() -> tuple[Day, list[Any]] | None:
            for day in self._days.load():
                if day.path.name == portion.name:
                    wanted = none_of(_kept(day, portion.token)[0])
                    hits = day.searcher.search(wanted, limit=max(1, portion.rows), count=False).hits
                    return day, [place for _, place in hits]
            return None

        if (found := await self._run("read", look)) is None:
            return
        day, places = found
        searcher = day.searcher
        for start in range(0, len(places), _READ):
            some = places[start : start + _READ]
            yield await self._run("read", partial(_documents, searcher, some))

    async def drop(self, portion: Portion, held: Held) -> int:
        """Under the writers' lock; the directory loses its name before it is removed."""
        return await self._run("drop", lambda: self._drop(portion.name, held))

    def _drop(self, name: str, held: Held) -> int:
        with self._writer.locked():
            self._sweep()
            for day in self._days.load():
                if day.path.name == name:
                    kept, stays = _kept(day, held)
                    gone = day.searcher.num_docs - stays
                    if not stays:
                        self._discard(day.path)
                    elif gone:
                        self._delete(name, none_of(kept))
                    return gone
        return 0

    def _discard(self, path: Path) -> None:
        """Its name first, so that no crash leaves half of an index under it."""
        gone = path.with_name(_GONE + path.name)
        path.rename(gone)
        sync(self._days.root)
        shutil.rmtree(gone)

    def _sweep(self) -> None:
        """Remove what a crash has left of a day that was dropped."""
        for left in self._days.root.glob(f"{_GONE}*"):
            shutil.rmtree(left)

    def _delete(self, name: str, query: Query) -> None:
        writer = self._days.create(name).writer(self._config.writer_memory, 1)
        try:
            writer.delete_documents_by_query(query)
            writer.commit()
        finally:
            writer.wait_merging_threads()
        sync(self._days.root / name)

    def _old(self, before: datetime) -> list[Day]:
        last = before - timedelta(days=1)
        return [day for day in reversed(self._days.load()) if _start(day.path.name) <= last]

    async def _run(self, operation: str, work: Callable[[], T]) -> T:
        def call() -> T:
            with translated(f"logs.retention.{operation}"):
                return work()

        with self._recorder.statement(f"logs.retention.{operation}"):
            return await asyncio.to_thread(call)


def _documents(searcher: Searcher, places: Sequence[Any]) -> list[Record]:
    return [from_document(searcher.doc(place)) for place in places]


def _kept(day: Day, held: Held) -> tuple[Query, int]:
    """What of a day is held, and how many lines that is."""
    if not held.queries:
        return Query.empty_query(), 0
    asked = DayQuery.of(day)
    query = any_of([asked.matching(each) for each in held.queries])
    return query, count_matching(asked.searcher, query)


def _start(name: str) -> datetime:
    return datetime.combine(date.fromisoformat(name), time(), tzinfo=UTC)


def _bytes(day: Day) -> int:
    return sum(each.stat().st_size for each in day.path.iterdir() if each.is_file())


_: type[Ages] = TantivyAges
