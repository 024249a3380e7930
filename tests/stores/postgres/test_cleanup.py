"""The clean-up removes what has expired, of everybody, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.rows import SERVICE, act, insert

PAST = datetime.now(UTC) - timedelta(days=1)
FUTURE = datetime.now(UTC) + timedelta(days=1)
TABLES = (
    "auth.sessions",
    "sgx.sealed_data_items",
    "sgx.enclave_attestations",
    "enclave.attestations",
)


async def session(connection: Connection, tenant: UUID, user: UUID, expires: datetime) -> UUID:
    """A session of a tenant's user."""
    await act(connection, tenant=tenant)
    identity: UUID = await connection.fetchval(
        "INSERT INTO auth.sessions (tenant_id, user_id, token_hash, ip_address, expires_at)"
        " VALUES ($1, $2, $3, '::1', $4) RETURNING id",
        tenant,
        user,
        uuid4().hex,
        expires,
    )
    return identity


async def clean(connection: Connection) -> dict[str, int]:
    """Clean up as the role of background work, acting for nobody; what it says it removed."""
    await act(connection, tenant=None, service="")
    await connection.execute("SET LOCAL ROLE neo_relay")
    removed: dict[str, int] = json.loads(await connection.fetchval("SELECT cleanup_expired_data()"))
    await connection.execute("RESET ROLE")
    return removed


async def left(connection: Connection) -> set[UUID]:
    """The ids of all rows that could expire, past row-level security."""
    ids: set[UUID] = set()
    for table in TABLES:
        ids |= {row[0] for row in await connection.fetch(f"SELECT id FROM {table}")}
    return ids


async def test_only_what_has_expired_goes_whosever_it_is(
    administrator: Connection, tenants: dict[UUID, User]
) -> None:
    await clean(administrator)
    gone, kept = set(), set()
    for tenant, user in tenants.items():
        gone.add(await session(administrator, tenant, user.id, PAST))
        kept.add(await session(administrator, tenant, user.id, FUTURE))
    for service in (SERVICE, "another"):
        for expires, group in ((PAST, gone), (FUTURE, kept), (None, kept)):
            values = {"service_name": service, "expires_at": expires}
            group.add((await insert(administrator, "sgx.sealed_data_items", values))["id"])
    gone.add((await insert(administrator, "enclave.attestations", {"expires_at": PAST}))["id"])
    kept.add((await insert(administrator, "enclave.attestations"))["id"])
    removed = await clean(administrator)
    assert removed == {
        "sessions": 2,
        "sealed_data_items": 2,
        "enclave_attestations": 0,
        "attestations": 1,
    }
    there = await left(administrator)
    assert there & gone == set()
    assert there >= kept


async def test_an_expired_attestation_stays_while_a_living_item_rests_on_it(
    administrator: Connection,
) -> None:
    attestation = (await insert(administrator, "enclave.attestations", {"expires_at": PAST}))["id"]
    link = await insert(
        administrator,
        "sgx.enclave_attestations",
        {"attestation_id": attestation, "expires_at": FUTURE},
    )
    assert (await clean(administrator))["attestations"] == 0
    assert attestation in await left(administrator)
    await administrator.execute(
        "UPDATE sgx.enclave_attestations SET expires_at = $2 WHERE id = $1", link["id"], PAST
    )
    removed = await clean(administrator)
    assert (removed["enclave_attestations"], removed["attestations"]) == (1, 1)


async def test_an_item_takes_its_attestations_along(administrator: Connection) -> None:
    item = (await insert(administrator, "sgx.sealed_data_items", {"expires_at": PAST}))["id"]
    link = await insert(administrator, "sgx.enclave_attestations", {"sealed_item_id": item})
    await clean(administrator)
    assert not {item, link["id"]} & await left(administrator)


async def test_each_clean_up_is_one_line_of_the_log(administrator: Connection) -> None:
    query = "SELECT new_values FROM monitoring.audit_logs WHERE action LIKE '%CLEANUP%'"
    before = len(await administrator.fetch(query))
    removed = await clean(administrator)
    rows = await administrator.fetch(f"{query} ORDER BY timestamp DESC")
    assert len(rows) == before + 1
    assert json.loads(rows[0][0]) == removed


async def test_what_was_deleted_stands_in_the_log_too(administrator: Connection) -> None:
    item = (await insert(administrator, "sgx.sealed_data_items", {"expires_at": PAST}))["id"]
    await clean(administrator)
    rows = await administrator.fetch(
        "SELECT action FROM monitoring.audit_logs WHERE record_id = $1 ORDER BY timestamp",
        str(item),
    )
    assert [row[0] for row in rows] == ["INSERT", "DELETE"]


async def test_the_owner_may_call_it(owner: Connection) -> None:
    assert await owner.fetchval("SELECT cleanup_expired_data()")


@pytest.mark.parametrize("role", ["neo_app", "neo_readonly", "neo_auditor", "neo_retention"])
async def test_others_may_not(role: str, administrator: Connection) -> None:
    await administrator.execute(f"SET LOCAL ROLE {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await administrator.fetch("SELECT public.cleanup_expired_data()")


@pytest.mark.parametrize("role", ["neo_app", "neo_relay", "neo_readonly"])
async def test_the_setting_that_it_uses_opens_nothing_to_others(
    role: str, administrator: Connection, tenants: dict[UUID, User]
) -> None:
    tenant, user = next(iter(tenants.items()))
    await session(administrator, tenant, user.id, PAST)
    await act(administrator, tenant=None, service="")
    await administrator.execute("GRANT USAGE ON SCHEMA auth TO neo_relay")
    await administrator.execute("GRANT SELECT ON auth.sessions TO neo_relay")
    await administrator.execute("SET LOCAL app.maintenance = 'cleanup'")
    await administrator.execute(f"SET LOCAL ROLE {role}")
    assert await administrator.fetchval("SELECT count(id) FROM auth.sessions") == 0


async def test_the_owner_does_not_see_more_afterwards(
    owner: Connection, tenants: dict[UUID, User]
) -> None:
    tenant, user = next(iter(tenants.items()))
    await owner.execute("SELECT cleanup_expired_data()")
    await session(owner, tenant, user.id, PAST)
    await act(owner, tenant=None)
    assert await owner.fetchval("SELECT count(*) FROM auth.sessions") == 0
