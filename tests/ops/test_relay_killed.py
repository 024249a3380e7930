"""The relay killed with signal 9 again and again, over a sink that fails at random."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

import asyncpg
import pytest

from neo_polystore.pgkit.database import PgConfig
from neo_polystore.stores.postgres.store import PostgresStore
from tests.addresses import told
from tests.ops.conftest import MakeStore, owner_of
from tests.ops.sinks import TABLES

KEYS = 40
WRITERS = 12


@pytest.mark.parametrize(
    ("messages", "kills"),
    [
        pytest.param(2_000, 5, id="short"),
        pytest.param(20_000, 30, id="long", marks=pytest.mark.long),
    ],
)
async def test_every_message_arrives_in_order_and_takes_effect_once(
    make_store: MakeStore, messages: int, kills: int
) -> None:
    store = await make_store()
    owner = await owner_of(store)
    try:
        await owner.execute(TABLES)
        await owner.execute("CREATE TABLE public.counters (key text PRIMARY KEY, n int NOT NULL)")
        await owner.execute("GRANT SELECT, INSERT, UPDATE ON public.counters TO neo_app")
        writing = asyncio.create_task(_write(store, messages))
        await _kill_relays(store, owner, messages=messages, kills=kills)
        assert await writing == messages
        await _check(owner, messages)
    finally:
        await owner.close()


async def _write(store: PostgresStore, messages: int) -> int:
    """Count upwards per key, and publish each number; some units of work pause, some fail."""
    left = iter(range(messages))
    done = 0

    async def writer(chance: random.Random) -> None:
        nonlocal done
        for _ in left:
            while not await _count(store, chance):
                pass
            done += 1

    await asyncio.gather(*(writer(random.Random(seed)) for seed in range(WRITERS)))
    return done


class _ThrownAwayError(Exception):
    pass


async def _count(store: PostgresStore, chance: random.Random) -> bool:
    key = f"k{chance.randrange(KEYS)}"
    try:
        async with store.unit_of_work() as work:
            async with work._database.acquire("count") as connection:
                n = await connection.fetchval(
                    "INSERT INTO public.counters AS c VALUES ($1, 1)"
                    " ON CONFLICT (key) DO UPDATE SET n = c.n + 1 RETURNING n",
                    key,
                )
            await work.publish("counted", key, {"n": n})
            fate = chance.random()
            if fate < 0.1:
                await work.write_messages()
                await asyncio.sleep(chance.random() * 0.01)
            if fate < 0.03:
                raise _ThrownAwayError
    except _ThrownAwayError:
        return False
    return True


async def _kill_relays(
    store: PostgresStore,
    owner: asyncpg.Connection[asyncpg.Record],
    *,
    messages: int,
    kills: int,
) -> None:
    """Start a relay and kill it in the middle of its work, `kills` times; let the last finish."""
    chance = random.Random(7)
    for kill in range(kills):
        process = await _relay(store.config)
        seen = await _received(owner)
        target = min(seen + chance.randrange(1, max(2, messages // (2 * kills))), messages)
        while await _received(owner) < target and process.returncode is None:
            await asyncio.sleep(0.005)
        assert process.returncode is None
        process.kill()
        await process.wait()
        assert await _received(owner) < messages or kill == kills - 1
    process = await _relay(store.config)
    async with asyncio.timeout(120):
        while await _received(owner) < messages:
            await asyncio.sleep(0.05)
    assert process.stdin
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def _relay(config: PgConfig) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ops.relay_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(told(config)).encode() + b"\n")
    assert await process.stdout.readline() == b"ready\n"
    return process


async def _received(owner: asyncpg.Connection[asyncpg.Record]) -> int:
    return int(await owner.fetchval("SELECT count(*) FROM public.received"))


async def _check(owner: asyncpg.Connection[asyncpg.Record], messages: int) -> None:
    rows = await owner.fetch("SELECT key, n FROM public.received ORDER BY seq")
    by_key: dict[str, list[int]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row["n"])
    # every number of every key, once, in the order in which it was committed
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_key.values())
    assert sum(map(len, by_key.values())) == messages
    counted = await owner.fetch("SELECT key, n FROM public.counters")
    assert {row["key"]: row["n"] for row in counted} == {k: len(v) for k, v in by_key.items()}
    assert await owner.fetchval("SELECT count(*) FROM public.attempts") > messages
    assert await owner.fetchval("SELECT count(*) FROM outbox.dead_letters") == 0
