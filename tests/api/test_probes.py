"""Probes against stores that are away or not migrated: what load balancers go by."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from tests.api.conftest import client_of
from tests.conftest import MakeDatabase
from tests.proxy import Proxy

Behind = tuple[httpx.AsyncClient, Proxy]


@pytest.fixture
async def behind(
    settings: Settings, polystore: Polystore, make_database: MakeDatabase
) -> AsyncIterator[Behind]:
    """The API over a relational store of its own behind a proxy."""
    config = await make_database("probed")
    async with Proxy(config.host, config.port) as proxy:
        store = PostgresStore(config.model_copy(update={"port": proxy.port, "command_timeout": 20}))
        facade = Polystore(
            routing=polystore.routing,
            stores={**polystore.stores, "postgres": store},
            ports=polystore.ports,
        )
        try:
            async with client_of(settings, facade) as client:
                yield client, proxy
        finally:
            proxy.restore()
            await store.close()


async def test_before_its_schema_is_there_nothing_is_ready(behind: Behind) -> None:
    client, _ = behind
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert any("pending" in reason or "postgres" in reason for reason in answer.json()["reasons"])
    status = (await client.get("/api/admin/migration-status")).json()
    assert status["up_to_date"] is False
    migrated = await client.post("/api/admin/migrate", json={"store": "postgres"})
    assert migrated.json()["stores"][0]["applied"]
    assert (await client.get("/ready")).status_code == 200


async def test_a_primary_that_is_away_is_503_and_back_when_it_is(behind: Behind) -> None:
    client, proxy = behind
    await client.post("/api/admin/migrate", json={"store": "postgres"})
    assert (await client.get("/health/postgres")).json()["status"] == "healthy"
    proxy.cut()
    one = await client.get("/health/postgres")
    assert (one.status_code, one.json()["status"]) == (503, "unhealthy")
    whole = await client.get("/health")
    assert (whole.status_code, whole.json()["status"]) == (503, "unhealthy")
    states = {store["store"]: store["status"] for store in whole.json()["stores"]}
    assert [name for name, status in states.items() if status == "unhealthy"] == ["postgres"]
    ready = await client.get("/ready")
    assert ready.status_code == 503
    assert any(reason.startswith("postgres") for reason in ready.json()["reasons"])
    proxy.restore()
    assert (await client.get("/health/postgres")).status_code == 200
    assert (await client.get("/ready")).status_code == 200


async def test_a_cache_that_is_away_degrades_and_keeps_nobody_from_being_served(
    settings: Settings, polystore: Polystore, redis_config: RedisConfig
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        redis = RedisStore(redis_config.model_copy(update={"port": proxy.port}))
        facade = Polystore(
            routing=polystore.routing,
            stores={**polystore.stores, "redis": redis},
            ports=polystore.ports,
        )
        try:
            async with client_of(settings, facade) as client:
                proxy.cut()
                whole = await client.get("/health")
                assert (whole.status_code, whole.json()["status"]) == (200, "degraded")
                assert (await client.get("/health/redis")).status_code == 503
                assert (await client.get("/ready")).status_code == 200
        finally:
            await redis.close()


@pytest.mark.parametrize("path", ["/health/postgresql", "/health/sgx"])
async def test_the_probes_of_the_specifications_tell_status_and_time(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in ("healthy", "degraded")
    assert answer.json()["milliseconds"] >= 0
