"""The embedded PostgreSQL: settings, passwords, versions, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from neo_polystore.embedded import EmbeddedError, EmbeddedOptions, ServerAddress
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.postgres import PostgresServer
from tests.embedded import clients
from tests.embedded.conftest import Join


async def test_settings_are_in_force(join: Join) -> None:
    connection = await clients.postgres(await (await join()).ensure("postgres"))
    rows = await connection.fetch("SELECT name, setting FROM pg_settings")
    settings = {row["name"]: row["setting"] for row in rows}
    await connection.close()
    assert settings["fsync"] == settings["synchronous_commit"] == "on"
    assert settings["wal_level"] == "replica"
    assert settings["max_connections"] == "200"
    assert settings["TimeZone"] == "UTC"
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["log_parameter_max_length_on_error"] == "0"
    assert "pg_stat_statements" in settings["shared_preload_libraries"]


async def test_text_is_utf8_in_code_point_order(join: Join) -> None:
    connection = await clients.postgres(await (await join()).ensure("postgres"))
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    assert await connection.fetchval("SELECT upper('é')") == "É"
    assert await connection.fetchval("SELECT 'Z' < 'a'")
    await connection.close()


async def test_password_is_needed(join: Join) -> None:
    good = await (await join()).ensure("postgres")
    bad = ServerAddress(good.host, good.port, good.user, "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await clients.postgres(bad)


async def test_other_major_version_is_refused(data_dir: Path, join: Join) -> None:
    one = await join()
    await one.ensure("postgres")
    await one.leave()
    (data_dir / "postgres" / "PG_VERSION").write_text("15\n")
    two = await join()
    with pytest.raises(EmbeddedError, match=r"made by version 15, but .* has version 18"):
        await two.ensure("postgres")


async def test_named_installation_must_be_one(data_dir: Path, join: Join) -> None:
    one = await join(EmbeddedOptions(pg_bin=data_dir))
    with pytest.raises(EmbeddedError, match="NEO_EMBEDDED_PG_BIN"):
        await one.ensure("postgres")


async def test_lost_password_file_is_named(data_dir: Path, join: Join) -> None:
    one = await join()
    await one.ensure("postgres")
    await one.leave()
    (data_dir / "secrets.json").unlink()
    with pytest.raises(EmbeddedError, match=r"secrets\.json has no password"):
        await join()


@pytest.mark.parametrize("content", ["", "4194303\n/nowhere\n", "SELF", "ZOMBIE"])
async def test_stale_pid_file_is_no_obstacle(data_dir: Path, join: Join, content: str) -> None:
    one = await join()
    await one.ensure("postgres")
    await one.leave()
    # A zombie still answers kill(pid, 0), which is all that PostgreSQL asks.
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    if content == "ZOMBIE":
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    pid = {"SELF": os.getpid(), "ZOMBIE": zombie.pid}.get(content)
    text = f"{pid}\n{data_dir / 'postgres'}\n" if pid else content
    (data_dir / "postgres" / "postmaster.pid").write_text(text)
    try:
        two = await join()
        connection = await clients.postgres(await two.ensure("postgres"))
        await connection.close()
    finally:
        zombie.wait()


async def test_interrupted_initdb_starts_anew(data_dir: Path, join: Join) -> None:
    half = data_dir / "postgres.new" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    connection = await clients.postgres(await (await join()).ensure("postgres"))
    await connection.close()
    assert not half.exists()


async def test_taken_port_is_left_alone(data_dir: Path, join: Join) -> None:
    one = await join()
    before = await one.ensure("postgres")
    await one.leave()
    squatter = await asyncio.start_server(lambda *_: None, before.host, before.port)
    async with squatter:
        two = await join()
        after = await two.ensure("postgres")
        assert after.port != before.port


@pytest.mark.parametrize("folder", ["lib", "lib/postgresql"])
def test_extensions_of_the_installation_are_preloaded(tmp_path: Path, folder: str) -> None:
    """TimescaleDB is served where the installation that was named has it."""
    for path in ("bin/postgres", f"{folder}/timescaledb.so", f"{folder}/pg_stat_statements.so"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    version = tmp_path / "data/postgres/PG_VERSION"
    version.parent.mkdir(parents=True)
    version.write_text("18\n")
    server = PostgresServer(Layout(tmp_path / "data"), "secret", None, tmp_path / "bin")
    words = server.command(5000).argv
    assert "shared_preload_libraries=timescaledb,pg_stat_statements" in words
    assert "timescaledb.telemetry_level=off" in words
    assert "secret" not in " ".join(words)
