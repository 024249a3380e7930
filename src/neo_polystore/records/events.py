"""Domain events: immutable facts in the stream of one aggregate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field

from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text255, Utc


class Event(Record):
    """`event_version` counts from 1 within its aggregate; `position` orders the whole store.

    Both are assigned by the store: leave them out when appending. An event whose `event_id` is
    already stored is not appended again.
    """

    data_type: ClassVar[str] = "events"
    time_field: ClassVar[str | None] = "created_at"

    event_id: UUID = Field(default_factory=uuid7)
    aggregate_id: UUID
    aggregate_type: Text255
    event_type: Text255
    event_version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    event_data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    user_id: UUID | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    created_at: Utc = Field(default_factory=lambda: datetime.now(UTC))
    position: int | None = None

    @property
    def key(self) -> str:
        """The event id."""
        return str(self.event_id)
