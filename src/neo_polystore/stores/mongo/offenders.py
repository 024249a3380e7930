"""Documents that would break a validator which is about to hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pymongo import errors as driver
from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.records.collections import Collection
from neo_polystore.records.results import Offenders
from neo_polystore.records.rules import ID, VERSION
from neo_polystore.records.validators import check

LISTED = 10
"""How many documents that break a rule are named."""

Body = dict[str, Any]


async def offenders(target: AsyncCollection[Body], collection: Collection) -> Offenders:
    """The first stored documents, by key, that break the validator of the file.

    The server finds them by the validator itself. One that cannot has all documents read here.
    """
    refused = {"$nor": [{"$jsonSchema": collection.validator}]}
    found = Offenders(collection.name, total=None)
    try:
        async for body in target.find(refused).sort(ID, 1).limit(LISTED):
            found.first.append(_named(collection, body))
    except driver.OperationFailure:
        async for line in _read(target, collection):
            found.first.append(line)
            if len(found.first) == LISTED:
                break
    return found


async def _read(target: AsyncCollection[Body], collection: Collection) -> AsyncIterator[str]:
    async for body in target.find({}).sort(ID, 1):
        body.pop(VERSION, None)
        if check(collection, body):
            yield _named(collection, body)


def _named(collection: Collection, body: Body) -> str:
    body.pop(VERSION, None)
    problems = check(collection, body)
    # the server may be stricter than this: a number of another width
    why = f"{problems[0].field}: {problems[0].reason}" if problems else "breaks the validator"
    return f"{body[ID]!r}: {why}"
