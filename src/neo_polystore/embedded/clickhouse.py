"""The ClickHouse engine for one data directory, in a child that speaks ClickHouse's HTTP."""

from __future__ import annotations

import json
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import neo_polystore
from neo_polystore.embedded.account import hand_over
from neo_polystore.embedded.launch import Command
from neo_polystore.embedded.ports import HOST
from neo_polystore.embedded.servers import RunProgram, ServerHome, package_folder

SERVER_MODULE = "neo_polystore.embedded.clickhouse_server"


class ClickHouseServer(ServerHome):
    """The chDB engine in `<data>/clickhouse`, for any number of client processes."""

    name = "clickhouse"
    user = "default"
    stop_signal = signal.SIGTERM
    start_patience = 300.0
    stop_patience = 60.0

    @property
    def _home(self) -> Path:
        return self.layout.home(self.name)

    def prepare(self, port: int, run: RunProgram) -> None:
        """Make the directories and check that the engine is installed."""
        package_folder("chdb")
        package_folder("uvicorn")
        for folder in (self._home, self._home / "store", self._home / "tmp"):
            hand_over(self.account, folder)

    def command(self, port: int) -> Command:
        """This Python again; the password goes through standard input, not the command line."""
        greeting = {"host": HOST, "port": port, "user": self.user, "password": self.password}
        package_root = Path(neo_polystore.__file__).parent
        reaches = [self._home, Path(sys.executable), Path(sys.prefix), package_root]
        for package in ("chdb", "uvicorn"):
            spec = find_spec(package)
            if spec and spec.origin:
                reaches.append(Path(spec.origin))
        return Command(
            argv=(sys.executable, "-P", "-m", SERVER_MODULE),
            cwd=self._home,
            reaches=tuple(reaches),
            ready_input=json.dumps(greeting).encode() + b"\n",
            # The account may not be able to write beside the sources.
            environment={"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(self._home / "tmp")},
        )

    def is_ready(self, port: int, pid: int) -> bool:
        """Whether it answers a ping."""
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
        return False
