"""What a Redis says about itself: memory, evictions, and which families its keys belong to.

Keys are looked at with SCAN and within a budget of commands, never with KEYS, so that a large
server is not held up; then the figures are a sample and say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from neo_polystore.stores.redis.clearing import clear_keys
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


async def status(client: RedisClient) -> tuple[dict[str, Any], list[str]]:
    """Figures by name, and warnings."""
    info = await client.run("status", "INFO")
    wanted = (
        "redis_version", "role", "uptime_in_seconds", "connected_clients", "used_memory",
        "used_memory_peak", "maxmemory", "maxmemory_policy", "mem_fragmentation_ratio",
        "evicted_keys", "expired_keys", "keyspace_hits", "keyspace_misses", "aof_enabled",
        "tracking_clients",
    )  # fmt: skip
    figures: dict[str, Any] = {name: info[name] for name in wanted if name in info}
    figures["keys"] = await client.run("status", "DBSIZE")
    return figures, warnings_of(figures)


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
    found = {
        name: FamilySample(name, client.keys.family(name).pattern, client.keys.family(name).ttl)
        for name in FAMILIES
    }
    shapes = {name: _shape(client.keys.pattern(name)) for name in FAMILIES}
    total, seen, cursor, spent = await client.run("keys", "DBSIZE"), 0, "0", 1
    while spent < budget:
        following, keys = await client.run("keys", "SCAN", cursor, "COUNT", _PAGE)
        spent += 1
        seen += len(keys)
        by_family: dict[str, list[bytes]] = {}
        for key in keys:
            for name, shape in shapes.items():
                if shape.fullmatch(key):
                    by_family.setdefault(name, []).append(key)
                    break
        for name, members in by_family.items():
            found[name].keys += len(members)
            looked_at = members[: min(_LOOKED_AT, max(0, (budget - spent) // 2))]
            spent += 2 * len(looked_at)
            await _look(client, found[name], looked_at)
        cursor = following.decode() if isinstance(following, bytes) else str(following)
        if cursor == "0":
            break
    return Sample(list(found.values()), seen, total, complete=cursor == "0")


async def flush(client: RedisClient, family: str, *, dry_run: bool) -> int:
    """Remove every key of a family; how many there were. Running loads of them fill nothing."""
    return await clear_keys(client, client.keys.pattern(family), dry_run=dry_run)


async def _look(client: RedisClient, sample: FamilySample, keys: Sequence[bytes]) -> None:
    for key in keys:
        size = await client.run("keys", "MEMORY", "USAGE", key)
        left = await client.run("keys", "PTTL", key)
        if size is not None and left >= 0:
            sample.sampled += 1
            sample.mean_bytes += (size - sample.mean_bytes) / sample.sampled
            sample.mean_left += (left / 1000 - sample.mean_left) / sample.sampled


def _shape(pattern: str) -> re.Pattern[bytes]:
    """The same set of keys as SCAN's pattern."""
    parts = re.split(r"(?<!\\)\*", pattern)
    text = ".*".join(re.escape(re.sub(r"\\(.)", r"\1", part)) for part in parts)
    return re.compile(text.encode(), re.DOTALL)
