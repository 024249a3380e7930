"""Analytics facts: something that happened, a number, and the dimensions to group it by."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text100, Text255, Utc


class Fact(Record):
    """`value` is exact: up to 38 digits, 18 of them after the point."""

    data_type: ClassVar[str] = "analytics"
    time_field: ClassVar[str | None] = "timestamp"

    id: UUID = Field(default_factory=uuid7)
    timestamp: Utc
    fact_type: Text100
    subject: Text255
    value: Annotated[Decimal, Field(max_digits=38, decimal_places=18)] = Decimal(0)
    dimensions: dict[str, str] = {}

    @property
    def key(self) -> str:
        """The fact's id."""
        return str(self.id)
