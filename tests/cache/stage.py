"""Gates that a seeded scheduler opens, and messages that it delivers, one at a time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

SPINS = 12
"""Turns of the event loop in which everybody reaches his next gate."""


class Stage:
    """Gates in the order in which they were reached, and inboxes."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        self.epoch = 0
        self.inboxes: list[deque[Callable[[], None]]] = []
        self._gates: list[asyncio.Future[None]] = []
        self._busy = 0

    async def step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        self._busy += 1
        try:
            return await work()
        finally:
            self._busy -= 1

    async def advance(self) -> bool:
        """Open one gate and wait until its work is done, or deliver one message; False where
        there is neither."""
        self._gates = [gate for gate in self._gates if not gate.done()]
        full = [inbox for inbox in self.inboxes if inbox]
        if not self._gates and not full:
            return False
        chosen = self.chance.randrange(len(self._gates) + len(full))
        if chosen < len(self._gates):
            self._gates.pop(chosen).set_result(None)
        else:
            full[chosen - len(self._gates)].popleft()()
        await self.quiet()
        return True

    async def quiet(self) -> None:
        spins = 0
        while self._busy or spins < SPINS:
            await asyncio.sleep(0)
            spins = 0 if self._busy else spins + 1
