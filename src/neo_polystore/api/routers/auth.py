"""Logins, sessions and API keys over HTTP."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from neo_polystore.api.clients import own_address
from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal, CurrentScope
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.auth.authenticator import Authenticator
from neo_polystore.auth.principal import Principal
from neo_polystore.auth.provision import create_api_key
from neo_polystore.errors import NotFoundError, UnauthenticatedError, UsageError
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import OpenSession, User, tenant_of
from neo_polystore.records.scope import Scope

router = APIRouter(prefix="/api/auth", tags=["auth"])

REFUSED = "name, password or code is wrong, or the account is locked"

_PROBLEM: dict[str, Any] = {"model": Problem}
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: _PROBLEM,
    401: {**_PROBLEM, "description": "Refused; nothing says which part was wrong."},
    422: _PROBLEM,
    503: _PROBLEM,
}
_CHANGED: dict[int | str, dict[str, Any]] = {400: _PROBLEM, 403: _PROBLEM, 503: _PROBLEM}

RoleName = Literal["admin", "operator", "auditor", "service", "reader"]


class Login(BaseModel):
    """Who logs in. The tenant may be left out where this installation belongs to one."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(min_length=1, max_length=255)
    password: SecretStr = Field(max_length=1024)
    code: str | None = Field(
        None, max_length=16, description="the authenticator's, where asked for"
    )
    tenant: UUID | None = None


class Refresh(BaseModel):
    """What a login or refresh gave."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: SecretStr = Field(max_length=1024)


class Logout(BaseModel):
    """Which sessions end: this one, or all of the user's."""

    model_config = ConfigDict(extra="forbid")

    everywhere: bool = False


class NewKey(BaseModel):
    """A key for a program of the tenant. Only the platform's own tenant names services."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    roles: list[RoleName] = Field(min_length=1, max_length=5)
    service: str | None = Field(None, min_length=1, max_length=100)
    expires_at: AwareDatetime | None = None


@router.post("/login", summary="Log in", responses=_REFUSED)
async def login(given: Login, request: Request, polystore: CurrentPolystore) -> Response:
    """Begin a session by name and password, and by the authenticator's code where one is set.

    Wrong ones in a row lock the user for a while.
    """
    tenant = given.tenant or request.app.state.scope.tenant
    if tenant is None:
        raise UsageError("name the tenant")
    accounts = polystore.accounts.within(Scope(tenant=tenant))
    user = await _proven(accounts, given)
    try:
        opened = await accounts.sessions.open(
            user.id,
            ip_address=ip_address(_address(request)),
            user_agent=request.headers.get("user-agent", "")[:500] or None,
        )
    except NotFoundError:
        raise UnauthenticatedError(REFUSED) from None
    return _opened(request, tenant, opened)


@router.post("/refresh", summary="Exchange a refresh token", responses=_REFUSED)
async def refresh(given: Refresh, request: Request, polystore: CurrentPolystore) -> Response:
    """The same session under new tokens; the old ones are void."""
    token = given.refresh_token.get_secret_value()
    tenant = tenant_of(token)
    if tenant is None:
        raise UnauthenticatedError("the refresh token is refused")
    try:
        accounts = polystore.accounts.within(Scope(tenant=tenant))
        opened = await accounts.sessions.refresh(token)
    except NotFoundError:
        raise UnauthenticatedError("the refresh token is refused") from None
    return _opened(request, tenant, opened)


@router.post("/logout", summary="Log out", status_code=204, responses=_CHANGED)
async def logout(
    principal: CurrentPrincipal, polystore: CurrentPolystore, given: Logout | None = None
) -> Response:
    """End the session that the request came with, at once and in every process."""
    if principal.proof != "session" or principal.credential is None:
        raise UsageError("there is no session to end: the request came without one")
    sessions = polystore.accounts.within(principal.scope).sessions
    if given is not None and given.everywhere:
        await sessions.revoke_all(UUID(principal.scope.user))
    else:
        await sessions.revoke(principal.credential)
    return Response(status_code=204)


@router.get("/me", summary="Who the request comes from")
async def me(principal: CurrentPrincipal) -> Response:
    """Tenant, service, user, roles, and what proves them."""
    scope = principal.scope
    return json_response(
        {
            "tenant": scope.tenant,
            "service": scope.service,
            "user": scope.user,
            "roles": sorted(principal.roles),
            "proof": principal.proof,
            "expires_at": principal.expires_at,
        }
    )


@router.get("/keys", summary="API keys", responses=_CHANGED)
async def api_keys(polystore: CurrentPolystore, scope: CurrentScope) -> Response:
    """All of the tenant's, also those that have ended; never the keys themselves."""
    found = await polystore.accounts.within(scope).api_keys.list()
    return json_response({"keys": [key.model_dump(mode="json") for key in found]})


@router.post(
    "/keys",
    summary="Create an API key",
    status_code=201,
    responses={**_CHANGED, 409: {**_PROBLEM, "description": "The name was given before."}},
)
async def create(
    given: NewKey, request: Request, principal: CurrentPrincipal, polystore: CurrentPolystore
) -> Response:
    """The answer shows the key this once."""
    made = await create_api_key(
        polystore.accounts,
        principal.scope,
        name=given.name,
        roles=given.roles,
        service=given.service,
        expires_at=given.expires_at,
        may_name_services=_is_platform(request, principal),
    )
    shown = made.api_key.model_dump(mode="json") | {"token": made.token.get_secret_value()}
    return json_response(shown, 201)


@router.delete(
    "/keys/{key}",
    summary="Revoke an API key",
    status_code=204,
    responses={**_CHANGED, 404: {**_PROBLEM, "description": "No key of this id is valid."}},
)
async def revoke(
    key: UUID, request: Request, polystore: CurrentPolystore, scope: CurrentScope
) -> Response:
    """At once in this process; in others when they look it up again."""
    await polystore.accounts.within(scope).api_keys.revoke(key)
    authenticator: Authenticator = request.app.state.authenticator
    authenticator.forget()
    return Response(status_code=204)


async def _proven(accounts: Accounts, given: Login) -> User:
    try:
        user = await accounts.verify_password(given.username, given.password.get_secret_value())
        if user.mfa_enabled:
            if given.code is None:
                raise UnauthenticatedError("the authenticator's code is needed as well: `code`")
            user = await accounts.verify_totp(user.id, given.code)
    except NotFoundError:
        raise UnauthenticatedError(REFUSED) from None
    return user


def _opened(request: Request, tenant: UUID, opened: OpenSession) -> Response:
    session = opened.session
    scope = Scope(tenant=tenant, user=str(session.user_id))
    request.scope["state"]["principal"] = Principal(scope, proof="session", credential=session.id)
    return json_response(
        {
            "access_token": opened.token.get_secret_value(),
            "token_type": "Bearer",
            "expires_at": session.expires_at,
            "refresh_token": opened.refresh_token.get_secret_value(),
            "tenant": tenant,
            "user": session.user_id,
        }
    )


def _address(request: Request) -> str:
    """Of the client; of nobody where the server was reached by no network."""
    address = own_address(request.scope, request.app.state.trusted_proxies)
    try:
        return str(ip_address(address))
    except ValueError:
        return "127.0.0.1"


def _is_platform(request: Request, principal: Principal) -> bool:
    return not principal.is_proven or principal.scope.tenant == request.app.state.home
