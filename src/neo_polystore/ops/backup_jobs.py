"""The jobs that make backups, prove them and let old ones go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from neo_polystore.backup import prune, runs
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.run import run_backup
from neo_polystore.backup.session import opened_run, opened_target, proving
from neo_polystore.backup.targets import Target
from neo_polystore.backup.verify import verify
from neo_polystore.errors import IntegrityError
from neo_polystore.ops.scheduler import OFF, Job
from neo_polystore.ports.scheduling import Firing
from neo_polystore.ports.store import Store
from neo_polystore.routing import RoutingTable
from neo_polystore.settings import Settings


def backup_jobs(
    stores: Mapping[str, Store], routing: RoutingTable, settings: Settings
) -> list[Job]:
    """Each night a backup of every store to the target of the settings, each week its proof.

    Old runs are removed only where NEO_JOBS says when.
    """

    async def backup(_: Firing) -> dict[str, object]:
        async with _target(settings, writing=True) as (target, key):
            manifest = await run_backup(stores, routing, target, key=key)
        return {
            "run": manifest.id,
            "rows": sum(store.rows for store in manifest.stores),
            "bytes": sum(store.stored_bytes for store in manifest.stores),
        }

    async def proof(_: Firing) -> dict[str, object]:
        async with (
            _target(settings, writing=True) as (target, key),
            opened_run(target, key, None) as reader,
            proving(settings, reader.manifest) as at,
        ):
            found = await verify(reader, target, at.scratch, referenced=at.referenced)
        failed = {name: each.problems[:1] for name, each in found.stores.items() if not each.ok}
        if failed:
            raise IntegrityError(f"run {found.run} is not proven: {failed}", operation="verify")
        return {"run": found.run, "proven": sorted(found.stores)}

    async def pruned(_: Firing) -> dict[str, object]:
        async with _target(settings, writing=True) as (target, key):
            found = await asyncio.to_thread(lambda: runs.list_runs(target, key=key))
            verdicts = prune.judge(found, prune.Rules(), datetime.now(UTC))
            gone = [verdict.run.id for verdict in verdicts if not verdict.keep]
            for run in gone:
                await asyncio.to_thread(prune.remove, target, run)
        return {"removed": gone, "kept": len(verdicts) - len(gone)}

    return [
        Job("backup", "0 2 * * *", backup),
        Job("backup-proof", "0 5 * * 0", proof),
        # nobody's backups go unless somebody has said so
        Job("backup-prune", OFF, pruned),
    ]


@asynccontextmanager
async def _target(
    settings: Settings, *, writing: bool
) -> AsyncIterator[tuple[Target, BackupKey | None]]:
    async with opened_target(settings) as (target, key):
        await asyncio.to_thread(target.check, writing=writing)
        yield target, key
