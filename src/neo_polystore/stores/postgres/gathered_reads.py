"""One statement for all who want a record of one data type by its key."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import asyncpg

from neo_polystore.pgkit.arrays import ArrayStatement
from neo_polystore.pgkit.database import Connection
from neo_polystore.pgkit.select import Selection
from neo_polystore.records.scope import Scope

_PLACEHOLDER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, eq=False)
class Lookup:
    """How records are found by their identity.

    `found` is the FROM and WHERE for one, with placeholders; `types` their SQL types in order.
    """

    selection: Selection
    found: str
    types: tuple[str, ...]

    @property
    def name(self) -> str:
        """The data type."""
        return self.selection.record.data_type

    @cached_property
    def statement(self) -> ArrayStatement:
        """The statement for many: `place` in the array, then the selection's columns."""
        found = _PLACEHOLDER.sub(r"i.key\1", self.found)
        columns = {f"key{number}": kind for number, kind in enumerate(self.types, 1)}
        # an amount is read as text, which becomes an int in a third of a Decimal's time
        selected = ", ".join(
            f'({column.sql})::text AS "{name}"' if column.type == "numeric" else column.sql
            for name, column in self.selection.columns.items()
        )
        # OFFSET 0 keeps the planner from joining whole tables where it expects many keys
        return ArrayStatement(
            "SELECT i.place, r.* FROM {incoming}"
            f" CROSS JOIN LATERAL (SELECT {selected} {found} OFFSET 0) r",
            columns,
            place="place",
            width=1 + len(self.selection.columns),
        )


class Wanted:
    """One caller's wish."""

    __slots__ = ("group", "identity", "lookup", "scope")

    def __init__(self, lookup: Lookup, scope: Scope, identity: tuple[Any, ...]):
        self.lookup = lookup
        self.scope = scope.anonymous
        self.identity = identity
        self.group: Hashable = (lookup, self.scope)


async def answer_reads(
    connection: Connection, wanted: Sequence[Wanted]
) -> list[asyncpg.Record | None]:
    """The row for each wish, None where there is none. A key that several want is read once."""
    first = wanted[0]
    identities = list(dict.fromkeys([wish.identity for wish in wanted]))
    columns = list(zip(*identities, strict=True))
    rows = await first.lookup.statement.fetch(connection, first.scope, columns)
    found = {identities[row[0] - 1]: row for row in rows}
    return [found.get(wish.identity) for wish in wanted]
