"""An embedded platform of these tests' own settings, and how to make its records old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest_asyncio

from neo_polystore.pgkit.database import PgConfig
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase

OLD = datetime.now(UTC).replace(microsecond=0) - timedelta(days=365 * 8)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def primary(make_database: MakeDatabase) -> AsyncIterator[PostgresStore]:
    """A relational store, with the holds, on a database of its own."""
    config: PgConfig = await make_database("retention")
    store = PostgresStore(config)
    await store.migrate()
    await store.connect()
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def documents(primary: PostgresStore) -> AsyncIterator[JsonbStore]:
    """Documents in the same database."""
    store = JsonbStore(primary.config)
    await store.migrate()
    await store.connect()
    yield store
    await store.close()


def entries(count: int, *, time: datetime = OLD, **fields: Any) -> list[dict[str, Any]]:
    """So many bodies of `audit_logs`."""
    return [
        {
            "_id": uuid4().hex,
            "timestamp": time + timedelta(milliseconds=n),
            "user_id": "u",
            "action": "READ",
            "resource": "r",
            **fields,
        }
        for n in range(count)
    ]


async def owner_of(config: PgConfig) -> asyncpg.Connection[asyncpg.Record]:
    """A connection as the owner of the schema."""
    return await asyncpg.connect(**config.connect_arguments(as_owner=True))
