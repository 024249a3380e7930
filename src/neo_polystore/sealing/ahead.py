"""One piece of work under way while the next is made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self


class Ahead:
    """`begin` starts a piece of work when the one before has ended; the block ends with the last.

    Work that fails fails the next `begin`, or the end of the block. Where the block itself fails,
    what is under way is cancelled.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            await self._end()
        elif self._task is not None:
            self._task.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await self._task

    async def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it; it goes as far as it can before this answers."""
        try:
            await self._end()
        except BaseException:
            work.close()
            raise
        self._task = asyncio.create_task(work)
        await asyncio.sleep(0)

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await task
