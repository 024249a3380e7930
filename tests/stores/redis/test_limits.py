"""The limits' Lua: proofs of what is admitted, against models, wrong clocks and clusters."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.ports.limits import ALGORITHMS, Algorithm, Limit
from neo_polystore.stores.redis.client import Script
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.limits import RedisLimits
from neo_polystore.stores.redis.limits_scripts import CHECK, CLOCK, JUDGE
from neo_polystore.stores.redis.store import RedisStore
from tests.stores.redis.limit_models import MODELS, SECOND, TIMED, judged, numbers, worst_window

START = 1_800_000_000 * SECOND
SLIDING: tuple[Algorithm, ...] = ("sliding_window", "sliding_counter")
TIMELESS: tuple[Algorithm, ...] = (*SLIDING, "token_bucket")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_config)
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
def limits(store: RedisStore) -> RedisLimits:
    found: RedisLimits = store.port("limits")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(redis_config: RedisConfig) -> AsyncIterator[Any]:
    """The driver itself."""
    password = redis_config.password.get_secret_value()
    client = Redis(host=redis_config.host, port=redis_config.port, password=password)
    yield client
    await client.aclose()


@pytest.fixture
def name() -> str:
    return uuid4().hex


def test_the_products_script_reads_the_servers_clock_and_nothing_else() -> None:
    assert CHECK.text == CLOCK + JUDGE
    assert "redis.call('TIME')" in CLOCK
    assert "TIME" not in JUDGE.replace("EXPIRE", "")
    assert "ARGV[2]" not in CHECK.text


# --- proofs at a clock of our own -----------------------------------------------------------


async def arrivals(
    client: Any, name: str, limit: Limit, *, count: int, seed: int
) -> dict[str, list[tuple[int, int]]]:
    """What random arrivals of ten clients were admitted: (time, cost) by client.

    They come in bursts and lulls around the rate that is allowed, up to twenty in one instant.
    """
    chance = random.Random(seed)
    sha = await client.script_load(TIMED.text)
    admitted = defaultdict(list)
    now, done = START, 0
    window = limit.window_seconds * SECOND
    pace = window * 10 * 2 // (limit.limit * 4)  # ten clients, four times what is admitted
    while done < count:
        pipeline = client.pipeline(transaction=False)
        sent = []
        for _ in range(200):
            size = min(chance.choice((1, 1, 2, 20)), count - done)
            if not size:
                break
            costs = [chance.choice((1, 1, 1, 2, 5)) for _ in range(size)]
            names = [f"{name}:{chance.randrange(10)}" for _ in costs]
            now += chance.choice((0, 1, chance.randrange(pace), chance.randrange(3 * pace)))
            if chance.random() < 0.001:
                now += chance.randrange(2 * window)
            asked = json.dumps([n for cost in costs for n in numbers(limit, cost)])
            pipeline.evalsha(sha, size, *names, asked, now)
            sent.append((now, names, costs))
            done += size
        for (at, names, costs), answer in zip(sent, await pipeline.execute(), strict=True):
            for place, (who, cost) in enumerate(zip(names, costs, strict=True)):
                if answer[1 + 4 * place] == 1:
                    admitted[who].append((at, cost))
    await client.delete(*admitted)
    return admitted


FORMS = [
    pytest.param(30_000, id="short"),
    pytest.param(1_000_000, id="long", marks=pytest.mark.long),
]


@pytest.mark.parametrize("count", FORMS)
@pytest.mark.parametrize("algorithm", SLIDING)
async def test_no_window_ever_sees_more_than_the_limit(
    client: Any, name: str, algorithm: Algorithm, count: int
) -> None:
    limit = Limit(50, 10, algorithm)
    admitted = await arrivals(client, name, limit, count=count, seed=17)
    assert len(admitted) == 10
    for each in admitted.values():
        assert worst_window(each, 10 * SECOND) <= 50
    # and the proof means something: the limit is reached
    assert max(worst_window(each, 10 * SECOND) for each in admitted.values()) == 50


@pytest.mark.parametrize("count", FORMS)
async def test_the_counter_admits_within_five_percent_of_the_exact_log(
    client: Any, name: str, count: int
) -> None:
    units = {
        algorithm: sum(
            cost
            for each in (
                await arrivals(
                    client, name + algorithm, Limit(200, 10, algorithm), count=count, seed=5
                )
            ).values()
            for _, cost in each
        )
        for algorithm in SLIDING
    }
    assert 0.95 <= units["sliding_counter"] / units["sliding_window"] <= 1.0


@pytest.mark.parametrize("count", FORMS)
async def test_a_bucket_never_admits_more_than_its_burst_and_what_flows_in(
    client: Any, name: str, count: int
) -> None:
    limit = Limit(50, 10, "token_bucket", burst=30)
    admitted = await arrivals(client, name, limit, count=count, seed=23)
    for each in admitted.values():
        for window in (SECOND // 10, SECOND, 10 * SECOND, 100 * SECOND):
            # one microsecond's flow more, because an interval of w microseconds has w + 1 instants
            assert worst_window(each, window) <= 30 + 50 * window // (10 * SECOND) + 1


@pytest.mark.parametrize("algorithm", TIMELESS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    limit=st.integers(1, 40),
    window=st.integers(1, 100),
    burst=st.integers(1, 80),
    steps=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3), st.integers(0, 20 * SECOND), st.just(5 * SECOND)),
            st.integers(1, 45),
        ),
        min_size=1,
        max_size=40,
    ),
)
def test_lua_decides_as_the_model_does(
    sync_client: Any,
    algorithm: Algorithm,
    limit: int,
    window: int,
    burst: int,
    steps: list[tuple[int, int]],
) -> None:
    wanted = Limit(limit, window, algorithm, burst if algorithm == "token_bucket" else None)
    model, key, now = MODELS[algorithm](wanted), uuid4().hex, START
    for pause, cost in steps:
        now += pause
        asked = json.dumps(numbers(wanted, cost))
        answer = sync_client.eval(TIMED.text, 1, key, asked, now)
        assert (answer[1] == 1, answer[2]) == model.admit(now, cost), (now, cost)
        allowed, _, reset, retry = answer[1:5]
        if allowed:
            assert retry == 0
        elif cost > wanted.capacity:
            assert retry == -1
        else:
            assert retry >= reset > 0
            # who waits as long as he is told, and no shorter, is admitted
            asked = json.dumps([-1, *numbers(wanted, cost)[1:]])
            assert sync_client.eval(AHEAD, 1, key, asked, now + retry)[1] == 1
            if retry > 2:
                assert sync_client.eval(AHEAD, 1, key, asked, now + retry - 3)[1] == 0
    sync_client.delete(key)


AHEAD = "local kept = redis.call('DUMP', KEYS[1])\n" + TIMED.text.replace(
    "return answer",
    "if kept then redis.call('RESTORE', KEYS[1], 0, kept, 'REPLACE') end\nreturn answer",
)
"""Looks ahead in time and leaves the key as it was."""


@pytest.fixture(scope="module")
def sync_client(redis_config: RedisConfig) -> Any:
    """The blocking driver, because hypothesis runs plain functions."""
    import redis

    client = redis.Redis(
        host=redis_config.host,
        port=redis_config.port,
        password=redis_config.password.get_secret_value(),
    )
    yield client
    client.close()


@pytest.mark.parametrize("algorithm", TIMELESS)
async def test_a_server_clock_that_steps_back_admits_nothing_more_and_holds_nobody_for_long(
    client: Any, name: str, algorithm: Algorithm
) -> None:
    limit = Limit(10, 60, algorithm)
    back = START - 3600 * SECOND

    async def check(now: int, cost: int = 1) -> bool:
        [[allowed, *_]] = await judged(client, [(name, limit, cost)], now)
        return bool(allowed)

    assert await check(START, 10)
    assert not await check(back)
    assert not await check(back + SECOND)
    assert await check(back + 64 * SECOND)
    await client.delete(name)


@pytest.mark.parametrize("algorithm", TIMELESS)
async def test_state_goes_when_it_means_nothing_any_more(
    limits: RedisLimits, store: RedisStore, client: Any, name: str, algorithm: Algorithm
) -> None:
    await limits.check(name, "e", limit=5, window_seconds=1, algorithm=algorithm)
    [key] = [key async for key in client.scan_iter(f"*{name}*")]
    assert 0 < await client.pttl(key) <= 2100


# --- wrong clocks, many processes -----------------------------------------------------------


def processes(
    config: RedisConfig, algorithm: str, *, checks: int, limit: int = 40, clients: int = 5
) -> dict[str, list[tuple[int, int]]]:
    """What four processes were admitted, whose clocks are up to an hour wrong."""
    namespace = f"{uuid4().hex[:8]}:"
    dumped = {**config.model_dump(mode="json"), "namespace": namespace}
    dumped["password"] = config.password.get_secret_value()
    running = []
    for number, skew in enumerate((-3600, 0, 1800, 3600)):
        order = {
            "config": {
                k: v for k, v in dumped.items() if k in ("host", "port", "password", "namespace")
            },
            "skew": skew,
            "checks": checks // 4,
            "clients": clients,
            "limit": limit,
            "seed": number,
            "algorithms": [algorithm],
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.redis.limit_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(order))
        process.stdin.close()
        process.stdin = None
        running.append(process)
    admitted = defaultdict(list)
    for process in running:
        text, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        for line in text.splitlines():
            who, at, cost = line.split()
            admitted[who].append((int(at), int(cost)))
    return admitted


@pytest.mark.parametrize(
    "checks",
    [
        pytest.param(12_000, id="short"),
        pytest.param(1_000_000, id="long", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("algorithm", [*SLIDING, "token_bucket"])
async def test_clients_with_clocks_an_hour_wrong_never_get_more_than_the_limit_in_any_window(
    redis_config: RedisConfig, algorithm: Algorithm, checks: int
) -> None:
    admitted = await asyncio.to_thread(processes, redis_config, algorithm, checks=checks)
    allowed = 40 if algorithm in SLIDING else 80  # a bucket: its burst, and a second's flow
    assert len(admitted) == 5
    for each in admitted.values():
        assert worst_window(each, SECOND) <= allowed
    assert max(worst_window(each, SECOND) for each in admitted.values()) >= 40


async def test_a_fixed_window_admits_exactly_the_limit_to_many_processes(
    redis_config: RedisConfig,
) -> None:
    admitted = await asyncio.to_thread(
        processes, redis_config, "fixed_window", checks=4_000, clients=1
    )
    times = sorted(admitted["client-0"])
    windows: list[list[int]] = []
    for at, cost in times:  # a window opens with its first unit and lasts a second
        if not windows or at >= windows[-1][0] + SECOND - 1000:
            windows.append([at, 0])
        windows[-1][1] += cost
    assert {units for _, units in windows} <= set(range(1, 41))
    assert windows[0][1] == 40


# --- what is sent together ------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_checks_of_one_key_that_are_sent_together_are_judged_one_by_one(
    limits: RedisLimits, name: str, algorithm: Algorithm
) -> None:
    before = limits.counts.batches
    decisions = await asyncio.gather(
        *(limits.check(name, "e", limit=30, algorithm=algorithm) for _ in range(50))
    )
    remaining = sorted((decision.remaining for decision in decisions), reverse=True)
    assert remaining == [*range(29, -1, -1), *[0] * 20]
    assert sum(decision.allowed for decision in decisions) == 30
    assert limits.counts.batches - before <= 3


async def test_a_key_that_holds_something_else_fails_alone(
    limits: RedisLimits, store: RedisStore, client: Any, name: str, redis_config: RedisConfig
) -> None:
    prefix = redis_config.namespace
    await client.set(f"{prefix}rate_limit:{name}:bad", "many", px=5000)
    await client.set(f"{prefix}rate_log:{name}:bad", "text", px=5000)
    await client.set(f"{prefix}rate_counts:{name}:bad", "?", px=5000)
    await client.set(f"{prefix}rate_bucket:{name}:bad", "half empty", px=5000)
    calls = [
        limits.check(name, endpoint, limit=5, algorithm=algorithm)
        for algorithm in ALGORITHMS
        for endpoint in ("good", "bad", "other")
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failed = [isinstance(answer, PolystoreError) for answer in answers]
    assert failed == [False, True, False] * 4


async def test_scripts_survive_script_flush(limits: RedisLimits, client: Any, name: str) -> None:
    for algorithm in ALGORITHMS:
        await client.script_flush()
        assert (await limits.check(name, "e", limit=2, algorithm=algorithm)).remaining == 1
    await client.script_flush()
    assert await limits.increment(name, "i", increment=1, max_value=2, ttl=5) == 1


# --- the specification's own script ---------------------------------------------------------


async def test_the_specifications_counter_answers_new_counts_and_then_minus_one(
    limits: RedisLimits, name: str
) -> None:
    counts = [
        await limits.increment(name, "/e", increment=1, max_value=5, ttl=60) for _ in range(7)
    ]
    assert counts == [1, 2, 3, 4, 5, -1, -1]


async def test_a_hundred_concurrent_increments_admit_exactly_the_maximum(
    limits: RedisLimits, name: str
) -> None:
    counts = await asyncio.gather(
        *(limits.increment(name, "/e", increment=1, max_value=37, ttl=60) for _ in range(100))
    )
    assert sorted(counts) == [-1] * 63 + list(range(1, 38))


async def test_its_window_opens_once(
    limits: RedisLimits, client: Any, name: str, redis_config: RedisConfig
) -> None:
    key = f"{redis_config.namespace}rate_limit:{name}:/e"
    left = []
    for _ in range(3):
        await limits.increment(name, "/e", increment=1, max_value=9, ttl=60)
        left.append(await client.pttl(key))
        await asyncio.sleep(0.01)
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3


@pytest.mark.parametrize("option", ["increment", "max_value", "ttl"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "1", 10**30])
async def test_its_numbers_are_checked(
    limits: RedisLimits, name: str, option: str, value: Any
) -> None:
    options: dict[str, Any] = {"increment": 1, "max_value": 5, "ttl": 60, option: value}
    with pytest.raises(UsageError, match=option):
        await limits.increment(name, "/e", **options)


def test_the_timed_script_differs_from_the_products_in_its_clock_only() -> None:
    assert isinstance(TIMED, Script)
    assert TIMED.text.partition("\n")[2] == JUDGE
