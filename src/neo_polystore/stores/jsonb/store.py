"""The engine `jsonb`: collections as PostgreSQL tables, kept to their files by triggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import asyncpg

from neo_polystore.activity import Activity
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.clearing import clear
from neo_polystore.pgkit.database import Database, PgConfig
from neo_polystore.pgkit.health import probe
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
from neo_polystore.records.collections import Served, collections
from neo_polystore.records.documents import Document, document_models
from neo_polystore.stores.jsonb.ages import JsonbAges
from neo_polystore.stores.jsonb.documents import JsonbDocuments
from neo_polystore.stores.jsonb.gathered import Gathered
from neo_polystore.stores.jsonb.migrate import STORE, drifted, migrate
from neo_polystore.stores.jsonb.script import script_text
from neo_polystore.stores.jsonb.sql import SCHEMA, table


class JsonbStore:
    """Documents in one PostgreSQL database, in the schema `documents`.

    `models` replaces the collections of `mongo/` by others.
    """

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = Served()  # type: ignore[assignment]
    features: ClassVar[frozenset[str]] = frozenset(
        {"validators", "unique-indexes", "text-search", "transactions"}
    )

    def __init__(self, config: PgConfig, *, models: Mapping[str, type[Document]] | None = None):
        self.database = Database(config, store=self.name)
        self.gathered = Gathered(self.database)
        self._models = document_models() if models is None else models

    async def connect(self) -> None:
        """Open the pool."""
        await self.database.connect()
        self.gathered.open()

    async def close(self) -> None:
        """Finish gathered writes, close the pool."""
        await self.gathered.close()
        await self.database.close()

    async def health(self) -> Health:
        """Ask the server for its version."""
        return await probe(self.database)

    @property
    def backing(self) -> PgBacking:
        """How it is backed up: with the relational store where both are one database."""
        return PgBacking(self.database.config, store=self.name, phase="follows", home=SCHEMA)

    @property
    def activity(self) -> Activity:
        """What its one database was asked, and the writes that were gathered."""
        return replace(self.database.activity, gathered={"writes": self.gathered.counts})

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Bring tables, triggers and indexes to what the collection files say."""
        found = [model.collection for model in self._models.values()]
        return await migrate(self.database.config, found, dry_run=dry_run)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Not offered."""
        return MigrationReport(
            self.name, "documents", None, not_applicable="a collection's version only rises"
        )

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Tables, triggers and indexes of every collection as a script for psql."""
        return Script(cls.name, script_text(collections().values(), after=after))

    async def validate(self) -> Validation:
        """Every collection file applied, and tables, triggers and indexes as it was then."""
        found = Validation.of(await self.migrate(dry_run=True))
        collections = [model.collection for model in self._models.values()]
        found.problems.extend(await drifted(self.database.config, collections))
        return found

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove all documents."""
        return await clear(
            self.database.config,
            store=self.name,
            schemas=(SCHEMA,),
            keep=("_collections",),
            dry_run=dry_run,
        )

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these `_id`s a connection of its own finds in the collection's table."""
        name = table(self._models[data_type].collection.name)
        async with self.database.translated("witness"):
            connection = await asyncpg.connect(**self.database.config.connect_arguments())
            try:
                sql = f"SELECT count(*) FROM {name} WHERE _id = ANY($1)"
                return int(await connection.fetchval(sql, list(keys)))
            finally:
                await connection.close()

    def port(self, data_type: str) -> Documents:
        """One collection."""
        return JsonbDocuments(self.database, self._models[data_type], self.gathered)

    def ages(self, data_type: str) -> Ages | None:
        """The retention of one collection, None where its documents have no time."""
        model = self._models[data_type]
        return JsonbAges(self.database, model) if model.collection.time_field else None


_: type[Store] = JsonbStore
