"""Repositories within units of work: optimistic updates, bulk, projections, pages, one task."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from pydantic import BaseModel, SecretStr

from neo_polystore.errors import (
    ConflictError,
    NotFoundError,
    TenantRequiredError,
    UsageError,
    ValidationError,
)
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.records.accounts import User
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.scope import SYSTEM
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, address, hash32, load_network
from tests.conformance.test_networks import network


def user(prefix: str = "", **values: object) -> User:
    """A user with names of its own."""
    name = f"{prefix}{uuid4().hex}"
    return User.model_validate({"email": f"{name}@example.org", "username": name, **values})


def named(prefix: str) -> Query:
    """The users whose name begins like this."""
    return Query(filters=(Filter("username", "prefix", prefix),))


TENS = Query(limit=10)
ACTIVE = Query().where("status", "active")


async def stored(postgres: PostgresStore, *users: User) -> None:
    """Store users of the system tenant."""
    await postgres.port("accounts").within(SYSTEM).write(users)


async def test_an_update_of_what_was_read_is_made(postgres: PostgresStore) -> None:
    before = user()
    await stored(postgres, before)
    after = before.model_copy(update={"email_verified": True})
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.repository(User).update(after, expected=before)
        assert await uow.repository(User).get(before.key) == after


async def test_an_update_of_what_has_changed_is_a_conflict(postgres: PostgresStore) -> None:
    before = user()
    await stored(postgres, before, other := before.model_copy(update={"status": "inactive"}))
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        with pytest.raises(ConflictError, match="changed since"):
            await users.update(before.model_copy(update={"mfa_enabled": True}), expected=before)
        with pytest.raises(ConflictError, match="changed since"):
            await users.delete(before.key, expected=before)
        assert await users.get(before.key) == other


async def test_of_two_who_update_what_both_read_one_wins(postgres: PostgresStore) -> None:
    before = user()
    await stored(postgres, before)

    all_have_read = asyncio.Barrier(4)

    async def work(number: int) -> None:
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
            read = await uow.repository(User).get(before.key)
            await all_have_read.wait()
            await uow.repository(User).update(
                read.model_copy(update={"username": f"{number}-{before.username}"}), expected=read
            )

    results = await asyncio.gather(*(work(n) for n in range(4)), return_exceptions=True)
    assert [type(result) for result in results].count(ConflictError) == 3


async def test_upsert_says_what_it_was(postgres: PostgresStore) -> None:
    chain = network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        assert await networks.upsert(chain) == "new"
        assert await networks.upsert(chain) == "existing"
        changed = chain.model_copy(update={"is_active": False})
        assert await networks.upsert(changed) == "replaced"
        with pytest.raises(ValidationError, match="name"):
            await networks.upsert(network(name=chain.name))


async def test_bulk_insert_changes_nothing_that_is_stored(postgres: PostgresStore) -> None:
    same, other, new = network(), network(), network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        await networks.upsert_all([same, other])
        changed = other.model_copy(update={"is_active": False})
        written = await networks.add_all([same, changed, new, new])
        assert (written.new, written.existing, written.replaced) == (1, 2, 0)
        assert [rejection.index for rejection in written.rejected] == [1]
        assert await networks.get(other.key) == other


async def test_bulk_insert_never_replaces_what_came_meanwhile(postgres: PostgresStore) -> None:
    chain = network()
    theirs = chain.model_copy(update={"rpc_endpoint": "theirs"})
    mine = chain.model_copy(update={"rpc_endpoint": "mine"})

    async def other() -> None:
        async with postgres.unit_of_work() as uow:
            await uow.repository(Network).add(theirs)
            await holding.wait()

    holding = asyncio.Event()
    task = asyncio.create_task(other())
    await asyncio.sleep(0.05)
    async with postgres.unit_of_work() as uow:
        adding = asyncio.create_task(uow.repository(Network).add_all([mine]))
        await asyncio.sleep(0.05)
        holding.set()
        written = await adding
        assert len(written.rejected) == 1
        assert await uow.repository(Network).get(chain.key) == theirs
    await task


async def test_bulk_update_stores_nothing_new(postgres: PostgresStore) -> None:
    known, unknown = [network() for _ in range(3)], network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        await networks.add_all(known)
        changed = [chain.model_copy(update={"is_active": False}) for chain in known]
        written = await networks.update_all([changed[0], unknown, *changed[1:]])
        assert (written.replaced, written.new) == (3, 0)
        assert [(r.index, r.reason) for r in written.rejected] == [(1, "is not stored")]
        assert not await networks.exists(unknown.key)


async def test_bulk_update_leaves_immutable_records_alone(postgres: PostgresStore) -> None:
    await load_network(postgres)
    first = Transaction(chain_id=CHAIN, hash=hash32(), from_address=address())
    async with postgres.unit_of_work() as uow:
        transactions = uow.repository(Transaction)
        await transactions.add_all([first])
        written = await transactions.update_all([first.model_copy(update={"value": 1})])
        assert [rejection.reason for rejection in written.rejected] == ["is immutable"]


async def test_many_are_found_by_key_at_once(postgres: PostgresStore) -> None:
    await load_network(postgres)
    wallets = [Wallet(chain_id=CHAIN, address=address()) for _ in range(20)]
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.repository(Wallet).add_all(wallets[:15])
        keys = [wallet.key for wallet in wallets]
        found = await uow.repository(Wallet).get_all([*keys, "no key"])
        assert set(found) == set(keys[:15])
        assert all(found[key].key == key for key in found)


async def test_without_a_tenant_bulk_writes_are_refused(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work() as uow:
        users = uow.repository(User)
        for write in (users.add_all, users.upsert_all, users.update_all):
            with pytest.raises(TenantRequiredError):
                await write([user()])


async def test_specifications_select_together(postgres: PostgresStore) -> None:
    prefix = uuid4().hex
    await stored(postgres, user(prefix), user(prefix, status="inactive"), user())
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        wanted = named(prefix) & ACTIVE
        assert [found.status for found in await users.find(wanted)] == ["active"]
        assert await users.count(wanted) == 1
        assert await users.exists(wanted)
        assert not await users.exists(wanted & Query().where("mfa_enabled", True))
        assert await users.first(wanted & Query().where("status", "locked")) is None


async def test_a_soft_deleted_record_is_shown_by_no_method(postgres: PostgresStore) -> None:
    prefix = uuid4().hex
    gone = user(prefix)
    await stored(postgres, gone)
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        await users.delete(gone.key)
        assert not await users.exists(gone.key)
        assert not await users.get_all([gone.key])
        assert await users.count(Query().where("id", gone.id)) == 0
        assert not (await users.project(Query().where("id", gone.id), Name)).records
        with pytest.raises(NotFoundError):
            await users.update(gone)
        async with uow._database.acquire("test") as connection:
            sql = "SELECT deleted_at IS NOT NULL FROM auth.users WHERE id = $1"
            assert await connection.fetchval(sql, gone.id)


class Name(BaseModel):
    """Some of a user."""

    username: str
    email: str


@dataclass
class Amounts:
    """Some of a transaction."""

    hash: str
    value: int


async def test_a_projection_reads_its_fields_only(postgres: PostgresStore) -> None:
    prefix = uuid4().hex
    await stored(postgres, *(user(prefix) for _ in range(5)))
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        query = named(prefix) & Query(order="username", limit=3)
        first = await users.project(query, Name)
        assert [type(item) for item in first] == [Name] * 3
        rest = await users.project(replace(query, after=first.next), Name)
        names = [item.username for item in (*first, *rest)]
        assert names == sorted(names)
        assert len(names) == 5


async def test_a_projection_keeps_amounts_exact(postgres: PostgresStore) -> None:
    await load_network(postgres)
    sender = address()
    record = Transaction(chain_id=CHAIN, hash=hash32(), from_address=sender, value=2**256 - 1)
    async with postgres.unit_of_work() as uow:
        await uow.repository(Transaction).add(record)
        page = await uow.repository(Transaction).project(
            Query().where("from_address", sender), Amounts
        )
        assert page.records == [Amounts(record.hash, 2**256 - 1)]


async def test_a_projection_on_what_is_not_there_is_refused(postgres: PostgresStore) -> None:
    class Wrong(BaseModel):
        password_hash: str

    class Mistyped(BaseModel):
        username: int

    await stored(postgres, user())
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        with pytest.raises(UsageError, match="password_hash"):
            await users.project(Query(), Wrong)
        with pytest.raises(UsageError, match="username"):
            await users.project(Query(), Mistyped)
        with pytest.raises(UsageError, match="dataclass"):
            await users.project(Query(), int)


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_stay_right_while_others_write(
    postgres: PostgresStore, descending: bool
) -> None:
    prefix = uuid4().hex
    before = [user(f"{prefix}-{place:03d}-") for place in range(40)]
    await stored(postgres, *before)
    seen: list[User] = []
    writing = True

    async def others() -> None:
        place = 0
        while writing:
            place = (place + 7) % 45
            await stored(postgres, user(f"{prefix}-{place:03d}-"))

    task = asyncio.create_task(others())
    query = named(prefix) & Query(order="username", descending=descending, limit=6)
    while True:
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
            page = await uow.repository(User).find(query)
        seen += page.records
        if page.next is None:
            break
        query = replace(query, after=page.next)
    writing = False
    await task
    keys = [found.key for found in seen]
    assert len(set(keys)) == len(keys)
    assert {made.key for made in before} <= set(keys)
    names = [found.username for found in seen]
    assert names == sorted(names, reverse=descending)


async def test_each_walks_through_all_pages(postgres: PostgresStore) -> None:
    prefix = uuid4().hex
    await stored(postgres, *(user(prefix) for _ in range(25)))
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        walked = [found.key async for found in uow.repository(User).each(named(prefix) & TENS)]
    assert len(set(walked)) == len(walked) == 25


async def test_two_tasks_at_once_are_refused_clearly(postgres: PostgresStore) -> None:
    chains = [network(), network()]
    with pytest.raises(UsageError, match="another task"):
        async with postgres.unit_of_work() as uow:
            await asyncio.gather(*(uow.repository(Network).add(chain) for chain in chains))
    for chain in chains:
        with pytest.raises(NotFoundError):
            await postgres.port("networks").get(chain.key)


async def test_another_task_cannot_write_into_a_savepoint(postgres: PostgresStore) -> None:
    kept, lost = network(), network()

    async def write(uow: UnitOfWork) -> None:
        await uow.repository(Network).add(lost)

    async with postgres.unit_of_work() as uow:
        async with uow.savepoint("part"):
            await uow.repository(Network).add(kept)
            with pytest.raises(UsageError, match="another task"):
                await asyncio.create_task(write(uow))
        assert not await uow.repository(Network).exists(lost.key)
    assert await postgres.port("networks").get(kept.key) == kept


async def test_tasks_may_take_turns(postgres: PostgresStore) -> None:
    chain = network()
    async with postgres.unit_of_work() as uow:
        await asyncio.create_task(uow.repository(Network).add(chain))
        assert await asyncio.wait_for(uow.repository(Network).exists(chain.key), 5)


async def test_an_operation_that_loses_is_run_again(postgres: PostgresStore) -> None:
    made = user()
    await stored(postgres, made)
    runs = 0

    async def work(uow: UnitOfWork) -> User:
        nonlocal runs
        runs += 1
        found = await uow.repository(User).get(made.key)
        if runs == 1:  # somebody else is faster, the first time
            await stored(postgres, made.model_copy(update={"email_verified": True}))
        changed = found.model_copy(update={"mfa_enabled": True})
        await uow.repository(User).update(changed)
        return changed

    changed = await postgres.execute_in_transaction(
        "users.enable_mfa", work, tenant=SYSTEM_TENANT, isolation="repeatable_read"
    )
    assert runs == 2
    assert (changed.email_verified, changed.mfa_enabled) == (True, True)
    counts = postgres._operations.counts["users.enable_mfa"]
    assert (counts.committed, counts.retries, counts.failed) == (1, 1, 0)


async def test_operations_that_deadlock_both_end(postgres: PostgresStore) -> None:
    first, second = network(), network()
    await postgres.port("networks").write([first, second])
    both = asyncio.Barrier(2)

    async def cross(*order: Network) -> int:
        runs = 0

        async def work(uow: UnitOfWork) -> None:
            nonlocal runs
            runs += 1
            for place, chain in enumerate(order):
                changed = chain.model_copy(update={"rpc_endpoint": uuid4().hex})
                await uow.repository(Network).update(changed)
                if place == 0 and runs == 1:
                    await both.wait()

        await postgres.execute_in_transaction("networks.cross", work)
        return runs

    before = postgres._database.retries.counts.deadlock
    runs = await asyncio.gather(cross(first, second), cross(second, first))
    assert sorted(runs) == [1, 2]
    assert postgres._database.retries.counts.deadlock == before + 1


async def test_retries_are_bounded(postgres: PostgresStore) -> None:
    config = postgres.config.model_copy(update={"retries": 2, "retry_delay": 0.01})
    store = PostgresStore(config)
    await store.connect()
    runs = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal runs
        runs += 1
        async with uow._database.acquire("test") as connection:  # type: ignore[attr-defined]
            await connection.execute(
                "DO $$ BEGIN RAISE 'lost' USING ERRCODE = 'serialization_failure'; END $$"
            )

    try:
        with pytest.raises(SerializationError):
            await store.execute_in_transaction("always.lost", work)
        assert runs == 3
        assert store._database.retries.counts.exhausted == 1
        assert store._operations.counts["always.lost"].failed == 1
    finally:
        await store.close()


async def test_operations_are_named_in_the_log(
    postgres: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def good(uow: UnitOfWork) -> str:
        return "answer"

    async def bad(uow: UnitOfWork) -> None:
        raise RuntimeError("secret")

    with caplog.at_level("DEBUG", logger="neo_polystore"):
        assert await postgres.execute_in_transaction("log.good", good) == "answer"
        with pytest.raises(RuntimeError):
            await postgres.execute_in_transaction("log.bad", bad)
    told = {vars(record)["operation"]: record for record in caplog.records}
    assert told["log.good"].levelname == "DEBUG"
    assert told["log.bad"].levelname == "WARNING"
    assert vars(told["log.bad"])["why"] == "RuntimeError"
    assert "secret" not in caplog.text


async def test_an_operations_name_is_no_data(postgres: PostgresStore) -> None:
    async def work(uow: UnitOfWork) -> None:
        raise AssertionError("not run")

    for name in ("", "Not this", "x" * 101, "user 17"):
        with pytest.raises(UsageError, match="name"):
            await postgres.execute_in_transaction(name, work)


async def test_a_refused_add_leaves_nothing_behind(postgres: PostgresStore) -> None:
    made = user(password=SecretStr("a"))
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        await users.add(made)
        with pytest.raises(ConflictError):
            await users.add(made.model_copy(update={"status": "locked"}))
        assert (await users.get(made.key)).status == "active"
