"""Scripts over connections that are kept at hand: for calls that themselves carry many others.

The driver's client takes a connection from the pool for every command, looks whether it is still
good, and goes through retries and callbacks. That costs more than a round trip on one machine.
Here a connection stays with whoever calls next, and is looked at only when it has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import NoScriptError, ResponseError

from neo_polystore.stores.redis.client import RedisClient, Script
from neo_polystore.stores.redis.errors import translated


class Wire:
    """Runs scripts on connections of the client's pool; holds as many as ran at once."""

    def __init__(self, client: RedisClient):
        self._client = client
        self._pool: Any = None
        self._idle: list[Any] = []

    async def script(
        self,
        operation: str,
        script: Script,
        keys: Sequence[str],
        *arguments: bytes | int | str,
        deadline: float | None = None,
    ) -> Any:
        """As `RedisClient.script` on keys of one slot: by hash, with the text where the server
        forgot it. `deadline` is a time of the event loop's clock.

        A connection that the server has closed meanwhile is replaced once; a script whose answer
        was lost in that moment may have run twice.
        """
        latest = asyncio.get_running_loop().time() + self._client.config.command_timeout
        deadline = latest if deadline is None else min(latest, deadline)
        rest = (len(keys), *keys, *arguments)
        with self._client.recorder.statement(operation), translated(operation):
            pool: Any = self._client.driver.connection_pool
            if pool is not self._pool:  # closed and opened again
                self._pool, self._idle = pool, []
            async with asyncio.timeout_at(deadline):
                try:
                    return await self._run(pool, script, rest)
                except DriverConnectionError:
                    return await self._run(pool, script, rest)

    async def _run(self, pool: Any, script: Script, rest: tuple[Any, ...]) -> Any:
        connection = self._idle.pop() if self._idle else await self._taken(pool)
        try:
            try:
                answer = await _exchange(connection, ("EVALSHA", script.sha, *rest))
            except NoScriptError:
                answer = await _exchange(connection, ("EVAL", script.text, *rest))
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            idle, self._idle = self._idle, []  # they are of one age
            for failed in (connection, *idle):
                failed.socket_timeout = self._client.config.command_timeout
                await failed.disconnect(nowait=True)
                await pool.release(failed)
            raise
        self._idle.append(connection)
        return answer

    async def _taken(self, pool: Any) -> Any:
        connection = await pool.get_connection()
        connection.socket_timeout = None  # one for the call in place of one per step
        return connection


async def _exchange(connection: Any, command: tuple[Any, ...]) -> Any:
    await connection.send_packed_command(hiredis.pack_command(command), check_health=False)
    return await connection.read_response()
