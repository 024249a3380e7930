"""Tells what is kept in this process of every key that somebody changes: Redis's broadcast
tracking (https://redis.io/docs/latest/develop/reference/client-side-caching/).

One connection to each server subscribes to the invalidations and redirects its own tracking to
itself, which RESP2 servers from 6.0 on can do; were they two, one could be lost without the other.
Whatever was changed before a PING was sent has been told when its answer is read, so the listener
is right for a second from then on, and longer only by the next answer. Where one connection is
lost, or the cluster has another server, all is: then every connection is opened again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import RedisError

from neo_polystore.errors import PolystoreError
from neo_polystore.ports.cache import Listener
from neo_polystore.stores.redis.client import RedisClient

BEAT: Final = 0.25
"""Seconds between two questions whether the connection is there."""
TRUST: Final = 1.0
"""Seconds for which an answer to the question counts."""
_CHANNEL: Final = "__redis__:invalidate"
_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class RedisTracking:
    """Follows families of keys, one listener or several for each, until it is stopped."""

    def __init__(self, client: RedisClient):
        self._client = client
        self._listeners: dict[str, list[Listener]] = {}
        self._task: asyncio.Task[None] | None = None
        self._trusted: list[float] = []

    def follow(self, family: str, listener: Listener) -> None:
        """Tell the listener of the family's keys from soon on, and again whenever a connection
        was lost."""
        self._listeners.setdefault(self._client.keys.prefix(family), []).append(listener)
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            with suppress(RedisError, PolystoreError, OSError):  # the pause, and then again
                await self._follow_all()
            failures = 0 if time.monotonic() - started > TRUST else failures + 1
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])

    async def _follow_all(self) -> None:
        """Follow every server until one of them is lost."""
        servers = self._client.servers
        self._trusted = [-math.inf] * len(servers)
        lines = [
            asyncio.create_task(self._listen(place, server)) for place, server in enumerate(servers)
        ]
        lines.append(asyncio.create_task(self._until_others_serve(servers)))
        try:
            done, _ = await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
            for line in done:
                line.result()
        finally:
            for listener in self._all():
                listener.lost()
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)

    async def _until_others_serve(self, servers: Sequence[Any]) -> None:
        while True:
            await asyncio.sleep(BEAT)
            if set(self._client.servers) != set(servers):
                return

    async def _opened(self, server: Any) -> Any:
        home: Any = self._client.driver.connection_pool if server is None else server
        connection = home.connection_class(**{**home.connection_kwargs, "protocol": 2})
        try:
            async with asyncio.timeout(self._client.config.connect_timeout):
                await connection.connect()
                await connection.send_command("CLIENT", "ID")
                number = await connection.read_response()
                prefixes = [word for prefix in self._listeners for word in ("PREFIX", prefix)]
                await connection.send_command(
                    "CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", *prefixes
                )
                await connection.read_response()
                await connection.send_command("SUBSCRIBE", _CHANNEL)
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        connection.socket_timeout = None  # nothing may come for as long as nothing changes
        return connection

    async def _listen(self, place: int, server: Any) -> None:
        """Pass on what one server tells."""
        connection = await self._opened(server)
        asked: deque[float] = deque()
        beating = asyncio.create_task(_beat(connection, asked))
        try:
            while True:
                kind, *rest = await connection.read_response()
                if kind == b"message":
                    self._tell(rest[1])
                elif kind == b"pong":
                    self._trusted[place] = asked.popleft() + TRUST
                    until = min(self._trusted)
                    for listener in self._all():
                        listener.alive(until)
        finally:
            beating.cancel()
            await connection.disconnect(nowait=True)

    def _tell(self, keys: Sequence[bytes] | None) -> None:
        """Keys as the server knows them; none at all after FLUSHALL."""
        if keys is None:
            for listener in self._all():
                listener.forget()
            return
        own = len(self._client.keys.stored(""))
        told: dict[str, list[str]] = {}
        for key in keys:
            text = key.decode(errors="replace")
            told.setdefault(text[: text.index(":", own) + 1], []).append(text[own:])
        for prefix, changed in told.items():
            for listener in self._listeners.get(prefix, ()):
                listener.evict(changed)

    def _all(self) -> list[Listener]:
        return [listener for listeners in self._listeners.values() for listener in listeners]


async def _beat(connection: Any, asked: deque[float]) -> None:
    """Ask again and again; a server that is silent for too long has lost us."""
    while not asked or time.monotonic() - asked[0] < TRUST:
        asked.append(time.monotonic())
        with suppress(RedisError, OSError):  # whoever listens is told as well
            await connection.send_command("PING", check_health=False)
        await asyncio.sleep(BEAT)
    await connection.disconnect(nowait=True)
