"""Read-through caching on the real Redis, over a primary that counts and can be held up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import NotFoundError, UnavailableError, UnsupportedError
from neo_polystore.ids import uuid7
from neo_polystore.ports.cache import Cache
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_types
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.samples import samples
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import CachedRecords, cached
from neo_polystore.wrappers.cached.entry import Entry, decode, encode
from neo_polystore.wrappers.cached.guard import CacheGuard
from tests.proxy import Proxy


class Primary:
    """Records in a dict, by tenant where they are owned; `calls` counts reads by key."""

    def __init__(self, model: type[Record], *, owned: bool = False):
        self.record = model
        self.calls = 0
        self.tenant: UUID | None = None
        self.owned = owned
        self.stored: dict[tuple[UUID | None, str], Any] = {}
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.after_commit: Callable[[], Awaitable[None]] | None = None
        self._root = self

    def within(self, scope: Scope) -> Primary:
        bound = Primary(self.record, owned=self.owned)
        bound.__dict__.update(self.__dict__)
        bound.tenant = scope.tenant
        return bound

    def _slot(self, key: str) -> tuple[UUID | None, str]:
        return (self.tenant if self.owned else None, key)

    async def get(self, key: str) -> Any:
        self._root.calls += 1
        found = self.stored.get(self._slot(key))
        if self._root.before_answer is not None:
            await self._root.before_answer()
        if found is None:
            raise NotFoundError(f"no {self.record.data_type} record with key {key!r}")
        return found

    async def write(self, records: Sequence[Any]) -> Written:
        for record in records:
            self.stored[self._slot(record.key)] = record
        if self._root.after_commit is not None:
            await self._root.after_commit()
        return Written(new=len(records))

    async def apply_receipts(self, receipts: Sequence[Receipt]) -> Written:
        for receipt in receipts:
            slot = self._slot(receipt.key)
            self.stored[slot] = self.stored[slot].model_copy(update={"status": "failed"})
        return Written(replaced=len(receipts))

    async def find(self, query: Query) -> Page[Any]:
        return Page(list(self.stored.values()))

    async def count(self, query: Query) -> int:
        return len(self.stored)

    async def sum(self, query: Query, field: str) -> Decimal:
        return Decimal(7)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        return [field]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    """With patience for a busy machine."""
    store = RedisStore(redis_config.model_copy(update={"patience_seconds": 5.0}))
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
def cache(store: RedisStore) -> Cache:
    return cast(Cache, store.port("cache"))


@pytest.fixture
def primary() -> Primary:
    return Primary(Network)


@pytest.fixture
def networks(primary: Primary, cache: Cache) -> Any:
    """With time enough for a busy machine."""
    return cached("networks", primary, cache, budget=10)


def network(name: str = "first", *, chain_id: int | None = None) -> Network:
    return Network(
        chain_id=chain_id if chain_id is not None else random.getrandbits(62),
        name=name,
        rpc_endpoint="http://localhost",
    )


def wallet(**fields: Any) -> Wallet:
    return Wallet(chain_id=1, address="0x" + uuid4().hex + "00000000", **fields)


async def test_the_second_read_comes_from_the_cache(primary: Primary, networks: Any) -> None:
    record = network()
    await networks.write([record])
    assert await networks.get(record.key) == record
    assert await networks.get(record.key) == record
    assert (primary.calls, networks.counts.hits, networks.counts.misses) == (1, 1, 1)


async def test_callers_never_share_a_mutable_record(cache: Cache) -> None:
    [sample] = [record for record in samples("contracts") if record.abi][:1]  # type: ignore[attr-defined]
    primary = Primary(type(sample))
    contracts = cached("contracts", primary, cache)
    await contracts.write([sample])
    answers = await asyncio.gather(*(contracts.get(sample.key) for _ in range(3)))
    assert len({id(answer.abi) for answer in answers}) == 3


async def test_a_write_is_seen_by_the_next_read(primary: Primary, networks: Any) -> None:
    record = network("old")
    await networks.write([record])
    await networks.get(record.key)
    await networks.write([network("new", chain_id=record.chain_id)])
    assert (await networks.get(record.key)).name == "new"


async def test_receipts_are_seen_by_the_next_read(cache: Cache) -> None:
    transaction = Transaction(chain_id=1, hash="0x" + uuid4().hex * 2, from_address="0x" + "1" * 40)
    transactions = cached("transactions", Primary(Transaction), cache)
    await transactions.write([transaction])
    await transactions.get(transaction.key)
    await transactions.apply_receipts(
        [Receipt(chain_id=1, transaction_hash=transaction.hash, gas_used=1, status=0)]
    )
    assert (await transactions.get(transaction.key)).status == "failed"


async def test_a_write_that_failed_after_its_commit_is_seen(
    primary: Primary, networks: Any
) -> None:
    async def lose_the_answer() -> None:
        raise UnavailableError("connection lost")

    record = network("old")
    await networks.write([record])
    await networks.get(record.key)
    primary.after_commit = lose_the_answer
    with pytest.raises(UnavailableError):
        await networks.write([network("new", chain_id=record.chain_id)])
    assert (await networks.get(record.key)).name == "new"


async def test_a_write_that_was_cancelled_after_its_commit_is_seen(
    primary: Primary, networks: Any
) -> None:
    committed = asyncio.Event()

    async def hang() -> None:
        committed.set()
        await asyncio.Event().wait()

    record = network("old")
    await networks.write([record])
    await networks.get(record.key)
    primary.after_commit = hang
    writing = asyncio.create_task(networks.write([network("new", chain_id=record.chain_id)]))
    await committed.wait()
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    assert (await networks.get(record.key)).name == "new"


async def test_a_hundred_readers_make_one_call(primary: Primary, networks: Any) -> None:
    record = network()
    await networks.write([record])
    answers = await asyncio.gather(*(networks.get(record.key) for _ in range(100)))
    assert (answers, primary.calls) == ([record] * 100, 1)


async def test_absence_is_remembered_until_a_write(primary: Primary, networks: Any) -> None:
    record = network()
    for _ in range(2):
        with pytest.raises(NotFoundError, match=f"no networks record with key '{record.key}'"):
            await networks.get(record.key)
    assert primary.calls == 1
    await networks.write([record])
    assert await networks.get(record.key) == record


async def test_absence_under_another_spelling_is_not_remembered(
    primary: Primary, networks: Any
) -> None:
    record = network()
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await networks.get("0" + record.key)
    assert primary.calls == 2


async def test_a_record_under_another_spelling_is_not_cached(
    primary: Primary, networks: Any
) -> None:
    record = network("old")
    primary.stored[None, "0" + record.key] = record  # a primary that reads keys leniently
    await networks.get("0" + record.key)
    await networks.get("0" + record.key)
    assert primary.calls == 2


async def test_a_load_that_a_write_overtakes_fills_nothing(primary: Primary, networks: Any) -> None:
    record = network("old")
    await networks.write([record])
    loading, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        loading.set()
        await go_on.wait()

    primary.before_answer = wait
    early = asyncio.create_task(networks.get(record.key))
    await loading.wait()
    await networks.write([network("new", chain_id=record.chain_id)])
    late = asyncio.create_task(networks.get(record.key))  # finds a load that began too early
    await asyncio.sleep(0)
    primary.before_answer = None
    go_on.set()
    assert (await early).name == "old"  # it asked before the write
    assert (await late).name == "new"
    assert (await networks.get(record.key)).name == "new"


async def test_a_fill_is_not_shared_with_who_comes_after_the_next_change(
    primary: Primary, cache: Cache
) -> None:
    filled, go_on = asyncio.Event(), asyncio.Event()

    class SlowAnswer:
        def __getattr__(self, name: str) -> Any:
            return getattr(cache, name)

        async def fill(self, *args: Any, **options: Any) -> bool:
            answer = await cache.fill(*args, **options)
            filled.set()
            await go_on.wait()
            return answer

    here = cached("networks", primary, cast(Cache, SlowAnswer()), budget=10)
    elsewhere = cached("networks", primary, cache, budget=10)
    record = network("old")
    await here.write([record])
    early = asyncio.create_task(here.get(record.key))
    await filled.wait()
    await elsewhere.write([network("new", chain_id=record.chain_id)])
    late = asyncio.create_task(here.get(record.key))
    await cache.get(record.key)  # by now its own question has been answered
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    assert (await early).name == "old"
    assert (await late).name == "new"


async def test_no_reader_ever_sees_less_than_was_written_before_he_asked(cache: Cache) -> None:
    chance = random.Random(20)
    primary = Primary(Network)

    async def dawdle() -> None:
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.004)

    primary.before_answer = primary.after_commit = dawdle
    processes = [cached("networks", primary, cache, budget=10) for _ in range(3)]
    chain_ids = [random.getrandbits(60) for _ in range(2)]
    written = dict.fromkeys(chain_ids, 0)
    for chain_id in chain_ids:
        await processes[0].write([network("0", chain_id=chain_id)])
    stale: list[tuple[int, int]] = []

    async def write(chain_id: int) -> None:
        for version in range(1, 60):
            await chance.choice(processes).write([network(str(version), chain_id=chain_id)])
            written[chain_id] = version
            await dawdle()

    async def read() -> None:
        for _ in range(120):
            chain_id = chance.choice(chain_ids)
            least = written[chain_id]
            seen = int((await chance.choice(processes).get(str(chain_id))).name)
            if seen < least:
                stale.append((seen, least))

    await asyncio.gather(*map(write, chain_ids), *(read() for _ in range(12)))
    assert not stale
    assert sum(process.counts.hits + process.counts.shared for process in processes) > 100


async def test_without_the_cache_everything_goes_to_the_primary(
    redis_config: RedisConfig, primary: Primary, unused_tcp_port: int
) -> None:
    down = RedisStore(redis_config.model_copy(update={"port": unused_tcp_port}))
    networks = cached("networks", primary, down.port("cache"))
    record = network()
    await networks.write([record])
    assert [await networks.get(record.key) for _ in range(3)] == [record] * 3
    assert primary.calls == networks.counts.bypassed == 3
    assert networks.counts.failures >= 1


async def test_a_cache_that_hangs_costs_its_time_limit_once(
    redis_config: RedisConfig, primary: Primary
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        store = RedisStore(redis_config.model_copy(update={"port": proxy.port}))
        await store.connect()
        networks = cached("networks", primary, store.port("cache"))
        record = network()
        await networks.write([record])
        proxy.stall()
        async with asyncio.timeout(0.9):  # the limit is 0.25 s, then the cache rests for 1 s
            for _ in range(100):
                assert await networks.get(record.key) == record
            await networks.write([record])
        proxy.restore()
        await store.close()


async def test_what_was_written_while_the_cache_was_down_is_not_read_stale_from_it(
    redis_config: RedisConfig, primary: Primary, cache: Cache
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        store = RedisStore(redis_config.model_copy(update={"port": proxy.port}))
        await store.connect()
        networks = cached("networks", primary, store.port("cache"))
        elsewhere = cached("networks", primary, cache)
        record = network("old")
        await networks.write([record])
        await networks.get(record.key)
        await networks.settled()
        proxy.cut()
        await networks.write([network("new", chain_id=record.chain_id)])
        assert networks.counts.uncertain == 2  # the record, and the tag of its data type
        assert (await networks.get(record.key)).name == "new"
        assert (await elsewhere.get(record.key)).name == "old"  # nobody could tell
        proxy.restore()
        async with asyncio.timeout(5):
            while networks.counts.uncertain:
                assert (await networks.get(record.key)).name == "new"
                await asyncio.sleep(0.02)
        assert (await networks.get(record.key)).name == "new"
        assert (await elsewhere.get(record.key)).name == "new"
        await store.close()


async def test_an_uncertain_key_is_not_read_though_the_cache_answers(cache: Cache) -> None:
    class Refusing:
        refuses = True

        def __getattr__(self, name: str) -> Any:
            return getattr(cache, name)

        async def invalidate(self, keys: Sequence[str], **options: Any) -> bool:
            if self.refuses:
                raise UnavailableError("not now")
            return await cache.invalidate(keys, **options)

    refusing = Refusing()
    guard = CacheGuard(cast(Cache, refusing), budget=10, pause=0)
    changed, other = uuid4().hex, uuid4().hex
    for key in (changed, other):
        await cache.set(key, b"value", ttl=60)
    await guard.invalidate([changed], ttl=60)
    assert (await guard.usable(changed), await guard.get(changed)) == (False, None)
    assert (await guard.usable(other), await guard.get(other)) == (True, b"value")
    refusing.refuses = False
    assert (await guard.usable(changed), await guard.get(changed)) == (True, None)


async def test_too_many_uncertain_keys_stop_the_use_of_the_cache(cache: Cache) -> None:
    class Clock:
        now = 0.0

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(cache, name)

        async def invalidate(self, keys: Sequence[str], **options: Any) -> bool:
            raise UnavailableError("down")

    guard = CacheGuard(
        cast(Cache, Broken()), most_uncertain=10, longest_fill=60, clock=lambda: Clock.now
    )
    keys = [uuid4().hex for _ in range(11)]
    await cache.set(keys[0], b"stale", ttl=60)
    await guard.invalidate(keys, ttl=300)
    assert guard.counts.uncertain == 0
    Clock.now = 359.0
    assert not await guard.usable(keys[0])
    assert await guard.get(keys[0]) is None
    Clock.now = 361.0
    assert await guard.usable(keys[0])


async def test_secret_fields_never_reach_the_cache(cache: Cache, store: RedisStore) -> None:
    secret = f"secret-{uuid4().hex}"
    primary = Primary(Wallet, owned=True)
    wallets = cached("wallets", primary, cache).within(Scope(tenant=uuid7()))
    record = wallet(encrypted_private_key=secret)
    await wallets.write([record])
    for _ in range(2):
        assert (await wallets.get(record.key)).encrypted_private_key == secret
    assert primary.calls == 2
    assert encode(Entry(record), model=Wallet, owner="x") is None


async def test_tenants_never_see_each_others_entries(cache: Cache) -> None:
    primary = Primary(Wallet, owned=True)
    port = cached("wallets", primary, cache)
    mine, theirs = (port.within(Scope(tenant=uuid7())) for _ in range(2))
    record = wallet()
    await mine.write([record])
    assert await mine.get(record.key) == record
    with pytest.raises(NotFoundError):
        await theirs.get(record.key)
    assert await mine.get(record.key) == record


async def test_an_absence_seen_by_one_tenant_is_not_anothers(cache: Cache) -> None:
    [user] = samples("accounts")[:1]
    user = user.model_copy(update={"id": uuid7()})
    primary = Primary(type(user), owned=True)
    port = cached("accounts", primary, cache)
    mine, theirs = (port.within(Scope(tenant=uuid7())) for _ in range(2))
    primary.stored[mine.primary.tenant, user.key] = user
    with pytest.raises(NotFoundError):
        await theirs.get(user.key)
    assert await mine.get(user.key) == user
    with pytest.raises(NotFoundError):
        await theirs.get(user.key)


async def test_services_of_a_tenant_are_kept_apart(cache: Cache) -> None:
    tenant, record = uuid7(), wallet()
    primary = Primary(Wallet, owned=True)
    port = cached("wallets", primary, cache)
    for service in ("one", "two"):
        await port.within(Scope(tenant=tenant, service=service)).write([record])
    for service in ("one", "two"):
        assert await port.within(Scope(tenant=tenant, service=service)).get(record.key) == record
    assert primary.calls == 2


async def test_without_a_tenant_the_cache_is_not_asked(cache: Cache) -> None:
    primary = Primary(Wallet, owned=True)
    wallets = cached("wallets", primary, cache)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await wallets.get(wallet().key)
    assert primary.calls == 2


@pytest.mark.parametrize("data_type", sorted(record_types()))
def test_what_is_cached_is_read_back_unchanged(data_type: str) -> None:
    for sample in samples(data_type):
        payload = encode(Entry(sample), model=type(sample), owner="o")
        if payload is not None:
            assert decode(payload, model=type(sample), owner="o") == Entry(sample)
        else:
            assert data_type in ("accounts", "wallets")  # samples that carry secrets


def test_a_value_that_json_does_not_carry_is_not_cached() -> None:
    point = MetricPoint(
        time="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        service="s",
        name="n",
        value=float("nan"),
    )
    assert encode(Entry(point), model=MetricPoint, owner="o") is None


def test_an_entry_is_read_by_its_owner_and_version_only() -> None:
    payload = encode(Entry(network()), model=Network, owner="me") or b""
    assert decode(payload, model=Network, owner="you") is None
    assert decode(payload, model=Wallet, owner="me") is None
    assert decode(payload[:-3], model=Network, owner="me") is None
    assert decode(b"", model=Network, owner="me") is None


async def test_nonsense_in_the_cache_is_a_miss(
    primary: Primary, networks: Any, cache: Cache
) -> None:
    record = network()
    await networks.write([record])
    await cache.set(cache.place("networks", record.key).key, b"\xff nonsense", ttl=60)
    assert await networks.get(record.key) == record


async def test_queries_go_to_the_primary(primary: Primary, networks: Any) -> None:
    record = network()
    await networks.write([record])
    assert (await networks.find(Query())).records == [record]
    assert await networks.count(Query()) == 1
    assert await networks.sum(Query(), "chain_id") == 7
    assert await networks.distinct(Query(), "name") == ["name"]
    assert networks.record is Network


def test_what_has_no_wrapper_cannot_be_cached(primary: Primary, cache: Cache) -> None:
    with pytest.raises(UnsupportedError, match="sealed cannot be cached"):
        cached("sealed", primary, cache)
    assert isinstance(cached("networks", primary, cache), CachedRecords)
