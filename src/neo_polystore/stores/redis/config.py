"""Where Redis is, how patient we are with it, and how long its keys live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0)]


class RedisConfig(BaseModel):
    """A Redis (6.2 or later) or Valkey server, or a cluster of them.

    `url` (redis://, rediss:// or unix://) goes to the driver's own parser and then stands for
    host, port, user, password, db and ssl. `namespace` is put before every key.

    `connect_timeout` and `command_timeout` are seconds; a call that finds every connection in
    use waits at most `command_timeout` for one. `lease_seconds` bounds how long a cache fill
    may take before it is refused; `patience_seconds` how long others wait for it before one of
    them takes it over. `change_seconds` is how long a key stays empty whose writer died, and must
    be longer than a statement or commit may take. Every TTL is shortened by a random part of up
    to `ttl_jitter` of it, so that keys written together do not expire together. `ttls` changes
    the TTL (in seconds) of key families by their name in `keys.FAMILIES`.

    `cluster`: the server is one of a Redis Cluster, through which all the others are found. It
    writes the client's name in the keys of rate limits in braces, as in `rate_limit:{alice}:/x`,
    so that all limits of a client are in one slot. `max_connections` then holds for each server.
    """

    model_config = ConfigDict(frozen=True)

    url: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = 6379
    user: str | None = None
    password: SecretStr = SecretStr("")
    db: Annotated[int, Field(ge=0)] = 0
    ssl: bool = False
    namespace: str = ""
    connect_timeout: Seconds = 5.0
    command_timeout: Seconds = 5.0
    max_connections: Annotated[int, Field(ge=1)] = 50
    lease_seconds: Seconds = 10.0
    patience_seconds: Seconds = 0.25
    change_seconds: Seconds = 60.0
    ttl_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ttls: Mapping[str, Seconds] = {}
    cluster: bool = False
