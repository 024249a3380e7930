"""Sends rows of one record type: by arrays or by COPY, and in halves where the server refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import asyncpg

from neo_polystore.pgkit.database import Connection
from neo_polystore.stores.postgres.merge_spec import Merge, Refusal, Row

INLINE = 1_000
"""Up to this weight a batch travels as arrays in the statement, above it by COPY.

Measured on transactions: the same speed at 1,000 records, COPY a fifth faster from 4,000.
"""

BAD_RECORD = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.InsufficientPrivilegeError,
)


Rows = Mapping[int, Row | Refusal]
"""By place in the batch; those that no column can hold with the reason."""

Outcomes = dict[int, str | Refusal]


def _nothing() -> None:
    """What there is to do while a statement is under way."""


async def together(
    connection: Connection,
    spec: Merge[Any],
    rows: Rows,
    *,
    inline: bool = True,
    on_the_way: Callable[[], None] = _nothing,
) -> Outcomes:
    """Store rows by one statement; the outcome of each, or the driver's exception.

    They go as arrays (`inline`) or by COPY, which has its time for large ones.
    """
    outcomes: Outcomes = {}
    good: dict[int, Row] = {}
    for place, row in rows.items():
        if isinstance(row, Refusal):
            outcomes[place] = row
        else:
            good[place] = row
    send = _by_arrays if inline else _by_copy
    outcomes |= await send(connection, spec, good, on_the_way)
    if "unseen" in outcomes.values():
        # committed by somebody after our snapshot, or not ours to see: look again
        unseen = {place: row for place, row in good.items() if outcomes[place] == "unseen"}
        outcomes |= await send(connection, spec, unseen, on_the_way)
    return outcomes


async def apart(
    connection: Connection,
    spec: Merge[Any],
    records: Sequence[Any],
    rows: Rows,
    on_the_way: Callable[[], None] = _nothing,
) -> Outcomes:
    """Store what can be stored, within the transaction, cutting around what is refused."""
    inline = sum(spec.weigh(records[place]) for place in rows) <= INLINE
    try:
        async with connection.transaction():
            return await together(connection, spec, rows, inline=inline, on_the_way=on_the_way)
    except BAD_RECORD as error:
        if lacks_privilege(error):
            raise
        if len(rows) == 1:
            return {place: spec.blamed(error, records[place]) for place in rows}
    places = iter(rows.items())
    first = dict(islice(places, len(rows) // 2))
    outcomes = await apart(connection, spec, records, first, on_the_way)
    return outcomes | await apart(connection, spec, records, dict(places), on_the_way)


def lacks_privilege(error: Exception) -> bool:
    """Whether the role lacks a privilege, for which no record is to blame."""
    return isinstance(error, asyncpg.InsufficientPrivilegeError) and (
        "row-level security" not in str(error)
    )


async def _by_arrays(
    connection: Connection,
    spec: Merge[Any],
    rows: Mapping[int, Row],
    on_the_way: Callable[[], None],
) -> Outcomes:
    if not rows:
        return {}
    places = list(rows)
    columns = zip(*rows.values(), strict=True)
    answers = await connection.fetch(spec.inline.plain, *columns)
    return {places[number - 1]: outcome for number, outcome in answers}


async def _by_copy(
    connection: Connection,
    spec: Merge[Any],
    rows: Mapping[int, Row],
    on_the_way: Callable[[], None],
) -> Outcomes:
    if not rows:
        return {}
    await connection.execute(spec.staging_sql)
    records = ((place, *row) for place, row in rows.items())
    try:
        await connection.copy_records_to_table(spec.staging, records=records)
    except (OverflowError, TypeError, ValueError) as error:
        # a query's arguments fail as DataError, a COPY's with whatever was raised
        raise asyncpg.DataError(str(error)) from error
    on_the_way()
    answers = await connection.fetch(spec.staged_sql)
    await connection.execute(f"DROP TABLE pg_temp.{spec.staging}")
    return {place: outcome for place, outcome in answers}  # noqa: C416  (typed)
