"""Bulk writes: what is new, equal or different, and the server's refusals by document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from bson.int64 import Int64
from pymongo import InsertOne, ReplaceOne
from pymongo import errors as driver
from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.errors import FieldProblem
from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.rules import ID, VERSION, Rule
from neo_polystore.records.validators import taken
from neo_polystore.records.values import mapped
from neo_polystore.stores.mongo.errors import DUPLICATE_KEY
from neo_polystore.stores.mongo.history import at_version, keep, number_of

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

    All are taken for new at first. Those whose key the server has already are gone through
    `again`, compared with what is stored: documents are equal whatever the order of their fields,
    which the server's own count of modified ones does not see.
    """
    stored: dict[str, Body] = {}
    if not again:
        keys = [body[ID] for body in bodies]
        stored = {found[ID]: found async for found in target.find({ID: {"$in": keys}})}
    numbers = {}
    if collection.versioned:
        numbers = {key: number_of(found) for key, found in stored.items()}
        for found in stored.values():
            found.pop(VERSION, None)
    changed = [body for body in bodies if body != stored.get(body[ID])]
    written = Written(existing=len(bodies) - len(changed))
    if not changed:
        return written
    if collection.versioned:
        known = [body for body in changed if body[ID] in stored]
        changed = [body for body in changed if body[ID] not in stored]
        for body in known:
            old = stored[body[ID]]
            written += await _replaced(target, collection, body, old, numbers[body[ID]], places)
        if not changed:
            return written
    operations = [_operation(body, collection, is_new=body[ID] not in stored) for body in changed]
    result, refused = await _run(target, operations)
    written.new += result["nInserted"] + result["nUpserted"]
    written.replaced += result["nMatched"]
    known_already: list[Body] = []
    for problem in refused:
        body = changed[problem["index"]]
        if again and problem.get("code") == DUPLICATE_KEY and not _index_of(collection, problem):
            known_already.append(body)
        else:
            why = problem_of(collection, problem)
            written.rejected.append(Rejection(places[body[ID]], why.field, why.reason))
    if known_already:
        written += await write(target, collection, known_already, places, again=False)
    return written


async def _replaced(
    target: AsyncCollection[Body],
    collection: Collection,
    body: Body,
    old: Body,
    number: int,
    places: Mapping[str, int],
) -> Written:
    """Replace one document and keep what it was; compare anew where somebody else was faster."""
    await keep(target, encode(old, collection.validator), number)
    encoded = {**encode(body, collection.validator), VERSION: number + 1}
    try:
        result = await target.replace_one(at_version(body[ID], number), encoded)
    except driver.WriteError as error:
        why = problem_of(collection, {"code": error.code, **dict(error.details or {})})
        return Written(rejected=[Rejection(places[body[ID]], why.field, why.reason)])
    if result.matched_count:
        return Written(replaced=1)
    return await write(target, collection, [body], places)


def _operation(
    body: Body, collection: Collection, *, is_new: bool
) -> InsertOne[Body] | ReplaceOne[Body]:
    encoded = encode(body, collection.validator) if _has_longs(collection) else dict(body)
    if collection.versioned:
        encoded[VERSION] = 1
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


@lru_cache
def _has_longs(collection: Collection) -> bool:
    """Whether the validator wants any number in a width of its own."""
    return '"long"' in orjson.dumps(collection.validator).decode()


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
