"""Applies `schemas/clickhouse/*.sql` in order and remembers each with its checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client as Driver

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.ports.store import MigrationReport
from neo_polystore.stores.clickhouse.client import open_driver
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.errors import STORE

# Two runners at once do no harm: statements say IF NOT EXISTS, and equal ledger rows collapse.
_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_revisions
(
    revision String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY revision
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


_HEADER = """\
-- neo-polystore: schemas/clickhouse
-- Run it in the database that is to hold the tables:
--   clickhouse-client --database neo_polystore --multiquery --queries-file FILE
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """One file: its name without the suffix, its one statement, the SHA-256 of its bytes."""

    id: str
    statement: str
    checksum: str


def revisions() -> list[Revision]:
    """The revisions there are, oldest first; ConfigError where there are none."""
    files = sorted(asset("schemas/clickhouse").glob("*.sql"))
    if not files:
        raise ConfigError("schemas/clickhouse holds no revision: reinstall neo-polystore")
    return [
        Revision(file.stem, file.read_text("utf-8"), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files
    ]


def migrate(config: ClickHouseConfig, *, dry_run: bool) -> MigrationReport:
    """Make the database and apply what is pending; see `Store.migrate`. Blocks.

    Each revision is one statement, so that a failing one leaves nothing behind although
    ClickHouse has no transaction for DDL.
    """
    wanted = revisions()
    driver = open_driver(config, database=None)
    try:
        applied = _applied(driver, config.database)
        pending = [revision for revision in wanted if revision.id not in applied]
        if pending and not dry_run:
            driver.command(
                "CREATE DATABASE IF NOT EXISTS {name:Identifier}",
                parameters={"name": config.database},
            )
            _apply(config, pending)
        done = set(applied) | (set() if dry_run else {revision.id for revision in pending})
        return MigrationReport(
            store=STORE,
            target=config.database,
            current=next((r.id for r in reversed(wanted) if r.id in done), None),
            applied=[] if dry_run else [revision.id for revision in pending],
            pending=[revision.id for revision in pending] if dry_run else [],
            problems=_problems(wanted, applied),
        )
    finally:
        driver.close()


def script_text(*, after: str | None = None) -> str:
    """The revisions after `after` (all of them for None) as statements, each with its record."""
    wanted = revisions()
    known = [revision.id for revision in wanted]
    if after is not None and after not in known:
        raise UsageError(f"schemas/clickhouse has no file {after!r}; it has {', '.join(known)}")
    parts = [_HEADER, f"{_LEDGER.strip()};\n"]
    for revision in wanted[known.index(after) + 1 if after is not None else 0 :]:
        values = f"('{revision.id}', '{revision.checksum}')"
        parts.append(
            f"-- {revision.id}\n{revision.statement.strip().rstrip(';')};\n"
            f"INSERT INTO schema_revisions (revision, checksum) VALUES {values};\n"
        )
    return "\n".join(parts)


def _applied(driver: Driver, database: str) -> dict[str, str]:
    """The checksums of the applied revisions by name."""
    found = driver.query(
        "SELECT count() FROM system.tables"
        " WHERE database = {name:String} AND name = 'schema_revisions'",
        parameters={"name": database},
    )
    if not found.result_rows[0][0]:
        return {}
    rows = driver.query(
        "SELECT revision, checksum FROM {name:Identifier}.schema_revisions FINAL",
        parameters={"name": database},
    ).result_rows
    return {row[0]: row[1] for row in rows}


def _apply(config: ClickHouseConfig, pending: list[Revision]) -> None:
    driver = open_driver(config, database=config.database)
    try:
        driver.command(_LEDGER)
        for revision in pending:
            driver.command(revision.statement)
            driver.insert(
                "schema_revisions",
                [(revision.id, revision.checksum)],
                column_names=("revision", "checksum"),
            )
    finally:
        driver.close()


def _problems(wanted: list[Revision], applied: dict[str, str]) -> list[str]:
    changed = [
        f"{revision.id}: the file has changed since it was applied"
        for revision in wanted
        if applied.get(revision.id, revision.checksum) != revision.checksum
    ]
    unknown = sorted(set(applied) - {revision.id for revision in wanted})
    return changed + [f"{name}: applied, but this version has no such file" for name in unknown]
