"""Reading all events while others append: nothing skipped, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from uuid import UUID, uuid4

import pytest

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.events import Event
from neo_polystore.stores.event_store.appending import APPEND, append_parameters
from neo_polystore.stores.event_store.store import EventStore

WRITERS, READERS = 12, 3


def event(aggregate: UUID, number: int = 0) -> Event:
    return Event(
        aggregate_id=aggregate,
        aggregate_type="order",
        event_type="Changed",
        event_data={"number": number},
    )


async def append(connection: Connection, aggregate: UUID) -> UUID | None:
    """Append one event at the end, inside the caller's transaction."""
    version = await connection.fetchval(
        "SELECT current_version FROM aggregates WHERE aggregate_id = $1", aggregate
    )
    added = event(aggregate)
    parameters = append_parameters([added])
    rows = await connection.fetch(APPEND, aggregate, "order", 1, version or 0, *parameters)
    return added.event_id if rows else None


async def delayed_writer(
    store: EventStore, seed: int, streams: list[UUID], rounds: int, stored: list[UUID]
) -> None:
    """Appends in transactions that have written before, linger, append twice or roll back."""
    dice = random.Random(seed)
    for _ in range(rounds):
        async with store.database.acquire("test") as connection:
            transaction = connection.transaction()
            await transaction.start()
            if dice.random() < 0.5:
                # a transaction id older than those of others that append before us
                await connection.execute("SELECT pg_current_xact_id()")
            await asyncio.sleep(dice.random() * 0.01)
            # in order, so that two writers never wait for each other
            chosen = sorted(dice.sample(streams, dice.choice((1, 1, 2))), key=lambda s: s.bytes)
            added = []
            for aggregate in chosen:
                added.append(await append(connection, aggregate))
                await asyncio.sleep(dice.random() * 0.02)
            if dice.random() < 0.1:
                await transaction.rollback()
            else:
                await transaction.commit()
                stored += [identity for identity in added if identity]


async def port_writer(
    store: EventStore, seed: int, streams: list[UUID], rounds: int, stored: list[UUID]
) -> None:
    dice = random.Random(seed)
    port = store.port("events")
    for number in range(rounds):
        records = [event(dice.choice(streams), number) for _ in range(dice.randint(1, 8))]
        await port.write(records)
        stored += [record.event_id for record in records]


async def tail(store: EventStore, seen: list[Event], writing: asyncio.Event) -> None:
    port = store.port("events")
    after = 0
    while True:
        last_round = not writing.is_set()
        async for item in port.all(after_position=after):
            seen.append(item)
            after = item.position or 0
        if last_round:
            return
        await asyncio.sleep(0)


async def prove(store: EventStore, *, rounds: int) -> int:
    """Run writers and readers, compare what each reader saw; answers how many events there were."""
    streams = [uuid4() for _ in range(6)]
    stored: list[UUID] = []
    feeds: list[list[Event]] = [[] for _ in range(READERS)]
    writing = asyncio.Event()
    writing.set()
    readers = [asyncio.create_task(tail(store, feed, writing)) for feed in feeds]
    async with asyncio.TaskGroup() as group:
        for seed in range(WRITERS):
            write = port_writer if seed % 4 == 3 else delayed_writer
            group.create_task(write(store, seed, streams, rounds, stored))
    writing.clear()
    await asyncio.gather(*readers)
    for feed in feeds:
        mine = [item for item in feed if item.aggregate_id in streams]
        counts = Counter(item.event_id for item in mine)
        assert set(counts) == set(stored), "skipped or invented"
        assert set(counts.values()) == {1}, "doubled"
        for aggregate in streams:
            versions = [item.event_version for item in mine if item.aggregate_id == aggregate]
            assert versions == list(range(1, len(versions) + 1)), "inverted or with a gap"
    return len(stored)


async def test_tailing_readers_see_every_event_once_and_in_order(store: EventStore) -> None:
    stored = await prove(store, rounds=25)
    assert stored > 300
    # the proof would be empty if positions had become visible in their own order
    async with store.database.acquire("test") as connection:
        crossed = await connection.fetchval(
            "SELECT count(*) FROM (SELECT xid, lag(xid) OVER (ORDER BY position) AS before"
            " FROM events) AS pairs WHERE xid < before"
        )
    assert crossed > 0


@pytest.mark.long
async def test_tailing_readers_see_every_event_once_and_in_order_for_long(
    store: EventStore,
) -> None:
    assert await prove(store, rounds=1000) > 10_000


async def test_the_horizon_stops_before_an_append_that_is_not_committed(store: EventStore) -> None:
    port = store.port("events")
    start = max([item.position or 0 async for item in port.all()], default=0)
    async with store.database.acquire("slow") as slow:
        transaction = slow.transaction()
        await transaction.start()
        first = await append(slow, uuid4())
        later = event(uuid4())
        await port.write([later])
        assert [item async for item in port.all(after_position=start)] == []
        await transaction.commit()
    seen = [item.event_id async for item in port.all(after_position=start)]
    assert seen == [first, later.event_id]


async def test_other_writing_transactions_do_not_hold_the_horizon(store: EventStore) -> None:
    port = store.port("events")
    start = max([item.position or 0 async for item in port.all()], default=0)
    async with store.database.transaction("other") as other:
        await other.execute("SELECT pg_current_xact_id()")
        added = event(uuid4())
        await port.write([added])
        seen = [item.event_id async for item in port.all(after_position=start)]
    assert seen == [added.event_id]


async def test_plain_inserts_announce_themselves_too(store: EventStore) -> None:
    port = store.port("events")
    start = max([item.position or 0 async for item in port.all()], default=0)
    async with store.database.acquire("plain") as plain:
        transaction = plain.transaction()
        await transaction.start()
        await plain.execute(
            "INSERT INTO events (aggregate_id, aggregate_type, event_type, event_version,"
            " event_data) VALUES ($1, 'order', 'Changed', 1, '{}')",
            uuid4(),
        )
        await port.write([event(uuid4())])
        assert [item async for item in port.all(after_position=start)] == []
        await transaction.rollback()
    assert len([item async for item in port.all(after_position=start)]) == 1


async def test_health_names_the_process_that_holds_the_horizon(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neo_polystore.stores.event_store.store.STALL_SECONDS", 0.0)
    async with store.database.transaction("slow") as slow:
        await append(slow, uuid4())
        pid = await slow.fetchval("SELECT pg_backend_pid()")
        health = await store.health()
    assert health.status == "degraded"
    assert health.facts["horizon_pid"] == pid
    assert f"process {pid}" in health.detail
    assert (await store.health()).status == "healthy"
