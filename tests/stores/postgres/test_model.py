"""The wider model: every table's columns, and that each constraint refuses what it is there for."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import User
from tests.stores.postgres.catalog import SCHEMAS, columns_found, columns_of
from tests.stores.postgres.model import APART, CHECKS, TABLES, UNIQUE
from tests.stores.postgres.rows import MODEL, ROWS, USER, Of, act, insert

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
    size = await acting.fetchval(
        "UPDATE sgx.sealed_data_items SET sealed_data = 'fresh' WHERE id = $1 RETURNING size_bytes",
        row["id"],
    )
    assert size == len("fresh")


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
