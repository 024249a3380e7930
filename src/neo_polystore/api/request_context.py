"""What surrounds every request: its id in logs and answer, where it may be addressed to, headers.

Request id, trace id, tenant, service and user are in structlog's context variables while a request
is worked on, so every line that is logged on its behalf carries them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count
from time import perf_counter
from typing import Final
from uuid import uuid4

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, unbind_contextvars

from neo_polystore.api.logged import RequestLines
from neo_polystore.api.responses import problem_response

_REQUEST_ID: Final = re.compile(rb"[\w.:/+=-]{1,128}")
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_LOGGED: Final = ("request_id", "trace_id", "tenant", "service", "user")

_API: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOTHING: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGE: Final = (
    b"content-security-policy",
    (
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data:; frame-ancestors 'none'"
    ),
)
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class RequestContext:
    """ASGI middleware around all others but the one that counts.

    `hosts` are the names that requests may be addressed to (RFC 9110, 7.2), none: any. They keep
    a web page from reaching a server on its reader's own machine by a name of its own.
    `cross_site` says whether a request that a browser marks as another site's may change
    something: where no token is asked for, nothing else would keep that page from it.
    `https` tells browsers to come by TLS only. `lines` are the log's; `trace_ids` says whether the
    trace in a caller's `traceparent` (W3C) is in them, because nobody else puts one there.
    What nobody caught is answered with a problem document, and raised on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] = (),
        cross_site: bool = True,
        origins: Collection[str] = (),
        https: bool = False,
        lines: RequestLines | None = None,
        trace_ids: bool = True,
    ):
        self._app = app
        self._lines = lines or RequestLines("none")
        self._trace_ids = trace_ids
        self._hosts = frozenset(host.lower() for host in hosts)
        self._cross_site = cross_site
        self._origins = frozenset(origins)
        # unique like a UUID, and much cheaper: nobody has to be kept from guessing it
        self._process = uuid4().hex.encode()
        self._numbers = count(1)
        self._headers = (*_API, _HTTPS_ONLY) if https else _API

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, within the context."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {name: value for name, value in scope["headers"] if name in _LOOKED_AT}
        identity = given.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(identity):
            identity = b"%s-%x" % (self._process, next(self._numbers))
        state = scope.setdefault("state", {})
        state["request_id"] = identity.decode()
        path: str = scope["path"]
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                headers += self._headers
                headers.append((b"x-request-id", identity))
                headers.append(_PAGE if path.startswith("/docs") else _NOTHING)
                if path.startswith("/api/") and all(
                    name != b"cache-control" for name, _ in headers
                ):
                    headers.append(_NOT_KEPT)
                message["headers"] = headers
            await send(message)

        bind_contextvars(request_id=state["request_id"])
        if self._trace_ids and (found := _TRACE.fullmatch(given.get(b"traceparent", b""))):
            bind_contextvars(trace_id=found[1].decode())
        started = perf_counter()
        try:
            await self._answered(scope, receive, sending, given)
        except Exception:
            if not status:
                await _unexpected(path)(scope, receive, sending)
            self._lines.ended(scope, status, perf_counter() - started)
            raise  # what is bound stays so: the server logs the traceback, with this request's id
        self._lines.ended(scope, status, perf_counter() - started)
        unbind_contextvars(*_LOGGED)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, given: dict[bytes, bytes]
    ) -> None:
        refused = self._refused(scope["method"], given)
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, (title, why) = refused
        answer = problem_response(status=status, title=title, detail=why, instance=scope["path"])
        await answer(scope, receive, send)

    def _refused(
        self, method: str, given: dict[bytes, bytes]
    ) -> tuple[int, tuple[str, str]] | None:
        host = given.get(b"host", b"").decode("latin-1")
        if self._hosts and _name(host) not in self._hosts:
            return 421, ("Misdirected Request", "this server does not go by that name")
        if self._cross_site or method in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = given.get(b"origin", b"").decode("latin-1")
        foreign = given.get(b"sec-fetch-site") == b"cross-site" or (
            origin and origin.partition("://")[2] != host
        )
        if foreign and origin not in self._origins:
            return 403, ("Forbidden", "a page of another site may not change anything here")
        return None


_LOOKED_AT: Final = frozenset(
    {b"x-request-id", b"host", b"origin", b"sec-fetch-site", b"traceparent"}
)


def _unexpected(path: str) -> Response:
    return problem_response(
        status=500,
        title="Internal Server Error",
        detail="something failed that should not; the log has it under this X-Request-Id",
        instance=path,
    )


def _name(host: str) -> str:
    """The host without its port, in lower case; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
