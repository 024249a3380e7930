"""What loses against a concurrent transaction is run again: bounded, spread out and counted."""

from __future__ import annotations

import pytest

from neo_polystore.errors import ConflictError
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.pgkit.retrying import Retrying


class Losing:
    """Loses the first `times`, then answers; takes down how long it was made to wait."""

    def __init__(self, times: int, error: Exception | None = None):
        self.left = times
        self.runs = 0
        self.error = error or SerializationError("lost")
        self.ceilings: list[float] = []

    async def work(self) -> str:
        self.runs += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"

    def retrying(self, *, most: int = 3, longest: float = 1.0) -> Retrying:
        def uniform(low: float, high: float) -> float:
            self.ceilings.append(high)
            return 0.0

        return Retrying(most=most, longest=longest, uniform=uniform)


async def test_what_lost_is_run_again() -> None:
    losing = Losing(2)
    retrying = losing.retrying()
    assert await retrying.run(losing.work) == "done"
    assert (retrying.counts.serialization, retrying.counts.exhausted) == (2, 0)


async def test_the_last_loss_is_raised() -> None:
    losing = Losing(99)
    retrying = losing.retrying(most=3)
    with pytest.raises(SerializationError):
        await retrying.run(losing.work)
    assert (losing.runs, retrying.counts.total, retrying.counts.exhausted) == (4, 3, 1)


async def test_no_retries_means_one_run() -> None:
    losing = Losing(1)
    with pytest.raises(SerializationError):
        await losing.retrying(most=0).run(losing.work)
    assert losing.runs == 1


async def test_other_errors_are_not_retried() -> None:
    losing = Losing(1, ConflictError("taken"))
    with pytest.raises(ConflictError):
        await losing.retrying().run(losing.work)
    assert losing.runs == 1


async def test_pauses_grow_up_to_the_longest() -> None:
    losing = Losing(5)
    await losing.retrying(most=5, longest=0.5).run(losing.work)
    assert losing.ceilings == [0.01, 0.04, 0.16, 0.5, 0.5]


async def test_each_loss_is_told_with_its_number() -> None:
    losing = Losing(2)
    told: list[int] = []
    await losing.retrying().run(losing.work, lambda number, error: told.append(number))
    assert told == [1, 2]
