"""A relay in a process of its own, to be killed: its database comes as JSON on standard input.

Delivers the topic `counted` to `FailingTables` until the input ends, then stops cleanly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.stores.postgres.store import PostgresStore
from tests.ops.sinks import FailingTables

OPTIONS = RelayOptions(poll=0.02, lease=1.0, batch=50, first_pause=0.01, longest_pause=0.05)


async def _main() -> None:
    config = PgConfig.model_validate(json.loads(sys.stdin.readline()))
    store = PostgresStore(config)
    sink = FailingTables(config, seed=os.getpid())
    relay = Relay(store.feed, lambda topic: sink, holder=f"{os.getpid()}", options=OPTIONS)
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run_forever(stop))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await running
    await sink.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main())
