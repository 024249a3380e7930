"""The events port: append at a version, write at the end, read streams (see `feed`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from neo_polystore.errors import ConflictError, UsageError, ValidationError
from neo_polystore.pgkit.database import Connection
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.events import Events
from neo_polystore.records.events import Event
from neo_polystore.records.query import Filter
from neo_polystore.records.results import Rejection, Written
from neo_polystore.stores.event_store.appending import (
    APPEND,
    WRITE,
    UnstorableEventError,
    append_parameters,
    as_json,
    write_parameters,
)
from neo_polystore.stores.event_store.feed import SELECT, TYPES, read_all, read_stream

_ATTEMPTS: Final = 5


class EventStreams(SqlRecords[Event]):
    """The events port; see `ports.events`.

    Of two events with the same id in one batch the first is appended: what is stored stays.
    """

    selection = Selection(
        record=Event,
        source="events",
        columns={name: Column(name, kind) for name, kind in TYPES.items()},
        key=(Column("event_id", "uuid"),),
    )

    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """The event with this id."""
        try:
            return (Filter("event_id", "eq", UUID(key)),)
        except ValueError:
            raise self.missing(key) from None

    async def write(self, records: Sequence[Event]) -> Written:
        """Append each event to its stream unless its id is stored; all of them or none."""
        written = Written()
        good: dict[UUID, tuple[Event, tuple[str, str]]] = {}
        for index, event in enumerate(records):
            if event.event_id in good:
                continue
            try:
                good[event.event_id] = event, as_json(event)
            except UnstorableEventError as error:
                problem = error.problem
                written.rejected.append(Rejection(index, problem.field, problem.reason))
        if good:
            written.new = await self._write(write_parameters(good.values()))
        written.existing = len(records) - len(written.rejected) - written.new
        return written

    async def _write(self, parameters: list[list[Any]]) -> int:
        for attempt in range(_ATTEMPTS):
            try:
                async with self.database.acquire("events.write") as connection:
                    status: str = await connection.execute(WRITE, *parameters)
                return int(status.rpartition(" ")[2])
            except ConflictError:
                # another writer has just stored some of these ids: now we see them
                if attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def append(
        self, aggregate_id: UUID, events: Sequence[Event], *, expected_version: int
    ) -> list[Event]:
        """Append to one stream at its expected version, in one round trip.

        Asking again for an append that has succeeded answers what it stored the first time.
        """
        if expected_version < 0:
            raise UsageError(f"expected_version counts from 0, got {expected_version}")
        if any(event.aggregate_id != aggregate_id for event in events):
            raise UsageError(f"append to stream {aggregate_id} holds events of other aggregates")
        if not events:
            return []
        try:
            parameters = append_parameters(events)
        except UnstorableEventError as error:
            raise ValidationError([error.problem], operation="events.append") from None
        async with self.database.acquire("events.append") as connection:
            head = (aggregate_id, events[0].aggregate_type, len(events), expected_version)
            rows = await connection.fetch(APPEND, *head, *parameters)
            if not rows:
                return await self._already_appended(
                    connection, aggregate_id, events, expected_version
                )
        versions = range(expected_version + 1, expected_version + 1 + len(events))
        return [
            event.model_copy(update={"event_version": version, "position": row["position"]})
            for event, version, row in zip(events, versions, rows, strict=True)
        ]

    async def _already_appended(
        self,
        connection: Connection,
        aggregate_id: UUID,
        events: Sequence[Event],
        expected_version: int,
    ) -> list[Event]:
        """What stands after the expected version, if it is these events: an answer was lost."""
        rows = await connection.fetch(
            f"{SELECT} WHERE aggregate_id = $1 AND event_version > $2"
            " ORDER BY event_version LIMIT $3",
            aggregate_id,
            expected_version,
            len(events),
        )
        if [row["event_id"] for row in rows] == [event.event_id for event in events]:
            return [self.from_row(row) for row in rows]
        actual = await connection.fetchval(
            "SELECT current_version FROM aggregates WHERE aggregate_id = $1", aggregate_id
        )
        raise ConflictError(
            f"stream {aggregate_id} is at version {actual or 0}, not {expected_version}",
            store=self.database.store,
            operation="events.append",
        )

    async def stream(self, aggregate_id: UUID, *, after_version: int = 0) -> AsyncIterator[Event]:
        """One stream in version order, read in pages."""
        async for row in read_stream(self.database, aggregate_id, after_version=after_version):
            yield self.from_row(row)

    async def all(self, *, after_position: int = 0) -> AsyncIterator[Event]:
        """Every event up to the horizon of the moment of the call, read in pages."""
        async for row in read_all(self.database, after_position=after_position):
            yield self.from_row(row)


def _is_a_port(streams: EventStreams) -> Events:
    return streams
