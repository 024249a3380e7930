"""What every wallet store does."""

from __future__ import annotations

from uuid import uuid4

import pytest

from neo_polystore.errors import NotFoundError, TenantRequiredError
from neo_polystore.ids import uuid7
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Query
from neo_polystore.records.scope import NOBODY, SYSTEM, Scope
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, load_network
from tests.conformance.records import RecordsSuite


class TestWallets(RecordsSuite):
    """Immutable, owned by a tenant."""

    group = "wallet_type"
    ordered = "address"
    summable = "initial_balance"

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Wallets:
        await load_network(postgres)
        wallets: Wallets = postgres.port("wallets")
        return wallets.within(SYSTEM)

    def samples(self, count: int, *, group: str) -> list[Wallet]:
        return [
            Wallet(
                chain_id=CHAIN,
                address=address(),
                wallet_type=group,
                initial_balance=10**77 + place,
            )
            for place in range(count)
        ]

    def new_group(self) -> str:
        return uuid4().hex

    async def test_another_value_keeps_the_stored_one(self, port: Wallets) -> None:
        [wallet] = self.samples(1, group=self.new_group())
        await port.write([wallet])
        written = await port.write([wallet.model_copy(update={"initial_balance": 1})])
        assert (written.existing, written.replaced) == (1, 0)
        assert await port.get(wallet.key) == wallet

    async def test_an_unknown_chain_is_rejected_alone(self, port: Wallets) -> None:
        [good, bad] = self.samples(2, group=self.new_group())
        written = await port.write([bad.model_copy(update={"chain_id": UNKNOWN_CHAIN}), good])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "chain_id")]

    async def test_an_unknown_owner_is_rejected_alone(self, port: Wallets) -> None:
        [good, bad] = self.samples(2, group=self.new_group())
        written = await port.write([good, bad.model_copy(update={"owner": uuid7()})])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(1, "owner")]

    async def test_without_a_tenant_nothing_is_written_or_seen(self, port: Wallets) -> None:
        [wallet] = self.samples(1, group=self.new_group())
        nobody = port.within(NOBODY)
        with pytest.raises(TenantRequiredError):
            await nobody.write([wallet])
        await port.write([wallet])
        assert await nobody.count(Query()) == 0
        with pytest.raises(NotFoundError):
            await nobody.get(wallet.key)

    async def test_an_address_of_another_tenant_is_rejected_without_a_name(
        self, port: Wallets, postgres: PostgresStore
    ) -> None:
        [wallet] = self.samples(1, group=self.new_group())
        await port.write([wallet])
        tenant = Tenant(name="Other", identifier=f"t-{uuid4().hex}")
        user = User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)
        accounts = postgres.port("accounts")
        await accounts.create_tenant(tenant)
        scope = Scope(tenant=tenant.id)
        await accounts.within(scope).write([user])
        written = await port.within(scope).write([wallet.model_copy(update={"owner": user.id})])
        assert written.new == 0
        assert [(r.field, str(wallet.owner) in r.reason) for r in written.rejected] == [
            ("address", False)
        ]

    async def test_a_private_key_never_comes_back(self, port: Wallets) -> None:
        [wallet] = self.samples(1, group=self.new_group())
        await port.write([wallet.model_copy(update={"encrypted_private_key": "sealed"})])
        assert (await port.get(wallet.key)).encrypted_private_key is None

    async def test_a_key_is_found_in_any_letter_case(self, port: Wallets) -> None:
        [wallet] = self.samples(1, group=self.new_group())
        await port.write([wallet])
        assert await port.get(f"{CHAIN}:0x{wallet.address[2:].upper()}") == wallet
