"""Pieces of work under way while the next is made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Ahead:
    """At most so many pieces of work at a time; the block ends when the last of them has.

    Work that fails fails a later `begin`, or the end of the block. Where the block itself fails,
    what is under way is cancelled.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._tasks: deque[asyncio.Task[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._tasks:
                await self._tasks.popleft()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it when there is room; it goes as far as it can before this answers."""
        try:
            if len(self._tasks) == self._most:
                await self._tasks.popleft()
        except BaseException:
            work.close()
            raise
        self._tasks.append(asyncio.create_task(work))
        await asyncio.sleep(0)
