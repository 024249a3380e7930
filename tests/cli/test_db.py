"""`db`: versions forward and back, as text, compared; samples; and removing it all."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore import assets
from neo_polystore.addresses import EmbeddedAddresses
from neo_polystore.embedded import Membership
from neo_polystore.ops.revisions import new_revision
from neo_polystore.pgkit import drift, migrations
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.versioned import Versioned
from neo_polystore.registry import ENGINES, engine_class
from neo_polystore.settings import Settings
from neo_polystore.stores.event_store.store import EventStore
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.cli.conftest import Answer, Cli, environment
from tests.conftest import MakeDatabase

ROOT = Path(__file__).parents[2]
LAST = migrations.revisions("primary")[-1].id
BEFORE_LAST = migrations.revisions("primary")[-2].id
Own = Callable[..., Awaitable[Answer]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place() -> AsyncIterator[Path]:
    """A data directory of this module's own, its servers running: here things are removed."""
    directory = Path(tempfile.mkdtemp(prefix="neo-polystore-db-"))
    membership = await Membership.join(directory)
    await membership.ensure("postgres")
    yield directory
    await membership.leave()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own(here: Cli, place: Path) -> Own:
    """Run a command on that directory."""

    async def run(*words: str, **changes: str) -> Answer:
        return await asyncio.to_thread(lambda: here(*words, data=place, **changes))

    return run


def by_store(answer: Answer) -> dict[str, Any]:
    """The reports of an answer by store."""
    return {report["store"]: report for report in answer.json}


async def test_a_dry_run_migrates_nothing(own: Own) -> None:
    first = await own("db", "migrate", "--dry-run", "--store", "postgres", "--json")
    assert by_store(first)["postgres"]["pending"]
    assert (await own("db", "status", "--store", "postgres")).code == 1


async def test_migrating_brings_every_store_up_to_date(own: Own) -> None:
    assert (await own("db", "migrate")).code == 0
    status = await own("db", "status", "--json")
    assert status.code == 0
    assert by_store(status)["postgres"]["current"] == LAST


async def test_everything_agrees_after_migrating(own: Own) -> None:
    answer = await own("db", "validate", "--verbose", "--json")
    found = by_store(answer)
    assert (answer.code, found["postgres"]["problems"]) == (0, []), answer.out
    assert any("live schema" in fact for fact in found["postgres"]["checked"])
    assert any("live schema" in fact for fact in found["event_store"]["checked"])
    assert found["redis"]["not_applicable"]


async def test_rolling_back_is_one_revision_and_only_shown_by_a_dry_run(own: Own) -> None:
    shown = await own("db", "rollback", "--dry-run", "--json")
    assert (shown.json["undone"], shown.json["current"]) == ([LAST], LAST)
    done = await own("db", "rollback", "--json")
    assert (done.json["undone"], done.json["current"]) == ([LAST], BEFORE_LAST)
    assert by_store(await own("db", "status", "--json"))["postgres"]["pending"] == [LAST]
    validated = await own("db", "validate", "--store", "postgres")
    assert (validated.code, "not applied" in validated.out) == (1, True)
    assert (await own("db", "migrate")).code == 0


async def test_rolling_back_to_a_revision_takes_back_all_after_it(own: Own) -> None:
    answer = await own("db", "rollback", "--to", "0005_grants", "--json")
    assert answer.json["current"] == "0005_grants"
    assert answer.json["undone"][0] == LAST
    assert "0006_outbox" in answer.json["undone"]
    assert (await own("db", "database-is-no-command")).code == 2
    assert (await own("database", "update")).code == 0


async def test_an_unknown_revision_or_store_is_wrong_usage(own: Own) -> None:
    for words in (
        ("db", "rollback", "--to", "nonsense"),
        ("db", "rollback", "--store", "nonsense"),
        ("db", "script", "--after", "nonsense"),
        ("db", "validate", "--store", "nonsense"),
    ):
        answer = await own(*words)
        assert (answer.code, "nonsense" in answer.err) == (2, True), answer.err


async def test_a_store_that_cannot_go_back_says_why(own: Own) -> None:
    answer = await own("db", "rollback", "--store", "clickhouse")
    assert (answer.code, "forward" in answer.err) == (0, True)


async def test_seeding_twice_adds_nothing(own: Own) -> None:
    dry = await own("db", "seed", "--dry-run", "--json")
    assert all(line["new"] == 0 and line["samples"] for line in dry.json)
    await own("db", "seed")
    again = await own("db", "seed", "--json")
    assert all(line["existing"] == line["samples"] for line in again.json)
    assert all(line["new"] == line["rejected"] == 0 for line in again.json)


async def test_clearing_takes_force(own: Own) -> None:
    answer = await own("db", "clear")
    assert (answer.code, "--force" in answer.err) == (2, True)


async def rows_of(place: Path) -> dict[str, int]:
    """Exact row counts of the relational tables, as the superuser, by table."""
    membership = await Membership.join(place)
    server = await membership.ensure("postgres")
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database="neo_service_layer",
    )
    try:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition AND NOT n.nspname LIKE 'pg\\_%'"
            " AND n.nspname <> 'information_schema'"
        )
        return {
            row["name"]: await connection.fetchval(f"SELECT count(*) FROM {row['name']}")
            for row in tables
        }
    finally:
        await connection.close()
        await membership.leave()


async def test_clearing_removes_rows_and_keeps_what_migrations_put_in(
    own: Own, place: Path
) -> None:
    await own("db", "seed")
    shown = by_store(await own("db", "clear", "--dry-run", "--json"))
    assert shown["postgres"]["rows"]["blockchain.transactions"] == 5
    assert shown["event_store"]["rows"]["events"] == 3
    assert shown["files"]["rows"] == {"neo-samples": 2}
    done = by_store(await own("db", "clear", "--force", "--json"))
    assert done["postgres"]["rows"]["blockchain.transactions"] == 5
    left = {name: rows for name, rows in (await rows_of(place)).items() if rows}
    # the system tenant and user, what wrote them to the audit log, and the ledgers
    kept = {"core.tenants", "auth.users", "monitoring.audit_logs"}
    seeded = await _seeded_tables()
    ledgers = {"public.schema_revisions", "schema_revisions", "documents._collections"}
    assert set(left) <= kept | ledgers | seeded
    assert (left["core.tenants"], left["auth.users"]) == (1, 1)
    again = by_store(await own("db", "clear", "--dry-run", "--json"))
    for store in ("event_store", "timescale", "jsonb", "clickhouse", "files", "tantivy"):
        assert not any(again[store]["rows"].values()), again[store]
    assert (await own("db", "validate")).code == 0
    assert (await own("demo")).code == 0


async def _seeded_tables() -> set[str]:
    """Tables that revisions insert into."""
    from neo_polystore.pgkit.offline import statements

    return {
        text.split()[2].partition("(")[0]
        for revision in migrations.revisions("primary")
        for text in statements("primary", revision)
        if text.startswith("INSERT INTO")
    }


async def test_one_store_can_be_cleared_alone(own: Own) -> None:
    await own("db", "seed")
    await own("db", "clear", "--force", "--store", "redis")
    done = by_store(await own("db", "clear", "--force", "--store", "jsonb", "--json"))
    assert list(done) == ["jsonb"]
    left = by_store(await own("db", "clear", "--dry-run", "--json"))
    assert left["postgres"]["rows"]["blockchain.transactions"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("db", "clear", "--force"), "NEO_ALLOW_CLEAR"),
        (("db", "seed"), "--force"),
    ],
)
async def test_the_server_profile_is_neither_cleared_nor_seeded_by_accident(
    own: Own, words: tuple[str, ...], message: str
) -> None:
    answer = await own(*words, NEO_PROFILE="server")
    assert (answer.code, message in answer.err) == (2, True), answer.err


async def test_a_script_makes_what_migrating_makes(
    make_database: MakeDatabase, settings: Settings, embedded: Membership
) -> None:
    addresses = EmbeddedAddresses(settings, embedded)
    programs = (await addresses.config("postgres")).programs
    assert programs is not None
    for engine in (PostgresStore, EventStore, TimescaleStore, JsonbStore):
        config = (await make_database("script")).model_copy(update={"programs": programs})
        for _ in range(2):  # the second time there is nothing left to do
            await _psql(config, programs / "psql", engine.script().text)
        store = engine(config)
        assert (await store.migrate()).applied == []
        assert (await store.validate()).problems == []


async def _psql(config: PgConfig, program: Path, text: str) -> None:
    process = await asyncio.create_subprocess_exec(
        program,
        *("-v", "ON_ERROR_STOP=1", "-q", "-f", "-"),
        env={
            **os.environ,
            "PGHOST": config.host,
            "PGPORT": str(config.port),
            "PGDATABASE": config.database,
            "PGUSER": config.owner or "",
            "PGPASSWORD": config.owner_password.get_secret_value(),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await process.communicate(text.encode())
    assert process.returncode == 0, out.decode()


def test_a_script_needs_no_server(here: Cli, tmp_path: Path) -> None:
    path = tmp_path / "primary.sql"
    answer = here("db", "script", "-o", str(path), data=tmp_path / "none")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "none").exists()
    text = path.read_text()
    assert f"('primary', '{LAST}'" in text
    later = here("migrations", "script", "--after", BEFORE_LAST, data=tmp_path / "none").out
    assert LAST in later
    assert "CREATE SCHEMA core" not in later


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_a_script_or_a_reason(name: str) -> None:
    found = engine_class(name).script()
    assert bool(found.text) != bool(found.not_applicable)


async def test_an_edited_file_and_a_changed_schema_are_both_found(
    make_database: MakeDatabase,
    settings: Settings,
    embedded: Membership,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = EmbeddedAddresses(settings, embedded)
    programs = (await addresses.config("postgres")).programs
    config = (await make_database("drift")).model_copy(update={"programs": programs})
    store = PostgresStore(config)
    await store.migrate()
    assert (await store.validate()).problems == []
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    await connection.execute("ALTER TABLE core.tenants ADD COLUMN by_hand int")
    await connection.execute("DROP POLICY tenant_isolation ON auth.users")
    await connection.close()
    problems = (await store.validate()).problems
    assert any(problem.startswith("schema core: differs") for problem in problems)
    assert any(problem.startswith("schema auth: differs") for problem in problems)
    for folder in ("migrations", "schemas"):
        shutil.copytree(assets.asset(folder), tmp_path / folder)
    monkeypatch.setattr(assets, "_ROOTS", (tmp_path,))
    edited = tmp_path / "migrations/primary/versions/0002_auth.py"
    edited.write_text(edited.read_text() + "#")
    problems = (await store.validate()).problems
    assert any("0002_auth.py has changed" in problem for problem in problems)


async def test_without_pg_dump_the_schema_is_reported_as_not_compared(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_wheel", lambda: str(tmp_path))
    config = (await make_database("drift")).model_copy(update={"programs": tmp_path})
    store = EventStore(config)
    await store.migrate()
    validation = await store.validate()
    assert validation.problems == []
    assert any("pg_dump" in line for line in validation.unchecked)


def test_a_new_revision_follows_the_last_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(assets.asset("migrations"), tmp_path / "migrations")
    monkeypatch.setattr(assets, "_ROOTS", (tmp_path,))
    path, text = new_revision("primary", "Add wallet-labels", dry_run=True)
    assert not path.exists()
    assert f'down_revision = "{LAST}"' in text
    path, _ = new_revision("primary", "Add wallet-labels")
    added = migrations.revisions("primary")[-1]
    assert (added.path, added.down_revision) == (path, LAST)
    assert added.id.endswith("_add_wallet_labels")


@pytest.mark.parametrize("name", ["", "1abc", "../escape", "x" * 80])
def test_a_revision_needs_a_plain_name(here: Cli, tmp_path: Path, name: str) -> None:
    answer = here("db", "new", name, "--dry-run", data=tmp_path)
    assert (answer.code, "revision's name" in answer.err) == (2, True), answer.err


def test_the_stores_of_alembic_share_their_verbs() -> None:
    assert issubclass(PostgresStore, Versioned)
    assert issubclass(EventStore, Versioned)


@pytest.mark.parametrize(
    "words",
    [
        [sys.executable, str(ROOT / "manage_db.py"), "status"],
        [sys.executable, str(ROOT / "manage_db.py"), "validate", "--verbose"],
        [sys.executable, str(ROOT / "manage_db.py"), "health"],
        [str(ROOT / "scripts/run-database-migrations.sh"), "status"],
        [str(ROOT / "scripts/run-database-migrations.sh"), "migrate"],
        [str(ROOT / "scripts/run-database-migrations.sh"), "rollback", "--dry-run"],
    ],
    ids=lambda words: " ".join(Path(word).name for word in words[-3:]),
)
async def test_the_other_names_do_the_same(own: Own, place: Path, words: list[str]) -> None:
    await own("db", "migrate")
    program = place / "neo-polystore"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m neo_polystore "$@"\n')
    program.chmod(0o755)
    done = await asyncio.to_thread(
        lambda: subprocess.run(
            words,
            capture_output=True,
            text=True,
            cwd=place,
            timeout=120,
            env=environment(place, NEO_POLYSTORE=str(program)),
        )
    )
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


@pytest.mark.parametrize("program", ["manage_db.py", "scripts/run-database-migrations.sh"])
def test_the_other_names_refuse_what_they_do_not_know(program: str) -> None:
    words = [str(ROOT / program), "drop"]
    if program.endswith(".py"):
        words.insert(0, sys.executable)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2


def test_the_other_names_back_up_and_restore(here: Cli, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "manage_db.py")]
    target = tmp_path / "made"
    made = here("store", "files", "backup", "--target", str(target))
    assert made.code == 0, made.err
    env = environment(tmp_path / "data")
    for given, code, said in (
        (["backup", "--backup-file", "/dev/null/x"], 3, "/dev/null/x"),
        (["restore", str(target), "--store", "nowhere"], 2, "nowhere"),
        (["restore", str(tmp_path / "none")], 2, "none"),
    ):
        done = subprocess.run(
            [*words, *given], capture_output=True, text=True, env=env, timeout=120
        )
        assert done.returncode == code, done.stderr
        assert said in done.stderr


def test_roles_are_checked_from_the_command_line(here: Cli) -> None:
    answer = here("db", "roles", "check", "--json")
    assert (answer.code, answer.json["ok"]) == (0, True), answer.out
    assert answer.json["roles"]["neo_app"] == "ok"


def test_making_roles_takes_an_administrator(here: Cli) -> None:
    answer = here("db", "roles", "create")
    assert (answer.code, "NEO_ADMIN_URL" in answer.err) == (2, True)
