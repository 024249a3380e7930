"""Everything that goes through PgBouncer in transaction mode, and what goes around it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.errors import ConfigError, ConflictError, TenantRequiredError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.records.accounts import User
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.samples import samples
from neo_polystore.stores.event_store.store import EventStore
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, hash32, load_network
from tests.conftest import MakeDatabase
from tests.pgbouncer import pgbouncer
from tests.stores.postgres.storm import Storm

SERVER_CONNECTIONS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pooler(make_database: MakeDatabase, embedded: Membership) -> AsyncIterator[int]:
    """The port of a pooler before the embedded server."""
    config = await make_database("pooled")  # which makes the roles
    server = await embedded.ensure("postgres")
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=config.database,
    )
    rows = await connection.fetch(
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1", config.user
    )
    await connection.close()
    secrets = {row["rolname"]: row["rolpassword"] for row in rows}
    async with pgbouncer(server.host, server.port, secrets, connections=SERVER_CONNECTIONS) as port:
        yield port


def through(pooler: int, config: PgConfig) -> PgConfig:
    """The same database through the pooler, with more clients than it has connections."""
    return config.model_copy(
        update={
            "host": "127.0.0.1",
            "port": pooler,
            "pooled": True,
            "direct_host": config.host,
            "direct_port": config.port,
            "max_connections": 15,
        }
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pooled(pooler: int, make_database: MakeDatabase) -> AsyncIterator[PostgresStore]:
    """The relational store through the pooler, on a database of its own."""
    store = PostgresStore(through(pooler, await make_database("pooled")))
    await store.migrate()
    await store.connect()
    yield store
    await store.close()


async def direct(store: PostgresStore, embedded: Membership, sql: str) -> list[Any]:
    """What the superuser sees on the server itself."""
    server = await embedded.ensure("postgres")
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=store.config.database,
    )
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def test_the_store_is_healthy_through_the_pooler(pooled: PostgresStore) -> None:
    assert (await pooled.health()).status == "healthy"


async def test_more_clients_than_connections_are_served(
    pooled: PostgresStore, embedded: Membership
) -> None:
    accounts = pooled.port("accounts").within(SYSTEM)
    counts = await asyncio.gather(*(accounts.count(Query()) for _ in range(200)))
    assert len(set(counts)) == 1
    on_the_server = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'neo_app'"
    )
    assert 1 <= (await direct(pooled, embedded, on_the_server))[0][0] <= SERVER_CONNECTIONS
    assert pooled._database.pool.get_size() > SERVER_CONNECTIONS


async def test_calls_outside_of_a_unit_of_work_are_gathered_and_kept(
    pooled: PostgresStore,
) -> None:
    await load_network(pooled)
    port = pooled.port("transactions")
    records = [
        Transaction(chain_id=CHAIN, hash=hash32(), from_address=address()) for _ in range(300)
    ]
    written = await asyncio.gather(*(port.write([record]) for record in records))
    assert sum(answer.new for answer in written) == 300
    found = await asyncio.gather(*(port.get(record.key) for record in records))
    assert [record.hash for record in found] == [record.hash for record in records]


async def test_a_bulk_load_is_copied_and_leaves_no_table(
    pooled: PostgresStore, embedded: Membership
) -> None:
    await load_network(pooled)
    wallets = [Wallet(chain_id=CHAIN, address=address()) for _ in range(2500)]
    wallets.insert(1200, Wallet(chain_id=UNKNOWN_CHAIN, address=address()))
    port = pooled.port("wallets").within(SYSTEM)
    first, second = await asyncio.gather(port.write(wallets), port.write(wallets))
    assert first.new + second.new == 2500
    assert [r.index for r in (*first.rejected, *second.rejected)] == [1200, 1200]
    left = "SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
    assert await direct(pooled, embedded, left) == []


async def test_nothing_is_prepared_or_locked_on_the_servers_connections(
    pooled: PostgresStore, embedded: Membership
) -> None:
    async def look() -> int:
        async with pooled._database.acquire("test") as connection:
            await asyncio.sleep(0.05)
            names = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
            prepared: int = await connection.fetchval(names)
            return prepared

    await pooled.port("accounts").within(SYSTEM).find(Query())
    assert await asyncio.gather(*(look() for _ in range(SERVER_CONNECTIONS))) == [0] * 5
    locks = (
        "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND a.datname = current_database()"
    )
    assert await direct(pooled, embedded, locks) == []


async def test_a_unit_of_work_keeps_its_connection(pooled: PostgresStore) -> None:
    async def work() -> None:
        async with pooled.unit_of_work(tenant=SYSTEM_TENANT) as uow:
            backends = set()
            for number in range(4):
                async with uow.savepoint(f"s{number}"):
                    async with uow._database.acquire("test") as connection:
                        backends.add(await connection.fetchval("SELECT pg_backend_pid()"))
                    await asyncio.sleep(0.005)
            assert len(backends) == 1

    await asyncio.gather(*(work() for _ in range(20)))


async def test_what_loses_is_run_again(pooled: PostgresStore) -> None:
    name = uuid4().hex
    made = User(email=f"{name}@example.org", username=name)
    accounts = pooled.port("accounts").within(SYSTEM)
    await accounts.write([made])
    runs = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal runs
        runs += 1
        found = await uow.repository(User).get(made.key)
        if runs == 1:
            await accounts.write([made.model_copy(update={"email_verified": True})])
        await uow.repository(User).update(found.model_copy(update={"mfa_enabled": True}))

    await pooled.execute_in_transaction(
        "pooled.again", work, tenant=SYSTEM_TENANT, isolation="serializable"
    )
    assert runs == 2
    assert (await accounts.get(made.key)).email_verified


async def test_an_error_leaves_the_connection_usable(pooled: PostgresStore) -> None:
    [user] = [User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)]
    accounts = pooled.port("accounts")
    for _ in range(20):
        with pytest.raises(TenantRequiredError):
            await accounts.write([user])
    await accounts.within(SYSTEM).write([user])
    async with pooled.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        with pytest.raises(ConflictError):
            await uow.repository(User).add(user)
        assert await uow.repository(User).exists(user.key)


async def test_cancelled_calls_give_their_connection_back(pooled: PostgresStore) -> None:
    accounts = pooled.port("accounts").within(SYSTEM)
    choice = random.Random(5)

    async def cut_short(work: Awaitable[Any]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(work, choice.random() * 0.01)

    for _ in range(20):
        await asyncio.gather(
            *(cut_short(accounts.find(Query())) for _ in range(10)),
            *(cut_short(pooled.port("networks").count(Query())) for _ in range(10)),
        )
    connection = await asyncpg.connect(**pooled.config.connect_arguments())
    try:
        for _ in range(2 * SERVER_CONNECTIONS):
            assert await connection.fetchval("SELECT 1", timeout=5) == 1
    finally:
        await connection.close()


async def test_messages_are_published_through_the_pooler(pooled: PostgresStore) -> None:
    async with pooled.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.publish("pooled", "key", {"a": 1})
    assert "pooled" in await pooled.feed.topics()


async def test_background_work_and_migrations_go_around_it(pooled: PostgresStore) -> None:
    config = pooled.config
    assert config.as_relay().port == config.direct_port
    assert config.connect_arguments(as_owner=True)["port"] == config.direct_port
    assert config.connect_arguments()["port"] == config.port
    assert (await pooled.migrate()).applied == []


async def test_without_the_way_around_migrations_are_refused(pooled: PostgresStore) -> None:
    config = pooled.config.model_copy(update={"direct_host": None})
    with pytest.raises(ConfigError, match="POSTGRES_DIRECT_HOST"):
        await PostgresStore(config).migrate()


@pytest.mark.parametrize(
    ("units", "tenants"),
    [(500, 50), pytest.param(10_000, 50, marks=pytest.mark.long)],
)
async def test_no_unit_of_work_among_many_sees_a_foreign_row(
    units: int, tenants: int, pooled: PostgresStore
) -> None:
    storm = Storm(pooled, seed=units)
    await storm.prepare(tenants)
    await storm.blow(units)
    assert storm.foreign == []
    assert storm.ends["commit"] > units / 2
    for tenant in storm.tenants:
        assert await storm.settled(tenant)
    assert await storm.left_behind(SERVER_CONNECTIONS) == []


async def test_gathered_calls_of_many_tenants_stay_apart(pooled: PostgresStore) -> None:
    storm = Storm(pooled, seed=1)
    await storm.prepare(10)
    accounts = pooled.port("accounts")

    async def look(tenant: UUID) -> None:
        scoped = accounts.within(Scope(tenant=tenant))
        name = uuid4().hex
        made = User(email=f"{name}@example.org", username=name)
        storm.kept[tenant].add(made.id)
        await scoped.write([made])
        assert {user.id for user in await scoped.find(Query())} <= storm.kept[tenant]

    await asyncio.gather(*(look(tenant) for tenant in storm.tenants * 10))
    for tenant in storm.tenants:
        assert await storm.settled(tenant)


@pytest.mark.parametrize(
    ("engine", "data_type"),
    [
        (EventStore, "events"),
        (TimescaleStore, "metrics"),
        (JsonbStore, "audit_logs"),
        (JsonbStore, "contract_metadata"),
    ],
)
async def test_the_other_engines_on_postgresql_go_through_it_too(
    engine: Any, data_type: str, pooler: int, make_database: MakeDatabase
) -> None:
    store = engine(through(pooler, await make_database(data_type)))
    await store.migrate()
    await store.connect()
    try:
        port = store.port(data_type)
        records = list(samples(data_type))
        assert (await port.write(records)).new == len(records)
        assert (await port.write(records)).existing == len(records)
        for record in records:
            assert (await port.get(record.key)).key == record.key
        assert await port.count(Query()) == len(records)
        assert (await store.health()).status in ("healthy", "degraded")
    finally:
        await store.close()


async def test_the_user_of_a_unit_of_work_is_the_actor_and_is_not_carried_on(
    pooled: PostgresStore,
) -> None:
    made: dict[str, UUID] = {}

    async def add(who: str | None) -> None:
        user = User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)
        made[who or "neo_app"] = user.id
        async with pooled.unit_of_work(tenant=SYSTEM_TENANT, user=who) as uow:
            await uow.repository(User).add(user)

    for _ in range(10):
        await asyncio.gather(*(add(who) for who in (*map(str, range(20)), None)))
        async with pooled._database.transaction("test", SYSTEM) as connection:
            rows = await connection.fetch(
                "SELECT record_id, actor FROM monitoring.audit_logs WHERE record_id = ANY($1)",
                [str(found) for found in made.values()],
            )
        assert {row["record_id"]: row["actor"] for row in rows} == {
            str(found): who for who, found in made.items()
        }
