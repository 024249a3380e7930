"""Tenants never see each other, whoever asks and whatever the pool has done before."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

import asyncpg
import pytest

from neo_polystore.ids import SYSTEM_TENANT, uuid7
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.conftest import act_for

OWNED = (
    "core.tenants",
    "core.tenant_data",
    "auth.users",
    "auth.sessions",
    "auth.roles",
    "auth.user_roles",
    "auth.role_permissions",
    "blockchain.wallets",
    "enclave.sealed_data",
    "enclave.computations",
)


async def fill(connection: Connection, tenant: UUID, user: UUID) -> None:
    """One row of this tenant in every tenant-owned table."""
    await act_for(connection, tenant)
    network = await connection.fetchval(
        "INSERT INTO blockchain.networks (name, chain_id, network_type, rpc_endpoint)"
        " VALUES ($1, $2, 'evm', 'r') RETURNING id",
        uuid4().hex,
        random.getrandbits(62),
    )
    permission = await connection.fetchval(
        "INSERT INTO auth.permissions (name, resource, action) VALUES ($1, $1, 'r') RETURNING id",
        uuid4().hex,
    )
    role = await connection.fetchval(
        "INSERT INTO auth.roles (tenant_id, name) VALUES ($1, $2) RETURNING id",
        tenant,
        uuid4().hex,
    )
    for sql, *values in (
        ("core.tenant_data (tenant_id, data_id, data) VALUES ($1, $2, '{}')", tenant, uuid7()),
        (
            (
                "auth.sessions (tenant_id, user_id, token_hash, ip_address, expires_at)"
                " VALUES ($1, $2, $3, '::1', now())"
            ),
            tenant,
            user,
            uuid4().hex,
        ),
        ("auth.user_roles (tenant_id, user_id, role_id) VALUES ($1, $2, $3)", tenant, user, role),
        ("auth.role_permissions VALUES ($1, $2, $3)", tenant, role, permission),
        (
            (
                "blockchain.wallets (tenant_id, user_id, network_id, address, wallet_type)"
                " VALUES ($1, $2, $3, '0x1', 'x')"
            ),
            tenant,
            user,
            network,
        ),
        (
            (
                "enclave.sealed_data (tenant_id, owner_id, enclave_id, data_key, sealed_blob, mac,"
                " policy) VALUES ($1, $2, 'e', $3, '', 'm', 'MRSIGNER')"
            ),
            tenant,
            user,
            uuid4().hex,
        ),
        (
            (
                "enclave.computations (tenant_id, user_id, enclave_id, operation_type, input_hash)"
                " VALUES ($1, $2, 'e', 'o', 'i')"
            ),
            tenant,
            user,
        ),
    ):
        await connection.execute(f"INSERT INTO {sql}", *values)


def tenant_column(table: str) -> str:
    """The column that names the tenant."""
    return "id" if table == "core.tenants" else "tenant_id"


@pytest.fixture(params=["application", "owner"])
async def connection(
    request: pytest.FixtureRequest, application: Connection, owner: Connection
) -> Connection:
    """Either role."""
    return application if request.param == "application" else owner


@pytest.mark.parametrize("table", OWNED)
async def test_each_tenant_sees_its_own_rows_only(
    table: str, connection: Connection, tenants: dict[UUID, User]
) -> None:
    for tenant, user in tenants.items():
        await fill(connection, tenant, user.id)
    column = tenant_column(table)
    for tenant in tenants:
        await act_for(connection, tenant)
        rows = await connection.fetch(f"SELECT {column} FROM {table}")
        assert {row[0] for row in rows} == {tenant}


@pytest.mark.parametrize("table", OWNED)
@pytest.mark.parametrize("setting", [None, ""])
async def test_without_a_tenant_nothing_is_seen_changed_or_deleted(
    table: str, setting: str | None, connection: Connection, tenants: dict[UUID, User]
) -> None:
    if setting is not None:
        for tenant, user in tenants.items():
            await fill(connection, tenant, user.id)
        await act_for(connection, setting)
    column = tenant_column(table)
    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await connection.execute(f"UPDATE {table} SET {column} = {column}") == "UPDATE 0"


@pytest.mark.parametrize("tenant", ["", None])
async def test_a_row_of_another_tenant_cannot_be_written(
    tenant: str | None, connection: Connection, tenants: dict[UUID, User]
) -> None:
    mine, other = tenants
    await act_for(connection, mine if tenant is None else tenant)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await connection.execute(
            "INSERT INTO auth.roles (tenant_id, name) VALUES ($1, 'intruder')", other
        )


async def test_a_user_of_another_tenant_cannot_be_named(
    connection: Connection, tenants: dict[UUID, User]
) -> None:
    mine, other = tenants
    await act_for(connection, mine)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(
            "INSERT INTO enclave.computations (tenant_id, user_id, enclave_id, operation_type,"
            " input_hash) VALUES ($1, $2, 'e', 'o', 'i')",
            mine,
            tenants[other].id,
        )


async def test_deleting_a_user_takes_sessions_and_roles_along(
    connection: Connection, tenants: dict[UUID, User]
) -> None:
    tenant = next(iter(tenants))
    await act_for(connection, tenant)
    user = await connection.fetchval(
        "INSERT INTO auth.users (tenant_id, email, username, password_hash)"
        " VALUES ($1, 'a@b', 'a', 'x') RETURNING id",
        tenant,
    )
    await connection.execute(
        "INSERT INTO auth.sessions (tenant_id, user_id, token_hash, ip_address, expires_at)"
        " VALUES ($1, $2, $3, '::1', now())",
        tenant,
        user,
        uuid4().hex,
    )
    await connection.execute("DELETE FROM auth.users WHERE id = $1", user)
    left = "SELECT count(*) FROM auth.sessions WHERE user_id = $1"
    assert await connection.fetchval(left, user) == 0


async def test_the_application_is_no_superuser_owner_or_bypasser(
    application: Connection,
) -> None:
    role = await application.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    assert role is not None
    assert tuple(role.values()) == (False, False, False)


async def test_the_system_tenant_is_one_like_any_other(
    application: Connection, tenants: dict[UUID, User]
) -> None:
    await act_for(application, SYSTEM_TENANT)
    rows = await application.fetch("SELECT id FROM core.tenants")
    assert [row["id"] for row in rows] == [SYSTEM_TENANT]
