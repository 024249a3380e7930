"""The ways in: columns by COPY, few points gathered, both counted exactly in both modes."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import numpy as np
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.records.metric_columns import MetricColumns, Series
from neo_polystore.records.metrics import MetricPoint, service_id
from neo_polystore.records.results import Written
from neo_polystore.stores.timescale import bulk
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

START = 1_760_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
STALE_MARKER = 0x7FF0000000000002


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


@pytest.fixture
def service() -> str:
    return f"service-{uuid4()}"


def columns(service: str, count: int, *, series: int = 7, first: int = 0) -> MetricColumns:
    """Points of several series, by time, over three days."""
    places = np.arange(first, first + count)
    return MetricColumns.of(
        [Series(service, "m", {"host": f"node-{n}"}, "percent") for n in range(series)],
        numbers=places % series,
        times=START + places // series * (3 * DAY // max(1, count // series)),
        values=places / 8,
    )


def counts(written: Written) -> tuple[int, int, int]:
    return written.new, written.existing, written.replaced


async def rows(store: TimescaleStore, service: str) -> list[asyncpg.Record]:
    async with store.database.acquire("test") as connection:
        return await connection.fetch(
            "SELECT metric_name, tags, unit, float8send(value) AS bits,"
            " (extract(epoch FROM time) * 1000000)::bigint AS time FROM metrics"
            " WHERE service_id = $1 ORDER BY tags ->> 'host', time",
            service_id(service),
        )


@pytest.mark.parametrize("count", [1, 99, 999, 1001, 12_345])
async def test_what_was_sent_is_what_is_stored(
    store: TimescaleStore, service: str, count: int
) -> None:
    sent = columns(service, count)
    assert counts(await store.port("metrics").write_columns(sent)) == (count, 0, 0)
    found = [
        (row["tags"]["host"], row["time"], row["bits"], row["unit"])
        for row in await rows(store, service)
    ]
    expected = sorted(
        (f"node-{number}", time, struct.pack(">d", value), "percent")
        for number, time, value in zip(
            sent.numbers.tolist(), sent.times.tolist(), sent.values.tolist(), strict=True
        )
    )
    assert found == expected


@pytest.mark.parametrize("count", [300, 3000])
async def test_sent_again_everything_is_there_and_what_differs_is_replaced(
    store: TimescaleStore, service: str, count: int
) -> None:
    port = store.port("metrics")
    await port.write_columns(columns(service, count))
    again = columns(service, count)
    assert counts(await port.write_columns(again)) == (0, count, 0)
    again.values[:10] += 1
    assert counts(await port.write_columns(again)) == (0, count - 10, 10)
    assert len(await rows(store, service)) == count


async def test_a_batch_of_many_chunks_that_is_partly_there_is_counted_exactly(
    store: TimescaleStore, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 500)
    port = store.port("metrics")
    sent = columns(service, 6000)
    some = np.arange(2000, 3500)
    before = MetricColumns(
        sent.series, sent.numbers[some], sent.times[some], sent.values[some].copy()
    )
    before.values[:7] = -1.0
    assert counts(await port.write_columns(before)) == (1500, 0, 0)
    assert counts(await port.write_columns(sent)) == (4500, 1493, 7)
    found = {row["bits"] for row in await rows(store, service)}
    assert found == {struct.pack(">d", value) for value in sent.values.tolist()}


@pytest.mark.parametrize("count", [200, 2000])
async def test_of_repeated_points_the_last_stands_and_all_are_counted(
    store: TimescaleStore, service: str, count: int
) -> None:
    port = store.port("metrics")
    base = columns(service, count, series=1)
    repeated = MetricColumns.of(
        base.series,
        numbers=np.concatenate((base.numbers, base.numbers[:50])),
        times=np.concatenate((base.times, base.times[:50])),
        values=np.concatenate((base.values, np.r_[base.values[:20], base.values[20:50] + 1])),
    )
    assert counts(await port.write_columns(repeated)) == (count, 20, 30)
    assert counts(await port.write_columns(repeated)) == (0, count + 50, 0)
    stored = {row["time"]: row["bits"] for row in await rows(store, service)}
    assert stored[base.times[30]] == struct.pack(">d", base.values[30] + 1)


async def test_a_model_of_the_table_agrees(store: TimescaleStore, service: str) -> None:
    """Random batches of all sizes, with repetitions, against a dictionary."""
    chance = random.Random(20)
    port = store.port("metrics")
    model: dict[tuple[int, int], float] = {}
    series = [Series(service, "m", {"host": f"{n}"}) for n in range(4)]
    for size in (1, 40, 700, 1500, 300, 2500, 5):
        batch = [
            (
                chance.randrange(4),
                START + chance.randrange(900) * SECOND,
                float(chance.randrange(3)),
            )
            for _ in range(size)
        ]
        last = {(number, time): value for number, time, value in batch}
        new = replaced = 0
        for key, value in last.items():
            earlier = [v for number, time, v in batch if (number, time) == key][:-1]
            if model.get(key) == value:
                continue
            new += key not in model
            replaced += (key in model) + sum(one != value for one in earlier)
        model |= last
        numbers, times, values = zip(*batch, strict=True)
        sent = MetricColumns.of(series, numbers=numbers, times=times, values=values)
        written = await port.write_columns(sent)
        assert counts(written) == (new, size - new - replaced, replaced)
    found = await rows(store, service)
    assert {(int(r["tags"]["host"]), r["time"]): r["bits"] for r in found} == {
        key: struct.pack(">d", value) for key, value in model.items()
    }


@pytest.mark.parametrize("count", [10, 2000])
async def test_bad_series_and_times_are_rejected_by_the_index_of_the_point(
    store: TimescaleStore, service: str, count: int
) -> None:
    good = columns(service, count)
    sent = MetricColumns.of(
        [*good.series, Series(service, "m", {"a": "\x00"}), Series(service, "x" * 256)],
        numbers=np.r_[7, good.numbers, 0, 8],
        times=np.r_[START, good.times, 2**62, START],
        values=np.r_[0.0, good.values, 0.0, 0.0],
    )
    written = await store.port("metrics").write_columns(sent)
    assert counts(written) == (count, 0, 0)
    assert [(one.index, one.field) for one in written.rejected] == [
        (0, "tags"),
        (count + 1, "time"),
        (count + 2, "name"),
    ]


@pytest.mark.parametrize("count", [3, 1500])
async def test_every_bit_of_a_value_survives_columns(
    store: TimescaleStore, service: str, count: int
) -> None:
    patterns = [STALE_MARKER, 0x7FF8000000000001, 0xFFF0000000000003, 1 << 63, 0x7FF0 << 48]
    patterns = (patterns * count)[:count]
    sent = MetricColumns.of(
        [Series(service, "m")],
        numbers=np.zeros(count, int),
        times=START + np.arange(count),
        values=np.array(patterns, dtype=np.uint64).view(np.float64),
    )
    port = store.port("metrics")
    await port.write_columns(sent)
    assert [int.from_bytes(row["bits"]) for row in await rows(store, service)] == patterns
    assert counts(await port.write_columns(sent)) == (0, count, 0)
    some = MetricColumns.of(sent.series, numbers=[0], times=[START + count], values=sent.values[:1])
    both = MetricColumns.of(
        sent.series,
        numbers=np.zeros(count + 1, int),
        times=np.r_[sent.times, some.times],
        values=np.concatenate((sent.values, some.values)),
    )
    assert counts(await port.write_columns(both)) == (1, count, 0)  # this time by staging
    assert int.from_bytes((await rows(store, service))[-1]["bits"]) == STALE_MARKER


def point(service: str, number: int, value: float = 1.0, **tags: str) -> MetricPoint:
    time = datetime.fromtimestamp(START // SECOND, UTC) + timedelta(seconds=number)
    return MetricPoint(time=time, service=service, name="m", value=value, tags=tags)


async def test_five_hundred_callers_share_statements_and_each_has_his_own_answer(
    store: TimescaleStore, service: str
) -> None:
    port = store.port("metrics")
    await port.write([point(service, 0), point(service, 1, 5.0)])
    before = store.ingest.counts.batches
    answers = await asyncio.gather(*(port.write([point(service, n)]) for n in range(500)))
    assert [counts(answer) for answer in answers] == [(0, 1, 0), (0, 0, 1)] + [(1, 0, 0)] * 498
    assert store.ingest.counts.batches - before <= 10
    assert len(await rows(store, service)) == 500


async def test_callers_with_the_same_point_store_it_once(
    store: TimescaleStore, service: str
) -> None:
    port = store.port("metrics")
    answers = await asyncio.gather(*(port.write([point(service, 0)]) for _ in range(50)))
    assert sum(answer.new for answer in answers) == 1
    assert sum(answer.existing for answer in answers) == 49


async def test_callers_who_contradict_each_other_are_counted_one_after_the_other(
    store: TimescaleStore, service: str
) -> None:
    port = store.port("metrics")
    answers = await asyncio.gather(*(port.write([point(service, 0, float(n))]) for n in range(50)))
    assert sum(answer.new for answer in answers) == 1
    assert sum(answer.replaced for answer in answers) == 49
    assert len(await rows(store, service)) == 1


async def test_a_bad_point_is_its_own_callers_trouble(store: TimescaleStore, service: str) -> None:
    port = store.port("metrics")
    bad = [point(service, 1, a="\x00"), point(service, 2)]
    answers = await asyncio.gather(
        *(port.write(bad if n == 3 else [point(service, n + 10)]) for n in range(20))
    )
    assert [len(answer.rejected) for answer in answers] == [int(n == 3) for n in range(20)]
    assert answers[3].new == 1


async def test_writes_of_both_ways_at_the_same_time_do_not_lose_anything(
    store: TimescaleStore, service: str
) -> None:
    port = store.port("metrics")
    sent = columns(service, 1400)
    points = [
        MetricPoint(
            time=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(time)),
            service=service,
            name="m",
            value=value,
            tags={"host": f"node-{number}"},
            unit="percent",
        )
        for number, time, value in zip(
            sent.numbers.tolist(), sent.times.tolist(), sent.values.tolist(), strict=True
        )
    ]
    answers = await asyncio.gather(
        port.write_columns(sent),
        *(port.write(points[start : start + 50]) for start in range(0, 1400, 50)),
        port.write_columns(sent),
    )
    assert sum(answer.new for answer in answers) == 1400
    assert sum(answer.existing for answer in answers) == 2 * 1400


async def test_the_store_can_be_opened_again(embedded: Membership, service: str) -> None:
    config = await make_metrics_database(embedded, "plain")
    async with opened(config) as store:
        await store.port("metrics").write([point(service, 0)])
        await store.close()
        await store.connect()
        assert counts(await store.port("metrics").write([point(service, 0)])) == (0, 1, 0)


async def test_after_everything_was_removed_points_are_found_again(
    embedded: Membership, service: str
) -> None:
    async with opened(await make_metrics_database(embedded, "plain")) as store:
        port = store.port("metrics")
        await port.write([point(service, 0)])
        await store.clear()
        await port.write([point(service, 0)])
        assert (await port.get(point(service, 0).key)).service == service
