"""Writes a batch of records, of whatever size, and answers for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from neo_polystore.errors import ConflictError, TenantRequiredError, ValidationError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.records.base import Record
from neo_polystore.records.results import Written
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.merge_rows import RowsAhead
from neo_polystore.stores.postgres.merge_send import INLINE, apart, together
from neo_polystore.stores.postgres.merge_spec import Merge, Refusal, RefusedError
from neo_polystore.stores.postgres.tally import Tally

__all__ = ["Merge", "Refusal", "RefusedError", "merge"]

R = TypeVar("R", bound=Record)


async def merge(database: Database, scope: Scope, spec: Merge[R], records: Sequence[R]) -> Written:
    """Store a batch as `ports.records.Records.write` says; all good records in one transaction.

    An ordinary batch is one statement, so a single record costs one round trip where no scope
    has to be set. Only when the server refuses it is it cut in halves, in one transaction, until
    the bad records stand alone.
    """
    if not records:
        return Written()
    return await database.retrying(lambda: _attempt(database, scope, spec, records))


async def _attempt(
    database: Database, scope: Scope, spec: Merge[R], records: Sequence[R]
) -> Written:
    tally = Tally(spec, records)
    operation = f"{spec.name}.write"
    if tally.is_plain() and sum(map(spec.weigh, records)) <= INLINE:
        rows = {place: spec.prepared(record) for place, record in enumerate(records)}
        try:
            async with database.statement(operation, scope) as connection:
                tally.settle(await together(connection, spec, rows))
                return tally.written()
        except SerializationError:
            raise
        except (ConflictError, ValidationError, TenantRequiredError):
            tally = Tally(spec, records)  # which record it was is found out below
    async with database.transaction(operation, scope) as connection:
        while standing := tally.standing():
            async with RowsAhead(spec, records, standing) as ahead:
                while rows := await ahead.take():
                    tally.settle(await apart(connection, spec, records, rows, ahead.start))
    return tally.written()
