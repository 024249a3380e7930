"""Counts every request: a plain ASGI layer, so that streams pass through untouched."""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neo_polystore.ops.telemetry.http import UNROUTED, HttpCounts


class Measured:
    """Around an application whose router leaves the route that matched in the scope."""

    def __init__(self, app: ASGIApp, counts: HttpCounts):
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count the answer when its last byte is sent; one that broke off is a 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._counts.in_flight += 1
        started = perf_counter()
        try:
            await self._app(scope, receive, sending)
        finally:
            self._counts.in_flight -= 1
            self._counts.add(
                route=getattr(scope.get("route"), "path", UNROUTED),
                method=scope["method"],
                status=status,
                seconds=perf_counter() - started,
            )
