"""The jobs of point-in-time recovery: base backups, their pruning, and the check for holes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from neo_polystore.backup.prune import Rules
from neo_polystore.backup.session import opened_target
from neo_polystore.clusters import administrator
from neo_polystore.errors import IntegrityError
from neo_polystore.ops.scheduler import OFF, Job
from neo_polystore.pitr import prune
from neo_polystore.pitr.basebackup import Wish, make_base
from neo_polystore.pitr.bases import shelf_of
from neo_polystore.pitr.check import check_all
from neo_polystore.ports.scheduling import Firing
from neo_polystore.settings import Settings


def pitr_jobs(settings: Settings) -> list[Job]:
    """All of them off, until NEO_JOBS says when: not every installation archives WAL."""

    async def base(_: Firing) -> dict[str, object]:
        wish = Wish(full_after=timedelta(days=settings.neo_base_full_days))
        async with (
            opened_target(settings) as (target, key),
            administrator(settings) as admin,
        ):
            made = await make_base(admin, target, key=key, wish=wish)
        return {"base": made.id, "kind": made.positions.kind, "bytes": made.stored_bytes}

    async def pruned(_: Firing) -> dict[str, object]:
        async with opened_target(settings) as (target, key):
            await asyncio.to_thread(target.check, writing=True)
            shelf = await asyncio.to_thread(shelf_of, target, key)
            verdicts = prune.judge(shelf, Rules(), datetime.now(UTC))
            wal = await asyncio.to_thread(prune.unneeded, target, key, shelf, verdicts)
            await asyncio.to_thread(prune.remove, target, key, verdicts, wal)
        gone = [verdict.run.id for verdict in verdicts if not verdict.keep]
        return {"removed": gone, "wal_files": sum(len(each.names) for each in wal)}

    async def checked(_: Firing) -> dict[str, object]:
        async with opened_target(settings) as (target, key):
            found = await check_all(target, key)
        wrong = {each.system: each.trouble for each in found if not each.ok}
        if wrong:
            raise IntegrityError(f"archived WAL is not whole: {wrong}", operation="wal-check")
        return {each.system: each.segments for each in found}

    return [
        Job("base-backup", OFF, base),
        Job("base-prune", OFF, pruned),
        Job("wal-check", OFF, checked),
    ]
