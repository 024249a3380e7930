"""An audit trail over databases of its own: entries behind a proxy, chains and outbox beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.ops.sinks import AuditSink
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.documents import Documents
from neo_polystore.records.scope import Scope
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.wrappers.spooled import spooled
from tests.conftest import MakeDatabase
from tests.proxy import Proxy

QUICK = RelayOptions(poll=0.01, lease=1.0, first_pause=0.005, longest_pause=0.02)


@dataclass
class Place:
    """Where a trail and its parts are."""

    proxy: Proxy
    entries: PgConfig
    store: PostgresStore
    primary: Documents
    trail: AuditTrail

    def relay(self) -> Relay:
        sink = AuditSink(self.primary, self.store.chains)
        return Relay(self.store.feed, {"audit_logs": sink}.get, holder="test", options=QUICK)

    async def deliver(self) -> None:
        """Deliver what waits in the outbox."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.relay().run_forever(stop))
        while await self.depth():
            await asyncio.sleep(0.01)
        stop.set()
        await running

    async def depth(self) -> int:
        topics = (await self.store.outbox_admin.status()).topics
        return sum(topic.depth for topic in topics if topic.topic == "audit_logs")

    async def administer(self, config: PgConfig, sql: str, *values: Any) -> str:
        """Do what no role of the application may: as the owner."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            **config.connect_arguments(as_owner=True)
        )
        try:
            return str(await connection.execute(sql, *values))
        finally:
            await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(make_database: MakeDatabase) -> AsyncIterator[Place]:
    store = PostgresStore(await make_database("trail"))
    await store.migrate()
    await store.connect()
    config = await make_database("entries")
    async with Proxy(config.host, config.port) as proxy:
        near = config.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        documents = JsonbStore(near)
        await documents.migrate()
        await documents.connect()
        primary = documents.port("audit_logs")
        port: Any = spooled("audit_logs", primary, store.outbox)
        port._pause = 0.0
        yield Place(proxy, config, store, primary, AuditTrail(port, store.chains))
        proxy.restore()
        await documents.close()
    await store.close()


@pytest.fixture
def tenant() -> UUID:
    return uuid4()


@pytest.fixture
def trail(place: Place, tenant: UUID) -> AuditTrail:
    """The trail of a tenant that no other test has."""
    return place.trail.within(Scope(tenant=tenant))
