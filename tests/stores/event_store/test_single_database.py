"""The event store in the relational store's database: in a schema of its own, as safe as alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.addresses import ServerAddresses
from neo_polystore.build import open_polystore
from neo_polystore.errors import ConfigError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.events import Event
from neo_polystore.settings import Settings
from neo_polystore.stores.event_store.store import EventStore
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase


def settings_of(config: PgConfig, **changes: Any) -> Settings:
    """The server profile where both stores have one database."""
    values = {
        "neo_profile": "server",
        "postgres_host": config.host,
        "postgres_port": config.port,
        "postgres_db": config.database,
        "event_store_db": config.database,
        "postgres_user": config.user,
        "postgres_password": config.password,
        "postgres_owner_password": config.owner_password,
        "postgres_relay_password": config.relay_password,
        "neo_cache": False,
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(make_database: MakeDatabase) -> AsyncIterator[tuple[EventStore, PostgresStore]]:
    """Both stores on one database, the event store migrated first."""
    config = await make_database("single")
    addresses = ServerAddresses(settings_of(config))
    events = EventStore(await addresses.config("event_store"))
    relational = PostgresStore(await addresses.config("postgres"))
    await events.migrate()
    await relational.migrate()
    await events.connect()
    await relational.connect()
    yield events, relational
    await events.close()
    await relational.close()


def event(**changes: Any) -> Event:
    """An event of a new stream."""
    values = {"aggregate_id": uuid4(), "aggregate_type": "t", "event_type": "happened"}
    return Event(**{**values, "event_data": {"n": 1}, **changes})


async def test_events_stand_in_their_schema_and_are_read_back(
    shared: tuple[EventStore, PostgresStore],
) -> None:
    store, _ = shared
    made = event()
    await store.port("events").append(made.aggregate_id, [made], expected_version=0)
    found = [each async for each in store.port("events").stream(made.aggregate_id)]
    assert [each.event_id for each in found] == [made.event_id]
    assert made.event_id in [e.event_id async for e in store.port("events").all()]
    assert await store.witness("events", [str(made.event_id)]) == 1
    connection = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    try:
        rows = await connection.fetch(
            "SELECT relnamespace::regnamespace::text FROM pg_class"
            " WHERE relname IN ('events', 'aggregates', 'snapshots', 'projections')"
        )
    finally:
        await connection.close()
    assert [row[0] for row in rows] == ["eventsourcing"] * 4


async def test_both_stores_are_healthy_and_validate(
    shared: tuple[EventStore, PostgresStore],
) -> None:
    for store in shared:
        assert (await store.health()).status == "healthy"
        assert (await store.validate()).problems == []
        assert (await store.migrate()).applied == []
    assert "eventsourcing" in str((await shared[0].validate()).unchecked)


async def test_events_are_immutable_there_too_but_for_retention(
    shared: tuple[EventStore, PostgresStore],
) -> None:
    store, _ = shared
    made = event()
    await store.port("events").write([made])
    application = await asyncpg.connect(**store.config.connect_arguments())
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    try:
        for sql in ("DELETE FROM events", "UPDATE events SET event_type = 'x'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await application.execute(sql)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="immutable"):
            await owner.execute("DELETE FROM events")
        for privilege in ("SELECT", "DELETE"):
            assert await owner.fetchval(
                "SELECT has_schema_privilege('neo_retention', 'eventsourcing', 'USAGE')"
                " AND has_database_privilege('neo_retention', current_database(), 'CONNECT')"
                " AND has_table_privilege('neo_retention', 'eventsourcing.events', $1)",
                privilege,
            )
    finally:
        await application.close()
        await owner.close()


async def test_clearing_the_relational_store_leaves_the_events(
    shared: tuple[EventStore, PostgresStore],
) -> None:
    events, relational = shared
    made = event()
    await events.port("events").write([made])
    assert not [name for name in (await relational.clear(dry_run=True)).rows if "event" in name]
    assert (await events.clear(dry_run=True)).rows["events"] >= 1


async def test_the_relational_store_is_not_taken_back_from_under_the_events(
    shared: tuple[EventStore, PostgresStore],
) -> None:
    made = event()
    await shared[0].port("events").write([made])
    with pytest.raises(Exception, match="eventsourcing"):
        await shared[1].rollback(to="0007_scheduler")
    await shared[1].migrate()
    assert (await shared[0].port("events").get(str(made.event_id))).event_id == made.event_id


async def test_the_facade_opens_on_one_database(make_database: MakeDatabase) -> None:
    settings = settings_of(await make_database("single"))
    data_types = {"events", "sealed"}
    async with open_polystore(settings, data_types=data_types, migrate=True) as polystore:
        made = event()
        assert (await polystore.events.write([made])).new == 1
        assert (await polystore.events.get(str(made.event_id))).event_id == made.event_id


async def test_behind_a_pooler_it_is_refused_with_what_to_do(make_database: MakeDatabase) -> None:
    config = await make_database("single")
    settings = settings_of(
        config,
        db_pooled=True,
        postgres_direct_host=config.host,
        postgres_direct_port=config.port,
    )
    with pytest.raises(ConfigError, match="EVENT_STORE_DB"):
        async with open_polystore(settings, data_types={"events"}):
            pass
