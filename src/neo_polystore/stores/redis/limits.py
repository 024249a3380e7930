"""Rate limits on Redis: concurrent checks share one script call, on the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import UsageError
from neo_polystore.ports.limits import (
    ALGORITHMS,
    LARGEST,
    LONGEST,
    MOST,
    Algorithm,
    Check,
    Decision,
    Limit,
    Limits,
    whole,
)
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.limits_batch import (
    Asked,
    checked,
    decisions_of,
    numbers_of,
    told_of,
)
from neo_polystore.stores.redis.limits_scripts import CHECK, INCREMENT
from neo_polystore.stores.redis.wire import Wire

_FAMILY: dict[Algorithm, str] = {
    "fixed_window": "rate_limit",
    "sliding_window": "rate_log",
    "sliding_counter": "rate_counts",
    "token_bucket": "rate_bucket",
}
_SHORT = 100

BATCH = 32
"""The limits of one call: small enough that the server judges one while another is answered."""


class RedisLimits:
    """`ports.limits.Limits` on Redis, one key per client, endpoint and algorithm.

    Checks that are made while another is under way are sent together; two such calls may overtake
    each other. In a cluster all limits of a client are in one slot: see `RedisConfig.cluster`.
    """

    def __init__(self, client: RedisClient):
        self._client = client
        self._wire = Wire(client)
        self._coalescer: Coalescer[Asked, list[Decision]] = Coalescer(
            self._judge,
            lanes=2,
            max_weight=BATCH,
            gather=True,
            weigh=lambda asked: len(asked.keys),
        )
        self._family = {name: client.keys.family(family) for name, family in _FAMILY.items()}
        # busy clients come again: keys of short names are kept, some hundred kilobytes at most
        self._short_key = lru_cache(maxsize=2048)(self._new_key)

    @property
    def counts(self) -> Counts:
        """What was sent so far; `items / batches` is how many checks shared a call."""
        return self._coalescer.counts

    async def check(
        self,
        client: str,
        endpoint: str,
        *,
        limit: int,
        window_seconds: int = 60,
        cost: int = 1,
        algorithm: Algorithm = "fixed_window",
        burst: int | None = None,
    ) -> Decision:
        """Admit or refuse; see `ports.limits`."""
        try:
            numbers = checked(limit, window_seconds, algorithm, burst)
        except TypeError:  # what cannot be looked up is no number: let it be named
            numbers = numbers_of(Limit(limit, window_seconds, algorithm, burst))
        whole("cost", cost, LARGEST)
        key = self._key(algorithm, client, endpoint)
        asked = Asked((key,), (1, *numbers, cost), numbers[3:])
        [decision] = await self._coalescer.call(asked)
        return decision

    async def check_all(self, client: str, checks: Sequence[Check]) -> list[Decision]:
        """Admit all or none; see `ports.limits`."""
        if not 0 < len(checks) <= MOST:
            raise UsageError(f"from 1 to {MOST} limits can be checked at once, got {len(checks)}")
        asked = self._asked(client, checks)
        if len(set(asked.keys)) < len(checks):
            raise UsageError("two of the limits have the same endpoint and algorithm")
        return await self._coalescer.call(asked)

    async def peek(self, client: str, check: Check) -> Decision:
        """What `check` would answer; see `ports.limits`."""
        asked = self._asked(client, (check,))
        [decision] = await self._coalescer.call(asked._replace(numbers=(-1, *asked.numbers[1:])))
        return decision

    async def reset(self, client: str, endpoint: str, *, dry_run: bool = False) -> int:
        """Forget what was used; see `ports.limits`."""
        gone, command = 0, "EXISTS" if dry_run else "UNLINK"
        for algorithm in ALGORITHMS:  # one by one: without a cluster's tags they differ in slot
            key = self._key(algorithm, client, endpoint)
            gone += await self._client.run("limits.reset", command, key)
        return gone

    async def increment(
        self, client: str, endpoint: str, *, increment: int, max_value: int, ttl: int
    ) -> int:
        """The specification's counter: the new count, or -1 where it would pass `max_value`.

        `ttl` is in seconds and opens with the first unit. It is the counter of `fixed_window`.
        """
        whole("increment", increment, LARGEST)
        whole("max_value", max_value, LARGEST)
        whole("ttl", ttl, LONGEST)
        key = self._key("fixed_window", client, endpoint)
        counted = await self._client.script(
            "limits.increment", INCREMENT, key, increment, max_value, ttl
        )
        return int(counted)

    def _key(self, algorithm: Algorithm, client: str, endpoint: str) -> str:
        try:
            if len(client) + len(endpoint) <= _SHORT:
                return self._short_key(algorithm, client, endpoint)
        except TypeError:  # no texts
            pass
        return self._new_key(algorithm, client, endpoint)

    def _new_key(self, algorithm: Algorithm, client: str, endpoint: str) -> str:
        if not isinstance(client, str) or not client or not isinstance(endpoint, str):
            raise UsageError("client and endpoint must be texts, and the client's not empty")
        return self._client.keys.stored(self._family[algorithm].key(client, endpoint))

    def _asked(self, client: str, checks: Sequence[Check]) -> Asked:
        numbers = [len(checks)]
        for check in checks:
            whole("cost", check.cost, LARGEST)
            numbers += (*numbers_of(check.limit), check.cost)
        return Asked(
            tuple(self._key(limit.algorithm, client, endpoint) for endpoint, limit, _ in checks),
            tuple(numbers),
            tuple(check.limit.capacity for check in checks),
        )

    async def _judge(self, batch: list[Asked]) -> Sequence[list[Decision] | BaseException]:
        return await self._wire.gathered(
            "limits.check", CHECK, batch,
            key=lambda asked: asked.keys[0], tell=told_of, read=decisions_of,
        )  # fmt: skip


_: type[Limits] = RedisLimits
