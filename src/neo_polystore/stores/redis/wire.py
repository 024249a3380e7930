"""Scripts over connections that are kept at hand: for calls that themselves carry many others.

The driver's client takes a connection from the pool for every command, looks whether it is still
good, and goes through retries and callbacks. That costs more than a round trip on one machine.
Here a connection stays with whoever calls next, and is looked at only when it has failed.

A script's keys must be of one slot. In a cluster the calls are told apart by slot, and what each
server is told goes out together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import hiredis
from redis.asyncio.cluster import PipelineCommand
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as DriverConnectionError

from neo_polystore.stores.redis.client import RedisClient, Script
from neo_polystore.stores.redis.errors import translate, translated

_ELSEWHERE = (AskError, TryAgainError, ClusterDownError)  # MOVED is an AskError, too

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Told(NamedTuple):
    """What a script is told: keys of one slot, and arguments."""

    keys: Sequence[str]
    arguments: Sequence[bytes | int | str]


class Wire:
    """Runs scripts on connections of the client's pool; holds as many as ran at once."""

    def __init__(self, client: RedisClient):
        self._client = client
        self._clustered = client.config.cluster
        self._pool: Any = None
        self._idle: list[Any] = []

    async def gathered(
        self,
        operation: str,
        script: Script,
        items: list[Item],
        *,
        key: Callable[[Item], str],
        tell: Callable[[list[Item]], Told],
        read: Callable[[list[Item], Any], Sequence[Answer | BaseException]],
        deadline: float | None = None,
    ) -> Sequence[Answer | BaseException]:
        """Many calls in one, each of which has all its keys in the slot of its `key`: what `read`
        makes of the answers, in order, or the error of one that failed."""
        if not self._clustered:
            keys, arguments = tell(items)
            answer = await self.script(operation, script, keys, *arguments, deadline=deadline)
            return read(items, answer)
        slots: dict[int, list[int]] = {}
        for place, item in enumerate(items):
            slots.setdefault(slot_of(key(item)), []).append(place)
        groups = [[items[place] for place in places] for places in slots.values()]
        answers = await self._piped(operation, script, list(map(tell, groups)), deadline)
        found: list[Answer | BaseException] = [NotImplementedError()] * len(items)
        for places, group, answer in zip(slots.values(), groups, answers, strict=True):
            failed = isinstance(answer, Exception)
            each = [translate(answer, operation)] * len(group) if failed else read(group, answer)
            for place, one in zip(places, each, strict=True):
                found[place] = one
        return found

    async def _piped(
        self, operation: str, script: Script, parts: Sequence[Told], deadline: float | None
    ) -> list[Any]:
        """The answers or errors of a cluster, where one server may fail alone."""
        with self._client.recorder.statement(operation), translated(operation):
            calls = [
                PipelineCommand(place, "EVALSHA", script.sha, len(keys), *keys, *arguments)
                for place, (keys, arguments) in enumerate(parts)
            ]
            async with asyncio.timeout_at(self._until(deadline)):
                await self._send(calls)
                await self._send(
                    [
                        _with_text(call, script)
                        for call in calls
                        if isinstance(call.result, NoScriptError)
                    ]
                )
                # with the text, because whoever has the keys now may not have the script
                lost = [_with_text(call, script) for call in calls if _is_lost(call)]
                await asyncio.gather(*map(self._again, lost))
            return [call.result for call in calls]

    async def _send(self, calls: Sequence[PipelineCommand]) -> None:
        """Each server its calls in one message, to all servers at once."""
        by_server: dict[Any, list[PipelineCommand]] = {}
        for call in calls:
            server = self._client.driver.get_node_from_key(call.args[3])
            by_server.setdefault(server, []).append(call)
        await asyncio.gather(
            *(server.execute_pipeline(sent) for server, sent in by_server.items()),
            return_exceptions=True,
        )

    async def _again(self, call: PipelineCommand) -> None:
        """Let the driver find out who has the keys now."""
        try:
            async with self._client.turn():
                call.result = await self._client.driver.execute_command(*call.args)
        except (RedisError, RedisClusterException, OSError) as error:
            call.result = error

    def _until(self, deadline: float | None) -> float:
        latest = asyncio.get_running_loop().time() + self._client.config.command_timeout
        return latest if deadline is None else min(latest, deadline)

    async def script(
        self,
        operation: str,
        script: Script,
        keys: Sequence[str],
        *arguments: bytes | int | str,
        deadline: float | None = None,
    ) -> Any:
        """As `RedisClient.script` on keys of the one server: by hash, with the text where it
        forgot it. `deadline` is a time of the event loop's clock.

        A connection that the server has closed meanwhile is replaced once; a script whose answer
        was lost in that moment may have run twice.
        """
        rest = (len(keys), *keys, *arguments)
        with self._client.recorder.statement(operation), translated(operation):
            pool: Any = self._client.driver.connection_pool
            if pool is not self._pool:  # closed and opened again
                self._pool, self._idle = pool, []
            async with asyncio.timeout_at(self._until(deadline)):
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


def slot_of(stored: str) -> int:
    """The slot of a cluster that a key is in."""
    return int(key_slot(stored.encode(errors="surrogatepass")))


def _with_text(call: PipelineCommand, script: Script) -> PipelineCommand:
    call.args = ("EVAL", script.text, *call.args[2:])
    return call


def _is_lost(call: PipelineCommand) -> bool:
    """Whether it did not reach the server that has its keys now."""
    found = call.result
    return found is None or (
        isinstance(found, Exception)
        and (not isinstance(found, ResponseError) or isinstance(found, _ELSEWHERE))
    )
