"""`@cached_query`: results by tenant and arguments, until what they were read from changes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.build import open_polystore
from neo_polystore.cached_query import cached_query
from neo_polystore.errors import UsageError
from neo_polystore.ids import SYSTEM_TENANT, uuid7
from neo_polystore.polystore import Polystore
from neo_polystore.ports.relational import Repository, UnitOfWork
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.settings import Settings

ran: list[Any] = []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def polystore(settings: Settings) -> AsyncIterator[Polystore]:
    """With keys of its own: other tests leave unfinished changes of the same tags behind."""
    update = {"neo_redis_namespace": f"{uuid4().hex}:", "neo_cache_budget_ms": 60_000}
    apart = settings.model_copy(update=update)
    async with open_polystore(apart, data_types=("networks", "cache")) as opened:
        yield opened


def network() -> Network:
    chain = random.getrandbits(61)
    return Network(chain_id=chain, name=str(chain), rpc_endpoint="http://localhost")


@cached_query(ttl=60, tags=("networks",))
async def named(work: UnitOfWork, name: str, *, active: bool = True) -> list[Network]:
    ran.append(name)
    found = await work.repository(Network).find(Query().where("name", name))
    return [record for record in found.records if record.is_active == active]


@cached_query(tags=("networks",))
async def how_many(networks: Repository[Network], name: str) -> int:
    ran.append(name)
    return await networks.count(Query().where("name", name))


async def ask(polystore: Polystore, name: str, **scope: Any) -> list[Network]:
    async with polystore.unit_of_work(**scope) as work:
        return await named(work, name)


async def test_the_second_call_reads_nothing_until_the_data_type_changes(
    polystore: Polystore,
) -> None:
    record = network()
    await polystore.networks.write([record])
    ran.clear()
    assert [await ask(polystore, record.name) for _ in range(3)] == [[record]] * 3
    assert ran == [record.name]
    async with polystore.unit_of_work() as work:
        await work.repository(Network).update(record.model_copy(update={"is_active": False}))
    assert await ask(polystore, record.name) == []
    await polystore.networks.write([record])
    assert await ask(polystore, record.name) == [record]


async def test_a_repository_is_a_source_as_well(polystore: Polystore) -> None:
    name = uuid4().hex
    ran.clear()
    for _ in range(2):
        async with polystore.unit_of_work() as work:
            assert await how_many(work.repository(Network), name) == 0
    assert ran == [name]


async def test_arguments_tenants_and_services_are_kept_apart(polystore: Polystore) -> None:
    name = uuid4().hex
    ran.clear()
    for scope in ({"tenant": SYSTEM_TENANT}, {"tenant": uuid7()}, {"service": "one"}, {}):
        for _ in range(2):
            await ask(polystore, name, **scope)
    await ask(polystore, name + "!")
    assert len(ran) == 5


async def test_defaults_and_keywords_make_the_same_key(polystore: Polystore) -> None:
    name = uuid4().hex
    ran.clear()
    async with polystore.unit_of_work() as work:
        await named(work, name)
        await named(work, name=name, active=True)
    assert ran == [name]


async def test_a_work_that_has_changed_something_reads_its_own_changes(
    polystore: Polystore,
) -> None:
    record = network()
    await ask(polystore, record.name)
    async with polystore.unit_of_work() as work:
        await work.repository(Network).add(record)
        assert await named(work, record.name) == [record]
    assert await ask(polystore, record.name) == [record]


async def test_an_older_snapshot_neither_reads_nor_fills_the_cache(polystore: Polystore) -> None:
    record = network()
    async with polystore.unit_of_work(isolation="repeatable_read") as work:
        assert await named(work, record.name) == []
        await polystore.networks.write([record])
        assert await named(work, record.name) == []
    assert await ask(polystore, record.name) == [record]


async def test_arguments_that_make_no_key_are_refused(polystore: Polystore) -> None:
    async with polystore.unit_of_work() as work:
        with pytest.raises(UsageError, match="make no key"):
            await named(work, object())  # type: ignore[arg-type]


async def test_a_query_that_does_not_say_what_it_returns_is_refused(polystore: Polystore) -> None:
    @cached_query()
    async def silent(work: UnitOfWork):  # type: ignore[no-untyped-def]
        return 1

    async with polystore.unit_of_work() as work:
        with pytest.raises(UsageError, match="must say what it returns"):
            await silent(work)
