"""`relational`, writes: many callers with a record each, one caller alone, bulk loads, the ORM."""

from __future__ import annotations

import statistics
import time
from decimal import Decimal
from uuid import UUID

from benchmarks.relational_bench import RUNS, Bench, Timed, timed
from benchmarks.relational_orm import open_orm
from benchmarks.routing import INSERT, prepared, row_of
from neo_polystore.ids import uuid7
from neo_polystore.records.transactions import Transaction

CALLERS = 500
OURS = 20_000
REFERENCE = 4_000
SINGLE = 500
BULK = 200_000

# What the records have, all of it: a loader does not know which fields are empty.
FIELDS = """from_address, to_address, value, gas_price, gas_limit, gas_used, nonce, input_data,
    status, block_number, block_timestamp, confirmation_count"""
STAGE = """
    CREATE TEMP TABLE staged (
        id uuid, network_id uuid, transaction_hash text, from_address text, to_address text,
        value numeric, gas_price numeric, gas_limit bigint, gas_used bigint, nonce bigint,
        input_data text, status text, block_number bigint, block_timestamp timestamptz,
        confirmation_count int
    ) ON COMMIT DROP
"""
MERGE = f"""
    WITH keys AS (
        INSERT INTO blockchain.transaction_keys
            (network_id, transaction_hash, transaction_id, created_at)
        SELECT network_id, transaction_hash, id, now() FROM staged
        ON CONFLICT (network_id, transaction_hash) DO NOTHING
        RETURNING transaction_id, created_at
    )
    INSERT INTO blockchain.transactions (id, created_at, network_id, transaction_hash, {FIELDS})
    SELECT id, created_at, network_id, transaction_hash, {FIELDS}
    FROM staged JOIN keys ON transaction_id = id
"""


def _whole_row(record: Transaction, network: UUID) -> tuple[object, ...]:
    price = record.gas_price
    return (
        uuid7(),
        network,
        record.hash,
        record.from_address,
        record.to_address,
        Decimal(record.value),
        None if price is None else Decimal(price),
        record.gas_limit,
        record.gas_used,
        record.nonce,
        record.input_data,
        record.status,
        record.block_number,
        record.block_timestamp,
        record.confirmation_count,
    )


async def run(bench: Bench) -> None:
    """Compare writes."""
    await _many_callers(bench)
    await _lone_caller(bench)
    await _bulk_load(bench)
    await bench.empty()


async def _ours(bench: Bench, count: int, callers: int) -> Timed:
    async def write(record: Transaction) -> None:
        written = await bench.polystore.transactions.write([record])
        if written.new != 1:
            raise RuntimeError(f"not stored: {written}")

    return await timed(write, prepared(count), callers=callers)


async def _pool(bench: Bench, count: int, callers: int) -> Timed:
    async def write(record: Transaction) -> None:
        async with bench.pool.acquire() as connection:
            identity, *values = row_of(record, bench.network)
            await connection.execute(INSERT, values[0], values[1], identity, *values[2:])

    return await timed(write, prepared(count), callers=callers)


async def _many_callers(bench: Bench) -> None:
    found: dict[str, list[Timed]] = {"ours": [], "pool": [], "orm": []}
    async with open_orm(bench) as orm:
        for number in range(RUNS + 1):
            await bench.empty()
            run = {
                "ours": lambda: _ours(bench, OURS, CALLERS),
                "pool": lambda: _pool(bench, REFERENCE, CALLERS),
                "orm": lambda: timed(orm.write, prepared(REFERENCE // 4), callers=CALLERS),
            }
            for side in sorted(run, reverse=bool(number % 2)):
                result = await run[side]()
                if number:  # the first is to warm up
                    found[side].append(result)
    rates = {side: [result.rate for result in results] for side, results in found.items()}
    slow = {side: [result.percentile(95) for result in each] for side, each in found.items()}
    one_insert = "asyncpg pool of 20, one INSERT per call"
    bench.report.record(
        "coalesced_writes",
        rates["ours"],
        rates["pool"],
        reference_is=one_insert,
        unit="records/s",
    )
    bench.report.record(
        "coalesced_p95",
        slow["ours"],
        slow["pool"],
        reference_is=one_insert,
        unit="ms",
        lower_is_better=True,
    )
    bench.report.record(
        "orm",
        rates["ours"],
        rates["orm"],
        reference_is="SQLAlchemy ORM, add and commit",
        unit="records/s",
    )
    bench.report.figures["coalesced writes, records/s"] = statistics.median(rates["ours"])
    bench.report.figures["coalesced writes, p95 ms"] = statistics.median(slow["ours"])


async def _lone_caller(bench: Bench) -> None:
    statement = await bench.connection.prepare(INSERT)

    async def insert(record: Transaction) -> None:
        identity, *values = row_of(record, bench.network)
        await statement.fetch(values[0], values[1], identity, *values[2:])

    async def ours() -> float:
        return (await _ours(bench, SINGLE, 1)).percentile(50) * 1000

    async def reference() -> float:
        return (await timed(insert, prepared(SINGLE), callers=1)).percentile(50) * 1000

    await bench.report.compare(
        "lone_caller",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, one prepared INSERT per record",
        unit="microseconds",
        lower_is_better=True,
        runs=RUNS,
    )


async def _bulk_load(bench: Bench) -> None:
    records = prepared(BULK)

    async def ours() -> float:
        await bench.empty()
        started = time.perf_counter()
        written = await bench.polystore.transactions.write(records)
        if written.new != BULK:
            raise RuntimeError(f"not stored: {written}")
        return BULK / (time.perf_counter() - started)

    async def reference() -> float:
        await bench.empty()
        started = time.perf_counter()
        async with bench.connection.transaction():
            await bench.connection.execute(STAGE)
            await bench.connection.copy_records_to_table(
                "staged", records=(_whole_row(record, bench.network) for record in records)
            )
            await bench.connection.execute(MERGE)
        return BULK / (time.perf_counter() - started)

    found = await bench.report.compare(
        "bulk_load",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, COPY into staging and INSERT ... ON CONFLICT",
        unit="records/s",
        runs=3,
    )
    bench.report.figures["bulk load, records/s"] = found.ours
