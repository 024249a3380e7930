"""`relational`: writes, bulk loads, point reads and tenancy against the bare driver.

Every side works on the same tables of the same embedded server, with fsync and synchronous
commit on, caches off, client and server on one machine.
"""

from __future__ import annotations

from benchmarks import relational_reads, relational_tenants, relational_writes
from benchmarks.platform import embedded_platform
from benchmarks.relational_bench import Bench, open_bench
from benchmarks.runner import Report

DATA_TYPES = ("accounts", "networks", "wallets", "transactions")


async def run() -> Report:
    """Run all comparisons."""
    report = Report("relational")
    async with (
        embedded_platform(DATA_TYPES, neo_cache=False) as polystore,
        open_bench(report, polystore) as bench,
    ):
        await _settings(bench)
        await relational_writes.run(bench)
        await relational_reads.run(bench)
        await relational_tenants.run(bench)
        health = await polystore.stores["postgres"].health()
        reuse = health.facts["connection_reuse_percent"]
        report.figures["connection reuse, percent"] = reuse
    return report


async def _settings(bench: Bench) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        value = await bench.connection.fetchval(f"SHOW {name}")
        if value != "on":
            raise RuntimeError(f"{name} is {value}: these figures would mean nothing")
