"""Events: append-only streams with optimistic concurrency."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from neo_polystore.ports.records import Records
from neo_polystore.records.events import Event


class Events(Records[Event], Protocol):
    """Streams of events, one per aggregate; immutable.

    `write` appends each event at the end of its aggregate's stream, whatever its version, in
    the order given; an event id that is stored already counts as `existing`.
    """

    async def append(
        self, aggregate_id: UUID, events: Sequence[Event], *, expected_version: int
    ) -> list[Event]:
        """Append to one stream that has exactly `expected_version` events (0: a new stream).

        All or nothing. Answers the events with version and position. Raises ConflictError,
        naming the actual version, where somebody else has appended.
        """

    def stream(self, aggregate_id: UUID, *, after_version: int = 0) -> AsyncIterator[Event]:
        """The events of one aggregate in version order, after the given version."""

    def all(self, *, after_position: int = 0) -> AsyncIterator[Event]:
        """Every event in position order, up to the visibility horizon.

        A reader that remembers the last position it saw never skips an event that commits
        later, and sees each stream's versions in order.
        """
