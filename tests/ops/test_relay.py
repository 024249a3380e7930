"""The relay: what it delivers, what it sets apart, what blocks whom, how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from neo_polystore.errors import ConflictError, UnavailableError, ValidationError
from neo_polystore.ids import SYSTEM_TENANT, derived_uuid
from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.ops.sinks import RecordsSink, record_sinks
from neo_polystore.polystore import Polystore
from neo_polystore.ports.outbox import Draft, Message, Refused, Sink, TopicStatus
from neo_polystore.records.accounts import User
from neo_polystore.records.base import Record
from neo_polystore.records.networks import Network
from neo_polystore.records.payload import to_payload
from neo_polystore.records.scope import SYSTEM
from neo_polystore.stores.postgres.store import PostgresStore
from tests.ops.sinks import Collecting

QUICK = RelayOptions(poll=0.01, lease=1.0, first_pause=0.005, longest_pause=0.02, batch=10)


def relay(store: PostgresStore, sinks: Mapping[str, Sink], options: RelayOptions = QUICK) -> Relay:
    """A relay for these topics and no others (tests share the outbox)."""
    return Relay(store.feed, sinks.get, holder="test", options=options)


async def publish(store: PostgresStore, topic: str, *payloads: Any, key: str = "k") -> None:
    await store.outbox.publish([Draft(topic, key, payload) for payload in payloads])


async def status(store: PostgresStore, topic: str) -> TopicStatus:
    found = await store.outbox_admin.status()
    return next(status for status in found.topics if status.topic == topic)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.005)


async def run_until(found: Relay, done: Callable[[], bool]) -> None:
    """Run a relay until something is so, then stop it."""
    stop = asyncio.Event()
    running = asyncio.create_task(found.run_forever(stop))
    try:
        await until(done)
    finally:
        stop.set()
        await running


async def test_messages_arrive_in_order_over_several_batches(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    await publish(store, topic, *range(35))
    await relay(store, {topic: sink}).drain()
    assert sink.payloads == list(range(35))
    assert sink.largest == 10


async def test_the_checkpoint_keeps_what_was_delivered_from_coming_again(
    store: PostgresStore, topic: str
) -> None:
    first, second = Collecting(), Collecting()
    await publish(store, topic, 1, 2)
    await relay(store, {topic: first}).drain()
    await publish(store, topic, 3)
    await relay(store, {topic: second}).drain()
    assert (first.payloads, second.payloads) == ([1, 2], [3])


async def test_batches_are_bounded_in_bytes_too(store: PostgresStore, topic: str) -> None:
    sink = Collecting()
    await publish(store, topic, *("x" * 1000 + str(i) for i in range(6)), "y" * 9000)
    await relay(store, {topic: sink}, QUICK.model_copy(update={"batch_bytes": 2100})).drain()
    assert sink.largest == 2
    assert len(sink.got) == 7


async def test_a_sink_that_is_away_gets_everything_when_it_is_back(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.errors = [UnavailableError("away")] * 3
    await publish(store, topic, *range(5))
    found = relay(store, {topic: sink})
    await run_until(found, lambda: len(sink.got) == 5)
    assert sink.payloads == list(range(5))
    assert found.counts[topic].failures == 0


async def test_a_blocked_topic_does_not_block_another(store: PostgresStore, topic: str) -> None:
    class Away(Collecting):
        async def deliver(self, messages: Any) -> list[Refused]:
            raise UnavailableError("away for good")

    sink = Collecting()
    await publish(store, topic, 1)
    await publish(store, f"{topic}-2", 2)
    found = relay(store, {topic: Away(), f"{topic}-2": sink})
    await run_until(found, lambda: bool(sink.got and found.counts[topic].blocked))
    assert "away for good" in str(found.counts[topic].blocked)
    assert (await status(store, topic)).depth == 1


async def test_a_stop_in_the_middle_of_a_retry_does_not_hide_what_blocks(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.errors = [UnavailableError("away")]
    stop = asyncio.Event()
    lookups: list[str] = []

    def sink_for(name: str) -> Sink | None:
        if name != topic:
            return None
        lookups.append(name)
        if len(lookups) == 2:
            stop.set()
        return sink

    await publish(store, topic, 1)
    found = Relay(store.feed, sink_for, holder="test", options=QUICK)
    async with asyncio.timeout(20):
        await found.run_forever(stop)
    assert sink.got == []
    assert "away" in str(found.counts[topic].blocked)


async def test_a_sink_that_never_answers_counts_as_away(store: PostgresStore, topic: str) -> None:
    class Silent(Collecting):
        async def deliver(self, messages: Any) -> list[Refused]:
            await asyncio.Event().wait()
            return []

    await publish(store, topic, 1)
    found = relay(store, {topic: Silent()}, QUICK.model_copy(update={"deliver_timeout": 0.05}))
    await run_until(found, lambda: found.counts[topic].blocked is not None)
    assert (await status(store, topic)).depth == 1


async def test_a_refused_message_is_buried_and_its_key_goes_on(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.poison = {2}
    await publish(store, topic, 1, 2, 3)
    found = relay(store, {topic: sink})
    await found.drain()
    [letter] = await store.outbox_admin.dead_letters(topic=topic)
    assert sink.payloads == [1, 3]
    assert (letter.message.payload, letter.reason, letter.attempts) == (2, "poisonous", 1)
    assert (found.counts[topic].delivered, found.counts[topic].dead) == (2, 1)


async def test_a_message_that_fails_its_whole_batch_is_found_and_buried(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.explode = {5: ValidationError([])}
    await publish(store, topic, *range(9))
    await relay(store, {topic: sink}).drain()
    [letter] = await store.outbox_admin.dead_letters(topic=topic)
    assert letter.message.payload == 5
    assert sink.payloads == [0, 1, 2, 3, 4, 6, 7, 8]


async def test_an_error_that_may_pass_is_tried_again_before_it_is_poison(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.explode = {1: ConflictError("odd"), 2: ZeroDivisionError("a bug")}
    await publish(store, topic, 0, 1, 2, 3)
    await run_until(relay(store, {topic: sink}), lambda: sink.payloads == [0, 3])
    letters = await store.outbox_admin.dead_letters(topic=topic)
    assert [(item.message.payload, item.attempts) for item in letters] == [(1, 5), (2, 5)]
    assert "ZeroDivisionError: a bug" in letters[1].reason
    assert all(item.first_failed < item.last_failed for item in letters)


async def test_a_replayed_message_arrives_for_its_own_tenant_with_its_own_idempotency_key(
    store: PostgresStore, topic: str
) -> None:
    sink = Collecting()
    sink.poison = {1}
    await store.outbox.publish([Draft(topic, "k", 1, "once"), Draft(topic, "k", 2)], SYSTEM)
    found = relay(store, {topic: sink})
    await found.drain()
    sink.poison = set()
    [letter] = await store.outbox_admin.dead_letters(topic=topic)
    assert await store.outbox_admin.replay([letter.id]) == 1
    assert await store.outbox_admin.replay([letter.id]) == 0
    await found.drain()
    assert sink.payloads == [2, 1]
    assert (sink.got[1].idempotency_key, sink.got[1].scope) == ("once", SYSTEM)
    [letter] = await store.outbox_admin.dead_letters(topic=topic, settled=True)
    assert letter.replayed_as == sink.got[1].id
    assert await store.outbox_admin.dead_letters(topic=topic) == []


async def test_a_topic_without_a_sink_waits_for_one(store: PostgresStore, topic: str) -> None:
    await publish(store, topic, 1)
    await relay(store, {}).drain()
    assert (await status(store, topic)).depth == 1


async def test_two_relays_never_deliver_a_topic_at_the_same_time(
    store: PostgresStore, topic: str
) -> None:
    class Alone(Collecting):
        inside = 0

        async def deliver(self, messages: Any) -> list[Refused]:
            assert self.inside == 0
            self.inside += 1
            await asyncio.sleep(0.002)
            self.inside -= 1
            return await super().deliver(messages)

    sink = Alone()
    await publish(store, topic, *range(200))
    both = [relay(store, {topic: sink}) for _ in range(2)]
    await asyncio.gather(*(run_until(found, lambda: len(sink.got) == 200) for found in both))
    assert sink.payloads == list(range(200))


async def test_a_relay_that_lost_its_claim_can_record_nothing(
    store: PostgresStore, topic: str
) -> None:
    await publish(store, topic, 1)
    old = await store.feed.claim(topic, holder="old", seconds=0.05)
    assert old
    assert await store.feed.claim(topic, holder="new", seconds=5) is None
    await asyncio.sleep(0.1)
    new = await store.feed.claim(topic, holder="new", seconds=5)
    assert new
    assert new.token > old.token
    assert not await store.feed.advance(old, position=10**9, delivered=1)
    assert not await store.feed.renew(old)
    await store.feed.release(old)
    assert (await status(store, topic)).holder == "new"
    assert (await status(store, topic)).position == 0
    await store.feed.release(new)


async def test_a_long_delivery_keeps_its_claim(store: PostgresStore, topic: str) -> None:
    class Slow(Collecting):
        async def deliver(self, messages: Any) -> list[Refused]:
            await asyncio.sleep(0.7)
            return await super().deliver(messages)

    sink = Slow()
    await publish(store, topic, 1)
    found = relay(store, {topic: sink}, QUICK.model_copy(update={"lease": 0.3}))
    await found.drain()
    assert (sink.payloads, found.counts[topic].leases_lost) == ([1], 0)


async def test_a_relay_whose_claim_is_taken_stops_its_delivery(
    store: PostgresStore, topic: str
) -> None:
    class Stuck(Collecting):
        async def deliver(self, messages: Any) -> list[Refused]:
            taken = await store.feed.claim(topic, holder="thief", seconds=5)
            while taken is None:
                async with store._background.acquire("test") as connection:
                    await connection.execute(
                        "UPDATE outbox.checkpoints SET lease_until = NULL WHERE topic = $1", topic
                    )
                taken = await store.feed.claim(topic, holder="thief", seconds=5)
            await asyncio.Event().wait()
            return []

    await publish(store, topic, 1)
    found = relay(store, {topic: Stuck()}, QUICK.model_copy(update={"lease": 0.3}))
    await found.drain()
    assert found.counts[topic].leases_lost == 1
    assert (await status(store, topic)).holder == "thief"


async def test_a_stopped_relay_ends_its_batch_and_leaves_no_claim(
    store: PostgresStore, topic: str
) -> None:
    stop = asyncio.Event()

    class Stopping(Collecting):
        async def deliver(self, messages: Any) -> list[Refused]:
            stop.set()
            await asyncio.sleep(0.05)
            return await super().deliver(messages)

    sink = Stopping()
    await publish(store, topic, *range(25))
    await relay(store, {topic: sink}).run_forever(stop)
    found = await status(store, topic)
    assert sink.payloads == list(range(10))
    assert (found.depth, found.holder, found.delivered) == (15, None, 10)


async def test_records_go_to_the_store_of_their_data_type_once(polystore: Polystore) -> None:
    networks = [
        Network(chain_id=880_000 + n, name=f"Relayed {n}", rpc_endpoint="https://r.example.org")
        for n in range(3)
    ]
    async with polystore.unit_of_work(tenant=SYSTEM_TENANT) as work:
        for network in (*networks, networks[0]):
            await work.publish_record(network)
    store: Any = polystore.stores["postgres"]
    found = Relay(store.feed, record_sinks(polystore), holder="test", options=QUICK)
    await found.drain()
    for network in networks:
        assert await polystore.networks.get(network.key) == network
    assert found.counts["networks"].delivered >= 4


async def test_records_of_a_tenant_are_written_for_that_tenant(store: PostgresStore) -> None:
    user = User(id=derived_uuid("relayed"), username="relayed", email="relayed@example.org")
    await store.outbox.publish([Draft("accounts", user.key, to_payload(user))], SYSTEM)
    accounts = RecordsSink(store.port("accounts"))
    await relay(store, {"accounts": accounts}).drain()
    assert await store.port("accounts").within(SYSTEM).get(user.key) == user


async def test_what_is_no_record_and_what_the_store_rejects_become_dead_letters(
    store: PostgresStore,
) -> None:
    good = Network(chain_id=881_001, name="Taken", rpc_endpoint="https://r.example.org")
    twin = good.model_copy(update={"chain_id": 881_002})
    drafts = [Draft("networks", n.key, to_payload(n)) for n in (good, twin)]
    await store.outbox.publish([Draft("networks", "x", {"chain_id": "many"}), *drafts])
    await relay(store, {"networks": RecordsSink(store.port("networks"))}).drain()
    letters = await store.outbox_admin.dead_letters(topic="networks")
    assert "chain_id: " in letters[0].reason
    assert letters[1].message.key == twin.key
    assert letters[1].reason.startswith("name: ")
    assert await store.port("networks").get(good.key) == good


def test_messages_of_two_tenants_under_one_key_stay_in_order() -> None:
    from datetime import UTC, datetime

    from neo_polystore.ops.sinks import _by_scope
    from neo_polystore.records.scope import Scope

    record = Network(chain_id=1, name="n", rpc_endpoint="https://r.example.org")
    scopes = (Scope(service="a"), Scope(service="b"))
    plan = [("x", 0), ("y", 0), ("y", 1), ("x", 0), ("z", 1)]
    pairs: list[tuple[Message, Record]] = [
        (Message(n, "t", key, {}, "", scopes[who], datetime.now(UTC)), record)
        for n, (key, who) in enumerate(plan)
    ]
    parts = [[message.id for message, _ in part] for _, part in _by_scope(pairs)]
    assert parts == [[0, 1], [2, 4], [3]]


@pytest.mark.parametrize("failures", [1, 3, 100])
def test_pauses_grow_to_their_bound(store: PostgresStore, failures: int) -> None:
    pause = relay(store, {})._pause(failures)
    assert pause == min(0.005 * 2 ** (failures - 1), 0.02)
