"""One piece of work under way while the next is made."""

from __future__ import annotations

import asyncio

import pytest

from neo_polystore.sealing.ahead import Ahead


async def test_each_begins_when_the_one_before_has_ended_and_the_block_ends_with_the_last() -> None:
    told: list[str] = []

    async def work(name: str) -> None:
        told.append(f"{name} begins")
        await asyncio.sleep(0.01)
        told.append(f"{name} ends")

    async with Ahead() as ahead:
        for name in "ab":
            await ahead.begin(work(name))
            told.append(f"{name} is under way")
    assert told == [
        "a begins",
        "a is under way",
        "a ends",
        "b begins",
        "b is under way",
        "b ends",
    ]


async def failing() -> None:
    await asyncio.sleep(0)
    raise ValueError("first")


@pytest.mark.parametrize("more", [False, True])
async def test_what_fails_fails_the_next_or_the_end(more: bool) -> None:
    begun = False

    async def never() -> None:
        nonlocal begun
        begun = True

    with pytest.raises(ValueError, match="first"):
        async with Ahead() as ahead:
            await ahead.begin(failing())
            if more:
                await ahead.begin(never())
    assert not begun


async def test_where_the_block_fails_what_is_under_way_is_cancelled() -> None:
    cancelled = False

    async def endless() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    with pytest.raises(KeyError):
        async with Ahead() as ahead:
            await ahead.begin(endless())
            raise KeyError
    assert cancelled
