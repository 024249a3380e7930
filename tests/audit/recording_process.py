"""Makes changes with their audit entries until it is killed; tells each one that is committed.

Both databases come as JSON on standard input. Worker `w` stores networks w * 1,000,000 + 1, + 2,
... and goes on after the last one that is there. The relay runs beside the workers.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from uuid import UUID

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.ops.sinks import AuditSink
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.wrappers.spooled import spooled

WORKERS = 8
EACH = 1_000_000
OPTIONS = RelayOptions(poll=0.02, lease=0.5, batch=50, first_pause=0.01, longest_pause=0.05)


def network(number: int) -> Network:
    return Network(chain_id=number, name=f"n{number}", rpc_endpoint="r")


async def work(store: PostgresStore, trail: AuditTrail, tenant: UUID, worker: int) -> None:
    """One change after the other."""
    first = worker * EACH
    query = Query(order="chain_id", descending=True, limit=1)
    query = query.where("chain_id", first, "gt").where("chain_id", first + EACH, "lt")
    stored = await store.port("networks").find(query)
    number = stored.records[0].chain_id if stored.records else first
    while True:
        number += 1
        async with store.unit_of_work(tenant=tenant) as unit:
            await unit.repository(Network).add(network(number))
            await trail.record("CREATE", "network", str(number), after=network(number))
        print(number, flush=True)


async def _main() -> None:
    first, second, tenant = json.loads(sys.stdin.readline())
    store = PostgresStore(PgConfig.model_validate(first))
    documents = JsonbStore(PgConfig.model_validate(second))
    await store.connect()
    await documents.connect()
    primary = documents.port("audit_logs")
    trail = AuditTrail(spooled("audit_logs", primary, store.outbox), store.chains)
    sink = AuditSink(primary, store.chains)
    relay = Relay(store.feed, {"audit_logs": sink}.get, holder=str(os.getpid()), options=OPTIONS)
    print("ready", flush=True)
    await asyncio.gather(
        relay.run_forever(asyncio.Event()),
        *(work(store, trail, UUID(tenant), worker) for worker in range(1, WORKERS + 1)),
    )


if __name__ == "__main__":
    asyncio.run(_main())
