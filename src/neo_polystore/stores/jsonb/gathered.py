"""Calls of a few documents, gathered with those of other callers into one statement."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import asyncpg

from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import DRIVER_ERRORS
from neo_polystore.pgkit.lines import Lines
from neo_polystore.records.results import Written
from neo_polystore.stores.jsonb.rows import Row

if TYPE_CHECKING:
    from neo_polystore.stores.jsonb.documents import JsonbDocuments

MAX_WEIGHT = 256
"""Documents of one statement; what is more is a statement of its own anyway."""

LANES = 2
"""Statements at a time. The server's work for a document is in its validator and indexes: on two
processors, two statements of 256 store a quarter more than four of 128."""

BAD_DOCUMENT = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)

Answer = Written | BaseException


class Call:
    """One caller's checked documents, of different keys, sorted by key."""

    __slots__ = ("port", "rows")

    def __init__(self, port: JsonbDocuments, rows: Sequence[Row]):
        self.port = port
        self.rows = rows


class Gathered:
    """Writes over dedicated connections of one store; belongs to one event loop.

    Only calls for the same collection share a statement, which is a transaction of its own. Each
    caller is answered after its commit.
    """

    def __init__(self, database: Database):
        self._database = database
        self._lines = Lines(database)
        self._open = False
        self.open()

    def open(self) -> None:
        """Take calls (again, after `close`). Harmless when it is open."""
        if self._open:
            return
        self._open = True
        self._calls: Coalescer[Call, Written] = Coalescer(
            self._send,
            lanes=min(LANES, self._database.config.writers),
            max_weight=MAX_WEIGHT,
            weigh=lambda call: len(call.rows),
            group=lambda call: call.port.document.data_type,
        )

    async def close(self) -> None:
        """Take no more calls, finish those that were taken, close the connections."""
        self._open = False
        await self._calls.close()
        await self._lines.close()

    @property
    def counts(self) -> Counts:
        """What was gathered since `open`."""
        return self._calls.counts

    async def write(self, call: Call) -> Written:
        """Store the documents of one call; UnavailableError where too many calls are waiting."""
        return await self._calls.call(call)

    async def _send(self, calls: list[Call]) -> Sequence[Answer]:
        operation = f"{calls[0].port.document.data_type}.write"
        answers: dict[Call, Answer] = {}
        try:
            connection = await self._lines.take()
            started = perf_counter()
            try:
                waiting: Sequence[Call] = calls
                while waiting:
                    together, waiting = _apart(waiting)
                    await self._store(connection, together, answers)
            finally:
                self._lines.give(connection)
                self._database.recorder.took(operation, perf_counter() - started)
        except DRIVER_ERRORS as error:
            failure = self._database.failure(error, operation)
            failure.__cause__ = error
            return [answers.get(call, failure) for call in calls]
        return [answers[call] for call in calls]

    async def _store(
        self, connection: Connection, calls: Sequence[Call], answers: dict[Call, Answer]
    ) -> None:
        """One statement; where the server refuses it, halve until the bad call stands alone."""
        try:
            rows = sorted((row for call in calls for row in call.rows), key=lambda row: row.key)
            outcome = await calls[0].port.table.upsert(connection, rows)
        except (*BAD_DOCUMENT, asyncpg.DeadlockDetectedError) as error:
            if len(calls) == 1:
                answers[calls[0]] = await _alone(calls[0])
                return
            if isinstance(error, asyncpg.DeadlockDetectedError):
                halves = [[call] for call in calls]
            else:
                halves = [list(calls[: len(calls) // 2]), list(calls[len(calls) // 2 :])]
            for half in halves:
                await self._store(connection, half, answers)
            return
        for call in calls:
            answers[call] = outcome.of(call.rows)


async def _alone(call: Call) -> Answer:
    """The call that the server refused: which of its documents was it?"""
    try:
        return await call.port.store(call.rows)
    except PolystoreError as failure:
        return failure


def _apart(calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """The calls that can share a statement, a key being in it once, and those that wait."""
    taken: set[str] = set()
    together: list[Call] = []
    later: list[Call] = []
    for call in calls:
        keys = {row.key for row in call.rows}
        # a call that waits keeps its keys taken: calls for one key are stored as they came
        (together if taken.isdisjoint(keys) else later).append(call)
        taken |= keys
    return together, later
