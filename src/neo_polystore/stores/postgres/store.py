"""The relational store's lifecycle: PostgreSQL 15 or later, the application never its owner."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import asyncpg

from neo_polystore.errors import ConfigError
from neo_polystore.pgkit import migrations
from neo_polystore.pgkit.database import Connection, Database, PgConfig, apply_scope
from neo_polystore.pgkit.health import probe, with_facts
from neo_polystore.ports.store import Health, MigrationReport, Store
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.stores.postgres.background import Background
from neo_polystore.stores.postgres.catalog import PORTS
from neo_polystore.stores.postgres.ledger import PgLedger
from neo_polystore.stores.postgres.outbox import PgOutbox
from neo_polystore.stores.postgres.outbox_admin import PgOutboxAdmin
from neo_polystore.stores.postgres.outbox_feed import PgFeed
from neo_polystore.stores.postgres.unit_of_work import UnitOfWork, unit_of_work
from neo_polystore.stores.postgres.upkeep import PgUpkeep

ENVIRONMENT = "primary"
YEARS_AHEAD = 2
DEFAULT_PARTITION = "blockchain.transactions_default"


class PostgresStore:
    """Accounts, networks, wallets, transactions, contracts and sealed blobs in one database."""

    name: ClassVar[str] = "postgres"
    serves: ClassVar[frozenset[str]] = frozenset(PORTS)
    features: ClassVar[frozenset[str]] = frozenset(
        {"transactions", "row-level-security", "unit-of-work", "partitions"}
    )

    def __init__(self, config: PgConfig):
        self.config = config
        self._database = Database(config, store=self.name)
        self._bound = False
        self._background = Background(config, store=self.name)

    async def connect(self) -> None:
        """Open the pool. ConfigError for a role that row-level security does not bind."""
        await self._database.connect()
        try:
            async with self._database.acquire("connect") as connection:
                await self._check_role(connection)
        except BaseException:
            await self._database.close()
            raise

    async def close(self) -> None:
        """Close the pool when the calls that are running have ended."""
        await self._background.close()
        await self._database.close()

    async def health(self) -> Health:
        """Version, milliseconds, and whether transactions miss a partition of their own."""
        health = await probe(self._database, self._describe)
        if not self._bound:  # reached, but as a role that must not be used
            await self._database.close()
        return health

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Bring `migrations/primary` up to date and make the partitions of the next years."""
        report = await migrations.migrate(
            self.config, environment=ENVIRONMENT, store=self.name, dry_run=dry_run
        )
        if not dry_run and not report.applied:
            await self._ensure_partitions()
        return report

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many keys a connection of its own finds; of tenants' records, the system's own."""
        port = PORTS[data_type](self._database)
        async with self._database.translated("witness"):
            connection = await asyncpg.connect(**self.config.connect_arguments())
            try:
                async with connection.transaction():
                    await apply_scope(connection, SYSTEM)
                    sql = f"SELECT count(*) {port.lookup}"
                    return sum(
                        [await connection.fetchval(sql, *port.identify(key)) for key in keys]
                    )
            finally:
                await connection.close()

    def port(self, data_type: str) -> Any:
        """The port of one data type, acting for nobody yet; KeyError for an unknown one."""
        return PORTS[data_type](self._database)

    def unit_of_work(
        self, *, tenant: UUID | None = None, service: str | None = None
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """One transaction on behalf of a tenant and service; commits at the end of the block."""
        return unit_of_work(self._database, Scope(tenant=tenant, service=service))

    @property
    def outbox(self) -> PgOutbox:
        """Publishing messages outside of a unit of work."""
        return PgOutbox(self._database)

    @property
    def feed(self) -> PgFeed:
        """What the relay delivers from."""
        return PgFeed(self._background)

    @property
    def outbox_admin(self) -> PgOutboxAdmin:
        """How the outbox stands, dead letters and replays."""
        return PgOutboxAdmin(self._background)

    @property
    def upkeep(self) -> PgUpkeep:
        """What has to be done regularly."""
        return PgUpkeep(self._background)

    @property
    def ledger(self) -> PgLedger:
        """The scheduler's books."""
        return PgLedger(self._background)

    async def _check_role(self, connection: Connection) -> None:
        role = await connection.fetchrow(
            "SELECT r.rolname, r.rolsuper, r.rolbypassrls, d.datdba = r.oid AS owns"
            " FROM pg_roles r, pg_database d"
            " WHERE r.rolname = current_user AND d.datname = current_database()"
        )
        if role is not None and (role["rolsuper"] or role["rolbypassrls"] or role["owns"]):
            raise ConfigError(
                f"role {role['rolname']!r} is a superuser, owns the database or bypasses"
                " row-level security, so tenants would not be kept apart: connect as neo_app",
                store=self.name,
                operation="connect",
            )
        self._bound = True

    async def _describe(self, connection: Connection, health: Health) -> Health:
        if not self._bound:
            await self._check_role(connection)
        if await connection.fetchval(f"SELECT to_regclass('{DEFAULT_PARTITION}')") is None:
            health = with_facts(health, "no schema yet: run `neo-polystore db migrate`")
            return replace(health, status="degraded")
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {DEFAULT_PARTITION})"):
            detail = (
                f"transactions lie in {DEFAULT_PARTITION}:"
                " call blockchain.ensure_transaction_partitions"
            )
            health = with_facts(health, detail, default_partition=True)
            return replace(health, status="degraded")
        return health

    async def _ensure_partitions(self) -> None:
        """The server's year goes on while no migration comes."""
        database = Database(self.config.model_copy(update={"max_connections": 1}), store=self.name)
        await database.connect()
        try:
            async with database.acquire("migrate") as connection:
                await connection.fetch(
                    "SELECT blockchain.ensure_transaction_partitions($1)", YEARS_AHEAD
                )
        finally:
            await database.close()


_: type[Store] = PostgresStore
