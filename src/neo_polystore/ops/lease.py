"""Holding a lease while work goes on: renewed in time, the work stopped before it runs out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from neo_polystore.errors import PolystoreError

_MARGIN = 0.9
"""The part of a lease that is used: what is left covers the time a cancelled call needs to end."""


class LeaseLostError(PolystoreError):
    """Somebody else may hold the lease by now; what was under way has been cancelled."""


@asynccontextmanager
async def keeping(
    renew: Callable[[], Awaitable[bool]], *, seconds: float, since: float
) -> AsyncIterator[None]:
    """Run the block within a lease of so many seconds, asked for at `since` (the loop's time).

    `renew` is called every third of that; it answers whether the lease is still ours. Where it
    is not, or could not be renewed in time, the block is cancelled and LeaseLostError raised.
    """
    loop = asyncio.get_running_loop()

    async def renewing(deadline: asyncio.Timeout) -> None:
        while not deadline.expired():
            await asyncio.sleep(seconds / 3)
            asked = loop.time()
            with suppress(PolystoreError):
                held = await renew()
                if not deadline.expired():
                    deadline.reschedule(asked + seconds * _MARGIN if held else asked)

    deadline = asyncio.timeout_at(since + seconds * _MARGIN)
    try:
        async with deadline:
            task = asyncio.create_task(renewing(deadline))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
    except TimeoutError:
        if not deadline.expired():
            raise
        raise LeaseLostError("the lease was lost or could not be renewed in time") from None
