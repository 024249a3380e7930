"""Where a test's servers are, and how a process of a test is told."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from neo_polystore.embedded import Membership, ServerAddress
from neo_polystore.pgkit.database import PgConfig


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


def told(config: PgConfig) -> dict[str, Any]:
    """A configuration as JSON for a process of a test, its secrets with it."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in config.model_dump().items()
    }
