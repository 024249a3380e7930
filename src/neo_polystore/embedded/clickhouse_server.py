"""The process around the ClickHouse engine: reads its orders, serves, closes cleanly at SIGTERM.

Run by the keeper as `python -m neo_polystore.embedded.clickhouse_server` in the directory of the
data, with one line of JSON on standard input: host, port, user and password.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from neo_polystore.embedded.clickhouse_app import ClickHouseApp
from neo_polystore.embedded.clickhouse_engine import Engine

_GRACE = 20


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again after serving, before the engine is closed.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


def serve(orders: dict[str, Any], data: Path) -> None:
    """Open the engine and serve until SIGTERM; requests that run then are finished first."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((orders["host"], orders["port"]))
    app = ClickHouseApp(Engine(data), orders["user"], orders["password"])
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        # Clients keep connections for long and send inserts on them, which they cannot repeat
        # when the server closes one at that moment.
        timeout_keep_alive=24 * 3600,
        timeout_graceful_shutdown=_GRACE,
    )
    _Server(config).run(sockets=[listener])
    app.close()


def main() -> None:
    """Read the orders and serve."""
    orders = json.loads(sys.stdin.readline())
    serve(orders, Path.cwd() / "store")
    # A statement that outlasted the grace period must not keep the process.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
