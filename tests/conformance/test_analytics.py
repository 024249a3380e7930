"""The analytics port on every engine that serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.embedded import Membership
from neo_polystore.errors import NotFoundError, UnsupportedError, UsageError
from neo_polystore.ids import uuid7
from neo_polystore.ports.analytics import Aggregate, Analytics
from neo_polystore.records.analytics import Fact
from neo_polystore.records.query import Filter, Query
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.store import ClickHouseStore
from tests.addresses import address_of
from tests.conformance.records import RecordsSuite

START = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
LARGEST = Decimal("99999999999999999999.999999999999999999")


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["clickhouse"])
async def analytics(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[Analytics]:
    """The port of each engine."""
    server = await address_of("clickhouse", embedded)
    store = ClickHouseStore(
        ClickHouseConfig(
            host=server.host,
            port=server.port,
            user=server.user,
            password=SecretStr(server.password),
            database=f"analytics_{uuid4().hex[:8]}",
        )
    )
    await store.migrate()
    await store.connect()
    yield store.port("analytics")
    await store.close()


def fact(group: str, **values: Any) -> Fact:
    """A fact of its own."""
    return Fact.parse({"timestamp": START, "fact_type": group, "subject": "s", **values})


class TestAnalytics(RecordsSuite):
    """Facts: immutable, summed exactly."""

    group = "fact_type"
    ordered = "timestamp"
    summable = "value"

    @pytest.fixture
    async def port(self, analytics: Analytics) -> Analytics:
        return analytics

    def new_group(self) -> str:
        return f"type-{uuid4().hex}"

    def samples(self, count: int, *, group: str) -> Sequence[Fact]:
        return [
            fact(
                group,
                timestamp=START - timedelta(days=40 * (number // 2)),
                subject=f"subject-{number}",
                value=Decimal(number) / 8 - 1,
                dimensions={"n": str(number), "k8s.pod": "it's \\ \t\n{x}", "empty": ""}
                | ({"odd": "yes"} if number % 2 else {}),
            )
            for number in range(count)
        ]

    async def test_an_immutable_record_keeps_its_first_value(self, port: Analytics) -> None:
        first = fact(self.new_group(), value=1)
        await port.write([first])
        written = await port.write([first.model_copy(update={"value": Decimal(2)})])
        assert (written.new, written.existing, written.replaced) == (0, 1, 0)
        assert (await port.get(first.key)).value == 1

    async def test_of_one_key_in_a_batch_the_last_stands(self, port: Analytics) -> None:
        first = fact(self.new_group(), value=1)
        last = first.model_copy(update={"value": Decimal(2)})
        written = await port.write([first, last, last])
        assert (written.new, written.existing, written.replaced) == (1, 1, 1)
        assert (await port.get(first.key)).value == 2

    @pytest.mark.parametrize(
        "value",
        [LARGEST, LARGEST.copy_negate(), *map(Decimal, ("1e-18", "-0.1", "1E+19", "0"))],
    )
    async def test_a_value_keeps_all_its_digits(self, port: Analytics, value: Decimal) -> None:
        stored = fact(self.new_group(), value=value)
        await port.write([stored])
        assert (await port.get(stored.key)).value == value

    async def test_sums_beyond_the_column_are_exact(self, port: Analytics) -> None:
        group = self.new_group()
        await port.write([fact(group, value=LARGEST) for _ in range(12)])
        total = Decimal("1199999999999999999999.999999999999999988")
        assert await port.sum(self.of_group(group), "value") == total

    async def test_times_keep_their_microseconds(self, port: Analytics) -> None:
        group = self.new_group()
        times = [
            datetime(1900, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            START,
            datetime(2299, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ]
        await port.write([fact(group, timestamp=time) for time in times])
        page = await port.find(self.of_group(group, order="timestamp"))
        assert [found.timestamp for found in page] == times

    async def test_a_time_that_cannot_be_held_is_rejected_alone(self, port: Analytics) -> None:
        group = self.new_group()
        written = await port.write(
            [
                fact(group),
                fact(group, timestamp=datetime(1899, 12, 31, tzinfo=UTC)),
                fact(group, timestamp=datetime(2300, 1, 1, tzinfo=UTC)),
            ]
        )
        assert written.new == 1
        assert [(one.index, one.field) for one in written.rejected] == [
            (1, "timestamp"),
            (2, "timestamp"),
        ]

    async def test_one_batch_may_span_centuries(self, port: Analytics) -> None:
        group = self.new_group()
        first = datetime(1950, 1, 15, tzinfo=UTC)
        facts = [fact(group, timestamp=first + timedelta(days=31 * n)) for n in range(150)]
        assert (await port.write(facts)).new == 150
        assert await port.count(self.of_group(group)) == 150

    async def test_text_of_any_kind_comes_back(self, port: Analytics) -> None:
        hostile = "'; DROP TABLE facts; -- \\ \\N \t\n\r {x:String} %s 漢😀"
        stored = fact(self.new_group(), subject=hostile, dimensions={hostile: hostile, "": ""})
        await port.write([stored])
        assert await port.get(stored.key) == stored
        query = self.of_group(stored.fact_type)
        assert await port.count(query.where("subject", hostile)) == 1
        assert await port.count(query.where(f"dimensions.{hostile}", hostile)) == 1

    @pytest.mark.parametrize(
        ("field", "operator", "value", "expected"),
        [
            ("subject", "eq", "subject-1", [1]),
            ("subject", "ne", "subject-1", [0, 2, 3]),
            ("subject", "ge", "subject-2", [2, 3]),
            ("subject", "prefix", "subject-", [0, 1, 2, 3]),
            ("subject", "prefix", "ubject", []),
            ("subject", "eq", None, []),
            ("subject", "ne", None, [0, 1, 2, 3]),
            ("value", "gt", Decimal("-0.875"), [2, 3]),
            ("value", "le", Decimal("-0.875"), [0, 1]),
            ("value", "eq", -1, [0]),
            ("value", "lt", 10**30, [0, 1, 2, 3]),
            ("dimensions.odd", "eq", "yes", [1, 3]),
            ("dimensions.odd", "ne", "yes", [0, 2]),
            ("dimensions.odd", "eq", None, [0, 2]),
            ("dimensions.odd", "ne", None, [1, 3]),
            ("dimensions.odd", "lt", "z", [1, 3]),
            ("dimensions.odd", "prefix", "", [1, 3]),
            ("dimensions.empty", "eq", "", [0, 1, 2, 3]),
            ("dimensions.none", "eq", "", []),
            ("dimensions.k8s.pod", "eq", "it's \\ \t\n{x}", [0, 1, 2, 3]),
            ("timestamp", "eq", START, [0, 1]),
            ("timestamp", "ne", START, [2, 3]),
            ("timestamp", "lt", START, [2, 3]),
            ("timestamp", "ge", START, [0, 1]),
            ("timestamp", "gt", datetime(1, 1, 1, tzinfo=UTC), [0, 1, 2, 3]),
            ("timestamp", "gt", datetime(9999, 1, 1, tzinfo=UTC), []),
        ],
    )
    async def test_a_filter_selects(
        self, port: Analytics, field: str, operator: Any, value: Any, expected: list[int]
    ) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        page = await port.find(self.of_group(group).where(field, value, operator))
        assert sorted(int(found.dimensions["n"]) for found in page) == expected

    async def test_since_is_inclusive_and_until_exclusive(self, port: Analytics) -> None:
        group = self.new_group()
        tick = timedelta(microseconds=1)
        facts = [fact(group, timestamp=START + n * tick) for n in range(3)]
        await port.write(facts)
        query = self.of_group(group, since=START, until=START + 2 * tick, order="timestamp")
        assert (await port.find(query)).records == facts[:2]

    async def test_ids_are_ordered_as_their_text(self, port: Analytics) -> None:
        group = self.new_group()
        ids = [UUID(int=n << 120 | (300 - n)) for n in (1, 2, 128, 255)]
        await port.write([fact(group, id=key) for key in ids])
        page = await port.find(self.of_group(group))
        assert [found.id for found in page] == ids
        assert await port.distinct(self.of_group(group), "id") == ids
        assert await port.count(self.of_group(group).where("id", ids[1], "gt")) == 2
        assert await port.count(self.of_group(group).where("id", str(ids[3])[:4], "prefix")) == 1

    async def test_another_spelling_of_an_id_is_no_key(self, port: Analytics) -> None:
        stored = fact(self.new_group(), id=UUID(int=0xABCDEF << 100 | uuid7().int % 2**64))
        await port.write([stored])
        assert await port.count(self.of_group(stored.fact_type).where("id", stored.id)) == 1
        for spelling in (stored.id.hex, stored.key.upper(), f"{{{stored.key}}}"):
            with pytest.raises(NotFoundError):
                await port.get(spelling)

    @pytest.mark.parametrize("order", ["timestamp", "subject", "value", "fact_type", "id"])
    async def test_pages_are_right_in_every_order(self, port: Analytics, order: str) -> None:
        group = self.new_group()
        facts = list(self.samples(9, group=group))
        await port.write(facts)
        for descending in (False, True):
            expected = sorted(
                facts, key=lambda one: (getattr(one, order), one.key), reverse=descending
            )
            seen, after = [], None
            for _ in range(5):
                query = self.of_group(
                    group, order=order, descending=descending, limit=2, after=after
                )
                page = await port.find(query)
                seen += page.records
                after = page.next
            assert seen == expected
            assert after is None

    async def test_values_are_listed_once(self, port: Analytics) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        query = self.of_group(group)
        assert await port.distinct(query, "dimensions.odd") == ["yes"]
        assert await port.distinct(query, "dimensions.n") == ["0", "1", "2", "3"]
        assert await port.distinct(query, "value") == [Decimal(n) / 8 - 1 for n in range(4)]

    async def test_aggregates_count_sum_and_tell_subjects_apart(self, port: Analytics) -> None:
        group = self.new_group()
        await port.write(
            [
                fact(group, value=Decimal("0.1"), subject="a", dimensions={"region": "eu"}),
                fact(group, value=Decimal("0.2"), subject="a", dimensions={"region": "eu"}),
                fact(group, value=Decimal("0.3"), subject="b", dimensions={"region": "eu"}),
                fact(group, value=Decimal(-4), subject="b", dimensions={"region": "us"}),
                fact(group, value=Decimal(5), subject="c"),
            ]
        )
        query = self.of_group(group)
        assert await port.aggregate(query, by=("dimensions.region",)) == [
            Aggregate(("",), None, 1, Decimal(5), 1),
            Aggregate(("eu",), None, 3, Decimal("0.6"), 2),
            Aggregate(("us",), None, 1, Decimal(-4), 1),
        ]
        assert await port.aggregate(query) == [Aggregate((), None, 5, Decimal("1.6"), 3)]
        assert await port.aggregate(query.where("subject", "a"), by=("fact_type", "subject")) == [
            Aggregate((group, "a"), None, 2, Decimal("0.3"), 1)
        ]

    async def test_steps_are_aligned_to_the_epoch_before_it_too(self, port: Analytics) -> None:
        group = self.new_group()
        hour = timedelta(hours=1)
        midnight = datetime(1970, 1, 1, tzinfo=UTC)
        await port.write(
            [
                fact(group, timestamp=midnight - timedelta(microseconds=1)),
                fact(group, timestamp=midnight),
                fact(group, timestamp=midnight + hour - timedelta(microseconds=1)),
                fact(group, timestamp=midnight + 5 * hour),
            ]
        )
        found = await port.aggregate(self.of_group(group), step=hour)
        assert [(one.bucket, one.count) for one in found] == [
            (midnight - hour, 1),
            (midnight, 2),
            (midnight + 5 * hour, 1),
        ]

    async def test_aggregates_over_nothing_are_no_groups(self, port: Analytics) -> None:
        query = self.of_group(self.new_group())
        assert await port.aggregate(query) == []
        assert await port.aggregate(query, by=("subject",), step=timedelta(days=1)) == []

    async def test_what_makes_no_sense_is_refused(self, port: Analytics) -> None:
        with pytest.raises(UsageError, match="positive"):
            await port.aggregate(Query(), step=timedelta(0))
        with pytest.raises(UsageError, match="grouped"):
            await port.aggregate(Query(), by=("value",))
        with pytest.raises(UsageError, match="nonsense"):
            await port.aggregate(Query(), by=("nonsense",))
        with pytest.raises(UsageError, match="no number"):
            await port.sum(Query(), "subject")
        with pytest.raises(UsageError, match="no text"):
            await port.count(Query(text="word"))
        with pytest.raises(UnsupportedError, match="dimensions"):
            await port.count(Query(filters=(Filter("dimensions", "eq", "x"),)))
        with pytest.raises(UsageError, match="UUID"):
            await port.count(Query(filters=(Filter("id", "eq", "x"),)))

    async def test_a_cursor_of_another_order_is_refused(self, port: Analytics) -> None:
        group = self.new_group()
        await port.write(self.samples(3, group=group))
        page = await port.find(self.of_group(group, order="subject", limit=1))
        for order in ("timestamp", "value", None):
            with pytest.raises(UsageError, match="cursor"):
                await port.find(self.of_group(group, order=order, after=page.next))
