"""Backs up the collections of a database as one archive that `mongorestore` reads as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from neo_polystore.errors import BackupError
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.stores.mongo.archive import (
    Described,
    collection_blocks,
    count,
    prelude,
    read_archive,
)
from neo_polystore.stores.mongo.client import new_client
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.errors import STORE, translated

STREAM = "dump.archive"
_BATCH = 1_000
_AT_ONCE = 4 << 20
"""Bytes of documents that go into one insert, unless the block of the archive is smaller."""

Database = AsyncDatabase[dict[str, Any]]


class MongoSnapshot:
    """Each document as it is when it is read: a MongoDB gives no moment of all collections that
    lasts as long as a backup. What is read before the relational rows are refers to none that
    these lack; what comes later is delivered again by the outbox.
    """

    excluded: Mapping[str, str]
    positions: Mapping[str, Any]

    def __init__(self, database: Database, archived_as: str):
        self._database = database
        self._archived_as = archived_as
        self._collections: list[Described] = []
        self._size = 0
        self._count = 0
        self.held = False

    async def take(self) -> None:
        """List the collections."""
        self.excluded = {}
        for info in sorted(await _listed(self._database), key=lambda found: found["name"]):
            name = info["name"]
            if info.get("type", "collection") != "collection":
                self.excluded = {**self.excluded, name: f"is a {info['type']}"}
                continue
            listed = await self._database[name].list_indexes()
            indexes = sorted([_spec(index) async for index in listed], key=lambda i: str(i["name"]))
            self._collections.append(Described(name, info.get("options", {}), indexes))
            stats = await self._database.command("collStats", name)
            self._size += int(stats.get("size", 0))
        version = (await self._database.client.admin.command("buildInfo")).get("version")
        self.positions = {"server_version": version, "collections": len(self._collections)}

    def streams(self) -> Sequence[Stream]:
        """The one stream."""
        return [Stream(STREAM, self._size)]

    def rows(self, name: str) -> int | None:
        """The documents."""
        return self._count

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Collection after collection, by `_id`."""
        self._count = 0
        async with translated("backup"):
            yield prelude(self._archived_as, self._collections)
            for each in self._collections:
                blocks = collection_blocks(self._archived_as, each.name, self._batches(each.name))
                async for block in blocks:
                    yield block

    async def _batches(self, name: str) -> AsyncIterator[bytes]:
        found = self._database[name].find_raw_batches({}, sort=[("_id", 1)], batch_size=_BATCH)
        async for batch in cast("AsyncIterator[bytes]", found):  # typed as if they were decoded
            self._count += count(batch)
            yield batch


class MongoBacking:
    """One database."""

    phase: Phase = "follows"
    home: str | None = None

    def __init__(self, config: MongoConfig):
        self._config = config

    @property
    def place(self) -> str:
        """The servers and the database, without login."""
        servers = self._config.url.get_secret_value().rpartition("@")[2]
        servers = servers.partition("://")[2] or servers
        return f"mongodb://{servers.partition('/')[0]}/{self._config.database}"

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """The collections that there are."""
        async with self._opened() as database:
            found = MongoSnapshot(database, self._config.archived_as or database.name)
            async with translated("backup"):
                await found.take()
            yield found

    async def occupied(self, scope: BackupScope) -> str | None:
        """Any collection."""
        async with translated("restore"), self._opened() as database:
            names = sorted(found["name"] for found in await _listed(database))
        if not names:
            return None
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"the database {self._config.database} has the collection {names[0]}{more}"

    async def clear(self, scope: BackupScope) -> None:
        """Drop every collection."""
        async with translated("restore"), self._opened() as database:
            for found in await _listed(database):
                await database.drop_collection(found["name"])

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Make the collections, fill them, and build the indexes when everything is there.

        A document that is there was allowed, whatever the validator says today: it goes in as it
        is, and the validator holds for what comes later.
        """
        rows: dict[str, int] = {}
        async with translated("restore"), self._opened() as database:
            described: list[Described] = []
            async for part in read_archive(saved.read(STREAM)):
                if isinstance(part, list):
                    described = part
                    for each in part:
                        rows[each.name] = 0
                        await database.command({"create": each.name, **each.options})
                elif part.documents:
                    await _insert(database, part.collection, part.documents)
                    rows[part.collection] += len(part.documents)
            for each in described:
                wanted = [_spec(index) for index in each.indexes if index["name"] != "_id_"]
                if wanted:
                    await database.command("createIndexes", each.name, indexes=wanted)
        expected = saved.rows(STREAM)
        if expected is not None and sum(rows.values()) != expected:
            raise BackupError(f"took {sum(rows.values())} documents of {expected}", store=STORE)
        return rows

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Database]:
        async with new_client(self._config, patient=True) as client:
            yield client.get_database(
                self._config.database,
                read_concern=ReadConcern("majority"),
                write_concern=WriteConcern(w="majority"),
            )


async def _listed(database: Database) -> list[dict[str, Any]]:
    """The collections, without those that the server keeps for itself."""
    found = await database.list_collections()
    return [dict(info) async for info in found if not info["name"].startswith("system.")]


def _spec(index: Mapping[str, Any]) -> dict[str, Any]:
    """An index as `createIndexes` takes it, in the version of the server that makes it."""
    return {name: value for name, value in index.items() if name not in ("ns", "v")}


async def _insert(database: Database, name: str, documents: list[bytes]) -> None:
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents:
        batch.append(RawBSONDocument(document))
        size += len(document)
        if size >= _AT_ONCE:
            await _send(database, name, batch)
            batch, size = [], 0
    if batch:
        await _send(database, name, batch)


async def _send(database: Database, name: str, batch: list[RawBSONDocument]) -> None:
    await database[name].insert_many(batch, bypass_document_validation=True)


_: type[Backing] = MongoBacking
