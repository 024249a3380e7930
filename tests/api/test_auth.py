"""Logins, sessions, API keys and tokens over HTTP: what opens, what does not, who is recorded."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
import structlog
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from pydantic import SecretStr

from neo_polystore.auth.authenticator import Authenticator
from neo_polystore.auth.provision import assign_roles, create_api_key, create_user
from neo_polystore.build import open_polystore
from neo_polystore.errors import ConflictError, UnauthenticatedError, ValidationError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops import log_context
from neo_polystore.polystore import Polystore
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings
from tests.api.conftest import client_of
from tests.api.protected import bearer, protected_api
from tests.auth.signing import SECRET, hs256

PASSWORD = "correct horse battery staple"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    async with protected_api(settings, polystore) as client:
        yield client


@pytest.fixture
async def accounts(polystore: Polystore) -> Accounts:
    """Those of a tenant of the test's own."""
    tenant = Tenant(name="test", identifier=f"t-{uuid4().hex[:12]}")
    await polystore.accounts.create_tenant(tenant)
    return polystore.accounts.within(Scope(tenant=tenant.id))


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """Somebody with a password who reads."""
    found = User(email="ann@example.com", username="ann", password=SecretStr(PASSWORD))
    await create_user(accounts, found, ["reader"])
    return found


async def login(
    api: httpx.AsyncClient, accounts: Accounts, password: str = PASSWORD, **more: Any
) -> httpx.Response:
    tenant = (await accounts.get_tenant()).id
    body = {"username": "ann", "password": password, "tenant": str(tenant), **more}
    return await api.post("/api/auth/login", json=body)


def token_of(answer: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_login_opens_what_the_users_roles_open(
    api: httpx.AsyncClient, accounts: Accounts, user: User
) -> None:
    answer = await login(api, accounts)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    me = (await api.get("/api/auth/me", headers=token_of(answer))).json()
    assert (me["user"], me["roles"], me["proof"]) == (str(user.id), ["reader"], "session")
    assert (await api.get("/api/store/networks", headers=token_of(answer))).status_code == 200
    assert (await api.post("/api/store/networks", headers=token_of(answer))).status_code == 403
    assert (await api.get("/api/auth/me")).status_code == 401


async def test_a_session_ends_at_once_for_everybody(
    api: httpx.AsyncClient, accounts: Accounts, user: User
) -> None:
    answer, other = await login(api, accounts), await login(api, accounts)
    assert (await api.post("/api/auth/logout", headers=token_of(answer))).status_code == 204
    assert (await api.get("/api/auth/me", headers=token_of(answer))).status_code == 401
    assert (await api.get("/api/auth/me", headers=token_of(other))).status_code == 200
    third = await login(api, accounts)
    everywhere = await api.post(
        "/api/auth/logout", json={"everywhere": True}, headers=token_of(third)
    )
    assert everywhere.status_code == 204
    for ended in (other, third):
        assert (await api.get("/api/auth/me", headers=token_of(ended))).status_code == 401


async def test_a_refresh_gives_new_tokens_and_voids_the_old(
    api: httpx.AsyncClient, accounts: Accounts, user: User
) -> None:
    old = await login(api, accounts)
    given = {"refresh_token": old.json()["refresh_token"]}
    new = await api.post("/api/auth/refresh", json=given)
    assert new.status_code == 200
    assert (await api.get("/api/auth/me", headers=token_of(new))).status_code == 200
    assert (await api.get("/api/auth/me", headers=token_of(old))).status_code == 401
    assert (await api.post("/api/auth/refresh", json=given)).status_code == 401
    # a refresh token opens nothing by itself
    as_token = {"Authorization": f"Bearer {new.json()['refresh_token']}"}
    assert (await api.get("/api/auth/me", headers=as_token)).status_code == 401


async def test_wrong_passwords_lock_the_user_and_all_refusals_look_alike(
    api: httpx.AsyncClient, accounts: Accounts, user: User
) -> None:
    answers = [await login(api, accounts, "wrong") for _ in range(5)]
    answers.append(await login(api, accounts))  # right, and locked
    answers.append(await login(api, accounts, username="nobody"))
    answers.append(await login(api, accounts, tenant=str(uuid4())))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_a_code_is_asked_for_where_an_authenticator_is_set(
    settings: Settings, accounts: Accounts, user: User, polystore: Polystore
) -> None:
    keyed = settings.model_copy(update={"neo_secrets_key": SecretStr("ab" * 32)})
    tenant = (await accounts.get_tenant()).id
    secret = os.urandom(20)
    async with open_polystore(keyed, data_types={"accounts"}) as own:
        await own.accounts.within(Scope(tenant=tenant)).set_mfa_secret(user.id, secret)
        async with protected_api(keyed, own) as api:
            without = await login(api, accounts)
            assert (without.status_code, "code" in without.json()["detail"]) == (401, True)
            assert (await login(api, accounts, code="000000")).status_code == 401
            code = TOTP(secret, 6, SHA1(), 30).generate(time.time()).decode()  # noqa: S303
            assert (await login(api, accounts, code=code)).status_code == 200
            assert (await login(api, accounts, code=code)).status_code == 401  # once


async def test_a_user_who_is_suspended_is_out_at_once(
    api: httpx.AsyncClient, accounts: Accounts, user: User, polystore: Polystore
) -> None:
    answer = await login(api, accounts)
    assert (await api.get("/api/auth/me", headers=token_of(answer))).status_code == 200
    await accounts.write([user.model_copy(update={"status": "suspended", "password": None})])
    assert (await api.get("/api/auth/me", headers=token_of(answer))).status_code == 401


async def create_key(api: httpx.AsyncClient, tenant: object, **more: Any) -> httpx.Response:
    body = {"name": f"key {uuid4().hex[:8]}", "roles": ["service"], **more}
    return await api.post("/api/auth/keys", json=body, headers=bearer("admin", tenant=str(tenant)))


async def test_an_api_key_acts_as_its_tenant_with_its_roles(
    api: httpx.AsyncClient, accounts: Accounts
) -> None:
    tenant = (await accounts.get_tenant()).id
    made = await create_key(api, tenant)
    assert made.status_code == 201, made.text
    for headers in (
        {"X-API-Key": made.json()["token"]},
        {"Authorization": f"bearer {made.json()['token']}"},
    ):
        me = (await api.get("/api/auth/me", headers=headers)).json()
        assert (me["tenant"], me["roles"], me["proof"]) == (str(tenant), ["service"], "api_key")
        assert me["user"] == f"api-key:{made.json()['id']}"
    listed = await api.get("/api/auth/keys", headers=bearer("admin", tenant=str(tenant)))
    assert made.json()["token"].rpartition(".")[2] not in listed.text
    assert [key["name"] for key in listed.json()["keys"]] == [made.json()["name"]]


async def test_a_revoked_or_expired_key_opens_nothing(
    api: httpx.AsyncClient, accounts: Accounts
) -> None:
    tenant = (await accounts.get_tenant()).id
    admin = bearer("admin", tenant=str(tenant))
    made = (await create_key(api, tenant)).json()
    headers = {"X-API-Key": made["token"]}
    assert (await api.get("/api/auth/me", headers=headers)).status_code == 200
    path = f"/api/auth/keys/{made['id']}"
    assert (await api.delete(path, headers=bearer("admin", tenant=str(uuid4())))).status_code == 404
    assert (await api.delete(path, headers=admin)).status_code == 204
    assert (await api.delete(path, headers=admin)).status_code == 404
    assert (await api.get("/api/auth/me", headers=headers)).status_code == 401
    assert (await create_key(api, tenant, name=made["name"])).status_code == 409
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    old = (await create_key(api, tenant, expires_at=past)).json()
    answer = await api.get("/api/auth/me", headers={"X-API-Key": old["token"]})
    assert answer.status_code == 401


async def test_a_key_that_was_changed_anywhere_is_refused(
    api: httpx.AsyncClient, accounts: Accounts
) -> None:
    tenant = (await accounts.get_tenant()).id
    mine, other = [(await create_key(api, tenant)).json()["token"] for _ in range(2)]
    prefix, owner, identity, secret = mine.split(".")
    forged = [
        f"{prefix}.{owner}.{identity}.{other.split('.')[3]}",
        f"{prefix}.{owner}.{identity}.{'A' * 43}",
        f"{prefix}.{SYSTEM_TENANT.hex}.{identity}.{secret}",
        f"{prefix}.{owner}.{uuid4().hex}.{secret}",
        f"{prefix}.{owner}.{identity}.",
        f"{prefix}.{owner}.{identity}",
        mine + "A",
        f"{prefix}....",
    ]
    for token in forged:
        answer = await api.get("/api/auth/me", headers={"X-API-Key": token})
        assert answer.status_code == 401, token


async def test_only_the_platforms_own_tenant_gives_keys_a_service(
    api: httpx.AsyncClient, accounts: Accounts
) -> None:
    tenant = (await accounts.get_tenant()).id
    assert (await create_key(api, tenant, service="oracle")).status_code == 403
    made = await create_key(api, SYSTEM_TENANT, service="oracle")
    me = await api.get("/api/auth/me", headers={"X-API-Key": made.json()["token"]})
    assert me.json()["service"] == "oracle"


async def test_a_key_holds_in_another_process_no_longer_than_it_is_remembered(
    polystore: Polystore, accounts: Accounts
) -> None:
    clock = [0.0]
    other = Authenticator(lambda: polystore.accounts, remember=5, clock=lambda: clock[0])
    scope = Scope(tenant=(await accounts.get_tenant()).id)
    made = await create_api_key(
        polystore.accounts, scope, name="k", roles=["reader"], may_name_services=False
    )
    token = made.token.get_secret_value()
    await other.principal(token)
    await accounts.api_keys.revoke(made.api_key.id)
    await other.principal(token)
    clock[0] = 5.1
    with pytest.raises(UnauthenticatedError):
        await other.principal(token)


async def test_tenants_see_their_own_keys_only(api: httpx.AsyncClient, accounts: Accounts) -> None:
    await create_key(api, (await accounts.get_tenant()).id)
    foreign = await api.get("/api/auth/keys", headers=bearer("admin", tenant=str(uuid4())))
    assert foreign.json() == {"keys": []}


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Basic YWRtaW46YWRtaW4=")],
        [("Authorization", "Bearer")],
        [("Authorization", "")],
        [("Authorization", "Bearer " + "A" * 9_000)],
        [("X-API-Key", "A" * 9_000)],
        [("X-API-Key", "")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        [("Authorization", f"Bearer {hs256()}"), ("X-API-Key", hs256())],
        [("Authorization", f"Bearer {hs256()} {hs256()}")],
        [("Authorization", "Bearer é.é.é")],
    ],
)
async def test_a_header_that_proves_nobody_is_refused(
    api: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    for path in ("/api/store/networks", "/health", "/api/auth/me", "/nowhere"):
        answer = await api.get(path, headers=raw)
        assert answer.status_code == 401, path
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_the_tenant_comes_from_the_token_alone(
    api: httpx.AsyncClient, accounts: Accounts, user: User
) -> None:
    tenant = str((await accounts.get_tenant()).id)
    sneaky = {"X-Tenant": tenant, "X-Tenant-Id": tenant}
    path = f"/api/store/accounts/{user.id}"
    mine = await api.get(path, headers=bearer("admin", tenant=tenant))
    assert (mine.status_code, mine.json()["username"]) == (200, "ann")
    foreign = bearer("admin", tenant=str(uuid4()))
    answer = await api.get(path, params={"tenant": tenant}, headers={**foreign, **sneaky})
    assert answer.status_code == 404
    none = await api.get(path, headers=bearer("admin", tenant=None))
    assert none.status_code == 404


async def test_requests_are_recorded_with_who_made_them(
    api: httpx.AsyncClient, accounts: Accounts, polystore: Polystore
) -> None:
    tenant = (await accounts.get_tenant()).id
    headers = bearer("service", tenant=str(tenant), sub="the importer")
    assert (await api.post("/api/store/networks", json=[], headers=headers)).status_code == 200
    denied = await api.post("/api/store/accounts", json=[], headers=headers)
    assert denied.status_code == 403
    trail = polystore.audit.within(Scope(tenant=tenant))
    page = await trail.find(Query(filters=(Filter("user_id", "eq", "the importer"),)))
    found = {entry.body()["resource_id"]: entry.body()["success"] for entry in page.records}
    assert found == {"/api/store/networks": True, "/api/store/accounts": False}


async def test_nobody_records_entries_in_anothers_name(
    api: httpx.AsyncClient, accounts: Accounts
) -> None:
    tenant = str((await accounts.get_tenant()).id)
    entry = {"action": "READ", "resource": "wallet", "actor": "the director"}
    headers = bearer("service", tenant=tenant)
    assert (await api.post("/api/audit", json=entry, headers=headers)).status_code == 403
    del entry["actor"]
    made = (await api.post("/api/audit", json=entry, headers=headers)).json()
    read = await api.get(f"/api/audit/{made['id']}", headers=bearer("auditor", tenant=tenant))
    assert read.json()["user_id"] == "somebody"


async def test_logs_carry_request_tenant_and_user_and_no_secret(
    api: httpx.AsyncClient, accounts: Accounts, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    opened = (await login(api, accounts)).json()
    key = (await create_key(api, opened["tenant"])).json()["token"]
    secrets = [opened["access_token"], opened["refresh_token"], key, hs256(), PASSWORD]
    bodies = []
    capture = structlog.testing.LogCapture()
    processors: list[Any] = [log_context.merge, capture]
    with structlog.testing.capture_logs():
        structlog.configure(processors=processors)
        for secret in [*secrets, *(text[:-2] + "xx" for text in secrets)]:
            headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": "r-1"}
            bodies += [
                await api.get(path, headers=headers)
                for path in ("/api/admin/routing", "/api/store/accounts", "/nowhere")
            ]
        bad = {"username": "ann", "password": "wrong but secret"}
        bodies.append(await api.post("/api/auth/login", json={**bad, "more": PASSWORD}))
        bodies.append(await api.post("/api/auth/login", content=f'{{"password": "{PASSWORD}"'))
    text = str(capture.entries) + caplog.text
    for answer in bodies:
        assert answer.status_code >= 400
        text += answer.text + str(answer.headers)
    for secret in [*secrets, "wrong but secret"]:
        assert secret not in text
        assert secret.rpartition(".")[2] not in text
    denied = next(e for e in capture.entries if e["why"].startswith("this takes"))
    assert (denied["request_id"], denied["user"]) == ("r-1", str(user.id))
    assert denied["tenant"] == opened["tenant"]
    assert log_context.merge(None, "", {}) == {}


async def test_the_embedded_profile_needs_no_token_and_honours_one(
    settings: Settings, polystore: Polystore
) -> None:
    keyed = settings.model_copy(update={"jwt_secret_key": SecretStr(SECRET)})
    async with client_of(keyed, polystore) as api:
        assert (await api.get("/api/admin/routing")).status_code == 200
        me = (await api.get("/api/auth/me")).json()
        assert (me["proof"], me["tenant"]) == ("none", str(SYSTEM_TENANT))
        assert (await api.get("/api/admin/routing", headers=bearer("reader"))).status_code == 403
        bad = {"Authorization": "Bearer nonsense"}
        assert (await api.get("/api/admin/routing", headers=bad)).status_code == 401


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("10.0.0.7", 401), ("::1", 200)])
async def test_without_a_token_only_loopback_is_served(
    settings: Settings, polystore: Polystore, host: str, status: int
) -> None:
    address = f"[{host}]" if ":" in host else host
    async with client_of(settings, polystore) as api:
        answer = await api.get(f"http://{address}/api/admin/routing")
    assert answer.status_code == status


async def test_rate_limits_know_clients_by_who_they_are(
    settings: Settings, polystore: Polystore, tmp_path: Any
) -> None:
    name = uuid4().hex[:8]
    file = tmp_path / "limits.toml"
    file.write_text(f'[policies.p-{name}]\nlimit = 2\n[routes]\n"/api/auth/me" = ["p-{name}"]\n')
    async with protected_api(settings, polystore, neo_limits=file) as api:

        async def asked(subject: str) -> int:
            headers = bearer("reader", sub=subject)
            return (await api.get("/api/auth/me", headers=headers)).status_code

        assert [await asked("ann") for _ in range(3)] == [200, 200, 429]
        assert await asked("ben") == 200
        anonymous = [(await api.get("/api/auth/me")).status_code for _ in range(3)]
        assert anonymous == [401, 401, 429]


async def test_users_get_roles_that_are_known_only(accounts: Accounts, user: User) -> None:
    with pytest.raises(ValidationError, match="no role root"):
        await assign_roles(accounts, user, ["root"])
    other = User(email="ann@example.com", username="other")
    with pytest.raises(ConflictError, match="email"):
        await create_user(accounts, other, ["reader"])
    await assign_roles(accounts, user, ["reader", "auditor"])
    assert [role.name for role in await accounts.roles.roles_of(user.id)] == ["auditor", "reader"]


def test_a_tenant_is_needed_to_log_in_where_there_is_no_own(settings: Settings) -> None:
    assert settings.model_copy(update={"neo_profile": "server"}).scope().tenant is None
    assert settings.home() == SYSTEM_TENANT
    own = UUID(int=7)
    assert settings.model_copy(update={"neo_tenant": own}).home() == own
