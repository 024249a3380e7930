"""What every account store does."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neo_polystore.errors import ConflictError, NotFoundError, TenantRequiredError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Query, parse_condition
from neo_polystore.records.scope import NOBODY, SYSTEM, Scope
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.records import RecordsSuite


def user(**values: Any) -> User:
    """A user with names of its own."""
    name = uuid4().hex
    return User(**{"email": f"{name}@example.org", "username": name, **values})


class TestAccounts(RecordsSuite):
    """Mutable, owned by a tenant."""

    group = "username"
    ordered = "email"
    mutable = True

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Accounts:
        accounts: Accounts = postgres.port("accounts")
        return accounts.within(SYSTEM)

    @pytest.fixture
    async def other(self, port: Accounts) -> Accounts:
        """The same port within another, new tenant."""
        tenant = Tenant(name="Other", identifier=f"t-{uuid4().hex}")
        await port.create_tenant(tenant)
        return port.within(Scope(tenant=tenant.id))

    def samples(self, count: int, *, group: str) -> list[User]:
        return [
            user(username=f"{group}-{place}", email=f"{group}-{place}@example.org")
            for place in range(count)
        ]

    def changed(self, record: User) -> User:
        return record.model_copy(update={"status": "locked", "email_verified": True})

    def new_group(self) -> str:
        return uuid4().hex

    def of_group(self, group: str, **options: Any) -> Query:
        # no field of a user can be shared at will: a group is a prefix of the name
        return Query(filters=(parse_condition(User, f"username^={group}"),), **options)

    async def test_the_system_tenant_and_user_are_there(self, port: Accounts) -> None:
        assert (await port.get_tenant()).id == SYSTEM_TENANT
        assert (await port.get(str(SYSTEM_USER))).username == "system"

    @pytest.mark.parametrize("field", ["email", "username"])
    async def test_a_taken_name_is_rejected_and_the_rest_stored(
        self, port: Accounts, field: str
    ) -> None:
        first, good = user(), user()
        await port.write([first])
        written = await port.write([user(**{field: getattr(first, field)}), good])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, field)]

    async def test_addresses_differ_by_more_than_letter_case(self, port: Accounts) -> None:
        first = user()
        written = await port.write([first, user(email=first.email.upper())])
        assert [(r.index, r.field) for r in written.rejected] == [(1, "email")]

    async def test_two_tenants_may_use_the_same_names(
        self, port: Accounts, other: Accounts
    ) -> None:
        first = user()
        await port.write([first])
        written = await other.write([user(email=first.email, username=first.username)])
        assert written.new == 1

    async def test_an_id_of_another_tenant_is_rejected(
        self, port: Accounts, other: Accounts
    ) -> None:
        first = user()
        await port.write([first])
        written = await other.write([user(id=first.id), user()])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "id")]
        assert await port.get(first.key) == first

    async def test_another_tenants_users_are_not_found(
        self, port: Accounts, other: Accounts
    ) -> None:
        first = user()
        await port.write([first])
        with pytest.raises(NotFoundError):
            await other.get(first.key)
        assert await other.count(Query()) == 0

    async def test_without_a_tenant_nothing_is_written_or_seen(self, port: Accounts) -> None:
        nobody = port.within(NOBODY)
        with pytest.raises(TenantRequiredError):
            await nobody.write([user()])
        assert await nobody.count(Query()) == 0
        with pytest.raises(NotFoundError):
            await nobody.get_tenant()

    async def test_a_tenant_is_created_once(self, port: Accounts) -> None:
        tenant = Tenant(name="Twice", identifier=f"t-{uuid4().hex}")
        await port.create_tenant(tenant)
        with pytest.raises(ConflictError, match="id"):
            await port.create_tenant(tenant)
        with pytest.raises(ConflictError, match="identifier"):
            await port.create_tenant(Tenant(name="Other", identifier=tenant.identifier))
        assert await port.within(Scope(tenant=tenant.id)).get_tenant() == tenant

    async def test_the_right_password_and_no_other_is_accepted(self, port: Accounts) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        found = await port.verify_password(record.username, "correct horse")
        assert (found.id, found.password) == (record.id, None)
        for name, password in (
            (record.username, "wrong"),
            (record.username, ""),
            ("nobody", "correct horse"),
            ("nul \x00", "correct horse"),
        ):
            with pytest.raises(NotFoundError):
                await port.verify_password(name, password)

    async def test_a_password_of_another_tenant_is_not_accepted(
        self, port: Accounts, other: Accounts
    ) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        for accounts in (other, port.within(NOBODY)):
            with pytest.raises(NotFoundError):
                await accounts.verify_password(record.username, "correct horse")

    async def test_a_locked_user_does_not_get_in(self, port: Accounts) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        await port.write([self.changed(record)])
        with pytest.raises(NotFoundError):
            await port.verify_password(record.username, "correct horse")

    async def test_the_same_password_again_changes_nothing(self, port: Accounts) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        assert (await port.write([record])).existing == 1

    async def test_a_new_password_replaces_the_old_one(self, port: Accounts) -> None:
        record = user(password=SecretStr("old"))
        await port.write([record])
        changed = record.model_copy(update={"password": SecretStr("new")})
        assert (await port.write([changed])).replaced == 1
        assert (await port.verify_password(record.username, "new")).id == record.id
        with pytest.raises(NotFoundError):
            await port.verify_password(record.username, "old")

    async def test_a_record_without_a_password_keeps_the_stored_one(self, port: Accounts) -> None:
        record = user(password=SecretStr("kept"))
        await port.write([record])
        await port.write([record.model_copy(update={"password": None, "mfa_enabled": True})])
        assert (await port.verify_password(record.username, "kept")).mfa_enabled

    async def test_a_user_without_a_password_cannot_log_in(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        for password in ("", "!"):
            with pytest.raises(NotFoundError):
                await port.verify_password(record.username, password)
