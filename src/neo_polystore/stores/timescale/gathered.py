"""Writes of a few points, gathered with those of other callers into one statement."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final

import asyncpg

from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import DRIVER_ERRORS
from neo_polystore.pgkit.lines import Lines
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Written
from neo_polystore.stores.timescale.calls import Key, PointCall, day_of
from neo_polystore.stores.timescale.places import Places
from neo_polystore.stores.timescale.rows import Outcome, Row, write_rows

FEW: Final = 100
"""A call with more points has a statement of its own."""

_MAX_WEIGHT: Final = 128
"""Of one batch. They go over half as many connections as batches of records do, because what a
statement costs apart from its rows is more here (triggers, partitions)."""

_OPERATION: Final = "metrics.write"


class Gathered:
    """Writes over dedicated connections; belongs to one event loop."""

    def __init__(self, database: Database, places: Places):
        self._database = database
        self._places = places
        self._lines = Lines(database)
        self._open = False
        self.open()

    def open(self) -> None:
        """Take calls (again, after `close`). Harmless when it is open."""
        if self._open:
            return
        self._open = True
        self._calls: Coalescer[PointCall, Written] = Coalescer(
            self._send,
            lanes=max(1, self._database.config.writers // 2),
            max_weight=_MAX_WEIGHT,
            weigh=lambda call: call.count,
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

    async def write(self, points: Sequence[MetricPoint]) -> Written:
        """Store points; UnavailableError where too many calls are waiting."""
        return await self._calls.call(PointCall(points))

    async def _send(self, calls: list[PointCall]) -> list[Written | BaseException]:
        """The answer or error of each caller; whose points contradict another's come later."""
        answers: dict[PointCall, Written | BaseException] = {}
        rest = calls
        while rest:
            rows: dict[Key, Row] = {}
            later: list[PointCall] = []
            now: list[PointCall] = []
            for call in rest:
                if call.agrees(rows):
                    rows.update(call.rows)
                    now.append(call)
                else:
                    later.append(call)
            try:
                outcomes = await self._written(rows)
            except PolystoreError as error:
                answers.update(dict.fromkeys(now, error))
            else:
                answers.update((call, call.answer(outcomes)) for call in now)
            rest = later
        return [answers[call] for call in calls]

    async def _written(self, rows: dict[Key, Row]) -> dict[Key, Outcome]:
        if not rows:
            return {}
        values = list(rows.values())

        async def attempt() -> list[Outcome]:
            await self._places.have([row[0] for row in values], {day_of(row) for row in values})
            return await self._attempt(values)

        outcomes = await self._places.with_days(lambda: self._database.retrying(attempt))
        return dict(zip(rows, outcomes, strict=True))

    async def _attempt(self, rows: list[Row]) -> list[Outcome]:
        try:
            connection: Connection = await self._lines.take()
            started = perf_counter()
            try:
                return await write_rows(connection, rows)
            finally:
                self._lines.give(connection)
                self._database.recorder.took(_OPERATION, perf_counter() - started)
        except asyncpg.CheckViolationError as error:
            raise self._places.gone(error) from error
        except DRIVER_ERRORS as error:
            raise self._database.failure(error, _OPERATION) from error
