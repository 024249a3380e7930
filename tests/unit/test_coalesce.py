"""The coalescer: who shares a batch, who gets which answer, what happens at the edges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from neo_polystore.coalesce import Coalescer
from neo_polystore.errors import ConflictError, UnavailableError


class Work:
    """Doubles numbers; every batch waits until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, items: list[int]) -> Sequence[int | BaseException]:
        """Answers twice the number, a conflict for negative ones."""
        self.batches.append(items)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return [ConflictError(f"{n}") if n < 0 else 2 * n for n in items]


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_caller_goes_out_at_once() -> None:
    work = Work()
    work.gate.set()
    assert await Coalescer(work.send).call(21) == 42
    assert work.batches == [[21]]


@pytest.mark.parametrize("lanes", [1, 2])
async def test_callers_that_call_again_at_once_are_never_forgotten(lanes: int) -> None:
    work = Work()
    work.gate.set()
    coalescer = Coalescer(work.send, lanes=lanes)

    async def caller() -> None:
        for n in range(50):
            assert await coalescer.call(n) == 2 * n

    async with asyncio.timeout(10):
        await asyncio.gather(*(caller() for _ in range(lanes)))


async def test_callers_that_come_while_a_batch_is_under_way_share_the_next() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1)
    first = asyncio.create_task(coalescer.call(1))
    await settle()
    others = [asyncio.create_task(coalescer.call(n)) for n in range(2, 6)]
    await settle()
    assert work.batches == [[1]]
    work.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 3, 4, 5]]
    assert (coalescer.counts.items, coalescer.counts.batches) == (5, 2)


async def test_no_more_than_the_lanes_are_under_way_and_no_batch_is_too_heavy() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=2, max_weight=10)
    calls = [asyncio.create_task(coalescer.call(n)) for n in range(100)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [2 * n for n in range(100)]
    assert work.most_under_way <= 2
    assert max(map(len, work.batches)) == 10


async def test_an_item_heavier_than_a_batch_goes_alone() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1, max_weight=5, weigh=lambda n: n)
    calls = [asyncio.create_task(coalescer.call(n)) for n in (1, 9, 2, 3)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [2, 18, 4, 6]
    assert work.batches == [[1], [9], [2, 3]]


async def test_each_caller_gets_his_own_error() -> None:
    work = Work()
    work.gate.set()
    coalescer = Coalescer(work.send)
    answers = await asyncio.gather(*map(coalescer.call, (1, -2, 3)), return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 6]
    assert isinstance(answers[1], ConflictError)


async def test_a_batch_that_fails_as_a_whole_fails_for_all_in_it_and_for_nobody_else() -> None:
    failing = True

    async def send(items: list[int]) -> list[int]:
        if failing:
            raise UnavailableError("down")
        return items

    coalescer = Coalescer(send)
    answers = await asyncio.gather(*map(coalescer.call, range(3)), return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    failing = False
    assert await coalescer.call(7) == 7


async def test_a_cancelled_caller_leaves_the_queue_and_disturbs_nobody() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1)
    first = asyncio.create_task(coalescer.call(1))
    await settle()
    gone, kept = asyncio.create_task(coalescer.call(2)), asyncio.create_task(coalescer.call(3))
    await settle()
    gone.cancel()
    work.gate.set()
    assert [await first, await kept] == [2, 6]
    assert work.batches == [[1], [3]]


async def test_a_full_queue_waits_and_then_refuses() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1, max_waiting=2, patience=0.01)
    held = [asyncio.create_task(coalescer.call(n)) for n in (1, 2)]
    await settle()
    with pytest.raises(UnavailableError, match="try later"):
        await coalescer.call(3)
    late = asyncio.create_task(coalescer.call(4))
    work.gate.set()
    assert await asyncio.gather(*held, late) == [2, 4, 8]
    assert coalescer.counts.refused == 1


async def test_closing_answers_what_was_taken_and_takes_no_more() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1)
    calls = [asyncio.create_task(coalescer.call(n)) for n in range(5)]
    await settle()
    closing = asyncio.create_task(coalescer.close())
    await settle()
    with pytest.raises(UnavailableError, match="closing"):
        await coalescer.call(9)
    assert not closing.done()
    work.gate.set()
    await closing
    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]


async def test_room_is_counted_by_weight() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1, max_waiting=10, patience=0.01, weigh=lambda n: n)
    held = [asyncio.create_task(coalescer.call(n)) for n in (4, 5)]
    await settle()
    with pytest.raises(UnavailableError):
        await coalescer.call(2)
    assert coalescer.counts.waiting == 9
    light = asyncio.create_task(coalescer.call(1))
    await settle()
    work.gate.set()
    assert await asyncio.gather(*held, light) == [8, 10, 2]
    assert coalescer.counts.waiting == 0


async def test_as_many_as_are_held_may_stand_in_line_and_no_more() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1, max_waiting=3, patience=60)
    calls = [asyncio.create_task(coalescer.call(n)) for n in range(8)]
    await settle()
    assert [call.done() for call in calls] == [False] * 6 + [True] * 2
    calls[4].cancel()
    work.gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answers[n] for n in (0, 1, 2, 3, 5)] == [0, 2, 4, 6, 10]
    assert coalescer.counts.refused == 2


async def test_only_one_group_is_in_a_batch_and_groups_take_turns() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1, max_weight=2, group=lambda n: n // 10)
    calls = [asyncio.create_task(coalescer.call(n)) for n in (1, 11, 12, 13, 14, 21, 15)]
    await settle()
    work.gate.set()
    await asyncio.gather(*calls)
    assert work.batches == [[1], [11, 12], [21], [13, 14], [15]]


async def test_a_lone_caller_who_is_cancelled_makes_room_for_those_who_came_after() -> None:
    work = Work()
    coalescer = Coalescer(work.send, lanes=1)
    alone = asyncio.create_task(coalescer.call(1))
    await settle()
    after = asyncio.create_task(coalescer.call(2))
    await settle()
    alone.cancel()
    work.gate.set()
    assert await after == 4


async def test_nothing_is_lost_or_swapped_under_random_load() -> None:
    seed = random.Random(4)

    async def send(items: list[int]) -> list[int]:
        await asyncio.sleep(seed.random() / 1000)
        return [-n for n in items]

    coalescer = Coalescer(send, lanes=3, max_weight=16)

    async def caller(numbers: range) -> None:
        for n in numbers:
            assert await coalescer.call(n) == -n
            if seed.random() < 0.1:
                await asyncio.sleep(0)

    await asyncio.gather(*(caller(range(100 * c, 100 * c + 50)) for c in range(40)))
    assert coalescer.counts.items == 2_000
