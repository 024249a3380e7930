"""Relay and scheduler in a serving process."""

from __future__ import annotations

import asyncio

from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops.background import background_work
from neo_polystore.polystore import Polystore
from neo_polystore.records.networks import Network


async def test_published_records_are_delivered_while_the_process_serves(
    polystore: Polystore,
) -> None:
    network = Network(chain_id=882_001, name="Background", rpc_endpoint="https://r.example.org")
    async with background_work(polystore) as work:
        async with polystore.unit_of_work(tenant=SYSTEM_TENANT) as unit:
            await unit.publish_record(network)
        async with asyncio.timeout(20):
            # counted when the sink has acknowledged, a moment after the record can be seen
            while not work.relay.counts["networks"].delivered:
                await asyncio.sleep(0.02)
    assert await polystore.networks.get(network.key) == network


async def test_it_ends_when_the_process_does(polystore: Polystore) -> None:
    before = asyncio.all_tasks()
    async with background_work(polystore):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
