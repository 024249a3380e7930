"""The retention of facts: a month of them at a time, by a mutation that spares what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.stores.clickhouse.client import Client
from neo_polystore.stores.clickhouse.columns import SELECT_FACT, from_row
from neo_polystore.stores.clickhouse.query import Statement

_PAGE: Final = 10_000
_MARGIN: Final = timedelta(seconds=5)
"""How far this server's clock may be from that of the store of holds."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    before: datetime
    held: Held


class ClickHouseAges:
    """See `ports.retention`; age counts from `recorded_at`, when a fact was stored.

    A mutation goes on when its client is gone, so it says itself until when it may delete.
    """

    mechanism = "deletes facts by mutation, a month of them at a time, by arrival"
    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, client: Client):
        self._client = client

    async def guarded(self) -> bool:
        """False: the holds are elsewhere."""
        return False

    async def past(self, before: datetime, held: Held) -> Past:
        """One pass over what is old."""
        statement = Statement()
        kept, old = _kept(statement, held), _old(statement, before)
        sql = f"SELECT countIf(NOT ({kept})), countIf({kept}), min(recorded_at) FROM facts FINAL"
        [[rows, left, oldest]] = await self._ask("past", f"{sql} WHERE {old}", statement)
        return Past(rows, left, oldest.replace(tzinfo=UTC) if rows or left else None)

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The next month, after `after`, of which something may go."""
        statement = Statement()
        where = f"{_old(statement, before)} AND NOT ({_kept(statement, held)})"
        rows = await self._ask(
            "portion",
            "SELECT _partition_id, count(), min(timestamp), max(timestamp) FROM facts FINAL"
            f" WHERE {where} AND _partition_id > {statement.bind(after)}"
            " GROUP BY _partition_id ORDER BY _partition_id LIMIT 1",
            statement,
        )
        if not rows:
            return None
        [[name, count, since, until]] = rows
        times = (since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))
        return Portion(name, count, name, *times, _Chosen(before, held))

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """Facts in the order of their ids."""
        last: Any = None
        while True:
            statement = Statement()
            where = _going(statement, portion, portion.token.held)
            if last is not None:
                where += f" AND toUInt128(id) > toUInt128({statement.bind(str(last), '{?:UUID}')})"
            rows = await self._ask(
                "read",
                f"SELECT {SELECT_FACT} FROM facts FINAL WHERE {where}"
                f" ORDER BY toUInt128(id) LIMIT {_PAGE}",
                statement,
            )
            facts = [from_row(tuple(row)) for row in rows]
            if facts:
                yield facts
            if len(facts) < _PAGE:
                return
            last = facts[-1].id

    async def drop(self, portion: Portion, held: Held) -> int:
        """One mutation in the month's partition, waited for."""
        before = await self._count(portion, held)
        statement = Statement()
        where = _going(statement, portion, held)
        if held.deadline is not None:
            ends = int((held.deadline - _MARGIN).timestamp())
            where += f" AND now() < fromUnixTimestamp({statement.bind(ends, '{?:Int64}')})"
        partition = int(
            portion.name
        )  # the name is the server's own: digits, which DDL takes as such
        sql = f"ALTER TABLE facts DELETE IN PARTITION {partition} WHERE {where}"
        parameters = dict(statement.parameters)
        await self._client.run(
            "analytics.retention.drop",
            lambda driver: driver.command(
                sql, parameters=parameters, settings={"mutations_sync": 2}
            ),
        )
        return before - await self._count(portion, held)

    async def _count(self, portion: Portion, held: Held) -> int:
        statement = Statement()
        where = _going(statement, portion, held)
        rows = await self._ask("count", f"SELECT count() FROM facts FINAL WHERE {where}", statement)
        return int(rows[0][0])

    async def _ask(self, operation: str, sql: str, statement: Statement) -> Sequence[Sequence[Any]]:
        name = f"analytics.retention.{operation}"
        return await self._client.rows(name, sql, statement.parameters)


def _old(statement: Statement, before: datetime) -> str:
    seconds = statement.bind(int(before.timestamp()), "{?:Int64}")
    return f"recorded_at < fromUnixTimestamp({seconds})"


def _kept(statement: Statement, held: Held) -> str:
    parts = (statement.where(query).removeprefix("WHERE ") or "true" for query in held.queries)
    return " OR ".join(f"({part})" for part in parts) or "false"


def _going(statement: Statement, portion: Portion, held: Held) -> str:
    """What of a portion goes."""
    chosen: _Chosen = portion.token
    name = statement.bind(portion.name)
    old, kept = _old(statement, chosen.before), _kept(statement, held)
    return f"_partition_id = {name} AND {old} AND NOT ({kept})"


_: type[Ages] = ClickHouseAges
