"""What the table shows of logins: hashes, counts, locks, encrypted secrets; nothing in clear."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from ipaddress import IPv6Address
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from pydantic import SecretStr

from neo_polystore.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    TenantRequiredError,
    ValidationError,
)
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import User
from neo_polystore.records.scope import NOBODY, SYSTEM
from neo_polystore.stores.postgres.config import PostgresConfig
from neo_polystore.stores.postgres.encryption import SecretBox
from neo_polystore.stores.postgres.store import PostgresStore

KEY = SecretStr(b64encode(b"k" * 32).decode())
SECRET = b"twenty bytes, secret"
HERE = IPv6Address("2001:db8::7")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(postgres: PostgresStore) -> AsyncIterator[PostgresStore]:
    """The same database with stricter rules and a key for secrets."""
    rules = {"login_attempts": 3, "login_lock": 60.0, "session_lifetime": 60.0, "secrets_key": KEY}
    opened = PostgresStore(PostgresConfig(**dict(postgres.config)).model_copy(update=rules))
    await opened.connect()
    yield opened
    await opened.close()


@pytest.fixture
def accounts(store: PostgresStore) -> Accounts:
    """Accounts of the system tenant."""
    port: Accounts = store.port("accounts")
    return port.within(SYSTEM)


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A new user with a password."""
    name = uuid4().hex
    made = User(email=f"{name}@example.org", username=name, password=SecretStr("right"))
    await accounts.write([made])
    return made


async def column(store: PostgresStore, user: UUID, name: str) -> Any:
    """One column of the user's row."""
    async with store._database.reading("test", SYSTEM) as connection:
        return await connection.fetchval(f"SELECT {name} FROM auth.users WHERE id = $1", user)


async def change(store: PostgresStore, sql: str, *arguments: Any) -> None:
    """Change rows past the port."""
    async with store._database.transaction("test", SYSTEM) as connection:
        await connection.execute(sql, *arguments)


async def refused(accounts: Accounts, user: User, password: str) -> None:
    """Try a password that must not be accepted."""
    with pytest.raises(NotFoundError):
        await accounts.verify_password(user.username, password)


async def test_a_password_is_stored_as_argon2id(store: PostgresStore, user: User) -> None:
    assert (await column(store, user.id, "password_hash")).startswith("$argon2id$v=19$")


async def test_wrong_passwords_are_counted_and_the_right_one_ends_it(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    await refused(accounts, user, "wrong")
    await refused(accounts, user, "wrong")
    assert await column(store, user.id, "failed_login_attempts") == 2
    assert await column(store, user.id, "last_login_at") is None
    await accounts.verify_password(user.username, "right")
    assert await column(store, user.id, "failed_login_attempts") == 0
    assert await column(store, user.id, "last_login_at") is not None


async def test_the_last_attempt_locks_for_the_time_of_the_settings(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    for _ in range(3):
        await refused(accounts, user, "wrong")
    left = await column(store, user.id, "extract(epoch FROM locked_until - clock_timestamp())")
    assert 50 < left <= 60
    await refused(accounts, user, "right")
    await refused(accounts, user, "wrong")
    assert await column(store, user.id, "failed_login_attempts") == 3


async def test_after_the_lock_the_count_begins_anew(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    for _ in range(3):
        await refused(accounts, user, "wrong")
    await change(store, "UPDATE auth.users SET locked_until = now() WHERE id = $1", user.id)
    await refused(accounts, user, "wrong")
    assert await column(store, user.id, "failed_login_attempts") == 1
    assert (await accounts.verify_password(user.username, "right")).id == user.id


async def test_attempts_at_once_are_counted_each(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    await asyncio.gather(*(refused(accounts, user, f"wrong {n}") for n in range(8)))
    assert await column(store, user.id, "failed_login_attempts") == 3
    await refused(accounts, user, "right")


async def test_wrong_passwords_in_a_unit_of_work_count_with_it(
    store: PostgresStore, user: User
) -> None:
    async with store.unit_of_work(tenant=SYSTEM_TENANT) as uow:
        await refused(uow.port("accounts"), user, "wrong")
    assert await column(store, user.id, "failed_login_attempts") == 1


async def test_a_cheaper_hash_is_renewed_at_the_next_login(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("right")
    await change(store, "UPDATE auth.users SET password_hash = $2 WHERE id = $1", user.id, cheap)
    await refused(accounts, user, "wrong")
    assert await column(store, user.id, "password_hash") == cheap
    await accounts.verify_password(user.username, "right")
    stored = await column(store, user.id, "password_hash")
    assert not PasswordHasher().check_needs_rehash(stored)
    await accounts.verify_password(user.username, "right")
    assert await column(store, user.id, "password_hash") == stored


def code(steps: int = 0, secret: bytes = SECRET) -> str:
    """What the authenticator shows, some steps of 30 s from now."""
    totp = TOTP(secret, 6, SHA1(), 30)  # noqa: S303
    return totp.generate(int(time.time()) + 30 * steps).decode()


async def test_an_authenticators_secret_is_encrypted_at_rest(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    stored = await column(store, user.id, "mfa_secret")
    for clear in (SECRET.decode(), b64encode(SECRET).decode(), SECRET.hex()):
        assert clear not in stored
    assert (await accounts.get(user.key)).mfa_enabled
    uri = await accounts.mfa_uri(user.id, issuer="Neo: x")
    assert uri.get_secret_value().startswith("otpauth://totp/Neo%3A%20x:")
    await accounts.set_mfa_secret(user.id, None)
    assert await column(store, user.id, "mfa_secret") is None
    assert not (await accounts.get(user.key)).mfa_enabled


async def test_a_code_is_accepted_once(accounts: Accounts, user: User) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    shown = code()
    assert (await accounts.verify_totp(user.id, shown)).id == user.id
    for again in (shown, code(-1)):
        with pytest.raises(NotFoundError):
            await accounts.verify_totp(user.id, again)
    assert (await accounts.verify_totp(user.id, code(1))).id == user.id


async def test_of_the_same_code_at_once_one_is_accepted(accounts: Accounts, user: User) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    shown = code()
    results = await asyncio.gather(
        *(accounts.verify_totp(user.id, shown) for _ in range(3)), return_exceptions=True
    )
    assert [isinstance(result, User) for result in results].count(True) == 1


@pytest.mark.parametrize("wrong", ["", "abc", "é", "12345", "1234567", "-12345", "\x00"])
async def test_what_is_no_code_is_refused(accounts: Accounts, user: User, wrong: str) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    with pytest.raises(NotFoundError):
        await accounts.verify_totp(user.id, wrong)


async def test_wrong_codes_lock_even_between_right_passwords(
    accounts: Accounts, user: User
) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    for _ in range(3):
        await accounts.verify_password(user.username, "right")
        with pytest.raises(NotFoundError):
            await accounts.verify_totp(user.id, code(5))
    await refused(accounts, user, "right")
    with pytest.raises(NotFoundError):
        await accounts.verify_totp(user.id, code())


async def test_an_old_code_is_refused(accounts: Accounts, user: User) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    for steps in (-3, 4):
        with pytest.raises(NotFoundError):
            await accounts.verify_totp(user.id, code(steps))


async def test_a_secret_moved_to_another_user_is_refused(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    await accounts.set_mfa_secret(user.id, SECRET)
    name = uuid4().hex
    other = User(email=f"{name}@example.org", username=name)
    await accounts.write([other])
    await change(
        store,
        "UPDATE auth.users SET mfa_enabled = true,"
        " mfa_secret = (SELECT mfa_secret FROM auth.users WHERE id = $2) WHERE id = $1",
        other.id,
        user.id,
    )
    with pytest.raises(IntegrityError):
        await accounts.verify_totp(other.id, code())


async def test_mfa_needs_a_key(postgres: PostgresStore, user: User) -> None:
    accounts = postgres.port("accounts").within(SYSTEM)
    with pytest.raises(ConfigError, match="NEO_SECRETS_KEY"):
        await accounts.set_mfa_secret(user.id, SECRET)
    assert await accounts.verify_password(user.username, "right")


async def test_a_secret_has_its_length_its_user_and_its_tenant(
    accounts: Accounts, user: User
) -> None:
    for secret in (b"", b"x" * 15, b"x" * 65):
        with pytest.raises(ValidationError, match="bytes"):
            await accounts.set_mfa_secret(user.id, secret)
    with pytest.raises(NotFoundError):
        await accounts.set_mfa_secret(uuid4(), SECRET)
    with pytest.raises(TenantRequiredError):
        await accounts.within(NOBODY).set_mfa_secret(user.id, SECRET)
    with pytest.raises(NotFoundError):
        await accounts.mfa_uri(user.id, issuer="x")


def test_another_key_is_named_and_an_altered_secret_noticed() -> None:
    box = SecretBox(KEY)
    sealed = box.encrypt(SECRET, place="here")
    assert box.decrypt(sealed, place="here") == SECRET
    assert box.encrypt(SECRET, place="here") != sealed
    with pytest.raises(ConfigError, match="another key"):
        SecretBox(SecretStr("ab" * 32)).decrypt(sealed, place="here")
    for wrong in ("", "v1.x", "a.b.c", sealed[:-8], "v0" + sealed[2:-4] + "AAAA"):
        with pytest.raises((IntegrityError, ConfigError)):
            box.decrypt(wrong, place="here")
    with pytest.raises(IntegrityError):
        box.decrypt(sealed, place="there")


@pytest.mark.parametrize("key", [None, "", "short", "zz" * 32, "ab" * 31, b64encode(b"x").decode()])
def test_a_key_that_is_none_is_refused(key: str | None) -> None:
    with pytest.raises(ConfigError, match="NEO_SECRETS_KEY"):
        SecretBox(None if key is None else SecretStr(key))


async def test_no_token_is_stored(store: PostgresStore, accounts: Accounts, user: User) -> None:
    opened = await accounts.sessions.open(user.id, ip_address=HERE)
    async with store._database.reading("test", SYSTEM) as connection:
        row = await connection.fetchval(
            "SELECT s::text FROM auth.sessions s WHERE id = $1", opened.session.id
        )
    for token in (opened.token, opened.refresh_token):
        assert token.get_secret_value().partition(".")[2] not in row
        assert token.get_secret_value() not in repr(opened)


async def test_an_expired_session_can_only_be_refreshed_and_not_for_ever(
    store: PostgresStore, accounts: Accounts, user: User
) -> None:
    opened = await accounts.sessions.open(user.id, ip_address=HERE)
    past = "UPDATE auth.sessions SET expires_at = now() - $2::interval WHERE id = $1"
    async with store._database.transaction("test", SYSTEM) as connection:
        sql = past.replace("$2::interval", "interval '1 hour'")
        await connection.execute(sql, opened.session.id)
    with pytest.raises(NotFoundError):
        await accounts.sessions.find(opened.token.get_secret_value())
    opened = await accounts.sessions.refresh(opened.refresh_token.get_secret_value())
    assert await accounts.sessions.find(opened.token.get_secret_value())
    async with store._database.transaction("test", SYSTEM) as connection:
        sql = past.replace("$2::interval", "interval '15 days'")
        await connection.execute(sql, opened.session.id)
    with pytest.raises(NotFoundError):
        await accounts.sessions.refresh(opened.refresh_token.get_secret_value())


async def test_a_system_role_stays(store: PostgresStore, accounts: Accounts) -> None:
    name = uuid4().hex
    await change(
        store,
        "INSERT INTO auth.roles (tenant_id, name, is_system) VALUES ($1, $2, true)",
        SYSTEM_TENANT,
        name,
    )
    with pytest.raises(ConflictError, match="system role"):
        await accounts.roles.delete(name)
    assert name in {role.name for role in await accounts.roles.roles()}


async def test_roles_and_sessions_take_part_in_a_unit_of_work(
    store: PostgresStore, user: User
) -> None:
    with pytest.raises(RuntimeError):
        async with store.unit_of_work(tenant=SYSTEM_TENANT) as uow:
            opened = await uow.port("accounts").sessions.open(user.id, ip_address=HERE)
            token = opened.token.get_secret_value()
            assert await uow.port("accounts").sessions.find(token)
            raise RuntimeError
    with pytest.raises(NotFoundError):
        await store.port("accounts").within(SYSTEM).sessions.find(token)
