"""Runs a folder of numbered SQL files as migrations, with the same ledger as revisions."""

from __future__ import annotations

import hashlib

import asyncpg

from neo_polystore.assets import asset
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.migrations import LEDGER, Revision, apply_pending
from neo_polystore.ports.store import MigrationReport


def script_files(folder: str) -> list[Revision]:
    """The `*.sql` files of an asset folder in the order of their names; ConfigError without it."""
    found: list[Revision] = []
    for path in sorted(asset(folder).glob("*.sql")):
        previous = found[-1].id if found else None
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(Revision(path.stem, previous, checksum, path))
    return found


async def migrate_scripts(
    config: PgConfig, *, folder: str, store: str, dry_run: bool = False
) -> MigrationReport:
    """Apply the files that the ledger lacks, as the owner role; see `Store.migrate`.

    Each file is one transaction together with its line in the ledger.
    """

    async def apply(revision: Revision) -> None:
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            async with connection.transaction():
                await connection.execute(revision.path.read_text("utf-8"))
                await connection.execute(LEDGER)
                await connection.execute(
                    "INSERT INTO public.schema_revisions (environment, revision, checksum)"
                    " VALUES ($1, $2, $3)",
                    folder,
                    revision.id,
                    revision.checksum,
                )
        finally:
            await connection.close()

    return await apply_pending(
        config, script_files(folder), apply, environment=folder, store=store, dry_run=dry_run
    )


def script_text(folder: str, *, after: str | None = None) -> str:
    """The files after `after` (all of them for None) as one script for psql."""
    from neo_polystore.pgkit.offline import script

    parts = [(file, [file.path.read_text("utf-8")]) for file in script_files(folder)]
    return script(folder, folder, parts, after=after)
