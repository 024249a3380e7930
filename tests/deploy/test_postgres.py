"""deploy/postgres on a real server: configuration, roles, replica, pooler, nightly dump."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests import pgbouncer as pooler
from tests.deploy.conftest import (
    Primary,
    files,
    only_postgresql,
    open_folder,
    server,
    server_options,
)
from tests.deploy.programs import DEPLOY, answers, changed, free_port, give, running
from tests.deploy.renderer import secrets

WANTED = {
    "shared_buffers": None,  # the tests have less memory
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "effective_io_concurrency": "200",
    "max_connections": "200",
    "wal_buffers": "16MB",
    "checkpoint_completion_target": "0.9",
    "password_encryption": "scram-sha-256",
    "ssl_min_protocol_version": "TLSv1.2",
    "wal_level": "logical",
    "max_wal_senders": "10",
    "wal_keep_size": "1GB",
}


async def shown(primary: Primary, question: str, *values: object) -> Any:
    connection = await asyncpg.connect(
        primary.url("postgres", "POSTGRES_ADMIN_PASSWORD", "neo_service_layer")
    )
    try:
        return await connection.fetchval(question, *values)
    finally:
        await connection.close()


@pytest.mark.parametrize("name", [name for name, value in WANTED.items() if value])
async def test_the_server_takes_the_setting(primary: Primary, name: str) -> None:
    assert await shown(primary, "SELECT current_setting($1)", name) == WANTED[name]


async def test_the_server_finds_nothing_wrong_with_its_files(primary: Primary) -> None:
    wrong = "SELECT array_agg(name) FROM pg_file_settings WHERE error IS NOT NULL"
    overridden = {"listen_addresses", "shared_buffers"}  # by the tests, on the command line
    assert set(await shown(primary, wrong) or ()) <= overridden
    assert await shown(primary, "SELECT count(*) FROM pg_hba_file_rules WHERE error <> ''") == 0


async def test_nobody_comes_without_scram(primary: Primary) -> None:
    methods = "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules"
    assert await shown(primary, methods) == ["scram-sha-256"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(primary.url("postgres", "POSTGRES_PASSWORD", "postgres"))


async def test_statements_are_counted(primary: Primary) -> None:
    assert await shown(primary, "SELECT count(*) > 0 FROM pg_stat_statements")


def test_the_roles_are_what_they_should_be(primary: Primary) -> None:
    done = primary.cli("db", "roles", "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_run_of_the_one_shot_services_changes_nothing(primary: Primary) -> None:
    done = primary.cli("db", "roles", "create", "--databases", "--dry-run")
    assert "CREATE" not in done.stdout
    assert primary.cli("db", "status", "--store", "postgres").returncode == 0


async def test_the_server_of_the_metrics_gets_its_one_database(programs: Path) -> None:
    made = secrets()
    with open_folder() as folder:
        files(folder)
        with server(folder, programs, made["POSTGRES_ADMIN_PASSWORD"]) as port:
            metrics = Primary(folder, programs, port, made)
            only_postgresql(folder)
            names = {"POSTGRES_DB": "timeseries", "EVENT_STORE_DB": "timeseries"}
            done = metrics.cli(
                "db", "roles", "create", "--databases", TIMESCALE_HOST="127.0.0.1", **names
            )
            assert done.returncode == 0, done.stdout + done.stderr
            connection = await asyncpg.connect(
                metrics.url("neo_owner", "POSTGRES_OWNER_PASSWORD", "timeseries")
            )
            rows = await connection.fetch(
                "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
            )
            await connection.close()
    assert [row["datname"] for row in rows] == ["postgres", "timeseries"]


async def test_a_replica_copies_the_primary_and_follows_it(primary: Primary) -> None:
    with open_folder() as folder:
        files(folder)
        give(folder)
        port = free_port()
        environment = {
            "PATH": f"{primary.programs}:{os.environ['PATH']}",
            "PGDATA": str(folder / "18" / "data"),
            "PGPASSFILE": str(folder / "run" / "pgpass"),
            "PRIMARY_HOST": "127.0.0.1",
            "PRIMARY_PORT": str(primary.port),
            "REPLICATOR_PASSWORD": primary.secrets["REPLICATOR_PASSWORD"],
        }
        start = ("/bin/sh", folder / "replica.sh", primary.programs / "postgres")
        options = server_options(folder, port)
        for _ in range(2):  # the second time it goes on with what it has
            with running(
                *start,
                *options,
                environment=environment,
                log=folder / "log",
                ready=lambda: answers(port),
            ):
                await shown(primary, "CREATE TABLE IF NOT EXISTS copied AS SELECT 1 AS n")
                await _until_copied(primary, port)
        text = (folder / "18" / "data" / "postgresql.auto.conf").read_text()
        assert primary.secrets["REPLICATOR_PASSWORD"] not in text
    await shown(primary, "DROP TABLE copied")
    await shown(primary, "SELECT pg_drop_replication_slot('neo_replica')")


async def _until_copied(primary: Primary, port: int) -> None:
    url = primary.url("postgres", "POSTGRES_ADMIN_PASSWORD", port=port)
    async with asyncio.timeout(30):
        connection = await asyncpg.connect(url)
        try:
            assert await connection.fetchval("SELECT pg_is_in_recovery()")
            while await connection.fetchval("SELECT to_regclass('copied')") is None:
                await asyncio.sleep(0.05)
        finally:
            await connection.close()


@pytest.mark.parametrize("database", ["neo_service_layer", "neo_storage"])
async def test_the_pooler_takes_the_application_to_the_server(
    primary: Primary, database: str
) -> None:
    program = pooler.program()
    with open_folder() as folder:
        port = free_port()
        changes = {
            "host=postgres port=5432": f"host=127.0.0.1 port={primary.port}",
            "listen_addr = *": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/run/pgbouncer/": f"{folder}/run/",
        }
        text = changed(DEPLOY / "pgbouncer" / "pgbouncer.ini", changes)
        (folder / "pgbouncer.ini").write_text(text)
        shutil.copy(DEPLOY / "pgbouncer" / "start.sh", folder)
        give(folder)
        with running(
            "/bin/sh",
            folder / "start.sh",
            program,
            folder / "pgbouncer.ini",
            environment={
                "PGBOUNCER_RUN": str(folder / "run"),
                "PGBOUNCER_PASSWORD_NEO_USER": primary.secrets["POSTGRES_PASSWORD"],
            },
            log=folder / "log",
            ready=lambda: answers(port),
        ):
            connection = await asyncpg.connect(
                primary.url("neo_user", "POSTGRES_PASSWORD", database, port),
                statement_cache_size=0,
            )
            found = await connection.fetchrow("SELECT current_user, current_database()")
            await connection.close()
            assert found is not None
            assert tuple(found) == ("neo_user", "neo_service_layer")
            assert (folder / "run" / "userlist.txt").stat().st_mode & 0o077 == 0


def test_the_backup_user_of_the_compose_file_can_back_up(primary: Primary, tmp_path: Path) -> None:
    programs = {"NEO_EMBEDDED_PG_BIN": str(primary.programs)}
    target = str(tmp_path / "backups")
    done = primary.cli(
        "backup", "run", "--store", "postgres", "--store", "event_store", "--json",
        NEO_BACKUP_TARGET=target, NEO_BACKUP_KEY=primary.secrets["NEO_BACKUP_KEY"], **programs,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(Path(target).rglob("manifest.json"))
