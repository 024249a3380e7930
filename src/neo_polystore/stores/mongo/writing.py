"""Bulk writes: what is new, equal or different, and the server's refusals by document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson.int64 import Int64
from pymongo import InsertOne, ReplaceOne
from pymongo import errors as driver
from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.errors import FieldProblem
from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.rules import ID, Rule
from neo_polystore.records.validators import taken
from neo_polystore.records.values import mapped
from neo_polystore.stores.mongo.errors import DUPLICATE_KEY

Body = dict[str, Any]


async def write(
    target: AsyncCollection[Body],
    collection: Collection,
    bodies: Sequence[Body],
    places: Mapping[str, int],
    *,
    again: bool = True,
) -> Written:
    """Store checked documents of different keys; `places` has each key's index in the batch.

    What is stored already is read first: documents are equal whatever the order of their fields,
    which the server's own count of modified ones does not see.
    """
    keys = [body[ID] for body in bodies]
    stored = {found[ID]: found async for found in target.find({ID: {"$in": keys}})}
    changed = [body for body in bodies if body != stored.get(body[ID])]
    written = Written(existing=len(bodies) - len(changed))
    if not changed:
        return written
    operations = [_operation(body, collection, is_new=body[ID] not in stored) for body in changed]
    result, refused = await _run(target, operations)
    written.new += result["nInserted"] + result["nUpserted"]
    written.replaced += result["nMatched"]
    raced = []
    for problem in refused:
        body = changed[problem["index"]]
        if again and problem.get("code") == DUPLICATE_KEY and not _index_of(collection, problem):
            raced.append(body)  # another writer made this _id first: compare with what it wrote
        else:
            found = problem_of(collection, problem)
            written.rejected.append(Rejection(places[body[ID]], found.field, found.reason))
    if raced:
        written += await write(target, collection, raced, places, again=False)
    return written


def _operation(
    body: Body, collection: Collection, *, is_new: bool
) -> InsertOne[Body] | ReplaceOne[Body]:
    encoded = encode(body, collection.validator)
    if is_new:
        return InsertOne(encoded)
    return ReplaceOne({ID: {"$eq": body[ID]}}, encoded, upsert=True)


async def _run(
    target: AsyncCollection[Body], operations: list[InsertOne[Body] | ReplaceOne[Body]]
) -> tuple[Body, list[Body]]:
    """The server's counts, and its refusals by operation; raises where no majority has it."""
    try:
        result = await target.bulk_write(operations, ordered=False)
    except driver.BulkWriteError as error:
        details: Body = dict(error.details or {})
        if details.get("writeConcernErrors"):
            message = str(details["writeConcernErrors"][0].get("errmsg"))
            raise driver.WriteConcernError(message, details=details) from error
        return details, details["writeErrors"]
    return dict(result.bulk_api_result), []


def encode(body: Body, rule: Rule) -> Body:
    """The document with whole numbers as wide as the validator wants them."""
    encoded: Body = mapped(body, rule, _encode_leaf)
    return encoded


def _encode_leaf(value: Any, rule: Rule) -> Any:
    if type(value) is not int:
        return value
    declared = rule.get("bsonType", ())
    names = {declared} if isinstance(declared, str) else set(declared)
    return Int64(value) if "long" in names and not names & {"int", "number"} else value


def problem_of(collection: Collection, problem: Mapping[str, Any]) -> FieldProblem:
    """One write error of the server as a field's problem."""
    if index := _index_of(collection, problem):
        return taken(collection, index)
    message = str(problem.get("errmsg", ""))
    detail = problem.get("errInfo", {}).get("details")
    return FieldProblem("document", f"{message}: {detail}" if detail else message)


def _index_of(collection: Collection, problem: Mapping[str, Any]) -> Index | None:
    """The unique index of the collection's file that the server's refusal names."""
    if problem.get("code") == DUPLICATE_KEY:
        message = f"{problem.get('errmsg', '')} "
        for index in collection.indexes:
            if index.unique and f"index: {index.name} " in message:
                return index
    return None
