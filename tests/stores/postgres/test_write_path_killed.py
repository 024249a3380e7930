"""The server dies under the write path: what was acknowledged is there, and calls work again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neo_polystore.embedded import Membership, status
from neo_polystore.errors import NotFoundError, UnavailableError
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import load_network
from tests.embedded.processes import family, kill
from tests.stores.postgres.test_write_path import transaction

AT_ONCE = 2_000
"""Reads that wait together; far more would be refused."""

CALLERS = 300


@dataclass
class Victim:
    """A store whose server the test may kill."""

    directory: Path
    store: PostgresStore

    def postmaster(self) -> int | None:
        """The server's process."""
        servers = status(self.directory).servers or {}
        return servers["postgres"].pid if "postgres" in servers else None

    async def kill(self) -> None:
        """kill -9 of the whole server; returns when the keeper has started another one."""
        before = self.postmaster()
        assert before
        kill(*family(before))
        async with asyncio.timeout(60):
            while self.postmaster() in (None, before):
                await asyncio.sleep(0.01)

    async def until_it_works(self) -> None:
        """Write until a write succeeds."""
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.store.port("transactions").write([transaction()])
                    return
                except UnavailableError:
                    await asyncio.sleep(0.01)


@pytest.fixture
async def victim() -> AsyncIterator[Victim]:
    """A server of the test's own, in a directory of its own."""
    parent = Path(tempfile.mkdtemp(prefix="neo-polystore-killed-"))
    membership = await Membership.join(parent / "data")
    try:
        server = await membership.ensure("postgres")
        config = await prepare_database(
            host=server.host,
            port=server.port,
            admin=server.user,
            admin_password=server.password,
            database="primary",
        )
        store = PostgresStore(config)
        await store.migrate()
        await store.connect()
        await load_network(store)
        yield Victim(parent / "data", store)
        await store.close()
    finally:
        await membership.leave()
        shutil.rmtree(parent, ignore_errors=True)


async def _killed_under_load(victim: Victim, chance: random.Random) -> list[str]:
    """The keys that were acknowledged by a server that was killed under many callers."""
    port = victim.store.port("transactions")
    acknowledged: list[str] = []
    enough = chance.randrange(2_000, 6_000)
    reached = asyncio.Event()

    async def caller() -> None:
        while True:
            record = transaction()
            written = await port.write([record])
            assert written.new == 1
            acknowledged.append(record.key)
            if len(acknowledged) >= enough:
                reached.set()

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    await reached.wait()
    killing = asyncio.create_task(victim.kill())
    answers = await asyncio.gather(*callers, return_exceptions=True)
    await killing
    assert {type(answer) for answer in answers} == {UnavailableError}
    return acknowledged


async def _all_there(victim: Victim, keys: list[str]) -> None:
    port = victim.store.port("transactions")

    async def is_there(key: str) -> bool:
        try:
            return bool((await port.get(key)).key == key)
        except NotFoundError:
            return False

    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        assert all(await asyncio.gather(*map(is_there, some)))


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_what_was_acknowledged_survives_kill_9(victim: Victim, rounds: int) -> None:
    seed = int(os.environ.get("NEO_TEST_SEED", "11"))
    chance = random.Random(seed)
    keys: list[str] = []
    for _ in range(rounds):
        keys += await _killed_under_load(victim, chance)
        await victim.until_it_works()
    await _all_there(victim, keys)


async def test_idle_connections_are_replaced_after_a_restart(victim: Victim) -> None:
    port = victim.store.port("transactions")
    records = [transaction() for _ in range(300)]
    await asyncio.gather(*(port.write([record]) for record in records))
    await asyncio.gather(*(port.get(record.key) for record in records))
    await victim.kill()
    await victim.until_it_works()
    await _all_there(victim, [record.key for record in records])
    assert (await port.write([transaction()])).new == 1
