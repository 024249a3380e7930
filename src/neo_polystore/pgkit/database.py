"""One database: a pool of connections, scoped transactions and translated errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg
from pydantic import BaseModel, ConfigDict, SecretStr

from neo_polystore.activity import Activity, Connections, Recorder
from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError
from neo_polystore.pgkit import exact_json
from neo_polystore.pgkit.binding import require_bound
from neo_polystore.pgkit.errors import DRIVER_ERRORS, translate
from neo_polystore.pgkit.pooling import ARGUMENTS
from neo_polystore.pgkit.quoting import identifier
from neo_polystore.pgkit.retrying import Retrying
from neo_polystore.ports.relational import Isolation
from neo_polystore.records.scope import NOBODY, Scope

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:  # generic only in the type stubs
    Connection, Pool = asyncpg.Connection, asyncpg.Pool

T = TypeVar("T")


class PgConfig(BaseModel):
    """Where a database is and as whom to go there.

    `owner` and `owner_password` name the role that owns the schema and runs migrations; the
    application's own role can neither change the schema nor pass row-level security. `relay` and
    `relay_password` name the role of background work, which reads every tenant's outbox, and
    `retention` and `retention_password` the one that may delete events.
    `backup` and `backup_password` name a member of the role that reads everything for backups.
    `admin` and `admin_password` name an administrator of the server, where one is known: only a
    restore that nobody else may do goes there as him.
    `writers` and `readers` are the connections beside the pool that gathered calls go over.

    `pooled` says that `host` is a pooler in transaction mode, see `pgkit/pooling.py`. Everybody
    but the application goes around it then, to `direct_host` and `direct_port`.

    `namespace` is the schema that unqualified names mean, for an engine that shares the database
    of another; without one it is the server's default.

    `programs` is the folder of pg_dump and its like; without it they are looked for in PATH.

    What loses against a concurrent transaction is run again up to `retries` times, after at most
    `retry_delay` seconds each; see `pgkit/retrying.py`.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    port: int = 5432
    database: str
    user: str
    password: SecretStr = SecretStr("")
    owner: str | None = None
    owner_password: SecretStr = SecretStr("")
    relay: str | None = None
    relay_password: SecretStr = SecretStr("")
    retention: str | None = None
    retention_password: SecretStr = SecretStr("")
    backup: str | None = None
    backup_password: SecretStr = SecretStr("")
    admin: str | None = None
    admin_password: SecretStr = SecretStr("")
    ssl: str | None = None
    min_connections: int = 1
    max_connections: int = 10
    writers: int = 4
    readers: int = 2
    pooled: bool = False
    direct_host: str | None = None
    direct_port: int | None = None
    retries: int = 3
    retry_delay: float = 1.0
    connect_timeout: float = 30.0
    command_timeout: float = 30.0
    namespace: str | None = None
    programs: Path | None = None

    def as_relay(self) -> PgConfig:
        """The same place as the role of background work, with a small pool that starts empty."""
        if not self.relay:
            raise ConfigError(
                "no role for the relay is configured: set POSTGRES_RELAY and its password"
            )
        return self._as(self.relay, self.relay_password)

    def as_retention(self) -> PgConfig:
        """The same place as the one role that may delete events, with such a pool."""
        if not self.retention:
            raise ConfigError(
                "no role for retention is configured: set POSTGRES_RETENTION and its password"
            )
        return self._as(self.retention, self.retention_password)

    def _as(self, role: str, password: SecretStr) -> PgConfig:
        return self.direct().model_copy(
            update={
                "user": role,
                "password": password,
                "min_connections": 0,
                "max_connections": 4,
            }
        )

    def direct(self) -> PgConfig:
        """The same database, not through the pooler; ConfigError where that way is unknown."""
        if not self.pooled:
            return self
        if not self.direct_host:
            raise ConfigError(
                "DB_POOLED says that POSTGRES_HOST is a pooler, which migrations and background"
                " work cannot use: set POSTGRES_DIRECT_HOST (and POSTGRES_DIRECT_PORT)"
            )
        address = {"host": self.direct_host, "port": self.direct_port or 5432, "pooled": False}
        return self.model_copy(update=address)

    def connect_arguments(self, *, as_owner: bool = False) -> dict[str, Any]:
        """Keyword arguments for asyncpg's connect and create_pool."""
        if as_owner and self.pooled:
            return self.direct().connect_arguments(as_owner=True)
        user, password = self.user, self.password
        if as_owner and self.owner:
            user, password = self.owner, self.owner_password
        return {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": user,
            "password": password.get_secret_value() or None,
            "ssl": self.ssl,
            "timeout": self.connect_timeout,
            "server_settings": {
                "application_name": "neo-polystore",
                **({"search_path": identifier(self.namespace)} if self.namespace else {}),
            },
            **(ARGUMENTS if self.pooled else {}),
        }


@dataclass(slots=True)
class Usage:
    """How often connections were used and how often one had to be opened for it."""

    uses: int = 0
    opened: int = 0

    @property
    def reuse_percent(self) -> float:
        """The share of uses that found a connection open; 100 where nothing was used yet."""
        return 100 * (1 - min(self.opened / self.uses, 1)) if self.uses else 100.0


class Database:
    """A pool over one database. `store` is the engine's name, for errors.

    What is done under which name, how long it takes and how it fails is counted in `recorder`,
    which databases of one store share.

    Connections go back to the pool as they are (an open transaction is rolled back): the reset
    that asyncpg would send costs a round trip per call. Set nothing for the session, then; what
    is set for the transaction (`set_config(..., true)`, ON COMMIT DROP) ends with it.
    """

    def __init__(self, config: PgConfig, *, store: str, recorder: Recorder | None = None):
        self.config = config
        self.store = store
        self.recorder = recorder or Recorder(store)
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self.usage = Usage()
        self.retries = Retrying(most=config.retries, longest=config.retry_delay)

    async def connect(self) -> None:
        """Open the pool. Harmless when it is open.

        Raises UnavailableError, and UnsafeRoleError for a role that row-level security does not
        bind: see `pgkit/binding.py`.
        """
        async with self._opening, self.translated("connect"):
            if self._pool is None:
                pool = await asyncpg.create_pool(
                    **self.config.connect_arguments(),
                    min_size=self.config.min_connections,
                    max_size=self.config.max_connections,
                    command_timeout=self.config.command_timeout,
                    init=self._prepared,
                    reset=_leave,
                )
                try:
                    async with pool.acquire() as taken:
                        await require_bound(cast("Connection", taken), store=self.store)
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool

    async def dedicated(self) -> Connection:
        """A new connection like those of the pool but outside of it; the caller closes it."""
        connection: Connection = await asyncpg.connect(
            **self.config.connect_arguments(), command_timeout=self.config.command_timeout
        )
        try:
            await self._prepared(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _prepared(self, connection: Connection) -> None:
        self.usage.opened += 1
        await _set_codecs(connection)

    async def close(self) -> None:
        """Wait for the connections in use, then close them all."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    @property
    def pool(self) -> Pool:
        """The open pool; UnavailableError before `connect` and after `close`."""
        if self._pool is None:
            error = UnavailableError("not connected", store=self.store)
            self.recorder.failed("connect", error)
            raise error
        return self._pool

    @property
    def connections(self) -> Connections:
        """The pool's, now."""
        if self._pool is None:
            return Connections(active=0, idle=0)
        idle = self._pool.get_idle_size()
        return Connections(active=self._pool.get_size() - idle, idle=idle)

    @property
    def activity(self) -> Activity:
        """What was done so far, and how the pool stands."""
        retried = self.retries.counts
        return Activity(
            self.recorder,
            connections={"pool": self.connections},
            uses=self.usage.uses,
            opened=self.usage.opened,
            retries={"serialization": retried.serialization, "deadlock": retried.deadlock},
            exhausted=retried.exhausted,
        )

    def failure(self, error: Exception, operation: str) -> PolystoreError:
        """One of `DRIVER_ERRORS` in our words, counted."""
        ours = translate(error, store=self.store, operation=operation)
        self.recorder.failed(operation, ours)
        return ours

    @asynccontextmanager
    async def translated(self, operation: str) -> AsyncIterator[None]:
        """Turn driver and network errors into ours, and count them."""
        try:
            yield
        except DRIVER_ERRORS as error:
            raise self.failure(error, operation) from error

    @asynccontextmanager
    async def taken(self, operation: str) -> AsyncIterator[Connection]:
        """A connection of the pool, for as long as one likes; `acquire` counts how long."""
        asked = perf_counter()
        try:
            async with self.pool.acquire() as connection:
                self.recorder.waits.add(perf_counter() - asked)
                self.usage.uses += 1
                yield connection  # type: ignore[misc]
        except DRIVER_ERRORS as error:
            raise self.failure(error, operation) from error

    @asynccontextmanager
    async def acquire(self, operation: str) -> AsyncIterator[Connection]:
        """A connection without a scope, every statement its own transaction.

        Its time counts as the operation's, without the wait for a free connection.
        """
        async with self.taken(operation) as connection:
            started = perf_counter()
            try:
                yield connection
            finally:
                self.recorder.took(operation, perf_counter() - started)

    @asynccontextmanager
    async def transaction(
        self,
        operation: str,
        scope: Scope = NOBODY,
        *,
        isolation: Isolation | None = None,
    ) -> AsyncIterator[Connection]:
        """A transaction on behalf of `scope`: commits at the end, rolls back at an exception.

        The scope is set transaction-locally, so a pooled connection never carries it on. Its
        time, from BEGIN to the end, counts as the transaction's of this name.
        """
        async with self.taken(operation) as connection:
            started = perf_counter()
            durations = self.recorder.transactions[operation].failed
            try:
                async with connection.transaction(isolation=isolation):
                    await apply_scope(connection, scope)
                    yield connection
                durations = self.recorder.transactions[operation].committed
            finally:
                durations.add(perf_counter() - started)

    @asynccontextmanager
    async def reading(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A connection to read with: a transaction only where a scope has to be set."""
        if scope == NOBODY:
            async with self.acquire(operation) as connection:
                yield connection
        else:
            async with self.transaction(operation, scope) as connection:
                started = perf_counter()
                try:
                    yield connection
                finally:
                    self.recorder.took(operation, perf_counter() - started)

    @asynccontextmanager
    async def statement(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A connection for one statement that writes, which then is its own transaction.

        Where a scope has to be set it is a transaction of more. Nothing else may be run in it:
        after an error the connection may be unusable.
        """
        async with self.reading(operation, scope) as connection:
            yield connection

    async def retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a whole transaction again where the server asks for it (40001, 40P01)."""
        return await self.retries.run(work)


async def apply_scope(connection: Connection, scope: Scope) -> None:
    """Tell row-level security and the audit triggers who acts, until the transaction's end."""
    if scope != NOBODY:
        await connection.execute(
            "SELECT set_config('app.current_tenant', $1, true),"
            " set_config('app.current_service', $2, true),"
            " set_config('app.current_user', $3, true)",
            str(scope.tenant or ""),
            scope.service or "",
            scope.user or "",
        )


async def _leave(connection: Connection) -> None:
    """Nothing to reset; see `Database`."""


async def _set_codecs(connection: Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=exact_json.dumps, decoder=exact_json.loads
        )
