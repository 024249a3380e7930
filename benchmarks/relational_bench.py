"""What the parts of `relational` share: connections of both sides, and how calls are timed."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg

from benchmarks.routing import CHAIN
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.networks import Network

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

POOL = 20
RUNS = 5

T = TypeVar("T")


@dataclass
class Bench:
    """The report under construction, the facade, and the bare driver's connections."""

    report: Report
    polystore: Polystore
    config: PgConfig
    connection: Connection
    owner: Connection
    pool: Any
    network: UUID

    async def empty(self) -> None:
        """Remove all transactions, so that no run pays for the rows of those before it."""
        await self.owner.execute("TRUNCATE blockchain.transactions, blockchain.transaction_keys")

    async def analyze(self) -> None:
        """Give the planner statistics, as autovacuum would after a while."""
        await self.owner.execute("ANALYZE")


@asynccontextmanager
async def open_bench(report: Report, polystore: Polystore) -> AsyncIterator[Bench]:
    """A network to write to, and connections as the application and as the owner."""
    await polystore.networks.write(
        [Network(chain_id=CHAIN, name="bench", rpc_endpoint="https://rpc.example.org")]
    )
    config: PgConfig = polystore.stores["postgres"].config  # type: ignore[attr-defined]
    connection = await asyncpg.connect(**config.connect_arguments())
    owner = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    pool = await asyncpg.create_pool(**config.connect_arguments(), min_size=POOL, max_size=POOL)
    try:
        network = await connection.fetchval("SELECT id FROM blockchain.networks")
        yield Bench(report, polystore, config, connection, owner, pool, network)
    finally:
        await pool.close()
        await owner.close()
        await connection.close()


@dataclass
class Timed:
    """Calls per second, and the milliseconds that each took."""

    rate: float
    milliseconds: list[float] = field(repr=False)

    def percentile(self, percent: int) -> float:
        """The latency that this share of calls did not exceed, in milliseconds."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


async def timed(
    call: Callable[[T], Awaitable[object]], items: Sequence[T], *, callers: int
) -> Timed:
    """Have `callers` at once work off the items, each awaiting one call after the other."""
    left = iter(items)
    taken: list[float] = []

    async def caller() -> None:
        for item in left:
            started = time.perf_counter()
            await call(item)
            taken.append((time.perf_counter() - started) * 1000)

    gc.collect()
    gc.freeze()  # nobody should have to look through the benchmark's own records
    try:
        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return Timed(len(items) / (time.perf_counter() - started), taken)
    finally:
        gc.unfreeze()
