"""An event store of these tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from neo_polystore.stores.event_store.store import EventStore
from tests.conftest import MakeDatabase


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(make_database: MakeDatabase) -> AsyncIterator[EventStore]:
    config = await make_database("event_store")
    store = EventStore(config.model_copy(update={"max_connections": 24}))
    await store.migrate()
    await store.connect()
    yield store
    await store.close()
