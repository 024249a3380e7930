"""The views: with the reader's own rights, and with the columns that operators ask for."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.rows import act


async def test_every_view_has_the_rights_of_its_reader(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT oid::regclass::text AS name, coalesce(reloptions, '{}') AS options FROM pg_class"
        " WHERE relkind IN ('v', 'm') AND relowner = current_user::regrole"
    )
    assert {row["name"] for row in rows} >= {"core.users", "monitoring.table_usage"}
    assert {row["name"] for row in rows if "security_invoker=true" not in row["options"]} == set()


async def test_users_are_shown_without_their_secrets(application: Connection) -> None:
    await act(application)
    (row,) = await application.fetch("SELECT * FROM core.users WHERE username = 'system'")
    assert row["tenant_id"] == SYSTEM_TENANT
    columns = await application.fetch(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'auth' AND table_name = 'users'"
    )
    assert {row[0] for row in columns} - set(row.keys()) == {"password_hash", "mfa_secret"}


async def test_the_view_of_users_does_not_leak_to_another_tenant(
    application: Connection, owner: Connection, tenants: dict[UUID, User]
) -> None:
    for connection in (application, owner):
        for tenant, user in tenants.items():
            await act(connection, tenant=tenant)
            rows = await connection.fetch("SELECT id FROM core.users")
            assert {row[0] for row in rows} == {user.id}
        await act(connection, tenant=None)
        assert await connection.fetchval("SELECT count(*) FROM core.users") == 0


async def test_the_view_of_users_is_for_reading(application: Connection) -> None:
    await act(application)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute("UPDATE core.users SET status = 'locked'")


@pytest.mark.parametrize("role", ["neo_app", "neo_relay", "neo_readonly", "neo_auditor"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM monitoring.database_performance",
        "SELECT * FROM monitoring.index_usage WHERE idx_scan = 0",
        "SELECT * FROM monitoring.table_usage ORDER BY n_live_tup DESC",
    ],
)
async def test_the_operators_queries_run(role: str, query: str, administrator: Connection) -> None:
    await administrator.execute(f"SET LOCAL ROLE {role}")
    assert await administrator.fetch(query)


async def test_the_performance_of_this_database_is_one_row(application: Connection) -> None:
    (row,) = await application.fetch("SELECT * FROM monitoring.database_performance")
    assert row["database"] == await application.fetchval("SELECT current_database()")
    assert row["connections"] >= 1
    assert row["size_bytes"] > 1_000_000


PLANS = {
    "idx_services_config": "SELECT FROM core.services WHERE configuration @> '{\"a\": 1}'",
    "idx_metadata_gin": "SELECT FROM core.services WHERE metadata @> '{\"a\": 1}'",
    "idx_alerts_labels": 'SELECT FROM monitoring.alerts WHERE labels @> \'{"a": "b"}\'',
    "idx_audit_logs_cleanup": "SELECT * FROM monitoring.audit_logs WHERE action LIKE '%CLEANUP%'"
    " ORDER BY timestamp DESC LIMIT 10",
    "idx_sealed_data_service_expiry": "SELECT FROM sgx.sealed_data_items"
    " WHERE service_name = 's' AND expires_at < now()",
    "idx_active_computations": "SELECT FROM compute.computations"
    " WHERE blockchain_type = 'neo' AND is_active = true",
    "idx_proposals_status": f"SELECT FROM voting.proposals WHERE tenant_id = '{SYSTEM_TENANT}'"
    " AND status = 'active' ORDER BY ends_at",
    "idx_transactions_user_time": "SELECT FROM blockchain.transactions_2025"
    " WHERE from_address = '0x' ORDER BY block_timestamp DESC",
}


@pytest.mark.parametrize("index", PLANS)
async def test_the_query_that_an_index_is_for_uses_it(index: str, owner: Connection) -> None:
    await owner.execute("SET LOCAL enable_seqscan = off")
    plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {PLANS[index]}"))
    name = {"idx_transactions_user_time": "transactions_2025_from_address_block_timestamp_idx"}
    assert f" {name.get(index, index)}" in plan


async def test_settings_of_all_tenants_are_found_by_their_index(administrator: Connection) -> None:
    # as one whom row-level security does not bind: a tenant has but its own row to look at
    await administrator.execute("SET LOCAL enable_seqscan = off")
    rows = await administrator.fetch(
        "EXPLAIN SELECT FROM core.tenants WHERE settings @> '{\"a\": 1}'"
    )
    assert any("idx_tenants_settings" in row[0] for row in rows)


async def test_the_specified_indexes_of_the_wider_model(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname IN ('sgx', 'compute')"
    )
    found = {row["indexname"]: row["indexdef"] for row in rows}
    assert found["idx_sealed_data_service_expiry"].endswith(
        "ON sgx.sealed_data_items USING btree (service_name, expires_at)"
        " WHERE (expires_at IS NOT NULL)"
    )
    assert found["idx_active_computations"].endswith(
        "ON compute.computations USING btree (blockchain_type) WHERE (is_active = true)"
    )


async def test_the_query_that_verifies_all_schemas_finds_them(application: Connection) -> None:
    rows = await application.fetch(
        "SELECT schema_name FROM information_schema.schemata"
        " WHERE schema_name IN ('core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting',"
        " 'crosschain', 'monitoring', 'eventsourcing')"
    )
    assert len(rows) == 9
