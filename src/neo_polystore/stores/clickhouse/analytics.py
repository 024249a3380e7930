"""The port `analytics`: facts in, facts and aggregates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from clickhouse_connect.driver.client import Client as Driver

from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import NotFoundError, UnavailableError
from neo_polystore.ports.analytics import Aggregate
from neo_polystore.records.analytics import Fact
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.query import Filter, Query, encode_cursor, jsonable
from neo_polystore.records.results import Page, Rejection, Written
from neo_polystore.records.scope import Scope
from neo_polystore.records.times import micros
from neo_polystore.stores.clickhouse.aggregates import aggregate_sql, to_aggregate
from neo_polystore.stores.clickhouse.client import Client
from neo_polystore.stores.clickhouse.columns import (
    COLUMNS,
    EARLIEST,
    LATEST,
    NAMES,
    from_row,
    number,
    to_row,
)
from neo_polystore.stores.clickhouse.errors import STORE
from neo_polystore.stores.clickhouse.query import count_sql, distinct_sql, page_sql, sum_sql

if TYPE_CHECKING:
    from neo_polystore.ports.analytics import Analytics

Batch = Mapping[UUID, Fact]

_GATHERED = 20_000  # facts of waiting calls that share an insert
_IDS_PER_FIELD = 3_000  # a field of a form may have 128 KiB, an id takes 40 bytes
_INSERT_SETTINGS = {"max_partitions_per_insert_block": 0}  # a batch may span any number of months


class ClickHouseAnalytics:
    """Facts in one table; see `ports.analytics`.

    Ids are looked up before the insert of the same call. Calls of one process take turns, and
    those that wait share the next insert. Two processes that bring the same fact at the same
    moment may both insert it and count it as new; every read collapses the two rows. (Two facts
    that share an id and differ in type or time are not collapsed; with an id that is made where
    the fact is made they do not arise.)

    A batch is one insert with one part per month: after a crash in the middle some months may be
    stored, and the repeated call adds the others. Times from 1900 to 2299 can be held, others are
    rejected.
    """

    def __init__(self, client: Client):
        self._client = client
        self._inserts: Coalescer[Batch, int] | None = None

    def start(self) -> None:
        """Take writes."""
        # one lane: two inserts at once could bring the same fact
        self._inserts = Coalescer(self._insert, lanes=1, max_weight=_GATHERED, weigh=len)

    async def stop(self) -> None:
        """Finish the writes that were accepted and take no more."""
        inserts, self._inserts = self._inserts, None
        if inserts is not None:
            await inserts.close()

    @property
    def counts(self) -> dict[str, Counts]:
        """What was gathered since `start`."""
        return {"writes": self._inserts.counts} if self._inserts is not None else {}

    @property
    def record(self) -> type[Fact]:
        """The record model."""
        return Fact

    def within(self, scope: Scope) -> Self:
        """No tenant owns facts: the same port."""
        return self

    async def write(self, records: Sequence[Fact]) -> Written:
        """Store facts, each once by its id; see `ports.records`."""
        if self._inserts is None:
            raise UnavailableError("not connected", store=STORE, operation="analytics.write")
        good = [fact for fact in records if EARLIEST <= fact.timestamp <= LATEST]
        facts, written = last_by_key(good)
        if len(good) < len(records):
            written.rejected = [
                Rejection(index, "timestamp", f"expected years 1900 to 2299, got {fact.timestamp}")
                for index, fact in enumerate(records)
                if not EARLIEST <= fact.timestamp <= LATEST
            ]
        if facts:
            written.new = await self._inserts.call({fact.id: fact for fact in facts.values()})
            written.existing += len(facts) - written.new
        return written

    async def _insert(self, batches: list[Batch]) -> list[int]:
        return await self._client.run(
            "analytics.write", lambda driver: _insert_new(driver, batches)
        )

    async def get(self, key: str) -> Fact:
        """The fact with this id; raises NotFoundError."""
        for fact_id in ids_of([key]):
            page = await self.find(Query(filters=(Filter("id", "eq", fact_id),), limit=1))
            if page.records:
                return page.records[0]
        raise NotFoundError(f"no analytics record with key {key!r}", store=STORE)

    async def find(self, query: Query) -> Page[Fact]:
        """One page; see `ports.records`."""
        sql, parameters, fields = page_sql(query)
        rows = await self._client.rows("analytics.find", sql, parameters)
        facts = [from_row(tuple(row)) for row in rows[: query.limit]]
        if len(rows) <= query.limit:
            return Page(facts)
        last = facts[-1]
        position = [
            micros(last.timestamp) if name == "timestamp" else jsonable(getattr(last, name))
            for name in fields
        ]
        return Page(facts, encode_cursor(position))

    async def count(self, query: Query) -> int:
        """How many facts satisfy the conditions."""
        rows = await self._client.rows("analytics.count", *count_sql(query))
        return int(rows[0][0])

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """The exact sum of `value`."""
        rows = await self._client.rows("analytics.sum", *sum_sql(query, field))
        return number(rows[0][0])

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        rows = await self._client.rows("analytics.distinct", *distinct_sql(query, field))
        column = COLUMNS.get(field)
        return [column.read(row[0]) if column else row[0] for row in rows]

    async def aggregate(
        self, query: Query, *, by: tuple[str, ...] = (), step: timedelta | None = None
    ) -> list[Aggregate]:
        """One entry per group and step; see `ports.analytics`."""
        sql, parameters = aggregate_sql(query, by, step)
        rows = await self._client.rows("analytics.aggregate", sql, parameters)
        return [to_aggregate(tuple(row), stepped=step is not None) for row in rows]


def _insert_new(driver: Driver, batches: list[Batch]) -> list[int]:
    """Insert, at once, the facts whose ids are not stored; answers how many of each batch."""
    known = stored_ids(driver, list({key for batch in batches for key in batch}))
    rows: list[tuple[Any, ...]] = []
    counts = []
    for batch in batches:
        new = [to_row(fact) for key, fact in batch.items() if key not in known]
        known |= batch.keys()
        rows += new
        counts.append(len(new))
    if rows:
        driver.insert("facts", rows, column_names=NAMES, settings=_INSERT_SETTINGS)
    return counts


def ids_of(keys: Sequence[str]) -> list[UUID]:
    """The ids that are written like these keys; what cannot be a key is left out."""
    ids = []
    for key in keys:
        try:
            parsed = UUID(key)
        except ValueError:
            continue
        if str(parsed) == key:  # UUID() reads other spellings too, which are no keys
            ids.append(parsed)
    return ids


def stored_ids(driver: Driver, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the ids that the table holds; blocks."""
    parts = [ids[start : start + _IDS_PER_FIELD] for start in range(0, len(ids), _IDS_PER_FIELD)]
    condition = " OR ".join(f"id IN {{ids{i}:Array(UUID)}}" for i in range(len(parts)))
    parameters = {f"ids{i}": list(part) for i, part in enumerate(parts)}
    result = driver.query(f"SELECT id FROM facts WHERE {condition}", parameters=parameters)
    return {row[0] for row in result.result_rows}


if TYPE_CHECKING:
    _: type[Analytics] = ClickHouseAnalytics
