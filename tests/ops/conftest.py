"""The relational store of these tests, and a sink that keeps what it gets in its own tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase

MakeStore = Callable[[], Awaitable[PostgresStore]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def make_store(make_database: MakeDatabase) -> AsyncIterator[MakeStore]:
    """Makes a store on a migrated database of its own."""
    stores: list[PostgresStore] = []

    async def make() -> PostgresStore:
        store = PostgresStore(await make_database("ops"))
        stores.append(store)
        await store.migrate()
        await store.connect()
        return store

    yield make
    for store in stores:
        await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(make_store: MakeStore) -> PostgresStore:
    """The store of this module's tests, which use topics of their own."""
    return await make_store()


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t-{uuid4().hex[:12]}"


async def owner_of(store: PostgresStore) -> asyncpg.Connection[asyncpg.Record]:
    """A connection as the owner of the schema."""
    return await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
