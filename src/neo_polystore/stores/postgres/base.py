"""What the relational ports share: exact amounts, one lookup by key, writing by a Merge."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import asyncpg

from neo_polystore.errors import TenantRequiredError, UnsupportedError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.records.base import Record
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.results import Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.stores.postgres.gathered import Gathered
from neo_polystore.stores.postgres.gathered_reads import Lookup
from neo_polystore.stores.postgres.merge import Merge, merge

R = TypeVar("R", bound=Record)

TENANT = "NULLIF(current_setting('app.current_tenant', true), '')::uuid"
"""The tenant in force, in SQL; NULL where there is none."""


class PgRecords(SqlRecords[R]):
    """Base of the ports of this engine.

    `lookup` is the FROM and WHERE that find one record by `identify`'s arguments; `removal` the
    statement that deletes it (None: nothing is deleted). `mutable` says what `write` does with a
    stored record that differs: replace it, or keep it. A `tenant_owned` port refuses to write
    without a tenant before it touches anything; reading shows nothing then by itself.

    `gathers` names the SQL types of `identify`'s arguments; where it does, concurrent calls of
    `get` and small calls of `write` share statements (see `gathered`).
    """

    lookup: ClassVar[str]
    removal: ClassVar[str | None] = None
    gathers: ClassVar[tuple[str, ...]] = ()
    tenant_owned: ClassVar[bool] = False
    mutable: ClassVar[bool] = True
    merge: ClassVar[Merge[Any]]
    _by_key: ClassVar[Lookup]
    _amounts: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        """Prepare the lookup that all callers share; a base of several ports has none."""
        super().__init_subclass__()
        if not hasattr(cls, "selection"):
            return
        columns = cls.selection.columns.items()
        cls._amounts = tuple(name for name, column in columns if column.type == "numeric")
        if cls.gathers:
            cls._by_key = Lookup(cls.selection, cls.lookup, cls.gathers)

    def __init__(self, database: Database, scope: Scope = NOBODY, gathered: Gathered | None = None):
        super().__init__(database, scope)
        self._gathered = gathered if self.gathers else None

    def identify(self, key: str) -> tuple[Any, ...]:
        """The arguments of `lookup` and `removal`; NotFoundError where it cannot be a key."""
        raise NotImplementedError

    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """Not used here: `lookup` finds a record without the detour through a query."""
        raise NotImplementedError

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""
        arguments = self.identify(key)
        if self._gathered is not None:
            found = await self._gathered.read(self._by_key, self.scope, arguments)
            if found is None:
                raise self.missing(key)
            return self._exactly(dict(zip(self.selection.columns, found[1:], strict=True)))
        sql = f"SELECT {self.selection.selected()} {self.lookup}"
        rows = await self._fetch("get", sql, list(arguments))
        if not rows:
            raise self.missing(key)
        return self.from_row(rows[0])

    @property
    def row(self) -> str:
        """The alias of the table that a record is a row of: the first one of `source`."""
        return self.selection.source.split()[1]

    async def fetch(self, operation: str, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        """The rows of a statement that only reads, within the port's scope."""
        return await self._fetch(operation, sql, arguments)

    async def write(self, records: Sequence[R]) -> Written:
        """Store records, each exactly once by its key; see `ports.records`."""
        self.require_tenant("write")
        if self._gathered is not None:
            return await self._gathered.write(self.merge, self.scope, records)
        return await merge(self.database, self.scope, self.merge, records)

    async def delete(self, key: str) -> None:
        """Delete one record; raises NotFoundError, or UnsupportedError where none is deleted."""
        name = self.selection.record.data_type
        if self.removal is None:
            raise UnsupportedError(f"{name} are not deleted", store=self.database.store)
        self.require_tenant("delete")
        arguments = self.identify(key)
        async with self.database.statement(f"{name}.delete", self.scope) as connection:
            status = await connection.execute(self.removal, *arguments)
        if status.endswith(" 0"):
            raise self.missing(key)

    def require_tenant(self, verb: str) -> None:
        """Raise TenantRequiredError where this port needs a tenant and acts for none."""
        if self.tenant_owned and self.scope.tenant is None:
            name = self.selection.record.data_type
            raise TenantRequiredError(
                f"{name} belong to a tenant and this call has none",
                store=self.database.store,
                operation=f"{name}.{verb}",
            )

    def from_row(self, row: asyncpg.Record) -> R:
        """The record in one row; NUMERIC(78,0) comes back as an exact int."""
        return self._exactly({name: row[name] for name in self.selection.columns})

    def _exactly(self, values: dict[str, Any]) -> R:
        for name in self._amounts:
            value = values[name]
            if value is not None:
                values[name] = int(value)
        return self.record.trusted(values)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        return [exact(value) for value in await super().distinct(query, field)]


def exact(value: Any) -> Any:
    """A column's value as records have it: NUMERIC(78,0) as an int."""
    return int(value) if isinstance(value, Decimal) else value
