"""A span around every request; it is among the layers only where tracing is on."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neo_polystore import tracing
from neo_polystore.ops import log_context
from neo_polystore.ops.telemetry.http import UNROUTED

_CARRIED = frozenset({b"traceparent", b"tracestate"})


class Traced:
    """ASGI middleware around an application whose router leaves the route in the scope."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer within a span that tells method, route, status, tenant and service."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carried = {n.decode(): v.decode("latin-1") for n, v in scope["headers"] if n in _CARRIED}
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracing.request_span(scope["method"], carried) as span:
            trace = {} if span is None else {"trace_id": tracing.trace_id(span)}
            logged = log_context.begin(**trace)
            try:
                await self._app(scope, receive, sending)
                log_context.end(logged)  # not after an error: its traceback bears it
            finally:
                if span is not None:
                    route = getattr(scope.get("route"), "path", UNROUTED)
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", status)
                    state = scope.get("state", {})
                    span.set_attribute("neo.request_id", state.get("request_id", ""))
                    if (principal := state.get("principal")) is not None:
                        span.set_attribute("neo.tenant", str(principal.scope.tenant or ""))
                        span.set_attribute("neo.service", principal.scope.service or "")
                    if status >= 500:
                        tracing.failed(span, str(status))
