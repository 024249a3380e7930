"""What every account store does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neo_polystore.errors import (
    ConflictError,
    NotFoundError,
    TenantRequiredError,
    ValidationError,
)
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import Permission, Role, Tenant, User, tenant_of
from neo_polystore.records.query import Query, parse_condition
from neo_polystore.records.scope import NOBODY, SYSTEM, Scope
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.records import RecordsSuite

HERE = IPv4Address("192.0.2.7")
ATTEMPTS = 5
"""The default of NEO_LOGIN_ATTEMPTS."""


def user(**values: Any) -> User:
    """A user with names of its own."""
    name = uuid4().hex
    return User(**{"email": f"{name}@example.org", "username": name, **values})


def permission() -> Permission:
    """A permission with names of its own."""
    name = uuid4().hex
    return Permission(name=name, resource=name, action="read")


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
            ("half \ud800", "correct horse"),
            (record.username, "half \ud800"),
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

    async def test_guesses_lock_the_user_even_for_the_right_password(self, port: Accounts) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        for _ in range(ATTEMPTS):
            with pytest.raises(NotFoundError):
                await port.verify_password(record.username, "wrong")
        with pytest.raises(NotFoundError):
            await port.verify_password(record.username, "correct horse")

    async def test_an_accepted_password_begins_the_count_anew(self, port: Accounts) -> None:
        record = user(password=SecretStr("correct horse"))
        await port.write([record])
        for _ in range(3):
            for _ in range(ATTEMPTS - 1):
                with pytest.raises(NotFoundError):
                    await port.verify_password(record.username, "wrong")
            assert await port.verify_password(record.username, "correct horse")

    async def test_roles_let_users_do_what_was_granted(self, port: Accounts) -> None:
        record, read, write = user(), permission(), permission()
        await port.write([record])
        roles = port.roles
        role, other = Role(name=uuid4().hex), Role(name=uuid4().hex)
        for made in (role, other):
            await roles.create(made)
        for item in (read, write):
            await roles.define(item)
        await roles.grant(role.name, read.name)
        await roles.grant(role.name, read.name)
        await roles.grant(other.name, read.name)
        await roles.grant(other.name, write.name)
        assert await roles.permissions_of(record.id) == []
        await roles.assign(record.id, role.name, granted_by=SYSTEM_USER)
        await roles.assign(record.id, other.name)
        assert {role, other} == set(await roles.roles_of(record.id))
        allowed = await roles.permissions_of(record.id)
        assert allowed == sorted([read, write], key=lambda item: item.name)
        await roles.withdraw(other.name, write.name)
        await roles.unassign(record.id, role.name)
        assert await roles.permissions_of(record.id) == [read]
        await roles.delete(other.name)
        assert await roles.permissions_of(record.id) == []

    async def test_a_role_that_was_given_until_then_ends_then(self, port: Accounts) -> None:
        record, role, item = user(), Role(name=uuid4().hex), permission()
        await port.write([record])
        await port.roles.create(role)
        await port.roles.define(item)
        await port.roles.grant(role.name, item.name)
        soon = datetime.now(UTC) + timedelta(hours=1)
        await port.roles.assign(record.id, role.name, expires_at=soon)
        assert await port.roles.permissions_of(record.id) == [item]
        await port.roles.assign(record.id, role.name, expires_at=soon - timedelta(hours=2))
        assert await port.roles.permissions_of(record.id) == []
        with pytest.raises(ValidationError, match="time zone"):
            await port.roles.assign(record.id, role.name, expires_at=soon.replace(tzinfo=None))

    async def test_a_locked_user_may_do_nothing(self, port: Accounts) -> None:
        record, role = user(), Role(name=uuid4().hex)
        await port.write([record])
        await port.roles.create(role)
        await port.roles.assign(record.id, role.name)
        await port.write([self.changed(record)])
        assert await port.roles.roles_of(record.id) == []

    async def test_what_is_not_there_cannot_be_granted(self, port: Accounts) -> None:
        record, role, item = user(), Role(name=uuid4().hex), permission()
        await port.write([record])
        await port.roles.create(role)
        await port.roles.define(item)
        for call, what in (
            (port.roles.grant("none", item.name), "role"),
            (port.roles.grant(role.name, "none"), "permission"),
            (port.roles.assign(record.id, "none"), "role"),
            (port.roles.assign(uuid4(), role.name), "user"),
            (port.roles.assign(record.id, role.name, granted_by=uuid4()), "granter"),
            (port.roles.unassign(uuid4(), role.name), "user"),
            (port.roles.delete("none"), "role"),
        ):
            with pytest.raises(NotFoundError, match=what):
                await call

    async def test_a_role_is_created_once(self, port: Accounts) -> None:
        role = Role(name=uuid4().hex)
        await port.roles.create(role)
        with pytest.raises(ConflictError):
            await port.roles.create(Role(name=role.name))
        assert role in await port.roles.roles()

    async def test_a_permission_keeps_its_meaning(self, port: Accounts) -> None:
        item = permission()
        await port.roles.define(item)
        await port.roles.define(item.model_copy(update={"description": "better"}))
        for changed in ({"action": "other"}, {"name": uuid4().hex}):
            with pytest.raises(ConflictError):
                await port.roles.define(item.model_copy(update=changed))

    async def test_roles_of_another_tenant_are_not_there(
        self, port: Accounts, other: Accounts
    ) -> None:
        mine, theirs, role = user(), user(), Role(name=uuid4().hex)
        await port.write([mine])
        await other.write([theirs])
        await port.roles.create(role)
        assert role not in await other.roles.roles()
        for call in (
            other.roles.assign(theirs.id, role.name),
            port.roles.assign(theirs.id, role.name),
            other.roles.delete(role.name),
        ):
            with pytest.raises(NotFoundError):
                await call

    async def test_without_a_tenant_there_are_no_roles_and_sessions(self, port: Accounts) -> None:
        nobody = port.within(NOBODY)
        for call in (
            nobody.roles.create(Role(name=uuid4().hex)),
            nobody.roles.grant("a", "b"),
            nobody.roles.assign(SYSTEM_USER, "a"),
            nobody.sessions.open(SYSTEM_USER, ip_address=HERE),
            nobody.sessions.revoke_all(SYSTEM_USER),
        ):
            with pytest.raises(TenantRequiredError):
                await call
        assert await nobody.roles.roles() == []
        assert await nobody.roles.permissions_of(SYSTEM_USER) == []
        assert await nobody.sessions.of(SYSTEM_USER) == []

    async def test_a_token_proves_its_session(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        opened = await port.sessions.open(record.id, ip_address=HERE, user_agent="test")
        found = await port.sessions.find(opened.token.get_secret_value())
        assert found == opened.session
        assert (found.user_id, found.ip_address, found.user_agent) == (record.id, HERE, "test")
        assert found.expires_at > found.created_at
        assert tenant_of(opened.token.get_secret_value()) == SYSTEM_TENANT

    async def test_no_other_text_proves_a_session(self, port: Accounts, other: Accounts) -> None:
        record = user()
        await port.write([record])
        opened = await port.sessions.open(record.id, ip_address=HERE)
        token = opened.token.get_secret_value()
        for text in ("", "x", token[:-1], token + "x", opened.refresh_token.get_secret_value()):
            with pytest.raises(NotFoundError):
                await port.sessions.find(text)
        for accounts in (other, port.within(NOBODY)):
            with pytest.raises(NotFoundError):
                await accounts.sessions.find(token)

    async def test_refreshing_makes_the_old_tokens_void(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        first = await port.sessions.open(record.id, ip_address=HERE)
        second = await port.sessions.refresh(first.refresh_token.get_secret_value())
        assert second.session.id == first.session.id
        assert await port.sessions.find(second.token.get_secret_value()) == second.session
        with pytest.raises(NotFoundError):
            await port.sessions.find(first.token.get_secret_value())
        with pytest.raises(NotFoundError):
            await port.sessions.refresh(first.refresh_token.get_secret_value())

    async def test_a_refresh_token_is_good_once(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        opened = await port.sessions.open(record.id, ip_address=HERE)
        token = opened.refresh_token.get_secret_value()
        results = await asyncio.gather(
            *(port.sessions.refresh(token) for _ in range(5)), return_exceptions=True
        )
        assert [type(result) for result in results].count(NotFoundError) == 4

    async def test_a_revoked_session_has_ended(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        opened = [await port.sessions.open(record.id, ip_address=HERE) for _ in range(3)]
        assert [s.id for s in await port.sessions.of(record.id)] == [
            item.session.id for item in reversed(opened)
        ]
        await port.sessions.revoke(opened[0].session.id)
        with pytest.raises(NotFoundError):
            await port.sessions.revoke(opened[0].session.id)
        assert await port.sessions.revoke_all(record.id) == 2
        assert await port.sessions.of(record.id) == []
        for item in opened:
            with pytest.raises(NotFoundError):
                await port.sessions.find(item.token.get_secret_value())
            with pytest.raises(NotFoundError):
                await port.sessions.refresh(item.refresh_token.get_secret_value())

    async def test_sessions_end_with_their_user(self, port: Accounts) -> None:
        record = user()
        await port.write([record])
        opened = await port.sessions.open(record.id, ip_address=HERE)
        await port.write([self.changed(record)])
        with pytest.raises(NotFoundError):
            await port.sessions.find(opened.token.get_secret_value())
        with pytest.raises(NotFoundError):
            await port.sessions.open(record.id, ip_address=HERE)
