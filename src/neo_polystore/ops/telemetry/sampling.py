"""Questions to a database for a page of metrics: seldom, one at a time, and nobody waits long."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from neo_polystore.errors import PolystoreError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Sampled(Generic[T]):
    """The last answer to `ask`.

    It is asked at most every `fresh` seconds, however many scrape, and by one at a time. Who
    wants it waits for up to `patience` seconds; after that the question goes on without him
    (a driver's thread cannot be stopped, so giving up and asking again would only pile them up).
    An answer stands for `keep` seconds where newer ones cannot be had. Belongs to one event loop.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        fresh: float,
        patience: float,
        keep: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ask = ask
        self._fresh = fresh
        self._patience = patience
        self._keep = keep
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._answer: T | None = None
        self._answered = self._asked = -math.inf
        self.up = False

    async def refresh(self) -> None:
        """Have a recent answer, if it can be had in time. Raises nothing."""
        if self._asking is None:
            if self._clock() - self._asked < self._fresh:
                return
            self._asking = asyncio.create_task(self._look())
        _, late = await asyncio.wait([self._asking], timeout=self._patience)
        if late:
            self.up = False

    async def close(self) -> None:
        """End a question that is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    @property
    def age(self) -> float:
        """Seconds since the last answer; infinite where there was none."""
        return self._clock() - self._answered

    @property
    def answer(self) -> T | None:
        """The last answer, while it stands."""
        return self._answer if self.up or self.age <= self._keep else None

    async def _look(self) -> None:
        try:
            self._answer = await self._ask()
            self._answered = self._clock()
            self.up = True
        except PolystoreError:
            self.up = False
        except Exception:  # one source's fault must not take the whole page with it
            self.up = False
            _log.exception("a source of metrics failed")
        finally:
            self._asked = self._clock()
            self._asking = None
