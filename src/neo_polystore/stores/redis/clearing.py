"""Removes keys by pattern, to the last page of the scan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from neo_polystore.stores.redis.client import RedisClient

_PAGE = 1_000


async def matching(client: RedisClient, pattern: str) -> set[bytes]:
    """The keys that match, as the servers have them."""
    found: set[bytes] = set()  # a scan may show a key twice
    for server in client.servers:
        async for keys, _ in pages(client, server, "MATCH", pattern, "COUNT", _PAGE):
            found.update(keys)
    return found


async def pages(
    client: RedisClient, server: Any, *options: Any
) -> AsyncIterator[tuple[list[bytes], bool]]:
    """One server's keys as SCAN shows them, page by page, and whether there are more."""
    cursor = "0"
    while True:
        following, keys = await client.run("scan", "SCAN", cursor, *options, server=server)
        cursor = following.decode() if isinstance(following, bytes) else str(following)
        yield keys, cursor != "0"
        if cursor == "0":
            return


async def clear_keys(client: RedisClient, pattern: str, *, dry_run: bool) -> int:
    """How many keys match, and now are gone unless it is a dry run."""
    found = await matching(client, pattern)
    if not dry_run:
        for key in found:  # one by one: a cluster refuses keys of different slots in one command
            await client.run("clear", "UNLINK", key)
    return len(found)
