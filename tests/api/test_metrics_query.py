"""Metrics over HTTP: queries, lists, and what bad requests are answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from neo_polystore.polystore import Polystore
from neo_polystore.records.metrics import MetricPoint

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=10)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(polystore: Polystore) -> str:
    """Two hosts, a point every ten minutes over five hours; one of them infinite."""
    name = f"service-{uuid4()}"
    await polystore.metrics.write(
        [
            MetricPoint(
                time=START + timedelta(minutes=10 * n),
                service=name,
                name="latency",
                value=math.inf if (host, n) == ("b", 29) else float(n),
                tags={"host": host},
                unit="ms",
            )
            for host in "ab"
            for n in range(30)
        ]
    )
    return name


def asked(service: str, **changes: Any) -> dict[str, Any]:
    until = START + timedelta(hours=5)
    return {
        "service": service,
        "since": START.isoformat(),
        "until": until.isoformat(),
        "step": "1h",
        **changes,
    }


async def answer(api: httpx.AsyncClient, parameters: Mapping[str, Any]) -> Any:
    response = await api.get("/api/metrics/query", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def test_hours_come_from_the_hourly_values(api: httpx.AsyncClient, service: str) -> None:
    body = await answer(api, asked(service, tag="host=a", aggregate=["avg", "count"]))
    assert (body["source"], body["open"], body["more"], body["step"]) == (
        "hourly",
        False,
        False,
        3600,
    )
    [line] = body["series"]
    assert (line["name"], line["tags"]) == ("latency", {"host": "a"})
    assert line["times"][0] == START.isoformat()
    assert line["values"] == {"avg": [2.5, 8.5, 14.5, 20.5, 26.5], "count": [6] * 5}


async def test_infinities_are_texts(api: httpx.AsyncClient, service: str) -> None:
    body = await answer(api, asked(service, tag="host=b", aggregate="max"))
    assert body["series"][0]["values"]["max"] == [5, 11, 17, 23, "Infinity"]


async def test_aggregates_may_stand_in_one_parameter(api: httpx.AsyncClient, service: str) -> None:
    body = await answer(api, asked(service, aggregate="p50,last", group="name"))
    assert body["source"] == "raw"
    assert list(body["series"][0]["values"]) == ["p50", "last"]


async def test_the_same_query_again_gives_the_same_answer(
    api: httpx.AsyncClient, service: str
) -> None:
    parameters = asked(service, aggregate=["avg", "max"], fill="null")
    assert await answer(api, parameters) == await answer(api, parameters)


async def test_an_unknown_service_is_no_error_but_noted(api: httpx.AsyncClient) -> None:
    body = await answer(api, asked("nobody-knows-it"))
    assert body["series"] == []
    assert body["note"] == "there are no metrics of a service 'nobody-knows-it'"


async def test_an_unknown_name_is_told_those_that_there_are(
    api: httpx.AsyncClient, service: str
) -> None:
    body = await answer(api, asked(service, name="latencies"))
    assert body["series"] == []
    assert body["note"].endswith("has no such metric; it has latency")


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"step": "0"}, 400, "step must be positive"),
        ({"step": "-5m"}, 400, "cannot read step"),
        ({"step": "soon"}, 400, "cannot read step 'soon': expected a length such as 30s"),
        ({"step": "nan"}, 400, "cannot read step"),
        ({"step": "1e300"}, 400, "cannot read step"),
        ({"step": "999999w"}, 400, "beyond the years 1 to 9999"),
        ({"step": "10ms"}, 400, "buckets, at most 100,000 are answered"),
        ({"since": "2030-01-01"}, 400, "since must be before until"),
        ({"since": "yesterday"}, 400, "cannot read time 'yesterday'"),
        ({"tag": "host"}, 400, "cannot read tag 'host': expected key=value"),
        ({"tag": ["host=a", "host=b"]}, 400, "tag 'host' cannot have two values"),
        ({"aggregate": "median"}, 400, "unknown aggregate 'median'"),
        ({"aggregate": "percentile(101)"}, 400, "a percentile lies between 0 and 100"),
        ({"aggregate": "p95", "source": "hourly"}, 400, "only raw points answer p95"),
        ({"source": "weekly"}, 422, "source"),
        ({"fill": "linear"}, 422, "fill"),
        ({"limit": 0}, 422, "limit"),
        ({"servise": "x"}, 422, "servise"),
        ({"service": ""}, 422, "service"),
    ],
    ids=str,
)
async def test_a_bad_query_is_a_problem_that_names_the_fault(
    api: httpx.AsyncClient, service: str, changes: dict[str, Any], status: int, detail: str
) -> None:
    response = await api.get("/api/metrics/query", params={**asked(service), **changes})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert detail in problem["detail"]
    assert (problem["status"], problem["instance"]) == (status, "/api/metrics/query")


async def test_times_without_a_zone_are_utc(api: httpx.AsyncClient, service: str) -> None:
    naive = START.replace(tzinfo=None).isoformat()
    assert (await answer(api, asked(service, since=naive)))["since"] == START.isoformat()


async def test_series_are_listed(api: httpx.AsyncClient, service: str) -> None:
    first = (await api.get("/api/metrics/series", params={"service": service, "limit": 1})).json()
    second = (
        await api.get(
            "/api/metrics/series", params={"service": service, "limit": 1, "after": first["next"]}
        )
    ).json()
    found = first["series"] + second["series"]
    assert {one["tags"]["host"] for one in found} == {"a", "b"}
    assert all((one["service"], one["name"]) == (service, "latency") for one in found)
    assert second["next"] is None


async def test_points_are_listed_page_by_page(api: httpx.AsyncClient, service: str) -> None:
    parameters = asked(service, name="latency", limit=17)
    del parameters["step"]
    found: list[dict[str, Any]] = []
    while True:
        response = await api.get("/api/metrics/points", params=parameters)
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["points"]
        if page["next"] is None:
            break
        parameters["after"] = page["next"]
    assert len(found) == 60
    assert [point["time"] for point in found] == sorted(point["time"] for point in found)
    assert found[-1]["value"] in ("Infinity", 29.0)
    assert {point["unit"] for point in found} == {"ms"}


async def test_a_foreign_cursor_is_refused(api: httpx.AsyncClient, service: str) -> None:
    parameters = {"service": service, "name": "latency", "after": "bm9uc2Vuc2U"}
    response = await api.get("/api/metrics/points", params=parameters)
    assert (response.status_code, "cursor" in response.json()["detail"]) == (400, True)
