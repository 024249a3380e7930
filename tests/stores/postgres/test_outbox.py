"""The outbox in the database: order, visibility, tenants, partitions, nothing for a rollback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.errors import UsageError, ValidationError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.pgkit.database import Connection
from neo_polystore.ports.outbox import Draft, Message
from neo_polystore.records.accounts import User
from neo_polystore.records.networks import Network
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.outbox import Prepared, publish
from neo_polystore.stores.postgres.outbox_feed import horizon
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase
from tests.stores.postgres.conftest import act_for

WIDTH = 250_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(make_database: MakeDatabase) -> AsyncIterator[PostgresStore]:
    """A store of its own: the horizon is the whole database's."""
    store = PostgresStore(await make_database("outbox"))
    await store.migrate()
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
async def writer(store: PostgresStore) -> AsyncIterator[Connection]:
    """Another application's connection, in a transaction."""
    connection = await asyncpg.connect(**store.config.connect_arguments())
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def read(store: PostgresStore, topic: str, after: int = 0) -> list[Message]:
    return await store.feed.read(topic, after=after, limit=10_000, limit_bytes=1 << 30)


async def payloads(store: PostgresStore, topic: str) -> list[object]:
    return [message.payload for message in await read(store, topic)]


def drafts(topic: str, *values: object, key: str = "k") -> list[Prepared]:
    return [Prepared(Draft(topic, key, value)) for value in values]


async def ask(store: PostgresStore, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """As the owner, with the rights of its functions."""
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    try:
        return list(await owner.fetch(sql, *arguments))
    finally:
        await owner.close()


async def test_a_message_of_a_committed_unit_of_work_is_read_back_as_it_was(
    store: PostgresStore, topic: str
) -> None:
    async with store.unit_of_work(tenant=SYSTEM_TENANT, service="billing") as work:
        await work.publish(topic, "key", {"deep": [1, 10**30, None, "ü"]})
        assert await read(store, topic) == []
    [message] = await read(store, topic)
    assert (message.topic, message.key) == (topic, "key")
    assert message.payload == {"deep": [1, 10**30, None, "ü"]}
    assert message.scope == Scope(tenant=SYSTEM_TENANT, service="billing")


async def test_a_message_of_a_failed_unit_of_work_never_appears(
    store: PostgresStore, topic: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.unit_of_work() as work:
            await work.publish(topic, "k", 1)
            await work.write_messages()
            await work.publish(topic, "k", 2)
            raise ZeroDivisionError
    assert await read(store, topic) == []


async def test_the_messages_of_a_savepoint_go_with_it(store: PostgresStore, topic: str) -> None:
    async with store.unit_of_work() as work:
        await work.publish(topic, "k", "before")
        with pytest.raises(ZeroDivisionError):
            async with work.savepoint("outer"):
                await work.publish(topic, "k", "outer")
                async with work.savepoint("inner"):
                    await work.publish(topic, "k", "inner")
                await work.publish(topic, "k", "outer again")
                raise ZeroDivisionError
        await work.publish(topic, "k", "after")
        async with work.savepoint("kept"):
            await work.publish(topic, "k", "kept")
    assert await payloads(store, topic) == ["before", "after", "kept"]


async def test_many_messages_of_one_unit_of_work_keep_their_order(
    store: PostgresStore, topic: str
) -> None:
    async with store.unit_of_work() as work:
        for number in range(2_500):
            await work.publish(topic, f"k{number % 7}", number)
    assert await payloads(store, topic) == list(range(2_500))


async def test_a_payload_that_is_no_json_is_refused_where_it_is_published(
    store: PostgresStore, topic: str
) -> None:
    async with store.unit_of_work() as work:
        for bad in ("a\0b", float("nan"), {"x": "\ud800"}):
            with pytest.raises(ValidationError):
                await work.publish(topic, "k", bad)
        for key in ("a\0", "x" * 2001):
            with pytest.raises(UsageError):
                await work.publish(topic, key, 1)
        with pytest.raises(UsageError):
            await work.publish("", "k", 1)
        await work.publish(topic, "k", "good")
    assert await payloads(store, topic) == ["good"]


async def test_nothing_is_read_past_an_open_transaction_and_nothing_is_skipped(
    store: PostgresStore, topic: str, writer: Connection
) -> None:
    await publish(writer, drafts(topic, "early", key="a"))
    await store.outbox.publish([Draft(topic, "b", "late")])
    assert await read(store, topic) == []
    status = await store.outbox_admin.status()
    assert (status.held, status.held_by) == (2, writer.get_server_pid())
    await writer.execute("COMMIT")
    assert await payloads(store, topic) == ["early", "late"]


async def test_a_rolled_back_transaction_leaves_a_hole_and_no_wait(
    store: PostgresStore, topic: str, writer: Connection
) -> None:
    await publish(writer, drafts(topic, "never"))
    await store.outbox.publish([Draft(topic, "b", "late")])
    await writer.execute("ROLLBACK")
    assert await payloads(store, topic) == ["late"]


async def test_a_transaction_that_writes_something_else_holds_nothing_back(
    store: PostgresStore, topic: str, writer: Connection
) -> None:
    await writer.execute("INSERT INTO core.services (name, version) VALUES ($1, '1')", topic)
    await store.outbox.publish([Draft(topic, "k", 1)])
    assert await payloads(store, topic) == [1]


async def test_a_key_is_kept_until_the_commit_and_another_is_not(
    store: PostgresStore, topic: str, writer: Connection
) -> None:
    await publish(writer, drafts(topic, "first"))
    second = asyncio.create_task(store.outbox.publish([Draft(topic, "k", "second")]))
    await store.outbox.publish([Draft(topic, "another", "other")])
    await asyncio.sleep(0.1)
    assert not second.done()
    await writer.execute("COMMIT")
    await second
    of_key = [m.payload for m in await read(store, topic) if m.key == "k"]
    assert of_key == ["first", "second"]


async def test_batches_over_the_same_keys_in_any_order_do_not_deadlock(
    store: PostgresStore, topic: str
) -> None:
    async def batch(seed: int) -> None:
        keys = [f"k{number}" for number in range(50)]
        random.Random(seed).shuffle(keys)
        for _ in range(5):
            await store.outbox.publish([Draft(topic, key, seed) for key in keys])

    await asyncio.gather(*(batch(seed) for seed in range(8)))
    assert len(await read(store, topic)) == 8 * 5 * 50


async def test_a_tailing_reader_misses_nothing_of_writers_that_dawdle_or_fail(
    store: PostgresStore, topic: str
) -> None:
    """Writers hold their messages open for up to 10 ms after drawing the ids; a tenth fails."""
    committed: set[object] = set()
    seen: list[Message] = []
    writing = True

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(40):
            try:
                async with store.unit_of_work() as work:
                    await work.publish(topic, f"k{chance.randrange(20)}", f"{seed}:{number}")
                    await work.write_messages()
                    await asyncio.sleep(chance.random() * 0.01)
                    if chance.random() < 0.1:
                        raise ZeroDivisionError
                committed.add(f"{seed}:{number}")
            except ZeroDivisionError:
                pass

    async def tail() -> None:
        after = 0
        while True:
            last = not writing
            found = await read(store, topic, after)
            seen.extend(found)
            after = found[-1].id if found else after
            if last:
                return

    tailing = asyncio.create_task(tail())
    await asyncio.gather(*(write(seed) for seed in range(8)))
    writing = False
    await tailing
    assert {message.payload for message in seen} == committed
    assert len(seen) == len(committed)
    ids = [message.id for message in seen]
    assert ids == sorted(ids)


async def test_the_application_can_read_nothing_and_forge_nothing(
    store: PostgresStore, topic: str, writer: Connection
) -> None:
    await store.outbox.publish([Draft(topic, "k", "secret")], Scope(tenant=uuid4()))
    for sql in (
        "SELECT * FROM outbox.messages",
        "SELECT * FROM outbox.messages_000000000",
        "SELECT * FROM outbox.dead_letters",
        "SELECT * FROM outbox.checkpoints",
        "UPDATE outbox.checkpoints SET position = 10",
        (
            "INSERT INTO outbox.messages (topic, key, payload, bytes, idempotency_key)"
            " VALUES ('t', 'k', '1', 1, 'i')"
        ),
        "SELECT outbox.horizon()",
        "SELECT outbox.maintain(1)",
        "SELECT * FROM scheduler.jobs",
    ):
        await writer.execute("SAVEPOINT s")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.execute(sql)
        await writer.execute("ROLLBACK TO s")


async def test_row_security_stands_even_where_somebody_grants_too_much(
    store: PostgresStore, topic: str
) -> None:
    mine, other = uuid4(), uuid4()
    for tenant in (mine, other):
        await store.outbox.publish([Draft(topic, "k", str(tenant))], Scope(tenant=tenant))
    await store.outbox.publish([Draft(topic, "k", "nobody's")])
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    await owner.execute("GRANT SELECT ON outbox.messages, outbox.messages_000000000 TO neo_app")
    application = await asyncpg.connect(**store.config.connect_arguments())
    try:
        sql = "SELECT payload #>> '{}' FROM outbox.messages WHERE topic = $1"
        async with application.transaction():
            assert await application.fetch(sql, topic) == []
            await act_for(application, mine)
            assert [row[0] for row in await application.fetch(sql, topic)] == [str(mine)]
            partition = sql.replace("messages", "messages_000000000")
            assert await application.fetch(partition, topic) == []
    finally:
        await application.close()
        await owner.execute(
            "REVOKE SELECT ON outbox.messages, outbox.messages_000000000 FROM neo_app"
        )
        await owner.close()


async def test_publishing_takes_part_in_a_tenants_work(
    store: PostgresStore, topic: str, tenants_of_store: UUID
) -> None:
    user = User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)
    async with store.unit_of_work(tenant=tenants_of_store) as work:
        await work.repository(User).add(user)
        await work.publish(topic, user.key, {"created": user.key})
    [message] = await read(store, topic)
    assert message.scope.tenant == tenants_of_store
    assert await store.port("accounts").within(message.scope).get(user.key) == user


@pytest.fixture
async def tenants_of_store(store: PostgresStore) -> UUID:
    """A tenant."""
    from neo_polystore.records.accounts import Tenant

    tenant = Tenant(name="Tenant", identifier=f"t-{uuid4().hex}")
    await store.port("accounts").create_tenant(tenant)
    return tenant.id


async def test_a_record_is_published_under_its_own_type_and_key(store: PostgresStore) -> None:
    network = Network(chain_id=990_001, name="Published", rpc_endpoint="https://r.example.org")
    async with store.unit_of_work() as work:
        await work.publish_record(network)
    [message] = await read(store, "networks")
    assert message.key == network.key
    assert Network.parse(message.payload) == network


async def test_waiting_tells_of_keys_that_have_messages_before_them(
    store: PostgresStore, topic: str
) -> None:
    await store.outbox.publish([Draft(topic, "a", 1)])
    assert await store.outbox.waiting(topic, ["b", "a"])
    assert not await store.outbox.waiting(topic, ["b"])
    [message] = await read(store, topic)
    claim = await store.feed.claim(topic, holder="test", seconds=5)
    assert claim
    await store.feed.advance(claim, position=message.id, delivered=1)
    assert not await store.outbox.waiting(topic, ["a"])


async def test_a_claimed_topic_is_offered_to_nobody_else(store: PostgresStore, topic: str) -> None:
    await store.outbox.publish([Draft(topic, "a", 1)])
    assert topic in await store.feed.topics()
    claim = await store.feed.claim(topic, holder="test", seconds=5)
    assert claim
    assert topic not in await store.feed.topics()
    await store.feed.release(claim)
    assert topic in await store.feed.topics()


async def test_status_tells_depth_lag_and_dead(store: PostgresStore, topic: str) -> None:
    await store.outbox.publish([Draft(topic, "a", n) for n in range(3)])
    [found] = [t for t in (await store.outbox_admin.status()).topics if t.topic == topic]
    assert (found.depth, found.dead, found.delivered, found.position) == (3, 0, 0, 0)
    assert 0 < found.lag < 60


class TestPartitions:
    """Made ahead, and dropped as a whole when everything in them is delivered."""

    @pytest.fixture
    async def store(self, make_migrated: MakeDatabase) -> AsyncIterator[PostgresStore]:
        """An outbox that a test may turn upside down."""
        store = PostgresStore(await make_migrated("partitions"))
        await store.connect()
        yield store
        await store.close()

    async def partitions(self, store: PostgresStore) -> list[str]:
        rows = await ask(
            store,
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'outbox.messages'::regclass ORDER BY 1",
        )
        return [row["name"].removeprefix("outbox.messages_") for row in rows]

    async def jump(self, store: PostgresStore, to: int) -> None:
        await ask(store, "SELECT setval('outbox.messages_id_seq', $1)", to)

    async def deliver(self, store: PostgresStore, topic: str, position: int) -> None:
        claim = await store.feed.claim(topic, holder="test", seconds=5)
        assert claim
        assert await store.feed.advance(claim, position=position, delivered=0)
        await store.feed.release(claim)

    async def test_they_are_made_ahead(self, store: PostgresStore) -> None:
        assert await self.partitions(store) == [*(f"{n:09}" for n in range(17)), "default"]
        await self.jump(store, 2 * WIDTH)
        done = await store.upkeep.outbox_partitions(ahead=16)
        assert done == {
            "messages_000000017": "made",
            "messages_000000018": "made",
            "messages_000000000": "dropped",
            "messages_000000001": "dropped",
        }

    async def test_one_with_an_undelivered_message_stays(
        self, store: PostgresStore, topic: str
    ) -> None:
        await store.outbox.publish([Draft(topic, "k", 1), Draft(f"{topic}-2", "k", 1)])
        await self.jump(store, 2 * WIDTH)
        done = await store.upkeep.outbox_partitions()
        assert done["messages_000000001"] == "dropped"
        assert "messages_000000000" not in done
        await self.deliver(store, topic, 1)
        assert await store.upkeep.outbox_partitions() == {}
        await self.deliver(store, f"{topic}-2", 2)
        assert await store.upkeep.outbox_partitions() == {"messages_000000000": "dropped"}

    async def test_one_that_a_transaction_may_still_write_to_stays(
        self, store: PostgresStore, topic: str
    ) -> None:
        open_writer = await asyncpg.connect(**store.config.connect_arguments())
        await open_writer.execute("BEGIN")
        await publish(open_writer, drafts(topic, "open"))
        await self.jump(store, 2 * WIDTH)
        assert "dropped" not in (await store.upkeep.outbox_partitions()).values()
        await open_writer.execute("COMMIT")
        await open_writer.close()
        assert await payloads(store, topic) == ["open"]

    async def test_messages_beyond_the_last_one_are_taken_and_emptied_later(
        self, store: PostgresStore, topic: str
    ) -> None:
        await self.jump(store, 17 * WIDTH + 5)
        await store.outbox.publish([Draft(topic, "k", "beyond")])
        await store.upkeep.outbox_partitions()
        await self.jump(store, 18 * WIDTH + 5)
        await store.outbox.publish([Draft(topic, "k", "after")])
        assert await payloads(store, topic) == ["beyond", "after"]
        await self.deliver(store, topic, 18 * WIDTH + 6)
        done = await store.upkeep.outbox_partitions()
        assert done["messages_default"] == "emptied"
        assert "000000017" not in await self.partitions(store)

    async def test_upkeep_gives_way_to_a_transaction_in_its_way(
        self, store: PostgresStore, topic: str
    ) -> None:
        open_writer = await asyncpg.connect(**store.config.connect_arguments())
        await self.jump(store, 2 * WIDTH)
        await open_writer.execute("BEGIN")
        await publish(open_writer, drafts(topic, "open"))
        done = await store.upkeep.outbox_partitions()
        assert set(done.values()) == {"made", "busy"}
        await open_writer.execute("COMMIT")
        await open_writer.close()
        done = await store.upkeep.outbox_partitions()
        assert set(done.values()) == {"dropped"}

    async def test_upkeep_under_way_loses_no_message_and_fails_no_writer(
        self, store: PostgresStore, topic: str
    ) -> None:
        async def write(number: int) -> None:
            for n in range(30):
                await store.outbox.publish([Draft(topic, f"{number}", n)])

        async def upkeep() -> None:
            for round_ in range(1, 6):
                await self.jump(store, round_ * WIDTH * 3)
                await store.upkeep.outbox_partitions(ahead=4)

        await asyncio.gather(*(write(number) for number in range(4)), upkeep())
        assert len(await read(store, topic)) == 120

    async def test_an_older_snapshot_is_refused(self, store: PostgresStore) -> None:
        relay = await asyncpg.connect(**store.config.as_relay().connect_arguments())
        try:
            async with relay.transaction(isolation="repeatable_read"):
                with pytest.raises(asyncpg.InvalidTransactionStateError):
                    await relay.execute("SELECT outbox.maintain(1)")
        finally:
            await relay.close()


async def test_the_horizon_is_the_last_id_when_nobody_publishes(store: PostgresStore) -> None:
    [last] = await store.outbox.publish([Draft("horizon", "k", 1)])
    async with store._background.acquire("test") as connection:
        assert await horizon(connection) == last
