"""One moment of a database as streams: its schema by pg_dump, its rows by COPY, its sequences.

pg_dump reads one table after the other and compresses in the same thread. So it only writes the
schema here, and the rows are read by COPY over several connections under the same exported snapshot
(`pg_export_snapshot`), which is what its own parallel mode does; compression is somebody else's
work, in other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

import asyncpg
import orjson

from neo_polystore.errors import ConfigError, UnsupportedError
from neo_polystore.pgkit import backup_catalog as catalog
from neo_polystore.pgkit import hypertables
from neo_polystore.pgkit.backup_catalog import Table
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.programs import running
from neo_polystore.pgkit.quoting import identifier, literal
from neo_polystore.pgkit.roles import BACKUP
from neo_polystore.ports.backup import BackupScope, Stream

SCHEMA, SEQUENCES = "schema.dump", "sequences.json"
_PIECE = 256 << 10
_ATTEMPTS = 3

_SESSION = """
SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_encoding = 'UTF8';
SET synchronize_seqscans = off; SET statement_timeout = 0; SET lock_timeout = '30s';
SET idle_in_transaction_session_timeout = 0; SET row_security = off;
"""
"""The same rows give the same text, whatever the server and the database are set to."""

# What the backup role may not read yet: the revisions grant it what they make, but not everything
# there is was made by them.
_GRANT = f"""
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT oid, nspname AS name FROM pg_namespace
        WHERE (nspowner = current_user::regrole OR nspname = 'public')
            AND NOT has_schema_privilege('{BACKUP}', oid, 'USAGE')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {BACKUP}', found.name);
    END LOOP;
    FOR found IN SELECT oid::regclass AS name, relkind FROM pg_class
        WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'S') AND NOT
            CASE relkind WHEN 'S' THEN has_sequence_privilege('{BACKUP}', oid, 'SELECT')
            ELSE has_table_privilege('{BACKUP}', oid, 'SELECT') END
    LOOP
        EXECUTE format('GRANT SELECT ON %s %s TO {BACKUP}',
            CASE found.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, found.name);
    END LOOP;
END
$$
"""

_POSITIONS = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
    ::text AS lsn,
    pg_current_snapshot()::text AS snapshot, current_setting('server_version') AS server_version
"""

Moment = Callable[[Connection], Awaitable[dict[str, Any]]]
"""Further facts about the moment, asked within the snapshot."""


async def no_more(_: Connection) -> dict[str, Any]:
    """No further facts."""
    return {}


class PgSnapshot:
    """A transaction in REPEATABLE READ that others join."""

    def __init__(self, config: PgConfig, store: str, scope: BackupScope):
        self.positions: Mapping[str, Any] = {}
        self.excluded: Mapping[str, str] = {}
        self.held = True
        self._config = config
        self._store = store
        self._scope = scope
        self._id = ""
        self._tables: dict[str, Table] = {}
        self._sequences: Sequence[catalog.Counter] = ()
        self._rows: dict[str, int] = {}
        self._idle: list[Connection] = []
        self._whole = False
        self._size = 0

    async def take(self, connection: Connection, moment: Moment) -> None:
        """Fix the moment; the connection's transaction stays open until the end."""
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._id = await connection.fetchval("SELECT pg_export_snapshot()")
        self._whole = bool(await catalog.hypertables(connection))
        if self._whole and self._scope.schema is not None:
            raise UnsupportedError(
                "holds hypertables of TimescaleDB, which are only backed up with all schemas",
                store=self._store,
                operation="backup",
            )
        tables = await catalog.tables(connection, self._scope.schema)
        self._tables = {table.stream: table for table in tables}
        if tables:  # nobody drops or alters them until we have read them
            names = ", ".join(table.sql for table in tables)
            await connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        self._sequences = await catalog.sequences(connection, self._scope.schema)
        row = await connection.fetchrow(_POSITIONS)
        self.positions = {**dict(row or {}), **await moment(connection)}
        if self._whole:
            self._size = await connection.fetchval("SELECT pg_database_size(current_database())")
            self.positions = {
                **self.positions,
                hypertables.VERSION: await hypertables.version(connection),
            }

    def streams(self) -> Sequence[Stream]:
        """Schema, sequences, and the tables, the largest first: they take longest.

        With hypertables the database as a whole, and what its content is.
        """
        if self._whole:
            return [Stream(hypertables.DUMP, self._size, exact=False), Stream(hypertables.CONTENT)]
        tables = sorted(self._tables.values(), key=lambda table: -table.size)
        return [
            Stream(SCHEMA, 1 << 20, exact=False),
            # a sequence goes on while the rows are read
            Stream(SEQUENCES, 1 << 10),
            *(Stream(table.stream, table.size) for table in tables),
        ]

    def rows(self, name: str) -> int | None:
        """What COPY counted."""
        return self._rows.get(name)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """One stream, over a connection of its own."""
        match name:
            case "schema.dump":
                async for piece in self._schema():
                    yield piece
            case "sequences.json":
                yield orjson.dumps([asdict(each) for each in self._sequences])
            case hypertables.DUMP:
                async for piece in self._dump():
                    yield piece
            case hypertables.CONTENT:
                async with translated(self._store, "backup"), self._reading() as connection:
                    found = await hypertables.content(connection, list(self._tables.values()))
                self._rows[name] = hypertables.rows_of(found)
                yield orjson.dumps(found)
            case _:
                async for piece in self._table(name):
                    yield piece

    async def _schema(self) -> AsyncIterator[bytes]:
        async for piece in self._dump("--schema-only"):
            yield piece

    async def _dump(self, *which: str) -> AsyncIterator[bytes]:
        arguments = ["--format=custom", "--compress=0", "--no-password", *which]
        arguments += [f"--role={BACKUP}", f"--snapshot={self._id}", "--no-sync"]
        if self._scope.schema is not None:
            arguments.append(f"--schema={identifier(self._scope.schema)}")
        async with running(as_backup(self._config), "pg_dump", *arguments) as process:
            assert process.stdout is not None  # noqa: S101 - asked for
            while piece := await process.stdout.read(_PIECE):
                yield piece

    async def _table(self, name: str) -> AsyncIterator[bytes]:
        table = self._tables[name]
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        async with translated(self._store, "backup"), self._reading() as connection:

            async def copy() -> str:
                try:
                    status: str = await connection.copy_from_query(
                        f"SELECT {', '.join(map(identifier, table.columns))} FROM ONLY {table.sql}",
                        output=pieces.put,
                        encoding="utf-8",
                    )
                    return status
                finally:
                    await pieces.put(None)

            copying = asyncio.create_task(copy())
            try:
                while (piece := await pieces.get()) is not None:
                    yield piece
                status = await copying
            finally:
                if not copying.done():
                    copying.cancel()
                    await asyncio.gather(copying, return_exceptions=True)
        self._rows[name] = int(status.rpartition(" ")[2])

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """A connection in the snapshot; kept for the next reader unless it broke off."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await connect(self._config)
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await connection.execute(f"SET TRANSACTION SNAPSHOT {literal(self._id)}")
            except BaseException:
                connection.terminate()
                raise
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Let go of the connections of readers."""
        while self._idle:
            self._idle.pop().terminate()


@asynccontextmanager
async def held(
    config: PgConfig, scope: BackupScope, *, store: str, moment: Moment = no_more
) -> AsyncIterator[PgSnapshot]:
    """Hold one moment of a database, and every table of it against being dropped."""
    async with AsyncExitStack() as stack:
        async with translated(store, "backup"):
            await _allow(config, store)
            connection = await stack.enter_async_context(connected(config))
            snapshot = await _taken(connection, config, store, scope, moment)
        stack.callback(snapshot.close)
        yield snapshot


async def _taken(
    connection: Connection, config: PgConfig, store: str, scope: BackupScope, moment: Moment
) -> PgSnapshot:
    for attempt in range(1, _ATTEMPTS + 1):
        snapshot = PgSnapshot(config, store, scope)
        try:
            await snapshot.take(connection, moment)
            return snapshot
        except asyncpg.UndefinedTableError:  # a partition went between list and lock
            await connection.execute("ROLLBACK")
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def _allow(config: PgConfig, store: str) -> None:
    owner = cast("Connection", await asyncpg.connect(**config.connect_arguments(as_owner=True)))
    try:
        if not await owner.fetchval("SELECT to_regrole($1) IS NOT NULL", BACKUP):
            raise ConfigError(
                f"the server has no role {BACKUP}: run `neo-polystore db roles`",
                store=store,
                operation="backup",
            )
        await owner.execute(_GRANT)
    finally:
        await owner.close()


def as_backup(config: PgConfig) -> PgConfig:
    """The same database as the user who may become the backup role."""
    if not config.backup:
        raise ConfigError(
            f"no user for backups is configured: set POSTGRES_BACKUP (a member of {BACKUP}) and"
            " its password"
        )
    return config.model_copy(update={"user": config.backup, "password": config.backup_password})


@asynccontextmanager
async def connected(config: PgConfig) -> AsyncIterator[Connection]:
    """A connection as the backup role, which reads every tenant's rows."""
    connection = await connect(config)
    try:
        yield connection
    finally:
        # an open COPY is not waited for
        connection.terminate()


async def connect(config: PgConfig) -> Connection:
    """The same, to be closed by the caller."""
    arguments = as_backup(config).connect_arguments()
    connection = cast("Connection", await asyncpg.connect(**arguments))
    try:
        await connection.execute(f"SET ROLE {BACKUP}; {_SESSION}")
    except BaseException:
        connection.terminate()
        raise
    return connection
