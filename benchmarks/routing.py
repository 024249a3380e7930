"""`routing`: the facade against the bare driver, for one write, a bulk load and a point read.

Both sides write the same rows to the same tables of the same embedded server, with fsync and
synchronous commit on; caches are off. What is measured is what the facade costs: its checks, its
answers per record, its translation of errors.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg

from benchmarks.platform import embedded_platform
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.ids import uuid7
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.networks import Network
from neo_polystore.records.transactions import Transaction

CHAIN = 1
SINGLE = 500
BULK = 20_000
READS = 1_000

INSERT = """
    WITH key AS (
        INSERT INTO blockchain.transaction_keys
            (network_id, transaction_hash, transaction_id, created_at)
        VALUES ($1, $2, $3, now())
        ON CONFLICT (network_id, transaction_hash) DO NOTHING
        RETURNING network_id, transaction_hash, transaction_id, created_at
    )
    INSERT INTO blockchain.transactions
        (id, created_at, network_id, transaction_hash, from_address, to_address, value, status)
    SELECT transaction_id, created_at, network_id, transaction_hash, $4, $5, $6, $7 FROM key
"""
STAGE = """
    CREATE TEMP TABLE staged (
        id uuid, network_id uuid, transaction_hash text, from_address text, to_address text,
        value numeric, status text
    ) ON COMMIT DROP
"""
MERGE = """
    WITH keys AS (
        INSERT INTO blockchain.transaction_keys
            (network_id, transaction_hash, transaction_id, created_at)
        SELECT network_id, transaction_hash, id, now() FROM staged
        ON CONFLICT (network_id, transaction_hash) DO NOTHING
        RETURNING network_id, transaction_hash, transaction_id, created_at
    )
    INSERT INTO blockchain.transactions
        (id, created_at, network_id, transaction_hash, from_address, to_address, value, status)
    SELECT s.id, k.created_at, s.network_id, s.transaction_hash, s.from_address, s.to_address,
        s.value, s.status
    FROM staged s JOIN keys k ON k.transaction_id = s.id
"""
READ = """
    SELECT t.* FROM blockchain.transaction_keys k
    JOIN blockchain.networks n ON n.id = k.network_id
    JOIN blockchain.transactions t ON t.id = k.transaction_id AND t.created_at = k.created_at
    WHERE n.chain_id = $1 AND k.transaction_hash = $2
"""

_numbers = itertools.count()


def prepared(count: int) -> list[Transaction]:
    """`count` new transactions with hashes that were never used."""
    return [
        Transaction(
            chain_id=CHAIN,
            hash="0x" + hashlib.sha256(str(next(_numbers)).encode()).hexdigest(),
            from_address="0x" + "ab" * 20,
            to_address="0x" + "cd" * 20,
            value=10**18,
            status="confirmed",
        )
        for _ in range(count)
    ]


async def run() -> Report:
    """Run the three comparisons."""
    report = Report("routing")
    async with embedded_platform(("networks", "transactions"), neo_cache=False) as polystore:
        await polystore.networks.write(
            [Network(chain_id=CHAIN, name="bench", rpc_endpoint="https://rpc.example.org")]
        )
        connection = await _connect(polystore)
        try:
            network: UUID = await connection.fetchval("SELECT id FROM blockchain.networks")
            await _single_write(report, polystore, connection, network)
            await _bulk_load(report, polystore, connection, network)
            await _point_read(report, polystore, connection)
        finally:
            await connection.close()
    return report


async def _connect(polystore: Polystore) -> asyncpg.Connection[asyncpg.Record]:
    config: PgConfig = polystore.stores["postgres"].config  # type: ignore[attr-defined]
    return await asyncpg.connect(**config.connect_arguments())


def row_of(record: Transaction, network: UUID) -> tuple[object, ...]:
    return (
        uuid7(),
        network,
        record.hash,
        record.from_address,
        record.to_address,
        Decimal(record.value),
        record.status,
    )


async def _single_write(
    report: Report,
    polystore: Polystore,
    connection: asyncpg.Connection[asyncpg.Record],
    network: UUID,
) -> None:
    statement = await connection.prepare(INSERT)

    async def ours() -> float:
        records = prepared(SINGLE)
        started = time.perf_counter()
        for record in records:
            await polystore.transactions.write([record])
        return (time.perf_counter() - started) / SINGLE * 1e6

    async def reference() -> float:
        records = prepared(SINGLE)
        started = time.perf_counter()
        for record in records:
            identity, _, *values = row_of(record, network)
            await statement.fetch(network, values[0], identity, *values[1:])
        return (time.perf_counter() - started) / SINGLE * 1e6

    await report.compare(
        "single_write",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, one prepared INSERT per record",
        unit="µs",
        lower_is_better=True,
    )


async def _bulk_load(
    report: Report,
    polystore: Polystore,
    connection: asyncpg.Connection[asyncpg.Record],
    network: UUID,
) -> None:
    async def ours() -> float:
        records = prepared(BULK)
        started = time.perf_counter()
        await polystore.transactions.write(records)
        return BULK / (time.perf_counter() - started)

    async def reference() -> float:
        records: Sequence[Transaction] = prepared(BULK)
        started = time.perf_counter()
        async with connection.transaction():
            await connection.execute(STAGE)
            await connection.copy_records_to_table(
                "staged", records=[row_of(record, network) for record in records]
            )
            await connection.execute(MERGE)
        return BULK / (time.perf_counter() - started)

    await report.compare(
        "bulk_load",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, COPY into staging and INSERT ... ON CONFLICT",
        unit="records/s",
    )


async def _point_read(
    report: Report, polystore: Polystore, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    records = prepared(READS)
    await polystore.transactions.write(records)
    statement = await connection.prepare(READ)

    async def ours() -> float:
        started = time.perf_counter()
        for record in records:
            await polystore.transactions.get(record.key)
        return (time.perf_counter() - started) / READS * 1e6

    async def reference() -> float:
        started = time.perf_counter()
        for record in records:
            await statement.fetchrow(CHAIN, record.hash)
        return (time.perf_counter() - started) / READS * 1e6

    await report.compare(
        "point_read",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, prepared SELECT on one connection",
        unit="µs",
        lower_is_better=True,
    )
