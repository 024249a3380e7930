"""What several processes see of each other's changes, also of those that die in the middle."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from neo_polystore.build import open_polystore
from neo_polystore.errors import NotFoundError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.polystore import Polystore
from neo_polystore.records.accounts import User
from neo_polystore.records.networks import Network
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore

SYSTEM = Scope(tenant=SYSTEM_TENANT)
PIPE = asyncio.subprocess.PIPE


def network(endpoint: str) -> Network:
    chain = random.getrandbits(61)
    return Network(chain_id=chain, name=str(chain), rpc_endpoint=endpoint)


def user() -> User:
    name = uuid4().hex
    return User(email=f"{name}@example.org", username=name)


async def run_dying(data_dir: Path, what: str, which: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.cache.dying_process", str(data_dir), what, which
    )
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("what", ["write", "work"])
async def test_a_writer_killed_after_its_commit_leaves_no_old_value(
    polystore: Polystore, data_dir: Path, what: str
) -> None:
    record = network("http://old")
    port: Any = polystore.networks
    await port.write([record])
    await port.get(record.key)
    await port.settled()
    before = port.counts.hits
    await port.get(record.key)
    assert port.counts.hits == before + 1
    await run_dying(data_dir, what, record.key)
    assert (await port.get(record.key)).rpc_endpoint == "http://new"


async def test_a_session_revoked_by_a_process_that_died_is_ended(
    polystore: Polystore, data_dir: Path
) -> None:
    accounts = polystore.accounts.within(SYSTEM)
    holder = user()
    await accounts.write([holder])
    opened = await accounts.sessions.open(holder.id, ip_address=IPv4Address("127.0.0.1"))
    token = opened.token.get_secret_value()
    for _ in range(2):
        assert (await accounts.sessions.find(token)).id == opened.session.id
    await run_dying(data_dir, "revoke", str(opened.session.id))
    with pytest.raises(NotFoundError):
        await accounts.sessions.find(token)


@pytest.mark.parametrize("how", ["revoke", "revoke_all", "refresh", "suspend", "suspend in a work"])
async def test_what_ends_a_session_is_seen_by_another_process_at_once(
    polystore: Polystore, settings: Settings, how: str
) -> None:
    async with open_polystore(settings, data_types=("accounts", "cache")) as other:
        here, there = (each.accounts.within(SYSTEM) for each in (polystore, other))
        holder = user()
        await here.write([holder])
        opened = await here.sessions.open(holder.id, ip_address=IPv4Address("127.0.0.1"))
        token = opened.token.get_secret_value()
        for sessions in (here.sessions, there.sessions, there.sessions):
            assert (await sessions.find(token)).user_id == holder.id
        suspended = holder.model_copy(update={"status": "suspended"})
        match how:
            case "revoke":
                await here.sessions.revoke(opened.session.id)
            case "revoke_all":
                assert await here.sessions.revoke_all(holder.id) == 1
            case "refresh":
                await here.sessions.refresh(opened.refresh_token.get_secret_value())
            case "suspend":
                await here.write([suspended])
            case _:
                async with polystore.unit_of_work(tenant=SYSTEM_TENANT) as work:
                    await work.repository(User).update(suspended)
        for sessions in (there.sessions, here.sessions):
            with pytest.raises(NotFoundError):
                await sessions.find(token)


async def test_a_session_is_cached_under_its_id_without_its_token(polystore: Polystore) -> None:
    accounts: Any = polystore.accounts.within(SYSTEM)
    holder = user()
    await accounts.write([holder])
    opened = await accounts.sessions.open(holder.id, ip_address=IPv4Address("127.0.0.1"))
    token = opened.token.get_secret_value()
    await accounts.sessions.find(token)
    await accounts.settled()
    stored = await polystore.cache.get(f"session:{opened.session.id}")
    assert stored is not None
    assert token.rpartition(".")[2].encode() not in stored
    hits = accounts.counts.hits
    await accounts.sessions.find(token)
    assert accounts.counts.hits == hits + 1
    with pytest.raises(NotFoundError):  # the right session, another secret
        await accounts.sessions.find(token[:-4] + "AAAA")


async def test_a_thousand_cold_misses_in_four_processes_cause_one_load(
    redis_config: RedisConfig,
) -> None:
    key = str(random.getrandbits(61))
    shown = redis_config.model_copy(update={"patience_seconds": 5.0})
    text = shown.model_dump(mode="json") | {"password": shown.password.get_secret_value()}
    config = RedisConfig.model_validate(text)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.cache.cold_process",
            orjson.dumps(text).decode(),
            key,
            "250",
            stdin=PIPE,
            stdout=PIPE,
        )
        for _ in range(4)
    ]
    async with asyncio.timeout(60):
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(each.communicate(b"go\n") for each in processes))
    assert [int(out) for out, _ in answers] == [250] * 4
    store = RedisStore(config)
    await store.connect()
    client: Any = store._client
    assert int(await client.run("test", "GET", f"loads:{key}")) == 1
    await store.close()
