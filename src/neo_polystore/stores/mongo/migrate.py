"""Creates collections, validators and indexes where they differ from the collection files."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from pymongo import errors as driver
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from neo_polystore.errors import ConflictError
from neo_polystore.ports.store import MigrationReport
from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.rules import ID
from neo_polystore.stores.mongo import history
from neo_polystore.stores.mongo.errors import INDEX_DIFFERS, NAMESPACE_EXISTS, STORE
from neo_polystore.stores.mongo.offenders import offenders

Database = AsyncDatabase[dict[str, Any]]

_WORDS_AS_THEY_ARE = {"default_language": "none", "language_override": "_text_language"}
"""No stems and no stop words; a document's field `language` says nothing of how it is indexed."""


async def migrate(
    database: Database, collections: Sequence[Collection], *, dry_run: bool
) -> MigrationReport:
    """Compare what the server has with the files, and make it so; see `Store.migrate`.

    The server itself is the record of what is applied, so this may run at any time, from any
    number of processes. Indexes that no file names are left alone. Nothing is changed where stored
    documents break a new validator: ConflictError names the first, unless the file lets them.
    """
    present = {
        info["name"]: info.get("options", {}) async for info in await database.list_collections()
    }
    pending: list[str] = []
    for collection in collections:
        pending += await _differences(database, collection, present.get(collection.name))
    applied = []
    broken = await _broken(database, collections, pending, present)
    if broken and not dry_run:
        raise ConflictError("; ".join(broken), store=STORE, operation="migrate")
    if not dry_run:
        for collection in collections:
            wanted = {step for step in pending if step.split(".")[0] == collection.name}
            await _apply(database, collection, wanted)
        applied, pending = pending, []
    versions = [f"{c.name} {c.version}" for c in collections]
    return MigrationReport(
        store=STORE,
        target=database.name,
        current=None if pending else ", ".join(versions),
        applied=applied,
        pending=pending,
        problems=broken,
    )


async def _broken(
    database: Database,
    collections: Sequence[Collection],
    pending: Sequence[str],
    present: Container[str],
) -> list[str]:
    changing = [
        c
        for c in collections
        if f"{c.name}.validator" in pending and c.name in present and not c.may_break
    ]
    found = [await offenders(database[each.name], each) for each in changing]
    return [str(each) for each in found if each]


async def drift(database: Database, collections: Sequence[Collection]) -> list[str]:
    """The indexes on the server that no file names."""
    problems: list[str] = []
    for collection in collections:
        named = {"_id_", *(index.name for index in collection.indexes)}
        held = await database[collection.name].index_information()
        problems += [
            f"{collection.name}: no file names the index {name}" for name in held.keys() - named
        ]
    return problems


def _validation(collection: Collection) -> dict[str, Any]:
    return {
        "validator": {"$jsonSchema": collection.validator},
        "validationLevel": "strict",
        "validationAction": "error",
    }


async def _differences(
    database: Database, collection: Collection, options: dict[str, Any] | None
) -> list[str]:
    """What this collection lacks: `<name>.validator` and `<name>.<index>` for each index."""
    steps = []
    if options is None or any(
        options.get(name, default) != wanted
        for (name, wanted), default in zip(
            # the server leaves out what is at its default
            _validation(collection).items(),
            (None, "strict", "error"),
            strict=True,
        )
    ):
        steps.append(f"{collection.name}.validator")
    held = {} if options is None else await database[collection.name].index_information()
    steps += [
        f"{collection.name}.{index.name}"
        for index in collection.indexes
        if not _is_held(collection, index, held.get(index.name))
    ]
    return steps


def _is_held(collection: Collection, index: Index, held: Any) -> bool:
    if held is None:
        return False
    if "weights" in held:  # how a text index shows the fields that it searches
        names = {name for name, direction in index.keys if direction == "text"}
        same = all(held.get(name) == wanted for name, wanted in _WORDS_AS_THEY_ARE.items())
        return names == set(held["weights"]) and same
    keys = [(name, int(direction)) for name, direction in held["key"]]
    return keys == keys_of(collection, index) and bool(held.get("unique")) == index.unique


def keys_of(collection: Collection, index: Index) -> list[tuple[str, Any]]:
    """The keys on the server: one that ends with the time goes on with `_id`.

    Pages are sorted by both, and the server sorts nothing that an index has in order.
    """
    keys: list[tuple[str, Any]] = list(index.keys)
    name, direction = keys[-1]
    if name == collection.time_field and not index.unique:
        keys.append((ID, direction))
    return keys


async def _apply(database: Database, collection: Collection, steps: set[str]) -> None:
    if f"{collection.name}.validator" in steps:
        try:
            await database.create_collection(
                collection.name, check_exists=False, **_validation(collection)
            )
        except driver.OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
            await database.command("collMod", collection.name, **_validation(collection))
    for index in collection.indexes:
        if f"{collection.name}.{index.name}" in steps:
            await _make_index(database[collection.name], keys_of(collection, index), index)
    if steps and collection.versioned:
        name, keys = history.INDEX
        await history.versions_of(database[collection.name]).create_index(keys, name=name)


async def _make_index(
    target: AsyncCollection[dict[str, Any]], keys: list[tuple[str, Any]], index: Index
) -> None:
    options: dict[str, Any] = {"name": index.name}
    if index.unique:
        options["unique"] = True
    if index.is_text:
        options |= _WORDS_AS_THEY_ARE
    try:
        await target.create_index(keys, **options)
    except driver.OperationFailure as error:
        if error.code not in INDEX_DIFFERS:
            raise
        # an earlier version had other fields or options under this name
        await target.drop_index(index.name)
        await target.create_index(keys, **options)
