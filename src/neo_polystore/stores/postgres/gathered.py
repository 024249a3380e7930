"""Calls of one record or a few, gathered with those of other callers into one statement."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Sequence
from time import perf_counter
from typing import Any

import asyncpg

from neo_polystore.activity import Connections
from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.errors import DRIVER_ERRORS
from neo_polystore.pgkit.lines import Lines
from neo_polystore.records.results import Written
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.gathered_batch import WriteCall
from neo_polystore.stores.postgres.gathered_reads import Lookup, Wanted, answer_reads
from neo_polystore.stores.postgres.gathered_writes import answer_writes
from neo_polystore.stores.postgres.merge import merge
from neo_polystore.stores.postgres.merge_spec import Merge

MAX_WEIGHT = 128
"""The weight of one batch, in ordinary records; a heavier call has a statement of its own anyway.

The server's work per record is constant from about 50 on, so larger batches gain nothing. While
all who wait fit into the writers' lanes nobody waits for two batches: four lanes hold 512.
"""

MAX_READS = 32
"""The keys of one statement: small enough that one lane is read while the other is decoded."""

MAX_WAITING = 10_000
"""The weight that may wait; beyond it callers wait for room, and are refused in the end."""

PATIENCE = 5.0
"""Seconds that a caller waits for room."""


class Gathered:
    """Reads and writes over dedicated connections, of one store; belongs to one event loop.

    Only calls of the same data type and scope share a statement, which is a transaction of its
    own: no tenant's records are ever in a transaction with another one's. A call inside a unit of
    work does not come here.
    """

    def __init__(
        self, database: Database, *, max_waiting: int = MAX_WAITING, patience: float = PATIENCE
    ):
        self._database = database
        self._max_waiting = max_waiting
        self._patience = patience
        self._writers = Lines(database)
        self._readers = Lines(database)
        self._open = False
        self.open()

    def open(self) -> None:
        """Take calls (again, after `close`). Harmless when it is open."""
        if self._open:
            return
        self._open = True
        config = self._database.config
        self._writes: Coalescer[WriteCall, Written] = Coalescer(
            self._send_writes,
            lanes=config.writers,
            max_weight=MAX_WEIGHT,
            max_waiting=self._max_waiting,
            patience=self._patience,
            weigh=_weight,
            group=_group,
        )
        self._reads: Coalescer[Wanted, asyncpg.Record | None] = Coalescer(
            self._send_reads,
            lanes=config.readers,
            max_weight=MAX_READS,
            max_waiting=self._max_waiting,
            patience=self._patience,
            group=_group,
            # readers are quick to ask again: two lanes then share them evenly, instead of one
            # that reads many and one that reads the few who asked meanwhile
            gather=True,
        )

    async def close(self) -> None:
        """Take no more calls, finish those that were taken, close the connections."""
        self._open = False
        await self._writes.close()
        await self._reads.close()
        await self._writers.close()
        await self._readers.close()

    @property
    def counts(self) -> dict[str, Counts]:
        """What was gathered since `open`."""
        return {"writes": self._writes.counts, "reads": self._reads.counts}

    @property
    def connections(self) -> dict[str, Connections]:
        """The lines, now."""
        return {"writers": self._writers.connections, "readers": self._readers.connections}

    async def write(self, spec: Merge[Any], scope: Scope, records: Sequence[Any]) -> Written:
        """Store records as `merge` does; UnavailableError where too many calls are waiting."""
        call = WriteCall(spec, scope, records)
        if not records or call.weight > MAX_WEIGHT or not call.is_plain():
            return await merge(self._database, scope, spec, records)
        call.prepare()
        return await self._writes.call(call)

    def read(
        self, lookup: Lookup, scope: Scope, identity: tuple[Any, ...]
    ) -> Awaitable[asyncpg.Record | None]:
        """The row with this identity, its record's columns after the engine's own; None."""
        return self._reads.call(Wanted(lookup, scope, identity))

    async def _send_writes(self, calls: list[WriteCall]) -> Sequence[Written | BaseException]:
        operation = f"{calls[0].spec.name}.write"
        try:
            connection = await self._writers.take()
            started = perf_counter()
            try:
                return await answer_writes(self._database, connection, calls)
            finally:
                self._writers.give(connection)
                self._database.recorder.took(operation, perf_counter() - started)
        except DRIVER_ERRORS as error:
            raise self._database.failure(error, operation) from error

    async def _send_reads(self, wanted: list[Wanted]) -> Sequence[asyncpg.Record | None]:
        operation = f"{wanted[0].lookup.name}.get"
        try:
            connection = await self._readers.take()
            started = perf_counter()
            try:
                return await answer_reads(connection, wanted)
            finally:
                self._readers.give(connection)
                self._database.recorder.took(operation, perf_counter() - started)
        except DRIVER_ERRORS as error:
            raise self._database.failure(error, operation) from error


def _weight(call: WriteCall) -> int:
    return call.weight


def _group(call: WriteCall | Wanted) -> Hashable:
    return call.group
