"""The relational store's lifecycle: PostgreSQL 15 or later, the application never its owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg

from neo_polystore.activity import Activity
from neo_polystore.pgkit import migrations
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.database import Connection, Database, PgConfig, apply_scope
from neo_polystore.pgkit.health import probe, with_facts
from neo_polystore.pgkit.versioned import Versioned
from neo_polystore.ports.relational import Isolation
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import Health, MigrationReport, Store
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.stores.postgres.ages import TransactionAges
from neo_polystore.stores.postgres.archiver import describe_archiver
from neo_polystore.stores.postgres.attestations import PgAttestations
from neo_polystore.stores.postgres.audit_chains import PgChains
from neo_polystore.stores.postgres.background import Background
from neo_polystore.stores.postgres.backing import backing
from neo_polystore.stores.postgres.catalog import PORTS
from neo_polystore.stores.postgres.gathered import Gathered
from neo_polystore.stores.postgres.holds import PgHolds
from neo_polystore.stores.postgres.ledger import PgLedger
from neo_polystore.stores.postgres.operations import Operations
from neo_polystore.stores.postgres.outbox import PgOutbox
from neo_polystore.stores.postgres.outbox_admin import PgOutboxAdmin
from neo_polystore.stores.postgres.outbox_feed import PgFeed
from neo_polystore.stores.postgres.sealing_items import PgSealedItems
from neo_polystore.stores.postgres.sealing_keys import PgKeyStore
from neo_polystore.stores.postgres.service_blobs import PgServiceBlobs
from neo_polystore.stores.postgres.unit_of_work import UnitOfWork, unit_of_work
from neo_polystore.stores.postgres.upkeep import PgUpkeep

T = TypeVar("T")

ENVIRONMENT = "primary"
YEARS_AHEAD = 2
DEFAULT_PARTITION = "blockchain.transactions_default"


class PostgresStore(Versioned):
    """Accounts, networks, wallets, transactions, contracts and sealed blobs in one database."""

    name: ClassVar[str] = "postgres"
    environment: ClassVar[str] = ENVIRONMENT
    serves: ClassVar[frozenset[str]] = frozenset(PORTS)
    features: ClassVar[frozenset[str]] = frozenset(
        {"transactions", "row-level-security", "unit-of-work", "partitions", "outbox", "sealing"}
    )

    def __init__(self, config: PgConfig):
        self.config = config
        self._database = Database(config, store=self.name)
        self._gathered = Gathered(self._database)
        self._background = Background(config, store=self.name, recorder=self._database.recorder)
        self._operations = Operations(self._database)

    async def connect(self) -> None:
        """Open the pool. UnsafeRoleError for a role that row-level security does not bind."""
        await self._database.connect()
        self._gathered.open()

    async def close(self) -> None:
        """Finish the calls that were accepted, then close every connection."""
        await self._gathered.close()
        await self._background.close()
        await self._database.close()

    async def health(self) -> Health:
        """Version, milliseconds, and whether transactions miss a partition of their own.

        Its facts count how often connections were reused and calls gathered.
        """
        health = await probe(self._database, _describe)
        return with_facts(health, "", **self._usage())

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Bring `migrations/primary` up to date, with what depends on the day and the server.

        That is the partitions of the next years, and the rights of those roles that were not
        there when the revision ran which grants them.
        """
        report = await migrations.migrate(
            self.config, environment=ENVIRONMENT, store=self.name, dry_run=dry_run
        )
        if not dry_run:
            await self._grant()
            if not report.applied:
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
        return PORTS[data_type](self._database, gathered=self._gathered)

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `transactions`; nothing else here ever ages."""
        if data_type != "transactions":
            return None
        return TransactionAges(self._database, self._background)

    def unit_of_work(
        self,
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """One transaction on behalf of a tenant and service; commits at the end of the block."""
        scope = Scope(tenant=tenant, service=service, user=user)
        return unit_of_work(self._database, scope, isolation=isolation)

    async def execute_in_transaction(
        self,
        name: str,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> T:
        """The result of a named unit of work, run again where it lost; see `ports.relational`."""
        scope = Scope(tenant=tenant, service=service, user=user)
        return await self._operations.run(name, work, scope=scope, isolation=isolation)

    @property
    def outbox(self) -> PgOutbox:
        """Publishing messages outside of a unit of work."""
        return PgOutbox(self._database)

    @property
    def chains(self) -> PgChains:
        """The chains of the audit trail."""
        return PgChains(self._database)

    @property
    def sealed_items(self) -> PgSealedItems:
        """Sealed items and their heads."""
        return PgSealedItems(self._database, self._background)

    def service_blobs(self, retention: timedelta) -> PgServiceBlobs:
        """Services' blobs from elsewhere; `retention` is for those that do not say how long."""
        return PgServiceBlobs(self._database, retention)

    @property
    def attestations(self) -> PgAttestations:
        """What enclaves were proven to be."""
        return PgAttestations(self._database)

    @property
    def sealing_keys(self) -> PgKeyStore:
        """The wrapped master keys of sealing."""
        return PgKeyStore(self._database, self._background)

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
    def holds(self) -> PgHolds:
        """Legal holds."""
        return PgHolds(self._background)

    @property
    def ledger(self) -> PgLedger:
        """The scheduler's books."""
        return PgLedger(self._background)

    @property
    def backing(self) -> PgBacking:
        """How it is backed up: last of all, because the other stores refer to it."""
        return backing(self.config, self.name)

    @property
    def activity(self) -> Activity:
        """What was done over the pool, gathered, and by background work."""
        pools = {
            "background": self._background.connections,
            **self._gathered.connections,
        }
        activity = self._database.activity
        return replace(
            activity,
            connections={**activity.connections, **pools},
            gathered=self._gathered.counts,
            operations=self._operations.counts,
        )

    def _usage(self) -> dict[str, object]:
        usage = self._database.usage
        facts: dict[str, object] = {
            "connection_uses": usage.uses,
            "connection_reuse_percent": round(usage.reuse_percent, 2),
        }
        for name, counts in self._gathered.counts.items():
            facts[f"gathered_{name}"] = asdict(counts)
        facts["retries"] = asdict(self._database.retries.counts)
        facts["operations"] = {n: asdict(c) for n, c in self._operations.counts.items()}
        return facts

    async def _grant(self) -> None:
        async with self._database.translated("migrate"):
            connection = await asyncpg.connect(**self.config.connect_arguments(as_owner=True))
            try:
                await connection.execute("SELECT core.grant_readers(), core.grant_services()")
            finally:
                await connection.close()

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


async def _describe(connection: Connection, health: Health) -> Health:
    health = await describe_archiver(connection, health)
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


_: type[Store] = PostgresStore
