"""Follows a collection by a change stream, where the server has them (a replica set)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import bson
from pymongo import errors as driver
from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.stores.mongo.errors import STORE, translated

Body = dict[str, Any]

_NOT_OFFERED = (59, 40573, 40324, 238, 115)
"""Not a replica set, or a server that does not know change streams."""

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


async def follow(
    target: AsyncCollection[Body], *, after: str | None = None
) -> AsyncIterator[Change]:
    """Changes as a majority has them, in order, from `after` or from now on; ends with the caller.

    Raises UnsupportedError where the server has no change streams, UsageError for a position that
    is none, and UnavailableError where the server is lost for longer than the driver waits.
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
            raise
        async with stream:
            async for event in stream:
                yield Change(
                    kind=_KINDS[event["operationType"]],
                    key=str(event["documentKey"]["_id"]),
                    body=event.get("fullDocument"),
                    position=base64.urlsafe_b64encode(bson.encode(event["_id"])).decode(),
                )


def _token(position: str) -> Body:
    try:
        token: Body = bson.decode(base64.urlsafe_b64decode(position))
    except (ValueError, binascii.Error, bson.errors.BSONError):
        raise UsageError("this is no position in a change stream") from None
    return token
