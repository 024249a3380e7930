"""Versions of a document, kept without transactions: any server can do what is done here.

A document of a versioned collection counts its versions in a field of its own. What a version
holds never changes, so it may be kept any number of times; and a document is replaced only while
it still is the version that was kept. So none is lost: not between the two steps, and not
between two writers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from neo_polystore.records.rules import ID, VERSION

Body = dict[str, Any]

INDEX = ("of_1_version_1", [("of", 1), ("version", 1)])


def versions_of(target: AsyncCollection[Body]) -> AsyncCollection[Body]:
    """The collection beside a versioned one; a collection file cannot have such a name."""
    return target.database[f"{target.name}.versions"]


def number_of(stored: Body) -> int:
    """Which version a stored document is; one that another client has written is the first."""
    return int(stored.get(VERSION, 1))


def at_version(key: str, number: int) -> Body:
    """The filter for a document while it is this version."""
    if number == 1:
        return {ID: {"$eq": key}, "$or": [{VERSION: 1}, {VERSION: {"$exists": False}}]}
    return {ID: {"$eq": key}, VERSION: {"$eq": number}}


async def keep(target: AsyncCollection[Body], body: Body, number: int) -> None:
    """Keep a version; one that is kept already stays, but for the time."""
    kept = {"of": body[ID], "version": number, "body": body, "replaced_at": datetime.now(UTC)}
    identity = f"{body[ID]}@{number}"
    await versions_of(target).replace_one({ID: {"$eq": identity}}, kept, upsert=True)


async def kept(target: AsyncCollection[Body], key: str, *, before: int) -> list[Body]:
    """The versions of a document that were replaced, oldest first.

    One that was kept and then not replaced has the number of the current one and does not count.
    """
    wanted = {"of": {"$eq": key}, "version": {"$lt": before}}
    return await versions_of(target).find(wanted).sort("version", 1).to_list()
