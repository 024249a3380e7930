"""Blocking work in a thread, awaited to its end even by a caller who is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def finished(
    work: Callable[[], T],
    *,
    executor: Executor | None = None,
    on_cancel: Callable[[], object] | None = None,
) -> T:
    """The result of `work`, done in a thread.

    A thread cannot be cancelled. Leaving it behind would let the caller close a file that it
    still uses; so a cancelled caller waits until it has ended, and is cancelled then.
    `on_cancel` may make it end sooner.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, partial(work))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
            if on_cancel is not None:
                on_cancel()
    if cancelled is not None:
        future.exception()  # seen, so that nobody warns of it
        raise cancelled
    return future.result()
