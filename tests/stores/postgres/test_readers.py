"""Who may read what: the groups of readers, their members, and what a backup sees."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

import asyncpg
import pytest

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.roles import ROLES
from neo_polystore.records.accounts import User
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase
from tests.stores.postgres.catalog import SCHEMAS
from tests.stores.postgres.rows import insert
from tools.schema import pg_dump

CLOSED = {
    "neo_readonly": {"sgx", "enclave", "keymanagement", "outbox", "retention"},
    "neo_auditor": set(SCHEMAS) - {"monitoring", "eventsourcing"},
    "neo_backup": set(),
}
PARTLY = {
    "core.configurations",
    "auth.api_keys",
    "auth.users",
    "auth.sessions",
    "blockchain.wallets",
    "security.secrets",
}


@pytest.mark.parametrize("role", CLOSED)
async def test_a_group_reads_its_schemas_and_no_others(
    role: str, administrator: Connection
) -> None:
    rows = await administrator.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'v')"
        " AND relnamespace::regnamespace::text = ANY ($1) AND NOT relispartition ORDER BY 1",
        SCHEMAS,
    )
    await administrator.execute(f"SET LOCAL ROLE {role}")
    refused = set()
    for (table,) in rows:
        trial = administrator.transaction()
        await trial.start()
        try:
            await administrator.fetch(f"SELECT count(*) FROM {table}")
        except asyncpg.InsufficientPrivilegeError:
            refused.add(table)
        await trial.rollback()
    assert refused == {t for (t,) in rows if t.split(".")[0] in CLOSED[role]}


@pytest.mark.parametrize("role", CLOSED)
async def test_a_group_writes_nothing(role: str, administrator: Connection) -> None:
    rows = await administrator.fetch(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v')"
        " AND c.relnamespace::regnamespace::text = ANY ($2)"
        " AND has_table_privilege($1, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')",
        role,
        SCHEMAS,
    )
    assert rows == []


async def test_readonly_reads_no_secret_column(administrator: Connection) -> None:
    rows = await administrator.fetch(
        "SELECT attrelid::regclass::text || '.' || attname FROM pg_attribute"
        " WHERE attrelid::regclass::text = ANY ($1) AND attnum > 0"
        " AND NOT has_column_privilege('neo_readonly', attrelid, attnum, 'SELECT')",
        sorted(PARTLY),
    )
    assert {row[0] for row in rows} == {
        "core.configurations.value",
        "auth.users.password_hash",
        "auth.users.mfa_secret",
        "auth.api_keys.key_hash",
        "auth.sessions.token_hash",
        "auth.sessions.refresh_token_hash",
        "blockchain.wallets.encrypted_private_key",
        "security.secrets.payload",
    }


@pytest.mark.parametrize("role", ["neo_readonly", "neo_auditor"])
async def test_row_level_security_binds_readers(role: str, administrator: Connection) -> None:
    await insert(administrator, "monitoring.alerts")
    await insert(administrator, "voting.proposals")
    await administrator.execute(f"SET LOCAL ROLE {role}")
    if role == "neo_auditor":
        assert await administrator.fetchval("SELECT count(*) FROM monitoring.audit_logs") >= 2
    else:
        assert await administrator.fetchval("SELECT count(*) FROM voting.proposals") == 0
        assert await administrator.fetchval("SELECT count(*) FROM monitoring.audit_logs") == 0


async def test_the_backup_role_sees_every_tenants_rows(
    administrator: Connection, tenants: dict[UUID, User]
) -> None:
    await insert(administrator, "sgx.sealed_data_items")
    await administrator.execute("SET LOCAL ROLE neo_backup")
    for table in ("core.tenants", "auth.users", "sgx.sealed_data_items"):
        assert await administrator.fetchval(f"SELECT count(*) FROM {table}") > 0
    rows = await administrator.fetch("SELECT id FROM core.tenants")
    assert {row[0] for row in rows} >= set(tenants)


async def test_roles_have_the_attributes_and_groups_that_they_should(
    administrator: Connection,
) -> None:
    rows = await administrator.fetch(
        "SELECT r.rolname, r.rolcanlogin, r.rolbypassrls, r.rolreplication, r.rolsuper,"
        " r.rolcreaterole, r.rolcreatedb, (SELECT max(m.roleid::regrole::text)"
        " FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid <> r.oid) AS member_of"
        " FROM pg_roles r WHERE r.rolname = ANY ($1)",
        [role.name for role in ROLES],
    )
    assert {tuple(row.values()) for row in rows} == {
        (r.name, r.login, r.bypasses_rls, r.replicates, False, False, False, r.member_of)
        for r in ROLES
    }


async def test_passwords_are_kept_as_scram(administrator: Connection) -> None:
    rows = await administrator.fetch(
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY ($1)",
        [role.name for role in ROLES],
    )
    found = {row["rolname"]: row["rolpassword"] for row in rows}
    assert {name for name, kept in found.items() if kept is None} == {
        role.name for role in ROLES if not role.login
    }
    assert all(kept.startswith("SCRAM-SHA-256$") for kept in found.values() if kept)


async def test_a_dump_by_the_backup_role_holds_every_row(
    postgres: PostgresStore, embedded: Membership, tenants: dict[UUID, User]
) -> None:
    server = await embedded.ensure("postgres")
    process = await asyncio.create_subprocess_exec(
        pg_dump(),
        "--data-only",
        "--role=neo_backup",
        env={
            **os.environ,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
            "PGDATABASE": postgres.config.database,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await process.communicate()
    assert (process.returncode, complaint) == (0, b"")
    assert all(str(user.id).encode() in out for user in tenants.values())


async def test_what_is_made_later_is_readable_after_the_next_migration(
    make_database: MakeDatabase,
) -> None:
    config = await make_database("readers")
    store = PostgresStore(config)
    await store.migrate()
    owner = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    try:
        await owner.execute("CREATE TABLE oracle.later (id int)")
        readable = "SELECT has_table_privilege($1, 'oracle.later', 'SELECT')"
        assert await owner.fetchval(readable, "neo_backup")  # at once: a dump needs it
        assert not await owner.fetchval(readable, "neo_readonly")
        await store.migrate()
        assert await owner.fetchval(readable, "neo_readonly")
        assert not await owner.fetchval(readable, "neo_auditor")
    finally:
        await owner.close()


async def test_a_server_without_the_groups_migrates_and_grants_when_they_come(
    make_database: MakeDatabase, embedded: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: PgConfig = await make_database("groupless")
    server = await embedded.ensure("postgres")
    administrator = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=config.database,
    )
    store = PostgresStore(config)
    try:
        await administrator.execute("ALTER ROLE neo_auditor RENAME TO neo_auditor_away")
        await store.migrate()
        policy = "SELECT count(*) FROM pg_policy WHERE polname = 'auditing'"
        assert await administrator.fetchval(policy) == 0
        await administrator.execute("ALTER ROLE neo_auditor_away RENAME TO neo_auditor")
        await store.migrate()
        assert await administrator.fetchval(policy) == 1
        readable = "SELECT has_table_privilege('neo_auditor', 'monitoring.audit_logs', 'SELECT')"
        assert await administrator.fetchval(readable)
    finally:
        if await administrator.fetchval("SELECT to_regrole('neo_auditor_away')") is not None:
            await administrator.execute("ALTER ROLE neo_auditor_away RENAME TO neo_auditor")
        await administrator.close()


async def test_nobody_but_the_owner_grants(application: Connection) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute("SELECT core.grant_readers()")


async def test_granting_again_changes_no_catalog(owner: Connection) -> None:
    before = await owner.fetch("SELECT oid, xmin, relacl FROM pg_class ORDER BY oid")
    await owner.execute("SELECT core.grant_readers()")
    assert await owner.fetch("SELECT oid, xmin, relacl FROM pg_class ORDER BY oid") == before


async def test_partitions_are_read_through_their_parents(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT oid::regclass::text AS name, has_table_privilege('neo_backup', oid, 'SELECT')"
        " AS dumped, has_table_privilege('neo_readonly', oid, 'SELECT') AS read"
        " FROM pg_class WHERE relispartition AND relkind = 'r'"
    )
    assert {row["name"] for row in rows} >= {"core.tenant_data_p0", "outbox.messages_default"}
    assert {row["name"] for row in rows if row["read"] or not row["dumped"]} == set()
