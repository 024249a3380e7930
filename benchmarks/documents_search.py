"""`documents`, reads: searches over a million entries, and their export in flat memory."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from benchmarks.documents_bench import ACTIONS, RESOURCES, START, USERS, Bench, entries
from benchmarks.relational_bench import timed
from neo_polystore.records.paging import each
from neo_polystore.records.query import Query

ENTRIES = int(os.environ.get("NEO_BENCH_ENTRIES", "1000000"))
PORTION = 20_000
SEARCHES = 300
PAGE = 1_000

# the same entries as `documents_bench.entry` makes, made by the server: that is minutes faster
FILL = """
INSERT INTO documents.audit_logs (_id, body)
SELECT 's-' || lpad(n::text, 9, '0'), jsonb_build_object(
    'timestamp', to_char($1::timestamptz AT TIME ZONE 'UTC' + n * interval '1 second',
        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'user_id', 'user-' || n * 7919 % $2, 'action', ($3::text[])[n % 5 + 1],
    'resource', 'wallet/' || n * 104729 % $4, 'resource_id', 'w-' || n,
    'changes', jsonb_build_object('before', jsonb_build_object('limit', n),
        'after', jsonb_build_object('limit', n + 1)),
    'ip_address', '192.0.2.7', 'user_agent', 'bench/1.0', 'success', n % 10 <> 0)
FROM generate_series($5::bigint, $6::bigint) AS n
"""


async def run(bench: Bench) -> None:
    """Fill the collection, search it, export it."""
    await _fill(bench)
    await _search(bench)
    await _export(bench)
    await bench.empty()


async def _fill(bench: Bench) -> None:
    for start in range(0, ENTRIES, PORTION):
        last = min(start + PORTION, ENTRIES) - 1
        await bench.owner.execute(
            FILL, START, USERS, list(ACTIONS), RESOURCES, start, last, timeout=600
        )
    await bench.owner.execute("VACUUM ANALYZE documents.audit_logs", timeout=600)


async def _search(bench: Bench) -> None:
    """The 95th percentile of one caller's searches, each for values of its own."""
    span = timedelta(seconds=ENTRIES)
    newest: dict[str, Any] = {"order": "timestamp", "descending": True, "limit": 50}

    def window(number: int) -> dict[str, Any]:
        start = START + span * (number % 10) / 10
        return {"since": start, "until": start + span / 10, **newest}

    def user(number: int) -> str:
        return f"user-{number * 31 % USERS}"

    searches: dict[str, Callable[[int], Query]] = {
        "user and time": lambda n: Query(**window(n)).where("user_id", user(n)),
        "resource and time": lambda n: Query(**window(n)).where(
            "resource", f"wallet/{n % RESOURCES}"
        ),
        "action and time": lambda n: Query(**window(n)).where("action", ACTIONS[n % 5]),
        "user and action": lambda n: (
            Query(**newest).where("user_id", user(n)).where("action", ACTIONS[n % 5])
        ),
        "time": lambda n: Query(**window(n)),
        "text": lambda n: Query(text=f"wallet {n % RESOURCES}", **newest),
    }
    for name, make in searches.items():
        queries = [make(number) for number in range(SEARCHES)]
        await timed(bench.port.find, queries[:20], callers=1)
        found = await timed(bench.port.find, queries, callers=1)
        bench.report.figures[f"search by {name}, p95 ms"] = found.percentile(95)


async def _export(bench: Bench) -> None:
    """How much the resident memory grows between a tenth of the export and its end, in MB."""
    entries.cache_clear()
    sizes: list[float] = []
    lines = 0
    started = time.perf_counter()
    async for record in each(bench.port.find, Query(limit=PAGE)):
        orjson.dumps(record.body())
        lines += 1
        if lines % (ENTRIES // 10 or 1) == 0:
            sizes.append(_resident())
    if lines != ENTRIES:
        raise RuntimeError(f"exported {lines} of {ENTRIES}")
    bench.report.figures["export, documents/s"] = lines / (time.perf_counter() - started)
    bench.report.figures["export, growth of memory in MB"] = (
        statistics.median(sizes[-3:]) - sizes[0]
    )


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
