"""Statements over arrays: many rows, on anybody's behalf, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import asyncpg

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.scope import NOBODY, Scope

# CASE, because a condition of AND may be evaluated in any order; a NULL would unset the scope.
_SET_SCOPE = """
CASE WHEN $1::text IS NULL THEN false ELSE
    set_config('app.current_tenant', $1, true) IS NOT NULL
    AND set_config('app.current_service', $2::text, true) IS NOT NULL
    AND set_config('app.current_user', $3::text, true) IS NOT NULL
END
"""


@dataclass(frozen=True)
class ArrayStatement:
    """A statement that reads the relation `{incoming}`, which is made from arrays.

    `columns` are that relation's (name -> SQL type); a further one, `place`, numbers its rows
    from 1. The statement answers `width` columns, the first of them the place, and no ORDER BY
    ends it.
    """

    sql: str
    columns: Mapping[str, str]
    place: str
    width: int

    async def fetch(
        self, connection: Connection, scope: Scope, values: Sequence[Sequence[Any]]
    ) -> list[asyncpg.Record]:
        """The rows for these columns of values, on behalf of `scope`: one round trip.

        The statement is its own transaction. The scope has to be set within that, and before
        the statement looks at any table. So the statement is executed twice, sent together as
        one transaction: over nothing, setting the scope, and then over the values.
        """
        if scope == NOBODY:
            if len(values[0]) == 1:
                return await connection.fetch(self.single, *[column[0] for column in values])
            return await connection.fetch(self.plain, *values)
        nothing: list[list[Any]] = [[] for _ in values]
        rows: list[asyncpg.Record] = await connection.fetchmany(
            self.scoped,
            [
                (str(scope.tenant or ""), scope.service or "", scope.user or "", *nothing),
                (None, None, None, *values),
            ],
        )
        return rows[1:]  # the first says that the scope is set

    @cached_property
    def plain(self) -> str:
        """The statement with one parameter per column; whoever runs it has set the scope."""
        return self.sql.replace("{incoming}", self._incoming(first=1))

    @cached_property
    def single(self) -> str:
        """The statement over one row of plain parameters: a quarter less work for the server."""
        values = ", ".join(
            f"${place}::{kind} AS {name}"
            for place, (name, kind) in enumerate(self.columns.items(), 1)
        )
        return self.sql.replace("{incoming}", f"(SELECT {values}, 1 AS {self.place}) AS i")

    @cached_property
    def scoped(self) -> str:
        """The statement with tenant, service and user as its first parameters."""
        nothing = ", NULL" * (self.width - 1)
        body = self.sql.replace("{incoming}", self._incoming(first=4))
        return f"{body} UNION ALL SELECT 0{nothing} WHERE {_SET_SCOPE}"

    def _incoming(self, *, first: int) -> str:
        arrays = (f"${place}::{kind}[]" for place, kind in enumerate(self.columns.values(), first))
        names = ", ".join((*self.columns, self.place))
        return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS i ({names})"
