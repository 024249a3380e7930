"""Prometheus remote write over HTTP: what is stored, what is told, what is refused."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from neo_polystore.polystore import Polystore
from neo_polystore.records.metrics import service_id
from neo_polystore.settings import Settings
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.api.conftest import client_of
from tests.protocols.encoding import (
    HEADERS_1,
    HEADERS_2,
    STALE_MARKER,
    Request2,
    compressed,
    from_bits,
    request_1,
    series_1,
    varint,
)

URL = "/api/v1/write"
NOW = 1_760_000_000_000
WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


@pytest.fixture
def job() -> str:
    return f"job-{uuid4()}"


def labels(job: str, **more: str) -> dict[str, str]:
    return {"__name__": "up", "job": job, **more}


async def send(
    api: httpx.AsyncClient, message: bytes, headers: Mapping[str, str] = HEADERS_1
) -> httpx.Response:
    return await api.post(URL, content=compressed(message), headers=dict(headers))


def written(answer: httpx.Response) -> tuple[int, int, int]:
    return tuple(  # type: ignore[return-value]
        int(answer.headers[WRITTEN.format(what)]) for what in ("Samples", "Histograms", "Exemplars")
    )


async def stored(polystore: Polystore, job: str) -> list[asyncpg.Record]:
    store = polystore.stores["timescale"]
    assert isinstance(store, TimescaleStore)
    async with store.database.acquire("test") as connection:
        return await connection.fetch(
            "SELECT metric_name AS name, tags, unit, float8send(value) AS bits,"
            " (extract(epoch FROM time) * 1000)::bigint AS ms FROM metrics"
            " WHERE service_id = $1 ORDER BY metric_name, tags, time",
            service_id(job),
        )


async def test_a_request_of_1_0_is_stored(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    body = request_1(series_1(labels(job, instance="a:1"), [(NOW, 1.5), (NOW + 1, 0.0)]))
    answer = await send(api, body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert written(answer) == (2, 0, 0)
    rows = await stored(polystore, job)
    assert [(row["name"], row["tags"], row["ms"]) for row in rows] == [
        ("up", {"instance": "a:1"}, NOW),
        ("up", {"instance": "a:1"}, NOW + 1),
    ]


async def test_a_request_of_2_0_is_stored_with_its_unit(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    request = Request2()
    request.add(labels(job), [(NOW, 2.5)], unit="seconds", start=NOW - 5000)
    answer = await send(api, request.encoded(), HEADERS_2)
    assert answer.status_code == 204
    assert written(answer) == (1, 0, 0)
    [row] = await stored(polystore, job)
    assert (row["unit"], row["ms"], struct.unpack(">d", row["bits"])) == ("seconds", NOW, (2.5,))


@pytest.mark.parametrize("version", [1, 2])
async def test_a_stale_marker_is_kept_bit_for_bit(
    api: httpx.AsyncClient, polystore: Polystore, job: str, version: int
) -> None:
    samples = [(NOW + n, from_bits(STALE_MARKER)) for n in range(1_500)]
    if version == 1:
        answer = await send(api, request_1(series_1(labels(job), samples)))
    else:
        request = Request2()
        request.add(labels(job), samples, start=1)
        answer = await send(api, request.encoded(), HEADERS_2)
    assert answer.status_code == 204
    found = {row["bits"] for row in await stored(polystore, job)}
    assert found == {STALE_MARKER.to_bytes(8)}


async def test_samples_sent_again_or_out_of_order_are_stored_once(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    body = request_1(series_1(labels(job), [(NOW + 9, 1.0), (NOW, 2.0), (NOW + 9, 1.0)]))
    for _ in range(2):
        answer = await send(api, body)
        assert (answer.status_code, written(answer)) == (204, (3, 0, 0))
    assert [row["ms"] for row in await stored(polystore, job)] == [NOW, NOW + 9]


async def test_the_label_service_goes_before_job(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    body = request_1(series_1({"__name__": "up", "job": "j", "service": job}, [(NOW, 1.0)]))
    assert (await send(api, body)).status_code == 204
    [row] = await stored(polystore, job)
    assert row["tags"] == {"job": "j"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([("__name__", "up"), ("job", "JOB"), ("a", "1")], "not sorted"),
        ([("__name__", "up"), ("job", "JOB"), ("job", "x")], "comes twice"),
        ([("__name__", "up"), ("a", ""), ("job", "JOB")], "is empty"),
        ([("", "up"), ("job", "JOB")], "without a name"),
        ([("job", "JOB")], "no metric name"),
        ([("__name__", b"\xff"), ("job", "JOB")], "UTF-8"),
        ([("__name__", "m" * 256), ("job", "JOB")], "255 characters"),
        ([("__name__", "a\x00b"), ("job", "JOB")], "NUL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("version", [1, 2])
async def test_a_bad_series_is_refused_and_the_others_stored(
    api: httpx.AsyncClient,
    polystore: Polystore,
    job: str,
    version: int,
    bad: list[tuple[str | bytes, str | bytes]],
    reason: str,
) -> None:
    wrong = [(name, job if value == "JOB" else value) for name, value in bad]
    good = labels(job, good="yes")
    if version == 1:
        body = request_1(series_1(wrong, [(NOW, 1.0)] * 2), series_1(good, [(NOW, 1.0)]))
        answer = await send(api, body)
    else:
        request = Request2()
        request.add(wrong, [(NOW, 1.0)] * 2)
        request.add(good, [(NOW, 1.0)])
        answer = await send(api, request.encoded(), HEADERS_2)
    assert answer.status_code == 400
    assert written(answer) == (1, 0, 0)
    detail = answer.json()["detail"]
    assert "2 samples refused (series 1: " in detail
    assert reason in detail
    assert [row["tags"] for row in await stored(polystore, job)] == [{"good": "yes"}]


@pytest.mark.parametrize("version", [1, 2])
async def test_histograms_and_exemplars_are_told_not_to_be_stored(
    api: httpx.AsyncClient, polystore: Polystore, job: str, version: int
) -> None:
    if version == 1:
        body = request_1(series_1(labels(job), [(NOW, 1.0)], exemplars=2, histograms=3))
        answer = await send(api, body)
    else:
        request = Request2()
        request.add(labels(job), [(NOW, 1.0)], exemplars=2, histograms=3)
        answer = await send(api, request.encoded(), HEADERS_2)
    assert answer.status_code == 400
    assert written(answer) == (1, 0, 0)
    assert "3 native histograms" in answer.json()["detail"]
    assert "2 exemplars" in answer.json()["detail"]
    assert len(await stored(polystore, job)) == 1


async def test_metadata_alone_is_accepted(api: httpx.AsyncClient) -> None:
    answer = await send(api, b"\x1a\x06\x08\x01\x12\x02up")  # field 3 of 1.0: metadata
    assert (answer.status_code, written(answer)) == (204, (0, 0, 0))


@pytest.mark.parametrize(
    "changed",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": ""},
        {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": ""},
    ],
    ids=str,
)
async def test_another_content_type_or_encoding_is_refused(
    api: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    answer = await send(api, b"", HEADERS_1 | changed)
    assert answer.status_code == 415
    assert written(answer) == (0, 0, 0)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-protobuf;proto=prometheus.WriteRequest",
        'Application/X-Protobuf; proto="prometheus.WriteRequest"',
    ],
)
async def test_the_message_of_1_0_can_be_named(api: httpx.AsyncClient, content_type: str) -> None:
    answer = await send(api, b"", HEADERS_1 | {"Content-Type": content_type})
    assert answer.status_code == 204


async def test_a_body_that_is_not_snappy_is_refused(api: httpx.AsyncClient) -> None:
    for body in (b"", b"\xff" * 20, b"\x05hello", compressed(b"x" * 1000)[:-3]):
        answer = await api.post(URL, content=body, headers=HEADERS_1)
        assert answer.status_code == 400
        assert "snappy" in answer.json()["detail"]


@pytest.mark.parametrize("cut", [1, 5, 12, 40])
async def test_a_truncated_message_stores_nothing(
    api: httpx.AsyncClient, polystore: Polystore, job: str, cut: int
) -> None:
    body = request_1(
        series_1(labels(job), [(NOW, 1.0)]), series_1(labels(job, other="1"), [(NOW, 1.0)])
    )
    answer = await send(api, body[:-cut])
    assert answer.status_code == 400
    assert written(answer) == (0, 0, 0)
    assert "truncated" in answer.json()["detail"]
    assert await stored(polystore, job) == []


async def test_symbols_must_begin_with_the_empty_text(api: httpx.AsyncClient, job: str) -> None:
    request = Request2()
    request.add(labels(job), [(NOW, 1.0)])
    request.symbols[0] = b"x"
    answer = await send(api, request.encoded(), HEADERS_2)
    assert answer.status_code == 400
    assert "symbols" in answer.json()["detail"]


@pytest.mark.parametrize(("references", "reason"), [([1, 2, 3], "odd"), ([1, 99], "symbol 99")])
async def test_references_that_lead_nowhere_are_refused(
    api: httpx.AsyncClient, job: str, references: list[int], reason: str
) -> None:
    request = Request2()
    request.add(labels(job), [(NOW, 1.0)])
    request.refer(references, [(NOW, 1.0)])
    answer = await send(api, request.encoded(), HEADERS_2)
    assert (answer.status_code, written(answer)) == (400, (1, 0, 0))
    assert f"series 2: {reason}" in answer.json()["detail"].replace("an odd", "odd")


async def test_times_of_the_far_future_are_refused_alone(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    soon = int(time.time() * 1000) + 3_600_000
    samples = [(-1, 1.0), (0, 2.0), (soon, 3.0), (soon + 2 * 86_400_000, 4.0), (2**62, 5.0)]
    answer = await send(api, request_1(series_1(labels(job), samples)))
    assert (answer.status_code, written(answer)) == (400, (3, 0, 0))
    assert "2 samples refused" in answer.json()["detail"]
    assert "NEO_INGEST_AHEAD_SECONDS" in answer.json()["detail"]
    assert [row["ms"] for row in await stored(polystore, job)] == [-1, 0, soon]


async def test_times_before_the_calendar_are_refused_alone(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    answer = await send(api, request_1(series_1(labels(job), [(-(2**60), 1.0), (NOW, 2.0)])))
    assert (answer.status_code, written(answer)) == (400, (1, 0, 0))
    assert [row["ms"] for row in await stored(polystore, job)] == [NOW]


async def test_points_of_too_many_days_are_taken_for_a_mistake(
    api: httpx.AsyncClient, polystore: Polystore, job: str
) -> None:
    samples = [(day * 86_400_000, 1.0) for day in range(1_001)]
    answer = await send(api, request_1(series_1(labels(job), samples)))
    assert (answer.status_code, written(answer)) == (400, (0, 0, 0))
    assert "1,001 different days" in answer.json()["detail"]
    assert await stored(polystore, job) == []


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    """An API with small bounds."""
    small = settings.model_copy(
        update={"neo_ingest_body_bytes": 10_000, "neo_ingest_content_bytes": 100_000}
    )
    async with client_of(small, polystore) as client:
        yield client


async def test_a_body_beyond_the_bound_is_refused(narrow: httpx.AsyncClient) -> None:
    answer = await narrow.post(URL, content=b"x" * 10_001, headers=HEADERS_1)
    assert (answer.status_code, written(answer)) == (413, (0, 0, 0))


async def test_a_body_of_unstated_length_is_cut_off_at_the_bound(narrow: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000

    answer = await narrow.post(URL, content=pieces(), headers=HEADERS_1)
    assert answer.status_code == 413


async def test_a_bomb_is_refused_before_it_is_unpacked(narrow: httpx.AsyncClient) -> None:
    bomb = varint(2**32 - 1) + b"\xfe\x01\x00" * 100
    answer = await narrow.post(URL, content=bomb, headers=HEADERS_1)
    assert answer.status_code == 413
    assert "4,294,967,295" in answer.json()["detail"]


async def test_more_requests_than_allowed_are_told_to_wait(
    settings: Settings, polystore: Polystore, job: str
) -> None:
    one = settings.model_copy(update={"neo_ingest_requests": 1})
    async with client_of(one, polystore) as client:
        bodies = [request_1(series_1(labels(job, n=str(n)), [(NOW, 1.0)])) for n in range(10)]
        answers = await asyncio.gather(*(send(client, body) for body in bodies))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    accepted = sum(answer.status_code == 204 for answer in answers)
    assert accepted + len(refused) == 10
    assert len(await stored(polystore, job)) == accepted
