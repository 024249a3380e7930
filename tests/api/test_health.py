"""Probes: what is up, what is down, and whether requests can be served."""

from __future__ import annotations

import re

import httpx

from neo_polystore.polystore import Polystore


async def test_health_reports_every_routed_store(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    answer = await api.get("/health")
    found = answer.json()
    assert (answer.status_code, found["status"]) == (200, "healthy"), found
    assert {item["store"] for item in found["stores"]} == set(polystore.stores)
    for item in found["stores"]:
        assert item["version"] and item["milliseconds"] > 0, item


async def test_one_store_can_be_asked_for(api: httpx.AsyncClient) -> None:
    found = (await api.get("/health/postgres")).json()
    assert found["store"] == "postgres"
    assert "transactions" in found["primary_for"]


async def test_an_unknown_store_is_404(api: httpx.AsyncClient) -> None:
    answer = await api.get("/health/oracle")
    assert answer.status_code == 404
    assert "postgres" in answer.json()["detail"]


async def test_a_migrated_platform_is_ready(api: httpx.AsyncClient) -> None:
    answer = await api.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


async def test_the_routing_table_is_shown(api: httpx.AsyncClient, polystore: Polystore) -> None:
    found = (await api.get("/api/admin/routing")).json()
    assert found["profile"] == "embedded"
    assert [row["data_type"] for row in found["routes"]] == list(polystore.routing.routes)


async def test_a_path_that_does_not_exist_is_a_problem_document(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_documentation_needs_nothing_from_outside(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.status_code == 200
    urls = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert urls
    for url in urls:
        assert url.startswith(("http://api/", "/"))
        assert (await api.get(url)).status_code == 200
