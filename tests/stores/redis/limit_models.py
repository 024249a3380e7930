"""What the limits' Lua should say, written again in Python, and the judge of what was admitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Protocol

import orjson

from neo_polystore.ports.limits import ALGORITHMS, Algorithm, Limit
from neo_polystore.stores.redis.client import Script
from neo_polystore.stores.redis.limits_scripts import JUDGE

SECOND = 1_000_000

TIMED = Script("local now = tonumber(ARGV[2])\n" + JUDGE)
"""The product's script with a clock that the test sets. The product's own text reads TIME in its
first lines (`CLOCK`) and no argument can stand in for it."""


def numbers(limit: Limit, cost: int) -> list[int]:
    """What the script is told of one check of one limit."""
    kind = ALGORITHMS.index(limit.algorithm) + 1
    return [1, kind, limit.limit, limit.window_seconds * SECOND, limit.capacity, cost]


async def judged(client: Any, checks: Sequence[tuple[str, Limit, int]], now: int) -> list[Any]:
    """The script's answer at a time of our own: a list of four numbers per check."""
    asked = orjson.dumps([n for _, limit, cost in checks for n in numbers(limit, cost)])
    keys = [key for key, _, _ in checks]
    answer = await client.eval(TIMED.text, len(keys), *keys, asked, now)
    return [answer[place : place + 4] for place in range(1, len(answer), 4)]


def worst_window(admitted: Iterable[tuple[int, int]], window: int) -> int:
    """The most units in any half-open interval of this length; `admitted` are (time, cost)."""
    ordered = sorted(admitted)
    first, held, most = 0, 0, 0
    for at, cost in ordered:
        held += cost
        while ordered[first][0] <= at - window:
            held -= ordered[first][1]
            first += 1
        most = max(most, held)
    return most


class Model(Protocol):
    def admit(self, now: int, cost: int) -> tuple[bool, int]:
        """Whether it is admitted, and what remains."""


class Log:
    """Every unit that was admitted, with its time."""

    def __init__(self, limit: Limit):
        self._limit, self._window = limit.limit, limit.window_seconds * SECOND
        self._units: list[tuple[int, int]] = []

    def admit(self, now: int, cost: int) -> tuple[bool, int]:
        self._units = [(at, units) for at, units in self._units if at > now - self._window]
        used = sum(units for _, units in self._units)
        if used + cost > self._limit:
            return False, max(0, self._limit - used)
        self._units.append((now, cost))
        return True, self._limit - used - cost


class Counter:
    """Every unit is held as if it had come at the end of its twentieth of a window."""

    def __init__(self, limit: Limit):
        self._limit, self._window = limit.limit, limit.window_seconds * SECOND
        self._units: list[tuple[int, int]] = []

    def admit(self, now: int, cost: int) -> tuple[bool, int]:
        part = self._window // 20
        self._units = [(end, units) for end, units in self._units if end + self._window > now]
        used = sum(units for _, units in self._units)
        if used + cost > self._limit:
            return False, max(0, self._limit - used)
        self._units.append((now // part * part + part, cost))
        return True, self._limit - used - cost


class Bucket:
    """Tokens as exact fractions."""

    def __init__(self, limit: Limit):
        self._capacity = limit.capacity
        self._rate = Fraction(limit.limit, limit.window_seconds * SECOND)
        self._tokens, self._at = Fraction(limit.capacity), 0

    def admit(self, now: int, cost: int) -> tuple[bool, int]:
        tokens = min(Fraction(self._capacity), self._tokens + (now - self._at) * self._rate)
        if tokens < cost:
            return False, int(tokens)
        self._tokens, self._at = tokens - cost, now
        return True, int(self._tokens)


MODELS: dict[Algorithm, type[Log | Counter | Bucket]] = {
    "sliding_window": Log,
    "sliding_counter": Counter,
    "token_bucket": Bucket,
}
