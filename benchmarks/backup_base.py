"""Base backups of a cluster of which one percent has changed, against full ones.

One percent of all rows: half of them new, nine tenths of the others changed among the newest rows,
a tenth anywhere. (What is sent are blocks: the same number of changes scattered over all rows
touches a third of the blocks.) Autovacuum leaves these tables alone: whether it comes by between
two backups decides more about an incremental one than the churn.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from time import perf_counter

import asyncpg
from pydantic import SecretStr

from benchmarks.runner import Report
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.clusters import administrator
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pitr.basebackup import Wish, make_base
from neo_polystore.pitr.bases import Base, Kind
from neo_polystore.pitr.points import make_point
from neo_polystore.settings import Settings

_TABLES = """
CREATE TABLE accounts (
    id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(78) NOT NULL, note text NOT NULL
) WITH (autovacuum_enabled = false);
CREATE TABLE entries (
    id bigint PRIMARY KEY, account bigint NOT NULL, made timestamptz NOT NULL, hash text NOT NULL
) WITH (autovacuum_enabled = false);
"""

_FILL = (
    """INSERT INTO accounts SELECT i, '0x' || substr(encode(sha256(i::text::bytea), 'hex'), 1, 40),
        i * 7919::numeric * 1000000007, repeat(md5(i::text), 4)
    FROM generate_series($1::int, $2::int) i""",
    """INSERT INTO entries SELECT i, i % 50000,
        '2025-01-01'::timestamptz + i * interval '7 seconds',
        '0x' || encode(sha256(i::text::bytea), 'hex')
    FROM generate_series($1::int, $2::int) i""",
)
_RECENT = "UPDATE accounts SET balance = balance + 1 WHERE id > $1::int - $2::int"
_ANYWHERE = """UPDATE accounts SET balance = balance + 1
    WHERE id IN (SELECT (random() * $1::int)::int FROM generate_series(1, $2::int))"""


async def measure(report: Report, rows: int, key: bytes) -> None:
    """`incremental` and its size; NEO_BENCH_ROWS a million makes a bit more than 1 GB."""
    folder = Path(tempfile.mkdtemp(prefix="neo-polystore-bench-"))
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None,
        neo_data_dir=folder / "data",
        neo_wal_archive=True,
        neo_backup_target=str(folder / "target"),
        neo_backup_key=SecretStr(key.hex()),
    )
    try:
        async with administrator(settings) as admin:
            target = DirectoryTarget(folder / "target")
            await _Churn(admin, target, rows, BackupKey(key)).compare(report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Churn:
    """A cluster that grows and changes: of `rows` in two tables, one percent between backups."""

    def __init__(self, admin: PgConfig, target: DirectoryTarget, rows: int, key: BackupKey):
        self._admin, self._target, self._key = admin, target, key
        self._rows = 2 * rows
        self._step = max(self._rows // 200, 10)
        self._points = 0
        self._sizes: dict[Kind, list[float]] = {"full": [], "incremental": []}

    async def compare(self, report: Report) -> None:
        """Both sides, by turns."""
        await self._execute(_TABLES)
        for statement in _FILL:
            await self._execute(statement, 1, self._rows)
        await self._execute("VACUUM (FREEZE, ANALYZE)")
        await self._settle()
        await self._timed("full")
        await report.compare(
            "incremental",
            ours=lambda: self._timed("incremental"),
            reference=lambda: self._timed("full"),
            reference_is="full base backup",
            unit="s",
            lower_is_better=True,
            runs=3,
        )
        report.record(
            "incremental_size",
            self._sizes["incremental"],
            self._sizes["full"],
            reference_is="full base backup",
            unit="MB",
            lower_is_better=True,
        )

    async def _timed(self, kind: Kind) -> float:
        """Change one percent, wait until its WAL is archived, and back up."""
        for statement in _FILL:
            await self._execute(statement, self._rows + 1, self._rows + self._step)
        self._rows += self._step
        await self._execute(_RECENT, self._rows, self._step * 9 // 5)
        await self._execute(_ANYWHERE, self._rows, self._step // 5)
        await self._settle()
        started = perf_counter()
        made = await self._base(kind)
        seconds = perf_counter() - started
        self._sizes[kind].append(made.stored_bytes / 1e6)
        return seconds

    async def _settle(self) -> None:
        self._points += 1
        await make_point(self._admin, self._target, f"settled-{self._points}", key=self._key)

    async def _base(self, kind: Kind) -> Base:
        return await make_base(self._admin, self._target, key=self._key, wish=Wish(kind=kind))

    async def _execute(self, statement: str, *arguments: int) -> None:
        connection = await asyncpg.connect(**self._admin.connect_arguments())
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()
