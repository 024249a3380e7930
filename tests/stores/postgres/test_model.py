"""The wider model: every table's columns, and that each constraint refuses what it is there for."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.catalog import (
    CREATED,
    ID,
    SCHEMAS,
    TENANT,
    UPDATED,
    columns_found,
    columns_of,
)
from tests.stores.postgres.rows import EARLIER, MODEL, ROWS, USER, Of, act, insert

STATUS = "status varchar(50)! ='pending'"
PAYLOAD = f"{ID}, {TENANT}, name varchar(255)!, payload jsonb! ='{{}}', {CREATED}, {UPDATED}"
COMPUTATION = f"{ID}, {TENANT}, computation_id uuid!"

TABLES = {
    "core.configurations": f"""{ID}, service_name varchar(255)!, key varchar(255)!, value jsonb!,
        is_secret bool! =false, version int4! =1, updated_by varchar(255), {CREATED}, {UPDATED}""",
    "sgx.sealing_policies": f"""{ID}, name varchar(100)!, policy_type varchar(50)!,
        retention_days int4! =90, key_rotation_days int4, allowed_enclaves _text! ='{{}}',
        {CREATED}""",
    "sgx.sealed_data_items": f"""{ID}, service_name varchar(255)!, item_key varchar(255)!,
        sealed_data bytea!, mac varchar(64), content_hash varchar(64), policy_id uuid,
        size_bytes int8! =0, version int4! =1, metadata jsonb! ='{{}}', expires_at timestamptz,
        last_accessed_at timestamptz, access_count int8! =0, {CREATED}, {UPDATED}""",
    "sgx.enclave_attestations": f"""{ID}, service_name varchar(255)!, sealed_item_id uuid!,
        attestation_id uuid!, {STATUS}, verified_at timestamptz, expires_at timestamptz,
        {CREATED}""",
    "compute.computations": f"""{ID}, {TENANT}, name varchar(255)!, description text,
        blockchain_type varchar(50)!, computation_type varchar(50)!, code_hash varchar(64),
        is_active bool! =true, version int4! =1, metadata jsonb! ='{{}}', created_by uuid,
        {CREATED}, {UPDATED}""",
    "compute.computation_statuses": f"""{COMPUTATION}, {STATUS}, attempt int4! =1,
        started_at timestamptz, completed_at timestamptz, error_message text, {CREATED}""",
    "compute.computation_results": f"""{COMPUTATION}, status_id uuid, result jsonb!,
        output_hash varchar(64), gas_used int8, proof bytea, {CREATED}""",
    "compute.computation_permissions": f"""{COMPUTATION}, principal_type varchar(50)!,
        principal_id varchar(255)!, permission varchar(50)!, granted_by uuid,
        granted_at timestamptz! =CURRENT_TIMESTAMP, expires_at timestamptz""",
    "oracle.data_feeds": f"""{ID}, name varchar(255)!, symbol varchar(50),
        source_url varchar(500), feed_type varchar(50)!, decimals int4! =8,
        update_interval_s int4! =60, is_active bool! =true, last_value numeric,
        last_updated_at timestamptz, {CREATED}""",
    "oracle.requests": f"""{ID}, data_feed_id uuid!, requester varchar(255)!,
        request_data jsonb! ='{{}}', callback_address varchar(255), network_id uuid, {STATUS},
        {CREATED}, fulfilled_at timestamptz""",
    "oracle.responses": f"""{ID}, request_id uuid!, value numeric, raw jsonb, signer varchar(255),
        signature text, confidence numeric(5,4), block_number int8, {CREATED}""",
    "voting.proposals": f"""{ID}, {TENANT}, title varchar(255)!, description text,
        proposer_id uuid!, proposal_type varchar(50)!, status varchar(50)! ='draft',
        starts_at timestamptz, ends_at timestamptz, quorum numeric(78,0)! =0,
        threshold numeric(5,4)! =0.5, {CREATED}, {UPDATED}""",
    "voting.votes": f"""{ID}, {TENANT}, proposal_id uuid!, voter_id uuid!, choice varchar(50)!,
        voting_power numeric(78,0)! =0, signature text, transaction_hash varchar(255),
        cast_at timestamptz! =CURRENT_TIMESTAMP""",
    "voting.voting_powers": f"""{ID}, {TENANT}, voter_id uuid!, proposal_id uuid,
        snapshot_block int8, power numeric(78,0)! =0, delegated_to uuid, {CREATED}""",
    "crosschain.transactions": f"""{ID}, source_network_id uuid!, target_network_id uuid!,
        source_tx_hash varchar(255)!, target_tx_hash varchar(255), sender varchar(255)!,
        recipient varchar(255)!, asset varchar(255)!, amount numeric(78,0)!, {STATUS}, {CREATED},
        {UPDATED}""",
    "crosschain.bridge_operations": f"""{ID}, transaction_id uuid!, operation_type varchar(50)!,
        {STATUS}, attempts int4! =0, proof bytea, error_message text, {CREATED},
        completed_at timestamptz""",
    "keymanagement.keys": f"""{ID}, key_alias varchar(255)!, key_type varchar(50)!,
        algorithm varchar(50)!, public_key text, encrypted_key_material bytea,
        status varchar(50)! ='active', version int4! =1, rotation_days int4! =90,
        expires_at timestamptz, {CREATED}, rotated_at timestamptz""",
    "keymanagement.key_rotations": f"""{ID}, key_id uuid!, from_version int4!, to_version int4!,
        reason varchar(255), rotated_by varchar(255),
        rotated_at timestamptz! =CURRENT_TIMESTAMP""",
    "monitoring.alerts": f"""{ID}, name varchar(255)!, severity varchar(50)!,
        status varchar(50)! ='firing', service_name varchar(255), message text,
        labels jsonb! ='{{}}', starts_at timestamptz! =CURRENT_TIMESTAMP, ends_at timestamptz,
        acknowledged_by varchar(255)""",
    "monitoring.audit_logs": f"""{ID}, timestamp timestamptz! =clock_timestamp(),
        action varchar(100)!, schema_name varchar(63), table_name varchar(63), record_id text,
        actor varchar(255)!, database_user varchar(63)! =SESSION_USER, tenant_id uuid,
        service_name varchar(255), old_values jsonb, new_values jsonb,
        ip_address inet =inet_client_addr(), success bool! =true, error_message text""",
    "storage.objects": f"""{ID}, {TENANT}, bucket varchar(63)!, object_key varchar(1024)!,
        size_bytes int8!, sha256 varchar(64)!,
        content_type varchar(255)! ='application/octet-stream', ipfs_cid varchar(255),
        created_date date! =CURRENT_DATE""",
    "security.secrets": f"{PAYLOAD}, status varchar(50)! ='active'",
    "notification.notifications": f"{PAYLOAD}, {STATUS}",
    "automation.jobs": f"{PAYLOAD}, status varchar(50)! ='active'",
    "analytics.model_runs": f"{PAYLOAD}, {STATUS}",
    "reporting.reports": f"{PAYLOAD}, {STATUS}",
}

# constraint: its table, and what to change in a good row so that it has to refuse it
CHECKS: dict[str, tuple[str, dict[str, Any]]] = {
    "configurations_version_check": ("core.configurations", {"version": 0}),
    "sealing_policies_type_check": ("sgx.sealing_policies", {"policy_type": "x"}),
    "sealing_policies_days_check": ("sgx.sealing_policies", {"retention_days": 0}),
    "sealed_data_items_version_check": ("sgx.sealed_data_items", {"version": 0}),
    "enclave_attestations_status_check": ("sgx.enclave_attestations", {"status": "x"}),
    "computations_version_check": ("compute.computations", {"version": 0}),
    "computation_statuses_status_check": ("compute.computation_statuses", {"status": "x"}),
    "computation_statuses_attempt_check": ("compute.computation_statuses", {"attempt": 0}),
    "computation_statuses_period_check": (
        "compute.computation_statuses",
        {"completed_at": EARLIER},
    ),
    "computation_results_gas_check": ("compute.computation_results", {"gas_used": -1}),
    "computation_permissions_principal_check": (
        "compute.computation_permissions",
        {"principal_type": "x"},
    ),
    "computation_permissions_permission_check": (
        "compute.computation_permissions",
        {"permission": "write"},
    ),
    "data_feeds_decimals_check": ("oracle.data_feeds", {"decimals": 79}),
    "data_feeds_interval_check": ("oracle.data_feeds", {"update_interval_s": 0}),
    "requests_status_check": ("oracle.requests", {"status": "x"}),
    "responses_confidence_check": ("oracle.responses", {"confidence": 2}),
    "responses_content_check": ("oracle.responses", {"value": None}),
    "proposals_status_check": ("voting.proposals", {"status": "x"}),
    "proposals_period_check": ("voting.proposals", {"ends_at": EARLIER}),
    "proposals_quorum_check": ("voting.proposals", {"quorum": -1}),
    "proposals_threshold_check": ("voting.proposals", {"threshold": 1.1}),
    "votes_choice_check": ("voting.votes", {"choice": "maybe"}),
    "votes_power_check": ("voting.votes", {"voting_power": -1}),
    "voting_powers_power_check": ("voting.voting_powers", {"power": -1}),
    "voting_powers_delegate_check": ("voting.voting_powers", {"delegated_to": USER}),
    "crosschain_transactions_status_check": ("crosschain.transactions", {"status": "x"}),
    "crosschain_transactions_amount_check": ("crosschain.transactions", {"amount": -1}),
    "bridge_operations_type_check": ("crosschain.bridge_operations", {"operation_type": "x"}),
    "bridge_operations_status_check": ("crosschain.bridge_operations", {"status": "x"}),
    "bridge_operations_attempts_check": ("crosschain.bridge_operations", {"attempts": -1}),
    "keys_status_check": ("keymanagement.keys", {"status": "x"}),
    "keys_destroyed_check": ("keymanagement.keys", {"status": "destroyed"}),
    "keys_version_check": ("keymanagement.keys", {"version": 0}),
    "keys_rotation_check": ("keymanagement.keys", {"rotation_days": 0}),
    "key_rotations_versions_check": ("keymanagement.key_rotations", {"to_version": 1}),
    "alerts_severity_check": ("monitoring.alerts", {"severity": "x"}),
    "alerts_status_check": ("monitoring.alerts", {"status": "x"}),
    "alerts_period_check": ("monitoring.alerts", {"ends_at": EARLIER.replace(year=2000)}),
    "objects_size_check": ("storage.objects", {"size_bytes": -1}),
    "objects_sha256_check": ("storage.objects", {"sha256": "AB" * 32}),
    "secrets_status_check": ("security.secrets", {"status": "x"}),
    "notifications_status_check": ("notification.notifications", {"status": "x"}),
    "jobs_status_check": ("automation.jobs", {"status": "x"}),
    "model_runs_status_check": ("analytics.model_runs", {"status": "x"}),
    "reports_status_check": ("reporting.reports", {"status": "x"}),
}
# needs the same parent twice
APART = {"crosschain_transactions_networks_check"}

UNIQUE = {
    "core.configurations": "service_name key",
    "sgx.sealing_policies": "name",
    "sgx.sealed_data_items": "service_name item_key",
    "compute.computation_permissions": "computation_id principal_type principal_id permission",
    "oracle.data_feeds": "name",
    "voting.votes": "proposal_id voter_id",
    "voting.voting_powers": "voter_id proposal_id",
    "crosschain.transactions": "source_network_id source_tx_hash",
    "keymanagement.keys": "key_alias",
    "keymanagement.key_rotations": "key_id to_version",
    "storage.objects": "tenant_id bucket object_key",
    "security.secrets": "tenant_id name",
}

REFERENCES = [
    (table, column)
    for table in MODEL
    for column, value in ROWS[table].items()
    if isinstance(value, Of) or value == USER
]

TENANT_OWNED = [table for table in MODEL if "tenant_id" in ROWS[table]]
SERVICE_OWNED = ["sgx.sealed_data_items", "sgx.enclave_attestations"]


@pytest.fixture(params=["application", "owner"])
async def either(
    request: pytest.FixtureRequest, application: Connection, owner: Connection
) -> Connection:
    """A connection as the application, and one as the owner of the tables."""
    connection = application if request.param == "application" else owner
    await act(connection)
    return connection


@pytest.fixture
async def acting(application: Connection) -> Connection:
    """The application, acting for the system's tenant and a service."""
    await act(application)
    return application


@pytest.mark.parametrize("table", TABLES)
async def test_columns_types_and_defaults(table: str, owner: Connection) -> None:
    assert await columns_found(owner, table) == columns_of(TABLES[table])


async def test_no_table_is_without_a_test_of_its_columns(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND NOT relispartition AND relnamespace::regnamespace::text = ANY ($1)",
        sorted({table.split(".")[0] for table in TABLES} - {"core"}),
    )
    assert {row[0] for row in rows} == {t for t in TABLES if not t.startswith("core.")}


@pytest.mark.parametrize("table", MODEL)
async def test_a_good_row_is_stored_and_seen(table: str, acting: Connection) -> None:
    row = await insert(acting, table)
    found = await acting.fetchrow(f"SELECT * FROM {table} WHERE id = $1", row["id"])
    assert found is not None
    assert dict(found) == row


@pytest.mark.parametrize("constraint", CHECKS)
async def test_a_check_refuses_a_bad_value(constraint: str, owner: Connection) -> None:
    table, values = CHECKS[constraint]
    await act(owner)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await insert(owner, table, values)
    assert refused.value.constraint_name == constraint


async def test_no_check_is_without_a_test(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT conname FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid::regclass::text = ANY ($1)",
        MODEL,
    )
    assert {row[0] for row in rows} == set(CHECKS) | APART


async def test_a_transfer_goes_to_another_network(acting: Connection) -> None:
    network = (await insert(acting, "blockchain.networks"))["id"]
    with pytest.raises(asyncpg.CheckViolationError, match="networks_check"):
        await insert(
            acting,
            "crosschain.transactions",
            {"source_network_id": network, "target_network_id": network},
        )


@pytest.mark.parametrize("table", UNIQUE)
async def test_what_must_be_unique_is(table: str, acting: Connection) -> None:
    row = await insert(acting, table)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(acting, table, {name: row[name] for name in UNIQUE[table].split()})


async def test_a_voter_has_one_power_without_a_proposal(acting: Connection) -> None:
    await insert(acting, "voting.voting_powers", {"proposal_id": None})
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(acting, "voting.voting_powers", {"proposal_id": None})


@pytest.mark.parametrize(("table", "column"), REFERENCES)
async def test_a_reference_to_nothing_is_refused(
    table: str, column: str, acting: Connection
) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await insert(acting, table, {column: uuid4()})


async def test_a_result_belongs_to_a_run_of_its_own_computation(acting: Connection) -> None:
    other = await insert(acting, "compute.computation_statuses")
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="status_fkey"):
        await insert(acting, "compute.computation_results", {"status_id": other["id"]})


@pytest.mark.parametrize("table", TENANT_OWNED)
async def test_another_tenant_neither_sees_nor_writes_a_row(
    table: str, either: Connection, tenants: dict[UUID, User]
) -> None:
    row = await insert(either, table)
    for tenant in (next(iter(tenants)), None):
        await act(either, tenant=tenant)
        assert await either.fetchval(f"SELECT count(*) FROM {table}") == 0
        if table != "voting.votes":  # which nobody may change
            assert await either.execute(f"UPDATE {table} SET id = id") == "UPDATE 0"
        values = {name: row[name] for name in ROWS[table]}
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with either.transaction():
                await insert(either, table, values)


@pytest.mark.parametrize("table", SERVICE_OWNED)
async def test_another_service_neither_sees_nor_writes_a_row(
    table: str, either: Connection
) -> None:
    row = await insert(either, table)
    for service in ("another", ""):
        await act(either, service=service)
        assert await either.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await either.execute(f"DELETE FROM {table}") == "DELETE 0"
        values = {name: row[name] for name in ROWS[table]}
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with either.transaction():
                await insert(either, table, values)


async def test_a_service_cannot_link_to_another_services_item(acting: Connection) -> None:
    item = await insert(acting, "sgx.sealed_data_items")
    await act(acting, service="another")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await insert(
            acting,
            "sgx.enclave_attestations",
            {"service_name": "another", "sealed_item_id": item["id"]},
        )


async def test_without_any_setting_there_are_no_sealed_items_and_no_error(
    application: Connection,
) -> None:
    assert await application.fetch("SELECT * FROM sgx.sealed_data_items") == []


async def test_the_size_of_an_item_is_what_is_stored(acting: Connection) -> None:
    row = await insert(acting, "sgx.sealed_data_items", {"size_bytes": 99})
    assert row["size_bytes"] == len(row["sealed_data"])
    assert 5 == await acting.fetchval(
        "UPDATE sgx.sealed_data_items SET sealed_data = 'fresh' WHERE id = $1 RETURNING size_bytes",
        row["id"],
    )


async def test_every_foreign_key_has_an_index_to_find_its_rows_by(owner: Connection) -> None:
    rows = await owner.fetch(
        """
        SELECT format('%s %s', c.conrelid::regclass, c.conname) FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conparentid = 0
            AND c.connamespace::regnamespace::text = ANY ($1)
            AND NOT EXISTS (
                SELECT FROM pg_index i JOIN pg_attribute a
                    ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
                    AND i.indkey[0] = ANY (c.conkey)
                    AND (a.attname <> 'tenant_id' OR i.indnkeyatts = 1
                        OR i.indkey[1] = ANY (c.conkey) OR cardinality(c.conkey) = 1))
        """,
        SCHEMAS,
    )
    # networks are not deleted, and one more index would cost every transaction
    assert {row[0] for row in rows} == {
        "blockchain.transactions transactions_network_id_fkey",
    }
