"""No hole in a trail whose entries are in MongoDB, which is killed in the middle of the changes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.wrappers.spooled import spooled
from tests.audit.conftest import Place
from tests.audit.recording_process import EACH, network
from tests.audit.test_faults import in_order_of_links
from tests.conftest import MakeDatabase
from tests.mongod import Mongod, NoServerError

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.store import MongoStore

WORKERS = 10


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[Mongod]:
    """A MongoDB that the test may kill."""
    server = Mongod(tmp_path)
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.initiate)
    except NoServerError as error:
        pytest.skip(str(error))
    yield server
    server.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def away(server: Mongod, make_database: MakeDatabase) -> AsyncIterator[Place]:
    """A trail whose entries are in that MongoDB."""
    store = PostgresStore(await make_database("trail"))
    await store.migrate()
    await store.connect()
    config = MongoConfig(url=SecretStr(server.url), database="trail", connect_timeout=0.5)
    documents = MongoStore(config)
    await documents.connect()
    await documents.migrate()
    primary = documents.port("audit_logs")
    port: Any = spooled("audit_logs", primary, store.outbox)
    unused: Any = None
    yield Place(unused, unused, store, primary, AuditTrail(port, store.chains))
    await documents.close()
    await store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("changes", [300, pytest.param(10_000, marks=pytest.mark.long)])
async def test_every_entry_arrives_once_and_in_order_though_mongodb_is_killed(
    away: Place, server: Mongod, tenant: UUID, changes: int
) -> None:
    trail = away.trail.within(Scope(tenant=tenant))
    base = random.Random(changes).randrange(10**6, 10**9) * EACH
    answers: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    stop = asyncio.Event()
    relaying = asyncio.create_task(away.relay().run_forever(stop))

    async def work(worker: int) -> None:
        for number in range(changes // WORKERS):
            one = network(base + worker * changes + number)
            async with away.store.unit_of_work(tenant=tenant) as unit:
                await unit.repository(Network).add(one)
                recorded = await trail.record("CREATE", f"network {worker}", one.key)
            answers[recorded.consistency] += 1
            match answers.total():
                case done if done == changes // 3:
                    server.kill()
                    outside[(await trail.record("EXECUTE", "kill")).consistency] += 1
                case done if done == 2 * changes // 3:
                    await asyncio.to_thread(server.start)

    await asyncio.gather(*(work(worker) for worker in range(WORKERS)))
    stop.set()
    await relaying
    await away.deliver()

    assert (answers, outside) == ({"queued": changes}, {"queued": 1})
    assert await away.primary.count(Query()) == changes + 1
    linked = await in_order_of_links(away, trail, tenant)
    for worker in range(WORKERS):
        first = base + worker * changes
        wanted = [str(first + number) for number in range(changes // WORKERS)]
        assert [key for name, key in linked if name == f"network {worker}"] == wanted
    assert all([verdict.is_sound async for verdict in trail.verify()])
