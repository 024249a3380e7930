"""Documents whose store goes away: queued in the outbox, delivered once when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.ops.sinks import RecordsSink
from neo_polystore.ports.documents import Documents
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_type
from neo_polystore.records.query import Query
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.wrappers.spooled import spooled
from tests.conftest import MakeDatabase
from tests.proxy import Proxy

QUICK = RelayOptions(poll=0.01, lease=1.0, first_pause=0.005, longest_pause=0.02)


class Place:
    """Audit entries behind a proxy, on a database of their own, and the port in front of them."""

    def __init__(self, proxy: Proxy, documents: JsonbStore, store: PostgresStore):
        self.proxy = proxy
        self.primary: Documents = documents.port("audit_logs")
        self.port: Any = spooled("audit_logs", self.primary, store.outbox)
        self.port._pause = 0.0
        self.store = store

    def relay(self) -> Relay:
        sink = RecordsSink(self.port.direct)
        return Relay(self.store.feed, {"audit_logs": sink}.get, holder="test", options=QUICK)

    async def depth(self) -> int:
        topics = (await self.store.outbox_admin.status()).topics
        return sum(topic.depth for topic in topics if topic.topic == "audit_logs")


@pytest_asyncio.fixture(loop_scope="session")
async def place(make_database: MakeDatabase, store: PostgresStore) -> AsyncIterator[Place]:
    config = await make_database("spooled")
    async with Proxy(config.host, config.port) as proxy:
        near = config.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        documents = JsonbStore(near)
        await documents.migrate()
        await documents.connect()
        yield Place(proxy, documents, store)
        proxy.restore()
        await documents.close()


def entry(number: int) -> Record:
    return record_type("audit_logs").parse(
        {
            "_id": f"spooled:{number}",
            "timestamp": "2026-01-05T12:00:00.123Z",
            "user_id": "alice",
            "action": "UPDATE",
            "resource": "wallet",
            "changes": {"limit": {"from": 1, "to": 1e300}},
        }
    )


async def test_a_write_is_committed_while_the_store_is_there(place: Place) -> None:
    written = await place.port.write([entry(1)])
    assert (written.new, written.consistency) == (1, "committed")
    assert await place.depth() == 0


async def test_a_write_is_queued_while_it_is_away_and_arrives_once(place: Place) -> None:
    await place.port.write([entry(1)])
    place.proxy.cut()
    first = await place.port.write([entry(1), entry(2)])
    second = await place.port.write([entry(3)])
    assert (first.new, first.consistency) == (2, "queued")
    assert (second.new, second.consistency) == (1, "queued")
    await place.relay().drain()
    assert await place.depth() == 3
    place.proxy.restore()
    await place.relay().drain()
    assert await place.depth() == 0
    assert await place.primary.count(Query()) == 3
    for number in (1, 2, 3):
        assert await place.primary.get(entry(number).key) == entry(number)


async def test_the_relay_writes_past_the_queue(place: Place) -> None:
    place.proxy.cut()
    await place.port.write([entry(1)])
    found = place.relay()
    await found.drain()
    assert found.counts["audit_logs"].delivered == 0
    assert await place.depth() == 1
    place.proxy.restore()
    await place.relay().drain()
