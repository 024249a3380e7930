"""The stores' own clients, connected to embedded servers."""

from __future__ import annotations

import asyncpg
import redis.asyncio
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from neo_polystore.embedded import ServerAddress


async def postgres(address: ServerAddress) -> asyncpg.Connection:
    """A connection to the maintenance database."""
    return await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database="postgres",
    )


def redis_client(address: ServerAddress) -> redis.asyncio.Redis:
    """A client of database 0."""
    return redis.asyncio.Redis(
        host=address.host,
        port=address.port,
        username=address.user,
        password=address.password,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )


def clickhouse(address: ServerAddress, compress: bool | str = True) -> Client:
    """An ordinary HTTP client."""
    return get_client(
        host=address.host,
        port=address.port,
        username=address.user,
        password=address.password,
        compress=compress,
    )
