"""The connection pool, and Lua scripts that run by their hash wherever the server knows it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import NoScriptError

from neo_polystore.activity import Recorder
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.errors import STORE, translated
from neo_polystore.stores.redis.keys import Keys

_RUN_ID = re.compile(r"^run_id:(\w+)", re.MULTILINE)


class Script:
    """A Lua text and its SHA-1, under which servers cache it."""

    def __init__(self, text: str):
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """One pool over one server, shared by the ports."""

    def __init__(self, config: RedisConfig):
        self.config = config
        self.keys = Keys(namespace=config.namespace, ttls=config.ttls, cluster=config.cluster)
        self.recorder = Recorder()
        self.run_id = ""
        self.clustered = False
        self._driver: Redis | None = None

    async def connect(self) -> None:
        """Open the pool and a first connection; raises UnavailableError. Harmless when open."""
        if self._driver is None:
            driver = Redis.from_pool(_pool(self.config, greet=self._greet))
            try:
                with self.recorder.statement("connect"), translated("connect"):
                    await _execute(driver, "PING")
            except BaseException:
                await driver.aclose()
                raise
            self._driver = driver

    async def close(self) -> None:
        """Close every connection; harmless when there is none."""
        if self._driver is not None:
            driver, self._driver = self._driver, None
            await driver.aclose()

    @property
    def driver(self) -> Redis:
        """The driver's client; UnavailableError before `connect` and after `close`."""
        if self._driver is None:
            raise UnavailableError("not connected", store=STORE)
        return self._driver

    async def run(self, operation: str, *command: Any) -> Any:
        """One command, its errors translated."""
        with self.recorder.statement(operation), translated(operation):
            return await _execute(self.driver, *command)

    async def script(self, operation: str, script: Script, key: str, *arguments: Any) -> Any:
        """Run a script on one key: by hash, and with its text where the server forgot it.

        One key only, so that it runs wherever a cluster keeps that key.
        """
        with self.recorder.statement(operation), translated(operation):
            try:
                return await _execute(self.driver, "EVALSHA", script.sha, 1, key, *arguments)
            except NoScriptError:
                return await _execute(self.driver, "EVAL", script.text, 1, key, *arguments)

    async def _greet(self, connection: Any) -> None:
        """Ask every new connection which server it has reached, and whether that is a new one.

        A server that was restarted or replaced may have lost what it had acknowledged.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        answer = await connection.read_response()
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        if found := _RUN_ID.search(text):
            self.run_id = found[1]
        self.clustered = "redis_mode:cluster" in text


async def _execute(driver: Redis, *command: Any) -> Any:
    untyped: Any = driver
    return await untyped.execute_command(*command)


def _pool(
    config: RedisConfig, *, greet: Callable[[Any], Awaitable[None]]
) -> BlockingConnectionPool:
    """A pool that waits for a free connection instead of failing when all are in use."""
    options: dict[str, Any] = {
        "max_connections": config.max_connections,
        "timeout": config.command_timeout,
        "socket_timeout": config.command_timeout,
        "socket_connect_timeout": config.connect_timeout,
        "client_name": "neo-polystore",
        "redis_connect_func": greet,
        # A connection that the server has closed meanwhile is replaced at once; a timeout is
        # not repeated, because the caller's time is spent.
        "retry": Retry(NoBackoff(), 1, supported_errors=(DriverConnectionError,)),
    }
    if config.url is not None:
        try:
            return BlockingConnectionPool.from_url(config.url.get_secret_value(), **options)
        except ValueError as error:
            raise ConfigError(f"cannot read the URL: {error}", store=STORE) from None
    if config.ssl:
        options["connection_class"] = SSLConnection
    return BlockingConnectionPool(
        host=config.host,
        port=config.port,
        username=config.user,
        password=config.password.get_secret_value() or None,
        db=config.db,
        **options,
    )
