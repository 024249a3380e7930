"""Removes keys by pattern, to the last page of the scan."""

from __future__ import annotations

from neo_polystore.stores.redis.client import RedisClient

_PAGE = 1_000


async def matching(client: RedisClient, pattern: str) -> set[bytes]:
    """The keys that match, as the server has them."""
    found: set[bytes] = set()  # a scan may show a key twice
    cursor = "0"
    while True:
        following, keys = await client.run(
            "clear", "SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE
        )
        found.update(keys)
        cursor = following.decode() if isinstance(following, bytes) else str(following)
        if cursor == "0":
            return found


async def clear_keys(client: RedisClient, pattern: str, *, dry_run: bool) -> int:
    """How many keys match, and now are gone unless it is a dry run."""
    found = await matching(client, pattern)
    if not dry_run:
        for key in found:  # one by one: a cluster refuses keys of different slots in one command
            await client.run("clear", "UNLINK", key)
    return len(found)
