"""Tenants are kept apart in every table, plan, pool and cache; later tables cannot forget it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.errors import NotFoundError, TenantRequiredError
from neo_polystore.pgkit.database import Connection, apply_scope
from neo_polystore.polystore import Polystore
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Query
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.records.wallets import Wallet
from neo_polystore.samples import samples
from neo_polystore.stores.postgres.catalog import PORTS
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import address
from tests.stores.postgres.conftest import act_for
from tests.stores.postgres.storm import Storm

OURS = "c.relnamespace::regnamespace::text !~ '^(pg_.*|information_schema)$'"
NOT_OF_AN_EXTENSION = """
NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
    AND d.classid = 'pg_class'::regclass)
"""
TENANT_TABLES = f"""
SELECT c.oid, c.oid::regclass::text AS name, c.relispartition AS partition,
    c.relrowsecurity AND c.relforcerowsecurity AS forced
FROM pg_class c JOIN pg_attribute a
    ON a.attrelid = c.oid AND NOT a.attisdropped
    AND (a.attname = 'tenant_id' OR (c.oid = 'core.tenants'::regclass AND a.attname = 'id'))
WHERE c.relkind IN ('r', 'p') AND {OURS} AND {NOT_OF_AN_EXTENSION}
ORDER BY 2
"""

STANDARD = re.compile(
    r"\((tenant_id|id) = \( SELECT \(NULLIF\(current_setting\('app\.current_tenant'::text, true\),"
    r" ''::text\)\)::uuid AS \"nullif\"\)\)"
)
"""The one condition that policies for the application may have."""

OTHER_CHECKS = {
    "outbox.messages": "a message of nobody is published by nobody, so the check knows NULL",
}
"""Tables whose WITH CHECK is not the standard one, and why."""

SERVICES_TOO = {
    "enclave.sealed_heads": "a row is a tenant's or a service's; a second policy is for the latter",
}
"""Tables that have rows of no tenant, each its own service's."""

ROLES_BEYOND = {"neo_owner", "neo_relay", "neo_auditor", "neo_retention", "neo_backup"}
"""Roles that a policy may show more than one tenant; the application is a member of none."""


# --- the catalog -------------------------------------------------------------------------------


async def test_every_table_with_a_tenant_forces_row_level_security(owner: Connection) -> None:
    rows = await owner.fetch(TENANT_TABLES)
    assert len(rows) > 10
    assert {row["name"] for row in rows if not row["forced"]} == set()


async def test_every_policy_for_the_application_is_the_standard_one(owner: Connection) -> None:
    policies = await owner.fetch(
        """
        SELECT p.polrelid::regclass::text AS name, p.polcmd::text AS command, p.polpermissive,
            p.polname::text AS policy, pg_get_expr(p.polqual, p.polrelid) AS using,
            pg_get_expr(p.polwithcheck, p.polrelid) AS check
        FROM pg_policy p WHERE p.polrelid = ANY($1) AND EXISTS (
            SELECT FROM unnest(p.polroles) r WHERE r = 0 OR pg_has_role('neo_app', r, 'MEMBER'))
        """,
        [row["oid"] for row in await owner.fetch(TENANT_TABLES)],
    )
    wrong = []
    for policy in policies:
        using, check = policy["using"], policy["check"]
        if policy["name"] in SERVICES_TOO and policy["policy"] == "service_isolation":
            assert using.startswith("((tenant_id IS NULL) AND ")
            assert check == using
            continue
        checks = policy["command"] in ("*", "a", "w")
        right = policy["command"] == "a" or STANDARD.fullmatch(using or "")
        # without one of its own, a check is what USING says
        if checks and not (policy["command"] != "a" and check is None):
            right = right and (STANDARD.fullmatch(check or "") or policy["name"] in OTHER_CHECKS)
        if not right:
            wrong.append(tuple(policy.values()))
    assert wrong == []


async def test_every_table_that_the_application_reaches_has_that_policy(
    owner: Connection,
) -> None:
    without = await owner.fetch(
        f"""
        SELECT t.name FROM ({TENANT_TABLES}) AS t
        WHERE has_any_column_privilege('neo_app', t.oid, 'SELECT, INSERT, UPDATE')
            AND NOT EXISTS (
                SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND 0 = ANY(p.polroles))
        """
    )
    assert without == []


async def test_more_than_one_tenant_is_shown_to_named_roles_only(owner: Connection) -> None:
    roles = await owner.fetch(
        f"""
        SELECT DISTINCT r::regrole::text AS role, pg_has_role('neo_app', r, 'MEMBER') AS ours
        FROM pg_policy p, unnest(p.polroles) r
        WHERE r <> 0 AND p.polrelid IN (SELECT oid FROM ({TENANT_TABLES}) AS t)
        """
    )
    assert {row["role"] for row in roles} <= ROLES_BEYOND
    assert not any(row["ours"] for row in roles)


async def test_what_refers_to_a_tenants_row_names_the_tenant_too(owner: Connection) -> None:
    rows = await owner.fetch(
        f"""
        WITH owned AS ({TENANT_TABLES})
        SELECT DISTINCT c.conrelid::regclass::text FROM pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid IN (SELECT oid FROM owned)
            AND c.conrelid NOT IN (SELECT oid FROM owned)
        """
    )
    assert rows == []


async def test_no_view_and_no_copy_passes_by_the_policies(owner: Connection) -> None:
    rows = await owner.fetch(
        f"""
        SELECT c.oid::regclass::text AS name FROM pg_class c
        WHERE {OURS} AND {NOT_OF_AN_EXTENSION} AND (c.relkind = 'm' OR (c.relkind = 'v'
            AND NOT coalesce(c.reloptions, '{{}}') && ARRAY['security_invoker=true',
                'security_invoker=on', 'security_invoker=1']))
        """
    )
    assert rows == []


async def test_partitions_are_not_reached_by_their_names(owner: Connection) -> None:
    rows = await owner.fetch(
        f"""
        SELECT t.name FROM ({TENANT_TABLES}) AS t WHERE t.partition
            AND has_any_column_privilege('neo_app', t.oid, 'SELECT, INSERT, UPDATE')
        """
    )
    assert rows == []


async def test_functions_that_act_as_the_owner_have_a_fixed_search_path(
    owner: Connection,
) -> None:
    rows = await owner.fetch(
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.prosecdef AND p.pronamespace::regnamespace::text !~ '^(pg_.*|information_schema)$'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
            AND NOT coalesce(p.proconfig, '{}')::text ~ 'search_path=pg_catalog'
        """
    )
    assert rows == []


# --- every table, with rows in it --------------------------------------------------------------

COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, a.atttypmod - 4 AS length, (
    SELECT substring(string_agg(pg_get_constraintdef(k.oid), ' ') FROM '''([^'']*)''::')
    FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'c'
        AND a.attnum = ANY(k.conkey) AND pg_get_constraintdef(k.oid) ~ 'ARRAY'
) AS choice
FROM pg_attribute a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    AND a.attidentity <> 'a' AND a.attnotnull
    AND (NOT a.atthasdef OR a.attname IN ('tenant_id', 'id'))
"""


def _value(column: asyncpg.Record, tenant: UUID) -> str:
    """SQL of something that fits a column; foreign keys are not asked."""
    if column["name"] == "tenant_id":
        return f"'{tenant}'"
    if column["name"] == "owner":
        return "'user:' || md5(random()::text)"
    if column["choice"]:
        return f"'{column['choice']}'"
    match column["type"]:
        case "uuid":
            return "gen_random_uuid()"
        case "text" | "character varying" | "character":
            # also a SHA-256, an e-mail address or an identifier, whatever a check asks for
            length = column["length"] if column["length"] > 0 else 64
            return f"left(md5(random()::text) || md5(random()::text), {length})"
        case "jsonb" | "json":
            return "'{}'"
        case "bytea":
            return "decode(repeat('01', 32), 'hex')"
        case "inet":
            return "'::1'"
        case "boolean":
            return "false"
        case "date" | "timestamp with time zone":
            return "now() + interval '1 day'"
        case _:
            return "1"


async def _insert(connection: Connection, table: asyncpg.Record, tenant: UUID) -> str:
    """The statement that stores a row of this tenant."""
    columns = await connection.fetch(COLUMNS, table["oid"])
    own = {column["name"]: _value(column, tenant) for column in columns}
    if table["name"] == "core.tenants":
        own["id"] = f"'{tenant}'"
    elif "tenant_id" not in own:
        own["tenant_id"] = f"'{tenant}'"  # where it may be absent
    return f"INSERT INTO {table['name']} ({', '.join(own)}) VALUES ({', '.join(own.values())})"


@asynccontextmanager
async def _undone(connection: Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _refused(connection: Connection, sql: str) -> bool:
    """Whether the policies (or privileges) refuse a statement."""
    try:
        async with _undone(connection):
            await connection.execute(sql)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


async def _attempt(connection: Connection, sql: str) -> int:
    """How many rows a statement changed; 0 where it may not be run at all."""
    try:
        async with connection.transaction():
            return int((await connection.execute(sql)).rpartition(" ")[2])
    except asyncpg.InsufficientPrivilegeError:
        return 0


async def test_no_table_shows_or_takes_a_row_of_another_tenant(
    administrator: Connection,
) -> None:
    mine, other = uuid4(), uuid4()
    tables = [
        row
        for row in await administrator.fetch(TENANT_TABLES)
        if await administrator.fetchval(
            "SELECT has_table_privilege('neo_app', $1::oid, 'SELECT')", row["oid"]
        )
    ]
    assert len(tables) > 10
    # foreign keys and triggers rest, so that a row needs no other rows
    await administrator.execute("SET LOCAL session_replication_role = replica")
    for table in tables:
        async with _undone(administrator):
            name = table["name"]
            column = "id" if name == "core.tenants" else "tenant_id"
            inserts = {t: await _insert(administrator, table, t) for t in (mine, other)}
            for sql in inserts.values():
                await administrator.execute(sql)
            await administrator.execute("SET LOCAL ROLE neo_app")
            for tenant, foreign in (("", other), (mine, other), (other, mine)):
                await act_for(administrator, tenant)
                rows = await administrator.fetch(f"SELECT {column} AS t FROM {name}")
                assert [row["t"] for row in rows] == ([tenant] if tenant else []), name
                assert await _refused(administrator, inserts[foreign]), name
                touch = f"UPDATE {name} SET {column} = {column} WHERE {column} = '{foreign}'"
                assert await _attempt(administrator, touch) == 0, name
                gone = f"DELETE FROM {name} WHERE {column} = '{foreign}'"
                assert await _attempt(administrator, gone) == 0, name
                if tenant:
                    moved = f"UPDATE {name} SET {column} = '{foreign}'"
                    assert await _refused(administrator, moved), name
            await administrator.execute("RESET ROLE")


async def test_a_partition_that_somebody_opens_still_asks_for_the_tenant(
    administrator: Connection,
) -> None:
    mine, other = uuid4(), uuid4()
    for tenant in (mine, other):
        await administrator.execute(
            "INSERT INTO core.tenant_data VALUES ($1, gen_random_uuid(), '{}')", tenant
        )
    partitions = await administrator.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'core.tenant_data'::regclass"
    )
    for partition in partitions:
        await administrator.execute(f"GRANT SELECT ON {partition['name']} TO neo_app")
    await administrator.execute("SET LOCAL ROLE neo_app")
    for tenant in (mine, other):
        await act_for(administrator, tenant)
        seen = [
            row["tenant_id"]
            for partition in partitions
            for row in await administrator.fetch(f"SELECT tenant_id FROM {partition['name']}")
        ]
        assert seen == [tenant]
    await administrator.execute("RESET ROLE")


# --- every data type ---------------------------------------------------------------------------

OWNED = sorted(name for name, port in PORTS.items() if port.tenant_owned)


@pytest.mark.parametrize("data_type", OWNED)
async def test_without_a_tenant_a_data_type_shows_nothing_and_takes_nothing(
    data_type: str, postgres: PostgresStore, tenants: dict[UUID, User]
) -> None:
    port = postgres.port(data_type).within(NOBODY)
    with pytest.raises(TenantRequiredError):
        await port.write(list(samples(data_type)))
    assert await port.count(Query()) == 0
    assert (await port.find(Query())).records == []
    for sample in samples(data_type):
        with pytest.raises(NotFoundError):
            await port.get(sample.key)


def test_the_data_types_that_tenants_own_say_so() -> None:
    assert {"accounts", "wallets", "sealed"} <= set(OWNED)


# --- plans and connections ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
async def test_a_prepared_statement_follows_the_tenant(
    mode: str, application: Connection, tenants: dict[UUID, User]
) -> None:
    await application.execute(f"SET LOCAL plan_cache_mode = {mode}")
    statement = await application.prepare(
        "SELECT tenant_id FROM auth.users WHERE username <> $1 ORDER BY id"
    )
    for _ in range(12):  # the server turns to a generic plan after five
        for tenant in tenants:
            await act_for(application, tenant)
            assert {row[0] for row in await statement.fetch("x")} == {tenant}
        await act_for(application, "")
        assert await statement.fetch("x") == []


async def test_one_connection_serves_many_tenants_in_turn(
    postgres: PostgresStore, tenants: dict[UUID, User]
) -> None:
    store = PostgresStore(postgres.config.model_copy(update={"max_connections": 1}))
    await store.connect()
    try:
        for _ in range(10):
            for tenant, user in tenants.items():
                async with store.unit_of_work(tenant=tenant) as uow:
                    found = await uow.repository(User).find(Query())
                    assert [seen.id for seen in found] == [user.id]
            assert await store.port("accounts").count(Query()) == 0
    finally:
        await store.close()


@pytest_asyncio.fixture
async def one(postgres: PostgresStore) -> AsyncIterator[PostgresStore]:
    """The store over a single connection, so that the next one to use it is known."""
    store = PostgresStore(postgres.config.model_copy(update={"max_connections": 1}))
    await store.connect()
    yield store
    await store.close()


async def _is_clean(store: PostgresStore) -> bool:
    async with store._database.acquire("test") as connection:
        if connection.is_in_transaction():
            return False
        left = "SELECT NULLIF(current_setting('app.current_{}', true), '')"
        settings = [await connection.fetchval(left.format(name)) for name in ("tenant", "service")]
        return settings == [None, None]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_failed_unit_of_work_leaves_nothing_set(
    cancelled: bool, one: PostgresStore, tenants: dict[UUID, User]
) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with one.unit_of_work(tenant=next(iter(tenants)), service="billing") as uow:
            assert await uow.repository(User).count(Query()) == 1
            async with uow._database.acquire("test") as connection:
                inside.set()
                await connection.execute("SELECT pg_sleep(10)" if cancelled else "SELECT 1 / 0")

    task = asyncio.create_task(work())
    await inside.wait()
    await asyncio.sleep(0.02)
    if cancelled:
        task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], BaseException)
    assert await _is_clean(one)


async def test_an_abandoned_savepoint_leaves_nothing_set(
    one: PostgresStore, tenants: dict[UUID, User]
) -> None:
    async def work() -> None:
        async with (
            one.unit_of_work(tenant=next(iter(tenants))) as uow,
            uow.savepoint("part"),
        ):
            async with uow._database.acquire("test") as connection:
                await apply_scope(connection, Scope(service="inner"))
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await _is_clean(one)


# --- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "tenants"),
    [(1_000, 50), pytest.param(10_000, 50, marks=pytest.mark.long)],
)
async def test_no_unit_of_work_among_many_sees_a_foreign_row(
    units: int, tenants: int, postgres: PostgresStore
) -> None:
    store = PostgresStore(postgres.config.model_copy(update={"max_connections": 5}))
    await store.connect()
    try:
        storm = Storm(store, seed=units)
        await storm.prepare(tenants)
        await storm.blow(units)
        assert storm.foreign == []
        failed = sum(count for end, count in storm.ends.items() if end not in ("commit", "nobody"))
        assert units * 0.25 < failed < units * 0.4
        assert storm.ends["nobody"] > 0
        for tenant in storm.tenants:
            assert await storm.settled(tenant)
        assert await storm.left_behind(5) == []
    finally:
        await store.close()


# --- the facade, with its cache ----------------------------------------------------------------


@pytest_asyncio.fixture
async def pair(polystore: Polystore) -> list[Scope]:
    """Two tenants of the facade."""
    scopes = []
    for _ in range(2):
        tenant = Tenant(name="Tenant", identifier=f"t-{uuid4().hex}")
        await polystore.accounts.create_tenant(tenant)
        scopes.append(Scope(tenant=tenant.id))
    for sample in samples("networks"):
        await polystore.networks.write([sample])  # type: ignore[list-item]
    return scopes


def _user(**values: Any) -> User:
    name = uuid4().hex
    return User(**{"email": f"{name}@example.org", "username": name, **values})


@pytest.mark.parametrize("data_type", ["wallets", "accounts"])
async def test_a_cached_record_is_seen_by_its_tenant_only(
    data_type: str, polystore: Polystore, pair: list[Scope]
) -> None:
    [chain] = samples("networks")
    record: Any = _user()
    if data_type == "wallets":
        await polystore.accounts.within(pair[0]).write([record])
        record = Wallet(chain_id=int(chain.key), address=address(), owner=record.id)
    mine, other = (polystore.port(data_type).within(scope) for scope in pair)
    nobody = polystore.port(data_type).within(NOBODY)

    async def hidden() -> None:
        for port in (other, nobody):
            with pytest.raises(NotFoundError):
                await port.get(record.key)

    await hidden()  # and its absence is remembered for the other one
    assert (await mine.write([record])).new == 1
    for _ in range(2):
        assert (await mine.get(record.key)).key == record.key  # a miss, then a hit
        await hidden()
    await mine.write([record])  # invalidates
    await hidden()
    assert (await mine.get(record.key)).key == record.key


async def test_readers_of_the_same_key_never_share_across_tenants(
    polystore: Polystore, pair: list[Scope]
) -> None:
    users = [_user() for _ in range(5)]
    mine, other = (polystore.accounts.within(scope) for scope in pair)
    await mine.write(users)
    choice = random.Random(11)
    seen = {"mine": 0, "hidden": 0}

    async def step(number: int) -> None:
        user = choice.choice(users)
        if number % 10 == 0:
            await mine.write([user.model_copy(update={"email_verified": number % 20 == 0})])
        elif number % 2:
            assert (await mine.get(user.key)).id == user.id
            seen["mine"] += 1
        else:
            with pytest.raises(NotFoundError):
                await other.get(user.key)
            seen["hidden"] += 1

    await asyncio.gather(*(step(number) for number in range(600)))
    assert seen == {"mine": 300, "hidden": 240}


async def test_units_of_work_through_the_facade_are_a_tenants_own(
    polystore: Polystore, pair: list[Scope]
) -> None:
    made = _user()

    async def add(uow: Any) -> None:
        await uow.repository(User).add(made)

    await polystore.execute_in_transaction("tenancy.add", add, tenant=pair[0].tenant)
    for scope, count in zip(pair, (1, 0), strict=True):
        async with polystore.unit_of_work(tenant=scope.tenant) as uow:
            assert await uow.repository(User).count(Query().where("id", made.id)) == count
