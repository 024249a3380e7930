"""A process's membership of a data directory: while it lasts, the servers that it asked for run."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from neo_polystore.embedded.channel import MAX_LINE, decode, encode
from neo_polystore.embedded.enlist import enlist
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.locks import is_held
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions, ServerAddress

_log = logging.getLogger(__name__)
_END_PATIENCE = 120.0
_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)


class _LostError(Exception):
    """The keeper went away before it answered."""


class Membership:
    """One user of the servers of one data directory.

    From `join` to `leave`, or to the end of the process however it comes, the keeper of that
    data directory runs, and so do the servers that were asked for with `ensure`. The last member
    to go stops them. Any number of members may exist, in one process or in many.

    When the keeper is killed, a membership joins again by itself, which starts a new keeper, and
    asks for its servers again; they come back on the same ports with the same passwords.

    Belongs to the event loop it was made on. Not to be used after a fork.
    """

    def __init__(self, layout: Layout, options: EmbeddedOptions) -> None:
        """Does no I/O; use `join`."""
        self._layout = layout
        self._options = options
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._wanted: list[str] = []
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._leaving = asyncio.Event()
        self._was_last = False
        self._keeping: asyncio.Task[None] | None = None
        self._problem: EmbeddedError | None = None

    @classmethod
    async def join(cls, data_dir: Path, options: EmbeddedOptions | None = None) -> Self:
        """Become a member, starting the keeper where none runs. No server is started by this.

        The data directory is made where it does not exist. Waits for an earlier keeper that is
        just stopping. Raises `EmbeddedError` where the directory cannot be used, the options
        contradict those of the running keeper, or the keeper does not start.
        """
        layout = Layout(Path(data_dir).expanduser().absolute())  # noqa: ASYNC240 - no I/O
        membership = cls(layout, (options or EmbeddedOptions()).with_environment())
        reader = await membership._connect()
        membership._keeping = asyncio.create_task(membership._keep(reader))
        # Whoever still waits for a connection then finds that there will be none.
        membership._keeping.add_done_callback(lambda _: membership._connected.set())
        return membership

    async def ensure(self, server: str) -> ServerAddress:
        """Have a server ("postgres", "redis" or "clickhouse") run, and return its address.

        Returns when the server accepts connections, which after a crash includes its recovery.
        Calls at the same time, from any process, share one start. Raises `EmbeddedError` with
        the end of the server's log where it cannot be started.
        """
        while True:
            if self._leaving.is_set():
                raise EmbeddedError("This membership has been left.")
            if not self._connected.is_set() and self._problem:
                raise self._problem
            await self._connected.wait()
            try:
                answer = await self._ask(server)
            except _LostError:
                continue  # `_keep` joins again; the new keeper is asked the same.
            if "error" in answer:
                raise EmbeddedError(answer["error"])
            if server not in self._wanted:
                self._wanted.append(server)
            return ServerAddress(**answer["address"])

    async def leave(self) -> None:
        """Stop being a member. The last one to leave returns after everything has stopped.

        Leaving twice does nothing.
        """
        if self._leaving.is_set():
            return
        self._leaving.set()
        with suppress(_LostError):  # Between two keepers, `_keep` sees it to the end.
            self._send({"leave": True})
        if self._keeping is not None:
            await self._keeping
        deadline = time.monotonic() + _END_PATIENCE
        while self._something_ends() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _something_ends(self) -> bool:
        """Whether our keeper, or servers whose keeper was killed, are on their way out."""
        if is_held(self._layout.keeper_lock):
            return self._was_last
        return any(is_held(self._layout.server_lock(server)) for server in self._wanted)

    async def _connect(self) -> asyncio.StreamReader:
        task = asyncio.create_task(asyncio.to_thread(enlist, self._layout, self._options))
        try:
            connection = await asyncio.shield(task)
        except asyncio.CancelledError:
            # The thread goes on; what it brings must not stay open, or the keeper would stay too.
            task.add_done_callback(_close_result)
            raise
        reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE)
        self._problem = None
        self._connected.set()
        return reader

    async def _keep(self, reader: asyncio.StreamReader) -> None:
        """Read the keeper's answers; when it is gone, join the next one, until we leave."""
        while True:
            await self._read(reader)
            await self._disconnect()
            if self._leaving.is_set():
                return
            _log.warning("the keeper of %s is gone; joining again", self._layout.root)
            next_reader = await self._rejoin()
            if next_reader is None:
                return
            reader = next_reader
            if self._leaving.is_set():
                self._send({"leave": True})
                continue
            # Nobody awaits these: who needs a server asks for it, and waits for the same start.
            for server in self._wanted:
                self._send({"id": next(self._ids), "ensure": server})

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                message = decode(line)
                if "last" in message:
                    self._was_last = bool(message["last"])
                future = self._waiting.pop(message.get("id", 0), None)
                if future is not None and not future.done():
                    future.set_result(message)
                elif "error" in message:
                    _log.error("%s", message["error"])

    async def _disconnect(self) -> None:
        self._connected.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(_LostError)
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _rejoin(self) -> asyncio.StreamReader | None:
        """Try until it works or we leave."""
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
            if self._leaving.is_set():
                break
            try:
                return await self._connect()
            except EmbeddedError as error:
                self._problem = error
                _log.error("cannot join %s again: %s", self._layout.root, error)
        return None

    async def _ask(self, server: str) -> dict[str, Any]:
        number = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._send({"id": number, "ensure": server})
            answer: dict[str, Any] = await future
        finally:
            self._waiting.pop(number, None)
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None or not self._connected.is_set():
            raise _LostError
        self._writer.write(encode(message))


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
