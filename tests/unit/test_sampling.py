"""Questions to a database for a page of metrics."""

from __future__ import annotations

import asyncio

import pytest

from neo_polystore.errors import UnavailableError
from neo_polystore.ops.telemetry.sampling import Sampled


class Source:
    """Answers how often it was asked, or fails, or waits until it may answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.now = 100.0

    async def ask(self) -> int:
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.asked

    def sampled(self, *, keep: float = 60.0, patience: float = 5.0) -> Sampled[int]:
        return Sampled(self.ask, fresh=5, patience=patience, keep=keep, clock=lambda: self.now)


async def test_a_source_is_asked_once_while_its_answer_is_fresh() -> None:
    source = Source()
    sample = source.sampled()
    await asyncio.gather(*(sample.refresh() for _ in range(20)))
    await sample.refresh()
    assert (source.asked, sample.answer, sample.up) == (1, 1, True)
    source.now += 5
    await sample.refresh()
    assert sample.answer == 2


async def test_an_answer_stands_for_its_time_while_the_source_is_away() -> None:
    source = Source()
    sample = source.sampled()
    await sample.refresh()
    source.error = UnavailableError("away")
    source.now += 60
    await sample.refresh()
    assert (sample.up, sample.answer, sample.age) == (False, 1, 60)
    source.now += 1
    assert sample.answer is None


async def test_without_keeping_a_failure_leaves_no_answer() -> None:
    source = Source()
    sample = source.sampled(keep=0)
    await sample.refresh()
    source.error = UnavailableError("away")
    source.now += 5
    await sample.refresh()
    assert sample.answer is None


async def test_nobody_waits_longer_than_his_patience_and_nobody_asks_a_second_time() -> None:
    source = Source()
    source.open.clear()
    sample = source.sampled(patience=0.01)
    for _ in range(3):
        await sample.refresh()
        source.now += 100
    assert (source.asked, sample.up, sample.answer) == (1, False, None)
    source.open.set()
    await sample.refresh()
    assert (source.asked, sample.up, sample.answer) == (1, True, 1)


async def test_a_fault_of_the_source_is_logged_and_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    source.error = ZeroDivisionError("a bug")
    sample = source.sampled()
    await sample.refresh()
    assert not sample.up
    assert "a source of metrics failed" in caplog.text


async def test_closing_ends_a_question_that_is_under_way() -> None:
    source = Source()
    source.open.clear()
    sample = source.sampled(patience=0.01)
    await sample.refresh()
    before = len(asyncio.all_tasks())
    await sample.close()
    assert len(asyncio.all_tasks()) == before - 1
