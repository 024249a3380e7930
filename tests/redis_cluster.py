"""A Redis Cluster of a test's own: three servers on the loopback interface, and replicas."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.redis_server import RedisServer

SLOTS = 16384
PRIMARIES = 3
_OPTIONS = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")


@asynccontextmanager
async def redis_cluster(folder: Path, *, replicas: int = 0) -> AsyncIterator[list[RedisServer]]:
    """Servers that share the slots evenly; the first `replicas` primaries have one replica each,
    which come behind the primaries."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                RedisServer(folder / str(number), free_port_pair(), *_OPTIONS)
            )
            for number in range(PRIMARIES + replicas)
        ]
        clients: list[Any] = [Redis(port=server.port) for server in servers]
        for client in clients:
            stack.push_async_callback(client.aclose)
        for place, client in enumerate(clients[:PRIMARIES]):
            first, after = (SLOTS * number // PRIMARIES for number in (place, place + 1))
            await client.execute_command("CLUSTER", "ADDSLOTS", *range(first, after))
        for place, client in enumerate(clients, 1):
            await client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place)
        for client in clients[1:]:
            await client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        await _until_all(clients, f"cluster_known_nodes:{len(servers)}")
        for primary, replica in zip(clients, clients[PRIMARIES:], strict=False):
            number = await primary.execute_command("CLUSTER", "MYID")
            await replica.execute_command("CLUSTER", "REPLICATE", number)
        await _until_all(clients, "cluster_state:ok", f"cluster_slots_ok:{SLOTS}")
        yield servers


def free_port_pair() -> int:
    """A port whose cluster bus, 10,000 above, is free as well."""
    while True:
        with closing(socket.create_server(("127.0.0.1", 0))) as found:
            port = int(found.getsockname()[1])
            if port < 55_000:
                try:
                    socket.create_server(("127.0.0.1", port + 10_000)).close()
                except OSError:
                    continue
                return port


async def _until_all(clients: list[Any], *words: str) -> None:
    async with asyncio.timeout(60):
        for client in clients:
            while True:
                text = str(await client.execute_command("CLUSTER", "INFO"))
                if all(word in text for word in words):
                    break
                await asyncio.sleep(0.02)
