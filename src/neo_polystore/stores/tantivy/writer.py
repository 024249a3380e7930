"""Appends batches: one writer at a time over all processes, durable before it answers."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tantivy import Order, Query

from neo_polystore.errors import UnavailableError
from neo_polystore.records.logs import LogEntry
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.days import Day, Days, count_matching
from neo_polystore.stores.tantivy.errors import STORE
from neo_polystore.stores.tantivy.schema import key_of, place_of, to_document

_LOCK = "writer.lock"


class Writer:
    """Adds entries to the index of the day on which they arrive. Every method blocks.

    The lock is one for the whole directory, not one per day: an id has to be new in all days, and
    at midnight two days are written to. The kernel releases it with the process that held it, so
    no killed writer leaves it behind; tantivy's own lock works the same way.
    """

    def __init__(self, config: TantivyConfig, days: Days, now: Callable[[], datetime]):
        self._config = config
        self._days = days
        self._now = now

    def append(self, batches: Sequence[Mapping[str, LogEntry]]) -> list[int]:
        """Store batches (entries by id) in one commit; answers how many of each were new.

        Where batches share an id the first one's entry stands.
        """
        with self.locked():
            known = self._known({key for batch in batches for key in batch})
            fresh: dict[str, LogEntry] = {}
            counts = []
            for batch in batches:
                new = {key: entry for key, entry in batch.items() if key not in known}
                known |= new.keys()
                fresh |= new
                counts.append(len(new))
            if fresh:
                self._commit(fresh.values())
            return counts

    def remove(self, names: Mapping[str, int]) -> dict[str, int]:
        """Remove whole days; answers how many documents each held when it went."""
        rows = {}
        with self.locked():
            for day in self._days.load():
                if day.path.name in names:
                    rows[day.path.name] = day.searcher.num_docs
                    shutil.rmtree(day.path)
            sync(self._days.root)
        return rows

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody writes meanwhile; UnavailableError where others do not stop."""
        # a new descriptor each time: flock then excludes this process's other threads as well
        descriptor = os.open(self._days.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + self._config.lock_timeout
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise UnavailableError(
                        f"other processes have been writing for {self._config.lock_timeout:g} s",
                        store=STORE,
                        operation="logs.write",
                    )
                time.sleep(0.003)
            yield
        finally:
            os.close(descriptor)

    def _known(self, keys: set[str]) -> set[str]:
        """Those of the ids that are stored, on whatever day."""
        known: set[str] = set()
        for day in self._days.load():
            known |= _present(day, keys)
        return known

    def _commit(self, entries: Collection[LogEntry]) -> None:
        name = self._now().astimezone(UTC).date().isoformat()
        index = self._days.create(name)
        writer = index.writer(self._config.writer_memory, 1)
        try:
            for entry in entries:
                writer.add_document(to_document(entry))
            writer.commit()
        finally:
            # also merges the small segments that many small batches leave
            writer.wait_merging_threads()
        # tantivy syncs its files and their directory, and then renames meta.json over the old
        # one: that rename, and a new day's directory itself, still have to reach the disk
        sync(self._days.root / name)
        sync(self._days.root)


def _present(day: Day, keys: set[str]) -> set[str]:
    searcher = day.searcher
    wanted = Query.term_set_query(day.index.schema, "place", [place_of(key) for key in keys])
    if not (found := count_matching(searcher, wanted)):
        return set()
    hits = searcher.search(
        wanted, limit=found, count=False, order_by_field="place", order=Order.Asc
    ).hits
    return {key_of(place) for place, _ in hits}


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(directory: Path) -> None:
    """Make what was created, renamed and removed in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
