"""The retention of transactions: a whole year of storing at once, with its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from neo_polystore.errors import ConflictError, UnavailableError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.holding import in_deletion
from neo_polystore.pgkit.select import Statement
from neo_polystore.ports.retention import EVERYTHING, Ages, Held, HoldBy, Past, Portion
from neo_polystore.records.base import Record
from neo_polystore.stores.postgres.pruning import PATIENCE
from neo_polystore.stores.postgres.transaction_years import drop_year
from neo_polystore.stores.postgres.transactions import PgTransactions

_PAGE: Final = 5_000

_LEFT: Final = """
SELECT substring(relname FROM 14)::int AS year FROM pg_class
WHERE relnamespace = 'blockchain'::regnamespace AND relname ~ '^transactions_[0-9]{4}$'
    AND NOT relispartition AND substring(relname FROM 14)::int < $1 ORDER BY 1
"""
_PARTITION: Final = (
    "EXISTS (SELECT FROM pg_class WHERE relnamespace = 'blockchain'::regnamespace"
    " AND relispartition AND relname = 'transactions_' || year)"
)


@dataclass(frozen=True, slots=True)
class _Year:
    """A year as it was looked at; `changed` is when one of its rows last was."""

    year: int
    rows: int
    changed: datetime | None


class TransactionAges:
    """See `ports.retention`; age counts from the end of the year of storing.

    Of a year of which anything is held everything stays. What a crash has left of a year that
    was dropped is dropped with the next run, whatever is held by then: it was gone before.
    """

    mechanism = "drops partitions of whole years, by the time of storing, with their keys"
    holds_by: frozenset[HoldBy] = EVERYTHING
    archivable = True
    own_periods = False

    def __init__(self, database: Database, background: Database):
        self._database = database
        self._background = background
        self._port = PgTransactions(database)

    async def guarded(self) -> bool:
        """True: the holds are in this database."""
        return True

    async def past(self, before: datetime, held: Held) -> Past:
        """Count the years that are past; reads all of them."""
        years = await self._years(before, held)
        going = [year for year in years if not year["held"]]
        staying = [year for year in years if year["held"]]
        detail = ", ".join(f"{year['held']:,} held of {year['year']}" for year in staying)
        return Past(
            sum(year["rows"] for year in going),
            sum(year["rows"] for year in staying),
            min((year["oldest"] for year in years), default=None),
            detail=f"whole years stay: {detail}" if detail else "",
        )

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """The next year of which nothing is held; first what a crash has left of one."""
        async with self._database.acquire("transactions.retention") as connection:
            left = await connection.fetch(_LEFT, _first_kept(before).year)
        for row in left:
            if (name := f"{row['year']} (left)") > after:
                return Portion(name, 0, name, token=_Year(row["year"], 0, None))
        for row in await self._years(before, held):
            name = f"y{row['year']}"
            if name > after and not row["held"]:
                seen = _Year(row["year"], row["rows"], row["changed"])
                since, until = _bounds(seen.year)
                return Portion(str(seen.year), seen.rows, name, since, until, seen)
        return None

    async def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """A year's transactions in the order of their ids."""
        selection, last = self._port.selection, None
        while True:
            async with self._database.acquire("transactions.retention") as connection:
                rows = await connection.fetch(
                    f"SELECT {selection.selected()}, t.id AS row_id FROM {selection.source}"
                    " WHERE t.created_at >= $1 AND t.created_at < $2"
                    f" AND ($3::uuid IS NULL OR t.id > $3) ORDER BY t.id LIMIT {_PAGE}",
                    portion.since,
                    portion.until,
                    last,
                    timeout=PATIENCE,
                )
            if rows:
                yield [self._port.from_row(row) for row in rows]
            if len(rows) < _PAGE:
                return
            last = rows[-1]["row_id"]

    async def drop(self, portion: Portion, held: Held) -> int:
        """Detach the year in the transaction that asks for holds, then drop what it held.

        Raises ConflictError where one of its transactions has changed since it was looked at.
        """
        seen: _Year = portion.token
        await self._background.connect()
        if seen.rows:
            await self._detach(seen, held)
        await drop_year(self._background, seen.year)
        return seen.rows

    async def _detach(self, seen: _Year, held: Held) -> None:
        async with in_deletion(self._background, "transactions", held) as connection:
            await connection.execute("SELECT retention.lock_transaction_year($1)", seen.year)
            sql, arguments = self._counting(held, *_bounds(seen.year))
            rows = await connection.fetch(sql, *arguments, timeout=PATIENCE)
            if [(row["rows"], row["changed"], row["held"]) for row in rows] != [
                (seen.rows, seen.changed, 0)
            ]:
                raise ConflictError(
                    f"transactions of {seen.year} have changed meanwhile: the next run will do",
                    store=self._database.store,
                    operation="transactions.retention",
                )
            state = await connection.fetchval(
                "SELECT blockchain.detach_transaction_year($1)", seen.year
            )
            if state == "busy":
                raise UnavailableError(
                    "somebody holds blockchain.transactions for too long: the next run will do",
                    store=self._database.store,
                    operation="transactions.retention",
                )

    async def _years(self, before: datetime, held: Held) -> list[Any]:
        sql, arguments = self._counting(held, datetime(1970, 1, 1, tzinfo=UTC), _first_kept(before))
        async with self._database.acquire("transactions.retention") as connection:
            return await connection.fetch(
                f"SELECT * FROM ({sql}) AS years WHERE {_PARTITION} ORDER BY year",
                *arguments,
                timeout=PATIENCE,
            )

    def _counting(self, held: Held, since: datetime, until: datetime) -> tuple[str, list[Any]]:
        """A row per year of storing in [since, until), in UTC."""
        selection = self._port.selection
        statement = Statement(selection, [since, until])
        kept = statement.any_of(held.queries)
        sql = (
            "SELECT extract(year FROM t.created_at AT TIME ZONE 'UTC')::int AS year,"
            " count(*) AS rows, min(t.created_at) AS oldest, max(t.updated_at) AS changed,"
            f" count(*) FILTER (WHERE {kept}) AS held FROM {selection.source}"
            " WHERE t.created_at >= $1 AND t.created_at < $2 GROUP BY 1"
        )
        return sql, statement.arguments


def _first_kept(before: datetime) -> datetime:
    return datetime(before.astimezone(UTC).year, 1, 1, tzinfo=UTC)


def _bounds(year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


_: type[Ages] = TransactionAges
