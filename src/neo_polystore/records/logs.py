"""Log lines, searchable by word."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from neo_polystore.records.base import Record, Text, Text50, Text255, Utc

Level = Annotated[Text, StringConstraints(min_length=1, max_length=20, to_upper=True)]


class LogEntry(Record):
    """`message` is the line as it was written, `timestamp` the time it states of itself.

    Where a line states no time, `timestamp` is the time it was taken in. `id` is the caller's:
    equal lines with different ids are lines of their own.
    """

    data_type: ClassVar[str] = "logs"
    time_field: ClassVar[str | None] = "timestamp"
    text_field: ClassVar[str | None] = "message"

    id: Text255
    timestamp: Utc
    system: Text255
    level: Level | None = None
    message: Text
    host: Text255 | None = None
    trace_id: Text50 | None = None
    fields: dict[str, str] = {}

    @property
    def key(self) -> str:
        """The given id."""
        return self.id
