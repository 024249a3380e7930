"""One probe for every engine on PostgreSQL: version, milliseconds, and what the engine adds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.store import Health

PATIENCE_SECONDS = 10.0

Describe = Callable[[Connection, Health], Awaitable[Health]]


async def probe(database: Database, describe: Describe | None = None) -> Health:
    """Ask the server for its version; connects first where that has not succeeded yet.

    `describe` may add detail and facts over the same connection; its time is not counted. Never
    raises: `unhealthy` with the reason.
    """
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await database.connect()
            async with database.acquire("health") as connection:
                version = await connection.fetchval("SELECT current_setting('server_version')")
                elapsed = (time.perf_counter() - started) * 1000
                health = Health("healthy", version=f"PostgreSQL {version}", milliseconds=elapsed)
                return await describe(connection, health) if describe else health
    except PolystoreError as error:
        return Health(status="unhealthy", detail=str(error))
    except TimeoutError:
        return Health(status="unhealthy", detail=f"no answer within {PATIENCE_SECONDS:g} s")


def with_facts(health: Health, detail: str, **facts: object) -> Health:
    """The same answer with a sentence and facts added."""
    text = "; ".join(part for part in (health.detail, detail) if part)
    return replace(health, detail=text, facts={**health.facts, **facts})
