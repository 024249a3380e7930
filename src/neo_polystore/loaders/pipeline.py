"""From files to a store: reads ahead while it writes, counts every record exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, Loaded, LoadOptions
from neo_polystore.loaders.jobs import Job, read_job
from neo_polystore.records.results import Written

Write = Callable[[Sequence[Any]], Awaitable[Written]]
"""Stores records of the model that the data type's loaders yield, as `Records.write` does."""

BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends when its records took this much of their files, however few they are."""

BATCH_RECORDS = {
    "metrics": 10_000,
    "logs": 5_000,
    "wallets": 2_000,
    "transactions": 2_000,
    "receipts": 2_000,
    "audit_logs": 500,
    "contract_metadata": 100,
    "sealed": 100,
    "objects": 20,
}
_OTHER_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that was not stored; record 0 is the file as a whole."""

    file: str
    record: int
    field: str
    reason: str


@dataclass(slots=True)
class LoadReport:
    """What became of everything read: `read` is the sum of the others.

    A file that is refused as a whole counts as one read and one rejected. `notes` are what else
    whoever loads should know.
    """

    read: int = 0
    new: int = 0
    existing: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Read = tuple[str, Item]
"""The file that an item came from, and the item."""


async def run_jobs(
    data_type: str,
    jobs: Sequence[Job],
    options: LoadOptions,
    write: Write,
    *,
    progress: Callable[[int], None] = lambda position: None,
) -> LoadReport:
    """Load every file, in order, through `write`; parsing runs beside the writing, in a thread.

    `progress` hears how many bytes of all files have been read. Raises what `write` raises; what
    was written before stays, and loading again counts it as existing.
    """
    report = LoadReport()
    reader = _Reader(jobs, options, BATCH_RECORDS.get(data_type, _OTHER_RECORDS))
    async with aclosing(_ahead(reader)) as batches:
        async for batch in batches:
            await _store(batch, write, report)
            progress(reader.position())
    return report


class _Reader:
    """Cuts the items of all files into batches; used by one thread at a time."""

    def __init__(self, jobs: Sequence[Job], options: LoadOptions, size: int):
        self._items = self._read(jobs, options)
        self._size = size
        self._finished = 0
        self._current: Job | None = None

    def position(self) -> int:
        """Bytes of all files that have been read."""
        job = self._current
        return self._finished + (min(job.source.position, job.size) if job else 0)

    def batch(self) -> list[Read]:
        """The next items; empty at the end."""
        start = self.position()
        found = []
        for read in self._items:
            found.append(read)
            if len(found) >= self._size or self.position() - start > BATCH_BYTES:
                break
        return found

    def _read(self, jobs: Sequence[Job], options: LoadOptions) -> Iterator[Read]:
        for job in jobs:
            self._current = job
            file = _printable(job.source.path)
            for item in read_job(job, options):
                yield file, item
            self._current = None
            self._finished += job.size


def _printable(path: Path) -> str:
    """The path as it was given, but for bytes in it that are no UTF-8."""
    return str(path).encode(errors="replace").decode()


async def _ahead(reader: _Reader) -> AsyncGenerator[list[Read], None]:
    """The reader's batches, the next one being read while the caller works on this one."""
    reading = asyncio.create_task(asyncio.to_thread(reader.batch))
    try:
        while batch := await reading:
            reading = asyncio.create_task(asyncio.to_thread(reader.batch))
            yield batch
    finally:
        # A thread cannot be stopped: let it end before whoever called goes on.
        await asyncio.gather(reading, return_exceptions=True)


async def _store(batch: list[Read], write: Write, report: LoadReport) -> None:
    good = [(file, item) for file, item in batch if isinstance(item, Loaded)]
    rejected = {
        index: Rejected(file, item.number, item.field, item.reason)
        for index, (file, item) in enumerate(batch)
        if isinstance(item, BadRecord)
    }
    if good:
        places = [index for index, (_, item) in enumerate(batch) if isinstance(item, Loaded)]
        written = await write([item.record for _, item in good])
        for problem in written.rejected:
            file, item = good[problem.index]
            told = Rejected(file, item.number, problem.field, problem.reason)
            rejected.setdefault(places[problem.index], told)
        report.new += written.new
        report.existing += written.existing
        report.replaced += written.replaced
    report.read += len(batch)
    report.rejected += [rejected[index] for index in sorted(rejected)]
