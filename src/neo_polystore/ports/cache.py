"""Cache: values that may vanish at any time and must never be stale after an invalidation."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable
from uuid import UUID

INVALIDATION_TOPIC = "cache_invalidation"
"""Outbox topic of changes that the cache could not be told of: `{"keys": [...]}`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is cached, and for how many seconds."""

    key: str
    ttl: float


class Look(NamedTuple):
    """What a reader finds: a value, a lease to fill under, or neither.

    Neither means that a change of the key is under way, or with `wait`, that somebody else has
    just begun to load it. `versions` are those of the tags asked for, in order; an empty one is
    a tag that is changing.
    """

    value: bytes | None
    lease: str = ""
    wait: bool = False
    versions: tuple[str, ...] = ()


class Listener(Protocol):
    """Whoever keeps copies of what the cache holds, and is told what may have changed.

    The methods do not wait. Copies may be used from `alive` on and until the time it names,
    unless `lost` or `evict` comes first.
    """

    def alive(self, until: float) -> None:
        """Every change is told up to now; that counts until this time of the monotonic clock."""

    def evict(self, keys: Iterable[str]) -> None:
        """What is under these keys may have changed."""

    def forget(self) -> None:
        """Everything may have changed."""

    def lost(self) -> None:
        """From now on nothing is told."""


class Cache(Protocol):
    """Bytes by key, with the TTL of the key's family.

    A miss hands out a lease; a fill counts only while that lease is the newest and no
    invalidation has come between, so that a slow load never brings back an old value. Where
    misses come faster than loads end, later ones may share the newest lease. A lease ends by
    itself after a bounded time. A TTL is an upper bound: the cache may spread expiry times.

    From `begin_change` to the `invalidate` of the same `change` a key shows nothing and takes no
    fill, so that a writer who dies between his commit and his invalidation leaves no old value:
    his change ends by itself after a bounded time. Tags are keys whose version an entry was
    filled under: invalidating the tag ends all of them.

    A `deadline` is a time of the event loop's clock by which the call has ended: with
    UnavailableError where the cache has not answered until then.
    """

    def epoch(self, key: str) -> str:
        """Changes when the server that has this key may have lost invalidations: restarted, or
        another server. No I/O.

        Whoever fills puts it into the value, and refuses a value of another epoch.
        """

    def place(self, data_type: str, key: str, *, tenant: UUID | None = None) -> Place:
        """Where a record belongs; no I/O. UnsupportedError where its data type is not cached."""

    def in_family(self, family: str, *parts: str) -> Place:
        """Where something of a key family that is no record belongs; no I/O."""

    def follow(self, data_type: str, listener: Listener) -> None:
        """Tell the listener of every change to records of a data type, until the store closes."""

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None."""

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """The cached value, or None with a lease token under which `fill` will be accepted.

        No value and no token where the key is changing.
        """

    async def look(
        self,
        key: str,
        *,
        tags: Sequence[str] = (),
        instead_of: bytes = b"",
        settled: float = 0.0,
        deadline: float | None = None,
    ) -> Look:
        """Value, lease or neither, with the versions of the tags.

        A value that begins with `instead_of` is removed first: its reader found it useless.
        A tag whose version is younger than `settled` seconds counts as one that is changing.
        """

    def fill(
        self, key: str, value: bytes, *, lease: str, ttl: float, deadline: float | None = None
    ) -> Awaitable[bool]:
        """Store the value for `ttl` seconds if the lease still holds; answers whether it did.

        May begin when it is called, and be finished without being awaited.
        """

    async def renew(self, key: str, value: bytes, *, seen: bytes, ttl: float) -> bool:
        """Replace the value that begins with `seen`, if it is still there; whether it was.

        `seen` must be a beginning that no other fill has.
        """

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store the value for `ttl` seconds, whatever is there; running leases end."""

    async def begin_change(
        self, keys: Sequence[str], *, change: str, deadline: float | None = None
    ) -> None:
        """Remove values, end running leases, and keep the keys empty until the change ends."""

    async def invalidate(
        self, keys: Sequence[str], *, change: str = "", deadline: float | None = None
    ) -> bool:
        """Remove values and end running leases; after this returns no old value is served.

        Ends the `change` where one is named; changes that others have under way go on. Answers
        whether there was anything under any of the keys.
        """


@runtime_checkable
class Flushing(Protocol):
    """A store whose keys can be removed by family, for operators."""

    @property
    def families(self) -> Sequence[str]:
        """The names of the families."""

    async def flush(self, family: str, *, dry_run: bool = False) -> int:
        """Remove every key of a family; how many there were. Cached values come back by
        themselves, counts do not. UsageError for no such family."""
