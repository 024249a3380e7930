"""Who is it, and may he: two ASGI layers around the routes, before any body is read.

`Authenticated` finds out who calls and lets everybody on; `Authorized`, behind the rate limits,
refuses. So refusals are counted by the limits as well, and wherever a route comes from, nothing
reaches it but what the table of permissions speaks of.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from neo_polystore.api.errors import problem_of
from neo_polystore.api.received import Bounds, has_body
from neo_polystore.api.responses import problem_response
from neo_polystore.auth.authenticator import Authenticator
from neo_polystore.auth.permissions import PUBLIC, is_allowed, reaches_across_tenants
from neo_polystore.auth.principal import Principal
from neo_polystore.auth.rulebook import Found, Rulebook
from neo_polystore.errors import ForbiddenError, PolystoreError, UnauthenticatedError
from neo_polystore.ops import log_context
from neo_polystore.records.scope import Scope as Acting

_REALM: Final = b'Bearer realm="neo-polystore"'
_INVALID: Final = _REALM + b', error="invalid_token"'
_INSUFFICIENT: Final = _REALM + b', error="insufficient_scope"'

_logger = structlog.get_logger(__name__)


class Authenticated:
    """Leaves a `Principal` in the request's state, or why what was sent proves none."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, local: Acting | None):
        self._app = app
        self._authenticator = authenticator
        self._local = Principal(local) if local is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls, and go on."""
        if scope["type"] == "http":
            state = scope.setdefault("state", {})
            try:
                token = _sent(scope)
                if token is None:
                    state["principal"] = self._local if _arrived_on_loopback(scope) else None
                else:
                    found = await self._authenticator.principal(token)
                    state["principal"] = found
                    log_context.add(found.logged)
            except PolystoreError as error:
                state["principal"], state["refused"] = None, error
        await self._app(scope, receive, send)


class Authorized:
    """Lets a request on to its route, or answers 401, 403, 404 or 405.

    `public` are the templates of routes that ask for no token. Where the request does not come
    from the installation itself (see `Authenticated`), what has no rule does not exist.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: Rulebook,
        public: frozenset[str],
        home: frozenset[object],
        bounds: Bounds,
    ):
        self._app = app
        self._rules = rules
        self._public = public
        self._home = home
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on, or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # nothing here speaks another protocol
        state = scope["state"]
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        found = self._rules.find(scope["method"], path)
        error = state.get("refused") or self._refusal(state["principal"], found)
        if error is not None:
            if found is not None and state["principal"] is not None:
                scope["route"] = found.rule  # for those who count and record
            await self._refuse(error, scope, receive, send)
        elif state["principal"] is None or state["principal"].is_proven:
            if found is None or found.rule is None:
                await _answer_missing(found, scope, receive, send)
            else:
                await self._let(found, scope, receive, send)
        else:
            await self._let(found, scope, receive, send)

    def _refusal(self, principal: Principal | None, found: Found | None) -> PolystoreError | None:
        if principal is not None and not principal.is_proven:
            return None
        rule = found.rule if found is not None else None
        if rule is not None and (rule.permission == PUBLIC or rule.path in self._public):
            return None
        if principal is None:
            return UnauthenticatedError("a token is needed: Authorization: Bearer ...")
        if rule is None or found is None:
            return None
        if not is_allowed(principal.roles, found.permission):
            held = ", ".join(sorted(principal.roles)) or "none"
            return ForbiddenError(f"this takes the permission {found.permission}; roles: {held}")
        if reaches_across_tenants(found.permission) and principal.scope.tenant not in self._home:
            return ForbiddenError(f"{found.permission} is for the platform's own tenant")
        return None

    async def _let(self, found: Found | None, scope: Scope, receive: Receive, send: Send) -> None:
        if not has_body(scope):
            await self._app(scope, receive, send)
            return
        streams = found is not None and found.rule is not None and found.rule.streams
        refused = None if streams else self._bounds.refusal(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, self._bounds.received(receive, streams=streams), send)

    async def _refuse(
        self, error: PolystoreError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = problem_of(error, scope["path"])
        client = scope.get("client")
        _logger.warning(
            "request refused",
            status=int(answer.status_code),
            why=error.message,
            method=scope["method"],
            path=scope["path"][:200],
            address=client[0] if client else None,
        )
        if isinstance(error, UnauthenticatedError):
            challenge = _INVALID if "refused" in scope["state"] else _REALM
            answer.raw_headers.append((b"www-authenticate", challenge))
        elif isinstance(error, ForbiddenError):
            answer.raw_headers.append((b"www-authenticate", _INSUFFICIENT))
        if has_body(scope):
            answer.raw_headers.append((b"connection", b"close"))  # nobody reads what is coming
        await answer(scope, receive, send)


def _sent(scope: Scope) -> str | None:
    """The token of the request, or None; UnauthenticatedError where it cannot be told which."""
    found: list[tuple[bytes, bytes]] = [
        (name, value)
        for name, value in scope["headers"]
        if name == b"authorization" or name == b"x-api-key"
    ]
    if not found:
        return None
    if len(found) > 1:
        raise UnauthenticatedError("the token is refused: there is more than one")
    name, value = found[0]
    text = value.decode("latin-1").strip()
    if name == b"x-api-key":
        return text
    kind, _, token = text.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("the token is refused: expected Authorization: Bearer ...")
    return token.strip()


def _arrived_on_loopback(scope: Scope) -> bool:
    """Whether our end of the connection is this machine's own address (or no network at all)."""
    server: Any = scope.get("server")
    try:
        return server is None or ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return True


async def _answer_missing(found: Found | None, scope: Scope, receive: Receive, send: Send) -> None:
    status, title = (404, "Not Found") if found is None else (405, "Method Not Allowed")
    answer = problem_response(status=status, title=title, detail=title, instance=scope["path"])
    if found is not None:
        answer.headers["Allow"] = ", ".join(sorted(found.allowed))
    await answer(scope, receive, send)
