"""Redis Cluster through the driver's own cluster client, which knows where each slot is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException

from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.errors import STORE

SPARE: Final = 10
"""Connections to each server for calls that carry many others, of which few are under way."""

Greet = Callable[[Any], Awaitable[None]]


class GreetingCluster(RedisCluster):
    """The driver's client, whose connections all begin with `greet`."""

    def __init__(self, *, greet: Greet, **options: Any):
        super().__init__(**options)
        manager = self.nodes_manager
        shared = [node.connection_kwargs for node in manager.startup_nodes.values()]
        for arguments in (manager.connection_kwargs, *shared):
            arguments["redis_connect_func"] = greet


async def connected(config: RedisConfig, *, greet: Greet) -> RedisCluster:
    """A client that knows the cluster's servers; ConfigError where there is none, and
    UnavailableError where it cannot be reached."""
    options: dict[str, Any] = {
        "greet": greet,
        "max_connections": config.max_connections + SPARE,
        "socket_timeout": config.command_timeout,
        "socket_connect_timeout": config.connect_timeout,
        "client_name": "neo-polystore",
        "retry": Retry(NoBackoff(), 1),
    }
    try:
        if config.url is not None:
            cluster = GreetingCluster.from_url(config.url.get_secret_value(), **options)
        else:
            cluster = GreetingCluster(
                host=config.host,
                port=config.port,
                username=config.user,
                password=config.password.get_secret_value() or None,
                db=config.db,
                ssl=config.ssl,
                **options,
            )
    except (ValueError, RedisClusterException) as error:
        raise ConfigError(f"cannot use a cluster so: {error}", store=STORE) from None
    try:
        return await cluster.initialize()
    except RedisClusterException as error:
        await cluster.aclose()
        if "not enabled" in str(error):
            raise ConfigError(
                "the server is none of a Redis Cluster: unset REDIS_CLUSTER", store=STORE
            ) from error
        raise UnavailableError(f"cannot use the cluster: {error}", store=STORE) from error
