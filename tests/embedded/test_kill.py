"""kill -9 of anything: what was acknowledged is there again, by itself or at the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from redis.exceptions import RedisError

from neo_polystore.embedded import EmbeddedError, KeeperStatus, ServerAddress, status
from tests.embedded import clients
from tests.embedded.conftest import Join, eventually
from tests.embedded.members import member
from tests.embedded.processes import family, kill, left_overs

# asyncpg reports a connection that broke in mid-statement in all of these ways.
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


async def _write_until_lost(address: ServerAddress, started: asyncio.Event) -> int:
    """Insert 1, 2, 3, ... until the server is gone; the last number that was acknowledged."""
    connection = await clients.postgres(address)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n bigint PRIMARY KEY)")
    number = await connection.fetchval("SELECT coalesce(max(n), 0) FROM kept")
    try:
        while True:
            await connection.execute("INSERT INTO kept VALUES ($1)", number + 1)
            number += 1
            if number % 100 == 0:
                started.set()
    except _LOST:
        return int(number)
    finally:
        connection.terminate()


async def _count_kept(address: ServerAddress) -> int:
    connection = await clients.postgres(address)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


async def _kill_while_writing(address: ServerAddress, *victims: int) -> int:
    started = asyncio.Event()
    writer = asyncio.create_task(_write_until_lost(address, started))
    await asyncio.wait_for(started.wait(), 20)
    kill(*victims)
    return await asyncio.wait_for(writer, 20)


def _pid(answer: KeeperStatus, server: str) -> int:
    assert answer.servers
    pid = answer.servers[server].pid
    assert pid
    return pid


def _state(data_dir: Path) -> tuple[str, int | None]:
    """Redis's state, and its process while it runs."""
    server = (status(data_dir).servers or {})["redis"]
    return server.state, server.pid


async def test_killed_keeper_is_replaced(data_dir: Path, join: Join) -> None:
    one = await join()
    before = await one.ensure("postgres")
    keeper = status(data_dir).pid
    assert keeper
    acknowledged = await _kill_while_writing(before, keeper)
    await eventually(lambda: status(data_dir).pid not in (None, keeper))
    assert await one.ensure("postgres") == before
    assert await _count_kept(before) in (acknowledged, acknowledged + 1)


async def test_servers_come_back_without_being_asked(data_dir: Path, join: Join) -> None:
    one = await join()
    client = clients.redis_client(await one.ensure("redis"))
    await client.set("k", "v")
    kill(status(data_dir).pid or 0)

    async def answers() -> str:
        async with asyncio.timeout(20):
            while True:
                try:
                    return str(await client.get("k"))
                except (OSError, RedisError):
                    await asyncio.sleep(0.01)

    assert await answers() == "v"
    await client.aclose()


async def test_killed_postgres_is_restarted(data_dir: Path, join: Join) -> None:
    one = await join()
    before = await one.ensure("postgres")
    postmaster = _pid(status(data_dir), "postgres")
    acknowledged = await _kill_while_writing(before, *family(postmaster))
    await eventually(lambda: (status(data_dir).servers or {})["postgres"].pid != postmaster)
    assert await one.ensure("postgres") == before
    assert await _count_kept(before) in (acknowledged, acknowledged + 1)


async def test_killed_postmaster_alone_is_restarted(data_dir: Path, join: Join) -> None:
    """Its orphaned backends must be gone before the next one starts."""
    one = await join()
    before = await one.ensure("postgres")
    postmaster = _pid(status(data_dir), "postgres")
    acknowledged = await _kill_while_writing(before, postmaster)
    await eventually(lambda: (status(data_dir).servers or {})["postgres"].pid != postmaster)
    assert await one.ensure("postgres") == before
    assert await _count_kept(before) in (acknowledged, acknowledged + 1)


async def test_everything_killed_then_the_next_start_recovers(data_dir: Path) -> None:
    async with member(data_dir) as victim:
        address = await victim.ensure("postgres")
        redis_address = await victim.ensure("redis")
        client = clients.redis_client(redis_address)
        await client.set("k", "v")
        await client.aclose()
        acknowledged = await _kill_while_writing(address, victim.pid, *left_overs(data_dir))
    async with member(data_dir) as heir:
        assert await _count_kept(await heir.ensure("postgres")) in (acknowledged, acknowledged + 1)
        client = clients.redis_client(await heir.ensure("redis"))
        assert await client.get("k") == "v"
        await client.aclose()
        await heir.leave()


async def test_redis_killed_keeps_its_data(data_dir: Path, join: Join) -> None:
    one = await join()
    address = await one.ensure("redis")
    client = clients.redis_client(address)
    await client.set("k", "v")
    await client.aclose()
    victim = _pid(status(data_dir), "redis")
    kill(victim)
    await eventually(lambda: (status(data_dir).servers or {})["redis"].pid not in (None, victim))
    assert await one.ensure("redis") == address
    client = clients.redis_client(address)
    assert await client.get("k") == "v"
    await client.aclose()


async def test_server_that_keeps_ending_is_given_up_with_its_log(
    data_dir: Path, join: Join
) -> None:
    """What cannot work must not be restarted for ever."""
    one = await join()
    await one.ensure("redis")
    (data_dir / "redis" / "appendonly.aof").write_text("nonsense")
    kill(_pid(status(data_dir), "redis"))
    await eventually(lambda: (status(data_dir).servers or {})["redis"].state == "failed")
    with pytest.raises(EmbeddedError, match="Bad file format"):
        await one.ensure("redis")
    (data_dir / "redis" / "appendonly.aof").unlink()
    await one.ensure("redis")


async def test_server_that_is_killed_again_and_again_comes_back(data_dir: Path, join: Join) -> None:
    """Whoever uses it asks for nothing: it must not be given up for somebody else's kills."""
    one = await join()
    await one.ensure("redis")
    for _ in range(7):
        before = _pid(status(data_dir), "redis")
        kill(before)
        async with asyncio.timeout(20):
            while (found := _state(data_dir))[0] != "running" or found[1] in (None, before):
                assert found[0] != "failed"
                await asyncio.sleep(0.01)
