"""What the parts of `documents` share: entries, connections of both sides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import asyncpg

from benchmarks.relational_bench import POOL, Connection
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.documents import Document, document_models

START = datetime(2024, 1, 1, tzinfo=UTC)
ACTIONS = ("CREATE", "READ", "UPDATE", "DELETE", "EXECUTE")
USERS = 1_000
RESOURCES = 500


@dataclass
class Bench:
    """The report under construction, the facade, and the bare driver's connections."""

    report: Report
    polystore: Polystore
    owner: Connection
    pool: Any

    @property
    def port(self) -> Any:
        """The port under test."""
        return self.polystore.records("audit_logs")

    async def empty(self) -> None:
        """Remove all entries, so that no run pays for those before it."""
        await self.owner.execute("TRUNCATE documents.audit_logs")


@asynccontextmanager
async def open_bench(report: Report, polystore: Polystore) -> AsyncIterator[Bench]:
    """Connections as the application and as the owner of the tables."""
    config: PgConfig = polystore.stores["jsonb"].database.config  # type: ignore[attr-defined]
    owner = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    pool = await asyncpg.create_pool(**config.connect_arguments(), min_size=POOL, max_size=POOL)
    try:
        yield Bench(report, polystore, owner, pool)
    finally:
        await pool.close()
        await owner.close()


@lru_cache(maxsize=4)
def entries(count: int, prefix: str = "e") -> Sequence[Document]:
    """Audit entries as an application makes them, one second apart."""
    model = document_models()["audit_logs"]
    return [model.parse(entry(number, prefix)) for number in range(count)]


def entry(number: int, prefix: str = "e") -> dict[str, Any]:
    """One entry."""
    return {
        "_id": f"{prefix}-{number:09}",
        "timestamp": START + timedelta(seconds=number),
        "user_id": f"user-{number * 7919 % USERS}",
        "action": ACTIONS[number % len(ACTIONS)],
        "resource": f"wallet/{number * 104729 % RESOURCES}",
        "resource_id": f"w-{number}",
        "changes": {"before": {"limit": number}, "after": {"limit": number + 1}},
        "ip_address": "192.0.2.7",
        "user_agent": "bench/1.0",
        "success": number % 10 != 0,
    }
