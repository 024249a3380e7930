"""Gathers concurrent calls into one: the largest lever on every engine, without any timer.

While a batch is on its way, callers queue up; the moment a lane is free, everything that waits
goes out as the next batch. A lone caller therefore waits for nothing, and five hundred share a
few round trips. A linger timer would only add its length to every quiet call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from neo_polystore.errors import UnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Send = Callable[[list[Item]], Awaitable[Sequence[Answer | BaseException]]]
"""Does the work of one batch; answers one result or exception per item, in order."""


@dataclass(slots=True)
class Counts:
    """What a coalescer has done: `items / batches` is how much it saved."""

    items: int = 0
    batches: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    weight: int
    answer: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Coalescer(Generic[Item, Answer]):
    """Turns concurrent `call(item)` into batches for `send`.

    Up to `lanes` batches are under way at a time, each of at most `max_weight` (an item heavier
    than that goes alone). Each caller gets his own answer or exception, after his batch has
    ended. Items are sent in the order in which they came, but batches of different lanes may
    overtake each other. Belongs to one event loop.

    At most `max_waiting` calls are held; further ones wait up to `patience` seconds for room and
    are then refused with UnavailableError, so that memory does not grow with the backlog.
    """

    def __init__(
        self,
        send: Send[Item, Answer],
        *,
        lanes: int = 2,
        max_weight: int = 128,
        weigh: Callable[[Item], int] = lambda item: 1,
        max_waiting: int = 10_000,
        patience: float = 5.0,
    ):
        self._send = send
        self._lanes = lanes
        self._max_weight = max_weight
        self._weigh = weigh
        self._patience = patience
        self._room = asyncio.Semaphore(max_waiting)
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self.counts = Counts()

    async def call(self, item: Item) -> Answer:
        """The answer for one item, after the batch that held it.

        A caller who is cancelled while he waits is taken out of the queue; once his batch is on
        its way the work is done all the same.
        """
        if self._closed:
            raise UnavailableError("closing: no more calls are taken")
        if self._room.locked():
            await self._wait_for_room()
        else:
            await self._room.acquire()
        try:
            waiting: _Waiting[Item, Answer] = _Waiting(item, self._weigh(item))
            self._queue.append(waiting)
            if len(self._running) < self._lanes:
                lane = asyncio.create_task(self._drain())
                self._running.add(lane)
            return await waiting.answer
        finally:
            self._room.release()

    async def close(self) -> None:
        """Take no more calls; return when everything that was taken has been answered."""
        self._closed = True
        while self._running:
            await asyncio.wait(set(self._running))

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._room.acquire()
        except TimeoutError:
            self.counts.refused += 1
            raise UnavailableError(
                f"too many calls are waiting (none was served for {self._patience:g} s): try later"
            ) from None

    async def _drain(self) -> None:
        """One lane: send batch after batch until nobody waits."""
        try:
            while batch := self._next_batch():
                self.counts.batches += 1
                self.counts.items += len(batch)
                await self._carry(batch)
        finally:
            # in the same step that found the queue empty: a caller who was answered just now may
            # call again before any callback of this task runs, and must not take it for a lane
            self._running.discard(asyncio.current_task())

    async def _carry(self, batch: list[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._send([waiting.item for waiting in batch])
        except BaseException as error:
            for waiting in batch:
                _settle(waiting.answer, error)
            if not isinstance(error, Exception):
                raise
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                _settle(waiting.answer, answer)

    def _next_batch(self) -> list[_Waiting[Item, Answer]]:
        batch: list[_Waiting[Item, Answer]] = []
        room = self._max_weight
        while self._queue and (not batch or self._queue[0].weight <= room):
            waiting = self._queue.popleft()
            if not waiting.answer.cancelled():
                batch.append(waiting)
                room -= waiting.weight
        return batch


def _settle(future: asyncio.Future[Answer], answer: Answer | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, asyncio.CancelledError):
        future.cancel()
    elif isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
