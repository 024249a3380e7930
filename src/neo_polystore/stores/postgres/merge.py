"""Writes a batch of records with one statement, of whatever size, and answers for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import asyncpg

from neo_polystore.errors import ConflictError, TenantRequiredError, ValidationError
from neo_polystore.pgkit.arrays import ArrayStatement
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.records.base import Record
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.scope import Scope

R = TypeVar("R", bound=Record)

INLINE = 1_000
"""Up to this weight a batch travels as arrays in the statement, above it by COPY.

Measured on transactions: the same speed at 1,000 records, COPY a fifth faster from 4,000.
"""

CHUNK = 20_000
"""A larger batch goes in several statements of one transaction, so that memory stays bounded."""

BAD_RECORD = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.InsufficientPrivilegeError,
)


@dataclass(frozen=True)
class Refusal:
    """Why a record was not stored: the field to blame and the reason in words."""

    field: str
    reason: str


class RefusedError(Exception):
    """Raised by `Merge.row` for a record that no column can hold."""

    def __init__(self, refusal: Refusal):
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True)
class Merge(Generic[R]):
    """How records of one type are stored.

    `sql` reads the relation `{incoming}` (called i), which has `index` and `columns` (name -> SQL type) as
    `row` fills them, and answers (index, outcome) for each: `new`, `existing`, `replaced`, a name
    in `refusals`, or `unseen` where a row that this snapshot does not show was in the way.
    `constraints` says what a violated constraint means. `weigh` is 1 for an ordinary record,
    more for one that is large. `row` may raise RefusedError.
    """

    name: str
    columns: Mapping[str, str]
    sql: str
    row: Callable[[R], tuple[Any, ...]]
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    constraints: Mapping[str, Refusal] = field(default_factory=dict)
    weigh: Callable[[R], int] = lambda record: 1

    @cached_property
    def inline(self) -> ArrayStatement:
        """The statement over arrays: the index first, then the columns."""
        return ArrayStatement(self.sql, {"index": "int", **self.columns}, width=2)

    @cached_property
    def staging(self) -> str:
        """The name of the temporary table that COPY fills."""
        return f"incoming_{self.name}"

    @cached_property
    def staged_sql(self) -> str:
        """The statement over the temporary table."""
        return self.sql.replace("{incoming}", f"pg_temp.{self.staging} AS i")

    @cached_property
    def staging_sql(self) -> str:
        """What makes the temporary table."""
        columns = ", ".join(f"{name} {sql_type}" for name, sql_type in self.columns.items())
        return f"CREATE TEMP TABLE {self.staging} (index int, {columns}) ON COMMIT DROP"

    def refusal(self, outcome: str) -> Refusal:
        """The meaning of an outcome that stored nothing."""
        return self.refusals.get(outcome) or Refusal("record", "the key is taken")

    def blamed(self, error: asyncpg.PostgresError) -> Refusal:
        """The meaning of the server's complaint about one record."""
        name = getattr(error, "constraint_name", None)
        if name is not None and name in self.constraints:
            return self.constraints[name]
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            return Refusal("record", "the key is taken")
        return Refusal(getattr(error, "column_name", None) or name or "record", str(error))


async def merge(database: Database, scope: Scope, spec: Merge[R], records: Sequence[R]) -> Written:
    """Store a batch as `ports.records.Records.write` says; all good records in one transaction.

    An ordinary batch is one statement, so a single record costs one round trip where no scope
    has to be set. Only when the server refuses it is it cut in halves, in one transaction, until
    the bad records stand alone.
    """
    written = Written()

    async def attempt() -> None:
        nonlocal written
        written = await _attempt(database, scope, spec, records)

    if records:
        await database.retrying(attempt)
    return written


async def _attempt(
    database: Database, scope: Scope, spec: Merge[R], records: Sequence[R]
) -> Written:
    work = _Work(spec, records)
    operation = f"{spec.name}.write"
    if work.is_plain():
        try:
            async with database.statement(operation, scope) as connection:
                return work.settle(await work.together(connection, work.standing()))
        except SerializationError:
            raise
        except (ConflictError, ValidationError, TenantRequiredError):
            pass  # which record it was is found out below
    async with database.transaction(operation, scope) as connection:
        while work.groups:
            outcomes: dict[int, str | Refusal] = {}
            for chunk in work.chunks():
                outcomes |= await work.apart(connection, chunk)
            work.settle(outcomes)
    return work.written


class _Work(Generic[R]):
    """One batch on its way: places in `records` by key, the newest last, and what came of them."""

    def __init__(self, spec: Merge[R], records: Sequence[R]):
        self.spec = spec
        self.records = records
        self.written = Written()
        self.groups: dict[str, list[int]] = {}
        for place, record in enumerate(records):
            self.groups.setdefault(record.key, []).append(place)

    def standing(self) -> list[int]:
        """The last place of every key that is not settled yet."""
        return [places[-1] for places in self.groups.values()]

    def weight(self, places: Iterable[int]) -> int:
        """How heavy these records are, in ordinary records."""
        return sum(self.spec.weigh(self.records[place]) for place in places)

    def is_plain(self) -> bool:
        """Whether one statement can hold the batch: no key twice, not too large."""
        return len(self.groups) == len(self.records) and self.weight(self.standing()) <= INLINE

    def chunks(self) -> Iterator[list[int]]:
        """The standing places in portions of bounded weight."""
        chunk: list[int] = []
        weight = 0
        for place in self.standing():
            chunk.append(place)
            weight += self.spec.weigh(self.records[place])
            if weight >= CHUNK:
                yield chunk
                chunk, weight = [], 0
        if chunk:
            yield chunk

    async def together(
        self, connection: Connection, places: Sequence[int]
    ) -> dict[int, str | Refusal]:
        """Store records by one statement; the outcome of each, or the driver's exception."""
        outcomes: dict[int, str | Refusal] = {}
        rows: dict[int, tuple[Any, ...]] = {}
        for place in places:
            try:
                rows[place] = (place, *self.spec.row(self.records[place]))
            except RefusedError as error:
                outcomes[place] = error.refusal
        outcomes |= await self._execute(connection, rows)
        unseen = {place: row for place, row in rows.items() if outcomes[place] == "unseen"}
        if unseen:  # committed by somebody after our snapshot, or not ours to see: look again
            outcomes |= await self._execute(connection, unseen)
        return outcomes

    async def _execute(
        self, connection: Connection, rows: Mapping[int, tuple[Any, ...]]
    ) -> dict[int, str]:
        if not rows:
            return {}
        if self.weight(rows) <= INLINE:
            columns = zip(*rows.values(), strict=True)
            answers = await connection.fetch(self.spec.inline.plain, *columns)
        else:
            await connection.execute(self.spec.staging_sql)
            try:
                await connection.copy_records_to_table(self.spec.staging, records=rows.values())
            except (OverflowError, TypeError, ValueError) as error:
                # a query's arguments fail as DataError, a COPY's with whatever was raised
                raise asyncpg.DataError(str(error)) from error
            answers = await connection.fetch(self.spec.staged_sql)
            await connection.execute(f"DROP TABLE pg_temp.{self.spec.staging}")
        return {answer["index"]: answer["outcome"] for answer in answers}

    async def apart(
        self, connection: Connection, places: Sequence[int]
    ) -> dict[int, str | Refusal]:
        """Store what can be stored, cutting in halves around what the server refuses."""
        try:
            async with connection.transaction():
                return await self.together(connection, places)
        except BAD_RECORD as error:
            if isinstance(error, asyncpg.InsufficientPrivilegeError) and (
                "row-level security" not in str(error)
            ):
                raise
            if len(places) == 1:
                return {places[0]: self.spec.blamed(error)}
        middle = len(places) // 2
        first = await self.apart(connection, places[:middle])
        return first | await self.apart(connection, places[middle:])

    def settle(self, outcomes: Mapping[int, str | Refusal]) -> Written:
        """Count outcomes; a key whose last record was refused stays open for the one before it."""
        for key, places in list(self.groups.items()):
            last = places.pop()
            outcome = outcomes[last]
            if outcome in ("new", "existing", "replaced"):
                self._count(str(outcome))
                for place in places:
                    same = self.records[place] == self.records[last]
                    self._count("existing" if same else "replaced")
                places.clear()
            else:
                why = self.spec.refusal(outcome) if isinstance(outcome, str) else outcome
                self.written.rejected.append(Rejection(last, why.field, why.reason))
            if not places:
                del self.groups[key]
        self.written.rejected.sort(key=lambda rejection: rejection.index)
        return self.written

    def _count(self, outcome: str) -> None:
        setattr(self.written, outcome, getattr(self.written, outcome) + 1)
