"""The cache on Redis: concurrent calls gathered into one script; see `cache_scripts` for states."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

from neo_polystore.coalesce import Coalescer
from neo_polystore.ports.cache import Cache, Listener, Look, Place
from neo_polystore.stores.redis.cache_batches import (
    ONLY_VERSION,
    PLAIN,
    TAG_SECONDS,
    Change,
    Fill,
    Wish,
    earliest,
    filled_of,
    held_of,
    looks_of,
    told_of_changes,
    told_of_fills,
    told_of_looks,
)
from neo_polystore.stores.redis.cache_scripts import CHANGE, FILL, LEASE, LOOK
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.keys import family_of
from neo_polystore.stores.redis.tracking import RedisTracking
from neo_polystore.stores.redis.wire import Told, Wire, slot_of

_LOOKED: Final = 32
"""Keys read by one script: few enough that one lane is read while the other is decoded."""
_BYTES: Final = 1 << 20
"""Bytes filled by one script."""
_FILLED: Final = 64
"""Values filled by one script, where they are small."""
_CHANGED: Final = 250
"""Keys changed by one script, which holds the server up for about a millisecond."""
_WAITING: Final = 100_000
"""Keys that may wait; what comes beyond is refused at once, because the primary is there."""
_SHORT: Final = 160
"""Characters of keys whose places are remembered."""


class RedisCache:
    """`ports.cache.Cache` on Redis. `random_part` answers [0, 1) and spreads expiry times."""

    def __init__(self, client: RedisClient, *, random_part: Callable[[], float] = random.random):
        self._client = client
        self._wire = Wire(client)
        self._random_part = random_part
        self._tracking = RedisTracking(client)
        self._stored = client.keys.stored
        config = client.config
        self._times = (
            int(config.lease_seconds * 1000),
            int(config.patience_seconds * 1000),
            TAG_SECONDS * 1000,
        )
        self._places = lru_cache(maxsize=8192)(self._new_place)
        self._looks: Coalescer[Wish, Look] = Coalescer(
            self._send_looks,
            lanes=2,
            gather=True,
            max_weight=_LOOKED,
            weigh=lambda wish: len(wish.keys),
            max_waiting=_WAITING,
            patience=0.0,
        )
        self._fills: Coalescer[Fill, bool] = Coalescer(
            self._send_fills,
            lanes=1,
            gather=True,
            max_weight=_BYTES,
            max_waiting=32 * _BYTES,
            weigh=lambda fill: _BYTES // _FILLED + len(fill.value),
        )
        self._changes: Coalescer[Change, bool] = Coalescer(
            self._send_changes,
            lanes=1,
            gather=True,
            max_weight=_CHANGED,
            weigh=lambda change: len(change.keys),
            max_waiting=_WAITING,
            patience=0.0,
        )

    def epoch(self, key: str) -> str:
        """The run id of the server that has the key, as of the newest connection to it."""
        return self._client.epoch(self._stored(key))

    def place(self, data_type: str, key: str, *, tenant: UUID | None = None) -> Place:
        """Key and TTL of a record; see `keys.Keys.of_record`."""
        if len(key) > _SHORT:
            return self._new_place(data_type, key, tenant)
        return self._places(data_type, key, tenant)

    def in_family(self, family: str, *parts: str) -> Place:
        """Key and TTL in a family of `keys.FAMILIES`."""
        found = self._client.keys.family(family)
        return Place(found.key(*parts), found.ttl)

    def follow(self, data_type: str, listener: Listener) -> None:
        """Tell the listener of changes, by a connection of its own."""
        self._tracking.follow(family_of(data_type), listener)

    async def close(self) -> None:
        """End what `follow` has begun."""
        await self._tracking.stop()

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None. (MGET is a GET that answers a lease with nothing.)"""
        [value] = await self._client.run("cache.get", "MGET", self._stored(key))
        return value  # type: ignore[no-any-return]

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """The value and no token, or None and the token of a lease."""
        answer = await self._client.script(
            "cache.lease", LEASE, self._stored(key), secrets.token_hex(8), self._times[0]
        )
        return (answer[0], "") if len(answer) == 1 else (None, answer[1].decode())

    async def look(
        self,
        key: str,
        *,
        tags: Sequence[str] = (),
        instead_of: bytes = b"",
        settled: float = 0.0,
        deadline: float | None = None,
    ) -> Look:
        """Value, lease or neither, gathered with what others look for.

        Tags in another slot of a cluster are asked for before the key. That is as good as at
        once: what changes in between ends what is then filled under their versions.
        """
        stored, age = self._stored(key), int(settled * 1000)
        if not tags:
            rest = (0, 0, instead_of) if instead_of else PLAIN
            return await self._looks.call(Wish((stored,), rest, deadline))
        keys = tuple(map(self._stored, tags))
        if self._client.config.cluster and len(set(map(slot_of, (stored, *keys)))) > 1:
            rest = (ONLY_VERSION, age, b"")
            asked = [self._looks.call(Wish((tag,), rest, deadline)) for tag in keys]
            versions = tuple([found.versions[0] for found in await asyncio.gather(*asked)])
            if not all(versions):
                return Look(None, versions=versions)
            found = await self.look(key, instead_of=instead_of, deadline=deadline)
            return found._replace(versions=versions)
        rest = (len(tags), age, instead_of)
        return await self._looks.call(Wish((stored, *keys), rest, deadline))

    def fill(
        self, key: str, value: bytes, *, lease: str, ttl: float, deadline: float | None = None
    ) -> Awaitable[bool]:
        """Put the value in its lease's place, if that is still there; begins at once."""
        milliseconds = self._milliseconds(ttl)
        return self._fills.begin(Fill(self._stored(key), lease, b"", value, milliseconds, deadline))

    async def renew(self, key: str, value: bytes, *, seen: bytes, ttl: float) -> bool:
        """Put the value in the place of another one, if that is still there."""
        milliseconds = self._milliseconds(ttl)
        return await self._fills.call(Fill(self._stored(key), "", seen, value, milliseconds, None))

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store the value over whatever is there."""
        milliseconds = self._milliseconds(ttl)
        await self._client.run("cache.set", "SET", self._stored(key), value, "PX", milliseconds)

    async def begin_change(
        self, keys: Sequence[str], *, change: str, deadline: float | None = None
    ) -> None:
        """Empty the keys and keep them so for `change_seconds`, or until the change ends."""
        milliseconds = int(self._client.config.change_seconds * 1000)
        await self._change(keys, change, milliseconds, deadline)

    async def invalidate(
        self, keys: Sequence[str], *, change: str = "", deadline: float | None = None
    ) -> bool:
        """Remove values and leases, and end the change."""
        return await self._change(keys, change, 0, deadline)

    async def _change(
        self, keys: Sequence[str], change: str, milliseconds: int, deadline: float | None
    ) -> bool:
        parts = [Change(part, change, milliseconds, deadline) for part in self._parts(keys) if part]
        if len(parts) == 1:
            return await self._changes.call(parts[0])
        held = await asyncio.gather(*map(self._changes.call, parts))
        return any(held)

    async def _send_looks(self, wishes: list[Wish]) -> Sequence[Look | BaseException]:
        chosen = random.getrandbits(64)

        def tell(part: list[Wish]) -> Told:
            token = f"{self._client.epoch(part[0].keys[0])[:8]:-<8}{chosen:x}-"
            return told_of_looks(part, token, *self._times)

        return await self._wire.gathered(
            "cache.look", LOOK, wishes, key=lambda wish: wish.keys[0],
            tell=tell, read=looks_of, deadline=earliest(wishes),
        )  # fmt: skip

    async def _send_fills(self, fills: list[Fill]) -> Sequence[bool | BaseException]:
        return await self._wire.gathered(
            "cache.fill", FILL, fills, key=lambda fill: fill.key,
            tell=told_of_fills, read=filled_of, deadline=earliest(fills),
        )  # fmt: skip

    async def _send_changes(self, changes: list[Change]) -> Sequence[bool | BaseException]:
        return await self._wire.gathered(
            "cache.change", CHANGE, changes, key=lambda change: change.keys[0],
            tell=told_of_changes, read=held_of, deadline=earliest(changes),
        )  # fmt: skip

    def _parts(self, keys: Sequence[str]) -> Iterable[list[str]]:
        """The keys as the server knows them, in parts of one slot each where it is a cluster."""
        stored = list(map(self._stored, keys))
        if not self._client.config.cluster:
            return [stored[at : at + _CHANGED] for at in range(0, len(stored), _CHANGED)]
        slots: dict[int, list[str]] = {}
        for key in stored:
            slots.setdefault(slot_of(key), []).append(key)
        return slots.values()

    def _new_place(self, data_type: str, key: str, tenant: UUID | None) -> Place:
        return Place(*self._client.keys.of_record(data_type, key, tenant))

    def _milliseconds(self, ttl: float) -> int:
        """The TTL less its random part, never below a millisecond."""
        jitter = self._client.config.ttl_jitter * self._random_part()
        return max(1, int(ttl * 1000 * (1 - jitter)))


_: type[Cache] = RedisCache
