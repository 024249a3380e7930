"""The records of callers who share a statement: whose row is whose, and what each is told."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import asyncpg

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.merge_spec import Merge, Refusal, Row

_LOST = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class WriteCall:
    """One caller's records."""

    __slots__ = ("group", "keys", "records", "rows", "scope", "spec", "weight")

    def __init__(self, spec: Merge[Any], scope: Scope, records: Sequence[Any]):
        self.spec = spec
        self.scope = scope if spec.audited else scope.anonymous
        self.records = records
        self.group: Hashable = (spec.name, self.scope)
        self.weight = sum(map(spec.weigh, records))
        self.keys: list[str] = [record.key for record in records]
        self.rows: list[Row | Refusal] = []

    def is_plain(self) -> bool:
        """Whether no key is in it twice."""
        return len(self.keys) == 1 or len(set(self.keys)) == len(self.keys)

    def prepare(self) -> None:
        """Make the rows, so that a record that cannot be one is its own caller's trouble."""
        self.rows = [self.spec.prepared(record) for record in self.records]

    def answer(self, outcomes: Sequence[str | Refusal]) -> Written:
        """What to tell the caller."""
        written = Written()
        for place, outcome in enumerate(outcomes):
            if outcome == "new":
                written.new += 1
            elif outcome == "existing":
                written.existing += 1
            elif outcome == "replaced":
                written.replaced += 1
            else:
                why = self.spec.refusal(outcome) if isinstance(outcome, str) else outcome
                written.rejected.append(Rejection(place, why.field, why.reason))
        return written


class Batch:
    """Calls that can share a statement, and those that have to come `later`.

    A key is in a statement once. Callers with the same record share its row, and the first of
    them stored it; who brings another record under that key has to wait.
    """

    def __init__(self, calls: Sequence[WriteCall]):
        self.calls: list[WriteCall] = []
        self.later: list[WriteCall] = []
        self._rows: list[Row | Refusal] = []
        self._records: list[Any] = []
        self._places: dict[str, int] = {}
        self._shares: list[list[tuple[int, bool]]] = []
        self._outcomes: list[str | Refusal] = []
        for call in calls:
            if self._places.keys().isdisjoint(call.keys) or self._agrees(call):
                self._add(call)
            else:
                self.later.append(call)

    def _agrees(self, call: WriteCall) -> bool:
        return all(
            key not in self._places or self._records[self._places[key]] == record
            for key, record in zip(call.keys, call.records, strict=True)
        )

    def _add(self, call: WriteCall) -> None:
        share = []
        for key, record, row in zip(call.keys, call.records, call.rows, strict=True):
            place = self._places.get(key)
            share.append((len(self._rows) if place is None else place, place is None))
            if place is None:
                self._places[key] = len(self._rows)
                self._rows.append(row)
                self._records.append(record)
        self.calls.append(call)
        self._shares.append(share)

    async def execute(self, database: Database, connection: Connection) -> None:
        """Run the statement; raises the driver's error, with nothing stored."""
        self._outcomes = [row if isinstance(row, Refusal) else "unseen" for row in self._rows]
        for _ in range(2):  # what is unseen was committed after our snapshot: look again
            open_places = [n for n, outcome in enumerate(self._outcomes) if outcome == "unseen"]
            if not open_places:
                return
            columns = list(zip(*[self._rows[n] for n in open_places], strict=True))
            for number, outcome in await self._fetch(database, connection, columns):
                self._outcomes[open_places[number - 1]] = outcome

    async def _fetch(
        self, database: Database, connection: Connection, columns: Sequence[Sequence[Any]]
    ) -> Sequence[asyncpg.Record]:
        call = self.calls[0]

        async def attempt() -> Sequence[asyncpg.Record]:
            try:
                return await call.spec.inline.fetch(connection, call.scope, columns)
            except _LOST as error:
                raise translated_for(database, call, error) from error

        return await database.retrying(attempt)

    def answers(self) -> dict[WriteCall, Written]:
        """What to tell each caller: for all but the first of a record it was there already."""
        outcomes = self._outcomes
        return {
            call: call.answer(
                [
                    outcomes[place] if is_first else _second(outcomes[place])
                    for place, is_first in share
                ]
            )
            for call, share in zip(self.calls, self._shares, strict=True)
        }


def translated_for(database: Database, call: WriteCall, error: Exception) -> PolystoreError:
    """The error of a statement that this call was in."""
    return database.failure(error, f"{call.spec.name}.write")


def _second(outcome: str | Refusal) -> str | Refusal:
    return "existing" if outcome in ("new", "replaced") else outcome
