"""A writer that is killed between its commit and its invalidation: signal 9, by itself.

Its arguments: the data directory, what to do, and the id of the chain or session.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from neo_polystore.build import open_polystore
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.records.networks import Network
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings

DATA_TYPES = ("networks", "accounts", "cache")


async def _main(data_dir: str, what: str, which: str) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        neo_profile="embedded",
        neo_data_dir=Path(data_dir),
        neo_cache_budget_ms=60_000,  # the machine may be busy, and this is about a cache that works
    )
    async with open_polystore(settings, data_types=DATA_TYPES) as polystore:
        cache: Any = polystore.cache

        async def die(keys: Sequence[str], **options: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        cache.invalidate = die
        match what:
            case "write":
                record = Network(chain_id=int(which), name=which, rpc_endpoint="http://new")
                await polystore.networks.write([record])
            case "work":
                async with polystore.unit_of_work() as work:
                    repository = work.repository(Network)
                    old = await repository.get(which)
                    await repository.update(old.model_copy(update={"rpc_endpoint": "http://new"}))
            case "revoke":
                scope = Scope(tenant=SYSTEM_TENANT)
                await polystore.accounts.within(scope).sessions.revoke(UUID(which))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))
