"""One database: a pool of connections, scoped transactions and translated errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic import BaseModel, ConfigDict, SecretStr

from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.pgkit import exact_json
from neo_polystore.pgkit.errors import translated
from neo_polystore.records.scope import NOBODY, Scope

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:  # generic only in the type stubs
    Connection, Pool = asyncpg.Connection, asyncpg.Pool


class PgConfig(BaseModel):
    """Where a database is and as whom to go there.

    `owner` and `owner_password` name the role that owns the schema and runs migrations; the
    application's own role can neither change the schema nor pass row-level security. `relay` and
    `relay_password` name the role of background work, which reads every tenant's outbox.
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
    ssl: str | None = None
    min_connections: int = 1
    max_connections: int = 10
    connect_timeout: float = 30.0
    command_timeout: float = 30.0

    def as_relay(self) -> PgConfig:
        """The same place as the role of background work, with a small pool that starts empty."""
        if not self.relay:
            raise ConfigError(
                "no role for the relay is configured: set POSTGRES_RELAY and its password"
            )
        return self.model_copy(
            update={
                "user": self.relay,
                "password": self.relay_password,
                "min_connections": 0,
                "max_connections": 4,
            }
        )

    def connect_arguments(self, *, as_owner: bool = False) -> dict[str, Any]:
        """Keyword arguments for asyncpg's connect and create_pool."""
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
            "server_settings": {"application_name": "neo-polystore"},
        }


class Database:
    """A pool over one database. `store` is the engine's name, for errors.

    Connections go back to the pool as they are (an open transaction is rolled back): the reset
    that asyncpg would send costs a round trip per call. Set nothing for the session, then; what
    is set for the transaction (`set_config(..., true)`, ON COMMIT DROP) ends with it.
    """

    def __init__(self, config: PgConfig, *, store: str):
        self.config = config
        self.store = store
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        """Open the pool; raises UnavailableError. Harmless when it is open."""
        async with self._opening, self.translated("connect"):
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    **self.config.connect_arguments(),
                    min_size=self.config.min_connections,
                    max_size=self.config.max_connections,
                    command_timeout=self.config.command_timeout,
                    init=_set_codecs,
                    reset=_leave,
                )

    async def close(self) -> None:
        """Wait for the connections in use, then close them all."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    @property
    def pool(self) -> Pool:
        """The open pool; UnavailableError before `connect` and after `close`."""
        if self._pool is None:
            raise UnavailableError("not connected", store=self.store)
        return self._pool

    @asynccontextmanager
    async def translated(self, operation: str) -> AsyncIterator[None]:
        """Turn driver and network errors into ours."""
        async with translated(self.store, operation):
            yield

    @asynccontextmanager
    async def acquire(self, operation: str) -> AsyncIterator[Connection]:
        """A connection without a transaction and without a scope."""
        async with self.translated(operation), self.pool.acquire() as connection:
            yield connection  # type: ignore[misc]

    @asynccontextmanager
    async def transaction(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A transaction on behalf of `scope`: commits at the end, rolls back at an exception.

        The scope is set transaction-locally, so a pooled connection never carries it on.
        """
        async with self.acquire(operation) as connection, connection.transaction():
            await apply_scope(connection, scope)
            yield connection

    @asynccontextmanager
    async def reading(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A connection to read with: a transaction only where a scope has to be set."""
        if scope == NOBODY:
            async with self.acquire(operation) as connection:
                yield connection
        else:
            async with self.transaction(operation, scope) as connection:
                yield connection

    @asynccontextmanager
    async def statement(self, operation: str, scope: Scope = NOBODY) -> AsyncIterator[Connection]:
        """A connection for one statement that writes, which then is its own transaction.

        Where a scope has to be set it is a transaction of more. Nothing else may be run in it:
        after an error the connection may be unusable.
        """
        async with self.reading(operation, scope) as connection:
            yield connection

    async def retrying(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` again, up to three times, where the server asks for it (40001, 40P01)."""
        from neo_polystore.pgkit.errors import SerializationError

        for _ in range(3):
            try:
                return await work()
            except SerializationError:
                continue
        return await work()


async def apply_scope(connection: Connection, scope: Scope) -> None:
    """Tell row-level security who acts, until the end of the transaction."""
    if scope.tenant is not None or scope.service is not None:
        await connection.execute(
            "SELECT set_config('app.current_tenant', $1, true),"
            " set_config('app.current_service', $2, true)",
            str(scope.tenant or ""),
            scope.service or "",
        )


async def _leave(connection: Connection) -> None:
    """Nothing to reset; see `Database`."""


async def _set_codecs(connection: Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=exact_json.dumps, decoder=exact_json.loads
        )
