"""The retention of metrics: the engine's own, each resolution by its period."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from neo_polystore.errors import UnavailableError, UnsupportedError
from neo_polystore.ports.retention import Ages, Automatic, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.stores.timescale.upkeep import TimescaleUpkeep


class MetricAges:
    """See `ports.retention`; `before` plays no part. Points go by chunks or daily partitions.

    TimescaleDB's policies delete without asking: they rest while anything is held.
    """

    mechanism = "drops chunks or daily partitions, and rollups, each by the period of its own"
    holds_by: frozenset[HoldBy] = frozenset({"data_type"})
    archivable = False
    own_periods = True

    def __init__(self, upkeep: TimescaleUpkeep):
        self._upkeep = upkeep

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """What the next run drops."""
        found = (await self._upkeep.retain(dry_run=True)).dropped
        rows = sum(part.rows for part in found)
        oldest = min((part.since for part in found if part.since), default=None)
        levels = {part.level: 0 for part in found}
        for part in found:
            levels[part.level] += part.rows
        detail = ", ".join(f"{level} {count:,}" for level, count in levels.items())
        return (
            Past(0, rows, oldest, None, detail)
            if held.queries
            else Past(rows, 0, oldest, None, detail)
        )

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """Everything that is past its period, once."""
        if after or held.queries:
            return None
        rows = (await self.past(before, held)).rows
        return Portion("what is past its period", rows, "all") if rows else None

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """Not offered: what points were aggregated to stays longer."""
        raise UnsupportedError("metrics are not archived: their rollups are kept longer")
        yield []  # an asynchronous generator

    async def drop(self, portion: Portion, held: Held) -> int:
        """Aggregate what is not in the rollups yet, then drop."""
        if held.queries:
            return 0
        done = await self._upkeep.retain()
        if done.busy:
            raise UnavailableError("others hold the table: the rest goes with the next run")
        return sum(part.rows for part in done.dropped)

    async def hold(self, *, held: bool) -> None:
        """Have TimescaleDB's retention rest, or run again."""
        await self._upkeep.rest(resting=held)


_: type[Ages] = MetricAges
__: type[Automatic] = MetricAges
