"""The MongoDB engine against a server: migrations, drift, followers, direct writes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.errors import ConflictError, UsageError
from neo_polystore.records.collections import Collection, read_collection
from neo_polystore.records.documents import document_model

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

import bson

from neo_polystore.stores.mongo import history, migrate
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.offenders import offenders
from neo_polystore.stores.mongo.store import MongoStore

READINGS = read_collection(Path(__file__).parents[2] / "data" / "mongo" / "readings.json")
STRICTER = replace(
    READINGS,
    version=2,
    validator={**READINGS.validator, "required": [*READINGS.validator["required"], "note"]},
)


def opened(url: str, collection: Collection) -> MongoStore:
    """A store of one collection in a database of its own."""
    config = MongoConfig(url=SecretStr(url), database=f"neo_test_{uuid4().hex[:8]}")
    return MongoStore(config, models={collection.name: document_model(collection)})


@pytest_asyncio.fixture
async def store(mongo_server: str) -> AsyncIterator[MongoStore]:
    """A connected store, not migrated."""
    store = opened(mongo_server, READINGS)
    await store.connect()
    yield store
    await store.database.client.drop_database(store.database.name)
    await store.close()


def reading(number: int, **changes: Any) -> dict[str, Any]:
    """A good reading."""
    time = datetime(2024, 1, 1, 0, 0, number, tzinfo=UTC)
    return {"_id": str(number), "station": "s", "taken_at": time, "level": number, **changes}


async def test_documents_that_a_stricter_validator_refuses_are_named(store: MongoStore) -> None:
    target = store.database["readings"]
    await target.insert_many([reading(number) for number in range(12)])
    await target.insert_one(reading(20, note="n"))
    found = await offenders(target, STRICTER)
    assert len(found.first) == 10
    assert found.first[0].startswith("'0': note: breaks required")
    assert "at least 10 stored documents break the new validator" in str(found)


async def test_a_stricter_validator_is_refused_before_anything_changes(store: MongoStore) -> None:
    await store.database["readings"].insert_one(reading(1))
    report = await migrate.migrate(store.database, [STRICTER], dry_run=True)
    assert "1 stored documents" in report.problems[0]
    with pytest.raises(ConflictError, match="'1': note"):
        await migrate.migrate(store.database, [STRICTER], dry_run=False)
    assert list(await store.database["readings"].index_information()) == ["_id_"]


async def test_an_index_that_no_file_names_is_drift(store: MongoStore) -> None:
    await store.database["readings"].create_index([("level", 1)], name="mine")
    [problem] = await migrate.drift(store.database, [READINGS])
    assert problem == "readings: no file names the index mine"


async def test_a_document_of_another_client_is_version_one(store: MongoStore) -> None:
    versioned = replace(READINGS, versioned=True)
    other = MongoStore(store.config, models={"readings": document_model(versioned)})
    await other.connect()
    try:
        await other.database["readings"].insert_one(reading(1))
        port = other.port("readings")
        changed = port.record.parse(reading(1, note="changed"))
        assert (await port.write([changed])).replaced == 1
        versions = await port.versions("1")
        assert [v.document.body().get("note") for v in versions] == [None, "changed"]
        assert (await port.native("1"))["_version"] == 2
    finally:
        await other.close()


async def test_a_version_that_was_kept_but_not_replaced_does_not_count(store: MongoStore) -> None:
    """As after a kill between the two steps."""
    versioned = document_model(replace(READINGS, versioned=True))
    other = MongoStore(store.config, models={"readings": versioned})
    await other.connect()
    try:
        port = other.port("readings")
        await port.write([versioned.parse(reading(1))])
        await history.keep(other.database["readings"], reading(1), 1)
        assert [v.number for v in await port.versions("1")] == [1]
        await port.write([versioned.parse(reading(1, note="n"))])
        assert [v.number for v in await port.versions("1")] == [1, 2]
    finally:
        await other.close()


async def test_a_follower_sees_what_happens_from_when_it_begins(store: MongoStore) -> None:
    port: Any = store.port("readings")
    async with port.follow() as changes:
        await store.database["readings"].insert_one(reading(1))
        await store.database["readings"].update_one({"_id": "1"}, {"$set": {"level": 7}})
        first, second = await anext(changes), await anext(changes)
    assert [(c.kind, c.key, c.body["level"]) for c in (first, second)] == [
        ("written", "1", 1),
        ("written", "1", 7),
    ]


async def test_a_follower_goes_on_where_it_was(store: MongoStore) -> None:
    port: Any = store.port("readings")
    async with port.follow() as changes:
        await store.database["readings"].insert_many([reading(number) for number in range(3)])
        position = (await anext(changes)).position
    await store.database["readings"].delete_one({"_id": "1"})
    async with port.follow(after=position) as changes:
        found = [await anext(changes) for _ in range(3)]
    assert [(change.kind, change.key) for change in found] == [
        ("written", "1"),
        ("written", "2"),
        ("deleted", "1"),
    ]
    assert found[-1].body is None


async def test_a_follower_ends_with_its_collection(store: MongoStore) -> None:
    port: Any = store.port("readings")
    await store.database["readings"].insert_one(reading(1))
    async with port.follow() as changes:
        await store.database["readings"].drop()
        assert [change async for change in changes] == []


@pytest.mark.parametrize("token", [b"nonsense", bson.encode({"_data": "00"}), bson.encode({})])
async def test_what_is_no_position_is_refused(store: MongoStore, token: bytes) -> None:
    port: Any = store.port("readings")
    with pytest.raises(UsageError, match="no position"):
        async with port.follow(after=base64.urlsafe_b64encode(token).decode()) as changes:
            await anext(changes)
