"""Backs up the keys of an installation by DUMP, each with the time at which it expires.

Not by the server's own RDB file: that holds every key of every database of the server, and only an
administrator can put it back, with the server stopped. What DUMP gives is a key in the same
encoding, with a version and a CRC, and RESTORE checks both.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from neo_polystore.errors import BackupError
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.stores.redis.clearing import clear_keys, matching
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.errors import STORE

STREAM = "keys"
_HEAD = struct.Struct(">IIQ")
"""Length of the key, length of the value, milliseconds since 1970 when it expires (0: never)."""


class RedisSnapshot:
    """Each key as it is found; values that expire are no record of anything."""

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]

    def __init__(self, client: RedisClient):
        self._client = client
        self._count = 0
        self.positions = {}
        self.excluded = {}
        self.held = False

    def streams(self) -> Sequence[Stream]:
        """The one stream; what expires meanwhile makes it another."""
        return [Stream(STREAM, exact=False)]

    def rows(self, name: str) -> int | None:
        """The keys."""
        return self._count

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Key after key."""
        count = 0
        for pattern in self._client.keys.patterns():
            for key in sorted(await matching(self._client, pattern)):
                value = await self._client.run("backup", "DUMP", key)
                left = await self._client.run("backup", "PTTL", key)
                if value is None or left == -2:
                    continue
                expires = 0 if left == -1 else int(time.time() * 1000) + left
                yield _HEAD.pack(len(key), len(value), expires) + key + value
                count += 1
        self._count = count


class RedisBacking:
    """The keys of one installation."""

    phase: Phase = "follows"
    home: str | None = None

    def __init__(self, config: RedisConfig):
        self._config = config

    @property
    def place(self) -> str:
        """Host, port and namespace."""
        return f"redis://{self._config.host}:{self._config.port}/{self._config.namespace}"

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """The keys as they are found."""
        async with self._connected() as client:
            yield RedisSnapshot(client)

    async def occupied(self, scope: BackupScope) -> str | None:
        """Keys of ours."""
        async with self._connected() as client:
            for pattern in client.keys.patterns():
                if found := await matching(client, pattern):
                    return f"{self.place} holds keys, such as {min(found)!r}"
        return None

    async def clear(self, scope: BackupScope) -> None:
        """Remove the keys of ours."""
        async with self._connected() as client:
            for pattern in client.keys.patterns():
                await clear_keys(client, pattern, dry_run=False)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Set what has not expired meanwhile."""
        now = int(time.time() * 1000)
        count = 0
        buffer = bytearray()
        async with self._connected() as client:
            async for piece in saved.read(STREAM):
                buffer += piece
                while (taken := _taken(buffer)) is not None:
                    key, value, expires = taken
                    if not expires or expires > now:
                        await client.run("restore", "RESTORE", key, expires, value, "ABSTTL")
                        count += 1
        if buffer:
            raise BackupError("the stream of keys ends in the middle of one", store=STORE)
        return {"keys": count}

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[RedisClient]:
        client = RedisClient(self._config)
        await client.connect()
        try:
            yield client
        finally:
            await client.close()


def _taken(buffer: bytearray) -> tuple[bytes, bytes, int] | None:
    if len(buffer) < _HEAD.size:
        return None
    key_size, value_size, expires = _HEAD.unpack_from(buffer)
    end = _HEAD.size + key_size + value_size
    if len(buffer) < end:
        return None
    key = bytes(buffer[_HEAD.size : _HEAD.size + key_size])
    value = bytes(buffer[_HEAD.size + key_size : end])
    del buffer[:end]
    return key, value, expires


_: type[Backing] = RedisBacking
