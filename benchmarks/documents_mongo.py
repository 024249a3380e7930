"""`documents`, MongoDB: validated bulk writes against the bare driver's `insert_many`."""

from __future__ import annotations

import time
from uuid import uuid4

from pydantic import SecretStr

from benchmarks.documents_bench import entries
from benchmarks.runner import Report

BULK = 20_000


async def run(report: Report, url: str) -> None:
    """Compare bulk writes into a database of their own, which is dropped.

    Both sides write into the same collection, with its validator and its indexes.
    """
    from neo_polystore.stores.mongo.config import MongoConfig
    from neo_polystore.stores.mongo.store import MongoStore

    store = MongoStore(MongoConfig(url=SecretStr(url), database=f"neo_bench_{uuid4().hex[:8]}"))
    await store.connect()
    try:
        await store.migrate()
        port = store.port("audit_logs")
        target = store.database["audit_logs"]
        records = entries(BULK)

        async def ours() -> float:
            await target.delete_many({})
            started = time.perf_counter()
            written = await port.write(records)
            if written.new != BULK:
                raise RuntimeError(f"not stored: {written}")
            return BULK / (time.perf_counter() - started)

        async def reference() -> float:
            await target.delete_many({})
            started = time.perf_counter()
            await target.insert_many([record.body() for record in records], ordered=False)
            return BULK / (time.perf_counter() - started)

        await report.compare(
            "bulk_insert_mongo",
            ours=ours,
            reference=reference,
            reference_is="PyMongo, insert_many into the same collection",
            unit="documents/s",
            runs=3,
        )
    finally:
        await store.database.client.drop_database(store.database.name)
        await store.close()
