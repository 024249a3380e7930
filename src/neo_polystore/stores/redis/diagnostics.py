"""What a Redis says about itself: memory, evictions, and which families its keys belong to.

Keys are looked at with SCAN and within a budget of commands, never with KEYS, so that a large
server is not held up; then the figures are a sample and say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neo_polystore.stores.redis.clearing import clear_keys, pages
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.keys import FAMILIES

_PAGE: Final = 1000
_LOOKED_AT: Final = 10
"""Keys per page whose memory and remaining time are asked for."""
PRECIOUS: Final = ("session", "rate_limit", "rate_log", "rate_counts", "rate_bucket")
"""Families that a full server must not evict: they log people out, or let them pass limits."""


@dataclass(slots=True)
class FamilySample:
    """A family, and what was found of it. Bytes and seconds are means over `sampled` keys."""

    family: str
    holds: str
    pattern: str
    ttl: float
    keys: int = 0
    sampled: int = 0
    mean_bytes: float = 0.0
    mean_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The families, and whether every key of the server was seen."""

    families: list[FamilySample]
    seen: int
    total: int
    complete: bool


async def status(client: RedisClient) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Figures of each server by name, and warnings."""
    figures = {name_of(client, server): await _figures(client, server) for server in client.servers}
    several = len(figures) > 1
    return figures, [
        f"{name}: {warning}" if several else warning
        for name, found in figures.items()
        for warning in warnings_of(found)
    ]


def name_of(client: RedisClient, server: Any) -> str:
    """Host and port of a server."""
    config = client.config
    return f"{config.host}:{config.port}" if server is None else str(server.name)


async def _figures(client: RedisClient, server: Any) -> dict[str, Any]:
    info = await client.run("status", "INFO", server=server)
    wanted = (
        "redis_version", "role", "uptime_in_seconds", "connected_clients", "used_memory",
        "used_memory_peak", "maxmemory", "maxmemory_policy", "mem_fragmentation_ratio",
        "evicted_keys", "expired_keys", "keyspace_hits", "keyspace_misses", "aof_enabled",
        "tracking_clients",
    )  # fmt: skip
    figures: dict[str, Any] = {name: info[name] for name in wanted if name in info}
    figures["keys"] = await client.run("status", "DBSIZE", server=server)
    return figures


def warnings_of(figures: dict[str, Any]) -> list[str]:
    """What calls for attention."""
    found = []
    policy, limit = str(figures.get("maxmemory_policy", "")), int(figures.get("maxmemory", 0))
    if policy not in ("", "noeviction"):
        effect = "evicts" if limit else "would evict, once maxmemory is set,"
        found.append(
            f"maxmemory-policy {policy} {effect} sessions and limits like any other key: use"
            " noeviction, or a server of their own for the cache"
        )
    if limit and int(figures.get("used_memory", 0)) > 0.9 * limit:
        found.append("more than 90 percent of maxmemory is in use")
    if int(figures.get("evicted_keys", 0)):
        found.append(f"{figures['evicted_keys']} keys were evicted since the server started")
    return found


async def families(client: RedisClient, *, budget: int) -> Sample:
    """The families' keys, sampled with at most `budget` commands."""
    known = {name: client.keys.family(name) for name in FAMILIES}
    found = {
        name: FamilySample(name, family.holds, family.pattern, family.ttl)
        for name, family in known.items()
    }
    shapes = {name: _shape(client.keys.pattern(name)) for name in FAMILIES}
    servers = client.servers
    total = sum([await client.run("keys", "DBSIZE", server=server) for server in servers])
    seen, spent = 0, len(servers)
    for server in servers:
        async for keys, more in pages(client, server, "COUNT", _PAGE):
            spent += 1
            seen += len(keys)
            for name, members in _sorted(keys, shapes).items():
                found[name].keys += len(members)
                looked_at = members[: min(_LOOKED_AT, max(0, (budget - spent) // 2))]
                spent += 2 * len(looked_at)
                await _look(client, server, found[name], looked_at)
            if spent >= budget and (more or server is not servers[-1]):
                return Sample(list(found.values()), seen, total, complete=False)
    return Sample(list(found.values()), seen, total, complete=True)


def _sorted(
    keys: Sequence[bytes], shapes: Mapping[str, re.Pattern[bytes]]
) -> dict[str, list[bytes]]:
    """The keys by family; those of nobody's are left out."""
    found: dict[str, list[bytes]] = {}
    for key in keys:
        for name, shape in shapes.items():
            if shape.fullmatch(key):
                found.setdefault(name, []).append(key)
                break
    return found


async def flush(client: RedisClient, family: str, *, dry_run: bool) -> int:
    """Remove every key of a family; how many there were. Running loads of them fill nothing."""
    return await clear_keys(client, client.keys.pattern(family), dry_run=dry_run)


async def _look(
    client: RedisClient, server: Any, sample: FamilySample, keys: Sequence[bytes]
) -> None:
    for key in keys:
        size = await client.run("keys", "MEMORY USAGE", key, server=server)
        left = await client.run("keys", "PTTL", key, server=server)
        if size is not None and left >= 0:
            sample.sampled += 1
            sample.mean_bytes += (size - sample.mean_bytes) / sample.sampled
            sample.mean_left += (left / 1000 - sample.mean_left) / sample.sampled


def _shape(pattern: str) -> re.Pattern[bytes]:
    """The same set of keys as SCAN's pattern."""
    parts = re.split(r"(?<!\\)\*", pattern)
    text = ".*".join(re.escape(re.sub(r"\\(.)", r"\1", part)) for part in parts)
    return re.compile(text.encode(), re.DOTALL)
