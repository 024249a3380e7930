"""The engine `mongo`: collections in one MongoDB database, majority-acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from time import perf_counter
from typing import Any, ClassVar

from bson.codec_options import CodecOptions
from pymongo import ReadPreference, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from neo_polystore.activity import Activity, Recorder
from neo_polystore.errors import PolystoreError, UnavailableError
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.records.collections import Served
from neo_polystore.records.documents import Document, document_models
from neo_polystore.records.rules import ID
from neo_polystore.stores.mongo.ages import MongoAges
from neo_polystore.stores.mongo.backing import MongoBacking
from neo_polystore.stores.mongo.client import Client, new_client
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.documents import MongoDocuments
from neo_polystore.stores.mongo.errors import STORE, translated
from neo_polystore.stores.mongo.history import versions_of
from neo_polystore.stores.mongo.migrate import drift, migrate


class MongoStore:
    """Documents in MongoDB 6 or later. Writes wait for a majority, reads see nothing less.

    Only what a write compares with is read as the primary has it (read concern `local`): an older
    state would be replaced by itself.

    `models` replaces the collections of `mongo/` by others.
    """

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = Served()  # type: ignore[assignment]
    features: ClassVar[frozenset[str]] = frozenset({"validators", "unique-indexes", "text-search"})

    def __init__(self, config: MongoConfig, *, models: Mapping[str, type[Document]] | None = None):
        self.config = config
        self._models = document_models() if models is None else models
        self._recorder = Recorder("mongo")
        self._client: Client | None = None
        self._reached = False

    async def connect(self) -> None:
        """Make the client and reach the server once; raises UnavailableError.

        The client stays where that fails, and reaches the server by itself when it is back.
        """
        if not self._reached:
            with self._recorder.statement("connect"):
                async with translated("connect"):
                    if self._client is None:
                        self._client = new_client(self.config)
                    await self._client.admin.command("ping")
            self._reached = True

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            self._reached = False
            await client.close()

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """The database; UnavailableError before `connect` and after `close`."""
        if self._client is None:
            raise UnavailableError("not connected", store=self.name)
        return self._client.get_database(
            self.config.database,
            codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority"),
            read_concern=ReadConcern("majority"),
        )

    async def health(self) -> Health:
        """Ask the server for its version; connects first where that has not succeeded yet."""
        started = perf_counter()
        try:
            await self.connect()
            with self._recorder.statement("health"):
                async with translated("health"):
                    answer = await self.database.client.admin.command("buildInfo")
        except PolystoreError as error:
            return Health("unhealthy", detail=str(error))
        elapsed = (perf_counter() - started) * 1000
        return Health("healthy", version=f"MongoDB {answer.get('version')}", milliseconds=elapsed)

    @property
    def activity(self) -> Activity:
        """What the server was asked."""
        return Activity(self._recorder)

    @property
    def backing(self) -> MongoBacking:
        """Backup and restore of the whole database."""
        return MongoBacking(self.config)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Bring collections, validators and indexes to what the collection files say."""
        found = [model.collection for model in self._models.values()]
        async with translated("migrate"):
            return await migrate(self.database, found, dry_run=dry_run)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Not offered."""
        return MigrationReport(
            self.name,
            self.config.database,
            None,
            not_applicable="a collection's version only rises",
        )

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Nothing to write down."""
        return Script(cls.name, not_applicable="the files of mongo/ are what the server is given")

    async def validate(self) -> Validation:
        """Every collection, validator and index on the server as its file says."""
        found = Validation.of(await self.migrate(dry_run=True))
        async with translated("validate"):
            collections = [model.collection for model in self._models.values()]
            found.problems.extend(await drift(self.database, collections))
        return found

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove all documents of our collections."""
        rows = {}
        async with translated("clear"):
            for name in self._models:
                rows[name] = await self.database[name].count_documents({})
                if not dry_run:
                    await self.database[name].delete_many({})
                    await versions_of(self.database[name]).delete_many({})
        return Cleared(self.name, rows)

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these `_id`s a client of its own finds in the collection."""
        async with translated("witness"), new_client(self.config) as client:
            target = client[self.config.database][data_type]
            return await target.count_documents({ID: {"$in": list(keys)}})

    def port(self, data_type: str) -> Documents:
        """One collection."""
        target = self.database[data_type]
        return MongoDocuments(target, self._models[data_type], self._recorder)

    def ages(self, data_type: str) -> Ages | None:
        """The retention of one collection, None where its documents have no time."""
        model = self._models[data_type]
        if model.collection.time_field is None:
            return None
        return MongoAges(self.database[data_type], model, self._recorder)


_: type[Store] = MongoStore
