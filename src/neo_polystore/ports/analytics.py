"""Analytics: facts in, aggregates out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.analytics import Fact
from neo_polystore.records.query import Query


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One group of facts. `bucket` is the start of its step, None where no step was asked for."""

    group: tuple[str, ...]
    bucket: datetime | None
    count: int
    sum: Decimal
    subjects: int


class Analytics(Records[Fact], Protocol):
    """Facts by id; immutable."""

    async def aggregate(
        self, query: Query, *, by: tuple[str, ...] = (), step: timedelta | None = None
    ) -> list[Aggregate]:
        """Count, exact sum and number of distinct subjects per group, ordered by bucket and group.

        `by` names fields, or dimensions as `dimensions.<name>` (an absent one groups as "").
        """
