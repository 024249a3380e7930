"""One statement and one commit for the records of many callers, and for each his own answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import asyncpg

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import DRIVER_ERRORS, translate
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.merge import merge
from neo_polystore.stores.postgres.merge_send import BAD_RECORD, lacks_privilege
from neo_polystore.stores.postgres.merge_spec import Merge, Refusal, Row

_LOST = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

Answer = Written | BaseException


class WriteCall:
    """One caller's records."""

    __slots__ = ("group", "keys", "records", "rows", "scope", "spec", "weight")

    def __init__(self, spec: Merge[Any], scope: Scope, records: Sequence[Any]):
        self.spec = spec
        self.scope = scope
        self.records = records
        self.group: Hashable = (spec.name, scope)
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


async def answer_writes(
    database: Database, connection: Connection, calls: Sequence[WriteCall]
) -> list[Answer]:
    """Store the records of calls of one data type and scope; an answer or error for each call.

    As a rule that is one statement, which commits by itself. Where the server refuses it for
    one record's sake the calls are halved until that record's call stands alone.
    """
    answers: dict[WriteCall, Answer] = {}
    try:
        await _store(database, connection, calls, answers)
    except DRIVER_ERRORS as error:
        failure = _translated(database, calls[0], error)
        failure.__cause__ = error
        return [answers.get(call, failure) for call in calls]
    except PolystoreError as error:
        return [answers.get(call, error) for call in calls]
    return [answers[call] for call in calls]


async def _store(
    database: Database,
    connection: Connection,
    calls: Sequence[WriteCall],
    answers: dict[WriteCall, Answer],
) -> None:
    while calls:
        batch = _Batch(calls)
        try:
            await batch.execute(database, connection)
        except BAD_RECORD as error:
            if lacks_privilege(error):
                raise
            together = batch.calls
            if len(together) == 1:
                answers[together[0]] = await _alone(database, together[0], error)
            else:
                middle = len(together) // 2
                await _store(database, connection, together[:middle], answers)
                await _store(database, connection, together[middle:], answers)
        else:
            answers.update(batch.answers())
        calls = batch.later


async def _alone(database: Database, call: WriteCall, error: asyncpg.PostgresError) -> Answer:
    """The call that the server refused: which of its records was it?"""
    if len(call.records) == 1:
        why = call.spec.blamed(error, call.records[0])
        return Written(rejected=[Rejection(0, why.field, why.reason)])
    try:
        return await merge(database, call.scope, call.spec, call.records)
    except PolystoreError as failure:
        return failure


class _Batch:
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
            columns = [open_places, *zip(*[self._rows[n] for n in open_places], strict=True)]
            for index, outcome in await self._fetch(database, connection, columns):
                self._outcomes[index] = outcome

    async def _fetch(
        self, database: Database, connection: Connection, columns: Sequence[Sequence[Any]]
    ) -> Sequence[asyncpg.Record]:
        call = self.calls[0]

        async def attempt() -> Sequence[asyncpg.Record]:
            try:
                return await call.spec.inline.fetch(connection, call.scope, columns)
            except _LOST as error:
                raise _translated(database, call, error) from error

        return await database.retrying(attempt)

    def answers(self) -> dict[WriteCall, Answer]:
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


def _translated(database: Database, call: WriteCall, error: Exception) -> PolystoreError:
    return translate(error, store=database.store, operation=f"{call.spec.name}.write")


def _second(outcome: str | Refusal) -> str | Refusal:
    return "existing" if outcome in ("new", "replaced") else outcome
