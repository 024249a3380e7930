"""What is particular to Redis: keys as prescribed, scripts, errors and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.crc import key_slot

from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError
from neo_polystore.ids import uuid7
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.keys import FAMILIES, Keys
from neo_polystore.stores.redis.store import RedisStore
from tests.proxy import Proxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def config(redis_config: RedisConfig) -> RedisConfig:
    """Database 7, without a namespace, so that keys are seen as they are by default."""
    return redis_config.model_copy(update={"db": 7, "namespace": ""})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(config)
    await store.connect()
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(config: RedisConfig) -> AsyncIterator[Any]:
    """The driver itself, as any other program would use it."""
    client = Redis(
        host=config.host, port=config.port, db=7, password=config.password.get_secret_value()
    )
    yield client
    await client.aclose()


@pytest.mark.parametrize(
    ("family", "parts", "key", "ttl"),
    [
        ("session", ("abc",), "session:abc", 3600),
        ("user", ("42",), "user:42:profile", 300),
        ("rate_limit", ("alice", "/api/x"), "rate_limit:alice:/api/x", 60),
        ("compute", ("job-1",), "compute:job-1:result", 86400),
        ("price", ("NEO",), "price:NEO", 10),
        ("config", ("oracle",), "config:oracle", 600),
        ("transaction", ("1:0xab",), "tx:1:0xab", 60),
        ("document", ("contract_metadata", "neo:0xab"), "doc:contract_metadata:neo:0xab", 300),
        ("metrics", ("9f",), "metrics:9f", 60),
        ("oracle", ("NEO/USD",), "oracle:NEO/USD", 300),
    ],
)
def test_keys_and_ttls_are_the_prescribed_ones(
    family: str, parts: tuple[str, ...], key: str, ttl: float
) -> None:
    found = Keys().family(family)
    assert (found.key(*parts), found.ttl) == (key, ttl)


def test_class_ttls_are_the_prescribed_ones() -> None:
    names = ("user_data", "asset_data", "trading", "price_data", "analytics")
    assert [FAMILIES[name].ttl for name in names] == [600, 300, 60, 30, 1800]


def test_every_ttl_can_be_configured() -> None:
    keys = Keys(ttls=dict.fromkeys(FAMILIES, 7.0))
    assert {keys.family(name).ttl for name in FAMILIES} == {7.0}


def test_an_unknown_family_in_the_configuration_is_named() -> None:
    with pytest.raises(ConfigError, match="prise"):
        RedisStore(RedisConfig(ttls={"prise": 1}))


def test_names_never_choose_a_cluster_slot() -> None:
    keys = [FAMILIES["rate_limit"].key("{x}", f"{{x}}{number}") for number in range(50)]
    assert len({key_slot(key.encode()) for key in keys}) > 40


async def test_a_limit_key_looks_as_prescribed_and_expires(store: RedisStore, client: Any) -> None:
    name = uuid4().hex
    await store.port("limits").check(name, "/api/tx", limit=5)
    assert await client.get(f"rate_limit:{name}:/api/tx") == b"1"
    assert 0 < await client.ttl(f"rate_limit:{name}:/api/tx") <= 60


async def test_a_counter_that_lost_its_expiry_gets_one(store: RedisStore, client: Any) -> None:
    name = uuid4().hex
    await client.set(f"rate_limit:{name}:e", 5)
    assert not (await store.port("limits").check(name, "e", limit=5)).allowed
    assert 0 < await client.ttl(f"rate_limit:{name}:e") <= 60


async def test_a_counter_that_is_no_number_is_an_error(store: RedisStore, client: Any) -> None:
    name = uuid4().hex
    await client.set(f"rate_limit:{name}:e", "many")
    with pytest.raises(PolystoreError, match=r"limits\.check"):
        await store.port("limits").check(name, "e", limit=5)


async def test_scripts_survive_script_flush(store: RedisStore, client: Any) -> None:
    cache, limits = store.port("cache"), store.port("limits")
    key = uuid4().hex
    await limits.check(key, "e", limit=2)
    await client.script_flush()
    assert (await limits.check(key, "e", limit=2)).remaining == 0
    await client.script_flush()
    _, lease = await cache.lease(key)
    await client.script_flush()
    assert await cache.fill(key, b"v", lease=lease, ttl=5)


async def test_a_cached_value_is_a_plain_string_with_a_spread_ttl(
    store: RedisStore, client: Any
) -> None:
    cache, key = store.port("cache"), uuid4().hex
    for number in range(30):
        await cache.set(f"{key}:{number}", b"plain", ttl=1000)
    assert await client.get(f"{key}:0") == b"plain"
    ttls = [await client.pttl(f"{key}:{number}") for number in range(30)]
    assert all(890_000 < ttl <= 1_000_000 for ttl in ttls)
    assert max(ttls) - min(ttls) > 20_000


async def test_a_lease_expires(config: RedisConfig, client: Any) -> None:
    store = RedisStore(config.model_copy(update={"lease_seconds": 0.02}))
    await store.connect()
    cache, key = store.port("cache"), uuid4().hex
    _, lease = await cache.lease(key)
    async with asyncio.timeout(5):
        while await client.exists(key):
            await asyncio.sleep(0.005)
    assert not await cache.fill(key, b"late", lease=lease, ttl=5)
    await store.close()


async def test_more_callers_than_connections_wait_their_turn(config: RedisConfig) -> None:
    store = RedisStore(config.model_copy(update={"max_connections": 3}))
    await store.connect()
    answers = await asyncio.gather(*(store.port("cache").get(str(n)) for n in range(200)))
    assert answers == [None] * 200
    await store.close()


async def test_the_namespace_stands_before_every_key(config: RedisConfig, client: Any) -> None:
    store = RedisStore(config.model_copy(update={"namespace": "mine:"}))
    await store.connect()
    key = uuid4().hex
    await store.port("cache").set(key, b"v", ttl=5)
    assert await client.get(f"mine:{key}") == b"v"
    assert await store.witness("cache", [key, "absent"]) == 1
    await store.close()


async def test_a_url_goes_to_the_drivers_parser(config: RedisConfig) -> None:
    url = f"redis://:{config.password.get_secret_value()}@{config.host}:{config.port}/7"
    store = RedisStore(RedisConfig(url=SecretStr(url)))
    await store.connect()
    assert (await store.health()).status == "healthy"
    await store.close()


async def test_a_url_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="URL"):
        await RedisStore(RedisConfig(url=SecretStr("http://localhost"))).connect()


async def test_a_wrong_password_is_a_configuration_error(config: RedisConfig) -> None:
    store = RedisStore(config.model_copy(update={"password": SecretStr("wrong")}))
    with pytest.raises(ConfigError, match="login"):
        await store.connect()


async def test_no_server_is_unavailable_and_unhealthy(unused_tcp_port: int) -> None:
    store = RedisStore(RedisConfig(port=unused_tcp_port))
    with pytest.raises(UnavailableError):
        await store.connect()
    with pytest.raises(UnavailableError, match="not connected"):
        await store.port("cache").get("x")
    health = await store.health()
    assert (health.status, bool(health.detail)) == ("unhealthy", True)
    await store.close()


async def test_health_names_the_servers_version(store: RedisStore) -> None:
    health = await store.health()
    assert health.status == "healthy"
    assert (health.version or "").split(".")[0].isdigit()
    assert health.milliseconds is not None
    assert health.facts["role"] == "master"


async def test_a_store_recovers_when_the_server_is_back(config: RedisConfig) -> None:
    async with Proxy(config.host, config.port) as proxy:
        store = RedisStore(config.model_copy(update={"port": proxy.port}))
        await store.connect()
        proxy.cut()
        with pytest.raises(UnavailableError):
            await store.port("cache").get("x")
        assert (await store.health()).status == "unhealthy"
        proxy.restore()
        assert await store.port("cache").get(str(uuid7())) is None
        assert (await store.health()).status == "healthy"
        await store.close()


async def test_a_server_that_does_not_answer_is_unavailable_in_time(config: RedisConfig) -> None:
    async with Proxy(config.host, config.port) as proxy:
        store = RedisStore(config.model_copy(update={"port": proxy.port, "command_timeout": 0.1}))
        await store.connect()
        proxy.stall()
        async with asyncio.timeout(2):
            with pytest.raises(UnavailableError):
                await store.port("cache").get("x")
        proxy.restore()
        await store.close()


async def test_migrating_is_not_applicable(store: RedisStore) -> None:
    assert (await store.migrate()).not_applicable


async def test_closing_twice_is_harmless(config: RedisConfig) -> None:
    store = RedisStore(config)
    await store.connect()
    await store.close()
    await store.close()
