"""Calls of many callers at once: who shares a statement, and what each of them is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from neo_polystore.errors import NotFoundError, PolystoreError, UnavailableError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.accounts import User
from neo_polystore.records.scope import Scope
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.gathered import Gathered
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, hash32, load_network
from tests.proxy import Proxy

Tenants = dict[UUID, User]
KINDS = ("new", "existing", "chain", "long", "surrogate")


@pytest.fixture
async def store(postgres: PostgresStore) -> AsyncIterator[PostgresStore]:
    """A store of the test's own on the shared database, with a network."""
    await load_network(postgres)
    own = PostgresStore(postgres.config)
    await own.connect()
    yield own
    await own.close()


def transaction(**values: Any) -> Transaction:
    """A transaction with a hash of its own."""
    return Transaction(**{"chain_id": CHAIN, "hash": hash32(), "from_address": address(), **values})


def wallet(owner: User, **values: Any) -> Wallet:
    """A wallet with an address of its own."""
    return Wallet(**{"chain_id": CHAIN, "address": address(), "owner": owner.id, **values})


async def facts(store: PostgresStore) -> dict[str, Any]:
    """What the store counts."""
    return (await store.health()).facts


async def test_five_hundred_callers_get_each_his_own_answer(store: PostgresStore) -> None:
    port = store.port("transactions")
    stored = transaction()
    await port.write([stored])
    chance = random.Random(3)
    kinds = chance.choices(KINDS, weights=(4, 1, 1, 1, 1), k=500)

    async def caller(kind: str) -> None:
        record = stored if kind == "existing" else transaction()
        if kind == "chain":
            record = transaction(chain_id=UNKNOWN_CHAIN)
        elif kind == "long":
            record = record.model_copy(update={"from_address": "x" * 300})
        elif kind == "surrogate":
            record = record.model_copy(update={"input_data": "\ud800"})
        written = await port.write([record])
        if kind in ("new", "existing"):
            assert (written.new, written.existing) == (kind == "new", kind == "existing")
            assert await port.get(record.key) == record
        else:
            assert (written.new, written.existing) == (0, 0)
            assert [rejection.index for rejection in written.rejected] == [0]
            with pytest.raises(NotFoundError):
                await port.get(record.key)

    await asyncio.gather(*map(caller, kinds))


async def test_callers_share_statements(store: PostgresStore) -> None:
    port = store.port("transactions")
    records = [transaction() for _ in range(500)]
    await asyncio.gather(*(port.write([record]) for record in records))
    found = await asyncio.gather(*(port.get(record.key) for record in records))
    assert found == records
    counted = await facts(store)
    assert counted["gathered_writes"]["items"] == 500
    assert counted["gathered_writes"]["batches"] < 20
    assert counted["gathered_reads"]["items"] == 500
    assert counted["gathered_reads"]["batches"] < 40


async def test_connections_are_reused_and_counted(store: PostgresStore) -> None:
    port = store.port("transactions")
    for _ in range(50):
        await port.write([transaction()])
    counted = await facts(store)
    assert counted["connection_uses"] >= 50
    assert counted["connection_reuse_percent"] > 80


async def test_one_record_of_many_callers_is_new_for_one_of_them(store: PostgresStore) -> None:
    port = store.port("transactions")
    record = transaction()
    written = await asyncio.gather(*(port.write([record]) for _ in range(200)))
    assert sum(each.new for each in written) == 1
    assert sum(each.existing for each in written) == 199


async def test_one_key_with_many_values_keeps_the_value_of_the_new_one(
    store: PostgresStore,
) -> None:
    port = store.port("transactions")
    key = hash32()
    records = [transaction(hash=key, value=n) for n in range(40)]
    written = await asyncio.gather(*(port.write([record]) for record in records))
    [first] = [n for n, each in enumerate(written) if each.new]
    assert sum(each.existing for each in written) == 39
    assert (await port.get(records[0].key)).value == first


async def test_a_bad_record_is_rejected_alone_in_its_own_batch(store: PostgresStore) -> None:
    port = store.port("transactions")

    async def caller() -> None:
        good = [transaction() for _ in range(5)]
        bad = good[0].model_copy(update={"hash": hash32(), "to_address": "x" * 300})
        written = await port.write([*good[:2], bad, *good[2:]])
        assert written.new == 5
        assert [rejection.index for rejection in written.rejected] == [2]

    await asyncio.gather(*(caller() for _ in range(20)))


async def test_a_batch_that_cannot_be_committed_leaves_nothing(
    store: PostgresStore, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    """The server ends the connection in the middle: all of a caller's records, or none."""
    port = store.port("transactions")
    await port.write([transaction()])
    await owner.execute("LOCK TABLE blockchain.transaction_keys IN EXCLUSIVE MODE")
    batches = [[transaction() for _ in range(3)] for _ in range(4)]
    calls = [asyncio.create_task(port.write(batch)) for batch in batches]
    while not await owner.fetch(_WAITING):
        await asyncio.sleep(0)
    await _end_waiting(store.config)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    await owner.execute("ROLLBACK")
    await owner.execute("BEGIN")
    assert any(isinstance(answer, UnavailableError) for answer in answers)
    for batch, answer in zip(batches, answers, strict=True):
        found = await store.witness("transactions", [record.key for record in batch])
        assert found == (0 if isinstance(answer, PolystoreError) else 3)


_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%transaction_keys%'
"""


async def _end_waiting(config: PgConfig) -> None:
    """End the sessions that wait for a lock, as their own role may."""
    connection = await asyncpg.connect(**config.connect_arguments())
    await connection.fetch(f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS waiting")
    await connection.close()


async def test_tenants_never_share(store: PostgresStore, tenants: Tenants) -> None:
    port = store.port("wallets")
    chance = random.Random(7)

    async def caller(tenant: UUID, stranger: UUID) -> None:
        mine, theirs = port.within(Scope(tenant=tenant)), port.within(Scope(tenant=stranger))
        record = wallet(tenants[tenant])
        assert (await mine.write([record])).new == 1
        assert await mine.get(record.key) == record
        with pytest.raises(NotFoundError):
            await theirs.get(record.key)
        taken = await theirs.write([record.model_copy(update={"owner": tenants[stranger].id})])
        assert [rejection.field for rejection in taken.rejected] == ["address"]

    one, other = tenants
    pairs = [chance.choice([(one, other), (other, one)]) for _ in range(100)]
    await asyncio.gather(*(caller(*pair) for pair in pairs))


async def test_a_cancelled_caller_disturbs_nobody(store: PostgresStore) -> None:
    port = store.port("transactions")
    records = [transaction() for _ in range(200)]
    calls = [asyncio.create_task(port.write([record])) for record in records]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for record, answer in zip(records, answers, strict=True):
        if not isinstance(answer, BaseException):
            assert answer.new == 1
            assert await port.get(record.key) == record
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 67


async def test_a_caller_who_gives_up_alone_leaves_a_usable_store(store: PostgresStore) -> None:
    port = store.port("transactions")
    for patience in (0, 0.0001, 0.0003, 0.001):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    await port.write([transaction()])
    assert (await port.write([transaction()])).new == 1


async def test_closing_commits_and_answers_what_was_accepted(
    postgres: PostgresStore, store: PostgresStore
) -> None:
    port = store.port("transactions")
    records = [transaction() for _ in range(600)]
    calls = [asyncio.create_task(port.write([record])) for record in records]
    await asyncio.sleep(0)
    await store.close()
    assert sum(written.new for written in await asyncio.gather(*calls)) == 600
    assert await postgres.witness("transactions", [r.key for r in records[::20]]) == 30
    with pytest.raises(UnavailableError):
        await port.write([transaction()])


async def test_a_store_can_be_opened_again(store: PostgresStore) -> None:
    await store.close()
    await store.connect()
    assert (await store.port("transactions").write([transaction()])).new == 1


async def test_a_full_queue_waits_and_then_refuses(
    store: PostgresStore, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    port = store.port("transactions")
    gathered = Gathered(port.database, max_waiting=50, patience=0.05)
    spec, scope = port.merge, port.scope
    await owner.execute("LOCK TABLE blockchain.transaction_keys IN EXCLUSIVE MODE")
    calls = [asyncio.create_task(gathered.write(spec, scope, [transaction()])) for _ in range(200)]
    done, pending = await asyncio.wait(calls, timeout=0.5)
    assert len(pending) == 50
    assert all(isinstance(call.exception(), UnavailableError) for call in done)
    assert gathered.counts["writes"].refused == 150
    assert gathered.counts["writes"].waiting == 50
    await owner.execute("ROLLBACK")
    await owner.execute("BEGIN")
    assert sum(written.new for written in await asyncio.gather(*pending)) == 50
    assert gathered.counts["writes"].waiting == 0
    await gathered.close()


class _Counting(Proxy):
    """Counts what clients send, in pieces that they send at once."""

    sent = 0

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("peername")[1] == self._target[1]:
            forward = writer.write

            def counted(data: bytes) -> None:
                self.sent += 1
                forward(data)

            writer.write = counted  # type: ignore[method-assign, assignment]
        await super()._copy(reader, writer)


@pytest.mark.parametrize("data_type", ["transactions", "wallets"])
async def test_a_lone_call_is_one_round_trip_with_or_without_a_tenant(
    store: PostgresStore, tenants: Tenants, data_type: str
) -> None:
    tenant, user = next(iter(tenants.items()))
    async with _Counting(store.config.host, store.config.port) as proxy:
        update = {"host": "127.0.0.1", "port": proxy.port}
        counted = PostgresStore(store.config.model_copy(update=update))
        await counted.connect()
        port = counted.port(data_type).within(Scope(tenant=tenant))
        if data_type == "transactions":
            port = counted.port(data_type)
        made = [transaction() if data_type == "transactions" else wallet(user) for _ in range(3)]
        await port.write(made[:1])
        await port.get(made[0].key)
        before = proxy.sent
        await port.write(made[1:2])
        assert proxy.sent == before + 1
        await port.get(made[1].key)
        assert proxy.sent == before + 2
        await counted.close()
