"""The files of `schemas/postgres` say what the migrations build, and nothing is passed over."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.errors import PolystoreError, UnavailableError
from neo_polystore.pgkit import schema_text
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.drift import DUMPED_BY
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase
from tests.stores.postgres.catalog import SCHEMAS
from tools.schema import ENVIRONMENTS, FOLDER, pg_dump, schemas


@pytest.fixture(scope="module")
async def built(make_database: MakeDatabase) -> dict[str, dict[str, str]]:
    """What the migrations build."""
    return await schemas(make_database)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def version(make_database: MakeDatabase) -> int:
    """The version of the server."""
    config = await make_database("version")
    connection = await asyncpg.connect(**config.connect_arguments())
    found: int = connection.get_server_version().major
    await connection.close()
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_files_are_what_the_migrations_build(
    environment: str, version: int, built: dict[str, dict[str, str]]
) -> None:
    expected, found = schema_text.read(FOLDER / environment), built[environment]
    if version != DUMPED_BY:
        expected, found = map(schema_text.in_any_version, (expected, found))
    assert schema_text.differences(expected, found) == [], (
        "run `make schema` and look at what changed"
    )


OLDER = """\
CREATE TABLE auth.users (
    id uuid NOT NULL,
    email text
);
CREATE VIEW core.users WITH (security_invoker='true') AS
 SELECT users.id,
    lower(users.email) AS email
   FROM auth.users
  WHERE (users.email IS NOT NULL);
"""
NEWER = """\
CREATE TABLE auth.users (
    id uuid CONSTRAINT users_id_not_null NOT NULL,
    email text
);
CREATE VIEW core.users WITH (security_invoker='true') AS
 SELECT id,
    lower(email) AS email
   FROM auth.users
  WHERE (email IS NOT NULL);
"""


def test_servers_of_different_versions_agree_about_the_same_schema() -> None:
    older, newer = map(schema_text.in_any_version, ({"f": OLDER}, {"f": NEWER}))
    assert schema_text.differences(newer, older) == []


@pytest.mark.parametrize(
    ("there", "changed"),
    [
        ("id uuid NOT NULL", "id uuid"),
        ("lower(users.email)", "upper(users.email)"),
        (" WITH (security_invoker='true')", ""),
        ("FROM auth.users", "FROM public.users"),
        ("users.email IS NOT NULL", "users.id IS NOT NULL"),
    ],
)
def test_what_differs_between_them_is_found(there: str, changed: str) -> None:
    assert there in OLDER
    older = schema_text.in_any_version({"f": OLDER.replace(there, changed)})
    assert schema_text.differences(schema_text.in_any_version({"f": NEWER}), older) != []


def test_each_schema_has_its_file(built: dict[str, dict[str, str]]) -> None:
    assert set(built["primary"]) == {*SCHEMAS, "public", schema_text.DATABASE}


async def test_a_change_of_the_live_schema_is_named(
    make_database: MakeDatabase, built: dict[str, dict[str, str]]
) -> None:
    changed = {**built["event_store"]}
    changed["public"] = changed["public"].replace("event_version integer", "event_version bigint")
    (line,) = schema_text.differences(built["event_store"], changed)
    assert "public: differs from line" in line
    assert "event_version bigint" in line


def test_a_missing_and_an_unexpected_schema_are_named() -> None:
    assert schema_text.differences({"a": "", "b": ""}, {"b": "", "c": ""}) == [
        "a: the database has nothing of it",
        "c: only the database has it",
    ]


def test_a_text_that_is_no_dump_is_refused() -> None:
    with pytest.raises(PolystoreError, match="not laid out"):
        schema_text.split("CREATE TABLE x ();\n")


def test_files_that_are_no_longer_wanted_go(tmp_path: Path) -> None:
    schema_text.write(tmp_path, {"old": "o\n", "kept": "k\n"})
    schema_text.write(tmp_path, {"kept": "new\n"})
    assert schema_text.read(tmp_path) == {"kept": "new\n"}


async def test_a_program_that_is_not_there_is_our_error(postgres: PostgresStore) -> None:
    with pytest.raises(UnavailableError, match="cannot be run"):
        await schema_text.dump(postgres.config, pg_dump=Path("/nowhere/pg_dump"))


async def test_a_database_that_is_not_there_is_our_error(postgres: PostgresStore) -> None:
    config: PgConfig = postgres.config.model_copy(update={"database": "nowhere"})
    with pytest.raises(UnavailableError, match="nowhere"):
        await schema_text.dump(config, pg_dump=pg_dump())


def test_what_a_server_notes_on_columns_for_itself_is_left_out() -> None:
    head = "--\n-- Name: t; Type: TABLE; Schema: s; Owner: -\n--\n\n"
    table = "CREATE TABLE s.t (\n    a integer,\n    b integer\n);\n"
    noted = "".join(
        f"ALTER TABLE ONLY s.t ALTER COLUMN {column} SET (pg_attver=30260032);\n"
        for column in ("a", '"b"')
    )
    chosen = "ALTER TABLE ONLY s.t ALTER COLUMN a SET (n_distinct=5);\n"
    assert schema_text.split(f"{head}{table}{noted}\n\n{chosen}\n\n") == schema_text.split(
        f"{head}{table}\n\n{chosen}\n\n"
    )
