"""Transactions by year, tenants' data by hash, and one row per transaction hash."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from neo_polystore.ids import uuid7
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.transactions import Transaction
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, address, hash32, load_network
from tests.stores.postgres.conftest import act_for

THIS_YEAR = datetime.now(UTC).year


@pytest.fixture
async def network(postgres: PostgresStore, application: Connection) -> UUID:
    """The id of a network."""
    await load_network(postgres)
    found: UUID = await application.fetchval(
        "SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN
    )
    return found


async def insert(
    connection: Connection,
    network: UUID,
    text: str,
    when: datetime,
    *,
    key: UUID | None = None,
    row: UUID | None = None,
) -> None:
    """A key row (unless `row` comes without `key`) and a transaction row, past the store."""
    identity = row or key or uuid7()
    if key is not None or row is None:
        await connection.execute(
            "INSERT INTO blockchain.transaction_keys VALUES ($1, $2, $3, $4)",
            network,
            text,
            key or identity,
            when,
        )
    await connection.execute(
        "INSERT INTO blockchain.transactions (id, network_id, transaction_hash, from_address,"
        " created_at) VALUES ($1, $2, $3, '0x', $4)",
        identity,
        network,
        text,
        when,
    )


async def partition_of(connection: Connection, text: str) -> str:
    """The partition that holds a transaction."""
    return str(
        await connection.fetchval(
            "SELECT tableoid::regclass::text FROM blockchain.transactions"
            " WHERE transaction_hash = $1",
            text,
        )
    )


async def test_a_transaction_of_today_lies_in_this_years_partition(
    postgres: PostgresStore, application: Connection
) -> None:
    await load_network(postgres)
    record = Transaction(chain_id=CHAIN, hash=hash32(), from_address=address())
    await postgres.port("transactions").write([record])
    assert await partition_of(application, record.hash) == f"blockchain.transactions_{THIS_YEAR}"


@pytest.mark.parametrize("year", sorted({2024, 2025, *range(THIS_YEAR, THIS_YEAR + 3)}))
async def test_a_year_has_its_partition_in_utc(
    year: int, application: Connection, network: UUID
) -> None:
    for moment in (
        datetime(year, 1, 1, tzinfo=UTC),
        datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ):
        text = hash32()
        await insert(application, network, text, moment)
        assert await partition_of(application, text) == f"blockchain.transactions_{year}"


async def test_any_other_year_falls_into_the_default_partition(
    application: Connection, network: UUID
) -> None:
    text = hash32()
    await insert(application, network, text, datetime(2015, 1, 1, tzinfo=UTC))
    assert await partition_of(application, text) == "blockchain.transactions_default"


async def test_a_new_year_takes_its_rows_over_from_the_default_partition(
    application: Connection, network: UUID
) -> None:
    text = hash32()
    await insert(application, network, text, datetime(THIS_YEAR + 4, 6, 1, tzinfo=UTC))
    made = await application.fetch("SELECT blockchain.ensure_transaction_partitions(4)")
    assert [row[0] for row in made] == [f"transactions_{THIS_YEAR + n}" for n in (3, 4)]
    assert await partition_of(application, text) == f"blockchain.transactions_{THIS_YEAR + 4}"
    assert await application.fetch("SELECT blockchain.ensure_transaction_partitions(4)") == []


async def test_a_new_partition_is_like_its_siblings(owner: Connection) -> None:
    await owner.fetch("SELECT blockchain.ensure_transaction_partitions(3)")
    facts = [
        await owner.fetch(
            """
            SELECT replace(pg_get_indexdef(indexrelid), $1, 'part') FROM pg_index
            WHERE indrelid = ('blockchain.' || $1)::regclass
            UNION SELECT pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid = ('blockchain.' || $1)::regclass AND contype <> 'n'
            UNION SELECT tgname FROM pg_trigger
            WHERE tgrelid = ('blockchain.' || $1)::regclass AND NOT tgisinternal
            UNION SELECT coalesce(relacl::text, '') FROM pg_class
            WHERE oid = ('blockchain.' || $1)::regclass ORDER BY 1
            """,
            name,
        )
        for name in ("transactions_2024", f"transactions_{THIS_YEAR + 3}")
    ]
    mended = [{row[0].replace("{neo_owner=arwdDxtm/neo_owner}", "") for row in f} for f in facts]
    assert mended[0] == mended[1]


@pytest.mark.parametrize("years", [-1, 21, None])
async def test_a_senseless_number_of_years_is_refused(
    years: int | None, application: Connection
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await application.execute("SELECT blockchain.ensure_transaction_partitions($1)", years)


async def test_a_row_in_the_default_partition_degrades_health(postgres: PostgresStore) -> None:
    assert (await postgres.health()).status == "healthy"
    await load_network(postgres)
    connection = await asyncpg.connect(**postgres.config.connect_arguments(as_owner=True))
    text = hash32()
    network = await connection.fetchval(
        "SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN
    )
    await insert(connection, network, text, datetime(2015, 1, 1, tzinfo=UTC))
    try:
        health = await postgres.health()
        assert (health.status, health.facts.get("default_partition")) == ("degraded", True)
    finally:
        for table in ("transactions", "transaction_keys"):
            await connection.execute(
                f"DELETE FROM blockchain.{table} WHERE transaction_hash = $1", text
            )
        await connection.close()
    assert (await postgres.health()).status == "healthy"


@pytest.mark.parametrize("year", [2024, 2025, THIS_YEAR])
async def test_a_hash_is_refused_a_second_time_in_any_year(
    year: int, application: Connection, network: UUID
) -> None:
    text = hash32()
    await insert(application, network, text, datetime(2024, 6, 1, tzinfo=UTC))
    with pytest.raises(asyncpg.UniqueViolationError, match="transactions_hash_unique"):
        async with application.transaction():
            await insert(application, network, text, datetime(year, 6, 2, tzinfo=UTC))


async def test_a_transaction_without_its_own_key_row_is_refused(
    application: Connection, network: UUID
) -> None:
    text, key, when = hash32(), uuid7(), datetime(2024, 6, 1, tzinfo=UTC)
    await insert(application, network, text, when, key=key)
    strangers = (
        (hash32(), when, uuid7()),  # no key row at all
        (text, when, uuid7()),  # somebody else's
        (text, datetime(2025, 6, 1, tzinfo=UTC), key),  # its own, in another partition
        (hash32(), when.replace(day=2), key),  # its own, for another hash
    )
    for other, moment, identity in strangers:
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="transaction_keys"):
            async with application.transaction():
                await insert(application, network, other, moment, row=identity)


async def test_one_transaction_without_a_key_row_refuses_the_whole_statement(
    application: Connection, network: UUID
) -> None:
    when = datetime(2024, 6, 1, tzinfo=UTC)
    keyed, bare = hash32(), hash32()
    key = uuid7()
    with pytest.raises(asyncpg.ForeignKeyViolationError, match=bare):
        async with application.transaction():
            await application.execute(
                "WITH key AS (INSERT INTO blockchain.transaction_keys VALUES ($1, $2, $3, $5))"
                " INSERT INTO blockchain.transactions"
                " (id, network_id, transaction_hash, from_address, created_at)"
                " VALUES ($3, $1, $2, '0x', $5), (gen_random_uuid(), $1, $4, '0x', $5)",
                *(network, keyed, key, bare, when),
            )
    assert not await application.fetchval(
        "SELECT count(*) FROM blockchain.transactions WHERE transaction_hash = ANY($1)",
        [keyed, bare],
    )


@pytest.mark.parametrize(
    "change",
    [
        "id = gen_random_uuid()",
        "transaction_hash = 'another'",
        "network_id = gen_random_uuid()",
        "created_at = created_at + interval '1 day'",
        "created_at = created_at + interval '1 year'",
    ],
)
async def test_what_identifies_a_transaction_cannot_be_changed(
    change: str, application: Connection, network: UUID
) -> None:
    text = hash32()
    await insert(application, network, text, datetime(2024, 6, 1, tzinfo=UTC))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changes"):
        async with application.transaction():
            await application.execute(
                f"UPDATE blockchain.transactions SET {change} WHERE transaction_hash = $1", text
            )
    await application.execute(
        "UPDATE blockchain.transactions SET status = 'confirmed', id = id"
        " WHERE transaction_hash = $1",
        text,
    )


async def test_a_hash_may_occur_on_two_networks(application: Connection, network: UUID) -> None:
    other = await application.fetchval(
        "INSERT INTO blockchain.networks (name, chain_id, network_type, rpc_endpoint)"
        " VALUES ('other', 987654, 'evm', 'r') RETURNING id"
    )
    text, when = hash32(), datetime(2024, 6, 1, tzinfo=UTC)
    await insert(application, network, text, when)
    await insert(application, other, text, when)


async def test_a_lookup_by_hash_opens_one_partition(
    postgres: PostgresStore, application: Connection
) -> None:
    await load_network(postgres)
    port = postgres.port("transactions")
    record = Transaction(chain_id=CHAIN, hash=hash32(), from_address=address())
    await port.write([record])
    lines = await application.fetch(
        f"EXPLAIN (ANALYZE, COSTS OFF) SELECT t.value {port.lookup}", CHAIN, record.hash
    )
    reads = [row[0] for row in lines if " on transactions_" in row[0]]
    assert len(reads) > 1
    assert [f"transactions_{THIS_YEAR}" in r for r in reads if "never executed" not in r] == [True]


async def test_tenants_spread_over_four_partitions(application: Connection) -> None:
    for _ in range(100):
        tenant = uuid7()
        await act_for(application, tenant)
        await application.execute(
            "INSERT INTO core.tenant_data (tenant_id, data_id, data) VALUES ($1, $2, '{}')",
            tenant,
            uuid7(),
        )
    rows = await application.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'core.tenant_data'::regclass ORDER BY 1"
    )
    assert [row[0] for row in rows] == [f"core.tenant_data_p{part}" for part in range(4)]
