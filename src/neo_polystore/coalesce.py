"""Gathers concurrent calls into one: the largest lever on every engine, without any timer.

While a batch is on its way, callers queue up; the moment a lane is free, everything that waits
goes out as the next batch. A lone caller therefore waits for nothing, and five hundred share a
few round trips. A linger timer would only add its length to every quiet call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from neo_polystore.errors import UnavailableError
from neo_polystore.room import Room

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Send = Callable[[list[Item]], Awaitable[Sequence[Answer | BaseException]]]
"""Does the work of one batch; answers one result or exception per item, in order."""


@dataclass(slots=True)
class Counts:
    """What a coalescer has done: `items / batches` is how much it saved.

    `waiting` is the weight that is held now, `refused` the calls that found no room in time.
    """

    items: int = 0
    batches: int = 0
    refused: int = 0
    waiting: int = 0


class _Waiting(Generic[Item, Answer]):
    __slots__ = ("answer", "item", "weight")

    def __init__(self, item: Item, weight: int, answer: asyncio.Future[Answer]):
        self.item = item
        self.weight = weight
        self.answer = answer


class Coalescer(Generic[Item, Answer]):
    """Turns concurrent `call(item)` into batches for `send`.

    Up to `lanes` batches are under way at a time, each of at most `max_weight` (an item heavier
    than that goes alone) and of items of one `group` only. Groups take turns. Each caller gets
    his own answer or exception, after his batch has ended. Items of a group are sent in the
    order in which they came, but batches of different lanes may overtake each other. Belongs to
    one event loop.

    At most `max_waiting` of weight is held. Further calls, as many again, wait up to `patience`
    seconds for room; whoever waits longer, and all beyond, are refused with UnavailableError, so
    that memory does not grow with the backlog.

    With `gather` a lane lets those whom it has just answered speak before it takes the next
    batch: who calls again at once is in it, so that batches are full although few lanes run.
    """

    def __init__(
        self,
        send: Send[Item, Answer],
        *,
        lanes: int = 2,
        max_weight: int = 128,
        weigh: Callable[[Item], int] = lambda item: 1,
        group: Callable[[Item], Hashable] = lambda item: None,
        max_waiting: int = 10_000,
        patience: float = 5.0,
        gather: bool = False,
    ):
        self._send = send
        self._lanes = lanes
        self._max_weight = max_weight
        self._weigh = weigh
        self._group = group
        self._gather = gather
        self._room = Room(max_waiting, patience)
        self._queues: dict[Hashable, deque[_Waiting[Item, Answer]]] = {}
        self._running: set[object] = set()  # the lanes in use, by their tasks
        self._ended: asyncio.Event | None = None
        self._closed = False
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        self._counts.refused = self._room.refused
        self._counts.waiting = self._room.held
        return self._counts

    async def call(self, item: Item) -> Answer:
        """The answer for one item, after the batch that held it.

        A caller who is cancelled while he waits is taken out of the queue. Once his batch is on
        its way the work is done all the same, unless it is his alone, which is cancelled.
        """
        weight = self._weigh(item)
        if self._closed:
            raise _closing()
        if not self._room.enter(weight):
            await self._room.wait(weight)
        try:
            if self._closed:
                raise _closing()
            if not self._running and not self._queues:
                return await self._alone(item)
            return await self._queued(item, weight)
        finally:
            self._room.leave(weight)

    def begin(self, item: Item) -> asyncio.Future[Answer]:
        """As `call`, for those who do not wait for the answer: it is sent whatever becomes of the
        future. Refused with UnavailableError at once where there is no room."""
        weight = self._weigh(item)
        if self._closed:
            raise _closing()
        if not self._room.enter(weight):
            raise UnavailableError("too many calls are waiting")
        answer = self._queued(item, weight)
        answer.add_done_callback(lambda _: self._room.leave(weight))
        return answer

    async def close(self) -> None:
        """Take no more calls; return when everything that was taken has been answered."""
        self._closed = True
        while self._running or self._queues:
            self._ended = asyncio.Event()
            await self._ended.wait()

    def _queued(self, item: Item, weight: int) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(item, weight, answer)
        group = self._group(item)
        queue = self._queues.get(group)
        if queue is None:
            self._queues[group] = deque((waiting,))
        else:
            queue.append(waiting)
        self._start_lanes()
        return answer

    async def _alone(self, item: Item) -> Answer:
        """A batch of one from the caller's own task: nobody is there to share with."""
        lane = object()
        self._running.add(lane)
        self._counts.batches += 1
        self._counts.items += 1
        try:
            [answer] = await self._send([item])
        finally:
            self._leave(lane)
            self._start_lanes()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _start_lanes(self) -> None:
        if self._queues and len(self._running) < self._lanes:
            # a batch is nobody's in particular: no request's id, tenant or trace may cling to it
            self._running.add(Context().run(asyncio.create_task, self._drain()))

    def _leave(self, lane: object) -> None:
        self._running.discard(lane)
        if not self._running and self._ended is not None:
            self._ended.set()

    async def _drain(self) -> None:
        """One lane: send batch after batch until nobody waits."""
        try:
            while batch := self._next_batch():
                self._counts.batches += 1
                self._counts.items += len(batch)
                await self._carry(batch)
                if self._gather:
                    await asyncio.sleep(0)
        finally:
            # in the same step that found the queue empty: a caller who was answered just now may
            # call again before any callback of this task runs, and must not take it for a lane
            self._leave(asyncio.current_task())

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
        while self._queues and not batch:
            group, queue = next(iter(self._queues.items()))
            room = self._max_weight
            while queue and (not batch or queue[0].weight <= room):
                waiting = queue.popleft()
                if not waiting.answer.cancelled():
                    batch.append(waiting)
                    room -= waiting.weight
            del self._queues[group]
            if queue:
                self._queues[group] = queue  # behind the others
        return batch


def _closing() -> UnavailableError:
    return UnavailableError("closing: no more calls are taken")


def _settle(future: asyncio.Future[Answer], answer: Answer | BaseException) -> None:
    if future.done():
        return
    if not isinstance(answer, BaseException):
        future.set_result(answer)
    elif isinstance(answer, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(answer)
