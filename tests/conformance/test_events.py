"""The events port: what every engine that serves it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import ConflictError, UsageError, ValidationError
from neo_polystore.ports.events import Events
from neo_polystore.records.events import Event
from neo_polystore.stores.event_store.store import EventStore
from tests.conformance.records import RecordsSuite
from tests.conftest import MakeDatabase


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def events(make_database: MakeDatabase) -> AsyncIterator[Events]:
    store = EventStore(await make_database("event_store"))
    await store.migrate()
    await store.connect()
    yield store.port("events")
    await store.close()


def event(aggregate: UUID, number: int = 0, **fields: Any) -> Event:
    return Event(
        aggregate_id=aggregate,
        aggregate_type="order",
        event_type="Changed",
        event_data={"number": number},
        **fields,
    )


class TestEvents(RecordsSuite):
    group = "aggregate_id"
    ordered = "created_at"

    @pytest.fixture
    async def port(self, events: Events) -> Events:
        return events

    def new_group(self) -> str:
        return str(uuid4())

    def samples(self, count: int, *, group: str) -> Sequence[Event]:
        start = datetime(2013, 10, 9, 16, 25, tzinfo=UTC)
        return [
            event(
                UUID(group),
                number,
                created_at=start + timedelta(seconds=number),
                metadata={"source": "urn:test", "amount": 10**30 + number},
                correlation_id=uuid4(),
            )
            for number in range(count)
        ]

    def comparable(self, record: Event) -> Event:
        return record.model_copy(update={"event_version": None, "position": None})

    async def test_versions_can_be_summed(self, port: Events) -> None:
        group = self.new_group()
        await port.write(self.samples(3, group=group))
        assert await port.sum(self.of_group(group), "event_version") == 6

    async def test_versions_count_from_one_in_the_order_given(self, port: Events) -> None:
        one, other = uuid4(), uuid4()
        await port.write([event(one, 0), event(other, 0), event(one, 1), event(one, 2)])
        assert [(e.event_version, e.event_data["number"]) async for e in port.stream(one)] == [
            (1, 0),
            (2, 1),
            (3, 2),
        ]
        assert [e.event_version async for e in port.stream(other)] == [1]

    async def test_a_stored_event_is_not_appended_again(self, port: Events) -> None:
        aggregate = uuid4()
        first, second = event(aggregate, 1), event(aggregate, 2)
        await port.write([first])
        written = await port.write([first, second])
        assert (written.new, written.existing) == (1, 1)
        assert [e.event_id async for e in port.stream(aggregate)] == [
            first.event_id,
            second.event_id,
        ]

    async def test_of_two_events_with_one_id_the_first_is_kept(self, port: Events) -> None:
        first = event(uuid4(), 1)
        second = first.model_copy(update={"event_data": {"number": 2}})
        written = await port.write([first, second])
        assert (written.new, written.existing, written.replaced) == (1, 1, 0)
        assert (await port.get(first.key)).event_data == {"number": 1}

    async def test_what_json_cannot_hold_is_rejected_and_the_rest_stored(
        self, port: Events
    ) -> None:
        aggregate = uuid4()
        bad = [
            event(aggregate).model_copy(update={"event_data": {"text": "a\x00b"}}),
            event(aggregate).model_copy(update={"metadata": {"value": float("nan")}}),
        ]
        written = await port.write([bad[0], event(aggregate), bad[1]])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [
            (0, "event_data"),
            (2, "metadata"),
        ]
        with pytest.raises(ValidationError, match="event_data"):
            await port.append(aggregate, bad[:1], expected_version=1)

    async def test_integers_of_any_size_come_back_exactly(self, port: Events) -> None:
        record = event(uuid4()).model_copy(update={"event_data": {"wei": [2**256 - 1, -(2**70)]}})
        await port.write([record])
        assert (await port.get(record.key)).event_data == record.event_data

    async def test_append_answers_versions_and_positions(self, port: Events) -> None:
        aggregate = uuid4()
        first = await port.append(aggregate, [event(aggregate)], expected_version=0)
        more = await port.append(
            aggregate, [event(aggregate), event(aggregate)], expected_version=1
        )
        assert [e.event_version for e in first + more] == [1, 2, 3]
        assert [e async for e in port.stream(aggregate)] == first + more

    async def test_append_at_another_version_names_the_actual_one(self, port: Events) -> None:
        aggregate = uuid4()
        await port.append(aggregate, [event(aggregate), event(aggregate)], expected_version=0)
        for expected in (0, 1, 3):
            with pytest.raises(ConflictError, match=f"version 2, not {expected}"):
                await port.append(aggregate, [event(aggregate)], expected_version=expected)

    async def test_append_to_a_stream_that_does_not_exist_yet(self, port: Events) -> None:
        aggregate = uuid4()
        with pytest.raises(ConflictError, match="version 0, not 1"):
            await port.append(aggregate, [event(aggregate)], expected_version=1)
        assert [e async for e in port.stream(aggregate)] == []

    async def test_a_repeated_append_answers_what_it_stored(self, port: Events) -> None:
        aggregate = uuid4()
        events = [event(aggregate), event(aggregate)]
        first = await port.append(aggregate, events, expected_version=0)
        await port.append(aggregate, [event(aggregate)], expected_version=2)
        assert await port.append(aggregate, events, expected_version=0) == first

    async def test_append_is_all_or_nothing(self, port: Events) -> None:
        taken = event(uuid4())
        await port.write([taken])
        aggregate = uuid4()
        stolen = taken.model_copy(update={"aggregate_id": aggregate})
        with pytest.raises(ConflictError):
            await port.append(aggregate, [event(aggregate), stolen], expected_version=0)
        assert [e async for e in port.stream(aggregate)] == []
        assert await port.append(aggregate, [event(aggregate)], expected_version=0)

    async def test_append_refuses_events_of_another_aggregate(self, port: Events) -> None:
        with pytest.raises(UsageError):
            await port.append(uuid4(), [event(uuid4())], expected_version=0)

    async def test_of_concurrent_appends_exactly_one_wins(self, port: Events) -> None:
        for version in range(5):
            aggregate = uuid4()
            if version:
                before = [event(aggregate) for _ in range(version)]
                await port.append(aggregate, before, expected_version=0)
            results = await asyncio.gather(
                *(
                    port.append(aggregate, [event(aggregate)], expected_version=version)
                    for _ in range(8)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(result, list) for result in results) == 1
            assert sum(isinstance(result, ConflictError) for result in results) == 7

    async def test_concurrent_writes_of_one_file_store_it_once(self, port: Events) -> None:
        streams = [uuid4() for _ in range(20)]
        records = [event(streams[n % 20], n) for n in range(200)]
        counts = await asyncio.gather(*(port.write(records) for _ in range(6)))
        assert sum(written.new for written in counts) == 200
        assert sum(written.existing for written in counts) == 1000
        for number, aggregate in enumerate(streams):
            stored = [e async for e in port.stream(aggregate)]
            assert [e.event_version for e in stored] == list(range(1, 11))
            assert [e.event_data["number"] for e in stored] == list(range(number, 200, 20))

    async def test_a_stream_can_be_read_from_any_version(self, port: Events) -> None:
        aggregate = uuid4()
        await port.write([event(aggregate, n) for n in range(5)])
        versions = [e.event_version async for e in port.stream(aggregate, after_version=3)]
        assert versions == [4, 5]

    async def test_all_goes_on_after_a_position_and_over_pages(self, port: Events) -> None:
        start = max([e.position or 0 async for e in port.all()], default=0)
        records = [event(uuid4(), n) for n in range(2500)]
        await port.write(records)
        seen = [e async for e in port.all(after_position=start)]
        assert [e.event_id for e in seen] == [e.event_id for e in records]
        positions = [e.position or 0 for e in seen]
        assert positions == sorted(set(positions))
        assert [e async for e in port.all(after_position=positions[-1])] == []
