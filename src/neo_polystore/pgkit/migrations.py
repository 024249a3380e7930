"""Runs one Alembic environment, records a checksum per revision, and serialises its runners."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from neo_polystore.assets import asset
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.ports.store import MigrationReport

LEDGER = """
CREATE TABLE IF NOT EXISTS public.schema_revisions (
    revision text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration file: its id and the SHA-256 of its bytes."""

    id: str
    down_revision: str | None
    checksum: str
    path: Path


def revisions(environment: str) -> list[Revision]:
    """The revisions of `migrations/<environment>`, oldest first.

    Reads the files without importing Alembic: this runs at every start. Raises ConfigError where
    the folder is missing and ValueError where the files do not form one line.
    """
    found = [
        _read(path)
        for path in sorted((asset("migrations") / environment / "versions").glob("*.py"))
    ]
    by_parent = {revision.down_revision: revision for revision in found}
    line = list(_line(by_parent))
    if len(line) != len(found):
        raise ValueError(f"migrations/{environment} do not form one line of revisions")
    return line


def _line(by_parent: dict[str | None, Revision]) -> Iterator[Revision]:
    current: str | None = None
    while (revision := by_parent.get(current)) is not None:
        yield revision
        current = revision.id


def _read(path: Path) -> Revision:
    content = path.read_bytes()
    values: dict[str, str | None] = {}
    for node in ast.parse(content).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("revision", "down_revision"):
                values[name] = ast.literal_eval(node.value)
    identity = values["revision"]
    if identity is None:
        raise ValueError(f"{path} names no revision")
    return Revision(identity, values["down_revision"], hashlib.sha256(content).hexdigest(), path)


async def migrate(
    config: PgConfig, *, environment: str, store: str, dry_run: bool = False
) -> MigrationReport:
    """Apply what is pending, as the owner role, one runner at a time; see `Store.migrate`."""
    wanted = revisions(environment)
    async with translated(store, "migrate"):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            report = await _report(connection, wanted, environment=environment, store=store)
            if dry_run or not report.pending:
                return report
            # one runner at a time: the lock ends with this connection, however that ends
            await connection.execute(
                "SELECT pg_advisory_lock(hashtext($1))", f"neo-polystore:{environment}"
            )
            report = await _report(connection, wanted, environment=environment, store=store)
            pending = [revision for revision in wanted if revision.id in report.pending]
            from neo_polystore.pgkit.alembic_runner import upgrade

            for revision in pending:
                await upgrade(config, environment=environment, revision=revision)
            return MigrationReport(
                store=store,
                target=report.target,
                current=wanted[-1].id,
                applied=[revision.id for revision in pending],
                problems=report.problems,
            )
        finally:
            await connection.close()


async def _report(
    connection: asyncpg.Connection[asyncpg.Record],
    wanted: list[Revision],
    *,
    environment: str,
    store: str,
) -> MigrationReport:
    present = await connection.fetchval("SELECT to_regclass('public.schema_revisions')")
    rows = await connection.fetch("SELECT * FROM public.schema_revisions") if present else []
    applied = {row["revision"]: row["checksum"] for row in rows}
    return MigrationReport(
        store=store,
        target=environment,
        current=next((r.id for r in reversed(wanted) if r.id in applied), None),
        pending=[r.id for r in wanted if r.id not in applied],
        problems=[
            f"{r.id}: {r.path.name} has changed since it was applied"
            for r in wanted
            if r.id in applied and applied[r.id] != r.checksum
        ]
        + [
            f"{name}: applied, but this version has no such file"
            for name in sorted(set(applied) - {r.id for r in wanted})
        ],
    )
