"""Brings the tables to what the collection files say, one runner at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from neo_polystore.errors import ConflictError
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.ports.store import MigrationReport
from neo_polystore.records.collections import Collection
from neo_polystore.stores.jsonb.drift import drift, offenders
from neo_polystore.stores.jsonb.sql import SCHEMA, identifier, table
from neo_polystore.stores.jsonb.tables import (
    COMPILER,
    LEDGER,
    RECORD,
    index_statements,
    table_statements,
)

STORE = "jsonb"

RUNNERS = "neo-polystore:documents"
"""What the advisory lock of those who migrate is named by."""


async def migrate(
    config: PgConfig, collections: Sequence[Collection], *, dry_run: bool
) -> MigrationReport:
    """Apply the files that are newer than what is applied, all of them or none; see `Store`."""
    async with translated(STORE, "migrate"):
        connection: Connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            report = await _report(connection, collections)
            if dry_run:
                report.problems.extend(await _broken(connection, collections, report))
            if dry_run or not report.pending:
                return report
            # one runner at a time: the lock ends with this connection, however that ends. It is
            # taken before the transaction begins: a session that is in one goes on believing
            # that what another has made meanwhile is not there
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", RUNNERS)
            before = await _report(connection, collections)
            if broken := await _broken(connection, collections, before):
                raise ConflictError("; ".join(broken), store=STORE, operation="migrate")
            async with connection.transaction():
                await connection.execute(LEDGER)
                for collection in collections:
                    if _revision(collection) in before.pending:
                        await _apply(connection, collection, config.user)
            report = await _report(connection, collections)
            report.applied.extend(before.pending)
            return report
        finally:
            await connection.close()


async def drifted(config: PgConfig, collections: Sequence[Collection]) -> list[str]:
    """What is no longer as the files made it; see `drift`."""
    async with translated(STORE, "validate"):
        connection: Connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            if await connection.fetchval(f"SELECT to_regclass('{SCHEMA}._versions')") is None:
                return []  # nothing of this version of the package is applied: that is said already
            rows = await connection.fetch(f"SELECT * FROM {SCHEMA}._collections")
            return await drift(connection, collections, {row["collection"]: row for row in rows})
        finally:
            await connection.close()


async def _report(connection: Connection, collections: Sequence[Collection]) -> MigrationReport:
    present = await connection.fetchval(f"SELECT to_regclass('{SCHEMA}._collections')")
    rows = await connection.fetch(f"SELECT * FROM {SCHEMA}._collections") if present else []
    applied: dict[str, Any] = {row["collection"]: row for row in rows}
    pending, problems = [], []
    for collection in collections:
        row = applied.get(collection.name)
        file = f"mongo/{collection.name}.json"
        if row is None or row["version"] < collection.version or row["compiler"] < COMPILER:
            pending.append(_revision(collection))
        elif row["version"] > collection.version:
            problems.append(f"{file} has version {collection.version}, {row['version']} is applied")
        elif row["checksum"] != checksum(collection):
            problems.append(f"{file} has changed since it was applied: raise its version")
    current = [f"{row['collection']} {row['version']}" for row in rows]
    return MigrationReport(
        store=STORE,
        target="documents",
        current=", ".join(sorted(current)) or None,
        pending=pending,
        problems=problems,
    )


async def _broken(
    connection: Connection, collections: Sequence[Collection], report: MigrationReport
) -> list[str]:
    """Of each pending collection, the stored documents that its validator would not take."""
    pending = [c for c in collections if _revision(c) in report.pending and not c.may_break]
    found = [await offenders(connection, collection) for collection in pending]
    return [str(each) for each in found if each]


def _revision(collection: Collection) -> str:
    return f"{collection.name} {collection.version}"


def checksum(collection: Collection) -> str:
    """SHA-256 of what tables are compiled from: validator, indexes, whether versions are kept."""
    content = {
        "validator": collection.validator,
        "indexes": [index.model_dump() for index in collection.indexes],
        "versioned": collection.versioned,
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def _apply(connection: Connection, collection: Collection, application: str) -> None:
    for statement in table_statements(collection, application=application):
        await connection.execute(statement)
    text = await connection.fetchval(
        f"SELECT indexes::text FROM {SCHEMA}._collections WHERE collection = $1", collection.name
    )
    held: dict[str, str] = orjson.loads(text or "{}")
    wanted = index_statements(collection)
    for name, statement in held.items():
        if wanted.get(name) != statement:
            await connection.execute(f"DROP INDEX IF EXISTS {SCHEMA}.{identifier(name)}")
    for name, statement in wanted.items():
        if held.get(name) != statement:
            await connection.execute(statement)
    await connection.execute(
        RECORD,
        collection.name,
        collection.version,
        checksum(collection),
        COMPILER,
        orjson.dumps(wanted).decode(),
        table(collection.name),
    )
