"""Backup and restore of a relational database against pg_dump and pg_restore, in the same run.

`postgres_dump`: the relational store compressed and encrypted into a directory, against
`pg_dump -Fc` with its defaults. `postgres_restore`: one schema of that run into a database that
lacks it, against `pg_restore -j1` of that schema. The database holds transactions, points and log
lines; NEO_BENCH_ROWS is the number of transactions, of which a million make about 1 GB.
`incremental`: see `backup_base`.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import asyncpg

from benchmarks import backup_base
from benchmarks.platform import embedded_platform
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import execute, plan
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.backup import as_backup
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.programs import as_owner
from neo_polystore.pgkit.programs import run as run_program
from neo_polystore.pgkit.roles import BACKUP
from neo_polystore.ports.backup import BackupScope
from neo_polystore.ports.store import Store

ROWS = int(os.environ.get("NEO_BENCH_ROWS", "1000000"))
SECRET = bytes(range(32))
KEY = BackupKey(SECRET)

_TABLES = """
CREATE SCHEMA bench;
CREATE TABLE bench.transactions (
    id uuid PRIMARY KEY, hash text NOT NULL UNIQUE, network int NOT NULL, block bigint NOT NULL,
    sender text NOT NULL, receiver text, value numeric(78) NOT NULL, gas bigint NOT NULL,
    status text NOT NULL, made timestamptz NOT NULL
);
CREATE INDEX ON bench.transactions (block);
CREATE INDEX ON bench.transactions (sender, made);
CREATE INDEX ON bench.transactions (made);
CREATE TABLE bench.points (
    series int NOT NULL, time timestamptz NOT NULL, value double precision NOT NULL,
    PRIMARY KEY (series, time)
);
CREATE TABLE bench.lines (
    id bigint PRIMARY KEY, time timestamptz NOT NULL, level text NOT NULL, message text NOT NULL,
    extra jsonb
);
CREATE INDEX ON bench.lines (time);
"""

_FILLING = (
    """INSERT INTO bench.transactions
    SELECT uuidv7(), '0x' || encode(sha256(i::text::bytea), 'hex'), i % 5, i / 150,
        '0x' || substr(encode(sha256((i % 50000)::text::bytea), 'hex'), 1, 40),
        '0x' || substr(encode(sha256((i % 70001)::text::bytea), 'hex'), 1, 40),
        (i * 7919::numeric * 1000000007) % 10000000000000000000, 21000 + i % 100000,
        (ARRAY['confirmed', 'confirmed', 'confirmed', 'failed'])[1 + i % 4],
        '2025-01-01'::timestamptz + i * interval '7 seconds'
    FROM generate_series(1, $1::int) i""",
    """INSERT INTO bench.points
    SELECT i % 200, '2025-01-01'::timestamptz + (i / 200) * interval '10 seconds',
        round((50 + 30 * sin(i / 5000.0) + i % 17)::numeric, 2)
    FROM generate_series(1, ($1::int * 3) / 2) i""",
    """INSERT INTO bench.lines
    SELECT i, '2025-01-01'::timestamptz + i * interval '1 second',
        (ARRAY['INFO', 'INFO', 'WARN', 'ERROR'])[1 + i % 4],
        'request ' || i || ' of service ' || i % 12 || ' took ' || i % 977 || ' ms, answered '
        || (ARRAY[200, 200, 404, 500])[1 + i % 4],
        jsonb_build_object('trace', md5(i::text), 'host', 'node-' || i % 9)
    FROM generate_series(1, ($1::int * 6) / 10) i""",
)


async def run() -> Report:
    """Dump and restore."""
    report = Report("backup")
    folder = Path(tempfile.mkdtemp(prefix="neo-polystore-bench-"))
    try:
        async with embedded_platform(["accounts"]) as polystore:
            await _measure(report, polystore, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    await backup_base.measure(report, ROWS, SECRET)
    return report


async def _measure(report: Report, polystore: Polystore, folder: Path) -> None:
    store: Any = polystore.stores["postgres"]
    config: PgConfig = store.config
    await _fill(config)
    target = DirectoryTarget(folder / "target")
    dump = folder / "pg_dump.custom"
    made: list[Manifest] = []

    async def ours() -> float:
        shutil.rmtree(folder / "target", ignore_errors=True)
        started = perf_counter()
        made.append(
            await run_backup(
                polystore.stores,
                polystore.routing,
                target,
                key=KEY,
                options=Options(stores=["postgres"]),
            )
        )
        return perf_counter() - started

    async def reference() -> float:
        started = perf_counter()
        await run_program(as_backup(config), "pg_dump", "-Fc", f"--role={BACKUP}", "-f", str(dump))
        return perf_counter() - started

    await report.compare(
        "postgres_dump",
        ours=ours,
        reference=reference,
        reference_is="pg_dump -Fc",
        unit="s",
        lower_is_better=True,
    )
    ours_size = made[-1].store("postgres").stored_bytes
    report.record(
        "postgres_dump_size",
        [ours_size / 1e6],
        [dump.stat().st_size / 1e6],
        reference_is="pg_dump -Fc",
        unit="MB",
        lower_is_better=True,
    )
    report.figures["backup_peak_memory_mb"] = _peak_memory()
    await _restores(report, polystore, config, target, made[-1], dump)
    report.figures["restore_peak_memory_mb"] = _peak_memory()


async def _restores(
    report: Report,
    polystore: Polystore,
    config: PgConfig,
    target: DirectoryTarget,
    manifest: Manifest,
    dump: Path,
) -> None:
    await polystore.stores["postgres"].close()
    backing = PgBacking(config, store="postgres", phase="leads")
    scope = BackupScope("bench")
    stores = cast("dict[str, Store]", {"postgres": _Only(backing)})

    async def ours() -> float:
        await backing.clear(scope)
        reader = RunReader(target, manifest, key=KEY)
        started = perf_counter()
        steps = await plan(reader, stores, only=["postgres"], schema=scope.schema)
        await execute(reader, stores, steps)
        seconds = perf_counter() - started
        await reader.close()
        return seconds

    async def reference() -> float:
        await backing.clear(scope)
        await _execute(config, "CREATE SCHEMA bench")
        started = perf_counter()
        await run_program(
            as_owner(config), "pg_restore", "-j1", "--no-owner", "-n", "bench",
            f"--dbname={config.database}", str(dump),
        )  # fmt: skip
        return perf_counter() - started

    await report.compare(
        "postgres_restore",
        ours=ours,
        reference=reference,
        reference_is="pg_restore -j1",
        unit="s",
        lower_is_better=True,
        runs=3,
    )


def _peak_memory() -> float:
    """What this process has had at most, in MiB: never less than at an earlier call."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Only:
    """A store that only can be restored."""

    def __init__(self, backing: PgBacking):
        self.backing = backing


async def _fill(config: PgConfig) -> None:
    await _execute(config, _TABLES)
    for statement in _FILLING:
        await _execute(config, statement, ROWS)
    await _execute(config, "ANALYZE")


async def _execute(config: PgConfig, statement: str, *arguments: int) -> None:
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
