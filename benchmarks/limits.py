"""`hot_limits`: rate-limit checks against the library `limits` and a bare EVALSHA, on one Redis.

Fifty callers at once, who share a hundred clients' limits and are mostly admitted; and one caller
alone. The library's asynchronous storage is given a pool as large as there are callers.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter
from redis.asyncio import ConnectionPool, Redis

from benchmarks.platform import embedded_platform
from benchmarks.relational_bench import RUNS, Timed, timed
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.ops.collector import settle
from neo_polystore.ports.limits import ALGORITHMS, Algorithm
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.limits_scripts import INCREMENT

CALLERS = 50
CLIENTS = 100
OURS = 40_000
REFERENCE = 10_000
SINGLE = 2_000
LIMIT = 10_000

Call = Callable[[str], Awaitable[object]]


async def run() -> Report:
    """Run all comparisons."""
    report = Report("hot_limits")
    async with embedded_platform(("limits",)) as polystore:
        config: RedisConfig = polystore.stores["redis"]._client.config  # type: ignore[attr-defined]
        pool = ConnectionPool.from_url(_url(config), max_connections=CALLERS)
        storage = RedisStorage(
            "async+" + _url(config),
            implementation="redispy",
            connection_pool=pool,  # type: ignore[arg-type]
        )
        bare = Redis.from_url(_url(config))
        settle()
        try:
            await _many_callers(report, polystore, storage)
            await _lone_caller(report, polystore, bare)
        finally:
            await bare.aclose()
            await pool.disconnect()
    return report


def _url(config: RedisConfig) -> str:
    return f"redis://:{config.password.get_secret_value()}@{config.host}:{config.port}/0"


def _ours(polystore: Polystore, algorithm: Algorithm) -> Call:
    limits = polystore.limits
    endpoint = f"{algorithm}-{uuid4().hex[:6]}"

    async def check(client: str) -> None:
        await limits.check(client, endpoint, limit=LIMIT, algorithm=algorithm)

    return check


def _library(strategy: RateLimiter) -> Call:
    item = RateLimitItemPerMinute(LIMIT)
    endpoint = uuid4().hex[:6]

    async def check(client: str) -> None:
        await strategy.hit(item, client, endpoint)

    return check


def _clients(count: int) -> Sequence[str]:
    chance = random.Random(11)  # noqa: S311
    return [f"client-{chance.randrange(CLIENTS)}" for _ in range(count)]


async def _many_callers(report: Report, polystore: Polystore, storage: Any) -> None:
    fixed, moving = FixedWindowRateLimiter(storage), MovingWindowRateLimiter(storage)
    found: dict[str, list[Timed]] = {}
    for number in range(RUNS + 1):
        sides: dict[str, tuple[Call, int]] = {
            **{name: (_ours(polystore, name), OURS) for name in ALGORITHMS},
            "library fixed": (_library(fixed), REFERENCE),
            "library moving": (_library(moving), REFERENCE),
        }
        for side in sorted(sides, reverse=bool(number % 2)):
            call, count = sides[side]
            result = await timed(call, _clients(count), callers=CALLERS)
            if number:  # the first is to warm up
                found.setdefault(side, []).append(result)
    for name, peer in zip(ALGORITHMS, ("fixed", "moving", "moving", "moving"), strict=True):
        _record(
            report, name, found[name], found[f"library {peer}"], f"limits, async, {peer} window"
        )


def _record(
    report: Report, name: str, ours: list[Timed], library: list[Timed], reference_is: str
) -> None:
    report.record(
        name,
        [result.rate for result in ours],
        [result.rate for result in library],
        reference_is=reference_is,
        unit="checks/s",
    )
    report.record(
        f"{name}_p95",
        [result.percentile(95) for result in ours],
        [result.percentile(95) for result in library],
        reference_is=reference_is,
        unit="ms",
        lower_is_better=True,
    )


async def _lone_caller(report: Report, polystore: Polystore, bare: Any) -> None:
    await bare.script_load(INCREMENT.text)

    async def evalsha(client: str) -> None:
        await bare.evalsha(INCREMENT.sha, 1, f"bare:{client}", 1, LIMIT, 60)

    async def ours() -> float:
        check = _ours(polystore, "fixed_window")
        return statistics.median((await timed(check, _clients(SINGLE), callers=1)).milliseconds)

    async def reference() -> float:
        return statistics.median((await timed(evalsha, _clients(SINGLE), callers=1)).milliseconds)

    await report.compare(
        "alone",
        ours=ours,
        reference=reference,
        reference_is="redis.asyncio, one EVALSHA of the specification's script",
        unit="ms",
        lower_is_better=True,
        runs=RUNS,
    )
