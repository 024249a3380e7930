"""Backups of MongoDB: archives as mongodump's, and collections that come back as they were."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.session import opened_run, proving
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.backup.verify import verify
from neo_polystore.errors import IntegrityError
from neo_polystore.ports.backup import BackupScope
from neo_polystore.ports.store import Store
from neo_polystore.routing import load_routing
from neo_polystore.settings import Settings

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

import bson
from bson.objectid import ObjectId

from neo_polystore.stores.mongo.archive import (
    Described,
    Documents,
    collection_blocks,
    prelude,
    read_archive,
)
from neo_polystore.stores.mongo.backing import STREAM, MongoBacking
from neo_polystore.stores.mongo.client import Client, new_client
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.store import MongoStore

EVERYTHING = BackupScope()
INDEX = {"key": {"station": 1, "level": -1}, "name": "by_station", "unique": True}


class Kept:
    """A stream that was read, as a restore gets it."""

    def __init__(self, content: bytes, rows: int | None = None):
        self.before: Mapping[str, Any] = {}
        self.positions: Mapping[str, Any] = {}
        self.names: Sequence[str] = [STREAM]
        self._content = content
        self._rows = rows

    def rows(self, name: str) -> int | None:
        return self._rows

    async def read(self, name: str) -> AsyncIterator[bytes]:
        for place in range(0, len(self._content), 1000):
            yield self._content[place : place + 1000]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for place in range(0, len(content), 7):
        yield content[place : place + 7]


async def archive() -> bytes:
    """Two collections, one of them empty."""
    full = [bson.encode({"_id": n, "text": "ä" * n}) for n in range(40)]

    async def batches(*found: bytes) -> AsyncIterator[bytes]:
        for batch in found:
            yield batch

    parts = [prelude("db", [Described("a", {"capped": True}, [INDEX]), Described("b", {}, [])])]
    parts += [
        x
        async for x in collection_blocks(
            "db", "a", batches(*(b"".join(full[i::2]) for i in range(2)))
        )
    ]
    parts += [x async for x in collection_blocks("db", "b", batches())]
    return b"".join(parts)


async def test_an_archive_is_read_as_it_was_written() -> None:
    found = [part async for part in read_archive(pieces(await archive()))]
    assert found[0] == [Described("a", {"capped": True}, [INDEX]), Described("b", {}, [])]
    blocks = [part for part in found if isinstance(part, Documents)]
    numbers = [bson.decode(d)["_id"] for block in blocks for d in block.documents]
    assert numbers == [*range(0, 40, 2), *range(1, 40, 2)]
    assert [(block.collection, block.last) for block in blocks] == [
        ("a", False), ("a", False), ("a", True), ("b", True)
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [0, 3, 60, 300, -1, -5, -60])
async def test_an_archive_that_is_cut_short_is_refused(kept: int) -> None:
    with pytest.raises(IntegrityError):
        [part async for part in read_archive(pieces((await archive())[:kept]))]


async def test_a_changed_document_is_noticed() -> None:
    content = (await archive()).replace("ääää".encode(), "ääöä".encode(), 1)
    with pytest.raises(IntegrityError, match="not those that were archived"):
        [part async for part in read_archive(pieces(content))]


def at(url: str, database: str, **more: Any) -> MongoConfig:
    return MongoConfig(url=SecretStr(url), database=database, **more)


@pytest_asyncio.fixture
async def filled(mongo_server: str) -> AsyncIterator[tuple[Client, str]]:
    """A client, and the name of a database with documents of every kind of value."""
    name = f"neo_test_{uuid4().hex[:8]}"
    async with new_client(at(mongo_server, name)) as client:
        target = client[name]["readings"]
        await target.insert_many(
            {
                "_id": f"{n:05}",
                "station": f"s{n % 7}",
                "level": n,
                "at": datetime(2026, 1, 1, tzinfo=UTC),
                "long": 2**62 + n,
                "double": n / 3,
                "bytes": bytes(range(n % 50)),
                "nothing": None,
                "nested": {"z": [1, {"a": "ä" * (n % 90)}], "a": True},
                "of": ObjectId(f"{n:024x}"),
            }
            for n in range(2_500)
        )
        await target.create_index([("station", 1), ("level", -1)], name="by_station", unique=True)
        await client[name]["readings.versions"].insert_one({"_id": 1, "of": "00001"})
        yield client, name
        for found in await client.list_database_names():
            if found.startswith(name):
                await client.drop_database(found)


async def read(config: MongoConfig) -> tuple[bytes, int | None]:
    async with MongoBacking(config).snapshot(EVERYTHING) as snapshot:
        assert [stream.name for stream in snapshot.streams()] == [STREAM]
        content = b"".join([piece async for piece in snapshot.read(STREAM)])
        return content, snapshot.rows(STREAM)


async def test_a_restored_database_gives_the_same_archive(
    mongo_server: str, filled: tuple[Client, str]
) -> None:
    client, name = filled
    content, rows = await read(at(mongo_server, name))
    assert rows == 2_501
    other = at(mongo_server, f"{name}_two", archived_as=name)
    backing = MongoBacking(other)
    assert await backing.occupied(EVERYTHING) is None
    done = await backing.restore(Kept(content, rows), EVERYTHING)
    assert done == {"readings": 2_500, "readings.versions": 1}
    assert await read(other) == (content, rows)
    indexes = await client[f"{name}_two"]["readings"].index_information()
    assert indexes["by_station"]["unique"]
    assert "readings and 1 more" in str(await backing.occupied(EVERYTHING))
    await backing.clear(EVERYTHING)
    assert await backing.occupied(EVERYTHING) is None


async def test_the_place_tells_no_password(mongo_server: str) -> None:
    config = at("mongodb://user:secret@host:27017/?tls=true", "documents")
    assert MongoBacking(config).place == "mongodb://host:27017/documents"


def program(name: str) -> str:
    """One of MongoDB's own tools, by NEO_TEST_MONGO_TOOLS (a folder) or PATH."""
    found = shutil.which(name, path=os.environ.get("NEO_TEST_MONGO_TOOLS")) or shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


async def test_mongorestore_reads_our_archive(
    mongo_server: str, filled: tuple[Client, str], tmp_path: Path
) -> None:
    tool = program("mongorestore")
    _, name = filled
    content, _ = await read(at(mongo_server, name))
    (tmp_path / "a").write_bytes(content)
    renamed = ["--nsFrom", f"{name}.*", "--nsTo", f"{name}_tool.*"]
    subprocess.run(
        [tool, "--uri", mongo_server, f"--archive={tmp_path / 'a'}", *renamed], check=True
    )
    assert await read(at(mongo_server, f"{name}_tool", archived_as=name)) == (content, 2_501)


async def test_an_archive_of_mongodump_is_restored(
    mongo_server: str, filled: tuple[Client, str], tmp_path: Path
) -> None:
    tool = program("mongodump")
    _, name = filled
    archived = tmp_path / "a"
    subprocess.run([tool, "--uri", mongo_server, "--db", name, f"--archive={archived}"], check=True)
    backing = MongoBacking(at(mongo_server, f"{name}_ours", archived_as=name))
    await backing.restore(Kept(archived.read_bytes()), EVERYTHING)
    ours = await read(at(mongo_server, f"{name}_ours", archived_as=name))
    assert ours == await read(at(mongo_server, name))


async def test_a_run_is_proven_in_a_database_beside(
    mongo_server: str, filled: tuple[Client, str], tmp_path: Path
) -> None:
    client, name = filled
    settings = Settings(_env_file=None, mongo_url=SecretStr(mongo_server), mongo_db=name)  # type: ignore[call-arg]
    target = DirectoryTarget(tmp_path)
    stores: dict[str, Store] = {"mongo": MongoStore(at(mongo_server, name))}
    routing = load_routing("server")
    manifest = await run_backup(stores, routing, target, options=Options(part_bytes=1 << 16))
    async with opened_run(target, None, None) as reader, proving(settings, manifest) as places:
        proof = await verify(reader, target, places.scratch)
    assert proof.ok, proof
    assert proof.stores["mongo"].rows == 2_501
    for found in await client.list_database_names():
        if found.startswith("neo_proof_"):  # a MongoDB has none without collections
            assert await client[found].list_collection_names() == []
