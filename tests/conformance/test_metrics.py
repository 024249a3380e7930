"""The metrics port as a store of records; what it answers to queries is in test_metrics_query."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.errors import NotFoundError
from neo_polystore.ports.metrics import Metrics
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Query
from tests.conformance.records import RecordsSuite
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

START = datetime(2013, 10, 9, 16, 25, tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
STALE_MARKER = 0x7FF0000000000002
"""The NaN by which Prometheus says that a series has ended."""


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def metrics(request: pytest.FixtureRequest, embedded: Membership) -> AsyncIterator[Metrics]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store.port("metrics")


def point(service: str, number: int, value: float | None = None, **tags: str) -> MetricPoint:
    return MetricPoint(
        time=START + timedelta(minutes=5 * number),
        service=service,
        name="cpu_utilization",
        value=number + 0.25 if value is None else value,
        tags=tags,
        unit="percent",
    )


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def from_bits(pattern: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", pattern))[0])


class TestMetrics(RecordsSuite):
    group = "service"
    ordered = "time"
    summable = "value"
    mutable = True

    @pytest.fixture
    async def port(self, metrics: Metrics) -> Metrics:
        return metrics

    def new_group(self) -> str:
        return f"service-{uuid4()}"

    def samples(self, count: int, *, group: str) -> Sequence[MetricPoint]:
        return [point(group, number, host="node-1") for number in range(count)]

    def changed(self, record: MetricPoint) -> MetricPoint:
        return record.model_copy(update={"value": record.value + 1})

    def many(self, group: str) -> list[MetricPoint]:
        """Enough points over enough days for the way of large batches."""
        return [point(group, number, host=f"node-{number % 3}") for number in range(1500)]

    async def test_the_last_of_a_series_and_time_stands(self, port: Metrics) -> None:
        group = self.new_group()
        written = await port.write([point(group, 0, value) for value in (1.0, 2.0, 3.0, 3.0)])
        assert (written.new, written.replaced, written.existing) == (1, 2, 1)
        assert await port.sum(self.of_group(group), "value") == 3.0

    async def test_loading_repeated_times_again_replaces_nothing(self, port: Metrics) -> None:
        group = self.new_group()
        points = [point(group, 0, value) for value in (1.0, 2.0, 3.0, 3.0)]
        await port.write(points)
        again = await port.write(points)
        assert (again.new, again.replaced, again.existing) == (0, 0, 4)

    async def test_another_unit_is_another_value(self, port: Metrics) -> None:
        group = self.new_group()
        await port.write([point(group, 0)])
        written = await port.write([point(group, 0).model_copy(update={"unit": None})])
        assert (written.new, written.replaced, written.existing) == (0, 1, 0)

    async def test_large_batches_are_counted_like_small_ones(self, port: Metrics) -> None:
        group = self.new_group()
        points = self.many(group)
        written = await port.write([*points, points[0], self.changed(points[1])])
        assert (written.new, written.replaced, written.existing) == (1500, 1, 1)
        again = await port.write([self.changed(points[0]), *points[1:]])
        assert (again.new, again.replaced, again.existing) == (0, 2, 1498)
        assert await port.count(self.of_group(group)) == 1500
        assert (await port.get(points[1].key)).value == points[1].value

    async def test_the_order_of_tags_makes_no_other_series(self, port: Metrics) -> None:
        group = self.new_group()
        await port.write([point(group, 0, a="1", b="2")])
        written = await port.write([point(group, 0, b="2", a="1")])
        assert (written.new, written.existing) == (0, 1)

    async def test_other_tags_make_another_series(self, port: Metrics) -> None:
        group = self.new_group()
        written = await port.write([point(group, 0), point(group, 0, host="node-1")])
        assert written.new == 2

    async def test_a_tag_that_cannot_be_stored_is_rejected_alone(self, port: Metrics) -> None:
        group = self.new_group()
        points = [point(group, 0), point(group, 1, host="a\x00b"), point(group, 2)]
        written = await port.write(points)
        assert written.new == 2
        assert [(r.index, r.field) for r in written.rejected] == [(1, "tags")]

    @pytest.mark.parametrize("company", [0, 1500])
    async def test_every_bit_of_a_value_survives(self, port: Metrics, company: int) -> None:
        group = self.new_group()
        patterns = [STALE_MARKER, 0x7FF8000000000001, bits(math.inf), bits(-math.inf), bits(-0.0)]
        points = [point(group, n, from_bits(p), odd="yes") for n, p in enumerate(patterns)]
        await port.write([*points, *self.many(group)[:company]])
        stored = [await port.get(item.key) for item in points]
        assert [bits(item.value) for item in stored] == patterns

    async def test_nan_equals_nan(self, port: Metrics) -> None:
        group = self.new_group()
        points = [point(group, 0, math.nan), point(group, 0, from_bits(STALE_MARKER))]
        written = await port.write(points)
        assert (written.new, written.existing) == (1, 1)
        again = await port.write(points)
        assert (again.existing, again.replaced) == (2, 0)

    async def test_concurrent_writers_of_one_batch_store_it_once(self, port: Metrics) -> None:
        for group, count in ((self.new_group(), 300), (self.new_group(), 1500)):
            points = self.many(group)[:count]
            counts = await asyncio.gather(
                *(port.write(points if n % 2 else points[::-1]) for n in range(6))
            )
            assert sum(written.new for written in counts) == count
            assert sum(written.existing for written in counts) == 5 * count

    async def test_points_of_any_century_are_stored(self, port: Metrics) -> None:
        group = self.new_group()
        years = (1, 1969, 1970, 2038, 9999)
        points = [
            point(group, 0).model_copy(update={"time": datetime(year, 12, 31, 23, 59, tzinfo=UTC)})
            for year in years
        ]
        assert (await port.write(points)).new == len(years)
        assert [(await port.get(item.key)).time for item in points] == [p.time for p in points]

    async def test_the_first_and_last_moments_of_the_calendar_are_rejected(
        self, port: Metrics
    ) -> None:
        points = [
            point(self.new_group(), 0).model_copy(update={"time": time}) for time in (FIRST, LAST)
        ]
        written = await port.write(points)
        assert [(r.index, r.field) for r in written.rejected] == [(0, "time"), (1, "time")]

    async def test_times_select_a_half_open_interval(self, port: Metrics) -> None:
        group = self.new_group()
        await port.write([point(group, n) for n in range(4)])
        query = self.of_group(
            group, since=START + timedelta(minutes=5), until=START + timedelta(minutes=15)
        )
        assert await port.count(query) == 2

    async def test_a_key_with_a_time_that_is_none_is_not_found(self, port: Metrics) -> None:
        for key in (f"{uuid4()}:yesterday", f"{uuid4()}:2013-10-09T16:25:00"):
            with pytest.raises(NotFoundError):
                await port.get(key)

    async def test_tags_can_be_asked_for(self, port: Metrics) -> None:
        group = self.new_group()
        await port.write([point(group, 0, host="a"), point(group, 0, host="b")])
        query = self.of_group(group).where("tags.host", "a")
        assert await port.count(query) == 1
        assert isinstance(query, Query)
