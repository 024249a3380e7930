"""The schema as the design specification writes it, column by column, and what it refuses."""

from __future__ import annotations

import asyncpg
import pytest

from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.pgkit.database import Connection
from tests.stores.postgres.catalog import (
    CREATED,
    ID,
    SCHEMAS,
    UPDATED,
    columns_found,
    columns_of,
)
from tests.stores.postgres.conftest import act_for

# column type, ! where NOT NULL, (default); the type is the catalog's own short name
TABLES = {
    "core.services": f"""{ID}, name varchar(255)!, description text, version varchar(50)!,
        status varchar(50)! ='inactive', configuration jsonb! ='{{}}', metadata jsonb! ='{{}}',
        {CREATED}, {UPDATED}""",
    "core.tenants": f"""{ID}, name varchar(255)!, identifier varchar(100)!,
        subscription_tier varchar(50)! ='free', settings jsonb! ='{{}}', limits jsonb! ='{{}}',
        {CREATED}, {UPDATED}, deleted_at timestamptz""",
    "core.tenant_data": f"tenant_id uuid!, data_id uuid!, data jsonb!, {CREATED}",
    "auth.users": f"""{ID}, tenant_id uuid!, email varchar(255)!, username varchar(100)!,
        password_hash varchar(255)!, mfa_secret varchar(255), mfa_enabled bool! =false,
        email_verified bool! =false, status varchar(50)! ='active', last_login_at timestamptz,
        failed_login_attempts int4! =0, locked_until timestamptz, {CREATED}, {UPDATED},
        deleted_at timestamptz""",
    "auth.sessions": f"""{ID}, tenant_id uuid!, user_id uuid!, token_hash varchar(255)!,
        refresh_token_hash varchar(255), ip_address inet!, user_agent text,
        expires_at timestamptz!, revoked_at timestamptz, {CREATED}""",
    "auth.permissions": f"""{ID}, name varchar(100)!, resource varchar(100)!,
        action varchar(50)!, description text, {CREATED}""",
    "auth.roles": f"""{ID}, tenant_id uuid!, name varchar(100)!, description text,
        is_system bool! =false, {CREATED}, {UPDATED}""",
    "auth.role_permissions": "tenant_id uuid!, role_id uuid!, permission_id uuid!",
    "auth.user_roles": """tenant_id uuid!, user_id uuid!, role_id uuid!,
        granted_at timestamptz! =CURRENT_TIMESTAMP, granted_by uuid, expires_at timestamptz""",
    "blockchain.networks": f"""{ID}, name varchar(100)!, chain_id int8!,
        network_type varchar(50)!, rpc_endpoint varchar(500)!, ws_endpoint varchar(500),
        explorer_url varchar(500), is_testnet bool! =false, is_active bool! =true, {CREATED}""",
    "blockchain.wallets": f"""{ID}, tenant_id uuid!, user_id uuid!, network_id uuid!,
        address varchar(255)!, public_key varchar(500), encrypted_private_key text,
        wallet_type varchar(50)!, is_hardware bool! =false, initial_balance numeric(78,0),
        {CREATED}""",
    "blockchain.transactions": f"""{ID}, network_id uuid!, transaction_hash varchar(255)!,
        from_address varchar(255)!, to_address varchar(255), value numeric(78,0)! =0,
        gas_price numeric(78,0), gas_limit int8, gas_used int8, nonce int8, input_data text,
        status varchar(50)! ='pending', block_number int8, block_timestamp timestamptz,
        confirmation_count int4 =0, {CREATED}, {UPDATED}""",
    "blockchain.transaction_keys": """network_id uuid!, transaction_hash varchar(255)!,
        transaction_id uuid!, created_at timestamptz!""",
    "blockchain.smart_contracts": f"""{ID}, network_id uuid!, address varchar(255)!,
        name varchar(255), symbol varchar(50), contract_type varchar(50)!, abi jsonb!,
        bytecode text, source_code text, compiler_version varchar(50), optimization_enabled bool,
        verified bool! =false, deployed_by varchar(255), deployed_at timestamptz, {CREATED}""",
    # measurements of TDX domains have 96 digits
    "enclave.attestations": f"""{ID}, enclave_id varchar(255)!, mr_enclave varchar(96)!,
        mr_signer varchar(96)!, isv_prod_id int4!, isv_svn int4!, report_data varchar(128),
        quote bytea!, attestation_type varchar(50)!, status varchar(50)!,
        verified_at timestamptz, expires_at timestamptz!, {CREATED}, collateral text,
        verdict jsonb, policy jsonb, judged_at timestamptz, root_ca bytea""",
    "enclave.sealed_data": f"""{ID}, tenant_id uuid!, owner_id uuid!, enclave_id varchar(255)!,
        data_key varchar(255)!, sealed_blob bytea!, mac varchar(64)!, policy varchar(50)!,
        version int4! =1, {CREATED}, {UPDATED}""",
    "enclave.computations": f"""{ID}, tenant_id uuid!, user_id uuid!, enclave_id varchar(255)!,
        operation_type varchar(100)!, input_hash varchar(64)!, output_hash varchar(64),
        status varchar(50)! ='pending', started_at timestamptz, completed_at timestamptz,
        error_message text, gas_used int8, {CREATED}""",
}

INDEXES = {
    "auth.idx_users_email": "(email) WHERE (deleted_at IS NULL)",
    "auth.idx_users_tenant": "(tenant_id) WHERE (deleted_at IS NULL)",
    "auth.idx_users_active": "(email) WHERE ((deleted_at IS NULL) AND ((status)::text = 'active'",
    "auth.idx_users_mfa_enabled": "(id) WHERE (mfa_enabled = true)",
    "auth.idx_sessions_user": "(user_id)",
    "auth.idx_sessions_expires": "(expires_at) WHERE (revoked_at IS NULL)",
    "auth.idx_user_roles_user": "(user_id)",
    "auth.idx_role_permissions_role": "(role_id)",
    "blockchain.idx_transactions_from": "(from_address)",
    "blockchain.idx_transactions_to": "(to_address)",
    "blockchain.idx_transactions_block": "(block_number DESC)",
    "blockchain.idx_transactions_status": "(status) WHERE ((status)::text = 'pending'",
    "blockchain.idx_transactions_pending": "(created_at) WHERE ((status)::text = 'pending'",
    "blockchain.idx_transactions_user_time": "(from_address, block_timestamp DESC)",
    "blockchain.idx_wallets_user": "(user_id)",
    "core.idx_services_config": "USING gin (configuration)",
    "core.idx_tenants_settings": "USING gin (settings)",
    "core.idx_metadata_gin": "USING gin (metadata)",
}

UNIQUE = {
    "core.services": {"name"},
    "core.tenants": {"identifier"},
    "auth.users": {"tenant_id, email", "tenant_id, username"},
    "auth.sessions": {"token_hash", "refresh_token_hash"},
    "auth.permissions": {"name", "resource, action"},
    "auth.roles": {"tenant_id, name"},
    "blockchain.networks": {"name", "chain_id"},
    "blockchain.wallets": {"network_id, address"},
    "blockchain.smart_contracts": {"network_id, address"},
    "enclave.sealed_data": {"data_key"},
}

NAMED = (
    "users_email_unique",
    "users_username_unique",
    "permissions_unique",
    "roles_name_unique",
    "wallets_address_unique",
    "contracts_address_unique",
    "transactions_hash_unique",
)

USER = f"'{SYSTEM_TENANT}', '{SYSTEM_USER}'"
CHECKS = {
    "services_status_check": "INSERT INTO core.services (name, version, status)"
    " VALUES ('s', '1', $1)",
    "tenants_tier_check": "UPDATE core.tenants SET subscription_tier = $1",
    "users_status_check": "UPDATE auth.users SET status = $1",
    "attestations_type_check": "INSERT INTO enclave.attestations (enclave_id, mr_enclave,"
    " mr_signer, isv_prod_id, isv_svn, quote, attestation_type, status, expires_at)"
    " VALUES ('e', 'm', 's', 1, 1, '', $1, 'ok', now())",
    "sealed_data_policy_check": "INSERT INTO enclave.sealed_data (tenant_id, owner_id, enclave_id,"
    f" data_key, sealed_blob, mac, policy) VALUES ({USER}, 'e', 'k', '', 'm', $1)",
    "computations_status_check": "INSERT INTO enclave.computations (tenant_id, user_id, enclave_id,"
    f" operation_type, input_hash, status) VALUES ({USER}, 'e', 'o', 'i', $1)",
    "transactions_status_check": "WITH n AS (INSERT INTO blockchain.networks (name, chain_id,"
    " network_type, rpc_endpoint) VALUES ('n', 777, 'evm', 'r') RETURNING id), k AS (INSERT INTO"
    " blockchain.transaction_keys SELECT id, '0x1', gen_random_uuid(), now() FROM n RETURNING *)"
    " INSERT INTO blockchain.transactions (id, network_id, transaction_hash, created_at,"
    " from_address, status) SELECT transaction_id, network_id, '0x1', created_at, '0x2', $1 FROM k",
}
GOOD = {
    "services_status_check": "active inactive degraded maintenance",
    "tenants_tier_check": "free basic pro enterprise",
    "users_status_check": "active inactive locked suspended",
    "attestations_type_check": "EPID DCAP ECDSA",
    "sealed_data_policy_check": "MRENCLAVE MRSIGNER USER_DEFINED",
    "computations_status_check": "pending running completed failed cancelled",
    "transactions_status_check": "pending confirmed failed dropped",
}


@pytest.mark.parametrize("table", TABLES)
async def test_columns_types_and_defaults_are_those_of_the_specification(
    table: str, owner: Connection
) -> None:
    assert await columns_found(owner, table) == columns_of(TABLES[table])


async def test_the_specified_indexes_are_there(owner: Connection) -> None:
    rows = await owner.fetch("SELECT schemaname, indexname, indexdef FROM pg_indexes")
    found = {f"{row['schemaname']}.{row['indexname']}": row["indexdef"] for row in rows}
    assert {name for name, part in INDEXES.items() if part not in found.get(name, "")} == set()


@pytest.mark.parametrize("table", UNIQUE)
async def test_what_must_be_unique_is(table: str, owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = $1::text::regclass AND contype = 'u'",
        table,
    )
    found = {row[0].removeprefix("UNIQUE (").removesuffix(")") for row in rows}
    assert found >= UNIQUE[table]


async def test_named_constraints_have_their_names(owner: Connection) -> None:
    rows = await owner.fetch("SELECT conname FROM pg_constraint WHERE conname = ANY($1)", NAMED)
    assert {row[0] for row in rows} == set(NAMED)


@pytest.mark.parametrize("constraint", CHECKS)
async def test_a_check_refuses_a_bad_value_and_takes_the_good_ones(
    constraint: str, application: Connection
) -> None:
    await act_for(application, SYSTEM_TENANT)
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        async with application.transaction():
            await application.execute(CHECKS[constraint], "nonsense")
    for value in GOOD[constraint].split():
        trial = application.transaction()
        await trial.start()
        await application.execute(CHECKS[constraint], value)
        await trial.rollback()


async def test_a_second_equal_network_is_refused(application: Connection) -> None:
    insert = (
        "INSERT INTO blockchain.networks (name, chain_id, network_type, rpc_endpoint)"
        " VALUES ($1, $2, 'evm', 'r')"
    )
    await application.execute(insert, "one", 900_001)
    for name, chain_id in (("one", 900_002), ("two", 900_001)):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with application.transaction():
                await application.execute(insert, name, chain_id)


async def test_every_updated_at_moves_with_an_update(owner: Connection) -> None:
    lacking = await owner.fetch(
        """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE a.attname = 'updated_at' AND c.relkind IN ('r', 'p')
          AND c.relnamespace::regnamespace::text = ANY ($1)
          AND NOT EXISTS (SELECT FROM pg_trigger t
                          WHERE t.tgrelid = c.oid AND t.tgname = 'set_updated_at')
        """,
        # those two keep their own time, and only their own functions write them
        [name for name in SCHEMAS if name not in ("outbox", "retention", "scheduler")],
    )
    assert [row[0] for row in lacking] == []
    await act_for(owner, SYSTEM_TENANT)
    moved = await owner.fetchval(
        "WITH old AS (SELECT updated_at FROM core.tenants)"
        " UPDATE core.tenants t SET name = name FROM old RETURNING t.updated_at > old.updated_at"
    )
    assert moved is True


async def test_a_deleted_user_releases_the_address(application: Connection) -> None:
    await act_for(application, SYSTEM_TENANT)
    insert = (
        "INSERT INTO auth.users (tenant_id, email, username, password_hash)"
        " VALUES ($1, 'Ada@Example.org', 'ada', 'x') RETURNING id, email"
    )
    first = await application.fetchrow(insert, SYSTEM_TENANT)
    assert first is not None
    assert first["email"] == "ada@example.org"
    await application.execute("UPDATE auth.users SET deleted_at = now() WHERE id = $1", first["id"])
    assert await application.fetchrow(insert, SYSTEM_TENANT) is not None


async def test_nothing_needs_the_extensions(owner: Connection) -> None:
    defaults = await owner.fetch(
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef"
        " WHERE pg_get_expr(adbin, adrelid) LIKE '%uuid_generate%'"
    )
    assert defaults == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE core.mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "ALTER TABLE auth.users DISABLE ROW LEVEL SECURITY",
        "DROP TABLE blockchain.networks",
        "TRUNCATE auth.sessions",
        "TRUNCATE blockchain.transactions_2025",
        "DELETE FROM blockchain.transactions",
        "DELETE FROM blockchain.transaction_keys",
        "SELECT * FROM blockchain.transactions_2025",
        "SELECT * FROM core.tenant_data_p0",
        "DROP POLICY tenant_isolation ON auth.users",
        "SET ROLE neo_owner",
    ],
)
async def test_the_application_may_not(statement: str, application: Connection) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute(statement)


async def test_a_table_made_later_is_usable_by_the_application(
    owner: Connection, application: Connection
) -> None:
    await owner.execute("CREATE TABLE core.later (x int)")
    grants = await owner.fetch(
        "SELECT privilege_type FROM information_schema.role_table_grants"
        " WHERE table_name = 'later' AND grantee = 'neo_app'"
    )
    assert {row[0] for row in grants} == {"SELECT", "INSERT", "UPDATE", "DELETE"}


async def test_the_public_may_nothing(owner: Connection) -> None:
    assert not await owner.fetchval(
        """
        SELECT bool_or(acl::text LIKE '=%') FROM (
            SELECT unnest(datacl) FROM pg_database WHERE datname = current_database()
            UNION ALL SELECT unnest(nspacl) FROM pg_namespace
                WHERE nspname = ANY ($1) OR nspname = 'public'
            UNION ALL SELECT unnest(relacl) FROM pg_class
                WHERE relnamespace::regnamespace::text = ANY ($1)
            UNION ALL SELECT unnest(coalesce(proacl, acldefault('f', proowner))) FROM pg_proc
                WHERE pronamespace::regnamespace::text = ANY ($1)
                    OR proowner = 'neo_owner'::regrole
        ) AS granted (acl)
        """,
        SCHEMAS,
    )
