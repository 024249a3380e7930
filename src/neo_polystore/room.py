"""Bounds how much waits: who finds no room stands in line, and not for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from neo_polystore.errors import UnavailableError


class Room:
    """Holds up to `limit` of weight; as many callers again may wait `patience` seconds for room.

    Belongs to one event loop.
    """

    def __init__(self, limit: int, patience: float):
        self._limit = limit
        self._patience = patience
        self._outside: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.held = 0
        self.refused = 0

    def enter(self, weight: int) -> bool:
        """Take room where there is some and nobody waits for it; whatever is alone has room."""
        if self._outside or (self.held and self.held + weight > self._limit):
            return False
        self.held += weight
        return True

    async def wait(self, weight: int) -> None:
        """Take room when it is one's turn; raises UnavailableError."""
        if len(self._outside) >= self._limit:
            self.refused += 1
            raise UnavailableError("too many calls are waiting: try later")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outside.append((weight, turn))
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(weight)  # room was given in the very moment in which we gave up
            else:
                with suppress(ValueError):
                    self._outside.remove((weight, turn))
                self._admit()  # who stood behind may be lighter
            if not isinstance(error, TimeoutError):
                raise
            self.refused += 1
            raise UnavailableError(
                f"too many calls are waiting (no room within {self._patience:g} s): try later"
            ) from None

    def leave(self, weight: int) -> None:
        """Give room back, to whoever stands first in line."""
        self.held -= weight
        if self._outside:
            self._admit()

    def _admit(self) -> None:
        while self._outside:
            weight, turn = self._outside[0]
            if turn.done():  # cancelled: nobody stands here any more
                self._outside.popleft()
                continue
            if self.held and self.held + weight > self._limit:
                return
            self._outside.popleft()
            self.held += weight
            turn.set_result(None)
