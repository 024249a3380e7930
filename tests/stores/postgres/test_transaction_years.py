"""Dropping a year of transactions: with its keys, nothing else, and completed after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.errors import UnavailableError, UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.postgres.transaction_years import drop_year
from tests.conformance.chains import CHAIN, hash32, load_network
from tests.conftest import MakeDatabase
from tests.stores.postgres.test_partitions import insert

YEAR = 2024
THIS_YEAR = datetime.now(UTC).year


@pytest_asyncio.fixture
async def store(make_migrated: MakeDatabase) -> AsyncIterator[PostgresStore]:
    """A store on a database of its own."""
    store = PostgresStore(await make_migrated("years"))
    await store.connect()
    await load_network(store)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def owner(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection as the owner of the schema."""
    connection = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    yield connection
    await connection.close()


async def fill(connection: Any, *years: int, each: int = 3) -> dict[int, list[str]]:
    """So many transactions in each of these years; their hashes."""
    network: UUID = await connection.fetchval(
        "SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN
    )
    made: dict[int, list[str]] = {}
    for year in years:
        made[year] = [hash32() for _ in range(each)]
        for text in made[year]:
            await insert(connection, network, text, datetime(year, 6, 1, tzinfo=UTC))
    return made


async def stored(connection: Any) -> tuple[set[str], set[str]]:
    """The hashes of all transactions, and of all keys."""
    found = []
    for table in ("transactions", "transaction_keys"):
        rows = await connection.fetch(f"SELECT transaction_hash FROM blockchain.{table}")
        found.append({row[0] for row in rows})
    return found[0], found[1]


async def test_a_year_goes_with_its_keys_and_the_others_stay(
    store: PostgresStore, owner: Any
) -> None:
    made = await fill(owner, YEAR, YEAR + 1, THIS_YEAR)
    done = await store.upkeep.drop_transactions(YEAR)
    assert (done.state, done.transactions, done.keys) == ("dropped", 3, 3)
    assert done.bytes > 0
    kept = {*made[YEAR + 1], *made[THIS_YEAR]}
    assert await stored(owner) == (kept, kept)
    assert await owner.fetchval("SELECT to_regclass('blockchain.transactions_2024')") is None
    assert (await store.upkeep.drop_transactions(YEAR)).state == "absent"


async def test_a_dry_run_counts_and_changes_nothing(store: PostgresStore, owner: Any) -> None:
    made = await fill(owner, YEAR)
    dry = await store.upkeep.drop_transactions(YEAR, dry_run=True)
    assert (dry.state, dry.transactions, dry.keys) == ("attached", 3, 0)
    assert await stored(owner) == ({*made[YEAR]}, {*made[YEAR]})


@pytest.mark.parametrize("year", [THIS_YEAR, THIS_YEAR + 1, 1969, 10_000])
async def test_a_year_that_is_not_past_is_refused(store: PostgresStore, year: int) -> None:
    with pytest.raises(UsageError, match="year"):
        await store.upkeep.drop_transactions(year)


async def test_a_hash_of_a_dropped_year_may_come_again(store: PostgresStore, owner: Any) -> None:
    made = await fill(owner, YEAR, each=1)
    await store.upkeep.drop_transactions(YEAR)
    network = await owner.fetchval("SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN)
    await insert(owner, network, made[YEAR][0], datetime(THIS_YEAR, 1, 2, tzinfo=UTC))
    assert await stored(owner) == ({*made[YEAR]}, {*made[YEAR]})


async def relay_database(store: PostgresStore) -> Database:
    """The database as the role of background work."""
    database = Database(store.config.as_relay(), store="postgres")
    await database.connect()
    return database


@pytest.mark.parametrize("portions", [0, 1, 2])
async def test_what_a_crash_left_is_completed_by_the_next_run(
    store: PostgresStore, owner: Any, portions: int
) -> None:
    made = await fill(owner, YEAR, YEAR + 1, each=200)
    async with asyncio.timeout(30):
        database = await relay_database(store)
        async with database.acquire("test") as connection:
            await connection.execute("SELECT blockchain.detach_transaction_year($1)", YEAR)
            for block in range(portions):
                row = await connection.fetchrow(
                    "SELECT * FROM blockchain.purge_transaction_year($1, $2, 1)", YEAR, block
                )
                assert row is not None
                assert (row["keys"] > 0, row["next_block"]) == (True, block + 1)
        await database.close()
    transactions, keys = await stored(owner)
    assert transactions == {*made[YEAR + 1]}
    left = len(keys) - 200
    assert (left == 200) if portions == 0 else (0 < left < 200)
    dry = await store.upkeep.drop_transactions(YEAR, dry_run=True)
    assert (dry.state, dry.transactions) == ("detached", 200)
    done = await store.upkeep.drop_transactions(YEAR)
    assert (done.state, done.keys) == ("dropped", left)
    assert await stored(owner) == ({*made[YEAR + 1]}, {*made[YEAR + 1]})


async def test_keys_go_in_portions_of_so_many_blocks(store: PostgresStore, owner: Any) -> None:
    await fill(owner, YEAR, each=200)
    database = await relay_database(store)
    done = await drop_year(database, YEAR, blocks=1)
    await database.close()
    assert (done.state, done.keys) == ("dropped", 200)
    assert await stored(owner) == (set(), set())


async def test_a_key_that_came_anew_meanwhile_stays(store: PostgresStore, owner: Any) -> None:
    made = await fill(owner, YEAR, each=1)
    await owner.execute(
        "ALTER TABLE blockchain.transactions DETACH PARTITION blockchain.transactions_2024"
    )
    await owner.execute("DELETE FROM blockchain.transaction_keys")
    network = await owner.fetchval("SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN)
    await insert(owner, network, made[YEAR][0], datetime(THIS_YEAR, 1, 2, tzinfo=UTC))
    assert (await store.upkeep.drop_transactions(YEAR)).keys == 0
    assert await stored(owner) == ({*made[YEAR]}, {*made[YEAR]})


async def test_wherever_a_caller_begins_no_key_is_left(store: PostgresStore, owner: Any) -> None:
    await fill(owner, YEAR, each=5)
    database = await relay_database(store)
    async with database.acquire("test") as connection:
        await connection.execute("SELECT blockchain.detach_transaction_year($1)", YEAR)
        await connection.execute("SELECT blockchain.purge_transaction_year($1, 1000000, 1)", YEAR)
    await database.close()
    assert await stored(owner) == (set(), set())


async def test_an_attached_year_is_not_purged(store: PostgresStore, owner: Any) -> None:
    await fill(owner, YEAR)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="detach it first"):
        await owner.execute("SELECT blockchain.purge_transaction_year($1, 0, 1)", YEAR)


async def test_two_runs_at_once_drop_it_once(store: PostgresStore, owner: Any) -> None:
    await fill(owner, YEAR, each=50)
    done = await asyncio.gather(*(store.upkeep.drop_transactions(YEAR) for _ in range(3)))
    assert sum(each.keys for each in done) == 50
    assert await stored(owner) == (set(), set())


async def test_who_finds_the_table_held_gives_up_before_others_queue_behind_him(
    store: PostgresStore, owner: Any
) -> None:
    await fill(owner, YEAR)
    async with owner.transaction():
        await owner.execute("LOCK TABLE blockchain.transactions IN ACCESS SHARE MODE")
        with pytest.raises(UnavailableError, match="too long"):
            await store.upkeep.drop_transactions(YEAR)
    assert (await store.upkeep.drop_transactions(YEAR)).state == "dropped"


async def test_the_application_drops_no_year(store: PostgresStore) -> None:
    connection = await asyncpg.connect(**store.config.connect_arguments())
    try:
        for call in (
            "transaction_year(2024)",
            "detach_transaction_year(2024)",
            "purge_transaction_year(2024, 0, 1)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT blockchain.{call}")
    finally:
        await connection.close()
