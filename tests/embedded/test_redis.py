"""The embedded Redis: passwords and persistence settings."""

from __future__ import annotations

import asyncio

import pytest
import redis.exceptions

from neo_polystore.embedded import ServerAddress
from tests.embedded import clients
from tests.embedded.conftest import Join


async def test_password_is_needed(join: Join) -> None:
    good = await (await join()).ensure("redis")
    client = clients.redis_client(ServerAddress(good.host, good.port, good.user, "wrong"))
    with pytest.raises(redis.exceptions.AuthenticationError):
        await client.ping()
    await client.aclose()
    reader, writer = await asyncio.open_connection(good.host, good.port)
    writer.write(b"PING\r\n")
    assert (await reader.readline()).startswith(b"-NOAUTH")
    writer.close()
    await writer.wait_closed()


async def test_settings_are_in_force(join: Join) -> None:
    client = clients.redis_client(await (await join()).ensure("redis"))
    settings = await client.config_get("*")
    await client.aclose()
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["bind"] == "127.0.0.1"
