"""Follows a collection by a change stream, where the server has them (a replica set)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import bson
from pymongo import errors as driver
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.stores.mongo.errors import STORE, translated

Body = dict[str, Any]

_NOT_OFFERED = (59, 40573, 40324, 238, 115)
"""Not a replica set, or a server that does not know change streams."""

_NO_SUCH_POSITION, _POSITION_LOST = (9, 260, 40647, 40649, 50811), 286

_NO_POSITION = "this is no position in a change stream"

_KINDS: dict[str, Literal["written", "deleted"]] = {
    "insert": "written",
    "replace": "written",
    "update": "written",
    "delete": "deleted",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one document. `position` continues after it; `body` as the driver has it."""

    kind: Literal["written", "deleted"]
    key: str
    body: Body | None
    position: str


@asynccontextmanager
async def follow(
    target: AsyncCollection[Body], *, after: str | None = None
) -> AsyncIterator[AsyncIterator[Change]]:
    """Changes as a majority has them, in order, from `after` on, or from when the block begins.

    They end with the block, or where the collection is dropped. Raises UnsupportedError where the
    server has no change streams, UsageError for a position that is none or that is older than the
    server remembers, and UnavailableError where it is lost for longer than the driver waits.
    """
    options: Body = {"full_document": "updateLookup"}
    if after is not None:
        options["resume_after"] = _token(after)
    operation = f"{target.name}.follow"
    async with translated(operation):
        try:
            stream = await target.watch(
                [{"$match": {"operationType": {"$in": [*_KINDS]}}}], **options
            )
        except driver.OperationFailure as error:
            if error.code in _NOT_OFFERED:
                raise UnsupportedError(
                    f"the server has no change streams: {error}", store=STORE, operation=operation
                ) from error
            raise _position_problem(error) from error
    async with stream:
        yield _changes(stream, operation)


async def _changes(
    stream: AsyncCollectionChangeStream[Body], operation: str
) -> AsyncIterator[Change]:
    async with translated(operation):
        try:
            async for event in stream:
                yield Change(
                    kind=_KINDS[event["operationType"]],
                    key=str(event["documentKey"]["_id"]),
                    body=event.get("fullDocument"),
                    position=base64.urlsafe_b64encode(bson.encode(event["_id"])).decode(),
                )
        except driver.OperationFailure as error:
            raise _position_problem(error) from error


def _position_problem(error: driver.OperationFailure) -> Exception:
    """What the server says of a position in our words; any other error as it is."""
    if error.code == _POSITION_LOST:
        return UsageError("the server no longer remembers this position: read all, then follow")
    return UsageError(_NO_POSITION) if error.code in _NO_SUCH_POSITION else error


def _token(position: str) -> Body:
    try:
        token: Body = bson.decode(base64.urlsafe_b64decode(position))
    except (ValueError, binascii.Error, bson.errors.BSONError):
        raise UsageError(_NO_POSITION) from None
    return token
