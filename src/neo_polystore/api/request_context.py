"""What surrounds every request: its id in logs and answer, headers, and its count.

Request id, trace id, tenant, service and user are in the log's context (`ops.log_context`) while a
request is worked on, so every line that is logged on its behalf carries them.
"""

from __future__ import annotations

import re
from itertools import count
from time import perf_counter
from typing import Final
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neo_polystore.api.addressed import Addressed
from neo_polystore.api.errors import unexpected
from neo_polystore.api.logged import RequestLines
from neo_polystore.ops import log_context
from neo_polystore.ops.telemetry.http import UNROUTED, HttpCounts

_REQUEST_ID: Final = re.compile(rb"[\w.:/+=-]{1,128}")
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")

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
    """ASGI middleware around all others but the one that traces.

    `addressed` refuses what is not meant for this server; `https` tells browsers to come by TLS
    only. Answers are counted in `counts` when their last byte is sent; one that broke off before it
    began is a 500. `lines` are the log's; `trace_ids` says whether the trace in a caller's
    `traceparent` (W3C) is in them, because nobody else puts one there.
    What nobody caught is answered with a problem document, and raised on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        counts: HttpCounts,
        addressed: Addressed,
        https: bool = False,
        lines: RequestLines | None = None,
        trace_ids: bool = True,
    ):
        self._app = app
        self._counts = counts
        self._lines = lines or RequestLines("none")
        self._trace_ids = trace_ids
        self._addressed = addressed
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
        request_id = scope.setdefault("state", {})["request_id"] = identity.decode()
        path: str = scope["path"]
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *self._headers, (b"x-request-id", identity)]
                headers.append(_PAGE if path.startswith("/docs") else _NOTHING)
                if path.startswith("/api/") and b"cache-control" not in dict(headers):
                    headers.append(_NOT_KEPT)
                message["headers"] = headers
            await send(message)

        logged = log_context.begin(request_id=request_id)
        if self._trace_ids and (found := _TRACE.fullmatch(given.get(b"traceparent", b""))):
            log_context.add({"trace_id": found[1].decode()})
        self._counts.in_flight += 1
        started = perf_counter()
        try:
            refused = self._addressed.refusal(scope["method"], path, given)
            await (refused or self._app)(scope, receive, sending)
        except Exception:
            if not status:
                await unexpected(path)(scope, receive, sending)
            raise  # the log's context stays: the server logs the traceback, with this request's id
        finally:
            self._counts.in_flight -= 1
            self._ended(scope, status or 500, perf_counter() - started)
        log_context.end(logged)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        self._counts.add(route=route, method=scope["method"], status=status, seconds=seconds)
        self._lines.ended(scope, status, seconds)


_LOOKED_AT: Final = frozenset(
    {b"x-request-id", b"host", b"origin", b"sec-fetch-site", b"traceparent"}
)
