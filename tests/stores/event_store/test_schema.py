"""The event store's schema, and what the database itself refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import Connection
from neo_polystore.pgkit.migrations import downgrade, revisions
from neo_polystore.records.events import Event
from neo_polystore.stores.event_store.store import EventStore
from tests.conftest import MakeDatabase

ALL = [revision.id for revision in revisions("event_store")]

COLUMNS = {
    "events": "event_id aggregate_id aggregate_type event_type event_version event_data metadata"
    " user_id correlation_id causation_id created_at position xid",
    "snapshots": "snapshot_id aggregate_id aggregate_type snapshot_version snapshot_data"
    " created_at",
    "projections": "projection_id projection_name last_processed_event_id"
    " last_processed_timestamp checkpoint_data status created_at updated_at",
    "aggregates": "aggregate_id aggregate_type current_version created_at updated_at",
}
INDEXES = {
    "idx_events_aggregate",
    "idx_events_type",
    "idx_events_correlation",
    "idx_events_created",
    "idx_snapshots_aggregate",
    "events_unique",
    "snapshots_unique",
}


@asynccontextmanager
async def administrator(store: EventStore, embedded: Membership) -> AsyncIterator[Connection]:
    server = await embedded.ensure("postgres")
    arguments = store.config.connect_arguments()
    arguments |= {"user": server.user, "password": server.password}
    connection = await asyncpg.connect(**arguments)
    try:
        yield connection
    finally:
        await connection.close()


async def stored_event(store: EventStore) -> Event:
    event = Event(aggregate_id=uuid4(), aggregate_type="order", event_type="Placed")
    await store.port("events").write([event])
    return event


@pytest.mark.parametrize("table", COLUMNS)
async def test_columns_are_those_of_the_specification(store: EventStore, table: str) -> None:
    async with store.database.acquire("test") as connection:
        rows = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0"
            " ORDER BY attnum",
            table,
        )
    assert " ".join(row[0] for row in rows) == COLUMNS[table]


async def test_indexes_are_those_of_the_specification(store: EventStore) -> None:
    async with store.database.acquire("test") as connection:
        rows = await connection.fetch("SELECT indexname FROM pg_indexes")
    assert {row[0] for row in rows} >= INDEXES


async def test_a_version_can_be_taken_only_once(store: EventStore) -> None:
    event = await stored_event(store)
    async with store.database.pool.acquire() as connection:
        with pytest.raises(asyncpg.UniqueViolationError, match="events_unique"):
            await connection.execute(
                "INSERT INTO events (aggregate_id, aggregate_type, event_type, event_version,"
                " event_data) VALUES ($1, 'order', 'Placed', 1, '{}')",
                event.aggregate_id,
            )


async def test_aggregates_follow_the_appends(store: EventStore) -> None:
    event = await stored_event(store)
    more = [event.model_copy(update={"event_id": uuid4()}) for _ in range(2)]
    await store.port("events").append(event.aggregate_id, more, expected_version=1)
    async with store.database.acquire("test") as connection:
        row = await connection.fetchrow(
            "SELECT aggregate_type, current_version FROM aggregates WHERE aggregate_id = $1",
            event.aggregate_id,
        )
    assert row is not None
    assert tuple(row) == ("order", 3)


async def test_the_application_may_only_read_and_insert_events(store: EventStore) -> None:
    async with store.database.acquire("test") as connection:
        rows = await connection.fetch(
            "SELECT privilege_type FROM information_schema.role_table_grants"
            " WHERE table_name = 'events' AND grantee = 'neo_app'"
        )
    assert {row[0] for row in rows} == {"SELECT", "INSERT"}


@pytest.mark.parametrize("role", ["neo_owner", "postgres"])
@pytest.mark.parametrize(
    "statement", ["UPDATE events SET event_type = 'Other'", "DELETE FROM events", "TRUNCATE events"]
)
async def test_nobody_changes_events(
    store: EventStore, embedded: Membership, role: str, statement: str
) -> None:
    await stored_event(store)
    async with administrator(store, embedded) as connection:
        await connection.execute(f"SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="immutable"):
            await connection.execute(statement)


async def test_only_retention_deletes_events_and_it_cannot_update(
    store: EventStore, embedded: Membership
) -> None:
    event = await stored_event(store)
    async with administrator(store, embedded) as connection:
        await connection.execute("SET ROLE neo_retention")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE events SET event_type = 'Other'")
        done = await connection.execute("DELETE FROM events WHERE event_id = $1", event.event_id)
    assert done == "DELETE 1"


async def test_migrating_again_does_nothing(store: EventStore) -> None:
    report = await store.migrate()
    assert (report.applied, report.pending, report.problems) == ([], [], [])
    assert report.current == ALL[-1]


async def test_a_downgrade_leaves_nothing_and_can_be_taken_back(
    make_database: MakeDatabase,
) -> None:
    store = EventStore(await make_database("event_store"))
    await store.migrate()
    undone = await downgrade(store.config, environment="event_store", store=store.name, to=None)
    assert undone == ALL[::-1]
    connection = await asyncpg.connect(**store.config.connect_arguments())
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert [row[0] for row in tables] == ["schema_revisions"]
    assert (await store.migrate()).applied == ALL


async def test_health_before_the_first_migration_says_what_to_do(
    make_database: MakeDatabase,
) -> None:
    store = EventStore(await make_database("event_store"))
    health = await store.health()
    await store.close()
    assert health.status == "healthy"
    assert "db migrate" in health.detail


async def test_health_of_an_unreachable_server_is_unhealthy_with_the_reason(
    store: EventStore,
) -> None:
    away = EventStore(store.config.model_copy(update={"port": 1}))
    health = await away.health()
    assert health.status == "unhealthy"
    assert "cannot reach" in health.detail


async def test_the_witness_finds_what_is_stored_and_nothing_else(store: EventStore) -> None:
    event = await stored_event(store)
    assert await store.witness("events", [event.key, str(uuid4())]) == 1
    assert await store.witness("events", []) == 0
