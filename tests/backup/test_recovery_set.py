"""A run taken under load is one set: restored, no store refers to what another has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import execute, plan
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.build import made_stores, open_polystore
from neo_polystore.ids import SYSTEM_TENANT, derived_uuid
from neo_polystore.ops.background import operational
from neo_polystore.ops.relay import Relay
from neo_polystore.ops.sinks import record_sinks
from neo_polystore.polystore import Polystore
from neo_polystore.records.analytics import Fact
from neo_polystore.records.events import Event
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from neo_polystore.records.wallets import Wallet
from neo_polystore.samples import CHAIN, samples
from tests.backup.conftest import KEY, settings_in

TENANT = Scope(tenant=SYSTEM_TENANT)
WRITERS = 3


def relay_of(polystore: Polystore) -> Relay:
    return Relay(operational(polystore).feed, record_sinks(polystore), holder="recovery")


async def write_one(polystore: Polystore, number: int) -> None:
    """A wallet with an audit entry and a fact by the outbox; then what refers to it elsewhere."""
    wallet = Wallet(chain_id=CHAIN, address=f"0x{number:040x}")
    now = datetime.now(UTC)
    async with polystore.unit_of_work(tenant=SYSTEM_TENANT, user="load") as work:
        await work.repository(Wallet).add(wallet)
        derived = derived_uuid("derived", wallet.key)
        await work.publish_record(
            Fact(id=derived, timestamp=now, fact_type="derived", subject=wallet.key)
        )
        await polystore.audit.record("CREATE", "wallet", wallet.key)
    event = Event(
        aggregate_id=derived_uuid("wallet", wallet.key),
        aggregate_type="wallet",
        event_type="Opened",
        event_data={"wallet": wallet.key},
    )
    await polystore.events.append(event.aggregate_id, [event], expected_version=0)
    fact = Fact(timestamp=now, fact_type="direct", subject=wallet.key, value=Decimal(number))
    await polystore.analytics.write([fact])


async def each(port: Any, **query: Any) -> AsyncIterator[Any]:
    """Every record of a port, page by page."""
    after = None
    while True:
        page = await port.find(Query(limit=500, after=after, **query))
        for record in page.records:
            yield record
        if (after := page.next) is None:
            return


async def everything(polystore: Polystore) -> dict[str, set[str]]:
    """The wallets that there are, and those that each store's records refer to."""
    facts = [fact async for fact in each(polystore.analytics)]
    audit = polystore.audit.within(TENANT)
    return {
        "wallets": {w.key async for w in each(polystore.wallets.within(TENANT))},
        "events": {
            e.event_data["wallet"]
            async for e in polystore.events.all()
            if e.aggregate_type == "wallet"
        },
        "direct": {fact.subject for fact in facts if fact.fact_type == "direct"},
        "derived": {fact.subject for fact in facts if fact.fact_type == "derived"},
        "audit": {
            e.resource_id  # type: ignore[attr-defined]
            async for e in audit.each(Query())
            if getattr(e, "resource", None) == "wallet"
        },
    }


@pytest.mark.parametrize("before", [60, pytest.param(2000, marks=pytest.mark.long)])
async def test_nothing_dangles_after_a_restore_of_a_run_under_load(
    folder: Path, before: int
) -> None:
    source = settings_in(folder / f"load-{before}")
    target = DirectoryTarget(folder / f"set-{before}")
    numbers = count(1)
    done = 0
    stop = asyncio.Event()

    async with open_polystore(source) as polystore:
        await polystore.records("networks").write(samples("networks"))

        async def writer() -> None:
            nonlocal done
            while not stop.is_set():
                await write_one(polystore, next(numbers))
                done += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(relay_of(polystore).run_forever(stop))
            for _ in range(WRITERS):
                group.create_task(writer())
            while done < before:
                await asyncio.sleep(0.01)
            at_start = done
            async with made_stores(source) as (routing, stores):
                manifest = await run_backup(
                    stores, routing, target, key=KEY, options=Options(part_bytes=64 << 10)
                )
            at_end = done
            stop.set()
    assert at_end > at_start, "nothing was written while the backup ran"

    fresh = settings_in(folder / f"back-{before}")
    reader = RunReader(target, manifest, key=KEY)
    async with made_stores(fresh) as (_, stores):
        await execute(reader, stores, await plan(reader, stores))
    await reader.close()
    async with open_polystore(fresh) as polystore:
        await relay_of(polystore).drain()
        found = await everything(polystore)
    wallets = found.pop("wallets")
    assert len(wallets) >= at_start
    dangling = {name: sorted(keys - wallets) for name, keys in found.items() if keys - wallets}
    assert not dangling
    # what derives from a wallet is there for every wallet, delivered again where need be
    assert found["derived"] == found["audit"] == wallets
