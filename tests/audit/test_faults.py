"""No hole in the trail: the collection away in the middle, the process killed at any moment."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from tests.addresses import told
from tests.audit.conftest import Place
from tests.audit.recording_process import EACH, network


@pytest.mark.parametrize("changes", [600, pytest.param(10_000, marks=pytest.mark.long)])
async def test_changes_go_on_while_the_collection_is_away_and_every_entry_arrives_in_order(
    place: Place, trail: AuditTrail, tenant: UUID, changes: int
) -> None:
    workers, base = 10, random.Random(changes).randrange(10**6, 10**9) * EACH
    answers: Counter[str] = Counter()
    done = 0
    stop = asyncio.Event()
    relaying = asyncio.create_task(place.relay().run_forever(stop))

    async def work(worker: int) -> None:
        nonlocal done
        for number in range(changes // workers):
            one = network(base + worker * changes + number)
            async with place.store.unit_of_work(tenant=tenant) as unit:
                await unit.repository(Network).add(one)
                recorded = await trail.record("CREATE", f"network {worker}", one.key)
            answers[recorded.consistency] += 1
            done += 1
            if done == changes // 3:
                place.proxy.cut()
            if done == 2 * changes // 3:
                place.proxy.restore()

    await asyncio.gather(*(work(worker) for worker in range(workers)))
    stop.set()
    await relaying
    await place.deliver()

    assert answers == {"queued": changes}
    linked = await in_order_of_links(place, trail, tenant)
    for worker in range(workers):
        first = base + worker * changes
        wanted = [str(first + number) for number in range(changes // workers)]
        assert [key for name, key in linked if name == f"network {worker}"] == wanted
    assert all([verdict.is_sound async for verdict in trail.verify()])


async def in_order_of_links(place: Place, trail: AuditTrail, tenant: UUID) -> list[tuple[str, str]]:
    """Resource and id of every entry, in the order of the tenant's chains."""
    found = {entry.key: entry.body() async for entry in trail.each(Query(order="timestamp"))}
    linked = []
    for head in await place.store.chains.heads(tenant):
        links = await place.store.chains.links(tenant, head.day, limit=100_000)
        linked += [found.pop(link.entry) for link in links]
    assert not found
    return [(body["resource"], body.get("resource_id", "")) for body in linked]


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.long)])
async def test_every_change_has_its_entry_whenever_the_process_is_killed(
    place: Place, tenant: UUID, kills: int
) -> None:
    chance = random.Random(kills)
    acknowledged: set[int] = set()
    before = await numbers(place)
    for _ in range(kills):
        process = await start(place, tenant)
        assert process.stdout
        deadline = asyncio.get_running_loop().time() + 0.05 + chance.random() * 0.6
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                line = await asyncio.wait_for(process.stdout.readline(), left)
            except TimeoutError:
                break
            assert line, "it ended by itself"
            acknowledged.add(int(line))
        process.kill()
        # what was told before the kill counts, too
        acknowledged |= {int(line) for line in (await process.stdout.read()).splitlines()[:-1]}
        await process.wait()
    await asyncio.sleep(0.6)  # the claim of the last one that was killed runs out
    await place.deliver()

    trail = place.trail.within(Scope(tenant=tenant))
    counted = Counter([int(entry.body()["resource_id"]) async for entry in trail.each(Query())])
    stored = await numbers(place) - before
    assert len(acknowledged) > kills
    assert acknowledged <= stored
    assert counted == dict.fromkeys(stored, 1)
    assert all([verdict.is_sound async for verdict in trail.verify()])


async def numbers(place: Place) -> set[int]:
    """The networks of all workers of the killed processes."""
    found: set[int] = set()
    query = Query(order="chain_id", limit=10_000).where("chain_id", 100 * EACH, "lt")
    while True:
        page = await place.store.port("networks").find(query)
        found |= {record.chain_id for record in page.records if record.chain_id > EACH}
        if page.next is None:
            return found
        query = replace(query, after=page.next)


async def start(place: Place, tenant: UUID) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.audit.recording_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin
    assert process.stdout
    news = [told(place.store.config), told(place.entries), str(tenant)]
    process.stdin.write(json.dumps(news).encode() + b"\n")
    assert await process.stdout.readline() == b"ready\n"
    return process
