"""Statements over HTTP: clickhouse-connect's synchronous client on threads of our own.

Its asyncio client is no choice: it needs aiohttp beside urllib3, and it packs and unpacks blocks
of rows on the event loop, which would stand still for as long. Threads keep it free, and the
synchronous client without a session may be used by many at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client as Driver
from clickhouse_connect.driver.httputil import get_pool_manager

from neo_polystore.activity import Recorder
from neo_polystore.errors import UnavailableError
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.errors import STORE, translated

T = TypeVar("T")

# The driver logs what it also raises; where nobody configured logging that is only noise.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

_SETTINGS = {
    # duplicates have the same time and so the same partition: FINAL may work on each alone
    "do_not_merge_across_partitions_select_final": 1,
}


def open_driver(config: ClickHouseConfig, *, database: str | None, connections: int = 1) -> Driver:
    """A connected synchronous client; blocks."""
    return clickhouse_connect.get_client(
        host=config.host,
        port=config.port,
        username=config.user,
        password=config.password.get_secret_value(),
        database=database,
        interface="https" if config.secure else "http",
        compress=config.compress,
        connect_timeout=config.connect_timeout,
        send_receive_timeout=config.timeout,
        client_name="neo-polystore",
        autogenerate_session_id=False,  # a session would allow one statement at a time
        show_clickhouse_errors=True,
        settings=_SETTINGS,
        # a pool of our own: the driver's shared one would send a loopback address, with the
        # password, to whatever HTTP_PROXY names
        pool_mgr=get_pool_manager(maxsize=connections, num_pools=2),
    )


class Client:
    """One database's connection, for use from one event loop."""

    def __init__(self, config: ClickHouseConfig):
        self.config = config
        self.recorder = Recorder("clickhouse")
        self._driver: Driver | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def is_open(self) -> bool:
        """Whether `open` has succeeded and `close` was not called since."""
        return self._driver is not None

    async def open(self) -> None:
        """Connect; UnavailableError where that fails. Harmless when it is open."""
        if self._driver is None:
            config = self.config
            with self.recorder.statement("connect"), translated("connect"):
                self._driver = await asyncio.to_thread(
                    open_driver, config, database=config.database, connections=config.connections
                )
            self._threads = ThreadPoolExecutor(config.connections, thread_name_prefix=STORE)

    async def close(self) -> None:
        """Let running statements end, then close."""
        driver, threads, self._driver, self._threads = self._driver, self._threads, None, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        if driver is not None:
            await asyncio.to_thread(driver.close)

    async def run(self, operation: str, work: Callable[[Driver], T]) -> T:
        """Run blocking work with the driver on a thread, its errors translated."""
        if self._driver is None or self._threads is None:
            error = UnavailableError("not connected", store=STORE, operation=operation)
            self.recorder.failed(operation, error)
            raise error
        driver = self._driver
        with self.recorder.statement(operation), translated(operation):
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: work(driver)
            )

    async def rows(
        self, operation: str, sql: str, parameters: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """The rows of a query with `{name:Type}` parameters."""

        def query(driver: Driver) -> Sequence[Sequence[Any]]:
            return driver.query(sql, parameters=dict(parameters)).result_rows

        return await self.run(operation, query)
