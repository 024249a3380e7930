"""A scheduler in a process of its own whose only job is due and never ends; to be killed."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime

from neo_polystore.ops.scheduler import Job, Scheduler
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.scheduling import Firing
from neo_polystore.stores.postgres.store import PostgresStore


async def _stuck(_: Firing) -> None:
    print("working", flush=True)
    await asyncio.Event().wait()


async def _main() -> None:
    store = PostgresStore(PgConfig.model_validate(json.loads(sys.stdin.readline())))
    await store.ledger.register("stuck", "0 0 1 1 *", datetime(2026, 1, 1, tzinfo=UTC))
    jobs = [Job("stuck", "0 0 1 1 *", _stuck, lease=1.0)]
    await Scheduler(store.ledger, jobs, holder="a", poll=0.05).run_forever(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_main())
