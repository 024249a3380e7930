"""The log of changed rows: one line per change, no secret in it, not to be written by hand."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.catalog import SCHEMAS
from tests.stores.postgres.rows import MODEL, SERVICE, TENANT, act, insert

# in a log these would be a leak, or as large as what they log
TELLTALE = "password|secret|private|token_hash|material|payload|blob|sealed_data$|quote|proof|abi"
HARMLESS = {
    ("core.configurations", "is_secret"),
}
SILENT = {
    "audit.chain_heads",
    "audit.chain_links",
    "auth.sessions",
    "blockchain.transaction_keys",
    "blockchain.transactions",
    "compute.computation_statuses",
    "enclave.sealed_heads",
    "core.tenant_data",
    "monitoring.audit_logs",
    "oracle.requests",
    "oracle.responses",
}


async def lines(connection: Connection, record: UUID | str) -> list[dict[str, Any]]:
    """What the log says of one row, oldest first, as whoever may read all of it."""
    rows = await connection.fetch(
        "SELECT * FROM monitoring.audit_logs WHERE record_id = $1 ORDER BY timestamp", str(record)
    )
    return [
        {
            name: json.loads(value) if name.endswith("_values") and value else value
            for name, value in row.items()
        }
        for row in rows
    ]


@pytest.fixture
async def acting(administrator: Connection) -> Connection:
    """The application's role (and back: it cannot read all of the log)."""
    await administrator.execute("SET LOCAL ROLE neo_app")
    await act(administrator)
    return administrator


async def as_superuser(connection: Connection) -> Connection:
    """Back to who logged in."""
    await connection.execute("RESET ROLE")
    return connection


async def test_each_change_of_a_sealed_item_is_one_line(acting: Connection) -> None:
    item = await insert(acting, "sgx.sealed_data_items")
    await acting.execute("UPDATE sgx.sealed_data_items SET version = 2 WHERE id = $1", item["id"])
    await acting.execute("DELETE FROM sgx.sealed_data_items WHERE id = $1", item["id"])
    found = await lines(await as_superuser(acting), item["id"])
    assert [line["action"] for line in found] == ["INSERT", "UPDATE", "DELETE"]
    assert {(line["schema_name"], line["table_name"]) for line in found} == {
        ("sgx", "sealed_data_items")
    }
    assert [(line["old_values"] or {}).get("version") for line in found] == [None, 1, 2]
    assert [(line["new_values"] or {}).get("version") for line in found] == [1, 2, None]
    assert {line["service_name"] for line in found} == {SERVICE}
    assert all(line["success"] for line in found)


async def test_no_line_holds_the_blob(acting: Connection) -> None:
    item = await insert(acting, "sgx.sealed_data_items", {"sealed_data": b"cleartext!"})
    (line,) = await lines(await as_superuser(acting), item["id"])
    assert set(line["new_values"]) == set(item) - {"sealed_data"}
    assert b"cleartext!".hex() not in json.dumps(line, default=str)


async def test_the_log_says_who(acting: Connection) -> None:
    await acting.execute("SELECT set_config('app.current_user', $1, true)", str(SYSTEM_USER))
    secret = await insert(acting, "security.secrets")
    (line,) = await lines(await as_superuser(acting), secret["id"])
    assert line["actor"] == str(SYSTEM_USER)
    assert line["database_user"] == "postgres"
    assert (line["tenant_id"], line["service_name"]) == (TENANT, SERVICE)
    assert str(line["ip_address"]) == "127.0.0.1"
    assert set(line["new_values"]) == set(secret) - {"payload"}


async def test_the_application_causes_lines_about_users_without_their_secrets(
    acting: Connection,
) -> None:
    user = await acting.fetchval(
        "INSERT INTO auth.users (tenant_id, email, username, password_hash, mfa_secret)"
        " VALUES ($1, 'a@b', 'a', 'HASH', 'TOTP') RETURNING id",
        SYSTEM_TENANT,
    )
    role = await acting.fetchval(
        "INSERT INTO auth.roles (tenant_id, name) VALUES ($1, 'r') RETURNING id", SYSTEM_TENANT
    )
    await acting.execute(
        "INSERT INTO auth.user_roles (tenant_id, user_id, role_id) VALUES ($1, $2, $3)",
        SYSTEM_TENANT,
        user,
        role,
    )
    superuser = await as_superuser(acting)
    (line,) = await lines(superuser, user)
    assert line["new_values"]["email"] == "a@b"
    assert not {"HASH", "TOTP"} & set(map(str, line["new_values"].values()))
    # a row that joins two others is named by both
    assert [line["action"] for line in await lines(superuser, f"{user}/{role}")] == ["INSERT"]


async def test_a_change_that_is_rolled_back_leaves_no_line(acting: Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with acting.transaction():
            item = await insert(acting, "sgx.sealed_data_items")
            await insert(acting, "sgx.sealing_policies", {"retention_days": 0})
    assert await lines(await as_superuser(acting), item["id"]) == []


async def test_a_tick_of_a_feed_is_no_line_but_its_new_source_is(acting: Connection) -> None:
    feed = await insert(acting, "oracle.data_feeds")
    update = "UPDATE oracle.data_feeds SET {} WHERE id = $1"
    await acting.execute(update.format("last_value = 1, last_updated_at = now()"), feed["id"])
    await acting.execute(update.format("source_url = 'https://elsewhere'"), feed["id"])
    found = await lines(await as_superuser(acting), feed["id"])
    assert [line["action"] for line in found] == ["INSERT", "UPDATE"]


async def test_every_table_is_audited_but_those_with_a_reason(owner: Connection) -> None:
    rows = await owner.fetch(
        "SELECT c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_trigger t"
        " WHERE t.tgrelid = c.oid AND t.tgfoid = 'public.audit_changes'::regproc) AS audited"
        " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace::regnamespace::text = ANY ($1)",
        [name for name in SCHEMAS if name not in ("outbox", "retention", "scheduler")],
    )
    assert {row["name"] for row in rows if not row["audited"]} == SILENT
    assert {row["name"] for row in rows if row["audited"]} >= set(MODEL) - SILENT


async def test_no_audited_column_is_secret_or_bytes(owner: Connection) -> None:
    rows = await owner.fetch(
        r"""
        SELECT a.attrelid::regclass::text AS name, a.attname AS column
        FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid
        WHERE t.tgfoid = 'public.audit_changes'::regproc
            AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.atttypid = 'bytea'::regtype OR a.attname ~ $1)
            -- bytes, with a zero after each argument
            AND NOT a.attname = ANY (string_to_array(encode(t.tgargs, 'escape'), '\000'))
        """,
        TELLTALE,
    )
    assert {(row["name"], row["column"]) for row in rows} - HARMLESS == set()


async def test_the_application_reads_its_tenants_lines_and_no_others(
    application: Connection, tenants: dict[UUID, User]
) -> None:
    mine = next(iter(tenants))
    await act(application, tenant=mine)
    rows = await application.fetch("SELECT tenant_id FROM monitoring.audit_logs")
    assert {row[0] for row in rows} == {mine}
    await act(application, tenant=None)
    assert await application.fetchval("SELECT count(*) FROM monitoring.audit_logs") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO monitoring.audit_logs (action, actor) VALUES ('DELETE', 'somebody')",
        "UPDATE monitoring.audit_logs SET actor = 'somebody else'",
        "DELETE FROM monitoring.audit_logs",
        "TRUNCATE monitoring.audit_logs",
        "SELECT audit.record('DELETE', 'core', 'tenants')",
        "ALTER TABLE sgx.sealed_data_items DISABLE TRIGGER audit_sealed_data_changes",
    ],
)
async def test_the_application_cannot_write_the_log(
    statement: str, application: Connection
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute(statement)


async def test_the_application_may_note_what_no_trigger_sees(acting: Connection) -> None:
    await acting.execute(
        "SELECT audit.note('OPEN', 'sgx', 'sealed_data_items', 'k', success => false,"
        " error_message => 'the mac does not match')"
    )
    (line,) = await lines(await as_superuser(acting), "k")
    assert (line["action"], line["success"], line["service_name"]) == ("OPEN", False, SERVICE)


@pytest.mark.parametrize("action", ["INSERT", "UPDATE", "DELETE", "CLEANUP_EXPIRED_DATA"])
async def test_a_note_cannot_pass_for_the_databases_own_words(
    action: str, application: Connection
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=action):
        await application.execute("SELECT audit.note($1, 'a', 'b', 'c')", action)
