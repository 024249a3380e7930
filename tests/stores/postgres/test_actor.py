"""Who acts, as the log of changed rows has it: the user of the scope, else the database's login."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.errors import UsageError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.polystore import Polystore
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.networks import Network
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.records.transactions import Transaction
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, address, hash32, load_network
from tests.conformance.test_networks import network
from tests.conftest import MakeDatabase

SETTINGS = """
SELECT current_setting('app.current_user', true) AS user,
    current_setting('app.current_tenant', true) AS tenant
"""


@pytest_asyncio.fixture
async def log(postgres: PostgresStore, embedded: Membership) -> AsyncIterator[Any]:
    """A connection that reads the whole log."""
    server = await embedded.ensure("postgres")
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=postgres.config.database,
    )
    yield connection
    await connection.close()


async def actors(log: Any, record: UUID | str) -> list[tuple[str, str]]:
    """Actor and database user of a row's lines, oldest first."""
    rows = await log.fetch(
        "SELECT actor, database_user FROM monitoring.audit_logs WHERE record_id = $1"
        " ORDER BY timestamp",
        str(record),
    )
    return [tuple(row) for row in rows]


def account() -> User:
    """A user with names of its own."""
    return User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)


async def test_the_actor_of_a_unit_of_work_is_its_user(postgres: PostgresStore, log: Any) -> None:
    made, who = account(), str(uuid4())
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT, user=who) as uow:
        await uow.repository(User).add(made)
        await uow.repository(User).delete(made.key)
    assert await actors(log, made.id) == [(who, "neo_app")] * 2


async def test_without_a_user_the_actor_is_the_login(postgres: PostgresStore, log: Any) -> None:
    made = account()
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.repository(User).add(made)
    assert await actors(log, made.id) == [("neo_app", "neo_app")]


async def test_a_user_may_act_without_a_tenant(postgres: PostgresStore, log: Any) -> None:
    chain = network()
    async with postgres.unit_of_work(user="ops@example.org") as uow:
        await uow.repository(Network).add(chain)
    identity = await log.fetchval(
        "SELECT id FROM blockchain.networks WHERE chain_id = $1", chain.chain_id
    )
    assert await actors(log, identity) == [("ops@example.org", "neo_app")]


async def test_a_named_operation_has_its_user_in_every_attempt(
    postgres: PostgresStore, log: Any
) -> None:
    made = account()

    async def work(uow: Any) -> None:
        await uow.repository(User).add(made)

    await postgres.execute_in_transaction("test.add", work, tenant=SYSTEM_TENANT, user="somebody")
    assert await actors(log, made.id) == [("somebody", "neo_app")]


async def test_the_facade_passes_the_user_on(polystore: Polystore) -> None:
    made, who = account(), str(uuid4())
    async with polystore.unit_of_work(tenant=SYSTEM_TENANT, user=who) as uow:
        await uow.repository(User).add(made)
    async with polystore.unit_of_work(tenant=SYSTEM_TENANT, user="another") as uow:
        found = await uow.repository(User).get(made.key)
    assert found.id == made.id
    store: Any = polystore.stores["postgres"]
    async with store._database.transaction("test", SYSTEM) as connection:
        rows = await connection.fetch(
            "SELECT actor FROM monitoring.audit_logs WHERE record_id = $1", str(made.id)
        )
    assert [row[0] for row in rows] == [who]


async def test_gathered_writes_of_several_users_have_each_his_own_actor(
    postgres: PostgresStore, log: Any
) -> None:
    chains = {f"user-{n}": network() for n in range(8)}
    await asyncio.gather(
        *(
            postgres.port("networks").within(Scope(user=who)).write([chain])
            for who, chain in chains.items()
        )
    )
    rows = await log.fetch(
        "SELECT (new_values ->> 'chain_id')::bigint AS chain, actor FROM monitoring.audit_logs"
        " WHERE table_name = 'networks' AND action = 'INSERT'"
    )
    found = {row["chain"]: row["actor"] for row in rows}
    assert {who: found[chain.chain_id] for who, chain in chains.items()} == {w: w for w in chains}


async def test_reads_and_unaudited_writes_of_several_users_share_statements(
    postgres: PostgresStore,
) -> None:
    await load_network(postgres)
    port = postgres.port("transactions")
    records = [
        Transaction(chain_id=CHAIN, hash=hash32(), from_address=address()) for _ in range(64)
    ]
    before = {name: (c.items, c.batches) for name, c in postgres._gathered.counts.items()}
    await asyncio.gather(
        *(port.within(Scope(user=f"u{n}")).write([r]) for n, r in enumerate(records))
    )
    await asyncio.gather(
        *(port.within(Scope(user=f"u{n}")).get(r.key) for n, r in enumerate(records))
    )
    for name, count in postgres._gathered.counts.items():
        assert count.items - before[name][0] == 64
        assert count.batches - before[name][1] < 32


async def test_the_user_ends_with_the_transaction(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT, user="gone"):
        pass
    with pytest.raises(RuntimeError):
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT, user="gone"):
            raise RuntimeError
    await postgres.port("accounts").within(Scope(SYSTEM_TENANT, None, "gone")).write([account()])
    pool = postgres._database.pool
    held = [await pool.acquire() for _ in range(pool.get_size())]
    try:
        for connection in held:
            [row] = await connection.fetch(SETTINGS)
            assert [value or "" for value in row] == ["", ""]
    finally:
        for connection in held:
            await pool.release(connection)


async def test_it_costs_no_round_trip(make_database: MakeDatabase) -> None:
    config = (await make_database("actor")).model_copy(update={"max_connections": 1})
    store = PostgresStore(config)
    await store.migrate()
    await store.connect()
    sent: list[str] = []
    async with store._database.taken("test") as connection:
        raw: Any = connection
        raw._con.add_query_logger(lambda query: sent.append(query.query))
    for scope in (Scope(SYSTEM_TENANT), Scope(SYSTEM_TENANT, user="u")):
        sent.append(str(scope.user))
        async with store._database.transaction("test", scope):
            pass
    await store.close()
    half = len(sent) // 2
    assert sent[1:half] == sent[half + 1 :]
    assert half == 4


async def test_what_is_seen_does_not_depend_on_the_user(postgres: PostgresStore) -> None:
    made = account()
    accounts = postgres.port("accounts")
    await accounts.within(SYSTEM).write([made])
    for who in ("a", "b"):
        assert (await accounts.within(Scope(SYSTEM_TENANT, user=who)).get(made.key)).id == made.id


async def test_a_new_tenant_is_logged_with_who_made_it(postgres: PostgresStore, log: Any) -> None:
    tenant = Tenant(name="T", identifier=f"t-{uuid4().hex}")
    await postgres.port("accounts").within(Scope(user="founder")).create_tenant(tenant)
    assert await actors(log, tenant.id) == [("founder", "neo_app")]


@pytest.mark.parametrize("user", ["", "x" * 256, "a\0b"])
def test_a_user_that_the_log_cannot_hold_is_refused(user: str) -> None:
    with pytest.raises(UsageError, match="user"):
        Scope(user=user)
