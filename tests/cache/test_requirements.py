"""Keys and TTLs as the specifications list them, written down here apart from the code.

Each case reads through the facade and then looks for the exact key with Redis's own client.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from neo_polystore.build import open_polystore
from neo_polystore.cached_query import cached_query
from neo_polystore.errors import UsageError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.polystore import Polystore
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.records.accounts import User
from neo_polystore.records.metric_query import MetricQuery
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.scope import Scope
from neo_polystore.routing import load_routing
from neo_polystore.samples import samples
from neo_polystore.settings import Settings

SYSTEM = Scope(tenant=SYSTEM_TENANT)

Client = Callable[..., Awaitable[Any]]
Read = Callable[[], Awaitable[Any]]
Case = Callable[[Polystore], Awaitable[tuple[str, Any, Read]]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def polystore(settings: Settings) -> AsyncIterator[Polystore]:
    """With keys of its own, and patience for a busy machine."""
    update = {"neo_redis_namespace": f"{uuid4().hex}:", "neo_cache_budget_ms": 60_000}
    async with open_polystore(settings.model_copy(update=update)) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(polystore: Polystore) -> AsyncIterator[Client]:
    """Redis's own client: `await client("PTTL", "price:NEO")`."""
    store: Any = polystore.stores["redis"]
    config = store._client.config
    driver: Any = Redis(
        host=config.host, port=config.port, password=config.password.get_secret_value()
    )

    async def ask(command: str, key: str) -> Any:
        return await driver.execute_command(command, f"{config.namespace}{key}")

    yield ask
    await driver.aclose()


# --- what the routing table gives a cache ---------------------------------------------------


async def account(polystore: Polystore) -> tuple[str, Any, Read]:
    name = uuid4().hex
    user = User(email=f"{name}@example.org", username=name)
    port = polystore.accounts.within(SYSTEM)
    await port.write([user])
    return f"user:{user.id}:profile", port, lambda: port.get(str(user.id))


def sample(data_type: str, pattern: str) -> Case:
    async def prepare(polystore: Polystore) -> tuple[str, Any, Read]:
        for needed in ("networks", data_type):
            port: Any = polystore.port(needed).within(SYSTEM)
            await port.write(list(samples(needed)))
        key = samples(data_type)[0].key
        return pattern.format(key), port, lambda: port.get(key)

    return prepare


async def metric(polystore: Polystore) -> tuple[str, Any, Read]:
    now, service = datetime.now(UTC).replace(minute=0, second=0, microsecond=0), uuid4().hex
    await polystore.metrics.write([MetricPoint(time=now, service=service, name="cpu", value=1.0)])
    until, hour = now + timedelta(hours=1), timedelta(hours=1)
    query = MetricQuery(service, until - 2 * hour, until, step=hour, aggregates=("count",))
    digest = hashlib.sha256(query.normal().canonical()).hexdigest()
    return f"metrics:{digest}", polystore.metrics, lambda: polystore.metrics.query(query)


CACHED: dict[str, tuple[int, Case]] = {
    "accounts": (300, account),
    "networks": (300, sample("networks", "network:{}")),
    "wallets": (600, sample("wallets", f"wallet:{SYSTEM_TENANT}:{{}}")),
    "transactions": (60, sample("transactions", "tx:{}")),
    "contracts": (300, sample("contracts", "contract:{}")),
    "contract_metadata": (300, sample("contract_metadata", "doc:contract_metadata:{}")),
    "metrics": (60, metric),
}
"""For each data type the TTL in seconds, and what makes a record to read."""


@pytest.mark.parametrize("profile", ["server", "embedded"])
def test_every_data_type_with_a_cache_in_the_routing_table_is_a_case_here(profile: str) -> None:
    assert {route.data_type for route in load_routing(profile) if route.cache} == CACHED.keys()


@pytest.mark.parametrize("data_type", CACHED)
async def test_a_read_leaves_its_key_with_its_ttl_and_the_next_one_is_a_hit(
    polystore: Polystore, client: Client, data_type: str
) -> None:
    longest, prepare = CACHED[data_type]
    key, port, read = await prepare(polystore)
    first = await read()
    if data_type != "metrics":
        await port.settled()
    assert await client("TYPE", key) == b"string"
    assert 0 < await client("PTTL", key) <= longest * 1000
    hits = port.counts.hits
    assert await read() == first
    assert port.counts.hits == hits + 1


# --- the key families -----------------------------------------------------------------------


async def test_a_session_is_at_its_id_for_an_hour(polystore: Polystore, client: Client) -> None:
    accounts: Any = polystore.accounts.within(SYSTEM)
    name = uuid4().hex
    user = User(email=f"{name}@example.org", username=name)
    await accounts.write([user])
    opened = await accounts.sessions.open(user.id, ip_address=IPv4Address("127.0.0.1"))
    await accounts.sessions.find(opened.token.get_secret_value())
    await accounts.settled()
    assert 0 < await client("PTTL", f"session:{opened.session.id}") <= 3600 * 1000


async def test_a_limits_counter_is_at_client_and_endpoint_for_its_window(
    polystore: Polystore, client: Client
) -> None:
    name = uuid4().hex
    await polystore.limits.check(name, "/api/tx", limit=5)
    assert await client("GET", f"rate_limit:{name}:/api/tx") == b"1"
    assert 0 < await client("PTTL", f"rate_limit:{name}:/api/tx") <= 60 * 1000


FAMILIES = {
    "compute": ("compute:{}:result", 86400),
    "price": ("price:{}", 10),
    "config": ("config:{}", 600),
    "oracle": ("oracle:{}", 300),
    "user_data": ("user_data:{}", 600),
    "asset_data": ("asset_data:{}", 300),
    "trading": ("trading:{}", 60),
    "price_data": ("price_data:{}", 30),
    "analytics": ("analytics:{}", 1800),
}
"""What services read through the decorator: pattern and TTL."""


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_service_reads_through_the_prescribed_key_until_it_is_told_to_forget(
    polystore: Polystore, client: Client, family: str
) -> None:
    pattern, longest = FAMILIES[family]
    asked: list[str] = []

    @cached_query(family=family, tags=("prices",))
    async def value_of(work: UnitOfWork, name: str) -> dict[str, int]:
        asked.append(name)
        return {name: len(asked)}

    name = uuid4().hex
    work: Any
    async with polystore.unit_of_work() as work:
        assert await value_of(work, name) == {name: 1}
        await until_filled(work)
        assert await value_of(work, name) == {name: 1}
        assert 0 < await client("PTTL", pattern.format(name)) <= longest * 1000
        await work.query_cache.forget(family, name)
        assert await client("EXISTS", pattern.format(name)) == 0
        assert await value_of(work, name) == {name: 2}
        await work.query_cache.invalidate("prices")
        assert await value_of(work, name) == {name: 3}


async def test_two_functions_at_one_key_never_read_each_others_results(
    polystore: Polystore,
) -> None:
    name = uuid4().hex

    @cached_query(family="price", name="one")
    async def one(work: UnitOfWork, symbol: str) -> int:
        return 1

    @cached_query(family="price", name="two")
    async def two(work: UnitOfWork, symbol: str) -> int:
        return 2

    async with polystore.unit_of_work() as work:
        for _ in range(2):
            assert (await one(work, name), await two(work, name)) == (1, 2)
            await until_filled(work)


async def test_arguments_that_do_not_fit_a_familys_key_are_an_error(polystore: Polystore) -> None:
    @cached_query(family="price")
    async def price(work: UnitOfWork, symbol: str, currency: str) -> int:
        return 1

    async with polystore.unit_of_work() as work:
        with pytest.raises(UsageError, match="takes 1 parts"):
            await price(work, "NEO", "USD")


async def until_filled(work: Any) -> None:
    await work.query_cache._reading.loads.settled()
