"""The master keys of this process: unwrapped once, forgotten when they are destroyed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from neo_polystore.errors import IntegrityError
from neo_polystore.ports.keys import KeyStore, KeyWrapper, StoredKey
from neo_polystore.sealing.derivation import MASTER, MasterKey


class KeyRing:
    """Keys by id. They live here unwrapped until `close`, `forget` or their destruction.

    `wrapper` is asked for at the first use: a platform that seals nothing needs no wrapping key.
    """

    def __init__(self, store: KeyStore, wrapper: Callable[[], KeyWrapper]):
        self.store = store
        self._choose = wrapper
        self._wrapper: KeyWrapper | None = None
        self._keys: dict[str, MasterKey] = {}
        self._active: str | None = None
        self._lock = asyncio.Lock()

    @property
    def wrapper(self) -> KeyWrapper:
        """Who wraps the keys; ConfigError where that is not configured."""
        if self._wrapper is None:
            self._wrapper = self._choose()
        return self._wrapper

    async def active(self) -> MasterKey:
        """The key to seal under; the very first use makes it."""
        if self._active is not None and self._active in self._keys:
            return self._keys[self._active]
        async with self._lock:
            stored = await self.store.active()
            if stored is None:
                stored = await self._new(1, reason="the first key")
            self._active = stored.id
            return await self._unwrapped(stored)

    async def key(self, key_id: str) -> MasterKey:
        """The key of this id; IntegrityError where it opens nothing any more, or never existed."""
        found = self._keys.get(key_id)
        if found is not None:
            return found
        async with self._lock:
            return await self._unwrapped(await self.store.get(key_id))

    async def succeed(self, *, reason: str) -> MasterKey:
        """Make a new active key and retire the one before."""
        async with self._lock:
            known = await self.store.all()
            number = max((key.number for key in known), default=0) + 1
            stored = await self._new(number, reason=reason)
            self._active = stored.id
            return await self._unwrapped(stored)

    def refresh(self) -> None:
        """Ask the store which key is active before the next is used: another process rotated."""
        self._active = None

    def forget(self, key_id: str) -> None:
        """Wipe one key."""
        if (key := self._keys.pop(key_id, None)) is not None:
            key.wipe()

    def close(self) -> None:
        """Wipe all keys. They come back at the next use."""
        for key_id in list(self._keys):
            self.forget(key_id)
        self._active = None

    async def _new(self, number: int, *, reason: str) -> StoredKey:
        material = secrets.token_bytes(MASTER)
        key_id = f"sealing:{number}"
        wrapped = await self.wrapper.wrap(material, context=key_id)
        return await self.store.succeed(number, wrapped, reason=reason)

    async def _unwrapped(self, stored: StoredKey) -> MasterKey:
        if stored.state == "destroyed" or stored.wrapped is None:
            self.forget(stored.id)
            raise destroyed(stored.id)
        if stored.id not in self._keys:
            material = await self.wrapper.unwrap(stored.wrapped, context=stored.id)
            if len(material) != MASTER:
                raise IntegrityError(f"the key {stored.id} has no {MASTER} bytes")
            self._keys[stored.id] = MasterKey(stored.id, material)
        return self._keys[stored.id]


def destroyed(key_id: str) -> IntegrityError:
    """The error for what is sealed under a key that is no more."""
    return IntegrityError(f"the key {key_id} is destroyed: nothing opens under it")
