"""`store postgres`: what the server says about itself, readable at 80 columns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from neo_polystore.addresses import EmbeddedAddresses
from neo_polystore.embedded import Membership
from neo_polystore.errors import NotFoundError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres import diagnostics
from neo_polystore.stores.postgres.vacuum import vacuum
from tests.cli.conftest import Cli
from tests.conftest import MakeDatabase

COMMANDS = ("slow", "bloat", "locks", "connections", "indexes", "sizes")


@pytest.fixture
async def config(make_database: MakeDatabase) -> PgConfig:
    """An empty database."""
    return await make_database("diagnostics")


@pytest.fixture
async def owner(config: PgConfig) -> AsyncIterator[Any]:
    """Its owner's connection."""
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    yield connection
    await connection.close()


async def extended(embedded: Membership, config: PgConfig) -> bool:
    """Whether pg_stat_statements is in use in this database."""
    server = await embedded.ensure("postgres")
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=config.database,
    )
    try:
        libraries = await connection.fetchval("SHOW shared_preload_libraries")
        return "pg_stat_statements" in libraries
    finally:
        await connection.close()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("store", ["postgres", "event_store", "timescale", "jsonb"])
def test_every_question_is_answered_for_every_database(here: Cli, command: str, store: str) -> None:
    answer = here("store", "postgres", command, "--of", store, "--json")
    assert answer.code == 0, answer.err
    assert set(answer.json) == {"rows", "note"}


@pytest.mark.parametrize("command", [*COMMANDS, "vacuum --dry-run", "bloat --all", "indexes --all"])
def test_tables_fit_into_80_columns(here: Cli, command: str) -> None:
    answer = here("store", "postgres", *command.split(), COLUMNS="80")
    assert answer.code == 0, answer.err
    assert max(map(len, answer.out.splitlines()), default=0) <= 80


async def test_a_slow_statement_is_reported_from_100_ms_on_and_marked_from_1000(
    embedded: Membership, config: PgConfig, owner: Any
) -> None:
    if not await extended(embedded, config):
        pytest.skip("the embedded server has no pg_stat_statements")
    await owner.execute("SELECT pg_sleep(0.15) AS somewhat_slow")
    await owner.execute("SELECT 2, pg_sleep(1.05) AS very_slow")
    await owner.execute("SELECT 1 AS quick")
    found = (await diagnostics.slow(owner, limit=100)).rows
    states = {row["query"].split()[-1]: row["state"] for row in found}
    assert (states["somewhat_slow"], states["very_slow"]) == ("slow", "degraded")
    assert "quick" not in states
    assert (await diagnostics.slow(owner, at_least_ms=1000)).rows[0]["mean_ms"] >= 1000


async def test_without_pg_stat_statements_it_shows_what_runs_and_says_so(
    embedded: Membership, config: PgConfig, owner: Any
) -> None:
    server = await embedded.ensure("postgres")
    admin = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=config.database,
    )
    await admin.execute("DROP EXTENSION IF EXISTS pg_stat_statements")
    await admin.close()
    other = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    running = asyncio.create_task(other.execute("SELECT pg_sleep(5) AS running_now"))
    try:
        while True:
            answer = await diagnostics.slow(owner)
            if answer.rows:
                break
            await asyncio.sleep(0.02)
        assert "running_now" in answer.rows[0]["query"]
        assert "CREATE EXTENSION pg_stat_statements" in answer.note
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await other.close()


async def test_who_waits_is_shown_with_who_is_in_the_way(config: PgConfig, owner: Any) -> None:
    await owner.execute("CREATE TABLE held (x int)")
    holder = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    waiter = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE held")
    waiting = asyncio.create_task(waiter.fetch("SELECT * FROM held"))
    try:
        while not (found := (await diagnostics.locks(owner)).rows):
            await asyncio.sleep(0.02)
        [row] = found
        pids = (waiter.get_server_pid(), holder.get_server_pid())
        assert (row["blocked"], row["blocker"]) == pids
        assert (row["query"], row["blocker_query"]) == ("SELECT * FROM held", "LOCK TABLE held")
        assert row["blocker_state"] == "idle in transaction"
    finally:
        await transaction.rollback()
        await waiting
        await holder.close()
        await waiter.close()
    assert (await diagnostics.locks(owner)).rows == []


async def test_dead_rows_are_counted_and_vacuum_removes_them(config: PgConfig, owner: Any) -> None:
    # names that have to be quoted: what pg_stat_user_tables answers is used as it is
    await owner.execute('CREATE SCHEMA "Odd Schema"')
    await owner.execute(
        'CREATE TABLE "Odd Schema"."Table" (x int) WITH (autovacuum_enabled = false)'
    )
    await owner.execute('INSERT INTO "Odd Schema"."Table" SELECT generate_series(1, 1000)')
    await owner.execute('DELETE FROM "Odd Schema"."Table" WHERE x <= 400')
    await owner.execute("SELECT pg_stat_force_next_flush()")
    name = '"Odd Schema"."Table"'
    while not (found := (await diagnostics.bloat(owner)).rows):
        await asyncio.sleep(0.02)
    assert (found[0]["table"], found[0]["dead"], found[0]["dead_percent"]) == (name, 400, 40.0)
    assert found[0]["due"]
    dry = await vacuum(config, dry_run=True)
    assert [(row["table"], row["ms"]) for row in dry.rows] == [(name, None)]
    assert (await diagnostics.bloat(owner)).rows
    done = await vacuum(config, [name])
    assert done.rows[0]["ms"] > 0
    while (await diagnostics.bloat(owner)).rows:
        await asyncio.sleep(0.02)
    assert await vacuum(config) == diagnostics.Answer([], "no table needs it")


@pytest.mark.parametrize(
    "table", ["nowhere.nothing", "pg_catalog.", "x; DROP TABLE y", "public.held'", ""]
)
async def test_vacuum_refuses_what_is_no_table(config: PgConfig, table: str) -> None:
    with pytest.raises(NotFoundError):
        await vacuum(config, [table])


async def test_unused_indexes_are_those_that_nothing_needs(owner: Any) -> None:
    await owner.execute("CREATE TABLE indexed (id int PRIMARY KEY, a int, b int UNIQUE)")
    await owner.execute("CREATE INDEX unused_a ON indexed (a)")
    found = [row["index"] for row in (await diagnostics.indexes(owner)).rows]
    assert found == ["public.unused_a"]
    every = {
        row["index"]: row["needed"] for row in (await diagnostics.indexes(owner, every=True)).rows
    }
    assert every == {
        "public.indexed_pkey": True,
        "public.indexed_b_key": True,
        "public.unused_a": False,
    }


async def test_partitions_are_added_up_under_their_table(owner: Any) -> None:
    await owner.execute("CREATE TABLE parted (x int, pad text) PARTITION BY RANGE (x)")
    for start in (0, 100):
        await owner.execute(
            f"CREATE TABLE parted_{start} PARTITION OF parted"
            f" FOR VALUES FROM ({start}) TO ({start + 100})"
        )
    await owner.execute(
        "INSERT INTO parted SELECT n, repeat('x', 500) FROM generate_series(0, 199) n"
    )
    await owner.execute("ANALYZE parted")
    answer = await diagnostics.sizes(owner)
    [row] = [row for row in answer.rows if "parted" in row["table"]]
    assert (row["table"], row["rows"], row["partitions"]) == ("public.parted", 200, 2)
    assert row["bytes"] > 100_000
    assert answer.note.startswith("databases: ")


async def test_connections_are_counted_by_who_they_are(
    settings: Settings, embedded: Membership, owner: Any, config: PgConfig
) -> None:
    other = await asyncpg.connect(
        **{
            **config.connect_arguments(as_owner=True),
            "server_settings": {"application_name": f"app-{uuid4().hex[:6]}"},
        }
    )
    try:
        answer = await diagnostics.connections(owner)
        name = await other.fetchval("SHOW application_name")
        [row] = [row for row in answer.rows if row["application"] == name]
        assert (row["database"], row["role"], row["connections"]) == (
            config.database,
            "neo_owner",
            1,
        )
        assert "connections are in use" in answer.note
    finally:
        await other.close()


def test_an_unknown_database_is_wrong_usage(here: Cli) -> None:
    answer = here("store", "postgres", "slow", "--of", "oracle")
    assert (answer.code, "event_store" in answer.err) == (2, True)


async def test_the_owner_sees_the_statements_of_the_application(
    settings: Settings, embedded: Membership
) -> None:
    addresses = EmbeddedAddresses(settings, embedded)
    config = await addresses.config("postgres")
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    try:
        assert await connection.fetchval("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")
    finally:
        await connection.close()


def test_a_long_statement_leaves_the_other_columns_their_room() -> None:
    from rich.console import Console

    from neo_polystore.cli.answers import table_of

    row = {"state": "degraded", "calls": 1_234_567, "mean_ms": 1234.5, "query": "SELECT [x] " * 200}
    screen = Console(width=80, record=True, file=StringIO())
    screen.print(table_of(diagnostics.Answer([row]), tuple(row)))
    text = screen.export_text()
    assert all(part in text for part in ("degraded", "1,234,567", "1,234.5", "SELECT [x]"))
    assert max(map(len, text.splitlines())) <= 80
