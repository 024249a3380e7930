"""How records of one type are stored: the statement, the rows, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import asyncpg

from neo_polystore.pgkit.arrays import ArrayStatement
from neo_polystore.pgkit.complaints import about, complaint
from neo_polystore.records.base import Record

R = TypeVar("R", bound=Record)
Row = tuple[Any, ...]


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

    `sql` reads the relation `{incoming}` (called i), which has `index` and `columns` (name -> SQL
    type) as `row` fills them, and answers (index, outcome) for each: `new`, `existing`,
    `replaced`, a name in `refusals`, or `unseen` where a row that this snapshot does not show was
    in the way.
    `audited`: the log of changed rows says whose they are, so users do not share a statement.
    `constraints` says what a violated constraint means. `weigh` is 1 for an ordinary record,
    more for one that is large. `row` may raise RefusedError.
    """

    name: str
    columns: Mapping[str, str]
    sql: str
    row: Callable[[R], Row]
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    constraints: Mapping[str, Refusal] = field(default_factory=dict)
    weigh: Callable[[R], int] = lambda record: 1
    audited: bool = True

    @cached_property
    def inline(self) -> ArrayStatement:
        """The statement over arrays; its indexes count from 1."""
        return ArrayStatement(self.sql, self.columns, place="index", width=2)

    def prepared(self, record: R) -> Row | Refusal:
        """The row of a record, or why no column can hold it."""
        try:
            return self.row(record)
        except RefusedError as error:
            return error.refusal

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

    def blamed(self, error: asyncpg.PostgresError, record: R) -> Refusal:
        """The meaning of the server's complaint about this record."""
        name = getattr(error, "constraint_name", None)
        if name is not None and name in self.constraints:
            return self.constraints[name]
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            return Refusal("record", "the key is taken")
        problem = about(complaint(error), dict(record), self.columns)
        return Refusal(problem.field, problem.reason)
