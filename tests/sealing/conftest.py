"""Sealing over a database of its own, with the audit trail of the shared platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.keys.local import LocalWrapper
from neo_polystore.polystore import Polystore
from neo_polystore.records.sealing import Opener
from neo_polystore.sealing.items import Draft, OwnItems, Rules
from neo_polystore.sealing.ring import KeyRing
from neo_polystore.sealing.service import Sealing
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase
from tests.sealing.making import LABELLED


@dataclass
class Bench:
    """Sealing, its store, and a way past every rule (as the administrator of the server)."""

    sealing: Sealing
    store: PostgresStore
    trail: AuditTrail
    administrator: asyncpg.Connection[Any]

    def another(self, *, rules: Rules | None = None) -> Sealing:
        """As another process has it: keys of its own."""
        return sealing_over(self.store, self.trail, rules=rules)

    async def entries(self, resource_id: str) -> list[dict[str, Any]]:
        """The payloads of audit entries in the outbox about a sealed item, oldest first."""
        rows = await self.administrator.fetch(
            "SELECT payload FROM outbox.messages WHERE topic = 'audit_logs'"
            " AND payload::text LIKE $1 ORDER BY id",
            f"%{resource_id}%",
        )
        return [row["payload"] for row in rows]


def sealing_over(store: PostgresStore, trail: AuditTrail, *, rules: Rules | None = None) -> Sealing:
    return Sealing(
        store,
        KeyRing(store.sealing_keys, lambda: LocalWrapper(bytes(32))),
        trail=trail,
        rules=rules,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bench(
    make_database: MakeDatabase, polystore: Polystore, embedded: Any
) -> AsyncIterator[Bench]:
    """One for each module: what one has tampered with must not stand in the way of a rotation."""
    config = await make_database("sealing")
    store = PostgresStore(config)
    await store.migrate()
    await store.connect()
    server = await embedded.ensure("postgres")
    administrator = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=config.database,
    )
    try:
        yield Bench(
            sealing_over(store, polystore.audit, rules=None),
            store,
            polystore.audit,
            administrator,
        )
    finally:
        await administrator.close()
        await store.close()


@pytest.fixture
def items(bench: Bench) -> OwnItems:
    """The items of the system's user."""
    return bench.sealing.of_user(SYSTEM_TENANT, SYSTEM_USER)


@pytest.fixture
def service(bench: Bench) -> OwnItems:
    """The items of a service of the test's own."""
    return bench.sealing.of_service(f"service-{uuid4().hex[:8]}")


OPENER = Opener(label=LABELLED.label)


def draft(key: str | None = None, content: bytes = b"secret", **fields: Any) -> Draft:
    """Something to seal, under the label that OPENER names."""
    return Draft(key or uuid4().hex, content, **{"identity": LABELLED, **fields})


def system_user() -> tuple[UUID, UUID]:
    return SYSTEM_TENANT, SYSTEM_USER
