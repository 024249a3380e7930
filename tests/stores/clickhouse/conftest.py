"""A ClickHouse database of one's own in the embedded engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.embedded import Membership
from neo_polystore.embedded.values import ServerAddress
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.store import ClickHouseStore


def config_for(server: ServerAddress) -> ClickHouseConfig:
    """A database that does not exist yet, on this server."""
    return ClickHouseConfig(
        host=server.host,
        port=server.port,
        user=server.user,
        password=SecretStr(server.password),
        database=f"test_{uuid4().hex[:8]}",
    )


@pytest_asyncio.fixture(loop_scope="session")
async def config(embedded: Membership) -> ClickHouseConfig:
    """Where an empty database would be."""
    return config_for(await embedded.ensure("clickhouse"))


@pytest_asyncio.fixture(loop_scope="session")
async def store(config: ClickHouseConfig) -> AsyncIterator[ClickHouseStore]:
    """A migrated and connected store."""
    opened = ClickHouseStore(config)
    await opened.migrate()
    await opened.connect()
    yield opened
    await opened.close()
