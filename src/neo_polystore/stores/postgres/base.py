"""What the relational ports share: exact amounts, one lookup by key, writing by a Merge."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import asyncpg

from neo_polystore.errors import TenantRequiredError, UnsupportedError
from neo_polystore.pgkit.records import SqlRecords
from neo_polystore.records.base import Record
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.results import Written
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
    """

    lookup: ClassVar[str]
    removal: ClassVar[str | None] = None
    tenant_owned: ClassVar[bool] = False
    mutable: ClassVar[bool] = True
    merge: ClassVar[Merge[Any]]

    def identify(self, key: str) -> tuple[Any, ...]:
        """The arguments of `lookup` and `removal`; NotFoundError where it cannot be a key."""
        raise NotImplementedError

    def key_filters(self, key: str) -> tuple[Filter, ...]:
        """Not used here: `lookup` finds a record without the detour through a query."""
        raise NotImplementedError

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""
        arguments = self.identify(key)
        sql = f"SELECT {self.selection.selected()} {self.lookup}"
        rows = await self._fetch("get", sql, list(arguments))
        if not rows:
            raise self.missing(key)
        return self.from_row(rows[0])

    async def write(self, records: Sequence[R]) -> Written:
        """Store records, each exactly once by its key; see `ports.records`."""
        self.require_tenant("write")
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
        values = {name: _exact(row[name]) for name in self.selection.columns}
        return self.record.model_validate(values)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        return [_exact(value) for value in await super().distinct(query, field)]


def _exact(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal) else value
