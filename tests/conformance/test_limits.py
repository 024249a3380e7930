"""What every rate limiter does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import UsageError
from neo_polystore.ports.limits import (
    ALGORITHMS,
    LARGEST,
    LONGEST,
    Algorithm,
    Check,
    Limit,
    Limits,
)
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["redis", "redis cluster"])
async def limits(
    request: pytest.FixtureRequest, redis_config: RedisConfig, cluster_config: RedisConfig
) -> AsyncIterator[Limits]:
    store = RedisStore(redis_config if request.param == "redis" else cluster_config)
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


HOSTILE = [
    "",
    "a:b",
    "b",
    ":",
    "{a}",
    "}{",
    "%3A",
    "a b",
    "a\nb",
    "\x00",
    "é",
    "*",
    "x" * 5000,
    "y" * 10_240,
]


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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_admits_its_limit_and_then_refuses(
    limits: Limits, client: str, algorithm: Algorithm
) -> None:
    decisions = [await limits.check(client, "/e", limit=5, algorithm=algorithm) for _ in range(7)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 2
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0, 0, 0]
    for decision in decisions[:5]:
        assert decision.retry_after == 0
        assert 0 < decision.reset_seconds <= 63
    for decision in decisions[5:]:
        assert decision.retry_after is not None
        assert decision.retry_after >= decision.reset_seconds > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_concurrent_checks_admit_exactly_the_limit_under_every_algorithm(
    limits: Limits, client: str, algorithm: Algorithm
) -> None:
    decisions = await asyncio.gather(
        *(
            limits.check(client, "/e", limit=37, window_seconds=3600, algorithm=algorithm)
            for _ in range(500)
        )
    )
    assert sum(decision.allowed for decision in decisions) == 37


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_who_waits_as_long_as_he_is_told_is_admitted(
    limits: Limits, client: str, algorithm: Algorithm
) -> None:
    options: dict[str, Any] = {"limit": 4, "window_seconds": 1, "algorithm": algorithm, "cost": 3}
    assert (await limits.check(client, "/e", **options)).allowed
    refused = await limits.check(client, "/e", **options)
    assert not refused.allowed
    assert refused.retry_after is not None
    await asyncio.sleep(refused.retry_after + 0.002)  # Redis expires keys by the millisecond
    assert (await limits.check(client, "/e", **options)).allowed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_cost_above_the_limit_is_refused_and_never_admitted(
    limits: Limits, client: str, algorithm: Algorithm
) -> None:
    refused = await limits.check(client, "/e", limit=3, cost=4, algorithm=algorithm)
    assert (refused.allowed, refused.remaining, refused.retry_after) == (False, 3, None)
    assert (await limits.check(client, "/e", limit=3, cost=3, algorithm=algorithm)).allowed


async def test_a_burst_is_admitted_at_once_and_then_only_what_flows_in(
    limits: Limits, client: str
) -> None:
    options: dict[str, Any] = {"limit": 60, "window_seconds": 60, "algorithm": "token_bucket"}
    burst = [await limits.check(client, "/e", burst=100, cost=50, **options) for _ in range(3)]
    assert [decision.allowed for decision in burst] == [True, True, False]
    assert burst[0].limit == 100
    assert burst[2].retry_after == pytest.approx(50, abs=2)  # fifty tokens at one a second


async def test_algorithms_of_one_endpoint_are_counted_apart(limits: Limits, client: str) -> None:
    for algorithm in ALGORITHMS:
        assert (await limits.check(client, "/e", limit=1, algorithm=algorithm)).allowed


def several(*limits: int) -> list[Check]:
    """Checks of different algorithms with these limits."""
    return [
        Check(f"/{place}", Limit(limit, 60, ALGORITHMS[place % len(ALGORITHMS)]))
        for place, limit in enumerate(limits)
    ]


async def test_several_limits_are_taken_together(limits: Limits, client: str) -> None:
    decisions = await limits.check_all(client, several(3, 4, 5, 6, 7))
    assert [decision.remaining for decision in decisions] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("refusing", range(5))
async def test_where_one_of_several_refuses_none_counts(
    limits: Limits, client: str, refusing: int
) -> None:
    wanted = [5] * 5
    wanted[refusing] = 1
    assert all(d.allowed for d in await limits.check_all(client, several(*wanted)))
    for _ in range(3):
        decisions = await limits.check_all(client, several(*wanted))
        assert [d.allowed for d in decisions] == [place != refusing for place in range(5)]
        assert [d.remaining for d in decisions] == [
            0 if place == refusing else 4 for place in range(5)
        ]


async def test_concurrent_checks_of_several_limits_admit_what_the_tightest_does(
    limits: Limits, client: str
) -> None:
    answers = await asyncio.gather(
        *(limits.check_all(client, several(100, 20, 50)) for _ in range(150))
    )
    assert sum(all(d.allowed for d in answer) for answer in answers) == 20
    left = [(await limits.peek(client, check)).remaining for check in several(100, 20, 50)]
    assert left == [80, 0, 30]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_peeking_takes_nothing(limits: Limits, client: str, algorithm: Algorithm) -> None:
    check = Check("/e", Limit(3, 60, algorithm))
    assert [(await limits.peek(client, check)).remaining for _ in range(3)] == [3, 3, 3]
    await limits.check_all(client, [check])
    assert [(await limits.peek(client, check)).remaining for _ in range(3)] == [2, 2, 2]


async def test_a_reset_forgets_every_algorithm_of_an_endpoint(limits: Limits, client: str) -> None:
    for algorithm in ALGORITHMS:
        for endpoint in ("/a", "/b"):
            await limits.check(client, endpoint, limit=1, algorithm=algorithm)
    assert await limits.reset(client, "/a", dry_run=True) == 4
    assert await limits.reset(client, "/a") == 4
    assert await limits.reset(client, "/a") == 0
    for algorithm in ALGORITHMS:
        assert (await limits.check(client, "/a", limit=1, algorithm=algorithm)).allowed
        assert not (await limits.check(client, "/b", limit=1, algorithm=algorithm)).allowed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_largest_numbers_are_counted_exactly(
    limits: Limits, client: str, algorithm: Algorithm
) -> None:
    options: dict[str, Any] = {"limit": LARGEST, "window_seconds": LONGEST, "algorithm": algorithm}
    first = await limits.check(client, "/e", cost=LARGEST - 1, **options)
    assert (first.allowed, first.remaining) == (True, 1)
    if algorithm != "token_bucket":  # 32 tokens flow in every microsecond
        assert (await limits.check(client, "/e", cost=1, **options)).remaining == 0
        assert not (await limits.check(client, "/e", cost=1, **options)).allowed


async def test_the_time_of_a_decision_is_the_servers(limits: Limits, client: str) -> None:
    times = [(await limits.check(client, "/e", limit=9)).at for _ in range(3)]
    assert times == sorted(times)
    assert times[0] > 1_600_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "leaky"}, "algorithm"),
        ({"burst": 5}, "token_bucket only"),
        ({"burst": 0, "algorithm": "token_bucket"}, "burst"),
        ({"burst": LARGEST, "algorithm": "token_bucket"}, "to fill"),
        pytest.param({"limit": 10**5000}, "limit must be", id="enormous"),
        ({"limit": float("nan")}, "limit must be"),
        ({"limit": [5]}, "limit must be"),
    ],
)
async def test_limits_that_make_no_sense_are_refused(
    limits: Limits, client: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await limits.check(client, "/e", **{"limit": 5, **options})


@pytest.mark.parametrize("names", [("", "/e"), (None, "/e"), ("c", 5), (7, "/e")])
async def test_names_that_are_no_texts_are_refused(limits: Limits, names: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="client and endpoint"):
        await limits.check(*names, limit=5)


async def test_no_checks_and_two_of_one_limit_are_refused(limits: Limits, client: str) -> None:
    with pytest.raises(UsageError, match="from 1 to"):
        await limits.check_all(client, [])
    with pytest.raises(UsageError, match="from 1 to"):
        await limits.check_all(client, several(*range(1, 18)))
    with pytest.raises(UsageError, match="same endpoint"):
        await limits.check_all(client, [Check("/e", Limit(1)), Check("/e", Limit(2))])
