"""What the limits' script is told of many checks, and what its answer says to each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from neo_polystore.errors import PolystoreError
from neo_polystore.ports.limits import ALGORITHMS, Algorithm, Decision, Limit
from neo_polystore.stores.redis.errors import STORE
from neo_polystore.stores.redis.wire import Told

_NUMBER = {algorithm: number for number, algorithm in enumerate(ALGORITHMS, 1)}
_PER_LIMIT = 4
"""How many numbers the script answers for each limit."""


class Asked(NamedTuple):
    """One caller's check: its keys, what the script is told of them, and what they hold."""

    keys: tuple[str, ...]
    numbers: tuple[int, ...]
    capacities: tuple[int, ...]


def told_of(batch: list[Asked]) -> Told:
    """What the script is told of them."""
    numbers = orjson.dumps([number for asked in batch for number in asked.numbers])
    return Told([key for asked in batch for key in asked.keys], (numbers,))


def decisions_of(batch: list[Asked], answer: list[Any]) -> list[list[Decision] | BaseException]:
    """One list of decisions for each check, or the error of one that failed alone."""
    at = answer[0] / 1e6
    place = 1
    found: list[list[Decision] | BaseException] = []
    for asked in batch:
        if isinstance(answer[place], bytes):
            text = answer[place].decode(errors="replace")
            found.append(PolystoreError(text, store=STORE, operation="limits.check"))
            place += _PER_LIMIT * len(asked.keys)
            continue
        decisions = []
        for capacity in asked.capacities:
            allowed, remaining, reset, retry = answer[place : place + _PER_LIMIT]
            place += _PER_LIMIT
            decisions.append(
                Decision(
                    allowed == 1,
                    capacity,
                    remaining,
                    reset / 1e6,
                    retry / 1e6 if retry >= 0 else None,
                    at,
                )
            )
        found.append(decisions)
    return found


def numbers_of(limit: Limit) -> tuple[int, int, int, int]:
    """What the script is told of a limit."""
    return (
        _NUMBER[limit.algorithm],
        limit.limit,
        limit.window_seconds * 1_000_000,
        limit.capacity,
    )


@lru_cache(maxsize=1024, typed=True)  # typed: True and 1.0 equal 1, but are no whole numbers
def checked(
    limit: int, window_seconds: int, algorithm: Algorithm, burst: int | None
) -> tuple[int, int, int, int]:
    """`numbers_of` a limit that is given by its parts; UsageError where they make none."""
    return numbers_of(Limit(limit, window_seconds, algorithm, burst))
