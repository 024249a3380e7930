"""Holds against deletions: what was held when `add` returned is there, whatever was under way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.errors import NotFoundError, UnavailableError
from neo_polystore.ports.retention import HoldsChangedError
from neo_polystore.records.logs import LogEntry
from neo_polystore.retention.holds import held_of
from neo_polystore.retention.service import Done, Retention
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore
from tests.conformance.documents import mongo_engine
from tests.retention.conftest import OLD, entries, owner_of
from tests.retention.drafts import draft
from tests.retention.facade import facade, rule

BEFORE = OLD + timedelta(days=365)
SEED = 20261120


class Racing:
    """One store of `data_type` raced over: filled anew, deleted from, held."""

    def __init__(self, data_type: str, store: Any, primary: PostgresStore):
        self.data_type = data_type
        self.store = store
        self.holds = primary.holds
        self.retention = Retention(
            facade({data_type: rule(data_type, store.name)}, [store, primary]),
            primary.holds,
            holder="race",
        )

    async def fill(self) -> list[str]:
        """Old records; their keys."""
        if self.data_type == "logs":
            made = [
                LogEntry(id=body["_id"], timestamp=OLD, system="s", message="m")
                for body in entries(6)
            ]
            await self.store.port("logs").write(made)
            return [entry.id for entry in made]
        port = self.store.port(self.data_type)
        bodies = entries(6)
        await port.write([port.record.parse(body) for body in bodies])
        return [body["_id"] for body in bodies]

    async def delete(self) -> int:
        """One run of retention over this data type."""
        done = Done(self.data_type)
        [found] = self.retention.rules([self.data_type])
        ages = self.retention.ages(found)
        assert ages is not None
        await self.retention._portions(found, ages, done, "race")
        return done.deleted

    async def undisturbed(self) -> float:
        """How many seconds a deletion takes here with which nothing interferes."""
        await self.fill()
        started = perf_counter()
        await self.delete()
        return perf_counter() - started


@pytest_asyncio.fixture(loop_scope="session", params=["jsonb", "mongo", "tantivy"])
async def racing(
    request: pytest.FixtureRequest,
    primary: PostgresStore,
    documents: JsonbStore,
    tmp_path: Path,
) -> AsyncIterator[Racing]:
    """Holds in the same database, and in another store than the records."""
    match request.param:
        case "jsonb":
            yield Racing("audit_logs", documents, primary)
        case "tantivy":
            store = TantivyStore(TantivyConfig(directory=tmp_path), now=lambda: OLD)
            await store.connect()
            yield Racing("logs", store, primary)
            await store.close()
        case _:
            async for engine in mongo_engine(request.getfixturevalue("mongo_server")):
                yield Racing("audit_logs", engine.store, primary)


async def race(racing: Racing, rounds: int) -> tuple[int, int]:
    """How many held records were there at the end of so many races, and how many were not held
    in time: those that were gone when the hold was in force."""
    chance = random.Random(SEED)
    kept = late = 0
    seconds = [await racing.undisturbed() for _ in range(3)]
    for _ in range(rounds):
        keys = await racing.fill()
        wanted = chance.choice(keys)
        deleting = asyncio.create_task(racing.delete())
        await asyncio.sleep(chance.random() * max(seconds))
        hold = await racing.holds.add(draft(racing.data_type, key=wanted))
        port = racing.store.port(racing.data_type)
        there = await _there(port, wanted)
        await deleting
        assert await _there(port, wanted) == there
        assert await racing.delete() == 0
        assert await _there(port, wanted) == there
        kept, late = kept + there, late + (not there)
        await racing.holds.release(hold.id, by="test", reason="over")
        assert await racing.delete() == (1 if there else 0)
    return kept, late


async def _there(port: Any, key: str) -> bool:
    try:
        await port.get(key)
    except NotFoundError:
        return False
    return True


async def test_no_race_loses_what_is_held(racing: Racing) -> None:
    kept, late = await race(racing, 20)
    assert kept + late == 20


@pytest.mark.long
async def test_no_race_of_a_thousand_loses_what_is_held(racing: Racing) -> None:
    kept, late = await race(racing, 1_000)
    assert kept + late == 1_000
    assert min(kept, late) > 0


async def test_a_deleting_transaction_finds_a_hold_that_came_first(
    primary: PostgresStore, documents: JsonbStore
) -> None:
    ages = documents.ages("audit_logs")
    assert ages is not None
    assert await ages.guarded()
    port: Any = documents.port("audit_logs")
    await port.write([port.record.parse(body) for body in entries(3)])
    seen = held_of(await primary.holds.standing("audit_logs"), "audit_logs")
    portion = await ages.portion(BEFORE, seen)
    assert portion is not None
    hold = await primary.holds.add(draft("audit_logs"))
    with pytest.raises(HoldsChangedError):
        await ages.drop(portion, seen)
    await primary.holds.release(hold.id, by="test", reason="over")
    with pytest.raises(HoldsChangedError):
        await ages.drop(portion, seen)  # a released hold has been added all the same
    now = held_of(await primary.holds.standing("audit_logs"), "audit_logs")
    assert await ages.drop(portion, now) == portion.rows


async def test_a_hold_waits_for_the_deletion_that_is_under_way(primary: PostgresStore) -> None:
    order: list[str] = []
    async with primary.holds.deleting("logs", holder="test", seconds=30) as standing:
        assert standing.deadline is not None
        adding = asyncio.create_task(primary.holds.add(draft("logs")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(adding), 0.2)
        order.append("deleted")
    hold = await adding
    order.append("held")
    assert order == ["deleted", "held"]
    await primary.holds.release(hold.id, by="test", reason="over")


async def test_another_data_type_is_held_at_once(primary: PostgresStore) -> None:
    async with primary.holds.deleting("logs", holder="test", seconds=30):
        hold = await primary.holds.add(draft("analytics"), patience=1)
    await primary.holds.release(hold.id, by="test", reason="over")


async def test_a_hold_that_cannot_be_had_in_time_is_refused(primary: PostgresStore) -> None:
    async with primary.holds.deleting("logs", holder="test", seconds=30):
        with pytest.raises(UnavailableError, match="nothing is held yet"):
            await primary.holds.add(draft("logs"), patience=0.2)
    assert (await primary.holds.standing("logs")).holds == ()


async def test_a_hold_waits_for_what_a_dead_process_asked_of_another_store(
    primary: PostgresStore,
) -> None:
    owner = await owner_of(primary.config)
    await owner.execute(
        "INSERT INTO retention.deletions (data_type, holder, deadline)"
        " VALUES ('logs', 'dead', clock_timestamp() + INTERVAL '0.6 s')"
    )
    with pytest.raises(UnavailableError, match="dead process"):
        await primary.holds.add(draft("logs"), patience=0.1)
    hold = await primary.holds.add(draft("logs"))
    ended: datetime = await owner.fetchval("SELECT max(deadline) FROM retention.deletions")
    assert hold.added_at >= ended
    await owner.close()
    await primary.holds.release(hold.id, by="test", reason="over")


async def test_a_deletion_that_fails_in_the_middle_stays_on_record(
    primary: PostgresStore,
) -> None:
    with pytest.raises(RuntimeError):
        async with primary.holds.deleting("logs", holder="failing", seconds=0.5):
            raise RuntimeError
    hold = await primary.holds.add(draft("logs"))
    owner = await owner_of(primary.config)
    ended = await owner.fetchval(
        "SELECT deadline FROM retention.deletions WHERE holder = 'failing'"
    )
    await owner.close()
    assert hold.added_at >= ended
    await primary.holds.release(hold.id, by="test", reason="over")


async def test_nobody_deletes_or_changes_a_hold(primary: PostgresStore) -> None:
    hold = await primary.holds.add(draft("logs", key="x"))
    for arguments in (
        primary.config.connect_arguments(),
        primary.config.as_relay().connect_arguments(),
    ):
        connection = await asyncpg.connect(**arguments)
        for statement in ("DELETE FROM retention.holds", "UPDATE retention.holds SET key = 'y'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()
    await primary.holds.release(hold.id, by="test", reason="over")
    with pytest.raises(NotFoundError):
        await primary.holds.release(hold.id, by="test", reason="again")
