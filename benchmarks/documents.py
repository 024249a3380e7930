"""`documents`: validated bulk and single writes, searches and exports against the bare driver.

Both sides write into the same table of the same embedded server, with its validating trigger and
its indexes, fsync and synchronous commit on. NEO_BENCH_MONGO_URL names a MongoDB for the
comparisons that need one; NEO_BENCH_ENTRIES says how many entries are searched and exported.
"""

from __future__ import annotations

import os

from benchmarks import documents_mongo, documents_search, documents_writes
from benchmarks.documents_bench import open_bench
from benchmarks.platform import embedded_platform
from benchmarks.runner import Report

URL = "NEO_BENCH_MONGO_URL"


async def run() -> Report:
    """Run all comparisons."""
    report = Report("documents")
    async with (
        embedded_platform(("audit_logs",), neo_cache=False) as polystore,
        open_bench(report, polystore) as bench,
    ):
        documents_writes.validation(bench)
        await documents_writes.run(bench)
        await documents_search.run(bench)
    if url := os.environ.get(URL):
        await documents_mongo.run(report, url)
    return report
