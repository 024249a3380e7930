"""Documents that would break a validator which is about to hold."""

from __future__ import annotations

from typing import Any

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

    The server finds them by the validator itself.
    """
    refused = {"$nor": [{"$jsonSchema": collection.validator}]}
    found = Offenders(collection.name, total=None)
    async for body in target.find(refused).sort(ID, 1).limit(LISTED):
        found.first.append(_named(collection, body))
    return found


def _named(collection: Collection, body: Body) -> str:
    body.pop(VERSION, None)
    problems = check(collection, body)
    # the server may be stricter than this: a number of another width
    why = f"{problems[0].field}: {problems[0].reason}" if problems else "breaks the validator"
    return f"{body[ID]!r}: {why}"
