"""The cache on Redis: concurrent calls gathered into one script; see `cache_scripts` for states."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from redis.crc import key_slot

from neo_polystore.coalesce import Coalescer
from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.cache import Cache, Look, Place
from neo_polystore.stores.redis.cache_scripts import BEGIN_CHANGE, FILL, INVALIDATE, LEASE, LOOK
from neo_polystore.stores.redis.client import RedisClient

_KEYS = 64
"""Keys of one script: small enough that one batch is decoded while the next is answered."""
_BYTES = 1 << 20
_BATCH = 250
"""Keys changed by one script, which holds the server up for about a millisecond."""
_TAG_SECONDS = 86_400


class _Wish(NamedTuple):
    keys: tuple[str, ...]
    useless: bytes


class _Change(NamedTuple):
    keys: list[str]
    change: str
    begins: bool
    slot: Hashable


class _Fill(NamedTuple):
    key: str
    lease: str
    seen: bytes
    value: bytes
    milliseconds: int


class RedisCache:
    """`ports.cache.Cache` on Redis. `random_part` answers [0, 1) and spreads expiry times."""

    def __init__(self, client: RedisClient, *, random_part: Callable[[], float] = random.random):
        self._client = client
        self._random_part = random_part
        config = client.config
        self._times = (
            int(config.lease_seconds * 1000),
            int(config.patience_seconds * 1000),
            _TAG_SECONDS * 1000,
        )
        self._looks: Coalescer[_Wish, Look] = Coalescer(
            self._send_looks,
            max_weight=_KEYS,
            weigh=lambda wish: len(wish.keys),
            group=lambda wish: self._slot(wish.keys[0]),
        )
        self._fills: Coalescer[_Fill, bool] = Coalescer(
            self._send_fills,
            max_weight=_BYTES,
            max_waiting=32 * _BYTES,
            weigh=lambda fill: _BYTES // _KEYS + len(fill.value),
            group=lambda fill: self._slot(fill.key),
        )
        self._changes: Coalescer[_Change, None] = Coalescer(
            self._send_changes,
            max_weight=_BATCH,
            weigh=lambda change: len(change.keys),
            group=lambda change: (change.begins, change.slot),
        )

    @property
    def epoch(self) -> str:
        """The server's run id, as of the newest connection."""
        return self._client.run_id

    @property
    def stored(self) -> Callable[[str], str]:
        """How a key looks to the server."""
        return self._client.keys.stored

    def place(self, data_type: str, key: str, *, tenant: UUID | None = None) -> Place:
        """Key and TTL of a record; see `keys.Keys.of_record`."""
        return Place(*self._client.keys.of_record(data_type, key, tenant))

    def in_family(self, family: str, *parts: str) -> Place:
        """Key and TTL in a family of `keys.FAMILIES`."""
        found = self._client.keys.family(family)
        return Place(found.key(*parts), found.ttl)

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None. (MGET is a GET that answers a lease with nothing.)"""
        [value] = await self._client.run("cache.get", "MGET", self._client.keys.stored(key))
        return value  # type: ignore[no-any-return]

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """The value and no token, or None and the token of a lease."""
        answer = await self._client.script(
            "cache.lease",
            LEASE,
            self._client.keys.stored(key),
            secrets.token_hex(8),
            self._times[0],
        )
        return (answer[0], "") if len(answer) == 1 else (None, answer[1].decode())

    async def look(self, key: str, *, tags: Sequence[str] = (), instead_of: bytes = b"") -> Look:
        """Value, lease or neither, gathered with what others look for."""
        stored = self._client.keys.stored
        keys = (stored(key), *map(stored, tags)) if tags else (stored(key),)
        if tags and self._client.clustered and len(set(map(self._slot, keys))) > 1:
            raise UnsupportedError("in a cluster, a key and its tags are in different slots")
        return await self._looks.call(_Wish(keys, instead_of))

    async def fill(self, key: str, value: bytes, *, lease: str, ttl: float) -> bool:
        """Put the value in its lease's place, if that is still there."""
        return await self._fill(key, value, lease, b"", ttl)

    async def renew(self, key: str, value: bytes, *, seen: bytes, ttl: float) -> bool:
        """Put the value in the place of another one, if that is still there."""
        return await self._fill(key, value, "", seen, ttl)

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store the value over whatever is there."""
        stored = self._client.keys.stored(key)
        await self._client.run("cache.set", "SET", stored, value, "PX", self._milliseconds(ttl))

    async def begin_change(self, keys: Sequence[str], *, change: str) -> None:
        """Empty the keys and keep them so for `change_seconds`, or until the change ends."""
        for part, slot in self._parts(keys):
            await self._changes.call(_Change(part, change, True, slot))

    async def invalidate(self, keys: Sequence[str], *, change: str = "") -> None:
        """Remove values and leases, and end the change."""
        for part, slot in self._parts(keys):
            await self._changes.call(_Change(part, change, False, slot))

    async def _fill(self, key: str, value: bytes, lease: str, seen: bytes, ttl: float) -> bool:
        stored = self._client.keys.stored(key)
        fill = _Fill(stored, lease, seen, value, self._milliseconds(ttl))
        return await self._fills.call(fill)

    async def _send_looks(self, wishes: list[_Wish]) -> list[Look]:
        keys: list[str] = []
        rest: list[Any] = []
        plain = True
        for wish in wishes:
            keys += wish.keys
            rest += (len(wish.keys) - 1, wish.useless)
            plain = plain and len(wish.keys) == 1 and not wish.useless
        token = secrets.token_hex(8) + "-"
        answers = await self._client.batch(
            "cache.look", LOOK, keys, token, *self._times, *(() if plain else rest)
        )
        return [Look(answer) if type(answer) is bytes else _look(answer) for answer in answers]

    async def _send_fills(self, fills: list[_Fill]) -> list[bool]:
        arguments: list[Any] = []
        for fill in fills:
            arguments += fill[1:]
        keys = [fill.key for fill in fills]
        return list(map(bool, await self._client.batch("cache.fill", FILL, keys, *arguments)))

    async def _send_changes(self, changes: list[_Change]) -> list[None]:
        pairs = dict.fromkeys((key, change.change) for change in changes for key in change.keys)
        keys, ids = zip(*pairs, strict=True)
        if changes[0].begins:
            ends = int(self._client.config.change_seconds * 1000)
            await self._client.batch("cache.begin_change", BEGIN_CHANGE, keys, ends, *ids)
        else:
            await self._client.batch("cache.invalidate", INVALIDATE, keys, *ids)
        return [None] * len(changes)

    def _parts(self, keys: Sequence[str]) -> list[tuple[list[str], Hashable]]:
        """The keys as the server knows them, in parts of one slot each where it is a cluster."""
        slots: dict[Hashable, list[str]] = {}
        for key in keys:
            stored = self._client.keys.stored(key)
            slots.setdefault(self._slot(stored), []).append(stored)
        return [
            (part[start : start + _BATCH], slot)
            for slot, part in slots.items()
            for start in range(0, len(part), _BATCH)
        ]

    def _slot(self, stored: str) -> Hashable:
        if not self._client.clustered:
            return None
        return key_slot(stored.encode(errors="surrogatepass"))

    def _milliseconds(self, ttl: float) -> int:
        """The TTL less its random part, never below a millisecond."""
        jitter = self._client.config.ttl_jitter * self._random_part()
        return max(1, int(ttl * 1000 * (1 - jitter)))


def _look(answer: Sequence[Any]) -> Look:
    value, lease, wait, *versions = answer
    return Look(value, lease.decode(), bool(wait), tuple([found.decode() for found in versions]))


_: type[Cache] = RedisCache
