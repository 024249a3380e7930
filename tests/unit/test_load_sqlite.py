"""Tables of SQLite, as the file and as the dump that the shell's `.dump` writes of it."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo_polystore.errors import UsageError
from neo_polystore.loaders.base import BadRecord, Loaded
from tests.unit.loading import items, reason, records, split

USERS = """
CREATE TABLE "AspNet Users" (
  "Id" TEXT NOT NULL PRIMARY KEY, "UserName" TEXT, "Email" TEXT, "EmailVerified" INTEGER,
  "PhoneNumber" TEXT NULL
);
INSERT INTO "AspNet Users" VALUES
  ('0190A3B0-0000-7000-8000-000000000001', 'ann', 'Ann@Example.com', 1, NULL);
INSERT INTO "AspNet Users" VALUES
  ('0190A3B0-0000-7000-8000-000000000002', 'bob; -- ''the'' builder
of two lines', 'bob@example.com', 0, '555');
CREATE TABLE Others (x); INSERT INTO Others VALUES (1);
CREATE TRIGGER nosy AFTER INSERT ON Others BEGIN INSERT INTO Others VALUES (2); END;
"""
LEFT_OUT = {"PhoneNumber": ""}


@dataclass(frozen=True)
class Made:
    """Makes a database of statements anew, and gives it in one form."""

    folder: Path
    form: str

    def __call__(self, statements: str) -> Path:
        path = self.folder / "legacy.db"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.executescript(statements)
            if self.form == "dump":
                path = self.folder / "legacy.sql"
                path.write_bytes("\n".join(database.iterdump()).encode())
        return path


@pytest.fixture(params=["file", "dump"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return Made(tmp_path, request.param)


def test_rows_are_records(made: Made) -> None:
    ann, bob = records("accounts", made(USERS), table="AspNet Users", columns=LEFT_OUT)
    assert str(ann.id) == "0190a3b0-0000-7000-8000-000000000001"
    assert (ann.username, ann.email, ann.email_verified) == ("ann", "ann@example.com", True)
    assert bob.username == "bob; -- 'the' builder\nof two lines"
    assert not bob.email_verified


def test_a_dump_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "d.sql.gz").write_bytes(
        gzip.compress(f"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;{USERS}COMMIT;\n".encode())
    )
    found = records("accounts", tmp_path / "d.sql.gz", table="AspNet Users", columns=LEFT_OUT)
    assert [user.username[:3] for user in found] == ["ann", "bob"]


def test_numbers_times_and_bytes_keep_their_value(made: Made) -> None:
    path = made(
        "CREATE TABLE t (ChainId, hash, nonce, from_address, value, gas_price, gas_limit,"
        " block_number, block_timestamp, input_data, status);"
        f"INSERT INTO t VALUES (1, '0x{'ab' * 32}', 7, '0x{'cd' * 20}', '{2**255}', 5, 21000,"
        " 9, '2024-03-01 12:30:00.1234567', '0x00ff', 'confirmed');"
    )
    [found] = records("transactions", path, table="t")
    assert (found.chain_id, found.value, found.input_data) == (1, 2**255, "0x00ff")
    assert found.block_timestamp == datetime(2024, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)


def test_text_of_json_is_what_it_says_where_the_field_is_an_object(made: Made) -> None:
    path = made(
        "CREATE TABLE e (EventId, AggregateId, AggregateType, EventType, EventData, CreatedAt);"
        "INSERT INTO e VALUES ('0190a3b0-0000-7000-8000-000000000003',"
        " '0190a3b0-0000-7000-8000-000000000004', 'order', 'placed', '{\"n\": [1]}', 1700000000);"
        "INSERT INTO e VALUES ('0190a3b0-0000-7000-8000-000000000005',"
        " '0190a3b0-0000-7000-8000-000000000004', 'order', 'placed', '{\"n\": ', 1700000000);"
    )
    first, second = items("events", path, table="e")
    assert not isinstance(first, BadRecord)
    fields: Any = first.record
    assert fields.event_data == {"n": [1]}
    assert fields.created_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (second.number, getattr(second, "field", None)) == (2, "EventData")


def test_documents_take_any_column(made: Made) -> None:
    path = made(
        "CREATE TABLE log (UserId, action, resource, timestamp, success, ClientIP);"
        "INSERT INTO log VALUES ('ann', 'READ', 'report', '2024-03-01', 1, '10.0.0.1');"
    )
    [entry] = records("audit_logs", path, table="log", columns={"ClientIP": "ip_address"})
    assert (entry.body()["user_id"], entry.body()["ip_address"]) == ("ann", "10.0.0.1")


def test_a_bad_row_does_not_take_the_next(made: Made) -> None:
    path = made(
        "CREATE TABLE u (Id, UserName, Mail);"
        "INSERT INTO u VALUES (x'0102030405060708090a0b0c0d0e0f10', 'ann', 'a@example.com');"
        "INSERT INTO u VALUES (NULL, 'bob', 'nothing');"
        "INSERT INTO u VALUES (NULL, 'cid', 'c@example.com');"
    )
    found = items("accounts", path, table="u", columns={"Mail": "email"})
    assert split(found) == ([3], [(1, "Id"), (2, "Mail")])


def test_a_column_of_no_field_refuses_the_file(made: Made) -> None:
    found = items("accounts", made(USERS), table="AspNet Users")
    assert split(found) == ([], [(0, "PhoneNumber")])
    assert "--column PhoneNumber=" in reason(found)


def test_two_columns_of_one_field_refuse_the_file(made: Made) -> None:
    columns = LEFT_OUT | {"Id": "username"}
    found = items("accounts", made(USERS), table="AspNet Users", columns=columns)
    assert "are both username" in reason(found)


def test_a_column_that_is_not_there_is_named(made: Made) -> None:
    found = items("accounts", made(USERS), table="AspNet Users", columns={"Phone": ""})
    assert split(found) == ([], [(0, "Phone")])


def test_a_table_that_is_not_there_is_answered_by_those_that_are(made: Made) -> None:
    found = items("accounts", made(USERS), table="users")
    assert split(found)[1][0][1] == "table"
    assert "AspNet Users, Others" in reason(found)


def test_a_table_must_be_named(made: Made) -> None:
    with pytest.raises(UsageError, match="--table"):
        items("accounts", made(USERS), table=None)


DUMP = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE u (username, email);\n"


def test_bytes_are_bytes_only_where_the_field_is(made: Made) -> None:
    statements = (
        "CREATE TABLE o (name, bucket, content); INSERT INTO o VALUES ('a', 'files', x'00ff');"
    )
    [found] = records("objects", made(statements), table="o")
    assert found.content == b"\x00\xff"
    found = items(
        "objects", made(statements.replace("'a'", "x'61'").replace("o ", "p ")), table="p"
    )
    assert reason(found) == "expected text or a number, got 1 bytes"


def test_a_view_of_a_file_is_a_table(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "v.db")) as database:
        database.executescript(
            "CREATE TABLE u (n, m); INSERT INTO u VALUES (x'616e6e', 'ann@example.com');"
            "CREATE VIEW users AS SELECT CAST(n AS TEXT) AS username, m AS email FROM u;"
        )
    [found] = records("accounts", tmp_path / "v.db", table="users")
    assert found.username == "ann"


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("INSERT INTO u VALUES ('a');", "1 values"),
        ("INSERT INTO u SELECT * FROM nowhere;", "no such table"),
        ("INSERT INTO u VALUES (load_extension('x'), 'b');", "not authorized"),
        (
            "INSERT INTO u WITH n(x) AS (SELECT 1 UNION SELECT x+1 FROM n) SELECT x, x FROM n;",
            "not authorized",
        ),
        ("INSERT INTO u VALUES (zeroblob(1000000000), 'b');", "too big"),
    ],
)
def test_a_statement_that_is_no_row_is_a_bad_record(
    tmp_path: Path, statement: str, why: str
) -> None:
    path = tmp_path / "d.sql"
    path.write_text(f"{DUMP}{statement}\nINSERT INTO u VALUES ('b', 'b@example.com');\nCOMMIT;\n")
    found = items("accounts", path, table="u")
    assert split(found)[0] == [2]
    assert why in reason(found)


def test_statements_of_a_dump_reach_no_other_file(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    path = tmp_path / "d.sql"
    path.write_text(
        f"{DUMP}ATTACH '{other}' AS other;\nCREATE TABLE other.u (x);\nVACUUM INTO '{other}';\n"
        "INSERT INTO u VALUES ('b', 'b@example.com');\nCOMMIT;\n"
    )
    assert len(records("accounts", path, table="u")) == 1
    assert not other.exists()


def test_a_dump_that_ends_midway_says_so_after_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.sql"
    path.write_text(f"{DUMP}INSERT INTO u VALUES ('b', 'b@example.com');\nINSERT INTO u VALUES ('")
    found = items("accounts", path, table="u")
    assert split(found) == ([1], [(2, "file")])


def test_text_that_is_not_utf_8_is_one_bad_row(made: Made) -> None:
    rows = "".join(
        f"INSERT INTO u VALUES ('{name}', '{name}@example.com');" for name in ("ann", "QQQ", "cid")
    )
    path = made(f"CREATE TABLE u (username, email);{rows}")
    path.write_bytes(path.read_bytes().replace(b"QQQ", b"\xff\xfe\xfd"))
    good, bad = split(items("accounts", path, table="u"))
    assert good == [1, 3]
    assert [number for number, _ in bad] == [2]


@given(place=st.floats(0, 1, exclude_max=True), damage=st.binary(min_size=1, max_size=40))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_told_never_raised(made: Made, place: float, damage: bytes) -> None:
    path = made(USERS)
    content = path.read_bytes()
    start = int(place * len(content))
    path.write_bytes(content[:start] + damage + content[start + len(damage) :])
    for item in items(
        "accounts", path, table="AspNet Users", columns=LEFT_OUT, format_name="sqlite"
    ):
        assert isinstance(item, BadRecord | Loaded)


def test_rows_that_are_only_in_the_log_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE u (username, email)")
        database.execute("INSERT INTO u VALUES ('ann', 'ann@example.com')")
        database.commit()
        assert len(records("accounts", path, table="u")) == 1
