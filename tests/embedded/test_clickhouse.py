"""The ClickHouse engine over HTTP, through clickhouse-connect's ordinary clients."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from neo_polystore.embedded import Membership, ServerAddress, status
from tests.embedded import clients
from tests.embedded.conftest import Join, eventually
from tests.embedded.processes import kill

COLUMNS = ["id", "kind", "tags", "at", "amount", "parts", "note"]
TABLE = """CREATE TABLE {name} (
    id UInt64, kind LowCardinality(String), tags Map(String, String), at DateTime64(3, 'UTC'),
    amount Decimal(38, 4), parts Array(Int32), note Nullable(String)
) ENGINE = MergeTree ORDER BY id"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def address(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ServerAddress]:
    one = await Membership.join(tmp_path_factory.mktemp("clickhouse") / "data")
    yield await one.ensure("clickhouse")
    await one.leave()


@pytest.fixture(params=[True, False, "lz4", "zstd", "gzip"])
def client(address: ServerAddress, request: pytest.FixtureRequest) -> Iterator[Client]:
    with clients.clickhouse(address, compress=request.param) as made:
        yield made


@pytest.fixture
def plain(address: ServerAddress) -> Iterator[Client]:
    with clients.clickhouse(address) as made:
        yield made


@pytest.fixture
def table(address: ServerAddress) -> Iterator[str]:
    name = f"t_{uuid4().hex[:8]}"
    with clients.clickhouse(address) as one:
        one.command(TABLE.format(name=name))
        yield name
        one.command(f"DROP TABLE {name}")


def row(number: int) -> list[Any]:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)
    tags = {"n": str(number), "e": "é"}
    return [number, f"k{number % 3}", tags, at, Decimal("1.5"), [number, -1], None]


def test_round_trip(client: Client, table: str) -> None:
    rows = [row(number) for number in range(3000)]
    summary = client.insert(table, rows, column_names=COLUMNS)
    assert summary.written_rows == 3000
    answer = client.query(f"SELECT * FROM {table} WHERE id = {{id:UInt64}}", parameters={"id": 7})
    assert answer.column_names == tuple(COLUMNS)
    found = list(answer.result_rows[0])
    found[3] = found[3].replace(tzinfo=dt.UTC)
    assert found == row(7)


def test_large_insert_spills_to_disk(plain: Client, table: str) -> None:
    note = "x" * 10_000
    rows = [[number, note] for number in range(3000)]
    plain.insert(table, rows, column_names=["id", "note"])
    assert plain.command(f"SELECT sum(length(note)) FROM {table}") == 30_000_000


def test_streams(client: Client, table: str) -> None:
    client.insert(table, [[number] for number in range(50_000)], column_names=["id"])
    with client.query_rows_stream(f"SELECT id FROM {table} ORDER BY id") as stream:
        assert [one[0] for one in stream] == list(range(50_000))


def test_commands(client: Client, table: str) -> None:
    assert client.ping()
    assert client.command(f"SELECT count() FROM {table}") == 0
    assert client.command(f"SELECT id FROM {table}") == ""
    assert client.command(f"INSERT INTO {table} (id, note) VALUES (1, 'a;b FORMAT c')") != ""
    assert client.command(f"SELECT note FROM {table}") == "a;b FORMAT c"
    assert client.query(f"SELECT id, kind FROM {table} LIMIT 0").column_names == ("id", "kind")


def test_raw_formats(client: Client, table: str) -> None:
    client.raw_insert(table, ["id", "note"], "1,one\n2,two\n", fmt="CSV")
    client.raw_insert(
        table, ["id", "note"], (one for one in (b'{"id":3,"note":"x"}\n',)), fmt="JSONEachRow"
    )
    answer = client.raw_query(f"SELECT id, note FROM {table} ORDER BY id", fmt="CSV")
    assert answer == b'1,"one"\n2,"two"\n3,"x"\n'
    assert b'"rows": 3' in client.raw_query(f"SELECT id FROM {table}", fmt="JSON")


@pytest.mark.parametrize("text", ["", "it's", 'back\\slash "quoted"\n\ttab', "é€😀", "y" * 50_000])
def test_parameters(plain: Client, text: str) -> None:
    """The last one travels in a form, because it is too long for the query string."""
    answer = plain.query("SELECT {t:String}", parameters={"t": text})
    assert answer.result_rows == [(text,)]


def test_settings_last_one_statement(plain: Client) -> None:
    probe = "SELECT getSetting('max_block_size')"
    default = plain.command(probe)
    assert plain.query(probe, settings={"max_block_size": 1234}).result_rows == [(1234,)]
    assert plain.command(probe) == default


def test_session_keeps_what_was_set(address: ServerAddress) -> None:
    with clients.clickhouse(address) as one, clients.clickhouse(address) as other:
        one.command("CREATE TEMPORARY TABLE mine (x Int8)")
        one.command("SET max_threads = 1")
        assert one.command("SELECT getSetting('max_threads')") == 1
        assert one.command("SELECT count() FROM mine") == 0
        assert other.command("SELECT getSetting('max_threads')") != 1
        with pytest.raises(DatabaseError):
            other.command("SELECT count() FROM mine")


def test_database_of_the_client(address: ServerAddress, plain: Client) -> None:
    plain.command("CREATE DATABASE IF NOT EXISTS `the other`")
    with clients.clickhouse(address) as one:
        one.database = "the other"
        assert one.command("SELECT currentDatabase()") == "the other"
    assert plain.command("SELECT currentDatabase()") == "default"


@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELECT nope", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT FROM FROM", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("INSERT INTO nowhere FORMAT CSV\n1", 60, "UNKNOWN_TABLE"),
        ("SELECT throwIf(number = 3) FROM numbers(5)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_engine_errors(plain: Client, statement: str, code: int, name: str) -> None:
    with pytest.raises(DatabaseError, match="DB::Exception") as caught:
        plain.command(statement)
    assert (caught.value.code, caught.value.name) == (code, name)


def test_failed_statement_leaves_nothing_for_the_next(plain: Client) -> None:
    """chDB gives the output of a failed statement to the next one on the same connection."""
    failing = "SELECT number, throwIf(number = 200000) FROM numbers(300000)"
    for _ in range(20):
        with pytest.raises(DatabaseError):
            plain.query(failing)
        assert plain.query("SELECT 'abc' AS q").result_rows == [("abc",)]


def test_error_in_the_middle_of_a_stream(plain: Client) -> None:
    statement = "SELECT number, throwIf(number = 5000000) FROM numbers(6000000)"
    with (
        pytest.raises((StreamFailureError, DatabaseError), match="non-zero"),
        plain.query_rows_stream(statement, settings={"max_threads": 1}) as stream,
    ):
        for _ in stream:
            pass


def test_broken_rows_are_refused_whole(plain: Client, table: str) -> None:
    with pytest.raises(DatabaseError, match=r"parsed text|CSVRowInputFormat"):
        plain.raw_insert(table, ["id"], "1\nfoo\n", fmt="CSV")
    assert plain.command(f"SELECT count() FROM {table}") == 0


def test_password_is_needed(address: ServerAddress) -> None:
    wrong = ServerAddress(address.host, address.port, address.user, "wrong")
    with pytest.raises(DatabaseError, match="Authentication failed") as caught:
        clients.clickhouse(wrong)
    assert caught.value.code == 516


async def test_async_client(address: ServerAddress, table: str) -> None:
    pytest.importorskip("aiohttp", reason="clickhouse-connect's async client needs aiohttp")
    from clickhouse_connect import get_async_client

    client = await get_async_client(
        host=address.host, port=address.port, username=address.user, password=address.password,
        autogenerate_session_id=False,
    )  # fmt: skip
    async with client:
        await client.insert(table, [row(number) for number in range(100)], column_names=COLUMNS)
        statement = f"SELECT count() FROM {table} WHERE id >= {{least:UInt64}}"
        answers = await asyncio.gather(
            *(client.query(statement, parameters={"least": least}) for least in range(100))
        )
        assert [one.result_rows[0][0] for one in answers] == list(range(100, 0, -1))
        with pytest.raises(DatabaseError, match="UNKNOWN_IDENTIFIER"):
            await client.query("SELECT nope")


def test_statements_run_side_by_side(address: ServerAddress) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from time import monotonic

    def nap(_: int) -> None:
        with clients.clickhouse(address) as one:
            one.command("SELECT sleep(1)")

    start = monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(nap, range(4)))
    assert monotonic() - start < 3.5


async def test_two_processes_at_once(address: ServerAddress, table: str) -> None:
    code = (
        "import sys; from clickhouse_connect import get_client; "
        "c = get_client(host=sys.argv[1], port=int(sys.argv[2]), username='default', "
        "password=sys.argv[3]); "
        f"[c.insert('{table}', [[i]], column_names=['id']) for i in range(50)]"
    )
    words = [sys.executable, "-c", code, address.host, str(address.port), address.password]
    processes = [subprocess.Popen(words) for _ in range(2)]
    assert [await asyncio.to_thread(one.wait, 60) for one in processes] == [0, 0]
    with clients.clickhouse(address) as one:
        assert one.command(f"SELECT count() FROM {table}") == 100


async def test_killed_engine_is_restarted_with_its_data(data_dir: Path, join: Join) -> None:
    member = await join()
    address = await member.ensure("clickhouse")

    def write() -> None:
        with clients.clickhouse(address) as one:
            one.command(TABLE.format(name="kept"))
            one.insert("kept", [row(number) for number in range(10)], column_names=COLUMNS)

    def count() -> object:
        with clients.clickhouse(address) as one:
            return one.command("SELECT count() FROM kept")

    def pid() -> int:
        return (status(data_dir).servers or {})["clickhouse"].pid or 0

    await asyncio.to_thread(write)
    victim = pid()
    kill(victim)
    await eventually(lambda: pid() not in (0, victim))
    assert await member.ensure("clickhouse") == address
    assert await asyncio.to_thread(count) == 10
