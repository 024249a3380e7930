"""A process that checks limits with a clock that is wrong; prints when what was admitted.

Takes JSON on standard input: `config` of Redis, `skew` in seconds, `checks`, `clients`, `seed` and
`limit`. Prints `client microseconds cost` for every check that was admitted.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from neo_polystore.ports.limits import ALGORITHMS
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore

CALLERS = 50


async def main(order: dict[str, Any]) -> None:
    """Fifty callers work off the checks, with pauses of random length now and then."""
    store = RedisStore(RedisConfig(**order["config"]))
    await store.connect()
    limits = store.port("limits")
    chance = random.Random(order["seed"])
    left = iter(range(order["checks"]))
    admitted = []

    async def caller() -> None:
        for _ in left:
            client, cost = (
                f"client-{chance.randrange(order['clients'])}",
                chance.choice((1, 1, 2, 5)),
            )
            decision = await limits.check(
                client, "e", limit=order["limit"], window_seconds=1, cost=cost,
                algorithm=chance.choice(order["algorithms"]),
            )  # fmt: skip
            if decision.allowed:
                admitted.append(f"{client} {round(decision.at * 1e6)} {cost}")
            if chance.random() < 0.001:
                await asyncio.sleep(chance.random() / 10)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await store.close()
    sys.stdout.write("\n".join(admitted))


def skew(seconds: float) -> None:
    """Put every wall clock of this process wrong."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    order = json.load(sys.stdin)
    order["algorithms"] = [name for name in ALGORITHMS if name in order["algorithms"]]
    skew(order["skew"])
    asyncio.run(main(order))
