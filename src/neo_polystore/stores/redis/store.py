"""Redis as a store: connections, health, and the ports cache and limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from neo_polystore.activity import Activity
from neo_polystore.errors import ConfigError, PolystoreError, UsageError
from neo_polystore.ports.store import (
    Cleared,
    Health,
    HealthStatus,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.redis.backing import RedisBacking
from neo_polystore.stores.redis.cache import RedisCache
from neo_polystore.stores.redis.clearing import clear_keys
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.keys import FAMILIES
from neo_polystore.stores.redis.limits import RedisLimits

_NO_SCHEMA = "keys have no schema; scripts load themselves"
_OLDEST = (6, 2)
_SUMS = ("used_memory", "maxmemory", "evicted_keys", "connected_clients")
_FACTS = (*_SUMS, "aof_enabled", "role")


class RedisStore:
    """One Redis or Valkey server, or a cluster of them."""

    name: ClassVar[str] = "redis"
    serves: ClassVar[frozenset[str]] = frozenset({"cache", "limits"})
    features: ClassVar[frozenset[str]] = frozenset({"ttl", "leases", "scripts"})

    def __init__(self, config: RedisConfig):
        self._client = RedisClient(config)
        self._cache = RedisCache(self._client)
        self._ports = {"cache": self._cache, "limits": RedisLimits(self._client)}

    async def connect(self) -> None:
        """Open connections; ConfigError where the server is older than 6.2. Harmless when open."""
        if self._client.is_open:
            return
        await self._client.connect()
        try:
            for server in self._client.servers:
                info = await self._client.run("connect", "INFO", "server", server=server)
                if _number(_version(info)) < _OLDEST:
                    raise ConfigError(
                        f"the server is version {_version(info)}: 6.2 or later is needed",
                        store=self.name,
                    )
        except BaseException:
            await self.close()  # what was not looked at is not open
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self._cache.close()
        await self._client.close()

    async def health(self) -> Health:
        """Ask every server for INFO. A store that was never connected tries once more."""
        started = time.perf_counter()
        try:
            await self.connect()
            servers = self._client.servers
            infos = [await self._client.run("health", "INFO", server=each) for each in servers]
        except PolystoreError as error:
            return Health("unhealthy", detail=error.message)
        milliseconds = (time.perf_counter() - started) * 1000
        facts = {name: infos[0][name] for name in _FACTS if name in infos[0]}
        if len(infos) > 1:
            facts = {"servers": len(infos), **facts}
            facts |= {name: sum(info[name] for info in infos) for name in _SUMS}
        detail = ""
        if any(info.get("role") == "slave" for info in infos):
            detail = "the server is a replica and takes no writes"
        status: HealthStatus = "degraded" if detail else "healthy"
        return Health(status, _version(infos[0]), detail, milliseconds, facts)

    @property
    def backing(self) -> RedisBacking:
        """How it is backed up, where somebody asks for it."""
        return RedisBacking(self._client.config)

    @property
    def activity(self) -> Activity:
        """What the server was asked."""
        return Activity(self._client.recorder)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Nothing to do."""
        return MigrationReport(self.name, "none", None, not_applicable=_NO_SCHEMA)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Nothing to take back."""
        return await self.migrate(dry_run=True)

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Nothing to write down."""
        return Script(cls.name, not_applicable=_NO_SCHEMA)

    async def validate(self) -> Validation:
        """Nothing to compare."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every key of the namespace; without a namespace, of the families there are."""
        rows = {}
        for pattern in self._client.keys.patterns():
            if count := await clear_keys(self._client, pattern, dry_run=dry_run):
                rows[pattern] = count
        return Cleared(self.name, rows)

    @property
    def families(self) -> Sequence[str]:
        """The key families there are."""
        return tuple(FAMILIES)

    async def flush(self, family: str, *, dry_run: bool = False) -> int:
        """Remove every key of a family; see `ports.cache.Flushing`."""
        if family not in FAMILIES:
            raise UsageError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
        return await clear_keys(self._client, self._client.keys.pattern(family), dry_run=dry_run)

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these keys the server has, by a connection of its own.

        `keys` are those of `ports.cache`, or `rate_limit:{client_id}:{endpoint}` for limits.
        """
        self.port(data_type)
        other = RedisClient(self._client.config)
        await other.connect()
        try:
            stored = [other.keys.stored(key) for key in keys]
            return sum([await other.run("witness", "EXISTS", key) for key in stored])
        finally:
            await other.close()

    def port(self, data_type: str) -> Any:
        """`cache` or `limits`."""
        return self._ports[data_type]


def _version(info: Any) -> str:
    """Valkey answers the version of Redis that it is compatible with beside its own."""
    return str(info.get("valkey_version") or info["redis_version"])


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


_: type[Store] = RedisStore
