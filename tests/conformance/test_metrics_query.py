"""Metric queries: what every engine that serves metrics answers, in both modes."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.errors import UsageError
from neo_polystore.ports.metrics import Metrics
from neo_polystore.records.metric_answer import MetricAnswer
from neo_polystore.records.metric_query import (
    EPOCH,
    MAX_BUCKETS,
    MetricQuery,
    PointsQuery,
    SeriesQuery,
)
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.query_sql import lines_statement
from neo_polystore.stores.timescale.sources import plan_of
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALL = ("avg", "min", "max", "sum", "count")


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def aged(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[tuple[Metrics, datetime]]:
    """Points every ten minutes of days 12 to 1 ago, of which only the last 5 are kept."""
    config = await make_metrics_database(embedded, request.param)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with opened(config) as store:
        begin = today - 12 * DAY
        points = [
            MetricPoint(time=begin + n * timedelta(minutes=10), service="s", name="m", value=n)
            for n in range(11 * 144)
        ]
        await store.port("metrics").write(points)
        await store.metric_upkeep.refresh()
    async with opened(config.model_copy(update={"keep_raw": "5 days"})) as store:
        await store.metric_upkeep.retain()
        yield store.port("metrics"), begin


@pytest.fixture
def metrics(store: TimescaleStore) -> Metrics:
    port: Metrics = store.port("metrics")
    return port


@pytest.fixture
def service() -> str:
    return f"service-{uuid4()}"


def point(
    service: str, after: timedelta, value: float, *, name: str = "cpu", **tags: str
) -> MetricPoint:
    return MetricPoint(time=START + after, service=service, name=name, value=value, tags=tags)


async def stored(store: TimescaleStore, points: Sequence[MetricPoint]) -> None:
    """Written, and taken into the rollups of both modes."""
    await store.port("metrics").write(points)
    await store.metric_upkeep.refresh()


def two_days(service: str, *, seed: int = 1) -> list[MetricPoint]:
    """Two series over two days at uneven times."""
    chance = random.Random(seed)
    return [
        point(service, timedelta(seconds=second), chance.uniform(-5, 95), host=f"h{n}")
        for n in range(2)
        for second in sorted(chance.sample(range(2 * 86400), 400))
    ]


def asked(service: str, **changes: Any) -> MetricQuery:
    return MetricQuery(service, **({"since": START, "until": START + 2 * DAY} | changes))


def by_hand(points: Sequence[MetricPoint], step: timedelta) -> dict[tuple[str, datetime], Any]:
    """The statistics of each series and bucket, computed here."""
    buckets: dict[tuple[str, datetime], list[float]] = {}
    for one in points:
        start = EPOCH + (one.time - EPOCH) // step * step
        buckets.setdefault((one.tags["host"], start), []).append(one.value)
    return {
        place: {
            "avg": statistics.fmean(values),
            "min": min(values),
            "max": max(values),
            "sum": math.fsum(values),
            "count": len(values),
        }
        for place, values in buckets.items()
    }


def flat(answer: MetricAnswer) -> dict[tuple[str, datetime], Any]:
    """The same form of an answer by series."""
    return {
        ((line.tags or {})["host"], time): {name: line.values[name][n] for name in line.values}
        for line in answer.lines
        for n, time in enumerate(line.times)
    }


def column(answer: MetricAnswer, aggregate: str = "avg") -> list[Any]:
    """The values of the one line that there is."""
    [line] = answer.lines
    return list(line.values[aggregate])


class TestSources:
    @pytest.mark.parametrize(
        ("step", "source"),
        [
            (timedelta(minutes=7), "raw"),
            (timedelta(minutes=90), "raw"),
            (HOUR, "hourly"),
            (5 * HOUR, "hourly"),
            (DAY, "daily"),
        ],
        ids=str,
    )
    async def test_each_source_answers_what_the_points_say(
        self, store: TimescaleStore, metrics: Metrics, service: str, step: timedelta, source: str
    ) -> None:
        points = two_days(service)
        await stored(store, points)
        answer = await metrics.query(asked(service, step=step, aggregates=ALL))
        assert answer.source == source
        found, expected = flat(answer), by_hand(points, step)
        assert found.keys() == expected.keys()
        for place, values in expected.items():
            assert found[place] == pytest.approx(values, rel=1e-12)

    @pytest.mark.parametrize("source", ["raw", "hourly", "daily"])
    async def test_a_source_asked_for_by_name_gives_the_same_days(
        self, store: TimescaleStore, metrics: Metrics, service: str, source: Any
    ) -> None:
        points = two_days(service)
        await stored(store, points)
        answer = await metrics.query(asked(service, step=DAY, aggregates=ALL, source=source))
        assert (answer.source, answer.reason) == (source, "as asked for")
        for place, values in by_hand(points, DAY).items():
            assert flat(answer)[place] == pytest.approx(values, rel=1e-12)

    async def test_without_a_step_the_range_decides(
        self, store: TimescaleStore, metrics: Metrics, service: str
    ) -> None:
        await stored(store, two_days(service))
        sources = []
        for until in (START + DAY, START + 3 * HOUR, START + timedelta(minutes=5)):
            answer = await metrics.query(asked(service, until=until))
            sources.append(answer.source)
            assert (answer.since, answer.until) == (START, until)
        assert sources == ["daily", "hourly", "raw"]

    @pytest.mark.parametrize("aggregate", ["last", "p50", "percentile(99.9)"])
    async def test_what_only_points_know_comes_from_points(
        self, metrics: Metrics, service: str, aggregate: str
    ) -> None:
        await metrics.write(two_days(service))
        answer = await metrics.query(asked(service, step=DAY, aggregates=(aggregate,)))
        assert answer.source == "raw"
        assert answer.reason.startswith("only raw points answer")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"source": "hourly", "step": timedelta(minutes=30)}, "no multiple of one hour"),
            ({"source": "daily", "step": HOUR}, "no multiple of one day"),
            ({"source": "hourly", "step": HOUR, "aggregates": ("avg", "p95")}, "answer p95"),
            ({"source": "daily", "until": START + HOUR}, "whole days"),
        ],
        ids=str,
    )
    async def test_a_source_that_would_not_be_exact_is_refused(
        self, metrics: Metrics, service: str, changes: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(UsageError, match=reason):
            await metrics.query(asked(service, **changes))

    async def test_what_was_written_a_moment_ago_is_in_every_source(
        self, metrics: Metrics, service: str
    ) -> None:
        now = datetime.now(UTC)
        await metrics.write([MetricPoint(time=now, service=service, name="cpu", value=3.0)])
        for source in ("raw", "hourly", "daily"):
            query = asked(service, since=now, until=now + timedelta(seconds=1), step=DAY)
            answer = await metrics.query(replace(query, source=source))
            assert (answer.source, column(answer), answer.open) == (source, [3.0], True)

    async def test_late_points_are_in_the_answer_at_once(
        self, store: TimescaleStore, metrics: Metrics, service: str
    ) -> None:
        points = two_days(service)
        await metrics.write(points[::2])
        await store.metric_upkeep.refresh()
        await metrics.write(points[1::2])
        answer = await metrics.query(asked(service, step=HOUR, aggregates=("count",)))
        assert {place: values["count"] for place, values in flat(answer).items()} == {
            place: values["count"] for place, values in by_hand(points, HOUR).items()
        }
        # the extension's own views have them with the next refresh only
        expected = {
            "plain": ("hourly", "every bucket consists of whole hours in UTC"),
            "timescaledb": ("raw", "late points are not in the hourly values yet"),
        }
        assert (answer.source, answer.reason) == expected[(await store.health()).facts["mode"]]

    async def test_a_range_of_the_past_is_closed(self, metrics: Metrics, service: str) -> None:
        assert not (await metrics.query(asked(service, step=HOUR))).open


class TestRetention:
    async def test_steps_become_hours_where_points_are_gone(
        self, aged: tuple[Metrics, datetime]
    ) -> None:
        metrics, begin = aged
        query = MetricQuery(
            "s",
            begin + timedelta(minutes=5),
            begin + 12 * DAY,
            step=timedelta(minutes=5),
            aggregates=("count",),
        )
        answer = await metrics.query(query)
        assert (answer.source, answer.step, answer.since) == ("hourly", HOUR, begin)
        assert "dropped by retention" in answer.reason
        assert column(answer, "count") == [6] * (11 * 24)

    async def test_points_that_are_kept_answer_as_ever(
        self, aged: tuple[Metrics, datetime]
    ) -> None:
        metrics, begin = aged
        since = begin + 9 * DAY
        query = MetricQuery("s", since, since + HOUR, step=timedelta(minutes=5))
        answer = await metrics.query(query)
        assert (answer.source, answer.step) == ("raw", timedelta(minutes=5))
        assert len(column(answer)) == 6

    async def test_one_value_over_a_range_that_is_gone_is_widened_to_whole_hours(
        self, aged: tuple[Metrics, datetime]
    ) -> None:
        metrics, begin = aged
        query = MetricQuery("s", begin + timedelta(minutes=20), begin + 2 * HOUR)
        answer = await metrics.query(replace(query, aggregates=("count",)))
        assert (answer.source, answer.since, column(answer, "count")) == ("hourly", begin, [12])

    async def test_a_percentile_of_points_that_are_gone_is_refused(
        self, aged: tuple[Metrics, datetime]
    ) -> None:
        metrics, begin = aged
        query = MetricQuery("s", begin, begin + DAY, step=HOUR, aggregates=("p95",))
        with pytest.raises(UsageError, match="p95: only raw points answer this"):
            await metrics.query(query)


class TestBuckets:
    @pytest.mark.parametrize("step", [timedelta(minutes=20), HOUR, DAY], ids=str)
    async def test_the_buckets_at_the_edges_are_whole(
        self, metrics: Metrics, service: str, step: timedelta
    ) -> None:
        await metrics.write(two_days(service))
        whole = flat(await metrics.query(asked(service, step=step, aggregates=ALL)))
        since, until = (
            START + timedelta(hours=7, minutes=13),
            START + timedelta(hours=31, minutes=1),
        )
        answer = await metrics.query(
            asked(service, step=step, aggregates=ALL, since=since, until=until)
        )
        assert answer.since <= since < answer.since + step
        assert answer.until - step < until <= answer.until
        found = flat(answer)
        assert found == {
            place: pytest.approx(values, rel=1e-12)
            for place, values in whole.items()
            if answer.since <= place[1] < answer.until
        }

    async def test_a_range_that_ends_with_a_bucket_takes_no_more(
        self, metrics: Metrics, service: str
    ) -> None:
        await metrics.write([point(service, after, 1.0) for after in (-HOUR, 0 * HOUR, HOUR)])
        answer = await metrics.query(asked(service, until=START + HOUR, step=HOUR))
        assert [list(line.times) for line in answer.lines] == [[START]]

    async def test_without_a_step_the_range_is_exact(self, metrics: Metrics, service: str) -> None:
        await metrics.write([point(service, timedelta(minutes=n), n) for n in range(10)])
        query = asked(
            service, since=START + timedelta(minutes=2), until=START + timedelta(minutes=5)
        )
        assert column(await metrics.query(replace(query, aggregates=("sum",))), "sum") == [9.0]

    async def test_buckets_before_1970_are_aligned_alike(
        self, metrics: Metrics, service: str
    ) -> None:
        times = (datetime(1969, 12, 31, 23, 50, tzinfo=UTC), datetime(1970, 1, 3, tzinfo=UTC))
        await metrics.write(
            [MetricPoint(time=time, service=service, name="cpu", value=1) for time in times]
        )
        query = MetricQuery(
            service,
            datetime(1969, 12, 1, tzinfo=UTC),
            datetime(1970, 2, 1, tzinfo=UTC),
            step=timedelta(minutes=7),
        )
        [line] = (await metrics.query(query)).lines
        assert line.times[0] == EPOCH - timedelta(minutes=14)
        assert [(time - EPOCH) % timedelta(minutes=7) for time in line.times] == [timedelta(0)] * 2


class TestAggregates:
    async def test_percentiles_interpolate_between_values(
        self, metrics: Metrics, service: str
    ) -> None:
        await metrics.write([point(service, timedelta(seconds=n), n) for n in range(101)])
        names = ("p50", "p99", "percentile(99.5)", "p0", "percentile(100)", "last")
        answer = await metrics.query(asked(service, step=HOUR, aggregates=names))
        [line] = answer.lines
        assert {name: values[0] for name, values in line.values.items()} == pytest.approx(
            {"p50": 50, "p99": 99, "p99.5": 99.5, "p0": 0, "p100": 100, "last": 100}
        )

    @pytest.mark.parametrize("source", ["raw", "hourly", "daily"])
    async def test_nan_is_in_no_statistic(
        self, store: TimescaleStore, metrics: Metrics, service: str, source: Any
    ) -> None:
        values = [1.0, math.nan, 3.0]
        await stored(store, [point(service, timedelta(minutes=n), v) for n, v in enumerate(values)])
        await stored(store, [point(service, DAY, math.nan)])
        [line] = (
            await metrics.query(asked(service, step=DAY, aggregates=ALL, source=source))
        ).lines
        assert list(line.times) == [START]
        assert {name: found[0] for name, found in line.values.items()} == {
            "avg": 2.0,
            "min": 1.0,
            "max": 3.0,
            "sum": 4.0,
            "count": 2,
        }

    @pytest.mark.parametrize("source", ["raw", "hourly", "daily"])
    async def test_values_whose_sum_is_no_number_do_no_harm(
        self, store: TimescaleStore, metrics: Metrics, service: str, source: Any
    ) -> None:
        await stored(store, [point(service, timedelta(minutes=n), 1.5e308) for n in range(3)])
        answer = await metrics.query(
            asked(service, step=DAY, aggregates=("sum", "max"), source=source)
        )
        assert (column(answer, "sum"), column(answer, "max")) == ([math.inf], [1.5e308])

    async def test_the_average_of_a_name_weighs_every_point_alike(
        self, store: TimescaleStore, metrics: Metrics, service: str
    ) -> None:
        await stored(
            store,
            [point(service, timedelta(minutes=n), 10.0, host="a") for n in range(3)]
            + [point(service, HOUR, 50.0, host="b")],
        )
        for source in ("raw", "hourly", "daily"):
            query = asked(service, step=DAY, group="name", source=source)
            assert column(await metrics.query(query)) == [20.0]


class TestLines:
    @pytest_asyncio.fixture(loop_scope="session")
    async def full(self, store: TimescaleStore, service: str) -> MetricQuery:
        """A query over three names of two hosts in two zones each."""
        await stored(
            store,
            [
                point(service, timedelta(minutes=n), n, name=name, host=host, zone=zone)
                for n, name in enumerate(("a", "b", "c"))
                for host in ("h1", "h2")
                for zone in ("x", "y")
            ],
        )
        return asked(service, step=HOUR)

    async def test_lines_come_in_order_of_name_and_tags(
        self, metrics: Metrics, full: MetricQuery
    ) -> None:
        lines = [(line.name, dict(line.tags or {})) for line in (await metrics.query(full)).lines]
        assert lines == [
            (name, {"host": host, "zone": zone})
            for name in "abc"
            for host in ("h1", "h2")
            for zone in "xy"
        ]

    @pytest.mark.parametrize("source", ["raw", "hourly"])
    async def test_all_tags_of_a_filter_must_be_there(
        self, metrics: Metrics, full: MetricQuery, source: Any
    ) -> None:
        async def lines(**tags: str) -> int:
            found = await metrics.query(replace(full, tags=tags, source=source, names=("a", "b")))
            return len(found.lines)

        assert [await lines(), await lines(host="h1"), await lines(host="h1", zone="y")] == [
            8,
            4,
            2,
        ]
        assert await lines(host="h3") == await lines(rack="1") == 0

    async def test_one_line_per_name_has_no_tags(self, metrics: Metrics, full: MetricQuery) -> None:
        answer = await metrics.query(
            replace(full, group="name", names=("b", "a"), aggregates=("count",))
        )
        assert [(line.name, line.tags, line.values["count"][0]) for line in answer.lines] == [
            ("a", None, 4),
            ("b", None, 4),
        ]

    async def test_a_limit_says_that_there_are_more(
        self, metrics: Metrics, full: MetricQuery
    ) -> None:
        answer = await metrics.query(replace(full, limit=5))
        assert (len(answer.lines), answer.more) == (5, True)
        assert not (await metrics.query(replace(full, limit=12))).more

    async def test_absence_has_a_note(self, metrics: Metrics, full: MetricQuery) -> None:
        async def note(**changes: Any) -> str | None:
            answer = await metrics.query(replace(full, **changes))
            assert not answer.lines
            return answer.note

        assert await note(service="nobody") == "there are no metrics of a service 'nobody'"
        assert (await note(names=("x",)) or "").endswith("has no such metric; it has a, b, c")
        assert await note(tags={"host": "h9"}) == "no series of these has all of these tags"
        assert (
            await note(since=START - DAY, until=START)
            == "these series have no values in this range"
        )

    @pytest.mark.parametrize(
        ("fill", "expected"),
        [
            ("skip", [1.0, 3.0]),
            ("null", [None, 1.0, None, None, 3.0, None]),
            ("previous", [None, 1.0, 1.0, 1.0, 3.0, 3.0]),
            ("zero", [0, 1.0, 0, 0, 3.0, 0]),
        ],
    )
    async def test_empty_buckets_get_what_was_asked(
        self, metrics: Metrics, service: str, fill: Any, expected: list[float | None]
    ) -> None:
        await metrics.write([point(service, HOUR, 1.0), point(service, 4 * HOUR, 3.0)])
        answer = await metrics.query(asked(service, until=START + 6 * HOUR, step=HOUR, fill=fill))
        assert column(answer) == expected

    async def test_nothing_is_filled_in_for_the_future(
        self, metrics: Metrics, service: str
    ) -> None:
        now = datetime.now(UTC)
        await metrics.write([MetricPoint(time=now, service=service, name="cpu", value=1)])
        query = MetricQuery(service, now, now + DAY, step=HOUR, fill="previous")
        assert len(column(await metrics.query(query))) == 1


class TestBadQueries:
    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"step": timedelta(0)}, "step must be positive"),
            ({"step": -HOUR}, "step must be positive"),
            ({"step": timedelta(seconds=1)}, "gives 172,800 buckets, at most 100,000"),
            ({"step": timedelta.max}, "beyond the years 1 to 9999"),
            ({"since": START + 2 * DAY}, "since must be before until"),
            ({"since": START + 3 * DAY}, "since must be before until"),
            ({"since": START.replace(tzinfo=None)}, "since needs a time zone"),
            ({"until": START.replace(tzinfo=None)}, "until needs a time zone"),
            ({"aggregates": ("median",)}, "unknown aggregate 'median'; there are avg"),
            ({"aggregates": ("p101",)}, "between 0 and 100"),
            ({"aggregates": ("percentile(100.1)",)}, "between 0 and 100"),
            ({"aggregates": ("percentile(-1)",)}, "unknown aggregate"),
            ({"aggregates": ()}, "ask for 1 to 16"),
            ({"fill": "zero"}, "fill 'zero' needs a step"),
            ({"fill": "some", "step": HOUR}, "fill must be one of skip, null"),
            ({"source": "weekly"}, "source must be one of auto, raw"),
            ({"group": "host"}, "group must be one of series, name"),
            ({"limit": 0}, "limit must be between 1"),
            ({"limit": 10_001}, "limit must be between 1"),
            ({"names": ("a", "")}, "name must not be empty"),
            ({"names": ("a\x00",)}, "no text that a series could have"),
            ({"tags": {"host": "\ud800"}}, "no text that a series could have"),
        ],
        ids=str,
    )
    async def test_a_query_that_makes_no_sense_is_refused(
        self, metrics: Metrics, service: str, changes: dict[str, Any], complaint: str
    ) -> None:
        with pytest.raises(UsageError, match=complaint):
            await metrics.query(asked(service, **changes))

    async def test_too_many_buckets_of_all_series_are_refused(
        self, metrics: Metrics, service: str
    ) -> None:
        await metrics.write([point(service, timedelta(0), 1.0, host=f"h{n}") for n in range(11)])
        step = timedelta(seconds=172_800 / (MAX_BUCKETS // 10))
        query = asked(service, step=step, fill="null")
        with pytest.raises(UsageError, match="filled up these are"):
            await metrics.query(query)
        assert len((await metrics.query(replace(query, fill="skip"))).lines) == 11


class TestLists:
    async def test_series_are_listed_page_by_page(self, metrics: Metrics, service: str) -> None:
        await metrics.write(
            [
                point(service, timedelta(0), 1.0, name=name, host=f"h{n}")
                for name in ("b", "a")
                for n in range(5)
            ]
        )
        found, after = [], None
        while True:
            page = await metrics.series(SeriesQuery(service, limit=3, after=after))
            found += page.records
            if (after := page.next) is None:
                break
        assert [one.name for one in found] == ["a"] * 5 + ["b"] * 5
        assert {(one.name, one.tags["host"]) for one in found} == {
            (name, f"h{n}") for name in "ab" for n in range(5)
        }
        only = await metrics.series(SeriesQuery(service, name="a", tags={"host": "h3"}))
        assert [(one.service, one.name, one.tags) for one in only] == [
            (service, "a", {"host": "h3"})
        ]

    async def test_points_are_listed_in_order_of_time(self, metrics: Metrics, service: str) -> None:
        points = [point(service, timedelta(hours=n // 2), n, host=f"h{n % 2}") for n in range(60)]
        await metrics.write([*points, point(service, HOUR, 1, name="other")])
        found: list[MetricPoint] = []
        query = PointsQuery(service, "cpu", START, START + DAY, limit=7)
        while True:
            page = await metrics.points(query)
            found += page.records
            if page.next is None:
                break
            query = replace(query, after=page.next)
        assert [one.time for one in found] == sorted(one.time for one in found)
        assert sorted(found, key=lambda one: one.value) == points[:48]

    async def test_points_can_be_restricted_to_tags(self, metrics: Metrics, service: str) -> None:
        await metrics.write([point(service, HOUR, n, host=f"h{n}") for n in range(3)])
        page = await metrics.points(
            PointsQuery(service, "cpu", START, START + DAY, tags={"host": "h1"})
        )
        assert [one.value for one in page] == [1.0]

    async def test_a_page_of_points_stays_right_while_others_write(
        self, metrics: Metrics, service: str
    ) -> None:
        await metrics.write([point(service, n * HOUR, n) for n in range(1, 7)])
        query = PointsQuery(service, "cpu", START, START + DAY, limit=3)
        first = await metrics.points(query)
        await metrics.write([point(service, timedelta(0), -1), point(service, 23 * HOUR, 99)])
        rest = await metrics.points(replace(query, after=first.next, limit=100))
        assert [one.value for one in rest] == [4, 5, 6, 99]

    @pytest.mark.parametrize("after", ["nonsense", "WzEsMl0", "WyJcdTAwMDAiLCJ4Il0"])
    async def test_a_foreign_cursor_is_refused(
        self, metrics: Metrics, service: str, after: str
    ) -> None:
        with pytest.raises(UsageError, match="cursor"):
            await metrics.points(PointsQuery(service, "cpu", START, START + DAY, after=after))
        with pytest.raises(UsageError, match="cursor"):
            await metrics.series(SeriesQuery(service, after=after))


class TestPlans:
    """Which parts of the tables a statement reads, by the server's own account."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def owner(self, store: TimescaleStore) -> AsyncIterator[Any]:
        owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
        yield owner
        await owner.close()

    async def read(self, owner: Any, query: MetricQuery) -> list[dict[str, Any]]:
        """The nodes that were run of the plan for these values, where no table is too small for
        an index."""
        statement = lines_statement(plan_of(query.normal()))
        tags = ("jsonb", "pg_catalog")
        await owner.set_type_codec(
            tags[0], schema=tags[1], encoder=lambda v: orjson.dumps(v).decode(), decoder=str
        )
        async with owner.transaction():
            await owner.execute("SET LOCAL enable_seqscan = off")
            [[text]] = await owner.fetch(
                "EXPLAIN (ANALYZE, FORMAT JSON) " + statement.sql, *statement.arguments
            )
        return list(_nodes(orjson.loads(text)[0]["Plan"]))

    @pytest_asyncio.fixture(loop_scope="session")
    async def stretch(self, store: TimescaleStore, service: str) -> str:
        """A service with points on each of twenty days."""
        points = [
            point(service, n * timedelta(hours=6), n, host=f"h{n % 2}", name=f"m{n % 3}")
            for n in range(80)
        ]
        await stored(store, points)
        return service

    @pytest.mark.parametrize(
        "changes",
        [
            {"names": ("m1",), "step": timedelta(minutes=10)},
            {"step": timedelta(minutes=10)},
            {"names": ("m1", "m2"), "tags": {"host": "h1"}, "step": timedelta(minutes=10)},
            {"names": ("m1",), "step": HOUR},
            {"names": ("m1",), "step": DAY, "group": "name"},
            {"tags": {"host": "h1"}, "step": HOUR},
        ],
        ids=str,
    )
    async def test_points_and_rollups_are_read_by_index(
        self, owner: Any, stretch: str, changes: dict[str, Any]
    ) -> None:
        nodes = await self.read(owner, asked(stretch, **changes))
        scanned = [
            node["Relation Name"]
            for node in nodes
            if node["Node Type"] == "Seq Scan"
            and node["Relation Name"].startswith(("metrics_p", "metrics_h", "metrics_d", "_hyper"))
        ]
        assert not scanned

    async def test_only_the_days_of_the_range_are_read(self, owner: Any, stretch: str) -> None:
        since = START + 10 * DAY
        query = asked(
            stretch, since=since, until=since + 2 * DAY, step=timedelta(minutes=10), names=("m1",)
        )
        relations = {
            node["Relation Name"]
            for node in await self.read(owner, query)
            if node.get("Relation Name", "").startswith(("metrics_p", "_hyper"))
            and node["Actual Loops"]
        }
        assert len(relations) == 2


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
