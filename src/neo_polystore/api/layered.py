"""FastAPI behind ASGI layers of our own, which stand around the framework and not in it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Layered(FastAPI):
    """What a layer answers or refuses costs nothing of what the framework does for its routes.

    `layers` are from the outside in; they may be changed until the first request.
    """

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.layers: list[Middleware] = []
        self._outermost: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on through all layers to the framework."""
        scope["app"] = self
        if self._outermost is None:
            self._outermost = self._built()
        await self._outermost(scope, receive, send)

    def _built(self) -> ASGIApp:
        app: ASGIApp = super().__call__
        for layer, arguments, named in reversed(self.layers):
            app = layer(app, *arguments, **named)
        return app
