"""The page that Prometheus scrapes: its formats, what moves it, and that it stays small."""

from __future__ import annotations

import time
from uuid import uuid4

import httpx
import pytest

from neo_polystore.ops.telemetry.exposition import PATIENCE
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from tests.api.conftest import client_of
from tests.api.test_store import transaction
from tests.proxy import Proxy
from tests.telemetry import OPENMETRICS, Scraped


async def scrape(client: httpx.AsyncClient, accept: str = "") -> Scraped:
    """The page as it is now."""
    answer = await client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return Scraped(answer.text, answer.headers["content-type"])


def network(chain_id: int) -> dict[str, object]:
    """A valid network as JSON."""
    rpc = "https://rpc.example.org"
    return {"chain_id": chain_id, "name": f"chain {chain_id}", "rpc_endpoint": rpc}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/html, application/openmetrics-text;version=1.0.0;q=0.5", "application/openmetrics"),
    ],
)
async def test_the_format_is_the_one_that_is_asked_for(
    api: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    answer = await api.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in content_type)


async def test_both_formats_say_the_same(api: httpx.AsyncClient) -> None:
    text, openmetrics = await scrape(api), await scrape(api, OPENMETRICS)
    assert text.ours() == openmetrics.ours()
    assert text.value("neo_build_info") == openmetrics.value("neo_build_info") == 1
    assert text.value("process_resident_memory_bytes") > 10 << 20


async def test_writes_and_reads_are_counted_by_operation(
    api: httpx.AsyncClient, chain_id: int
) -> None:
    await api.post("/api/store/networks", json=[network(chain_id)])
    path = "/api/store/transactions"
    records = [transaction(chain_id, number) for number in range(3)]
    before = await scrape(api)
    for record in records:
        assert (await api.post(path, json=record)).status_code == 200
    await api.get(f"{path}/{chain_id}:{records[0]['hash']}")
    await api.get(path, params={"where": f"chain_id={chain_id}"})
    after = await scrape(api)

    def more(name: str, **labels: str) -> float:
        labels["store"] = "postgres"
        return after.value(name, **labels) - before.value(name, **labels)

    count = "neo_db_query_duration_seconds_count"
    assert more(count, operation="transactions.write") == 3
    assert more(count, operation="transactions.get") == 1
    assert more(count, operation="transactions.find") == 1
    assert more("neo_db_query_duration_seconds_sum", operation="transactions.write") > 0
    assert more("neo_coalesced_items_total", kind="writes") == 3
    assert more("neo_coalesced_batches_total", kind="reads") == 1
    assert more("neo_db_connection_uses_total") >= 5


async def test_a_hit_of_the_cache_is_counted(api: httpx.AsyncClient, chain_id: int) -> None:
    await api.post("/api/store/networks", json=[network(chain_id)])
    path = f"/api/store/networks/{chain_id}"
    before = await scrape(api)
    for _ in range(3):
        assert (await api.get(path)).status_code == 200
    after = await scrape(api)

    def more(*results: str) -> float:
        return sum(
            after.value("neo_cache_reads_total", data_type="networks", result=result)
            - before.value("neo_cache_reads_total", data_type="networks", result=result)
            for result in results
        )

    assert more("hit", "local") >= 2
    assert more("hit", "local", "miss", "shared", "bypassed") == 3


async def test_requests_are_counted_by_template_method_and_class(
    api: httpx.AsyncClient, chain_id: int
) -> None:
    route = "/api/store/{data_type}/{key:path}"
    before = await scrape(api)
    await api.get(f"/api/store/networks/{chain_id}")
    await api.get(f"/api/store/nonsense/{chain_id}")
    await api.get("/api/nothing")
    after = await scrape(api)

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    missing = {"route": route, "method": "GET", "status": "4xx"}
    assert more("neo_http_requests_total", **missing) == 2
    assert more("neo_http_request_duration_seconds_count", **missing) == 2
    assert more("neo_http_requests_total", route="(none)", status="4xx") == 1
    assert after.value("neo_http_requests_in_flight") == 1  # the one that scrapes


async def test_five_hundred_ids_and_paths_make_no_new_series(api: httpx.AsyncClient) -> None:
    async def traffic(number: int) -> None:
        chain_id = uuid4().int >> 70
        stored = await api.post("/api/store/networks", json=[network(chain_id)])
        assert stored.status_code == 200
        await api.get(f"/api/store/networks/{chain_id}")
        await api.get(f"/api/store/networks/0{chain_id}")
        await api.get(f"/nothing/{uuid4()}/{number}", params={"q": number})
        await api.request(f"BREW{number}", f"/api/store/{uuid4()}")

    await traffic(0)
    before = await scrape(api)
    for number in range(1, 501):
        await traffic(number)
    after = await scrape(api)
    assert set(after.values) - set(before.values) == set()
    assert after.value("neo_http_requests_total") - before.value("neo_http_requests_total") > 2000


async def test_two_applications_in_one_process_count_apart(
    settings: Settings, polystore: Polystore
) -> None:
    async with client_of(settings, polystore) as one, client_of(settings, polystore) as other:
        for _ in range(3):
            await one.get("/api/admin/routing")
        route = {"route": "/api/admin/routing"}
        assert (await scrape(one)).value("neo_http_requests_total", **route) == 3
        assert (await scrape(other)).value("neo_http_requests_total", **route) == 0


async def test_a_redis_that_is_away_is_down_and_the_page_answers_at_once(
    settings: Settings, polystore: Polystore, redis_config: RedisConfig
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        redis = RedisStore(redis_config.model_copy(update={"port": proxy.port}))
        stores = {**polystore.stores, "redis": redis}
        facade = Polystore(routing=polystore.routing, stores=stores, ports=polystore.ports)
        try:
            async with client_of(settings, facade) as client:
                assert (await scrape(client)).value("neo_store_up", store="redis") == 1
            proxy.cut()
            async with client_of(settings, facade) as client:
                started = time.perf_counter()
                page = await scrape(client)
                seconds = time.perf_counter() - started
            assert page.value("neo_store_up", store="redis") == 0
            assert page.value("neo_store_up", store="postgres") == 1
            assert page.value("neo_db_errors_total", store="redis", kind="UnavailableError") >= 1
            assert seconds < PATIENCE
        finally:
            await redis.close()


async def test_a_redis_that_hangs_is_down_after_the_patience(
    settings: Settings, polystore: Polystore, redis_config: RedisConfig
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        config = redis_config.model_copy(update={"port": proxy.port, "command_timeout": 20.0})
        redis = RedisStore(config)
        await redis.connect()
        proxy.stall()
        facade = Polystore(
            routing=polystore.routing,
            stores={**polystore.stores, "redis": redis},
            ports=polystore.ports,
        )
        try:
            async with client_of(settings, facade) as client:
                started = time.perf_counter()
                page = await scrape(client)
                seconds = time.perf_counter() - started
            assert page.value("neo_store_up", store="redis") == 0
            assert page.value("neo_store_up", store="postgres") == 1
            assert PATIENCE <= seconds < PATIENCE + 2
        finally:
            proxy.restore()
            await redis.close()
