"""Runs one Alembic environment, records a checksum per revision, and serialises its runners.

A revision is a file of `migrations/<environment>/versions` with `revision`, `down_revision`,
`upgrade()` and `downgrade()`; one that cannot run in a transaction says `transactional = False`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from neo_polystore.assets import asset
from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.ports.store import MigrationReport

LEDGER = """
CREATE TABLE IF NOT EXISTS public.schema_revisions (
    environment text NOT NULL,
    revision text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (environment, revision)
)
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration file: its id and the SHA-256 of its bytes."""

    id: str
    down_revision: str | None
    checksum: str
    path: Path
    transactional: bool = True


def revisions(environment: str) -> list[Revision]:
    """The revisions of `migrations/<environment>`, oldest first.

    Reads the files without importing Alembic: this runs at every start. Raises ConfigError where
    the folder is missing and ValueError where the files do not form one line.
    """
    folder = asset(f"migrations/{environment}/versions")
    found = [_read(path) for path in sorted(folder.glob("*.py"))]
    line = list(_line({revision.down_revision: revision for revision in found}))
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
    values: dict[str, Any] = {}
    for node in ast.parse(content).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("revision", "down_revision", "transactional"):
                values[name] = ast.literal_eval(node.value)
    if not values.get("revision") or "down_revision" not in values:
        raise ValueError(f"{path} names no revision, or not what it follows")
    return Revision(
        id=values["revision"],
        down_revision=values["down_revision"],
        checksum=hashlib.sha256(content).hexdigest(),
        path=path,
        transactional=values.get("transactional", True),
    )


async def migrate(
    config: PgConfig, *, environment: str, store: str, dry_run: bool = False
) -> MigrationReport:
    """Apply what is pending, as the owner role, one runner at a time; see `Store.migrate`."""

    async def apply(revision: Revision) -> None:
        from neo_polystore.pgkit.alembic_runner import run

        await run(
            config, store=store, environment=environment, revision=revision, direction="upgrade"
        )

    return await apply_pending(
        config, revisions(environment), apply, environment=environment, store=store, dry_run=dry_run
    )


async def apply_pending(
    config: PgConfig,
    wanted: list[Revision],
    apply: Callable[[Revision], Awaitable[None]],
    *,
    environment: str,
    store: str,
    dry_run: bool,
) -> MigrationReport:
    """Apply those revisions that the ledger lacks, oldest first, one runner at a time.

    `apply` runs one revision and records it.
    """
    async with _connected(config, store, "migrate") as connection:
        report = await _report(connection, wanted, environment=environment, store=store)
        if dry_run or not report.pending:
            return report
        await _be_alone(connection, environment)
        report = await _report(connection, wanted, environment=environment, store=store)
        pending = [revision for revision in wanted if revision.id in report.pending]
        for revision in pending:
            await apply(revision)
        return MigrationReport(
            store=store,
            target=report.target,
            current=wanted[-1].id,
            applied=[revision.id for revision in pending],
            problems=report.problems,
        )


async def downgrade(
    config: PgConfig, *, environment: str, store: str, to: str | None = None
) -> list[str]:
    """Take back every revision after `to` (all of them for None), newest first.

    Answers the revisions taken back. Raises UsageError where there is no revision `to`.
    """
    from neo_polystore.pgkit.alembic_runner import run

    wanted = revisions(environment)
    known = [revision.id for revision in wanted]
    if to is not None and to not in known:
        raise UsageError(f"migrations/{environment} has no revision {to!r}; it has {known}")
    later = wanted[known.index(to) + 1 :] if to is not None else wanted
    async with _connected(config, store, "downgrade") as connection:
        await _be_alone(connection, environment)
        report = await _report(connection, wanted, environment=environment, store=store)
        undone = [revision for revision in reversed(later) if revision.id not in report.pending]
        for revision in undone:
            await run(
                config,
                store=store,
                environment=environment,
                revision=revision,
                direction="downgrade",
            )
    return [revision.id for revision in undone]


@asynccontextmanager
async def _connected(
    config: PgConfig, store: str, operation: str
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    async with translated(store, operation):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            yield connection
        finally:
            await connection.close()


async def _be_alone(connection: asyncpg.Connection[asyncpg.Record], environment: str) -> None:
    """Wait for other runners; the lock ends with this connection, however that ends."""
    await connection.execute("SELECT pg_advisory_lock(hashtext($1))", runners_lock(environment))


def runners_lock(environment: str) -> str:
    """What the advisory lock of an environment's runners is named by."""
    return f"neo-polystore:{environment}"


async def _report(
    connection: asyncpg.Connection[asyncpg.Record],
    wanted: list[Revision],
    *,
    environment: str,
    store: str,
) -> MigrationReport:
    present = await connection.fetchval("SELECT to_regclass('public.schema_revisions')")
    applied: dict[str, str] = {}
    if present:
        rows = await connection.fetch(
            "SELECT revision, checksum FROM public.schema_revisions WHERE environment = $1",
            environment,
        )
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
