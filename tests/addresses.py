"""Which server a suite asks: the one that a variable names, else the embedded one."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from neo_polystore.embedded import Membership, ServerAddress


async def address_of(server: str, embedded: Membership) -> ServerAddress:
    """NEO_TEST_POSTGRES_URL, NEO_TEST_REDIS_URL or NEO_TEST_CLICKHOUSE_URL, where it is set.

    Such as postgresql://postgres:secret@127.0.0.1:5432, an administrator's login; ValueError for
    one without a port.
    """
    variable = f"NEO_TEST_{server.upper()}_URL"
    url = os.environ.get(variable)
    if not url:
        return await embedded.ensure(server)
    parts = urlsplit(url)
    if parts.port is None:
        raise ValueError(f"{variable} has no port")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return ServerAddress(parts.hostname or "127.0.0.1", parts.port, user, password)
