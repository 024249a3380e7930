"""The users of single services: what each may do, and that it can do nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops.role_names import password_variable
from neo_polystore.ops.roles import check_roles, create_roles
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.roles import SERVICES
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase
from tests.stores.postgres.catalog import SCHEMAS
from tests.stores.postgres.rows import insert
from tests.stores.postgres.test_roles import Admin, server_settings

WRITES = {
    "storage": {"storage.objects"},
    "keymanagement": {"keymanagement.keys", "keymanagement.key_rotations"},
    "security": {"security.secrets"},
    "oracle": {"oracle.data_feeds", "oracle.requests", "oracle.responses"},
    "smartcontracts": {"blockchain.smart_contracts"},
    "crosschain": {"crosschain.transactions", "crosschain.bridge_operations"},
    "notification": {"notification.notifications"},
    "automation": {"automation.jobs"},
    "voting": {"voting.proposals", "voting.votes", "voting.voting_powers"},
    "monitoring": {"monitoring.alerts"},
    "analytics": {"analytics.model_runs"},
    "reporting": {"reporting.reports"},
}
READS = {
    "oracle": {"blockchain.networks"},
    "smartcontracts": {"blockchain.networks"},
    "crosschain": {"blockchain.networks"},
    "monitoring": {
        "monitoring.audit_logs",
        "monitoring.database_performance",
        "monitoring.index_usage",
        "monitoring.table_usage",
    },
}
# made by the application's own transactions, which begin with other tables
ELSEWHERE = {
    "storage": "voting.proposals",
    "keymanagement": "security.secrets",
    "security": "keymanagement.keys",
    "oracle": "crosschain.transactions",
    "smartcontracts": "blockchain.transactions",
    "crosschain": "blockchain.wallets",
    "notification": "auth.users",
    "automation": "automation_is_no_schema.jobs",
    "voting": "core.tenants",
    "monitoring": "outbox.messages",
    "analytics": "reporting.reports",
    "reporting": "analytics.model_runs",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(
    make_database: MakeDatabase, embedded: Membership
) -> AsyncIterator[tuple[PostgresStore, dict[str, str]]]:
    """A migrated store, and the passwords of the services' users, given by the environment."""
    config = await make_database("services")
    store = PostgresStore(config)
    await store.migrate()
    server = await embedded.ensure("postgres")
    url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/postgres"
    passwords = {role: uuid4().hex for role in SERVICES.values()}
    with pytest.MonkeyPatch.context() as environment:
        for role, password in passwords.items():
            environment.setenv(password_variable(role), password)
        report = await create_roles(server_settings(config), url)
    assert report.ok
    assert not any(password in str(report) for password in passwords.values())
    yield store, passwords


async def connected(
    store: tuple[PostgresStore, dict[str, str]], service: str
) -> asyncpg.Connection[asyncpg.Record]:
    """A connection as a service's user, with its password."""
    config: PgConfig = store[0].config
    role = SERVICES[service]
    return await asyncpg.connect(
        host=config.host,
        port=config.port,
        database=config.database,
        user=role,
        password=store[1][role],
    )


def test_there_is_a_user_for_each_service_of_the_map() -> None:
    assert set(SERVICES) == set(WRITES) == set(ELSEWHERE)
    assert len(SERVICES) == 12


@pytest.mark.parametrize("service", SERVICES)
async def test_a_user_reaches_the_tables_of_its_service_and_no_others(
    store: tuple[PostgresStore, dict[str, str]], service: str
) -> None:
    connection = await connected(store, service)
    try:
        rows = await connection.fetch(
            "SELECT c.oid::regclass::text AS name, n.nspname AS schema,"
            " has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')"
            " AS reads, has_schema_privilege(n.oid, 'USAGE') AND"
            " (has_any_column_privilege(c.oid, 'INSERT, UPDATE')"
            " OR has_table_privilege(c.oid, 'DELETE, TRUNCATE')) AS writes"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm') AND (n.nspname = ANY($1)"
            " OR n.nspname = 'public' AND c.relname = 'schema_revisions')",
            SCHEMAS,
        )
    finally:
        await connection.close()
    assert {row["name"] for row in rows if row["writes"]} == WRITES[service]
    assert {row["name"] for row in rows if row["reads"]} == WRITES[service] | READS.get(
        service, set()
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_a_user_is_refused_elsewhere(
    store: tuple[PostgresStore, dict[str, str]], service: str
) -> None:
    connection = await connected(store, service)
    refused = (
        f"SELECT * FROM {ELSEWHERE[service]}",
        "SELECT * FROM auth.sessions",
        "SELECT * FROM enclave.sealed_data",
        "SELECT * FROM scheduler.jobs",
        "SELECT outbox.horizon()",
        "SELECT blockchain.ensure_transaction_partitions(2)",
        "SELECT audit.note('x', 's', 't', '1')",
        "CREATE TABLE public.mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "SET ROLE neo_app",
        "SET ROLE neo_owner",
        "SET ROLE neo_backup",
    )
    try:
        for sql in refused:
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)):
                await connection.execute(sql)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_user_is_nobody_special_and_a_member_of_nothing(
    store: tuple[PostgresStore, dict[str, str]], service: str
) -> None:
    connection = await connected(store, service)
    try:
        row = await connection.fetchrow(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
            " AS special, (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid)"
            " AS groups FROM pg_roles r WHERE rolname = current_user"
        )
    finally:
        await connection.close()
    assert row is not None
    assert tuple(row) == (False, 0)


@pytest.mark.parametrize(("service", "table"), sorted((s, t) for s in WRITES for t in WRITES[s]))
async def test_no_user_may_do_what_the_application_may_not(
    store: tuple[PostgresStore, dict[str, str]], service: str, table: str
) -> None:
    connection = await connected(store, service)
    try:
        rows = await connection.fetch(
            "SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',"
            " 'REFERENCES', 'TRIGGER']) AS p WHERE has_table_privilege($1, p)"
            " AND NOT has_table_privilege('neo_app', $1, p)",
            table,
        )
    finally:
        await connection.close()
    assert rows == []


async def test_row_level_security_binds_a_services_user(
    store: tuple[PostgresStore, dict[str, str]],
) -> None:
    connection = await connected(store, "security")
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT set_config('app.current_tenant', $1, true)", str(SYSTEM_TENANT)
            )
            made: Any = await insert(connection, "security.secrets")
        assert made["tenant_id"] == SYSTEM_TENANT
        assert await connection.fetchval("SELECT count(*) FROM security.secrets") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(
                "INSERT INTO security.secrets (tenant_id, name) VALUES ($1, 'x')", SYSTEM_TENANT
            )
    finally:
        await connection.close()


async def test_what_a_service_changes_is_in_the_log_under_its_user(
    store: tuple[PostgresStore, dict[str, str]],
) -> None:
    connection = await connected(store, "oracle")
    monitor = await connected(store, "monitoring")
    try:
        feed = await connection.fetchval(
            "INSERT INTO oracle.data_feeds (name, feed_type) VALUES ($1, 'price') RETURNING id",
            uuid4().hex,
        )
        assert feed
        # a line without a tenant is for the auditor, not for a tenant's reader
        assert await monitor.fetchval("SELECT count(*) FROM monitoring.audit_logs") == 0
    finally:
        await connection.close()
        await monitor.close()
    owner = await asyncpg.connect(**store[0].config.connect_arguments(as_owner=True))
    try:
        await owner.execute(
            "CREATE POLICY peek ON monitoring.audit_logs FOR SELECT TO neo_owner USING (true)"
        )
        row = await owner.fetchrow(
            "SELECT actor, database_user FROM monitoring.audit_logs WHERE record_id = $1",
            str(feed),
        )
        await owner.execute("DROP POLICY peek ON monitoring.audit_logs")
    finally:
        await owner.close()
    assert row is not None
    assert tuple(row) == ("neo_oracle_user", "neo_oracle_user")


async def test_a_user_that_was_made_a_member_is_found_and_the_membership_taken(
    store: tuple[PostgresStore, dict[str, str]], embedded: Membership
) -> None:
    server = await embedded.ensure("postgres")
    url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/postgres"
    admin = Admin(url, await asyncpg.connect(url))
    settings = server_settings(store[0].config)
    try:
        await admin.connection.execute("GRANT neo_readonly TO neo_voting_user")
        report = await check_roles(settings, admin.connection)
        assert "REVOKE neo_readonly FROM neo_voting_user" in report.lacking
        assert report.roles["neo_voting_user"] == "differs"
        assert (await create_roles(settings, url)).ok
        groups = "SELECT pg_has_role('neo_voting_user', 'neo_readonly', 'MEMBER')"
        assert not await admin.connection.fetchval(groups)
    finally:
        await admin.connection.execute("REVOKE neo_readonly FROM neo_voting_user")
        await admin.connection.close()


async def test_granting_again_grants_nothing(
    store: tuple[PostgresStore, dict[str, str]],
) -> None:
    owner = await asyncpg.connect(**store[0].config.connect_arguments(as_owner=True))
    try:
        assert await owner.fetch("SELECT core.grant_services()") == []
        await owner.execute("CREATE TABLE storage.later (id int)")
        await owner.execute("GRANT SELECT ON storage.later TO neo_app")
        assert [row[0] for row in await owner.fetch("SELECT core.grant_services()")] == [
            "neo_storage_user: storage.later"
        ]
        assert await owner.fetchval(
            "SELECT has_table_privilege('neo_storage_user', 'storage.later', 'SELECT')"
        )
        assert not await owner.fetchval(
            "SELECT has_table_privilege('neo_storage_user', 'storage.later', 'DELETE')"
        )
    finally:
        await owner.execute("DROP TABLE IF EXISTS storage.later")
        await owner.close()
