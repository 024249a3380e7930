"""One statement and one commit for the records of many callers, and for each his own answer."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import DRIVER_ERRORS
from neo_polystore.records.results import Rejection, Written
from neo_polystore.stores.postgres.gathered_batch import Batch, WriteCall, translated_for
from neo_polystore.stores.postgres.merge import merge
from neo_polystore.stores.postgres.merge_send import BAD_RECORD, lacks_privilege

Answer = Written | BaseException


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
        failure = translated_for(database, calls[0], error)
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
        batch = Batch(calls)
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
