"""Units of work: together or not at all, with repositories that take part."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from neo_polystore.errors import (
    ConflictError,
    NotFoundError,
    TenantRequiredError,
    UnsupportedError,
    UsageError,
    ValidationError,
)
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.analytics import Fact
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, hash32, load_network
from tests.conformance.test_networks import network


def user() -> User:
    """A user with names of its own."""
    return User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)


async def test_work_is_there_after_the_block(postgres: PostgresStore) -> None:
    chain, made = network(), user()
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.repository(Network).add(chain)
        await uow.repository(User).add(made)
        assert await uow.repository(User).exists(made.key)
    assert await postgres.port("networks").get(chain.key) == chain
    assert await postgres.port("accounts").within(SYSTEM).get(made.key) == made


async def test_an_exception_undoes_all_of_it(postgres: PostgresStore) -> None:
    chain, made = network(), user()
    with pytest.raises(RuntimeError):
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
            await uow.repository(Network).add(chain)
            await uow.repository(User).add(made)
            raise RuntimeError
    for port, key in (("networks", chain.key), ("accounts", made.key)):
        with pytest.raises(NotFoundError):
            await postgres.port(port).within(SYSTEM).get(key)


async def test_a_savepoint_undoes_its_part_alone(postgres: PostgresStore) -> None:
    before, inside, after = network(), network(), network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        await networks.add(before)
        with pytest.raises(RuntimeError):
            async with uow.savepoint("part"):
                await networks.add(inside)
                raise RuntimeError
        async with uow.savepoint("part"):
            await networks.add(inside)
            await uow.rollback_to("part")
            await networks.add(after)
    stored = postgres.port("networks")
    assert await stored.get(before.key) == before
    assert await stored.get(after.key) == after
    with pytest.raises(NotFoundError):
        await stored.get(inside.key)


async def test_a_savepoints_name_is_no_place_for_sql(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work() as uow:
        with pytest.raises(UsageError):
            async with uow.savepoint('x"; DROP TABLE y; --'):
                pass


async def test_a_refused_record_does_not_end_the_work(postgres: PostgresStore) -> None:
    first, second = network(), network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        await networks.add(first)
        with pytest.raises(ValidationError, match="name"):
            await networks.add(network(name=first.name))
        swapped = [
            first.model_copy(update={"name": "x" * 99, "chain_id": second.chain_id}),
            second.model_copy(update={"name": "x" * 99}),
        ]
        assert len((await networks.add_all(swapped)).rejected) <= 1
    assert await postgres.port("networks").get(first.key) == first


async def test_adding_what_is_there_is_a_conflict(postgres: PostgresStore) -> None:
    chain = network()
    async with postgres.unit_of_work() as uow:
        await uow.repository(Network).add(chain)
        with pytest.raises(ConflictError):
            await uow.repository(Network).add(chain)


async def test_update_replaces_what_is_there_only(postgres: PostgresStore) -> None:
    chain = network()
    changed = chain.model_copy(update={"is_active": False})
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        with pytest.raises(NotFoundError):
            await networks.update(changed)
        await networks.add(chain)
        await networks.update(changed)
        await networks.update(changed)
        assert await networks.get(chain.key) == changed


async def test_a_user_may_be_updated_with_the_same_password(postgres: PostgresStore) -> None:
    made = user().model_copy(update={"password": SecretStr("secret")})
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await uow.repository(User).add(made)
        await uow.repository(User).update(made)
        assert await uow.port("accounts").verify_password(made.username, "secret")


async def test_an_immutable_record_is_not_updated(postgres: PostgresStore) -> None:
    await load_network(postgres)
    record = Transaction(chain_id=CHAIN, hash=hash32(), from_address=address())
    async with postgres.unit_of_work() as uow:
        transactions = uow.repository(Transaction)
        await transactions.add(record)
        with pytest.raises(UnsupportedError):
            await transactions.update(record.model_copy(update={"value": 1}))
        with pytest.raises(UnsupportedError):
            await transactions.delete(record.key)


async def test_delete_removes_a_record_once(postgres: PostgresStore) -> None:
    chain = network()
    async with postgres.unit_of_work() as uow:
        networks = uow.repository(Network)
        await networks.add(chain)
        await networks.delete(chain.key)
        assert not await networks.exists(chain.key)
        with pytest.raises(NotFoundError):
            await networks.delete(chain.key)


async def test_a_deleted_user_frees_the_names(postgres: PostgresStore) -> None:
    first = user()
    second = first.model_copy(update={"id": user().id})
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        users = uow.repository(User)
        await users.add(first)
        await users.delete(first.key)
        await users.add(second)
        assert not await users.exists(first.key)
    written = await postgres.port("accounts").within(SYSTEM).write([first])
    assert [rejection.field for rejection in written.rejected] == ["id"]


async def test_bulk_add_answers_for_each(postgres: PostgresStore) -> None:
    await load_network(postgres)
    wallets = [Wallet(chain_id=CHAIN, address=address()) for _ in range(2500)]
    wallets.append(Wallet(chain_id=UNKNOWN_CHAIN, address=address()))
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        written = await uow.repository(Wallet).add_all(wallets)
    assert (written.new, [r.index for r in written.rejected]) == (2500, [2500])


async def test_ports_take_part_too(postgres: PostgresStore) -> None:
    await load_network(postgres)
    record = Transaction(chain_id=CHAIN, hash=hash32(), from_address=address())
    receipt = Receipt(chain_id=CHAIN, transaction_hash=record.hash, gas_used=1, status=1)
    async with postgres.unit_of_work() as uow:
        await uow.repository(Transaction).add(record)
        assert (await uow.port("transactions").apply_receipts([receipt])).replaced == 1


async def test_a_tenant_is_made_within_its_own_scope(postgres: PostgresStore) -> None:
    tenant = Tenant(name="New", identifier=f"t-{uuid4().hex}")
    async with postgres.unit_of_work(tenant=tenant.id) as uow:
        await uow.port("accounts").create_tenant(tenant)
        await uow.repository(User).add(user())
    accounts = postgres.port("accounts").within(Scope(tenant=tenant.id))
    assert await accounts.get_tenant() == tenant
    assert await accounts.count(Query()) == 1


async def test_without_a_tenant_owned_records_are_not_written(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work() as uow:
        with pytest.raises(TenantRequiredError):
            await uow.repository(User).add(user())


async def test_the_tenant_cannot_be_changed_inside(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        other = uow.port("accounts").within(Scope(tenant=UUID(int=1)))
        with pytest.raises(UsageError):
            await other.count(Query())


async def test_the_scope_ends_with_the_work(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT, service="billing") as uow:
        assert uow.scope == Scope(tenant=SYSTEM_TENANT, service="billing")
        users = uow.repository(User)
        assert await users.count(Query()) > 0
    with pytest.raises(UsageError, match="ended"):
        await users.count(Query())
    assert await postgres.port("accounts").count(Query()) == 0


async def test_a_model_of_another_store_has_no_repository(postgres: PostgresStore) -> None:
    async with postgres.unit_of_work() as uow:
        with pytest.raises(UsageError, match="Fact"):
            uow.repository(Fact)
