"""A process's membership of a data directory: while it lasts, the servers that it asked for run."""

from __future__ import annotations

import asyncio
import itertools
import logging
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
_REJOIN_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)


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
        self._left = False
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
        layout = Layout(Path(data_dir).expanduser().absolute())
        membership = cls(layout, (options or EmbeddedOptions()).with_environment())
        reader = await membership._connect()
        membership._keeping = asyncio.create_task(membership._keep(reader))
        return membership

    async def ensure(self, server: str) -> ServerAddress:
        """Have a server ("postgres", "redis" or "clickhouse") run, and return its address.

        Returns when the server accepts connections, which after a crash includes its recovery.
        Calls at the same time, from any process, share one start. Raises `EmbeddedError` with
        the end of the server's log where it cannot be started.
        """
        while True:
            if self._left:
                raise EmbeddedError("This membership has been left.")
            if not self._connected.is_set() and self._problem:
                raise self._problem
            await self._connected.wait()
            try:
                answer = await self._ask(server)
            except _LostError:
                # `_keep` joins again; the new keeper is asked the same.
                await asyncio.sleep(0.01)
                continue
            if "error" in answer:
                raise EmbeddedError(answer["error"])
            if server not in self._wanted:
                self._wanted.append(server)
            return ServerAddress(**answer["address"])

    async def leave(self) -> None:
        """Stop being a member. The last one to leave returns after everything has stopped.

        Leaving twice does nothing.
        """
        if self._left:
            return
        self._left = True
        keeping, writer = self._keeping, self._writer
        if writer is not None and self._connected.is_set():
            with suppress(OSError):
                writer.write(encode({"leave": True}))
                await writer.drain()
        elif keeping is not None:
            keeping.cancel()  # It was between two keepers.
        if keeping is not None:
            with suppress(asyncio.CancelledError):
                await keeping
        while self._was_last and is_held(self._layout.keeper_lock):
            await asyncio.sleep(0.005)

    async def _connect(self) -> asyncio.StreamReader:
        connection = await asyncio.to_thread(enlist, self._layout, self._options)
        reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE)
        self._problem = None
        self._connected.set()
        return reader

    async def _keep(self, reader: asyncio.StreamReader) -> None:
        """Read the keeper's answers; when it is gone, join the next one, until we leave."""
        while True:
            await self._read(reader)
            await self._disconnect()
            if self._left:
                return
            _log.warning("the keeper of %s is gone; joining again", self._layout.root)
            reader = await self._rejoin()
            for server in tuple(self._wanted):
                # Not awaited: a member that does not use a server now need not wait for it.
                task = asyncio.create_task(self._ensure_again(server))
                self._waiting_tasks.add(task)
                task.add_done_callback(self._waiting_tasks.discard)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                message = decode(line)
                if "last" in message:
                    self._was_last = bool(message["last"])
                future = self._waiting.pop(message.get("id", 0), None)
                if future is not None and not future.done():
                    future.set_result(message)
