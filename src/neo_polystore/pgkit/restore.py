"""Writes the streams of `pgkit/backup.py` into an empty database, as its owner.

The schema comes in two halves, by pg_restore: tables first, then, when the rows are there, indexes,
constraints, triggers and policies. In between rows go in by COPY over several connections, and
nothing checks them one by one.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
import orjson

from neo_polystore.errors import BackupError, ConflictError
from neo_polystore.pgkit import backup_catalog as catalog
from neo_polystore.pgkit import hypertables
from neo_polystore.pgkit.backup import SCHEMA, SEQUENCES
from neo_polystore.pgkit.backup_catalog import Table
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.programs import as_owner, run
from neo_polystore.pgkit.quoting import identifier, literal
from neo_polystore.ports.backup import BackupScope, Saved

JOBS = min(4, os.cpu_count() or 1)

_PATIENCE = 20

_BULK = {
    "maintenance_work_mem": "256MB",
    "synchronous_commit": "off",
    "max_parallel_maintenance_workers": "0",
    "statement_timeout": "0",
    "lock_timeout": "30s",
}
"""For the connections of a restore only. What they write without waiting for the disk is flushed
at the end, by a last transaction that does wait: WAL is written in order."""

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

# Constraints, triggers, policies, defaults and views of other schemas that need this schema: DROP
# SCHEMA ... CASCADE would take them along without a word.
_ATTACHED = """
WITH inside AS (
    SELECT 'pg_class'::regclass AS classid, oid FROM pg_class WHERE relnamespace = $1::regnamespace
    UNION ALL
    SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = $1::regnamespace
    UNION ALL
    SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = $1::regnamespace
)
SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
JOIN inside i ON i.classid = d.refclassid AND i.oid = d.refobjid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
JOIN pg_class own
    ON own.oid = coalesce(nullif(k.conrelid, 0), t.tgrelid, p.polrelid, a.adrelid, r.ev_class)
WHERE own.relnamespace <> $1::regnamespace ORDER BY 1 LIMIT 3
"""

# Whom foreign keys may refer to: the check of a new one reads the other table, as the owner.
_FORCED = """
SELECT c.oid::regclass::text FROM pg_class c WHERE relforcerowsecurity
    AND relowner = current_user::regrole AND relnamespace <> $1::regnamespace
"""

# Everything of ours, and what extensions brought stays: it belongs to somebody else.
_SCHEMAS = """
SELECT nspname FROM pg_namespace n WHERE nspowner = current_user::regrole AND nspname <> 'public'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
        AND d.objid = n.oid AND d.deptype = 'e')
"""

_POLICY = re.compile(r"^\d+; \d+ \d+ (ROW SECURITY|POLICY|COMMENT \S+ POLICY) ")
_ENTRY = re.compile(r"^\d+; \d+ \d+ (?P<rest>.+)$")


async def occupied(config: PgConfig, scope: BackupScope, *, store: str) -> str | None:
    """What stands in the way of a restore."""
    async with translated(store, "restore"), owner(config) as connection:
        found = await catalog.occupied(connection, scope.schema)
    return None if found is None else f"the database {config.database} holds {found}"


async def clear(config: PgConfig, scope: BackupScope, *, store: str) -> None:
    """Drop what a restore would make, in one transaction.

    ConflictError where somebody else is connected, or where tables of other schemas refer to the
    one schema that is meant: their constraints would go with it.
    """
    async with translated(store, "restore"), owner(config) as connection:
        if others := await _others(connection):
            raise ConflictError(
                f"{others} other connections use the database {config.database}: stop what is"
                " running on it first",
                store=store,
                operation="restore",
            )
        async with connection.transaction():
            if scope.schema is None:
                for (name,) in await connection.fetch(_SCHEMAS):
                    await connection.execute(f"DROP SCHEMA {identifier(name)} CASCADE")
                await connection.execute("DROP OWNED BY CURRENT_USER CASCADE")
            elif await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", scope.schema):
                await _refuse_attached(connection, scope.schema, store)
                await connection.execute(f"DROP SCHEMA {identifier(scope.schema)} CASCADE")


async def _others(connection: Connection) -> int:
    """How many other connections there are; those that are just being closed have a moment."""
    for _ in range(_PATIENCE):
        if not (others := int(await connection.fetchval(_OTHERS))):
            break
        await asyncio.sleep(0.1)
    return others


async def _refuse_attached(connection: Connection, schema: str, store: str) -> None:
    rows = await connection.fetch(_ATTACHED, schema)
    if rows:
        names = ", ".join(name for (name,) in rows)
        raise ConflictError(
            f"what other schemas have needs {schema}: {names}; restore the whole store",
            store=store,
            operation="restore",
        )


Loaded = Callable[[Connection, Saved], Awaitable[None]]
"""What is to be done when the rows are there and nothing protects them yet."""


async def nothing(_: Connection, __: Saved) -> None:
    """Nothing to be done."""


async def restore(
    config: PgConfig, saved: Saved, scope: BackupScope, *, store: str, loaded: Loaded = nothing
) -> dict[str, int]:
    """Write schema, rows, sequences, and the rest of the schema; row counts by table."""
    config = config.direct()
    if hypertables.DUMP in saved.names:
        return await hypertables.restore(config, saved, store=store)
    with tempfile.TemporaryDirectory(prefix="neo-polystore-restore-") as folder:
        dump = Path(folder) / SCHEMA
        with dump.open("wb") as file:
            async for piece in saved.read(SCHEMA):
                file.write(piece)
        lines = await _contents(config, dump, scope)
        policies = [line for line in lines if _POLICY.search(line)]
        others = [line for line in lines if not _POLICY.search(line)]
        await _pg_restore(config, dump, others, "pre-data", jobs=1)
        async with translated(store, "restore"):
            rows = await _load(config, saved, scope, store)
            async with owner(config) as connection:
                await loaded(connection, saved)
        async with _unforced(config, scope, store):
            await _pg_restore(config, dump, others, "post-data", jobs=JOBS)
        # last: they bind the owner too, who could not check foreign keys any more
        await _pg_restore(config, dump, policies, "post-data", jobs=1)
    async with translated(store, "restore"), owner(config) as connection:
        await _set_sequences(connection, saved, scope)
        await connection.execute("SET synchronous_commit = on; SELECT pg_current_xact_id()")
    return rows


@asynccontextmanager
async def _unforced(config: PgConfig, scope: BackupScope, store: str) -> AsyncIterator[None]:
    """Let the owner read the tables around one schema; nobody else is let in."""
    names: list[str] = []
    if scope.schema is not None:
        async with translated(store, "restore"), owner(config) as connection:
            names = [name for (name,) in await connection.fetch(_FORCED, scope.schema)]
            await _set_forced(connection, names, "NO FORCE")
    try:
        yield
    finally:
        async with translated(store, "restore"), owner(config) as connection:
            await _set_forced(connection, names, "FORCE")


async def _set_forced(connection: Connection, names: Sequence[str], word: str) -> None:
    async with connection.transaction():
        for name in names:
            await connection.execute(f"ALTER TABLE {name} {word} ROW LEVEL SECURITY")


async def _contents(config: PgConfig, dump: Path, scope: BackupScope) -> list[str]:
    """The dump's list of contents without extensions, and without other schemas than the scope's.

    The extensions are there: they were made with the database, by its administrator.
    """
    lines = []
    for line in (await run(config, "pg_restore", "--list", str(dump))).splitlines():
        match = _ENTRY.match(line)
        if match is None:
            continue
        rest = match["rest"]
        if rest.startswith("EXTENSION ") or " EXTENSION " in f" {rest}":
            continue
        if scope.schema is not None and not _concerns(rest, scope.schema):
            continue
        lines.append(line)
    return lines


def _concerns(entry: str, schema: str) -> bool:
    """Whether an entry (`TYPE SCHEMA NAME OWNER`, a type may be several words) is of a schema."""
    words = entry.split(" ")
    kind = 0
    while kind < len(words) and words[kind].isupper() and words[kind].isalpha():
        kind += 1
    of = words[kind] if kind < len(words) else ""
    if of == "-":
        return words[kind + 1 :][:1] == [schema] or words[kind + 1 : kind + 3] == ["SCHEMA", schema]
    return of == schema


async def _pg_restore(
    config: PgConfig, dump: Path, entries: Sequence[str], section: str, *, jobs: int
) -> None:
    if not entries:
        return
    contents = dump.with_name("contents")
    contents.write_text("\n".join(entries) + "\n")
    settings = " ".join(f"-c {name}={value}" for name, value in _BULK.items())
    # within one transaction where it is one connection: all of it or nothing
    alone = ["--single-transaction"] if jobs == 1 else [f"--jobs={jobs}"]
    await run(
        as_owner(config),
        "pg_restore",
        f"--dbname={config.database}",
        "--no-password",
        "--no-owner",
        "--exit-on-error",
        f"--section={section}",
        f"--use-list={contents}",
        *alone,
        str(dump),
        options=settings,
    )


async def _load(config: PgConfig, saved: Saved, scope: BackupScope, store: str) -> dict[str, int]:
    """Fill the tables, several at a time."""
    async with owner(config) as connection:
        tables = {table.stream: table for table in await catalog.tables(connection, scope.schema)}
    wanted = [name for name in saved.names if name not in (SCHEMA, SEQUENCES)]
    if missing := set(wanted) - set(tables):
        raise BackupError(f"the schema has no table for {min(missing)}", store=store)
    waiting = iter(wanted)
    rows: dict[str, int] = {}

    async def work() -> None:
        async with owner(config) as connection:
            for name in waiting:
                table = tables[name]
                rows[f"{table.schema}.{table.name}"] = await _fill(connection, table, saved, name)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(JOBS):
                group.create_task(work())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return rows


async def _fill(connection: Connection, table: Table, saved: Saved, name: str) -> int:
    expected = saved.rows(name)
    if expected == 0:
        async for _ in saved.read(name):
            pass
        return 0
    async with connection.transaction():
        # emptied in the same transaction, so that rows go in frozen: nobody has to visit them again
        await connection.execute(f"TRUNCATE ONLY {table.sql}")
        status = await connection.copy_to_table(
            table.name,
            schema_name=table.schema,
            columns=table.columns,
            source=saved.read(name),
            freeze=True,
            encoding="utf-8",
        )
        count = int(status.rpartition(" ")[2])
        if count != expected:
            raise BackupError(f"{table.sql} took {count} rows of {expected}")
    await connection.execute(f"ANALYZE {table.sql}")  # while it is in the cache
    return count


async def _set_sequences(connection: Connection, saved: Saved, scope: BackupScope) -> None:
    content = b"".join([piece async for piece in saved.read(SEQUENCES)])
    for found in orjson.loads(content):
        if scope.schema in (None, found["schema"]):
            name = f"{identifier(found['schema'])}.{identifier(found['name'])}"
            await connection.execute(
                f"SELECT setval({literal(name)}, {int(found['last_value'])},"
                f" {bool(found['is_called'])})"
            )


@asynccontextmanager
async def owner(config: PgConfig) -> AsyncIterator[Connection]:
    """A connection of the owner with the settings of a restore."""
    arguments: dict[str, Any] = config.connect_arguments(as_owner=True)
    arguments["server_settings"] = {
        "application_name": "neo-polystore",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, YMD",
        "TimeZone": "UTC",
        **_BULK,
    }
    connection = cast("Connection", await asyncpg.connect(**arguments))
    try:
        yield connection
    finally:
        connection.terminate()


async def schema_objects(config: PgConfig, dump: bytes) -> list[str]:
    """The objects of a schema stream, sorted: `TYPE SCHEMA NAME OWNER`, extensions left out.

    Names, not definitions: the server writes some expressions in other words once it has read
    them back (`ARRAY['a'::varchar]::text[]`), so a restored schema has not the same text.
    """
    with tempfile.TemporaryDirectory(prefix="neo-polystore-restore-") as folder:
        path = Path(folder) / SCHEMA
        path.write_bytes(dump)
        lines = await _contents(config, path, BackupScope())
    return sorted(match["rest"] for line in lines if (match := _ENTRY.match(line)))
