"""Copies of cached records in this process, for as long as somebody tells what has changed.

A copy is made of what the cache has answered, never of what the primary has. Between the question
and the answer the record may have changed, so a reader says what he is about to ask for, and his
answer is kept only if nobody has evicted the key meanwhile.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from neo_polystore.ports.cache import Listener


@dataclass(frozen=True, slots=True)
class NearSize:
    """How much is kept at most of one data type: records, and bytes of their cached form."""

    records: int = 10_000
    size: int = 64 << 20


class _Copy(NamedTuple):
    owner: str
    record: Any
    until: float
    size: int


class NearTier:
    """The copies, the least recently used of which makes room. Belongs to one event loop."""

    def __init__(self, room: NearSize, *, clock: Callable[[], float] = time.monotonic):
        self._room = room
        self._clock = clock
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._size = 0
        self._asked: dict[str, int] = {}
        self._trusted_until = -math.inf

    def __len__(self) -> int:
        return len(self._copies)

    def get(self, key: str, owner: str) -> Any:
        """The record, or None."""
        copy = self._copies.get(key)
        if copy is None or copy[0] != owner:
            return None
        now = self._clock()
        if now >= self._trusted_until:
            self.lost()
            return None
        if now >= copy[2]:
            self._drop(key)
            return None
        self._copies.move_to_end(key)
        return copy[1]

    def asks(self, key: str) -> bool:
        """Somebody asks the cache for this key now; False where the answer is not to be kept."""
        if self._clock() >= self._trusted_until or key in self._asked:
            return False
        self._asked[key] = 1
        return True

    def answered(self, key: str) -> bool:
        """Whether what he was told may be kept. Must follow each `asks` that answered True."""
        return self._asked.pop(key, 0) == 1

    def keep(self, key: str, owner: str, record: Any, *, size: int, seconds: float) -> None:
        """Keep a copy for so many seconds at most; `size` is its bytes."""
        if size > self._room.size:
            return
        self._drop(key)
        self._copies[key] = _Copy(owner, record, self._clock() + seconds, size)
        self._size += size
        while len(self._copies) > self._room.records or self._size > self._room.size:
            self._drop(next(iter(self._copies)))

    def alive(self, until: float) -> None:
        """Every change is told up to now."""
        self._trusted_until = until

    def evict(self, keys: Iterable[str]) -> None:
        """What is under these keys may have changed, also what is being asked for."""
        for key in keys:
            self._drop(key)
            if key in self._asked:
                self._asked[key] = 0

    def forget(self) -> None:
        """Everything may have changed."""
        self._copies.clear()
        self._size = 0
        self._asked = dict.fromkeys(self._asked, 0)

    def lost(self) -> None:
        """Nobody tells any more."""
        self._trusted_until = -math.inf
        self.forget()

    def _drop(self, key: str) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._size -= copy.size


_: type[Listener] = NearTier
