"""Connections to a server or a cluster, and Lua scripts that run by their hash."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import get_node_name
from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import NoScriptError, SlotNotCoveredError

from neo_polystore.activity import Recorder
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.stores.redis import cluster
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.errors import STORE, translated
from neo_polystore.stores.redis.keys import Keys

_CLUSTER_MODE = re.compile(r"^(?:redis|server)_mode:cluster", re.MULTILINE)  # Valkey: server_mode
_RUN_ID = re.compile(r"^run_id:(\w+)", re.MULTILINE)


class Script:
    """A Lua text and its SHA-1, under which servers cache it."""

    def __init__(self, text: str):
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """One pool over one server, or one for each server of a cluster, shared by the ports."""

    def __init__(self, config: RedisConfig):
        self.config = config
        self.keys = Keys(namespace=config.namespace, ttls=config.ttls, cluster=config.cluster)
        self.recorder = Recorder("redis")
        self.run_id = ""
        self._run_ids: dict[str, str] = {}
        self._of_a_cluster = False
        self._free = asyncio.Semaphore(config.max_connections)
        self._driver: Redis | RedisCluster | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has reached a server since it was made or closed."""
        return self._driver is not None

    async def connect(self) -> None:
        """Open a first connection; raises UnavailableError, and ConfigError where a cluster is not
        configured as one. Harmless when open."""
        if self._driver is not None:
            return
        with self.recorder.statement("connect"), translated("connect"):
            if self.config.cluster:
                self._driver = await cluster.connected(self.config, greet=self._greet)
                return
            driver = Redis.from_pool(_pool(self.config, greet=self._greet))
            try:
                await _execute(driver, "PING")
                if self._of_a_cluster:
                    raise ConfigError(
                        "the server is one of a Redis Cluster: set REDIS_CLUSTER", store=STORE
                    )
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
    def driver(self) -> Any:
        """The driver's client; UnavailableError before `connect` and after `close`."""
        if self._driver is None:
            raise UnavailableError("not connected", store=STORE)
        return self._driver

    @property
    def servers(self) -> list[Any]:
        """What `run` takes for each server that holds keys; None stands for the only one."""
        return list(self.driver.get_primaries()) if self.config.cluster else [None]

    def epoch(self, stored: str) -> str:
        """The run id of the server that has this key, as of the newest connection to it."""
        if not self.config.cluster or self._driver is None:
            return self.run_id
        try:
            node = self.driver.get_node_from_key(stored)
        except SlotNotCoveredError:
            return ""
        return "" if node is None else self._run_ids.get(node.name, "")

    async def run(self, operation: str, *command: Any, server: Any = None) -> Any:
        """One command, its errors translated; in a cluster where its key is, or on `server`."""
        with self.recorder.statement(operation), translated(operation):
            async with self.turn():
                return await _execute(self.driver if server is None else server, *command)

    async def script(self, operation: str, script: Script, key: str, *arguments: Any) -> Any:
        """Run a script on one key: by hash, and with its text where the server forgot it.

        One key only, so that it runs wherever a cluster keeps that key.
        """
        with self.recorder.statement(operation), translated(operation):
            async with self.turn():
                try:
                    return await _execute(self.driver, "EVALSHA", script.sha, 1, key, *arguments)
                except NoScriptError:
                    return await _execute(self.driver, "EVAL", script.text, 1, key, *arguments)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a connection, as the pool of one server does; a cluster's would fail at once."""
        if not self.config.cluster:
            yield
            return
        async with asyncio.timeout(self.config.command_timeout):
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

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
            if self.config.cluster:
                self._run_ids[get_node_name(connection.host, connection.port)] = found[1]
        self._of_a_cluster = _CLUSTER_MODE.search(text) is not None


async def _execute(driver: Any, *command: Any) -> Any:
    return await driver.execute_command(*command)


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
