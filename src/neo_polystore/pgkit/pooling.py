"""What it takes to work behind a pooler in transaction mode, such as PgBouncer.

Such a pooler lends a server connection for the length of a transaction. Nothing may be left on
that connection then: no session setting, no session lock, no temporary table, no prepared
statement with a name. And what belongs together has to be in a transaction: asyncpg sends the
parsing of a statement and its execution apart, and outside of a transaction the two would reach
different server connections. A transaction around them costs two round trips; the pooler and the
server are usually near each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

ARGUMENTS: Final[dict[str, Any]] = {"statement_cache_size": 0}
"""Makes asyncpg prepare statements without a name, which the next one replaces."""


@asynccontextmanager
async def held(connection: Connection, *, pooled: bool) -> AsyncIterator[None]:
    """Keep one server connection for these statements; they are one transaction where pooled."""
    if pooled:
        async with connection.transaction():
            yield
    else:
        yield
