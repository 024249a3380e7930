"""`relational`, point reads by key, the cache off: 50 callers at once."""

from __future__ import annotations

import random
import statistics

import asyncpg

from benchmarks.relational_bench import RUNS, Bench, Connection, Timed, timed
from benchmarks.routing import CHAIN, READ, prepared
from neo_polystore.records.transactions import Transaction

STORED = 100_000
READERS = 50
READS = 10_000


async def run(bench: Bench) -> None:
    """Compare reads of records that are spread over the whole table."""
    records = prepared(STORED)
    await bench.polystore.transactions.write(records)
    await bench.analyze()
    await _compare(bench, records)


async def _compare(bench: Bench, records: list[Transaction]) -> None:
    chance = random.Random(5)  # noqa: S311

    def some() -> list[Transaction]:
        return chance.choices(records, k=READS)

    async def ours(record: Transaction) -> None:
        if (await bench.polystore.transactions.get(record.key)).hash != record.hash:
            raise RuntimeError("another record was read")

    async def pooled(record: Transaction) -> None:
        async with bench.pool.acquire() as connection:
            await connection.fetchrow(READ, CHAIN, record.hash)

    connections: list[Connection] = [
        await asyncpg.connect(**bench.config.connect_arguments()) for _ in range(READERS)
    ]
    statements = [await connection.prepare(READ) for connection in connections]

    async def own(record: Transaction) -> None:
        statement = statements.pop()
        await statement.fetchrow(CHAIN, record.hash)
        statements.append(statement)

    sides = {"ours": ours, "pool": pooled, "own": own}
    found: dict[str, list[Timed]] = {side: [] for side in sides}
    for number in range(RUNS + 1):
        for side in sorted(sides, reverse=bool(number % 2)):
            result = await timed(sides[side], some(), callers=READERS)
            if number:
                found[side].append(result)
    for connection in connections:
        await connection.close()
    rates = {side: [result.rate for result in results] for side, results in found.items()}
    bench.report.record(
        "point_read",
        rates["ours"],
        rates["pool"],
        reference_is="asyncpg pool of 20",
        unit="reads/s",
    )
    bench.report.record(
        "point_read_prepared",
        rates["ours"],
        rates["own"],
        reference_is="asyncpg, a connection and prepared statement per reader",
        unit="reads/s",
    )
    slow = statistics.median([result.percentile(95) for result in found["ours"]])
    bench.report.figures["point reads, reads/s"] = statistics.median(rates["ours"])
    bench.report.figures["point reads, p95 ms"] = slow
