"""Running a transaction again that lost against a concurrent one: bounded, spread out, counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from neo_polystore.pgkit.errors import SerializationError

T = TypeVar("T")

FIRST_SECONDS = 0.01
"""The longest wait before the first retry; each further one may be four times as long."""


@dataclass(slots=True)
class RetryCounts:
    """What was run again and why; `exhausted` are those that lost the last time as well."""

    serialization: int = 0
    deadlock: int = 0
    exhausted: int = 0

    @property
    def total(self) -> int:
        """How many times something was run again."""
        return self.serialization + self.deadlock


class Retrying:
    """At most `most` retries (0: none), each after a random time of at most `longest` seconds.

    The time is random from zero on, so that those who collided do not meet again.
    """

    def __init__(
        self,
        *,
        most: int,
        longest: float,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        self._most = most
        self._longest = longest
        self._uniform = uniform
        self._sleep = sleep
        self.counts = RetryCounts()

    async def run(
        self,
        work: Callable[[], Awaitable[T]],
        lost: Callable[[int, SerializationError], None] = lambda attempt, error: None,
    ) -> T:
        """The result of `work`, which must be a whole transaction; raises what its last run did.

        `lost` is told of every run that is followed by another, with its number from 1.
        """
        for attempt in range(1, self._most + 1):
            try:
                return await work()
            except SerializationError as error:
                self._count(error)
                lost(attempt, error)
            await self._sleep(self._uniform(0, self._ceiling(attempt)))
        try:
            return await work()
        except SerializationError:
            self.counts.exhausted += 1
            raise

    def _ceiling(self, attempt: int) -> float:
        return float(min(self._longest, FIRST_SECONDS * 4 ** (attempt - 1)))

    def _count(self, error: SerializationError) -> None:
        if isinstance(error.__cause__, asyncpg.DeadlockDetectedError):
            self.counts.deadlock += 1
        else:
            self.counts.serialization += 1
