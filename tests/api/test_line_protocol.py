"""InfluxDB line protocol over HTTP: what is stored, and how the rejected lines are told."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from neo_polystore.polystore import Polystore
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Query
from neo_polystore.settings import Settings
from tests.api.conftest import client_of

URL = "/api/v2/write"
SECONDS = 1_760_000_000


@pytest.fixture
def service() -> str:
    return f"bucket-{uuid4()}"


async def stored(polystore: Polystore, service: str) -> list[MetricPoint]:
    page = await polystore.metrics.find(Query(limit=1000, order="time").where("service", service))
    return sorted(page.records, key=lambda point: (point.time, point.name))


async def send(
    api: httpx.AsyncClient, service: str, body: str | bytes, **parameters: str
) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    query = {"bucket": service, "org": "any", "precision": "s"} | parameters
    return await api.post(URL, params=query, content=content)


async def test_every_kind_of_number_is_stored(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    body = f"cpu,host=a idle=1.5,cores=8i,total=9u,busy=t,off=F,value=-2e3 {SECONDS}\n"
    answer = await send(api, service, body)
    assert (answer.status_code, answer.content) == (204, b"")
    points = await stored(polystore, service)
    assert {point.name: point.value for point in points} == {
        "cpu": -2000.0,
        "cpu_idle": 1.5,
        "cpu_cores": 8.0,
        "cpu_total": 9.0,
        "cpu_busy": 1.0,
        "cpu_off": 0.0,
    }
    assert {point.time for point in points} == {datetime.fromtimestamp(SECONDS, UTC)}
    assert all(point.tags == {"host": "a"} for point in points)


@pytest.mark.parametrize(("precision", "digits"), [("s", 0), ("ms", 3), ("us", 6), ("ns", 9)])
async def test_the_precision_says_what_a_time_counts(
    api: httpx.AsyncClient, polystore: Polystore, service: str, precision: str, digits: int
) -> None:
    answer = await send(api, service, f"m value=1 {SECONDS * 10**digits}", precision=precision)
    assert answer.status_code == 204
    [point] = await stored(polystore, service)
    assert point.time == datetime.fromtimestamp(SECONDS, UTC)


async def test_nanoseconds_are_the_default(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    body = f"m value=1 {SECONDS * 10**9 + 1_999}".encode()
    assert (await api.post(URL, params={"bucket": service}, content=body)).status_code == 204
    [point] = await stored(polystore, service)
    assert point.time == datetime.fromtimestamp(SECONDS, UTC).replace(microsecond=1)


async def test_a_line_without_a_time_is_of_now(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    before = int(time.time())
    assert (await send(api, service, "m value=1")).status_code == 204
    [point] = await stored(polystore, service)
    assert before <= point.time.timestamp() <= time.time()


async def test_a_tag_names_the_service(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    body = f"m,service={service},host=a value=1 {SECONDS}"
    assert (await send(api, "another", body)).status_code == 204
    [point] = await stored(polystore, service)
    assert point.tags == {"host": "a"}


async def test_gzip_is_decompressed(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    lines = "".join(f"m,n={n} value={n} {SECONDS}\n" for n in range(3000)).encode()
    answer = await api.post(
        URL,
        params={"bucket": service, "precision": "s"},
        content=gzip.compress(lines[:1000]) + gzip.compress(lines[1000:]),
        headers={"Content-Encoding": "gzip"},
    )
    assert answer.status_code == 204
    assert await polystore.metrics.count(Query().where("service", service)) == 3000


async def test_rejected_lines_are_named_and_the_others_stored(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    body = f"m value=1 {SECONDS}\n# a comment\n\nm value=\nm,n=2 value=2 {SECONDS}\nm,=x v=1\n"
    answer = await send(api, service, body)
    assert answer.status_code == 422
    told = answer.json()
    assert told["code"] == "unprocessable entity"
    assert told["line"] == 4
    assert [line["line"] for line in told["rejected"]] == [4, 6]
    assert "2 of 4 lines rejected: line 4: field 'value='" in told["message"]
    assert len(await stored(polystore, service)) == 2


async def test_400_says_that_nothing_was_stored(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    answer = await send(api, service, "m\nm value=nan")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert answer.json()["message"].startswith("nothing written: 2 of 2 lines")
    assert await stored(polystore, service) == []


async def test_text_is_told_and_the_numbers_beside_it_are_stored(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    answer = await send(api, service, f'm note="a \\"b, c=1\nd",value=3 {SECONDS}')
    assert answer.status_code == 422
    assert answer.json()["rejected"] == [
        {"line": 1, "reason": "field 'note': text is not stored: only numbers and booleans are"}
    ]
    assert [point.value for point in await stored(polystore, service)] == [3.0]


async def test_a_series_that_cannot_be_stored_is_told_by_its_line(
    api: httpx.AsyncClient, service: str
) -> None:
    answer = await send(api, service, f"m value=1 {SECONDS}\n{'x' * 256} value=1 {SECONDS}")
    assert answer.status_code == 422
    assert [line["line"] for line in answer.json()["rejected"]] == [2]


async def test_a_time_of_the_far_future_is_told_by_its_line(
    api: httpx.AsyncClient, service: str
) -> None:
    lines = f"m value=1 {SECONDS}\nm value=2 {SECONDS * 100}\nm value=3 {2**63 - 1}"
    answer = await send(api, service, lines)
    assert answer.status_code == 422
    assert [line["line"] for line in answer.json()["rejected"]] == [2, 3]


@pytest.mark.parametrize(
    ("parameters", "headers", "body", "status", "word"),
    [
        ({"precision": "h"}, {}, b"", 400, "precision"),
        ({}, {"Content-Encoding": "br"}, b"", 415, "gzip"),
        ({}, {"Content-Encoding": "gzip"}, b"m value=1", 400, "gzip"),
        (
            {},
            {"Content-Encoding": "gzip"},
            gzip.compress(b"m value=1", mtime=0)[:-5],
            400,
            "too early",
        ),
    ],
)
async def test_a_request_that_cannot_be_read_is_told_as_influxdb_does(
    api: httpx.AsyncClient,
    parameters: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    status: int,
    word: str,
) -> None:
    answer = await api.post(URL, params=parameters, headers=headers, content=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message"}
    assert word in answer.json()["message"]


async def test_an_empty_body_is_no_error(api: httpx.AsyncClient, service: str) -> None:
    assert (await send(api, service, "")).status_code == 204


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    """An API with small bounds."""
    small = settings.model_copy(
        update={"neo_ingest_body_bytes": 10_000, "neo_ingest_content_bytes": 100_000}
    )
    async with client_of(small, polystore) as client:
        yield client


async def test_a_body_or_what_it_unpacks_to_has_a_bound(narrow: httpx.AsyncClient) -> None:
    plain = await narrow.post(URL, content=b"x" * 10_001)
    bomb = await narrow.post(
        URL, content=gzip.compress(bytes(5_000_000)), headers={"Content-Encoding": "gzip"}
    )
    for answer in (plain, bomb):
        assert answer.status_code == 413
        assert answer.json()["code"] == "request too large"


async def test_a_hundred_thousand_tag_sets_go_in_one_request(
    api: httpx.AsyncClient, polystore: Polystore, service: str
) -> None:
    lines = "\n".join(f"m,n={n} value={n} {SECONDS}" for n in range(100_000))
    assert (await send(api, service, lines)).status_code == 204
    assert await polystore.metrics.count(Query().where("service", service)) == 100_000
