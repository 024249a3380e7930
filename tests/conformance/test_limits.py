"""What every rate limiter does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import UsageError
from neo_polystore.ports.limits import Limits
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["redis"])
async def limits(redis_config: RedisConfig) -> AsyncIterator[Limits]:
    store = RedisStore(redis_config)
    await store.connect()
    yield store.port("limits")
    await store.close()


@pytest.fixture
def client() -> str:
    return f"client-{uuid4().hex}"


async def test_five_are_admitted_and_the_next_two_refused(limits: Limits, client: str) -> None:
    decisions = [await limits.check(client, "/e", limit=5) for _ in range(7)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 2
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0, 0, 0]
    assert {decision.limit for decision in decisions} == {5}


async def test_a_hundred_concurrent_checks_admit_exactly_the_limit(
    limits: Limits, client: str
) -> None:
    decisions = await asyncio.gather(*(limits.check(client, "/e", limit=37) for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 37


async def test_the_window_ends_a_window_after_it_opened(limits: Limits, client: str) -> None:
    resets = [
        (await limits.check(client, "/e", limit=10, window_seconds=50)).reset_seconds
        for _ in range(3)
    ]
    assert 49 < resets[0] <= 50
    assert resets == sorted(resets, reverse=True)


async def test_a_steady_client_within_its_rate_is_never_refused(
    limits: Limits, client: str
) -> None:
    for _ in range(5):  # 5 checks of a limit of 2 per second, one every 0.6 s
        decision = await limits.check(client, "/e", limit=2, window_seconds=1)
        assert decision.allowed
        await asyncio.sleep(0.6)


async def test_a_refused_check_does_not_prolong_the_window(limits: Limits, client: str) -> None:
    await limits.check(client, "/e", limit=1, window_seconds=1)
    async with asyncio.timeout(5):
        while not (await limits.check(client, "/e", limit=1, window_seconds=1)).allowed:
            await asyncio.sleep(0.05)


async def test_a_weighted_check_takes_its_cost_or_nothing(limits: Limits, client: str) -> None:
    first = await limits.check(client, "/e", limit=10, cost=7)
    second = await limits.check(client, "/e", limit=10, cost=4)
    third = await limits.check(client, "/e", limit=10, cost=3)
    assert (first.allowed, first.remaining) == (True, 3)
    assert (second.allowed, second.remaining) == (False, 3)
    assert (third.allowed, third.remaining) == (True, 0)


async def test_a_cost_above_the_limit_opens_no_window(limits: Limits, client: str) -> None:
    refused = await limits.check(client, "/e", limit=3, cost=4, window_seconds=9)
    assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 3, 9.0)
    assert (await limits.check(client, "/e", limit=3, window_seconds=5)).reset_seconds <= 5


async def test_a_lowered_limit_never_shows_less_than_nothing(limits: Limits, client: str) -> None:
    await limits.check(client, "/e", limit=10, cost=9)
    decision = await limits.check(client, "/e", limit=5)
    assert (decision.allowed, decision.remaining) == (False, 0)


async def test_a_shortened_window_holds_at_once(limits: Limits, client: str) -> None:
    await limits.check(client, "/e", limit=10, window_seconds=86400)
    assert (await limits.check(client, "/e", limit=10, window_seconds=60)).reset_seconds <= 60


async def test_clients_and_endpoints_are_counted_apart(limits: Limits, client: str) -> None:
    for who, where in ((client, "/a"), (client, "/b"), (client + "x", "/a")):
        assert (await limits.check(who, where, limit=1)).allowed


HOSTILE = ["", "a:b", "b", ":", "{a}", "}{", "%3A", "a b", "a\nb", "\x00", "é", "*", "x" * 5000]


async def test_no_two_hostile_names_share_a_counter(limits: Limits, client: str) -> None:
    for name in HOSTILE:
        for endpoint in HOSTILE:
            decision = await limits.check(f"{client}{name}", endpoint, limit=1)
            assert decision.allowed, (name, endpoint)


@pytest.mark.parametrize("option", ["limit", "window_seconds", "cost"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, 2**63, "1"])
async def test_anything_but_positive_whole_numbers_is_refused(
    limits: Limits, client: str, option: str, value: Any
) -> None:
    options: dict[str, Any] = {"limit": 5, option: value}
    with pytest.raises(UsageError, match=option):
        await limits.check(client, "/e", **options)
    assert (await limits.check(client, "/e", limit=5)).remaining == 4
