"""A database with TimescaleDB's hypertables as streams: all of it by pg_dump, and what to compare.

Chunks, compressed chunks, continuous aggregates and policies are bound together by numbers in the
extension's own catalog. So they are dumped and restored as TimescaleDB says, whole, between
`timescaledb_pre_restore` and `timescaledb_post_restore`, which takes an administrator
(https://docs.tigerdata.com, "Logical backup with pg_dump and pg_restore").
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
import orjson

from neo_polystore.errors import ConfigError
from neo_polystore.pgkit.backup_catalog import Table
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.programs import run
from neo_polystore.pgkit.quoting import identifier, literal
from neo_polystore.ports.backup import Saved

DUMP, CONTENT = "database.dump", "content.json"
VERSION = "timescaledb"
"""Which version of the extension wrote it, among the positions: only the same can read it."""

_OURS = """
SELECT schema_name AS schema, table_name AS name FROM _timescaledb_catalog.hypertable
WHERE NOT starts_with(table_name, '_compressed_hypertable_')
"""

_INSTALLED = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"

_OFFERED = """
SELECT EXISTS (SELECT FROM pg_available_extension_versions
    WHERE name = 'timescaledb' AND version = $1)
"""


async def version(connection: Connection) -> str:
    """The extension's version."""
    found: str = await connection.fetchval(_INSTALLED)
    return found


async def content(connection: Connection, tables: list[Table]) -> list[dict[str, Any]]:
    """Every table, hypertable and continuous aggregate: its rows, and a checksum of them all.

    The checksum is the sum of a hash of each row's text, so that it does not depend on where rows
    lie: in which chunk, and compressed or not.
    """
    found = [(row["schema"], row["name"]) for row in await connection.fetch(_OURS)]
    names = dict.fromkeys([(table.schema, table.name) for table in tables] + found)
    answers = []
    for schema, name in sorted(names):
        row = await connection.fetchrow(
            "SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
            f" AS checksum FROM {identifier(schema)}.{identifier(name)} AS t"
        )
        answers.append({"schema": schema, "name": name, **dict(row or {})})
    return answers


def rows_of(found: list[dict[str, Any]]) -> int:
    """The rows of what `content` has answered."""
    return sum(each["rows"] for each in found)


async def restore(config: PgConfig, saved: Saved, *, store: str) -> dict[str, int]:
    """Restore the dump into the empty database; how many rows each table then has.

    Raises as `check`, before anything is touched.
    """
    await check(config, saved, store=store)
    config = as_administrator(config)
    wanted = _version(saved)
    with tempfile.TemporaryDirectory(prefix="neo-polystore-restore-") as folder:
        dump = Path(folder) / DUMP
        with dump.open("wb") as file:
            async for piece in saved.read(DUMP):
                file.write(piece)
        async with _restoring(config, wanted, store):
            await _pg_restore(config, dump)
    expected = orjson.loads(b"".join([piece async for piece in saved.read(CONTENT)]))
    async with translated(store, "restore"), _connected(config) as connection:
        await connection.execute("ANALYZE")
    return {f"{each['schema']}.{each['name']}": each["rows"] for each in expected}


async def check(config: PgConfig, saved: Saved, *, store: str) -> None:
    """ConfigError without an administrator, or where the server has not the dump's version."""
    wanted = _version(saved)
    async with translated(store, "restore"), _connected(as_administrator(config)) as connection:
        if not await connection.fetchval(_OFFERED, wanted):
            raise ConfigError(
                f"the backup needs TimescaleDB {wanted}, which this server does not offer",
                store=store,
                operation="restore",
            )


def _version(saved: Saved) -> str:
    return str(saved.positions.get(VERSION, ""))


def as_administrator(config: PgConfig) -> PgConfig:
    """The same database as an administrator of the server."""
    if not config.admin:
        raise ConfigError(
            "only an administrator restores TimescaleDB's hypertables: set NEO_ADMIN_URL",
            operation="restore",
        )
    return config.model_copy(update={"user": config.admin, "password": config.admin_password})


@asynccontextmanager
async def _restoring(config: PgConfig, wanted: str, store: str) -> AsyncIterator[None]:
    """A fresh extension that takes a dump for as long as this lasts.

    Each step on a connection of its own: a session keeps to the version that it saw first.
    """
    async with translated(store, "restore"):
        async with _connected(config) as connection:
            await connection.execute("DROP EXTENSION IF EXISTS timescaledb CASCADE")
        async with _connected(config) as connection:
            await connection.execute(f"CREATE EXTENSION timescaledb VERSION {literal(wanted)}")
            await connection.execute("SELECT timescaledb_pre_restore()")
    try:
        yield
    finally:
        async with translated(store, "restore"), _connected(config) as connection:
            await connection.execute("SELECT timescaledb_post_restore()")


async def _pg_restore(config: PgConfig, dump: Path) -> None:
    listed = await run(config, "pg_restore", "--list", str(dump))
    # the extensions are there
    lines = [line for line in listed.splitlines() if " EXTENSION " not in f" {line} "]
    contents = dump.with_name("contents")
    contents.write_text("\n".join(lines) + "\n")
    await run(
        config,
        "pg_restore",
        f"--dbname={config.database}",
        "--no-password",
        "--exit-on-error",
        f"--use-list={contents}",
        str(dump),
    )


@asynccontextmanager
async def _connected(config: PgConfig) -> AsyncIterator[Connection]:
    connection = cast("Connection", await asyncpg.connect(**config.connect_arguments()))
    try:
        await connection.execute("SET client_min_messages = error")
        yield connection
    finally:
        await connection.close()
