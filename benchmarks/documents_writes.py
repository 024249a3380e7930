"""`documents`, writes: what a check costs, many entries at once, one entry of many callers."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import orjson

from benchmarks.documents_bench import Bench, entries
from benchmarks.relational_bench import RUNS, timed
from neo_polystore.records.documents import Document
from neo_polystore.records.validators import check

BULK = 50_000
CALLERS = 500
OURS = 20_000
REFERENCE = 4_000
CHECKS = 20_000
INSERT = "INSERT INTO documents.audit_logs (_id, body) VALUES ($1, $2::text::jsonb)"


def validation(bench: Bench) -> None:
    """The processor time of one check, in microseconds; 20 are what it may cost."""
    [record] = entries(1)
    collection, body = record.collection, record.body()
    started = time.process_time()
    for _ in range(CHECKS):
        if check(collection, body):
            raise RuntimeError("not a good entry")
    found = (time.process_time() - started) / CHECKS * 1e6
    bench.report.figures["validation, microseconds per document"] = found


async def run(bench: Bench) -> None:
    """Compare writes."""
    await _bulk(bench)
    await _single(bench)
    await bench.empty()


def _plain(record: Document) -> tuple[str, str]:
    """The driver's own way from a document to a row: JSON with times as text."""
    body = record.body()
    key = body.pop("_id")
    body["timestamp"] = body["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return key, orjson.dumps(body).decode()


async def _bulk(bench: Bench) -> None:
    records = entries(BULK)

    async def ours() -> float:
        await bench.empty()
        started = time.perf_counter()
        written = await bench.port.write(records)
        if written.new != BULK:
            raise RuntimeError(f"not stored: {written}")
        return BULK / (time.perf_counter() - started)

    async def reference() -> float:
        await bench.empty()
        started = time.perf_counter()
        rows = map(_plain, records)
        text = "".join(f"{key}\t{body}\n" for key, body in rows)
        async with bench.pool.acquire() as connection:
            await connection.copy_to_table(
                "audit_logs",
                schema_name="documents",
                columns=("_id", "body"),
                source=BytesIO(text.encode()),
            )
        return BULK / (time.perf_counter() - started)

    found = await bench.report.compare(
        "bulk_insert",
        ours=ours,
        reference=reference,
        reference_is="asyncpg, COPY into the same table",
        unit="documents/s",
        runs=3,
    )
    bench.report.figures["bulk insert, documents/s"] = found.ours


async def _single(bench: Bench) -> None:
    async def write(record: Document) -> None:
        written = await bench.port.write([record])
        if written.new != 1:
            raise RuntimeError(f"not stored: {written}")

    async def insert(record: Document) -> None:
        async with bench.pool.acquire() as connection:
            await connection.execute(INSERT, *_plain(record))

    async def side(call: Any, count: int) -> float:
        await bench.empty()
        return (await timed(call, entries(count), callers=CALLERS)).rate

    await bench.report.compare(
        "single_insert",
        ours=lambda: side(write, OURS),
        reference=lambda: side(insert, REFERENCE),
        reference_is="asyncpg pool of 20, one INSERT per call",
        unit="documents/s",
        runs=RUNS,
    )
